"""`image_size="fit"` follows the shape of a folder's images, and is a plain size from then on."""

from __future__ import annotations

import math
from pathlib import Path

import hostile
import numpy as np
import pytest
from PIL import Image

from tlkit import (
    BackboneAdapter,
    DatasetSpec,
    FineTuneSchedule,
    TransferClassifier,
    audit,
    cross_validate,
    transfer_classifier,
)
from tlkit.backbones.catalogue import CATALOGUE, architecture_of, fitting_size
from tlkit.cli.app import main
from tlkit.data.audit import AuditReport
from tlkit.data.shapes import SAMPLE_SIZE, Shape
from tlkit.errors import ImageError, SettingError
from tlkit.images.decoder import read_image, read_size
from tlkit.report.album import make_album
from tlkit.report.sentences import next_steps

FIT = BackboneAdapter("tiny_random", image_size="fit")
STRIPS = (16, 56)  # height and width that it takes for images of 3:1


@pytest.fixture(scope="module")
def strips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 + 20 images, 96 x 32 pixels as they are seen, of which half are stored on their side."""
    folder = tmp_path_factory.mktemp("strips")
    for label, class_name in enumerate(("no stripe", "stripe")):
        (folder / class_name).mkdir()
        for number in range(20):
            rng = np.random.default_rng((label, number))
            pixels = rng.integers(40, 120, (32, 96, 3), np.uint8)
            if label:
                at = int(rng.integers(4, 88))
                pixels[:, at : at + 6] = 230
            upright = number % 2 == 0
            stored = pixels if upright else np.ascontiguousarray(hostile.STORED_AS[6](pixels))
            exif = Image.Exif()
            exif[0x0112] = 1 if upright else 6
            name = folder / class_name / f"{number:02d}.jpg"
            Image.fromarray(stored).save(name, quality=95, exif=exif)
    return folder


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format_", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_the_header_says_what_the_whole_file_says(format_: str, orientation: int) -> None:
    data = hostile.turned(orientation, format_)
    assert read_size(data) == read_image(data, (8, 8))[1].upright_size


def test_nothing_behind_the_header_is_read() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (90, 70, 3), np.uint8)
    data = hostile.encode(Image.fromarray(noise), "JPEG")
    broken = data[: len(data) // 2]
    with pytest.raises(ImageError):
        read_image(broken, (8, 8))
    assert read_size(broken) == (90, 70)
    with pytest.raises(ImageError, match="empty"):
        read_size(b"")
    with pytest.raises(ImageError, match="not an image"):
        read_size(b"nothing of the kind")


def test_the_shape_is_the_median_of_logarithms() -> None:
    assert Shape.of_sizes([(1, 2), (2, 1), (1, 1)]).aspect == pytest.approx(1)
    assert Shape.of_sizes([(1, 4), (1, 9)]).aspect == pytest.approx(6)
    assert Shape.of_sizes([]) == Shape(1.0, 0)
    assert [Shape(aspect, 9).is_elongated for aspect in (16 / 9, 9 / 16, 2.1, 1 / 2.1)] == [
        False,
        False,
        True,
        True,
    ]


def test_of_large_folders_a_part_is_looked_at_and_bad_files_are_passed_over(
    tmp_path: Path, opened: list[str]
) -> None:
    for class_name, size in (("a", (8, 4)), ("b", (8, 2))):
        (tmp_path / class_name).mkdir()
        data = hostile.encode(Image.new("L", size), "PNG")
        for number in range(400):
            (tmp_path / class_name / f"{number:03d}.png").write_bytes(data)
    (tmp_path / "a" / "000.png").write_bytes(b"not an image")
    listing = DatasetSpec(tmp_path).listing()
    del opened[:]
    shape = Shape.of_listing(listing)
    assert shape.count == SAMPLE_SIZE - 1
    assert len({path for path in opened if path.endswith(".png")}) == SAMPLE_SIZE
    assert 2 <= shape.aspect <= 4  # from both classes


@pytest.mark.parametrize("name", [*CATALOGUE, "tiny_random"])
def test_sizes_are_legal_for_every_network(name: str) -> None:
    network = architecture_of(name)
    own = network.default_size
    assert fitting_size(name, 1.0) == (own, own)
    for aspect in np.geomspace(1 / 40, 40, 41).tolist():
        height, width = fitting_size(name, aspect)
        BackboneAdapter(name, image_size=(height, width), weights=None)  # refuses illegal ones
        assert fitting_size(name, 1 / aspect) == (width, height)
        assert height == width == own or height % network.stride == width % network.stride == 0
        assert min(height, width) >= network.stride
        bound = min(own, 3 * network.minimum_size)
        if bound / own < math.sqrt(
            min(aspect, 1 / aspect)
        ):  # no side is held up by its lower bound
            assert 0.75 * own**2 <= height * width <= 1.35 * own**2
            off = (own / network.stride) ** -0.5  # a small map has few shapes
            assert abs(math.log(width / height / aspect)) < max(0.2, off)


@pytest.mark.parametrize(
    ("name", "aspect"),
    [("tiny_random", 1 / 16), ("MobileNetV2", 16), ("EfficientNetLite0", 1 / 30)],
)
def test_every_stage_of_a_strip_keeps_a_position(name: str, aspect: float) -> None:
    adapter = BackboneAdapter(name, image_size="fit", weights=None).fitted_to(aspect)
    network = adapter.build()
    height, width = adapter.image_size
    stride = architecture_of(name).stride
    assert network.base.output_shape[1:3] == (height // stride, width // stride)
    for cut in network.stages:
        assert min(cut.shape[:2]) >= 1


def test_a_size_to_come_is_a_setting_and_no_network() -> None:
    assert repr(FIT) == "BackboneAdapter('tiny_random', image_size='fit')"
    assert BackboneAdapter.from_json(FIT.to_json()) == FIT != BackboneAdapter("tiny_random")
    assert FIT.fitted_to(3.0) == BackboneAdapter("tiny_random", image_size=STRIPS)
    for use in (FIT.build, FIT.fingerprint):
        with pytest.raises(SettingError, match=r"follows the images of a folder.*fitted_to"):
            use()
    with pytest.raises(SettingError, match=r'a pair \(height, width\) or "fit", got \'fits\''):
        BackboneAdapter("tiny_random", image_size="fits")  # type: ignore[arg-type]
    with pytest.raises(SettingError, match="`aspect` must be"):
        FIT.fitted_to(0)


def test_networks_of_a_fixed_size_refuse() -> None:
    model = BackboneAdapter("tiny_random").build().base
    with pytest.raises(SettingError, match=r"must be numbers for a model of your own, got \"fit\""):
        BackboneAdapter(model, image_size="fit")
    with pytest.raises(SettingError, match="the size that its model was taken at"):
        BackboneAdapter(model).fitted_to(2.0)


def test_training_is_that_of_the_size_it_stands_for(
    strips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the record, the artifact, the cache, the checkpoint and the folds it is a plain size."""
    schedule = FineTuneSchedule.head_only()

    def trained(backbone: BackboneAdapter) -> TransferClassifier:
        return transfer_classifier(
            strips,
            backbone=backbone,
            schedule=schedule,
            cache_dir=tmp_path / "cache",
            checkpoint_dir=tmp_path / "state",
        )

    fitted = trained(FIT)
    said = "image size: 16 x 56 pixels (height x width), because the median of 40 images is 3.00"
    assert said in capsys.readouterr().err
    plain = BackboneAdapter("tiny_random", image_size=STRIPS)
    assert fitted.record.backbone == plain.to_config()
    passes = len(list((tmp_path / "cache").iterdir()))
    given = trained(plain)
    assert "image size" not in capsys.readouterr().err
    assert len(list((tmp_path / "cache").iterdir())) == passes  # the same pass, read back
    assert given.fingerprint == fitted.fingerprint
    fitted.save(tmp_path / "strips.keras")
    loaded = TransferClassifier.load(tmp_path / "strips.keras")
    assert loaded.image_size == STRIPS
    files = sorted(strips.glob("*/*.jpg"))[:4]
    pixels = np.stack([read_image(file, STRIPS)[0] for file in files])
    assert [p.logit for p in loaded.predict(pixels)] == [p.logit for p in fitted.predict(files)]
    judged = [cross_validate(strips, backbone=one, schedule=schedule) for one in (FIT, plain)]
    assert judged[0] == judged[1]


def test_the_audit_and_the_page_propose_it_where_images_are_elongated(
    strips: Path, drawn_folder: Path
) -> None:
    report, square = audit(strips), audit(drawn_folder)
    assert report.aspect == pytest.approx(3)
    assert AuditReport.from_json(report.to_json()) == report
    proposal = 'image_size="fit" (--image-size fit)'
    assert proposal in str(report)
    assert square.aspect == pytest.approx(1)
    assert proposal not in str(square)
    schedule = FineTuneSchedule.head_only()
    for backbone, wanted in ((BackboneAdapter("tiny_random"), True), (FIT, False)):
        trained = transfer_classifier(strips, backbone=backbone, schedule=schedule)
        steps = next_steps(trained, make_album(trained, None))
        assert any("Train with " + proposal in step for step in steps) == wanted


def test_the_command_line_takes_it(
    strips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "strips.keras"
    command = ["train", str(strips), "-o", str(output), "--backbone", "tiny_random"]
    assert main([*command, "--image-size", "fit", "--schedule", "head-only"]) == 0
    assert "image size: 16 x 56 pixels" in capsys.readouterr().err
    assert TransferClassifier.load(output).image_size == STRIPS
