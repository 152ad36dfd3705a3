"""The formats: what each is good for, how a network is converted to it, and how the result is run."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias, final

import numpy as np
import numpy.typing as npt

from tlkit.classifier.artifact import first_line
from tlkit.classifier.runtimes import FEATURES, INPUT, LOGIT, PROBABILITY, RUNTIMES
from tlkit.core.ignoring import OF_CONVERTERS, ignoring
from tlkit.core.rows import Images
from tlkit.core.spec import check_choice
from tlkit.errors import ArtifactError, MissingExtraError, SettingError

if TYPE_CHECKING:
    import keras

Floats: TypeAlias = npt.NDArray[np.float64]
Run: TypeAlias = Callable[[Images], Mapping[str, Floats]]

PRECISIONS: Final = ("float32", "float16", "dynamic-range", "int8")

_BATCH: Final = 32  # images at a time


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """One way to hand a network over.

    Attributes:
        title: What people call it.
        file: The model's name in the folder; `"."` where it is the folder itself.
        precisions: What its numbers may be kept as.
        packages: What it needs, by the names that Python imports and pip installs.
        runtime: The distribution that runs it.
        batch: Images that it takes at a time; None for any number.
        convert: Writes the network: model, path, precision, images that show which numbers occur.
        load: Returns what was written as a function from images, uint8 `[N, H, W, 3]`, to the outputs
            `"probability"` and `"logit"`, float64 `[N, 1]`, and `"features"` `[N, D]` where it has them.
    """

    title: str
    file: str
    precisions: tuple[str, ...]
    packages: dict[str, str]
    runtime: str
    batch: int | None
    convert: Callable[[keras.Model, Path, str, Images], None]
    load: Callable[[Path], Run]

    @property
    def runtime_version(self) -> str:
        """The version of the distribution that runs it."""
        try:
            return version(self.runtime)
        except PackageNotFoundError:  # onnxruntime-gpu and others bring the same module
            return "unknown"


def find_format(name: str, precision: str) -> Format:
    """Return a format, after checking that it exists, at that precision, and that its packages are there.

    Raises:
        SettingError: There is no such format or precision, or they do not go together.
        MissingExtraError: A package is not installed.

    Examples:
        >>> find_format("onnx", "int8")
        Traceback (most recent call last):
            ...
        tlkit.errors.SettingError: `precision` of the format 'onnx' must be float32, got 'int8': \
