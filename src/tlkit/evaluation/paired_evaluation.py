"""Two classifiers on the same images: which one is better, by how much, and where they disagree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self, TypeAlias, final

import numpy as np
import numpy.typing as npt

from tlkit.core.spec import Spec, check_int
from tlkit.errors import SettingError, printable
from tlkit.evaluation.evaluate import Evaluation
from tlkit.evaluation.log_loss import log_losses, sigmoid
from tlkit.evaluation.paired import (
    PairedDifference,
    ShareDifference,
    paired_difference,
    share_difference,
)

Floats: TypeAlias = npt.NDArray[np.float64]
Bools: TypeAlias = npt.NDArray[np.bool_]

_NAMED: Final = 10  # images that the text names


@final
@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Disagreement(Spec):
    """An image that two classifiers put into different classes: one of them is wrong.

    Attributes:
        name: Its path relative to the folder, with `/` on every system.
        class_name: The class folder that it lies in.
        new_is_right: Whether the new classifier says so too, and the old one does not.
        new_probability: What the new one gives to `class_name`, 0-1.
        old_probability: What the old one gives to it, 0-1.
    """

    name: str
    class_name: str
    new_is_right: bool
    new_probability: float
    old_probability: float

    def __str__(self) -> str:
        return (
            f"{printable(self.name)}: probability of '{printable(self.class_name)}' "
            f"{self.new_probability:.2f} (new), {self.old_probability:.2f} (old)"
        )


@final
@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class PairedEvaluation(Spec):
    """A new and an old classifier on the same images. `print` it for the verdict.

    `TransferClassifier.evaluate(data, against=old)` returns it. What makes an image easy or hard is the same
    for both, so the differences are known much better than either metric. The intervals take images for
    independent of each other: of many near-duplicates or many images of one subject they are too narrow.

    Attributes:
        new: Metrics of the new one.
        old: Metrics of the old one.
        log_loss_difference: New minus old, in nats; below 0 the new one is better.
        disagreements: The images that they put into different classes: those that the new one has wrong
            first, the surest mistakes before others.
        new_learned_count: How many images of the folder the new one has learned from.
        old_learned_count: How many the old one has learned from.
        include_training: Whether these images count here; else they are left out, for both.
    """

    new: Evaluation
    old: Evaluation
    log_loss_difference: PairedDifference
    disagreements: tuple[Disagreement, ...]
    new_learned_count: int
    old_learned_count: int
    include_training: bool = False

    def __post_init__(self) -> None:
        if {*self.new.class_names} != {*self.old.class_names} or self.new.count != self.old.count:
            raise SettingError("`new` and `old` must be of the same classes and the same images")
        check_int("disagreements", len(self.disagreements), at_least=0, at_most=self.count)
        for name in ("new_learned_count", "old_learned_count"):
            check_int(name, getattr(self, name), at_least=0)

    @classmethod
    def counted(
        cls,
        new: Evaluation,
        old: Evaluation,
        *,
        names: Sequence[str],
        class_names: Sequence[str],
        new_logits: npt.ArrayLike,
        old_logits: npt.ArrayLike,
        learned_counts: tuple[int, int] = (0, 0),
        include_training: bool = False,
    ) -> Self:
        """Compare what two classifiers said of each image.

        Args:
            new: Metrics of the new one.
            old: Metrics of the old one, on the same images.
            names: Of the images, `[N]`, at least two.
            class_names: The class that each of them is of, `[N]`.
            new_logits: The log-odds that the new one gives to that class, float `[N]`.
            old_logits: What the old one gives to it, float `[N]`.
            learned_counts: How many images of the folder they have learned from.
            include_training: Whether these images are among the `N`.

        Raises:
            SettingError: The lists differ in length, or there are fewer than two images.
        """
        given = [np.asarray(logits, np.float64) for logits in (new_logits, old_logits)]
        losses = [log_losses(np.ones(len(names)), logits) for logits in given]
        right = [
            _right(evaluation, class_names, logits)
            for evaluation, logits in zip((new, old), given, strict=True)
        ]
        disagreements = [
            Disagreement(
                name=names[place],
                class_name=class_names[place],
                new_is_right=bool(right[0][place]),
                new_probability=float(sigmoid(given[0])[place]),
                old_probability=float(sigmoid(given[1])[place]),
            )
            for place in np.flatnonzero(right[0] != right[1]).tolist()
        ]
        return cls(
            new=new,
            old=old,
            log_loss_difference=paired_difference(*losses),
            disagreements=tuple(sorted(disagreements, key=_by_new_mistake)),
            new_learned_count=learned_counts[0],
            old_learned_count=learned_counts[1],
            include_training=include_training,
        )

    @property
    def count(self) -> int:
        """How many images both were measured on."""
        return self.new.count

    @property
    def accuracy_difference(self) -> ShareDifference:
        """The accuracy of the new one minus that of the old one, with its 95 % interval."""
        won = sum(one.new_is_right for one in self.disagreements)
        return share_difference(won, len(self.disagreements) - won, self.count)

    @property
    def verdict(self) -> str:
        """What these images say, in one sentence: by the log-loss, as far as 95 % certainty goes."""
        low, high = self.log_loss_difference.interval
        if high < 0:
            return "The new one is better: its probabilities fit these images better."
        if low > 0:
            return "The old one is better: its probabilities fit these images better."
        return f"These {self.count:,} images cannot tell which one is better."

    def __str__(self) -> str:
        low, high = self.log_loss_difference.interval
        loss = f"{self.log_loss_difference.mean:+.3f} ({low:+.3f} to {high:+.3f})"
        rows = [
            ("log-loss", self.new.log_loss, self.old.log_loss, loss),
            ("accuracy", self.new.accuracy, self.old.accuracy, str(self.accuracy_difference)),
        ]
        lines = [
            f"new against old on the same {self.count:,} images of '{printable(self.new.part)}'",
            "            new    old  difference (95 % CI)",
            *(f"{name}  {new:>5.3f}  {old:>5.3f}  {change}" for name, new, old, change in rows),
        ]
        return "\n".join([*lines, self.verdict, *self._disagreed(), *self._learned()])

    def _disagreed(self) -> list[str]:
        count = len(self.disagreements)
        if not count:
            return ["They put every image into the same class."]
        won = sum(one.new_is_right for one in self.disagreements)
        images = f"{count:,} image{'' if count == 1 else 's'}"
        right = f"the new one is right on {won:,}, the old one on {count - won:,}"
        lines = [f"They disagree on {images}: {right}"]
        lines += [f"  {one}" for one in self.disagreements[:_NAMED]]
        return lines + ([f"  … and {count - _NAMED:,} more"] if count > _NAMED else [])

    def _learned(self) -> list[str]:
        new, old = self.new_learned_count, self.old_learned_count
        if not (new or old):
            return []
        counted = "they count here and flatter" if self.include_training else "they are left out"
        return [
            f"Training images in the folder: {new:,} of the new one's, {old:,} of the old one's; {counted}."
        ]


def _by_new_mistake(one: Disagreement) -> tuple[bool, float, str]:
    return one.new_is_right, one.new_probability, one.name


def _right(evaluation: Evaluation, class_names: Sequence[str], logits: Floats) -> Bools:
    """Say which images are called right, at the threshold that the metrics are for."""
    positive = np.array([name == evaluation.positive_class for name in class_names], bool)
    called = sigmoid(np.where(positive, logits, -logits)) >= evaluation.threshold
    right: Bools = called == positive
    return right
