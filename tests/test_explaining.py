"""A heat map lies where the evidence is, whatever the network; the most similar images come first."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import pytest
from networks import output, own_model, own_sequential
from PIL import Image

from tlkit import (
    BackboneAdapter,
    FineTuneSchedule,
    TransferClassifier,
    transfer_classifier,
)
from tlkit.errors import ImageError, SettingError, TlkitWarning
from tlkit.images.decoder import BadFile
from tlkit.insight.explain import Explanation, explain, explain_files
from tlkit.training.head import LinearHead
from tlkit.training.heads import plain_model

layers = keras.layers
Pixels = npt.NDArray[np.uint8]


@pytest.fixture(autouse=True)
def _the_same_networks_each_time() -> None:
    keras.utils.set_random_seed(0)


def noise(*shape: int) -> Pixels:
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def made_of(
    adapter: BackboneAdapter, like: TransferClassifier, *, kernel: float | None = None
) -> TransferClassifier:
    """Return a classifier on a backbone with a random head, or one whose weights are all `kernel`."""
    network = adapter.build()
    size = network.model.outputs[0].shape[-1]
    weights = (
        np.random.default_rng(1).normal(size=size) if kernel is None else np.full(size, kernel)
    )
    model = plain_model(network, LinearHead(kernel=weights, bias=0.1, l2=0.0))
    return TransferClassifier(
        model, dataclasses.replace(like.record, image_size=adapter.image_size)
    )


# What the map says


def class_activation_map(
    model: keras.Model, network: keras.Model, image: Pixels, sign: int
) -> npt.NDArray[np.float32]:
    """Zhou et al. (2016) by hand: the last feature map, weighted by the weights of the last neuron."""
    feature_map = output(network, image[np.newaxis].astype(np.float32))[0]
    evidence = np.maximum(0, sign * feature_map @ model.get_layer("logit").get_weights()[0][:, 0])
    return np.asarray(evidence / evidence.max())


@pytest.mark.parametrize(("towards", "sign"), [("disc", 1), ("not disc", -1)])
def test_on_a_pooled_map_and_one_neuron_it_is_the_class_activation_map(
    classifier: TransferClassifier, towards: str, sign: int
) -> None:
    adapter = BackboneAdapter("tiny_random", image_size=64)
    other = made_of(adapter, classifier)
    image = noise(64, 64, 3)
    expected = class_activation_map(other.model, adapter.build().model, image, sign)
    seen = explain(other, image, towards=towards)
    assert seen.coarse_map.shape == expected.shape == (8, 8)
    np.testing.assert_allclose(seen.coarse_map, expected, atol=1e-5)


def test_what_lies_above_the_map_is_weighed_by_its_gradient(
    classifier: TransferClassifier,
) -> None:
    """With a dense layer between: the weights are differences of the logit, by hand."""
    image = keras.Input((12, 12, 3))
    x = layers.Rescaling(1 / 255)(image)
    feature_map = layers.Conv2D(4, 3, strides=3, activation="relu", name="map")(x)
    above = layers.Dense(5, activation="tanh", name="hidden")(layers.Flatten()(feature_map))
    other = made_of(BackboneAdapter(keras.Model(image, above)), classifier)
    base = next(layer for layer in other.model.layers if isinstance(layer, keras.Model))
    pixels = noise(12, 12, 3)

    values = np.asarray(base.get_layer("map")(pixels[np.newaxis] / np.float32(255)))[0]
    kernel, bias = (w.astype(np.float64) for w in base.get_layer("hidden").get_weights())
    final = other.model.get_layer("logit").get_weights()[0][:, 0].astype(np.float64)
    slope = (kernel * (1 - np.tanh(values.ravel() @ kernel + bias) ** 2)) @ final
    weights = slope.reshape(values.shape).mean(axis=(0, 1))
    expected = np.maximum(0, values @ weights)
    seen = explain(other, pixels, towards="disc")
    np.testing.assert_allclose(seen.coarse_map, expected / expected.max(), atol=1e-4)


def corner_images(folder: Path) -> None:
    """Grey noise; in the positive class one corner holds a warm square. Its number names the corner."""
    rng = np.random.default_rng(5)
    for number in range(48):
        for class_name in ("marked", "not marked"):
            pixels = rng.normal(110, 3, (48, 48, 3))
            if class_name == "marked":
                row, column = 36 * (number % 4 // 2), 36 * (number % 2)
                pixels[row : row + 12, column : column + 12] += (110, 40, -70)
            file = folder / class_name / f"{number:02d}.png"
            file.parent.mkdir(exist_ok=True)
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(file)


@pytest.mark.filterwarnings("ignore::tlkit.errors.AuditWarning")  # all but the corner is alike
def test_the_corner_that_decides_is_the_one_that_glows(tmp_path: Path) -> None:
    corner_images(tmp_path)
    convolutions = [
        layers.Conv2D(count, 3, strides=2, padding="same", activation="relu") for count in (12, 24)
    ]
    centred = layers.Rescaling(1 / 110, -1.0)  # so that the background excites nothing
    local = keras.Sequential([keras.Input((48, 48, 3)), centred, *convolutions])
    trained = transfer_classifier(
        tmp_path, backbone=BackboneAdapter(local), schedule=FineTuneSchedule.head_only()
    )
    assert trained.evaluation.accuracy > 0.95
    for number in range(8):
        heat = explain(trained, tmp_path / "marked" / f"{number:02d}.png").heat_map
        rows, columns = slice(24 * (number % 4 // 2), None), slice(24 * (number % 2), None)
        corner = heat[rows, columns][:24, :24]
        assert corner.sum() > 0.75 * heat.sum() > 0
        assert (corner > 0.5).sum() == (heat > 0.5).sum() > 0


def test_nothing_that_speaks_for_a_class_is_zero_and_not_nan(
    classifier: TransferClassifier,
) -> None:
    adapter = BackboneAdapter("tiny_random")  # whose features are never negative
    for kernel, towards in ((0.0, "disc"), (0.0, "not disc"), (-1.0, "disc"), (1.0, "not disc")):
        seen = explain(made_of(adapter, classifier, kernel=kernel), noise(9, 9, 3), towards=towards)
        assert not seen.coarse_map.any()
        assert not seen.heat_map.any()
    assert explain(made_of(adapter, classifier, kernel=1.0), noise(9, 9, 3)).heat_map.max() > 0.9


# What is explained


def test_the_prediction_is_that_of_predict(
    classifier: TransferClassifier, drawn_folder: Path
) -> None:
    for file in sorted(drawn_folder.rglob("*.jpg"))[20:28]:
        seen = explain(classifier, file)
        assert seen.prediction == classifier.predict(file)
        assert seen.towards == seen.prediction.label


def test_the_map_has_the_image_s_own_size_upright(
    classifier: TransferClassifier, tmp_path: Path
) -> None:
    upright = noise(30, 50, 3)
    Image.fromarray(upright).save(tmp_path / "upright.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise: stored lying on its left side
    lying = Image.fromarray(upright).transpose(Image.Transpose.ROTATE_90)
    lying.save(tmp_path / "lying.png", exif=exif)
    seen = [explain(classifier, tmp_path / f"{name}.png") for name in ("upright", "lying")]
    seen.append(explain(classifier, upright))
    for one in seen:
        assert one.size == (30, 50)
        assert one.heat_map.shape == (30, 50)
        assert one.heat_map.dtype == np.float32
        assert 0 <= one.heat_map.min() < 0.5 < one.heat_map.max() <= 1
        assert one.overlay().shape == (30, 50, 3)
        np.testing.assert_array_equal(one.heat_map, seen[0].heat_map)
        np.testing.assert_array_equal(one.overlay(), seen[0].overlay())


def test_the_same_twice_and_after_loading(
    classifier: TransferClassifier, drawn_folder: Path, tmp_path: Path
) -> None:
    file = drawn_folder / "disc" / "03.jpg"
    first = explain(classifier, file)
    np.testing.assert_array_equal(explain(classifier, file).coarse_map, first.coarse_map)
    classifier.save(tmp_path / "c.keras")
    loaded = TransferClassifier.load(tmp_path / "c.keras")
    np.testing.assert_allclose(explain(loaded, file).coarse_map, first.coarse_map, atol=1e-6)


def test_explaining_does_not_change_what_is_saved(
    classifier: TransferClassifier, drawn_folder: Path
) -> None:
    other = made_of(BackboneAdapter(pooled_inside()), classifier)
    before = other.model.to_json()
    explain(other, drawn_folder / "disc" / "03.jpg")
    assert other.model.to_json() == before


def test_many_files_are_explained_as_one_by_one(
    classifier: TransferClassifier, drawn_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"")
    files = [*sorted(drawn_folder.rglob("*.jpg"))[:40], tmp_path / "bad.jpg"]
    files.insert(2, files.pop())
    many = list(explain_files(classifier, files))
    assert len(many) == 41
    bad = many.pop(2)
    assert isinstance(bad, BadFile)
    assert bad.path == str(tmp_path / "bad.jpg")
    assert [one.prediction.path for one in many if isinstance(one, Explanation)] == [
        file for file in files if file.name != "bad.jpg"
    ]
    for one in many[30:34]:
        assert isinstance(one, Explanation)
        alone = explain(classifier, one.prediction.path or "")
        np.testing.assert_allclose(one.coarse_map, alone.coarse_map, atol=1e-5)
    assert list(explain_files(classifier, [])) == []


def test_what_cannot_be_explained_is_named(classifier: TransferClassifier, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="unknown class 'disk': did you mean 'disc'"):
        explain(classifier, noise(8, 8, 3), towards="disk")
    with pytest.raises(SettingError, match=r"one image \[H, W, 3\], got shape \(2, 8, 8, 3\)"):
        explain(classifier, noise(2, 8, 8, 3))
    with pytest.raises(SettingError, match="`image` must be a path, got None"):
        explain(classifier, None)  # type: ignore[arg-type]
    with pytest.raises(ImageError, match=r"none\.jpg"):
        explain(classifier, tmp_path / "none.jpg")


# Every kind of backbone


def pooled_inside() -> keras.Model:
    """A network whose map becomes a vector inside a network inside it."""
    inner = keras.Sequential(
        [
            keras.Input((15, 15, 8)),
            layers.Conv2D(4, 3, activation="relu", name="last"),
            layers.GlobalAveragePooling2D(),
        ]
    )
    image = keras.Input((32, 32, 3))
    x = inner(layers.Conv2D(8, 3, strides=2)(layers.Rescaling(1 / 255)(image)))
    return keras.Model(image, layers.Dense(6, activation="tanh")(x))


def added_at_the_end() -> keras.Model:
    """Its last map comes from an operation that is no layer, inside a network that gives a vector."""
    image = keras.Input((32, 32, 3))
    x = layers.Conv2D(8, 3, strides=2, padding="same")(image)
    x = x + layers.Conv2D(8, 3, padding="same")(x)
    return keras.Model(image, layers.GlobalAveragePooling2D()(x))


def network_at_the_front() -> keras.Model:
    """An application that pools by itself, behind layers of the user's own."""
    application = keras.applications.MobileNetV2(
        alpha=0.35, include_top=False, weights=None, input_shape=(64, 64, 3), pooling="avg"
    )
    return keras.Sequential(
        [keras.Input((64, 64, 3)), layers.Rescaling(1 / 255), application, layers.Dense(6)]
    )


