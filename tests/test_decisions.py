"""Two thresholds with a guarantee: kept in simulated draws, by brute force, and refused where it must be."""

from __future__ import annotations

import contextlib
import json
import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tlkit.errors import GuaranteeError, SettingError
from tlkit.evaluation.bounds import counts_within
from tlkit.evaluation.decision_counts import (
    UNFAMILIAR,
    UNSURE,
    DecisionCounts,
    check_no_decision,
    counted,
)
from tlkit.evaluation.decision_curve import decision_curve
from tlkit.evaluation.decisions import Guarantee, choose_guarantee, read_promise
from tlkit.evaluation.log_loss import sigmoid

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

DRAWS = 300
SLACK = 3 * math.sqrt(0.1 * 0.9 / DRAWS)  # three standard deviations of a share of 0.1


def world(spread: float, wrong_labels: float, size: int = 40_000) -> tuple[Ints, Floats]:
    """Many images with calibrated logits but for some wrong labels; draws are taken from them."""
    random = np.random.default_rng(3)
    logits = random.normal(0.5, spread, size)
    labels = (random.random(size) < sigmoid(logits)).astype(np.int64)
    return labels ^ (random.random(size) < wrong_labels), logits


def shares(guarantee: Guarantee, labels: Ints, logits: Floats) -> dict[str, float]:
    """What is true of a guarantee, among the images that all draws come from."""
    called = guarantee.decide(logits)
    decided = called != UNSURE
    return {
        "error": float((called != labels)[decided].mean()) if decided.any() else 0.0,
        "miss": float((called == 0)[labels == 1].mean()),
        "false_alarm": float((called == 1)[labels == 0].mean()),
    }


PROMISES: dict[str, dict[str, Any]] = {
    "error": {"error": 0.02},
    "larger error": {"error": 0.1},
    "miss": {"miss": 0.05},
    "false alarm": {"false_alarm": 0.05},
    "both classes": {"miss": 0.03, "false_alarm": 0.06},
}


@pytest.mark.parametrize(("spread", "wrong_labels"), [(12, 0), (6, 0.005), (2, 0)])
@pytest.mark.parametrize("promise", PROMISES)
def test_what_is_promised_is_kept(promise: str, spread: float, wrong_labels: float) -> None:
    labels, logits = world(spread, wrong_labels)
    random, broken, given_up = np.random.default_rng(1), 0, 0
    for _ in range(DRAWS):
        drawn = random.integers(labels.size, size=400)
        try:
            guarantee = choose_guarantee(labels[drawn], logits[drawn], **PROMISES[promise])
        except SettingError:
            given_up += 1
            continue
        true = shares(guarantee, labels, logits)
        broken += any(true[name] > allowed for name, allowed in PROMISES[promise].items())
    assert broken / DRAWS <= 0.1 + SLACK
    assert given_up == 0 or promise in {"error", "larger error"}  # or nothing was held


def test_a_promise_about_classes_is_not_much_better_than_it_must_be() -> None:
    """It is exact but for the counts being whole: a slip by one image would be seen."""
    labels, logits = world(2, 0)
    random, broken = np.random.default_rng(2), 0
    for _ in range(DRAWS):
        drawn = random.integers(labels.size, size=400)
        guarantee = choose_guarantee(labels[drawn], logits[drawn], miss=0.05)
        broken += shares(guarantee, labels, logits)["miss"] > 0.05
    assert 0.03 < broken / DRAWS <= 0.1 + SLACK


def test_groups_are_the_units() -> None:
    """Every object is photographed eight times; its images look alike and are right or wrong together."""
    labels, logits = world(3, 0)
    random, broken = np.random.default_rng(4), {"images": 0, "groups": 0}
    for _ in range(DRAWS):
        objects = random.integers(labels.size, size=130)
        groups = np.repeat(np.arange(130), 8)
        for unit in broken:
            with contextlib.suppress(SettingError):
                guarantee = choose_guarantee(
                    labels[objects][groups],
                    logits[objects][groups] + random.normal(0, 0.01, groups.size),
                    error=0.05,
                    groups=groups if unit == "groups" else None,
                )
                broken[unit] += shares(guarantee, labels, logits)["error"] > 0.05
                assert guarantee.count == (130 if unit == "groups" else groups.size)
    assert broken["groups"] / DRAWS <= 0.1 + SLACK
    assert broken["images"] / DRAWS > 0.1 + SLACK  # or groups were not needed


