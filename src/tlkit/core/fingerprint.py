"""One short text for many facts, such as the name of a cached pass."""

from __future__ import annotations

import hashlib


def fingerprint(*facts: object) -> str:
    """Return 32 hex digits that stand for these facts (anything whose `repr` is complete)."""
    return hashlib.blake2b(repr(facts).encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
