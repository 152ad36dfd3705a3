"""A Keras model of the user's own, taken in as a backbone: checked against the contract and copied."""

from __future__ import annotations

import contextlib
import hashlib
import json
import warnings
from typing import TYPE_CHECKING, Any

from tlkit.core.forks import refuse_after_fork
from tlkit.errors import SettingError, TlkitWarning

if TYPE_CHECKING:
    from collections.abc import Iterator

    import keras


def adopt(model: keras.Model, image_size: tuple[int, int] | None) -> tuple[keras.Model, str]:
    """Copy a model, so that what is done to it later changes nothing, and fingerprint the copy.

    Args:
        model: Any built Keras model with one image input and one output.
        image_size: `(height, width)` in pixels; None takes what the model's input says.

    Returns:
        The copy, with an input of fixed size, and a SHA-256 of its configuration and weights.

    Raises:
        SettingError: The model cannot be copied, does not take one image, does not give one feature
            map or feature vector, or holds a Lambda layer.
    """
    refuse_after_fork()
    import keras

    if not isinstance(model, keras.Model):
        raise SettingError(
            "the backbone must be a name or a keras.Model, got "
            f"{model!r} of type {type(model).__name__}"
        )
    if not model.built:
        raise SettingError(
            f"the model {model.name!r} must be built, since its weights are what counts: "
            "give it an Input, or call it once on an image"
        )
    size = _legal_input(model, image_size)
    with _refusals(model, size):
        config = keras.saving.serialize_keras_object(model)
    _check_classes(model.name, config)
    copy = copied(model, size)
    _check_output(copy)
    return copy, digest(config, copy)


def copied(model: keras.Model, image_size: tuple[int, int] | None = None) -> keras.Model:
    """Return a copy of a model with copied weights, its input fixed to an image size.

    Raises:
        SettingError: Keras cannot copy it, or its layers do not work at that size.
    """
    import keras

    def image(template: keras.KerasTensor) -> keras.KerasTensor:
        size = image_size or template.shape[1:3]
        return keras.Input((*size, 3), dtype=template.dtype, name=template.name)

    with _refusals(model, image_size):
        if isinstance(model, keras.Sequential):
            copy = keras.models.clone_model(model, input_tensors=image(model.inputs[0]))
        elif _has_graph(model):
            images = keras.tree.map_structure(image, model.input)
            copy = keras.models.clone_model(model, input_tensors=images)
            copy = keras.Model(copy.inputs[0], copy.outputs[0], name=model.name)
        else:  # a class of the user's own, without a graph: one node in ours
            inputs = keras.Input((*(image_size or ()), 3))
            copy = keras.Model(inputs, keras.models.clone_model(model)(inputs), name=model.name)
        copy.set_weights(model.get_weights())
    return copy


@contextlib.contextmanager
def _refusals(model: keras.Model, image_size: tuple[int, int] | None) -> Iterator[None]:
    """Turn what Keras raises inside this block into an error that says what the model must be."""
    try:
        yield
    except (ValueError, TypeError, NotImplementedError, AttributeError) as error:
        # Keras prints whole configurations before and after what went wrong.
        reason = str(error).rpartition("Exception encountered:")[2].partition("Full object")[0]
        raise SettingError(
            f"the model {model.name!r} cannot be copied for image_size={image_size}: "
            f"{' '.join(reason.split())[:300]} It must be a Sequential or functional model, or a class "
            "with get_config and from_config, and its layers must work at that size."
        ) from error


def _has_graph(model: keras.Model) -> bool:
    return bool(getattr(model, "inputs", None))


def _legal_input(model: keras.Model, image_size: tuple[int, int] | None) -> tuple[int, int]:
    """Return the size of the images that a model is to take."""
    if not _has_graph(model):
        if image_size is None:
            raise SettingError(
                f"`image_size` is needed: the model {model.name!r} does not say what it takes"
            )
        return image_size
    shapes = [tuple(tensor.shape) for tensor in model.inputs]
    if len(shapes) != 1 or len(shapes[0]) != 4 or shapes[0][-1] != 3:
        raise SettingError(
            f"the model {model.name!r} must have one input of RGB images [None, height, width, 3], "
            f"got {shapes}"
        )
    has = shapes[0][1:3]
    if image_size is None and None in has:
        raise SettingError(
            f"`image_size` is needed: the model {model.name!r} takes images of any size"
        )
    size = image_size or has
    if any(own not in (None, asked) for own, asked in zip(has, size, strict=True)):
        raise SettingError(
            f"`image_size` must be {has}, which the model {model.name!r} is built for, got {size}"
        )
    return size


def _check_output(model: keras.Model) -> None:
    shapes = [tuple(tensor.shape) for tensor in model.outputs]
    if len(shapes) != 1 or len(shapes[0]) not in (2, 4) or None in shapes[0][1:]:
        raise SettingError(
            f"the model {model.name!r} must have one output, a feature map [None, height, width, "
            f"channels] or features [None, count], got {shapes}"
        )


def _check_classes(name: str, config: dict[str, Any]) -> None:
    """Warn of classes that a saved file would need, and refuse code inside the file."""
    custom = set()
    for part in _parts(config):
        kind, module = part["class_name"], part.get("module") or ""
        if kind in ("Lambda", "__lambda__"):
            raise SettingError(
                f"the model {name!r} holds a Lambda layer, which a saved file cannot carry safely: "
                "write it as built-in layers, or as a Layer class of your own"
            )
        if kind == "function":
            custom.add(str(part["config"]))
        elif part.get("registered_name") and not module.startswith("keras."):
            custom.add(str(part["registered_name"]))
    if custom:
        warnings.warn(
            f"the model {name!r} is made with {', '.join(sorted(custom))}, which Keras does not "
            "have: whoever loads a classifier saved with it needs this code, imported first or given as "
            "custom_objects",
            TlkitWarning,
            stacklevel=4,  # at the line that builds the adapter
        )


def _parts(config: Any) -> Iterator[dict[str, Any]]:
    """Walk over everything that a serialised model is made of."""
    if isinstance(config, dict):
        if "class_name" in config:
            yield config
        config = list(config.values())
    if isinstance(config, list | tuple):
        for item in config:
            yield from _parts(item)


def digest(config: dict[str, Any], model: keras.Model) -> str:
    """Return hex digits that identify a network: its config, as Keras serialises it, and its weights."""
    graph = {key: value for key, value in config.items() if key != "compile_config"}
    digest = hashlib.sha256(json.dumps(graph, sort_keys=True, default=str).encode())
    for value in model.get_weights():
        digest.update(f"{value.dtype}{value.shape}".encode() + value.tobytes())
    return digest.hexdigest()
