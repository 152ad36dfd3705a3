"""Every image is judged once, by a classifier that has neither learned from it nor chosen on it."""

from __future__ import annotations

import math
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tlkit import (
    BackboneAdapter,
    CrossValidation,
    DatasetSpec,
    ExactHead,
    FineTuneSchedule,
    GradientHead,
    Phase,
    TransferClassifier,
    cross_validate,
    find_label_issues,
    transfer_classifier,
)
from tlkit.errors import DatasetError, SettingError
from tlkit.evaluation.calibration import Calibration
from tlkit.evaluation.evaluate import evaluate
from tlkit.features.passes import Originals
from tlkit.training import cross_validation, fit
from tlkit.training.finetune import TrainingData

TUNED = FineTuneSchedule(phases=(Phase(unfreeze_fraction=0.3, epochs=2, views=2),))
HEAD_ONLY = FineTuneSchedule.head_only()
BETTER = FineTuneSchedule(
    head=ExactHead(l2=1e4),  # next to nothing, so that fine-tuning is what is kept
    phases=(Phase(unfreeze_fraction=0.3, epochs=6, learning_rate=0.1, views=2),),
)
TINY = BackboneAdapter("tiny_random")


USUAL: dict[str, Any] = {"schedule": HEAD_ONLY, "backbone": TINY}


@pytest.fixture(scope="module", autouse=True)
def one_pass(passes: Path) -> None:
    """Who judges whom does not hang on the pass, so it is not made anew each time."""
    USUAL["cache_dir"] = passes


def trained(data: DatasetSpec | Path, **settings: Any) -> TransferClassifier:
    spec = data if isinstance(data, DatasetSpec) else DatasetSpec(data, validation_fraction=0.2)
    return transfer_classifier(spec, **(USUAL | settings))


@pytest.fixture(scope="module")
def judged(drawn_folder: Path) -> CrossValidation:
    return cross_validate(drawn_folder, backbone=TINY, folds=4)


@pytest.fixture
def lessons(monkeypatch: pytest.MonkeyPatch) -> list[TrainingData]:
    """What each classifier learned from, in order."""
    seen: list[TrainingData] = []

    def spy(frozen: Any, originals: Originals, data: TrainingData, *rest: Any, **more: Any) -> Any:
        seen.append(data)
        return fit.train(frozen, originals, data, *rest, **more)

    monkeypatch.setattr(cross_validation, "train", spy)
    return seen


@pytest.mark.parametrize(
    ("schedule", "chooses"),
    [
        (HEAD_ONLY, False),
        (TUNED, True),
        (FineTuneSchedule(head=GradientHead(epochs=2)), True),
    ],
)
def test_nobody_is_judged_by_who_learned_from_it_or_chose_on_it(
    drawn_folder: Path, lessons: list[TrainingData], schedule: FineTuneSchedule, *, chooses: bool
) -> None:
    result = cross_validate(drawn_folder, backbone=TINY, schedule=schedule, folds=3)
    numbers = np.array(result.fold_numbers)
    assert len(lessons) == 3
    for fold, data in enumerate(lessons):
        judged = set(np.flatnonzero(numbers == fold).tolist())
        learned, chose = set(data.train.tolist()), set(data.validation.tolist())
        assert len(judged) == 16
        assert not judged & learned
        assert not (judged & chose if chooses else learned & chose)
        assert len(judged | learned | chose) == 48


def test_groups_stay_in_one_fold(drawn_folder: Path) -> None:
    spec = DatasetSpec(drawn_folder, group_by=r"\d(\d)\.jpg$")
    result = cross_validate(spec, backbone=TINY, folds=2)
    of_group: dict[str, set[int]] = {}
    for name, fold in zip(result.scores.names, result.fold_numbers, strict=True):
        of_group.setdefault(name[-5], set()).add(fold)
    assert len(of_group) == 10
    assert all(len(folds) == 1 for folds in of_group.values())


