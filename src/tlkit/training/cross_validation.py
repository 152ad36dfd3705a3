"""Judge every image by a classifier that has not learned from it: one frozen pass for all folds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Final, Self, TypeAlias, final

import numpy as np
import numpy.typing as npt

from tlkit.backbones.adapter import BackboneAdapter
from tlkit.core.progress import progress
from tlkit.core.rows import Indices
from tlkit.core.spec import PathLike, check_int
from tlkit.data.audit import AuditReport, audit_of
from tlkit.data.dataset import USUAL_FRACTION, DatasetSpec, Listing
from tlkit.data.facets import facets_of
from tlkit.data.split import assign_folds, assign_parts
from tlkit.evaluation.calibration import fit_calibration
from tlkit.evaluation.log_loss import log_losses
from tlkit.evaluation.paired import paired_difference
from tlkit.evaluation.scores import CrossValidation, Scores
from tlkit.evaluation.slices import Facet
from tlkit.features.frozen_part import FrozenPart
from tlkit.features.passes import Originals
from tlkit.features.run_folders import RunFolders
from tlkit.images.augmentation import AugmentationPolicy
from tlkit.images.loader import warn_of_bad_files
from tlkit.training.finetune import FoldChoice
from tlkit.training.fit import train
from tlkit.training.fold_state import Fold
from tlkit.training.head import class_weights
from tlkit.training.schedule import ExactHead, FineTuneSchedule
from tlkit.training.settings import RunSettings

WHETHER_TO_FINE_TUNE: Final = "whether to fine-tune"
"""What evaluations call the choice among the head and the phases."""

Floats: TypeAlias = npt.NDArray[np.float64]


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
        backbone: As in `transfer_classifier`.
        augmentation: As in `transfer_classifier`.
        schedule: What is trained in each fold. None: `FineTuneSchedule.standard()`, as in
            `transfer_classifier`.
        seed: Random seed of augmentation, shuffling and dropout, at least 0.
        cache_dir: Directory for cached backbone features, shared with `transfer_classifier`.

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
    settings = RunSettings.resolve(data, backbone, augmentation, schedule, seed)
    spec = settings.dataset
    listing = spec.listing()
    settings = settings.fitted_to(listing)
    run_folders = RunFolders.open({}, cache_dir, None)
    frozen = settings.frozen_part(run_folders)
    originals = frozen.read(listing.examples, stop_at_bad_file=spec.on_bad_file == "raise")
    warn_of_bad_files(originals.bad_files)
    found = audit_of(spec, listing, originals.readable, originals.facts, originals.bad_files)
    run = Run.of(settings, frozen, originals, listing, found, run_folders)
    return judge_by_folds(run, originals.readable, folds=folds).result


@final
@dataclass(frozen=True, slots=True)
class Run:
    """What every step of a training works on.

    Attributes:
        settings: What to train, and how.
        frozen: The frozen part.
        originals: What came out of it.
        listing: What the folder holds.
        groups: The group of each of its examples.
        duplicates: The same by what shows one image alone, without the user's own groups.
        run_folders: Where states are kept.
        facets: Facts of each of its examples, by which results are reported.
    """

    settings: RunSettings
    frozen: FrozenPart
    originals: Originals
    listing: Listing
    groups: Sequence[str]
    duplicates: Sequence[str]
    run_folders: RunFolders
    facets: tuple[Facet, ...]

    @classmethod
    def of(
        cls,
        settings: RunSettings,
        frozen: FrozenPart,
        originals: Originals,
        listing: Listing,
        found: AuditReport,
        run_folders: RunFolders,
    ) -> Self:
        """Put together what is known: groups, and the facts by which results are reported."""
        facts = facets_of(listing, originals.readable, originals.facts)
        facets = tuple(Facet.of(name, said) for name, said in facts.items())
        groups = found.groups(listing, settings.dataset.group_by)
        duplicates = found.duplicates(listing)
        return cls(settings, frozen, originals, listing, groups, duplicates, run_folders, facets)

    def groups_of(self, indices: Indices) -> list[str]:
        """Return the groups of these examples."""
        return [self.groups[index] for index in indices.tolist()]

    def without_phases(self) -> Self:
        """The same with the head of its schedule alone."""
        schedule = replace(self.settings.schedule, phases=())
        return replace(self, settings=replace(self.settings, schedule=schedule))

    @property
    def is_grouped(self) -> bool:
        """Whether the user has groups: not only what shows one image belongs together."""
        return [*self.groups] != [*self.duplicates]

    def _numbers(self, indices: Indices) -> tuple[int, ...]:
        """Return a number for each of these examples that those of one group share."""
        number: dict[str, int] = {}
        return tuple(number.setdefault(key, len(number)) for key in self.groups_of(indices))

    def scores(self, indices: Indices, logits: Floats) -> Scores:
        """Return labels and logits of these examples, with what is known of them."""
        return Scores(
            names=tuple(self.listing.examples[index].name for index in indices.tolist()),
            labels=tuple(self.listing.labels[indices].tolist()),
            logits=tuple(logits.tolist()),
            facets=tuple(facet.chosen(indices) for facet in self.facets),
            groups=self._numbers(indices) if self.is_grouped else (),
        )


@final
@dataclass(frozen=True, slots=True)
class Judged:
    """What folds found.

    Attributes:
        result: Every image's out-of-fold prediction, calibrated, and what follows from them.
        among: Indices of the examples that were judged, int64 `[N]`.
        logits: Out-of-fold, of each of them, not calibrated, float64 `[N]`.
        choice: What the folds chose for the classifier that learns from all images.
        inner: For each fold, the logits of the images that it learned from, by inner folds: float64 `[T]`, in
            the order of `among`; None where there are none, as after fine-tuning.
    """

    result: CrossValidation
    among: Indices
    logits: Floats
    choice: FoldChoice
    inner: tuple[Floats | None, ...]


def judge_by_folds(run: Run, among: Indices, *, folds: int, chosen: Sequence[str] = ()) -> Judged:
    """Train and judge fold by fold; the network is left as it was before.

    Args:
        run: What to work on.
        among: Indices of the readable examples that are dealt out to the folds, int64 `[N]`, ascending.
        folds: How many, at least 2.
        chosen: What had been chosen on some of these images before.
    """
    settings = run.settings
    labels = run.listing.labels[among].astype(np.int64)
    found, fold_of = _folds(run, among, folds)
    tried = _tried(found, fold_of)
    weights = class_weights(labels, settings.schedule.class_weight)
    choice = _chosen(found, tried, labels, weights)
    logits = tried[choice.kept]
    scores = run.scores(among, _calibrated_apart(logits, labels, weights, fold_of))
    chosen = (*chosen, *([WHETHER_TO_FINE_TUNE] if settings.schedule.phases else []))
    result = CrossValidation.counted(
        scores,
        fold_of.tolist(),
        class_names=run.listing.class_names,
        positive_class=run.listing.positive_class,
        used_to_choose=(*chosen, *run.listing.used_to_choose),
        known_groups=_with_known_groups(run, among, folds),
    )
    return Judged(result, among, logits, choice, tuple(fold.inner for fold in found))


def _folds(run: Run, among: Indices, count: int) -> tuple[list[Fold], Indices]:
    """Train and judge each fold, or read what an earlier run found; return the fold of each image too."""
    pretrained = run.frozen.network.base.get_weights() if run.settings.schedule.phases else None
    dealt_by = run.listing.split_labels[among]
    fold_of = assign_folds(
        dealt_by,
        run.groups_of(among),
        count=count,
        seed=run.settings.dataset.seed,
        strata=run.listing.strata(among),
    )
    found: list[Fold] = []
    with progress(count, "Folds", unit="folds") as advance:
        for number in range(count):
            judged = fold_of == number
            kept_at = run.run_folders.of_fold(number, count)
            fold = Fold.read(kept_at) or _one_fold(run, among[~judged], among[judged])
            fold.write(kept_at)
            found.append(fold)
            if pretrained is not None:
                run.frozen.network.base.set_weights(pretrained)
            advance(1)
    return found, fold_of


def _tried(found: Sequence[Fold], fold_of: Indices) -> Floats:
    """Put the logits of all folds together, float64 `[1 + phases, N]`, each image's by its own fold."""
    tried = np.empty((len(found[0].tried), len(fold_of)))
    for number, fold in enumerate(found):
        tried[:, fold_of == number] = fold.tried
    return tried


