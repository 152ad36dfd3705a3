"""A killed run loses nothing but time, and what was kept is used only if it is what was written."""

from __future__ import annotations

import gc
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

import keras
import numpy as np
import numpy.typing as npt
import pytest

from tlkit import (
    AugmentationPolicy,
    BackboneAdapter,
    DatasetSpec,
    FineTuneSchedule,
    GradientHead,
    Phase,
    TransferClassifier,
    transfer_classifier,
)
from tlkit.backbones.engines import TensorFlowEngine
from tlkit.core.rows import Indices, Rows
from tlkit.core.spec import Json
from tlkit.errors import BadFileWarning, ImageError, SettingError, TlkitError
from tlkit.evaluation.history import PhaseHistory
from tlkit.features.frozen_part import FrozenPart, listing_facts
from tlkit.features.journal import NAME, Journal
from tlkit.features.passes import Originals
from tlkit.features.run_folders import RunFolders
from tlkit.training.epoch_state import EpochState
from tlkit.training.settings import needs_of

resource = pytest.importorskip("resource", reason="needs SIGKILL and limits as POSIX has them")

# Views of features and of activations, dropout, two phases, and a learning rate that changes.
SCHEDULE = FineTuneSchedule(
    head=GradientHead(epochs=2, views=2, dropout_fraction=0.2),
    phases=(
        Phase(unfreeze_fraction=0.2, epochs=2, views=3),
        Phase(unfreeze_fraction=0.5, epochs=3, views=3),
    ),
)
HEAD_ONLY = FineTuneSchedule.head_only()

