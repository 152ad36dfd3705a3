"""Learning curves: log-loss and accuracy, epoch by epoch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np

from tlkit.core.spec import check_kind
from tlkit.evaluation.history import History, PhaseHistory
from tlkit.plot.figure import Grid, new_grid, title
from tlkit.plot.style import drawing, palette

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def learning_curves(history: History) -> Grid:
    """Draw log-loss and accuracy after each epoch, where fine-tuning starts, and what was kept.

    An exact head has no epochs: it is the point at 0, and a dotted line that fine-tuning has to beat.

    Args:
        history: Of a classifier: `classifier.history`.

    Returns:
        Axes `[2]`: the log-loss and the accuracy.

    Raises:
        MissingExtraError: matplotlib is not installed.
        SettingError: `history` is none.
    """
    check_kind("history", history, (History,), advice="a classifier has it as `.history`")
    with drawing():
        axes: Grid = new_grid(1, 2, size=(8.4, 3.5))[0]
        starts = _first_epochs(history.phases)
        curves = (("loss", "log-loss (nats)", 1.0), ("accuracy", "accuracy (%)", 100.0))
        for ax, (metric, label, unit) in zip(axes, curves, strict=True):
            _draw_curves(ax, history.phases, starts, metric, unit)
            _mark_starts(ax, history.phases, starts)
            _mark_best(ax, history, starts, metric, unit)
            _number_epochs(ax, history.phases, starts)
            ax.set(xlabel="epoch", ylabel=label)
        _frame_values(axes, history.phases)
        axes.figure.legend(*_legend_entries(axes[0]), loc="outside lower left", ncols=5)
        kept = history.phases[history.kept]
        epoch = f", epoch {starts[history.kept] + kept.best_epoch}" if len(kept.loss) > 1 else ""
        loss = f"validation log-loss {kept.best_validation_loss:.3f}"
        title(axes, f"Kept: {kept.name}{epoch} ({loss})")
    return axes


def _first_epochs(phases: Sequence[PhaseHistory]) -> list[int]:
    """Number the first epoch of each phase; what is solved at once comes before epoch 1."""
    first = 1 if len(phases[0].loss) > 1 else 0
    return list(accumulate((len(phase.loss) for phase in phases[:-1]), initial=first))


def _draw_curves(
    ax: Axes, phases: Sequence[PhaseHistory], starts: list[int], metric: str, unit: float
) -> None:
    for prefix, colour in (("", palette().second), ("validation_", palette().first)):
        curves = [unit * np.array(getattr(phase, prefix + metric)) for phase in phases]
        epochs = [np.arange(len(y)) + start for y, start in zip(curves, starts, strict=True)]
        label = "validation" if prefix else "training"
        for x, y in zip(epochs, curves, strict=True):
            ax.plot(x, y, color=colour, marker="o", markersize=3.2, linewidth=1.6, label=label)
        ax.plot(
            np.concatenate(epochs), np.concatenate(curves), color=colour, linewidth=0.7, alpha=0.5
        )
        if sum(map(len, curves)) == 1:
            number = f"{curves[0][0]:.3f}" if unit == 1 else f"{curves[0][0]:.1f} %"
            _write_beside(ax, f"{label} {number}", curves[0][0])
    if starts[0] == 0 and len(phases) > 1:
        level = unit * getattr(phases[0], f"validation_{metric}")[0]
        ax.axhline(
            level, color=palette().first, linewidth=1, linestyle=":", label="head alone, validation"
        )


def _write_beside(ax: Axes, text: str, value: float) -> None:
    """Write the value of a single point beside it."""
    ax.annotate(text, (0, value), (9, 0), textcoords="offset points", va="center", size=8)


def _mark_starts(ax: Axes, phases: Sequence[PhaseHistory], starts: list[int]) -> None:
    for phase, start in zip(phases[1:], starts[1:], strict=True):
        ax.axvline(start - 0.5, color=palette().faint, linewidth=0.9, linestyle="--")
        ax.annotate(
            f"{phase.name} starts",
            (start - 0.5, 1.0),
            xycoords=ax.get_xaxis_transform(),
            xytext=(3, 2),
            textcoords="offset points",
            color=palette().faint,
            size=7.5,
        )


def _mark_best(ax: Axes, history: History, starts: list[int], metric: str, unit: float) -> None:
    for number, (phase, start) in enumerate(zip(history.phases, starts, strict=True)):
        kept = number == history.kept
        if len(phase.loss) == 1 and not kept:
            continue  # it had no choice
        ax.plot(
            start + phase.best_epoch,
            unit * getattr(phase, f"validation_{metric}")[phase.best_epoch],
            color=palette().first if kept else palette().paper,
            marker="o",
            markersize=8 if kept else 6,
            markeredgecolor=palette().first,
            markeredgewidth=1.3,
            linestyle="none",
            label="kept" if kept else "best of its phase",
        )


def _legend_entries(ax: Axes) -> tuple[list[Any], list[str]]:
    """Return what the legend shows, each label once."""
    entries = dict(zip(*ax.get_legend_handles_labels()[::-1], strict=True))
    return list(entries.values()), list(entries)


def _number_epochs(ax: Axes, phases: Sequence[PhaseHistory], starts: list[int]) -> None:
    last = starts[-1] + len(phases[-1].loss) - 1
    step = math.ceil(max(last, 1) / 15)
    ticks = [*range(step, last + 1, step)]
    names = [str(tick) for tick in ticks]
    if starts[0] == 0:
        ticks, names = [0, *ticks], [phases[0].name, *names]
    ax.set_xticks(ticks, names)
    ax.set_xlim(starts[0] - 0.6, last + 0.6)


def _frame_values(axes: Grid, phases: Sequence[PhaseHistory]) -> None:
    """Begin the log-loss at 0, end the accuracy at 100 %, and leave a margin at the other end."""
    losses = [value for p in phases for value in (*p.loss, *p.validation_loss)]
    shares = [value for p in phases for value in (*p.accuracy, *p.validation_accuracy)]
    axes[0].set_ylim(0, 1.12 * max(losses))
    axes[1].set_ylim(max(0, 100 * min(shares) - 5), 101)
