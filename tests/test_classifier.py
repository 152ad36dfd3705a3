"""A prediction says which file, which class and how sure; bad input is named."""

from __future__ import annotations

import dataclasses
import os
import pickle
import re
import shutil
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from tlkit import (
    BackboneAdapter,
    DatasetSpec,
    ExactHead,
    FeatureIndex,
    FineTuneSchedule,
    Phase,
    Prediction,
    ThresholdGoal,
    TransferClassifier,
    explain,
    find_label_issues,
    nearest,
    plot,
    transfer_classifier,
    write_report,
)
from tlkit.backbones.engines import TensorFlowEngine
from tlkit.classifier import predictor
from tlkit.errors import BadFileWarning, DatasetError, ImageError, SettingError, TlkitWarning
from tlkit.images.decoder import BadFile, read_image


def pixels_of(path: Path) -> npt.NDArray[np.uint8]:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB").resize((32, 32), Image.Resampling.BILINEAR))


def changed(source: Path, target: Path) -> None:
    """Copy an image as another file: one pixel less on each side."""
    with Image.open(source) as image:
        image.crop((1, 1, image.width - 1, image.height - 1)).save(target, quality=92)


@pytest.fixture(scope="module")
def images(drawn_folder: Path) -> list[Path]:
    return sorted(drawn_folder.rglob("*.jpg"))


def test_one_file_gives_one_prediction(classifier: TransferClassifier, images: list[Path]) -> None:
    prediction = classifier.predict(images[0])
    assert isinstance(prediction, Prediction)
    assert prediction.path == images[0]
    assert prediction.positive_class == "disc"
    assert prediction.label == ("disc" if prediction.probability >= 0.5 else "not disc")
    assert prediction.probability == pytest.approx(1 / (1 + np.exp(-prediction.logit)))
    assert classifier.predict(str(images[0])).path == str(images[0])


def test_a_file_may_be_any_path_object(classifier: TransferClassifier, drawn_folder: Path) -> None:
    with os.scandir(drawn_folder / "disc") as entries:
        entry = min(entries, key=lambda entry: entry.name)
    alone, (listed,) = classifier.predict(entry), classifier.predict([entry])
    assert alone.path is listed.path is entry
    assert str(alone).startswith(f"{entry.path}: ")
    assert alone.probability == classifier.predict(entry.path).probability


@pytest.mark.parametrize(
    ("images", "got"),
    [
        (b"a.jpg", "b'a.jpg' (bytes)"),
        (None, "None (NoneType)"),
        (3, "3 (int)"),
        (Image.new("RGB", (4, 4)), "(Image)"),
        ([np.zeros((4, 4, 3))] * 2, "(ndarray)"),
        (["a.jpg", b"b.jpg"], "b'b.jpg' (bytes)"),
        (np.array([b"b.jpg"]), "b'b.jpg' (bytes)"),
        (np.array([["a.jpg"]]), "['a.jpg'] (list)"),
        ([["a.jpg"]], "['a.jpg'] (list)"),
    ],
)
def test_what_is_no_image_is_named(classifier: TransferClassifier, images: Any, got: str) -> None:
    with pytest.raises(SettingError, match=f"NumPy array .*, got .*{re.escape(got)}$"):
        classifier.predict(images)


@pytest.mark.parametrize("value", [None, 3, b"a", ""])
@pytest.mark.parametrize("method", ["predict_folder", "save", "load"])
def test_what_is_no_path_is_named(classifier: TransferClassifier, method: str, value: Any) -> None:
    with pytest.raises(SettingError, match=f"must be a path, got {value!r}"):
        getattr(classifier, method)(value)


def test_the_probability_is_that_of_the_model(
    classifier: TransferClassifier, images: list[Path]
) -> None:
    expected = classifier.model.predict(pixels_of(images[7])[np.newaxis], verbose=0)[0, 0]
    assert classifier.predict(images[7]).probability == pytest.approx(expected, abs=1e-6)


