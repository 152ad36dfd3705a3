"""What the pages of README.md and docs/ take for granted: images, a classifier, pretrained weights.

A page speaks of `alpacas/`, `classifier.keras` or `weights="imagenet"` as if its reader had them. Here drawn
images stand in for the first, a small network for the second, and made-up weights for the last.
"""

from __future__ import annotations

import importlib
import os
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import tlkit

EXAMPLES = Path(__file__).parents[1] / "examples"
COUNT = 26  # drawn images of each class
FEW, MORE, OTHERS = slice(16), slice(18), slice(18, None)  # MORE of both classes fill a batch of 32

# What stands for alpacas and what for other things in each folder, and which of the drawn images.
FOLDERS = {
    "alpacas": ("alpaca", "not alpaca", FEW),
    "more-alpacas": ("alpaca", "not alpaca", OTHERS),
    "images": ("ripe", "not ripe", FEW),
    "new images": ("ripe", "not ripe", OTHERS),
    "cats_and_dogs/train": ("dogs", "cats", MORE),
    "cats_and_dogs/validation": ("dogs", "cats", OTHERS),
}


def draw(count: int = COUNT) -> list[list[Image.Image]]:
    """Return `count` drawn alpacas and as many other things.

    The alpacas stand in a red evening, so that a network that has learned nothing can tell them too.
    """
    sys.path.insert(0, str(EXAMPLES))
    try:
        images: Any = importlib.import_module("drawn_images")
    finally:
        sys.path.remove(str(EXAMPLES))
    alpacas, others = (
        [images.draw_image(name, n) for n in range(count)] for name in images.CLASSES
    )
    evening = Image.new("RGB", alpacas[0].size, (200, 60, 20))
    return [[Image.blend(alpaca, evening, 0.5) for alpaca in alpacas], others]


def draw_images(folder: Path) -> Path:
    """Put the images that pages speak of into a folder, and return it."""
    drawn = draw()
    for place, (positive, negative, chosen) in FOLDERS.items():
        for name, images in zip((positive, negative), drawn, strict=True):
            _save(images[chosen], folder / place / name)
    _save([*drawn[0][:2], *drawn[1][:2]], folder / "holiday")
    _save_with_table(drawn, folder / "scans")
    for name in ("photo.jpg", "new.jpg"):
        shutil.copy(folder / "alpacas" / "alpaca" / "00.jpg", folder / name)
    return folder


def _save_with_table(drawn: list[list[Image.Image]], folder: Path) -> None:
    """Put images into one folder, and beside them tables that say what each shows, and of whom it is."""
    folder.mkdir()
    rows = ["path;diagnosis;patient;site"]
    for label, images in zip(("ill", "well"), drawn, strict=True):
        for number, image in enumerate(images[FEW]):
            image.save(folder / f"{label}.{number:02d}.jpg", quality=90)
            rows.append(f"{label}.{number:02d}.jpg;{label};{label}{number // 2};{'AB'[number % 2]}")
    (folder / "labels.csv").write_text("\n".join(rows))


def add_classifiers(folder: Path) -> Path:
    """Put the classifiers beside the images that they were trained on, and return the folder."""
    for data, model in (("alpacas", "alpaca.keras"), ("images", "classifier.keras")):
        tlkit.transfer_classifier(
            tlkit.DatasetSpec(folder / data),
            backbone=tlkit.BackboneAdapter("tiny_random"),
            schedule=tlkit.FineTuneSchedule.head_only(),
        ).save(folder / model)
    return folder


def fill_keras_cache(folder: Path) -> Path:
    """Put files where Keras would have downloaded the weights of MobileNetV2, and return the folder.

    A random MobileNetV2 says next to nothing about an image. With the statistics of some images in its
    batch normalisation it says enough to tell drawn alpacas from other things.
    """
    import keras
    from networks import saved

    (folder / "models").mkdir()
    stem = "mobilenet_v2_weights_tf_dim_ordering_tf_kernels"
    images = np.stack([np.asarray(p.resize((96, 96))) for part in draw(12) for p in part])
    for alpha in (0.35, 1.0):
        keras.utils.set_random_seed(1)
        base = keras.applications.MobileNetV2(
            include_top=False, weights=None, input_shape=(96, 96, 3), alpha=alpha
        )
        for layer in base.layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.momentum = 0.0
        base(images.astype("float32") / 127.5 - 1, training=True)
        file = saved(base, folder / "models" / f"{stem}_{alpha}_224_no_top.h5")
        for size in (96, 128, 160, 192):
            os.link(file, file.with_name(f"{stem}_{alpha}_{size}_no_top.h5"))
    return folder


def _save(images: Iterable[Image.Image], folder: Path) -> None:
    folder.mkdir(parents=True)
    for number, image in enumerate(images):
        image.save(folder / f"{number:02d}.jpg", quality=90)
