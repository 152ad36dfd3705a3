"""HEIC and HEIF files, through pillow-heif (extra `heic`), which nobody has to register for that."""

from __future__ import annotations

import io

import numpy as np

from tlkit.images.reader import Decoded, Opened, Size, UnreadableError, ValueRange
from tlkit.images.samples import from_samples, scaled


def open_heif(data: bytes) -> Opened:
    """Read the header of a HEIC or HEIF file; of several images in it, the one that it calls primary.

    Its own turns and mirrors are part of decoding it, so that pixels come upright, whatever EXIF says.

    Raises:
        UnreadableError: pillow-heif is not installed.
    """
    try:
        import pillow_heif
    except ImportError as error:
        raise UnreadableError('HEIC needs pillow-heif: pip install "tlkit[heic]"') from error
    file = pillow_heif.open_heif(io.BytesIO(data))
    mode, depth = file.mode, int(file.info.get("bit_depth", 8))

    def decode(_wanted: Size, _value_range: ValueRange) -> Decoded:
        samples = np.atleast_3d(np.asarray(file))
        white = 255
        if samples.dtype != np.uint8:  # grey of 10 or 12 bits comes shifted to the top of 16
            samples, white = samples >> (16 - depth), 2**depth - 1
        premultiplied = mode.split(";")[0].endswith("a")
        has_alpha = samples.shape[2] in (2, 4)
        return from_samples(
            samples[..., :-1] if has_alpha else samples,
            (0, white),
            wide=False,
            alpha=scaled(samples[..., -1], 0, white) if has_alpha else None,
            premultiplied=premultiplied,
        )

    return Opened(format="HEIF", mode=mode, size=file.size, animated=len(file) > 1, decode=decode)
