"""Weights: from files that fit or do not, and from a network that answers or does not."""

from __future__ import annotations

import hashlib
import io
import sys
import tempfile
import time
import urllib.error
import urllib.request
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import h5py
import keras
import numpy as np
import pytest
from networks import output, pixels, saved

from tlkit.backbones import weights as weights_room
from tlkit.backbones.adapter import BackboneAdapter
from tlkit.backbones.catalogue import CATALOGUE
from tlkit.backbones.efficientnet_lite import LITE
from tlkit.backbones.imagenet import KerasFile, keras_file
from tlkit.errors import WeightsError

# Keras 3.15 saves variables in a way that NumPy 2.4 calls out of date.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


# --- Weights from a file ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained() -> keras.Model:
    """tiny_random with every number moved, so that loading can be told from not loading."""
    base = BackboneAdapter("tiny_random").build().base
    base.set_weights([np.asarray(value) + 0.01 for value in base.get_weights()])
    return base


@pytest.mark.parametrize("name", ["w.weights.h5", "w.h5", "w.hdf5", "w.keras"])
def test_every_kind_of_weights_file_loads(trained: keras.Model, tmp_path: Path, name: str) -> None:
    path = saved(trained, tmp_path / name)
    adapter = BackboneAdapter("tiny_random", weights=str(path))
    for got, wanted in zip(adapter.build().base.get_weights(), trained.get_weights(), strict=True):
        np.testing.assert_array_equal(got, wanted)


def test_the_fingerprint_follows_the_content_of_the_file(
    trained: keras.Model, tmp_path: Path
) -> None:
    one, two = saved(trained, tmp_path / "a.weights.h5"), tmp_path / "b.weights.h5"
    two.write_bytes(one.read_bytes())
    first = BackboneAdapter("tiny_random", weights=one).fingerprint()
    assert BackboneAdapter("tiny_random", weights=two).fingerprint() == first
    two.write_bytes(one.read_bytes() + b" ")
    assert BackboneAdapter("tiny_random", weights=two).fingerprint() != first


def test_a_missing_weights_file_is_named_when_the_network_is_built(tmp_path: Path) -> None:
    adapter = BackboneAdapter("tiny_random", weights=tmp_path / "no\nfile.weights.h5")
    for action in (adapter.build, adapter.fingerprint):
        with pytest.raises(WeightsError, match=r"no\\nfile.weights.h5 is not a file"):
            action()