# Makes the n-th call of a function its last: killed before it, after it, or with half of its bytes written.
# Each line of its input is such a call; it forks a process for each, so that TensorFlow is loaded once.
MOTHER = f"""
import json, os, pkgutil, signal, sys, tempfile, traceback
import keras, tensorflow
from tlkit import *
from tlkit.core.rows import Rows

def die():
    spilled = [os.readlink(f"/proc/self/fd/{{n}}") for n in os.listdir("/proc/self/fd") if int(n) > 2
               and os.path.exists(f"/proc/self/fd/{{n}}") or n == "0"] if sys.platform == "linux" else []
    print("dies", sum(os.environ["TMPDIR"] in place for place in spilled), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)

def patched(*arguments, **settings):
    global left
    left -= 1
    if left == 0 and how == "half":
        file, content = arguments
        function(file, content[: len(content) // 2])
    if left == 0 and how != "after":
        die()
    result = function(*arguments, **settings)
    if left == 0:
        die()
    return result

def run():
    global function
    if target != "nothing":
        owner, name = target.split(":")
        owner = pkgutil.resolve_name(owner)
        function = getattr(owner, name)
        setattr(owner, name, patched)
    Rows.__init__.__kwdefaults__["memory_budget"] = 0  # so that there are temporary files to leave behind
    spec = DatasetSpec(data, validation_fraction=0.2)
    transfer_classifier(spec, backbone=BackboneAdapter("tiny_random"), schedule={SCHEDULE!r},
                        checkpoint_dir=checkpoint)
    die()

for line in sys.stdin:
    data, checkpoint, temporary, output, target, how, left = json.loads(line)
    child = os.fork()
    if not child:
        os.environ["TMPDIR"], tempfile.tempdir = temporary, None
        for number in (1, 2):
            os.dup2(os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), number)
        try:
            run()
        except BaseException:
            traceback.print_exc()
        os._exit(1)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
Kill: TypeAlias = Callable[[Path, tuple[str, str, int]], None]


@pytest.fixture(scope="module")
def kill(drawn_folder: Path) -> Iterator[Kill]:
    """Run the schedule in a process that is killed at a point: a function, how, and at which call."""
    command = [sys.executable, "-c", MOTHER]
    mother = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert mother.stdin is not None
    assert mother.stdout is not None
    orders, answers = mother.stdin, mother.stdout

    def kill_at(checkpoint: Path, point: tuple[str, str, int]) -> None:
        temporary = checkpoint.with_name("temporary")
        temporary.mkdir(exist_ok=True)
        output = checkpoint.with_name("output")
        output.unlink(missing_ok=True)
        places = [str(path) for path in (drawn_folder, checkpoint, temporary, output)]
        orders.write(json.dumps([*places, *point]) + "\n")
        orders.flush()
        status, written = answers.readline(), output.read_text()
        assert status == "-9\n", written
        word, spilled = written.splitlines()[-1].split()
        assert word == "dies"
        check_temporary_files(temporary, point, int(spilled))

    with mother:
        yield kill_at
        orders.close()


def check_temporary_files(temporary: Path, point: tuple[str, str, int], spilled: int) -> None:
    """Open until the process died, and gone with it."""
    if sys.platform == "linux" and point[0].startswith("tlkit.features.journal"):
        assert spilled > 0, "the process had no temporary file that it could have left behind"
    assert list(temporary.iterdir()) == []


def train(data: Path | DatasetSpec, **settings: Any) -> TransferClassifier:
    settings = {"schedule": SCHEDULE, "backbone": BackboneAdapter("tiny_random")} | settings
    spec = data if isinstance(data, DatasetSpec) else DatasetSpec(data, validation_fraction=0.2)
    return transfer_classifier(spec, **settings)


def phases_of(classifier: TransferClassifier) -> list[PhaseHistory]:
    return [replace(phase, seconds=0.0) for phase in classifier.history.phases]


def check_same(one: TransferClassifier, other: TransferClassifier) -> None:
    """Split, weights, curves and probabilities are equal to the last bit."""
    assert one.record.training_names == other.record.training_names
    assert one.record.scores == other.record.scores
    assert phases_of(one) == phases_of(other)
    for mine, its in zip(one.model.weights, other.model.weights, strict=True):
        assert np.array_equal(mine.numpy(), its.numpy())


@pytest.fixture(scope="module")
def undisturbed(drawn_folder: Path) -> TransferClassifier:
    """The run that nobody killed, and that kept nothing."""
    return train(drawn_folder)


def test_a_run_killed_again_and_again_ends_the_same(
    drawn_folder: Path, tmp_path: Path, undisturbed: TransferClassifier, kill: Kill
) -> None:
    checkpoint = tmp_path / "checkpoint"
    # In the middle of the second batch's features, of a line about views, and of saving in phase 2.
    kill(checkpoint, ("tlkit.core.rows:write_all", "half", 4))
    assert len((checkpoint_part(checkpoint, "images") / NAME).read_bytes().splitlines()) == 2
    kill(checkpoint, ("tlkit.features.journal:write_all", "half", 4))
    assert (checkpoint_part(checkpoint, "views") / NAME).stat().st_size > 0
    assert not (checkpoint / "phase-0.npz").exists()
    kill(checkpoint, ("pathlib.Path:replace", "before", 6))
    assert len(list(checkpoint.glob("phase-*.npz"))) == 3
    assert len(list(checkpoint.glob(".tlkit-*.partial.npz"))) == 1
    check_same(train(drawn_folder, checkpoint_dir=checkpoint), undisturbed)


def checkpoint_part(checkpoint: Path, name: str) -> Path:
    (folder,) = checkpoint.glob(f"{name}-*")
    return folder


def slow(value: object) -> Any:
    return pytest.param(value, marks=pytest.mark.slow)


def long(value: object) -> Any:
    """One more of a kind that the slow tests have: each costs two trainings."""
    return pytest.param(value, marks=pytest.mark.long)


@pytest.mark.parametrize(
    "point",
    [
        *map(
            slow,
            [
                ("tlkit.features.journal:write_all", "half", 1),
                ("tlkit.features.journal:write_all", "after", 3),
                ("tlkit.training.transfer:train", "before", 1),
                ("tlkit.training.finetune.TrainingData:epoch", "before", 2),
                ("tlkit.training.epoch_state.EpochState:save", "after", 2),
                ("tlkit.training.finetune.Trainee:restore", "before", 2),
                ("tlkit.classifier.record.Record:__post_init__", "before", 1),
            ],
        ),
        *map(
            long,
            [
                ("tlkit.core.rows:write_all", "before", 1),
                ("tlkit.features.journal:write_all", "before", 2),
                ("tlkit.features.journal:write_all", "after", 2),
                ("tlkit.features.journal:write_all", "half", 3),
                ("tlkit.features.journal:write_all", "after", 5),
                ("tlkit.features.journal:write_all", "after", 8),
                ("tlkit.training.finetune:train_phase", "before", 1),
                ("tlkit.training.epoch_state.EpochState:save", "after", 1),
                ("tlkit.training.epoch_state.EpochState:save", "after", 3),
                ("tlkit.training.finetune.Trainee:logits", "before", 4),
                ("tlkit.training.epoch_state.EpochState:save", "before", 6),
                ("tlkit.training.epoch_state.EpochState:save", "after", 6),
                ("tlkit.training.epoch_state.EpochState:save", "after", 7),
                ("nothing", "after", 1),
            ],
        ),
    ],
    ids=lambda point: "-".join(map(str, point)),
)
def test_a_run_killed_anywhere_ends_the_same(
    drawn_folder: Path,
    tmp_path: Path,
    undisturbed: TransferClassifier,
    kill: Kill,
    point: tuple[str, str, int],
) -> None:
    kill(tmp_path / "checkpoint", point)
    check_same(train(drawn_folder, checkpoint_dir=tmp_path / "checkpoint"), undisturbed)


@pytest.fixture(scope="module")
def finished(drawn_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of a run that came to its end. Read-only."""
    train(drawn_folder, checkpoint_dir=(folder := tmp_path_factory.mktemp("finished")))
    return folder


