"""Whatever bytes an artifact holds, it loads and works, or an `ArtifactError` says why not, and soon."""

from __future__ import annotations

import copy
import io
import json
import math
import os
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from test_fuzz_images import MUTATIONS, ROUNDS, Rng

from tlkit import TransferClassifier
from tlkit.classifier.artifact import RECORD_NAME, checked_contents
from tlkit.errors import ArtifactError

VERY_MANY = int(os.environ.get("TLKIT_FUZZ_ARTIFACTS", "20_000"))
SECONDS = 5.0  # of processors: the longest that one file may take
Entries = dict[str, bytes]
Damage = Callable[[Entries, Rng], bytes]

ODD_VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 3, 10**6, 2**31, 2**63, 10**400, 0.5, -0.0, 1e308, math.nan, math.inf,
    "", "x", "x" * 5000, "Lambda", "float16", "../..", "\udcff\n", [], [[]], [None], [1, 2, 3], {}, {"": 0},
    {"class_name": "Dense", "config": {}}, {"class_name": "__lambda__", "module": "builtins", "config": {}},
)  # fmt: skip


@pytest.fixture(scope="module")
def entries(classifier: TransferClassifier, tmp_path_factory: pytest.TempPathFactory) -> Entries:
    """What a real artifact holds, by name."""
    path = tmp_path_factory.mktemp("artifact") / "discs.keras"
    classifier.save(path)
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def packed(entries: Entries) -> bytes:
    """A zip file whose checksums are right, whatever is in it."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in entries.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return file.getvalue()


def damaged(content: bytes, rng: Rng) -> bytes:
    mutated = bytearray(content)
    for mutate in rng.choice(len(MUTATIONS), size=rng.integers(1, 4)):
        if mutated:
            MUTATIONS[mutate](mutated, rng)
    return bytes(mutated)


def damaged_file(entries: Entries, rng: Rng) -> bytes:
    return damaged(packed(entries), rng)


def damaged_entry(entries: Entries, rng: Rng) -> bytes:
    name = sorted(entries)[rng.integers(len(entries))]
    return packed({**entries, name: damaged(entries[name], rng)})


def damaged_weights(entries: Entries, rng: Rng) -> bytes:
    """A few bits of the weights' structure, which is in front and scattered between the numbers."""
    content = bytearray(entries["model.weights.h5"])
    for _ in range(rng.integers(1, 6)):
        place = int(rng.integers(2000 if rng.random() < 0.5 else len(content)))
        content[place] = int(rng.choice([0, 1, 0xFF, 0x7F, 0x80, content[place] ^ 1]))
    return packed({**entries, "model.weights.h5": bytes(content)})


def odd_json(entries: Entries, rng: Rng) -> bytes:
    """Well-formed JSON in which values are missing, strange, or those of another place."""
    name = ("config.json", RECORD_NAME)[rng.integers(2)]
    tree = json.loads(entries[name])
    for _ in range(rng.integers(1, 4)):
        places = list(_places(tree))
        parent, key = places[rng.integers(len(places))]
        other, other_key = places[rng.integers(len(places))]
        way = rng.integers(4)
        if way == 0:
            del parent[key]
        elif way == 1:
            parent[key] = copy.deepcopy(other[other_key])
        else:
            parent[key] = copy.deepcopy(ODD_VALUES[rng.integers(len(ODD_VALUES))])
    return packed({**entries, name: json.dumps(tree).encode()})


def _places(tree: Any) -> Iterator[tuple[Any, Any]]:
    for key in tree if isinstance(tree, dict) else range(len(tree)):
        yield tree, key
        if isinstance(tree[key], dict | list):
            yield from _places(tree[key])


WAYS: tuple[Damage, ...] = (damaged_file, damaged_entry, damaged_weights, odd_json)


def mutants(entries: Entries, count: int) -> Iterator[tuple[str, bytes]]:
    """Damaged artifacts, in turn of every way: the same ones on every run."""
    for number in range(count):
        way = WAYS[number % len(WAYS)]
        yield f"mutant {number} ({way.__name__})", way(entries, np.random.default_rng((77, number)))


def outcome(name: str, path: Path, content: bytes, read: Callable[[Path], object]) -> str:
    """Read it, and say how that went; anything but an `ArtifactError` that names the file passes through."""
    path.write_bytes(content)
    started = time.process_time()
    try:
        read(path)
    except ArtifactError as error:
        result = "refused" if path.name in str(error) else "refused without its name"
    else:
        result = "read"
    assert result in ("read", "refused"), name
    assert time.process_time() - started < SECONDS, name
    return result


