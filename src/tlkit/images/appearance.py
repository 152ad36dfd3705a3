"""What an image looks like in a few numbers: enough to see that two classes differ by more than they show."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from PIL import Image

_SIDE: Final = 96  # pixels: detail that a network of 96 to 224 sees, whatever the size of the file
_FRAME: Final = 3  # pixels at the edge of it


class Appearance(NamedTuple):
    """A few numbers about an image, measured on 96 x 96 pixels of it.

    Attributes:
        brightness: Mean of the grey values, 0 to 255.
        contrast: Standard deviation of the grey values, 0 to 127.5.
        sharpness: Mean difference between a grey value and the mean of its four neighbours, as a share of the
            contrast. Above 0; 0 for an image of one colour.
        colourfulness: As Hasler and Süsstrunk measure it: 0 for grey, about 109 for very colourful images.
        border: Mean red, green and blue of the edge, 0 to 255.
    """

    brightness: float
    contrast: float
    sharpness: float
    colourfulness: float
    border: tuple[float, float, float]


UNKNOWN: Final = Appearance(0, 0, 0, 0, (0, 0, 0))
"""What nobody has measured."""


def appearance_of(image: Image.Image) -> Appearance:
    """Measure an RGB image.

    The colourfulness is that of Hasler and Süsstrunk, "Measuring colourfulness in natural images", 2003.

    Args:
        image: Of any size.

    Examples:
        >>> appearance_of(Image.new("RGB", (640, 480), (200, 30, 40))).border
        (200.0, 30.0, 40.0)
    """
    small = image.resize((_SIDE, _SIDE), Image.Resampling.BILINEAR, reducing_gap=2.0)
    grey = np.asarray(small.convert("L"), np.float32)
    pixels = np.asarray(small, np.float32)
    red, green, blue = pixels[..., 0], pixels[..., 1], pixels[..., 2]
    contrast = float(grey.std())
    around = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:]
    detail = float(np.abs(grey[1:-1, 1:-1] - around / 4).mean())
    one, other = red - green, (red + green) / 2 - blue
    spread = float(np.hypot(one.std(), other.std()))
    colourfulness = spread + 0.3 * float(np.hypot(one.mean(), other.mean()))
    inside = pixels[_FRAME:-_FRAME, _FRAME:-_FRAME]
    edge = pixels.sum((0, 1), dtype=np.float64) - inside.sum((0, 1), dtype=np.float64)
    r, g, b = (edge / (_SIDE**2 - (_SIDE - 2 * _FRAME) ** 2)).tolist()
    return Appearance(
        brightness=round(float(grey.mean()), 3),
        contrast=round(contrast, 3),
        sharpness=round(detail / contrast, 5) if contrast else 0.0,
        colourfulness=round(colourfulness, 3),
        border=(round(r, 2), round(g, 2), round(b, 2)),
    )
