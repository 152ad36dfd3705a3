"""Test log-loss and accuracy, folder by folder, on images that chose nothing.

    python benchmarks/folders.py FOLDER [FOLDER …] [--methods last default …] [--seeds 3] [--size 224]

Every method gets the same images to learn from and the same quarter of each folder to be tested on;
ready-made parts are pooled. `last` is the exact head on the last layer, with a validation split kept from
it, as tlkit did before it used the stages of a network; `default` is `transfer_classifier(folder)`;
`thorough` is `FineTuneSchedule.thorough()`; `course` is the course recipe (5 + 5 epochs); `guide` is
fine-tuning as the Keras guide teaches it (head 10 epochs, then all layers at 1e-5, 10 epochs), in plain
Keras.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tlkit import (
    AugmentationPolicy,
    BackboneAdapter,
    DatasetSpec,
    FineTuneSchedule,
    image_dataset,
    transfer_classifier,
)
from tlkit.evaluation.log_loss import log_losses, sigmoid
from tlkit.evaluation.paired import paired_difference
from tlkit.evaluation.reliability import reliability_bins

Floats = npt.NDArray[np.float64]
Result = tuple[npt.NDArray[np.int64], Floats]  # labels and logits of the test images

TESTED = 0.25


def by_tlkit(schedule: FineTuneSchedule, fraction: float | None, features: str) -> Method:
    def run(folder: Path, backbone: BackboneAdapter, seed: int, cache: Path | None) -> Result:
        spec = DatasetSpec(folder, test_fraction=TESTED, validation_fraction=fraction, seed=seed)
        found = transfer_classifier(
            spec,
            backbone=backbone.with_features(features),
            schedule=schedule,
            seed=seed,
            cache_dir=cache,
        )
        scores = found.record.scores["test"]
        return np.array(scores.labels), np.array(scores.logits)

    return run


def by_course(folder: Path, backbone: BackboneAdapter, seed: int, _cache: Path | None) -> Result:
    spec = DatasetSpec(folder, test_fraction=TESTED, seed=seed)
    found = transfer_classifier(
        spec,
        backbone=backbone,
        augmentation=AugmentationPolicy.course(),
        schedule=FineTuneSchedule.course(fine_tune_at=len(backbone.build().base.layers) * 3 // 4),
        seed=seed,
    )
    scores = found.record.scores["test"]
    return np.array(scores.labels), np.array(scores.logits)


def by_guide(folder: Path, backbone: BackboneAdapter, seed: int, _cache: Path | None) -> Result:
    """Fine-tuning as https://keras.io/guides/transfer_learning has it."""
    import keras

    keras.utils.set_random_seed(seed)
    spec = DatasetSpec(folder, test_fraction=TESTED, seed=seed)
    train, test = (
        image_dataset(spec, split, image_size=backbone.image_size) for split in ("train", "test")
    )
    network = backbone.build()
    network.base.trainable = False
    features = keras.layers.GlobalAveragePooling2D()(network.model.outputs[0])
    outputs = keras.layers.Dense(1)(keras.layers.Dropout(0.2)(features))
    model = keras.Model(network.model.inputs, outputs)
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    flips = keras.Sequential(
        [keras.layers.RandomFlip("horizontal"), keras.layers.RandomRotation(0.1)]
    )
    varied = train.map(lambda images, labels: (flips(images, training=True), labels))
    for rate in (1e-3, 1e-5):
        network.base.trainable = rate < 1e-3
        model.compile(keras.optimizers.Adam(rate), loss)
        model.fit(varied, epochs=10, verbose=0, shuffle=False)
    labels = np.concatenate([batch.numpy() for _, batch in test])
    return labels.astype(np.int64), model.predict(test, verbose=0)[:, 0].astype(np.float64)


Method = Callable[[Path, BackboneAdapter, int, Path | None], Result]
METHODS: dict[str, Method] = {
    "last": by_tlkit(FineTuneSchedule.head_only(), 0.2, "last"),
    "default": by_tlkit(FineTuneSchedule.standard(), None, "stages"),
    "thorough": by_tlkit(FineTuneSchedule.thorough(), None, "stages"),
    "course": by_course,
    "guide": by_guide,
}


