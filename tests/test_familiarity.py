"""Familiarity: the rank by brute force, its promise in simulated draws, what it does to foreign images."""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tlkit.errors import SettingError
from tlkit.evaluation.bounds import group_numbers
from tlkit.evaluation.familiarity import LEVEL, MOST_BYTES, Familiarity, needed_groups

Floats = npt.NDArray[np.float64]


def objects(random: np.random.Generator, count: int, views: int = 1) -> Floats:
    """Features of some views of each of many objects, the views of one object next to each other."""
    centres = random.normal([4, 0, 0, 0, 0, 0], size=(count, 6))
    return np.repeat(centres, views, axis=0) + random.normal(0, 0.05, (count * views, 6))


def distance_by_hand(image: Floats, references: Floats, nearest: int) -> float:
    unit = [row / math.hypot(*row) for row in references]
    own = image / math.hypot(*image)
    return sum(sorted(float(np.linalg.norm(own - row)) for row in unit)[:nearest]) / nearest


def test_distances_by_hand() -> None:
    random = np.random.default_rng(0)
    features, new = objects(random, 12, 2), objects(random, 5)
    groups = np.repeat(np.arange(12), 2)
    known = Familiarity.fit(features, groups=groups)
    found = known.distances_of(new)
    assert found.dtype == np.float32
    assert found == pytest.approx([distance_by_hand(image, features, 3) for image in new], abs=2e-3)
    held_out = [
        distance_by_hand(image, features[groups != group], 3)
        for image, group in zip(features, groups, strict=True)
    ]
    assert np.sort(known.distances) == pytest.approx(np.sort(held_out), abs=2e-3)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 6)), min_size=2, max_size=20),
    st.integers(-1, 10),
)
def test_the_rank_by_hand(images: list[tuple[int, int]], new: int) -> None:
    """Of a group of five each image is a fifth; without groups it is (1 + at least as far) / (N + 1)."""
    distances = np.array([distance / 10 for distance, _ in images], np.float32)
    for groups in (
        np.arange(len(images)),
        group_numbers([group for _, group in images], len(images)),
    ):
        known = Familiarity(
            np.ones((1, 2), np.float16), distances, groups.astype(np.int32), nearest=1
        )
        count = int(groups.max()) + 1
        as_far = sum(
            np.mean(
                [
                    distance >= new / 10
                    for distance in distances[groups == group].astype(float).round(1)
                ]
            )
            for group in range(count)
        )
        assert known.ranks([new / 10]) == pytest.approx((1 + as_far) / (count + 1))


def test_the_rank_of_equals_and_ends() -> None:
    distances = np.array([0.1, 0.2, 0.2, 0.5], np.float32)
    known = Familiarity(
        np.ones((1, 2), np.float16), distances, np.arange(4, dtype=np.int32), nearest=1
    )
    assert known.ranks([0.0, 0.1, 0.15, 0.2, 0.5, 0.51]).tolist() == [1, 1, 0.8, 0.8, 0.4, 0.2]


@pytest.mark.parametrize("views", [1, 6])
def test_of_images_like_those_learned_from_a_share_is_that_unfamiliar(views: int) -> None:
    """Exact, over draws of training images and of new objects: no more than α get α or less."""
    random, alphas = np.random.default_rng(views), np.array([0.05, 0.1, 0.3, 0.5])
    reached = np.zeros(4)
    for _ in range(300):
        groups = np.repeat(np.arange(39), views)
        known = Familiarity.fit(objects(random, 39, views), groups=groups)
        ranks = known.p_values(objects(random, 50))
        reached += (ranks[:, np.newaxis] <= alphas + 1e-12).mean(axis=0) / 300
    assert (reached <= alphas + 0.015).all()
    assert (reached >= 0.6 * alphas).all()  # or everything would be familiar


def test_without_groups_the_promise_would_be_broken() -> None:
    random, reached = np.random.default_rng(1), 0.0
    for _ in range(50):
        known = Familiarity.fit(objects(random, 39, 6))
        reached += float((known.p_values(objects(random, 50)) <= 0.1).mean()) / 50
    assert reached > 0.3


def test_fewer_references_keep_the_promise() -> None:
    """References are drawn at random, and those that are not among them are held out like the others."""
    random, reached = np.random.default_rng(2), 0.0
    for _ in range(200):
        known = Familiarity.fit(objects(random, 99), most_bytes=12 * 10)
        assert len(known.rows) == 10
        assert known.distances.size == 99
        reached += float((known.p_values(objects(random, 50)) <= 0.1).mean()) / 200
    assert 0.07 < reached < 0.115


def test_foreign_images_are_unfamiliar() -> None:
    random = np.random.default_rng(3)
    known = Familiarity.fit(objects(random, 200))
    foreign = random.normal([-8, 0, 0, 0, 0, 0], size=(100, 6))
    assert known.p_values(foreign) == pytest.approx(np.full(100, 1 / 201))
    assert known.level == LEVEL >= 1 / 201
    learned_from = known.p_values(objects(np.random.default_rng(3), 200))
    assert learned_from.min() > 0.02
    assert np.median(learned_from) > 0.8


