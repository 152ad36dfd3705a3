"""What is unlike all training images: in every prediction, in the file, by option in exports."""

from __future__ import annotations

import json
import pickle
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import keras
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageOps

from tlkit import (
    BackboneAdapter,
    DatasetSpec,
    ExactHead,
    FineTuneSchedule,
    Phase,
    Prediction,
    TransferClassifier,
    export,
    transfer_classifier,
    write_predictions,
)
from tlkit.classifier.artifact import FAMILIARITY_NAME
from tlkit.classifier.classifier import network_of, with_card
from tlkit.cli.app import main
from tlkit.core.rows import Images
from tlkit.errors import ArtifactError, SettingError, TlkitWarning
from tlkit.evaluation.decisions import Guarantee
from tlkit.evaluation.evaluate import Evaluation
from tlkit.evaluation.familiarity import Familiarity
from tlkit.images.decoder import read_image

GOLDEN = Path(__file__).parent / "golden"
PAGE = Path(__file__).parents[1] / "docs" / "export.md"
EXAMPLES = Path(__file__).parents[1] / "examples"
LEVEL = 0.05  # what 28 training images can tell, two of which are alike: no less than 1 / 28
LEAST = 1 / 28


@pytest.fixture(scope="module")
def telling(classifier: TransferClassifier) -> TransferClassifier:
    return classifier.with_unfamiliar_level(LEVEL)


@pytest.fixture(scope="module")
def foreign() -> Images:
    """Stripes, unlike anything that was drawn."""
    stripes = np.zeros((3, 32, 32, 3), np.uint8)
    stripes[0, ::2] = stripes[1, :, ::2] = stripes[2, ::3] = (0, 255, 80)
    return stripes


def predictions(classifier: TransferClassifier, folder: Path) -> list[Prediction]:
    return classifier.predict(sorted(folder.rglob("*.jpg")))


def last_stage(classifier: TransferClassifier, images: Images) -> npt.NDArray[np.float32]:
    """What the last stage gives, by Keras alone."""
    network = network_of(classifier)
    assert classifier.familiarity is not None
    features = keras.Model(network.inputs, network.get_layer("logit").input)
    found = features.predict(images.astype(np.float32), verbose=0)
    return np.asarray(found[:, -classifier.familiarity.rows.shape[1] :], np.float32)


# Telling


def test_familiarity_is_the_rank_of_the_last_stages_features(
    classifier: TransferClassifier, foreign: Images
) -> None:
    known = classifier.familiarity
    assert known is not None
    assert known.group_count == len(classifier.record.training_names) - 1 == 27
    noise = np.random.default_rng(0).integers(256, size=(40, 32, 32, 3), dtype=np.uint8)
    for images in (foreign, noise):
        expected = known.p_values(last_stage(classifier, images))
        found = [prediction.familiarity for prediction in classifier.predict(images)]
        assert found == pytest.approx(expected, abs=LEAST)  # two engines, one rank
        assert len({*found}) <= 60


def test_the_least_familiar_training_images_are_named(
    classifier: TransferClassifier, drawn_folder: Path
) -> None:
    """By brute force: each against those of other groups."""
    known, record = classifier.familiarity, classifier.record
    assert known is not None
    images = [
        read_image(drawn_folder / name, classifier.image_size)[0] for name in record.training_names
    ]
    rows = last_stage(classifier, np.stack(images))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    apart = np.linalg.norm(rows[:, None] - rows, axis=2)
    apart[known.groups[:, None] == known.groups] = np.inf
    distances = np.sort(apart, axis=1)[:, : known.nearest].mean(axis=1)
    assert known.distances == pytest.approx(distances, abs=2e-3)  # references are in float16
    found = record.least_familiar
    assert {*found} == {*record.training_names}  # fewer than a hundred
    distance_of = dict(zip(record.training_names, distances.tolist(), strict=True))
    ordered = [distance_of[name] for name in found]
    assert ordered == pytest.approx(sorted(ordered, reverse=True), abs=4e-3)
    assert [*found.values()] == sorted(found.values())
    assert [*found.values()][-1] == 1.0


def test_training_images_are_familiar_and_stripes_are_not(
    telling: TransferClassifier, drawn_folder: Path, foreign: Images
) -> None:
    own = predictions(telling, drawn_folder)
    assert np.mean([prediction.unfamiliar for prediction in own]) <= 0.1
    for prediction in telling.predict(foreign):
        assert prediction.familiarity == pytest.approx(LEAST)
        assert prediction.unfamiliar
        assert prediction.decision == "unfamiliar"
        assert prediction.label in telling.class_names  # for whoever must answer
        assert str(prediction).startswith(f"image: unfamiliar, rather {prediction.label} (prob")
        assert "familiarity 0.036" in str(prediction)


