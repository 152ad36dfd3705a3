"""`tlkit export`: a saved classifier as a file for other programs."""

from __future__ import annotations

import argparse

from tlkit.cli import arguments
from tlkit.cli.quiet import held_back
from tlkit.cli.shared import Commands, Options, command, given, load
from tlkit.core.tables import as_json
from tlkit.errors import TlkitError


def add_export(commands: Commands) -> None:
    """Declare `tlkit export`."""
    parser = command(
        commands,
        export,
        "Write a classifier for telephones, ONNX Runtime or TensorFlow, and compare.",
    )
    add = parser.add_argument
    add("model", metavar="MODEL", help="what `tlkit train` saved")
    add(
        "-o", "--output", metavar="FOLDER", type=_free_folder, required=True,
        help="the folder to be made; it holds the model and tlkit.json, which describes it",
    )  # fmt: skip
    add(
        "--format", choices=("litert", "onnx", "saved_model"), default="litert",
        help="what is to run it (litert)",
    )  # fmt: skip
    add(
        "--precision", choices=("float32", "float16", "dynamic-range", "int8"), default="float32",
        help="smaller numbers make smaller files; others than float32 are for litert (float32)",
    )  # fmt: skip
    about = "images to compare on; without it the folder that it was trained on"
    add("--data", metavar="DIR", type=arguments.not_empty, help=about)
    about = "how much accuracy may fall, or log-loss rise, where it is not float32 (0.05)"
    add("--tolerance", metavar="F", type=float, help=about)
    about = "add an output of features, and what tells by them whether an image is unlike the training images"
    add("--familiarity", action="store_true", default=False, help=about)
    add("--json", action="store_true", default=False, help="print one JSON object")


def export(options: Options) -> int:
    """Write it, then say how far it is from the classifier."""
    from tlkit.delivery.export import export as exported
    from tlkit.delivery.export_formats import find_format

    find_format(options.format, options.precision)  # before the seconds that TensorFlow takes
    classifier = load(options)
    with held_back():  # what converters say to their own developers
        found = exported(
            classifier,
            options.output,
            format=options.format,
            precision=options.precision,
            familiarity=options.familiarity,
            **given(options, "data", "tolerance"),
        )
    print(as_json(found.to_config()) if options.json else f"saved: {found}")
    return 0


def _free_folder(text: str) -> str:
    """Refuse a folder that holds something, before any work."""
    from tlkit.delivery.export import check_folder

    try:
        check_folder(arguments.not_empty(text))
    except TlkitError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text
