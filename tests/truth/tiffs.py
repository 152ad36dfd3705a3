"""TIFF: types of numbers, colours, planes, strips and tiles, packings, predictors, byte orders, transparency.

`tifffile` writes the broad product; what it cannot write, `written` does by hand.
"""

from __future__ import annotations

import io
import itertools
import struct
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt
import tifffile
from hostile import encode
from PIL import Image

from truth.pngs import palette
from truth.table import HEIGHT, WIDTH, Array, Row, eight, over_white, packed, shares, whole

PACKINGS = (None, "lzw", "deflate", "packbits", "zstd", "lzma")
NAMES = {"minisblack": 1, "miniswhite": 1, "rgb": 3}


def rows() -> Iterator[Row]:
    yield from _product()
    yield from _odd_bits()
    yield from _palettes()
    yield from _colours()
    yield from _extra_channels()
    yield from _packed_images()
    yield from _containers()
    yield from _refused()


def _stored(dtype: np.dtype[Any], channels: int) -> tuple[Array, float, float]:
    """Samples of a type, and which are black and white."""
    if dtype.kind == "f":
        return (shares(channels) * 3 - 1).astype(dtype), -1, 2
    if dtype.kind == "i":
        most = min(2 ** (8 * dtype.itemsize - 1) - 1, 100_000)
        return np.rint(shares(channels) * 2 * most - most).astype(dtype), -most, most
    most = 2 ** min(8 * dtype.itemsize, 20) - 1
    return np.rint(shares(channels) * most).astype(dtype), 0, most


def _product() -> Iterator[Row]:
    """Each packing and predictor with each type, colour, layout and byte order."""
    types = ("u1", "u2", "u4", "i1", "i2", "i4", "f2", "f4", "f8")
    for kind, colour, packing in itertools.product(types, NAMES, PACKINGS):
        dtype = np.dtype(kind)
        samples, black, white = _stored(dtype, NAMES[colour])
        ends = (white, black) if colour == "miniswhite" else (black, white)
        pixels = eight(samples, ends[1], ends[0])
        predictors = (
            (None, 3 if dtype.kind == "f" else 2) if packing not in (None, "packbits") else (None,)
        )
        layouts = ("contig", "separate") if colour == "rgb" else (None,)
        shapes: tuple[dict[str, Any], ...] = ({"rowsperstrip": 5}, {"tile": (16, 32)})
        for predictor, layout, shape, order in itertools.product(predictors, layouts, shapes, "<>"):
            known = kind in ("u1", "u2")
            data = _by_tifffile(
                samples, photometric=colour, compression=packing, predictor=predictor,
                planarconfig=layout, byteorder=order, **shape,
            )  # fmt: skip
            how = f"predictor {predictor or 1}"
            name = f"tiff {kind} {colour} {packing} {how} {layout} {shape} {order}"
            yield Row(name, data, pixels, 0, None if known else (black, white))
            if not known and packing is None:
                yield Row(f"{name}, white unknown", data, None, reason="value_range")


def _by_tifffile(samples: Array, **options: Any) -> bytes:
    stored = samples[..., 0] if samples.shape[2] == 1 else samples
    if options.get("planarconfig") == "separate":
        stored = np.moveaxis(stored, -1, 0)
    file = io.BytesIO()
    tifffile.imwrite(file, np.ascontiguousarray(stored), **options)
    return file.getvalue()


def written(
    rows: bytes | list[bytes], tags: Mapping[int, Any], *, order: str = "<", big: bool = False,
    size: tuple[int, int] = (WIDTH, HEIGHT),
) -> bytes:  # fmt: skip
    """A TIFF by hand. Each tag is a number, several, or a pair of a type and its bytes."""
    strips = [rows] if isinstance(rows, bytes) else rows
    wide = "Q" if big else "L"
    start = 16 if big else 8
    body = b"".join(strips)
    body += bytes(len(body) % 2)
    offsets = [start + sum(map(len, strips[:n])) for n in range(len(strips))]
    all_tags: dict[int, Any] = {
        256: size[0], 257: size[1], 258: 8, 259: 1, 262: 1, 277: 1,
        273: offsets, 279: [len(strip) for strip in strips], **tags,
    }  # fmt: skip
    entries, beyond = b"", b""
    place = start + len(body)
    tail = place + (8 if big else 2) + len(all_tags) * (20 if big else 12) + (8 if big else 4)
    for tag, value in sorted((t, v) for t, v in all_tags.items() if v is not None):
        if isinstance(value, tuple):
            kind, count, content = value
        else:
            numbers = np.atleast_1d(value)
            kind, count = (3 if numbers.max() < 65536 else 4), len(numbers)
            content = numbers.astype(f"{order}u{2 if kind == 3 else 4}").tobytes()
        if len(content) > (8 if big else 4):
            content, beyond = struct.pack(order + wide, tail + len(beyond)), beyond + content
        entries += struct.pack(f"{order}HH{wide}", tag, kind, count) + content.ljust(
            8 if big else 4, b"\0"
        )
    count = sum(value is not None for value in all_tags.values())
    tail_shift = b"".join(
        [struct.pack(order + ("Q" if big else "H"), count), entries, bytes(8 if big else 4)]
    )
    head = b"II" if order == "<" else b"MM"
    head += (
        struct.pack(order + "HHHQ", 43, 8, 0, place)
        if big
        else struct.pack(order + "HL", 42, place)
    )
    missing = bytes((len(all_tags) - count) * (20 if big else 12))
    return head + body + tail_shift + missing + beyond


