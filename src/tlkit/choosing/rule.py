"""Which network is recommended: the cheapest of those that the folder cannot tell from the best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias, final

import numpy as np
import numpy.typing as npt

from tlkit.evaluation.paired import PairedDifference, paired_difference

Floats: TypeAlias = npt.NDArray[np.float64]


@final
@dataclass(frozen=True, slots=True)
class Choice:
    """What the rule says of some candidates, by their places.

    Attributes:
        best: The one with the lowest mean loss.
        recommended: The cheapest of those within one standard error of the paired difference to the best.
        differences: Of each to the best, below 0 nowhere.
    """

    best: int
    recommended: int
    differences: tuple[PairedDifference, ...]


def choose(losses: Floats, costs: Sequence[float]) -> Choice:
    """Apply the rule.

    Args:
        losses: Of each candidate on each image, float64 `[C, N]`, at least two images.
        costs: What an image costs with each candidate, `[C]`, in any unit.

    Examples:
        >>> close, dear = [0.1, 0.3, 0.2, 0.2], [0.2, 0.2, 0.1, 0.2]
        >>> choose(np.array([close, dear, [0.9, 0.8, 0.9, 0.9]]), [1.0, 5.0, 0.1]).recommended
        0

    References:
        L. Breiman, J. Friedman, C. J. Stone and R. A. Olshen (1984), Classification and regression trees,
        Wadsworth, section 3.4.3: the rule of one standard error, here of the paired difference.
    """
    means = losses.mean(axis=1)
    best = min(range(len(costs)), key=lambda place: (means[place], costs[place]))
    differences = tuple(paired_difference(one, losses[best]) for one in losses)
    close = [place for place, one in enumerate(differences) if is_close(one)]
    recommended = min(close, key=lambda place: (costs[place], means[place]))
    return Choice(best, recommended, differences)


def is_close(difference: PairedDifference) -> bool:
    """Say whether the folder cannot tell a candidate from the best."""
    return difference.mean <= difference.standard_error
