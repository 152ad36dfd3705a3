"""Images of a shard by batches, read from wherever they lie, in the worker."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tlkit.backbones.engines import BATCH_SIZE
from tlkit.core.rows import Images
from tlkit.images.loader import batched, read_images
from tlkit.images.reader import ValueRange
from tlkit.scale.careful import read_carefully
from tlkit.scale.places import read_anywhere
from tlkit.scale.store import Outcome


def batches(
    locations: Sequence[str],
    image_size: tuple[int, int],
    *,
    careful: bool,
    value_range: ValueRange = None,
) -> Iterator[tuple[Images, list[Outcome]]]:
    """Return the pixels of what can be read, and what is known of every file, by batches.

    Args:
        locations: Paths or URIs.
        image_size: Height and width of the images, in pixels.
        careful: Decode in a child process, because one of them may end it.
        value_range: As in `read_image`.
    """
    decoded = (
        read_carefully(locations, image_size, value_range=value_range)
        if careful
        else read_images(locations, image_size, value_range=value_range, read=read_anywhere)
    )
    return batched(decoded, image_size, BATCH_SIZE)
