"""The report in a browser: no complaint, no request, figures that follow the slider, text that stays text."""

from __future__ import annotations

import base64
import shutil
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from browser import CHROMIUM, Page, chromium
from PIL import Image

from tlkit.backbones.adapter import BackboneAdapter
from tlkit.classifier.classifier import TransferClassifier
from tlkit.data.dataset import DatasetSpec
from tlkit.errors import AuditWarning, BadFileWarning, printable
from tlkit.evaluation.evaluate import Evaluation, evaluate
from tlkit.report import album
from tlkit.report.page import write_report
from tlkit.report.sentences import percent
from tlkit.training.schedule import FineTuneSchedule
from tlkit.training.transfer import transfer_classifier

for extra in ("matplotlib", "jinja2"):
    pytest.importorskip(extra)
if CHROMIUM is None:
    pytest.skip("needs chromium: apt-get install chromium", allow_module_level=True)


@pytest.fixture(scope="module")
def report(classifier: TransferClassifier, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of the shared classifier, with heat maps for a few."""
    path = tmp_path_factory.mktemp("report") / "report.html"
    write_report(classifier, path, heat_maps=4)
    return path


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with chromium() as opened:
        yield opened


def threshold_at(page: Page, value: float) -> None:
    page.run(
        f"(() => {{ const slider = document.querySelector('#threshold'); slider.value = '{value}';"
        "slider.dispatchEvent(new Event('input')); })()"
    )


def shown_figures(page: Page) -> dict[str, int | float | None]:
    """Return the counts and rates that the page shows."""
    figures: dict[str, int | float | None] = page.run(
        """(() => {
          const found = {};
          for (const place of document.querySelectorAll('[data-count]'))
            found[place.dataset.count] = Number(place.textContent);
          for (const place of document.querySelectorAll('[data-rate]'))
            found[place.dataset.rate] = place.value === '' ? null : Number(place.value);
          return found;
        })()"""
    )
    return figures


def figures_of(found: Evaluation) -> dict[str, int | float | None]:
    rates = {
        name: getattr(found, name) for name in ("accuracy", "precision", "recall", "specificity")
    }
    return {
        "tp": found.true_positives,
        "fn": found.false_negatives,
        "fp": found.false_positives,
        "tn": found.true_negatives,
        **{name: None if rate is None else float(rate) for name, rate in rates.items()},
    }


def gallery(page: Page) -> list[str]:
    """Return the names of the images that are shown, in order."""
    names: list[str] = page.run(
        "[...document.querySelectorAll('#gallery > li:not([hidden]) > .name')].map((p) => p.textContent)"
    )
    return names


@pytest.mark.parametrize("dark", [False, True])
def test_it_opens_from_a_file_without_a_complaint_or_a_request(
    page: Page, report: Path, dark: bool
) -> None:
    page.open(report.as_uri(), dark=dark)
    assert page.complaints == []
    assert [address for address in page.requests if not address.startswith("data:")] == [
        report.as_uri()
    ]
    assert page.run("document.querySelector('h1').textContent") == "disc or not disc?"
    assert page.run(
        "[...document.images].every((image) => image.complete && image.naturalWidth > 0)"
    )
    paper = page.run("getComputedStyle(document.body).backgroundColor")
    assert paper == ("rgb(22, 27, 34)" if dark else "rgb(255, 255, 255)")
    page.run("document.querySelector('#theme').click()")
    assert page.run("getComputedStyle(document.body).backgroundColor") != paper


def test_the_slider_recounts_as_evaluate_does(
    page: Page, report: Path, classifier: TransferClassifier
) -> None:
    page.open(report.as_uri())
    seen = album.make_album(classifier, None)
    for number, part in enumerate(seen.parts):
        page.run(f"document.querySelectorAll('[name=part]')[{number}].click()")
        scores = part.judged.scores
        met = set()
        for threshold in (0.0, 0.05, 0.37, 0.5, 0.63, 0.95, 1.0):
            threshold_at(page, threshold)
            found = evaluate(
                scores.labels,
                scores.probabilities,
                threshold=threshold,
                class_names=classifier.class_names,
                positive_class=classifier.positive_class,
            )
            assert shown_figures(page) == pytest.approx(figures_of(found), abs=1e-12)
            assert page.run(
                "document.querySelector('[data-rate=accuracy]').textContent"
            ) == percent(found.accuracy)
            right = found.true_positives + found.true_negatives
            said = page.run("document.querySelector('#live').textContent")
            assert f"{threshold:.3f}, {right} of {found.count} are called right" in said
            met.add(found.true_positives)
        assert len(met) > 1


def test_the_mark_stands_on_the_curve(page: Page, report: Path) -> None:
    page.open(report.as_uri())
    threshold_at(page, 0.37)
    off = page.run(
        """(() => {
          const mark = document.querySelector('[data-part="0"] .line').getBoundingClientRect();
          const box = document.querySelector('#part0-thresholds-axes_1 path').getBoundingClientRect();
          return mark.x + mark.width / 2 - (box.x + 0.37 * box.width);
        })()"""
    )
    assert abs(off) < 1.5  # pixels


def test_a_cell_of_the_confusion_matrix_filters_the_gallery(
    page: Page, report: Path, classifier: TransferClassifier
) -> None:
    page.open(report.as_uri())
    scores = classifier.record.scores["test"]
    threshold = 0.9  # where some discs are missed
    threshold_at(page, threshold)
    positive, called = np.array(scores.labels) == 1, scores.probabilities >= threshold
    for cell, chosen in {
        "tp": positive & called,
        "fn": positive & ~called,
        "fp": ~positive & called,
        "tn": ~positive & ~called,
    }.items():
        page.run(f"document.querySelector('[data-cell={cell}]').click()")
        wanted = {name for name, yes in zip(scores.names, chosen, strict=True) if yes}
        assert {*gallery(page)} == wanted
        assert page.run(f"document.querySelector('[data-cell={cell}]').ariaPressed") == "true"
        assert page.run("document.querySelectorAll('[aria-pressed=true]:not(#theme)').length") == 1
    page.run("document.querySelector('[data-filter=all]').click()")
    assert {*gallery(page)} == {*scores.names}
    page.run("document.querySelector('#reset').click()")
    assert page.run("document.querySelector('#threshold-value').textContent") == "0.500"


def test_everything_can_be_reached_with_the_keyboard(page: Page, report: Path) -> None:
    page.open(report.as_uri())
    reached: list[str] = []
    for _ in range(60):
        page.press("Tab", 9)
        reached.append(
            page.run(
                "((e) => e.id || e.name || e.dataset.cell || e.dataset.filter || e.hash || e.tagName)"
                "(document.activeElement)"
            )
        )
        if reached[-1] == "BODY":
            break
    assert reached[0] == "#summary"
    controls = [
        "theme",
        "part",
        "threshold",
        "reset",
        "tp",
        "fn",
        "fp",
        "tn",
        "mistakes",
        "doubts",
        "all",
    ]
    assert [name for name in reached if name in controls] == controls

    page.run("document.querySelector('#threshold').focus()")
    page.press("ArrowRight", 39)
    assert page.run("document.querySelector('#threshold-value').textContent") == "0.501"
    page.run("document.querySelector('[data-cell=tn]').focus()")
    page.press("Enter", 13, text="\r")
    assert page.run("document.activeElement.id") == "images-title"
    assert page.run("document.querySelector('[data-cell=tn]').ariaPressed") == "true"
    assert page.run("getComputedStyle(document.querySelector('#reset')).outlineStyle") == "none"
    page.run("document.querySelector('#reset').focus()")
    page.press("Tab", 9)
    assert page.run("getComputedStyle(document.activeElement).outlineStyle") == "solid"


def test_a_screen_reader_finds_names_and_order(page: Page, report: Path) -> None:
    page.open(report.as_uri())
    nodes = page("Accessibility.getFullAXTree")["nodes"]
    roles: dict[str, list[str]] = {}
    for node in nodes:
        if not node.get("ignored"):
            name = node.get("name", {}).get("value", "")
            roles.setdefault(node["role"]["value"], []).append(name)
    for role in ("button", "slider", "radio", "link", "image", "navigation", "table", "region"):
        assert roles[role], role
        assert all(roles[role]), (role, roles[role])
    assert {"main", "banner", "contentinfo", "complementary", "status"} <= roles.keys()
    assert "disc called not disc: show" in " ".join(roles["button"])
    levels = page.run(
        "[...document.querySelectorAll('h1, h2, h3')].map((h) => Number(h.tagName[1]))"
    )
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


def test_it_fits_a_telephone(page: Page, report: Path) -> None:
    for width in (390, 320, 768):
        page.open(report.as_uri(), width=width, height=844)
        assert page.run("document.documentElement.scrollWidth") <= width


def test_it_prints_everything_on_white(page: Page, report: Path) -> None:
    page.open(report.as_uri(), dark=True)
    page.run("document.querySelector('#theme').click(); document.querySelector('#theme').click()")
    page("Emulation.setEmulatedMedia", media="print")
    assert page.run("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.run("getComputedStyle(document.querySelector('#theme')).display") == "none"
    pdf = base64.b64decode(page("Page.printToPDF", printBackground=True)["data"])
    assert pdf.startswith(b"%PDF")
    page("Emulation.setEmulatedMedia", media="screen")


HOSTILE = (
    '"><img src=x onerror=hacked=1>.jpg',
    "</script><script>hacked=2</script>.jpg",  # two folders and a file
    "{{ 7 * 7 }} {% raw %} ${hacked} &lt;b&gt; $x_{.jpg",
    "two\nlines\x07 and \u2028 \udcff ' `hacked`.jpg",
)


def test_hostile_names_stay_text(page: Page, drawn_folder: Path, tmp_path: Path) -> None:
    classes = ("<b onclick=hacked=3>&amp;\"'$x_{", "<script>hacked=4")
    for label, (source, name) in enumerate(zip(("disc", "not disc"), classes, strict=True)):
        folder = shutil.copytree(drawn_folder / source, tmp_path / "hostile" / name)
        for number, hostile in enumerate(HOSTILE):
            target = folder / hostile
            target.parent.mkdir(parents=True, exist_ok=True)
            image = Image.new("RGB", (48, 32), (40 + 60 * label, 200 - 50 * number, 90))
            image.save(target, "JPEG")
            (target.parent / f"bad {target.name}").write_bytes(b"")
    with pytest.warns(AuditWarning, match="contrast"), pytest.warns(BadFileWarning):
        classifier = transfer_classifier(
            DatasetSpec(tmp_path / "hostile", positive_class=classes[1], validation_fraction=0.2),
            backbone=BackboneAdapter("tiny_random"),
            schedule=FineTuneSchedule.head_only(),
        )
    write_report(classifier, tmp_path / "report.html")

    page.open((tmp_path / "report.html").as_uri())
    assert page.complaints == []
    assert page.run("typeof hacked") == "undefined"
    assert page.run("document.querySelectorAll('img[src=x], b[onclick]').length") == 0
    assert page.run("document.scripts.length") == 2
    page.run("document.querySelectorAll('[name=part]')[1].click()")
    page.run("document.querySelector('[data-filter=all]').click()")
    text = page.run("document.querySelector('main').textContent")
    for name in (*classes, *HOSTILE):
        assert printable(name) in text
    assert page.run("document.querySelector('h1').textContent") == f"{classes[1]} or {classes[0]}?"
    assert page.run("document.querySelector('#part0-roc-text_1').textContent") is not None
