"""How well probabilities fit labels, as functions of two arrays: labels 0 or 1, probabilities 0-1."""

from __future__ import annotations

import math
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from tlkit.errors import SettingError

Floats: TypeAlias = npt.NDArray[np.float64]
Ints: TypeAlias = npt.NDArray[np.int64]


def check_pairs(labels: npt.ArrayLike, probabilities: npt.ArrayLike) -> tuple[Ints, Floats]:
    """Return both as arrays, int64 and float64 `[N]`.

    Raises:
        SettingError: No images, shapes differ, a label is not 0 or 1, a probability not within 0 to 1.
    """
    truth, given = np.asarray(labels), np.asarray(probabilities)
    if truth.ndim != 1 or truth.shape != given.shape:
        raise SettingError(
            "`labels` and `probabilities` must be two lists of one length, "
            f"got shapes {list(truth.shape)} and {list(given.shape)}"
        )
    if truth.size == 0:
        raise SettingError("`labels` must hold at least one image, got none")
    if truth.dtype.kind not in "biuf" or not np.isin(truth, (0, 1)).all():
        raise SettingError(f"`labels` must be 0 or 1, got {np.unique(truth)[:5].tolist()}")
    if given.dtype.kind not in "biuf" or not ((given >= 0) & (given <= 1)).all():
        bad = (
            given[~((given >= 0) & (given <= 1))][:1].tolist()
            if given.dtype.kind in "iuf"
            else given.dtype
        )
        raise SettingError(
            f"`probabilities` must be numbers from 0 to 1, got {bad}: a logit is no probability"
        )
    return truth.astype(np.int64), given.astype(np.float64)


def check_logits(labels: npt.ArrayLike, logits: npt.ArrayLike) -> tuple[Ints, Floats]:
    """Return both as arrays, int64 and float64 `[N]`.

    Raises:
        SettingError: No images, shapes differ, a label is not 0 or 1, a logit is not a finite number.
    """
    given = np.asarray(logits)
    if given.dtype.kind not in "biuf" or not np.isfinite(given).all():
        raise SettingError(f"`logits` must be finite numbers, got {given.dtype}: {given[:5]}")
    if given.shape != np.shape(labels):
        raise SettingError(
            "`labels` and `logits` must be two lists of one length, "
            f"got shapes {list(np.shape(labels))} and {list(given.shape)}"
        )
    truth, _ = check_pairs(labels, np.zeros(given.shape))
    return truth, given.astype(np.float64)


def roc_auc(truth: Ints, given: Floats) -> float | None:
    """Return the rank statistic of Mann and Whitney; tied probabilities share their mean rank.

    Returns:
        0-1; None where a class is missing.
    """
    positives = int(truth.sum())
    pairs = positives * (truth.size - positives)
    if not pairs:
        return None
    _, inverse, counts = np.unique(given, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    return float((ranks[truth == 1].sum() - positives * (positives + 1) / 2) / pairs)


def average_precision(truth: Ints, given: Floats) -> float | None:
    """Return the precision at each distinct probability, weighted by the recall gained there.

    Returns:
        0-1; None where there is no positive.
    """
    if not truth.any():
        return None
    _, inverse = np.unique(-given, return_inverse=True)
    hits = np.bincount(inverse, weights=truth)
    precision = np.cumsum(hits) / np.cumsum(np.bincount(inverse))
    return float((precision * hits).sum() / truth.sum())


def standard_error(values: Floats) -> float | None:
    """Return the standard error of the mean of `values`; None of a single one.

    Examples:
        >>> standard_error(np.array([1.0, 2.0, 3.0, 4.0, 5.0])) == math.sqrt(2.5 / 5)
        True
    """
    return float(values.std(ddof=1)) / math.sqrt(values.size) if values.size > 1 else None
