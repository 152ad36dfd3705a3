"""Whatever Pillow can write, in every mode and format, is read rightly or refused: no list can forget it."""

from __future__ import annotations

import io
import itertools
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageOps
from truth.table import HEIGHT, WIDTH, over_white, shares, whole

from tlkit.errors import ImageError
from tlkit.images.decoder import read_image

Pixels = npt.NDArray[np.uint8]

COMPRESSIONS: Final = ("tiff_lzw", "tiff_adobe_deflate", "packbits", "group3", "group4", "tiff_ccitt", "jpeg",
                       "zstd", "lzma", "webp")  # fmt: skip
OPTIONS: Final[dict[str, list[dict[str, Any]]]] = {
    "AVIF": [{"quality": 95, "subsampling": name} for name in ("4:4:4", "4:2:0")],
    "DDS": [{}, {"pixel_format": "DXT1"}, {"pixel_format": "BC3"}, {"pixel_format": "BC5"}],
    "GIF": [{}, {"interlace": 0}],
    "JPEG": [
        {"quality": 95, "subsampling": 0, **more}
        for more in ({}, {"progressive": True}, {"optimize": True}, {"restart_marker_rows": 1})
    ],
    "JPEG2000": [{}, {"mct": 0}, {"no_jp2": True}, {"tile_size": (16, 16)}, {"irreversible": True}],
    "PNG": [{}, {"optimize": True}],
    "SGI": [{}, {"bpc": 2}],
    "TGA": [{}, {"compression": "tga_rle"}, {"orientation": -1}],
    "TIFF": [
        {**kind, **more}
        for kind in ({}, *({"compression": name} for name in COMPRESSIONS))
        for more in ({}, {"big_tiff": True}, {"strip_size": 64}, {"tiffinfo": {274: 3}})
    ],
    "WEBP": [{"lossless": True}, {"quality": 95}, {"lossless": True, "exact": True}],
}
"""Options of writers, by format; the other formats are written without any."""


def images() -> Iterator[tuple[str, Image.Image]]:
    """An image of each mode."""
    three = np.rint(255 * shares(3)).astype(np.uint8)
    alpha = np.rint(255 * shares(5)[..., 4]).astype(np.uint8)
    wide = whole(1, 16)[..., 0].astype(np.uint16)
    colours = np.random.default_rng(5).integers(0, 256, (256, 3), dtype=np.uint8)
    yield "1", Image.fromarray(whole(1, 1)[..., 0].astype(bool))
    for count in (2, 16, 255, 256):
        image = Image.fromarray((three[..., 0].astype(int) * (count - 1) // 255).astype(np.uint8))
        image.putpalette(colours[:count].tobytes())
        yield f"P of {count}", image
    for mode in (
        "L",
        "LA",
        "RGB",
        "RGBA",
        "RGBX",
        "CMYK",
        "YCbCr",
        "LAB",
        "HSV",
        "PA",
        "La",
        "RGBa",
    ):
        bands = np.dstack([three, alpha])
        count = len(Image.new(mode, (1, 1)).getbands())
        kept = bands[..., [0, 3]] if count == 2 else bands[..., :count]
        yield mode, Image.frombytes(mode, (WIDTH, HEIGHT), kept.tobytes())
    for mode in ("I;16", "I;16B"):
        raw = wide.astype(">u2" if mode.endswith("B") else "<u2").tobytes()
        yield mode, Image.frombytes(mode, (WIDTH, HEIGHT), raw)
    yield "I", Image.fromarray(wide.astype(np.int32))
    yield "F", Image.fromarray(shares(1)[..., 0].astype(np.float32))


def written(step: int) -> Iterator[tuple[str, bytes]]:
    """Every file that Pillow's writers make of them, or every second, third, …"""
    Image.init()
    made = (
        (format_, mode, image, options)
        for format_, (mode, image) in itertools.product(sorted(Image.SAVE), images())
        for options in OPTIONS.get(format_, [{}])
    )
    for format_, mode, image, options in itertools.islice(made, 0, None, step):
        file = io.BytesIO()
        try:
            image.save(file, format_, **options)
        except Exception:  # noqa: BLE001 - it cannot: writers raise anything
            continue
        yield f"{format_} of {mode} {options}", file.getvalue()


def as_pillow_reads(data: bytes) -> Pixels | None:
    """What another program shows of a file; None where Pillow has no way to show it in 8 bits."""
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        upright = ImageOps.exif_transpose(image)
    if upright.mode.startswith("I"):
        grey = np.rint(np.asarray(upright, np.float64) / 257).astype(np.uint8)
        return np.repeat(grey[..., np.newaxis], 3, axis=2)
    if upright.mode in ("F", "LAB", "HSV"):
        return None
    seen = np.asarray(upright.convert("RGBA"))
    return over_white(seen[..., :3], seen[..., 3])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("step", [7, pytest.param(1, marks=pytest.mark.slow)])
def test_what_pillow_writes_is_read_as_it_is_or_refused(step: int) -> None:
    found: Counter[str] = Counter()
    wrong = []
    for name, data in written(step):
        try:
            seen, facts = read_image(data, (HEIGHT, WIDTH))
        except ImageError:
            found["refused"] += 1
            continue
        found["read"] += 1
        expected = as_pillow_reads(data)
        if expected is None:
            found["no other reader"] += 1
        elif (facts.height, facts.width) == expected.shape[:2] == (HEIGHT, WIDTH):
            away = np.abs(seen.astype(int) - expected).max()
            wrong += [f"{name}: up to {away} away"] if away > 2 else []
        else:
            found["resized"] += 1
    assert not wrong, f"{len(wrong)} of {found}:\n" + "\n".join(wrong)
    assert found["read"] > 500 / step, found
    assert found["refused"] > 50 / step, found
    assert found["no other reader"] + found["resized"] < 0.1 * found["read"], found
