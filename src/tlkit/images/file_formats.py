"""The bytes of an image file, and what the first of them say about its format."""

from __future__ import annotations

import re
import stat
from pathlib import Path

from tlkit.errors import ImageError

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
    (b"qoif", "QOI"),
    (b"\x59\xa6\x6a\x95", "SUN"),
    (b"\1\xda", "SGI"),
    (b"\0\5\x16\7", "AppleDouble"),
    (b"%PDF", "PDF"),
    (b"%!PS", "EPS"),
    (b"PK\3\4", "ZIP"),
    (b"\x1f\x8b", "GZIP"),
    (b"version https://git-lfs", "Git LFS pointer"),
)
_PNM = re.compile(rb"P[1-6][\s#]")
_PCX = re.compile(rb"\x0a[\x00\x02\x03\x05]\x01[\x01\x02\x04\x08]")
_LAST_BYTES = {"JPEG": b"\xff\xd9", "PNG": b"IEND", "GIF": b";"}


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
    if head[128:132] == b"DICM":
        return "DICOM"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if head[4:8] == b"ftyp":
        brands = head[8 : min(int.from_bytes(head[:4], "big"), 512)]
        if b"avif" in brands or b"avis" in brands:
            return "AVIF"
        heic = any(brand in brands for brand in (b"hei", b"hev", b"mif1", b"msf1"))
        return "HEIC" if heic else "MP4"
    if _PNM.match(head):
        return "PPM"
    if _PCX.match(head):
        return "PCX"
    text = head[:512].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if b"<svg" in text:
        return "SVG"
    if text.startswith((b"<!doctype html", b"<html", b"<head", b"<body")) or b"<html" in text:
        return "HTML"
    return "text" if text and all(byte >= 32 or byte in b"\t\n\r\f" for byte in text) else None


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
