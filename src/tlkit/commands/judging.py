"""`tlkit predict`, `evaluate` and `report`: what a saved classifier says, and how far to believe it."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tlkit import words
from tlkit.commands.shared import Commands, Options, add_threshold, command, given, load
from tlkit.errors import printable
from tlkit.tables import Cell, as_json, print_table, write_csv

if TYPE_CHECKING:
    from tlkit.classifier import Prediction
    from tlkit.images import BadFile

PREDICTION_COLUMNS = ("path", "label", "probability", "positive_class", "error")


def add_predict(commands: Commands) -> None:
    """Declare `tlkit predict`."""
    parser = command(commands, predict, "Say what is on pictures.")
    add = parser.add_argument
    add("model", metavar="MODEL", help="what `tlkit train` saved")
    about = "picture files, and folders of them"
    add("paths", metavar="PATH", nargs="+", type=words.not_empty, help=about)
    add_threshold(parser)
    add = parser.add_mutually_exclusive_group().add_argument
    add(
        "-o",
        "--output",
        metavar="FILE",
        type=words.target(".csv"),
        help="write a table, a .csv file",
    )
    add("--json", action="store_true", default=False, help="print a JSON list")


def predict(options: Options) -> int:
    """Print or write one row a picture; what cannot be read has a row too, and makes the exit code 1."""
    from tlkit.images import BadFile

    paths = list(_picture_paths(options.paths))
    outcomes = load(options).predict(paths, on_bad_file="collect")
    rows = [_row(path, outcome) for path, outcome in zip(paths, outcomes, strict=True)]
    bad_files = [outcome for outcome in outcomes if isinstance(outcome, BadFile)]
    if hasattr(options, "output"):
        write_csv(options.output, PREDICTION_COLUMNS, rows)
        print(f"saved: {printable(options.output)} ({len(rows)} rows)")
    elif options.json:
        print(as_json([dict(zip(PREDICTION_COLUMNS, row, strict=True)) for row in rows]))
    else:
        print_table(PREDICTION_COLUMNS, rows)
    if not bad_files:
        return 0
    print(
        f"error: {len(bad_files)} of {len(rows)} files cannot be read as pictures:", file=sys.stderr
    )
    for file in bad_files[:10]:
        print(f"  {file}", file=sys.stderr)
    if len(bad_files) > 10:
        print(f"  … and {len(bad_files) - 10} more: see the column `error`", file=sys.stderr)
    return 1


def _picture_paths(paths: Iterable[str]) -> Iterator[str]:
    from tlkit.dataset import picture_files

    for path in paths:
        yield from map(str, picture_files(Path(path))) if Path(path).is_dir() else [path]


def _row(path: str, outcome: Prediction | BadFile) -> tuple[Cell, ...]:
    from tlkit.images import BadFile

    if isinstance(outcome, BadFile):
        real = f" (its bytes are {outcome.format})" if outcome.format else ""
        return printable(path), None, None, None, printable(outcome.reason) + real
    label, positive_class = printable(outcome.label), printable(outcome.positive_class)
    return printable(path), label, outcome.probability, positive_class, None


def add_evaluate(commands: Commands) -> None:
    """Declare `tlkit evaluate`."""
    parser = command(
        commands, evaluate, "Measure a classifier on a folder of the same two classes."
    )
    add = parser.add_argument
    add("model", metavar="MODEL", help="what `tlkit train` saved")
    add("directory", metavar="DIR", help="two class folders; or train/, validation/ … with them")
    about = "only this part of such a folder"
    add("--part", metavar="train|validation|test", type=words.part, help=about)
    add_threshold(parser)
    add("--json", action="store_true", default=False, help="print one JSON object")


def evaluate(options: Options) -> int:
    """Print an evaluation; files that cannot be read are left out with a warning."""
    classifier = load(options)
    evaluation = classifier.evaluate(options.directory, part=getattr(options, "part", None))
    print(as_json(evaluation.to_config()) if options.json else evaluation)
    return 0


def add_report(commands: Commands) -> None:
    """Declare `tlkit report`."""
    parser = command(
        commands, report, "Write a page that shows how good a classifier is, and when it is wrong."
    )
    add = parser.add_argument
    add("model", metavar="MODEL", help="what `tlkit train` saved")
    about = "the pictures; without it the folder that it was trained on"
    add("directory", metavar="DIR", nargs="?", help=about)
    add(
        "-o", "--output", metavar="PAGE", type=words.target(".html"), required=True,
        help="a file that ends in .html; one that is there is replaced",
    )  # fmt: skip
    add("--heat-maps", metavar="N", type=int, help="for how many pictures (24)")
    add_threshold(parser)


def report(options: Options) -> int:
    """Write the page."""
    classifier = load(options)
    from tlkit.reporting import write_report

    data = getattr(options, "directory", None)
    write_report(classifier, options.output, data, **given(options, "heat_maps"))
    print(f"saved: {printable(options.output)}: one page, opens in any browser")
    return 0
