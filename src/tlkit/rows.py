"""Rows of numbers by row number: in memory while they are few, in a file once they are many.

A file is unnamed and gone with the process, however it ends, unless a path is given to keep it.
"""

from __future__ import annotations

import tempfile
import weakref
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from threading import Lock
from typing import IO, TypeAlias, final

import numpy as np
import numpy.typing as npt

Positions: TypeAlias = npt.NDArray[np.int64]
"""Whole numbers that name rows, or examples of a listing: int64 `[B]`."""

Pictures: TypeAlias = npt.NDArray[np.uint8]
"""RGB, 0-255: uint8 `[B, H, W, 3]`."""

MEMORY_BUDGET = 256 * 2**20
"""Bytes that one set of rows may take in memory. A guess: a laptop's browser takes more."""


@final
class Rows:
    """A fixed count of rows of one shape and dtype.

    Args:
        count: How many rows.
        shape: The shape of one row.
        dtype: What a row's numbers are kept as.
        path: A file to keep the rows in (made if absent, continued if there). None: memory, or an
            unnamed temporary file when they need more than `memory_budget`.
        memory_budget: Bytes.

    Example:
        >>> rows = Rows(4, (2,), np.float32)
        >>> rows.write(np.array([1, 3]), np.array([[1, 2], [3, 4]], np.float32))
        >>> rows.read(np.array([3, 1])).tolist()
        [[3.0, 4.0], [1.0, 2.0]]
    """

    def __init__(
        self,
        count: int,
        shape: Sequence[int],
        dtype: npt.DTypeLike,
        *,
        path: Path | None = None,
        memory_budget: int = MEMORY_BUDGET,
    ) -> None:
        self.count = count
        self.shape = tuple(shape)
        self.dtype = np.dtype(dtype)
        self._row_bytes = int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize
        self._lock = Lock()
        self._array: npt.NDArray[np.generic] | None = None
        self._file: IO[bytes] | None = None
        if path is not None:
            path.touch()
            self._file = path.open("r+b")
        elif count * self._row_bytes > memory_budget:
            self._file = tempfile.TemporaryFile(prefix="tlkit-")  # noqa: SIM115 - lives as long as the rows
        if self._file is not None:
            weakref.finalize(self, self._file.close)
        else:
            self._array = np.zeros((count, *self.shape), self.dtype)

    @property
    def in_memory(self) -> bool:
        """Whether the rows are in memory rather than in a file."""
        return self._array is not None

    def write(self, rows: Positions, values: npt.NDArray[np.generic]) -> None:
        """Put `values` (`[B, *shape]`) into the rows numbered `rows`."""
        if self._array is not None:
            self._array[rows] = values
            return
        block = np.ascontiguousarray(values, self.dtype)
        with self._lock:
            for first, last in _runs(rows):
                self._seek(int(rows[first])).write(block[first:last].data)

    def read(self, rows: Positions) -> npt.NDArray[np.generic]:
        """Return the rows numbered `rows` as a new array `[B, *shape]`."""
        if self._array is not None:
            return self._array[rows]
        block = np.empty((len(rows), *self.shape), self.dtype)
        flat = block.reshape(-1).view(np.uint8).reshape(len(rows), self._row_bytes)
        with self._lock:
            for first, last in _runs(rows):
                raw = self._seek(int(rows[first])).read((last - first) * self._row_bytes)
                flat[first:last].reshape(-1)[:] = np.frombuffer(raw, np.uint8)
        return block

    def flush(self) -> None:
        """Hand what was written to the operating system, so that it survives this process."""
        if self._file is not None:
            self._file.flush()

    def close(self) -> None:
        """Give the memory or the file back."""
        self._array = None
        if self._file is not None:
            self._file.close()

    def _seek(self, row: int) -> IO[bytes]:
        if self._file is None:
            raise ValueError("these rows are closed")
        self._file.seek(row * self._row_bytes)
        return self._file


def _runs(rows: Positions) -> list[tuple[int, int]]:
    """Return the stretches of consecutive row numbers, so that each costs one read or write."""
    edges = np.flatnonzero(np.diff(rows) != 1) + 1
    bounds = [0, *edges.tolist(), len(rows)] if len(rows) else []
    return list(pairwise(bounds))


@final
class Views:
    """The rows of every example, and of further views of some of them.

    Args:
        originals: One row per example: view 0.
        augmented: Rows of views 1, 2, … of the examples `positions`, a whole view after the other.
        positions: Which examples have further views.
    """

    def __init__(self, originals: Rows, augmented: Rows | None, positions: Positions) -> None:
        self._originals = originals
        self._augmented = augmented
        self._count = len(positions)
        self._place = np.full(originals.count, -1, np.int64)
        self._place[positions] = np.arange(self._count)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one row."""
        return self._originals.shape

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """What a batch's numbers are: uint8 for pictures, float32 for everything else."""
        spilled = self._originals.dtype == np.float16
        return np.dtype(np.float32) if spilled else self._originals.dtype

    def read(self, positions: Positions, views: Positions | int = 0) -> npt.NDArray[np.generic]:
        """Return view `views[i]` of the example `positions[i]`, as `[B, *shape]`."""
        views = np.broadcast_to(np.asarray(views, np.int64), positions.shape)
        block = np.empty((len(positions), *self.shape), self.dtype)
        original = views == 0
        block[original] = self._originals.read(positions[original])
        if not original.all():
            if self._augmented is None:
                raise ValueError("these rows have no further views")
            rows = (views - 1) * self._count + self._place[positions]
            block[~original] = self._augmented.read(rows[~original])
        return block
