"""Read a photograph as tlkit does, with NumPy and Pillow alone: for programs that run an export."""

from __future__ import annotations

import io
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps


def read_image(
    path: str | Path,
    height: int,
    width: int,
    value_range: Sequence[float] | None = None,
    border: Sequence[int] | None = None,
) -> npt.NDArray[np.float32]:
    """Return RGB 0-255, float32 [1, height, width, 3]; refuse what Pillow does not give as tlkit does."""
    photo: Image.Image = Image.open(io.BytesIO(Path(path).read_bytes()))
    if photo.format not in ("JPEG", "MPO", "PNG", "WEBP"):
        raise ValueError(f"{path} is {photo.format}: convert it to PNG")
    if photo.mode != "P" and isinstance(photo.info.get("transparency"), int | tuple):
        raise ValueError(f"{path} has one transparent colour: give it an alpha channel")
    if value_range and ";16" in str(photo.tile) and not photo.mode.startswith("I"):  # type: ignore[attr-defined]
        raise ValueError(f"{path} has colours of 16 bits: convert it to 8")
    sideways = photo.getexif().get(0x0112, 1) >= 5  # to be turned by 90 degrees
    wide, high = width, height
    if border:  # the photograph keeps its shape
        seen = photo.size[::-1] if sideways else photo.size
        scale = min(Fraction(width, seen[0]), Fraction(height, seen[1]))
        wide, high = (max(1, int(side * scale + Fraction(1, 2))) for side in seen)
    size = (high, wide) if sideways else (wide, high)
    photo.draft(None, (max(size[0], 224), max(size[1], 224)))  # large JPEGs: smaller at once
    photo = ImageOps.exif_transpose(photo)
    if photo.mode.startswith("I"):  # grey of 16 bits
        black, white = value_range or (0, 65535)
        shares = (np.asarray(photo, np.float64) - black) / (white - black)
        photo = Image.fromarray(np.rint(255 * shares.clip(0, 1)).astype(np.uint8))
    if photo.has_transparency_data:
        photo = photo.convert("RGBA")
        photo = Image.alpha_composite(Image.new("RGBA", photo.size, "white"), photo)
    photo = photo.convert("RGB").resize((wide, high), Image.Resampling.BILINEAR)
    if border:
        canvas = Image.new("RGB", (width, height), tuple(border))
        canvas.paste(photo, ((width - wide) // 2, (height - high) // 2))
        photo = canvas
    return np.asarray(photo, np.float32)[np.newaxis]