def pooled(folder: Path, place: Path) -> Path:
    """Return the folder without its ready-made parts, whose images are dealt out anew."""
    listing = DatasetSpec(folder).listing()
    if not any(example.part for example in listing.examples):
        return folder
    for number, example in enumerate(listing.examples):
        link = place / folder.name / example.class_name / f"{number}{example.path.suffix}"
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(example.path.resolve())
    return place / folder.name


def measured(options: argparse.Namespace) -> Iterator[dict[str, object]]:
    """Run every method on every folder and seed, and say at once what came out."""
    import keras  # so that seconds count from after imports

    print(f"Keras {keras.version()}", flush=True)
    backbone = BackboneAdapter(options.backbone, image_size=options.size, weights=options.weights)
    for folder in options.folders:
        for seed in range(options.seeds):
            for name in options.methods:
                started = time.perf_counter()
                labels, logits = METHODS[name](folder, backbone, seed, options.cache)
                seconds = time.perf_counter() - started
                losses = log_losses(labels, logits)
                right = (logits > 0) == (labels == 1)
                print(
                    f"{folder.name} seed {seed} {name}: log-loss {losses.mean():.3f}, accuracy "
                    f"{right.mean():.3f}, {len(labels)} tested, {seconds:.1f} s",
                    flush=True,
                )
                yield {
                    "folder": folder.name,
                    "seed": seed,
                    "method": name,
                    "seconds": seconds,
                    "labels": labels.tolist(),
                    "logits": logits.tolist(),
                }


def table(runs: list[dict[str, object]], methods: list[str]) -> None:
    """Print log-loss (accuracy) of each folder, and the paired difference to the first method."""

    def of(folder: str, method: str) -> tuple[Floats, Floats, float]:
        found = [run for run in runs if (run["folder"], run["method"]) == (folder, method)]
        labels = np.concatenate([np.array(run["labels"]) for run in found])
        logits = np.concatenate([np.array(run["logits"], float) for run in found])
        seconds = float(np.mean([float(str(run["seconds"])) for run in found]))
        return log_losses(labels, logits), np.float64((logits > 0) == (labels == 1)), seconds

    folders = list(dict.fromkeys(str(run["folder"]) for run in runs))
    ratios: dict[str, list[float]] = {name: [] for name in methods}
    for folder in folders:
        base = of(folder, methods[0])[0]
        cells = []
        for name in methods:
            losses, right, seconds = of(folder, name)
            ratios[name].append(float(losses.mean() / base.mean()))
            difference = f" [{paired_difference(losses, base)}]" if name != methods[0] else ""
            cells.append(f"{losses.mean():.3f} ({right.mean():.3f}){difference} {seconds:.0f} s")
        print(f"| {folder} | " + " | ".join(cells) + " |")
    for name in methods:
        mean = math.exp(float(np.mean(np.log(ratios[name]))))
        found = [run for run in runs if run["method"] == name]
        labels = np.concatenate([np.array(run["labels"]) for run in found])
        logits = np.concatenate([np.array(run["logits"], float) for run in found])
        error = reliability_bins(labels, sigmoid(logits)).error
        print(f"{name}: geometric mean of the ratios {mean:.3f}, calibration error {error:.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folders", type=Path, nargs="+", help="folders of two classes")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=["last", "default"])
    parser.add_argument("--seeds", type=int, default=3, help="how many splits of each folder")
    parser.add_argument("--backbone", default="EfficientNetLite0")
    parser.add_argument("--size", type=int, help="height and width in pixels")
    parser.add_argument("--weights", default="imagenet", help='a file; "imagenet" if left out')
    parser.add_argument("--cache", type=Path, help="keep features there; seconds then say nothing")
    parser.add_argument("--json", type=Path, help="where to write every test logit")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tlkit-folders-") as place:
        options.folders = [pooled(folder, Path(place)) for folder in options.folders]
        runs = list(measured(options))
    table(runs, options.methods)
    if options.json:
        options.json.write_text(json.dumps(runs), "utf-8")


if __name__ == "__main__":
    main()
