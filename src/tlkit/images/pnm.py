"""PBM, PGM and PPM files: a header in words, then samples up to a white of their own."""

from __future__ import annotations

import re

import numpy as np

from tlkit.images.reader import Decoded, Opened, Size, UnreadableError, ValueRange
from tlkit.images.samples import Samples, from_samples

_WORD = rb"(?:\s|#[^\n]*\n)+(\d{1,10})"
_BITMAP_HEADER = re.compile(rb"P[14]" + 2 * _WORD + rb"\s")
_HEADER = re.compile(rb"P[2356]" + 3 * _WORD + rb"\s")
_COMMENT = re.compile(rb"#[^\n]*")


def open_pnm(data: bytes) -> Opened:
    """Read the header of a PBM, PGM or PPM; of several images in one file, the first.

    Raises:
        UnreadableError: It is not as it must be.
    """
    kind = data[1:2]
    found = (_BITMAP_HEADER if kind in b"14" else _HEADER).match(data)
    width, height, white = (*map(int, found.groups()), 1)[:3] if found else (0, 0, 0)
    if not found or not width or not height or not 0 < white < 65536:
        raise UnreadableError("damaged (its header is not one of a PBM, PGM or PPM)")
    start, channels = found.end(), 3 if kind in b"36" else 1
    bits = white.bit_length()

    def decode(_wanted: Size, value_range: ValueRange) -> Decoded:
        shape = (height, width, channels)
        read = _bitmap if kind == b"4" else _binary if kind in b"56" else _words
        samples = read(data, start, shape, white)
        if kind in b"14":
            samples = 1 - samples  # ink is 1
        if samples.max() > white:
            raise UnreadableError(f"damaged (a sample is above the white of {white})")
        ends = value_range if value_range and bits > 8 else (0, white)
        return from_samples(samples, ends, wide=bits > 8)

    mode = "1" if kind in b"14" else "RGB" if channels == 3 else "L" if bits <= 8 else "I"
    return Opened(format="PPM", mode=mode, size=(width, height), bits=bits, decode=decode)


def _bitmap(data: bytes, start: int, shape: tuple[int, int, int], _white: int) -> Samples:
    height, width, _ = shape
    packed = _taken(data, start, height * -(-width // 8), "u1").reshape(height, -1)
    return np.unpackbits(packed, axis=1, count=width)[..., np.newaxis]


def _binary(data: bytes, start: int, shape: tuple[int, int, int], white: int) -> Samples:
    samples = _taken(data, start, int(np.prod(shape)), "u1" if white < 256 else ">u2")
    return samples.astype(samples.dtype.newbyteorder("="), copy=False).reshape(shape)


def _words(data: bytes, start: int, shape: tuple[int, int, int], white: int) -> Samples:
    text, count = _COMMENT.sub(b" ", data[start:]), int(np.prod(shape))
    if white == 1 and data[1:2] == b"1":  # digits of a bitmap need no space between them
        words: list[bytes] = re.findall(rb"[01]", text)
    else:
        words = text.split(maxsplit=count)[:count]
    if len(words) < count:
        raise EOFError("too few samples")
    return np.array(words[:count]).astype(np.int64).reshape(shape)


def _taken(data: bytes, start: int, count: int, kind: str) -> Samples:
    if len(data) - start < count * np.dtype(kind).itemsize:
        raise EOFError("too few samples")
    return np.frombuffer(data, kind, count, start)
