"""A PyTorch state dict, read without PyTorch and without running anything that the file says.

Read is the older layout of `torch.save` (`_use_new_zipfile_serialization=False`): five pickles (a magic
number, the protocol 1001, facts about the system, the state dict, the keys of its storages), then for each
storage its length as an int64 and its numbers, little-endian.

A pickle is a program, and `pickle.load` runs it. Here its instructions are taken one by one from
`pickletools.genops`, and only the two dozen that a state dict needs are known, none of which can import,
call or build anything but plain values and tensors. (A restricted `pickle.Unpickler` would not do: one
instruction of five bytes makes CPython's allocate tens of gigabytes for its memo.)
"""

from __future__ import annotations

import hashlib
import io
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from tlkit.errors import WeightsError, printable

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Tensor: TypeAlias = npt.NDArray[np.float32 | np.int64]

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001  # numbers that torch.save writes first
LARGEST_FILE = 2**31  # bytes; the largest network of keras.applications has 1.4e9
_MOST_INSTRUCTIONS = 1_000_000  # of one pickle; 50 a tensor are usual
_DTYPES = {"FloatStorage": "<f4", "LongStorage": "<i8"}
_MARK = object()


class _RefusedError(Exception):
    """What the file holds is not a state dict; the message says why."""


@dataclass(frozen=True, slots=True)
class _Global:
    """The name of a class or function, which stays a name."""

    name: str


@dataclass(frozen=True, slots=True)
class _Storage:
    """A run of numbers that tensors look into: its key, type and count of numbers."""

    key: str
    dtype: str
    count: int


