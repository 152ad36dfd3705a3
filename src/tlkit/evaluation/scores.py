"""What was said about each image: the raw material of thresholds, curves, galleries and label checks."""

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
from tlkit.evaluation.evaluate import Evaluation, evaluate
from tlkit.evaluation.log_loss import sigmoid

Floats: TypeAlias = npt.NDArray[np.float64]

OUT_OF_FOLD = "out-of-fold"
"""The name of a part whose every image was judged by a classifier that had not learned from it."""

_FIGURES: Final = (
    "accuracy", "balanced_accuracy", "precision", "recall", "specificity", "f1",
    "roc_auc", "pr_auc", "log_loss", "brier_score", "calibration_error",
)  # fmt: skip


@final
@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Scores(Spec):
    """What the classifier said about one part, image by image.

    Attributes:
        names: Of the images, relative to the folder; none in an exported folder, which keeps no names.
        labels: 1 for the positive class, 0 for the other.
        logits: Of the positive class, before any threshold.
    """

    names: tuple[str, ...]
    labels: tuple[int, ...]
    logits: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.labels) != len(self.logits) or len(self.names) not in (0, len(self.labels)):
            raise SettingError("`scores` need a name, a label and a logit for each image")
        if not {*self.labels} <= {0, 1} or not all(map(math.isfinite, self.logits)):
            raise SettingError("`scores` must be labels of 0 and 1, and finite logits")

    @property
    def probabilities(self) -> Floats:
        """Of the positive class, float64 `[N]`, 0-1."""
        return sigmoid(np.array(self.logits, np.float64))

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
    """Every image judged by a classifier that had not learned from it, and how much folds differ.

    `cross_validate` makes it. `print` it for a page that explains itself.

    Attributes:
        evaluation: All out-of-fold probabilities together; its part is `"out-of-fold"`.
        folds: Each fold by itself, in order.
        fold_numbers: The fold of each image of `scores`, counted from 0.
        scores: What was said about each image by the classifier that had not learned from it.
    """

    evaluation: Evaluation
    folds: tuple[Evaluation, ...]
    fold_numbers: tuple[int, ...]
    scores: Scores

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
    ) -> Self:
        """Count what was said about each image, in all and fold by fold.

        Args:
            scores: Of all images, each judged by a classifier that had not learned from it.
            fold_numbers: The fold of each, counted from 0 without gaps.
            class_names: Both classes, in the order of the dataset.
            positive_class: The one that the logits are of.
            threshold: An image counts as positive when its probability is at least this; 0 to 1.
            used_to_choose: What was chosen on these images.
        """
        labels, probabilities = np.array(scores.labels), scores.probabilities
        numbers = np.array(fold_numbers)

        def judged(part: str, chosen: npt.NDArray[np.bool_]) -> Evaluation:
            return evaluate(
                labels[chosen],
                probabilities[chosen],
                class_names=class_names,
                positive_class=positive_class,
                threshold=threshold,
                part=part,
                used_to_choose=used_to_choose,
            )

        return cls(
            evaluation=judged(OUT_OF_FOLD, numbers >= 0),
            folds=tuple(
                judged(f"fold {n + 1}", numbers == n) for n in range(max(fold_numbers) + 1)
            ),
            fold_numbers=tuple(fold_numbers),
            scores=scores,
        )

    def recounted(self, threshold: float, *, used_to_choose: Sequence[str] = ()) -> Self:
        """Return the same judgements, counted at another threshold."""
        return self.counted(
            self.scores,
            self.fold_numbers,
            class_names=self.class_names,
            positive_class=self.positive_class,
            threshold=threshold,
            used_to_choose=used_to_choose,
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
        """What was said about each image by the classifier that had not learned from it."""
        return self.scores

    def mean(self, figure: str) -> float:
        """Return the mean over the folds of one figure of `Evaluation`, such as `"accuracy"`.

        Folds in which it is not defined are left out; NaN where it is defined in none.

        Raises:
            SettingError: `Evaluation` has no such figure.
        """
        found = self._of_folds(figure)
        return mean(found) if found else math.nan

    def spread(self, figure: str) -> float:
        """Return the standard deviation over the folds of one figure of `Evaluation`.

        Folds in which it is not defined are left out; NaN where fewer than two are left.

        Raises:
            SettingError: `Evaluation` has no such figure.
        """
        found = self._of_folds(figure)
        return stdev(found) if len(found) > 1 else math.nan

    def _of_folds(self, figure: str) -> list[float]:
        check_choice("figure", figure, _FIGURES)
        found = [getattr(fold, figure) for fold in self.folds]
        return [float(value) for value in found if value is not None]

    def __str__(self) -> str:
        spreads = ", ".join(
            f"{words} {self.mean(name):.3f} ± {self.spread(name):.3f}"
            for name, words in (("accuracy", "accuracy"), ("log_loss", "log-loss"))
        )
        return f"{self.evaluation}\n\nover {len(self.folds)} folds (mean ± standard deviation): {spreads}"
