"""What this process may use of the machine: CPUs, and memory for many threads at once."""

from __future__ import annotations

import ctypes
import math
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Condition
from typing import final

_CGROUPS = Path("/sys/fs/cgroup")
_OWN_CGROUPS = Path("/proc/self/cgroup")


def cpu_count() -> int:
    """Return how many CPUs this process may use, at least 1.

    A machine may have more than it lends: a container's quota (cgroup, versions 1 and 2) and the process's
    affinity (`taskset`, a batch system) count, and so does `PYTHON_CPU_COUNT` in the environment, as it does
    for Python 3.13. Threads beyond that wait for each other and each take memory.

    Examples:
        >>> 1 <= cpu_count() <= (os.cpu_count() or 1)
        True
    """
    given = os.environ.get("PYTHON_CPU_COUNT", "")
    if given.isdecimal() and int(given):
        return int(given)
    counts: list[float] = [os.cpu_count() or 1, *_quotas()]
    if hasattr(os, "sched_getaffinity"):
        counts.append(len(os.sched_getaffinity(0)))
    return max(1, math.ceil(min(counts)))


def give_back_memory() -> None:
    """Hand the memory that is free back to the system: GNU's allocator keeps it, apart for each thread.

    After networks have run for the first time that is worth a gigabyte. Elsewhere nothing happens.
    """
    if sys.platform == "linux":
        with suppress(AttributeError):  # another C library
            ctypes.CDLL(None).malloc_trim(0)


@final
class Budget:
    """So much of something, which the threads of this process share.

    A thread takes from it once, and again only when it has given back: two that hold a part and wait for more
    would wait for ever.

    Args:
        size: How much there is. Who needs more than that gets all of it, alone.

    Examples:
        >>> pixels = Budget(100)
        >>> with pixels.taken(60), pixels.taken(40):
        ...     pixels.left
        0
        >>> with pixels.taken(1000):
        ...     pixels.left
        0
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self.reset()
        if hasattr(os, "register_at_fork"):  # the child has none of the threads that hold something
            os.register_at_fork(after_in_child=self.reset)

    def reset(self) -> None:
        """Begin anew with all of it."""
        self.left = self._size
        self._changed = Condition()

    @contextmanager
    def taken(self, amount: int) -> Iterator[None]:
        """Wait until so much is left, and hold it while the block runs."""
        amount = min(amount, self._size)
        changed = self._changed
        with changed:
            changed.wait_for(lambda: self.left >= amount)
            self.left -= amount
        try:
            yield
        finally:
            with changed:
                self.left += amount
                changed.notify_all()


def _quotas() -> Iterator[float]:
    """Yield the quotas, in CPUs, of the cgroups that this process is in and of those above them."""
    try:
        lines = _OWN_CGROUPS.read_text("utf-8").splitlines()
    except OSError:  # not Linux
        return
    for line in lines:
        _, controllers, own = (*line.split(":", 2), "", "")[:3]
        root = _CGROUPS / "cpu" if "cpu" in controllers.split(",") else _CGROUPS
        folder = root / own.lstrip("/")
        for place in (
            folder,
            *folder.parents,
        ):  # a namespace may hide the own one and show the root
            if place.is_relative_to(root):
                yield from _quota(place)


def _quota(folder: Path) -> Iterator[float]:
    try:
        quota, period = (folder / "cpu.max").read_text("utf-8").split()
    except (OSError, ValueError):
        try:
            quota, period = (
                (folder / f"cpu.cfs_{name}_us").read_text("utf-8") for name in ("quota", "period")
            )
        except OSError:
            return
    try:
        if int(quota) > 0:
            yield int(quota) / int(period)
    except (ValueError, ZeroDivisionError):  # "max": none
        return
