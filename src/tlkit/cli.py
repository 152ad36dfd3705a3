"""The command line: parse, call, print. Nothing heavy is imported before a command needs it.

Exit codes: 0 when the job is done, 1 after an error or when `predict` met a file that it cannot read, 2 for a
wrong command line, 130 after Ctrl-C, 141 when the reader of the output went away. For `audit`, 1 says that
problems were found, and 2 that it could not look.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import tlkit
from tlkit import words
from tlkit.errors import ArtifactError, TlkitError, TlkitWarning, printable
from tlkit.tables import Cell, as_json, print_table, write_csv

if TYPE_CHECKING:
    from tlkit.augmentation import AugmentationPolicy
    from tlkit.backbone import BackboneAdapter
    from tlkit.classifier import Prediction, TransferClassifier
    from tlkit.dataset import DatasetSpec
    from tlkit.images import BadFile

Options: TypeAlias = argparse.Namespace
Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001 - no public name

INTERRUPTED, BROKEN_PIPE = 130, 141  # what a shell says of a command that a signal ended
PREDICTION_COLUMNS = ("path", "label", "probability", "positive_class", "error")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: What follows `tlkit` on the command line. None: what this process was given.

    Returns:
        The exit code.

    Raises:
        SystemExit: From argparse: after `--help` and `--version`, and for a wrong command line.
    """
    _never_fail_to_print()
    failure = 1
    try:
        with _plain_warnings():
            options = _parser().parse_args(argv)
            failure = options.failure
            code: int = options.run(options)
            if sys.stdout is not None:  # as it is without a console
                sys.stdout.flush()
            return code
    except TlkitError as error:
        print(f"error: {error}", file=sys.stderr)
        return failure
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        _let_go_of_stdout()
        return BROKEN_PIPE
    except OSError as error:
        _let_go_of_stdout()
        print(f"error: {error}", file=sys.stderr)
        return failure


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tlkit",
        description="A folder of two kinds of pictures becomes a classifier you can trust.",
    )
    parser.add_argument("--version", action="version", version=f"tlkit {tlkit.__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for add in (_add_audit, _add_train, _add_evaluate, _add_predict, _add_backbones):
        add(commands)
    return parser


def _command(
    commands: Commands, run: Callable[[Options], int], about: str, *, failure: int = 1
) -> argparse.ArgumentParser:
    """Add a command; what is not given is absent from its options, so that the specs' defaults hold."""
    parser = commands.add_parser(
        run.__name__, help=about, description=about, argument_default=argparse.SUPPRESS
    )
    parser.set_defaults(run=run, failure=failure)
    return parser


# train


def _add_train(commands: Commands) -> None:
    parser = _command(commands, train, "Turn a folder of two kinds of pictures into a classifier.")
    add = parser.add_argument
    add("directory", metavar="DIR", help="two class folders; or train/, validation/ … with them")
    add(
        "-o", "--output", metavar="MODEL", type=words.target(".keras"), required=True,
        help="where the classifier goes: a file that ends in .keras; one that is there is replaced",
    )  # fmt: skip
    add = parser.add_argument_group("pictures").add_argument
    add("--positive-class", metavar="CLASS", help="the class that probabilities are of")
    add("--classes", metavar="CLASS", nargs=2, help="the two class folders, where there are others")
    add("--validation-fraction", metavar="F", type=float, help="share for validation (0.2)")
    add("--test-fraction", metavar="F", type=float, help="share for a last test (0)")
    add("--group-by", metavar="REGEX", help="pictures whose names match alike stay in one part")
    add(
        "--on-bad-file",
        choices=("skip", "raise"),
        help="leave out what cannot be read (skip), or stop",
    )
    add = parser.add_argument_group("network").add_argument
    add(
        "--backbone",
        metavar="NAME",
        default="MobileNetV2",
        help="see `tlkit backbones` (MobileNetV2)",
    )
    add(
        "--image-size",
        metavar="N|HxW",
        type=words.image_size,
        help="pixels, such as 160 or 160x224",
    )
    add(
        "--weights",
        metavar="imagenet|none|PATH",
        type=words.weights,
        help="where training starts (imagenet)",
    )
    add(
        "--option", metavar="NAME=VALUE", dest="options", action="append", type=words.option, default=[],
        help="how the network is built, such as alpha=0.35; may be repeated",
    )  # fmt: skip
    add = parser.add_argument_group("training").add_argument
    schedules = ("head-only", "standard", "course", "gradual")
    add("--schedule", choices=schedules, default="standard", help="what is trained (standard)")
    policies = ("none", "course", "standard", "strong")
    add("--augmentation", choices=policies, help="how training pictures vary (standard)")
    add("--seed", metavar="N", type=int, default=0, help="of the split and of training (0)")
    add("--split-seed", metavar="N", type=int, help="of the split, where it should differ")
    about = "judge every picture, fold by fold, by a classifier that has not learned from it"
    add("--folds", metavar="K", type=int, help=about)
    _add_threshold(parser)
    add("--cache-dir", metavar="DIR", help="keep the frozen network's output for other runs")
    add(
        "--checkpoint-dir", "--resume", metavar="DIR",
        help="keep this run's state there; the same command goes on where a killed one stopped",
    )  # fmt: skip


def train(options: Options) -> int:
    """Train, save, then say how good it is."""
    spec, backbone = _dataset(options), _backbone(options)
    listing = spec.listing()
    print(listing, flush=True)
    _start_tensorflow()
    from tlkit.schedule import FineTuneSchedule
    from tlkit.transfer import transfer_classifier

    classifier = transfer_classifier(
        spec,
        backbone=backbone,
        augmentation=_augmentation(options),
        schedule=getattr(FineTuneSchedule, options.schedule.replace("-", "_"))(),
        seed=options.seed,
        **_given(options, "cache_dir", "checkpoint_dir", "folds"),
    )
    if hasattr(options, "threshold"):
        classifier = classifier.with_threshold(options.threshold)
    classifier.save(options.output)
    found = (
        classifier.evaluation,
        classifier.test_evaluation,
        classifier.cross_validation,
        classifier.record.threshold_choice,
        classifier.calibration or "probabilities are not calibrated: that needs --folds",
        classifier.history,
    )
    for part in filter(None, found):
        print(f"\n{part}")
    name = _quoted(options.output)
    print(
        f"\nsaved: {name} ({options.output.stat().st_size / 1e6:.1f} MB, opens with plain Keras too)"
    )
    print(f"next:  tlkit predict {name} PICTURE-OR-FOLDER...")
    print(f"       tlkit evaluate {name} ANOTHER-FOLDER")
    return 0


def _dataset(options: Options) -> DatasetSpec:
    from tlkit.dataset import DatasetSpec

    names = (
        "positive_class", "classes", "validation_fraction", "test_fraction", "group_by", "on_bad_file"
    )  # fmt: skip
    values = {"seed": options.seed, **_given(options, *names)}
    if hasattr(options, "split_seed"):
        values["seed"] = options.split_seed
    return DatasetSpec(options.directory, **values)


def _backbone(options: Options) -> BackboneAdapter:
    from tlkit.backbone import BackboneAdapter

    values = {**_given(options, "image_size", "weights"), **dict(options.options)}
    return BackboneAdapter(options.backbone, **values)


def _augmentation(options: Options) -> AugmentationPolicy | None:
    from tlkit.augmentation import AugmentationPolicy

    name = getattr(options, "augmentation", None)
    return getattr(AugmentationPolicy, name)() if name else None


# evaluate


def _add_evaluate(commands: Commands) -> None:
    parser = _command(
        commands, evaluate, "Measure a classifier on a folder of the same two classes."
    )
    add = parser.add_argument
    add("model", metavar="MODEL", help="what `tlkit train` saved")
    add("directory", metavar="DIR", help="two class folders; or train/, validation/ … with them")
    about = "only this part of such a folder"
    add("--part", metavar="train|validation|test", type=words.part, help=about)
    _add_threshold(parser)
    add("--json", action="store_true", default=False, help="print one JSON object")


def evaluate(options: Options) -> int:
    """Print an evaluation; files that cannot be read are left out with a warning."""
    classifier = _load(options)
    evaluation = classifier.evaluate(options.directory, part=getattr(options, "part", None))
    print(as_json(evaluation.to_config()) if options.json else evaluation)
    return 0


# audit


def _add_audit(commands: Commands) -> None:
    parser = _command(
        commands, audit, "Say what is wrong with a folder of pictures; change nothing.", failure=2
    )
    add = parser.add_argument
    add("directory", metavar="DIR", help="two class folders; or train/, validation/ … with them")
    add("--classes", metavar="CLASS", nargs=2, help="the two class folders, where there are others")
    add(
        "--fail-on", metavar="KINDS", type=words.kinds,
        help="kinds of problems, with commas, that make the exit code 1; any; none "
        "(label-conflict,leak,unreadable)",
    )  # fmt: skip
    add("--all", action="store_true", default=False, help="name every file, not three of each kind")
    add("--json", action="store_true", default=False, help="print one JSON object")


def audit(options: Options) -> int:
    """Print what was found; the exit code is 1 if a problem of the kinds asked for is among it."""
    from tlkit.auditing import FAIL_ON
    from tlkit.auditing import audit as audited
    from tlkit.dataset import DatasetSpec

    report = audited(DatasetSpec(options.directory, classes=getattr(options, "classes", None)))
    code = report.exit_code(getattr(options, "fail_on", FAIL_ON))
    print(report.to_json() if options.json else report.to_text(None if options.all else 3))
    return code


# predict


def _add_predict(commands: Commands) -> None:
    parser = _command(commands, predict, "Say what is on pictures.")
    add = parser.add_argument
    add("model", metavar="MODEL", help="what `tlkit train` saved")
    about = "picture files, and folders of them"
    add("paths", metavar="PATH", nargs="+", type=words.not_empty, help=about)
    _add_threshold(parser)
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
    outcomes = _load(options).predict(paths, on_bad_file="collect")
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


# backbones


def _add_backbones(commands: Commands) -> None:
    _command(commands, backbones, "List the networks that `train --backbone` knows.")


def backbones(_options: Options) -> int:
    """Print the catalogue."""
    from tlkit.backbone import BackboneAdapter
    from tlkit.backbone.catalogue import architecture_of

    rows = []
    for name in BackboneAdapter.available():
        known = architecture_of(name)
        sizes = str(known.default_size), str(known.minimum_size)
        rows.append((name, *sizes, ", ".join(known.options)))
    print_table(("name", "default_size", "minimum_size", "options"), rows)
    return 0


# What the commands share


def _add_threshold(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--threshold", metavar="P|GOAL", type=words.threshold,
        help="from this probability on a picture is called positive; or what that should be good for: f1, "
        "youden, precision=0.95, recall=0.9, cost=1:5",
    )  # fmt: skip


def _given(options: Options, *names: str) -> dict[str, Any]:
    return {name: getattr(options, name) for name in names if hasattr(options, name)}


def _load(options: Options) -> TransferClassifier:
    if not Path(options.model).is_file():  # before the seconds that TensorFlow takes
        raise ArtifactError(
            f"there is no file {printable(options.model)}: give what `tlkit train` saved"
        )
    _start_tensorflow()
    from tlkit.classifier import TransferClassifier

    classifier = TransferClassifier.load(options.model)
    if hasattr(options, "threshold"):
        classifier = classifier.with_threshold(options.threshold)
    return classifier


def _start_tensorflow() -> None:
    from tlkit.quiet import start_tensorflow

    start_tensorflow()


def _quoted(path: Path) -> str:
    import shlex

    return shlex.quote(printable(path))


def _never_fail_to_print() -> None:
    """Escape what the terminal's encoding lacks, instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _let_go_of_stdout() -> None:
    """Send to nowhere what stdout did not take: Python tries once more when it ends."""
    if sys.stdout is None:
        return
    try:
        sys.stdout.flush()
    except OSError:
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextlib.contextmanager
def _plain_warnings() -> Iterator[None]:
    """Show tlkit's warnings, every one of them, as text for people; leave others as they are."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", TlkitWarning)
        usual = warnings.showwarning

        def show(
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            *rest: object,
        ) -> None:
            if issubclass(category, TlkitWarning):
                print(f"warning: {message}", file=sys.stderr)
            else:
                usual(message, category, filename, lineno, *rest)  # type: ignore[arg-type]

        warnings.showwarning = show  # type: ignore[assignment]
        yield
