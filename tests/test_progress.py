"""A bar in a terminal, a line now and then elsewhere, and nothing for what is done soon."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from tlkit.core.progress import progress

Captured = pytest.CaptureFixture[str]
needs_pty = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals")

WORK = """
import sys, time
from tlkit.core.progress import progress
with progress(total=3, description="Reading") as advance:
    for _ in range(3):
        time.sleep(0.02)
        advance(1)
print("rich" in sys.modules)
"""


def test_without_a_terminal_short_work_writes_nothing_and_rich_stays_unloaded() -> None:
    done = subprocess.run([sys.executable, "-c", WORK], capture_output=True, text=True, check=True)

    assert done.stderr == ""
    assert done.stdout == "False\n"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that pass when a test says so."""
    now = [0.0]
    monkeypatch.setattr("tlkit.core.progress.time.monotonic", lambda: now[0])
    return now


def test_without_a_terminal_long_work_writes_a_line_every_ten_seconds(
    clock: list[float], capsys: Captured
) -> None:
    with progress(3000, "Reading") as advance:
        advance(0)
        for _ in range(30):
            clock[0] += 1
            advance(100)
    assert capsys.readouterr().err.splitlines() == [
        "Reading: 1,000 of 3,000 images, 100 images/s, 20 s left",
        "Reading: 2,000 of 3,000 images, 100 images/s, 10 s left",
    ]


def test_what_an_earlier_run_has_done_says_nothing_of_the_pace(
    clock: list[float], capsys: Captured
) -> None:
    with progress(20_000, "Reading") as advance:
        advance(9_000)
        for _ in range(10):
            clock[0] += 1
            advance(100)
    assert capsys.readouterr().err.splitlines() == [
        "Reading: 10,000 of 20,000 images, 100 images/s, 100 s left"
    ]


def test_slow_work_is_not_zero_a_second(clock: list[float], capsys: Captured) -> None:
    with progress(5, "Folds", unit="folds") as advance:
        for _ in range(5):
            clock[0] += 80
            advance(1)
    assert capsys.readouterr().err.splitlines() == [
        "Folds: 1 of 5 folds",
        "Folds: 2 of 5 folds, 80 s each, 4 min left",
        "Folds: 3 of 5 folds, 80 s each, 3 min left",
        "Folds: 4 of 5 folds, 80 s each, 80 s left",
    ]


def test_where_nobody_knows_the_end_there_is_no_time_left(
    clock: list[float], capsys: Captured
) -> None:
    with progress(None, "Listing") as advance:
        for _ in range(2):
            clock[0] += 10
            advance(1000)
    assert capsys.readouterr().err.splitlines() == [
        "Listing: 1,000 images",
        "Listing: 2,000 images, 100 images/s",
    ]


@needs_pty
def test_a_terminal_sees_count_rate_and_time() -> None:
    shown, stdout = run_in_terminal(WORK)

    assert stdout == "True\n", "the bar belongs on stderr alone"
    assert "Reading" in shown
    assert "3/3" in shown
    assert "0 images/s" not in re.findall(r"\d+ images/s", shown)
    assert re.search(r"\d+ images/s", shown)
    assert re.search(r"\d:\d\d:\d\d", shown)


@needs_pty
def test_an_error_inside_passes_through_and_leaves_the_cursor_visible() -> None:
    failing = WORK.replace("advance(1)", "raise SystemExit(0)")

    shown, _ = run_in_terminal(failing)

    assert shown.count("\x1b[?25l") == shown.count("\x1b[?25h") == 1


def run_in_terminal(code: str) -> tuple[str, str]:
    """Run Python with a pseudo-terminal as its stderr; return what it showed and its stdout."""
    ours, theirs = os.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "120"}
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=theirs,
        text=True,
        env=environment,
    )
    os.close(theirs)
    shown = b""
    while True:
        try:
            chunk = os.read(ours, 4096)
        except OSError:  # Linux says so when the other end is closed
            break
        if not chunk:
            break
        shown += chunk
    os.close(ours)
    stdout, _ = process.communicate(timeout=20)
    assert process.returncode == 0
    return shown.decode(), stdout
