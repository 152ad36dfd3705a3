"""The decoder gives the right pixels of every file in the truth table, or refuses it."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator

import numpy as np
import pillow_heif
import pytest
from PIL import BmpImagePlugin, GifImagePlugin, Image, ImageFile, PngImagePlugin, TiffImagePlugin
from truth import MODULES, rows
from truth.table import HEIGHT, WIDTH, Row

from tlkit.errors import ImageError
from tlkit.images.decoder import read_image


def fault(row: Row, data: bytes | None = None) -> str | None:
    """Say what is wrong with how a file is read, or None; given its bytes, they may be refused instead."""
    size = (HEIGHT, WIDTH) if row.pixels is None else row.pixels.shape[:2]
    try:
        found, facts = read_image(data or row.data, size, value_range=row.value_range)
    except ImageError as error:
        if row.pixels is not None and data is None:
            return f"{row}: refused, {error.reason}"
        if data is not None:
            return None
        return None if row.reason in error.reason else f"{row}: said to be {error.reason}"
    if row.pixels is None:
        return f"{row}: read, but it must be refused"
    if (facts.height, facts.width) != size:
        return f"{row}: {facts.height} x {facts.width}"
    away = np.abs(found.astype(int) - row.pixels).max()
    return f"{row}: up to {away} away" if away > row.tolerance else None


def assert_no(faults: Iterable[str | None]) -> None:
    found = [fault for fault in faults if fault]
    assert not found, f"{len(found)} faults:\n" + "\n".join(found[:50])


@pytest.mark.parametrize("name", MODULES)
def test_every_file_is_read_rightly_or_refused(name: str) -> None:
    assert_no(map(fault, rows(name)))


def let_others_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything in Pillow that another library may set, set."""
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    monkeypatch.setattr(ImageFile, "MAXBLOCK", 64)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    monkeypatch.setattr(TiffImagePlugin, "READ_LIBTIFF", True)
    monkeypatch.setattr(BmpImagePlugin, "USE_RAW_ALPHA", True)
    monkeypatch.setattr(PngImagePlugin, "MAX_TEXT_CHUNK", 1)
    strategy = GifImagePlugin.LoadingStrategy.RGB_ALWAYS
    monkeypatch.setattr(GifImagePlugin, "LOADING_STRATEGY", strategy)
    monkeypatch.setattr(Image, "ID", [])
    monkeypatch.setattr(Image, "OPEN", {})
    monkeypatch.setattr(pillow_heif.options, "THUMBNAILS", False)


@pytest.mark.parametrize("name", MODULES)
def test_what_others_set_in_pillow_decides_nothing(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    some = rows(name)[:: 5 if name == "tiffs" else 1]
    let_others_set(monkeypatch)
    assert_no(map(fault, some))
    assert_no(cut(some))


def cut(some: Iterable[Row]) -> Iterator[str | None]:
    """Cut files off somewhere: what is left must be refused, unless all pixels are still there."""
    for row in some:
        if row.pixels is not None:
            rng = np.random.default_rng(zlib.crc32(row.name.encode()))
            for share in (*rng.random(3), 0.98):
                yield fault(row, row.data[: max(1, int(len(row.data) * share))])


@pytest.mark.parametrize("name", MODULES)
def test_a_file_that_is_cut_off_is_never_taken_for_a_whole_one(name: str) -> None:
    assert_no(cut(rows(name)))


def test_facts_name_the_values_that_are_used() -> None:
    for row in rows("pngs"):
        if "in a range" in row.name:
            low, high = read_image(row.data, (9, 9))[1].values
            assert 0 <= low < 900, row.name  # about one in a thousand is left out
            assert 64_000 < high <= 65_535, row.name
