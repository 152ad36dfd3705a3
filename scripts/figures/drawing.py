"""How every figure is drawn and kept: an SVG file each for light and dark pages, the numbers beside them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import matplotlib as mpl

from tlkit.plot import theme
from tlkit.plot.figure import Grid, new_grid
from tlkit.plot.style import THEMES, Palette, ThemeName, drawing

Numbers: TypeAlias = dict[str, Any]
"""What a figure shows, as plain JSON values: texts and tests read it too."""
Draw: TypeAlias = Callable[[Numbers, Palette], Grid]

IMAGES = Path(__file__).parents[2] / "docs" / "images"
WIDTH = 5.2
"""Inches. A telephone shows figures at three quarters of that, and words are still read."""

_SIZES = {
    "font.size": 9.5,
    "axes.labelsize": 9.5,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.fontsize": 9,
}


def canvas(rows: int, columns: int, *, height: float, heights: tuple[float, ...] = ()) -> Grid:
    """Make axes of the width that all figures have; `heights` are those of the rows, if not equal."""
    axes = new_grid(rows, columns, size=(WIDTH, height))
    if heights:
        axes[0, 0].get_gridspec().set_height_ratios(heights)
    return axes


def svg(draw: Draw, numbers: Numbers, name: ThemeName) -> str:
    """Draw a figure in the colours of a theme; the page shines through."""
    with theme(name), drawing() as colours, mpl.rc_context(_SIZES):
        axes = draw(numbers, colours)
        _size_ticks(axes)
        for part in (axes.figure, *axes.flat):
            part.patch.set_visible(False)
        return axes.svg()


def _size_ticks(axes: Grid) -> None:
    """Set the size of labels that are made only when the figure is saved, with other settings."""
    for ax in axes.flat:
        for axis in ("x", "y"):
            ax.tick_params(axis, labelsize=_SIZES[f"{axis}tick.labelsize"])


def keep(name: str, draw: Draw, numbers: Numbers) -> None:
    """Write a figure and its numbers into `docs/images`."""
    IMAGES.mkdir(exist_ok=True)
    lines = (f"{json.dumps(key)}: {json.dumps(value)}" for key, value in numbers.items())
    numbers_path(name).write_text("{\n" + ",\n".join(lines) + "\n}\n", "utf-8")
    for theme_name, path in image_paths(name).items():
        path.write_text(svg(draw, numbers, theme_name), "utf-8")
        print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")


def kept(name: str) -> Numbers:
    """Return the numbers that a figure was drawn from."""
    numbers: Numbers = json.loads(numbers_path(name).read_text("utf-8"))
    return numbers


def numbers_path(name: str) -> Path:
    """Where the numbers of a figure are."""
    return IMAGES / f"{name}.json"


def image_paths(name: str) -> dict[ThemeName, Path]:
    """Where a figure is, for each theme."""
    themes: dict[ThemeName, Path] = {}
    for theme_name in THEMES:
        themes[theme_name] = IMAGES / f"{name}-{theme_name}.svg"  # type: ignore[index]
    return themes
