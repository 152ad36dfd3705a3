"""A progress bar on stderr for long work: shown to people in a terminal, silent everywhere else."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from rich.progress import Progress

Advance: TypeAlias = Callable[[int], None]


@contextmanager
def progress(total: int | None, description: str, *, unit: str = "images") -> Iterator[Advance]:
    """Show how far a long piece of work has come.

    With a terminal on stderr the bar shows count, rate, elapsed and remaining time. Without one
    (a pipe, a log file, a notebook) nothing is written and rich is not even imported.

    Args:
        total: How many units the work has; 0 shows nothing. None, where nobody knows yet: the
            bar goes away at the end.
        description: What is being done: `"Reading"`.
        unit: What is counted: `"images"` makes the rate read "31 images/s".

    Yields:
        A function to call with the number of units just finished.

    Examples:
        >>> with progress(2, "Reading") as advance:
        ...     for _ in range(2):
        ...         advance(1)
    """
    if (
        total == 0 or sys.stderr is None or not sys.stderr.isatty()
    ):  # None: Python without a console
        yield lambda _count: None
        return
    with _bar(unit, transient=total is None) as bar:
        task = bar.add_task(description, total=total)
        yield lambda count: bar.advance(task, count)


def _bar(unit: str, *, transient: bool) -> Progress:
    from rich import progress as columns
    from rich.console import Console
    from rich.text import Text

    class RateColumn(columns.ProgressColumn):
        def render(self, task: columns.Task) -> Text:
            speed = task.finished_speed or task.speed
            return Text(f"{speed:,.0f} {unit}/s" if speed else "", style="progress.data.speed")

    return columns.Progress(
        columns.TextColumn("{task.description}"),
        columns.BarColumn(),
        columns.MofNCompleteColumn(),
        RateColumn(),
        columns.TimeElapsedColumn(),
        columns.TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=transient,
    )
