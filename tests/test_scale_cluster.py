"""Two processes of a Ray: equal to one machine, whatever happens to one of them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from scaling import HOOK, TINY, check_equal, kept

from tlkit import (
    AugmentationPolicy,
    BackboneAdapter,
    DatasetSpec,
    FineTuneSchedule,
    TransferClassifier,
    scale,
)
from tlkit import transfer_classifier as on_one_machine
from tlkit.errors import BadFileWarning, SettingError, TlkitError
from tlkit.features.frozen_part import FrozenPart
from tlkit.features.run_folders import RunFolders
from tlkit.scale import cluster
from tlkit.scale.store import NOTE
from tlkit.training.settings import needs_of

if not find_spec("ray"):  # importing it takes seconds
    pytest.skip("needs ray", allow_module_level=True)


@pytest.fixture
def folder(drawn_folder: Path, tmp_path: Path) -> Path:
    """A copy of the drawn folder, to be changed."""
    shutil.copytree(drawn_folder, tmp_path / "images")
    return tmp_path / "images"


# A cluster: two processes of this machine's own Ray


def on_ray(test: Callable[..., None]) -> Callable[..., None]:
    # Ray leaves files and sockets to the garbage collector, and warns of what its own code does
    for what in (
        "ResourceWarning",
        "pytest.PytestUnraisableExceptionWarning",
        "DeprecationWarning",
    ):
        pytest.mark.filterwarnings(f"ignore::{what}")(test)
    pytest.mark.slow(pytest.mark.usefixtures("two_workers")(test))
    return test


@pytest.fixture(scope="module")
def two_workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A Ray with two CPUs; returns a folder where a file named "slow" makes its workers slow."""
    import ray

    hook = tmp_path_factory.mktemp("hook")
    (hook / "sitecustomize.py").write_text(HOOK)
    session = tempfile.mkdtemp(prefix="r-")
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(hook), before)))
    try:
        ray.init(
            num_cpus=2,
            include_dashboard=False,
            object_store_memory=200 * 2**20,
            log_to_driver=False,
            logging_level=40,
            _temp_dir=session,
        )
        yield hook
    finally:
        ray.shutdown()
        os.environ.pop("PYTHONPATH")
        if before is not None:
            os.environ["PYTHONPATH"] = before
        shutil.rmtree(session, ignore_errors=True)


def processes(word: str, *, below: int | None = None) -> set[int]:
    """Return the ids of processes whose command line holds a word, of all or of the children of one."""
    listed = subprocess.run(
        ["ps", "-eo", "pid,ppid,args"], capture_output=True, text=True, check=True
    ).stdout
    rows = [line.split(None, 2) for line in listed.splitlines()[1:]]
    family = {below}
    for _ in range(5):  # children of children
        family |= {int(pid) for pid, parent, _ in rows if int(parent) in family}
    return {
        int(pid)
        for pid, _, command in rows
        if word in command and (below is None or int(pid) in family)
    }


def workers() -> set[int]:
    """Return the ids of the processes that work for this one."""
    return processes("ray::Worker", below=os.getpid())


@contextmanager
def slowly(hook: Path) -> Iterator[None]:
    (hook / "slow").touch()
    try:
        yield
    finally:
        (hook / "slow").unlink(missing_ok=True)


