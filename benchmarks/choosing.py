"""What `compare` costs, and how far to believe `learning_curve` and `suggest`.

    python benchmarks/choosing.py cost --data DIR --weights DIR [--images N]
    python benchmarks/choosing.py hiding --data DIR [DIR …] [--draws 6]
    python benchmarks/choosing.py labels --data DIR [DIR …] [--draws 3]

`cost` compares MobileNetV2 (0.35 and 1.0) and EfficientNet-Lite 0, 1 and 2; beside it stand one decode, the
sum of their forward passes, and building and tracing each, and the largest memory that the comparison took;
with `--images N` on N drawn images instead of the photographs. `hiding` asks a random half of each folder
for a forecast, and the whole folder for what came: the share of bands that hold it, on the images of the
half, and how wide they are. `labels` buys labels in batches, by `suggest`'s rule and at random, and counts
how many it takes to come within 5 % of the log-loss of all images; beside it stands the mean ratio of the
two orders' log-losses on the way there.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from measuring import mobilenet, write_json
from PIL import Image

from tlkit import BackboneAdapter, DatasetSpec, FineTuneSchedule, compare
from tlkit.backbones.engines import BATCH_SIZE, TensorFlowEngine
from tlkit.choosing.learning_curve import SHARES
from tlkit.choosing.power_law import forecast
from tlkit.choosing.subsets import places
from tlkit.choosing.suggest import worth_labelling
from tlkit.core.rows import Indices
from tlkit.data.audit import audit_of
from tlkit.data.split import assign_folds
from tlkit.features.run_folders import RunFolders
from tlkit.images.loader import read_images
from tlkit.training.head import LinearHead, fit_head
from tlkit.training.settings import RunSettings

Floats = npt.NDArray[np.float64]
FOLDS = 5


def candidates(options: argparse.Namespace) -> list[BackboneAdapter]:
    found = []
    for options.alpha in (0.35, 1.0):
        found.append(mobilenet(options))
    return [*found, *(BackboneAdapter(f"EfficientNetLite{n}") for n in range(3))]


def cost(options: argparse.Namespace) -> dict[str, Any]:
    """Measure a comparison, and the parts that it cannot do without, one after the other."""
    from tlkit.core.tensorflow import keras, tf  # noqa: F401 - importing is not what is measured

    adapters = candidates(options)
    (data,) = options.data
    if options.images:
        data = drawn(Path(options.place.name), options.images)
    started = time.perf_counter()
    comparison = compare(data, adapters)
    whole = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    paths = [example.path for example in DatasetSpec(data).listing().examples]
    parts: dict[str, float] = defaultdict(float)
    for size in {adapter.image_size for adapter in adapters}:
        started = time.perf_counter()
        count = sum(1 for _ in read_images(paths, size))
        parts["one decode"] = max(parts["one decode"], time.perf_counter() - started)
    for adapter in adapters:
        started = time.perf_counter()
        engine = TensorFlowEngine(adapter.build().features())
        images = np.zeros((BATCH_SIZE, *adapter.image_size, 3), np.uint8)
        engine(images)
        parts["building and tracing"] += time.perf_counter() - started
        started = time.perf_counter()
        for _ in range(-(-count // BATCH_SIZE)):
            engine(images)
        parts["forward passes"] += time.perf_counter() - started
    print(comparison)
    total = sum(parts.values())
    print(
        f"\ncomparison {whole:.1f} s; {dict(parts)}, in all {total:.1f} s: ratio {whole / total:.2f}"
    )
    print(f"{count} images, largest memory of the comparison {peak:.0f} MiB")
    return {"comparison seconds": whole, **parts, "ratio": whole / total, "peak MiB": peak}


def drawn(folder: Path, count: int) -> Path:
    """Write small images of two classes, no two alike: coarse and fine patches of colours."""
    for number in range(count):
        kind, side = (("coarse", 5), ("fine", 9))[number % 2]
        random = np.random.default_rng(number)
        patches = Image.fromarray(random.integers(256, size=(side, side, 3), dtype=np.uint8))
        (folder / kind).mkdir(exist_ok=True)
        patches.resize((128, 128), Image.Resampling.BICUBIC).save(folder / kind / f"{number}.jpg")
    return folder


class Folder:
    """Features, labels and groups of one folder."""

    def __init__(self, path: Path, backbone: BackboneAdapter) -> None:
        settings = RunSettings.resolve(path, backbone, None, FineTuneSchedule.head_only(), 0)
        listing = settings.dataset.listing()
        originals = settings.frozen_part(RunFolders()).read(listing.examples)
        report = audit_of(
            settings.dataset, listing, originals.readable, originals.facts, originals.bad_files
        )
        groups = report.groups(listing, None)
        self.name, self.widths = path.name, originals.stage_widths
        self.features = originals.outputs[0].read(originals.readable)
        self.labels = listing.labels[originals.readable].astype(np.int64)
        self.groups = np.array([groups[index] for index in originals.readable])

    def rarest(self, rows: Indices) -> int:
        labels, groups = self.labels[rows], self.groups[rows]
        return min(len(np.unique(groups[labels == label])) for label in (0, 1))

    def head(self, rows: Indices, seed: int) -> LinearHead:
        count = min(FOLDS, self.rarest(rows))
        folds = assign_folds(self.labels[rows], self.groups[rows].tolist(), count=count, seed=seed)
        return fit_head(self.features[rows], self.labels[rows], folds=folds, blocks=self.widths)

    def losses(self, head: LinearHead, rows: Indices) -> Floats:
        logits = head.logits(self.features[rows])
        found: Floats = np.logaddexp(0, logits) - self.labels[rows] * logits
        return found

    def curve(self, rows: Indices, shares: tuple[float, ...], draws: int) -> tuple[Floats, Floats]:
        """Return out-of-fold losses [draws, shares, N] and mean counts [shares]."""
        found = np.full((draws, len(shares), len(rows)), np.nan)
        counts = np.zeros(len(shares))
        for draw in range(draws):
            fold_of = assign_folds(
                self.labels[rows], self.groups[rows].tolist(), count=FOLDS, seed=draw
            )
            for fold in range(FOLDS):
                learned, judged = rows[fold_of != fold], fold_of == fold
                place = places(self.labels[learned], self.groups[learned].tolist(), seed=draw)
                for number, share in enumerate(shares):
                    subset = learned[place <= share]
                    counts[number] += len(subset) / draws / FOLDS
                    if self.rarest(subset) >= 5:
                        head = self.head(subset, draw)
                        found[draw, number, judged] = self.losses(head, rows[judged])
        return found, counts


def hiding(options: argparse.Namespace) -> dict[str, Any]:
    """Ask halves for a forecast, and the whole for what came."""
    result: dict[str, Any] = {}
    for path in options.data:
        folder = Folder(path, BackboneAdapter(options.backbone))
        everything = np.arange(len(folder.labels))
        whole = folder.curve(everything, (1.0,), 3)[0][:, 0]
        held, wide = [], []
        for draw in range(options.draws):
            place = places(folder.labels, folder.groups.tolist(), seed=1000 + draw)
            half = np.flatnonzero(place <= 0.5)
            found, counts = folder.curve(half, SHARES, 3)
            there = ~np.isnan(found).any(axis=(0, 2))
            means = found.mean(axis=(0, 2))[there]
            errors = found.mean(axis=2).std(axis=0, ddof=1)[there] / np.sqrt(3) / means
            middle, low, high = forecast(counts[there].tolist(), means.tolist(), errors.tolist(), 2)
            held.append(low <= float(whole[:, half].mean()) <= high)
            wide.append((high - low) / 2 / middle)
        result[path.name] = {"held": float(np.mean(held)), "widest": max(wide)}
        print(
            f"{path.name:20} held {np.mean(held):.2f} of {len(held)}, ± {np.mean(wide):.2f}",
            flush=True,
        )
    print(f"in all {np.mean([one['held'] for one in result.values()]):.2f}")
    return result


def labels(options: argparse.Namespace) -> dict[str, Any]:
    """Buy labels by the rule and at random, an eighth of the pool at a time."""
    result: dict[str, Any] = {}
    for path in options.data:
        folder = Folder(path, BackboneAdapter(options.backbone))
        curves: dict[str, list[list[float]]] = {"suggested": [], "random": []}
        counts: list[int] = []
        for draw in range(options.draws):
            fold_of = assign_folds(folder.labels, folder.groups.tolist(), count=4, seed=draw)
            test, pool = np.flatnonzero(fold_of == 0), np.flatnonzero(fold_of != 0)
            pool = pool[np.sort(np.unique(folder.groups[pool], return_index=True)[1])]
            for order, kept in curves.items():
                bought = _bought(folder, pool, test, order, draw)
                kept.append([loss for _, loss in bought])
                counts = [count for count, _ in bought]
        losses = {
            order: np.array([c[: len(counts)] for c in kept]) for order, kept in curves.items()
        }
        needed, factor = _saved(counts, losses, np.arange(options.draws))
        random = np.random.default_rng(0)
        again = random.integers(options.draws, size=(200, options.draws))
        error = float(np.std([_saved(counts, losses, draws)[1] for draws in again]))
        ratios = np.log(losses["suggested"][:, 1:-1] / losses["random"][:, 1:-1]).mean(axis=1)
        on_the_way = float(np.exp(ratios.mean()))
        spread = float(ratios.std(ddof=1) / np.sqrt(len(ratios)))
        result[path.name] = {**needed, "factor": factor, "error": error, "on the way": on_the_way}
        print(
            f"{path.name:20} {needed}, factor {factor:.2f} ± {error:.2f}; "
            f"log-loss on the way {on_the_way:.3f} ± {on_the_way * spread:.3f} of the random one",
            flush=True,
        )
    for name in ("factor", "on the way"):
        mean = np.exp(np.mean(np.log([one[name] for one in result.values()])))
        print(f"{name}: {mean:.2f}, geometric mean over the folders")
    return result


def _saved(
    counts: list[int], losses: dict[str, Floats], draws: Indices
) -> tuple[dict[str, float], float]:
    """Return how many labels each order needs in the mean over draws, and how many times fewer ours are."""
    means = {order: found[draws].mean(axis=0) for order, found in losses.items()}
    target = 1.05 * means["random"][-1]
    needed = {order: _needed(counts, mean, target) for order, mean in means.items()}
    return needed, needed["random"] / needed["suggested"]


def _bought(
    folder: Folder, pool: Indices, test: Indices, order: str, draw: int
) -> list[tuple[int, float]]:
    batch = max(10, len(pool) // 8)
    random = np.random.default_rng(draw)
    place = places(folder.labels[pool], folder.groups[pool].tolist(), seed=draw)
    known = pool[np.argsort(place)[: max(20, batch)]]
    found = []
    while True:
        head = folder.head(known, draw)
        found.append((len(known), float(folder.losses(head, test).mean())))
        rest = np.setdiff1d(pool, known)
        if not len(rest):
            return found
        if order == "random":
            chosen = random.permutation(len(rest))[:batch]
        else:
            logits = head.logits(folder.features[rest])
            chances = 1 / (1 + np.exp(-logits))
            chosen = worth_labelling(folder.features[rest], chances, batch, seed=draw)
        known = np.concatenate([known, rest[chosen]])


def _needed(counts: list[int], losses: Floats, target: float) -> float:
    """Return how many labels it takes to stay at or below a log-loss from there on."""
    above = np.flatnonzero(losses > target)
    if not len(above) or above[-1] + 1 >= len(counts):
        return float(counts[0] if not len(above) else counts[-1])
    last = int(above[-1])
    share = (losses[last] - target) / (losses[last] - losses[last + 1])
    return float(counts[last] + share * (counts[last + 1] - counts[last]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("what", choices=("cost", "hiding", "labels"))
    add("--data", type=Path, nargs="+", required=True, help="folders with two classes")
    add("--weights", type=Path, help="folder of MobileNetV2's weights files, for `cost`")
    add("--backbone", default="EfficientNetLite0", help="for `hiding` and `labels`")
    add("--draws", type=int, default=3, help="halves, or orders, of each folder")
    add("--images", type=int, help="for `cost`: so many drawn ones")
    add("--json", type=Path, help="where to write the figures")
    options = parser.parse_args()
    options.size = 224
    options.place = tempfile.TemporaryDirectory(prefix="tlkit-choosing-")
    figures = {"cost": cost, "hiding": hiding, "labels": labels}[options.what](options)
    write_json(options, {"figures": figures})


if __name__ == "__main__":
    main()
