"""The figures of `tlkit.plot` inside the page, in its fonts and colours, with a mark that moves."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Final, TypeAlias, final

from tlkit import plot
from tlkit.choosing.comparison import Comparison
from tlkit.choosing.curve import LearningCurve
from tlkit.classifier.classifier import TransferClassifier
from tlkit.evaluation.decision_curve import DecisionCurve
from tlkit.evaluation.decisions import Guarantee
from tlkit.plot import THEMES, Grid, Palette
from tlkit.plot.deciding import decision_span, draw_curve
from tlkit.report.album import Part
from tlkit.report.sentences import percent

Corners: TypeAlias = tuple[tuple[float, float], tuple[float, float]]

EXAMPLES: Final = (0.005, 0.01, 0.02, 0.05, 0.1)
"""Errors that are named where not all can be."""

_SVG: Final = "http://www.w3.org/2000/svg"
_LINK: Final = "{http://www.w3.org/1999/xlink}href"
_COLOURS: Final = {getattr(THEMES["light"], f.name): f.name for f in fields(Palette)}


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """A figure as it stands in the page.

    Attributes:
        svg: The drawing, as an `<svg>` element whose colours are variables of the page.
        description: What it shows, for screen readers.
        x: Which metric moves a mark across, where one does: "threshold", "alarms", "recall" or "allowed".
        y: Which metric moves it up: "recall", "precision" or "decided"; "" for a mark of full height.
        area: Where such a mark moves, in per cent of the drawing: left, top, width, height.
    """

    svg: str
    description: str
    x: str = ""
    y: str = ""
    area: Mapping[str, float]


def part_charts(classifier: TransferClassifier, part: Part, key: str) -> Iterator[Chart]:
    """Yield the curves of one split: thresholds, ROC, precision and recall, reliability."""
    found, source, name = part.judged.evaluation, part.source, part.part
    on = f"on {part.title}"
    if found.positive_count and found.negative_count:
        at = f"At threshold {found.threshold:.3g}"
        rates = [(w, getattr(found, w)) for w in ("precision", "recall")]
        values = ", ".join(f"{w} {percent(rate)}" for w, rate in rates if rate is not None)
        yield _chart(
            plot.thresholds(source, part=name), f"{key}-thresholds", "threshold", "",
            f"Precision, recall and F1 against the threshold, {on}. {at}: {values}.",
        )  # fmt: skip
        yield _chart(
            plot.roc(source, part=name), f"{key}-roc", "alarms", "recall",
            f"ROC curve {on}: the area under it is {found.roc_auc:.3f}.",
        )  # fmt: skip
        yield _chart(
            plot.precision_recall(source, part=name), f"{key}-pr", "recall", "precision",
            f"Precision against recall {on}: average precision {found.pr_auc:.3f}.",
        )  # fmt: skip
    calibration = classifier.calibration if part.source is not classifier.cross_validation else None
    yield _chart(
        plot.reliability(source, part=name, calibration=calibration), f"{key}-reliability", "", "",
        f"Share of positives against probability {on}: calibration error {found.calibration_error:.3f}.",
    )  # fmt: skip


def decisions(classifier: TransferClassifier, curve: DecisionCurve) -> Chart:
    """Return how many images are decided alone, against the error allowed."""
    span = decision_span(curve)
    shares = {e: g.decided_fraction for e, g in curve.items() if isinstance(g, Guarantee)}
    values = ", ".join(f"{100 * e:g} %: {percent(s)}" for e, s in shares.items() if e in EXAMPLES)
    return _chart(
        draw_curve(curve, classifier.guarantee), "alone", "allowed", "decided",
        f"Share of images decided alone against the share of these that may be wrong. {values}.",
        corners=((span[0], 0), (span[1], 1)),
    )  # fmt: skip


def curves(classifier: TransferClassifier) -> Chart | None:
    """Return the learning curves; None where training had no epochs."""
    history = classifier.history
    if sum(len(phase.loss) for phase in history.phases) < 2:
        return None
    losses = ", ".join(f"{p.name} {p.best_validation_loss:.3f}" for p in history.phases)
    description = f"Log-loss and accuracy after each epoch. Best validation log-loss: {losses}."
    return _chart(plot.learning_curves(history), "curves", "", "", description)


def choices(
    comparison: Comparison | None, learning_curve: LearningCurve | None
) -> list[tuple[str, Chart, str]]:
    """Return what was compared before training: a title, a figure and the text for each that is there."""
    found = []
    if comparison is not None:
        chosen = comparison.recommended_candidate.name
        description = f"Log-loss of each network against its cost. Recommended: {chosen}."
        drawn = _chart(plot.comparison(comparison), "comparison", "", "", description)
        found.append(("Which network?", drawn, str(comparison)))
    if learning_curve is not None:
        description = f"Log-loss against the number of training images: {learning_curve.sentence}."
        drawn = _chart(plot.training_size(learning_curve), "size", "", "", description)
        found.append(("More images?", drawn, str(learning_curve)))
    return found


def variables(theme: str) -> str:
    """Return the colours of a theme as CSS declarations."""
    return " ".join(f"--{f.name}: {getattr(THEMES[theme], f.name)};" for f in fields(Palette))


def _chart(
    grid: Grid, key: str, x: str, y: str, description: str, corners: Corners = ((0, 0), (1, 1))
) -> Chart:
    svg = _inline(grid.svg(), key, description)  # which lays the figure out
    axes = grid.flat[0]
    ends = axes.transData.transform(corners)
    (left, bottom), (right, top) = axes.figure.transFigure.inverted().transform(ends)
    area = {"left": left, "top": 1 - top, "width": right - left, "height": top - bottom}
    percents = {name: round(100 * float(value), 3) for name, value in area.items()}
    return Chart(svg=svg, description=description, x=x, y=y, area=percents)


def _inline(text: str, key: str, description: str) -> str:
    """Make an SVG file of matplotlib's fit to stand in a page beside others."""
    ET.register_namespace("", _SVG)
    root = ET.fromstring(text)  # noqa: S314 - matplotlib wrote it a moment ago
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag.endswith(("metadata", "style")) or child.tag.startswith(
                "{http://www.w3.org/1999/02"
            ):
                parent.remove(child)
    for element in root.iter():
        for name, value in list(element.attrib.items()):
            if name == "id":
                element.set("id", f"{key}-{value}")
            elif name == _LINK:
                del element.attrib[name]
                element.set("href", f"#{key}-{value[1:]}")
            elif name in ("style", "clip-path"):
                element.set(name, _themed(value.replace("url(#", f"url(#{key}-")))
    for name in ("width", "height", "version"):
        root.attrib.pop(name, None)
    root.set("role", "img")
    root.set("aria-label", description)
    return ET.tostring(root, encoding="unicode")


def _themed(style: str) -> str:
    """Name colours by their role, so that the page may change them."""

    def role(match: re.Match[str]) -> str:
        return f"var(--{_COLOURS[match[0]]})" if match[0] in _COLOURS else match[0]

    return re.sub(r"#[0-9a-f]{6}", role, style)
