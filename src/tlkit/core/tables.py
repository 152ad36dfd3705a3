"""Results as tables: for people in a terminal, for other programs, for spreadsheets."""

from __future__ import annotations

import math
import sys
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import Any, Final, TypeAlias

from tlkit.core.atomic import check_target, replacing
from tlkit.errors import MissingExtraError, TlkitError, printable

Cell: TypeAlias = str | float | None

TABLE_SUFFIXES: Final = (".csv", ".jsonl", ".parquet")
"""What the name of a table may end in."""

_ROW_GROUP: Final = 2**15  # rows of Parquet that are held at once, some 10 MiB
_FORMULA_STARTS = tuple("=+-@＝＋－＠")


def print_table(columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
    """Print a table: ruled in a terminal, else with tabs, for other programs."""
    if sys.stdout is None:  # a program without a console
        return
    if not sys.stdout.isatty():
        for row in (columns, *rows):
            line = "\t".join("" if cell is None else str(cell) for cell in row)
            sys.stdout.write(f"{line}\n")
        return
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    shown = [i for i, name in enumerate(columns) if name != "error" or any(row[i] for row in rows)]
    table = Table(box=SIMPLE_HEAD, header_style="bold")
    for i in shown:
        table.add_column(columns[i].replace("_", " "), overflow="fold")
    for row in rows:
        cells = [f"{row[i]:.3f}" if isinstance(row[i], float) else row[i] or "" for i in shown]
        table.add_row(*map(Text, map(str, cells)))  # Text: a name is never taken for markup
    Console(file=sys.stdout).print(table)


def check_table(path: Path) -> Path:
    """Return `path` if `write_table` can write it: the suffix, the folder and what Parquet needs are there.

    Raises:
        MissingExtraError: It ends in `.parquet`, and pyarrow is not installed.
        SettingError: It ends otherwise than tables do, or its folder is missing or cannot be written.
    """
    check_target(path, TABLE_SUFFIXES)
    if path.suffix == ".parquet":
        pyarrow_module("pyarrow")
    return path


def write_table(
    path: Path,
    columns: Sequence[str],
    rows: Iterable[Sequence[Cell]],
    *,
    numbers: Collection[str] = (),
) -> None:
    """Write the whole table, or leave what was there before; rows are taken as they are written.

    Args:
        path: Ends in one of `TABLE_SUFFIXES`.
        columns: Their names.
        rows: A cell for each column.
        numbers: The columns that hold numbers; the others hold text.

    Raises:
        MissingExtraError: It ends in `.parquet`, and pyarrow is not installed.
        TlkitError: The file cannot be written.
    """
    if path.suffix == ".csv":
        write_csv(path, columns, rows)
    elif path.suffix == ".jsonl":
        write_json_lines(path, columns, rows)
    else:
        write_parquet(path, columns, rows, numbers=numbers)


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Cell]]) -> None:
    """Write CSV as UTF-8, text that a spreadsheet would run as a formula made harmless."""
    import csv

    with _writing(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows([_harmless(cell) for cell in row] for row in rows)


def write_json_lines(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Cell]]) -> None:
    """Write one JSON object a line as UTF-8, NaN and infinity as null."""
    import json

    with _writing(path) as partial, partial.open("w", newline="\n", encoding="utf-8") as file:
        for row in rows:
            cells = dict(zip(columns, map(_finite, row), strict=True))
            file.write(json.dumps(cells, ensure_ascii=False, allow_nan=False) + "\n")


def write_parquet(
    path: Path,
    columns: Sequence[str],
    rows: Iterable[Sequence[Cell]],
    *,
    numbers: Collection[str] = (),
) -> None:
    """Write Parquet, one group of rows after the other.

    Raises:
        MissingExtraError: pyarrow is not installed.
    """
    arrow, parquet = pyarrow_module("pyarrow"), pyarrow_module("pyarrow.parquet")
    kinds = [arrow.float64() if name in numbers else arrow.string() for name in columns]
    schema = arrow.schema(zip(columns, kinds, strict=True))
    waiting = iter(rows)
    with _writing(path) as partial, parquet.ParquetWriter(partial, schema) as file:
        while group := list(islice(waiting, _ROW_GROUP)):
            cells = zip(*group, strict=True)
            arrays = [arrow.array(column, kind) for column, kind in zip(cells, kinds, strict=True)]
            file.write_table(arrow.table(arrays, schema=schema))


def pyarrow_module(module: str) -> Any:
    """Import a module of pyarrow.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise MissingExtraError(
            'Parquet needs the extra "parquet": pip install "tlkit[parquet]"'
        ) from error


@contextmanager
def _writing(path: Path) -> Iterator[Path]:
    try:
        with replacing(path) as partial:
            yield partial
    except OSError as error:
        raise TlkitError(
            f"cannot write {printable(path)}: {error.strerror or error}; what was there is untouched"
        ) from error


def _finite(cell: Cell) -> Cell:
    return None if isinstance(cell, float) and not math.isfinite(cell) else cell


def _harmless(cell: Cell) -> Cell:
    """Put an apostrophe before text that a spreadsheet would run as a formula."""
    if isinstance(cell, str) and cell.lstrip().startswith(_FORMULA_STARTS):
        return f"'{cell}"
    return cell


def as_json(value: object) -> str:
    """Write plain values as indented JSON, letters of every script as they are, NaN and infinity as null."""
    import json

    plain = json.loads(json.dumps(value), parse_constant=lambda _: None)
    return json.dumps(plain, indent=2, ensure_ascii=False, allow_nan=False)
