"""GIF files: their first image, on the page that it belongs to."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from typing import NamedTuple

from PIL import Image
from PIL.GifImagePlugin import GifImageFile

from tlkit.images.reader import Decoded, Opened, Size, Strict, UnreadableError, ValueRange
from tlkit.images.samples import BACKGROUND, from_image

_SCREEN_AT, _TABLE_AT = 6, 13
_EXTENSION, _IMAGE, _CONTROL = b"\x21", b"\x2c", b"\xf9"
_HAS_TABLE, _TABLE_SIZE = 0x80, 7


class _Gif(GifImageFile, Strict):
    pass


class _Block(NamedTuple):
    """An image of a GIF: what is said about it before, and all of it behind its place and size."""

    control: bytes
    box: tuple[int, int, int, int]
    content: bytes


def open_gif(data: bytes) -> Opened:
    """Read a GIF up to its pixels, and no further than to see whether others follow.

    Raises:
        UnreadableError: There is no image in it.
        EOFError: It ends within its first image.
    """
    blocks = _blocks(data)
    first = next(blocks, None)
    left, top, width, height = first.box if first else (0, 0, 0, 0)
    if not first or not width or not height:
        raise UnreadableError("damaged (there is no image in it)")
    across, down, flags = struct.unpack_from("<HHB", data, _SCREEN_AT)
    page = max(across, left + width), max(down, top + height)
    alone = (
        b"GIF89a" + struct.pack("<HH", width, height) + data[10 : _TABLE_AT + _table(flags)] + first.control
        + _IMAGE + struct.pack("<HHHH", 0, 0, width, height) + first.content + b";"
    )  # fmt: skip
    image = _Gif(io.BytesIO(alone))

    def decode(_wanted: Size, _value_range: ValueRange) -> Decoded:
        image.load()
        found = from_image(image)
        if page == (width, height):
            return found
        whole = Image.new("RGB", page, BACKGROUND)
        whole.paste(found.rgb, (left, top))
        return found._replace(rgb=whole, coarse=whole, transparent=True)

    def has_more() -> bool:
        try:
            return next(blocks, None) is not None
        except EOFError:
            return False

    return Opened(format="GIF", mode=image.mode, size=page, animated=has_more(), decode=decode)


def _table(flags: int) -> int:
    """Return how many bytes the table of colours has that such flags announce."""
    return 3 * 2 ** ((flags & _TABLE_SIZE) + 1) if flags & _HAS_TABLE else 0


def _blocks(data: bytes) -> Iterator[_Block]:
    """Yield the images.

    Raises:
        EOFError: The file ends within one.
    """
    index, control = _TABLE_AT + _table(data[10] if len(data) > 10 else 0), b""
    while (kind := data[index : index + 1]) in (_EXTENSION, _IMAGE):
        start = index
        if kind == _IMAGE:
            if index + 11 > len(data):
                raise EOFError("it ends within an image")
            index += 10 + _table(data[index + 9]) + 1
        else:
            index += 2
        index = _behind(data, index)
        if kind == _IMAGE:
            box = struct.unpack_from("<HHHH", data, start + 1)
            yield _Block(control, box, data[start + 9 : index])
            control = b""
        elif data[start + 1 : start + 3] == _CONTROL + b"\4":
            clear = data[start + 3] & 1  # what is done with it afterwards does not matter
            control = data[start : start + 3] + bytes([clear]) + data[start + 4 : start + 8]


def _behind(data: bytes, index: int) -> int:
    """Return where a chain of blocks ends, each of which begins with its length.

    Raises:
        EOFError: It does not.
    """
    while True:
        if index >= len(data):
            raise EOFError("it ends within a block")
        length = data[index]
        index += 1 + length
        if not length:
            return index
