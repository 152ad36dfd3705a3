"""Killed at any moment, on a full or a read-only disk, beside another process, under a clock that runs back:
what was there stays whole, and what is left behind confuses nobody.

How training goes on after a kill is in `test_resume.py`, predictions in `test_predictions.py`.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tlkit.core.atomic import replacing
from tlkit.core.spec import Json
from tlkit.core.tables import write_csv
from tlkit.errors import ArtifactError, TlkitError
from tlkit.features.journal import Journal
from tlkit.features.run_folders import RunFolders
from tlkit.training.fold_state import Fold

resource = pytest.importorskip("resource", reason="needs SIGKILL and limits as POSIX has them")

HERE = Path(__file__).parent
ROOT = getattr(os, "geteuid", lambda: 1)() == 0


def python(*words: str, before: Sequence[str] = ()) -> subprocess.Popen[str]:
    """Start a function of this file in a Python of its own, which has no TensorFlow and may fork."""
    return subprocess.Popen(
        [*before, sys.executable, "-c", "from test_crashes import *; main(*sys.argv[1:])", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=HERE,
    )


def main(name: str, *words: str) -> None:
    globals()[name](*words)


def finished(process: subprocess.Popen[str]) -> str:
    """Return what a process printed, after it has come to a good end."""
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return out


# Something to write without TensorFlow: the whole of it is `text`, or it is damaged.


def saving(place: Path, text: str) -> None:
    from tlkit.classifier.artifact import write_artifact

    def save(path: Path) -> None:
        with zipfile.ZipFile(path, "w") as archive, archive.open("config.json", "w") as file:
            file.write(json.dumps([text] * 500).encode())

    record: Any = SimpleNamespace(
        to_config=lambda: {"text": [text] * 500}, fingerprint_with=lambda weights: weights
    )
    model: Any = SimpleNamespace(save=save, get_weights=list)
    write_artifact(place / "saved.keras", model, record)


def saved_text(place: Path) -> str:
    with zipfile.ZipFile(place / "saved.keras") as archive:
        assert archive.testzip() is None
        (one,) = {*json.loads(archive.read("config.json"))}
        (other,) = {*json.loads(archive.read("tlkit.json"))["text"]}
    assert one == other
    return str(one)


def checkpointing(place: Path, text: str) -> None:
    from tlkit.training.epoch_state import EpochState

    value = float(len(text))
    weights = [SimpleNamespace(numpy=lambda: np.full(500, value))]
    optimizer = SimpleNamespace(variables=[])
    model: Any = SimpleNamespace(variables=weights, weights=weights, optimizer=optimizer)
    state = EpochState(best_weights=[np.full(500, value)])
    state.add(loss=value, accuracy=1.0, validation_loss=value, validation_accuracy=1.0)
    state.save(place / "phase-1.npz", model)


def checkpoint_text(place: Path) -> str:
    with np.load(place / "phase-1.npz") as arrays:
        (value,) = {*arrays["now_0"].tolist(), *arrays["best_0"].tolist()}
        assert json.loads(arrays["state"].tobytes())["curves"]["loss"] == [value]
    return "new" if value == len("new") else "older"


def tabling(place: Path, text: str) -> None:
    write_csv(place / "table.csv", ("text",), [(text,)] * 500)


def table_text(place: Path) -> str:
    header, *rows = (place / "table.csv").read_text("utf-8").splitlines()
    assert (header, len(rows)) == ("text", 500)
    (one,) = {*rows}
    return one


WRITERS: dict[str, tuple[Callable[[Path, str], None], Callable[[Path], str]]] = {
    "saving": (saving, saved_text),
    "checkpointing": (checkpointing, checkpoint_text),
    "tabling": (tabling, table_text),
}
EVENTS = {"open", "os.rename", "os.remove", "os.mkdir", "os.chmod", "os.chown", "os.truncate"}


# SIGKILL


def kill_at_every_access(name: str, folder: str) -> None:
    """Write over an older file, killed before the first, then the second, third … access to the disk."""
    write, read = WRITERS[name]
    place = Path(folder)
    seen = set()
    for step in itertools.count(1):
        write(place, "older")
        status = in_a_child(lambda: write(place, "new"), kill_before=step)
        seen.add(read(place))
        write(place, "older")
        assert len(list(place.iterdir())) == 1, (step, list(place.iterdir()))
        if status == 0:
            break
        assert status == signal.SIGKILL
    assert seen == {"older", "new"}
    print(step)  # noqa: T201 - for the process that asked


def kill_within_every_write(name: str, folder: str) -> None:
    """The same, killed by the system as soon as a file has grown to so many bytes."""
    write, read = WRITERS[name]
    place = Path(folder)
    write(place, "older")
    size = max(path.stat().st_size for path in place.iterdir())
    for limit in np.linspace(0, size + 100, 25).astype(int).tolist():
        status = in_a_child(lambda: write(place, "new"), file_limit=limit)
        assert read(place) == ("new" if status == 0 else "older")
        write(place, "older")
        assert len(list(place.iterdir())) == 1, (limit, list(place.iterdir()))
    assert status == 0
    print(size)  # noqa: T201 - as above


def in_a_child(
    work: Callable[[], object], *, kill_before: int | None = None, file_limit: int | None = None
) -> int:
    """Work in a process that is killed on the way; return the signal that ended it, or 0."""
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1] & 0x7F
    steps = itertools.count(1)

    def watch(event: str, _arguments: object) -> None:
        if event in EVENTS and next(steps) == kill_before:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)
    if file_limit is not None:
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit, file_limit))
    work()
    os._exit(0)


@pytest.mark.parametrize("name", WRITERS)
def test_killed_at_any_access_to_the_disk_a_file_is_the_old_or_the_new(
    tmp_path: Path, name: str
) -> None:
    steps = finished(python("kill_at_every_access", name, str(tmp_path)))
    assert int(steps) > 4, "accesses at which it was killed"


@pytest.mark.parametrize("name", WRITERS)
def test_killed_within_a_write_the_old_file_stays(tmp_path: Path, name: str) -> None:
    assert int(finished(python("kill_within_every_write", name, str(tmp_path)))) > 1000


def kill_while_beginning(folder: str) -> None:
    """The manifest of a checkpoint, killed at every access; the same run then begins."""
    settings: dict[str, Json] = {"seed": 0, "files": {f"{n}.jpg": [n, n] for n in range(50)}}
    for step in itertools.count(1):
        place = Path(folder) / str(step)
        status = in_a_child(lambda: RunFolders.open(settings, None, place), kill_before=step)  # noqa: B023
        RunFolders.open(settings, None, place)
        assert [path.name for path in place.iterdir()] == ["settings.json"]
        if status == 0:
            break
    print(step)  # noqa: T201 - for the process that asked


def test_a_checkpoint_killed_while_it_begins_can_begin_again(tmp_path: Path) -> None:
    assert int(finished(python("kill_while_beginning", str(tmp_path)))) > 4


def kill_while_keeping_a_fold(folder: str) -> None:
    """What a fold found, killed at every access and within every write: there is all of it or none."""
    fold = Fold(np.arange(6.0).reshape(2, 3), ())
    path = Path(folder) / "fold-1-of-5.npz"
    fold.write(path)
    size = path.stat().st_size
    limits = [{"file_limit": limit} for limit in range(0, size + 100, 50)]
    steps = ({"kill_before": step} for step in itertools.count(1))
    for way in itertools.chain(limits, steps):
        path.unlink()
        status = in_a_child(lambda: fold.write(path), **way)
        kept = Fold.read(path)
        assert kept is None or np.array_equal(kept.tried, fold.tried)
        assert status or kept is not None
        fold.write(path)
        assert [left.name for left in path.parent.iterdir()] == [path.name]
        if status == 0 and "kill_before" in way:
            print(way["kill_before"])  # noqa: T201 - for the process that asked
            break


def kill_while_keeping_a_pass(folder: str) -> None:
    """Features on their way into the cache; the next process keeps what is left of them."""
    for step in itertools.count(1):
        place = Path(folder) / f"access {step}"
        status = in_a_child(lambda: keep_pass(place, batches=4), kill_before=step)  # noqa: B023
        assert keep_pass(place, batches=4) == list(range(8))
        if status == 0:
            break
    print(step)  # noqa: T201 - as above
    size = max(path.stat().st_size for path in place.iterdir())
    for limit in range(0, size + 30, 17):
        place = Path(folder) / f"limit {limit}"
        status = in_a_child(lambda: keep_pass(place, batches=4), file_limit=limit)  # noqa: B023
        assert keep_pass(place, batches=4) == list(range(8))
    assert status == 0


@pytest.mark.parametrize("work", [kill_while_keeping_a_fold, kill_while_keeping_a_pass])
def test_killed_while_something_is_kept_the_next_process_has_all_of_it(
    tmp_path: Path, work: Callable[[str], None]
) -> None:
    assert int(finished(python(work.__name__, str(tmp_path)))) > 4


# A full disk, and one that cannot be written


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of one mebibyte."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = [*["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs"], str(place)]
    if not ROOT or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("needs the right to mount a disk")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


@contextmanager
def read_only(place: Path) -> Iterator[None]:
    """Make a folder one that cannot be written: for root by mounting it so."""
    if not ROOT:
        folders = [place, *(path for path in place.rglob("*") if path.is_dir())]
        for folder in folders:
            folder.chmod(0o500)
        yield
        for folder in folders:
            folder.chmod(0o700)
        return
    mounted = subprocess.run(["mount", "--bind", place, place], check=False, capture_output=True)
    if mounted.returncode:
        pytest.skip("needs the right to mount a folder")
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", place], check=True)
        yield
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(512))


@pytest.mark.parametrize("name", WRITERS)
def test_a_full_disk_is_said_and_the_old_file_stays(disk: Path, name: str) -> None:
    write, read = WRITERS[name]
    write(disk, "older")
    with pytest.raises(OSError, match="No space"):
        fill(disk / "full")
    with pytest.raises(TlkitError, match="No space left on device"):
        write(disk, "new")
    assert read(disk) == "older"
    (disk / "full").unlink()
    write(disk, "new")
    assert read(disk) == "new"
    assert len(list(disk.iterdir())) == 1


@pytest.mark.parametrize("name", WRITERS)
def test_a_disk_that_cannot_be_written_is_said(tmp_path: Path, name: str) -> None:
    write, read = WRITERS[name]
    write(tmp_path, "older")
    with (
        read_only(tmp_path),
        pytest.raises(TlkitError, match=r"Read-only file system|Permission denied"),
    ):
        write(tmp_path, "new")
    assert read(tmp_path) == "older"
    assert len(list(tmp_path.iterdir())) == 1


def keep_pass(folder: Path, *, batches: int) -> list[float]:
    """Do what is left of a pass of four batches, as far as asked for, and return all of it."""
    with Journal(folder, 8, batches=4) as journal:
        for batch in range(journal.done, batches):
            rows = np.arange(2 * batch, 2 * batch + 2)
            journal.add(rows, [rows.astype(np.float32)[:, None]], [{"batch": batch}])
        assert [note for [note] in journal.notes][:batches] == [
            {"batch": n} for n in range(min(batches, len(journal.notes)))
        ]
        values: list[float] = journal.outputs[0].read(np.arange(8))[:, 0].tolist()
        return values


def test_a_finished_pass_is_read_from_a_disk_that_cannot_be_written(tmp_path: Path) -> None:
    whole = keep_pass(tmp_path / "cache" / "pass", batches=4)
    assert whole == list(range(8))
    with read_only(tmp_path / "cache"):
        assert keep_pass(tmp_path / "cache" / "pass", batches=4) == whole


def test_an_unfinished_pass_on_such_a_disk_is_said(tmp_path: Path) -> None:
    keep_pass(tmp_path / "cache" / "pass", batches=3)
    with (
        read_only(tmp_path / "cache"),
        pytest.raises(TlkitError, match=r"cannot keep results in .*(Read-only|Permission denied)"),
    ):
        keep_pass(tmp_path / "cache" / "pass", batches=4)
    assert keep_pass(tmp_path / "cache" / "pass", batches=4) == list(range(8))


# Two at the same time


def write_again_and_again(name: str, folder: str, text: str, pid: str = "") -> None:
    if pid:
        os.getpid = lambda: int(pid)
    for _ in range(60):
        WRITERS[name][0](Path(folder), text)
        assert WRITERS[name][1](Path(folder)) in ("new", "older")


def pid_namespace() -> list[str] | None:
    """How to make a process number 1, as in a container; None where that is not allowed."""
    command = ["unshare", "--pid", "--fork"]
    if not shutil.which("unshare"):
        return None
    tried = subprocess.run([*command, "true"], check=False, capture_output=True)
    return command if tried.returncode == 0 else None


@pytest.mark.parametrize("name", WRITERS)
def test_two_containers_write_to_one_name(tmp_path: Path, name: str) -> None:
    namespace = pid_namespace()
    pid, before = ("", namespace) if namespace else ("1", [])
    both = [
        python("write_again_and_again", name, str(tmp_path), text, pid, before=before)
        for text in ("new", "older")
    ]
    for one in both:
        finished(one)
    assert WRITERS[name][1](tmp_path) in ("new", "older")
    assert len(list(tmp_path.iterdir())) == 1


# A clock that runs back


@pytest.fixture(params=["1970", "yesterday"])
def clock_set_back(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    real = time.time
    ago = real() - 1000 if request.param == "1970" else 86_400
    monkeypatch.setattr(time, "time", lambda: real() - ago)
    monkeypatch.setattr(time, "time_ns", lambda: int((real() - ago) * 1e9))


@pytest.mark.usefixtures("clock_set_back")
@pytest.mark.parametrize("name", WRITERS)
def test_a_clock_set_back_keeps_nothing_from_being_written(tmp_path: Path, name: str) -> None:
    write, read = WRITERS[name]
    write(tmp_path, "older")
    (file,) = tmp_path.iterdir()
    os.utime(file, (2**31, 2**31))  # of a time still to come
    write(tmp_path, "new")
    assert read(tmp_path) == "new"
    assert [path.name for path in tmp_path.iterdir()] == [file.name]


@pytest.mark.usefixtures("clock_set_back")
def test_what_was_kept_under_another_clock_is_used(tmp_path: Path) -> None:
    whole = keep_pass(tmp_path, batches=4)
    for path in tmp_path.iterdir():
        os.utime(path, (2**31, 2**31))
    assert keep_pass(tmp_path, batches=4) == whole


@pytest.mark.usefixtures("clock_set_back")
def test_what_a_killed_process_left_in_the_future_goes_away(tmp_path: Path) -> None:
    with replacing(tmp_path / "table.csv") as partial:
        left = partial.with_name(partial.name.replace(".partial", "0.partial"))
        left.write_text("half")
        os.utime(left, (2**31, 2**31))
    tabling(tmp_path, "new")
    assert [path.name for path in tmp_path.iterdir()] == ["table.csv"]


def test_what_cannot_be_saved_is_an_error_of_tlkit(tmp_path: Path) -> None:
    (tmp_path / "saved.keras").mkdir()
    with pytest.raises(ArtifactError, match="something else than a file is there"):
        saving(tmp_path, "new")
