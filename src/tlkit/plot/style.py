"""The style of every figure: colours in light and dark, fonts and lines, and the array of axes."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from threading import RLock
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, final

import numpy as np

from tlkit.core.spec import check_choice
from tlkit.errors import MissingExtraError, printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ThemeName: TypeAlias = Literal["light", "dark"]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Palette:
    """The colours of a theme, as `#rrggbb`: told apart by people who see colours differently, and in grey.

    No colour has two roles, so that in an SVG each can be found again by its value.

    Attributes:
        paper: Behind everything.
        ink: Titles and what matters most.
        faint: What explains: labels of axes, notes.
        lines: The frame of a plot.
        grid: The lines across a plot.
        positive: The positive class.
        negative: The other class.
        first: The main curve of a plot: the validation split, the curve itself.
        second: What it is compared with: the training split, before calibration.
    """

    paper: str
    ink: str
    faint: str
    lines: str
    grid: str
    positive: str
    negative: str
    first: str
    second: str


THEMES: Final[dict[str, Palette]] = {
    "light": Palette(
        paper="#ffffff",
        ink="#1f2733",
        faint="#657083",
        lines="#d5dae1",
        grid="#eceff3",
        positive="#c2500a",
        negative="#51637d",
        first="#0b5cad",
        second="#7b8ea8",
    ),
    "dark": Palette(
        paper="#161b22",
        ink="#e6eaf0",
        faint="#98a4b5",
        lines="#444e5c",
        grid="#262d37",
        positive="#f29054",
        negative="#a9bad1",
        first="#6db3ff",
        second="#73849c",
    ),
}

_TITLE_POINTS: Final = 11
_BOLD_INCHES: Final = 0.105  # width of a bold letter of that size

_LOOKS: Final = (
    "agg.", "axes.", "contour.", "errorbar.", "figure.", "font.", "grid.", "hatch.", "image.", "legend.",
    "lines.", "markers.", "mathtext.", "patch.", "path.", "polaraxes.", "scatter.", "text.", "xtick.",
    "ytick.",
)  # fmt: skip
"""What the names of those settings of matplotlib begin with that decide how a figure looks."""
_FILES: Final = ("savefig.", "svg.")

_lock = RLock()
_palette: ContextVar[Palette] = ContextVar("palette", default=THEMES["light"])


@contextmanager
def theme(name: ThemeName) -> Iterator[None]:
    """Draw what is made inside in these colours.

    Args:
        name: `"light"`, as without this, or `"dark"`.

    Raises:
        SettingError: There is no such theme.

    Examples:
        >>> from tlkit import plot
        >>> with plot.theme("dark"):
        ...     axes = plot.roc(classifier)  # doctest: +SKIP
    """
    before = _palette.set(THEMES[check_choice("theme", name, tuple(THEMES))])
    try:
        yield
    finally:
        _palette.reset(before)


def palette() -> Palette:
    """Return the colours of the theme in force."""
    return _palette.get()


@contextmanager
def drawing() -> Iterator[Palette]:
    """Apply the style to what is drawn inside, and give its colours.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    try:
        import matplotlib as mpl  # noqa: F401 - before anything is done with it
    except ModuleNotFoundError as error:
        if error.name != "matplotlib":
            raise  # it is installed, but broken
        raise MissingExtraError(
            'figures need matplotlib, which is not installed: pip install "tlkit[plot]"'
        ) from error
    with matplotlib_settings(_settings(palette())):
        yield palette()


@contextmanager
def matplotlib_settings(settings: Mapping[str, object], *, saving: bool = False) -> Iterator[None]:
    """Put settings in the place of the user's, and matplotlib's defaults where they say nothing of looks.

    They hold for the whole process, so that only one thread at a time may change them: two that left in
    another order than they came would leave theirs behind for good.

    Args:
        settings: As in `matplotlib.rcParams`.
        saving: Put the defaults of files in the place of the user's too.
    """
    import matplotlib as mpl

    kinds = (*_LOOKS, *_FILES) if saving else _LOOKS
    defaults = {k: v for k, v in dict.items(mpl.rcParamsDefault) if k.startswith(kinds)}
    with _lock, mpl.rc_context({**defaults, **settings}):
        yield


def _settings(colours: Palette) -> dict[str, object]:
    return {
        "axes.edgecolor": colours.lines,
        "axes.facecolor": colours.paper,
        "axes.grid": True,
        "axes.grid.axis": "y",
        "axes.axisbelow": True,
        "axes.labelcolor": colours.faint,
        "axes.labelsize": 9,
        "axes.spines.right": False,
        "axes.spines.top": False,
        "axes.titlecolor": colours.ink,
        "axes.titlelocation": "left",
        "axes.titlesize": 9,
        "figure.facecolor": colours.paper,
        "font.size": 9,
        "grid.color": colours.grid,
        "legend.fontsize": 8,
        "legend.frameon": False,
        "legend.labelcolor": colours.ink,
        "text.color": colours.ink,
        "xtick.color": colours.lines,
        "xtick.labelcolor": colours.faint,
        "xtick.labelsize": 8,
        "ytick.color": colours.lines,
        "ytick.labelcolor": colours.faint,
        "ytick.labelsize": 8,
    }


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

    from tlkit.plot.figure import figure_class

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
