"""Do the promises hold on real features: guarantees, familiarity; and what does familiarity cost?

    python benchmarks/decisions.py FOLDER [FOLDER …] [--cache DIR] [--images 150] [--draws 500]

Every folder goes once through the network, at most so many images of each class, its ready-made parts
pooled; `--cache` keeps what comes out. Then, for each folder:

- promises: draws of 300 images, with replacement, from its out-of-fold logits. How often is the true share
  of mistakes among the decided, known of all that is drawn from, larger than was promised?
- familiarity: a fifth of its groups is held out, by lot. Which share of it gets 0.05 or less?
- foreign: at the level that keeps 95 % of its own held-out images, how many of every other folder are
  flagged?

`--alone NETWORK`: what does a classifier of the first folder decide alone, at 2 % error with 90 %
confidence, and what without its surest mistake? `--cost`: a prediction with familiarity beside one without.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tlkit import (
    BackboneAdapter,
    DatasetSpec,
    FineTuneSchedule,
    TransferClassifier,
    transfer_classifier,
)
from tlkit.classifier.predictor import NetworkPredictor
from tlkit.data.audit import audit_of
from tlkit.errors import GuaranteeError
from tlkit.evaluation.decision_counts import UNSURE
from tlkit.evaluation.decisions import choose_guarantee
from tlkit.evaluation.familiarity import Familiarity
from tlkit.features.run_folders import RunFolders
from tlkit.training.cross_validation import Run, judge_by_folds
from tlkit.training.settings import RunSettings

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

ERRORS = (0.02, 0.05, 0.1, 0.2)
DRAWN = 300  # images of a draw
CONFIDENCE = 0.9
LEVEL = 0.05  # of familiarity
REPEATS = 25


@dataclass(frozen=True)
class Folder:
    """What the network makes of a folder: of each image its label, group, out-of-fold logit and features."""

    name: str
    labels: Ints
    groups: Ints
    logits: Floats
    features: npt.NDArray[np.float32]


def read(folder: Path, network: str, count: int, cache: Path | None) -> Folder:
    """Run a folder through the network, or read what an earlier run kept."""
    kept = cache and cache / f"{folder.name}-{network}-{count}.npz"
    if kept is None or not kept.exists():
        with tempfile.TemporaryDirectory() as place:
            arrays = _through(_sampled(folder, Path(place), count), network)
        if kept is None:
            return Folder(folder.name, **arrays)
        kept.parent.mkdir(parents=True, exist_ok=True)
        np.savez(kept, **arrays)
    with np.load(kept) as file:
        return Folder(folder.name, **{name: file[name] for name in file.files})


def _sampled(folder: Path, place: Path, count: int) -> DatasetSpec:
    """Return some images of each class, the same ones each time, without their ready-made parts."""
    listing = DatasetSpec(folder).listing()
    random = np.random.default_rng(0)
    for label, name in enumerate(listing.class_names):
        of_class = [example for example in listing.examples if example.class_name == name]
        (place / name).mkdir()
        for number in np.sort(random.permutation(len(of_class))[:count]).tolist():
            path = of_class[number].path
            (place / name / f"{label}-{number:05d}{path.suffix}").symlink_to(path.resolve())
    return DatasetSpec(place)


def _through(spec: DatasetSpec, network: str) -> dict[str, npt.NDArray[np.generic]]:
    schedule = FineTuneSchedule.head_only()
    settings = RunSettings.resolve(spec, BackboneAdapter(network), None, schedule, 0)
    listing, folders = spec.listing(), RunFolders()
    frozen = settings.frozen_part(folders)
    originals = frozen.read(listing.examples)
    report = audit_of(spec, listing, originals.readable, originals.facts, originals.bad_files)
    run = Run.of(settings, frozen, originals, listing, report, folders)
    judged = judge_by_folds(run, originals.readable, folds=5)
    groups = np.unique(run.groups_of(judged.among), return_inverse=True)[1]
    features = originals.outputs[0].read(judged.among)
    return {
        "labels": listing.labels[judged.among].astype(np.int64),
        "groups": groups.astype(np.int64),
        "logits": np.array(judged.result.scores.logits),
        "features": features[:, -originals.stage_widths[-1] :],
    }


def promises(folder: Folder, draws: int) -> dict[str, dict[str, float]]:
    """Return for each error how often it was exceeded, and how often it could not be promised."""
    random = np.random.default_rng(1)
    found = {}
    for error in ERRORS:
        broken, refused, decided = 0, 0, []
        for _ in range(draws):
            drawn = random.integers(folder.labels.size, size=DRAWN)
            try:
                guarantee = choose_guarantee(
                    folder.labels[drawn], folder.logits[drawn], error=error, confidence=CONFIDENCE
                )
            except GuaranteeError:
                refused += 1
                continue
            called = guarantee.decide(folder.logits)
            sure = called != UNSURE
            wrong = (called != folder.labels)[sure]
            broken += bool(wrong.size) and float(wrong.mean()) > error
            decided.append(float(sure.mean()))
        found[f"{error:g}"] = {
            "exceeded": broken / draws,
            "refused": refused / draws,
            "decided alone": statistics.fmean(decided) if decided else 0.0,
        }
    return found


def held_out(folder: Folder, draws: int) -> float:
    """Return the mean share of held-out images whose familiarity is at most the level."""
    random = np.random.default_rng(2)
    shares = []
    for _ in range(draws):
        order = random.permutation(folder.groups.max() + 1)
        apart = np.isin(folder.groups, order[: order.size // 5])
        known = Familiarity.fit(folder.features[~apart], groups=folder.groups[~apart])
        shares.append(np.mean(known.p_values(folder.features[apart]) <= LEVEL))
    return float(np.mean(shares))


def foreign(folders: Sequence[Folder]) -> dict[str, float]:
    """Return the share of each folder's images that a classifier of each other one flags."""
    found = {}
    for own in folders:
        known = Familiarity.fit(own.features, groups=own.groups)
        for other in folders:
            if other is not own:
                flagged = known.p_values(other.features) <= LEVEL
                found[f"{own.name} shown {other.name}"] = float(flagged.mean())
    return found


