"""Labels from tables and from names: read as people have them, or refused with line, column and a way on."""

from __future__ import annotations

import json
import tracemalloc
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tlkit import (
    BackboneAdapter,
    DatasetSpec,
    FineTuneSchedule,
    TransferClassifier,
    audit,
    split_dataset,
    transfer_classifier,
)
from tlkit.cli import main
from tlkit.data.dataset import Listing
from tlkit.errors import DatasetError, MissingExtraError, SettingError

Write = Callable[..., Path]

FOUR = ("a.jpg", "b.jpg", "sub/c d.jpg", "sub/ü.jpg")


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a table beside four empty images."""
    for name in FOUR:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()

    def table(content: str | bytes, name: str = "labels.csv") -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return table


def labels(listing: Listing) -> dict[str, str]:
    return {example.name: example.class_name for example in listing.examples}


def listed(path: Any, **settings: Any) -> Listing:
    return DatasetSpec.from_table(path, **settings).listing()


# What is read


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("labels.csv", "path,label\na.jpg,cat\nsub/c d.jpg,dog\n"),
        ("LABELS.CSV", "path,label\r\na.jpg,cat\r\nsub/c d.jpg,dog\r\n"),
        ("labels.csv", "\ufeffpath,label\na.jpg,cat\nsub/c d.jpg,dog\n"),
        ("labels.csv", "label;path;note\ncat;a.jpg;1,5\ndog;sub/c d.jpg;2,5\n;;\n"),
        ("labels.csv", 'path, label\n"a.jpg", cat \n\n"sub/c d.jpg", "dog"'),
        ("labels.csv", "path,label\n./a.jpg,cat\nsub\\c d.jpg,dog\n"),
        ("labels.csv", "path,label\nsub/../a.jpg,cat\n.\\sub\\c d.jpg,dog\n"),
        ("labels.csv", "path\tlabel\na.jpg\tcat\nsub/c d.jpg\tdog\n".encode("utf-16")),
        ("labels.tsv", "path\tlabel\na.jpg\tcat\nsub/c d.jpg\tdog\n"),
        (
            "labels.jsonl",
            '{"path": "a.jpg", "label": "cat"}\n\n{"label": "dog", "path": "sub/c d.jpg"}',
        ),
    ],
)
def test_tables_as_people_save_them(write: Write, name: str, content: str | bytes) -> None:
    path = write(content, name)
    listing = listed(path)
    assert labels(listing) == {"a.jpg": "cat", "sub/c d.jpg": "dog"}
    assert all(example.path.is_file() for example in listing.examples)
    assert listing.positive_class == "dog"


def test_parquet(write: Write) -> None:
    pq = pytest.importorskip("pyarrow.parquet")
    arrow = pytest.importorskip("pyarrow")
    path = write(b"", "labels.parquet")
    pq.write_table(arrow.table({"path": ["a.jpg", "b.jpg"], "label": [0, 1], "x": [1, 2]}), path)
    assert labels(listed(path)) == {"a.jpg": "0", "b.jpg": "1"}
    with pytest.raises(
        DatasetError, match=r"labels\.parquet must have the column 'lable'.*'label'"
    ):
        listed(path, label="lable")
    path.write_bytes(b"PAR1 no more")
    with pytest.raises(DatasetError, match="cannot be read as Parquet"):
        listed(path)


def test_parquet_needs_its_extra(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match="tlkit\\[parquet\\]"):
        DatasetSpec.from_table(write(b"PAR1", "labels.parquet"))


class Frame:
    """What a DataFrame of Polars is like: columns by name, and their names."""

    def __init__(self, **columns: Any) -> None:
        self._columns = columns
        self.columns = [*columns]

    def __getitem__(self, name: str) -> Any:
        return self._columns[name]


@pytest.mark.parametrize("kind", [dict, Frame])
def test_columns_in_memory(write: Write, kind: Callable[..., Any]) -> None:
    folder = write("").parent
    columns = kind(
        file=np.array(["b.jpg", "a.jpg"], dtype=object),
        sick=np.array([True, False]),
        patient=np.array([7.0, 8.0]),
    )
    spec = DatasetSpec.from_table(
        columns, image="file", label="sick", group="patient", directory=folder
    )
    listing = spec.listing()
    assert labels(listing) == {"a.jpg": "False", "b.jpg": "True"}
    assert listing.positive_class == "True"
    assert listing.groups(None) == ["8", "7"]
    again = DatasetSpec.from_json(spec.to_json())
    assert again == spec, "what is kept is a digest"
    with pytest.raises(DatasetError, match="columns in memory, which are not kept"):
        again.listing()
    other = DatasetSpec.from_table(
        {"file": ["a.jpg", "b.jpg"], "sick": [True, False], "patient": [7, 8]},
        image="file",
        label="sick",
        group="patient",
        directory=folder,
    )
    assert other != spec, "another label, another digest"


def test_a_spec_of_a_table_keeps_no_row(write: Write) -> None:
    path = write("path,label,site\na.jpg,secret-cat,A\nb.jpg,secret-dog,B\n")
    spec = DatasetSpec.from_table(path, slices=("site",), validation_fraction=0.5)
    text = spec.to_json()
    assert "secret" not in text
    assert "a.jpg" not in text
    assert DatasetSpec.from_json(text) == spec
    assert eval(repr(spec)) == spec
    assert repr(spec) == (
        f"DatasetSpec.from_table({str(path)!r}, slices=('site',), validation_fraction=0.5)"
    )
    config = json.loads(text)["table"]
    assert (config["image"], config["label"], config["slices"]) == ("path", "label", ["site"])
    assert spec.listing().slices == {"site": ("A", "B")}


def test_a_table_that_has_changed_is_refused(write: Write) -> None:
    spec = DatasetSpec.from_table(write("path,label\na.jpg,cat\nb.jpg,dog\n"))
    path = write("path,label\na.jpg,dog\nb.jpg,cat\n")
    with pytest.raises(DatasetError, match=r"labels\.csv has changed since this spec was made"):
        spec.listing()
    path.unlink()
    with pytest.raises(DatasetError, match="cannot read the table"):
        spec.listing()


def test_parts_groups_and_slices_are_columns(write: Write) -> None:
    path = write(
        "path,label,split,who,site\nb.jpg,dog,Train,p1,A\na.jpg,cat,train,p1,B\n"
        "sub/c d.jpg,cat,val,p2,A\nsub/ü.jpg,dog,test,p3,\n"
    )
    listing = listed(path, split="split", group="who", slices=["site"])
    assert [(e.name, e.part, e.group) for e in listing.examples] == [
        ("a.jpg", "train", "p1"),
        ("b.jpg", "train", "p1"),
        ("sub/c d.jpg", "validation", "p2"),
        ("sub/ü.jpg", "test", "p3"),
    ]
    assert listing.slices == {"site": ("B", "A", "A", "")}
    assert listing.groups(None) == ["p1", "p1", "p2", "p3"]


def test_rows_may_come_in_any_order(write: Write) -> None:
    one = listed(write("path,label\na.jpg,cat\nb.jpg,dog\n", "one.csv"))
    other = listed(write("path,label\nb.jpg,dog\na.jpg,cat\n", "other.csv"))
    assert one.examples == other.examples


def test_paths_may_be_absolute_or_start_from_another_folder(write: Write, tmp_path: Path) -> None:
    path = write(f"path,label\n{tmp_path}/a.jpg,cat\n{tmp_path}/sub/c d.jpg,dog\n")
    assert labels(listed(path)) == {"a.jpg": "cat", "sub/c d.jpg": "dog"}
    path = write("path,label\nc d.jpg,cat\nü.jpg,dog\n")
    spec = DatasetSpec.from_table(path, directory=tmp_path / "sub")
    assert labels(spec.listing()) == {"c d.jpg": "cat", "ü.jpg": "dog"}
    assert eval(repr(spec)) == spec


# What is refused


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "line 1 must have the column 'path', found none"),
        ("file,label\na.jpg,cat\n", "line 1 must have the column 'path', found 'file', 'label'.*`image`"),
        ("path,Label\na.jpg,cat\n", "line 1 must have the column 'label'.*did you mean 'Label'.*`label`"),
        ("path,path,label\na.jpg,b.jpg,cat\n", "line 1 must name each column once, has 'path' twice"),
        ("path,label\n", "must have a row for each image, found none"),
        ("path,label\na.jpg,cat\nb.jpg\n", "line 3 must have 2 cells, as line 1 has, found 1"),
        ("path,label\na.jpg,cat\nb.jpg,dog,fox\n", "line 3 must have 2 cells.*found 3"),
        ("path,label\na.jpg,cat\n,dog\n", "line 3, column 'path' must not be empty"),
        ("path,label\na.jpg,\nb.jpg,dog\nsub/ü.jpg, \n", "line 2, column 'label' must not be empty.*2 rows"),
        ("path,label\na.jpg,cat\nz.jpg,dog\n", "line 3, column 'path' must name a file, but there is no "),
        ("path,label\na,cat\nb,dog\n", r"line 2, column 'path'.*there is 'a\.jpg'.*2 rows are not there"),
        ("path,label\na.jpg,cat\n../b.jpg,dog\n", "line 3, column 'path' must name a file .*`directory`"),
        ("path,label\na.jpg,cat\n/b.jpg,dog\n", "line 3, column 'path' must name a file in"),
        ("path,label\na.jpg,cat\nhttps://x.org/b.jpg,dog\n", "line 3, column 'path' must name a file in"),
        ("path,label\na.jpg,cat\n.,dog\n", "line 3, column 'path' must name a file in"),
        (
            "path,label\na.jpg,cat\nb.jpg,dog\na.jpg,cat\n",
            "line 4, column 'path' must name each image once, but 'a.jpg' stands in line 2 too .1 row is",
        ),
        (
            "path,label\na.jpg,cat\nb.jpg,dog\n.\\a.jpg,dog\n",
            "line 4, column 'path'.*'a.jpg' stands in line 2 too as 'cat', and here as 'dog'",
        ),
        ("path,label\na.jpg,cat\nb.jpg,cat\n", "must have two labels, found 2 'cat'"),
        (
            "path,label\na.jpg,cat\nb.jpg,dog\nsub/ü.jpg,fox\n",
            "must have two labels, found 1 'cat', 1 'dog', 1 'fox'.*`classes`.*rest=\"negative\"",
        ),
        ("path,label\na.jpg,c\u00e4t\n".encode("latin-1"), "line 2 must be UTF-8"),
        ('path,label\na.jpg,"cat\nb.jpg,dog\n', "line 3 cannot be read"),
    ],
)  # fmt: skip
def test_refused_with_line_and_column(write: Write, content: str | bytes, said: str) -> None:
    with pytest.raises(DatasetError, match=rf"labels\.csv'?,? ?{said}"):
        listed(write(content))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"path": "a.jpg", "label": "cat"}\n{"path": "b.jpg"}\n', "line 2, column 'label' must not be"),
        ('{"path": "a.jpg", "label": "cat"}\n[1]\n', "line 2 must be a JSON object"),
        ('{"path": "a.jpg"\n', "line 1 must be a JSON object"),
        ('{"path": "a.jpg"}\n', "must have the column 'label'"),
        ('{"path": "a.jpg", "label": null}\n', "line 1, column 'label' must not be empty"),
    ],
)  # fmt: skip
def test_json_lines_are_refused_likewise(write: Write, content: str, said: str) -> None:
    with pytest.raises(DatasetError, match=rf"labels\.jsonl,? {said}"):
        listed(write(content, "labels.jsonl"))


def test_a_path_of_another_windows_drive_is_outside(write: Write) -> None:
    path = write("path,label\na.jpg,cat\nC:\\data\\b.jpg,dog\n")
    with pytest.raises(DatasetError, match="line 3, column 'path' must name a file inside"):
        listed(path)


def test_parts_must_be_known_and_filled(write: Write) -> None:
    text = "path,label,split\na.jpg,cat,train\nb.jpg,dog,{}\n"
    with pytest.raises(
        DatasetError, match=r"line 3, column 'split' must be one of train, .*got 'dev'"
    ):
        listed(write(text.format("dev")), split="split")
    with pytest.raises(DatasetError, match="line 3, column 'split' must not be empty"):
        listed(write(text.format("")), split="split")
    with pytest.raises(DatasetError, match="'split' must have rows of the part train"):
        listed(write(text.replace("train", "val").format("test")), split="split")
    with pytest.raises(SettingError, match="`test_fraction` must be 0 beside a `split` column"):
        DatasetSpec.from_table(write(text.format("val")), split="split", test_fraction=0.1)


def test_groups_must_be_filled_and_come_from_one_place(write: Write) -> None:
    path = write("path,label,who\na.jpg,cat,1\nb.jpg,dog,\n")
    with pytest.raises(DatasetError, match="line 3, column 'who' must not be empty"):
        listed(path, group="who")
    with pytest.raises(SettingError, match="groups must come from one place"):
        DatasetSpec.from_table(path, group="who", group_by="x")


@pytest.mark.parametrize("table", [3, None, ["a.jpg"], "labels.txt", "", {"path": ["a.jpg"]}])
def test_no_table(table: Any) -> None:
    with pytest.raises((SettingError, DatasetError), match="table"):
        DatasetSpec.from_table(table)


def test_no_columns(write: Write) -> None:
    path = write("path,label\na.jpg,cat\nb.jpg,dog\n")
    with pytest.raises(SettingError, match="`slices` must be names of columns"):
        DatasetSpec.from_table(path, slices="site")
    with pytest.raises(SettingError, match="`image` must be the name of a column"):
        DatasetSpec.from_table(path, image="")
    with pytest.raises(DatasetError, match=r"must be equally long, got \{'path': 1, 'label': 2\}"):
        DatasetSpec.from_table({"path": ["a.jpg"], "label": ["cat", "dog"]})


def test_a_table_given_as_a_folder_says_how_it_is_read(write: Write) -> None:
    path = write("path,label\na.jpg,cat\nb.jpg,dog\n")
    with pytest.raises(
        DatasetError, match=r"is a table, not a folder: give DatasetSpec\.from_table"
    ):
        DatasetSpec(path).listing()


# Many rows


def test_many_rows_take_little_memory_and_no_look_at_each_file(
    tmp_path: Path, opened: list[str]
) -> None:
    count = 10_000
    names = [f"{n % 100:02d}/{n}.jpg" for n in range(count)]
    table = tmp_path / "labels.csv"
    rows = (f"{name},{'cat' if n % 3 else 'dog'}" for n, name in enumerate(names))
    table.write_text("path,label\n" + "\n".join(rows))
    inside: dict[str, list[str]] = {}
    for name in names:
        inside.setdefault(str(tmp_path / name[:2]), []).append(name[3:])
    looked: Counter[str] = Counter()

    class File:
        def __init__(self, folder: str, name: str) -> None:
            self.name, self.path = name, f"{folder}/{name}"

        def is_symlink(self) -> bool:
            return False

        def is_dir(self) -> bool:
            return False

        def is_file(self) -> bool:
            return True

    def scan(folder: str) -> list[File]:
        looked[folder] += 1
        return [File(folder, name) for name in inside[folder]]

    spec = DatasetSpec.from_table(table)
    tracemalloc.start()
    listing = spec.listing(scan=scan)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(listing.examples) == count
    assert {*looked.values()} == {1}, "each folder is listed once, and no file is asked for alone"
    assert len(looked) == 100
    assert not [path for path in opened if path.endswith(".jpg")]
    assert peak < 1500 * count, f"{peak / count:.0f} bytes a row"


# Names


def test_labels_from_names(tmp_path: Path) -> None:
    for name in ("train/cat.1.jpg", "train/cat.2.jpg", "train/dog.1.jpg", "train/readme.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    spec = DatasetSpec.from_names(tmp_path / "train", r"(?P<label>cat|dog)\.(?P<group>\d+)")
    listing = spec.listing()
    assert labels(listing) == {"cat.1.jpg": "cat", "cat.2.jpg": "cat", "dog.1.jpg": "dog"}
    assert listing.groups(None) == ["1", "2", "1"]
    assert listing.ignored == {"name that the pattern does not match": 1}
    assert eval(repr(spec)) == spec == DatasetSpec.from_json(spec.to_json())
    with pytest.raises(DatasetError, match=r"`pattern` must match .* none like 'cat\.1\.jpg'"):
        DatasetSpec.from_names(tmp_path / "train", r"(?P<label>fox)").listing()
    with pytest.raises(SettingError, match="groups must come from one place"):
        DatasetSpec.from_names("x", r"(?P<label>a|b)(?P<group>\d)", group_by="x")


@pytest.mark.parametrize("pattern", ["", "(cat|dog)", "(", 3, None])
def test_a_pattern_must_have_a_label(pattern: Any) -> None:
    with pytest.raises(SettingError, match="`pattern`"):
        DatasetSpec.from_names("x", pattern) if pattern is not None else DatasetSpec(
            "x",
            pattern=[],  # type: ignore[arg-type]
        )


# One against all others


def zoo(folder: Path, **counts: int) -> Path:
    for name, count in counts.items():
        (folder / name).mkdir(parents=True)
        for number in range(count):
            (folder / name / f"{number}.jpg").touch()
    return folder


def test_one_class_against_all_others(tmp_path: Path) -> None:
    folder = zoo(tmp_path, alpaca=6, llama=5, camel=4, to_sort=1)
    with pytest.raises(
        DatasetError, match=r"found 'alpaca', .*`positive_class` and rest=.negative."
    ):
        DatasetSpec(folder).listing()
    listing = DatasetSpec(folder, positive_class="alpaca", rest="negative").listing()
    assert listing.class_names == ("alpaca", "not alpaca")
    assert listing.labels.sum() == 6
    assert listing.joined == {"camel": 4, "llama": 5, "to_sort": 1}
    assert Counter(listing.slices["label"]) == {"alpaca": 6, "llama": 5, "camel": 4, "to_sort": 1}
    assert str(listing) == (
        "16 images: 6 alpaca (positive), 10 not alpaca; not alpaca is: 4 camel, 5 llama, 1 to_sort"
    )
    assert {e.given_label for e in listing.examples if e.class_name == "not alpaca"} == {
        "camel",
        "llama",
        "to_sort",
    }


@pytest.mark.parametrize(
    "settings",
    [
        {"rest": "negative"},
        {"rest": "others", "positive_class": "a"},
        {"rest": "negative", "positive_class": "a", "classes": ("a", "b")},
    ],
)
def test_rest_needs_the_one_class(settings: dict[str, Any]) -> None:
    with pytest.raises(SettingError, match="rest"):
        DatasetSpec("x", **settings)


def test_one_class_alone_has_no_rest(tmp_path: Path) -> None:
    folder = zoo(tmp_path, alpaca=2)
    with pytest.raises(DatasetError, match="must hold 'alpaca' and other class folders"):
        DatasetSpec(folder, positive_class="alpaca", rest="negative").listing()
    with pytest.raises(DatasetError, match="must hold 'llama' and other class folders"):
        DatasetSpec(folder, positive_class="llama", rest="negative").listing()


def test_parts_may_hold_different_others(tmp_path: Path) -> None:
    zoo(tmp_path / "train", a=2, b=1, c=1)
    zoo(tmp_path / "test", a=1, d=1)
    listing = DatasetSpec(tmp_path, positive_class="a", rest="negative").listing()
    assert listing.joined == {"b": 1, "c": 1, "d": 1}
    assert [e.part for e in listing.examples] == ["train"] * 4 + ["test"] * 2


def test_the_rest_is_split_each_label_like_the_whole() -> None:
    from tlkit.data.split import assign_folds, assign_parts

    given = ["a"] * 400 + ["b"] * 300 + ["c"] * 60 + [f"rare {n // 2}" for n in range(60)]
    classes = [int(label == "a") for label in given]
    names = [str(n) for n in range(len(given))]
    fractions: dict[str, Any] = {"validation_fraction": 0.2, "test_fraction": 0.1}
    split = assign_parts(classes, names, **fractions, seed=1, strata=given)
    kept = Counter(given[i] for i in split.validation)
    assert (kept["a"], kept["b"], kept["c"]) == (80, 60, 12)
    assert abs(split.validation.size - 164) <= 1, "rare labels make up for each other"
    assert abs(split.test.size - 82) <= 1
    folds = assign_folds(classes, names, count=5, seed=1, strata=given)
    for label, count in (("a", 400), ("b", 300), ("c", 60)):
        found = Counter(folds[n] for n, other in enumerate(given) if other == label)
        assert {*found.values()} == {count // 5}, label
    same = assign_parts(classes, names, **fractions, seed=1, strata=[str(c) for c in classes])
    plain = assign_parts(classes, names, **fractions, seed=1)
    assert same.test.tolist() == plain.test.tolist(), "the classes alone are no finer strata"


# The whole way


@pytest.fixture(scope="module")
def drawn_table(drawn_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The drawn images as a table: a patient for every three images, and a site."""
    table = tmp_path_factory.mktemp("table") / "labels.csv"
    rows = ["file;finding;patient;site"]
    for path in sorted(drawn_folder.glob("*/*.jpg")):
        finding = "disc" if path.parent.name == "disc" else "none"
        patient, site = f"{finding}{int(path.stem) // 3}", "AB"[int(path.stem) % 2]
        rows.append(f"{path.parent.name}\\{path.name};{finding};{patient};{site}")
    table.write_text("\n".join(rows))
    return table


