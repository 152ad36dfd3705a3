"""What older releases wrote is opened for ever, and says what it said.

The files in `golden/` are NEVER regenerated: not to mend a test, and not for a new format. A test that fails
here is somebody's classifier that is lost. When a format changes, the release before it writes files once
more, named after the version of its format (`v2-head.keras`, `v2-expected.json`), and these join the others.

`vN-expected.json` tells what was seen of each object, attribute by attribute; attributes that came later are
not in it, and one that was given another name since belongs in `NOW_CALLED`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

import tlkit
from tlkit import TransferClassifier

GOLDEN = Path(__file__).parent / "golden"
NOW_CALLED: dict[str, str] = {
    "picture_count": "image_count",
    "scenes": "large_clusters",
    "untrained": "random_head_baseline",
}
"""The name of today for that of an attribute as it was written down."""

Pixels = npt.NDArray[np.uint8]
MISSING = "nothing of that name"
CLASSIFIERS = sorted(path.name for path in GOLDEN.glob("*.keras"))
EXPORTS = sorted(path.parent.name for path in GOLDEN.glob("*/tlkit.json"))


@cache
def contents(name: str) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((GOLDEN / name).read_text("utf-8"))
    return read


def expected_of(name: str) -> dict[str, Any]:
    """Return what was seen when the files of this one's version were made."""
    return contents(f"{name.split('-', maxsplit=1)[0]}-expected.json")


SPECS = [
    (path.name, kind, number)
    for path in sorted(GOLDEN.glob("*-specs.json"))
    for kind, written in contents(path.name).items()
    for number in range(len(written))
]


@cache
def loaded(name: str) -> TransferClassifier:
    return TransferClassifier.load(GOLDEN / name)


@cache
def pictures() -> Pixels:
    with np.load(GOLDEN / "images.npz") as arrays:
        read: Pixels = arrays["pictures"]
    return read


def part(of: object, name: str) -> Any:
    """Return an attribute, or an entry; what a classifier does not give itself is in its record."""
    owners = [of, getattr(of, "record", None)]
    if name == "fingerprint":  # of the files: a classifier has one of itself since
        owners.reverse()
    for known in (name, NOW_CALLED.get(name, name)):
        for owner in owners:
            if isinstance(owner, Mapping) and known in owner:
                return owner[known]
            if not isinstance(owner, Mapping) and hasattr(owner, known):
                return getattr(owner, known)
    return MISSING


def differences(found: Any, expected: Any, place: str = "") -> Iterator[str]:
    """Name every place where something else is found than what was once seen there."""
    if isinstance(expected, dict) and found not in (None, MISSING):
        for name, value in expected.items():
            yield from differences(part(found, name), value, f"{place}.{name}")
    elif isinstance(expected, list):
        if not isinstance(found, Sequence) or len(found) != len(expected):
            yield f"{place}: {found!r} is not {expected!r}"
            return
        for number, (one, other) in enumerate(zip(found, expected, strict=True)):
            yield from differences(one, other, f"{place}[{number}]")
    elif isinstance(expected, float) and isinstance(found, float):
        if not math.isclose(found, expected, rel_tol=1e-9, abs_tol=1e-9):
            yield f"{place}: {found!r} is not {expected!r}"
    elif (found.as_posix() if isinstance(found, PurePath) else found) != expected:
        yield f"{place}: {found!r} is not {expected!r}"


def seen(classifier: TransferClassifier, name: str, *, but: Sequence[str] = ()) -> list[str]:
    """Return what of a classifier is not as it was when it was saved, what it says of pictures apart."""
    expected = expected_of(name)["classifiers"][name]
    kept = {key: value for key, value in expected.items() if key not in ("said", *but)}
    return list(differences(classifier, kept, name))


