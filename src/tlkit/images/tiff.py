"""TIFF files: samples of any depth in any layout, and nothing that leaves open what its numbers mean.

Pillow reads the commonest layouts right, some wrong (16-bit planes, signed samples, 16 bits of which 0 is
white) and the rest not at all. Here it only unpacks bytes: it is shown a grey image with as many pixels as
there are bytes (`tiff_bytes`), and the tags decide what they mean. JPEG and fax inside a TIFF are left to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self, final

import numpy as np
from PIL import Image

from tlkit.images.metadata import exif_of_block
from tlkit.images.reader import Decoded, Opened, Size, UnreadableError, ValueRange
from tlkit.images.samples import (
    Pixels,
    Samples,
    black_and_white,
    from_image,
    from_samples,
    scaled,
)
from tlkit.images.tiff_bytes import load_tiff, samples_of
from tlkit.images.tiff_tags import Tag, Tags

_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _CMYK, _YCBCR, _LAB = 0, 1, 2, 3, 5, 6, 8
_CHANNELS: Final = {0: 1, 1: 1, _RGB: 3, _PALETTE: 1, _CMYK: 4, _YCBCR: 3, _LAB: 3}
_MODES: Final = {_RGB: "RGB", _PALETTE: "P", _CMYK: "CMYK", _YCBCR: "YCbCr", _LAB: "LAB"}
_KINDS: Final = {1: "u", 2: "i", 3: "f", 4: "u"}
_BYTES: Final = frozenset({1, 5, 8, 32773, 32946, 34925, 50000})
"""None, LZW, deflate, PackBits, deflate by its old number, LZMA, Zstandard: these only make bytes fewer."""
_FAX, _JPEG = (2, 3, 4), 7
_USUAL_TILE: Final = 1024  # pixels: small images are stored in such tiles too
_MOST_SAMPLES: Final = 64  # all are unpacked before the colours among them are taken
_PREMULTIPLIED, _ALPHA, _COREL_ALPHA = 1, 2, 999


@final
@dataclass(frozen=True, slots=True)
class _Pixels:
    """What a pixel is made of.

    Attributes:
        colour: What its samples mean, one of `_CHANNELS`.
        samples: How many it has.
        bits: Of each of them.
        kind: "u", "i" or "f": whole numbers without or with a sign, or floating-point numbers.
        alpha: Which of them says how opaque it is; None where none does.
        premultiplied: Whether the others are multiplied by it.
    """

    colour: int
    samples: int
    bits: int
    kind: str
    alpha: int | None
    premultiplied: bool

    @classmethod
    def of(cls, tags: Tags) -> Self:
        colour, samples = tags.one(Tag.PHOTOMETRIC_INTERPRETATION), tags.one(Tag.SAMPLES_PER_PIXEL)
        if colour not in _CHANNELS:
            raise UnreadableError(f"a TIFF of a rare colour space ({colour}): save it as RGB")
        if samples < _CHANNELS[colour]:
            raise UnreadableError("damaged (it has fewer samples than colours)")
        if samples > _MOST_SAMPLES:
            raise UnreadableError(f"a TIFF of {samples} channels: save it as RGB")
        bits = tags.same(Tag.BITS_PER_SAMPLE, samples)
        kind = _KINDS.get(tags.same(Tag.SAMPLE_FORMAT, samples))
        if kind is None or not 1 <= bits <= 64 or (kind != "u" and bits not in (8, 16, 32, 64)):
            raise UnreadableError(f"a TIFF of rare numbers ({bits} bits): save it as 8 or 16 bits")
        extra = samples - _CHANNELS[colour]
        meanings = tags.all(Tag.EXTRA_SAMPLES).tolist()[:extra]
        if extra == 1 and colour == _RGB and not meanings:
            meanings = [_ALPHA]  # as all programs take it
        if colour in (_WHITE_IS_ZERO, _BLACK_IS_ZERO) and extra and (extra > 1 or not meanings):
            raise UnreadableError(f"a TIFF that does not say what its {samples} channels are")
        known = [
            n for n, meant in enumerate(meanings) if meant in (_PREMULTIPLIED, _ALPHA, _COREL_ALPHA)
        ]
        alpha = _CHANNELS[colour] + known[0] if known else None
        return cls(
            colour, samples, bits, kind, alpha, bool(known) and meanings[known[0]] == _PREMULTIPLIED
        )

    @property
    def mode(self) -> str:
        """Pillow's word for it, or what would be."""
        if self.colour in _MODES:
            return _MODES[self.colour] + "A" * (self.colour == _RGB and self.alpha is not None)
        if self.alpha is not None:
            return "LA"
        if self.kind == "f":
            return "F"
        return (
            "1" if self.bits == 1 else "L" if self.bits <= 8 else "I;16" if self.bits <= 16 else "I"
        )


