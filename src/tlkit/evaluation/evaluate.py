"""From labels and probabilities to metrics with intervals, in NumPy alone.

Every rate carries its count and a 95 % interval. What is not defined on the images at hand (the precision
of a classifier that predicts no positives, the AUC of one class) is None, never a made-up 0.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Self, TypeAlias, final

import numpy as np
import numpy.typing as npt

from tlkit.core.spec import Json, Spec, check_choice, check_float, check_int
from tlkit.errors import SettingError, printable
from tlkit.evaluation import metrics
from tlkit.evaluation.decision_counts import DecisionCounts
from tlkit.evaluation.drift import Drift
from tlkit.evaluation.log_loss import log_losses, logits_of
from tlkit.evaluation.rate import Rate, share
from tlkit.evaluation.reliability import reliability_bins
from tlkit.evaluation.slices import Facet, Slice, slices_of

Floats: TypeAlias = npt.NDArray[np.float64]
Ints: TypeAlias = npt.NDArray[np.int64]

ENOUGH: Final = 200
"""Validation images below which cross-validation is recommended: the interval of an accuracy of 0.9 is then
wider than 8 points."""

FEW: Final = 10
"""Images of a class below which the first line says how few there are: a recall of 0.9 may then be 0.6."""

THE_THRESHOLD: Final = "the threshold"
"""Entry of `used_to_choose` for images on which the threshold was chosen."""


@final
@dataclass(frozen=True, slots=True, repr=False, kw_only=True)
class Evaluation(Spec):
    """Metrics of one split, with the baselines to compare them with.

    `print` it for a summary that explains itself. `evaluate` computes it from labels and probabilities.

    Attributes:
        class_names: Both classes, in the order of the dataset.
        positive_class: The one whose probability is meant.
        part: Where the images come from: `"train"`, `"validation"`, `"test"`, `"out-of-fold"`, or any name.
        threshold: An image counts as positive when its probability is at least this.
        true_positives: Positives called positive.
        false_positives: Negatives called positive.
        true_negatives: Negatives called negative.
        false_negatives: Positives called negative.
        roc_auc: How often a positive gets a higher probability than a negative, ties counting half.
            None when a class is missing.
        pr_auc: Average precision over all thresholds. None when there is no positive.
        log_loss: Mean of -ln(probability of the true class), in nats; 0 is perfect.
        log_loss_standard_error: Its standard error, as a mean over images. None of a single image, or
            where nobody noted it. Few images seldom show the rare large losses: it is then too small.
        brier_score: Mean squared distance of the probability from 0 or 1; 0 is perfect.
        brier_score_standard_error: Its standard error, likewise.
        fold_count: How many folds judged the images, where they are out-of-fold predictions.
        calibration_error: Expected calibration error: distance of the mean probability from the share of
            positives in ten equally wide bins, weighted by their counts; 0 is perfect.
        random_head_baseline: Accuracy of the same network before training, when the caller measured it.
        used_to_choose: Choices made on these images (`"the best epoch"`, `"the threshold"`): the metrics are
            then optimistic.
        decisions: How many images are decided alone, and how well; None of a classifier that leaves none to
            a person.
        drift: That the images are not what the classifier learned from; None where nothing tells so.
        slices: Metrics of images that share a fact, such as their format, and whether they are worse than the
            rest; none where no facts are known.
        known_groups: Accuracy on the same images by classifiers that had learned from other images of their
            groups: what folds that cut through groups would have promised. None where no groups were given.
    """

    class_names: tuple[str, str]
    positive_class: str
    part: str
    threshold: float
    true_positives: int
    false_positives: int
    true_negatives: int
    false_negatives: int
    roc_auc: float | None
    pr_auc: float | None
    log_loss: float
    brier_score: float
    calibration_error: float
    random_head_baseline: Rate | None = None
    used_to_choose: tuple[str, ...] = ()
    log_loss_standard_error: float | None = None
    brier_score_standard_error: float | None = None
    fold_count: int | None = None
    decisions: DecisionCounts | None = None
    drift: Drift | None = None
    slices: tuple[Slice, ...] = ()
    known_groups: Rate | None = None

    _renamed: ClassVar[Mapping[str, str]] = {"untrained": "random_head_baseline"}

    def __post_init__(self) -> None:
        _check_classes(self.class_names, self.positive_class)
        check_float("threshold", self.threshold, at_least=0, at_most=1)
        for name in ("true_positives", "false_positives", "true_negatives", "false_negatives"):
            check_int(name, getattr(self, name), at_least=0)
        check_int("count", self.count, at_least=1)
        for name in ("roc_auc", "pr_auc", "brier_score", "calibration_error"):
            if name not in {"roc_auc", "pr_auc"} or getattr(self, name) is not None:
                check_float(name, getattr(self, name), at_least=0, at_most=1)
        for name in ("log_loss", "log_loss_standard_error", "brier_score_standard_error"):
            if name == "log_loss" or getattr(self, name) is not None:
                check_float(name, getattr(self, name), at_least=0)
        _check_texts("part", (self.part,))
        _check_texts("used_to_choose", self.used_to_choose)

    @property
    def negative_class(self) -> str:
        """The class that is not the positive one."""
        return other_class(self.class_names, self.positive_class)

    @property
    def count(self) -> int:
        """How many images."""
        return self.positive_count + self.negative_count

    @property
    def positive_count(self) -> int:
        """How many images of the positive class."""
        return self.true_positives + self.false_negatives

    @property
    def negative_count(self) -> int:
        """How many images of the other class."""
        return self.true_negatives + self.false_positives

    @property
    def accuracy(self) -> Rate:
        """Share of images called right, with Wilson's interval."""
        return Rate.wilson(self.true_positives + self.true_negatives, self.count)

    @property
    def recall(self) -> Rate | None:
        """Share of the positives that were found; None when there are none."""
        return share(self.true_positives, self.positive_count)

    @property
    def specificity(self) -> Rate | None:
        """Share of the negatives that were left alone; None when there are none."""
        return share(self.true_negatives, self.negative_count)

    @property
    def precision(self) -> Rate | None:
        """Share of what was called positive that is; None when nothing was."""
        return share(self.true_positives, self.true_positives + self.false_positives)

    @property
    def balanced_accuracy(self) -> Rate | None:
        """Mean of recall and specificity: a rare class counts as much. None when a class is missing.

        The interval joins both Wilson intervals by the distances of their ends (MOVER: Zou and Donner 2008,
        Statistics in Medicine 27: 1693-1702).
        """
        recall, specificity = self.recall, self.specificity
        if recall is None or specificity is None:
            return None
        mean = (recall + specificity) / 2
        below = math.hypot(recall - recall.low, specificity - specificity.low) / 2
        above = math.hypot(recall.high - recall, specificity.high - specificity) / 2
        return Rate(mean, low=max(0.0, mean - below), high=min(1.0, mean + above), count=self.count)

    @property
    def f1(self) -> Rate | None:
        """Harmonic mean of precision and recall; None when no positive exists and none was called.

        It is 2 j / (1 + j) for j = true positives / (true positives + mistakes), a share whose Wilson
        interval is carried over (Hand, Christen and Kirielle 2021, Machine Learning 110: 451-456, call j F*).
        """
        mistakes = self.false_positives + self.false_negatives
        shared = share(self.true_positives, self.true_positives + mistakes)
        if shared is None:
            return None
        value, low, high = (2 * j / (1 + j) for j in (shared.value, shared.low, shared.high))
        return Rate(value, low=low, high=high, count=shared.count)

    @property
    def roc_auc_rate(self) -> Rate | None:
        """`roc_auc` with its interval, by `Rate.of_ranks`; None when a class is missing."""
        if self.roc_auc is None or not (self.positive_count and self.negative_count):
            return None
        return Rate.of_ranks(self.roc_auc, self.positive_count, self.negative_count)

    @property
    def majority_class(self) -> str:
        """The class with more images here; of two equal ones the negative."""
        more = self.positive_count > self.negative_count
        return self.positive_class if more else self.negative_class

    @property
    def majority_accuracy(self) -> float:
        """Accuracy of always answering `majority_class`: what any classifier has to beat."""
        return max(self.positive_count, self.negative_count) / self.count

    @property
    def base_log_loss(self) -> float:
        """Log-loss of always answering with the share of positives: what any classifier has to beat."""
        shares = (self.positive_count / self.count, self.negative_count / self.count)
        return sum(-share * math.log(share) for share in shares if share > 0)

    def to_config(self) -> dict[str, Json]:
        """Return everything as plain JSON values, with the rates that follow from the counts for readers."""
        config = super(Evaluation, self).to_config()
        config["random_head_baseline"] = _rate_config(self.random_head_baseline)
        config["known_groups"] = _rate_config(self.known_groups)
        rates = {name: getattr(self, name) for name in _RATES} | {"roc_auc": self.roc_auc_rate}
        if self.decisions is not None:
            rates["decided_fraction"] = self.decisions.decided_fraction
            rates["error_of_decided"] = self.decisions.observed_error
        config["rates"] = {name: _rate_config(rate) for name, rate in rates.items()}
        return config

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Read what `to_config` wrote; the rates are computed again.

        Raises:
            SettingError: A name is unknown or missing, or a value is outside what it may be.
        """
        values = {name: value for name, value in config.items() if name != "rates"}
        return super(Evaluation, cls).from_config(values)

    def __str__(self) -> str:
        decided = () if self.decisions is None else ("", str(self.decisions))
        lines = [_headline(self), *_metrics(self), "", *_table(self), *decided]
        return "\n".join([*lines, *_worse_slices(self), *_remarks(self)])


_RATES: Final = ("accuracy", "balanced_accuracy", "precision", "recall", "specificity", "f1")


def evaluate(
    labels: npt.ArrayLike,
    probabilities: npt.ArrayLike,
    *,
    class_names: Sequence[str],
    positive_class: str,
    threshold: float = 0.5,
    part: str = "validation",
    random_head_baseline: Rate | None = None,
    used_to_choose: Sequence[str] = (),
    folds: int | None = None,
    decisions: DecisionCounts | None = None,
    drift: Drift | None = None,
    facets: Sequence[Facet] = (),
    groups: Sequence[int] = (),
    known_groups: Rate | None = None,
) -> Evaluation:
    """Compare probabilities with labels.

    Args:
        labels: [N] of 0 and 1; 1 is the positive class.
        probabilities: float [N], 0 to 1: the probability of the positive class.
        class_names: Both classes, in the order of the dataset.
        positive_class: One of them.
        threshold: An image counts as positive when its probability is at least this; 0 to 1.
        part: Where the images come from; the printed summary names it.
        random_head_baseline: Accuracy of the same network before training, to show beside.
        used_to_choose: Choices made on these images, such as `"the best epoch"`; the printed summary then
            warns that the metrics are optimistic.
        folds: How many folds judged the images, where they are out-of-fold predictions.
        decisions: What became of the images where some are left to a person.
        drift: That they are not what the classifier learned from.
        facets: Facts of the images, to find slices that are worse than the rest.
        groups: [N] of numbers: which images belong together, so that slices are compared by groups. Empty:
            every image is on its own.
        known_groups: Accuracy where other images of their groups were learned from, to show beside.

    Returns:
        All metrics; `print` them.

    Raises:
        SettingError: No images, shapes differ, a label is not 0 or 1, a probability not within 0 to 1.

    Examples:
        >>> names = ("alpaca", "not alpaca")
        >>> result = evaluate([1, 1, 0, 0], [0.9, 0.4, 0.2, 0.1], class_names=names, positive_class="alpaca")
        >>> result.accuracy, result.false_negatives, result.roc_auc
        (0.75 (95 % CI 0.30–0.95, n = 4), 1, 1.0)
    """
    _check_texts("used_to_choose", used_to_choose)
    truth, given = metrics.check_pairs(labels, probabilities)
    positive, called = (
        truth == 1,
        given >= check_float("threshold", threshold, at_least=0, at_most=1),
    )
    first, second = _check_classes(class_names, positive_class)
    losses, squares = log_losses(truth, logits_of(given)), (given - truth) ** 2
    return Evaluation(
        class_names=(first, second),
        positive_class=positive_class,
        part=part,
        threshold=float(threshold),
        true_positives=int((positive & called).sum()),
        false_positives=int((~positive & called).sum()),
        true_negatives=int((~positive & ~called).sum()),
        false_negatives=int((positive & ~called).sum()),
        roc_auc=metrics.roc_auc(truth, given),
        pr_auc=metrics.average_precision(truth, given),
        log_loss=float(losses.mean()),
        log_loss_standard_error=metrics.standard_error(losses),
        brier_score=float(squares.mean()),
        brier_score_standard_error=metrics.standard_error(squares),
        calibration_error=reliability_bins(truth, given).error,
        random_head_baseline=random_head_baseline,
        used_to_choose=tuple(used_to_choose),
        fold_count=folds,
        decisions=decisions,
        drift=drift,
        slices=slices_of(facets, truth, called, groups=groups),
        known_groups=known_groups,
    )


def _rate_config(rate: Rate | None) -> Json:
    return None if rate is None else rate.to_config()


def _headline(result: Evaluation) -> str:
    kind = {"train": "training"}.get(result.part, printable(result.part))
    images = f"{result.count} {kind} image{'' if result.count == 1 else 's'}"
    images += "" if result.fold_count is None else f", {result.fold_count} folds"
    images += "".join(f"{sign} {doubt}" for sign, doubt in zip(":;", _doubts(result), strict=False))
    others = f"always predicting {_quoted(result.majority_class)}: {result.majority_accuracy:.2f}"
    if result.random_head_baseline is not None:
        others += f"; a random head: {result.random_head_baseline.brief()}"
    lines = [f"accuracy {result.accuracy.brief('95 % CI ')} on {images}"]
    if result.known_groups is not None:
        promised = result.known_groups.brief()
        lines.append(f"  of new groups; {promised} if other images of their groups were known")
    return "\n".join([*lines, f"  {others}"])


def _doubts(result: Evaluation) -> list[str]:
    """Return what a reader must know before anything else, if there is anything."""
    doubts = []
    if result.accuracy <= result.majority_accuracy:
        word = "worse than" if result.accuracy < result.majority_accuracy else "no better than"
        doubts.append(f"{word} always predicting {_quoted(result.majority_class)}")
    counts = {
        result.positive_class: result.positive_count,
        result.negative_class: result.negative_count,
    }
    rarer = min(counts, key=lambda name: counts[name])
    if counts[rarer] < FEW:
        doubts.append(f"only {counts[rarer]} of {_quoted(rarer)} to judge on")
    return doubts


def _metrics(result: Evaluation) -> list[str]:
    positive, negative = _quoted(result.positive_class), _quoted(result.negative_class)
    balanced, auc = result.balanced_accuracy, result.roc_auc_rate
    loss, error = f"{result.log_loss:.3f}", result.log_loss_standard_error
    loss += "" if error is None else f" (standard error {error:.3f})"
    lines = []
    if balanced is not None:
        lines.append(
            f"balanced accuracy {balanced.brief()}: the mean over the classes, however unequal"
        )
    if auc is not None:
        lines.append(
            f"ROC-AUC {auc.brief()}: how often {positive} is ranked above {negative}; 0.5 is guessing"
        )
    base = f"{result.base_log_loss:.3f} is knowing only how common each class is"
    lines.append(f"log-loss {loss}: 0 is perfect, {base}")
    return lines


def _table(result: Evaluation) -> list[str]:
    positive, negative = _quoted(result.positive_class), _quoted(result.negative_class)
    title = f"threshold {result.threshold:g}"
    columns = [f"called {positive}", f"called {negative}"]
    rows = [
        (f"is {positive}", result.true_positives, result.false_negatives, "recall", result.recall),
        (
            f"is {negative}",
            result.false_positives,
            result.true_negatives,
            "specificity",
            result.specificity,
        ),
    ]
    wide = max(len(title), *(len(row[0]) for row in rows))
    lines = [f"{title:<{wide}}  {columns[0]}  {columns[1]}"]
    for name, left, right, metric, rate in rows:
        counts = f"{left:>{len(columns[0])}}  {right:>{len(columns[1])}}"
        lines.append(f"{name:<{wide}}  {counts}  {metric} {_or_undefined(rate)}")
    precision, f1 = _or_undefined(result.precision), _or_undefined(result.f1)
    lines.append(f"{'':<{wide}}  precision {precision}, F1 {f1}")
    return lines


def _worse_slices(result: Evaluation) -> list[str]:
    worse = [f"  {one}" for one in result.slices if one.worse]
    if not worse:
        return []
    return ["", f"Worse than the rest beyond chance, of {len(result.slices)} slices:", *worse]


def _remarks(result: Evaluation) -> list[str]:
    lines = [] if result.drift is None else [str(result.drift)]
    if result.used_to_choose:
        chosen = " and ".join(result.used_to_choose)
        lines.append(
            f"These images were used to choose {chosen}: expect slightly worse metrics on new ones."
        )
    if result.part == "validation" and result.count < ENOUGH:
        lines.append(
            f"{result.count} images are few: cross-validation (folds=5, --folds 5) evaluates on all images."
        )
    return ["", *lines] if lines else []


def _or_undefined(rate: Rate | None) -> str:
    return "undefined" if rate is None else rate.brief()


def _quoted(name: str) -> str:
    return f"'{printable(name)}'"


def other_class(class_names: Sequence[str], positive_class: str) -> str:
    """Return the class that is not the positive one.

    Raises:
        SettingError: They are not two different names, or the positive class is none of them.
    """
    first, second = _check_classes(class_names, positive_class)
    return second if positive_class == first else first


def _check_classes(class_names: Sequence[str], positive_class: str) -> tuple[str, str]:
    if isinstance(class_names, str) or len(class_names) != 2 or class_names[0] == class_names[1]:
        raise SettingError(f"`class_names` must be two different names, got {class_names!r}")
    check_choice("positive class", positive_class, tuple(class_names))
    return class_names[0], class_names[1]


def _check_texts(name: str, texts: Sequence[str]) -> None:
    if isinstance(texts, str) or not all(isinstance(text, str) for text in texts):
        raise SettingError(f"`{name}` must be a list of texts, got {texts!r}")
