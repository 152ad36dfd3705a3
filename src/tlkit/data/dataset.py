"""Two kinds of images as an ordered list of examples; no image is decoded here.

`DatasetSpec` says where images and labels are, which class is positive and how they are to be split;
`DatasetSpec.listing` returns a `Listing` of `Example`s, in an order that is the same on every machine.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Self, TypeAlias, TypedDict, Unpack, final

import numpy as np
import numpy.typing as npt

from tlkit.core.collecting import no_collecting
from tlkit.core.columns import Source
from tlkit.core.home import expanded
from tlkit.core.spec import Spec, check_choice, check_float, check_int
from tlkit.data.example import Example
from tlkit.data.folders import Scan, scan_folder
from tlkit.data.folders import quoted as _quoted
from tlkit.data.label_decisions import Decided, decide
from tlkit.data.labelled import Labelled, images_in, labelled_by_folder, labelled_by_name
from tlkit.data.layout import CHOOSE, PART_OF, PARTS
from tlkit.data.table import Table
from tlkit.errors import DatasetError, SettingError, printable
from tlkit.images.reader import ValueRange, check_value_range

GroupBy: TypeAlias = "str | Mapping[str, str] | Callable[[Path], str | None] | None"
USUAL_FRACTION = 0.2
"""Share for validation where nobody says another."""

_NEGATIONS = ("not", "no", "non", "without")


@final
@dataclass(frozen=True, slots=True, repr=False)
class Listing:
    """What a folder or a table holds: examples, ordered by part, class and name, and what was passed over.

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
    def negative_class(self) -> str:
        """The class whose label is 0."""
        one, two = self.class_names
        return two if one == self.positive_class else one

    @property
    def joined(self) -> Mapping[str, int]:
        """The folders or labels that `rest="negative"` made one class of, with the images in each."""
        count = Counter(e.given_label for e in self.examples if e.given_label and not e.label)
        return dict(sorted(count.items()))

    @property
    def slices(self) -> Mapping[str, tuple[str, ...]]:
        """What each column that results are to be reported by says of each example, by the column's name.

        With `rest="negative"` the labels as they were given are one of them, under the name of their column
        ("label" for folders).
        """
        names = dict.fromkeys(name for example in self.examples for name, _ in example.slices)
        said = [dict(example.slices) for example in self.examples] if names else []
        return {name: tuple(of.get(name, "") for of in said) for name in names}

    def strata(self, indices: Sequence[int] | npt.NDArray[np.integer]) -> list[str] | None:
        """Return what splits are dealt by besides the class, for these examples: the labels as given.

        Args:
            indices: Of examples.

        Returns:
            One for each; None where they are the classes.
        """
        if not any(example.given_label for example in self.examples):
            return None
        chosen = (self.examples[int(index)] for index in indices)
        return [example.given_label or example.class_name for example in chosen]

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
            group_by: The rule, as in `DatasetSpec`. None leaves it to the table or the pattern of names;
                where these say nothing, every example is a group of its own.

        Returns:
            The key of each example, in their order; its own name where the rule says nothing of it.

        Raises:
            DatasetError: The rule says nothing of any example, so it cannot be the right one.
            SettingError: A function returned something other than text or None.
        """
        if group_by is None:
            return [example.group or example.name for example in self.examples]
        keys = [_group_key(group_by, example) for example in self.examples]
        if not any(keys):
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
        for title, counts in (
            (f"{printable(self.negative_class)} is", self.joined),
            ("parts", parts),
            ("ignored", self.ignored),
        ):
            if counts:
                text += f"; {title}: " + ", ".join(f"{n} {printable(k)}" for k, n in counts.items())
        return text if self.decided is None else f"{text}; {self.decided}"

    __repr__ = __str__  # a hundred thousand examples would help nobody


class DatasetSettings(TypedDict, total=False):
    """The settings of a `DatasetSpec` that hold for folders, tables and patterns of names alike."""

    positive_class: str | None
    validation_fraction: float | None
    test_fraction: float
    seed: int
    group_by: GroupBy
    on_bad_file: str
    classes: tuple[str, str] | None
    value_range: tuple[float, float] | None
    rest: str | None
    decisions: str | os.PathLike[str] | None


@final
@dataclass(frozen=True, slots=True, repr=False)
class DatasetSpec(Spec):
    r"""Which images there are, which class is positive and how they are to be split.

    The folder holds two class folders; or `train/` with `val/` (`valid/`, `validation/`), `test/` or both,
    each with the same two class folders; or two class folders, each with the same such parts. Two or more
    folders with such names, in any case, make the second layout, unless `classes` names two folders of the
    first. Other nested folders belong to the class folder around them; links are followed; hidden files and
    folders never count. What looks like parts by other names, or like images beside their masks, is refused
    unless `classes` says that these are the classes. Labels that are no folders are for `from_table` and
    `from_names`.

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
        classes: The two class folders or labels, in order, where there are others too. None: all there are,
            sorted.
        value_range: Which values are black and white in PNG, TIFF and PGM files with more than 8 bits a
            sample, such as (0, 4095) for 12 bits kept in 16. Such files are scaled by it in training, and by
            the classifier ever after. None: by all values that the bits can say.
        rest: "negative": all other folders or labels together are the class "not <positive_class>", which
            must be named. They are split each like the whole, and each image keeps its own label beside the
            class. None: there must be two classes.
        table: Where the labels are, if they are in a table: what `from_table` makes.
        pattern: Where the labels are, if they are in the names: what `from_names` takes.
        decisions: A CSV file of decisions about labels, as a report saves it: labels that are wrong count as
            the other class, images to leave out do not count at all, and the files stay as they are. A
            decision about a file that changed since is refused.

    Raises:
        SettingError: A setting is outside what it may be.

    Examples:
        >>> DatasetSpec("alpacas/", positive_class="alpaca", group_by=r"herd-\d+").test_fraction
        0.0
        >>> DatasetSpec("zoo/", positive_class="alpaca", rest="negative")
        DatasetSpec('zoo', positive_class='alpaca', rest='negative')
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
    rest: str | None = None
    table: Table | None = None
    pattern: str | None = None
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
            rest: str | None = None,
            table: Table | None = None,
            pattern: str | None = None,
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
        self._check_sources()

    def _check_sources(self) -> None:
        """Check what says which label an image has."""
        if self.rest is not None:
            check_choice("rest", self.rest, ("negative",))
            if self.positive_class is None or self.classes:
                raise SettingError(
                    'rest="negative" needs `positive_class`, the one class that is told from all others, and '
                    "no `classes`"
                )
        if self.pattern is not None:
            groups = _checked_pattern(self.pattern)
            if self.table is not None:
                raise SettingError("labels must come from `table` or `pattern`, got both")
        grouped = self.table.group if self.table else self.pattern and "group" in groups
        if grouped and self.group_by is not None:
            raise SettingError("groups must come from one place, got `group_by` and `group`")
        if self.table and self.table.split and self.test_fraction:
            raise SettingError(
                f"`test_fraction` must be 0 beside a `split` column, got {self.test_fraction}"
            )

    @classmethod
    def from_table(
        cls,
        table: Source,
        *,
        image: str = "path",
        label: str = "label",
        directory: str | os.PathLike[str] | None = None,
        group: str | None = None,
        split: str | None = None,
        slices: Sequence[str] = (),
        **settings: Unpack[DatasetSettings],
    ) -> Self:
        r"""Take labels from a table: a row for each image.

        A spec keeps the path of the table, a digest of its content and the names of the columns, but no row:
        a table that has changed since is refused. Every cell that counts must be filled, spaces around it do
        not count, and every path must be there, once.

        Args:
            table: A file that ends in `.csv` (with commas, semicolons or tabs), `.tsv`, `.jsonl`, `.ndjson`
                or `.parquet`; or a mapping of columns, such as a DataFrame.
            image: The column of paths; those of Windows will do.
            label: The column of labels: two different ones, unless `classes` or `rest` says otherwise.
            directory: The folder that paths start from. None: the table's own folder; for columns in
                memory, the current one.
            group: The column of what must stay in one part, such as a patient.
            split: The column of ready-made parts: train, val (valid, validation) or test.
            slices: Columns by which results are to be reported.
            **settings: As `DatasetSpec` has them.

        Returns:
            The spec.

        Raises:
            DatasetError: There is no such table, or a column is missing.
            MissingExtraError: It is Parquet, and pyarrow is not installed.
            SettingError: A setting is outside what it may be.

        Examples:
            >>> columns = {"file": ["a.jpg", "b.jpg"], "animal": ["cat", "dog"]}
            >>> spec = DatasetSpec.from_table(columns, image="file", label="animal", directory="pets/")
            >>> spec.directory.name, spec.table
            ('pets', Table(None, image='file', label='animal'))
        """
        found = Table.of(table, image=image, label=label, group=group, split=split, slices=slices)
        own = Path() if found.path is None else found.path.parent
        return cls(own if directory is None else directory, table=found, **settings)

    @classmethod
    def from_names(
        cls,
        directory: str | os.PathLike[str],
        pattern: str,
        **settings: Unpack[DatasetSettings],
    ) -> Self:
        r"""Take labels from the names of files, such as `cat.123.jpg`.

        Args:
            directory: The folder; folders inside it are entered.
            pattern: A regular expression, searched in each name relative to the folder (`herd-7/cat.1.jpg`).
                Its group `label` is the label, its group `group`, if it has one, what must stay in one
                part. Names that do not match are passed over and counted.
            **settings: As `DatasetSpec` has them.

        Returns:
            The spec.

        Raises:
            SettingError: A setting is outside what it may be.

        Examples:
            >>> DatasetSpec.from_names("pets/", r"(?P<label>cat|dog)\.\d+\.jpg$", positive_class="cat")
            DatasetSpec.from_names('pets', '(?P<label>cat|dog)\\.\\d+\\.jpg$', positive_class='cat')
        """
        return cls(directory, pattern=pattern, **settings)

    def __repr__(self) -> str:
        # `from_table` and `from_names` say it in the words in which it was asked for.
        given, name = [repr(str(self.directory))], "DatasetSpec"
        if self.table is not None:
            name = "DatasetSpec.from_table"
            path = self.table.path
            given = ["..." if path is None else repr(str(path))]
            given += [f"{n}={value!r}" for n, value in self.table.settings().items()]
            if self.directory != (Path() if path is None else path.parent):
                given.append(f"directory={str(self.directory)!r}")
        elif self.pattern is not None:
            name, given = "DatasetSpec.from_names", [*given, repr(self.pattern)]
        for one in fields(self):
            value = getattr(self, one.name)
            if one.kw_only and one.name not in ("table", "pattern") and value != one.default:
                given.append(f"{one.name}={value!r}")
        return f"{name}({', '.join(given)})"

    @property
    def source(self) -> Path:
        """What says which image has which label: the table if there is one, else the folder."""
        return (self.table and self.table.path) or self.directory

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
        with no_collecting():
            return self._listed(scan)

    def _listed(self, scan: Scan) -> Listing:
        top = os.fspath(self.directory)
        ignored: Counter[str] = Counter()
        if self.table is not None:
            found = self.table.labelled(self.directory, PART_OF, scan)
        elif self.pattern is not None:
            found = labelled_by_name(top, self.pattern, ignored, scan)
        else:
            alone = self.positive_class if self.rest else None
            found = labelled_by_folder(top, ignored, scan, classes=self.classes, alone=alone)
            if self.test_fraction and found[0].part is not None:
                must = f"`test_fraction` must be 0 in a folder of parts, got {self.test_fraction}"
                raise DatasetError(f"{must}: put those images into {_quoted(top)}/test")
        return self._listing(found, ignored, scan)

    def _listing(self, found: list[Labelled], ignored: Counter[str], scan: Scan) -> Listing:
        """Turn labels into classes, and put the images in order."""
        class_names = self._class_names(found)
        positive_class = self.positive_class or _default_positive(class_names)
        rest = f"not {positive_class}" if self.rest else None
        kept = found
        if self.classes:
            kept = [one for one in found if one.label in class_names]
            ignored["other label"] += len(found) - len(kept)
        _check_parts(kept, self)
        order = {name: number for number, name in enumerate((None, *PARTS))}
        of_class = {name: number for number, name in enumerate(class_names)}
        rest_order = of_class.get(rest or "", -1)
        kept.sort(key=lambda one: (order[one.part], of_class.get(one.label, rest_order), one.name))
        label_name = self.table.label if self.table else "label"
        examples = []
        folders: dict[str, Path] = {}
        for one in kept:
            folder, _, file = one.path.rpartition(os.sep)
            if folder not in folders:  # a path is dear to take apart: once for each folder
                folders[folder] = Path(folder + os.sep if one.path.startswith(os.sep) else folder)
            joined = rest is not None and one.label != positive_class
            class_name = rest if rest is not None and joined else one.label
            examples.append(
                Example(
                    folders[folder] / file,
                    one.name,
                    class_name,
                    int(class_name == positive_class),
                    one.part,
                    one.group,
                    one.label if joined else None,
                    (*one.slices, *(((label_name, one.label),) if rest else ())),
                )
            )
        kinds = dict(sorted((+ignored).items(), key=lambda item: (-item[1], item[0])))
        listing = Listing(tuple(examples), class_names, positive_class, kinds)
        return listing if self.decisions is None else _decided(listing, self.decisions, scan)

    def _class_names(self, found: Sequence[Labelled]) -> tuple[str, str]:
        """Return the two classes that labels stand for."""
        count = Counter(one.label for one in found)
        labels = sorted(count)
        if self.positive_class is not None:
            check_choice("positive_class", self.positive_class, labels)
        if self.rest:
            if len(labels) < 2:
                raise DatasetError(
                    f"{_quoted(str(self.source))} must have images of other classes than "
                    f"{_quoted(labels[0])} too, found none"
                )
            one, two = sorted((str(self.positive_class), f"not {self.positive_class}"))
            return one, two
        if self.classes:
            for name in self.classes:
                check_choice("class", name, labels)
            return self.classes
        if len(labels) != 2:
            found_there = ", ".join(f"{count[n]:,} {_quoted(n)}" for n in labels[:8])
            more = f" and {len(labels) - 8} more" * (len(labels) > 8)
            advice = CHOOSE if len(labels) > 2 else "give those of the other class too"
            raise DatasetError(
                f"{_quoted(str(self.source))} must have two labels, found {found_there}{more}: {advice}"
            )
        return labels[0], labels[1]


