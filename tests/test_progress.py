"""The bar is seen in a terminal, and nowhere else."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

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


def test_without_a_terminal_nothing_is_written_and_rich_stays_unloaded() -> None:
    done = subprocess.run([sys.executable, "-c", WORK], capture_output=True, text=True, check=True)

    assert done.stderr == ""
    assert done.stdout == "False\n"


@needs_pty
def test_a_terminal_sees_count_rate_and_time() -> None:
    shown, stdout = run_in_terminal(WORK)

    assert stdout == "True\n", "the bar belongs on stderr alone"
    assert "Reading" in shown
    assert "3/3" in shown
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
