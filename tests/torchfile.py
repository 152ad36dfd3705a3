"""PyTorch state dicts in its older layout, written without PyTorch."""

from __future__ import annotations

import contextlib
import io
import pickle
import sys
import types
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import numpy as np

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
SYSTEM = {
    "protocol_version": 1001,
    "little_endian": True,
    "type_sizes": {"short": 2, "int": 4, "long": 4},
}


class _Stored:
    """One storage: a run of numbers under a key."""

    def __init__(self, key: str, kind: type, numbers: Any) -> None:
        self.key, self.kind, self.numbers = key, kind, numbers


class _Tensor:
    """What is pickled as a call of torch._utils._rebuild_tensor_v2."""

    def __init__(self, rebuild: Any, *arguments: Any) -> None:
        self.parts = rebuild, arguments

    def __reduce__(self) -> Any:
        return self.parts


class _Pickler(pickle.Pickler):
    def persistent_id(self, obj: Any) -> Any:
        if isinstance(obj, _Stored):
            return "storage", obj.kind, obj.key, "cpu", obj.numbers.size, None
        return None


@contextlib.contextmanager
def _torch() -> Iterator[types.ModuleType]:
    """Stand in for the modules that the pickle names, while it is written."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    for kind in ("FloatStorage", "LongStorage", "HalfStorage"):
        setattr(torch, kind, type(kind, (), {"__module__": "torch"}))

    def _rebuild_tensor_v2() -> None: ...

    _rebuild_tensor_v2.__module__ = "torch._utils"
    _rebuild_tensor_v2.__qualname__ = "_rebuild_tensor_v2"
    setattr(utils, "_rebuild_tensor_v2", _rebuild_tensor_v2)  # noqa: B010 - a module has no such name
    setattr(torch, "_utils", utils)  # noqa: B010 - a module has no such name
    before = {name: sys.modules.get(name) for name in ("torch", "torch._utils")}
    sys.modules.update({"torch": torch, "torch._utils": utils})
    try:
        yield torch
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module


def encoded(
    state: Mapping[str, Any], *, transposed: bool = False, half: bool = False, **parts: Any
) -> bytes:
    """Write a state dict of NumPy arrays (and of anything else that pickle can write).

    Args:
        state: Name -> float32 or int64 array.
        transposed: Store matrices column by column, with strides to match.
        half: Call the storages of floats HalfStorage.
        parts: Other values for what stands around the dict: `magic`, `protocol`, `system`, `keys`.
    """
    stored: list[_Stored] = []
    described: OrderedDict[str, Any] = OrderedDict()
    with _torch() as torch:
        for number, (name, value) in enumerate(state.items()):
            if not isinstance(value, np.ndarray):
                described[name] = value
                continue
            kind = "LongStorage" if value.dtype == np.int64 else "FloatStorage"
            kind = "HalfStorage" if half else kind
            order: Literal["C", "F"] = "F" if transposed else "C"
            strides = tuple(step // value.itemsize for step in np.array(value, order=order).strides)
            storage = _Stored(str(number), getattr(torch, kind), value.ravel(order=order))
            stored.append(storage)
            described[name] = _Tensor(
                torch._utils._rebuild_tensor_v2,
                storage,
                0,
                value.shape,
                strides,
                False,
                OrderedDict(),
            )
        described_keys = [storage.key for storage in stored]
        stream = io.BytesIO()
        for value in (
            parts.get("magic", MAGIC),
            parts.get("protocol", PROTOCOL),
            parts.get("system", SYSTEM),
            described,
            parts.get("keys", described_keys),
        ):
            _Pickler(stream, protocol=2).dump(value)
    for storage in stored:
        stream.write(storage.numbers.size.to_bytes(8, "little") + storage.numbers.tobytes())
    return stream.getvalue()
