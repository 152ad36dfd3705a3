"""The figures: equal to scikit-learn's, with intervals as published, and honest where nothing is known."""

from __future__ import annotations

import copy
import json
import math
import pickle
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics

from tlkit.errors import SettingError
from tlkit.evaluation import metrics as measures
from tlkit.evaluation.evaluate import Evaluation, evaluate
from tlkit.evaluation.rate import Rate

NAMES = ("alpaca", "not alpaca")


def judged(labels: npt.ArrayLike, probabilities: npt.ArrayLike, **settings: Any) -> Evaluation:
    return evaluate(
        labels, probabilities, **({"class_names": NAMES, "positive_class": "alpaca"} | settings)
    )


def made_up(seed: int, *, count: int = 60, ties: bool = False) -> tuple[Any, Any]:
    random = np.random.default_rng(seed)
    labels = random.integers(0, 2, count)
    labels[:2] = 0, 1
    probabilities = np.clip(0.25 + 0.5 * labels + random.normal(0, 0.3, count), 0, 1)
    return labels, probabilities.round(1) if ties else probabilities


# -- Rate ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("successes", "count", "low", "high"),
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_as_published(successes: int, count: int, low: float, high: float) -> None:
    # Newcombe 1998, Statistics in Medicine 17: 857-872, table I, method 3.
    rate = Rate.wilson(successes, count)
    assert rate.value == successes / count
    assert (round(rate.low, 4), round(rate.high, 4)) == (low, high)


@given(st.integers(1, 10**6), st.data(), st.floats(0.01, 0.9999))
def test_wilson_solves_its_equation(count: int, data: st.DataObject, confidence: float) -> None:
    successes = data.draw(st.integers(0, count))
    rate = Rate.wilson(successes, count, confidence=confidence)
    assert 0 <= rate.low <= rate <= rate.high <= 1
    mirror = Rate.wilson(count - successes, count, confidence=confidence)
    assert rate.low == pytest.approx(1 - mirror.high, abs=1e-12)
    ends = [end for end in (rate.low, rate.high) if 0 < end < 1]
    distances = [abs(rate - end) / (end * (1 - end) / count) ** 0.5 for end in ends]
    if len(distances) == 2:
        assert distances[0] == pytest.approx(distances[1], rel=1e-3)


