"""`resize="pad"` keeps the shape of images, from the decoder to whatever reads a classifier's export."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import hostile
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageOps

from tlkit import (
    BackboneAdapter,
    DatasetSpec,
    FineTuneSchedule,
    TransferClassifier,
    cross_validate,
    explain,
    export,
    nearest,
    transfer_classifier,
)
from tlkit.core.ignoring import ignoring
from tlkit.errors import AuditWarning, SettingError
from tlkit.images.decoder import as_batch, read_image
from tlkit.images.loader import read_images
from tlkit.images.resizing import BORDER, content_box
from tlkit.report.recipe import command
from tlkit.scale.careful import read_carefully

ROOT = Path(__file__).parents[1]
PADDED = BackboneAdapter("tiny_random", resize="pad")
SHAPES = [(300, 600), (600, 300), (500, 500), (40, 640), (10, 20), (3, 300)]


def smooth(height: int, width: int, seed: int = 0) -> npt.NDArray[np.uint8]:
    """An image whose pixels change slowly, so that a JPEG of it is nearly the same."""
    rows, columns = np.mgrid[:height, :width] / max(height, width)
    rng = np.random.default_rng(seed)
    waves = [np.sin(a * rows + b * columns) for a, b in rng.uniform(3, 9, (3, 2))]
    return (128 + 100 * np.stack(waves, axis=-1)).astype(np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """16 + 16 images of many shapes: those of `bar` show a bright bar, the others none."""
    folder = tmp_path_factory.mktemp("shapes")
    for label, class_name in enumerate(("no bar", "bar")):
        (folder / class_name).mkdir()
        for number in range(16):
            height, width = ((48, 96), (96, 48), (64, 64), (24, 96))[number % 4]
            pixels = smooth(height, width, seed=100 * label + number) // 2
            if label:
                pixels[height // 3 : 2 * height // 3] += np.uint8(120)
            Image.fromarray(pixels).save(folder / class_name / f"{number:02d}.png")
    return folder


@pytest.fixture(scope="module")
def padding(folder: Path) -> TransferClassifier:
    spec = DatasetSpec(folder, positive_class="bar", validation_fraction=0.25)
    with ignoring(AuditWarning):  # bars are alike
        return transfer_classifier(spec, backbone=PADDED, schedule=FineTuneSchedule.head_only())


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("frame", [(64, 64), (64, 256), (96, 32)])
def test_the_image_fills_the_frame_in_one_direction_and_keeps_its_shape(
    shape: tuple[int, int], frame: tuple[int, int]
) -> None:
    top, left, height, width = content_box(shape, frame)
    assert (height == frame[0]) or (width == frame[1])
    assert height <= frame[0]
    assert width <= frame[1]
    scale = min(frame[0] / shape[0], frame[1] / shape[1])
    assert abs(height - max(1, shape[0] * scale)) <= 0.5
    assert abs(width - max(1, shape[1] * scale)) <= 0.5
    assert 0 <= frame[0] - height - 2 * top <= 1
    assert 0 <= frame[1] - width - 2 * left <= 1


@pytest.mark.parametrize("shape", SHAPES[:5])
@pytest.mark.parametrize("frame", [(64, 64), (64, 256), (96, 32)])
def test_pixels_are_those_of_pillow(shape: tuple[int, int], frame: tuple[int, int]) -> None:
    image = Image.fromarray(smooth(*shape))
    found, _ = read_image(hostile.encode(image, "PNG"), frame, resize="pad")
    wanted = ImageOps.pad(image, frame[::-1], Image.Resampling.BILINEAR, color=BORDER)
    height, width = content_box(shape, frame)[2:]
    if (frame[0] - height) % 2 or (frame[1] - width) % 2:
        pytest.skip("of an odd border Pillow has the larger half on either side")
    np.testing.assert_array_equal(found, np.asarray(wanted))
    np.testing.assert_array_equal(as_batch(np.asarray(image), frame, resize="pad")[0], found)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_large_jpegs_are_shrunk_while_they_are_decoded_to_what_they_fill(orientation: int) -> None:
    image = smooth(500, 1900)
    stored = np.ascontiguousarray(hostile.STORED_AS[orientation](image))
    data = hostile.jpeg(Image.fromarray(stored), exif=hostile.exif(orientation))
    frame = (97, 301)
    padded, facts = read_image(data, frame, resize="pad")
    top, left, height, width = content_box((500, 1900), frame)
    filled = padded[top : top + height, left : left + width]
    alone, as_ever = read_image(data, (height, width))
    np.testing.assert_array_equal(filled, alone)
    assert facts == as_ever
    np.testing.assert_array_equal(facts.thumbnail, as_ever.thumbnail)
    padded[top : top + height, left : left + width] = BORDER
    assert (padded == BORDER).all()


def test_every_way_of_reading_pads(folder: Path) -> None:
    files = sorted(folder.glob("bar/*.png"))[:4]
    for size in ((32, 32), (24, 56)):
        one_by_one = [read_image(file, size, resize="pad")[0] for file in files]
        for found in (
            read_images(files, size, resize="pad"),
            read_carefully(files, size, resize="pad"),
        ):
            for outcome, wanted in zip(found, one_by_one, strict=True):
                assert isinstance(outcome, tuple)
                np.testing.assert_array_equal(outcome[0], wanted)


def test_it_is_a_setting_of_the_network() -> None:
    assert repr(PADDED) == "BackboneAdapter('tiny_random', image_size=(32, 32), resize='pad')"
    assert BackboneAdapter.from_json(PADDED.to_json()) == PADDED
    plain = BackboneAdapter("tiny_random")
    assert plain != PADDED
    assert PADDED.fingerprint() != plain.fingerprint()
    older = {key: value for key, value in plain.to_config().items() if key != "resize"}
    assert BackboneAdapter.from_config(older) == plain
    with pytest.raises(SettingError, match="resize"):
        BackboneAdapter("tiny_random", resize="crop")  # type: ignore[arg-type]


def test_a_saved_classifier_sees_what_training_saw(
    padding: TransferClassifier, folder: Path, tmp_path: Path
) -> None:
    padding.save(tmp_path / "padding.keras")
    loaded = TransferClassifier.load(tmp_path / "padding.keras")
    assert loaded.resizing == padding.resizing == "pad"
    assert loaded.card.resize == "pad-bilinear-antialias"
    assert loaded.record.backbone["resize"] == "pad"
    scores = loaded.record.scores["validation"]
    found = loaded.predict([folder / name for name in scores.names])
    np.testing.assert_allclose([p.logit for p in found], scores.logits, rtol=0, atol=1e-4)
    arrays = [np.asarray(Image.open(folder / name)) for name in scores.names]
    alone = [loaded.predict(array[np.newaxis])[0].logit for array in arrays]
    np.testing.assert_allclose(alone, scores.logits, rtol=0, atol=1e-4)
    assert "--resize pad" in (command(loaded.record) or "")
    stretched = cross_validate(
        folder,
        backbone=BackboneAdapter("tiny_random"),
        schedule=FineTuneSchedule.head_only(),
    )
    padded = cross_validate(folder, backbone=PADDED, schedule=FineTuneSchedule.head_only())
    assert padded.scores.logits != stretched.scores.logits


def test_an_image_padded_by_hand_is_the_same_image(
    padding: TransferClassifier, folder: Path, tmp_path: Path
) -> None:
    file = folder / "bar" / "00.png"  # 96 x 48: 32 x 16 in the frame
    small = Image.open(file).resize((32, 16), Image.Resampling.BILINEAR)
    canvas = Image.new("RGB", (32, 32), BORDER)
    canvas.paste(small, (0, 8))
    canvas.save(tmp_path / "by hand.png")
    by_hand, by_tlkit = padding.predict([tmp_path / "by hand.png", file])
    assert by_hand.logit == by_tlkit.logit
    (alike,) = nearest(padding, tmp_path / "by hand.png", folder, count=1)
    assert alike.name == "bar/00.png"
    assert alike.similarity == pytest.approx(1, abs=1e-6)


def test_heat_maps_lie_on_the_image_and_not_on_its_borders(
    padding: TransferClassifier, folder: Path
) -> None:
    file = folder / "bar" / "00.png"
    seen = explain(padding, file, towards="bar")
    assert seen.size == (48, 96)
    assert seen.window == (0.25, 0.0, 0.75, 1.0)
    assert seen.heat_map.shape == (48, 96)
    rows = len(seen.coarse_map)
    assert not seen.coarse_map[: rows // 4].any()
    assert not seen.coarse_map[-(rows // 4) :].any()
    assert seen.coarse_map.max() == 1
    # what the map says of the frame, cut to the image
    whole = Image.fromarray(seen.coarse_map[rows // 4 : -(rows // 4)])
    wanted = np.asarray(whole.resize((96, 48), Image.Resampling.BILINEAR))
    np.testing.assert_allclose(seen.heat_map, wanted, atol=1e-6)
    assert seen.overlay().shape == (48, 96, 3)
    array = explain(padding, np.asarray(Image.open(file)), towards="bar")
    np.testing.assert_array_equal(array.heat_map, seen.heat_map)


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("frame", [(60, 90), (224, 224), (64, 896)])
def test_the_script_of_the_page_pads_alike(
    orientation: int, frame: tuple[int, int], tmp_path: Path
) -> None:
    read: Any = runpy.run_path(str(ROOT / "examples" / "read_image.py"))["read_image"]
    path = tmp_path / "image.jpg"
    for shape in ((901, 1300), (130, 2000), (77, 31)):
        stored = np.ascontiguousarray(hostile.STORED_AS[orientation](smooth(*shape)))
        path.write_bytes(hostile.jpeg(Image.fromarray(stored), exif=hostile.exif(orientation)))
        wanted = read_image(path, frame, resize="pad")[0]
        assert np.abs(read(path, *frame, border=BORDER)[0] - wanted).max() <= 1, shape


def test_an_export_says_how_and_is_a_classifier_that_pads(
    padding: TransferClassifier, folder: Path, tmp_path: Path
) -> None:
    pytest.importorskip("ai_edge_litert")
    exported = export(padding, tmp_path / "phone", format="litert")
    assert exported.comparison.largest_difference < 1e-4
    card = json.loads((exported.path / "tlkit.json").read_text("utf-8"))
    assert card["resize"] == "pad-bilinear-antialias"
    assert card["border"] == [*BORDER]
    assert "in its own shape" in card["input"]["meaning"]
    other = TransferClassifier.load(exported.path)
    files = sorted(folder.glob("*/*.png"))[:6]
    assert [p.logit for p in other.predict(files)] == pytest.approx(
        [p.logit for p in padding.predict(files)], abs=1e-3
    )