choose that, or the format 'litert'
    """
    found = FORMATS[check_choice("format", name, tuple(FORMATS))]
    if check_choice("precision", precision, PRECISIONS) not in found.precisions:
        raise SettingError(
            f"`precision` of the format {name!r} must be {' or '.join(found.precisions)}, got "
            f"{precision!r}: choose that, or the format 'litert'"
        )
    missing = [package for module, package in found.packages.items() if not find_spec(module)]
    if missing:
        raise MissingExtraError(
            f"the format {name!r} needs {' and '.join(missing)}, which is not installed: "
            'pip install "tlkit[export]"'
        )
    return found


def convert(
    kind: Format,
    model: keras.Model,
    path: Path,
    precision: str,
    sample: Images,
    *,
    features: int = 0,
) -> None:
    """Write a network in another format.

    Args:
        kind: The format.
        model: RGB 0-255 `[N, H, W, 3]` to a probability `[N, 1]`, with a layer named `"logit"`.
        path: The file, or for some formats the folder.
        precision: What its numbers are kept as.
        sample: For int8: images that show which numbers occur, uint8 `[N, H, W, 3]`.
        features: How many features of the last stage to give beside; 0: none.

    Raises:
        ArtifactError: The network cannot be converted.
    """
    try:
        with ignoring(*OF_CONVERTERS):
            kind.convert(_with_logit(model, features), path, precision, sample)
    except Exception as error:  # converters raise anything
        raise ArtifactError(
            f"this network cannot be converted to {kind.title}, {precision}: {first_line(error)}"
        ) from error


def _with_logit(model: keras.Model, features: int) -> keras.Model:
    """Give the logit beside the probability, for a float32 probability of 1 has none; all by name."""
    from tlkit.core.tensorflow import keras

    layer = model.get_layer("logit")
    outputs = {PROBABILITY: model.outputs[0], LOGIT: layer.output}
    if features:
        outputs[FEATURES] = layer.input[:, layer.input.shape[-1] - features :]
    return keras.Model(model.inputs, outputs)


def run(kind: Format, path: Path, images: Images) -> dict[str, Floats]:
    """Return what the format's own runtime makes of images.

    Args:
        kind: The format.
        path: What `convert` wrote.
        images: uint8 `[N, H, W, 3]`.

    Returns:
        `"probability"` and `"logit"`, each float64 `[N]`, and `"features"` `[N, D]` where it gives them.

    Raises:
        ArtifactError: The runtime cannot run it.
    """
    try:
        outputs = kind.load(path)
        starts = range(0, len(images), _BATCH)
        given = [outputs(images[start : start + _BATCH]) for start in starts]
    except Exception as error:  # as above
        raise ArtifactError(
            f"the network was converted to {kind.title}, but {kind.runtime} {kind.runtime_version} cannot "
            f"run it: {first_line(error)}"
        ) from error
    found = {name: np.concatenate([batch[name] for batch in given]) for name in given[0]}
    return {
        name: values if name == FEATURES else values[:, 0]
        for name, values in found.items()
        if name in (PROBABILITY, LOGIT, FEATURES)
    }


def _to_litert(model: keras.Model, path: Path, precision: str, sample: Images) -> None:
    from tlkit.core.tensorflow import tf

    settings: dict[str, Any] = {}
    if precision != "float32":
        settings["optimizations"] = [tf.lite.Optimize.DEFAULT]
    if precision == "float16":
        settings["target_spec"] = {"supported_types": [tf.float16]}
    if precision == "int8":
        settings["representative_dataset"] = lambda: (
            [image[np.newaxis].astype(np.float32)] for image in sample
        )
    # One image at a time: what accelerates networks on telephones wants fixed shapes.
    _export(model, path, "litert", batch=1, **settings)


def _to_onnx(model: keras.Model, path: Path, _precision: str, _sample: Images) -> None:
    # What it cannot simplify it leaves as it is, and warns with a traceback.
    logging.getLogger("tf2onnx.optimizer").setLevel(logging.ERROR)
    _export(model, path, "onnx")


def _to_saved_model(model: keras.Model, path: Path, _precision: str, _sample: Images) -> None:
    _export(model, path, "tf_saved_model")


def _load_saved_model(path: Path) -> Run:
    from tlkit.core.tensorflow import tf

    loaded = tf.saved_model.load(path)

    def outputs(images: Images) -> Mapping[str, Floats]:
        found = loaded.serve(tf.constant(images, tf.float32))
        return {name: column.numpy().astype(np.float64) for name, column in found.items()}

    return outputs


def _export(
    model: keras.Model, path: Path, name: str, *, batch: int | None = None, **settings: Any
) -> None:
    from tlkit.core.tensorflow import keras

    # Without a signature a network that was loaded takes a list of one.
    images = keras.InputSpec("float32", (batch, *model.input_shape[1:]), name=INPUT)
    model.export(path, format=name, verbose=False, input_signature=[images], **settings)


FORMATS: Final = {
    "litert": Format(
        title=RUNTIMES["litert"].title,
        file=RUNTIMES["litert"].file,
        precisions=PRECISIONS,
        packages={"ai_edge_litert": "ai-edge-litert"},
        runtime=RUNTIMES["litert"].distribution,
        batch=1,
        convert=_to_litert,
        load=RUNTIMES["litert"].load,
    ),
    "onnx": Format(
        title=RUNTIMES["onnx"].title,
        file=RUNTIMES["onnx"].file,
        precisions=("float32",),
        packages={name: name for name in ("onnx", "tf2onnx", "onnxruntime")},
        runtime=RUNTIMES["onnx"].distribution,
        batch=None,
        convert=_to_onnx,
        load=RUNTIMES["onnx"].load,
    ),
    "saved_model": Format(
        title="SavedModel",
        file=".",
        precisions=("float32",),
        packages={},
        runtime="tensorflow",
        batch=None,
        convert=_to_saved_model,
        load=_load_saved_model,
    ),
}
