"""Would more images help? Heads on nested subsets of the cached features, and what goes on from there."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from tlkit.backbones.adapter import BackboneAdapter
from tlkit.choosing.curve import CurvePoint, Forecast, LearningCurve
from tlkit.choosing.power_law import forecast
from tlkit.choosing.subsets import places
from tlkit.core.progress import progress
from tlkit.core.rows import Indices
from tlkit.core.spec import PathLike, check_int
from tlkit.data.audit import audit_of
from tlkit.data.dataset import DatasetSpec
from tlkit.data.split import assign_folds, split_readable
from tlkit.errors import DatasetError
from tlkit.evaluation.log_loss import log_losses
from tlkit.evaluation.rate import Rate
from tlkit.evaluation.scores import Scores
from tlkit.features.run_folders import RunFolders
from tlkit.features.views import Selected, Views
from tlkit.images.loader import warn_of_bad_files
from tlkit.insight.label_issues import rank_label_issues
from tlkit.training.cross_validation import Run
from tlkit.training.head import fit_head
from tlkit.training.schedule import FineTuneSchedule
from tlkit.training.settings import RunSettings

Floats: TypeAlias = npt.NDArray[np.float64]

SHARES: Final = (0.125, 0.25, 0.5, 0.75, 1.0)
"""Of the images that a fold learns from."""

FEWEST: Final = 5
"""Images of the rarer class, near-duplicates and groups counted once, that a subset needs."""

TIMES: Final = (2.0, 4.0)
"""For how many times as many images there is a forecast."""

_Z: Final = 1.96


def learning_curve(
    data: PathLike | DatasetSpec,
    *,
    backbone: BackboneAdapter | None = None,
    draws: int = 3,
    folds: int = 5,
    seed: int = 0,
    cache_dir: PathLike | None = None,
) -> LearningCurve:
    """Say how the log-loss falls with the number of training images, and what more of them promise.

    The images go through the frozen network once. Then exact heads learn from nested subsets of each fold's
    training images, stratified by class, near-duplicates and groups kept whole, and are judged on the fold.
    An inverse power law, with all that these points leave open about it, gives the forecast: what heads that
    learned from twice and four times as many images would reach on images like these. It says nothing of
    images of another kind.

    Args:
        data: A folder with two class folders (or ready-made splits), or a `DatasetSpec`. Images that are for
            the test take no part.
        backbone: The network, such as `comparison.recommended`. None: as in `transfer_classifier`.
        draws: How often folds and subsets are drawn anew, at least 2.
        folds: How many, at least 2.
        seed: Of the draws, at least 0.
        cache_dir: Directory for cached features, shared with `compare` and `transfer_classifier`.

    Returns:
        Points and forecasts; `print` it for the sentence.

    Raises:
        SettingError: An argument is outside what it may be.
        DatasetError: The folder is not two classes of images, or too small for a curve.
        ImageError: A file cannot be read, and the spec says `on_bad_file="raise"`.
        WeightsError: The pretrained weights cannot be had.

    Examples:
        >>> print(learning_curve("alpacas/").sentence)  # doctest: +SKIP
        twice as many images: log-loss 0.149 → about 0.131 (0.112–0.148)
    """
    check_int("draws", draws, at_least=2)
    check_int("folds", folds, at_least=2)
    settings = RunSettings.resolve(data, backbone, None, FineTuneSchedule.head_only(), seed)
    spec = settings.dataset
    listing = spec.listing()
    run_folders = RunFolders.open({}, cache_dir, None)
    frozen = settings.frozen_part(run_folders)
    originals = frozen.read(listing.examples, stop_at_bad_file=spec.on_bad_file == "raise")
    warn_of_bad_files(originals.bad_files)
    report = audit_of(spec, listing, originals.readable, originals.facts, originals.bad_files)
    run = Run.of(settings, frozen, originals, listing, report, run_folders)
    split = split_readable(spec, listing, run.groups, originals.readable, validation_fraction=0.0)
    known = np.union1d(split.train, split.validation)
    logits, counts = _judged(run, known, draws, folds)
    return _curve(run, known, logits, counts)


def _judged(run: Run, known: Indices, draws: int, folds: int) -> tuple[Floats, Floats]:
    """Return out-of-fold logits `[draws, shares, N]`, and the mean number of training images `[shares]`.

    A share that leaves too few images somewhere is NaN.
    """
    labels = run.listing.labels.astype(np.int64)
    features = Views(run.originals.outputs[0], None, np.empty(0, np.int64))
    logits = np.full((draws, len(SHARES), len(known)), np.nan)
    counts = np.zeros(len(SHARES))
    with progress(draws * folds, "Fitting heads", unit="folds") as advance:
        for draw in range(draws):
            seed = run.settings.seed + draw
            fold_of = assign_folds(
                run.listing.split_labels[known], run.groups_of(known), count=folds, seed=seed
            )
            for fold in range(folds):
                learned = known[fold_of != fold]
                judged = fold_of == fold
                place = places(labels[learned], run.groups_of(learned), seed=seed)
                for number, share in enumerate(SHARES):
                    subset = learned[place <= share]
                    counts[number] += len(subset) / (draws * folds)
                    if _rarest(labels[subset], run.groups_of(subset)) >= FEWEST:
                        logits[draw, number, judged] = _logits(run, features, subset, known[judged])
                advance(1)
    return logits, counts


def _logits(run: Run, features: Views, learned: Indices, judged: Indices) -> Floats:
    nobody = np.empty(0, np.int64)
    data = run.settings.learned_from(run.listing, run.groups, learned, nobody)
    head = fit_head(
        Selected(features, learned),
        data.labels[learned],
        folds=data.folds,
        blocks=run.originals.stage_widths,
    )
    return head.logits(Selected(features, judged))


def _rarest(labels: Indices, groups: Sequence[str]) -> int:
    """Return how many groups the rarer class has."""
    keys = np.array(groups)
    return min(len(np.unique(keys[labels == label])) for label in (0, 1))


def _curve(run: Run, known: Indices, logits: Floats, counts: Floats) -> LearningCurve:
    labels = run.listing.labels[known].astype(np.int64)
    whole = ~np.isnan(logits).any(axis=(0, 2))
    if whole.sum() < 3:
        raise DatasetError(
            f"a learning curve needs at least {FEWEST} different images of each class in a quarter of what a "
            f"fold learns from; there are {int(np.bincount(labels, minlength=2).min())} images of one class: "
            "add images, or use fewer folds"
        )
    points = [_point(labels, logits[:, number], counts[number]) for number in np.flatnonzero(whole)]
    forecasts = []
    for times in TIMES:
        middle, low, high = forecast(
            [point.count for point in points],
            [point.log_loss for point in points],
            [point.draw_error / point.log_loss for point in points],
            times,
        )
        count = round(times * points[-1].count)
        forecasts.append(Forecast(times=times, count=count, log_loss=middle, low=low, high=high))
    scores = Scores(
        names=tuple(run.listing.examples[index].name for index in known.tolist()),
        labels=tuple(labels.tolist()),
        logits=tuple(logits[:, -1].mean(axis=0).tolist()),
    )
    issues = rank_label_issues(
        scores, class_names=run.listing.class_names, positive_class=run.listing.positive_class
    )
    return LearningCurve(
        run.settings.backbone,
        tuple(points),
        tuple(forecasts),
        doubtful=tuple(issue.name for issue in issues if issue.likely),
    )


def _point(labels: Indices, logits: Floats, count: float) -> CurvePoint:
    """Return one point of logits `[draws, N]`."""
    losses = np.array([log_losses(labels, one) for one in logits])
    of_image, of_draw = losses.mean(axis=0), losses.mean(axis=1)
    mean = float(losses.mean())
    half = _Z * float(of_image.std(ddof=1)) / math.sqrt(len(labels))
    right = float(np.mean((logits > 0) == (labels == 1)))
    interval = Rate.wilson(round(right * len(labels)), len(labels))
    return CurvePoint(
        count=round(count),
        log_loss=mean,
        low=max(0.0, mean - half),
        high=mean + half,
        draw_error=float(of_draw.std(ddof=1) / np.sqrt(len(of_draw))),
        accuracy=interval,
    )
