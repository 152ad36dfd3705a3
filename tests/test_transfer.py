"""The whole flow on a small folder: right, repeatable, resumable, and plain about bad input."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import hostile
import keras
import numpy as np
import pytest
from PIL import Image
from test_duplicates import camera, jpeg, photograph

from tlkit import (
    AugmentationPolicy,
    BackboneAdapter,
    DatasetSpec,
    ExactHead,
    FineTuneSchedule,
    GradientHead,
    Phase,
    TransferClassifier,
    transfer_classifier,
)
from tlkit.errors import (
    AuditWarning,
    BadFileWarning,
    DatasetError,
    ImageError,
    SettingError,
    ShortcutWarning,
    TlkitWarning,
)

SHORT = FineTuneSchedule(phases=(Phase(unfreeze_fraction=0.3, epochs=2, views=2),))
HEAD_ONLY = FineTuneSchedule.head_only()


def tiny(data: DatasetSpec | Path, **settings: Any) -> TransferClassifier:
    settings = {"schedule": HEAD_ONLY, "backbone": BackboneAdapter("tiny_random")} | settings
    spec = data if isinstance(data, DatasetSpec) else DatasetSpec(data, validation_fraction=0.2)
    return transfer_classifier(spec, **settings)


def weights_of(classifier: TransferClassifier) -> list[Any]:
    return [weight.numpy() for weight in classifier.model.weights]


def same(one: TransferClassifier, other: TransferClassifier) -> bool:
    """Whether weights and probabilities are equal to the last bit."""
    pairs = zip(weights_of(one), weights_of(other), strict=True)
    return one.record.scores == other.record.scores and all(np.array_equal(*pair) for pair in pairs)


def test_the_validation_part_is_what_the_split_says(drawn_folder: Path) -> None:
    classifier = tiny(DatasetSpec(drawn_folder, validation_fraction=0.25, test_fraction=0.25))
    validation = classifier.record.scores["validation"]
    test = classifier.record.scores["test"]
    training = classifier.record.training_names
    assert [len(validation.names), len(test.names), len(training)] == [12, 12, 24]
    assert not {*validation.names} & {*training}
    assert not {*test.names} & {*training, *validation.names}
    for scores in (validation, test):
        assert scores.labels == tuple(int(name.startswith("disc/")) for name in scores.names)
    assert classifier.evaluation.count == 12
    assert classifier.evaluation.accuracy > 0.75


def test_the_evaluation_is_what_predict_says(drawn_folder: Path) -> None:
    for schedule in (HEAD_ONLY, SHORT):
        classifier = tiny(drawn_folder, schedule=schedule)
        scores = classifier.record.scores["validation"]
        predictions = classifier.predict([drawn_folder / name for name in scores.names])
        logits = [prediction.logit for prediction in predictions]
        assert logits == pytest.approx(scores.logits, abs=1e-4)


@pytest.mark.parametrize("schedule", [HEAD_ONLY, SHORT])
def test_the_same_seed_gives_the_same_bits(drawn_folder: Path, schedule: FineTuneSchedule) -> None:
    assert same(tiny(drawn_folder, schedule=schedule), tiny(drawn_folder, schedule=schedule))


def test_fine_tuning_may_only_help(drawn_folder: Path) -> None:
    ruinous = FineTuneSchedule(
        phases=(Phase(unfreeze_fraction=0.3, epochs=1, learning_rate=10.0, views=1),)
    )
    classifier = tiny(drawn_folder, schedule=ruinous)
    history = classifier.history
    assert history.phases[1].best_validation_loss > history.phases[0].best_validation_loss
    assert history.kept == 0
    assert "Kept the head" in history.reason
    head = tiny(drawn_folder)
    assert classifier.evaluation.log_loss == pytest.approx(head.evaluation.log_loss, abs=1e-5)
    for one, other in zip(weights_of(classifier), weights_of(head), strict=True):
        assert np.allclose(one, other, atol=1e-6)


def test_phases_are_counted_and_explained(drawn_folder: Path) -> None:
    schedule = FineTuneSchedule(
        head=GradientHead(epochs=3, views=2),
        phases=(
            Phase(unfreeze_fraction=0.2, epochs=1, views=2),
            Phase(unfreeze_fraction=0.5, epochs=2, views=2),
        ),
    )
    classifier = tiny(drawn_folder, schedule=schedule)
    head, first, second = classifier.history.phases
    assert [head.name, first.name, second.name] == ["head", "fine-tuning 1", "fine-tuning 2"]
    assert [len(phase.loss) for phase in (head, first, second)] == [3, 1, 2]
    total = classifier.model.count_params()
    assert {p.trainable_parameters + p.frozen_parameters for p in (head, first, second)} == {total}
    assert head.trainable_parameters == classifier.model.get_layer("logit").count_params()
    assert head.trainable_parameters < first.trainable_parameters < second.trainable_parameters
    assert "These images were used to choose" in str(classifier.evaluation)
    assert classifier.record.augmentation == AugmentationPolicy.standard().to_config()


def test_class_weights_move_the_probabilities(drawn_folder: Path) -> None:
    def mean(weights: tuple[float, float] | None) -> float:
        schedule = FineTuneSchedule(class_weight=weights)
        logits = tiny(drawn_folder, schedule=schedule).record.scores["validation"].logits
        return float(np.mean(logits))

    assert mean((1.0, 20.0)) > mean(None) > mean((20.0, 1.0))


def test_ready_made_parts_are_kept(drawn_folder: Path, tmp_path: Path) -> None:
    for part, numbers in (("train", range(18)), ("valid", range(18, 24))):
        for class_name in ("disc", "not disc"):
            (tmp_path / part / class_name).mkdir(parents=True)
            for number in numbers:
                name = f"{number:02d}.jpg"
                shutil.copy(drawn_folder / class_name / name, tmp_path / part / class_name / name)
    classifier = tiny(tmp_path)
    assert {name.split("/")[0] for name in classifier.record.training_names} == {"train"}
    assert {n.split("/")[0] for n in classifier.record.scores["validation"].names} == {"valid"}
    assert classifier.evaluation.count == 12


def test_groups_stay_on_one_side_and_are_written_down(drawn_folder: Path) -> None:
    def pair(path: Path) -> str:
        return f"{path.parent.name}-{int(path.stem) // 2}"

    classifier = tiny(DatasetSpec(drawn_folder, validation_fraction=0.2, group_by=pair))
    validation = classifier.record.scores["validation"].names
    assert {pair(Path(name)) for name in validation}.isdisjoint(
        pair(Path(name)) for name in classifier.record.training_names
    )
    groups = classifier.record.dataset["group_by"]
    assert isinstance(groups, dict)
    assert groups["disc/05.jpg"] == "disc-2"


def test_bad_files_are_named_everywhere(drawn_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "images"
    shutil.copytree(drawn_folder, folder)
    (folder / "disc" / "04.jpg").write_bytes(b"")
    with pytest.warns(BadFileWarning, match=r"1 file .*\n.*disc.04\.jpg: the file is empty"):
        classifier = tiny(folder)
    assert [Path(file.path).name for file in classifier.bad_files] == ["04.jpg"]
    assert "disc/04.jpg" not in classifier.record.training_names
    with pytest.raises(ImageError, match=r"04\.jpg"):
        tiny(DatasetSpec(folder, on_bad_file="raise"))


def test_a_folder_of_unreadable_files_says_so(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "one.jpg").write_bytes(b"?")
    with (
        pytest.warns(BadFileWarning),
        pytest.raises(DatasetError, match=r"none of the 2 files .* can be read"),
    ):
        tiny(tmp_path)


def test_augmentation_beside_a_schedule_without_views_changes_nothing(drawn_folder: Path) -> None:
    classifier = tiny(drawn_folder, augmentation=AugmentationPolicy.course())
    assert classifier.record.augmentation is None
    assert same(classifier, tiny(drawn_folder))


def test_an_unknown_layer_is_named_with_near_ones(drawn_folder: Path) -> None:
    schedule = FineTuneSchedule(phases=(Phase(unfreeze_from="block_2_expan"),))
    with pytest.raises(SettingError, match="did you mean 'block_2_expand'"):
        tiny(drawn_folder, schedule=schedule)


def test_a_second_run_with_a_cache_builds_no_network(
    drawn_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = tiny(drawn_folder, cache_dir=tmp_path)
    with monkeypatch.context() as patch:

        def build(_self: BackboneAdapter) -> NoReturn:
            pytest.fail("the network was built, although nothing needed it")

        patch.setattr(BackboneAdapter, "build", build)
        second = tiny(drawn_folder, cache_dir=tmp_path)
        assert second.evaluation == first.evaluation
    assert same(first, second)
    assert second.predict(drawn_folder / "disc" / "00.jpg").label == "disc"


def test_a_cache_serves_fine_tuning_too(drawn_folder: Path, tmp_path: Path) -> None:
    plain = tiny(drawn_folder, schedule=SHORT)
    for _ in range(2):
        assert same(plain, tiny(drawn_folder, schedule=SHORT, cache_dir=tmp_path))


def test_a_checkpoint_of_another_run_is_refused(drawn_folder: Path, tmp_path: Path) -> None:
    tiny(drawn_folder, checkpoint_dir=tmp_path)
    with pytest.raises(SettingError, match="seed was 0, now 1"):
        tiny(drawn_folder, checkpoint_dir=tmp_path, seed=1)
    with pytest.raises(SettingError, match="schedule: phases was "):
        tiny(drawn_folder, checkpoint_dir=tmp_path, schedule=SHORT)
    settings = json.loads((tmp_path / "settings.json").read_text())
    (tmp_path / "settings.json").write_text(json.dumps(settings | {"tlkit": "0.0.1"}))
    with pytest.raises(SettingError, match=r"tlkit was \"0\.0\.1\""):
        tiny(drawn_folder, checkpoint_dir=tmp_path)


def test_a_model_of_the_users_own_works_and_is_not_touched(drawn_folder: Path) -> None:
    keras.utils.set_random_seed(3)
    inputs = keras.Input((24, 24, 3))
    scaled = keras.layers.Rescaling(1 / 255)(inputs)
    hidden = keras.layers.Conv2D(8, 3, strides=2, activation="relu")(scaled)
    model = keras.Model(inputs, keras.layers.Conv2D(16, 3, strides=2, activation="relu")(hidden))
    before = [weight.numpy() for weight in model.weights]
    schedule = FineTuneSchedule(phases=(Phase(unfreeze_fraction=0.3, epochs=2, views=1),))
    classifier = tiny(drawn_folder, backbone=BackboneAdapter(model), schedule=schedule)
    assert all(map(np.array_equal, before, [weight.numpy() for weight in model.weights]))
    assert classifier.image_size == (24, 24)
    assert "description" in classifier.record.backbone


def test_the_course_recipe_has_the_courses_parameter_counts(drawn_folder: Path) -> None:
    course = FineTuneSchedule.course()
    assert isinstance(course.head, GradientHead)
    short = replace(
        course,
        head=replace(course.head, epochs=1),
        phases=(replace(course.phases[0], epochs=1),),
    )
    backbone = BackboneAdapter("MobileNetV2", image_size=(96, 96), weights=None)
    head, tuned = tiny(drawn_folder, backbone=backbone, schedule=short).history.phases
    assert (head.trainable_parameters, head.frozen_parameters) == (1_281, 2_257_984)
    assert tuned.trainable_parameters + tuned.frozen_parameters == 2_259_265
    norms = 0
    for layer in backbone.build().base.layers[120:]:
        kept = not isinstance(layer, keras.layers.BatchNormalization)
        norms += layer.count_params() if kept else 0
    assert tuned.trainable_parameters == norms + 1_281


def test_a_shared_cache_tells_folders_apart(drawn_folder: Path, tmp_path: Path) -> None:
    """Files of equal names, sizes and times in two folders are still other files."""
    for name, order in (("one", ("disc", "not disc")), ("two", ("not disc", "disc"))):
        for target, source in zip(("a", "b"), order, strict=True):
            (tmp_path / name / target).mkdir(parents=True)
            for path in sorted((drawn_folder / source).iterdir()):
                with Image.open(path) as image:
                    copy = tmp_path / name / target / f"{path.stem}.bmp"
                    image.save(copy)
                os.utime(copy, (1_000_000_000, 1_000_000_000))
    cached = [tiny(tmp_path / name, cache_dir=tmp_path / "cache") for name in ("one", "two")]
    assert same(cached[1], tiny(tmp_path / "two"))
    assert not same(*cached)


def test_bad_files_from_a_cache_are_spelled_as_in_this_run(
    drawn_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "images"
    shutil.copytree(drawn_folder, folder)
    (folder / "disc" / "04.jpg").write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    for spelling in (folder, Path("images")):
        with pytest.warns(BadFileWarning):
            classifier = tiny(spelling, cache_dir=tmp_path / "cache")
        assert classifier.bad_files[0].path == str(spelling / "disc" / "04.jpg")
    assert [p.path for p in classifier.audit.of_kind("unreadable")] == ["disc/04.jpg"]


def test_leaks_between_ready_made_parts_are_said_aloud(drawn_folder: Path, tmp_path: Path) -> None:
    for part in ("train", "val"):
        shutil.copytree(drawn_folder, tmp_path / part)
    with pytest.warns(AuditWarning, match=r"48 images are in two splits: .*the first:"):
        tiny(tmp_path)


def twelve_bits(drawn_folder: Path, folder: Path) -> Path:
    """The drawn images as microscopes store them: 12 bits of grey in PNGs of 16."""
    for path in drawn_folder.rglob("*.jpg"):
        with Image.open(path) as image:
            values = np.asarray(image.convert("L")).astype(np.uint16) * 16
        target = folder / path.relative_to(drawn_folder).with_suffix(".png")
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(values).save(target)
    return folder


def test_values_that_use_a_small_part_of_their_range_are_said_aloud(
    drawn_folder: Path, tmp_path: Path
) -> None:
    folder = twelve_bits(drawn_folder, tmp_path / "scans")
    with pytest.warns(AuditWarning) as caught:
        tiny(folder)
    (said,) = [str(w.message) for w in caught if not isinstance(w.message, ShortcutWarning)]
    assert "48 of 48 images have hardly any contrast: their values go from" in said
    assert "0 to 65,535 are read as black to white" in said
    assert "DatasetSpec(…, value_range=(0, 4095)), or --value-range 0 4095" in said


def test_the_range_of_values_travels_with_the_classifier(
    drawn_folder: Path, tmp_path: Path
) -> None:
    folder = twelve_bits(drawn_folder, tmp_path / "scans")
    spec = DatasetSpec(folder, validation_fraction=0.2, value_range=(0, 4080))  # 255 times 16
    classifier = tiny(spec)
    assert "low-contrast" not in classifier.audit.totals
    classifier.save(tmp_path / "scans.keras")
    again = TransferClassifier.load(tmp_path / "scans.keras")
    assert again.value_range == (0, 4080)
    scan = folder / "disc" / "03.png"
    with Image.open(scan) as image:
        plain = np.repeat((np.asarray(image) // 16).astype(np.uint8)[..., np.newaxis], 3, axis=2)
    expected = again.predict_proba(plain)
    assert again.predict(scan).probability == pytest.approx(expected[0], abs=1e-6)
    with pytest.warns(TlkitWarning, match="left out 38 of the 48"):
        assert again.evaluate(folder).accuracy > 0.8


def test_black_images_are_said_aloud(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for number in range(24):
        folder = tmp_path / ("day", "night")[number % 2]
        folder.mkdir(exist_ok=True)
        pixels = rng.integers(0, 256 if number % 2 == 0 else 3, (48, 48, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:02d}.png")
    with pytest.warns(AuditWarning, match="12 of 24 images have hardly any contrast: look at them"):
        tiny(tmp_path)


def test_images_that_look_alike_on_both_sides_of_the_split_are_said_aloud(tmp_path: Path) -> None:
    for number, data in enumerate(camera(40, moves=3)):
        folder = tmp_path / ("whole", "scratched")[number % 2]
        folder.mkdir(exist_ok=True)
        (folder / f"{number:02d}.jpg").write_bytes(data)
    with pytest.warns(AuditWarning, match="40 images look alike") as caught:
        tiny(tmp_path)
    (said,) = [str(w.message) for w in caught if not isinstance(w.message, ShortcutWarning)]
    assert "of the 8 images that it is measured on; and there are no others" in said
    assert "`group_by`" in said
    for number in range(20):
        folder = tmp_path / ("whole", "scratched")[number % 2]
        (folder / f"other {number:02d}.jpg").write_bytes(jpeg(photograph(number, 96)))
    with pytest.warns(AuditWarning, match=r"of the 12 images .*; \d of the \d others\."):
        tiny(tmp_path)


@pytest.mark.parametrize(
    ("name", "value", "hint"),
    [
        ("backbone", "MobileNetV2", r"BackboneAdapter\('MobileNetV2'\)"),
        ("schedule", "course", r"FineTuneSchedule\.standard\(\)"),
        ("schedule", FineTuneSchedule.head_only, r"FineTuneSchedule\.standard\(\)"),
        ("augmentation", "strong", r"AugmentationPolicy\.standard\(\)"),
    ],
)
def test_a_piece_of_the_wrong_kind(drawn_folder: Path, name: str, value: object, hint: str) -> None:
    with pytest.raises(SettingError, match=f"`{name}` must be a .*{hint}"):
        tiny(drawn_folder, **{name: value})


def test_a_head_that_chose_its_epoch_says_so(drawn_folder: Path) -> None:
    schedule = FineTuneSchedule(head=GradientHead(epochs=2, views=1))
    assert tiny(drawn_folder, schedule=schedule).evaluation.used_to_choose
    assert not tiny(drawn_folder).evaluation.used_to_choose


def test_two_images_a_class_need_a_given_strength(tmp_path: Path, drawn_folder: Path) -> None:
    for class_name in ("disc", "not disc"):
        (tmp_path / class_name).mkdir()
        for name in ("00.jpg", "01.jpg"):
            shutil.copy(drawn_folder / class_name / name, tmp_path / class_name / name)
    spec = DatasetSpec(tmp_path, validation_fraction=0.5)
    with pytest.raises(DatasetError, match="at least 2 different images of each class"):
        tiny(spec)
    given = FineTuneSchedule(head=ExactHead(l2=0.01))
    assert tiny(spec, schedule=given).evaluation.count == 2


def test_training_finishes_on_a_hostile_folder(drawn_folder: Path, tmp_path: Path) -> None:
    """Every broken file that people have is left out by name; everything readable is used."""
    folder = tmp_path / "images"
    shutil.copytree(drawn_folder, folder)
    cases = hostile.write(folder / "disc")
    before = {path: path.lstat().st_size for path in folder.rglob("*")}
    broken = {path for path, case in cases.items() if case.listed and not case.readable}
    with (
        pytest.warns(
            AuditWarning, match="images look alike"
        ),  # all the readable ones show one image
        pytest.warns(BadFileWarning, match=f"left out {len(broken)} files"),
    ):
        classifier = tiny(folder)
    assert {Path(file.path) for file in classifier.bad_files} == broken
    used = {*classifier.record.training_names, *classifier.record.scores["validation"].names}
    readable = {path for path, case in cases.items() if case.listed and case.readable}
    assert {path.relative_to(folder).as_posix() for path in readable} <= used
    assert len(used) == 48 + len(readable)
    classifier.save(tmp_path / "discs.keras")
    again = TransferClassifier.load(tmp_path / "discs.keras")
    assert again.bad_files == classifier.bad_files
    assert again.audit.totals["unreadable"] == len(broken)
    assert {path: path.lstat().st_size for path in folder.rglob("*")} == before
