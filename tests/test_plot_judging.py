"""Curves and matrices show the metrics of the evaluation, and names from files stay text."""

from __future__ import annotations

import re
from collections.abc import Callable
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from tlkit import TransferClassifier, plot
from tlkit.errors import SettingError
from tlkit.evaluation.calibration import Calibration
from tlkit.evaluation.evaluate import evaluate
from tlkit.evaluation.scores import CrossValidation, Scores

pytest.importorskip("matplotlib")

SINGLE = [plot.confusion, plot.roc, plot.precision_recall, plot.reliability, plot.thresholds]
HOSTILE = ("<script>alert(1)</script>$\\frac{a$", "not \n_^{$x$")


def crossed(
    class_names: tuple[str, str] = ("alpaca", "other"), *, seed: int = 0, one_class: bool = False
) -> CrossValidation:
    rng = np.random.default_rng(seed)
    labels = np.ones(50, int) if one_class else (np.arange(50) < 20).astype(int)
    logits = rng.normal(3 * labels - 1.5, 1.5)
    scores = Scores(
        names=tuple(f"{number}.jpg" for number in range(50)),
        labels=tuple(labels.tolist()),
        logits=tuple(logits.tolist()),
    )
    found = evaluate(
        labels,
        scores.probabilities,
        class_names=class_names,
        positive_class=class_names[0],
        threshold=0.4,
        part="out-of-fold",
    )
    return CrossValidation(
        evaluation=found, folds=(found, found), fold_numbers=(0,) * 50, scores=scores
    )


RESULT = crossed()
FOUND = RESULT.evaluation


def texts(axes: plot.Grid) -> list[str]:
    """Return all that is written in a figure, as a reader of its SVG finds it."""
    found = ET.fromstring(axes.svg()).iter("{http://www.w3.org/2000/svg}text")
    return ["".join(element.itertext()) for element in found]


def curve(axes: plot.Grid, label: str) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    (line,) = (line for line in axes[0].lines if line.get_label().startswith(label))
    return np.asarray(line.get_xydata())


def test_the_confusion_matrix_holds_the_four_counts() -> None:
    axes = plot.confusion(RESULT)
    annotations = [(text.xy, text.get_text()) for text in axes[0].texts]
    assert annotations[::2] == [
        ((0.5, 0.5), str(FOUND.true_positives)),
        ((1.5, 0.5), str(FOUND.false_negatives)),
        ((0.5, 1.5), str(FOUND.false_positives)),
        ((1.5, 1.5), str(FOUND.true_negatives)),
    ]
    right = FOUND.true_positives + FOUND.true_negatives
    assert axes.figure.get_suptitle() == (
        f"{right} of 50 out-of-fold images called right (threshold 0.4)"
    )
    assert FOUND.recall is not None
    found = texts(axes)
    assert {"called alpaca", "called other", "is alpaca", "is other"} <= {*found}
    assert f"recall {FOUND.recall.brief()}" in found


def test_the_roc_curve_passes_through_the_threshold_in_use() -> None:
    axes = plot.roc(RESULT)
    assert axes.figure.get_suptitle() == f"ROC-AUC {FOUND.roc_auc:.3f} on 50 out-of-fold images"
    drawn = curve(axes, "every threshold")
    area = (np.diff(drawn[:, 0]) * (drawn[1:, 1] + drawn[:-1, 1]) / 2).sum()
    assert area == pytest.approx(FOUND.roc_auc)
    assert FOUND.specificity is not None
    assert FOUND.recall is not None
    here = (1 - FOUND.specificity, FOUND.recall.value)
    assert np.abs(drawn - here).sum(axis=1).min() < 1e-12
    (mark,) = axes[0].containers
    assert np.allclose(mark.lines[0].get_xydata(), [here])
    across, up = (np.array(bar.get_segments()[0]) for bar in mark.lines[2])
    assert across[:, 0] == pytest.approx([1 - FOUND.specificity.high, 1 - FOUND.specificity.low])
    assert up[:, 1] == pytest.approx([FOUND.recall.low, FOUND.recall.high])


def test_the_area_under_precision_and_recall_is_the_average_precision() -> None:
    axes = plot.precision_recall(RESULT)
    assert f"Average precision {FOUND.pr_auc:.3f} on 50" in axes.figure.get_suptitle()
    drawn = curve(axes, "every threshold")
    area = (np.diff(drawn[:, 0]) * drawn[1:, 1]).sum()
    assert area == pytest.approx(FOUND.pr_auc)
    (line,) = (line for line in axes[0].lines if line.get_label() == "every threshold")
    assert line.get_drawstyle() == "steps-pre"
    assert curve(axes, "guessing")[:, 1] == pytest.approx([0.4, 0.4])


