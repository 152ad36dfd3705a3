"""From a folder to a classifier: the whole flow, one stage after the other."""

from __future__ import annotations

import time
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from tlkit.backbones.adapter import BackboneAdapter
from tlkit.classifier.classifier import PathLike, TransferClassifier
from tlkit.classifier.record import Record
from tlkit.core.fingerprint import fingerprint
from tlkit.core.rows import Indices
from tlkit.core.spec import check_int
from tlkit.core.versions import versions
from tlkit.data.dataset import DatasetSpec, Listing
from tlkit.data.folder_warnings import warn_of_large_clusters, warn_of_problems
from tlkit.data.split import Split
from tlkit.data.split_dataset import split_known
from tlkit.errors import SettingError
from tlkit.evaluation.calibration import fit_calibration
from tlkit.evaluation.evaluate import evaluate
from tlkit.evaluation.history import History
from tlkit.evaluation.scores import OUT_OF_FOLD, CrossValidation, Scores
from tlkit.features.frozen_part import FrozenPart
from tlkit.features.run_folders import RunFolders
from tlkit.images.augmentation import AugmentationPolicy
from tlkit.images.loader import warn_of_bad_files
from tlkit.training.cross_validation import evaluate_folds
from tlkit.training.fit import Trained, calibrated, train
from tlkit.training.schedule import FineTuneSchedule
from tlkit.training.settings import RunSettings, needs_of

Floats: TypeAlias = npt.NDArray[np.float64]
KEPT_SCORES: Final = 20_000
"""Training images, evenly spread, whose out-of-fold logits are saved: enough for thresholds and curves."""


def transfer_classifier(
    data: PathLike | DatasetSpec,
    *,
    backbone: BackboneAdapter | None = None,
    augmentation: AugmentationPolicy | None = None,
    schedule: FineTuneSchedule | None = None,
    seed: int = 0,
    cache_dir: PathLike | None = None,
    checkpoint_dir: PathLike | None = None,
    folds: int | None = None,
) -> TransferClassifier:
    """Turn a folder of two kinds of images into a classifier.

    Every image is decoded once and goes through the frozen part of the backbone once, and once more
    for each further view; what is trained works on what came out. In the scope of a
    `tf.distribute.MirroredStrategy` its devices share what is trained.

    Args:
        data: A folder with two class folders (or ready-made parts), or a `DatasetSpec`.
        backbone: The pretrained network. None: `BackboneAdapter("MobileNetV2")`, 224 pixels, ImageNet.
        augmentation: How training images vary. None: `AugmentationPolicy.standard()` if the schedule
            uses views at all; given beside one that uses none, it is an error.
        schedule: What is trained. None: `FineTuneSchedule.standard()`.
        seed: Of views, orders and dropout, at least 0. The split has its own, in the `DatasetSpec`.
        cache_dir: A folder for what came out of the frozen part, used again when files and settings
            are the same. Many runs may share it, one at a time; delete it to free the space.
        checkpoint_dir: A folder for the state of this one run: the same call goes on where a killed
            one stopped, and ends with the same classifier. Delete it when the run is done.
        folds: Cross-validate the same settings as well, over this many folds, at least 2: every image is
            then judged by a classifier that has not learned from it; a test split stays out of it, so that it
            teaches and chooses nothing. Fine-tuning runs once more for each. The result is in
            `classifier.cross_validation`; a fine-tuned classifier is calibrated by it. None: do not.

    Returns:
        The classifier, with its evaluation on the validation split.

    Raises:
        SettingError: An argument is outside what it may be.
        DatasetError: The folder is not two classes of images, or has too few for its split.
        ImageError: A file cannot be read, and the spec says `on_bad_file="raise"`.
        WeightsError: The pretrained weights cannot be had.

    Examples:
        >>> classifier = transfer_classifier("alpacas/")  # doctest: +SKIP
        >>> print(classifier.evaluation)  # doctest: +SKIP
        accuracy 0.95 (95 % CI 0.87–0.98) on 65 validation images
    """
    if folds is not None:
        check_int("folds", folds, at_least=2)
    settings = RunSettings.resolve(data, backbone, augmentation, schedule, seed)
    listing = settings.dataset.listing()
    run_folders = RunFolders.open(settings.manifest(listing), cache_dir, checkpoint_dir)
    frozen = FrozenPart(
        settings.backbone,
        needs_of(settings.schedule),
        settings.augmentation,
        settings.seed,
        run_folders,
        value_range=settings.dataset.value_range,
    )
    return learn(settings, listing, frozen, run_folders, folds=folds)


