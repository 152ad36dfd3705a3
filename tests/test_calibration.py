"""Platt's line, drawn back where the images leave room for chance; the ranking never changes."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from sklearn.calibration import _SigmoidCalibration
from sklearn.linear_model import LogisticRegression

from tlkit.errors import SettingError
from tlkit.evaluation.calibration import Calibration, _best_line, _platt_targets, fit_calibration
from tlkit.evaluation.evaluate import evaluate
from tlkit.evaluation.log_loss import log_losses, sigmoid

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def drawn(
    count: int, *, seed: int, slope: float = 1.0, intercept: float = 0.0
) -> tuple[Floats, Ints]:
    """Logits, and labels whose true logits are `slope · logit + intercept`."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 3.5, count)
    return logits, (random.random(count) < sigmoid(slope * logits + intercept)).astype(np.int64)


def plain_platt(logits: Floats, labels: Ints) -> tuple[float, float]:
    weights = np.ones(labels.size)
    return _best_line(logits, _platt_targets(labels == 1, weights), weights)


@pytest.mark.parametrize("scale", [1.0, 1e-6, 1e4])
@pytest.mark.parametrize("offset", [0.0, 3.0])
def test_before_shrinking_it_is_platt_scaling(scale: float, offset: float) -> None:
    logits, labels = drawn(150, seed=1, slope=0.6, intercept=0.4)
    moved = scale * (logits + offset)
    oracle = _SigmoidCalibration().fit(moved, labels)
    slope, intercept = plain_platt(moved, labels)
    assert slope == pytest.approx(-oracle.a_, rel=1e-5)
    assert intercept == pytest.approx(-oracle.b_, rel=1e-4, abs=1e-5)


def test_before_shrinking_it_is_a_logistic_regression_on_soft_targets() -> None:
    logits, labels = drawn(80, seed=2, slope=1.5)
    targets = _platt_targets(labels == 1, np.ones(80))
    assert sorted({*targets.round(12)}) == pytest.approx(
        [1 / ((labels == 0).sum() + 2), (labels.sum() + 1) / (labels.sum() + 2)]
    )
    model = LogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-12).fit(
        np.tile(logits, 2)[:, None],
        np.repeat([1, 0], 80),
        sample_weight=np.concatenate([targets, 1 - targets]),
    )
    assert plain_platt(logits, labels) == pytest.approx(
        (model.coef_[0, 0], model.intercept_[0]), abs=1e-6
    )


@st.composite
def cases(draw: st.DrawFn) -> tuple[Floats, Ints]:
    largest = draw(st.sampled_from([1, 10, 10_000]))
    count = draw(st.integers(2, 30))
    numbers = st.integers(-1000 * largest, 1000 * largest)
    logits = draw(st.lists(numbers, min_size=count, max_size=count))
    labels = draw(st.lists(st.integers(0, 1), min_size=count, max_size=count))
    assume(len({*labels}) == 2)
    return np.array(logits) / 1000, np.array(labels)


@given(cases())
def test_ranking_stays_and_log_loss_never_rises(case: tuple[Floats, Ints]) -> None:
    logits, labels = case
    calibration = fit_calibration(logits, labels)
    if calibration is None:
        return
    after = calibration.apply(logits)
    np.testing.assert_array_equal(
        np.unique(after, return_inverse=True)[1], np.unique(logits, return_inverse=True)[1]
    )
    size = np.abs(logits).max() + abs(calibration.intercept / calibration.slope)
    np.testing.assert_allclose(calibration.undo(after), logits, atol=1e-12 * size, rtol=0)
    targets = _platt_targets(labels == 1, np.ones(labels.size))
    before = log_losses(targets, logits).sum()
    assert log_losses(targets, after).sum() <= before + 1e-9 * max(before, 1)


def test_a_calibrated_classifier_is_left_nearly_alone() -> None:
    many, _ = drawn(20_000, seed=0)
    truth = sigmoid(many)

    def harm(slope: float, intercept: float) -> float:
        changed = slope * many + intercept
        return float((log_losses(truth, changed) - log_losses(truth, many)).mean())

    plain, shrunk = [], []
    for seed in range(1, 61):
        logits, labels = drawn(260, seed=seed)
        calibration = fit_calibration(logits, labels)
        assert calibration is not None
        plain.append(harm(*plain_platt(logits, labels)))
        shrunk.append(harm(calibration.slope, calibration.intercept))
    assert np.mean(shrunk) < 0.4 * np.mean(plain)
    assert np.median(shrunk) == 0  # more often than not there is nothing to correct


@pytest.mark.parametrize(("slope", "intercept"), [(0.3, 0.0), (0.6, 0.5), (1.6, 0.0), (1.0, 1.5)])
def test_what_is_off_is_corrected(slope: float, intercept: float) -> None:
    logits, labels = drawn(2000, seed=3, slope=slope, intercept=intercept)
    calibration = fit_calibration(logits, labels)
    assert calibration is not None
    assert calibration.slope == pytest.approx(slope, rel=0.2)
    assert calibration.intercept == pytest.approx(intercept, abs=0.25)
    assert calibration.slope == pytest.approx(plain_platt(logits, labels)[0], abs=0.03)
    before, after = (
        evaluate(labels, sigmoid(given), class_names=("a", "b"), positive_class="b")
        for given in (logits, calibration.apply(logits))
    )
    assert after.log_loss < before.log_loss
    assert after.calibration_error < before.calibration_error
    assert after.roc_auc == before.roc_auc


