"""What shape the images of a folder have: how much wider than high, by the typical one of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from statistics import median
from typing import Final, Self, final

import numpy as np

from tlkit.data.dataset import Listing
from tlkit.data.example import Example
from tlkit.errors import ImageError
from tlkit.images.decoder import read_size

SAMPLE_SIZE: Final = 500
"""Images whose headers are read; the median of so many shapes is that of all, near enough for a size."""

ELONGATED: Final = 2.0
"""Longer by shorter side above which a square does an image harm: it keeps less than half as much detail
along the longer side as along the shorter one. Cameras usually take up to 16:9."""


@final
@dataclass(frozen=True, slots=True)
class Shape:
    """The shape of the typical image of a folder.

    Attributes:
        aspect: Width divided by height, upright: the median of all.
        count: How many images were looked at.
    """

    aspect: float
    count: int

    @classmethod
    def of_sizes(cls, sizes: Iterable[tuple[int, int]]) -> Self:
        """Return the median shape of images, by the logarithm, so that 2:1 and 1:2 are equally far from 1:1.

        Args:
            sizes: Height and width of each, in pixels. Of none at all the shape is a square.
        """
        logs = [math.log(width / height) for height, width in sizes]
        return cls(math.exp(median(logs)) if logs else 1.0, len(logs))

    @classmethod
    def of_listing(
        cls, listing: Listing, read: Callable[[Example], tuple[int, int]] | None = None
    ) -> Self:
        """Look at the headers of at most `SAMPLE_SIZE` images, evenly over the listing; none is decoded.

        Args:
            listing: What the folder holds. Files that are no images are passed over.
            read: Gives height and width of one. None: from the header of its file.
        """
        count = min(SAMPLE_SIZE, len(listing.examples))
        places = np.linspace(0, len(listing.examples) - 1, count).round().astype(int)
        sizes = []
        for place in places.tolist():
            example = listing.examples[place]
            try:
                sizes.append(read(example) if read else read_size(example.path))
            except ImageError:  # training names it, when it reads it
                continue
        return cls.of_sizes(sizes)

    @property
    def is_elongated(self) -> bool:
        """Whether the typical image is so long that a square does it harm."""
        return max(self.aspect, 1 / self.aspect) > ELONGATED

    def __str__(self) -> str:
        """Say it in words.

        Examples:
            >>> print(Shape(4.0, 500))
            the median of 500 images is 4.00 times as wide as high
        """
        images = f"{self.count:,} image{'' if self.count == 1 else 's'}"
        return f"the median of {images} is {self.aspect:.2f} times as wide as high"