@given(st.floats(0, 1), st.integers(1, 500), st.integers(1, 500), st.floats(0.5, 0.999))
def test_the_interval_of_an_area_solves_its_equation(
    area: float, positives: int, negatives: int, confidence: float
) -> None:
    """Hanley and McNeil's variance at its ends, with the mean of both counts less 1, as Newcombe has it."""
    rate = Rate.of_ranks(area, positives, negatives, confidence=confidence)
    assert 0 <= rate.low <= rate <= rate.high <= 1
    assert rate.count == positives + negatives
    mirror = Rate.of_ranks(1 - area, positives, negatives, confidence=confidence)
    assert rate.low == pytest.approx(1 - mirror.high, abs=1e-9)
    z, extra = NormalDist().inv_cdf(0.5 + confidence / 2), (positives + negatives) / 2 - 1
    for end in (rate.low, rate.high):
        if 1e-6 < end < 1 - 1e-6:
            first, second = end / (2 - end) - end**2, 2 * end**2 / (1 + end) - end**2
            variance = (end * (1 - end) + extra * (first + second)) / (positives * negatives)
            assert abs(area - end) == pytest.approx(z * variance**0.5, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize(
    ("positives", "negatives", "distance", "spread", "at_least", "at_most"),
    [
        (28, 37, 1.2, 1.0, 0.94, 0.98),
        (10, 40, 2.0, 1.0, 0.94, 0.98),
        (15, 15, 3.0, 1.0, 0.94, 0.99),
        (60, 20, 1.5, 0.5, 0.88, 0.95),  # as the docstring owns up to
        (20, 60, 1.5, 2.0, 0.88, 0.95),
    ],
)
def test_the_interval_of_an_area_holds_the_truth_as_often_as_it_says(
    positives: int, negatives: int, distance: float, spread: float, at_least: float, at_most: float
) -> None:
    random = np.random.default_rng(0)
    truth = NormalDist().cdf(distance / math.hypot(1, spread))
    labels = np.repeat([1, 0], [positives, negatives])
    held = 0
    for _ in range(1000):
        scores = random.normal(0, 1, labels.size)
        scores[labels == 1] = random.normal(distance, spread, positives)
        area = measures.roc_auc(labels, scores)
        assert area is not None
        rate = Rate.of_ranks(area, positives, negatives)
        held += rate.low <= truth <= rate.high
    assert at_least <= held / 1000 <= at_most


def test_standard_errors_are_how_far_other_images_would_be() -> None:
    """Of 200 images with believable probabilities, drawn a thousand times."""
    random = np.random.default_rng(0)
    found = []
    for _ in range(1000):
        probabilities = 1 / (1 + np.exp(-random.normal(0, 3, 200)))
        labels = (random.uniform(size=200) < probabilities).astype(int)
        found.append(judged(labels, probabilities))
    for mean in ("log_loss", "brier_score"):
        means = [getattr(one, mean) for one in found]
        errors = [getattr(one, f"{mean}_standard_error") for one in found]
        assert np.mean(errors) == pytest.approx(np.std(means), rel=0.1)
        held = np.mean(
            [abs(m - np.mean(means)) < 1.96 * e for m, e in zip(means, errors, strict=True)]
        )
        assert 0.92 < held < 0.96
    assert judged([1], [0.5]).log_loss_standard_error is None


def test_an_evaluation_of_before_there_were_standard_errors_is_read() -> None:
    result = judged([1, 0, 1], [0.9, 0.2, 0.4])
    names = ("log_loss_standard_error", "brier_score_standard_error")
    config = {name: value for name, value in result.to_config().items() if name not in names}
    before = Evaluation.from_config(config)
    assert before.log_loss_standard_error is before.brier_score_standard_error is None
    assert "log-loss" in str(before)
    assert "standard error" not in str(before)
    assert Evaluation.from_config(result.to_config()) == result
    assert result.roc_auc_rate is not None
    assert config["rates"]["roc_auc"] == result.roc_auc_rate.to_config()  # type: ignore[call-overload, index]
    assert judged([1, 1], [0.9, 0.2]).roc_auc_rate is None


def test_wilson_is_exact_at_the_ends() -> None:
    assert Rate.wilson(0, 7).low == 0
    assert Rate.wilson(7, 7).high == 1
    assert Rate.wilson(7, 7).low < 1


def test_a_rate_is_a_float() -> None:
    rate = Rate.wilson(62, 65)
    assert isinstance(rate, float)
    assert rate == 62 / 65
    assert type(rate + 0) is float
    assert f"{rate:.3f}" == "0.954"
    assert json.loads(json.dumps({"accuracy": rate})) == {"accuracy": 62 / 65}
    assert np.mean([rate, rate]) == 62 / 65
    assert hash(rate) == hash(62 / 65)
    assert bool(Rate.wilson(0, 5)) is False


def test_a_rate_says_how_well_it_is_known() -> None:
    rate = Rate.wilson(62, 65)
    assert str(rate) == repr(rate) == f"{rate}" == "0.95 (95 % CI 0.87–0.98, n = 65)"
    assert str(Rate.wilson(62, 65, confidence=0.9)) == "0.95 (90 % CI 0.89–0.98, n = 65)"
    assert str(Rate.wilson(999, 1000)) == "0.999 (95 % CI 0.994–1.000, n = 1000)"
    assert str(Rate.wilson(99_990, 100_000)) == "0.9999 (95 % CI 0.9998–0.9999, n = 100000)"


def test_a_rate_travels_whole() -> None:
    rate = Rate.wilson(62, 65, confidence=0.9)
    copies = [pickle.loads(pickle.dumps(rate, protocol)) for protocol in range(6)]
    copies += [copy.copy(rate), copy.deepcopy(rate)]
    copies += [Rate.from_config(json.loads(json.dumps(rate.to_config())))]
    for other in copies:
        assert type(other) is Rate
        assert other.to_config() == rate.to_config()


def test_a_rate_does_not_change() -> None:
    rate = Rate.wilson(1, 2)
    with pytest.raises(AttributeError, match="does not change"):
        rate.low = 0.5


@pytest.mark.parametrize(
    "make",
    [
        lambda: Rate.wilson(0, 0),
        lambda: Rate.wilson(-1, 3),
        lambda: Rate.wilson(4, 3),
        lambda: Rate.wilson(1, 3, confidence=1.0),
        lambda: Rate.wilson(1, 3, confidence=0.0),
        lambda: Rate(1.5, low=0, high=1, count=1),
        lambda: Rate(float("nan"), low=0, high=1, count=1),
        lambda: Rate(0.5, low=0.6, high=1, count=1),
        lambda: Rate(0.5, low=0.1, high=0.4, count=1),
        lambda: Rate(0.5, low=0.1, high=0.9, count=0),
        lambda: Rate.from_config({"value": 0.5}),
        lambda: Rate.from_config({"value": 0.5, "low": 0.1, "high": 0.9, "count": 3, "hight": 1}),
    ],
)
def test_impossible_rates_are_refused(make: Any) -> None:
    with pytest.raises(SettingError):
        make()


# -- evaluate ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.8])
def test_equals_scikit_learn(seed: int, threshold: float) -> None:
    labels, probabilities = made_up(seed, ties=seed % 2 == 0)
    result = judged(labels, probabilities, threshold=threshold)
    said = (probabilities >= threshold).astype(int)
    (tn, fp), (fn, tp) = metrics.confusion_matrix(labels, said).tolist()
    counts = (
        result.true_negatives,
        result.false_positives,
        result.false_negatives,
        result.true_positives,
    )
    assert counts == (tn, fp, fn, tp)
    assert result.accuracy == pytest.approx(metrics.accuracy_score(labels, said))
    assert result.balanced_accuracy == pytest.approx(metrics.balanced_accuracy_score(labels, said))
    assert result.precision == pytest.approx(metrics.precision_score(labels, said))
    assert result.recall == pytest.approx(metrics.recall_score(labels, said))
    assert result.specificity == pytest.approx(metrics.recall_score(labels, said, pos_label=0))
    assert result.f1 == pytest.approx(metrics.f1_score(labels, said))
    assert result.roc_auc == pytest.approx(metrics.roc_auc_score(labels, probabilities))
    assert result.pr_auc == pytest.approx(metrics.average_precision_score(labels, probabilities))
    assert result.log_loss == pytest.approx(metrics.log_loss(labels, probabilities))
    assert result.brier_score == pytest.approx(metrics.brier_score_loss(labels, probabilities))


@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 6)), min_size=2, max_size=40).filter(
        lambda pairs: len({label for label, _ in pairs}) == 2
    )
)
def test_areas_with_many_ties_equal_scikit_learn(pairs: list[tuple[bool, int]]) -> None:
    labels = np.array([label for label, _ in pairs])
    probabilities = np.array([step / 6 for _, step in pairs])
    result = judged(labels, probabilities)
    assert result.roc_auc == pytest.approx(metrics.roc_auc_score(labels, probabilities))
    assert result.pr_auc == pytest.approx(metrics.average_precision_score(labels, probabilities))
    assert result.log_loss == pytest.approx(metrics.log_loss(labels, probabilities))


