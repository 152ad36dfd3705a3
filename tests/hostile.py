"""Every kind of file that people's image folders turn out to hold, as one table.

`CASES` says how each is made and what must come of it; `write(folder)` makes them all. Every image in
it that can be read shows `quadrants()`, so that a test can tell turned, mirrored and miscoloured ones.
"""

from __future__ import annotations

import importlib.util
import io
import os
import struct
import sys
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, features

HEIGHT, WIDTH = 96, 128
RED, GREEN, BLUE, GREY = (200, 30, 40), (20, 160, 60), (30, 50, 190), (120, 120, 120)


def quadrants() -> npt.NDArray[np.uint8]:
    """uint8 [96, 128, 3]: red, green / blue, grey."""
    image = np.empty((HEIGHT, WIDTH, 3), np.uint8)
    image[:48, :64], image[:48, 64:] = RED, GREEN
    image[48:, :64], image[48:, 64:] = BLUE, GREY
    return image


def rgb() -> Image.Image:
    return Image.fromarray(quadrants())


def encode(image: Image.Image, format_: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, format_, **options)
    return file.getvalue()


def jpeg(image: Image.Image | None = None, **options: Any) -> bytes:
    return encode(image or rgb(), "JPEG", **{"quality": 95, "subsampling": 0, **options})


def exif(orientation: int) -> bytes:
    block = Image.Exif()
    block[274] = orientation
    return block.tobytes()


# What must be done to an upright image so that this EXIF orientation turns it upright again, from the
# meaning of the eight numbers: where row 0 and column 0 of the stored pixels lie in the image.
STORED_AS: dict[int, Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.uint8]]] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: a.transpose(1, 0, 2)[::-1],
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: a.transpose(1, 0, 2)[:, ::-1],
}


def stored_as(orientation: int) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(STORED_AS[orientation](quadrants())))


def rgba() -> Image.Image:
    """The quadrants under an opaque alpha channel, but for a red corner under full transparency."""
    image = rgb().convert("RGBA")
    image.putpixel((0, 0), (*RED, 0))
    return image


def palette() -> Image.Image:
    return rgb().quantize(4)


def palette_alpha() -> bytes:
    """A palette PNG with one alpha for each colour; a fifth, unused colour is transparent."""
    return encode(palette(), "PNG", transparency=bytes([255, 255, 255, 255, 0]))


def png(
    colour_type: int,
    bits: int,
    rows: npt.NDArray[np.generic],
    extra: Iterable[tuple[bytes, bytes]] = (),
    *,
    width: int = WIDTH,
) -> bytes:
    """A PNG by hand, for what Pillow reads and does not write. `rows`: big-endian, one a line."""
    pixels = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    return png_chunks(width, len(rows), bits, pixels, colour_type=colour_type, extra=extra)


def png_chunks(
    width: int,
    height: int,
    bits: int,
    pixels: bytes,
    *,
    colour_type: int = 0,
    extra: Iterable[tuple[bytes, bytes]] = (),
) -> bytes:
    """A PNG of compressed pixels; its header claims what it is told to."""

    def chunk(name: bytes, data: bytes) -> bytes:
        check = zlib.crc32(name + data)
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", check)

    header = struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0)
    chunks = [(b"IHDR", header), *extra, (b"IDAT", pixels), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(name, data) for name, data in chunks)


def png_rgb16() -> bytes:
    wide = (quadrants().astype(np.uint16) * 257).astype(">u2")
    return png(2, 16, wide.reshape(HEIGHT, -1))


def grey16() -> Image.Image:
    grey = np.asarray(rgb().convert("L")).astype(np.uint16)
    return Image.fromarray(grey * 257)


def grey_float() -> bytes:
    return encode(Image.new("F", (8, 8), 0.5), "TIFF")


def turned(orientation: int, format_: str, **options: Any) -> bytes:
    """The quadrants as a camera stores them when held so, with the EXIF tag that says how."""
    return encode(stored_as(orientation), format_, exif=exif(orientation), **options)


