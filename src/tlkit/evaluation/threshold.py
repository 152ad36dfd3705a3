"""A threshold chosen for a purpose, on images the classifier did not learn from.

Only thresholds that call different images positive differ, so the candidates are the middles between
neighbouring probabilities: a change in the last digits of a probability moves no image to the other
side. Two more call every image positive (0) and none of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Self, TypeAlias, final

import numpy as np
import numpy.typing as npt

from tlkit.core.spec import Spec, check_choice, check_float, check_int
from tlkit.errors import SettingError, printable
from tlkit.evaluation.bounds import longest_proven, one_per_group, proven_quantile
from tlkit.evaluation.metrics import check_pairs
from tlkit.evaluation.rate import Rate, share

Floats: TypeAlias = npt.NDArray[np.float64]
Ints: TypeAlias = npt.NDArray[np.int64]

_NUMBERS: Final[dict[str, tuple[str, ...]]] = {
    "f1": (),
    "youden": (),
    "precision": ("at_least",),
    "recall": ("at_least",),
    "cost": ("false_positive", "false_negative"),
}
_KINDS: Final = tuple(_NUMBERS)


@final
@dataclass(frozen=True, slots=True, repr=False, kw_only=True)
class ThresholdGoal(Spec):
    """What a threshold is chosen for. Use the named constructors, or `parse` for the command line.

    Attributes:
        kind: `"f1"`, `"youden"`, `"precision"`, `"recall"` or `"cost"`.
        at_least: The precision or recall that is asked for, above 0 and up to 1; 0 for the other goals.
        false_positive: What calling a negative positive costs, above 0, in any unit; 1 for the other goals.
        false_negative: What missing a positive costs, above 0, in the same unit; 1 for the other goals.
        confidence: In how many draws of images, at least, a precision or recall is kept on new images
            too, above 0 and below 1; None: it is what the images at hand show.

    Examples:
        >>> print(ThresholdGoal.precision(0.95))
        precision of at least 0.95
        >>> ThresholdGoal.parse("cost=1:5") == ThresholdGoal.cost(false_negative=5)
        True
    """

    kind: str
    at_least: float = 0.0
    false_positive: float = 1.0
    false_negative: float = 1.0
    confidence: float | None = None

    def __post_init__(self) -> None:
        check_choice("threshold goal", self.kind, _KINDS)
        for name, above in (("at_least", -math.inf), ("false_positive", 0), ("false_negative", 0)):
            number = check_float(name, getattr(self, name), above=above)
            object.__setattr__(self, name, number)  # as a plain float, which JSON can carry
        if self.kind in {"precision", "recall"}:
            check_float("at_least", self.at_least, above=0, at_most=1)
        elif self.at_least:
            raise SettingError(f"`at_least` belongs to precision and recall, not to {self.kind}")
        if self.confidence is not None:
            _check_confidence(self.kind, self.at_least, self.confidence)
        if self.kind != "cost" and (self.false_positive, self.false_negative) != (1, 1):
            raise SettingError(f"costs of mistakes belong to the goal cost, not to {self.kind}")

    @classmethod
    def best_f1(cls) -> Self:
        """The largest F1, the harmonic mean of precision and recall."""
        return cls(kind="f1")

    @classmethod
    def youden(cls) -> Self:
        """The largest sensitivity + specificity - 1: a rare class counts as much as a common one.

        References:
            W. J. Youden (1950), Index for rating diagnostic tests, Cancer 3: 32-35.
        """
        return cls(kind="youden")

    @classmethod
    def precision(cls, at_least: float, *, confidence: float | None = None) -> Self:
        """As many positives as can be found while this share of what is called positive is right.

        Args:
            at_least: Above 0, up to 1 (below 1 with a confidence).
            confidence: In how many draws of images, at least, it is kept on new images too, above 0 and
                below 1. None: it is what the images at hand show, and half of the time less on new ones.
        """
        return cls(kind="precision", at_least=at_least, confidence=confidence)

    @classmethod
    def recall(cls, at_least: float, *, confidence: float | None = None) -> Self:
        """As few false positives as possible while this share of the positives is found.

        Args:
            at_least: Above 0, up to 1 (below 1 with a confidence).
            confidence: In how many draws of images, at least, it is kept on new images too, above 0 and
                below 1. None: it is what the images at hand show, and half of the time less on new ones.
        """
        return cls(kind="recall", at_least=at_least, confidence=confidence)

    @classmethod
    def cost(cls, *, false_positive: float = 1.0, false_negative: float = 1.0) -> Self:
        """The lowest total cost of mistakes; with equal costs the best accuracy.

        Args:
            false_positive: What calling a negative positive costs, above 0, in any unit.
            false_negative: What missing a positive costs, above 0, in the same unit.
        """
        return cls(kind="cost", false_positive=false_positive, false_negative=false_negative)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a goal of the command line.

        Args:
            text: `"f1"`, `"youden"`, `"precision=0.95"`, `"recall=0.9"` or `"cost=1:5"` (what a false
                positive costs, then a false negative); `"precision=0.95@0.9"` with a confidence.

        Raises:
            SettingError: It is none of these, or a number is outside its limits.
        """
        kind, equals, rest = text.strip().lower().partition("=")
        wanted = _NUMBERS[check_choice("threshold goal", kind, _KINDS)]
        rest, at, sure = rest.partition("@")
        parts = rest.split(":") if equals else []
        try:
            numbers = [float(part) for part in parts]
            confidence = float(sure) if at else None
        except ValueError:
            numbers, confidence = [], None
        if len(parts) != len(wanted) or len(numbers) != len(wanted):
            forms = {"precision": "precision=0.95", "recall": "recall=0.9", "cost": "cost=1:5"}
            raise SettingError(
                f"a threshold goal must look like {forms.get(kind, kind)!r}, got {text!r}"
            )
        return cls(kind=kind, confidence=confidence, **dict(zip(wanted, numbers, strict=True)))

    def __str__(self) -> str:
        if self.kind == "cost":
            return (
                f"lowest cost, a false positive costing {self.false_positive:g} and a false negative "
                f"{self.false_negative:g}"
            )
        names = {"f1": "best F1", "youden": "best sum of recall and specificity (Youden's J)"}
        sure = "" if self.confidence is None else f" with {100 * self.confidence:g} % confidence"
        return names.get(self.kind) or f"{self.kind} of at least {self.at_least:g}{sure}"


