"""What the settings of every stage share: checks, a readable repr and a JSON round trip.

A spec is a frozen, keyword-only dataclass that checks itself when it is built. What `Spec` adds is the
same for all of them: `repr` names what differs from the defaults, and `from_json(to_json())` gives an
equal spec back.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from numbers import Real
from pathlib import Path
from typing import Any, ClassVar, Self, TypeAlias

from tlkit.errors import SettingError

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"


class Spec:
    """Base of the frozen dataclasses that describe one stage."""

    __slots__ = ()
    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]

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
        """Build the spec that `to_config` described.

        Raises:
            SettingError: A name is not a setting of this spec, or a value is outside what it may be.
        """
        names = [field.name for field in dataclasses.fields(cls)]
        for name in config:
            check_choice(f"{cls.__name__} setting", name, names)
        values = {name: cls._from_json_value(name, value) for name, value in config.items()}
        fields = {field.name: field for field in dataclasses.fields(cls)}
        positional = [
            values.pop(name) for name in names if name in values and not fields[name].kw_only
        ]
        return cls(*positional, **values)

    def to_json(self) -> str:
        """Write the settings as a JSON object."""
        return json.dumps(self.to_config(), indent=2)

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
        """Turn one JSON value back into the setting; specs with nested parts override this."""
        del name
        return tuple(value) if isinstance(value, list) else value


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
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
    """Return `value` if it is one of `choices`; else say which ones are near.

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


def check_int(name: str, value: int, *, at_least: int, at_most: int | None = None) -> int:
    """Return `value` if it is a whole number within the limits.

    Raises:
        SettingError: It is not a whole number, or outside the limits.
    """
    if type(value) is not int:
        raise SettingError(f"`{name}` must be a whole number, got {value!r}")
    if value < at_least or (at_most is not None and value > at_most):
        limits = f"at least {at_least}" if at_most is None else f"{at_least} to {at_most}"
        raise SettingError(f"`{name}` must be {limits}, got {value}")
    return value


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


def check_bool(name: str, value: bool) -> bool:  # noqa: FBT001 - the value under test, not a flag
    """Return `value` if it is True or False.

    Raises:
        SettingError: It is anything else.
    """
    if not isinstance(value, bool):
        raise SettingError(f"`{name}` must be True or False, got {value!r}")
    return value
