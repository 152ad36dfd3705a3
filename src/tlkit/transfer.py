"""From a folder to a classifier: the whole flow, one stage after the other."""

from __future__ import annotations

import dataclasses
import platform
import time
import warnings
from dataclasses import dataclass
from importlib.metadata import version
from typing import Self, final

import numpy as np

from tlkit._version import __version__
from tlkit.artifact import Record
from tlkit.auditing import KINDS, AuditReport
from tlkit.augmentation import AugmentationPolicy
from tlkit.backbone import BackboneAdapter
from tlkit.checkpoint import Keeper, fingerprint
from tlkit.classifier import PathLike, TransferClassifier
from tlkit.dataset import DatasetSpec, Listing
from tlkit.errors import AuditWarning, DatasetError, SettingError, printable
from tlkit.evaluate import Evaluation, evaluate
from tlkit.features import FrozenPart, listing_facts
from tlkit.finetune import TrainingData
from tlkit.head import class_weights
from tlkit.history import History
from tlkit.logistic import sigmoid
from tlkit.parts import split_known
from tlkit.passes import Originals
from tlkit.reading import warn_of_bad_files
from tlkit.rows import Positions
from tlkit.schedule import ExactHead, FineTuneSchedule, GradientHead
from tlkit.scores import Scores
from tlkit.spec import Json, Spec, check_int
from tlkit.split import Split, assign_folds
from tlkit.training import Trained, train

_GRAVE = ("label-conflict", "leak")  # problems that no classifier can make up for

FOLDS = 5
"""Folds inside the training part that choose the head's strength; fewer for very few pictures."""


