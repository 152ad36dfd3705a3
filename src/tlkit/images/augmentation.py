"""Which random changes training images go through, and the Keras layers that make them.

An `AugmentationPolicy` is a value: how far images may be turned, zoomed, brightened and so on. `build`
turns it into an `Augmenter`, a function from uint8 images to uint8 images whose result depends on the
seed, the view and a key, and on nothing else. Saved models never contain any of it.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, final

import numpy as np

from tlkit.core.forks import refuse_after_fork
from tlkit.core.keras_backend import check_keras
from tlkit.core.keras_config import check_floatx
from tlkit.core.rows import Images
from tlkit.core.spec import Json, Spec, check_bool, check_float, check_int
from tlkit.errors import SettingError
from tlkit.images.augmenter import Augmenter, check_images, check_repeats, draw, geometry_layer

if TYPE_CHECKING:
    import keras


@final
@dataclass(frozen=True, slots=True, repr=False, eq=False)
class AugmentationPolicy(Spec):
    """How training images may be varied.

    Each view of an image draws every change anew and uniformly from the range given; 0 leaves a change
    out. What a turn, zoom or shift uncovers is filled by reflecting the image at its border. Vary only what
    leaves the class as it is: text and left hands do not survive a horizontal flip.

    Args:
        horizontal_flip: Mirror left and right, in half of the views.
        vertical_flip: Mirror top and bottom, in half of the views, independently of the other flip.
        rotation_fraction: Largest turn, both ways, as a fraction of a full turn, 0 to 1: 0.2 is ± 72°.
        zoom_fraction: Largest zoom, in and out, as a fraction of the side, at least 0 and below 1: with
            0.2 between 80 % and 120 % of the image's width and height are seen.
        translation_fraction: Largest shift, along each side and both ways, as a fraction of that side,
            0 to 1.
        brightness_fraction: Largest amount added to all pixels, both ways, as a fraction of the range
            0–255, 0 to 1.
        contrast_fraction: Largest change of contrast, both ways, 0 to 1: with 0.2 the distances of the
            pixels from the mean of their channel become 0.8 to 1.2 times as large.
        erasing_fraction: Share of the views in which a rectangle is painted over in middle grey, 0 to 1.
            Each side of it is 14 % to 57 % of the image's.
        layers: Keras layers of your own, applied last, in this order: float32 `[B, H, W, 3]`, 0 to 255, to
            the same shape. Randomness must come from a `keras.random.SeedGenerator` that the layer
            keeps as an attribute, as nearly all of Keras's own do, because it is reseeded for each batch.

    Raises:
        SettingError: A value is outside its range.

    Examples:
        >>> AugmentationPolicy(horizontal_flip=True, rotation_fraction=0.2)
        AugmentationPolicy(horizontal_flip=True, rotation_fraction=0.2)
    """

    _: KW_ONLY
    horizontal_flip: bool = False
    vertical_flip: bool = False
    rotation_fraction: float = 0.0
    zoom_fraction: float = 0.0
    translation_fraction: float = 0.0
    brightness_fraction: float = 0.0
    contrast_fraction: float = 0.0
    erasing_fraction: float = 0.0
    layers: tuple[keras.layers.Layer, ...] = ()

    def __post_init__(self) -> None:
        for name in ("horizontal_flip", "vertical_flip"):
            object.__setattr__(self, name, check_bool(name, getattr(self, name)))
        for name in _FRACTIONS:
            below = 1.0 if name == "zoom_fraction" else math.inf  # zoomed by 1, nothing is left
            value = check_float(name, getattr(self, name), at_least=0, at_most=1, below=below)
            object.__setattr__(self, name, value)
        object.__setattr__(self, "layers", _as_layers(self.layers))

    @classmethod
    def none(cls) -> Self:
        """Change nothing.

        Examples:
            >>> AugmentationPolicy.none().is_identity
            True
        """
        return cls()

    @classmethod
    def course(cls) -> Self:
        """Flip and turn by up to ± 72°: `RandomFlip("horizontal")` and `RandomRotation(0.2)`.

        It is what the course assignment "Transfer Learning with MobileNetV2" uses.
        """
        return cls(horizontal_flip=True, rotation_fraction=0.2)

    @classmethod
    def standard(cls) -> Self:
        """Mirror, and come a little nearer or step back: the default, chosen by measurement.

        More changes, and larger ones, did no good to fine-tuning that starts from the exact head.
        """
        return cls(horizontal_flip=True, zoom_fraction=0.1)

    @classmethod
    def strong(cls) -> Self:
        """Vary more than photographs usually do: for long training on very few images."""
        return cls(
            horizontal_flip=True,
            rotation_fraction=0.1,
            zoom_fraction=0.3,
            translation_fraction=0.1,
            brightness_fraction=0.3,
            contrast_fraction=0.4,
            erasing_fraction=0.25,
        )

    @property
    def is_identity(self) -> bool:
        """Whether every view is the image itself."""
        return not (
            self.horizontal_flip
            or self.vertical_flip
            or any(getattr(self, name) for name in _FRACTIONS)
            or self.layers
        )

    def keras_layers(self, *, seed: int = 0) -> list[keras.layers.Layer]:
        """Return the Keras layers that make these changes, for a training loop of your own.

        Two or more of rotation, zoom and translation become one layer, together with the flips: one
        interpolation instead of three is twice as fast and blurs less.

        Args:
            seed: Seed of the layers' random generators, each of which gets a number of its own.

        Returns:
            Layers from float32 `[B, H, W, 3]`, 0 to 255, to the same; call them with `training=True`.

        Raises:
            SettingError: Keras is set to another backend than "tensorflow" or another floatx than "float32".
            TlkitError: This process was forked from one in which TensorFlow was already in use.
        """
        if self.is_identity:
            return []
        refuse_after_fork()
        check_keras()
        check_floatx()
        from keras import layers

        seed = check_int("seed", seed, at_least=0)
        turn, zoom, shift = self.rotation_fraction, self.zoom_fraction, self.translation_fraction
        contrast, erasing = self.contrast_fraction, self.erasing_fraction
        once = sum(map(bool, (turn, zoom, shift))) > 1
        recipe: list[tuple[object, Callable[..., Any]]] = [
            (once, partial(geometry_layer, self)),
            # Not "horizontal_and_vertical": Keras draws once for both, so they only come together.
            (self.horizontal_flip and not once, partial(layers.RandomFlip, "horizontal")),
            (self.vertical_flip and not once, partial(layers.RandomFlip, "vertical")),
            (turn and not once, partial(layers.RandomRotation, turn)),
            (zoom and not once, partial(layers.RandomZoom, zoom)),
            (shift and not once, partial(layers.RandomTranslation, shift, shift)),
            (self.brightness_fraction, partial(layers.RandomBrightness, self.brightness_fraction)),
            # Alone, a number would mean "never less contrast" and "up to this share" to Keras.
            (contrast, partial(layers.RandomContrast, (contrast, contrast))),
            (erasing, partial(layers.RandomErasing, (erasing, erasing), fill_value=127.0)),
        ]
        # One seed for all would tie every flip to its turn.
        seeds = draw(len(recipe), "layers", seed).tolist()
        options = {"dtype": "float32", "data_format": "channels_last"}
        made = [
            make(seed=number, **options)
            for (wanted, make), number in zip(recipe, seeds, strict=True)
            if wanted
        ]
        return [*made, *self.layers]

    def build(self, image_size: tuple[int, int], *, seed: int, batch_size: int = 32) -> Augmenter:
        """Make the function that augments batches of images.

        Args:
            image_size: Height and width of the images, in pixels.
            seed: Seed of every change, at least 0.
            batch_size: The most images of one call, at least 1. It is part of what decides the views.

        Returns:
            The function, see `Augmenter`.

        Raises:
            SettingError: An argument is outside its range, or one of the policy's own `layers` changes
                the shape of the images or draws random numbers that cannot be repeated.
        """
        height, width = image_size
        check_int("image_size[0]", height, at_least=1)
        check_int("image_size[1]", width, at_least=1)
        seed = check_int("seed", seed, at_least=0)
        check_int("batch_size", batch_size, at_least=1)
        for layer in self.layers:
            check_repeats(layer, (height, width))
        return Augmenter(self.keras_layers(), (height, width), seed=seed, batch_size=batch_size)

    def views(
        self,
        image: Images | str | Path,
        count: int,
        *,
        seed: int = 0,
        image_size: tuple[int, int] = (224, 224),
    ) -> Images:
        """Return the first views of one image, to look at what the policy does.

        Args:
            image: uint8 RGB `[H, W, 3]`, or an image file.
            count: How many views, at least 1. The first is the image itself.
            seed: Seed of the changes, at least 0.
            image_size: Height and width that a file is resized to; an array keeps its own.

        Returns:
            uint8 `[count, H, W, 3]`.

        Raises:
            SettingError: An argument is outside its range.
            ImageError: The file cannot be read as an image.

        Examples:
            >>> AugmentationPolicy.none().views(np.zeros((4, 6, 3), np.uint8), 2).shape
            (2, 4, 6, 3)
        """
        check_int("count", count, at_least=1)
        if isinstance(image, str | Path):
            from tlkit.images.decoder import read_image

            pixels, _ = read_image(image, image_size)
        else:
            pixels = image
        check_images("image", pixels, "[H, W, 3]", (*np.shape(pixels)[:2], 3))
        height, width, _ = pixels.shape
        augmenter = self.build((height, width), seed=seed, batch_size=1)
        batch = pixels[np.newaxis]
        return np.concatenate([augmenter(batch, view=view, key=0) for view in range(count)])

    def to_config(self) -> dict[str, Json]:
        """Return the settings as plain JSON values.

        Raises:
            SettingError: One of `layers` is not a built-in layer of Keras, or has weights.
        """
        plain = Spec.to_config(dataclasses.replace(self, layers=()))
        return plain | {"layers": [_layer_config(layer) for layer in self.layers]}

    @classmethod
    def _from_json_value(cls, name: str, value: Any) -> Any:
        return tuple(map(_layer_from_config, value)) if name == "layers" else value

    def _identity(self) -> tuple[object, ...]:
        return (
            *(getattr(self, field.name) for field in dataclasses.fields(self)[:-1]),
            *(_layer_identity(layer) for layer in self.layers),
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, AugmentationPolicy):
            return NotImplemented
        return self._identity() == other._identity()

    def __hash__(self) -> int:
        return hash(self._identity())


_FRACTIONS = tuple(
    field.name for field in dataclasses.fields(AugmentationPolicy) if "_fraction" in field.name
)


def _as_layers(layers: object) -> tuple[Any, ...]:
    if layers == ():
        return ()
    import keras

    given = tuple(layers) if isinstance(layers, tuple | list) else (layers,)
    if not isinstance(layers, tuple | list) or not all(
        isinstance(layer, keras.layers.Layer) for layer in given
    ):
        raise SettingError(f"`layers` must be a tuple of Keras layers, got {layers!r}")
    return given


def _layer_config(layer: Any) -> dict[str, Json]:
    """Write a built-in layer of Keras as JSON values; refuse any other."""
    from keras import saving

    try:
        config: dict[str, Json] = json.loads(json.dumps(saving.serialize_keras_object(layer)))
    except (NotImplementedError, TypeError, ValueError):
        config = {"class_name": None}
    if layer.weights or not _is_builtin(config):
        raise SettingError(
            f"AugmentationPolicy.layers cannot be written as JSON: {layer.name!r} is not a built-in "
            "layer of Keras without weights. Use such layers, or keep this policy in code."
        )
    return config


def _layer_from_config(config: Any) -> Any:
    if not isinstance(config, dict) or not _is_builtin(config):
        raise SettingError(f"`layers` must be built-in layers of Keras when read, got {config!r}")
    from keras import saving

    try:
        return saving.deserialize_keras_object(config, safe_mode=True)
    except (KeyError, TypeError, ValueError) as error:
        raise SettingError(f"Keras cannot read an entry of `layers`: {error}") from error


def _is_builtin(config: Json) -> bool:
    """Whether every object that a Keras configuration names belongs to Keras itself."""
    if isinstance(config, list):
        return all(map(_is_builtin, config))
    if not isinstance(config, dict):
        return True
    if "class_name" in config and config["class_name"] != "__tuple__":
        module = str(config.get("module"))
        if not f"{module}.".startswith("keras.") or config.get("registered_name") is not None:
            return False
    return all(map(_is_builtin, config.values()))


def _layer_identity(layer: Any) -> object:
    try:
        return json.dumps(_layer_config(layer))
    except SettingError:
        return layer
