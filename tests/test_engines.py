"""The TensorFlow engine: weights are those it began with, outputs are float32; and who holds an engine."""

from __future__ import annotations

import copy
import gc
import pickle
import weakref
from typing import NoReturn

import numpy as np
import pytest

from tlkit import TransferClassifier
from tlkit.backbones import engines
from tlkit.backbones.adapter import BackboneAdapter
from tlkit.backbones.engines import TensorFlowEngine, in_shares, workers
from tlkit.classifier.predictor import NetworkPredictor
from tlkit.core.rows import Images

IMAGES = np.random.default_rng(0).integers(256, size=(20, 32, 32, 3), dtype=np.uint8)


def test_large_weights_are_handed_to_the_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    model = BackboneAdapter("tiny_random").build().model
    folded = TensorFlowEngine(model)
    monkeypatch.setattr(engines, "_FOLDED_AT_MOST", 1000)
    handed = TensorFlowEngine(model)
    assert not folded._forward.captured_inputs
    assert handed._forward.captured_inputs
    assert np.allclose(folded(IMAGES)[0], handed(IMAGES)[0], atol=1e-5)
    expected = handed(IMAGES)[0]
    model.set_weights([np.zeros_like(weight) for weight in model.get_weights()])
    assert np.array_equal(handed(IMAGES)[0], expected)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float64"])
def test_outputs_are_float32(policy: str) -> None:
    import keras

    image = keras.Input((32, 32, 3))
    model = keras.Model(image, keras.layers.Conv2D(2, 3, dtype=policy)(image))
    assert model.output.dtype == policy.removeprefix("mixed_")
    assert TensorFlowEngine(model)(IMAGES)[0].dtype == np.float32


def test_an_engine_is_gone_with_its_last_user() -> None:
    engine = TensorFlowEngine(BackboneAdapter("tiny_random").build().model)
    gone = weakref.ref(engine)
    gc.disable()
    try:
        del engine
        assert gone() is None
    finally:
        gc.enable()


def test_engines_share_their_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    held = workers()
    assert workers() is held
    monkeypatch.setenv("PYTHON_CPU_COUNT", "3")
    assert workers() is not held


def test_what_goes_wrong_in_a_share_is_raised() -> None:
    def run(images: Images) -> NoReturn:
        raise MemoryError(f"{len(images)} images are too many")

    with pytest.raises(MemoryError, match="8 images are too many"):
        in_shares(run, IMAGES, 8, workers())


def test_no_images_are_no_predictions(
    classifier: TransferClassifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TLKIT_ENGINE", "onnxruntime")  # nothing to convert for
    fresh = TransferClassifier(classifier.model, classifier.record)
    assert fresh.predict(IMAGES[:0]) == []
    assert fresh.predict_proba(IMAGES[:0]).shape == (0,)
    assert isinstance(fresh._predictor, NetworkPredictor)
    assert fresh._predictor._engine is None


def test_a_classifier_is_copied_and_pickled_without_its_engine(
    classifier: TransferClassifier,
) -> None:
    expected = classifier.predict(IMAGES)
    for other in (copy.deepcopy(classifier), pickle.loads(pickle.dumps(classifier))):
        assert other.record == classifier.record
        assert other.predict(IMAGES) == expected