def test_many_files_come_back_in_the_order_given(
    classifier: TransferClassifier, images: list[Path]
) -> None:
    shuffled = [images[i] for i in np.random.default_rng(0).permutation(len(images))]
    predictions = classifier.predict(iter(shuffled))
    assert [prediction.path for prediction in predictions] == shuffled
    assert len(predictions) == 48 > 32, "more than a batch"
    alone = {path: classifier.predict(path).probability for path in images[::6]}
    together = {p.path: p.probability for p in predictions if p.path in alone}
    assert together == pytest.approx(alone, abs=1e-6)


def test_it_tells_the_classes_apart(classifier: TransferClassifier, images: list[Path]) -> None:
    right = [p.label == Path(str(p.path)).parent.name for p in classifier.predict(images)]
    assert np.mean(right) > 0.9


def test_files_may_be_an_array_of_text(classifier: TransferClassifier, images: list[Path]) -> None:
    expected = [p.probability for p in classifier.predict(images[:3])]
    dtypes: list[Any] = [np.str_, object]
    if hasattr(np.dtypes, "StringDType"):  # NumPy 2
        dtypes.append(np.dtypes.StringDType())
    for dtype in dtypes:
        found = classifier.predict(np.array([str(path) for path in images[:3]], dtype))
        assert [p.path for p in found] == [str(path) for path in images[:3]]
        assert [p.probability for p in found] == expected
    as_paths = classifier.predict(np.array(images[:3], object))
    assert [p.path for p in as_paths] == images[:3]
    assert classifier.predict(np.array([], np.str_)) == []
    alone: Any = classifier.predict(np.array(str(images[0])))
    assert alone.path == str(images[0])


def test_images_that_differ_in_shape_are_refused(classifier: TransferClassifier) -> None:
    unequal: Any = [np.full((side, side, 3), 9, np.uint8) for side in (30, 40)]
    with pytest.raises(SettingError, match="differ in shape: give them one at a time"):
        classifier.predict_proba(unequal)
    same: Any = [np.full((40, 40, 3), 9, np.uint8)] * 2
    assert classifier.predict_proba(same).shape == (2,)


def test_no_file_gives_no_prediction(classifier: TransferClassifier) -> None:
    assert classifier.predict([]) == []


def test_arrays_are_predicted_as_files_are(
    classifier: TransferClassifier, images: list[Path]
) -> None:
    batch = np.stack([pixels_of(path) for path in images[:3]])
    expected = [prediction.probability for prediction in classifier.predict(images[:3])]
    assert classifier.predict_proba(batch) == pytest.approx(expected, abs=1e-6)
    assert classifier.predict_proba(batch.astype(np.float32)) == pytest.approx(expected, abs=1e-6)
    assert [p.probability for p in classifier.predict(batch)] == pytest.approx(expected, abs=1e-6)
    large = np.asarray(Image.open(images[0]).convert("RGB"))
    assert large.shape != batch[0].shape
    assert classifier.predict_proba(large) == pytest.approx(expected[:1], abs=1e-6)


def test_an_array_scaled_to_one_is_refused(classifier: TransferClassifier) -> None:
    scaled = np.random.default_rng(0).random((2, 32, 32, 3))
    with pytest.raises(SettingError, match="0"):
        classifier.predict_proba(scaled)


def test_a_bad_file_is_raised_skipped_or_collected(
    classifier: TransferClassifier, images: list[Path], tmp_path: Path
) -> None:
    bad = tmp_path / "page.jpg"
    bad.write_bytes(b"<html>")
    files = [images[0], bad, images[1]]
    for wrong in (bad, files):
        with pytest.raises(ImageError, match=r"page\.jpg") as caught:
            classifier.predict(wrong)
        assert caught.value.path == str(bad)
    with pytest.warns(BadFileWarning, match=r"page\.jpg"):
        kept = classifier.predict(files, on_bad_file="skip")
    assert [prediction.path for prediction in kept] == [images[0], images[1]]
    collected = classifier.predict(files, on_bad_file="collect")
    assert [type(outcome) for outcome in collected] == [Prediction, BadFile, Prediction]
    assert collected[0] == kept[0]
    with pytest.raises(SettingError, match="on_bad_file"):
        classifier.predict(files, on_bad_file="ignore")  # type: ignore[call-overload]


