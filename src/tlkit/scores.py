"""What was said about each picture: the raw material of thresholds, curves, galleries and label checks."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import mean, stdev
from typing import Any, TypeAlias, final

import numpy as np
import numpy.typing as npt

from tlkit.errors import SettingError
from tlkit.evaluate import Evaluation
from tlkit.logistic import sigmoid
from tlkit.spec import Spec

Floats: TypeAlias = npt.NDArray[np.float64]

OUT_OF_FOLD = "out-of-fold"
"""The name of a part whose every picture was judged by a classifier that had not learned from it."""


@final
@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Scores(Spec):
    """What the classifier said about one part, picture by picture.

    Attributes:
        names: Of the pictures, relative to the folder.
        labels: 1 for the positive class, 0 for the other.
        logits: Of the positive class, before any threshold.
    """

    names: tuple[str, ...]
    labels: tuple[int, ...]
    logits: tuple[float, ...]

    def __post_init__(self) -> None:
        if not len(self.names) == len(self.labels) == len(self.logits):
            raise SettingError("`scores` need a name, a label and a logit for each picture")
        if not {*self.labels} <= {0, 1} or not all(map(math.isfinite, self.logits)):
            raise SettingError("`scores` must be labels of 0 and 1, and finite logits")

    @property
    def probabilities(self) -> Floats:
        """Of the positive class, float64 `[N]`, 0-1."""
        return sigmoid(np.array(self.logits, np.float64))


@final
@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class CrossValidation(Spec):
    """Every picture judged by a classifier that had not learned from it, and how much folds differ.

    `cross_validate` makes it. `print` it for a page that explains itself.

    Attributes:
        evaluation: All out-of-fold probabilities together; its part is `"out-of-fold"`.
        folds: Each fold by itself, in order.
        fold_numbers: The fold of each picture of `scores`, counted from 0.
        scores: What was said about each picture by the classifier that had not learned from it.
    """

    evaluation: Evaluation
    folds: tuple[Evaluation, ...]
    fold_numbers: tuple[int, ...]
    scores: Scores

    def __post_init__(self) -> None:
        if len(self.folds) < 2 or len(self.fold_numbers) != len(self.scores.names):
            raise SettingError("cross-validation needs two folds, and a fold for each picture")

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
        """What was said about each picture by the classifier that had not learned from it."""
        return self.scores

    def mean(self, figure: str) -> float:
        """Return the mean over the folds of one figure of `Evaluation`, such as `"accuracy"`."""
        return mean(self._of_folds(figure))

    def spread(self, figure: str) -> float:
        """Return the standard deviation over the folds of one figure of `Evaluation`."""
        return stdev(self._of_folds(figure))

    def _of_folds(self, figure: str) -> list[float]:
        found = [getattr(fold, figure) for fold in self.folds]
        return [float(value) for value in found if value is not None] or [math.nan]

    def __str__(self) -> str:
        spreads = ", ".join(
            f"{words} {self.mean(name):.3f} ± {self.spread(name):.3f}"
            for name, words in (("accuracy", "accuracy"), ("log_loss", "log-loss"))
        )
        return f"{self.evaluation}\n\nover {len(self.folds)} folds (mean ± standard deviation): {spreads}"

    @classmethod
    def _from_json_value(cls, name: str, value: Any) -> Any:
        readers: dict[str, Callable[[Any], Any]] = {
            "evaluation": Evaluation.from_config,
            "folds": lambda folds: tuple(Evaluation.from_config(fold) for fold in folds),
            "scores": Scores.from_config,
            "fold_numbers": tuple,
        }
        return readers[name](value)
