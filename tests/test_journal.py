"""A pass that was cut off goes on; one that is not finished never looks finished."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from tlkit.errors import TlkitError
from tlkit.features.journal import NAME, Journal


def add(journal: Journal, *rows: int) -> None:
    values = np.array(rows, np.float32)[:, None] * [1.0, 10.0]
    journal.add(np.array(rows, np.int64), [values.astype(np.float32)], [{"row": r} for r in rows])


def test_a_second_process_goes_on_where_the_first_stopped(tmp_path: Path) -> None:
    with Journal(tmp_path / "pass", 4) as journal:
        journal.parameters = 17
        add(journal, 0, 1)
    with Journal(tmp_path / "pass", 4) as journal:
        assert (journal.done, journal.parameters) == (1, 17)
        assert journal.notes == [[{"row": 0}, {"row": 1}]]
        add(journal, 2, 3)
        got = journal.outputs[0].read(np.arange(4))
    assert got.tolist() == [[0, 0], [1, 10], [2, 20], [3, 30]]


@pytest.mark.parametrize("cut", [1, 5, 20])
def test_a_batch_whose_line_was_cut_off_does_not_count(tmp_path: Path, cut: int) -> None:
    with Journal(tmp_path, 4) as journal:
        add(journal, 0, 1)
        add(journal, 2, 3)
    written = (tmp_path / NAME).read_bytes()
    (tmp_path / NAME).write_bytes(written[:-cut])
    with Journal(tmp_path, 4) as journal:
        assert journal.done == 1
        add(journal, 2, 3)
    assert (tmp_path / NAME).read_bytes() == written


def test_two_processes_do_not_share_a_folder(tmp_path: Path) -> None:
    pytest.importorskip("fcntl", reason="no file locks on this system")
    with (
        Journal(tmp_path, 4),
        pytest.raises(TlkitError, match="another process"),
        Journal(tmp_path, 4),
    ):
        pass


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(TlkitError, match=r"cannot keep results in .*file"):
        Journal(tmp_path / "file" / "pass", 4)


def test_only_big_feature_maps_are_halved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tlkit.features.journal.MEMORY_BUDGET", 100)
    rows = np.arange(2)
    outputs: list[npt.NDArray[np.generic]] = [
        np.ones((2, 50), np.float32),
        np.ones((2, 5, 5, 2), np.float32),
        np.ones((2, 5, 5, 3), np.uint8),
    ]
    journal = Journal(None, 2)
    journal.add(rows, outputs, [])
    assert [rows.dtype.name for rows in journal.outputs] == ["float32", "float16", "uint8"]


def test_what_half_precision_cannot_hold_is_kept_whole_or_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tlkit.features.journal.MEMORY_BUDGET", 1)
    rows, large = np.arange(2), np.full((2, 3, 3, 2), 1e5, np.float32)
    journal = Journal(None, 4)
    journal.add(rows, [large], [])
    assert journal.outputs[0].dtype == np.float32
    journal = Journal(None, 4)
    journal.add(rows, [large / 1e5], [])
    assert journal.outputs[0].dtype == np.float16
    with pytest.raises(TlkitError, match="too large to be kept in half precision"):
        journal.add(rows + 2, [large], [])
