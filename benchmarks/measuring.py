"""What the benchmarks share: arguments, sides that run in turn, folders of parts, tables and JSON."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from tlkit import BackboneAdapter, DatasetSpec, audit
from tlkit.data.example import Example
from tlkit.data.split import assign_folds

FOLDS = 5

Figures = dict[str, float]
"""What one run gave, by names that hold the unit: times are those with "seconds" or "ms/"."""

Runs = dict[str, list[Figures]]
"""The runs of each side."""


def arguments(description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--data", type=Path, required=True, help="the folder with two classes")
    parser.add_argument("--weights", type=Path, required=True, help="folder of the weights files")
    parser.add_argument("--alpha", type=float, default=1.0, help="width of MobileNetV2")
    parser.add_argument("--size", type=int, default=224, help="height and width in pixels")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each side")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    return parser


def shared_arguments(options: argparse.Namespace) -> list[str]:
    """Write down what a process of its own must be told, except for the data."""
    names = ("weights", "alpha", "size")
    return [text for name in names for text in (f"--{name}", str(getattr(options, name)))]


def weights_file(options: argparse.Namespace) -> Path:
    folder: Path = options.weights
    return folder / f"mobilenet_v2_{options.alpha}_224_no_top.weights.h5"


def mobilenet(options: argparse.Namespace) -> BackboneAdapter:
    """Take MobileNetV2 with the ImageNet weights of that width, for any size."""
    size = (options.size, options.size)
    file = weights_file(options)
    return BackboneAdapter("MobileNetV2", image_size=size, alpha=options.alpha, weights=file)


def link_parts(parts: Mapping[str, Iterable[Example]], folder: Path) -> None:
    """Make a folder of ready-made parts (`train/` …), so that all sides read the same files."""
    for part, examples in parts.items():
        for example in examples:
            target = folder / part / example.class_name / example.path.name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(example.path.resolve())


def folds(data: Path, seed: int) -> Iterator[tuple[list[Example], list[Example]]]:
    """Yield what is known and what is held out; near-duplicates are never on both sides."""
    listing = DatasetSpec(data).listing()
    groups = audit(data).groups(listing)
    places = assign_folds(listing.labels, groups, count=FOLDS, seed=seed)
    placed = list(zip(listing.examples, places, strict=True))
    for fold in range(FOLDS):
        yield (
            [example for example, place in placed if place != fold],
            [example for example, place in placed if place == fold],
        )


def timed(work: Callable[[], object]) -> Callable[[], Figures]:
    """Make a side of a function: its figures are its seconds."""

    def side() -> Figures:
        started = time.perf_counter()
        work()
        return {"seconds": time.perf_counter() - started}

    return side


def process(*command: object) -> Figures:
    """Run a command: its time and largest memory, and the figures of its last line if that is JSON.

    Linux counts the memory of the process that starts another into the other's peak: whoever calls this
    must stay small, so it loads no TensorFlow.
    """
    words = [str(part) for part in command]
    environment = {"TF_CPP_MIN_LOG_LEVEL": "3", "TLKIT_ENGINE": "tensorflow", **os.environ}
    started = time.perf_counter()
    with (
        tempfile.TemporaryFile("w+") as said,  # TensorFlow greets; shown if something goes wrong
        subprocess.Popen(
            words,
            stdout=subprocess.PIPE,
            stderr=said,
            text=True,
            env=environment,
        ) as child,
    ):
        assert child.stdout is not None
        lines = child.stdout.read().splitlines()
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.perf_counter() - started
        if child.returncode:
            said.seek(0)
            raise SystemExit(f"{said.read()}\nthis failed: {' '.join(words)}")
    printed: Figures = json.loads(lines[-1]) if lines and lines[-1].startswith("{") else {}
    cores = usage.ru_utime + usage.ru_stime
    peak = usage.ru_maxrss / 1024
    return {"process seconds": seconds, "core seconds": cores, "peak MiB": peak, **printed}


def interleaved(sides: Mapping[str, Callable[[], Figures]], repeats: int) -> Runs:
    """Run the sides A B A B …, so that a noisy minute hurts both."""
    runs: Runs = {name: [] for name in sides}
    for _ in range(repeats):
        for name, side in sides.items():
            runs[name].append(side())
    return runs


def table(
    runs: Runs,
    figure: str = "seconds",
    *,
    baseline: str,
    middle: Callable[[list[float]], float] = statistics.median,
) -> None:
    """Print one figure of all sides that have it, and how it compares to the baseline."""
    values = {
        name: [run[figure] for run in found] for name, found in runs.items() if figure in found[0]
    }
    width = max(map(len, [figure, *values]))
    print(f"\n{figure:{width}}{middle.__name__:>10}{'min':>10}{'max':>10}   beside {baseline}")
    base = middle(values[baseline])
    for name, found in values.items():
        numbers = "".join(f"{n:10.4g}" for n in (middle(found), min(found), max(found)))
        said = "" if name == baseline else f"   {_beside(figure, middle(found), base)}"
        print(f"{name:{width}}{numbers}{said}", flush=True)


def _beside(figure: str, value: float, base: float) -> str:
    if "seconds" in figure or figure.startswith("ms/"):
        return f"{base / value:.2f}x faster" if value < base else f"{value / base:.2f}x as long"
    if "MiB" in figure or figure.endswith("/s"):
        return f"{value / base:.2f}x as much"
    return f"{value - base:+.3f}"


def write_json(options: argparse.Namespace, figures: Mapping[str, Any]) -> None:
    """Write figures where `--json` says, together with what they were measured on."""
    if options.json is None:
        return
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--exclude", "*"],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parent,
    )
    versions = {"python": platform.python_version()}
    for name in ("tlkit", "tensorflow", "keras", "numpy", "pillow", "onnxruntime"):
        with suppress(PackageNotFoundError):
            versions[name] = version(name)
    about = {
        "date": time.strftime("%F"),
        "settings": {name: str(value) for name, value in vars(options).items()},
        "versions": versions,
        "cores": os.cpu_count(),
        "commit": commit.stdout.strip(),
    }
    options.json.write_text(json.dumps({**about, **figures}, indent=1) + "\n")
