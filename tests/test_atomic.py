"""Files are written whole, beside each other, through links, with the mode and the owner that they had."""

from __future__ import annotations

import os
import stat
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tlkit.core import locks
from tlkit.core.atomic import check_target, replacing
from tlkit.errors import SettingError, TlkitError

posix = pytest.mark.skipif(sys.platform == "win32", reason="modes, links and locks of POSIX")


def write(path: Path, text: str) -> None:
    with replacing(path) as partial:
        partial.write_text(text)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_threads_that_write_to_one_name_leave_one_of_theirs(tmp_path: Path) -> None:
    target = tmp_path / "notes.txt"

    def work(number: int) -> None:
        with replacing(target) as partial, partial.open("w") as file:
            for _ in range(200):
                file.write(f"{number}\n")
                file.flush()

    for _ in range(5):
        with ThreadPoolExecutor(6) as threads:
            list(threads.map(work, range(6)))
        lines = target.read_text().splitlines()
        assert (len(lines), len(set(lines))) == (200, 1)
        assert names(tmp_path) == ["notes.txt"]


def test_an_error_leaves_nothing(tmp_path: Path) -> None:
    write(tmp_path / "notes.txt", "old")

    def fail() -> None:
        with replacing(tmp_path / "notes.txt") as partial:
            partial.write_text("new")
            raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        fail()
    assert (tmp_path / "notes.txt").read_text() == "old"
    assert names(tmp_path) == ["notes.txt"]


@posix
def test_what_a_killed_process_left_goes_away_and_what_is_in_use_stays(tmp_path: Path) -> None:
    target = tmp_path / "notes.txt"
    with replacing(target) as partial:
        left = partial.with_name(partial.name.replace(".partial", "0.partial"))
        left.write_text("half")
        partial.write_text("mine")
        write(target, "of another thread")
        assert not left.exists()
        assert partial.read_text() == "mine"
    assert target.read_text() == "mine"
    assert names(tmp_path) == ["notes.txt"]


@posix
def test_what_is_left_of_another_file_is_not_touched(tmp_path: Path) -> None:
    with replacing(tmp_path / "other.txt") as partial:
        left = partial.with_name(partial.name.replace(".partial", "0.partial"))
    left.write_text("half")
    write(tmp_path / "notes.txt", "new")
    assert left.exists()


def test_where_there_are_no_locks_nothing_is_taken_for_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tlkit.core.atomic.try_lock", lambda _: None)
    target = tmp_path / "notes.txt"
    with replacing(target) as partial:
        partial.write_text("mine")
        write(target, "of another machine")
    assert target.read_text() == "mine"
    assert names(tmp_path) == ["notes.txt"]


@posix
def test_a_link_stays_a_link(tmp_path: Path) -> None:
    for folder in ("shared", "mine"):
        (tmp_path / folder).mkdir()
    real, link = tmp_path / "shared" / "v1.txt", tmp_path / "mine" / "latest.txt"
    link.symlink_to(Path("..", "shared", "v1.txt"))
    for text in ("one", "two"):  # the first time it leads nowhere yet
        write(link, text)
        assert link.is_symlink()
        assert real.read_text() == link.read_text() == text
    assert names(tmp_path / "mine") == ["latest.txt"]
    assert names(tmp_path / "shared") == ["v1.txt"]


@posix
@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_a_new_file_has_the_usual_mode(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        write(tmp_path / "notes.txt", "new")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "notes.txt").stat().st_mode) == 0o666 & ~umask


@posix
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o666, 0o755, 0o444])
def test_a_replaced_file_keeps_its_mode(tmp_path: Path, mode: int) -> None:
    target = tmp_path / "notes.txt"
    target.write_text("old")
    target.chmod(mode)
    with replacing(target) as partial:
        partial.write_text("new")
        others = stat.S_IMODE(partial.stat().st_mode) & 0o077
        assert others & ~mode == 0, "half-written, it is open to people to whom the file is not"
    assert target.read_text() == "new"
    assert stat.S_IMODE(target.stat().st_mode) == mode


@posix
@pytest.mark.skipif(getattr(os, "geteuid", lambda: 1)() != 0, reason="only root gives files away")
def test_a_replaced_file_keeps_its_owner(tmp_path: Path) -> None:
    target = tmp_path / "notes.txt"
    target.write_text("old")
    os.chown(target, 1234, 4321)
    write(target, "new")
    assert (target.stat().st_uid, target.stat().st_gid) == (1234, 4321)


# The check before the work is the beginning of the write after it.


LONGEST = "n" * 251 + ".txt"


def test_the_longest_name_can_be_written(tmp_path: Path) -> None:
    write(check_target(tmp_path / LONGEST, [".txt"]), "new")
    assert (tmp_path / LONGEST).read_text() == "new"


@pytest.mark.parametrize(
    ("name", "why"),
    [
        (f"n{LONGEST}", "File name too long"),
        (f"{'ü' * 126}.txt", "File name too long"),  # in bytes
        ("folder.txt", "something else than a file is there"),
        ("device.txt", "something else than a file is there"),
        ("circle.txt", "Too many levels of symbolic links"),
        ("nowhere.txt", "No such file or directory"),
    ],
)
@posix
def test_a_name_that_cannot_be_written_is_refused_before_the_work(
    tmp_path: Path, name: str, why: str
) -> None:
    (tmp_path / "folder.txt").mkdir()
    (tmp_path / "device.txt").symlink_to("/dev/null")
    (tmp_path / "circle.txt").symlink_to("circle.txt")
    (tmp_path / "nowhere.txt").symlink_to(tmp_path / "missing" / "file.txt")
    before = names(tmp_path)
    with pytest.raises(SettingError, match=rf"cannot be written \({why}\)"):
        check_target(tmp_path / name, [".txt"])
    with pytest.raises(OSError, match=why):
        write(tmp_path / name, "new")
    assert names(tmp_path) == before
    assert Path("/dev/null").is_char_device()


def test_a_check_leaves_no_trace(tmp_path: Path) -> None:
    assert check_target(tmp_path / "notes.txt", [".txt"]) == tmp_path / "notes.txt"
    assert names(tmp_path) == []
    write(tmp_path / "notes.txt", "old")
    check_target(tmp_path / "notes.txt", [".txt"])
    assert (tmp_path / "notes.txt").read_text() == "old"
    assert names(tmp_path) == ["notes.txt"]


# Locks


@posix
def test_a_lock_that_is_taken_is_told_from_a_disk_without_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import errno
    import fcntl

    with (tmp_path / "lock").open("wb", buffering=0) as one:
        assert locks.try_lock(one) is True
        other = (tmp_path / "lock").open("wb", buffering=0)
        assert locks.try_lock(other) is False
        with pytest.raises(TlkitError, match="another process is working in"):
            locks.lock(other, tmp_path)
        assert other.closed

        def unsupported(*_: Any) -> None:
            raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

        monkeypatch.setattr(fcntl, "flock", unsupported)
        assert locks.try_lock(one) is None
        locks.lock(one, tmp_path)
        assert not one.closed
