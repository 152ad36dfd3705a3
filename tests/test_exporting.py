"""An export gives the classifier's probabilities in its own runtime, or there is no export."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import os
import re
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from tlkit import (
    BackboneAdapter,
    DatasetSpec,
    Exported,
    FineTuneSchedule,
    TransferClassifier,
    export,
    transfer_classifier,
)
from tlkit.cli.app import main
from tlkit.delivery import export_formats as formats
from tlkit.delivery import export_sample as images
from tlkit.delivery.export_check import Comparison
from tlkit.delivery.export_formats import FORMATS
from tlkit.delivery.export_sample import read_sample
from tlkit.errors import (
    ArtifactError,
    BadFileWarning,
    DatasetError,
    ImageError,
    MissingExtraError,
    SettingError,
)
from tlkit.images.decoder import read_image

PAGE = Path(__file__).parents[1] / "docs" / "export.md"
EXAMPLES = Path(__file__).parents[1] / "examples"
SCRIPTS = {"litert": "LiteRT", "onnx": "ONNX Runtime", "saved_model": "TensorFlow"}
FILES = {"litert": "model.tflite", "onnx": "model.onnx", "saved_model": "saved_model.pb"}
Floats = npt.NDArray[np.float64]


@pytest.fixture(scope="module")
def exports(
    classifier: TransferClassifier, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Exported]:
    """Every format as float32. A conversion takes seconds, so there is one of each."""
    folder = tmp_path_factory.mktemp("exports")
    return {name: export(classifier, folder / name, format=name) for name in FORMATS}


def script_of(name: str) -> str:
    """Return the script that the page shows for a format."""
    section = PAGE.read_text("utf-8").split(f"### {SCRIPTS[name]}\n")[1]
    return section.split("```python\n")[1].split("```")[0]


def camera_images(folder: Path) -> list[Path]:
    """A large JPEG that lies on its side, a grey one, and a small PNG of 256 colours."""
    rows, columns = np.mgrid[:700, :1100]
    waves = np.sin(rows / 90) + np.cos(columns / 70), np.sin(columns / 50), np.cos(rows / 40)
    image = Image.fromarray((127 + 60 * np.stack(waves, axis=-1)).clip(0, 255).astype(np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(folder / "lying.jpg", exif=exif)
    image.convert("L").save(folder / "grey.jpg")
    image.resize((130, 90)).convert("P").save(folder / "palette.png")
    return sorted(folder.iterdir())


# What comes out


@pytest.mark.parametrize("name", FORMATS)
def test_a_float32_export_gives_the_probabilities_of_the_validation_part(
    classifier: TransferClassifier, exports: dict[str, Exported], name: str
) -> None:
    exported = exports[name]
    found = exported.comparison
    assert found.count == len(classifier.record.scores["validation"].names)
    assert found.largest_difference <= 1e-4
    assert found.accuracy_before == found.accuracy_after == classifier.evaluation.accuracy.value
    assert found.log_loss_before == pytest.approx(classifier.evaluation.log_loss, abs=1e-5)
    assert found.log_loss_after == pytest.approx(found.log_loss_before, abs=1e-4)
    there = {path.name for path in exported.path.iterdir()}
    assert {FILES[name], "tlkit.json"} <= there
    assert len(there) == 2 or name == "saved_model"


@pytest.mark.parametrize("name", FORMATS)
def test_the_script_of_the_page_gives_the_probability_of_every_kind_of_file(
    classifier: TransferClassifier,
    exports: dict[str, Exported],
    name: str,
    drawn_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    script = tmp_path / "script.py"
    script.write_text(script_of(name))
    assert len(list(filter(None, script.read_text().splitlines()))) <= 14
    monkeypatch.syspath_prepend(EXAMPLES)
    (tmp_path / "photos").mkdir()
    photos = [*camera_images(tmp_path / "photos"), drawn_folder / "disc" / "00.jpg"]
    if name == "saved_model":  # which takes seconds to load
        photos = [path for path in photos if path.name == "lying.jpg"]
    for photo in photos:
        monkeypatch.setattr(sys, "argv", ["", str(exports[name].path), str(photo)])
        runpy.run_path(str(script))
        label, probability = capsys.readouterr().out.strip().rsplit(" ", 1)
        expected = classifier.predict(photo)
        assert float(probability) == pytest.approx(expected.probability, abs=1e-3)
        assert label == expected.label


@pytest.mark.parametrize("name", ["litert", "onnx"])
def test_the_script_needs_neither_tensorflow_nor_tlkit(
    exports: dict[str, Exported], name: str, drawn_folder: Path, tmp_path: Path
) -> None:
    script = tmp_path / "script.py"
    block = "import sys\nfor name in ('tensorflow', 'keras', 'tlkit'): sys.modules[name] = None\n"
    script.write_text(block + script_of(name))
    shutil.copy(EXAMPLES / "read_image.py", tmp_path)
    photo = drawn_folder / "not disc" / "00.jpg"
    arguments = map(str, (script, exports[name].path, photo))
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(("disc ", "not disc "))


@pytest.mark.slow
def test_int8_gives_probabilities_in_steps(classifier: TransferClassifier, tmp_path: Path) -> None:
    exported = export(classifier, tmp_path / "new", precision="int8", tolerance=1)
    sample = read_sample(classifier, None, calibrate=True)
    outputs = formats.run(FORMATS["litert"], exported.path / "model.tflite", sample.compared)
    given = outputs["probability"]
    steps = 256 * given
    np.testing.assert_allclose(steps, np.rint(steps), atol=1e-6)
    assert len({*steps}) > 1
    differences = np.abs(given - classifier.predict_proba(sample.compared))
    assert exported.comparison.largest_difference == pytest.approx(differences.max())
    assert 1e-4 < differences.max() < 0.2
    assert json.loads((exported.path / "tlkit.json").read_text())["outputs"]["probability"][
        "step"
    ] == pytest.approx(1 / 256)
    # What the folder predicts is what was compared, and not what the classifier said before. Its
    # predictions come from the logit, which has steps of its own.
    loaded = TransferClassifier.load(exported.path)
    np.testing.assert_allclose(loaded.predict_proba(sample.compared), given, rtol=0, atol=1 / 256)
    logits = [prediction.logit for prediction in loaded.predict(sample.compared)]
    np.testing.assert_allclose(logits, outputs["logit"], rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", FORMATS)
def test_what_a_program_has_to_know_travels_with_it(
    classifier: TransferClassifier, exports: dict[str, Exported], name: str
) -> None:
    exported = exports[name]
    card = json.loads((exported.path / "tlkit.json").read_text("utf-8"))
    batch = 1 if name == "litert" else None
    height, width = classifier.image_size
    assert (
        card
        | {
            "format_version": 2,
            "format": name,
            "precision": "float32",
            "labels": ["disc", "not disc"],
            "positive_class": "disc",
            "negative_class": "not disc",
            "threshold": 0.5,
            "image_size": [height, width],
            "resize": "stretch-bilinear-antialias",
            "border": None,
        }
        == card
    )
    assert card["input"]["name"] == "images"
    assert card["input"]["shape"] == [batch, height, width, 3]
    assert (card["input"]["dtype"], card["input"]["range"]) == ("float32", [0, 255])
    assert card["outputs"].keys() == {"probability", "logit"}
    assert all(output["shape"] == [batch, 1] for output in card["outputs"].values())
    assert card["outputs"]["probability"]["meaning"].startswith("probability of disc")
    assert (exported.path / card["file"]).exists()
    sizes = [p.stat().st_size for p in exported.path.rglob("*") if p.is_file()]
    description = (exported.path / "tlkit.json").stat().st_size
    assert card["byte_count"] == exported.byte_count == sum(sizes) - description
    assert Comparison.from_config(card["comparison"]) == exported.comparison
    assert FORMATS[name].runtime in card["versions"]
    assert Exported.from_json(exported.to_json()) == exported


def test_others_may_enter_the_folder(exports: dict[str, Exported], tmp_path: Path) -> None:
    usual = tmp_path / "usual"
    usual.mkdir()
    for exported in exports.values():
        assert exported.path.stat().st_mode == usual.stat().st_mode


# Without a conversion: a format of the tests' own


@pytest.fixture
def as_if(
    classifier: TransferClassifier, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Callable[[Floats], Floats]], None]:
    """Let LiteRT give what a function makes of the classifier's own probabilities."""

    def pretend(change: Callable[[Floats], Floats]) -> None:
        def written(_model: Any, path: Path, _precision: str, _sample: Any) -> None:
            path.write_bytes(b"x" * 1000)

        fake = dataclasses.replace(
            FORMATS["litert"],
            batch=None,
            convert=written,
            load=lambda _path: lambda batch: both(change(classifier.predict_proba(batch))),
        )
        monkeypatch.setitem(FORMATS, "litert", fake)

    return pretend


