"""What tlkit takes from metadata: which way up an image is, and what took it when."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

SIDEWAYS = (5, 6, 7, 8)
"""The EXIF orientations that swap width and height."""

_ORIENTATION, _MAKE, _MODEL, _CHANGED, _MORE, _TAKEN = 274, 271, 272, 306, 34665, 36867
_ASCII, _PLACES = 2, (4, 13)
_LONGEST = 64  # bytes of a text that are kept
_DAY = re.compile(r"(\d{4}):(\d\d):(\d\d)\b")


class Exif(NamedTuple):
    """What an EXIF block says.

    Attributes:
        orientation: 1 to 8; 1, upright, where the block is damaged or names none that exists.
        camera: Maker and model, or a scanner's; "" where it does not say.
        taken: The day, such as "2024-05-31"; "" where it does not say.
    """

    orientation: int = 1
    camera: str = ""
    taken: str = ""


NO_EXIF = Exif()
"""Of a file without such a block."""


def exif_of(info: Mapping[Any, Any]) -> Exif:
    """Return what Pillow's dictionary about an image says: a WebP, AVIF and so on."""
    return exif_of_block(bytes(info.get("exif") or b"").removeprefix(b"Exif\0\0"))


def exif_of_block(block: bytes) -> Exif:
    """Return what an EXIF block (or a TIFF) says; a damaged one says what comes before the damage."""
    orientation, texts = 1, dict.fromkeys((_MAKE, _MODEL, _CHANGED, _TAKEN), "")
    try:
        order, _ = byte_order(block)
        places: list[int] = []
        for _, tag, kind, count, value in directory(block):
            if tag == _ORIENTATION:
                (found,) = struct.unpack(f"{order}H", value[:2])
                orientation = found if 1 <= found <= 8 else 1
            elif tag in texts and kind == _ASCII:
                texts[tag] = _text(block, order, count, value)
            elif tag == _MORE and kind in _PLACES:
                places += struct.unpack(f"{order}L", value[:4])
        for place in places:
            for _, tag, kind, count, value in directory(block, place):
                if (tag, kind) == (_TAKEN, _ASCII):
                    texts[tag] = _text(block, order, count, value)
    except struct.error:
        pass  # what is damaged says no more
    day = _DAY.match(texts[_TAKEN]) or _DAY.match(texts[_CHANGED])
    taken = "-".join(day.groups()) if day else ""
    return Exif(orientation, _camera(texts[_MAKE], texts[_MODEL]), taken)


def _camera(make: str, model: str) -> str:
    """Join maker and model, which often begins with the maker."""
    named = model.casefold().startswith(make.casefold())
    return model if named else f"{make} {model}".strip()


def _text(block: bytes, order: str, count: int, value: bytes) -> str:
    if count > len(value):  # then it is a place, not the text itself
        (start,) = struct.unpack(f"{order}{'Q' if len(value) == 8 else 'L'}", value)
        value = block[start : start + count]
    text = value[: min(count, _LONGEST)].partition(b"\0")[0].decode("latin-1")
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def directory(block: bytes, start: int | None = None) -> Iterator[tuple[int, int, int, int, bytes]]:
    """Yield index, tag, type, count and value field of each entry in a directory of a (Big)TIFF.

    Args:
        block: All of it.
        start: Where the directory begins. None: the first one.

    Raises:
        struct.error: It lies outside of the block, or is cut off.
    """
    order, big = byte_order(block)
    if start is None:
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
