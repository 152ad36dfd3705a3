"""Slices that are worse than the rest: exact tests, a correction that holds, and marks where they belong."""

from __future__ import annotations

import math
from itertools import combinations
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from tlkit import (
    BackboneAdapter,
    CrossValidation,
    DatasetSpec,
    FineTuneSchedule,
    TransferClassifier,
    transfer_classifier,
)
from tlkit.errors import AuditWarning, BadFileWarning, SettingError
from tlkit.evaluation.evaluate import Evaluation, evaluate
from tlkit.evaluation.scores import Scores
from tlkit.evaluation.slices import (
    LEVEL,
    Facet,
    Slice,
    adjusted_p_values,
    slices_of,
)

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


def by_name(slices: tuple[Slice, ...]) -> dict[str, Slice]:
    return {f"{one.facet} {one.value}": one for one in slices}


# Counting


def test_counts_and_rates_are_those_of_the_images() -> None:
    site = ["a", "a", "a", "b", "b", None]
    labels, called = [1, 1, 0, 0, 0, 1], [True, False, True, False, False, False]
    found = by_name(slices_of([Facet.of("site", site)], labels, called))
    assert found.keys() == {"site a", "site b"}
    one = found["site a"]
    counts = (one.true_positives, one.false_negatives, one.false_positives, one.true_negatives)
    assert counts == (1, 1, 1, 0)
    assert one.accuracy == pytest.approx(1 / 3)
    assert one.accuracy.count == 3
    assert (one.recall, one.specificity) == (0.5, 0.0)
    assert (found["site b"].recall, found["site b"].specificity) == (None, 1.0)
    assert str(found["site b"]).startswith("site 'b', 2 images: accuracy 1.00 (")
    assert "recall" not in str(found["site b"])


def test_a_slice_that_was_not_compared_prints() -> None:
    one = Slice(
        facet="site", value="a",
        true_positives=1, false_positives=1, true_negatives=0, false_negatives=2,
    )  # fmt: skip
    assert one.worse == ()
    assert str(one).startswith("site 'a', 4 images: accuracy 0.25 ")


def test_a_fact_that_all_images_share_makes_no_slices() -> None:
    assert slices_of([Facet.of("format", ["JPEG", "JPEG", None])], [1, 0, 1], [True] * 3) == ()
    assert slices_of([], [1, 0], [True, False]) == ()


def test_some_of_the_images_keep_their_facts() -> None:
    facet = Facet.of("site", ["a", "b", None, "c"])
    assert facet.chosen([3, 2, 0]) == Facet("site", ("a", "c"), (1, -1, 0))
    with pytest.raises(SettingError, match="each of the 2 images"):
        slices_of([facet], [1, 0], [True, False])
    with pytest.raises(SettingError, match="places among"):
        Facet("site", ("a",), (1,))
    with pytest.raises(SettingError, match="must differ"):
        Facet("site", ("a", "a"), (0, 1))


# Chance


def p_value(labels: Ints, wrong: Bools, inside: Bools, metric: str) -> float:
    """Of a slice beside its complement, of which at most one is worse: twice the uncorrected one at least."""
    facet = Facet.of("f", ["in" if yes else "rest" for yes in inside.tolist()])
    called = np.where(wrong, labels == 0, labels == 1)
    return by_name(slices_of([facet], labels, called))["f in"].p_values[metric]


def test_recall_is_fisher_s_exact_test() -> None:
    """By the formula, in whole numbers."""
    random, compared = np.random.default_rng(0), 0
    for _ in range(30):
        inside = random.random(60) < 0.4
        wrong = random.random(60) < np.where(inside, 0.5, 0.2)
        m, n, k = int(wrong.sum()), int(inside.sum()), int((wrong & inside).sum())
        ways = [math.comb(m, i) * math.comb(60 - m, n - i) for i in range(k, min(m, n) + 1)]
        expected = sum(ways) / math.comb(60, n)
        if expected < 0.4:  # the complement then comes second
            found = p_value(np.ones(60, np.int64), wrong, inside, "recall")
            assert found == pytest.approx(2 * expected, abs=1e-9)
            compared += 1
    assert compared > 20