def both(probabilities: Floats) -> dict[str, Floats]:
    with np.errstate(invalid="ignore"):  # what is no probability has no logit
        logits = np.log(probabilities / (1 - probabilities))
    return {"probability": probabilities[:, np.newaxis], "logit": logits[:, np.newaxis]}


def flipped(count: int) -> Callable[[Floats], Floats]:
    """Give the first few images the other label, and leave their log-loss nearly as it is."""
    return lambda p: np.where(np.arange(len(p)) < count, 1 - p, p)


def left_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def test_float32_that_differs_by_more_than_1e_4_is_not_written(
    classifier: TransferClassifier, as_if: Any, tmp_path: Path
) -> None:
    as_if(lambda p: p + np.where(p < 0.5, 9e-5, -9e-5))
    assert export(classifier, tmp_path / "good").comparison.largest_difference > 8e-5
    as_if(lambda p: p + np.where(p < 0.5, 1.1e-4, -1.1e-4))
    with pytest.raises(ArtifactError, match=r"to 0\.0001, but on \d+ images .* by up to 0\.00011"):
        export(classifier, tmp_path / "bad", tolerance=1)
    assert left_in(tmp_path) == ["good"]


def test_outputs_that_contradict_each_other_are_not_written(
    classifier: TransferClassifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def written(_model: Any, path: Path, *_: Any) -> None:
        path.write_bytes(b"x")

    def given(shift: float) -> Any:
        def run(batch: Any) -> dict[str, Floats]:
            outputs = both(classifier.predict_proba(batch))
            return {**outputs, "logit": outputs["logit"] + shift}

        return lambda _path: run

    for name, shift in (("good", 1e-4), ("bad", 0.1), ("worse", np.nan)):
        fake = dataclasses.replace(FORMATS["litert"], convert=written, load=given(shift))
        monkeypatch.setitem(FORMATS, "litert", fake)
        expected = (
            contextlib.nullcontext()
            if name == "good"
            else pytest.raises(ArtifactError, match="logits and probabilities differ by up to")
        )
        with expected:
            export(classifier, tmp_path / name)
    assert left_in(tmp_path) == ["good"]


def test_beyond_the_tolerance_nothing_is_written(
    classifier: TransferClassifier, as_if: Any, tmp_path: Path
) -> None:
    as_if(lambda p: 1 - p)
    for precision in ("float16", "dynamic-range", "int8"):
        with pytest.raises(ArtifactError, match=r"by more than 0\.05 \(`tolerance`\).* accuracy"):
            export(classifier, tmp_path / "bad", precision=precision)
    assert left_in(tmp_path) == []
    exported = export(classifier, tmp_path / "allowed", precision="int8", tolerance=100)
    assert exported.comparison.relabelled_count == exported.comparison.count
    lines = str(exported).splitlines()
    assert lines[0] == f"{tmp_path}/allowed: LiteRT, int8, 0.00 MB"
    assert lines[2].startswith("accuracy ")


@pytest.mark.parametrize("change", [lambda p: p * np.nan, lambda p: p + 1, lambda p: p - 1])
def test_what_is_no_probability_is_refused(
    classifier: TransferClassifier, as_if: Any, tmp_path: Path, change: Callable[[Floats], Floats]
) -> None:
    as_if(change)
    with pytest.raises(ArtifactError, match="no probabilities"):
        export(classifier, tmp_path / "bad", precision="float16", tolerance=100)
    assert left_in(tmp_path) == []


@pytest.mark.parametrize("error", [RuntimeError("first line\nsecond"), KeyboardInterrupt()])
@pytest.mark.parametrize("step", ["convert", "load"])
def test_whatever_goes_wrong_leaves_nothing_behind(
    classifier: TransferClassifier,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
    error: BaseException,
) -> None:
    def written(_model: Any, path: Path, *_: Any) -> None:
        path.write_bytes(b"half")

    def fail(_model: Any, path: Path | None = None, *_: Any) -> NoReturn:
        if path:
            path.write_bytes(b"half")
        raise error

    steps: dict[str, Any] = {"convert": written, step: fail}
    fake = dataclasses.replace(FORMATS["litert"], **steps)
    monkeypatch.setitem(FORMATS, "litert", fake)
    words = r"LiteRT.*RuntimeError: first line$"
    expected = (ArtifactError, words) if isinstance(error, Exception) else (KeyboardInterrupt, None)
    (tmp_path / "there").mkdir()
    with pytest.raises(expected[0], match=expected[1]):
        export(classifier, tmp_path / "there")
    assert left_in(tmp_path) == ["there"]
    assert left_in(tmp_path / "there") == []


def test_a_folder_that_fills_meanwhile_is_left_alone(
    classifier: TransferClassifier, as_if: Any, tmp_path: Path
) -> None:
    def fill(p: Floats) -> Floats:
        (tmp_path / "there").mkdir()
        (tmp_path / "there" / "mine.txt").touch()
        return p

    as_if(fill)
    with pytest.raises(ArtifactError, match=r"cannot write .*there"):
        export(classifier, tmp_path / "there")
    assert left_in(tmp_path / "there") == ["mine.txt"]
    assert left_in(tmp_path) == ["there"]


def test_an_empty_folder_and_a_link_to_one_will_do(
    classifier: TransferClassifier, as_if: Any, tmp_path: Path
) -> None:
    as_if(lambda p: p)
    for name in ("empty", "linked"):
        (tmp_path / name).mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "linked")
    for name in ("empty", "link"):
        export(classifier, tmp_path / name)
        assert sorted(left_in(tmp_path / name)) == ["model.tflite", "tlkit.json"]
    assert (tmp_path / "link").is_symlink()


