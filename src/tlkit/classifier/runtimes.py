"""What runs an exported network without TensorFlow: ONNX Runtime and LiteRT.

Both take a file or its bytes, say what comes out by name, and let threads share them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, Protocol, TypeAlias, final

import numpy as np
import numpy.typing as npt

from tlkit.backbones.engines import in_shares, workers
from tlkit.core.rows import Images
from tlkit.errors import MissingExtraError

Floats: TypeAlias = npt.NDArray[np.float64]

INPUT: Final = "images"
"""What every export calls its input."""

PROBABILITY: Final = "probability"
LOGIT: Final = "logit"
"""What every export calls its two outputs; those of the first format have one, with any name."""

FEATURES: Final = "features"
"""A third output where familiarity is exported too: what the last stage gives, `[N, D]`."""

_AT_ONCE: Final = 4  # images in a share, as `OnnxEngine` has it


class Run(Protocol):
    """An exported network as a function of images, with the size of these and the names of its outputs."""

    image_size: tuple[int, ...]
    outputs: tuple[str, ...]

    def __call__(self, images: Images) -> Mapping[str, Floats]:
        """Return every output for `images` (uint8 `[B, H, W, 3]`), float64 `[B, D]`, by its name."""
        ...


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """A runtime of exported networks.

    Attributes:
        title: What people call the format.
        file: The network's name in an exported folder.
        module: What Python imports.
        distribution: What pip installs.
        load: Makes ready to run a network: its file, or what is in it.
    """

    title: str
    file: str
    module: str
    distribution: str
    load: Callable[[Path | bytes], Run]

    def check(self) -> None:
        """Raise unless it is installed.

        Raises:
            MissingExtraError: It is not.
        """
        if not find_spec(self.module):
            raise MissingExtraError(
                f"to run an export of the format {self.title} needs {self.distribution}, which is not "
                f"installed: pip install {self.distribution}"
            )


@final
class _Onnx:
    """A network that ONNX Runtime runs, a few images in each thread."""

    def __init__(self, network: Path | bytes) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1  # each share has a thread of its own
        self._session: Any = onnxruntime.InferenceSession(
            network, options, providers=["CPUExecutionProvider"]
        )
        (taken,) = self._session.get_inputs()
        self._input: str = taken.name
        self.image_size = tuple(taken.shape[1:3])
        self.outputs = tuple(output.name for output in self._session.get_outputs())
        self._threads = workers()

    def __call__(self, images: Images) -> Mapping[str, Floats]:
        return _by_name(self.outputs, self._run, images, _AT_ONCE, self._threads)

    def _run(self, images: Images) -> list[npt.NDArray[np.float32]]:
        given: list[npt.NDArray[np.float32]] = self._session.run(
            self.outputs, {self._input: images.astype(np.float32)}
        )
        return given


@final
class _LiteRt:
    """A network that LiteRT runs, one image at a time in each thread, which has an interpreter of its own."""

    def __init__(self, network: Path | bytes) -> None:
        self._content = network if isinstance(network, bytes) else network.read_bytes()
        self._threads = workers()
        first = self._interpreter()
        ((self._input, taken),) = first.get_input_details().items()
        self.image_size = tuple(taken["shape"][1:3].tolist())
        self.outputs = tuple(first.get_output_details())
        self._idle = [first]
        self._run(np.zeros(taken["shape"], np.uint8))  # it logs when it is first used: now

    def __call__(self, images: Images) -> Mapping[str, Floats]:
        return _by_name(self.outputs, self._run, images, 1, self._threads)

    def _run(self, images: Images) -> list[npt.NDArray[np.float32]]:
        try:
            runner = self._idle.pop()
        except IndexError:  # all of them are at work
            runner = self._interpreter()
        given = runner(**{self._input: images.astype(np.float32)})
        self._idle.append(runner)
        return [given[name] for name in self.outputs]

    def _interpreter(self) -> Any:
        from ai_edge_litert.interpreter import Interpreter

        return Interpreter(model_content=self._content, num_threads=1).get_signature_runner()


def _by_name(
    names: tuple[str, ...],
    run: Callable[[Images], list[npt.NDArray[np.float32]]],
    images: Images,
    at_once: int,
    threads: ThreadPoolExecutor,
) -> Mapping[str, Floats]:
    outputs = in_shares(run, images, at_once, threads)
    return {name: output.astype(np.float64) for name, output in zip(names, outputs, strict=True)}


RUNTIMES: Final[Mapping[str, Runtime]] = {
    "litert": Runtime(
        title="LiteRT",
        file="model.tflite",
        module="ai_edge_litert",
        distribution="ai-edge-litert",
        load=_LiteRt,
    ),
    "onnx": Runtime(
        title="ONNX",
        file="model.onnx",
        module="onnxruntime",
        distribution="onnxruntime",
        load=_Onnx,
    ),
}
"""By the name of the format."""
