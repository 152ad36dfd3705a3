"""How good it is: the confusion matrix, and the curves of ROC, precision, calibration and thresholds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tlkit.classifier.classifier import TransferClassifier
from tlkit.evaluation.calibration import Calibration
from tlkit.evaluation.log_loss import sigmoid
from tlkit.evaluation.rate import Rate
from tlkit.evaluation.reliability import Bins, reliability_bins
from tlkit.evaluation.scores import CrossValidation
from tlkit.plot.figure import Grid, add_legend, one_plot, shortened, title
from tlkit.plot.points import (
    Floats,
    Judged,
    f1_points,
    precision_recall_points,
    roc_points,
    steps,
)
from tlkit.plot.style import Palette

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SQUARE = (4.6, 4.5)  # inches


def confusion(
    result: TransferClassifier | CrossValidation, *, part: str | None = None, ax: Axes | None = None
) -> Grid:
    """Draw the confusion matrix: how many images of each class were predicted as which.

    Args:
        result: A classifier, or a cross-validation.
        part: Which split, such as `"test"`. None: the validation split of a classifier, all out-of-fold
            predictions of a cross-validation.
        ax: Existing axes to draw into. None makes a figure.

    Returns:
        Axes `[1]`.

    Raises:
        MissingExtraError: matplotlib is not installed.
        SettingError: `result` has no such split.
    """
    with one_plot(ax, (4.8, 4.2)) as (axes, colours):
        judged = Judged.of(result, part)
        found = judged.evaluation
        cells = (  # row, column, count, of how many, what it is
            (0, 0, found.true_positives, found.positive_count, _rate("recall", found.recall)),
            (0, 1, found.false_negatives, found.positive_count, "missed"),
            (1, 0, found.false_positives, found.negative_count, "false alarms"),
            (
                1,
                1,
                found.true_negatives,
                found.negative_count,
                _rate("specificity", found.specificity),
            ),
        )
        for row, column, count, among, text in cells:
            _cell(axes[0], (column, row), count, among, text, colours)
        names = [shortened(name, 18) for name in (found.positive_class, found.negative_class)]
        axes[0].set(xlim=(0, 2), ylim=(2, 0))
        axes[0].set_xticks([0.5, 1.5], [f"called {name}" for name in names], parse_math=False)
        axes[0].set_yticks([0.5, 1.5], [f"is {name}" for name in names], parse_math=False)
        axes[0].tick_params(length=0, labelsize=9, labelcolor=colours.ink)
        for label in axes[0].get_yticklabels():
            label.set(rotation=90, va="center")
        axes[0].grid(visible=False)
        axes[0].spines[:].set_visible(False)
        right = found.true_positives + found.true_negatives
        at = f"threshold {found.threshold:.3g}"
        title(axes, f"{right:,} of {judged.images} called right ({at})", ax)
    return axes


def roc(
    result: TransferClassifier | CrossValidation, *, part: str | None = None, ax: Axes | None = None
) -> Grid:
    """Draw the ROC curve: recall against the false positive rate, for every threshold.

    Args:
        result: A classifier, or a cross-validation.
        part: As in `confusion`.
        ax: Existing axes to draw into. None makes a figure.

    Returns:
        Axes `[1]`: the curve, and the threshold in use with 95 % intervals both ways.

    Raises:
        MissingExtraError: matplotlib is not installed.
        SettingError: `result` has no such split, or it holds one class only.
    """
    with one_plot(ax, _SQUARE) as (axes, colours):
        judged = Judged.of(result, part)
        judged.check_classes()
        found = judged.evaluation
        curve = roc_points(steps(judged.labels, judged.scores.probabilities))
        axes[0].plot(
            [0, 1], [0, 1], color=colours.faint, linewidth=1, linestyle=":", label="guessing"
        )
        _curve(axes[0], *curve, colours)
        if found.specificity is not None and found.recall is not None:
            quiet = found.specificity
            alarms = Rate(1 - quiet, low=1 - quiet.high, high=1 - quiet.low, count=quiet.count)
            _mark_threshold(axes[0], alarms, found.recall, found.threshold, colours)
        _frame_square(axes[0])
        positive, negative = (
            shortened(n, 20) for n in (found.positive_class, found.negative_class)
        )
        axes[0].set_xlabel(f"share of {negative} called {positive}", parse_math=False)
        axes[0].set_ylabel(f"share of {positive} found (recall)", parse_math=False)
        add_legend(axes[0], loc="lower right")
        title(axes, f"ROC-AUC {found.roc_auc:.3f} on {judged.images}", ax)
    return axes


def precision_recall(
    result: TransferClassifier | CrossValidation, *, part: str | None = None, ax: Axes | None = None
) -> Grid:
    """Draw precision against recall: the curve to look at when the positive class is rare.

    Args:
        result: A classifier, or a cross-validation.
        part: As in `confusion`.
        ax: Existing axes to draw into. None makes a figure.

    Returns:
        Axes `[1]`: the curve, and the threshold in use with 95 % intervals both ways. The area under the
        curve is the average precision.

    Raises:
        MissingExtraError: matplotlib is not installed.
        SettingError: `result` has no such split, or it holds one class only.
    """
    with one_plot(ax, _SQUARE) as (axes, colours):
        judged = Judged.of(result, part)
        judged.check_classes()
        found = judged.evaluation
        precision, recall = precision_recall_points(
            steps(judged.labels, judged.scores.probabilities)
        )
        share = found.positive_count / found.count
        axes[0].axhline(share, color=colours.faint, linewidth=1, linestyle=":", label="guessing")
        x, y = np.concatenate([[0], recall]), np.concatenate([precision[:1], precision])
        _curve(axes[0], x, y, colours, drawstyle="steps-pre")
        if found.precision is not None and found.recall is not None:
            _mark_threshold(axes[0], found.recall, found.precision, found.threshold, colours)
        _frame_square(axes[0])
        name = shortened(found.positive_class, 20)
        axes[0].set_xlabel(f"share of {name} found (recall)", parse_math=False)
        axes[0].set_ylabel(f"share of what is called {name} that is (precision)", parse_math=False)
        add_legend(axes[0], loc="lower left")
        title(axes, f"Average precision {found.pr_auc:.3f} on {judged.images}", ax)
    return axes


def reliability(
    result: TransferClassifier | CrossValidation,
    *,
    part: str | None = None,
    calibration: Calibration | None = None,
    ax: Axes | None = None,
) -> Grid:
    """Draw calibration: of the images with a probability of 80 %, are 80 % positive?

    Args:
        result: A classifier, or a cross-validation.
        part: As in `confusion`.
        calibration: The calibration of the probabilities; the curve before it is then drawn beside. None:
            the calibration of the classifier.
        ax: Existing axes to draw into. None makes a figure.

    Returns:
        Axes `[1]`: the share of positives in ten bins of probability, with 95 % intervals (Wilson) and the
        number of images in each bin.

    Raises:
        MissingExtraError: matplotlib is not installed.
        SettingError: `result` has no such split.
    """
    with one_plot(ax, _SQUARE) as (axes, colours):
        judged = Judged.of(result, part)
        found = judged.evaluation
        if calibration is None and isinstance(result, TransferClassifier):
            calibration = result.calibration
        if calibration is not None and calibration.is_identity:
            calibration = None
        bins = reliability_bins(judged.labels, judged.scores.probabilities)
        axes[0].plot(
            [0, 1], [0, 1], color=colours.faint, linewidth=1, linestyle=":", label="as it should be"
        )
        if calibration is not None:
            raw = sigmoid(calibration.undo(judged.scores.logits))
            before = reliability_bins(judged.labels, raw)
            axes[0].plot(
                before.means,
                before.shares,
                color=colours.second,
                marker="s",
                markerfacecolor=colours.paper,
                markersize=4.5,
                linestyle="--",
                linewidth=0.9,
                label=f"before calibration: error {before.error:.3f}",
            )
        now = "probabilities" if calibration is None else "calibrated"
        _draw_bins(axes[0], bins, f"{now}: error {bins.error:.3f}", colours)
        _frame_square(axes[0])
        name = shortened(found.positive_class, 20)
        axes[0].set_xlabel(f"mean probability of {name}", parse_math=False)
        axes[0].set_ylabel(f"share that is {name}, with 95 % intervals", parse_math=False)
        add_legend(axes[0], loc="best")
        title(axes, f"Calibration error {bins.error:.3f} on {judged.images}", ax)
    return axes


def thresholds(
    result: TransferClassifier | CrossValidation, *, part: str | None = None, ax: Axes | None = None
) -> Grid:
    """Draw precision, recall and F1 against the threshold, and mark the one in use.

    Args:
        result: A classifier, or a cross-validation.
        part: As in `confusion`.
        ax: Existing axes to draw into. None makes a figure.

    Returns:
        Axes `[1]`. Above the highest probability nothing is called positive: recall and F1 are 0 there, and
        precision is not defined.

    Raises:
        MissingExtraError: matplotlib is not installed.
        SettingError: `result` has no such split, or it holds one class only.
    """
    with one_plot(ax, (6.4, 3.8)) as (axes, colours):
        judged = Judged.of(result, part)
        judged.check_classes()
        found = judged.evaluation
        reached = steps(judged.labels, judged.scores.probabilities)
        precision, recall = precision_recall_points(reached)
        curves = (
            ("precision", precision, found.precision, colours.positive, "--", "s"),
            ("recall", recall, found.recall, colours.first, "-", "o"),
            ("F1", f1_points(reached), found.f1, colours.ink, ":", "D"),
        )
        at = f"threshold {found.threshold:.3g}"
        axes[0].axvline(found.threshold, color=colours.faint, linewidth=1, label=at)
        for name, heights, rate, colour, line, marker in curves:
            # The highest threshold comes first; from one down to the next, nothing changes.
            x, y = np.append(reached.thresholds[::-1], 1), np.append(heights[::-1], 0)
            x, y = (x[:-1], y[:-1]) if name == "precision" else (x, y)
            x, y = np.append(0, x), np.append(y[0], y)
            label = name if rate is None else f"{name} {rate:.2f}"
            style = {"color": colour, "linestyle": line, "linewidth": 1.8, "label": label}
            axes[0].plot(x, y, drawstyle="steps-pre", **style)
            if rate is not None:
                axes[0].plot(found.threshold, rate, color=colour, marker=marker, markersize=5)
        axes[0].set(xlim=(0, 1), ylim=(0, 1.03), ylabel="precision, recall and F1")
        name = shortened(found.positive_class, 30)
        axes[0].set_xlabel(f"threshold for the probability of {name}", parse_math=False)
        add_legend(axes[0], loc="lower center", bbox_to_anchor=(0.5, 1), ncols=4)
        title(axes, f"Precision, recall and F1 on {judged.images}", ax)
    return axes


def _rate(name: str, rate: Rate | None) -> str:
    return f"{name} undefined" if rate is None else f"{name} {rate.brief()}"


def _cell(
    ax: Axes, corner: tuple[int, int], count: int, among: int, text: str, colours: Palette
) -> None:
    """Fill a cell the more, the more of its row is in it."""
    from matplotlib.patches import Rectangle

    column, row = corner
    shade = colours.first if column == row else colours.positive
    strength = 0.08 + 0.5 * count / max(among, 1)
    box = Rectangle(corner, 1, 1, facecolor=shade, alpha=strength, edgecolor="none")
    ax.add_patch(box)
    ax.add_patch(Rectangle(corner, 1, 1, fill=False, edgecolor=colours.paper, linewidth=3))
    middle = (column + 0.5, row + 0.5)
    ax.annotate(f"{count:,}", middle, ha="center", va="center", size=20, color=colours.ink)
    ax.annotate(
        text,
        middle,
        (0, -22),
        textcoords="offset points",
        ha="center",
        va="center",
        size=8,
        color=colours.ink,
    )


def _curve(ax: Axes, x: Floats, y: Floats, colours: Palette, *, drawstyle: str = "default") -> None:
    ax.plot(
        x,
        y,
        color=colours.first,
        linewidth=2,
        drawstyle=drawstyle,
        clip_on=False,
        label="every threshold",
    )


def _mark_threshold(ax: Axes, x: Rate, y: Rate, threshold: float, colours: Palette) -> None:
    ax.errorbar(
        x,
        y,
        xerr=[[x - x.low], [x.high - x]],
        yerr=[[y - y.low], [y.high - y]],
        color=colours.ink,
        marker="o",
        markersize=6,
        elinewidth=1,
        clip_on=False,
        zorder=3,
        label=f"threshold {threshold:.3g}, with 95 % intervals",
    )


def _draw_bins(ax: Axes, bins: Bins, label: str, colours: Palette) -> None:
    rates = [
        Rate.wilson(int(positives), int(count))
        for positives, count in zip(bins.positives, bins.counts, strict=True)
    ]
    lengths = [[rate - rate.low for rate in rates], [rate.high - rate for rate in rates]]
    ax.errorbar(
        bins.means,
        bins.shares,
        yerr=lengths,
        color=colours.first,
        marker="o",
        markersize=5,
        linewidth=0.9,
        elinewidth=1.4,
        clip_on=False,
        label=label,
    )
    for middle, count in zip(bins.middles, bins.counts, strict=True):
        ax.annotate(
            f"{count:,}",
            (middle, 1),
            (0, 5),
            xycoords=ax.get_xaxis_transform(),
            textcoords="offset points",
            ha="center",
            size=7,
            color=colours.faint,
        )
    ax.annotate(
        "images:",
        (0, 1),
        (-8, 5),
        xycoords="axes fraction",
        textcoords="offset points",
        ha="right",
        size=7,
        color=colours.faint,
    )


def _frame_square(ax: Axes) -> None:
    """Show shares from 0 to 1 both ways, with a margin for what lies on the edge."""
    ax.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    ax.set_aspect("equal")
    ax.grid(visible=True, axis="both")
