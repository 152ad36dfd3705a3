"""The labels and logits of a split, and cross-validation: what thresholds, curves and label checks use."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, stdev
from typing import Final, Self, TypeAlias, final

import numpy as np
import numpy.typing as npt

from tlkit.core.spec import Spec, check_choice
from tlkit.errors import SettingError
from tlkit.evaluation.evaluate import THE_THRESHOLD, Evaluation, evaluate
from tlkit.evaluation.log_loss import sigmoid
from tlkit.evaluation.rate import Rate
from tlkit.evaluation.slices import Facet

Floats: TypeAlias = npt.NDArray[np.float64]

OUT_OF_FOLD = "out-of-fold"
"""The `part` of out-of-fold predictions: each image scored by a model not trained on it."""

_METRICS: Final = (
    "accuracy", "balanced_accuracy", "precision", "recall", "specificity", "f1",
    "roc_auc", "pr_auc", "log_loss", "brier_score", "calibration_error",
)  # fmt: skip


@final
@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Scores(Spec):
    """Labels and logits of one split, image by image.

    Attributes:
        names: Path of each image, relative to the folder; none in an exported folder, which keeps no names.
        labels: 1 for the positive class, 0 for the negative class.
        logits: Log-odds of the positive class, before any threshold.
        facets: Facts of each image, such as its format.
        groups: A number for each image that images of one group share. Empty where no groups were given.
    """

    names: tuple[str, ...]
    labels: tuple[int, ...]
    logits: tuple[float, ...]
    facets: tuple[Facet, ...] = ()
    groups: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if len(self.labels) != len(self.logits) or len(self.names) not in (0, len(self.labels)):
            raise SettingError("`scores` need a name, a label and a logit for each image")
        if not {*self.labels} <= {0, 1} or not all(map(math.isfinite, self.logits)):
            raise SettingError("`scores` must be labels of 0 and 1, and finite logits")
        if any(len(facet.codes) != len(self.labels) for facet in self.facets):
            raise SettingError("`facets` of `scores` must say something of each image")

        if len(self.groups) not in (0, len(self.labels)):
            raise SettingError("`groups` of `scores` must be one for each image, or none at all")

    @property
    def probabilities(self) -> Floats:
        """Of the positive class, float64 `[N]`, 0-1."""
        return sigmoid(np.array(self.logits, np.float64))

    def accuracy(self, threshold: float) -> Rate:
        """Return the share that is called right at a threshold, with Wilson's interval."""
        right = (self.probabilities >= threshold) == np.array(self.labels, bool)
        return Rate.wilson(int(right.sum()), len(self.labels))

    def check_names(self) -> None:
        """Raise where nobody knows which images these are.

        Raises:
            SettingError: They come from an exported folder.
        """
        if len(self.names) != len(self.labels):
            raise SettingError(
                "images must be known by name for this, but an exported folder keeps no names: load the "
                ".keras file that it was exported from"
            )


