"""Labels from a table: which file, which class, and what belongs together, a row for each image.

A spec keeps where the table is, what was in it (a digest) and which columns count, never its rows: they are
read anew for each listing, and refused if they have changed since.
"""

from __future__ import annotations

import ntpath
import os
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from hashlib import blake2b
from pathlib import Path
from typing import Final, Self, final

from tlkit.core.columns import (
    READABLE_SUFFIXES,
    ColumnMapping,
    Columns,
    Source,
    check_columns,
    columns_of,
    read_columns,
)
from tlkit.core.fingerprint import fingerprint
from tlkit.core.home import expanded
from tlkit.core.spec import Json, Spec
from tlkit.data.folders import Scan, as_native, quoted, scan_folder
from tlkit.data.labelled import Labelled
from tlkit.errors import DatasetError, SettingError, printable

# Segments that are empty, "." or "..", backslashes, drives: everything that is not yet a plain name.
_ODD: Final = re.compile(r"\\|^[A-Za-z]:|(^|/)\.{0,2}(/|$)")


@final
@dataclass(frozen=True, slots=True, repr=False)
class Table(Spec):
    """Where a table of labels is, what was in it, and which of its columns count.

    Attributes:
        path: The file; None for columns that were in memory.
        digest: Of its content, BLAKE2b in 32 hex digits; for columns in memory, of those that count.
        image: The column of paths.
        label: The column of labels.
        group: The column of what must stay together; None: none.
        split: The column of ready-made parts; None: none.
        slices: Columns that results are reported by.
    """

    path: Path | None
    _: KW_ONLY
    digest: str
    image: str = "path"
    label: str = "label"
    group: str | None = None
    split: str | None = None
    slices: tuple[str, ...] = ()
    _held: Columns | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        for argument, name in self._columns().items():
            given: object = name
            if not isinstance(given, str) or not given:
                raise SettingError(f"`{argument}` must be the name of a column, got {name!r}")

    @classmethod
    def of(
        cls,
        table: Source,
        *,
        image: str,
        label: str,
        group: str | None,
        split: str | None,
        slices: Sequence[str],
    ) -> Self:
        """Look at a table, and note what is in it.

        Raises:
            DatasetError: There is no such file, or a column is missing.
            SettingError: It is no table, or a name of a column is none.
        """
        if isinstance(slices, str):
            raise SettingError(f"`slices` must be names of columns, got the text {slices!r}")
        columns = {"image": image, "label": label, "group": group, "split": split}
        if isinstance(table, str | os.PathLike):
            path = expanded("table", table)
            if path.suffix.lower() not in READABLE_SUFFIXES:
                raise SettingError(
                    f"`table` must end in {', '.join(READABLE_SUFFIXES)}, got {quoted(str(path))}"
                )
            content = _content(path)
            found = cls(path, digest=_digest(content), slices=tuple(slices), **columns)  # type: ignore[arg-type]
            check_columns(str(path), content, found._columns())
            return found
        if not isinstance(table, ColumnMapping):
            raise SettingError(f"`table` must be a file or a mapping of columns, got {table!r}")
        plain = cls(None, digest="", slices=tuple(slices), **columns)  # type: ignore[arg-type]
        held = columns_of(table, plain._columns())
        digest = fingerprint(sorted((name, *cells) for name, cells in held.cells.items()))
        return replace(plain, digest=digest, _held=held)

    def to_config(self) -> dict[str, Json]:
        """Return path, digest and columns, but no rows."""
        if self._held is not None:
            return replace(self, _held=None).to_config()
        return {name: value for name, value in Spec.to_config(self).items() if name != "_held"}

    def settings(self) -> dict[str, object]:
        """Return the columns that are not called as usual, as arguments of `DatasetSpec.from_table`."""
        usual = {"image": "path", "label": "label", "group": None, "split": None, "slices": ()}
        return {n: v for n, old in usual.items() if (v := getattr(self, n)) != old}

    def __repr__(self) -> str:
        given = "".join(f", {name}={value!r}" for name, value in self.settings().items())
        return f"Table({None if self.path is None else str(self.path)!r}{given})"

    def rows(self) -> Columns:
        """Read the columns that count.

        Raises:
            DatasetError: The file is gone or has changed, or is no such table.
        """
        if self.path is None:
            if self._held is None:
                raise DatasetError(
                    "the labels came from columns in memory, which are not kept: make the spec again with "
                    "`DatasetSpec.from_table`, and give it"
                )
            return self._held
        content = _content(self.path)
        if _digest(content) != self.digest:
            raise DatasetError(
                f"{printable(self.path)} has changed since this spec was made of it: make it again with "
                "`DatasetSpec.from_table`"
            )
        return read_columns(str(self.path), content, self._columns())

    def labelled(
        self, directory: Path, parts: Mapping[str, str], scan: Scan = scan_folder
    ) -> list[Labelled]:
        """Read the table, check every row, and return its images.

        Args:
            directory: The folder that paths start from.
            parts: What each word of the `split` column means.
            scan: Lists one folder.

        Raises:
            DatasetError: A cell is not what it must be; names the line and the column.
        """
        rows = self.rows()
        if not len(rows):
            raise DatasetError(f"{rows.source} must have a row for each image, found none")
        for name in (self.image, self.label, self.group, self.split):
            if name is not None and not all(rows.cells[name]):
                empty = [index for index, cell in enumerate(rows.cells[name]) if not cell]
                raise DatasetError(
                    f"{rows.where(empty[0], name)} must not be empty{_as_many(empty, 'are')}: fill it, or "
                    "leave the row out"
                )
        names = _names(rows, self.image, directory)
        _refuse_copies(rows, self.image, self.label, names)
        _refuse_missing(rows, self.image, directory, names, scan)
        top = as_native(os.path.join(os.fspath(directory), ""))  # noqa: PTH118 - a hundred thousand times
        given = self._parts(rows, parts)
        groups = rows.cells[self.group] if self.group else [None] * len(rows)
        labels = rows.cells[self.label]
        named = [[(name, cell) for cell in rows.cells[name]] for name in self.slices]
        slices = zip(*named, strict=True) if named else [()] * len(rows)
        return [
            Labelled(name, top + as_native(name), label, part, group, of)
            for name, label, part, group, of in zip(
                names, labels, given, groups, slices, strict=True
            )
        ]

    def _parts(self, rows: Columns, parts: Mapping[str, str]) -> Sequence[str | None]:
        if self.split is None:
            return [None] * len(rows)
        found = [parts.get(cell.casefold()) for cell in rows.cells[self.split]]
        if None in found:
            index = found.index(None)
            raise DatasetError(
                f"{rows.where(index, self.split)} must be one of {', '.join(parts)}, got "
                f"{rows.cells[self.split][index]!r}"
            )
        return found

    def _columns(self) -> dict[str, str]:
        """Return the columns that count, by the argument that names each."""
        named = {name: getattr(self, name) for name in ("image", "label", "group", "split")}
        named = {name: column for name, column in named.items() if column is not None}
        return named | {f"slices[{n}]": column for n, column in enumerate(self.slices)}


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DatasetError(
            f"cannot read the table {quoted(str(path))} ({error.strerror}): give a file that is there"
        ) from error


