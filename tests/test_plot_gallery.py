"""The gallery shows the worst mistakes first, with the images of the files that it names."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tlkit import DatasetSpec, TransferClassifier, plot
from tlkit.errors import BadFileWarning, DatasetError, SettingError
from tlkit.evaluation.evaluate import evaluate
from tlkit.evaluation.scores import CrossValidation, Scores
from tlkit.insight.explain import explain

pytest.importorskip("matplotlib")

NAMES = ("disc/00.jpg", "disc/01.jpg", "not disc/00.jpg", "not disc/01.jpg")
SCORES = Scores(names=NAMES, labels=(1, 1, 0, 0), logits=(2.0, -1.0, -4.0, 3.0))
WORST_FIRST = ("not disc/01.jpg", "disc/01.jpg", "disc/00.jpg", "not disc/00.jpg")


def crossed(scores: Scores = SCORES) -> CrossValidation:
    found = evaluate(
        scores.labels,
        scores.probabilities,
        class_names=("disc", "not disc"),
        positive_class="disc",
        part="out-of-fold",
    )
    return CrossValidation(
        evaluation=found, folds=(found, found), fold_numbers=(0, 1, 0, 1), scores=scores
    )


def cells(axes: plot.Grid) -> list[tuple[str, str]]:
    return [(ax.get_title(loc="left"), ax.get_xlabel()) for ax in axes.flat if ax.axison]


def test_the_worst_come_first_with_their_predictions(drawn_folder: Path) -> None:
    axes = plot.gallery(crossed(), drawn_folder)
    assert cells(axes) == [
        ("not disc", "wrong: probability of disc 0.95\n01.jpg"),
        ("disc", "wrong: probability of disc 0.27\n01.jpg"),
        ("disc", "right: probability of disc 0.88\n00.jpg"),
        ("not disc", "right: probability of disc 0.02\n00.jpg"),
    ]
    assert axes.figure.get_suptitle() == "4 of 4 out-of-fold images, the worst first"
    assert axes.shape == (2, 2)
    assert cells(plot.gallery(crossed(), DatasetSpec(drawn_folder), count=2)) == cells(axes)[:2]


def test_the_images_are_those_of_the_files(drawn_folder: Path) -> None:
    axes = plot.gallery(crossed(), drawn_folder)
    for ax, name in zip(axes.flat, WORST_FIRST, strict=True):
        small = Image.fromarray(ax.images[0].get_array()).resize((48, 48))
        own = np.asarray(Image.open(drawn_folder / name), float)
        assert np.abs(np.asarray(small, float) - own).mean() < 4


def test_heat_maps_show_the_evidence_for_the_prediction(
    classifier: TransferClassifier, drawn_folder: Path
) -> None:
    axes = plot.gallery(crossed(), drawn_folder, explained_by=classifier)
    predicted = ("disc", "not disc", "disc", "not disc")
    for ax, name, towards in zip(axes.flat, WORST_FIRST, predicted, strict=True):
        alone = explain(classifier, drawn_folder / name, towards=towards)
        wanted = alone.overlay(image_size=(384, 384)).astype(float)
        assert np.abs(ax.images[0].get_array() - wanted).max() <= 1
    legend = [text.get_text() for text in axes.figure.legends[0].get_texts()]
    assert legend == [
        "disc (2, the positive class)",
        "not disc (2)",
        "glow: evidence for the prediction",
    ]


def test_a_classifier_knows_its_folder(
    classifier: TransferClassifier, drawn_folder: Path, tmp_path: Path
) -> None:
    axes = plot.gallery(classifier, part="test", count=3)
    assert len(cells(axes)) == 3
    moved = dataclasses.replace(
        classifier.record, dataset={**classifier.record.dataset, "directory": str(tmp_path)}
    )
    elsewhere = TransferClassifier(classifier.model, moved)
    with pytest.raises(DatasetError, match=r"give it as `data`\. The first: .*: no such file"):
        plot.gallery(elsewhere, part="test")
    assert cells(plot.gallery(elsewhere, drawn_folder, part="test", count=3)) == cells(axes)
    with pytest.raises(SettingError, match="`data` must be the folder"):
        plot.gallery(crossed())
    with pytest.raises(SettingError, match="`count` must be at least 1"):
        plot.gallery(classifier, count=0)


def test_what_cannot_be_read_is_passed_over_by_name(drawn_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(drawn_folder, tmp_path / "d")
    (tmp_path / "d" / WORST_FIRST[0]).write_bytes(b"")
    with pytest.warns(BadFileWarning, match="the file is empty") as warned:
        axes = plot.gallery(crossed(), tmp_path / "d", count=2)
    assert warned[0].filename == __file__
    assert [note.split()[0] for _, note in cells(axes)] == ["wrong:", "right:"]
