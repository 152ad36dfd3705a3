"""Files, bytes and arrays become uint8 RGB images here, and nowhere else in the package.

One function, `read_image`, opens an image; training, validation, prediction and the audit all see
the pixels that it gives. It holds no state and changes none, so that threads may call it freely. Each
format has a reader of its own (`jpeg`, `png`, `tiff` …), which refuses whatever it cannot give rightly.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, fields
from hashlib import blake2b
from types import MappingProxyType
from typing import Any, Final, Self, final

import numpy as np
import numpy.typing as npt
from PIL import Image

from tlkit.core.machine import Budget
from tlkit.core.spec import Json, Spec
from tlkit.errors import ImageError, SettingError, printable
from tlkit.images.appearance import UNKNOWN, Appearance, appearance_of
from tlkit.images.bitmap import open_bmp, open_ico
from tlkit.images.file_formats import ends_early, read_file, sniff
from tlkit.images.gif import open_gif
from tlkit.images.heif import open_heif
from tlkit.images.jpeg import open_jpeg
from tlkit.images.jpeg2000 import open_jpeg2000
from tlkit.images.metadata import SIDEWAYS
from tlkit.images.pillow_formats import PILLOW_FORMATS, open_with_pillow
from tlkit.images.png import open_png
from tlkit.images.pnm import open_pnm
from tlkit.images.reader import Decoded, Opened, Size, UnreadableError, ValueRange
from tlkit.images.resizing import Resize, content_box, padded
from tlkit.images.samples import BACKGROUND, Pixels
from tlkit.images.tiff import open_tiff
from tlkit.images.webp import open_webp

__all__ = [
    "BACKGROUND",
    "MAX_PIXELS",
    "BadFile",
    "ImageFacts",
    "Pixels",
    "as_batch",
    "read_image",
    "read_image_at_sizes",
    "read_size",
]

MAX_PIXELS = 178_956_970
"""Pixels that an image may have, as stored, unless told otherwise: Pillow's own error limit."""

THUMBNAIL_SIZE = (32, 32)
"""Height and width of `ImageFacts.thumbnail`."""

_IN_FLIGHT: Final = Budget(100_000_000)
"""Pixels that are decoded at one time, by however many threads: about 1 GB. A larger image goes alone."""

_T = Image.Transpose
_TURNS = {2: _T.FLIP_LEFT_RIGHT, 3: _T.ROTATE_180, 4: _T.FLIP_TOP_BOTTOM, 5: _T.TRANSPOSE}
_TURNS |= {6: _T.ROTATE_270, 7: _T.TRANSVERSE, 8: _T.ROTATE_90}
_READERS: Final[Mapping[str, Callable[[bytes], Opened]]] = MappingProxyType(
    {
        "BMP": open_bmp,
        "GIF": open_gif,
        "HEIC": open_heif,
        "ICO": open_ico,
        "JPEG": open_jpeg,
        "JPEG2000": open_jpeg2000,
        "PNG": open_png,
        "PPM": open_pnm,
        "TIFF": open_tiff,
        "WEBP": open_webp,
    }
)
_REFUSALS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "AppleDouble": "not an image but the side file that macOS writes beside one",
        "DICOM": "a DICOM file, with numbers that need a window: convert it to PNG first",
        "Git LFS pointer": "not an image but a Git LFS pointer: run `git lfs pull`",
        "SUN": "a Sun raster file, which programs read differently: convert it to PNG first",
        "SVG": "a drawing, not pixels: convert it to PNG first",
    }
)


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
        bits: Bits of each stored sample, 1 to 64.
        values: The lowest and the highest sample of the channel that varies most, with one in a thousand
            left out at either end: as stored where they have more than 8 bits, else 0 to 255.
        byte_count: Size of the file.
        digest: BLAKE2b of the file's bytes, 16 bytes in hexadecimal: equal files, equal digests.
        thumbnail: Read-only uint8 grey [32, 32], upright, the same for every image size asked for.
        appearance: A few numbers about the pixels, the same for every image size asked for.
        camera: Maker and model of what took it, by EXIF; "" where nothing says so.
        taken: The day it was taken, by EXIF, such as "2024-05-31"; "" where nothing says so.
    """

    format: str
    mode: str
    width: int
    height: int
    orientation: int
    animated: bool
    transparent: bool
    bits: int
    values: tuple[float, float] = (0, 255)
    byte_count: int
    digest: str
    thumbnail: Pixels = field(repr=False, compare=False)
    appearance: Appearance = field(default=UNKNOWN, repr=False, compare=False)
    camera: str = ""
    taken: str = ""

    @property
    def upright_size(self) -> tuple[int, int]:
        """Height and width in pixels as the image is seen, not as it is stored."""
        sideways = self.orientation >= 5
        return (self.width, self.height) if sideways else (self.height, self.width)

    def to_config(self) -> dict[str, Json]:
        """Return the facts as plain JSON values, the thumbnail in hexadecimal."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return values | {
            "values": [*self.values],
            "thumbnail": self.thumbnail.tobytes().hex(),
            "appearance": [*self.appearance[:-1], *self.appearance.border],
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Read what `to_config` wrote."""
        pixels = np.frombuffer(bytes.fromhex(config["thumbnail"]), np.uint8)
        side = math.isqrt(len(pixels))
        low, high = config.get("values", (0, 255))  # earlier releases did not look at them
        bright, contrast, sharp, colourful, *border = config.get("appearance", (0.0,) * 7)
        red, green, blue = border
        known = {
            "values": (low, high),
            "thumbnail": pixels.reshape(side, side),
            "appearance": Appearance(bright, contrast, sharp, colourful, (red, green, blue)),
        }
        return cls(**{**config, **known})


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
    value_range: ValueRange = None,
    resize: Resize = "stretch",
    measure: bool = True,
) -> tuple[Pixels, ImageFacts]:
    """Read one image, upright, as RGB pixels of the size asked for, and the facts about its file.

    The whole image is stretched to the size, as the directory loader of Keras does it, or padded; nothing
    is cropped. Large JPEGs are shrunk by 2, 4 or 8 while they are decoded, never below the size asked for,
    and then resized with Pillow's antialiased `BILINEAR`. EXIF orientation is applied, transparency
    is laid over white (`BACKGROUND`), samples of more than 8 bits are scaled to 8, of animations and
    multi-page files the first image counts, and colour profiles are not applied.

    Args:
        source: A file name, or the bytes of a file.
        image_size: Height and width of the result.
        max_pixels: Width x height that an image may have as stored; larger ones are refused from
            their header, before anything is decoded.
        value_range: Which values are black and white in PNG, TIFF and PGM files with more than 8 bits a
            sample; other values become the nearer of the two. None: all values that the bits can say, and
            files that leave open what is white (floating-point numbers, signed ones) are refused.
        resize: "stretch", or "pad": the image keeps its shape, and lies in the middle of grey borders.
        measure: Measure how the image looks. Whoever wants the pixels alone saves a tenth of the time
            without it; `ImageFacts.appearance` then says nothing.

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
    (pixels,), facts = read_image_at_sizes(
        source,
        (image_size,),
        max_pixels=max_pixels,
        value_range=value_range,
        resize=resize,
        measure=measure,
    )
    return pixels, facts


