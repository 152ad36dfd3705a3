"""The figures of docs/scaling.md are what benchmarks/plan.py makes of the rates that the page states."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "scaling.md").read_text(encoding="utf-8")
RATE = re.compile(r"^\| `--([a-z-]+)` \| ([\d,.]+) ", re.MULTILINE)


def planned(*arguments: str) -> str:
    command = [sys.executable, str(ROOT / "benchmarks" / "plan.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_the_table_follows_from_the_rates() -> None:
    rates = {name: value.replace(",", "") for name, value in RATE.findall(PAGE)}
    stated = [word for name, value in rates.items() for word in (f"--{name}", value)]
    assert planned(*stated) in PAGE
    assert planned() == planned(*stated)  # all that the page leaves out is a default, and the same


def test_another_rate_gives_another_table() -> None:
    assert planned("--decode-ms", "7") not in PAGE
