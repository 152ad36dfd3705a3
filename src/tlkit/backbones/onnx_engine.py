"""ONNX Runtime as an engine: on a CPU nearly twice as fast as TensorFlow, with equal numbers.

Converting a network takes seconds, so it is done only for many images, and the graph is kept beside
Keras's weights, named by the fingerprint of network and weights. With it are kept some images and what
TensorFlow made of them: a graph that does not give the same is never used.
"""

from __future__ import annotations

import math
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, final

import numpy as np
import numpy.typing as npt

from tlkit.backbones.engines import Outputs, TensorFlowEngine, in_shares, workers
from tlkit.core.fingerprint import fingerprint
from tlkit.core.forks import refuse_after_fork
from tlkit.core.home import keras_home
from tlkit.core.ignoring import OF_CONVERTERS, ignoring
from tlkit.core.rows import Images
from tlkit.core.spec import check_choice
from tlkit.core.versions import runtime_version
from tlkit.errors import EngineWarning, MissingExtraError, SettingError, printable

if TYPE_CHECKING:
    import keras

VARIABLE: Final = "TLKIT_ENGINE"
"""Environment variable: `auto` (the default), `tensorflow`, or `onnxruntime` however few the images."""

WORTH: Final = 7e11
"""Multiply-adds in all from which a conversion pays: 2,300 images of MobileNetV2 at 224 pixels. There, on
two cores, it cost 4.5 s and saved 1.9 ms an image."""

TOLERANCE: Final = 1e-4
"""How far outputs may differ from TensorFlow's, as a share of the largest number."""

SAMPLE_SIZE: Final = 4
"""Images that the two engines are compared on."""

_AT_ONCE: Final = 4
"""Images in a share. On two cores it took a quarter less time than all threads on 32, and a tenth less than
shares of 8; and the bits do not depend on how many cores there are."""

_KEPT: Final = 16  # graphs; those used longest ago make room


@final
class OnnxEngine:
    """A converted network, run by ONNX Runtime.

    Args:
        folder: Where `_convert` put it.

    Attributes:
        graph: The fingerprint of network, weights and versions.
    """

    name = "onnxruntime"

    def __init__(self, folder: Path) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1  # each share has a thread of its own
        self.graph = folder.name
        self._threads = workers()
        self._session: Any = onnxruntime.InferenceSession(
            folder / "graph.onnx", options, providers=["CPUExecutionProvider"]
        )
        self._input: str = self._session.get_inputs()[0].name
        with np.load(folder / "sample.npz") as sample:
            self.parameters = int(sample["parameters"])
            self._images: Images = sample["images"]
            self._expected = [sample[f"output_{i}"] for i in range(len(sample.files) - 2)]

    def __call__(self, images: Images) -> Outputs:
        """Return every output for `images` (uint8 `[B, H, W, 3]`), each float32 `[B, …]`.

        Raises:
            TlkitError: This process was forked from the one that the engine was made in.
        """
        refuse_after_fork()
        return in_shares(self._run, images, _AT_ONCE, self._threads)

    def _run(self, images: Images) -> list[npt.NDArray[np.float32]]:
        outputs: list[npt.NDArray[np.float32]] = self._session.run(None, {self._input: images})
        return outputs

    def disagreement(self) -> float:
        """Return the largest difference from TensorFlow on the kept images, in units of `TOLERANCE`."""
        found = self(self._images)
        if [output.shape for output in found] != [output.shape for output in self._expected]:
            return np.inf
        pairs = zip(found, self._expected, strict=True)
        differences = [
            np.abs(ours - theirs).max() / (np.abs(theirs).max() or 1) for ours, theirs in pairs
        ]
        return float(np.max(differences)) / TOLERANCE  # NaN if one of them is


def fast_engine(
    facts: Callable[[], tuple[object, ...]],
    count: int,
    model: Callable[[], keras.Model],
    sample: Callable[[], Images],
) -> OnnxEngine | None:
    """Return ONNX Runtime's engine for a network where it is installed and pays.

    It pays where the network was converted before, or where the images are so many that a conversion is
    worth its time. The environment variable `TLKIT_ENGINE` overrules both. A conversion that failed is not
    tried again by these versions, unless the variable asks for it.

    Args:
        facts: Gives all that decides the network and its weights.
        count: How many images there are to be run.
        model: Builds the network; called only to convert it.
        sample: Gives images to compare the engines on, uint8 `[B, H, W, 3]`.

    Returns:
        The engine; None says to use TensorFlow.

    Raises:
        MissingExtraError: `TLKIT_ENGINE` asks for ONNX Runtime, which is not installed.
        SettingError: `TLKIT_ENGINE` names no engine; or asks for ONNX Runtime, and there is no folder to keep
            its graphs in.
    """
    names = ("auto", TensorFlowEngine.name, OnnxEngine.name)
    wanted = check_choice(VARIABLE, os.environ.get(VARIABLE) or "auto", names)
    if wanted == TensorFlowEngine.name:
        return None
    runtime = runtime_version()
    if runtime is None:
        if wanted == OnnxEngine.name:
            raise MissingExtraError(
                f'{VARIABLE}=onnxruntime needs the extra "fast": pip install "tlkit[fast]"'
            )
        return None
    home = _home()
    if home is None:
        if wanted == OnnxEngine.name:
            raise SettingError(
                f"{VARIABLE}=onnxruntime keeps what it converts in the home folder, and this user has none: "
                "set KERAS_HOME to a folder that can be written"
            )
        return None
    versions = [version(name) for name in ("keras", "tensorflow")]
    folder = home / fingerprint(*facts(), *versions, runtime)
    asked = wanted == OnnxEngine.name
    if not _there(folder) and find_spec("tf2onnx") and (asked or not _failed_before(folder)):
        network = model()
        if asked or count * multiply_adds(network) >= WORTH:
            _convert(network, sample(), folder)
    return _checked(folder) if _there(folder) else None


