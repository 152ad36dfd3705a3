"""Which images a job has, written down in order and cut into shards; memory does not grow with them."""

from __future__ import annotations

import heapq
import json
import os
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice, zip_longest
from pathlib import Path
from typing import Final, TypeAlias, final

from tlkit.core.home import expanded
from tlkit.core.progress import progress
from tlkit.core.spec import check_path
from tlkit.data.folders import as_native, walk
from tlkit.errors import SettingError, printable

PathLike: TypeAlias = str | os.PathLike[str]

_RUN: Final = 2**17
"""Names that are sorted in memory, some 20 MiB of them."""

_FAN_IN: Final = 128
"""Sorted files that are open at the same time; systems allow 256 or more."""

_STEP: Final = 1000
"""Files between two steps of the progress bar."""


@final
@dataclass(frozen=True, slots=True)
class Shard:
    """Consecutive files of a job: what is computed and kept as a whole.

    Attributes:
        number: Its place among the shards, from 0.
        paths: The files.
    """

    number: int
    paths: tuple[str, ...]


def write_listing(images: PathLike | Iterable[PathLike], target: Path) -> int:
    """Write the files of a job into a file, one JSON string a line.

    Args:
        images: An image file or a folder, or several of them. Folders are listed by the rules and in the
            order of `image_files`; what is no folder counts as a file, whether it is there or not.
        target: The file to write. Beside it there is room for sorting.

    Returns:
        How many files there are.

    Raises:
        DatasetError: A folder cannot be listed, or holds no image.
        SettingError: There is nothing among `images`, or something that is no path.
    """
    given = [images] if isinstance(images, str | os.PathLike) else images
    if not isinstance(given, Iterable):
        raise SettingError(f"`images` must be a path, or several of them, got {given!r}")
    count = 0
    with target.open("w", encoding="ascii") as file, progress(None, "Listing") as advance:
        for item in given:
            for path in _files(check_path("images", item), target.parent):
                file.write(json.dumps(path) + "\n")
                count += 1
                if count % _STEP == 0:
                    advance(_STEP)
    if not count:
        raise SettingError("`images` must name at least one file or folder, got none")
    return count


def read_listing(path: Path) -> Iterator[str]:
    """Yield the files that `write_listing` wrote."""
    with path.open(encoding="ascii") as lines:
        yield from map(json.loads, lines)


def cut(listing: Path, size: int) -> Iterator[Shard]:
    """Cut a listing into shards of this many files; the last one may be smaller."""
    paths, number = read_listing(listing), 0
    while block := tuple(islice(paths, size)):
        yield Shard(number, block)
        number += 1


def first_difference(before: Path, now: Path) -> str | None:
    """Say where two listings differ first; None if they are equal."""
    with before.open("rb") as old, now.open("rb") as new:
        for number, (was, here) in enumerate(zip_longest(old, new), 1):
            if was != here:
                return f"image {number:,} was {_told(was)}, now {_told(here)}"
    return None


def _told(line: bytes | None) -> str:
    try:
        return printable(json.loads(line)) if line else "nothing"
    except ValueError:
        return "something damaged"


def _files(path: str, room: Path) -> Iterator[str]:
    """Yield what a path stands for: the images in a folder, else itself."""
    folder = expanded("images", path)
    if not folder.is_dir():
        yield path
        return
    found = walk(os.fspath(folder), "", Counter())
    for name in _sorted((name for name, _ in found), room):
        yield str(folder / as_native(name.removeprefix("/")))


def _sorted(names: Iterator[str], room: Path) -> Iterator[str]:
    """Sort what need not fit into memory: runs of it, kept in files and merged while they are read."""
    with tempfile.TemporaryDirectory(dir=room, prefix="sorting-") as folder:
        runs: list[Path] = []
        while run := sorted(islice(names, _RUN)):
            runs.append(_kept(run, folder))
            if len(runs) == _FAN_IN:
                merged = _kept(heapq.merge(*map(read_listing, runs)), folder)
                for path in runs:
                    path.unlink()
                runs = [merged]
        yield from heapq.merge(*map(read_listing, runs))


def _kept(names: Iterable[str], folder: str) -> Path:
    with tempfile.NamedTemporaryFile("w", encoding="ascii", dir=folder, delete=False) as file:
        file.writelines(json.dumps(name) + "\n" for name in names)
    return Path(file.name)