def test_held_out_images_are_as_familiar_as_training_images(
    classifier: TransferClassifier, drawn_folder: Path
) -> None:
    held_out = [
        drawn_folder / name
        for part in ("validation", "test")
        for name in classifier.record.scores[part].names
    ]
    found = [prediction.familiarity for prediction in classifier.predict(held_out)]
    assert len(found) == 20
    assert 0.2 < np.mean([value for value in found if value is not None]) < 0.8


def test_a_small_folder_calls_nothing_unfamiliar_by_itself(
    classifier: TransferClassifier, foreign: Images
) -> None:
    assert classifier.unfamiliar_level == 0
    assert not any(prediction.unfamiliar for prediction in classifier.predict(foreign))
    with pytest.raises(SettingError, match=r"at least 0\.0357 with 27 .* that takes 99"):
        classifier.with_unfamiliar_level(0.01)


def test_unfamiliar_goes_before_unsure(
    telling: TransferClassifier, drawn_folder: Path, foreign: Images
) -> None:
    nothing = Guarantee(
        lower_logit=-1e3, upper_logit=1e3, threshold=0.5, error=0.02, confidence=0.9,
        part="out-of-fold", true_positives=1, false_positives=0, unsure_positives=0,
        true_negatives=0, false_negatives=0, unsure_negatives=0,
    )  # fmt: skip
    careful = with_card(telling, telling.card.guaranteed(nothing))
    assert {p.decision for p in careful.predict(foreign)} == {"unfamiliar"}
    familiar = [p for p in predictions(careful, drawn_folder) if not p.unfamiliar]
    assert {p.decision for p in familiar} == {"unsure"}


