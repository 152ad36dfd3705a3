"""Logits to probabilities, and to the log-loss of each example."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float64]
Ints: TypeAlias = npt.NDArray[np.int64]


def sigmoid(logits: Floats) -> Floats:
    """Return the probability that belongs to each logit."""
    probabilities: Floats = 0.5 * (1 + np.tanh(0.5 * logits))  # cannot overflow
    return probabilities


def log_losses(targets: Floats | Ints, logits: Floats) -> Floats:
    """Return -ln(probability of the true class) for each logit, exact for logits of any size."""
    losses: Floats = np.logaddexp(0, logits) - targets * logits
    return losses


def logits_of(probabilities: Floats) -> Floats:
    """Return the logit of each probability; 0 and 1, which have none, get that of the next number to them."""
    grain = np.finfo(np.float64).eps
    inside = np.clip(probabilities, grain, 1 - grain)
    return np.asarray(np.log(inside) - np.log1p(-inside))
