"""Train what lies above the cut: the only module that sets `trainable`.

Every phase is the same loop over cached activations. Batch normalisation stays frozen layer by layer,
because `training=False` does not hold during `fit` in Keras 3 (keras-team/keras#20285); each phase gets a
fresh optimizer and a fresh compile; and it ends with the weights of its best epoch by validation log-loss.

Inside the scope of a `tf.distribute.MirroredStrategy` the devices share each batch. Keras averages over
what each device was given, so batches are filled up with rows that weigh nothing until all get the same:
the mean over the batch is then what one device would compute.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import numpy as np
import numpy.typing as npt

from tlkit.backbones.network import pooled
from tlkit.core.keras_config import check_keras_config
from tlkit.core.progress import progress
from tlkit.core.rows import Indices
from tlkit.errors import SettingError
from tlkit.evaluation.history import PhaseHistory
from tlkit.evaluation.log_loss import log_losses
from tlkit.evaluation.paired import PairedDifference
from tlkit.features.views import Views
from tlkit.training.epoch_state import EpochState
from tlkit.training.head import LinearHead
from tlkit.training.schedule import GradientHead, Phase

if TYPE_CHECKING:
    import keras

    from tlkit.backbones.cuts import CutPoint
    from tlkit.backbones.network import Network

Floats = npt.NDArray[np.float64]
_FORWARD_BATCH = 64  # validation rows per call: fewer calls than in training, still little memory


@final
@dataclass(frozen=True, slots=True)
class TrainingData:
    """What is learned from: which examples, their labels and weights, and the seed of their order.

    Attributes:
        labels: 0 or 1 for every example of the listing, float64 `[N]`.
        weights: How much each counts, in the training loss and wherever something is chosen, float64 `[N]`.
        train: Indices of the training split, int64 `[T]`.
        validation: Indices of the validation split, int64 `[V]`; empty where folds have judged.
        folds: A fold number for each of the training split, int64 `[T]`; None where nothing is searched.
        batch_size: Training examples per step.
        seed: Decides the order of the examples, which view of each an epoch sees, and dropout.
        viewed: Indices of what further views are made of, int64; None: of `train`.
    """

    labels: Floats
    weights: Floats
    train: Indices
    validation: Indices
    folds: Indices | None
    batch_size: int
    seed: int
    viewed: Indices | None = None

    def epoch(
        self, number: int, *, view_count: int, stage: int
    ) -> Iterator[tuple[Indices, Indices]]:
        """Yield the batches of one epoch: indices, and the view of each.

        Every example comes once, in a new order; over `view_count` epochs it shows each of its views.
        """
        count = len(self.train)
        first_view = np.random.default_rng([self.seed, stage]).integers(view_count, size=count)
        order = np.random.default_rng([self.seed, stage, number + 1]).permutation(count)
        for start in range(0, count, self.batch_size):
            batch = order[start : start + self.batch_size]
            yield self.train[batch], (first_view[batch] + number) % view_count

    def judge(self, logits: Floats) -> tuple[float, float]:
        """Return log-loss, weighted as training is, and accuracy of logits `[V]` of the validation images."""
        targets, weights = self.labels[self.validation], self.weights[self.validation]
        loss = float(weights @ log_losses(targets, logits) / weights.sum())
        return loss, float(np.mean((logits > 0) == (targets > 0)))

    def steps(self) -> int:
        """Return the number of batches of one epoch."""
        return -(-len(self.train) // self.batch_size)

    def rows(self, devices: int) -> int:
        """Return how many rows an epoch has once each of its batches is filled up for so many devices."""
        full, last = divmod(len(self.train), self.batch_size)
        return full * _filled(self.batch_size, devices) + _filled(last, devices)


@final
@dataclass(frozen=True, slots=True)
class FoldChoice:
    """What folds chose for the classifier that learns from all images.

    Attributes:
        kept: Which phase to end with; 0 is the head.
        epochs: For each phase, after how many epochs to stop.
        losses: For each phase, the mean log-loss after each of these epochs on images not learned from.
        accuracies: For each phase, the mean accuracy there.
        differences: For each phase, its out-of-fold log-loss minus that of what it replaces or does not.
        head: Log-loss and accuracy of the head on images not learned from.
    """

    kept: int
    epochs: tuple[int, ...] = ()
    losses: tuple[tuple[float, ...], ...] = ()
    accuracies: tuple[tuple[float, ...], ...] = ()
    differences: tuple[PairedDifference, ...] = ()
    head: tuple[float, float] | None = None

    def judged(self, stage: int, epoch: int) -> tuple[float, float]:
        """Return log-loss and accuracy of the folds after this epoch, counted from 0, of this phase."""
        return self.losses[stage - 1][epoch], self.accuracies[stage - 1][epoch]


@final
class Trainee:
    """A network from cached activations to a logit, and the weights to return to.

    Args:
        network: The backbone; its layers are shared, so what is trained here changes it. None: a head
            alone, on pooled features.
        cut: Where the activations were cached; None means that they are the images themselves.
        head: The last layer to start from.
        backbone_parameters: How many numbers the backbone has, for the history.
        dropout_fraction: Share of the features that training drops before the last layer.
    """

    def __init__(
        self,
        network: Network | None,
        cut: CutPoint | None,
        head: LinearHead,
        *,
        backbone_parameters: int,
        dropout_fraction: float = 0.0,
    ) -> None:
        check_keras_config()
        from tlkit.core.tensorflow import keras

        self._backbone_parameters = backbone_parameters
        if network is None:
            inputs = features = keras.Input((len(head.kernel),))
        else:
            upper = network.upper(cut) if cut else network.model
            inputs = keras.Input(upper.inputs[0].shape[1:])
            features = pooled(upper(inputs))
        self._features = _inference(keras.Model(inputs, features))
        if dropout_fraction:
            features = keras.layers.Dropout(dropout_fraction)(features)
        self._logit = keras.layers.Dense(1, name="logit")
        self.model = keras.Model(inputs, self._logit(features))
        self._logit.set_weights([head.kernel[:, np.newaxis], np.array([head.bias])])
        self._forward = _inference(self.model)

    def head(self) -> LinearHead:
        """Return the last layer as it is now."""
        kernel, bias = self._logit.get_weights()
        return LinearHead(kernel=kernel[:, 0].astype(np.float64), bias=float(bias[0]), l2=0.0)

    def weights(self) -> list[npt.NDArray[np.generic]]:
        """Return a copy of all weights."""
        return [variable.numpy() for variable in self.model.weights]

    def restore(self, weights: list[npt.NDArray[np.generic]]) -> None:
        """Return to weights that `weights` gave."""
        self.model.set_weights(weights)

    def parameters(self) -> tuple[int, int]:
        """Return how many numbers can be trained now, and how many the network has in all."""
        trainable = sum(int(np.prod(v.shape)) for v in self.model.trainable_variables)
        return trainable, self._logit.count_params() + self._backbone_parameters

    def logits(self, views: Views, indices: Indices) -> Floats:
        """Return the logit of each of these examples' images, float64 `[B]`."""
        from tlkit.core.tensorflow import tf

        if not len(indices):
            return np.empty(0)
        starts = range(0, len(indices), _FORWARD_BATCH)
        batches = (views.read(indices[start : start + _FORWARD_BATCH]) for start in starts)
        outputs = [self._forward(tf.constant(batch, tf.float32)).numpy()[:, 0] for batch in batches]
        return np.concatenate(outputs).astype(np.float64)

    def features(self, views: Views, indices: Indices) -> npt.NDArray[np.float32]:
        """Return what the last neuron weighs for each of these examples' images, float32 `[B, D]`, B > 0."""
        from tlkit.core.tensorflow import tf

        starts = range(0, len(indices), _FORWARD_BATCH)
        batches = (views.read(indices[start : start + _FORWARD_BATCH]) for start in starts)
        outputs = [self._features(tf.constant(batch, tf.float32)).numpy() for batch in batches]
        return np.asarray(np.concatenate(outputs), np.float32)


