"""One contract for every backbone, head, engine and saved form: what must not change a probability does not.

The default tests take one classifier in two forms, the slow ones that one in all six and another in
those two, and the long ones every backbone with every head in every form.
"""

from __future__ import annotations

import copy
import itertools
import multiprocessing
import os
import pickle
import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import keras
import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import pytest
from networks import own_model
from PIL import Image, ImageFile

import tlkit
from tlkit import (
    BackboneAdapter,
    DatasetSpec,
    ExactHead,
    FineTuneSchedule,
    GradientHead,
    Phase,
    TransferClassifier,
    transfer_classifier,
)
from tlkit.backbones.onnx_engine import VARIABLE
from tlkit.core.rows import Images
from tlkit.errors import SettingError, TlkitError
from tlkit.images.decoder import read_image
from tlkit.training.head import fit_head

pytest.importorskip("onnxruntime")
pytest.importorskip("tf2onnx")
pytest.importorskip("ai_edge_litert")

Floats = npt.NDArray[np.float64]


@cache
def own() -> keras.Model:
    """A user's model, always the same one."""
    model, rng = own_model(), np.random.default_rng(0)
    weights = [rng.normal(size=value.shape) for value in model.get_weights()]
    model.set_weights([value / np.sqrt(max(1, value[..., 0].size)) for value in weights])
    return model


BACKBONES: dict[str, Callable[[], BackboneAdapter]] = {
    "tiny": lambda: BackboneAdapter("tiny_random"),
    "own": lambda: BackboneAdapter(own(), image_size=40, preprocessing="tf"),
    "last layer": lambda: BackboneAdapter("tiny_random", features="last"),
    "mobile": lambda: BackboneAdapter("MobileNetV2", alpha=0.35, image_size=48, weights=None),
    "hard swish": lambda: BackboneAdapter(
        "MobileNetV3Small", minimalistic=True, image_size=48, weights=None
    ),
    "lite": lambda: BackboneAdapter("EfficientNetLite0", image_size=48, weights=None),
}
HEADS = {
    "solved": FineTuneSchedule.head_only(),
    "trained": FineTuneSchedule(head=GradientHead(epochs=40, learning_rate=1e-1)),
    "tuned": FineTuneSchedule(
        head=ExactHead(l2=10.0),  # poor, so that fine-tuning is what is kept
        phases=(Phase(unfreeze_fraction=0.5, epochs=3, learning_rate=1e-2),),
    ),
}
QUICK_FORMS = (".keras, onnxruntime", "litert")
FORMS = (
    "as trained, tensorflow",
    "as trained, onnxruntime",
    ".keras, tensorflow",
    *QUICK_FORMS,
    "onnx",
)
"""How a classifier is there, and which engine is asked for."""


def parameter(backbone: str, head: str, form: str | None = None) -> Any:
    """A classifier, in one of the forms if one is given, with its name and the mark of its tests."""
    often = form is None or form in QUICK_FORMS
    if (backbone, head) == ("tiny", "solved"):
        marks = [] if often else [pytest.mark.slow]
    elif (backbone, head) == ("own", "trained") and often:
        marks = [pytest.mark.slow]
    else:
        marks = [pytest.mark.long]
    if form is None:
        return pytest.param((backbone, head), id=f"{backbone}-{head}", marks=marks)
    return pytest.param((backbone, head, form), id=f"{form}-{backbone}-{head}", marks=marks)


@dataclass(frozen=True)
class Made:
    """A classifier of the drawn folder, and the same with the other class as the positive one."""

    images: Path
    folder: Path
    backbone: str
    head: str

    def trained(self, positive_class: str) -> TransferClassifier:
        return transfer_classifier(
            DatasetSpec(self.images, positive_class=positive_class, validation_fraction=0.25),
            backbone=BACKBONES[self.backbone](),
            schedule=HEADS[self.head],
        )

    @cached_property
    def classifier(self) -> TransferClassifier:
        return self.trained("disc")

    @cached_property
    def swapped(self) -> TransferClassifier:
        return self.trained("not disc")

    def saved(self, form: str) -> Path:
        """Where it is in this form; for one that was never saved, the `.keras` file."""
        kind = form.partition(",")[0]
        path = self.folder / ("classifier.keras" if kind in ("as trained", ".keras") else kind)
        if not path.exists():
            if path.suffix:
                self.classifier.save(path)
            else:
                tlkit.export(self.classifier, path, format=kind)
        return path


