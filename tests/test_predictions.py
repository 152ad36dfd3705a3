"""Tables of very many predictions: rows in order, none lost or repeated, whatever happens on the way."""

from __future__ import annotations

import csv
import errno
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest
from test_progress import needs_pty, run_in_terminal

from tlkit.classifier.classifier import Prediction, TransferClassifier
from tlkit.data.dataset import image_files
from tlkit.delivery import prediction_files as listing
from tlkit.delivery import predictions as writing
from tlkit.delivery.prediction_files import Shard
from tlkit.delivery.prediction_job import Job, Outcome
from tlkit.delivery.predictions import (
    PredictionSummary,
    Runner,
    as_row,
    columns_of,
    write_predictions,
)
from tlkit.errors import DatasetError, MissingExtraError, SettingError, TlkitError, printable
from tlkit.images.decoder import BadFile

COLUMNS = columns_of("disc")
NUMBERS = ("probability_of_disc", "confidence", "threshold", "familiarity")
FORMATS = (".csv", ".jsonl", ".parquet")
Row = dict[str, Any]


def read(table: Path) -> list[Row]:
    """Read a table back with the tools of its format."""
    if table.suffix == ".parquet":
        pq = pytest.importorskip("pyarrow.parquet")
        rows: list[Row] = pq.read_table(table).to_pylist()
        return rows
    text = table.read_text("utf-8")
    if table.suffix == ".jsonl":
        return [json.loads(line) for line in text.split("\n")[:-1]]
    empty: dict[str, str | None] = {"": None}
    rows = [{k: empty.get(v, v) for k, v in r.items()} for r in csv.DictReader(text.splitlines())]
    return [{**row, **{name: row[name] and float(row[name]) for name in NUMBERS}} for row in rows]


def stand_in(path: str) -> Outcome:
    """What a classifier might say: one file in seven is bad, the others differ."""
    number = int(re.sub(r"\D", "", path) or 0)
    if number % 7 == 3:
        return BadFile(path, "no such file")
    return Prediction(
        label="disc",
        probability=number / 1e6,
        positive_class="disc",
        logit=0,
        threshold=0.5,
        decision="disc" if number % 2 else "unsure",
    )


def runner_of(seen: list[str] | None = None, *, stop_after: int = 10**9) -> Runner:
    """A runner that notes what it was asked for, and breaks off after some shards."""

    def run(shards: Iterator[Shard]) -> Iterator[tuple[Shard, Sequence[Outcome]]]:
        for done, shard in enumerate(shards):
            if done == stop_after:
                raise KeyboardInterrupt
            if seen is not None:
                seen.extend(shard.paths)
            yield shard, [stand_in(path) for path in shard.paths]

    return run


NAMES = [f"{number}.jpg" for number in range(40)]


def expected(names: Iterable[str]) -> list[Row]:
    return [dict(zip(COLUMNS, as_row(name, stand_in(name)), strict=True)) for name in names]


def broken_off(
    classifier: TransferClassifier,
    output: Path,
    names: Iterable[str] = NAMES,
    *,
    after: int = 3,
    **options: Any,
) -> Path:
    """Run a job of parts of 4 until it is interrupted; return the folder of parts."""
    runner = runner_of(stop_after=after)
    with pytest.raises(KeyboardInterrupt):
        write_predictions(classifier, names, output, runner=runner, shard_size=4, **options)
    return output.with_name(f"{output.name}.parts")


# what is written


@pytest.fixture
def mixed(drawn_folder: Path, tmp_path: Path) -> Path:
    """Images in nested folders, a name like a formula, one with a line break, and two that are none."""
    folder = tmp_path / "images"
    shutil.copytree(drawn_folder, folder)
    (folder / "a.jpg").write_bytes(b"<html>")
    (folder / "disc" / "=1+1.jpg").write_bytes((folder / "disc" / "00.jpg").read_bytes())
    (folder / "disc" / "two\nlines.jpg").symlink_to(folder / "nowhere.jpg")
    return folder