def read_image_at_sizes(
    source: str | os.PathLike[str] | bytes,
    image_sizes: Sequence[tuple[int, int]],
    *,
    max_pixels: int = MAX_PIXELS,
    value_range: ValueRange = None,
    resize: Resize = "stretch",
    measure: bool = True,
) -> tuple[tuple[Pixels, ...], ImageFacts]:
    """Read one image at several sizes: the file once, and decoded once for each scale that they need.

    Args:
        source: As in `read_image`.
        image_sizes: Height and width of each result, at least one.
        max_pixels: As in `read_image`.
        value_range: As in `read_image`.
        resize: As in `read_image`.
        measure: As in `read_image`.

    Returns:
        The pixels at each size, equal to those that `read_image` gives; and the facts.

    Raises:
        ImageError: As in `read_image`.
    """
    path, data = _content(source, max_pixels)
    kind = sniff(data)
    with _refusals(path, data, kind):
        return _decode(data, kind, image_sizes, max_pixels, value_range, resize, measure=measure)


def read_size(source: str | os.PathLike[str] | bytes) -> tuple[int, int]:
    """Read from the header of an image how large it is as it is seen; nothing is decoded.

    Args:
        source: A file name, or the bytes of a file.

    Returns:
        Height and width in pixels, upright.

    Raises:
        ImageError: The file has no header of an image.

    Examples:
        >>> import io
        >>> from PIL import Image
        >>> file = io.BytesIO()
        >>> Image.new("RGB", (640, 480)).save(file, "PNG")
        >>> read_size(file.getvalue())
        (480, 640)
    """
    path, data = _content(source, MAX_PIXELS)
    kind = sniff(data)
    with _refusals(path, data, kind):
        opened = _open(data, kind)
    return opened.size if opened.exif.orientation in SIDEWAYS else opened.size[::-1]


