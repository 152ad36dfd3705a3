"""The other formats: what Pillow's readers give is right, or made right here.

Only formats that a test compares with known pixels are read. Which reader is taken is said here and not by
Pillow's register, into which anybody may write.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from types import MappingProxyType
from typing import cast

from PIL import ImagePalette

from tlkit.images.metadata import exif_of
from tlkit.images.reader import Decoded, Opened, Size, Strict, UnreadableError, ValueRange
from tlkit.images.samples import from_image

_READERS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "AVIF": ("PIL.AvifImagePlugin", "AvifImageFile"),
        "JPEG XL": ("pillow_jxl.JpegXLImagePlugin", "JXLImageFile"),
        "PCX": ("PIL.PcxImagePlugin", "PcxImageFile"),
        "PSD": ("PIL.PsdImagePlugin", "PsdImageFile"),
        "QOI": ("PIL.QoiImagePlugin", "QoiImageFile"),
        "SGI": ("PIL.SgiImagePlugin", "SgiImageFile"),
        "TGA": ("PIL.TgaImagePlugin", "TgaImageFile"),
    }
)

_PSD_CHANNELS = frozenset({(1, 1), (2, 1), (3, 3), (4, 4)})  # grey, palette, RGB, CMYK

PILLOW_FORMATS = frozenset(_READERS)
"""Names of these formats, as `sniff` gives them."""


@cache
def _reader(kind: str) -> type[Strict]:
    module, name = _READERS[kind]
    try:
        plugin = getattr(import_module(module), name)
    except ImportError as error:
        raise UnreadableError("JPEG XL needs the pillow-jxl-plugin package") from error
    return cast("type[Strict]", type(name, (plugin, Strict), {}))


def open_with_pillow(data: bytes, kind: str) -> Opened:
    """Read the header of a file of one of these formats.

    Args:
        data: The whole file.
        kind: What `sniff` says it is.

    Raises:
        UnreadableError: It leaves open what its pixels are.
        EOFError: It is cut off.
    """
    image = _reader(kind)(io.BytesIO(_bare_psd(data) if kind == "PSD" else data))
    if kind == "TGA":
        _forget_opacity(image, data)
    if kind == "PCX" and (data[3], data[65]) == (8, 1) and data[-769:-768] != b"\x0c":
        raise EOFError("its palette, which lies at its end, is missing")

    def decode(_wanted: Size, _value_range: ValueRange) -> Decoded:
        image.load()
        return from_image(image)

    return Opened(
        format=image.format or kind,
        mode=image.mode,
        size=image.size,
        bits=1 if image.mode == "1" else 8,
        exif=exif_of(image.info),
        animated=kind != "PSD" and bool(getattr(image, "is_animated", False)),
        decode=decode,
    )


def _forget_opacity(image: Strict, data: bytes) -> None:
    """Take bits of a TGA for opacity only where its header says that they are."""
    depth, attributes = data[16], data[17] & 15
    if image.mode == "RGBA" and (depth == 16 or not attributes):
        raw_mode = {16: "BGR;15", 32: "BGRX"}[depth]
        image._mode = "RGB"  # noqa: SLF001 - readers of Pillow set it
        image.tile = [
            tile._replace(args=(raw_mode, *tuple(tile.args or ())[1:])) for tile in image.tile
        ]
    if image.palette and image.palette.mode == "RGBA" and not attributes:
        raw_mode = {"BGRA": "BGRX", "BGRA;15Z": "BGR;15"}[image.palette.rawmode or ""]
        image.palette = ImagePalette.raw(raw_mode, image.palette.palette)
    if image.mode == "LA" and not attributes:
        raise UnreadableError("a TGA that does not say what its second channel is: save it as PNG")


def _bare_psd(data: bytes) -> bytes:
    """Leave only the flattened image in a PSD: no metadata, no layers.

    Raises:
        UnreadableError: Its channels do not say by themselves what they are.
    """
    channels, depth, mode = (
        *struct.unpack_from(">H", data, 12),
        *struct.unpack_from(">HH", data, 22),
    )
    if depth != 8 or (mode, channels) not in _PSD_CHANNELS:
        raise UnreadableError(
            f"a PSD of {channels} channels of {depth} bits in colour mode {mode}: save it as PNG"
        )
    sections, index = [], 26
    for _ in range(3):
        (length,) = struct.unpack_from(">L", data, index)
        sections.append(data[index : index + 4 + length])
        index += 4 + length
    return data[:26] + sections[0] + bytes(8) + data[index:]
