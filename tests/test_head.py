"""The exact head: equal to scikit-learn's, robust, deterministic, bounded in memory."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.utils.class_weight import compute_sample_weight
from threadpoolctl import threadpool_info, threadpool_limits

from tlkit.core.rows import FeatureRows, Rows
from tlkit.errors import SettingError, TlkitError
from tlkit.features.views import Selected, Views
from tlkit.training import head as head_module
from tlkit.training import newton as logistic
from tlkit.training.head import LinearHead, class_weights, fit_head
from tlkit.training.newton import CentredRows

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def made_up(rows: int, width: int, *, seed: int = 0, noise: float = 1.0) -> tuple[Floats, Ints]:
    """Non-negative, correlated features, as a ReLU network gives them."""
    random = np.random.default_rng(seed)
    causes = random.normal(size=(rows, 6))
    mixed = causes @ random.normal(size=(6, width)) + 0.5 * random.normal(size=(rows, width))
    labels = (causes[:, 0] + noise * random.normal(size=rows) > 0.3).astype(np.int64)
    return np.maximum(mixed, 0), labels


def folds_of(labels: Ints, count: int = 5) -> Ints:
    folds = np.empty(labels.size, np.int64)
    for label in (0, 1):
        folds[labels == label] = np.arange((labels == label).sum()) % count
    return folds


def oracle(features: Floats, labels: Ints, l2: float, weights: Floats | None = None) -> Any:
    total = labels.size if weights is None else weights.sum()
    model = LogisticRegression(
        C=1 / (l2 * total), solver="newton-cholesky", tol=1e-12, max_iter=500
    )
    return model.fit(features, labels, sample_weight=weights)


def norm(vector: Floats) -> float:
    return float(np.linalg.norm(vector))


def objective(head: LinearHead, features: Floats, labels: Ints) -> float:
    logits = head.logits(features)
    losses = np.logaddexp(0, logits) - labels * logits
    return float(losses.mean() + head.l2 / 2 * (head.kernel**2).sum())


def assert_same(head: LinearHead, model: Any, features: Floats) -> None:
    np.testing.assert_allclose(head.kernel, model.coef_[0], atol=1e-4, rtol=1e-4)
    assert head.bias == pytest.approx(model.intercept_[0], abs=1e-4, rel=1e-4)
    probabilities = 1 / (1 + np.exp(-head.logits(features)))
    np.testing.assert_allclose(probabilities, model.predict_proba(features)[:, 1], atol=1e-4)


@pytest.mark.parametrize("shape", [(40, 7), (60, 60), (30, 120), (200, 90), (5, 1)])
@pytest.mark.parametrize("l2", [10.0, 0.1, 1e-3])
def test_equals_scikit_learn(shape: tuple[int, int], l2: float) -> None:
    features, labels = made_up(*shape)
    assert_same(fit_head(features, labels, l2=l2), oracle(features, labels, l2), features)


@pytest.mark.parametrize("shape", [(80, 10), (30, 100)])
def test_equals_scikit_learn_with_weights(shape: tuple[int, int]) -> None:
    features, labels = made_up(*shape)
    weights = np.random.default_rng(1).uniform(0, 3, shape[0])
    weights[:4] = 0
    head = fit_head(features, labels, l2=0.02, sample_weight=weights)
    assert_same(head, oracle(features, labels, 0.02, weights), features)


def test_weights_are_repetitions() -> None:
    features, labels = made_up(50, 8)
    counts = np.random.default_rng(2).integers(1, 4, 50)
    weighted = fit_head(features, labels, l2=0.1, sample_weight=counts)
    repeated = fit_head(np.repeat(features, counts, axis=0), np.repeat(labels, counts), l2=0.1)
    np.testing.assert_allclose(weighted.kernel, repeated.kernel, atol=1e-9)


@pytest.mark.parametrize("shape", [(50, 12), (40, 90)])
def test_search_takes_the_smallest_held_out_log_loss(shape: tuple[int, int]) -> None:
    features, labels = made_up(*shape, noise=2.0)
    folds = folds_of(labels)
    head = fit_head(features, labels, folds=folds)
    strengths, losses = zip(*head.path, strict=True)
    assert head.l2 == strengths[int(np.argmin(losses))]
    assert list(strengths) == sorted(strengths, reverse=True)
    for strength, loss in head.path:
        logits = np.empty(labels.size)
        for fold in range(5):
            model = oracle(features[folds != fold], labels[folds != fold], strength)
            logits[folds == fold] = model.decision_function(features[folds == fold])
        assert loss == pytest.approx((np.logaddexp(0, logits) - labels * logits).mean(), abs=1e-4)
        if strength == head.l2:
            assert head.out_of_fold_logits is not None
            np.testing.assert_allclose(head.out_of_fold_logits, logits, atol=5e-3)
    assert_same(head, oracle(features, labels, head.l2), features)


def test_a_given_strength_still_gives_out_of_fold_logits() -> None:
    features, labels = made_up(60, 9)
    head = fit_head(features, labels, folds=folds_of(labels), l2=np.float64(0.3))
    assert [strength for strength, _ in head.path] == [head.l2] == [0.3]
    assert head.out_of_fold_logits is not None
    plain = fit_head(features, labels, l2=0.3)
    assert plain.path == ()
    assert plain.out_of_fold_logits is None
    np.testing.assert_allclose(head.kernel, plain.kernel, atol=1e-8)


def test_fold_numbers_may_have_gaps() -> None:
    features, labels = made_up(60, 9)
    folds = folds_of(labels, 3)
    first = fit_head(features, labels, folds=folds)
    second = fit_head(features, labels, folds=folds * 10 + 4)
    np.testing.assert_array_equal(first.kernel, second.kernel)


def test_weights_count_in_the_held_out_log_loss() -> None:
    features, labels = made_up(60, 9)
    weights = class_weights(labels, (1.0, 5.0))
    head = fit_head(features, labels, folds=folds_of(labels), l2=0.1, sample_weight=weights)
    assert head.out_of_fold_logits is not None
    logits = head.out_of_fold_logits
    losses = np.logaddexp(0, logits) - labels * logits
    assert head.path[0][1] == pytest.approx((weights * losses).sum() / weights.sum())


@pytest.mark.parametrize("shape", [(300, 20), (30, 50)])
def test_deterministic_to_the_last_bit(shape: tuple[int, int]) -> None:
    features, labels = made_up(*shape)
    first, second = (fit_head(features, labels, folds=folds_of(labels)) for _ in range(2))
    assert first.kernel.tobytes() == second.kernel.tobytes()
    assert (first.bias, first.l2, first.path) == (second.bias, second.l2, second.path)
    assert first.out_of_fold_logits is not None
    assert second.out_of_fold_logits is not None
    assert first.out_of_fold_logits.tobytes() == second.out_of_fold_logits.tobytes()


def hard_cases() -> dict[str, tuple[Floats, Ints]]:
    features, labels = made_up(60, 8)
    wide, wide_labels = made_up(20, 50)
    separable = features.copy()
    separable[:, 0] = 10.0 * labels
    return {
        "separable": (separable, labels),
        "wide and so separable": (wide, wide_labels),
        "duplicated columns": (np.hstack([features, features, features[:, :1]]), labels),
        "constant columns": (np.hstack([features, np.full((60, 2), 7.0)]), labels),
        "only constants": (np.full((60, 3), -2.0), labels),
        "all zero": (np.zeros((20, 50)), wide_labels),
        "huge": (features * 1e12, labels),
        "tiny": (features * 1e-12, labels),
        "columns of every scale": (features * 10.0 ** np.arange(-8, 8, 2), labels),
        "far from zero": (features + 1e6, labels),
        "one positive": (features, (np.arange(60) == 3).astype(np.int64)),
        "two rows": (features[:2], np.array([0, 1])),
    }


@pytest.mark.parametrize("case", list(hard_cases()))
@pytest.mark.parametrize("l2", [1e6, 1.0, 1e-4, 1e-9])
def test_always_converges(case: str, l2: float) -> None:
    features, labels = hard_cases()[case]
    head = fit_head(features, labels, l2=l2)
    best = objective(head, features, labels)
    assert np.isfinite(head.kernel).all()
    # The objective is convex: no small move in any direction of the rows or the bias may improve it.
    random = np.random.default_rng(0)
    for size in (1e-1, 1e-3):
        for _ in range(10):
            move = random.normal(size=labels.size) @ (features - features.mean(axis=0))
            move *= size * max(norm(head.kernel), 1e-9) / max(norm(move), 1e-300)
            moved = LinearHead(
                kernel=head.kernel + move,
                bias=head.bias - float(features.mean(axis=0) @ move),
                l2=l2,
            )
            assert objective(moved, features, labels) >= best - 1e-9 * (1 + best)
    shifted = LinearHead(kernel=head.kernel, bias=head.bias + 1e-3, l2=l2)
    assert objective(shifted, features, labels) >= best - 1e-9


@pytest.mark.parametrize(
    "case", [name for name in hard_cases() if name not in {"one positive", "two rows"}]
)
def test_search_survives(case: str) -> None:
    features, labels = hard_cases()[case]
    head = fit_head(features, labels, folds=folds_of(labels, 3))
    assert np.isfinite(head.kernel).all()
    guess = -np.log(np.bincount(labels) / labels.size) @ np.bincount(labels) / labels.size
    assert min(loss for _, loss in head.path) <= guess + 0.02


def test_noise_is_given_up() -> None:
    random = np.random.default_rng(5)
    features, labels = random.normal(size=(200, 300)), random.integers(0, 2, 200)
    head = fit_head(features, labels, folds=folds_of(labels))
    assert np.abs(head.logits(features)).max() < 1.0


def test_blocks_give_the_same_head(monkeypatch: pytest.MonkeyPatch) -> None:
    features, labels = made_up(500, 12)
    whole = fit_head(features, labels, folds=folds_of(labels))
    monkeypatch.setattr(logistic, "BLOCK_NUMBERS", 12 * 7)
    parts = fit_head(features, labels, folds=folds_of(labels))
    np.testing.assert_allclose(parts.kernel, whole.kernel, atol=1e-9)
    np.testing.assert_allclose(parts.logits(features), whole.logits(features), atol=1e-9)


def test_many_rows_choose_on_some_and_solve_on_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head_module, "SEARCH_ROWS", 200)
    features, labels = made_up(1000, 12, noise=0.3)
    folds = folds_of(labels)
    head = fit_head(features, labels, folds=folds)
    assert head.l2 == pytest.approx(min(head.path, key=lambda pair: pair[1])[0] * 200 / 1000)
    assert_same(head, oracle(features, labels, head.l2), features)
    assert fit_head(features, labels, folds=folds, l2=0.5).l2 == 0.5
    assert head.out_of_fold_logits is not None
    assert head.out_of_fold_logits.shape == (1000,)
    assert ((head.out_of_fold_logits > 0) == labels).mean() > 0.7
    chosen, _ = head_module._sample(labels, np.ones(1000), folds, 200)
    assert 199 <= chosen.size == np.unique(chosen).size <= 200
    for label in (0, 1):
        assert (labels[chosen] == label).sum() == pytest.approx((labels == label).sum() / 5, abs=1)
        for fold in range(5):
            here = (labels == label) & (folds == fold)
            assert here[chosen].sum() == pytest.approx(here.sum() / 5, abs=2)


def test_a_rare_class_is_searched_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head_module, "SEARCH_ROWS", 100)
    features, _ = made_up(2000, 5)
    labels = (features[:, 0] >= np.sort(features[:, 0])[-8]).astype(np.int64)
    weights = np.random.default_rng(0).uniform(0, 2, 2000)
    chosen, shares = head_module._sample(labels, weights, folds_of(labels, 4), 100)
    assert labels[chosen].sum() == labels.sum() == 8
    for label in (0, 1):  # together they weigh as much as those they stand for
        assert shares[labels[chosen] == label].sum() == pytest.approx(
            weights[labels == label].sum()
        )
    head = fit_head(features, labels, folds=folds_of(labels, 4))
    # Its rows count for no more than they are: the guess without features is the share in all rows.
    share = 8 / 2000
    guess = -share * np.log(share) - (1 - share) * np.log(1 - share)
    assert head.path[0][1] == pytest.approx(guess, rel=0.2)
    assert_same(head, oracle(features, labels, head.l2), features)


def test_memory_stays_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head_module, "SEARCH_ROWS", 500)
    monkeypatch.setattr(logistic, "BLOCK_NUMBERS", 1 << 16)
    features, labels = made_up(40_000, 40)
    path = tmp_path / "features.npy"
    np.save(path, features.astype(np.float32))
    mapped = np.load(path, mmap_mode="r")
    tracemalloc.start()
    head = fit_head(mapped, labels, folds=folds_of(labels))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < features.nbytes / 2
    assert_same(
        head, oracle(features.astype(np.float32).astype(np.float64), labels, head.l2), features
    )


class RowGroups:
    """Features in a Parquet file, one list a row: what `FeatureRows` asks for and nothing else."""

    ndim, dtype = 2, np.dtype(np.float32)

    def __init__(self, path: Path, features: npt.NDArray[np.float32], height: int) -> None:
        pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        column = pa.FixedSizeListArray.from_arrays(features.ravel(), features.shape[1])
        pq.write_table(pa.table({"features": column}), path, row_group_size=height)
        self.file, self.height = pq.ParquetFile(path), height
        self.shape: tuple[int, ...] = features.shape

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | Ints, /) -> npt.NDArray[np.float32]:
        wanted = np.arange(self.shape[0])[rows]
        groups, places = np.unique(wanted // self.height, return_inverse=True)
        column = self.file.read_row_groups(groups.tolist())["features"].combine_chunks()
        together = column.flatten().to_numpy().reshape(-1, self.shape[1])
        return np.asarray(together[places * self.height + wanted % self.height])


def spilled(features: npt.NDArray[np.float32]) -> Selected:
    """Every second or third row of a file: the training split of a large folder."""
    count, width = features.shape
    indices = np.cumsum(np.random.default_rng(0).integers(1, 4, count))
    rows = Rows(int(indices[-1]) + 1, (width,), np.float32, memory_budget=0)
    rows.write(indices, features)
    return Selected(Views(rows, None, np.empty(0, np.int64)), indices)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    count=st.integers(60, 700),
    width=st.integers(1, 12),
    block=st.integers(1, 3000),
    l2=st.floats(1e-4, 10),
    weighted=st.booleans(),
    sampled=st.booleans(),
    kind=st.sampled_from(["mapped", "spilled", "parquet"]),
)
def test_streamed_is_in_memory(
    count: int, width: int, block: int, l2: float, weighted: bool, sampled: bool, kind: str
) -> None:
    features, labels = made_up(count, width, noise=0.3)
    single = features.astype(np.float32)
    weights = np.random.default_rng(count).uniform(0, 3, count).round() if weighted else None
    whole = fit_head(
        single, labels, folds=(folds := folds_of(labels)), l2=l2, sample_weight=weights
    )
    with TemporaryDirectory() as place, pytest.MonkeyPatch.context() as patch:
        patch.setattr(logistic, "BLOCK_NUMBERS", block)
        if sampled:
            patch.setattr(head_module, "SAMPLE_NUMBERS", 1)
        streamed: FeatureRows = spilled(single)
        if kind == "mapped":
            np.save(Path(place, "features.npy"), single)
            streamed = np.load(Path(place, "features.npy"), mmap_mode="r")
        elif kind == "parquet":
            streamed = RowGroups(Path(place, "features.parquet"), single, 50)
        head = fit_head(streamed, labels, folds=folds, l2=l2, sample_weight=weights)
        logits = head.logits(streamed)
    np.testing.assert_allclose(head.kernel, whole.kernel, atol=1e-6, rtol=1e-6)
    assert head.bias == pytest.approx(whole.bias, abs=1e-6, rel=1e-6)
    np.testing.assert_allclose(logits, whole.logits(single), atol=1e-6)
    assert head.out_of_fold_logits is not None
    assert whole.out_of_fold_logits is not None
    np.testing.assert_allclose(head.out_of_fold_logits, whole.out_of_fold_logits, atol=1e-6)


@pytest.mark.parametrize("case", list(hard_cases()))
def test_a_sample_leads_to_the_same_head(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    few, few_labels = hard_cases()[case]
    random = np.random.default_rng(0)
    chosen = random.integers(0, len(few), 1500)
    features = few[chosen] * (1 + 0.05 * random.normal(size=(1500, few.shape[1])))
    labels = few_labels[chosen]
    l2 = 1e-3 * (features.var(axis=0).sum() or 1.0)
    whole = fit_head(features, labels, l2=l2)
    monkeypatch.setattr(head_module, "SAMPLE_NUMBERS", 1)
    head = fit_head(features, labels, l2=l2)
    size = np.abs(whole.kernel).max() + np.finfo(float).tiny
    np.testing.assert_allclose(head.kernel / size, whole.kernel / size, atol=1e-6)
    np.testing.assert_allclose(head.logits(features), whole.logits(features), atol=1e-6)


def test_many_rows_are_read_some_times_not_thousands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head_module, "SAMPLE_NUMBERS", 1000 * 20)
    features, labels = made_up(6000, 20)
    passes, blocks = [0], CentredRows.blocks

    def counted(rows: CentredRows) -> Iterator[tuple[slice, Floats]]:
        passes[0] += len(rows.features) == 6000
        return blocks(rows)

    def refused(rows: CentredRows, weights: Floats) -> Floats:
        assert len(rows.features) < 6000, "the Hessian of all rows costs half as much as D passes"
        return moments(rows, weights)

    moments = CentredRows.second_moments
    monkeypatch.setattr(CentredRows, "blocks", counted)
    monkeypatch.setattr(CentredRows, "second_moments", refused)
    fit_head(features, labels, folds=folds_of(labels), l2=1e-3)
    assert passes[0] <= 40  # the head in some 20, those of the folds in as many


def test_memory_grows_by_a_few_numbers_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head_module, "SEARCH_ROWS", 500)
    monkeypatch.setattr(head_module, "SAMPLE_NUMBERS", 1)
    monkeypatch.setattr(logistic, "BLOCK_NUMBERS", 1 << 14)
    peaks = []
    for count in (4_000, 16_000):
        features, labels = made_up(count, 64)
        streamed, folds = spilled(features.astype(np.float32)), folds_of(labels, 10)
        del features
        tracemalloc.start()
        fit_head(streamed, labels, folds=folds, l2=0.1)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert (peaks[1] - peaks[0]) / 12_000 < 20 * 8  # bytes; the features themselves are 64 * 4


def test_a_file_that_breaks_off_is_an_error_not_a_wait() -> None:
    features, labels = made_up(2000, 400)
    streamed = spilled(features.astype(np.float32))
    file = streamed._views._originals._file
    assert file is not None
    file.truncate(1_000_000)
    with pytest.raises(TlkitError, match="shortened"):
        fit_head(streamed, labels, l2=0.1)


def test_inputs_stay_untouched_and_results_cannot_change() -> None:
    features, labels = made_up(30, 40)
    kept = features.copy()
    head = fit_head(features, labels, folds=folds_of(labels))
    np.testing.assert_array_equal(features, kept)
    assert head.out_of_fold_logits is not None
    for array in (head.kernel, head.out_of_fold_logits):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1
    assert head == head
    assert head != fit_head(features, labels, l2=head.l2)


def test_integer_and_half_features_are_numbers_too() -> None:
    random = np.random.default_rng(0)
    features = random.integers(0, 9, (40, 5))
    labels = (features[:, 0] > 4).astype(np.int64)
    exact = fit_head(features.astype(np.float64), labels, l2=0.1)
    for dtype in (np.uint8, np.float16, np.float32):
        np.testing.assert_array_equal(
            fit_head(features.astype(dtype), labels, l2=0.1).kernel, exact.kernel
        )


FEATURES, LABELS = made_up(12, 3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"features": np.where(np.arange(36).reshape(12, 3) == 16, np.nan, FEATURES)},
            "row 5 is not",
        ),
        (
            {"features": np.where(np.arange(36).reshape(12, 3) == 35, np.inf, FEATURES)},
            "row 11 is not",
        ),
        ({"features": FEATURES * 1e150}, "smaller than 1e100"),
        ({"features": FEATURES[0]}, "shape"),
        ({"features": FEATURES[:, :0]}, "shape"),
        ({"features": FEATURES[:5]}, "5 rows for 12 labels"),
        ({"features": FEATURES.astype(str)}, "must be numbers"),
        ({"labels": LABELS + 1}, "must be 0 or 1, got 2"),
        ({"labels": LABELS[:, None]}, "list of 0 and 1"),
        ({"labels": []}, "list of 0 and 1"),
        ({"labels": ["alpaca"] * 12}, "list of 0 and 1"),
        ({"labels": np.ones(12, int)}, "both classes.*0 of class 0 and 12 of class 1"),
        ({"sample_weight": -np.ones(12)}, "at least 0"),
        ({"sample_weight": np.full(12, np.nan)}, "finite"),
        ({"sample_weight": np.ones(5)}, "12 numbers"),
        ({"sample_weight": LABELS}, "both classes"),
        ({"l2": 0.0}, "above 0"),
        ({"l2": -1.0}, "above 0"),
        ({"l2": float("nan")}, "finite"),
        ({"l2": float("inf")}, "finite"),
        ({"l2": -1.0, "folds": folds_of(LABELS, 3)}, "above 0"),
        ({"l2": None}, "give `folds`"),
        ({"folds": np.zeros(12, int)}, "two different numbers"),
        ({"folds": np.zeros(12)}, "whole numbers"),
        ({"folds": np.arange(5)}, "12 whole numbers"),
        ({"folds": LABELS}, "without fold 0 only one class is left"),
    ],
)
def test_what_makes_no_sense_is_refused(changes: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {"features": FEATURES, "labels": LABELS, "l2": 0.1} | changes
    with pytest.raises(SettingError, match=message):
        fit_head(arguments.pop("features"), arguments.pop("labels"), **arguments)


def test_a_search_that_does_not_end_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logistic, "NEWTON_STEPS", 1)
    with pytest.raises(SettingError, match="give a larger `l2`"):
        fit_head(FEATURES, LABELS, l2=0.1)


@pytest.mark.parametrize("shape", [(4,), (5, 4), (2, 3, 1)])
def test_logits_of_another_width_are_refused(shape: tuple[int, ...]) -> None:
    head = fit_head(FEATURES, LABELS, l2=0.1)
    with pytest.raises(SettingError, match=r"\[N, 3\]"):
        head.logits(np.zeros(shape))
    assert head.logits(np.zeros((0, 3))).shape == (0,)


@pytest.mark.parametrize("labels", [[0, 1], [0, 0, 0, 1], [1] * 7 + [0] * 3])
@pytest.mark.parametrize("setting", [None, "balanced", (0.5, 4.0)])
def test_class_weights_are_scikit_learns(labels: list[int], setting: Any) -> None:
    theirs = dict(enumerate(setting)) if isinstance(setting, tuple) else setting
    expected = compute_sample_weight(theirs, labels)
    np.testing.assert_allclose(class_weights(labels, setting), expected)


@pytest.mark.parametrize(
    "setting", ["balance", "no", (1.0,), (1.0, 2.0, 3.0), (0.0, 1.0), (1.0, np.inf), 3]
)
def test_other_class_weights_are_refused(setting: Any) -> None:
    with pytest.raises(SettingError, match="class_weight"):
        class_weights([0, 1], setting)


def test_a_missing_class_cannot_be_balanced() -> None:
    with pytest.raises(SettingError, match="0 of class 0 and 2 of class 1"):
        class_weights([1, 1], "balanced")


def test_a_small_head_has_the_same_bits_with_any_number_of_threads() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(400, 900)).astype(np.float32)
    labels = (features[:, :5].sum(axis=1) + rng.normal(size=400) > 0).astype(np.int64)
    with threadpool_limits(1, user_api="blas"):
        one = fit_head(features, labels, folds=np.arange(400) % 5)
    with threadpool_limits(2, user_api="blas"):
        two = fit_head(features, labels, folds=np.arange(400) % 5)
        counts = {p["num_threads"] for p in threadpool_info() if p["user_api"] == "blas"}
    np.testing.assert_array_equal(one.kernel, two.kernel)
    assert one.bias == two.bias
    assert 1 not in counts  # what the caller had set is as it was
