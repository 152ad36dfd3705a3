"""The metadata of a trained classifier: its card, and how it came about."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import final

from tlkit.classifier.card import ModelCard
from tlkit.core.fingerprint import fingerprint
from tlkit.core.spec import Json, check_int
from tlkit.data.audit import AuditReport
from tlkit.errors import SettingError
from tlkit.evaluation.evaluate import Evaluation
from tlkit.evaluation.history import History
from tlkit.images.decoder import BadFile


@final
@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Record(ModelCard):
    """The metadata of a trained classifier: its card, whose fields it has, and how it came about.

    Attributes:
        evaluation: Metrics on the validation split.
        dataset: Settings of the `DatasetSpec`, the directory as it was given: a relative one says nothing of
            the machine, and stays right in a project that moves as a whole.
        backbone: Settings of the `BackboneAdapter`.
        augmentation: Settings of the `AugmentationPolicy`; None when no views were used.
        schedule: Settings of the `FineTuneSchedule`.
        seed: Random seed of augmentation, shuffling and dropout.
        engine: What ran the frozen part.
        fingerprint: Of the files that were read.
        training_names: Which images it was trained on, relative to the folder.
        bad_files: Which files were left out, and why.
        audit: What was found in the folder, with at most a hundred problems of each kind.
        history: What happened in training.
        least_familiar: The images held out of the reference features that are most unlike these, with their
            familiarity, the most unlike first; at most a hundred. Empty where there are no such features.
        versions: Of tlkit and what it is built on.
    """

    evaluation: Evaluation
    dataset: dict[str, Json]
    backbone: dict[str, Json]
    augmentation: dict[str, Json] | None
    schedule: dict[str, Json]
    seed: int
    engine: str
    fingerprint: str
    training_names: tuple[str, ...]
    bad_files: tuple[BadFile, ...]
    audit: AuditReport
    history: History
    versions: dict[str, str]
    least_familiar: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        ModelCard.__post_init__(self)
        if self.training_digests and len(self.training_digests) != len(self.training_names):
            raise SettingError("`training_digests` must be one for each of `training_names`")
        check_int(
            "history.kept", self.history.kept, at_least=0, at_most=len(self.history.phases) - 1
        )
        for phase in self.history.phases:
            last = len(phase.validation_loss) - 1
            check_int("best_epoch", phase.best_epoch, at_least=0, at_most=last)

    def fingerprint_with(self, network: str) -> str:
        """Return hex digits that stand for what a classifier does: the backbone too, not only its weights."""
        backbone = sorted((k, v) for k, v in self.backbone.items() if k != "weights")
        return ModelCard.fingerprint_with(self, fingerprint(backbone, network))

    def trained_on(self, directory: Path) -> bool:
        """Say whether this is the folder that the classifier was trained on, by its path."""
        own = self.dataset.get("directory")
        return isinstance(own, str) and Path(own).resolve() == directory.resolve()
