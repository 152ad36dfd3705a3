"""Which layers a head learns from: the stages of a backbone, in one forward pass and in one plain file."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest

from tlkit import BackboneAdapter, DatasetSpec, TransferClassifier, explain, transfer_classifier
from tlkit.backbones.network import Network
from tlkit.errors import SettingError
from tlkit.training.head import fit_head

TINY = BackboneAdapter("tiny_random")


def pixels(count: int, size: tuple[int, int]) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.random.default_rng(0).integers(256, size=(count, *size, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("MobileNetV2", [56, 28, 14, 7]),
        ("EfficientNetLite0", [56, 28, 14, 7]),
        ("ResNet50V2", [56, 28, 14, 7]),
        ("DenseNet121", [56, 28, 14, 7]),
    ],
)
def test_there_are_stages_of_every_size_and_the_output_is_the_last(
    name: str, sizes: list[int]
) -> None:
    network = BackboneAdapter(name, image_size=224, weights=None).build()
    assert network.stages[-1] == network.cut_points[-1]
    found = sorted({stage.shape[0] for stage in network.stages}, reverse=True)
    assert found == sizes
    assert [stage.index for stage in network.stages] == sorted(
        {stage.index for stage in network.stages}
    )
    for size in sizes[:-1]:
        narrowest = min(c.shape[2] for c in network.cut_points if c.shape[:2] == (size, size))
        widths = [s.shape[2] for s in network.stages if s.shape[0] == size]
        assert 1 <= len(widths) <= 2
        assert max(widths) <= 2 * narrowest


def test_features_are_the_means_of_the_stages_side_by_side() -> None:
    network = TINY.build()
    images = pixels(3, network.image_size)
    features = network.features().predict(images.astype("float32"), verbose=0)
    means = [
        network.lower(stage).predict(images.astype("float32"), verbose=0).mean(axis=(1, 2))
        for stage in network.stages
    ]
    assert len(means) > 1
    np.testing.assert_allclose(features, np.concatenate(means, axis=1), rtol=1e-5, atol=1e-6)
    assert features.shape[1] == sum(network.stage_widths)


def test_the_last_layer_alone_and_chosen_cut_points() -> None:
    last = BackboneAdapter("tiny_random", features="last").build()
    assert last.stages == (last.cut_points[-1],)
    names = [cut.name for cut in last.cut_points]
    chosen = BackboneAdapter("tiny_random", features=(names[-1], names[3])).build()
    assert [stage.name for stage in chosen.stages] == [names[3], names[-1]]
    assert BackboneAdapter("tiny_random", features=(3, -1)).build().stages == chosen.stages


@pytest.mark.parametrize("features", ["first", (), 3, (1.5,), None])
def test_what_features_cannot_be(features: object) -> None:
    with pytest.raises(SettingError, match="features"):
        BackboneAdapter("tiny_random", features=features)  # type: ignore[arg-type]


@pytest.mark.parametrize("features", [(500,), ("no such layer",)])
def test_cut_points_that_a_network_does_not_have(features: tuple[int | str, ...]) -> None:
    with pytest.raises(SettingError, match="features"):
        BackboneAdapter("tiny_random", features=features).build()


def test_the_setting_is_written_down_and_tells_caches_apart() -> None:
    last = BackboneAdapter("tiny_random", features="last")
    chosen = BackboneAdapter("tiny_random", features=(3, -1))
    for adapter in (TINY, last, chosen):
        assert BackboneAdapter.from_json(adapter.to_json()) == adapter
    assert "features='last'" in repr(last)
    assert "features=(3, -1)" in repr(chosen)
    assert len({adapter.fingerprint() for adapter in (TINY, last, chosen)}) == 3


def test_a_network_that_gives_vectors_has_one_stage() -> None:
    image = keras.Input((8, 8, 3))
    vectors = keras.layers.Dense(4)(keras.layers.Flatten()(image))
    network = Network(keras.Model(image, vectors))
    assert network.stages == (network.cut_points[-1],)
    assert network.stage_widths == (4,)


def test_a_stage_counts_the_same_whatever_its_scale() -> None:
    random = np.random.default_rng(0)
    labels = np.tile([0, 1], 60)
    first = random.normal(size=(120, 3)) + labels[:, None]
    second = random.normal(size=(120, 5)) - 0.5 * labels[:, None]
    folds = np.arange(120) // 2 % 5

    def logits(scale: float) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        features = np.concatenate([first, scale * second], axis=1)
        head = fit_head(features, labels, folds=folds, blocks=(3, 5))
        return head.logits(features)

    np.testing.assert_allclose(logits(1.0), logits(1000.0), atol=1e-6)


def test_scaled_stages_are_the_problem_that_one_would_write_down() -> None:
    """The head on features divided by hand, folded back into a kernel for features as they are."""
    random = np.random.default_rng(1)
    labels = np.tile([0, 1], 40)
    features = random.normal(size=(80, 6)) * [1, 1, 1, 9, 9, 9] + labels[:, None]
    spread = [np.sqrt(features[:, part].var(axis=0).mean()) for part in (slice(3), slice(3, 6))]
    divisor = np.repeat(spread, 3)
    ours = fit_head(features, labels, l2=0.1, blocks=(3, 3))
    by_hand = fit_head(features / divisor, labels, l2=0.1)
    np.testing.assert_allclose(ours.kernel, by_hand.kernel / divisor, rtol=1e-8)
    assert ours.bias == pytest.approx(by_hand.bias, abs=1e-8)
    with pytest.raises(SettingError, match="sum to 6"):
        fit_head(features, labels, l2=0.1, blocks=(3, 4))


def test_the_saved_file_is_plain_and_gives_the_same(drawn_folder: Path, tmp_path: Path) -> None:
    classifier = transfer_classifier(DatasetSpec(drawn_folder), backbone=TINY)
    classifier.save(tmp_path / "stages.keras")
    images = pixels(4, classifier.image_size)
    plain = keras.saving.load_model(tmp_path / "stages.keras")
    np.testing.assert_allclose(
        plain.predict(images.astype("float32"), verbose=0)[:, 0],
        classifier.predict_proba(images),
        atol=1e-6,
    )
    again = TransferClassifier.load(tmp_path / "stages.keras")
    assert again.record.backbone["features"] == "stages"
    assert isinstance(plain.get_layer("features"), keras.layers.Concatenate)


def test_the_heat_map_is_the_share_of_each_place_in_the_logit(drawn_folder: Path) -> None:
    """All stages together: their maps, weighed by the last layer, average to the logit less its bias."""
    classifier = transfer_classifier(DatasetSpec(drawn_folder), backbone=TINY)
    image = pixels(1, classifier.image_size)[0]
    kernel, _ = classifier.model.get_layer("logit").get_weights()
    network = TINY.build()
    size = max(stage.shape[:2] for stage in network.stages)
    evidence, first = np.zeros(size), 0
    for stage, width in zip(network.stages, network.stage_widths, strict=True):
        values = network.lower(stage).predict(image[np.newaxis].astype("float32"), verbose=0)[0]
        shares = values @ kernel[first : first + width, 0]
        evidence += keras.ops.image.resize(shares[..., None], size).numpy()[..., 0]
        first += width
    for name, sign in ((classifier.positive_class, 1), (classifier.negative_class, -1)):
        expected = np.maximum(sign * evidence, 0)
        expected /= max(expected.max(), 1e-30)
        found = explain(classifier, image, towards=name).coarse_map
        np.testing.assert_allclose(found, expected, atol=1e-3)
