"""PNG files: what decides about pixels is checked and handed to Pillow, which never sees the rest.

Pillow gives 8 of 16 bits. So a file of 16 bits is decoded as if its bytes were samples: all of them count.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import final

import numpy as np
import numpy.typing as npt
from PIL.PngImagePlugin import PngImageFile

from tlkit.images.metadata import exif_of_block
from tlkit.images.reader import Decoded, Opened, Size, Strict, UnreadableError, ValueRange
from tlkit.images.samples import Samples, from_image, from_samples, scaled

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_GREY, _COLOUR, _PALETTE, _GREY_ALPHA, _COLOUR_ALPHA = 0, 2, 3, 4, 6
_MODES = {_GREY: "L", _COLOUR: "RGB", _PALETTE: "P", _GREY_ALPHA: "LA", _COLOUR_ALPHA: "RGBA"}
_ALLOWED_BITS = {_GREY: (1, 2, 4, 8, 16), _PALETTE: (1, 2, 4, 8)}
_MOST_TEXT = 2**20  # bytes of a compressed text that is looked into


class _Png(PngImageFile, Strict):
    pass


@final
@dataclass(slots=True)
class _Chunks:
    """What a PNG holds.

    Attributes:
        header: The content of IHDR.
        palette: The content of PLTE.
        clear: The content of tRNS.
        pixels: The content of each IDAT.
        exif: An EXIF block.
        frames: How many images it has; 0 where it does not say that it is an animation.
    """

    header: bytes = b""
    palette: bytes = b""
    clear: bytes = b""
    pixels: list[bytes] = field(default_factory=list)
    exif: bytes = b""
    frames: int = 0


def open_png(data: bytes) -> Opened:
    """Read all of a PNG except for its pixels; of an animated one those that all programs show.

    Raises:
        UnreadableError: What decides about pixels is damaged.
        EOFError: It ends before its pixels do.
    """
    chunks = _chunks(data)
    width, height, bits, colour, *_ = struct.unpack(">LLBBBBB", chunks.header)
    if not width or not height or bits not in _ALLOWED_BITS.get(colour, (8, 16)):
        raise UnreadableError("damaged (its header is not one of a PNG)")

    def decode(_wanted: Size, value_range: ValueRange) -> Decoded:
        if bits < 16 and (colour == _PALETTE or not chunks.clear):
            return from_image(_load(chunks))
        samples = _wide(chunks, colour) if bits == 16 else _narrow(chunks, bits)
        has_alpha = colour in (_GREY_ALPHA, _COLOUR_ALPHA)
        colours = samples[..., :-1] if has_alpha else samples
        clear = None if has_alpha else _clear(chunks.clear, colours, bits)
        full = 2 ** max(bits, 8) - 1
        alpha = scaled(samples[..., -1], 0, full) if has_alpha else None
        ends = value_range if value_range and bits == 16 else (0, full)
        return from_samples(colours, ends, wide=bits == 16, alpha=alpha, clear=clear)

    return Opened(
        format="PNG",
        mode={(_GREY, 1): "1", (_GREY, 16): "I;16"}.get((colour, bits), _MODES[colour]),
        size=(width, height),
        bits=bits,
        exif=exif_of_block(chunks.exif),
        animated=chunks.frames > 1,
        decode=decode,
    )


def _chunks(data: bytes) -> _Chunks:
    found, first_is_frame = _Chunks(), False
    for name, content, whole in _walk(data):
        match name:
            case b"IHDR":
                found.header = content
            case b"PLTE":
                found.palette = content
            case b"IDAT":
                found.pixels.append(content)
            case b"tRNS" if whole:
                found.clear = content
            case b"eXIf":
                found.exif = content
            case b"tEXt" | b"zTXt":
                found.exif = found.exif or _exif_in_text(name, content)
            case b"fcTL" if not found.pixels:
                first_is_frame = True
            case b"acTL" if not found.pixels:
                found.frames = int.from_bytes(content[:4], "big")
            case _ if not name[0] & 32 and name != b"IEND":
                raise UnreadableError(f"damaged (a chunk {name.decode()} that no reader knows)")
    if len(found.header) != 13 or not found.pixels:
        raise UnreadableError("damaged (no header or no pixels)")
    if found.frames and not first_is_frame:
        found.frames += 1
    return found


def _walk(data: bytes) -> Iterator[tuple[bytes, bytes, bool]]:
    """Yield name and content of each chunk, and whether its checksum is right.

    It must be so in what decides about pixels. Behind these, anything may be missing or wrong.
    """
    index, name, in_pixels = len(SIGNATURE), b"", False
    fault: Exception | None = None
    while name != b"IEND":
        length, name = struct.unpack(">L4s", data[index : index + 8].ljust(8, b"\0"))
        end = index + 12 + length
        checked = zlib.crc32(memoryview(data)[index + 4 : end - 4]).to_bytes(4, "big")
        whole = checked == data[end - 4 : end]
        if end > len(data):
            fault = EOFError("it ends within a chunk")
        elif not name.isalpha():
            fault = UnreadableError("damaged (something in it is not a chunk)")
        elif not whole and not name[0] & 32:  # a capital letter: without it, nothing can be shown
            fault = UnreadableError(f"damaged (wrong checksum of {name.decode()})")
        if fault and in_pixels and name != b"IDAT":
            return
        if fault:
            raise fault
        yield name, data[index + 8 : end - 4], whole
        in_pixels = in_pixels or name == b"IDAT"
        index = end


def _exif_in_text(name: bytes, content: bytes) -> bytes:
    """Return the EXIF block that ImageMagick keeps in hexadecimal, in a text of that name."""
    key, _, text = content.partition(b"\0")
    if key != b"Raw profile type exif":
        return b""
    try:
        text = zlib.decompressobj().decompress(text[1:], _MOST_TEXT) if name == b"zTXt" else text
        return bytes.fromhex("".join(text.decode("latin-1").split("\n")[3:])).removeprefix(
            b"Exif\0\0"
        )
    except (ValueError, zlib.error):
        return b""


def _load(chunks: _Chunks, header: bytes = b"", raw: str = "") -> _Png:
    """Decode the pixels.

    Args:
        chunks: Of the file.
        header: Instead of the file's own.
        raw: How samples lie in it, in Pillow's word, instead of what the header says.
    """
    parts = [(b"IHDR", header or chunks.header)]
    if chunks.palette:
        parts.append((b"PLTE", chunks.palette))
        if chunks.clear and not header and not raw:
            parts.append((b"tRNS", chunks.clear))
    parts += [(b"IDAT", b"".join(chunks.pixels)), (b"IEND", b"")]
    file = io.BytesIO(SIGNATURE)
    file.seek(0, io.SEEK_END)
    for name, content in parts:
        file.write(struct.pack(">L", len(content)) + name + content)
        file.write(struct.pack(">L", zlib.crc32(content, zlib.crc32(name))))
    file.seek(0)
    image = _Png(file)
    if raw:
        image.tile = [image.tile[0]._replace(args=raw)]
    image.load()
    return image


def _narrow(chunks: _Chunks, bits: int) -> Samples:
    """Return samples of up to 8 bits, scaled to 8: `[H, W, C]`."""
    image = _load(chunks)
    pixels = np.asarray(image.convert("L") if bits == 1 else image)
    return np.atleast_3d(pixels)


def _wide(chunks: _Chunks, colour: int) -> Samples:
    """Return samples of 16 bits: `[H, W, C]`."""
    if colour == _GREY:
        return np.atleast_3d(np.asarray(_load(chunks)).astype(np.uint16))
    if colour == _GREY_ALPHA:  # four bytes a pixel, as RGBA of 8 bits has them
        fake = chunks.header[:8] + bytes([8, _COLOUR_ALPHA]) + chunks.header[10:]
        return np.asarray(_load(chunks, fake)).view(">u2").astype(np.uint16)
    mode = _MODES[colour]
    high, low = (np.asarray(_load(chunks, raw=f"{mode};16{order}")) for order in "BL")
    samples: Samples = (high.astype(np.uint16) << 8) | low
    return samples


def _clear(key: bytes, colours: Samples, bits: int) -> npt.NDArray[np.bool_] | None:
    """Return where the one transparent colour is, if there is one."""
    count = colours.shape[2]
    if len(key) < 2 * count:
        return None
    levels = np.frombuffer(key, ">u2", count).astype(np.int64) & (2**bits - 1)
    if bits < 8:
        levels = levels * 255 // (2**bits - 1)  # as its pixels were
    clear: npt.NDArray[np.bool_] = (colours == levels).all(axis=2)
    return clear
