"""What every command prints, on stdout and on stderr, and its exit code: a text to be read and reviewed.

The text is in `__snapshots__/`. After a change that is meant: `pytest -n 0 tests/test_cli_snapshots.py
--snapshot-update`, and read the difference before it is committed.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from syrupy.assertion import SnapshotAssertion

import tlkit
from tlkit.cli import main

Transcript = Callable[..., str]

NETWORK = ("--backbone", "tiny_random", "--schedule", "head-only")
TRAIN = ("train", "discs", "-o", "new.keras")


@pytest.fixture(scope="module")
def place(drawn_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A working directory with folders, a model and files that are none; every command runs in it."""
    folder = tmp_path_factory.mktemp("place")
    shutil.copytree(drawn_folder, folder / "discs")
    for path in ("many/a/1.jpg", "many/b/1.jpg", "many/c/1.jpg", "cats and dogs/cat/1.jpg"):
        (folder / path).parent.mkdir(parents=True)
        shutil.copy(drawn_folder / "disc" / "00.jpg", folder / path)
    (folder / "cats and dogs" / "dog").mkdir()
    shutil.copy(drawn_folder / "disc" / "01.jpg", folder / "cats and dogs" / "dog" / "1.jpg")
    for number in range(12):
        for name in ("disc", "not disc"):
            (folder / "with bad" / name).mkdir(parents=True, exist_ok=True)
            image = f"{name}/{number:02}.jpg"
            shutil.copy(drawn_folder / image, folder / "with bad" / image)
    bad = folder / "with bad"
    (bad / "disc" / "00.jpg").write_bytes(b"<html>")
    shutil.copy(bad / "disc" / "01.jpg", bad / "not disc" / "copy.jpg")
    (folder / "empty").mkdir()
    (folder / "no model.keras").write_bytes(b"not a zip file")
    before = Path.cwd()
    os.chdir(folder)
    try:
        assert main(["train", "discs", "-o", "discs.keras", *NETWORK]) == 0
        yield folder
    finally:
        os.chdir(before)


