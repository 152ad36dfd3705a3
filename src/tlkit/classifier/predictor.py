"""From images to logits: files are decoded ahead, and the engine is the one that pays for the job."""

from __future__ import annotations

import os
import reprlib
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice, tee
from threading import RLock
from typing import TYPE_CHECKING, Any, TypeAlias, cast, final

import numpy as np
import numpy.typing as npt

from tlkit.backbones.adoption import copied, digest
from tlkit.backbones.engines import BATCH_SIZE, Engine, TensorFlowEngine
from tlkit.backbones.onnx_engine import SAMPLE_SIZE, fast_engine
from tlkit.classifier.artifact import weights_digest
from tlkit.core.forks import refuse_after_fork
from tlkit.core.rows import Images
from tlkit.errors import SettingError, TlkitError, TlkitWarning
from tlkit.evaluation.familiarity import Familiarity
from tlkit.images.decoder import BadFile
from tlkit.images.loader import read_batches, read_pixels
from tlkit.images.reader import ValueRange
from tlkit.images.resizing import Resize

if TYPE_CHECKING:
    import keras

Floats: TypeAlias = npt.NDArray[np.float64]
Floats32: TypeAlias = npt.NDArray[np.float32]
PathLike: TypeAlias = str | os.PathLike[str]


class Predictor(ABC):
    """What gives the logit of images: threads may share it, and so may classifiers.

    Attributes:
        familiarity: Reference features, to tell how unlike the training images others are; None without.
    """

    familiarity: Familiarity | None

    @property
    @abstractmethod
    def model(self) -> keras.Model:
        """The Keras model.

        Raises:
            ArtifactError: There is none.
        """

    @property
    @abstractmethod
    def network(self) -> keras.Model:
        """The Keras model that is computed with, for those who only read it.

        Raises:
            ArtifactError: There is none.
        """

    @abstractmethod
    def digest(self) -> str:
        """Return hex digits that identify the network."""

    @abstractmethod
    def identity(self) -> str:
        """Return hex digits that stand for what it computes: the same for two runs that came to the same."""

    @abstractmethod
    def _batches(
        self, images: Images, count: int
    ) -> Callable[[Images], tuple[Floats, Floats32 | None]]:
        """Return what answers for batches of images like these, `count` in all.

        Of each batch it gives the logits, float64 `[B]`, and the features that the references are compared
        with, float32 `[B, D]`; None where there are no references.
        """

    def answers(
        self, images: Images, count: int | None = None
    ) -> tuple[Floats, list[float] | list[None]]:
        """Return the logit of each image, float64 `[N]`, and its familiarity, from one pass.

        Args:
            images: uint8 `[N, H, W, 3]`, of the network's size.
            count: How many there are in all, where these are only some: decides which engine pays. Only the
                first call is asked, so that an image gives the same logit whatever was predicted before.
        """
        if not len(images):
            return np.empty(0), []
        run = self._batches(images, count or len(images))
        starts = range(0, len(images), BATCH_SIZE)
        found = [run(images[start : start + BATCH_SIZE]) for start in starts]
        logits = np.concatenate([logits for logits, _ in found])
        if self.familiarity is None:
            return logits, [None] * len(logits)
        features = np.concatenate([rows for _, rows in found if rows is not None])
        return logits, self.familiarity.p_values(features).tolist()

    def logits(self, images: Images, count: int | None = None) -> Floats:
        """Return the logits of `answers` alone."""
        return self.answers(images, count)[0]

    def outcomes(
        self,
        paths: Iterable[PathLike],
        image_size: tuple[int, int],
        count: int,
        *,
        value_range: ValueRange = None,
        resize: Resize = "stretch",
    ) -> Iterator[tuple[PathLike, tuple[float, float | None] | BadFile]]:
        """Yield each file with its logit and familiarity, or with what is wrong with it, in the order given.

        Args:
            paths: The files; taken as they are needed, some hundred ahead.
            image_size: Height and width of the network's images, in pixels.
            count: How many files there are in all: decides which engine pays.
            value_range: As in `read_image`.
            resize: As in `read_image`.
        """
        names, waiting = tee(paths)
        files = (os.fspath(path) for path in waiting)
        decoded = read_batches(
            files,
            image_size,
            BATCH_SIZE,
            value_range=value_range,
            resize=resize,
            read_many=read_pixels,
        )
        for _, pixels, found in decoded:
            logits, familiarities = self.answers(pixels, count)
            answers = zip(logits.tolist(), familiarities, strict=True)
            for path, outcome in zip(islice(names, len(found)), found, strict=True):
                yield path, outcome if isinstance(outcome, BadFile) else next(answers)


