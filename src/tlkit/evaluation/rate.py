"""A proportion with its confidence interval."""

from __future__ import annotations

import math
from collections.abc import Mapping
from statistics import NormalDist
from typing import Any, Final, Self, final

from tlkit.core.spec import Json, check_float, check_int
from tlkit.errors import SettingError

_HALVINGS: Final = 52  # of an interval of length 1: as fine as a float


@final
class Rate(float):
    """A proportion with its confidence interval; acts as a float.

    Arithmetic gives plain floats, `==` and `hash` see the value alone, and `json.dumps` writes the value;
    `to_config` keeps the interval.

    Attributes:
        low: Lower end of the interval.
        high: Upper end of the interval.
        count: How many examples it rests on.
        confidence: How often such intervals contain the true value, between 0 and 1; 0.95 unless given.

    Examples:
        >>> accuracy = Rate.wilson(62, 65)
        >>> accuracy
        0.95 (95 % CI 0.87–0.98, n = 65)
        >>> accuracy > 0.9, round(accuracy.low, 3), f"{accuracy:.3f}"
        (True, 0.873, '0.954')
    """

    __slots__ = ("confidence", "count", "high", "low")
    low: float
    high: float
    count: int
    confidence: float

    def __new__(
        cls, value: float, *, low: float, high: float, count: int, confidence: float = 0.95
    ) -> Self:
        """Put a value and its interval together; `Rate.wilson` computes both.

        Raises:
            SettingError: Not 0 <= low <= value <= high <= 1, no count, or a confidence outside 0 to 1.
        """
        rate = super().__new__(cls, check_float("value", value, at_least=0, at_most=1))
        for name, part in (
            ("low", check_float("low", low, at_least=0, at_most=float(value))),
            ("high", check_float("high", high, at_least=float(value), at_most=1)),
            ("count", check_int("count", count, at_least=1)),
            ("confidence", check_float("confidence", confidence, above=0, below=1)),
        ):
            object.__setattr__(rate, name, part)
        return rate

    @classmethod
    def wilson(cls, successes: int, count: int, *, confidence: float = 0.95) -> Self:
        """Estimate a proportion with Wilson's interval, which holds up near 0 and 1 and for small counts.

        Args:
            successes: 0 to `count`.
            count: How many examples, at least 1.
            confidence: How often such intervals contain the true value, between 0 and 1.

        Raises:
            SettingError: A number is outside its limits.

        References:
            E. B. Wilson (1927), Journal of the American Statistical Association 22: 209-212.
        """
        count = check_int("count", count, at_least=1)
        share = check_int("successes", successes, at_least=0, at_most=count) / count
        tail = 0.5 + check_float("confidence", confidence, above=0, below=1) / 2
        z2 = NormalDist().inv_cdf(tail) ** 2 / count
        centre = (share + z2 / 2) / (1 + z2)
        half = math.sqrt(z2 * share * (1 - share) + z2 * z2 / 4) / (1 + z2)
        low = 0.0 if successes == 0 else min(centre - half, share)  # exact where rounding is not
        high = 1.0 if successes == count else max(centre + half, share)
        return cls(share, low=low, high=high, count=count, confidence=confidence)

    @classmethod
    def of_ranks(
        cls, area: float, positives: int, negatives: int, *, confidence: float = 0.95
    ) -> Self:
        """Put an interval around an area under the ROC curve; it holds up near 1 and for small counts.

        Like Wilson's for a proportion, it holds every true area from which the one found is not too far away,
        measured by Hanley and McNeil's variance at that true area (method 5 of Newcombe). It knows the counts
        alone: where the scores of one class are spread twice as widely as the other's, 95 % became 90.

        Args:
            area: How often a positive is ranked above a negative, 0-1.
            positives: How many positives, at least 1.
            negatives: How many negatives, at least 1.
            confidence: How often such intervals contain the true value, between 0 and 1.

        Raises:
            SettingError: A number is outside its limits.

        Examples:
            >>> Rate.of_ranks(1.0, 10, 10), Rate.of_ranks(0.9, 100, 100)
            (1.00 (95 % CI 0.80–1.00, n = 20), 0.90 (95 % CI 0.85–0.94, n = 200))

        References:
            R. G. Newcombe (2006), Confidence intervals for an effect size measure based on the Mann-Whitney
            statistic, part 2, Statistics in Medicine 25: 559-573. J. A. Hanley and B. J. McNeil (1982),
            Radiology 143: 29-36.
        """
        area = check_float("area", area, at_least=0, at_most=1)
        positives = check_int("positives", positives, at_least=1)
        negatives = check_int("negatives", negatives, at_least=1)
        tail = 0.5 + check_float("confidence", confidence, above=0, below=1) / 2
        z2, half = NormalDist().inv_cdf(tail) ** 2, (positives + negatives) / 2 - 1

        def near(true: float) -> bool:
            spread = 1 + half * ((1 - true) / (2 - true) + true / (1 + true))
            return (area - true) ** 2 <= z2 * true * (1 - true) * spread / (positives * negatives)

        def edge(far: float) -> float:
            close = area
            for _ in range(_HALVINGS):
                middle = (close + far) / 2
                close, far = (middle, far) if near(middle) else (close, middle)
            return far if near(far) else close

        count = positives + negatives
        return cls(area, low=edge(0.0), high=edge(1.0), count=count, confidence=confidence)

    @property
    def value(self) -> float:
        """The estimate as a plain float."""
        return float(self)

    def __repr__(self) -> str:
        return f"{self.brief(f'{100 * self.confidence:g} % CI ')[:-1]}, n = {self.count})"

    __str__ = __repr__

    def brief(self, prefix: str = "") -> str:
        """Write the value and its interval for tables, which show the count elsewhere.

        Args:
            prefix: Written before the interval.

        Examples:
            >>> Rate.wilson(62, 65).brief(), Rate.wilson(62, 65).brief("95 % CI ")
            ('0.95 (0.87–0.98)', '0.95 (95 % CI 0.87–0.98)')
        """
        width = self.high - self.low
        digits = (
            2 if width > 0.05 else 3 if width > 0.005 else 4
        )  # as many as the interval supports
        return f"{self.value:.{digits}f} ({prefix}{self.low:.{digits}f}–{self.high:.{digits}f})"

    def to_config(self) -> dict[str, Json]:
        """Return value, interval and count as plain JSON values."""
        names = ("value", "low", "high", "count", "confidence")
        return {name: getattr(self, name) for name in names}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Read what `to_config` wrote.

        Raises:
            SettingError: A part is missing, unknown or outside its limits.
        """
        try:
            return cls(**config)
        except TypeError as error:
            raise SettingError(
                f"a rate needs value, low, high and count, got {sorted(config)}"
            ) from error

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a rate does not change: cannot set {name} to {value!r}")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self).from_config, (self.to_config(),)


def share(successes: int, count: int) -> Rate | None:
    """Return a proportion with Wilson's interval; None of nothing.

    Examples:
        >>> share(62, 65), share(0, 0)
        (0.95 (95 % CI 0.87–0.98, n = 65), None)
    """
    return Rate.wilson(successes, count) if count else None
