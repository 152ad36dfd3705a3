"""How many mistakes among how many images still prove that mistakes are rare: exact binomial bounds.

A promise such as "at most 2 % wrong, with 90 % confidence" is kept by refusing, in all but 10 % of the draws
of images, every threshold whose true share of mistakes is larger. Nothing here is an approximation: all
follows from the binomial distribution of the mistakes among images drawn independently.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import islice, takewhile
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from tlkit.core.spec import check_float, check_int
from tlkit.errors import GuaranteeError, SettingError

Floats: TypeAlias = npt.NDArray[np.float64]
Ints: TypeAlias = npt.NDArray[np.int64]

_SEED: Final = 16  # of the image that speaks for its group; any number, but always the same
_START: Final = 0.15  # of the images are looked at first,
_START_MISTAKES: Final = 20  # or as many as allow so many mistakes
_HALVINGS: Final = 60  # of an interval of length 1: finer than a float near 1


def needed_counts(share: float, confidence: float) -> Iterator[int]:
    """Yield how many images must be looked at for 0, 1, 2, … mistakes to prove a small share of them.

    The k-th count (from 0) is the smallest n for which at most k mistakes among n images have a
    probability of at most 1 - `confidence` where the true share is `share`: seeing no more than k among n
    then excludes that share and every larger one (Clopper and Pearson's upper bound is at most `share`).

    Args:
        share: The share of mistakes to be excluded, above 0 and below 1.
        confidence: How sure the proof must be, above 0 and below 1.

    Yields:
        The counts, ascending, without end.

    Raises:
        SettingError: A number is outside its limits.

    Examples:
        >>> from itertools import islice
        >>> list(islice(needed_counts(0.02, 0.9), 4))
        [114, 194, 265, 333]

    References:
        C. J. Clopper and E. S. Pearson (1934), The use of confidence or fiducial limits illustrated in the
        case of the binomial, Biometrika 26: 404-413.
    """
    check_float("share", share, above=0, below=1)
    chance = 1 - check_float("confidence", confidence, above=0, below=1)
    chance *= 1 + 1e-12  # rounding must not ask for one image more than the definition does
    count, mistakes = 0, 0
    exactly = at_most = 1.0  # the probabilities of `mistakes` among `count` images, and of no more
    while True:
        if at_most <= chance:
            yield count
            exactly *= (count - mistakes) / (mistakes + 1) * share / (1 - share)
            mistakes += 1
            at_most += exactly
        else:
            at_most -= share * exactly  # one image more, and it is the mistake too many
            count += 1
            exactly *= count / (count - mistakes) * (1 - share)


def counts_within(share: float, confidence: float, most: int) -> Ints:
    """Return the `needed_counts` that are at most `most`, int64 `[K]`; K - 1 mistakes are then allowed."""
    counts = takewhile(lambda count: count <= most, needed_counts(share, confidence))
    return np.fromiter(counts, np.int64)


def largest_share(mistakes: int, count: int, confidence: float) -> float:
    """Return Clopper and Pearson's upper bound of a share.

    Args:
        mistakes: How many were seen, 0 to `count`.
        count: Among how many images, at least 1.
        confidence: How often such bounds are above the true share, at least; above 0 and below 1.

    Returns:
        The smallest share that is excluded, 0-1: with it, so few mistakes have probability
        1 - `confidence`.

    Raises:
        SettingError: A number is outside its limits.

    Examples:
        >>> f"{largest_share(0, 114, 0.9):.4f}", f"{largest_share(1, 114, 0.9):.4f}"
        ('0.0200', '0.0337')
    """
    check_int("count", count, at_least=1)
    check_int("mistakes", mistakes, at_least=0, at_most=count)
    chance = 1 - check_float("confidence", confidence, above=0, below=1)
    if mistakes == count:
        return 1.0
    places = np.arange(mistakes + 1)
    logs = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, count + 1)))])  # of factorials
    ways = logs[count] - logs[places] - logs[count - places]
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        share = (low + high) / 2
        terms = ways + places * np.log(share) + (count - places) * np.log1p(-share)
        low, high = (share, high) if np.exp(terms).sum() > chance else (low, share)
    return high


def longest_proven(
    wrong: npt.NDArray[np.bool_], scores: Floats, *, share: float, confidence: float, images: str
) -> float:
    """Return the score down to which images may be decided with no more than a small share of mistakes.

    Fixed-sequence testing. How many images are tried, and in which order, is settled by their number alone:
    the counts from which one mistake more is allowed (114, 194, 265, … for 2 % with 90 %), then, after the
    last of them, every count; equal scores go together. The first that fails ends it, and the last that
    passed is taken. Each is tested at the full level, for a share that is too large is accepted only if the
    first such count passes: nothing has to be corrected for the many after it. This is exact where images
    of a smaller score are not less often wrong.

    It starts with the smallest of these counts that is 15 % of the images, or with the one that allows 20
    mistakes if that is smaller. Starting where no mistake is allowed would end with the first wrong label:
    of 4,000 images, half a percent of them with a wrong label, it decided 0.33 instead of 0.61, on average of
    eight sets of features.

    Args:
        wrong: bool `[N]`: whether a decision about the image is a mistake.
        scores: float64 `[N]`, finite: how sure the decision is.
        share: The largest share of mistakes allowed among the decided, above 0 and below 1.
        confidence: In how many draws of images, at least, the true share is no larger.
        images: What to call the images in an error.

    Returns:
        The smallest score that is decided.

    Raises:
        GuaranteeError: Nothing is proven. The message says how many images would be needed.

    Examples:
        >>> wrong, scores = np.arange(300) == 150, -np.arange(300.0)
        >>> longest_proven(wrong, scores, share=0.02, confidence=0.9, images="images")
        -299.0

    References:
        A. N. Angelopoulos, S. Bates, E. J. Candès, M. I. Jordan and L. Lei (2021), Learn then test:
        calibrating predictive algorithms to achieve risk control, arXiv:2110.01052 (fixed-sequence
        testing). Y. Geifman and R. El-Yaniv (2017), Selective classification for deep neural networks,
        NeurIPS 30 (the same promise by a union bound: of 600 images, on eight sets of features, it decides
        0.31 where this decides 0.54).
    """
    _check_enough(wrong.size, share, confidence, images)
    needed = counts_within(share, confidence, wrong.size)
    order = np.argsort(-scores, kind="stable")
    mistakes, descending = np.cumsum(wrong[order], dtype=np.int64), scores[order]
    start = min(int(np.searchsorted(needed, _START * wrong.size)), _START_MISTAKES, needed.size - 1)
    counts = np.concatenate([needed[start:], np.arange(needed[-1] + 1, wrong.size + 1)])
    ends = np.searchsorted(-descending, -descending[counts - 1], side="right")  # with all equals
    allowed = np.searchsorted(needed, ends, side="right") - 1
    passed = mistakes[ends - 1] <= allowed
    if not passed[0]:
        raise _too_often(mistakes, int(ends[0]), int(allowed[0]), share, confidence, images)
    last = passed.size if passed.all() else int(np.argmin(passed))
    return float(descending[ends[last - 1] - 1])


def proven_quantile(values: Floats, *, share: float, confidence: float, images: str) -> float:
    """Return a value below which no more than a small share of such values lies.

    A one-sided tolerance limit, the largest of the values that has this property in at least `confidence`
    of the draws, whatever their distribution.

    Args:
        values: float64 `[N]`, drawn independently.
        share: The largest share allowed below, above 0 and below 1.
        confidence: In how many draws, at least, no more than that lies below.
        images: What to call the images in an error.

    Returns:
        One of the values: with k allowed mistakes among N, the one that has k others below it.

    Raises:
        GuaranteeError: There are too few values. The message says how many would be needed.

    Examples:
        >>> proven_quantile(np.arange(200.0), share=0.02, confidence=0.9, images="images")
        1.0

    References:
        S. S. Wilks (1941), Determination of sample sizes for setting tolerance limits, Annals of
        Mathematical Statistics 12: 91-96.
    """
    _check_enough(values.size, share, confidence, images)
    allowed = counts_within(share, confidence, values.size).size - 1
    return float(np.sort(values)[allowed])


def _check_enough(count: int, share: float, confidence: float, images: str) -> None:
    needed = next(needed_counts(share, confidence))
    if count >= needed:
        return
    could = ""
    if count:
        smallest = math.ceil(1000 * (1 - (1 - confidence) ** (1 / count))) / 10
        could = f", with which at most {smallest:g} % could be promised"
    raise GuaranteeError(
        f"at most {100 * share:g} % of mistakes, with {100 * confidence:g} % confidence, takes at least "
        f"{needed} {images} without a single mistake, and there are {count}{could}. Take more images "
        "(folds=5 judges every one of the folder out-of-fold) or promise less"
    )


def _too_often(
    mistakes: Ints, first: int, allowed: int, share: float, confidence: float, images: str
) -> GuaranteeError:
    """Say that the surest images hold too many mistakes, and how many images would be enough."""
    seen = int(mistakes[first - 1])
    enough = _enough(mistakes, share, confidence)
    more = (
        "these cannot tell how many images would be enough"
        if enough is None
        else f"if mistakes stay as rare, about {enough} images would be enough"
    )
    return GuaranteeError(
        f"at most {100 * share:g} % of mistakes, with {100 * confidence:g} % confidence, cannot be promised: "
        f"of the {first} surest of {mistakes.size} {images} {seen} {'is' if seen == 1 else 'are'} wrong, and "
        f"{allowed or 'none'} may be; {more}. Sure mistakes are often wrong labels (find_label_issues "
        "lists them); correct those, train on more images, or promise less"
    )


def _enough(mistakes: Ints, share: float, confidence: float) -> int | None:
    """Guess how many images it takes until the first count passes; None where these cannot tell.

    If of the m surest k are wrong, about (k + 1) / (m + 1) of as large a part of more images are, and of a
    surer part no larger share.
    """
    shares = (mistakes + 1) / np.arange(2, mistakes.size + 2)
    expected = np.minimum.accumulate(shares[::-1])[::-1]
    before = 0
    for allowed, count in enumerate(islice(needed_counts(share, confidence), _START_MISTAKES + 1)):
        images = max(count, math.ceil(before / _START) + 1)  # so many start with this count
        rank = min(mistakes.size, math.ceil(count / images * mistakes.size))
        if images > mistakes.size and expected[rank - 1] * count <= allowed:
            return images
        before = count
    return None


def one_per_group(groups: Sequence[Any] | npt.NDArray[Any] | None, count: int) -> Ints:
    """Return the indices of one image of each group, drawn without a look at anything but the groups.

    Images of one group (of one patient, one video, one object) are right or wrong together, so that a
    hundred of them prove little more than one. One image of each is a sample of independent images.

    Args:
        groups: `[N]`, anything that can be compared: the group of each image. None: each is its own.
        count: N.

    Returns:
        int64, ascending; the same for the same groups in the same order.

    Raises:
        SettingError: There is not one group for each image.

    Examples:
        >>> one_per_group(["a", "b", "c"], 3).tolist(), len(one_per_group("aabb", 4))
        ([0, 1, 2], 2)
    """
    if groups is None:
        return np.arange(count)
    numbers = group_numbers(groups, count)
    order = np.random.default_rng(_SEED).permutation(count)
    _, first = np.unique(numbers[order], return_index=True)
    return np.sort(order[first]).astype(np.int64)


def group_numbers(groups: Sequence[Any] | npt.NDArray[Any] | None, count: int) -> Ints:
    """Return the number of each image's group, int64 `[N]`, counted from 0 without gaps.

    Args:
        groups: `[N]`, anything that is written differently where it differs. None: each image is its own.
        count: N.

    Raises:
        SettingError: There is not one group for each image.

    Examples:
        >>> group_numbers(["b", "a", "b"], 3).tolist()
        [1, 0, 1]
    """
    if groups is None:
        return np.arange(count)
    if len(groups) != count:
        raise SettingError(
            f"`groups` must name one group for each of {count} images, got {len(groups)}"
        )
    names = np.array([str(group) for group in groups])
    return np.unique(names, return_inverse=True)[1].astype(np.int64)
