"""What should I label next? Doubtful images, none twice, and none that training has seen."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tlkit import (
    BackboneAdapter,
    DatasetSpec,
    FineTuneSchedule,
    Suggestion,
    TransferClassifier,
    suggest,
    transfer_classifier,
)
from tlkit.choosing.suggest import worth_labelling
from tlkit.cli import main
from tlkit.errors import BadFileWarning, DatasetError, SettingError


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images without labels, no two alike: patches of colours."""
    folder = tmp_path_factory.mktemp("pool")
    (folder / "inside").mkdir()
    for number in range(20):
        patches = np.random.default_rng(number).integers(256, size=(6, 6, 3), dtype=np.uint8)
        image = Image.fromarray(patches).resize((48, 48), Image.Resampling.BICUBIC)
        image.save(folder / ("inside" if number % 2 else "") / f"{number:02}.png")
    return folder


def test_they_are_different_images_in_a_fixed_order(
    classifier: TransferClassifier, pool: Path
) -> None:
    found = suggest(classifier, pool, count=12)
    assert len({one.path for one in found}) == 12
    assert found == suggest(classifier, pool, count=12)
    assert found[:5] == suggest(classifier, pool, count=5)
    assert found != suggest(classifier, pool, count=12, seed=1)
    for one in found:
        assert one.path == pool / one.name
        prediction = classifier.predict(one.path)
        assert one.label == prediction.label
        assert one.probability == pytest.approx(prediction.probability, abs=1e-5)
        assert one.reason in str(one)
    assert ["at random" in one.reason for one in found] == [False, True] * 6


def test_a_classifier_that_pads_sees_padded_images(drawn_folder: Path, tmp_path: Path) -> None:
    padding = transfer_classifier(
        DatasetSpec(drawn_folder, validation_fraction=0.2),
        backbone=BackboneAdapter("tiny_random", resize="pad"),
        schedule=FineTuneSchedule.head_only(),
    )
    for number in range(4):
        patches = np.random.default_rng(number).integers(256, size=(3, 9, 3), dtype=np.uint8)
        image = Image.fromarray(patches).resize((144, 48), Image.Resampling.BICUBIC)
        image.save(tmp_path / f"{number}.png")
    for one in suggest(padding, tmp_path, count=4):
        assert one.probability == pytest.approx(padding.predict(one.path).probability, abs=1e-5)


def test_more_than_there_are_gives_what_there_are(
    classifier: TransferClassifier, pool: Path
) -> None:
    assert len(suggest(classifier, pool, count=100)) == len(list(pool.rglob("*.png")))


def test_copies_of_each_other_and_of_training_images_are_left_out(
    classifier: TransferClassifier, drawn_folder: Path, pool: Path, tmp_path: Path
) -> None:
    shutil.copytree(pool, tmp_path, dirs_exist_ok=True)
    shutil.copy(pool / "00.png", tmp_path / "copy.png")
    learned = classifier.record.training_names
    shutil.copy(drawn_folder / learned[-1], tmp_path / "same.jpg")
    with Image.open(drawn_folder / learned[0]) as image:  # a disc: there is something to recognise
        image.save(tmp_path / "again.jpg", quality=90)
    names = {one.name for one in suggest(classifier, tmp_path, count=100)}
    assert names.isdisjoint({"same.jpg", "again.jpg"})
    assert len(names & {"copy.png", "00.png"}) == 1
    assert len(names) == len(list(pool.rglob("*.png")))


def test_where_all_are_known_it_says_so(
    classifier: TransferClassifier, drawn_folder: Path, tmp_path: Path
) -> None:
    for name in classifier.record.training_names[:3]:
        shutil.copy(drawn_folder / name, tmp_path)
    with pytest.raises(DatasetError, match="has learned from all 3"):
        suggest(classifier, tmp_path)


def test_bad_files_are_left_out_with_a_warning(
    classifier: TransferClassifier, pool: Path, tmp_path: Path
) -> None:
    shutil.copy(pool / "00.png", tmp_path)
    (tmp_path / "bad.png").write_bytes(b"")
    with pytest.warns(BadFileWarning, match="left out 1 file"):
        assert [one.name for one in suggest(classifier, tmp_path)] == ["00.png"]
    (tmp_path / "00.png").unlink()
    with pytest.warns(BadFileWarning), pytest.raises(DatasetError, match="can be read"):
        suggest(classifier, tmp_path)


