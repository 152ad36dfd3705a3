"""What is installed is what was promised: a free import, one version, types, examples that run."""

from __future__ import annotations

import doctest
import importlib
import importlib.metadata
import importlib.util
import json
import pkgutil
import re
import subprocess
import sys
import tomllib
from importlib.resources import files
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import tlkit

ROOT = Path(__file__).parents[1]
LOADER = "tlkit.core.tensorflow"  # the one module that is TensorFlow and Keras
MODULES = [
    "tlkit",
    *(m.name for m in pkgutil.walk_packages(tlkit.__path__, "tlkit.") if m.name != LOADER),
]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
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


def script(name: str) -> ModuleType:
    """Import a file of scripts/."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_what_is_tested_is_what_is_installed() -> None:
    origin = json.loads(
        importlib.metadata.distribution("tlkit").read_text("direct_url.json") or "{}"
    )
    editable = origin.get("dir_info", {}).get("editable", False)

    assert Path(tlkit.__file__).is_relative_to(ROOT / "src") == editable


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


VERSION_FILE = '"""Words."""\n\n__version__ = "1.2.0"\n'
CHANGELOG = "# Changelog\n\n## [1.2.0] - 2026-03-01\n\n### Added\n\n## [1.1.0] - 2026-01-01\n"


def test_a_release_is_one_version_with_a_date() -> None:
    problems = script("check_release").problems

    assert problems("v1.2.0", VERSION_FILE, CHANGELOG) == []
    assert problems("1.2.0", VERSION_FILE, CHANGELOG) == [
        "the tag is 1.2.0, and the version of the package 1.2.0"
    ]
    assert problems("v1.1.0", VERSION_FILE, CHANGELOG) == [
        "the tag is v1.1.0, and the version of the package 1.2.0"
    ]
    (behind,) = problems("v1.2.0", VERSION_FILE, CHANGELOG.replace("1.2.0", "1.3.0"))
    assert behind == "the changelog begins with 1.3.0, not 1.2.0"
    (undated,) = problems("v1.2.0", VERSION_FILE, CHANGELOG.replace("2026-03-01", "Unreleased"))
    assert undated == "the changelog has no date (YYYY-MM-DD) but 'Unreleased'"
    assert problems("v1.2.0", "", CHANGELOG) != []


def test_this_release_lacks_nothing_but_a_date() -> None:
    version_file = (ROOT / "src/tlkit/_version.py").read_text(encoding="utf-8")
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    found = script("check_release").problems(f"v{tlkit.__version__}", version_file, changelog)

    assert [problem for problem in found if "no date" not in problem] == []


def test_the_lowest_versions_are_those_of_the_bounds() -> None:
    project = {
        "dependencies": ["numpy>=1.26", "rich>=13.7"],
        "optional-dependencies": {
            "ray": ["ray[data]>=2.51", "tlkit[parquet]"],
            "docs": ["mkdocs==1.6.1", "rich>=13.7"],
        },
    }
    assert list(script("lowest").constraints(project)) == [
        "numpy==1.26",
        "ray==2.51",
        "rich==13.7",
    ]


def test_every_dependency_has_a_bound() -> None:
    requirements = PROJECT["project"]["dependencies"] + [
        one for extra in PROJECT["project"]["optional-dependencies"].values() for one in extra
    ]
    unbound = [one for one in requirements if not re.search(r"[>=]=\d|^tlkit\[", one)]

    assert unbound == []
    lowest = dict(line.split("==") for line in script("lowest").constraints(PROJECT["project"]))
    assert [
        one for one in requirements if ">=" in one and one.split(">=")[1] not in lowest.values()
    ] == []


def test_the_import_contract_names_every_package() -> None:
    contract, *_ = PROJECT["tool"]["importlinter"]["contracts"]

    assert {*contract["layers"]} == {module.name for module in pkgutil.iter_modules(tlkit.__path__)}


def files_of(package: str) -> set[str]:
    """Return the modules of a package; a module is its own file."""
    found = importlib.import_module(f"tlkit.{package}")
    return {module.name for module in pkgutil.iter_modules(getattr(found, "__path__", []))} or {
        package
    }


def test_the_architecture_page_lists_packages_and_files_in_the_order_of_the_contract() -> None:
    contract, *_ = PROJECT["tool"]["importlinter"]["contracts"]
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \|.*\| (.+) \|$", page, flags=re.MULTILINE)

    above = [name for name in reversed(contract["layers"]) if not name.startswith("_")]
    assert [package for package, _ in rows] == above
    for package, row in rows:
        listed = re.findall(r"`(\w+)`", row)
        assert len(listed) == len({*listed})
        assert {*listed} == files_of(package), f"docs/architecture.md, row of {package}"


@pytest.mark.parametrize(
    "package",
    [module.name for module in pkgutil.iter_modules(tlkit.__path__) if module.ispkg],
)
def test_a_package_names_its_files(package: str) -> None:
    docstring = importlib.import_module(f"tlkit.{package}").__doc__ or ""
    if "Files in reading order" not in docstring:
        assert package in {"plot", "scale"}, "public namespaces, which list their names instead"
        return
    _, listed = docstring.split("Files in reading order")
    assert {*re.findall(r"`(\w+)`", listed)} == files_of(package)


REGISTRIES = r"\b(?:pypi\.org|pythonhosted\.org|(?:ana)?conda\.(?:org|io)|npmjs\.\w+)\b"
PLACES = r"(?<![\w.$}])/(?:root|work|workspace|mnt|Users|home/(?!tlkit\b)\w+)/"  # a container's user is tlkit


def test_no_text_names_a_registry_or_a_place_on_somebodys_machine() -> None:
    texts = [ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "mkdocs.yml")]
    texts += [ROOT / "pyproject.toml", *(ROOT / ".github").rglob("*.*"), ROOT / ".ci" / "run"]
    for folder in ("src", "tests", "docs", "examples", "scripts", "benchmarks"):
        texts += (ROOT / folder).rglob("*")
    binary = {".png", ".pyc", ".jpg", ".npz", ".keras", ".onnx", ".tflite"}
    found = [
        f"{path.relative_to(ROOT)}: {hit}"
        for path in texts
        if path.is_file() and path.suffix not in binary and path != Path(__file__)
        for hit in re.findall(f"{REGISTRIES}|{PLACES}", path.read_text(encoding="utf-8"))
    ]
    assert found == []


@pytest.mark.parametrize("name", MODULES)
def test_doctests(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # examples may write files
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)

    assert result.failed == 0, "see the captured output for the example that failed"
