"""`TransferClassifier`: a network that knows what its number means. Predict, evaluate, save, load."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias, final, overload

import numpy as np
import numpy.typing as npt

from tlkit.backbones.engines import BATCH_SIZE
from tlkit.classifier.artifact import read_artifact, write_artifact
from tlkit.classifier.predictor import Predictor, files_of
from tlkit.classifier.record import Record
from tlkit.core.progress import progress
from tlkit.core.rows import Images
from tlkit.core.spec import check_choice, check_float, check_kind, check_path
from tlkit.data.audit import AuditReport
from tlkit.data.dataset import DatasetSpec, Example, image_files, part_of
from tlkit.errors import DatasetError, printable
from tlkit.evaluation.calibration import Calibration
from tlkit.evaluation.evaluate import Evaluation, evaluate, other_class
from tlkit.evaluation.history import History
from tlkit.evaluation.log_loss import sigmoid
from tlkit.evaluation.scores import OUT_OF_FOLD, CrossValidation, Scores
from tlkit.evaluation.threshold import ThresholdGoal, choose_threshold
from tlkit.images.decoder import BadFile, as_batch
from tlkit.images.loader import warn_of_bad_files

if TYPE_CHECKING:
    import keras

Floats: TypeAlias = npt.NDArray[np.float64]
PathLike: TypeAlias = str | os.PathLike[str]
OnBadFile: TypeAlias = Literal["raise", "skip", "collect"]


@final
@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """What the classifier says about one image.

    Attributes:
        label: The class.
        probability: Of the positive class, 0-1.
        positive_class: The class that the probability is of.
        logit: `ln(probability / (1 - probability))`; any real number.
        threshold: From this probability on the label is the positive class.
        path: The file as it was given; None for images given as numbers.
    """

    label: str
    probability: float
    positive_class: str
    logit: float
    threshold: float
    path: PathLike | None = None

    def __str__(self) -> str:
        name = "image" if self.path is None else printable(os.fspath(self.path))
        return f"{name}: {self.label} (probability of {self.positive_class} {self.probability:.2f})"


@final
class TransferClassifier:
    """A classifier of images into two classes, made by `transfer_classifier` or read from a file.

    Args:
        model: RGB 0-255 `[N, H, W, 3]` to the probability of the positive class `[N, 1]`, its last two
            layers named `"logit"` and `"probability"`; or a function that builds it when it is needed.
        record: What its number means and how it came about.

    Examples:
        >>> classifier = TransferClassifier.load("alpaca.keras")  # doctest: +SKIP
        >>> classifier.predict("photo.jpg").label  # doctest: +SKIP
        'alpaca'
    """

    __slots__ = ("_predictor", "record")

    def __init__(
        self, model: keras.Model | Callable[[], keras.Model] | Predictor, record: Record
    ) -> None:
        self._predictor = model if isinstance(model, Predictor) else Predictor(model)
        self.record = record

    def __reduce__(self) -> tuple[type[TransferClassifier], tuple[keras.Model, Record]]:
        """Copy and pickle without the engine, whose threads belong to this process."""
        return TransferClassifier, (self.model, self.record)

    @property
    def model(self) -> keras.Model:
        """The plain Keras model: float or uint8 RGB 0-255 `[N, H, W, 3]` in, probabilities `[N, 1]` out.

        Its weights count as they were at the first prediction. Whoever trains it further goes on with
        `TransferClassifier(classifier.model, classifier.record)`.
        """
        return self._predictor.model

    @property
    def class_names(self) -> tuple[str, str]:
        """Both classes, in the order of the dataset."""
        return self.record.class_names

    @property
    def positive_class(self) -> str:
        """The class that probabilities are of."""
        return self.record.positive_class

    @property
    def negative_class(self) -> str:
        """The class that is not the positive one."""
        return other_class(self.class_names, self.positive_class)

    @property
    def threshold(self) -> float:
        """From this probability on an image is called positive, 0-1."""
        return self.record.threshold

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width that images are resized to, in pixels."""
        return self.record.image_size

    @property
    def value_range(self) -> tuple[float, float] | None:
        """Which values are black and white in files of more than 8 bits a sample, as `DatasetSpec` has it."""
        return self.record.value_range

    @property
    def evaluation(self) -> Evaluation:
        """How well it does on the validation split, which it was not trained on."""
        return self.record.evaluation

    @property
    def test_evaluation(self) -> Evaluation | None:
        """How well it does on the test split, which nothing was chosen on; None without one."""
        return self.record.test_evaluation

    @property
    def cross_validation(self) -> CrossValidation | None:
        """The same settings judged on every image, fold by fold; None unless `folds` asked for it."""
        return self.record.cross_validation

    @property
    def out_of_fold(self) -> Scores | None:
        """What was said about images by classifiers that had not learned from them.

        Of all images if `folds` was asked for, else of the training split if an exact head was kept.
        """
        crossed = self.cross_validation
        return crossed.scores if crossed else self.record.scores.get(OUT_OF_FOLD)

    @property
    def calibration(self) -> Calibration | None:
        """The line through the logit that makes probabilities believable; None where nothing could fit it.

        It is fitted on out-of-fold logits: those of an exact head, or of `folds` fine-tunings.
        """
        return self.record.calibration

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
        return (
            f"<TransferClassifier {self.positive_class!r} or {self.negative_class!r}, "
            f"accuracy {self.evaluation.accuracy}>"
        )

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
        """Say what is on images.

        Args:
            images: A file, several files, or an array as `predict_proba` takes it.
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
        if isinstance(images, np.ndarray):
            return [self._prediction(logit, None) for logit in self._logits(images)]
        if isinstance(images, str | os.PathLike):
            (outcome,) = self._predict_files(files_of([images]), "collect")
            if isinstance(outcome, BadFile):
                raise outcome.error()
            return outcome
        return self._predict_files(files_of(images), on_bad_file)

    def predict_folder(
        self, folder: PathLike, *, on_bad_file: OnBadFile = "skip"
    ) -> Sequence[Prediction | BadFile]:
        """Say what is on every image in a folder and the folders inside it, in the order of their names.

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
        """Say what is on files one after the other: for more of them than should be in a list.

        Args:
            files: Taken as they are needed, some hundred ahead.
            count: How many there are in all: decides which engine pays.

        Yields:
            What is on each, in the order given; a `BadFile` where it cannot be read.
        """
        for path, found in self._predictor.outcomes(
            files, self.image_size, count, value_range=self.value_range
        ):
            yield found if isinstance(found, BadFile) else self._prediction(found, path)

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
        return sigmoid(self._logits(images))

    def evaluate(self, data: PathLike | DatasetSpec, *, part: str | None = None) -> Evaluation:
        """Measure the classifier on a folder of labelled images.

        Args:
            data: A folder with the same two classes, or its spec. Its own split plays no part; in the
                folder that it was trained on, the text says how many images it knows already.
            part: Use only this part of a folder with `train/`, `validation/` or `test/` inside; `"val"`
                and the other names that such a folder may have will do.

        Raises:
            DatasetError: The folder is not of these two classes, or has no such part.
            ImageError: A file cannot be read, and the spec says `on_bad_file="raise"`.
            SettingError: There can be no part of that name.
        """
        part = None if part is None else part_of(part)
        spec = (
            data if isinstance(data, DatasetSpec) else DatasetSpec(data, classes=self.class_names)
        )
        known = examples_for(self, spec)
        examples = [example for example in known if part in (None, example.part)]
        if not examples:
            there = sorted({repr(example.part) for example in known if example.part})
            raise DatasetError(
                f"{printable(spec.directory)} has no images in the part {part!r}: "
                + (
                    f"choose from {', '.join(there)}"
                    if there
                    else "it has no parts, leave `part` out"
                )
            )
        outcomes = self._predict_files(
            [example.path for example in examples],
            "raise" if spec.on_bad_file == "raise" else "collect",
        )
        warn_of_bad_files([outcome for outcome in outcomes if isinstance(outcome, BadFile)])
        scored = [
            (example.label, outcome.probability)
            for example, outcome in zip(examples, outcomes, strict=True)
            if isinstance(outcome, Prediction)
        ]
        if not scored:
            raise DatasetError(f"no image in {printable(spec.directory)} can be read")
        labels, probabilities = zip(*scored, strict=True)
        return evaluate(
            labels,
            probabilities,
            threshold=self.threshold,
            class_names=self.class_names,
            positive_class=self.positive_class,
            part=part or spec.directory.resolve().name,
            used_to_choose=self._trained_on(spec, examples),
        )

    def _trained_on(self, spec: DatasetSpec, examples: Sequence[Example]) -> tuple[str, ...]:
        """Own up to images that the classifier was trained on, as far as folder and names tell."""
        directory = self.record.dataset.get("directory")
        if not isinstance(directory, str) or Path(directory).resolve() != spec.directory.resolve():
            return ()
        known = {*self.record.training_names}
        count = sum(example.name in known for example in examples)
        return (f"the weights ({count} of them were trained on)",) if count else ()

    def with_threshold(self, threshold: float | ThresholdGoal) -> TransferClassifier:
        """Return the same classifier with another threshold, its evaluations counted anew.

        Args:
            threshold: 0-1, where a higher one calls fewer images positive; or what it is to be good for,
                such as `ThresholdGoal.precision(0.95)`. It is then chosen on out-of-fold logits of the
                training images, so that the validation split stays a fair judge; where there are none
                (a fine-tuned classifier without `folds`), on the validation split, which says so.

        Raises:
            SettingError: It is not a number from 0 to 1, or the goal cannot be met.

        Examples:
            >>> careful = classifier.with_threshold(ThresholdGoal.precision(0.95))  # doctest: +SKIP
            >>> print(careful.record.threshold_choice)  # doctest: +SKIP
        """
        choice = None
        if isinstance(threshold, ThresholdGoal):
            part = OUT_OF_FOLD if OUT_OF_FOLD in self.record.scores else self.evaluation.part
            known = self.record.scores[part]
            choice = choose_threshold(known.labels, known.probabilities, threshold, part=part)
            threshold = choice.threshold
        record = self.record.recounted(
            check_float("threshold", threshold, at_least=0, at_most=1), choice
        )
        return TransferClassifier(self._predictor, record)

    def save(self, path: PathLike) -> None:
        """Write one file that holds all of it; plain Keras opens it too.

        Args:
            path: Ends in `.keras`. A file of that name is replaced once the new one is complete.

        Raises:
            ArtifactError: The file cannot be written; the old one is untouched.
            SettingError: `path` is no path.
        """
        write_artifact(Path(check_path("path", path)), self.model, self.record)

    @classmethod
    def load(cls, path: PathLike) -> TransferClassifier:
        """Read what `save` wrote.

        Raises:
            ArtifactError: It is no such file, is damaged, comes from a newer tlkit, or asks for code.
            SettingError: `path` is no path.
        """
        return cls(*read_artifact(Path(check_path("path", path))))

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

    def _prediction(self, logit: float, path: PathLike | None) -> Prediction:
        probability = float(sigmoid(np.array(logit)))
        positive = probability >= self.threshold
        return Prediction(
            label=self.positive_class if positive else self.negative_class,
            probability=probability,
            positive_class=self.positive_class,
            logit=float(logit),
            threshold=self.threshold,
            path=path,
        )

    def _logits(self, images: npt.NDArray[np.generic]) -> Floats:
        return self._predictor.logits(as_batch(images, self.image_size))


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


def examples_for(classifier: TransferClassifier, spec: DatasetSpec) -> tuple[Example, ...]:
    """Return the images of a folder, label 1 for the classifier's positive class.

    Raises:
        DatasetError: The folder is not of the classifier's two classes.
    """
    listing = spec.listing()
    if {*listing.class_names} != {*classifier.class_names}:
        raise DatasetError(
            f"this classifier tells {' from '.join(map(repr, classifier.class_names))}, but "
            f"{printable(spec.directory)} holds {' and '.join(map(repr, listing.class_names))}"
        )
    return tuple(
        dataclasses.replace(example, label=int(example.class_name == classifier.positive_class))
        for example in listing.examples
    )
