"""A cluster's features and predictions are those of one machine; here this process does its work."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scaling import TINY, check_equal, kept

from tlkit import (
    BackboneAdapter,
    DatasetSpec,
    FineTuneSchedule,
    GradientHead,
    TransferClassifier,
    cli,
    scale,
)
from tlkit import transfer_classifier as on_one_machine
from tlkit.errors import BadFileWarning, ImageError, MissingExtraError, SettingError, TlkitError
from tlkit.images.decoder import BadFile
from tlkit.scale import cluster
from tlkit.scale.cluster import crew
from tlkit.scale.places import Source
from tlkit.scale.ray_features import manifest

pytest.importorskip("pyarrow")


@pytest.fixture
def folder(drawn_folder: Path, tmp_path: Path) -> Path:
    """A copy of the drawn folder, to be changed."""
    shutil.copytree(drawn_folder, tmp_path / "images")
    return tmp_path / "images"


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Do in this process, backwards, what a cluster would do; returns the numbers of the shards done."""
    done: list[int] = []

    def run(
        job: Any, tasks: Iterable[tuple[int, Any]], **_where: object
    ) -> Iterator[tuple[int, Any]]:
        work = job.start()
        for number, task in reversed(list(tasks)):
            yield number, work(task, False)
            done.append(number)

    monkeypatch.setenv("TLKIT_ENGINE", "auto")  # the job sets it, for its own process
    monkeypatch.setattr("tlkit.scale.ray_features.run", run)
    monkeypatch.setattr("tlkit.scale.ray_predict.run", run)
    return done


# Features in files


def test_any_parquet_reader_finds_the_features_by_name(
    folder: Path, tmp_path: Path, here: list[int]
) -> None:
    from pyarrow import dataset

    (folder / "disc" / "05.jpg").write_bytes(b"")
    with pytest.warns(BadFileWarning, match=r"05\.jpg: the file is empty"):
        found = scale.compute_features(folder, TINY, tmp_path / "features")
    table = dataset.dataset(tmp_path / "features", format="parquet").to_table()
    assert sorted(table["name"].to_pylist()) == sorted(
        example.name for example in DatasetSpec(folder).listing().examples
    )
    rows = dict(zip(table["name"].to_pylist(), table.to_pylist(), strict=True))
    assert rows["disc/05.jpg"]["features"] is None
    assert json.loads(rows["disc/05.jpg"]["facts"])["reason"] == "the file is empty"
    assert json.loads(rows["disc/04.jpg"]["facts"])["width"] == 48
    assert len(rows["disc/04.jpg"]["features"]) == found.feature_count
    assert found.image_count == 48
    assert [Path(bad.path).name for bad in found.bad_files] == ["05.jpg"]
    assert str(found).endswith("features of 48 images, of which 1 cannot be read, in 2 files")
    assert scale.FeatureFolder.from_json(found.to_json()) == found
    assert here == [1, 0]


@pytest.mark.usefixtures("here")
def test_the_classifier_is_that_of_one_machine(folder: Path, tmp_path: Path) -> None:
    for number in range(3):  # duplicates, a bad file, and a group: all that decides the split
        shutil.copy(folder / "disc" / "07.jpg", folder / "not disc" / f"copy-{number}.jpg")
    (folder / "disc" / "05.jpg").write_bytes(b"<html>")
    spec = DatasetSpec(folder, test_fraction=0.1, group_by=r"/0[12]")
    with pytest.warns(UserWarning):  # noqa: PT030 - of the bad file and of the copies
        one = on_one_machine(spec, backbone=TINY, schedule=FineTuneSchedule.head_only(), folds=3)
    with pytest.warns(UserWarning):  # noqa: PT030
        other = scale.transfer_classifier(
            spec, backbone=TINY, folds=3, features_dir=f"local://{tmp_path}/features"
        )
    check_equal(one, other)
    assert one.bad_files == other.bad_files
    assert one.audit == other.audit
    assert one.cross_validation is not None
    assert other.cross_validation is not None
    ours, theirs = (c.scores.probabilities for c in (one.cross_validation, other.cross_validation))
    assert np.allclose(ours, theirs, rtol=0, atol=1e-5)
    assert other.record.to_config().keys() == one.record.to_config().keys()


