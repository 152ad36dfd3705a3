"""`export`: from a classifier to a folder that other programs use, or to nothing at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import KW_ONLY, dataclass, replace
from pathlib import Path
from typing import Final, final

from tlkit.classifier.artifact import RECORD_NAME
from tlkit.classifier.card import ModelCard
from tlkit.classifier.classifier import (
    PathLike,
    TransferClassifier,
    check_classifier,
    network_of,
)
from tlkit.classifier.exported import EXPORT_VERSION, FAMILIARITY_FILE
from tlkit.classifier.runtimes import FEATURES, INPUT, LOGIT, PROBABILITY
from tlkit.core.spec import Json, Spec, check_bool, check_float, check_path
from tlkit.core.tables import as_json
from tlkit.core.versions import versions
from tlkit.data.dataset import DatasetSpec
from tlkit.delivery.export_check import STEP, TOLERANCE, Comparison, check_logits
from tlkit.delivery.export_formats import FORMATS, Format, convert, find_format, run
from tlkit.delivery.export_sample import Sample, read_sample
from tlkit.errors import ArtifactError, SettingError, TlkitError, printable
from tlkit.evaluation.decision_counts import UNSURE_WORD
from tlkit.evaluation.familiarity import Familiarity
from tlkit.images.resizing import BORDER, Resize

COARSE: Final = ("dynamic-range", "int8")
"""Precisions whose logits are another network's, so that no guarantee holds for them."""

_FAR: Final = (
    f"what the last stage gives: how far an image is from the rows of {FAMILIARITY_FILE}, beside the "
    "held-out distances there, tells how unlike the training images it is"
)
LOST: Final = (
    "the guarantee does not carry over to numbers of 8 bits: this export decides every image. For one that "
    "leaves images to a person choose float32 or float16"
)

_BROUGHT: Final[dict[Resize, str]] = {
    "stretch": "stretched to height and width",
    "pad": "in its own shape as large as it fits into height and width, in the middle of a border",
}


@final
@dataclass(frozen=True, slots=True, repr=False)
class Exported(Spec):
    """What was written, and how far it is from the classifier. `print` it.

    Attributes:
        path: The folder.
        format: `"litert"`, `"onnx"` or `"saved_model"`.
        precision: What its numbers are kept as.
        byte_count: Size of the model's files, without `tlkit.json`.
        comparison: What it says about images, beside what the classifier says.
        lost_guarantee: Whether the classifier has a guarantee that the export has not: numbers of 8 bits are
            too far from the logits that it was chosen on.

    Examples:
        >>> said = Comparison(
        ...     count=65, largest_difference=0.02, mean_difference=0.0025, relabelled_count=0
        ... )
        >>> print(
        ...     Exported(
        ...         Path("phone"), format="litert", precision="float16", byte_count=869_296, comparison=said
        ...     )
        ... )
        phone: LiteRT, float16, 0.87 MB
        65 images compared: probabilities differ by up to 0.02 (mean 0.0025); none got the other label
    """

    path: Path
    _: KW_ONLY
    format: str
    precision: str
    byte_count: int
    comparison: Comparison
    lost_guarantee: bool = False

    def __str__(self) -> str:
        size = f"{self.byte_count / 1e6:,.2f} MB"
        title = f"{FORMATS[self.format].title}, {self.precision}, {size}"
        lost = f"\n{LOST}" if self.lost_guarantee else ""
        return f"{printable(self.path)}: {title}\n{self.comparison}{lost}"


