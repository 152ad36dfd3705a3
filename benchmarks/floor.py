"""How far is tlkit from what is needed at least: one decode and one forward pass of every image?

    python benchmarks/floor.py --data DIR --weights DIR [--alpha 1.0] [--size 224]

Three tables, or those that `--tables` names:

- `training`: the frozen pass alone, and all of `head_only()`. Network and graph are built anew on all sides.
- `prediction`: `predict_folder`. Network and graph are there before on both sides.
- `engines`: forward alone, on decoded images. Network and graph are there before.

The floor decodes with plain Pillow and then runs the engine that tlkit runs; beside it, as a floor of its
own, what plain Keras makes of the same network.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest.mock import patch

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf
from measuring import (
    Figures,
    Runs,
    arguments,
    interleaved,
    mobilenet,
    table,
    timed,
    weights_file,
    write_json,
)
from PIL import Image

from tlkit import AugmentationPolicy, DatasetSpec, FineTuneSchedule, transfer_classifier
from tlkit.backbones.engines import BATCH_SIZE, TensorFlowEngine
from tlkit.backbones.network import pooled
from tlkit.backbones.onnx_engine import SAMPLE_SIZE, VARIABLE, OnnxEngine, fast_engine
from tlkit.features.frozen_part import FrozenPart
from tlkit.features.run_folders import RunFolders
from tlkit.training.settings import needs_of

Images = npt.NDArray[np.uint8]
Forward = Callable[[Images], object]
HEAD_ONLY = FineTuneSchedule.head_only()


class Floor:
    """The least that has to be done, written without tlkit, as a careful reader would."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._size: tuple[int, int] = (options.size, options.size)
        self.files = [example.path for example in DatasetSpec(options.data).listing().examples]
        self._images: list[Images] = []

    def decode(self) -> list[Images]:
        with ThreadPoolExecutor() as pool:
            self._images = list(pool.map(self._decode_one, self.files))
        return self._images

    def _decode_one(self, path: Path) -> Images:
        with Image.open(path) as image:
            image.draft("RGB", self._size)
            return np.asarray(image.convert("RGB").resize(self._size, Image.Resampling.BILINEAR))

    def forward(self, run: Forward) -> None:
        for start in range(0, len(self._images), BATCH_SIZE):
            run(np.stack(self._images[start : start + BATCH_SIZE]))


def traced(model: Callable[[Any], Any], size: int) -> Forward:
    """Trace a network once, for batches of any length."""
    signature = [tf.TensorSpec((None, size, size, 3), tf.uint8)]
    run = tf.function(lambda batch: model(tf.cast(batch, tf.float32)), input_signature=signature)
    return lambda batch: run(batch).numpy()


def plain_keras(options: argparse.Namespace) -> Forward:
    """Build the network from uint8 images to pooled features."""
    base = keras.applications.MobileNetV2(
        alpha=options.alpha,
        include_top=False,
        pooling="avg",
        input_shape=(options.size, options.size, 3),
        weights=str(weights_file(options)),
    )
    return traced(lambda batch: base(batch / 127.5 - 1, training=False), options.size)


def tlkit_model(options: argparse.Namespace) -> Any:
    network = mobilenet(options).build().model
    return keras.Model(network.inputs, pooled(network.outputs[0]))


def tensorflow_engine(options: argparse.Namespace) -> Forward:
    return TensorFlowEngine(tlkit_model(options))


def onnx_engine(options: argparse.Namespace) -> Forward:
    """Convert the network; the graph is kept nowhere else."""
    facts = ("benchmark", mobilenet(options).fingerprint())
    sample = np.stack(Floor(options).decode()[:SAMPLE_SIZE])
    with (
        tempfile.TemporaryDirectory() as home,
        patch.dict(os.environ, {VARIABLE: OnnxEngine.name, "KERAS_HOME": home}),
    ):
        engine = fast_engine(lambda: facts, 1, lambda: tlkit_model(options), lambda: sample)
    if engine is None:
        raise SystemExit("ONNX Runtime cannot run this network")
    return engine


ENGINES = {"plain Keras": plain_keras, "tensorflow": tensorflow_engine}
if find_spec("onnxruntime") and find_spec("tf2onnx"):
    ENGINES["onnxruntime"] = onnx_engine


def training(options: argparse.Namespace) -> Runs:
    backbone, floor = mobilenet(options), Floor(options)
    examples = DatasetSpec(options.data).listing().examples

    def frozen_pass() -> None:
        part = FrozenPart(backbone, needs_of(HEAD_ONLY), AugmentationPolicy.none(), 0, RunFolders())
        part.read(examples)

    def head_only() -> None:
        transfer_classifier(options.data, backbone=backbone, schedule=HEAD_ONLY)

    sides = {
        "decode": timed(floor.decode),
        "build, trace, forward": timed(lambda: floor.forward(tensorflow_engine(options))),
        "the same, plain Keras": timed(lambda: floor.forward(plain_keras(options))),
        "frozen pass": timed(frozen_pass),
        "head_only()": timed(head_only),
    }
    return with_floors(sides, options.repeats)


def prediction(options: argparse.Namespace) -> Runs:
    floor = Floor(options)
    classifier = transfer_classifier(options.data, backbone=mobilenet(options), schedule=HEAD_ONLY)
    model = classifier.model
    engine, forward = TensorFlowEngine(model), traced(model, options.size)
    sides = {
        "decode": timed(floor.decode),
        "forward": timed(lambda: floor.forward(engine)),
        "forward, plain Keras": timed(lambda: floor.forward(forward)),
        "predict_folder()": timed(lambda: classifier.predict_folder(options.data)),
    }
    return with_floors(sides, options.repeats)


def engines(options: argparse.Namespace) -> Runs:
    floor = Floor(options)
    floor.decode()

    def side(forward: Forward) -> Callable[[], Figures]:
        return timed(lambda: floor.forward(forward))

    sides = {name: side(build(options)) for name, build in ENGINES.items()}
    interleaved(sides, 1)
    runs = interleaved(sides, options.repeats)
    return {
        name: [{**run, "images/s": len(floor.files) / run["seconds"]} for run in found]
        for name, found in runs.items()
    }


def with_floors(sides: dict[str, Callable[[], Figures]], repeats: int) -> Runs:
    """Run the sides; before them put decode and forward, the first three sides, added up."""
    interleaved(sides, 1)  # so that no side pays for what a process does only once
    runs = interleaved(sides, repeats)
    decode, *forwards = list(runs.values())[:3]
    floors = {
        name: [
            {"seconds": d["seconds"] + f["seconds"]} for d, f in zip(decode, forward, strict=True)
        ]
        for name, forward in zip(("floor", "floor, plain Keras"), forwards, strict=True)
    }
    return floors | runs


TABLES = {"training": training, "prediction": prediction, "engines": engines}


def main() -> None:
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--tables", nargs="+", choices=TABLES, default=list(TABLES))
    options = parser.parse_args()
    print(f"MobileNetV2 alpha {options.alpha}, {options.size} px, {time.strftime('%F')}")
    os.environ[VARIABLE] = TensorFlowEngine.name  # on all sides, however many images
    found: dict[str, Runs] = {}
    for name in options.tables:
        found[name] = TABLES[name](options)
        baseline = next(iter(found[name]))
        print(f"\n{name}", end="")
        for figure in ("seconds", "images/s") if name == "engines" else ("seconds",):
            table(found[name], figure, baseline=baseline)
    write_json(options, {"runs": found})


if __name__ == "__main__":
    main()