@final
@dataclass(frozen=True, slots=True, repr=False, kw_only=True)
class ThresholdChoice(Spec):
    """A threshold, what it was chosen for, and what it reached on the images that chose it.

    Attributes:
        threshold: An image counts as positive when its probability is at least this; 0 to 1.
        goal: What it was chosen for.
        part: Where the images come from.
        true_positives: Positives called positive.
        false_positives: Negatives called positive.
        true_negatives: Negatives called negative.
        false_negatives: Positives called negative.
    """

    threshold: float
    goal: ThresholdGoal
    part: str
    true_positives: int
    false_positives: int
    true_negatives: int
    false_negatives: int

    def __post_init__(self) -> None:
        check_float("threshold", self.threshold, at_least=0, at_most=1)
        for name in ("true_positives", "false_positives", "true_negatives", "false_negatives"):
            check_int(name, getattr(self, name), at_least=0)
        check_int("count", self.count, at_least=1)

    @property
    def count(self) -> int:
        """How many images chose it."""
        rights = self.true_positives + self.true_negatives
        return rights + self.false_positives + self.false_negatives

    @property
    def precision(self) -> Rate | None:
        """Share of what it calls positive that is; None when it calls nothing so."""
        return share(self.true_positives, self.true_positives + self.false_positives)

    @property
    def recall(self) -> Rate | None:
        """Share of the positives that it finds; None when there are none."""
        return share(self.true_positives, self.true_positives + self.false_negatives)

    @property
    def specificity(self) -> Rate | None:
        """Share of the negatives that it leaves alone; None when there are none."""
        return share(self.true_negatives, self.true_negatives + self.false_positives)

    def __str__(self) -> str:
        part = {"train": "training"}.get(self.part, printable(self.part))
        called = self.true_positives + self.false_positives
        rates = [
            f"{name} {rate.brief()}"
            for name, rate in (("precision", self.precision), ("recall", self.recall))
            if rate is not None
        ]
        return (
            f"threshold {self.threshold:.3g} for {self.goal}, chosen on {self.count} {part} images"
            f"{': expect less on new ones' if self.goal.confidence is None else ''}\n"
            f"  {called} called positive, {self.true_positives} rightly: {', '.join(rates)}"
        )