def load_and_use(path: Path) -> None:
    classifier = TransferClassifier.load(path)
    images = np.zeros((2, *classifier.image_size, 3), np.uint8)
    labels = {prediction.label for prediction in classifier.predict(images)}
    assert labels <= set(classifier.class_names)


def check_balance(found: Counter[str], count: int) -> None:
    """The damage is neither nothing nor total."""
    assert found["read"] + found["refused"] == count
    assert min(found["read"], found["refused"]) > count / 10, found


@pytest.mark.parametrize(
    "count",
    [
        150,
        pytest.param(1_250 * ROUNDS, marks=pytest.mark.slow),
        pytest.param(VERY_MANY, marks=pytest.mark.long),
    ],
)
def test_damaged_containers_are_read_or_refused(
    entries: Entries, tmp_path: Path, count: int
) -> None:
    def read(path: Path) -> None:
        record, *_ = checked_contents(path)
        shown = f"{record.evaluation}{record.history}{record.audit}{record!r}"
        assert record.positive_class in shown
        assert repr(type(record).from_config(record.to_config())) == repr(record)

    path = tmp_path / "mutant.keras"
    found = Counter(outcome(name, path, content, read) for name, content in mutants(entries, count))
    check_balance(found, count)


@pytest.mark.filterwarnings("ignore")  # as users have it: a warning may not stand in for an error
@pytest.mark.parametrize(
    "count",
    [
        8,
        pytest.param(20 * ROUNDS, marks=pytest.mark.slow),
        pytest.param(VERY_MANY, marks=pytest.mark.long),
    ],
)
def test_damaged_artifacts_load_and_work_or_are_refused(
    entries: Entries, tmp_path: Path, count: int
) -> None:
    path = tmp_path / "mutant.keras"
    TransferClassifier.load(_whole(entries, path))  # so that no mutant pays for TensorFlow's start
    found = Counter(
        outcome(name, path, content, load_and_use) for name, content in mutants(entries, count)
    )
    check_balance(found, count)


def _whole(entries: Entries, path: Path) -> Path:
    path.write_bytes(packed(entries))
    return path


def changed(entries: Entries, path: Path, name: str, change: Callable[[Any], object]) -> Path:
    tree = json.loads(entries[name])
    change(tree)
    path.write_bytes(packed({**entries, name: json.dumps(tree).encode()}))
    return path


# Bombs: a small file that asks for a great deal.


@pytest.mark.filterwarnings("ignore:Skipping nested container")  # what Keras thinks of it first
def test_a_network_larger_than_its_weights_takes_no_memory(
    entries: Entries, tmp_path: Path
) -> None:
    inputs = keras.Input((32, 32, 3))
    hidden = keras.layers.Dense(7)(keras.layers.Flatten()(inputs))
    model = keras.Model(inputs, keras.layers.Dense(1)(hidden))
    text = json.dumps(keras.saving.serialize_keras_object(model))
    text = text.replace('"units": 7', '"units": 10000000000').replace(", 7]", ", 10000000000]")
    consistent = text.encode()
    torn = entries["config.json"].replace(b'"filters": 16', b'"filters": 1000000000', 1)
    path = tmp_path / "huge.keras"
    for config, message in (
        (consistent, r"cannot load .*huge\.keras .*could not be loaded"),
        (torn, r"cannot load .*huge\.keras .*incompatible"),
    ):
        path.write_bytes(packed({**entries, "config.json": config}))
        with pytest.raises(ArtifactError, match=message):
            TransferClassifier.load(path)


@pytest.mark.parametrize("name", ["model.weights.h5", "config.json", RECORD_NAME, "other"])
def test_a_file_that_unpacks_to_too_much_is_refused_unread(
    entries: Entries, tmp_path: Path, name: str
) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for entry, content in {**entries, name: bytes(2**28)}.items():
            archive.writestr(entry, content)
    path = tmp_path / "bomb.keras"
    path.write_bytes(file.getvalue())
    with pytest.raises(ArtifactError, match=r"bomb\.keras is damaged: it.* takes? |would unpack"):
        checked_contents(path)


@pytest.mark.parametrize("name", ["config.json", RECORD_NAME])
@pytest.mark.parametrize("depth", [500, 900, 5_000, 1_000_000])
def test_deep_nesting_is_no_way_around(
    entries: Entries, tmp_path: Path, name: str, depth: int
) -> None:
    inner = b'{"class_name": "Lambda"}'
    content = (
        entries[name].rstrip()[:-1] + b', "deep": ' + b"[" * depth + inner + b"]" * depth + b"}"
    )
    packing = packed({**entries, name: content})
    path = tmp_path / "deep.keras"
    assert outcome("deep", path, packing, TransferClassifier.load) == "refused"