def test_a_broken_run_goes_on_with_what_is_missing(
    drawn_folder: Path, tmp_path: Path, here: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tlkit.scale.ray_features._SMALLEST_SHARD", 8)
    kept_in = tmp_path / "features"
    scale.compute_features(drawn_folder, TINY, kept_in)
    names, values, _ = kept(kept_in)
    assert sorted(here) == [0, 1, 2, 3, 4, 5]
    here.clear()
    (kept_in / "part-0000002.parquet").unlink()
    (kept_in / "part-0000004.parquet").unlink()
    (kept_in / ".part-0000004.parquet-ab.partial").write_bytes(b"half")
    scale.compute_features(drawn_folder, TINY, kept_in)
    assert here == [4, 2]
    again = kept(kept_in)
    assert again[0] == names
    assert np.allclose(again[1], values, rtol=0, atol=1e-5)

    monkeypatch.setattr(BackboneAdapter, "build", lambda _: pytest.fail("nothing was missing"))
    scale.compute_features(drawn_folder, TINY, kept_in)
    assert here == [4, 2]


def test_features_of_something_else_are_refused(
    folder: Path, tmp_path: Path, here: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept_in = tmp_path / "features"
    scale.compute_features(folder, TINY, kept_in)
    other = BackboneAdapter("tiny_random", image_size=48)
    with pytest.raises(SettingError, match="of another run; different are its network"):
        scale.compute_features(folder, other, kept_in)
    monkeypatch.setenv("TLKIT_ENGINE", "onnxruntime")
    with pytest.raises(SettingError, match="its engine"):
        scale.compute_features(folder, TINY, kept_in)
    monkeypatch.setenv("TLKIT_ENGINE", "tensorflow")
    shutil.copy(folder / "disc" / "01.jpg", folder / "disc" / "00.jpg")
    os.utime(folder / "disc" / "00.jpg", (1, 1))
    with pytest.raises(SettingError, match="its images"):
        scale.compute_features(folder, TINY, kept_in)
    assert sorted(here) == [0, 1]


def test_features_without_a_note_are_of_nobody_knows_what(
    folder: Path, tmp_path: Path, here: list[int]
) -> None:
    scale.compute_features(folder, TINY, tmp_path / "features")
    (tmp_path / "features" / "_tlkit.json").unlink()
    other = BackboneAdapter("tiny_random", image_size=48)
    with pytest.raises(SettingError, match=r"holds features, but no _tlkit\.json"):
        scale.compute_features(folder, other, tmp_path / "features")
    assert sorted(here) == [0, 1]


def test_a_damaged_part_is_named(folder: Path, tmp_path: Path, here: list[int]) -> None:
    scale.transfer_classifier(folder, backbone=TINY, features_dir=tmp_path / "features")
    part = tmp_path / "features" / "part-0000001.parquet"
    part.write_bytes(part.read_bytes()[:100])
    with pytest.raises(TlkitError, match=r"part-0000001\.parquet cannot be read .*: delete it"):
        scale.transfer_classifier(folder, backbone=TINY, features_dir=tmp_path / "features")
    assert here == [1, 0]


def test_a_bad_file_stops_where_the_spec_says_so(
    folder: Path, tmp_path: Path, here: list[int]
) -> None:
    (folder / "disc" / "05.jpg").write_bytes(b"")
    spec = DatasetSpec(folder, on_bad_file="raise")
    for _ in range(2):  # computed, and found
        with pytest.raises(ImageError, match=r"05\.jpg"):
            scale.transfer_classifier(spec, backbone=TINY, features_dir=tmp_path / "features")
    assert 0 not in here  # the shard was kept, and the generator was left where it was


def test_predictions_are_those_of_one_machine(
    folder: Path, tmp_path: Path, classifier: TransferClassifier, here: list[int]
) -> None:
    (folder / "disc" / "05.jpg").write_bytes(b"<html>")
    summary = scale.predict(classifier, folder, tmp_path / "p.jsonl")
    by_uri = scale.predict(classifier, f"local://{folder}", tmp_path / "u.jsonl")
    rows, from_uri = (
        [json.loads(line) for line in (tmp_path / name).read_text().splitlines()]
        for name in ("p.jsonl", "u.jsonl")
    )
    expected = classifier.predict_folder(folder, on_bad_file="collect")
    assert summary.count == by_uri.count == len(expected) == 48
    assert [row["path"] for row in from_uri] == [f"local://{row['path']}" for row in rows]
    for row, other, outcome in zip(rows, from_uri, expected, strict=True):
        assert row["path"] == str(outcome.path)
        if isinstance(outcome, BadFile):
            assert row["error"] == other["error"] == "not an image (its bytes are HTML)"
        else:
            assert row["label"] == other["label"] == outcome.label
            assert abs(row["probability_of_disc"] - outcome.probability) < 1e-5
            assert abs(other["probability_of_disc"] - outcome.probability) < 1e-5
    assert here == [0, 0]


# The command line


def test_train_on_a_cluster_from_the_command_line(
    drawn_folder: Path, tmp_path: Path, here: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    model, kept_in = tmp_path / "m.keras", tmp_path / "features"
    words = ["train", str(drawn_folder), "-o", str(model), "--backbone", "tiny_random"]
    assert cli.main([*words, "--features-dir", str(kept_in), "--workers", "2", "--ray"]) == 0
    assert "next:  tlkit predict" in capsys.readouterr().out
    assert sorted(here) == [0, 1]
    one = on_one_machine(drawn_folder, backbone=TINY, schedule=FineTuneSchedule.head_only())
    check_equal(one, TransferClassifier.load(model))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--features-dir", "f", "--schedule", "standard", "--ray"],
            "--ray trains --schedule head-only",
        ),
        (
            ["--features-dir", "f", "--cache-dir", "c", "--ray"],
            "--cache-dir cannot be used with --ray",
        ),
        (["--ray", "auto"], "--ray needs --features-dir"),
        (
            ["--features-dir", "f", "--workers", "2"],
            "--features-dir and --workers go with --ray only",
        ),
        (["--features-dir", "f", "--ray", "images/"], "must be an address like 10.0.0.1:6379"),
    ],
)
def test_what_does_not_go_together_on_a_command_line_is_refused(
    tmp_path: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["train", "images", "-o", str(tmp_path / "m.keras"), *words])
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


