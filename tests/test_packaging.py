"""What is installed is what was promised: a free import, one version, types, examples that run."""

from __future__ import annotations

import doctest
import importlib
import importlib.metadata
import pkgutil
import re
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest

import tlkit

ROOT = Path(__file__).parents[1]
MODULES = ["tlkit", *(m.name for m in pkgutil.walk_packages(tlkit.__path__, "tlkit."))]
HEAVY = ("tensorflow", "keras", "numpy", "PIL", "matplotlib", "sklearn", "rich")


def run_python(code: str) -> str:
    """Run code in a fresh Python and return all that it printed, on stdout and stderr."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=True,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_import_is_silent_and_loads_nothing_heavy() -> None:
    assert run_python("import tlkit") == ""
    loaded = run_python(f"import sys, tlkit; print([m for m in {HEAVY} if m in sys.modules])")
    assert loaded == "[]\n"


def test_import_writes_no_environment_variable() -> None:
    changed = run_python(
        "import os; before = dict(os.environ); import tlkit; print(dict(os.environ) == before)"
    )
    assert changed == "True\n"


def test_no_module_loads_tensorflow_when_it_is_imported() -> None:
    code = (
        "import importlib, sys\n"
        f"for name in {MODULES}:\n"
        "    importlib.import_module(name)\n"
        "    assert not {'tensorflow', 'keras', 'matplotlib'} & sys.modules.keys(), name\n"
    )
    assert run_python(code) == ""


def test_public_names_are_sorted_and_all_there() -> None:
    names = list(getattr(tlkit, "__all__", []))

    assert names == sorted(names)
    assert len(names) == len(set(names))
    assert set(names) <= set(dir(tlkit))
    missing = [name for name in names if not hasattr(tlkit, name)]
    assert missing == []


def test_version_is_the_same_everywhere() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    versions = re.findall(r"^## \[?(\d+\.\d+\.\d+\S*?)\]?(?: |$)", changelog, flags=re.MULTILINE)

    assert versions[0] == tlkit.__version__ == importlib.metadata.version("tlkit")


def test_types_are_shipped() -> None:
    assert files("tlkit").joinpath("py.typed").is_file()


@pytest.mark.parametrize("name", MODULES)
def test_doctests(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # examples may write files
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)

    assert result.failed == 0, "see the captured output for the example that failed"