@dataclass(frozen=True, slots=True)
class _View:
    """A tensor as the pickle describes it; offset and strides count numbers, not bytes."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def read_state_dict(path: Path, *, sha256: str | None = None) -> dict[str, Tensor]:
    """Read the tensors of a state dict.

    Args:
        path: A file that `torch.save(module.state_dict(), path, _use_new_zipfile_serialization=False)` or
            PyTorch before 1.6 wrote, of float32 and int64 tensors, at most 2 GiB.
        sha256: What the file's SHA-256 must be, in hex digits; checked before anything is interpreted.

    Returns:
        Name -> float32 or int64 array, read-only, in the order of the file. They are views of the file's
        bytes, so that no file can take more memory than its own size.

    Raises:
        WeightsError: The file cannot be read, has another digest, is damaged, or holds anything but a
            state dict; what it names instead is in the message.
    """
    data = _bytes_of(path)
    found = hashlib.sha256(data).hexdigest()
    if sha256 is not None and found != sha256:
        raise WeightsError(
            f"{printable(path)} is not the file that it should be: its SHA-256 must be {sha256}, and is "
            f"{found}. Install its package or copy the file again."
        )
    try:
        return _state_dict(data)
    except _RefusedError as error:
        reason = str(error)
    except Exception as error:
        reason = f"damaged ({type(error).__name__}: {' '.join(str(error).split())[:200]})"
        raise _unreadable(path, reason) from error
    raise _unreadable(path, reason)


def _unreadable(path: Path, reason: str) -> WeightsError:
    return WeightsError(
        f"cannot read {printable(path)} as a PyTorch state dict: {reason}. It must be float32 and int64 "
        "tensors by name, written by torch.save(module.state_dict(), path, "
        "_use_new_zipfile_serialization=False)."
    )


def _bytes_of(path: Path) -> bytes:
    if not path.is_file():  # a pipe could be waited for without end
        raise WeightsError(f"cannot read {printable(path)}: it is not a file")
    try:
        if path.stat().st_size <= LARGEST_FILE:
            return path.read_bytes()
    except OSError as error:
        raise WeightsError(f"cannot read {printable(path)}: {error.strerror or error}") from error
    raise _unreadable(path, f"it has more than {LARGEST_FILE:,} bytes")


def _state_dict(data: bytes) -> dict[str, Tensor]:
    if data[:4] == b"PK\3\4":
        raise _RefusedError("it is in PyTorch's newer zip layout")
    stream, storages = io.BytesIO(data), _Storages(len(data))
    if data[:1] != b"\x80" or _value(stream, storages) != MAGIC:
        raise _RefusedError("its magic number is another one")
    protocol, system = _value(stream, storages), _value(stream, storages)
    if protocol != PROTOCOL or not isinstance(system, dict) or not system.get("little_endian"):
        raise _RefusedError("its protocol must be 1001 and little-endian")
    views, keys = _value(stream, storages), _value(stream, storages)
    if not isinstance(views, dict) or not isinstance(keys, list):
        raise _RefusedError("it is not a dict of tensors and a list of keys")
    for name, view in views.items():
        if not isinstance(name, str) or not isinstance(view, _View):
            raise _RefusedError(f"{_shown(name)} is not the name of a tensor")
    numbers = storages.read(data, stream.tell(), keys)
    return {name: _tensor(view, numbers[view.storage.key]) for name, view in views.items()}


class _Storages:
    """The storages that a pickle names, never more than the file has bytes for."""

    def __init__(self, length: int) -> None:
        self.left = length
        self.known: dict[str, _Storage] = {}

    def named(self, identity: Any) -> _Storage:
        """Take a persistent id: `("storage", FloatStorage, key, "cpu", count, None)`."""
        match identity:
            case ("storage", _Global(name), str(key), str(), int(count), *_):
                kind = name.removeprefix("torch.")
            case _:
                raise _RefusedError("a storage must be named by its type, key, place and count")
        if kind not in _DTYPES or not 0 <= count <= self.left:
            raise _RefusedError(f"a {_shown(name)} of {count} numbers does not fit into the file")
        storage = _Storage(key, _DTYPES[kind], count)
        if self.known.setdefault(key, storage) != storage:
            raise _RefusedError(f"the storage {_shown(key)} is described in two ways")
        return storage

    def read(self, data: bytes, position: int, keys: list[Any]) -> dict[str, Tensor]:
        """Find the numbers of each storage behind the pickles."""
        import numpy as np

        found: dict[str, Tensor] = {}
        for key in keys:
            storage = self.known.get(key) if isinstance(key, str) else None
            if storage is None or key in found:
                raise _RefusedError(f"the storage {_shown(key)} is not described once")
            if int.from_bytes(data[position : position + 8], "little") != storage.count:
                raise _RefusedError(f"the storage {_shown(key)} is not as long as described")
            # A file that ends too early makes NumPy raise ValueError.
            found[key] = np.frombuffer(data, storage.dtype, storage.count, position + 8)
            position += 8 + found[key].nbytes
        if position != len(data) or found.keys() != self.known.keys():
            raise _RefusedError("its storages are not those that it describes")
        return found


def _rebuilt(arguments: Any) -> _View:
    """Take the arguments of `torch._utils._rebuild_tensor_v2` and check what they reach."""
    match arguments:
        case (_Storage() as storage, int(offset), tuple(shape), tuple(strides), *_):
            sizes = (offset, *shape, *strides)
        case _:
            raise _RefusedError("a tensor must have a storage, an offset, a shape and strides")
    if len(shape) != len(strides) or len(shape) > 8:
        raise _RefusedError("a tensor must have as many strides as dimensions, at most 8")
    if not all(type(size) is int and size >= 0 for size in sizes):
        raise _RefusedError("offset, shape and strides must be whole numbers from 0")
    last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    if 0 not in shape and (last >= storage.count or math.prod(shape) > storage.count):
        raise _RefusedError("a tensor reaches beyond its storage")
    return _View(storage, offset, shape, strides)


def _tensor(view: _View, numbers: Tensor) -> Tensor:
    import numpy as np

    if 0 in view.shape:
        return np.zeros(view.shape, numbers.dtype)
    strides = [stride * numbers.itemsize for stride in view.strides]
    start = numbers[view.offset :]
    return np.lib.stride_tricks.as_strided(start, view.shape, strides, writeable=False)


def _called(function: Any, arguments: Any) -> Any:
    """Answer the two calls that a state dict consists of."""
    match function, arguments:
        case _Global("collections.OrderedDict"), ():
            return {}
        case _Global("torch._utils._rebuild_tensor_v2"), tuple():
            return _rebuilt(arguments)
    raise _RefusedError("it calls what is not a tensor")


_GLOBALS = (
    "collections.OrderedDict",
    "torch._utils._rebuild_tensor_v2",
    *(f"torch.{kind}" for kind in _DTYPES),
)


class _Machine:
    """A stack and a memo: what the instructions of a pickle work on."""

    def __init__(self, storages: _Storages) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.storages = storages

    def to_mark(self) -> list[Any]:
        """Take everything above the last mark, and the mark."""
        above: list[Any] = []
        while (item := self.stack.pop()) is not _MARK:
            above.append(item)
        return above[::-1]

    def push_tuple(self, count: int | None) -> None:
        items = self.to_mark() if count is None else [self.stack.pop() for _ in range(count)][::-1]
        self.stack.append(tuple(items))

    def push_global(self, name: str) -> None:
        dotted = name.replace(" ", ".")
        if dotted not in _GLOBALS:
            raise _RefusedError(
                f"it names {_shown(dotted)}, and may only name {', '.join(_GLOBALS)}"
            )
        self.stack.append(_Global(dotted))

    def call(self) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        self.stack.append(_called(function, arguments))

    def set_items(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, dict):
            raise _RefusedError("it sets an item of what is not a dict")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if type(key) not in (str, int):  # the hash of nested tuples can take for ever
                raise _RefusedError("a key must be text or a number")
            target[key] = value

    def append(self, items: list[Any]) -> None:
        if not isinstance(self.stack[-1], list):
            raise _RefusedError("it appends to what is not a list")
        self.stack[-1].extend(items)

    def build(self) -> None:
        """Drop the attributes of an OrderedDict: `_metadata`, the versions of modules."""
        self.stack.pop()
        if not isinstance(self.stack[-1], dict):
            raise _RefusedError("it gives attributes to what is not a dict")


_Instruction: TypeAlias = Callable[[_Machine, Any], object]


def _pair(machine: _Machine) -> list[Any]:
    value, key = machine.stack.pop(), machine.stack.pop()
    return [key, value]


def _named(names: str, instruction: _Instruction) -> dict[str, _Instruction]:
    return dict.fromkeys(names.split(), instruction)


_INSTRUCTIONS: dict[str, _Instruction] = {
    **_named("PROTO STOP", lambda _machine, _argument: None),
    **_named(
        "BININT BININT1 BININT2 LONG1 BINUNICODE", lambda m, argument: m.stack.append(argument)
    ),
    "NONE": lambda m, _: m.stack.append(None),
    "NEWTRUE": lambda m, _: m.stack.append(True),
    "NEWFALSE": lambda m, _: m.stack.append(False),
    "MARK": lambda m, _: m.stack.append(_MARK),
    "EMPTY_DICT": lambda m, _: m.stack.append({}),
    "EMPTY_LIST": lambda m, _: m.stack.append([]),
    "EMPTY_TUPLE": lambda m, _: m.push_tuple(0),
    "TUPLE1": lambda m, _: m.push_tuple(1),
    "TUPLE2": lambda m, _: m.push_tuple(2),
    "TUPLE3": lambda m, _: m.push_tuple(3),
    "TUPLE": lambda m, _: m.push_tuple(None),
    **_named("BINPUT LONG_BINPUT", lambda m, argument: m.memo.update({argument: m.stack[-1]})),
    **_named("BINGET LONG_BINGET", lambda m, argument: m.stack.append(m.memo[argument])),
    "GLOBAL": lambda m, argument: m.push_global(argument),
    "REDUCE": lambda m, _: m.call(),
    "BINPERSID": lambda m, _: m.stack.append(m.storages.named(m.stack.pop())),
    "SETITEM": lambda m, _: m.set_items(_pair(m)),
    "SETITEMS": lambda m, _: m.set_items(m.to_mark()),
    "APPEND": lambda m, _: m.append([m.stack.pop()]),
    "APPENDS": lambda m, _: m.append(m.to_mark()),
    "BUILD": lambda m, _: m.build(),
}


def _value(stream: io.BytesIO, storages: _Storages) -> Any:
    """Interpret one pickle, and leave the stream behind it."""
    import pickletools  # slow to import, and a backbone is often built from another file

    machine = _Machine(storages)
    for count, (instruction, argument, _) in enumerate(pickletools.genops(stream)):
        if instruction.name not in _INSTRUCTIONS or count > _MOST_INSTRUCTIONS:
            raise _RefusedError(
                f"its pickle has the instruction {instruction.name} {_shown(argument)}, "
                "which a state dict does not need"
            )
        _INSTRUCTIONS[instruction.name](machine, argument)
    (value,) = machine.stack
    return value


def _shown(value: Any) -> str:
    """Write down a name from the file so that it fits into a message."""
    return printable(str(value)[:100]) if isinstance(value, str | int) else type(value).__name__
