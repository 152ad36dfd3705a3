"""A model of the user's own as a backbone."""

from __future__ import annotations

import pickle
from typing import Any

import keras
import numpy as np
import pytest
from networks import output, own_model, own_sequential, pixels

from tlkit.backbones.adapter import BackboneAdapter
from tlkit.errors import SettingError, TlkitWarning

# Keras 3.15 saves variables in a way that NumPy 2.4 calls out of date.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def test_a_model_is_copied_and_never_changed() -> None:
    model = own_model()
    adapter = BackboneAdapter(model, image_size=24)
    x = pixels((24, 24))
    wanted = output(model, x)
    first, second = adapter.build(), adapter.build()
    np.testing.assert_array_equal(output(first.model, x), wanted)
    first.base.set_weights([value + 1 for value in first.base.get_weights()])
    np.testing.assert_array_equal(output(second.model, x), wanted)
    np.testing.assert_array_equal(output(model, x), wanted)
    model.set_weights([value + 1 for value in model.get_weights()])
    np.testing.assert_array_equal(output(adapter.build().model, x), wanted)


def test_models_are_equal_by_configuration_and_weights() -> None:
    model = own_model()
    one, same = (BackboneAdapter(model, image_size=24) for _ in range(2))
    assert one == same
    assert hash(one) == hash(same)
    assert one.fingerprint() == same.fingerprint()
    model.set_weights([value + 1 for value in model.get_weights()])
    others = [
        BackboneAdapter(model, image_size=24),
        BackboneAdapter(model, image_size=32),
        BackboneAdapter(model, image_size=24, preprocessing="tf"),
    ]
    fingerprints = {adapter.fingerprint() for adapter in (one, *others)}
    assert len({one, *others}) == len(fingerprints) == 4


def test_a_model_pickles() -> None:
    adapter = BackboneAdapter(own_sequential(), preprocessing="tf")
    same = pickle.loads(pickle.dumps(adapter))
    assert same == adapter
    x = pixels((32, 32))
    np.testing.assert_array_equal(output(same.build().model, x), output(adapter.build().model, x))


def test_a_model_has_no_json() -> None:
    adapter = BackboneAdapter(own_sequential())
    assert repr(adapter) == "BackboneAdapter(<keras model 'row'>, image_size=(32, 32))"
    with pytest.raises(SettingError, match=r"cannot be written as JSON.*\.keras file"):
        adapter.to_json()


def test_features_may_come_out_of_a_model() -> None:
    pooling = keras.layers.GlobalAveragePooling2D()
    model = keras.Sequential([keras.Input((32, 32, 3)), *own_sequential().layers, pooling])
    network = BackboneAdapter(model).build()
    assert network.model.outputs[0].shape == (None, 4)
    assert network.cut_points[-1].shape == (4,)


@pytest.mark.parametrize("structure", ["list", "dict"])
def test_a_model_with_its_input_in_a_list_or_dict(structure: str) -> None:
    inner = own_model()
    image = keras.Input((24, 24, 3), name="photo")
    inputs = {"list": [image], "dict": {"photo": image}}[structure]
    model = keras.Model(inputs, [inner(image)], name="wrapped")
    network = BackboneAdapter(model).build()
    np.testing.assert_array_equal(
        output(network.model, pixels((24, 24))), output(inner, pixels((24, 24)))
    )
    assert [layer.name for layer in network.base.layers][1:] == ["own"], "one node"


class Halved(keras.Model):  # type: ignore[misc]  # keras is untyped
    """A class without a graph."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.conv = keras.layers.Conv2D(4, 3, strides=2)

    def call(self, x: Any) -> Any:
        return self.conv(x)


@keras.saving.register_keras_serializable("zoo")
class Doubled(keras.layers.Layer):  # type: ignore[misc]  # keras is untyped
    """A layer that Keras does not have."""

    def call(self, x: Any) -> Any:
        return x * 2


@keras.saving.register_keras_serializable("zoo")  # type: ignore[untyped-decorator]  # keras is untyped
def squared(x: Any) -> Any:
    return x * x


def test_a_class_without_a_graph_is_one_node_and_named_in_a_warning() -> None:
    model = Halved(name="halved")
    x = pixels((24, 24))
    wanted = output(model, x)
    with pytest.raises(SettingError, match="`image_size` is needed"):
        BackboneAdapter(model)
    with pytest.warns(TlkitWarning, match="made with Halved"):
        adapter = BackboneAdapter(model, image_size=24)
    network = adapter.build()
    np.testing.assert_array_equal(output(network.model, x), wanted)
    assert [cut.layer_index for cut in network.cut_points] == [1]


def test_custom_classes_and_functions_are_named_in_a_warning() -> None:
    model = keras.Sequential(
        [keras.Input((8, 8, 3)), Doubled(), keras.layers.Conv2D(2, 3, activation=squared)]
    )
    with pytest.warns(TlkitWarning, match="made with zoo>Doubled, zoo>squared") as caught:
        BackboneAdapter(model)
    assert caught[0].filename == __file__, "the warning points at the line that builds the adapter"


def _sequential(*layers: Any) -> keras.Model:
    return keras.Sequential([keras.Input((8, 8, 3)), *layers], name="bad")


@pytest.mark.parametrize(
    ("make", "settings", "message"),
    [
        (own_model, {}, "`image_size` is needed.* any size"),
        (own_sequential, {"image_size": 48}, r"must be \(32, 32\), which the model 'row'"),
        (own_sequential, {"weights": None}, "must be left out"),
        (own_sequential, {"alpha": 0.5}, "unknown option of row 'alpha'"),
        (own_sequential, {"preprocessing": "tensorflow"}, "unknown preprocessing"),
        (lambda: keras.Sequential([keras.layers.Conv2D(2, 3)]), {}, "must be built"),
        (
            lambda: keras.Sequential([keras.Input((8, 8, 1)), keras.layers.ReLU()]),
            {},
            "one input of RGB",
        ),
        (lambda: _sequential(keras.layers.Reshape((8, 24))), {}, "must have one output"),
        (lambda: _sequential(keras.layers.Lambda(squared)), {}, "holds a Lambda layer"),
        (lambda: 3, {}, "must be a name or a keras.Model, got 3 of type int"),
    ],
)
def test_models_that_do_not_fit_the_contract(
    make: Any, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(SettingError, match=message):
        BackboneAdapter(make(), **settings)


def test_a_model_that_cannot_work_at_a_size_is_refused() -> None:
    image = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(4, 9)(image)
    with pytest.raises(SettingError, match=r"cannot be copied for image_size=\(4, 4\)"):
        BackboneAdapter(keras.Model(image, x), image_size=4)


def test_two_inputs_are_refused() -> None:
    one, two = keras.Input((8, 8, 3)), keras.Input((8, 8, 3))
    model = keras.Model([one, two], keras.layers.Add()([one, two]))
    with pytest.raises(SettingError, match="one input of RGB images"):
        BackboneAdapter(model)