def test_calibration_error_by_hand() -> None:
    # Bins (0.1, 0.2] and (0.8, 0.9]: |0.2 - 1/2| with 2 of 5 images, |0.85 - 2/3| with 3 of 5.
    result = judged([0, 1, 1, 1, 0], [0.2, 0.2, 0.85, 0.9, 0.8000001])
    assert result.calibration_error == pytest.approx(0.4 * 0.3 + 0.6 * (0.85 - 2 / 3), abs=1e-6)
    assert judged([0, 1], [0, 1]).calibration_error == 0
    assert judged([0, 1], [1, 0]).calibration_error == 1


def test_a_certain_mistake_costs_much_and_not_infinity() -> None:
    result = judged([1, 0], [0.0, 0.0])
    assert result.log_loss == pytest.approx(metrics.log_loss([1, 0], [0.0, 0.0]))
    assert 18 < result.log_loss < 18.1


def test_single_precision_is_computed_in_double() -> None:
    labels, probabilities = made_up(3)
    single = probabilities.astype(np.float32)
    assert judged(labels, single).log_loss == judged(labels, single.astype(np.float64)).log_loss


def test_the_threshold_itself_counts_as_positive() -> None:
    result = judged([1, 0], [0.5, 0.49999])
    assert (result.true_positives, result.true_negatives) == (1, 1)
    assert judged([1, 0], [0.5, 0.4], threshold=np.float64(0.5)) == judged([1, 0], [0.5, 0.4])


def test_intervals_hold_their_value_and_count() -> None:
    labels, probabilities = made_up(1)
    result = judged(labels, probabilities)
    precision, recall, specificity = result.precision, result.recall, result.specificity
    assert precision is not None
    assert recall is not None
    assert specificity is not None
    assert (
        result.accuracy.to_config()
        == Rate.wilson(result.true_positives + result.true_negatives, 60).to_config()
    )
    assert recall.count == result.positive_count == int(labels.sum())
    assert specificity.count == result.negative_count == 60 - int(labels.sum())
    assert precision.count == result.true_positives + result.false_positives


