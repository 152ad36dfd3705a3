"""The seconds of docs/benchmarks.md, drawn to scale."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from figures.drawing import Numbers, canvas
from tlkit.plot.figure import Grid
from tlkit.plot.style import Palette

BENCHMARKS = Path(__file__).parents[2] / "docs" / "benchmarks.md"
HEAD_EPOCHS, TUNING_EPOCHS = 5, 10  # as benchmarks.md says above its tables


def measure() -> Numbers:
    """Read the figures where they are kept."""
    return {
        "course head": seconds("the course's head phase, alpha 1.0", 0),
        "head_only": seconds("`head_only()`, alpha 1.0", 0),
        "fit": seconds("plain `fit`, decoded images in memory", 0),
        "cached epochs": seconds("tlkit, cached", 0),
        "cached": seconds("tlkit, cached", 1),
    }


def seconds(row: str, column: int) -> float:
    """Return the number that a cell of the first row of that name begins with."""
    lines = BENCHMARKS.read_text("utf-8").splitlines()
    line = next(line for line in lines if line.startswith(f"| {row} |"))
    number = re.match(r"[\d.]+", line.split("|")[2 + column].strip())
    assert number, line
    return float(number[0])


def draw(numbers: Numbers, colours: Palette) -> Grid:
    """Draw each side as a row of blocks, one for each time that images go through the network."""
    axes = canvas(2, 1, height=3.5)
    head, tuning = (Rows(ax, colours.paper) for ax in axes[:, 0])
    epochs = [numbers["course head"] / HEAD_EPOCHS] * HEAD_EPOCHS
    head.add(1, [(length, colours.second) for length in epochs], "5 epochs: decode, whole network")
    once = [(numbers["head_only"], colours.first)]
    head.add(0, once, "decode, network and solved head: once")
    epochs = [numbers["fit"] / TUNING_EPOCHS] * TUNING_EPOCHS
    tuning.add(1, [(length, colours.second) for length in epochs], "10 epochs: whole network")
    views = (numbers["cached"] - numbers["cached epochs"], colours.first)
    epochs = [numbers["cached epochs"] / TUNING_EPOCHS] * TUNING_EPOCHS
    upper = [(length, colours.positive) for length in epochs]
    tuning.add(0, [views, *upper], "views once, then 10 epochs of the upper third")
    head.ax.set_title("The head: course recipe (top), head_only() (bottom)")
    tuning.ax.set_title("Fine-tuning: plain fit (top), on kept activations (bottom)")
    for ax in axes.flat:
        ax.set(yticks=[], ylim=(-0.45, 1.85), xlabel="seconds")
        ax.set_xlim(0, 1.02 * max(numbers["course head"], numbers["fit"]))
        ax.grid(axis="x")
        ax.spines["left"].set_visible(False)
    return axes


class Rows:
    """Rows of blocks in one plot: one is a second of its axis wide for each second it took."""

    def __init__(self, ax: Any, gap: str) -> None:
        self.ax, self._gap = ax, gap

    def add(self, y: float, blocks: list[tuple[float, str]], words: str) -> None:
        """Draw blocks (seconds and colour) one after the other, and say above how long all took."""
        end = 0.0
        for seconds, colour in blocks:
            self.ax.barh(y, seconds, 0.5, left=end, color=colour, edgecolor=self._gap, linewidth=1)
            end += seconds
        place = {"xytext": (1, 2), "textcoords": "offset points", "size": 9}
        self.ax.annotate(f"{end:.1f} s · {words}", (0, y + 0.28), **place)


def statements(numbers: Numbers) -> list[str]:
    """List what the page must state."""
    return [
        f"take {numbers['course head']:.1f} seconds",
        f"solution take {numbers['head_only']:.1f}",
        f"take {numbers['fit']:.1f} seconds",
        f"kept activations {numbers['cached']:.1f}",
    ]