# How far an export may be


def said(
    before: list[float], after: list[float], labels: list[int] | None, precision: str = "float16"
) -> Comparison:
    known = None if labels is None else np.array(labels)
    return Comparison.of(
        np.array(before), np.array(after), known, threshold=0.5, precision=precision
    )


def test_the_figures_are_those_of_the_images() -> None:
    found = said([0.9, 0.2, 0.6, 0.4], [0.8, 0.1, 0.4, 0.4], [1, 0, 1, 1])
    assert (found.count, found.relabelled_count) == (4, 1)
    assert found.largest_difference == pytest.approx(0.2)
    assert found.mean_difference == pytest.approx(0.1)
    assert (found.accuracy_before, found.accuracy_after) == (0.75, 0.5)
    assert found.log_loss_before == pytest.approx(-np.log([0.9, 0.8, 0.6, 0.4]).mean())
    assert found.log_loss_after == pytest.approx(-np.log([0.8, 0.9, 0.4, 0.4]).mean())


def test_an_int8_zero_is_half_a_step_and_a_float_zero_is_not() -> None:
    for precision, cost in (("int8", np.log(512)), ("float16", -np.log(np.finfo(float).eps))):
        found = said([0.5], [0.0], [1], precision)
        assert found.log_loss_after == pytest.approx(cost)


