"""Decisions about labels: what they change, what they leave alone, what is refused, and who says so."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import pytest

from tlkit import (
    BackboneAdapter,
    DatasetSpec,
    FineTuneSchedule,
    TransferClassifier,
    audit,
    cross_validate,
    split_dataset,
    transfer_classifier,
)
from tlkit.cli import main
from tlkit.core.fingerprint import digest_of_file
from tlkit.data.audit import AuditReport
from tlkit.data.label_decisions import COLUMNS, DIGEST_PREFIX, REVIEWED, read_decisions
from tlkit.errors import DatasetError, SettingError, TlkitWarning

Rows = list[tuple[str, ...]]
SCHEDULE = FineTuneSchedule.head_only()


@pytest.fixture
def folder(drawn_folder: Path, tmp_path: Path) -> Path:
    """The drawn folder with a disc among those without one."""
    copied = shutil.copytree(drawn_folder, tmp_path / "discs")
    (copied / "disc" / "00.jpg").rename(copied / "not disc" / "moved.jpg")
    return copied


def row(folder: Path, name: str, decision: str) -> tuple[str, ...]:
    digest = DIGEST_PREFIX + digest_of_file(folder / name)[:12]
    return (name, name.partition("/")[0], decision, digest)


def write(path: Path, rows: Rows, header: tuple[str, ...] = COLUMNS) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return path


@pytest.fixture
def decided(folder: Path) -> Path:
    """One label wrong, one right, one image to leave out, one that nobody is sure of."""
    rows = [
        row(folder, "not disc/moved.jpg", "wrong"),
        row(folder, "not disc/01.jpg", "right"),
        row(folder, "disc/02.jpg", "leave out"),
        row(folder, "disc/03.jpg", "unsure"),
    ]
    return write(folder.parent / "decisions.csv", rows)


def train(folder: Path, decisions: Path | None) -> TransferClassifier:
    return transfer_classifier(
        DatasetSpec(folder, decisions=decisions, test_fraction=0.2),
        backbone=BackboneAdapter("tiny_random"),
        schedule=SCHEDULE,
    )


# What they change


def test_labels_are_corrected_and_images_left_out(folder: Path, decided: Path) -> None:
    before = {path: path.read_bytes() for path in folder.rglob("*.jpg")}
    spec = DatasetSpec(folder, decisions=decided)
    plain = {e.name: e for e in DatasetSpec(folder).listing().examples}
    listing = spec.listing()
    found = {e.name: e for e in listing.examples}
    assert plain.keys() - found.keys() == {"disc/02.jpg"}
    moved = found["not disc/moved.jpg"]
    assert (moved.class_name, moved.label) == ("disc", 1)
    assert moved.path == folder / "not disc" / "moved.jpg"
    changed = {name for name in found if found[name] != plain[name]}
    assert changed == {"not disc/moved.jpg"}
    assert str(listing).endswith("; 1 label changed and 1 image left out by decisions.csv")
    assert {path: path.read_bytes() for path in folder.rglob("*.jpg")} == before


def test_splits_and_figures_follow(folder: Path, decided: Path) -> None:
    parts = split_dataset(DatasetSpec(folder, decisions=decided))
    names = {e.name: e.class_name for part in parts.values() for e in part}
    assert len(names) == 47
    assert names["not disc/moved.jpg"] == "disc"

    classifier = train(folder, decided)
    scored = [s for s in classifier.record.scores.values() if "not disc/moved.jpg" in s.names]
    assert scored
    for scores in scored:
        assert scores.labels[scores.names.index("not disc/moved.jpg")] == 1
    assert all("disc/02.jpg" not in scores.names for scores in classifier.record.scores.values())
    assert "disc/02.jpg" not in classifier.record.training_names


def test_every_figure_says_that_labels_were_reviewed(
    folder: Path, decided: Path, tmp_path: Path
) -> None:
    classifier = train(folder, decided)
    crossed = cross_validate(
        DatasetSpec(folder, decisions=decided),
        folds=2,
        backbone=BackboneAdapter("tiny_random"),
        schedule=SCHEDULE,
    )
    assert classifier.cross_validation is not None
    assert classifier.test_evaluation is not None
    with pytest.warns(TlkitWarning, match="has learned from 37 of the 47"):
        measured = classifier.evaluate(
            DatasetSpec(folder, decisions=decided), include_training=True
        )
    for evaluation in (
        classifier.evaluation,
        classifier.test_evaluation,
        classifier.cross_validation.evaluation,
        classifier.with_threshold(0.4).cross_validation.evaluation,  # type: ignore[union-attr]
        crossed.evaluation,
        measured,
    ):
        assert evaluation.used_to_choose[-1] == REVIEWED
        assert f"{REVIEWED}: expect slightly worse metrics on new ones" in str(evaluation)
    classifier.save(tmp_path / "m.keras")
    again = TransferClassifier.load(tmp_path / "m.keras")
    assert again.audit == classifier.audit
    assert again.audit.decided is not None
    assert again.audit.decided.corrected == ("not disc/moved.jpg",)
    assert again.record.dataset["decisions"] == str(decided)


def test_decisions_that_change_nothing_do_not_flatter(folder: Path, tmp_path: Path) -> None:
    rows = [row(folder, "disc/03.jpg", "right"), row(folder, "disc/04.jpg", "unsure")]
    decisions = write(tmp_path / "decisions.csv", rows)
    spec = DatasetSpec(folder, decisions=decisions)
    assert spec.listing().examples == DatasetSpec(folder).listing().examples
    classifier = train(folder, decisions)
    assert REVIEWED not in classifier.evaluation.used_to_choose
    assert str(classifier.audit.decided) == "nothing changed by decisions.csv"


def test_the_audit_names_what_was_changed(folder: Path, decided: Path) -> None:
    report = audit(DatasetSpec(folder, decisions=decided))
    assert report.counts == {"all": {"disc": 23, "not disc": 24}}
    text = report.to_text()
    assert "1 label changed and 1 image left out by decisions.csv" in text
    assert "    not disc/moved.jpg: label changed" in text
    assert "    disc/02.jpg: left out" in text
    assert AuditReport.from_json(report.to_json()) == report


def test_a_corrected_label_is_no_conflict_any_more(folder: Path) -> None:
    shutil.copy(folder / "disc" / "05.jpg", folder / "not disc" / "copy.jpg")
    assert "label-conflict" in audit(folder).totals
    decisions = write(folder.parent / "d.csv", [row(folder, "not disc/copy.jpg", "wrong")])
    assert "label-conflict" not in audit(DatasetSpec(folder, decisions=decisions)).totals


def test_the_spec_travels_as_json(folder: Path, decided: Path) -> None:
    spec = DatasetSpec(folder, decisions=str(decided))
    assert spec.decisions == decided
    assert DatasetSpec.from_json(spec.to_json()) == spec


def test_the_command_line_takes_them(
    folder: Path, decided: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["audit", str(folder), "--decisions", str(decided)]) == 0
    assert "1 label changed and 1 image left out by decisions.csv" in capsys.readouterr().out
    command = ["train", str(folder), "-o", str(tmp_path / "m.keras"), "--backbone", "tiny_random"]
    command += ["--schedule", "head-only", "--decisions", str(decided)]
    assert main(command) == 0
    assert "; 1 label changed and 1 image left out by decisions.csv" in capsys.readouterr().out
    missing = ["--decisions", str(tmp_path / "nothing.csv")]
    assert main([*command[:-2], *missing]) == 1
    assert capsys.readouterr().err.startswith("error: --decisions must be a file, but there is no")


# How a table may look


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_spreadsheets_write_tables_differently(
    tmp_path: Path, delimiter: str, encoding: str
) -> None:
    lines = [
        delimiter.join(["note", "Image", "decision"]).replace("Image", "image"),
        delimiter.join(["look", "ä/1.jpg", " Leave out "]),
        delimiter.join(["", "b/2.jpg", ""]),
        delimiter.join(["", r"b\\c\n.jpg", "wrong"]),
    ]
    table = tmp_path / "d.csv"
    table.write_text("\r\n".join(lines), encoding, newline="")
    first, second = read_decisions(table)
    assert (first.image, first.decision, first.digest) == ("ä/1.jpg", "leave out", "")
    assert (second.image, second.decision) == ("b\\c\n.jpg", "wrong")


def test_names_that_a_spreadsheet_would_run_are_found(drawn_folder: Path, tmp_path: Path) -> None:
    for name in ("=disc", "other"):
        shutil.copytree(drawn_folder / "disc", tmp_path / "discs" / name)
    rows: Rows = [("'=disc/00.jpg", "'=disc", "leave out", "")]
    spec = DatasetSpec(tmp_path / "discs", decisions=write(tmp_path / "d.csv", rows))
    decided = spec.listing().decided
    assert decided is not None
    assert decided.left_out == ("=disc/00.jpg",)


def test_images_that_are_gone_are_named_and_change_nothing(folder: Path, decided: Path) -> None:
    (folder / "not disc" / "moved.jpg").unlink()
    report = audit(DatasetSpec(folder, decisions=decided))
    assert report.decided is not None
    assert report.decided.absent == ("not disc/moved.jpg",)
    assert "not disc/moved.jpg: not there: the decision changes nothing" in report.to_text()


# What is refused


def test_decisions_about_files_that_changed_are_refused_by_name(
    folder: Path, decided: Path
) -> None:
    shutil.copy(folder / "disc" / "09.jpg", folder / "disc" / "02.jpg")
    shutil.copy(folder / "disc" / "09.jpg", folder / "disc" / "03.jpg")  # unsure: changes nothing
    with pytest.raises(DatasetError, match="1 image that changed") as refused:
        DatasetSpec(folder, decisions=decided).listing()
    assert "'disc/02.jpg' (another file)" in str(refused.value)
    assert "03.jpg" not in str(refused.value)


def test_a_decision_about_another_label_is_refused(folder: Path, tmp_path: Path) -> None:
    decisions = write(tmp_path / "d.csv", [("disc/05.jpg", "not disc", "wrong", "")])
    with pytest.raises(DatasetError, match=r"'disc/05\.jpg' \(now labelled 'disc'\)"):
        DatasetSpec(folder, decisions=decisions).listing()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must have the columns image and decision, .* are missing: found an empty file"),
        ("image,label\na,b\n", "decision is missing: found image, label"),
        ("image,decision\n,wrong\n", r"line 2: `image` must name a file"),
        ("image,decision\ndisc/01.jpg,wrong\ndisc/02.jpg,wrnog\n", r"line 3: .*wrnog"),
        (
            "image,decision\ndisc/01.jpg,wrong\ndisc/01.jpg,wrong\ndisc/01.jpg,right\n",
            r"line 4: 'disc/01\.jpg' is 'right' here and 'wrong' in line 2",
        ),
        ("image,decision\ncats/01.jpg,wrong\n", "none of the 1 images .* is it of another folder"),
    ],
)
def test_a_table_that_makes_no_sense_is_refused(
    folder: Path, tmp_path: Path, text: str, message: str
) -> None:
    (tmp_path / "d.csv").write_text(text, "utf-8")
    with pytest.raises(DatasetError, match=message):
        DatasetSpec(folder, decisions=tmp_path / "d.csv").listing()


def test_what_is_no_text_is_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_bytes(b"image,decision\n\xff\xfe")
    with pytest.raises(DatasetError, match="must be a CSV file in UTF-8"):
        DatasetSpec(folder, decisions=tmp_path / "d.csv").listing()
    with pytest.raises(SettingError, match="`decisions`"):
        DatasetSpec(folder, decisions=5)  # type: ignore[arg-type]
