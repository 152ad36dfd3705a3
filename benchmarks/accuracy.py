"""Accuracy on a small folder, by 5-fold cross-validation over several fold seeds.

    python benchmarks/accuracy.py --data DIR --weights DIR [--fine-tuning]

Without `--fine-tuning`: the exact head for both widths and two sizes. With it: `standard()` against
`head_only()` at `--alpha` and `--size`, fold by fold.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt
from measuring import FOLDS, arguments, folds, link_parts, mobilenet, write_json

from tlkit import (
    AugmentationPolicy,
    BackboneAdapter,
    DatasetSpec,
    FineTuneSchedule,
    transfer_classifier,
)
from tlkit.data.split import assign_folds
from tlkit.features.frozen_part import FrozenPart
from tlkit.features.run_folders import RunFolders
from tlkit.training.head import fit_head
from tlkit.training.settings import needs_of

SEEDS = range(10)


def features_of(data: Path, backbone: BackboneAdapter) -> npt.NDArray[np.float32]:
    schedule, policy = FineTuneSchedule.head_only(), AugmentationPolicy.none()
    frozen = FrozenPart(backbone, needs_of(schedule), policy, 0, RunFolders())
    originals = frozen.read(DatasetSpec(data).listing().examples)
    return originals.outputs[0].read(originals.readable).astype(np.float32)


def head_figures(
    features: npt.NDArray[np.float32], labels: npt.NDArray[np.int8], names: list[str], seed: int
) -> tuple[float, float]:
    """Accuracy and log-loss over the folds of one seed; the strength is chosen inside each training split."""
    folds, logits = assign_folds(labels, names, count=FOLDS, seed=seed), np.empty(len(labels))
    for fold in range(FOLDS):
        known = np.flatnonzero(folds != fold)
        inner = assign_folds(labels[known], [names[i] for i in known], count=FOLDS, seed=seed)
        head = fit_head(features[known], labels[known], folds=inner)
        logits[folds == fold] = head.logits(features[folds == fold])
    loss = np.logaddexp(0, np.where(labels == 1, -logits, logits)).mean()
    return float(((logits > 0) == labels).mean()), float(loss)


def heads(options: argparse.Namespace) -> dict[str, object]:
    listing = DatasetSpec(options.data).listing()
    names = [example.name for example in listing.examples]
    found: dict[str, object] = {}
    print(f"exact head, {FOLDS} folds, mean and range over {len(SEEDS)} fold seeds")
    for options.alpha, options.size in ((1.0, 224), (1.0, 160), (0.35, 224), (0.35, 160)):
        features = features_of(options.data, mobilenet(options))
        figures = [head_figures(features, listing.labels, names, seed) for seed in SEEDS]
        accuracies, losses = np.array(figures).T
        found[f"alpha {options.alpha}, {options.size} px"] = figures
        print(
            f"alpha {options.alpha:4}, {options.size} px: accuracy {accuracies.mean():.3f} "
            f"({accuracies.min():.3f} to {accuracies.max():.3f}), log-loss {losses.mean():.3f}"
        )
    return found


def fine_tuning(options: argparse.Namespace) -> dict[str, object]:
    """Train on four folds, measure on the fifth, which neither chose an epoch nor a phase."""
    backbone = mobilenet(options)
    schedules = {"head_only": FineTuneSchedule.head_only(), "standard": FineTuneSchedule.standard()}
    losses: dict[str, list[tuple[float, float, float]]] = {name: [] for name in schedules}
    for known, held in folds(options.data, seed=0):
        with tempfile.TemporaryDirectory() as folder:
            link_parts({"train": known, "test": held}, Path(folder))
            for name, schedule in schedules.items():
                result = transfer_classifier(folder, backbone=backbone, schedule=schedule)
                held_out = result.test_evaluation
                assert held_out is not None
                figures = (result.evaluation.log_loss, held_out.log_loss, float(held_out.accuracy))
                losses[name].append(figures)
    for name, values in losses.items():
        chosen, tested, accuracy = np.mean(values, axis=0)
        print(
            f"{name:10} validation log-loss {chosen:.3f}; on the held-out fold: "
            f"log-loss {tested:.3f}, accuracy {accuracy:.3f}"
        )
    return dict(losses)


def main() -> None:
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--fine-tuning", action="store_true")
    options = parser.parse_args()
    figures = fine_tuning(options) if options.fine_tuning else heads(options)
    write_json(options, {"figures": figures})


if __name__ == "__main__":
    main()
