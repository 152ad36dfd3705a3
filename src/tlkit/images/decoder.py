"""Files, bytes and arrays become uint8 RGB images here, and nowhere else in the package.

One function, `read_image`, opens an image; training, validation, prediction and the audit all see
the pixels that it gives. It holds no state and changes none, so that threads may call it freely.

Pillow's usual warnings do not reach the user: the metadata that it would warn about is blanked before it
looks (`imagebytes`), and the limit on size is checked here instead of by `Image.open`. What
is left can only be said about a damaged TIFF, AVIF, ICO or APNG; where warnings are errors, such a file is
unreadable.
"""

from __future__ import annotations

import io
import math
import os
import re
import struct
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field, fields
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Self, TypeAlias, final

import numpy as np
import numpy.typing as npt
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from tlkit.core.spec import Json, Spec
from tlkit.errors import ImageError, SettingError, printable
from tlkit.images.file_formats import (
    SIDEWAYS,
    ends_early,
    orientation_of,
    read_file,
    sniff,
    take_orientation,
)

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

Pixels: TypeAlias = npt.NDArray[np.uint8]

MAX_PIXELS = 178_956_970
"""Pixels that an image may have, as stored, unless said otherwise: Pillow's own error limit."""

BACKGROUND = (255, 255, 255)
"""The RGB colour behind transparent pixels: white, as a page shows them."""

THUMBNAIL_SIZE = (32, 32)
"""Height and width of `ImageFacts.thumbnail`."""

# A JPEG is decoded at the coarsest DCT scale that still covers both the size asked for and this one, so
# that for every size up to it the thumbnail comes from the very same pixels. 224 is the default size.
_DRAFT_SIZE = (224, 224)

_T = Image.Transpose
_TURNS = {2: _T.FLIP_LEFT_RIGHT, 3: _T.ROTATE_180, 4: _T.FLIP_TOP_BOTTOM, 5: _T.TRANSPOSE}
_TURNS |= {6: _T.ROTATE_270, 7: _T.TRANSVERSE, 8: _T.ROTATE_90}
_PLUGINS = {"HEIC": "HEIF", "JPEG XL": "JXL"}  # what add-on packages call them once registered
_REFUSALS = {
    "HEIC": "HEIC needs the pillow-heif package, registered before tlkit reads",
    "JPEG XL": "JPEG XL needs the pillow-jxl-plugin package, imported before tlkit reads",
    "AppleDouble": "not an image but the side file that macOS writes beside one",
    "Git LFS pointer": "not an image but a Git LFS pointer: run `git lfs pull`",
    "SVG": "a drawing, not pixels: convert it to PNG first",
}
# They start a program (EPS), or only look inside and decode nothing.
_NOT_OPENED = frozenset({"EPS", "WMF", "BUFR", "GRIB", "HDF5", "MPEG", "IPTC"})


class _UnreadableError(Exception):
    """What stands in the way, in words for the user; becomes an `ImageError` with path and format."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFacts:
    """What one decode tells about a file besides its pixels.

    Attributes:
        format: What the file is, by its bytes, in Pillow's word (`"JPEG"`, `"WEBP"` …).
        mode: Pillow's word for how its pixels are stored (`"RGB"`, `"P"`, `"CMYK"`, `"I;16"` …).
        width: Pixels across, as stored, before any turning.
        height: Pixels down, as stored, before any turning.
        orientation: The EXIF orientation, 1 to 8; 1 is upright.
        animated: Whether the file holds more than one image; the first one was read.
        transparent: Whether a pixel of it is not opaque.
        bits: Bits of each stored sample: 1, 2, 4, 8, 12, 16 or 32.
        byte_count: Size of the file.
        digest: BLAKE2b of the file's bytes, 16 bytes in hexadecimal: equal files, equal digests.
        thumbnail: Read-only uint8 grey [32, 32], upright, the same for every image size asked for.
    """

    format: str
    mode: str
    width: int
    height: int
    orientation: int
    animated: bool
    transparent: bool
    bits: int
    byte_count: int
    digest: str
    thumbnail: Pixels = field(repr=False, compare=False)

    @property
    def upright_size(self) -> tuple[int, int]:
        """Height and width in pixels as the image is seen, not as it is stored."""
        sideways = self.orientation >= 5
        return (self.width, self.height) if sideways else (self.height, self.width)

    def to_config(self) -> dict[str, Json]:
        """Return the facts as plain JSON values, the thumbnail in hexadecimal."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return values | {"thumbnail": self.thumbnail.tobytes().hex()}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Read what `to_config` wrote."""
        pixels = np.frombuffer(bytes.fromhex(config["thumbnail"]), np.uint8)
        side = math.isqrt(len(pixels))
        return cls(**{**config, "thumbnail": pixels.reshape(side, side)})


