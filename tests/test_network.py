"""The contract of every network, and its cut points."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from networks import Pixels, keras_module, output, own_model, own_sequential, pixels

from tlkit.backbones.adapter import BackboneAdapter
from tlkit.backbones.catalogue import CATALOGUE
from tlkit.backbones.cuts import CutPoint
from tlkit.backbones.efficientnet_lite import LITE
from tlkit.backbones.network import Network
from tlkit.errors import SettingError

# Keras 3.15 saves variables in a way that NumPy 2.4 calls out of date.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@dataclass
class Case:
    """One network of the contract suite."""

    adapter: BackboneAdapter
    network: Network
    pixels: Pixels
    expected: Pixels


# --- One contract for all -----------------------------------------------------------------------------

# Together they have every kind of preprocessing and of graph.
REPRESENTATIVES: dict[str, dict[str, Any]] = {
    "tiny_random": {},
    "MobileNetV2": {"alpha": 0.35},
    "EfficientNetV2B0": {},
    "EfficientNetLite0": {},
    "ResNet50": {},
    "ConvNeXtTiny": {},
    "own": {"image_size": 24, "preprocessing": "caffe"},
    "row": {"preprocessing": "torch"},
}
FAMILIES = ("MobileNetV3Large", "NASNetMobile", "ResNet50V2", "VGG16", "Xception")
"""One of each further family, for the slow tests; the long ones add their siblings, which are larger."""
SIBLINGS = [name for name in CATALOGUE if name not in {*REPRESENTATIVES, *FAMILIES}]


@pytest.fixture(
    scope="module",
    params=[
        *REPRESENTATIVES,
        *(pytest.param(name, marks=pytest.mark.slow) for name in FAMILIES),
        *(pytest.param(name, marks=pytest.mark.long) for name in SIBLINGS),
    ],
)
def case(request: pytest.FixtureRequest) -> Iterator[Case]:
    name = request.param
    options = REPRESENTATIVES.get(name, {})
    own = {"own": own_model, "row": own_sequential}
    if name in own:
        adapter = BackboneAdapter(own[name](), **options)
    else:
        size = CATALOGUE[name].minimum_size if name in CATALOGUE else None
        adapter = BackboneAdapter(name, image_size=size, weights=None, **options)
    network = adapter.build()
    x = pixels(network.image_size)
    yield Case(adapter, network, x, output(network.model, x))
    del network
    keras.backend.clear_session()
    gc.collect()


def test_a_feature_map_comes_out(case: Case) -> None:
    network = case.network
    assert case.expected.shape == (2, *network.base.outputs[0].shape[1:])
    assert case.expected.ndim == 4
    assert np.isfinite(case.expected).all()
    assert network.image_size == case.adapter.image_size
    assert network.base.inputs[0].shape == (None, *case.adapter.image_size, 3)
    assert network.model.count_params() == network.base.count_params() > 0


def test_preprocessing_is_that_of_keras_and_inside(case: Case) -> None:
    mode = dict(case.adapter.options).get("preprocessing")
    if mode is not None:
        wanted = keras.applications.imagenet_utils.preprocess_input(case.pixels.copy(), mode=mode)
    elif case.adapter.name == "tiny_random":
        wanted = case.pixels / 127.5 - 1
    elif case.adapter.name in LITE:
        wanted = (case.pixels - 127) / 128
    else:
        wanted = keras_module(case.adapter.name).preprocess_input(case.pixels.copy())
    nothing = keras.Sequential(
        [keras.Input((*case.network.image_size, 3)), keras.layers.Identity()]
    )
    got = output(case.network._on_images(nothing), case.pixels)
    np.testing.assert_allclose(got, wanted, rtol=0, atol=2e-5)
    np.testing.assert_allclose(
        output(case.network.base, wanted), case.expected, rtol=1e-3, atol=1e-3
    )


def test_the_saved_model_loads_in_safe_mode_without_custom_objects(
    case: Case, tmp_path: Path
) -> None:
    case.network.model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    (tmp_path / "model.keras").unlink()  # pytest keeps its folders, and the largest has 1.4 GB
    np.testing.assert_array_equal(output(loaded, case.pixels), case.expected)


def test_lower_and_upper_together_are_the_whole(case: Case) -> None:
    cuts = case.network.cut_points
    small = case.network.base.count_params() < 100_000
    for cut in cuts[:: 1 if small else len(cuts) // 2 + 1]:
        lower, upper = case.network.lower(cut), case.network.upper(cut)
        assert lower.outputs[0].shape == upper.inputs[0].shape == (None, *cut.shape)
        activations = output(lower, case.pixels)
        np.testing.assert_array_equal(output(upper, activations), case.expected)
        whole = keras.Model(lower.inputs[0], upper(lower.outputs[0]))
        assert len(whole.weights) == len(case.network.base.weights)
        if case.adapter.name != "own":  # which has a layer on both sides
            parameters = lower.count_params() + upper.count_params()
            assert parameters == case.network.base.count_params()


# At 96 pixels or any other size: how many layers and cut points there are.
LAYERS_AND_CUTS = {
    "MobileNetV2": (154, 73),
    "EfficientNetV2B0": (270, 63),
    "EfficientNetLite0": (141, 68),
    "ResNet50V2": (190, 30),
    "MobileNetV3Large": (187, 64),
    "ConvNeXtTiny": (133, 24),
    "NASNetMobile": (769, 4),
}


def test_cut_points_are_ordered_and_split_the_layers(case: Case) -> None:
    network = case.network
    assert network.cut_points, "every network has at least its feature map"
    counted = (len(network.base.layers), len(network.cut_points))
    assert counted == LAYERS_AND_CUTS.get(case.adapter.name, counted)
    last = network.cut_points[-1]
    assert last.shape == network.base.outputs[0].shape[1:]
    for position, cut in enumerate(network.cut_points):
        assert (cut.index, cut.size) == (position, int(np.prod(cut.shape)))
    highest = [cut.layer_index for cut in network.cut_points]
    assert highest == sorted(highest)
    layers = network.base.layers
    for cut in {network.cut_points[0], network.cut_points[len(highest) // 2]}:
        below = {layer.name for layer in network.lower(cut).layers[-1].layers}
        indices = [i for i, layer in enumerate(layers) if layer.name in below]
        assert max(indices) == cut.layer_index


@pytest.mark.parametrize("fraction", [0.1, 1 / 3, 0.7, 1.0])
def test_cut_below_keeps_every_layer_from_the_place_on_above(case: Case, fraction: float) -> None:
    network = case.network
    place = network.place(fraction=fraction)
    cut = network.cut_below(place)
    if cut is None or "NASNet" in case.adapter.name:  # which has none between its stem and its end
        assert cut is None
        assert fraction == 1.0 or case.adapter.name in ("NASNetMobile", "NASNetLarge", "row", "own")
        return
    assert cut.layer_index < place
    assert 10 * (cut.layer_index + 1) >= len(network.base.layers)
    possible = [
        other
        for other in network.cut_points
        if len(network.base.layers) / 10 <= other.layer_index + 1 <= place
    ]
    assert cut.size <= 2 * min(other.size for other in possible)
    assert not [c for c in possible if c.index > cut.index and c.size <= cut.size]


# --- Facts of the course and of Keras that the package is built on ------------------------------------


@pytest.fixture(scope="module")
def course() -> Network:
    return BackboneAdapter("MobileNetV2", image_size=(160, 160), weights=None).build()


def test_the_course_numbers(course: Network) -> None:
    assert course.base.count_params() == 2_257_984
    assert len(course.base.layers) == 154
    assert course.place(120) == 120
    cut = course.cut_below(120)
    assert cut is not None
    assert (cut.name, cut.shape, cut.size) == ("block_12_add", (10, 10, 96), 9_600)


def test_place(course: Network) -> None:
    assert course.place("block_13_expand") == [x.name for x in course.base.layers].index(
        "block_13_expand"
    )
    assert course.place(0) == 0
    assert course.place(fraction=0.3) == 154 - 46
    assert course.place(fraction=1.0) == 0
    assert course.place(fraction=1e-9) == 153


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"start": 154}, r"`unfreeze_from`=154, but .* has 154 layers \(0 to 153\)$"),
        ({"start": -1}, "`unfreeze_from` must be at least 0"),
        ({"start": True}, "`unfreeze_from` must be a whole number"),
        ({"start": 2.5}, "`unfreeze_from` must be a whole number"),
        ({"start": "block_13_expnd"}, "`unfreeze_from` layer of .*'block_13_expand'"),
        ({"fraction": 0.0}, "`unfreeze_fraction` must be above 0 and at most 1"),
        ({"fraction": float("nan")}, "`unfreeze_fraction` must be a finite number"),
        ({}, "exactly one of `unfreeze_from` and `unfreeze_fraction`"),
        ({"start": 1, "fraction": 0.5}, "exactly one of"),
    ],
)
def test_place_refuses(course: Network, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        course.place(**arguments)


def test_cut_below_at_the_ends(course: Network) -> None:
    assert course.cut_below(0) is None
    assert course.cut_below(5) is None, "next to nothing lies below"
    last = course.cut_below(len(course.base.layers))
    assert last is not None
    assert last.name == "block_16_project_BN"
    with pytest.raises(SettingError, match="0 to 154"):
        course.cut_below(155)


def test_a_cut_of_another_network_is_refused(course: Network) -> None:
    stranger = CutPoint(index=0, name="x", shape=(1,), size=1, layer_index=0)
    with pytest.raises(SettingError, match="cut_points"):
        course.lower(stranger)


def test_parts_share_their_layers_with_the_base() -> None:
    network = BackboneAdapter("tiny_random").build()
    cut = network.cut_points[10]
    x = pixels((32, 32))
    before = output(network.model, x)
    variable = network.upper(cut).trainable_variables[-1]
    variable.assign(np.asarray(variable) + 1)
    assert not np.array_equal(output(network.model, x), before)
