"""Two losses on the same images: the mean difference, its standard error, and what counts as better."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tlkit.errors import SettingError
from tlkit.evaluation.paired import (
    PairedDifference,
    ShareDifference,
    paired_difference,
    share_difference,
)


def test_it_is_the_mean_and_its_standard_error() -> None:
    random = np.random.default_rng(0)
    new, old = random.normal(size=50), random.normal(size=50)
    found = paired_difference(new, old)
    assert found.mean == pytest.approx(np.mean(new - old))
    assert found.standard_error == pytest.approx(np.std(new - old, ddof=1) / np.sqrt(50))
    assert found.count == 50


def test_a_weight_of_two_moves_the_mean_as_the_row_twice() -> None:
    new, old = np.array([1.0, 2.0, 4.0]), np.zeros(3)
    weighted = paired_difference(new, old, sample_weight=[1, 1, 2])
    assert weighted.mean == pytest.approx(np.mean([1, 2, 4, 4]))
    assert paired_difference(new, old, sample_weight=[1, 1, 0]).count == 2


def test_better_means_by_more_than_one_standard_error() -> None:
    assert PairedDifference(mean=-0.2, standard_error=0.1, count=9).is_better
    assert not PairedDifference(mean=-0.1, standard_error=0.1, count=9).is_better
    assert not PairedDifference(mean=0.2, standard_error=0.1, count=9).is_better
    assert not paired_difference([1.0, 1.0], [1.0, 1.0]).is_better


def test_one_standard_error_is_seldom_passed_by_chance() -> None:
    """Of two equally good classifiers the new one counts as better in about 16 of 100 draws."""
    random = np.random.default_rng(1)
    draws = random.normal(size=(2000, 60))
    better = sum(paired_difference(draw, np.zeros(60)).is_better for draw in draws)
    assert 0.13 < better / 2000 < 0.20


@pytest.mark.parametrize(
    ("new", "old"), [([1.0], [2.0]), ([1.0, 2.0, 3.0], [1.0, 2.0]), ([[1.0, 2.0]], [[1.0, 2.0]])]
)
def test_what_cannot_be_compared(new: list[float], old: list[float]) -> None:
    with pytest.raises((SettingError, ValueError)):
        paired_difference(new, old)


def test_it_survives_json() -> None:
    found = paired_difference([0.1, 0.3], [0.2, 0.1])
    assert PairedDifference.from_json(found.to_json()) == found


# Intervals


def test_the_interval_of_a_mean_is_students() -> None:
    """Quantiles from the tables of Student's distribution."""
    for count, quantile in (
        (2, 12.706),
        (3, 4.303),
        (4, 3.182),
        (6, 2.571),
        (31, 2.042),
        (1001, 1.962),
    ):
        low, high = PairedDifference(mean=1.0, standard_error=2.0, count=count).interval
        assert (high - 1) / 2 == pytest.approx(quantile, rel=2e-3)
        assert 1 - low == pytest.approx(high - 1)


@pytest.mark.parametrize("count", [10, 40])
def test_the_interval_of_a_mean_covers_it(count: int) -> None:
    random = np.random.default_rng(2)
    covered = 0
    for draw in random.normal(0.3, 1, size=(2000, count)):
        low, high = paired_difference(draw, np.zeros(count)).interval
        covered += low <= 0.3 <= high
    assert 0.94 < covered / 2000 < 0.965


@pytest.mark.parametrize("count", [10, 30, 100])
@pytest.mark.parametrize(
    ("new", "old"), [(0.02, 0.02), (0.05, 0.05), (0.2, 0.1), (0.3, 0.3), (0.1, 0.0), (0.02, 0.1)]
)
def test_the_interval_of_shares_covers_their_difference(count: int, new: float, old: float) -> None:
    """By all outcomes that there can be, each with its probability."""
    covered = total = 0.0
    for only_new in range(count + 1):
        for only_old in range(count + 1 - only_new):
            rest = count - only_new - only_old
            ways = math.comb(count, only_new) * math.comb(count - only_new, only_old)
            chance = ways * new**only_new * old**only_old * (1 - new - old) ** rest
            found = share_difference(only_new, only_old, count)
            total += chance
            covered += chance * (found.low <= new - old <= found.high)
    assert total == pytest.approx(1)
    assert covered > 0.93


def test_the_interval_of_shares_stays_within_what_can_be() -> None:
    for count in (1, 2, 5):
        for only_new in range(count + 1):
            for only_old in range(count + 1 - only_new):
                found = share_difference(only_new, only_old, count)
                mirrored = share_difference(only_old, only_new, count)
                assert -1 <= found.low <= found.value <= found.high <= 1
                assert (mirrored.low, mirrored.high) == pytest.approx((-found.high, -found.low))
    assert ShareDifference.from_json(found.to_json()) == found


@pytest.mark.parametrize("counts", [(-1, 0, 5), (3, 3, 5), (0, 0, 0), (6, 0, 5)])
def test_shares_that_cannot_be(counts: tuple[int, int, int]) -> None:
    with pytest.raises(SettingError):
        share_difference(*counts)
