"""What the environment may be like: Keras set to something else, no home folder, an old locale, threads."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import warnings
from pathlib import Path
from typing import NoReturn

import pytest

from tlkit import DatasetSpec
from tlkit.backbones import weights
from tlkit.backbones.imagenet import KerasFile
from tlkit.backbones.onnx_engine import VARIABLE, fast_engine
from tlkit.core import keras_backend
from tlkit.core.home import expanded, keras_home
from tlkit.core.ignoring import ignoring
from tlkit.core.keras_backend import check_keras
from tlkit.errors import SettingError
from tlkit.features.run_folders import RunFolders

pwd = pytest.importorskip("pwd", reason="homes, locales and names as POSIX has them")

# Keras


def test_the_library_refuses_another_backend_before_it_is_loaded() -> None:
    code = """
import os, sys, numpy as np
from tlkit import AugmentationPolicy, BackboneAdapter
from tlkit.errors import SettingError
pixels = np.zeros((8, 8, 3), np.uint8)
for work in (BackboneAdapter("tiny_random").build, lambda: AugmentationPolicy.standard().views(pixels, 2)):
    try:
        work()
    except SettingError as error:
        print("keras" in sys.modules, "KERAS_BACKEND names the backend 'torch'" in str(error))
"""
    environment = {**os.environ, "KERAS_BACKEND": "torch"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == "False True\n" * 2


def test_a_keras_that_runs_on_something_else_already_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import keras

    check_keras()
    monkeypatch.setattr(keras.config, "backend", lambda: "jax")
    with pytest.raises(SettingError, match=r"loaded with the backend 'jax': .* start Python again"):
        check_keras()


@pytest.mark.parametrize("content", ["", "[]", "{", '{"backend": "tensorflow"}', '{"epsilon": 1}'])
def test_settings_of_keras_that_name_no_backend_are_its_own_business(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    assert keras_backend._written(keras_backend._settings_file()) == "tensorflow"
    (tmp_path / "keras.json").write_text(content)
    assert keras_backend._written(keras_backend._settings_file()) == "tensorflow"


# No home


@pytest.fixture
def homeless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user whom the system does not know, in an empty working directory."""

    def unknown(_uid: object) -> NoReturn:
        raise KeyError("getpwuid(): uid not found")

    for variable in ("HOME", "KERAS_HOME", "USERPROFILE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert keras_home() is None
    return tmp_path / "here"


def test_a_path_at_home_is_refused_by_name(homeless: Path) -> None:
    for work in (
        lambda: DatasetSpec("~/discs"),
        lambda: RunFolders.open({}, "~/cache", None),
        lambda: RunFolders.open({}, None, Path("~")),
        lambda: weights.content_digest(Path("~/weights.h5")),
        lambda: expanded("data", "~/discs"),
    ):
        with pytest.raises(SettingError, match="begins with ~, but this user has no home folder"):
            work()
    assert expanded("data", "~somebody/discs") == Path("~somebody/discs"), "a name like any other"
    assert list(homeless.iterdir()) == []


def test_there_is_no_cache_without_a_home(
    homeless: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxruntime")

    def engine() -> object:
        return fast_engine(lambda: ("facts",), 10**9, pytest.fail, pytest.fail)

    assert keras_home() is None
    monkeypatch.setenv(VARIABLE, "auto")
    assert engine() is None
    monkeypatch.setenv(VARIABLE, "onnxruntime")
    with pytest.raises(SettingError, match="this user has none: set KERAS_HOME"):
        engine()
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path))
    kept = tmp_path / ".keras" / "models" / "weights.h5"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"weights")
    file = KerasFile("https://example.invalid/weights.h5", "weights.h5")
    assert weights.fetched(file, network="a network") == kept
    assert list(homeless.iterdir()) == []


# A locale without UTF-8


def test_names_are_read_as_the_utf_8_that_they_are(tmp_path: Path) -> None:
    from PIL import Image

    for class_name in ("альпака", "не альпака"):
        (tmp_path / class_name).mkdir()
        Image.new("RGB", (8, 8)).save(tmp_path / class_name / "фото 🦙.png")
    (tmp_path / "альпака" / os.fsdecode(b"latin \xe4.png")).touch()
    code = """
import sys
from tlkit.data.dataset import DatasetSpec
from tlkit.delivery.prediction_files import read_listing, write_listing
from pathlib import Path
assert sys.getfilesystemencoding() in ("ascii", "iso8859-1"), sys.getfilesystemencoding()
listing = DatasetSpec(sys.argv[1]).listing()
print(ascii(listing.class_names), ascii([e.name for e in listing.examples]))
print([e.path.exists() for e in listing.examples])
target = Path(sys.argv[2])
write_listing(sys.argv[1], target)
print([Path(path).exists() for path in read_listing(target)])
"""
    old = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C"}
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path), str(tmp_path / "listing")],
        env={**os.environ, **old},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    names = [example.name for example in DatasetSpec(tmp_path).listing().examples]
    assert len(names) == 3
    expected = f"{('альпака', 'не альпака')!a} {names!a}\n{[True] * 3}\n{[True] * 3}\n"
    assert done.stdout == expected


# Threads


def test_threads_leave_the_filters_of_warnings_as_they_were() -> None:
    """The second comes before the first goes, and goes after it: with catch_warnings alone all is lost."""
    before = [*warnings.filters]
    first_is_in, second_may_go = threading.Event(), threading.Event()

    def first() -> None:
        with ignoring(UserWarning, "one"):
            first_is_in.set()
            second_may_go.wait(0.2)  # in vain, if the other has to wait for this one

    def second() -> None:
        first_is_in.wait(5)
        with ignoring(UserWarning, "two"):
            second_may_go.set()
            threads[0].join(0.2)

    threads = [threading.Thread(target=work) for work in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert warnings.filters == before
