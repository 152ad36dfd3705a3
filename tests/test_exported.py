"""An exported folder is a classifier: the same answers without TensorFlow; what it lacks is named."""

from __future__ import annotations

import copy
import json
import pickle
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import tlkit
from tlkit import ThresholdGoal, TransferClassifier
from tlkit.classifier import exported, runtimes
from tlkit.cli.app import main
from tlkit.core.rows import Images
from tlkit.errors import ArtifactError, MissingExtraError, TlkitError, TlkitWarning
from tlkit.images.decoder import BadFile

GOLDEN = Path(__file__).parent / "golden"
FORMATS = ("onnx", "litert")
GOALS = (ThresholdGoal.recall(0.9), ThresholdGoal.parse("f1"), 0.8)


@pytest.fixture(scope="module")
def folders(
    classifier: TransferClassifier, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("exported")
    for name in FORMATS:
        tlkit.export(classifier, folder / name, format=name)
    return {name: folder / name for name in FORMATS}


@pytest.fixture(params=FORMATS)
def folder(request: pytest.FixtureRequest, folders: dict[str, Path]) -> Path:
    return folders[request.param]


def test_it_gives_what_the_classifier_gives(
    classifier: TransferClassifier, folder: Path, drawn_folder: Path, tmp_path: Path
) -> None:
    loaded = TransferClassifier.load(folder)
    assert (loaded.class_names, loaded.positive_class) == (classifier.class_names, "disc")
    assert (loaded.threshold, loaded.image_size) == (classifier.threshold, classifier.image_size)
    images = tmp_path / "images"
    shutil.copytree(drawn_folder, images)
    (images / "disc" / "broken.jpg").write_bytes(b"<html>")
    found = loaded.predict_folder(images, on_bad_file="collect")
    expected = classifier.predict_folder(images, on_bad_file="collect")
    assert [type(one) for one in found] == [type(one) for one in expected]
    for one, other in zip(found, expected, strict=True):
        if isinstance(other, BadFile):
            assert one == other
            continue
        assert not isinstance(one, BadFile)
        assert (one.label, one.path, one.threshold) == (other.label, other.path, other.threshold)
        assert one.probability == pytest.approx(other.probability, abs=1e-4)
        assert one.logit == pytest.approx(other.logit, abs=1e-3)
    noise = np.random.default_rng(0).integers(256, size=(7, 40, 50, 3), dtype=np.uint8)
    assert loaded.predict_proba(noise) == pytest.approx(classifier.predict_proba(noise), abs=1e-4)
    assert loaded.predict_proba(noise[:0]).shape == (0,)


def test_its_metrics_and_thresholds_are_those_of_the_classifier(
    classifier: TransferClassifier, folder: Path
) -> None:
    loaded = TransferClassifier.load(folder)
    assert loaded.evaluation == classifier.evaluation
    assert loaded.test_evaluation == classifier.test_evaluation is not None
    assert loaded.calibration == classifier.calibration
    assert repr(loaded) == repr(classifier)
    for goal in GOALS:
        careful, expected = (one.with_threshold(goal) for one in (loaded, classifier))
        assert careful.threshold == expected.threshold
        assert careful.card.threshold_choice == expected.card.threshold_choice
        assert careful.evaluation == expected.evaluation
        assert careful.test_evaluation == expected.test_evaluation


@pytest.mark.parametrize("include_training", [False, True])
def test_what_it_has_learned_from_is_told_by_content(
    classifier: TransferClassifier,
    folder: Path,
    drawn_folder: Path,
    tmp_path: Path,
    include_training: bool,
) -> None:
    """Wherever the images lie and whatever they are called; what is said is the same, too."""
    loaded = TransferClassifier.load(folder)
    for class_folder in drawn_folder.iterdir():
        (tmp_path / class_folder.name).mkdir()
        for path in class_folder.iterdir():
            shutil.copy(path, tmp_path / class_folder.name / f"renamed-{path.name}")
    for place in (drawn_folder, tmp_path):
        with pytest.warns(TlkitWarning, match="28 of the 48 images") as warned:
            found = loaded.evaluate(place, include_training=include_training)
        assert warned[0].filename == __file__
        with pytest.warns(TlkitWarning) as before:
            expected = classifier.evaluate(place, include_training=include_training)
        assert [str(one.message) for one in warned] == [str(one.message) for one in before]
        assert found.count == expected.count == (48 if include_training else 20)
        assert found.accuracy == expected.accuracy
        assert found.log_loss == pytest.approx(expected.log_loss, abs=1e-4)


def test_without_digests_it_says_that_it_cannot_tell(
    folders: dict[str, Path], drawn_folder: Path, tmp_path: Path
) -> None:
    folder = copied(folders["onnx"], tmp_path, training_digests=...)
    loaded = TransferClassifier.load(folder)
    with pytest.warns(TlkitWarning, match=r"counted too.*export the classifier anew"):
        assert loaded.evaluate(drawn_folder).count == 48
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # whoever asks for all of them has been told
        assert loaded.evaluate(drawn_folder, include_training=True).count == 48


def test_no_name_of_an_image_and_of_no_folder_leaves_the_house(
    classifier: TransferClassifier, folder: Path, drawn_folder: Path
) -> None:
    text = (folder / "tlkit.json").read_text("utf-8")
    assert not [name for name in classifier.record.training_names if name in text]
    assert ".jpg" not in text
    assert str(drawn_folder) not in text
    card = json.loads(text)
    assert "scores" in card
    digests = card["training_digests"]
    assert digests == sorted(classifier.record.training_digests) != []
    assert {len(digest) for digest in digests} == {12}


def test_cross_validation_travels_without_names() -> None:
    folds = TransferClassifier.load(GOLDEN / "v1-folds.keras")
    card = folds.card.without_names()
    again = type(card).from_json(card.to_json())
    assert again == card
    crossed, expected = again.recounted(0.7).cross_validation, folds.card.recounted(0.7)
    assert crossed is not None
    assert expected.cross_validation is not None
    assert crossed.evaluation == expected.cross_validation.evaluation
    assert crossed.scores.names == ()
    assert "sheet-" not in card.to_json()


WITHOUT_TENSORFLOW = """
import os, pickle, sys, warnings
from pathlib import Path

sys.modules["tensorflow"] = sys.modules["keras"] = None  # to import either is an error
import tlkit
from tlkit.cli.app import main

folder, images, output = sys.argv[1:]
classifier = tlkit.TransferClassifier.load(folder)
photo = Path(images, "disc", "00.jpg")
first = classifier.predict(photo)
assert len(classifier.predict_folder(images)) == 48
with warnings.catch_warnings(record=True) as warned:
    warnings.simplefilter("always")
    assert classifier.evaluate(images).count == 20
assert "left out 28" in str(warned[0].message)
careful = classifier.with_threshold(tlkit.ThresholdGoal.recall(0.9))
print(tlkit.write_predictions(careful, images, output))
again = pickle.loads(pickle.dumps(classifier))
assert again.predict(photo) == first
for command in (["predict", folder, str(photo)], ["evaluate", folder, images]):
    assert main(command) == 0
    assert main([*command, "--threshold", "f1"]) == 0
child = os.fork()  # whose threads stay behind
if not child:
    os._exit(classifier.predict(photo) != first)
assert os.waitpid(child, 0)[1] == 0
assert not [name for name in sys.modules if name.split(".")[0] in ("jax", "torch", "matplotlib")]
"""


def test_nothing_of_it_needs_tensorflow(folder: Path, drawn_folder: Path, tmp_path: Path) -> None:
    words = (folder, drawn_folder, tmp_path / "table.csv")
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", WITHOUT_TENSORFLOW, *map(str, words)],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len((tmp_path / "table.csv").read_text().splitlines()) == 49
    assert "accuracy 1.00" in done.stdout


def test_copies_outlive_the_folder(
    classifier: TransferClassifier, folder: Path, tmp_path: Path
) -> None:
    gone = shutil.copytree(folder, tmp_path / "gone")
    loaded = TransferClassifier.load(gone)
    assert loaded.digest() == TransferClassifier.load(folder).digest() != classifier.digest()
    copies = [copy.deepcopy(loaded), pickle.loads(pickle.dumps(loaded))]
    shutil.rmtree(gone)
    noise = np.random.default_rng(1).integers(256, size=(3, 32, 32, 3), dtype=np.uint8)
    for one in (*copies, pickle.loads(pickle.dumps(copies[1]))):
        assert one.card == loaded.card
        assert np.array_equal(one.predict_proba(noise), loaded.predict_proba(noise))
        assert one.digest() == TransferClassifier.load(folder).digest()


def test_threads_share_it(folder: Path) -> None:
    loaded = TransferClassifier.load(folder)
    noise = np.random.default_rng(2).integers(256, size=(12, 5, 32, 32, 3), dtype=np.uint8)
    expected = [loaded.predict_proba(images) for images in noise]
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(loaded.predict_proba, noise))
    np.testing.assert_allclose(found, expected, atol=1e-6)