@final
class NetworkPredictor(Predictor):
    """A Keras model with the engine that was built for it.

    Its weights never change. Others may hold the same Keras model and train it: that is noticed, and what
    is computed, saved or exported here goes on with the weights of the beginning.

    Args:
        model: As `TransferClassifier` takes it.
        familiarity: Reference features of what its last stage gives; None without.
    """

    def __init__(
        self,
        model: keras.Model | Callable[[], keras.Model],
        familiarity: Familiarity | None = None,
    ) -> None:
        from tlkit.core.tensorflow import keras

        self.familiarity = familiarity
        self._build = model
        self._network: Any = None
        self._shared: keras.Model | None = None
        self._weights: list[npt.NDArray[Any]] = []  # of the network, while others hold it
        self._engine: Engine | None = None
        self._lock = RLock()  # whoever chooses an engine asks for the network too
        if isinstance(model, keras.Model):
            self._network = model
            self._share(model)

    def __reduce__(
        self,
    ) -> tuple[Callable[..., NetworkPredictor], tuple[keras.Model, Familiarity | None]]:
        """Copy and pickle without the engine, whose threads belong to this process."""
        return owner_of, (self.network, self.familiarity)

    @property
    def network(self) -> keras.Model:
        """The network for those who only read it, built at the first use.

        Raises:
            TlkitError: This process was forked from one in which TensorFlow was already in use; or the
                network was rebuilt in place by others.
        """
        refuse_after_fork()
        with self._lock:
            if self._network is None:
                self._network = self._build()
            if self._network is self._shared:
                self._network = self._unchanged(self._network)
            return self._network

    @property
    def model(self) -> keras.Model:
        """The network to give away: always the same one, whatever its holder makes of it."""
        refuse_after_fork()
        with self._lock:
            return self._share(self.network) if self._shared is None else self._shared

    def digest(self) -> str:
        """Return hex digits that identify the network: its config and its weights."""
        from tlkit.core.tensorflow import keras

        return digest(keras.saving.serialize_keras_object(self.network), self.network)

    def identity(self) -> str:
        """Return hex digits that stand for its weights."""
        return weights_digest(self.network)

    def _batches(
        self, images: Images, count: int
    ) -> Callable[[Images], tuple[Floats, Floats32 | None]]:
        refuse_after_fork()
        engine = self._engine_for(count, images[:SAMPLE_SIZE])
        known = self.familiarity

        def answer(batch: Images) -> tuple[Floats, Floats32 | None]:
            logits, *features = engine(batch)
            of_last = None if known is None else known.of_last(features[0])
            return logits[:, 0].astype(np.float64), of_last

        return answer

    def _engine_for(self, count: int, sample: Images) -> Engine:
        """Return what computes logits, chosen by the first job."""
        with self._lock:
            if self._engine is None:
                from tlkit.core.tensorflow import keras

                network = self.network
                layer = network.get_layer("logit")
                outputs = [layer.output, *([layer.input] if self.familiarity else [])]
                wanted = keras.Model(network.inputs, outputs)
                facts = ("logit", *(["features"] if self.familiarity else []))
                fast = fast_engine(
                    lambda: (*facts, self.digest()), count, lambda: wanted, lambda: sample
                )
                self._engine = fast or TensorFlowEngine(wanted)
            return self._engine

    def _unchanged(self, network: keras.Model) -> keras.Model:
        """Return a network that others hold, or a copy as it was if they have changed it."""
        now, before = network.get_weights(), self._weights
        if [value.shape for value in now] != [value.shape for value in before]:
            raise TlkitError(
                "`classifier.model` was rebuilt in place (quantized, say), so that nothing is left of the "
                "network that was measured: load the classifier again, and change a copy of its model"
            )
        same = all(map(np.array_equal, now, before))
        if same and not network.compiled:
            return network
        if not same:
            warnings.warn(
                "the weights of `classifier.model` were changed after it was given away: predictions, "
                "`save`, exports and explanations go on with those that were measured. What was trained "
                "further is a model of its own: save it with `classifier.model.save`, or train it as the "
                "backbone of another classifier",
                TlkitWarning,
                stacklevel=4,
            )
        self._weights = []
        return _copy_with(network, before)

    def _share(self, network: keras.Model) -> keras.Model:
        """Note that others hold the network, and what its weights are."""
        self._shared, self._weights = network, network.get_weights()
        return network


def owner_of(model: keras.Model, familiarity: Familiarity | None = None) -> NetworkPredictor:
    """Return a predictor with a network that nobody else holds."""
    return NetworkPredictor(lambda: model, familiarity)


def _copy_with(network: keras.Model, weights: list[npt.NDArray[Any]]) -> keras.Model:
    """Return a copy with these weights, of variables that no strategy has mirrored to its devices."""
    with ThreadPoolExecutor(1) as outside:  # a strategy's scope ends where its thread does
        copy = outside.submit(copied, network).result()
    copy.set_weights(weights)
    return copy


def files_of(images: object) -> list[PathLike]:
    """Return files as a list, after checking that they are files.

    Raises:
        SettingError: One of them is not.
    """
    several = isinstance(images, Iterable) and not isinstance(images, bytes)
    files: list[PathLike] = []
    for file in cast("Iterable[Any]", images if several else [images]):
        path = os.fspath(file) if isinstance(file, str | os.PathLike) else None
        if not isinstance(path, str):
            raise SettingError(
                "`images` must be a file name, several of them, or a NumPy array [N, H, W, 3], "
                f"got {reprlib.repr(file)} ({type(file).__name__})"
            )
        files.append(file)
    return files
