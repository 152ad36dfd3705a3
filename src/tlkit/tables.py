"""Results as tables: for people in a terminal, for other programs, for spreadsheets."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeAlias

from tlkit.errors import TlkitError, printable
from tlkit.replacing import replacing

Cell: TypeAlias = str | float | None

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


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Cell]]) -> None:
    """Write the whole table, or leave what was there before."""
    import csv

    try:
        with replacing(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(columns)
            writer.writerows([_harmless(cell) for cell in row] for row in rows)
    except OSError as error:
        raise TlkitError(
            f"cannot write {printable(path)}: {error.strerror or error}; what was there is untouched"
        ) from error


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