NEEDS_THE_NETWORK: dict[str, Callable[[TransferClassifier, Path, Path], object]] = {
    "model": lambda c, _images, _to: c.model,
    "record": lambda c, _images, _to: c.record,
    "history": lambda c, _images, _to: c.history,
    "audit": lambda c, _images, _to: c.audit,
    "bad_files": lambda c, _images, _to: c.bad_files,
    "save": lambda c, _images, to: c.save(to / "new.keras"),
    "export": lambda c, images, to: tlkit.export(c, to / "new", data=images),
    "explain": lambda c, images, _to: tlkit.explain(c, images / "disc" / "00.jpg"),
    "nearest": lambda c, images, _to: tlkit.nearest(c, images / "disc" / "00.jpg", images),
    "report": lambda c, images, to: tlkit.write_report(c, to / "page.html", images),
    "gallery": lambda c, images, _to: tlkit.plot.gallery(c, images),
    "label issues": lambda c, _images, _to: tlkit.find_label_issues(c),
}


@pytest.mark.parametrize("what", NEEDS_THE_NETWORK)
def test_what_needs_more_than_it_holds_names_the_file(
    folders: dict[str, Path], drawn_folder: Path, tmp_path: Path, what: str
) -> None:
    loaded = TransferClassifier.load(folders["onnx"])
    with pytest.raises(TlkitError, match=r"exported folder.*load the\s\.keras file"):
        NEEDS_THE_NETWORK[what](loaded, drawn_folder, tmp_path)
    assert [*tmp_path.iterdir()] == []


