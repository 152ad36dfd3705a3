"""What `scaling.py` measures beyond a folder's images: many files, many rows of features, many thumbnails.

Each measurement is a process of its own, started as `beyond.py WHAT COUNT PLACE [--whole]`, which prints its
figures. "MiB above" is its largest memory above what it had when its imports were done.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import numpy as np
import numpy.typing as npt
from measuring import Figures, Runs, interleaved, mobilenet, process, table, write_json

from tlkit import DatasetSpec
from tlkit.backbones.engines import TensorFlowEngine
from tlkit.core.rows import FeatureRows, Rows
from tlkit.data.duplicates import find_duplicates
from tlkit.data.split import split_readable
from tlkit.features.passes import Originals, OriginalsPass, read_originals
from tlkit.features.views import Selected, Views
from tlkit.images.decoder import ImageFacts, read_image
from tlkit.images.loader import read_images
from tlkit.training import head
from tlkit.training import newton as logistic

COUNTS = {
    "head": (10_000, 100_000, 1_000_000),
    "listing": (100_000, 1_000_000),
    "duplicates": (10_000, 100_000, 1_000_000),
    "rates": (1,),
}
WHOLE_AT_MOST = 100_000  # rows solved in memory too: their Hessian alone takes a minute
WIDTH = 1280
BLOCK = 4096
NOISE = 0.5  # of the spread of each feature
NO_VIEWS = np.empty(0, np.int64)


def memory_mib(name: str) -> float:
    """Read the memory of this process now ("VmRSS") or at its largest ("VmHWM"); Linux only."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1024


def measured(work: Callable[[], object]) -> Figures:
    before, started, busy = memory_mib("VmRSS"), time.perf_counter(), time.process_time()
    work()
    return {
        "seconds": time.perf_counter() - started,
        "CPU seconds": time.process_time() - busy,
        "MiB above": memory_mib("VmHWM") - before,
    }


def rows_at(place: Path, count: int) -> Rows:
    return Rows(count, (WIDTH,), np.float32, path=place / f"{count}.rows")


