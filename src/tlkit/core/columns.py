"""Tables that people bring, as columns of text: CSV, TSV, JSON lines, Parquet, or a mapping of columns.

Every cell knows the line that it came from, so that whoever finds it wrong can say where.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
import os
import reprlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Final, Protocol, TypeAlias, final, runtime_checkable

from tlkit.core.tables import pyarrow_module
from tlkit.errors import DatasetError, SettingError, printable

READABLE_SUFFIXES: Final = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")
"""What the name of a table that can be read ends in, in any case."""

_DELIMITERS: Final = ",;\t|"
_UTF_16: Final = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)  # as spreadsheets save "Unicode text"
_MISSING: Final = (
    "nan",
    "NaT",
    "<NA>",
    "None",
)  # as pandas, NumPy and Polars print what is not there


@runtime_checkable
class ColumnMapping(Protocol):
    """Columns by their names: a dictionary of sequences, or a DataFrame of pandas or Polars."""

    def __getitem__(self, name: str, /) -> Any:
        """Return one column: a sequence."""


@final
@dataclass(frozen=True, slots=True)
class Columns:
    """Columns of text.

    Attributes:
        source: What messages call the table.
        unit: What they count: "line" of a file, or "row", the first of which is 0.
        cells: The cells of each column, without spaces around them; "" where there is nothing.
        places: The number of the line or row of each.
    """

    source: str
    unit: str
    cells: Mapping[str, Sequence[str]]
    places: Sequence[int]

    def __len__(self) -> int:
        return len(self.places)

    def where(self, index: int, column: str) -> str:
        """Name a cell, as messages begin."""
        return f"{self.source}, {self.unit} {self.places[index]}, column {column!r}"


Source: TypeAlias = "str | os.PathLike[str] | ColumnMapping"


def read_columns(path: str, content: bytes, names: Mapping[str, str]) -> Columns:
    """Read some columns of a file.

    Args:
        path: Its name; the end of it says what it is.
        content: What is in it.
        names: The columns wanted, by the argument that named each.

    Raises:
        DatasetError: It is no such table, or a column is missing; names the line.
        MissingExtraError: It is Parquet, and pyarrow is not installed.
    """
    suffix = os.path.splitext(path)[1].lower()  # noqa: PTH122 - of any text
    source = printable(path)
    if suffix == ".parquet":
        return _parquet(source, content, names)
    text = _text_of(source, content)
    if suffix in (".jsonl", ".ndjson"):
        return _json_lines(source, text, names)
    return _delimited(source, text, names, "\t" if suffix == ".tsv" else _DELIMITERS)


def check_columns(path: str, content: bytes, names: Mapping[str, str]) -> None:
    """Refuse a file that lacks a column, as far as its beginning tells: rows are not looked at.

    Args:
        path: Its name.
        content: What is in it.
        names: The columns wanted, by the argument that named each.

    Raises:
        DatasetError: A column is missing.
        MissingExtraError: It is Parquet, and pyarrow is not installed.
    """
    suffix = os.path.splitext(path)[1].lower()  # noqa: PTH122 - of any text
    if suffix == ".parquet":
        _parquet_file(printable(path), content, names)
    elif suffix in (".csv", ".tsv") and not content.startswith(_UTF_16):
        read_columns(path, content.partition(b"\n")[0], names)


def columns_of(table: ColumnMapping, names: Mapping[str, str]) -> Columns:
    """Take some columns of a mapping, as text.

    Raises:
        DatasetError: A column is missing, or they are not equally long.
    """
    found = _names_of(table)
    _require(names, found, "the table")
    cells = {name: [_as_text(cell) for cell in _as_list(table[name])] for name in names.values()}
    lengths = {name: len(column) for name, column in cells.items()}
    if len({*lengths.values()}) > 1:
        raise DatasetError(f"the columns of the table must be equally long, got {lengths}")
    (length,) = {*lengths.values()}
    return Columns("the table", "row", cells, range(length))


def _names_of(table: ColumnMapping) -> list[str]:
    keys = getattr(table, "keys", None)
    for found in (
        keys() if callable(keys) else None,
        getattr(table, "column_names", None),  # of pyarrow
        getattr(table, "columns", None),  # of Polars
    ):
        if found is not None:
            return [str(name) for name in found]
    raise SettingError(f"`table` must be a file or a mapping of columns, got {reprlib.repr(table)}")


def _as_list(column: Any) -> list[Any]:
    for method in ("to_pylist", "tolist", "to_list"):  # pyarrow; NumPy and pandas; Polars
        if convert := getattr(column, method, None):
            return list(convert())
    return list(column)


def _as_text(cell: object) -> str:
    if cell is None:
        return ""
    if isinstance(cell, float):
        return "" if cell != cell else f"{cell:.0f}" if cell.is_integer() else repr(cell)
    if isinstance(cell, os.PathLike):
        return str(os.fspath(cell))
    text = str(cell).strip()
    return text if isinstance(cell, str) or text not in _MISSING else ""


def _text_of(source: str, content: bytes) -> str:
    """Decode a file as what its first bytes say, else UTF-8."""
    encoding = "utf-16" if content.startswith(_UTF_16) else "utf-8-sig"
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise DatasetError(
            f"{source}, line {line} must be UTF-8: save the table as UTF-8 (in a spreadsheet “CSV UTF-8”)"
        ) from error


def _delimited(source: str, text: str, names: Mapping[str, str], delimiters: str) -> Columns:
    header, delimiter = _header(text, names, delimiters)
    _require(names, header, f"{source}, line 1")
    for name in names.values():
        if header.count(name) > 1:
            raise DatasetError(f"{source}, line 1 must name each column once, has {name!r} twice")
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True
    )
    places: list[int] = []
    rows: list[list[str]] = []
    try:
        next(reader)
        for row in reader:
            if not any(row):  # spreadsheets leave such rows at the end
                continue
            if len(row) != len(header):
                raise DatasetError(
                    f"{source}, line {reader.line_num} must have {len(header)} cells, as line 1 has, found "
                    f"{len(row)}: put cells that hold a {delimiter!r} in quotation marks"
                )
            places.append(reader.line_num)
            rows.append(row)
    except csv.Error as error:
        raise DatasetError(f"{source}, line {reader.line_num} cannot be read: {error}") from error
    cells = {}
    for name in names.values():
        place = header.index(name)
        cells[name] = [row[place].strip() for row in rows]
    return Columns(source, "line", cells, places)


def _header(text: str, names: Mapping[str, str], delimiters: str) -> tuple[list[str], str]:
    """Return the cells of the first line, and what stands between them."""
    first = text[: 2**16].splitlines()[:1] or [""]
    wanted = {*names.values()}
    found = []
    for delimiter in delimiters:
        cells = next(csv.reader(first, delimiter=delimiter, skipinitialspace=True), [])
        found.append(([cell.strip() for cell in cells], delimiter))
    return max(found, key=lambda one: (len(wanted.intersection(one[0])), len(one[0])))


def _json_lines(source: str, text: str, names: Mapping[str, str]) -> Columns:
    places: list[int] = []
    rows: list[dict[str, Any]] = []
    found: dict[str, None] = {}
    for number, line in enumerate(text.split("\n"), 1):  # not splitlines: a text may hold U+2028
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise DatasetError(f"{source}, line {number} must be a JSON object: {error}") from error
        if not isinstance(row, dict):
            raise DatasetError(f"{source}, line {number} must be a JSON object, got {line[:80]!r}")
        places.append(number)
        rows.append(row)
        found.update(dict.fromkeys(row))
    _require(names, found, source)
    cells = {name: [_as_text(row.get(name)) for row in rows] for name in names.values()}
    return Columns(source, "line", cells, places)


def _parquet(source: str, content: bytes, names: Mapping[str, str]) -> Columns:
    arrow = pyarrow_module("pyarrow")
    try:
        table = _parquet_file(source, content, names).read(columns=sorted({*names.values()}))
    except (arrow.ArrowException, OSError) as error:
        raise DatasetError(f"{source} cannot be read as Parquet: {error}") from error
    cells = {name: [_as_text(cell) for cell in table[name].to_pylist()] for name in names.values()}
    return Columns(source, "row", cells, range(table.num_rows))


def _parquet_file(source: str, content: bytes, names: Mapping[str, str]) -> Any:
    arrow, parquet = pyarrow_module("pyarrow"), pyarrow_module("pyarrow.parquet")
    try:
        file = parquet.ParquetFile(io.BytesIO(content))
    except (arrow.ArrowException, OSError) as error:
        raise DatasetError(f"{source} cannot be read as Parquet: {error}") from error
    _require(names, file.schema_arrow.names, source)
    return file


def _require(names: Mapping[str, str], found: Iterable[str], where: str) -> None:
    """Refuse a table that lacks a column, and say which there are."""
    there = [str(name) for name in found]
    for argument, name in names.items():
        if name not in there:
            near = get_close_matches(name, there, n=1, cutoff=0.6)
            hint = f"did you mean {near[0]!r}? " if near else ""
            listed = ", ".join(map(repr, there[:12])) + " …" * (len(there) > 12) or "none"
            raise DatasetError(
                f"{where} must have the column {name!r}, found {listed}: {hint}name the right one with "
                f"`{argument}`"
            )
