"""A PyTorch state dict is read without PyTorch, and no file can do more than be refused."""

from __future__ import annotations

import hashlib
import os
import pickle
import random
import struct
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torchfile import encoded

from tlkit.backbones import torch_weights
from tlkit.backbones.torch_weights import read_state_dict
from tlkit.errors import WeightsError

RNG = np.random.default_rng(0)
STATE: dict[str, Any] = {
    "stem.weight": RNG.normal(size=(4, 3, 2, 2)).astype(np.float32),
    "bn.weight": RNG.normal(size=4).astype(np.float32),
    "bn.num_batches_tracked": np.array(7, np.int64),
    "fc.weight": RNG.normal(size=(5, 4)).astype(np.float32),
    "empty": np.zeros((0, 3), np.float32),
}
WHOLE = encoded(STATE)


def read(data: bytes, folder: Path, **options: Any) -> dict[str, Any]:
    path = folder / "w.pth"
    path.write_bytes(data)
    return dict(read_state_dict(path, **options))


# --- What is read -------------------------------------------------------------------------------------


@pytest.mark.parametrize("transposed", [False, True])
def test_tensors_come_out_as_they_went_in(tmp_path: Path, transposed: bool) -> None:
    got = read(encoded(STATE, transposed=transposed), tmp_path)
    assert list(got) == list(STATE)
    for name, value in STATE.items():
        assert got[name].dtype == value.dtype
        np.testing.assert_array_equal(got[name], value)
        assert not got[name].flags.writeable or got[name].size == 0


def test_the_digest_comes_first(tmp_path: Path) -> None:
    digest = hashlib.sha256(WHOLE).hexdigest()
    assert read(WHOLE, tmp_path, sha256=digest).keys() == STATE.keys()
    with pytest.raises(WeightsError, match=rf"w\.pth is not the file .* must be {digest}"):
        read(b"anything", tmp_path, sha256=digest)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "magic number"),
        (b"<html>404</html>", "magic number"),
        (b"PK\3\4 zip", "newer zip layout.*_use_new_zipfile_serialization=False"),
        (encoded(STATE, magic=3), "magic number"),
        (encoded(STATE, protocol=1000), "protocol must be 1001"),
        (encoded(STATE, system={"little_endian": False}), "little-endian"),
        (encoded(STATE, keys=["0"]), "not those that it describes"),
        (encoded(STATE, keys=["0", "0", "1", "2", "3", "4"]), "not described once"),
        (encoded(STATE, keys=["no\nsuch"]), r"no\\nsuch is not described once"),
        (encoded(STATE, keys={}), "a list of keys"),
        (encoded(STATE, half=True), "torch.HalfStorage"),
        (encoded({**STATE, "epoch": 3}), "epoch is not the name of a tensor"),
        (encoded({"model": STATE}), "model is not the name of a tensor|names numpy"),
        (encoded({"f": 1.5}), "instruction BINFLOAT"),
        (WHOLE + b"\0", "not those that it describes"),
        (WHOLE[:-1], "damaged"),
    ],
)
def test_other_files_are_refused_with_the_reason(tmp_path: Path, data: bytes, message: str) -> None:
    with pytest.raises(WeightsError, match=message) as caught:
        read(data, tmp_path)
    assert "w.pth" in str(caught.value)
    assert len(str(caught.value)) < 800


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.pth")
    for name in ("missing.pth", "pipe.pth", ""):
        with pytest.raises(WeightsError, match="it is not a file"):
            read_state_dict(tmp_path / name)


def test_a_file_that_is_too_large_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch_weights, "LARGEST_FILE", len(WHOLE) - 1)
    with pytest.raises(WeightsError, match="more than"):
        read(WHOLE, tmp_path)


# --- What is hostile ----------------------------------------------------------------------------------