def test_figures_that_need_no_names_are_drawn(folders: dict[str, Path]) -> None:
    loaded = TransferClassifier.load(folders["litert"])
    assert tlkit.plot.roc(loaded).size == tlkit.plot.confusion(loaded).size == 1


# Logits


def pretended(
    monkeypatch: pytest.MonkeyPatch, **outputs: list[float]
) -> exported.ExportedPredictor:
    """Make a predictor whose runtime gives the outputs it is told, one for each image."""

    given, names = outputs, tuple(outputs)

    class Given:
        image_size: tuple[int, ...] = (4, 4)
        outputs = names

        def __init__(self, _network: Path | bytes) -> None: ...

        def __call__(self, images: Images) -> Mapping[str, npt.NDArray[np.float64]]:
            return {
                name: np.array(values[: len(images)])[:, np.newaxis]
                for name, values in given.items()
            }

    fake = runtimes.Runtime(
        title="Fake", file="model.fake", module="json", distribution="fake", load=Given
    )
    monkeypatch.setattr(exported, "RUNTIMES", {"fake": fake})
    return exported.ExportedPredictor("fake", b"", 2.0**-25)


def test_the_logit_is_taken_where_the_probability_says_no_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    predictor = pretended(monkeypatch, probability=[1.0, 1.0, 0.0], logit=[20.0, 40.0, -90.0])
    assert predictor.logits(np.zeros((3, 4, 4, 3), np.uint8)).tolist() == [20.0, 40.0, -90.0]


def test_without_a_logit_certainty_counts_as_half_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    predictor = pretended(monkeypatch, output_0=[1.0, 0.0, 0.25])
    logits = predictor.logits(np.zeros((3, 4, 4, 3), np.uint8))
    assert logits == pytest.approx([25 * np.log(2), -25 * np.log(2), np.log(1 / 3)])


# The first format


@pytest.mark.parametrize("name", ["v1-onnx", "v1-litert"])
def test_a_folder_of_the_first_format_predicts_and_says_what_it_lacks(name: str) -> None:
    loaded = TransferClassifier.load(GOLDEN / name)
    expected = json.loads((GOLDEN / "v1-expected.json").read_text("utf-8"))
    source = expected["exports"][name]
    of_source = expected["classifiers"][source]
    with np.load(GOLDEN / "images.npz") as arrays:
        found = loaded.predict(arrays["pictures"])
    labels, probabilities, logits = zip(*of_source["said"]["images.npz"], strict=True)
    assert [prediction.label for prediction in found] == [*labels]
    assert [prediction.probability for prediction in found] == pytest.approx(
        probabilities, abs=1e-4
    )
    assert [prediction.logit for prediction in found] == pytest.approx(logits, abs=1e-3)
    assert loaded.threshold == of_source["threshold"]
    assert loaded.with_threshold(0.9).threshold == 0.9
    assert "accuracy" not in repr(loaded)
    assert loaded.out_of_fold is None
    assert loaded.test_evaluation is None
    for ask in (
        lambda: loaded.with_threshold(ThresholdGoal.parse("f1")),
        lambda: loaded.evaluation,
    ):
        with pytest.raises(ArtifactError, match=r"format version is 1.*export .* anew"):
            ask()


