"""Whether many new images are what a classifier learned from: a new camera is the usual end of one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, final

import numpy as np
import numpy.typing as npt

from tlkit.core.spec import Spec, check_float, check_int
from tlkit.errors import SettingError
from tlkit.evaluation.bounds import group_numbers
from tlkit.evaluation.familiarity import Familiarity
from tlkit.evaluation.rate import Rate

Floats: TypeAlias = npt.NDArray[np.float64]

SMALLEST: Final = 0.55
"""How often a new image must be farther away than a training image before it counts; 0.5 is no difference."""

FEWEST: Final = 20
"""New images below which nothing is said."""

_CHANCE: Final = 0.01  # of an alarm where nothing has changed
_SHUFFLES: Final = 999
_SEED: Final = 16


@final
@dataclass(frozen=True, slots=True, repr=False, kw_only=True)
class Drift(Spec):
    """New images lie farther from the training images than such images do.

    Attributes:
        share: How often a new image is farther away than a held-out training image, ties counting half, 0-1.
        count: How many new images.
        group_count: How many groups of them.
        held_out_count: How many groups of held-out training images they were compared with.
    """

    share: float
    count: int
    group_count: int
    held_out_count: int

    def __post_init__(self) -> None:
        check_float("share", self.share, at_least=0, at_most=1)
        for name in ("count", "group_count", "held_out_count"):
            check_int(name, getattr(self, name), at_least=1)

    @property
    def farther(self) -> Rate:
        """`share` with its interval, by `Rate.of_ranks`."""
        return Rate.of_ranks(self.share, self.group_count, self.held_out_count)

    def __str__(self) -> str:
        return (
            f"these {self.count} images are not what it learned from: a new image is farther from the "
            f"training images than a training image is from the others in {self.farther.brief()} of all "
            "pairs (0.50 is no difference). Figures and guarantees of the training folder may not hold here"
        )


def drift(
    distances: npt.ArrayLike,
    held_out: npt.ArrayLike,
    *,
    groups: Sequence[Any] | npt.NDArray[Any] | None = None,
    held_out_groups: Sequence[Any] | npt.NDArray[Any] | None = None,
) -> Drift | None:
    """Compare the distances of new images with those of held-out training images.

    Two conditions. Chance: groups are dealt out to both samples anew, 999 times, and a difference as large
    turns up in at most 1 % of them (p-values of one calibration set depend on each other, so that a test of
    them for uniformity would always alarm in the end). Size: a new image is the farther one in at least 0.55
    of all pairs, for a large number of images makes any difference certain. Only images that lie farther
    away count: those that the classifier learned from lie nearer, and are no drift.

    Args:
        distances: float `[N]`, of the new images: `Familiarity.distances_of`.
        held_out: float `[M]`, of the training images: `Familiarity.distances`.
        groups: `[N]`, the group of each new image, where several of one video or object are among them;
            without groups one long video may be an alarm. None: each image is its own.
        held_out_groups: `[M]`, likewise: `Familiarity.groups`.

    Returns:
        What was found; None where nothing was.

    Raises:
        SettingError: One of both is empty or not finite, or there is not one group for each.

    Examples:
        >>> old, new = np.linspace(0.3, 0.5, 300), np.linspace(0.45, 0.6, 80)
        >>> drift(old[::3], old) is None
        True
        >>> drift(new, old).farther
        0.96 (95 % CI 0.92–0.98, n = 380)

    References:
        H. B. Mann and D. R. Whitney (1947), On a test of whether one of two random variables is
        stochastically larger than the other, Annals of Mathematical Statistics 18: 50-60.
    """
    new, old = _checked("distances", distances), _checked("held_out", held_out)
    pooled = np.concatenate([new, old])
    ours, theirs = group_numbers(groups, new.size), group_numbers(held_out_groups, old.size)
    names, others = int(ours.max()) + 1, int(theirs.max()) + 1
    ranks = _mean_ranks(pooled)
    sums = np.concatenate(
        [np.bincount(ours, ranks[: new.size]), np.bincount(theirs, ranks[new.size :])]
    )
    sizes = np.concatenate([np.bincount(ours), np.bincount(theirs)]).astype(np.float64)
    farther = _farther(sums[:names], sizes[:names], pooled.size)
    if farther < SMALLEST or _chance(sums, sizes, names, farther, pooled.size) > _CHANCE:
        return None
    return Drift(
        share=farther,
        count=new.size,
        group_count=names,
        held_out_count=others,
    )


def drift_of(
    familiarities: npt.ArrayLike,
    known: Familiarity,
    *,
    groups: Sequence[Any] | npt.NDArray[Any] | None = None,
) -> Drift | None:
    """Compare new images with held-out training images by their familiarity, as `drift` does by distances.

    A familiarity tells between which held-out images a new one lies, which is all that is asked for.

    Args:
        familiarities: float `[N]`, of the new images: `Prediction.familiarity`. Fewer than `FEWEST` say
            nothing.
        known: What they were ranked among.
        groups: `[N]`, the group of each new image. None: each image is its own.

    Returns:
        What was found; None where nothing was.

    Examples:
        >>> features = np.random.default_rng(0).normal(size=(400, 8)) + 5
        >>> known = Familiarity.fit(features[:300])
        >>> drift_of(known.p_values(features[300:]), known) is None
        True
        >>> print(drift_of(known.p_values(-features[300:]), known).count)
        100
    """
    new = _checked("familiarities", familiarities)
    if new.size < FEWEST:
        return None
    lightest = 1 / (int(np.bincount(known.groups).max()) * (known.group_count + 1))
    return drift(
        -(new + lightest / 2),  # nearer than the nearest held-out image that is as far
        -known.ranks(known.distances),
        groups=groups,
        held_out_groups=known.groups,
    )


def _farther(sums: Floats, sizes: Floats, total: int) -> float:
    """Return how often an image of these groups is above one of the others, by Mann and Whitney."""
    count = float(sizes.sum())
    return (float(sums.sum()) - count * (count + 1) / 2) / (count * (total - count))


def _chance(sums: Floats, sizes: Floats, names: int, farther: float, total: int) -> float:
    """Return how often groups dealt out anew differ as much; the smaller sample is what is dealt."""
    random = np.random.default_rng(_SEED)
    dealt = min(names, sums.size - names)
    as_far = 1
    for _ in range(_SHUFFLES):
        drawn = random.choice(sums.size, dealt, replace=False, shuffle=False)
        share = _farther(sums[drawn], sizes[drawn], total)
        as_far += (share if dealt == names else 1 - share) >= farther
    return as_far / (_SHUFFLES + 1)


def _mean_ranks(values: Floats) -> Floats:
    """Return the rank of each value, counted from 1; equal values share their mean rank."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(counts) - (counts - 1) / 2)[place])


def _checked(name: str, values: npt.ArrayLike) -> Floats:
    given = np.asarray(values, np.float64)
    if given.ndim != 1 or not given.size or not np.isfinite(given).all():
        raise SettingError(f"`{name}` must be a list of finite numbers, got shape {given.shape}")
    return given