def test_a_finished_run_is_read_back(
    drawn_folder: Path,
    finished: Path,
    undisturbed: TransferClassifier,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def forbidden(*_arguments: object, **_settings: object) -> NoReturn:
        pytest.fail("something was computed again, although all of it was there")

    monkeypatch.setattr(TensorFlowEngine, "__call__", forbidden)
    monkeypatch.setattr(keras.Model, "fit", forbidden)
    check_same(train(drawn_folder, checkpoint_dir=finished), undisturbed)


@pytest.mark.parametrize(
    "places",
    [
        ["views", "phase-1"],
        *map(slow, [["images"], ["phase-2"]]),
        *map(long, [["views"], ["phase-0"], ["phase-1"]]),
    ],
)
def test_a_damaged_checkpoint_costs_time_and_nothing_else(
    drawn_folder: Path,
    tmp_path: Path,
    finished: Path,
    undisturbed: TransferClassifier,
    places: list[str],
) -> None:
    checkpoint = tmp_path / "checkpoint"
    shutil.copytree(finished, checkpoint)
    for place in places:
        (found,) = checkpoint.glob(f"{place}*")
        damage(max(found.iterdir(), key=size_of) if found.is_dir() else found)
    check_same(train(drawn_folder, checkpoint_dir=checkpoint), undisturbed)


def size_of(path: Path) -> int:
    return path.stat().st_size


def damage(path: Path, *, where: float = 0.6) -> None:
    content = bytearray(path.read_bytes())
    content[int(where * len(content))] ^= 0x10
    path.write_bytes(content)


# The journal and the rows, by themselves.


def filled(folder: Path, *, batches: int = 5) -> list[npt.NDArray[np.generic]]:
    """Do what is left of a pass of ten rows and two outputs, and return all of it."""
    with Journal(folder, 2 * batches) as journal:
        for batch in range(journal.done, batches):
            rows = np.arange(2 * batch, 2 * batch + 2)
            if batch == 2:  # a batch without one readable image, and one with a hole
                journal.add(rows[:0], (), [{"batch": batch}])
                continue
            kept = rows[1:] if batch == 3 else rows
            journal.parameters = 99
            outputs = np.sin(np.outer(kept, np.arange(1, 5))), np.outer(kept, np.arange(1, 4))
            journal.add(
                kept,
                [outputs[0].astype(np.float32), outputs[1].astype(np.uint8)],
                [{"batch": batch}],
            )
        written = np.setdiff1d(np.arange(2 * batches), [4, 5, 6])
        return [output.read(written) for output in journal.outputs]


@pytest.mark.parametrize("way", ["flip", "cut", "zero", "gone"])
def test_whatever_happens_to_kept_results_they_come_out_right(tmp_path: Path, way: str) -> None:
    expected = filled(tmp_path / "whole")
    again = 0
    for number in range(80 if way != "gone" else 3):
        rng = np.random.default_rng((number, len(way)))
        folder = tmp_path / f"{way}-{number}"
        shutil.copytree(tmp_path / "whole", folder)
        target = sorted(folder.iterdir())[number % 3]
        content = bytearray(target.read_bytes())
        place = int(rng.integers(len(content)))
        if way == "flip":
            content[place] ^= 1 << int(rng.integers(8))
        elif way == "zero":
            content[place:] = bytes(len(content) - place)
        else:
            del content[place:]
        target.unlink() if way == "gone" else target.write_bytes(content)
        with Journal(folder, 10) as journal:
            again += journal.done < 5
            assert [note for [note] in journal.notes] == [{"batch": n} for n in range(journal.done)]
        for got, wanted in zip(filled(folder), expected, strict=True):
            assert np.array_equal(got, wanted)
        with Journal(folder, 10) as journal:
            assert (journal.done, journal.parameters) == (5, 99)
    assert again > (0 if way == "gone" else 40)


def test_rows_that_were_never_written_are_zero_wherever_they_are(tmp_path: Path) -> None:
    rows = np.arange(4)
    for kept in (
        Rows(4, (3,), np.float32),
        Rows(4, (3,), np.float32, memory_budget=0),
        Rows(4, (3,), np.float32, path=tmp_path / "rows.bin"),
    ):
        kept.write(rows[:1], np.ones((1, 3), np.float32))
        assert kept.read(rows).sum(axis=1).tolist() == [3, 0, 0, 0]


def test_a_file_shortened_behind_our_back_is_an_error(tmp_path: Path) -> None:
    kept = Rows(4, (3,), np.float32, path=tmp_path / "rows.bin")
    os.truncate(tmp_path / "rows.bin", 20)
    with pytest.raises(TlkitError, match="shortened"):
        kept.read(np.arange(4))


# The state of a phase.


def small_model(seed: int) -> keras.Model:
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((6,))
    dropped = keras.layers.Dropout(0.5)(keras.layers.Dense(5)(inputs))
    model = keras.Model(inputs, keras.layers.Dense(1)(dropped))
    model.compile(optimizer=keras.optimizers.AdamW(0.1), loss="mse")
    model.optimizer.build(model.trainable_variables)
    return model


def variables_of(model: keras.Model) -> list[npt.NDArray[np.generic]]:
    return [variable.numpy() for variable in [*model.variables, *model.optimizer.variables]]


def equal(one: Sequence[Any], other: Sequence[Any]) -> bool:
    return all(np.array_equal(*pair) for pair in zip(one, other, strict=True))


def test_the_state_of_a_phase_is_taken_whole_or_not_at_all(tmp_path: Path) -> None:
    path, model = tmp_path / "phase-1.npz", small_model(1)
    model.fit(np.ones((8, 6)), np.ones((8, 1)), verbose=0)
    state = EpochState()
    state.add(loss=0.1, accuracy=0.2, validation_loss=1 / 3, validation_accuracy=0.4)
    state.best_weights = [weight.numpy() for weight in model.weights]
    state.save(path, model)
    saved, other = path.read_bytes(), small_model(2)
    before, taken = variables_of(other), 0
    assert not equal(before, variables_of(model))
    for number in range(300):
        rng = np.random.default_rng(number)
        content = bytearray(saved)
        place = int(rng.integers(len(content)))
        if number % 3:
            content[place] ^= 1 << int(rng.integers(8))
        else:
            del content[place:]
        path.write_bytes(content)
        read = EpochState.resume(path, other)
        if read.epochs:
            taken += 1
            assert read.curves == state.curves
            assert equal(read.best_weights, state.best_weights)
            assert equal(variables_of(other), variables_of(model))
            for variable, value in zip(
                [*other.variables, *other.optimizer.variables], before, strict=True
            ):
                variable.assign(value)
        else:
            assert equal(variables_of(other), before)
    assert 0 < taken < 150


def test_an_epoch_that_diverged_is_not_the_best() -> None:
    state = EpochState()
    assert [
        state.add(loss=1.0, accuracy=0.5, validation_loss=loss, validation_accuracy=0.5)
        for loss in (math.nan, 0.7, math.nan, 0.6, math.inf)
    ] == [True, True, False, True, False]
    assert state.best_epoch == 3


# Checkpoints that belong to something else.


def test_other_files_are_refused_and_named(drawn_folder: Path, tmp_path: Path) -> None:
    data, checkpoint = tmp_path / "data", tmp_path / "checkpoint"
    shutil.copytree(drawn_folder, data)
    train(data, schedule=HEAD_ONLY, checkpoint_dir=checkpoint)
    for change in (
        lambda: os.utime(data / "disc" / "00.jpg", ns=(1, 1)),
        lambda: shutil.copy(data / "disc" / "01.jpg", data / "disc" / "99.jpg"),
        (data / "not disc" / "02.jpg").unlink,
    ):
        change()
        with pytest.raises(SettingError, match=r"belongs to another run: files.* was "):
            train(data, schedule=HEAD_ONLY, checkpoint_dir=checkpoint)


def test_other_content_under_the_same_names_sizes_and_dates_is_refused(
    drawn_folder: Path, tmp_path: Path
) -> None:
    """Two images that were in each other's class, say, put right in a folder of bitmaps."""
    data, checkpoint = tmp_path / "data", tmp_path / "checkpoint"
    shutil.copytree(drawn_folder, data)
    one, other = (data / name / "00.jpg" for name in ("disc", "not disc"))
    length = max(path.stat().st_size for path in (one, other))
    content = [path.read_bytes().ljust(length, b"\0") for path in (one, other)]
    for paths in ((one, other), (other, one)):
        for path, written in zip(paths, content, strict=True):
            path.write_bytes(written)
            os.utime(path, ns=(1, 1))
        if paths[0] == one:
            train(data, schedule=HEAD_ONLY, checkpoint_dir=checkpoint)
    with pytest.raises(SettingError, match="other content now, although their names"):
        train(data, schedule=HEAD_ONLY, checkpoint_dir=checkpoint)


def test_differences_are_named_one_by_one(drawn_folder: Path, tmp_path: Path) -> None:
    examples = DatasetSpec(drawn_folder).listing().examples
    settings: dict[str, Json] = {"seed": 0, "schedule": SCHEDULE.to_config()}
    settings["files"] = listing_facts(examples)
    RunFolders.open(settings, None, tmp_path)
    longer = replace(SCHEDULE, head=GradientHead(epochs=7, views=2, dropout_fraction=0.2))
    with pytest.raises(SettingError, match=r"schedule: head: epochs was 2, now 7\. Repeat"):
        RunFolders.open({**settings, "schedule": longer.to_config()}, None, tmp_path)
    fewer = {**settings, "files": listing_facts(examples[1:])}
    with pytest.raises(
        SettingError, match=r"run: files: disc/00\.jpg was \[\d+, \d+\], now nothing"
    ):
        RunFolders.open(fewer, None, tmp_path)
    with pytest.raises(SettingError, match="and 45 more differences"):
        RunFolders.open({**settings, "files": {}}, None, tmp_path)
    RunFolders.open(settings, None, tmp_path)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[1]", b"null"])
def test_a_damaged_settings_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "settings.json").write_bytes(content)
    with pytest.raises(TlkitError, match=tmp_path.name):
        RunFolders.open({"seed": 0}, None, tmp_path)
    assert (tmp_path / "settings.json").read_bytes() == content


