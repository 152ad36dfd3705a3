"""`tlkit export`: a saved classifier as a file for other programs."""

from __future__ import annotations

import argparse

from tlkit import words
from tlkit.commands.shared import Commands, Options, command, given, load
from tlkit.errors import TlkitError
from tlkit.tables import as_json


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
    about = "pictures to compare on; without it the folder that it was trained on"
    add("--data", metavar="DIR", type=words.not_empty, help=about)
    about = "how much accuracy may fall, or log-loss rise, where it is not float32 (0.05)"
    add("--tolerance", metavar="F", type=float, help=about)
    add("--json", action="store_true", default=False, help="print one JSON object")


def export(options: Options) -> int:
    """Write it, then say how far it is from the classifier."""
    from tlkit.exporting import export as exported
    from tlkit.exporting.formats import find_format

    find_format(options.format, options.precision)  # before the seconds that TensorFlow takes
    found = exported(
        load(options),
        options.output,
        format=options.format,
        precision=options.precision,
        **given(options, "data", "tolerance"),
    )
    print(as_json(found.to_config()) if options.json else f"saved: {found}")
    return 0


def _free_folder(text: str) -> str:
    """Refuse a folder that holds something, before any work."""
    from tlkit.exporting.writing import check_folder

    try:
        check_folder(words.not_empty(text))
    except TlkitError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text