# Networks of built-in layers that do more than compute, and archives that reach outside.


def with_layer(entries: Entries, layer: dict[str, Any]) -> bytes:
    """An artifact whose last layer is another one."""
    config = json.loads(entries["config.json"])
    last = config["config"]["layers"][-1]
    last.update(layer)
    last["config"] = {"name": last["name"], **layer["config"]}
    return packed({**entries, "config.json": json.dumps(config).encode()})


@pytest.mark.parametrize(
    ("class_name", "module", "config"),
    [
        ("TFSMLayer", "keras.layers", {"filepath": "elsewhere", "call_endpoint": "serve"}),
        ("StringLookup", "keras.layers", {"vocabulary": "elsewhere/secret.txt"}),
        ("TextVectorization", "keras.layers", {"vocabulary": "elsewhere/secret.txt"}),
        ("TorchModuleWrapper", "keras.layers", {"module": "gASV"}),
        ("Activation", "keras.layers", {"activation": {"class_name": "function", "module": "keras.utils",
                                                       "config": "get_file", "registered_name": "get_file"}}),
        ("get_file", "keras.utils", {}),
        ("load_model", "keras.saving", {}),
        ("system", "os", {}),
        ("Lambda", "keras.layers", {"function": "print"}),
    ],
)  # fmt: skip
def test_layers_that_run_programs_or_read_files_are_refused(
    entries: Entries,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    opened: list[str],
    class_name: str,
    module: str,
    config: dict[str, Any],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "secret.txt").write_text("a secret")
    layer = {"class_name": class_name, "module": module, "registered_name": None, "config": config}
    (tmp_path / "layer.keras").write_bytes(with_layer(entries, layer))
    opened.clear()
    with pytest.raises(ArtifactError, match=r"layer\.keras"):
        TransferClassifier.load("layer.keras")
    assert not [path for path in opened if "secret" in path or path.endswith("elsewhere")]


@pytest.mark.filterwarnings("ignore")  # that an entry was left out
@pytest.mark.parametrize(
    "name",
    ["assets/../../../evil", "../evil", "/tmp/tlkit-evil", "assets/link/evil", "a\\..\\evil"],
)
def test_entries_of_the_archive_lead_nowhere(
    entries: Entries, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    outside = tmp_path / "outside"
    for folder in (outside, tmp_path / "temporary"):
        folder.mkdir()
    file = io.BytesIO(packed(entries))
    with zipfile.ZipFile(file, "a") as archive:
        link = zipfile.ZipInfo("assets/link")
        link.external_attr = (0o120777) << 16
        archive.writestr(link, str(outside))
        archive.writestr(zipfile.ZipInfo(name), b"evil")
    path = tmp_path / "entries.keras"
    path.write_bytes(file.getvalue())
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    outcome(name, path, file.getvalue(), load_and_use)
    left = {str(found.relative_to(tmp_path)) for found in tmp_path.rglob("*")}
    assert left == {"outside", "temporary", "entries.keras"}
    assert not Path("/tmp/tlkit-evil").exists()


# Records that are well formed and make no sense.


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda r: r.update(threshold=10**400), "threshold"),
        (lambda r: r.update(class_names=["disc", 3]), "class_names"),
        (lambda r: r.update(class_names=["disc", "disc"]), "class_names"),
        (lambda r: r.update(image_size=[32, 32, 3]), "image_size"),
        (lambda r: r.update(seed=2**70), "seed"),
        (lambda r: r.update(training_names=[["a"]]), "training_names"),
        (lambda r: r["history"].update(kept=1), "history.kept"),
        (lambda r: r["history"].update(kept=-1), "history.kept"),
        (lambda r: r["history"]["phases"][0].update(best_epoch=7), "best_epoch"),
        (lambda r: r["history"]["phases"][0].update(loss="none"), "history"),
        (lambda r: r["scores"].pop("validation"), "evaluated part"),
        (lambda r: r["scores"]["validation"]["labels"].pop(), "scores"),
        (lambda r: r["scores"]["validation"]["labels"].__setitem__(0, 2), "scores"),
        (lambda r: r["scores"]["validation"]["logits"].__setitem__(0, None), "logits"),
        (lambda r: r["audit"].update(counts={"all": 3}), "audit"),
        (lambda r: r.update(versions=["keras"]), "versions"),
    ],
)
def test_a_record_that_is_not_what_it_must_be_is_refused(
    entries: Entries, tmp_path: Path, change: Callable[[Any], object], named: str
) -> None:
    path = changed(entries, tmp_path / "odd.keras", RECORD_NAME, change)
    with pytest.raises(ArtifactError, match=rf"odd\.keras is damaged: .*{named}"):
        checked_contents(path)
