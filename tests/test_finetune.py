"""Frozen means frozen, cached equals not cached, and the best epoch is the one that stays."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf

from tlkit import transfer_classifier
from tlkit.backbones.adapter import BackboneAdapter
from tlkit.backbones.network import Network
from tlkit.core.rows import Rows
from tlkit.errors import SettingError
from tlkit.features.views import Views
from tlkit.training import finetune
from tlkit.training.finetune import Trainee, TrainingData, device_count, set_trainable, train_phase
from tlkit.training.head import LinearHead
from tlkit.training.schedule import GradientHead, Phase

COUNT = 40


def data(*, seed: int = 0) -> TrainingData:
    labels = (np.arange(COUNT) % 2).astype(np.float64)
    return TrainingData(
        labels=labels,
        weights=np.ones(COUNT),
        train=np.arange(30),
        validation=np.arange(30, COUNT),
        folds=np.arange(30) % 3,
        batch_size=8,
        seed=seed,
    )


def log_loss(logits: npt.NDArray[np.float64]) -> float:
    """Of the validation split."""
    signs = np.where(data().labels[30:] > 0, -logits, logits)
    return float(np.log1p(np.exp(signs)).mean())


@pytest.fixture(scope="module")
def images() -> npt.NDArray[np.uint8]:
    """Two views of forty noisy images; the odd ones are redder."""
    random = np.random.default_rng(1)
    images = random.normal(110, 25, (2, COUNT, 32, 32, 3))
    images[:, 1::2, 8:24, 8:24, 0] += 60
    return images.clip(0, 255).astype(np.uint8)


def views_of(network: Network, cut: Any, images: npt.NDArray[np.uint8]) -> Views:
    """What the pass would have kept: activations at the cut, or the images without one."""
    size = cut.shape if cut else images.shape[2:]
    dtype = np.float32 if cut else np.uint8
    originals, augmented = Rows(COUNT, size, dtype), Rows(30, size, dtype)
    for rows, batch in ((originals, images[0]), (augmented, images[1, :30])):
        values = network.lower(cut).predict(batch, verbose=0) if cut else batch
        rows.write(np.arange(len(batch)), values)
    return Views(originals, augmented, np.arange(30))


def trainee_of(network: Network, cut: Any) -> Trainee:
    size = network.model.outputs[0].shape[-1]
    head = LinearHead(kernel=np.random.default_rng(2).normal(0, 0.1, size), bias=0.0, l2=0.0)
    return Trainee(network, cut, head, backbone_parameters=network.base.count_params())


def snapshot(network: Network) -> dict[str, npt.NDArray[np.generic]]:
    return {weight.path: weight.numpy() for weight in network.base.weights}


PHASE = Phase(unfreeze_fraction=0.4, epochs=3, learning_rate=1e-2, patience=None, views=2)


def test_batch_normalisation_and_what_lies_below_stay_bit_identical(
    images: npt.NDArray[np.uint8],
) -> None:
    network = BackboneAdapter("tiny_random").build()
    first = network.place(fraction=0.4)
    cut = network.cut_below(first)
    before = snapshot(network)
    set_trainable(network, first)
    train_phase(
        trainee_of(network, cut),
        views_of(network, cut, images),
        data(),
        PHASE,
        name="fine-tuning",
        stage=1,
    )
    changed = {path for path, value in snapshot(network).items() if (value != before[path]).any()}
    norms = {
        weight.path
        for layer in network.base.layers
        if isinstance(layer, keras.layers.BatchNormalization)
        for weight in layer.weights
    }
    allowed = {weight.path for layer in network.base.layers[first:] for weight in layer.weights}
    assert norms & allowed, "the test needs batch normalisation above the place"
    assert changed == allowed - norms


def test_cached_activations_train_as_the_whole_network_does(
    images: npt.NDArray[np.uint8],
) -> None:
    """The same phase from a cut and, slowly, from the images ends with the same weights."""

    def trained(*, cached: bool) -> tuple[dict[str, npt.NDArray[np.generic]], tuple[float, ...]]:
        network = BackboneAdapter("tiny_random").build()
        first = network.place(fraction=0.4)
        cut = network.cut_below(first) if cached else None
        set_trainable(network, first)
        history = train_phase(
            trainee_of(network, cut),
            views_of(network, cut, images),
            data(),
            PHASE,
            name="fine-tuning",
            stage=1,
        )
        return snapshot(network), history.loss

    (cached, cached_loss), (whole, whole_loss) = trained(cached=True), trained(cached=False)
    assert np.allclose(cached_loss, whole_loss, atol=1e-5)
    for one, other in zip(cached.values(), whole.values(), strict=True):
        assert np.allclose(one, other, atol=1e-4)


def test_it_equals_plain_fit(images: npt.NDArray[np.uint8]) -> None:
    """Keras alone, on the same batches in the same order, with batch norms frozen one by one."""
    network, plain = (BackboneAdapter("tiny_random").build() for _ in range(2))
    first = network.place(fraction=0.4)
    cut = network.cut_below(first)
    phase = replace(PHASE, learning_rate_decay="none", weight_decay=0.0, epochs=2, views=2)
    set_trainable(network, first)
    trainee = trainee_of(network, cut)
    train_phase(trainee, views_of(network, cut, images), data(), phase, name="fine-tuning", stage=1)

    for index, layer in enumerate(plain.base.layers):
        layer.trainable = index >= first and not isinstance(layer, keras.layers.BatchNormalization)
    dense = keras.layers.Dense(1)
    pooled = keras.layers.GlobalAveragePooling2D()(plain.model.outputs[0])
    model = keras.Model(plain.model.inputs, dense(pooled))
    start = trainee_of(BackboneAdapter("tiny_random").build(), None).head()
    dense.set_weights([start.kernel[:, np.newaxis], np.array([start.bias])])
    model.compile(keras.optimizers.Adam(1e-2), keras.losses.BinaryCrossentropy(from_logits=True))
    losses = []
    for epoch in range(2):
        for rows, views in data().epoch(epoch, view_count=2, stage=1):
            model.train_on_batch(
                images[views, rows].astype("float32"), data().labels[rows, np.newaxis]
            )
        logits = model.predict(images[0, 30:].astype("float32"), verbose=0)[:, 0]
        losses.append(log_loss(logits.astype(np.float64)))
    assert losses[1] < losses[0], "the test needs the last epoch to be the best one"
    assert np.allclose(trainee.head().kernel, dense.get_weights()[0][:, 0], atol=1e-4)


def test_batches_filled_up_for_several_devices_teach_the_same(
    images: npt.NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    """30 examples make four batches of 7 and one of 2; for two devices the former are filled up."""
    weighted = replace(data(), weights=np.where(data().labels > 0, 3.0, 1.0), batch_size=7)

    def trained() -> tuple[npt.NDArray[np.float64], Any]:
        network = BackboneAdapter("tiny_random").build()
        cut = network.cut_below(first := network.place(fraction=0.4))
        set_trainable(network, first)
        trainee, views = trainee_of(network, cut), views_of(network, cut, images)
        history = train_phase(trainee, views, weighted, PHASE, name="f", stage=1)
        return trainee.head().kernel, history

    kernel, history = trained()
    for devices in (2, 5):
        monkeypatch.setattr(finetune, "device_count", lambda count=devices: count)
        filled_kernel, filled_history = trained()
        assert np.allclose(filled_kernel, kernel, atol=1e-5)
        for curve in ("loss", "accuracy", "validation_loss"):
            assert np.allclose(getattr(filled_history, curve), getattr(history, curve), atol=1e-5)
    assert 0 < history.accuracy[-1] < 1, "the test needs some that are right, and some that are not"


def test_other_strategies_are_refused_before_anything_is_read() -> None:
    strategy = tf.distribute.experimental.CentralStorageStrategy()
    with (
        strategy.scope(),
        pytest.raises(SettingError, match=r"MirroredStrategy, got a CentralStorageStrategy"),
    ):
        transfer_classifier("nowhere")
    assert device_count() == 1


def test_the_same_seed_gives_the_same_bits(images: npt.NDArray[np.uint8]) -> None:
    def kernel(seed: int) -> npt.NDArray[np.float64]:
        network = BackboneAdapter("tiny_random").build()
        cut = network.cut_below(first := network.place(fraction=0.4))
        set_trainable(network, first)
        trainee = trainee_of(network, cut)
        views = views_of(network, cut, images)
        train_phase(trainee, views, data(seed=seed), PHASE, name="f", stage=1)
        return trainee.head().kernel

    first = kernel(0)
    assert np.array_equal(kernel(0), first)
    assert not np.array_equal(kernel(1), first)


def test_the_best_epoch_stays_and_patience_ends_the_phase(
    images: npt.NDArray[np.uint8],
) -> None:
    network = BackboneAdapter("tiny_random").build()
    cut = network.cut_below(first := network.place(fraction=0.4))
    set_trainable(network, first)
    trainee, views = trainee_of(network, cut), views_of(network, cut, images)
    wild = replace(PHASE, learning_rate=0.3, epochs=30, patience=2)
    history = train_phase(trainee, views, data(), wild, name="fine-tuning", stage=1)
    losses = history.validation_loss
    assert history.best_epoch == int(np.argmin(losses))
    assert len(losses) == history.best_epoch + 1 + 2 < 30
    logits = trainee.logits(views, data().validation)
    assert log_loss(logits) == pytest.approx(min(losses), abs=1e-6)


def test_the_gradient_head_learns_and_counts_its_parameters(
    images: npt.NDArray[np.uint8],
) -> None:
    network = BackboneAdapter("tiny_random").build()
    features = Rows(COUNT, (network.model.outputs[0].shape[-1],), np.float32)
    values = network.model.predict(images[0].astype("float32"), verbose=0).mean(axis=(1, 2))
    features.write(np.arange(COUNT), values)
    head = LinearHead(kernel=np.zeros(values.shape[1]), bias=0.0, l2=0.0)
    trainee = Trainee(None, None, head, backbone_parameters=1000, dropout_fraction=0.2)
    setting = GradientHead(epochs=20, learning_rate=0.05, dropout_fraction=0.2, views=1)
    history = train_phase(
        trainee, Views(features, None, np.arange(0)), data(), setting, name="head", stage=0
    )
    assert (history.trainable_parameters, history.frozen_parameters) == (len(head.kernel) + 1, 1000)
    assert history.loss[-1] < history.loss[0]
    assert min(history.validation_loss) < np.log(2)


def test_a_phase_goes_on_from_its_checkpoint(images: npt.NDArray[np.uint8], tmp_path: Path) -> None:
    """Stopped in its second epoch, and once more in the third, after it had gone on."""
    phase = replace(PHASE, epochs=4)

    def run(checkpoint: Path | None, *, stop_after: int | None = None) -> tuple[Any, Any]:
        network = BackboneAdapter("tiny_random").build()
        cut = network.cut_below(first := network.place(fraction=0.4))
        set_trainable(network, first)
        trainee = trainee_of(network, cut)
        source: Any = views_of(network, cut, images)
        if stop_after is not None:
            source = _Dying(source, validations=stop_after)
        try:
            history = train_phase(
                trainee, source, data(), phase, name="f", stage=1, checkpoint=checkpoint
            )
        except KeyboardInterrupt:
            return None, None
        return history, trainee.weights()

    whole_history, whole = run(None)
    for _ in range(2):
        assert run(tmp_path / "phase.npz", stop_after=1) == (None, None)
    history, weights = run(tmp_path / "phase.npz")
    assert replace(history, seconds=0.0) == replace(whole_history, seconds=0.0)
    for one, other in zip(weights, whole, strict=True):
        assert np.array_equal(one, other)


class _Dying:
    """Rows whose owner presses Ctrl-C at the validation after so many epochs."""

    def __init__(self, views: Views, *, validations: int) -> None:
        self._views = views
        self._left = validations
        self.shape, self.dtype = views.shape, views.dtype

    def read(self, indices: npt.NDArray[np.int64], views: Any = 0) -> Any:
        if indices[0] == 30:
            self._left -= 1
            if self._left < 0:
                raise KeyboardInterrupt
        return self._views.read(indices, views)


def test_an_epoch_shows_every_example_once_and_every_view_in_turn() -> None:
    seen: list[dict[int, int]] = []
    for epoch in range(4):
        rows, views = (
            np.concatenate(part)
            for part in zip(*data().epoch(epoch, view_count=4, stage=1), strict=True)
        )
        assert sorted(rows) == list(range(30))
        seen.append(dict(zip(rows.tolist(), views.tolist(), strict=True)))
    for row in range(30):
        assert {epoch[row] for epoch in seen} == {0, 1, 2, 3}
    assert list(seen[0]) != list(seen[1])


def test_a_phase_that_diverges_at_once_is_an_error(images: npt.NDArray[np.uint8]) -> None:
    network = BackboneAdapter("tiny_random").build()
    cut = network.cut_below(first := network.place(fraction=0.4))
    set_trainable(network, first)
    wild = replace(PHASE, learning_rate=1e30)
    with pytest.raises(SettingError, match=r"diverged in its first epoch.*`learning_rate`"):
        train_phase(
            trainee_of(network, cut),
            views_of(network, cut, images),
            data(),
            wild,
            name="fine-tuning",
            stage=1,
        )


def test_what_was_good_before_a_phase_diverged_stays(
    images: npt.NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    network = BackboneAdapter("tiny_random").build()
    cut = network.cut_below(first := network.place(fraction=0.4))
    set_trainable(network, first)
    trainee, views = trainee_of(network, cut), views_of(network, cut, images)
    real, calls = Trainee.logits, iter(range(9))

    def logits(self: Trainee, *given: Any) -> npt.NDArray[np.float64]:
        return real(self, *given) * (np.nan if next(calls) == 2 else 1)

    monkeypatch.setattr(Trainee, "logits", logits)
    history = train_phase(trainee, views, data(), replace(PHASE, epochs=5), name="f", stage=1)
    assert len(history.validation_loss) == 2
    assert np.isfinite(history.validation_loss).all()
    assert all(np.isfinite(weight).all() for weight in trainee.weights())