@on_ray
def test_two_workers_compute_what_one_machine_does(
    drawn_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tlkit.scale.ray_features._SMALLEST_SHARD", 8)
    source = f"local://{drawn_folder}"
    scale.compute_features(source, TINY, f"local://{tmp_path}/two", workers=2)
    names, features, _ = kept(tmp_path / "two")
    examples = DatasetSpec(drawn_folder).listing().examples
    schedule, policy = FineTuneSchedule.head_only(), AugmentationPolicy.none()
    one = FrozenPart(TINY, needs_of(schedule), policy, 0, RunFolders()).read(examples)
    assert names == [example.name for example in examples]
    assert np.allclose(one.outputs[0].read(one.readable), features, rtol=0, atol=1e-5)


@on_ray
def test_a_killed_worker_costs_nothing_but_time(
    two_workers: Path, drawn_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tlkit.scale.ray_features._SMALLEST_SHARD", 8)
    features_dir, killed = tmp_path / "features", []

    def kill_one() -> None:
        while not list(features_dir.glob("part-*.parquet")):
            time.sleep(0.02)
        victim = min(workers())
        os.kill(victim, signal.SIGKILL)
        killed.append((victim, len(list(features_dir.glob("part-*.parquet")))))

    killer = threading.Thread(target=kill_one)
    with slowly(two_workers):
        killer.start()
        other = scale.transfer_classifier(
            drawn_folder, backbone=TINY, features_dir=features_dir, workers=2
        )
        killer.join()
    ((victim, parts_before),) = killed
    assert parts_before < 6, "it was killed when everything was done"
    assert victim not in workers()
    assert not other.bad_files
    check_equal(
        on_one_machine(drawn_folder, backbone=TINY, schedule=FineTuneSchedule.head_only()), other
    )


@on_ray
def test_an_image_that_kills_its_worker_is_named_and_the_rest_is_done(
    folder: Path, tmp_path: Path, classifier: TransferClassifier
) -> None:
    expected = classifier.predict_folder(folder)
    (folder / "disc" / "00.jpg").write_bytes(b"KILLER" + bytes(100))
    summary = scale.predict(classifier, folder, tmp_path / "p.jsonl", workers=1)
    rows = [json.loads(line) for line in (tmp_path / "p.jsonl").read_text().splitlines()]
    (bad,) = summary.bad_files
    assert (bad.path, bad.reason) == (rows[0]["path"], "decoding it ends the process (SIGSEGV)")
    for row, outcome in zip(rows[1:], expected[1:], strict=True):
        assert abs(row["probability_of_disc"] - outcome.probability) < 1e-5  # type: ignore[union-attr]


@on_ray
def test_an_image_that_kills_its_worker_is_left_out_of_training(
    folder: Path, tmp_path: Path
) -> None:
    (folder / "disc" / "00.jpg").write_bytes(b"KILLER" + bytes(100))
    with pytest.warns(BadFileWarning, match=r"00\.jpg: decoding it ends the process \(SIGSEGV\)"):
        found = scale.transfer_classifier(
            folder, backbone=TINY, features_dir=tmp_path / "features", workers=1
        )
    (folder / "disc" / "00.jpg").write_bytes(b"<html>")
    with pytest.warns(BadFileWarning):
        one = on_one_machine(folder, backbone=TINY, schedule=FineTuneSchedule.head_only())
    assert found.record.scores["out-of-fold"].names == one.record.scores["out-of-fold"].names


@on_ray
def test_a_cluster_whose_cpus_are_taken_is_refused(
    drawn_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    class Idle:  # local, so that it travels by value: workers cannot import this file
        def is_there(self) -> bool:
            return True

    monkeypatch.setattr(cluster, "_FREE_SECONDS", 2)
    with pytest.raises(SettingError, match="`workers` must be at most 2"):
        scale.compute_features(drawn_folder, TINY, tmp_path / "f", workers=3)
    other = ray.remote(num_cpus=2)(Idle).remote()
    assert ray.get(other.is_there.remote())
    try:
        with pytest.raises(TlkitError, match="others have taken nearly all 2"):
            scale.compute_features(drawn_folder, TINY, tmp_path / "f", workers=2)
    finally:
        ray.kill(other)
    assert ray.is_initialized()


ALONE = """
import os, sys, tempfile, warnings
warnings.simplefilter("ignore")
from tlkit import BackboneAdapter, scale
if __name__ == "__main__":
    scale.compute_features(sys.argv[1], BackboneAdapter("tiny_random"), sys.argv[2])
    import ray
    print("still there" if ray.is_initialized() else "gone")
"""


@pytest.mark.slow
def test_a_ray_of_its_own_is_quiet_and_leaves_nothing_behind(
    drawn_folder: Path, tmp_path: Path
) -> None:
    place = tempfile.mkdtemp(prefix="t-")  # short, for the sockets in it
    environment = {**os.environ, "TMPDIR": place, "TF_CPP_MIN_LOG_LEVEL": "3"}
    environment.pop("RAY_ADDRESS", None)
    found = subprocess.run(
        [sys.executable, "-c", ALONE, str(drawn_folder), str(tmp_path / "features")],
        capture_output=True,
        text=True,
        env=environment,
        timeout=300,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    assert found.stdout == "gone\n"
    assert "ray" not in found.stderr.lower()
    assert list(Path(place).iterdir()) == []
    Path(place).rmdir()
    assert not processes(place)
    assert len(kept(tmp_path / "features")[0]) == 48
    assert (tmp_path / "features" / NOTE).exists()


@on_ray
def test_photographs_give_the_same_classifier(
    alpaca_dir: Path, weights_dir: Path, tmp_path: Path
) -> None:
    photographs = tmp_path / "photographs"
    for class_folder in sorted(alpaca_dir.iterdir()):
        (photographs / class_folder.name).mkdir(parents=True)
        for path in sorted(class_folder.iterdir())[:60]:
            (photographs / class_folder.name / path.name).symlink_to(path)
    weights = weights_dir / "mobilenet_v2_0.35_224_no_top.weights.h5"
    backbone = BackboneAdapter("MobileNetV2", image_size=160, alpha=0.35, weights=weights)
    one = on_one_machine(photographs, backbone=backbone, schedule=FineTuneSchedule.head_only())
    other = scale.transfer_classifier(
        photographs, backbone=backbone, features_dir=tmp_path / "features", workers=2
    )
    check_equal(one, other)
