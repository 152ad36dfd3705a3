"""Work in shards on the processes of a Ray cluster, one network in each.

A worker that asked for more CPUs than there are would be waited for without a word: what fits is counted
first, and the rest refused. The shard of a worker that dies goes to another one, which decodes its images in
a child process; after `ATTEMPTS` the job stops. Each worker keeps to its own share of its machine's cores.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from typing import Any, Final, Protocol, TypeAlias, final

from tlkit.core.spec import check_int, check_kind
from tlkit.errors import MissingExtraError, SettingError, TlkitError, printable

Work: TypeAlias = Callable[[Any, bool], Any]
"""From a task, and whether its images are to be read with care, to its result."""

CONNECT_SECONDS: Final = 30.0
"""How long a Ray may take to answer."""

ATTEMPTS: Final = 4
"""How many workers one shard may cost."""

CPUS: Final = 4
"""Of a worker, unless a number of workers is asked for: so many threads work well side by side, and a network
for each four CPUs fits into memory. A guess."""

_FREE_SECONDS: Final = 10.0  # until Ray knows that another job has given its CPUs back
_SHORT: Final = 40  # characters of a folder in which Ray's sockets still get a name
_PROBE: Final = "import sys, ray; ray.init(sys.argv[1], log_to_driver=False, logging_level=50)"


class Job(Protocol):
    """What the workers do; it travels to each of them once."""

    def start(self) -> Work:
        """Make ready, in the worker: build the network."""
        ...


def run(
    job: Job,
    tasks: Iterable[tuple[int, object]],
    *,
    address: str | None = None,
    workers: int | None = None,
) -> Generator[tuple[int, Any], None, None]:
    """Let a cluster work, and yield number and result of each task as they are finished, in any order.

    Closing the generator ends the work.

    Args:
        job: What to do.
        tasks: Number and contents of each, taken as workers need them.
        address: Of the cluster, as for `connected`.
        workers: How many processes; None: one for every `CPUS` CPUs.

    Raises:
        MissingExtraError: Ray is not installed.
        SettingError: The cluster has not so many CPUs, or an argument is outside what it may be.
        TlkitError: The cluster does not answer, or a task cannot be done.
    """
    if workers is not None:
        check_int("workers", workers, at_least=1)
    if address is not None:
        check_kind("address", address, (str,), advice='such as "10.0.0.1:6379"')
    waiting = (_Attempt(number, task) for number, task in tasks)
    first = next(waiting, None)
    if first is None:
        return
    with connected(address) as ray:
        size, cpus = _crew(ray, workers)
        yield from _results(ray, job, chain([first], waiting), size, cpus)


@dataclass(frozen=True, slots=True)
class _Attempt:
    number: int
    task: object
    attempt: int = 1


def _results(
    ray: Any, job: Job, waiting: Iterator[_Attempt], size: int, cpus: int
) -> Generator[tuple[int, Any], None, None]:
    """Hand tasks to workers, and yield number and result of each as it is finished."""
    hire = partial(ray.remote(num_cpus=cpus)(Worker).remote, [ray.put(job)], cpus)
    again: deque[_Attempt] = deque()
    running: dict[Any, tuple[Any, _Attempt]] = {}

    def begin(worker: Any = None) -> None:
        """Give a worker what is next: a new one, if none is given. Without a task it goes, with its CPUs."""
        task = again.popleft() if again else next(waiting, None)
        if task:
            worker = worker or hire()
            result = worker.work.remote(task.number, task.task, careful=task.attempt > 1)
            running[result] = worker, task
        elif worker:
            ray.kill(worker)

    try:
        for _ in range(size):
            begin()
        while running:
            (result,), _ = ray.wait([*running])
            worker, task = running[result]
            try:
                outcome = ray.get(result)
            except ray.exceptions.RayError as error:
                again.append(_next_attempt(task, error))
                del running[result]
                ray.kill(worker)  # if it is only out of reach
                begin()
                continue
            if isinstance(outcome, TlkitError):
                raise outcome
            begin(worker)
            del running[result]
            yield task.number, outcome
    finally:
        for worker, _ in running.values():
            ray.kill(worker)


def _next_attempt(task: _Attempt, error: Exception) -> _Attempt:
    if task.attempt == ATTEMPTS:
        raise TlkitError(
            f"{ATTEMPTS} workers have died on shard {task.number}, although its images were decoded apart: "
            "most likely there was not enough memory (take fewer `workers`, or larger machines), or a "
            "machine has not the same tlkit and packages. What is done is kept; run the same again "
            f"(predictions: with `resume`) to go on. Ray says: {error}"
        ) from error
    return replace(task, attempt=task.attempt + 1)


@final
class Worker:
    """A process of the cluster.

    Args:
        job: Where the job is to be had, in a list: else it would be here, and TensorFlow, before the process
            knows its share.
        cpus: How many CPUs are its own.
    """

    def __init__(self, job: Sequence[Any], cpus: int) -> None:
        _keep_to(cpus)
        self._job = job
        self._work: Work | None = None

    def work(self, number: int, task: object, *, careful: bool) -> object:
        """Do one task; what went wrong is a result too."""
        import ray

        try:
            if self._work is None:
                self._work = ray.get(self._job[0]).start()
            return self._work(task, careful)
        except TlkitError as error:
            return error
        except OSError as error:  # of a file system, not of an image: see `read_anywhere`
            return TlkitError(
                f"a worker cannot read or write what shard {number} needs: {error}. What is done is kept; "
                "run the same again (predictions: with `resume`) to go on"
            )
        except Exception:  # noqa: BLE001 - the driver is to say it, whatever it is
            return TlkitError(f"a worker failed on shard {number}:\n{traceback.format_exc()}")


def _keep_to(cpus: int) -> None:
    """Use no more threads than CPUs: several workers share a machine. Before TensorFlow is loaded."""
    for name in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
        os.environ[name] = str(cpus)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ["PYTHON_CPU_COUNT"] = str(cpus)  # what tlkit's own threads go by


@contextlib.contextmanager
def connected(address: str | None) -> Iterator[Any]:
    """Be connected to a Ray for as long as it takes.

    Args:
        address: `"host:port"`, `"ray://host:port"` or `"auto"`. None or `""`: what `RAY_ADDRESS` in the
            environment says, else a Ray of this machine, which ends afterwards. A Ray that this process is
            connected to already is used whatever is said here, and stays.

    Yields:
        The module `ray`.

    Raises:
        MissingExtraError: Ray is not installed.
        TlkitError: Nothing answers there in `CONNECT_SECONDS`.
    """
    ray = _ray()
    if ray.is_initialized():
        yield ray
        return
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    settings: dict[str, Any] = {
        "address": address,
        "log_to_driver": False,
        "logging_level": logging.ERROR,
    }
    with (
        _environment(RAY_USAGE_STATS_ENABLED="0"),
        _own_folder() as folder,
    ):
        if address == "local":
            settings |= {"include_dashboard": False, "_temp_dir": folder}
        else:
            _probe(address)
        try:
            ray.init(**settings)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise TlkitError(_no_answer(address, str(error))) from error
        try:
            yield ray
        finally:
            ray.shutdown()


def _ray() -> Any:
    try:
        import ray
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != "ray":
            raise
        raise MissingExtraError(
            'to work on several machines needs the extra "ray": pip install "tlkit[ray]"'
        ) from error
    return ray


def _probe(address: str) -> None:
    """See in a process of its own whether a cluster answers: Ray's own attempts cannot be ended from here."""
    if address == "auto":  # found, or not found, at once
        return
    command = [sys.executable, "-c", _PROBE, address]
    try:
        found = subprocess.run(  # noqa: S603 - this very Python
            command, capture_output=True, timeout=CONNECT_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise TlkitError(_no_answer(address, f"nothing for {CONNECT_SECONDS:g} seconds")) from error
    if found.returncode:
        log = found.stderr.decode(errors="replace").strip()
        *_, reason = log.splitlines() or ["no reason given"]
        if "InvalidAuthToken" in log:
            reason = (
                "it wants a token (set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN or ~/.ray/auth_token as on "
                "its machines)"
            )
        raise TlkitError(_no_answer(address, reason))


def _no_answer(address: str, reason: str) -> str:
    return (
        f"a Ray must answer at {printable(address)}, got: {reason}. Start one with `ray start --head`, or "
        "give the address that it printed; its version of Ray and of Python must be the same as here"
    )


@contextlib.contextmanager
def _environment(**values: str) -> Iterator[None]:
    """Set variables that are not set yet, and take them back."""
    own = {name: value for name, value in values.items() if name not in os.environ}
    os.environ.update(own)
    try:
        yield
    finally:
        for name in own:
            os.environ.pop(name, None)


@contextlib.contextmanager
def _own_folder() -> Iterator[str | None]:
    """Give a folder for Ray's session files that goes away; None where Ray is to choose."""
    folder = tempfile.mkdtemp(prefix="tlkit-ray-")
    try:
        yield folder if len(folder) <= _SHORT and "RAY_TMPDIR" not in os.environ else None
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _crew(ray: Any, workers: int | None) -> tuple[int, int]:
    """Return how many workers there are to be, and the CPUs of each.

    Ray tells what is free in all, not machine by machine: fewer may fit where others hold some of each.
    """
    nodes = [int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]]
    size, cpus = crew(nodes, workers)
    deadline = time.monotonic() + _FREE_SECONDS
    while True:
        fitting = int(ray.available_resources().get("CPU", 0) // cpus)
        if fitting >= size or time.monotonic() > deadline:
            break
        time.sleep(0.5)
    if not fitting:
        raise TlkitError(
            f"a worker needs {cpus} CPUs of the cluster, but others have taken nearly all {sum(nodes)}: wait "
            "for them, or ask for more `workers`, which makes each smaller"
        )
    return min(size, fitting), cpus


def crew(nodes: Sequence[int], workers: int | None) -> tuple[int, int]:
    """Deal the CPUs of a cluster out to workers.

    Args:
        nodes: How many CPUs each machine has.
        workers: How many workers are asked for; None: one for every `CPUS` CPUs, at least one a machine.

    Returns:
        How many workers, and how many CPUs each gets, at least 1.

    Raises:
        SettingError: There are fewer CPUs than workers.

    Examples:
        >>> crew([16, 16], None), crew([2], 2), crew([8, 4], 3)
        ((8, 4), (2, 1), (3, 4))
    """
    some = [count for count in nodes if count >= 1]
    if not some:
        raise SettingError("the cluster must have CPUs for workers, got none: start machines first")
    if workers is None:
        cpus = min(CPUS, *some)
        return sum(count // cpus for count in some), cpus
    for cpus in range(max(some), 0, -1):
        if sum(count // cpus for count in some) >= workers:
            return workers, cpus
    raise SettingError(
        f"`workers` must be at most {sum(some)}, the CPUs of the cluster, got {workers}: a worker without a "
        "CPU would be waited for without end"
    )
