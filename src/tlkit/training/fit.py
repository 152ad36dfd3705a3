"""Learn from what came out of the frozen part: the head, then the phases, each kept only if it pays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias, final

import numpy as np
import numpy.typing as npt

from tlkit.backbones.adoption import copied
from tlkit.core.rows import Indices
from tlkit.evaluation.calibration import Calibration
from tlkit.evaluation.history import PhaseHistory
from tlkit.evaluation.log_loss import log_losses
from tlkit.evaluation.paired import PairedDifference, paired_difference
from tlkit.evaluation.rate import Rate
from tlkit.features.frozen_part import FrozenPart
from tlkit.features.passes import Originals
from tlkit.features.run_folders import RunFolders
from tlkit.features.views import Selected, Views
from tlkit.training.finetune import (
    FoldChoice,
    Trainee,
    TrainingData,
    in_scope,
    set_trainable,
    train_phase,
)
from tlkit.training.head import LinearHead, fit_head
from tlkit.training.heads import plain_model, random_head, train_head
from tlkit.training.schedule import FineTuneSchedule, GradientHead

if TYPE_CHECKING:
    import keras

Floats: TypeAlias = npt.NDArray[np.float64]
Floats32: TypeAlias = npt.NDArray[np.float32]
_NONE = np.empty(0, np.int64)


@final
@dataclass(frozen=True, slots=True)
class Trained:
    """What training ended with.

    Attributes:
        phases: What happened, the head first.
        kept: Which of the phases the rest is of.
        logits: Gives the logit of the positive class for examples by index, float64 `[B]`.
        features: Gives the last stage's features of examples by index, float32 `[B, D]`.
        model: Builds the plain network: RGB 0-255 to the probability of the positive class.
        random_head_baseline: Accuracy of a random head on images that are judged.
        out_of_fold: The logit of each training example from a head that never saw it, float64 `[T]`; None
            where what was kept is not an exact head whose strength was searched for.
        tried: The logits that the head and each phase give to the examples that were asked for, float64
            `[1 + phases, J]`.
    """

    phases: tuple[PhaseHistory, ...]
    kept: int
    logits: Callable[[Indices], Floats]
    features: Callable[[Indices], Floats32]
    model: Callable[[], keras.Model]
    random_head_baseline: Rate
    out_of_fold: Floats | None
    tried: Floats


def calibrated(trained: Trained, calibration: Calibration | None) -> Trained:
    """Fold a calibration into the last layer: other probabilities, the same order.

    Args:
        trained: What training ended with.
        calibration: The line; None changes nothing.
    """
    if calibration is None:
        return trained
    line = calibration

    def model() -> keras.Model:
        network = trained.model()
        layer = network.get_layer("logit")
        kernel, bias = layer.get_weights()
        layer.set_weights([line.slope * kernel, line.apply(bias).astype(bias.dtype)])
        return network

    return replace(trained, logits=lambda indices: line.apply(trained.logits(indices)), model=model)


def train(
    frozen: FrozenPart,
    originals: Originals,
    data: TrainingData,
    schedule: FineTuneSchedule,
    run_folders: RunFolders,
    *,
    chosen: FoldChoice | None = None,
    judged: Indices = _NONE,
) -> Trained:
    """Train what the schedule says; a phase replaces what was before only if it is better beyond the noise.

    Args:
        frozen: The frozen part; gives further views as far as the schedule uses them.
        originals: What came out of it for the images themselves.
        data: What to learn from. Its validation images choose epochs and phases.
        schedule: What to train.
        run_folders: Where the states of phases are kept.
        chosen: What folds chose, where there are no validation images.
        judged: Indices of examples whose logits by each phase are wanted, int64 `[J]`.

    Returns:
        What it ended with.
    """
    features, activations = _views(frozen, originals, data, schedule)
    widths = originals.stage_widths
    size = originals.backbone_parameters
    head, first = train_head(
        features, data, schedule.head, run_folders, widths=widths, backbone_parameters=size
    )
    if chosen and chosen.head and head.out_of_fold_logits is None:  # a head of a given strength
        loss, accuracy = chosen.head
        first = replace(first, validation_loss=(loss,), validation_accuracy=(accuracy,))
    result = Trained(
        phases=(first,),
        kept=0,
        logits=lambda indices: head.logits(Selected(features, indices)),
        features=lambda indices: _last(features, indices, widths),
        model=_builder(frozen, lambda: head),
        random_head_baseline=_random_head_baseline(features, data),
        out_of_fold=head.out_of_fold_logits,
        tried=head.logits(Selected(features, judged))[np.newaxis],
    )
    if not schedule.phases or (chosen and not chosen.kept):
        return result
    start = head
    if (
        len(widths) > 1
    ):  # from the head of the last layer alone: phases that start on all stages do harm
        known = Selected(features, data.train, last=widths[-1])
        start = fit_head(
            known, data.labels[data.train], l2=_last_strength(schedule, head), folds=data.folds,
            sample_weight=data.weights[data.train],
        )  # fmt: skip
    trainee = Trainee(frozen.network, frozen.cut, start, backbone_parameters=size)
    return _with_phases(
        result, frozen, trainee, activations, data, schedule, run_folders, chosen, judged
    )


def _last_strength(schedule: FineTuneSchedule, head: LinearHead) -> float | None:
    given = None if isinstance(schedule.head, GradientHead) else schedule.head.l2
    return head.l2 if given is not None else None


def _with_phases(
    result: Trained,
    frozen: FrozenPart,
    trainee: Trainee,
    activations: Views,
    data: TrainingData,
    schedule: FineTuneSchedule,
    run_folders: RunFolders,
    chosen: FoldChoice | None,
    judged: Indices,
) -> Trained:
    """Run the phases one after the other, each from the best that there was before it."""
    phases, tried = list(result.phases), [*result.tried]
    kept, weights, logits = 0, trainee.weights(), result.logits(data.validation)
    wanted = schedule.phases[: chosen.kept] if chosen else schedule.phases
    for stage, (phase, start) in enumerate(zip(wanted, frozen.starts, strict=False), 1):
        set_trainable(frozen.network, start)
        name = "fine-tuning" if len(schedule.phases) == 1 else f"fine-tuning {stage}"
        history = train_phase(
            trainee, activations, data, phase, name=name, stage=stage,
            checkpoint=run_folders.of_phase(stage), chosen=chosen,
        )  # fmt: skip
        new = trainee.logits(activations, data.validation)
        difference = chosen.differences[stage - 1] if chosen else _paired(data, new, logits)
        phases.append(replace(history, difference=difference))
        tried.append(trainee.logits(activations, judged))
        if chosen or difference.is_better:
            kept, weights, logits = stage, trainee.weights(), new
        trainee.restore(weights)
    set_trainable(frozen.network, frozen.starts[kept - 1] if kept else None)
    found = replace(result, phases=tuple(phases), tried=np.stack(tried))
    if not kept:
        return found
    return replace(
        found,
        kept=kept,
        logits=lambda indices: trainee.logits(activations, indices),
        features=lambda indices: trainee.features(activations, indices),
        model=_builder(frozen, trainee.head),
        out_of_fold=None,
    )


def _last(features: Views, indices: Indices, widths: Sequence[int]) -> Floats32:
    """Return the features of the last stage, float32 `[B, D]`."""
    return np.asarray(Selected(features, indices, last=widths[-1] if widths else None), np.float32)


def _paired(data: TrainingData, new: Floats, old: Floats) -> PairedDifference:
    """Compare two classifiers on the validation images, weighted as training was."""
    targets, weights = data.labels[data.validation], data.weights[data.validation]
    return paired_difference(
        log_losses(targets, new), log_losses(targets, old), sample_weight=weights
    )


def _builder(frozen: FrozenPart, head: Callable[[], LinearHead]) -> Callable[[], keras.Model]:
    """Return what builds the plain model: of variables that are not mirrored to devices.

    It is called whenever the model is wanted, be the scope that training ran in open still or not.
    """
    mirrored = in_scope()

    def build() -> keras.Model:
        model = plain_model(frozen.network, head())
        return copied(model) if mirrored else model

    def build_outside() -> keras.Model:
        with ThreadPoolExecutor(1) as outside:  # a scope ends where its thread does
            return outside.submit(build).result()

    return build_outside if mirrored else build


def _views(
    frozen: FrozenPart, originals: Originals, data: TrainingData, schedule: FineTuneSchedule
) -> tuple[Views, Views]:
    """Return the features for the head and the activations for the phases, with views where needed."""
    gradient, phases = isinstance(schedule.head, GradientHead), bool(schedule.phases)
    plain: Sequence[Views] = [Views(rows, None, _NONE) for rows in originals.outputs]
    if gradient or phases:
        viewed = data.train if data.viewed is None else data.viewed
        made = frozen.views(
            originals, viewed, schedule.view_count, features=gradient, activations=phases
        )
        plain = made if gradient else [plain[0], *made]
    return plain[0], plain[-1]


def _random_head_baseline(features: Views, data: TrainingData) -> Rate:
    """Measure the network as it starts out in a tutorial: pretrained, with a random head."""
    judged = data.validation if len(data.validation) else data.train
    logits = random_head(features.shape[0], data).logits(Selected(features, judged))
    right = (logits > 0) == (data.labels[judged] > 0)
    return Rate.wilson(int(right.sum()), len(right))
