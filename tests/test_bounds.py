"""Exact binomial bounds: brute force over small cases, and promises that hold in simulated draws."""

from __future__ import annotations

import contextlib
import math
from fractions import Fraction
from functools import cache
from itertools import islice

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tlkit.errors import SettingError
from tlkit.evaluation.bounds import (
    counts_within,
    largest_share,
    longest_proven,
    needed_counts,
    one_per_group,
    proven_quantile,
)

DRAWS = 400
SLACK = 3 * math.sqrt(0.1 * 0.9 / DRAWS)  # three standard deviations of a share of 0.1


def at_most(mistakes: int, count: int, share: Fraction) -> Fraction:
    """The probability of no more mistakes, as the definition has it."""
    return sum(
        (math.comb(count, k) * share**k * (1 - share) ** (count - k) for k in range(mistakes + 1)),
        Fraction(0),
    )


@pytest.mark.parametrize(
    ("share", "confidence"),
    [("1/50", "9/10"), ("1/10", "19/20"), ("1/2", "1/2"), ("2/5", "99/100")],
)
def test_needed_counts_are_the_smallest(share: str, confidence: str) -> None:
    exact, chance = Fraction(share), 1 - Fraction(confidence)
    found = list(islice(needed_counts(float(exact), float(Fraction(confidence))), 6))
    for mistakes, count in enumerate(found):
        assert at_most(mistakes, count, exact) <= chance
        assert at_most(mistakes, count - 1, exact) > chance


def test_needed_counts_stay_exact_far_out() -> None:
    counts = counts_within(0.02, 0.9, 3_000)
    mistakes = counts.size - 1
    assert at_most(mistakes, int(counts[-1]), Fraction(1, 50)) <= Fraction(1, 10)
    assert at_most(mistakes, int(counts[-1]) - 1, Fraction(1, 50)) > Fraction(1, 10)


@pytest.mark.parametrize(("mistakes", "count"), [(0, 1), (0, 114), (3, 20), (19, 20), (40, 400)])
def test_the_largest_share_makes_so_few_mistakes_unlikely(mistakes: int, count: int) -> None:
    share = largest_share(mistakes, count, 0.9)
    assert float(at_most(mistakes, count, Fraction(share))) == pytest.approx(0.1, rel=1e-9)


def test_the_two_bounds_are_one() -> None:
    for mistakes, count in enumerate(islice(needed_counts(0.05, 0.95), 8)):
        assert (
            largest_share(mistakes, count, 0.95) <= 0.05 < largest_share(mistakes, count - 1, 0.95)
        )
    assert largest_share(7, 7, 0.9) == 1


@cache
def allowed_mistakes(count: int, share: Fraction, chance: Fraction) -> int:
    return max((k for k in range(count) if at_most(k, count, share) <= chance), default=-1)


def by_hand(
    wrong: list[bool], scores: list[float], share: Fraction, chance: Fraction
) -> float | None:
    """The smallest score decided, by the text of the docstring alone; None where nothing is proven."""
    everything = range(1, len(wrong) + 1)

    def allowed(count: int) -> int:
        return allowed_mistakes(count, share, chance)

    steps = [count for count in everything if allowed(count) > allowed(count - 1)]
    if not steps:
        return None
    later = [step for step in steps if step >= 0.15 * len(wrong)] or steps[-1:]
    tried = [*max(later, steps[:21][-1:], key=len), *range(steps[-1] + 1, len(wrong) + 1)]
    best = None
    for count in tried:
        least = sorted(scores, reverse=True)[count - 1]
        decided = [bad for bad, score in zip(wrong, scores, strict=True) if score >= least]
        if sum(decided) > allowed(len(decided)):
            break
        best = least
    return best


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 12)), min_size=1, max_size=40),
    st.sampled_from(["1/4", "2/5"]),
)
def test_the_longest_proven_by_hand(images: list[tuple[bool, int]], share: str) -> None:
    wrong, scores = [bad for bad, _ in images], [float(score) for _, score in images]
    expected = by_hand(wrong, scores, Fraction(share), Fraction(1, 5))
    try:
        least: float | None = longest_proven(
            np.array(wrong),
            np.array(scores),
            share=float(Fraction(share)),
            confidence=0.8,
            images="images",
        )
    except SettingError:
        least = None
    assert least == expected


def test_where_it_starts_and_ends() -> None:
    def decided(*mistakes: int, count: int = 300) -> int:
        wrong = np.isin(np.arange(count), mistakes)
        scores = -np.arange(float(count))
        least = longest_proven(wrong, scores, share=0.02, confidence=0.9, images="images")
        return int((scores >= least).sum())

    assert decided() == 300
    assert decided(113 + 1) == 300  # the first 114 are right, and of 194 one may be wrong
    assert decided(114, 193) == 114  # of 194 two are wrong
    assert decided(114, 194, 264) == 194  # of 265 three are wrong
    assert decided(114, 194, 280) == 280  # after the last count every one is tried
    with pytest.raises(
        SettingError, match="of the 114 surest of 300 images 1 is wrong, and none may be"
    ):
        decided(113)
    few = r"takes at least 114 images .* there are 113, with which at most 2\.1 % could be promised"
    with pytest.raises(SettingError, match=few):
        decided(count=113)
    # among many images a wrong label of the surest does not end it: the first count is 15 % of them
    assert decided(0, count=2000) == 2000


