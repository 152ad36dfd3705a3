"""Metrics as sentences for readers who have never heard of recall."""

from __future__ import annotations

import math
from collections.abc import Iterator
from decimal import ROUND_HALF_UP, Decimal
from typing import Final

from tlkit.classifier.classifier import TransferClassifier
from tlkit.data.audit import KINDS
from tlkit.errors import printable
from tlkit.evaluation.evaluate import ENOUGH, Evaluation
from tlkit.evaluation.rate import Rate
from tlkit.evaluation.scores import OUT_OF_FOLD
from tlkit.report.album import Album, Part

_GRAVE: Final = ("label-conflict", "leak")  # what makes every metric wrong
_SPACE: Final = "\N{NO-BREAK SPACE}"


def percent(rate: float) -> str:
    """Write a share as per cent: a `Rate` with its interval, and as many digits as that supports.

    Examples:
        >>> percent(Rate.wilson(60, 65)).replace(_SPACE, " "), percent(0.5659).replace(_SPACE, " ")
        ('92 % (83–97 %)', '57 %')
    """
    interval = f" ({span(rate)})" if isinstance(rate, Rate) else ""
    return f"{share(rate)}{interval}"


def share(rate: float) -> str:
    """Write a share as per cent, without its interval."""
    return f"{_fixed(rate, _digits(rate))}{_SPACE}%"


def span(rate: Rate) -> str:
    """Write the interval of a share as per cent."""
    low, high = (_fixed(end, _digits(rate)) for end in (rate.low, rate.high))
    return f"{low}–{high}{_SPACE}%"


def _fixed(share: float, digits: int) -> str:
    """Write a share as per cent; halves go up, as they do when the page counts again."""
    exact = Decimal(100 * share).quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP)
    return f"{exact:f}"


def _digits(rate: float) -> int:
    """Return how many digits after the point the interval supports."""
    width = rate.high - rate.low if isinstance(rate, Rate) else 1.0
    return 0 if width > 0.05 else 1 if width > 0.005 else 2


def headline(part: Part) -> str:
    """Write how often the answer was right on a split."""
    found = part.judged.evaluation
    right = found.true_positives + found.true_negatives
    count = f"{found.count:,} image{'' if found.count == 1 else 's'}"
    whose, it = f"{count} it had not learned from", "it was"
    if part.part == "new":
        whose = part.title
    if part.part in (None, OUT_OF_FOLD):  # several classifiers, none of them this very one
        whose, it = f"{count} not learned from", "the answer was"
    times = f"{right:,} time{'' if right == 1 else 's'}"
    return f"On {whose}, {it} right {times}: {percent(found.accuracy)}."


def comparison(found: Evaluation) -> str:
    """Write whether the classifier beats always giving the same answer."""
    name, share = printable(found.majority_class), found.majority_accuracy
    sure = found.accuracy.low > share
    verdict = "It clearly beats" if sure else "It is not clearly better than"
    return f"{verdict} always answering “{name}”, which is right {percent(share)} of the time."


def baselines(classifier: TransferClassifier, found: Evaluation) -> tuple[tuple[str, str], ...]:
    """Return what to compare the accuracy with: names and values."""
    rows = [
        ("This classifier", percent(found.accuracy)),
        (f"Always “{printable(found.majority_class)}”", percent(found.majority_accuracy)),
    ]
    if found.known_groups is not None:
        rows.append(("If other images of the same groups were known", percent(found.known_groups)))
    random_head_baseline = classifier.evaluation.random_head_baseline
    if random_head_baseline is not None:
        rows.append(("The same network before training", percent(random_head_baseline)))
    return tuple(rows)


def belief(classifier: TransferClassifier, found: Evaluation) -> str:
    """Write whether probabilities are calibrated."""
    points = f"off by {100 * found.calibration_error:.0f} points on average."
    error = f"On these images they are {points}"
    if found.part == OUT_OF_FOLD:  # other classifiers predicted them
        error = f"In cross-validation, probabilities are {points}"
    calibration = classifier.calibration
    if calibration is None and classifier.out_of_fold is not None:
        cause = (
            "Its probabilities could not be calibrated, and should not be believed: higher ones do not go "
            f"with more of “{printable(classifier.positive_class)}”."
        )
        return f"{cause} {error}"
    if calibration is None:
        cause = (
            "Its probabilities were not calibrated, as that takes images it has not learned from "
            "(train with folds=5)."
        )
        return f"{cause} {error}"
    on = (
        f"on {calibration.count:,} images, each scored by a classifier that had not learned from it"
    )
    if calibration.is_identity:
        return f"Its probabilities were checked {on}, and there was nothing to correct. {error}"
    was = "too sure of itself" if calibration.slope < 1 else "not sure enough of itself"
    moved = f"; before, it was {was}" if abs(calibration.slope - 1) >= 0.05 else ""
    return f"Its probabilities were calibrated {on}{moved}. {error}"


def next_steps(classifier: TransferClassifier, album: Album) -> tuple[str, ...]:
    """Write what would help most, the most urgent first; three things at most."""
    return tuple(_steps(classifier, album))[:3]


def _steps(classifier: TransferClassifier, album: Album) -> Iterator[str]:
    found = album.parts[0].judged.evaluation
    audit = classifier.audit
    for kind in _GRAVE:
        if count := audit.totals.get(kind):
            yield f"Repair the folder: {_problems(kind, count)}. Until then every metric here is doubtful."
    if album.doubts:
        count = len(album.doubts)
        labels = "label of one image" if count == 1 else f"labels of {count:,} images"
        yield f"Look at the {labels} that the classifier doubts, correct what is wrong, and train again."
    if (
        album.is_own
        and classifier.cross_validation is None
        and classifier.evaluation.count < ENOUGH
    ):
        yield (
            f"{classifier.evaluation.count:,} images are few. Train with folds=5 (--folds 5): the "
            "evaluation then covers all images, and the interval shrinks."
        )
    if count := audit.totals.get("unreadable"):
        yield f"See to the files that could not be read: {_problems('unreadable', count)}."
    height, width = classifier.image_size
    squeezed = audit.aspect is not None and abs(math.log(width / height / audit.aspect)) > math.log(
        2
    )
    if audit.is_elongated and squeezed and classifier.resizing == "stretch":
        yield (
            f'Train with image_size="fit" (--image-size fit): the median image is {audit.aspect:.2f} times '
            "as wide as high, and is squeezed."
        )
    if found.accuracy.low <= found.majority_accuracy:
        yield "Collect more images: it is not yet clear that the classifier beats a fixed answer."
    if found.accuracy >= 1:
        yield "Judge it on images from elsewhere: it makes no mistake on these."
        return
    yield (
        "Collect more images like those it gets wrong, or accept what it does and choose the threshold for "
        "the mistake that costs you less."
    )


def _problems(kind: str, count: int) -> str:
    return f"{count:,} × {KINDS[kind]}"


def seconds(value: float) -> str:
    """Write a duration.

    Examples:
        >>> seconds(0.042), seconds(8.26), seconds(75)
        ('0.04 s', '8.3 s', '1 min 15 s')
    """
    if value < 60:
        return f"{value:.2f} s" if value < 1 else f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes} min {rest} s"
