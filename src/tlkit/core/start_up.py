"""How TensorFlow is loaded: what it finds in the environment, and inside which context.

Both keep its start-up lines away. The environment is set when TensorFlow is loaded, not when tlkit is
imported, and only where the user has set nothing. The context is an application's own, such as the command
line's, which may do what a library may not.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from pathlib import Path
from typing import Final, TypeAlias

Context: TypeAlias = Callable[[], AbstractContextManager[None]]

OPT_OUT: Final = "TLKIT_TF_LOG"
"""Environment variable: `1` shows everything that TensorFlow writes when it starts."""

_context: ContextVar[Context] = ContextVar("context", default=nullcontext)
_LEVEL: Final = "TF_CPP_MIN_LOG_LEVEL"
_DRIVERS: Final = (
    "/dev/nvidiactl",
    "/dev/nvidia0",
    "/dev/dxg",
    "/dev/kfd",
)  # of NVIDIA, of WSL, of AMD


def set_log_level(environment: MutableMapping[str, str] = os.environ) -> None:
    """Keep TensorFlow's information away, and where there is no GPU its complaints about that.

    Without a driver TensorFlow reports one error, that there is none, and nothing else can hide it. With one,
    warnings and errors are shown.

    Args:
        environment: Where the setting goes.
    """
    if environment.get(OPT_OUT) == "1" or "tensorflow" in sys.modules:
        return
    has_driver = any(Path(driver).exists() for driver in _DRIVERS)
    environment.setdefault(_LEVEL, "1" if has_driver else "3")


@contextmanager
def loading_inside(context: Context) -> Iterator[None]:
    """Have TensorFlow loaded inside a context, should this thread load it in here.

    Args:
        context: Made and entered when that begins.
    """
    token = _context.set(context)
    try:
        yield
    finally:
        _context.reset(token)


def loading() -> AbstractContextManager[None]:
    """Return the context that TensorFlow is to be loaded in."""
    return _context.get()()
