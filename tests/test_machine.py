"""What a process may use of the machine is what was lent to it, and not what is there."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tlkit.core import machine
from tlkit.core.machine import Budget, cpu_count, give_back_memory


@pytest.fixture
def cgroups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty tree of cgroups on a machine of 64 CPUs, all of which the process may run on."""
    monkeypatch.setattr(machine, "_CGROUPS", tmp_path / "fs")
    monkeypatch.setattr(machine, "_OWN_CGROUPS", tmp_path / "own")
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    monkeypatch.delenv("PYTHON_CPU_COUNT", raising=False)
    return tmp_path


def put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_without_limits_all_count(cgroups: Path) -> None:
    assert cpu_count() == 64
    put(cgroups / "own", "0::/a\n")
    put(cgroups / "fs/a/cpu.max", "max 100000\n")
    assert cpu_count() == 64


@pytest.mark.parametrize(
    ("quota", "expected"), [("200000 100000", 2), ("150000 100000", 2), ("1000 100000", 1)]
)
def test_a_quota_counts(cgroups: Path, quota: str, expected: int) -> None:
    put(cgroups / "own", "0::/a/b\n")
    put(cgroups / "fs/a/b/cpu.max", "max 100000\n")
    put(cgroups / "fs/a/cpu.max", quota)  # of a group above the own one
    assert cpu_count() == expected


def test_in_a_container_the_root_is_the_own_group(cgroups: Path) -> None:
    put(cgroups / "own", "0::/../../somewhere/else\n")
    put(cgroups / "fs/cpu.max", "300000 100000\n")
    assert cpu_count() == 3


def test_the_first_version_of_cgroups(cgroups: Path) -> None:
    put(cgroups / "own", "4:memory:/x\n3:cpu,cpuacct:/x\n")
    put(cgroups / "fs/cpu/x/cpu.cfs_quota_us", "250000\n")
    put(cgroups / "fs/cpu/x/cpu.cfs_period_us", "100000\n")
    assert cpu_count() == 3
    put(cgroups / "fs/cpu/x/cpu.cfs_quota_us", "-1\n")  # none
    assert cpu_count() == 64


def test_what_the_environment_says_goes_first(
    cgroups: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(cgroups / "own", "0::/\n")
    for text, expected in (("5", 5), ("", 64), ("default", 64), ("0", 64)):
        monkeypatch.setenv("PYTHON_CPU_COUNT", text)
        assert cpu_count() == expected, text


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity on this system")
def test_affinity_counts() -> None:
    code = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))});"
        "from tlkit.core.machine import cpu_count; print(cpu_count())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1"]


def test_no_other_module_asks_how_many_there_are() -> None:
    source = Path(machine.__file__).parents[1]
    asking = [p.name for p in source.rglob("*.py") if "os.cpu_count" in p.read_text("utf-8")]
    assert asking == ["machine.py"]


def test_no_more_is_in_use_than_a_budget_has() -> None:
    budget, seen, inside = Budget(10), [], []
    lock = threading.Lock()

    def take(amount: int) -> None:
        with budget.taken(amount):
            with lock:
                inside.append(min(amount, 10))
                seen.append(sum(inside))
            threading.Event().wait(0.002)
            with lock:
                inside.remove(min(amount, 10))

    threads = [threading.Thread(target=take, args=(n % 5 + 1 if n else 99,)) for n in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(seen) == 40
    assert 5 < max(seen) <= 10  # several at once, and never more than there is
    assert budget.left == 10


def test_what_fails_gives_back() -> None:
    budget = Budget(3)
    with pytest.raises(ValueError, match="damaged"), budget.taken(3):
        raise ValueError("damaged")
    assert budget.left == 3


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_process_begins_anew() -> None:
    code = (
        "import os; from tlkit.core.machine import Budget; b = Budget(3)\n"
        "with b.taken(3):\n"
        "    pid = os.fork()\n"
        "    if pid == 0:\n"
        "        with b.taken(2): os._exit(7 + b.left)\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), b.left)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.split() == ["8", "3"], done.stderr


FREED = """
import re, threading
from pathlib import Path
from tlkit.core.machine import give_back_memory

def resident():
    return int(re.search(r"VmRSS:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024

def fill():  # blocks of 100 KB in an arena of this thread's own; every tenth one stays, so that none shrinks
    blocks = [bytearray(100_000) for _ in range(2000)]
    kept.append(blocks[::10])

kept = []
thread = threading.Thread(target=fill)
thread.start()
thread.join()
before = resident()
give_back_memory()
print(before - resident())
"""


@pytest.mark.skipif(
    sys.platform != "linux" or platform.libc_ver()[0] != "glibc", reason="GNU's allocator"
)
def test_what_a_thread_has_freed_goes_back_to_the_system() -> None:
    run = subprocess.run([sys.executable, "-c", FREED], capture_output=True, text=True, check=True)
    assert float(run.stdout) > 50


def test_with_another_c_library_nothing_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctypes.CDLL", lambda _: object())
    give_back_memory()
