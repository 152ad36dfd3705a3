"""`read_image` gives the right pixels and facts for every kind of file, and names what it cannot read.

What is right is known from the array that each file was made of, never from the code under test.
"""

from __future__ import annotations

import io
import os
import struct
import sys
import time
import warnings
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import hostile
import numpy as np
import numpy.typing as npt
import PIL
import pytest
import tifffile
from hostile import HEIGHT, WIDTH, Case
from PIL import Image, features
from PIL.JpegImagePlugin import JpegImageFile
from truth import tiffs

from tlkit.core.machine import Budget
from tlkit.errors import ImageError, SettingError
from tlkit.images import decoder
from tlkit.images.appearance import UNKNOWN
from tlkit.images.decoder import (
    BACKGROUND,
    MAX_PIXELS,
    BadFile,
    ImageFacts,
    as_batch,
    read_image,
    read_image_at_sizes,
)
from tlkit.images.loader import LOADING_BYTES, read_batches, reading_ahead
from tlkit.images.metadata import exif_of_block

Pixels = npt.NDArray[np.uint8]
SIZE = (HEIGHT, WIDTH)  # reading at the stored size resizes nothing, so that pixels can be compared

PILLOW = tuple(int(number) for number in PIL.__version__.split(".")[:2])
"""Older versions read a little less, by themselves as under tlkit; where it matters the tests say what."""


def grey_quadrants() -> Pixels:
    grey = np.asarray(hostile.rgb().convert("L"))
    return np.repeat(grey[..., np.newaxis], 3, axis=2)


def difference(found: Pixels, expected: Pixels) -> float:
    return float(np.abs(found.astype(int) - expected.astype(int)).mean())


@pytest.mark.parametrize("case", [case for case in hostile.CASES if case.readable], ids=str)
def test_every_readable_case_shows_its_image(case: Case, tmp_path: Path) -> None:
    pixels, facts = read_image(case.write(tmp_path), SIZE)
    assert difference(pixels, grey_quadrants() if case.grey else hostile.quadrants()) < 2.0
    assert facts.format == case.format
    assert pixels.dtype == np.uint8
    assert pixels.flags.writeable


@pytest.mark.parametrize("case", [case for case in hostile.CASES if not case.readable], ids=str)
def test_every_unreadable_case_says_why_and_what_it_is(case: Case, tmp_path: Path) -> None:
    path = case.write(tmp_path)
    with pytest.raises(ImageError) as caught:
        read_image(path, SIZE)
    assert case.reason in caught.value.reason
    assert caught.value.format == case.format
    assert caught.value.path == str(path)


