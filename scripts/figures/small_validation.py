"""How much an accuracy moves when other images are set aside."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from figures.drawing import Numbers, canvas
from figures.sources import FOLDS, Floats, Seen, Sources
from tlkit import Rate
from tlkit.core.rows import Indices
from tlkit.plot.figure import Grid
from tlkit.plot.style import Palette
from tlkit.training.head import fit_head

SPLITS = 100
CROSSED = 20
SIZES = (20, 40, 60, 80, 100, 140, 200, 400, 600, 1000, 2000, 3000)
FEW = 65  # a fifth of the photographs
SHARE = 0.95  # the accuracy that intervals are drawn around


def measure(sources: Sources) -> Numbers:
    """Split and cross-validate again and again, with another seed each time."""
    seen = sources.read(1.0, 224)
    splits = []
    for seed in range(SPLITS):
        split = seen.split(seed)
        right = _right(seen, split.train, split.validation, seed)
        splits.append([int(right.sum()), len(right)])
    crossed = []
    for seed in range(CROSSED):
        fold_of = seen.folds(seen.everything, seed)
        parts = [
            (np.flatnonzero(fold_of != fold), np.flatnonzero(fold_of == fold))
            for fold in range(FOLDS)
        ]
        crossed.append(sum(int(_right(seen, *part, seed).sum()) for part in parts))
    accuracies = np.array([right / count for right, count in splits])
    whole = np.array(crossed) / len(seen.labels)
    return {
        "images": len(seen.labels),
        "splits": splits,
        "crossed": crossed,
        "split accuracy": _spread(accuracies),
        "crossed accuracy": _spread(whole),
        "widths": {str(n): _width(n) for n in sorted({*SIZES, FEW, len(seen.labels)})},
    }


def _right(seen: Seen, known: Indices, judged: Indices, seed: int) -> npt.NDArray[np.bool_]:
    """Learn from some photographs, and return for which of the others the answer is right."""
    labels = seen.labels
    head = fit_head(seen.features[known], labels[known], folds=seen.folds(known, seed))
    called = head.logits(seen.features[judged]) > 0
    return np.equal(called, labels[judged] > 0)


def _spread(values: Floats) -> dict[str, float]:
    low, high = np.percentile(values, [2.5, 97.5])
    named = {
        "mean": values.mean(),
        "deviation": values.std(),
        "least": values.min(),
        "most": values.max(),
        "low": low,
        "high": high,
    }
    return {name: round(float(value), 3) for name, value in named.items()}


def _width(count: int) -> list[float]:
    rate = Rate.wilson(round(SHARE * count), count)
    return [round(rate.low, 3), round(rate.high, 3)]


def draw(numbers: Numbers, colours: Palette) -> Grid:
    """Draw how wide intervals are, and where the accuracies came to lie."""
    axes = canvas(2, 1, height=5.4)
    width, spread = axes[:, 0]
    smooth = {int(n): ends for n, ends in numbers["widths"].items() if int(n) % 20 == 0}
    sizes, (low, high) = list(smooth), 100 * np.array(list(smooth.values())).T
    width.fill_between(sizes, low, high, color=colours.first, alpha=0.25, linewidth=0)
    width.axhline(100 * SHARE, color=colours.first, linewidth=1.2)
    for count in (FEW, numbers["images"]):
        ends = [100 * end for end in numbers["widths"][str(count)]]
        width.plot([count, count], ends, color=colours.positive, linewidth=1.6)
        width.annotate(
            f"{count} images\n{ends[0]:.0f} to {ends[1]:.0f} %",
            (count, ends[0]),
            (4, -6),
            textcoords="offset points",
            va="top",
            size=9,
        )
    width.set(
        xscale="log",
        xlabel="validation images",
        ylabel="accuracy (%)",
        title=f"What {100 * SHARE:.0f} % may mean: 95 % intervals",
    )
    width.set_xticks([20, 65, 327, 1000, 3000], ["20", "65", "327", "1,000", "3,000"])
    width.minorticks_off()
    ours = [100 * right / count for right, count in numbers["splits"]]
    step = 100 / FEW
    bins = np.arange(100 + step / 2, min(ours) - step, -step)[::-1]
    shares = np.full(len(ours), 100 / len(ours))
    words = f"{len(ours)} splits: {FEW} judged in each"
    spread.hist(ours, bins, color=colours.second, weights=shares, label=words, rwidth=0.92)
    ends = [100 * numbers["crossed accuracy"][end] for end in ("least", "most")]
    words = f"{len(numbers['crossed'])} cross-validations: all judged"
    spread.axvspan(*ends, color=colours.positive, alpha=0.45, linewidth=0, label=words)
    spread.set(
        xlabel="accuracy (%)",
        ylabel="of the repeats (%)",
        title="The same photographs and recipe, other seeds",
    )
    spread.set(xlim=(min(ours) - 2.5, 101), ylim=(0, 45))
    spread.legend(loc="upper left")
    return axes


def statements(numbers: Numbers) -> list[str]:
    """List what the page must state."""
    splits, crossed = numbers["split accuracy"], numbers["crossed accuracy"]
    few, all_of_them = (numbers["widths"][str(n)] for n in (FEW, numbers["images"]))
    perfect = sum(right == count for right, count in numbers["splits"])
    return [
        f"from {few[0]:.2f} to {few[1]:.2f}",
        f"from {all_of_them[0]:.2f} to {all_of_them[1]:.2f}",
        f"{len(numbers['splits'])} splits",
        f"between {splits['least']:.2f} and {splits['most']:.2f}",
        f"{perfect} of them",
        f"standard deviation is {splits['deviation']:.3f}",
        f"{len(numbers['crossed'])} cross-validations",
        f"between {crossed['least']:.3f} and {crossed['most']:.3f}",
        f"standard deviation of {crossed['deviation']:.3f}",
    ]
