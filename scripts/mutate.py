"""Change one comparison, operator or number of the numeric modules at a time, and see whether a test notices.

    python scripts/mutate.py                      # 60 changes, the same ones each time
    python scripts/mutate.py --seed 1 --count 10  # others

Each change is made in a copy of its own and tried by the tests of its module; the copies are thrown away.
What no test noticed is printed: a test is missing, or the change changes nothing that anybody could see. Of
that second kind, in the sample of 28 November 2026:

- `core/rows`, bytes kept in memory (2**20 -> 2 * 20): more goes through temporary files, with equal numbers;
- `data/duplicates`, the upper end of a clipped share (1 -> 2): no share of what is explained is above 1;
- `data/split`, an empty fold's load (0 -> 1): the same for all folds, of which the cheapest is taken;
- `evaluation/decisions`, decimal places that are tried (20 -> 21): a float has fewer;
- `evaluation/paired`, the last term of a quantile's expansion (the sign of 945 z / 92160 n^4): below the
  error of the expansion itself.
"""

from __future__ import annotations

import argparse
import ast
import copy
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import keras  # noqa: F401 - so that no copy has to load it
import pytest
import sklearn  # noqa: F401 - as Keras
import tensorflow as tf  # noqa: F401 - as Keras

ROOT = Path(__file__).parent.parent
SECONDS = 600  # for the tests of one change: whoever waits for ever has noticed
TESTS = {
    "core/rows": "rows head",
    "data/duplicates": "duplicates",
    "data/split": "split",
    "evaluation/bounds": "bounds decisions",
    "evaluation/calibration": "calibration",
    "evaluation/decisions": "decisions",
    "evaluation/drift": "drift",
    "evaluation/evaluate": "evaluate",
    "evaluation/familiarity": "familiarity",
    "evaluation/log_loss": "calibration evaluate",
    "evaluation/metrics": "evaluate",
    "evaluation/paired": "paired paired_evaluation",
    "evaluation/rate": "evaluate",
    "evaluation/reliability": "plot_points evaluate",
    "evaluation/scores": "label_issues cross_validation",
    "evaluation/threshold": "threshold",
    "features/journal": "journal crashes",
    "features/views": "rows head finetune",
    "insight/label_issues": "label_issues",
    "insight/neighbours": "neighbours",
    "training/division": "division",
    "training/head": "head stages",
    "training/newton": "head",
}
"""The tests of each module, by their names."""

COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
}
OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}


@dataclass(frozen=True)
class Change:
    """One place of a module, and what would stand there."""

    module: str
    line: int
    start: int  # in bytes of the whole file
    end: int
    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.module}.py:{self.line}: {self.before} -> {self.after}"

    def apply(self, source: Path) -> None:
        """Make it in a copy of the sources."""
        path = source / "tlkit" / f"{self.module}.py"
        content = path.read_bytes()
        path.write_bytes(content[: self.start] + self.after.encode() + content[self.end :])


def changed(node: ast.AST) -> ast.expr | None:
    """Return what may stand in the place of an expression, or None."""
    other = copy.deepcopy(node)
    match other:
        case ast.Compare(ops=[op]) if type(op) in COMPARISONS:
            other.ops = [COMPARISONS[type(op)]()]
        case ast.BinOp(op=op) if type(op) in OPERATORS:
            other.op = OPERATORS[type(op)]()
        case ast.Constant(value=bool(value)):
            other.value = not value
        case ast.Constant(value=int(value)):
            other.value = value + 1
        case ast.Constant(value=float(value)):
            other.value = value * 1.5 if value else 0.5
        case _:
            return None
    return other


def expressions(node: ast.AST) -> Iterator[ast.AST]:
    """Yield what computes: no types, no messages of errors, nothing of how a class is declared."""
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "returns", "decorator_list", "slice") and not isinstance(
            node, ast.Subscript
        ):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST) and not isinstance(child, ast.Raise | ast.JoinedStr):
                yield child
                yield from expressions(child)


def changes(module: str) -> list[Change]:
    """Return every change that could be made to a module."""
    text = (ROOT / "src" / "tlkit" / f"{module}.py").read_bytes()
    starts = [0]
    for line in text.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    found = []
    for node in expressions(ast.parse(text)):
        other = changed(node)
        if other is not None and isinstance(node, ast.expr):
            start = starts[node.lineno - 1] + node.col_offset
            end = starts[(node.end_lineno or 0) - 1] + (node.end_col_offset or 0)
            before = text[start:end].decode()
            # In brackets, for what is around it may bind closer.
            after = (
                ast.unparse(other) if isinstance(node, ast.Constant) else f"({ast.unparse(other)})"
            )
            found.append(Change(module, node.lineno, start, end, before, after))
    return found


def noticed(change: Change | None, module: str) -> bool:
    """Say whether the tests of a module fail, on a copy with a change."""
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        place = Path(folder)
        for name in (
            "src",
            "tests",
            "examples",
            "docs",
            "README.md",
            "CHANGELOG.md",
            "pyproject.toml",
        ):
            copied = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
            copied(ROOT / name, place / name)
        if change is not None:
            change.apply(place / "src")
        child = os.fork()  # which has loaded what takes seconds, and nothing of tlkit
        if not child:
            run_tests(place, [f"tests/test_{name}.py" for name in TESTS[module].split()])
        return os.waitpid(child, 0)[1] != 0


def run_tests(place: Path, files: list[str]) -> NoReturn:
    """Run tests on the sources beside them, in silence, and end with pytest's exit code."""
    signal.alarm(SECONDS)
    os.chdir(place)
    os.environ |= {"PYTHONPATH": str(place / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    sys.path[:0] = [str(place / "src"), str(place / "tests")]
    for stream in (1, 2):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
    os._exit(pytest.main(["-q", "-x", "-n", "0", "-p", "no:cacheprovider", *files]))


def main() -> int:
    """Try a sample, and print what was not noticed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seed", type=int, default=0, help="which sample (default: %(default)s)")
    parser.add_argument("--count", type=int, default=60, help="how many (default: %(default)s)")
    parser.add_argument("--only", help="only this module, such as training/head")
    options = parser.parse_args()
    modules = [options.only] if options.only else [*TESTS]
    everything = [change for module in modules for change in changes(module)]
    rng = random.Random(options.seed)
    sample = sorted(rng.sample(everything, min(options.count, len(everything))), key=str)
    print(f"{len(sample)} of {len(everything)} changes in {len(modules)} modules")
    for module in sorted({change.module for change in sample}):
        if noticed(None, module):
            print(f"the tests of {module} fail as they are: {TESTS[module]}")
            return 2
    alive = []
    for number, change in enumerate(sample, 1):
        started = time.perf_counter()
        was_noticed = noticed(change, change.module)
        seconds = time.perf_counter() - started
        print(
            f"{number:3} {'noticed' if was_noticed else 'ALIVE  '} {seconds:4.0f} s  {change}",
            flush=True,
        )
        if not was_noticed:
            alive.append(change)
    print(f"\n{len(sample) - len(alive)} of {len(sample)} noticed; alive:", *alive, sep="\n  ")
    return 0


if __name__ == "__main__":
    sys.exit(main())
