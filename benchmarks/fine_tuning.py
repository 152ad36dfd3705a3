"""What does fine-tuning on cached activations save beside plain `fit`, and what does it cost in log-loss?

    python benchmarks/fine_tuning.py --data DIR --weights DIR [--alpha 0.35] [--size 160] [--epochs 10]

All sides train the last third of the same network, batch normalisation frozen, from the same exact head, for
the same epochs with the same optimizer; plain `fit` draws a new view in each epoch, tlkit uses 4 in turn. For
plain `fit` the whole network runs in each epoch, on the folder or on decoded images in memory; tlkit runs
the lower part once for each view, and then the upper part in each epoch. Rows of each side:

- `seconds`: all of that without building and tracing graphs. The first epoch and the first batch of views are
  where they happen, so these two are left out and the others stand for them.
- `epoch seconds`: the epochs alone, likewise.
- `seconds with tracing`: everything as the clock saw it.
- `log-loss`, `best log-loss`: on the validation split, after the last and after the best epoch.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from measuring import (
    FOLDS,
    Figures,
    arguments,
    interleaved,
    link_parts,
    mobilenet,
    table,
    weights_file,
    write_json,
)

from tlkit import AugmentationPolicy, DatasetSpec, FineTuneSchedule, Phase, split_dataset
from tlkit.data.split import assign_folds
from tlkit.features.frozen_part import FrozenPart
from tlkit.features.run_folders import RunFolders
from tlkit.training.finetune import Trainee, TrainingData, set_trainable, train_phase
from tlkit.training.head import LinearHead, fit_head
from tlkit.training.settings import needs_of

VIEWS = 4
POLICY = AugmentationPolicy.standard()


class Laps:
    """The moments at which something ended."""

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self.moments: list[float] = []

    def add(self, *_: object) -> None:
        self.moments.append(time.perf_counter())

    def after(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function with a lap at the end of each call."""

        def call(*given: Any, **named: Any) -> Any:
            result = function(*given, **named)
            self.add()
            return result

        return call

    @property
    def traced(self) -> float:
        """Seconds until the last moment."""
        return self.moments[-1] - self._started

    @property
    def steady(self) -> float:
        """Seconds of as many laps, had the first been like the others."""
        count = len(self.moments)
        return (self.moments[-1] - self.moments[0]) * count / (count - 1)


class Task:
    """What all sides are given: images, labels, parts, the exact head, and where training starts."""

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self.options, self.folder = options, folder
        self.phase = Phase(
            unfreeze_fraction=1 / 3, epochs=options.epochs, patience=None, views=VIEWS
        )
        self.listing = DatasetSpec(folder).listing()
        labels = self.listing.labels.astype(np.int64)
        in_train = np.array([example.part == "train" for example in self.listing.examples])
        train, validation = np.flatnonzero(in_train), np.flatnonzero(~in_train)
        names = [self.listing.examples[index].name for index in train]
        self.data = TrainingData(
            labels=labels.astype(np.float64),
            weights=np.ones(len(labels)),
            train=train,
            validation=validation,
            viewed=train,
            folds=assign_folds(labels[train], names, count=FOLDS, seed=0),
            batch_size=32,
            seed=0,
        )
        frozen, originals = self.read()
        self.start = frozen.starts[0]
        features = originals.outputs[0].read(train).astype(np.float32)
        self.head: LinearHead = fit_head(features, labels[train], folds=self.data.folds)
        self.images = originals.images

    def read(self) -> tuple[FrozenPart, Any]:
        """Build a new network and run the images through it."""
        schedule = FineTuneSchedule(phases=(self.phase,))
        frozen = FrozenPart(mobilenet(self.options), needs_of(schedule), POLICY, 0, RunFolders())
        return frozen, frozen.read(self.listing.examples)


def cached(task: Task) -> Figures:
    """Train as tlkit does; the pass over the images themselves has been there for the head anyway."""
    frozen, originals = task.read()
    batches = Laps()
    originals.images.read = batches.after(originals.images.read)
    [activations] = frozen.views(
        originals, task.data.train, VIEWS, features=False, activations=True
    )
    batches.add()
    del batches.moments[0]  # after reading the first batch: nothing was computed yet
    epochs = Laps()
    trainee = Trainee(
        frozen.network, frozen.cut, task.head, backbone_parameters=originals.backbone_parameters
    )
    set_trainable(frozen.network, task.start)
    trainee.logits = epochs.after(trainee.logits)  # type: ignore[method-assign]
    history = train_phase(trainee, activations, task.data, task.phase, name="fine-tuning", stage=1)
    return figures(epochs, list(history.validation_loss), batches)