def test_balanced_accuracy_interval_covers_the_truth_as_often_as_it_says() -> None:
    random = np.random.default_rng(0)
    recalls, specificities = random.binomial(20, 0.9, 2000), random.binomial(50, 0.8, 2000)
    covered = 0
    for hits, passes in zip(recalls.tolist(), specificities.tolist(), strict=True):
        result = counted(tp=hits, fn=20 - hits, tn=passes, fp=50 - passes)
        assert result.balanced_accuracy is not None
        covered += result.balanced_accuracy.low <= 0.85 <= result.balanced_accuracy.high
    assert 0.93 < covered / 2000 < 0.98


def test_f1_interval_covers_the_truth_as_often_as_it_says() -> None:
    random = np.random.default_rng(0)
    shares = [0.4, 0.08, 0.05, 0.47]  # true and false positives, false and true negatives
    truth = 2 * 0.4 / (2 * 0.4 + 0.08 + 0.05)
    covered = 0
    for tp, fp, fn, tn in random.multinomial(80, shares, 2000).tolist():
        result = counted(tp=tp, fp=fp, fn=fn, tn=tn)
        assert result.f1 is not None
        covered += result.f1.low <= truth <= result.f1.high
    assert 0.93 < covered / 2000 < 0.98


def counted(*, tp: int, fp: int, fn: int, tn: int) -> Evaluation:
    labels = [1] * (tp + fn) + [0] * (fp + tn)
    return judged(labels, [0.9] * tp + [0.1] * fn + [0.9] * fp + [0.1] * tn)


def test_baselines() -> None:
    result = judged([1, 0, 0], [0.9, 0.1, 0.1])
    assert (result.majority_class, result.majority_accuracy) == ("not alpaca", 2 / 3)
    assert result.base_log_loss == pytest.approx(metrics.log_loss([1, 0, 0], [1 / 3] * 3))
    assert judged([1, 1, 0], [0.9, 0.1, 0.1]).majority_class == "alpaca"
    assert judged([1, 0], [0.9, 0.1]).majority_class == "not alpaca"
    assert judged([1, 1], [0.9, 0.1]).base_log_loss == 0


def test_the_positive_class_may_come_second() -> None:
    result = judged([1, 0, 0], [0.9, 0.1, 0.1], positive_class="not alpaca")
    assert result.negative_class == "alpaca"
    assert result.majority_class == "alpaca"


def test_what_is_not_defined_is_none() -> None:
    no_negatives = judged([1, 1], [0.9, 0.2])
    assert no_negatives.recall == 0.5
    assert no_negatives.specificity is None
    assert no_negatives.balanced_accuracy is None
    assert no_negatives.roc_auc is None
    assert no_negatives.pr_auc == 1
    no_positives = judged([0, 0], [0.1, 0.2])
    assert no_positives.specificity == 1.0
    assert no_positives.recall is None
    assert no_positives.precision is None
    assert no_positives.f1 is None
    assert no_positives.pr_auc is None
    never_said = judged([1, 0], [0.1, 0.2])
    assert never_said.precision is None
    assert never_said.f1 == 0.0
    for result in (no_negatives, no_positives, never_said):
        assert "undefined" in str(result)
        assert "nan" not in str(result).lower()
        assert Evaluation.from_json(result.to_json()) == result


def test_the_text_explains_itself() -> None:
    labels = [1] * 28 + [0] * 37
    probabilities = [0.9] * 26 + [0.1] * 2 + [0.8] + [0.2] * 36
    result = judged(labels, probabilities)
    assert str(result) == (
        "accuracy 0.95 (95 % CI 0.87–0.98) on 65 validation images\n"
        "  always predicting 'not alpaca': 0.57\n"
        "balanced accuracy 0.95 (0.86–0.98): the mean over the classes, however unequal\n"
        "ROC-AUC 0.93 (0.83–0.97): how often 'alpaca' is ranked above 'not alpaca'; 0.5 is guessing\n"
        "log-loss 0.261 (standard error 0.051): 0 is perfect, "
        "0.684 is knowing only how common each class is\n"
        "\n"
        "threshold 0.5    called 'alpaca'  called 'not alpaca'\n"
        "is 'alpaca'                   26                    2  recall 0.93 (0.77–0.98)\n"
        "is 'not alpaca'                1                   36  specificity 0.97 (0.86–1.00)\n"
        "                 precision 0.96 (0.82–0.99), F1 0.95 (0.85–0.98)\n"
        "\n"
        "65 images are few: cross-validation (folds=5, --folds 5) evaluates on all images."
    )
    many = judged(labels * 4, probabilities * 4)
    assert "are few" not in str(many)
    assert "are few" not in str(judged(labels, probabilities, part="test"))