@pytest.fixture(scope="module")
def herds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Noise on a colour that is the group's own and says nothing of its class: 10 + 10 groups of 4 images."""
    folder = tmp_path_factory.mktemp("herds")
    random = np.random.default_rng(0)
    for class_name in ("alpaca", "not alpaca"):
        (folder / class_name).mkdir()
        for herd in range(10):
            colour = random.uniform(60, 190, 3)
            for number in range(4):
                pixels = (colour + random.normal(0, 30, (48, 48, 3))).clip(0, 255)
                name = f"herd-{class_name}-{herd}_{number}.png"
                Image.fromarray(pixels.astype(np.uint8)).save(folder / class_name / name)
    return folder


def test_random_folds_stand_beside_folds_of_whole_groups(herds: Path) -> None:
    """On new herds it guesses; folds that cut through herds would have promised more."""
    spec = DatasetSpec(herds, group_by=r"herd-[^_]+")
    result = cross_validate(spec, backbone=TINY, schedule=HEAD_ONLY)
    plain = cross_validate(DatasetSpec(herds), backbone=TINY, schedule=HEAD_ONLY)
    found = result.evaluation
    assert found.known_groups is not None
    assert plain.evaluation.known_groups is None
    assert found.known_groups == plain.evaluation.accuracy  # the very folds
    assert found.known_groups > found.accuracy.high
    text = (
        f"  of new groups; {found.known_groups.brief()} if other images of their groups were known"
    )
    assert str(found).splitlines()[1] == text
    assert CrossValidation.from_json(result.to_json()) == result

    classifier = trained(DatasetSpec(herds, group_by=r"herd-[^_]+"))
    assert classifier.evaluation.known_groups == found.known_groups
    assert classifier.evaluation.accuracy == found.accuracy
    moved = classifier.with_threshold(0.9)
    assert moved.cross_validation is not None
    assert moved.evaluation.known_groups == moved.cross_validation.evaluation.known_groups
    assert moved.evaluation.known_groups != found.known_groups
    assert "random" not in str(plain.evaluation)


def test_nobody_pays_for_random_folds_where_folds_fine_tune(herds: Path) -> None:
    spec = DatasetSpec(herds, group_by=r"herd-[^_]+")
    result = cross_validate(spec, backbone=TINY, schedule=TUNED, folds=2)
    assert result.known_groups is None
    assert result.evaluation.known_groups is None


def test_metrics_are_those_of_the_scores(judged: CrossValidation) -> None:
    scores, numbers = judged.scores, np.array(judged.fold_numbers)
    labels = np.array(scores.labels)
    assert scores.labels == tuple(int(name.startswith("disc/")) for name in scores.names)

    def expected(part: str, chosen: Any) -> object:
        return evaluate(
            labels[chosen],
            scores.probabilities[chosen],
            class_names=("disc", "not disc"),
            positive_class="disc",
            part=part,
            folds=4 if part == "out-of-fold" else None,
            facets=scores.facets if part == "out-of-fold" else (),
        )

    assert judged.evaluation == expected("out-of-fold", numbers >= 0)
    assert judged.folds == tuple(expected(f"fold {n + 1}", numbers == n) for n in range(4))
    losses = [fold.log_loss for fold in judged.folds]
    assert judged.mean("log_loss") == pytest.approx(np.mean(losses))
    assert judged.spread("log_loss") == pytest.approx(np.std(losses, ddof=1))
    assert judged.evaluation.accuracy > 0.8
    assert "over 4 folds" in str(judged)


def test_labels_without_meaning_are_not_learned(drawn_folder: Path, tmp_path: Path) -> None:
    """A classifier that had seen what it judges would get most of these right."""
    for number, source in enumerate(sorted(drawn_folder.glob("*/*.jpg"))):
        target = tmp_path / ("heads" if number % 2 else "tails") / f"{number}.jpg"
        target.parent.mkdir(exist_ok=True)
        shutil.copy(source, target)
    result = cross_validate(tmp_path, backbone=TINY, folds=4)
    assert result.evaluation.roc_auc is not None
    assert result.evaluation.roc_auc < 0.7
    assert result.evaluation.log_loss > 0.6


