"""The style of every figure: colours in light and dark, fonts and lines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from threading import RLock
from typing import Final, Literal, TypeAlias, final

from tlkit.core.spec import check_choice
from tlkit.errors import MissingExtraError

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
