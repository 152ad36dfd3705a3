"""What all tests share: where the real data is, and a small folder of generated images."""

from __future__ import annotations

import gc
import os
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

# TensorFlow reads this when it is first imported; its start-up lines would drown a failing test's output.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
if "PYTEST_XDIST_WORKER" in os.environ:  # a worker for each core: more threads would share cores
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # read when NumPy is imported

import numpy as np
import pytest
from PIL import Image

from tlkit import (
    BackboneAdapter,
    DatasetSpec,
    FineTuneSchedule,
    TransferClassifier,
    transfer_classifier,
)

COSTLY = {
    *("artifact", "cli", "compare", "contract", "cross_validation", "deciding", "exported", "exporting"),
    *("finetune", "onnx_engine", "predictions", "report", "resume", "scale", "transfer", "unfamiliar"),
}  # fmt: skip
"""What the files test of which even the default tests take half a minute."""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files that take longest first, so that none is left for one worker at the end.

    Workers take files in this order with `--no-loadscope-reorder`.
    """
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(
        key=lambda item: (-slow[item.path], item.path.stem.removeprefix("test_") not in COSTLY)
    )


def pytest_collection_finish() -> None:
    """Spare the garbage collector what was imported: TensorFlow alone is a million objects.

    Tracing makes so many more that it would look through all of them again and again.
    """
    gc.freeze()


def folder_named_by(variable: str) -> Path:
    """Return the folder that an environment variable names; skip the test where there is none."""
    value = os.environ.get(variable)
    if not value:
        pytest.skip(f"needs real data: set {variable}")
    folder = Path(value)
    if not folder.is_dir():
        pytest.fail(f"{variable} is {value!r}, which is not a folder")
    return folder


@pytest.fixture(scope="session")
def alpaca_dir() -> Path:
    """The 142 + 185 alpaca / not alpaca photographs. Read-only."""
    return folder_named_by("TLKIT_ALPACA_DIR")


@pytest.fixture(scope="session")
def weights_dir() -> Path:
    """Real ImageNet weights of MobileNetV2, alpha 0.35 and 1.0. Read-only."""
    return folder_named_by("TLKIT_WEIGHTS_DIR")


@pytest.fixture(scope="session")
def drawn_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 + 24 JPEGs of 48 px: `disc` has a warm disc somewhere, `not disc` has none. Read-only.

    Easy enough that a linear head on a small network with random weights learns it.
    """
    folder = tmp_path_factory.mktemp("drawn")
    for label, class_name in enumerate(("not disc", "disc")):
        (folder / class_name).mkdir()
        for number in range(24):
            image = _image(np.random.default_rng((label, number)), with_disc=label == 1)
            image.save(folder / class_name / f"{number:02d}.jpg", quality=92)
    return folder


@pytest.fixture(scope="session")
def passes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A `cache_dir` for tests of what is learned, which need not run the same images through each time."""
    return tmp_path_factory.mktemp("passes")


@pytest.fixture(scope="session")
def classifier(drawn_folder: Path) -> TransferClassifier:
    """A small classifier of the drawn folder, with a validation and a test split."""
    return transfer_classifier(
        DatasetSpec(drawn_folder, validation_fraction=0.2, test_fraction=0.2),
        backbone=BackboneAdapter("tiny_random"),
        schedule=FineTuneSchedule.head_only(),
    )


_OPENED: list[list[str]] = []
"""A list for each test that watches; an audit hook cannot be taken away again."""


def _watch(event: str, arguments: tuple[object, ...]) -> None:
    if event == "open" and _OPENED and isinstance(arguments[0], str | os.PathLike):
        for paths in _OPENED:
            paths.append(os.fspath(arguments[0]))


sys.addaudithook(_watch)


@pytest.fixture
def opened() -> Iterator[list[str]]:
    """The paths of the files that were opened since the test began, in order, by whatever thread."""
    paths: list[str] = []
    _OPENED.append(paths)
    yield paths
    _OPENED.remove(paths)


def _image(rng: np.random.Generator, *, with_disc: bool) -> Image.Image:
    side = 48
    pixels = rng.uniform(70, 130) + rng.uniform(-8, 8, 3) + rng.normal(0, 6, (side, side, 3))
    if with_disc:
        x, y = rng.uniform(14, 34, 2)
        rows, columns = np.mgrid[:side, :side]
        pixels[(rows - y) ** 2 + (columns - x) ** 2 < rng.uniform(12, 16) ** 2] += (110, 40, -70)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
