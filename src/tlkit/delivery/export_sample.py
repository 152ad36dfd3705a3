"""Which images an export is tried on, and which ones show int8 what numbers occur."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias, final

import numpy as np
import numpy.typing as npt

from tlkit.classifier.classifier import PathLike, TransferClassifier
from tlkit.classifier.measure import listing_for, spec_for
from tlkit.core.rows import Images
from tlkit.data.dataset import DatasetSpec, image_files
from tlkit.data.example import Example
from tlkit.errors import DatasetError, printable
from tlkit.images.decoder import BadFile
from tlkit.images.loader import read_images, warn_of_bad_files

COMPARED: Final = 200
"""Images that an export is compared on, at most. An accuracy of 0.9 is then known to 0.04."""

CALIBRATING: Final = 100
"""Images that show int8 what numbers occur, at most: what LiteRT's own guide calls enough."""

_Labelled: TypeAlias = tuple[str, int | None]  # path; 1 for the positive class, 0, or not known


@final
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sample:
    """Images to try an export on.

    Attributes:
        compared: uint8 `[N, H, W, 3]`; none that the classifier has learned from, as far as there are others.
        labels: Of these: 1 for the positive class, 0 for the other, int64 `[N]`; None where nobody knows.
        calibrating: Others, uint8 `[M, H, W, 3]`, as far as there are enough.
    """

    compared: Images
    labels: npt.NDArray[np.int64] | None
    calibrating: Images


def read_sample(
    classifier: TransferClassifier, data: PathLike | DatasetSpec | None, *, calibrate: bool
) -> Sample:
    """Choose images, the same ones each time and both classes in turn, and read them.

    Args:
        classifier: What they are for.
        data: A folder with the same two classes, its spec, or any folder of images. None: the folder
            that the classifier was trained on.
        calibrate: Whether images for calibration are needed.

    Raises:
        DatasetError: There are no images.
        ImageError: A file cannot be read, and the spec says `on_bad_file="raise"`.
    """
    fresh, familiar = _known_images(classifier, data)
    if not fresh:
        fresh, familiar = familiar, []
    fresh, others = _in_turn(fresh), _in_turn(familiar)
    if calibrate and not others:
        kept = max(1, min(COMPARED, len(fresh) * COMPARED // (COMPARED + CALIBRATING)))
        fresh, others = fresh[:kept], fresh[kept:] or fresh
    compared = fresh[:COMPARED]
    pixels, bad = _read(compared, classifier)
    calibrating, more_bad = _read(others[: CALIBRATING * calibrate], classifier)
    bad += more_bad
    if bad and isinstance(data, DatasetSpec) and data.on_bad_file == "raise":
        raise bad[0].error()
    warn_of_bad_files(bad, stacklevel=4)  # the line that called `export`
    if not pixels or (calibrate and not calibrating):
        raise DatasetError("none of the images that an export is to be tried on can be read")
    labels = [label for (_, label), _ in pixels]
    return Sample(
        compared=np.stack([image for _, image in pixels]),
        labels=None if None in labels else np.array(labels, np.int64),
        calibrating=np.array([image for _, image in calibrating], np.uint8),
    )


def _known_images(
    classifier: TransferClassifier, data: PathLike | DatasetSpec | None
) -> tuple[list[_Labelled], list[_Labelled]]:
    """Return the images that are new to the classifier, and those that it has learned from."""
    spec = _spec(classifier, data)
    try:
        examples = {e.name: e for e in listing_for(classifier.card, spec).examples}
    except DatasetError:
        if data is None or isinstance(data, DatasetSpec) or spec.table:
            raise
        return [(os.fspath(path), None) for path in image_files(spec.directory)], []
    record = classifier.record
    learned = {*record.training_names}
    if not (record.trained_on(spec.directory) or learned <= examples.keys()):
        return _labelled([*examples.values()]), []
    judged = record.scores[record.evaluation.part].names
    found = [[examples[name] for name in names if name in examples] for names in (judged, learned)]
    if not any(found):
        return _labelled([*examples.values()]), []
    return _labelled(found[0]), _labelled(sorted(found[1], key=lambda example: example.name))


def _spec(classifier: TransferClassifier, data: PathLike | DatasetSpec | None) -> DatasetSpec:
    if data is not None:
        return spec_for(classifier.card, data)
    advice = (
        "give the folder of some images as `data` (--data): every export is tried before it counts"
    )
    directory = classifier.record.dataset.get("directory")
    if not isinstance(directory, str):
        raise DatasetError(f"the classifier does not say what it was trained on: {advice}")
    if not Path(directory).is_dir():
        raise DatasetError(
            f"the folder {printable(directory)}, which the classifier was trained on, is not there: {advice}"
        )
    return DatasetSpec.from_config(classifier.record.dataset)


def _labelled(examples: Sequence[Example]) -> list[_Labelled]:
    return [(os.fspath(example.path), example.label) for example in examples]


def _in_turn(images: Sequence[_Labelled]) -> list[_Labelled]:
    """Shuffle, the same way each time, and take the classes in turn as long as there are both."""
    turns: Counter[int | None] = Counter()
    places = []
    for place in np.random.default_rng(0).permutation(len(images)).tolist():
        label = images[place][1]
        turns[label] += 1
        places.append((turns[label], label or 0, place))
    return [images[place] for *_, place in sorted(places)]


def _read(
    images: Sequence[_Labelled], classifier: TransferClassifier
) -> tuple[list[tuple[_Labelled, Images]], list[BadFile]]:
    good: list[tuple[_Labelled, Images]] = []
    bad: list[BadFile] = []
    outcomes = read_images(
        [path for path, _ in images],
        classifier.image_size,
        value_range=classifier.value_range,
        resize=classifier.resizing,
    )
    for image, outcome in zip(images, outcomes, strict=True):
        if isinstance(outcome, BadFile):
            bad.append(outcome)
        else:
            good.append((image, outcome[0]))
    return good, bad