def choose_threshold(
    labels: npt.ArrayLike,
    probabilities: npt.ArrayLike,
    goal: ThresholdGoal,
    *,
    part: str = "validation",
    groups: Sequence[Any] | npt.NDArray[Any] | None = None,
) -> ThresholdChoice:
    """Choose the threshold that serves a goal best.

    What the images show decides (the point estimates), and the choice carries the intervals around it. Of
    equally good thresholds the one nearest to 0.5 is taken. A goal with a confidence is kept on images
    drawn like these in that share of the draws (`tlkit.evaluation.bounds` says how).

    Args:
        labels: `[N]` of 0 and 1; 1 is the positive class. Both must occur.
        probabilities: float `[N]`, 0 to 1: the probability of the positive class, from a classifier that has
            not learned from these images.
        goal: What the threshold is for.
        part: Where the images come from; the printed choice names it.
        groups: `[N]`, the group of each image (patient, video, object), for a goal with a confidence: groups
            are then what is drawn, and one image of each counts. None: each image is its own.

    Returns:
        The choice; `print` it for two lines with the metrics it reached.

    Raises:
        SettingError: The goal cannot be met on these images (the message says what can), shapes differ, a
            class is missing, a label is not 0 or 1, or a probability not within 0 to 1.

    Examples:
        >>> labels, probabilities = [1, 1, 1, 0, 0, 0], [0.9, 0.8, 0.4, 0.6, 0.2, 0.1]
        >>> print(choose_threshold(labels, probabilities, ThresholdGoal.precision(0.9)))
        threshold 0.7 for precision of at least 0.9, chosen on 6 validation images: expect less on new ones
          2 called positive, 2 rightly: precision 1.00 (0.34–1.00), recall 0.67 (0.21–0.94)
    """
    truth, given = check_pairs(labels, probabilities)
    positives, negatives = int(truth.sum()), int((truth == 0).sum())
    if not positives or not negatives:
        raise SettingError(
            f"a threshold needs images of both classes, got {negatives} of class 0 and {positives} of "
            "class 1: use a larger split, or out-of-fold probabilities"
        )
    thresholds, hits, false_alarms = _candidates(truth, given)

    def choice(index: int) -> ThresholdChoice:
        return ThresholdChoice(
            threshold=float(thresholds[index]),
            goal=goal,
            part=part,
            true_positives=int(hits[index]),
            false_positives=int(false_alarms[index]),
            true_negatives=negatives - int(false_alarms[index]),
            false_negatives=positives - int(hits[index]),
        )

    if goal.confidence is not None:
        least = _proven(truth, given, goal, goal.confidence, part, groups)
        return choice(int(np.searchsorted(np.unique(given), least)))
    allowed, merits = _wanted(goal, hits, false_alarms)
    if not allowed.any():
        most_precise = _best(hits > 0, (hits / np.maximum(hits + false_alarms, 1), hits))
        raise _refusal(choice(most_precise))
    return choice(_best(allowed, (*merits, -np.abs(thresholds - 0.5))))


