"""The points of every curve, computed from labels and probabilities, in NumPy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, TypeAlias, final

import numpy as np
import numpy.typing as npt

from tlkit.classifier.classifier import TransferClassifier, check_classifier
from tlkit.core.spec import check_choice
from tlkit.errors import SettingError, printable
from tlkit.evaluation.evaluate import THE_THRESHOLD, Evaluation, evaluate
from tlkit.evaluation.scores import OUT_OF_FOLD, CrossValidation, Scores

Floats: TypeAlias = npt.NDArray[np.float64]
Ints: TypeAlias = npt.NDArray[np.int64]


@final
@dataclass(frozen=True, slots=True)
class Judged:
    """Labels, logits and metrics of one split, or of a cross-validation."""

    evaluation: Evaluation
    scores: Scores

    @classmethod
    def of(cls, result: TransferClassifier | CrossValidation, part: str | None) -> Judged:
        """Take one split of a result.

        Args:
            result: A classifier, or a cross-validation.
            part: None: the validation split of a classifier, all of a cross-validation.

        Raises:
            SettingError: `result` is neither, or has no such split.
        """
        check_classifier("result", result, CrossValidation)
        if isinstance(result, CrossValidation):
            check_choice("part", part or OUT_OF_FOLD, (OUT_OF_FOLD,))
            return cls(result.evaluation, result.scores)
        known = {e.part: e for e in (result.evaluation, result.test_evaluation) if e is not None}
        part = part or result.evaluation.part
        scores = result.card.scores[check_choice("part", part, list(result.card.scores))]
        choice = result.card.threshold_choice
        chosen = (THE_THRESHOLD,) if choice and choice.part == part else ()
        evaluation = known.get(part) or evaluate(
            scores.labels,
            scores.probabilities,
            class_names=result.class_names,
            positive_class=result.positive_class,
            threshold=result.threshold,
            part=part,
            used_to_choose=chosen,
            facets=scores.facets,
            groups=scores.groups,
        )
        return cls(evaluation, scores)

    @property
    def labels(self) -> Ints:
        """1 for the positive class, else 0; int64 `[N]`."""
        return np.array(self.scores.labels, np.int64)

    @property
    def images(self) -> str:
        """How many of what, for a title: "65 validation images"."""
        kind = {"train": "training"}.get(self.evaluation.part, printable(self.evaluation.part))
        plural = "" if self.evaluation.count == 1 else "s"
        return f"{self.evaluation.count:,} {kind} image{plural}"

    def check_classes(self) -> None:
        """Raise where a class is missing, so that a curve between both would mean nothing."""
        if not (self.evaluation.positive_count and self.evaluation.negative_count):
            raise SettingError(
                f"this figure needs images of both classes, but the {self.images} are all of one: "
                "choose another `part`"
            )


class Steps(NamedTuple):
    """How many images of each class reach a threshold, for every threshold that makes a difference."""

    thresholds: Floats
    """The probabilities that occur, the highest first, float64 `[K]`."""
    true_positives: Ints
    """Positives with at least that probability, int64 `[K]`."""
    false_positives: Ints
    """Negatives with at least that probability, int64 `[K]`."""


def steps(labels: npt.ArrayLike, probabilities: npt.ArrayLike) -> Steps:
    """Count the images that reach each threshold.

    Args:
        labels: `[N]` of 0 and 1.
        probabilities: float `[N]`, 0-1.

    Examples:
        >>> [values.tolist() for values in steps([1, 0, 1, 0], [0.9, 0.5, 0.5, 0.1])]
        [[0.9, 0.5, 0.1], [1, 2, 2], [0, 1, 2]]
    """
    truth = np.asarray(labels, np.int64)
    thresholds, inverse = np.unique(-np.asarray(probabilities, np.float64), return_inverse=True)
    positives = np.cumsum(np.bincount(inverse, weights=truth)).astype(np.int64)
    return Steps(-thresholds, positives, np.cumsum(np.bincount(inverse)) - positives)


def roc_points(reached: Steps) -> tuple[Floats, Floats]:
    """Return false and true positive rates, float64 `[K + 1]`; calling nothing positive comes first."""
    alarms, hits = np.append(0, reached.false_positives), np.append(0, reached.true_positives)
    return alarms / alarms[-1], hits / hits[-1]


def precision_recall_points(reached: Steps) -> tuple[Floats, Floats]:
    """Return precision and recall at each threshold, float64 `[K]`, the highest threshold first."""
    called = reached.true_positives + reached.false_positives
    return reached.true_positives / called, reached.true_positives / reached.true_positives[-1]


def f1_points(reached: Steps) -> Floats:
    """Return F1 at each threshold, float64 `[K]`, the highest threshold first."""
    called = reached.true_positives + reached.false_positives
    return np.asarray(2 * reached.true_positives / (called + reached.true_positives[-1]))
