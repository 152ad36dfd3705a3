"""BMP files, and the icons that are made of them."""

from __future__ import annotations

import dataclasses
import io
import struct
from typing import Final

import numpy as np
from PIL import ImagePalette
from PIL.BmpImagePlugin import BmpImageFile

from tlkit.images.png import SIGNATURE, open_png
from tlkit.images.reader import Decoded, Opened, Size, Strict, UnreadableError, ValueRange
from tlkit.images.samples import from_image, from_samples

_HEADER: Final = 14  # bytes before that of Windows or OS/2, which says its own length
_OS2: Final = 12  # bytes of the shortest one
_RAW_MODES: Final = {1: "P;1", 4: "P;4", 8: "P"}


class _Bmp(BmpImageFile, Strict):
    pass


def open_bmp(data: bytes) -> Opened:
    """Read the header of a BMP."""
    image = _Bmp(io.BytesIO(data))
    mode = image.mode
    (bits,) = struct.unpack_from("<H", data, 24 if _length(data) == _OS2 else 28)
    if bits in _RAW_MODES:
        _take_palette(image, data, bits)
    elif bits == 32 and image.info["compression"] == image.COMPRESSIONS["RAW"]:
        _take_mode(
            image, "RGB", "BGRX"
        )  # whatever others have set in Pillow, the fourth byte says nothing

    def decode(_wanted: Size, _value_range: ValueRange) -> Decoded:
        image.load()
        return from_image(image)

    return Opened(format="BMP", mode=mode, size=image.size, bits=min(bits, 8), decode=decode)


def _length(data: bytes) -> int:
    return int.from_bytes(data[_HEADER : _HEADER + 4], "little")


def _take_palette(image: _Bmp, data: bytes, bits: int) -> None:
    """Go by the palette: of a grey one, Pillow sees the length alone, and not the depth of pixels."""
    start, os2 = _HEADER + _length(data), _length(data) == _OS2
    colours = 0 if os2 else int.from_bytes(data[46:50], "little")
    table = data[start : start + (3 if os2 else 4) * (colours or 2**bits)]
    image.palette = ImagePalette.raw("BGR" if os2 else "BGRX", table)
    _take_mode(image, "P", _RAW_MODES[bits])


def _take_mode(image: _Bmp, mode: str, raw_mode: str) -> None:
    image._mode = mode  # noqa: SLF001 - readers of Pillow set it
    (tile,) = image.tile
    image.tile = [tile._replace(args=(raw_mode, *tuple(tile.args or ())[1:]))]


def open_ico(data: bytes) -> Opened:
    """Read the directory of an icon: its largest image counts, and of several the one of most bits.

    Raises:
        EOFError: That image lies beyond the end.
        UnreadableError: It is not one of an icon.
    """
    (count,) = struct.unpack_from("<H", data, 4)
    entries = list(struct.iter_unpack("<BBBBHHLL", data[6 : 6 + 16 * count]))
    if not entries:
        raise UnreadableError("damaged (an icon without images)")
    *_, length, start = max(entries, key=lambda e: ((e[0] or 256) * (e[1] or 256), e[5]))
    image = data[start : start + length]
    if len(image) < length:
        raise EOFError("its image lies beyond the end")
    opened = open_png(image) if image.startswith(SIGNATURE) else _open_masked(image)
    return dataclasses.replace(opened, format="ICO", animated=False)


def _open_masked(dib: bytes) -> Opened:
    """Read a BMP without its first header, and twice as high: below the colours lies a mask."""
    head, width, height, _, bits, compression = struct.unpack_from("<LLLHHL", dib)
    if head != 40 or compression or height % 2 or bits not in (*_RAW_MODES, 24, 32):
        raise UnreadableError("damaged (an icon of an image that none can have)")
    height //= 2
    table = 4 * (int.from_bytes(dib[32:36], "little") or 2**bits) if bits <= 8 else 0
    row, mask_row = (width * bits + 31) // 32 * 4, (width + 31) // 32 * 4
    pixels = head + table
    mask = pixels + row * height
    opened = open_bmp(
        struct.pack("<2sLLL", b"BM", 0, 0, _HEADER + pixels)
        + struct.pack("<LLL", head, width, height)
        + dib[12:mask]
    )

    def decode(wanted: Size, value_range: ValueRange) -> Decoded:
        colours = np.asarray(opened.decode(wanted, value_range).rgb)
        lines = np.frombuffer(dib, np.uint8, mask_row * height, mask).reshape(height, -1)
        alpha = 255 - 255 * np.unpackbits(lines, axis=1, count=width)[::-1]
        if bits == 32:
            own = np.frombuffer(dib, np.uint8, row * height, pixels).reshape(height, width, 4)
            alpha = own[::-1, :, 3] if own[..., 3].any() else alpha
        return from_samples(colours, (0, 255), wide=False, alpha=alpha)

    return dataclasses.replace(opened, decode=decode)