def test_one_image_proves_nothing_and_two_do() -> None:
    before = [0.51] * 20
    said(before, [0.49, *before[1:]], [1] * 20).check("int8", 0.01)
    two = said(before, [0.49, 0.49, *before[2:]], [1] * 20)
    with pytest.raises(ArtifactError, match=r"0\.01 \(`tolerance`\).*accuracy 1\.000 → 0\.900"):
        two.check("int8", 0.01)
    two.check("int8", 0.1)


def test_log_loss_counts_where_no_label_changes() -> None:
    worse = said([0.9] * 20, [0.8] * 20, [1] * 20)
    with pytest.raises(ArtifactError, match=r"log-loss 0\.105 → 0\.223"):
        worse.check("float16", 0.1)
    worse.check("float16", 0.12)
    said([0.8] * 20, [0.9] * 20, [1] * 20).check("float16", 0)


def test_without_labels_probabilities_count() -> None:
    found = said([0.9] * 20, [0.7] * 20, None)
    assert found.accuracy_before is None
    assert "accuracy" not in str(found)
    found.check("float16", 0.21)
    with pytest.raises(ArtifactError, match=r"mean 0\.2\)"):
        found.check("float16", 0.19)
    flips = said([0.51] * 20, [0.49] * 3 + [0.51] * 17, None)
    flips.check("float16", 0.15)
    with pytest.raises(ArtifactError, match="3 got the other label"):
        flips.check("float16", 0.1)


