"""TensorFlow is loaded in one place, as late as it can be, and says little."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import tlkit
from tlkit.core import start_up
from tlkit.core.start_up import set_log_level

SOURCE = Path(tlkit.__file__).parent
LOADS = {SOURCE / "core" / "tensorflow.py", SOURCE / "core" / "keras_backend.py"}

UNAVOIDABLE = re.compile(
    r"WARNING: All log messages before absl::InitializeLog\(\) is called are written to STDERR"
    r"|I.* port\.cc:\d+\] oneDNN custom operations are on\."
    r"|I.* cudart_stub\.cc:\d+\] Could not find cuda drivers on your machine"
)
"""What TensorFlow 2.21 writes while its libraries are loaded, before it reads any setting."""


def imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield line and module of every import that runs: those for type checkers do not."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.lineno, node.module or ""
        yield from imports(node)


@pytest.mark.parametrize("path", sorted({*SOURCE.rglob("*.py")} - LOADS), ids=lambda p: p.stem)
def test_one_module_loads_tensorflow(path: Path) -> None:
    found = [
        f"line {line}: import it from tlkit.core.tensorflow, not from {module}"
        for line, module in imports(ast.parse(path.read_text("utf-8")))
        if module.partition(".")[0] in ("keras", "tensorflow")
    ]
    assert not found


@pytest.mark.parametrize(
    ("before", "driver", "after"),
    [
        ({}, False, "3"),
        ({}, True, "1"),
        ({"TF_CPP_MIN_LOG_LEVEL": "0"}, False, "0"),
        ({"TLKIT_TF_LOG": "1"}, False, None),
    ],
)
def test_only_what_the_user_has_not_set_is_set(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    before: dict[str, str],
    driver: bool,
    after: str | None,
) -> None:
    monkeypatch.delitem(sys.modules, "tensorflow", raising=False)
    (tmp_path / "there").touch()
    monkeypatch.setattr(start_up, "_DRIVERS", [tmp_path / ("there" if driver else "not there")])
    set_log_level(before)
    assert before.get("TF_CPP_MIN_LOG_LEVEL") == after


def test_tensorflow_that_is_loaded_already_needs_no_setting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "tensorflow", object())
    environment: dict[str, str] = {}
    set_log_level(environment)
    assert not environment


CHILD = """
import os, sys
from tlkit.cli.quiet import quiet_start

with quiet_start():
    os.write(2, b"before ")
    from tlkit.core.tensorflow import tf
    tf.zeros(())
    os.write(2, b"after")
"""


def script(program: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a program in a process of its own, whose environment says nothing of log levels."""
    unset = ("TF_CPP_MIN_LOG_LEVEL", "TLKIT_TF_LOG", "TLKIT_ENGINE")
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        env={name: value for name, value in os.environ.items() if name not in unset},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done


def test_an_application_may_have_it_loaded_without_a_word() -> None:
    assert script(CHILD).stderr == "before after"


SCRIPT = """
import json, os, sys, threading, warnings
before = dict(os.environ)
import tlkit
warnings.filterwarnings("ignore", "(?s).*one fact of the files alone")  # true of what is drawn
from tlkit import BackboneAdapter, FineTuneSchedule, transfer_classifier
same = dict(os.environ) == before and "tensorflow" not in sys.modules

from PIL import Image
known, opened = Image.open, []
def looking(*arguments, **options):
    opened.append(hasattr(sys.modules.get("keras"), "Model"))
    return known(*arguments, **options)
Image.open = looking

classifier = transfer_classifier(
    sys.argv[1], backbone=BackboneAdapter("tiny_random"), schedule=FineTuneSchedule.standard()
)
print(json.dumps({"same": same, "opened": opened, "level": os.environ["TF_CPP_MIN_LOG_LEVEL"]}))
"""


def test_a_script_decodes_before_tensorflow_is_there_and_hears_little_of_it(
    drawn_folder: Path,
) -> None:
    """With phases, whose cut the network decides, and with ONNX Runtime, which may have to convert it."""
    done = script(SCRIPT, drawn_folder)
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["same"], "importing tlkit loads no TensorFlow and sets nothing"
    assert not any(found["opened"][:48]), "all 48 images are decoded while TensorFlow is loaded"
    if found["level"] == "3":  # without a GPU
        said = done.stderr.splitlines()
        assert [line for line in said if not UNAVOIDABLE.match(line)] == []
