"""The figures of tlkit: drawn as matplotlib draws by default, whatever the user has set for others."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any, Final, final

import numpy as np

from tlkit.errors import printable
from tlkit.plot.style import Palette, drawing, matplotlib_settings

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_TITLE_POINTS: Final = 11
_BOLD_INCHES: Final = 0.105  # width of a bold letter of that size


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


@final
class Grid(np.ndarray[Any, Any]):
    """A NumPy array of the matplotlib axes of one figure; a notebook shows the figure.

    Attributes:
        figure: The `matplotlib.figure.Figure`, to save or to change.
    """

    @property
    def figure(self) -> Figure:
        """The figure that the axes belong to."""
        figure: Figure = self.flat[0].figure
        return figure

    def svg(self) -> str:
        """Return the figure as SVG text for a page.

        Text stays text, in a font of the page, and the same figure gives the same text.
        """
        file = io.StringIO()
        words = {"svg.fonttype": "none", "svg.hashsalt": "tlkit"}
        with matplotlib_settings(words, saving=True):
            self.figure.savefig(file, format="svg", metadata={"Date": None, "Creator": "tlkit"})
        text = file.getvalue()
        return text[text.index("<svg") :]  # without the XML prologue, which no page wants

    def _repr_png_(self) -> bytes:
        file = io.BytesIO()
        with matplotlib_settings({}, saving=True):
            self.figure.savefig(file, format="png")
        return file.getvalue()


def new_grid(rows: int, columns: int, *, size: tuple[float, float]) -> Grid:
    """Make a figure of this width and height in inches that `pyplot` does not know of."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    layout = ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.08)  # inches
    figure = figure_class()(figsize=size, dpi=120, layout=layout)
    FigureCanvasAgg(figure)
    axes: Grid = figure.subplots(rows, columns, squeeze=False).view(Grid)
    return axes


@contextmanager
def one_plot(ax: Axes | None, size: tuple[float, float]) -> Iterator[tuple[Grid, Palette]]:
    """Draw into axes of the caller's, or into a new figure of this size in inches."""
    with drawing() as colours:
        if ax is None:
            yield new_grid(1, 1, size=size)[0], colours
        else:
            yield np.array([ax]).view(Grid), colours


def title(axes: Grid, text: str, ax: Axes | None = None) -> None:
    """Write a title above the figure, or above `ax` where that is the caller's."""
    if ax is None:
        letters = axes.figure.get_figwidth() / _BOLD_INCHES  # that fit
        size = _TITLE_POINTS * min(1, letters / len(text))
        axes.figure.suptitle(text, x=0.01, ha="left", weight="bold", size=size, parse_math=False)
    else:
        ax.set_title(text, weight="bold", parse_math=False)


def add_legend(owner: Axes | Figure, **settings: Any) -> None:
    """Add a legend whose text is never taken for formulas: they may come from the names of files."""
    for text in owner.legend(**settings).get_texts():
        text.set_parse_math(False)


def shortened(name: str, length: int = 30) -> str:
    """Keep the end of a long name, where names differ."""
    text = printable(name)
    return text if len(text) <= length else f"…{text[1 - length :]}"
