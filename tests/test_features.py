"""The pass gives what the network gives, once for each image, and names what it cannot read."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import NoReturn

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from tlkit.backbones.adapter import BackboneAdapter
from tlkit.backbones.engines import ImagesToo, TensorFlowEngine
from tlkit.data.dataset import DatasetSpec
from tlkit.data.example import Example
from tlkit.errors import BadFileWarning, ImageError
from tlkit.features.frozen_part import FrozenPart
from tlkit.features.run_folders import RunFolders
from tlkit.images.augmentation import AugmentationPolicy
from tlkit.training.schedule import FineTuneSchedule, GradientHead, Phase
from tlkit.training.settings import needs_of

TUNED = FineTuneSchedule(phases=(Phase(unfreeze_fraction=0.3, views=3),))
POLICY = AugmentationPolicy(horizontal_flip=True, brightness_fraction=0.2)


def part(
    schedule: FineTuneSchedule, run_folders: RunFolders | None = None, *, seed: int = 0
) -> FrozenPart:
    return FrozenPart(
        BackboneAdapter("tiny_random"),
        needs_of(schedule),
        POLICY,
        seed,
        run_folders or RunFolders(),
    )


def examples_of(folder: Path) -> tuple[Example, ...]:
    return DatasetSpec(folder).listing().examples


def images_of(examples: tuple[Example, ...]) -> npt.NDArray[np.uint8]:
    def read(path: Path) -> npt.NDArray[np.uint8]:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB").resize((32, 32), Image.Resampling.BILINEAR))

    return np.stack([read(example.path) for example in examples])


def test_features_are_those_of_the_network(drawn_folder: Path) -> None:
    examples = examples_of(drawn_folder)
    originals = part(FineTuneSchedule.head_only()).read(examples)
    network = BackboneAdapter("tiny_random").build()
    model = network.features()
    expected = model.predict(images_of(examples).astype("float32"), verbose=0)
    (features,) = originals.outputs
    assert originals.readable.tolist() == list(range(48))
    assert np.allclose(features.read(originals.readable), expected, atol=1e-5)
    assert originals.backbone_parameters == model.count_params()
    assert originals.stage_widths == network.stage_widths


def test_activations_lead_to_the_features(drawn_folder: Path) -> None:
    frozen = part(TUNED)
    originals = frozen.read(examples_of(drawn_folder))
    features, activations = (rows.read(originals.readable) for rows in originals.outputs)
    assert frozen.cut is not None
    above = frozen.network.upper(frozen.cut).predict(activations, verbose=0).mean(axis=(1, 2))
    assert activations.shape == (48, *frozen.cut.shape)
    assert np.allclose(features[:, -above.shape[1] :], above, atol=1e-5)


def test_numbers_do_not_depend_on_the_company_in_a_batch(drawn_folder: Path) -> None:
    images = images_of(examples_of(drawn_folder))
    engine = TensorFlowEngine(BackboneAdapter("tiny_random").build().model)
    together = engine(images)[0]
    alone = np.concatenate([engine(image[np.newaxis])[0] for image in images])
    assert np.allclose(together, alone, atol=1e-6)


def test_without_a_cut_the_images_stand_for_the_activations() -> None:
    network = BackboneAdapter("tiny_random").build()
    images = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)
    engine = TensorFlowEngine(network.features())
    features, kept = ImagesToo(engine)(images)
    assert np.array_equal(features, engine(images)[0])
    assert kept is images


def test_views_are_made_from_the_images_and_seeded(drawn_folder: Path) -> None:
    train = np.array([3, 40, 7, 21], np.int64)

    def views(seed: int) -> list[npt.NDArray[np.generic]]:
        frozen = part(TUNED, seed=seed)
        originals = frozen.read(examples_of(drawn_folder))
        (made,) = frozen.views(originals, train, 3, features=False, activations=True)
        assert np.array_equal(made.read(train), originals.outputs[1].read(train))
        return [made.read(train, view) for view in (1, 2)]

    first, again, other = views(0), views(0), views(1)
    assert np.array_equal(first, again)
    assert not np.array_equal(first[0], first[1])
    assert not np.array_equal(first[0], other[0])


def test_a_view_is_the_networks_answer_to_the_augmented_image(drawn_folder: Path) -> None:
    examples, train = examples_of(drawn_folder), np.array([5, 30], np.int64)
    schedule = FineTuneSchedule(head=GradientHead(views=2))
    frozen = part(schedule)
    (views,) = frozen.views(frozen.read(examples), train, 2, features=True, activations=False)
    augment = POLICY.build((32, 32), seed=0)
    images = augment(images_of(examples)[train], view=1, key=0)
    expected = frozen.network.features().predict(images.astype("float32"), verbose=0)
    assert np.allclose(views.read(train, 1), expected, atol=1e-5)


def test_unreadable_files_are_named_and_left_out(drawn_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "with holes"
    shutil.copytree(drawn_folder, folder)
    (folder / "disc" / "03.jpg").write_bytes(b"<html>not found</html>")
    (folder / "not disc" / "00.jpg").unlink()
    (folder / "not disc" / "00.jpg").symlink_to(tmp_path / "gone.jpg")
    examples = examples_of(folder)
    originals = part(FineTuneSchedule.head_only()).read(examples)
    bad = {Path(file.path).relative_to(folder).as_posix() for file in originals.bad_files}
    assert bad == {"disc/03.jpg", "not disc/00.jpg"}
    readable = {examples[row].name for row in originals.readable}
    assert readable == {example.name for example in examples} - bad
    assert len(originals.facts) == 46
    with pytest.raises(ImageError, match=r"03\.jpg"):
        part(FineTuneSchedule.head_only()).read(examples, stop_at_bad_file=True)


@pytest.mark.parametrize("schedule", [FineTuneSchedule.head_only(), TUNED], ids=["head", "views"])
def test_a_batch_of_which_nothing_is_left_is_passed_over(
    schedule: FineTuneSchedule, drawn_folder: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "holes"
    shutil.copytree(drawn_folder, folder)
    for number in range(70):  # two whole batches and some, before the first that can be read
        (folder / "disc" / f"0 {number:02d}.heic").write_bytes(b"no image")
    examples = examples_of(folder)
    originals = part(schedule, RunFolders(cache=tmp_path / "cache")).read(examples)
    assert len(originals.bad_files) == 70
    assert originals.readable.tolist() == list(range(70, 118))
    whole = part(schedule).read(examples_of(drawn_folder))
    for found, expected in zip(originals.outputs, whole.outputs, strict=True):
        assert np.allclose(found.read(originals.readable), expected.read(whole.readable), atol=1e-6)


def test_images_that_vanish_during_a_run_are_named_and_stay_as_they_are(
    drawn_folder: Path, tmp_path: Path
) -> None:
    folder, run_folders = tmp_path / "images", RunFolders(cache=tmp_path / "cache")
    shutil.copytree(drawn_folder, folder)
    examples, train = examples_of(folder), np.arange(40, dtype=np.int64)
    part(TUNED, run_folders).read(examples)
    again = part(TUNED, run_folders)  # has features and facts, but none of the images
    originals = again.read(examples)
    gone = [3, *range(32, 40)]  # one of the first batch, and all of the second
    for index in gone:
        examples[index].path.unlink()
    with pytest.warns(BadFileWarning, match="left out 9 files") as caught:
        (views,) = again.views(originals, train, 3, features=False, activations=True)
    assert len(caught) == 1
    expected = originals.outputs[1].read(train)
    for view in (1, 2):
        same = (views.read(train, view) == expected).reshape(40, -1).all(axis=1)
        assert np.flatnonzero(same).tolist() == gone


def test_a_kept_pass_is_read_back_without_a_network(
    drawn_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_folders, examples = RunFolders(cache=tmp_path), examples_of(drawn_folder)
    first = part(FineTuneSchedule.head_only(), run_folders).read(examples)

    def build(_self: BackboneAdapter) -> NoReturn:
        pytest.fail("the network was built, although everything was there")

    monkeypatch.setattr(BackboneAdapter, "build", build)
    again = part(FineTuneSchedule.head_only(), run_folders).read(examples)
    assert np.array_equal(
        again.outputs[0].read(first.readable), first.outputs[0].read(first.readable)
    )
    assert again.facts == first.facts
    assert again.backbone_parameters == first.backbone_parameters > 0


def test_a_changed_file_is_computed_anew(drawn_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "images"
    shutil.copytree(drawn_folder, folder)
    run_folders = RunFolders(cache=tmp_path / "cache")
    first = part(FineTuneSchedule.head_only(), run_folders).read(examples_of(folder))
    shutil.copy(folder / "disc" / "01.jpg", folder / "disc" / "00.jpg")
    again = part(FineTuneSchedule.head_only(), run_folders).read(examples_of(folder))
    changed = (first.outputs[0].read(first.readable) != again.outputs[0].read(first.readable)).any(
        axis=1
    )
    names = [example.name for example in examples_of(folder)]
    assert [names[row] for row in np.flatnonzero(changed)] == ["disc/00.jpg"]


def test_weights_of_large_networks_are_not_folded_but_count_as_they_were(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = BackboneAdapter("tiny_random").build().model
    images = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)
    folded = TensorFlowEngine(model)
    monkeypatch.setattr("tlkit.backbones.engines._FOLDED_AT_MOST", 1000)
    large = TensorFlowEngine(model)
    sizes = [
        len(engine._forward.graph.as_graph_def().SerializeToString()) for engine in (folded, large)
    ]
    assert sizes[0] - sizes[1] > 4 * model.count_params() / 2
    before = large(images)[0]
    assert np.allclose(folded(images)[0], before, atol=1e-5)
    for weight in model.weights:
        weight.assign(weight * 2)
    assert np.array_equal(large(images)[0], before)


def test_views_that_change_nothing_are_not_made(drawn_folder: Path, tmp_path: Path) -> None:
    examples, train = examples_of(drawn_folder), np.arange(10)

    def unchanged(folders: RunFolders) -> FrozenPart:
        policy = AugmentationPolicy.none()
        return FrozenPart(BackboneAdapter("tiny_random"), needs_of(TUNED), policy, 0, folders)

    frozen = unchanged(RunFolders(cache=tmp_path))
    originals = frozen.read(examples)
    (views,) = frozen.views(originals, train, 3, features=False, activations=True)
    for view in range(3):
        assert np.array_equal(views.read(train, view), originals.outputs[1].read(train))
    assert [path.name.partition("-")[0] for path in tmp_path.iterdir()] == ["images"]


def test_without_a_place_to_keep_it_no_file_is_asked_when_it_changed(
    drawn_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(_example: Example) -> NoReturn:
        raise AssertionError("nothing is kept, so nothing can be stale")

    examples = examples_of(drawn_folder)
    monkeypatch.setattr("tlkit.features.frozen_part._status", refuses)
    assert len(part(FineTuneSchedule.head_only()).read(examples).facts) == 48
    with pytest.raises(AssertionError, match="nothing is kept"):
        part(FineTuneSchedule.head_only(), RunFolders(cache=tmp_path)).read(examples)
