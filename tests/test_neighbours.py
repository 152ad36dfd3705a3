"""The most similar images of a folder come first, and an image is not its own neighbour."""

from __future__ import annotations

import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from tlkit import (
    BackboneAdapter,
    DatasetSpec,
    FineTuneSchedule,
    TransferClassifier,
    transfer_classifier,
)
from tlkit.errors import BadFileWarning, DatasetError, ImageError, SettingError
from tlkit.images.decoder import read_image
from tlkit.insight.neighbours import FeatureIndex, nearest


@pytest.fixture(scope="module")
def index(classifier: TransferClassifier, drawn_folder: Path) -> FeatureIndex:
    return FeatureIndex(classifier, drawn_folder)


def test_the_order_is_that_of_the_angles_between_features(
    classifier: TransferClassifier, drawn_folder: Path
) -> None:
    listed = DatasetSpec(drawn_folder).listing().examples
    pixels = np.stack([read_image(e.path, classifier.image_size)[0] for e in listed])
    model = classifier.model
    below = keras.Model(model.inputs, model.get_layer("logit").input)
    features = np.asarray(below([pixels.astype(np.float32)]), np.float64)
    own = features[7]
    cosines = features @ own / np.linalg.norm(features, axis=1) / np.linalg.norm(own)
    order = [place for place in np.argsort(-cosines) if place != 7]

    found = nearest(classifier, listed[7].path, drawn_folder, 6)
    assert [one.name for one in found] == [listed[place].name for place in order[:6]]
    np.testing.assert_allclose([one.similarity for one in found], cosines[order[:6]], atol=1e-5)
    for one, place in zip(found, order, strict=False):
        example = listed[place]
        assert (one.class_name, one.label, one.path) == (
            example.class_name,
            example.label,
            example.path,
        )


def test_an_array_has_no_file_that_could_be_left_out(
    index: FeatureIndex, drawn_folder: Path
) -> None:
    pixels = np.asarray(Image.open(drawn_folder / "disc" / "05.jpg"))
    first, second = index.nearest(pixels, 2)
    assert first.name == "disc/05.jpg"
    assert first.similarity == pytest.approx(1)
    assert second.similarity < first.similarity


def test_a_copy_is_a_neighbour_but_a_link_to_itself_is_not(
    index: FeatureIndex, drawn_folder: Path, tmp_path: Path
) -> None:
    original = drawn_folder / "disc" / "05.jpg"
    shutil.copy(original, tmp_path / "copy.jpg")
    (tmp_path / "link.jpg").symlink_to(original)
    assert index.nearest(tmp_path / "copy.jpg", 1)[0].name == "disc/05.jpg"
    assert index.nearest(tmp_path / "link.jpg", 1)[0].name != "disc/05.jpg"
    assert index.nearest(original, 100) == index.nearest(tmp_path / "link.jpg", 100)
    assert len(index.nearest(original, 100)) == 47


def test_only_some_names_may_count(
    classifier: TransferClassifier, index: FeatureIndex, drawn_folder: Path
) -> None:
    known = classifier.record.training_names
    image = drawn_folder / classifier.record.scores["validation"].names[0]
    found = index.nearest(image, 100, among=known)
    assert {one.name for one in found} == {*known}
    everything = index.nearest(image, 100)
    assert list(found) == [one for one in everything if one.name in known]
    assert index.nearest(image, among=()) == ()


def test_bad_files_are_left_out_by_name(
    classifier: TransferClassifier, drawn_folder: Path, tmp_path: Path
) -> None:
    for name in ("disc", "not disc"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "bad.jpg").touch()
        shutil.copy(drawn_folder / name / "00.jpg", tmp_path / name)
    with pytest.warns(BadFileWarning, match=r"bad\.jpg: the file is empty"):
        index = FeatureIndex(classifier, tmp_path)
    assert [example.name for example in index.examples] == ["disc/00.jpg", "not disc/00.jpg"]
    kernel, _ = classifier.model.get_layer("logit").get_weights()
    assert index.features.shape == (2, len(kernel))
    with pytest.raises(ImageError, match=r"bad\.jpg"):
        nearest(
            classifier,
            tmp_path / "disc" / "00.jpg",
            DatasetSpec(tmp_path, on_bad_file="raise"),
        )
    for name in ("disc", "not disc"):
        (tmp_path / name / "00.jpg").unlink()
    with pytest.raises(DatasetError, match=r"no image .* can be read"):
        FeatureIndex(classifier, tmp_path)


def test_what_is_no_image_is_named(
    classifier: TransferClassifier, index: FeatureIndex, drawn_folder: Path
) -> None:
    image = drawn_folder / "disc" / "00.jpg"
    with pytest.raises(SettingError, match="`count` must be at least 1"):
        nearest(classifier, image, "no such folder", 0)
    with pytest.raises(SettingError, match="`count` must be at least 1"):
        index.nearest(image, 0)
    with pytest.raises(SettingError, match="`image` must be one image, got 2"):
        index.nearest(np.zeros((2, 8, 8, 3), np.uint8))
    with pytest.raises(SettingError, match="`image` must be a path"):
        index.nearest(3)  # type: ignore[arg-type]
    with pytest.raises(ImageError, match="no such"):
        index.nearest("no such.jpg")


@pytest.mark.slow
def test_alpacas_are_like_alpacas(alpaca_dir: Path, weights_dir: Path) -> None:
    weights = weights_dir / "mobilenet_v2_0.35_224_no_top.weights.h5"
    classifier = transfer_classifier(
        DatasetSpec(alpaca_dir, validation_fraction=0.2),
        backbone=BackboneAdapter("MobileNetV2", image_size=160, alpha=0.35, weights=weights),
        schedule=FineTuneSchedule.head_only(),
    )
    index = FeatureIndex(classifier, alpaca_dir)
    scores = classifier.record.scores["validation"]
    same = [
        one.label == label
        for name, label in zip(scores.names, scores.labels, strict=True)
        for one in index.nearest(alpaca_dir / name, among=classifier.record.training_names)
    ]
    assert len(same) == 5 * len(scores.names)
    assert np.mean(same) > 0.75
