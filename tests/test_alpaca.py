"""The real photographs with real weights: what tlkit promises about them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tlkit import BackboneAdapter, DatasetSpec, FineTuneSchedule, audit, transfer_classifier
from tlkit.data.split import assign_folds
from tlkit.features.frozen_part import FrozenPart
from tlkit.features.run_folders import RunFolders
from tlkit.images.augmentation import AugmentationPolicy
from tlkit.training.head import fit_head
from tlkit.training.settings import needs_of

ALPHA_035 = "mobilenet_v2_0.35_224_no_top.weights.h5"
ALPHA_100 = "mobilenet_v2_1.0_224_no_top.weights.h5"


def backbone(weights_dir: Path, alpha: float, size: int) -> BackboneAdapter:
    weights = weights_dir / f"mobilenet_v2_{alpha}_224_no_top.weights.h5"
    return BackboneAdapter("MobileNetV2", image_size=(size, size), alpha=alpha, weights=weights)


def cross_validated_accuracy(
    features: np.ndarray[tuple[int, ...], np.dtype[np.float32]],
    labels: np.ndarray[tuple[int, ...], np.dtype[np.int8]],
    names: list[str],
    seed: int,
) -> float:
    """5-fold accuracy of the exact head, its strength chosen inside each training split."""
    folds, right = assign_folds(labels, names, count=5, seed=seed), 0
    for fold in range(5):
        known, held_out = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        inner = assign_folds(labels[known], [names[i] for i in known], count=5, seed=seed)
        head = fit_head(features[known], labels[known], folds=inner)
        right += int(((head.logits(features[held_out]) > 0) == labels[held_out]).sum())
    return right / len(labels)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("alpha", "size", "at_least"),
    [(1.0, 224, 0.945), (1.0, 160, 0.90), (0.35, 224, 0.915), (0.35, 160, 0.885)],
)
def test_five_fold_accuracy(
    alpaca_dir: Path, weights_dir: Path, alpha: float, size: int, at_least: float
) -> None:
    listing = DatasetSpec(alpaca_dir).listing()
    frozen = FrozenPart(
        backbone(weights_dir, alpha, size),
        needs_of(FineTuneSchedule.head_only()),
        AugmentationPolicy.none(),
        0,
        RunFolders(),
    )
    originals = frozen.read(listing.examples)
    features = originals.outputs[0].read(originals.readable).astype(np.float32)
    names = [example.name for example in listing.examples]
    seeds = range(10)
    figures = [cross_validated_accuracy(features, listing.labels, names, seed) for seed in seeds]
    assert np.mean(figures) >= at_least


def test_the_main_job(alpaca_dir: Path, weights_dir: Path, tmp_path: Path) -> None:
    classifier = transfer_classifier(
        alpaca_dir,
        backbone=backbone(weights_dir, 0.35, 160),
        schedule=FineTuneSchedule.head_only(),
    )
    assert classifier.positive_class == "alpaca"
    assert (len(classifier.record.training_names), classifier.evaluation.count) == (262, 65)
    assert classifier.evaluation.accuracy > 0.85
    assert classifier.evaluation.random_head_baseline is not None
    assert 0.2 < classifier.evaluation.random_head_baseline < 0.8
    assert not classifier.bad_files
    classifier.save(tmp_path / "alpaca.keras")
    size = (tmp_path / "alpaca.keras").stat().st_size
    assert size < 1.2 * (weights_dir / ALPHA_035).stat().st_size


@pytest.mark.slow
def test_fine_tuning_does_no_harm(alpaca_dir: Path, weights_dir: Path, tmp_path: Path) -> None:
    """5 folds, measured on the fold that neither trained nor chose anything."""
    listing = DatasetSpec(alpaca_dir).listing()
    folds = assign_folds(listing.labels, audit(alpaca_dir).groups(listing), count=5, seed=0)
    losses: dict[str, list[float]] = {"head_only": [], "standard": []}
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
    assert np.mean(losses["standard"]) <= np.mean(losses["head_only"]) + 0.01


@pytest.mark.slow
def test_the_course_recipe(alpaca_dir: Path, weights_dir: Path) -> None:
    classifier = transfer_classifier(
        alpaca_dir,
        backbone=backbone(weights_dir, 1.0, 160),
        schedule=FineTuneSchedule.course(),
        augmentation=AugmentationPolicy.course(),
    )
    head, tuned = classifier.history.phases
    assert (head.trainable_parameters, head.frozen_parameters) == (1_281, 2_257_984)
    assert len(head.loss) == len(tuned.loss) == 5
    assert classifier.evaluation.accuracy > 0.7