def real_features(
    options: argparse.Namespace,
) -> tuple[Originals, npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Run the photographs through the network: all that is known of them, features and labels."""
    examples = DatasetSpec(options.data).listing().examples
    adapter = mobilenet(options)
    model = adapter.build().features()
    with OriginalsPass(examples, lambda: TensorFlowEngine(model), adapter.image_size) as begun:
        originals = read_originals(begun)
    features = originals.outputs[0].read(originals.readable).astype(np.float32)
    return originals, features, np.array([examples[row].label for row in originals.readable])


def make_rows(options: argparse.Namespace, place: Path, counts: list[int]) -> None:
    """Write features and labels as a network gives them, as many as asked for.

    Each row mixes the features of two photographs and adds noise; its label is drawn with the probability
    that a head fitted to the photographs gives it.
    """
    _, real, labels = real_features(options)
    judge = head.fit_head(real, labels, folds=np.arange(len(labels)) % 5)
    random = np.random.default_rng(0)
    for count in counts:
        rows, drawn = rows_at(place, count), np.empty(count, np.int8)
        for start in range(0, count, BLOCK):
            size = min(BLOCK, count - start)
            share = random.random((size, 1), np.float32)
            one, other = real[random.integers(len(real), size=(2, size))]
            noise = random.standard_normal((size, WIDTH), np.float32) * (NOISE * real.std(axis=0))
            block = np.maximum(share * one + (1 - share) * other + noise, 0)
            indices = np.arange(start, start + size)
            rows.write(indices, block)
            drawn[indices] = random.random(size) < logistic.sigmoid(judge.logits(block))
        np.save(place / f"{count}.labels.npy", drawn)


def solve(count: int, place: Path, *, whole: bool) -> Figures:
    """Solve the head on rows in their file, or on all of them in memory with the Hessian of all."""
    rows, labels = rows_at(place, count), np.load(place / f"{count}.labels.npy")
    everything = np.arange(count)
    features: FeatureRows = Selected(Views(rows, None, NO_VIEWS), everything)
    if whole:
        features = np.asarray(features)
    passes, blocks = [0], logistic.CentredRows.blocks
    solved: list[head.LinearHead] = []

    def counted(rows: logistic.CentredRows) -> Iterator[tuple[slice, npt.NDArray[np.float64]]]:
        passes[0] += len(rows.features) == count
        return blocks(rows)

    sample = count * WIDTH if whole else head.SAMPLE_NUMBERS
    with (
        patch.object(logistic.CentredRows, "blocks", counted),
        patch.object(head, "SAMPLE_NUMBERS", sample),
    ):
        figures = measured(
            lambda: solved.append(head.fit_head(features, labels, folds=everything % 5))
        )
    found = solved[0]
    numbers = np.append(found.kernel, found.bias)
    np.savez(
        place / f"{count}.{whole}.npz", numbers=numbers, logits=found.logits(features), l2=found.l2
    )
    unseen = found.out_of_fold_logits
    assert unseen is not None
    return {
        **figures,
        "passes": passes[0],
        "strength": found.l2,
        "held-out log-loss": float(logistic.log_losses(labels, unseen).mean()),
        "held-out accuracy": float(((unseen > 0) == labels).mean()),
    }


def differences(place: Path, count: int) -> Figures:
    """Compare what both ways gave."""
    streamed, whole = (np.load(place / f"{count}.{way}.npz") for way in (False, True))
    largest = {name: np.abs(streamed[name] - whole[name]).max() for name in ("numbers", "logits")}
    return {
        "largest difference of logits": float(largest["logits"]),
        "of coefficients, beside the largest": float(
            largest["numbers"] / np.abs(whole["numbers"]).max()
        ),
    }


def list_files(count: int, place: Path) -> Figures:
    """List a folder, and split what was listed."""
    spec, found = DatasetSpec(place / "files"), []
    figures = measured(lambda: found.append(spec.listing()))
    listing = found[0]
    groups = listing.groups(None)
    split = measured(lambda: split_readable(spec, listing, groups, np.arange(count)))
    return {**figures, "split CPU seconds": split["CPU seconds"]}


def stand_in(
    path: str | Path, image_size: tuple[int, int]
) -> tuple[npt.NDArray[np.uint8], ImageFacts]:
    """Say of a file what a decoder would say, without opening it."""
    return np.zeros((*image_size, 3), np.uint8), made_up_facts(np.zeros((32, 32), np.uint8), path)


def made_up_facts(thumbnail: npt.NDArray[np.uint8], identity: object) -> ImageFacts:
    return ImageFacts(
        format="JPEG",
        mode="RGB",
        width=640,
        height=480,
        orientation=1,
        animated=False,
        transparent=False,
        bits=8,
        byte_count=1,
        digest=str(identity),
        thumbnail=thumbnail,
    )


class NoNetwork:
    """An engine that answers at once."""

    name, parameters = "none", 0

    def __call__(self, images: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.float32]]:
        return (np.zeros((len(images), WIDTH), np.float32),)


def pass_over(count: int, place: Path) -> Figures:
    """Run the pass over a listing with nothing to decode and nothing to compute."""
    examples = DatasetSpec(place / "files").listing().examples
    found = []

    def read() -> None:
        with OriginalsPass(examples, NoNetwork, (32, 32)) as begun:
            found.append(read_originals(begun).readable)

    with patch("tlkit.features.passes.read_images", partial(read_images, read=stand_in)):
        figures = measured(read)
    if len(found[0]) != count:
        raise SystemExit("something else has opened the files, which are empty")
    return figures


def compare_thumbnails(count: int, _: Path) -> Figures:
    """Search for duplicates among thumbnails whose contrast falls with frequency as in photographs."""
    random = np.random.default_rng(0)
    angles = np.pi / 32 * np.outer(np.arange(16), np.arange(32) + 0.5)
    waves = np.cos(angles).astype(np.float32)
    fall = 100 / (1 + np.hypot(*np.mgrid[:16, :16])).astype(np.float32)
    facts = []
    for start in range(0, count, BLOCK):
        weights = fall * random.standard_normal((min(BLOCK, count - start), 16, 16), np.float32)
        images = np.clip(waves.T @ weights @ waves / 2 + 128, 0, 255).astype(np.uint8)
        facts += [made_up_facts(p, start + number) for number, p in enumerate(images)]
    facts += [made_up_facts(facts[n].thumbnail[:, ::-1], ("copy", n)) for n in range(0, count, 100)]
    labels = np.arange(len(facts)) % 2
    found = []
    figures = measured(
        lambda: found.append(find_duplicates(facts, labels, largest=0.2 * len(facts)))
    )
    return {**figures, "copies found": len(found[0].copies)}


def rates(options: argparse.Namespace, place: Path) -> Figures:
    """Measure what one image costs where it is decoded, stored and read back."""
    from tlkit.scale.store import FeatureStore

    files = sorted(options.data.glob("*/*.jpg"))
    size = (options.size, options.size)
    decode = measured(lambda: [read_image(file, size) for file in files])
    originals, features, _ = real_features(options)
    store, names = FeatureStore(str(place / "features")), [file.name for file in files]
    store.begin({})
    write = measured(lambda: store.write(0, names, originals.facts, features))
    back = measured(lambda: [store.read(0) for _ in range(10)])
    tracemalloc.start()
    facts = store.read(0).outcomes
    kept = tracemalloc.get_traced_memory()[0] / len(facts)
    tracemalloc.stop()
    stored = sum(file.stat().st_size for file in (place / "features").glob("*.parquet"))
    return {
        "file bytes": sum(file.stat().st_size for file in files) / len(files),
        "decode ms of a core": 1e3 * decode["CPU seconds"] / len(files),
        "stored bytes": stored / len(files),
        "store us of a core": 1e6 * write["CPU seconds"] / len(files),
        "read back us of a core": 1e5 * back["CPU seconds"] / len(files),
        "memory of the facts, bytes": kept,
    }


def make_files(place: Path, count: int) -> None:
    for number in range(count):
        folder = place / "files" / ("one", "other")[number % 2] / f"{number // 10_000:04d}"
        if number % 10_000 < 2:
            folder.mkdir(parents=True)
        (folder / f"{number:09d}.jpg").touch()


def child(what: str, count: int, place: Path) -> list[object]:
    return [sys.executable, __file__, what, count, place]


def shared_data(options: argparse.Namespace) -> list[object]:
    return ["--data", options.data, "--weights", options.weights]


def run(what: str, count: int, place: Path, *flags: str) -> Figures:
    figures = process(*child(what, count, place), *flags)
    per_image = {"seconds": ("us/image", 1e6), "MiB above": ("bytes/image", 2.0**20)}
    return figures | {name: figures[of] * unit / count for of, (name, unit) in per_image.items()}


def heads(options: argparse.Namespace, counts: list[int], place: Path) -> Runs:
    """Solve on files of features, and up to `WHOLE_AT_MOST` rows in memory as well."""
    process(*child("rows", 0, place), *shared_data(options), "--counts", *counts)
    sides = {}
    for count in counts:
        if count <= WHOLE_AT_MOST:
            sides[f"in memory, {count:,}"] = partial(run, "head", count, place, "--whole")
        sides[f"from a file, {count:,}"] = partial(run, "head", count, place)
    runs = interleaved(sides, options.repeats)
    for count in counts:
        if count <= WHOLE_AT_MOST:
            for found in runs[f"from a file, {count:,}"]:
                found.update(differences(place, count))
    return runs


def listings(options: argparse.Namespace, counts: list[int], place: Path) -> Runs:
    runs: Runs = {}
    for count in counts:
        make_files(place, count)
        names = {"list": "listing", "pass": "pass"}
        sides = {f"{name}, {count:,}": partial(run, w, count, place) for w, name in names.items()}
        runs |= interleaved(sides, options.repeats)
        shutil.rmtree(place / "files")
    return runs


def thumbnails(options: argparse.Namespace, counts: list[int], place: Path) -> Runs:
    sides = {f"{count:,} thumbnails": partial(run, "duplicates", count, place) for count in counts}
    return interleaved(sides, options.repeats)


def images(options: argparse.Namespace, _: list[int], place: Path) -> Runs:
    sides = {"an image": partial(process, *child("rates", 0, place), *shared_data(options))}
    return interleaved(sides, options.repeats)


def main(options: argparse.Namespace) -> None:
    """Measure over what `options.over` says, print the tables and write the JSON."""
    counts = options.images or list(COUNTS[options.over])
    kinds = {"head": heads, "listing": listings, "duplicates": thumbnails, "rates": images}
    with TemporaryDirectory(prefix="tlkit-beyond-") as place:
        runs = kinds[options.over](options, counts, Path(place))
    names = dict.fromkeys(name for found in runs.values() for name in found[0])
    for figure in names:
        with_it = {name: found for name, found in runs.items() if figure in found[0]}
        table(with_it, figure, baseline=next(iter(with_it)))
    write_json(options, {"runs": runs})


def be() -> None:
    """Be the process of one measurement."""
    parser = argparse.ArgumentParser()
    parser.add_argument("what")
    parser.add_argument("count", type=int)
    parser.add_argument("place", type=Path)
    parser.add_argument("--whole", action="store_true")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--counts", type=int, nargs="+")
    parser.set_defaults(alpha=1.0, size=224)
    options = parser.parse_args()
    if options.what == "rows":
        make_rows(options, options.place, options.counts)
        return
    works: dict[str, Callable[[int, Path], Figures]] = {
        "head": partial(solve, whole=options.whole),
        "list": list_files,
        "pass": pass_over,
        "duplicates": compare_thumbnails,
        "rates": lambda _, place: rates(options, place),
    }
    print(json.dumps(works[options.what](options.count, options.place)))


if __name__ == "__main__":
    be()
