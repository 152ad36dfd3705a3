"""Which network? One decode for all, the same folds, and a choice that is judged honestly."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tlkit import (
    BackboneAdapter,
    Comparison,
    DatasetSpec,
    FineTuneSchedule,
    TransferClassifier,
    compare,
    cross_validate,
    transfer_classifier,
)
from tlkit.backbones.engines import TensorFlowEngine
from tlkit.choosing import shared_pass
from tlkit.choosing.candidates import candidates_of, name_of, named
from tlkit.choosing.rule import choose
from tlkit.cli import main
from tlkit.errors import DatasetError, SettingError, TlkitError, WeightsError

HEAD = FineTuneSchedule.head_only()
SMALL = BackboneAdapter("tiny_random")
LARGE = BackboneAdapter("tiny_random", image_size=48)
POOR = BackboneAdapter("tiny_random", image_size=(16, 24), features="last")
CANDIDATES = [SMALL, LARGE, POOR]


def images_among(opened: list[str]) -> list[str]:
    return sorted(path for path in opened if path.endswith(".jpg"))


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def comparison(drawn_folder: Path, cache: Path) -> Comparison:
    return compare(drawn_folder, CANDIDATES, folds=3, cache_dir=cache)


def test_each_candidate_is_judged_as_alone(comparison: Comparison, drawn_folder: Path) -> None:
    """Metrics to the last bit: so pixels, features and folds are those of a run of its own."""
    for adapter in CANDIDATES:
        alone = cross_validate(drawn_folder, backbone=adapter, folds=3, schedule=HEAD)
        (row,) = (one for one in comparison.candidates if one.backbone == adapter)
        assert row.evaluation == alone.evaluation


def test_features_beyond_the_memory_for_all_of_them_lie_in_files(
    comparison: Comparison, drawn_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Any] = []
    monkeypatch.setattr(tempfile, "TemporaryFile", _noted(tempfile.TemporaryFile, made))
    compare(drawn_folder, CANDIDATES, folds=3)
    assert made == []
    monkeypatch.setattr(shared_pass, "FEATURE_BYTES", 3000)  # 1,000 bytes each
    found = compare(drawn_folder, CANDIDATES, folds=3)
    assert len(made) == len(CANDIDATES)
    for one in found.candidates:
        (row,) = (known for known in comparison.candidates if known.backbone == one.backbone)
        assert one.evaluation == row.evaluation


def _noted(make: Callable[..., Any], made: list[Any]) -> Callable[..., Any]:
    def noted(*args: Any, **kwargs: Any) -> Any:
        made.append(make(*args, **kwargs))
        return made[-1]

    return noted


def test_every_file_is_opened_once(drawn_folder: Path, opened: list[str]) -> None:
    compare(drawn_folder, CANDIDATES, folds=2)
    assert images_among(opened) == sorted(map(str, drawn_folder.rglob("*.jpg")))


def test_rows_are_by_log_loss_with_paired_differences(
    comparison: Comparison, drawn_folder: Path, cache: Path
) -> None:
    losses = [one.evaluation.log_loss for one in comparison.candidates if one.evaluation]
    assert losses == sorted(losses)
    scores = [
        cross_validate(drawn_folder, backbone=one.backbone, folds=3, schedule=HEAD, cache_dir=cache)
        for one in comparison.candidates
    ]
    labels = np.array(scores[0].scores.labels)
    each = [np.logaddexp(0, (1 - 2 * labels) * np.array(one.scores.logits)) for one in scores]
    for row, loss in zip(comparison.candidates, each, strict=True):
        assert row.difference
        difference = loss - each[0]
        error = difference.std(ddof=1) / np.sqrt(len(labels))
        assert row.difference.mean == pytest.approx(difference.mean(), abs=1e-12)
        assert row.difference.standard_error == pytest.approx(error)
    assert comparison.best == comparison.candidates[0].backbone
    assert all(one.milliseconds and one.milliseconds > 0 for one in comparison.candidates)


def test_what_was_chosen_is_then_trained_without_a_look_at_the_images(
    comparison: Comparison, drawn_folder: Path, cache: Path, opened: list[str]
) -> None:
    classifier = transfer_classifier(
        drawn_folder, backbone=comparison.recommended, cache_dir=cache, folds=3
    )
    assert images_among(opened) == []
    row = comparison.recommended_candidate
    assert row.evaluation
    assert classifier.evaluation.log_loss == row.evaluation.log_loss
    assert row.parameters == classifier.model.count_params()


def test_a_second_comparison_reads_what_the_first_kept(
    comparison: Comparison, drawn_folder: Path, cache: Path, opened: list[str]
) -> None:
    assert compare(drawn_folder, CANDIDATES, folds=3, cache_dir=cache) == comparison
    assert images_among(opened) == []


def test_a_comparison_that_was_killed_goes_on(
    drawn_folder: Path, tmp_path: Path, opened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    run = TensorFlowEngine.__call__

    def interrupted(engine: TensorFlowEngine, images: Any) -> Any:
        calls.append(len(images))
        if len(calls) == 3:  # two networks have seen the first of two batches
            raise KeyboardInterrupt
        return run(engine, images)

    with monkeypatch.context() as patch:
        patch.setattr(TensorFlowEngine, "__call__", interrupted)
        with pytest.raises(KeyboardInterrupt):
            compare(drawn_folder, [SMALL, LARGE], folds=2, cache_dir=tmp_path)
    opened.clear()
    found = compare(drawn_folder, [SMALL, LARGE], folds=2, cache_dir=tmp_path)
    assert len(images_among(opened)) == 16
    assert [one.evaluation for one in found.candidates] == [
        one.evaluation for one in compare(drawn_folder, [SMALL, LARGE], folds=2).candidates
    ]


def test_one_that_has_less_behind_it_catches_up(drawn_folder: Path, tmp_path: Path) -> None:
    cross_validate(drawn_folder, backbone=SMALL, folds=2, schedule=HEAD, cache_dir=tmp_path)
    found = compare(drawn_folder, [SMALL, LARGE], folds=2, cache_dir=tmp_path)
    alone = compare(drawn_folder, [SMALL, LARGE], folds=2)
    assert {one.name: one.evaluation for one in found.candidates} == {
        one.name: one.evaluation for one in alone.candidates
    }
    assert all(one.milliseconds for one in found.candidates)


# The rule


@pytest.mark.parametrize("seed", range(5))
def test_the_cheapest_within_one_standard_error_of_the_best(seed: int) -> None:
    random = np.random.default_rng(seed)
    losses = random.exponential(0.3, (6, 40)) + random.exponential(0.05, (6, 1))
    costs = random.permutation(6) + 1.0
    found = choose(losses, costs.tolist())
    best = int(losses.mean(axis=1).argmin())
    within = []
    for place, loss in enumerate(losses):
        difference = loss - losses[best]
        if difference.mean() <= difference.std(ddof=1) / np.sqrt(40):
            within.append(place)
    assert found.best == best
    assert found.recommended == min(within, key=lambda place: costs[place])


def test_alone_there_is_no_choice(drawn_folder: Path, cache: Path) -> None:
    found = compare(drawn_folder, [SMALL], folds=3, cache_dir=cache)
    assert found.best == found.recommended == SMALL
    assert found.recommended_evaluation == found.best_candidate.evaluation
    assert set(found.fold_choices) == {found.best_candidate.name}


def test_what_was_chosen_does_not_profit_from_the_choice(
    drawn_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Labels dealt at random: the best of many networks looks better than guessing, nested folds know.

    All cost the same here, or the rule would choose by how busy the machine is.
    """
    monkeypatch.setattr("tlkit.choosing.compare.seconds_per_image", lambda *_: 1e-3)
    files = sorted(drawn_folder.rglob("*.jpg"))
    for number, place in enumerate(np.random.default_rng(1).permutation(len(files))):
        folder = tmp_path / ("a", "b")[number % 2]
        folder.mkdir(exist_ok=True)
        shutil.copy(files[place], folder / f"{number}.jpg")
    many = [
        BackboneAdapter("tiny_random", image_size=size, features=features)
        for size in (16, 20, 24, 28, 32, 36)
        for features in ("last", "stages")
    ]
    found = compare(tmp_path, many, folds=4, schedule=HEAD)
    best = found.best_candidate.evaluation
    assert best
    assert found.recommended_evaluation.log_loss > best.log_loss
    assert found.recommended_evaluation.count == 48


