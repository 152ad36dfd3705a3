"""ONNX Runtime runs the frozen part where it pays, gives TensorFlow's numbers, and is dropped where not."""

from __future__ import annotations

import os
import shutil
import sys
import warnings
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt
import pytest

from tlkit import (
    BackboneAdapter,
    DatasetSpec,
    FineTuneSchedule,
    Phase,
    Prediction,
    TransferClassifier,
    transfer_classifier,
)
from tlkit.backbones import onnx_engine as rooms
from tlkit.backbones.engines import TensorFlowEngine
from tlkit.backbones.onnx_engine import VARIABLE, OnnxEngine, fast_engine, multiply_adds
from tlkit.errors import EngineWarning, MissingExtraError, SettingError

pytest.importorskip("onnxruntime")
pytest.importorskip("tf2onnx")

NETWORK = BackboneAdapter("tiny_random").build()
IMAGES = np.random.default_rng(0).integers(256, size=(6, 32, 32, 3), dtype=np.uint8)
HEAD = FineTuneSchedule.head_only()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A place for graphs that is empty, whatever this machine has converted before."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.delenv(VARIABLE, raising=False)
    return tmp_path / "keras" / "tlkit" / "graphs"


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The graph of the tiny network, converted; it is copied where a test needs it to be there before."""
    folder = tmp_path_factory.mktemp("once")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KERAS_HOME", str(folder))
        patch.delenv(VARIABLE, raising=False)
        assert asked(10**12) is not None
    return folder / "tlkit" / "graphs"


@pytest.fixture
def converted(home: Path, once: Path) -> Path:
    """A place for graphs that holds the one of the tiny network already."""
    shutil.copytree(once, home)
    return home


def asked(count: int = 10, name: str = "a network") -> OnnxEngine | None:
    """Ask for an engine of the tiny network, for so many images."""
    return fast_engine(lambda: (name,), count, lambda: NETWORK.model, lambda: IMAGES[:2])


def forbidden(*_: object) -> NoReturn:
    raise AssertionError("there was nothing to convert")


def largest_difference(first: npt.NDArray[Any], second: npt.NDArray[Any]) -> float:
    return float(np.abs(first - second).max() / np.abs(second).max())


@pytest.mark.parametrize("kind", [(True, False), (False, True), (True, True)])
def test_gives_the_numbers_of_tensorflow(
    home: Path, monkeypatch: pytest.MonkeyPatch, kind: tuple[bool, bool]
) -> None:
    monkeypatch.setenv(VARIABLE, "onnxruntime")
    cut = NETWORK.cut_below(len(NETWORK.base.layers) - 2)
    assert cut is not None
    model = NETWORK.frozen(cut, features=kind[0]) if kind[1] else NETWORK.features()
    engine = fast_engine(lambda: kind, 1, lambda: model, lambda: IMAGES[:2])
    reference = TensorFlowEngine(model)
    assert engine is not None
    assert engine.parameters == reference.parameters
    outputs = zip(engine(IMAGES), reference(IMAGES), strict=True)
    assert all(largest_difference(ours, theirs) < 1e-4 for ours, theirs in outputs)
    assert len(list(home.iterdir())) == 1


def test_few_images_are_not_worth_a_conversion(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    enough = int(rooms.WORTH / multiply_adds(NETWORK.model)) + 1
    with monkeypatch.context() as patched:
        patched.setattr(rooms, "_convert", forbidden)
        assert asked(enough - 1) is None
    assert not home.exists()
    assert isinstance(asked(enough), OnnxEngine)


def test_what_was_converted_before_serves_few_images(
    converted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert isinstance(asked(1), OnnxEngine)
    monkeypatch.setattr(rooms, "_convert", forbidden)
    assert isinstance(asked(1), OnnxEngine)
    assert asked(1, "another network") is None
    monkeypatch.setenv(VARIABLE, "tensorflow")
    assert asked(10**12) is None
    assert len(list(converted.iterdir())) == 1


def test_a_graph_that_says_something_else_is_not_used(converted: Path) -> None:
    (sample,) = converted.glob("*/sample.npz")
    with np.load(sample) as arrays:
        changed = dict(arrays)
    changed["output_0"] = changed["output_0"] * 1.001
    np.savez(sample, **changed)
    with pytest.warns(EngineWarning, match=r"differs from TensorFlow by \d+\.\d times"):
        assert asked() is None


def test_a_damaged_graph_is_not_used(converted: Path) -> None:
    (graph,) = converted.glob("*/graph.onnx")
    graph.write_bytes(graph.read_bytes()[:1000])
    with pytest.warns(EngineWarning, match=r"cannot be run"):
        assert asked() is None


def test_a_network_that_cannot_be_converted_is_run_by_tensorflow(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import keras

    def fails(*_: object, **__: object) -> NoReturn:
        raise NotImplementedError("no such operation")

    with monkeypatch.context() as patched:
        patched.setattr(keras.Model, "export", fails)
        message = r"could not be converted \(NotImplementedError: no such operation\)"
        with pytest.warns(EngineWarning, match=rf"{message}\. Set"):
            assert asked(10**12) is None
        assert [path.suffix for path in home.iterdir()] == [".refused"]
    with monkeypatch.context() as patched:  # nor is it tried again
        patched.setattr(rooms, "_convert", forbidden)
        with pytest.warns(EngineWarning, match=rf"{message}, when it was tried before"):
            assert asked(10**12) is None
        assert asked(1, "another network") is None
    monkeypatch.setenv(VARIABLE, "onnxruntime")  # unless somebody asks for it
    assert isinstance(asked(1), OnnxEngine)


def test_what_may_go_away_by_itself_is_tried_again(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import keras

    for error in (OSError("No space left"), MemoryError(), ImportError("broken")):

        def fails(*_: object, error: Exception = error, **__: object) -> NoReturn:
            raise error

        with monkeypatch.context() as patched:
            patched.setattr(keras.Model, "export", fails)
            kind = type(error).__name__
            with pytest.warns(EngineWarning, match=f"could not be converted .{kind}"):
                assert asked(10**12) is None
        assert list(home.iterdir()) == []
    assert isinstance(asked(10**12), OnnxEngine)


@pytest.mark.usefixtures("home")
def test_a_conversion_leaves_the_process_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other threads write to stderr, and warn."""
    import keras

    seen = []

    def looks(*_: object, **__: object) -> NoReturn:
        seen.append(state())
        raise NotImplementedError

    def state() -> tuple[int, object, bool]:
        ignored = [text for action, text, *_ in warnings.filters if action == "ignore"]
        wide = None in ignored
        return os.fstat(2).st_ino, sys.stderr, wide

    monkeypatch.setattr(keras.Model, "export", looks)
    monkeypatch.setattr(rooms, "_warn", lambda _: None)
    before = state()
    assert asked(10**12) is None
    assert seen == [before]


