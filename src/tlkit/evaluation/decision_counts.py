"""How many images a classifier decides alone, how many of those wrongly, and what is left to a person."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Self, TypeAlias

import numpy as np
import numpy.typing as npt

from tlkit.core.spec import Spec, check_int
from tlkit.errors import SettingError
from tlkit.evaluation.rate import Rate, share

Ints: TypeAlias = npt.NDArray[np.int64]

UNSURE: Final = -1
"""What is called of an image between two thresholds."""

UNFAMILIAR: Final = -2
"""What is called of an image unlike all that the classifier learned from."""

UNSURE_WORD: Final = "unsure"
UNFAMILIAR_WORD: Final = "unfamiliar"
WORDS: Final[Mapping[int, str]] = MappingProxyType(
    {UNSURE: UNSURE_WORD, UNFAMILIAR: UNFAMILIAR_WORD}
)
"""What a decision says where it is no class: no class may have one of these names."""

_COUNTS: Final = (
    "true_positives", "false_positives", "unsure_positives", "unfamiliar_positives",
    "true_negatives", "false_negatives", "unsure_negatives", "unfamiliar_negatives",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class DecisionCounts(Spec):
    """What became of labelled images: decided rightly, wrongly, or left to a person.

    Attributes:
        true_positives: Positives called positive.
        false_positives: Negatives called positive.
        unsure_positives: Positives between the thresholds, left to a person.
        true_negatives: Negatives called negative.
        false_negatives: Positives called negative.
        unsure_negatives: Negatives between the thresholds, left to a person.
        unfamiliar_positives: Positives unlike all training images, left to a person.
        unfamiliar_negatives: Negatives unlike all training images, left to a person.
    """

    true_positives: int
    false_positives: int
    unsure_positives: int
    true_negatives: int
    false_negatives: int
    unsure_negatives: int
    unfamiliar_positives: int = 0
    unfamiliar_negatives: int = 0

    def __post_init__(self) -> None:
        for name in _COUNTS:
            check_int(name, getattr(self, name), at_least=0)
        check_int("count", self.count, at_least=1)

    @classmethod
    def of(cls, labels: npt.ArrayLike, called: npt.ArrayLike) -> Self:
        """Count decisions.

        Args:
            labels: `[N]` of 0 and 1; 1 is the positive class.
            called: `[N]` of 1 for the positive class, 0 for the other, `UNSURE` (-1), `UNFAMILIAR` (-2).

        Examples:
            >>> print(DecisionCounts.of([1, 1, 0, 0], [1, -1, 0, 1]))
            decided alone: 3 of 4 images, 0.75 (0.30–0.95); 1 of them wrong, 0.33 (0.06–0.79)
            left to a person: 1 unsure
        """
        return cls(**counted(np.asarray(labels, np.int64), np.asarray(called, np.int64)))

    @property
    def count(self) -> int:
        """How many images."""
        return sum(getattr(self, name) for name in _COUNTS)

    @property
    def unsure_count(self) -> int:
        """How many of them are between the thresholds."""
        return self.unsure_positives + self.unsure_negatives

    @property
    def unfamiliar_count(self) -> int:
        """How many of them are unlike all training images."""
        return self.unfamiliar_positives + self.unfamiliar_negatives

    @property
    def decided_count(self) -> int:
        """How many of them it decides."""
        return self.count - self.unsure_count - self.unfamiliar_count

    @property
    def decided_fraction(self) -> Rate:
        """Share of images that it decides, with Wilson's interval."""
        return Rate.wilson(self.decided_count, self.count)

    @property
    def mistake_count(self) -> int:
        """How many of the decided are wrong."""
        return self.false_positives + self.false_negatives

    @property
    def observed_error(self) -> Rate | None:
        """Share of the decided images that was wrong; None where none was decided."""
        return share(self.mistake_count, self.decided_count)

    @property
    def observed_miss(self) -> Rate | None:
        """Share of the positives that was called negative; None when there are none."""
        left = self.unsure_positives + self.unfamiliar_positives
        return share(self.false_negatives, self.true_positives + self.false_negatives + left)

    @property
    def observed_false_alarm(self) -> Rate | None:
        """Share of the negatives that was called positive; None when there are none."""
        left = self.unsure_negatives + self.unfamiliar_negatives
        return share(self.false_positives, self.true_negatives + self.false_positives + left)

    def __str__(self) -> str:
        wrong, left = self.observed_error, []
        if self.unsure_count:
            left.append(f"{self.unsure_count} {UNSURE_WORD}")
        if self.unfamiliar_count:
            left.append(f"{self.unfamiliar_count} {UNFAMILIAR_WORD}")
        mistakes = "" if wrong is None else f"; {self.mistake_count} of them wrong, {wrong.brief()}"
        images = f"{self.decided_count} of {self.count} images, {self.decided_fraction.brief()}"
        return (
            f"decided alone: {images}{mistakes}\nleft to a person: {', '.join(left) or 'no image'}"
        )


def counted(labels: Ints, called: Ints) -> dict[str, int]:
    """Return the fields of `DecisionCounts`, by name."""
    if labels.shape != called.shape:
        raise SettingError(
            f"`called` must be one for each of {labels.size} labels, got {called.size}"
        )
    words = {1: "positives", 0: "negatives"}
    counts = {}
    for label, own in words.items():
        for said, word in WORDS.items():
            counts[f"{word}_{own}"] = int(((labels == label) & (called == said)).sum())
        counts[f"true_{own}"] = int(((labels == label) & (called == label)).sum())
        counts[f"false_{own}"] = int(((labels != label) & (called == label)).sum())
    return counts


def check_no_decision(class_names: tuple[str, ...]) -> None:
    """Raise if a class has the name of a decision that is no class.

    Raises:
        SettingError: It has.

    Examples:
        >>> check_no_decision(("alpaca", "Unsure"))
        Traceback (most recent call last):
            ...
        tlkit.errors.SettingError: no class may be called 'Unsure': that is what is said of an image that \
goes to a person. Rename its folder
    """
    for name in class_names:
        if name.casefold() in WORDS.values():
            raise SettingError(
                f"no class may be called {name!r}: that is what is said of an image that goes to a person. "
                "Rename its folder"
            )