def set_trainable(network: Network, first_layer: int | None) -> None:
    """Make the layers of the backbone from `first_layer` on trainable, batch normalisation excepted.

    None freezes the whole backbone.
    """
    from tlkit.core.tensorflow import keras

    for index, layer in enumerate(network.base.layers):
        layer.trainable = False  # True on a layer that is True already would not reach inner layers
        layer.trainable = first_layer is not None and index >= first_layer
        for inner in layer._flatten_layers():  # noqa: SLF001 - no public way into wrappers
            if isinstance(inner, keras.layers.BatchNormalization):
                inner.trainable = False


def train_phase(
    trainee: Trainee,
    views: Views,
    data: TrainingData,
    phase: GradientHead | Phase,
    *,
    name: str,
    stage: int,
    checkpoint: Path | None = None,
    chosen: FoldChoice | None = None,
) -> PhaseHistory:
    """Run one phase and leave the trainee with the weights of its best epoch, or of the one that folds chose.

    Args:
        trainee: What to train, with its layers already frozen or not.
        views: Its inputs, by example and view.
        data: What to learn from.
        phase: How long and how fast.
        name: What the history calls the phase.
        stage: The place of the phase in the schedule; phases draw different orders.
        checkpoint: A file that holds the state after each epoch, to go on from; None keeps none.
        chosen: What folds chose, where there are no validation images.

    Returns:
        What happened.
    """
    started = time.perf_counter()
    last = chosen.epochs[stage - 1] if chosen else phase.epochs
    model = trainee.model
    _seed_dropout(model, [data.seed, stage])
    _compile(model, phase, phase.epochs * data.steps())
    state = EpochState.resume(checkpoint, model)
    filling = data.rows(device_count()) / len(data.train)  # Keras's means count fillers, as 0

    def after_epoch(epoch: int, logs: dict[str, float]) -> None:
        logits = trainee.logits(views, data.validation)
        if not np.isfinite([logs["loss"], *logits]).all():
            _diverged(state, name, phase)
            model.stop_training = True
            return
        loss, accuracy = data.judge(logits) if chosen is None else chosen.judged(stage, epoch)
        better = state.add(
            loss=logs["mean_loss"] * filling,
            accuracy=logs["accuracy"] * filling,
            validation_loss=loss,
            validation_accuracy=accuracy,
        )
        if better or chosen:
            state.best_weights = trainee.weights()
        if epoch + 1 == last or (not chosen and epoch - state.best_epoch >= _patience(phase)):
            model.stop_training = True
            state.finished = True
        state.save(checkpoint, model)
        advance(1)

    with progress(last, name.capitalize(), unit="epochs") as advance:
        advance(state.epochs)
        if not state.finished and state.epochs < last:
            from tlkit.core.tensorflow import keras

            model.fit(
                _dataset(views, data, phase, first=state.epochs, stage=stage),
                steps_per_epoch=data.steps(),
                initial_epoch=state.epochs,
                epochs=last,
                shuffle=False,
                verbose=0,
                callbacks=[keras.callbacks.LambdaCallback(on_epoch_end=after_epoch)],
            )
    trainee.restore(state.best_weights)
    trainable, total = trainee.parameters()
    return PhaseHistory(
        name=name,
        description=str(phase),
        trainable_parameters=trainable,
        frozen_parameters=total - trainable,
        seconds=time.perf_counter() - started,
        best_epoch=last - 1 if chosen else state.best_epoch,
        loss=state.curves["loss"],
        accuracy=state.curves["accuracy"],
        validation_loss=state.curves["validation_loss"],
        validation_accuracy=state.curves["validation_accuracy"],
    )


