"""The real photographs with real weights: what tlkit promises about them."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
from test_calibration import plain_platt
from test_label_issues import found_share

from tlkit import (
    BackboneAdapter,
    DatasetSpec,
    FineTuneSchedule,
    audit,
    split_dataset,
    transfer_classifier,
)
from tlkit.data.split import assign_folds
from tlkit.evaluation.calibration import fit_calibration
from tlkit.evaluation.evaluate import evaluate
from tlkit.evaluation.log_loss import sigmoid
from tlkit.features.frozen_part import FrozenPart
from tlkit.features.run_folders import RunFolders
from tlkit.images.augmentation import AugmentationPolicy
from tlkit.training.head import LinearHead, fit_head
from tlkit.training.settings import needs_of

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
ALPHA_035 = "mobilenet_v2_0.35_224_no_top.weights.h5"
ALPHA_100 = "mobilenet_v2_1.0_224_no_top.weights.h5"


def backbone(weights_dir: Path, alpha: float, size: int) -> BackboneAdapter:
    weights = weights_dir / f"mobilenet_v2_{alpha}_224_no_top.weights.h5"
    return BackboneAdapter("MobileNetV2", image_size=(size, size), alpha=alpha, weights=weights)


SETS = [(1.0, 224), (1.0, 160), (0.35, 224), (0.35, 160)]
"""Width and image size of the four sets of features."""


def of_sets(*more: tuple[float, ...]) -> list[Any]:
    """Return the sets as parameters, with what belongs to each: the smallest is slow, the others long."""
    rows = zip(SETS, more or ((),) * len(SETS), strict=True)
    marks = dict.fromkeys(SETS[:-1], pytest.mark.long) | {SETS[-1]: pytest.mark.slow}
    return [pytest.param(*one, *its, marks=marks[one]) for one, its in rows]


class Photographs(NamedTuple):
    """Features of the photographs, read once for all tests of this file."""

    features: Floats
    labels: Ints
    names: list[str]


class Fold(NamedTuple):
    """An exact head, its regularization strength chosen inside its own training split."""

    head: LinearHead
    known: Ints
    held_out: Ints


@cache
def photographs(alpaca_dir: Path, weights_dir: Path, alpha: float, size: int) -> Photographs:
    listing = DatasetSpec(alpaca_dir).listing()
    frozen = FrozenPart(
        backbone(weights_dir, alpha, size).with_features("last"),
        needs_of(FineTuneSchedule.head_only()),
        AugmentationPolicy.none(),
        0,
        RunFolders(),
    )
    originals = frozen.read(listing.examples)
    features = originals.outputs[0].read(originals.readable).astype(np.float32)
    names = [example.name for example in listing.examples]
    return Photographs(features, listing.labels.astype(np.int64), names)


@cache
def five_folds(
    alpaca_dir: Path, weights_dir: Path, alpha: float, size: int, seed: int
) -> list[Fold]:
    features, labels, names = photographs(alpaca_dir, weights_dir, alpha, size)
    folds, found = assign_folds(labels, names, count=5, seed=seed), []
    for fold in range(5):
        known, held_out = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        inner = assign_folds(labels[known], [names[i] for i in known], count=5, seed=seed)
        found.append(Fold(fit_head(features[known], labels[known], folds=inner), known, held_out))
    return found


@pytest.mark.parametrize(
    ("alpha", "size", "at_least"), of_sets((0.945,), (0.90,), (0.915,), (0.885,))
)
def test_five_fold_accuracy(
    alpaca_dir: Path, weights_dir: Path, alpha: float, size: int, at_least: float
) -> None:
    features, labels, _ = photographs(alpaca_dir, weights_dir, alpha, size)
    right = [
        (fold.head.logits(features[fold.held_out]) > 0) == labels[fold.held_out]
        for seed in range(10)
        for fold in five_folds(alpaca_dir, weights_dir, alpha, size, seed)
    ]
    assert np.concatenate(right).mean() >= at_least


@pytest.mark.parametrize(("alpha", "size"), of_sets())
def test_calibration_does_no_harm_to_the_head(
    alpaca_dir: Path, weights_dir: Path, alpha: float, size: int
) -> None:
    """Held-out metrics of heads calibrated on their own out-of-fold logits, 5 folds by 10 seeds."""
    features, labels, _ = photographs(alpaca_dir, weights_dir, alpha, size)
    metrics = []
    for seed in range(10):
        lines = {name: np.empty(labels.size) for name in ("raw", "platt", "shrunk")}
        for head, known, held_out in five_folds(alpaca_dir, weights_dir, alpha, size, seed):
            assert head.out_of_fold_logits is not None
            calibration = fit_calibration(head.out_of_fold_logits, labels[known])
            assert calibration is not None
            slope, intercept = plain_platt(head.out_of_fold_logits, labels[known])
            logits = head.logits(features[held_out])
            lines["raw"][held_out] = logits
            lines["platt"][held_out] = slope * logits + intercept
            lines["shrunk"][held_out] = calibration.apply(logits)
        results = [
            evaluate(labels, sigmoid(line), class_names=("a", "b"), positive_class="b")
            for line in lines.values()
        ]
        metrics.append([(one.log_loss, one.calibration_error, one.brier_score) for one in results])
    raw, platt, shrunk = np.mean(metrics, axis=0)
    assert shrunk[0] < raw[0] + 0.0005
    assert shrunk[1] < raw[1] + 0.002
    assert shrunk[2] < raw[2] + 0.0005
    assert max(raw[1], shrunk[1]) < platt[1]


@pytest.mark.parametrize(("alpha", "size", "at_least"), of_sets((0.7,), (0.6,), (0.6,), (0.55,)))
def test_flipped_labels_fill_the_top_of_the_list(
    alpaca_dir: Path, weights_dir: Path, alpha: float, size: int, at_least: float
) -> None:
    """16 of 327 flipped; the 10 % that the smallest network gets wrong by itself crowd its list."""
    features, labels, names = photographs(alpaca_dir, weights_dir, alpha, size)
    shares = [found_share(features, labels, names, seed)[0] for seed in range(20)]
    assert np.mean(shares) >= at_least


@pytest.mark.slow
def test_the_main_job(alpaca_dir: Path, weights_dir: Path, tmp_path: Path) -> None:
    classifier = transfer_classifier(
        alpaca_dir,
        backbone=backbone(weights_dir, 0.35, 160),
        schedule=FineTuneSchedule.head_only(),
    )
    assert classifier.positive_class == "alpaca"
    assert (len(classifier.record.training_names), classifier.evaluation.count) == (327, 327)
    assert classifier.evaluation.part == "out-of-fold"
    assert classifier.evaluation.accuracy > 0.88
    assert classifier.evaluation.random_head_baseline is not None
    assert 0.2 < classifier.evaluation.random_head_baseline < 0.8
    assert not classifier.bad_files
    classifier.save(tmp_path / "alpaca.keras")
    classifier.save(tmp_path / "bare.keras", familiarity=False)
    size, bare = ((tmp_path / f"{n}.keras").stat().st_size for n in ("alpaca", "bare"))
    assert bare < 1.2 * (weights_dir / ALPHA_035).stat().st_size
    assert bare < size < bare + 2.6e6  # what familiarity is measured with


def test_a_validation_split_of_a_fifth(alpaca_dir: Path) -> None:
    parts = split_dataset(DatasetSpec(alpaca_dir, validation_fraction=0.2, seed=42))
    assert [len(parts[part]) for part in ("train", "validation", "test")] == [262, 65, 0]


@pytest.mark.long
def test_fine_tuning_does_no_harm(alpaca_dir: Path, weights_dir: Path, tmp_path: Path) -> None:
    """5 folds, measured on the fold that neither trained nor chose anything."""
    listing = DatasetSpec(alpaca_dir).listing()
    folds = assign_folds(listing.labels, audit(alpaca_dir).groups(listing), count=5, seed=0)
    losses: dict[str, list[float]] = {"head_only": [], "thorough": []}
    for fold in range(5):
        folder = tmp_path / str(fold)
        for example, place in zip(listing.examples, folds, strict=True):
            part = folder / ("test" if place == fold else "train") / example.class_name
            part.mkdir(parents=True, exist_ok=True)
            (part / example.path.name).symlink_to(example.path)
        for name, values in losses.items():
            found = transfer_classifier(
                folder,
                backbone=backbone(weights_dir, 0.35, 160),
                schedule=getattr(FineTuneSchedule, name)(),
                cache_dir=tmp_path / "cache",
            ).test_evaluation
            assert found is not None
            values.append(found.log_loss)
    assert np.mean(losses["thorough"]) <= np.mean(losses["head_only"]) + 0.01


@pytest.mark.parametrize(
    ("alpha", "parameters"),
    [
        pytest.param(0.35, 410_208, marks=pytest.mark.slow),
        pytest.param(1.0, 2_257_984, marks=pytest.mark.long),  # the course's own width
    ],
)
def test_the_course_recipe(
    alpaca_dir: Path, weights_dir: Path, alpha: float, parameters: int
) -> None:
    classifier = transfer_classifier(
        alpaca_dir,
        backbone=backbone(weights_dir, alpha, 160),
        schedule=FineTuneSchedule.course(),
        augmentation=AugmentationPolicy.course(),
    )
    head, tuned = classifier.history.phases
    assert (head.trainable_parameters, head.frozen_parameters) == (1_281, parameters)
    assert len(head.loss) == len(tuned.loss) == 5
    assert classifier.evaluation.accuracy > 0.7
