"""What the settings of every stage share: checks, a readable repr and a JSON round trip.

A spec is a frozen, keyword-only dataclass that checks itself when it is built. What `Spec` adds is the
same for all of them: `repr` names what differs from the defaults, and `from_json(to_json())` gives an
equal spec back.
"""

from __future__ import annotations

import dataclasses
import json
import math
import operator
import os
import reprlib
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from functools import cache
from numbers import Real
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Final, Self, SupportsIndex, TypeAlias, cast, get_type_hints

from tlkit.core.json_values import read_value
from tlkit.errors import SettingError

PathLike: TypeAlias = str | os.PathLike[str]
Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

_MISSING: Final = dataclasses.MISSING


class Spec:
    """Base of the frozen dataclasses that describe one stage."""

    __slots__ = ()
    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]
    _renamed: ClassVar[Mapping[str, str]] = MappingProxyType({})
    """Names that earlier releases wrote, and what they are called now."""

    def __repr__(self) -> str:
        given = []
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if not field.kw_only:
                given.append(repr(str(value) if isinstance(value, Path) else value))
            elif not field.init or value != _default(field):
                given.append(f"{field.name}={value!r}")
        return f"{type(self).__name__}({', '.join(given)})"

    def to_config(self) -> dict[str, Json]:
        """Return the settings as plain JSON values, every one of them spelled out.

        Raises:
            SettingError: A setting is a function or an object that JSON cannot carry.
        """
        return {
            field.name: _jsonable(f"{type(self).__name__}.{field.name}", getattr(self, field.name))
            for field in dataclasses.fields(self)
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Build the spec that `to_config` described, in this release or an earlier one.

        Raises:
            SettingError: A name is not a setting of this spec, one that it needs is missing, or a value is
                outside what it may be.
        """
        names = [field.name for field in dataclasses.fields(cls)]
        given = {cls._renamed.get(name, name): value for name, value in config.items()}
        for name in given:
            check_choice(f"{cls.__name__} setting", name, names)
        needed = {field.name for field in dataclasses.fields(cls) if _default(field) is _MISSING}
        if missing := sorted(needed - given.keys()):
            raise SettingError(f"{cls.__name__} needs {', '.join(map(repr, missing))} too")
        values = {name: cls._from_json_value(name, value) for name, value in given.items()}
        fields = {field.name: field for field in dataclasses.fields(cls)}
        positional = [
            values.pop(name) for name in names if name in values and not fields[name].kw_only
        ]
        return cls(*positional, **values)

    def to_json(self) -> str:
        """Write the settings as a JSON object.

        Raises:
            SettingError: A setting is something that JSON cannot carry, NaN and infinity included.
        """
        config = self.to_config()
        for name, value in config.items():
            try:
                json.dumps(value, allow_nan=False)
            except ValueError as error:
                raise SettingError(
                    f"{type(self).__name__}.{name} cannot be written as JSON, which knows no NaN and "
                    "no infinity: use to_config(), or leave such numbers out"
                ) from error
        return json.dumps(config, indent=2)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote.

        Raises:
            SettingError: The text is not a JSON object of this spec's settings.
        """
        try:
            config = json.loads(text)
        except ValueError as error:
            raise SettingError(f"{cls.__name__}.from_json needs a JSON object: {error}") from error
        if not isinstance(config, dict):
            raise SettingError(f"{cls.__name__}.from_json needs a JSON object, got {config!r}")
        return cls.from_config(config)

    @classmethod
    def _from_json_value(cls, name: str, value: Any) -> Any:
        """Turn one JSON value back into the setting, as its annotation demands."""
        return read_value(name, _annotations(cast("Any", cls))[name], value)


@cache
def _annotations(cls: Any) -> dict[str, Any]:
    return get_type_hints(cls)


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not _MISSING:
        return field.default_factory()
    return field.default


def _jsonable(name: str, value: Any) -> Json:
    if isinstance(value, Spec):
        return value.to_config()
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): _jsonable(f"{name}[{key!r}]", item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_jsonable(f"{name}[{index}]", item) for index, item in enumerate(value)]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise SettingError(
        f"{name} cannot be written as JSON: it is {value!r}. "
        "Use a value that JSON can carry (numbers, text, lists), or keep this spec in code."
    )


