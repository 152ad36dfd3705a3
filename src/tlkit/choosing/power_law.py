"""How a log-loss goes on falling with more images: an inverse power law, with how little a curve says of it.

`loss(n) = floor + scale · n^-exponent` is what learning curves of classifiers follow over wide ranges. A few
points do not tell its three numbers apart, so none is picked: every combination on a grid is weighted by how
well it fits and by how likely its gain was before anybody looked, and the forecast is the weighted quantile
of what they all say.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float64]

EXPONENTS: Final = np.linspace(0.1, 1.2, 12)
FLOORS: Final = np.linspace(0, 1.2, 25)  # as shares of the last loss
SCALES: Final = np.linspace(0, 1.5, 61)  # likewise
MISFIT: Final = 0.08
"""How far a real curve strays from the law at the last point, as a share of the loss; and so much more for
each halving before, so that what goes on from here is told by the points that are near."""

USUAL: Final = 0.88
SPREAD: Final = 0.13
"""What twice as many images leave of the log-loss on folders at large, and its standard deviation."""

WIDEST: Final = 0.3
"""How far the band reaches either way, at most, as a share of the middle: a wider one says nothing."""

TAILS: Final = (0.05, 0.95)


def forecast(
    counts: Sequence[float],
    losses: Sequence[float],
    errors: Sequence[float],
    times: float,
) -> tuple[float, float, float]:
    """Say what the loss would be with `times` as many images as at the last point.

    Args:
        counts: Training images at each point, ascending, `[P]`.
        losses: Mean log-loss there, above 0, `[P]`.
        errors: Its relative standard error, as far as that comes from which images were drawn, `[P]`.
        times: By how much the last count is multiplied, at least 1.

    Returns:
        The middle, and the ends of the band: of 90 %, but never wider than `WIDEST`.

    Examples:
        >>> law = [0.05 + n**-0.5 for n in (50, 100, 200, 400)]
        >>> middle, low, high = forecast((50, 100, 200, 400), law, (0.01,) * 4, 2)
        >>> low < 0.05 + 800**-0.5 < high
        True

    References:
        C. Cortes, L. D. Jackel, S. A. Solla, V. Vapnik and J. S. Denker (1993), Learning curves: asymptotic
        values and rate of convergence, NIPS 6. T. Viering and M. Loog (2023), The shape of learning curves: a
        review, IEEE Transactions on Pattern Analysis and Machine Intelligence 45: 7799-7819.
    """
    share = np.asarray(counts, np.float64) / counts[-1]
    last = losses[-1]
    floors, scales, exponents = np.meshgrid(FLOORS, SCALES, EXPONENTS, indexing="ij")
    laws = floors[..., None] + scales[..., None] * share ** -exponents[..., None]
    spread = np.hypot(errors, MISFIT * (1 - np.log2(share)))
    with np.errstate(divide="ignore", invalid="ignore"):
        misfits = (np.log(laws) - np.log(np.asarray(losses) / last)) / spread
        left = (floors + scales * 2.0**-exponents) / (floors + scales)
        fit = -0.5 * (np.square(misfits).sum(axis=-1) + ((left - USUAL) / SPREAD) ** 2).ravel()
    fit[~np.isfinite(fit)] = -np.inf  # nothing at all, of which no logarithm is known
    weights = np.exp(fit - fit.max())
    said = (floors + scales * times**-exponents).ravel()
    order = np.argsort(said)
    known = np.cumsum(weights[order]) / weights.sum()
    low, middle, high = (
        float(said[order][np.searchsorted(known, p)]) for p in (TAILS[0], 0.5, TAILS[1])
    )
    low, high = max(low, (1 - WIDEST) * middle), min(high, (1 + WIDEST) * middle)
    return middle * last, low * last, high * last
