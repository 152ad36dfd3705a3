"""Images and what is said of each, before labels become classes: by their folders, or by their names."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tlkit.core.columns import READABLE_SUFFIXES
from tlkit.data.folders import Scan, quoted, walk
from tlkit.data.layout import Place, find_places, listed, not_two_classes, remembering
from tlkit.errors import DatasetError


class Labelled(NamedTuple):
    """One image and what is said of it.

    Attributes:
        name: Its path relative to the directory, with `/`.
        path: The file.
        label: Its label as given.
        part: "train", "validation" or "test"; None where nothing says so.
        group: What it belongs to; None where nothing says so.
        slices: Names and cells of the columns that results are reported by.
    """

    name: str
    path: str
    label: str
    part: str | None = None
    group: str | None = None
    slices: tuple[tuple[str, str], ...] = ()


def labelled_by_folder(
    directory: str,
    ignored: Counter[str],
    scan: Scan,
    *,
    classes: tuple[str, str] | None,
    alone: str | None,
) -> list[Labelled]:
    """List the images of class folders.

    Args:
        directory: What holds them, or parts with them.
        ignored: Counts what is passed over.
        scan: Lists one folder.
        classes: The class folders, where they are named.
        alone: The one that is to be told from however many others.

    Raises:
        DatasetError: There are no class folders.
    """
    if Path(directory).suffix.lower() in READABLE_SUFFIXES and Path(directory).is_file():
        raise DatasetError(
            f"{quoted(directory)} is a table, not a folder: give DatasetSpec.from_table({directory!r}, "
            'image="…", label="…"), with the columns of the paths and of the labels'
        )
    scan = remembering(scan)
    places = find_places(directory, ignored, scan, classes, any_number=alone is not None)
    names = _folder_names(places, scan, classes, alone)
    found: list[Labelled] = []
    for part, of in places.items():
        chosen = [name for name in names if name in of.folders]
        if part is None or directory != of.path:
            ignored["other folder"] += len(of.folders) - len(chosen)
        for label in chosen:
            for name, path in images_in(of.folders[label], of.names[label], ignored, scan):
                found.append(Labelled(name, path, label, part))
    return found


def labelled_by_name(
    directory: str, pattern: str, ignored: Counter[str], scan: Scan
) -> list[Labelled]:
    """List the images whose names tell their label.

    Args:
        directory: What holds them.
        pattern: As in `DatasetSpec.from_names`.
        ignored: Counts what is passed over.
        scan: Lists one folder.

    Raises:
        DatasetError: No name matches.
    """
    find = re.compile(pattern).search
    found: list[Labelled] = []
    images = images_in(directory, "", ignored, scan)
    for slashed, path in images:
        name = slashed[1:]
        match = find(name)
        if match is None or not match["label"]:
            ignored["name that the pattern does not match"] += 1
            continue
        group = match.groupdict().get("group") or None
        found.append(Labelled(name, path, match["label"], None, group))
    if not found:
        raise DatasetError(
            f"`pattern` must match the names of images, but matches none like {quoted(images[0][0][1:])}"
        )
    return found


def images_in(folder: str, name: str, ignored: Counter[str], scan: Scan) -> list[tuple[str, str]]:
    """Return (name, path) of every image in a folder and below, sorted by name."""
    return sorted(walk(folder, name, ignored, scan=scan))


def _folder_names(
    places: Mapping[str | None, Place],
    scan: Scan,
    classes: tuple[str, str] | None,
    alone: str | None,
) -> Sequence[str]:
    """Return the class folders, after checking that every place has them."""
    first, *_ = places.values()
    if alone is not None:
        for of in places.values():
            if alone not in of.folders or len(of.folders) < 2:
                raise DatasetError(
                    f"{quoted(of.path)} must hold {quoted(alone)} and other class folders, found "
                    f"{listed(of.folders)}"
                )
        return sorted({name for of in places.values() for name in of.folders})
    names = classes or sorted(first.folders)
    if len(names) != 2:
        raise DatasetError(not_two_classes(first, scan))
    for of in places.values():
        found = of.folders.keys() & names if classes else of.folders.keys()
        if found != set(names):
            raise DatasetError(
                f"{quoted(of.path)} must hold the class folders {listed(names)}, found "
                f"{listed(of.folders)}: rename or move folders, or choose others with `classes`"
            )
    return names