def test_reliability_before_and_after_calibration() -> None:
    axes = plot.reliability(RESULT)
    assert f"Calibration error {FOUND.calibration_error:.3f}" in axes.figure.get_suptitle()
    counts = [int(text) for text in texts(axes) if text.isdigit()]
    assert sum(counts) == 50
    assert "before" not in axes.svg()

    line = Calibration(slope=0.25, intercept=0.5, count=50)
    both = plot.reliability(RESULT, calibration=line)
    before = curve(both, "before calibration: error ")
    raw = Scores(
        names=RESULT.scores.names,
        labels=RESULT.scores.labels,
        logits=tuple(line.undo(RESULT.scores.logits).tolist()),
    )
    lowest = raw.probabilities <= 0.1
    assert before[0] == pytest.approx(
        [raw.probabilities[lowest].mean(), np.array(raw.labels)[lowest].mean()]
    )
    assert both.figure.get_suptitle() == axes.figure.get_suptitle()


def test_thresholds_are_read_off_where_they_are_marked() -> None:
    axes = plot.thresholds(RESULT)
    rates = {"precision": FOUND.precision, "recall": FOUND.recall, "F1": FOUND.f1}
    for name, rate in rates.items():
        assert rate is not None
        drawn = curve(axes, f"{name} {rate:.2f}")
        at = np.searchsorted(drawn[:, 0], 0.4)  # steps-pre: the value of the next point
        assert drawn[at, 1] == pytest.approx(rate.value)
    styles = {line.get_linestyle() for line in axes[0].lines if len(line.get_xdata()) > 2}
    assert len(styles) == 3, "told apart without colours"
    assert (0.4, 0.4) in {tuple(line.get_xdata()) for line in axes[0].lines}


def test_a_threshold_that_calls_nothing_positive() -> None:
    high = evaluate(
        RESULT.scores.labels,
        RESULT.scores.probabilities,
        class_names=RESULT.class_names,
        positive_class="alpaca",
        threshold=1.0,
    )
    nothing = CrossValidation(
        evaluation=high, folds=(high, high), fold_numbers=(0,) * 50, scores=RESULT.scores
    )
    for figure in SINGLE:
        assert figure(nothing)._repr_png_().startswith(b"\x89PNG")
    assert "precision" in texts(plot.thresholds(nothing))


@pytest.mark.parametrize("figure", SINGLE)
def test_a_split_of_a_classifier_is_drawn(
    figure: Callable[..., plot.Grid], classifier: TransferClassifier
) -> None:
    assert f"{classifier.evaluation.count} validation" in figure(classifier).figure.get_suptitle()
    test = figure(classifier, part="test")
    assert test.shape == (1,)
    assert "test images" in test.figure.get_suptitle()
    with pytest.raises(SettingError, match="unknown part"):
        figure(classifier, part="training")


@pytest.mark.parametrize("figure", SINGLE)
def test_axes_of_the_caller_s_are_drawn_into(figure: Callable[..., plot.Grid]) -> None:
    from matplotlib.figure import Figure

    mine = Figure(figsize=(9, 4)).subplots(1, 2)
    axes = figure(RESULT, ax=mine[1])
    assert axes[0] is mine[1]
    assert axes.figure is mine[1].figure
    assert "50 out-of-fold images" in mine[1].get_title(loc="left")
    assert not mine[0].has_data()
    assert axes.figure.get_suptitle() == ""


@pytest.mark.parametrize("figure", SINGLE)
def test_names_from_files_stay_text(figure: Callable[..., plot.Grid]) -> None:
    axes = figure(crossed(HOSTILE))
    axes._repr_png_()
    text = axes.svg()
    assert "<script" not in text
    assert "&lt;/script&gt;$" in text or "…" in text


@pytest.mark.parametrize("figure", SINGLE)
def test_every_figure_has_a_dark_side(figure: Callable[..., plot.Grid]) -> None:
    with plot.theme("dark"):
        axes = figure(RESULT)
    light = {*vars_of("light")} - {*vars_of("dark")}
    found = {colour.lower() for colour in re.findall(r"#[0-9a-fA-F]{6}", axes.svg())}
    assert not found & light


def vars_of(name: str) -> list[str]:
    colours = plot.THEMES[name]
    return [getattr(colours, role) for role in colours.__slots__]


@pytest.mark.parametrize("figure", [plot.roc, plot.precision_recall, plot.thresholds])
def test_one_class_has_no_curve(figure: Callable[..., plot.Grid]) -> None:
    with pytest.raises(SettingError, match="needs images of both classes"):
        figure(crossed(one_class=True))
    plot.confusion(crossed(one_class=True))
    plot.reliability(crossed(one_class=True))
