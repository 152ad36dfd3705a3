"""Schedules: what makes no sense cannot be written down, and what does survives a round trip."""

from __future__ import annotations

import math
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from tlkit.errors import SettingError
from tlkit.training.schedule import ExactHead, FineTuneSchedule, GradientHead, Phase

NOT_COUNTS: list[Any] = [0, -1, 1.0, True, math.nan, "3"]
NOT_RATES: list[Any] = [0.0, -1e-3, math.nan, math.inf, True, "1e-3"]

SCHEDULES = [
    FineTuneSchedule.head_only(),
    FineTuneSchedule.standard(),
    FineTuneSchedule.course(),
    FineTuneSchedule.course(fine_tune_at="block_13_expand"),
    FineTuneSchedule.gradual(),
    FineTuneSchedule.gradual(140, "block_12_add", 0.9, epochs=2, learning_rate=3e-5, patience=None),
    FineTuneSchedule(head=ExactHead(l2=0.01), class_weight=(1, 2.5), batch_size=8),
    FineTuneSchedule(
        head=GradientHead(epochs=2, learning_rate=0.1, dropout_fraction=0.5, views=1),
        phases=(
            Phase(
                unfreeze_fraction=1.0,
                epochs=1,
                learning_rate=1.0,
                learning_rate_decay="none",
                weight_decay=0.0,
                patience=1,
                views=9,
            ),
        ),
        class_weight="balanced",
    ),
]


@pytest.mark.parametrize("schedule", SCHEDULES, ids=str)
def test_round_trip(schedule: FineTuneSchedule) -> None:
    again = FineTuneSchedule.from_json(schedule.to_json())
    assert again == schedule
    assert hash(again) == hash(schedule)
    assert type(again.head) is type(schedule.head)
    assert repr(again) == repr(schedule)
    assert eval(repr(schedule)) == schedule


def test_course_is_the_assignment() -> None:
    assert FineTuneSchedule.course() == FineTuneSchedule(
        head=GradientHead(epochs=5, learning_rate=1e-3, dropout_fraction=0.2, views=5),
        phases=(
            Phase(
                unfreeze_from=120,
                epochs=5,
                learning_rate=1e-4,
                learning_rate_decay="none",
                weight_decay=0.0,
                patience=None,
                views=5,
            ),
        ),
        class_weight=None,
        batch_size=32,
    )


def test_standard_is_the_exact_head_and_thorough_one_phase_on_two_thirds() -> None:
    assert FineTuneSchedule.standard() == FineTuneSchedule.head_only()
    thorough = FineTuneSchedule.thorough()
    assert thorough.head == ExactHead(l2=None)
    assert thorough.phases == (
        Phase(
            unfreeze_fraction=2 / 3,
            epochs=10,
            learning_rate=3e-4,
            learning_rate_decay="cosine",
            weight_decay=0.004,
            patience=3,
            views=4,
        ),
    )


def test_gradual_makes_one_phase_for_each_place() -> None:
    schedule = FineTuneSchedule.gradual(
        0.25, 100, "block_3_add", head=GradientHead(), epochs=3, views=2
    )
    places = [(phase.unfreeze_fraction, phase.unfreeze_from) for phase in schedule.phases]
    assert places == [(0.25, None), (None, 100), (None, "block_3_add")]
    assert {(phase.epochs, phase.views) for phase in schedule.phases} == {(3, 2)}
    assert schedule.head == GradientHead()


def test_numbers_may_be_numpys() -> None:
    places: Any = (np.float32(0.25), np.float64(0.5))
    found = [phase.unfreeze_fraction for phase in FineTuneSchedule.gradual(*places).phases]
    assert found == [0.25, 0.5]
    two: Any = np.int64(2)
    assert FineTuneSchedule.gradual(two).phases[0].unfreeze_from == 2
    schedule = FineTuneSchedule(
        head=GradientHead(epochs=two, views=two),
        phases=(Phase(unfreeze_from=two, epochs=two, patience=two, views=two),),
        batch_size=two,
    )
    assert FineTuneSchedule.from_json(schedule.to_json()) == schedule
    assert "np." not in repr(schedule)