# Which images


def names_of(classifier: TransferClassifier, part: str) -> list[str]:
    record = classifier.record
    return [*(record.training_names if part == "train" else record.scores[part].names)]


def pixels_of(folder: Path, names: list[str], classifier: TransferClassifier) -> set[bytes]:
    return {read_image(folder / n, classifier.image_size)[0].tobytes() for n in names}


def test_the_validation_part_is_compared_and_training_images_calibrate(
    classifier: TransferClassifier, drawn_folder: Path, tmp_path: Path
) -> None:
    moved = shutil.copytree(drawn_folder, tmp_path / "moved")
    for data in (None, drawn_folder, moved):
        sample = read_sample(classifier, data, calibrate=True)
        validation, training = (
            pixels_of(drawn_folder, names_of(classifier, part), classifier)
            for part in ("validation", "train")
        )
        assert {image.tobytes() for image in sample.compared} == validation
        assert {image.tobytes() for image in sample.calibrating} == training
        assert sample.labels is not None
        assert sample.labels.sum() == sum(
            name.startswith("disc/") for name in names_of(classifier, "validation")
        )
    assert len(read_sample(classifier, None, calibrate=False).calibrating) == 0


def test_of_many_images_some_of_both_classes_are_taken_and_none_twice(
    classifier: TransferClassifier,
    drawn_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(images, "COMPARED", 10)
    monkeypatch.setattr(images, "CALIBRATING", 5)
    shutil.copytree(drawn_folder / "disc", tmp_path / "disc")
    (tmp_path / "not disc").mkdir()
    for name in ("00.jpg", "01.jpg", "02.jpg", "03.jpg", "04.jpg", "05.jpg", "06.jpg"):
        shutil.copy(drawn_folder / "not disc" / name, tmp_path / "not disc" / name)
    sample = read_sample(classifier, tmp_path, calibrate=True)
    assert sample.labels is not None
    assert (len(sample.labels), sample.labels.sum()) == (10, 5)
    assert len(sample.calibrating) == 5
    both = [image.tobytes() for image in (*sample.compared, *sample.calibrating)]
    assert len({*both}) == 15
    again = read_sample(classifier, tmp_path, calibrate=True)
    np.testing.assert_array_equal(again.compared, sample.compared)
    monkeypatch.setattr(images, "COMPARED", 200)
    everything = read_sample(classifier, tmp_path, calibrate=False)
    assert len(everything.compared) == 31


def test_few_images_are_shared_out(
    classifier: TransferClassifier, drawn_folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(drawn_folder / "disc", tmp_path / "any")
    sample = read_sample(classifier, tmp_path, calibrate=True)
    assert sample.labels is None
    assert (len(sample.compared), len(sample.calibrating)) == (16, 8)
    for path in sorted((tmp_path / "any").iterdir())[1:]:
        path.unlink()
    sample = read_sample(classifier, tmp_path, calibrate=True)
    np.testing.assert_array_equal(sample.compared, sample.calibrating)


def test_any_folder_will_do_without_accuracy(
    classifier: TransferClassifier, as_if: Any, drawn_folder: Path, tmp_path: Path
) -> None:
    as_if(lambda p: p)
    exported = export(classifier, tmp_path / "new", data=drawn_folder / "disc")
    assert exported.comparison.count == 24
    assert exported.comparison.accuracy_after is None
    assert len(str(exported).splitlines()) == 2


def test_what_cannot_be_read_is_named(
    classifier: TransferClassifier, as_if: Any, drawn_folder: Path, tmp_path: Path
) -> None:
    as_if(lambda p: p)
    data = tmp_path / "data"
    shutil.copytree(drawn_folder / "disc", data / "disc")
    (data / "not disc").mkdir()
    (data / "not disc" / "bad.jpg").write_bytes(b"<html>")
    with pytest.warns(BadFileWarning, match=r"bad\.jpg") as warned:
        assert export(classifier, tmp_path / "new", data=data).comparison.count == 24
    assert warned[0].filename == __file__
    spec = DatasetSpec(data, on_bad_file="raise")
    with pytest.raises(ImageError, match=r"bad\.jpg"):
        export(classifier, tmp_path / "other", data=spec)
    shutil.rmtree(data / "disc")
    with (
        pytest.raises(DatasetError, match="none of the images"),
        pytest.warns(BadFileWarning, match=r"bad\.jpg"),
    ):
        export(classifier, tmp_path / "other", data=data)
    with pytest.raises(DatasetError, match="none"):
        export(classifier, tmp_path / "other", data=tmp_path / "none")
    with pytest.raises(SettingError, match="`data` must be a path"):
        export(classifier, tmp_path / "other", data=5)  # type: ignore[arg-type]
    assert left_in(tmp_path) == ["data", "new"] or left_in(tmp_path) == ["new", "data"]


def test_a_training_folder_that_is_gone_is_asked_for(
    classifier: TransferClassifier, tmp_path: Path
) -> None:
    for dataset, words in (
        (
            {"directory": str(tmp_path / "gone")},
            r"gone, which .* trained on, is not there: .* `data`",
        ),
        ({"description": "x"}, r"does not say what it was trained on: .* `data` \(--data\)"),
    ):
        record = dataclasses.replace(classifier.record, dataset={**dataset})
        other = TransferClassifier(classifier.model, record)
        with pytest.raises(DatasetError, match=words):
            export(other, tmp_path / "new")
    assert left_in(tmp_path) == []


# Refused before any work


def test_arguments_are_checked_before_any_work(
    classifier: TransferClassifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: Any, **__: Any) -> NoReturn:
        pytest.fail("work has begun")

    monkeypatch.setattr("tlkit.delivery.export.read_sample", never)
    untouched = TransferClassifier(never, classifier.record)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").touch()

    def refused(kind: type[Exception], words: str, path: Any = "new", **arguments: Any) -> None:
        with pytest.raises(kind, match=words):
            export(untouched, tmp_path / path, **arguments)

    refused(ArtifactError, "full is not empty: name a folder", "full")
    refused(ArtifactError, r"mine\.txt is a file", "full/mine.txt")
    refused(ArtifactError, "there is no folder .*nowhere: make it", "nowhere/new")
    refused(ArtifactError, "cannot be written: File name too long", "n" * 300)
    (tmp_path / "here").mkdir()
    with monkeypatch.context() as shell:
        shell.chdir(tmp_path / "here")  # which would be in a folder that is gone
        refused(ArtifactError, "here is the current folder: name", "here")
    (tmp_path / "here").rmdir()
    with monkeypatch.context() as system:
        system.setattr("os.path.ismount", lambda _: True)
        (tmp_path / "disk").mkdir()
        refused(ArtifactError, "disk is a mounted disk: name", "disk")
    (tmp_path / "disk").rmdir()
    refused(SettingError, "unknown format 'onxx': did you mean 'onnx'", format="onxx")
    refused(SettingError, "unknown precision 'int4'", precision="int4")
    for name in ("onnx", "saved_model"):
        refused(SettingError, "must be float32, got 'int8'", format=name, precision="int8")
    refused(SettingError, "`tolerance` must be", tolerance=-1)
    with pytest.raises(SettingError, match="`path` must be a path"):
        export(untouched, None)  # type: ignore[arg-type]
    wrong: Any
    for wrong in ("model.keras", classifier.model, None):
        with pytest.raises(SettingError, match="`classifier` must be a TransferClassifier"):
            export(wrong, tmp_path / "new")
    assert left_in(tmp_path) == ["full"]


def test_a_missing_package_has_its_command(
    classifier: TransferClassifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(formats, "find_spec", lambda name: name == "onnx" or None)
    for name, missing in (("litert", "ai-edge-litert"), ("onnx", "tf2onnx and onnxruntime")):
        with pytest.raises(
            MissingExtraError, match=rf"{missing}, .* pip install \"tlkit\[export\]\""
        ):
            export(classifier, tmp_path / "new", format=name)
    assert left_in(tmp_path) == []


# The command line


@pytest.fixture
def saved(classifier: TransferClassifier, tmp_path: Path) -> Path:
    classifier.save(tmp_path / "model.keras")
    return tmp_path / "model.keras"


def test_the_command_line_says_what_was_measured(
    saved: Path, as_if: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    as_if(lambda p: p)
    assert main(["export", str(saved), "-o", str(tmp_path / "a")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"saved: {tmp_path}/a: LiteRT, float32, 0.00 MB"
    assert re.match(r"\d+ images compared: .*; none got the other label", lines[1])
    assert re.match(r"accuracy .* → .*, log-loss .* → ", lines[2])
    words = ("--precision", "int8", "--tolerance", "0.1", "--json")
    assert main(["export", str(saved), "-o", str(tmp_path / "b"), *words]) == 0
    config = json.loads(capsys.readouterr().out)
    assert Exported.from_config(config).precision == "int8"
    assert Exported.from_config(config).path == tmp_path / "b"


def test_the_command_line_refuses_and_advises(
    saved: Path,
    classifier: TransferClassifier,
    as_if: Any,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    as_if(lambda p: 1 - p)
    (tmp_path / "full" / "deep").mkdir(parents=True)
    for words, expected in (
        (("-o", str(tmp_path / "full")), "is not empty"),
        (("-o", ""), "must not be empty"),
        (("-o", str(tmp_path / "new"), "--format", "tflite"), "invalid choice: 'tflite'"),
    ):
        with pytest.raises(SystemExit, match="2"):
            main(["export", str(saved), *words])
        assert expected in capsys.readouterr().err
    classifier.model.save(tmp_path / "plain.keras")
    refusals: tuple[tuple[Path, tuple[str, ...], str], ...] = (
        (saved, ("--format", "onnx", "--precision", "int8"), "--precision of the format 'onnx'"),
        (saved, ("--precision", "int8", "--data", str(tmp_path / "gone")), "gone"),
        (saved, ("--precision", "int8"), "worse than the classifier"),
        (tmp_path / "plain.keras", (), "is a Keras model, but no tlkit classifier"),
    )
    for model, arguments, expected in refusals:
        assert main(["export", str(model), "-o", str(tmp_path / "new"), *arguments]) == 1
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.startswith("error: ")
        assert expected in captured.err
    assert not (tmp_path / "new").exists()


@pytest.mark.slow
def test_the_command_line_shows_nothing_of_the_converters(saved: Path, tmp_path: Path) -> None:
    code = "import sys; from tlkit.cli import main; sys.exit(main())"
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TF_")}
    for words in (("--precision", "int8", "--tolerance", "1"), ("--format", "onnx")):
        output = tmp_path / words[-1]
        done = subprocess.run(
            [sys.executable, "-c", code, "export", saved, "-o", output, *words],
            capture_output=True, text=True, check=False, env=kept,
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith(f"saved: {output}: ")
        assert len(done.stdout.splitlines()) == 3


# The example and the real thing


@pytest.mark.slow
def test_the_example_exports_and_asks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    examples = Path(__file__).parents[1] / "examples"
    monkeypatch.syspath_prepend(str(examples))
    phone = runpy.run_path(str(examples / "phone.py"))
    with contextlib.redirect_stdout(io.StringIO()) as stdout:
        phone["main"](["--output", str(tmp_path / "phone")])
    assert "LiteRT, float16" in stdout.getvalue()
    assert re.search(r"^alpaca/drawn-\d+\.jpg +(not )?alpaca +[01]\.\d+$", stdout.getvalue(), re.M)
    assert json.loads((tmp_path / "phone" / "tlkit.json").read_text())["precision"] == "float16"


def table() -> list[list[str]]:
    """Return the rows that the page shows of the real networks."""
    rows = re.findall(r"^\| (\d.*\d pixels) \| (.*) \|$", PAGE.read_text("utf-8"), re.M)
    return [[network, *cells.split(" | ")] for network, cells in rows]


@pytest.fixture(scope="module")
def photographed(alpaca_dir: Path, weights_dir: Path) -> Callable[[str], TransferClassifier]:
    """Classifiers of the real photographs, by what the page calls their networks."""
    made: dict[str, TransferClassifier] = {}

    def make(network: str) -> TransferClassifier:
        if network not in made:
            alpha, size = re.findall(r"[\d.]+", network)
            weights = weights_dir / f"mobilenet_v2_{alpha}_224_no_top.weights.h5"
            made[network] = transfer_classifier(
                DatasetSpec(alpaca_dir, positive_class="alpaca", validation_fraction=0.2, seed=42),
                backbone=BackboneAdapter(
                    "MobileNetV2",
                    image_size=int(size),
                    alpha=float(alpha),
                    weights=weights,
                    features="last",
                ),
                schedule=FineTuneSchedule.head_only(),
            )
        return made[network]

    return make


def marked(row: list[str]) -> Any:
    """The rows of the small network are slow, those of the large one, to which nothing is added, long."""
    marks = pytest.mark.slow if row[0].startswith("0.35") else pytest.mark.long
    return pytest.param(row, marks=marks, id=f"{row[0]}, {row[1]}")


@pytest.mark.parametrize("row", [*map(marked, table())])
def test_the_table_of_the_page_is_what_comes_out(
    photographed: Callable[[str], TransferClassifier], row: list[str], tmp_path: Path
) -> None:
    network, what, megabytes, largest, accuracy, log_loss = row
    name, precision = re.findall(r"`([\w-]+)`", what)
    exported = export(photographed(network), tmp_path / "new", format=name, precision=precision)
    found = exported.comparison
    assert found.count == 65
    assert exported.byte_count / 1e6 == pytest.approx(float(megabytes), rel=0.03)
    stated = float(largest.removeprefix("below "))
    assert found.largest_difference <= (1e-4 if precision == "float32" else 2 * stated)
    for cell, before, after, margin in (
        (accuracy, found.accuracy_before, found.accuracy_after, 0.032),
        (log_loss, found.log_loss_before, found.log_loss_after, 0.02),
    ):
        wanted = [float(number) for number in cell.split(" → ")]
        assert [before, after] == pytest.approx(wanted, abs=margin)
