"""How long until something happens: import, help, a saved classifier's first answer, a second run?

    python benchmarks/startup.py --data DIR --weights DIR [--alpha 1.0] [--size 224] [--other SRC]
        [--whole | --predict]

Each run is a process of its own; `seconds` is its time after imports, `process seconds` all of it, `core
seconds` what it computed. `tlkit predict` is asked about one photograph: with the saved classifier, with
exported folders, and, for comparison, with the saved classifier by another tlkit, whose `src` folder is
`--other`. The table of whole processes puts the first run, from starting Python to its end, beside `import
tensorflow, keras` and beside the sum of that and the same call after imports: decoding goes on while
TensorFlow is loaded. `--whole` measures this table alone, `--predict` that of `tlkit predict`. The last
table is of a whole folder, once the network is loaded and has seen the folder before: `predict_folder`
beside the loop that Keras's users write.
"""

from __future__ import annotations

import argparse
import json
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from measuring import (
    Figures,
    Runs,
    arguments,
    interleaved,
    mobilenet,
    process,
    shared_arguments,
    table,
    timed,
    write_json,
)

from tlkit import DatasetSpec, FineTuneSchedule, TransferClassifier, transfer_classifier


def train(options: argparse.Namespace) -> TransferClassifier:
    return transfer_classifier(
        options.data,
        backbone=mobilenet(options),
        schedule=FineTuneSchedule.head_only(),
        cache_dir=options.place / "cache",
    )


def train_and_save(options: argparse.Namespace) -> None:
    train(options).save(saved(options))


def load_and_predict(options: argparse.Namespace) -> None:
    first = DatasetSpec(options.data).listing().examples[0]
    TransferClassifier.load(saved(options)).predict(first.path)


def tlkit_folder(options: argparse.Namespace) -> Figures:
    classifier = TransferClassifier.load(saved(options))
    return throughput(lambda: classifier.predict_folder(options.data), options)


def keras_folder(options: argparse.Namespace) -> Figures:
    import keras

    model = keras.saving.load_model(saved(options))

    def predict() -> None:
        images = keras.utils.image_dataset_from_directory(
            options.data, labels=None, shuffle=False, image_size=(options.size, options.size)
        )
        model.predict(images, verbose=0)

    return throughput(predict, options)


def throughput(predict: Callable[[], object], options: argparse.Namespace) -> Figures:
    predict()  # traces the graph
    figures = timed(predict)()
    count = len(DatasetSpec(options.data).listing().examples)
    return {**figures, "images/s": count / figures["seconds"]}


def saved(options: argparse.Namespace) -> Path:
    place: Path = options.place
    return place / "classifier.keras"


def first_run(options: argparse.Namespace) -> Figures:
    """Keep nothing and save nothing: what a script of three lines waits for."""
    settings = {"backbone": mobilenet(options), "schedule": FineTuneSchedule.head_only()}
    return timed(lambda: transfer_classifier(options.data, **settings))()


FIRST = "first run"
WHOLE, AFTER = "python, first run, exit", "first run after imports"
IMPORTS = "import tensorflow, keras"
SUM = "imports + run after them"
SAVED = "predict, .keras"
CASES: dict[str, Callable[[argparse.Namespace], Figures]] = {
    FIRST: lambda options: timed(lambda: train_and_save(options))(),
    "second run, cache_dir=": lambda options: timed(lambda: train(options))(),
    "load() + one prediction": lambda options: timed(lambda: load_and_predict(options))(),
    "Keras's loop": keras_folder,
    "predict_folder()": tlkit_folder,
    WHOLE: first_run,
    AFTER: first_run,
}


def shell(options: argparse.Namespace, place: Path) -> dict[str, Callable[[], Figures]]:
    """Return `tlkit predict` of one photograph, with the classifier that was saved and with its exports."""
    command = Path(sysconfig.get_path("scripts"), "tlkit")
    photo = DatasetSpec(options.data).listing().examples[0].path
    model = place / "classifier.keras"
    for name in ("onnx", "litert"):
        process(command, "export", model, "-o", place / name, "--format", name)
    sides = {
        SAVED: partial(process, command, "predict", model, photo),
        "predict, ONNX folder": partial(process, command, "predict", place / "onnx", photo),
        "predict, LiteRT folder": partial(process, command, "predict", place / "litert", photo),
    }
    if options.other:
        other = ("env", f"PYTHONPATH={options.other}", command)
        sides["predict, .keras, --other"] = partial(process, *other, "predict", model, photo)
    return sides


