"""WebP files: their first image. The container is read here: no room is taken before its size is known."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from types import FunctionType

from PIL import WebPImagePlugin

from tlkit.images.metadata import exif_of_block
from tlkit.images.reader import Decoded, Opened, Size, Strict, UnreadableError, ValueRange
from tlkit.images.samples import from_image

_HEAD = 12  # bytes of "RIFF", the length and "WEBP"
_PIXELS = (b"VP8 ", b"VP8L", b"VP8X")
_SAYS_NOTHING = (b"EXIF", b"XMP ", b"ICCP")
_HAS_ALPHA = 0x10
_14_BITS = 2**14 - 1


class _WebP(WebPImagePlugin.WebPImageFile, Strict):  # type: ignore[misc] # as `load` is meant
    # Pillow's own goes by MAX_IMAGE_PIXELS where it can tell the size; tlkit has a limit of its own.
    _open = FunctionType(
        WebPImagePlugin.WebPImageFile._open.__code__,  # noqa: SLF001
        {**vars(WebPImagePlugin), "_get_size": lambda _head: None},
    )


def open_webp(data: bytes) -> Opened:
    """Read the container of a WebP.

    Raises:
        UnreadableError: It is damaged.
        EOFError: It ends too early.
    """
    if int.from_bytes(data[4:8], "little") + 8 > len(data):
        raise EOFError("it is shorter than it says")
    chunks = list(_chunks(data))
    name, content = next(((n, c) for n, c in chunks if n in _PIXELS), (b"", b""))
    exif = b"".join(content for name, content in chunks if name == b"EXIF")
    size, has_alpha = _header(name, content)

    def decode(_wanted: Size, _value_range: ValueRange) -> Decoded:
        image = _WebP(io.BytesIO(_bare(chunks)))
        image.load()
        return from_image(image)

    return Opened(
        format="WEBP",
        mode="RGBA" if has_alpha else "RGB",
        size=size,
        exif=exif_of_block(exif.removeprefix(b"Exif\0\0")),
        animated=sum(name == b"ANMF" for name, _ in chunks) > 1,
        decode=decode,
    )


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    index = _HEAD
    while index + 8 <= len(data):
        name, length = struct.unpack_from("<4sL", data, index)
        yield name, data[index + 8 : index + 8 + length]
        index += 8 + length + length % 2


def _header(name: bytes, content: bytes) -> tuple[Size, bool]:
    """Return width, height, and whether there is an alpha channel."""
    match name, len(content):
        case b"VP8 ", length if length >= 10:
            width, height = struct.unpack_from("<HH", content, 6)
            return (width & _14_BITS, height & _14_BITS), False
        case b"VP8L", length if length >= 5:
            (bits,) = struct.unpack_from("<L", content, 1)
            return ((bits & _14_BITS) + 1, (bits >> 14 & _14_BITS) + 1), bool(bits >> 28 & 1)
        case b"VP8X", length if length >= 10:
            width, height = (int.from_bytes(content[at : at + 3], "little") + 1 for at in (4, 7))
            return (width, height), bool(content[0] & _HAS_ALPHA)
    raise UnreadableError("damaged (there is no image in it)")


def _bare(chunks: list[tuple[bytes, bytes]]) -> bytes:
    """Put the chunks that decide about pixels together again."""
    parts = [
        struct.pack("<4sL", name, len(content)) + content + bytes(len(content) % 2)
        for name, content in chunks
        if name not in _SAYS_NOTHING
    ]
    body = b"WEBP" + b"".join(parts)
    return struct.pack("<4sL", b"RIFF", len(body)) + body
