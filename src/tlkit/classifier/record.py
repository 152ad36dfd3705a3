"""What travels with the network: what its number means, and how it came about."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final, final

from tlkit.core.spec import Json, Spec, check_choice, check_float, check_int
from tlkit.data.audit import AuditReport
from tlkit.errors import SettingError
from tlkit.evaluation.calibration import Calibration
from tlkit.evaluation.evaluate import THE_THRESHOLD, Evaluation, evaluate
from tlkit.evaluation.history import History
from tlkit.evaluation.scores import CrossValidation, Scores
from tlkit.evaluation.threshold import ThresholdChoice
from tlkit.images.decoder import BadFile

RESIZE: Final = "stretch-bilinear-antialias"


@final
@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Record(Spec):
    """What travels with the network: what its number means, and how it came about.

    Attributes:
        class_names: Both classes, in the order of the dataset.
        positive_class: The one whose probability the network gives.
        threshold: From this probability on an image is called positive.
        image_size: `(height, width)` of the network's images, in pixels.
        resize: How an image is brought to that size.
        dataset: Settings of the `DatasetSpec`, the directory as it was given: a relative one says nothing of
            the machine, and stays right in a project that moves as a whole.
        backbone: Settings of the `BackboneAdapter`.
        augmentation: Settings of the `AugmentationPolicy`; None when no views were used.
        schedule: Settings of the `FineTuneSchedule`.
        seed: Of views, orders and dropout.
        engine: What ran the frozen part.
        fingerprint: Of the files that were read.
        training_names: Which images it was trained on, relative to the folder.
        bad_files: Which files were left out, and why.
        audit: What was found in the folder, with at most a hundred problems of each kind.
        history: What happened in training.
        evaluation: On the validation split.
        test_evaluation: On the test split, where there is one.
        scores: What was said about each image of the validation and test splits; and, as `"out-of-fold"`,
            about training images by a classifier that had not learned from them, where there is one.
        calibration: What was done to the logits so that probabilities can be believed; None: nothing.
        threshold_choice: What the threshold was chosen for, and what it reached; None: nobody chose it so.
        cross_validation: The same settings judged fold by fold, where that was asked for.
        versions: Of tlkit and what it is built on.
    """

    class_names: tuple[str, str]
    positive_class: str
    threshold: float
    image_size: tuple[int, int]
    resize: str = RESIZE
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
    evaluation: Evaluation
    test_evaluation: Evaluation | None = None
    scores: dict[str, Scores] = field(default_factory=dict)
    calibration: Calibration | None = None
    threshold_choice: ThresholdChoice | None = None
    cross_validation: CrossValidation | None = None
    versions: dict[str, str]

    def __post_init__(self) -> None:
        if len({*self.class_names}) != 2:
            raise SettingError(f"`class_names` must be two names, got {self.class_names!r}")
        check_choice("positive class", self.positive_class, self.class_names)
        check_float("threshold", self.threshold, at_least=0, at_most=1)
        height, width = self.image_size
        check_int("image_size[0]", height, at_least=1)
        check_int("image_size[1]", width, at_least=1)
        check_choice("resize rule", self.resize, (RESIZE,))
        for measured in filter(None, (self.evaluation, self.test_evaluation)):
            check_choice("evaluated part", measured.part, list(self.scores))
        check_int(
            "history.kept", self.history.kept, at_least=0, at_most=len(self.history.phases) - 1
        )
        for phase in self.history.phases:
            last = len(phase.validation_loss) - 1
            check_int("best_epoch", phase.best_epoch, at_least=0, at_most=last)

    @property
    def value_range(self) -> tuple[float, float] | None:
        """Which values are black and white in files of more than 8 bits a sample, as `DatasetSpec` has it."""
        match self.dataset.get("value_range"):
            case [int() | float() as black, int() | float() as white]:
                return float(black), float(white)
        return None

    def recounted(self, threshold: float, choice: ThresholdChoice | None = None) -> Record:
        """Return the same judgements, counted at another threshold.

        Args:
            threshold: 0-1.
            choice: What it was chosen for and on; None where nobody chose it so.
        """
        used = (THE_THRESHOLD,) if choice else ()  # out of fold: cross-validation judges these too
        fairly = choice is None or choice.part != self.evaluation.part
        test, crossed = self.test_evaluation, self.cross_validation
        return replace(
            self,
            threshold=float(threshold),
            threshold_choice=choice,
            evaluation=self._rescored(self.evaluation, threshold, () if fairly else used),
            test_evaluation=test and self._rescored(test, threshold),
            cross_validation=crossed and crossed.recounted(threshold, used_to_choose=used),
        )

    def _rescored(
        self, evaluation: Evaluation, threshold: float, used: tuple[str, ...] = ()
    ) -> Evaluation:
        scores = self.scores[evaluation.part]  # there are some, or there were no record
        before = tuple(word for word in evaluation.used_to_choose if word != THE_THRESHOLD)
        return evaluate(
            scores.labels,
            scores.probabilities,
            threshold=threshold,
            class_names=self.class_names,
            positive_class=self.positive_class,
            part=evaluation.part,
            random_head_baseline=evaluation.random_head_baseline,
            used_to_choose=(*before, *used),
        )