@pytest.fixture(scope="module")
def spec(drawn_table: Path, drawn_folder: Path) -> DatasetSpec:
    return DatasetSpec.from_table(
        drawn_table,
        image="file",
        label="finding",
        group="patient",
        slices=("site",),
        directory=drawn_folder,
        positive_class="disc",
    )


@pytest.fixture(scope="module")
def of_table(spec: DatasetSpec) -> TransferClassifier:
    return transfer_classifier(
        spec,
        backbone=BackboneAdapter("tiny_random"),
        schedule=FineTuneSchedule.head_only(),
        folds=3,
    )


def test_a_table_trains_like_a_folder(
    of_table: TransferClassifier, spec: DatasetSpec, tmp_path: Path
) -> None:
    assert of_table.class_names == ("disc", "none")
    assert of_table.evaluation.count == 48
    folds = of_table.cross_validation
    assert folds is not None
    groups = dict(zip(folds.scores.names, folds.fold_numbers, strict=True))
    by_patient: dict[str, set[int]] = {}
    for example in spec.listing().examples:
        by_patient.setdefault(str(example.group), set()).add(groups[example.name])
    assert {len(of) for of in by_patient.values()} == {1}, "a patient is in one fold"
    of_table.save(tmp_path / "m.keras")
    loaded = TransferClassifier.load(tmp_path / "m.keras")
    assert DatasetSpec.from_config(loaded.record.dataset) == spec
    assert "patient" in str(loaded.record.dataset)
    assert "disc3" not in str(loaded.record.dataset), "columns, but no rows"


