"""The split keeps its promises: exact, whole groups, the same everywhere, hardly moved by new files."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tlkit.data.dataset import DatasetSpec
from tlkit.data.split import Split, assign_folds, assign_parts
from tlkit.errors import DatasetError, SettingError

bounded = settings(max_examples=60, deadline=None, derandomize=True, database=None)

Data = tuple[list[int], list[str]]
SEEDS = st.integers(0, 2**40)


def singles(negative: int, positive: int) -> Data:
    """Images without groups: every one is its own."""
    names = [f"no/{i}.jpg" for i in range(negative)] + [f"yes/{i}.jpg" for i in range(positive)]
    return [0] * negative + [1] * positive, names


def expanded(counts: Sequence[tuple[int, int]]) -> Data:
    """Groups given by how many images of each class they hold."""
    labels, groups = [], []
    for number, (negative, positive) in enumerate(counts):
        labels += [0] * negative + [1] * positive
        groups += [f"subject {number}"] * (negative + positive)
    return labels, groups


GROUPED = st.lists(
    st.tuples(st.integers(0, 12), st.integers(0, 12)).filter(any), min_size=4, max_size=40
).map(expanded)


def part_of(split: Split, count: int) -> npt.NDArray[np.int64]:
    """The part of each example; fails unless the parts are disjoint, ascending and cover everything."""
    parts = np.full(count, -1)
    for number, indices in enumerate((split.train, split.validation, split.test)):
        assert indices.dtype == np.int64
        assert (np.diff(indices) > 0).all()
        assert (parts[indices] == -1).all()
        parts[indices] = number
    assert (parts >= 0).all()
    return parts


def parts_by_name(data: Data, validation: float, test: float, seed: int) -> dict[str, int]:
    split = assign_parts(*data, validation_fraction=validation, test_fraction=test, seed=seed)
    return dict(zip(data[1], part_of(split, len(data[0])).tolist(), strict=True))


@bounded
@given(
    negative=st.integers(3, 120),
    positive=st.integers(3, 120),
    validation=st.floats(0.02, 0.45),
    test=st.sampled_from([0.0, 0.1, 0.33, 0.5]),
    seed=SEEDS,
)
def test_counts_of_single_images_are_exact(
    negative: int, positive: int, validation: float, test: float, seed: int
) -> None:
    labels, names = singles(negative, positive)
    split = assign_parts(
        labels, names, validation_fraction=validation, test_fraction=test, seed=seed
    )
    parts = part_of(split, len(labels))
    for label, total in enumerate((negative, positive)):
        held = Counter(parts[np.array(labels) == label].tolist())
        for part, fraction in ((1, validation), (2, test)):
            nearest = abs(held[part] - fraction * total) <= 0.5 + 1e-9
            # Only what would be empty, or would leave nothing for the others, is not the nearest.
            assert nearest or held[part] == 1 or (held[0] == 1 and fraction * total > held[part])
            assert (held[part] > 0) == (fraction > 0)
        assert held[0] > 0


def test_327_alpacas_give_262_and_65() -> None:
    labels, names = singles(185, 142)
    split = assign_parts(labels, names, validation_fraction=0.2, test_fraction=0.0, seed=0)
    assert (split.train.size, split.validation.size, split.test.size) == (262, 65, 0)
    assert sum(labels[i] for i in split.validation) == 28
    assert str(split) == "262 train, 65 validation, 0 test"


def test_real_alpaca_folder_gives_262_and_65() -> None:
    folder = os.environ.get("TLKIT_ALPACA_DIR")
    if not folder:
        pytest.skip("TLKIT_ALPACA_DIR is not set to the folder of alpaca photographs")
    listing = DatasetSpec(folder).listing()
    split = assign_parts(
        listing.labels, listing.groups(None), validation_fraction=0.2, test_fraction=0.0, seed=0
    )
    assert (split.train.size, split.validation.size) == (262, 65)
    validation = [listing.examples[i].class_name for i in split.validation]
    assert Counter(validation) == {"alpaca": 28, "not alpaca": 37}


@bounded
@given(data=GROUPED, validation=st.floats(0.05, 0.6), test=st.sampled_from([0.0, 0.2]), seed=SEEDS)
def test_groups_stay_whole_and_parts_hold_both_classes(
    data: Data, validation: float, test: float, seed: int
) -> None:
    labels, groups = data
    try:
        split = assign_parts(
            labels, groups, validation_fraction=validation, test_fraction=test, seed=seed
        )
    except DatasetError:
        # Never refused when each class has groups of its own for every part.
        pure = Counter(
            next(iter(found)) for g in set(groups) if len(found := held_by(data, g)) == 1
        )
        assert min(pure[0], pure[1]) < (3 if test else 2)
        return
    parts = part_of(split, len(labels))
    assert len(set(zip(groups, parts.tolist(), strict=True))) == len(set(groups))
    for part, fraction in enumerate((1.0, validation, test)):
        assert {labels[i] for i in np.flatnonzero(parts == part)} == ({0, 1} if fraction else set())


def held_by(data: Data, group: str) -> set[int]:
    return {label for label, key in zip(*data, strict=True) if key == group}


@bounded
@given(data=GROUPED, seed=SEEDS, chance=st.randoms(use_true_random=False))
def test_the_order_of_the_examples_does_not_matter(
    data: Data, seed: int, chance: random.Random
) -> None:
    order = list(range(len(data[0])))
    chance.shuffle(order)
    shuffled = ([data[0][i] for i in order], [data[1][i] for i in order])
    try:
        before = parts_by_name(data, 0.3, 0.0, seed)
    except DatasetError:
        with pytest.raises(DatasetError):
            parts_by_name(shuffled, 0.3, 0.0, seed)
        return
    assert parts_by_name(shuffled, 0.3, 0.0, seed) == before
    folds = assign_folds(*data, count=2, seed=seed)
    assert assign_folds(*shuffled, count=2, seed=seed).tolist() == folds[order].tolist()


@settings(bounded, max_examples=12)
@given(
    seed=SEEDS,
    share=st.sampled_from([0.1, 0.4, 0.5]),
    fractions=st.sampled_from([(0.2, 0.0), (0.2, 0.2), (0.5, 0.0), (0.1, 0.1)]),
)
def test_five_percent_more_files_move_less_than_two_percent(
    seed: int, share: float, fractions: tuple[float, float]
) -> None:
    old = singles(round(1000 * share), 1000 - round(1000 * share))
    new = ([*old[0], *[1, 0] * 25], [*old[1], *(f"later/{seed}-{i}.jpg" for i in range(50))])
    before, after = (parts_by_name(data, *fractions, seed) for data in (old, new))
    assert sum(after[name] != part for name, part in before.items()) < 20


def test_another_seed_gives_another_split() -> None:
    data = singles(50, 50)
    assert parts_by_name(data, 0.2, 0.0, 1) != parts_by_name(data, 0.2, 0.0, 2)


def test_known_answer() -> None:
    """Whoever changes the rule changes everybody's split: say so in the changelog."""
    labels, names = singles(6, 6)
    names[0] = "no/caf\u00e9 \udcff.jpg"
    split = assign_parts(labels, names, validation_fraction=0.2, test_fraction=0.3, seed=42)
    assert split.validation.tolist() == [5, 7]
    assert split.test.tolist() == [0, 2, 6, 9]
    assert assign_folds(labels, names, count=3, seed=42).tolist() == [
        0,
        1,
        0,
        2,
        2,
        1,
        0,
        1,
        2,
        0,
        2,
        1,
    ]


