"""The same photographs as pixels and as features, each squeezed into two dimensions."""

from __future__ import annotations

import numpy as np

from figures.drawing import Numbers, canvas
from figures.sources import FOLDS, Features, Floats, Seen, Sources
from tlkit.plot.figure import Grid
from tlkit.plot.style import Palette
from tlkit.training.head import fit_head

SIDE = 32  # pixels of the shrunken photographs whose colours are compared with features


def measure(sources: Sources) -> Numbers:
    """Project both, and measure how well a linear head does on each."""
    seen = sources.read(1.0, 224)
    pixels = seen.originals.images.read(seen.everything)[0].astype(np.float32) / 255
    block = pixels.shape[1] // SIDE
    shape = (len(pixels), SIDE, block, SIDE, block, 3)
    small = pixels.reshape(shape).mean(axis=(2, 4)).reshape(len(pixels), -1)
    panels = {"pixels": small, "features": seen.features}
    negative = next(n for n in seen.listing.class_names if n != seen.listing.positive_class)
    return {
        "labels": seen.labels.tolist(),
        "classes": [negative, seen.listing.positive_class],
        **{name: _panel(seen, rows) for name, rows in panels.items()},
    }


def _panel(seen: Seen, rows: Features) -> Numbers:
    centred = rows.astype(np.float64) - rows.mean(axis=0)
    left, lengths, _ = np.linalg.svd(centred, full_matrices=False)
    points = left[:, :2] * lengths[:2]
    points *= np.sign(
        points[np.abs(points).argmax(axis=0), [0, 1]]
    )  # the sign of an axis is arbitrary
    points /= points.std(axis=0)
    logits = _unseen_logits(seen, rows)
    right = (logits > 0) == (seen.labels > 0)
    return {
        "numbers": rows.shape[1],
        "points": np.round(points, 2).tolist(),
        "shares": np.round((lengths**2 / (lengths**2).sum())[:2], 3).tolist(),
        "accuracy": round(float(right.mean()), 3),
    }


def _unseen_logits(seen: Seen, rows: Features) -> Floats:
    """Judge every photograph by a head that has not learned from it."""
    fold_of = seen.folds(seen.everything, seed=0)
    logits = np.empty(len(rows))
    for fold in range(FOLDS):
        known = np.flatnonzero(fold_of != fold)
        head = fit_head(rows[known], seen.labels[known], folds=seen.folds(known, seed=0))
        logits[fold_of == fold] = head.logits(rows[fold_of == fold])
    return logits


def draw(numbers: Numbers, colours: Palette) -> Grid:
    """Draw a dot for each photograph, in the colour of its class."""
    axes = canvas(1, 2, height=3.1)
    labels = np.array(numbers["labels"])
    negative, positive = numbers["classes"]
    classes = ((1, colours.positive, positive, "o"), (0, colours.negative, negative, "s"))
    for ax, name in zip(axes[0], ("pixels", "features"), strict=True):
        panel = numbers[name]
        points = np.array(panel["points"])
        for label, colour, words, marker in classes:
            x, y = points[labels == label].T
            ax.plot(
                x,
                y,
                marker,
                markersize=3.2,
                color=colour,
                alpha=0.75,
                markeredgewidth=0,
                label=words,
            )
        ax.set(xticks=[], yticks=[], title=f"{panel['numbers']:,} {name}")
        ax.set_xlabel(
            f"a linear head is right\nfor {100 * panel['accuracy']:.0f} % of unseen images",
            color=colours.ink,
        )
        ax.spines[:].set_visible(True)
    axes.figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return axes


def statements(numbers: Numbers) -> list[str]:
    """List what the page must state."""
    pixels, features = numbers["pixels"], numbers["features"]
    share = {name: f"{100 * sum(numbers[name]['shares']):.0f} %" for name in ("pixels", "features")}
    guess = 1 - sum(numbers["labels"]) / len(numbers["labels"])
    return [
        f"one of the {len(numbers['labels'])} alpaca photographs",
        f"of {pixels['numbers']:,} and of {features['numbers']:,}",
        f"{share['pixels']} of the variance on the left and {share['features']} on the right",
        f"for {100 * pixels['accuracy']:.1f} % of them on pixels",
        f"gets {100 * guess:.1f} %",
        f"for {100 * features['accuracy']:.1f} % on features",
    ]
