"""What the pages say, happens: every block of Python and every `tlkit` command in README.md and docs/ is run.

A page is one namespace, from top to bottom, in a folder that holds what the module `pages` puts there. Blocks
that cannot be run say so in the page, with the reason: `<!-- skip: next "the code of another library" -->`.
"""

from __future__ import annotations

import ast
import doctest
import inspect
import re
import shlex
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest import SkipTest

import griffe
import pages
import pytest
from sybil import Document, Example, Sybil
from sybil.parsers.markdown import CodeBlockParser, PythonCodeBlockParser, SkipParser

import tlkit
from tlkit.backbones.adapter import BackboneAdapter
from tlkit.backbones.catalogue import CATALOGUE
from tlkit.cli import app as cli

ROOT = Path(__file__).parents[1]
PAGES = {
    page.relative_to(ROOT).as_posix(): page
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
}
QUICK = {"docs/audit.md"}
"""Pages that need no network, and so less than two seconds."""

REAL = {"docs/quickstart.md", "docs/how-to/offline.md", "docs/how-to/which-network.md"}
"""Pages that take the network which tlkit takes where none is named; to the others it is all the same."""

RUN = {"python", "sh"}
SHOWN = {"text", "toml", "dockerfile", "yaml", "json", "csv", "java", "kotlin", "swift"}
ELSEWHERE = {
    *("pip", "python", "pytest", "pre-commit", "git", "ray", "docker", "export", "nvidia-smi"),
    *("ruff", "mypy", "lint-imports", "mkdocs", "adb", "curl"),
}
"""First words of commands that are not run here: they install, or need what this machine may not have."""


def run_commands(example: Example) -> None:
    """Run the lines of a shell block that begin with `tlkit`, in this process."""
    for line in example.parsed.replace("\\\n", " ").splitlines():
        for command in re.split(r" (?:&&|\|\||;) ", line):
            words = shlex.split(command, comments=True)
            if not words or words[0] in ELSEWHERE or words[0].startswith("scripts/"):
                continue
            assert words[0] == "tlkit", f"{example.path}:{example.line}: no rule for `{command}`"
            if words[1] == "serve":  # which never ends: tests/test_serving.py runs it
                cli._parser().parse_args(words[1:])
                continue
            assert cli.main(words[1:]) == 0, f"{example.path}:{example.line}: `{command}` failed"


SYBIL = Sybil(
    parsers=[PythonCodeBlockParser(), CodeBlockParser("sh", run_commands), SkipParser()],
    pattern="*.md",
)


def examples(page: Path) -> list[Example]:
    return list(SYBIL.parse(page).examples())


def skips(example: Example) -> bool:
    return isinstance(example.parsed, tuple)


def blocks_run(page: Path) -> list[Example]:
    """Return the blocks that are not skipped."""
    found = examples(page)
    skipped = {after.start for skip, after in pairwise(found) if skips(skip)}
    return [block for block in found if not skips(block) and block.start not in skipped]


