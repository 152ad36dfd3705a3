"""From images to logits: files are decoded ahead, and the engine is the one that pays for the job."""

from __future__ import annotations

import os
import reprlib
from collections.abc import Callable, Iterable, Iterator
from itertools import tee
from threading import RLock
from typing import TYPE_CHECKING, Any, TypeAlias, cast, final

import numpy as np
import numpy.typing as npt

from tlkit.backbones.adoption import digest
from tlkit.backbones.engines import BATCH_SIZE, Engine, TensorFlowEngine
from tlkit.backbones.onnx_engine import SAMPLE_SIZE, OnnxEngine, fast_engine
from tlkit.core.rows import Images
from tlkit.errors import SettingError
from tlkit.images.decoder import BadFile
from tlkit.images.loader import batched, read_images
from tlkit.images.reader import ValueRange

if TYPE_CHECKING:
    import keras

Floats: TypeAlias = npt.NDArray[np.float64]
PathLike: TypeAlias = str | os.PathLike[str]


@final
class Predictor:
    """A network with the engine that was built for it: threads may share it, and so may classifiers.

    Args:
        model: As `TransferClassifier` takes it.
    """

    def __init__(self, model: keras.Model | Callable[[], keras.Model]) -> None:
        self._model = model
        self._engine: Engine | None = None
        self._largest_job = 0
        self._lock = RLock()  # whoever chooses an engine asks for the model too

    @property
    def model(self) -> keras.Model:
        """The network, built at the first use."""
        import keras

        with self._lock:
            if not isinstance(self._model, keras.Model):
                self._model = self._model()
            return self._model

    def logits(self, images: Images, count: int | None = None) -> Floats:
        """Return the logit of each image, float64 `[N]`.

        Args:
            images: uint8 `[N, H, W, 3]`, of the network's size.
            count: How many there are in all, where these are only some: decides which engine pays.
        """
        if not len(images):
            return np.empty(0)
        engine = self._engine_for(count or len(images), images[:SAMPLE_SIZE])
        starts = range(0, len(images), BATCH_SIZE)
        outputs = [engine(images[start : start + BATCH_SIZE])[0] for start in starts]
        return np.concatenate(outputs)[:, 0].astype(np.float64)

    def outcomes(
        self,
        paths: Iterable[PathLike],
        image_size: tuple[int, int],
        count: int,
        *,
        value_range: ValueRange = None,
    ) -> Iterator[tuple[PathLike, float | BadFile]]:
        """Yield each file with its logit, or with what is wrong with it, in the order given.

        Args:
            paths: The files; taken as they are needed, some hundred ahead.
            image_size: Height and width of the network's images, in pixels.
            count: How many files there are in all: decides which engine pays.
            value_range: As in `read_image`.
        """
        names, waiting = tee(paths)
        files = (os.fspath(path) for path in waiting)
        decoded = read_images(files, image_size, value_range=value_range)
        for images, found in batched(decoded, image_size, BATCH_SIZE):
            logits = iter(self.logits(images, count))
            for outcome, path in zip(found, names, strict=False):  # in this order: no name is lost
                yield path, outcome if isinstance(outcome, BadFile) else float(next(logits))

    def _engine_for(self, count: int, sample: Images) -> Engine:
        """Return what computes logits; before a much larger job TensorFlow may be given up for it."""
        with self._lock:
            grown = count > 2 * self._largest_job and not isinstance(self._engine, OnnxEngine)
            if self._engine is None or grown:
                import keras

                self._largest_job = count
                model = self.model
                logits = keras.Model(model.inputs, model.get_layer("logit").output)
                fast = fast_engine(lambda: _facts(model), count, lambda: logits, lambda: sample)
                self._engine = fast or self._engine or TensorFlowEngine(logits)
            return self._engine


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
