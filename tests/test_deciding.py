"""A classifier that leaves images to a person: in every prediction, table, evaluation, file and export."""

from __future__ import annotations

import csv
import dataclasses
import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from test_predictions import NAMES, broken_off, runner_of

from tlkit import (
    BackboneAdapter,
    DatasetSpec,
    Prediction,
    ThresholdGoal,
    TransferClassifier,
    export,
    transfer_classifier,
    write_predictions,
)
from tlkit.classifier.classifier import with_card
from tlkit.cli.app import main
from tlkit.errors import SettingError, TlkitWarning
from tlkit.evaluation.decision_counts import UNSURE, DecisionCounts
from tlkit.evaluation.decisions import Guarantee
from tlkit.evaluation.evaluate import Evaluation
from tlkit.evaluation.scores import Scores

PROMISE = {"error": 0.2, "confidence": 0.8}  # what so few images can prove
NETWORK = ("--backbone", "tiny_random", "--schedule", "head-only")


@pytest.fixture(scope="module")
def careful(classifier: TransferClassifier, drawn_folder: Path) -> TransferClassifier:
    """A classifier that decides about half of the drawn images, whatever the folder proves."""
    logits = np.array([prediction.logit for prediction in predictions(classifier, drawn_folder)])
    reach = float(np.median(np.abs(logits)))
    guarantee = Guarantee(
        lower_logit=-reach,
        upper_logit=reach,
        threshold=0.5,
        error=0.02,
        confidence=0.9,
        part="out-of-fold",
        true_positives=50,
        false_positives=0,
        unsure_positives=50,
        true_negatives=70,
        false_negatives=0,
        unsure_negatives=50,
    )
    return with_card(classifier, classifier.card.guaranteed(guarantee))


def predictions(classifier: TransferClassifier, folder: Path) -> list[Prediction]:
    return classifier.predict(sorted(folder.rglob("*.jpg")))


def decisions_of(classifier: TransferClassifier, folder: Path) -> list[str]:
    return [prediction.decision for prediction in predictions(classifier, folder)]


# Choosing


def test_what_is_chosen_is_chosen_on_out_of_fold_logits(classifier: TransferClassifier) -> None:
    promised = classifier.with_guarantee(**PROMISE)
    guarantee, known = promised.guarantee, classifier.out_of_fold
    assert guarantee is not None
    assert known is not None
    assert (guarantee.error, guarantee.confidence, guarantee.part) == (0.2, 0.8, "out-of-fold")
    assert guarantee.count == len(known.labels) == 28
    assert guarantee.lower <= promised.threshold == classifier.threshold <= guarantee.upper
    assert classifier.guarantee is None
    by_class = classifier.with_guarantee(miss=0.3, false_alarm=0.3, confidence=0.6).guarantee
    assert by_class is not None
    assert (by_class.error, by_class.miss, by_class.false_alarm) == (None, 0.3, 0.3)


def test_a_folder_too_small_says_how_many_images_it_would_take(
    classifier: TransferClassifier,
) -> None:
    with pytest.raises(SettingError, match=r"at least 114 out-of-fold images .* there are 28"):
        classifier.with_guarantee()
    with pytest.raises(SettingError, match=r"at least 45 out-of-fold positives .* there are 14"):
        classifier.with_guarantee(miss=0.05)


def test_a_classifier_without_out_of_fold_logits_names_folds(
    classifier: TransferClassifier,
) -> None:
    card = classifier.card
    scores = {part: known for part, known in card.scores.items() if part != "out-of-fold"}
    bare = with_card(classifier, dataclasses.replace(card, scores=scores))
    with pytest.raises(SettingError, match=r"needs out-of-fold logits.* `folds=5` \(--folds 5\)"):
        bare.with_guarantee(**PROMISE)


def test_a_threshold_chosen_on_the_same_images_proves_no_error(
    classifier: TransferClassifier,
) -> None:
    chosen = classifier.with_threshold(ThresholdGoal.recall(0.9))
    with pytest.raises(SettingError, match="give it as a number first"):
        chosen.with_guarantee(**PROMISE)
    assert chosen.with_threshold(0.5).with_guarantee(**PROMISE).guarantee is not None
    by_class = chosen.with_guarantee(miss=0.3, confidence=0.6)
    assert by_class.guarantee is not None
    assert by_class.threshold == chosen.threshold
    assert by_class.record.threshold_choice == chosen.record.threshold_choice


def test_another_threshold_drops_it(careful: TransferClassifier, drawn_folder: Path) -> None:
    moved = careful.with_threshold(0.6)
    assert moved.guarantee is None
    assert moved.test_evaluation is not None
    assert moved.test_evaluation.decisions is None
    assert "unsure" not in decisions_of(moved, drawn_folder)