def _digest(content: bytes) -> str:
    return blake2b(content, digest_size=16).hexdigest()


def _names(rows: Columns, column: str, directory: Path) -> list[str]:
    """Return each path relative to the directory, with `/`."""
    cells, odd = rows.cells[column], _ODD.search
    return [
        _inside(rows, column, index, directory) if odd(cell) else cell
        for index, cell in enumerate(cells)
    ]


def _inside(rows: Columns, column: str, index: int, directory: Path) -> str:
    """Return a path that is not plainly a name below the directory as one, or refuse it."""
    cell = rows.cells[column][index]
    text = cell
    if "\\" in cell and not os.path.exists(directory / cell):  # noqa: PTH110 - a path of Windows
        text = cell.replace("\\", "/")
    if "://" not in text:
        if os.path.isabs(text):  # noqa: PTH117
            text = _relative(text, directory)
        name = os.path.normpath(text).replace(os.sep, "/")
        foreign = os.path.isabs(text) or (ntpath.splitdrive(text)[0] and os.sep == "/")  # noqa: PTH117
        if name.split("/")[0] not in ("", ".", "..") and not foreign:
            return name
    raise DatasetError(
        f"{rows.where(index, column)} must name a file inside {quoted(os.fspath(directory))}, got "
        f"{cell!r}: give the folder that holds all of them as `directory`"
    )