@final
@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class CrossValidation(Spec):
    """Metrics over out-of-fold predictions, in all and fold by fold.

    Each image is scored by a model not trained on it. `cross_validate` returns it; `print` it for a summary.

    Attributes:
        evaluation: Metrics over all out-of-fold predictions; its part is `"out-of-fold"`.
        folds: Metrics of each fold, in order.
        fold_numbers: The fold of each image of `scores`, counted from 0.
        scores: Labels and out-of-fold logits of all images.
        known_groups: The same where other images of each one's group were learned from, for comparison. None
            where no groups were given, or folds fine-tune.
    """

    evaluation: Evaluation
    folds: tuple[Evaluation, ...]
    fold_numbers: tuple[int, ...]
    scores: Scores
    known_groups: Scores | None = None

    def __post_init__(self) -> None:
        counts = [self.fold_numbers.count(number) for number in range(len(self.folds))]
        of_all = len(self.scores.labels), len(self.fold_numbers), self.evaluation.count
        if len(counts) < 2 or {*of_all} != {sum(counts)}:
            raise SettingError("cross-validation needs two folds, and a fold for each image")

    @classmethod
    def counted(
        cls,
        scores: Scores,
        fold_numbers: Sequence[int],
        *,
        class_names: Sequence[str],
        positive_class: str,
        threshold: float = 0.5,
        used_to_choose: Sequence[str] = (),
        known_groups: Scores | None = None,
    ) -> Self:
        """Compute the metrics of out-of-fold predictions, in all and fold by fold.

        Args:
            scores: Labels and out-of-fold logits of all images.
            fold_numbers: The fold of each image, counted from 0 without gaps.
            class_names: Both classes, in the order of the dataset.
            positive_class: The one that the logits are of.
            threshold: An image counts as positive when its probability is at least this; 0 to 1.
            used_to_choose: Choices made on these images, as in `evaluate`.
            known_groups: As the attribute has it.
        """
        labels, probabilities = np.array(scores.labels), scores.probabilities
        numbers = np.array(fold_numbers)
        count = max(fold_numbers) + 1

        def evaluated(part: str, chosen: npt.NDArray[np.bool_]) -> Evaluation:
            return evaluate(
                labels[chosen],
                probabilities[chosen],
                class_names=class_names,
                positive_class=positive_class,
                threshold=threshold,
                part=part,
                used_to_choose=used_to_choose,
                folds=count if part == OUT_OF_FOLD else None,
                facets=scores.facets if part == OUT_OF_FOLD else (),
                groups=scores.groups if part == OUT_OF_FOLD else (),
                known_groups=known_groups.accuracy(threshold)
                if known_groups and part == OUT_OF_FOLD
                else None,
            )

        return cls(
            evaluation=evaluated(OUT_OF_FOLD, numbers >= 0),
            folds=tuple(evaluated(f"fold {n + 1}", numbers == n) for n in range(count)),
            fold_numbers=tuple(fold_numbers),
            scores=scores,
            known_groups=known_groups,
        )

    def recounted(self, threshold: float, *, used_to_choose: Sequence[str] = ()) -> Self:
        """Return the same predictions, evaluated at another threshold.

        Args:
            threshold: An image counts as positive when its probability is at least this; 0 to 1.
            used_to_choose: What was chosen on these images besides what is known already; a former
                threshold is forgotten.
        """
        before = (word for word in self.evaluation.used_to_choose if word != THE_THRESHOLD)
        return self.counted(
            self.scores,
            self.fold_numbers,
            class_names=self.class_names,
            positive_class=self.positive_class,
            threshold=threshold,
            used_to_choose=(*before, *used_to_choose),
            known_groups=self.known_groups,
        )

    @property
    def class_names(self) -> tuple[str, str]:
        """Both classes, in the order of the dataset."""
        return self.evaluation.class_names

    @property
    def positive_class(self) -> str:
        """The class that probabilities are of."""
        return self.evaluation.positive_class

    @property
    def out_of_fold(self) -> Scores:
        """Out-of-fold predictions: each image scored by a model not trained on it."""
        return self.scores

    def mean(self, metric: str) -> float:
        """Return the mean of a metric over the folds.

        Args:
            metric: A metric of `Evaluation`, such as `"accuracy"`. Folds where it is undefined are left out.

        Returns:
            The mean; NaN where it is undefined in every fold.

        Raises:
            SettingError: `Evaluation` has no such metric.
        """
        found = self._of_folds(metric)
        return mean(found) if found else math.nan

    def spread(self, metric: str) -> float:
        """Return the standard deviation of a metric over the folds.

        Args:
            metric: A metric of `Evaluation`, such as `"accuracy"`. Folds where it is undefined are left out.

        Returns:
            The standard deviation; NaN where it is defined in fewer than two folds.

        Raises:
            SettingError: `Evaluation` has no such metric.
        """
        found = self._of_folds(metric)
        return stdev(found) if len(found) > 1 else math.nan

    def _of_folds(self, metric: str) -> list[float]:
        check_choice("metric", metric, _METRICS)
        found = [getattr(fold, metric) for fold in self.folds]
        return [float(value) for value in found if value is not None]

    @property
    def by_fold(self) -> str:
        """How much the folds differ, in one line."""
        spreads = ", ".join(
            f"{label} {self.mean(name):.3f} ± {self.spread(name):.3f}"
            for name, label in (("accuracy", "accuracy"), ("log_loss", "log-loss"))
        )
        return f"over {len(self.folds)} folds (mean ± standard deviation): {spreads}"

    def __str__(self) -> str:
        return f"{self.evaluation}\n\n{self.by_fold}"