class _Called:
    """Pickles as a call of a function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.parts = function, arguments

    def __reduce__(self) -> Any:
        return self.parts


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (os.system, f"{os.system.__module__}.system"),
        (eval, "__builtin__.eval"),
        (getattr, "__builtin__.getattr"),
        (pickle.loads, "_?pickle.loads"),
        (np.load, "numpy.load"),
    ],
)
def test_any_other_global_is_refused_by_name(tmp_path: Path, function: Any, name: str) -> None:
    target = tmp_path / "run"
    hostile = _Called(function, f"open({str(target)!r}, 'w')")
    for data in (
        encoded({**STATE, "x": hostile}),
        encoded(STATE, keys=hostile),
        encoded(STATE, magic=hostile),
    ):
        with pytest.raises(WeightsError, match=f"it names {name}, and may only name"):
            read(data, tmp_path)
    assert not target.exists()


def pickled(body: bytes) -> bytes:
    """Put instructions where the state dict is."""
    head = b"".join(
        pickle.dumps(x, 2) for x in (torch_weights.MAGIC, 1001, {"little_endian": True})
    )
    return head + b"\x80\2" + body + b"." + pickle.dumps([], 2)


REBUILD = b"ctorch._utils\n_rebuild_tensor_v2\n"
STORAGE = b"((X\7\0\0\0storagectorch\nFloatStorage\nX\1\0\0\0aX\3\0\0\0cpuJ%bNtQ"


def tensor(count: int, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> bytes:
    """Write the instructions of one tensor over a storage."""

    def numbers(values: tuple[int, ...]) -> bytes:
        return b"(" + b"".join(b"J" + struct.pack("<i", value) for value in values) + b"t"

    storage = STORAGE.replace(b"%b", struct.pack("<i", count))
    place = b"J" + struct.pack("<i", offset)
    return b"}X\1\0\0\0w" + REBUILD + storage + place + numbers(shape) + numbers(strides) + b"tRs"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"X\xff\xff\xff\x7fabc", "damaged"),
        (b"\x8d" + b"\xff" * 7 + b"\x7fabc", "damaged|BINUNICODE8"),
        (b"\x95" + b"\xff" * 7 + b"\x7f}", "damaged|FRAME"),
        (b"\x8b\xff\xff\xff\x7f", "damaged|LONG4"),
        (b"(" * 100_000, "damaged|dict of tensors"),
        (b")" + b"\x85" * 100_000, "dict of tensors"),
        (b"}" + b")" + b"q\0h\0\x86" * 60 + b"Ns", "a key must be text or a number"),
        (b"}h\7", "damaged"),
        (b"0000", "damaged|POP"),
        (b"]}e", "damaged"),
        (b"cos\nsystem\nX\2\0\0\0ls\x85R", "names os.system"),
        (b"ios\nsystem\n", "instruction INST"),
        (b"X\2\0\0\0osX\6\0\0\0system\x93", "instruction STACK_GLOBAL"),
        (b"\x82\1", "instruction EXT1"),
        (b"ccollections\nOrderedDict\n)\x81", "instruction NEWOBJ"),
        (b"ccollections\nOrderedDict\nK\1\x85R", "calls what is not a tensor"),
        (tensor(2**31 - 1, 0, (2,), (1,)), "does not fit into the file"),
        (tensor(-1, 0, (2,), (1,)), "does not fit into the file"),
        (tensor(4, 0, (5,), (1,)), "beyond its storage"),
        (tensor(4, 3, (2,), (1,)), "beyond its storage"),
        (tensor(4, -1, (2,), (1,)), "whole numbers from 0"),
        (tensor(4, 0, (2,), (-1,)), "whole numbers from 0"),
        (tensor(4, 0, (2**31 - 1,), (0,)), "beyond its storage"),
        (tensor(4, 0, (4, 4, 4), (0, 0, 0)), "beyond its storage"),
        (tensor(4, 0, (1,) * 9, (1,) * 9), "at most 8"),
        (tensor(4, 0, (2, 2), (1,)), "as many strides"),
    ],
)
def test_instructions_that_a_state_dict_does_not_need(
    tmp_path: Path, body: bytes, message: str
) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(WeightsError, match=message):
            read(pickled(body), tmp_path)
        assert tracemalloc.get_traced_memory()[1] < 64e6
    finally:
        tracemalloc.stop()


def test_a_place_far_up_in_the_memo_takes_no_memory(tmp_path: Path) -> None:
    tracemalloc.start()
    try:  # CPython's unpickler would make room for two thousand million objects
        assert read(pickled(b"}r\xff\xff\xff\x7f"), tmp_path) == {}
        assert tracemalloc.get_traced_memory()[1] < 1e6
    finally:
        tracemalloc.stop()


def test_a_pickle_without_end_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_weights, "_MOST_INSTRUCTIONS", 1000)
    with pytest.raises(WeightsError, match="which a state dict does not need"):
        read(pickled(b"N" * 1001), tmp_path)


def mutated(count: int) -> Iterator[bytes]:
    """Flip bytes, cut, double, drop and overwrite pieces, and push hostile instructions in."""
    hostile = (
        b"cos\nsystem\nX\4\0\0\0true\x85R",
        b"cbuiltins\nexec\nX\1\0\0\0x\x85R",
        b"(X\4\0\0\0trueios\nsystem\n",
        b"r\xff\xff\xff\xff",
        b"\x95\xff\xff\xff\xff\xff\xff\xff\x7f",
    )
    rng = random.Random(0)
    for number in range(count):
        data, at = bytearray(WHOLE), rng.randrange(len(WHOLE))
        match number % 5:
            case 0:
                for _ in range(rng.randint(1, 4)):
                    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
            case 1:
                del data[at:]
            case 2:
                data[at:at] = rng.choice(hostile)
            case 3:
                data[at:at] = data[at : at + rng.randint(1, 40)]
            case 4:
                data[at : at + rng.randint(1, 8)] = rng.randbytes(rng.randint(0, 8))
        yield bytes(data)


def test_two_thousand_damaged_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[object] = []
    monkeypatch.setattr(os, "system", ran.append)
    refused = read_anyway = 0
    for data in mutated(2000):
        try:
            state = read(data, tmp_path)
        except WeightsError:
            refused += 1
        else:  # a bit of a number, of a name or of the facts about the system
            read_anyway += 1
            assert all(value.dtype in (np.float32, np.int64) for value in state.values())
            assert sum(value.nbytes for value in state.values()) <= len(data)
    assert not ran
    assert refused > 1500
    assert read_anyway > 50