@pytest.mark.parametrize("suffix", FORMATS)
def test_rows_say_what_predict_says_in_its_order(
    classifier: TransferClassifier, mixed: Path, tmp_path: Path, suffix: str
) -> None:
    table = tmp_path / f"table{suffix}"
    summary = write_predictions(classifier, mixed, table, shard_size=32)

    outcomes = classifier.predict_folder(mixed, on_bad_file="collect")
    rows = [as_row(p, o) for p, o in zip(image_files(mixed), outcomes, strict=True)]
    assert read(table) == [dict(zip(COLUMNS, row, strict=True)) for row in rows]
    bad_files = [outcome for outcome in outcomes if isinstance(outcome, BadFile)]
    labels = [outcome.label for outcome in outcomes if isinstance(outcome, Prediction)]
    assert summary == PredictionSummary(
        output=table,
        decision_counts=summary.label_counts,
        count=51,
        label_counts={name: labels.count(name) for name in ("disc", "not disc")},
        bad_count=2,
        bad_files=tuple(bad_files),
    )
    assert PredictionSummary.from_json(summary.to_json()) == summary
    counts = f"{labels.count('disc')} disc, {labels.count('not disc')} not disc"
    assert str(summary) == f"{table}: 51 images: {counts}, 2 that cannot be read"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images", table.name]


@pytest.mark.parametrize("suffix", FORMATS)
def test_only_csv_makes_formulas_harmless(
    classifier: TransferClassifier, tmp_path: Path, suffix: str
) -> None:
    names = ["=1+1.jpg", "é 🦙.jpg", "two\nlines.jpg", "\udcff.jpg"]
    table = tmp_path / f"table{suffix}"
    write_predictions(classifier, names, table, runner=runner_of())
    first = "'=1+1.jpg" if suffix == ".csv" else "=1+1.jpg"
    assert [row["path"] for row in read(table)] == [first, *map(printable, names[1:])]


def test_numbers_that_are_none_are_null_in_json(
    classifier: TransferClassifier, tmp_path: Path
) -> None:
    def run(shards: Iterator[Shard]) -> Iterator[tuple[Shard, Sequence[Outcome]]]:
        nan = float("nan")
        for shard in shards:
            yield (
                shard,
                [
                    Prediction(
                        label="disc",
                        probability=nan,
                        positive_class="disc",
                        logit=nan,
                        threshold=0.5,
                        decision="disc",
                    )
                ],
            )

    write_predictions(classifier, "a.jpg", tmp_path / "t.jsonl", runner=run)
    assert read(tmp_path / "t.jsonl")[0]["probability_of_disc"] is None


def test_the_engine_is_chosen_for_the_whole_job(
    classifier: TransferClassifier,
    drawn_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counts = []
    monkeypatch.setattr(
        "tlkit.classifier.predictor.fast_engine", lambda _facts, count, *_rest: counts.append(count)
    )
    fresh = TransferClassifier(classifier.model, classifier.record)
    write_predictions(fresh, drawn_folder, tmp_path / "t.csv", shard_size=8)
    assert counts == [48]


def test_parts_that_arrive_in_any_order_are_put_into_theirs(
    classifier: TransferClassifier, tmp_path: Path
) -> None:
    def backwards(shards: Iterator[Shard]) -> Iterator[tuple[Shard, Sequence[Outcome]]]:
        yield from reversed(list(runner_of()(shards)))

    write_predictions(classifier, NAMES, tmp_path / "t.jsonl", runner=backwards, shard_size=4)
    assert read(tmp_path / "t.jsonl") == expected(NAMES)


# the listing


def listed(images: Any, folder: Path) -> list[str]:
    target = folder / "listing.jsonl"
    count = listing.write_listing(images, target)
    found = list(listing.read_listing(target))
    assert count == len(found)
    assert [path.name for path in folder.iterdir()] == ["listing.jsonl"], "nothing else is left"
    return found


@pytest.fixture
def labyrinth(tmp_path: Path) -> Path:
    """Names on both sides of "/" in the alphabet, other scripts, links of every kind."""
    top = tmp_path / "top"
    names = (
        "a/x.jpg|a b/x.jpg|a.jpg|a0.jpg|a/b/c.png|a-/1.jpg|Z/1.JPG|ä/1.jpg|🦙/1.jpg|\udcff/1.jpg"
    )
    for name in [
        *names.split("|"),
        "a/.hidden/1.jpg",
        "a/notes.txt",
        "@eaDir/1.jpg",
        "back\\slash.jpg",
    ]:
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "1.jpg").touch()
    for link, target in {
        "0 to z": top / "Z",
        "a/up": top,
        "a/out": tmp_path / "outside",
        "b": tmp_path / "outside",
        "c.jpg": top / "a.jpg",
        "d.jpg": top / "nowhere",
    }.items():
        (top / link).symlink_to(target)
    return top