def test_evaluations_and_tables_count_it(
    telling: TransferClassifier, drawn_folder: Path, tmp_path: Path
) -> None:
    own = predictions(telling, drawn_folder)
    count = sum(prediction.unfamiliar for prediction in own)
    with pytest.warns(TlkitWarning, match="has learned from"):
        found = telling.evaluate(drawn_folder, include_training=True)
    assert found.decisions is not None
    assert found.decisions.unfamiliar_count == count
    assert found.decisions.unsure_count == 0
    write_predictions(telling, drawn_folder, tmp_path / "t.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "t.jsonl").read_text().splitlines()]
    for row, prediction in zip(rows, own, strict=True):
        assert row["familiarity"] == pytest.approx(prediction.familiarity, abs=LEAST)
        assert (row["decision"] == "unfamiliar") == (row["familiarity"] <= LEVEL)


# Which images say how far is far


def tuned(folder: Path, **options: object) -> TransferClassifier:
    schedule = FineTuneSchedule(
        head=ExactHead(l2=1e4),  # next to nothing, so that fine-tuning is what is kept
        phases=(Phase(unfreeze_fraction=0.3, epochs=6, learning_rate=0.1, views=2),),
    )
    return transfer_classifier(
        folder,
        backbone=BackboneAdapter("tiny_random"),
        schedule=schedule,
        **options,  # type: ignore[arg-type] # whatever it takes
    )


def test_a_fine_tuned_network_is_asked_about_validation_images(
    drawn_folder: Path, foreign: Images
) -> None:
    """It has drawn its training images together: among themselves they say nothing of new ones."""
    classifier = tuned(drawn_folder)
    assert classifier.history.kept == 1
    known = classifier.familiarity
    assert known is not None
    names = classifier.record.scores["validation"].names
    assert known.group_count == len(names)
    expected = known.p_values(last_stage(classifier, foreign))
    found = [prediction.familiarity for prediction in classifier.predict(foreign)]
    assert found == pytest.approx(expected, abs=1 / (len(names) + 1))
    own = classifier.predict([drawn_folder / name for name in names])
    ranks = sorted(prediction.familiarity or 0 for prediction in own)
    assert ranks[0] <= 3 / (len(names) + 1)  # each is where it was measured
    assert ranks[-1] == pytest.approx(1, abs=2 / (len(names) + 1))


def test_fine_tuning_without_a_validation_split_keeps_none(drawn_folder: Path) -> None:
    spec = DatasetSpec(drawn_folder, validation_fraction=0.0)
    schedule = FineTuneSchedule(
        head=ExactHead(l2=1e4),
        phases=(Phase(unfreeze_fraction=0.3, epochs=6, learning_rate=0.1, views=2),),
    )
    classifier = transfer_classifier(
        spec, backbone=BackboneAdapter("tiny_random"), schedule=schedule, folds=2
    )
    if classifier.history.kept:
        assert classifier.familiarity is None
        with pytest.raises(SettingError, match="keeps no reference features"):
            classifier.with_unfamiliar_level(0.1)
    else:
        assert classifier.familiarity is not None


def test_groups_are_never_compared_with_themselves(drawn_folder: Path) -> None:
    grouped = transfer_classifier(
        DatasetSpec(drawn_folder, group_by=lambda path: str(path)[:-5]),
        backbone=BackboneAdapter("tiny_random"),
    )
    assert grouped.familiarity is not None
    assert grouped.familiarity.group_count == 6


# Keeping


def test_it_travels_with_the_file_and_may_stay_behind(
    telling: TransferClassifier, tmp_path: Path, foreign: Images
) -> None:
    telling.save(tmp_path / "with.keras")
    telling.save(tmp_path / "without.keras", familiarity=False)
    for again in (
        TransferClassifier.load(tmp_path / "with.keras"),
        pickle.loads(pickle.dumps(telling)),
    ):
        assert again.unfamiliar_level == LEVEL
        assert again.predict(foreign) == telling.predict(foreign)
    without = TransferClassifier.load(tmp_path / "without.keras")
    assert without.familiarity is None
    assert without.unfamiliar_level == 0
    assert [p.familiarity for p in without.predict(foreign)] == [None] * 3
    assert {p.decision for p in without.predict(foreign)} <= {*telling.class_names}
    assert without.fingerprint == telling.fingerprint
    with zipfile.ZipFile(tmp_path / "with.keras") as archive:
        assert archive.getinfo(FAMILIARITY_NAME).file_size <= 2.6e6
    plain = keras.saving.load_model(tmp_path / "with.keras")
    expected = telling.predict_proba(foreign)
    assert plain.predict(foreign, verbose=0)[:, 0] == pytest.approx(expected, abs=1e-5)


def test_files_of_before_know_nothing_of_it() -> None:
    old = TransferClassifier.load(GOLDEN / "v1-head.keras")
    height, width = old.image_size
    (prediction,) = old.predict(np.zeros((1, height, width, 3), np.uint8))
    assert prediction.familiarity is None
    assert not prediction.unfamiliar
    with pytest.raises(SettingError, match=r"keeps no reference features.* train it anew"):
        old.with_unfamiliar_level(0.05)


def test_damaged_references_are_refused(telling: TransferClassifier, tmp_path: Path) -> None:
    def with_references(content: bytes) -> Path:
        telling.save(tmp_path / "m.keras", familiarity=False)
        with zipfile.ZipFile(tmp_path / "m.keras", "a") as archive:
            archive.writestr(FAMILIARITY_NAME, content)
        return tmp_path / "m.keras"

    with pytest.raises(ArtifactError, match=r"familiarity\.npz of .* is damaged"):
        TransferClassifier.load(with_references(b"PK"))
    wide = Familiarity.fit(np.random.default_rng(0).normal(size=(9, 4000)))
    with pytest.raises(ArtifactError, match="is of another network"):
        TransferClassifier.load(with_references(wide.to_bytes()))
    with pytest.raises(ArtifactError, match="takes more than 16 MiB"):
        TransferClassifier.load(with_references(np.random.default_rng(0).bytes(17 << 20)))


# Exports


@pytest.mark.parametrize("name", ["onnx", "litert"])
def test_an_export_tells_it_by_option(
    telling: TransferClassifier, drawn_folder: Path, tmp_path: Path, foreign: Images, name: str
) -> None:
    export(telling, tmp_path / name, format=name, familiarity=True)
    card = json.loads((tmp_path / name / "tlkit.json").read_text())
    assert telling.familiarity is not None
    assert card["outputs"]["features"]["shape"][1] == telling.familiarity.rows.shape[1]
    assert card["unfamiliar_level"] == LEVEL
    loaded = TransferClassifier.load(tmp_path / name)
    for one in (loaded, pickle.loads(pickle.dumps(loaded))):
        assert {p.decision for p in one.predict(foreign)} == {"unfamiliar"}
        pairs = zip(predictions(one, drawn_folder), predictions(telling, drawn_folder), strict=True)
        for found, expected in pairs:
            assert found.familiarity == pytest.approx(expected.familiarity, abs=2 * LEAST)
    if name == "onnx":
        photos = sorted(drawn_folder.rglob("*.jpg"))[::9]
        Image.fromarray(foreign[0]).save(tmp_path / "stripes.png")
        check_script(telling, tmp_path / name, [*photos, tmp_path / "stripes.png"])
    (tmp_path / name / "familiarity.npz").write_bytes(b"PK")
    with pytest.raises(ArtifactError, match=r"familiarity\.npz is damaged"):
        TransferClassifier.load(tmp_path / name)


def check_script(classifier: TransferClassifier, folder: Path, photos: list[Path]) -> None:
    """The script that the page on exports shows, without tlkit or TensorFlow, says what tlkit says."""
    section = PAGE.read_text("utf-8").split("### What is unlike the training images\n")[1]
    script = folder.parent / "script.py"
    script.write_text(section.split("```python\n")[1].split("```")[0])
    shutil.copy(EXAMPLES / "read_image.py", folder.parent)
    said = set()
    for photo in photos:
        command = [sys.executable, str(script), str(folder), str(photo)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        word, familiarity = done.stdout.split()
        expected = classifier.predict(photo)
        assert float(familiarity) == pytest.approx(expected.familiarity, abs=1.01 * LEAST)
        assert word == ("unfamiliar" if expected.unfamiliar else "familiar")
        said.add(word)
    assert said == {"unfamiliar", "familiar"}


def test_an_export_without_it_knows_nothing_of_it(
    telling: TransferClassifier, tmp_path: Path, foreign: Images
) -> None:
    export(telling, tmp_path / "onnx", format="onnx")
    assert not (tmp_path / "onnx" / "familiarity.npz").exists()
    loaded = TransferClassifier.load(tmp_path / "onnx")
    assert [p.familiarity for p in loaded.predict(foreign)] == [None] * 3
    assert loaded.unfamiliar_level == 0


def test_features_of_8_bits_and_of_nobody_are_refused(
    telling: TransferClassifier, tmp_path: Path
) -> None:
    with pytest.raises(SettingError, match="needs the features of float32 or float16"):
        export(telling, tmp_path / "x", precision="int8", familiarity=True)
    bare = TransferClassifier(telling.model, telling.record)
    with pytest.raises(SettingError, match="this one has none"):
        export(bare, tmp_path / "x", familiarity=True)


# The command line


def test_the_command_line_sets_the_level_and_leaves_it_out(
    drawn_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", str(drawn_folder), "--backbone", "tiny_random", "--schedule", "head-only"]
    kept, bare = str(tmp_path / "kept.keras"), str(tmp_path / "bare.keras")
    assert main([*words, "-o", kept, "--unfamiliar-level", "0.1"]) == 0
    assert TransferClassifier.load(kept).unfamiliar_level == 0.1
    assert main([*words, "-o", bare, "--no-familiarity"]) == 0
    assert TransferClassifier.load(bare).familiarity is None
    capsys.readouterr()
    assert main(["predict", kept, str(drawn_folder), "--unfamiliar-level", "0", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert all(row["decision"] == row["label"] for row in rows)
    assert all(0 < row["familiarity"] <= 1 for row in rows)
    assert main(["predict", kept, str(drawn_folder), "--unfamiliar-level", "0.001"]) == 1
    assert "error: " in capsys.readouterr().err


# Drift


def test_a_changed_world_is_said(
    telling: TransferClassifier,
    drawn_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Every image turned into its negative: the same discs, another camera."""
    for path in sorted(drawn_folder.rglob("*.jpg")):
        target = tmp_path / "other" / path.relative_to(drawn_folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        with Image.open(path) as image:
            ImageOps.invert(image).save(target)
    changed = telling.evaluate(tmp_path / "other")
    assert changed.drift is not None
    assert changed.drift.share > 0.55
    assert str(changed.drift) in str(changed)
    assert Evaluation.from_json(changed.to_json()) == changed
    with pytest.warns(TlkitWarning, match="has learned from"):
        assert telling.evaluate(drawn_folder, include_training=True).drift is None
    summary = write_predictions(telling, tmp_path / "other", tmp_path / "t.csv")
    assert summary.drift == changed.drift
    assert write_predictions(telling, drawn_folder, tmp_path / "u.csv").drift is None
    telling.save(tmp_path / "m.keras")
    capsys.readouterr()
    words = ["predict", str(tmp_path / "m.keras"), str(tmp_path / "other"), "-o"]
    assert main([*words, str(tmp_path / "v.csv")]) == 0
    assert "these 48 images are not what it learned from" in capsys.readouterr().err