def transfer_classifier(
    data: PathLike | DatasetSpec,
    *,
    backbone: BackboneAdapter | None = None,
    augmentation: AugmentationPolicy | None = None,
    schedule: FineTuneSchedule | None = None,
    seed: int = 0,
    cache_dir: PathLike | None = None,
    checkpoint_dir: PathLike | None = None,
) -> TransferClassifier:
    """Turn a folder of two kinds of pictures into a classifier.

    Every picture is decoded once and goes through the frozen part of the backbone once, and once more
    for each further view; what is trained works on what came out.

    Args:
        data: A folder with two class folders (or ready-made parts), or a `DatasetSpec`.
        backbone: The pretrained network. None: `BackboneAdapter("MobileNetV2")`, 224 pixels, ImageNet.
        augmentation: How training pictures vary. None: `AugmentationPolicy.standard()` if the schedule
            uses views at all; given beside one that uses none, it is an error.
        schedule: What is trained. None: `FineTuneSchedule.standard()`.
        seed: Of views, orders and dropout, at least 0. The split has its own, in the `DatasetSpec`.
        cache_dir: A folder for what came out of the frozen part, used again when files and settings
            are the same. Many runs may share it, one at a time; delete it to free the space.
        checkpoint_dir: A folder for the state of this one run: the same call goes on where a killed
            one stopped, and ends with the same classifier. Delete it when the run is done.

    Returns:
        The classifier, with its evaluation on the validation part.

    Raises:
        SettingError: An argument is outside what it may be.
        DatasetError: The folder is not two classes of pictures, or has too few for its split.
        ImageError: A file cannot be read, and the spec says `on_bad_file="raise"`.
        WeightsError: The pretrained weights cannot be had.

    Examples:
        >>> classifier = transfer_classifier("alpacas/")  # doctest: +SKIP
        >>> print(classifier.evaluation)  # doctest: +SKIP
        accuracy 0.95 (95 % CI 0.87–0.98) on 65 validation pictures
    """
    started = time.perf_counter()
    settings = _Settings.resolve(data, backbone, augmentation, schedule, seed)
    spec, schedule = settings.dataset, settings.schedule
    listing = spec.listing()
    keeper = Keeper.open(settings.claim(listing), cache_dir, checkpoint_dir)
    frozen = FrozenPart(settings.backbone, schedule, settings.augmentation, settings.seed, keeper)

    originals = frozen.read(listing.examples, stop_at_bad_file=spec.on_bad_file == "raise")
    warn_of_bad_files(originals.bad_files)
    read = time.perf_counter()

    found, groups, split = split_known(
        spec, listing, originals.readable, originals.facts, originals.bad_files
    )
    _warn_of_leaks(found)
    if not len(split.validation):
        raise SettingError(
            "`validation_fraction` must be above 0: the classifier is measured on the validation part"
        )
    learned = _learned_from(listing, groups, split, settings)
    trained = train(frozen, originals, learned, schedule, keeper)
    seconds = {"reading": read - started, "training": time.perf_counter() - read}

    history = History(phases=trained.phases, kept=trained.kept, seconds=seconds)
    record = _record(
        settings, listing, originals, found, split, trained, history, frozen.engine_name
    )
    return TransferClassifier(trained.model, record)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class _Settings:
    """What the run was asked to do, every default filled in."""

    dataset: DatasetSpec
    backbone: BackboneAdapter
    augmentation: AugmentationPolicy
    schedule: FineTuneSchedule
    seed: int

    @classmethod
    def resolve(
        cls,
        data: PathLike | DatasetSpec,
        backbone: BackboneAdapter | None,
        augmentation: AugmentationPolicy | None,
        schedule: FineTuneSchedule | None,
        seed: int,
    ) -> Self:
        for name, value, kind in (
            ("backbone", backbone, BackboneAdapter),
            ("augmentation", augmentation, AugmentationPolicy),
            ("schedule", schedule, FineTuneSchedule),
        ):
            if not isinstance(value, kind | None):
                raise SettingError(_wrong_piece(name, value, kind))
        schedule = schedule or FineTuneSchedule.standard()
        if augmentation and not augmentation.is_identity and not schedule.uses_views:
            raise SettingError(
                "`augmentation` makes views of the training pictures, but this `schedule` uses none "
                f"({schedule}): leave it out, or choose a schedule with views, such as "
                "FineTuneSchedule.standard()"
            )
        return cls(
            dataset=data if isinstance(data, DatasetSpec) else DatasetSpec(data),
            backbone=backbone or BackboneAdapter("MobileNetV2"),
            augmentation=augmentation or AugmentationPolicy.standard(),
            schedule=schedule,
            seed=check_int("seed", seed, at_least=0),
        )

    def written(self, listing: Listing) -> dict[str, dict[str, Json]]:
        """Return every spec as plain JSON values, as far as it can be written down."""
        dataset = self.dataset
        if callable(dataset.group_by):  # a function is kept as what it said
            names = [example.name for example in listing.examples]
            groups = dict(zip(names, listing.groups(dataset.group_by), strict=True))
            dataset = dataclasses.replace(dataset, group_by=groups)
        return {
            "dataset": _config(dataset),
            "backbone": _config(self.backbone),
            "augmentation": _config(self.augmentation),
            "schedule": _config(self.schedule),
        }

    def claim(self, listing: Listing) -> dict[str, Json]:
        """Return what must be the same for a checkpoint to be of the same run."""
        return {
            **self.written(listing),
            "seed": self.seed,
            "weights and network": self.backbone.fingerprint(),
            "files": listing_facts(listing.examples),
            **_versions(),
        }


def _wrong_piece(name: str, value: object, kind: type) -> str:
    example = {
        "backbone": f"BackboneAdapter({value!r})"
        if isinstance(value, str)
        else "BackboneAdapter(model)",
        "augmentation": "AugmentationPolicy.standard()",
        "schedule": "FineTuneSchedule.standard()",
    }[name]
    return f"`{name}` must be a {kind.__name__}, such as {example}, got {value!r}"


def _config(spec: Spec) -> dict[str, Json]:
    try:
        return spec.to_config()
    except SettingError:  # a model or layers of the user's own
        return {"description": repr(spec)}


def _versions() -> dict[str, str]:
    found = {name: version(name) for name in ("keras", "tensorflow", "numpy", "pillow")}
    return {"tlkit": __version__, "python": platform.python_version(), **found}


