"""The bytes of an image file, and what they say before any decoder looks at them.

`sniff` names the format. `take_orientation` reads the EXIF orientation and blanks the metadata that decoding
does not need: Pillow would parse it, and warn about what is damaged in it, and warnings cannot be
silenced for one thread alone.
"""

from __future__ import annotations

import stat
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tlkit.errors import ImageError

SIDEWAYS = (5, 6, 7, 8)
"""The EXIF orientations that swap width and height."""

_SIGNATURES = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"BM", "BMP"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\0\0\0\x0cJXL ", "JPEG XL"),
    (b"\0\0\0\x0cjP  ", "JPEG2000"),
    (b"\xff\x4f\xff\x51", "JPEG2000"),
    (b"8BPS", "PSD"),
    (b"\0\0\1\0", "ICO"),
    (b"\0\5\x16\7", "AppleDouble"),
    (b"%PDF", "PDF"),
    (b"%!PS", "EPS"),
    (b"PK\3\4", "ZIP"),
    (b"\x1f\x8b", "GZIP"),
    (b"version https://git-lfs", "Git LFS pointer"),
)
# The tags without which a TIFF cannot be decoded. The others only say things about it.
_TIFF_TAGS = frozenset(
    {254, 255, 256, 257, 258, 259, 262, 266, 273, 277, 278, 279, 284, 292, 293, 317, 320, 322, 323, 324}
    | {325, 338, 339, 347, *range(512, 522), 529, 530, 532}
)  # fmt: skip
_LAST_BYTES = {"JPEG": b"\xff\xd9", "PNG": b"IEND", "GIF": b";"}
_ORIENTATION_TAG = 274
_TIFF_UNITS = dict(
    zip(range(1, 19), (1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4, 0, 0, 8, 8, 8), strict=True)
)


def read_file(path: str, *, at_most: int) -> bytes:
    """Read a file whole.

    Args:
        path: The file.
        at_most: The most bytes it may have.

    Raises:
        ImageError: It is not there, not a regular file, too large, or cannot be read.
    """
    try:
        status = Path(path).stat()
        regular = stat.S_ISREG(status.st_mode)  # a pipe would be waited for without end
        if regular and status.st_size <= at_most:
            return Path(path).read_bytes()
    except FileNotFoundError as error:
        link = Path(path).is_symlink()
        raise ImageError(path, "a link to no file" if link else "no such file") from error
    except PermissionError as error:
        raise ImageError(path, "permission denied") from error
    except (OSError, ValueError, MemoryError) as error:  # ValueError: a null character in the name
        raise ImageError(path, getattr(error, "strerror", None) or str(error)) from error
    if regular:
        raise ImageError(path, f"{status.st_size / 1e6:,.0f} MB are too many for an image")
    folder = stat.S_ISDIR(status.st_mode)
    raise ImageError(path, "is a folder" if folder else "not a regular file")


def sniff(head: bytes) -> str | None:
    """Say what a file is from its first bytes, whatever its name claims.

    Args:
        head: The beginning of the file; 512 bytes are enough.

    Returns:
        Pillow's name of the format, a word such as `"HTML"` or `"PDF"`, or None where they say nothing.

    Examples:
        >>> sniff(b"<!DOCTYPE html><html>"), sniff(b"RIFF----WEBPVP8 "), sniff(b"")
        ('HTML', 'WEBP', None)
    """
    for signature, name in _SIGNATURES:
        if head.startswith(signature):
            return name
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if head[4:8] == b"ftyp":
        brands = head[8 : min(int.from_bytes(head[:4], "big"), 512)]
        if b"avif" in brands or b"avis" in brands:
            return "AVIF"
        heic = any(brand in brands for brand in (b"hei", b"hev", b"mif1", b"msf1"))
        return "HEIC" if heic else "MP4"
    text = head[:512].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if b"<svg" in text:
        return "SVG"
    if text.startswith((b"<!doctype html", b"<html", b"<head", b"<body")) or b"<html" in text:
        return "HTML"
    return "text" if text and all(byte >= 32 or byte in b"\t\n\r\f" for byte in text) else None


def take_orientation(data: bytes, kind: str | None) -> tuple[bytes, int]:
    """Read the orientation of a JPEG or TIFF, and blank the metadata that decoding does not need.

    Args:
        data: The whole file.
        kind: What `sniff` says it is.

    Returns:
        The bytes to decode, as long as they were, and the orientation: 1 to 8, or 0 for the other
        formats, where the decoder has to say.

    Raises:
        EOFError: A TIFF whose directory lies beyond its end.
    """
    if kind == "TIFF":
        return _hide_tags(data), _orientation(data)
    blocks = list(_exif_indices(data)) if kind == "JPEG" else []
    if not blocks:
        return data, int(kind == "JPEG")
    hidden = bytearray(data)
    for index in blocks:
        hidden[index - 6 : index - 2] = b"----"
    return bytes(hidden), _orientation(data[blocks[0] : blocks[0] + 65536])


