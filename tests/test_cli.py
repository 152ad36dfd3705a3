"""The command line: what it prints, writes, refuses, and with which exit code it ends."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import re
import shutil
import subprocess
import sys
import warnings
from argparse import Namespace
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
from PIL import Image

import tlkit
from tlkit.backbones.adapter import BackboneAdapter
from tlkit.classifier.classifier import TransferClassifier
from tlkit.cli import app as cli
from tlkit.cli import arguments as words
from tlkit.cli import train as training
from tlkit.cli.app import main
from tlkit.cli.quiet import without_banner
from tlkit.core.tables import as_json, print_table, write_csv
from tlkit.data.dataset import DatasetSpec
from tlkit.delivery.predictions import PredictionSummary, columns_of
from tlkit.errors import BadFileWarning, SettingError, TlkitWarning
from tlkit.insight.explain import explain
from tlkit.insight.label_issues import find_label_issues
from tlkit.training.schedule import FineTuneSchedule

NETWORK = ("--backbone", "tiny_random", "--schedule", "head-only")
Captured = pytest.CaptureFixture[str]


def tlkit_process(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TF_")}
    return subprocess.run(
        [sys.executable, "-m", "tlkit", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env=kept | environment,
    )


@pytest.fixture(scope="module")
def trained(drawn_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A model that `tlkit train` saved, and what it printed."""
    model = tmp_path_factory.mktemp("trained") / "model.keras"
    with contextlib.redirect_stdout(io.StringIO()) as stdout:
        command = ["train", str(drawn_folder), "-o", str(model), "--validation-fraction", "0.2"]
        assert main([*command, *NETWORK]) == 0
    return model, stdout.getvalue()


@pytest.fixture
def images(drawn_folder: Path, tmp_path: Path) -> Path:
    """Two readable images, in a folder and below it, and one that is none."""
    folder = tmp_path / "images"
    (folder / "more").mkdir(parents=True)
    shutil.copy(drawn_folder / "disc" / "00.jpg", folder / "a disc.jpg")
    shutil.copy(drawn_folder / "not disc" / "00.jpg", folder / "more" / "-none.jpg")
    (folder / "broken.jpg").write_bytes(b"<html>")
    return folder


# train


def test_train_shows_classes_numbers_history_and_what_is_next(trained: tuple[Path, str]) -> None:
    model, printed = trained
    assert printed.startswith("48 images: 24 disc (positive), 24 not disc\n")
    assert "accuracy" in printed
    assert "95 % CI" in printed
    assert "head: exact head; 169 of" in printed
    assert "on 10 validation images" in printed
    assert "The head is all that the schedule trains." in printed
    assert f"saved: {model} (" in printed
    assert f"next:  tlkit predict {model} " in printed


def test_train_judges_by_folds_and_chooses_a_threshold(
    drawn_folder: Path, tmp_path: Path, capsys: Captured
) -> None:
    model = tmp_path / "model.keras"
    arguments = ["train", str(drawn_folder), "-o", str(model), *NETWORK]
    assert main([*arguments, "--folds", "3", "--threshold", "recall=0.9"]) == 0
    printed = capsys.readouterr().out
    saved = TransferClassifier.load(model)
    assert saved.cross_validation is not None
    assert saved.record.threshold_choice is not None
    assert saved.threshold == saved.record.threshold_choice.threshold != 0.5
    for part in (saved.evaluation, saved.record.threshold_choice, saved.calibration):
        assert f"\n{part}\n" in printed
    over_folds = str(saved.cross_validation).splitlines()[-1]
    assert printed.count(over_folds) == printed.count("out-of-fold images, 3 folds") == 1


