"""What a docstring says about arguments and attributes is what the code has."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from typing import Any

import griffe
import pytest

import tlkit

MODULES = ["tlkit", *(m.name for m in pkgutil.walk_packages(tlkit.__path__, "tlkit."))]
PARAMETERS, ATTRIBUTES = (
    griffe.DocstringSectionKind.parameters,
    griffe.DocstringSectionKind.attributes,
)


def documented(thing: object) -> dict[griffe.DocstringSectionKind, list[str]]:
    """Return the names that each section of a docstring lists."""
    docstring = griffe.Docstring(inspect.getdoc(thing) or "")
    sections = docstring.parse("google", warnings=False)
    return {
        section.kind: [item.name.lstrip("*") for item in section.value]
        for section in sections
        if section.kind in (PARAMETERS, ATTRIBUTES)
    }


def parameters(thing: Any) -> list[str]:
    """Return the names of what a function, method or class takes."""
    added = ("self", "cls", "_ray_trace_ctx")  # the last one by Ray, once an actor has started
    return [name for name in inspect.signature(thing).parameters if name not in added]


def members(module: str) -> Iterator[tuple[str, Any]]:
    """Yield the functions, classes and their methods that a module defines, private ones too."""
    for name, thing in vars(importlib.import_module(module)).items():
        if getattr(thing, "__module__", None) != module:
            continue
        if inspect.isfunction(thing):
            yield name, thing
        elif inspect.isclass(thing):
            yield name, thing
            for method, raw in vars(thing).items():
                function = getattr(raw, "__func__", raw)  # what a classmethod or staticmethod wraps
                if inspect.isfunction(function) and function.__module__ == module:
                    yield f"{name}.{method}", function


@pytest.mark.parametrize("module", MODULES)
def test_documented_arguments_are_those_of_the_signature(module: str) -> None:
    wrong = {
        name: (said, parameters(thing))
        for name, thing in members(module)
        if (said := documented(thing).get(PARAMETERS)) and said != parameters(thing)
    }
    assert wrong == {}, "(what the docstring says, what the signature says)"


@pytest.mark.parametrize("module", MODULES)
def test_documented_attributes_are_there(module: str) -> None:
    for name, thing in members(module):
        said = documented(thing)
        if inspect.isclass(thing) and dataclasses.is_dataclass(thing) and ATTRIBUTES in said:
            fields = [f.name for f in dataclasses.fields(thing) if not f.name.startswith("_")]
            assert [a for a in said[ATTRIBUTES] if not hasattr(thing, a)] == [], name
            known = said[ATTRIBUTES] + said.get(PARAMETERS, [])
            bases = [base for base in thing.__mro__[1:] if dataclasses.is_dataclass(base)]
            known += [field for base in bases for field in documented(base).get(ATTRIBUTES, [])]
            assert [f for f in fields if f not in known] == [], f"{name} says nothing about these"


@pytest.mark.parametrize("name", tlkit.__all__)
def test_a_public_name_says_what_it_takes_or_holds(name: str) -> None:
    thing = getattr(tlkit, name)
    said = documented(thing)
    if callable(thing) and parameters(thing):
        assert said.get(PARAMETERS) or said.get(ATTRIBUTES)
