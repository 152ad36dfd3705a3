"""`TransferClassifier`: a network that knows what its number means. Predict, evaluate, save, load."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias, final, overload

import numpy as np
import numpy.typing as npt

from tlkit.backbones.engines import BATCH_SIZE
from tlkit.backbones.onnx_engine import SAMPLE_SIZE
from tlkit.classifier.artifact import read_artifact, write_artifact
from tlkit.classifier.card import ModelCard
from tlkit.classifier.exported import lacking, lacking_metrics, read_export
from tlkit.classifier.guarantee import guarantee_for
from tlkit.classifier.measure import measure, spec_for
from tlkit.classifier.measure_pair import Side, measure_pair
from tlkit.classifier.predictor import NetworkPredictor, Predictor, files_of, owner_of
from tlkit.classifier.record import Record
from tlkit.core.progress import progress
from tlkit.core.rows import Images
from tlkit.core.spec import check_bool, check_choice, check_float, check_kind, check_path
from tlkit.data.audit import AuditReport
from tlkit.data.dataset import DatasetSpec, image_files, part_of
from tlkit.errors import SettingError, printable
from tlkit.evaluation.calibration import Calibration
from tlkit.evaluation.decision_counts import UNFAMILIAR_WORD, WORDS, check_no_decision
from tlkit.evaluation.decisions import Guarantee
from tlkit.evaluation.evaluate import Evaluation, other_class
from tlkit.evaluation.familiarity import Familiarity
from tlkit.evaluation.history import History
from tlkit.evaluation.log_loss import sigmoid
from tlkit.evaluation.paired_evaluation import PairedEvaluation
from tlkit.evaluation.scores import OUT_OF_FOLD, CrossValidation, Scores
from tlkit.evaluation.threshold import ThresholdGoal, choose_threshold
from tlkit.images.decoder import BadFile, as_batch
from tlkit.images.loader import warn_of_bad_files
from tlkit.images.resizing import RULES, Resize

if TYPE_CHECKING:
    import keras

Floats: TypeAlias = npt.NDArray[np.float64]
PathLike: TypeAlias = str | os.PathLike[str]
OnBadFile: TypeAlias = Literal["raise", "skip", "collect"]


@final
@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """The predicted class of one image, with its probability.

    Attributes:
        label: The predicted class.
        probability: Probability of the positive class, 0-1.
        positive_class: The class that the probability is of.
        logit: `ln(probability / (1 - probability))`; any real number.
        threshold: From this probability on the label is the positive class.
        decision: What is decided: the label; `"unfamiliar"` where the image is unlike all training images
            (`TransferClassifier.with_unfamiliar_level`); or `"unsure"` where it is left to a person for
            another reason (`TransferClassifier.with_guarantee`).
        familiarity: The share of images like the training images that are at least as far from these as this
            one is, above 0 and up to 1: small where it is unlike all of them. None: nobody knows.
        path: The file as it was given; None for images given as numbers.

    Examples:
        >>> found = Prediction(
        ...     label="not alpaca", probability=0.02, positive_class="alpaca", logit=-3.9, threshold=0.5,
        ...     decision="not alpaca", path="photo.jpg",
        ... )
        >>> print(found, found.confidence)
        photo.jpg: not alpaca (probability of alpaca 0.02) 0.98
    """

    label: str
    probability: float
    positive_class: str
    logit: float
    threshold: float
    decision: str
    familiarity: float | None = None
    path: PathLike | None = None

    @property
    def confidence(self) -> float:
        """Probability of the label that is given, 0-1."""
        return self.probability if self.label == self.positive_class else 1 - self.probability

    @property
    def unfamiliar(self) -> bool:
        """Whether its familiarity is at most the classifier's level."""
        return self.decision == UNFAMILIAR_WORD

    def __str__(self) -> str:
        name = "image" if self.path is None else printable(os.fspath(self.path))
        said = (
            self.label if self.decision == self.label else f"{self.decision}, rather {self.label}"
        )
        told = f"probability of {self.positive_class} {self.probability:.2f}"
        if self.unfamiliar and self.familiarity is not None:
            told += f", familiarity {self.familiarity:.2g}"
        return f"{name}: {said} ({told})"


