"""Work in shards on the processes of a Ray cluster, through Ray Data: a pool of actors, one network in each.

What Ray Data does by default and what was made of it here:

- A pool that asks for more CPUs than there are waits without a word: what fits is counted first, and the rest
  refused. Nothing but the pool needs CPUs, for what it works on is handed to it and not read by tasks.
- Results come in any order: every one carries its number.
- A worker that dies is started again and its shard repeated without end: a ledger counts the attempts. From
  the second on, images are decoded in a child process, and after `ATTEMPTS` the job stops.
- Every process would use every core of its machine: each keeps to its own share.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final, Protocol, TypeAlias, final

from tlkit.core.ignoring import ignoring
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

_WINDOW: Final = (
    4096  # shards that Ray holds at a time: they and their results go through its memory
)
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
        tasks: Number and contents of each, taken some thousands at a time.
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
    waiting = iter(tasks)
    first = list(islice(waiting, _WINDOW))
    if not first:
        return
    with connected(address) as ray:
        size, cpus = _crew(ray, workers)
        payload = ray.put(job)
        ledger = ray.remote(num_cpus=0, max_restarts=-1)(Ledger).remote()
        window = first
        try:
            while window:
                yield from _window(ray, window, size, cpus, (payload, ledger, cpus))
                window = list(islice(waiting, _WINDOW))
        finally:
            with contextlib.suppress(Exception):  # what went wrong before says more
                ray.kill(ledger)


def _window(
    ray: Any, tasks: Sequence[tuple[int, object]], size: int, cpus: int, arguments: tuple[Any, ...]
) -> Iterator[tuple[int, Any]]:
    rows = [{"number": number, "task": pickle.dumps(task)} for number, task in tasks]
    with _quiet(ray):
        with ignoring(Warning):  # Ray's words on its own settings
            results = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
                Worker,
                fn_constructor_args=arguments,
                batch_size=1,
                num_cpus=cpus,
                compute=ray.data.ActorPoolStrategy(size=size),
            )
        try:
            for row in results.iter_rows():
                outcome = pickle.loads(row["result"])  # noqa: S301 - from workers of our own
                if isinstance(outcome, TlkitError):
                    raise outcome
                yield row["number"], outcome
        except ray.exceptions.RayError as error:
            raise TlkitError(
                f"Ray could not go on: {error}. What is done is kept; run the same again (predictions: with "
                "`resume`) to go on. Every machine must have the same tlkit and packages installed."
            ) from error


@final
class Ledger:
    """Counts how often each shard was begun; one for all workers."""

    def __init__(self) -> None:
        self._begun: dict[int, int] = {}

    def begin(self, number: int) -> int:
        """Return the number of the attempt that begins: 1 for the first."""
        self._begun[number] = self._begun.get(number, 0) + 1
        return self._begun[number]


@final
class Worker:
    """A process of the cluster, as Ray Data calls it: one batch is one task.

    Args:
        payload: Where the job is to be had.
        ledger: Counts attempts.
        cpus: How many CPUs are its own.
    """

    def __init__(self, payload: object, ledger: Any, cpus: int) -> None:
        _keep_to(cpus)
        self._payload = payload
        self._ledger = ledger
        self._work: Work | None = None

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, list[Any]]:
        """Do one task; what went wrong is a result too."""
        number = int(batch["number"][0])
        try:
            outcome = self._attempt(number, pickle.loads(batch["task"][0]))  # noqa: S301 - from the driver
        except TlkitError as error:
            outcome = error
        except OSError as error:  # of a file system, not of an image: see `read_anywhere`
            outcome = TlkitError(
                f"a worker cannot read or write what shard {number} needs: {error}. What is done is kept; "
                "run the same again (predictions: with `resume`) to go on"
            )
        except Exception:  # noqa: BLE001 - the driver is to say it, whatever it is
            outcome = TlkitError(f"a worker failed on shard {number}:\n{traceback.format_exc()}")
        return {"number": [number], "result": [pickle.dumps(outcome)]}

    def _attempt(self, number: int, task: object) -> object:
        import ray

        attempt = ray.get(self._ledger.begin.remote(number))
        if attempt > ATTEMPTS:
            raise TlkitError(
                f"{ATTEMPTS} workers have died on shard {number}, although its images were decoded apart: "
                "most likely there was not enough memory. Take fewer `workers`, or larger machines. What is "
                "done is kept."
            )
        if self._work is None:
            self._work = ray.get(self._payload).start()
        return self._work(task, attempt > 1)


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
        The module `ray`, with `ray.data`.

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
        _environment(RAY_USAGE_STATS_ENABLED="0", RAY_BACKEND_LOG_LEVEL="fatal"),
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
        import ray.data
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in ("ray", "pyarrow", "pandas"):
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


@contextlib.contextmanager
def _quiet(ray: Any) -> Iterator[None]:
    """Keep Ray Data from telling what it does: the progress is shown by tlkit."""
    with ignoring(Warning):  # as above
        context = ray.data.DataContext.get_current()
    log = logging.getLogger("ray.data")
    before = context.enable_progress_bars, context.print_on_execution_start, log.level
    context.enable_progress_bars = context.print_on_execution_start = False
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        context.enable_progress_bars, context.print_on_execution_start = before[:2]
        log.setLevel(before[2])


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
