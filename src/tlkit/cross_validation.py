"""Judge every picture by a classifier that has not learned from it: one frozen pass for all folds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tlkit.auditing import audit_of
from tlkit.augmentation import AugmentationPolicy
from tlkit.backbone import BackboneAdapter
from tlkit.calibration import fit_calibration
from tlkit.checkpoint import Keeper
from tlkit.classifier import PathLike
from tlkit.dataset import DatasetSpec, Listing
from tlkit.evaluate import Evaluation, evaluate
from tlkit.features import FrozenPart
from tlkit.logistic import sigmoid
from tlkit.passes import Originals
from tlkit.progress import progress
from tlkit.reading import warn_of_bad_files
from tlkit.rows import Positions
from tlkit.schedule import FineTuneSchedule
from tlkit.scores import OUT_OF_FOLD, CrossValidation, Scores
from tlkit.settings import RunSettings
from tlkit.spec import check_int
from tlkit.split import assign_folds
from tlkit.training import calibrated, train


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
    """Measure what `transfer_classifier` would reach, on every picture of the folder instead of a part.

    The pictures are dealt out to folds, stratified by class, near-duplicates and groups kept together. For
    each fold a classifier learns from all others. The frozen part runs once, so an exact head costs
    milliseconds a fold; phases of fine-tuning run once a fold, with a part of the others to choose epoch
    and phase: the fold that is judged chooses nothing.

    Args:
        data: A folder with two class folders (or ready-made parts, which are pooled), or a `DatasetSpec`;
            its fraction for validation is the share that chooses epochs, its seed deals the folds.
        folds: How many, at least 2; every fold needs pictures of both classes.
        backbone: The pretrained network. None: `BackboneAdapter("MobileNetV2")`.
        augmentation: As in `transfer_classifier`.
        schedule: What is trained in each fold. None: `FineTuneSchedule.head_only()`.
        seed: Of views, orders and dropout, at least 0.
        cache_dir: A folder for what came out of the frozen part, shared with `transfer_classifier`.

    Returns:
        Every picture's out-of-fold probability, and what follows from them. The interval of a rate is
        Wilson's for that many pictures; it leaves out that the classifiers of two folds share most of what
        they learned from.

    Raises:
        SettingError: An argument is outside what it may be.
        DatasetError: The folder is not two classes of pictures, or has too few for so many folds.
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
    schedule = schedule or FineTuneSchedule.head_only()
    settings = RunSettings.resolve(data, backbone, augmentation, schedule, seed)
    spec = settings.dataset
    listing = spec.listing()
    keeper = Keeper.open({}, cache_dir, None)
    frozen = FrozenPart(settings.backbone, schedule, settings.augmentation, settings.seed, keeper)
    originals = frozen.read(listing.examples, stop_at_bad_file=spec.on_bad_file == "raise")
    warn_of_bad_files(originals.bad_files)
    found = audit_of(spec, listing, originals.readable, originals.facts, originals.bad_files)
    groups = found.groups(listing, spec.group_by)
    return judge_by_folds(settings, frozen, originals, listing, groups, folds=folds)


def judge_by_folds(
    settings: RunSettings,
    frozen: FrozenPart,
    originals: Originals,
    listing: Listing,
    groups: Sequence[str],
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
        folds: How many, at least 2.
    """
    check_int("folds", folds, at_least=2)
    readable, labels = originals.readable, listing.labels[originals.readable]
    keys = [groups[position] for position in readable]
    fold_of = assign_folds(labels, keys, count=folds, seed=settings.dataset.seed)
    logits = np.empty(len(readable))
    pretrained = frozen.network.base.get_weights() if settings.schedule.phases else None
    with progress(folds, "Folds", unit="folds") as advance:
        for fold in range(folds):
            judged = fold_of == fold
            logits[judged] = _judge(
                settings, frozen, originals, listing, groups, readable[~judged], readable[judged]
            )
            if pretrained is not None:
                frozen.network.base.set_weights(pretrained)
            advance(1)
    return _summary(listing, readable, fold_of, logits)


def _judge(
    settings: RunSettings,
    frozen: FrozenPart,
    originals: Originals,
    listing: Listing,
    groups: Sequence[str],
    known: Positions,
    judged: Positions,
) -> npt.NDArray[np.float64]:
    """Return the logits that a classifier which learned from `known` gives to `judged`."""
    learned, choosing = known, judged  # an exact head chooses nothing on what it is shown
    if settings.chooses:
        count = max(2, round(1 / (settings.dataset.validation_fraction or 0.2)))
        keys = [groups[position] for position in known]
        inner = assign_folds(listing.labels[known], keys, count=count, seed=settings.dataset.seed)
        learned, choosing = known[inner > 0], known[inner == 0]
    data = settings.learned_from(listing, groups, learned, choosing, viewed=originals.readable)
    trained = train(frozen, originals, data, settings.schedule, Keeper())
    if trained.out_of_fold is None:
        return trained.logits(judged)
    line = fit_calibration(
        trained.out_of_fold, data.labels[learned], sample_weight=data.weights[learned]
    )
    return calibrated(trained, line).logits(judged)


def _summary(
    listing: Listing, readable: Positions, fold_of: Positions, logits: npt.NDArray[np.float64]
) -> CrossValidation:
    labels, probabilities = listing.labels[readable], sigmoid(logits)

    def judged(part: str, chosen: npt.NDArray[np.bool_]) -> Evaluation:
        return evaluate(
            labels[chosen],
            probabilities[chosen],
            class_names=listing.class_names,
            positive_class=listing.positive_class,
            part=part,
        )

    return CrossValidation(
        evaluation=judged(OUT_OF_FOLD, fold_of >= 0),
        folds=tuple(judged(f"fold {n + 1}", fold_of == n) for n in range(fold_of.max() + 1)),
        fold_numbers=tuple(fold_of.tolist()),
        scores=Scores(
            names=tuple(listing.examples[position].name for position in readable),
            labels=tuple(labels.tolist()),
            logits=tuple(logits.tolist()),
        ),
    )
