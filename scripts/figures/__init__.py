"""The figures of docs/explanations. Each page has one, and each figure a module, with three functions.

* `measure(…)` returns the numbers that are shown, as plain JSON values.
* `draw(numbers, colours)` draws them.
* `statements(numbers)` lists what the page must state, word by word, so that text and figure agree.
"""

from types import ModuleType

from figures import (
    batch_norm,
    bottleneck_features,
    depthwise_convolutions,
    frozen_backbone,
    inverted_residuals,
    lp_ft,
    small_validation,
    unfamiliar,
)

COUNTED: dict[str, ModuleType] = {
    "frozen-backbone": frozen_backbone,
    "depthwise-convolutions": depthwise_convolutions,
    "inverted-residuals": inverted_residuals,
    "unfamiliar": unfamiliar,
}
"""Figures that need no photographs: their `measure` takes nothing."""

MEASURED: dict[str, ModuleType] = {
    "bottleneck-features": bottleneck_features,
    "batch-norm": batch_norm,
    "lp-ft": lp_ft,
    "small-validation": small_validation,
}
"""Figures that need photographs and weights: their `measure` takes `sources.Sources`."""

FIGURES = {**COUNTED, **MEASURED}
