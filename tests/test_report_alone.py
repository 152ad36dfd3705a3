"""How many images it decides alone: the curve of the page is what each guarantee would be."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from browser import CHROMIUM, Page, chromium

from tlkit import ThresholdGoal, TransferClassifier, plot
from tlkit.classifier.classifier import with_card
from tlkit.errors import GuaranteeError, SettingError
from tlkit.evaluation.decisions import Guarantee
from tlkit.evaluation.log_loss import sigmoid
from tlkit.evaluation.scores import Scores
from tlkit.report.alone import decide_alone
from tlkit.report.page import write_report

for extra in ("matplotlib", "jinja2"):
    pytest.importorskip(extra)
in_browser = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium: apt-get install chromium")


def judged(classifier: TransferClassifier, count: int) -> TransferClassifier:
    """The classifier with out-of-fold logits of so many images, some of them wrong."""
    random = np.random.default_rng(5)
    logits = random.normal(0.5, 5, count)
    labels = (random.random(count) < sigmoid(logits)).astype(int)
    scores = Scores(
        names=tuple(f"{number}.jpg" for number in range(count)),
        labels=tuple(labels.tolist()),
        logits=tuple(logits.tolist()),
    )
    known = {**classifier.card.scores, "out-of-fold": scores}
    return with_card(classifier, dataclasses.replace(classifier.card, scores=known))


@pytest.fixture(scope="module")
def many(classifier: TransferClassifier) -> TransferClassifier:
    return judged(classifier, 500)


@pytest.fixture(scope="module")
def report(many: TransferClassifier, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("alone") / "report.html"
    write_report(many, path, heat_maps=0)
    return path


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with chromium() as opened:
        yield opened


def test_each_step_is_what_with_guarantee_gives(many: TransferClassifier) -> None:
    alone = decide_alone(many)
    assert alone.chart is not None
    for step in alone.steps:
        if step.found is None:
            with pytest.raises(GuaranteeError) as refused:
                many.with_guarantee(step.error)
            assert step.sentence.lower() == f"{refused.value}.".lower()
        else:
            assert step.found == many.with_guarantee(step.error).guarantee
            assert f"{step.found.decided_count:,} images that it decided here" in step.sentence
    assert [step.found is None for step in alone.steps[:2]] == [True, False]  # where it begins
    places = [step.place for step in alone.steps]
    assert [places[0], places[-1]] == pytest.approx([0, 1])
    assert places == sorted(places)
    assert alone.steps[alone.start].error == 0.02


def test_it_starts_with_the_guarantee_that_the_classifier_has(many: TransferClassifier) -> None:
    alone = decide_alone(many.with_guarantee(0.033, confidence=0.8))
    start = alone.steps[alone.start]
    assert (start.error, start.allowed.replace("\xa0", " ")) == (0.033, "3.3 %")
    assert start.found == many.with_guarantee(0.033, confidence=0.8).guarantee
    assert alone.confidence == 0.8


@pytest.mark.parametrize("case", ["few images", "no folds", "threshold", "a class called unsure"])
def test_where_nothing_can_be_promised_the_page_says_why(
    many: TransferClassifier, case: str, tmp_path: Path
) -> None:
    scores = many.card.scores
    bare = {name: known for name, known in scores.items() if name != "out-of-fold"}
    refused = {
        "few images": lambda: judged(many, 4),
        "no folds": lambda: with_card(many, dataclasses.replace(many.card, scores=bare)),
        "threshold": lambda: many.with_threshold(ThresholdGoal.precision(0.9)),
        "a class called unsure": lambda: with_card(
            many,
            dataclasses.replace(many.card, class_names=("disc", "unsure"), positive_class="disc"),
        ),
    }[case]()
    alone = decide_alone(refused)
    assert (alone.chart, alone.steps) == (None, ())
    with pytest.raises(SettingError) as said:
        refused.with_guarantee(0.4)
    assert alone.reason.lower() == f"{said.value}.".lower()
    with pytest.raises(SettingError, match=re.escape(str(said.value))):
        plot.decisions(refused)
    if case == "few images":
        write_report(refused, tmp_path / "report.html", heat_maps=0)
        text = (tmp_path / "report.html").read_text("utf-8")
        assert "How rarely cannot be promised here. At most 40 % of mistakes" in text
        assert 'id="allowed"' not in text


def test_the_figure_shows_the_shares_and_their_intervals(many: TransferClassifier) -> None:
    axes = plot.decisions(many.with_guarantee(0.05), confidence=0.9)[0]
    line, own = axes.lines
    for error, height in line.get_xydata():
        try:
            found = many.with_guarantee(error).guarantee
        except GuaranteeError:
            assert np.isnan(height)
            continue
        assert found is not None
        assert height == pytest.approx(found.decided_fraction)
    found = many.with_guarantee(0.05).guarantee
    assert isinstance(found, Guarantee)
    assert own.get_xydata().tolist() == [[0.05, float(found.decided_fraction)]]
    band = axes.collections[0].get_paths()[0].vertices
    at = band[np.isclose(band[:, 0], 0.05)][:, 1]
    assert [at.min(), at.max()] == pytest.approx(
        [found.decided_fraction.low, found.decided_fraction.high]
    )


def moved(page: Page, place: int) -> None:
    page.run(
        f"(() => {{ const slider = document.querySelector('#allowed'); slider.value = '{place}';"
        "slider.dispatchEvent(new Event('input')); })()"
    )


def text_of(page: Page, selector: str) -> str:
    text: str = page.run(f"document.querySelector({selector!r}).textContent")
    return text


@in_browser
def test_the_slider_says_what_each_error_buys(
    page: Page, report: Path, many: TransferClassifier
) -> None:
    page.open(report.as_uri())
    assert page.complaints == []
    alone = decide_alone(many)
    for number, step in enumerate(alone.steps):
        moved(page, number)
        assert text_of(page, "#alone-live") == step.sentence
        assert text_of(page, "#allowed-value") == step.allowed
        assert page.run("document.querySelector('#allowed').ariaValueText") == step.allowed
        seen = "document.querySelector('#keep').checkVisibility({ visibilityProperty: true })"
        assert page.run(seen) == (step.found is not None)
        mark_hidden, off = page.run(
            """(() => {
              const mark = document.querySelector('#alone .dot');
              const [at, box] = [mark.getBoundingClientRect(), mark.parentElement.getBoundingClientRect()];
              return [mark.hidden, [
                (at.x + at.width / 2 - box.x) / box.width, (box.bottom - at.y - at.height / 2) / box.height]];
            })()"""
        )
        assert mark_hidden == (step.found is None)
        if step.found:
            wanted = [step.place, float(step.found.decided_fraction)]
            assert off == pytest.approx(wanted, abs=0.005)
    page.run("document.querySelector('#allowed-reset').click()")
    assert text_of(page, "#allowed-value").replace("\xa0", " ") == "2 %"


@in_browser
def test_the_mark_stands_on_the_curve(page: Page, report: Path, many: TransferClassifier) -> None:
    page.open(report.as_uri())
    alone = decide_alone(many)
    for number, step in enumerate(alone.steps):
        if step.found:
            moved(page, number)
            *points, (x, y) = page.run(
                """[...document.querySelectorAll('#alone svg use, #alone .dot')].map((point) => {
                  const box = point.getBoundingClientRect();
                  return [box.x + box.width / 2, box.y + box.height / 2];
                })"""
            )
            assert min(np.hypot(x - at, y - height) for at, height in points) < 1.5  # pixels


@in_browser
def test_the_keyboard_moves_it(page: Page, report: Path, many: TransferClassifier) -> None:
    page.open(report.as_uri())
    alone = decide_alone(many)
    page.run("document.querySelector('#allowed').focus()")
    page.press("ArrowRight", 39)
    assert text_of(page, "#alone-live") == alone.steps[alone.start + 1].sentence
    kept = text_of(page, "#keep code")
    assert kept == f"classifier.with_guarantee(error={alone.steps[alone.start + 1].error:g})"
    page.press("Tab", 9)
    assert page.run("document.activeElement.id") == "allowed-reset"


@in_browser
def test_without_scripts_curve_sentence_and_table_are_there(
    page: Page, report: Path, many: TransferClassifier
) -> None:
    page("Emulation.setScriptExecutionDisabled", value=True)
    try:
        page.open(report.as_uri(), width=390, height=844)
        alone = decide_alone(many)
        assert text_of(page, "#alone-live") == alone.steps[alone.start].sentence
        assert not page.run("document.querySelector('#alone .threshold').checkVisibility()")
        assert page.run("document.querySelector('#alone svg').checkVisibility()")
        rows = page.run(
            "[...document.querySelectorAll('#alone tbody th')].map((th) => th.textContent)"
        )
        assert rows == [step.allowed for step in alone.examples]
        assert "cannot be promised" in text_of(page, "#alone tbody")
        assert page.run("document.documentElement.scrollWidth") <= 390
    finally:
        page("Emulation.setScriptExecutionDisabled", value=False)
