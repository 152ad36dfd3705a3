"""Networks that several tests use, and what they have to say to an image."""

from __future__ import annotations

import inspect
import warnings
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.float32]


def pixels(image_size: tuple[int, int], *, count: int = 2) -> Pixels:
    return np.random.default_rng(0).uniform(0, 255, (count, *image_size, 3)).astype(np.float32)


def output(model: keras.Model, x: Any) -> Pixels:
    return np.asarray(model(x, training=False))


def own_model() -> keras.Model:
    """A graph of a user's own: sizes open, one layer used twice, an operation that is no layer."""
    layers = keras.layers
    twice = layers.Conv2D(3, 3, padding="same", name="twice")
    image = keras.Input((None, None, 3), name="photo")
    x = twice(image)
    x = layers.Conv2D(8, 3, strides=2, padding="same", name="down")(x)
    x = x + layers.Conv2D(8, 3, padding="same", name="side")(x)
    x = layers.Conv2D(3, 1, name="narrow")(x)
    x = layers.Conv2D(6, 3, name="end")(twice(x))
    return keras.Model(image, x, name="own")


def own_sequential() -> keras.Model:
    inner = keras.Sequential(
        [keras.Input((15, 15, 8)), keras.layers.Conv2D(4, 3), keras.layers.ReLU()], name="inner"
    )
    return keras.Sequential(
        [keras.Input((32, 32, 3)), keras.layers.Conv2D(8, 3, strides=2), inner], name="row"
    )


def saved(base: keras.Model, path: Path) -> Path:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="You are saving your model as an HDF5 file")
        (base.save_weights if path.name.endswith(".weights.h5") else base.save)(path)
    return path


def keras_module(name: str) -> Any:
    if name.startswith("MobileNetV3"):  # whose module does not hold its two constructors
        return keras.applications.mobilenet_v3
    modules = [getattr(keras.applications, word) for word in dir(keras.applications)]
    return next(m for m in modules if inspect.ismodule(m) and getattr(m, name, None))
