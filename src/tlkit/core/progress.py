"""How far long work has come, on stderr: a bar in a terminal, else a line now and then."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from rich.progress import Progress

Advance: TypeAlias = Callable[[int], None]

LINE_SECONDS: Final = 10.0
"""Between two lines where there is no terminal; work that is done sooner writes none."""


@contextmanager
def progress(total: int | None, description: str, *, unit: str = "images") -> Iterator[Advance]:
    """Show how far a long piece of work has come.

    With a terminal on stderr a bar shows count, rate, elapsed and remaining time. Without one (a pipe, a
    log file, a notebook) a line says it every `LINE_SECONDS`, and rich is not even imported.

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
    if total == 0 or sys.stderr is None:  # None: Python without a console
        yield lambda _count: None
    elif not sys.stderr.isatty():
        yield _lines(total, description, unit)
    else:
        with _bar(unit, transient=total is None) as bar:
            task = bar.add_task(description, total=total)
            yield lambda count: bar.advance(task, count)


def say(line: str) -> None:
    """Write a line on stderr: what was chosen for the user, and cannot be seen from the call."""
    if sys.stderr is not None:  # None: Python without a console
        print(line, file=sys.stderr, flush=True)  # noqa: T201 - what this function is for


def _lines(total: int | None, description: str, unit: str) -> Advance:
    """Return a function that counts, and writes a line when the last one is long ago."""
    written = time.monotonic()
    first: tuple[float, int] | None = None  # what an earlier run has done says nothing of the pace
    done = 0

    def advance(count: int) -> None:
        nonlocal done, first, written
        now, done = time.monotonic(), done + count
        first = first or (now, done)
        if now - written < LINE_SECONDS or done == total:
            return
        written = now
        line = f"{description}: {done:,}{f' of {total:,}' if total else ''} {unit}"
        if done > first[1]:
            rate = (done - first[1]) / (now - first[0])
            line += f", {_pace(rate, unit)}"
            line += f", {_span((total - done) / rate)} left" if total else ""
        print(line, file=sys.stderr, flush=True)  # noqa: T201 - what this function is for

    return advance


def _pace(rate: float, unit: str) -> str:
    """Write a rate as people count: many a second, or seconds for each."""
    return f"{rate:,.0f} {unit}/s" if rate >= 1 else f"{_span(1 / rate)} each"


def _span(seconds: float) -> str:
    """Write a time in the unit that fits it.

    Examples:
        >>> _span(2.5), _span(42), _span(600)
        ('2.5 s', '42 s', '10 min')
    """
    if seconds < 10:
        return f"{seconds:.1f} s"
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:,.0f} min"


def _bar(unit: str, *, transient: bool) -> Progress:
    from rich import progress as columns
    from rich.console import Console
    from rich.text import Text

    class RateColumn(columns.ProgressColumn):
        def render(self, task: columns.Task) -> Text:
            speed = task.finished_speed or task.speed
            return Text(_pace(speed, unit) if speed else "", style="progress.data.speed")

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