def test_the_length_of_features_says_nothing() -> None:
    random = np.random.default_rng(4)
    known, new = Familiarity.fit(objects(random, 50)), objects(random, 20)
    assert known.p_values(new * 1000) == pytest.approx(known.p_values(new))
    assert known.distances_of(np.zeros((1, 6))) == pytest.approx(math.sqrt(2))


def test_many_images_keep_within_their_room() -> None:
    features = np.random.default_rng(5).normal(size=(12_000, 1280)).astype(np.float16)[:, :320]
    known = Familiarity.fit(features, most_bytes=100_000)
    assert len(known.rows) == 100_000 // (2 * 320)
    assert known.distances.size == 10_000
    assert MOST_BYTES + 10_000 * 8 < 2_600_000
    assert len(known.to_bytes()) < 100_000 + 10_000 * 8 + 2_000


def test_the_same_images_give_the_same() -> None:
    features = objects(np.random.default_rng(6), 60, 2)
    one, two = (Familiarity.fit(features, most_bytes=12 * 40) for _ in range(2))
    assert one.to_bytes() == two.to_bytes()


def test_levels() -> None:
    known = Familiarity.fit(
        objects(np.random.default_rng(7), 40, 2), groups=np.repeat(np.arange(40), 2)
    )
    assert known.level == 0  # too few to tell one in a hundred
    assert known.with_level(0.05).level == 0.05
    assert known.with_level(1 / 41).group_count == 40
    with pytest.raises(SettingError, match=r"at least 0\.0244 with 40 training images .* takes 49"):
        known.with_level(0.02)
    with pytest.raises(SettingError, match="that takes 99"):
        Familiarity.fit(objects(np.random.default_rng(7), 98), level=0.01)
    assert Familiarity.fit(objects(np.random.default_rng(7), 99)).level == 0.01
    for level in (0.01, 0.05, 0.003, 1 / 3, 0.07):
        count = needed_groups(level)
        assert 1 / (count + 1) <= level + 1e-12 < 1 / count


def test_it_is_kept_and_read_back() -> None:
    known = Familiarity.fit(objects(np.random.default_rng(8), 120, 2), groups=np.arange(240) // 2)
    again = Familiarity.from_bytes(known.with_level(0.02).to_bytes())
    new = objects(np.random.default_rng(9), 50)
    assert again.p_values(new).tolist() == known.p_values(new).tolist()
    assert (again.level, again.nearest) == (0.02, known.nearest)


def spoilt(**changed: Any) -> bytes:
    arrays: dict[str, Any] = {
        "rows": np.ones((4, 2), np.float16),
        "distances": np.ones(3, np.float32),
        "groups": np.arange(3, dtype=np.int32),
        "settings": np.array([1.0, 0.0]),
    } | changed
    file = io.BytesIO()
    np.savez(file, **{name: array for name, array in arrays.items() if array is not None})
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PK", "no reference features"),
        (b"", "no reference features"),
        (spoilt(rows=None), "no reference features"),
        (spoilt(rows=np.array([[{}]], object)), "no reference features"),
        (spoilt(rows=np.ones((4, 2), np.float64)), "`rows` of the reference features is float64"),
        (spoilt(rows=np.full((4, 2), np.nan, np.float16)), "must be finite"),
        (spoilt(distances=np.ones(4, np.float32)), "do not fit together"),
        (spoilt(groups=np.array([0, 1, 9], np.int32)), "counted from 0"),
        (spoilt(groups=np.array([0, 0, 2], np.int32)), "counted from 0"),
        (spoilt(groups=np.array([0, 1, -1], np.int32)), "counted from 0"),
        (spoilt(settings=np.array([9.0, 0.0])), "`nearest` must be 1 to 4"),
        (spoilt(settings=np.array([1.0, 0.1])), "`level` must be at least 0.25"),
        (spoilt(settings=np.array([math.nan, 0.1])), "the settings of the reference features are"),
        (spoilt(settings=np.array([1.0])), "the settings of the reference features are"),
    ],
)
def test_nothing_in_a_file_is_trusted(content: bytes, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        Familiarity.from_bytes(content)


@pytest.mark.parametrize(
    ("features", "arguments", "message"),
    [
        (np.ones(3), {}, r"numbers \[N, D\], got float64 \(3,\)"),
        (np.array([[1.0, math.nan]] * 3), {}, "must be finite"),
        (np.ones((3, 2)), {"groups": [1, 1, 1]}, "at least two groups, got 1"),
        (np.ones((0, 2)), {}, "at least two groups, got 0"),
        (np.ones((3, 2)), {"groups": [1, 1]}, "one group for each of 3 images, got 2"),
        (np.ones((9, 2)), {"most_bytes": 4}, "all 1 references are of one group"),
        (np.ones((9, 2)), {"most_bytes": 3}, "`most_bytes` must be at least 4"),
    ],
)
def test_what_is_refused(features: Floats, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        Familiarity.fit(features, **arguments)


def test_features_of_another_network() -> None:
    known = Familiarity.fit(objects(np.random.default_rng(0), 9))
    with pytest.raises(SettingError, match="must be 6 wide, as the references are, got 5"):
        known.p_values(np.ones((2, 5)))