def be(options: argparse.Namespace) -> None:
    """Be the process of one case."""
    if options.case != WHOLE:
        import keras  # noqa: F401 - not counted

    print(json.dumps(CASES[options.case](options)))


def run(options: argparse.Namespace, place: Path, case: str) -> Figures:
    settings = ["--data", options.data, *shared_arguments(options), "--place", place]
    return process(sys.executable, __file__, *settings, "--case", case)


def main() -> None:
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--other", type=Path, help="the folder `src` of another tlkit")
    alone = parser.add_mutually_exclusive_group()
    alone.add_argument("--whole", action="store_true", help="the table of whole processes alone")
    alone.add_argument("--predict", action="store_true", help="the table of `tlkit predict` alone")
    parser.add_argument("--place", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--case", choices=CASES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        be(options)
        return
    print(f"MobileNetV2 alpha {options.alpha}, {options.size} px, {time.strftime('%F')}")
    if options.whole:
        with tempfile.TemporaryDirectory(prefix="tlkit-startup-") as folder:
            sides = {case: partial(run, options, Path(folder), case) for case in (WHOLE, AFTER)}
            sides[IMPORTS] = partial(process, sys.executable, "-c", IMPORTS)
            interleaved({WHOLE: sides[WHOLE]}, 1)  # writes what is kept of compiled modules
            processes = whole_processes(interleaved(sides, options.repeats))
        table(processes, "process seconds", baseline=SUM)
        write_json(options, {"runs": processes})
        return
    if options.predict:
        with tempfile.TemporaryDirectory(prefix="tlkit-startup-") as folder:
            interleaved({FIRST: partial(run, options, Path(folder), FIRST)}, 1)
            sides = shell(options, Path(folder))
            interleaved(sides, 1)  # writes what is kept of compiled modules
            predictions = interleaved(sides, options.repeats)
        show_predictions(predictions)
        write_json(options, {"runs": predictions})
        return
    command = Path(sysconfig.get_path("scripts"), "tlkit")
    free = {
        "python": partial(process, sys.executable, "-c", ""),
        "import tlkit": partial(process, sys.executable, "-c", "import tlkit"),
        "tlkit --help": partial(process, command, "--help"),
    }
    interleaved(free, 1)  # writes what Python keeps of compiled modules
    runs = interleaved(free, options.repeats)
    table(runs, "process seconds", baseline="python")
    with tempfile.TemporaryDirectory(prefix="tlkit-startup-") as folder:
        cases = {case: partial(run, options, Path(folder), case) for case in CASES}
        runs |= interleaved({FIRST: cases.pop(FIRST)}, 1)
        cases[IMPORTS] = partial(process, sys.executable, "-c", IMPORTS)
        runs |= interleaved(cases, options.repeats)
        predictions = interleaved(shell(options, Path(folder)), options.repeats)
    show_predictions(predictions)
    folders = {case: runs.pop(case) for case in ("Keras's loop", "predict_folder()")}
    processes = whole_processes(runs)
    waits = {case: runs[case] for case in CASES if case in runs}
    for figure in ("seconds", "process seconds", "peak MiB"):
        table(waits, figure, baseline=FIRST)
    table(processes, "process seconds", baseline=SUM)
    for figure in ("seconds", "images/s", "peak MiB"):
        table(folders, figure, baseline="Keras's loop")
    write_json(options, {"runs": runs | folders | processes | predictions})


def show_predictions(predictions: Runs) -> None:
    for figure in ("process seconds", "core seconds", "peak MiB"):
        table(predictions, figure, baseline=SAVED)


def whole_processes(runs: Runs) -> Runs:
    """Take the sides of the table of whole processes out of the runs, and add up what could not overlap."""
    imports, after = runs.pop(IMPORTS), runs.pop(AFTER)
    name = "process seconds"
    return {
        SUM: [
            {name: one[name] + other["seconds"]} for one, other in zip(imports, after, strict=True)
        ],
        IMPORTS: imports,
        WHOLE: runs.pop(WHOLE),
    }


if __name__ == "__main__":
    main()