def test_known_answer_for_groups() -> None:
    """Two of them with images of both classes, which are dealt out first."""
    labels, groups = [int(digit) for digit in "0010110011010110"], [*"aabbccddeefghijj"]
    folds = assign_folds(labels, groups, count=3, seed=42)
    assert "".join(map(str, folds.tolist())) == "1100002222010211"
    split = assign_parts(labels, groups, validation_fraction=0.25, test_fraction=0.25, seed=42)
    assert split.validation.tolist() == [0, 1, 11, 13, 14, 15]
    assert split.test.tolist() == [2, 3, 4, 5, 10, 12]


def test_composed_and_decomposed_names_split_alike() -> None:
    labels, names = singles(20, 20)
    composed = [name.replace("no/", "n\u00f6/") for name in names]
    decomposed = [name.replace("no/", "no\u0308/") for name in names]
    assert (
        assign_folds(labels, composed, count=4, seed=0).tolist()
        == assign_folds(labels, decomposed, count=4, seed=0).tolist()
    )


def test_same_split_in_another_process_with_another_hash_seed() -> None:
    code = (
        "import json; from tlkit.data.split import assign_parts, assign_folds\n"
        "labels = [0] * 30 + [1] * 20; names = [f'{i % 35}.jpg' for i in range(50)]\n"
        "split = assign_parts(labels, names, validation_fraction=0.3, test_fraction=0.2, seed=7)\n"
        "print(json.dumps([split.train.tolist(), split.validation.tolist(), split.test.tolist(),\n"
        "    assign_folds(labels, names, count=4, seed=7).tolist()]))"
    )
    answers = [
        subprocess.run(
            [sys.executable, "-c", code],
            env={
                **os.environ,
                "PYTHONHASHSEED": hash_seed,
                "PYTHONPATH": os.pathsep.join(sys.path),
            },
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for hash_seed in ("1", "2")
    ]
    assert len(json.loads(answers[0])) == 4
    assert answers[0] == answers[1]


@pytest.mark.parametrize(
    ("images", "validation", "test", "expected"),
    [
        (2, 0.2, 0.0, (1, 1, 0)),
        (2, 0.01, 0.0, (1, 1, 0)),
        (2, 0.9, 0.0, (1, 1, 0)),
        (3, 0.2, 0.2, (1, 1, 1)),
        (3, 0.5, 0.49, (1, 1, 1)),
        (4, 0.2, 0.2, (2, 1, 1)),
    ],
)
def test_tiny_folders_split_where_they_can(
    images: int, validation: float, test: float, expected: tuple[int, int, int]
) -> None:
    labels, names = singles(images, images)
    split = assign_parts(labels, names, validation_fraction=validation, test_fraction=test, seed=3)
    for label in (0, 1):
        held = Counter(part_of(split, len(labels))[np.array(labels) == label].tolist())
        assert (held[0], held[1], held[2]) == expected


def test_one_group_of_each_kind_still_splits() -> None:
    labels, groups = expanded([(3, 0), (0, 3), (2, 2)])
    split = assign_parts(labels, groups, validation_fraction=0.5, test_fraction=0.0, seed=0)
    assert {labels[i] for i in split.train} == {labels[i] for i in split.validation} == {0, 1}


@pytest.mark.parametrize("counts", [(1, 9), (9, 1), (9, 0)])
def test_too_few_images_are_counted_in_the_error(counts: tuple[int, int]) -> None:
    message = rf"2 parts .* {counts[1]} of one class .* {counts[0]} of the other"
    with pytest.raises(DatasetError, match=message):
        assign_parts(*singles(*counts), validation_fraction=0.2, test_fraction=0.0, seed=0)


def test_one_big_group_cannot_be_split() -> None:
    with pytest.raises(DatasetError, match="9 of one class in 1 groups"):
        assign_parts(*expanded([(9, 9)]), validation_fraction=0.2, test_fraction=0.0, seed=0)


def test_given_parts_are_kept_and_validation_fraction_is_not_used() -> None:
    labels, names = singles(10, 10)
    parts = [("train", "train", "validation", "test", None)[i % 5] for i in range(20)]
    split = assign_parts(
        labels, names, validation_fraction=0.4, test_fraction=0.0, seed=0, given=parts
    )
    assert [names[i] for i in split.validation] == names[2::5]
    assert [names[i] for i in split.test] == names[3::5]
    assert split.train.size == 12


def test_validation_is_dealt_from_a_given_training_part() -> None:
    labels, names = singles(20, 30)
    parts = ["test" if i % 10 == 0 else "train" for i in range(50)]
    split = assign_parts(
        labels, names, validation_fraction=0.25, test_fraction=0.0, seed=0, given=parts
    )
    assert part_of(split, 50)[::10].tolist() == [2] * 5
    assert (split.train.size, split.validation.size, split.test.size) == (45 - 12, 12, 5)


def test_a_given_part_without_one_class_is_refused() -> None:
    labels, names = singles(4, 4)
    with pytest.raises(DatasetError, match="both classes"):
        assign_parts(
            labels,
            names,
            validation_fraction=0.2,
            test_fraction=0.0,
            seed=0,
            given=["validation"] + ["train"] * 7,
        )


def test_given_nothing_is_the_same_as_not_given() -> None:
    labels, names = singles(9, 9)
    plain = assign_parts(labels, names, validation_fraction=0.3, test_fraction=0.3, seed=0)
    open_ = assign_parts(
        labels, names, validation_fraction=0.3, test_fraction=0.3, seed=0, given=[None] * 18
    )
    assert part_of(plain, 18).tolist() == part_of(open_, 18).tolist()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"validation_fraction": 1.0}, "validation_fraction"),
        ({"validation_fraction": float("nan")}, "validation_fraction"),
        ({"test_fraction": -0.1}, "test_fraction"),
        ({"seed": -1}, "seed"),
        ({"labels": [0, 1, 2, 1]}, "must be 0 or 1"),
        ({"labels": [0, 1, 1]}, "equally long"),
        ({"given": ["train"]}, "4 entries"),
        ({"given": ["train", "train", "val", "val"]}, "unknown part 'val'"),
        ({"given": ["train"] * 4, "test_fraction": 0.1}, "must be 0 beside `given`"),
    ],
)
def test_arguments_outside_what_they_may_be(change: dict[str, object], message: str) -> None:
    arguments = {
        "labels": [0, 0, 1, 1],
        "groups": list("abcd"),
        "validation_fraction": 0.5,
        "test_fraction": 0.0,
        "seed": 0,
        **change,
    }
    with pytest.raises(SettingError, match=message):
        assign_parts(**arguments)  # type: ignore[arg-type]