def runnable(page: Path) -> bool:
    return any("tlkit" in block.parsed for block in blocks_run(page))


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pages.draw_images(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="session")
def furnished(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("furnished") / "home"
    return pages.add_classifiers(Path(shutil.copytree(images, folder)))


@pytest.fixture(scope="session")
def keras_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pages.fill_keras_cache(tmp_path_factory.mktemp("keras"))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a reader is. Whatever a page does to the environment is undone."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(page: Path) -> None:
    document: Document = SYBIL.parse(page)
    document.namespace["__name__"] = "__main__"
    for example in document.examples():
        try:
            example.evaluate()
        except SkipTest:
            continue


@pytest.mark.parametrize("name", sorted(QUICK))
def test_a_page_without_a_network_runs_from_top_to_bottom(
    name: str, images: Path, home: Path
) -> None:
    shutil.copytree(images, home, dirs_exist_ok=True)
    run(PAGES[name])


def small_backbone(image_size: Any = None, **settings: Any) -> BackboneAdapter:
    """Stand in for `default_backbone`."""
    return BackboneAdapter("tiny_random", image_size=image_size, **settings)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [name for name, page in PAGES.items() if runnable(page) and name not in QUICK]
)
def test_a_page_runs_from_top_to_bottom(
    name: str, furnished: Path, keras_home: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a page leaves to tlkit is smaller here: the images, what is compared, and mostly the network."""
    from keras.src.backend import config

    usual = CATALOGUE["MobileNetV2"]
    monkeypatch.setitem(CATALOGUE, "MobileNetV2", replace(usual, default_size=96))
    monkeypatch.setattr("tlkit.choosing.candidates.LITE", {})
    if name not in REAL:
        for module in ("backbones.default", "training.settings"):
            monkeypatch.setattr(f"tlkit.{module}.default_backbone", small_backbone)

    monkeypatch.setenv("KERAS_HOME", str(keras_home))
    monkeypatch.setattr(config, "_KERAS_DIR", str(keras_home))
    shutil.copytree(furnished, home, dirs_exist_ok=True)
    run(PAGES[name])


# Nothing escapes


@pytest.mark.parametrize("name", PAGES)
def test_every_block_has_a_language_and_every_block_of_code_is_found(name: str) -> None:
    """Counted without Sybil, which passes over what it does not recognise."""
    fences = re.findall(r"^[ \t>]*(?:`{3,}|~{3,})(.*)$", PAGES[name].read_text("utf-8"), re.M)
    languages, ends = fences[::2], fences[1::2]
    assert set(ends) <= {""}
    assert set(languages) <= RUN | SHOWN
    starts = {
        e.start for e in examples(PAGES[name]) if e.region.lexemes
    }  # `>>>` gives one a prompt
    written = sum(language in RUN for language in languages)
    assert len(starts) >= written


@pytest.mark.parametrize("name", PAGES)
def test_a_skip_has_a_reason(name: str) -> None:
    for example in filter(skips, examples(PAGES[name])):
        action, reason = example.parsed
        assert action == "next", f"line {example.line}: skip one block at a time"
        assert reason, f"line {example.line}: skipped without a reason"
        assert len(ast.literal_eval(reason)) > 10


# Every public name


def names_used(page: Path) -> set[str]:
    """Return the public names that a page imports and uses, or reaches as `tlkit.…`."""
    imported, loaded, reached = set(), set(), set()
    for block in blocks_run(page):
        if block.region.lexemes["arguments"] != "python":
            continue
        for node in ast.walk(ast.parse(block.parsed)):
            match node:
                case ast.ImportFrom(module="tlkit", names=names):
                    imported |= {name.name for name in names}
                case ast.Attribute(value=ast.Name(id="tlkit"), attr=name):
                    reached.add(name)
                case ast.Name(id=name):
                    loaded.add(name)
    return reached | (imported & loaded)


def has_example(value: object) -> bool:
    """Whether a docstring shows something that runs."""
    shown = doctest.DocTestParser().get_examples(inspect.getdoc(value) or "")
    return any(not example.options.get(doctest.SKIP) for example in shown)


RAY = {"scale"}
"""What starts a Ray: its page is skipped here, and tests/test_scale_cluster.py makes the same calls."""


def test_every_public_name_has_an_example_that_runs() -> None:
    on_pages = set().union(*map(names_used, PAGES.values()))
    without = {
        name
        for name in tlkit.__all__
        if name not in on_pages and not has_example(getattr(tlkit, name))
    }
    assert without <= RAY


# The reference

NAMESPACES = ("errors", "plot", "scale")
BESIDE = {
    "tlkit.evaluation.decisions.choose_guarantee",
    "tlkit.evaluation.drift.drift",
    "tlkit.evaluation.evaluate.evaluate",
    "tlkit.evaluation.familiarity.Familiarity",
    "tlkit.images.decoder.read_image",
    "tlkit.classifier.record.Record",  # an attribute of every classifier
}
"""What is public although no namespace has it: docs/deprecation.md."""


@pytest.fixture(scope="module")
def source() -> griffe.Object:
    """Return the package as its source has it, annotations included."""
    loaded = griffe.load("tlkit", search_paths=[Path(tlkit.__file__).parents[1]])
    assert isinstance(loaded, griffe.Object)
    return loaded


def find(source: griffe.Object, path: str) -> griffe.Object | None:
    """Return what a path leads to, through every `import`; None where it leads out of tlkit."""
    try:
        found = source[path.removeprefix("tlkit.")]
    except KeyError:
        return None
    return found.final_target if isinstance(found, griffe.Alias) else found


def names_of(module: str) -> list[str]:
    """Return the paths of a module's public names."""
    found = import_module(module)
    own = [
        name
        for name, value in vars(found).items()
        if getattr(value, "__module__", None) == module and not name.startswith("_")
    ]
    return [f"{module}.{name}" for name in getattr(found, "__all__", own)]


def types_of_results(thing: griffe.Object) -> Iterator[str]:
    """Yield the names in the annotations of what a function returns, or of what a class holds."""
    if thing.is_class:
        holders = [member for name, member in thing.all_members.items() if name[0] != "_"]
        things = [m.final_target if isinstance(m, griffe.Alias) else m for m in holders]
    else:
        things = [thing]
    for member in things:
        annotation = getattr(member, "returns" if member.is_function else "annotation", None)
        if isinstance(annotation, griffe.Expr):
            for expression in annotation.iterate(flat=True):
                if isinstance(expression, griffe.ExprName):
                    yield expression.canonical_path


def public_paths(source: griffe.Object) -> set[str]:
    """Return where every public name is defined, and every class that one leads to by its results."""
    waiting = BESIDE | {path for name in NAMESPACES for path in names_of(f"tlkit.{name}")}
    waiting |= {path for path in names_of("tlkit") if path.split(".")[1] not in NAMESPACES}
    found: set[str] = set()
    while waiting:
        path = waiting.pop()
        thing = find(source, path)
        assert thing is not None, path
        if thing.path not in found:
            found.add(thing.path)
            reached = [find(source, path) for path in types_of_results(thing)]
            waiting |= {t.path for t in reached if t and t.is_class and t.name[0] != "_"}
    return found


def test_every_public_name_is_on_one_page_of_the_reference(source: griffe.Object) -> None:
    pages = (ROOT / "docs/reference").glob("*.md")
    written = [
        path for page in pages for path in re.findall(r"^::: (\S+)$", page.read_text("utf-8"), re.M)
    ]
    whole = {"tlkit.errors"}  # a page of all its names
    shown = [
        thing.path
        for path in written
        for name in (names_of(path) if path in whole else [path])
        if (thing := find(source, name)) and not thing.is_module
    ]
    assert [path for path, count in Counter(shown).items() if count > 1] == []
    assert {*shown} == public_paths(source)
