"""Do I need more images? Nested subsets, the law that goes on from them, and how far to believe it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pytest

from tlkit import BackboneAdapter, Comparison, LearningCurve, compare, learning_curve
from tlkit.choosing.curve import CurvePoint, Forecast
from tlkit.choosing.power_law import forecast
from tlkit.choosing.subsets import places
from tlkit.cli import main
from tlkit.errors import DatasetError, SettingError
from tlkit.evaluation.rate import Rate

Floats: TypeAlias = npt.NDArray[np.float64]
SMALL = BackboneAdapter("tiny_random")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def noisy_folder(drawn_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The drawn folder with every eighth label wrong, so that nothing is learned perfectly."""
    folder = tmp_path_factory.mktemp("noisy")
    for number, file in enumerate(sorted(drawn_folder.rglob("*.jpg"))):
        name = (
            file.parent.name
            if number % 8
            else {"disc": "not disc", "not disc": "disc"}[file.parent.name]
        )
        (folder / name).mkdir(exist_ok=True)
        shutil.copy(file, folder / name / f"{number}.jpg")
    return folder


@pytest.fixture(scope="module")
def curve(noisy_folder: Path, cache: Path) -> LearningCurve:
    return learning_curve(noisy_folder, backbone=SMALL, draws=2, folds=3, cache_dir=cache)


# Subsets


@pytest.mark.parametrize("seed", range(4))
def test_subsets_are_nested_stratified_and_keep_groups_whole(seed: int) -> None:
    random = np.random.default_rng(seed)
    groups = [str(n) for n in random.integers(60, size=200)]
    labels = (random.random(200) < 0.3).astype(np.int64)
    place = places(labels, groups, seed=seed)
    before: set[int] = set()
    for share in (0.125, 0.25, 0.5, 0.75, 1.0):
        subset = np.flatnonzero(place <= share)
        assert before <= {*subset.tolist()}
        before = {*subset.tolist()}
        assert len(subset) == pytest.approx(share * 200, abs=8)
        assert labels[subset].sum() == pytest.approx(share * labels.sum(), abs=8)
        inside = {groups[n] for n in subset}
        assert inside.isdisjoint({groups[n] for n in range(200) if n not in before})
    assert len(before) == 200
    assert not np.array_equal(place, places(labels, groups, seed=seed + 1))


def test_without_groups_the_shares_are_exact() -> None:
    labels = np.array([0] * 40 + [1] * 80)
    place = places(labels, [str(n) for n in range(120)], seed=0)
    for share in (0.25, 0.5, 1.0):
        assert np.bincount(labels[place <= share]).tolist() == [40 * share, 80 * share]


# The law


def test_a_curve_that_follows_the_law_goes_on_by_it() -> None:
    counts = [25, 50, 100, 150, 200]
    for floor, scale, exponent in ((0.05, 1.0, 0.5), (0.2, 0.5, 0.4), (0.3, 0.3, 0.3)):
        losses = [floor + scale * n**-exponent for n in counts]
        for times in (2, 4):
            middle, low, high = forecast(counts, losses, [0.01] * 5, times)
            truth = floor + scale * (times * 200) ** -exponent
            assert low < truth < high
            assert middle == pytest.approx(truth, rel=0.15)


def test_a_flat_curve_promises_little_and_a_steep_one_much() -> None:
    counts = [25, 50, 100, 150, 200]
    flat, *_ = forecast(counts, [0.3] * 5, [0.02] * 5, 2)
    steep, *_ = forecast(counts, [n**-0.8 for n in counts], [0.02] * 5, 2)
    assert flat > 0.93 * 0.3
    assert steep < 0.85 * 200**-0.8


def test_the_band_covers_what_comes_and_says_something() -> None:
    """Curves of the law, with noise that the points know of: the band holds 90 % of what comes."""
    random = np.random.default_rng(0)
    counts = np.array([25, 50, 100, 150, 200])
    covered = widths = 0.0
    for _ in range(60):
        floor, scale, exponent = (
            random.uniform(0, 0.3),
            random.uniform(0.5, 2),
            random.uniform(0.3, 0.8),
        )
        noise = np.exp(random.normal(0, 0.04, 5))
        losses = (floor + scale * counts**-exponent) * noise
        middle, low, high = forecast(counts.tolist(), losses.tolist(), [0.04] * 5, 2)
        covered += low <= floor + scale * 400**-exponent <= high
        widths = max(widths, (high - low) / 2 / middle)
    assert covered / 60 >= 0.88
    assert widths <= 0.3


