"""Drift: no alarm where nothing changed, however many images; one where it did, groups or not."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from tlkit.errors import SettingError
from tlkit.evaluation.drift import Drift, drift, drift_of
from tlkit.evaluation.familiarity import Familiarity

Floats = npt.NDArray[np.float64]


def images(random: np.random.Generator, count: int, turned: float = 0.0) -> Floats:
    """Features in six directions; of a turned camera some of them point elsewhere."""
    return random.normal([4, turned, 0, 0, 0, 0], size=(count, 6))


@pytest.mark.parametrize("repeats", [20, pytest.param(100, marks=pytest.mark.slow)])
def test_without_drift_ten_thousand_images_seldom_alarm(repeats: int) -> None:
    """Distances of 300 held-out training images, which share their references, against 10,000 new ones."""
    random, alarms = np.random.default_rng(0), 0
    for _ in range(repeats):
        known = Familiarity.fit(images(random, 300))
        alarms += drift(known.distances_of(images(random, 10_000)), known.distances) is not None
    assert alarms / repeats <= 0.05


def test_of_few_images_chance_alone_is_no_drift() -> None:
    random, alarms = np.random.default_rng(1), 0
    for _ in range(200):
        alarms += drift(random.normal(size=8), random.normal(size=40)) is not None
    assert alarms / 200 <= 0.05


@pytest.mark.parametrize("count", [30, 10_000])
def test_another_camera_is_told(count: int) -> None:
    random = np.random.default_rng(2)
    known = Familiarity.fit(images(random, 300))
    found = drift(known.distances_of(images(random, count, turned=2.5)), known.distances)
    assert found is not None
    assert found.farther > 0.7
    assert (found.count, found.group_count, found.held_out_count) == (count, count, 300)
    assert f"these {count} images are not what it learned from" in str(found)
    assert Drift.from_json(found.to_json()) == found


def test_a_difference_that_does_not_count_is_none() -> None:
    random = np.random.default_rng(3)
    old, new = (
        random.normal(size=10_000),
        random.normal(0.1, size=100_000),
    )  # 0.53: certain, and small
    assert drift(new, old) is None
    assert drift(new + 0.2, old) is not None


def test_images_it_learned_from_are_no_drift() -> None:
    random = np.random.default_rng(4)
    features = images(random, 300)
    known = Familiarity.fit(features)
    assert drift(known.distances_of(features), known.distances) is None


def test_the_share_of_pairs_by_hand() -> None:
    random = np.random.default_rng(5)
    new, old = random.normal(1, size=60).round(1), random.normal(size=50).round(1)
    found = drift(new, old)
    assert found is not None
    pairs = [(1.0 if a > b else 0.5 if a == b else 0.0) for a in new for b in old]
    assert found.farther == pytest.approx(np.mean(pairs))


def test_groups_are_dealt_out_whole() -> None:
    """Ten videos of fifty frames are ten images: they differ by chance far more than five hundred do."""
    random, alarms = np.random.default_rng(6), {"images": 0, "groups": 0}
    new_groups, old_groups = np.repeat(np.arange(10), 50), np.repeat(np.arange(30), 5)
    for _ in range(150):
        new = random.normal(size=10)[new_groups] + random.normal(0, 0.1, 500)
        old = random.normal(size=30)[old_groups] + random.normal(0, 0.1, 150)
        alarms["images"] += drift(new, old) is not None
        found = drift(new, old, groups=new_groups, held_out_groups=old_groups)
        alarms["groups"] += found is not None
    assert alarms["groups"] / 150 <= 0.05
    assert alarms["images"] / 150 > 0.2  # or groups were not needed


def test_what_is_refused() -> None:
    with pytest.raises(
        SettingError, match=r"`distances` must be a list of finite numbers, got shape \(0,\)"
    ):
        drift([], [1.0])
    with pytest.raises(SettingError, match="`held_out` must be a list of finite numbers"):
        drift([1.0], [np.nan])
    with pytest.raises(SettingError, match="one group for each of 2 images, got 1"):
        drift([1.0, 2.0], [1.0], groups=["a"])


@pytest.mark.parametrize("views", [1, 3])
def test_familiarity_tells_what_distances_tell(views: int) -> None:
    """Ranks lose where between two held-out images a new one lies, and nothing else."""
    random = np.random.default_rng(5)
    centres = np.repeat(random.normal([4, 0, 0, 0], size=(80, 4)), views, axis=0)
    features = centres + random.normal(0, 0.05, centres.shape)
    groups = np.repeat(np.arange(80), views)
    known = Familiarity.fit(features, groups=groups)
    for shift in (0.0, 1.0, 4.0):
        new = random.normal([4, shift, 0, 0], size=(60, 4))
        by_distance = drift(known.distances_of(new), known.distances, held_out_groups=known.groups)
        by_rank = drift_of(known.p_values(new), known)
        assert (by_rank is None) == (by_distance is None)
        if by_rank and by_distance:
            assert by_rank.share == pytest.approx(by_distance.share)
    assert drift_of(np.full(19, 0.01), known) is None  # too few to say anything