def open_tiff(data: bytes) -> Opened:
    """Read the first directory of a TIFF.

    Raises:
        UnreadableError: Its pixels are stored in a way that is not known, or that leaves open what they are.
        EOFError: The directory lies beyond the end.
    """
    tags = Tags(data)
    size = tags.one(Tag.IMAGE_WIDTH), tags.one(Tag.IMAGE_LENGTH)
    if min(size) < 1:
        raise UnreadableError("damaged (it has no pixels)")
    _check_tiles(tags, size)
    pixels = _Pixels.of(tags)
    by_pillow = _is_for_pillow(tags, pixels)

    def decode(_wanted: Size, value_range: ValueRange) -> Decoded:
        if by_pillow:
            return from_image(load_tiff(data, by_libtiff=pixels.colour == _YCBCR))
        return _decoded(data, tags, pixels, value_range)

    return Opened(
        format="TIFF",
        mode=pixels.mode,
        size=size,
        bits=pixels.bits,
        exif=exif_of_block(data),
        animated=tags.has_more,
        decode=decode,
    )


def _check_tiles(tags: Tags, size: Size) -> None:
    """Refuse tiles far larger than their image: they are unpacked whole."""
    if Tag.TILE_WIDTH not in tags:
        return
    tile = tags.one(Tag.TILE_WIDTH), tags.one(Tag.TILE_LENGTH)
    if any(side > 2 * max(length, _USUAL_TILE) for side, length in zip(tile, size, strict=True)):
        raise UnreadableError(
            f"damaged (tiles of {tile[0]} x {tile[1]} pixels for an image of {size[0]} x {size[1]})"
        )


def _is_for_pillow(tags: Tags, pixels: _Pixels) -> bool:
    """Say whether Pillow decodes a file to the end; refuse what nobody does rightly."""
    compression, colour = tags.one(Tag.COMPRESSION), pixels.colour
    eight = pixels.bits == 8 and pixels.kind == "u"
    only_colours = pixels.samples == _CHANNELS[colour]
    together = tags.one(Tag.PLANAR_CONFIGURATION) != 2
    rare = None
    if colour == _LAB and not (eight and only_colours):
        rare = "L*a*b* colours that are not of 8 bits"
    elif colour == _CMYK and (tags.one(Tag.INK_SET) != 1 or pixels.kind != "u"):
        rare = "inks that are not cyan, magenta, yellow and black"
    elif colour == _PALETTE and (pixels.kind != "u" or pixels.bits > 16):
        rare = "places in a palette that are no small numbers"
    elif colour == _YCBCR:
        if compression in (*_BYTES, _JPEG) and eight and only_colours and together:
            return True
    elif compression in _BYTES:
        return False
    elif (compression == _JPEG and colour in (_BLACK_IS_ZERO, _RGB) and eight and only_colours) or (
        compression in _FAX and colour in (_WHITE_IS_ZERO, _BLACK_IS_ZERO) and pixels.bits == 1
    ):
        return True
    what = (
        f"{pixels.samples} x {pixels.bits} bits, colour space {colour}, compression {compression}"
    )
    raise UnreadableError(f"a TIFF of {rare or what}: save it as RGB without compression")


def _decoded(data: bytes, tags: Tags, pixels: _Pixels, value_range: ValueRange) -> Decoded:
    count = _CHANNELS[pixels.colour]
    wanted = [*range(count), *([] if pixels.alpha is None else [pixels.alpha])]
    samples = samples_of(data, tags, pixels.bits, pixels.kind, wanted)
    colours = samples[..., :count]
    alpha = None if pixels.alpha is None else _opacity(samples[..., count], pixels.bits)
    wide = False
    if pixels.colour == _PALETTE:
        colours, ends = _looked_up(tags, colours[..., 0]), (0.0, 255.0)
    elif pixels.colour in (_CMYK, _LAB):
        colours, ends = _converted(colours, pixels), (0.0, 255.0)
    else:
        ends = black_and_white(colours, pixels.bits, value_range)
        wide = pixels.bits > 8 or pixels.kind != "u"
        if pixels.colour == _WHITE_IS_ZERO:
            ends = ends[::-1]
    return from_samples(colours, ends, wide=wide, alpha=alpha, premultiplied=pixels.premultiplied)


def _opacity(samples: Samples, bits: int) -> Pixels:
    """Return an alpha channel in 8 bits."""
    if samples.dtype.kind == "i":
        raise UnreadableError("a TIFF whose opacity has a sign: save it as 8 or 16 bits")
    if samples.dtype.kind == "f":
        return scaled(samples, 0, 1)
    if bits > 16 and samples.max() < 2**16:
        bits = 16  # as for colours
    return scaled(samples, 0, 2**bits - 1)


def _looked_up(tags: Tags, places: Samples) -> Pixels:
    """Return the colours of places in the palette, `[H, W, 3]`."""
    table = tags.all(Tag.COLOR_MAP)
    table = table[: len(table) // 3 * 3].reshape(3, -1)
    if table.shape[1] <= int(places.max()):
        raise UnreadableError("damaged (its palette is too short)")
    wide = table.max() > 255  # some programs write 8 bits where 16 belong
    return (table >> 8 if wide else table).astype(np.uint8).T[places]


def _converted(colours: Samples, pixels: _Pixels) -> Pixels:
    """Return inks, or L*a*b* colours, as RGB."""
    height, width, _ = colours.shape
    content = np.ascontiguousarray(scaled(colours, 0, 2**pixels.bits - 1)).tobytes()
    mode = _MODES[pixels.colour]
    image = Image.frombytes(mode, (width, height), content, "raw", mode)
    return np.asarray(image.convert("RGB"))