# What fails


def test_a_candidate_that_fails_is_a_row_and_the_others_go_on(
    drawn_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken.weights.h5").write_bytes(b"no weights")
    broken = BackboneAdapter("tiny_random", weights=tmp_path / "broken.weights.h5")
    absent = BackboneAdapter("tiny_random", weights=tmp_path / "absent.weights.h5")
    run = TensorFlowEngine.__call__

    def too_large(engine: TensorFlowEngine, images: Any) -> Any:
        if images.shape[1] == 48:
            raise MemoryError("no room")
        return run(engine, images)

    monkeypatch.setattr(TensorFlowEngine, "__call__", too_large)
    found = compare(drawn_folder, [broken, absent, LARGE, SMALL], folds=2)
    assert [one.backbone for one in found.candidates] == [SMALL, broken, absent, LARGE]
    reasons = [one.reason for one in found.failed]
    assert "whole HDF5 file" in reasons[0]
    assert "not on this machine" in reasons[1]
    assert "MemoryError: no room" in reasons[2]
    assert all(one.reason in str(found) for one in found.failed)
    assert found.recommended == SMALL
    assert Comparison.from_json(found.to_json()) == found


def test_where_every_candidate_fails_it_says_why(drawn_folder: Path) -> None:
    absent = BackboneAdapter("tiny_random", weights="absent.weights.h5")
    with pytest.raises(
        TlkitError, match=r"every candidate failed: tiny_random.*not on this machine"
    ):
        compare(drawn_folder, [absent])


def test_the_fault_of_a_folder_is_nobodys_else(tmp_path: Path, drawn_folder: Path) -> None:
    for name in ("disc", "not disc"):
        (tmp_path / name).mkdir()
        shutil.copy(drawn_folder / name / "00.jpg", tmp_path / name)
    with pytest.raises(DatasetError):
        compare(tmp_path, [SMALL])


def test_bad_files_are_left_out_for_all_or_stop_it(drawn_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(drawn_folder, tmp_path, dirs_exist_ok=True)
    (tmp_path / "disc" / "05.jpg").write_bytes(b"")
    with pytest.warns(match="left out 1 file"):
        found = compare(tmp_path, [SMALL, LARGE], folds=2)
    assert [one.evaluation.count for one in found.candidates if one.evaluation] == [47, 47]
    with pytest.raises(TlkitError, match=r"05\.jpg"):
        compare(DatasetSpec(tmp_path, on_bad_file="raise"), [SMALL, LARGE], folds=2)


def test_the_test_split_takes_no_part(drawn_folder: Path, cache: Path) -> None:
    found = compare(
        DatasetSpec(drawn_folder, test_fraction=0.25), [SMALL], folds=2, cache_dir=cache
    )
    assert found.recommended_evaluation.count == 36


# Text, JSON, names


def test_it_prints_a_table_and_survives_json(comparison: Comparison) -> None:
    text = str(comparison)
    for one in comparison.candidates:
        assert one.name in text
    assert f"recommended: {comparison.recommended_candidate.name}" in text
    assert "chosen anew in each fold" in text
    again = Comparison.from_json(comparison.to_json())
    assert again == comparison
    assert again.recommended == comparison.recommended


@pytest.mark.parametrize(
    "text",
    [
        "MobileNetV2@224",
        "MobileNetV2:alpha=0.35@160",
        "MobileNetV2:alpha=0.35,weights=a/b.weights.h5@160x224",
        "MobileNetV3Large:alpha=0.75,minimalistic=True,weights=none@96",
        "EfficientNetLite0@224",
        "tiny_random:features=last@32",
    ],
)
def test_a_name_says_all_of_a_network(text: str) -> None:
    assert name_of(named(text)) == text


@pytest.mark.parametrize("text", ["", "@160", "MobileNetV2@", "MobileNetV2:alpha", "MobileNetV2@a"])
def test_what_names_no_network(text: str) -> None:
    with pytest.raises(SettingError):
        named(text)


@pytest.mark.parametrize("candidates", ["MobileNetV2", [], ["MobileNetV2"], SMALL, [SMALL, SMALL]])
def test_what_are_no_candidates(candidates: Any) -> None:
    with pytest.raises(SettingError, match="`candidates`"):
        candidates_of(candidates, download=False)


def test_the_usual_candidates_are_those_at_hand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setattr("tlkit.choosing.candidates.LITE", {})
    with pytest.raises(WeightsError, match=r"tlkit\[lite\]"):
        candidates_of(None, download=False)
    (tmp_path / "models").mkdir()
    stem = "mobilenet_v2_weights_tf_dim_ordering_tf_kernels"
    for alpha in (0.35, 1.0):
        (tmp_path / "models" / f"{stem}_{alpha}_224_no_top.h5").write_bytes(b"")
    names = [name_of(one) for one in candidates_of(None, download=False)]
    assert names == ["MobileNetV2:alpha=0.35@224", "MobileNetV2@224", "MobileNetV2@320"]
    assert "EfficientNetV2B0@224" in [name_of(one) for one in candidates_of(None, download=True)]


def test_the_command_prints_the_same(
    drawn_folder: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["compare", str(drawn_folder), "--folds", "3", "--cache-dir", str(cache)]
    words += [word for one in CANDIDATES[:2] for word in ("--candidate", name_of(one))]
    expected = compare(drawn_folder, CANDIDATES[:2], folds=3, cache_dir=cache)
    assert main(words) == 0
    assert capsys.readouterr().out == f"{expected}\n"
    assert main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(expected.to_json())
    with pytest.raises(SystemExit):
        main(["compare", str(drawn_folder), "--candidate", "MobileNetV7"])
    assert "did you mean" in capsys.readouterr().err


@pytest.mark.slow
def test_megabytes_are_those_of_the_file(drawn_folder: Path, tmp_path: Path) -> None:
    adapter = BackboneAdapter("MobileNetV2", image_size=64, weights=None)
    found = compare(drawn_folder, [adapter], folds=2, cache_dir=tmp_path)
    file = tmp_path / "one.keras"
    classifier: TransferClassifier = transfer_classifier(
        drawn_folder, backbone=adapter, cache_dir=tmp_path, folds=2
    )
    classifier.save(file, familiarity=False)
    assert found.best_candidate.megabytes == pytest.approx(file.stat().st_size / 1e6, rel=0.2)