@bounded
@given(
    negative=st.integers(5, 90), positive=st.integers(5, 90), count=st.integers(2, 5), seed=SEEDS
)
def test_folds_of_single_images_differ_by_one_at_most(
    negative: int, positive: int, count: int, seed: int
) -> None:
    labels, names = singles(negative, positive)
    folds = assign_folds(labels, names, count=count, seed=seed)
    assert folds.dtype == np.int64
    for chosen in (np.array(labels) == 0, np.array(labels) == 1, np.full(len(labels), True)):
        sizes = np.bincount(folds[chosen], minlength=count)
        assert len(sizes) == count
        assert np.ptp(sizes) <= 1


@bounded
@given(data=GROUPED, count=st.integers(2, 5), seed=SEEDS)
def test_folds_keep_groups_whole_and_differ_by_the_biggest_at_most(
    data: Data, count: int, seed: int
) -> None:
    labels, groups = data
    holders = [len({g for x, g in zip(*data, strict=True) if x == label}) for label in (0, 1)]
    if min(holders) < count:
        with pytest.raises(DatasetError, match=f"{count} folds"):
            assign_folds(labels, groups, count=count, seed=seed)
        return
    folds = assign_folds(labels, groups, count=count, seed=seed)
    assert len(set(zip(groups, folds.tolist(), strict=True))) == len(set(groups))
    for label in (0, 1):
        sizes = np.bincount(folds[np.array(labels) == label], minlength=count)
        assert np.ptp(sizes) <= max(Counter(groups).values())
        assert sizes.min() > 0


def test_folds_hardly_move_when_files_are_added() -> None:
    old = singles(400, 600)
    new = ([*old[0], *[0, 1] * 25], [*old[1], *(f"later/{i}.jpg" for i in range(50))])
    before, after = (assign_folds(*data, count=5, seed=0) for data in (old, new))
    assert (before != after[:1000]).mean() < 0.05


def test_one_fold_is_not_a_split() -> None:
    with pytest.raises(SettingError, match="`count`"):
        assign_folds([0, 1], ["a", "b"], count=1, seed=0)