def test_phases_of_an_unknown_run_are_refused(tmp_path: Path) -> None:
    (tmp_path / "phase-1.npz").write_bytes(b"")
    with pytest.raises(TlkitError, match=r"no settings\.json"):
        RunFolders.open({"seed": 0}, None, tmp_path)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(TlkitError, match="Permission denied"):
            RunFolders.open({"seed": 0}, None, tmp_path)
        with pytest.raises(TlkitError, match=r"cannot keep results in .*Permission denied"):
            Journal(tmp_path / "pass", 4)
    finally:
        tmp_path.chmod(0o700)


# A full disk: files may not grow beyond a limit, which the operating system enforces.


@contextmanager
def files_limited_to(size: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize(
    "size", [90_000, *map(slow, [1_000, 250_000]), *map(long, [20_000, 140_000])]
)
def test_a_full_disk_is_named_and_the_run_goes_on_later(
    drawn_folder: Path, tmp_path: Path, undisturbed: TransferClassifier, size: int
) -> None:
    with files_limited_to(size), pytest.raises(TlkitError, match=tmp_path.name) as caught:
        train(drawn_folder, checkpoint_dir=tmp_path)
    assert "cannot " in str(caught.value)
    assert "File too large" in str(caught.value)
    check_same(train(drawn_folder, checkpoint_dir=tmp_path), undisturbed)


# Temporary files.


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of temporary files, where everything goes that could be in memory."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    defaults = {**(Rows.__init__.__kwdefaults__ or {}), "memory_budget": 0}
    monkeypatch.setattr(Rows.__init__, "__kwdefaults__", defaults)
    return tmp_path / "temporary"


def test_a_full_temporary_folder_is_named(temporary: Path) -> None:
    with (
        files_limited_to(100),
        pytest.raises(TlkitError, match=r"temporary: File too large.*TMPDIR"),
    ):
        Rows(100, (4,), np.float32)
    assert list(temporary.iterdir()) == []


def test_a_failure_in_the_middle_leaves_no_temporary_file(
    drawn_folder: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def open_files() -> int:
        gc.collect()
        links = [link for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
        return sum(str(temporary) in str(link.readlink()) for link in links)

    seen = 0

    def fails(_self: TensorFlowEngine, _images: object) -> NoReturn:
        nonlocal seen
        seen = open_files() if sys.platform == "linux" else 1
        raise RuntimeError("no more")

    real = TensorFlowEngine.__call__
    calls = iter([real, real, real, fails])

    def three_times(engine: TensorFlowEngine, images: npt.NDArray[np.uint8]) -> Any:
        return next(calls)(engine, images)

    monkeypatch.setattr(TensorFlowEngine, "__call__", three_times)
    with pytest.raises(RuntimeError, match="no more"):
        train(drawn_folder)
    assert seen > 0
    assert list(temporary.iterdir()) == []
    if sys.platform == "linux":
        assert open_files() == 0


# The pass, with what is kept.


def frozen(run_folders: RunFolders, schedule: FineTuneSchedule) -> FrozenPart:
    return FrozenPart(
        BackboneAdapter("tiny_random"),
        needs_of(schedule),
        AugmentationPolicy.course(),
        0,
        run_folders,
    )


def test_only_what_is_damaged_and_what_follows_is_computed_again(
    drawn_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "data"
    for name in ("disc", "not disc"):  # 96 images: three batches
        for copy in range(2):
            shutil.copytree(drawn_folder / name, data / name / f"{name} {copy}")
    examples = DatasetSpec(data).listing().examples
    sizes: list[int] = []
    real = TensorFlowEngine.__call__

    def counted(engine: TensorFlowEngine, images: npt.NDArray[np.uint8]) -> Any:
        sizes.append(len(images))
        return real(engine, images)

    monkeypatch.setattr(TensorFlowEngine, "__call__", counted)

    def read() -> Originals:
        sizes.clear()
        return frozen(RunFolders(cache=tmp_path / "cache"), HEAD_ONLY).read(examples)

    first = read()
    assert sizes == [32, 32, 32]
    again = read()
    assert sizes == []
    damage(checkpoint_part(tmp_path / "cache", "images") / "output-0.bin", where=0.5)
    healed = read()
    assert sizes == [32, 32]
    every = np.arange(96)
    for other in (again, healed):
        assert np.array_equal(other.outputs[0].read(every), first.outputs[0].read(every))
        assert other.facts == first.facts
        pairs = zip(other.facts, first.facts, strict=True)
        assert all(np.array_equal(mine.thumbnail, its.thumbnail) for mine, its in pairs)


def test_images_that_are_not_kept_any_more_are_decoded_once(
    drawn_folder: Path, tmp_path: Path, opened: list[str]
) -> None:
    examples = DatasetSpec(drawn_folder).listing().examples
    run_folders, schedule = RunFolders(cache=tmp_path), FineTuneSchedule(head=GradientHead(views=4))
    train_part: Indices = np.arange(3, 43)
    whole = frozen(run_folders, schedule)
    originals = whole.read(examples)
    (expected,) = whole.views(originals, train_part, 4, features=True, activations=False)
    shutil.rmtree(checkpoint_part(tmp_path, "views"))

    opened.clear()
    resumed = frozen(run_folders, schedule)
    (views,) = resumed.views(
        resumed.read(examples), train_part, 4, features=True, activations=False
    )
    decoded = [path for path in opened if path.endswith(".jpg")]
    assert sorted(decoded) == sorted(os.fspath(example.path) for example in examples[3:43])
    for view in range(4):
        assert np.array_equal(views.read(train_part, view), expected.read(train_part, view))


def test_a_kept_pass_still_stops_at_a_bad_file(drawn_folder: Path, tmp_path: Path) -> None:
    data, cache = tmp_path / "data", tmp_path / "cache"
    shutil.copytree(drawn_folder, data)
    (data / "disc" / "05.jpg").write_bytes(b"no image")
    with pytest.warns(BadFileWarning):
        skipped = train(data, schedule=HEAD_ONLY, cache_dir=cache)
    with pytest.warns(BadFileWarning):
        again = train(data, schedule=HEAD_ONLY, cache_dir=cache)
    assert again.bad_files == skipped.bad_files
    with pytest.raises(ImageError, match=r"05\.jpg"):
        train(DatasetSpec(data, on_bad_file="raise"), schedule=HEAD_ONLY, cache_dir=cache)


def test_the_settings_are_written_whole(drawn_folder: Path, tmp_path: Path) -> None:
    train(drawn_folder, schedule=HEAD_ONLY, checkpoint_dir=tmp_path)
    settings = json.loads((tmp_path / "settings.json").read_text())
    assert {"tlkit", "keras", "tensorflow", "seed", "files", "schedule"} <= settings.keys()
    assert not list(tmp_path.glob("*.partial"))