def _with_known_groups(run: Run, among: Indices, count: int) -> Scores | None:
    """Judge by folds that cut through the user's groups, to show what they would have promised.

    Where folds are costly, nobody pays for a figure that is too good.
    """
    settings = run.settings
    if (
        not run.is_grouped
        or settings.schedule.phases
        or not isinstance(settings.schedule.head, ExactHead)
    ):
        return None
    apart = replace(run, groups=run.duplicates, run_folders=RunFolders())
    found, fold_of = _folds(apart, among, count)
    logits = _tried(found, fold_of)[0]
    labels = run.listing.labels[among].astype(np.int64)
    weights = class_weights(labels, settings.schedule.class_weight)
    return replace(
        run.scores(among, _calibrated_apart(logits, labels, weights, fold_of)), facets=()
    )


def _one_fold(run: Run, known: Indices, judged: Indices) -> Fold:
    """Train on `known`, of which some choose the epochs where there are any, and judge the rest."""
    settings, learned = run.settings, known
    choosing = judged[:0]
    if settings.chooses:
        inner = assign_parts(
            run.listing.split_labels[known],
            run.groups_of(known),
            validation_fraction=settings.dataset.validation_fraction or USUAL_FRACTION,
            test_fraction=0.0,
            seed=settings.dataset.seed,
            strata=run.listing.strata(known),
        )
        learned, choosing = known[inner.train], known[inner.validation]
    viewed = np.union1d(known, judged)  # the same for all folds, so that views are made once
    data = settings.learned_from(run.listing, run.groups, learned, choosing, viewed=viewed)
    trained = train(run.frozen, run.originals, data, settings.schedule, RunFolders(), judged=judged)
    return Fold(trained.tried, trained.phases[1:], None if len(choosing) else trained.out_of_fold)


