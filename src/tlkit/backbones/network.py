"""A built backbone: RGB 0–255 in, feature map out, in two parts at any of its cut points."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

from tlkit.backbones.cuts import CutPoint, cuts
from tlkit.backbones.stages import Stages, chosen_stages
from tlkit.core.spec import check_choice, check_float, check_int
from tlkit.errors import SettingError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import keras

# (scale, offset) of one Rescaling layer, for pixels of 0–255. The first three are those of
# keras.applications.imagenet_utils.preprocess_input: ImageNet's mean and deviation per channel.
# "caffe" networks read BGR, so its three numbers are in that order.
IMAGENET_MEAN, IMAGENET_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_SCALING: dict[str, tuple[float | list[float], float | list[float]]] = {
    "tf": (1 / 127.5, -1.0),
    "torch": (
        [1 / (255 * deviation) for deviation in IMAGENET_DEVIATION],
        [
            -mean / deviation
            for mean, deviation in zip(IMAGENET_MEAN, IMAGENET_DEVIATION, strict=True)
        ],
    ),
    "caffe": (1.0, [-103.939, -116.779, -123.68]),
    "lite": (1 / 128, -127 / 128),  # EfficientNet-Lite's own: (x - 127) / 128
}
PREPROCESSING = ("none", *_SCALING)


@final
class Network:
    """A backbone in memory, with its preprocessing inside and its cut points known.

    Made by `BackboneAdapter.build`, a fresh one each time. Its models share their layers: what is
    trained in `upper(cut)` is trained in `base` and in `model`.

    Attributes:
        base: The network as keras.applications (or the user) makes it. `base.layers` is what "layer
            120" counts in.
        image_size: `(height, width)` in pixels.
        cut_points: Every valid cut, from the image (not included) up to the feature map (included).
        stages: The cut points whose pooled outputs are the features, from the image upwards.

    Examples:
        >>> from tlkit.backbones.adapter import BackboneAdapter
        >>> network = BackboneAdapter("tiny_random").build()
        >>> cut = network.cut_below(network.place(fraction=0.5))
        >>> cut.name, cut.shape, cut.size
        ('block_1_add', (8, 8, 16), 1024)
        >>> network.lower(cut).output.shape == network.upper(cut).input.shape
        True
    """

    __slots__ = (
        "_model",
        "_preprocessing",
        "_tensors",
        "base",
        "cut_points",
        "image_size",
        "stages",
    )

    def __init__(
        self, base: keras.Model, *, preprocessing: str = "none", features: Stages = "stages"
    ) -> None:
        self.base = base
        self.image_size: tuple[int, int] = tuple(base.inputs[0].shape[1:3])
        self._preprocessing = check_choice("preprocessing", preprocessing, PREPROCESSING)
        found = list(cuts(base))
        self._tensors = [tensor for _, tensor in found]
        self.cut_points: tuple[CutPoint, ...] = tuple(cut for cut, _ in found)
        self.stages = chosen_stages(self.cut_points, self.image_size, features)
        self._model: keras.Model | None = None

    def __repr__(self) -> str:
        height, width = self.image_size
        return (
            f"<Network {self.base.name}: {height}×{width} pixels -> {self.base.outputs[0].shape[1:]}, "
            f"{len(self.base.layers)} layers, {len(self.cut_points)} cut points, "
            f"{self.base.count_params():,} parameters>"
        )

    @property
    def model(self) -> keras.Model:
        """The whole: float RGB 0–255 `[N, H, W, 3]` -> feature map `[N, h, w, C]`.

        A user's model may give features `[N, D]`. Built-in layers only, so that it loads without tlkit.
        """
        if self._model is None:  # which takes as long as building the base did
            self._model = self._on_images(self.base)
        return self._model

    @property
    def stage_widths(self) -> tuple[int, ...]:
        """How many features each stage gives."""
        return tuple(stage.shape[-1] for stage in self.stages)

    def features(self) -> keras.Model:
        """Return the network from RGB 0–255 `[N, H, W, 3]` to the features `[N, D]`, the stages' means."""
        from tlkit.core.tensorflow import keras

        image, maps = self.maps()
        return keras.Model(image, joined(maps), name=f"{self.base.name}_features")

    def maps(self) -> tuple[keras.KerasTensor, list[keras.KerasTensor]]:
        """Return an image `[N, H, W, 3]`, and the feature maps of the stages that the base makes of it."""
        return self._maps([self._tensor(stage) for stage in self.stages])

    def frozen(self, cut: CutPoint, *, features: bool) -> keras.Model:
        """Return the network that gives the activations at a cut, after the features if these are wanted.

        Args:
            cut: Where the activations are taken: RGB 0–255 `[N, H, W, 3]` -> `[N, *cut.shape]`.
            features: Give the features `[N, D]` first.
        """
        from tlkit.core.tensorflow import keras

        stages = [self._tensor(stage) for stage in self.stages] if features else []
        image, maps = self._maps([*stages, self._tensor(cut)])
        outputs = [joined(maps[:-1]), maps[-1]] if features else maps
        return keras.Model(image, outputs, name=f"{self.base.name}_frozen")

    def place(self, start: int | str | None = None, fraction: float | None = None) -> int:
        """Return the index in `base.layers` of the first layer that a place names.

        Args:
            start: `unfreeze_from` of a phase: 120 means `base.layers[120:]`; a name such as
                "block_13_expand" means that layer and all after it.
            fraction: `unfreeze_fraction` of a phase, above 0 up to 1: 0.3 means the last 30 % of the
                layers, at least one.

        Returns:
            An index from 0 up to the number of layers minus one.

        Raises:
            SettingError: Not exactly one of the two is given, or there is no such place.
        """
        name, count = self.base.name, len(self.base.layers)
        if (start is None) == (fraction is None):
            raise SettingError(
                "exactly one of `unfreeze_from` and `unfreeze_fraction` must be given, "
                f"got {start!r} and {fraction!r}"
            )
        if fraction is not None:
            share = check_float("unfreeze_fraction", fraction, above=0.0, at_most=1.0)
            return count - max(1, round(share * count))
        if isinstance(start, str):
            names = [layer.name for layer in self.base.layers]
            return names.index(check_choice(f"`unfreeze_from` layer of {name}", start, names))
        index = check_int("unfreeze_from", start, at_least=0)
        if index >= count:
            raise SettingError(
                f"`unfreeze_from`={index}, but {name} has {count} layers (0 to {count - 1})"
            )
        return index

    def cut_below(self, layer_index: int) -> CutPoint | None:
        """Return the best cut that has every layer from `layer_index` on above it.

        That is the latest one that is at most twice as wide as the narrowest: activations are kept once,
        but what lies between cut and layer runs again in every epoch. For MobileNetV2 at 160 pixels and
        layer 120 it is `block_12_add` with 9,600 numbers, not `block_9_add` with 6,400, nor
        `block_13_expand_relu` with 57,600.

        Args:
            layer_index: First layer that must lie above, as `place` gives it; `len(base.layers)` means
                that nothing has to.

        Returns:
            The cut, or None if none has a tenth of the layers below it: then next to nothing is saved
            by keeping activations, and the images are better streamed through the whole network.

        Raises:
            SettingError: There is no such layer.
        """
        count = len(self.base.layers)
        check_int("layer_index", layer_index, at_least=0, at_most=count)
        possible = [
            cut for cut in self.cut_points if count / 10 <= cut.layer_index + 1 <= layer_index
        ]
        narrowest = min((cut.size for cut in possible), default=0)
        return max(
            (cut for cut in possible if cut.size <= 2 * narrowest),
            key=lambda cut: cut.index,
            default=None,
        )

    def lower(self, cut: CutPoint) -> keras.Model:
        """Return the part below a cut: RGB 0–255 `[N, H, W, 3]` -> activations `[N, *cut.shape]`."""
        from tlkit.core.tensorflow import keras

        tensor = self._tensor(cut)
        return self._on_images(keras.Model(self.base.inputs[0], tensor, name=f"below_{cut.index}"))

    def upper(self, cut: CutPoint) -> keras.Model:
        """Return the part above a cut: activations `[N, *cut.shape]` -> feature map."""
        from tlkit.core.tensorflow import keras

        tensor = self._tensor(cut)
        name = f"above_{cut.index}"
        if tensor is self.base.outputs[0]:  # nothing lies above it, and Keras makes no empty model
            activations = keras.Input(cut.shape, dtype=tensor.dtype)
            return keras.Model(activations, keras.layers.Identity()(activations), name=name)
        return keras.Model(tensor, self.base.outputs[0], name=name)

    def _tensor(self, cut: CutPoint) -> keras.KerasTensor:
        if cut not in self.cut_points:
            raise SettingError(f"`cut` must be one of this network's cut_points, got {cut!r}")
        return self._tensors[cut.index]

    def _on_images(self, network: keras.Model) -> keras.Model:
        from tlkit.core.tensorflow import keras

        image, pixels = self._pixels()
        return keras.Model(image, network(pixels), name=f"{network.name}_on_images")

    def _maps(
        self, tensors: list[keras.KerasTensor]
    ) -> tuple[keras.KerasTensor, list[keras.KerasTensor]]:
        """Return an image, and what the base makes of it at these tensors, all in one pass."""
        from tlkit.core.tensorflow import keras

        network = self.base
        if len(tensors) > 1 or tensors[0] is not self.base.outputs[0]:
            network = keras.Model(self.base.inputs[0], tensors, name=self.base.name)
        image, pixels = self._pixels()
        maps = network(pixels)
        return image, list(maps) if isinstance(maps, list | tuple) else [maps]

    def _pixels(self) -> tuple[keras.KerasTensor, keras.KerasTensor]:
        """Return an image of 0–255, and what the base takes in its place."""
        from tlkit.core.tensorflow import keras

        image = keras.Input((*self.image_size, 3), name="image")
        pixels = image
        if self._preprocessing == "caffe":
            pixels = keras.ops.take(pixels, [2, 1, 0], axis=-1)
        if self._preprocessing != "none":
            scale, offset = _SCALING[self._preprocessing]
            pixels = keras.layers.Rescaling(scale, offset, name="preprocessing")(pixels)
        return image, pixels


def joined(feature_maps: Sequence[keras.KerasTensor]) -> keras.KerasTensor:
    """Average feature maps `[B, h, w, C]` over their places, and put the means side by side, `[B, D]`."""
    from tlkit.core.tensorflow import keras

    means = [pooled(feature_map) for feature_map in feature_maps]
    return means[0] if len(means) == 1 else keras.layers.Concatenate(name="features")(means)


def pooled(feature_map: keras.KerasTensor) -> keras.KerasTensor:
    """Average a feature map `[B, h, w, C]` over its places; features `[B, D]` stay as they are."""
    from tlkit.core.tensorflow import keras

    if len(feature_map.shape) == 2:
        return feature_map
    # Spelled out, for Keras's defaults may have been changed since the backbone was built.
    layer = keras.layers.GlobalAveragePooling2D(data_format="channels_last", dtype="float32")
    return layer(feature_map)
