"""Several devices of one machine train as one does, in the scope of a MirroredStrategy.

That batches which are filled up give the same result is checked in `test_finetune.py` too, without devices.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

# Neither batches of 5 nor the last one of 3 can be halved; one class weighs three times as much.
CHILD = """
import itertools, json, sys
import keras, numpy as np, tensorflow as tf

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)

from tlkit import *
from tlkit.training.epoch_state import EpochState
from tlkit.errors import SettingError

data, folder = sys.argv[1:]
backbone = BackboneAdapter("tiny_random")
schedule = FineTuneSchedule(
    head=GradientHead(epochs=2, learning_rate=0.05, views=2),
    phases=(Phase(unfreeze_fraction=0.4, epochs=3, learning_rate=1e-2, views=2),),
    class_weight=(1.0, 3.0),
    batch_size=5,
)

def train(**settings):
    return transfer_classifier(data, backbone=backbone, schedule=schedule, **settings)

def curves(classifier):
    names = ("loss", "accuracy", "validation_loss", "validation_accuracy")
    return [[getattr(phase, name) for name in names] for phase in classifier.history.phases]

def weights(classifier):
    return [variable.numpy() for variable in classifier.model.weights]

def far(one, other):
    pairs = zip(weights(one), weights(other), strict=True)
    return max(float(abs(mine - its).max()) for mine, its in pairs)

def curves_far(one, other):
    pairs = zip(curves(one), curves(other), strict=True)
    return max(float(abs(np.array(mine) - its).max()) for mine, its in pairs)

class Killed(Exception):
    pass

real, calls = EpochState.save, itertools.count()

def save(self, path, model):
    real(self, path, model)
    if path and next(calls) == 3:  # the second epoch of fine-tuning
        raise Killed

alone = train()
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
with strategy.scope():
    shared = train()
    EpochState.save = save
    try:
        train(checkpoint_dir=folder)
    except Killed:
        resumed = train(checkpoint_dir=folder)
try:
    train(checkpoint_dir=folder)
except SettingError as error:
    refusal = str(error)

def norms(model):
    layers = [l for l in model._flatten_layers() if isinstance(l, keras.layers.BatchNormalization)]
    return {v.path: v.numpy() for layer in layers for v in layer.weights}

before, after = norms(backbone.build().base), norms(shared.model)
pixels = np.random.default_rng(0).integers(256, size=(5, *shared.image_size, 3), dtype=np.uint8)
shared.save(f"{folder}/shared.keras")
loaded = TransferClassifier.load(f"{folder}/shared.keras")
print(json.dumps({
    "train": len(shared.record.training_names),
    "kept": shared.history.kept,
    "curves": curves(shared),
    "moved": max(float(abs(mine - its.numpy()).max()) for mine, its in zip(
        weights(shared), backbone.build().base.weights)),
    "weights": far(alone, shared),
    "histories": curves_far(alone, shared),
    "logits": max(float(abs(np.subtract(alone.record.scores[part].logits, its.logits)).max())
                  for part, its in shared.record.scores.items()),
    "resumed weights": far(resumed, shared),
    "resumed histories": curves_far(resumed, shared),
    "refusal": refusal,
    "norms": [len(before), sorted(before) == sorted(after)
              and all((before[path] == after[path]).all() for path in before)],
    "variables": sorted({type(v.value).__name__ for v in shared.model.weights}),
    "loaded": float(abs(loaded.predict_proba(pixels) - shared.predict_proba(pixels)).max()),
}))
"""

TOLERANCE = 1e-5
"""Sums are rounded in another order on two devices: each step differs by some 1e-7, and there are 40."""


@pytest.fixture(scope="module")
def found(drawn_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(drawn_folder), str(tmp_path_factory.mktemp("run"))],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    printed: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return printed


@pytest.mark.slow
def test_two_devices_end_where_one_does(found: dict[str, Any]) -> None:
    assert found["train"] % 5 == 3, "the test needs a last batch that cannot be halved"
    assert found["kept"] == 1, "the test needs weights that fine-tuning has changed"
    assert found["moved"] > 1e-2
    assert found["weights"] < TOLERANCE
    assert found["histories"] < TOLERANCE
    assert found["logits"] < TOLERANCE


@pytest.mark.slow
def test_frozen_means_frozen_on_two_devices(found: dict[str, Any]) -> None:
    count, same = found["norms"]
    assert count > 0
    assert same


@pytest.mark.slow
def test_a_run_on_two_devices_goes_on_from_its_checkpoint(found: dict[str, Any]) -> None:
    assert found["resumed weights"] == found["resumed histories"] == 0
    assert "devices was 2, now nothing" in found["refusal"]


@pytest.mark.slow
def test_what_comes_out_knows_nothing_of_devices(found: dict[str, Any]) -> None:
    assert found["variables"] == ["ResourceVariable"]
    assert found["loaded"] < 1e-6