def test_groups_with_both_classes_count_once_in_each() -> None:
    labels, groups = np.tile([0, 0, 1, 1], 150), np.repeat(np.arange(150), 4)
    logits = np.where(labels == 1, 4.0, -4.0)
    guarantee = choose_guarantee(labels, logits, miss=0.05, false_alarm=0.05, groups=groups)
    assert guarantee.count == 300
    assert guarantee.true_positives == guarantee.true_negatives == 150


def brute_force(labels: list[int], logits: list[float], share: float, chance: float) -> float:
    """The largest lower threshold that misses no more than is allowed, of all there are."""
    positives = sorted(logit for label, logit in zip(labels, logits, strict=True) if label)
    allowed = counts_within(share, 1 - chance, len(positives)).size - 1
    possible = [
        cut
        for cut in [*sorted(logits), math.inf]
        if sum(logit < cut for logit in positives) <= allowed
    ]
    return max(possible)


def test_a_curve_is_what_each_guarantee_would_be() -> None:
    labels, logits = world(6, 0.005, size=600)
    groups = np.arange(600) // 2
    curve = decision_curve(labels, logits, threshold=0.4, confidence=0.8, groups=groups)
    for error, found in curve.items():
        try:
            wanted: Guarantee | str = choose_guarantee(
                labels, logits, error=error, threshold=0.4, confidence=0.8, groups=groups
            )
        except GuaranteeError as refused:
            wanted = str(refused)
        assert found == wanted
    first, *_, last = curve.values()
    assert isinstance(first, str)
    assert isinstance(last, Guarantee)
    assert last.decided_count == last.count == 300
    assert [*curve] == sorted(curve)
    with pytest.raises(SettingError, match="`confidence`"):
        decision_curve(labels, logits, confidence=1.0)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.integers(0, 1), st.integers(-6, 6)), min_size=12, max_size=60))
def test_no_more_of_a_class_could_be_decided(images: list[tuple[int, int]]) -> None:
    labels, logits = [label for label, _ in images], [float(logit) for _, logit in images]
    if counts_within(0.3, 0.8, sum(labels)).size == 0:
        with pytest.raises(SettingError, match="out-of-fold positives"):
            choose_guarantee(labels, logits, miss=0.3, confidence=0.8)
        return
    guarantee = choose_guarantee(labels, logits, miss=0.3, confidence=0.8)
    best = min(brute_force(labels, logits, 0.3, 0.2), 0.0)
    called = [logit < guarantee.lower_logit for logit in logits]
    assert called == [logit < best for logit in logits]
    assert guarantee.upper_logit == 0  # nothing is promised of negatives


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.integers(0, 1), st.integers(-30, 30)), min_size=30, max_size=90))
def test_thresholds_are_where_the_counts_say(images: list[tuple[int, int]]) -> None:
    labels = np.array([label for label, _ in images])
    logits = np.array([number / 4 for _, number in images])
    try:
        guarantee = choose_guarantee(labels, logits, error=0.25, confidence=0.8, threshold=0.6)
    except SettingError:
        return
    middle = math.log(0.6) - math.log1p(-0.6)
    assert guarantee.lower_logit <= middle <= guarantee.upper_logit
    assert middle - guarantee.lower_logit == pytest.approx(guarantee.upper_logit - middle)
    called = np.where(
        logits >= guarantee.upper_logit, 1, np.where(logits < guarantee.lower_logit, 0, UNSURE)
    )
    assert called.tolist() == guarantee.decide(logits).tolist()
    assert guarantee.true_positives == ((called == 1) & (labels == 1)).sum()
    assert guarantee.false_positives == ((called == 1) & (labels == 0)).sum()
    assert guarantee.unsure_positives == ((called == UNSURE) & (labels == 1)).sum()
    assert guarantee.true_negatives == ((called == 0) & (labels == 0)).sum()
    assert guarantee.false_negatives == ((called == 0) & (labels == 1)).sum()
    assert guarantee.unsure_negatives == ((called == UNSURE) & (labels == 0)).sum()
    allowed = counts_within(0.25, 0.8, guarantee.decided_count).size - 1
    assert guarantee.false_positives + guarantee.false_negatives <= allowed