def test_no_class_may_be_called_like_a_decision(drawn_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(drawn_folder / "disc", tmp_path / "disc")
    shutil.copytree(drawn_folder / "not disc", tmp_path / "Unsure")
    with pytest.raises(SettingError, match=r"no class may be called 'Unsure'.* Rename its folder"):
        transfer_classifier(tmp_path, backbone=BackboneAdapter("tiny_random"))


def test_groups_are_what_counts(drawn_folder: Path) -> None:
    pairs = transfer_classifier(
        DatasetSpec(
            drawn_folder, group_by=lambda path: str(path)[:-5]
        ),  # 00.jpg to 09.jpg together
        backbone=BackboneAdapter("tiny_random"),
    )
    known = pairs.out_of_fold
    assert known is not None
    groups = {(name[:-5], group) for name, group in zip(known.names, known.groups, strict=True)}
    assert len(groups) == len({*known.groups}) == 6
    with pytest.raises(SettingError, match="there are 6,"):
        pairs.with_guarantee(**PROMISE)
    with pytest.raises(SettingError, match="there are 3,"):
        pairs.with_threshold(ThresholdGoal.recall(0.8, confidence=0.9))
    again = Scores.from_json(known.to_json())
    assert again == known
    with pytest.raises(SettingError, match="one for each image, or none"):
        Scores(names=(), labels=(1, 0), logits=(1.0, 0.0), groups=(0,))


def test_images_of_their_own_have_no_groups(classifier: TransferClassifier) -> None:
    assert classifier.record.scores["test"].groups == ()


def test_a_precision_with_a_confidence_is_chosen(classifier: TransferClassifier) -> None:
    moved = classifier.with_threshold(ThresholdGoal.precision(0.8, confidence=0.8))
    choice = moved.record.threshold_choice
    assert choice is not None
    assert choice.goal.confidence == 0.8
    assert moved.threshold_source == (
        "for precision of at least 0.8 with 80 % confidence, chosen on 28 out-of-fold images"
    )
    assert classifier.threshold_source == "not chosen on images"


# Saying


def test_predictions_say_what_is_decided(careful: TransferClassifier, drawn_folder: Path) -> None:
    assert careful.guarantee is not None
    found = predictions(careful, drawn_folder)
    for prediction in found:
        called = int(careful.guarantee.decide(prediction.logit))
        assert prediction.decision == ("unsure" if called == UNSURE else prediction.label)
        sure = prediction.probability if prediction.label == "disc" else 1 - prediction.probability
        assert prediction.confidence == pytest.approx(sure)
        assert prediction.confidence >= 0.5
        if called == UNSURE:
            assert f": unsure, rather {prediction.label} (probability of disc " in str(prediction)
    decisions = {prediction.decision for prediction in found}
    assert "unsure" in decisions
    assert len(decisions) > 1


def test_without_a_guarantee_everything_is_decided(
    classifier: TransferClassifier, drawn_folder: Path
) -> None:
    for prediction in predictions(classifier, drawn_folder):
        assert prediction.decision == prediction.label


def test_an_evaluation_counts_what_became_of_each_image(
    careful: TransferClassifier, drawn_folder: Path
) -> None:
    with pytest.warns(TlkitWarning, match="has learned from"):
        found = careful.evaluate(drawn_folder, include_training=True)
    said = {"disc": 1, "not disc": 0, "unsure": UNSURE}
    labels = [1] * 24 + [0] * 24  # "disc" comes before "not disc"
    called = [said[decision] for decision in decisions_of(careful, drawn_folder)]
    assert found.decisions == DecisionCounts.of(labels, called)
    assert found.decisions.decided_count < 48
    assert str(found.decisions) in str(found)
    rates = found.to_config()["rates"]
    assert isinstance(rates, dict)
    assert rates["decided_fraction"] == found.decisions.decided_fraction.to_config()
    assert Evaluation.from_json(found.to_json()) == found


def test_its_own_evaluations_count_too(careful: TransferClassifier) -> None:
    assert careful.guarantee is not None
    for found in (careful.evaluation, careful.test_evaluation):
        assert found is not None
        scores = careful.card.scores[found.part]
        counts = DecisionCounts.of(scores.labels, careful.guarantee.decide(scores.logits))
        assert found.decisions == counts


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_tables_name_the_class_of_a_probability_and_the_decision(
    careful: TransferClassifier, drawn_folder: Path, tmp_path: Path, suffix: str
) -> None:
    table = tmp_path / f"table{suffix}"
    summary = write_predictions(careful, drawn_folder, table)
    text = table.read_text("utf-8")
    if suffix == ".csv":
        rows = list(csv.DictReader(text.splitlines()))
    else:
        rows = [json.loads(line) for line in text.splitlines()]
    found = predictions(careful, drawn_folder)
    for row, prediction in zip(rows, found, strict=True):
        assert row["decision"] == prediction.decision
        assert float(row["confidence"]) == pytest.approx(prediction.confidence)
        of_disc = float(row["probability_of_disc"])
        assert of_disc == pytest.approx(prediction.probability)
        assert float(row["threshold"]) == 0.5
        assert row["positive_class"] == "disc"
    unsure = [row["decision"] for row in rows].count("unsure")
    assert summary.decision_counts["unsure"] == unsure > 0
    assert f"{unsure} unsure" in str(summary)


def test_parts_of_a_job_without_the_guarantee_are_refused(
    classifier: TransferClassifier, careful: TransferClassifier, tmp_path: Path
) -> None:
    table = tmp_path / "t.csv"
    broken_off(classifier, table)
    with pytest.raises(SettingError, match="unsure between was None, now"):
        write_predictions(careful, NAMES, table, resume=True, runner=runner_of(), shard_size=4)


# Keeping


def test_it_is_saved_and_copied(
    careful: TransferClassifier, drawn_folder: Path, tmp_path: Path
) -> None:
    careful.save(tmp_path / "careful.keras")
    for again in (
        TransferClassifier.load(tmp_path / "careful.keras"),
        pickle.loads(pickle.dumps(careful)),
    ):
        assert again.guarantee == careful.guarantee
        assert again.fingerprint == careful.fingerprint
        assert decisions_of(again, drawn_folder) == decisions_of(careful, drawn_folder)
    assert careful.fingerprint != careful.with_threshold(0.5).fingerprint


def test_an_export_decides_as_the_classifier_does(
    careful: TransferClassifier, drawn_folder: Path, tmp_path: Path
) -> None:
    export(careful, tmp_path / "onnx", format="onnx")
    card = json.loads((tmp_path / "onnx" / "tlkit.json").read_text())
    assert careful.guarantee is not None
    assert card["decisions"] == {
        "positive_from": careful.guarantee.upper,
        "negative_below": careful.guarantee.lower,
        "between": "unsure",
        "confidence": 0.9,
        "promise": "of the images it decides at most 2 % are wrong",
    }
    loaded = TransferClassifier.load(tmp_path / "onnx")
    assert loaded.guarantee == careful.guarantee
    logits = [prediction.logit for prediction in predictions(careful, drawn_folder)]
    bounds = careful.guarantee.lower_logit, careful.guarantee.upper_logit
    clear = [min(abs(logit - bound) for bound in bounds) > 1e-3 for logit in logits]
    both = zip(decisions_of(loaded, drawn_folder), decisions_of(careful, drawn_folder), strict=True)
    assert all(one == other for (one, other), far in zip(both, clear, strict=True) if far)
    chosen = loaded.with_guarantee(**PROMISE)
    expected = careful.with_threshold(0.5).with_guarantee(**PROMISE)
    assert chosen.guarantee == expected.guarantee


def test_a_guarantee_does_not_carry_over_to_8_bits(
    careful: TransferClassifier, tmp_path: Path
) -> None:
    exported = export(careful, tmp_path / "int8", precision="int8", tolerance=1)
    assert exported.lost_guarantee
    assert "the guarantee does not carry over to numbers of 8 bits" in str(exported)
    assert json.loads((tmp_path / "int8" / "tlkit.json").read_text())["decisions"] is None
    assert TransferClassifier.load(tmp_path / "int8").guarantee is None


# The command line


def test_the_command_line_promises_says_and_decides(
    drawn_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = str(tmp_path / "model.keras")
    words = ["train", str(drawn_folder), "-o", model, *NETWORK]
    assert main([*words, "--guarantee", "error=0.2@0.8"]) == 0
    printed = capsys.readouterr().out
    saved = TransferClassifier.load(model)
    assert saved.guarantee is not None
    assert f"\n{saved.guarantee}\n" in printed
    table = str(tmp_path / "table.csv")
    assert main(["predict", model, str(drawn_folder), "-o", table]) == 0
    assert str(saved.guarantee) in capsys.readouterr().err
    assert main(["evaluate", model, str(drawn_folder), "--include-training"]) == 0
    assert "decided alone: " in capsys.readouterr().out
    words = ["evaluate", model, str(drawn_folder), "--include-training", "--threshold", "0.5"]
    assert main(words) == 0
    assert "decided alone: " not in capsys.readouterr().out
    assert main([*words, "--guarantee", "miss=0.5,false-alarm=0.5@0.6"]) == 0
    assert "of all positives at most 50 % are called negative" in capsys.readouterr().out


def test_training_is_not_lost_to_a_promise_out_of_reach(
    drawn_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tmp_path / "model.keras"
    words = ["train", str(drawn_folder), "-o", str(model), *NETWORK, "--guarantee", "error=0.02"]
    assert main(words) == 1
    printed = capsys.readouterr()
    assert "takes at least 114 out-of-fold images" in printed.err
    assert f"saved: {model} with threshold 0.5" in printed.out
    assert TransferClassifier.load(model).guarantee is None


@pytest.mark.parametrize("promise", ["0.02", "error=x", "error=2", "error=0.1,miss=0.1"])
def test_a_promise_that_is_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], promise: str
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["train", "nothing", "-o", str(tmp_path / "m.keras"), f"--guarantee={promise}"])
    assert stopped.value.code == 2
    assert "argument --guarantee: " in capsys.readouterr().err
