"""Pixels as text that stands in a page itself."""

from __future__ import annotations

import base64
import io

from PIL import Image

from tlkit.images.reader import Size
from tlkit.images.samples import Pixels


def data_address(pixels: Pixels, size: Size, *, quality: int = 75) -> str:
    """Return pixels, stretched to a height and width, as a JPEG that stands in the page itself."""
    file = io.BytesIO()
    image = Image.fromarray(pixels)
    if image.size != size[::-1]:
        image = image.resize(size[::-1], Image.Resampling.LANCZOS)
    image.save(file, "JPEG", quality=quality, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode('ascii')}"


def fitted(size: Size, longest: int) -> Size:
    """Return a height and width of the same proportions whose longer side has so many pixels."""
    height, width = size
    scale = longest / max(size)
    return max(1, round(height * scale)), max(1, round(width * scale))
