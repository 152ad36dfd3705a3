"""Who learns and who judges: folds on small folders, a validation split where it is wanted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tlkit import (
    BackboneAdapter,
    DatasetSpec,
    ExactHead,
    FineTuneSchedule,
    GradientHead,
    Phase,
    ThresholdGoal,
    TransferClassifier,
    cross_validate,
    split_dataset,
    transfer_classifier,
)
from tlkit.data.split import assign_folds
from tlkit.errors import SettingError, TlkitWarning
from tlkit.evaluation.log_loss import log_losses
from tlkit.images.decoder import read_image
from tlkit.training import cross_validation, division
from tlkit.training.head import fit_head

TINY = BackboneAdapter("tiny_random")
PHASES = FineTuneSchedule(
    phases=(Phase(unfreeze_fraction=0.3, epochs=3, views=1, learning_rate=1e-3, patience=None),)
)


USUAL: dict[str, Any] = {"backbone": TINY}


@pytest.fixture(scope="module", autouse=True)
def one_pass(passes: Path) -> None:
    """Who learns from what does not hang on the pass, so it is not made anew each time."""
    USUAL["cache_dir"] = passes


def trained(data: Path | DatasetSpec, **settings: Any) -> TransferClassifier:
    return transfer_classifier(data, **(USUAL | settings))


@pytest.fixture(scope="module")
def by_folds(drawn_folder: Path) -> TransferClassifier:
    return trained(drawn_folder)


def test_by_default_folds_judge_and_everything_is_learned_from(
    drawn_folder: Path, by_folds: TransferClassifier
) -> None:
    names = {example.name for example in DatasetSpec(drawn_folder).listing().examples}
    assert {*by_folds.record.training_names} == names
    assert by_folds.evaluation.part == "out-of-fold"
    assert by_folds.evaluation.fold_count == 5
    assert by_folds.evaluation.count == len(names)
    assert by_folds.evaluation.used_to_choose == ()
    assert {*by_folds.record.scores} == {"out-of-fold"}
    assert "out-of-fold images, 5 folds" in str(by_folds.evaluation).splitlines()[0]
    assert by_folds.test_evaluation is None


def test_the_metrics_are_those_of_cross_validation(
    drawn_folder: Path, by_folds: TransferClassifier
) -> None:
    crossed = cross_validate(drawn_folder, backbone=TINY)
    assert by_folds.cross_validation == crossed
    assert by_folds.out_of_fold == crossed.scores
    assert by_folds.evaluation.log_loss == crossed.evaluation.log_loss


def test_each_image_is_judged_by_a_head_that_has_not_seen_it(drawn_folder: Path) -> None:
    """With one fold taken out of the folder by hand, its images get the same logits from what is left."""
    crossed = cross_validate(drawn_folder, backbone=TINY)
    numbers, listing = np.array(crossed.fold_numbers), DatasetSpec(drawn_folder).listing()
    assert [example.name for example in listing.examples] == [*crossed.scores.names]
    judged = numbers == 2
    features = TINY.build().features()
    images = np.stack(
        [read_image(example.path, TINY.image_size)[0] for example in listing.examples]
    )
    rows = features.predict(images.astype("float32"), verbose=0)
    labels = listing.labels.astype(np.int64)
    names = [name for name, one in zip(crossed.scores.names, judged, strict=True) if not one]
    inner = assign_folds(labels[~judged], names, count=5, seed=0)
    widths = TINY.build().stage_widths
    head = fit_head(rows[~judged], labels[~judged], folds=inner, blocks=widths)
    by_hand = head.logits(rows[judged])
    logits = np.array(crossed.scores.logits)[judged]
    slope, intercept = np.polyfit(
        by_hand, logits, 1
    )  # calibrated by a line through the other folds
    assert slope > 0
    np.testing.assert_allclose(slope * by_hand + intercept, logits, atol=1e-3)


def test_a_fraction_or_ready_made_validation_images_stay_a_validation_split(
    drawn_folder: Path,
) -> None:
    classifier = trained(DatasetSpec(drawn_folder, validation_fraction=0.25))
    assert classifier.evaluation.part == "validation"
    assert classifier.evaluation.count == 12
    assert len(classifier.record.training_names) == 36
    assert classifier.cross_validation is None
    beside = trained(DatasetSpec(drawn_folder, validation_fraction=0.25), folds=3)
    assert beside.evaluation.part == "validation"
    assert beside.cross_validation is not None
    assert beside.cross_validation.evaluation.fold_count == 3
    assert beside.evaluation.log_loss == pytest.approx(classifier.evaluation.log_loss, abs=1e-6)


@pytest.mark.parametrize(
    ("fraction", "folds", "count"), [(None, 3, 3), (0.0, 4, 4), (0.0, None, 5)]
)
def test_folds_as_many_as_asked_for(
    drawn_folder: Path, fraction: float | None, folds: int | None, count: int
) -> None:
    spec = DatasetSpec(drawn_folder, validation_fraction=fraction)
    classifier = trained(spec, folds=folds)
    assert classifier.evaluation.fold_count == count
    assert len(classifier.record.training_names) == 48


def test_the_test_split_depends_on_nothing_else(drawn_folder: Path) -> None:
    def tested(fraction: float | None, **settings: Any) -> tuple[str, ...]:
        spec = DatasetSpec(drawn_folder, validation_fraction=fraction, test_fraction=0.25, seed=3)
        return trained(spec, **settings).record.scores["test"].names

    first = tested(None)
    assert len(first) == 12
    assert tested(0.2) == tested(0.5) == tested(0.0) == tested(None, folds=3) == first
    spec = DatasetSpec(drawn_folder, test_fraction=0.25, seed=3)
    assert {example.name for example in split_dataset(spec)["test"]} == {*first}


def test_test_images_teach_and_choose_nothing(drawn_folder: Path) -> None:
    classifier = trained(DatasetSpec(drawn_folder, test_fraction=0.25))
    tested = {*classifier.record.scores["test"].names}
    assert tested.isdisjoint(classifier.record.training_names)
    assert tested.isdisjoint(classifier.record.scores["out-of-fold"].names)
    assert classifier.evaluation.count == 36
    assert classifier.test_evaluation is not None
    assert classifier.test_evaluation.count == 12


def test_a_large_folder_takes_a_validation_split(
    drawn_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(division, "FOLDS_AT_MOST", 40)
    assert trained(drawn_folder).evaluation.part == "validation"


def test_splits_for_people_with_a_loop_of_their_own_keep_a_fifth(drawn_folder: Path) -> None:
    parts = split_dataset(drawn_folder)
    assert [len(parts[name]) for name in ("train", "validation", "test")] == [38, 10, 0]


def test_images_judged_again_say_what_they_were_used_to_choose(
    drawn_folder: Path, tmp_path: Path
) -> None:
    """Whoever evaluates the training folder gets its validation images, which chose the epoch."""
    classifier = trained(drawn_folder, schedule=FineTuneSchedule(head=GradientHead(epochs=2)))
    with pytest.warns(TlkitWarning, match="left out"):
        again = classifier.evaluate(drawn_folder)
    assert again.count == classifier.evaluation.count
    assert again.used_to_choose == classifier.evaluation.used_to_choose
    assert "choose which epoch" in str(again)
    elsewhere = tmp_path / "elsewhere"
    for example in DatasetSpec(drawn_folder).listing().examples[::3]:
        place = elsewhere / example.class_name / example.path.name
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.open(example.path).rotate(180).save(place)
    assert classifier.evaluate(elsewhere).used_to_choose == ()


def test_a_gradient_head_needs_a_validation_split(drawn_folder: Path) -> None:
    schedule = FineTuneSchedule(head=GradientHead(epochs=1))
    classifier = trained(drawn_folder, schedule=schedule)
    assert classifier.evaluation.part == "validation"
    assert classifier.record.backbone["features"] == "last"
    with pytest.raises(SettingError, match="validation_fraction"):
        trained(DatasetSpec(drawn_folder, validation_fraction=0), schedule=schedule)


def test_phases_without_a_validation_split_stop_where_the_folds_say(drawn_folder: Path) -> None:
    classifier = trained(drawn_folder, schedule=PHASES, folds=2)
    assert classifier.evaluation.part == "out-of-fold"
    assert "whether to fine-tune" in classifier.evaluation.used_to_choose
    assert len(classifier.record.training_names) == 48
    for phase in classifier.history.phases[1:]:
        assert phase.difference is not None
        assert phase.difference.count == 48
        assert 1 <= len(phase.loss) <= 3
        assert phase.best_epoch == len(phase.loss) - 1
    kept = classifier.history.kept
    better = [
        phase.difference.is_better for phase in classifier.history.phases[1:] if phase.difference
    ]
    assert bool(kept) == any(better)


def test_where_no_phase_pays_the_head_learns_from_all_images(drawn_folder: Path) -> None:
    """What was kept from learning for the phases comes back: never less than the head alone."""
    harmful = Phase(unfreeze_fraction=0.3, epochs=1, views=1, learning_rate=10.0, weight_decay=0)
    data = DatasetSpec(drawn_folder, test_fraction=0.25)
    tuned = trained(data, schedule=FineTuneSchedule(phases=(harmful,)))
    alone = trained(data, schedule=FineTuneSchedule.head_only())
    assert tuned.history.kept == 0
    assert len(tuned.record.training_names) == 36
    assert tuned.record.scores == alone.record.scores
    assert tuned.evaluation.log_loss == alone.evaluation.log_loss
    image = data.listing().examples[0].path
    assert tuned.predict(image).logit == alone.predict(image).logit
    difference = tuned.history.phases[1].difference
    assert difference is not None
    assert (difference.count, difference.is_better) == (10, False)
    assert "whether to fine-tune" in tuned.evaluation.used_to_choose
    with pytest.warns(TlkitWarning, match="left out 36"):
        tested = tuned.evaluate(drawn_folder)
    assert (tested.count, tested.used_to_choose) == (12, ())  # those that chose are left out
    with pytest.warns(TlkitWarning, match="flatter it"):
        everything = tuned.evaluate(drawn_folder, include_training=True)
    assert "whether to fine-tune" in everything.used_to_choose
    asked = trained(
        DatasetSpec(drawn_folder, validation_fraction=0.2),
        schedule=FineTuneSchedule(phases=(harmful,)),
    )
    assert asked.evaluation.part == "validation"


def test_what_a_fold_found_is_not_computed_again(
    drawn_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folds: list[int] = []

    class Killed(BaseException):
        pass

    original = cross_validation._one_fold

    def counted(*args: Any) -> Any:
        folds.append(1)
        if len(folds) == 3:
            raise Killed
        return original(*args)

    monkeypatch.setattr(cross_validation, "_one_fold", counted)
    with pytest.raises(Killed):
        trained(drawn_folder, checkpoint_dir=tmp_path)
    resumed = trained(drawn_folder, checkpoint_dir=tmp_path)
    assert len(folds) == 3 + 3  # two were there, three were left
    fresh = trained(drawn_folder)
    assert resumed.record.scores == fresh.record.scores


def test_one_scale_for_thresholds_metrics_and_tables(by_folds: TransferClassifier) -> None:
    """A threshold chosen for a recall reaches it in every count of the same images."""
    moved = by_folds.with_threshold(ThresholdGoal.recall(0.9))
    choice = moved.record.threshold_choice
    assert choice is not None
    assert choice.part == "out-of-fold"
    scores = moved.record.scores["out-of-fold"]
    positive = np.array(scores.labels) == 1
    recall = float(np.mean(scores.probabilities[positive] >= moved.threshold))
    assert recall >= 0.9
    assert moved.evaluation.recall == pytest.approx(recall)
    assert moved.cross_validation is not None
    assert moved.cross_validation.evaluation.recall == pytest.approx(recall)


def test_class_weights_count_wherever_something_is_chosen(drawn_folder: Path) -> None:
    """The history of a weighted training has the weighted loss on both sides."""
    weighted = FineTuneSchedule(class_weight=(1.0, 9.0))
    spec = DatasetSpec(drawn_folder, validation_fraction=0.25)
    classifier = trained(spec, schedule=weighted)
    scores = classifier.record.scores["validation"]
    line = classifier.calibration
    logits = np.array(scores.logits)
    raw = line.undo(logits) if line else logits
    labels = np.array(scores.labels)
    weights = np.where(labels == 1, 9.0, 1.0)
    expected = float(weights @ log_losses(labels, raw) / weights.sum())
    assert classifier.history.phases[0].validation_loss[0] == pytest.approx(expected, abs=1e-4)


def test_a_given_strength_is_judged_on_images_not_learned_from(drawn_folder: Path) -> None:
    """And its history does not call the loss on what it learned the validation loss."""
    schedule = FineTuneSchedule(head=ExactHead(l2=1e-6))  # learns everything by heart
    classifier = transfer_classifier(drawn_folder, backbone=TINY, schedule=schedule)
    (head,) = classifier.history.phases
    crossed = classifier.cross_validation
    assert crossed is not None
    assert head.loss[0] < 0.01
    assert head.validation_loss[0] > 2 * head.loss[0]
    assert head.validation_accuracy[0] == pytest.approx(crossed.evaluation.accuracy.value, abs=0.05)