def _relative(text: str, directory: Path) -> str:
    """Return an absolute path relative to the directory, links followed only if need be."""
    for resolve in (os.path.abspath, os.path.realpath):
        try:
            found = os.path.relpath(resolve(text), resolve(directory))
        except ValueError:  # another drive
            break
        if Path(found).parts[:1] != ("..",):
            return found
    return text


def _refuse_copies(rows: Columns, image: str, label: str, names: Sequence[str]) -> None:
    if len({*names}) == len(names):
        return
    first: dict[str, int] = {}
    for index, name in enumerate(names):
        before = first.setdefault(name, index)
        if before == index:
            continue
        labels = rows.cells[label][before], rows.cells[label][index]
        other = f" as {labels[0]!r}, and here as {labels[1]!r}" * (labels[0] != labels[1])
        repeated = len(names) - len({*names})
        raise DatasetError(
            f"{rows.where(index, image)} must name each image once, but {quoted(name)} stands in "
            f"{rows.unit} {rows.places[before]} too{other} ({repeated:,} {_rows(repeated)} repeated): "
            "keep one row for each image"
        )


def _refuse_missing(
    rows: Columns, image: str, directory: Path, names: Sequence[str], scan: Scan
) -> None:
    """Look each folder up once: a hundred thousand files one by one take long on a network drive."""
    inside: dict[str, list[int]] = defaultdict(list)
    for index, name in enumerate(names):
        inside[name.rpartition("/")[0]].append(index)
    missing: list[int] = []
    stems: dict[int, str] = {}
    for folder, members in inside.items():
        there = _files(os.path.join(as_native(os.fspath(directory)), as_native(folder)), scan)  # noqa: PTH118
        gone = [i for i in members if names[i].rpartition("/")[2] not in there]
        if scan is scan_folder:  # some systems take a name in other letters or accents for the same
            gone = [i for i in gone if not os.path.exists(directory / as_native(names[i]))]  # noqa: PTH110
        if gone:
            by_stem = {os.path.splitext(name)[0]: name for name in sorted(there)}  # noqa: PTH122
            stems |= {i: by_stem.get(names[i].rpartition("/")[2], "") for i in gone}
        missing += gone
    if missing:
        index = min(missing)
        path = quoted(os.fspath(directory / names[index]))
        hint = f" (there is {stems[index]!r}: names must be whole)" if stems.get(index) else ""
        raise DatasetError(
            f"{rows.where(index, image)} must name a file, but there is no {path}{hint}"
            f"{_as_many(missing, 'are not there')}: correct it, leave the row out, or give the folder that "
            "the paths start from as `directory`"
        )


def _files(folder: str, scan: Scan) -> set[str]:
    try:
        return {entry.name for entry in scan(folder)}
    except DatasetError:  # it is not there, or out of reach
        return set()


def _as_many(indices: Sequence[int], what: str) -> str:
    return f" ({len(indices):,} rows {what})" if len(indices) > 1 else ""


def _rows(count: int) -> str:
    return "row is" if count == 1 else "rows are"