def test_a_table_is_audited_and_split(spec: DatasetSpec) -> None:
    assert audit(spec).counts == {"all": {"disc": 24, "none": 24}}
    with_test = DatasetSpec.from_config({**spec.to_config(), "test_fraction": 0.25})
    parts = split_dataset(with_test)
    patients = {part: {e.group for e in examples} for part, examples in parts.items()}
    assert not patients["test"] & patients["train"]


def test_a_classifier_reads_other_tables_as_its_own(
    of_table: TransferClassifier, drawn_folder: Path, tmp_path: Path
) -> None:
    for name, source in (("x.jpg", "disc/00.jpg"), ("y.jpg", "not disc/00.jpg")):
        data = bytearray((drawn_folder / source).read_bytes())
        (tmp_path / name).write_bytes(bytes(data) + b"other bytes")
    table = tmp_path / "new.csv"
    table.write_text("file,finding\nx.jpg,disc\ny.jpg,none\n")
    found = of_table.evaluate(table)
    assert found.count == 2
    assert found.part == "new.csv"


def test_the_shell_takes_tables(
    drawn_table: Path, drawn_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    columns = ["--image", "file", "--label", "finding", "--image-dir", str(drawn_folder)]
    assert main(["audit", str(drawn_table), *columns, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["counts"] == {"all": {"disc": 24, "none": 24}}
    assert main(["audit", str(drawn_table), "--label", "finding"]) == 2
    assert "name the right one with --image" in capsys.readouterr().err
    assert main(["audit", str(drawn_table), *columns[:4]]) == 2
    said = capsys.readouterr().err
    assert "line 2, column 'file' must name a file" in said
    assert "--image-dir" in said
    with pytest.raises(SystemExit):
        main(["audit", str(drawn_folder), "--label", "finding"])
    assert "--label goes with a table of labels" in capsys.readouterr().err
    model = tmp_path / "m.keras"
    network = ["--backbone", "tiny_random", "--schedule", "head-only"]
    training = ["train", str(drawn_table), "-o", str(model), *columns, "--group", "patient"]
    assert main([*training, "--positive-class", "disc", *network]) == 0
    assert "48 images: 24 disc (positive), 24 none" in capsys.readouterr().out
    assert main(["evaluate", str(model), str(drawn_table), *columns[4:], "--include-training"]) == 0
    assert "labels.csv images" in capsys.readouterr().out
    record = TransferClassifier.load(model).record
    from tlkit.report.recipe import command, python_call

    again = command(record)
    assert again is not None
    assert "--image file --label finding --group patient --image-dir" in again
    assert "DatasetSpec.from_table(" in python_call(record)


def test_the_shell_joins_the_rest(
    drawn_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, path in enumerate(sorted(drawn_folder.glob("*/*.jpg"))):
        kind = "disc" if path.parent.name == "disc" else ("grey", "other")[number % 2]
        (tmp_path / "zoo" / kind).mkdir(parents=True, exist_ok=True)
        (tmp_path / "zoo" / kind / path.name).write_bytes(path.read_bytes())
    assert main(["audit", str(tmp_path / "zoo")]) == 2
    assert "--positive-class and --rest negative" in capsys.readouterr().err
    options = ["--positive-class", "disc", "--rest", "negative"]
    assert main(["audit", str(tmp_path / "zoo"), *options]) == 0
    assert "'not disc' is: 12 grey, 12 other" in capsys.readouterr().out
    model = str(tmp_path / "m.keras")
    network = ["--backbone", "tiny_random", "--schedule", "head-only"]
    assert main(["train", str(tmp_path / "zoo"), "-o", model, *options, *network]) == 0
    assert "not disc is: 12 grey, 12 other" in capsys.readouterr().out
    assert main(["evaluate", model, str(tmp_path / "zoo"), "--include-training"]) == 0
    assert "48 zoo images" in capsys.readouterr().out
    assert main(["evaluate", model, str(drawn_folder), "--include-training"]) == 0
