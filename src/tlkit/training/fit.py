"""Learn from what came out of the frozen part: the head, then the phases; the best of them is kept."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias, final

import numpy as np
import numpy.typing as npt

from tlkit.backbones.adoption import copied
from tlkit.backbones.engines import pooled
from tlkit.core.rows import Indices
from tlkit.evaluation.calibration import Calibration
from tlkit.evaluation.history import PhaseHistory
from tlkit.evaluation.log_loss import log_losses
from tlkit.evaluation.rate import Rate
from tlkit.features.frozen_part import FrozenPart
from tlkit.features.passes import Originals
from tlkit.features.run_folders import RunFolders
from tlkit.features.views import Selected, Views
from tlkit.training.finetune import Trainee, TrainingData, in_scope, set_trainable, train_phase
from tlkit.training.head import LinearHead, fit_head
from tlkit.training.schedule import ExactHead, FineTuneSchedule, GradientHead

if TYPE_CHECKING:
    import keras

    from tlkit.backbones.network import Network

Floats: TypeAlias = npt.NDArray[np.float64]
_NONE = np.empty(0, np.int64)


@final
@dataclass(frozen=True, slots=True)
class Trained:
    """What training ended with.

    Attributes:
        phases: What happened, the head first.
        kept: Which of the phases the rest is of.
        logits: Gives the logit of the positive class for examples by index, float64 `[B]`.
        model: Builds the plain network: RGB 0-255 to the probability of the positive class.
        random_head_baseline: Accuracy on the validation split with a random head.
        out_of_fold: The logit of each training example from a head that never saw it, float64 `[T]`; None
            where what was kept is not an exact head whose strength was searched for.
    """

    phases: tuple[PhaseHistory, ...]
    kept: int
    logits: Callable[[Indices], Floats]
    model: Callable[[], keras.Model]
    random_head_baseline: Rate
    out_of_fold: Floats | None


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
) -> Trained:
    """Train what the schedule says, and return to the phase with the lowest validation log-loss.

    Args:
        frozen: The frozen part; gives further views as far as the schedule uses them.
        originals: What came out of it for the images themselves.
        data: What to learn from.
        schedule: What to train.
        run_folders: Where the states of phases are kept.

    Returns:
        What it ended with.
    """
    build = _builder(frozen)
    features, activations = _views(frozen, originals, data, schedule)
    random_head_baseline = _random_head_baseline(features, data)
    size = originals.backbone_parameters
    head, first = _train_head(features, data, schedule.head, run_folders, backbone_parameters=size)
    if not schedule.phases:
        return Trained(
            phases=(first,),
            kept=0,
            logits=lambda indices: head.logits(_floats(features.read(indices))),
            model=lambda: build(head),
            random_head_baseline=random_head_baseline,
            out_of_fold=head.out_of_fold_logits,
        )
    trainee = Trainee(frozen.network, frozen.cut, head, backbone_parameters=size)
    phases, kept, weights = [first], 0, trainee.weights()
    for stage, (phase, start) in enumerate(zip(schedule.phases, frozen.starts, strict=True), 1):
        set_trainable(frozen.network, start)
        name = "fine-tuning" if len(schedule.phases) == 1 else f"fine-tuning {stage}"
        kept_at = run_folders.of_phase(stage)
        phases.append(
            train_phase(
                trainee, activations, data, phase, name=name, stage=stage, checkpoint=kept_at
            )
        )
        if phases[stage].best_validation_loss < phases[kept].best_validation_loss:
            kept, weights = stage, trainee.weights()
        trainee.restore(weights)
    set_trainable(frozen.network, frozen.starts[kept - 1] if kept else None)
    return Trained(
        phases=tuple(phases),
        kept=kept,
        logits=lambda indices: trainee.logits(activations, indices),
        model=lambda: build(trainee.head()),
        random_head_baseline=random_head_baseline,
        out_of_fold=None if kept else head.out_of_fold_logits,
    )


def plain_model(network: Network, head: LinearHead) -> keras.Model:
    """Put backbone and head together: RGB 0-255 `[N, H, W, 3]` to a probability `[N, 1]`.

    Built-in layers only, preprocessing inside, the last two named `"logit"` and `"probability"`.
    """
    from tlkit.core.tensorflow import keras

    dense = keras.layers.Dense(1, name="logit")
    logit = dense(pooled(network.model.outputs[0]))
    dense.set_weights([head.kernel[:, np.newaxis], np.array([head.bias])])
    probability = keras.layers.Activation("sigmoid", name="probability")(logit)
    return keras.Model(network.model.inputs, probability, name="classifier")


def _builder(frozen: FrozenPart) -> Callable[[LinearHead], keras.Model]:
    """Return what builds the plain model; in a scope, of variables that are not mirrored to devices."""
    if not in_scope():
        return lambda head: plain_model(frozen.network, head)

    def build(head: LinearHead) -> keras.Model:
        with ThreadPoolExecutor(1) as outside:  # a scope ends where its thread does
            return outside.submit(lambda: copied(plain_model(frozen.network, head))).result()

    return build


def _views(
    frozen: FrozenPart, originals: Originals, data: TrainingData, schedule: FineTuneSchedule
) -> tuple[Views, Views]:
    """Return the features for the head and the activations for the phases, with views where needed."""
    gradient, phases = isinstance(schedule.head, GradientHead), bool(schedule.phases)
    plain = [Views(rows, None, _NONE) for rows in originals.outputs]
    if gradient or phases:
        viewed = data.train if data.viewed is None else data.viewed
        made = frozen.views(
            originals, viewed, schedule.view_count, features=gradient, activations=phases
        )
        plain = made if gradient else [plain[0], *made]
    return plain[0], plain[-1]


def _train_head(
    features: Views,
    data: TrainingData,
    setting: ExactHead | GradientHead,
    run_folders: RunFolders,
    *,
    backbone_parameters: int,
) -> tuple[LinearHead, PhaseHistory]:
    if isinstance(setting, GradientHead):
        trainee = Trainee(
            None,
            None,
            _random_head(features.shape[0], data.seed),
            backbone_parameters=backbone_parameters,
            dropout_fraction=setting.dropout_fraction,
        )
        history = train_phase(
            trainee,
            features,
            data,
            setting,
            name="head",
            stage=0,
            checkpoint=run_folders.of_phase(0),
        )
        return trainee.head(), history
    started = time.perf_counter()
    known = Selected(features, data.train)
    head = fit_head(
        known,
        data.labels[data.train],
        folds=data.folds,
        l2=setting.l2,
        sample_weight=data.weights[data.train],
    )
    logits = head.logits(known), head.logits(_floats(features.read(data.validation)))
    targets = data.labels[data.train], data.labels[data.validation]
    losses = [float(log_losses(t, z).mean()) for t, z in zip(targets, logits, strict=True)]
    shares = [float(np.mean((z > 0) == (t > 0))) for t, z in zip(targets, logits, strict=True)]
    return head, PhaseHistory(
        name="head",
        description=str(setting),
        trainable_parameters=len(head.kernel) + 1,
        frozen_parameters=backbone_parameters,
        loss=(losses[0],),
        accuracy=(shares[0],),
        validation_loss=(losses[1],),
        validation_accuracy=(shares[1],),
        best_epoch=0,
        seconds=time.perf_counter() - started,
    )


def _random_head_baseline(features: Views, data: TrainingData) -> Rate:
    """Measure the network as it starts out in a tutorial: pretrained, with a random head."""
    logits = _random_head(features.shape[0], data.seed).logits(
        _floats(features.read(data.validation))
    )
    right = (logits > 0) == (data.labels[data.validation] > 0)
    return Rate.wilson(int(right.sum()), len(right))


def _random_head(feature_count: int, seed: int) -> LinearHead:
    """Start like a Keras Dense layer does: Glorot-uniform kernel, bias 0."""
    limit = np.sqrt(6 / (feature_count + 1))
    kernel = np.random.default_rng(seed).uniform(-limit, limit, feature_count)
    return LinearHead(kernel=kernel, bias=0.0, l2=0.0)


def _floats(values: npt.NDArray[np.generic]) -> npt.NDArray[np.float32]:
    return values.astype(np.float32, copy=False)