def _odd_bits() -> Iterator[Row]:
    """Samples of a few bits, or of as many as microscopes give; and bits the other way round."""
    turned = bytes(int(f"{n:08b}"[::-1], 2) for n in range(256))
    for bits, colour, fill in itertools.product(
        (1, 2, 3, 4, 5, 6, 7, 10, 12, 14), (0, 1, 2), (1, 2)
    ):
        samples = whole(3 if colour == 2 else 1, bits)
        flat = packed(samples.reshape(HEIGHT, -1), bits).tobytes()
        pixels = eight(samples, 0, 2**bits - 1) if colour == 0 else eight(samples, 2**bits - 1)
        tags = {258: [bits] * samples.shape[2], 262: colour, 277: samples.shape[2], 266: fill}
        name = f"tiff {bits} bits colour {colour} fill order {fill}"
        content = flat.translate(turned) if fill == 2 else flat
        for order in "<>":
            yield Row(f"{name} {order}", written(content, tags, order=order), pixels)
        if fill == 1:
            yield Row(f"{name} deflate", written(zlib.compress(flat), {**tags, 259: 8}), pixels)


def _palettes() -> Iterator[Row]:
    for bits in (1, 2, 4, 8):
        places = whole(1, bits)[..., 0]
        content = packed(places, bits).tobytes()
        for scale in (257, 256, 1):  # how programs write a palette's 8 bits
            tags = {258: bits, 262: 3, 320: (palette(bits).T.astype(int) * scale).ravel()}
            data = written(content, tags)
            yield Row(f"tiff palette {bits} bits times {scale}", data, palette(bits)[places])
    short = written(whole(1, 8).astype(np.uint8).tobytes(), {262: 3, 320: np.arange(60)})
    yield Row("tiff palette too short", short, None, reason="palette")


def _colours() -> Iterator[Row]:
    for bits, order in ((8, "<"), (16, "<"), (16, ">")):
        inks = whole(4, bits)
        share = 1 - inks / (2**bits - 1)
        pixels = np.rint(255 * share[..., :3] * share[..., 3:]).astype(np.uint8)
        tags: dict[int, Any] = {258: [bits] * 4, 262: 5, 277: 4}
        content = inks.astype(f"{order}u{bits // 8}")
        name = f"tiff CMYK {bits} bits {order}"
        yield Row(name, written(content.tobytes(), tags, order=order), pixels, 1)
        planes = [content[..., n].tobytes() for n in range(4)]
        apart = written(planes, {**tags, 284: 2}, order=order)
        yield Row(f"{name} in planes", apart, pixels, 1)
        other = written(content.tobytes(), {**tags, 332: 2}, order=order)
        yield Row(f"{name}, but other inks", other, None)

    muted = np.rint(60 + 130 * shares(3)).astype(np.uint8)
    data = written(_lab(muted).tobytes(), {258: [8] * 3, 262: 8, 277: 3})
    yield Row("tiff L*a*b*", data, muted, 14)  # its steps are coarse

    luma = whole(3, 8).astype(np.uint8)
    luma[..., 1:] = luma[..., 1:] // 4 + 96  # colours that exist
    y, cb, cr = (luma[..., n].astype(float) - 128 * (n > 0) for n in range(3))
    seen = np.stack([y + 1.402 * cr, y - 0.344136 * cb - 0.714136 * cr, y + 1.772 * cb], axis=2)
    pixels = np.rint(seen.clip(0, 255)).astype(np.uint8)
    white = (5, 6, struct.pack("<12L", 0, 1, 255, 1, 128, 1, 255, 1, 128, 1, 255, 1))
    for packing, code in ((bytes, 1), (zlib.compress, 8), (imagecodecs.lzw_encode, 5)):
        tags = {258: [8] * 3, 259: code, 262: 6, 277: 3, 530: [1, 1], 532: white}
        data = written(packing(luma.tobytes()), tags)
        yield Row(f"tiff YCbCr compression {code}", data, pixels, 2)
    for colour in (4, 7, 9, 10, 32803, 32844, 34892):
        data = written(luma.tobytes(), {258: [8] * 3, 262: colour, 277: 3})
        yield Row(f"tiff colour {colour}", data, None, reason="colour space")