# What is refused


@pytest.mark.parametrize(
    "schedule", [FineTuneSchedule.thorough(), FineTuneSchedule(head=GradientHead(epochs=2))]
)
def test_a_schedule_that_needs_the_images_again_is_refused(
    tmp_path: Path, schedule: FineTuneSchedule
) -> None:
    with pytest.raises(SettingError, match=r"`schedule` must train an exact head and nothing else"):
        scale.transfer_classifier(
            "nowhere", backbone=TINY, schedule=schedule, features_dir=tmp_path
        )


@pytest.mark.parametrize("module", ["ray", "pyarrow"])
def test_a_missing_package_comes_with_its_pip_command(
    drawn_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=r'pip install "tlkit\[ray\]"'):
        scale.compute_features(drawn_folder, TINY, tmp_path / "features")


def test_what_cannot_be_is_refused_before_any_ray(
    classifier: TransferClassifier, tmp_path: Path
) -> None:
    wrong: Any = None
    with pytest.raises(SettingError, match="`images` must be a path, or several"):
        scale.predict(classifier, wrong, tmp_path / "p.csv")
    for settings in ({"address": 6379}, {"workers": 0}):
        wrong = settings
        with pytest.raises(SettingError, match=f"`{next(iter(settings))}` must be"):
            scale.predict(classifier, "one.jpg", tmp_path / "p.csv", **wrong)
    assert list(tmp_path.iterdir()) == []


def test_an_address_that_does_not_answer_is_waited_for_no_longer_than_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cluster, "CONNECT_SECONDS", 0.5)
    started = time.monotonic()
    with pytest.raises(
        TlkitError, match=r"must answer at 127\.0\.0\.1:9, got: nothing for 0\.5 seconds"
    ):
        cluster._probe("127.0.0.1:9")
    assert time.monotonic() - started < 10


@pytest.mark.parametrize(
    ("nodes", "workers", "expected"),
    [
        ([1], None, (1, 1)),
        ([0, 2], None, (1, 2)),
        ([64, 64], None, (32, 4)),
        ([3, 8], None, (3, 3)),
        ([2], 2, (2, 1)),
        ([16], 1, (1, 16)),
        ([4, 4], 3, (3, 2)),
    ],
)
def test_workers_share_the_cpus(
    nodes: list[int], workers: int | None, expected: tuple[int, int]
) -> None:
    size, cpus = crew(nodes, workers)
    assert (size, cpus) == expected
    assert size * cpus <= sum(nodes)


def test_more_workers_than_cpus_would_wait_without_end() -> None:
    with pytest.raises(
        SettingError, match="`workers` must be at most 5, the CPUs of the cluster, got 6"
    ):
        crew([2, 3], 6)
    with pytest.raises(SettingError, match="must have CPUs"):
        crew([0], None)


class JobOfWords:
    """A task is a word; some words go wrong, and some end the worker so many times."""

    def start(self) -> Callable[[str, bool], str]:
        def work(word: str, careful: bool) -> str:
            if word == "outage":
                raise OSError("no route to host")
            if word == "bug":
                raise ZeroDivisionError
            return f"{word}, {'with' if careful else 'without'} care"

        return work


