"""Write a file whole, or leave the old one as it was."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tlkit.errors import SettingError, printable


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a name to write to, and replace `path` by what was written there.

    An error on the way leaves `path` untouched and nothing else behind.

    Args:
        path: The file to write. Its folder must exist.

    Yields:
        A hidden name in the same folder, with the same suffix.

    Examples:
        >>> import tempfile
        >>> target = Path(tempfile.mkdtemp()) / "notes.txt"
        >>> with replacing(target) as partial:
        ...     _ = partial.write_text("whole")
        >>> target.read_text()
        'whole'
    """
    partial = path.with_name(f".{path.stem}-{os.getpid()}.partial{path.suffix}")
    try:
        yield partial
        with partial.open("rb+") as file:
            os.fsync(
                file.fileno()
            )  # the new name must not outlive a power cut that the bytes did not
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def check_target(path: Path, suffixes: Sequence[str]) -> Path:
    """Return the path of a file to be written, so that minutes of work are not for nothing.

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
    if not path.parent.is_dir():
        raise SettingError(f"there is no folder '{printable(path.parent)}': make it first")
    if path.is_dir() or not os.access(path.parent, os.W_OK):
        raise SettingError(f"'{name}' cannot be written: choose another folder")
    return path
