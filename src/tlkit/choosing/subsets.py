"""Nested subsets of a training set: each holds the smaller ones, classes in their shares, groups whole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from tlkit.core.rows import Indices

Floats: TypeAlias = npt.NDArray[np.float64]


def places(labels: Indices, groups: Sequence[str], *, seed: int) -> Floats:
    """Return where each example comes in: those at or below a share are the subset of that share.

    Within each stratum (groups of one class, of the other, of both) groups come in a random order, each at
    the middle of the stretch that its examples take up.

    Args:
        labels: 0 or 1, int64 `[N]`.
        groups: One key per example, `[N]`; those with equal keys come in together.
        seed: Which of the many orders, at least 0.

    Returns:
        float64 `[N]`, above 0 and below 1.

    Examples:
        >>> found = places(np.array([0, 0, 1, 1]), ["a", "b", "c", "d"], seed=0)
        >>> sorted(found.tolist())
        [0.25, 0.25, 0.75, 0.75]
    """
    names, members = np.unique(np.array(groups), return_inverse=True)
    counts = np.zeros((len(names), 2), np.int64)
    np.add.at(counts, (members, labels), 1)
    sizes, stratum = counts.sum(axis=1), (counts > 0) @ (1, 2)
    found = np.empty(len(names))
    random = np.random.default_rng(seed)
    for number in (1, 2, 3):
        own = random.permutation(np.flatnonzero(stratum == number))
        ends = np.cumsum(sizes[own])
        found[own] = (ends - sizes[own] / 2) / max(1, sizes[own].sum())
    return np.asarray(found[members])
