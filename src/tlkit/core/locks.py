"""Keep two processes out of one folder."""

from __future__ import annotations

from io import FileIO
from pathlib import Path

from tlkit.errors import TlkitError, printable


def lock(file: FileIO, folder: Path) -> None:
    """Keep other processes out of the folder; the operating system lets go when this one ends."""
    try:
        import fcntl
    except ImportError:  # Windows: two processes in one folder are not told apart
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        raise TlkitError(
            f"another process is working in {printable(folder)}: wait for it, or use another folder."
        ) from error
