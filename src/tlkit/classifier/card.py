"""What a classifier has to know to decide, and to say how good it is: all that an export takes along."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import ClassVar, Self, TypeAlias

import numpy as np
import numpy.typing as npt

from tlkit.core.fingerprint import fingerprint
from tlkit.core.spec import Spec, check_choice, check_float, check_int
from tlkit.errors import SettingError, printable
from tlkit.evaluation.calibration import Calibration
from tlkit.evaluation.decision_counts import UNFAMILIAR, UNSURE, DecisionCounts, check_no_decision
from tlkit.evaluation.decisions import Guarantee
from tlkit.evaluation.evaluate import THE_THRESHOLD, Evaluation, evaluate
from tlkit.evaluation.log_loss import sigmoid
from tlkit.evaluation.scores import OUT_OF_FOLD, CrossValidation, Scores
from tlkit.evaluation.threshold import ThresholdChoice
from tlkit.images.reader import ValueRange, check_value_range
from tlkit.images.resizing import RULES

Ints: TypeAlias = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class ModelCard(Spec):
    """What a classifier has to know to decide, and to say how good it is.

    A field that is added here travels with every `.keras` file and with every exported folder.

    Attributes:
        class_names: Both classes, in the order of the dataset.
        positive_class: The one whose probability the network gives.
        threshold: From this probability on an image is called positive.
        image_size: `(height, width)` of the network's images, in pixels.
        resize: How an image is brought to that size: one of `images.resizing.RULES`.
        value_range: Which values are black and white in files of more than 8 bits a sample, as
            `DatasetSpec` has it; None: all that the bits can say.
        evaluation: Metrics on the validation split, or out-of-fold without one; None in a folder that
            tlkit's first export wrote.
        test_evaluation: Metrics on the test split; None without one.
        scores: Labels and logits of the validation split and of the test split, if there is one; as
            `"out-of-fold"` out-of-fold predictions of training images, where an exact head was kept.
        calibration: Platt scaling of the logit; None if not fitted.
        threshold_choice: What the threshold was chosen for, and what it reached; None where it was not chosen
            for a goal.
        cross_validation: Cross-validation of the same settings; None unless trained with `folds`.
        guarantee: Two thresholds, between which an image is left to a person, and what they promise; None
            where every image is decided.
        training_digests: What it was trained on, by content: the first `DIGEST_LENGTH` hex digits of each
            file's `ImageFacts.digest`. Empty where an earlier release did not note them.
        unfamiliar_level: An image whose familiarity is at most this is called unfamiliar, 0-1; 0: none is.
    """

    class_names: tuple[str, str]
    positive_class: str
    threshold: float
    image_size: tuple[int, int]
    resize: str = RULES["stretch"]
    value_range: ValueRange = None
    evaluation: Evaluation | None = None
    test_evaluation: Evaluation | None = None
    scores: dict[str, Scores] = field(default_factory=dict)
    calibration: Calibration | None = None
    threshold_choice: ThresholdChoice | None = None
    cross_validation: CrossValidation | None = None
    guarantee: Guarantee | None = None
    unfamiliar_level: float = 0.0
    training_digests: tuple[str, ...] = ()

    DIGEST_LENGTH: ClassVar[int] = 12
    """Hex digits: among a million images of each kind, one in 280 is taken for another."""

    def __post_init__(self) -> None:
        if len({*self.class_names}) != 2:
            raise SettingError(f"`class_names` must be two names, got {self.class_names!r}")
        check_choice("positive class", self.positive_class, self.class_names)
        check_float("threshold", self.threshold, at_least=0, at_most=1)
        height, width = self.image_size
        check_int("image_size[0]", height, at_least=1)
        check_int("image_size[1]", width, at_least=1)
        check_choice("resize rule", self.resize, list(RULES.values()))
        object.__setattr__(self, "value_range", check_value_range(self.value_range))
        for measured in filter(None, (self.evaluation, self.test_evaluation)):
            check_choice("evaluated part", measured.part, list(self.scores))
        check_float("unfamiliar_level", self.unfamiliar_level, at_least=0, below=1)
        if self.guarantee is not None:
            check_no_decision(self.class_names)

    @property
    def threshold_source(self) -> str:
        """How the threshold came about, in words: what it was chosen for, and on what."""
        choice = self.threshold_choice
        if choice is None:
            return "not chosen on images"
        return f"for {choice.goal}, chosen on {choice.count} {printable(choice.part)} images"

    @property
    def out_of_fold(self) -> Scores | None:
        """Out-of-fold predictions, see `TransferClassifier.out_of_fold`."""
        crossed = self.cross_validation
        return crossed.scores if crossed else self.scores.get(OUT_OF_FOLD)

    def decided(self, logits: npt.ArrayLike, familiarity: npt.ArrayLike | None = None) -> Ints:
        """Decide, or leave to a person.

        Args:
            logits: Of the positive class, float `[N]`.
            familiarity: Of the same images, 0-1, `[N]`; None where nobody knows it.

        Returns:
            int64 `[N]`: 1 for the positive class, 0 for the other, `UNSURE` (-1), `UNFAMILIAR` (-2).
        """
        given = np.asarray(logits, np.float64)
        called = (sigmoid(given) >= self.threshold).astype(np.int64)
        if self.guarantee is not None:
            called = np.where(self.guarantee.decide(given) == UNSURE, UNSURE, called)
        if familiarity is None or not self.unfamiliar_level:
            return called
        far = np.asarray(familiarity) <= self.unfamiliar_level * (1 + 1e-9)  # 1 / 100 is 0.01
        return np.where(far, UNFAMILIAR, called)

    def fingerprint_with(self, network: str) -> str:
        """Return hex digits that stand for what a classifier does, see `TransferClassifier.fingerprint`.

        Args:
            network: What stands for the network and its weights.
        """
        return fingerprint(
            self.class_names,
            self.positive_class,
            self.threshold,
            self.image_size,
            self.resize,
            self.calibration and self.calibration.to_config(),
            network,
            *([self.value_range] if self.value_range else []),  # as it was before there was one
            *([kept.lower_logit, kept.upper_logit] if (kept := self.guarantee) else []),
        )

    def without_names(self) -> ModelCard:
        """Return the card alone, as an export takes it along: names of images and their order stay behind."""
        card = ModelCard(**{field.name: getattr(self, field.name) for field in fields(ModelCard)})
        crossed = self.cross_validation
        return replace(
            card,
            scores={part: _nameless(scores) for part, scores in self.scores.items()},
            cross_validation=crossed
            and replace(
                crossed,
                scores=_nameless(crossed.scores),
                known_groups=crossed.known_groups and _nameless(crossed.known_groups),
            ),
            training_digests=tuple(sorted(self.training_digests)),
        )

    def recounted(self, threshold: float, choice: ThresholdChoice | None = None) -> Self:
        """Return the same predictions, evaluated at another threshold, all of them decided.

        Args:
            threshold: 0-1.
            choice: What it was chosen for and on; None where nobody chose it so.
        """
        used = (THE_THRESHOLD,) if choice else ()  # out of fold: cross-validation judges these too
        validation, crossed = self.evaluation, self.cross_validation
        fairly = choice is None or validation is None or choice.part != validation.part
        return replace(
            self,
            threshold=float(threshold),
            threshold_choice=choice,
            evaluation=validation and self._rescored(validation, threshold, () if fairly else used),
            test_evaluation=self.test_evaluation
            and self._rescored(self.test_evaluation, threshold),
            cross_validation=crossed and crossed.recounted(threshold, used_to_choose=used),
            guarantee=None,
        )

    def guaranteed(self, guarantee: Guarantee) -> Self:
        """Return the same predictions, some of which are left to a person.

        Evaluations on other images than those that chose the guarantee say how it does there.
        """
        card = replace(self, guarantee=guarantee)
        chose = {
            guarantee.part,
            *(["validation"] if self.cross_validation else []),
        }  # it is in folds

        def counted(evaluation: Evaluation | None) -> Evaluation | None:
            if evaluation is None or evaluation.part in chose:
                return evaluation
            scores = self.scores[evaluation.part]
            called = card.decided(scores.logits)
            return replace(evaluation, decisions=DecisionCounts.of(scores.labels, called))

        return replace(
            card,
            evaluation=counted(self.evaluation),
            test_evaluation=counted(self.test_evaluation),
        )

    def _rescored(
        self, evaluation: Evaluation, threshold: float, used: tuple[str, ...] = ()
    ) -> Evaluation:
        scores = self.scores[evaluation.part]  # there are some, or there were no card
        crossed = self.cross_validation
        known = crossed.known_groups if crossed and evaluation.known_groups else None
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
            folds=evaluation.fold_count,
            facets=scores.facets,
            groups=scores.groups,
            known_groups=known.accuracy(threshold) if known else None,
        )


def _nameless(scores: Scores) -> Scores:
    """Return scores without the names of the images."""
    return replace(scores, names=())
