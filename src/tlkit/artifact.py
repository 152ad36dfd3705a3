"""The saved classifier: one plain `.keras` file with `tlkit.json` inside it.

Keras alone opens it, because the network is made of built-in layers; tlkit also finds what the numbers
mean. Writing is all or nothing, and nothing in a file is trusted before it has been checked.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, fields, replace
from functools import cache
from itertools import repeat
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Any, Final, Union, final, get_args, get_origin, get_type_hints

from tlkit.auditing import AuditReport
from tlkit.calibration import Calibration
from tlkit.errors import ArtifactError, SettingError, printable
from tlkit.evaluate import THE_THRESHOLD, Evaluation, evaluate
from tlkit.history import History
from tlkit.images import BadFile
from tlkit.replacing import replacing
from tlkit.scores import CrossValidation, Scores
from tlkit.spec import Json, Spec, check_choice, check_float, check_int
from tlkit.threshold import ThresholdChoice

if TYPE_CHECKING:
    import keras

RECORD_NAME: Final = "tlkit.json"
FORMAT_VERSION: Final = 1
"""Raised when `tlkit.json` changes so that older releases cannot read it."""

RESIZE: Final = "stretch-bilinear-antialias"
_LIMIT: Final = 64 * 2**20  # bytes of JSON: far above any real file, far below what hurts
_EXPANSION: Final = (
    100  # times its size that a file may unpack to: weights hardly shrink, text does
)


@final
@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Record(Spec):
    """What travels with the network: what its number means, and how it came about.

    Attributes:
        class_names: Both classes, in the order of the dataset.
        positive_class: The one whose probability the network gives.
        threshold: From this probability on a picture is called positive.
        image_size: `(height, width)` of the network's pictures, in pixels.
        resize: How a picture is brought to that size.
        dataset: Settings of the `DatasetSpec`, the directory as it was given: a relative one says nothing of
            the machine, and stays right in a project that moves as a whole.
        backbone: Settings of the `BackboneAdapter`.
        augmentation: Settings of the `AugmentationPolicy`; None when no views were used.
        schedule: Settings of the `FineTuneSchedule`.
        seed: Of views, orders and dropout.
        engine: What ran the frozen part.
        fingerprint: Of the files that were read.
        training_names: Which pictures it was trained on, relative to the folder.
        bad_files: Which files were left out, and why.
        audit: What was found in the folder, with at most a hundred problems of each kind.
        history: What happened in training.
        evaluation: On the validation part.
        test_evaluation: On the test part, where there is one.
        scores: What was said about each picture of the validation and test parts; and, as `"out-of-fold"`,
            about training pictures by a classifier that had not learned from them, where there is one.
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
        for name, kind in _kinds_of(Record).items():
            if not _fits(getattr(self, name), kind):
                raise SettingError(f"`{name}` must be of the kind {kind}, which it is not")
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
            untrained=evaluation.untrained,
            used_to_choose=(*before, *used),
        )

    @classmethod
    def _from_json_value(cls, name: str, value: Any) -> Any:
        readers: dict[str, Callable[[Any], Any]] = {
            "bad_files": lambda files: tuple(BadFile.from_config(file) for file in files),
            "audit": AuditReport.from_config,
            "history": History.from_config,
            "evaluation": Evaluation.from_config,
            "test_evaluation": lambda config: Evaluation.from_config(config) if config else None,
            "calibration": lambda config: Calibration.from_config(config) if config else None,
            "threshold_choice": lambda config: (
                ThresholdChoice.from_config(config) if config else None
            ),
            "cross_validation": lambda config: (
                CrossValidation.from_config(config) if config else None
            ),
            "scores": lambda parts: {part: Scores.from_config(s) for part, s in parts.items()},
        }
        if name in readers:
            return readers[name](value)
        return tuple(value) if isinstance(value, list) else value


@cache
def _kinds_of(spec: type[Spec]) -> dict[str, Any]:
    hints = get_type_hints(spec)
    return {part.name: hints[part.name] for part in fields(spec)}


