"""From images to logits: files are decoded ahead, and the engine is the one that pays for the job."""

from __future__ import annotations

import os
import reprlib
import warnings
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
from tlkit.core.forks import refuse_after_fork
from tlkit.core.rows import Images
from tlkit.errors import SettingError, TlkitError, TlkitWarning
from tlkit.images.decoder import BadFile
from tlkit.images.loader import read_images

if TYPE_CHECKING:
    import keras

Floats: TypeAlias = npt.NDArray[np.float64]
PathLike: TypeAlias = str | os.PathLike[str]


@final
class Predictor:
    """A network with the engine that was built for it: threads may share it, and so may classifiers.

    Its weights never change. Others may hold the same Keras model and train it: they are noticed, and what
    is computed, saved or exported here goes on with the weights of the beginning.

    Args:
        model: As `TransferClassifier` takes it.
    """

    def __init__(self, model: keras.Model | Callable[[], keras.Model]) -> None:
        import keras

        self._build = model
        self._network: Any = None
        self._shared: keras.Model | None = None
        self._weights: list[npt.NDArray[Any]] = []  # of the network, while others hold it
        self._engine: Engine | None = None
        self._lock = RLock()  # whoever chooses an engine asks for the network too
        if isinstance(model, keras.Model):
            self._network = model
            self._share(model)

    @property
    def network(self) -> keras.Model:
        """The network for those who only read it, built at the first use."""
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
        with self._lock:
            return self._share(self.network) if self._shared is None else self._shared

    def logits(self, images: Images, count: int | None = None) -> Floats:
        """Return the logit of each image, float64 `[N]`.

        Args:
            images: uint8 `[N, H, W, 3]`, of the network's size.
            count: How many there are in all, where these are only some: decides which engine pays. Only the
                first call is asked, so that an image gives the same logit whatever was predicted before.
        """
        refuse_after_fork()
        if not len(images):
            return np.empty(0)
        engine = self._engine_for(count or len(images), images[:SAMPLE_SIZE])
        starts = range(0, len(images), BATCH_SIZE)
        outputs = [engine(images[start : start + BATCH_SIZE])[0] for start in starts]
        return np.concatenate(outputs)[:, 0].astype(np.float64)

    def outcomes(
        self, paths: Iterable[PathLike], image_size: tuple[int, int], count: int
    ) -> Iterator[tuple[PathLike, float | BadFile]]:
        """Yield each file with its logit, or with what is wrong with it, in the order given.

        Args:
            paths: The files; taken as they are needed, some hundred ahead.
            image_size: Height and width of the network's images, in pixels.
            count: How many files there are in all: decides which engine pays.
        """
        names, waiting = tee(paths)
        files = (os.fspath(path) for path in waiting)
        decoded = zip(names, read_images(files, image_size), strict=True)
        while batch := list(islice(decoded, BATCH_SIZE)):
            pixels = [found[0] for _, found in batch if not isinstance(found, BadFile)]
            logits = iter(self.logits(np.stack(pixels), count) if pixels else ())
            for path, found in batch:
                yield path, found if isinstance(found, BadFile) else float(next(logits))

    def _engine_for(self, count: int, sample: Images) -> Engine:
        """Return what computes logits, chosen by the first job."""
        with self._lock:
            if self._engine is None:
                import keras

                network = self.network
                logits = keras.Model(network.inputs, network.get_layer("logit").output)
                fast = fast_engine(lambda: _facts(network), count, lambda: logits, lambda: sample)
                self._engine = fast or TensorFlowEngine(logits)
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


def _copy_with(network: keras.Model, weights: list[npt.NDArray[Any]]) -> keras.Model:
    """Return a copy with these weights, of variables that no strategy has mirrored to its devices."""
    with ThreadPoolExecutor(1) as outside:  # a strategy's scope ends where its thread does
        copy = outside.submit(copied, network).result()
    copy.set_weights(weights)
    return copy


def _facts(model: keras.Model) -> tuple[str, ...]:
    import keras

    return ("logit", digest(keras.saving.serialize_keras_object(model), model))


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
