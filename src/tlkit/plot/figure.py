"""The figures of tlkit: drawn as matplotlib draws by default, whatever the user has set for others."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from tlkit.plot.style import matplotlib_settings

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@cache
def figure_class() -> type[Figure]:
    """Return the class of our figures: drawn with matplotlib's defaults, also when a user saves them.

    Labels of ticks are made when a figure is drawn and not before: with a user's `text.usetex` they would
    need LaTeX.
    """
    from matplotlib.figure import Figure

    class StyledFigure(Figure):
        def draw(self, renderer: Any) -> None:
            with matplotlib_settings({}):
                super().draw(renderer)

    StyledFigure.__qualname__ = "StyledFigure"  # where pickle finds it
    return StyledFigure


def __getattr__(name: str) -> type[Figure]:
    if name == "StyledFigure":
        return figure_class()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
