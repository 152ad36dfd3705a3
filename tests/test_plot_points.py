"""The points of curves are those of scikit-learn."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from tlkit import TransferClassifier
from tlkit.errors import SettingError
from tlkit.evaluation.evaluate import evaluate
from tlkit.evaluation.scores import CrossValidation, Scores
from tlkit.plot import points

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def drawn(seed: int) -> tuple[Ints, Floats]:
    """Return labels and probabilities, many of them tied, and both ends among them."""
    rng = np.random.default_rng(seed)
    labels = np.append([0, 1], rng.integers(0, 2, 58))
    noisy = labels * 0.3 + rng.uniform(0, 0.7, 60)
    return labels, np.round(noisy, 1 if seed % 2 else 3).clip(0, 1)


@pytest.fixture(params=range(6))
def pairs(request: pytest.FixtureRequest) -> tuple[Ints, Floats]:
    return drawn(request.param)


def test_roc(pairs: tuple[Ints, Floats]) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    reached = points.steps(*pairs)
    wanted = metrics.roc_curve(*pairs, drop_intermediate=False)
    found = points.roc_points(reached)
    np.testing.assert_allclose(found[0], wanted[0])
    np.testing.assert_allclose(found[1], wanted[1])
    np.testing.assert_allclose(reached.thresholds, wanted[2][1:])


def test_precision_and_recall(pairs: tuple[Ints, Floats]) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    precision, recall = points.precision_recall_points(points.steps(*pairs))
    wanted = metrics.precision_recall_curve(*pairs)
    np.testing.assert_allclose(precision[::-1], wanted[0][:-1])
    np.testing.assert_allclose(recall[::-1], wanted[1][:-1])


def test_f1(pairs: tuple[Ints, Floats]) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    labels, probabilities = pairs
    reached = points.steps(labels, probabilities)
    wanted = [metrics.f1_score(labels, probabilities >= t) for t in reached.thresholds]
    np.testing.assert_allclose(points.f1_points(reached), wanted)


def test_reliability(pairs: tuple[Ints, Floats]) -> None:
    calibration = pytest.importorskip("sklearn.calibration")
    bins = points.reliability_bins(*pairs)
    shares, means = calibration.calibration_curve(*pairs, n_bins=points.BINS)
    np.testing.assert_allclose(bins.shares, shares)
    np.testing.assert_allclose(bins.means, means)
    assert bins.counts.sum() == 60
    assert np.abs(bins.means - bins.middles).max() <= 0.05 + 1e-9
    judged = evaluate(*pairs, class_names=("a", "b"), positive_class="b")
    assert bins.error == pytest.approx(judged.calibration_error)


def crossed(labels: Ints, probabilities: Floats) -> CrossValidation:
    safe = probabilities.clip(0.01, 0.99)
    scores = Scores(
        names=tuple(map(str, range(len(labels)))),
        labels=tuple(labels.tolist()),
        logits=tuple(np.log(safe / (1 - safe)).tolist()),
    )
    found = evaluate(labels, safe, class_names=("a", "b"), positive_class="b", part="out-of-fold")
    return CrossValidation(
        evaluation=found, folds=(found, found), fold_numbers=(0,) * len(labels), scores=scores
    )


def test_a_result_gives_its_splits(classifier: TransferClassifier) -> None:
    for part in (None, "validation", "test"):
        judged = points.Judged.of(classifier, part)
        assert judged.scores == classifier.record.scores[part or "validation"]
        wanted = classifier.test_evaluation if part == "test" else classifier.evaluation
        assert judged.evaluation == wanted
    crossing = crossed(*drawn(0))
    assert points.Judged.of(crossing, None) == points.Judged.of(crossing, "out-of-fold")
    assert points.Judged.of(crossing, None).images == "60 out-of-fold images"


def test_an_unknown_split_is_named(classifier: TransferClassifier) -> None:
    with pytest.raises(SettingError, match="unknown part 'tset': did you mean 'test'"):
        points.Judged.of(classifier, "tset")
    with pytest.raises(SettingError, match="unknown part 'test'"):
        points.Judged.of(crossed(*drawn(0)), "test")
    with pytest.raises(SettingError, match=r"`result` must be .* got Evaluation"):
        points.Judged.of(classifier.evaluation, None)  # type: ignore[arg-type]
