"""Whatever bytes a file holds, `read_image` gives pixels or an `ImageError`, and soon."""

from __future__ import annotations

import os
import time
import zlib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import hostile
import numpy as np
import pytest
from PIL import features
from truth import MODULES, pngs, rows

from tlkit.errors import ImageError
from tlkit.images.decoder import read_image

SECONDS = 5.0  # of a processor: the longest that one file may take
ROUNDS = int(os.environ.get("TLKIT_FUZZ", "1"))
"""How many times as many damaged files the slow tests read; every night it is 16."""
SHORT, LONG = 400, 5_000 * ROUNDS
VERY_LONG = int(os.environ.get("TLKIT_FUZZ_IMAGES", "100_000"))

Rng = np.random.Generator


@cache
def seeds() -> dict[str, bytes]:
    """Small whole files of every format and of the modes that take a path of their own."""
    small = hostile.rgb().resize((48, 40))
    made = {
        "jpeg": hostile.jpeg(small, exif=hostile.exif(6)),
        "progressive": hostile.jpeg(small, progressive=True),
        "cmyk": hostile.jpeg(small.convert("CMYK")),
        "png": hostile.encode(small, "PNG", exif=hostile.exif(3)),
        "png palette": hostile.encode(small.quantize(4), "PNG", transparency=0),
        "png alpha": hostile.encode(small.convert("RGBA"), "PNG"),
        "png 16 bit": hostile.encode(hostile.grey16().resize((48, 40)), "PNG"),
        "apng": hostile.animated("PNG"),
        "gif": hostile.animated("GIF"),
        "bmp": hostile.encode(small, "BMP"),
        "webp": hostile.encode(small, "WEBP", exif=hostile.exif(6)),
        "webp lossless": hostile.animated("WEBP", lossless=True),
        "tiff": hostile.encode(small, "TIFF", exif=hostile.exif(8)),
        "tiff lzw": hostile.encode(small, "TIFF", compression="tiff_lzw"),
        "tiff jpeg": hostile.encode(small, "TIFF", compression="jpeg"),
        "tiff pages": hostile.animated("TIFF"),
        "big tiff": hostile.encode(small, "TIFF", big_tiff=True),
        "tga": hostile.encode(small, "TGA", compression="tga_rle"),
        "pcx": hostile.encode(small, "PCX"),
        "ppm": hostile.encode(small, "PPM"),
        "sgi": hostile.encode(small, "SGI"),
        "ico": hostile.encode(small, "ICO"),
        "dds": hostile.encode(small, "DDS"),
        "icns": hostile.encode(small, "ICNS"),
    }
    if features.check("avif"):
        made["avif"] = hostile.encode(small, "AVIF", exif=hostile.exif(6))
    if features.check("jpg_2000"):
        made["jpeg 2000"] = hostile.encode(small, "JPEG2000")
    table = [row for name in MODULES for row in rows(name) if row.pixels is not None]
    return made | {row.name: row.data for row in table[::11] if len(row.data) < 20_000}


def _flip(data: bytearray, rng: Rng) -> None:
    for _ in range(rng.integers(1, 9)):
        data[_place(data, rng)] ^= 1 << int(rng.integers(8))


def _overwrite(data: bytearray, rng: Rng) -> None:
    place, count = _place(data, rng), int(rng.integers(1, 9))
    data[place : place + count] = [b"\0", b"\xff", b"\x7f"][int(rng.integers(3))] * count


def _insert(data: bytearray, rng: Rng) -> None:
    place = _place(data, rng)
    data[place:place] = rng.bytes(int(rng.integers(1, 33)))


def _delete(data: bytearray, rng: Rng) -> None:
    place = _place(data, rng)
    del data[place : place + int(rng.integers(1, 33))]


def _truncate(data: bytearray, rng: Rng) -> None:
    del data[int(rng.integers(len(data))) :]


def _place(data: bytearray, rng: Rng) -> int:
    """Half of the time within the first bytes, where the headers are."""
    return int(rng.integers(min(len(data), 256) if rng.random() < 0.5 else len(data)))


MUTATIONS: tuple[Callable[[bytearray, Rng], None], ...] = (
    _flip, _overwrite, _insert, _delete, _truncate,
)  # fmt: skip


def mutants(count: int) -> Iterator[tuple[str, bytes]]:
    """Damaged files in turn of every seed: the same ones on every run."""
    files = list(seeds().items())
    for number in range(count):
        rng = np.random.default_rng((2024, number))
        name, data = files[number % len(files)]
        damaged = bytearray(data)
        for mutate in rng.choice(len(MUTATIONS), size=rng.integers(1, 4)):
            if damaged:
                MUTATIONS[mutate](damaged, rng)
        if number % 3 == 0:
            _mend_checksums(damaged)
        yield f"mutant {number} of {name}", bytes(damaged)


def _mend_checksums(data: bytearray) -> None:
    """Make those of a PNG right, so that what lies behind them is reached."""
    index = len(pngs.SIGNATURE)
    while data.startswith(pngs.SIGNATURE) and index + 12 <= len(data):
        end = index + 8 + int.from_bytes(data[index : index + 4], "big")
        data[end : end + 4] = zlib.crc32(data[index + 4 : end]).to_bytes(4, "big")
        index = end + 4


def attempt(name: str, source: bytes | Path) -> bool:
    """Read it, and say whether that went well; anything but an `ImageError` passes through."""
    start = time.thread_time()
    try:
        pixels, facts = read_image(source, (24, 32))
    except ImageError as error:
        named = bool(error.reason) and error.path == (
            "<bytes>" if isinstance(source, bytes) else str(source)
        )
        read = False
    else:
        named = pixels.shape == (24, 32, 3) and pixels.dtype == np.uint8
        read = named and 1 <= facts.orientation <= 8
    assert named, name
    assert time.thread_time() - start < SECONDS, name
    return read


@pytest.mark.filterwarnings("ignore")  # as users have it: a warning may not stand in for an error
@pytest.mark.parametrize(
    "count",
    [
        SHORT,
        pytest.param(LONG, marks=pytest.mark.slow),
        pytest.param(VERY_LONG, marks=pytest.mark.long),
    ],
)
def test_damaged_files_give_pixels_or_an_image_error(count: int) -> None:
    read = sum(attempt(name, data) for name, data in mutants(count))
    assert count / 20 < read < count - count / 20  # the damage is neither nothing nor total


def test_warnings_turned_to_errors_do_not_escape(tmp_path: Path) -> None:
    path = tmp_path / "mutant"
    for name, data in mutants(SHORT):
        path.write_bytes(data)
        attempt(name, path)


def test_random_bytes_behind_every_signature_are_refused() -> None:
    rng = np.random.default_rng(7)
    for name, data in seeds().items():
        assert not attempt(name, data[:16] + rng.bytes(2000)), name