def _lab(rgb: npt.NDArray[np.uint8]) -> Array:
    """L*a*b* of sRGB under the D50 of profiles, as a TIFF has it: L* times 2.55, the others signed."""
    share = rgb / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    to_xyz = [
        [0.4360747, 0.3850649, 0.1430804],
        [0.2225045, 0.7168786, 0.0606169],
        [0.0139322, 0.0971045, 0.7141733],
    ]
    x, y, z = np.cbrt(
        np.moveaxis(linear @ np.transpose(to_xyz), -1, 0)
        / np.reshape([0.96422, 1, 0.82521], (3, 1, 1))
    )
    lab = np.stack([(116 * y - 16) * 2.55, 500 * (x - y), 200 * (y - z)], axis=2)
    stored: Array = np.rint(lab).astype(np.int64).astype(np.uint8)
    return stored


def _extra_channels() -> Iterator[Row]:
    """Opacity of either kind, and channels that mean something else."""
    for bits, colours, order in itertools.product((8, 16), (1, 3), "<>"):
        colour = whole(colours, bits)
        alpha = whole(5, bits)[..., 4]
        small, opaque = eight(colour, 2**bits - 1), eight(alpha, 2**bits - 1)
        times = np.rint(colour * (alpha / (2**bits - 1))[..., np.newaxis]).astype(np.int64)
        cases = {
            0: (colour, small), 1: (times, over_white(small, opaque)), 2: (colour, over_white(small, opaque)),
        }  # fmt: skip
        for meaning, (stored, pixels) in cases.items():
            pixel = np.dstack([stored, alpha]).astype(f"{order}u{bits // 8}")
            tags = {
                258: [bits] * (colours + 1),
                262: 1 if colours == 1 else 2,
                277: colours + 1,
                338: meaning,
            }
            name = f"tiff {colours} colours {bits} bits, extra {meaning} {order}"
            yield Row(
                name, written(pixel.tobytes(), tags, order=order), pixels, 2 if meaning else 0
            )
            planes = [pixel[..., n].tobytes() for n in range(colours + 1)]
            apart = written(planes, {**tags, 284: 2}, order=order)
            yield Row(f"{name} in planes", apart, pixels, 2 if meaning else 0)
    for count, meanings in ((5, [0, 0]), (5, [2, 0]), (5, [0, 2])):
        pixel = whole(5, 8).astype(np.uint8)
        at = 3 + meanings.index(2) if 2 in meanings else None
        pixels = pixel[..., :3] if at is None else over_white(pixel[..., :3], pixel[..., at])
        tags = {258: [8] * count, 262: 2, 277: count, 338: meanings}
        yield Row(
            f"tiff RGB and {meanings}", written(pixel.tobytes(), tags), pixels, at is not None
        )
    untold = {258: [8] * 4, 262: 2, 277: 4}
    yield Row("tiff RGB and one untold", written(whole(4, 8).astype("u1").tobytes(), untold),
              over_white(whole(3, 8).astype("u1"), whole(4, 8)[..., 3].astype("u1")), 1)  # fmt: skip
    for count, words in ((2, None), (3, [0, 0]), (4, [0, 0, 0]), (3, None)):
        bare: dict[int, Any] = {258: [8] * count, 262: 1, 277: count, 338: words}
        data = written(whole(count, 8).astype("u1").tobytes(), bare)
        yield Row(f"tiff of {count} bands without a word, {words}", data, None, reason="channels")


