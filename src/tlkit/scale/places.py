"""Where images lie and features go: a path, or a URI of any file system that pyarrow or fsspec opens.

Every process opens what it needs by itself, from text, so that a driver and its workers may be far apart.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias, final
from urllib.parse import unquote

from tlkit.core.home import expanded
from tlkit.core.rows import Images
from tlkit.core.spec import Json, check_path
from tlkit.data.dataset import DatasetSpec, Listing
from tlkit.data.example import Example
from tlkit.data.folders import cannot_list, walk
from tlkit.errors import ImageError, MissingExtraError, SettingError
from tlkit.features.frozen_part import listing_facts
from tlkit.images.decoder import MAX_PIXELS, ImageFacts, read_image, read_size
from tlkit.images.reader import ValueRange
from tlkit.images.resizing import Resize

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem

PathLike: TypeAlias = str | os.PathLike[str]

_MOST_BYTES: Final = 8 * MAX_PIXELS + 2**26  # of a file: as `read_image` has it
_URI = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://([^/]*)/?(.*)", re.DOTALL)
_FOLDED = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/+(.*)", re.DOTALL)


def is_uri(location: str) -> bool:
    """Say whether text is a URI; one letter before the colon is a drive.

    Examples:
        >>> is_uri("s3://bucket/alpacas"), is_uri("c:/alpacas"), is_uri("alpacas/")
        (True, False, False)
    """
    return _URI.match(location) is not None


def location_of(name: str, place: object) -> str:
    """Return a place as text that means the same in every process.

    Args:
        name: What the caller calls it.
        place: A path, which becomes absolute; or a URI, taken letter by letter. `file://` is a path.

    Raises:
        SettingError: It is neither.

    Examples:
        >>> location_of("data", "s3://bucket/my alpacas/"), location_of("data", "file:///data/my%20alpacas")
        ('s3://bucket/my alpacas', '/data/my alpacas')
    """
    text = check_path(name, place)
    if isinstance(place, os.PathLike) and (folded := _FOLDED.fullmatch(text)):
        text = f"{folded[1]}://{'/' if folded[1] == 'file' else ''}{folded[2]}"  # as it was before
    if not is_uri(text):
        return os.path.abspath(expanded(name, text))  # noqa: PTH100 - names stay as they are
    if text.startswith("file://"):
        return os.path.abspath(unquote(text.removeprefix("file://")))  # noqa: PTH100
    return text.rstrip("/")


def opened(location: str) -> tuple[FileSystem, str]:
    """Return the file system of a location, and its path there.

    Raises:
        MissingExtraError: pyarrow is not installed.
        SettingError: No file system is known for the URI.
    """
    need_pyarrow()
    found = _URI.fullmatch(location)
    if found is None:
        from pyarrow.fs import LocalFileSystem

        return LocalFileSystem(), location
    system, root = _root(found[1], found[2])
    return system, root + found[3]


@lru_cache(maxsize=16)
def _root(scheme: str, host: str) -> tuple[FileSystem, str]:
    """Open the file system of a host: once, for that may ask the network where a bucket is."""
    from pyarrow.fs import FileSystem

    uri = f"{scheme}://{host}/x"
    try:
        system, path = FileSystem.from_uri(uri)
    except (ValueError, NotImplementedError):  # pyarrow does not know it, but fsspec may
        system, path = _from_fsspec(uri)
    except OSError as error:
        raise SettingError(f"cannot reach {scheme}://{host}: {error}") from error
    return system, path.removesuffix("x")


def _from_fsspec(uri: str) -> tuple[FileSystem, str]:
    from pyarrow.fs import FSSpecHandler, PyFileSystem

    try:
        import fsspec  # type: ignore[import-untyped] # as pyproject has it for others

        system, path = fsspec.core.url_to_fs(uri)
    except (ImportError, ValueError) as error:
        raise SettingError(
            f"no file system is known for '{uri.removesuffix('x')}' ({error}): install fsspec's package for "
            "it on every machine, or give a path that all machines reach"
        ) from error
    return PyFileSystem(FSSpecHandler(system)), path


def need_pyarrow() -> None:
    """Raise unless pyarrow is installed.

    Raises:
        MissingExtraError: It is not.
    """
    try:
        import pyarrow as pa  # noqa: F401 - whether it is there
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            'Parquet files and URIs need pyarrow, which the extra "ray" brings: pip install "tlkit[ray]"'
        ) from error


def read_anywhere(
    location: str | Path,
    image_size: tuple[int, int],
    *,
    value_range: ValueRange = None,
    resize: Resize = "stretch",
) -> tuple[Images, ImageFacts]:
    """Read one image from wherever it lies, as `images.read_image` does.

    Args:
        location: A path or a URI.
        image_size: Height and width of the result, in pixels.
        value_range: As in `read_image`.
        resize: As in `read_image`.

    Raises:
        ImageError: The file is not there, or cannot be read as an image.
        OSError: The file system does not answer; that says nothing about the image.
    """
    if not isinstance(location, str) or not is_uri(location):
        return read_image(location, image_size, value_range=value_range, resize=resize)
    with _named(location):
        return read_image(_content(location), image_size, value_range=value_range, resize=resize)


def _content(location: str) -> bytes:
    """Return the bytes of a file that a URI names."""
    try:
        system, path = opened(location)
        with system.open_input_file(path) as file:
            size = file.size()
            data = file.read() if size <= _MOST_BYTES else b""
    except FileNotFoundError as error:
        raise ImageError(location, "no such file") from error
    except PermissionError as error:
        raise ImageError(location, "permission denied") from error
    if size > _MOST_BYTES:
        raise ImageError(location, f"{size / 1e6:,.0f} MB are too many for an image")
    return data


@contextmanager
def _named(location: str) -> Iterator[None]:
    """Name the file in whatever is wrong with its bytes."""
    try:
        yield
    except ImageError as error:
        raise ImageError(location, error.reason, format=error.format) from error


@final
@dataclass(frozen=True, slots=True)
class _Entry:
    """What a folder of another file system holds."""

    name: str
    path: str
    kind: str  # pyarrow's word: "File", "Directory", "Unknown"

    def is_symlink(self) -> bool:
        return False

    def is_dir(self) -> bool:
        return self.kind == "Directory"

    def is_file(self) -> bool:
        return self.kind == "File"


@final
class Source:
    """The images of a dataset, wherever they lie.

    Args:
        data: A folder with two class folders or a spec of one; its directory may be a URI.

    Attributes:
        spec: How they are listed and split.
        base: The folder as text that every process understands.
    """

    def __init__(self, data: PathLike | DatasetSpec) -> None:
        given = data.directory if isinstance(data, DatasetSpec) else data
        self.base = location_of("data", given)
        spec = data if isinstance(data, DatasetSpec) else DatasetSpec(given)
        from_uri = _FOLDED.fullmatch(os.fspath(spec.directory)) and not is_uri(self.base)
        self.spec = replace(spec, directory=Path(self.base)) if from_uri else spec
        self._states: dict[str, tuple[int, int]] = {}

    def listing(self) -> Listing:
        """List the images by the rules of `DatasetSpec`.

        Raises:
            DatasetError: The folder cannot be listed, or is not two classes of images.
            SettingError: A class is not one of those found.
        """
        return self.spec.listing(scan=self._scan) if is_uri(self.base) else self.spec.listing()

    def location(self, example: Example) -> str:
        """Return where an image of the listing lies."""
        return f"{self.base}/{example.name}"

    def read_size(self, example: Example) -> tuple[int, int]:
        """Read height and width of an image from its header.

        Raises:
            ImageError: There is none.
        """
        location = self.location(example)
        if not is_uri(location):
            return read_size(example.path)
        with _named(location):
            return read_size(_content(location))

    def path(self, example: Example) -> str:
        """Return an image's file as messages name it."""
        return self.location(example) if is_uri(self.base) else os.fspath(example.path)

    def facts(self, listing: Listing) -> dict[str, Json]:
        """Return size and time of every file by its name: what tells that none has changed."""
        if not is_uri(self.base):
            return listing_facts(listing.examples)
        return {e.name: [*self._states[os.fspath(e.path)]] for e in listing.examples}

    def _scan(self, path: str) -> Iterator[_Entry]:
        inside = path.removeprefix(os.fspath(self.spec.directory))
        for entry, state in _scanned(self.base + inside, path):
            self._states[entry.path] = state
            yield entry


def image_locations(location: str) -> list[str]:
    """List what a URI stands for: the images in a folder and below by their names, or the file itself.

    Raises:
        DatasetError: The folder holds no image, or there is nothing.
    """
    base = location_of("images", location)
    if not is_uri(base):
        return [base]
    system, path = opened(base)
    if system.get_file_info(path).type.name == "File":
        return [base]

    def scan(folder: str) -> Iterator[_Entry]:
        return (entry for entry, _ in _scanned(folder, folder))

    return sorted(found for _, found in walk(base, "", Counter(), scan=scan))


def _scanned(location: str, shown: str) -> Iterator[tuple[_Entry, tuple[int, int]]]:
    """Yield what is in a folder, with paths under `shown`, and size and time of each."""
    from pyarrow.fs import FileSelector

    system, folder = opened(location)
    try:
        found = system.get_file_info(FileSelector(folder))
    except OSError as error:
        raise cannot_list(location, error) from error
    for info in found:
        entry = _Entry(info.base_name, f"{shown}/{info.base_name}", info.type.name)
        yield entry, (info.size or 0, info.mtime_ns or 0)