def part_of(name: str) -> str:
    """Return "train", "validation" or "test" for a name that the folder of that part may have.

    Raises:
        SettingError: There is no such part.

    Examples:
        >>> part_of("val")
        'validation'
    """
    return PART_OF[check_choice("part", str(name).casefold(), list(PART_OF))]


def image_files(folder: str | os.PathLike[str]) -> list[Path]:
    """List the image files in a folder and the folders inside it, in the order of their names.

    The rules are those of `DatasetSpec`: links are followed, hidden files and folders do not count.

    Raises:
        DatasetError: There is no such folder, or no image in it.
        SettingError: `folder` is no path.
    """
    top = os.fspath(expanded("folder", folder))
    return [Path(path) for _, path in images_in(top, "", Counter(), scan_folder)]


def _decided(listing: Listing, decisions: Path, scan: Scan) -> Listing:
    if scan is not scan_folder:
        raise SettingError(
            "`decisions` are checked against the files that they are about, which must lie in a folder of "
            "this machine: leave them out, or copy the images"
        )
    class_names, positive_class = listing.class_names, listing.positive_class
    examples, decided = decide(listing.examples, decisions, class_names, positive_class)
    return replace(listing, examples=examples, decided=decided)


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


def _checked_pattern(value: object) -> Mapping[str, int]:
    """Return the named groups of a pattern of names."""
    try:
        groups = re.compile(value).groupindex if isinstance(value, str) else {}
    except re.error as error:
        raise SettingError(f"`pattern` {value!r} is no regular expression: {error}") from error
    if "label" not in groups:
        raise SettingError(
            "`pattern` must be a regular expression with a group called label, such as "
            rf"(?P<label>cat|dog)\.\d+, got {value!r}"
        )
    return groups


def _check_parts(found: Sequence[Labelled], spec: DatasetSpec) -> None:
    """Check parts that a table names: those of folders were checked before."""
    if spec.table is None or spec.table.split is None:
        return
    if not any(one.part == "train" for one in found):
        raise DatasetError(
            f"{_quoted(str(spec.source))}: the column {spec.table.split!r} must have rows of the part "
            "train, found none"
        )
