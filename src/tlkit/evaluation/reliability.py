"""Calibration error: are probabilities what they say? Images in bins of equal width, in NumPy alone."""

from __future__ import annotations

from typing import Final, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float64]
Ints: TypeAlias = npt.NDArray[np.int64]

BINS: Final = 10  # equal widths, the usual choice (Guo et al. 2017 take 15)


class Bins(NamedTuple):
    """Images by their probability, in equally wide bins; empty ones are left out."""

    middles: Floats
    """The middle of each bin, float64 `[B]`."""
    means: Floats
    """The mean probability in each bin, float64 `[B]`."""
    positives: Ints
    """How many positives are in it, int64 `[B]`."""
    counts: Ints
    """How many images are in it, int64 `[B]`."""

    @property
    def shares(self) -> Floats:
        """The share of positives in each bin, float64 `[B]`: equal to `means` where one can believe them."""
        return self.positives / self.counts

    @property
    def error(self) -> float:
        """The expected calibration error: the mean distance of both, weighted by the counts."""
        return float(np.abs(self.shares - self.means) @ self.counts / self.counts.sum())


def reliability_bins(labels: npt.ArrayLike, probabilities: npt.ArrayLike) -> Bins:
    """Sort images into bins by their probability.

    Args:
        labels: `[N]` of 0 and 1.
        probabilities: float `[N]`, 0-1.
    """
    given = np.asarray(probabilities, np.float64)
    edges = np.linspace(0, 1, BINS + 1)
    bin_of = np.searchsorted(edges[1:-1], given)
    counts = np.bincount(bin_of, minlength=BINS)
    positives, sums = (np.bincount(bin_of, weights=w, minlength=BINS) for w in (labels, given))
    filled = counts > 0
    middles = (edges[:-1] + edges[1:])[filled] / 2
    means = sums[filled] / counts[filled]
    return Bins(middles, means, positives[filled].astype(np.int64), counts[filled])