@pytest.mark.parametrize("run", [2, 3, 2**17])
def test_the_listing_is_that_of_image_files(
    labyrinth: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: int
) -> None:
    """However few names are sorted in memory and however few files are merged."""
    monkeypatch.setattr(listing, "_RUN", run)
    monkeypatch.setattr(listing, "_FAN_IN", 2)
    (tmp_path / "room").mkdir()
    monkeypatch.chdir(labyrinth)
    for folder in (labyrinth, str(labyrinth) + "/", ".", "a/..", Path("a")):
        found = listed(folder, tmp_path / "room")
        assert found == list(map(str, image_files(folder)))
        assert found
    assert len(listed(labyrinth, tmp_path / "room")) == 14


def test_files_and_folders_come_as_they_are_given(labyrinth: Path, tmp_path: Path) -> None:
    (tmp_path / "room").mkdir()
    given = ["z.jpg", labyrinth / "a", "./a.jpg", labyrinth / "Z", "s3://bucket/a.jpg"]
    inside = [*map(str, image_files(labyrinth / "a")), "./a.jpg", str(labyrinth / "Z" / "1.JPG")]
    assert listed(iter(given), tmp_path / "room") == ["z.jpg", *inside, "s3://bucket/a.jpg"]


@pytest.mark.parametrize(
    ("images", "kind", "message"),
    [
        ([], SettingError, "`images` must name at least one file or folder, got none"),
        (3, SettingError, "`images` must be a path, or several of them, got 3"),
        ([3], SettingError, "`images` must be a path, got 3"),
        (b"a.jpg", SettingError, "`images` must be a path"),
        ("empty", DatasetError, "'empty' must hold images, found none"),
    ],
)
def test_images_that_are_none(
    classifier: TransferClassifier,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    images: Any,
    kind: type[Exception],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    with pytest.raises(kind, match=re.escape(message)):
        write_predictions(classifier, images, "table.csv")
    assert [path.name for path in tmp_path.iterdir()] == ["empty"], (
        "a job that never began leaves nothing"
    )


# resume


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("after", [0, 1, 9])
def test_a_resumed_job_computes_the_rest_alone(
    classifier: TransferClassifier, tmp_path: Path, suffix: str, after: int
) -> None:
    table = tmp_path / f"table{suffix}"
    table.write_text("what was there")
    broken_off(classifier, table, after=after)
    assert table.read_text() == "what was there"

    seen: list[str] = []
    summary = write_predictions(
        classifier, NAMES, table, resume=True, runner=runner_of(seen), shard_size=5
    )
    assert seen == NAMES[4 * after :], "parts stay of the size they were"
    assert summary.resumed_count == 4 * after
    assert read(table) == expected(NAMES)
    assert [path.name for path in tmp_path.iterdir()] == [table.name]


def test_resume_without_parts_begins(classifier: TransferClassifier, tmp_path: Path) -> None:
    summary = write_predictions(
        classifier, NAMES, tmp_path / "t.csv", resume=True, runner=runner_of()
    )
    assert (summary.count, summary.resumed_count) == (40, 0)


@pytest.mark.parametrize("resume", [False, True])
def test_a_job_that_fails_before_its_first_part_needs_no_resume(
    classifier: TransferClassifier, tmp_path: Path, resume: bool
) -> None:
    def missing(_shards: Iterator[Shard]) -> NoReturn:
        raise MissingExtraError("no Ray")

    with pytest.raises(MissingExtraError):
        write_predictions(classifier, NAMES, tmp_path / "t.csv", runner=missing, resume=resume)
    assert list(tmp_path.iterdir()) == []

    broken_off(classifier, tmp_path / "t.csv")
    with pytest.raises(MissingExtraError):
        write_predictions(classifier, NAMES, tmp_path / "t.csv", runner=missing, resume=True)
    assert len(list(tmp_path.glob("t.csv.parts/0*.json"))) == 3, "what is done is kept all the same"


@pytest.mark.parametrize("name", ["job.json", "listing.jsonl"])
def test_parts_that_nobody_knows_any_more_are_not_used(
    classifier: TransferClassifier, tmp_path: Path, name: str
) -> None:
    """As a job leaves them that was killed while it removed its folder."""
    (broken_off(classifier, tmp_path / "t.csv") / name).unlink()
    others = [f"other {number}.jpg" for number in range(40, 80)]
    options: dict[str, Any] = {"resume": True, "runner": runner_of(), "shard_size": 4}
    assert write_predictions(classifier, others, tmp_path / "t.csv", **options).resumed_count == 0
    assert read(tmp_path / "t.csv") == expected(others)


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("length", [0, 5, 9, 10, 60, -1])
def test_a_part_cut_off_anywhere_is_computed_again(
    classifier: TransferClassifier, tmp_path: Path, suffix: str, length: int
) -> None:
    table = tmp_path / f"table{suffix}"
    parts = sorted(broken_off(classifier, table).glob("0*.json"))
    assert len(parts) == 3
    parts[1].write_bytes(parts[1].read_bytes()[:length])

    seen: list[str] = []
    write_predictions(classifier, NAMES, table, resume=True, runner=runner_of(seen), shard_size=4)
    assert seen == [*NAMES[4:8], *NAMES[12:]]
    assert read(table) == expected(NAMES)


def test_a_damaged_part_is_computed_again(classifier: TransferClassifier, tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    first, second, _ = sorted(broken_off(classifier, table).glob("0*.json"))
    first.write_bytes(first.read_bytes().replace(b"0.0,", b"1.0,", 1))
    second.write_bytes(bytes(second.stat().st_size))
    seen: list[str] = []
    write_predictions(classifier, NAMES, table, resume=True, runner=runner_of(seen), shard_size=4)
    assert seen == [*NAMES[:8], *NAMES[12:]]
    assert read(table) == expected(NAMES)


def kill_before_every_step(table: Path) -> None:
    """Kill a job before its first, second, third … access to the disk, and the run that resumes it too."""
    names, step, status = NAMES[:10], 0, 9
    while status:
        step += 1
        status = in_a_child(table, names, step, resume=False)
        in_a_child(table, names, step, resume=True)
        assert in_a_child(table, names, None, resume=True) == 0
        assert read(table) == expected(names), step
        assert [path.name for path in table.parent.iterdir()] == [table.name], step
        table.unlink()
    print(step)  # noqa: T201 - for the process that asked


def write_without_classifier(images: Any, table: Path, **options: Any) -> None:
    """Run a job without the seconds that TensorFlow takes to start."""
    classifier: Any = SimpleNamespace(positive_class="disc", familiarity=None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writing, "check_classifier", lambda *_: None)
        patch.setattr(writing, "_facts", lambda _: {})
        write_predictions(classifier, images, table, runner=runner_of(), **options)


def in_a_child(table: Path, names: list[str], kill_before: int | None, *, resume: bool) -> int:
    """Run a job in a process that ends before a certain access to the disk; return how it ended."""
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1]
    steps = itertools.count(1)

    def watch(event: str, _arguments: object) -> None:
        disk = event in {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "shutil.rmtree"}
        if disk and next(steps) == kill_before:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)
    write_without_classifier(names, table, resume=resume, shard_size=4)
    os._exit(0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork to be quick")
@pytest.mark.parametrize(
    "suffix",
    [".csv", *(pytest.param(other, marks=pytest.mark.slow) for other in (".parquet", ".jsonl"))],
)
def test_killed_at_any_moment_no_row_is_lost_or_repeated(tmp_path: Path, suffix: str) -> None:
    table = tmp_path / "job" / f"table{suffix}"
    table.parent.mkdir()
    done = python(f"from test_predictions import *; kill_before_every_step(Path({str(table)!r}))")
    assert int(done) > 40, "steps at which the job was killed"


def python(code: str) -> str:
    """Run code in a Python of its own, without TensorFlow; return what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        cwd=Path(__file__).parent,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
@pytest.mark.parametrize(
    "suffix",  # after a kill at every step, without TensorFlow, both are compared above
    [
        pytest.param(".csv", marks=pytest.mark.slow),
        pytest.param(".parquet", marks=pytest.mark.long),
    ],
)
def test_a_killed_command_goes_on_and_ends_with_the_same_bytes(
    classifier: TransferClassifier, drawn_folder: Path, tmp_path: Path, suffix: str
) -> None:
    """The real thing: the command, killed while it computes, and what one run would have written."""
    model, links = tmp_path / "model.keras", tmp_path / "links"
    classifier.save(model)
    for copy in range(45):
        shutil.copytree(drawn_folder, links / f"{copy:03}", copy_function=os.symlink)
    table = tmp_path / f"table{suffix}"
    code = "import sys; from tlkit.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "predict", str(model), str(links), "-o", str(table)]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        while process.poll() is None and not list(tmp_path.glob("*.parts/0*.json")):
            time.sleep(0.01)
        process.kill()
        assert process.wait() == -signal.SIGKILL
    assert not table.exists()

    done = subprocess.run([*command, "--resume"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"saved: {table} (2160 rows)\n"
    once = tmp_path / f"once{suffix}"
    summary = write_predictions(TransferClassifier.load(model), links, once)
    assert summary.count == 2160
    assert table.read_bytes() == once.read_bytes()


# what is refused


def test_parts_of_another_job_are_refused(classifier: TransferClassifier, tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    parts = broken_off(classifier, table)
    before = {path: path.read_bytes() for path in parts.iterdir()}
    stricter = classifier.with_threshold(0.75)
    retrained = TransferClassifier(keras_like(classifier.model), classifier.record)
    for other, names, options, message in (
        (
            classifier,
            NAMES,
            {"resume": False},
            "t.csv.parts holds the parts of a run that broke off",
        ),
        (stricter, NAMES, {}, "threshold was 0.5, now 0.75"),
        (retrained, NAMES, {}, "model was "),
        (classifier, NAMES[:-1], {}, "image 40 was 39.jpg, now nothing"),
        (classifier, [*NAMES, "ä.jpg"], {}, "image 41 was nothing, now ä.jpg"),
        (classifier, ["x\ny.jpg", *NAMES[1:]], {}, r"image 1 was 0.jpg, now x\ny.jpg"),
    ):
        settings: dict[str, Any] = {"resume": True, "shard_size": 4, **options}
        with pytest.raises(SettingError, match=re.escape(message)) as refused:
            write_predictions(other, names, table, runner=runner_of(), **settings)
        assert "delete that folder" in str(refused.value)
        assert {path: path.read_bytes() for path in parts.iterdir()} == before
    assert not table.exists()


def keras_like(model: Any) -> Any:
    """The same network with one weight changed a little."""
    import keras

    other = keras.models.clone_model(model)
    weights = model.get_weights()
    weights[0] = weights[0] * 1.001
    other.set_weights(weights)
    return other


def test_images_that_came_meanwhile_are_named(
    classifier: TransferClassifier, drawn_folder: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "images"
    shutil.copytree(drawn_folder, folder)
    broken_off(classifier, tmp_path / "t.csv", [str(folder)])
    new = folder / "disc" / "05b.jpg"
    new.touch()
    message = f"image 7 was {folder / 'disc' / '06.jpg'}, now {new}"
    with pytest.raises(SettingError, match=re.escape(message)):
        write_predictions(classifier, folder, tmp_path / "t.csv", resume=True, shard_size=4)


@pytest.mark.parametrize("name", ["job.json", "listing.jsonl"])
def test_damaged_parts_are_no_traceback(
    classifier: TransferClassifier, tmp_path: Path, name: str
) -> None:
    damaged = broken_off(classifier, tmp_path / "t.csv") / name
    damaged.write_bytes(damaged.read_bytes()[:-5])
    with pytest.raises(SettingError, match="Repeat that job exactly, or delete that folder"):
        write_predictions(classifier, NAMES, tmp_path / "t.csv", resume=True, shard_size=4)


def test_a_folder_of_somebody_else_is_left_alone(
    classifier: TransferClassifier, tmp_path: Path
) -> None:
    notes = tmp_path / "t.csv.parts" / "notes.txt"
    notes.parent.mkdir()
    notes.write_text("mine")
    with pytest.raises(SettingError, match="must be a folder of parts, but holds something else"):
        write_predictions(classifier, NAMES, tmp_path / "t.csv", resume=True)
    assert notes.read_text() == "mine"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no flock")
def test_two_processes_do_not_share_parts(classifier: TransferClassifier, tmp_path: Path) -> None:
    broken_off(classifier, tmp_path / "t.csv")
    with (
        Job(tmp_path / "t.csv", resume=True),
        pytest.raises(TlkitError, match="another process is working in"),
    ):
        write_predictions(classifier, NAMES, tmp_path / "t.csv", resume=True)


def test_a_file_is_no_classifier(tmp_path: Path) -> None:
    wrong: Any = "model.keras"
    with pytest.raises(SettingError, match="`classifier` must be a TransferClassifier"):
        write_predictions(wrong, NAMES, tmp_path / "t.csv")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("t.txt", "must end in .csv, .jsonl or .parquet, got '{}'"),
        ("t", "must end in"),
        ("none/t.csv", "there is no folder"),
        ("folder.csv", "cannot be written"),
    ],
)
def test_outputs_that_cannot_be(
    classifier: TransferClassifier, tmp_path: Path, output: str, message: str
) -> None:
    (tmp_path / "folder.csv").mkdir()
    target = tmp_path / output
    with pytest.raises(SettingError, match=re.escape(message.format(target))):
        write_predictions(classifier, NAMES, target, runner=never)
    assert [path.name for path in tmp_path.iterdir()] == ["folder.csv"]


def never(shards: Iterator[Shard]) -> NoReturn:
    pytest.fail(f"work began: {shards}")


def test_parquet_needs_an_extra(
    classifier: TransferClassifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=re.escape('pip install "tlkit[parquet]"')):
        write_predictions(classifier, NAMES, tmp_path / "t.parquet", runner=never)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_known_before_the_work(
    classifier: TransferClassifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: shutil._ntuple_diskusage(1, 1, 1))
    with pytest.raises(TlkitError, match="make room, or choose another output"):
        write_predictions(classifier, NAMES, tmp_path / "t.csv", runner=never)
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_fills_up_loses_nothing(
    classifier: TransferClassifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, parts = Path.write_bytes, itertools.count()

    def full(path: Path, content: bytes) -> int:
        if next(parts) == 2:
            whole(path, content[:20])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return whole(path, content)

    options: dict[str, Any] = {"runner": runner_of(), "shard_size": 4}
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(TlkitError, match="No space left on device; what is done is kept"):
            write_predictions(classifier, NAMES, tmp_path / "t.csv", **options)
    summary = write_predictions(classifier, NAMES, tmp_path / "t.csv", resume=True, **options)
    assert summary.resumed_count == 8
    assert read(tmp_path / "t.csv") == expected(NAMES)


def test_a_runner_must_give_everything_back(classifier: TransferClassifier, tmp_path: Path) -> None:
    def short(shards: Iterator[Shard]) -> Iterator[tuple[Shard, Sequence[Outcome]]]:
        for shard in shards:
            yield shard, [stand_in(path) for path in shard.paths[1:]]

    def forgetful(shards: Iterator[Shard]) -> Iterator[tuple[Shard, Sequence[Outcome]]]:
        yield from ((s, [stand_in(p) for p in s.paths]) for s in shards if s.number != 2)

    options: dict[str, Any] = {"shard_size": 4}
    with pytest.raises(SettingError, match="one outcome for each of 4 files, gave 3"):
        write_predictions(classifier, NAMES, tmp_path / "t.csv", runner=short, **options)
    options["resume"] = True
    with pytest.raises(TlkitError, match=r"00000002\.json is missing or damaged"):
        write_predictions(classifier, NAMES, tmp_path / "t.csv", runner=forgetful, **options)
    seen: list[str] = []
    write_predictions(classifier, NAMES, tmp_path / "t.csv", runner=runner_of(seen), **options)
    assert seen == NAMES[8:12]


# memory and progress


MEMORY = """
import resource, sys
from test_predictions import *
from tlkit.delivery import prediction_files as listing

listing.walk = lambda *_: ((f"/{{n:07}}.jpg", "") for n in reversed(range({count})))
listing._RUN = 2**12
write_without_classifier({folder!r}, Path({table!r}))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="memory is counted in other units")
@pytest.mark.slow
@pytest.mark.parametrize("suffix", FORMATS)
def test_memory_does_not_grow_with_the_folder(tmp_path: Path, suffix: str) -> None:
    peaks = []
    for count in (20_000, 80_000):
        table = tmp_path / f"{count}{suffix}"
        code = MEMORY.format(count=count, folder=str(tmp_path), table=str(table))
        peaks.append(int(python(code)) / 1024)
    assert peaks[1] - peaks[0] < 8, f"MiB: {peaks}"


IN_A_TERMINAL = """
import sys
import time
sys.path.insert(0, {tests!r})
from test_predictions import *
write_without_classifier(NAMES, Path({table!r}), shard_size=4)
"""


@needs_pty
def test_a_terminal_sees_how_far_it_is(tmp_path: Path) -> None:
    code = IN_A_TERMINAL.format(tests=str(Path(__file__).parent), table=str(tmp_path / "t.csv"))
    shown, _ = run_in_terminal(code)
    for text in ("Listing", "Predicting", "40/40", "Writing", "rows/s", "0:00:00"):
        assert text in shown
    assert re.search(r"Predicting.*images/s", shown)
