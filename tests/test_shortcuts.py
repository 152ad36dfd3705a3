"""What tells the classes apart besides what they show is found by its name, and nothing else is accused."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import folder_named_by
from PIL import Image

from tlkit import (
    AuditReport,
    BackboneAdapter,
    DatasetSpec,
    FineTuneSchedule,
    audit,
    transfer_classifier,
)
from tlkit.data.example import Example
from tlkit.data.shortcuts import FACTS, Shortcut, find_shortcuts
from tlkit.errors import ShortcutWarning
from tlkit.evaluation.rate import Rate
from tlkit.images.appearance import appearance_of
from tlkit.images.decoder import ImageFacts, read_image

Save = Callable[[Image.Image, Path], object]


def picture(seed: int) -> Image.Image:
    """A cloudy picture of a random size, brightness and colour: the same lottery for both classes."""
    rng = np.random.default_rng(seed)
    coarse = rng.normal(rng.uniform(95, 125), rng.uniform(15, 45), (6, 6, 3)) + rng.normal(0, 12, 3)
    size = int(rng.integers(56, 96)), int(rng.integers(56, 96))
    return Image.fromarray(coarse.clip(0, 255).astype(np.uint8)).resize(
        size, Image.Resampling.BICUBIC
    )


def as_jpeg(image: Image.Image, path: Path) -> None:
    image.save(path.with_suffix(".jpg"), quality=90)


def as_png(image: Image.Image, path: Path) -> None:
    image.save(path.with_suffix(".png"))


def resized(image: Image.Image, path: Path) -> None:
    as_jpeg(image.resize((112, image.height)), path)


def brighter(image: Image.Image, path: Path) -> None:
    as_jpeg(image.point(lambda value: min(255, int(1.6 * value))), path)


def grey(image: Image.Image, path: Path) -> None:
    as_jpeg(image.convert("L"), path)


def framed(image: Image.Image, path: Path) -> None:
    inside = image.resize((image.width - 6, image.height - 6))
    tint = Image.new("RGB", image.size, (20, 130, 190))  # about as bright as the pictures are
    tint.paste(inside, (3, 3))
    as_jpeg(tint, path)


def shot_with(maker: str) -> Save:
    def save(image: Image.Image, path: Path) -> None:
        exif = Image.Exif()
        exif[271], exif[272] = maker, "One Two"
        image.save(path.with_suffix(".jpg"), quality=90, exif=exif)

    return save


def folder_of(folder: Path, one: Save, other: Save, count: int = 30) -> Path:
    for label, (name, save) in enumerate((("one", one), ("two", other))):
        (folder / name).mkdir()
        for number in range(count):
            save(picture(2 * number + label), folder / name / f"{number:02d}")
    return folder


@pytest.mark.parametrize(
    ("name", "one", "other"),
    [
        ("format", as_png, as_jpeg),
        ("width", resized, as_jpeg),
        ("brightness", brighter, as_jpeg),
        ("mode", grey, as_jpeg),
        ("border colour", framed, as_jpeg),
        ("camera", shot_with("Acme"), shot_with("Other maker")),
        ("camera", shot_with("Acme"), as_jpeg),
    ],
)
def test_a_planted_shortcut_is_found_by_its_name(
    tmp_path: Path, name: str, one: Save, other: Save
) -> None:
    found = audit(folder_of(tmp_path, one, other))
    first = found.shortcuts[0]
    assert (first.name, first.suspicious) == (name, True)
    assert 0.85 <= first.auc.value <= 1
    assert 0.75 < first.auc.low <= first.auc.value <= first.auc.high
    assert {end[0].split("/")[0] for end in first.ends} == {"one", "two"}
    assert f"    {name}: AUC " in found.to_text()
    assert "a network may learn it" in found.to_text()
    again = AuditReport.from_json(found.to_json())
    assert again.shortcuts == found.shortcuts
    assert again.shortcuts[0].auc.low == first.auc.low
    assert found.exit_code() == 0, "it is for people to judge"


def test_nothing_is_accused_where_nothing_is_planted(tmp_path: Path) -> None:
    found = audit(folder_of(tmp_path, as_jpeg, as_jpeg))
    assert not any(shortcut.suspicious for shortcut in found.shortcuts)
    assert [one.auc for one in found.shortcuts] == sorted(
        (s.auc for s in found.shortcuts), reverse=True
    )
    assert "No fact of the files alone tells the classes apart; nearest: " in found.to_text()
    everything = found.to_text(None)
    assert all(f"    {shortcut.name}: AUC" in everything for shortcut in found.shortcuts)
    assert {one.name for one in found.shortcuts} <= FACTS.keys()


def test_names_and_dates_are_listed_and_never_suspicious(tmp_path: Path) -> None:
    def dated(year: int, prefix: str) -> Save:
        def save(image: Image.Image, path: Path) -> None:
            exif = Image.Exif()
            exif[306] = f"{year}:05:01 12:00:00"
            image.save(path.with_name(f"{prefix}{path.name}.jpg"), quality=90, exif=exif)

        return save

    found = audit(folder_of(tmp_path, dated(2009, "cat."), dated(2019, "dog.")))
    by_name = {shortcut.name: shortcut for shortcut in found.shortcuts}
    assert by_name["file name"].auc > 0.95
    assert by_name["date"].auc > 0.95
    assert "'two' 100% dog.#.jpg; 'one' 100% cat.#.jpg" in str(by_name["file name"])
    assert not any(shortcut.suspicious for shortcut in found.shortcuts)


def facts(brightness: float) -> ImageFacts:
    image = np.zeros((32, 32), np.uint8)
    return ImageFacts(
        format="JPEG",
        mode="RGB",
        width=64,
        height=64,
        orientation=1,
        animated=False,
        transparent=False,
        bits=8,
        byte_count=1000,
        digest="",
        thumbnail=image,
        appearance=appearance_of(Image.new("RGB", (2, 2)))._replace(brightness=brightness),
    )


def judged(values: np.ndarray, labels: np.ndarray) -> Shortcut | None:
    examples = [
        Example(Path(f"{n}.jpg"), f"{n}.jpg", "ab"[y], int(y)) for n, y in enumerate(labels)
    ]
    found = find_shortcuts(
        examples,
        [facts(float(value)) for value in values],
        [example.name for example in examples],
        ("a", "b"),
    )
    return next((one for one in found if one.name == "brightness"), None)


def test_groups_are_kept_together() -> None:
    groups = np.repeat(np.arange(40), 5).tolist()
    labels = [group % 2 for group in groups]
    examples = [Example(Path(f"{n}.jpg"), f"{n}.jpg", "ab"[y], y) for n, y in enumerate(labels)]
    by_group = [replace(facts(100), camera=f"camera {group}") for group in groups]
    names = [example.name for example in examples]
    (apart,) = (
        one for one in find_shortcuts(examples, by_group, names, ("a", "b")) if one.name == "camera"
    )
    (together,) = (
        one
        for one in find_shortcuts(examples, by_group, [f"g{n}" for n in groups], ("a", "b"))
        if one.name == "camera"
    )
    assert apart.suspicious, "each group has a camera of its own, which tells its other images"
    assert together.auc.value < 0.7, "and nothing of new groups"
    assert not together.suspicious
    assert together.auc.count == 40, "groups are counted, not images"


def test_chance_accuses_nobody_and_what_is_there_is_seen() -> None:
    rng = np.random.default_rng(1)
    areas = []
    for _ in range(40):
        labels = rng.integers(0, 2, 80)
        found = judged(rng.normal(size=80), labels)
        assert found is not None
        assert not found.suspicious
        areas.append(found.auc.value)
    assert np.mean(areas) == pytest.approx(0.5, abs=0.05)
    seen = 0
    for _ in range(20):
        labels = rng.integers(0, 2, 120)
        found = judged(rng.normal(size=120) + 2.6 * labels, labels)  # an AUC of 0.967
        seen += found is not None and found.suspicious
    assert seen >= 19


def test_the_interval_covers_what_the_fact_is_worth_on_new_images() -> None:
    rng = np.random.default_rng(2)
    covered = 0
    for _ in range(40):
        labels = rng.permutation(np.repeat([0, 1], 60))
        found = judged(rng.normal(size=120) + 1.2 * labels, labels)
        assert found is not None
        covered += found.auc.low <= 0.802 <= found.auc.high  # what the best rule is worth
    assert covered >= 32


def test_a_value_that_only_one_class_has_counts_wherever_it_lies() -> None:
    rng = np.random.default_rng(3)
    labels = np.repeat([0, 1], 60)
    values = np.where(labels, 100.0, rng.uniform(50, 150, 120))
    found = judged(values, labels)
    assert found is not None
    assert found.auc.value > 0.98, "an area by ranks alone would be 0.5"


def test_too_few_images_say_nothing() -> None:
    labels = np.array([0] * 7 + [1] * 30)
    assert judged(labels * 100.0, labels) is None
    assert judged(np.zeros(40), np.repeat([0, 1], 20)) is None, "the same for all"


def test_training_warns_and_names_the_way_on(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, as_png, as_jpeg, 12)

    def train(spec: DatasetSpec) -> None:
        transfer_classifier(
            spec,
            backbone=BackboneAdapter("tiny_random"),
            schedule=FineTuneSchedule.head_only(),
        )

    with pytest.warns(
        ShortcutWarning, match=r"(?s)format: AUC 1\.0.*save the images of both classes"
    ) as seen:
        train(DatasetSpec(folder))
    (warning,) = [one for one in seen if one.category is ShortcutWarning]
    assert warning.filename == __file__


def test_appearance_of_known_pictures() -> None:
    plain = appearance_of(Image.new("RGB", (300, 200), (200, 100, 50)))
    assert plain.brightness == pytest.approx(124, abs=1)
    assert (plain.contrast, plain.sharpness) == (0, 0)
    assert plain.border == (200, 100, 50)
    assert plain.colourfulness == pytest.approx(0.3 * np.hypot(100, 100), abs=0.1)
    rng = np.random.default_rng(0)
    noise = Image.fromarray(rng.integers(0, 256, (96, 96, 3), dtype=np.uint8))
    smooth = Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)).resize((96, 96))
    assert appearance_of(noise).sharpness > 5 * appearance_of(smooth).sharpness
    framed = Image.new("RGB", (96, 96), (0, 0, 255))
    framed.paste((255, 0, 0), (3, 3, 93, 93))
    assert appearance_of(framed).border == (0, 0, 255)
    half = np.zeros((96, 96, 3), np.uint8)
    half[48:] = 255
    assert appearance_of(Image.fromarray(half)).contrast == pytest.approx(127.5)


def test_appearance_does_not_depend_on_the_size_asked_for(tmp_path: Path) -> None:
    picture(0).resize((640, 480)).save(tmp_path / "x.jpg")
    found = [read_image(tmp_path / "x.jpg", (side, side))[1].appearance for side in (32, 224, 448)]
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("end", [".jpg", ".png", ".webp", ".tif"])
def test_camera_and_date_are_read_from_every_format(tmp_path: Path, end: str) -> None:
    exif = Image.Exif()
    exif[271], exif[272], exif[306] = "Acme", "Model of a long name", "2024:05:01 12:00:00"
    picture(0).save(tmp_path / f"x{end}", exif=exif)
    found = read_image(tmp_path / f"x{end}", (8, 8))[1]
    assert found.camera == "Acme Model of a long name"
    assert found.taken == "2024-05-01"
    again = ImageFacts.from_config(found.to_config())
    assert again == found
    assert again.appearance == found.appearance


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["alpaca", "brain-mri", "elpv", "hotdog", "hurricane", "magtile-crack", "smiles64"]
)
def test_no_false_alarm_on_real_folders(name: str) -> None:
    folder = (
        folder_named_by("TLKIT_ALPACA_DIR")
        if name == "alpaca"
        else folder_named_by("TLKIT_FOLDERS_DIR") / name
    )
    accused = [str(shortcut) for shortcut in audit(folder).shortcuts if shortcut.suspicious]
    assert accused == []


def test_a_shortcut_is_a_value() -> None:
    one = Shortcut("format", Rate.of_ranks(0.9, 30, 30), suspicious=True, detail="x")
    assert Shortcut.from_json(one.to_json()) == one
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert str(one).startswith("format: AUC 0.90 (95 % CI ")
