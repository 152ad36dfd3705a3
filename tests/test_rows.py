"""Rows in memory and rows in files are the same to whoever reads them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tlkit.core.rows import Rows
from tlkit.features.views import Views


def numbered(*rows: int) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    return np.array(rows, np.int64)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    writes=st.lists(st.lists(st.integers(0, 9), unique=True, min_size=1), min_size=1, max_size=6),
    wanted=st.lists(st.integers(0, 9), max_size=12),
    shape=st.sampled_from([(), (3,), (2, 2, 2)]),
)
def test_a_file_holds_what_memory_holds(
    writes: list[list[int]], wanted: list[int], shape: tuple[int, ...]
) -> None:
    memory = Rows(10, shape, np.float32)
    spilled = Rows(10, shape, np.float32, memory_budget=0)
    assert memory.in_memory
    assert not spilled.in_memory
    random = np.random.default_rng(0)
    spilled.write(numbered(*range(10)), np.zeros((10, *shape), np.float32))
    for rows in writes:
        values = random.normal(size=(len(rows), *shape)).astype(np.float32)
        memory.write(numbered(*rows), values)
        spilled.write(numbered(*rows), values)
    assert np.array_equal(memory.read(numbered(*wanted)), spilled.read(numbered(*wanted)))


def test_rows_at_a_path_are_there_for_the_next_process(tmp_path: Path) -> None:
    first = Rows(3, (2,), np.uint8, path=tmp_path / "rows.bin")
    first.write(numbered(2, 0), np.array([[5, 6], [7, 8]], np.uint8))
    again = Rows(3, (2,), np.uint8, path=tmp_path / "rows.bin")
    assert again.read(numbered(0, 2)).tolist() == [[7, 8], [5, 6]]


@pytest.mark.parametrize(("wanted", "reads"), [([1, 2, 4, 7], 1), ([0, 9], 2), ([4, 2, 1], 3)])
def test_rows_that_lie_close_are_read_together(wanted: list[int], reads: int) -> None:
    """Counted by the system, in a process that does nothing else."""
    if not Path("/proc/self/io").exists():
        pytest.skip("needs a system that counts reads: Linux")
    code = f"""
import numpy as np
from tlkit.core.rows import Rows

def reads():
    with open("/proc/self/io") as file:
        return int(file.read().split("syscr:")[1].split()[0])

rows = Rows(10, (1,), np.float32, memory_budget=0)
rows.write(np.arange(10), np.arange(10, dtype=np.float32)[:, None])
wanted = np.array({wanted})
rows.read(wanted[:1])  # whatever the first read brings along
idle = -reads() + reads()
before = reads()
found = rows.read(wanted)
print(found.ravel().tolist() == wanted.tolist(), reads() - before - idle)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == f"True {reads}\n"


def test_what_is_read_is_a_copy() -> None:
    rows = Rows(2, (1,), np.float32)
    rows.read(numbered(0, 1))[:] = 9
    assert rows.read(numbered(0, 1)).tolist() == [[0.0], [0.0]]


def test_closed_rows_refuse() -> None:
    rows = Rows(2, (1,), np.float32, memory_budget=0)
    rows.close()
    with pytest.raises(ValueError, match="closed"):
        rows.read(numbered(0))


def test_views_find_each_examples_row() -> None:
    originals, augmented = Rows(5, (1,), np.float32), Rows(6, (1,), np.float32)
    originals.write(numbered(*range(5)), np.arange(5, dtype=np.float32)[:, None])
    # Views 1 and 2 of the examples 4, 1, 3 in that order: 100 * view + example.
    augmented.write(
        numbered(*range(6)), np.array([104, 101, 103, 204, 201, 203], np.float32)[:, None]
    )
    views = Views(originals, augmented, numbered(4, 1, 3))
    got = views.read(numbered(1, 2, 3, 4, 1), numbered(2, 0, 1, 1, 0))
    assert got.ravel().tolist() == [201, 2, 103, 104, 1]


def test_half_precision_rows_are_read_as_floats() -> None:
    rows = Rows(2, (2,), np.float16, memory_budget=0)
    rows.write(numbered(0, 1), np.array([[0.1, 1], [2, 3]], np.float32))
    got = Views(rows, None, numbered()).read(numbered(0, 1))
    assert got.dtype == np.float32
    expected = np.array([[0.1, 1], [2, 3]])
    assert np.allclose(got.astype(np.float64), expected, rtol=1e-3)
