"""The decoder's truth table: files of every format, mode, depth and layout, each with its right pixels.

Every file is made of an array, by hand or by a program that tlkit does not read with, so that what is right
is known without tlkit and without Pillow's readers. What has no right pixels must be refused.

Modules: `table` (a row), `pngs`, `tiffs`, `bitmaps` (BMP, ICO), `rasters` (TGA, PCX, SGI, PSD, PNM, QOI),
`photos` (JPEG, GIF, WebP, AVIF, JPEG 2000, HEIC).
"""

from __future__ import annotations

from functools import cache
from importlib import import_module

from truth.table import Row

MODULES = ("bitmaps", "photos", "pngs", "rasters", "tiffs")


@cache
def rows(name: str) -> tuple[Row, ...]:
    """The rows of a module, which are made once."""
    return tuple(import_module(f"truth.{name}").rows())
