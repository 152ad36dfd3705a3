"""What the benchmarks share: arguments, interleaved timing, a table and a JSON file."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tlkit import BackboneAdapter


def arguments(description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--data", type=Path, required=True, help="the folder with two classes")
    parser.add_argument("--weights", type=Path, required=True, help="folder of the weights files")
    parser.add_argument("--alpha", type=float, default=1.0, help="width of MobileNetV2")
    parser.add_argument("--size", type=int, default=224, help="height and width in pixels")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each side")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    return parser


def mobilenet(weights: Path, alpha: float, size: int) -> BackboneAdapter:
    """Take MobileNetV2 with the ImageNet weights of that width, for any size."""
    file = weights / f"mobilenet_v2_{alpha}_224_no_top.weights.h5"
    return BackboneAdapter("MobileNetV2", image_size=(size, size), alpha=alpha, weights=file)


def interleaved(sides: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """Time the sides A B A B …, so that a noisy minute hurts both."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(repeats):
        for name, side in sides.items():
            started = time.perf_counter()
            side()
            seconds[name].append(time.perf_counter() - started)
    return seconds


def report(seconds: Mapping[str, list[float]], *, baseline: str, json_path: Path | None) -> None:
    """Print median, min, max and the ratio of the medians to the baseline; write them as JSON."""
    width = max(map(len, seconds))
    print(f"{'':{width}}  median     min     max   ratio")
    base = statistics.median(seconds[baseline])
    for name, times in seconds.items():
        middle = statistics.median(times)
        print(
            f"{name:{width}} {middle:6.2f} s{min(times):6.2f} s{max(times):6.2f} s {middle / base:6.2f}x"
        )
    write_json(json_path, {"seconds": dict(seconds), "baseline": baseline})


def write_json(path: Path | None, figures: dict[str, Any]) -> None:
    """Write figures together with what they were measured on."""
    if path is None:
        return
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    names = ("tlkit", "tensorflow", "keras", "numpy", "pillow")
    about = {
        "versions": {name: version(name) for name in names} | {"python": platform.python_version()},
        "cores": os.cpu_count(),
        "commit": commit.stdout.strip(),
    }
    path.write_text(json.dumps(about | figures, indent=1) + "\n")
