"""`tlkit train`: a folder becomes a saved classifier."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from tlkit.cli import arguments
from tlkit.cli.shared import (
    DATA_HELP,
    Commands,
    Options,
    add_dataset,
    add_rows,
    add_table,
    add_threshold,
    command,
    dataset,
    decided_as_asked,
    given,
    quoted,
)
from tlkit.errors import SettingError, TlkitError

if TYPE_CHECKING:
    from tlkit.backbones.adapter import BackboneAdapter, ImageSize
    from tlkit.classifier.classifier import TransferClassifier
    from tlkit.data.dataset import DatasetSpec
    from tlkit.images.augmentation import AugmentationPolicy


COURSE_SIZE: Final = 160
"""Height and width of the course assignment's images, in pixels."""


def add_train(commands: Commands) -> None:
    """Declare `tlkit train`."""
    parser = command(commands, train, "Turn two kinds of images into a classifier.")
    add = parser.add_argument
    add("directory", metavar="DIR", help=DATA_HELP)
    add(
        "-o", "--output", metavar="MODEL", type=arguments.target(".keras"), required=True,
        help="where the classifier goes: a file that ends in .keras; one that is there is replaced",
    )  # fmt: skip
    add = parser.add_argument_group("images").add_argument
    add_dataset(add)
    add("--validation-fraction", metavar="F", type=float, help="share for validation (0.2)")
    add("--test-fraction", metavar="F", type=float, help="share for a last test (0)")
    add("--group-by", metavar="REGEX", help="images whose names match alike stay in one part")
    add(
        "--on-bad-file",
        choices=("skip", "raise"),
        help="leave out what cannot be read (skip), or stop",
    )
    add = parser.add_argument_group("columns of a table").add_argument
    add_table(add)
    add_rows(add)
    add = parser.add_argument_group("network").add_argument
    add(
        "--backbone",
        metavar="NAME",
        help="see `tlkit backbones` (MobileNetV2, or EfficientNet-Lite where only that can be had)",
    )
    add(
        "--image-size",
        metavar="N|HxW|fit",
        type=arguments.image_size,
        help="pixels, such as 160 or 160x224; fit: as many as the network is made for, in the shape of the "
        "images (what the network is made for; 160 with the course schedule)",
    )
    add(
        "--resize", choices=("stretch", "pad"),
        help="how images are brought to that size: stretched (stretch), or in their own shape between grey "
        "borders",
    )  # fmt: skip
    add(
        "--weights",
        metavar="imagenet|none|PATH",
        type=arguments.weights,
        help="where training starts (imagenet)",
    )
    add(
        "--option", metavar="NAME=VALUE", dest="options", action="append", type=arguments.option, default=[],
        help="how the network is built, such as alpha=0.35; may be repeated",
    )  # fmt: skip
    add = parser.add_argument_group("training").add_argument
    schedules = ("head-only", "standard", "thorough", "course", "gradual")
    add(
        "--schedule",
        choices=schedules,
        help="what is trained (standard; with --ray head-only); course sets its image size and augmentation "
        "too, where they are not given",
    )
    policies = ("none", "course", "standard", "strong")
    add(
        "--augmentation",
        choices=policies,
        help="how training images vary (standard; course with its schedule)",
    )
    add("--seed", metavar="N", type=int, default=0, help="of the split and of training (0)")
    add("--split-seed", metavar="N", type=int, help="of the split, where it should differ")
    about = "judge every image, fold by fold, by a classifier that has not learned from it"
    add("--folds", metavar="K", type=int, help=about)
    add_threshold(parser)
    about = (
        "keep no features of training images in the file: it then cannot tell what is unlike them"
    )
    add("--no-familiarity", action="store_true", default=False, help=about)
    add("--cache-dir", metavar="DIR", help="keep the frozen network's output for other runs")
    add(
        "--checkpoint-dir", "--resume", metavar="DIR",
        help="keep this run's state there; the same command goes on where a killed one stopped",
    )  # fmt: skip
    add = parser.add_argument_group("on a Ray cluster").add_argument
    add(
        "--ray", metavar="ADDRESS", nargs="?", type=arguments.ray_address,
        help="read the images on a cluster; without an address on a Ray of this machine. DIR may be a URI "
        "such as s3://bucket/alpacas",
    )  # fmt: skip
    add(
        "--features-dir", metavar="DIR",
        help="where the cluster keeps the features, a folder that all machines reach or a URI; the same "
        "command goes on with what is there",
    )  # fmt: skip
    add("--workers", metavar="N", type=int, help="processes on the cluster (one for every 4 CPUs)")