def _diverged(state: EpochState, name: str, phase: GradientHead | Phase) -> None:
    """End a phase whose loss is no number any more; before its first good epoch that is an error."""
    if not state.epochs:
        raise SettingError(
            f"the {name} diverged in its first epoch: its loss is no number. Lower its `learning_rate` "
            f"(it is {phase.learning_rate:g})"
        )
    state.finished = True


def _compile(model: keras.Model, phase: GradientHead | Phase, steps: int) -> None:
    from tlkit.core.tensorflow import keras

    rate: float | keras.optimizers.schedules.LearningRateSchedule = phase.learning_rate
    decay = 0.0
    if isinstance(phase, Phase):
        decay = phase.weight_decay
        if phase.learning_rate_decay == "cosine":
            rate = keras.optimizers.schedules.CosineDecay(rate, decay_steps=steps)
    model.compile(
        optimizer=keras.optimizers.AdamW(rate, weight_decay=decay),  # without decay it is Adam
        loss=_weighted_loss,
        metrics=[
            keras.metrics.MeanMetricWrapper(_weighted_loss, name="mean_loss"),
            keras.metrics.MeanMetricWrapper(_is_right, name="accuracy"),
        ],
    )
    model.optimizer.build(model.trainable_variables)


def _weighted_loss(targets: keras.KerasTensor, logits: keras.KerasTensor) -> keras.KerasTensor:
    """Return the log-loss of each row times its weight; targets `[B, 2]` are label and weight."""
    from tlkit.core.tensorflow import keras

    losses = keras.losses.binary_crossentropy(targets[:, :1], logits, from_logits=True)
    return targets[:, 1] * losses


