"""The one thing that tlkit takes from metadata: which way up an image is."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from typing import Any

SIDEWAYS = (5, 6, 7, 8)
"""The EXIF orientations that swap width and height."""

_ORIENTATION_TAG = 274


def orientation_of(info: Mapping[Any, Any]) -> int:
    """Return the EXIF orientation of an image that Pillow has opened: a WebP, AVIF and so on.

    Args:
        info: Pillow's dictionary about the image.

    Returns:
        1 to 8; 1, upright, where the block is damaged or names none that exists.
    """
    return orientation_of_block(bytes(info.get("exif") or b"").removeprefix(b"Exif\0\0"))


def orientation_of_block(block: bytes) -> int:
    """Return the orientation that an EXIF block (or a TIFF) names, 1 to 8; 1 where it says nothing."""
    try:
        order, _ = byte_order(block)
        for _, tag, _, _, value in directory(block):
            if tag == _ORIENTATION_TAG:
                (orientation,) = struct.unpack(f"{order}H", value[:2])
                return orientation if 1 <= orientation <= 8 else 1
    except struct.error:
        pass  # a damaged block says nothing
    return 1


def directory(block: bytes) -> Iterator[tuple[int, int, int, int, bytes]]:
    """Yield index, tag, type, count and value field of each entry in a (Big)TIFF's first directory.

    Raises:
        struct.error: It lies outside of the block, or is cut off.
    """
    order, big = byte_order(block)
    (start,) = struct.unpack_from(f"{order}{'Q' if big else 'L'}", block, 8 if big else 4)
    head, entry = (f"{order}Q", f"{order}HHQ8s") if big else (f"{order}H", f"{order}HHL4s")
    if start > len(block):
        raise struct.error("the directory lies outside of the block")
    (count,) = struct.unpack_from(head, block, start)
    index = start + struct.calcsize(head)
    for _ in range(count):
        yield index, *struct.unpack_from(entry, block, index)
        index += struct.calcsize(entry)


def byte_order(block: bytes) -> tuple[str, bool]:
    """Return "<" or ">", and whether it is a BigTIFF."""
    return "<" if block[:2] == b"II" else ">", block[2:4] in (b"+\0", b"\0+")