def test_the_last_digits_of_a_logit_move_nothing() -> None:
    labels, logits = world(5, 0, 300)
    logits = logits.round(1)
    guarantee = choose_guarantee(labels, logits, error=0.1)
    assert 0 < guarantee.decided_fraction < 1
    for seed in range(20):
        noise = np.random.default_rng(seed).uniform(-1e-6, 1e-6, logits.size)
        assert (guarantee.decide(logits + noise) == guarantee.decide(logits)).all()


def easy(count: int = 400) -> tuple[Ints, Floats]:
    """Right but for the last: the surest first, one of ten unsure, half of those wrong."""
    labels = np.arange(count) % 2
    logits = (2 * labels - 1) * np.linspace(8, 0.1, count)
    labels[count * 9 // 10 :: 4] ^= 1
    return labels, logits


def test_images_on_a_threshold_are_counted_as_they_are_decided() -> None:
    on_a_threshold = 0
    for seed in range(20):
        random = np.random.default_rng(seed)
        labels = random.integers(0, 2, 80)
        logits = (random.integers(-3, 4, 80) + 3 * labels).astype(float)
        promises: list[dict[str, Any]] = [{"miss": 0.2}, {"false_alarm": 0.2}]
        for promise in (*promises, {"miss": 0.1, "false_alarm": 0.1}):
            with contextlib.suppress(SettingError):  # that it cannot be kept
                guarantee = choose_guarantee(labels, logits, confidence=0.5, **promise)
                on_a_threshold += guarantee.upper_logit in logits
                counts = counted(labels, guarantee.decide(logits))
                assert counts == {name: getattr(guarantee, name) for name in counts}
    assert on_a_threshold > 5


def test_it_says_what_it_buys() -> None:
    guarantee = choose_guarantee(*easy())
    first, second, third = str(guarantee).splitlines()
    assert first == "decides 83 % (79–87 %) of images alone; the other 17 % go to a person"
    assert (
        second == "  promised with 90 % confidence: of the images it decides at most 2 % are wrong"
    )
    assert third == (
        "  unsure from probability 0.195 to 0.805; chosen on 400 out-of-fold images: 0 of 333 decided "
        "were wrong"
    )
    assert guarantee.decided_fraction.count == 400
    assert repr(guarantee.observed_error) == "0.000 (95 % CI 0.000–0.011, n = 333)"
    classes = choose_guarantee(*easy(), miss=0.025, false_alarm=0.05, confidence=0.95)
    assert classes.promise() == (
        "of all positives at most 2.5 % are called negative, of all negatives at most 5 % are called "
        "positive"
    )
    assert classes.observed_miss is not None
    assert classes.observed_miss.count == int(easy()[0].sum())
    everything = choose_guarantee([0, 1] * 200, [-4, 4] * 200)
    assert "decides 100 % (99–100 %) of images alone; the other 0 % go to" in str(everything)
    assert "nothing is unsure" in str(everything)


def test_a_rare_remainder_is_not_rounded_away() -> None:
    guarantee = Guarantee(
        lower_logit=-0.1,
        upper_logit=0.1,
        threshold=0.5,
        error=0.02,
        confidence=0.9,
        part="out-of-fold",
        true_positives=1000,
        false_positives=0,
        unsure_positives=1,
        true_negatives=999,
        false_negatives=0,
        unsure_negatives=0,
    )
    assert "decides 99.95 % (99.7–99.99 %) of images alone; the other 0.05 % go" in str(guarantee)


@pytest.mark.parametrize("promise", [{}, {"miss": 0.05}, {"miss": 0.05, "false_alarm": 0.2}])
def test_a_guarantee_is_a_value(promise: dict[str, Any]) -> None:
    guarantee = choose_guarantee(*easy(), **promise)
    again = Guarantee.from_json(guarantee.to_json())
    assert again == guarantee
    assert again.kind == ("classes" if promise else "error")
    with pytest.raises(SettingError, match="`upper_logit` must be at least"):
        Guarantee.from_config({**json.loads(guarantee.to_json()), "upper_logit": -1})
    with pytest.raises(SettingError, match="either `error`"):
        Guarantee.from_config({**json.loads(guarantee.to_json()), "error": 0.1, "miss": 0.1})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"error": 0.02, "miss": 0.1}, "promises either `error`.* got error, miss"),
        ({"error": 0.0}, "`error` must be above 0 and below 1"),
        ({"miss": 1.0}, "`miss` must be above 0 and below 1"),
        ({"confidence": 1.0}, "`confidence` must be above 0 and below 1"),
        ({"threshold": 0.0}, "`threshold` must be above 0 and below 1"),
        ({"groups": [1, 2]}, "one group for each of 400 images, got 2"),
        ({"error": 0.005}, "takes at least 460 out-of-fold images .* there are 400"),
        ({"false_alarm": 0.01}, "takes at least 230 out-of-fold negatives .* there are 190"),
    ],
)
def test_what_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        choose_guarantee(*easy(), **arguments)


