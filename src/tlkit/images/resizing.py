"""How an image is brought to the size of a network: stretched to it, or in its own shape between borders."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

if TYPE_CHECKING:  # a network's settings name a rule of these, and need no NumPy for it
    from tlkit.images.samples import Pixels

Resize: TypeAlias = Literal["stretch", "pad"]
Box: TypeAlias = tuple[int, int, int, int]
"""Top, left, height and width of a part of an image, in pixels."""

RESIZES: Final[tuple[Resize, ...]] = ("stretch", "pad")
BORDER: Final = (127, 127, 127)
"""RGB of the borders: the middle grey, which most networks take as nearly zero, as are the zeros that
convolutions put around every image."""

RULES: Final[Mapping[Resize, str]] = MappingProxyType(
    {resize: f"{resize}-bilinear-antialias" for resize in RESIZES}
)
"""What saved files call it, with the filter."""


def content_box(size: tuple[int, int], frame: tuple[int, int]) -> Box:
    """Return where an image lies that is padded: as large as the frame takes it, in its middle.

    Args:
        size: Height and width of the image, in pixels.
        frame: Height and width of the result.

    Returns:
        Top, left, height and width. The side that does not fill the frame is rounded to the nearest pixel,
        halves up, and is at least one; of an odd border the lower or right half is the larger.

    Examples:
        >>> content_box((480, 640), (224, 224)), content_box((100, 1600), (64, 896))
        ((28, 0, 168, 224), (4, 0, 56, 896))
    """
    scale = min(Fraction(frame[0], size[0]), Fraction(frame[1], size[1]))
    height, width = (max(1, int(side * scale + Fraction(1, 2))) for side in size)
    return (frame[0] - height) // 2, (frame[1] - width) // 2, height, width


def padded(pixels: Pixels, frame: tuple[int, int]) -> Pixels:
    """Put an image that fits into a frame in its middle, between borders.

    Args:
        pixels: uint8 RGB `[h, w, 3]`, no larger than the frame.
        frame: Height and width of the result, in pixels.
    """
    import numpy as np

    height, width = pixels.shape[:2]
    if (height, width) == frame:
        return pixels
    top, left = (frame[0] - height) // 2, (frame[1] - width) // 2
    result = np.empty((*frame, 3), np.uint8)
    result[:] = BORDER
    result[top : top + height, left : left + width] = pixels
    return result
