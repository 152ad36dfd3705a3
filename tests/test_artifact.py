"""One plain file that Keras opens alone, written whole or not at all, and trusted only when checked."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import keras
import numpy as np
import pytest

from tlkit import CrossValidation, TransferClassifier
from tlkit.classifier import artifact
from tlkit.classifier.artifact import FORMAT_VERSION, RECORD_NAME, write_artifact
from tlkit.classifier.record import Record
from tlkit.errors import ArtifactError
from tlkit.evaluation.scores import OUT_OF_FOLD, Scores

PLAIN_KERAS = """
import sys, numpy as np
sys.modules["tlkit"] = None  # whoever imports it now gets an ImportError
import keras
model = keras.saving.load_model(sys.argv[1])
np.save(sys.argv[3], model.predict(np.load(sys.argv[2]), verbose=0))
"""


@pytest.fixture
def saved(classifier: TransferClassifier, tmp_path: Path) -> Path:
    classifier.save(tmp_path / "discs.keras")
    return tmp_path / "discs.keras"


def repacked(path: Path, change: Callable[[str, bytes], bytes | None]) -> Path:
    """Write the archive anew with some entries changed, or left out where `change` gives None."""
    target = path.with_name("changed.keras")
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(target, "w") as new:
        for entry in old.infolist():
            content = change(entry.filename, old.read(entry))
            if content is not None:
                new.writestr(entry.filename, content)
    return target


def with_record(path: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    def edit(name: str, content: bytes) -> bytes:
        if name != RECORD_NAME:
            return content
        record = json.loads(content)
        change(record)
        return json.dumps(record).encode()

    return repacked(path, edit)


def test_what_is_loaded_is_what_was_saved(
    classifier: TransferClassifier, saved: Path, drawn_folder: Path
) -> None:
    again = TransferClassifier.load(saved)
    assert again.record == classifier.record
    images = sorted(drawn_folder.rglob("*.jpg"))
    assert again.predict(images) == classifier.predict(images)


def test_plain_keras_gives_the_same_probabilities(
    classifier: TransferClassifier, saved: Path, tmp_path: Path
) -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), np.uint8)
    np.save(tmp_path / "in.npy", images)
    arguments = [str(saved), str(tmp_path / "in.npy"), str(tmp_path / "out.npy")]
    subprocess.run([sys.executable, "-c", PLAIN_KERAS, *arguments], check=True, capture_output=True)
    got = np.load(tmp_path / "out.npy")
    assert got.shape == (5, 1)
    assert np.allclose(got[:, 0], classifier.predict_proba(images), atol=1e-6)


def test_the_model_is_plain(classifier: TransferClassifier) -> None:
    layers = classifier.model._flatten_layers()
    assert {type(layer).__module__.split(".")[0] for layer in layers} == {"keras"}
    kinds = {type(layer).__name__ for layer in layers}
    assert not [
        kind for kind in kinds if kind.startswith("Random") or kind in ("Lambda", "Dropout")
    ]


def test_an_older_file_is_replaced_only_by_a_whole_one(
    classifier: TransferClassifier, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = saved.read_bytes()

    def full(*_arguments: object) -> NoReturn:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(zipfile.ZipFile, "writestr", full)
    with pytest.raises(ArtifactError, match=r"discs\.keras: No space left"):
        classifier.with_threshold(0.9).save(saved)
    assert saved.read_bytes() == before
    assert [path.name for path in saved.parent.iterdir()] == ["discs.keras"]


def test_threads_that_save_to_one_name_leave_a_whole_file(
    classifier: TransferClassifier, tmp_path: Path
) -> None:
    path = tmp_path / "discs.keras"
    both = [classifier.with_threshold(threshold) for threshold in (0.25, 0.75)]
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda one: one.save(path), both * 4))
    assert TransferClassifier.load(path).threshold in (0.25, 0.75)
    assert [path.name for path in tmp_path.iterdir()] == ["discs.keras"]


def test_a_file_replaced_while_it_is_read_is_the_one_or_the_other(
    classifier: TransferClassifier, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Never the network of one classifier with the description of another."""
    weights = classifier.model.get_weights()
    negated = keras.models.clone_model(classifier.model)
    negated.set_weights([*weights[:-2], *(-value for value in weights[-2:])])
    other = TransferClassifier(negated, classifier.with_threshold(0.9).record)
    build = keras.saving.deserialize_keras_object

    def slow(config: object, **options: object) -> keras.Model:
        other.save(saved)  # when the description has been read
        return build(config, **options)

    with monkeypatch.context() as patch:
        patch.setattr(keras.saving, "deserialize_keras_object", slow)
        before = TransferClassifier.load(saved)
    after = TransferClassifier.load(saved)
    assert (before.threshold, before.fingerprint) == (0.5, classifier.fingerprint)
    assert (after.threshold, after.fingerprint) == (0.9, other.fingerprint)
    images = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)
    assert np.allclose(before.predict_proba(images), 1 - after.predict_proba(images), atol=1e-6)


