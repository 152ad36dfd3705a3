"""The short scripts in examples/ print and write what they say, on drawn images and without a network."""

from __future__ import annotations

import csv
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import tlkit

EXAMPLES = Path(__file__).parents[1] / "examples"

pytestmark = pytest.mark.slow  # each is a process that starts TensorFlow


def run(folder: Path, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, EXAMPLES / script, *arguments, "--backbone", "tiny_random"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def mislabelled(drawn_folder: Path, tmp_path: Path) -> Path:
    """The drawn folder, with one disc among those without, and one file that is no image."""
    folder = Path(shutil.copytree(drawn_folder, tmp_path / "discs"))
    (folder / "disc" / "07.jpg").rename(folder / "not disc" / "wrong.jpg")
    (folder / "not disc" / "broken.jpg").write_text("<html>not found</html>")
    return folder


def test_own_folder_names_what_to_look_at(mislabelled: Path, tmp_path: Path) -> None:
    done = run(tmp_path, "own_folder.py", "discs", "-o", "discs.keras")

    assert done.returncode == 0, done.stderr
    assert re.search(r"unreadable +1 .*\n +not disc/broken\.jpg", done.stdout)
    assert "on 48 out-of-fold images" in done.stdout
    listed = done.stdout.partition("the most doubtful first:\n")[2].splitlines()
    assert listed[0].startswith("  not disc/wrong.jpg: labelled 'not disc'")
    classifier = tlkit.TransferClassifier.load(tmp_path / "discs.keras")
    assert classifier.predict(mislabelled / "disc" / "00.jpg").label == "disc"


def test_precise_keeps_its_promise_and_writes_a_row_an_image(
    drawn_folder: Path, tmp_path: Path
) -> None:
    done = run(tmp_path, "precise.py", str(drawn_folder), str(drawn_folder), "--precision", "0.9")

    assert done.returncode == 0, done.stderr
    chosen = re.search(r"threshold ([\d.]+) for precision of at least 0\.9,", done.stdout)
    assert chosen
    with (tmp_path / "predictions.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 48
    assert {row["positive_class"] for row in rows} == {"disc"}
    called = [row for row in rows if row["label"] == "disc"]
    assert called
    assert min(float(row["probability_of_disc"]) for row in called) >= float(chosen[1]) - 0.01
    right = sum("/disc/" in row["path"] for row in called)
    assert right / len(called) >= 0.9
    assert "predictions.csv: 48 images: " in done.stdout
    assert re.search(rf"\b{len(called)} disc\b", done.stdout)


def test_precise_says_what_can_be_reached(drawn_folder: Path, tmp_path: Path) -> None:
    """Every image is under both labels: no threshold is right more than half of the time."""
    folder = tmp_path / "mixed"
    for number, file in enumerate(sorted(drawn_folder.rglob("*.jpg"))):
        for class_name in ("a", "b"):
            place = folder / class_name
            place.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, place / f"{number}.jpg")

    done = run(tmp_path, "precise.py", "mixed", "mixed", "--precision", "0.99")

    assert done.returncode == 1
    assert "precise.py: " in done.stderr
    assert "0.99" in done.stderr
    assert not (tmp_path / "predictions.csv").exists()
