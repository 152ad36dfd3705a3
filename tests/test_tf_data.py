"""The `tf.data` function: the same pixels, the same split, orders that repeat themselves."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tlkit.backbones.adapter import BackboneAdapter
from tlkit.data.dataset import DatasetSpec
from tlkit.data.split_dataset import split_dataset
from tlkit.data.tf_data import image_dataset
from tlkit.errors import BadFileWarning, DatasetError, ImageError, SettingError
from tlkit.images.augmentation import AugmentationPolicy
from tlkit.training.schedule import FineTuneSchedule
from tlkit.training.transfer import transfer_classifier


def batches_of(dataset: Any) -> list[tuple[Any, Any]]:
    return [(images.numpy(), labels.numpy()) for images, labels in dataset]


def images_of(dataset: Any) -> Any:
    return np.concatenate([images for images, _ in batches_of(dataset)])


def labels_of(dataset: Any) -> list[int]:
    return [int(label) for _, labels in batches_of(dataset) for label in labels]


@pytest.fixture
def numbered(tmp_path: Path) -> Path:
    """10 + 10 PNGs of 8 x 6 pixels, no two alike: the positive ones bright."""
    rng = np.random.default_rng(0)
    for class_name, low in (("not bright", 0), ("bright", 128)):
        (tmp_path / class_name).mkdir()
        for number in range(10):
            pixels = rng.integers(low, low + 128, (6, 8, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / class_name / f"{number}.png")
    return tmp_path


def test_shapes_types_and_length(numbered: Path) -> None:
    dataset = image_dataset(numbered, "train", image_size=(6, 8), batch_size=5)

    batches = batches_of(dataset)
    assert [images.shape for images, _ in batches] == [(5, 6, 8, 3)] * 3 + [(1, 6, 8, 3)]
    assert {images.dtype for images, _ in batches} == {np.dtype(np.float32)}
    assert {labels.dtype for _, labels in batches} == {np.dtype(np.int32)}
    assert len(dataset) == int(dataset.cardinality()) == 4
    assert dataset.element_spec[0].shape.as_list() == [None, 6, 8, 3]


def test_pixels_and_labels_are_those_of_the_files(numbered: Path) -> None:
    dataset = image_dataset(numbered, "validation", image_size=(6, 8))
    stored = {
        np.asarray(Image.open(path)).tobytes(): int(path.parent.name == "bright")
        for path in numbered.rglob("*.png")
    }

    ((images, labels),) = batches_of(dataset)
    assert len(images) == 4
    for image, label in zip(images, labels, strict=True):
        assert stored[image.astype(np.uint8).tobytes()] == label


def test_one_number_is_a_square(numbered: Path) -> None:
    assert images_of(image_dataset(numbered, "validation", image_size=16)).shape[1:] == (
        16,
        16,
        3,
    )


@pytest.mark.parametrize("grouped", [False, True])
def test_split_is_that_of_transfer_classifier(drawn_folder: Path, grouped: bool) -> None:
    def pairs(path: Path) -> str:
        return f"{path.parent.name} {int(path.stem) // 2}"

    spec = DatasetSpec(
        drawn_folder,
        validation_fraction=0.2,
        test_fraction=0.25,
        seed=3,
        group_by=pairs if grouped else None,
    )
    classifier = transfer_classifier(
        spec,
        backbone=BackboneAdapter("tiny_random"),
        schedule=FineTuneSchedule.head_only(),
    )
    names = {"train": classifier.record.training_names}
    names |= {part: classifier.record.scores[part].names for part in ("validation", "test")}

    for part, expected in names.items():
        dataset = image_dataset(spec, part, image_size=48, shuffle=False)  # type: ignore[arg-type]
        images = [np.asarray(Image.open(drawn_folder / name), np.float32) for name in expected]
        assert np.array_equal(images_of(dataset), np.stack(images))


def test_given_parts_are_used(numbered: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("parts")
    for part, numbers in (("train", range(6)), ("val", range(6, 10))):
        for class_name in ("bright", "not bright"):
            (folder / part / class_name).mkdir(parents=True)
            for number in numbers:
                shutil.copy(numbered / class_name / f"{number}.png", folder / part / class_name)

    assert len(labels_of(image_dataset(folder, "train", image_size=8))) == 12
    assert labels_of(image_dataset(folder, "validation", image_size=8)) == [1] * 4 + [0] * 4


def test_each_epoch_has_an_order_of_its_own_that_the_seed_decides(numbered: Path) -> None:
    def epochs(seed: int) -> list[bytes]:
        dataset = image_dataset(numbered, "train", image_size=(6, 8), seed=seed)
        return [images_of(dataset).tobytes() for _ in range(3)]

    first = epochs(0)
    assert len(set(first)) == 3
    assert epochs(0) == first
    assert epochs(1)[0] not in first


def test_labels_travel_with_their_images_through_the_shuffle(numbered: Path) -> None:
    dataset = image_dataset(numbered, "train", image_size=(6, 8), batch_size=3)
    for images, labels in batches_of(dataset):
        assert ((images.mean(axis=(1, 2, 3)) > 128) == labels).all()


@pytest.mark.parametrize(
    ("part", "shuffle", "moves"),
    [("train", None, True), ("train", False, False), ("validation", None, False)],
)
def test_only_training_is_shuffled_unless_asked(
    numbered: Path, part: Any, shuffle: bool | None, moves: bool
) -> None:
    dataset = image_dataset(numbered, part, image_size=8, shuffle=shuffle)
    assert (images_of(dataset).tobytes() != images_of(dataset).tobytes()) == moves


def test_augmentation_gives_another_view_each_epoch_after_the_first(numbered: Path) -> None:
    policy = AugmentationPolicy(brightness_fraction=0.5)
    plain = images_of(image_dataset(numbered, "train", image_size=8, shuffle=False))
    dataset = image_dataset(numbered, "train", image_size=8, shuffle=False, augmentation=policy)

    epochs = [images_of(dataset) for _ in range(3)]
    assert np.array_equal(epochs[0], plain)
    assert not np.array_equal(epochs[1], plain)
    assert not np.array_equal(epochs[1], epochs[2])
    again = image_dataset(numbered, "train", image_size=8, shuffle=False, augmentation=policy)
    assert all(np.array_equal(images_of(again), epoch) for epoch in epochs)


def test_bad_files_are_named_and_left_out(numbered: Path) -> None:
    for path in numbered.rglob("*.png"):
        if path.stem in "02468":
            path.write_bytes(b"<html>")
    parts = []
    for part in ("train", "validation"):
        with pytest.warns(BadFileWarning) as warned:
            parts.append(image_dataset(numbered, part, image_size=8, batch_size=2))
        assert str(warned[0].message).count(".png: ") == 10
        assert warned[0].filename == __file__
    assert sum(len(labels_of(dataset)) for dataset in parts) == 10
    assert len(list(parts[0])) == len(parts[0])


def test_bad_file_stops_if_the_spec_says_so(numbered: Path) -> None:
    for path in numbered.rglob("0.png"):
        path.write_bytes(b"")
    spec = DatasetSpec(numbered, on_bad_file="raise", validation_fraction=0.0)
    with pytest.raises(ImageError, match=r"0\.png"):
        image_dataset(spec, "train", image_size=8)


def test_nothing_readable_is_an_error(numbered: Path) -> None:
    for path in numbered.rglob("*.png"):
        path.write_bytes(b"")
    with pytest.warns(BadFileWarning), pytest.raises(DatasetError, match="none of the 20 files"):
        image_dataset(numbered, "train", image_size=8)


@pytest.mark.parametrize(
    ("part", "options", "message"),
    [
        ("val", {}, "unknown part 'val'"),
        ("test", {}, "`test_fraction` must be above 0"),
        ("train", {"batch_size": 0}, "`batch_size` must be at least 1"),
        ("train", {"seed": -1}, "`seed` must be at least 0"),
        ("train", {"shuffle": 1}, "`shuffle` must be True or False"),
        ("train", {"image_size": (8, 8, 3)}, "`image_size` must be"),
        ("train", {"image_size": None}, "`image_size` must be"),
        ("validation", {"augmentation": AugmentationPolicy.course()}, "for the training split"),
    ],
)
def test_wrong_arguments(numbered: Path, part: Any, options: Any, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        image_dataset(numbered, part, **{"image_size": 8, **options})


def test_keras_trains_on_it(numbered: Path) -> None:
    import keras

    layers = [
        keras.layers.Rescaling(1 / 255),
        keras.layers.Flatten(),
        keras.layers.Dense(1, "sigmoid"),
    ]
    model = keras.Sequential([keras.Input((6, 8, 3)), *layers])
    model.compile("adam", "binary_crossentropy")
    history = model.fit(
        image_dataset(numbered, "train", image_size=(6, 8), batch_size=4),
        validation_data=image_dataset(numbered, "validation", image_size=(6, 8)),
        epochs=3,
        shuffle=False,
        verbose=0,
    )
    assert len(history.history["val_loss"]) == 3
    assert np.isfinite(history.history["loss"]).all()


@pytest.mark.slow
def test_augmentation_needs_no_second_thread(numbered: Path) -> None:
    code = f"""
import tensorflow as tf
tf.config.threading.set_inter_op_parallelism_threads(1)
from tlkit import AugmentationPolicy, image_dataset
policy = AugmentationPolicy.standard()
ds = image_dataset({str(numbered)!r}, "train", image_size=32, batch_size=4, augmentation=policy)
print(sum(len(y) for _ in range(3) for _, y in ds))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout == "48\n"


def test_split_dataset_gives_the_parts_of_the_classifier(drawn_folder: Path) -> None:
    spec = DatasetSpec(drawn_folder, validation_fraction=0.2, test_fraction=0.2, seed=3)
    parts = split_dataset(spec)
    record = transfer_classifier(
        spec, backbone=BackboneAdapter("tiny_random"), schedule=FineTuneSchedule.head_only()
    ).record
    names = {part: tuple(e.name for e in examples) for part, examples in parts.items()}
    assert names["train"] == record.training_names
    assert names["validation"] == record.scores["validation"].names
    assert names["test"] == record.scores["test"].names
