"""A part of a folder as a `tf.data.Dataset`, for people with a training loop of their own."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from tlkit.core.forks import refuse_after_fork
from tlkit.core.rows import Images, Indices, Rows
from tlkit.core.spec import as_pair, check_bool, check_choice, check_int
from tlkit.data.dataset import DatasetSpec
from tlkit.data.example import Example
from tlkit.data.split_dataset import read_split
from tlkit.errors import SettingError, printable
from tlkit.images.augmentation import AugmentationPolicy

if TYPE_CHECKING:
    import tensorflow as tf

Part: TypeAlias = Literal["train", "validation", "test"]
Batch: TypeAlias = tuple[npt.NDArray[np.generic], npt.NDArray[np.int32]]


def image_dataset(
    data: str | Path | DatasetSpec,
    part: Part,
    *,
    image_size: int | tuple[int, int],
    batch_size: int = 32,
    shuffle: bool | None = None,
    seed: int = 0,
    augmentation: AugmentationPolicy | None = None,
) -> tf.data.Dataset:
    """Return the images and labels of one part of a folder, batched and prefetched.

    Every image is read once, when the function is called, with the pixels that all of tlkit sees, and
    kept as uint8: in memory while they are few, beyond 256 MB in an unnamed temporary file
    (`count * height * width * 3` bytes). So an epoch costs no decoding, and `len()` is known.

    The parts are those of `transfer_classifier` with the same spec. For that the whole folder is read
    whichever part is asked for, because near-duplicates are kept in one part. Files that cannot be read
    are left out with a warning that names them, or raise, as the spec's `on_bad_file` says.

    Args:
        data: The folder, or its spec: classes, fractions, seed of the split, groups.
        part: "train", "validation" or "test".
        image_size: Height and width in pixels, or one number for both.
        batch_size: Images in a batch, at least 1. The last batch may be smaller.
        shuffle: Whether each epoch has an order of its own. None: the training split alone.
        seed: Of the orders and views, at least 0. They depend on it and on the number of the epoch, that
            is how often this dataset was iterated over before, and on nothing else.
        augmentation: Makes another view of each training image in each epoch; the first epoch has
            the images themselves. None: always the images themselves.

    Returns:
        Pairs of float32 `[B, H, W, 3]`, RGB 0-255, and int32 `[B]`, 1 for the positive class. (Keras's
        `fit` warns that it will not shuffle a dataset, unless given `shuffle=False`.)

    Raises:
        SettingError: An argument is outside what it may be, or the part is empty by the spec.
        DatasetError: The folder is not two classes of images, or none of the part can be read.
        ImageError: A file cannot be read, and the spec says `on_bad_file="raise"`.

    Examples:
        >>> train = image_dataset("alpacas/", "train", image_size=160)  # doctest: +SKIP
        >>> validation = image_dataset("alpacas/", "validation", image_size=160)  # doctest: +SKIP
        >>> model.fit(train, validation_data=validation, epochs=5, shuffle=False)  # doctest: +SKIP
    """
    spec = data if isinstance(data, DatasetSpec) else DatasetSpec(data)
    check_choice("part", part, get_args(Part))
    size = as_pair(image_size)
    if size is None:
        raise SettingError("`image_size` must be a number or a pair (height, width), got None")
    check_int("batch_size", batch_size, at_least=1)
    check_int("seed", seed, at_least=0)
    shuffled = part == "train" if shuffle is None else check_bool("shuffle", shuffle)
    if augmentation and part != "train":
        raise SettingError(f"`augmentation` is for the training split, got it for {part!r}")

    refuse_after_fork()
    images, examples, kept = _part(spec, part, size)
    labels = np.array([example.label for example in examples], np.int32)
    augmenter = augmentation.build(size, seed=seed, batch_size=batch_size) if augmentation else None
    epochs = itertools.count()

    def batches() -> Iterator[Batch]:
        epoch = next(epochs)
        generator = np.random.default_rng((seed, epoch))
        order = generator.permutation(kept) if shuffled else kept
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            block = images.read(rows).astype(np.uint8, copy=False)
            yield (augmenter(block, view=epoch, key=start) if augmenter else block), labels[rows]

    return _as_tf_data(batches, size, count=-(-len(kept) // batch_size))


def _part(
    spec: DatasetSpec, part: Part, image_size: tuple[int, int]
) -> tuple[Rows, tuple[Example, ...], Indices]:
    """Decode the folder: a row for each example, the examples, and which of them are in the part."""
    listing = spec.listing()
    images = Rows(len(listing.examples), (*image_size, 3), np.uint8)

    def keep(place: int, pixels: Images) -> None:
        images.write(np.array([place]), pixels[np.newaxis])

    split = read_split(spec, listing, image_size, keep, stacklevel=5)
    indices: Indices = getattr(split, part)
    if not len(indices):
        raise SettingError(
            f"the {part} part of {printable(spec.directory)} is empty: "
            f"`{part}_fraction` must be above 0, or the folder must come with such a part"
        )
    return images, listing.examples, indices


def _as_tf_data(
    batches: Callable[[], Iterator[Batch]], image_size: tuple[int, int], *, count: int
) -> tf.data.Dataset:
    from tlkit.core.tensorflow import tf

    signature = (
        tf.TensorSpec((None, *image_size, 3), tf.uint8),
        tf.TensorSpec((None,), tf.int32),
    )
    return (
        tf.data.Dataset.from_generator(batches, output_signature=signature)
        .apply(tf.data.experimental.assert_cardinality(count))
        .map(lambda images, labels: (tf.cast(images, tf.float32), labels))
        .prefetch(tf.data.AUTOTUNE)
    )