@pytest.mark.parametrize(
    "call",
    [
        lambda classifier, folder: classifier.predict(
            [folder / "disc/bad.jpg"], on_bad_file="skip"
        ),
        lambda classifier, folder: classifier.predict_folder(folder),
        lambda classifier, folder: classifier.evaluate(folder),
    ],
)
def test_the_warning_of_bad_files_names_the_callers_line(
    call: Callable[[TransferClassifier, Path], object],
    classifier: TransferClassifier,
    drawn_folder: Path,
    tmp_path: Path,
) -> None:
    for name in ("disc/00.jpg", "not disc/00.jpg"):
        (tmp_path / name).parent.mkdir()
        changed(drawn_folder / name, tmp_path / name)
    (tmp_path / "disc/bad.jpg").touch()
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        call(classifier, tmp_path)
    assert [(one.category, one.filename) for one in warned] == [(BadFileWarning, __file__)]
    with pytest.raises(ImageError, match=r"bad\.jpg"):
        classifier.evaluate(DatasetSpec(tmp_path, on_bad_file="raise"))


def test_a_folder_is_walked_in_the_order_of_names(
    classifier: TransferClassifier, drawn_folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(drawn_folder / "disc", tmp_path / "deep" / "er")
    shutil.copy(drawn_folder / "disc" / "00.jpg", tmp_path / "a.jpg")
    (tmp_path / ".hidden.jpg").write_bytes(b"")
    (tmp_path / "notes.txt").write_text("not an image")
    (tmp_path / "b.png").write_bytes(b"broken")
    with pytest.warns(BadFileWarning, match=r"left out 1 file.*\n.*b\.png"):
        outcomes = classifier.predict_folder(tmp_path)
    names = [Path(str(p.path)).relative_to(tmp_path).as_posix() for p in outcomes]
    assert names == ["a.jpg", *(f"deep/er/{number:02d}.jpg" for number in range(24))]
    with pytest.raises(DatasetError, match="nothing"):
        classifier.predict_folder(tmp_path / "nothing")


def test_the_threshold_decides_the_label_and_the_counts(
    classifier: TransferClassifier, images: list[Path]
) -> None:
    before, scores = classifier.evaluation, classifier.record.scores["validation"]
    probabilities = 1 / (1 + np.exp(-np.array(scores.logits)))
    middle = float(np.median(probabilities[np.array(scores.labels) == 1]))
    moved = classifier.with_threshold(middle)
    labels = [prediction.label for prediction in moved.predict(images)]
    assert labels == [
        "disc" if prediction.probability >= middle else "not disc"
        for prediction in classifier.predict(images)
    ]
    evaluation = moved.evaluation
    assert evaluation.threshold == middle
    assert 0 < evaluation.true_positives < before.true_positives
    assert (evaluation.log_loss, evaluation.random_head_baseline) == (
        before.log_loss,
        before.random_head_baseline,
    )
    assert moved.test_evaluation is not None
    assert moved.test_evaluation.threshold == middle
    assert moved.with_threshold(0.0).evaluation.false_negatives == 0
    assert moved.with_threshold(0.5).evaluation == before
    assert classifier.threshold == 0.5
    with pytest.raises(SettingError, match="threshold"):
        classifier.with_threshold(float("nan"))
    with pytest.raises(SettingError, match="unknown evaluated part 'validation'"):
        dataclasses.replace(classifier.record, scores={})  # there would be nothing to count anew


def test_evaluating_a_folder_counts_its_images(
    classifier: TransferClassifier, drawn_folder: Path
) -> None:
    with pytest.warns(TlkitWarning, match=r"has learned from 28 of the 48 images .* flatter it"):
        evaluation = classifier.evaluate(drawn_folder, include_training=True)
    labels = {path: path.parent.name for path in drawn_folder.rglob("*.jpg")}
    right = sum(p.label == labels[Path(str(p.path))] for p in classifier.predict(list(labels)))
    assert evaluation.accuracy.value == pytest.approx(right / 48)
    assert evaluation.count == 48


def test_an_evaluation_is_named_by_its_folder(
    classifier: TransferClassifier, drawn_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(drawn_folder)
    with pytest.warns(TlkitWarning, match="left out 28"):
        assert classifier.evaluate(".").part == drawn_folder.resolve().name


def test_evaluating_one_part(
    classifier: TransferClassifier, drawn_folder: Path, tmp_path: Path
) -> None:
    for part, numbers in (("train", range(20)), ("val", range(20, 24))):
        for class_name in ("disc", "not disc"):
            (tmp_path / part / class_name).mkdir(parents=True)
            for number in numbers:
                name = f"{number:02d}.jpg"
                changed(drawn_folder / class_name / name, tmp_path / part / class_name / name)
    assert classifier.evaluate(tmp_path, part="validation").count == 8
    assert classifier.evaluate(tmp_path, part="val") == classifier.evaluate(
        tmp_path, part="validation"
    )
    assert classifier.evaluate(tmp_path).count == 48
    with pytest.raises(DatasetError, match="'test': choose from 'train', 'validation'"):
        classifier.evaluate(tmp_path, part="test")
    with pytest.raises(DatasetError, match="it has no parts"):
        classifier.evaluate(drawn_folder, part="test")
    with pytest.raises(SettingError, match="unknown part 'vall': did you mean 'val'"):
        classifier.evaluate(tmp_path, part="vall")


def test_other_classes_are_refused(
    classifier: TransferClassifier, drawn_folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(drawn_folder / "disc", tmp_path / "cat")
    shutil.copytree(drawn_folder / "not disc", tmp_path / "dog")
    with pytest.raises(DatasetError, match="disc"):
        classifier.evaluate(tmp_path)
    with pytest.raises(DatasetError, match="'cat'"):
        classifier.evaluate(DatasetSpec(tmp_path))


def test_files_and_arrays_go_through_the_same_decoder(
    classifier: TransferClassifier, tmp_path: Path
) -> None:
    """A phone photograph lies on its side in the file; training and prediction both turn it."""
    pixels = np.zeros((40, 60, 3), np.uint8)
    pixels[:, :30] = 250
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(pixels).save(tmp_path / "phone.png", exif=exif)
    upright, _ = read_image(tmp_path / "phone.png", (32, 32))
    expected = classifier.predict_proba(upright)[0]
    assert classifier.predict(tmp_path / "phone.png").probability == pytest.approx(
        expected, abs=1e-6
    )
    assert (upright[:15] > 200).all()


def test_the_summary_names_classes_and_accuracy(classifier: TransferClassifier) -> None:
    assert repr(classifier).startswith("<TransferClassifier 'disc' or 'not disc', accuracy ")
    assert classifier.class_names == ("disc", "not disc")
    assert classifier.image_size == BackboneAdapter("tiny_random").image_size


@pytest.mark.parametrize(
    "call",
    [
        find_label_issues,
        lambda wrong: explain(wrong, "photo.jpg"),
        lambda wrong: nearest(wrong, "photo.jpg", "folder"),
        lambda wrong: FeatureIndex(wrong, "folder"),
        lambda wrong: write_report(wrong, "report.html"),
        plot.confusion,
        plot.gallery,
    ],
)
def test_what_is_no_classifier_is_named(call: Callable[[Any], object]) -> None:
    with pytest.raises(SettingError, match=r"must be a TransferClassifier.*, got 3 \(int\)$"):
        call(3)
    with pytest.raises(
        SettingError, match=r": read it with TransferClassifier\.load\('m\.keras'\)$"
    ):
        call(Path("m.keras"))


def test_curves_are_of_a_history(classifier: TransferClassifier) -> None:
    with pytest.raises(SettingError, match=r"`history` must be a History.*`\.history`"):
        plot.learning_curves(classifier)  # type: ignore[arg-type]


def test_the_negative_class_is_the_other_one(classifier: TransferClassifier) -> None:
    assert (classifier.positive_class, classifier.negative_class) == ("disc", "not disc")


def test_another_threshold_goes_on_with_the_engine(
    classifier: TransferClassifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Built once for all thresholds and threads; a copy builds its own, for it may be another process."""
    built: list[keras.Model] = []

    def engine(model: keras.Model) -> TensorFlowEngine:
        built.append(model)
        return TensorFlowEngine(model)

    monkeypatch.setattr(predictor, "TensorFlowEngine", engine)
    pixels = np.random.default_rng(0).integers(256, size=(2, 32, 32, 3), dtype=np.uint8)
    fresh = TransferClassifier(classifier.model, classifier.record)
    moved = fresh.with_threshold(0.9)
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(moved.predict_proba, [pixels] * 8))
    assert all(np.array_equal(one, fresh.predict_proba(pixels)) for one in found)
    assert len(built) == 1
    again = pickle.loads(pickle.dumps(moved))
    assert np.allclose(again.predict_proba(pixels), found[0], atol=1e-6)
    assert again.threshold == 0.9
    assert len(built) == 2


def test_threads_that_share_a_classifier_build_its_network_once(
    classifier: TransferClassifier,
) -> None:
    model = classifier.model
    built: list[None] = []

    def build() -> keras.Model:
        built.append(None)
        time.sleep(0.2)  # long enough for every thread to ask
        return model

    shared = TransferClassifier(build, classifier.record)
    with ThreadPoolExecutor(4) as threads:
        found = [threads.submit(lambda: shared.model) for _ in range(4)]
    assert all(future.result() is model for future in found)
    assert len(built) == 1


@pytest.mark.parametrize("place", ["home", "moved", "renamed", "edited"])
def test_images_that_it_has_learned_from_are_left_out(
    classifier: TransferClassifier, drawn_folder: Path, tmp_path: Path, place: str
) -> None:
    """By their names where it was trained, even if edited since; by their content anywhere else."""
    known, folder = {*classifier.record.training_names}, tmp_path / "drawn"
    others = {p.relative_to(drawn_folder).as_posix() for p in drawn_folder.rglob("*.jpg")} - known
    shutil.copytree(drawn_folder, folder)
    own = classifier
    if place == "home":
        folder = drawn_folder
    elif place == "renamed":
        for name in known:
            (folder / name).rename((folder / name).with_name(f"new-{Path(name).name}"))
    elif place == "edited":
        record = classifier.record
        settings = {**record.dataset, "directory": str(folder)}
        own = TransferClassifier(classifier.model, dataclasses.replace(record, dataset=settings))
        for name in known:
            (folder / name).write_bytes((folder / name).read_bytes() + b"more")
    out_of_fold = r"accuracy [01]\.\d\d \(95 % CI .*\) on 28 training images, each judged by a head"
    with pytest.warns(
        TlkitWarning, match=rf"^left out 28 of the 48 images .*--include-training.*{out_of_fold}"
    ) as warned:
        found = own.evaluate(folder)
    assert warned[0].filename == __file__
    expected = classifier.predict([drawn_folder / name for name in sorted(others)])
    right = sum(p.label == Path(str(p.path)).parent.name for p in expected)
    assert (found.count, found.used_to_choose) == (20, ())
    assert found.true_positives + found.true_negatives == right
    with pytest.warns(TlkitWarning, match="^the classifier has learned from 28 of the 48"):
        everything = own.evaluate(folder, include_training=True)
    assert everything.count == 48
    assert "These images were used to choose the weights (28 of them were trained on)" in str(
        everything
    )


def test_nothing_but_what_it_has_learned_from_is_refused(
    classifier: TransferClassifier, drawn_folder: Path, tmp_path: Path
) -> None:
    for name in classifier.record.training_names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(drawn_folder / name, tmp_path / name)
    with pytest.raises(DatasetError, match=r"28 of the 28 images .*had not learned from: accuracy"):
        classifier.evaluate(tmp_path)
    with pytest.raises(SettingError, match="`include_training` must be True or False"):
        classifier.evaluate(tmp_path, include_training="yes")  # type: ignore[call-overload]


def test_a_file_of_an_earlier_release_is_told_by_its_folder(
    classifier: TransferClassifier, drawn_folder: Path, tmp_path: Path
) -> None:
    old = dataclasses.replace(classifier.record, training_digests=())
    before = TransferClassifier(classifier.model, old)
    with pytest.warns(TlkitWarning, match="left out 28"):
        assert before.evaluate(drawn_folder).count == 20
    shutil.copytree(drawn_folder, tmp_path / "elsewhere")
    assert before.evaluate(tmp_path / "elsewhere").count == 48
    with pytest.raises(SettingError, match="`training_digests` must be one for each"):
        dataclasses.replace(classifier.record, training_digests=("0123456789ab",))


@pytest.mark.parametrize("class_name", ["disc", "not disc"])
def test_a_folder_of_one_class_is_measured(
    classifier: TransferClassifier, drawn_folder: Path, tmp_path: Path, class_name: str
) -> None:
    (tmp_path / class_name / "deeper").mkdir(parents=True)
    for number in range(5):
        name = f"{number:02d}.jpg"
        changed(drawn_folder / class_name / name, tmp_path / class_name / "deeper" / name)
    (tmp_path / "notes.txt").write_text("beside it")
    found = classifier.evaluate(tmp_path)
    labels = [p.label for p in classifier.predict_folder(tmp_path) if isinstance(p, Prediction)]
    rate, other = (
        (found.recall, found.specificity)
        if class_name == "disc"
        else (found.specificity, found.recall)
    )
    assert rate == labels.count(class_name) / 5
    assert other is found.roc_auc is found.balanced_accuracy is None
    assert "undefined" in str(found)
    (tmp_path / "cat").mkdir()
    with pytest.raises(DatasetError, match="must hold the class folders"):
        classifier.evaluate(tmp_path)
    with pytest.raises(DatasetError, match="must hold"):
        classifier.evaluate(tmp_path / "cat")


def test_a_threshold_for_a_purpose_is_chosen_on_images_not_learned_from(
    classifier: TransferClassifier, tmp_path: Path
) -> None:
    choosy = classifier.with_threshold(ThresholdGoal.recall(1.0))
    choice = choosy.record.threshold_choice
    assert choice is not None
    assert (choice.part, choice.count, choice.recall) == ("out-of-fold", 28, 1.0)
    out_of_fold = classifier.record.scores["out-of-fold"]
    called = out_of_fold.probabilities >= choosy.threshold
    assert called[np.array(out_of_fold.labels) == 1].all()
    assert choosy.evaluation.threshold == choosy.threshold == choice.threshold
    assert choosy.evaluation.used_to_choose == ()

    choosy.save(tmp_path / "choosy.keras")
    again = TransferClassifier.load(tmp_path / "choosy.keras")
    assert again.record.threshold_choice == choice
    assert again.with_threshold(0.5).record.threshold_choice is None


def test_a_threshold_chosen_on_the_validation_part_says_so(drawn_folder: Path) -> None:
    schedule = FineTuneSchedule(
        head=ExactHead(l2=1e4),  # next to nothing, so that fine-tuning is what is kept
        phases=(Phase(unfreeze_fraction=0.3, epochs=6, learning_rate=0.1, views=2),),
    )
    backbone = BackboneAdapter("tiny_random")
    tuned = transfer_classifier(drawn_folder, backbone=backbone, schedule=schedule)
    assert tuned.history.kept == 1
    choosy = tuned.with_threshold(ThresholdGoal.best_f1())
    assert choosy.record.threshold_choice is not None
    assert choosy.record.threshold_choice.part == "validation"
    assert choosy.evaluation.used_to_choose == (*tuned.evaluation.used_to_choose, "the threshold")
    assert choosy.with_threshold(0.5).evaluation == tuned.evaluation


def test_a_threshold_recounts_the_cross_validation_too(drawn_folder: Path) -> None:
    crossed = transfer_classifier(
        drawn_folder,
        backbone=BackboneAdapter("tiny_random"),
        schedule=FineTuneSchedule.head_only(),
        folds=2,
    )
    careful = crossed.with_threshold(0.9).cross_validation
    choosy = crossed.with_threshold(ThresholdGoal.youden()).cross_validation
    assert careful is not None
    assert choosy is not None
    assert careful.evaluation.threshold == 0.9
    assert careful.evaluation.used_to_choose == ()
    assert choosy.evaluation.used_to_choose == ("the threshold",)
    assert crossed.with_threshold(0.9).with_threshold(0.5).record == crossed.record