def _proven(
    truth: Ints,
    given: Floats,
    goal: ThresholdGoal,
    confidence: float,
    part: str,
    groups: Sequence[Any] | npt.NDArray[Any] | None,
) -> float:
    """Return the smallest probability that is called positive where the goal must hold on new images."""
    among, images = np.arange(truth.size), f"{printable(part)} images"
    if goal.kind == "recall":
        among, images = np.flatnonzero(truth == 1), f"{printable(part)} positives"
    own = None if groups is None else [groups[int(index)] for index in among]
    drawn = among[one_per_group(own, among.size)]
    share = 1 - goal.at_least
    if goal.kind == "recall":
        return proven_quantile(given[drawn], share=share, confidence=confidence, images=images)
    wrong = truth[drawn] == 0
    return longest_proven(wrong, given[drawn], share=share, confidence=confidence, images=images)


def _check_confidence(kind: str, at_least: float, confidence: float) -> None:
    if kind not in {"precision", "recall"}:
        raise SettingError(f"a confidence belongs to precision and recall, not to {kind}")
    check_float("confidence", confidence, above=0, below=1)
    check_float(
        "at_least", at_least, above=0, below=1
    )  # that nothing ever goes wrong is not provable


def _candidates(truth: Ints, given: Floats) -> tuple[Floats, Ints, Ints]:
    """Ascending thresholds, each with the positives and the negatives that reach it."""
    values, inverse = np.unique(given, return_inverse=True)
    above = np.append(values[1:], 1.0)
    middles = values + (above - values) / 2
    middles = np.where(middles > values, middles, above)  # of neighbours nothing lies between
    counts = [np.bincount(inverse[truth == label], minlength=values.size) for label in (1, 0)]
    hits, false_alarms = (np.append(np.cumsum(own[::-1])[::-1], 0) for own in counts)
    kept = slice(None, -1 if values[-1] == 1 else None)  # no threshold leaves out a 1
    return np.append(0.0, middles)[kept], hits[kept], false_alarms[kept]


def _wanted(
    goal: ThresholdGoal, hits: Ints, false_alarms: Ints
) -> tuple[npt.NDArray[np.bool_], tuple[npt.NDArray[Any], ...]]:
    """Which candidates meet the goal, and what makes one better than another, the most important first."""
    positives, negatives = hits[0], false_alarms[0]  # the first candidate calls everything positive
    everywhere = np.ones(hits.size, np.bool_)
    if goal.kind == "precision":
        met = hits / np.maximum(hits + false_alarms, 1) >= goal.at_least
        return met, (hits, -false_alarms)
    if goal.kind == "recall":
        return hits / positives >= goal.at_least, (-false_alarms, hits)
    if goal.kind == "f1":
        return everywhere, (2 * hits / (hits + false_alarms + positives),)
    if goal.kind == "youden":
        return everywhere, (hits * negatives - false_alarms * positives,)
    costs = false_alarms * goal.false_positive + (positives - hits) * goal.false_negative
    return everywhere, (-np.round(costs / costs.max(), 12),)  # 3 · 0.1 is as dear as 0.3


def _best(allowed: npt.NDArray[np.bool_], merits: tuple[npt.NDArray[Any], ...]) -> int:
    """The allowed candidate with the largest merits, compared one after the other."""
    indices = np.flatnonzero(allowed)
    return int(indices[np.lexsort([merit[indices] for merit in reversed(merits)])[-1]])


def _refusal(nearest: ThresholdChoice) -> SettingError:
    precision, called = nearest.precision, nearest.true_positives + nearest.false_positives
    reached = 0.0 if precision is None else math.floor(100 * precision) / 100
    most = "" if precision is None else f": the most is {precision.brief('95 % CI ')}"
    part = printable(nearest.part)
    return SettingError(
        f"no threshold reaches {nearest.goal} on these {nearest.count} {part} images{most}, at threshold "
        f"{nearest.threshold:.3g}, which calls {called} of them positive. Ask for precision={reached:g} or "
        "less, choose on more images (such as out-of-fold ones), or train on more"
    )