def test_each_image_is_read_once_for_all_folds_and_never_again_from_a_cache(
    drawn_folder: Path, tmp_path: Path, opened: list[str]
) -> None:
    images = sorted(str(path) for path in drawn_folder.rglob("*.jpg"))
    first = cross_validate(drawn_folder, backbone=TINY, folds=6, cache_dir=tmp_path)
    assert sorted(path for path in opened if path.endswith(".jpg")) == images
    opened.clear()
    assert cross_validate(drawn_folder, backbone=TINY, folds=6, cache_dir=tmp_path) == first
    assert [path for path in opened if path.endswith(".jpg")] == []


def test_what_is_kept_is_judged_without_tensorflow(drawn_folder: Path, tmp_path: Path) -> None:
    first = cross_validate(drawn_folder, backbone=TINY, cache_dir=tmp_path)
    script = (
        "import sys; from tlkit import BackboneAdapter, cross_validate\n"
        "tiny = BackboneAdapter('tiny_random')\n"
        "again = cross_validate(sys.argv[1], backbone=tiny, cache_dir=sys.argv[2])\n"
        "print(again.to_json()) if 'tensorflow' not in sys.modules else print('loaded')"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(drawn_folder), str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    again = CrossValidation.from_json(done.stdout)
    assert np.allclose(again.scores.logits, first.scores.logits, atol=1e-9)


def test_it_is_written_down_and_read_back(judged: CrossValidation) -> None:
    assert CrossValidation.from_json(judged.to_json()) == judged


@pytest.mark.parametrize(
    ("folds", "error", "message"),
    [
        (1, SettingError, "folds"),
        (2.5, SettingError, "folds"),
        (30, DatasetError, "30"),
    ],
)
def test_folds_that_cannot_be(
    drawn_folder: Path, folds: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        cross_validate(drawn_folder, backbone=TINY, folds=folds)


@pytest.mark.parametrize("folds", [0, 1, False, 2.5])
def test_folds_are_checked_before_any_work(folds: Any) -> None:
    for judge in (transfer_classifier, cross_validate):
        with pytest.raises(SettingError, match="`folds`"):
            judge("no such folder", folds=folds)


def test_the_test_part_stays_out_of_it(drawn_folder: Path, lessons: list[TrainingData]) -> None:
    spec = DatasetSpec(drawn_folder, validation_fraction=0.2, test_fraction=0.2)
    beside = trained(spec, schedule=TUNED, folds=2)
    assert beside.cross_validation is not None
    tested = {*beside.record.scores["test"].names}
    assert len(tested) == 10
    assert not tested & {*beside.cross_validation.scores.names}
    assert len(beside.cross_validation.scores.names) == 38
    of_test = [n for n, e in enumerate(spec.listing().examples) if e.name in tested]
    for data in lessons:
        assert data.viewed is not None
        seen = np.concatenate([data.train, data.validation, data.viewed])
        assert not np.isin(seen, of_test).any()


def test_a_small_share_may_choose_the_epoch(
    drawn_folder: Path, lessons: list[TrainingData]
) -> None:
    spec = DatasetSpec(drawn_folder, validation_fraction=0.01)
    cross_validate(
        spec, backbone=TINY, schedule=FineTuneSchedule(head=GradientHead(epochs=1)), folds=2
    )
    assert [len(data.validation) for data in lessons] == [2, 2]


def test_a_metric_that_folds_lack_is_left_out(judged: CrossValidation) -> None:
    nobody = judged.recounted(1.0)  # called positive: no precision
    assert math.isnan(nobody.mean("precision"))
    assert math.isnan(nobody.spread("precision"))
    with pytest.raises(SettingError, match="did you mean 'accuracy'"):
        judged.mean("acuracy")


def test_another_threshold_counts_everything_anew(judged: CrossValidation) -> None:
    careful = judged.recounted(0.9, used_to_choose=["the threshold"])
    said = judged.scores.probabilities >= 0.9
    assert careful.evaluation.true_positives == said[np.array(judged.scores.labels) == 1].sum()
    assert {fold.threshold for fold in careful.folds} == {0.9}
    assert "These images were used to choose the threshold" in str(careful)
    assert careful.recounted(0.5) == judged


@pytest.mark.parametrize(
    "change",
    [
        lambda config: config["fold_numbers"].pop(),
        lambda config: config["fold_numbers"].__setitem__(0, 7),
        lambda config: config["fold_numbers"].__setitem__(0, -1),
        lambda config: config["folds"].pop(),
        lambda config: config["evaluation"].update(true_positives=3),
    ],
)
def test_what_does_not_add_up_is_refused(judged: CrossValidation, change: Any) -> None:
    config: dict[str, Any] = judged.to_config()
    change(config)
    with pytest.raises(SettingError):
        CrossValidation.from_config(config)


def test_folds_leave_the_classifier_as_it_is(drawn_folder: Path) -> None:
    """Each fold begins with the pretrained weights, and so does what follows."""
    alone = trained(drawn_folder, schedule=TUNED)
    beside = trained(drawn_folder, schedule=TUNED, folds=2)
    spec = DatasetSpec(drawn_folder, validation_fraction=0.2)
    crossed = cross_validate(spec, backbone=TINY, schedule=TUNED, folds=2)
    assert beside.history.phases[1].validation_loss == alone.history.phases[1].validation_loss
    pairs = zip(alone.model.weights[:-2], beside.model.weights[:-2], strict=True)
    assert all(np.array_equal(one.numpy(), other.numpy()) for one, other in pairs)
    assert beside.cross_validation == crossed
    assert alone.cross_validation is None


def test_what_calibrates_what(drawn_folder: Path) -> None:
    """An exact head by its own folds; a fine-tuned network only where it was fine-tuned by folds."""
    head = trained(drawn_folder)
    assert head.calibration is not None
    assert head.calibration.count == len(head.record.training_names)
    assert head.record.scores["out-of-fold"].names == head.record.training_names
    alone, beside = (trained(drawn_folder, schedule=BETTER, folds=folds) for folds in (None, 2))
    assert alone.history.kept == beside.history.kept == 1
    assert alone.calibration is None
    assert "out-of-fold" not in alone.record.scores
    assert beside.calibration is not None
    assert beside.calibration.count == len(beside.record.training_names)
    assert beside.cross_validation is not None
    assert beside.record.scores["out-of-fold"] == beside.cross_validation.scores


def test_calibration_is_folded_into_the_last_layer(
    drawn_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import keras

    plain = trained(drawn_folder)
    line = Calibration(slope=0.25, intercept=1.5, count=38)
    monkeypatch.setattr("tlkit.training.recording.fit_calibration", lambda *_, **__: line)
    moved = trained(drawn_folder)
    assert plain.calibration is not None
    raw = plain.calibration.undo(plain.record.scores["validation"].logits)
    assert np.allclose(moved.record.scores["validation"].logits, line.apply(raw), atol=1e-5)
    moved.save(tmp_path / "moved.keras")
    name = tmp_path / "moved.keras"
    images = np.random.default_rng(0).integers(256, size=(5, 32, 32, 3)).astype("float32")
    probabilities = keras.saving.load_model(name).predict(images, verbose=0)[:, 0]
    assert np.allclose(moved.predict_proba(images), probabilities, atol=1e-6)
    again = TransferClassifier.load(name)
    assert again.calibration == line
    assert again.record == moved.record


def test_doubtful_labels_are_found(drawn_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(drawn_folder, tmp_path / "copy")
    wrong = tmp_path / "copy" / "not disc" / "wrong.jpg"
    (tmp_path / "copy" / "disc" / "03.jpg").rename(wrong)
    result = cross_validate(tmp_path / "copy", backbone=TINY, folds=6)
    issues = find_label_issues(result)
    assert len(issues) == 48
    assert len({issue.name for issue in issues}) == 48
    first = [issue for issue in issues[:3] if issue.name == "not disc/wrong.jpg"]
    assert [(issue.given, issue.suggested) for issue in first] == [("not disc", "disc")]


def test_a_classifier_has_nothing_to_say_of_labels_that_it_learned(drawn_folder: Path) -> None:
    with pytest.raises(SettingError, match="folds=5"):
        find_label_issues(trained(drawn_folder, schedule=BETTER))
    assert len(find_label_issues(trained(drawn_folder))) == 38
    everything = DatasetSpec(drawn_folder, validation_fraction=0)
    assert len(find_label_issues(trained(everything))) == 48
