"""PNG: every type of colour, depth, filter and interlacing; transparency; and chunks of all kinds."""

from __future__ import annotations

import itertools
import struct
import zlib
from collections.abc import Iterator, Sequence

import numpy as np

from truth.table import HEIGHT, WIDTH, Array, Row, eight, over_white, packed, whole

SIGNATURE = b"\x89PNG\r\n\x1a\n"
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
PASSES = (
    (0, 0, 8, 8),
    (0, 4, 8, 8),
    (4, 0, 8, 4),
    (0, 2, 4, 4),
    (2, 0, 4, 2),
    (0, 1, 2, 2),
    (1, 0, 2, 1),
)
Chunk = tuple[bytes, bytes]


def chunk(name: bytes, content: bytes, *, wrong: bool = False) -> bytes:
    checksum = zlib.crc32(name + content) ^ wrong
    return struct.pack(">L", len(content)) + name + content + struct.pack(">L", checksum)


def filtered(rows: Array, step: int, kind: int) -> bytes:
    """Rows of bytes `[R, B]` as PNG filters them; `step` bytes are a pixel; kind 5 takes all in turn."""
    now = rows.astype(np.int64)
    left = np.pad(now, ((0, 0), (step, 0)))[:, : now.shape[1]]
    up = np.pad(now, ((1, 0), (0, 0)))[:-1]
    corner = np.pad(left, ((1, 0), (0, 0)))[:-1]
    guess = left + up - corner
    away = np.stack([abs(guess - near) for near in (left, up, corner)])
    nearest = np.choose(away.argmin(axis=0), [left, up, corner])
    options = np.stack([now, now - left, now - up, now - (left + up) // 2, now - nearest])
    kinds = np.arange(len(rows)) % 5 if kind == 5 else np.full(len(rows), kind)
    lines = options[kinds, np.arange(len(rows))].astype(np.uint8)
    return np.column_stack([kinds.astype(np.uint8), lines]).tobytes()


def encoded(
    samples: Array, colour: int, bits: int, *, kind: int = 0, interlaced: bool = False,
    before: Sequence[bytes] = (), after: Sequence[bytes] = (), parts: int = 1,
) -> bytes:  # fmt: skip
    """A PNG of samples `[H, W, C]`."""
    height, width, channels = samples.shape
    step = max(1, channels * bits // 8)
    grids = PASSES if interlaced else ((0, 0, 1, 1),)
    content = b""
    for top, start, down, across in grids:
        some = samples[top::down, start::across]
        if some.size:
            flat = some.reshape(len(some), -1)
            rows = flat.astype(">u2").view(np.uint8) if bits == 16 else packed(flat, bits)
            content += filtered(rows, step, kind)
    data = zlib.compress(content)
    cuts = [len(data) * n // parts for n in range(parts + 1)]
    header = struct.pack(">LLBBBBB", width, height, bits, colour, 0, 0, interlaced)
    pixels = [chunk(b"IDAT", data[a:b]) for a, b in itertools.pairwise(cuts)]
    return b"".join(
        [SIGNATURE, chunk(b"IHDR", header), *before, *pixels, *after, chunk(b"IEND", b"")]
    )


def palette(bits: int) -> Array:
    """uint8 `[2**bits, 3]`."""
    return np.random.default_rng(bits).integers(0, 256, (2**bits, 3), dtype=np.uint8)


def rows() -> Iterator[Row]:
    yield from _layouts()
    yield from _transparency()
    yield from _chunks()
    yield from _damage()


def _layouts() -> Iterator[Row]:
    depths = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
    for colour, channels in CHANNELS.items():
        for bits, kind, interlaced in itertools.product(depths[colour], range(6), (False, True)):
            samples, before = whole(channels, bits), []
            if colour == 3:
                before = [chunk(b"PLTE", palette(bits).tobytes())]
                pixels = palette(bits)[samples[..., 0]]
            else:
                pixels = eight(samples, 2**bits - 1)
            if colour in (4, 6):
                pixels = over_white(pixels[..., :-1], pixels[..., -1])
            data = encoded(samples, colour, bits, kind=kind, interlaced=interlaced, before=before)
            name = f"png colour {colour} {bits} bits filter {kind}{' interlaced' * interlaced}"
            yield Row(name, data, pixels, tolerance=colour in (4, 6))
            if bits == 16:
                some = eight(samples, 4095 * 3, 1000)
                if colour in (4, 6):
                    some = over_white(some[..., :-1], eight(samples[..., -1], 65535))
                yield Row(f"{name} in a range", data, some, colour in (4, 6), (1000, 4095 * 3))


def _transparency() -> Iterator[Row]:
    for colour, bits in ((0, 1), (0, 2), (0, 4), (0, 8), (0, 16), (2, 8), (2, 16)):
        samples = whole(CHANNELS[colour], bits)
        for at in ((0, 0), (5, 9), (HEIGHT - 1, WIDTH - 1)):
            key = samples[at]
            pixels = eight(samples, 2**bits - 1)
            pixels[(samples == key).all(axis=2)] = 255
            clear = chunk(b"tRNS", struct.pack(f">{len(key)}H", *key))
            data = encoded(samples, colour, bits, before=[clear])
            yield Row(f"png colour {colour} {bits} bits, one colour clear, {at}", data, pixels)
    for bits in (1, 2, 4, 8):
        samples = whole(1, bits)
        alphas = np.arange(2**bits)[::-1] * 255 // (2**bits - 1)
        before = [chunk(b"PLTE", palette(bits).tobytes()), chunk(b"tRNS", bytes(alphas.tolist()))]
        seen = over_white(palette(bits)[samples[..., 0]], alphas[samples[..., 0]].astype(np.uint8))
        yield Row(
            f"png palette {bits} bits with alphas",
            encoded(samples, 3, bits, before=before),
            seen,
            1,
        )


def _chunks() -> Iterator[Row]:
    """What says nothing about pixels: too much of it, damaged, or unknown."""
    samples = whole(3, 8)
    pixels = eight(samples, 255)
    much = b"parameters\0" + b"steps: 20, sampler: Euler, " * 100_000
    odd = {
        "2.7 MB of text": chunk(b"tEXt", much),
        "2.7 MB of packed text": chunk(b"zTXt", b"parameters\0\0" + zlib.compress(much)),
        "2.7 MB of packed international text": chunk(b"iTXt", b"p\0\1\0\0\0" + zlib.compress(much)),
        "2 MB of profile": chunk(b"iCCP", b"ICC\0\0" + zlib.compress(bytes(2**21))),
        "a damaged profile": chunk(b"iCCP", b"ICC\0\0" + b"nothing packed"),
        "a profile of an unknown packing": chunk(b"iCCP", b"ICC\0\7" + b"what"),
        "an empty profile": chunk(b"iCCP", b""),
        "a text without end of its key": chunk(b"tEXt", b"\xff" * 90),
        "a text of bytes that are no text": chunk(b"iTXt", b"\xff\0\0\0\0\0\xff\xfe"),
        "an unknown chunk": chunk(b"abCd", b"what"),
        "a short physical size": chunk(b"pHYs", b"\0"),
        "a short gamma": chunk(b"gAMA", b"\0"),
        "short chromaticities": chunk(b"cHRM", b"\0"),
        "an empty intent": chunk(b"sRGB", b""),
        "an empty time": chunk(b"tIME", b""),
        "an animation of no frames": chunk(b"acTL", bytes(8)),
        "a damaged animation": chunk(b"acTL", b"\0") + chunk(b"fcTL", b"\0"),
        "a damaged EXIF block": chunk(b"eXIf", b"MM\0*\0\0"),
    }  # fmt: skip
    for what, text in odd.items():
        for where in ("before", "after"):
            yield Row(f"png with {what} {where}", encoded(samples, 2, 8, **{where: [text]}), pixels)  # type: ignore[arg-type]
    for name in (b"tEXt", b"iCCP", b"pHYs", b"eXIf", b"abCd", b"tRNS"):
        wrong = chunk(name, bytes(6), wrong=True)
        data = encoded(samples, 2, 8, before=[wrong])
        yield Row(f"png with a wrong checksum of {name.decode()}", data, pixels)
    yield Row("png of many chunks", encoded(samples, 2, 8, parts=40), pixels)
    yield Row(
        "png with nonsense behind its pixels",
        encoded(samples, 2, 8, after=[b"nonsense" * 9]),
        pixels,
    )
    yield Row(
        "png with an apple's chunk", encoded(samples, 2, 8, before=[chunk(b"CgBI", b"")]), None
    )


def _damage() -> Iterator[Row]:
    data = encoded(whole(3, 8), 2, 8, parts=3)
    for name in (b"IHDR", b"IDAT"):
        damaged = bytearray(data)
        damaged[data.index(name) + 9] ^= 1
        yield Row(
            f"png with a flipped bit in {name.decode()}", bytes(damaged), None, reason="damaged"
        )
    for bits, colour in ((3, 0), (4, 2), (16, 3), (8, 5), (32, 2)):
        header = struct.pack(">LLBBBBB", WIDTH, HEIGHT, bits, colour, 0, 0, 0)
        odd = data.replace(data[8:33], chunk(b"IHDR", header))
        yield Row(f"png of {bits} bits and colour {colour}", odd, None)
