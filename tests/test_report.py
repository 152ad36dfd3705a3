"""The report opens anywhere, asks nothing of the network, states the metrics, and text stays text."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import re
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest
from PIL import Image

import tlkit
from tlkit.backbones.adapter import BackboneAdapter
from tlkit.classifier.classifier import TransferClassifier, with_card
from tlkit.classifier.record import Record
from tlkit.cli import app as cli
from tlkit.cli import arguments as words
from tlkit.data.dataset import DatasetSpec
from tlkit.errors import DatasetError, MissingExtraError, SettingError, TlkitError
from tlkit.evaluation.rate import Rate
from tlkit.evaluation.scores import CrossValidation
from tlkit.evaluation.threshold import ThresholdGoal, choose_threshold
from tlkit.images.augmentation import AugmentationPolicy
from tlkit.report import album, recipe, sentences
from tlkit.report.page import write_report
from tlkit.report.sentences import percent, span
from tlkit.training.schedule import ExactHead, FineTuneSchedule, Phase
from tlkit.training.transfer import transfer_classifier

for extra in ("matplotlib", "jinja2"):
    pytest.importorskip(extra)

TINY = BackboneAdapter("tiny_random")


def written(classifier: TransferClassifier, folder: Path, **arguments: Any) -> str:
    write_report(classifier, folder / "report.html", **arguments)
    return (folder / "report.html").read_text("utf-8")


@pytest.fixture(scope="module")
def report(classifier: TransferClassifier, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of the shared classifier, with heat maps for a few."""
    path = tmp_path_factory.mktemp("report") / "report.html"
    write_report(classifier, path, heat_maps=4)
    return path


@pytest.fixture(scope="module")
def crossed(drawn_folder: Path) -> TransferClassifier:
    """Fine-tuned, and cross-validated."""
    return transfer_classifier(
        DatasetSpec(drawn_folder, validation_fraction=0.2),
        backbone=TINY,
        schedule=FineTuneSchedule(phases=(Phase(unfreeze_fraction=0.5, epochs=2),)),
        folds=2,
    )


# the page as a file


def test_the_same_classifier_gives_the_same_page(
    classifier: TransferClassifier, report: Path, tmp_path: Path
) -> None:
    classifier.save(tmp_path / "saved.keras")
    again = TransferClassifier.load(tmp_path / "saved.keras")
    assert written(again, tmp_path, heat_maps=4) == report.read_text("utf-8")


def test_only_the_script_of_the_page_may_run(report: Path) -> None:
    text = report.read_text("utf-8")
    scripts = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(scripts[0].encode()).digest()).decode()
    (policy,) = re.findall(r'Content-Security-Policy" content="(.*?)"', text)
    assert len(scripts) == 1
    assert policy.startswith("default-src 'none'; ")
    assert f"script-src 'sha256-{digest}'" in policy


def test_nothing_in_the_page_points_outside(report: Path) -> None:
    text = report.read_text("utf-8")
    pointed = re.findall(r'(?:src|href)="([^"]*)"', text)
    assert pointed
    assert all(address.startswith(("data:", "#")) for address in pointed)
    assert not re.search(r"url\((?!#)|@import", text)


def test_ids_are_unique_and_references_lead_somewhere(report: Path) -> None:
    text = report.read_text("utf-8")
    ids = re.findall(r'\bid="([^"]+)"', text)
    pointed = re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)|(?:labelledby|for)="([^"]+)"', text)
    assert len(ids) == len({*ids})
    assert {"".join(names) for names in pointed} <= {*ids}


def test_every_colour_of_a_chart_is_one_of_the_page(report: Path) -> None:
    drawings = re.findall(r"<svg.*?</svg>", report.read_text("utf-8"), re.DOTALL)
    assert (
        len(drawings) == 13
    )  # three parts by four curves, and decisions; an exact head has no epochs
    assert all("var(--first)" in drawing for drawing in drawings)
    assert not re.findall(r"#[0-9a-fA-F]{6}\b", "".join(drawings))