def test_int8_of_the_first_format_counts_half_of_its_steps(tmp_path: Path) -> None:
    folder = copied(GOLDEN / "v1-litert", tmp_path, precision="int8")
    blinding = np.full((1, 24, 30, 3), 255, np.uint8)
    logits = [one.predict(blinding)[0].logit for one in map(TransferClassifier.load, (folder,))]
    assert abs(logits[0]) <= np.log(511)


# Folders that are none


def copied(source: Path, to: Path, **changes: object) -> Path:
    folder = shutil.copytree(source, to / "folder")
    card = json.loads((source / "tlkit.json").read_text("utf-8"))
    gone = [name for name, value in changes.items() if value is ...]
    kept = {name: value for name, value in {**card, **changes}.items() if name not in gone}
    (folder / "tlkit.json").write_text(json.dumps(kept), "utf-8")
    return folder


DAMAGE: dict[str, tuple[dict[str, Any], str]] = {
    "no version": ({"format_version": ...}, "has no format_version"),
    "a truth": ({"format_version": True}, "has no format_version"),
    "from the future": ({"format_version": 3}, r"reads up to 2: update tlkit"),
    "TensorFlow's": ({"format": "saved_model"}, "what runs without TensorFlow is litert or onnx"),
    "a list": ({"format": ["onnx"]}, "what runs without TensorFlow"),
    "another runtime": ({"format": "litert"}, "cannot run"),
    "no classes": ({"class_names": ..., "labels": ...}, "damaged"),
    "one class": ({"class_names": ["disc", "disc"]}, "must be two names"),
    "no threshold": ({"threshold": ...}, "needs 'threshold'"),
    "a threshold of text": ({"threshold": "0.5"}, "must be a number"),
    "another size": ({"image_size": [32, 48]}, r"images of \(32, 32\) to logit, probability"),
    "another rule": ({"resize": "crop"}, "resize rule"),
    "half the scores": ({"scores": {"validation": {"labels": [1]}}}, "needs 'logits', 'names'"),
    "no scores": ({"scores": {}}, "evaluated part"),
    "an output too many": ({"format_version": 1}, "not what its tlkit.json describes"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_folder_says_what_is_wrong(
    folders: dict[str, Path], tmp_path: Path, damage: str
) -> None:
    changes, words = DAMAGE[damage]
    with pytest.raises(ArtifactError, match=words):
        TransferClassifier.load(copied(folders["onnx"], tmp_path, **changes))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"[]", "no JSON object"),
        (b"{", "cannot be read: JSONDecodeError"),
        (b"\xff\xfe", "cannot be read"),
        (b"[" * 10**6, "cannot be read: RecursionError"),
        (None, "folder without tlkit.json: name a file that TransferClassifier.save wrote"),
    ],
)
def test_a_folder_without_a_card(
    folders: dict[str, Path], tmp_path: Path, content: bytes | None, words: str
) -> None:
    folder = copied(folders["onnx"], tmp_path)
    (folder / "tlkit.json").unlink()
    if content is not None:
        (folder / "tlkit.json").write_bytes(content)
    with pytest.raises(ArtifactError, match=words):
        TransferClassifier.load(folder)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("content", [None, b"", b"half"])
def test_a_network_that_cannot_be_run(
    folders: dict[str, Path], tmp_path: Path, name: str, content: bytes | None
) -> None:
    folder = copied(folders[name], tmp_path)
    file = folder / runtimes.RUNTIMES[name].file
    file.unlink()
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ArtifactError, match=rf"cannot run .*{file.name}"):
        TransferClassifier.load(folder)


def test_a_runtime_that_is_missing_is_named(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtimes, "find_spec", lambda _name: None)
    for name, package in (("onnx", "onnxruntime"), ("litert", "ai-edge-litert")):
        with pytest.raises(MissingExtraError, match=f"pip install {package}"):
            TransferClassifier.load(folders[name])


# The command line


@pytest.mark.parametrize("name", FORMATS)
def test_the_command_line_is_quiet(folders: dict[str, Path], drawn_folder: Path, name: str) -> None:
    code = "import sys; from tlkit.cli.app import main; sys.exit(main(sys.argv[1:]))"
    words = ("predict", folders[name], drawn_folder / "disc" / "00.jpg")
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, words)],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert "00.jpg\tdisc\t" in done.stdout


def test_the_command_line_takes_a_folder(
    folder: Path, drawn_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["predict", str(folder), str(drawn_folder / "disc" / "00.jpg"), "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["label"] == "disc"
    assert main(["evaluate", str(folder), str(drawn_folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["true_positives"] == 10
    assert main(["report", str(folder), str(drawn_folder), "-o", "page.html"]) == 1
    assert "load the .keras file" in capsys.readouterr().err