@pytest.mark.parametrize(
    ("logits", "labels"),
    [
        ([-1e4, -1e4, 1e4, 1e4], [0, 0, 1, 1]),
        ([-1e4, -1e4, 1e4, 1e4], [0, 1, 1, 1]),
        ([-1.0, -2.0, 1.0, 2.0], [0, 0, 1, 1]),
        ([1e300, -1e300, 3.0], [1, 0, 1]),
        ([1e4, *np.linspace(-3, 3, 50)], [1, *[0] * 25, *[1] * 25]),
        ([10_001.0, 10_002.0, 10_003.0, 10_004.0], [0, 1, 0, 1]),
    ],
)
def test_hard_cases_give_a_line(logits: list[float], labels: list[int]) -> None:
    calibration = fit_calibration(logits, labels)
    assert calibration is not None
    assert calibration.count == len(labels)
    after = calibration.apply(logits)
    losses = [log_losses(np.array(labels), np.array(line)).mean() for line in (logits, after)]
    assert np.isfinite(after).all()
    assert losses[1] <= losses[0] + np.log(2)


@pytest.mark.parametrize(
    ("logits", "labels"),
    [
        ([3.0, 3.0, 3.0, 3.0], [0, 1, 0, 1]),
        ([-1.0, 1.0, -1.0, 1.0], [0, 0, 1, 1]),
        ([2.0, 1.0, -1.0, -2.0], [0, 0, 1, 1]),
        ([0.0, 0.0], [0, 1]),
    ],
)
def test_none_where_logits_do_not_go_with_labels(logits: list[float], labels: list[int]) -> None:
    assert fit_calibration(logits, labels) is None


def test_only_the_ratios_of_weights_matter() -> None:
    logits, labels = drawn(200, seed=4, slope=0.4)
    equal = fit_calibration(logits, labels, sample_weight=np.full(200, 7))
    assert equal == fit_calibration(logits, labels)
    more = np.append(logits, [9.0, -9.0]), np.append(labels, [0, 1])
    ignored = fit_calibration(*more, sample_weight=np.append(np.ones(200), [0, 0]))
    assert ignored is not None
    assert equal is not None
    assert (ignored.slope, ignored.intercept, ignored.count) == pytest.approx(
        (equal.slope, equal.intercept, 200)
    )


def test_weights_move_the_intercept() -> None:
    logits, labels = drawn(3000, seed=5)
    calibration = fit_calibration(logits, labels, sample_weight=np.where(labels == 1, 5.0, 1.0))
    assert calibration is not None
    assert calibration.intercept == pytest.approx(np.log(5), abs=0.3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1.0, 2.0], [1, 1]), "both classes, got 0 of class 0 and 2 of class 1"),
        (([1.0, 2.0], [0, 1], [1, 0]), "both classes, got 1 of class 0 and 0 of class 1"),
        (([], []), "both classes, got 0"),
        (([1.0], [0, 1]), "one length"),
        (([[1.0, 2.0]], [[0, 1]]), "one length"),
        (([1.0, np.nan], [0, 1]), "`logits` must be finite"),
        (([1.0, 2.0], [0, 2]), "`labels` must be 0 or 1"),
        (([1.0, 2.0], ["a", "b"]), "`labels` must be 0 or 1"),
        (([1.0, 2.0], [0, 1], [1, -1]), "at least 0"),
        (([1.0, 2.0], [0, 1], [1, np.inf]), "`sample_weight` must be finite"),
    ],
)
def test_says_what_is_wrong(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        fit_calibration(*arguments[:2], sample_weight=dict(enumerate(arguments)).get(2))


def test_a_calibration_is_a_value() -> None:
    calibration = Calibration(slope=0.8, intercept=-0.126, count=262)
    assert Calibration.from_json(calibration.to_json()) == calibration
    assert str(calibration) == "calibrated on 262 images: logit · 0.8 - 0.13 (it was too sure)"
    unsure = Calibration(slope=1.25, intercept=0.0, count=262)
    assert str(unsure).endswith("logit · 1.25 + 0.00 (it was not sure enough)")
    assert str(Calibration(slope=0.97, intercept=0.02, count=9)).endswith("logit · 0.97 + 0.02")
    assert "nothing to correct" in str(Calibration(slope=1.0, intercept=0.0, count=262))
    assert calibration.apply(2).shape == ()
    for wrong in ({"slope": 0.0}, {"slope": -1.0}, {"intercept": np.nan}, {"count": 0}):
        with pytest.raises(SettingError):
            Calibration(**({"slope": 0.8, "intercept": 0.0, "count": 262} | wrong))