def multiply_adds(model: keras.Model) -> int:
    """Count the multiplications of a network for one image, as far as its layers' shapes tell.

    Every number of a kernel meets every place of its layer's output; sums, scales and attention are left
    out. Where a layer does not say how high or wide its output is, that counts as 1.
    """
    total = 0
    for layer in model._flatten_layers(include_self=False):  # noqa: SLF001 - no public way into models
        kernels = [variable.shape for variable in layer.weights if len(variable.shape) > 1]
        if kernels and not hasattr(layer, "layers"):
            try:
                places = layer.output.shape[1:-1]
            except AttributeError:  # called at several places
                continue
            size = math.prod(length or 1 for length in places)
            total += sum(math.prod(kernel) for kernel in kernels) * size
    return total


def _convert(model: keras.Model, sample: Images, folder: Path) -> None:
    """Write graph and sample under a temporary name first: the folder is there as a whole or not at all."""
    import keras

    images = keras.Input(model.inputs[0].shape[1:], dtype="uint8")
    of_images = keras.Model(images, model(keras.ops.cast(images, "float32")))
    reference = TensorFlowEngine(model)
    expected = {f"output_{i}": output for i, output in enumerate(reference(sample))}
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        _make_room(folder.parent)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".converting-") as partial:
            with ignoring(*OF_CONVERTERS):
                of_images.export(
                    f"{partial}/graph.onnx",
                    format="onnx",
                    verbose=False,
                    input_signature=[keras.InputSpec("uint8", images.shape)],
                )
            np.savez(
                f"{partial}/sample.npz",
                images=sample,
                parameters=reference.parameters,
                **expected,  # type: ignore[arg-type] # its stub takes no mapping
            )
            Path(partial).rename(folder)
            Path(partial).mkdir()  # for the clean-up to find
    except Exception as error:  # noqa: BLE001 - whatever a converter may fail with, TensorFlow computes the same
        if not folder.exists():  # nobody else made it meanwhile
            reason = f"it could not be converted ({type(error).__name__}: {error})"
            if not isinstance(error, OSError | MemoryError | ImportError):  # the same next time
                with suppress(OSError):
                    _refusal(folder).write_text(reason, "utf-8", errors="backslashreplace")
            _warn(reason)


def _refusal(folder: Path) -> Path:
    """Return the file that says why a network could not be converted."""
    return folder.with_suffix(".refused")


def _failed_before(folder: Path) -> bool:
    """Say whether these versions have failed to convert the network, and warn as they did."""
    try:
        reason = _refusal(folder).read_text("utf-8")
    except (OSError, ValueError):
        return False
    _warn(f"{reason}, when it was tried before")
    return True


def _checked(folder: Path) -> OnnxEngine | None:
    """Load a converted network, unless it cannot be run or says something else than TensorFlow."""
    try:
        engine = OnnxEngine(folder)
        disagreement = engine.disagreement()
    except Exception as error:  # noqa: BLE001 - as above
        _warn(
            f"its graph in {printable(folder)} cannot be run ({type(error).__name__}: {error}): "
            "delete that folder to have it converted anew"
        )
        return None
    if not disagreement <= 1:
        _warn(
            f"its graph in {printable(folder)} differs from TensorFlow by {disagreement:.1f} times what is "
            "allowed"
        )
        return None
    with suppress(OSError):  # a place that can only be read, or the folder has just made room
        os.utime(folder)
    return engine


def _warn(reason: str) -> None:
    warnings.warn(
        f"this network is run by TensorFlow and not by ONNX Runtime, because {reason}. "
        f"Set {VARIABLE}=tensorflow to choose so yourself.",
        EngineWarning,
        stacklevel=2,
    )


def _make_room(home: Path) -> None:
    """Delete the graphs used longest ago."""
    graphs = sorted(home.glob("*/graph.onnx"), key=lambda graph: graph.parent.stat().st_mtime)
    for graph in graphs[: max(0, len(graphs) - _KEPT + 1)]:
        shutil.rmtree(graph.parent, ignore_errors=True)
    refusals = sorted(home.glob("*.refused"), key=lambda file: file.stat().st_mtime)
    for refusal in refusals[:-_KEPT]:
        refusal.unlink(missing_ok=True)


def _home() -> Path | None:
    """Return the folder of graphs, beside the weights that Keras keeps; None for a user without a home."""
    home = keras_home()
    return home / "tlkit" / "graphs" if home else None


def _there(folder: Path) -> bool:
    try:
        return folder.is_dir()
    except OSError:  # somebody else's place
        return False
