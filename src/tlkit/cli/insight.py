"""`tlkit explain` and `labels`: what a saved classifier looked at, and which labels it doubts."""

from __future__ import annotations

import sys

from tlkit.cli import arguments
from tlkit.cli.shared import (
    Commands,
    Options,
    add_table_output,
    command,
    given,
    load,
    save_or_print,
)
from tlkit.errors import printable


def add_explain(commands: Commands) -> None:
    """Declare `tlkit explain`."""
    parser = command(commands, explain, "Show where in an image the evidence for a class lies.")
    add = parser.add_argument
    add("model", metavar="MODEL", help="what `tlkit train` saved")
    add("image", metavar="IMAGE", type=arguments.not_empty, help="an image file")
    add(
        "-o", "--output", metavar="MAP", type=arguments.target(".png", ".jpg", ".jpeg"), required=True,
        help="a .png or .jpg file; one that is there is replaced",
    )  # fmt: skip
    about = "the class whose evidence is wanted (the one that is predicted)"
    add("--towards", metavar="CLASS", type=arguments.class_name, help=about)
    add("--strength", metavar="S", type=float, help="how much of the map is seen, 0 to 1 (0.5)")


def explain(options: Options) -> int:
    """Write the heat map over the image."""
    classifier = load(options)
    from tlkit.insight.explain import explain as explained

    seen = explained(classifier, options.image, **given(options, "towards"))
    seen.save(options.output, **given(options, "strength"))
    print(seen.prediction)
    print(f"saved: {printable(options.output)}: light is evidence for '{printable(seen.towards)}'")
    return 0


def add_labels(commands: Commands) -> None:
    """Declare `tlkit labels`."""
    parser = command(commands, labels, "Name the images whose labels a classifier doubts.")
    add = parser.add_argument
    add("model", metavar="MODEL", help="what `tlkit train` saved")
    add_table_output(add)
    about = "all images, the most doubtful first, not only those to look at"
    add("--all", action="store_true", default=False, help=about)


def labels(options: Options) -> int:
    """Print or write one row an image, the most doubtful first."""
    classifier = load(options)
    from tlkit.insight.label_issues import COLUMNS, as_row, find_label_issues

    issues = find_label_issues(classifier)
    doubted = [issue for issue in issues if issue.likely]
    record = classifier.record
    digest_of = dict(zip(record.training_names, record.training_digests, strict=False))
    chosen = issues if options.all else doubted
    rows = [as_row(issue, digest_of.get(issue.name, "")) for issue in chosen]
    print(f"{len(doubted):,} of {len(issues):,} labels are doubted", file=sys.stderr)
    save_or_print(options, COLUMNS, rows, numbers=("probability",))
    return 0