def test_what_is_no_count_or_no_classifier(classifier: TransferClassifier, pool: Path) -> None:
    with pytest.raises(SettingError, match="count"):
        suggest(classifier, pool, count=0)
    with pytest.raises(SettingError, match="classifier"):
        suggest("model.keras", pool)  # type: ignore[arg-type]


# The choice


def test_the_doubtful_come_before_the_certain() -> None:
    random = np.random.default_rng(0)
    features = random.normal(size=(400, 20))
    probabilities = np.where(np.arange(400) < 40, 0.5, 0.001)
    chosen = worth_labelling(features, probabilities, 30, seed=0)
    assert np.mean(chosen[::2] < 40) > 0.9


def test_every_other_one_stands_for_all() -> None:
    """However few are doubted, and whatever they look like."""
    random = np.random.default_rng(0)
    features = random.normal(size=(400, 20))
    probabilities = np.where(np.arange(400) < 40, 0.5, 0.001)
    usual = [worth_labelling(features, probabilities, 30, seed=s)[1::2] < 40 for s in range(20)]
    assert 0.02 < np.mean(usual) < 0.15


def test_no_group_of_alikes_takes_all() -> None:
    """Ten heaps, one of them with nine tenths of the images, all doubted alike."""
    random = np.random.default_rng(0)
    heap = np.where(np.arange(1000) < 910, 0, 1 + np.arange(1000) % 9)
    features = random.normal(size=(10, 20))[heap] + random.normal(0, 0.01, (1000, 20))
    chosen = worth_labelling(features, np.full(1000, 0.5), 20, seed=0)
    assert len(set(heap[chosen[::2]].tolist())) >= 9


def test_equal_images_are_taken_when_nothing_else_is_left() -> None:
    alike = worth_labelling(np.ones((5, 3)), np.full(5, 0.5), 9, seed=0)
    assert sorted(alike.tolist()) == [*range(5)]
    assert len(worth_labelling(np.eye(4), np.zeros(4), 2, seed=0)) == 2


def test_labels_bought_so_teach_faster_than_random_ones() -> None:
    """One image of twenty is of the rare class: doubt and spread find it, chance hardly."""
    from tlkit.training.head import fit_head

    def reached(order: str, seed: int) -> float:
        random = np.random.default_rng(seed)
        labels = (random.random(1500) < 0.05).astype(np.int64)
        features = random.normal(size=(1500, 20))
        features[labels == 1, :4] += 2
        pool, test = np.arange(900), np.arange(900, 1500)
        known = [*np.flatnonzero(labels[:900])[:3], *np.flatnonzero(labels[:900] == 0)[:12]]
        for _ in range(4):
            head = fit_head(features[known], labels[known], l2=0.02)
            rest = np.setdiff1d(pool, known)
            if order == "random":
                known += random.choice(rest, 15, replace=False).tolist()
            else:
                chances = 1 / (1 + np.exp(-head.logits(features[rest])))
                chosen = worth_labelling(features[rest], chances, 15, seed=seed)
                known += rest[chosen].tolist()
        logits = fit_head(features[known], labels[known], l2=0.02).logits(features[test])
        return float(np.mean(np.logaddexp(0, logits) - labels[test] * logits))

    ours, random = (np.mean([reached(o, seed) for seed in range(10)]) for o in ("ours", "random"))
    assert ours < 0.85 * random


def test_a_suggestion_survives_json(classifier: TransferClassifier, pool: Path) -> None:
    (one,) = suggest(classifier, pool, count=1)
    assert Suggestion.from_json(one.to_json()) == one


def test_the_command_writes_or_prints_them(
    classifier: TransferClassifier, pool: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tmp_path / "one.keras"
    classifier.save(model)
    expected = suggest(classifier, pool, count=4)
    words = ["suggest", str(model), str(pool), "-n", "4"]
    assert main([*words, "-o", str(tmp_path / "list.csv")]) == 0
    with (tmp_path / "list.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["image"] for row in rows] == [str(one.path) for one in expected]
    assert [row["reason"] for row in rows] == [one.reason for one in expected]
    assert "4 rows" in capsys.readouterr().out
    assert main([*words, "--json"]) == 0
    assert [row["label"] for row in json.loads(capsys.readouterr().out)] == [
        one.label for one in expected
    ]
    assert main(words) == 0
    assert str(expected[0].path) in capsys.readouterr().out
