"""What came out of the frozen part, by example and view, and a selection of it that reads like an array."""

from __future__ import annotations

from typing import Any, final

import numpy as np
import numpy.typing as npt

from tlkit.core.rows import Indices, Rows


@final
class Views:
    """The rows of every example, and of further views of some of them.

    Args:
        originals: One row per example: view 0.
        augmented: Rows of views 1, 2, … of the examples `indices`, a whole view after the other.
        indices: Which examples have further views.
        alike: Every further view is the image itself, so that there are no rows of them.
    """

    def __init__(
        self, originals: Rows, augmented: Rows | None, indices: Indices, *, alike: bool = False
    ) -> None:
        self._alike = alike
        self._originals = originals
        self._augmented = augmented
        self._count = len(indices)
        self._place = np.full(originals.count, -1, np.int64)
        self._place[indices] = np.arange(self._count)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one row."""
        return self._originals.shape

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """What a batch's numbers are: uint8 for images, float32 for everything else."""
        spilled = self._originals.dtype == np.float16
        return np.dtype(np.float32) if spilled else self._originals.dtype

    def read(self, indices: Indices, views: Indices | int = 0) -> npt.NDArray[np.generic]:
        """Return view `views[i]` of the example `indices[i]`, as `[B, *shape]`."""
        views = np.broadcast_to(np.asarray(views, np.int64), indices.shape)
        if self._alike or not views.any():
            return self._originals.read(indices).astype(self.dtype, copy=False)
        block = np.empty((len(indices), *self.shape), self.dtype)
        original = views == 0
        if self._augmented is None:
            raise ValueError("these rows have no further views")
        rows = (views - 1) * self._count + self._place[indices]
        block[original] = self._originals.read(indices[original])
        block[~original] = self._augmented.read(rows[~original])
        return block


@final
class Selected:
    """Some rows of vectors as if they were an array `[N, D]`; only what is asked for is read.

    Args:
        views: The rows, each a vector.
        indices: Which of them, in this order.
        last: Only so many features at the end of each vector; None: all.
    """

    ndim = 2

    def __init__(self, views: Views, indices: Indices, *, last: int | None = None) -> None:
        self._views = views
        self._indices = indices
        self._first = 0 if last is None else views.shape[0] - last
        self.shape = (len(indices), views.shape[0] - self._first)
        self.dtype = views.dtype

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, rows: slice | Indices) -> npt.NDArray[np.floating]:
        """Return these rows, in the order asked for, as a new array."""
        block = self._views.read(self._indices[rows])
        return block[:, self._first :].astype(np.float32, copy=False)

    def __array__(
        self,
        dtype: npt.DTypeLike | None = None,
        copy: bool | None = None,  # noqa: FBT001 - NumPy's signature
    ) -> npt.NDArray[Any]:
        """Return all rows, always as a new array."""
        if copy is False:
            raise ValueError("rows that are read one by one cannot be an array without a copy")
        return np.asarray(self[:], dtype)