@pytest.mark.parametrize(
    ("schedule", "count"),
    [
        (FineTuneSchedule.head_only(), 1),
        (FineTuneSchedule.standard(), 1),
        (FineTuneSchedule.thorough(), 4),
        (FineTuneSchedule.course(), 5),
        (
            FineTuneSchedule(head=GradientHead(views=3), phases=(Phase(unfreeze_from=1, views=2),)),
            3,
        ),
        (FineTuneSchedule.gradual(0.2, epochs=2, views=4), 2),  # the last two would never be used
        (FineTuneSchedule.gradual(0.2, views=1), 1),
    ],
)
def test_view_count_is_the_largest_that_is_used(schedule: FineTuneSchedule, count: int) -> None:
    assert schedule.view_count == count
    assert schedule.uses_views == (count > 1)


@pytest.mark.parametrize(
    ("part", "text"),
    [
        (
            Phase(unfreeze_fraction=0.005, epochs=1),
            "last 0.5 % of the backbone, up to 1 epoch, AdamW 1e-5 with cosine decay",
        ),
        (
            Phase(unfreeze_fraction=1, learning_rate=2.5e-5, patience=None),
            "the whole backbone, 10 epochs, AdamW 2.5e-5 with cosine decay",
        ),
        (
            Phase(unfreeze_from=0, learning_rate=0.1, learning_rate_decay="none", weight_decay=0),
            "backbone from layer 0, up to 10 epochs, Adam 0.1",
        ),
        (ExactHead(l2=0.003), "exact head with l2 3e-3"),
        (GradientHead(epochs=1), "gradient head, 1 epoch, Adam 1e-3"),
    ],
)
def test_text_says_what_happens(part: object, text: str) -> None:
    assert str(part) == text


def test_repr_names_what_differs_from_the_defaults() -> None:
    assert repr(FineTuneSchedule.standard()) == "FineTuneSchedule()"
    assert repr(FineTuneSchedule(phases=(Phase(unfreeze_fraction=0.5),))) == (
        "FineTuneSchedule(phases=(Phase(unfreeze_fraction=0.5),))"
    )


def test_phase_needs_exactly_one_place() -> None:
    with pytest.raises(SettingError, match="exactly one of"):
        Phase()
    with pytest.raises(SettingError, match="exactly one of"):
        Phase(unfreeze_from=120, unfreeze_fraction=0.3)


@pytest.mark.parametrize("value", [-1, 1.5, True, False, "", ["block_1"]])
def test_unfreeze_from_must_be_a_layer(value: Any) -> None:
    with pytest.raises(SettingError, match="`unfreeze_from`"):
        Phase(unfreeze_from=value)


@pytest.mark.parametrize("value", [0.0, -0.1, 1.01, math.nan, True, False, "0.3"])
def test_unfreeze_fraction_must_be_above_0_and_at_most_1(value: Any) -> None:
    with pytest.raises(SettingError, match="`unfreeze_fraction`"):
        Phase(unfreeze_fraction=value)


@pytest.mark.parametrize("value", NOT_COUNTS)
@pytest.mark.parametrize("name", ["epochs", "patience", "views"])
def test_counts_of_a_phase_must_be_at_least_1(name: str, value: Any) -> None:
    with pytest.raises(SettingError, match=f"`{name}`"):
        Phase(unfreeze_from=1, **{name: value})


@pytest.mark.parametrize("value", NOT_COUNTS)
@pytest.mark.parametrize("name", ["epochs", "views"])
def test_counts_of_a_gradient_head_must_be_at_least_1(name: str, value: Any) -> None:
    with pytest.raises(SettingError, match=f"`{name}`"):
        GradientHead(**{name: value})


@pytest.mark.parametrize("value", NOT_RATES)
def test_learning_rate_must_be_above_0(value: Any) -> None:
    with pytest.raises(SettingError, match="`learning_rate`"):
        Phase(unfreeze_from=1, learning_rate=value)
    with pytest.raises(SettingError, match="`learning_rate`"):
        GradientHead(learning_rate=value)


@pytest.mark.parametrize("value", ["linear", None, 0.5])
def test_learning_rate_decay_must_be_known(value: Any) -> None:
    with pytest.raises(SettingError, match="learning_rate_decay"):
        Phase(unfreeze_from=1, learning_rate_decay=value)


@pytest.mark.parametrize("value", [-1e-9, math.nan, None, True])
def test_weight_decay_must_not_be_negative(value: Any) -> None:
    with pytest.raises(SettingError, match="`weight_decay`"):
        Phase(unfreeze_from=1, weight_decay=value)


