"""Which random changes training pictures go through, and the Keras layers that make them.

An `AugmentationPolicy` is a value: how far pictures may be turned, zoomed, brightened and so on. `build`
turns it into an `Augmenter`, a function from uint8 pictures to uint8 pictures whose result depends on the
seed, the view and a key, and on nothing else. Saved models never contain any of it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import threading
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeAlias, final

import numpy as np
import numpy.typing as npt

from tlkit.errors import SettingError
from tlkit.spec import Json, Spec, check_bool, check_float, check_int

if TYPE_CHECKING:
    import keras

Pictures: TypeAlias = npt.NDArray[np.uint8]


@final
@dataclass(frozen=True, slots=True, repr=False, eq=False)
class AugmentationPolicy(Spec):
    """How training pictures may be varied.

    Each view of a picture draws every change anew and uniformly from the range given; 0 leaves a change
    out. What a turn, zoom or shift uncovers is filled with the picture's own mirror image. Vary only what
    leaves the class as it is: text and left hands do not survive a horizontal flip.

    Args:
        horizontal_flip: Mirror left and right, in half of the views.
        vertical_flip: Mirror top and bottom, in half of the views, independently of the other flip.
        rotation_fraction: Largest turn, both ways, as a fraction of a full turn, 0 to 1: 0.2 is ± 72°.
        zoom_fraction: Largest zoom, in and out, as a fraction of the side, at least 0 and below 1: with
            0.2 between 80 % and 120 % of the picture's width and height are seen.
        translation_fraction: Largest shift, along each side and both ways, as a fraction of that side,
            0 to 1.
        brightness_fraction: Largest amount added to all pixels, both ways, as a fraction of the range
            0–255, 0 to 1.
        contrast_fraction: Largest change of contrast, both ways, 0 to 1: with 0.2 the distances of the
            pixels from the mean of their channel become 0.8 to 1.2 times as large.
        erasing_fraction: Share of the views in which a rectangle is painted over in middle grey, 0 to 1.
            Each side of it is 14 % to 57 % of the picture's.
        layers: Keras layers of your own, applied last, in this order: float32 `[B, H, W, 3]`, 0 to 255, to
            the same shape. Randomness must come from a `keras.random.SeedGenerator` that the layer
            keeps as an attribute, as nearly all of Keras's own do, because it is reseeded for each batch.

    Raises:
        SettingError: A value is outside its range.

    Example:
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
            check_bool(name, getattr(self, name))
        for name in _FRACTIONS:
            below = 1.0 if name == "zoom_fraction" else math.inf  # zoomed by 1, nothing is left
            value = check_float(name, getattr(self, name), at_least=0, at_most=1, below=below)
            object.__setattr__(self, name, value)
        object.__setattr__(self, "layers", _as_layers(self.layers))

    @classmethod
    def none(cls) -> Self:
        """Change nothing.

        Example:
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
        """Vary what differs between two photographs of one thing: side, tilt, distance and light."""
        return cls(
            horizontal_flip=True,
            rotation_fraction=0.05,
            zoom_fraction=0.2,
            brightness_fraction=0.15,
            contrast_fraction=0.2,
        )

    @classmethod
    def strong(cls) -> Self:
        """Vary more than photographs usually do: for long training on very few pictures."""
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
        """Whether every view is the picture itself."""
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
        """
        if self.is_identity:
            return []
        from keras import layers

        check_int("seed", seed, at_least=0)
        turn, zoom, shift = self.rotation_fraction, self.zoom_fraction, self.translation_fraction
        contrast, erasing = self.contrast_fraction, self.erasing_fraction
        once = sum(map(bool, (turn, zoom, shift))) > 1
        recipe: list[tuple[object, Callable[..., Any]]] = [
            (once, partial(_one_pass_layer, self)),
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
        seeds = _draw(len(recipe), "layers", seed).tolist()
        options = {"dtype": "float32", "data_format": "channels_last"}
        made = [
            make(seed=number, **options)
            for (wanted, make), number in zip(recipe, seeds, strict=True)
            if wanted
        ]
        return [*made, *self.layers]

    def build(self, image_size: tuple[int, int], *, seed: int, batch_size: int = 32) -> Augmenter:
        """Make the function that augments batches of pictures.

        Args:
            image_size: Height and width of the pictures, in pixels.
            seed: Seed of every change, at least 0.
            batch_size: The most pictures of one call, at least 1. It is part of what decides the views.

        Returns:
            The function, see `Augmenter`.

        Raises:
            SettingError: An argument is outside its range, or one of the policy's own `layers` changes
                the shape of the pictures or draws random numbers that cannot be repeated.
        """
        height, width = image_size
        check_int("image_size[0]", height, at_least=1)
        check_int("image_size[1]", width, at_least=1)
        check_int("seed", seed, at_least=0)
        check_int("batch_size", batch_size, at_least=1)
        for layer in self.layers:
            _check_repeats(layer, (height, width))
        return Augmenter(self.keras_layers(), (height, width), seed=seed, batch_size=batch_size)

    def views(
        self,
        image: Pictures | str | Path,
        count: int,
        *,
        seed: int = 0,
        image_size: tuple[int, int] = (224, 224),
    ) -> Pictures:
        """Return the first views of one picture, to look at what the policy does.

        Args:
            image: uint8 RGB `[H, W, 3]`, or a picture file.
            count: How many views, at least 1. The first is the picture itself.
            seed: Seed of the changes, at least 0.
            image_size: Height and width that a file is resized to; an array keeps its own.

        Returns:
            uint8 `[count, H, W, 3]`.

        Raises:
            SettingError: An argument is outside its range.
            ImageError: The file cannot be read as a picture.

        Example:
            >>> AugmentationPolicy.none().views(np.zeros((4, 6, 3), np.uint8), 2).shape
            (2, 4, 6, 3)
        """
        check_int("count", count, at_least=1)
        if isinstance(image, str | Path):
            from tlkit.images import read_image

            picture, _ = read_image(image, image_size)
        else:
            picture = image
        _check_pictures("image", picture, "[H, W, 3]", (*np.shape(picture)[:2], 3))
        height, width, _ = picture.shape
        augmenter = self.build((height, width), seed=seed, batch_size=1)
        batch = picture[np.newaxis]
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


@final
class Augmenter:
    """A function from pictures to one of their views, made by `AugmentationPolicy.build`.

    The result depends on the pictures, the policy, seed, view, key and batch size only: not on how many
    batches were made before, and not on pictures further back in the batch. It may be called from
    several threads.
    """

    def __init__(
        self,
        layers: list[keras.layers.Layer],
        image_size: tuple[int, int],
        *,
        seed: int,
        batch_size: int,
    ) -> None:
        self._seed = seed
        self._shape = (batch_size, *image_size, 3)
        self._states = _seed_states(layers)
        self._augment = _compiled(layers, self._states, self._shape) if layers else None
        self._lock = threading.Lock()  # the layers keep their random state in variables

    def __call__(self, pictures: Pictures, *, view: int, key: int | str) -> Pictures:
        """Return one view of each picture.

        Args:
            pictures: uint8 RGB `[B, H, W, 3]`, B at most the batch size.
            view: Number of the view; view 0 is the picture itself.
            key: What names this batch among the others, such as the position of its first picture.

        Returns:
            uint8 `[B, H, W, 3]`.

        Raises:
            SettingError: The pictures do not have this shape or type, or an argument is out of range.
        """
        batch_size, height, width, _ = self._shape
        wanted = f"[at most {batch_size}, {height}, {width}, 3]"
        count = min(len(pictures), batch_size)
        _check_pictures("pictures", pictures, wanted, (count, *self._shape[1:]))
        check_int("view", view, at_least=0)
        if not isinstance(key, str):
            check_int("key", key, at_least=0)
        if view == 0 or self._augment is None:
            return pictures
        seeds = _draw(2 * len(self._states), self._seed, view, key).reshape(-1, 2)
        padding = [(0, batch_size - count), (0, 0), (0, 0), (0, 0)]
        padded = np.pad(pictures, padding) if count < batch_size else pictures
        with self._lock:
            views: Pictures = self._augment(padded, seeds).numpy()
        return views[:count]


def _compiled(layers: list[Any], states: list[Any], shape: tuple[int, ...]) -> Any:
    """Make the graph that sets every random state and then applies the layers."""
    import tensorflow as tf

    def augment(pictures: Any, seeds: Any) -> Any:
        for state, pair in zip(states, tf.unstack(seeds, num=len(states)), strict=True):
            state.assign(pair)
        changed = tf.cast(pictures, tf.float32)
        for layer in layers:
            changed = tf.cast(layer(changed, training=True), tf.float32)
        return tf.saturate_cast(tf.round(changed), tf.uint8)

    signature = [tf.TensorSpec(shape, tf.uint8), tf.TensorSpec((len(states), 2), tf.int64)]
    return tf.function(augment, input_signature=signature, autograph=False)


def _one_pass_layer(policy: AugmentationPolicy, *, seed: int, **options: str) -> Any:
    """Flips, rotation, zoom and translation as one affine map, interpolated once."""
    import keras

    class RandomGeometry(keras.layers.Layer):  # type: ignore[misc] # Keras ships no types
        def __init__(self) -> None:
            super().__init__(dtype=options["dtype"])
            self.generator = keras.random.SeedGenerator(seed)

        def call(self, pictures: Any, training: bool = True) -> Any:  # noqa: FBT001, FBT002 - Keras's form
            if not training:
                return pictures
            return keras.ops.image.affine_transform(
                pictures,
                _affine_maps(policy, keras.ops.shape(pictures)[:3], self.generator),
                fill_mode="reflect",
                data_format=options["data_format"],
            )

    return RandomGeometry()


def _affine_maps(policy: AugmentationPolicy, shape: tuple[int, int, int], generator: Any) -> Any:
    """Draw where each new pixel comes from, for every picture, as the eight numbers Keras takes."""
    import keras
    from keras import ops

    count, height, width = shape

    def drawn(low: float, high: float) -> Any:
        return keras.random.uniform((count,), low, high, "float32", seed=generator)

    turn, zoom, shift = policy.rotation_fraction, policy.zoom_fraction, policy.translation_fraction
    angle, scale = drawn(-turn, turn) * (2 * math.pi), drawn(1 - zoom, 1 + zoom)
    across = ops.where(drawn(0, 1) < 0.5 * policy.horizontal_flip, -scale, scale)
    down = ops.where(drawn(0, 1) < 0.5 * policy.vertical_flip, -scale, scale)
    xx, xy = across * ops.cos(angle), across * -ops.sin(angle)
    yx, yy = down * ops.sin(angle), down * ops.cos(angle)
    middle_x, middle_y = (width - 1) / 2, (height - 1) / 2  # turned and zoomed around the middle
    x0 = middle_x - xx * middle_x - xy * middle_y + drawn(-shift, shift) * width
    y0 = middle_y - yx * middle_x - yy * middle_y + drawn(-shift, shift) * height
    return ops.stack([xx, xy, x0, yx, yy, y0, 0 * x0, 0 * y0], axis=1)


def _seed_states(layers: list[Any]) -> list[Any]:
    """Return the state of every random generator in the layers, nested ones too, each once."""
    states = {
        id(variable): variable
        for layer in layers
        for variable in layer.variables
        if variable.name == "seed_generator_state"
    }
    return list(states.values())


def _draw(count: int, *identity: object) -> npt.NDArray[np.int64]:
    """Hash what is asked for into numbers of 30 bits, since Keras folds seeds at 2**31 - 2."""
    digest = hashlib.shake_128(repr(identity).encode()).digest(4 * count)
    return np.frombuffer(digest, "<u4").astype(np.int64) >> 2


def _check_pictures(name: str, pictures: object, wanted: str, shape: tuple[int, ...]) -> None:
    if (
        not isinstance(pictures, np.ndarray)
        or pictures.dtype != np.uint8
        or pictures.shape != shape
        or 0 in shape[-3:]
    ):
        array = np.asarray(pictures)
        got = f"{array.dtype} {list(array.shape)}"
        raise SettingError(f"`{name}` must be a uint8 array {wanted}, RGB 0-255, got {got}")


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


def _check_repeats(layer: Any, image_size: tuple[int, int]) -> None:
    """Try a user's layer: its result must have its input's shape, and depend on its seeds alone."""
    pictures = np.random.default_rng(0).uniform(0, 255, (2, *image_size, 3)).astype(np.float32)
    shape = tuple(layer(pictures, training=True).shape)  # builds it, so that all its states exist
    if shape != pictures.shape:
        raise SettingError(
            f"`layers` must keep the shape of the pictures, but {layer.name!r} turns "
            f"{list(pictures.shape)} into {list(shape)}"
        )

    def result() -> npt.NDArray[np.float32]:
        for state in _seed_states([layer]):
            state.assign([1, 0])
        return np.asarray(layer(pictures, training=True))

    if not np.array_equal(result(), result()):
        raise SettingError(
            f"`layers` must draw from random generators of their own, but {layer.name!r} gives two "
            "results for one seed: keep a keras.random.SeedGenerator as an attribute of the layer "
            "and pass it as `seed` to every keras.random function"
        )


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
