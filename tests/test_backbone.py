"""The backbone adapter: its catalogue, its settings, its random weights."""

from __future__ import annotations

import inspect
import json
import os
import pickle
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from networks import keras_module, pixels

from tlkit.backbones.adapter import BackboneAdapter
from tlkit.backbones.catalogue import CATALOGUE
from tlkit.backbones.efficientnet_lite import LITE
from tlkit.errors import SettingError

# --- The catalogue ------------------------------------------------------------------------------------

OF_KERAS = sorted(set(CATALOGUE) - set(LITE))


def test_the_catalogue_is_that_of_the_installed_keras_and_efficientnet_lite() -> None:
    names = [
        n for n in dir(keras.applications) if inspect.isfunction(getattr(keras.applications, n))
    ]
    assert BackboneAdapter.available() == tuple(sorted([*names, *LITE]))


@pytest.mark.parametrize("name", OF_KERAS)
def test_the_catalogue_says_what_keras_does(name: str) -> None:
    constructor, known = getattr(keras.applications, name), CATALOGUE[name]
    shared = set(inspect.signature(keras.applications.ResNet50).parameters)
    top = {"dropout", "dropout_rate", "include_preprocessing"}
    assert set(inspect.signature(constructor).parameters) - shared - top == set(known.options)
    least, too_small = known.minimum_size, known.minimum_size - 1
    with pytest.raises(ValueError, match=f"at least {least}"):
        constructor(include_top=False, weights=None, input_shape=(too_small, too_small, 3))
    x = pixels((2, 2))
    got = keras_module(name).preprocess_input(x.copy())
    if known.preprocessing == "none":
        np.testing.assert_array_equal(got, x)
    else:
        mode = known.preprocessing
        wanted = keras.applications.imagenet_utils.preprocess_input(x.copy(), mode=mode)
        np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize("name", [n for n in OF_KERAS if "MobileNetV3" not in n])
def test_default_sizes_are_those_of_the_imagenet_weights(name: str) -> None:
    size = CATALOGUE[name].default_size
    # With its top, a network takes ImageNet weights at one size only, and names it before it downloads.
    with pytest.raises(ValueError, match=rf"should be \({size}, {size}, 3\)"):
        getattr(keras.applications, name)(weights="imagenet", input_shape=(600, 601, 3))


# --- Settings -----------------------------------------------------------------------------------------


def test_a_name_needs_no_keras(tmp_path: Path) -> None:
    kept = (
        tmp_path / "models" / "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_0.35_224_no_top.h5"
    )
    kept.parent.mkdir()
    kept.write_bytes(b"what Keras has downloaded")
    code = (
        "import sys\n"
        "from tlkit.backbones.adapter import BackboneAdapter as B\n"
        "adapter = B('MobileNetV2', alpha=0.35)\n"
        "repr(adapter), hash(adapter), adapter.to_json(), adapter.fingerprint(), B.available()\n"
        "print({'keras', 'tensorflow', 'numpy'} & set(sys.modules))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "KERAS_HOME": str(tmp_path)},
    )
    assert done.stdout == "set()\n"


@pytest.mark.parametrize(
    "adapter",
    [
        BackboneAdapter("MobileNetV2"),
        BackboneAdapter("MobileNetV2", image_size=160, alpha=0.35),
        BackboneAdapter("MobileNetV3Large", weights=None, minimalistic=True, alpha=1),
        BackboneAdapter(
            "MobileNet", image_size=(64, 96), weights="a/b.weights.h5", depth_multiplier=2
        ),
        BackboneAdapter("tiny_random"),
        BackboneAdapter("tiny_random", weights="w.h5"),
    ],
    ids=repr,
)
def test_settings_survive_json_repr_and_pickle(adapter: BackboneAdapter) -> None:
    for same in (
        BackboneAdapter.from_json(adapter.to_json()),
        BackboneAdapter.from_config(json.loads(adapter.to_json())),
        pickle.loads(pickle.dumps(adapter)),
        eval(repr(adapter)),
    ):
        assert same == adapter
        assert hash(same) == hash(adapter)
        assert repr(same) == repr(adapter)


def test_settings_that_differ_are_not_equal() -> None:
    adapters = [
        BackboneAdapter("MobileNetV2", weights=None),
        BackboneAdapter("MobileNetV2", weights=None, image_size=(224, 160)),
        BackboneAdapter("MobileNetV2", weights=None, alpha=0.5),
        BackboneAdapter("MobileNet", weights=None),
        BackboneAdapter("EfficientNetLite0", weights=None),
    ]
    assert len(set(adapters)) == len({adapter.fingerprint() for adapter in adapters}) == 5


