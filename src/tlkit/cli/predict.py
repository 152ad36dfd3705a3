"""`tlkit predict`: what a saved classifier says about images, however many."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tlkit.cli import arguments
from tlkit.cli.shared import Commands, Options, add_table_output, add_threshold, command, load
from tlkit.core.tables import as_json, print_table
from tlkit.errors import printable

if TYPE_CHECKING:
    from tlkit.classifier.classifier import TransferClassifier
    from tlkit.images.decoder import BadFile

_NAMED = 10  # files that cannot be read


def add_predict(commands: Commands) -> None:
    """Declare `tlkit predict`."""
    parser = command(commands, predict, "Say what is on images.")
    add = parser.add_argument
    add("model", metavar="MODEL", help="what `tlkit train` saved, or `tlkit export`")
    about = "image files, and folders of them"
    add("paths", metavar="PATH", nargs="+", type=arguments.not_empty, help=about)
    add_threshold(parser)
    add = parser.add_mutually_exclusive_group().add_argument
    add_table_output(add)
    add("--json", action="store_true", default=False, help="print a JSON list")
    add = parser.add_argument_group("very many images, with -o").add_argument
    about = "go on with FILE.parts, which a broken run left"
    add("--resume", action="store_true", default=False, help=about)
    add(
        "--ray", metavar="ADDRESS", nargs="?", type=arguments.ray_address,
        help="compute on a Ray cluster; without an address on a Ray of this machine",
    )  # fmt: skip


def predict(options: Options) -> int:
    """Print or write one row an image; what cannot be read has a row too, and makes the exit code 1."""
    write = hasattr(options, "output")
    if not write and (options.resume or hasattr(options, "ray")):
        options.parser.error("--resume and --ray need -o FILE")
    elsewhere = [path for path in options.paths if "://" in path and not Path(path).exists()]
    if elsewhere and not hasattr(options, "ray"):
        options.parser.error(
            f"--ray reads URIs such as {printable(elsewhere[0])}; without it give a path"
        )
    classifier = load(options)
    count, bad_count, bad_files = (_write if write else _print)(classifier, options)
    if classifier.card.threshold_choice or classifier.guarantee:
        print(_how(classifier), file=sys.stderr)
    if not bad_count:
        return 0
    print(f"error: {bad_count} of {count} files cannot be read as images:", file=sys.stderr)
    for file in bad_files:
        print(f"  {file}", file=sys.stderr)
    if bad_count > len(bad_files):
        more = bad_count - len(bad_files)
        print(f"  … and {more} more: see the column `error`", file=sys.stderr)
    return 1


def _how(classifier: TransferClassifier) -> str:
    """Say how probabilities became labels and decisions."""
    positive, guarantee = printable(classifier.positive_class), classifier.guarantee
    source = classifier.threshold_source
    text = f"{positive} from probability {classifier.threshold:.3g} on: {source}"
    return text if guarantee is None else f"{text}\n{guarantee}"


def _write(classifier: TransferClassifier, options: Options) -> tuple[int, int, Sequence[BadFile]]:
    """Write the table; return how many rows it has, how many files are bad, and the first of these."""
    job = classifier, options.paths, options.output
    try:
        if hasattr(options, "ray"):
            from tlkit.scale import predict as predict_on_ray

            summary = predict_on_ray(*job, address=options.ray, resume=options.resume)
        else:
            from tlkit.delivery.predictions import write_predictions

            summary = write_predictions(*job, resume=options.resume)
    except KeyboardInterrupt:
        print("what is done is kept: the same command with --resume goes on", file=sys.stderr)
        raise
    print(f"saved: {printable(summary.output)} ({summary.count} rows)")
    if summary.drift is not None:
        print(f"warning: {summary.drift}", file=sys.stderr)
    return summary.count, summary.bad_count, summary.bad_files


def _print(classifier: TransferClassifier, options: Options) -> tuple[int, int, Sequence[BadFile]]:
    """Print the table; return how many rows it has, how many files are bad, and the first of these."""
    from tlkit.delivery.predictions import as_row, columns_of
    from tlkit.images.decoder import BadFile

    paths = list(_image_paths(options.paths))
    outcomes = classifier.predict(paths, on_bad_file="collect")
    rows = [as_row(path, outcome) for path, outcome in zip(paths, outcomes, strict=True)]
    columns = columns_of(classifier.positive_class)
    if options.json:
        print(as_json([dict(zip(columns, row, strict=True)) for row in rows]))
    else:
        print_table(columns, rows)
    bad_files = [outcome for outcome in outcomes if isinstance(outcome, BadFile)]
    return len(rows), len(bad_files), bad_files[:_NAMED]


def _image_paths(paths: Iterable[str]) -> Iterator[str]:
    from tlkit.data.dataset import image_files

    for path in paths:
        yield from map(str, image_files(Path(path))) if Path(path).is_dir() else [path]
