"""`tlkit suggest`: which images without labels are worth a person's time."""

from __future__ import annotations

from tlkit.cli import arguments
from tlkit.cli.shared import (
    Commands,
    Options,
    add_table_output,
    add_threshold,
    command,
    given,
    load,
    save_or_print,
)
from tlkit.core.tables import as_json
from tlkit.errors import printable

COLUMNS = ("image", "label", "probability", "positive_class", "reason")


def add_suggest(commands: Commands) -> None:
    """Declare `tlkit suggest`."""
    parser = command(commands, suggest, "Say which images without labels to label next.")
    add = parser.add_argument
    add("model", metavar="MODEL", help="what `tlkit train` saved")
    add("directory", metavar="FOLDER", help="images without labels, with folders inside")
    add("-n", "--count", metavar="N", type=arguments.count, help="how many (50)")
    add("--seed", metavar="N", type=int, help="of the draws (0)")
    add_threshold(parser)
    add = parser.add_mutually_exclusive_group().add_argument
    add_table_output(add)
    add("--json", action="store_true", default=False, help="print a JSON list")


def suggest(options: Options) -> int:
    """Print or write one row an image, in the order of their choice."""
    classifier = load(options)
    from tlkit.choosing.suggest import suggest as choose

    found = choose(classifier, options.directory, **given(options, "count", "seed"))
    rows = [
        (printable(one.path), one.label, one.probability, one.positive_class, one.reason)
        for one in found
    ]
    if options.json:
        print(as_json([dict(zip(COLUMNS, row, strict=True)) for row in rows]))
    else:
        save_or_print(options, COLUMNS, rows, numbers=("probability",))
    return 0