def test_a_clock_that_stands_in_1970_is_named(
    classifier: TransferClassifier, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = saved.read_bytes()
    monkeypatch.setattr(time, "time", lambda: 1000.0)
    with pytest.raises(ArtifactError, match=r"before 1980.*untouched; if the clock .* set it"):
        classifier.save(saved)
    assert saved.read_bytes() == before
    assert [path.name for path in saved.parent.iterdir()] == ["discs.keras"]


def test_a_name_that_is_too_long_is_an_error_of_tlkit(
    classifier: TransferClassifier, tmp_path: Path
) -> None:
    with pytest.raises(ArtifactError, match="File name too long"):
        classifier.save(tmp_path / f"{'n' * 250}.keras")
    assert list(tmp_path.iterdir()) == []


# The description has room for a million images, and is never written so that it cannot be read.


def of_many_images(record: Record, count: int, *, bytes_in_name: int) -> Record:
    """The record that a run with folds writes: every image is named three times."""
    known = [f"disc/{number:0{bytes_in_name - 5}}" for number in range(count)]
    scores = Scores(
        names=tuple(known),
        labels=(0, 1) * (count // 2),
        logits=tuple((np.arange(count) / 7 - count / 14).tolist()),
    )
    crossed = CrossValidation.counted(
        scores,
        [number // 2 % 2 for number in range(count)],
        class_names=record.class_names,
        positive_class=record.positive_class,
    )
    return replace(
        record,
        training_names=tuple(known),
        training_digests=tuple(f"{number:012x}" for number in range(count)),
        cross_validation=crossed,
        scores={**record.scores, OUT_OF_FOLD: scores},
    )


def test_a_million_images_have_room(classifier: TransferClassifier) -> None:
    few, many = (
        len(
            artifact._description(
                of_many_images(classifier.record, count, bytes_in_name=50), "0" * 32
            )
        )
        for count in (2_000, 12_000)
    )
    assert few + (many - few) / 10_000 * 1_000_000 < artifact.LIMIT


def test_what_could_not_be_read_back_is_not_written(
    classifier: TransferClassifier, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = of_many_images(classifier.record, 2_000, bytes_in_name=50)
    size = len(artifact._description(record, "0" * 32))
    monkeypatch.setattr(artifact, "LIMIT", size)
    write_artifact(saved, classifier.model, record)
    assert TransferClassifier.load(saved).record == record
    before = saved.read_bytes()
    monkeypatch.setattr(artifact, "LIMIT", size - 1)
    with pytest.raises(ArtifactError, match=r"which names every image, takes .* are read back"):
        write_artifact(saved, classifier.model, record)
    assert saved.read_bytes() == before


def test_a_description_of_millions_of_lists_is_refused_before_it_takes_their_memory(
    saved: Path,
) -> None:
    content = b'{"surprise": [' + b"[]," * 2**23 + b"[]]}"
    path = repacked(saved, lambda name, old: content if name == RECORD_NAME else old)
    with pytest.raises(ArtifactError, match="more lists than any real one"):
        TransferClassifier.load(path)


def test_names_are_written_in_their_own_letters(
    classifier: TransferClassifier, tmp_path: Path
) -> None:
    odd = ("альпака/🦙.jpg", 'a "quoted" name', "not UTF-8 \udcff.jpg", "two\nlines")
    record = replace(classifier.record, training_names=odd, training_digests=())
    write_artifact(tmp_path / "odd.keras", classifier.model, record)
    with zipfile.ZipFile(tmp_path / "odd.keras") as archive:
        text = archive.read(RECORD_NAME).decode("utf-8")
    assert "альпака/🦙.jpg" in text
    assert json.loads(text)["training_names"] == list(odd)
    assert TransferClassifier.load(tmp_path / "odd.keras").record.training_names == odd


@pytest.mark.parametrize("name", ["missing/discs.keras", "file/discs.keras"])
def test_a_place_that_cannot_be_written_is_named(
    classifier: TransferClassifier, tmp_path: Path, name: str
) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ArtifactError, match=r"cannot write .*discs\.keras"):
        classifier.save(tmp_path / name)


def test_the_name_must_end_in_keras(classifier: TransferClassifier, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"ends in \.keras, got .*discs\.h5"):
        classifier.save(tmp_path / "discs.h5")


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="does not exist"):
        TransferClassifier.load(tmp_path / "nothing.keras")
    with pytest.raises(ArtifactError, match="is a folder"):
        TransferClassifier.load(tmp_path)


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x03\x04 not really"])
def test_a_file_that_is_no_archive(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "other.keras").write_bytes(content)
    with pytest.raises(ArtifactError, match=r"other\.keras is not a saved tlkit classifier"):
        TransferClassifier.load(tmp_path / "other.keras")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_a_truncated_file(saved: Path, share: float) -> None:
    whole = saved.read_bytes()
    saved.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(ArtifactError, match="only a part of one"):
        TransferClassifier.load(saved)


def test_a_flipped_bit_in_the_weights(saved: Path) -> None:
    content = bytearray(saved.read_bytes())
    with zipfile.ZipFile(saved) as archive:
        start = archive.getinfo("model.weights.h5").header_offset
    content[start + 3000] ^= 1
    saved.write_bytes(content)
    with pytest.raises(ArtifactError, match=r"is damaged: model\.weights\.h5"):
        TransferClassifier.load(saved)


def test_a_plain_keras_model_is_told_apart(classifier: TransferClassifier, tmp_path: Path) -> None:
    classifier.model.save(tmp_path / "plain.keras")
    with pytest.raises(ArtifactError, match="is a Keras model, but no tlkit classifier"):
        TransferClassifier.load(tmp_path / "plain.keras")


def test_a_file_of_a_newer_tlkit(saved: Path) -> None:
    newer = with_record(saved, lambda record: record.update(format_version=FORMAT_VERSION + 1))
    with pytest.raises(ArtifactError, match="update tlkit"):
        TransferClassifier.load(newer)


@pytest.mark.parametrize(
    "change",
    [
        lambda record: record.pop("positive_class"),
        lambda record: record.pop("format_version"),
        lambda record: record.update(format_version=0),
        lambda record: record.update(format_version=-1),
        lambda record: record.update(format_version=True),
        lambda record: record.update(surprise=1),
        lambda record: record.update(positive_class="a third"),
        lambda record: record.update(threshold=2),
        lambda record: record.update(image_size=[32]),
        lambda record: record.update(evaluation={}),
        lambda record: record.update(history=[]),
        lambda record: record.update(bad_files=[3]),
        lambda record: record.clear(),
    ],
)
def test_a_record_that_makes_no_sense(
    saved: Path, change: Callable[[dict[str, Any]], None]
) -> None:
    with pytest.raises(ArtifactError, match="damaged"):
        TransferClassifier.load(with_record(saved, change))


def test_a_network_of_another_size_than_the_record(saved: Path) -> None:
    other = with_record(saved, lambda record: record.update(image_size=[64, 64]))
    with pytest.raises(ArtifactError, match=r"not what its tlkit\.json describes"):
        TransferClassifier.load(other)


def test_a_lambda_layer_is_refused(classifier: TransferClassifier, tmp_path: Path) -> None:
    inputs = keras.Input((32, 32, 3))
    sneaky = keras.layers.Lambda(lambda x: x * 1.0)(inputs)
    model = keras.Model(inputs, classifier.model(sneaky))
    write_artifact(tmp_path / "sneaky.keras", model, classifier.record)
    with pytest.raises(ArtifactError, match="'Lambda'"):
        TransferClassifier.load(tmp_path / "sneaky.keras")


def test_a_class_from_elsewhere_is_refused(saved: Path) -> None:
    def edit(name: str, content: bytes) -> bytes:
        if name != "config.json":
            return content
        return content.replace(b'"module": "keras.layers"', b'"module": "os.path"', 1)

    with pytest.raises(ArtifactError, match=r"of 'os\.path'"):
        TransferClassifier.load(repacked(saved, edit))


def test_weights_that_do_not_fit_the_network(saved: Path) -> None:
    broken = repacked(saved, lambda name, content: None if name.endswith(".h5") else content)
    with pytest.raises(ArtifactError, match=r"cannot load .*changed\.keras"):
        TransferClassifier.load(broken)


def test_loading_does_not_touch_the_file(saved: Path) -> None:
    shutil.copy(saved, saved.with_name("copy.keras"))
    TransferClassifier.load(saved)
    assert saved.read_bytes() == saved.with_name("copy.keras").read_bytes()


def test_a_record_survives_json(classifier: TransferClassifier) -> None:
    record = replace(classifier.record, threshold=0.25)
    assert Record.from_json(record.to_json()) == record