def test_what_is_no_logit() -> None:
    for logits, message in (
        ([1.0, math.nan], "`logits` must be finite numbers"),
        ([1.0], r"two lists of one length, got shapes \[2\] and \[1\]"),
    ):
        with pytest.raises(SettingError, match=message):
            choose_guarantee([0, 1], logits)


# Counting decisions


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.integers(0, 1), st.integers(-2, 1)), min_size=1, max_size=30))
def test_every_image_is_counted_once(images: list[tuple[int, int]]) -> None:
    labels, called = [label for label, _ in images], [said for _, said in images]
    counts = DecisionCounts.of(labels, called)
    assert counts.count == len(images)
    assert counts.unsure_count == called.count(UNSURE)
    assert counts.unfamiliar_count == called.count(UNFAMILIAR)
    assert counts.decided_count == sum(said >= 0 for said in called)
    wrong = sum(said == 1 - label for label, said in images)
    assert counts.mistake_count == wrong
    if counts.observed_error is not None:
        assert counts.observed_error == pytest.approx(wrong / counts.decided_count)
    if 1 in labels:
        assert counts.observed_miss == pytest.approx(images.count((1, 0)) / labels.count(1))
    if 0 in labels:
        assert counts.observed_false_alarm == pytest.approx(images.count((0, 1)) / labels.count(0))
    assert DecisionCounts.from_json(counts.to_json()) == counts


def test_counts_say_what_is_left_to_a_person() -> None:
    counts = DecisionCounts.of([1, 1, 0, 0, 0], [1, UNSURE, 0, 1, UNFAMILIAR])
    assert str(counts).splitlines() == [
        "decided alone: 3 of 5 images, 0.60 (0.23–0.88); 1 of them wrong, 0.33 (0.06–0.79)",
        "left to a person: 1 unsure, 1 unfamiliar",
    ]
    nothing = DecisionCounts.of([1], [UNSURE])
    assert str(nothing).splitlines()[0] == "decided alone: 0 of 1 images, 0.00 (0.00–0.79)"
    assert str(DecisionCounts.of([1], [1])).endswith("left to a person: no image")
    with pytest.raises(SettingError, match="one for each of 2 labels, got 1"):
        DecisionCounts.of([1, 0], [1])


def test_no_class_is_called_like_a_decision() -> None:
    check_no_decision(("alpaca", "not unsure"))
    for name in ("unsure", "Unfamiliar"):
        with pytest.raises(SettingError, match=f"no class may be called '{name}'"):
            check_no_decision(("alpaca", name))


@pytest.mark.parametrize(
    ("text", "promise"),
    [
        ("error=0.02", {"error": 0.02}),
        (" Error=0.02@0.95 ", {"error": 0.02, "confidence": 0.95}),
        ("miss=0.01", {"miss": 0.01}),
        ("false-alarm=0.05, miss=0.01@0.8", {"miss": 0.01, "false_alarm": 0.05, "confidence": 0.8}),
    ],
)
def test_promises_are_read(text: str, promise: dict[str, float]) -> None:
    assert read_promise(text) == promise


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0.02", "must look like 'error=0.02'"),
        ("error", "must look like"),
        ("error=much", "must look like"),
        ("error=0.1,error=0.2", "must look like"),
        ("error=0.02@", "must look like"),
        ("precision=0.9", "must look like"),
        ("error=0.02,miss=0.1", "promises either `error`"),
        ("error=2", "`error` must be above 0 and below 1"),
        ("error=0.02@1", "`confidence` must be above 0 and below 1"),
    ],
)
def test_promises_that_cannot_be_read(text: str, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        read_promise(text)