def test_accuracy_is_compared_within_classes_as_brute_force_has_it() -> None:
    """Every way to place the mistakes of each class counts the same."""
    labels = np.array([0] * 9 + [1] * 8)
    wrong = np.isin(np.arange(17), (0, 1, 3, 9, 10))
    inside = np.isin(np.arange(17), (0, 1, 2, 3, 9, 10, 11))
    observed = int((wrong & inside).sum())
    counts = [
        int(inside[[*of_negatives, *of_positives]].sum())
        for of_negatives in combinations(range(9), 3)
        for of_positives in combinations(range(9, 17), 2)
    ]
    chance = float(np.mean([count >= observed for count in counts]))
    found = p_value(labels, wrong, inside, "accuracy")
    assert found / chance == pytest.approx(
        round(found / chance)
    )  # of up to six comparisons, by Holm
    assert 1 <= round(found / chance) <= 6
    assert found <= LEVEL


def test_a_slice_of_the_hard_class_is_not_worse_for_that() -> None:
    """Half of the positives are missed everywhere; one site has positives alone."""
    labels = np.array([1] * 100 + [0] * 300)
    called = np.zeros(400, bool)
    called[0:100:2] = True
    site = ["x"] * 50 + ["y"] * 350
    found = by_name(slices_of([Facet.of("site", site)], labels, called))["site x"]
    assert found.accuracy == 0.5
    assert found.worse == ()


def test_a_shifted_site_is_worse_by_one_metric_and_not_by_the_other() -> None:
    """It calls everything positive: as many mistakes as usual, of another kind."""
    random = np.random.default_rng(1)
    labels = random.integers(0, 2, 600)
    called = np.where(random.random(600) < 0.1, 1 - labels, labels) == 1
    called[:60] = True
    site = ["shifted"] * 60 + ["usual"] * 540
    found = by_name(slices_of([Facet.of("site", site)], labels, called))["site shifted"]
    assert "specificity" in found.worse
    assert "recall" not in found.worse
    assert found.false_negatives == 0


@pytest.mark.parametrize(("sizes", "error"), [((40, 5), 0.1), ((12, 30), 0.25), ((6, 100), 0.05)])
def test_false_marks_stay_below_five_in_a_hundred(sizes: tuple[int, int], error: float) -> None:
    """Of 300 classifiers that are equally good everywhere, few have any slice that is marked."""
    random, marked, tries = np.random.default_rng(7), 0, 300
    slice_size, count = sizes
    images = slice_size * count
    for _ in range(tries):
        labels = (random.random(images) < 0.3).astype(np.int64)
        called = np.where(random.random(images) < error, 1 - labels, labels) == 1
        many = Facet(
            "site",
            tuple(map(str, range(count))),
            tuple(np.repeat(range(count), slice_size).tolist()),
        )
        half = Facet("half", ("a", "b"), tuple(random.integers(0, 2, images).tolist()))
        marked += any(one.worse for one in slices_of([many, half], labels, called))
    assert marked / tries <= LEVEL + 2 * math.sqrt(LEVEL * (1 - LEVEL) / tries)