@final
class TransferClassifier:
    """A classifier of images into two classes, made by `transfer_classifier` or read from a file or folder.

    Args:
        model: RGB 0-255 `[N, H, W, 3]` to the probability of the positive class `[N, 1]`, its last two
            layers named `"logit"` and `"probability"`; or a function that builds one of the classifier's own
            when it is needed. Its weights count as they are now.
        record: What its number means and how it came about, measured with these weights; of an exported
            folder its card alone.
        familiarity: Reference features of its training images. None: it cannot tell what is unlike them.

    Attributes:
        card: What it has to know to decide, and to say how good it is.

    Examples:
        >>> classifier = TransferClassifier.load("alpaca.keras")  # doctest: +SKIP
        >>> classifier.predict("photo.jpg").label  # doctest: +SKIP
        'alpaca'
    """

    __slots__ = ("_predictor", "card")

    def __init__(
        self,
        model: keras.Model | Callable[[], keras.Model] | Predictor,
        record: ModelCard,
        familiarity: Familiarity | None = None,
    ) -> None:
        self._predictor = (
            model if isinstance(model, Predictor) else NetworkPredictor(model, familiarity)
        )
        self.card = record

    def __reduce__(self) -> tuple[type[TransferClassifier], tuple[Predictor, ModelCard]]:
        """Copy and pickle with what makes a predictor like this one."""
        return TransferClassifier, (self._predictor, self.card)

    @property
    def model(self) -> keras.Model:
        """The plain Keras model: float or uint8 RGB 0-255 `[N, H, W, 3]` in, probabilities `[N, 1]` out.

        It is yours: look into it, save it with Keras, train it further. The classifier itself never changes:
        predictions, `save`, exports and explanations go on with the weights that its evaluation is of, and
        the first of them after a change warns. A model that was trained further is measured by making a
        classifier with it: `BackboneAdapter(…)` takes all of it but the last two layers.

        Raises:
            ArtifactError: It was loaded from an exported folder.
        """
        return self._predictor.model

    @property
    def fingerprint(self) -> str:
        """What the classifier is, in 32 hex digits: the same for two runs that came to the same.

        It stands for weights, backbone, image size, classes, threshold and calibration, and for nothing
        else: neither for dates and durations, in which the files of two equal runs differ, nor for the place
        of a file. A saved classifier holds it as `classifier_fingerprint` in its `tlkit.json`. An export is
        another network, and has another one.
        """
        return self.card.fingerprint_with(self._predictor.identity())

    @property
    def record(self) -> Record:
        """The metadata: what its number means, and how it came about.

        Raises:
            ArtifactError: It was loaded from an exported folder, which takes along no more than the `card`.
        """
        if not isinstance(self.card, Record):
            raise lacking("record of its training")
        return self.card

    @property
    def class_names(self) -> tuple[str, str]:
        """Both classes, in the order of the dataset."""
        return self.card.class_names

    @property
    def positive_class(self) -> str:
        """The class that probabilities are of."""
        return self.card.positive_class

    @property
    def negative_class(self) -> str:
        """The class that is not the positive one."""
        return other_class(self.class_names, self.positive_class)

    @property
    def threshold(self) -> float:
        """From this probability on an image is called positive, 0-1."""
        return self.card.threshold

    @property
    def threshold_source(self) -> str:
        """How the threshold came about, in words: what it was chosen for, and on what."""
        return self.card.threshold_source

    @property
    def guarantee(self) -> Guarantee | None:
        """Which images are left to a person, and what that promises of the others; None: it decides all."""
        return self.card.guarantee

    @property
    def familiarity(self) -> Familiarity | None:
        """What tells how unlike its training images others are; None where it was not kept."""
        return self._predictor.familiarity

    @property
    def unfamiliar_level(self) -> float:
        """An image whose familiarity is at most this is called unfamiliar, 0-1; 0: none is."""
        return self.card.unfamiliar_level if self.familiarity else 0.0

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width that images are resized to, in pixels."""
        return self.card.image_size

    @property
    def resizing(self) -> Resize:
        """How images of another shape are brought to that size: "stretch" or "pad"."""
        return next(resize for resize, rule in RULES.items() if rule == self.card.resize)

    @property
    def value_range(self) -> tuple[float, float] | None:
        """Which values are black and white in files of more than 8 bits a sample, as `DatasetSpec` has it."""
        return self.card.value_range

    @property
    def evaluation(self) -> Evaluation:
        """Metrics on images that it has not learned from: the validation split, or out-of-fold.

        Raises:
            ArtifactError: It was loaded from a folder that was exported before such folders held metrics.
        """
        if self.card.evaluation is None:
            raise lacking_metrics()
        return self.card.evaluation

    @property
    def test_evaluation(self) -> Evaluation | None:
        """Metrics on the test split, which nothing was trained or chosen on; None without one."""
        return self.card.test_evaluation

    @property
    def cross_validation(self) -> CrossValidation | None:
        """Every image judged by a classifier that has not learned from it; None where no folds judged."""
        return self.card.cross_validation

    @property
    def out_of_fold(self) -> Scores | None:
        """Out-of-fold predictions: each image scored by a model not trained on it.

        Of all images if trained with `folds`, else of the training split if an exact head was kept; else
        None.
        """
        return self.card.out_of_fold

    @property
    def calibration(self) -> Calibration | None:
        """Platt scaling of the logit; None if not fitted.

        It is fitted on out-of-fold logits: those of an exact head, or of `folds` fine-tunings.
        """
        return self.card.calibration

    @property
    def history(self) -> History:
        """What happened in training, phase by phase."""
        return self.record.history

    @property
    def audit(self) -> AuditReport:
        """What was found in the folder that it was trained on."""
        return self.record.audit

    @property
    def bad_files(self) -> tuple[BadFile, ...]:
        """The files of the dataset that could not be read and were left out."""
        return self.record.bad_files

    def __repr__(self) -> str:
        known = self.card.evaluation
        accuracy = f", accuracy {known.accuracy}" if known else ""
        return f"<TransferClassifier {self.positive_class!r} or {self.negative_class!r}{accuracy}>"

    @overload
    def predict(  # type: ignore[overload-overlap] # text is iterable too; this one goes first
        self, images: PathLike, *, on_bad_file: OnBadFile = "raise"
    ) -> Prediction: ...
    @overload
    def predict(
        self,
        images: Images | Iterable[PathLike],
        *,
        on_bad_file: Literal["raise", "skip"] = "raise",
    ) -> list[Prediction]: ...
    @overload
    def predict(
        self, images: Iterable[PathLike], *, on_bad_file: Literal["collect"]
    ) -> list[Prediction | BadFile]: ...
    def predict(
        self,
        images: PathLike | Images | Iterable[PathLike],
        *,
        on_bad_file: OnBadFile = "raise",
    ) -> Prediction | Sequence[Prediction | BadFile]:
        """Classify one image, several, or an array.

        Args:
            images: A file, several files (an array of text is several too), or an array as `predict_proba`
                takes it.
            on_bad_file: What to do about one of several files that cannot be read: `"raise"` an error
                that names it, `"skip"` it with a warning, or `"collect"` it: a `BadFile` then takes its
                place. A single file always raises.

        Returns:
            A `Prediction` for one file; else a list of them, in the order given.

        Raises:
            ImageError: A file cannot be read and `on_bad_file` is `"raise"`.
            SettingError: It is neither files nor an array of images.
        """
        check_choice("on_bad_file", on_bad_file, ("raise", "skip", "collect"))
        if isinstance(images, np.ndarray) and images.dtype.kind in "OSTU":  # objects and text
            images = images.tolist()
        if isinstance(images, np.ndarray):
            answers = self._predictor.answers(
                as_batch(images, self.image_size, resize=self.resizing)
            )
            return [self._prediction(*answer, None) for answer in zip(*answers, strict=True)]
        if isinstance(images, str | os.PathLike):
            (outcome,) = self._predict_files(files_of([images]), "collect")
            if isinstance(outcome, BadFile):
                raise outcome.error()
            return outcome
        return self._predict_files(files_of(images), on_bad_file)

    def predict_folder(
        self, folder: PathLike, *, on_bad_file: OnBadFile = "skip"
    ) -> Sequence[Prediction | BadFile]:
        """Classify every image in a folder and the folders inside it, in the order of their names.

        Args:
            folder: Any folder; hidden files and files that are not images by their suffix do not count.
            on_bad_file: As in `predict`.

        Raises:
            DatasetError: There is no such folder, or no image in it.
            ImageError: A file cannot be read and `on_bad_file` is `"raise"`.
            SettingError: `folder` is no path.
        """
        check_choice("on_bad_file", on_bad_file, ("raise", "skip", "collect"))
        return self._predict_files(image_files(folder), on_bad_file)

    def predict_each(
        self, files: Iterable[PathLike], *, count: int
    ) -> Iterator[Prediction | BadFile]:
        """Classify files one after the other: for more of them than fit in a list.

        Args:
            files: Taken as they are needed, some hundred ahead.
            count: How many there are in all: decides which engine pays.

        Yields:
            A `Prediction` for each, in the order given; a `BadFile` where it cannot be read.
        """
        for path, found in self._predictor.outcomes(
            files, self.image_size, count, value_range=self.value_range, resize=self.resizing
        ):
            yield found if isinstance(found, BadFile) else self._prediction(*found, path)

    def predict_proba(self, images: npt.NDArray[np.generic]) -> Floats:
        """Return the probability of the positive class for each image.

        Args:
            images: RGB, 0-255, `[N, H, W, 3]` or one image `[H, W, 3]`, whole numbers or floats.
                Images of another size are resized as files are.

        Returns:
            float64 `[N]`, 0-1.

        Raises:
            SettingError: The array is not of images; one scaled to 0-1 is refused too.
        """
        return sigmoid(
            self._predictor.logits(as_batch(images, self.image_size, resize=self.resizing))
        )

    @overload
    def evaluate(
        self,
        data: PathLike | DatasetSpec,
        *,
        part: str | None = None,
        include_training: bool = False,
        against: None = None,
    ) -> Evaluation: ...
    @overload
    def evaluate(
        self,
        data: PathLike | DatasetSpec,
        *,
        part: str | None = None,
        include_training: bool = False,
        against: TransferClassifier,
    ) -> PairedEvaluation: ...
    def evaluate(
        self,
        data: PathLike | DatasetSpec,
        *,
        part: str | None = None,
        include_training: bool = False,
        against: TransferClassifier | None = None,
    ) -> Evaluation | PairedEvaluation:
        """Measure the classifier on a folder of labelled images that it has not learned from.

        Images that it has learned from are left out with a warning, which names what is known of it on
        others: by their content, wherever they lie, and by their names in the folder it was trained on. An
        exported folder tells them by content alone; one that was exported before such folders could warns.

        Args:
            data: A folder with the same two classes, or with one of them; a table of labels, with the columns
                of the one that the classifier was trained on; or its spec. Its own split plays
                no part.
            part: Use only this part of a folder with `train/`, `validation/` or `test/` inside; `"val"`
                and the other names that such a folder may have will do.
            include_training: Count the images that it has learned from too; the text then says how many
                they are.
            against: An older classifier of the same two classes, to be measured on the same images: those
                that neither has learned from.

        Returns:
            Metrics; with `against` those of both, how much they differ, and on which images.

        Raises:
            DatasetError: The folder is not of these classes, has no such part, or holds nothing but images
                that the classifier has learned from.
            ImageError: A file cannot be read, and the spec says `on_bad_file="raise"`.
            SettingError: There can be no part of that name; or `against` is of other classes.

        Examples:
            >>> print(new.evaluate("more-alpacas/", against=old).verdict)  # doctest: +SKIP
            These 65 images cannot tell which one is better.
        """
        check_bool("include_training", include_training)
        part = None if part is None else part_of(part)
        spec = spec_for(self.card, data)
        raising: OnBadFile = "raise" if spec.on_bad_file == "raise" else "collect"
        if against is not None:
            check_classifier("against", against)
            new, old = (
                Side(one.card, partial(_logits_of, one, raising)) for one in (self, against)
            )
            return measure_pair(new, old, spec, part=part, include_training=include_training)

        said = {self.positive_class: 1, self.negative_class: 0}
        said |= {word: called for called, word in WORDS.items()}

        def answers_of(files: Sequence[Path]) -> list[tuple[float, int, float | None] | BadFile]:
            found = self._predict_files(files, raising)
            return [
                one
                if isinstance(one, BadFile)
                else (one.probability, said[one.decision], one.familiarity)
                for one in found
            ]

        return measure(
            self.card,
            answers_of,
            spec,
            part=part,
            include_training=include_training,
            counts=self.guarantee is not None or self.unfamiliar_level > 0,
            familiarity=self.familiarity,
        )

    def with_threshold(self, threshold: float | ThresholdGoal) -> TransferClassifier:
        """Return the same classifier with another threshold, its evaluations counted anew.

        A guarantee is dropped: it was of the threshold before.

        Args:
            threshold: 0-1, where a higher one calls fewer images positive; or what it is to be good for,
                such as `ThresholdGoal.precision(0.95)`. It is then chosen on out-of-fold logits of the
                training images, so that the validation split stays a fair judge; where there are none
                (a fine-tuned classifier without `folds`), on the validation split, which says so.

        Raises:
            ArtifactError: It is a goal, and the classifier was loaded from a folder that was exported before
                such folders held scores to choose on.
            SettingError: It is not a number from 0 to 1, or the goal cannot be met.

        Examples:
            >>> careful = classifier.with_threshold(ThresholdGoal.precision(0.95))  # doctest: +SKIP
            >>> print(careful.record.threshold_choice)  # doctest: +SKIP
        """
        choice = None
        if isinstance(threshold, ThresholdGoal):
            part = OUT_OF_FOLD if OUT_OF_FOLD in self.card.scores else self.evaluation.part
            known = self.card.scores[part]
            choice = choose_threshold(
                known.labels,
                known.probabilities,
                threshold,
                part=part,
                groups=known.groups or None,
            )
            threshold = choice.threshold
        card = self.card.recounted(
            check_float("threshold", threshold, at_least=0, at_most=1), choice
        )
        return with_card(self, card)

    def with_guarantee(
        self,
        error: float | None = None,
        *,
        confidence: float = 0.9,
        miss: float | None = None,
        false_alarm: float | None = None,
    ) -> TransferClassifier:
        """Return the same classifier, which decides alone only what it may, and leaves the rest to a person.

        Two thresholds are chosen on out-of-fold logits; between them `Prediction.decision` is `"unsure"`.
        With the stated confidence, what it decides is wrong no more often than promised, on images drawn
        like those that chose. It is no promise about a changed world. `print(classifier.guarantee)` says
        what it buys.

        Args:
            error: Largest share of the decided images that may be wrong, above 0 and below 1. None: 0.02
                where nothing else is promised.
            confidence: In how many draws of images, at least, the promise must hold; above 0 and below 1.
            miss: Instead of `error`: largest share of all positives that may be called negative.
            false_alarm: Instead of `error`: largest share of all negatives that may be called positive.

        Raises:
            ArtifactError: It was loaded from a folder that was exported before such folders held scores.
            GuaranteeError: There are too few images or too many sure mistakes for such a promise; the message
                says how many images would do.
            SettingError: There are no out-of-fold logits, a class is called as a decision is, or an argument
                is outside its limits.

        Examples:
            >>> careful = classifier.with_guarantee(error=0.02, confidence=0.9)  # doctest: +SKIP
            >>> print(careful.guarantee)  # doctest: +SKIP
            decides 91 % (88–94 %) of images alone; the other 9 % go to a person
        """
        guarantee = guarantee_for(
            self.card, error=error, confidence=confidence, miss=miss, false_alarm=false_alarm
        )
        return with_card(self, self.card.guaranteed(guarantee))

    def with_unfamiliar_level(self, level: float) -> TransferClassifier:
        """Return the same classifier, which calls unfamiliar what is as unlike its training images as that.

        Args:
            level: An image whose familiarity is at most this is called unfamiliar: of images like the
                training images that is about this share. 0 calls none so. There must be about `1 / level`
                training images.

        Raises:
            SettingError: So few training images cannot tell such a level (the message says how many it
                would take), or the classifier keeps no reference features.

        Examples:
            >>> stricter = classifier.with_unfamiliar_level(0.05)  # doctest: +SKIP
            >>> stricter.predict("holiday.jpg").decision  # doctest: +SKIP
            'unfamiliar'
        """
        if self.familiarity is None:
            raise SettingError(
                "this classifier keeps no reference features of its training images, so that it cannot tell "
                "what is unlike them: train it anew, an exact head or with a validation split"
            )
        check_no_decision(self.class_names)
        checked = self.familiarity.with_level(level).level
        return with_card(self, dataclasses.replace(self.card, unfamiliar_level=checked))

    def save(self, path: PathLike, *, familiarity: bool = True) -> None:
        """Write one file that holds all of it; plain Keras opens it too.

        Args:
            path: Ends in `.keras`. A file of that name is replaced once the new one is complete.
            familiarity: Keep the reference features (at most 2.6 MB, numbers that say something of the
                training images), without which `Prediction.familiarity` is None.

        Raises:
            ArtifactError: The file cannot be written; the old one is untouched.
            SettingError: `path` is no path.
        """
        kept = self.familiarity if check_bool("familiarity", familiarity) else None
        target = Path(check_path("path", path))
        write_artifact(target, self._predictor.network, self.record, kept)

    @classmethod
    def load(cls, path: PathLike) -> TransferClassifier:
        """Read what `save` wrote, or a folder that `export` made for LiteRT or ONNX Runtime.

        A folder predicts, evaluates and takes another threshold without TensorFlow. It keeps no names of
        images, and tells what it was trained on by content; what needs the Keras model (`explain`, `nearest`,
        `save`, further training) raises an `ArtifactError`.

        Args:
            path: The file or the folder.

        Raises:
            ArtifactError: It is no such file or folder, is damaged, comes from a newer tlkit, or asks for
                code.
            MissingExtraError: What runs the folder's network is not installed.
            SettingError: `path` is no path.
        """
        file = Path(check_path("path", path))
        if file.is_dir():
            return cls(*read_export(file))
        model, record, familiarity = read_artifact(file)
        return cls(owner_of(model, familiarity), record)

    def digest(self) -> str:
        """Return hex digits that identify the network and its weights."""
        return self._predictor.digest()

    def _predict_files(
        self, paths: Sequence[PathLike], on_bad_file: OnBadFile
    ) -> list[Prediction | BadFile]:
        outcomes: list[Prediction | BadFile] = []
        with progress(len(paths) if len(paths) > BATCH_SIZE else 0, "Predicting") as advance:
            for outcome in self.predict_each(paths, count=len(paths)):
                if isinstance(outcome, BadFile) and on_bad_file == "raise":
                    raise outcome.error()
                outcomes.append(outcome)
                advance(1)
        if on_bad_file == "skip":
            bad_files = [outcome for outcome in outcomes if isinstance(outcome, BadFile)]
            warn_of_bad_files(bad_files, stacklevel=4)  # the line that called predict
            return [outcome for outcome in outcomes if isinstance(outcome, Prediction)]
        return outcomes

    def _prediction(
        self, logit: float, familiarity: float | None, path: PathLike | None
    ) -> Prediction:
        probability = float(sigmoid(np.array(logit)))
        label = self.positive_class if probability >= self.threshold else self.negative_class
        called = int(self.card.decided(logit, familiarity))
        return Prediction(
            label=label,
            probability=probability,
            positive_class=self.positive_class,
            logit=float(logit),
            threshold=self.threshold,
            decision=WORDS.get(called, label),
            familiarity=familiarity,
            path=path,
        )


def network_of(classifier: TransferClassifier) -> keras.Model:
    """Return the network that a classifier computes with, for whoever only reads it.

    `TransferClassifier.model` is the user's, and may have been trained further.

    Raises:
        ArtifactError: It was loaded from an exported folder.
    """
    return classifier._predictor.network  # noqa: SLF001 - the same module


def make_ready(classifier: TransferClassifier, count: int) -> None:
    """Build what predicts, choose its engine and run it, so that the first image need not wait.

    Args:
        classifier: The classifier; one that has predicted has chosen already.
        count: How many images there will be: decides which engine pays.
    """
    shape = (SAMPLE_SIZE, *classifier.image_size, 3)
    noise = np.random.default_rng(0).integers(256, size=shape, dtype=np.uint8)
    classifier._predictor.logits(noise, count)  # noqa: SLF001 - the same module


def _logits_of(
    classifier: TransferClassifier, on_bad_file: OnBadFile, files: Sequence[Path]
) -> list[float | BadFile]:
    """Return the logit of each file, or what is wrong with it."""
    found = classifier._predict_files(files, on_bad_file)  # noqa: SLF001 - the same module
    return [one if isinstance(one, BadFile) else one.logit for one in found]


def with_card(classifier: TransferClassifier, card: ModelCard) -> TransferClassifier:
    """Return a classifier that computes with the same network and engine, and has another card."""
    return TransferClassifier(classifier._predictor, card)  # noqa: SLF001 - the same module


def check_classifier(name: str, value: object, *others: type) -> None:
    """Raise unless `value` is a classifier, or of another kind that will do.

    Args:
        name: What the caller calls it.
        value: What came.
        others: What else it may be.

    Raises:
        SettingError: It is none of these.

    Examples:
        >>> check_classifier("classifier", "alpaca.keras")
        Traceback (most recent call last):
            ...
        tlkit.errors.SettingError: `classifier` must be a TransferClassifier, got 'alpaca.keras' (str): \
read it with TransferClassifier.load('alpaca.keras')
    """
    path = os.fsdecode(value) if isinstance(value, str | os.PathLike) else ""
    saved = path.endswith(".keras")
    advice = f"read it with TransferClassifier.load('{printable(path)}')" if saved else ""
    check_kind(name, value, (TransferClassifier, *others), advice=advice)
