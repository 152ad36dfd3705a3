"""What a reader of one format hands to the decoder: facts from the header at once, pixels when asked.

Readers go by the bytes alone. What others set in Pillow (`LOAD_TRUNCATED_IMAGES`, `MAX_IMAGE_PIXELS`, openers
that they registered) decides nothing here, and metadata decides nothing about pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import FunctionType
from typing import NamedTuple, TypeAlias, final

from PIL import Image, ImageFile

from tlkit.core.spec import check_float
from tlkit.errors import SettingError
from tlkit.images.metadata import NO_EXIF, Exif

Size: TypeAlias = tuple[int, int]
ValueRange: TypeAlias = "tuple[float, float] | None"


def check_value_range(value: object) -> ValueRange:
    """Return which values are black and white as a pair of floats, or None for None.

    Raises:
        SettingError: It is no pair of finite numbers, the smaller one first.
    """
    if value is None:
        return None
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise SettingError(
            f"`value_range` must be (black, white), such as (0, 4095), got {value!r}"
        )
    black, white = (check_float("value_range", end) for end in value)
    if black >= white:
        raise SettingError(f"`value_range` must be black and a larger white, got {value!r}")
    return black, white


class UnreadableError(Exception):
    """What stands in the way, in a few words for the user; becomes an `ImageError` with path and format."""


class Decoded(NamedTuple):
    """The pixels of one file, as they are stored.

    Attributes:
        rgb: Them, as RGB over the background; perhaps a smaller scale of them, but never smaller than asked.
        coarse: The same at the scale that does not depend on what was asked for.
        transparent: Whether a pixel is not opaque.
        values: See `ImageFacts.values`.
    """

    rgb: Image.Image
    coarse: Image.Image
    transparent: bool
    values: tuple[float, float]


def _whole(_wanted: Size) -> int:
    return 1


def _no_other_scale(wanted: Size) -> Image.Image:
    raise LookupError(f"{wanted} comes from the same pixels as every other size")


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """One file whose header is known.

    Attributes:
        format: What it is, in Pillow's word.
        mode: How its pixels are stored, in Pillow's word.
        size: Width and height as stored.
        bits: Bits of a sample.
        exif: What its EXIF block says.
        animated: Whether it holds more than one image.
        decode: Decodes it, given the width and height that are wanted at least, and which values are black
            and white where a sample has more than 8 bits.
        divisor: By what width and height are divided while it is decoded to such a size.
        scale: Sizes for which it is the same come from the same pixels.
        again: Decodes it once more, to RGB alone, for a size of another scale.
    """

    format: str
    mode: str
    size: Size
    bits: int = 8
    exif: Exif = NO_EXIF
    animated: bool = False
    decode: Callable[[Size, ValueRange], Decoded]
    divisor: Callable[[Size], int] = _whole
    scale: Callable[[Size], int] = _whole
    again: Callable[[Size], Image.Image] = _no_other_scale


class Strict(ImageFile.ImageFile):
    """Put behind a class of Pillow's, it makes every failure of a decoder an error.

    `ImageFile.load` passes over them where `LOAD_TRUNCATED_IMAGES` is set; this is the same function, with
    that name bound to False. Setting the flag itself for a while would change it for the user's own threads.
    """

    load = FunctionType(
        ImageFile.ImageFile.load.__code__, {**vars(ImageFile), "LOAD_TRUNCATED_IMAGES": False}
    )
