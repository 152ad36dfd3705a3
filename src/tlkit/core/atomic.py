"""Write a file whole, or leave the old one as it was."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import FileIO
from pathlib import Path

from tlkit.core.fingerprint import fingerprint
from tlkit.core.locks import try_lock
from tlkit.errors import SettingError, printable


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a name to write to, and replace `path` by what was written there.

    An error on the way leaves `path` untouched and nothing else behind. Of several that write to one `path`
    at the same time, the last one to finish has its file there, whole. A file that is replaced keeps its
    mode, and a link to it stays a link.

    Args:
        path: The file to write. Its folder must exist.

    Yields:
        A hidden name in the same folder, with the same suffix: an empty file of this call alone.

    Raises:
        OSError: Nothing can be written there.

    Examples:
        >>> import tempfile
        >>> target = Path(tempfile.mkdtemp()) / "notes.txt"
        >>> with replacing(target) as partial:
        ...     _ = partial.write_text("whole")
        >>> target.read_text()
        'whole'
    """
    target = Path(os.path.realpath(path))
    with _partial_for(target, path.suffix) as (partial, before):
        yield partial
        with partial.open("rb+") as file:
            # the new name must not outlive a power cut that the bytes did not
            os.fsync(file.fileno())
        if before:
            _take_over(partial, before)
        partial.replace(target)


def check_target(path: Path, suffixes: Sequence[str]) -> Path:
    """Return the path of a file to be written, so that minutes of work are not for nothing.

    What `replacing` does to begin with is done and undone here, so that what passes can be written.

    Args:
        path: The file. One that is there may be replaced.
        suffixes: What its name may end in.

    Raises:
        SettingError: It ends otherwise, its folder is missing, or nothing can be written there.

    Examples:
        >>> check_target(Path("table.txt"), [".csv", ".jsonl"])
        Traceback (most recent call last):
        tlkit.errors.SettingError: must end in .csv or .jsonl, got 'table.txt'
    """
    name = printable(path)
    if path.suffix not in suffixes:
        *others, last = suffixes
        allowed = f"{', '.join(others)} or {last}" if others else last
        raise SettingError(f"must end in {allowed}, got '{name}'")
    try:
        if not path.parent.is_dir():
            raise SettingError(f"there is no folder '{printable(path.parent)}': make it first")
        with _partial_for(Path(os.path.realpath(path)), path.suffix):
            return path
    except OSError as error:
        why = error.strerror or error
        raise SettingError(f"'{name}' cannot be written ({why}): choose another place") from error


@contextmanager
def _partial_for(target: Path, suffix: str) -> Iterator[tuple[Path, os.stat_result | None]]:
    """Give an empty file beside `target` that goes away afterwards, and what is known of `target`.

    The file is locked for as long as it is in use: one that is not was left by a process that was killed.
    """
    before = _status(target)
    beginning = (
        f".tlkit-{fingerprint(target.name)[:8]}-"  # short, for the target's name may be long
    )
    _remove_left(target.parent, beginning)
    mode = stat.S_IMODE(before.st_mode) & 0o666 | stat.S_IWUSR if before else 0o666
    partial, file = _created(target.parent, beginning, suffix, mode)
    try:
        yield partial, before
    finally:
        partial.unlink(missing_ok=True)
        file.close()


def _status(target: Path) -> os.stat_result | None:
    """Return what is known of a file to be replaced; None if there is none."""
    try:
        status = target.stat()
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(status.st_mode):
        raise FileExistsError(errno.EEXIST, "something else than a file is there")
    return status


def _created(folder: Path, beginning: str, suffix: str, mode: int) -> tuple[Path, FileIO]:
    """Make a file that no other process or thread uses, and lock it where there are locks."""
    while True:
        partial = folder / f"{beginning}{secrets.token_hex(8)}.partial{suffix}"
        number = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL, mode)  # less the umask
        file = FileIO(number, "r+")
        locked = try_lock(file)
        if locked is None:
            file.close()  # Windows would not rename an open file
            return partial, file
        if locked and partial.exists():
            return partial, file
        file.close()  # another process has taken it for one that was left, just now


def _remove_left(folder: Path, beginning: str) -> None:
    """Delete what processes that were killed have left behind."""
    for left in folder.glob(f"{beginning}*.partial*"):
        with contextlib.suppress(OSError), left.open("rb+", buffering=0) as file:
            if try_lock(file):
                left.unlink()


def _take_over(partial: Path, before: os.stat_result) -> None:
    """Give a file the owner and the mode of the one it is to replace, as far as that is allowed."""
    with contextlib.suppress(OSError):
        now = partial.stat()
        if (now.st_uid, now.st_gid) != (before.st_uid, before.st_gid):
            os.chown(partial, before.st_uid, before.st_gid)
    with contextlib.suppress(OSError):
        partial.chmod(stat.S_IMODE(before.st_mode))