def _chosen(found: Sequence[Fold], tried: Floats, labels: Indices, weights: Floats) -> FoldChoice:
    """Return after how many epochs to stop each phase, and which phase is better beyond the noise."""
    phases = [[fold.phases[stage] for fold in found] for stage in range(len(tried) - 1)]
    epochs = [round(fmean(one.best_epoch + 1 for one in each)) for each in phases]
    kept, differences = 0, []
    for stage in range(1, len(tried)):
        new, old = log_losses(labels, tried[stage]), log_losses(labels, tried[kept])
        differences.append(paired_difference(new, old, sample_weight=weights))
        kept = stage if differences[-1].is_better else kept
    return FoldChoice(
        kept=kept,
        epochs=tuple(epochs),
        losses=tuple(
            _mean_curve([one.validation_loss for one in each], count)
            for each, count in zip(phases, epochs, strict=True)
        ),
        accuracies=tuple(
            _mean_curve([one.validation_accuracy for one in each], count)
            for each, count in zip(phases, epochs, strict=True)
        ),
        differences=tuple(differences),
        head=(
            float(weights @ log_losses(labels, tried[0]) / weights.sum()),
            float(np.mean((tried[0] > 0) == (labels > 0))),
        ),
    )


def _mean_curve(curves: Sequence[tuple[float, ...]], epochs: int) -> tuple[float, ...]:
    """The mean over folds after each epoch; a fold that had stopped by then counts as it ended."""
    return tuple(
        fmean(curve[min(epoch, len(curve) - 1)] for curve in curves) for epoch in range(epochs)
    )


def _calibrated_apart(logits: Floats, labels: Indices, weights: Floats, fold_of: Indices) -> Floats:
    """Calibrate the logits of each fold by the line through those of all others."""
    result = logits.copy()
    for number in range(fold_of.max() + 1):
        judged = fold_of == number
        line = fit_calibration(logits[~judged], labels[~judged], sample_weight=weights[~judged])
        result[judged] = line.apply(logits[judged]) if line else logits[judged]
    return result
