"""A folder is listed completely, in one order everywhere, or refused with advice."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tlkit.data.dataset import DatasetSpec, Listing, image_files, part_of
from tlkit.data.folders import IMAGE_SUFFIXES, scan_folder
from tlkit.errors import DatasetError, SettingError

Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Make a folder of empty files; a name that ends in "/" is an empty folder."""

    def build(*names: str) -> Path:
        for name in names:
            path = tmp_path / name
            (path if name.endswith("/") else path.parent).mkdir(parents=True, exist_ok=True)
            if not name.endswith("/"):
                path.touch()
        return tmp_path

    return build


def names(listing: Listing) -> list[str]:
    return [example.name for example in listing.examples]


def parts(listing: Listing) -> dict[str, str | None]:
    return {example.name: example.part for example in listing.examples}


# Settings


def test_settings_survive_json_and_repr() -> None:
    spec = DatasetSpec(
        "al pacas/",
        positive_class="b",
        validation_fraction=0.3,
        test_fraction=0.1,
        seed=7,
        group_by={"a/1.jpg": "herd"},
        on_bad_file="raise",
        classes=("b", "a"),
        value_range=(0, 4095),
    )
    assert spec.directory == Path("al pacas")
    assert DatasetSpec.from_json(spec.to_json()) == spec
    assert eval(repr(spec)) == spec
    assert eval(repr(DatasetSpec(Path("x")))) == DatasetSpec.from_json(DatasetSpec("x").to_json())


def test_a_group_function_cannot_be_written_as_json() -> None:
    with pytest.raises(SettingError, match=r"DatasetSpec\.group_by cannot be written as JSON"):
        DatasetSpec("x", group_by=lambda path: path.name).to_json()


def test_a_mapping_changed_later_does_not_change_the_spec() -> None:
    mapping = {"a": "b"}
    spec = DatasetSpec("x", group_by=mapping)
    mapping.clear()
    assert spec.group_by == {"a": "b"}


def test_something_must_be_left_to_learn_from() -> None:
    with pytest.raises(SettingError, match="`validation_fraction` \\+ `test_fraction`"):
        DatasetSpec("x", validation_fraction=0.2, test_fraction=0.8)
    assert DatasetSpec("x", test_fraction=0.8).default_fraction == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("directory", ""),
        ("directory", b"x"),
        ("directory", None),
        ("directory", "a\0b"),
        ("validation_fraction", 1),
        ("validation_fraction", -0.1),
        ("validation_fraction", float("nan")),
        ("validation_fraction", "0.2"),
        ("test_fraction", 1.0),
        ("seed", -1),
        ("seed", 1.0),
        ("group_by", "("),
        ("group_by", 3),
        ("group_by", {"a/1.jpg": 1}),
        ("on_bad_file", "ignore"),
        ("classes", "ab"),
        ("classes", ("a", "a")),
        ("classes", ("a",)),
        ("classes", ("a", 1)),
        ("positive_class", 1),
        ("positive_class", ""),
        ("value_range", 4095),
        ("value_range", (0,)),
        ("value_range", (0, "4095")),
        ("value_range", (4095, 4095)),
        ("value_range", (0, float("inf"))),
    ],
)
def test_settings_outside_what_they_may_be(setting: str, value: object) -> None:
    arguments: dict[str, Any] = {"directory": "x", setting: value}
    with pytest.raises(SettingError, match=setting):
        DatasetSpec(arguments.pop("directory"), **arguments)


def test_positive_class_must_be_one_of_classes() -> None:
    with pytest.raises(SettingError, match="did you mean 'alpaca'"):
        DatasetSpec("x", classes=("alpaca", "llama"), positive_class="alpcaa")