@final
@dataclass(frozen=True, slots=True, repr=False)
class BadFile(Spec):
    """A file that was left out, and why.

    Attributes:
        path: The file.
        reason: What is wrong with it, in a few words.
        format: What its first bytes say it is, or None where they say nothing.
    """

    path: str
    reason: str
    _: KW_ONLY
    format: str | None = None

    @classmethod
    def from_error(cls, error: ImageError) -> Self:
        """Keep what an `ImageError` says.

        Examples:
            >>> BadFile.from_error(ImageError("a.jpg", "the file is empty"))
            BadFile('a.jpg', 'the file is empty')
        """
        return cls(error.path, error.reason, format=error.format)

    def error(self) -> ImageError:
        """Return it as an error to raise."""
        return ImageError(self.path, self.reason, format=self.format)

    def __str__(self) -> str:
        real = f" (its bytes are {self.format})" if self.format else ""
        return f"{printable(self.path)}: {self.reason}{real}"


def read_image(
    source: str | os.PathLike[str] | bytes,
    image_size: tuple[int, int],
    *,
    max_pixels: int = MAX_PIXELS,
) -> tuple[Pixels, ImageFacts]:
    """Read one image, upright, as RGB pixels of the size asked for, and the facts about its file.

    The whole image is stretched to the size, as the directory loader of Keras does it; nothing is
    cropped. Large JPEGs are shrunk by 2, 4 or 8 while they are decoded, never below the size asked for,
    and then resized with Pillow's antialiased `BILINEAR`. EXIF orientation is applied, transparency
    is laid over white (`BACKGROUND`), samples of 16 bits are scaled by 1/257, of animations and
    multi-page files the first image counts, and colour profiles are not applied.

    Args:
        source: A file name, or the bytes of a file.
        image_size: Height and width of the result.
        max_pixels: Width x height that an image may have as stored; larger ones are refused from
            their header, before anything is decoded.

    Returns:
        The pixels, uint8 [height, width, 3] in 0-255, and the facts.

    Raises:
        ImageError: The file cannot be read as an image; says why, and what its bytes really are.

    Examples:
        >>> import io
        >>> from PIL import Image
        >>> file = io.BytesIO()
        >>> Image.new("RGB", (640, 480), (200, 30, 40)).save(file, "PNG")
        >>> pixels, facts = read_image(file.getvalue(), (160, 224))
        >>> pixels.shape, pixels[0, 0].tolist(), facts.format, facts.width
        ((160, 224, 3), [200, 30, 40], 'PNG', 640)
    """
    path = "<bytes>" if isinstance(source, bytes) else os.fspath(source)
    data = source if isinstance(source, bytes) else read_file(path, at_most=8 * max_pixels + 2**26)
    kind = sniff(data)
    try:
        return _decode(data, kind, image_size, max_pixels)
    except _UnreadableError as error:
        raise ImageError(path, str(error), format=kind) from error.__cause__
    except Exception as error:  # Pillow's plugins raise anything on damaged files
        raise ImageError(path, _damage(error, data, kind), format=kind) from error


def as_batch(array: npt.ArrayLike, image_size: tuple[int, int]) -> Pixels:
    """Check images given as numbers, and resize them as files are resized.

    Args:
        array: RGB images [N, H, W, 3], or one of them [H, W, 3]: uint8, or other numbers in 0-255.
        image_size: Height and width of the result.

    Returns:
        uint8 [N, height, width, 3].

    Raises:
        SettingError: Another shape, values outside 0-255 or not finite, or scaled to 0-1.

    Examples:
        >>> as_batch([[[0.0, 127.6, 255.0]]], (2, 2)).tolist()
        [[[[0, 128, 255], [0, 128, 255]], [[0, 128, 255], [0, 128, 255]]]]
    """
    try:
        given = np.asarray(array)
    except ValueError as error:  # they have no common shape
        raise SettingError(
            "images must be an array [N, H, W, 3] or [H, W, 3] of RGB in 0-255, got images that differ in "
            "shape: give them one at a time, or resize them first"
        ) from error
    batch = given[np.newaxis] if given.ndim == 3 else given
    if batch.ndim != 4 or batch.shape[-1] != 3 or 0 in batch.shape[1:]:
        raise SettingError(
            f"images must be an array [N, H, W, 3] or [H, W, 3] of RGB in 0-255, {_got(given)}"
        )
    pixels = _to_uint8(batch)
    height, width = image_size
    if pixels.shape[1:3] == (height, width):
        return pixels
    resized = np.empty((len(pixels), height, width, 3), np.uint8)
    for place, image in zip(resized, pixels, strict=True):
        place[:] = np.asarray(
            Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)
        )
    return resized


