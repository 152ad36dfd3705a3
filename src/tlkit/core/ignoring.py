"""Warnings that tlkit expects of others, and says better itself."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from threading import RLock
from typing import Final

OF_CONVERTERS: Final = (FutureWarning, r"In the future `np\.object`")
"""What Keras's converter to ONNX says of itself: arguments of `ignoring`."""

_lock = RLock()


@contextmanager
def ignoring(category: type[Warning], message: str = "") -> Iterator[None]:
    """Ignore some warnings inside.

    Python's filters belong to the whole process. So only one thread at a time changes them here: two that
    left in another order than they came would leave theirs behind for good. As other threads may change
    them at the same time, what is ignored should be as narrow as a single message.

    Args:
        category: Of the warnings.
        message: A regular expression that their text begins with.

    Examples:
        >>> with ignoring(UserWarning, "as expected"):
        ...     warnings.warn("as expected, nothing", UserWarning, stacklevel=1)
    """
    with _lock, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=message, category=category)
        yield
