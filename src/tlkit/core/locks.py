"""Keep two processes, or two threads, out of one place."""

from __future__ import annotations

import errno
from io import FileIO
from pathlib import Path

from tlkit.errors import TlkitError, printable

_TAKEN = {errno.EAGAIN, errno.EWOULDBLOCK, errno.EACCES}


def try_lock(file: FileIO) -> bool | None:
    """Lock an open file until it is closed; the operating system unlocks it when this process ends.

    Returns:
        True: it is locked now. False: somebody else has locked it. None: there are no locks here, as on
        Windows and on some network file systems, so that nobody can tell.
    """
    try:
        import fcntl
    except ImportError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return False if error.errno in _TAKEN else None
    return True


def lock(file: FileIO, folder: Path) -> None:
    """Keep other processes out of a folder for as long as one of its files is open.

    Where there are no locks, two processes are not told apart. What tlkit keeps in folders is checked when
    it is read, so that they cost each other time and nothing else.

    Raises:
        TlkitError: Another process works in the folder.
    """
    if try_lock(file) is False:
        file.close()
        raise TlkitError(
            f"another process is working in {printable(folder)}: wait for it, or use another folder."
        )