def _is_right(targets: keras.KerasTensor, logits: keras.KerasTensor) -> keras.KerasTensor:
    """Return 1 where the sign of the logit is that of the label; a filler, labelled -1, is never right."""
    from tlkit.core.tensorflow import keras

    return keras.ops.cast(targets[:, 0] == keras.ops.cast(logits[:, 0] > 0, "float32"), "float32")


def in_scope() -> bool:
    """Say whether this is the scope of a `tf.distribute` strategy, without loading TensorFlow for it."""
    if "tensorflow" not in sys.modules:  # so nobody can have entered a scope
        return False
    from tlkit.core.tensorflow import tf

    return bool(tf.distribute.has_strategy())


def device_count() -> int:
    """Return how many devices share a batch: one, outside the scope of a `tf.distribute` strategy.

    Raises:
        SettingError: The strategy is none that training works with.
    """
    if not in_scope():
        return 1
    from tlkit.core.tensorflow import tf

    strategy = tf.distribute.get_strategy()
    if type(strategy).__name__ not in ("MirroredStrategy", "OneDeviceStrategy"):
        raise SettingError(
            "several devices share the work in the scope of a tf.distribute.MirroredStrategy, got a "
            f"{type(strategy).__name__}: Keras cannot train in the scope of that"
        )
    return int(strategy.num_replicas_in_sync)


def _filled(count: int, devices: int) -> int:
    return -(-count // devices) * devices


def _patience(phase: GradientHead | Phase) -> int:
    patience = phase.patience if isinstance(phase, Phase) else None
    return phase.epochs if patience is None else patience


def _seed_dropout(model: keras.Model, seed: list[int]) -> None:
    """Give every random state of the network, those inside the backbone too, a start of its own."""
    drawn = np.random.default_rng(seed)
    for variable in model.variables:
        if variable.name == "seed_generator_state":
            variable.assign(drawn.integers(2**31, size=variable.shape))


def _inference(model: keras.Model) -> Any:
    from tlkit.core.tensorflow import tf

    signature = tf.TensorSpec((None, *model.inputs[0].shape[1:]), tf.float32)
    forward = tf.function(lambda batch: model(batch, training=False), autograph=False)
    return forward.get_concrete_function(signature)


def _dataset(
    views: Views, data: TrainingData, phase: GradientHead | Phase, *, first: int, stage: int
) -> Any:
    """All batches from epoch `first` on, one after the other, read ahead while the network trains."""
    from tlkit.core.tensorflow import tf

    devices = device_count()

    def batches() -> Iterator[tuple[npt.NDArray[np.generic], ...]]:
        for epoch in range(first, phase.epochs):
            for batch, view in data.epoch(epoch, view_count=phase.view_count, stage=stage):
                size = _filled(len(batch), devices)
                inputs = views.read(np.resize(batch, size), np.resize(view, size))
                targets = np.full((size, 2), (-1, 0), np.float32)
                targets[: len(batch)] = np.column_stack([data.labels[batch], data.weights[batch]])
                weight = np.full(size, size / len(batch), np.float32)
                yield inputs.astype(np.float32, copy=False), targets, weight

    signature = (
        tf.TensorSpec((None, *views.shape), tf.float32),
        tf.TensorSpec((None, 2), tf.float32),
        tf.TensorSpec((None,), tf.float32),
    )
    return tf.data.Dataset.from_generator(batches, output_signature=signature).prefetch(2)
