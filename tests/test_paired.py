"""Two losses on the same images: the mean difference, its standard error, and what counts as better."""

from __future__ import annotations

import numpy as np
import pytest

from tlkit.errors import SettingError
from tlkit.evaluation.paired import PairedDifference, paired_difference


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
