"""An exported folder as a classifier: its network in its own runtime, its card from `tlkit.json`.

Nothing here imports TensorFlow or Keras. What needs the network itself says so.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from threading import Lock
from typing import Any, Final, NoReturn, final

import numpy as np

from tlkit.classifier.artifact import LIMIT, RECORD_NAME, first_line, parsed
from tlkit.classifier.card import ModelCard
from tlkit.classifier.predictor import Floats, Floats32, Predictor
from tlkit.classifier.runtimes import FEATURES, LOGIT, RUNTIMES, Run
from tlkit.core.rows import Images
from tlkit.errors import ArtifactError, printable
from tlkit.evaluation.familiarity import Familiarity

FAMILIARITY_FILE: Final = "familiarity.npz"
"""Reference features in an exported folder whose network gives features."""

EXPORT_VERSION: Final = 2
"""Of an export's `tlkit.json`: raised when it changes so that programs written for the old one fail.

1: one output, the probability; no scores. 2: a logit beside it, and all that a `ModelCard` holds.
"""


@final
class ExportedPredictor(Predictor):
    """An exported network, run by its own runtime.

    Args:
        format: A name of `RUNTIMES`.
        network: What is in its file. It is held, for the file may be another one by the time that a fork, a
            copy or a pickle needs it.
        least: Where it gives no logit: what its probability of 0 counts as, and 1 less this for 1. Half a
            step between its probabilities.
        familiarity: Reference features, for a network that gives features too.
        name: What an error calls it.

    Raises:
        ArtifactError: The runtime cannot run it.
        MissingExtraError: The runtime is not installed.
    """

    def __init__(
        self,
        format: str,  # noqa: A002 - as in `export`
        network: bytes,
        least: float,
        familiarity: Familiarity | None = None,
        *,
        name: str = "the network",
    ) -> None:
        self._given = format, network, least
        self.familiarity = familiarity
        self._lock = Lock()
        self._start(name)

    def _start(self, shown: str) -> None:
        name, network, _ = self._given
        runtime = RUNTIMES[name]
        runtime.check()
        try:
            self.run: Run = runtime.load(network)
        except Exception as error:  # runtimes raise anything
            raise ArtifactError(
                f"{runtime.distribution} cannot run {shown}: {first_line(error)}"
            ) from error
        self._process = os.getpid()

    def __reduce__(
        self,
    ) -> tuple[type[ExportedPredictor], tuple[str, bytes, float, Familiarity | None]]:
        """Copy and pickle the network itself: where it goes there need be no such folder."""
        return ExportedPredictor, (*self._given, self.familiarity)

    @property
    def model(self) -> NoReturn:
        """None.

        Raises:
            ArtifactError: Always.
        """
        raise lacking("Keras model")

    @property
    def network(self) -> NoReturn:
        """None.

        Raises:
            ArtifactError: Always.
        """
        raise lacking("Keras model")

    def identity(self) -> str:
        """Return hex digits that stand for its file."""
        return self.digest()

    def digest(self) -> str:
        """Return hex digits that identify the network: its file."""
        return hashlib.sha256(self._given[1]).hexdigest()

    def _batches(
        self, _images: Images, _count: int
    ) -> Callable[[Images], tuple[Floats, Floats32 | None]]:
        with self._lock:
            if self._process != os.getpid():  # a fork, which the threads did not come along with
                self._start("the network")
        return self._answer

    def _answer(self, images: Images) -> tuple[Floats, Floats32 | None]:
        outputs = self.run(images)
        features = None if self.familiarity is None else outputs[FEATURES].astype(np.float32)
        if LOGIT in outputs:
            return outputs[LOGIT][:, 0], features
        least = self._given[2]
        (probabilities,) = outputs.values()
        probabilities = np.clip(probabilities[:, 0], least, 1 - least)
        logits: Floats = np.log(probabilities / (1 - probabilities))
        return logits, features


def lacking(
    what: str, advice: str = "load the .keras file that it was exported from"
) -> ArtifactError:
    """Return the error of what an exported folder does not hold."""
    return ArtifactError(
        f"this classifier was loaded from an exported folder, which predicts but holds no {what}: {advice}"
    )


def lacking_metrics() -> ArtifactError:
    """Return the error of a folder that was exported before such folders held metrics."""
    return lacking(
        "metrics and no scores to choose a threshold on (its format version is 1)",
        "export the classifier anew with this tlkit, or load its .keras file",
    )


def read_export(folder: Path) -> tuple[ExportedPredictor, ModelCard]:
    """Read a folder that `export` wrote, without TensorFlow.

    Raises:
        ArtifactError: It is no such folder, is damaged, is of a format that needs TensorFlow, or comes from a
            newer tlkit.
        MissingExtraError: Its runtime is not installed.
    """
    contents = _contents(folder)
    name, version = contents.get("format"), contents.get("format_version")
    if type(version) is not int or version < 1:
        raise ArtifactError(
            f"{printable(folder)} is damaged: its {RECORD_NAME} has no format_version"
        )
    if version > EXPORT_VERSION:
        raise ArtifactError(
            f"{printable(folder)} has format version {version}, this tlkit reads up to {EXPORT_VERSION}: "
            "update tlkit (pip install --upgrade tlkit)"
        )
    if not isinstance(name, str) or name not in RUNTIMES:
        raise ArtifactError(
            f"{printable(folder)} holds the format {name!r}; what runs without TensorFlow is "
            f"{' or '.join(RUNTIMES)}: load the .keras file, or export it anew"
        )
    try:
        card = ModelCard.from_config(_card_config(contents))
    except Exception as error:  # nothing in it need be of the kind that is expected there
        raise ArtifactError(
            f"the {RECORD_NAME} of {printable(folder)} is damaged: {first_line(error)}"
        ) from error
    least = 2.0**-9 if contents.get("precision") == "int8" else 2.0**-25
    file = folder / RUNTIMES[name].file
    try:
        network = file.read_bytes()
    except OSError as error:
        raise ArtifactError(f"cannot run {printable(file)}: {first_line(error)}") from error
    known = _familiarity(folder)
    predictor = ExportedPredictor(name, network, least, known, name=printable(file))
    if known and FEATURES not in predictor.run.outputs:
        raise ArtifactError(
            f"{printable(folder)} holds {FAMILIARITY_FILE}, but its network gives no features"
        )
    _check_network(folder, predictor.run, card, version)
    return predictor, card


def _familiarity(folder: Path) -> Familiarity | None:
    """Return the reference features of a folder; None without."""
    file = folder / FAMILIARITY_FILE
    if not file.is_file():
        return None
    try:
        return Familiarity.from_bytes(file.read_bytes())
    except Exception as error:  # nothing in it need be of the kind that is expected there
        raise ArtifactError(f"{printable(file)} is damaged: {first_line(error)}") from error


def _contents(folder: Path) -> dict[str, Any]:
    file = folder / RECORD_NAME
    try:
        if file.stat().st_size > LIMIT:
            raise ArtifactError(
                f"{printable(file)} is damaged: it takes more than {LIMIT >> 20} MiB"
            )
        contents = parsed(file.read_bytes())
    except FileNotFoundError as error:
        raise ArtifactError(
            f"{printable(folder)} is a folder without {RECORD_NAME}: name a file that "
            "TransferClassifier.save wrote, or a folder that `export` made"
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        raise ArtifactError(f"{printable(file)} cannot be read: {first_line(error)}") from error
    if not isinstance(contents, dict):
        raise ArtifactError(f"{printable(file)} is damaged: it is no JSON object")
    return contents


def _card_config(contents: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `ModelCard` reads: the other entries are for programs without tlkit."""
    names = [field.name for field in fields(ModelCard)]
    config = {name: contents[name] for name in names if name in contents}
    return {"class_names": contents.get("labels"), **config}


def _check_network(folder: Path, run: Run, card: ModelCard, version: int) -> None:
    """Refuse a network that is not what the card describes."""
    fits = LOGIT in run.outputs if version > 1 else len(run.outputs) == 1
    if run.image_size != card.image_size or not fits:
        raise ArtifactError(
            f"{printable(folder)} holds a network from images of {run.image_size} to "
            f"{', '.join(run.outputs)}, which is not what its {RECORD_NAME} describes"
        )