def ends_early(data: bytes, kind: str | None) -> bool:
    """Say whether a file lacks the end that its format must have.

    Args:
        data: The whole file.
        kind: What `sniff` says it is.

    Examples:
        >>> ends_early(b"GIF89a...", "GIF"), ends_early(b"GIF89a...;", "GIF")
        (True, False)
    """
    if kind == "WEBP":
        return int.from_bytes(data[4:8], "little") + 8 > len(data)
    return _LAST_BYTES.get(kind or "", b"") not in data[-64:]


def _exif_indices(data: bytes) -> Iterator[int]:
    """Yield where the EXIF blocks of a JPEG begin, walking its segments up to the pixels."""
    index = 2
    while (index := data.find(b"\xff", index)) >= 0 and index + 4 <= len(data):
        marker = data[index + 1]
        if marker == 0xDA:
            return
        if marker == 0xFF:
            index += 1
        elif marker in (0x00, 0x01) or 0xD0 <= marker <= 0xD9:  # these carry no length
            index += 2
        else:
            if marker == 0xE1 and data[index + 4 : index + 10] == b"Exif\0\0":
                yield index + 10
            index += 2 + int.from_bytes(data[index + 2 : index + 4], "big")


def orientation_of(info: Mapping[Any, Any]) -> int:
    """Return the EXIF orientation of an image that Pillow has loaded: a PNG, WebP, AVIF and so on.

    Args:
        info: Pillow's dictionary about the image.

    Returns:
        1 to 8; 1, upright, where the block is damaged or names none that exists.
    """
    block = info.get("exif", b"")
    if not block and "Raw profile type exif" in info:  # how ImageMagick keeps it in a PNG
        text = "".join(str(info["Raw profile type exif"]).split("\n")[3:])
        try:
            block = bytes.fromhex(text)
        except ValueError:
            return 1
    return _orientation(bytes(block).removeprefix(b"Exif\0\0"))


def _orientation(block: bytes) -> int:
    try:
        order = "<" if block[:2] == b"II" else ">"
        for _, tag, _, _, value in _directory(block):
            if tag == _ORIENTATION_TAG:
                (orientation,) = struct.unpack(f"{order}H", value[:2])
                return orientation if 1 <= orientation <= 8 else 1
    except struct.error:
        pass  # a damaged block says nothing
    return 1


def _hide_tags(data: bytes) -> bytes:
    """Blank the tags of a TIFF that decoding does not need; see that the others are in the file."""
    clean, order = bytearray(data), "<" if data[:2] == b"II" else ">"
    total = 0
    try:
        for index, tag, type_, count, value in _directory(data):
            if tag not in _TIFF_TAGS:
                clean[index + 2 : index + 4] = b"\0\0"  # a type that readers pass over
                continue
            size = count * _TIFF_UNITS.get(type_, 0)
            if size > len(value):
                (offset,) = struct.unpack(f"{order}{'Q' if len(value) == 8 else 'L'}", value)
                total += size
                if offset + size > len(data) or total > len(data):
                    raise EOFError("a tag lies beyond the end")
    except struct.error as error:
        raise EOFError("a tag lies beyond the end") from error
    return bytes(clean)


def _directory(block: bytes) -> Iterator[tuple[int, int, int, int, bytes]]:
    """Yield index, tag, type, count and value field of the first directory of a (Big)TIFF block."""
    order = "<" if block[:2] == b"II" else ">"
    big = block[2:4] in (b"+\0", b"\0+")
    (start,) = struct.unpack_from(f"{order}{'Q' if big else 'L'}", block, 8 if big else 4)
    head, entry = (f"{order}Q", f"{order}HHQ8s") if big else (f"{order}H", f"{order}HHL4s")
    if start > len(block):
        raise struct.error("the directory lies outside of the block")
    (count,) = struct.unpack_from(head, block, start)
    index = start + struct.calcsize(head)
    for _ in range(count):
        yield index, *struct.unpack_from(entry, block, index)
        index += struct.calcsize(entry)
    struct.unpack_from(f"{order}{'Q' if big else 'L'}", block, index)  # where the next one is