def _decode(
    data: bytes, kind: str | None, image_size: tuple[int, int], max_pixels: int
) -> tuple[Pixels, ImageFacts]:
    if not data:
        raise _UnreadableError("the file is empty")
    clean, orientation = take_orientation(data, kind)
    image = _open(clean, kind)
    (width, height), mode, bits = image.size, image.mode, _bits(image)
    if width * height > max_pixels:
        raise _UnreadableError(
            f"{width} x {height} is larger than {max_pixels / 1e6:.3g} megapixels "
            f"(limit `max_pixels`={max_pixels})"
        )
    animated = bool(getattr(image, "is_animated", False))
    if isinstance(image, JpegImageFile):
        size = image_size if orientation in SIDEWAYS else image_size[::-1]
        rgb, coarse, transparent = *_decode_jpeg(image, clean, size), False
    else:
        image.load()  # only then has a PNG said all that it says
        orientation = orientation or orientation_of(image.info)
        size = image_size if orientation in SIDEWAYS else image_size[::-1]
        rgb, transparent = _to_rgb(image, bits)
        coarse = rgb
    # Not BOX, which is no faster: it weighs rows and columns unevenly, and copies no longer match.
    thumbnail = coarse.resize(THUMBNAIL_SIZE, Image.Resampling.BILINEAR, reducing_gap=2.0)
    return np.array(_turn(rgb.resize(size, Image.Resampling.BILINEAR), orientation)), ImageFacts(
        format=image.format or kind or "unknown",
        mode=mode,
        width=width,
        height=height,
        orientation=orientation,
        animated=animated,
        transparent=transparent,
        bits=bits,
        byte_count=len(data),
        digest=blake2b(data, digest_size=16).hexdigest(),
        thumbnail=np.asarray(_turn(thumbnail.convert("L"), orientation)),
    )


def _bits(image: ImageFile) -> int:
    """Bits of a stored sample; before loading, while the tiles still say how the file has it."""
    if image.mode == "1":
        return 1
    raw = re.search(r";(\d+)", str(image.tile[:1])) if image.format in ("PNG", "TIFF") else None
    return int(raw[1]) if raw else 16 if image.mode.startswith("I") else 8


def _open(data: bytes, kind: str | None) -> ImageFile:
    """Let Pillow read the header; not through `Image.open`, which warns, and races between threads."""
    if kind == "JPEG":  # and not what its factory may make of it: an MPO of several images
        return JpegImageFile(io.BytesIO(data))
    Image.init()
    name = _PLUGINS.get(kind or "", kind)
    if kind not in (None, "text") and (name not in Image.OPEN or name in _NOT_OPENED):
        raise _UnreadableError(_REFUSALS.get(kind or "", "not an image"))
    for candidate in [name] if name in Image.OPEN else sorted(set(Image.ID) - _NOT_OPENED):
        factory, accept = Image.OPEN[candidate]
        try:
            accepted = accept is None or accept(data[:16])
            if accepted is True:
                return factory(io.BytesIO(data), "")
        except (SyntaxError, IndexError, TypeError, KeyError, struct.error):
            if name == candidate:
                raise
        else:
            if isinstance(accepted, str):
                raise _UnreadableError(f"this Pillow was built without {candidate}")
    raise _UnreadableError("not an image")


def _decode_jpeg(
    image: JpegImageFile, data: bytes, size: tuple[int, int]
) -> tuple[Image.Image, Image.Image]:
    """Decode a JPEG once, or, for sizes that need a finer scale than the thumbnail's, twice."""
    stored = image.size
    wanted = (max(size[0], _DRAFT_SIZE[0]), max(size[1], _DRAFT_SIZE[1]))
    rgb = _drafted(image, data, wanted)
    if _draft_scale(stored, wanted) == _draft_scale(stored, _DRAFT_SIZE):
        return rgb, rgb
    return rgb, _drafted(JpegImageFile(io.BytesIO(data)), data, _DRAFT_SIZE)


