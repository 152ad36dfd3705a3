"""Folders as they come unpacked: parts are recognised, or refused; never taken for classes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tlkit import DatasetSpec
from tlkit.errors import DatasetError


def make(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name / "1.jpg").touch()
    return folder


WAYS = r"rename the parts so, or give one of them alone; if these are the classes, name them with `classes`"


@pytest.mark.parametrize(
    ("folders", "said"),
    [
        (
            ("training_set/cats", "training_set/dogs", "test_set/cats", "test_set/dogs"),
            r"'test_set', 'training_set' hold the same folders, 'cats', 'dogs'",
        ),
        (
            ("training_set/cats", "training_set/dogs", "test_set/cats", "test_set/dogs", "single"),
            r"'test_set', 'training_set' hold the same folders",
        ),
        (("part one/a", "part one/b", "part two/a", "part two/b"), "'part one', 'part two' hold the same"),
        (("train", "test1"), "'test1', 'train' are called like parts"),
        (("my-train-images", "my-dev-images"), "are called like parts"),
        (("TrainingData", "HoldoutData"), "are called like parts"),
        (("Train", "unseen"), "are called like parts"),
        (("train/a", "train/b", "extra"), "'train' is called like a part of a data set and holds 'a', 'b'"),
        (("cats/site1", "cats/site2", "dogs/site1", "dogs/site2"), "'cats', 'dogs' hold the same folders"),
    ],
)  # fmt: skip
def test_parts_are_not_classes(tmp_path: Path, folders: tuple[str, ...], said: str) -> None:
    folder = make(tmp_path, *folders)
    with pytest.raises(DatasetError, match=rf"must hold two class folders.*{said}.*{WAYS}"):
        DatasetSpec(folder).listing()
    one, two, *_ = sorted({name.split("/")[0] for name in folders})
    listing = DatasetSpec(folder, classes=(one, two)).listing()
    assert listing.class_names == (one, two), "they are the classes for whoever says so"
    assert {example.part for example in listing.examples} == {None}


@pytest.mark.parametrize(
    "names",
    [
        ("images", "masks"),
        ("img", "label"),
        ("Images", "Annotations"),
        ("input images", "ground_truth"),
    ],
)
@pytest.mark.parametrize("parts", [("",), ("train/", "val/")])
def test_images_beside_their_masks_are_no_classes(
    tmp_path: Path, names: tuple[str, str], parts: tuple[str, ...]
) -> None:
    folder = make(tmp_path, *(part + name for part in parts for name in names))
    with pytest.raises(DatasetError, match=r"look like images and their masks: .*`classes`"):
        DatasetSpec(folder).listing()
    assert DatasetSpec(folder, classes=names).listing().class_names == names


@pytest.mark.parametrize(
    "names",
    [
        ("mask", "no mask"),
        ("with_mask", "without_mask"),
        ("test_negative", "test_positive"),
        ("trainA", "trainB"),
        ("control", "test"),
        ("train", "tram"),
        ("valid", "invalid"),
        ("photos", "paintings"),
        ("image", "text"),
        ("developed", "undeveloped"),
    ],
)
def test_classes_with_such_words_in_their_names_are_classes(
    tmp_path: Path, names: tuple[str, str]
) -> None:
    listing = DatasetSpec(make(tmp_path, *names)).listing()
    assert listing.class_names == tuple(sorted(names))


def test_different_folders_inside_the_classes_are_nobodys_business(tmp_path: Path) -> None:
    folder = make(tmp_path, "cats/persian", "cats/siamese", "dogs/poodle", "dogs/siamese")
    assert DatasetSpec(folder).listing().class_names == ("cats", "dogs")


def test_class_first_and_part_second(tmp_path: Path) -> None:
    folder = make(
        tmp_path, "cats/Train", "cats/test", "dogs/training", "dogs/test/deep", "dogs/test"
    )
    (folder / "cats/loose.jpg").touch()
    listing = DatasetSpec(folder).listing()
    assert {example.name: (example.class_name, example.part) for example in listing.examples} == {
        "cats/Train/1.jpg": ("cats", "train"),
        "cats/test/1.jpg": ("cats", "test"),
        "dogs/training/1.jpg": ("dogs", "train"),
        "dogs/test/1.jpg": ("dogs", "test"),
        "dogs/test/deep/1.jpg": ("dogs", "test"),
    }
    assert [e.part for e in listing.examples] == ["train", "train", "test", "test", "test"]
    assert all(example.path.exists() for example in listing.examples)
    assert listing.ignored == {"image outside the class folders": 1}
    with pytest.raises(DatasetError, match="`test_fraction` must be 0 in a folder of parts"):
        DatasetSpec(folder, test_fraction=0.2).listing()


def test_class_first_with_a_class_chosen_or_the_rest_joined(tmp_path: Path) -> None:
    folder = make(tmp_path, *(f"{name}/{part}" for name in "abc" for part in ("train", "val")))
    two = DatasetSpec(folder, classes=("c", "a")).listing()
    assert [(e.class_name, e.part) for e in two.examples] == [
        ("c", "train"),
        ("a", "train"),
        ("c", "validation"),
        ("a", "validation"),
    ]
    assert two.ignored == {"other folder": 1}
    rest = DatasetSpec(folder, positive_class="b", rest="negative").listing()
    assert rest.joined == {"a": 2, "c": 2}


@pytest.mark.parametrize(
    "folders",
    [
        ("a/train", "a/test", "b/train", "b/val"),
        ("a/train", "a/test", "b/train", "b/test", "b/val"),
        ("a/val", "a/test", "b/val", "b/test"),
        ("a/train", "a/test", "b/train", "b/training"),
    ],
)
def test_each_class_must_have_the_same_parts(tmp_path: Path, folders: tuple[str, ...]) -> None:
    with pytest.raises(
        DatasetError, match="holds the parts inside the class folders, and each class"
    ):
        DatasetSpec(make(tmp_path, *folders)).listing()
