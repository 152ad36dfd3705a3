"""The head of a run: solved or trained, with its history, and put on its backbone as one plain model."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from tlkit.backbones.network import joined, pooled
from tlkit.evaluation.history import PhaseHistory
from tlkit.evaluation.log_loss import log_losses
from tlkit.features.run_folders import RunFolders
from tlkit.features.views import Selected, Views
from tlkit.training.finetune import Trainee, TrainingData, train_phase
from tlkit.training.head import LinearHead, fit_head
from tlkit.training.schedule import ExactHead, GradientHead

if TYPE_CHECKING:
    import keras

    from tlkit.backbones.network import Network


def train_head(
    features: Views,
    data: TrainingData,
    setting: ExactHead | GradientHead,
    run_folders: RunFolders,
    *,
    widths: Sequence[int],
    backbone_parameters: int,
) -> tuple[LinearHead, PhaseHistory]:
    """Return the head that a setting asks for, and what happened.

    Args:
        features: Of every example, and of further views where a gradient head wants them.
        data: What to learn from.
        setting: Solved exactly, or trained over epochs.
        run_folders: Where the state of a trained head is kept.
        widths: How many features each stage gives.
        backbone_parameters: How many numbers the backbone has, for the history.
    """
    if isinstance(setting, GradientHead):
        trainee = Trainee(
            None,
            None,
            random_head(features.shape[0], data),
            backbone_parameters=backbone_parameters,
            dropout_fraction=setting.dropout_fraction,
        )
        kept_at = run_folders.of_phase(0)
        history = train_phase(
            trainee, features, data, setting, name="head", stage=0, checkpoint=kept_at
        )
        return trainee.head(), history
    return _solve(features, data, setting, widths, backbone_parameters)


def _solve(
    features: Views,
    data: TrainingData,
    setting: ExactHead,
    widths: Sequence[int],
    backbone_parameters: int,
) -> tuple[LinearHead, PhaseHistory]:
    started = time.perf_counter()
    known = Selected(features, data.train)
    head = fit_head(
        known,
        data.labels[data.train],
        folds=data.folds,
        l2=setting.l2,
        sample_weight=data.weights[data.train],
        blocks=widths,
    )
    learned = head.logits(known)
    indices = data.validation if len(data.validation) else data.train
    unseen = head.logits(Selected(features, data.validation))
    if not len(data.validation):
        unseen = learned if head.out_of_fold_logits is None else head.out_of_fold_logits
    losses, shares = [], []
    for logits, rows in ((learned, data.train), (unseen, indices)):
        targets, weights = data.labels[rows], data.weights[rows] / data.weights[rows].sum()
        losses.append(float(weights @ log_losses(targets, logits)))
        shares.append(float(np.mean((logits > 0) == (targets > 0))))
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


def random_head(feature_count: int, data: TrainingData) -> LinearHead:
    """Start like a Keras Dense layer does: Glorot-uniform kernel, bias 0.

    Its sign follows the label of the first image, so that with the other class as the positive one every
    logit on the way is the negative one.
    """
    limit = np.sqrt(6 / (feature_count + 1))
    kernel = np.random.default_rng(data.seed).uniform(-limit, limit, feature_count)
    return LinearHead(kernel=kernel if data.labels[data.train[0]] else -kernel, bias=0.0, l2=0.0)


def plain_model(network: Network, head: LinearHead) -> keras.Model:
    """Put backbone and head together: RGB 0-255 `[N, H, W, 3]` to a probability `[N, 1]`.

    Built-in layers only, preprocessing inside, the last two named `"logit"` and `"probability"`. A head with
    as many numbers as the last stage alone gives is put on that.
    """
    import keras

    dense = keras.layers.Dense(1, name="logit", dtype="float32")
    if head.kernel.size == network.stage_widths[-1]:
        images, features = network.model.inputs, pooled(network.model.outputs[0])
    else:
        images, maps = network.maps()
        features = joined(maps)
    logit = dense(features)
    dense.set_weights([head.kernel[:, np.newaxis], np.array([head.bias])])
    probability = keras.layers.Activation("sigmoid", name="probability", dtype="float32")(logit)
    # The tensor and not a list of it, which Keras would expect again whenever the model is called.
    return keras.Model(images[0], probability, name="classifier")