@dataclass(frozen=True)
class Ready:
    """A classifier in one of the forms, with what it says about every image."""

    made: Made
    form: str
    classifier: TransferClassifier
    files: list[Path]
    expected: Floats

    def again(self) -> TransferClassifier:
        """The same in the same form, with nothing loaded or chosen yet."""
        if self.form.startswith("as trained"):
            return TransferClassifier(self.made.classifier.model, self.made.classifier.record)
        return TransferClassifier.load(self.made.saved(self.form))


def probabilities(classifier: TransferClassifier, files: list[Path]) -> Floats:
    return np.array([prediction.probability for prediction in classifier.predict(files)])


@pytest.fixture(scope="module", autouse=True)
def graphs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A place of its own for converted graphs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KERAS_HOME", str(tmp_path_factory.mktemp("keras")))
        yield


@pytest.fixture(scope="module")
def make(
    drawn_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str, str], Made]:
    """What gives a classifier for a backbone and a head, the same whenever it is asked."""
    return cache(lambda *names: Made(drawn_folder, tmp_path_factory.mktemp("made"), *names))


@pytest.fixture(
    scope="module", params=[parameter(*names) for names in itertools.product(BACKBONES, HEADS)]
)
def made(request: pytest.FixtureRequest, make: Callable[[str, str], Made]) -> Made:
    return make(*request.param)


@pytest.fixture(
    scope="module",
    params=[parameter(*names) for names in itertools.product(BACKBONES, HEADS, FORMS)],
)
def ready(
    request: pytest.FixtureRequest, make: Callable[[str, str], Made], drawn_folder: Path
) -> Iterator[Ready]:
    backbone, head, form = request.param
    made = make(backbone, head)
    files = sorted(drawn_folder.rglob("*.jpg"))
    probabilities(made.classifier, files[:1])  # which chooses its engine, before one is asked for
    with pytest.MonkeyPatch.context() as patch:
        if ", " in form:
            made.saved(form)  # saved before, too
            patch.setenv(VARIABLE, form.partition(", ")[2])
        empty = Ready(made, form, made.classifier, files, np.empty(0))
        classifier = empty.again()
        yield Ready(made, form, classifier, files, probabilities(classifier, files))


# What is predicted


def test_it_says_what_the_trained_classifier_says(ready: Ready) -> None:
    reference = probabilities(ready.made.classifier, ready.files)
    assert np.ptp(reference) > 0.1, "a classifier that says something"
    assert ready.expected == pytest.approx(reference, abs=1e-4)
    truth = np.array([path.parent.name == "disc" for path in ready.files])
    assert np.mean((ready.expected >= ready.classifier.threshold) == truth) > 0.7


def test_any_subset_in_any_order_gives_the_same(ready: Ready) -> None:
    rng = np.random.default_rng(1)
    for size in (1, 2, 5, 31, 33, 48):
        chosen = rng.permutation(48)[:size]
        found = probabilities(ready.classifier, [ready.files[index] for index in chosen])
        assert found == pytest.approx(ready.expected[chosen], abs=1e-6)
    twice = probabilities(ready.classifier, [ready.files[3]] * 2)
    assert twice == pytest.approx(ready.expected[[3, 3]], abs=1e-6)


def test_one_alone_is_what_it_is_in_a_batch_and_as_an_array(ready: Ready) -> None:
    size = ready.classifier.image_size
    pixels = np.stack([read_image(path, size)[0] for path in ready.files[::7]])
    for images in (pixels, pixels.astype(np.float32)):
        together = ready.classifier.predict_proba(images)
        assert together == pytest.approx(ready.expected[::7], abs=1e-6)
        alone = [ready.classifier.predict_proba(one)[0] for one in images]
        assert together == pytest.approx(alone, abs=1e-6)
    for index in (0, 20, 47):
        one = ready.classifier.predict(ready.files[index])
        assert one.probability == pytest.approx(ready.expected[index], abs=1e-6)


def test_the_other_class_has_the_rest(ready: Ready) -> None:
    rest = 1 - probabilities(ready.made.swapped, ready.files)
    assert ready.expected == pytest.approx(
        rest, abs=1e-4 if ready.form in ("onnx", "litert") else 2e-6
    )