def _warn_of_leaks(found: AuditReport) -> None:
    """Say aloud what makes figures wrong, whatever the classifier does."""
    grave = [f"{found.totals[k]} {k} ({KINDS[k]})" for k in _GRAVE if k in found.totals]
    if grave:
        named = "\n".join(f"  {problem}" for k in _GRAVE for problem in found.of_kind(k)[:3])
        warnings.warn(
            f"{printable(found.directory)} has {' and '.join(grave)}. `tlkit audit` names them all; "
            f"the first:\n{named}",
            AuditWarning,
            stacklevel=3,
        )


def _learned_from(
    listing: Listing, groups: list[str], split: Split, settings: _Settings
) -> TrainingData:
    labels = listing.labels.astype(np.int64)
    weights = np.zeros(len(labels))
    weights[split.train] = class_weights(labels[split.train], settings.schedule.class_weight)
    return TrainingData(
        labels=labels.astype(np.float64),
        weights=weights,
        train=split.train,
        validation=split.validation,
        folds=_folds(labels, groups, split.train, settings),
        batch_size=settings.schedule.batch_size,
        seed=settings.seed,
    )


def _folds(
    labels: Positions, groups: list[str], train: Positions, settings: _Settings
) -> Positions | None:
    """Return the folds that choose the head's strength, where it has to be chosen."""
    head = settings.schedule.head
    if not isinstance(head, ExactHead) or head.l2 is not None:
        return None
    known, keys = labels[train], [groups[position] for position in train]
    counts = [len({k for k, y in zip(keys, known, strict=True) if y == label}) for label in (0, 1)]
    if min(counts) < 2:
        raise DatasetError(
            "at least 2 different pictures of each class must be left for training, so that the head's "
            f"strength can be chosen; there are {min(counts)} of one. Near-duplicates and groups count "
            "once. Add pictures, or give the strength: FineTuneSchedule(head=ExactHead(l2=0.01))"
        )
    return assign_folds(known, keys, count=min(FOLDS, *counts), seed=settings.seed)


def _record(
    settings: _Settings,
    listing: Listing,
    originals: Originals,
    found: AuditReport,
    split: Split,
    trained: Trained,
    history: History,
    engine: str,
) -> Record:
    def names(positions: Positions) -> tuple[str, ...]:
        return tuple(listing.examples[position].name for position in positions)

    chooses = bool(settings.schedule.phases) or isinstance(settings.schedule.head, GradientHead)
    chosen = ("which epoch and phase to keep",) if chooses else ()
    scores: dict[str, Scores] = {}
    evaluations: dict[str, Evaluation] = {}
    for part, positions in (("validation", split.validation), ("test", split.test)):
        if not len(positions):
            continue
        logits, labels = trained.logits(positions), listing.labels[positions]
        scores[part] = Scores(
            names=names(positions), labels=tuple(labels.tolist()), logits=tuple(logits.tolist())
        )
        evaluations[part] = evaluate(
            labels,
            sigmoid(logits),
            class_names=listing.class_names,
            positive_class=listing.positive_class,
            part=part,
            untrained=trained.untrained if part == "validation" else None,
            used_to_choose=chosen if part == "validation" else (),
        )
    written = settings.written(listing)
    return Record(
        class_names=listing.class_names,
        positive_class=listing.positive_class,
        threshold=0.5,
        image_size=settings.backbone.image_size,
        dataset=written["dataset"],
        backbone=written["backbone"],
        augmentation=written["augmentation"] if settings.schedule.uses_views else None,
        schedule=written["schedule"],
        seed=settings.seed,
        engine=engine,
        fingerprint=fingerprint(*(facts.digest for facts in originals.facts)),
        training_names=names(split.train),
        bad_files=originals.bad_files,
        audit=found.shortened(),
        history=history,
        evaluation=evaluations["validation"],
        test_evaluation=evaluations.get("test"),
        scores=scores,
        versions=_versions(),
    )
