"""Two thresholds with a guarantee: what is decided alone is rarely wrong, the rest goes to a person.

Above the upper threshold an image is called positive, below the lower one negative, between them the
answer is "unsure". Both are chosen so that mistakes are rare not only among the images at hand but, with
the stated confidence, among all images drawn in the same way.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, final

import numpy as np
import numpy.typing as npt

from tlkit.core.spec import check_float
from tlkit.errors import SettingError, printable
from tlkit.evaluation.bounds import longest_proven, one_per_group, proven_quantile
from tlkit.evaluation.decision_counts import UNSURE, DecisionCounts, counted
from tlkit.evaluation.log_loss import sigmoid
from tlkit.evaluation.metrics import check_logits

Floats: TypeAlias = npt.NDArray[np.float64]
Ints: TypeAlias = npt.NDArray[np.int64]

_ERROR: Final = 0.02
_PROMISES: Final = ("error", "miss", "false_alarm")


@final
@dataclass(frozen=True, slots=True, repr=False, kw_only=True)
class Guarantee(DecisionCounts):
    """Two thresholds, what they promise, and what they reached on the images that chose them.

    `choose_guarantee` makes it. `print` it for what it buys.

    Attributes:
        lower_logit: An image is called negative when its logit is below this.
        upper_logit: An image is called positive when its logit is at least this.
        threshold: The probability between them that parts the classes where somebody must answer, 0-1.
        error: Largest share of the decided images that is wrong; None where classes are promised.
        miss: Largest share of all positives that is called negative; None: not promised.
        false_alarm: Largest share of all negatives that is called positive; None: not promised.
        confidence: In how many draws of images, at least, all that is promised holds.
        part: Where the images come from.
    """

    lower_logit: float
    upper_logit: float
    threshold: float
    error: float | None = None
    miss: float | None = None
    false_alarm: float | None = None
    confidence: float
    part: str

    def __post_init__(self) -> None:
        DecisionCounts.__post_init__(self)
        check_float("threshold", self.threshold, above=0, below=1)
        middle = _logit(self.threshold)
        check_float("lower_logit", self.lower_logit, at_most=middle)
        check_float("upper_logit", self.upper_logit, at_least=middle)
        check_float("confidence", self.confidence, above=0, below=1)
        _check_promises(self.error, self.miss, self.false_alarm)

    @property
    def lower(self) -> float:
        """`lower_logit` as a probability, 0-1."""
        return float(sigmoid(np.array([self.lower_logit]))[0])

    @property
    def upper(self) -> float:
        """`upper_logit` as a probability, 0-1."""
        return float(sigmoid(np.array([self.upper_logit]))[0])

    @property
    def kind(self) -> str:
        """`"error"` where few of the decided are promised to be wrong, `"classes"` where few of a class."""
        return "classes" if self.error is None else "error"

    def decide(self, logits: npt.ArrayLike) -> Ints:
        """Decide what can be decided.

        Args:
            logits: Of the positive class, of any shape.

        Returns:
            int64, of the same shape: 1 for the positive class, 0 for the other, `UNSURE` (-1) between.
        """
        given = np.asarray(logits, np.float64)
        return np.where(given >= self.upper_logit, 1, np.where(given < self.lower_logit, 0, UNSURE))

    def __str__(self) -> str:
        part, decided = printable(self.part), self.decided_fraction
        sure = f"with {100 * self.confidence:g} % confidence"
        between = (
            "nothing is unsure"
            if self.lower_logit == self.upper_logit
            else f"unsure from probability {self.lower:.3g} to {self.upper:.3g}"
        )
        return (
            f"decides {_percent(decided)} ({_percent(decided.low)[:-2]}–{_percent(decided.high)}) of "
            f"images alone; the other {_percent(1 - decided)} go to a person\n"
            f"  promised {sure}: {self.promise()}\n"
            f"  {between}; chosen on {self.count} {part} images: {self.mistake_count} of "
            f"{self.decided_count} decided were wrong"
        )

    def promise(self) -> str:
        """Say what is promised, without the confidence.

        Examples:
            >>> print(choose_guarantee([0, 1] * 100, [-4, 4] * 100).promise())
            of the images it decides at most 2 % are wrong
        """
        if self.error is not None:
            return f"of the images it decides at most {100 * self.error:g} % are wrong"
        parts = []
        if self.miss is not None:
            parts.append(f"of all positives at most {100 * self.miss:g} % are called negative")
        if self.false_alarm is not None:
            parts.append(
                f"of all negatives at most {100 * self.false_alarm:g} % are called positive"
            )
        return ", ".join(parts)


def choose_guarantee(
    labels: npt.ArrayLike,
    logits: npt.ArrayLike,
    *,
    error: float | None = None,
    confidence: float = 0.9,
    miss: float | None = None,
    false_alarm: float | None = None,
    threshold: float = 0.5,
    groups: Sequence[Any] | npt.NDArray[Any] | None = None,
    part: str = "out-of-fold",
) -> Guarantee:
    """Choose two thresholds so that what is decided is rarely wrong, with a stated confidence.

    Promised is either a small `error`, the share of the decided images that is wrong, or a small share of
    each class (`miss`, `false_alarm`), whatever the classes' shares are where the classifier is used. The
    promise holds for images drawn like these, one by one (or group by group): in at least `confidence` of
    all such draws. It says nothing of a changed world: another camera, other objects, other labels.

    For an error, images are decided in the order of their distance from `threshold`, on the logit, by
    fixed-sequence testing (`tlkit.evaluation.bounds.longest_proven`). For a class, the threshold is that of
    its images which by the binomial distribution has at most the allowed share beyond it. Where both
    classes are promised, each gets half of the risk.

    Args:
        labels: `[N]` of 0 and 1; 1 is the positive class.
        logits: float `[N]`, finite, of the positive class, from a classifier that has not learned from
            these images and for which nothing was chosen on them.
        error: Largest share of the decided images that may be wrong, above 0 and below 1. None: 0.02
            where nothing else is promised.
        confidence: In how many draws, at least, the promise must hold; above 0 and below 1.
        miss: Largest share of all positives that may be called negative, above 0 and below 1. Where
            `false_alarm` is not promised, an image from `threshold` on is called positive.
        false_alarm: Largest share of all negatives that may be called positive, likewise.
        threshold: The probability that lies between both thresholds, above 0 and below 1.
        groups: `[N]`, the group of each image (patient, video, object): groups are then what is drawn, and
            one image of each counts. None: each image is its own.
        part: Where the images come from, for the text.

    Returns:
        The thresholds; `print` them for what they buy.

    Raises:
        GuaranteeError: Too few images, or too many sure mistakes, for such a promise; the message says how
            many images would do.
        SettingError: An argument is outside its limits.

    Examples:
        >>> labels, logits = [0, 1] * 100, [-4, 4] * 100
        >>> print(choose_guarantee(labels, logits))
        decides 100 % (98–100 %) of images alone; the other 0 % go to a person
          promised with 90 % confidence: of the images it decides at most 2 % are wrong
          nothing is unsure; chosen on 200 out-of-fold images: 0 of 200 decided were wrong

    References:
        Y. Geifman and R. El-Yaniv (2017), Selective classification for deep neural networks, NeurIPS 30.
        S. S. Wilks (1941), Determination of sample sizes for setting tolerance limits, Annals of
        Mathematical Statistics 12: 91-96.
    """
    truth, given = check_logits(labels, logits)
    check_float("confidence", confidence, above=0, below=1)
    middle = _logit(check_float("threshold", threshold, above=0, below=1))
    if error is None and miss is None and false_alarm is None:
        error = _ERROR
    _check_promises(error, miss, false_alarm)
    if error is not None:
        drawn = one_per_group(groups, truth.size)
        reach = _error_reach(truth[drawn], given[drawn] - middle, error, confidence, part)
        lower, upper = middle - reach, middle + reach
    else:
        names = (
            truth if groups is None else [f"{t} {g}" for t, g in zip(truth, groups, strict=True)]
        )
        drawn = one_per_group(None if groups is None else names, truth.size)
        each = confidence if None in (miss, false_alarm) else (1 + confidence) / 2
        lower = upper = middle
        if miss is not None:
            positives = given[drawn][truth[drawn] == 1]
            lower = min(
                _class_bound(positives, given, miss, each, f"{printable(part)} positives"), middle
            )
        if false_alarm is not None:
            negatives = -given[drawn][truth[drawn] == 0]
            bound = -_class_bound(
                negatives, -given, false_alarm, each, f"{printable(part)} negatives"
            )
            upper = max(bound, middle)
    return _counted(
        truth[drawn],
        given[drawn],
        lower_logit=lower,
        upper_logit=upper,
        threshold=float(threshold),
        error=error,
        miss=miss,
        false_alarm=false_alarm,
        confidence=float(confidence),
        part=part,
    )


def read_promise(text: str) -> dict[str, float]:
    """Read a promise of the command line, as the arguments of `choose_guarantee`.

    Args:
        text: `"error=0.02"`, `"miss=0.01,false-alarm=0.05"` or one of both; `"error=0.02@0.95"` with a
            confidence other than 0.9.

    Raises:
        SettingError: It is none of these, or a number is outside its limits.

    Examples:
        >>> read_promise("miss=0.01,false-alarm=0.05@0.95")
        {'miss': 0.01, 'false_alarm': 0.05, 'confidence': 0.95}
    """
    promises, at, sure = text.strip().lower().replace("-", "_").partition("@")
    parts = [part.strip().partition("=") for part in promises.split(",")]
    try:
        found = {name: float(number) for name, _, number in parts}
        confidence = {"confidence": float(sure)} if at else {}
    except ValueError:
        found = {}
    if len(found) != len(parts) or not found.keys() <= {*_PROMISES}:
        raise SettingError(
            "a guarantee must look like 'error=0.02', 'miss=0.01,false-alarm=0.05' or "
            f"'error=0.02@0.95', got {text!r}"
        )
    _check_promises(*map(found.get, _PROMISES))
    for name, number in confidence.items():
        check_float(name, number, above=0, below=1)
    return {**found, **confidence}


def _counted(truth: Ints, given: Floats, **settings: Any) -> Guarantee:
    """Count what the two thresholds do to the images that chose them."""
    lower, upper = settings["lower_logit"], settings["upper_logit"]
    called = np.where(given >= upper, 1, np.where(given < lower, 0, UNSURE))
    settings |= counted(truth, called)
    return Guarantee(**settings)


def _error_reach(truth: Ints, margins: Floats, error: float, confidence: float, part: str) -> float:
    """Return how far from the threshold, in logits, an image must be to be decided."""
    distances, wrong = np.abs(margins), (margins >= 0) != (truth == 1)
    images = f"{printable(part)} images"
    least = longest_proven(wrong, distances, share=error, confidence=confidence, images=images)
    nearer = distances[distances < least]
    return _between(float(nearer.max()), least) if nearer.size else 0.0


def _class_bound(
    own: Floats, everybody: Floats, allowed: float, confidence: float, images: str
) -> float:
    """Return the logit below which at most a share of a class lies, between two neighbouring images."""
    last = proven_quantile(own, share=allowed, confidence=confidence, images=images)
    below = everybody[everybody < last]
    return _between(float(below.max()), last) if below.size else last


def _between(low: float, high: float) -> float:
    """Return the middle, so that the last digits of a logit move no image to the other side."""
    middle = low + (high - low) / 2
    return float(middle if middle > low else high)


def _check_promises(error: float | None, miss: float | None, false_alarm: float | None) -> None:
    promises = dict(zip(_PROMISES, (error, miss, false_alarm), strict=True))
    given = {name: promise for name, promise in promises.items() if promise is not None}
    for name, promise in given.items():
        check_float(name, promise, above=0, below=1)
    if not given or ("error" in given and len(given) > 1):
        raise SettingError(
            "a guarantee promises either `error`, the share of the decided that is wrong, or `miss` and "
            f"`false_alarm`, shares of each class; got {', '.join(given) or 'none of them'}"
        )


def _logit(probability: float) -> float:
    return math.log(probability) - math.log1p(-probability)


def _percent(fraction: float) -> str:
    """Write a share in percent: whole ones, but never all or nothing where it is not."""
    certain = fraction in (0.0, 1.0)
    digits = next(d for d in range(20) if certain or 0 < round(100 * fraction, d) < 100)
    return f"{100 * fraction:.{digits}f} %"
