"""What should be labelled next? Images that the classifier doubts, no two alike, and usual ones between."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias, final

import numpy as np
import numpy.typing as npt

from tlkit.backbones.engines import BATCH_SIZE, TensorFlowEngine
from tlkit.classifier.classifier import TransferClassifier, check_classifier, network_of
from tlkit.classifier.record import Record
from tlkit.core.home import expanded
from tlkit.core.progress import progress
from tlkit.core.rows import Indices
from tlkit.core.spec import PathLike, Spec, check_float, check_int
from tlkit.data.dataset import image_files
from tlkit.data.duplicates import find_duplicates
from tlkit.errors import DatasetError, printable
from tlkit.evaluation.log_loss import sigmoid
from tlkit.images.decoder import BadFile, ImageFacts
from tlkit.images.loader import read_batches, read_files, read_pixels, warn_of_bad_files

Floats: TypeAlias = npt.NDArray[np.float64]

UNSURE: Final = 0.25
"""From this probability of the less likely class on, an image is called one that could be either."""

_THUMBNAIL: Final = (32, 32)


@final
@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Suggestion(Spec):
    """An image without a label that is worth a person's time.

    Attributes:
        path: The file.
        name: Its path relative to the folder, with `/` on every system.
        label: What the classifier takes it for.
        probability: Of the positive class, 0-1.
        positive_class: The class that the probability is of.
        reason: Why it is worth a look, in a few words.
    """

    path: Path
    name: str
    label: str
    probability: float
    positive_class: str
    reason: str

    def __post_init__(self) -> None:
        check_float("probability", self.probability, at_least=0, at_most=1)

    def __str__(self) -> str:
        return f"{printable(self.name)}: {self.reason}"


def suggest(
    classifier: TransferClassifier, folder: PathLike, count: int = 50, *, seed: int = 0
) -> tuple[Suggestion, ...]:
    """Choose the images of a folder whose labels would teach a classifier most.

    Every other image is drawn by doubt. Most doubted alone would be fifty times the same, so each image is a
    point in feature space, its distance from the middle shrunk to how much the classifier doubts it, and the
    next one is drawn with a chance that grows with its distance from those that were chosen before: doubtful,
    and unlike them. Those between are drawn from all images alike, for what is doubted is not what the folder
    is like: a classifier that learned from nothing else would take every image for a hard one, and the
    classes for as frequent as they are among these. Label them, train again, and ask again.

    Near-duplicates of each other and of training images are left out: the latter where the folder that the
    classifier was trained on is still there, equal files in any case.

    Args:
        classifier: Trained on what is labelled so far.
        folder: Any folder of images without labels, with folders inside.
        count: How many, at least 1; fewer where the folder has fewer.
        seed: Of the draws, at least 0.

    Returns:
        The images in the order of their choice.

    Raises:
        ArtifactError: The classifier was loaded from an exported folder.
        DatasetError: There is no such folder, no image in it, or none that can be read and is new.
        SettingError: An argument is outside what it may be.

    Examples:
        >>> for one in suggest(classifier, "new images/", count=3):  # doctest: +SKIP
        ...     print(one)

    References:
        J. T. Ash, C. Zhang, A. Krishnamurthy, J. Langford and A. Agarwal (2020), Deep batch active learning
        by diverse, uncertain gradient lower bounds, ICLR (the points are its gradients of the last neuron).
        D. Arthur and S. Vassilvitskii (2007), k-means++, SODA (the draws). S. Dasgupta (2011), Two faces of
        active learning, Theoretical Computer Science 412 (why doubt alone misleads).
    """
    check_classifier("classifier", classifier)
    check_int("count", count, at_least=1)
    check_int("seed", seed, at_least=0)
    top = expanded("folder", folder)
    files = image_files(top)
    pool = _read(classifier, files)
    if not len(pool.readable):
        raise DatasetError(f"no image in {printable(top)} can be read")
    new = _unlike_others(classifier, pool.facts)
    if not len(new):
        raise DatasetError(
            f"the classifier has learned from all {len(pool.readable):,} images in {printable(top)}, or "
            "from near-duplicates of them: give a folder of other images"
        )
    probabilities = sigmoid(pool.logits[new])
    chosen = worth_labelling(pool.features[new], probabilities, count, seed=seed)
    found = []
    for number, place in enumerate(chosen.tolist()):
        path, probability = files[pool.readable[new[place]]], float(probabilities[place])
        positive = probability >= classifier.threshold
        found.append(
            Suggestion(
                path=path,
                name=path.relative_to(top).as_posix(),
                label=classifier.positive_class if positive else classifier.negative_class,
                probability=probability,
                positive_class=classifier.positive_class,
                reason=_reason(classifier, probability, usual=is_usual(number)),
            )
        )
    return tuple(found)


def is_usual(number: int) -> bool:
    """Say whether the choice of this number, from 0 on, is drawn from all images alike."""
    return number % 2 == 1


def worth_labelling(
    features: npt.NDArray[np.floating], probabilities: Floats, count: int, *, seed: int
) -> Indices:
    """Choose doubtful images that differ from each other, in turn with images drawn from all alike.

    Args:
        features: Of each image, float `[N, D]`.
        probabilities: Of the positive class, float64 `[N]`.
        count: How many, at least 1.
        seed: Of the draws.

    Returns:
        Indices in the order of their choice, int64 `[min(count, N)]`.
    """
    points = np.asarray(features, np.float32)
    points = (points - points.mean(axis=0)) / np.maximum(points.std(axis=0), 1e-6)
    doubt = np.minimum(probabilities, 1 - probabilities)
    points *= doubt[:, np.newaxis].astype(np.float32)
    random = np.random.default_rng(seed)
    size = np.square(points).sum(axis=1, dtype=np.float64)
    away = size.copy()
    chosen: list[int] = []
    left = np.ones(len(points), bool)
    for number in range(min(count, len(points))):
        chance = np.where(left, away, 0.0)
        if is_usual(number) or not chance.sum() > 0:  # or all that is left is certain, or the same
            chance = left.astype(np.float64)
        place = int(random.choice(len(points), p=chance / chance.sum()))
        chosen.append(place)
        left[place] = False
        distance = size + size[place] - 2 * points @ points[place]
        away = np.minimum(away, np.maximum(distance, 0.0))
    return np.array(chosen, np.int64)


@final
@dataclass(frozen=True, slots=True, eq=False)
class _Pool:
    """The readable images of a folder, as the classifier sees them."""

    readable: list[int]
    facts: list[ImageFacts]
    features: npt.NDArray[np.float32]
    logits: Floats


def _read(classifier: TransferClassifier, files: Sequence[Path]) -> _Pool:
    model = network_of(classifier)
    from tlkit.core.tensorflow import keras

    logit = model.get_layer("logit")
    engine = TensorFlowEngine(keras.Model(model.inputs, [logit.input, logit.output]))
    readable: list[int] = []
    facts: list[ImageFacts] = []
    features: list[npt.NDArray[np.generic]] = []
    logits: list[npt.NDArray[np.generic]] = []
    bad_files: list[BadFile] = []
    with progress(len(files), "Reading") as advance:
        batches = read_batches(
            files,
            classifier.image_size,
            BATCH_SIZE,
            value_range=classifier.value_range,
            resize=classifier.resizing,
            read_many=read_pixels,
        )
        for rows, images, found in batches:
            bad_files += [one for one in found if isinstance(one, BadFile)]
            facts += [one for one in found if isinstance(one, ImageFacts)]
            readable += rows.tolist()
            if len(rows):
                outputs = engine(images)
                features.append(outputs[0])
                logits.append(outputs[1][:, 0])
            advance(len(found))
    warn_of_bad_files(bad_files, stacklevel=4)
    width = logit.input.shape[-1]
    return _Pool(
        readable,
        facts,
        np.concatenate(features).astype(np.float32)
        if features
        else np.empty((0, width), np.float32),
        np.concatenate(logits).astype(np.float64) if logits else np.empty(0),
    )


def _unlike_others(classifier: TransferClassifier, facts: Sequence[ImageFacts]) -> Indices:
    """Return the places of images that are no near-duplicates of training images or of earlier ones."""
    learned = _training_facts(classifier)
    card = classifier.card
    digests = {*card.training_digests} if isinstance(card, Record) else set()
    together = [*learned, *facts]
    duplicates = find_duplicates(together, [0] * len(together), largest=len(together) + 1)
    copies = {copy.row - len(learned) for copy in duplicates.copies}
    return np.array(
        [
            place
            for place, fact in enumerate(facts)
            if place not in copies and fact.digest[: Record.DIGEST_LENGTH] not in digests
        ],
        np.int64,
    )


def _training_facts(classifier: TransferClassifier) -> list[ImageFacts]:
    """Return what is known of the training images, if their folder is still there."""
    card = classifier.card
    directory = card.dataset.get("directory") if isinstance(card, Record) else None
    if not isinstance(card, Record) or not isinstance(directory, str):
        return []
    paths = [Path(directory).expanduser() / name for name in card.training_names]
    there = [path for path in paths if path.is_file()]
    if not there:
        return []
    _, facts, _ = read_files(
        there, _THUMBNAIL, "Looking for near-duplicates", value_range=classifier.value_range
    )
    return facts


def _reason(classifier: TransferClassifier, probability: float, *, usual: bool) -> str:
    """Say why an image was chosen: by doubt, because it is unlike the others, or to stand for them."""
    likely = classifier.positive_class if probability >= 0.5 else classifier.negative_class
    said = f"probability of '{printable(classifier.positive_class)}' {probability:.2f}"
    if usual:
        return f"drawn at random, to stand for the folder; probably '{printable(likely)}' ({said})"
    if min(probability, 1 - probability) >= UNSURE:
        return f"it could be either ({said}), and is unlike those before it"
    return f"unlike those before it; probably '{printable(likely)}' ({said})"
