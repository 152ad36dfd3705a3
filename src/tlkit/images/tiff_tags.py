"""The tags of a TIFF's first directory that decide about its pixels, as whole numbers."""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import Final, TypeAlias, final

import numpy as np
import numpy.typing as npt

from tlkit.images.metadata import byte_order, directory
from tlkit.images.reader import UnreadableError

Numbers: TypeAlias = npt.NDArray[np.int64]


class Tag(IntEnum):
    """Numbers of the tags that are read, in the words of the specification (TIFF 6.0)."""

    IMAGE_WIDTH = 256
    IMAGE_LENGTH = 257
    BITS_PER_SAMPLE = 258
    COMPRESSION = 259
    PHOTOMETRIC_INTERPRETATION = 262
    FILL_ORDER = 266
    STRIP_OFFSETS = 273
    SAMPLES_PER_PIXEL = 277
    ROWS_PER_STRIP = 278
    STRIP_BYTE_COUNTS = 279
    PLANAR_CONFIGURATION = 284
    PREDICTOR = 317
    COLOR_MAP = 320
    TILE_WIDTH = 322
    TILE_LENGTH = 323
    TILE_OFFSETS = 324
    TILE_BYTE_COUNTS = 325
    INK_SET = 332
    EXTRA_SAMPLES = 338
    SAMPLE_FORMAT = 339
    YCBCR_COEFFICIENTS = 529
    YCBCR_SUBSAMPLING = 530
    REFERENCE_BLACK_WHITE = 532


_ONE = np.ones(1, np.int64)
_DEFAULTS: Final = {
    Tag.BITS_PER_SAMPLE: _ONE,
    Tag.COMPRESSION: _ONE,
    Tag.FILL_ORDER: _ONE,
    Tag.SAMPLES_PER_PIXEL: _ONE,
    Tag.PLANAR_CONFIGURATION: _ONE,
    Tag.PREDICTOR: _ONE,
    Tag.INK_SET: _ONE,
    Tag.SAMPLE_FORMAT: _ONE,
    Tag.YCBCR_SUBSAMPLING: np.array([2, 2]),
}
_TYPES: Final = {1: "u1", 3: "u2", 4: "u4", 13: "u4", 16: "u8", 18: "u8"}
_SIZES: Final = dict(
    zip(range(1, 19), (1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4, 0, 0, 8, 8, 8), strict=True)
)  # bytes of a value of each type
# What Pillow's own decoding of a TIFF needs: these tags, and those of JPEG in it.
_DECODING: Final = frozenset({*map(int, Tag), 254, 255, 292, 293, 347, *range(512, 522)})


@final
class Tags:
    """The tags of a TIFF's first directory.

    Args:
        data: The whole file.

    Attributes:
        order: "<" or ">": how its numbers are written.
        has_more: Whether another image follows.

    Raises:
        EOFError: The directory or what it points to lies beyond the end.
    """

    def __init__(self, data: bytes) -> None:
        self.order, _ = byte_order(data)
        self._numbers: dict[int, Numbers] = {}
        total = last = 0
        try:
            for index, tag, type_, count, value in directory(data):
                last = index
                if tag in _DECODING:
                    total += _SIZES.get(type_, 0) * count
                    self._numbers[tag] = self._values(data, type_, count, value)
                    if total > len(data):
                        raise EOFError("a tag lies beyond the end")
            self.has_more = _has_more(data, last)
        except struct.error as error:
            raise EOFError("a tag lies beyond the end") from error

    def _values(self, data: bytes, type_: int, count: int, value: bytes) -> Numbers:
        size = _SIZES.get(type_, 0) * count
        start, source = 0, value
        if size > len(value):
            (start,) = struct.unpack(f"{self.order}{'Q' if len(value) == 8 else 'L'}", value)
            source = data
        if start + size > len(source):
            raise EOFError("a tag lies beyond the end")
        if type_ not in _TYPES:
            return np.empty(0, np.int64)
        return np.frombuffer(source, f"{self.order}{_TYPES[type_]}", count, start).astype(np.int64)

    def __contains__(self, tag: Tag) -> bool:
        return len(self.all(tag)) > 0

    def all(self, tag: Tag) -> Numbers:
        """Return all values of a tag, those of the specification where it is not there, or none."""
        found = self._numbers.get(tag, np.empty(0, np.int64))
        return found if len(found) else _DEFAULTS.get(tag, found)

    def one(self, tag: Tag) -> int:
        """Return the first value of a tag.

        Raises:
            UnreadableError: It is not there and has no default.
        """
        found = self.all(tag)
        if not len(found):
            raise UnreadableError(
                f"a TIFF that does not say its {tag.name.replace('_', ' ').lower()}"
            )
        return int(found[0])

    def same(self, tag: Tag, count: int) -> int:
        """Return the value that a tag has for each of so many samples of a pixel.

        Raises:
            UnreadableError: They differ.
        """
        found = self.all(tag)[:count]
        if (found != found[0]).any() or len(found) not in (1, count):
            name = tag.name.replace("_", " ").lower()
            raise UnreadableError(f"a TIFF whose samples differ in {name}: {found.tolist()}")
        return int(found[0])


def hide_other_tags(data: bytes) -> bytes:
    """Blank the tags that decoding does not need: Pillow would read them, and warn about what is damaged."""
    clean = bytearray(data)
    for index, tag, *_ in directory(data):
        if tag not in _DECODING:
            clean[index + 2 : index + 4] = b"\0\0"  # a type that readers pass over
    return bytes(clean)


def _has_more(data: bytes, last: int) -> bool:
    """Say whether the entry at `last`, the last of its directory, is followed by where another one is."""
    order, big = byte_order(data)
    (index,) = struct.unpack_from(f"{order}{'Q' if big else 'L'}", data, last + (20 if big else 12))
    return bool(0 < index < len(data))