def check_choice(name: str, value: str, choices: list[str] | tuple[str, ...]) -> str:
    """Return `value` if it is one of `choices`; else raise an error that suggests the nearest ones.

    Raises:
        SettingError: The value is not one of the choices.
    """
    if value in choices:
        return value
    near = get_close_matches(str(value), choices, n=3, cutoff=0.5)
    hint = (
        f"did you mean {' or '.join(map(repr, near))}?" if near else f"choose from {list(choices)}"
    )
    raise SettingError(f"unknown {name} {value!r}: {hint}")


def check_int(name: str, value: object, *, at_least: int, at_most: int | None = None) -> int:
    """Return `value` as a plain int if it is a whole number, NumPy's included, within the limits.

    Raises:
        SettingError: It is not a whole number, or outside the limits.
    """
    try:
        number = None if isinstance(value, bool) else operator.index(cast("SupportsIndex", value))
    except TypeError:
        number = None
    if number is None:
        raise SettingError(f"`{name}` must be a whole number, got {value!r}")
    if number < at_least or (at_most is not None and number > at_most):
        limits = f"at least {at_least}" if at_most is None else f"{at_least} to {at_most}"
        raise SettingError(f"`{name}` must be {limits}, got {number}")
    return number


def check_float(
    name: str,
    value: object,
    *,
    above: float = -math.inf,
    at_least: float = -math.inf,
    below: float = math.inf,
    at_most: float = math.inf,
) -> float:
    """Return `value` if it is a finite number within the limits.

    Raises:
        SettingError: It is not a number, NaN, infinite or outside the limits.
    """
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
        raise SettingError(f"`{name}` must be a finite number, got {value!r}")
    value = float(value)  # NumPy's numbers are Real too
    limits: list[tuple[str, float, Callable[[float, float], bool]]] = [
        ("above", above, lambda v, limit: v > limit),
        ("at least", at_least, lambda v, limit: v >= limit),
        ("below", below, lambda v, limit: v < limit),
        ("at most", at_most, lambda v, limit: v <= limit),
    ]
    if not all(holds(value, limit) for _, limit, holds in limits):
        must = " and ".join(
            f"{word} {limit:g}" for word, limit, _ in limits if math.isfinite(limit)
        )
        raise SettingError(f"`{name}` must be {must}, got {value}")
    return value


def check_bool(name: str, value: object) -> bool:
    """Return `value` as a plain bool if it is True or False, NumPy's included.

    Raises:
        SettingError: It is anything else.
    """
    if type(value).__name__ not in ("bool", "bool_"):  # NumPy's go by either name
        raise SettingError(f"`{name}` must be True or False, got {value!r}")
    return bool(value)


def check_kind(name: str, value: object, kinds: tuple[type, ...], *, advice: str = "") -> None:
    """Raise unless `value` is of one of these kinds.

    Args:
        name: What the caller calls it.
        value: What came.
        kinds: What it may be.
        advice: What to do instead, where that is known.

    Raises:
        SettingError: It is of none of them.
    """
    if not isinstance(value, kinds):
        wanted = " or a ".join(kind.__name__ for kind in kinds)
        got = f"{reprlib.repr(value)} ({type(value).__name__})"
        raise SettingError(f"`{name}` must be a {wanted}, got {got}{advice and f': {advice}'}")


def check_path(name: str, value: object) -> str:
    """Return `value` as text if it is the path of a file or a folder.

    Raises:
        SettingError: It is no text and no path object, or a path that nothing can have.
    """
    path = os.fspath(value) if isinstance(value, str | os.PathLike) else None
    if not isinstance(path, str) or not path or "\0" in path:
        raise SettingError(f"`{name}` must be a path, got {value!r}")
    return path


def as_pair(image_size: int | tuple[int, int] | None) -> tuple[int, int] | None:
    """Return an image size as `(height, width)`, or None for None.

    Raises:
        SettingError: It is neither a whole number nor a pair of them, each at least 1.
    """
    if image_size is None:
        return None
    number = isinstance(image_size, SupportsIndex)  # NumPy's whole numbers too
    pair: object = (image_size, image_size) if number else image_size
    if not isinstance(pair, tuple | list) or len(pair) != 2:
        raise SettingError(
            f"`image_size` must be one whole number or a pair (height, width), got {image_size!r}"
        )
    height, width = (check_int("image_size", side, at_least=1) for side in pair)
    return height, width
