"""The figures of the documentation: drawn from the numbers that are kept, stated in the text, seen by all."""

from __future__ import annotations

import json
import re
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
if not (ROOT / "scripts").is_dir():
    pytest.skip("needs a checkout: scripts/ draws the figures", allow_module_level=True)
pytest.importorskip("matplotlib")
sys.path.insert(0, str(ROOT / "scripts"))

from figures import COUNTED, FIGURES, MEASURED  # noqa: E402
from figures.drawing import IMAGES, image_paths, kept, svg  # noqa: E402
from figures.sources import Sources  # noqa: E402

DRAWN_WITH = "3.11"
"""The matplotlib that drew the figures: others place words a little differently."""
PAGES = {path.relative_to(ROOT).as_posix(): path for path in sorted((ROOT / "docs").rglob("*.md"))}
NAMED = re.compile(r"!\[(?P<alt>[^\]]*)\]\((?P<path>[^)#]+)(?P<theme>#only-(?:light|dark))?\)")


def page_of(name: str) -> str:
    """Return the text of a figure's page on one line, so that sentences may be broken anywhere."""
    return " ".join((ROOT / "docs" / "explanations" / f"{name}.md").read_text("utf-8").split())


def shape_of(text: str) -> tuple[list[str], list[float]]:
    """Take an SVG apart: what is drawn, without the names of its parts, and where."""
    named = re.sub(r'(?<=["#(])[a-z]{1,2}[0-9a-f]{10}(?=[")])', "", text)
    numbers = re.findall(r"(?<![\w#])-?\d+\.?\d*(?:e-?\d+)?", named)
    return re.split(r"(?<![\w#])-?\d+\.?\d*(?:e-?\d+)?", named), [float(n) for n in numbers]


@pytest.mark.parametrize("name", COUNTED)
def test_what_needs_no_photographs_is_still_so(name: str) -> None:
    measured = json.loads(json.dumps(COUNTED[name].measure()))
    assert measured == kept(name), f"draw it anew: python scripts/draw_figures.py {name}"


@pytest.mark.skipif(
    not version("matplotlib").startswith(DRAWN_WITH), reason=f"needs matplotlib {DRAWN_WITH}"
)
@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_shows_the_numbers_that_are_kept(name: str) -> None:
    for theme, path in image_paths(name).items():
        drawn, places = shape_of(svg(FIGURES[name].draw, kept(name), theme))
        words, wanted = shape_of(path.read_text("utf-8"))
        assert drawn == words, f"draw it anew: python scripts/draw_figures.py {name}"
        assert places == pytest.approx(wanted, abs=0.02)


@pytest.mark.parametrize("name", FIGURES)
def test_the_page_states_what_the_figure_shows(name: str) -> None:
    text = page_of(name)
    statements = FIGURES[name].statements(kept(name))
    assert statements
    assert [sentence for sentence in statements if sentence not in text] == []


def test_the_first_page_states_what_was_measured() -> None:
    text = " ".join(PAGES["docs/index.md"].read_text("utf-8").split())
    seconds = kept("frozen-backbone")
    assert f"{seconds['course head'] / seconds['head_only']:.1f} times" in text
    predicted = json.loads((IMAGES / "welcome.json").read_text("utf-8"))["predicted"]
    assert [label for label, _ in predicted] == ["alpaca", "alpaca"]
    for _, probability in predicted:
        assert f"{probability:.3f}" in text


@pytest.mark.parametrize("name", PAGES)
def test_images_exist_and_are_described(name: str) -> None:
    shown = list(NAMED.finditer(PAGES[name].read_text("utf-8")))
    for image in shown:
        assert (PAGES[name].parent / image["path"]).is_file(), image["path"]
        assert len(image["alt"].split()) > 4, f"describe {image['path']}"
    variants = [(p["path"], p["theme"], p["alt"]) for p in shown if p["theme"]]
    pairs = zip(variants[::2], variants[1::2], strict=True)
    for (light, first, alt), (dark, second, same) in pairs:  # a page shows one of each pair
        assert (first, second) == ("#only-light", "#only-dark")
        assert (light.replace("-light.", "-dark."), alt) == (dark, same)


def test_every_image_is_shown_somewhere() -> None:
    shown = {
        (page.parent / image["path"]).resolve()
        for page in PAGES.values()
        for image in NAMED.finditer(page.read_text("utf-8"))
    }
    there = {path for path in IMAGES.iterdir() if path.suffix != ".json"}
    assert there == {path for path in shown if path.parent == IMAGES}


@pytest.mark.parametrize("name", FIGURES)
def test_images_are_small_and_transparent_and_carry_no_date(name: str) -> None:
    for path in image_paths(name).values():
        text = path.read_text("utf-8")
        assert len(text) < 100_000
        assert "dc:date" not in text
        assert re.search(r'<g id="figure_1">\s*<g id="axes_1">', text), (
            "the page must shine through"
        )


@pytest.mark.parametrize(
    "name",
    [
        # like batch-norm it fine-tunes, twice as often
        pytest.param(name, marks=pytest.mark.long if name == "lp-ft" else pytest.mark.slow)
        for name in MEASURED
    ],
)
def test_what_needs_photographs_can_be_measured_again(
    name: str, drawn_folder: Path, weights_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figure = MEASURED[name]
    for setting in ("SEEDS", "EPOCHS", "VIEWS", "SPLITS", "CROSSED"):
        monkeypatch.setattr(figure, setting, 1, raising=False)
    numbers = json.loads(json.dumps(figure.measure(Sources(drawn_folder, weights_dir))))
    assert numbers.keys() == kept(name).keys()
    assert len(figure.statements(numbers)) == len(figure.statements(kept(name)))
    assert "</svg>" in svg(figure.draw, numbers, "light")