def bmp_palette() -> bytes:
    return encode(palette(), "BMP")


def heic() -> bytes:
    """As a telephone writes it, but for the EXIF block, which some apps remove."""
    import pillow_heif

    file = io.BytesIO()
    pillow_heif.from_pillow(rgb()).save(file, quality=95)
    return file.getvalue()


def animated(format_: str, **options: Any) -> bytes:
    return encode(
        rgb(), format_, save_all=True, append_images=[Image.new("RGB", (WIDTH, HEIGHT))], **options
    )


def bomb() -> bytes:
    """A PNG that claims 60,000 x 60,000 pixels in a few hundred bytes."""
    return png_chunks(60_000, 60_000, 8, zlib.compress(bytes(1000)))


HTML = b"<!DOCTYPE html>\n<html><body>404: not found</body></html>\n"
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"
GIT_LFS = b"version https://git-lfs.github.com/spec/v1\n"
APPLE_DOUBLE = b"\0\5\x16\7\0\2\0\0Mac OS X        " + bytes(100)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One file of a hostile folder.

    Attributes:
        name: Its file name; subfolders are made.
        make: Writes it at the path given.
        readable: Whether it must be read, showing `quadrants()`.
        format: What its bytes really are, in Pillow's word or tlkit's (also for readable ones).
        reason: A part of the reason that must be given where it is not readable.
        listed: Whether a listing of the folder counts it as an image at all.
        grey: Whether its colours are gone.
        possible: Whether this machine can make it.
    """

    name: str
    make: Callable[[Path], object]
    readable: bool = True
    format: str | None = None
    reason: str = ""
    listed: bool = True
    grey: bool = False
    possible: bool = True

    def write(self, folder: Path) -> Path:
        """Make the file in the folder, and say where it is."""
        path = folder / self.name
        path.parent.mkdir(parents=True, exist_ok=True)
        self.make(path)
        return path

    def __str__(self) -> str:
        return self.name.encode("unicode_escape").decode("ascii")


def _link_to_nothing(path: Path) -> None:
    path.symlink_to("never-there.jpg")


def _link_to_image(path: Path) -> None:
    target = path.parent / ".linked" / "target.jpg"
    target.parent.mkdir(exist_ok=True)
    target.write_bytes(jpeg())
    path.symlink_to(target)


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _file(data: bytes | Callable[[], bytes]) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(data() if callable(data) else data)


def _unreadable(
    name: str,
    data: bytes | Callable[[], bytes],
    reason: str,
    format_: str | None = None,
    *,
    listed: bool = True,
) -> Case:
    return Case(
        name=name, make=_file(data), readable=False, reason=reason, format=format_, listed=listed
    )


def _readable(name: str, data: Callable[[], bytes], format_: str, **expected: bool) -> Case:
    return Case(name=name, make=_file(data), format=format_, **expected)  # type: ignore[arg-type]


_AVIF = bool(features.check("avif"))
_HEIC = importlib.util.find_spec("pillow_heif") is not None
_POSIX = os.name == "posix"
# A NumPy array as JPEG noise keeps a truncated file longer than any buffer.
_NOISE = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


def _cut(data: bytes, *, keep: int | float) -> bytes:
    return data[: int(len(data) * keep) if isinstance(keep, float) else keep]


def _noise(format_: str, *, keep: int | float) -> bytes:
    return _cut(encode(Image.fromarray(_NOISE), format_), keep=keep)


TRUNCATED = (
    _unreadable("half.jpg", partial(_noise, "JPEG", keep=0.5), "truncated", "JPEG"),
    _unreadable("header only.jpg", partial(_noise, "JPEG", keep=200), "truncated", "JPEG"),
    _unreadable("last 20 bytes missing.jpg", partial(_noise, "JPEG", keep=-20), "truncated", "JPEG"),
    _unreadable("half.png", partial(_noise, "PNG", keep=0.5), "truncated", "PNG"),
    _unreadable("half.gif", partial(_noise, "GIF", keep=0.5), "truncated", "GIF"),
    _unreadable("half.bmp", partial(_noise, "BMP", keep=0.5), "truncated", "BMP"),
    _unreadable("half.webp", partial(_noise, "WEBP", keep=0.5), "truncated", "WEBP"),
    _unreadable("half.tiff", partial(_noise, "TIFF", keep=0.5), "truncated", "TIFF"),
    _unreadable("3 bytes.jpg", b"\xff\xd8\xff", "truncated", "JPEG"),
    _unreadable("empty.jpg", b"", "empty"),
)  # fmt: skip

NOT_IMAGES = (
    _unreadable("web page.jpg", HTML, "not an image", "HTML"),
    _unreadable("text.jpg", b"file not found\n", "not an image", "text"),
    _unreadable("document.jpg", b"%PDF-1.7\n" + bytes(100), "not an image", "PDF"),
    _unreadable("archive.jpg", b"PK\3\4" + bytes(100), "not an image", "ZIP"),
    _unreadable("drawing.png", b"<svg xmlns='http://www.w3.org/2000/svg'/>", "drawing", "SVG"),
    _unreadable("film.jpg", b"\0\0\0\x18ftypisom" + bytes(100), "not an image", "MP4"),
    _unreadable("program.png", EPS, "not an image", "EPS"),
    _unreadable("zeros.jpg", bytes(5000), "not an image"),
    _unreadable("bytes.jpg", _NOISE.tobytes()[:5000], "not an image"),
    _unreadable("jpeg xl.jpg", b"\xff\x0a" + bytes(100), "pillow-jxl", "JPEG XL"),
    _unreadable("git lfs.jpg", GIT_LFS, "git lfs pull", "Git LFS pointer"),
    _unreadable("bomb.png", bomb, "larger than 179 megapixels", "PNG"),
    _unreadable("float.tiff", grey_float, "floating-point", "TIFF"),
)  # fmt: skip

NOT_LISTED = (
    _unreadable("._side file.jpg", APPLE_DOUBLE, "macOS", "AppleDouble", listed=False),
    _unreadable(".DS_Store", b"\0\0\0\1Bud1" + bytes(100), "not an image", listed=False),
    _unreadable("Thumbs.db", b"\xd0\xcf\x11\xe0" + bytes(100), "not an image", listed=False),
    _unreadable("readme.txt", b"hello\n", "not an image", "text", listed=False),
    _readable(".ipynb_checkpoints/copy.jpg", jpeg, "JPEG", listed=False),
    _readable("no extension", jpeg, "JPEG", listed=False),
    Case(name="folder.jpg", make=Path.mkdir, readable=False, reason="folder", listed=False),
)

LINKS_AND_NAMES = (
    Case(name="broken link.jpg", make=_link_to_nothing, readable=False, reason="link to no", possible=_POSIX),
    Case(name="link.jpg", make=_link_to_image, format="JPEG", possible=_POSIX),
    Case(name="pipe.jpg", make=_pipe, readable=False, reason="regular file", listed=False, possible=_POSIX),
    _readable("nested/deeper/image.jpg", jpeg, "JPEG"),
    _readable("UPPER.JPG", jpeg, "JPEG"),
    _readable("with 'quotes' \"and\" spaces.jpg", jpeg, "JPEG", possible=_POSIX),
    _readable("лама 🦙.jpg", jpeg, "JPEG"),
    _readable("two\nlines.jpg", jpeg, "JPEG", possible=_POSIX),
    _readable(os.fsdecode(b"not utf-8 \xff.jpg"), jpeg, "JPEG", possible=sys.platform == "linux"),
)  # fmt: skip

WRONG_EXTENSIONS = (
    _readable("png.jpg", lambda: encode(rgb(), "PNG"), "PNG"),
    _readable("gif.jpg", lambda: encode(rgb(), "GIF"), "GIF"),
    _readable("webp.jpg", lambda: encode(rgb(), "WEBP", lossless=True), "WEBP"),
    _readable("bmp.jpg", lambda: encode(rgb(), "BMP"), "BMP"),
    _readable("tiff.jpg", lambda: encode(rgb(), "TIFF"), "TIFF"),
    _readable("avif.jpg", lambda: encode(rgb(), "AVIF", quality=95), "AVIF", possible=_AVIF),
    _readable("jpeg.png", jpeg, "JPEG"),
)

RARE_FORMATS = (
    _readable("image.jfif", jpeg, "JPEG"),
    _readable("image.webp", lambda: encode(rgb(), "WEBP", quality=95), "WEBP"),
    _readable("image.avif", lambda: encode(rgb(), "AVIF", quality=95), "AVIF", possible=_AVIF),
    _readable("phone.heic", heic, "HEIF", possible=_HEIC),
    _readable("image.tiff", lambda: encode(rgb(), "TIFF", compression="tiff_lzw"), "TIFF"),
    _readable("pages.tiff", lambda: animated("TIFF"), "TIFF"),
    _readable("grey 16 bit.tiff", lambda: encode(grey16(), "TIFF"), "TIFF", grey=True),
    _readable("image.ppm", lambda: encode(rgb(), "PPM"), "PPM"),
    _readable("image.tga", lambda: encode(rgb(), "TGA"), "TGA"),
)

MODES = (
    *(
        _readable(f"orientation {n}.jpg", partial(turned, n, "JPEG", quality=95, subsampling=0), "JPEG")
        for n in STORED_AS
    ),
    *(_readable(f"orientation {n}.png", partial(turned, n, "PNG"), "PNG") for n in STORED_AS),
    _readable("orientation 6.webp", partial(turned, 6, "WEBP", lossless=True), "WEBP"),
    _readable("orientation 8.tiff", partial(turned, 8, "TIFF"), "TIFF"),
    _readable("orientation 6.avif", partial(turned, 6, "AVIF"), "AVIF", possible=_AVIF),
    _readable("progressive.jpg", lambda: jpeg(progressive=True), "JPEG"),
    _readable("cmyk.jpg", lambda: jpeg(rgb().convert("CMYK")), "JPEG"),
    _readable("grey.jpg", lambda: jpeg(rgb().convert("L")), "JPEG", grey=True),
    _readable("palette.png", lambda: encode(palette(), "PNG"), "PNG"),
    _readable("palette.bmp", bmp_palette, "BMP"),
    _readable("palette alpha.png", palette_alpha, "PNG"),
    _readable("alpha.png", lambda: encode(rgba(), "PNG"), "PNG"),
    _readable("alpha.webp", lambda: encode(rgba(), "WEBP", lossless=True), "WEBP"),
    _readable("32 bit.bmp", lambda: encode(rgba(), "BMP"), "BMP"),
    _readable("grey alpha.png", lambda: encode(rgba().convert("LA"), "PNG"), "PNG", grey=True),
    _readable("grey 16 bit.png", lambda: encode(grey16(), "PNG"), "PNG", grey=True),
    _readable("colour 16 bit.png", png_rgb16, "PNG"),
    _readable("animated.gif", lambda: animated("GIF"), "GIF"),
    _readable("animated.png", lambda: animated("PNG"), "PNG"),
    _readable("animated.webp", lambda: animated("WEBP", lossless=True), "WEBP"),
)  # fmt: skip

CASES: tuple[Case, ...] = tuple(
    case
    for group in (TRUNCATED, NOT_IMAGES, NOT_LISTED, LINKS_AND_NAMES, WRONG_EXTENSIONS, RARE_FORMATS, MODES)
    for case in group
    if case.possible
)  # fmt: skip


def write(folder: Path, cases: Iterable[Case] = CASES) -> dict[Path, Case]:
    """Make the cases in a folder; returns what was made where."""
    return {case.write(folder): case for case in cases}
