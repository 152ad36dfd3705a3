"""Two sets of predictions on the same images: how much better is one, beyond the noise?

What makes an image easy or hard is the same for both, so the difference image by image is known much better
than either mean.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final, TypeAlias, final

import numpy as np
import numpy.typing as npt

from tlkit.core.spec import Spec, check_float, check_int
from tlkit.errors import SettingError

Floats: TypeAlias = npt.NDArray[np.float64]

_Z: Final = NormalDist().inv_cdf(0.975)


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

    @property
    def interval(self) -> tuple[float, float]:
        """Student's 95 % confidence interval of the mean; endless for a single image."""
        half = _student(self.count - 1) * self.standard_error if self.count > 1 else math.inf
        return self.mean - half, self.mean + half

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


@final
@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class ShareDifference(Spec):
    """The difference of two shares of the same images, such as two accuracies.

    Attributes:
        value: The new share minus the old one, -1 to 1.
        low: Lower end of its 95 % confidence interval.
        high: Upper end of it.
        count: How many images.
    """

    value: float
    low: float
    high: float
    count: int

    def __post_init__(self) -> None:
        check_float("value", self.value, at_least=-1, at_most=1)
        check_float("low", self.low, at_least=-1, at_most=self.value)
        check_float("high", self.high, at_least=self.value, at_most=1)
        check_int("count", self.count, at_least=1)

    def __str__(self) -> str:
        return f"{self.value:+.3f} ({self.low:+.3f} to {self.high:+.3f})"


def share_difference(only_new: int, only_old: int, count: int) -> ShareDifference:
    """Compare two shares of the same images, such as how many of them two classifiers call right.

    The interval is Bonett and Price's: Wald's, with an image more on either side. It holds up where the two
    hardly ever differ, where Wald's shrinks to nothing.

    Args:
        only_new: Images that count for the new one alone, at least 0.
        only_old: Images that count for the old one alone, at least 0.
        count: All images, at least 1, with those that count for both or for neither.

    Raises:
        SettingError: A number is outside its limits.

    Examples:
        >>> print(share_difference(14, 9, 200))
        +0.025 (-0.024 to +0.073)

    References:
        D. G. Bonett and R. M. Price (2012), Adjusted Wald confidence interval for a difference of binomial
        proportions based on paired data, Journal of Educational and Behavioral Statistics 37: 479-488.
    """
    check_int("count", count, at_least=1)
    check_int("only_new", only_new, at_least=0, at_most=count)
    check_int("only_old", only_old, at_least=0, at_most=count - only_new)
    new, old = ((number + 1) / (count + 2) for number in (only_new, only_old))
    half = _Z * math.sqrt((new + old - (new - old) ** 2) / (count + 2))
    value, centre = (only_new - only_old) / count, new - old
    return ShareDifference(
        value=value,
        low=max(-1.0, min(value, centre - half)),
        high=min(1.0, max(value, centre + half)),
        count=count,
    )


def _student(freedom: int) -> float:
    """Return the quantile of Student's distribution that 2.5 % lie above.

    Exact for 1 and 2 degrees of freedom, else the expansion of Cornish and Fisher (Abramowitz and Stegun
    26.7.5), whose error is below 1 in 1,000 from there on.
    """
    if freedom < 3:
        return (12.7062047, 4.3026527)[freedom - 1]
    z = _Z
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + sum(term / float(freedom) ** power for power, term in enumerate(terms, 1))
