"""Refuse TensorFlow in a process that was forked from one where it ran: it would wait for ever.

A fork copies memory and one thread. TensorFlow's other threads are gone in the new process, and whoever hands
them work there waits for ever.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from typing import Final

from tlkit.errors import TlkitError


@dataclass(slots=True)
class _Process:
    is_orphan: bool = False


_PROCESS: Final = _Process()


def refuse_after_fork() -> None:
    """Raise where TensorFlow would wait for threads that ran before a fork.

    Raises:
        TlkitError: This process, or one that it descends from, was forked from one in which TensorFlow was
            already in use.
    """
    if _PROCESS.is_orphan:
        raise TlkitError(
            "this process was forked from one in which TensorFlow was already in use, and would wait for "
            "ever for threads that it does not have: load the classifier in each worker, after the fork, and "
            "nowhere before it (gunicorn without --preload), or start workers by "
            'multiprocessing.get_context("spawn"). A folder made by `export` may be loaded before'
        )


def _after_fork() -> None:
    _PROCESS.is_orphan |= _tensorflow_runs()


def _tensorflow_runs() -> bool:
    """Say whether TensorFlow has done anything yet: what is only imported survives a fork."""
    module = sys.modules.get("tensorflow.python.eager.context")
    context = getattr(module, "_context", None)
    return getattr(context, "_context_handle", None) is not None


if hasattr(os, "register_at_fork"):  # Windows has no fork
    os.register_at_fork(after_in_child=_after_fork)
