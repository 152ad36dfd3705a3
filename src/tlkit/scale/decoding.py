"""Images of a shard by batches, read from wherever they lie, in the worker."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np

from tlkit.backbones.engines import BATCH_SIZE
from tlkit.core.rows import Images
from tlkit.images.decoder import BadFile
from tlkit.images.loader import Decoded, read_images
from tlkit.scale.careful import read_carefully
from tlkit.scale.places import read_anywhere
from tlkit.scale.store import Outcome


def batches(
    locations: Sequence[str], image_size: tuple[int, int], *, careful: bool
) -> Iterator[tuple[Images, list[Outcome]]]:
    """Yield the pixels of what can be read, and what is known of every file, by batches.

    Args:
        locations: Paths or URIs.
        image_size: Height and width of the images, in pixels.
        careful: Decode in a child process, because one of them may end it.
    """
    decoded: Iterator[Decoded] = (
        read_carefully(locations, image_size)
        if careful
        else read_images(locations, image_size, read=read_anywhere)
    )
    while batch := list(islice(decoded, BATCH_SIZE)):
        pixels = [found[0] for found in batch if not isinstance(found, BadFile)]
        outcomes = [found if isinstance(found, BadFile) else found[1] for found in batch]
        yield np.array(pixels, np.uint8), outcomes
