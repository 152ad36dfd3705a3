"""The page about files from strangers names tests that there are, for each promise."""

from __future__ import annotations

import ast
import re
from pathlib import Path

TESTS = Path(__file__).parent
PAGE = TESTS.parent / "docs" / "explanations" / "security.md"


def named(text: str) -> list[tuple[str, str]]:
    return re.findall(r"`(test_\w+\.py)::(test_\w+)`", text)


def test_every_test_that_the_page_names_exists() -> None:
    missing = []
    for file, name in named(PAGE.read_text("utf-8")):
        tree = ast.parse((TESTS / file).read_text("utf-8"))
        functions = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
        if name not in functions:
            missing.append(f"{file}::{name}")
    assert not missing


def test_every_promise_names_a_test() -> None:
    text = PAGE.read_text("utf-8")
    promises = [line for line in text.splitlines() if re.match(r"\| [A-Z]", line)]
    assert len(promises) > 20
    assert not [line for line in promises if not named(line)]
