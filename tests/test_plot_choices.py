"""Figures of a comparison and of a learning curve show their numbers, and the report shows both."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tlkit import (
    BackboneAdapter,
    Comparison,
    LearningCurve,
    TransferClassifier,
    plot,
    write_report,
)
from tlkit.choosing.comparison import Candidate
from tlkit.choosing.curve import CurvePoint, Forecast
from tlkit.errors import SettingError
from tlkit.evaluation.evaluate import evaluate
from tlkit.evaluation.paired import PairedDifference
from tlkit.evaluation.rate import Rate

pytest.importorskip("matplotlib")


def candidate(size: int, loss: float, milliseconds: float, difference: float) -> Candidate:
    labels, sure = [0, 1] * 20, 2.718281828**-loss
    found = evaluate(
        labels,
        [sure if label else 1 - sure for label in labels],
        class_names=("a", "b"),
        positive_class="b",
        part="out-of-fold",
        folds=5,
    )
    return Candidate(
        BackboneAdapter("tiny_random", image_size=size),
        evaluation=found,
        difference=PairedDifference(mean=difference, standard_error=0.02, count=40),
        milliseconds=milliseconds,
        parameters=10_000,
    )


@pytest.fixture(scope="module")
def compared() -> Comparison:
    rows = (
        candidate(64, 0.10, 8.0, 0.0),
        candidate(48, 0.11, 4.0, 0.01),
        candidate(40, 0.30, 6.0, 0.2),
        candidate(32, 0.40, 1.0, 0.3),
        Candidate(BackboneAdapter("tiny_random", image_size=16), reason="no room"),
    )
    evaluation = rows[0].evaluation
    assert evaluation
    return Comparison(
        candidates=rows,
        recommended_evaluation=evaluation,
        fold_choices=(rows[1].name,) * 5,
        schedule="exact head",
    )


@pytest.fixture(scope="module")
def curve() -> LearningCurve:
    points = tuple(
        CurvePoint(
            count=count, log_loss=loss, low=0.8 * loss, high=1.2 * loss, draw_error=0.01,
            accuracy=Rate.wilson(90, 100),
        )
        for count, loss in ((25, 0.5), (50, 0.4), (100, 0.3))
    )  # fmt: skip
    forecasts = tuple(
        Forecast(
            times=times, count=round(100 * times), log_loss=loss, low=loss - 0.05, high=loss + 0.05
        )
        for times, loss in ((2.0, 0.25), (4.0, 0.2))
    )
    return LearningCurve(BackboneAdapter("tiny_random"), points, forecasts)


def test_the_fastest_of_those_close_to_the_best_is_recommended(compared: Comparison) -> None:
    assert compared.best == BackboneAdapter("tiny_random", image_size=64)
    assert compared.recommended == BackboneAdapter("tiny_random", image_size=48)
    assert [one.backbone.image_size[0] for one in compared.close_candidates] == [64, 48]
    assert "the best, tiny_random@64, takes 2.0 times as long" in str(compared)
    assert "no room" in str(compared)


def test_networks_stand_where_their_numbers_are(compared: Comparison) -> None:
    axes = plot.comparison(compared)
    drawn = {
        (x, round(y, 2))
        for line in axes[0].lines
        if line.get_marker() in "oD"
        for x, y in line.get_xydata()
    }
    assert drawn >= {(8.0, 0.10), (4.0, 0.11), (6.0, 0.30), (1.0, 0.40)}
    (frontier,) = (line for line in axes[0].lines if line.get_label() == "frontier")
    assert [x for x, _ in frontier.get_xydata()] == [1.0, 4.0, 8.0]
    svg = axes.svg()
    assert "Recommended: tiny_random@48" in svg
    assert "tiny_random@16" not in svg


def test_a_curve_and_its_forecast_are_drawn(curve: LearningCurve) -> None:
    axes = plot.training_size(curve)
    lines = {line.get_label(): line.get_xydata().tolist() for line in axes[0].lines}
    assert lines["log-loss"] == [[25, 0.5], [50, 0.4], [100, 0.3]]
    assert lines["forecast"] == [[100, 0.3], [200, 0.25], [400, 0.2]]
    assert "0.300 → about 0.250 (0.200–0.300)" in axes.svg()


def test_what_is_none_is_refused(compared: Comparison, curve: LearningCurve) -> None:
    with pytest.raises(SettingError, match=r"tlkit\.compare"):
        plot.comparison(curve)  # type: ignore[arg-type]
    with pytest.raises(SettingError, match=r"tlkit\.learning_curve"):
        plot.training_size(compared)  # type: ignore[arg-type]


def test_the_report_has_a_section_of_them(
    classifier: TransferClassifier, compared: Comparison, curve: LearningCurve, tmp_path: Path
) -> None:
    page = tmp_path / "page.html"
    write_report(classifier, page, heat_maps=0, comparison=compared, learning_curve=curve)
    text = page.read_text("utf-8")
    assert 'id="choices"' in text
    assert "recommended: tiny_random@48" in text
    assert "twice as many images: log-loss 0.300" in text
    assert len(re.findall(r"<svg", text)) >= 2
    write_report(classifier, page, heat_maps=0)
    assert 'id="choices"' not in page.read_text("utf-8")