@pytest.mark.parametrize("content", ["half", "text", "empty"])
@pytest.mark.parametrize("name", ["w.weights.h5", "w.h5"])
def test_a_damaged_weights_file_is_named(
    trained: keras.Model, tmp_path: Path, content: str, name: str
) -> None:
    whole = saved(trained, tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(
        {"half": whole[: len(whole) // 2], "text": b"<html>404</html>", "empty": b""}[content]
    )
    with pytest.raises(WeightsError, match=rf"{name}: weights must be a whole HDF5 file"):
        BackboneAdapter("tiny_random", weights=tmp_path / name).build()


def test_a_damaged_keras_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "w.keras").write_bytes(b"<html>404</html>")
    with pytest.raises(WeightsError, match=r"w.keras does not fit tiny_random\(\)"):
        BackboneAdapter("tiny_random", weights=tmp_path / "w.keras").build()


@pytest.mark.parametrize("name", ["w.weights.h5", "w.h5"])
def test_weights_of_another_width_say_which_layer_differs(tmp_path: Path, name: str) -> None:
    wide = BackboneAdapter("MobileNetV2", image_size=32, weights=None, alpha=0.5).build().base
    path = saved(wide, tmp_path / name)
    adapter = BackboneAdapter("MobileNetV2", image_size=32, weights=path, alpha=1.0)
    with pytest.raises(WeightsError) as caught:
        adapter.build()
    message = str(caught.value)
    assert f"{path} does not fit MobileNetV2(alpha=1.0)" in message
    assert "Conv1" in message
    assert "(3, 3, 3, 32)" in message
    assert "(3, 3, 3, 16)" in message
    assert len(message) < 700


def test_weights_of_another_network_do_not_fit(tmp_path: Path) -> None:
    base = BackboneAdapter("MobileNetV2", image_size=32, weights=None, alpha=0.35).build().base
    for name in ("w.weights.h5", "w.h5"):
        path = saved(base, tmp_path / name)
        with pytest.raises(WeightsError, match=r"does not fit tiny_random\(\)"):
            BackboneAdapter("tiny_random", weights=path).build()


def test_weights_that_leave_a_layer_out_do_not_fit(trained: keras.Model, tmp_path: Path) -> None:
    path = saved(trained, tmp_path / "w.weights.h5")
    with h5py.File(path, "r+") as file:
        variables = file["layers/batch_normalization/vars"]
        variables["0"][...] = np.nan
    with pytest.raises(WeightsError, match=r"stem_bn/gamma \(16,\) without numbers"):
        BackboneAdapter("tiny_random", weights=path).build()


def test_weights_with_a_top_say_so(tmp_path: Path) -> None:
    whole = keras.applications.MobileNetV2(
        weights=None, alpha=0.35, input_shape=(32, 32, 3), classes=2
    )
    path = saved(whole, tmp_path / "top.h5")
    adapter = BackboneAdapter("MobileNetV2", image_size=32, weights=path, alpha=0.35)
    with pytest.raises(WeightsError, match="with its classification top"):
        adapter.build()


def test_weights_under_the_wrong_ending_say_so(trained: keras.Model, tmp_path: Path) -> None:
    new = saved(trained, tmp_path / "new.weights.h5").rename(tmp_path / "new.h5")
    old = saved(trained, tmp_path / "old.h5").rename(tmp_path / "old.weights.h5")
    with pytest.raises(WeightsError, match=r"rename it so that its name ends in .weights.h5"):
        BackboneAdapter("tiny_random", weights=new).build()
    with pytest.raises(WeightsError, match=r"rename it so that its name ends in .h5 alone"):
        BackboneAdapter("tiny_random", weights=old).build()


@pytest.mark.slow
@pytest.mark.parametrize("statistics", ["imagenet", "none"])
def test_efficientnet_from_a_file_is_the_network_of_that_file(
    tmp_path: Path, statistics: str
) -> None:
    """Keras builds one more layer for "imagenet" than for a copy of the very file that it downloads."""
    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    plain = BackboneAdapter("EfficientNetB0", image_size=32, weights=None).build().base
    if statistics == "imagenet":
        normalization = next(x for x in plain.layers if isinstance(x, keras.layers.Normalization))
        normalization.set_weights(
            [mean, deviation, np.array(0)]
        )  # variance: as the file has it, not squared
        normalization.finalize_state()
    path = saved(plain, tmp_path / "w.weights.h5")
    base = BackboneAdapter("EfficientNetB0", image_size=32, weights=path).build().base
    x = pixels((32, 32))
    if statistics == "imagenet":
        assert len(base.layers) == len(plain.layers) + 1
        x = (255 * (mean + (x / 255 - mean) / np.sqrt(deviation))).astype(np.float32)
    got, wanted = output(base, pixels((32, 32))), output(plain, x)
    np.testing.assert_allclose(got, wanted, rtol=1e-3, atol=1e-5)


def test_real_weights_load(weights_dir: Path) -> None:
    path = weights_dir / "mobilenet_v2_0.35_224_no_top.weights.h5"
    network = BackboneAdapter("MobileNetV2", image_size=96, weights=path, alpha=0.35).build()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Skipping nested container")
        theirs = keras.applications.MobileNetV2(
            alpha=0.35, include_top=False, input_shape=(96, 96, 3), weights=str(path)
        )
    x = pixels((96, 96))
    np.testing.assert_array_equal(output(network.base, x / 255), output(theirs, x / 255))
    with pytest.raises(WeightsError, match=r"does not fit MobileNetV2\(\)"):
        BackboneAdapter("MobileNetV2", image_size=96, weights=path).build()


# --- Weights from the network -------------------------------------------------------------------------

CACHED = "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_0.35_96_no_top.h5"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty Keras cache of our own."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / "keras" / "models").mkdir(parents=True)
    return tmp_path / "keras" / "models"


def mobilenet() -> BackboneAdapter:
    return BackboneAdapter("MobileNetV2", image_size=96, alpha=0.35)


def test_weights_that_cannot_be_downloaded(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    with pytest.raises(WeightsError) as caught:
        mobilenet().build()
    message = str(caught.value)
    assert "MobileNetV2(alpha=0.35)" in message
    assert "no route to host" in message
    assert (
        f"https://storage.googleapis.com/tensorflow/keras-applications/mobilenet_v2/{CACHED}"
        in message
    )
    assert str(cache / CACHED) in message
    assert "weights='path/to/file.h5'" in message
    assert "weights=None" in message
    assert len(message) < 700


def test_the_wait_for_a_silent_server_is_bounded(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(urllib.request, "urlopen", lambda *_, **__: time.sleep(8))
    monkeypatch.setattr(weights_room, "WAIT_SECONDS", 0.1)
    started = time.monotonic()
    with pytest.raises(WeightsError, match=r"no answer within 0\.1 seconds"):
        mobilenet().build()
    assert time.monotonic() - started < 6
    assert not (cache / CACHED).exists()


def answer(content: bytes, *, length: int) -> io.BytesIO:
    """What a server sends that promises so many bytes."""
    sent = io.BytesIO(content)
    sent.headers = {"Content-Length": str(length)}  # type: ignore[attr-defined]
    return sent


def test_a_download_that_stops_ends_too(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    class Stops(io.BytesIO):
        headers: ClassVar = {"Content-Length": "9"}

        def read(self, _size: int | None = -1, /) -> bytes:
            raise TimeoutError("The read operation timed out")

    def broken(_url: str, *, timeout: float) -> Stops:
        seen.append(timeout)
        return Stops()

    monkeypatch.setattr(weights_room, "_wait_for_answer", lambda *_: None)
    monkeypatch.setattr(urllib.request, "urlopen", broken)
    with pytest.raises(WeightsError, match="The read operation timed out"):
        mobilenet().build()
    assert seen == [10.0]
    assert list(cache.iterdir()) == []


def test_a_download_that_ends_too_early_leaves_nothing(
    cache: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(weights_room, "_wait_for_answer", lambda *_: None)
    monkeypatch.setattr(urllib.request, "urlopen", lambda *_, **__: answer(b"half", length=8))
    with pytest.raises(WeightsError, match="it stopped after 4 of 8 bytes"):
        mobilenet().build()
    assert list(cache.iterdir()) == []
    assert capfd.readouterr() == ("", "")


def test_a_truncated_download_in_the_cache_is_named(cache: Path) -> None:
    base = BackboneAdapter("MobileNetV2", image_size=96, weights=None, alpha=0.35).build().base
    whole = saved(base, cache / CACHED).read_bytes()
    (cache / CACHED).write_bytes(whole[:-1000])
    with pytest.raises(WeightsError, match=rf"{CACHED}: .*delete it, and Keras downloads it again"):
        mobilenet().build()


def test_a_whole_download_in_the_cache_is_used(cache: Path) -> None:
    base = BackboneAdapter("MobileNetV2", image_size=96, weights=None, alpha=0.35).build().base
    wanted = [value + 0.01 for value in base.get_weights()]
    base.set_weights(wanted)
    saved(base, cache / CACHED)
    for got, value in zip(mobilenet().build().base.get_weights(), wanted, strict=True):
        np.testing.assert_array_equal(got, value)


def test_the_fingerprint_follows_the_content_of_the_cache(cache: Path) -> None:
    """The file of another download, or one that somebody put there, are other weights."""
    (cache / CACHED).write_bytes(b"one")
    one = mobilenet().fingerprint()
    assert mobilenet().fingerprint() == one
    (cache / CACHED).write_bytes(b"two")
    assert mobilenet().fingerprint() != one
    (cache / CACHED).rename(cache / "same.h5")
    same = BackboneAdapter("MobileNetV2", image_size=96, alpha=0.35, weights=cache / "same.h5")
    (cache / CACHED).write_bytes(b"two")
    assert mobilenet().fingerprint() == same.fingerprint()


def test_the_fingerprint_waits_for_the_download(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A word in its place would be another fingerprint as soon as the file is there."""

    asked: list[str] = []

    def download(url: str, **_: object) -> io.BytesIO:
        asked.append(url)
        return answer(b"one", length=3)

    monkeypatch.setattr(weights_room, "_wait_for_answer", lambda *_: None)
    monkeypatch.setattr(urllib.request, "urlopen", download)
    first = mobilenet().fingerprint()
    assert mobilenet().fingerprint() == first
    assert [url.rpartition("/")[2] for url in asked] == [CACHED]
    assert (cache / CACHED).read_bytes() == b"one"


def test_a_download_that_keras_knows_by_its_hash_is_checked(cache: Path) -> None:
    name = "efficientnetb0_notop.h5"
    (cache / name).write_bytes(b"something else")
    adapter = BackboneAdapter("EfficientNetB0", image_size=32)
    for action in (adapter.fingerprint, adapter.build):
        with pytest.raises(
            WeightsError,
            match=rf"{name} is not the file that Keras knows \(its md5 must be 50bc.*delete it",
        ):
            action()
    assert (cache / name).exists(), "it is the user's to delete"
    digest = hashlib.md5(b"something else").hexdigest()
    file = KerasFile("https://example.invalid/x", name, digest)
    assert weights_room.fetched(file, network="x") == cache / name


def test_where_keras_may_not_write_it_uses_the_temporary_folder(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "file" / "keras"))
    monkeypatch.setattr(urllib.request, "urlopen", lambda *_, **__: time.sleep(1))
    monkeypatch.setattr(weights_room, "WAIT_SECONDS", 0.0)
    instead = tmp_path / ".keras" / "models" / CACHED
    with pytest.raises(WeightsError, match=f"Keras's cache as {instead}"):
        mobilenet().build()
    instead.parent.mkdir(parents=True, exist_ok=True)
    (cache / CACHED).write_bytes(b"one")
    (cache / CACHED).rename(instead)
    assert mobilenet().fingerprint()


FILES: list[tuple[str, dict[str, Any], int | tuple[int, int]]] = [
    *(("MobileNet", {}, size) for size in (96, 128, 160, 192, 224, (128, 160), 331)),
    *(("MobileNet", {"alpha": alpha}, 224) for alpha in (0.25, 0.5, 0.75)),
    *(("MobileNetV2", {}, size) for size in (96, 128, 160, 192, 224, (96, 128), 331)),
    *(("MobileNetV2", {"alpha": alpha}, 96) for alpha in (0.35, 0.5, 0.75, 1.3, 1.4)),
    *((f"MobileNetV3{kind}", {}, 96) for kind in ("Large", "Small")),
    *((f"MobileNetV3{kind}", {"alpha": 0.75}, 224) for kind in ("Large", "Small")),
    *((f"MobileNetV3{kind}", {"minimalistic": True}, 224) for kind in ("Large", "Small")),
]
FILES += [
    (name, {}, 224) for name in sorted(set(CATALOGUE) - set(LITE) - {name for name, *_ in FILES})
]
ENTIRE = ("MobileNet", "MobileNetV3Small")
"""Networks that are built, to see that their layers have no part in which file is asked for."""


class AskedError(Exception):
    """What would be downloaded: name, address and hash."""


class NoLayers:
    """Stands for `keras.layers` where a network is put together: its layers return what they are given."""

    Input = staticmethod(keras.layers.Input)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.islower():  # layers.add([x, y])
            return lambda tensors, **_: tensors[0]
        return lambda *_, **__: lambda x, **_: x[0] if isinstance(x, list) else x


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks Keras for a file gets an error that says for which."""
    from keras.src.utils import file_utils  # where keras.applications has its get_file from

    def ask(fname: str, origin: str, *, cache_subdir: str, file_hash: str | None = None) -> None:
        assert cache_subdir == "models"
        raise AskedError(fname, origin, file_hash)

    monkeypatch.setattr(file_utils, "get_file", ask)


def check_file(name: str, options: dict[str, Any], size: int | tuple[int, int]) -> None:
    """Compare the table with what Keras asks for."""
    height, width = (size, size) if isinstance(size, int) else size
    with pytest.raises(AskedError) as caught:
        getattr(keras.applications, name)(
            include_top=False, input_shape=(height, width, 3), **options
        )
    file = keras_file(name, options, (height, width))
    assert caught.value.args == (file.name, file.url, file.hash)


@pytest.mark.usefixtures("asked")
@pytest.mark.filterwarnings("ignore:`input_shape` is undefined or non-square")
@pytest.mark.parametrize(("name", "options", "image_size"), FILES)
def test_the_table_of_files_is_that_of_the_installed_keras(
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    options: dict[str, Any],
    image_size: int | tuple[int, int],
) -> None:
    without = {"layers": NoLayers(), "Functional": lambda *_, **__: None}
    without |= {word: getattr(without["layers"], word) for word in ("Sequential", "LayerScale")}
    rooms = [room for key, room in sys.modules.items() if key.startswith("keras.src.applications.")]
    for room in rooms:
        for word, instead in without.items():
            if hasattr(room, word):
                monkeypatch.setattr(room, word, instead)
    check_file(name, options, image_size)


@pytest.mark.usefixtures("asked")
@pytest.mark.parametrize("name", ENTIRE)
def test_a_network_with_its_layers_asks_for_the_same_file(name: str) -> None:
    check_file(name, {}, 224)


def test_sizes_without_weights_of_their_own_do_not_warn(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keras warns at 100 pixels that it takes the weights of 224; the adapter documents it instead."""
    monkeypatch.setattr(weights_room, "WAIT_SECONDS", 0.0)
    monkeypatch.setattr(urllib.request, "urlopen", lambda *_, **__: time.sleep(1))
    with pytest.raises(WeightsError, match=r"_0\.35_224_no_top\.h5"):
        BackboneAdapter("MobileNetV2", image_size=100, alpha=0.35).build()
    assert not list(cache.iterdir())
