"""Run a frozen network on batches of images: uint8 in, float32 out.

One interface, so that what lies above need not know what computes. TensorFlow is always there.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, Protocol
from weakref import WeakValueDictionary

import numpy as np
import numpy.typing as npt

from tlkit.core.forks import refuse_after_fork
from tlkit.core.machine import cpu_count
from tlkit.core.rows import Images

if TYPE_CHECKING:
    import keras


Outputs = tuple[npt.NDArray[np.generic], ...]

_AT_ONCE = 8
"""Images in a share. On two cores 8 took a fifth less time than 32 at once, 4 no less than 8."""

_FOLDED_AT_MOST = 32 * 2**20
"""Bytes of weights that become constants of the graph. With 23 MiB (EfficientNetV2B0) that saved a quarter of
the time and took 0.5 GB more; with 90 (ResNet50V2) it saved 15 % and took 5 s and 2.2 GB more."""

BATCH_SIZE = 32
"""Images per call. Between 16 and 64 the speed on a CPU does not differ by more than its noise."""


class Engine(Protocol):
    """A frozen network as a function of images."""

    name: str
    """Goes into the fingerprint of cached features: engines agree to 1e-4, not to the last bit."""

    parameters: int
    """How many numbers the network has."""

    def __call__(self, images: Images) -> Outputs:
        """Return every output for `images` (uint8 `[B, H, W, 3]`), each float32 `[B, …]`."""
        ...


class TensorFlowEngine:
    """The network as one inference graph, traced once for batches of any length.

    The weights of a small network are constants of that graph, so that TensorFlow folds what never changes
    (batch normalisation into convolutions above all), which makes it about half as fast again. Those of a
    large one are handed to it, for folding would take seconds and thirty times their memory.

    Args:
        model: Takes float RGB 0-255 `[B, H, W, 3]`; one or several outputs. Its weights are taken as they
            are now: training the model later does not change what the engine returns.
    """

    name = "tensorflow"

    def __init__(self, model: keras.Model) -> None:
        refuse_after_fork()
        from tlkit.core.tensorflow import tf

        self.parameters: int = model.count_params()
        height, width = model.inputs[0].shape[1:3]
        signature = tf.TensorSpec((None, height, width, 3), tf.uint8)
        weights = [
            [variable.numpy() for variable in variables]
            for variables in (model.trainable_variables, model.non_trainable_variables)
        ]
        if sum(value.nbytes for values in weights for value in values) > _FOLDED_AT_MOST:
            weights = [[tf.constant(value) for value in values] for values in weights]

        def forward(images: object) -> list[object]:
            # Made in here they are the graph's own; tensors from outside are its inputs.
            inside = [[tf.convert_to_tensor(value) for value in values] for values in weights]
            pixels = tf.cast(images, tf.float32)
            outputs, _ = model.stateless_call(*inside, pixels, training=False)
            return [tf.cast(output, tf.float32) for output in tf.nest.flatten(outputs)]

        self._threads = workers()
        self._at_once = BATCH_SIZE if tf.config.list_physical_devices("GPU") else _AT_ONCE
        # Called directly it would count how often it is traced, over all engines, and complain.
        self._forward = tf.function(forward, autograph=False).get_concrete_function(signature)

    def __call__(self, images: Images) -> Outputs:
        """Return every output for `images` (uint8 `[B, H, W, 3]`), each float32 `[B, …]`.

        Raises:
            TlkitError: This process was forked from the one that the engine was made in.
        """
        refuse_after_fork()
        return in_shares(self._run, images, self._at_once, self._threads)

    def _run(self, images: Images) -> list[npt.NDArray[np.float32]]:
        from tlkit.core.tensorflow import tf

        return [output.numpy() for output in self._forward(tf.constant(images))]


_WORKERS: Final[WeakValueDictionary[tuple[int, int], ThreadPoolExecutor]] = WeakValueDictionary()


def workers() -> ThreadPoolExecutor:
    """Return threads for `in_shares`, one a core; they end with the last engine that holds them.

    The engines of a process share them: allocators keep what a network needs for each thread that has run
    it, and five networks with two threads each took 2.5 GB where with the same two threads they take 1.9.
    """
    count = cpu_count()
    made = ThreadPoolExecutor(count, thread_name_prefix="tlkit-engine")  # starts none until used
    return _WORKERS.setdefault((os.getpid(), count), made)  # a fork has no thread of these


def in_shares(
    run: Callable[[Images], Sequence[npt.NDArray[np.float32]]],
    images: Images,
    at_once: int,
    threads: ThreadPoolExecutor,
) -> Outputs:
    """Run a batch in small shares, side by side.

    What a few images need stays in the cache of the core that runs them; all cores on one batch of 32 wait
    for memory instead. An image's numbers are the same in any company, up to the last digit of some sums.

    Args:
        run: The network, as a function of images that several threads may call at once.
        images: uint8 `[B, H, W, 3]`.
        at_once: Images in a share.
        threads: Who runs them.

    Returns:
        Every output, each float32 `[B, …]`.
    """
    starts = range(0, len(images), at_once)
    outputs = threads.map(run, [images[start : start + at_once] for start in starts])
    return tuple(np.concatenate(shares) for shares in zip(*outputs, strict=True))


class ImagesToo:
    """An engine whose last output is the images themselves, uint8: for networks without a useful cut.

    Args:
        engine: Gives the other outputs; None where there are none.
    """

    def __init__(self, engine: Engine | None) -> None:
        self._engine = engine
        self.name = engine.name if engine else TensorFlowEngine.name
        self.parameters = engine.parameters if engine else 0

    def __call__(self, images: Images) -> Outputs:
        """Return the outputs of the engine, and the images."""
        return (*(self._engine(images) if self._engine else ()), images)