@pytest.mark.parametrize("value", [1.0, -0.1, math.nan, False])
def test_dropout_fraction_must_leave_something(value: Any) -> None:
    with pytest.raises(SettingError, match="`dropout_fraction`"):
        GradientHead(dropout_fraction=value)


@pytest.mark.parametrize("value", NOT_RATES)
def test_l2_must_be_above_0(value: Any) -> None:
    with pytest.raises(SettingError, match="`l2`"):
        ExactHead(l2=value)


@pytest.mark.parametrize("value", [None, "exact", ExactHead, Phase(unfreeze_from=1), 0])
def test_head_must_be_a_head(value: Any) -> None:
    with pytest.raises(SettingError, match="`head`"):
        FineTuneSchedule(head=value)


@pytest.mark.parametrize("value", [None, Phase(unfreeze_from=1), ("last",), [ExactHead()], 3])
def test_phases_must_be_phases(value: Any) -> None:
    with pytest.raises(SettingError, match="`phases`"):
        FineTuneSchedule(phases=value)


@pytest.mark.parametrize(
    "value", ["even", True, 1.0, (1,), (1, 2, 3), (0, 1), (1, -1), (math.nan, 1), (True, 1), {}]
)
def test_class_weight_must_be_two_numbers_above_0(value: Any) -> None:
    with pytest.raises(SettingError, match="`class_weight`"):
        FineTuneSchedule(class_weight=value)


@pytest.mark.parametrize("value", [{0: 1, 1: 2}, np.array([1.0, 2.0])])
def test_class_weight_in_another_form_is_told_the_right_one(value: Any) -> None:
    with pytest.raises(SettingError, match=r"a tuple \(negative, positive\).*Keras, give \(a, b\)"):
        FineTuneSchedule(class_weight=value)


@pytest.mark.parametrize("value", NOT_COUNTS)
def test_batch_size_must_be_at_least_1(value: Any) -> None:
    with pytest.raises(SettingError, match="`batch_size`"):
        FineTuneSchedule(batch_size=value)


@pytest.mark.parametrize("places", [(0.4, 0.2), (100, 120), (0.2, 0.5, 0.3)])
def test_phases_must_not_go_up(places: tuple[float, ...]) -> None:
    with pytest.raises(SettingError, match="no phase may start above"):
        FineTuneSchedule.gradual(*places)


@pytest.mark.parametrize("places", [(0.2, 0.2), (120, 120), ("a", "b", "a")])
def test_gradual_must_go_down(places: tuple[float | str, ...]) -> None:
    with pytest.raises(SettingError, match="twice"):
        FineTuneSchedule.gradual(*places)


def test_the_same_place_may_be_trained_again_at_another_rate() -> None:
    first, second = Phase(unfreeze_from=120), Phase(unfreeze_from=120, learning_rate=1e-5)
    assert FineTuneSchedule(phases=(first, second)).phases == (first, second)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ('{"head": {"kind": "magic"}}', "kind of `head`"),
        ('{"head": {"l2": 1}}', "kind of `head`"),
        ('{"head": "exact"}', "`head`"),
        ('{"head": {"kind": "exact", "epochs": 3}}', "ExactHead setting 'epochs'"),
        ('{"phases": [3]}', "`phases`"),
        ('{"phases": 3}', "`phases`"),
        ('{"phases": [{"unfreeze_from": 3, "epoch": 3}]}', "did you mean 'epochs'"),
        ('{"batch_sise": 3}', "did you mean 'batch_size'"),
    ],
)
def test_unknown_json_is_refused_by_name(text: str, match: str) -> None:
    with pytest.raises(SettingError, match=match):
        FineTuneSchedule.from_json(text)


def test_the_defaults_said_to_be_those_of_keras_are() -> None:
    import keras

    assert Phase(unfreeze_from=1).weight_decay == keras.optimizers.AdamW().weight_decay
    assert GradientHead().learning_rate == pytest.approx(
        float(keras.optimizers.Adam().learning_rate)
    )


def test_schedules_are_frozen() -> None:
    with pytest.raises(AttributeError):
        FineTuneSchedule.standard().batch_size = 8  # type: ignore[misc]


def test_schedules_load_neither_tensorflow_nor_keras() -> None:
    code = (
        "import sys, tlkit.training.schedule as s; s.FineTuneSchedule.course().to_json(); "
        "sys.exit(bool({'tensorflow', 'keras'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