def test_the_forecast_is_a_weighted_quantile_by_brute_force() -> None:
    """Every law on the grid, one at a time."""
    from tlkit.choosing import power_law as law

    counts, losses, errors = [50.0, 100.0, 200.0], [0.4, 0.33, 0.3], [0.03, 0.02, 0.01]
    said, weights = [], []
    for floor in law.FLOORS:
        for scale in law.SCALES[1:]:
            for exponent in law.EXPONENTS:
                fit = (
                    ((floor + scale * 2**-exponent) / (floor + scale) - law.USUAL) / law.SPREAD
                ) ** 2
                for count, loss, error in zip(counts, losses, errors, strict=True):
                    share = count / 200
                    known = np.hypot(error, law.MISFIT * (1 + np.log2(1 / share)))
                    fit += (np.log((floor + scale * share**-exponent) * 0.3 / loss) / known) ** 2
                said.append(0.3 * (floor + scale * 2**-exponent))
                weights.append(np.exp(-fit / 2))
    order = np.argsort(said)
    share_below = np.cumsum(np.array(weights)[order]) / np.sum(weights)
    expected = [np.array(said)[order][np.searchsorted(share_below, p)] for p in (0.5, 0.05, 0.95)]
    assert forecast(counts, losses, errors, 2) == pytest.approx(expected, rel=0.02)


# The curve


def test_its_points_rise_and_the_last_is_what_folds_learn_from(curve: LearningCurve) -> None:
    counts = [point.count for point in curve.points]
    assert counts == sorted(counts)
    assert counts[-1] == 32  # two thirds of 48
    assert all(one.low <= one.log_loss <= one.high for one in curve.points)
    assert [one.times for one in curve.forecasts] == [2, 4]
    assert [one.count for one in curve.forecasts] == [64, 128]
    assert all(one.low <= one.log_loss <= one.high for one in curve.forecasts)
    assert curve.points[-1].accuracy.count == 48


def test_it_comes_from_what_a_comparison_kept(
    drawn_folder: Path, tmp_path: Path, opened: list[str]
) -> None:
    comparison: Comparison = compare(drawn_folder, [SMALL], folds=2, cache_dir=tmp_path)
    opened.clear()
    first = learning_curve(
        drawn_folder, backbone=comparison.recommended, draws=2, folds=3, cache_dir=tmp_path
    )
    assert not [path for path in opened if path.endswith(".jpg")]
    assert first == learning_curve(
        drawn_folder, backbone=SMALL, draws=2, folds=3, cache_dir=tmp_path
    )


def test_wrong_labels_are_named_where_more_images_hardly_help(
    drawn_folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(drawn_folder, tmp_path, dirs_exist_ok=True)
    (tmp_path / "disc" / "03.jpg").rename(tmp_path / "not disc" / "wrong.jpg")
    found = learning_curve(tmp_path, backbone=SMALL, draws=2, folds=3)
    assert "not disc/wrong.jpg" in found.doubtful


def test_its_sentence_says_what_to_do() -> None:
    def curve_with(then: float) -> LearningCurve:
        accuracy = Rate.wilson(90, 100)
        points = tuple(
            CurvePoint(count=n, log_loss=0.2, low=0.1, high=0.3, draw_error=0.01, accuracy=accuracy)
            for n in (20, 40, 80)
        )
        forecasts = (
            Forecast(times=2, count=160, log_loss=then, low=then - 0.02, high=then + 0.02),
        )
        return LearningCurve(
            SMALL, points, forecasts, doubtful=("a.jpg", "b.jpg", "c.jpg", "d.jpg")
        )

    assert curve_with(0.16).sentence == (
        "twice as many images: log-loss 0.200 → about 0.160 (0.140–0.180)"
    )
    hardly = curve_with(0.195).sentence
    assert "hardly help" in hardly
    assert "a.jpg, b.jpg, c.jpg and 1 more" in hardly


def test_it_prints_itself_and_survives_json(curve: LearningCurve) -> None:
    text = str(curve)
    assert curve.sentence in text
    assert "tiny_random@32" in text
    assert LearningCurve.from_json(curve.to_json()) == curve


def test_a_folder_too_small_for_a_curve_says_so(drawn_folder: Path, tmp_path: Path) -> None:
    for name in ("disc", "not disc"):
        (tmp_path / name).mkdir()
        for number in range(9):
            shutil.copy(drawn_folder / name / f"{number:02d}.jpg", tmp_path / name)
    with pytest.raises(DatasetError, match="a learning curve needs"):
        learning_curve(tmp_path, backbone=SMALL, draws=2, folds=3)
    with pytest.raises(SettingError, match="draws"):
        learning_curve(drawn_folder, backbone=SMALL, draws=1)


def test_the_command_adds_it_to_the_comparison(
    drawn_folder: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["compare", str(drawn_folder), "--candidate", "tiny_random", "--curve", "--folds", "3"]
    assert main([*words, "--cache-dir", str(cache), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    expected = learning_curve(drawn_folder, backbone=SMALL, folds=3, cache_dir=cache)
    assert LearningCurve.from_config(found["learning_curve"]) == expected
    assert Comparison.from_config(found["comparison"]).recommended == SMALL