def plain(task: Task, datasets: Callable[[Task], tuple[Any, Any]]) -> Figures:
    """Train as a user of Keras does who knows that batch normalisation must be frozen layer by layer."""
    epochs = Laps()
    train, validation = datasets(task)
    model = plain_model(task)
    steps = task.phase.epochs * task.data.steps()
    rate = keras.optimizers.schedules.CosineDecay(task.phase.learning_rate, decay_steps=steps)
    model.compile(
        optimizer=keras.optimizers.AdamW(rate, weight_decay=task.phase.weight_decay),
        loss=keras.losses.BinaryCrossentropy(from_logits=True),
        metrics=[keras.metrics.BinaryAccuracy(threshold=0.0)],
    )
    history = model.fit(
        train,
        validation_data=validation,
        epochs=task.phase.epochs,
        shuffle=False,  # the datasets do it
        verbose=0,
        callbacks=[keras.callbacks.LambdaCallback(on_epoch_end=epochs.add)],
    ).history
    return figures(epochs, history["val_loss"])


def plain_model(task: Task) -> Any:
    size = task.options.size
    base = keras.applications.MobileNetV2(
        input_shape=(size, size, 3),
        alpha=task.options.alpha,
        include_top=False,
        weights=str(weights_file(task.options)),
    )
    for index, layer in enumerate(base.layers):
        normalises = isinstance(layer, keras.layers.BatchNormalization)
        layer.trainable = index >= task.start and not normalises
    x = inputs = keras.Input((size, size, 3))
    for layer in POLICY.keras_layers():
        x = layer(x)
    x = keras.applications.mobilenet_v2.preprocess_input(x)
    x = keras.layers.GlobalAveragePooling2D()(base(x, training=False))
    dense = keras.layers.Dense(1)
    model = keras.Model(inputs, dense(x))
    dense.set_weights([task.head.kernel[:, np.newaxis], np.array([task.head.bias])])
    return model


def from_folder(task: Task) -> tuple[Any, Any]:
    negative = next(n for n in task.listing.class_names if n != task.listing.positive_class)
    train, validation = (
        keras.utils.image_dataset_from_directory(
            task.folder / part,
            class_names=[negative, task.listing.positive_class],
            image_size=(task.options.size, task.options.size),
            seed=0,
            verbose=False,
        ).prefetch(tf.data.AUTOTUNE)
        for part in ("train", "validation")
    )
    return train, validation


def from_memory(task: Task) -> tuple[Any, Any]:
    def dataset(indices: Any) -> Any:
        images, labels = task.images.read(indices), task.data.labels[indices, np.newaxis]
        return tf.data.Dataset.from_tensor_slices((images, labels))

    train = dataset(task.data.train).shuffle(len(task.data.train), seed=0)
    validation = dataset(task.data.validation)
    return tuple(part.batch(32).prefetch(tf.data.AUTOTUNE) for part in (train, validation))


def figures(epochs: Laps, losses: list[float], views: Laps | None = None) -> Figures:
    return {
        "seconds": epochs.steady + (views.steady if views else 0),
        "epoch seconds": epochs.steady,
        "seconds with tracing": epochs.traced + (views.traced if views else 0),
        "log-loss": losses[-1],
        "best log-loss": min(losses),
    }


def main() -> None:
    parser = arguments(__doc__.splitlines()[0])
    parser.set_defaults(alpha=0.35, size=160)
    parser.add_argument("--epochs", type=int, default=10, help="at least 2")
    options = parser.parse_args()
    os.environ["TLKIT_ENGINE"] = "tensorflow"  # as on the other sides
    with tempfile.TemporaryDirectory() as folder:
        link_parts(split_dataset(options.data), Path(folder))
        task = Task(options, Path(folder))
        print(
            f"MobileNetV2 alpha {options.alpha}, {options.size} px, {options.epochs} epochs from layer "
            f"{task.start}, {VIEWS} views, {time.strftime('%F')}"
        )
        sides = {
            "fit, from memory": partial(plain, task, from_memory),
            "fit, from the folder": partial(plain, task, from_folder),
            "tlkit, cached": partial(cached, task),
        }
        runs = interleaved(sides, options.repeats)
    for figure in runs["tlkit, cached"][0]:
        table(runs, figure, baseline="fit, from memory")
    write_json(options, {"runs": runs})


if __name__ == "__main__":
    main()