def _fits(value: Any, kind: Any) -> bool:
    """Return whether a value is of the kind that an annotation names: JSON may hold anything anywhere."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        whatever = any(get_origin(choice) is list for choice in inner)  # any JSON value
        return whatever or any(_fits(value, choice) for choice in inner)
    if origin is tuple:
        if not isinstance(value, tuple) or (inner[-1] is not ... and len(value) != len(inner)):
            return False
        return all(map(_fits, value, repeat(inner[0]) if inner[-1] is ... else inner))
    if origin is not None:
        pairs = value.items() if isinstance(value, Mapping) else [(None, None)]
        return all(_fits(key, inner[0]) and _fits(item, inner[1]) for key, item in pairs)
    if kind in (int, float):  # and none of a size that NumPy does not know
        number = isinstance(value, int | kind) and not isinstance(value, bool)
        return number and (isinstance(value, float) or -(2**63) <= value < 2**63)
    if not isinstance(value, kind):
        return False
    parts = _kinds_of(kind) if issubclass(kind, Spec) else {}
    return all(_fits(getattr(value, name), parts[name]) for name in parts)


def write_artifact(path: Path, model: keras.Model, record: Record) -> None:
    """Save a network and its record as one file: the whole of it, or the old file stays.

    Args:
        path: Ends in `.keras`.
        model: Built-in layers only; takes RGB 0-255, gives the probability of the positive class.
        record: What travels with it.

    Raises:
        ArtifactError: The name does not end in `.keras`, or the file cannot be written.
    """
    if path.suffix != ".keras":
        raise ArtifactError(
            f"a classifier is saved as a file that ends in .keras, got {printable(path)}"
        )
    text = json.dumps({"format_version": FORMAT_VERSION, **record.to_config()}, indent=1)
    try:
        with replacing(path) as partial:
            model.save(partial)
            with zipfile.ZipFile(partial, "a", zipfile.ZIP_DEFLATED) as archive:
                archive.writestr(RECORD_NAME, text)
    except OSError as error:
        raise ArtifactError(
            f"cannot write {printable(path)}: {error.strerror or error}. "
            "What was there before is untouched; choose a folder that exists and can be written."
        ) from error


def read_artifact(path: Path) -> tuple[keras.Model, Record]:
    """Load what `write_artifact` saved, without running anything that the file brings along.

    Raises:
        ArtifactError: It is no such file, is damaged, comes from a newer tlkit, or asks for code.
    """
    record, config, weight_bytes = _checked_contents(path)
    for class_name, module in _outside_classes(config):
        raise ArtifactError(
            f"{printable(path)} asks for {class_name!r} of {module!r}, which could run code of the file's "
            "author, so it is not loaded. A class of your own that you trust is loaded once you have "
            "imported it and registered it with keras.saving.register_keras_serializable; a Lambda never."
        )
    import keras

    try:
        _check_size(config, weight_bytes)
        model = keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:
        raise ArtifactError(
            f"Keras {keras.__version__} cannot load {printable(path)} (saved with Keras "
            f"{record.versions.get('keras', 'unknown')}): {_first_line(error)}"
        ) from error
    shapes = model.input_shape, model.output_shape
    if shapes != ((None, *record.image_size, 3), (None, 1)):
        raise ArtifactError(
            f"{printable(path)} holds a network from {shapes[0]} to {shapes[1]}, which is not what its "
            f"{RECORD_NAME} describes: pictures of {record.image_size} to one probability"
        )
    return model, record


def _check_size(config: Any, weight_bytes: int) -> None:
    """Refuse a network with more numbers than its weights can hold, before memory is taken for them."""
    import keras

    def count() -> int:
        with keras.StatelessScope(initialize_variables=False):
            model = keras.saving.deserialize_keras_object(config, safe_mode=True)
        return int(model.count_params())

    # Keras lists variables without room, to make it later, for each thread: that list must end here.
    with ThreadPoolExecutor(1) as thread:
        parameters = thread.submit(count).result()
    if parameters > weight_bytes:  # each takes a byte at least
        raise SettingError(
            f"its network has {parameters:,} parameters, for which {weight_bytes:,} bytes of weights "
            "cannot be enough"
        )


def read_record(path: Path) -> Record:
    """Read `tlkit.json` out of a saved classifier, without Keras.

    Raises:
        ArtifactError: As in `read_artifact`.
    """
    return _checked_contents(path)[0]


def _checked_contents(path: Path) -> tuple[Record, Any, int]:
    """Return the record, the network's config and the size of its weights, of a file that is whole."""
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise ArtifactError(
            f"{printable(path)} {what}: name a file that TransferClassifier.save wrote"
        )
    try:
        with zipfile.ZipFile(path) as archive:
            sizes = {entry.filename: entry.file_size for entry in archive.infolist()}
            fault = _fault(archive, sizes, at_most=_EXPANSION * path.stat().st_size)
            record, config = (
                (None, None)
                if fault
                else (json.loads(archive.read(name)) for name in (RECORD_NAME, "config.json"))
            )
    except (
        Exception
    ) as error:  # zipfile, zlib and json raise many kinds for files that are not theirs
        raise ArtifactError(
            f"{printable(path)} is not a saved tlkit classifier, or only a part of one: "
            f"{_first_line(error)}"
        ) from error
    if fault:
        raise ArtifactError(f"{printable(path)} {fault}")
    return _record(path, record), config, sizes.get("model.weights.h5", 0)