# Where it lies, and who holds it


def test_a_moved_file_or_folder_is_the_same(ready: Ready, tmp_path: Path) -> None:
    place, name = ready.made.saved(ready.form), "другое имя 🦙"
    moved = tmp_path / name / f"moved{place.suffix}"
    moved.parent.mkdir()
    (shutil.copytree if place.is_dir() else shutil.copy)(place, moved)
    for file in (*moved.rglob("*"), moved):
        os.utime(file, (10**9, 10**9))
    found = TransferClassifier.load(moved)
    assert found.fingerprint == TransferClassifier.load(place).fingerprint
    assert np.array_equal(
        probabilities(found, ready.files), probabilities(ready.again(), ready.files)
    )


def test_what_lies_there_after_loading_does_not_matter(
    ready: Ready, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is another classifier, nothing at all, and not where a relative path leads any more."""
    place = ready.made.saved(ready.form)
    kept = Path(f"kept{place.suffix}")
    monkeypatch.chdir(tmp_path)
    (shutil.copytree if place.is_dir() else shutil.copy)(place, kept)
    loaded, other = (TransferClassifier.load(kept) for _ in range(2))
    fingerprint = TransferClassifier.load(place).fingerprint
    if place.is_dir():
        shutil.rmtree(kept)
    else:
        kept.unlink()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    copied = pickle.loads(pickle.dumps(other))
    for one in (loaded, other, copied):
        assert one.fingerprint == fingerprint
        assert probabilities(one, ready.files[:5]) == pytest.approx(ready.expected[:5], abs=1e-6)


def test_copies_are_the_same(ready: Ready) -> None:
    one = ready.classifier
    for other in (copy.copy(one), pickle.loads(pickle.dumps(one))):
        assert other.card == one.card
        assert other.fingerprint == one.fingerprint
        assert np.array_equal(probabilities(other, ready.files), ready.expected)


def test_threads_may_share_it(ready: Ready) -> None:
    parts = np.array_split(np.random.default_rng(2).permutation(48), 9)
    with ThreadPoolExecutor(6) as pool:
        fresh = ready.again()  # which all of them ask for its network at once
        found = pool.map(lambda part: probabilities(fresh, [ready.files[i] for i in part]), parts)
    for part, one in zip(parts, found, strict=True):
        assert one == pytest.approx(ready.expected[part], abs=1e-6)


@pytest.fixture(scope="module")
def another_process() -> Iterator[ProcessPoolExecutor]:
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        yield pool


@pytest.mark.slow  # for another TensorFlow has to start
def test_another_process_takes_it_along(ready: Ready, another_process: ProcessPoolExecutor) -> None:
    found = another_process.submit(probabilities, ready.again(), ready.files[:9]).result(120)
    assert found == pytest.approx(ready.expected[:9], abs=1e-5)


# A name that others write to


def test_a_file_that_is_written_meanwhile_is_one_of_both(made: Made, tmp_path: Path) -> None:
    """Never the network of one classifier with the description of the other."""
    both = {one.positive_class: one for one in (made.classifier, made.swapped)}
    path, enough = tmp_path / "shared.keras", threading.Event()
    made.classifier.save(path)
    images: Images = np.random.default_rng(0).integers(
        256, size=(3, *made.classifier.image_size, 3), dtype=np.uint8
    )
    expected = {name: one.predict_proba(images) for name, one in both.items()}
    assert np.abs(expected["disc"] - expected["not disc"]).max() > 1e-3, (
        "two that can be told apart"
    )

    def write() -> None:
        while not enough.is_set():
            for one in both.values():
                one.save(path)

    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(write)
        try:
            for _ in range(4):
                found = TransferClassifier.load(path)
                said = found.predict_proba(images)
                # A loaded network rounds a little otherwise; the other one is a thousandth away.
                assert said == pytest.approx(expected[found.positive_class], abs=1e-5)
        finally:
            enough.set()
    writing.result()
    assert [file.name for file in tmp_path.iterdir()] == ["shared.keras"]


@pytest.mark.slow
def test_two_exports_to_one_name_leave_one(made: Made, tmp_path: Path) -> None:
    def export(classifier: TransferClassifier) -> str:
        try:
            tlkit.export(classifier, tmp_path / "exported", format="onnx")
        except TlkitError as error:
            return str(error)
        return "written"

    with ThreadPoolExecutor(2) as pool:
        said = [*pool.map(export, (made.classifier, made.swapped))]
    assert "written" in said
    assert all(one == "written" or "not empty" in one for one in said), said
    assert [file.name for file in tmp_path.iterdir()] == ["exported"]
    found = TransferClassifier.load(tmp_path / "exported")
    both = {one.positive_class: one for one in (made.classifier, made.swapped)}
    images: Images = np.zeros((2, *found.image_size, 3), np.uint8)
    expected = both[found.positive_class].predict_proba(images)
    assert found.predict_proba(images) == pytest.approx(expected, abs=1e-4)


# What other libraries and the user have set


def _pillow(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    patch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    patch.setattr(Image, "ID", [])


def _matplotlib(patch: pytest.MonkeyPatch) -> None:
    patch.setenv("MPLBACKEND", "module://nowhere")
    patch.setitem(mpl.rcParams, "text.usetex", True)


def _environment(patch: pytest.MonkeyPatch) -> None:
    patch.setenv("KERAS_BACKEND", "torch")  # Keras is loaded already
    patch.delenv("HOME", raising=False)
    patch.setenv("TMPDIR", "/nowhere")
    patch.setenv("OMP_NUM_THREADS", "1")


def _numpy(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(np, "random", np.random)  # so that nothing else is left behind
    np.random.seed(7)  # noqa: NPY002 - the global generator, which others seed
    keras.utils.set_random_seed(7)


def _keras(name: str, value: str, usual: str) -> Callable[[pytest.MonkeyPatch], None]:
    """Set something in Keras; `setting_of_keras` sets it back."""

    def change(_patch: pytest.MonkeyPatch) -> None:
        assert getattr(keras.config, name)() in (value, usual) or name == "dtype_policy"
        getattr(keras.config, f"set_{name}")(value)

    return change


STATES: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "Pillow": _pillow,
    "matplotlib": _matplotlib,
    "environment": _environment,
    "seeds": _numpy,
    "floatx": _keras("floatx", "float16", "float32"),
    "image data format": _keras("image_data_format", "channels_first", "channels_last"),
    "dtype policy": _keras("dtype_policy", "mixed_float16", "float32"),
}

NAMED = {"floatx": "floatx", "image data format": "image data format", "dtype policy": "policy"}
"""The states that training may refuse, by what it must name."""


@pytest.fixture
def setting_of_keras() -> Iterator[None]:
    yield
    keras.config.set_floatx("float32")
    keras.config.set_image_data_format("channels_last")
    keras.config.set_dtype_policy("float32")


@pytest.mark.usefixtures("setting_of_keras")
def test_what_others_have_set_decides_nothing(
    ready: Ready, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither what one that is in use says, nor what one says that is loaded under it."""
    for change in STATES.values():
        change(monkeypatch)
    some = slice(None, None, 6)
    for classifier in (ready.classifier, ready.again()):
        found = probabilities(classifier, ready.files[some])
        assert found == pytest.approx(ready.expected[some], abs=1e-6)


@pytest.mark.usefixtures("setting_of_keras")
@pytest.mark.parametrize(
    "state",
    [pytest.param(state, marks=[] if state in NAMED else pytest.mark.slow) for state in STATES],
)
def test_training_is_the_same_or_refused(
    made: Made, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = sorted(made.images.rglob("*.jpg"))
    expected = probabilities(made.classifier, files)
    if (
        made.backbone == "own"
    ):  # made by the user, under whatever is set: only the training is tlkit's
        backbone = BACKBONES["own"]()
        monkeypatch.setitem(BACKBONES, "own", lambda: backbone)
    STATES[state](monkeypatch)
    again, refusal = None, ""
    try:
        again = made.trained("disc")
    except SettingError as error:
        refusal = str(error)
    if again is None:
        assert NAMED[state] in refusal
    else:
        assert probabilities(again, files) == pytest.approx(expected, abs=1e-6)


# What is kept


@pytest.mark.parametrize(
    "head",
    ["solved", *(pytest.param(head, marks=pytest.mark.slow) for head in ("trained", "tuned"))],
)
def test_a_cache_is_never_stale(drawn_folder: Path, tmp_path: Path, head: str) -> None:
    def trained(images: Path, cache: Path | None = tmp_path / "cache") -> Floats:
        classifier = transfer_classifier(
            DatasetSpec(images, validation_fraction=0.25),
            backbone=BACKBONES["tiny"](),
            schedule=HEADS[head],
            cache_dir=cache,
        )
        return probabilities(classifier, files)

    files = sorted(drawn_folder.rglob("*.jpg"))
    images = shutil.copytree(drawn_folder, tmp_path / "images")
    expected = trained(images)
    assert np.array_equal(trained(images), expected)
    for file in images.rglob("*.jpg"):  # other dates
        os.utime(file, (10**9, 10**9))
    assert trained(images) == pytest.approx(expected, abs=1e-6)
    copied = shutil.copytree(images, tmp_path / "copied")  # the same dates, elsewhere
    assert trained(copied) == pytest.approx(expected, abs=1e-6)
    one, other = (images / name / "00.jpg" for name in ("disc", "not disc"))
    length = max(one.stat().st_size, other.stat().st_size)
    content = [path.read_bytes().ljust(length, b"\0") for path in (one, other)]
    for path, bytes_ in zip((one, other), content, strict=True):
        path.write_bytes(bytes_)
        os.utime(path, (10**9, 10**9))
    before = trained(images)
    for path, bytes_ in zip((other, one), content, strict=True):  # names, sizes and dates as before
        path.write_bytes(bytes_)
        os.utime(path, (10**9, 10**9))
    after = trained(images)
    assert not np.array_equal(after, before)
    assert after == pytest.approx(trained(images, cache=None), abs=1e-6)


# What counts twice


def test_a_weight_of_two_is_the_row_twice() -> None:
    rng = np.random.default_rng(4)
    features, labels = rng.normal(size=(60, 5)), np.arange(60) % 2
    features[:, 0] += labels
    folds, counts = np.arange(60) // 12, rng.integers(1, 4, 60)
    for strength in (None, 0.1):
        weighted = fit_head(
            features, labels, folds=folds, l2=strength, sample_weight=counts, blocks=(2, 3)
        )
        repeated = fit_head(
            *(np.repeat(rows, counts, axis=0) for rows in (features, labels)),
            folds=np.repeat(folds, counts), l2=strength, blocks=(2, 3),
        )  # fmt: skip
        assert weighted.l2 == pytest.approx(repeated.l2)
        assert weighted.kernel == pytest.approx(repeated.kernel, rel=1e-5, abs=1e-7)
        assert weighted.bias == pytest.approx(repeated.bias, rel=1e-5, abs=1e-7)
        assert weighted.out_of_fold_logits is not None
        assert repeated.out_of_fold_logits is not None
        said = repeated.out_of_fold_logits[np.cumsum(counts) - 1]
        assert weighted.out_of_fold_logits == pytest.approx(said, abs=2e-2)


@pytest.mark.filterwarnings("ignore::tlkit.errors.TlkitWarning")  # of duplicates, which are meant
@pytest.mark.parametrize("backbone", ["tiny", pytest.param("last layer", marks=pytest.mark.slow)])
def test_a_class_weight_of_two_is_the_folder_with_each_image_of_it_twice(
    drawn_folder: Path, tmp_path: Path, backbone: str
) -> None:
    def kernel(images: Path, weights: tuple[float, float]) -> Floats:
        classifier = transfer_classifier(
            images,
            backbone=BACKBONES[backbone](),
            schedule=FineTuneSchedule(head=ExactHead(l2=1e-6), class_weight=weights),
        )
        values = classifier.model.get_layer("logit").kernel.numpy()[:, 0].astype(np.float64)
        return np.asarray(
            values / np.linalg.norm(values)
        )  # calibration multiplies all by one number

    images = shutil.copytree(drawn_folder, tmp_path / "images")
    weighted, equal = kernel(images, (1.0, 2.0)), kernel(images, (1.0, 1.0))
    for file in sorted((images / "disc").iterdir()):
        shutil.copy(file, file.with_name(f"again {file.name}"))
    assert kernel(images, (1.0, 1.0)) == pytest.approx(weighted, abs=1e-4)
    assert np.abs(weighted - equal).max() > 1e-3
