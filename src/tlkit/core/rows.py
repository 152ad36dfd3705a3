"""Rows of numbers by row number: in memory while they are few, in a file once they are many.

A file is unnamed and gone with the process, however it ends, unless a path is given to keep it.
"""

from __future__ import annotations

import tempfile
import weakref
from collections.abc import Sequence
from io import FileIO
from itertools import pairwise
from pathlib import Path
from threading import Lock
from typing import Any, Protocol, TypeAlias, final

import numpy as np
import numpy.typing as npt

from tlkit.errors import TlkitError, printable

Indices: TypeAlias = npt.NDArray[np.int64]
"""Whole numbers that name rows, or examples of a listing: int64 `[B]`."""

Images: TypeAlias = npt.NDArray[np.uint8]
"""RGB, 0-255: uint8 `[B, H, W, 3]`."""


class FeatureRows(Protocol):
    """Vectors `[N, D]` that can be read a few rows at a time: all that the exact head asks of features.

    An array in memory or mapped from a file is one, and so is `Selected`; a reader of Parquet row groups
    needs no more than these. Rows must read the same every time: they are read some thirty times over.
    """

    @property
    def ndim(self) -> int:
        """2."""

    @property
    def shape(self) -> tuple[int, ...]:
        """`(N, D)`."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """What the numbers are: integers or floats of any precision."""

    def __len__(self) -> int:
        """Return N."""

    def __getitem__(self, rows: slice | Indices, /) -> npt.NDArray[Any]:
        """Return these rows: a stretch of them, or those at ascending indices."""


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
        read_only: The file is there, and stays as it is.
        memory_budget: Bytes.

    Raises:
        TlkitError: The file cannot be made or written; or is not there, where it is only read.

    Examples:
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
        read_only: bool = False,
        memory_budget: int = MEMORY_BUDGET,
    ) -> None:
        self.count = count
        self.shape = tuple(shape)
        self.dtype = np.dtype(dtype)
        self._row_bytes = int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize
        self._lock = Lock()
        self._array: npt.NDArray[np.generic] | None = None
        self._folder = path.parent if path else Path(tempfile.gettempdir())
        self._file: FileIO | None = None
        size = count * self._row_bytes
        if path is None and size <= memory_budget:
            self._array = np.zeros((count, *self.shape), self.dtype)
            return
        try:
            self._file = _opened(path, read_only=read_only)
            weakref.finalize(self, self._file.close)
            if not read_only:
                self._file.truncate(size)  # rows not written yet are zero, here as in memory
        except OSError as error:
            raise cannot_keep(self._folder, error) from error

    @property
    def in_memory(self) -> bool:
        """Whether the rows are in memory rather than in a file."""
        return self._array is not None

    def write(self, rows: Indices, values: npt.NDArray[np.generic]) -> None:
        """Put `values` (`[B, *shape]`) into the rows numbered `rows`."""
        if self._array is not None:
            self._array[rows] = values
            return
        block = np.ascontiguousarray(values, self.dtype)
        try:
            with self._lock:
                for first, last in _runs(rows):
                    write_all(self._seek(int(rows[first])), _bytes_of(block[first:last]))
        except OSError as error:
            raise cannot_keep(self._folder, error) from error

    def read(self, rows: Indices) -> npt.NDArray[np.generic]:
        """Return the rows numbered `rows` as a new array `[B, *shape]`."""
        if self._array is not None:
            return self._array[rows]
        if _is_dense(rows):  # one read instead of thousands
            stretch = self.read(np.arange(rows[0], rows[-1] + 1))
            among: Indices = rows - rows[0]
            return stretch[among]
        block = np.empty((len(rows), *self.shape), self.dtype)
        try:
            with self._lock:
                for first, last in _runs(rows):
                    _read_into(self._seek(int(rows[first])), _bytes_of(block[first:last]))
        except OSError as error:
            raise cannot_keep(self._folder, error) from error
        return block

    def close(self) -> None:
        """Give the memory or the file back."""
        self._array = None
        if self._file is not None:
            self._file.close()

    def _seek(self, row: int) -> FileIO:
        if self._file is None:
            raise ValueError("these rows are closed")
        self._file.seek(row * self._row_bytes)
        return self._file


def cannot_keep(folder: Path, error: OSError) -> TlkitError:
    """Return the error for results that cannot be stored: where, why, and what to do."""
    return TlkitError(
        f"cannot keep results in {printable(folder)}: {error.strerror or error}. "
        "Free space there, or choose another folder that can be written (for temporary files, TMPDIR "
        "names it)."
    )


def write_all(file: FileIO, content: memoryview) -> None:
    """Hand all of it to the operating system, so that it survives this process.

    There is no buffer in between, because one that cannot be emptied would fail again when it is closed.
    """
    while content:
        content = content[file.write(content) :]


def _opened(path: Path | None, *, read_only: bool) -> FileIO:
    if path is None:
        return tempfile.TemporaryFile(prefix="tlkit-", buffering=0)
    if read_only:
        return path.open("rb", buffering=0)
    path.touch()
    return path.open("r+b", buffering=0)


def _read_into(file: FileIO, content: memoryview) -> None:
    while content:
        count = file.readinto(content)
        if not count:
            raise OSError("somebody has shortened a file of it meanwhile")
        content = content[count:]


def _bytes_of(block: npt.NDArray[np.generic]) -> memoryview:
    return block.reshape(-1).view(np.uint8).data


def _runs(rows: Indices) -> list[tuple[int, int]]:
    """Return the stretches of consecutive row numbers, so that each costs one read or write."""
    edges = np.flatnonzero(np.diff(rows) != 1) + 1
    bounds = [0, *edges.tolist(), len(rows)] if len(rows) else []
    return list(pairwise(bounds))


def _is_dense(rows: Indices) -> bool:
    """Return whether rows are ascending, with gaps, yet most of what lies between first and last."""
    if not len(rows) or not len(rows) < int(rows[-1] - rows[0]) + 1 <= 2 * len(rows):
        return False
    return bool((np.diff(rows) > 0).all())
