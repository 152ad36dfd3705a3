"""Is the new classifier better than the old one? Both on the same images, and where they disagree."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pytest

from tlkit import (
    BackboneAdapter,
    DatasetSpec,
    ExactHead,
    FineTuneSchedule,
    PairedEvaluation,
    TransferClassifier,
    transfer_classifier,
)
from tlkit.cli import main
from tlkit.errors import BadFileWarning, DatasetError, SettingError
from tlkit.evaluation.evaluate import Evaluation, evaluate

Floats: TypeAlias = npt.NDArray[np.float64]

POOR = FineTuneSchedule(head=ExactHead(l2=1e4))
"""A head held so tightly that it hardly leaves the share of the classes."""


@pytest.fixture(scope="module")
def old(drawn_folder: Path) -> TransferClassifier:
    return transfer_classifier(
        DatasetSpec(drawn_folder, validation_fraction=0.4, seed=3, positive_class="not disc"),
        backbone=BackboneAdapter("tiny_random"),
        schedule=POOR,
    )


@pytest.fixture(scope="module")
def fresh(drawn_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images that nobody has learned from: those of the drawn folder turned round."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("fresh")
    for file in sorted(drawn_folder.rglob("*.jpg")):
        target = folder / file.relative_to(drawn_folder).with_suffix(".png")
        target.parent.mkdir(exist_ok=True)
        with Image.open(file) as image:
            image.transpose(Image.Transpose.ROTATE_90).save(target)
    return folder


def test_both_are_measured_as_each_is_alone(
    classifier: TransferClassifier, old: TransferClassifier, fresh: Path
) -> None:
    found = classifier.evaluate(fresh, against=old)
    assert found.new == classifier.evaluate(fresh)
    assert found.old == old.evaluate(fresh)
    assert found.old.positive_class == "not disc"
    difference = found.new.log_loss - found.old.log_loss
    assert found.log_loss_difference.mean == pytest.approx(difference)
    assert found.accuracy_difference.value == pytest.approx(found.new.accuracy - found.old.accuracy)
    assert (found.new_learned_count, found.old_learned_count) == (0, 0)


def test_a_better_one_is_called_so_and_a_worse_one_too(
    classifier: TransferClassifier, old: TransferClassifier, fresh: Path
) -> None:
    assert "new one is better" in classifier.evaluate(fresh, against=old).verdict
    assert "old one is better" in old.evaluate(fresh, against=classifier).verdict
    same = classifier.evaluate(fresh, against=classifier)
    assert "cannot tell" in same.verdict
    assert same.disagreements == ()
    assert "every image into the same class" in str(same)


def test_they_disagree_where_their_predictions_do(
    classifier: TransferClassifier, old: TransferClassifier, fresh: Path
) -> None:
    careful = old.with_threshold(0.9)
    found = classifier.evaluate(fresh, against=careful)
    expected = {}
    for file in sorted(fresh.rglob("*.png")):
        new, before = classifier.predict(file), careful.predict(file)
        if new.label != before.label:
            expected[file.relative_to(fresh).as_posix()] = new.label == file.parent.name
    assert {one.name: one.new_is_right for one in found.disagreements} == expected
    assert len(expected) > 5
    for one in found.disagreements:
        prediction = classifier.predict(fresh / one.name)
        own = prediction.positive_class == one.class_name
        probability = prediction.probability if own else 1 - prediction.probability
        assert one.new_probability == pytest.approx(probability)
    mistakes = [one for one in found.disagreements if not one.new_is_right]
    assert found.disagreements[: len(mistakes)] == tuple(mistakes)
    assert f"disagree on {len(expected)} images" in str(found)


def test_what_either_has_learned_from_is_left_out(
    classifier: TransferClassifier, old: TransferClassifier, drawn_folder: Path
) -> None:
    learned = [{*one.record.training_names} for one in (classifier, old)]
    found = classifier.evaluate(drawn_folder, against=old)
    assert found.count == 48 - len(learned[0] | learned[1])
    assert (found.new_learned_count, found.old_learned_count) == tuple(map(len, learned))
    assert f"{len(learned[0])} of the new one's" in str(found)
    everything = classifier.evaluate(drawn_folder, against=old, include_training=True)
    assert everything.count == 48
    assert "flatter" in str(everything)
    assert str(len(learned[0] | learned[1])) in everything.new.used_to_choose[0]


def test_where_nothing_is_left_it_says_so(
    classifier: TransferClassifier, old: TransferClassifier, drawn_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "disc").mkdir()
    (tmp_path / "not disc").mkdir()
    learned = classifier.record.training_names
    for name in (*learned[:3], *learned[-3:]):
        shutil.copy(drawn_folder / name, tmp_path / name)
    with pytest.raises(DatasetError, match="fewer than two that neither"):
        classifier.evaluate(tmp_path, against=old)
    assert classifier.evaluate(tmp_path, against=old, include_training=True).count == 6


def test_a_file_that_cannot_be_read_counts_for_neither(
    classifier: TransferClassifier, old: TransferClassifier, fresh: Path, tmp_path: Path
) -> None:
    shutil.copytree(fresh, tmp_path, dirs_exist_ok=True)
    (tmp_path / "disc" / "00.png").write_bytes(b"")
    with pytest.warns(BadFileWarning, match="left out 1 file"):
        assert classifier.evaluate(tmp_path, against=old).count == 47


def test_other_classes_and_what_is_no_classifier_are_refused(
    classifier: TransferClassifier, fresh: Path, tmp_path: Path
) -> None:
    shutil.copytree(fresh, tmp_path, dirs_exist_ok=True)
    (tmp_path / "disc").rename(tmp_path / "plate")
    other = transfer_classifier(
        tmp_path, backbone=BackboneAdapter("tiny_random"), schedule=FineTuneSchedule.head_only()
    )
    with pytest.raises(SettingError, match="`against` must tell"):
        classifier.evaluate(fresh, against=other)
    with pytest.raises(SettingError, match=r"TransferClassifier\.load"):
        classifier.evaluate(fresh, against="old.keras")  # type: ignore[call-overload]


def test_it_survives_json_and_checks_itself(
    classifier: TransferClassifier, old: TransferClassifier, fresh: Path
) -> None:
    found = classifier.evaluate(fresh, against=old.with_threshold(0.9))
    assert PairedEvaluation.from_json(found.to_json()) == found
    one_less = dataclasses.replace(found.old, true_negatives=found.old.true_negatives - 1)
    with pytest.raises(SettingError, match="same images"):
        dataclasses.replace(found, old=one_less)


def test_the_interval_covers_what_many_images_say() -> None:
    """Two noisy sets of logits: the difference on few images is around that on all of them."""
    random = np.random.default_rng(0)
    easy = random.normal(2, 1.5, 20_000)
    new, old = easy + random.normal(0, 0.7, easy.size), easy + random.normal(0, 1.0, easy.size)
    truth = float(np.mean(np.logaddexp(0, -new) - np.logaddexp(0, -old)))
    covered = 0
    for _ in range(300):
        chosen = random.choice(easy.size, 60, replace=False)
        found = _counted(new[chosen], old[chosen])
        low, high = found.log_loss_difference.interval
        covered += low <= truth <= high
    assert covered / 300 > 0.91


def _counted(new: Floats, old: Floats) -> PairedEvaluation:
    names = ("a", "b")
    ones = np.ones(len(new), int)

    def metrics(logits: Floats) -> Evaluation:
        return evaluate(ones, 1 / (1 + np.exp(-logits)), class_names=names, positive_class="b")

    return PairedEvaluation.counted(
        metrics(new),
        metrics(old),
        names=[str(n) for n in range(len(new))],
        class_names=["b"] * len(new),
        new_logits=new,
        old_logits=old,
    )


def test_the_command_prints_the_same(
    classifier: TransferClassifier,
    old: TransferClassifier,
    fresh: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, one in (("new", classifier), ("old", old)):
        one.save(tmp_path / f"{name}.keras")
    words = ["evaluate", str(tmp_path / "new.keras"), str(fresh), "--against"]
    expected = classifier.evaluate(fresh, against=old)
    assert main([*words, str(tmp_path / "old.keras")]) == 0
    assert capsys.readouterr().out == f"{expected}\n"
    assert main([*words, str(tmp_path / "old.keras"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(expected.to_json())
    assert main([*words, str(tmp_path / "none.keras")]) == 1
    assert "there is no file" in capsys.readouterr().err