def export(
    classifier: TransferClassifier,
    path: PathLike,
    *,
    format: str = "litert",  # noqa: A002 - Keras's word
    precision: str = "float32",
    data: PathLike | DatasetSpec | None = None,
    tolerance: float = TOLERANCE,
    familiarity: bool = False,
) -> Exported:
    """Write a classifier as a file for other programs, after running it there and comparing it.

    The folder holds the model and `tlkit.json`, which says what its number means, how an image is brought
    to its size, and what was measured. Nothing appears there before the export was run in its own runtime
    on real images (up to 200), and gave the classifier's probabilities: to 1e-4 as float32, and to within
    `tolerance` otherwise.

    Args:
        classifier: The classifier.
        path: The folder to be made; an empty one will do.
        format: `"litert"` for telephones and small computers, `"onnx"` for ONNX Runtime, `"saved_model"` for
            TensorFlow Serving and plain TensorFlow.
        precision: `"float32"`; and for LiteRT `"float16"`, `"dynamic-range"` (weights of 8 bits) or `"int8"`
            (weights and numbers in between of 8 bits). What goes in and comes out is float32 in all of them.
        data: Images to compare on, and for int8 up to 100 others that show what numbers occur: a folder
            with the same two classes, its spec, or any folder of images, for which accuracy and log-loss
            are not known. None: the folder that the classifier was trained on, of which the validation split
            is compared.
        tolerance: How much worse an export that is not float32 may be, at least 0: accuracy may fall, and
            log-loss (in nats) rise, by this much. Without labels: share of images with another label, and
            mean difference of probabilities. A single image with another label is never too many.
        familiarity: Let the network give features too, as a third output, and put the reference features
            beside it (at most 2.6 MB), so that the export can tell what is unlike the training images.

    Returns:
        What was written and measured.

    Raises:
        SettingError: An argument is outside what it may be, or format and precision do not go together.
        MissingExtraError: A package is not installed.
        ArtifactError: The folder is not empty or cannot be written, the network cannot be converted, or what
            came out is too far from the classifier. No file is left behind.
        DatasetError: There are no images to compare on.

    Examples:
        >>> print(export(classifier, "alpaca-phone", precision="int8"))  # doctest: +SKIP
        alpaca-phone: LiteRT, int8, 0.64 MB
        65 images compared: probabilities differ by up to 0.31 (mean 0.031); 3 got the other label
        accuracy 0.877 → 0.862, log-loss 0.301 → 0.293
    """
    check_classifier("classifier", classifier)
    check_float("tolerance", tolerance, at_least=0)
    kind = find_format(format, precision)
    known = _references(classifier, precision) if check_bool("familiarity", familiarity) else None
    target = check_folder(path)
    sample = read_sample(classifier, data, calibrate=precision == "int8")
    with _folder_beside(target) as folder:
        model = folder / kind.file
        width = known.rows.shape[1] if known else 0
        network = network_of(classifier)
        convert(kind, network, model, precision, sample.calibrating, features=width)
        found = _compared(classifier, kind, model, precision, sample)
        found.check(precision, tolerance)
        exported = Exported(
            Path(path),
            format=format,
            precision=precision,
            byte_count=sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()),
            comparison=found,
            lost_guarantee=classifier.guarantee is not None and precision in COARSE,
        )
        if known is not None:
            (folder / FAMILIARITY_FILE).write_bytes(known.to_bytes())
        card = as_json(_card(classifier, kind, exported, width))
        (folder / RECORD_NAME).write_text(card + "\n", "utf-8", errors="backslashreplace")
    return exported


def _references(classifier: TransferClassifier, precision: str) -> Familiarity:
    """Return the reference features, with the classifier's level.

    Raises:
        SettingError: There are none, or the precision has other features.
    """
    if classifier.familiarity is None:
        raise SettingError(
            "`familiarity` needs a classifier that keeps reference features of its training images, and this "
            "one has none: train it anew, or leave it out"
        )
    if precision in COARSE:
        raise SettingError(
            f"`familiarity` needs the features of float32 or float16, got precision {precision!r}: numbers "
            "of 8 bits lie elsewhere than the references"
        )
    return classifier.familiarity.with_level(classifier.unfamiliar_level)


def check_folder(path: PathLike) -> Path:
    """Return the path of a folder to be made, so that minutes of work are not for nothing.

    Raises:
        ArtifactError: Something is there already, or the folder around it is missing.
        SettingError: `path` is no path.
    """
    name = printable(check_path("path", path))
    target = Path(os.path.realpath(path))
    try:
        taken = _in_the_way(target)
    except OSError as error:  # a name that is too long, a folder that nobody may look into
        why = error.strerror or error
        raise ArtifactError(f"{name} cannot be written: {why}; choose another place") from error
    if taken:
        raise ArtifactError(f"{name} {taken}: name a folder that is not there yet, or an empty one")
    if not target.parent.is_dir():
        raise ArtifactError(f"there is no folder {printable(target.parent)}: make it first")
    if not os.access(target.parent, os.W_OK):
        raise ArtifactError(f"{name} cannot be written: choose another place")
    return target


