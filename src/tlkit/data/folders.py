"""Which files in a folder and below are images, by their names alone; none is opened.

Folders of the operating system are the rule. Another file system obeys the same rules through a `Scan` of its
own.
"""

from __future__ import annotations

import heapq
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final, Protocol, TypeAlias, final

from tlkit.errors import DatasetError, printable

IMAGE_SUFFIXES = frozenset(
    ".jpg .jpeg .jpe .jfif .mpo .png .apng .gif .webp .bmp .dib .tif .tiff .avif .avifs .heic .heif .hif "  # noqa: SIM905 - reads better
    ".jp2 .j2k .jpx .jpf .j2c .jpc .jxl .ppm .pgm .pbm .pnm .pfm .tga .ico .pcx .psd .qoi .sgi .ras".split()
)
"""What makes a file an example, in any case: the still images that Pillow reads by itself or with its
usual plugins (HEIF, JPEG XL). Documents (EPS, WMF), films and scientific arrays are left out."""

# Images, of a kind, that are no pixels yet: they need a window, a slice or a page to be chosen.
_CONVERTIBLE = frozenset(
    ".dcm .dicom .nii .gz .mat .npy .npz .h5 .hdf5 .fits .svs .czi .nd2 .svg .pdf .eps "  # noqa: SIM905 - as above
    ".cr2 .cr3 .nef .arw .dng .raf .orf .rw2".split()
)

# What operating systems and network drives leave behind; @eaDir holds thumbnails named like images.
_HIDDEN_NAMES = {"__macosx", "@eadir", "$recycle.bin", "thumbs.db", "desktop.ini"}


class Entry(Protocol):
    """What a folder holds, as `os.scandir` tells it."""

    @property
    def name(self) -> str:
        """The last part of its path."""

    @property
    def path(self) -> str:
        """The path of the folder and the name."""

    def is_symlink(self) -> bool:
        """Say whether it is a link."""

    def is_dir(self) -> bool:
        """Say whether it is a folder, or a link to one."""

    def is_file(self) -> bool:
        """Say whether it is a file, or a link to one."""


Scan: TypeAlias = Callable[[str], Iterable[Entry]]
"""Lists one folder, by its path."""


def scan_folder(path: str) -> Iterator[Entry]:
    """List a folder of the operating system.

    Raises:
        DatasetError: It cannot be listed.
    """
    try:
        with os.scandir(path) as entries:
            yield from entries if _UTF_8 else map(_Utf8Entry, entries)
    except OSError as error:
        raise cannot_list(path, error.strerror) from error


_UTF_8: Final = sys.getfilesystemencoding() == "utf-8"


def as_utf8(name: str) -> str:
    """Return a file name as the UTF-8 that it was written in, though this Python reads names otherwise.

    Without UTF-8 mode, in the C locale or an old one, Python gives other letters or lone surrogates.
    """
    return name if _UTF_8 else os.fsencode(name).decode("utf-8", "surrogateescape")


def as_native(name: str) -> str:
    """Return a file name as this Python finds it: the inverse of `as_utf8`."""
    return name if _UTF_8 else os.fsdecode(name.encode("utf-8", "surrogateescape"))


@final
class _Utf8Entry:
    """What a folder holds, its name as UTF-8 and its path as this Python finds it."""

    def __init__(self, entry: os.DirEntry[str]) -> None:
        self.name = as_utf8(entry.name)
        self.path = entry.path
        self.is_symlink = entry.is_symlink
        self.is_dir = entry.is_dir
        self.is_file = entry.is_file


def cannot_list(path: str, reason: object) -> DatasetError:
    """Return the error that says why a folder cannot be listed, and what to do."""
    return DatasetError(f"cannot list {quoted(path)} ({reason}): give a folder that can be read")


def walk(
    folder: str, name: str, ignored: Counter[str], *, scan: Scan = scan_folder
) -> Iterator[tuple[str, str]]:
    """Yield name and path of every image in a folder and below, in no order to rely on.

    A folder that several links lead to is entered once, one that lies above `folder` never. Real folders
    go first, so that names do not depend on the order in which the system lists them.

    Args:
        folder: Where to begin.
        name: What the names begin with: `"a"` makes them `"a/1.jpg"`.
        ignored: Counts, by kind, what is passed over.
        scan: Lists one folder.

    Raises:
        DatasetError: A folder cannot be listed, or there is no image.
    """
    real_folder = Path(os.path.realpath(folder))
    entered = set(map(str, real_folder.parents))
    waiting = [(0, name, folder, str(real_folder))]
    found, passed_over = False, Counter[str]()
    while waiting:
        links, prefix, path, real = heapq.heappop(waiting)
        if real in entered:
            passed_over["link to a folder already listed"] += 1
            continue
        entered.add(real)
        for entry in scan(path):
            kind = kind_of(entry)
            name = f"{prefix}/{entry.name}"
            if kind == "image":
                found = True
                yield name, entry.path
            elif kind == "folder":
                link = entry.is_symlink()
                inside = (
                    os.path.realpath(entry.path) if link else str(Path(real, Path(entry.path).name))
                )
                heapq.heappush(waiting, (links + link, name, entry.path, inside))
            else:
                passed_over[kind] += 1
    ignored.update(passed_over)
    if not found:
        raise DatasetError(f"{quoted(folder)} must hold images, found {_others(passed_over)}")


def kind_of(entry: Entry) -> str:
    """Return "hidden", "folder", "image", or the kind under which the entry is ignored."""
    name = entry.name
    if name.startswith(".") or name.casefold() in _HIDDEN_NAMES:
        return "hidden"
    link = entry.is_symlink()
    # Where a link leads nowhere, to itself or out of reach, only isdir() raises nothing.
    if os.path.isdir(entry.path) if link else entry.is_dir():  # noqa: PTH112
        return "folder"
    stem, _, end = name.rpartition(".")
    suffix = f".{end.lower()}" if stem and end else "no extension"
    if suffix not in IMAGE_SUFFIXES:
        return suffix
    # A broken link is an example: it is named as a bad file later. Opening a pipe would wait for ever.
    return "image" if link or entry.is_file() else "not a regular file"


def _others(passed_over: Counter[str]) -> str:
    """Say what there is instead of images, and what to do."""
    if not passed_over:
        return "none: add some"
    others = ", ".join(f"{count:,} x {printable(k)}" for k, count in passed_over.most_common(3))
    more = " …" if len(passed_over) > 3 else ""
    advice = "convert them to PNG or TIFF" if passed_over.keys() & _CONVERTIBLE else "add some"
    return f"none, only what tlkit does not read ({others}{more}): {advice}"


def quoted(path: str) -> str:
    """Return a path as messages show it."""
    return f"'{printable(path)}'"
