"""What one image's facts say that a user may not expect."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Final

from tlkit.data.example import Example
from tlkit.images.decoder import ImageFacts
from tlkit.images.reader import ValueRange

KINDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "low-contrast": "hardly any contrast: black, blank, or few of the possible values are used",
        "wrong-extension": "the name says another format than the bytes: read by its bytes",
        "rotated": "stored on its side or mirrored: turned upright when read",
        "transparent": "see-through pixels: laid over white",
        "greyscale": "stored without colour",
        "cmyk": "stored in printing colours: converted to RGB",
        "16-bit": "more than 8 bits a sample: scaled to 8",
        "animated": "several images in one file: the first one counts",
        "tiny": "shorter side below 64 pixels: will be enlarged",
        "extreme-aspect": "more than 3 times as long as wide: will be squeezed",
    }
)
"""Every kind of oddity, the gravest first, in a few words."""

TINY = 64
"""Shorter side, in pixels, below which an image is tiny: networks look at 96 to 224. A guess."""

EXTREME_ASPECT = 3.0
"""Longer by shorter side above which stretching an image to the network's square distorts it. A guess."""

LOW_CONTRAST = 1 / 12
"""Share of the values between black and white below which an image has hardly any contrast. Of 1,200 images
in six folders, photographs and scans, none uses less than 0.16; 12 bits kept in 16 use 0.06 at most."""

_SUFFIXES = {
    "JPEG": ".jpg .jpeg .jpe .jfif .mpo", "PNG": ".png .apng", "GIF": ".gif", "WEBP": ".webp",
    "BMP": ".bmp .dib", "TIFF": ".tif .tiff", "AVIF": ".avif .avifs .heif .hif", "HEIF": ".heic .heif .hif",
    "JPEG2000": ".jp2 .j2k .jpx .jpf .j2c .jpc", "PPM": ".ppm .pgm .pbm .pnm .pfm", "TGA": ".tga",
    "ICO": ".ico", "PCX": ".pcx", "PSD": ".psd", "QOI": ".qoi", "SGI": ".sgi", "SUN": ".ras", "JXL": ".jxl",
}  # fmt: skip
_GREY = ("1", "L", "LA", "La", "I", "F")


def oddities(
    example: Example, facts: ImageFacts, value_range: ValueRange
) -> Iterator[tuple[str, str]]:
    """Yield what one image's facts say that a user may not expect.

    Args:
        example: The image.
        facts: What decoding it told.
        value_range: As in `DatasetSpec`.

    Yields:
        The kind, one of `KINDS`, and what exactly, in a few words.
    """
    if used_share(facts, value_range) < LOW_CONTRAST:
        yield "low-contrast", _used(facts, value_range)
    suffixes = _SUFFIXES.get(facts.format, "").split()
    width, height = facts.width, facts.height
    if suffixes and example.path.suffix.lower() not in suffixes:
        yield "wrong-extension", f"its bytes are {facts.format}"
    if facts.orientation != 1:
        yield "rotated", f"EXIF orientation {facts.orientation}"
    if facts.transparent:
        yield "transparent", f"{facts.format} of mode {facts.mode}"
    if facts.mode.startswith("I;") or facts.mode in _GREY:
        yield "greyscale", f"{facts.format} of mode {facts.mode}"
    if facts.mode == "CMYK":
        yield "cmyk", f"{facts.format} of mode {facts.mode}"
    if facts.bits > 8:
        yield "16-bit", f"{facts.bits} bits a sample"
    if facts.animated:
        yield "animated", f"{facts.format} of several images"
    if min(width, height) < TINY:
        yield "tiny", f"{width} x {height} pixels"
    if max(width, height) > EXTREME_ASPECT * min(width, height):
        yield "extreme-aspect", f"{width} x {height} pixels"


def black_and_white(facts: ImageFacts, value_range: ValueRange) -> tuple[float, float]:
    """Return which values of an image's samples are black and white, as `ImageFacts.values` counts them."""
    if facts.bits <= 8:
        return 0, 255
    return value_range or (0, 2 ** min(facts.bits, 16) - 1)


def used_share(facts: ImageFacts, value_range: ValueRange) -> float:
    """Return how much of the way from black to white an image's samples go, 0 to 1 (or more)."""
    (low, high), (black, white) = facts.values, black_and_white(facts, value_range)
    return (min(high, white) - max(low, black)) / (white - black)


def _used(facts: ImageFacts, value_range: ValueRange) -> str:
    (low, high), (black, white) = facts.values, black_and_white(facts, value_range)
    return f"its values go from {low:,g} to {high:,g}, of {black:,g} to {white:,g}"
