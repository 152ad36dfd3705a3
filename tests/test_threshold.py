"""Thresholds chosen for a purpose: the best there is by brute force, and refused where nothing serves."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from sklearn.metrics import precision_recall_curve, roc_curve

from tlkit.errors import SettingError
from tlkit.evaluation.evaluate import evaluate
from tlkit.evaluation.threshold import ThresholdChoice, ThresholdGoal, choose_threshold

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

GOALS = [
    ThresholdGoal.best_f1(),
    ThresholdGoal.youden(),
    ThresholdGoal.precision(0.8),
    ThresholdGoal.recall(0.75),
    ThresholdGoal.cost(),
    ThresholdGoal.cost(false_positive=0.1, false_negative=0.3),
    ThresholdGoal.cost(false_positive=7),
]


def made_up(seed: int, count: int = 80, *, ties: bool = False) -> tuple[Ints, Floats]:
    random = np.random.default_rng(seed)
    labels = random.integers(0, 2, count)
    labels[:2] = 0, 1
    probabilities = np.clip(0.25 + 0.5 * labels + random.normal(0, 0.3, count), 0.001, 0.999)
    return labels, probabilities.round(1) if ties else probabilities


def counted(labels: Ints, probabilities: Floats, threshold: float) -> tuple[int, int, int, int]:
    """True and false positives, true and false negatives."""
    said = probabilities >= threshold
    return (
        int((said & (labels == 1)).sum()),
        int((said & (labels == 0)).sum()),
        int((~said & (labels == 0)).sum()),
        int((~said & (labels == 1)).sum()),
    )


def merit(goal: ThresholdGoal, counts: tuple[int, int, int, int]) -> tuple[float, ...] | None:
    """How good a threshold is, by the definitions; None where it does not meet the goal."""
    tp, fp, tn, fn = counts
    precision, recall, specificity = tp / (tp + fp or 1), tp / (tp + fn), tn / (tn + fp)
    if goal.kind == "precision":
        return (recall, specificity) if precision >= goal.at_least else None
    if goal.kind == "recall":
        return (specificity, recall) if recall >= goal.at_least else None
    if goal.kind == "f1":
        return (2 * tp / (2 * tp + fp + fn),)
    if goal.kind == "youden":
        return (recall + specificity - 1,)
    return (-(goal.false_positive * fp + goal.false_negative * fn),)


def merits(goal: ThresholdGoal, labels: Ints, probabilities: Floats) -> list[tuple[float, ...]]:
    """Of every threshold that there is, and of none called."""
    places = [0.0, *np.unique(probabilities), np.nextafter(probabilities.max(), 1)]
    found = [merit(goal, counted(labels, probabilities, place)) for place in places]
    return [one for one in found if one is not None]


@st.composite
def cases(draw: st.DrawFn) -> tuple[Ints, Floats]:
    count = draw(st.integers(2, 25))
    number = st.one_of(st.integers(0, 10).map(lambda tenth: tenth / 10), st.floats(0, 1))
    probabilities = draw(st.lists(number, min_size=count, max_size=count))
    labels = draw(st.lists(st.integers(0, 1), min_size=count, max_size=count))
    assume(len({*labels}) == 2)
    return np.array(labels), np.array(probabilities)


@pytest.mark.parametrize("goal", GOALS, ids=str)
@given(case=cases())
def test_nothing_is_better(goal: ThresholdGoal, case: tuple[Ints, Floats]) -> None:
    labels, probabilities = case
    possible = merits(goal, labels, probabilities)
    try:
        choice = choose_threshold(labels, probabilities, goal)
    except SettingError:
        assert not possible
        return
    counts = counted(labels, probabilities, choice.threshold)
    assert counts == (
        choice.true_positives,
        choice.false_positives,
        choice.true_negatives,
        choice.false_negatives,
    )
    reached = merit(goal, counts)
    assert reached is not None
    assert reached == pytest.approx(max(possible), abs=1e-9)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("ties", [False, True])
def test_as_scikit_learns_curves_say(seed: int, ties: bool) -> None:
    labels, probabilities = made_up(seed, ties=ties)
    precision, recall, _ = precision_recall_curve(labels, probabilities)
    false_positives, true_positives, _ = roc_curve(labels, probabilities)

    def chosen(goal: ThresholdGoal) -> ThresholdChoice:
        return choose_threshold(labels, probabilities, goal)

    f1 = chosen(ThresholdGoal.best_f1())
    assert f1.precision is not None
    assert f1.recall is not None
    harmonic = 2 / (1 / f1.precision + 1 / f1.recall)
    assert harmonic == pytest.approx(
        (2 * precision * recall / np.maximum(precision + recall, 1e-9)).max()
    )
    youden = chosen(ThresholdGoal.youden())
    assert youden.recall is not None
    assert youden.specificity is not None
    assert youden.recall + youden.specificity - 1 == pytest.approx(
        (true_positives - false_positives).max()
    )
    assert chosen(ThresholdGoal.precision(0.8)).recall == recall[precision >= 0.8].max()
    assert chosen(ThresholdGoal.recall(0.9)).specificity == pytest.approx(
        1 - false_positives[true_positives >= 0.9].min()
    )


@pytest.mark.parametrize("goal", ["f1", "youden"])
def test_neighbours_between_which_no_number_lies_are_told_apart(goal: str) -> None:
    above = np.nextafter(0.5, 1)
    probabilities = [0.1, 0.5, above, 0.9]
    choice = choose_threshold(
        [0, 0, 1, 1], probabilities, ThresholdGoal.parse(goal), part="validation"
    )
    assert 0.5 < choice.threshold <= above


@pytest.mark.parametrize("goal", GOALS, ids=str)
def test_the_last_digits_of_a_probability_move_nothing(goal: ThresholdGoal) -> None:
    labels, probabilities = made_up(7, ties=True)
    choice = choose_threshold(labels, probabilities, goal)
    for seed in range(20):
        noise = np.random.default_rng(seed).uniform(-1e-6, 1e-6, labels.size)
        moved = counted(labels, np.clip(probabilities + noise, 0, 1), choice.threshold)
        assert moved == counted(labels, probabilities, choice.threshold)


def test_a_gap_is_cut_in_its_middle() -> None:
    for goal in GOALS:
        choice = choose_threshold([0, 0, 1, 1], [0.1, 0.2, 0.6, 0.9], goal)
        if goal.kind != "precision":
            assert choice.threshold == pytest.approx(0.4)
    neighbours = [0.3, np.nextafter(0.3, 1)]
    choice = choose_threshold([0, 1], neighbours, ThresholdGoal.cost())
    assert choice.threshold == neighbours[1]


def test_of_equally_good_thresholds_the_one_nearest_to_a_half() -> None:
    labels, probabilities = [0, 1, 0, 1, 0, 1], [0.05, 0.1, 0.3, 0.4, 0.8, 0.9]
    for goal in (ThresholdGoal.cost(), ThresholdGoal.youden()):
        assert choose_threshold(labels, probabilities, goal).threshold == pytest.approx(0.35)


def test_everything_or_nothing_may_be_called_positive() -> None:
    labels, probabilities = [0, 1, 0, 1], [0.4, 0.3, 0.6, 0.5]
    everything = choose_threshold(labels, probabilities, ThresholdGoal.recall(1.0))
    assert everything.threshold == 0
    assert everything.true_negatives == everything.false_negatives == 0
    nothing = choose_threshold(labels, probabilities, ThresholdGoal.cost(false_positive=9))
    assert nothing.threshold == 0.8
    assert nothing.precision is None
    assert nothing.true_positives == nothing.false_positives == 0
    assert "0 called positive, 0 rightly: recall 0.00" in str(nothing)
    sure = choose_threshold([0, 1], [1.0, 1.0], ThresholdGoal.cost(false_positive=9))
    assert (sure.threshold, sure.count) == (0, 2)  # no threshold leaves out a 1


def test_the_choice_is_what_evaluate_finds_there() -> None:
    labels, probabilities = made_up(3)
    choice = choose_threshold(labels, probabilities, ThresholdGoal.precision(0.85))
    found = evaluate(
        labels,
        probabilities,
        class_names=("a", "b"),
        positive_class="b",
        threshold=choice.threshold,
    )
    for name in ("count", "true_positives", "precision", "recall", "specificity"):
        assert repr(getattr(choice, name)) == repr(getattr(found, name))


def test_refuses_what_cannot_be_reached_and_says_what_can() -> None:
    labels, probabilities = [0, 0, 1, 0, 1, 1, 0], [0.1, 0.2, 0.3, 0.4, 0.6, 0.8, 0.9]
    with pytest.raises(SettingError) as caught:
        choose_threshold(labels, probabilities, ThresholdGoal.precision(0.9), part="out-of-fold")
    message = str(caught.value)
    assert "no threshold reaches precision of at least 0.9 on these 7 out-of-fold" in message
    assert "the most is 0.67 (95 % CI 0.21–0.94), at threshold 0.5" in message
    assert "calls 3 of them positive" in message
    assert "Ask for precision=0.66 or less" in message
    advised = choose_threshold(labels, probabilities, ThresholdGoal.parse("precision=0.66"))
    assert advised.threshold <= 0.5


def test_two_classes_are_needed() -> None:
    with pytest.raises(SettingError, match="both classes, got 0 of class 0 and 2 of class 1"):
        choose_threshold([1, 1], [0.2, 0.4], ThresholdGoal.best_f1())
    with pytest.raises(SettingError, match="a logit is no probability"):
        choose_threshold([1, 0], [0.2, 4.0], ThresholdGoal.best_f1())


@pytest.mark.parametrize(
    ("text", "goal", "words"),
    [
        ("f1", ThresholdGoal.best_f1(), "best F1"),
        (" Youden ", ThresholdGoal.youden(), "best sum of recall and specificity (Youden's J)"),
        ("precision=0.95", ThresholdGoal.precision(0.95), "precision of at least 0.95"),
        ("recall=1", ThresholdGoal.recall(1.0), "recall of at least 1"),
        (
            "cost=1:5",
            ThresholdGoal.cost(false_negative=5.0),
            "lowest cost, a false positive costing 1 and a false negative 5",
        ),
    ],
)
def test_goals_are_read_and_said(text: str, goal: ThresholdGoal, words: str) -> None:
    assert ThresholdGoal.parse(text) == goal
    assert str(goal) == words
    assert ThresholdGoal.from_json(goal.to_json()) == goal


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("precison=0.9", "did you mean 'precision'"),
        ("0.5", "choose from"),
        ("precision", "'precision=0.95', got 'precision'"),
        ("precision=", "'precision=0.95'"),
        ("precision=high", "'precision=0.95'"),
        ("precision=95", "`at_least` must be above 0 and at most 1, got 95.0"),
        ("recall=0", "`at_least` must be above 0"),
        ("recall=nan", "`at_least` must be a finite number"),
        ("cost=5", "'cost=1:5'"),
        ("cost=1:2:3", "'cost=1:5'"),
        ("cost=1:0", "`false_negative` must be above 0"),
        ("f1=0.9", "'f1', got 'f1=0.9'"),
        ("f1=", "'f1', got 'f1='"),
    ],
)
def test_goals_that_cannot_be_read(text: str, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        ThresholdGoal.parse(text)


@pytest.mark.parametrize(
    "settings",
    [
        {"kind": "accuracy"},
        {"kind": "precision"},
        {"kind": "f1", "at_least": 0.5},
        {"kind": "youden", "false_negative": 2.0},
    ],
)
def test_goals_that_make_no_sense(settings: dict[str, Any]) -> None:
    with pytest.raises(SettingError):
        ThresholdGoal(**settings)


def test_a_choice_is_a_value_a_manager_can_read() -> None:
    choice = ThresholdChoice(
        threshold=0.6180339,
        goal=ThresholdGoal.precision(0.95),
        part="out-of-fold",
        true_positives=130,
        false_positives=5,
        true_negatives=180,
        false_negatives=12,
    )
    assert ThresholdChoice.from_json(choice.to_json()) == choice
    first, second = str(choice).splitlines()
    assert first == (
        "threshold 0.618 for precision of at least 0.95, chosen on 327 out-of-fold images: "
        "expect less on new ones"
    )
    assert second == (
        "  135 called positive, 130 rightly: precision 0.96 (0.92–0.98), recall 0.92 (0.86–0.95)"
    )
    with pytest.raises(SettingError, match="threshold"):
        ThresholdChoice.from_config({**choice.to_config(), "threshold": 1.5})


def test_numbers_of_numpy_are_kept_as_plain_ones() -> None:
    half, two, five = (cast("float", n) for n in (np.float32(0.5), np.int64(2), np.float32(5)))
    goals = (
        ThresholdGoal.precision(half),
        ThresholdGoal.cost(false_positive=two, false_negative=five),
    )
    assert goals == (
        ThresholdGoal.precision(0.5),
        ThresholdGoal.cost(false_positive=2, false_negative=5),
    )
    assert all(ThresholdGoal.from_json(goal.to_json()) == goal for goal in goals)


@pytest.mark.parametrize("text", ["precision=0.8@0.9", "recall=0.95@0.9"])
def test_a_goal_with_a_confidence_is_kept_on_new_images(text: str) -> None:
    """Of many draws no more than one in ten chooses a threshold that falls short; without it, half do."""
    goal, random = ThresholdGoal.parse(text), np.random.default_rng(0)
    bare = ThresholdGoal(kind=goal.kind, at_least=goal.at_least)
    labels, probabilities = made_up(5, 40_000)
    short = {goal: 0, bare: 0}
    for _ in range(200):
        drawn = random.integers(labels.size, size=400)
        for asked in short:
            choice = choose_threshold(labels[drawn], probabilities[drawn], asked)
            tp, fp, _, fn = counted(labels, probabilities, choice.threshold)
            reached = tp / (tp + fp) if goal.kind == "precision" else tp / (tp + fn)
            short[asked] += reached < goal.at_least
    assert short[goal] / 200 <= 0.1 + 3 * (0.1 * 0.9 / 200) ** 0.5
    assert short[bare] / 200 > 0.3


def test_a_confident_recall_is_the_largest_there_is() -> None:
    labels, probabilities = made_up(1, 300)
    choice = choose_threshold(labels, probabilities, ThresholdGoal.recall(0.95, confidence=0.9))
    positives = np.sort(probabilities[labels == 1])
    assert choice.false_negatives == 3  # of 150 positives, or a few less: 4 of them would need 158
    assert positives[2] < choice.threshold <= positives[3]


def test_groups_count_once_for_a_confidence() -> None:
    labels, probabilities = made_up(1, 300)
    goal = ThresholdGoal.recall(0.95, confidence=0.9)
    with pytest.raises(
        SettingError, match=r"takes at least 45 validation positives .* there are 20"
    ):
        choose_threshold(labels, probabilities, goal, groups=np.arange(300) % 20)
    alone = choose_threshold(labels, probabilities, goal, groups=np.arange(300))
    assert alone == choose_threshold(labels, probabilities, goal)


def test_a_confidence_is_read_said_and_saved() -> None:
    goal = ThresholdGoal.parse("precision=0.75@0.9")
    assert goal == ThresholdGoal.precision(0.75, confidence=0.9)
    assert str(goal) == "precision of at least 0.75 with 90 % confidence"
    assert ThresholdGoal.from_json(goal.to_json()) == goal
    old = {"kind": "recall", "at_least": 0.9, "false_positive": 1.0, "false_negative": 1.0}
    assert ThresholdGoal.from_config(old) == ThresholdGoal.recall(0.9)
    labels, probabilities = made_up(2, 400)
    assert "expect less" not in str(choose_threshold(labels, probabilities, goal))
    for text, message in (
        ("precision=0.95@", "must look like"),
        ("precision=0.95@much", "must look like"),
        ("f1@0.9", "unknown threshold goal"),
        ("cost=1:5@0.9", "a confidence belongs to precision and recall, not to cost"),
        ("recall=1@0.9", "`at_least` must be above 0 and below 1"),
        ("recall=0.9@1", "`confidence` must be above 0 and below 1"),
    ):
        with pytest.raises(SettingError, match=message):
            ThresholdGoal.parse(text)
