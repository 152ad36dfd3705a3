"""What all settings share: checks that take NumPy's numbers, and JSON without NaN."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
import pytest

from tlkit import AugmentationPolicy, BackboneAdapter
from tlkit.core.spec import Spec, check_bool, check_int, check_kind, check_path
from tlkit.data.dataset import DatasetSpec
from tlkit.errors import SettingError
from tlkit.evaluation.rate import Rate


@pytest.mark.parametrize("value", [3, np.int64(3), np.uint8(3), np.array(3)])
def test_whole_numbers_of_any_kind_become_plain_ones(value: object) -> None:
    number = check_int("n", value, at_least=0)
    assert (type(number), number) == (int, 3)


@pytest.mark.parametrize(
    "value", [True, np.True_, 3.0, np.float64(3), "3", None, [3], np.array([3, 4])]
)
def test_what_is_no_whole_number_is_refused(value: object) -> None:
    with pytest.raises(SettingError, match="`n` must be a whole number, got "):
        check_int("n", value, at_least=0)


def test_limits_hold_for_numpy_too() -> None:
    with pytest.raises(SettingError, match=r"`n` must be 1 to 3, got 4$"):
        check_int("n", np.int64(4), at_least=1, at_most=3)


def test_true_and_false_of_numpy_become_plain_ones() -> None:
    assert check_bool("b", np.True_) is True
    assert check_bool("b", np.bool_(0)) is False
    for value in (1, np.int64(1), "True", None, np.array([True])):
        with pytest.raises(SettingError, match="`b` must be True or False"):
            check_bool("b", value)


def test_specs_keep_plain_numbers() -> None:
    """Else they could not be written as JSON, and views drawn from a seed would differ."""
    five: Any = np.int64(5)
    assert json.loads(DatasetSpec("x", seed=five).to_json())["seed"] == 5
    policy = AugmentationPolicy(horizontal_flip=np.True_)  # type: ignore[arg-type]
    assert AugmentationPolicy.from_json(policy.to_json()) == policy
    sizes: list[tuple[Any, list[int]]] = [(five * 20, [100, 100]), ((five * 20, 128), [100, 128])]
    for size, expected in sizes:
        adapter = BackboneAdapter("MobileNetV2", image_size=size)
        assert json.loads(adapter.to_json())["image_size"] == expected
    labels = np.array([1, 0, 1])
    assert Rate.wilson((labels == 1).sum(), labels.size) == 2 / 3


def test_a_path_is_text_or_a_path() -> None:
    assert check_path("p", Path("a")) == check_path("p", "a") == "a"
    for value in ("", b"a", None, 3, "a\0b"):
        with pytest.raises(SettingError, match="`p` must be a path, got "):
            check_path("p", value)


@final
@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Losses(Spec):
    name: str = "head"
    losses: tuple[float, ...] = ()


@final
@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Place(Spec):
    name: str
    count: int
    note: str = ""


def test_a_config_that_leaves_out_what_is_needed_says_what() -> None:
    with pytest.raises(SettingError, match=r"^Place needs 'count', 'name' too$"):
        Place.from_config({"note": "x"})
    assert Place.from_config({"name": "a", "count": 1}) == Place(name="a", count=1)


def test_what_is_of_another_kind_is_named() -> None:
    check_kind("n", 3, (str, int))
    with pytest.raises(
        SettingError, match=r"^`n` must be a str or a int, got 3\.5 \(float\): do this$"
    ):
        check_kind("n", 3.5, (str, int), advice="do this")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_json_holds_no_nan(value: float) -> None:
    with pytest.raises(SettingError, match=r"Losses\.losses cannot be written as JSON.*NaN"):
        Losses(losses=(0.5, value)).to_json()
    assert Losses.from_json(Losses(losses=(0.5,)).to_json()) == Losses(losses=(0.5,))