@pytest.mark.parametrize(
    "goal", ["best", "recall", "recall=2", "cost=1", "precision=x", "1.5", "-1", "nan"]
)
def test_a_goal_that_is_none(
    drawn_folder: Path, tmp_path: Path, capsys: Captured, goal: str
) -> None:
    arguments = ["train", str(drawn_folder), "-o", str(tmp_path / "m.keras"), *NETWORK]
    with pytest.raises(SystemExit) as stopped:
        main([*arguments, f"--threshold={goal}"])
    assert stopped.value.code == 2
    assert "argument --threshold: " in capsys.readouterr().err


def test_training_is_not_lost_to_a_goal_out_of_reach(
    drawn_folder: Path, tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> NoReturn:
        raise SettingError("no threshold reaches that")

    monkeypatch.setattr(TransferClassifier, "with_threshold", refused)
    model = tmp_path / "model.keras"
    arguments = ["train", str(drawn_folder), "-o", str(model), *NETWORK]
    assert main([*arguments, "--threshold", "precision=1"]) == 1
    printed = capsys.readouterr()
    assert "error: no threshold reaches that" in printed.err
    assert f"saved: {model} with threshold 0.5" in printed.out
    assert TransferClassifier.load(model).threshold == 0.5


def test_what_was_saved_is_a_classifier(trained: tuple[Path, str], drawn_folder: Path) -> None:
    classifier = TransferClassifier.load(trained[0])
    assert classifier.positive_class == "disc"
    assert classifier.predict(drawn_folder / "disc" / "00.jpg").label == "disc"


def test_options_reach_the_specs(
    drawn_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, object] = {}

    class StopError(Exception):
        pass

    def transfer_classifier(spec: DatasetSpec, **options: object) -> None:
        seen.update(spec=spec, **options)
        raise StopError

    monkeypatch.setattr("tlkit.training.transfer.transfer_classifier", transfer_classifier)
    options = {
        "--positive-class": ["disc"],
        "--classes": ["disc", "not disc"],
        "--validation-fraction": ["0.3"],
        "--test-fraction": ["0.1"],
        "--seed": ["5"],
        "--group-by": ["^.*/."],
        "--on-bad-file": ["raise"],
        "--backbone": ["MobileNet"],
        "--image-size": ["96x128"],
        "--weights": ["none"],
        "--option": ["alpha=0.25", "--option", "depth_multiplier=2"],
        "--schedule": ["course"],
        "--augmentation": ["strong"],
        "--cache-dir": [str(tmp_path)],
        "--resume": [f"{tmp_path}/state"],
        "-o": [f"{tmp_path}/m.keras"],
    }
    command = [word for option, values in options.items() for word in (option, *values)]
    with pytest.raises(StopError):
        main(["train", str(drawn_folder), *command])

    assert seen == {
        "spec": DatasetSpec(
            drawn_folder,
            positive_class="disc",
            validation_fraction=0.3,
            test_fraction=0.1,
            seed=5,
            group_by="^.*/.",
            on_bad_file="raise",
            classes=("disc", "not disc"),
        ),
        "backbone": BackboneAdapter(
            "MobileNet", image_size=(96, 128), weights=None, alpha=0.25, depth_multiplier=2
        ),
        "schedule": FineTuneSchedule.course(),
        "augmentation": tlkit.AugmentationPolicy.strong(),
        "seed": 5,
        "cache_dir": str(tmp_path),
        "checkpoint_dir": f"{tmp_path}/state",
    }


def test_the_split_can_have_a_seed_of_its_own(drawn_folder: Path) -> None:
    common = ["train", str(drawn_folder), "-o", "m.keras", "--seed", "3"]
    parse = cli._parser().parse_args
    assert training._dataset(parse(common)).seed == 3
    assert training._dataset(parse([*common, "--split-seed", "4"])).seed == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "d", "-o", "no such folder/m.keras"], "there is no folder 'no such folder'"),
        (["train", "d", "-o", "m.h5"], "must end in .keras, got 'm.h5'"),
        (["train", "d"], "required: -o/--output"),
        (["train", "d", "-o", "m.keras", "--image-size", "big"], "must be like 160 or 160x224"),
        (["train", "d", "-o", "m.keras", "--option", "alpha"], "must be like alpha=0.35"),
        (["train", "d", "-o", "m.keras", "--schedule", "fast"], "invalid choice: 'fast'"),
        *(
            (
                ["train", "d", "-o", "m.keras", "--option", f"{name}=x"],
                f"{name} has a flag of its own: use {flag}",
            )
            for name, flag in words.FLAGS.items()
        ),
        (["evaluate", "m.keras", "d", "--part", "vall"], "unknown part 'vall': did you mean 'val'"),
        (["audit", "d", "--fail-on", "leek"], "unknown kind 'leek': did you mean 'leak'"),
        (["predict", "m.keras", ""], "PATH: must not be empty"),
        (
            ["predict", "m.keras", "a.jpg", "-o", "p.txt"],
            "must end in .csv, .jsonl or .parquet, got 'p.txt'",
        ),
        (["predict", "m.keras", "a.jpg", "-o", "d/p.csv"], "there is no folder 'd': make it first"),
        (["predict", "m.keras", "a.jpg", "--resume"], "--resume and --ray need -o FILE"),
        (["predict", "m.keras", "a.jpg", "--ray"], "--resume and --ray need -o FILE"),
        (["predict", "m.keras", "--ray", "a.jpg"], "without an address put --ray at the end"),
        (["predict", "m.keras", "a.jpg", "-o", "p.csv", "--json"], "not allowed with argument"),
        ([], "required: COMMAND"),
    ],
)
def test_wrong_command_lines_end_with_2_before_any_work(
    arguments: list[str],
    message: str,
    capsys: Captured,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "nothing", "-o", "m.keras"], "error: cannot list 'nothing'"),
        (["train", "d", "-o", "m.keras", "--backbone", "MobilNet"], "did you mean 'MobileNet'"),
        (
            ["train", "d", "-o", "m.keras", "--image-size", "8"],
            "--image-size for MobileNetV2 must be",
        ),
        (
            ["train", "d", "-o", "m.keras", "--option", "beta=1"],
            "unknown option of MobileNetV2 'beta'",
        ),
        (
            ["train", "d", "-o", "m.keras", "--validation-fraction", "nan"],
            "must be a finite number",
        ),
        (["predict", "m.keras", "a.jpg"], "error: there is no file m.keras"),
        (["evaluate", "m.keras", "d"], "error: there is no file m.keras"),
    ],
)
def test_errors_are_one_sentence_and_end_with_1(
    arguments: list[str],
    message: str,
    capsys: Captured,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 1
    written = capsys.readouterr()
    assert message in written.err
    assert written.err.count("\n") == 1
    assert written.out == ""


@pytest.mark.parametrize("directory", ["nothing", "", "."])
def test_audit_that_cannot_look_ends_with_2(
    directory: str, capsys: Captured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["audit", directory, "--fail-on", "none"]) == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_bad_files_are_a_plain_warning(
    drawn_folder: Path, tmp_path: Path, capsys: Captured
) -> None:
    folder = tmp_path / "with bad"
    shutil.copytree(drawn_folder, folder)
    (folder / "disc" / "00.jpg").write_bytes(b"")

    assert main(["train", str(folder), "-o", str(tmp_path / "m.keras"), *NETWORK]) == 0
    err = capsys.readouterr().err
    assert "warning: left out 1 file that cannot be read as images:\n" in err
    assert "00.jpg: the file is empty" in err
    assert ".py" not in err
    stop = ["--on-bad-file", "raise"]
    assert main(["train", str(folder), "-o", str(tmp_path / "n.keras"), *NETWORK, *stop]) == 1
    assert "error: cannot read" in capsys.readouterr().err
    assert not (tmp_path / "n.keras").exists()


def test_advice_that_is_given_in_both_languages_is_in_the_shells(
    tmp_path: Path, capsys: Captured
) -> None:
    for label, class_name in enumerate(("bright", "dull")):
        (tmp_path / class_name).mkdir()
        for number in range(10):
            rng = np.random.default_rng((label, number))
            pixels = rng.integers(500 * label, 500 * label + 900, (32, 32), dtype=np.uint16)
            Image.fromarray(pixels).save(tmp_path / class_name / f"{number}.png")
    assert main(["train", str(tmp_path), "-o", str(tmp_path / "m.keras"), *NETWORK]) == 0
    err = capsys.readouterr().err
    assert re.search(r"Say what black and white are, such as --value-range \S+ \S+", err)
    assert "DatasetSpec" not in err


def test_other_warnings_pass_as_they_are() -> None:
    with pytest.warns(DeprecationWarning, match="old"), cli._plain_warnings(Namespace(parser=None)):
        warnings.warn("old", DeprecationWarning, stacklevel=1)
    with pytest.warns(BadFileWarning, match="afterwards"):
        warnings.warn("afterwards", BadFileWarning, stacklevel=1)


# evaluate


def test_evaluate_prints_text_or_json(
    trained: tuple[Path, str], drawn_folder: Path, capsys: Captured
) -> None:
    classifier = TransferClassifier.load(trained[0])
    known = len(classifier.record.training_names)
    with pytest.warns(TlkitWarning, match=f"left out {known} of the 48"):
        unseen = classifier.evaluate(drawn_folder)
    with pytest.warns(TlkitWarning, match=f"has learned from {known} of the 48"):
        everything = classifier.evaluate(drawn_folder, include_training=True)
    capsys.readouterr()

    assert main(["evaluate", str(trained[0]), str(drawn_folder)]) == 0
    written = capsys.readouterr()
    assert written.out == f"{unseen}\n"
    assert f"left out {known} of the 48 images" in written.err
    command = ["evaluate", str(trained[0]), str(drawn_folder), "--include-training", "--json"]
    assert main([*command, "--threshold", "0"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["threshold"], found["true_positives"], found["false_positives"]) == (0, 24, 24)
    assert found["log_loss"] == everything.log_loss


def test_evaluate_takes_a_part_by_any_of_its_names(
    trained: tuple[Path, str], drawn_folder: Path, tmp_path: Path, capsys: Captured
) -> None:
    for part in ("train", "valid"):
        for name in ("disc/00.jpg", "not disc/00.jpg"):
            (tmp_path / part / name).parent.mkdir(parents=True)
            shutil.copy(drawn_folder / name, tmp_path / part / name)
    for part in ("val", "valid", "validation"):
        assert main(["evaluate", str(trained[0]), str(tmp_path), "--part", part, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["part"] == "validation"


def test_evaluate_needs_the_same_classes(
    trained: tuple[Path, str], tmp_path: Path, capsys: Captured
) -> None:
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.jpg").touch()
    assert main(["evaluate", str(trained[0]), str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith("error: ")


# predict


def test_predict_takes_files_and_folders_and_finishes_despite_bad_ones(
    trained: tuple[Path, str], images: Path, drawn_folder: Path, capsys: Captured
) -> None:
    extra, missing = str(drawn_folder / "disc" / "01.jpg"), str(images / "missing.jpg")
    assert main(["predict", str(trained[0]), extra, str(images), missing]) == 1
    written = capsys.readouterr()

    header, *rows = [line.split("\t") for line in written.out.splitlines()]
    assert header == [*columns_of("disc")]
    assert "probability_of_disc" in header
    a_disc, broken, none = (str(images / n) for n in ("a disc.jpg", "broken.jpg", "more/-none.jpg"))
    assert [row[0] for row in rows] == [extra, a_disc, broken, none, missing]
    assert [row[1] for row in rows] == ["disc", "disc", "", "not disc", ""]
    expected = TransferClassifier.load(trained[0]).predict(a_disc).probability
    assert float(rows[1][4]) == pytest.approx(expected, abs=1e-6)
    assert "HTML" in rows[2][-1]
    assert rows[4][-1] == "no such file"
    assert written.err.startswith("error: 2 of 5 files cannot be read as images:\n")
    assert broken in written.err


def test_predict_writes_csv(trained: tuple[Path, str], images: Path, capsys: Captured) -> None:
    table = images.parent / "predictions.csv"
    shutil.copy(images / "a disc.jpg", images / "two\nlines.jpg")
    (images / "broken.jpg").unlink()

    assert main(["predict", str(trained[0]), str(images), "-o", str(table)]) == 0
    assert capsys.readouterr().out == f"saved: {table} (3 rows)\n"
    with table.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["label"] for row in rows] == ["disc", "not disc", "disc"]
    assert rows[2]["path"].endswith(r"two\nlines.jpg")
    assert {row["positive_class"] for row in rows} == {"disc"}
    assert {row["error"] for row in rows} == {""}
    assert [path.name for path in images.parent.glob(".*")] == []


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_predict_names_the_first_of_many_bad_files(
    trained: tuple[Path, str], images: Path, capsys: Captured, suffix: str
) -> None:
    for number in range(11):
        (images / f"bad {number:02}.jpg").touch()
    table = images.parent / f"predictions{suffix}"
    assert main(["predict", str(trained[0]), str(images), "-o", str(table)]) == 1
    written = capsys.readouterr()
    assert written.out == f"saved: {table} (14 rows)\n"
    first, *named, last = written.err.splitlines()
    assert first == "error: 12 of 14 files cannot be read as images:"
    assert [line.split(":")[0] for line in named] == [
        f"  {images / f'bad {number:02}.jpg'}" for number in range(10)
    ]
    assert last == "  … and 2 more: see the column `error`"


def test_predict_goes_on_where_it_was_interrupted(
    trained: tuple[Path, str], drawn_folder: Path, tmp_path: Path, capsys: Captured
) -> None:
    table = tmp_path / "predictions.csv"
    arguments = ["predict", str(trained[0]), str(drawn_folder), "-o", str(table)]

    def interrupted(*_arguments: object) -> NoReturn:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tlkit.delivery.predictions.as_row", interrupted)
        assert main(arguments) == 130
    assert "the same command with --resume goes on" in capsys.readouterr().err
    assert main(arguments) == 1
    assert "go on with it (--resume), or delete that folder" in capsys.readouterr().err
    assert main([*arguments, "--resume"]) == 0
    assert len(table.read_text("utf-8").splitlines()) == 49
    assert [path.name for path in tmp_path.iterdir()] == [table.name]


@pytest.mark.parametrize(("words", "address"), [([], None), (["10.0.0.1:6379"], "10.0.0.1:6379")])
def test_predict_asks_ray(
    trained: tuple[Path, str],
    images: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    address: str | None,
) -> None:
    asked: dict[str, object] = {}

    def ray(
        _classifier: object, paths: object, output: Path, **options: object
    ) -> PredictionSummary:
        asked.update(paths=paths, **options)
        return PredictionSummary(output=output, count=1, label_counts={"disc": 1})

    monkeypatch.setattr("tlkit.scale.predict", ray)
    table = str(images.parent / "t.csv")
    arguments = [
        "predict",
        str(trained[0]),
        str(images),
        "-o",
        table,
        "--resume",
        "--ray",
        *words,
    ]
    assert main(arguments) == 0
    assert asked == {"paths": [str(images)], "address": address, "resume": True}


def test_predict_prints_json_and_obeys_the_threshold(
    trained: tuple[Path, str], images: Path, capsys: Captured
) -> None:
    arguments = ["predict", str(trained[0]), str(images), "--json", "--threshold", "0"]
    assert main(arguments) == 1
    rows = json.loads(capsys.readouterr().out)
    assert [row["label"] for row in rows] == ["disc", None, "disc"]
    assert rows[1]["probability_of_disc"] is None
    assert rows[0]["probability_of_disc"] > 0.5
    assert [row["threshold"] for row in rows] == [0.0, None, 0.0]


def test_predict_refuses_an_empty_folder(
    trained: tuple[Path, str], tmp_path: Path, capsys: Captured
) -> None:
    assert main(["predict", str(trained[0]), str(tmp_path)]) == 1
    assert "must hold images, found none" in capsys.readouterr().err


# explain and labels


def test_explain_saves_the_map_of_the_class_asked_for(
    trained: tuple[Path, str], drawn_folder: Path, tmp_path: Path, capsys: Captured
) -> None:
    image, target = drawn_folder / "disc" / "00.jpg", tmp_path / "map.png"
    command = ["explain", str(trained[0]), str(image), "-o", str(target), "--towards", "not disc"]
    assert main([*command, "--strength", "0.8"]) == 0
    assert capsys.readouterr().out.startswith(f"{image}: disc (probability of disc ")
    classifier = TransferClassifier.load(trained[0])
    expected = explain(classifier, image, towards="not disc").overlay(strength=0.8)
    with Image.open(target) as saved:
        np.testing.assert_array_equal(np.asarray(saved), expected)


def test_labels_lists_what_python_finds(
    drawn_folder: Path, tmp_path: Path, capsys: Captured
) -> None:
    folder, model, table = tmp_path / "discs", tmp_path / "m.keras", tmp_path / "doubtful.csv"
    shutil.copytree(drawn_folder, folder)
    wrong = folder / "not disc" / "wrong.jpg"
    (folder / "disc" / "00.jpg").rename(wrong)
    assert main(["train", str(folder), "-o", str(model), *NETWORK]) == 0
    capsys.readouterr()
    assert main(["labels", str(model), "-o", str(table)]) == 0
    written = capsys.readouterr()
    with table.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    issues = find_label_issues(TransferClassifier.load(model))
    assert [row["image"] for row in rows] == [issue.name for issue in issues if issue.likely]
    (found,) = (row for row in rows if row["image"] == "not disc/wrong.jpg")
    assert (found["label"], found["suggested"], found["likely"]) == ("not disc", "disc", "yes")
    assert written.err == f"{len(rows)} of 48 labels are doubted\n"
    with table.open("w", newline="", encoding="utf-8") as file:  # as a spreadsheet would
        columns = csv.DictWriter(file, [*found, "decision"])
        columns.writeheader()
        columns.writerow({**found, "decision": "wrong"})
    decided = DatasetSpec(folder, decisions=table).listing().decided
    assert decided is not None
    assert decided.corrected == ("not disc/wrong.jpg",)
    assert decided.decisions[0].digest
    assert main(["labels", str(model), "--all"]) == 0
    header, *lines = capsys.readouterr().out.splitlines()
    assert header.split("\t")[:5] == ["image", "label", "suggested", "probability", "likely"]
    assert [line.split("\t")[0] for line in lines] == [issue.name for issue in issues]


# tables


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "＝1", "  =1"])
def test_csv_cells_are_never_formulas(text: str, tmp_path: Path) -> None:
    write_csv(tmp_path / "t.csv", ("name", "value"), [(text, -0.5)])
    assert (tmp_path / "t.csv").read_text("utf-8") == f"name,value\n'{text},-0.5\n"


def test_csv_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    (tmp_path / "t.csv").mkdir()
    with pytest.raises(tlkit.errors.TlkitError, match="what was there is untouched"):
        write_csv(tmp_path / "t.csv", ("name",), [("a",)])
    assert [path.name for path in tmp_path.iterdir()] == ["t.csv"]


def test_a_terminal_sees_a_table_and_no_markup(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")
    print_table(("path", "probability", "error"), [("[red]x[/red].jpg", 0.12345, None)])
    shown = capsys.readouterr().out
    assert "[red]x[/red].jpg" in shown
    assert "0.123 " in shown
    assert "error" not in shown


def test_json_holds_null_for_what_it_cannot_carry() -> None:
    assert json.loads(as_json([float("nan"), {"a": float("-inf")}, 0.5, "ä\udcff"])) == [
        None,
        {"a": None},
        0.5,
        "ä\udcff",
    ]


def test_backbones_lists_sizes_and_options(capsys: Captured) -> None:
    assert main(["backbones"]) == 0
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert ["MobileNetV2", "224", "32", "alpha"] in lines
    assert ["InceptionV3", "299", "75", ""] in lines
    assert [line[0] for line in lines[1:]] == list(BackboneAdapter.available())


# The process


def test_ctrl_c_is_130_without_a_traceback(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(BackboneAdapter, "available", staticmethod(interrupted))
    assert main(["backbones"]) == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_help_and_version_load_nothing_heavy() -> None:
    code = (
        "import sys; from tlkit.cli import main\n"
        "try: main([sys.argv[1]])\n"
        "except SystemExit as end: assert end.code == 0\n"
        "print([m for m in ('tensorflow', 'keras', 'numpy', 'PIL', 'rich') if m in sys.modules])"
    )
    for argument, expected in (
        ("--help", "usage: tlkit"),
        ("--version", f"tlkit {tlkit.__version__}"),
    ):
        done = subprocess.run(
            [sys.executable, "-c", code, argument], capture_output=True, text=True, check=True
        )
        assert done.stdout.startswith(expected)
        assert done.stdout.endswith("[]\n")
        assert done.stderr == ""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pipes that break like this")
def test_a_reader_that_goes_away_is_no_error() -> None:
    code = "import sys; from tlkit.cli import main; sys.exit(main())"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "backbones"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == ""
    process.stderr.close()
    assert process.wait(timeout=60) == 141


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
@pytest.mark.parametrize("command", ["backbones", "audit"])
def test_output_that_cannot_be_written_is_an_error(command: str, drawn_folder: Path) -> None:
    code = "import sys; from tlkit.cli import main; sys.exit(main())"
    arguments = [command, *([str(drawn_folder)] if command == "audit" else [])]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == (2 if command == "audit" else 1)
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1


def test_no_stdout_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    assert main(["backbones"]) == 0


def test_tensorflow_starts_without_its_banner(trained: tuple[Path, str], images: Path) -> None:
    """Not even a notebook's drawing backend, inherited by a Python that does not have it, is in the way."""
    words = ("predict", str(trained[0]), str(images / "a disc.jpg"))
    done = tlkit_process(*words, MPLBACKEND="module://matplotlib_inline.of_another_python")
    assert (done.returncode, done.stderr) == (0, "")
    assert "a disc.jpg\tdisc\t" in done.stdout


def test_tensorflow_starts_without_what_no_command_needs() -> None:
    code = """
import sys
from tlkit.cli.quiet import quiet_start
with quiet_start():
    from tlkit.core.tensorflow import keras
extras = {"matplotlib", "pandas", "scipy", "sklearn"}
assert "keras" in sys.modules and not extras & sys.modules.keys()
import matplotlib, tlkit.plot
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_commands_environment_is_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def available() -> tuple[str, ...]:
        seen.append(os.environ["MPLBACKEND"])
        return ()

    monkeypatch.setattr(BackboneAdapter, "available", staticmethod(available))
    for before in (None, "module://somewhere"):
        if before:
            monkeypatch.setenv("MPLBACKEND", before)
        else:
            monkeypatch.delenv("MPLBACKEND", raising=False)
        seen.clear()
        assert main(["backbones"]) == 0
        assert seen == ["agg"]
        assert os.environ.get("MPLBACKEND") == before


BACKEND = "tlkit needs Keras on TensorFlow, but {} the backend '{}': {}"


@pytest.mark.parametrize(
    ("environment", "settings", "beginning", "end"),
    [
        (
            {"KERAS_BACKEND": "jax"},
            None,
            BACKEND.format("KERAS_BACKEND names", "jax", "set KERAS_BACKEND=tensorflow"),
            ", or unset it",
        ),
        (
            {},
            '{"backend": "theano", "image_dim_ordering": "tf", "floatx": "float32"}',
            BACKEND.format("{file} names", "theano", 'write "tensorflow" there'),
            ", or delete the file, which Keras then makes anew",
        ),
        (
            {"KERAS_BACKEND": "tensorflow"},
            '{"backend": "torch", "image_data_format": "th"}',
            "Keras cannot be loaded (ValueError: Invalid `image_data_format` configuration. Expected",
            "th): mend its settings in {file}, or delete that file, which Keras then makes anew",
        ),
    ],
)
def test_a_keras_that_is_set_to_something_else_is_one_sentence(
    trained: tuple[Path, str],
    images: Path,
    tmp_path: Path,
    environment: dict[str, str],
    settings: str | None,
    beginning: str,
    end: str,
) -> None:
    (tmp_path / "keras").mkdir()
    file = tmp_path / "keras" / "keras.json"
    if settings:
        file.write_text(settings)
    words = ("predict", str(trained[0]), str(images))
    done = tlkit_process(*words, KERAS_HOME=str(file.parent), **environment)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"error: {beginning.replace('{file}', str(file))}")
    assert done.stderr.endswith(f"{end.replace('{file}', str(file))}\n")
    assert done.stderr.count("\n") == 1


@pytest.mark.slow
def test_tensorflow_shows_its_banner_when_asked(trained: tuple[Path, str], images: Path) -> None:
    image = str(images / "a disc.jpg")
    done = tlkit_process("predict", str(trained[0]), image, TLKIT_TF_LOG="1")
    assert done.returncode == 0
    assert without_banner(done.stderr.encode()) != done.stderr.encode()


def test_what_is_not_banner_is_kept() -> None:
    stamp = b"0000 00:00:1795302591.285922   14175 "
    banner = [
        b"WARNING: All log messages before absl::InitializeLog() is called are written to STDERR\n",
        b"I" + stamp + b"port.cc:153] oneDNN custom operations are on. You may see\n",
        b"I" + stamp + b"cudart_stub.cc:31] Could not find cuda drivers on your machine\n",
        b"E"
        + stamp
        + b"cuda_platform.cc:52] failed call to cuInit: INTERNAL: UNKNOWN ERROR (303)\n",
    ]
    kept = [
        b"E" + stamp + b"cuda_platform.cc:52] failed call to cuInit: CUDA_ERROR_NO_DEVICE (100)\n",
        b"W" + stamp + b"gpu_device.cc:2341] Cannot dlopen some GPU libraries.\n",
        b"Traceback (most recent call last):\n",
        b"no newline",
    ]
    assert without_banner(b"".join(banner + kept)) == b"".join(kept)
    assert without_banner(b"") == b""


def test_sigterm_leaves_nothing_half_made(tmp_path: Path) -> None:
    script = """
import os, signal, sys, time
from pathlib import Path
from tlkit.cli import app as cli
from tlkit.cli import audit as looking
from tlkit.core.atomic import replacing

def backbones(options):
    with replacing(Path("table.csv")) as partial:
        partial.write_text("half")
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)

looking.backbones = backbones
sys.exit(cli.main(["backbones"]))
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=False, timeout=50)
    assert done.returncode == 143
    assert list(tmp_path.iterdir()) == []


def test_a_uri_without_ray_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["predict", "model.keras", "s3://bucket/photos", "-o", "table.csv"])
    assert "--ray reads URIs such as s3://bucket/photos" in capsys.readouterr().err
