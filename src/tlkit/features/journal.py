"""What a long pass has done so far, so that another process can carry on after it.

A folder holds a file of rows for each output and `journal.txt`: a line with the shapes, and one line for
each finished batch. Every line begins with its checksum, and that of a batch holds the checksum of its
rows, which are written before it. What does not agree, cut off or damaged, is computed again together with
all that came after it. One process at a time adds to a folder; a finished pass any number may read, also from
a disk that cannot be written.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Any, Self, final

import numpy as np
import numpy.typing as npt

from tlkit.core.locks import lock
from tlkit.core.rows import MEMORY_BUDGET, Indices, Rows, cannot_keep, write_all
from tlkit.core.spec import Json
from tlkit.errors import TlkitError

NAME = "journal.txt"


_HALF_MAX = float(np.finfo(np.float16).max)
_HALF_SAFE = _HALF_MAX / 16  # the first batch decides for all: some room for those to come


@final
class Journal:
    """The outputs of a pass, the `parameters` of its network, and the `stage_widths` of its features.

    `done` is the number of finished batches; `notes` holds what was remembered of those that were
    finished before.

    Args:
        folder: Where they are kept; None keeps them in memory and temporary files.
        count: How many rows the pass has.
        batches: How many batches the finished pass has; None where nobody knows, so that it is never
            finished.
        views: How many times as many rows there will be in all, with the views still to come.
        like: Take the kinds of rows from here instead of from the first batch and `views`.
        memory_budget: Bytes that rows may take in memory, where there is no folder.

    Raises:
        TlkitError: Another process works in the folder, or it cannot be written.
    """

    def __init__(
        self,
        folder: Path | None,
        count: int,
        *,
        batches: int | None = None,
        views: int = 1,
        like: Sequence[Rows] = (),
        memory_budget: int = MEMORY_BUDGET,
    ) -> None:
        self.outputs: tuple[Rows, ...] = ()
        self.notes: list[list[dict[str, Json]]] = []
        self.done = 0
        self.parameters = 0
        self.stage_widths: tuple[int, ...] = ()
        self._folder = folder
        self._count = count
        self._views = views
        self._like = tuple(like)
        self._memory_budget = memory_budget
        self._file: FileIO | None = None
        if folder is not None and not self._is_finished(folder / NAME, batches):
            self._open(folder)

    def add(
        self,
        rows: Indices,
        outputs: Sequence[npt.NDArray[np.generic]],
        note: list[dict[str, Json]],
    ) -> None:
        """Keep one batch: a row number for each row of every output, and what to remember of it."""
        if outputs and not self.outputs:
            kinds = [(like.shape, like.dtype) for like in self._like] or [
                (output.shape[1:], self._kept_as(output)) for output in outputs
            ]
            self._allocate(kinds)
            shapes: list[Json] = [[list(shape), np.dtype(kind).name] for shape, kind in kinds]
            network: list[Json] = [self.parameters, list(self.stage_widths)]
            self._write({"outputs": shapes, "network": network})
        for kept, output in zip(self.outputs if outputs else (), outputs, strict=True):
            if kept.dtype == np.float16 and float(np.abs(output).max()) > _HALF_MAX:
                raise TlkitError(
                    "activations of this network are too large to be kept in half precision, which many "
                    "images need: use fewer views or a smaller image size, so that they fit into memory"
                )
            kept.write(rows, output)
        if self._file is not None:
            self._write({"note": note, "rows": rows.tolist(), "check": self._checksum(rows)})
        self.done += 1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._file is not None:
            self._file.close()
        if error is not None:
            for rows in self.outputs:
                rows.close()

    def _kept_as(self, output: npt.NDArray[np.generic]) -> np.dtype[Any]:
        """Feature maps that will not fit into memory are halved; vectors and images stay exact."""
        size = self._count * self._views * output[0].nbytes
        is_map = output.ndim > 2 and output.dtype == np.float32
        fits = is_map and size > MEMORY_BUDGET and float(np.abs(output).max()) < _HALF_SAFE
        return np.dtype(np.float16) if fits else output.dtype

    def _allocate(
        self, kinds: Sequence[tuple[Sequence[int], npt.DTypeLike]], *, read_only: bool = False
    ) -> None:
        self.outputs = tuple(
            Rows(
                self._count,
                shape,
                kind,
                path=None if self._folder is None else self._folder / f"output-{index}.bin",
                read_only=read_only,
                memory_budget=self._memory_budget,
            )
            for index, (shape, kind) in enumerate(kinds)
        )

    def _is_finished(self, journal: Path, batches: int | None) -> bool:
        """Take up all of a finished pass, whoever works in the folder; nothing of an unfinished one."""
        if batches is None or _line_count(journal) not in (batches, batches + 1):
            return False  # not worth looking at its rows
        try:
            with journal.open("rb") as lines:
                whole = all(self._take(_parsed(line), read_only=True) for line in lines)
        except (OSError, TlkitError):  # no file, or not as long as it was
            whole = False
        finished = whole and self.done == batches
        if not finished:
            for rows in self.outputs:
                rows.close()
            self.outputs, self.notes, self.done, self.parameters = (), [], 0, 0
        return finished

    def _open(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / NAME).touch()
            self._file = (folder / NAME).open("r+b", buffering=0)
        except OSError as error:
            raise cannot_keep(folder, error) from error
        lock(self._file, folder)
        end = 0
        with (folder / NAME).open("rb") as lines:
            for line in lines:
                if not self._take(_parsed(line)):
                    break
                end += len(line)
        self._file.truncate(end)
        self._file.seek(end)

    def _take(self, entry: dict[str, Any] | None, *, read_only: bool = False) -> bool:
        """Take up what an earlier process wrote; return False where it does not hold any more."""
        if entry is None:
            return False
        if "outputs" in entry:
            kinds = [(shape, np.dtype(kind)) for shape, kind in entry["outputs"]]
            self._allocate(kinds, read_only=read_only)
            self.parameters, self.stage_widths = entry["network"][0], tuple(entry["network"][1])
            return True
        if entry["check"] != self._checksum(np.array(entry["rows"], np.int64)):
            return False
        self.notes.append(entry["note"])
        self.done += 1
        return True

    def _checksum(self, rows: Indices) -> int:
        """Return one number for what is kept in these rows, of all outputs."""
        check = 0
        for kept in self.outputs:
            check = zlib.crc32(kept.read(rows).data, check)
        return check

    def _write(self, entry: Mapping[str, object]) -> None:
        if self._file is None or self._folder is None:
            return
        text = json.dumps(entry).encode("ascii") + b"\n"
        try:
            write_all(self._file, memoryview(b"%08x " % zlib.crc32(text) + text))
        except OSError as error:
            raise cannot_keep(self._folder, error) from error


def _line_count(path: Path) -> int:
    try:
        with path.open("rb") as lines:
            return sum(1 for _ in lines)
    except OSError:
        return -1


def _parsed(line: bytes) -> dict[str, Any] | None:
    """Return what a line says, or None if it is not what was written."""
    check, text = line[:9], line[9:]
    if check != b"%08x " % zlib.crc32(text):
        return None
    entry: dict[str, Any] = json.loads(text)
    return entry
