"""Where the class folders lie: in the folder itself or in its parts; what looks like neither is refused."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from tlkit.data.folders import Entry, Scan, kind_of, quoted
from tlkit.errors import DatasetError

PARTS = ("train", "validation", "test")
_WORDS: Final = {
    "train": ("train", "training"),
    "validation": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}
PART_OF: Final[Mapping[str, str]] = MappingProxyType(
    {word: part for part, words in _WORDS.items() for word in words}
)
"""Which part each name of a folder stands for, in lower case."""

# Words by which people call parts, besides those: enough to ask, not enough to know.
_LIKE_PARTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        **PART_OF,
        **dict.fromkeys(("trainset", "trn"), "train"),
        **dict.fromkeys(("dev", "valset", "eval", "evaluation"), "validation"),
        **dict.fromkeys(("testset", "tst", "holdout", "unseen"), "test"),
    }
)
_IMAGES: Final = {
    "image", "images", "img", "imgs", "photo", "photos", "picture", "pictures", "input", "inputs",
}  # fmt: skip
_MASKS: Final = {
    "mask", "masks", "label", "labels", "annotation", "annotations", "segmentation", "segmentations", "gt",
    "groundtruth", "ground", "truth", "target", "targets", "output", "outputs",
}  # fmt: skip


CHOOSE: Final = (
    "choose two with `classes`, tell one from all the others with `positive_class` and "
    'rest="negative", or move the others away'
)
"""The ways on where there are more than two classes."""


class Place(NamedTuple):
    """A folder that holds class folders: the directory, or one of its parts.

    Attributes:
        path: It.
        folders: The path of each visible folder in it, by its name.
        names: What the names of the images in each begin with.
    """

    path: str
    folders: Mapping[str, str]
    names: Mapping[str, str]


def find_places(
    directory: str,
    ignored: Counter[str],
    scan: Scan,
    classes: Collection[str] | None,
    *,
    any_number: bool,
) -> dict[str | None, Place]:
    """Return where the class folders lie: the directory itself (part None), or its parts.

    Args:
        directory: The folder.
        ignored: Counts what is passed over.
        scan: Lists one folder.
        classes: The class folders, where the user names them.
        any_number: Whether there may be more than two of them.

    Raises:
        DatasetError: There are parts, but they are not in order; or what lies there are no classes.
    """
    top = place(directory, ignored, scan)
    found = {n: part for n in top.folders if (part := PART_OF.get(n.casefold()))}
    if len(found) >= 2 and not (classes and {*classes} <= {*top.folders}):
        return _parts_first(top, found, ignored, scan, classes)
    chosen = [name for name in top.folders if not classes or name in classes]
    passed_over: Counter[str] = Counter()
    inside = {name: place(top.folders[name], passed_over, scan) for name in chosen}
    parts = {name: {n.casefold() for n in inside[name].folders} for name in chosen}
    if len(chosen) >= 2 and all(len(of) > 1 and of <= PART_OF.keys() for of in parts.values()):
        return _classes_first(top, inside, passed_over, ignored)
    if not classes and not any_number:
        _refuse_what_is_no_class(top, inside)
    return {None: top}


def place(path: str, ignored: Counter[str], scan: Scan, prefix: str = "") -> Place:
    """Look into one folder.

    Args:
        path: The folder.
        ignored: Counts what is there besides folders.
        scan: Lists one folder.
        prefix: What names of images in it begin with: "" or "train/".
    """
    folders = {}
    for entry in scan(path):
        kind = kind_of(entry)
        if kind == "folder":
            folders[entry.name] = entry.path
        else:
            ignored["image outside the class folders" if kind == "image" else kind] += 1
    return Place(path, folders, {name: prefix + name for name in folders})


def remembering(scan: Scan) -> Scan:
    """Return a way to list folders that lists each only once, where two look at it after each other."""
    seen: dict[str, list[Entry]] = {}

    def scan_once(path: str) -> Iterator[Entry]:
        if path in seen:
            return iter(seen.pop(path))
        seen[path] = found = list(scan(path))
        return iter(found)

    return scan_once


def listed(names: Iterable[str]) -> str:
    """Write names for a message, the first few of many."""
    shown = [quoted(name) for name in sorted(names)]
    return ", ".join(shown[:8]) + f" and {len(shown) - 8} more" * (len(shown) > 8) or "none"


def not_two_classes(found: Place, scan: Scan) -> str:
    """Say that a place does not hold two class folders, and what to do."""
    text = f"{quoted(found.path)} must hold two class folders, found {listed(found.folders)}"
    if len(found.folders) > 2:
        return f"{text}: {CHOOSE}"
    deeper = [
        path for path in found.folders.values() if len(place(path, Counter(), scan).folders) > 1
    ]
    hint = f"did you mean {listed(deeper)}?" if deeper else "make one for each class"
    return f"{text}: {hint}"


def _parts_first(
    top: Place,
    found: Mapping[str, str],
    ignored: Counter[str],
    scan: Scan,
    classes: Collection[str] | None,
) -> dict[str | None, Place]:
    folder_of = {part: name for name, part in found.items()}
    if len(folder_of) < len(found) or "train" not in folder_of:
        raise DatasetError(
            f"{quoted(top.path)} must have train/ and one folder for each other part, found "
            f"{listed(found)}: merge or rename them, or give `classes` if these are the classes"
        )
    ignored["other folder"] += len(top.folders) - len(found)
    places: dict[str | None, Place] = {
        part: place(top.folders[name], ignored, scan, f"{name}/")
        for part in PARTS
        if (name := folder_of.get(part))
    }
    if not classes:
        for of in places.values():
            _refuse_masks(of)
    return places


def _classes_first(
    top: Place, inside: Mapping[str, Place], passed_over: Counter[str], ignored: Counter[str]
) -> dict[str | None, Place]:
    """Turn `cats/train, cats/test, dogs/train …` into places of each part."""
    folder_of = {
        name: {PART_OF[n.casefold()]: n for n in of.folders} for name, of in inside.items()
    }
    (first, parts), *others = folder_of.items()
    for name, of in (*others, (first, parts)):
        if of.keys() != parts.keys() or len(of) < len(inside[name].folders) or "train" not in of:
            raise DatasetError(
                f"{quoted(top.path)} holds the parts inside the class folders, and each class must have "
                f"train and the same others, found {listed(inside[first].folders)} in {quoted(first)} and "
                f"{listed(inside[name].folders)} in {quoted(name)}: rename or move folders"
            )
    ignored["other folder"] += len(top.folders) - len(inside)
    ignored.update(passed_over)
    return {
        part: Place(
            top.path,
            {name: inside[name].folders[of[part]] for name, of in folder_of.items()},
            {name: f"{name}/{of[part]}" for name, of in folder_of.items()},
        )
        for part in PARTS
        if part in parts
    }


def _refuse_what_is_no_class(top: Place, inside: Mapping[str, Place]) -> None:
    """Refuse folders that are parts, or images and their masks, rather than classes."""
    names = [*inside]
    _refuse_masks(top)
    by_content: dict[frozenset[str], list[str]] = {}
    for name, of in inside.items():
        if len(of.folders) > 1:
            by_content.setdefault(frozenset(of.folders), []).append(name)
    alike = max(by_content.items(), key=lambda item: len(item[1]), default=(frozenset(), []))
    like_parts = {n: part for n in names if (part := _part_like(n))}
    nested = [name for name in like_parts if len(inside[name].folders) > 1]
    if len(alike[1]) > 1:
        why = f"{listed(alike[1])} hold the same folders, {listed(alike[0])}, as parts of a data set do"
    elif len({*like_parts.values()}) > 1:
        why = f"{listed(like_parts)} are called like parts of a data set"
    elif nested:
        held = listed(inside[nested[0]].folders)
        why = f"{quoted(nested[0])} is called like a part of a data set and holds {held}"
    else:
        return
    raise DatasetError(
        f"{quoted(top.path)} must hold two class folders, or parts called train, val and test, but {why}: "
        "rename the parts so, or give one of them alone; if these are the classes, name them with `classes`"
    )


def _refuse_masks(found: Place) -> None:
    names = [*found.folders]
    if any(_all_of(n, _IMAGES) for n in names) and any(_all_of(n, _MASKS) for n in names):
        raise DatasetError(
            f"{quoted(found.path)} must hold two class folders, but {listed(names)} look like images and "
            "their masks: give a folder with one folder for each class, or a table of labels; if these are "
            "the classes, name them with `classes`"
        )


def _words(name: str) -> list[str]:
    return [word.casefold() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+", name)]


def _part_like(name: str) -> str | None:
    """Return the part that a name sounds like: "training_set", "test1", "my-val"."""
    return next((_LIKE_PARTS[word] for word in _words(name) if word in _LIKE_PARTS), None)


def _all_of(name: str, words: Collection[str]) -> bool:
    found = _words(name)
    return bool(found) and all(word in words for word in found)
