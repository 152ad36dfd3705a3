"""What the commands share: how one is declared, and how a classifier is loaded for it."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from tlkit.cli import arguments
from tlkit.cli.quiet import held_back
from tlkit.core.tables import TABLE_SUFFIXES, Cell, print_table, write_table
from tlkit.errors import ArtifactError, printable

if TYPE_CHECKING:
    from tlkit.classifier.classifier import TransferClassifier
    from tlkit.data.dataset import DatasetSpec

Options: TypeAlias = argparse.Namespace
Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001 - no public name


def command(
    commands: Commands, run: Callable[[Options], int], about: str, *, failure: int = 1
) -> argparse.ArgumentParser:
    """Add a command; what is not given is absent from its options, so that the specs' defaults hold."""
    parser = commands.add_parser(
        run.__name__, help=about, description=about, argument_default=argparse.SUPPRESS
    )
    parser.set_defaults(run=run, failure=failure, parser=parser)
    return parser


def add_threshold(parser: argparse.ArgumentParser) -> None:
    """Declare what decides: `--threshold`, `--guarantee`, `--unfamiliar-level`."""
    parser.add_argument(
        "--threshold", metavar="P|GOAL", type=arguments.threshold,
        help="from this probability on an image is called positive; or what that should be good for: f1, "
        "youden, precision=0.95, recall=0.9, cost=1:5; precision=0.95@0.9 with 90 %% confidence",
    )  # fmt: skip
    parser.add_argument(
        "--guarantee", metavar="PROMISE", type=arguments.guarantee,
        help="decide alone only as much as keeps a promise, and call the rest unsure: error=0.02, or "
        "miss=0.01,false-alarm=0.05; error=0.02@0.95 with 95 %% confidence (90)",
    )  # fmt: skip

    parser.add_argument(
        "--unfamiliar-level", metavar="F", type=float,
        help="call unfamiliar what is as unlike the training images as this share of such images (0.01; 0: "
        "nothing)",
    )  # fmt: skip


DATA_HELP: Final = "two class folders; or train/, validation/ … with them; or a table of labels"


def add_dataset(add: Callable[..., argparse.Action]) -> None:
    """Declare what says which images count, of which class they are, and how their samples are to be read."""
    kind = arguments.class_name
    about = "the class that probabilities are of"
    add("--positive-class", metavar="CLASS", type=kind, help=about)
    about = "the two class folders or labels, where there are others"
    add("--classes", metavar="CLASS", type=kind, nargs=2, help=about)
    about = "all folders or labels but --positive-class are one class"
    add("--rest", choices=("negative",), help=about)
    about = "labels from names: a regular expression, such as (?P<label>cat|dog)[.]"
    add("--pattern", metavar="REGEX", help=about)
    add(
        "--value-range", metavar=("BLACK", "WHITE"), nargs=2, type=float,
        help="values of black and white in files of more than 8 bits, such as 0 4095 (all there are)",
    )  # fmt: skip
    about = "what was decided about labels, as a report saves it: corrects some, leaves images out"
    add("--decisions", metavar="CSV", type=arguments.not_empty, help=about)


def add_table_output(add: Callable[..., argparse.Action]) -> None:
    """Declare `-o`, for a table."""
    add(
        "-o", "--output", metavar="FILE", type=arguments.target(*TABLE_SUFFIXES),
        help="write a table: a .csv, .jsonl or .parquet file; one that is there is replaced",
    )  # fmt: skip


def save_or_print(
    options: Options,
    columns: Sequence[str],
    rows: Sequence[Sequence[Cell]],
    *,
    numbers: Sequence[str],
) -> None:
    """Write the table that `-o` names, or print one."""
    if hasattr(options, "output"):
        write_table(options.output, columns, rows, numbers=numbers)
        print(f"saved: {printable(options.output)} ({len(rows)} rows)")
    else:
        print_table(columns, rows)


def add_table(add: Callable[..., argparse.Action]) -> None:
    """Declare the columns of a table that say where each image is, and what it shows."""
    add("--image", metavar="COLUMN", help="the column of paths (path)")
    add("--label", metavar="COLUMN", help="the column of labels (label)")
    add("--image-dir", metavar="DIR", help="where the paths start from (the table's own folder)")


def add_rows(add: Callable[..., argparse.Action]) -> None:
    """Declare the columns of a table that say what belongs together."""
    add("--group", metavar="COLUMN", help="the column of what stays in one part, such as patient")
    add("--split", metavar="COLUMN", help="the column of parts: train, val or test")
    about = "a column to report results by; may be repeated"
    add("--slice", metavar="COLUMN", dest="slices", action="append", help=about)


def is_table(options: Options) -> bool:
    """Say whether the data is a table of labels, after checking that its options go with it."""
    from tlkit.core.columns import READABLE_SUFFIXES

    place = Path(getattr(options, "directory", ""))
    if place.suffix.lower() in READABLE_SUFFIXES and not place.is_dir():
        return True
    names = ("image", "label", "image_dir", "group", "split", "slices")
    if wrong := given(options, *names):
        flags = " and ".join(f"--{name.removesuffix('s').replace('_', '-')}" for name in wrong)
        options.parser.error(
            f"{flags} {'goes' if len(wrong) == 1 else 'go'} with a table of labels "
            f"({', '.join(READABLE_SUFFIXES)}), got '{printable(str(place))}'"
        )
    return False


def columns(options: Options) -> dict[str, Any]:
    """Return what the options say of a table, as `DatasetSpec.from_table` takes it."""
    found = given(options, "image", "label", "group", "split", "slices")
    return found | ({"directory": options.image_dir} if hasattr(options, "image_dir") else {})


def dataset(options: Options, **settings: Any) -> DatasetSpec:
    """Return the spec of the data that the options name."""
    from tlkit.data.dataset import DatasetSpec

    names = ("positive_class", "classes", "rest", "value_range", "decisions")
    settings |= given(options, *names)
    if is_table(options):
        return DatasetSpec.from_table(options.directory, **columns(options), **settings)
    return DatasetSpec(options.directory, **given(options, "pattern"), **settings)


def given(options: Options, *names: str) -> dict[str, Any]:
    """Return those of these options that were given."""
    return {name: getattr(options, name) for name in names if hasattr(options, name)}


def load(options: Options) -> TransferClassifier:
    """Load the classifier that the options name, with their threshold."""
    return decided_as_asked(load_file(options.model), options)


def decided_as_asked(classifier: TransferClassifier, options: Options) -> TransferClassifier:
    """Return the classifier with the threshold and the guarantee that the options ask for."""
    if hasattr(options, "threshold"):
        classifier = classifier.with_threshold(options.threshold)
    if hasattr(options, "guarantee"):
        classifier = classifier.with_guarantee(**options.guarantee)
    if hasattr(options, "unfamiliar_level"):
        classifier = classifier.with_unfamiliar_level(options.unfamiliar_level)
    return classifier


def check_model(path: str) -> None:
    """Raise if there is no such file, before the seconds that TensorFlow takes."""
    if not Path(path).exists():
        raise ArtifactError(
            f"there is no file {printable(path)}: give what `tlkit train` saved, or `tlkit export`"
        )


def load_file(path: str) -> TransferClassifier:
    """Load a classifier, as it was saved."""
    check_model(path)
    from tlkit.classifier.classifier import TransferClassifier

    with held_back():
        return TransferClassifier.load(path)


def quoted(path: Path) -> str:
    """Return a path as a shell takes it."""
    import shlex

    return shlex.quote(printable(path))
