"""A folder of two kinds of images as an ordered list of examples; no image is decoded here.

`DatasetSpec` says which folder, which class is positive and how it is to be split; `DatasetSpec.listing`
walks the folder and returns a `Listing` of `Example`s, in an order that is the same on every machine.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import KW_ONLY, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeAlias, final

import numpy as np
import numpy.typing as npt

from tlkit.core.home import expanded
from tlkit.core.spec import Spec, check_choice, check_float, check_int
from tlkit.data.example import Example
from tlkit.data.folders import Scan, kind_of, scan_folder, walk
from tlkit.data.folders import quoted as _quoted
from tlkit.data.label_decisions import Decided, decide
from tlkit.errors import DatasetError, SettingError, printable
from tlkit.images.reader import ValueRange, check_value_range

GroupBy: TypeAlias = "str | Mapping[str, str] | Callable[[Path], str | None] | None"
PARTS = ("train", "validation", "test")
USUAL_FRACTION = 0.2
"""Share for validation where nobody says another."""

_PART_OF_FOLDER = dict.fromkeys(("train", "training"), "train")
_PART_OF_FOLDER |= dict.fromkeys(("val", "valid", "validation"), "validation")
_PART_OF_FOLDER |= dict.fromkeys(("test", "testing"), "test")
_NEGATIONS = ("not", "no", "non", "without")


@final
@dataclass(frozen=True, slots=True, repr=False)
class Listing:
    """What a folder holds: its examples, ordered by part, class and name, and what was passed over.

    Attributes:
        examples: The images. Whether they can be read is not known yet.
        class_names: The two classes, sorted or in the order that was asked for.
        positive_class: The class whose label is 1.
        ignored: How many files and folders of each kind were passed over, the most frequent first:
            "hidden", ".txt", "no extension", "other folder" … A folder that is not entered counts once.
        decided: What decisions about labels changed, where the spec names some.
    """

    examples: tuple[Example, ...]
    class_names: tuple[str, str]
    positive_class: str
    ignored: Mapping[str, int]
    decided: Decided | None = None

    @property
    def labels(self) -> npt.NDArray[np.int8]:
        """The labels of the examples, int8 `[N]`: 1 in the positive class, else 0."""
        return np.fromiter((e.label for e in self.examples), np.int8, len(self.examples))

    @property
    def split_labels(self) -> npt.NDArray[np.int8]:
        """What splits and folds are dealt by, int8 `[N]`: 1 in the class that is positive by default.

        So that an image's split does not depend on which class was chosen to be positive.
        """
        first = _default_positive(self.class_names)
        return np.fromiter((e.class_name == first for e in self.examples), np.int8)

    @property
    def used_to_choose(self) -> tuple[str, ...]:
        """What these images were used to choose before anyone is measured on them, as in `evaluate`."""
        return self.decided.used_to_choose if self.decided else ()

    def groups(self, group_by: GroupBy) -> list[str]:
        """Return one group key per example; what shares a key must stay in one part.

        Args:
            group_by: The rule, as in `DatasetSpec`. None puts every example in a group of its own.

        Returns:
            The key of each example, in their order; its own name where the rule says nothing of it.

        Raises:
            DatasetError: The rule says nothing of any example, so it cannot be the right one.
            SettingError: A function returned something other than text or None.
        """
        keys = [_group_key(group_by, example) for example in self.examples]
        if group_by is not None and not any(keys):
            like = _quoted(self.examples[0].name)
            raise DatasetError(f"`group_by` must match some images, but matches none like {like}")
        return [key or example.name for key, example in zip(keys, self.examples, strict=True)]

    def __str__(self) -> str:
        count = Counter(example.class_name for example in self.examples)
        text = f"{len(self.examples)} images: " + ", ".join(
            f"{count[name]} {printable(name)}{' (positive)' * (name == self.positive_class)}"
            for name in self.class_names
        )
        parts = Counter(example.part for example in self.examples if example.part)
        for title, counts in (("parts", parts), ("ignored", self.ignored)):
            if counts:
                text += f"; {title}: " + ", ".join(f"{n} {printable(k)}" for k, n in counts.items())
        return text if self.decided is None else f"{text}; {self.decided}"

    __repr__ = __str__  # a hundred thousand examples would help nobody


@final
@dataclass(frozen=True, slots=True, repr=False)
class DatasetSpec(Spec):
    r"""Which folder holds the images, which class is positive and how they are to be split.

    The folder holds two class folders; or `train/` with `val/` (`valid/`, `validation/`), `test/` or both,
    each with the same two class folders. Two or more folders with such names, in any case, make the second
    layout, unless `classes` names two folders of the first. Nested folders belong to the class folder
    around them; links are followed; hidden files and folders never count.

    Args:
        directory: The folder, where a leading `~` is the user's home. Only `listing()` looks at it: a
            saved spec may name one of another machine.
        positive_class: The class whose probability is predicted. None: of two classes such as "alpaca"
            and "not alpaca" (`no_alpaca`, `non-alpaca` …) the one that the other negates, else the second.
        validation_fraction: Share of each class kept for validation, 0 to below 1. Not used where the
            folder has a validation split of its own. 0: none; folds judge, and the classifier learns from all
            images that are not for the test. None leaves the choice to what uses the spec: an exact head is
            judged by folds as long as they are cheap, everything else takes the usual fifth.
        test_fraction: Share of each class for a last, untouched test, 0 to below 1; 0 if there are parts.
        seed: Which of the many splits, 0 or more.
        group_by: What must stay in one part, such as all images of one subject. A regular expression
            searched in each name (`alpaca/herd-7/3.jpg`): the key is its first group, or the whole match.
            A mapping from names to keys. Or a function from a path to a key; such a spec cannot be
            written as JSON. A file of which the rule says nothing (no match, None) is on its own.
        on_bad_file: "skip" leaves out what cannot be read, with a warning; "raise" stops.
        classes: The two class folders, in order, where there are others too. None: all there are, sorted.
        value_range: Which values are black and white in PNG, TIFF and PGM files with more than 8 bits a
            sample, such as (0, 4095) for 12 bits kept in 16. Such files are scaled by it in training, and by
            the classifier ever after. None: by all values that the bits can say.
        decisions: A CSV file of decisions about labels, as a report saves it: labels that are wrong count as
            the other class, images to leave out do not count at all, and the files stay as they are. A
            decision about a file that changed since is refused.

    Raises:
        SettingError: A setting is outside what it may be.

    Examples:
        >>> DatasetSpec("alpacas/", positive_class="alpaca", group_by=r"herd-\d+").test_fraction
        0.0
    """

    directory: Path
    _: KW_ONLY
    positive_class: str | None = None
    validation_fraction: float | None = None
    test_fraction: float = 0.0
    seed: int = 0
    group_by: GroupBy = None
    on_bad_file: str = "skip"
    classes: tuple[str, str] | None = None
    value_range: ValueRange = None
    decisions: Path | None = None

    if TYPE_CHECKING:  # what is given as text is a Path from then on, which a field cannot say

        def __init__(
            self,
            directory: str | os.PathLike[str],
            *,
            positive_class: str | None = None,
            validation_fraction: float | None = None,
            test_fraction: float = 0.0,
            seed: int = 0,
            group_by: GroupBy = None,
            on_bad_file: str = "skip",
            classes: tuple[str, str] | None = None,
            value_range: tuple[float, float] | None = None,
            decisions: str | os.PathLike[str] | None = None,
        ) -> None: ...

    def __post_init__(self) -> None:
        for name in ("validation_fraction", "test_fraction"):
            if name == "test_fraction" or getattr(self, name) is not None:
                fraction = check_float(name, getattr(self, name), at_least=0, below=1)
                object.__setattr__(self, name, fraction)
        if (self.validation_fraction or 0) + self.test_fraction >= 1:
            got = f"{self.validation_fraction} + {self.test_fraction}"
            raise SettingError(
                f"`validation_fraction` + `test_fraction` must be below 1, got {got}"
            )
        object.__setattr__(self, "seed", check_int("seed", self.seed, at_least=0))
        check_choice("on_bad_file", self.on_bad_file, ("skip", "raise"))
        object.__setattr__(self, "directory", expanded("directory", self.directory))
        object.__setattr__(self, "group_by", _checked_group_by(self.group_by))
        object.__setattr__(self, "classes", _checked_classes(self.classes))
        object.__setattr__(self, "value_range", check_value_range(self.value_range))
        if self.decisions is not None:
            object.__setattr__(self, "decisions", expanded("decisions", self.decisions))
        given: object = self.positive_class
        if given == "" or not isinstance(given, str | None):
            raise SettingError(f"`positive_class` must be a name, got {given!r}")
        if self.positive_class and self.classes:
            check_choice("positive_class", self.positive_class, self.classes)

    @property
    def default_fraction(self) -> float:
        """The share for validation where there has to be one: the one given, else a fifth."""
        usual = min(USUAL_FRACTION, (1 - self.test_fraction) / 2)
        return usual if self.validation_fraction is None else self.validation_fraction

    def listing(self, *, scan: Scan = scan_folder) -> Listing:
        """Walk the folder and list its images; but those with a decision, no file is opened.

        Args:
            scan: Lists one folder, where that is not for the operating system to do.

        Returns:
            The examples in an order that depends on their names alone, and what was ignored.

        Raises:
            DatasetError: The folder is missing, cannot be listed or is not two classes of images; or
                `decisions` cannot be read, or are about files that changed.
            SettingError: `positive_class` is not one of the classes found, or there are `decisions` about
                images that do not lie in a folder of this machine.

        Examples:
            >>> import tempfile
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     for name in ("alpaca/1.jpg", "alpaca/.DS_Store", "not alpaca/2.PNG"):
            ...         Path(folder, name).parent.mkdir(exist_ok=True)
            ...         Path(folder, name).touch()
            ...     print(DatasetSpec(folder).listing())
            2 images: 1 alpaca (positive), 1 not alpaca; ignored: 1 hidden
        """
        ignored: Counter[str] = Counter()
        places = self._places(ignored, scan)
        class_names = self._class_names(places.values(), scan)
        positive_class = self.positive_class or _default_positive(class_names)
        check_choice("positive_class", positive_class, class_names)
        examples: list[Example] = []
        for part, place in places.items():
            ignored["other folder"] += len(place.folders) - 2
            for class_name in class_names:
                label = int(class_name == positive_class)
                folder, prefix = place.folders[class_name], place.prefix + class_name
                found = _images(folder, prefix, ignored, scan)
                examples += [Example(Path(at), name, class_name, label, part) for name, at in found]
        kinds = dict(sorted((+ignored).items(), key=lambda item: (-item[1], item[0])))
        listing = Listing(tuple(examples), class_names, positive_class, kinds)
        return listing if self.decisions is None else _decided(listing, self.decisions, scan)

    def _places(self, ignored: Counter[str], scan: Scan) -> dict[str | None, _Place]:
        """Return where the class folders lie: the folder itself (part None) or its parts."""
        top = _place(os.fspath(self.directory), ignored, scan)
        found = {n: part for n in top.folders if (part := _PART_OF_FOLDER.get(n.casefold()))}
        if len(found) < 2 or (self.classes and set(self.classes) <= set(top.folders)):
            return {None: top}
        folder_of = {part: name for name, part in found.items()}
        if len(folder_of) < len(found) or "train" not in folder_of:
            raise DatasetError(
                f"{_quoted(top.path)} must have train/ and one folder for each other part, found "
                f"{_listed(found)}: merge or rename them, or give `classes` if these are the classes"
            )
        if self.test_fraction:
            must = f"`test_fraction` must be 0 in a folder of parts, got {self.test_fraction}"
            raise DatasetError(f"{must}: put those images into {_quoted(top.path)}/test")
        ignored["other folder"] += len(top.folders) - len(found)
        return {
            part: _place(top.folders[name], ignored, scan, f"{name}/")
            for part in PARTS
            if (name := folder_of.get(part))
        }

    def _class_names(self, places: Collection[_Place], scan: Scan) -> tuple[str, str]:
        """Return the two classes, after checking that every place has them."""
        first, *_ = places
        names = self.classes or tuple(sorted(first.folders))
        if len(names) != 2:
            raise DatasetError(_not_two_classes(first, scan))
        for place in places:
            found = place.folders.keys() & names if self.classes else place.folders.keys()
            if found != set(names):
                raise DatasetError(
                    f"{_quoted(place.path)} must hold the class folders {_listed(names)}, found "
                    f"{_listed(place.folders)}: rename or move folders, or choose others with `classes`"
                )
        return names[0], names[1]


def part_of(name: str) -> str:
    """Return "train", "validation" or "test" for a name that the folder of that part may have.

    Raises:
        SettingError: There is no such part.

    Examples:
        >>> part_of("val")
        'validation'
    """
    return _PART_OF_FOLDER[check_choice("part", str(name).casefold(), list(_PART_OF_FOLDER))]


def image_files(folder: str | os.PathLike[str]) -> list[Path]:
    """List the image files in a folder and the folders inside it, in the order of their names.

    The rules are those of `DatasetSpec`: links are followed, hidden files and folders do not count.

    Raises:
        DatasetError: There is no such folder, or no image in it.
        SettingError: `folder` is no path.
    """
    top = os.fspath(expanded("folder", folder))
    return [Path(path) for _, path in _images(top, "", Counter(), scan_folder)]


def _decided(listing: Listing, decisions: Path, scan: Scan) -> Listing:
    if scan is not scan_folder:
        raise SettingError(
            "`decisions` are checked against the files that they are about, which must lie in a folder of "
            "this machine: leave them out, or copy the images"
        )
    class_names, positive_class = listing.class_names, listing.positive_class
    examples, decided = decide(listing.examples, decisions, class_names, positive_class)
    return replace(listing, examples=examples, decided=decided)


class _Place(NamedTuple):
    """A folder that holds class folders: the directory or one of its parts."""

    path: str
    prefix: str  # what the names of its examples begin with: "" or "train/"
    folders: Mapping[str, str]  # name -> path of the visible folders in it


def _place(path: str, ignored: Counter[str], scan: Scan, prefix: str = "") -> _Place:
    folders = {}
    for entry in scan(path):
        kind = kind_of(entry)
        if kind == "folder":
            folders[entry.name] = entry.path
        else:
            ignored["image outside the class folders" if kind == "image" else kind] += 1
    return _Place(path, prefix, folders)


def _images(folder: str, name: str, ignored: Counter[str], scan: Scan) -> list[tuple[str, str]]:
    """Return (name, path) of every image in a folder and below, sorted by name."""
    return sorted(walk(folder, name, ignored, scan=scan))


def _default_positive(class_names: tuple[str, str]) -> str:
    """Return X of "X" and "not X" (`no_x`, `non-X`, "without X" …), else the second in sorted order."""
    one, two = sorted(class_names)
    bare_one, bare_two = (re.sub(r"[\s_-]", "", name).casefold() for name in (one, two))
    return one if bare_one and bare_two in {word + bare_one for word in _NEGATIONS} else two


def _group_key(group_by: GroupBy, example: Example) -> str | None:
    if isinstance(group_by, str):
        match = re.search(group_by, example.name)
        return match[min(match.re.groups, 1)] if match else None
    if isinstance(group_by, Mapping):
        return group_by.get(example.name)
    key = group_by(example.path) if group_by else None
    if not isinstance(key, str | None):
        raise SettingError(f"`group_by` must return text or None, got {key!r}")
    return key


def _checked_group_by(value: GroupBy) -> GroupBy:
    if isinstance(value, str):
        try:
            re.compile(value)
        except re.error as error:
            raise SettingError(f"`group_by` {value!r} is no regular expression: {error}") from error
    elif isinstance(value, Mapping) and all(isinstance(t, str) for t in (*value, *value.values())):
        return dict(value)  # a copy, so that the spec stays as it was checked
    elif value is not None and not callable(value):
        kinds = "a regular expression, a mapping from names to keys (all text) or a function"
        raise SettingError(f"`group_by` must be {kinds}, got {value!r}")
    return value


def _checked_classes(value: object) -> tuple[str, str] | None:
    match value:
        case None:
            return None
        case (str(one), str(two)) if one != two:
            return one, two
    raise SettingError(f"`classes` must be two different folder names, got {value!r}")


def _not_two_classes(place: _Place, scan: Scan) -> str:
    text = f"{_quoted(place.path)} must hold two class folders, found {_listed(place.folders)}"
    if len(place.folders) > 2:
        return f"{text}: choose two with `classes`, or move the others away"
    deeper = [
        path for path in place.folders.values() if len(_place(path, Counter(), scan).folders) > 1
    ]
    hint = f"did you mean {_listed(deeper)}?" if deeper else "make one for each class"
    return f"{text}: {hint}"


def _listed(names: Iterable[str]) -> str:
    quoted = [_quoted(name) for name in sorted(names)]
    return ", ".join(quoted[:8]) + f" and {len(quoted) - 8} more" * (len(quoted) > 8) or "none"