@pytest.fixture
def transcript(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Transcript:
    """Run a command; return it with what it printed and its exit code, less what differs each time."""
    monkeypatch.chdir(place)
    monkeypatch.setenv("COLUMNS", "100")
    capsys.readouterr()

    def run(*words: str) -> str:
        try:
            code: object = main(words)
        except SystemExit as ended:
            code = ended.code
        out, err = capsys.readouterr()
        text = f"$ tlkit {shlex.join(words)}\n{out}"
        if err:
            text += f"--- stderr\n{err}"
        return masked(f"{text}--- exit code {code}")

    return run


MASKS = (
    (r"(?s)usage: .*?(?=tlkit( \w+)?: error:)", ""),  # Pythons wrap it differently
    (r"(?<=\(choose from )[^)]*", lambda found: found[0].replace("'", "")),  # and quote differently
    (r"n{200,}", "n…n"),
    (r"\b[0-9a-f]{32}\b", "FINGERPRINT"),
    (re.escape(tlkit.__version__), "VERSION"),
    (r"\b\d+(\.\d+)? (s\b|MB)", r"N \2"),
    (r"differ by up to \S+ \(mean [^)]+\)", "differ by up to N (mean N)"),
    (r"logit · \S+ [-+] [\d.]+", "logit · N + N"),
    (r"-?\b\d+\.\d{2,}(e-?\d+)?", "0.##"),  # the last digits are the processor's
    (r"\b\d+\.\d?e-\d+", "0.##"),
    (r"(?m)^(is '.*?' +)\d+( +)\d+ ", r"\1N\2N "),
    (r"fingerprint [0-9a-f]+", "fingerprint FINGERPRINT"),
)


def masked(text: str) -> str:
    for pattern, replacement in MASKS:
        text = re.sub(pattern, replacement, text)
    return text


@pytest.mark.parametrize(
    "words",
    [
        ["--version"],
        ["backbones"],
        ["audit", "discs"],
        ["audit", "with bad"],
        ["audit", "with bad", "--all", "--fail-on", "none"],
        ["audit", "cats and dogs", "--json"],
        [*TRAIN, *NETWORK],
        [*TRAIN, *NETWORK, "--folds", "3", "--threshold", "recall=0.9", "--test-fraction", "0.2"],
        ["train", "with bad", "-o", "new.keras", *NETWORK],
        ["evaluate", "discs.keras", "with bad"],
        ["evaluate", "discs.keras", "discs", "--threshold", "0.9", "--json"],
        ["evaluate", "discs.keras", "discs", "--against", "discs.keras", "--include-training"],
        ["evaluate", "discs.keras", "discs", "--against", "other.keras"],
        ["predict", "discs.keras", "discs/disc/01.jpg", "discs/not disc/00.jpg"],
        ["predict", "discs.keras", "with bad/disc/00.jpg", "nothing.jpg", "--json"],
        ["predict", "discs.keras", "with bad", "-o", "table.csv"],
        ["explain", "discs.keras", "discs/disc/01.jpg", "-o", "map.png"],
        ["labels", "discs.keras", "-o", "doubtful.csv"],
        ["report", "discs.keras", "-o", "page.html", "--heat-maps", "1"],
        ["export", "discs.keras", "-o", "exported", "--format", "onnx"],
    ],
    ids=shlex.join,
)
def test_success(transcript: Transcript, snapshot: SnapshotAssertion, words: list[str]) -> None:
    assert transcript(*words) == snapshot


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["tran"],
        # what is to be written
        ["train", "discs"],
        ["train", "discs", "-o", "new.h5"],
        ["train", "discs", "-o", "nowhere/new.keras"],
        ["train", "discs", "-o", f"{'n' * 250}.keras"],
        ["report", "discs.keras", "-o", f"{'n' * 251}.html"],
        ["predict", "discs.keras", "discs", "-o", f"{'n' * 252}.csv"],
        ["predict", "discs.keras", "discs", "-o", f"{'n' * 251}.csv"],
        ["predict", "discs.keras", "discs", "-o", "table.txt"],
        ["predict", "discs.keras", "discs", "-o", "table.csv", "--json"],
        ["predict", "discs.keras", "discs", "--resume"],
        ["predict", "discs.keras", "s3://bucket/discs", "-o", "table.csv"],
        ["predict", "discs.keras", "--ray", "discs"],
        ["export", "discs.keras", "-o", "discs"],
        ["export", "discs.keras", "-o", "n" * 256],
        # the folder
        ["train", "nothing", "-o", "new.keras", *NETWORK],
        ["train", "many", "-o", "new.keras", *NETWORK],
        ["train", "empty", "-o", "new.keras", *NETWORK],
        ["train", "with bad", "-o", "new.keras", *NETWORK, "--on-bad-file", "raise"],
        ["train", "cats and dogs", "-o", "new.keras", *NETWORK],
        [*TRAIN, *NETWORK, "--classes", "disc", "disk"],
        [*TRAIN, *NETWORK, "--positive-class", "dog"],
        [*TRAIN, *NETWORK, "--group-by", "("],
        [*TRAIN, *NETWORK, "--group-by", "nothing like it"],
        [*TRAIN, *NETWORK, "--validation-fraction", "0.6", "--test-fraction", "0.6"],
        [*TRAIN, *NETWORK, "--validation-fraction", "x"],
        ["audit", "nothing"],
        ["audit", "discs", "--fail-on", "leek"],
        ["evaluate", "discs.keras", "cats and dogs"],
        ["evaluate", "discs.keras", "discs", "--part", "val"],
        ["evaluate", "discs.keras", "discs", "--part", "vall"],
        ["report", "discs.keras", "nothing", "-o", "page.html"],
        ["export", "discs.keras", "-o", "exported 2", "--data", "nothing"],
        ["predict", "discs.keras", "empty"],
        # the model
        ["predict", "nothing.keras", "discs"],
        ["predict", "no model.keras", "discs"],
        # the network
        [*TRAIN, "--backbone", "MobilNet"],
        [*TRAIN, "--image-size", "8"],
        [*TRAIN, "--image-size", "big"],
        [*TRAIN, "--weights", "nothing.h5"],
        [*TRAIN, "--weights", "nothing.txt"],
        [*TRAIN, "--weights", "discs/disc/00.jpg"],
        [*TRAIN, "--option", "alpha"],
        [*TRAIN, "--option", "alpha=0"],
        [*TRAIN, "--option", "beta=1"],
        [*TRAIN, "--option", "weights=none"],
        # training
        [*TRAIN, *NETWORK, "--augmentation", "strong"],
        [*TRAIN, *NETWORK, "--folds", "1"],
        [*TRAIN, *NETWORK, "--folds", "100"],
        [*TRAIN, *NETWORK, "--seed", "-1"],
        [*TRAIN, *NETWORK, "--cache-dir", "discs.keras"],
        [*TRAIN, *NETWORK, "--checkpoint-dir", "discs.keras"],
        [*TRAIN, *NETWORK, "--checkpoint-dir", "~"],
        [*TRAIN, "--schedule", "fast"],
        [*TRAIN, *NETWORK, "--threshold", "best"],
        ["compare", "discs", "--candidate", "MobileNetV7"],
        ["compare", "discs", "--candidate", "tiny_random:weights=none.h5@24"],
        [*TRAIN, *NETWORK, "--threshold", "1.5"],
        [*TRAIN, *NETWORK, "--threshold", "recall"],
        [*TRAIN, *NETWORK, "--threshold", "recall=2"],
        [*TRAIN, *NETWORK, "--threshold", "cost=0:1"],
        [*TRAIN, "--features-dir", "f", "--workers", "2"],
        [*TRAIN, "--ray"],
        [*TRAIN, "--ray", "--schedule", "standard"],
        [*TRAIN, "--ray", "--cache-dir", "cache"],
        # insight
        ["explain", "discs.keras", "discs/disc/01.jpg"],
        ["explain", "discs.keras", "nothing.jpg", "-o", "map.png"],
        ["explain", "discs.keras", "discs/disc/01.jpg", "-o", "map.gif"],
        ["explain", "discs.keras", "discs/disc/01.jpg", "-o", "map.png", "--towards", "cat"],
        ["explain", "discs.keras", "discs/disc/01.jpg", "-o", "map.png", "--strength", "2"],
        ["labels", "nothing.keras"],
        # exports
        ["export", "discs.keras", "-o", "exported 2", "--format", "onnx", "--precision", "int8"],
        ["export", "discs.keras", "-o", "exported 2", "--tolerance", "-1"],
    ],
    ids=lambda words: masked(shlex.join(words)) or "nothing",
)
def test_error(
    transcript: Transcript,
    snapshot: SnapshotAssertion,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
) -> None:
    if "~" in words:
        monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # nobody's home
    assert transcript(*words) == snapshot


@pytest.mark.skipif(
    sys.version_info >= (3, 13), reason="argparse writes options differently from Python 3.13 on"
)
@pytest.mark.parametrize(
    "command",
    [
        "",
        "audit",
        "compare",
        "train",
        "evaluate",
        "predict",
        "explain",
        "labels",
        "suggest",
        "report",
        "export",
        "serve",
        "backbones",
    ],
)
def test_help(transcript: Transcript, snapshot: SnapshotAssertion, command: str) -> None:
    assert transcript(*filter(None, [command]), "--help") == snapshot
