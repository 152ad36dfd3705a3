"""What happened in training, phase by phase: for the curves, the summary and the saved classifier."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from tlkit.core.spec import Spec
from tlkit.evaluation.paired import PairedDifference


@final
@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class PhaseHistory(Spec):
    """One phase of training: the head, or one phase of fine-tuning.

    Attributes:
        name: `"head"`, `"fine-tuning"`, or `"fine-tuning 1"` … when there are several.
        description: What was trained, as text.
        trainable_parameters: How many parameters this phase trained.
        frozen_parameters: How many it kept as they were.
        loss: Training log-loss of each epoch, in nats. An exact head is solved, not iterated: one entry.
        accuracy: Training accuracy of each epoch, 0-1, at threshold 0.5.
        validation_loss: Log-loss after each epoch on images that it did not learn from, in nats: the
            validation split, or, without one, out-of-fold.
        validation_accuracy: Accuracy there, 0-1, at threshold 0.5.
        best_epoch: Which epoch's weights the phase ended with, counted from 0: the one with the lowest
            validation loss.
        seconds: Wall-clock time of the phase, views and graph building included.
        difference: Of its log-loss minus that of what was kept before it, image by image; None for the head.
    """

    name: str
    description: str
    trainable_parameters: int
    frozen_parameters: int
    loss: tuple[float, ...]
    accuracy: tuple[float, ...]
    validation_loss: tuple[float, ...]
    validation_accuracy: tuple[float, ...]
    best_epoch: int
    seconds: float
    difference: PairedDifference | None = None

    @property
    def best_validation_loss(self) -> float:
        """The validation log-loss of the best epoch, in nats."""
        return self.validation_loss[self.best_epoch]

    def __str__(self) -> str:
        total = self.trainable_parameters + self.frozen_parameters
        epochs = len(self.loss)
        best = f", best after epoch {self.best_epoch + 1} of {epochs}" if epochs > 1 else ""
        return (
            f"{self.name}: {self.description}; {self.trainable_parameters:,} of {total:,} parameters; "
            f"validation log-loss {self.best_validation_loss:.3f}{best} ({self.seconds:.1f} s)"
        )


@final
@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class History(Spec):
    """All phases in order, and which one the classifier was taken from.

    Attributes:
        phases: The head first, then the phases of fine-tuning.
        kept: The index in `phases` of the one that the classifier was taken from: the last one whose
            log-loss was lower than what was kept before by more than one standard error of the difference.
        seconds: Wall-clock time of the stages: `"reading"`, `"head"` …
    """

    phases: tuple[PhaseHistory, ...]
    kept: int
    seconds: dict[str, float]

    @property
    def reason(self) -> str:
        """Why that phase was kept, in a sentence."""
        kept = self.phases[self.kept]
        if len(self.phases) == 1:
            return f"The {kept.name} is all that the schedule trains."
        tried = "; ".join(
            f"{phase.name} changed the log-loss by {phase.difference}"
            for phase in self.phases
            if phase.difference
        )
        if not tried:  # as files of the first format have it
            losses = ", ".join(f"{p.name} {p.best_validation_loss:.3f}" for p in self.phases)
            return f"Kept the {kept.name}: the lowest validation log-loss ({losses})."
        return f"Kept the {kept.name}: {tried} (paired difference ± standard error)."

    def __str__(self) -> str:
        return "\n".join([*map(str, self.phases), self.reason])