@pytest.mark.parametrize(
    ("module", "data", "advice"),
    [
        ("pillow_heif", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", r'pip install "tlkit\[heic\]"'),
        ("pillow_jxl", b"\xff\x0a" + bytes(100), "pillow-jxl-plugin"),
    ],
)
def test_formats_that_need_a_package_say_which(
    module: str, data: bytes, advice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)  # as if it were not installed
    with pytest.raises(ImageError, match=advice):
        read_image(data, SIZE)


def test_what_no_file_system_has() -> None:
    for name, reason in (
        ("never there.jpg", "no such file"),
        ("null\0.jpg", "null"),
        ("x" * 5000, "too long"),
    ):
        with pytest.raises(ImageError, match=reason):
            read_image(name, SIZE)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may read everything")
def test_permission_denied_is_named(tmp_path: Path) -> None:
    path = tmp_path / "secret.jpg"
    path.write_bytes(hostile.jpeg())
    path.chmod(0)
    with pytest.raises(ImageError, match="permission denied"):
        read_image(path, SIZE)


def grey_key() -> int:
    return int(grey_quadrants()[0, 0, 0])


def with_background(image: Pixels) -> Pixels:
    """What is left when the colour of the upper left corner is transparent."""
    cleared = image.copy()
    cleared[(image == image[0, 0]).all(axis=2)] = BACKGROUND
    return cleared


def trns(*values: int) -> list[tuple[bytes, bytes]]:
    return [(b"tRNS", struct.pack(f">{len(values)}H", *values))]


def wide(values: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    return (values.astype(np.uint16) * 257).astype(">u2").reshape(HEIGHT, -1)


def small_grey(bits: int) -> tuple[Pixels, Pixels]:
    """Rows of packed samples of 1, 2 or 4 bits, and the samples: white, a middle grey, black."""
    samples = np.zeros(SIZE, np.uint8)
    samples[:48, :64], samples[48:, 64:] = 2**bits - 1, (2**bits - 1) // 2
    places = samples.reshape(HEIGHT, -1, 8 // bits)
    shifts = np.arange(8 // bits)[::-1] * bits
    return (places << shifts).sum(axis=2).astype(np.uint8), samples


def test_one_transparent_colour_is_laid_over_the_background() -> None:
    grey, colour = grey_quadrants(), hostile.quadrants()
    files = {
        "grey": (hostile.png(0, 8, grey[..., 0], trns(grey_key())), grey),
        "grey 16": (hostile.png(0, 16, wide(grey[..., 0]), trns(grey_key() * 257)), grey),
        "colour": (hostile.png(2, 8, colour.reshape(HEIGHT, -1), trns(*hostile.RED)), colour),
        "colour 16": (
            hostile.png(2, 16, wide(colour), trns(*(v * 257 for v in hostile.RED))),
            colour,
        ),
    }
    for name, (data, image) in files.items():
        pixels, facts = read_image(data, SIZE)
        np.testing.assert_array_equal(pixels, with_background(image), err_msg=name)
        assert facts.transparent, name


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_grey_of_few_bits_and_its_transparent_level(bits: int) -> None:
    rows, samples = small_grey(bits)
    levels = np.repeat((samples * (255 // (2**bits - 1)))[..., np.newaxis], 3, axis=2)
    keys = (None, 0, (2**bits - 1) // 2, 2**bits - 1)
    for key in keys if bits > 1 or PILLOW >= (12, 1) else keys[:1]:  # the level of one bit is lost
        data = hostile.png(0, bits, rows, () if key is None else trns(key), width=WIDTH)
        pixels, facts = read_image(data, SIZE)
        expected = (
            levels if key is None else np.where((samples == key)[..., np.newaxis], 255, levels)
        )
        np.testing.assert_array_equal(pixels, expected, err_msg=str(key))
        assert (facts.bits, facts.transparent) == (bits, key is not None)


def test_half_transparency_is_mixed_with_white() -> None:
    image = Image.new("RGBA", (8, 8), (100, 0, 200, 51))  # one fifth opaque
    for format_ in ("PNG", "TIFF"):
        pixels, facts = read_image(hostile.encode(image, format_), (8, 8))
        np.testing.assert_allclose(pixels[0, 0], [224, 204, 244], atol=1)
        assert facts.transparent


def test_hidden_colours_do_not_show() -> None:
    hidden = Image.new("RGBA", (8, 8), (255, 0, 0, 0))
    assert read_image(hostile.encode(hidden, "PNG"), (4, 4))[0].min() == 255


def test_an_alpha_channel_that_hides_nothing_is_not_transparent() -> None:
    pixels, facts = read_image(hostile.encode(hostile.rgb().convert("RGBA"), "PNG"), SIZE)
    np.testing.assert_array_equal(pixels, hostile.quadrants())
    assert (facts.mode, facts.transparent) == ("RGBA", False)


def test_16_bit_grey_is_scaled_and_never_clipped() -> None:
    ramp = np.linspace(0, 65535, HEIGHT * WIDTH).astype(np.uint16).reshape(SIZE)
    expected = np.round(ramp / 257)
    big_endian = Image.frombytes("I;16B", (WIDTH, HEIGHT), ramp.astype(">u2").tobytes())
    files = {
        "png": hostile.encode(Image.fromarray(ramp), "PNG"),
        "tiff": hostile.encode(Image.fromarray(ramp), "TIFF"),
        "tiff, big-endian": hostile.encode(big_endian, "TIFF"),
        "tiff, 32 bits": hostile.encode(Image.fromarray(ramp.astype(np.int32)), "TIFF"),
        "pgm": f"P5 {WIDTH} {HEIGHT} 65535\n".encode() + ramp.astype(">u2").tobytes(),
    }
    for name, data in files.items():
        np.testing.assert_array_equal(read_image(data, SIZE)[0][..., 1], expected, err_msg=name)


@pytest.mark.parametrize("value", [-1, 65536])
def test_32_bit_grey_beyond_16_bits_is_refused(value: int) -> None:
    image = Image.fromarray(np.full((4, 4), value, np.int32))
    with pytest.raises(ImageError, match="no agreed white"):
        read_image(hostile.encode(image, "TIFF"), (4, 4))


def test_other_colour_spaces() -> None:
    # The red of sRGB is L* 54.3 (of 100, in 255 steps), a* 80.8, b* 69.9 under the D50 of profiles.
    lab = Image.frombytes("LAB", (8, 8), bytes([138, 81, 70]) * 64)
    red = read_image(hostile.encode(lab, "TIFF"), (8, 8))[0][0, 0]
    np.testing.assert_allclose(red, [255, 0, 0], atol=6)
    kinds = [("CMYK", "TIFF"), ("YCbCr", "JPEG"), ("1", "PNG")]
    if PILLOW >= (13, 0):  # before, what Pillow wrote it could not read
        kinds.append(("YCbCr", "TIFF"))
    for mode, format_ in kinds:
        image = hostile.rgb().convert(mode)
        options = {"quality": 95, "subsampling": 0} if format_ == "JPEG" else {}
        pixels, facts = read_image(hostile.encode(image, format_, **options), SIZE)
        assert difference(pixels, np.asarray(image.convert("RGB"))) < 2, (mode, format_)
        assert facts.bits == (1 if mode == "1" else 8)


def photograph(height: int, width: int) -> Pixels:
    """Smooth hills and fine grain: something for scaling to get wrong."""
    rng = np.random.default_rng(5)
    rows, columns = np.mgrid[:height, :width] / 40
    hills = [np.sin(rows * a + b) + np.cos(columns * b - a) for a, b in rng.uniform(0.3, 2, (3, 2))]
    values = 128 + 45 * np.stack(hills, axis=2) + rng.normal(0, 12, (height, width, 3))
    return np.clip(values, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_drafted_jpegs_are_turned_and_stretched_like_whole_ones(orientation: int) -> None:
    image = photograph(700, 1000)
    stored = np.ascontiguousarray(hostile.STORED_AS[orientation](image))
    data = hostile.jpeg(Image.fromarray(stored), exif=hostile.exif(orientation))
    size = (150, 230)
    pixels, facts = read_image(data, size)
    whole = Image.fromarray(image).resize(size[::-1], Image.Resampling.BILINEAR)
    assert difference(pixels, np.asarray(whole)) < 2.0
    assert facts.orientation == orientation
    assert (facts.height, facts.width) == stored.shape[:2]


@pytest.mark.parametrize("format_", ["PNG", "BMP", "TIFF"])
def test_lossless_files_are_resized_exactly_as_pillow_does(format_: str) -> None:
    image = Image.fromarray(photograph(300, 400))
    pixels, _ = read_image(hostile.encode(image, format_), (160, 224))
    expected = image.resize((224, 160), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(pixels, np.asarray(expected))


def test_a_draft_is_never_smaller_than_the_size_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    drafted: list[tuple[int, int]] = []
    load = JpegImageFile.load

    def watch(self: JpegImageFile) -> object:
        drafted.append(self.size)
        return load(self)

    monkeypatch.setattr(JpegImageFile, "load", watch)
    data = hostile.jpeg(Image.fromarray(photograph(1000, 1500)), exif=hostile.exif(6))
    for size in (
        (96, 96),
        (160, 160),
        (224, 224),
        (400, 230),
        (230, 400),
        (700, 300),
        (1500, 1000),
    ):
        drafted.clear()
        read_image(data, size)
        width, height = max(drafted)  # the thumbnail may have a coarser one of its own
        assert width >= size[0], size  # it lies on its side: the height asked for is its width
        assert height >= size[1], size


@pytest.mark.parametrize("shape", [(1000, 1500), (683, 1024), (230, 900), (20, 30)])
def test_facts_do_not_depend_on_the_size_asked_for(shape: tuple[int, int]) -> None:
    data = hostile.jpeg(Image.fromarray(photograph(*shape)), exif=hostile.exif(8))
    first: ImageFacts | None = None
    for size in ((224, 224), (32, 32), (160, 160), (96, 300), (300, 96), (299, 299), (640, 480)):
        facts = read_image(data, size)[1]
        first = first or facts
        assert facts == first, size
        np.testing.assert_array_equal(facts.thumbnail, first.thumbnail, err_msg=str(size))


def test_whoever_wants_the_pixels_alone_gets_the_same_and_no_measures() -> None:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(256, size=(90, 70, 3), dtype=np.uint8)).save(
        file, "PNG"
    )
    pixels, facts = read_image(file.getvalue(), (32, 48))
    alone, fewer = read_image(file.getvalue(), (32, 48), measure=False)
    assert np.array_equal(alone, pixels)
    assert fewer == facts
    assert facts.appearance != UNKNOWN
    assert fewer.appearance == UNKNOWN


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("format_", ["JPEG", "PNG"])
def test_several_sizes_at_once_are_what_each_is_alone(
    format_: str, orientation: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And a JPEG is decoded once for each scale: here by 8, 4, 2 and not at all."""
    file = io.BytesIO()
    noise = np.random.default_rng(0).integers(256, size=(90, 130, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(noise).resize((2600, 1900)).save(file, format_, exif=exif)
    sizes = [(224, 224), (900, 700), (160, 320), (260, 260), (500, 400), (1900, 1500)]
    alone = [read_image(file.getvalue(), size) for size in sizes]
    drafts = []
    draft = JpegImageFile.draft

    def counted(image: Any, mode: Any, size: Any) -> Any:
        drafts.append(size)
        return draft(image, mode, size)

    monkeypatch.setattr(JpegImageFile, "draft", counted)
    pixels, facts = read_image_at_sizes(file.getvalue(), sizes)
    assert facts == alone[0][1]
    assert np.array_equal(facts.thumbnail, alone[0][1].thumbnail)
    for found, (expected, _) in zip(pixels, alone, strict=True):
        assert np.array_equal(found, expected)
    assert len(drafts) == (4 if format_ == "JPEG" else 0)


def test_the_thumbnail_is_the_upright_image_in_grey() -> None:
    for orientation in range(1, 9):
        _, facts = read_image(hostile.turned(orientation, "PNG"), (50, 60))
        expected = hostile.rgb().convert("L").resize((32, 32), Image.Resampling.BILINEAR)
        assert np.abs(facts.thumbnail.astype(int) - np.asarray(expected)).max() <= 1, orientation
        assert not facts.thumbnail.flags.writeable


def test_facts_say_how_a_file_is_stored() -> None:
    data = hostile.animated("GIF")
    assert read_image(data, (8, 8))[1] == ImageFacts(
        format="GIF",
        mode="P",
        width=WIDTH,
        height=HEIGHT,
        orientation=1,
        animated=True,
        transparent=False,
        bits=8,
        values=(20, 200),
        byte_count=len(data),
        digest=read_image(data, (9, 9))[1].digest,
        thumbnail=np.zeros((32, 32), np.uint8),
    )
    modes = {
        (facts.mode, facts.bits)
        for facts in (
            read_image(file, (8, 8))[1]
            for file in (
                hostile.jpeg(hostile.rgb().convert("CMYK")),
                hostile.png_rgb16(),
                hostile.encode(hostile.grey16(), "TIFF"),
            )
        )
    }
    assert modes == {("CMYK", 8), ("RGB", 16), ("I;16", 16)}


def test_the_digest_tells_files_apart() -> None:
    data = hostile.jpeg()
    same, other = (read_image(file, (8, 8))[1].digest for file in (bytes(data), data + b"\0"))
    assert same != other
    assert len(same) == 32
    assert same == read_image(data, (9, 9))[1].digest


def test_facts_survive_json() -> None:
    facts = read_image(hostile.turned(6, "PNG"), (8, 8))[1]
    again = ImageFacts.from_config(facts.to_config())
    assert again == facts
    np.testing.assert_array_equal(again.thumbnail, facts.thumbnail)


def test_a_bad_file_keeps_what_the_error_says() -> None:
    error = ImageError("two\nlines.jpg", "the file is empty", format="HTML")
    bad = BadFile.from_error(error)
    assert (bad.path, bad.reason, bad.format) == ("two\nlines.jpg", "the file is empty", "HTML")
    assert BadFile.from_json(bad.to_json()) == bad
    assert str(bad) == r"two\nlines.jpg: the file is empty (its bytes are HTML)"
    assert str(bad.error()) == str(error)


def test_the_limit_on_pixels_is_checked_before_decoding() -> None:
    data = hostile.encode(hostile.rgb(), "PNG")
    read_image(data, SIZE, max_pixels=WIDTH * HEIGHT)
    for file in (
        data,
        hostile.jpeg(),
        hostile.animated("WEBP"),
        hostile.encode(hostile.rgb(), "TIFF"),
    ):
        with pytest.raises(ImageError, match=r"limit `max_pixels`=12287"):
            read_image(file, SIZE, max_pixels=WIDTH * HEIGHT - 1)
    with pytest.raises(ImageError, match="larger than 179 megapixels"):
        read_image(hostile.bomb(), SIZE)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("tile", [(128, 2**29), (2**29, 16), (2**20, 2**20)])
def test_tiles_far_larger_than_their_image_are_refused(bits: int, tile: tuple[int, int]) -> None:
    """Tiles are unpacked whole: a kilobyte would take gigabytes."""
    tags = {258: bits, 273: None, 279: None, 322: tile[0], 323: tile[1], 324: 8, 325: 64}
    with pytest.raises(ImageError, match=rf"tiles of {tile[0]} x {tile[1]} pixels for an image of"):
        read_image(tiffs.written(bytes(64), tags), SIZE)


def test_usual_tiles_of_a_small_image_are_read() -> None:
    file = io.BytesIO()
    tifffile.imwrite(file, np.full((10, 20), 77, np.uint8), tile=(1024, 1024), compression="zlib")
    assert (read_image(file.getvalue(), SIZE)[0] == 77).all()


def test_a_tiff_of_very_many_channels_is_refused() -> None:
    tags = {258: [8] * 500, 262: 2, 277: 500, 338: [0] * 497}
    with pytest.raises(ImageError, match="500 channels"):
        read_image(tiffs.written(bytes(64), tags), SIZE)


def test_between_pillows_warning_and_the_limit_an_image_is_read_in_silence() -> None:
    side = 9_600  # 92 megapixels: Pillow warns from 89 on
    assert Image.MAX_IMAGE_PIXELS is not None
    assert Image.MAX_IMAGE_PIXELS < side * side < MAX_PIXELS
    rows = zlib.compress(bytes((side // 8 + 1) * side), 1)
    data = hostile.png_chunks(side, side, 1, rows)
    pixels, facts = read_image(data, (8, 8))
    assert (pixels.max(), facts.width) == (0, side)


def test_a_file_too_large_for_an_image_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "film.jpg"
    with path.open("wb") as file:
        file.truncate(2**27)  # sparse: takes no room
    with pytest.raises(ImageError, match="134 MB are too many"):
        read_image(path, SIZE, max_pixels=1000)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_camera_and_day_are_read_as_pillow_reads_them(kind: str) -> None:
    if not features.check("avif") and kind == "AVIF":
        pytest.skip("needs a Pillow with AVIF")
    exif = Image.Exif()
    exif[271], exif[272], exif[306] = "NIKON CORPORATION", "NIKON D90\0", "2024:01:02 03:04:05"
    exif.get_ifd(34665)[36867] = "2023:05:31 10:00:00"
    file = io.BytesIO()
    Image.fromarray(photograph(40, 60)).save(file, kind, exif=exif)
    _, facts = read_image(file.getvalue(), (32, 32))
    assert facts.camera == "NIKON CORPORATION NIKON D90"
    # Pillow writes no inner directory into a TIFF, so that the day of the last change is all it says
    assert facts.taken == ("2024-01-02" if kind == "TIFF" else "2023-05-31")
    assert ImageFacts.from_config(facts.to_config()) == facts


def test_exif_that_says_little_or_nonsense_is_no_error() -> None:
    exif = Image.Exif()
    exif[271], exif[272], exif[306] = "Apple", "Apple\tiPhone \x07 " + "x" * 300, "yesterday"
    _, facts = read_image(hostile.jpeg(Image.fromarray(photograph(40, 60)), exif=exif), (32, 32))
    assert facts.camera.startswith("Apple iPhone x")
    assert len(facts.camera) <= 64
    assert facts.taken == ""
    whole = hostile.jpeg(Image.fromarray(photograph(40, 60)), exif=exif)
    at = whole.index(b"Apple\0")
    block = whole.index(b"Exif\0\0") + 6
    for cut in range(0, at - block, 7):  # a block that ends early says what comes before its end
        exif_of_block(whole[block : block + cut])


def damaged_exif() -> bytes:
    """An EXIF block whose last tag points beyond its end; Pillow warns of it."""
    entries = struct.pack("<HHLL", 274, 3, 1, 6) + struct.pack("<HHLL", 282, 5, 1, 60_000)
    return b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", 2) + entries + bytes(4)


def bare_jpeg(image: Image.Image, exif: bytes) -> bytes:
    """Without the JFIF resolution, so that Pillow looks for one in the EXIF block."""
    data = hostile.jpeg(image, exif=exif)
    app0 = data.index(b"\xff\xe0")
    return data[:app0] + data[app0 + 18 :]


def test_pillows_warnings_about_metadata_do_not_reach_the_user() -> None:
    stored = hostile.stored_as(6)
    tiff = bytearray(
        hostile.encode(hostile.rgb(), "TIFF", description="words that are long enough")
    )
    entry = tiff.index(struct.pack("<HH", 270, 2))
    tiff[entry + 4 : entry + 8] = struct.pack("<L", 10**6)  # more text than the file has bytes
    files: dict[str, tuple[bytes, Callable[[bytes], object]]] = {
        "jpeg": (bare_jpeg(stored, damaged_exif()), lambda data: Image.open(io.BytesIO(data))),
    }
    if PILLOW >= (13, 0):  # before, Pillow could not read it at all
        files["tiff"] = bytes(tiff), lambda data: Image.open(io.BytesIO(data)).load()
    for name, (data, pillow) in files.items():
        with pytest.warns(
            UserWarning, match="EXIF|Truncated|larger"
        ):  # else this test proves nothing
            pillow(data)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            pixels, _ = read_image(data, SIZE)
        assert difference(pixels, hostile.quadrants()) < 2, name


def test_threads_read_what_one_thread_reads() -> None:
    files = [
        hostile.turned(n, format_)
        for n in range(1, 9)
        for format_ in ("JPEG", "PNG", "TIFF", "WEBP")
    ]
    alone = [read_image(data, (40, 50))[0] for data in files]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda data: read_image(data, (40, 50))[0], files * 5))
    for found, expected in zip(together, alone * 5, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_images_of_more_pixels_than_may_be_in_flight_go_one_after_the_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = hostile.encode(hostile.rgb(), "PNG")
    monkeypatch.setattr(decoder, "_IN_FLIGHT", Budget(WIDTH * HEIGHT // 2))
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: read_image(data, SIZE)[0], range(16)))
    np.testing.assert_array_equal(found, [hostile.quadrants()] * 16)


def test_arrays_are_resized_as_files_are() -> None:
    image = photograph(300, 400)
    from_file, _ = read_image(hostile.encode(Image.fromarray(image), "PNG"), (160, 224))
    for given in (image, image.astype(np.float64), image.astype(np.int16)[np.newaxis]):
        batch = as_batch(given, (160, 224))
        assert batch.dtype == np.uint8
        np.testing.assert_array_equal(batch, from_file[np.newaxis])


def test_arrays_are_rounded_and_may_be_dark_or_empty() -> None:
    assert as_batch(np.full((2, 1, 1, 3), 0.5) * [1, 3, 5], (1, 1))[1, 0, 0].tolist() == [0, 2, 2]
    assert as_batch(np.zeros((1, 2, 2, 3), np.float32), (2, 2)).max() == 0
    assert as_batch(np.ones((1, 2, 2, 3), np.uint8), (2, 2)).max() == 1
    assert as_batch(np.zeros((0, 5, 5, 3), np.float32), (2, 2)).shape == (0, 2, 2, 3)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((5, 5)), r"shape \(5, 5\) and dtype float64"),
        (np.zeros((1, 5, 5, 4), np.uint8), r"shape \(1, 5, 5, 4\)"),
        (np.zeros((1, 0, 5, 3), np.uint8), r"shape \(1, 0, 5, 3\)"),
        (np.full((1, 2, 2, 3), np.nan), "from nan to nan"),
        (np.full((1, 2, 2, 3), np.inf, np.float32), "from inf to inf"),
        (np.full((1, 2, 2, 3), -1), "from -1 to -1"),
        (np.full((1, 2, 2, 3), 255.5), "to 255.5"),
        (np.full((1, 2, 2, 3), 0.9), "looks scaled to 0-1"),
        (np.full((1, 2, 2, 3), "red"), "dtype <U3"),
        (np.zeros((1, 2, 2, 3), bool), "dtype bool"),
    ],
)
def test_arrays_that_are_no_images_are_refused(
    array: npt.NDArray[np.generic], message: str
) -> None:
    with pytest.raises(SettingError, match=message):
        as_batch(array, (2, 2))


def test_batches_keep_their_size_and_order_whatever_cannot_be_read(tmp_path: Path) -> None:
    good = {3, 4, 9}  # nothing of the first batch and of the third
    paths = [tmp_path / f"{number:02d}.png" for number in range(11)]
    for number, path in enumerate(paths):
        if number in good:
            Image.new("RGB", (8, 8), (number, 0, 0)).save(path)
    batches = list(read_batches(paths, (4, 5), 3))
    assert [len(outcomes) for _, _, outcomes in batches] == [3, 3, 3, 2]
    assert [indices.tolist() for indices, _, _ in batches] == [[], [3, 4], [], [9]]
    assert all(pixels.shape == (len(rows), 4, 5, 3) for rows, pixels, _ in batches)
    assert [pixels[:, 0, 0, 0].tolist() for _, pixels, _ in batches] == [[], [3, 4], [], [9]]
    outcomes = [outcome for _, _, found in batches for outcome in found]
    assert {n for n, found in enumerate(outcomes) if isinstance(found, ImageFacts)} == good
    bad = [str(paths[n]) for n in range(11) if n not in good]
    assert [found.path for found in outcomes if isinstance(found, BadFile)] == bad


@pytest.mark.parametrize(("side", "at_first", "later"), [(224, 1024, 445), (1200, 62, 62)])
def test_decoding_begins_at_once_and_at_most_256_mib_wait(
    side: int, at_first: int, later: int
) -> None:
    asked: list[str | Path] = []
    tiny = np.zeros((1, 1, 3), np.uint8)

    def read(path: str | Path, _size: tuple[int, int], **_options: object) -> Any:
        asked.append(path)
        return tiny, path

    def settled() -> int:
        """Wait until the threads have nothing to do."""
        before = -1
        while len(asked) > before:
            before = len(asked)
            time.sleep(0.5)
        return before

    paths = (str(number) for number in range(4000))
    with reading_ahead(paths, (side, side), read=read, first_bytes=LOADING_BYTES) as decoded:
        assert settled() == at_first
        taken = [next(decoded)[1] for _ in range(1000)]  # type: ignore[index]
        assert settled() == 1000 + later
    assert taken == [str(number) for number in range(1000)]
    assert settled() == 1000 + later, "it ends with the context"
