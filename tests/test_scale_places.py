"""Images are found and read wherever they lie, and features come back as they were written."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from scaling import HOOK, TINY

from tlkit import (
    DatasetSpec,
    scale,
)
from tlkit.errors import DatasetError, ImageError, SettingError
from tlkit.images.decoder import BadFile, read_image
from tlkit.scale.careful import read_carefully
from tlkit.scale.places import Source, image_locations, location_of, read_anywhere
from tlkit.scale.store import FeatureStore

pytest.importorskip("pyarrow")
fsspec = pytest.importorskip("fsspec")


@pytest.fixture
def folder(drawn_folder: Path, tmp_path: Path) -> Path:
    """A copy of the drawn folder, to be changed."""
    shutil.copytree(drawn_folder, tmp_path / "images")
    return tmp_path / "images"


# Where images lie


def test_locations_mean_the_same_in_every_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert location_of("data", "a b") == location_of("data", Path("a b")) == str(tmp_path / "a b")
    assert location_of("data", (tmp_path / "a b").as_uri()) == str(tmp_path / "a b")
    assert location_of("data", "gs://bucket/a%20b/") == "gs://bucket/a%20b"
    # Path folds the slashes of a URI, and a spec keeps a Path
    assert location_of("data", DatasetSpec("s3://bucket/a").directory) == "s3://bucket/a"
    assert location_of("data", DatasetSpec("file:///a/b").directory) == "/a/b"
    with pytest.raises(SettingError, match="`data` must be a path"):
        location_of("data", 3)


def test_headers_are_read_wherever_images_lie(folder: Path) -> None:
    for uri in (f"local://{folder}", folder.as_uri(), folder):
        source = Source(uri)
        examples = source.listing().examples
        assert {source.read_size(example) for example in examples} == {(48, 48)}
    (folder / "disc" / "00.jpg").write_bytes(b"nothing of the kind")
    source = Source(f"local://{folder}")
    broken = next(e for e in source.listing().examples if e.name == "disc/00.jpg")
    with pytest.raises(ImageError, match=r"local://.*disc/00\.jpg as an image: not an image"):
        source.read_size(broken)


def test_other_file_systems_are_listed_by_the_same_rules(folder: Path) -> None:
    (folder / "disc" / "deeper").mkdir()
    (folder / "disc" / "deeper" / "1.PNG").touch()
    for name in (".hidden.jpg", "notes.txt", "deeper/Thumbs.db", "00 é.webp"):
        (folder / "disc" / name).touch()
    (folder / ".cache").mkdir()
    expected = DatasetSpec(folder).listing()
    for uri in (f"local://{folder}", folder.as_uri()):
        found = Source(uri).listing()
        assert [e.name for e in found.examples] == [e.name for e in expected.examples]
        assert found.labels.tolist() == expected.labels.tolist()
        assert found.ignored == expected.ignored
        facts = [Source(data) for data in (uri, folder)]
        assert facts[0].facts(facts[0].listing()) == facts[1].facts(expected)
    with pytest.raises(DatasetError, match=r"cannot list 'local://.*/gone'"):
        Source(f"local://{folder}/gone").listing()


def test_images_are_read_through_fsspec_where_pyarrow_knows_no_file_system(folder: Path) -> None:
    memory = fsspec.filesystem("memory")
    for path in folder.glob("*/*.jpg"):
        memory.pipe(f"/bucket/my images/{path.relative_to(folder).as_posix()}", path.read_bytes())
    try:
        source = Source("memory://bucket/my images")
        listing = source.listing()
        expected = DatasetSpec(folder).listing()
        assert [e.name for e in listing.examples] == [e.name for e in expected.examples]
        for ours, theirs in zip(listing.examples[:3], expected.examples, strict=False):
            pixels, facts = read_anywhere(source.location(ours), (32, 32))
            assert np.array_equal(pixels, read_image(theirs.path, (32, 32))[0])
            assert facts.digest == read_image(theirs.path, (32, 32))[1].digest
        names = image_locations("memory://bucket/my images/disc")
        assert names[0] == "memory://bucket/my images/disc/00.jpg"
        assert len(names) == 24
        assert image_locations(names[3]) == [names[3]]
        with pytest.raises(ImageError, match="no such file") as caught:
            read_anywhere("memory://bucket/gone.jpg", (32, 32))
        assert caught.value.path == "memory://bucket/gone.jpg"
        memory.pipe("/bucket/page.jpg", b"<html>not found</html>")
        with pytest.raises(ImageError, match=r"memory://bucket/page\.jpg.*HTML"):
            read_anywhere("memory://bucket/page.jpg", (32, 32))
    finally:
        memory.rm("/bucket", recursive=True)


def test_an_unknown_file_system_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"no file system is known for 'nosuch://host/'"):
        scale.compute_features("nosuch://host/images", TINY, tmp_path)


# Careful reading


def test_an_image_that_ends_the_process_is_named_and_the_others_are_read(
    drawn_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text(HOOK)
    monkeypatch.syspath_prepend(tmp_path)
    killer, page = tmp_path / "killer.jpg", tmp_path / "page.jpg"
    killer.write_bytes(b"KILLER" + bytes(100))
    page.write_bytes(b"<html>not found</html>")
    good = [str(drawn_folder / "disc" / f"0{n}.jpg") for n in (1, 2)]
    found = list(read_carefully([good[0], str(killer), str(page), good[1]], (32, 32)))
    assert found[1] == BadFile(str(killer), "decoding it ends the process (SIGSEGV)")
    assert isinstance(found[2], BadFile)
    assert found[2].format == "HTML"
    for path, outcome in zip(good, (found[0], found[3]), strict=True):
        assert not isinstance(outcome, BadFile)
        assert np.array_equal(outcome[0], read_image(path, (32, 32))[0])


def test_a_file_system_that_does_not_answer_says_nothing_about_an_image(
    drawn_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_arguments: object) -> BrokenPipeError:
        return BrokenPipeError(32, "the server hung up")

    monkeypatch.setattr("tlkit.scale.careful._Child.read", broken)
    with pytest.raises(BrokenPipeError, match="hung up"):
        list(read_carefully([str(drawn_folder / "disc" / "01.jpg")], (32, 32)))


# Features in files


def test_odd_names_and_bad_files_come_back(tmp_path: Path, drawn_folder: Path) -> None:
    store = FeatureStore(str(tmp_path / "features"))
    store.begin({"what": 1})
    facts = read_image(drawn_folder / "disc" / "00.jpg", (8, 8))[1]
    bad = BadFile("a/\udcff.jpg", "the file is empty")
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    store.write(7, ["a/1.jpg", "a/\udcff.jpg", "b/two\nlines.jpg"], [facts, bad, facts], values)
    part = store.read(7)
    assert part.names == ["a/1.jpg", "a/\\udcff.jpg", "b/two\\nlines.jpg"]
    assert part.outcomes == [facts, bad, facts]
    assert np.array_equal(part.features, values)
    assert store.bad_files(7) == [bad]
    assert store.done() == {7}
    assert np.array_equal(part.outcomes[0].thumbnail, facts.thumbnail)  # type: ignore[union-attr]
    store.write(8, ["c/1.jpg"], [bad], np.empty((0, 3), np.float32))
    assert store.read(8).features.shape == (0, 3)