def test_the_summary_is_in_sentences(classifier: TransferClassifier, report: Path) -> None:
    found = classifier.test_evaluation
    assert found is not None
    right = found.true_positives + found.true_negatives
    text = report.read_text("utf-8")
    assert (
        f"On {found.count} images it had not learned from, it was right {right} times: "
        f"{percent(found.accuracy)}."
    ) in text
    assert "always answering “not disc”" in text
    assert "The same network before training" in text
    area = found.roc_auc_rate
    assert area is not None
    assert f">{span(area)}, ROC-AUC {area:.3f}</dd>" in text
    assert "Train with folds=5" in text


def test_shares_have_the_digits_that_their_interval_supports() -> None:
    shown = [
        percent(rate).replace("\xa0", " ")
        for rate in (0.125, Rate.wilson(1, 8), Rate.wilson(998, 1000))
    ]
    assert shown == ["13 %", "13 % (2–47 %)", "99.8 % (99.3–99.9 %)"]


def test_cross_validation_comes_first(crossed: TransferClassifier, tmp_path: Path) -> None:
    text = written(crossed, tmp_path, heat_maps=1)
    assert "On 48 images not learned from, the answer was right" in text
    assert text.index("48 images, cross-validated") < text.index("10 validation images")
    assert "fine-tuning starts" in text
    assert "Train with folds=5" not in text
    assert text.count("Where the evidence for") == 1
    assert text.count("Most like it, of what it learned") == 1


def test_images_that_it_has_learned_are_marked_as_such(
    crossed: TransferClassifier, tmp_path: Path
) -> None:
    bare = dataclasses.replace(
        crossed.record,
        cross_validation=None,
        scores={"validation": crossed.record.scores["validation"]},
    )
    text = written(TransferClassifier(crossed.model, bare), tmp_path, heat_maps=0)
    assert "38 training images, as learned" in text
    assert "these metrics are optimistic" in text
    assert "Where the evidence for" not in text


# the folder


def test_a_changed_folder_is_owned_up_to(
    drawn_folder: Path, classifier: TransferClassifier, tmp_path: Path
) -> None:
    folder = shutil.copytree(drawn_folder, tmp_path / "copy")
    record = classifier.record
    moved = TransferClassifier(
        classifier.model,
        type(record).from_config(
            {**record.to_config(), "dataset": DatasetSpec(folder).to_config()}
        ),
    )
    gone, damaged = record.scores["validation"].names[0], record.training_names[0]
    (folder / gone).unlink()
    (folder / damaged).write_bytes(b"")
    shutil.copy(drawn_folder / "disc" / "00.jpg", folder / "disc" / "fresh.jpg")
    text = written(moved, tmp_path, heat_maps=0)
    assert f"Gone from the folder since training: 1 image ({gone})." in text
    assert "New in the folder since training: 1 image (disc/fresh.jpg)." in text
    assert re.search(rf"cannot be read: 1 file \(\S*{damaged}: the file is empty\)", text)
    assert "> 1 new image</label>" in text
    assert "On 1 new image, it was right" in text


def test_a_moved_folder_is_the_same_folder(
    drawn_folder: Path, classifier: TransferClassifier, tmp_path: Path
) -> None:
    moved = shutil.copytree(drawn_folder, tmp_path / "moved")
    seen = album.make_album(classifier, moved)
    assert seen.is_own
    assert [part.part for part in seen.parts] == ["test", "validation", "out-of-fold"]
    assert len(seen.images) == 48


def test_the_images_of_another_folder_are_predicted_anew(
    drawn_folder: Path, classifier: TransferClassifier, tmp_path: Path
) -> None:
    for name in ("disc", "not disc"):
        (tmp_path / "other" / name).mkdir(parents=True)
        for number in range(5):
            with Image.open(drawn_folder / name / f"{number:02d}.jpg") as image:
                image.crop((1, 1, 47, 47)).save(tmp_path / "other" / name / f"other-{number}.jpg")
    seen = album.make_album(classifier, tmp_path / "other")
    assert not seen.is_own
    assert [part.title for part in seen.parts] == ["10 images of this folder"]
    judged, measured = seen.parts[0].judged.evaluation, classifier.evaluate(tmp_path / "other")
    assert (judged.true_positives, judged.false_positives) == (
        measured.true_positives,
        measured.false_positives,
    )
    assert judged.log_loss == pytest.approx(measured.log_loss)
    text = written(classifier, tmp_path, data=tmp_path / "other", heat_maps=1)
    assert "On 10 images of this folder, it was right" in text
    assert "Audit of the folder that it was trained on" in text


