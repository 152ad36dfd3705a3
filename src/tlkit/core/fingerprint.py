"""One short text for many facts, such as the name of a cached pass, or what a classifier is."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy.typing as npt


def fingerprint(*facts: object) -> str:
    """Return 32 hex digits that stand for these facts (anything whose `repr` is complete)."""
    return hashlib.blake2b(repr(facts).encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def digest_of_file(path: str | os.PathLike[str]) -> str:
    """Return what a file is, in 32 hex digits, as `ImageFacts.digest`; nothing if it cannot be read."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - any path-like
            return hashlib.file_digest(file, _blake2b).hexdigest()
    except OSError:
        return ""


def _blake2b() -> hashlib.blake2b:
    return hashlib.blake2b(digest_size=16)


def digest_of_arrays(arrays: Iterable[npt.NDArray[Any]]) -> str:
    """Return 32 hex digits that stand for arrays: their numbers, shapes and dtypes, in this order."""
    found = hashlib.blake2b(digest_size=16)
    for array in arrays:
        found.update(f"{array.dtype.str}{array.shape}".encode())
        found.update(array.tobytes())
    return found.hexdigest()