class RayError(Exception):
    """What Ray raises where a worker has died."""


class PretendedRay:
    """A Ray whose workers die as often as it is told of each task, and that counts those that live."""

    exceptions = SimpleNamespace(RayError=RayError)

    def __init__(self, deaths: dict[int, int]) -> None:
        self.deaths, self.alive, self.hired = dict(deaths), 0, 0

    def remote(self, **_resources: object) -> Callable[[Any], Any]:
        def hire(*arguments: Any) -> Any:
            self.alive, self.hired = self.alive + 1, self.hired + 1
            worker = cluster.Worker(*arguments)

            def begin(number: int, task: str, *, careful: bool) -> Any:
                if self.deaths.get(number, 0):
                    self.deaths[number] -= 1
                    return lambda: (_ for _ in ()).throw(RayError("SIGKILL"))
                return lambda: worker.work(number, task, careful=careful)

            return SimpleNamespace(work=SimpleNamespace(remote=begin))

        return lambda _kind: SimpleNamespace(remote=hire)

    def put(self, value: object) -> object:
        return value

    def get(self, value: Any) -> Any:
        return value() if callable(value) else value

    def wait(self, results: list[Any]) -> tuple[list[Any], list[Any]]:
        return results[-1:], results[:-1]

    def kill(self, _worker: object) -> None:
        self.alive -= 1


@pytest.fixture
def pretended(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[int, int]], PretendedRay]:
    def make(deaths: dict[int, int]) -> PretendedRay:
        ray = PretendedRay(deaths)
        monkeypatch.setitem(sys.modules, "ray", ray)
        monkeypatch.setattr(cluster, "_keep_to", lambda _cpus: None)
        monkeypatch.setattr(cluster, "connected", lambda _address: nullcontext(ray))
        monkeypatch.setattr(cluster, "_crew", lambda _ray, workers: (workers, 1))
        return ray

    return make


def test_what_a_worker_could_not_finish_is_done_with_care_by_another(
    pretended: Callable[[dict[int, int]], PretendedRay],
) -> None:
    ray = pretended({3: 1, 5: 3})
    found = dict(cluster.run(JobOfWords(), ((n, f"word {n}") for n in range(8)), workers=2))
    care = {n: f"word {n}, {'with' if n in (3, 5) else 'without'} care" for n in range(8)}
    assert found == care
    assert (ray.hired, ray.alive) == (2 + 1 + 3, 0)


def test_a_task_that_costs_four_workers_ends_the_job(
    pretended: Callable[[dict[int, int]], PretendedRay],
) -> None:
    ray = pretended({7: 4})
    with pytest.raises(TlkitError, match=r"4 workers have died on shard 7.*Ray says: SIGKILL"):
        list(cluster.run(JobOfWords(), [(7, "a"), (8, "b")], workers=2))
    assert ray.alive == 0


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("outage", "cannot read or write what shard 1 needs: no route to host"),
        ("bug", r"a worker failed on shard 1:\n(.*\n)*ZeroDivisionError"),
    ],
)
def test_what_goes_wrong_in_a_worker_is_told(
    pretended: Callable[[dict[int, int]], PretendedRay], word: str, message: str
) -> None:
    ray = pretended({})
    with pytest.raises(TlkitError, match=message):
        list(cluster.run(JobOfWords(), [(1, word)], workers=1))
    assert ray.alive == 0


def test_tasks_are_taken_as_workers_need_them_and_no_worker_outlives_the_job(
    pretended: Callable[[dict[int, int]], PretendedRay],
) -> None:
    ray, taken = pretended({}), []

    def tasks() -> Iterator[tuple[int, str]]:
        for number in range(1000):
            taken.append(number)
            yield number, "a"

    results = cluster.run(JobOfWords(), tasks(), workers=3)
    for _ in range(5):
        next(results)
    assert len(taken) <= 5 + 3
    assert ray.alive == 3
    results.close()
    assert ray.alive == 0
    assert list(cluster.run(JobOfWords(), iter(()), workers=3)) == []


def test_shards_of_another_order_are_not_taken_up(drawn_folder: Path) -> None:
    one, other = (
        Source(DatasetSpec(drawn_folder, classes=names))
        for names in (("disc", "not disc"), ("not disc", "disc"))
    )
    found = [manifest(source, source.listing(), TINY, "tensorflow") for source in (one, other, one)]
    assert found[0] == found[2]
    assert found[0]["images"] != found[1]["images"]
