"""The example that reads photographs for an export gives what tlkit gives, or refuses."""

from __future__ import annotations

import runpy
import struct
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import hostile
import numpy as np
import pytest
from PIL import Image
from truth import photos, pngs
from truth.table import Row

from tlkit.images.decoder import read_image

ROOT = Path(__file__).parents[1]
DAMAGE = ("flipped bit", "rest are zeros", "apple's chunk")  # which only tlkit looks for


@cache
def example() -> Callable[..., Any]:
    found: Callable[..., Any] = runpy.run_path(str(ROOT / "examples" / "read_image.py"))[
        "read_image"
    ]
    return found


def rows() -> list[Row]:
    kinds = [row for row in photos.rows() if row.name.startswith(("jpeg ", "webp "))]
    return [row for row in (*pngs.rows(), *kinds) if not any(word in row.name for word in DAMAGE)]


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, about metadata
def test_it_gives_the_same_pixels_or_refuses(tmp_path: Path) -> None:
    path, read, faults = tmp_path / "image", 0, []
    for row in rows():
        path.write_bytes(row.data)
        size = (21, 37) if row.pixels is None else row.pixels.shape[:2]
        try:
            found = example()(path, *size, row.value_range)[0]
        except (OSError, ValueError, SyntaxError, IndexError, struct.error):
            continue
        if row.pixels is None:
            faults.append(f"{row}: read, but tlkit refuses it")
        elif np.abs(found - row.pixels).max() > max(row.tolerance, 2):
            faults.append(f"{row}: up to {np.abs(found - row.pixels).max()} away")
        read += 1
    assert not faults, "\n".join(faults)
    assert read > 200


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_it_turns_images_upright(format_: str, orientation: int, tmp_path: Path) -> None:
    options = {"lossless": True} if format_ == "WEBP" else {}
    path = tmp_path / "image"
    path.write_bytes(hostile.turned(orientation, format_, **options))
    away = np.abs(example()(path, 60, 90)[0] - read_image(path, (60, 90))[0])
    assert away.mean() < 0.5


def test_large_photographs_are_shrunk_alike(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pixels = np.cumsum(rng.normal(0, 6, (900, 1300, 3)), axis=1) % 256
    path = tmp_path / "image.jpg"
    path.write_bytes(hostile.jpeg(Image.fromarray(pixels.astype(np.uint8)), exif=hostile.exif(6)))
    assert np.abs(example()(path, 160, 224)[0] - read_image(path, (160, 224))[0]).max() <= 1


def test_other_formats_are_refused(tmp_path: Path) -> None:
    for format_ in ("TIFF", "BMP", "GIF"):
        path = tmp_path / "image"
        path.write_bytes(hostile.encode(hostile.rgb(), format_))
        with pytest.raises(ValueError, match="convert it to PNG"):
            example()(path, 8, 8)


def test_the_page_shows_the_example_as_it_is() -> None:
    page = (ROOT / "docs" / "export.md").read_text("utf-8")
    assert f"```python\n{(ROOT / 'examples' / 'read_image.py').read_text('utf-8')}```" in page