def test_a_refusal_asks_for_enough_images() -> None:
    scores = -np.arange(300.0)

    def refused(wrong: npt.NDArray[np.bool_]) -> str:
        with pytest.raises(SettingError) as caught:
            longest_proven(wrong, scores, share=0.02, confidence=0.9, images="images")
        return str(caught.value)

    wrong = (
        np.arange(300) % 100 == 50
    )  # 1 % everywhere: not provable with 114 of them, but with more
    message = refused(wrong)
    asked = int(message.partition("about ")[2].split()[0])
    random, passed = np.random.default_rng(0), 0
    for _ in range(100):
        more = random.random(asked) < 0.01
        with contextlib.suppress(SettingError):
            longest_proven(
                more, -np.arange(float(asked)), share=0.02, confidence=0.9, images="images"
            )
            passed += 1
    assert passed > 60
    assert "these cannot tell how many images" in refused(np.arange(300) % 10 == 5)


World = npt.NDArray[np.float64]
_RANKS = np.linspace(0, 1, 20_001)[1:]  # of all images, the surest first
WORLDS = {
    "calibrated": np.clip(0.5 * _RANKS**6, 0, 0.5),
    "wrong labels": 0.01 + 0.49 * np.clip(_RANKS - 0.5, 0, 1),
    "hard": 0.5 * _RANKS**1.5,
    "just too often": np.full(_RANKS.size, 0.0201),
    "surely wrong": np.where(_RANKS < 0.05, 0.2, np.where(_RANKS < 0.7, 0.001, 0.2)),
    "up and down": np.where(np.sin(40 * _RANKS) > 0, 0.001, 0.0401),
}


@pytest.mark.parametrize("count", [120, 327, 1500])
@pytest.mark.parametrize("world", WORLDS)
def test_the_true_share_of_mistakes_is_kept(world: str, count: int) -> None:
    """Images as in a world where the chance of a mistake at each rank is known, drawn over and over."""
    chances = WORLDS[world]
    true_share = np.cumsum(chances) / np.arange(1, chances.size + 1)
    random = np.random.default_rng(count)
    broken = 0
    for _ in range(DRAWS):
        ranks = random.integers(chances.size, size=count)
        wrong = random.random(count) < chances[ranks]
        try:
            least = longest_proven(
                wrong, -ranks.astype(float), share=0.02, confidence=0.9, images="images"
            )
        except SettingError:
            continue
        broken += true_share[int(-least)] > 0.02
    assert broken / DRAWS <= 0.1 + SLACK


def test_images_of_one_group_count_once() -> None:
    """Five images of each object are right or wrong together, and more than 2 % of the objects are wrong."""
    random = np.random.default_rng(0)
    accepted = {"images": 0, "groups": 0}
    groups = np.repeat(np.arange(150), 5)
    for _ in range(DRAWS):
        wrong, scores = np.repeat(random.random(150) < 0.0201, 5), np.repeat(random.random(150), 5)
        for unit, among in (("images", np.arange(750)), ("groups", one_per_group(groups, 750))):
            with contextlib.suppress(SettingError):
                longest_proven(
                    wrong[among], scores[among], share=0.02, confidence=0.9, images="images"
                )
                accepted[unit] += 1
    assert accepted["groups"] / DRAWS <= 0.1 + SLACK
    assert accepted["images"] / DRAWS > 0.1 + SLACK  # or the groups were not needed


@pytest.mark.parametrize("count", [114, 193, 194, 400])
def test_a_quantile_is_kept_and_no_smaller_than_it_must_be(count: int) -> None:
    """Of uniform values the true share below a value is the value: exact, so off by one is seen."""
    random = np.random.default_rng(count)
    limits = [
        proven_quantile(random.random(count), share=0.02, confidence=0.9, images="images")
        for _ in range(4000)
    ]
    broken = np.mean(np.array(limits) > 0.02)
    allowed = len([c for c in islice(needed_counts(0.02, 0.9), 50) if c <= count]) - 1
    expected = float(at_most(allowed, count, Fraction(1, 50)))
    assert broken == pytest.approx(expected, abs=4 * math.sqrt(expected / 4000))
    assert expected <= 0.1


def test_the_quantile_by_hand() -> None:
    values = np.random.default_rng(0).permutation(200).astype(float)
    assert proven_quantile(values, share=0.02, confidence=0.9, images="positives") == 1
    assert (
        proven_quantile(values[:150], share=0.02, confidence=0.9, images="p") == values[:150].min()
    )
    with pytest.raises(
        SettingError, match=r"takes at least 114 positives .* there are 0\. Take more"
    ):
        proven_quantile(values[:0], share=0.02, confidence=0.9, images="positives")


def test_one_of_each_group_whatever_the_images_are() -> None:
    groups = ["b", "a", "b", "c", "a", "b"]
    drawn = one_per_group(groups, 6)
    assert sorted(groups[index] for index in drawn) == ["a", "b", "c"]
    assert drawn.tolist() == sorted(drawn.tolist()) == one_per_group(groups, 6).tolist()
    many = np.repeat(np.arange(2000), 4)
    place = one_per_group(many, many.size) % 4
    assert np.bincount(place, minlength=4) == pytest.approx(500, abs=100)  # none is preferred
    with pytest.raises(SettingError, match="one group for each of 3 images, got 2"):
        one_per_group(["a", "b"], 3)
