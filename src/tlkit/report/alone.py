"""How many images it decides alone: what each guarantee would buy, as the page shows it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, final

from tlkit.classifier.classifier import TransferClassifier
from tlkit.classifier.guarantee import guarantees_for
from tlkit.core.spec import Json
from tlkit.errors import SettingError
from tlkit.evaluation.decisions import Guarantee
from tlkit.evaluation.rate import Rate
from tlkit.plot.deciding import decision_span
from tlkit.report.charts import EXAMPLES, Chart, decisions
from tlkit.report.sentences import percent, share

_CONFIDENCE: Final = 0.9
_START: Final = 0.02  # the error that is shown first, where the classifier has no guarantee


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A place of the slider.

    Attributes:
        error: The largest share of the decided images that may be wrong.
        found: What is promised; None where nothing can be.
        sentence: What it buys, or why it cannot be promised.
        place: Where it stands along the curve, 0 to 1; below 0 before it begins.
    """

    error: float
    found: Guarantee | None
    sentence: str
    place: float

    @property
    def allowed(self) -> str:
        """The error in per cent."""
        return f"{100 * self.error:g}\N{NO-BREAK SPACE}%"

    @property
    def left(self) -> Rate | None:
        """The share of images that goes to a person."""
        found = self.found
        return found and Rate.wilson(found.count - found.decided_count, found.count)

    def to_json(self) -> Json:
        """Return what the script of the page works on: text, number, sentence, place, share decided."""
        decided = None if self.found is None else round(float(self.found.decided_fraction), 5)
        return [self.allowed, f"{self.error:g}", self.sentence, round(self.place, 5), decided]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Alone:
    """What a page says of deciding alone.

    Attributes:
        chart: The curve; None where nothing can be promised.
        reason: Why nothing can be; empty where something can.
        confidence: Of every promise, 0-1.
        steps: The errors that the slider goes through.
        start: Which of them is shown first.
        examples: Those that a table holds, also before the curve begins.
    """

    chart: Chart | None
    reason: str
    confidence: float
    steps: tuple[Step, ...] = ()
    start: int = 0
    examples: tuple[Step, ...] = ()

    @property
    def count(self) -> int:
        """How many images chose the thresholds."""
        return next(step.found.count for step in self.steps if step.found)


def decide_alone(classifier: TransferClassifier) -> Alone:
    """Choose the guarantee of every error, with the confidence of the classifier's own one or else 90 %."""
    own = classifier.guarantee
    confidence = own.confidence if own else _CONFIDENCE
    try:
        curve = guarantees_for(classifier.card, confidence=confidence)
        low, high = decision_span(curve)
    except SettingError as refused:
        return Alone(chart=None, reason=_as_sentence(str(refused)), confidence=confidence)
    width = math.log(high / low)
    whole = [
        Step(
            error=error,
            found=found if isinstance(found, Guarantee) else None,
            sentence=_sentence(error, found),
            place=math.log(error / low) / width,
        )
        for error, found in curve.items()
    ]
    steps = tuple(step for step in whole if step.error >= low)
    wanted = own.error if own and own.error else _START
    reached = [number for number, step in enumerate(steps) if step.found and step.error >= wanted]
    last = max(number for number, step in enumerate(steps) if step.found)
    return Alone(
        chart=decisions(classifier, curve),
        reason="",
        confidence=confidence,
        steps=steps,
        start=reached[0] if reached else last,
        examples=tuple(step for step in whole if step.error in EXAMPLES),
    )


def _sentence(error: float, found: Guarantee | str) -> str:
    if isinstance(found, str):
        return _as_sentence(found)
    left = Rate.wilson(found.count - found.decided_count, found.count)
    wrong = found.mistake_count
    between = (
        "No image is unsure"
        if found.lower_logit == found.upper_logit
        else f"Unsure is what has a probability from {found.lower:.3g} to {found.upper:.3g}"
    )
    return (
        f"With at most {100 * error:g} % wrong, it decides {percent(found.decided_fraction)} of images "
        f"alone; the other {share(left)} go to a person. {between}. Of the {found.decided_count:,} images "
        f"that it decided here, {wrong or 'none'} {'was' if wrong <= 1 else 'were'} wrong."
    )


def _as_sentence(message: str) -> str:
    return f"{message[0].upper()}{message[1:]}."
