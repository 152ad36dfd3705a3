"""`tlkit train`: a folder becomes a saved classifier."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tlkit import words
from tlkit.commands.shared import (
    Commands,
    Options,
    add_threshold,
    command,
    given,
    quoted,
    start_tensorflow,
)
from tlkit.errors import TlkitError

if TYPE_CHECKING:
    from tlkit.augmentation import AugmentationPolicy
    from tlkit.backbone import BackboneAdapter
    from tlkit.dataset import DatasetSpec


def add_train(commands: Commands) -> None:
    """Declare `tlkit train`."""
    parser = command(commands, train, "Turn a folder of two kinds of pictures into a classifier.")
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
    add_threshold(parser)
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
    start_tensorflow()
    from tlkit.schedule import FineTuneSchedule
    from tlkit.transfer import transfer_classifier

    classifier = transfer_classifier(
        spec,
        backbone=backbone,
        augmentation=_augmentation(options),
        schedule=getattr(FineTuneSchedule, options.schedule.replace("-", "_"))(),
        seed=options.seed,
        **given(options, "cache_dir", "checkpoint_dir", "folds"),
    )
    name = quoted(options.output)
    if hasattr(options, "threshold"):
        try:
            classifier = classifier.with_threshold(options.threshold)
        except TlkitError:  # training may have taken hours
            classifier.save(options.output)
            print(f"saved: {name} with threshold {classifier.threshold}, not the one asked for")
            raise
    classifier.save(options.output)
    reason = "that needs --folds" if classifier.out_of_fold is None else "they mean nothing"
    found = (
        classifier.evaluation,
        classifier.test_evaluation,
        classifier.cross_validation,
        classifier.record.threshold_choice,
        classifier.calibration or f"probabilities are not calibrated: {reason}",
        classifier.history,
    )
    for part in filter(None, found):
        print(f"\n{part}")
    print(
        f"\nsaved: {name} ({options.output.stat().st_size / 1e6:.1f} MB, opens with plain Keras too)"
    )
    print(f"next:  tlkit predict {name} PICTURE-OR-FOLDER...")
    print(f"       tlkit evaluate {name} ANOTHER-FOLDER")
    print(f"       tlkit report {name} -o report.html")
    return 0


def _dataset(options: Options) -> DatasetSpec:
    from tlkit.dataset import DatasetSpec

    names = (
        "positive_class", "classes", "validation_fraction", "test_fraction", "group_by", "on_bad_file"
    )  # fmt: skip
    values = {"seed": options.seed, **given(options, *names)}
    if hasattr(options, "split_seed"):
        values["seed"] = options.split_seed
    return DatasetSpec(options.directory, **values)


def _backbone(options: Options) -> BackboneAdapter:
    from tlkit.backbone import BackboneAdapter

    values = {**given(options, "image_size", "weights"), **dict(options.options)}
    return BackboneAdapter(options.backbone, **values)


def _augmentation(options: Options) -> AugmentationPolicy | None:
    from tlkit.augmentation import AugmentationPolicy

    name = getattr(options, "augmentation", None)
    return getattr(AugmentationPolicy, name)() if name else None
