"""What tlkit takes from metadata: which way up an image is, and, for the audit, what took it and when."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from typing import Any

SIDEWAYS = (5, 6, 7, 8)
"""The EXIF orientations that swap width and height."""

_ORIENTATION_TAG = 274
_MAKER_TAG, _MODEL_TAG, _DATE_TAG, _TEXT = 271, 272, 306, 2
_LONGEST = 100  # bytes of a text that are looked at


def exif_of(info: Mapping[Any, Any]) -> bytes:
    """Return the EXIF block of an image that Pillow has opened: an AVIF and so on; nothing where it has none.

    Args:
        info: Pillow's dictionary about the image.
    """
    return bytes(info.get("exif") or b"").removeprefix(b"Exif\0\0")


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


def camera_of_block(block: bytes) -> tuple[str, str]:
    """Return what an EXIF block (or a TIFF) says of its camera and its date; "" where it says nothing."""
    found: dict[int, str] = {}
    try:
        order, big = byte_order(block)
        for _, tag, kind, count, value in directory(block):
            if tag in (_MAKER_TAG, _MODEL_TAG, _DATE_TAG) and kind == _TEXT:
                content = value
                if count > len(value):
                    (start,) = struct.unpack(f"{order}{'Q' if big else 'L'}", value)
                    content = block[start : start + count]
                text = content[: min(count, _LONGEST)].split(b"\0")[0].decode("latin-1").strip()
                found[tag] = text
    except struct.error:
        pass  # a damaged block says nothing
    maker, model = found.get(_MAKER_TAG, ""), found.get(_MODEL_TAG, "")
    return f"{maker} {model}".strip(), found.get(_DATE_TAG, "")


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
