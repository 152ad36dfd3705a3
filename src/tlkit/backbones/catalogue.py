"""What has to be known of each network without importing Keras."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from tlkit.backbones.efficientnet_lite import LITE, MINIMUM_SIZE
from tlkit.backbones.network import PREPROCESSING
from tlkit.core.spec import as_pair, check_bool, check_choice, check_float, check_int
from tlkit.errors import SettingError

if TYPE_CHECKING:
    import keras

Option: TypeAlias = bool | int | float | str

_CHECKS: dict[str, Callable[[Any], Option]] = {
    "alpha": lambda value: check_float("alpha", value, above=0.0),
    "depth_multiplier": lambda value: check_int("depth_multiplier", value, at_least=1),
    "minimalistic": lambda value: check_bool("minimalistic", value),
    "preprocessing": lambda value: check_choice("preprocessing", value, PREPROCESSING),
}
_OURS = {  # arguments of keras.applications that the adapter itself decides
    "include_top": "a backbone is a network without its top",
    "classes": "a backbone is a network without its top",
    "classifier_activation": "a backbone is a network without its top",
    "dropout": "a backbone is a network without its top",
    "dropout_rate": "a backbone is a network without its top",
    "pooling": "a backbone gives a feature map; pooling belongs to the head",
    "input_shape": "use `image_size`",
    "input_tensor": "use `image_size`",
    "include_preprocessing": "images are always RGB 0–255, and preprocessing is always inside",
    "name": "the network keeps the name that Keras gives it",
}


@dataclass(frozen=True, slots=True)
class Architecture:
    """What has to be known of a network without importing Keras.

    Attributes:
        preprocessing: What it wants done to pixels of 0–255 ("none": it does that itself).
        default_size: Height and width of its ImageNet images, in pixels.
        minimum_size: Smallest legal height and width, in pixels.
        stride: Pixels of the image, in height and width, for one position of the last feature map.
        options: Arguments of its constructor that change a network without its top.
        rescales: With ImageNet weights Keras builds in one more Rescaling layer.
    """

    preprocessing: str
    default_size: int = 224
    minimum_size: int = 32
    stride: int = 32
    options: tuple[str, ...] = ()
    rescales: bool = False


# keras.applications 3.15 and EfficientNet-Lite; a test compares with the Keras installed.
_EFFICIENT_SIZES = (224, 240, 260, 300, 380, 456, 528, 600)
CATALOGUE: dict[str, Architecture] = {
    **{f"ConvNeXt{s}": Architecture("none") for s in ("Base", "Large", "Small", "Tiny", "XLarge")},
    **{f"DenseNet{depth}": Architecture("torch") for depth in (121, 169, 201)},
    **{
        f"EfficientNetB{i}": Architecture("none", size, rescales=True)
        for i, size in enumerate(_EFFICIENT_SIZES)
    },
    **{f"EfficientNetV2B{i}": Architecture("none", _EFFICIENT_SIZES[i]) for i in range(4)},
    "EfficientNetV2L": Architecture("none", 480),
    "EfficientNetV2M": Architecture("none", 480),
    "EfficientNetV2S": Architecture("none", 384),
    "InceptionResNetV2": Architecture("tf", 299, 75),
    "InceptionV3": Architecture("tf", 299, 75),
    "MobileNet": Architecture("tf", options=("alpha", "depth_multiplier")),
    "MobileNetV2": Architecture("tf", options=("alpha",)),
    "MobileNetV3Large": Architecture("none", options=("alpha", "minimalistic")),
    "MobileNetV3Small": Architecture("none", options=("alpha", "minimalistic")),
    "NASNetLarge": Architecture("tf", 331),
    "NASNetMobile": Architecture("tf"),
    **{f"ResNet{depth}": Architecture("caffe") for depth in (50, 101, 152)},
    **{f"ResNet{depth}V2": Architecture("tf") for depth in (50, 101, 152)},
    "VGG16": Architecture("caffe"),
    "VGG19": Architecture("caffe"),
    "Xception": Architecture("tf", 299, 71),
    **{name: Architecture("lite", lite.size, MINIMUM_SIZE) for name, lite in LITE.items()},
}
TINY_RANDOM = "tiny_random"
SUFFIXES = (".weights.h5", ".h5", ".hdf5", ".keras")  # of files that keras.Model.load_weights reads
TORCH_SUFFIX = ".pth"  # of files that EfficientNet-Lite reads besides
_TINY = Architecture("tf", 32, 16, stride=8)


def architecture_of(name: str) -> Architecture:
    """Look a network up by name.

    Raises:
        SettingError: There is none of that name; the message holds the nearest ones.
    """
    known = {**CATALOGUE, TINY_RANDOM: _TINY}
    return known[check_choice("backbone", name, list(known))]


def legal_size(name: str, image_size: int | tuple[int, int] | None) -> tuple[int, int]:
    """Return `(height, width)` if a network can work at that size.

    Raises:
        SettingError: It is not a size, or smaller than the network's smallest.
    """
    architecture = architecture_of(name)
    size = as_pair(image_size) or (architecture.default_size, architecture.default_size)
    least = architecture.minimum_size
    if min(size) < least:
        raise SettingError(
            f"`image_size` for {name} must be at least {least} × {least} pixels "
            f"(default {architecture.default_size}), got {size[0]} × {size[1]}"
        )
    return size


def fitting_size(name: str, aspect: float) -> tuple[int, int]:
    """Return a size of about as many pixels as the network's own, in the shape of the images.

    Both sides are multiples of the network's stride, so that each stage halves them evenly, and neither is
    smaller than the network takes, so that every stage keeps a position even of a narrow strip. Of these the
    size is the one with the least sum of squares of two logarithms: by how much the shape is off, and by how
    much the number of pixels.

    Args:
        name: Of the network.
        aspect: Width of the images divided by their height.

    Returns:
        `(height, width)` in pixels; the network's own size where a square comes nearest.

    Examples:
        >>> [fitting_size("MobileNetV2", aspect) for aspect in (4 / 3, 16, 1)]
        [(192, 256), (64, 896), (224, 224)]
    """
    architecture = architecture_of(name)
    own, stride = architecture.default_size, architecture.stride
    least, area = math.ceil(architecture.minimum_size / stride), (own / stride) ** 2
    most = 1.5 * area  # pixels, in squares of the stride
    sizes = [
        (height, width)
        for height in range(least, int(most / least) + 1)
        for width in range(least, int(most / height) + 1)
    ]

    def distance(size: tuple[int, int]) -> float:
        height, width = size
        shape, pixels = width / height / aspect, height * width / area
        return math.log(shape) ** 2 + math.log(pixels) ** 2

    height, width = min(sizes, key=distance)
    return (own, own) if height == width else (height * stride, width * stride)


def legal_weights(name: str, weights: str | Path | None) -> str | Path | None:
    """Return "imagenet", None or the path of a file, which need not exist yet.

    Raises:
        SettingError: It is none of these.
    """
    if weights is None or (weights == "imagenet" and name == TINY_RANDOM):
        return None
    if weights == "imagenet":
        return weights
    suffixes = (*SUFFIXES, TORCH_SUFFIX) if name in LITE else SUFFIXES
    if str(weights).endswith(suffixes):
        return Path(weights)
    raise SettingError(
        f'`weights` must be "imagenet", None or a file that ends in {", ".join(suffixes)}; '
        f"got {weights!r}"
    )


def legal_options(
    name: str, options: Mapping[str, Option], allowed: tuple[str, ...]
) -> tuple[tuple[str, Option], ...]:
    """Return the options as sorted pairs.

    Raises:
        SettingError: One is decided by the adapter, is not one of this network, or has an illegal value.
    """
    for key in options:
        if key in _OURS:
            raise SettingError(f"`{key}` is not an option of a backbone: {_OURS[key]}")
        if not allowed:
            raise SettingError(f"{name} has no options, got `{key}`")
        check_choice(f"option of {name}", key, allowed)
    return tuple((key, _CHECKS[key](options[key])) for key in sorted(options))


def tiny_random(image_size: tuple[int, int]) -> keras.Model:
    """Build the network for tests: every kind of layer that makes cutting and freezing hard, but small."""
    from tlkit.core.tensorflow import keras

    layers = keras.layers

    image = keras.Input((*image_size, 3), name="input")
    x = layers.Conv2D(16, 3, strides=2, padding="same", use_bias=False, name="stem_conv")(image)
    x = layers.BatchNormalization(name="stem_bn")(x)
    x = layers.ReLU(6.0, name="stem_relu")(x)
    for index, (filters, strides) in enumerate([(16, 2), (16, 1), (24, 2), (24, 1)]):
        block, came_in = f"block_{index}", x
        x = layers.Conv2D(48, 1, use_bias=False, name=f"{block}_expand")(x)
        x = layers.BatchNormalization(name=f"{block}_expand_bn")(x)
        x = layers.ReLU(6.0, name=f"{block}_expand_relu")(x)
        x = layers.DepthwiseConv2D(
            3, strides=strides, padding="same", use_bias=False, name=f"{block}_depthwise"
        )(x)
        x = layers.BatchNormalization(name=f"{block}_depthwise_bn")(x)
        x = layers.ReLU(6.0, name=f"{block}_depthwise_relu")(x)
        x = layers.Conv2D(filters, 1, use_bias=False, name=f"{block}_project")(x)
        x = layers.BatchNormalization(name=f"{block}_project_bn")(x)
        if strides == 1:
            x = layers.Add(name=f"{block}_add")([came_in, x])
    x = layers.Conv2D(64, 1, use_bias=False, name="top_conv")(x)
    x = layers.BatchNormalization(name="top_bn")(x)
    return keras.Model(image, layers.ReLU(6.0, name="top_relu")(x), name=TINY_RANDOM)