def test_every_golden_file_is_opened() -> None:
    names = {path.name for path in GOLDEN.iterdir()}
    versions = sorted({name.split("-")[0] for name in names if name.endswith("-expected.json")})
    known = {"README.md", "images.npz", "plain.png", "disc.jpg"}
    for version in versions:
        expected = contents(f"{version}-expected.json")
        assert contents(f"{version}-specs.json").keys() == expected["specs"].keys()
        known |= {f"{version}-expected.json", f"{version}-specs.json"}
        known |= expected["classifiers"].keys() | expected["exports"].keys()
    assert "v1" in versions
    assert names == known == known | {*CLASSIFIERS, *EXPORTS}


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_classifier_says_what_it_said(name: str) -> None:
    classifier = loaded(name)
    for source, said in expected_of(name)["classifiers"][name]["said"].items():
        if source == "images.npz":
            found = classifier.predict(pictures())
        else:
            found = [classifier.predict(GOLDEN / source)]
        labels, probabilities, logits = zip(*said, strict=True)
        assert [prediction.label for prediction in found] == [*labels]
        of_each = [prediction.probability for prediction in found]
        assert of_each == pytest.approx(probabilities, rel=0, abs=1e-6)
        assert [p.logit for p in found] == pytest.approx(logits, rel=1e-5, abs=1e-5)
        if source == "images.npz":
            assert classifier.predict_proba(pictures()) == pytest.approx(of_each, rel=0, abs=1e-6)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_nothing_that_travels_with_a_classifier_is_lost(name: str) -> None:
    assert seen(loaded(name), name) == []


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_classifier_can_be_saved_again(name: str, tmp_path: Path) -> None:
    loaded(name).save(tmp_path / name)
    again = TransferClassifier.load(tmp_path / name)
    assert seen(again, name) == []
    assert np.array_equal(again.predict_proba(pictures()), loaded(name).predict_proba(pictures()))


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_the_kept_scores_choose_and_count_as_before(name: str) -> None:
    choice = part(loaded(name), "threshold_choice")
    other = loaded(name).with_threshold(0.999)
    assert seen(other, name) != []
    again = other.with_threshold(choice.goal if choice else loaded(name).threshold)
    assert seen(again, name) == []


# Exports


@pytest.mark.parametrize("name", EXPORTS)
def test_an_export_runs_and_gives_the_probabilities_of_its_classifier(name: str) -> None:
    card = contents(f"{name}/tlkit.json")
    height, width = card["image_size"]
    resized = [
        np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.BILINEAR))
        for picture in pictures()
    ]
    run = {"litert": run_litert, "onnx": run_onnx}[card["format"]]
    probabilities = run(GOLDEN / name / card["file"], np.stack(resized).astype(np.float32))
    source = expected_of(name)["exports"][name]
    said = expected_of(name)["classifiers"][source]["said"]["images.npz"]
    assert probabilities == pytest.approx([probability for _, probability, _ in said], abs=1e-4)
    classes = card["negative_class"], card["positive_class"]
    labels = [classes[probability >= card["threshold"]] for probability in probabilities]
    assert labels == [label for label, _, _ in said]


def run_onnx(path: Path, batch: npt.NDArray[np.float32]) -> list[float]:
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (output,) = session.run(None, {session.get_inputs()[0].name: batch})
    return [float(row[0]) for row in output]


def run_litert(path: Path, batch: npt.NDArray[np.float32]) -> list[float]:
    interpreter = pytest.importorskip("ai_edge_litert.interpreter").Interpreter(str(path))
    interpreter.allocate_tensors()
    (taken,), (given,) = interpreter.get_input_details(), interpreter.get_output_details()
    found = []
    for picture in batch:
        interpreter.set_tensor(taken["index"], picture[np.newaxis])
        interpreter.invoke()
        found.append(float(interpreter.get_tensor(given["index"])[0, 0]))
    return found


# Settings and results as JSON

PLACES: dict[str, Callable[[], object]] = {
    "BadFile": lambda: loaded("v1-folds.keras").bad_files[0],
    "Calibration": lambda: loaded("v1-folds.keras").calibration,
    "Comparison": lambda: spec_of("v1-specs.json", "Exported", 0).comparison,
    "History": lambda: loaded("v1-folds.keras").history,
    "PhaseHistory": lambda: loaded("v1-folds.keras").history.phases[0],
    "Problem": lambda: loaded("v1-folds.keras").audit.problems[0],
    "Scores": lambda: loaded("v1-folds.keras").out_of_fold,
    "ThresholdChoice": lambda: part(loaded("v1-threshold-goal.keras"), "threshold_choice"),
}
"""Where there is an object of a class that has no name in `tlkit` itself."""


def class_of(kind: str) -> Any:
    if kind in PLACES:
        return type(PLACES[kind]())
    return tlkit.scale.FeatureFolder if kind == "FeatureFolder" else getattr(tlkit, kind)


def spec_of(file: str, kind: str, number: int) -> Any:
    return class_of(kind).from_json(json.dumps(contents(file)[kind][number]))


@pytest.mark.parametrize(("file", "kind", "number"), SPECS)
def test_a_spec_is_read_with_every_value(file: str, kind: str, number: int) -> None:
    spec = spec_of(file, kind, number)
    expected = expected_of(file)["specs"][kind][number]
    assert list(differences(spec, expected, kind)) == []
    again = class_of(kind).from_json(spec.to_json())
    assert again == spec
    assert list(differences(again, expected, kind)) == []
