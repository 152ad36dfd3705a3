"""Read plain JSON values back into what an annotation names: one reader for every spec.

JSON has only lists and objects. The annotation of a field tells what they were: a tuple, a mapping, another
spec, a path. What does not fit is refused by name, whatever a damaged or hostile file holds there.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Final, Literal, Union, get_args, get_origin

from tlkit.errors import SettingError

_PLAIN: Final = {str: "text", bool: "true or false", int: "a whole number", float: "a number"}
_LARGEST: Final = 2**63  # beyond it NumPy has no whole numbers


def read_value(name: str, kind: Any, value: Any) -> Any:
    """Return a JSON value as what an annotation names.

    Args:
        name: What an error calls it.
        kind: The annotation, resolved: text, numbers, `Path`, tuples, mappings, unions of these, `Any`, and
            classes that have `from_config`.
        value: What the JSON holds.

    Raises:
        SettingError: The value is not of that kind.

    Examples:
        >>> read_value("image_size", tuple[int, int], [160, 224])
        (160, 224)
        >>> read_value("seed", int, "42")
        Traceback (most recent call last):
            ...
        tlkit.errors.SettingError: `seed` must be a whole number, got '42'
    """
    origin, inner = get_origin(kind), get_args(kind)
    if kind is Any:
        return value
    if origin in (Union, UnionType):
        return _read_one_of(name, inner, value)
    if origin is tuple:
        return _read_tuple(name, inner, value)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        _require(isinstance(value, Mapping), name, "an object", value)
        return {
            read_value(name, inner[0], key): read_value(f"{name}[{key!r}]", inner[1], item)
            for key, item in value.items()
        }
    if origin is Literal:
        _require(value in inner, name, f"one of {list(inner)}", value)
        return value
    if hasattr(kind, "from_config"):
        _require(isinstance(value, Mapping), name, f"a {kind.__name__} as an object", value)
        try:
            return kind.from_config(value)
        except SettingError as error:
            raise SettingError(f"{name}: {error}") from error
    if kind is Path:
        _require(isinstance(value, str), name, "a path", value)
        return Path(value)
    return _read_plain(name, kind, value)


def _read_one_of(name: str, choices: tuple[Any, ...], value: Any) -> Any:
    """Read a union: of one kind and None (an error names what is wrong inside), or of plain values."""
    kinds = [kind for kind in choices if kind is not NoneType]
    if value is None and len(kinds) < len(choices):
        return None
    if any(get_origin(kind) is list for kind in kinds):  # any JSON value
        return value
    if len(kinds) == 1:
        return read_value(name, kinds[0], value)
    for kind in sorted(kinds, key=lambda kind: kind is not type(value)):
        try:
            return read_value(name, kind, value)
        except SettingError:
            continue
    raise SettingError(f"`{name}` must be of the kind {_named(choices)}, got {value!r}")


def _read_tuple(name: str, inner: tuple[Any, ...], value: Any) -> tuple[Any, ...]:
    _require(isinstance(value, list | tuple), name, "a list", value)
    if inner[-1] is ...:
        kinds = (inner[0],) * len(value)
    else:
        kinds = inner
        _require(len(value) == len(kinds), name, f"a list of {len(kinds)}", value)
    pairs = enumerate(zip(kinds, value, strict=True))
    return tuple(read_value(f"{name}[{index}]", kind, item) for index, (kind, item) in pairs)


def _read_plain(name: str, kind: Any, value: Any) -> Any:
    accepted = (int, float) if kind is float else kind
    fits = isinstance(value, accepted) if isinstance(kind, type) else callable(value)
    if kind in (int, float):
        fits = fits and not isinstance(value, bool)
        fits = fits and (isinstance(value, float) or -_LARGEST <= value < _LARGEST)
    _require(fits, name, _PLAIN.get(kind, str(kind)), value)
    return value


def _named(kinds: tuple[Any, ...]) -> str:
    return " or ".join(getattr(kind, "__name__", str(kind)) for kind in kinds)


def _require(holds: bool, name: str, kind: str, value: Any) -> None:  # noqa: FBT001 - a condition
    if not holds:
        shown = repr(value)
        shown = shown if len(shown) <= 100 else f"{shown[:100]}…"
        raise SettingError(f"`{name}` must be {kind}, got {shown}")
