"""Doubtful labels: flipped ones come first, and confident learning says where to stop."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tlkit.data.split import assign_folds
from tlkit.errors import SettingError
from tlkit.evaluation.scores import Scores
from tlkit.insight.label_issues import LabelIssue, rank_label_issues
from tlkit.training.head import fit_head

Floats = npt.NDArray[np.floating]
Ints = npt.NDArray[np.int64]


def ranked(labels: Any, logits: Any, names: list[str] | None = None) -> tuple[LabelIssue, ...]:
    names = names or [f"{number}.jpg" for number in range(len(labels))]
    scores = Scores(
        names=tuple(names), labels=tuple(map(int, labels)), logits=tuple(map(float, logits))
    )
    return rank_label_issues(scores, class_names=("cat", "dog"), positive_class="dog")


def out_of_fold_logits(features: Floats, labels: Ints, names: list[str], seed: int) -> Floats:
    """Of exact heads, each with its strength chosen inside its own four folds."""
    folds, logits = assign_folds(labels, names, count=5, seed=seed), np.empty(len(labels))
    for fold in range(5):
        known, held_out = np.flatnonzero(folds != fold), folds == fold
        inner = assign_folds(labels[known], [names[i] for i in known], count=5, seed=seed)
        head = fit_head(features[known], labels[known], folds=inner)
        logits[held_out] = head.logits(features[held_out])
    return logits


def found_share(features: Floats, labels: Ints, names: list[str], seed: int) -> tuple[float, float]:
    """Flip 5 % of the labels: their share of the top 5 %, and the share that is flagged as likely."""
    count = round(0.05 * len(labels))
    flipped = np.random.default_rng(seed).choice(len(labels), count, replace=False)
    changed = labels.copy()
    changed[flipped] = 1 - changed[flipped]
    issues = ranked(changed, out_of_fold_logits(features, changed, names, seed), names)
    hidden = {names[i] for i in flipped}
    top = sum(issue.name in hidden for issue in issues[:count])
    return top / count, sum(issue.name in hidden for issue in issues if issue.likely) / count


def test_the_probability_of_the_given_label_ranks() -> None:
    issues = ranked([1, 1, 0, 0, 0], [2.0, -3.0, 4.0, -1.0, 0.5])
    assert [issue.name for issue in issues] == ["2.jpg", "1.jpg", "4.jpg", "3.jpg", "0.jpg"]
    assert [issue.given for issue in issues] == ["cat", "dog", "cat", "cat", "dog"]
    assert [issue.suggested for issue in issues] == ["dog", "cat", "dog", "cat", "dog"]
    np.testing.assert_allclose(
        [issue.probability for issue in issues],
        1 / (1 + np.exp([4.0, 3.0, 0.5, -1.0, -2.0])),
    )


def test_likely_is_confident_learning() -> None:
    """Checked against the definition, in probabilities of both classes."""
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, 200)
    logits = 3 * (2 * labels - 1) + random.normal(0, 3, 200)
    shares = np.column_stack([1 / (1 + np.exp(logits)), 1 / (1 + np.exp(-logits))])
    usual = [shares[labels == label, label].mean() for label in (0, 1)]
    expected = {
        f"{i}.jpg"
        for i, label in enumerate(labels.tolist())
        if shares[i, 1 - label] >= usual[1 - label] and shares[i, 1 - label] > shares[i, label]
    }
    issues = ranked(labels, logits)
    assert {issue.name for issue in issues if issue.likely} == expected
    doubted = {issue.name for issue in issues if issue.suggested != issue.given}
    assert 0 < len(expected) < len(doubted)


def test_an_unsure_classifier_flags_only_what_it_contradicts() -> None:
    issues = ranked([0, 0, 1, 1], [0.2, 0.3, 0.28, 0.24])  # says "dog" of everything, hardly
    assert [issue.name for issue in issues if issue.likely] == ["1.jpg"]


def test_certainty_beyond_a_probability_still_ranks() -> None:
    issues = ranked([0, 0, 0, 1, 1], [800.0, 900.0, -5.0, 5.0, 850.0])
    assert [issue.name for issue in issues[:2]] == ["1.jpg", "0.jpg"]
    assert issues[0].probability == issues[1].probability == 0


def test_ties_are_in_the_order_of_names() -> None:
    issues = ranked([0, 1, 0, 1], [1.0, -1.0, 1.0, -1.0], ["d", "b", "c", "a"])
    assert [issue.name for issue in issues] == ["a", "b", "c", "d"]


def test_the_positive_class_may_come_first() -> None:
    scores = Scores(names=("a", "b"), labels=(1, 0), logits=(-3.0, -3.0))
    issues = rank_label_issues(scores, class_names=("alpaca", "not"), positive_class="alpaca")
    assert (issues[0].name, issues[0].given, issues[0].suggested) == ("a", "alpaca", "not")


def test_says_what_is_wrong() -> None:
    with pytest.raises(SettingError, match=r"both classes, got 0 of 'cat' and 2 of 'dog'"):
        ranked([1, 1], [1.0, 2.0])
    with pytest.raises(SettingError, match="both classes"):
        ranked([], [])
    scores = Scores(names=("a", "b"), labels=(1, 0), logits=(1.0, -1.0))
    with pytest.raises(SettingError, match="positive class"):
        rank_label_issues(scores, class_names=("cat", "dog"), positive_class="cow")
    with pytest.raises(SettingError, match="two different names"):
        rank_label_issues(scores, class_names=("cat", "cat"), positive_class="cat")


def test_an_issue_is_a_value_that_prints_on_one_line() -> None:
    issue = LabelIssue(
        name="two\nlines.jpg", given="cat", suggested="dog", probability=0.02, likely=True
    )
    assert LabelIssue.from_json(issue.to_json()) == issue
    assert str(issue) == r"two\nlines.jpg: labelled 'cat' (probability 0.020), probably 'dog'"
    with pytest.raises(SettingError, match="likely"):
        LabelIssue(name="a", given="cat", suggested="cat", probability=0.9, likely=True)
    with pytest.raises(SettingError, match="probability"):
        LabelIssue(name="a", given="cat", suggested="dog", probability=1.1, likely=False)


def test_flipped_labels_fill_the_top_of_the_list() -> None:
    """Two clouds that a line separates with 94 % accuracy."""
    names = [f"{number:03}.jpg" for number in range(300)]
    figures = []
    for seed in range(3):
        random = np.random.default_rng(seed)
        labels = np.repeat([0, 1], 150)
        features = random.normal(size=(300, 20)) + 0.7 * labels[:, None]
        figures.append(found_share(features, labels, names, seed))
    top, flagged = np.mean(figures, axis=0)
    assert top >= 0.6
    assert flagged >= 0.6