def test_a_tilde_is_the_home_folder(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    home = make("x/a/1.jpg", "x/b/2.jpg", "~none/a/1.jpg")
    for variable in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(variable, str(home))
    assert DatasetSpec("~/x").directory == home / "x"
    assert DatasetSpec(Path("~/x")) == DatasetSpec(home / "x")
    assert image_files("~/x/a") == [home / "x/a/1.jpg"]
    monkeypatch.chdir(home)
    assert image_files("~none") == [Path("~none/a/1.jpg")], "no user's home but a folder"


@pytest.mark.parametrize("value", ["", b"x", None, 3, "a\0b"])
def test_a_folder_of_images_must_be_a_path(value: Any) -> None:
    with pytest.raises(SettingError, match="`folder` must be a path"):
        image_files(value)


def test_a_part_goes_by_the_names_of_its_folder() -> None:
    assert [part_of(name) for name in ("train", "val", "Valid", "TESTING")] == [
        "train",
        "validation",
        "validation",
        "test",
    ]
    with pytest.raises(SettingError, match="unknown part 'vall': did you mean 'val'"):
        part_of("vall")


# What is listed


def test_listing_of_a_folder_as_people_pass_it_around(make: Make) -> None:
    folder = make(
        "cat/b.jpg",
        "cat/a.JPEG",
        "cat/deep/er/c.webp",
        "cat/.DS_Store",
        "cat/._a.jpg",
        "cat/.ipynb_checkpoints/a-checkpoint.jpg",
        "cat/@eaDir/b.jpg/SYNOPHOTO_THUMB_M.jpg",
        "cat/Thumbs.db",
        "cat/README",
        "dog/x.png",
        "dog/notes.txt",
        "dog/NOTES.TXT",
        "dog/trailing.",
        "__MACOSX/cat/b.jpg",
        ".git/config",
        "desktop.ini",
        "loose.jpg",
        "labels.csv",
    )
    listing = DatasetSpec(folder).listing()
    assert names(listing) == ["cat/a.JPEG", "cat/b.jpg", "cat/deep/er/c.webp", "dog/x.png"]
    assert [example.path for example in listing.examples] == [
        folder / name for name in names(listing)
    ]
    assert [example.class_name for example in listing.examples] == ["cat", "cat", "cat", "dog"]
    assert listing.labels.tolist() == [0, 0, 0, 1]
    assert listing.labels.dtype == np.int8
    assert listing.ignored == {
        "hidden": 8,
        ".txt": 2,
        "no extension": 2,
        ".csv": 1,
        "image outside the class folders": 1,
    }
    assert str(listing) == repr(listing)
    assert str(listing) == (
        "4 images: 3 cat, 1 dog (positive); ignored: 8 hidden, 2 .txt, 2 no extension, 1 .csv, "
        "1 image outside the class folders"
    )


@pytest.mark.parametrize("on", [True, False])
def test_the_collector_is_left_as_it_was(make: Make, tmp_path: Path, on: bool) -> None:
    folder = make("alpaca/1.jpg", "not alpaca/2.jpg")
    (gc.enable if on else gc.disable)()
    try:
        DatasetSpec(folder).listing()
        assert gc.isenabled() == on
        with pytest.raises(DatasetError):
            DatasetSpec(tmp_path / "nowhere").listing()
        assert gc.isenabled() == on
    finally:
        gc.enable()


def test_every_image_suffix_counts_in_any_case(make: Make) -> None:
    expected = {f"a/x{suffix.upper()}" for suffix in IMAGE_SUFFIXES}
    assert {"a/x.HEIC", "a/x.AVIF", "a/x.JFIF", "a/x.TIF"} <= expected
    listing = DatasetSpec(make("b/1.jpg", *expected)).listing()
    assert set(names(listing)) == {"b/1.jpg", *expected}


def test_pillow_or_a_plugin_reads_every_image_suffix() -> None:
    from PIL import Image

    Image.init()
    readable = {end for end, kind in Image.registered_extensions().items() if kind in Image.OPEN}
    plugins = {".heic", ".heif", ".hif", ".jxl", ".mpo", ".avif", ".avifs"}
    assert readable | plugins >= IMAGE_SUFFIXES


def test_order_does_not_depend_on_the_file_system(make: Make) -> None:
    folder = make(*(f"{kind}/{name}.jpg" for kind in "ab" for name in ("z", "A", "é", "a/b", "10")))
    expected = names(DatasetSpec(folder).listing())
    backwards = DatasetSpec(folder).listing(scan=lambda path: list(scan_folder(path))[::-1])
    assert names(backwards) == expected
    assert expected[:5] == ["a/10.jpg", "a/A.jpg", "a/a/b.jpg", "a/z.jpg", "a/é.jpg"]


def test_odd_file_names_are_kept(make: Make) -> None:
    odd = ["a/two\nlines.jpg", "a/ü 🦙 'q' \".jpg", "a/back\\slash.jpg"]
    try:
        folder = make("b/1.jpg", *odd)
    except OSError:
        pytest.skip("this file system does not take such names")
    try:
        make(os.fsdecode(b"a/\xff.jpg"))
        odd.append(os.fsdecode(b"a/\xff.jpg"))
    except OSError:
        pass  # this file system takes UTF-8 only
    listing = DatasetSpec(folder).listing()
    assert set(names(listing)) == {"b/1.jpg", *odd}
    assert all(example.path.exists() for example in listing.examples)


# Links


def link(path: Path, target: Path | str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        path.symlink_to(target)
    except OSError:
        pytest.skip("this system does not let us make symbolic links")


def test_linked_files_folders_and_classes_are_followed(make: Make) -> None:
    folder = make("store/cats/1.jpg", "store/more/2.jpg", "store/3.jpg", "data/dog/4.jpg")
    link(folder / "data/cat", folder / "store/cats")
    link(folder / "data/dog/more", folder / "store/more")
    link(folder / "data/dog/3.jpg", folder / "store/3.jpg")
    listing = DatasetSpec(folder / "data").listing()
    assert names(listing) == ["cat/1.jpg", "dog/3.jpg", "dog/4.jpg", "dog/more/2.jpg"]


def test_link_loops_end_and_no_folder_is_listed_twice(make: Make) -> None:
    folder = make("cat/1.jpg", "cat/z/2.jpg", "dog/3.jpg")
    link(folder / "cat/a", folder / "cat/z")  # sorts first, but the real folder gives the name
    link(folder / "cat/z/self", folder / "cat/z")
    link(folder / "cat/z/up", "..")
    link(folder / "dog/root", folder)
    link(folder / "dog/above", folder.parent)
    listing = DatasetSpec(folder).listing()
    assert names(listing) == ["cat/1.jpg", "cat/z/2.jpg", "dog/3.jpg"]
    assert listing.ignored == {"link to a folder already listed": 5}


def test_broken_links_are_examples(make: Make) -> None:
    folder = make("cat/1.jpg", "dog/2.jpg")
    link(folder / "cat/gone.jpg", folder / "nowhere.jpg")
    link(folder / "cat/self.jpg", "self.jpg")
    assert names(DatasetSpec(folder).listing()) == [
        "cat/1.jpg",
        "cat/gone.jpg",
        "cat/self.jpg",
        "dog/2.jpg",
    ]


def test_a_pipe_named_like_an_image_is_ignored(make: Make) -> None:
    if not hasattr(os, "mkfifo"):
        pytest.skip("this system has no named pipes")
    folder = make("cat/1.jpg", "dog/2.jpg")
    os.mkfifo(folder / "cat/pipe.jpg")
    listing = DatasetSpec(folder).listing()
    assert names(listing) == ["cat/1.jpg", "dog/2.jpg"]
    assert listing.ignored == {"not a regular file": 1}


# Layouts


@pytest.mark.parametrize("validation", ["val", "valid", "validation", "Val"])
def test_ready_made_parts(make: Make, validation: str) -> None:
    folder = make(
        *(f"{part}/{kind}/1.jpg" for part in ("test", "train", validation) for kind in "ab"),
        "models/best.keras",
        "train/loose.txt",
    )
    listing = DatasetSpec(folder).listing()
    assert parts(listing) == {
        "train/a/1.jpg": "train",
        "train/b/1.jpg": "train",
        f"{validation}/a/1.jpg": "validation",
        f"{validation}/b/1.jpg": "validation",
        "test/a/1.jpg": "test",
        "test/b/1.jpg": "test",
    }
    assert names(listing) == list(parts(listing))  # in the order of the parts
    assert listing.ignored == {".txt": 1, "other folder": 1}
    assert str(listing).startswith("6 images: 3 a, 3 b (positive); parts: 2 train, 2 validation")


def test_train_and_test_without_validation(make: Make) -> None:
    folder = make("train/a/1.jpg", "train/b/1.jpg", "test/a/1.jpg", "test/b/1.jpg")
    assert set(parts(DatasetSpec(folder).listing()).values()) == {"train", "test"}


@pytest.mark.parametrize(
    "classes", [("plane", "train"), ("invalid", "valid"), ("control", "test"), ("a", "validation")]
)
def test_one_class_may_be_called_like_a_part(make: Make, classes: tuple[str, str]) -> None:
    listing = DatasetSpec(make(*(f"{name}/side/1.jpg" for name in classes))).listing()
    assert listing.class_names == classes
    assert set(parts(listing).values()) == {None}


def test_classes_called_like_parts_when_asked_for(make: Make) -> None:
    folder = make("train/1.jpg", "test/2.jpg")
    listing = DatasetSpec(folder, classes=("train", "test")).listing()
    assert parts(listing) == {"train/1.jpg": None, "test/2.jpg": None}


@pytest.mark.parametrize("prefix", ["", "train/"])
def test_classes_choose_and_order_the_folders(make: Make, prefix: str) -> None:
    folder = make(*(f"{prefix}{kind}/1.jpg" for kind in "abc"))
    if prefix:
        make("val/b/1.jpg", "val/c/1.jpg")
    listing = DatasetSpec(folder, classes=("c", "b")).listing()
    assert listing.class_names == ("c", "b")
    assert names(listing)[:2] == [f"{prefix}c/1.jpg", f"{prefix}b/1.jpg"]
    assert listing.positive_class == "c"  # the second in sorted order, however they are listed
    assert listing.ignored == {"other folder": 1}


def test_class_folders_are_case_sensitive(make: Make) -> None:
    folder = make("Cat/1.jpg", "dog/1.jpg")
    with pytest.raises(DatasetError, match=r"class folders 'cat', 'dog', found 'Cat', 'dog'"):
        DatasetSpec(folder, classes=("cat", "dog")).listing()


# The positive class


@pytest.mark.parametrize(
    ("one", "other", "positive"),
    [
        ("alpaca", "not alpaca", "alpaca"),
        ("Alpaca", "NOT_ALPACA", "Alpaca"),
        ("hot dog", "not-hot_dog", "hot dog"),
        ("mask", "no mask", "mask"),
        ("mask", "nomask", "mask"),
        ("fire", "non-fire", "fire"),
        ("with", "notwith", "with"),
        ("tumour", "without tumour", "tumour"),
        ("no zebra", "zebra", "zebra"),
        ("cat", "dog", "dog"),
        ("alpaca", "note", "note"),
        ("a", "notebook", "notebook"),
        ("-", "not", "not"),
    ],
)
def test_default_positive_class(make: Make, one: str, other: str, positive: str) -> None:
    listing = DatasetSpec(make(f"{one}/1.jpg", f"{other}/1.jpg")).listing()
    assert listing.positive_class == positive
    assert [example.class_name for example in listing.examples if example.label] == [positive]


def test_given_positive_class(make: Make) -> None:
    folder = make("alpaca/1.jpg", "not alpaca/2.jpg")
    listing = DatasetSpec(folder, positive_class="not alpaca").listing()
    assert listing.labels.tolist() == [0, 1]
    with pytest.raises(SettingError, match="did you mean 'alpaca'"):
        DatasetSpec(folder, positive_class="alpacas").listing()


# Groups


def test_groups(make: Make) -> None:
    folder = make("a/herd-1_x.jpg", "a/herd-2_x.jpg", "a/solo.jpg", "b/herd-1_y.jpg")
    listing = DatasetSpec(folder).listing()
    one, two, solo, three = names(listing)
    assert listing.groups(None) == names(listing)
    assert listing.groups(r"herd-\d") == ["herd-1", "herd-2", solo, "herd-1"]
    assert listing.groups(r"(?:herd)-(\d)_(.)") == ["1", "2", solo, "1"]
    assert listing.groups(r"(herd)?-?\d?_x") == ["herd", "herd", solo, three]
    assert listing.groups({one: "H", three: "H"}) == ["H", two, solo, "H"]
    assert listing.groups(lambda path: path.stem[-1]) == ["x", "x", "o", "y"]
    assert listing.groups(lambda path: "s" if path == folder / solo else None) == [
        one,
        two,
        "s",
        three,
    ]


@pytest.mark.parametrize("group_by", [r"subject\d", r"\d*$", {"x.jpg": "k"}, lambda _: None])
def test_a_group_rule_that_matches_nothing_is_refused(make: Make, group_by: Any) -> None:
    listing = DatasetSpec(make("a/1.jpg", "b/1.jpg")).listing()
    with pytest.raises(DatasetError, match=r"`group_by` .* 'a/1.jpg'"):
        listing.groups(group_by)


def test_a_group_function_must_return_text(make: Make) -> None:
    listing = DatasetSpec(make("a/1.jpg", "b/1.jpg")).listing()
    number: Any = lambda path: 3  # noqa: ARG005, E731
    with pytest.raises(SettingError, match="text or None, got 3"):
        listing.groups(number)


# Folders that are refused


def refused(folder: Path, **settings: Any) -> str:
    with pytest.raises(DatasetError) as caught:
        DatasetSpec(folder, **settings).listing()
    return str(caught.value)


def test_missing_folder(tmp_path: Path) -> None:
    message = refused(tmp_path / "no\nsuch")
    assert r"no\nsuch' (No such file or directory)" in message
    assert "\n" not in message


def test_a_file_instead_of_a_folder(make: Make) -> None:
    assert "(Not a directory)" in refused(make("alpacas.zip") / "alpacas.zip")


def test_no_class_folder(make: Make) -> None:
    assert "two class folders, found none: make one" in refused(make("1.jpg", ".hidden/1.jpg"))


def test_one_class_folder(make: Make) -> None:
    assert "found 'cat': make one for each class" in refused(make("cat/1.jpg"))


def test_one_folder_too_high(make: Make) -> None:
    folder = make("data/cat/1.jpg", "data/dog/1.jpg")
    assert f"did you mean '{folder / 'data'}'?" in refused(folder)


def test_three_class_folders(make: Make) -> None:
    message = refused(make("cat/1.jpg", "dog/1.jpg", "cow/1.jpg"))
    assert "found 'cat', 'cow', 'dog': choose two with `classes`" in message


def test_very_many_class_folders_are_not_all_named(make: Make) -> None:
    message = refused(make(*(f"{number:02}/" for number in range(100))))
    assert "found '00', '01', '02', '03', '04', '05', '06', '07' and 92 more: choose" in message


def test_an_empty_class(make: Make) -> None:
    folder = make("cat/1.jpg", "dog/notes.txt", "dog/.1.jpg")
    assert f"'{folder / 'dog'}' must hold images, found none" in refused(folder)


def test_a_class_of_files_that_must_be_converted_first(make: Make) -> None:
    scans = [f"dog/{n}.dcm" for n in range(12)]
    message = refused(make("cat/1.jpg", "cat/notes.txt", "dog/list.csv", *scans))
    assert (
        "found none, only what tlkit does not read (12 x .dcm, 1 x .csv): convert them" in message
    )


def test_an_empty_class_in_one_part(make: Make) -> None:
    folder = make("train/a/1.jpg", "train/b/1.jpg", "val/a/1.jpg", "val/b/")
    assert f"'{folder / 'val/b'}' must hold images, found none" in refused(folder)


@pytest.mark.parametrize(
    ("wrong", "found"),
    [("Dog/1.jpg", "'Dog', 'cat'"), ("dogs/1.jpg", "'cat', 'dogs'"), ("1.jpg", "'cat'")],
)
def test_class_names_that_differ_between_parts(make: Make, wrong: str, found: str) -> None:
    folder = make("train/cat/1.jpg", "train/dog/1.jpg", "val/cat/1.jpg", f"val/{wrong}")
    expected = f"'{folder / 'val'}' must hold the class folders 'cat', 'dog', found {found}: rename"
    assert expected in refused(folder)


def test_a_third_class_in_one_part(make: Make) -> None:
    folder = make(*(f"{part}/{kind}/1.jpg" for part in ("train", "val") for kind in "ab"))
    make("val/c/1.jpg")
    assert "found 'a', 'b', 'c'" in refused(folder)


def test_parts_without_class_folders_are_not_read_as_classes(make: Make) -> None:
    message = refused(make("train/cat.1.jpg", "test/1.jpg"))
    assert "must hold two class folders, found none" in message


def test_two_validation_folders(make: Make) -> None:
    message = refused(
        make(*(f"{part}/{kind}/1.jpg" for part in ("train", "val", "valid") for kind in "ab"))
    )
    assert "found 'train', 'val', 'valid'" in message


def test_validation_and_test_without_train(make: Make) -> None:
    folder = make(*(f"{part}/{kind}/1.jpg" for part in ("val", "test") for kind in "ab"))
    assert "must have train/" in refused(folder)


def test_test_fraction_beside_ready_made_parts(make: Make) -> None:
    folder = make(*(f"{part}/{kind}/1.jpg" for part in ("train", "val") for kind in "ab"))
    assert "`test_fraction` must be 0 in a folder of parts, got 0.1" in refused(
        folder, test_fraction=0.1
    )


def test_a_folder_that_cannot_be_listed(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make("cat/locked/1.jpg", "dog/1.jpg")
    scandir = os.scandir

    def guarded(path: str) -> Any:
        if path.endswith("locked"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)
    assert f"cannot list '{folder / 'cat/locked'}' (Permission denied)" in refused(folder)


# A folder without classes


def test_image_files_of_any_folder(make: Make) -> None:
    folder = make("b.jpg", "a/c.PNG", "a/notes.txt", ".hidden.jpg", ".git/x.jpg")
    assert image_files(folder) == [folder / "a/c.PNG", folder / "b.jpg"]
    with pytest.raises(DatasetError, match="must hold images, found none"):
        image_files(make("empty/") / "empty")
    with pytest.raises(DatasetError, match="cannot list"):
        image_files(folder / "missing")


# Speed


def test_no_image_is_looked_at_one_by_one(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make(*(f"{kind}/{number}.jpg" for kind in "ab" for number in range(200)))
    calls: list[str] = []
    for name in ("stat", "lstat"):
        real = getattr(os, name)

        def counted(path: Any, *rest: Any, _real: Any = real, **more: Any) -> Any:
            calls.append(os.fspath(path))
            return _real(path, *rest, **more)

        monkeypatch.setattr(os, name, counted)
    assert len(DatasetSpec(folder).listing().examples) == 400
    assert not [path for path in calls if path.endswith(".jpg")]


def test_ten_thousand_files_are_listed_at_once(make: Make) -> None:
    folder = make(*(f"{kind}/{number}.jpg" for kind in "ab" for number in range(5000)))
    start = time.perf_counter()
    assert len(DatasetSpec(folder).listing().examples) == 10_000
    assert time.perf_counter() - start < 3  # about 0.1 s; generous for a busy machine


def test_real_alpaca_folder() -> None:
    folder = os.environ.get("TLKIT_ALPACA_DIR")
    if not folder:
        pytest.skip("TLKIT_ALPACA_DIR is not set to the folder of alpaca photographs")
    assert str(DatasetSpec(folder).listing()) == (
        "327 images: 142 alpaca (positive), 185 not alpaca; ignored: 1 hidden"
    )
