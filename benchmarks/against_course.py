"""tlkit against the recipes that people follow: the course assignment, and TensorFlow's tutorial.

    python benchmarks/against_course.py --data DIR --weights DIR [--alpha 1.0] [--size 160]
    python benchmarks/against_course.py --data DIR --weights DIR --folds [--fold-seeds 2]

All sides read the same files, split into the same training and validation splits, and start from the same
weights; each run is a process of its own, `seconds` is its time after imports. With `--folds`: how good
each is on the same folds, each fold the validation split once. Only `standard()` chooses something there
(the epoch to keep); `accuracy.py --fine-tuning` measures it on images that chose nothing.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import NamedTuple

from measuring import (
    Figures,
    Runs,
    arguments,
    folds,
    interleaved,
    link_parts,
    mobilenet,
    process,
    shared_arguments,
    table,
    weights_file,
    write_json,
)

from tlkit import FineTuneSchedule, split_dataset, transfer_classifier


class Recipe(NamedTuple):
    """Where the two recipes differ."""

    head_rate: float
    fine_tune_at: int
    tuned_optimizer: str
    tuned_rate: float


COURSE = Recipe(head_rate=1e-3, fine_tune_at=120, tuned_optimizer="adam", tuned_rate=1e-4)
TUTORIAL = Recipe(head_rate=1e-4, fine_tune_at=100, tuned_optimizer="rmsprop", tuned_rate=1e-5)
TABLES = {
    "head": ("course, head alone", "tlkit head_only()"),
    "fine-tuning": ("course", "tutorial", "tlkit standard()"),
}
FIGURES = ("seconds", "process seconds", "peak MiB", "log-loss", "accuracy")


def follow(recipe: Recipe, options: argparse.Namespace, *, fine_tune: bool) -> Figures:
    """Do what a reader of the recipe does."""
    import keras
    import tensorflow as tf

    size = (options.size, options.size)
    train, validation = (
        keras.utils.image_dataset_from_directory(
            options.data / part, shuffle=True, batch_size=32, image_size=size, seed=42
        ).prefetch(buffer_size=tf.data.AUTOTUNE)
        for part in ("train", "validation")
    )
    augmentation = keras.Sequential(
        [keras.layers.RandomFlip("horizontal"), keras.layers.RandomRotation(0.2)]
    )
    base = keras.applications.MobileNetV2(
        input_shape=(*size, 3),
        alpha=options.alpha,
        include_top=False,
        weights=str(weights_file(options)),
    )
    base.trainable = False
    inputs = keras.Input((*size, 3))
    x = augmentation(inputs)
    x = keras.applications.mobilenet_v2.preprocess_input(x)
    x = base(x, training=False)
    x = keras.layers.GlobalAveragePooling2D()(x)
    x = keras.layers.Dropout(0.2)(x)
    model = keras.Model(inputs, keras.layers.Dense(1)(x))

    def fit(optimizer: str, rate: float, *, first: int) -> Figures:
        model.compile(
            optimizer=keras.optimizers.get(
                {"class_name": optimizer, "config": {"learning_rate": rate}}
            ),
            loss=keras.losses.BinaryCrossentropy(from_logits=True),
            metrics=[keras.metrics.BinaryAccuracy(threshold=0.0, name="accuracy")],
        )
        history = model.fit(
            train,
            validation_data=validation,
            initial_epoch=first,
            epochs=first + options.epochs,
            shuffle=False,  # the dataset does it
            verbose=0,
        ).history
        return {"log-loss": history["val_loss"][-1], "accuracy": history["val_accuracy"][-1]}

    figures = fit("adam", recipe.head_rate, first=0)
    if fine_tune:
        base.trainable = True
        for layer in base.layers[: recipe.fine_tune_at]:
            layer.trainable = False
        figures = fit(recipe.tuned_optimizer, recipe.tuned_rate, first=options.epochs)
    return figures


def tlkit(schedule: FineTuneSchedule, options: argparse.Namespace) -> Figures:
    classifier = transfer_classifier(
        options.data, backbone=mobilenet(options), schedule=schedule, seed=options.seed
    )
    _ = classifier.model  # the other sides end with a network at hand too
    evaluation = classifier.evaluation
    return {"log-loss": evaluation.log_loss, "accuracy": float(evaluation.accuracy)}


SIDES = {
    "course, head alone": partial(follow, COURSE, fine_tune=False),
    "tlkit head_only()": partial(tlkit, FineTuneSchedule.head_only()),
    "course": partial(follow, COURSE, fine_tune=True),
    "tutorial": partial(follow, TUTORIAL, fine_tune=True),
    "tlkit standard()": partial(tlkit, FineTuneSchedule.standard()),
}


def be(options: argparse.Namespace) -> None:
    """Be the process of one side, on a folder of parts."""
    import keras

    keras.utils.set_random_seed(options.seed)
    started = time.perf_counter()
    figures = SIDES[options.side](options)
    print(json.dumps({"seconds": time.perf_counter() - started, **figures}))


def run(options: argparse.Namespace, folder: Path, side: str, seed: int = 0) -> Figures:
    settings = ["--data", folder, *shared_arguments(options), "--epochs", options.epochs]
    return process(sys.executable, __file__, *settings, "--seed", seed, "--side", side)


def over_folds(options: argparse.Namespace, sides: list[str]) -> Runs:
    """Return, for each side and fold seed, the mean over the folds."""
    runs: Runs = {side: [] for side in sides}
    for seed in range(options.fold_seeds):
        found: Runs = {side: [] for side in sides}
        for known, held in folds(options.data, seed):
            with tempfile.TemporaryDirectory() as folder:
                link_parts({"train": known, "validation": held}, Path(folder))
                for side in sides:
                    found[side].append(run(options, Path(folder), side, seed))
        for side, figures in found.items():
            means = {name: statistics.mean(f[name] for f in figures) for name in FIGURES}
            runs[side].append(means)
    return runs


def main() -> None:
    parser = arguments(__doc__.splitlines()[0])
    parser.set_defaults(size=160)
    parser.add_argument("--tables", nargs="+", choices=TABLES, default=list(TABLES))
    parser.add_argument("--epochs", type=int, default=5, help="of the recipes, in each phase")
    parser.add_argument("--folds", action="store_true", help="measure how good, not how fast")
    parser.add_argument("--fold-seeds", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        be(options)
        return
    sides = [side for name in options.tables for side in TABLES[name]]
    print(f"MobileNetV2 alpha {options.alpha}, {options.size} px, {time.strftime('%F')}")
    if options.folds:
        runs = over_folds(options, sides)
    else:
        with tempfile.TemporaryDirectory() as folder:
            link_parts(split_dataset(options.data), Path(folder))
            runs = interleaved(
                {side: partial(run, options, Path(folder), side) for side in sides}, options.repeats
            )
    for name in options.tables:
        baseline, *_ = TABLES[name]
        for figure in FIGURES[3:] if options.folds else FIGURES:
            shown = {side: runs[side] for side in TABLES[name]}
            middle = statistics.mean if options.folds else statistics.median
            table(shown, figure, baseline=baseline, middle=middle)
    write_json(options, {"runs": runs})


if __name__ == "__main__":
    main()