def test_readable() -> None:
    adapter = BackboneAdapter("MobileNetV2", image_size=160, weights=Path("w.h5"), alpha=1)
    wanted = "BackboneAdapter('MobileNetV2', image_size=(160, 160), weights='w.h5', alpha=1.0)"
    assert repr(adapter) == wanted
    assert BackboneAdapter("NASNetLarge").image_size == (331, 331)
    with pytest.raises(AttributeError):
        adapter.name = "VGG16"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("MobilenetV2", {}, "did you mean 'MobileNetV2'"),
        (
            "MobileNetV2",
            {"image_size": 31},
            r"at least 32 × 32 pixels \(default 224\), got 31 × 31",
        ),
        ("Xception", {"image_size": (71, 70)}, "at least 71"),
        ("tiny_random", {"image_size": 15}, "at least 16"),
        ("MobileNetV2", {"image_size": 0}, "at least 1"),
        ("MobileNetV2", {"image_size": True}, "whole number"),
        ("MobileNetV2", {"image_size": 160.0}, r"pair \(height, width\)"),
        ("MobileNetV2", {"image_size": (160, 160, 3)}, r"pair \(height, width\)"),
        ("MobileNetV2", {"weights": "imagnet"}, '"imagenet", None or a file that ends in'),
        ("MobileNetV2", {"weights": 3}, '"imagenet", None or a file'),
        ("MobileNetV2", {"alhpa": 0.35}, "did you mean 'alpha'"),
        ("MobileNetV2", {"minimalistic": True}, "option of MobileNetV2"),
        ("VGG16", {"alpha": 0.35}, "VGG16 has no options"),
        ("MobileNetV2", {"alpha": 0}, "above 0"),
        ("MobileNetV2", {"alpha": float("nan")}, "finite"),
        ("MobileNetV3Small", {"minimalistic": 1}, "True or False"),
        ("MobileNet", {"depth_multiplier": 0.5}, "whole number"),
        ("MobileNetV2", {"include_top": True}, "without its top"),
        ("MobileNetV2", {"input_shape": (96, 96, 3)}, "use `image_size`"),
        ("MobileNetV2", {"pooling": "avg"}, "belongs to the head"),
        ("MobileNetV3Small", {"include_preprocessing": False}, "always inside"),
    ],
)
def test_illegal_settings_are_refused(name: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        BackboneAdapter(name, **settings)


@pytest.mark.parametrize(
    "config", [{}, {"name": 3}, {"name": "VGG16", "size": 3}, {"name": "VGG16", "options": [1]}]
)
def test_illegal_json_is_refused(config: dict[str, Any]) -> None:
    with pytest.raises(SettingError):
        BackboneAdapter.from_config(config)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("MobileNetV2", {"alpha": 0.6}, r"alpha must be one of 0\.35, 0\.5"),
        ("MobileNet", {"depth_multiplier": 2}, "depth_multiplier must be one of 1"),
        ("MobileNetV3Small", {"minimalistic": True, "alpha": 0.75}, r"alpha must be one of 1\.0"),
    ],
)
def test_options_without_imagenet_weights_are_refused(
    name: str, options: dict[str, Any], message: str
) -> None:
    adapter = BackboneAdapter(name, image_size=32, **options)
    for action in (adapter.build, adapter.fingerprint):
        with pytest.raises(SettingError, match=rf"{name}\(.*has no ImageNet weights: {message}"):
            action()


# --- Random weights -----------------------------------------------------------------------------------


def test_random_weights_are_the_same_every_time_and_move_no_generator() -> None:
    random.seed(7)
    state = random.getstate()
    first = BackboneAdapter("tiny_random").build().base.get_weights()
    random.seed(8)
    second = BackboneAdapter("tiny_random").build().base.get_weights()
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)
    random.seed(7)
    BackboneAdapter("MobileNetV2", image_size=32, weights=None, alpha=0.35).build()
    assert random.getstate() == state
    # The same in every process: these numbers were printed by another one.
    np.testing.assert_allclose(
        first[0].ravel()[:3], [0.0058759, -0.07153193, 0.12696522], rtol=0, atol=1e-6
    )


def test_tiny_random_is_tiny_and_not_in_the_catalogue() -> None:
    adapter = BackboneAdapter("tiny_random", image_size=(16, 20))
    assert adapter.weights is None
    assert adapter.build().base.count_params() < 20_000
    assert "tiny_random" not in BackboneAdapter.available()


def test_another_dtype_policy_is_refused() -> None:
    """Half precision would change every feature, and what is kept of passes would no longer fit."""
    keras.config.set_dtype_policy("mixed_float16")
    try:
        with pytest.raises(SettingError, match=r'policy "float32", got \'mixed_float16\''):
            BackboneAdapter("tiny_random").build()
    finally:
        keras.config.set_dtype_policy("float32")
    BackboneAdapter("tiny_random").build()