def alone(folder: Path, network: str, cache: Path | None) -> str:
    """Say what a classifier of the whole folder decides alone, with and without its surest mistake."""

    def promised(place: Path) -> tuple[TransferClassifier, str]:
        classifier = transfer_classifier(
            place,
            backbone=BackboneAdapter(network),
            schedule=FineTuneSchedule.head_only(),
            folds=5,
            cache_dir=cache,
        )
        try:
            return classifier, str(classifier.with_guarantee(0.02, confidence=CONFIDENCE).guarantee)
        except GuaranteeError as refused:
            return classifier, str(refused)

    classifier, said = promised(folder)
    scores = classifier.record.scores["out-of-fold"]
    against = np.where(np.array(scores.labels) > 0, -1, 1) * np.array(scores.logits)
    surest = scores.names[int(against.argmax())]
    with tempfile.TemporaryDirectory() as place:
        for example in DatasetSpec(folder).listing().examples:
            if example.name != surest:
                link = Path(place) / example.class_name / example.path.name
                link.parent.mkdir(exist_ok=True)
                link.symlink_to(example.path.resolve())
        return f"{said}\nwithout {surest}: {promised(Path(place))[1]}"


def cost(folder: Folder, network: str) -> tuple[float, float, float]:
    """Return seconds of a batch with and without familiarity, the fastest of each, and their ratio."""
    features = BackboneAdapter(network).build().features()
    import keras

    logit = keras.layers.Dense(1, name="logit")(features.output)
    probability = keras.layers.Activation("sigmoid", name="probability")(logit)
    plain = keras.Model(features.input, probability)
    known = Familiarity.fit(folder.features, groups=folder.groups)
    height, width = plain.input_shape[1:3]
    images = np.random.default_rng(0).integers(256, size=(32, height, width, 3), dtype=np.uint8)
    sides = NetworkPredictor(plain, known), NetworkPredictor(plain)
    times: tuple[list[float], list[float]] = ([], [])
    for repeat in range(REPEATS + 2):
        for side in (0, 1) if repeat % 2 else (1, 0):
            started = time.perf_counter()
            sides[side].answers(images, 100_000)
            if repeat >= 2:  # the first choose an engine and warm it
                times[side].append(time.perf_counter() - started)
    both, forward = map(min, times)
    return both, forward, both / forward


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", type=Path, nargs="+", help="folders of two classes")
    parser.add_argument("--cache", type=Path, help="keep what the network gives there")
    parser.add_argument("--backbone", default="EfficientNetLite0")
    parser.add_argument("--images", type=int, default=150, help="at most so many of each class")
    parser.add_argument("--draws", type=int, default=500)
    parser.add_argument("--alone", metavar="NETWORK", help="train it on the first folder, wholly")
    parser.add_argument("--cost", action="store_true", help="measure what familiarity costs, too")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    options = parser.parse_args()
    folders = [
        read(folder, options.backbone, options.images, options.cache) for folder in options.folders
    ]
    slack = 3 * math.sqrt(CONFIDENCE * (1 - CONFIDENCE) / options.draws)
    print(
        f"{options.draws} draws of {DRAWN} images; the error may be exceeded in {1 - CONFIDENCE:.2f} of "
        f"them, with slack {1 - CONFIDENCE + slack:.3f}"
    )
    figures: dict[str, object] = {"most": 1 - CONFIDENCE + slack}
    kept, own = {}, {}
    for folder in folders:
        kept[folder.name] = promises(folder, options.draws)
        own[folder.name] = held_out(folder, options.draws)
        cells = " | ".join(
            f"{one['exceeded']:.3f} ({one['decided alone']:.2f}, {one['refused']:.2f} refused)"
            for one in kept[folder.name].values()
        )
        accuracy = np.mean((folder.logits > 0) == (folder.labels == 1))
        print(
            f"| {folder.name} | {folder.labels.size} images, accuracy {accuracy:.3f} | {cells} | "
            f"{own[folder.name]:.3f} |",
            flush=True,
        )
    figures |= {"promises": kept, "familiarity": own}
    print(f"errors {', '.join(map(str, ERRORS))}; the last column: familiarity at most {LEVEL}")
    if len(folders) > 1:
        pairs = foreign(folders)
        figures["foreign"] = pairs
        hardest = sorted(pairs, key=pairs.__getitem__)[:3]
        named = ", ".join(f"{pairs[pair]:.3f} {pair}" for pair in hardest)
        mean = statistics.fmean(pairs.values())
        print(f"foreign images flagged: {mean:.4f} on average of {len(pairs)} pairs; least {named}")
    if options.alone:
        print(f"{options.folders[0].name}, {options.alone}:")
        print(alone(options.folders[0], options.alone, options.cache))
    if options.cost:
        both, forward, ratio = cost(folders[0], options.backbone)
        figures["cost"] = ratio
        print(
            f"with familiarity {1000 * both:.1f} ms for 32 images, without {1000 * forward:.1f} ms: "
            f"{ratio:.3f} times"
        )
    if options.json:
        options.json.write_text(json.dumps(figures), "utf-8")


if __name__ == "__main__":
    main()