def _fault(archive: zipfile.ZipFile, sizes: Mapping[str, int], *, at_most: int) -> str | None:
    """Return what is wrong with the container, or None."""
    if "config.json" not in sizes:
        return "is not a saved tlkit classifier: it holds no network"
    if RECORD_NAME not in sizes:
        return (
            f"is a Keras model, but no tlkit classifier: without {RECORD_NAME} its classes are unknown. Give "
            "what TransferClassifier.save or `tlkit train` wrote; saving it again with plain Keras loses them"
        )
    if max(sizes[RECORD_NAME], sizes["config.json"]) > _LIMIT:
        return f"is damaged: its description takes more than {_LIMIT >> 20} MiB"
    if sum(entry.file_size for entry in archive.infolist()) > at_most:
        return f"is damaged: it would unpack to more than {_EXPANSION} times its size"
    damaged = archive.testzip()
    return f"is damaged: {printable(damaged)} is not what was written" if damaged else None


def _record(path: Path, contents: Any) -> Record:
    version = contents.pop("format_version", None) if isinstance(contents, dict) else None
    if type(version) is not int or version < 1:
        raise ArtifactError(
            f"{printable(path)} is damaged: its {RECORD_NAME} has no format_version"
        )
    if version > FORMAT_VERSION:
        raise ArtifactError(
            f"{printable(path)} has format version {version}, this tlkit reads up to {FORMAT_VERSION}: "
            "update tlkit (pip install --upgrade tlkit)"
        )
    for migrate in _MIGRATIONS[version - 1 :]:
        contents = migrate(contents)
    try:
        return Record.from_config(contents)
    except Exception as error:  # nothing in it need be of the kind that is expected there
        raise ArtifactError(
            f"the {RECORD_NAME} of {printable(path)} is damaged: {_first_line(error)}"
        ) from error


_MIGRATIONS: tuple[Callable[[dict[str, Any]], dict[str, Any]], ...] = ()
"""`_MIGRATIONS[n - 1]` turns the contents of format version n into those of n + 1."""


def _outside_classes(config: Any) -> Iterator[tuple[str, str]]:
    """Yield class and module of everything in a network's config that Keras does not bring itself."""
    waiting = [config]  # not by recursion, for it may be nested deeper than Python can go
    while waiting:
        value = waiting.pop()
        if isinstance(value, list):
            waiting += value
        if not isinstance(value, dict):
            continue
        waiting += value.values()
        name, module = value.get("class_name"), value.get("module")
        own = module is None or str(module).split(".")[0] in ("keras", "builtins")
        known = own or _is_registered(value.get("registered_name"))
        if name is not None and (name == "Lambda" or not known):
            yield str(name), str(module)


def _is_registered(name: object) -> bool:
    import keras

    return isinstance(name, str) and keras.saving.get_registered_object(name) is not None


def _first_line(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    kind = "" if isinstance(error, SettingError) else f"{type(error).__name__}: "
    return f"{kind}{lines[0].strip()[:300]}" if lines else type(error).__name__