def _in_the_way(target: Path) -> str | None:
    """Say why there can be no new folder of this name; None if it is free, or an empty one can go away."""
    try:
        target.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    if not target.is_dir():
        return "is a file"
    if any(target.iterdir()):
        return "is not empty"
    if target.samefile("."):
        return "is the current folder"
    return "is a mounted disk" if os.path.ismount(target) else None


@contextmanager
def _folder_beside(target: Path) -> Iterator[Path]:
    """Give a folder to fill, and put it in the place of `target`; after an error there is nothing.

    Raises:
        ArtifactError: Nothing can be written there.
    """
    try:
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".export-") as scratch:
            folder = Path(scratch, "export")  # not the temporary one, which others may not enter
            folder.mkdir()
            yield folder
            if target.exists():
                target.rmdir()  # fails if somebody has filled it meanwhile
            folder.rename(target)
    except OSError as error:
        if isinstance(error, TlkitError):
            raise
        raise ArtifactError(
            f"cannot write {printable(target)}: {error.strerror or error}; nothing was written"
        ) from error


def _compared(
    classifier: TransferClassifier, kind: Format, model: Path, precision: str, sample: Sample
) -> Comparison:
    outputs = run(kind, model, sample.compared)
    before, after = classifier.predict_proba(sample.compared), outputs[PROBABILITY]
    found = Comparison.of(
        before, after, sample.labels, threshold=classifier.threshold, precision=precision
    )
    check_logits(outputs[LOGIT], after, precision)
    return found


def _card(
    classifier: TransferClassifier, kind: Format, exported: Exported, features: int
) -> dict[str, Json]:
    """Return what a program has to know that uses the export, and last what tlkit itself reads."""
    height, width = classifier.image_size
    number: dict[str, Json] = {"shape": [kind.batch, 1], "dtype": "float32"}
    step = STEP if exported.precision == "int8" else None
    positive = classifier.positive_class
    card = classifier.card.without_names()
    if exported.lost_guarantee:
        card = replace(card, guarantee=None)
    return {
        "format_version": EXPORT_VERSION,
        "format": exported.format,
        "precision": exported.precision,
        "file": kind.file,
        "labels": [*classifier.class_names],
        "positive_class": classifier.positive_class,
        "negative_class": classifier.negative_class,
        "threshold": classifier.threshold,
        "decisions": _decisions(card),
        "image_size": [height, width],
        "resize": classifier.card.resize,
        "border": [*BORDER] if classifier.resizing == "pad" else None,
        "input": {
            "name": INPUT,
            "shape": [kind.batch, height, width, 3],
            "dtype": "float32",
            "range": [0, 255],
            "meaning": f"RGB, upright, transparent places white, {_BROUGHT[classifier.resizing]}",
        },
        "outputs": {
            PROBABILITY: {
                **number,
                "range": [0, 1],
                "step": step,
                "meaning": f"probability of {positive}; from the threshold on it is that class",
            },
            LOGIT: {**number, "meaning": "ln(probability / (1 - probability))"},
            **(
                {FEATURES: {**number, "shape": [kind.batch, features], "meaning": _FAR}}
                if features
                else {}
            ),
        },
        "comparison": exported.comparison.to_config(),
        "byte_count": exported.byte_count,
        "versions": {**versions(), kind.runtime: kind.runtime_version},
        **card.to_config(),
    }


def _decisions(card: ModelCard) -> Json:
    """Return how a program decides, and leaves images to a person; None where every image is decided."""
    if card.guarantee is None:
        return None
    return {
        "positive_from": card.guarantee.upper,
        "negative_below": card.guarantee.lower,
        "between": UNSURE_WORD,
        "confidence": card.guarantee.confidence,
        "promise": card.guarantee.promise(),
    }
