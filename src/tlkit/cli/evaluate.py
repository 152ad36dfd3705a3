"""`tlkit evaluate` and `report`: how far to believe what a saved classifier says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tlkit.cli import arguments
from tlkit.cli.shared import (
    DATA_HELP,
    Commands,
    Options,
    add_table,
    add_threshold,
    check_model,
    columns,
    command,
    given,
    is_table,
    load,
    load_file,
)
from tlkit.core.tables import as_json
from tlkit.errors import printable

if TYPE_CHECKING:
    from tlkit.classifier.classifier import TransferClassifier
    from tlkit.data.dataset import DatasetSpec


def add_evaluate(commands: Commands) -> None:
    """Declare `tlkit evaluate`."""
    parser = command(
        commands, evaluate, "Measure a classifier on a folder of the same two classes."
    )
    add = parser.add_argument
    add("model", metavar="MODEL", help="what `tlkit train` saved, or `tlkit export`")
    add("directory", metavar="DIR", help=DATA_HELP)
    add_table(add)
    about = "only this part of such a folder"
    add("--part", metavar="train|validation|test", type=arguments.part, help=about)
    about = "count images that it has learned from, too: they flatter it"
    add("--include-training", action="store_true", default=False, help=about)
    about = "an older classifier, to be measured on the same images: is the new one better?"
    add("--against", metavar="OLD", help=about)
    add_threshold(parser)
    add("--json", action="store_true", default=False, help="print one JSON object")


def evaluate(options: Options) -> int:
    """Print an evaluation; files that cannot be read are left out with a warning."""
    against = getattr(options, "against", None)
    if against is not None:
        check_model(against)
    classifier = load(options)
    evaluation = classifier.evaluate(
        labelled(classifier, options),
        part=getattr(options, "part", None),
        include_training=options.include_training,
        against=None if against is None else load_file(against),
    )
    if options.json:
        print(as_json(evaluation.to_config()))
        return 0
    print(evaluation)
    if classifier.card.threshold_choice is not None:
        print(f"\nthreshold {classifier.threshold:.3g}: {classifier.threshold_source}")
    if classifier.guarantee is not None:
        print(classifier.guarantee)
    return 0


def labelled(classifier: TransferClassifier, options: Options) -> DatasetSpec:
    """Return how the data that the options name is read for a classifier."""
    from tlkit.classifier.measure import spec_for

    of_table = columns(options) if is_table(options) else {}
    return spec_for(classifier.card, options.directory, **of_table)


def add_report(commands: Commands) -> None:
    """Declare `tlkit report`."""
    parser = command(
        commands, report, "Write a page that shows how good a classifier is, and when it is wrong."
    )
    add = parser.add_argument
    add("model", metavar="MODEL", help="what `tlkit train` saved")
    about = "the images; without it the folder that it was trained on"
    add("directory", metavar="DIR", nargs="?", help=about)
    add_table(add)
    add(
        "-o", "--output", metavar="PAGE", type=arguments.target(".html"), required=True,
        help="a file that ends in .html; one that is there is replaced",
    )  # fmt: skip
    add("--heat-maps", metavar="N", type=arguments.count, help="for how many images (24)")
    add_threshold(parser)


def report(options: Options) -> int:
    """Write the page."""
    classifier = load(options)
    from tlkit.report.page import write_report

    data = labelled(classifier, options) if hasattr(options, "directory") else None
    write_report(classifier, options.output, data, **given(options, "heat_maps"))
    print(f"saved: {printable(options.output)}: one page, opens in any browser")
    return 0