KINDS: dict[str, tuple[Callable[[], BackboneAdapter], tuple[int, int]]] = {
    "MobileNetV2": (
        lambda: BackboneAdapter("MobileNetV2", alpha=0.35, weights=None, image_size=96),
        (3, 3),
    ),
    "one place at the top": (
        lambda: BackboneAdapter("MobileNetV2", alpha=0.35, weights=None, image_size=32),
        (2, 2),
    ),
    "not square": (lambda: BackboneAdapter("tiny_random", image_size=(32, 64)), (4, 8)),
    "own graph": (lambda: BackboneAdapter(own_model(), image_size=24), (10, 10)),
    "own row": (lambda: BackboneAdapter(own_sequential(), preprocessing="caffe"), (13, 13)),
    "pooled inside": (lambda: BackboneAdapter(pooled_inside()), (13, 13)),
    "added at the end": (lambda: BackboneAdapter(added_at_the_end()), (16, 16)),
    "network at the front": (lambda: BackboneAdapter(network_at_the_front()), (2, 2)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_backbone(classifier: TransferClassifier, kind: str) -> None:
    make, shape = KINDS[kind]
    other = made_of(make(), classifier)
    both = [explain(other, noise(40, 60, 3), towards=name) for name in other.class_names]
    for seen in both:
        assert seen.coarse_map.shape == shape
        assert np.isfinite(seen.coarse_map).all()
        assert seen.heat_map.shape == (40, 60)
    assert not (both[0].coarse_map * both[1].coarse_map).any(), "a place speaks for one class"
    assert (both[0].coarse_map + both[1].coarse_map).any()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["EfficientNetB0", "ConvNeXtTiny"])  # with layers, and without
def test_large_backbones(classifier: TransferClassifier, name: str) -> None:
    other = made_of(BackboneAdapter(name, weights=None, image_size=64), classifier)
    assert explain(other, noise(64, 64, 3)).coarse_map.shape == (2, 2)


@keras.saving.register_keras_serializable("explaining")
class Halved(keras.Model):  # type: ignore[misc]  # keras is untyped
    """A class without a graph."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.conv = layers.Conv2D(4, 3, strides=2)

    def call(self, x: Any) -> Any:
        return self.conv(x)


def test_a_class_without_a_graph(classifier: TransferClassifier) -> None:
    model = Halved()
    model(noise(1, 24, 24, 3).astype(np.float32))
    with pytest.warns(TlkitWarning, match="Halved"):
        adapter = BackboneAdapter(model, image_size=24)
    assert explain(made_of(adapter, classifier), noise(24, 24, 3)).coarse_map.shape == (11, 11)


@pytest.mark.parametrize("preprocessing", ["none", "tf", "caffe"])
def test_a_network_without_a_feature_map_is_refused(
    classifier: TransferClassifier, preprocessing: str
) -> None:
    flat = keras.Sequential([keras.Input((8, 8, 3)), layers.Flatten(), layers.Dense(4)])
    other = made_of(BackboneAdapter(flat, preprocessing=preprocessing), classifier)
    with pytest.raises(SettingError, match="must have a feature map"):
        explain(other, noise(8, 8, 3))


# How it looks


def test_the_overlay_mixes_a_grey_image_and_a_glow(classifier: TransferClassifier) -> None:
    image = noise(16, 16, 3)
    seen = explain(classifier, image)
    grey = np.asarray(Image.fromarray(image).convert("L"))[..., np.newaxis]
    np.testing.assert_array_equal(seen.overlay(strength=0), grey.repeat(3, axis=-1))
    glow = seen.overlay(strength=1).astype(float)
    brightest, darkest = (
        np.unravel_index(f(seen.heat_map), (16, 16)) for f in (np.argmax, np.argmin)
    )
    assert glow[brightest].sum() > 500
    assert glow[darkest].sum() < 300
    half = seen.overlay().astype(float)
    np.testing.assert_allclose(half, (grey + glow) / 2, atol=1)
    assert seen.overlay(image_size=(5, 9)).shape == (5, 9, 3)
    np.testing.assert_array_equal(image, noise(16, 16, 3))
    with pytest.raises(SettingError, match="`strength` must be"):
        seen.overlay(strength=1.5)


def test_it_is_saved_in_the_image_s_own_size(
    classifier: TransferClassifier, drawn_folder: Path, tmp_path: Path
) -> None:
    seen = explain(classifier, drawn_folder / "disc" / "00.jpg")
    seen.save(tmp_path / "map.png", strength=0.7)
    with Image.open(tmp_path / "map.png") as saved:
        np.testing.assert_array_equal(np.asarray(saved), seen.overlay(strength=0.7))
    seen.save(str(tmp_path / "map.jpg"))
    with Image.open(tmp_path / "map.jpg") as saved:
        assert (saved.format, saved.size) == ("JPEG", (48, 48))
    for wrong, message in (("map.gif", "`path` must end in"), ("nowhere/map.png", "no folder")):
        with pytest.raises(SettingError, match=message):
            seen.save(tmp_path / wrong)
    (tmp_path / "map.png").write_bytes(b"before")
    with pytest.raises(SettingError, match="`strength`"):
        seen.save(tmp_path / "map.png", strength=2)
    assert (tmp_path / "map.png").read_bytes() == b"before"


def test_the_overlay_reads_a_file_by_the_classifier_s_value_range(
    classifier: TransferClassifier, tmp_path: Path
) -> None:
    pixels = np.random.default_rng(0).integers(0, 4096, (24, 24)).astype(np.uint16)
    Image.fromarray(pixels).save(tmp_path / "deep.png")
    record = dataclasses.replace(classifier.record, value_range=(0.0, 4095.0))
    ranged = TransferClassifier(classifier.model, record)
    shown = explain(ranged, tmp_path / "deep.png").overlay(strength=0)
    assert shown.max() > 250  # 16 without the range


@pytest.mark.parametrize("image_size", [(0, 5), (5,), (5, 5.0), "ab", 5])
def test_the_image_is_not_blamed_for_a_wrong_size(
    classifier: TransferClassifier, drawn_folder: Path, image_size: Any
) -> None:
    seen = explain(classifier, drawn_folder / "disc" / "00.jpg")
    with pytest.raises(SettingError, match="`image_size`"):
        seen.overlay(image_size=image_size)


def test_the_colours_are_matplotlib_s_inferno() -> None:
    matplotlib = pytest.importorskip("matplotlib")
    from tlkit.insight.explain import _GLOW

    shares = np.linspace(0, 1, 256)
    ours = [np.interp(shares, np.linspace(0, 1, len(_GLOW)), channel) for channel in _GLOW.T]
    theirs = matplotlib.colormaps["inferno"](shares)[:, :3] * 255
    np.testing.assert_allclose(np.transpose(ours), theirs, atol=7)


def test_a_notebook_shows_it(classifier: TransferClassifier) -> None:
    png = explain(classifier, noise(30, 960, 3))._repr_png_()
    assert png.startswith(b"\x89PNG")
    assert (int.from_bytes(png[16:20]), int.from_bytes(png[20:24])) == (480, 15)


def test_the_image_given_may_change_later(classifier: TransferClassifier) -> None:
    image = noise(32, 32, 3)
    seen = explain(classifier, image)
    before = seen.overlay()
    image[:] = 0
    np.testing.assert_array_equal(seen.overlay(), before)


def test_a_file_that_is_gone_is_named(
    classifier: TransferClassifier, drawn_folder: Path, tmp_path: Path
) -> None:
    shutil.copy(drawn_folder / "disc" / "00.jpg", tmp_path)
    seen = explain(classifier, tmp_path / "00.jpg")
    (tmp_path / "00.jpg").unlink()
    assert seen.heat_map.shape == (48, 48)
    with pytest.raises(ImageError, match=r"00\.jpg"):
        seen.overlay()
