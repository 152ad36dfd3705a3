from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import hostile
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from test_duplicates import camera, half, jpeg, photograph

from tlkit import DatasetSpec, split_dataset
from tlkit.data.audit import FAIL_ON, KINDS, AuditReport, Problem, audit, audit_of
from tlkit.data.dataset import Listing
from tlkit.data.example import Example
from tlkit.data.split import assign_parts
from tlkit.errors import DatasetError, SettingError, printable
from tlkit.images.decoder import BadFile, ImageFacts
from tlkit.images.loader import read_images


def write(folder: Path, name: str, data: bytes) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def fill(folder: Path, names: Iterable[str]) -> None:
    for number, name in enumerate(names):
        write(folder, name, jpeg(photograph(1000 + number, 96)))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six + six unlike images in `cat` and `dog`, with nothing wrong."""
    fill(tmp_path, (f"{name}/{n}.jpg" for name in ("cat", "dog") for n in range(6)))
    return tmp_path


def found(report: AuditReport) -> list[tuple[str, str]]:
    return [(problem.kind, problem.path) for problem in report.problems]


def test_a_clean_folder_has_no_problems(folder: Path) -> None:
    report = audit(folder)
    assert report == AuditReport(str(folder), counts={"all": {"cat": 6, "dog": 6}}, aspect=1.0)
    assert report.kinds() == ()
    assert report.exit_code("any") == 0
    assert "nothing found" in str(report)


def test_label_conflicts_come_first_and_are_no_duplicates(folder: Path) -> None:
    write(folder, "dog/again.jpg", (folder / "cat/3.jpg").read_bytes())
    write(folder, "dog/small.jpg", jpeg(half(photograph(1004, 96))))
    write(folder, "cat/broken.jpg", b"")
    write(folder, "cat/twice.jpg", (folder / "cat/0.jpg").read_bytes())
    report = audit(folder)
    assert found(report) == [
        ("label-conflict", "dog/again.jpg"),
        ("label-conflict", "dog/small.jpg"),
        ("unreadable", "cat/broken.jpg"),
        ("exact-duplicate", "cat/twice.jpg"),
        ("tiny", "dog/small.jpg"),
    ]
    again, small, *_ = report.problems
    assert again.detail == "same bytes as 'cat/3.jpg': one of the labels is wrong"
    assert small.detail.endswith("): under the other label")
    assert small.detail.startswith("looks like 'cat/4.jpg' (")
    assert report.exit_code() == 1


def test_leaks_across_given_parts_come_first(tmp_path: Path) -> None:
    parts = ("train", "val", "test")
    fill(tmp_path, (f"{p}/{c}/{n}.jpg" for p in parts for c in ("cat", "dog") for n in range(4)))
    source = (tmp_path / "train/cat/2.jpg").read_bytes()
    write(tmp_path, "val/cat/a.jpg", source)
    write(tmp_path, "test/dog/b.jpg", source)
    write(tmp_path, "train/cat/c.jpg", source)
    mirrored = photograph(1005, 96).transpose(Image.Transpose.FLIP_LEFT_RIGHT)  # train/dog/1.jpg
    write(tmp_path, "val/dog/mirrored.jpg", jpeg(mirrored))
    report = audit(tmp_path)
    assert found(report) == [
        ("label-conflict", "test/dog/b.jpg"),
        ("leak", "test/dog/b.jpg"),
        ("leak", "val/cat/a.jpg"),
        ("leak", "val/dog/mirrored.jpg"),
        ("exact-duplicate", "train/cat/c.jpg"),
    ]
    assert report.of_kind("leak")[2].detail.startswith("mirror image of 'train/dog/1.jpg'")
    assert report.counts == {
        "train": {"cat": 5, "dog": 4},
        "validation": {"cat": 5, "dog": 5},
        "test": {"cat": 4, "dog": 5},
    }


# What the audit must say of the readable cases, by file name; what cannot be read is told by the case.
EXPECTED: dict[str, set[str]] = {
    **{c.name: {"wrong-extension"} for c in hostile.WRONG_EXTENSIONS},
    **{f"orientation {n}.{e}": {"rotated"} for n in range(2, 9) for e in ("jpg", "png")},
    **{name: {"rotated"} for name in ("orientation 6.webp", "orientation 8.tiff", "orientation 6.avif")},
    "pages.tiff": {"animated"},
    "grey 16 bit.tiff": {"greyscale", "16-bit"},
    "cmyk.jpg": {"cmyk"},
    "grey.jpg": {"greyscale"},
    "alpha.png": {"transparent"},
    "alpha.webp": {"transparent"},
    "grey alpha.png": {"transparent", "greyscale"},
    "grey 16 bit.png": {"greyscale", "16-bit"},
    "colour 16 bit.png": {"16-bit"},
    **{f"animated.{end}": {"animated"} for end in ("gif", "png", "webp")},
}  # fmt: skip
SAME_IMAGE = {"exact-duplicate", "near-duplicate", "large-cluster"}  # all cases show the same


def test_every_hostile_case_is_named(tmp_path: Path) -> None:
    fill(tmp_path, (f"b/{n}.jpg" for n in range(30)))
    cases = hostile.write(tmp_path / "a")
    before = {path: path.lstat() for path in tmp_path.rglob("*")}
    report = audit(tmp_path)
    said: dict[str, set[str]] = {}
    for problem in report.problems:
        if problem.kind not in SAME_IMAGE:
            said.setdefault(problem.path, set()).add(problem.kind)
    for path, case in cases.items():
        name = printable(path.relative_to(tmp_path).as_posix())
        kinds = said.pop(name, set())
        if not case.listed:
            assert kinds == set(), str(case)
        elif case.readable:
            assert kinds == EXPECTED.get(case.name, set()), str(case)
        else:
            assert kinds == {"unreadable"}, str(case)
            (problem,) = [p for p in report.of_kind("unreadable") if p.path == name]
            assert case.reason in problem.detail, str(case)
            assert (case.format or "") in problem.detail, str(case)
    assert said == {".": {"ignored"}}
    assert report.ignored["hidden"] >= 4
    assert {"1 x .txt", "1 x no extension"} <= {p.detail for p in report.of_kind("ignored")}
    assert {path: path.lstat() for path in tmp_path.rglob("*")}.keys() == before.keys()
    report.to_text(None).encode("utf-8")  # names of any kind can be printed
    assert all(problem.path.isprintable() for problem in report.problems)
    assert AuditReport.from_json(report.to_json()) == report


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_strange_names_stay_one_group(folder: Path) -> None:
    data = (folder / "cat/1.jpg").read_bytes()
    names = [os.fsdecode(b"cat/not utf-8 \xff.jpg"), "cat/two\nlines.jpg", "cat/back\\slash.jpg"]
    for name in names:
        write(folder, name, data)
    report, listing = audit(folder), DatasetSpec(folder).listing()
    groups = report.groups(listing)
    keys = {example.name: key for example, key in zip(listing.examples, groups, strict=True)}
    assert {keys[name] for name in (*names, "cat/1.jpg")} == {"cat/1.jpg"}
    assert len(set(groups)) == 12
    assert "two\\nlines.jpg" in str(report)


def test_the_shape_of_images(folder: Path) -> None:
    for name, size in (
        ("tiny", (63, 64)),
        ("small", (64, 64)),
        ("long", (301, 100)),
        ("wide", (300, 100)),
    ):
        write(folder, f"cat/{name}.jpg", jpeg(photograph(size[0], 320).crop((0, 0, *size))))
    assert found(audit(folder)) == [("tiny", "cat/tiny.jpg"), ("extreme-aspect", "cat/long.jpg")]


def test_hardly_any_contrast(folder: Path) -> None:
    rng = np.random.default_rng(1)
    for name, low, high, kind in (
        ("black", 0, 3, np.uint8),
        ("grey", 100, 118, np.uint8),
        ("faint", 100, 130, np.uint8),
        ("12 bits", 0, 4096, np.uint16),
        ("14 bits", 0, 16384, np.uint16),
    ):
        values = rng.integers(low, high, (96, 96)).astype(kind)
        values[0, 0] = np.iinfo(kind).max  # a dead pixel is no contrast
        write(folder, f"cat/{name}.png", hostile.encode(Image.fromarray(values), "PNG"))
    blank = np.full((96, 96, 3), (200, 30, 40), np.uint8)  # a colour, and nothing else
    write(folder, "dog/blank.png", hostile.encode(Image.fromarray(blank), "PNG"))
    report = audit(folder)
    problems = {problem.path: problem.detail for problem in report.of_kind("low-contrast")}
    assert problems.keys() == {f"cat/{n}.png" for n in ("black", "grey", "12 bits")} | {
        "dog/blank.png"
    }
    assert problems["cat/black.png"] == "its values go from 0 to 2, of 0 to 255"
    assert re.fullmatch(
        r"its values go from [0-9] to 4,09\d, of 0 to 65,535", problems["cat/12 bits.png"]
    )
    told = audit(DatasetSpec(folder, value_range=(0, 4095)))
    assert "cat/12 bits.png" not in {problem.path for problem in told.of_kind("low-contrast")}


def test_what_holds_for_nearly_all_images_takes_one_line(tmp_path: Path) -> None:
    for n in range(20):
        grey = photograph(1000 + n, 96).convert("L")
        write(tmp_path, f"{('cat', 'dog')[n % 2]}/{n}.jpg", jpeg(grey))
    lines = str(audit(tmp_path)).splitlines()
    assert "greyscale     20  stored without colour (all images)" in lines
    assert not [line for line in lines if "JPEG of mode L" in line]
    write(tmp_path, "cat/colour.jpg", jpeg(photograph(2000, 96)))
    report = audit(tmp_path)
    assert "stored without colour (nearly all images)" in str(report)
    assert report.to_text(None).count("JPEG of mode L") == 20
    for n in range(10):
        write(tmp_path, f"cat/colour {n}.jpg", jpeg(photograph(3000 + n, 96)))
    assert "… and 17 more" in str(audit(tmp_path))


def test_imbalance_counts_what_can_be_read(tmp_path: Path) -> None:
    fill(tmp_path, [*(f"cat/{n}.jpg" for n in range(3)), *(f"dog/{n}.jpg" for n in range(11))])
    assert audit(tmp_path).kinds() == ()
    write(tmp_path, "cat/0.jpg", b"")
    report = audit(tmp_path)
    assert report.kinds() == ("unreadable", "imbalance")
    assert report.of_kind("imbalance")[0].detail == "11 of 'dog' and 2 of 'cat' can be read"


def test_a_fixed_camera_is_one_problem(tmp_path: Path) -> None:
    for n, data in enumerate(camera(60, moves=3)):
        write(tmp_path, f"{('whole', 'scratched')[n % 2]}/{n:02d}.jpg", data)
    report = audit(tmp_path)
    assert report.kinds() == ("large-cluster",)
    assert report.totals == {"large-cluster": 1}
    assert list(report.large_clusters.values()) == [60]
    assert report.clusters == ()
    assert [len(cluster) for cluster in report.alike] == [60]
    assert report.shortened().alike == ()
    assert "`group_by`" in str(report)


def test_the_share_for_validation_changes_neither_clusters_nor_the_test_split(
    tmp_path: Path,
) -> None:
    scene = [jpeg(photograph(n, 64)) for n in range(35)] + camera(15, moves=3)
    for n, data in enumerate(scene):
        write(tmp_path, f"{('whole', 'scratched')[n % 2]}/{n:02d}.jpg", data)
    found = set()
    for fraction in (None, 0.0, 0.1, 0.5):
        spec = DatasetSpec(tmp_path, test_fraction=0.25, validation_fraction=fraction)
        assert list(audit(spec).large_clusters.values()) == [15]
        found.add(frozenset(e.name for e in split_dataset(spec)["test"]))
    assert len(found) == 1


def test_a_folder_of_nothing_readable_is_still_a_report(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        write(tmp_path, f"{name}/x.jpg", hostile.HTML)
    assert audit(tmp_path).totals == {"unreadable": 2}


def test_a_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="two class folders"):
        audit(tmp_path)


def test_the_training_flow_gets_the_same_report_from_its_own_facts(folder: Path) -> None:
    write(folder, "cat/broken.jpg", b"")
    write(folder, "dog/twice.jpg", (folder / "dog/2.jpg").read_bytes())
    spec = DatasetSpec(folder)
    listing = spec.listing()
    outcomes = list(read_images((example.path for example in listing.examples), (224, 160)))
    good = [n for n, outcome in enumerate(outcomes) if not isinstance(outcome, BadFile)]
    facts = [outcome[1] for outcome in outcomes if not isinstance(outcome, BadFile)]
    stored = [ImageFacts.from_config(fact.to_config()) for fact in facts]
    bad = [outcome for outcome in outcomes if isinstance(outcome, BadFile)]
    assert audit_of(spec, listing, np.array(good, np.int64), stored, bad) == audit(spec)


@settings(deadline=None)
@given(st.integers(0, 2**32))
def test_neither_duplicates_nor_user_groups_straddle_parts(seed: int) -> None:
    rng = np.random.default_rng(seed)
    names = [f"{c}/{n}.jpg" for c in ("cat", "dog") for n in range(30)]
    clusters = tuple(tuple(rng.choice(names, 3, replace=False).tolist()) for _ in range(4))
    report = AuditReport("x", counts={}, clusters=clusters)
    own = {name: f"g{rng.integers(20)}" for name in names}
    examples = tuple(Example(Path(name), name, name[:3], int(name < "d")) for name in names)
    listing = Listing(examples, ("cat", "dog"), "cat", {})
    groups = report.groups(listing, own)
    # Twenty more groups of single images, so that a split exists whatever was merged.
    labels = [*listing.labels.tolist(), *([0, 1] * 10)]
    split = assign_parts(
        labels,
        [*groups, *map(str, range(20))],
        validation_fraction=0.3,
        test_fraction=0.2,
        seed=0,
    )
    part = {n: p for p in ("train", "validation", "test") for n in getattr(split, p).tolist()}
    of = {name: part[n] for n, name in enumerate(names)}
    assert all(len({of[name] for name in cluster}) == 1 for cluster in clusters)
    for key in set(own.values()):
        assert len({of[name] for name in names if own[name] == key}) == 1


def test_exit_codes() -> None:
    def report(*kinds: str) -> AuditReport:
        problems = tuple(Problem("a", kind, "b") for kind in kinds)
        return AuditReport("x", counts={}, problems=problems, totals=dict.fromkeys(kinds, 1))

    assert {kind for kind in KINDS if report(kind).exit_code()} == set(FAIL_ON)
    assert report("tiny").exit_code("any") == 1
    assert report("leak").exit_code("none") == 0
    assert report("tiny").exit_code("large-cluster, tiny") == 1
    assert report("tiny").exit_code(["large-cluster"]) == 0
    with pytest.raises(SettingError, match="did you mean 'leak'"):
        report().exit_code("leek")


def test_shortened_keeps_the_totals_and_says_so() -> None:
    problems = tuple(Problem(f"{n:03d}.jpg", "greyscale", "JPEG of mode L") for n in range(250))
    counts = {"all": {"cat": 300, "dog": 300}}
    report = AuditReport("x", counts=counts, problems=problems, totals={"greyscale": 250})
    short = report.shortened()
    assert len(short.problems) == 100
    assert short.totals == report.totals
    assert "… and 150 more" in short.to_text(None)
    assert "… and 247 more" in str(report)
    assert "--all" in str(report)
    assert "--all" not in report.to_text(None)
    assert report.to_text(None).count(".jpg: JPEG of mode L") == 250


def test_text_is_short_and_in_the_order_of_the_kinds(folder: Path) -> None:
    for n in range(9):
        write(folder, f"cat/copy {n}.jpg", (folder / "cat/1.jpg").read_bytes())
    write(folder, "cat/broken.jpg", hostile.HTML)
    write(folder, "cat/.hidden.jpg", b"")
    lines = str(audit(folder)).splitlines()
    assert lines[2:] == [
        "     cat  dog",
        "all   16    6",
        "",
        "unreadable           1  cannot be read as an image: left out",
        "    cat/broken.jpg: not an image (its bytes are HTML)",
        "exact-duplicate      9  the same file once more: kept in one split",
        "    cat/copy 0.jpg: same bytes as 'cat/1.jpg'",
        "    cat/copy 1.jpg: same bytes as 'cat/1.jpg'",
        "    cat/copy 2.jpg: same bytes as 'cat/1.jpg'",
        "    … and 6 more",
        "",
        "Hidden files and folders passed over: 1",
        "",
        "All problems: `report.problems` in Python, `tlkit audit --all` in a shell",
    ]


def test_the_documentation_has_every_kind_and_every_case() -> None:
    page = (Path(__file__).parents[1] / "docs" / "audit.md").read_text("utf-8")
    rows = [line.split("|")[1:-1] for line in page.splitlines() if line.startswith("| `")]
    assert [row[0].strip(" `") for row in rows[: len(KINDS)]] == list(KINDS)
    said = {
        row[0].strip()[1:-1]: set(re.findall("`([^`]+)`", row[1])) for row in rows[len(KINDS) :]
    }
    for case in hostile.CASES:
        kinds = said[printable(case.name)] & set(KINDS)
        if not case.listed:
            assert kinds <= {"ignored"}, str(case)
        else:
            expected = EXPECTED.get(case.name, set()) if case.readable else {"unreadable"}
            assert kinds == expected, str(case)


def test_alpaca_folder(alpaca_dir: Path) -> None:
    report = audit(alpaca_dir)
    assert report.totals == {"near-duplicate": 1, "greyscale": 2}
    assert report.clusters == (("alpaca/09915aad4cd6bf0d.jpg", "alpaca/5f843228ab49d81b.jpg"),)
    assert report.ignored == {"hidden": 1}
    assert report == audit(alpaca_dir)


def test_audit_is_the_function_whatever_was_imported_before() -> None:
    """A module of that name would take its place as soon as anything imports it."""
    code = "import tlkit; tlkit.transfer_classifier; tlkit.audit('nowhere')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "DatasetError" in done.stderr
