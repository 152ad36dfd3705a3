"""`tlkit audit` and `backbones`: what a folder holds, and which networks there are."""

from __future__ import annotations

from tlkit.cli import arguments
from tlkit.cli.shared import (
    DATA_HELP,
    Commands,
    Options,
    add_dataset,
    add_rows,
    add_table,
    command,
    dataset,
)
from tlkit.core.tables import print_table


def add_audit(commands: Commands) -> None:
    """Declare `tlkit audit`."""
    parser = command(
        commands, audit, "Say what is wrong with a folder of images; change nothing.", failure=2
    )
    add = parser.add_argument
    add("directory", metavar="DIR", help=DATA_HELP)
    add_dataset(add)
    add_table(add)
    add_rows(add)
    add(
        "--fail-on", metavar="KINDS", type=arguments.kinds,
        help="kinds of problems, with commas, that make the exit code 1; any; none "
        "(label-conflict,leak,unreadable)",
    )  # fmt: skip
    add("--all", action="store_true", default=False, help="name every file, not three of each kind")
    add("--json", action="store_true", default=False, help="print one JSON object")


def audit(options: Options) -> int:
    """Print what was found; the exit code is 1 if a problem of the kinds asked for is among it."""
    from tlkit.data.audit import FAIL_ON
    from tlkit.data.audit import audit as audited

    report = audited(dataset(options))
    code = report.exit_code(getattr(options, "fail_on", FAIL_ON))
    print(report.to_json() if options.json else report.to_text(None if options.all else 3))
    return code


def add_backbones(commands: Commands) -> None:
    """Declare `tlkit backbones`."""
    command(commands, backbones, "List the networks that `train --backbone` knows.")


def backbones(_options: Options) -> int:
    """Print the catalogue."""
    from tlkit.backbones.adapter import BackboneAdapter
    from tlkit.backbones.catalogue import architecture_of

    rows = []
    for name in BackboneAdapter.available():
        known = architecture_of(name)
        sizes = str(known.default_size), str(known.minimum_size)
        rows.append((name, *sizes, ", ".join(known.options)))
    print_table(("name", "default_size", "minimum_size", "options"), rows)
    return 0