def test_the_text_owns_up() -> None:
    result = judged(
        [1, 0],
        [0.9, 0.1],
        part="train",
        random_head_baseline=Rate.wilson(34, 65),
        used_to_choose=["the best epoch", "the threshold"],
    )
    text = str(result)
    assert "on 2 training images" in text
    assert ": 0.50; a random head: 0.52 (0.40–0.64)\n" in text
    assert text.endswith(
        "\n\nThese images were used to choose the best epoch and the threshold: "
        "expect slightly worse metrics on new ones."
    )
    one = str(judged([1], [0.9], part="test"))
    assert "on 1 test image: no better than always predicting 'alpaca'" in one.splitlines()[0]


def test_the_first_line_is_a_verdict() -> None:
    """Worse than the more frequent class, and hardly any of the other one to judge on."""
    labels, probabilities = [0] * 30 + [1] * 3, [0.2] * 26 + [0.9] * 4 + [0.1] * 3
    first = str(judged(labels, probabilities)).splitlines()[0]
    assert first.endswith(
        "on 33 validation images: worse than always predicting 'not alpaca'; "
        "only 3 of 'alpaca' to judge on"
    )
    sound = str(judged([0] * 20 + [1] * 20, [0.1] * 20 + [0.9] * 20)).splitlines()[0]
    assert sound.endswith("on 40 validation images")


def test_hostile_class_names_stay_on_their_line() -> None:
    names = ("a\nb\x1b[31m", "c")
    text = str(judged([1, 0], [0.9, 0.1], class_names=names, positive_class=names[0]))
    assert r"'a\nb\x1b[31m'" in text
    assert len(text.splitlines()) == 12


def test_json_round_trip() -> None:
    labels, probabilities = made_up(4)
    result = judged(
        labels, probabilities, random_head_baseline=Rate.wilson(0, 5), used_to_choose=("the phase",)
    )
    again = Evaluation.from_json(result.to_json())
    assert again == result
    assert isinstance(again.random_head_baseline, Rate)
    assert again.random_head_baseline.to_config() == Rate.wilson(0, 5).to_config()
    config = json.loads(result.to_json())
    assert config["rates"]["accuracy"] == result.accuracy.to_config()
    assert pickle.loads(pickle.dumps(result)) == result


def test_configs_that_are_no_evaluation_are_refused() -> None:
    config = judged([1, 0], [0.9, 0.1]).to_config()
    for broken in (
        {name: value for name, value in config.items() if name != "log_loss"},
        config | {"log_los": 1.0},
        config | {"true_positives": -1},
        config | {"true_positives": 0, "true_negatives": 0},
        config | {"positive_class": "llama"},
        config | {"threshold": 2.0},
        config | {"random_head_baseline": {"value": 0.5}},
        config | {"part": 3},
        config | {"used_to_choose": "everything"},
        config | {"roc_auc": 1.5},
        config | {"log_loss": float("nan")},
        config | {"log_loss": None},
    ):
        with pytest.raises(SettingError):
            Evaluation.from_config(broken)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": [], "probabilities": []}, "at least one image"),
        ({"labels": [1, 0, 1]}, r"one length, got shapes \[3\] and \[2\]"),
        ({"labels": [[1], [0]], "probabilities": [[0.1], [0.9]]}, "two lists"),
        ({"labels": [1, 2]}, r"0 or 1, got \[1, 2\]"),
        ({"labels": ["alpaca", "not"]}, "0 or 1"),
        ({"probabilities": [0.5, 1.01]}, r"0 to 1, got \[1.01\]"),
        ({"probabilities": [-0.1, 0.5]}, r"0 to 1, got \[-0.1\]"),
        ({"probabilities": [0.5, float("nan")]}, r"0 to 1, got \[nan\]"),
        ({"probabilities": ["0.1", "0.2"]}, "numbers from 0 to 1"),
        ({"threshold": 1.5}, "at most 1"),
        ({"threshold": float("nan")}, "finite"),
        ({"class_names": ("alpaca",)}, "two different names"),
        ({"class_names": ("alpaca", "alpaca")}, "two different names"),
        ({"class_names": "ab", "positive_class": "a"}, "two different names"),
        ({"positive_class": "alpacca"}, "did you mean 'alpaca'"),
        ({"used_to_choose": "the threshold"}, "must be a list of texts"),
    ],
)
def test_what_makes_no_sense_is_refused(changes: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {"labels": [1, 0], "probabilities": [0.9, 0.1]} | changes
    with pytest.raises(SettingError, match=message):
        judged(arguments.pop("labels"), arguments.pop("probabilities"), **arguments)