def test_a_place_that_cannot_be_written_costs_only_speed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "file"))
    with pytest.warns(EngineWarning, match=r"could not be converted"):
        assert asked(10**12) is None


def test_asking_for_what_is_not_there(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "openvino")
    with pytest.raises(SettingError, match="TLKIT_ENGINE"):
        asked()
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    monkeypatch.setenv(VARIABLE, "onnxruntime")
    with pytest.raises(MissingExtraError, match=r'pip install "tlkit\[fast\]"'):
        asked()
    monkeypatch.setenv(VARIABLE, "auto")
    assert asked(10**12) is None
    assert not home.exists()


def test_an_empty_variable_leaves_the_choice(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "")
    assert asked() is None
    assert not home.exists()


def test_the_runtime_may_come_under_another_name(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def version(name: str) -> str:
        if name == "onnxruntime":  # onnxruntime-gpu brings the same module
            raise PackageNotFoundError(name)
        return "1"

    monkeypatch.setattr("tlkit.core.versions.version", version)
    packages = {"onnxruntime": ["onnxruntime-gpu"]}
    monkeypatch.setattr("tlkit.core.versions.packages_distributions", lambda: packages)
    assert asked(1) is None
    assert not home.exists()


def test_a_place_that_can_only_be_read_will_do(
    converted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(*_: object, **__: object) -> NoReturn:
        raise PermissionError("read-only")

    assert len(list(converted.iterdir())) == 1
    monkeypatch.setattr(os, "utime", refuses)
    assert isinstance(asked(1), OnnxEngine)
    monkeypatch.setattr(Path, "stat", refuses)  # not even that
    assert asked(1) is None


def test_a_graph_that_has_just_made_room_leaves_nothing_behind(
    converted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure = OnnxEngine.disagreement

    def measure_late(engine: OnnxEngine) -> float:
        shutil.rmtree(converted)
        return measure(engine)

    monkeypatch.setattr(OnnxEngine, "disagreement", measure_late)
    assert isinstance(asked(1), OnnxEngine)
    assert not converted.exists()


def test_no_number_is_no_agreement(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "onnxruntime")
    model = NETWORK.frozen(NETWORK.cut_points[-2], features=True)
    engine = fast_engine(lambda: ("two outputs",), 1, lambda: model, lambda: IMAGES[:2])
    assert engine is not None
    assert len(list(home.iterdir())) == 1
    assert engine.disagreement() <= 1
    engine._expected[1][0] = np.nan
    assert not engine.disagreement() <= 1


def test_graphs_do_not_pile_up(home: Path) -> None:
    for number in range(20):
        (home / f"old-{number:02d}").mkdir(parents=True)
        (home / f"old-{number:02d}" / "graph.onnx").touch()
        os.utime(home / f"old-{number:02d}", (number, number))
    assert asked(10**12) is not None
    left = sorted(folder.name for folder in home.iterdir())
    assert len(left) == 16
    assert [name for name in left if name.startswith("old")] == [
        f"old-{n:02d}" for n in range(5, 20)
    ]


def test_multiplications_are_counted() -> None:
    import keras

    image = keras.Input((10, 10, 3))
    x = keras.layers.Conv2D(8, 3, padding="same")(image)
    x = keras.layers.DepthwiseConv2D(3, strides=2, padding="same")(x)
    inner = keras.Sequential([keras.Input((5, 5, 8)), keras.layers.Conv2D(4, 1)])
    x = keras.layers.GlobalAveragePooling2D()(inner(x))
    model = keras.Model(image, keras.layers.Dense(2)(x))
    assert multiply_adds(model) == 100 * 9 * 3 * 8 + 25 * 9 * 8 + 25 * 8 * 4 + 4 * 2


def test_a_network_of_open_size_is_counted_as_far_as_it_goes() -> None:
    import keras

    inner = keras.Sequential([keras.Input((None, None, 3)), keras.layers.Conv2D(4, 3)])
    image = keras.Input((10, 10, 3))
    model = keras.Model(image, keras.layers.Conv2D(2, 1)(inner(image)))
    assert multiply_adds(model) == 9 * 3 * 4 + 64 * 4 * 2


def test_counts_what_the_paper_of_mobilenet_counts() -> None:
    """300 million with its classifier of 1.28 million (Sandler et al. 2018, table 4)."""
    network = BackboneAdapter("MobileNetV2", weights=None).build()
    assert multiply_adds(network.model) / 1e6 == pytest.approx(300 - 1.28, abs=2)


def test_training_and_prediction_run_on_it(
    home: Path, drawn_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def trained(engine: str) -> TransferClassifier:
        monkeypatch.setenv(VARIABLE, engine)
        schedule = FineTuneSchedule(phases=(Phase(unfreeze_fraction=0.3, epochs=2, views=2),))
        data = DatasetSpec(drawn_folder, validation_fraction=0.2)
        backbone = BackboneAdapter("tiny_random")
        return transfer_classifier(data, backbone=backbone, schedule=schedule)

    reference, fast = trained("tensorflow"), trained("onnxruntime")
    assert (reference.record.engine, fast.record.engine) == ("tensorflow", "onnxruntime")
    assert len(list(home.iterdir())) == 2  # images give features and activations, views no features
    pairs = zip(
        reference.record.scores["validation"].logits,
        fast.record.scores["validation"].logits,
        strict=True,
    )
    assert all(a == pytest.approx(b, abs=1e-3) for a, b in pairs)

    def logits(classifier: TransferClassifier) -> list[float]:
        found = classifier.predict_folder(drawn_folder)
        return [prediction.logit for prediction in found if isinstance(prediction, Prediction)]

    expected = logits(fast)
    assert len(list(home.iterdir())) == 3
    monkeypatch.setenv(VARIABLE, "tensorflow")
    fast.save(tmp_path / "it.keras")
    plain = logits(TransferClassifier.load(tmp_path / "it.keras"))
    assert len(plain) == 48
    assert plain == pytest.approx(expected, abs=1e-4)


@pytest.mark.usefixtures("home")
def test_a_pass_is_not_begun_anew_by_another_engine(
    drawn_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def trained(engine: str, cache: str) -> TransferClassifier:
        monkeypatch.setenv(VARIABLE, engine)
        return transfer_classifier(
            drawn_folder,
            backbone=BackboneAdapter("tiny_random"),
            schedule=HEAD,
            cache_dir=tmp_path / cache,
        )

    first = trained("tensorflow", "kept")
    assert trained("onnxruntime", "new").record.engine == "onnxruntime"
    monkeypatch.setattr(OnnxEngine, "__call__", forbidden)
    again = trained("auto", "kept")
    assert again.record.engine == "tensorflow"
    assert again.record.scores == first.record.scores


@pytest.mark.usefixtures("home")
def test_both_engines_are_recorded_where_both_ran(
    drawn_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rooms, "multiply_adds", lambda _model: 1)
    monkeypatch.setattr(rooms, "WORTH", 49)  # 48 images, but 76 further views of 38
    schedule = FineTuneSchedule(phases=(Phase(unfreeze_fraction=0.3, epochs=3, views=3),))
    backbone = BackboneAdapter("tiny_random")
    trained = transfer_classifier(drawn_folder, backbone=backbone, schedule=schedule)
    assert trained.record.engine == "onnxruntime and tensorflow"


@pytest.mark.usefixtures("home")
def test_a_pass_of_another_version_is_computed_anew(
    drawn_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def passes() -> int:
        transfer_classifier(
            drawn_folder,
            backbone=BackboneAdapter("tiny_random"),
            schedule=HEAD,
            cache_dir=tmp_path / "kept",
        )
        return len(list((tmp_path / "kept").glob("images-*")))

    monkeypatch.setenv(VARIABLE, "onnxruntime")
    assert [passes(), passes()] == [1, 1]
    monkeypatch.setattr(rooms, "runtime_version", lambda: "another")
    assert passes() == 2
