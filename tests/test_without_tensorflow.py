"""The second image of the container page: tlkit with the packages that the page lists, and nothing else."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

import tlkit
from tlkit import TransferClassifier

PAGE = Path(__file__).parents[1] / "docs" / "how-to" / "container.md"
GOLDEN = Path(__file__).parent / "golden" / "v1-folds.keras"
SECONDS = 300


def listed() -> list[list[str]]:
    """Return what the page installs beside tlkit: for prediction, and besides for the server."""
    text = PAGE.read_text("utf-8")
    (needs,) = re.findall(
        r"--no-deps /dist/\*\.whl && \\\n +pip install [-\w ]*--compile (.*)\n", text
    )
    (more,) = re.findall(r"it adds\s+`([\w -]+)`", text)
    return [needs.split(), more.split()]


def test_what_needs_keras_says_so_in_one_sentence(tmp_path: Path, drawn_folder: Path) -> None:
    code = (
        "import sys\n"
        "sys.modules['tensorflow'] = sys.modules['keras'] = None\n"
        "from tlkit.cli.app import main\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    photo = str(drawn_folder / "disc" / "00.jpg")
    for words in (
        ("predict", str(GOLDEN), photo),
        ("evaluate", str(GOLDEN), str(drawn_folder)),
        ("serve", str(GOLDEN), "--port", "0"),
        ("train", str(drawn_folder), "-o", str(tmp_path / "new.keras")),
        ("backbones",),
    ):
        done = subprocess.run(
            [sys.executable, "-c", code, *words],
            capture_output=True, text=True, check=False, timeout=SECONDS,
        )  # fmt: skip
        if words == ("backbones",):
            assert done.returncode == 0, done.stderr
            continue
        assert done.returncode == 1
        said = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
        assert len(said) == 1, done.stderr
        assert "keras is not installed: pip install tensorflow keras" in said[0]
        assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_the_packages_of_the_page_are_enough(
    classifier: TransferClassifier, drawn_folder: Path, tmp_path: Path
) -> None:
    needs, more = listed()
    assert "onnxruntime" in needs
    place = tmp_path / "environment"
    venv.create(place, with_pip=True)
    python = place / "bin" / "python"
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    done = subprocess.run(
        [*pip, *needs, *more], capture_output=True, text=True, check=False, timeout=SECONDS
    )
    if done.returncode:
        pytest.skip(f"pip reaches nothing: {done.stderr.strip().splitlines()[-1]}")
    site = sysconfig.get_path("purelib", vars={"base": str(place)})
    shutil.copytree(
        Path(tlkit.__file__).parent, Path(site, "tlkit")
    )  # as --no-deps leaves it: alone
    folder = tmp_path / "discs-onnx"
    tlkit.export(classifier, folder, format="onnx")
    table = tmp_path / "table.csv"
    photo = drawn_folder / "disc" / "00.jpg"
    for words in (
        ("predict", folder, photo),
        ("predict", folder, drawn_folder, "-o", table),
        ("evaluate", folder, drawn_folder),
        ("--help",),
        ("serve", "--help"),
    ):
        done = subprocess.run(
            [python, "-m", "tlkit", *words],
            capture_output=True, text=True, check=False, timeout=SECONDS, cwd=tmp_path,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    assert len(table.read_text("utf-8").splitlines()) == 49
    done = subprocess.run(
        [python, "-m", "tlkit", "predict", GOLDEN, photo],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "keras is not installed" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    asking = f"""
import subprocess, sys, urllib.request
words = "-m", "tlkit", "serve", {str(folder)!r}, "--port", "0"
server = subprocess.Popen([sys.executable, *words], stdout=subprocess.PIPE, text=True)
address = server.stdout.readline().split()[-1]
photo = open({str(photo)!r}, "rb").read()
print(urllib.request.urlopen(address + "predict", data=photo, timeout=60).read().decode())
server.terminate()
assert server.wait(60) == 143
"""
    done = subprocess.run(
        [python, "-c", asking], capture_output=True, text=True, check=False, timeout=SECONDS
    )
    assert '"label":"disc"' in done.stdout, done.stderr
    there = subprocess.run([*pip[:3], "list"], capture_output=True, text=True, check=True).stdout
    assert not re.search(r"tensorflow|keras", there, re.IGNORECASE)
    size = sum(file.lstat().st_size for file in Path(site).rglob("*") if file.is_file())
    assert size < 400e6  # TensorFlow alone takes 1,500
