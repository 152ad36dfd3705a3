"""JPEG files: decoded at the coarsest scale that will do, with all metadata hidden from the decoder."""

from __future__ import annotations

import io
from collections.abc import Iterator

from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from tlkit.images.metadata import exif_of_block
from tlkit.images.reader import Decoded, Opened, Size, Strict, ValueRange
from tlkit.images.samples import used_values_of

# A JPEG is decoded at the coarsest DCT scale that still covers both the size asked for and this one, so
# that for every size up to it the thumbnail comes from the very same pixels. 224 is the default size.
_DRAFT_SIZE = (224, 224)
_COMMENT = 0xFE
_APP0, _APP1, _APP14, _APP15 = 0xE0, 0xE1, 0xEE, 0xEF
_START_OF_SCAN = 0xDA
_LONE_MARKERS = (0x00, 0x01, *range(0xD0, 0xDA))  # these carry no length
_END = b"\xff\xd9"
_PADDING = 16  # zeros at the end that no encoder leaves


class _Jpeg(JpegImageFile, Strict):
    def load_read(
        self, read_bytes: int
    ) -> bytes:  # Pillow's own makes up an end where there is none
        return self.fp.read(read_bytes) if self.fp else b""


def open_jpeg(data: bytes) -> Opened:
    """Read the header of a JPEG; not of what may follow it: an MPO holds further images.

    Raises:
        EOFError: The rest was never written: a copy that was broken off leaves zeros.
    """
    clean, exif, scan = _without_metadata(data)
    if clean.endswith(bytes(_PADDING)) and clean.find(_END, scan) < 0:
        raise EOFError("zeros in the place of pixels")
    image = _open(clean)
    stored = image.size
    progressive = "progressive" in image.info

    def decode(wanted: Size, _value_range: ValueRange) -> Decoded:
        """Decode once, or, for sizes that need a finer scale than the thumbnail's, twice."""
        rgb = _drafted(image, _at_least(wanted))
        same = _divisor(stored, _at_least(wanted)) == _divisor(stored, _DRAFT_SIZE)
        coarse = rgb if same else _drafted(_open(clean), _DRAFT_SIZE)
        return Decoded(rgb, coarse, transparent=False, values=used_values_of(coarse))

    return Opened(
        format="JPEG",
        mode=image.mode,
        size=stored,
        exif=exif_of_block(exif),
        decode=decode,
        divisor=lambda wanted: 1 if progressive else _divisor(stored, _at_least(wanted)),
        scale=lambda wanted: _divisor(stored, _at_least(wanted)),
        again=lambda wanted: _drafted(_open(clean), _at_least(wanted)),
    )


def _open(data: bytes) -> _Jpeg:
    image = _Jpeg(io.BytesIO(data))
    image.decodermaxblock = len(data)  # it is in memory already: one piece instead of 64 KB ones
    return image


def _at_least(size: Size) -> Size:
    return max(size[0], _DRAFT_SIZE[0]), max(size[1], _DRAFT_SIZE[1])


def _drafted(image: _Jpeg, size: Size) -> Image.Image:
    image.draft(None, size)
    image.load()
    return image if image.mode == "RGB" else image.convert("RGB")


def _divisor(stored: Size, size: Size) -> int:
    """Return what `draft` divides by: 8, 4, 2 or 1."""
    times = max(1, min(8, stored[0] // size[0], stored[1] // size[1]))
    return 1 << (times.bit_length() - 1)


def _without_metadata(data: bytes) -> tuple[bytes, bytes, int]:
    """Turn segments that say nothing about pixels into comments, which decoders pass over.

    Returns:
        The file, as long as it was; its first EXIF block; and where the pixels begin.
    """
    clean, exif, index = bytearray(data), b"", 2
    for index, marker, content in _segments(data):
        size = len(content)
        # Of the application's own segments, these two say which colours are meant, if they are whole.
        jfif = marker == _APP0 and content.startswith(b"JFIF\0") and size >= 14
        adobe = marker == _APP14 and content.startswith(b"Adobe") and size >= 12
        if marker == _APP1 and content.startswith(b"Exif\0\0") and not exif:
            exif = content[6:]
        if _APP0 <= marker <= _APP15 and not (jfif or adobe):
            clean[index + 1] = _COMMENT
    return bytes(clean), exif, index


def _segments(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Yield where each segment begins, its marker and content, up to the pixels."""
    index = 2
    while (index := data.find(b"\xff", index)) >= 0 and index + 4 <= len(data):
        marker = data[index + 1]
        if marker == 0xFF:
            index += 1
        elif marker in _LONE_MARKERS:
            index += 2
        else:
            length = int.from_bytes(data[index + 2 : index + 4], "big")
            yield index, marker, data[index + 4 : index + 2 + length]
            if marker == _START_OF_SCAN:
                return
            index += 2 + length
