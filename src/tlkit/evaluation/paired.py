"""Two sets of predictions on the same images: how much better is one, beyond the noise?

What makes an image easy or hard is the same for both, so the difference image by image is known much better
than either mean.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeAlias, final

import numpy as np
import numpy.typing as npt

from tlkit.core.spec import Spec, check_float, check_int
from tlkit.errors import SettingError

Floats: TypeAlias = npt.NDArray[np.float64]


@final
@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class PairedDifference(Spec):
    """The mean difference of a loss on the same images; below 0 the new one is better.

    Attributes:
        mean: Of the new losses minus the old ones, in nats for the log-loss.
        standard_error: Of that mean, at least 0.
        count: How many images.
    """

    mean: float
    standard_error: float
    count: int

    def __post_init__(self) -> None:
        check_float("mean", self.mean)
        check_float("standard_error", self.standard_error, at_least=0)
        check_int("count", self.count, at_least=1)

    @property
    def is_better(self) -> bool:
        """Whether the new one is better by more than one standard error."""
        return self.mean < -self.standard_error

    def __str__(self) -> str:
        return f"{self.mean:+.3f} ± {self.standard_error:.3f}"


def paired_difference(
    new: npt.ArrayLike, old: npt.ArrayLike, *, sample_weight: npt.ArrayLike | None = None
) -> PairedDifference:
    """Compare two losses image by image.

    Args:
        new: float `[N]`, the loss of each image with what is new; at least two images.
        old: float `[N]`, with what was there before.
        sample_weight: float `[N]`, at least 0: how much each image counts; only the ratios matter.

    Raises:
        SettingError: Shapes differ, or there are fewer than two images with weight.

    Examples:
        >>> print(paired_difference([0.1, 0.3, 0.2], [0.2, 0.4, 0.4]))
        -0.133 ± 0.033
    """
    differences = np.asarray(new, np.float64) - np.asarray(old, np.float64)
    weights = np.ones(differences.shape) if sample_weight is None else np.asarray(sample_weight)
    count = int((weights > 0).sum())
    if differences.ndim != 1 or weights.shape != differences.shape or count < 2:
        raise SettingError(
            "a paired difference needs two lists of one length with at least two images, got shapes "
            f"{np.shape(new)} and {np.shape(old)}"
        )
    shares = weights / weights.sum()
    mean = float(shares @ differences)
    variance = float(shares**2 @ (differences - mean) ** 2) * count / (count - 1)
    return PairedDifference(mean=mean, standard_error=math.sqrt(variance), count=count)
