"""JPEG 2000 files: colours of 8 bits, and grey of up to 16.

Pillow gives colours of more than 8 bits as 8 and turns the brightest of them black, so these are refused.
"""

from __future__ import annotations

import io
import struct
from typing import Final

import numpy as np
from PIL.Jpeg2KImagePlugin import Jpeg2KImageFile

from tlkit.images.reader import Decoded, Opened, Size, Strict, UnreadableError, ValueRange
from tlkit.images.samples import from_image, from_samples

_START: Final = (
    b"\xff\x4f\xff\x51"  # of the codestream, and of the segment that says how large it is
)
_COUNT_AT, _COMPONENT = 40, 3  # where the number of components stands; bytes for each
_SIGN: Final = 0x80


class _Jpeg2000(Jpeg2KImageFile, Strict):
    load = Strict.load  # Pillow's own calls that of `ImageFile` by name


def open_jpeg2000(data: bytes) -> Opened:
    """Read the header of a JPEG 2000.

    Raises:
        UnreadableError: Its samples are not of a kind that is read rightly.
        EOFError: There is no codestream in it.
    """
    start = data.find(_START)
    if start < 0:
        raise EOFError("no codestream")
    (count,) = struct.unpack_from(">H", data, start + _COUNT_AT)
    components = data[start + _COUNT_AT + 2 : start + _COUNT_AT + 2 + _COMPONENT * count]
    depths, *steps = (set(components[n::_COMPONENT]) for n in range(_COMPONENT))
    signed = any(depth & _SIGN for depth in depths)
    bits = max(depths, default=0) + 1
    if signed or len(depths) != 1 or bits > (16 if count == 1 else 8) or steps != [{1}, {1}]:
        what = "signed" if signed else f"{count} x {bits & ~_SIGN}"
        raise UnreadableError(f"a JPEG 2000 of {what} bits: save it as 8 bits, or as PNG or TIFF")
    if b"pclr" in data[:start]:
        raise UnreadableError("a JPEG 2000 with a palette: save it as RGB")
    image = _Jpeg2000(io.BytesIO(data))

    def decode(_wanted: Size, value_range: ValueRange) -> Decoded:
        image.load()
        if bits <= 8:
            return from_image(image)
        samples = np.asarray(image)[..., np.newaxis] >> (16 - bits)  # Pillow moves them to the top
        return from_samples(samples, value_range or (0, 2**bits - 1), wide=True)

    return Opened(format="JPEG2000", mode=image.mode, size=image.size, bits=bits, decode=decode)
