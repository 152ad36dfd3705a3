"""Judge every image by a classifier that has not learned from it: one frozen pass for all folds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from tlkit.backbones.adapter import BackboneAdapter
from tlkit.classifier.classifier import PathLike
from tlkit.core.progress import progress
from tlkit.core.rows import Indices
from tlkit.core.spec import check_int
from tlkit.data.audit import audit_of
from tlkit.data.dataset import DatasetSpec, Listing
from tlkit.data.split import assign_folds, assign_parts
from tlkit.evaluation.calibration import fit_calibration
from tlkit.evaluation.scores import CrossValidation, Scores
from tlkit.features.frozen_part import FrozenPart
from tlkit.features.passes import Originals
from tlkit.features.run_folders import RunFolders
from tlkit.images.augmentation import AugmentationPolicy
from tlkit.images.loader import warn_of_bad_files
from tlkit.training.fit import calibrated, train
from tlkit.training.schedule import FineTuneSchedule
from tlkit.training.settings import RunSettings, needs_of

_CHOOSING: Final = 0.2
"""Share of what a fold may learn from that chooses epochs, where the spec does not say."""


def cross_validate(
    data: PathLike | DatasetSpec,
    *,
    folds: int = 5,
    backbone: BackboneAdapter | None = None,
    augmentation: AugmentationPolicy | None = None,
    schedule: FineTuneSchedule | None = None,
    seed: int = 0,
    cache_dir: PathLike | None = None,
) -> CrossValidation:
    """Measure what a schedule reaches, on every image of the folder instead of a part.

    The images are dealt out to folds, stratified by class, near-duplicates and groups kept together. For
    each fold a classifier learns from all others. The frozen part runs once, so an exact head costs
    milliseconds a fold; phases of fine-tuning run once a fold, with a part of the others to choose epoch
    and phase: the fold that is judged chooses nothing.

    Args:
        data: A folder with two class folders (or ready-made parts, which are pooled), or a `DatasetSpec`;
            its fraction for validation is the share that chooses epochs, its seed deals the folds.
        folds: How many, at least 2; every fold needs images of both classes.
        backbone: The pretrained network. None: `BackboneAdapter("MobileNetV2")`.
        augmentation: As in `transfer_classifier`.
        schedule: What is trained in each fold. None: `FineTuneSchedule.head_only()`.
        seed: Of views, orders and dropout, at least 0.
        cache_dir: A folder for what came out of the frozen part, shared with `transfer_classifier`.

    Returns:
        Every image's out-of-fold probability, and what follows from them. The interval of a rate is
        Wilson's for that many images; it leaves out that the classifiers of two folds share most of what
        they learned from.

    Raises:
        SettingError: An argument is outside what it may be.
        DatasetError: The folder is not two classes of images, or has too few for so many folds.
        ImageError: A file cannot be read, and the spec says `on_bad_file="raise"`.
        WeightsError: The pretrained weights cannot be had.

    Examples:
        >>> result = cross_validate("alpacas/")  # doctest: +SKIP
        >>> result.evaluation.accuracy, result.spread("accuracy")  # doctest: +SKIP
        (0.95 (95 % CI 0.92–0.97, n = 327), 0.021)

    References:
        S. Bates, T. Hastie and R. Tibshirani (2024), Cross-validation: what does it estimate and how well
        does it do it?, Journal of the American Statistical Association 119: 1434-1445.
    """
    check_int("folds", folds, at_least=2)
    schedule = schedule or FineTuneSchedule.head_only()
    settings = RunSettings.resolve(data, backbone, augmentation, schedule, seed)
    spec = settings.dataset
    listing = spec.listing()
    run_folders = RunFolders.open({}, cache_dir, None)
    frozen = FrozenPart(
        settings.backbone,
        needs_of(schedule),
        settings.augmentation,
        settings.seed,
        run_folders,
        value_range=spec.value_range,
    )
    originals = frozen.read(listing.examples, stop_at_bad_file=spec.on_bad_file == "raise")
    warn_of_bad_files(originals.bad_files)
    found = audit_of(spec, listing, originals.readable, originals.facts, originals.bad_files)
    groups = found.groups(listing, spec.group_by)
    return evaluate_folds(
        settings, frozen, originals, listing, groups, originals.readable, folds=folds
    )


def evaluate_folds(
    settings: RunSettings,
    frozen: FrozenPart,
    originals: Originals,
    listing: Listing,
    groups: Sequence[str],
    among: Indices,
    *,
    folds: int,
) -> CrossValidation:
    """Train and judge fold by fold; the network is left as it was before.

    Args:
        settings: What to train, and how.
        frozen: The frozen part.
        originals: What came out of it.
        listing: What the folder holds.
        groups: The group of each of its examples.
        among: Indices of the readable examples that are dealt out to the folds, int64 `[N]`.
        folds: How many, at least 2.
    """
    labels, keys = listing.labels[among], [groups[index] for index in among]
    fold_of = assign_folds(labels, keys, count=folds, seed=settings.dataset.seed)
    logits = np.empty(len(among))
    pretrained = frozen.network.base.get_weights() if settings.schedule.phases else None
    with progress(folds, "Folds", unit="folds") as advance:
        for fold in range(folds):
            judged = fold_of == fold
            logits[judged] = _fold_logits(
                settings, frozen, originals, listing, groups, among[~judged], among[judged]
            )
            if pretrained is not None:
                frozen.network.base.set_weights(pretrained)
            advance(1)
    scores = Scores(
        names=tuple(listing.examples[index].name for index in among),
        labels=tuple(labels.tolist()),
        logits=tuple(logits.tolist()),
    )
    return CrossValidation.counted(
        scores,
        fold_of.tolist(),
        class_names=listing.class_names,
        positive_class=listing.positive_class,
    )


def _fold_logits(
    settings: RunSettings,
    frozen: FrozenPart,
    originals: Originals,
    listing: Listing,
    groups: Sequence[str],
    known: Indices,
    judged: Indices,
) -> npt.NDArray[np.float64]:
    """Return the logits that a classifier which learned from `known` gives to `judged`."""
    learned, choosing = known, judged  # an exact head chooses nothing on what it is shown
    if settings.chooses:
        inner = assign_parts(
            listing.labels[known],
            [groups[index] for index in known],
            validation_fraction=settings.dataset.validation_fraction or _CHOOSING,
            test_fraction=0.0,
            seed=settings.dataset.seed,
        )
        learned, choosing = known[inner.train], known[inner.validation]
    viewed = np.union1d(known, judged)  # the same for all folds, so that views are made once
    data = settings.learned_from(listing, groups, learned, choosing, viewed=viewed)
    trained = train(frozen, originals, data, settings.schedule, RunFolders())
    if trained.out_of_fold is None:
        return trained.logits(judged)
    line = fit_calibration(
        trained.out_of_fold, data.labels[learned], sample_weight=data.weights[learned]
    )
    return calibrated(trained, line).logits(judged)