def test_of_a_large_folder_the_most_telling_images_are_shown(
    classifier: TransferClassifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    everything = album.make_album(classifier, None)
    names = [image.example.name for image in everything.images]
    monkeypatch.setattr(album, "IMAGES", 2)
    seen = album.make_album(classifier, None)
    added = [name for name in names[2:] if name in everything.unlike]
    assert added  # the least familiar are shown wherever they stand
    assert [image.example.name for image in seen.images] == [*names[:2], *added]
    (note,) = seen.notes
    assert note == (
        f"Not shown: {46 - len(added)} images whose label the classifier finds easy to believe. The metrics "
        "count them."
    )


def test_files_that_do_not_belong_there_are_the_least_familiar(
    drawn_folder: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(drawn_folder, tmp_path / "drawn")
    stripes = np.zeros((2, 32, 32, 3), np.uint8)
    stripes[0, ::2] = stripes[1, :, ::2] = (0, 255, 80)
    Image.fromarray(stripes[0]).save(folder / "disc" / "stripes.png")
    spec = DatasetSpec(folder)
    classifier = transfer_classifier(spec, backbone=TINY, schedule=FineTuneSchedule.head_only())
    seen = album.make_album(classifier, None)
    assert "disc/stripes.png" in [*seen.unlike][:2]
    assert [*seen.unlike.values()] == sorted(seen.unlike.values())
    assert max(seen.unlike.values()) <= 0.1
    marked = {i.example.name: i.familiarity for i in seen.images if i.familiarity is not None}
    assert marked == seen.unlike
    decided = tmp_path / "decisions.csv"
    decided.write_text("image,decision\ndisc/stripes.png,right\n", "utf-8")
    again = album.make_album(classifier, DatasetSpec(folder, decisions=decided))
    assert again.unlike.keys() == seen.unlike.keys() - {"disc/stripes.png"}

    # new images are ranked where they are predicted
    for name in ("disc", "not disc"):
        (tmp_path / "new" / name).mkdir(parents=True)
        with Image.open(drawn_folder / name / "03.jpg") as image:
            image.crop((1, 1, 47, 47)).save(tmp_path / "new" / name / "usual.jpg")
    Image.fromarray(stripes[1]).save(tmp_path / "new" / "disc" / "strange.png")
    elsewhere = album.make_album(classifier, tmp_path / "new")
    found = classifier.predict(tmp_path / "new" / "disc" / "strange.png").familiarity
    assert elsewhere.unlike["disc/strange.png"] == found
    assert next(iter(elsewhere.unlike)) == "disc/strange.png"


def test_a_relative_folder_is_looked_for_where_one_is(
    drawn_folder: Path,
    classifier: TransferClassifier,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The record keeps it as it was given: a file that is handed on does not tell where its maker works."""
    config = classifier.record.to_config()
    config["dataset"] = DatasetSpec("drawn").to_config()
    relative = TransferClassifier(classifier.model, type(classifier.record).from_config(config))
    assert relative.record.dataset["directory"] == "drawn"
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        DatasetError, match=rf"folder drawn, .* not there in .*{tmp_path.name}: give"
    ):
        album.make_album(relative, None)
    shutil.copytree(drawn_folder, tmp_path / "drawn")
    assert album.make_album(relative, None).is_own
    for image in (tmp_path / "drawn").rglob("*.jpg"):
        image.rename(image.with_name(f"other-{image.name}"))
    assert not album.make_album(relative, None).is_own  # another folder that is called the same


def test_a_folder_that_is_not_there(classifier: TransferClassifier, tmp_path: Path) -> None:
    record = classifier.record
    config = record.to_config() | {"dataset": DatasetSpec(tmp_path / "nowhere").to_config()}
    lost = TransferClassifier(classifier.model, type(record).from_config(config))
    with pytest.raises(DatasetError, match=r"nowhere.* is not there: give its new path as `data`"):
        write_report(lost, tmp_path / "report.html")
    for name in ("cat", "dog"):
        (tmp_path / "pets" / name).mkdir(parents=True)
        shutil.copy(Path(__file__), tmp_path / "pets" / name / "1.jpg")
    with pytest.raises(DatasetError, match="must hold the class folders"):
        write_report(classifier, tmp_path / "report.html", tmp_path / "pets")


def test_arguments_are_checked_before_any_work(
    classifier: TransferClassifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SettingError, match=r"must end in \.html"):
        write_report(classifier, tmp_path / "report.pdf")
    with pytest.raises(SettingError, match="`heat_maps` must be at least 0"):
        write_report(classifier, tmp_path / "report.html", heat_maps=-1)
    for name in ("jinja2", "matplotlib"):
        with monkeypatch.context() as patched:
            patched.setitem(sys.modules, name, None)
            with pytest.raises(MissingExtraError, match=rf'{name}.*pip install "tlkit\[report\]"'):
                write_report(classifier, tmp_path / "report.html")
    with pytest.raises(TlkitError, match="there is no folder"):
        write_report(classifier, tmp_path / "no" / "report.html")
    assert not list(tmp_path.iterdir())


def test_a_folder_in_which_nothing_can_be_read(
    classifier: TransferClassifier, tmp_path: Path
) -> None:
    for name in ("disc", "not disc"):
        (tmp_path / "other" / name).mkdir(parents=True)
        (tmp_path / "other" / name / "1.jpg").write_bytes(b"<html>")
    with pytest.raises(DatasetError, match=r"no image in .*other can be read"):
        write_report(classifier, tmp_path / "report.html", tmp_path / "other")


def test_a_page_may_show_images_of_one_class_alone(
    classifier: TransferClassifier, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Those most like them need not be among the ones that the page shows."""
    monkeypatch.setattr(album, "IMAGES", 1)
    bare = dataclasses.replace(classifier.record, least_familiar={})
    text = written(with_card(classifier, bare), tmp_path, heat_maps=1)
    assert text.count('<li id="image-') == 1
    alike = re.findall(r"of what it learned:</p>(.*?)</div>", text, re.DOTALL)
    assert [images.count("<img ") for images in alike] == [3]


def test_a_folder_that_moved_and_lost_an_image_is_known_by_its_content(
    drawn_folder: Path, classifier: TransferClassifier, tmp_path: Path
) -> None:
    moved = shutil.copytree(drawn_folder, tmp_path / "moved")
    lost = classifier.record.training_names[0]
    (moved / lost).unlink()
    seen = album.make_album(classifier, moved)
    assert seen.is_own
    assert [part.part for part in seen.parts] == ["test", "validation", "out-of-fold"]
    assert any("Gone from the folder" in note and lost in note for note in seen.notes)


def test_other_images_under_the_same_names_are_another_folder(
    drawn_folder: Path, classifier: TransferClassifier, tmp_path: Path
) -> None:
    """Names such as 1.jpg say nothing: the judgements of training are not those of these images."""
    known = classifier.record.training_names[:3]
    for file in drawn_folder.rglob("*.jpg"):
        name = file.relative_to(drawn_folder).as_posix()
        (tmp_path / "other" / name).parent.mkdir(parents=True, exist_ok=True)
        if name in known:
            shutil.copy(file, tmp_path / "other" / name)
        else:
            with Image.open(file) as image:
                image.crop((1, 1, 47, 47)).save(tmp_path / "other" / name)
    seen = album.make_album(classifier, tmp_path / "other")
    assert not seen.is_own
    assert [part.title for part in seen.parts] == [
        "45 images of this folder",
        "3 images that it knows already",
    ]
    assert [part.unseen for part in seen.parts] == [True, False]


def test_a_heat_map_says_whose_it_is(
    crossed: TransferClassifier, classifier: TransferClassifier, tmp_path: Path
) -> None:
    """A fold judged the image, and the map is of the finished classifier: both are named."""
    text = written(crossed, tmp_path, heat_maps=48)
    judged = album.make_album(crossed, None)
    cards = text.split('<li id="image-')[1:]
    assert len(cards) == 48
    differing = 0
    for image, card in zip(judged.images, cards, strict=True):
        finished = crossed.predict(image.example.path)
        other = abs(finished.probability - judged.probabilities[image.example.name]) >= 0.005
        differing += other
        named = f"calls it {finished.label}, probability of disc {finished.probability:.2f}."
        assert (named in card) == ("those of the finished classifier" in card) == other
    assert 0 < differing < 48
    assert "not whether that is a good reason" in text
    alone = album.make_album(classifier, None)
    held_out = {
        *classifier.record.scores["validation"].names,
        *classifier.record.scores["test"].names,
    }
    text = written(classifier, tmp_path, heat_maps=48)
    for image, card in zip(alone.images, text.split('<li id="image-')[1:], strict=True):
        if image.example.name in held_out:
            assert "those of the finished classifier" not in card


# sentences that hold


def test_who_has_not_learned_from_what(classifier: TransferClassifier, report: Path) -> None:
    """This very head has learned from the training images; those of its folds have not."""
    count = len(classifier.record.training_names)
    text = report.read_text("utf-8")
    assert f"On {count} images not learned from, the answer was right" in text
    assert f"On {count} images it had not learned from" not in text
    assert f"on {count} images, each scored by a classifier that had not" in text


def test_the_threshold_in_use_counts_everywhere(
    crossed: TransferClassifier, tmp_path: Path
) -> None:
    careful = crossed.with_threshold(0.9)
    assert careful.cross_validation is not None
    found = careful.cross_validation.evaluation
    right = found.true_positives + found.true_negatives
    text = written(careful, tmp_path, heat_maps=0)
    assert f"On 48 images not learned from, the answer was right {right} times" in text
    assert "At threshold 0.5" not in text
    assert "In cross-validation, probabilities are off by" in text


def test_choices_made_on_the_first_images_are_named_beside_them(
    crossed: TransferClassifier, tmp_path: Path
) -> None:
    record = dataclasses.replace(crossed.record, cross_validation=None)
    text = written(TransferClassifier(crossed.model, record), tmp_path, heat_maps=0)
    summary = text[text.index('class="lede"') : text.index('id="figures"')]
    assert (
        "They were also used to choose which epoch and phase to keep: expect slightly worse"
        in summary
    )


def test_probabilities_that_nothing_could_calibrate(classifier: TransferClassifier) -> None:
    record = dataclasses.replace(classifier.record, calibration=None)
    hopeless = TransferClassifier(classifier.model, record)
    assert "should not be believed" in sentences.belief(hopeless, hopeless.evaluation)
    assert "folds=5" not in sentences.belief(hopeless, hopeless.evaluation)


def test_without_mistakes_there_are_none_to_learn_from(
    classifier: TransferClassifier, tmp_path: Path
) -> None:
    scores = classifier.record.scores["validation"]
    logits = tuple(5.0 if label else -5.0 for label in scores.labels)
    perfect = CrossValidation.counted(
        dataclasses.replace(scores, logits=logits),
        [number // 2 % 2 for number in range(len(logits))],
        class_names=classifier.class_names,
        positive_class=classifier.positive_class,
    )
    record = dataclasses.replace(classifier.record, cross_validation=perfect)
    text = written(TransferClassifier(classifier.model, record), tmp_path, heat_maps=0)
    assert "it makes no mistake on these" in text
    assert "like those it gets wrong" not in text


# how to make it again


class Made:
    """Stands in for `transfer_classifier`, and notes what it was asked for."""

    def __call__(self, data: DatasetSpec, **settings: Any) -> Self:
        self.data, self.settings = data, settings
        return self

    def with_threshold(self, threshold: Any) -> Self:
        self.threshold = threshold
        return self

    def save(self, path: object, *, familiarity: bool = True) -> None:
        del path, familiarity
        raise KeyboardInterrupt  # that is all

    def check(self, record: Record) -> None:
        """The same run was asked for as the one on record."""
        assert self.data.to_config() == record.dataset
        assert self.settings["backbone"].to_config() == record.backbone
        assert self.settings["schedule"].to_config() == record.schedule
        assert self.settings["seed"] == record.seed
        assert self.settings["folds"] == 2
        policy = self.settings.get("augmentation")
        assert (policy and policy.to_config()) == record.augmentation
        choice = record.threshold_choice
        assert self.threshold == (choice.goal if choice else record.threshold)


@pytest.fixture(params=["standard", "head_only", "course"])
def unusual(
    request: pytest.FixtureRequest, crossed: TransferClassifier, drawn_folder: Path, tmp_path: Path
) -> Record:
    """A record in which little is as it usually is."""
    folder = tmp_path / "a folder of 'images'"
    for name in ("disc", "not disc", "other"):
        (folder / name).mkdir(parents=True)
        shutil.copy(drawn_folder / "disc" / "00.jpg", folder / name / "1.jpg")
    data = DatasetSpec(
        folder, seed=7, validation_fraction=0.3, group_by=r"herd-\d+", classes=("not disc", "disc")
    )
    backbone = BackboneAdapter("MobileNet", image_size=160, weights=None, alpha=0.5)
    schedule = getattr(FineTuneSchedule, request.param)()
    policy = AugmentationPolicy.strong()
    goal = ThresholdGoal.cost(false_negative=1234567.5)
    choice = choose_threshold([0, 0, 1], [0.1, 0.2, 0.4], goal)
    changed = {
        "dataset": data.to_config(),
        "backbone": backbone.to_config(),
        "schedule": schedule.to_config(),
        "augmentation": policy.to_config() if schedule.uses_views else None,
        "seed": 3,
        "threshold": 0.25,
        "threshold_choice": choice.to_config() if schedule.uses_views else None,
    }
    return Record.from_config({**crossed.record.to_config(), **changed})


def test_the_python_call_asks_for_the_same_run(
    unusual: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Made()
    monkeypatch.setattr(tlkit, "transfer_classifier", made, raising=False)
    with pytest.raises(KeyboardInterrupt):
        exec(recipe.python_call(unusual), {})
    made.check(unusual)


def test_the_command_line_asks_for_the_same_run(
    unusual: Record, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made, line = Made(), recipe.command(unusual)
    assert line is not None
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tlkit.training.transfer.transfer_classifier", made)
    assert cli.main(shlex.split(line)[1:]) == cli.INTERRUPTED
    made.check(unusual)


def test_settings_without_a_command_line_option(classifier: TransferClassifier) -> None:
    record = classifier.record
    of_its_own = FineTuneSchedule(head=ExactHead(l2=0.5)).to_config()
    for changed in (
        {"schedule": of_its_own},
        {"backbone": {"description": "BackboneAdapter('mine')"}},
    ):
        assert recipe.command(type(record).from_config({**record.to_config(), **changed})) is None
    code = recipe.python_call(
        type(record).from_config({**record.to_config(), "backbone": {"description": "of\nmine"}})
    )
    assert r"backbone=...,  # your own: of\nmine" in code
    compile(code, "report", "exec")


def test_the_command_line_writes_options_as_it_reads_them(classifier: TransferClassifier) -> None:
    backbone = BackboneAdapter("MobileNetV3Small", weights=None, minimalistic=True)
    record = dataclasses.replace(classifier.record, backbone=backbone.to_config())
    line = recipe.command(record)
    assert line is not None
    word = shlex.split(line)[shlex.split(line).index("--option") + 1]
    assert words.option(word) == ("minimalistic", True)


# real data


@pytest.mark.slow
def test_a_real_folder_fits_into_five_megabytes(
    alpaca_dir: Path, weights_dir: Path, tmp_path: Path
) -> None:
    weights = weights_dir / "mobilenet_v2_0.35_224_no_top.weights.h5"
    classifier = transfer_classifier(
        alpaca_dir,
        backbone=BackboneAdapter("MobileNetV2", image_size=160, alpha=0.35, weights=weights),
        schedule=FineTuneSchedule.head_only(),
        folds=5,
    )
    write_report(classifier, tmp_path / "report.html")
    assert (tmp_path / "report.html").stat().st_size < 5e6
    text = (tmp_path / "report.html").read_text("utf-8")
    assert "On 327 images not learned from" in text
    assert text.count('<li id="image-') == 327
    assert text.count("Where the evidence for") == 24
