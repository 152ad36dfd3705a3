"""The function behind an augmentation policy: uint8 images to one of their views, the same every time.

What comes out depends on seed, view and key alone: the state of every random generator in the layers is set
from a hash of the three before each batch, so it matters neither what was made before nor in which process.
"""

from __future__ import annotations

import hashlib
import math
import threading
from typing import TYPE_CHECKING, Any, Protocol, final

import numpy as np
import numpy.typing as npt

from tlkit.core.forks import refuse_after_fork
from tlkit.core.rows import Images
from tlkit.core.spec import check_int
from tlkit.errors import SettingError

if TYPE_CHECKING:
    import keras


class Geometry(Protocol):
    """What an `AugmentationPolicy` says about where pixels go."""

    @property
    def horizontal_flip(self) -> bool: ...  # noqa: D102 - see AugmentationPolicy
    @property
    def vertical_flip(self) -> bool: ...  # noqa: D102 - see AugmentationPolicy
    @property
    def rotation_fraction(self) -> float: ...  # noqa: D102 - see AugmentationPolicy
    @property
    def zoom_fraction(self) -> float: ...  # noqa: D102 - see AugmentationPolicy
    @property
    def translation_fraction(self) -> float: ...  # noqa: D102 - see AugmentationPolicy


@final
class Augmenter:
    """A function from images to one of their views, made by `AugmentationPolicy.build`.

    The result depends on the images, the policy, seed, view, key and batch size only: not on how many
    batches were made before, and not on images further back in the batch. It may be called from
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

    def __call__(self, images: Images, *, view: int, key: int | str) -> Images:
        """Return one view of each image.

        Args:
            images: uint8 RGB `[B, H, W, 3]`, B at most the batch size.
            view: Number of the view; view 0 is the image itself.
            key: What names this batch among the others, such as the index of its first image.

        Returns:
            uint8 `[B, H, W, 3]`.

        Raises:
            SettingError: The images do not have this shape or type, or an argument is out of range.
        """
        batch_size, height, width, _ = self._shape
        wanted = f"[at most {batch_size}, {height}, {width}, 3]"
        count = min(len(images), batch_size)
        check_images("images", images, wanted, (count, *self._shape[1:]))
        view = check_int("view", view, at_least=0)
        if not isinstance(key, str):
            key = check_int("key", key, at_least=0)
        if view == 0 or self._augment is None:
            return images
        refuse_after_fork()
        seeds = draw(2 * len(self._states), self._seed, view, key).reshape(-1, 2)
        padding = [(0, batch_size - count), (0, 0), (0, 0), (0, 0)]
        padded = np.pad(images, padding) if count < batch_size else images
        with self._lock:
            views: Images = self._augment(padded, seeds).numpy()
        return views[:count]


def _compiled(layers: list[Any], states: list[Any], shape: tuple[int, ...]) -> Any:
    """Make the graph that sets every random state and then applies the layers."""
    import tensorflow as tf

    def augment(images: Any, seeds: Any) -> Any:
        for state, pair in zip(states, tf.unstack(seeds, num=len(states)), strict=True):
            state.assign(pair)
        changed = tf.cast(images, tf.float32)
        for layer in layers:
            changed = tf.cast(layer(changed, training=True), tf.float32)
        return tf.saturate_cast(tf.round(changed), tf.uint8)

    signature = [tf.TensorSpec(shape, tf.uint8), tf.TensorSpec((len(states), 2), tf.int64)]
    return tf.function(augment, input_signature=signature, autograph=False)


def geometry_layer(policy: Geometry, *, seed: int, **options: str) -> Any:
    """Flips, rotation, zoom and translation as one affine map, interpolated once."""
    import keras

    class RandomGeometry(keras.layers.Layer):  # type: ignore[misc] # Keras ships no types
        def __init__(self) -> None:
            super().__init__(dtype=options["dtype"])
            self.generator = keras.random.SeedGenerator(seed)

        def call(self, images: Any, training: bool = True) -> Any:  # noqa: FBT001, FBT002 - Keras's form
            if not training:
                return images
            return keras.ops.image.affine_transform(
                images,
                _affine_maps(policy, keras.ops.shape(images)[:3], self.generator),
                fill_mode="reflect",
                data_format=options["data_format"],
            )

    return RandomGeometry()


def _affine_maps(policy: Geometry, shape: tuple[int, int, int], generator: Any) -> Any:
    """Draw where each new pixel comes from, for every image, as the eight numbers Keras takes."""
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


def draw(count: int, *identity: object) -> npt.NDArray[np.int64]:
    """Hash what is asked for into numbers of 30 bits, since Keras folds seeds at 2**31 - 2."""
    digest = hashlib.shake_128(repr(identity).encode()).digest(4 * count)
    return np.frombuffer(digest, "<u4").astype(np.int64) >> 2


def check_images(name: str, images: object, wanted: str, shape: tuple[int, ...]) -> None:
    """Raise a SettingError unless `images` is a uint8 array of this shape."""
    if (
        not isinstance(images, np.ndarray)
        or images.dtype != np.uint8
        or images.shape != shape
        or 0 in shape[-3:]
    ):
        array = np.asarray(images)
        got = f"{array.dtype} {list(array.shape)}"
        raise SettingError(f"`{name}` must be a uint8 array {wanted}, RGB 0-255, got {got}")


def check_repeats(layer: Any, image_size: tuple[int, int]) -> None:
    """Try a user's layer: its result must have its input's shape, and depend on its seeds alone."""
    images = np.random.default_rng(0).uniform(0, 255, (2, *image_size, 3)).astype(np.float32)
    shape = tuple(layer(images, training=True).shape)  # builds it, so that all its states exist
    if shape != images.shape:
        raise SettingError(
            f"`layers` must keep the shape of the images, but {layer.name!r} turns "
            f"{list(images.shape)} into {list(shape)}"
        )

    def result() -> npt.NDArray[np.float32]:
        for state in _seed_states([layer]):
            state.assign([1, 0])
        return np.asarray(layer(images, training=True))

    if not np.array_equal(result(), result()):
        raise SettingError(
            f"`layers` must draw from random generators of their own, but {layer.name!r} gives two "
            "results for one seed: keep a keras.random.SeedGenerator as an attribute of the layer "
            "and pass it as `seed` to every keras.random function"
        )