def test_a_bad_slice_is_found_among_hundreds_of_tiny_ones() -> None:
    """Tiny slices cost nothing: no outcome of theirs could be significant."""
    random, found = np.random.default_rng(3), 0
    for _ in range(30):
        labels = random.integers(0, 2, 1000)
        camera = random.random(1000) < 0.05
        error = np.where(camera, 0.35, 0.05)
        called = np.where(random.random(1000) < error, 1 - labels, labels) == 1
        facets = [
            Facet.of("subject", [str(number // 2) for number in range(1000)]),
            Facet.of("camera", ["old" if old else "new" for old in camera.tolist()]),
        ]
        slices = by_name(slices_of(facets, labels, called))
        assert len(slices) == 502
        found += "accuracy" in slices["camera old"].worse
    assert found >= 27


def of_patients(
    random: np.random.Generator, *, bad: bool
) -> tuple[list[Facet], Ints, Bools, list[int]]:
    """Return 60 patients of 2 to 12 images, each at one of 6 sites, each with a difficulty of its own."""
    sizes = random.integers(2, 13, 60)
    patient = np.repeat(np.arange(60), sizes)
    site = np.arange(60) % 6
    difficulty = random.beta(0.4, 1.6, 60)  # a fifth on average, most patients near 0
    if bad:
        difficulty[site == 0] = random.beta(6, 2, 10)
    labels = (random.random(60) < 0.5)[patient].astype(np.int64)
    wrong = random.random(len(patient)) < difficulty[patient]
    called = np.where(wrong, labels == 0, labels == 1)
    facets = [
        Facet("site", tuple("abcdef"), tuple(site[patient].tolist())),
        Facet("light", ("dark", "bright"), tuple(random.integers(0, 2, len(patient)).tolist())),
    ]
    return facets, labels, called, patient.tolist()


def test_false_marks_stay_rare_where_images_of_a_patient_fail_together() -> None:
    """Image by image they would not: a site with one difficult patient looks bad."""
    random, marked, naive, tries = np.random.default_rng(11), 0, 0, 200
    for _ in range(tries):
        facets, labels, called, patient = of_patients(random, bad=False)
        marked += any(one.worse for one in slices_of(facets, labels, called, groups=patient))
        naive += any(one.worse for one in slices_of(facets, labels, called))
    assert marked / tries <= LEVEL + 2 * math.sqrt(LEVEL * (1 - LEVEL) / tries)
    assert naive / tries > 0.2


def test_a_site_that_is_bad_for_all_its_patients_is_found() -> None:
    random, found = np.random.default_rng(12), 0
    for _ in range(30):
        facets, labels, called, patient = of_patients(random, bad=True)
        slices = by_name(slices_of(facets, labels, called, groups=patient))
        found += "accuracy" in slices["site a"].worse
    assert found >= 27


def test_dealing_groups_out_anew_agrees_with_all_ways_to_do_so() -> None:
    """Twelve groups of two images, three of them in a slice: 220 ways."""
    mistakes = np.array([2, 2, 1, 1, 2, 0, 0, 0, 0, 0, 1, 0])
    wrong = np.stack([mistakes > 0, mistakes > 1], axis=1).reshape(-1)
    groups = np.repeat(np.arange(12), 2)
    surplus = mistakes - 2 * wrong.mean()

    def score(chosen: tuple[int, ...]) -> float:
        of_groups = surplus[list(chosen)]
        return float(of_groups.sum() / np.sqrt((of_groups**2).sum()))

    observed = score((0, 1, 2))
    chance = np.mean([score(way) >= observed - 1e-9 for way in combinations(range(12), 3)])
    assert 0.01 < chance < 0.06
    facet = Facet("f", ("in", "rest"), tuple((groups > 2).astype(int).tolist()))
    slices = slices_of([facet], np.ones(24), ~wrong, groups=groups.tolist())
    found = by_name(slices)["f in"].p_values["recall"]
    assert found == pytest.approx(2 * chance, rel=0.4)  # of two slices, by Holm


def test_holm_and_tarone_by_hand() -> None:
    assert adjusted_p_values([0.01, 0.04, 0.03], [0.0, 0.0, 0.0]) == pytest.approx(
        [0.03, 0.06, 0.06]
    )
    assert adjusted_p_values([0.02, 0.02], [0.001, 0.02]) == pytest.approx([0.04, 0.04])
    assert adjusted_p_values([0.02, 0.03], [0.001, 0.03]) == pytest.approx([0.02, 1.0])
    assert adjusted_p_values([], []) == []


# Where they show


def test_an_evaluation_has_them_and_says_which_are_worse() -> None:
    labels = np.tile([0, 1], 100)
    probabilities = np.where(labels == 1, 0.9, 0.1)
    probabilities[:20] = 0.5 - 0.4 * (labels[:20] - 0.5) * 2
    facet = Facet.of("camera", ["old"] * 30 + ["new"] * 170)

    def evaluated(threshold: float) -> Evaluation:
        return evaluate(
            labels, probabilities, class_names=("cat", "dog"), positive_class="dog",
            threshold=threshold, facets=[facet],
        )  # fmt: skip

    found = evaluated(0.5)
    old, new = found.slices[1], found.slices[0]
    assert (old.value, old.count, old.worse) == ("old", 30, ("accuracy", "recall", "specificity"))
    assert new.worse == ()
    text = str(found)
    assert "Worse than the rest beyond chance, of 2 slices:\n  camera 'old', 30 images:" in text
    assert "new" not in text
    assert Evaluation.from_json(found.to_json()) == found
    config = found.to_config()["slices"]
    assert isinstance(config, list)
    assert evaluated(0.05).slices != found.slices


def test_scores_keep_facts_for_other_thresholds() -> None:
    scores = Scores(
        names=("a", "b", "c", "d"),
        labels=(1, 1, 0, 0),
        logits=(2.0, -1.0, 1.0, -2.0),
        facets=(Facet.of("site", ["x", "x", "y", "y"]),),
    )
    crossed = CrossValidation.counted(
        scores, (0, 1, 0, 1), class_names=("cat", "dog"), positive_class="dog"
    )
    assert [one.false_negatives for one in crossed.evaluation.slices] == [1, 0]
    assert [one.false_negatives for one in crossed.recounted(0.9).evaluation.slices] == [2, 0]
    assert CrossValidation.from_json(crossed.to_json()) == crossed
    with pytest.raises(SettingError, match="each image"):
        Scores(names=("a",), labels=(1,), logits=(0.0,), facets=scores.facets)


@pytest.fixture(scope="module")
def trained(drawn_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> TransferClassifier:
    """Of a folder where half of the images are PNG, and larger."""
    folder = tmp_path_factory.mktemp("mixed")
    for path in sorted(drawn_folder.rglob("*.jpg")):
        target = folder / path.parent.name / path.name
        target.parent.mkdir(exist_ok=True)
        with Image.open(path) as image:
            if int(path.stem) % 2:
                exif = Image.Exif()
                exif[271], exif[272] = "Canon", "Canon EOS 5D"
                exif[306] = f"{2019 + int(path.stem) % 3}:05:04 12:00:00"
                image.save(target, exif=exif)
            else:
                image.resize((72, 72)).save(target.with_suffix(".png"))
    with pytest.warns(AuditWarning, match="contrast"):
        return transfer_classifier(
            DatasetSpec(folder, test_fraction=0.2),
            backbone=BackboneAdapter("tiny_random"),
            schedule=FineTuneSchedule.head_only(),
        )


def test_training_reports_by_facts_of_the_files(
    trained: TransferClassifier, tmp_path: Path
) -> None:
    found = by_name(trained.evaluation.slices)
    assert {"date 2019", "date 2020", "date 2021"} <= {*found}
    assert {"camera Canon EOS 5D", "camera not named"} <= {*found}
    assert {"format JPEG", "format PNG", "size below 64 pixels", "size 64 to 127 pixels"} <= {
        *found
    }
    of_formats = [found[f"format {name}"] for name in ("JPEG", "PNG")]
    assert sum(one.count for one in of_formats) == trained.evaluation.count
    right = sum(one.true_positives + one.true_negatives for one in of_formats)
    assert right == trained.evaluation.true_positives + trained.evaluation.true_negatives
    assert trained.test_evaluation is not None
    assert trained.test_evaluation.slices
    moved = trained.with_threshold(0.9)
    missed = [s.false_negatives for s in moved.evaluation.slices if s.facet == "format"]
    assert sum(missed) == moved.evaluation.false_negatives
    trained.save(tmp_path / "m.keras")
    again = TransferClassifier.load(tmp_path / "m.keras")
    assert again.evaluation == trained.evaluation
    assert again.with_threshold(0.9).evaluation == moved.evaluation


def test_another_table_is_reported_by_its_columns(
    classifier: TransferClassifier, drawn_folder: Path, tmp_path: Path
) -> None:
    names = [f"{name}/{number:02d}.jpg" for name in ("disc", "not disc") for number in range(24)]
    for number, name in enumerate(names):
        target = tmp_path / name
        target.parent.mkdir(exist_ok=True)
        if number == 3:
            target.write_bytes(b"no image")
            continue
        with Image.open(drawn_folder / name) as image:
            image.save(target, quality=80)  # files that nobody has learned from
    columns = {
        "path": names,
        "label": [name.partition("/")[0] for name in names],
        "site": ["north" if number % 3 else "south" for number in range(48)],
    }
    spec = DatasetSpec.from_table(columns, directory=tmp_path, slices=["site"])
    with pytest.warns(BadFileWarning):
        found = classifier.evaluate(spec)
    assert [(one.facet, one.value, one.count) for one in found.slices] == [
        ("site", "north", 32),
        ("site", "south", 15),
    ]
