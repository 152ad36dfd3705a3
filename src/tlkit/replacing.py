"""Write a file whole, or leave the old one as it was."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a name to write to, and put what was written there in the place of `path`.

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