def _drafted(image: JpegImageFile, data: bytes, size: tuple[int, int]) -> Image.Image:
    image.decodermaxblock = len(data)  # it is in memory already: one piece instead of 64 KB ones
    image.draft(None, size)
    return image if image.mode == "RGB" else image.convert("RGB")


def _draft_scale(stored: tuple[int, int], size: tuple[int, int]) -> int:
    """Log2 of what `draft` divides by: 8, 4, 2 or 1."""
    return max(1, min(8, stored[0] // size[0], stored[1] // size[1])).bit_length() - 1


def _turn(image: Image.Image, orientation: int) -> Image.Image:
    return image.transpose(_TURNS[orientation]) if orientation in _TURNS else image


def _to_rgb(image: Image.Image, bits: int) -> tuple[Image.Image, bool]:
    """Return the image as RGB over the background, and whether a pixel was not opaque."""
    if image.mode == "F":
        raise _UnreadableError("floating-point pixels have no agreed white: save it as 16 bits")
    key = image.info.get("transparency")
    if image.mode.startswith("I"):
        return _grey_to_rgb(image, key, bits)
    if image.mode == "RGB" and isinstance(key, tuple) and bits == 16:
        image.info["transparency"] = tuple(value >> 8 for value in key)  # as its pixels were
    if image.mode == "L" and isinstance(key, int) and bits < 8:
        image.info["transparency"] = key * 255 // (2**bits - 1)  # as its pixels were
    if not image.has_transparency_data:
        return (image if image.mode == "RGB" else image.convert("RGB")), False
    rgba = image.convert("LA" if image.mode == "La" else "RGBA").convert("RGBA")
    if rgba.getchannel("A").getextrema() == (255, 255):
        return rgba.convert("RGB"), False
    rgb = Image.new("RGB", rgba.size, BACKGROUND)
    rgb.paste(rgba, mask=rgba)
    return rgb, True


def _grey_to_rgb(image: Image.Image, key: object, bits: int) -> tuple[Image.Image, bool]:
    values, white = np.asarray(image), 2 ** min(bits, 16) - 1
    if values.min() < 0 or values.max() > white:
        raise _UnreadableError(f"samples beyond {white} have no agreed white: save it as 16 bits")
    grey = ((values.astype(np.uint32) * 255 + white // 2) // white).astype(np.uint8)
    rgb = Image.fromarray(grey).convert("RGB")
    clear = values == key if isinstance(key, int) else np.zeros(values.shape, bool)
    if clear.any():
        rgb.paste(BACKGROUND, mask=Image.fromarray(clear))
    return rgb, bool(clear.any())


def _damage(error: Exception, data: bytes, kind: str | None) -> str:
    """Say in a few words what an exception of Pillow means."""
    text = str(error).split("\n")[0]
    if isinstance(error, MemoryError):
        return "there is not enough memory to decode it"
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return "it has more pixels than Pillow allows"
    if "truncat" in text.lower() or isinstance(error, EOFError) or ends_early(data, kind):
        return "it ends too early (truncated)"
    return f"damaged ({text or type(error).__name__})"


def _to_uint8(batch: npt.NDArray[np.generic]) -> Pixels:
    if batch.dtype == np.uint8:
        return batch.view(np.uint8)
    if batch.dtype.kind not in "uif":
        raise SettingError(f"images must be numbers in 0-255, {_got(batch)}")
    values = batch.astype(np.float32) if batch.dtype.kind == "f" else batch.astype(np.int64)
    low, high = (values.min(), values.max()) if values.size else (0, 0)
    if not (low >= 0 and high <= 255):  # written so that NaN is refused too
        raise SettingError(f"images must be numbers in 0-255, {_got(batch)} from {low} to {high}")
    if batch.dtype.kind == "f" and 0 < high <= 1:
        raise SettingError(
            f"images must be RGB in 0-255, {_got(batch)} whose largest value is {high:g}: "
            "it looks scaled to 0-1, so multiply it by 255"
        )
    return np.rint(values).astype(np.uint8)


def _got(array: npt.NDArray[np.generic]) -> str:
    return f"got an array of shape {array.shape} and dtype {array.dtype}"