def _packed_images() -> Iterator[Row]:
    """JPEG and fax inside a TIFF."""
    smooth = np.rint(shares(3)[:1] * np.ones((HEIGHT, 1, 1)) * 255).astype(np.uint8)
    smooth = np.sort(smooth, axis=1)
    for colour, apart in itertools.product(("minisblack", "rgb"), (False, True)):
        samples = smooth if colour == "rgb" else smooth[..., :1]
        planar = {"planarconfig": "separate"} if apart else {}
        if apart and colour != "rgb":
            continue
        for level, shape in itertools.product((98, 100), ({}, {"rowsperstrip": 8})):
            data = _by_tifffile(samples, photometric=colour, compression="jpeg",
                                compressionargs={"level": level}, **planar, **shape)  # fmt: skip
            yield Row(f"tiff JPEG {colour} {level} {shape} {planar}", data, samples, 12)
    bilevel = whole(1, 1)
    for method in ("group3", "group4", "tiff_ccitt"):
        fax = encode(Image.fromarray(bilevel[..., 0] == 1), "TIFF", compression=method)
        yield Row(f"tiff {method}", fax, eight(bilevel, 1))
        tag = fax.index(struct.pack("<HHL", 262, 3, 1)) + 8
        yield Row(
            f"tiff {method}, white is 0", fax[:tag] + b"\0" + fax[tag + 1 :], eight(bilevel, 0, 1)
        )
    for code in (6, 99, 32771, 32809, 33003, 34676, 34677, 34712, 34887, 50001):
        data = written(whole(1, 8).astype("u1").tobytes(), {259: code})
        yield Row(f"tiff compression {code}", data, None, reason="compression")


def _containers() -> Iterator[Row]:
    samples = whole(3, 16)
    pixels = eight(samples, 65535)
    tags = {258: [16] * 3, 262: 2, 277: 3}
    for order, big in itertools.product("<>", (False, True)):
        content = samples.astype(f"{order}u2").tobytes()
        name = f"tiff {'big ' * big}{order}"
        yield Row(name, written(content, tags, order=order, big=big), pixels)
        strips = [content[n : n + WIDTH * 6] for n in range(0, len(content), WIDTH * 6)]
        each = written(strips, {**tags, 278: 1}, order=order, big=big)
        yield Row(f"{name} a strip for each row", each, pixels)
        backwards = _reversed_strips(strips, tags, order=order, big=big)
        yield Row(f"{name} strips in another order", backwards, pixels)
        without = written(content, {**tags, 279: None}, order=order, big=big)
        yield Row(f"{name} no byte counts", without, pixels)
        wrong = written(content, {**tags, 279: 7}, order=order, big=big)
        yield Row(f"{name} wrong byte counts", wrong, pixels)
        odd = {
            **tags,
            270: (2, 10**6, b"\0\0\0\0"),
            305: (2, 4, b"ab\0\0"),
            700: (1, 99, b"\xff" * 99),
        }
        yield Row(f"{name} damaged metadata", written(content, odd, order=order, big=big), pixels)
        one = written(content, {**tags, 258: 16}, order=order, big=big)
        yield Row(f"{name} bits said once", one, pixels)


def _reversed_strips(strips: list[bytes], tags: Mapping[int, Any], **options: Any) -> bytes:
    start = 16 if options["big"] else 8
    length = len(strips[0])
    offsets = [start + length * n for n in range(len(strips))][::-1]
    return written(strips[::-1], {**tags, 278: 1, 273: offsets}, **options)


def _refused() -> Iterator[Row]:
    content = whole(3, 8).astype(np.uint8).tobytes()
    rgb = {258: [8] * 3, 262: 2, 277: 3}
    cases: dict[str, dict[int, Any]] = {
        "no colour": {**rgb, 262: None},
        "bits that differ": {**rgb, 258: [5, 6, 5]},
        "kinds that differ": {**rgb, 339: [1, 1, 3]},
        "complex numbers": {**rgb, 339: [5] * 3},
        "floats of 8 bits": {**rgb, 339: [3] * 3},
        "24 bits": {**rgb, 258: [24] * 3},
        "fewer samples than colours": {**rgb, 277: 2},
        "no width": {**rgb, 256: None},
        "width 0": {**rgb, 256: 0},
        "no strips": {**rgb, 273: None},
        "an empty strip": {**rgb, 273: 0},
        "fewer strips than rows": {**rgb, 278: 2},
        "a strip beyond the end": {**rgb, 273: 10**6},
        "a rare predictor": {**rgb, 259: 8, 317: 9},
        "rows of strips 0": {**rgb, 278: 0},
    }
    for what, tags in cases.items():
        yield Row(f"tiff with {what}", written(content, tags), None)