def learn(
    settings: RunSettings,
    listing: Listing,
    frozen: FrozenPart,
    run_folders: RunFolders,
    *,
    folds: int | None = None,
) -> TransferClassifier:
    """Turn a listing into a classifier: the flow behind `transfer_classifier`, whoever reads the images.

    Args:
        settings: What to train, and how.
        listing: What the folder holds.
        frozen: Gives the features of its images.
        run_folders: Where the states of phases are kept.
        folds: As in `transfer_classifier`.
    """
    started = time.perf_counter()
    spec, schedule = settings.dataset, settings.schedule
    originals = frozen.read(listing.examples, stop_at_bad_file=spec.on_bad_file == "raise")
    warn_of_bad_files(originals.bad_files, stacklevel=4)
    read = time.perf_counter()

    found, groups, split = split_known(
        spec, listing, originals.readable, originals.facts, originals.bad_files
    )
    warn_of_problems(spec, found, originals.facts, stacklevel=4)  # the line that called
    if not len(split.validation):
        raise SettingError(
            "`validation_fraction` must be above 0: the classifier is measured on the validation split"
        )
    crossed = None
    if folds is not None:
        among = np.union1d(split.train, split.validation)
        crossed = evaluate_folds(settings, frozen, originals, listing, groups, among, folds=folds)
    learned = settings.learned_from(listing, groups, split.train, split.validation)
    trained = train(frozen, originals, learned, schedule, run_folders)
    seconds = {"reading": read - started, "training": time.perf_counter() - read}

    unseen = _unseen_logits(trained, crossed, listing, split.train)
    line = None
    if unseen is not None:
        labels, weights = learned.labels[split.train], learned.weights[split.train]
        line = fit_calibration(unseen, labels, sample_weight=weights)
        unseen = line.apply(unseen) if line else unseen
    trained = calibrated(trained, line)
    measured = _measure(settings, listing, split, trained, unseen)
    judged = measured["scores"]["validation"]
    right = (np.array(judged.probabilities) >= 0.5) == np.array(judged.labels)
    learned_names = _names(listing, split.train)
    warn_of_large_clusters(
        found, learned_names, dict(zip(judged.names, right.tolist(), strict=True)), stacklevel=4
    )
    written = settings.written(listing)
    record = Record(
        class_names=listing.class_names,
        positive_class=listing.positive_class,
        threshold=0.5,
        image_size=settings.backbone.image_size,
        dataset=written["dataset"],
        backbone=written["backbone"],
        augmentation=written["augmentation"] if schedule.uses_views else None,
        schedule=written["schedule"],
        seed=settings.seed,
        engine=frozen.engine_name,
        fingerprint=fingerprint(*(facts.digest for facts in originals.facts)),
        training_names=learned_names,
        bad_files=originals.bad_files,
        audit=found.shortened(),
        history=History(phases=trained.phases, kept=trained.kept, seconds=seconds),
        calibration=line,
        cross_validation=crossed,
        versions=versions(frozen.engine_name),
        **measured,
    )
    return TransferClassifier(trained.model, record)


def _unseen_logits(
    trained: Trained, crossed: CrossValidation | None, listing: Listing, train_part: Indices
) -> Floats | None:
    """Return for each training example the logit of a classifier that had not learned from it."""
    if trained.out_of_fold is not None or crossed is None:
        return trained.out_of_fold
    logits = dict(zip(crossed.scores.names, crossed.scores.logits, strict=True))
    return np.array([logits[name] for name in _names(listing, train_part)])


def _measure(
    settings: RunSettings, listing: Listing, split: Split, trained: Trained, unseen: Floats | None
) -> dict[str, Any]:
    """Return what was said about each image, and how well it fits."""
    chosen = ("which epoch and phase to keep",) if settings.chooses else ()
    logits = {
        part: trained.logits(indices)
        for part, indices in (("validation", split.validation), ("test", split.test))
        if len(indices)
    }
    scores = {
        part: _scores(listing, getattr(split, part), of_part) for part, of_part in logits.items()
    }
    evaluations = {
        part: evaluate(
            scores[part].labels,
            scores[part].probabilities,
            class_names=listing.class_names,
            positive_class=listing.positive_class,
            part=part,
            random_head_baseline=trained.random_head_baseline if part == "validation" else None,
            used_to_choose=chosen if part == "validation" else (),
        )
        for part in scores
    }
    if unseen is not None:
        step = -(-len(unseen) // KEPT_SCORES)
        scores[OUT_OF_FOLD] = _scores(listing, split.train[::step], unseen[::step])
    return {
        "evaluation": evaluations["validation"],
        "test_evaluation": evaluations.get("test"),
        "scores": scores,
    }


def _scores(listing: Listing, indices: Indices, logits: Floats) -> Scores:
    return Scores(
        names=_names(listing, indices),
        labels=tuple(listing.labels[indices].tolist()),
        logits=tuple(logits.tolist()),
    )


def _names(listing: Listing, indices: Indices) -> tuple[str, ...]:
    return tuple(listing.examples[index].name for index in indices)