def as_batch(
    array: npt.ArrayLike, image_size: tuple[int, int], *, resize: Resize = "stretch"
) -> Pixels:
    """Check images given as numbers, and resize them as files are resized.

    Args:
        array: RGB images [N, H, W, 3], or one of them [H, W, 3]: uint8, or other numbers in 0-255.
        image_size: Height and width of the result.
        resize: As in `read_image`.

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
    if pixels.shape[1:3] == image_size:
        return pixels
    height, width = _inner_size(pixels.shape[1:3], image_size, resize)
    resized = np.empty((len(pixels), *image_size, 3), np.uint8)
    for place, image in zip(resized, pixels, strict=True):
        small = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)
        place[:] = padded(np.asarray(small), image_size)
    return resized


def _content(source: str | os.PathLike[str] | bytes, max_pixels: int) -> tuple[str, bytes]:
    """Return the name of a file and its bytes."""
    if isinstance(source, bytes):
        return "<bytes>", source
    path = os.fspath(source)
    return path, read_file(path, at_most=8 * max_pixels + 2**26)


@contextlib.contextmanager
def _refusals(path: str, data: bytes, kind: str | None) -> Iterator[None]:
    """Turn whatever a reader raises inside this block into an `ImageError` that names the file."""
    try:
        yield
    except UnreadableError as error:
        raise ImageError(path, str(error), format=kind) from error.__cause__
    except Exception as error:  # Pillow's plugins raise anything on damaged files
        raise ImageError(path, _damage(error, data, kind), format=kind) from error


def _decode(
    data: bytes,
    kind: str | None,
    image_sizes: Sequence[tuple[int, int]],
    max_pixels: int,
    value_range: ValueRange,
    resize: Resize,
    *,
    measure: bool,
) -> tuple[tuple[Pixels, ...], ImageFacts]:
    opened = _open(data, kind)
    width, height = opened.size
    if width * height > max_pixels:
        raise UnreadableError(
            f"{width} x {height} is larger than {max_pixels / 1e6:.3g} megapixels "
            f"(limit `max_pixels`={max_pixels})"
        )
    sideways = opened.exif.orientation in SIDEWAYS
    upright = (width, height) if sideways else (height, width)
    inner = [_inner_size(upright, size, resize) for size in image_sizes]
    sizes = [size if sideways else size[::-1] for size in inner]
    finest = min(map(opened.divisor, sizes))
    with _IN_FLIGHT.taken(width * height // finest**2):
        found, appearance, resized = _resized(opened, sizes, value_range, measure=measure)
    seen = [np.array(_turn(resized[size], opened.exif.orientation)) for size in sizes]
    framed = [padded(pixels, frame) for pixels, frame in zip(seen, image_sizes, strict=True)]
    return tuple(framed), ImageFacts(
        format=opened.format,
        mode=opened.mode,
        width=width,
        height=height,
        orientation=opened.exif.orientation,
        camera=opened.exif.camera,
        taken=opened.exif.taken,
        animated=opened.animated,
        transparent=found.transparent,
        bits=opened.bits,
        values=found.values,
        byte_count=len(data),
        digest=blake2b(data, digest_size=16).hexdigest(),
        thumbnail=np.asarray(_turn(found.coarse.convert("L"), opened.exif.orientation)),
        appearance=appearance,
    )


def _inner_size(
    upright: tuple[int, int], image_size: tuple[int, int], resize: Resize
) -> tuple[int, int]:
    """Return height and width that the image itself takes of the result."""
    return image_size if resize == "stretch" else content_box(upright, image_size)[2:]


def _resized(
    opened: Opened, sizes: Sequence[Size], value_range: ValueRange, *, measure: bool
) -> tuple[Decoded, Appearance, dict[Size, Image.Image]]:
    """Return what was decoded, a thumbnail in the place of its pixels; its looks; and the image at each size.

    The coarsest scale goes first, for it may be that of the thumbnail too. One is held at a time.
    """
    scales: dict[int, list[Size]] = {}
    for size in sizes:
        scales.setdefault(opened.scale(size), []).append(size)
    coarsest, *finer = sorted(scales, reverse=True)
    found = opened.decode(scales[coarsest][0], value_range)
    # Not BOX, which is no faster: it weighs rows and columns unevenly, and copies no longer match.
    thumbnail = found.coarse.resize(THUMBNAIL_SIZE, Image.Resampling.BILINEAR, reducing_gap=2.0)
    appearance = appearance_of(found.coarse) if measure else UNKNOWN
    resized = {size: _to_size(found.rgb, size) for size in scales[coarsest]}
    found = found._replace(rgb=thumbnail, coarse=thumbnail)  # what was decoded is let go
    for scale in finer:
        rgb = opened.again(scales[scale][0])
        resized |= {size: _to_size(rgb, size) for size in scales[scale]}
    return found, appearance, resized


def _to_size(image: Image.Image, size: Size) -> Image.Image:
    return image.resize(size, Image.Resampling.BILINEAR)


def _open(data: bytes, kind: str | None) -> Opened:
    """Let the reader of its format read the header."""
    if not data:
        raise UnreadableError("the file is empty")
    reader = _READERS.get(kind or "")
    if reader:
        return reader(data)
    if kind in PILLOW_FORMATS:
        return open_with_pillow(data, kind)
    if kind is None:
        try:
            return open_with_pillow(data, "TGA")  # which says nothing in its first bytes
        except SyntaxError as error:
            raise UnreadableError("not an image") from error
    raise UnreadableError(_REFUSALS.get(kind, "not an image"))


def _turn(image: Image.Image, orientation: int) -> Image.Image:
    return image.transpose(_TURNS[orientation]) if orientation in _TURNS else image


def _damage(error: Exception, data: bytes, kind: str | None) -> str:
    """Say in a few words what an exception means."""
    text = str(error).split("\n")[0]
    if isinstance(error, MemoryError):
        return "there is not enough memory to decode it"
    if "truncat" in text.lower() or isinstance(error, EOFError) or ends_early(data, kind):
        return "it ends too early (truncated)"
    if re.search("unknown|unsupported|not support|cannot handle", text, re.IGNORECASE):
        return f"a kind of {kind or 'file'} that cannot be read ({text}): save it in a common one"
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