def train(options: Options) -> int:
    """Train, save, then say how good it is."""
    spec, backbone = _dataset(options), _backbone(options)
    train_it = _train_on_ray if hasattr(options, "ray") else _train_here
    classifier = train_it(spec, backbone, options)
    name = quoted(options.output)
    try:
        classifier = decided_as_asked(classifier, options)
    except TlkitError:  # training may have taken hours
        classifier.save(options.output, familiarity=not options.no_familiarity)
        print(f"saved: {name} with threshold {classifier.threshold}, not as it was asked for")
        raise
    classifier.save(options.output, familiarity=not options.no_familiarity)
    reason = "that needs --folds" if classifier.out_of_fold is None else "they mean nothing"
    crossed = classifier.cross_validation
    # Of the same images it says the same, but for what a random head reaches.
    said = replace(classifier.evaluation, random_head_baseline=None)
    shown = crossed is not None and crossed.evaluation == said
    found = (
        classifier.evaluation,
        classifier.test_evaluation,
        crossed.by_fold if crossed and shown else crossed,
        classifier.record.threshold_choice,
        classifier.guarantee,
        classifier.calibration or f"probabilities are not calibrated: {reason}",
        classifier.history,
    )
    for part in filter(None, found):
        print(f"\n{part}")
    print(
        f"\nsaved: {name} ({options.output.stat().st_size / 1e6:.1f} MB, opens with plain Keras too)"
    )
    print(
        f"       fingerprint {classifier.fingerprint}: the same for every run that comes to the same"
    )
    print(f"next:  tlkit predict {name} IMAGE-OR-FOLDER...")
    print(f"       tlkit evaluate {name} ANOTHER-FOLDER")
    print(f"       tlkit report {name} -o report.html")
    return 0


def _train_here(
    spec: DatasetSpec, backbone: BackboneAdapter | None, options: Options
) -> TransferClassifier:
    if wrong := given(options, "features_dir", "workers"):
        options.parser.error(
            f"{_flags(wrong)} {'goes' if len(wrong) == 1 else 'go'} with --ray only"
        )
    from tlkit.training.schedule import FineTuneSchedule
    from tlkit.training.transfer import transfer_classifier

    name = getattr(options, "schedule", "standard")
    schedule = getattr(FineTuneSchedule, name.replace("-", "_"))()
    augmentation = _augmentation(options)
    if augmentation and not augmentation.is_identity and not schedule.uses_views:
        raise SettingError(
            f"`augmentation` makes views of the training images, but this `schedule` ({schedule}) uses none: "
            "leave it out, or choose a schedule with views, such as `schedule` thorough"
        )
    print(spec.listing(), flush=True)
    return transfer_classifier(
        spec,
        backbone=backbone or _default_backbone(options),
        augmentation=augmentation,
        schedule=schedule,
        seed=options.seed,
        **given(options, "cache_dir", "checkpoint_dir", "folds"),
    )


def _train_on_ray(
    spec: DatasetSpec, backbone: BackboneAdapter | None, options: Options
) -> TransferClassifier:
    if getattr(options, "schedule", "head-only") != "head-only":
        options.parser.error(
            f"--ray trains --schedule head-only, got {options.schedule}: a cluster computes features once, "
            "and fine-tuning needs the images again and again on one machine"
        )
    if wrong := given(options, "augmentation", "cache_dir", "checkpoint_dir"):
        options.parser.error(
            f"{_flags(wrong)} cannot be used with --ray: features are kept in --features-dir"
        )
    if not hasattr(options, "features_dir"):
        options.parser.error(
            "--ray needs --features-dir: a folder that all machines reach, or a URI"
        )
    from tlkit import scale

    return scale.transfer_classifier(
        spec,
        backbone=backbone or _default_backbone(options),
        seed=options.seed,
        address=options.ray,
        **given(options, "features_dir", "workers", "folds"),
    )


def _flags(names: Iterable[str]) -> str:
    """Return options as they are typed."""
    return " and ".join(f"--{name.replace('_', '-')}" for name in names)


def _dataset(options: Options) -> DatasetSpec:
    names = ("validation_fraction", "test_fraction", "group_by", "on_bad_file")
    seed = getattr(options, "split_seed", options.seed)
    return dataset(options, seed=seed, **given(options, *names))


def _backbone(options: Options) -> BackboneAdapter | None:
    """Return the network that the options ask for; None if they leave the choice to tlkit."""
    from tlkit.backbones.adapter import BackboneAdapter
    from tlkit.backbones.default import DEFAULT

    asked = {**given(options, "weights"), **dict(options.options)}
    named = BackboneAdapter(
        getattr(options, "backbone", DEFAULT),
        image_size=_image_size(options),
        **given(options, "resize"),
        **asked,
    )
    return named if asked or hasattr(options, "backbone") else None


def _default_backbone(options: Options) -> BackboneAdapter:
    from tlkit.backbones.default import default_backbone

    return default_backbone(_image_size(options), **given(options, "resize"))


def _image_size(options: Options) -> ImageSize | None:
    found: ImageSize | None = getattr(options, "image_size", None)
    return COURSE_SIZE if found is None and _is_course(options) else found


def _is_course(options: Options) -> bool:
    """Say whether the course assignment is asked for: with it go its image size and its augmentation."""
    return getattr(options, "schedule", None) == "course"


def _augmentation(options: Options) -> AugmentationPolicy | None:
    from tlkit.images.augmentation import AugmentationPolicy

    name = getattr(options, "augmentation", "course" if _is_course(options) else None)
    return getattr(AugmentationPolicy, name)() if name else None
