"""The figures of tlkit: drawn as matplotlib draws by default, whatever the user has set for others.

Imported when a figure is made, for it needs matplotlib.
"""

from __future__ import annotations

from typing import Any, final

from matplotlib.figure import Figure

from tlkit.plot.style import matplotlib_settings


@final
class StyledFigure(Figure):
    """A figure that is drawn with matplotlib's defaults, also when the user saves it later.

    Labels of ticks are made when a figure is drawn and not before: with a user's `text.usetex` they would
    need LaTeX.
    """

    def draw(self, renderer: Any) -> None:
        """Draw it."""
        with matplotlib_settings({}):
            super().draw(renderer)
