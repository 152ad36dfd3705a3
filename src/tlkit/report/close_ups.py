"""Images to look at closely: the most telling ones with their heat maps, samples, and augmented views."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Final, final

import numpy as np

from tlkit.classifier.classifier import Prediction, TransferClassifier
from tlkit.core.ignoring import ignoring
from tlkit.data.example import Example
from tlkit.errors import BadFileWarning, SettingError, printable
from tlkit.images.augmentation import AugmentationPolicy
from tlkit.images.data_address import data_address, fitted
from tlkit.images.decoder import BadFile, read_image
from tlkit.insight.explain import explain_files
from tlkit.insight.neighbours import FeatureIndex, Neighbour
from tlkit.report.album import THUMBNAIL, Album, AlbumImage, thumbnail

_LARGE: Final = 240  # pixels of the longer side
_ALIKE: Final = 3  # similar images beside each
_SAME: Final = 5e-3  # of a probability: less is not seen in two digits, more is another classifier
_SAMPLES: Final = 9  # of each class
_VIEWS: Final = 9


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Closer:
    """What is shown of an image that is looked at closely.

    Attributes:
        image: The image, larger than its thumbnail, as a `data:` address.
        heat_map: Where the evidence lies, over the image in grey, as a `data:` address.
        towards: The class that it is evidence for: the one that whoever judged the image named.
        prediction: That of the finished classifier, whose evidence it is.
        is_judge: Whether the page gives this prediction for the image: another classifier may have judged
            it, that of a fold.
        alike: The training images most like it, with their thumbnails as `data:` addresses.
    """

    image: str
    heat_map: str
    towards: str
    prediction: Prediction
    is_judge: bool
    alike: tuple[tuple[Neighbour, str], ...]


def look_closer(
    classifier: TransferClassifier, album: Album, count: int
) -> Mapping[str, Closer] | None:
    """Explain the most telling images.

    Args:
        classifier: Whose evidence is shown.
        album: The images.
        count: How many, at least 0.

    Returns:
        What is shown of them, by name; None where this network has no heat maps.
    """
    chosen = [image.example for image in album.images][:count]
    if not chosen:
        return {}
    predicted = [_predicted(classifier, album.probabilities[example.name]) for example in chosen]
    try:
        found = list(explain_files(classifier, [e.path for e in chosen], towards=predicted))
    except SettingError:
        return None  # it turns images into vectors at once, which have no positions
    alike = _alike(classifier, album, chosen)
    closer = {}
    for example, seen in zip(chosen, found, strict=True):
        if not isinstance(seen, BadFile):
            size = fitted(seen.size, _LARGE)
            pixels, _ = read_image(example.path, size, value_range=classifier.value_range)
            closer[example.name] = Closer(
                image=data_address(pixels, size),
                heat_map=data_address(seen.overlay(image_size=size), size),
                towards=seen.towards,
                prediction=seen.prediction,
                is_judge=abs(seen.prediction.probability - album.probabilities[example.name])
                < _SAME,
                alike=alike[example.name],
            )
    return closer


def samples(album: Album) -> tuple[tuple[AlbumImage, ...], ...]:
    """Choose images of both classes at random, the same ones each time, the positive class first."""
    order = np.random.default_rng(0).permutation(len(album.images)).tolist()
    shuffled = [album.images[index] for index in order]
    chosen = (
        tuple(image for image in shuffled if image.example.label == label)[:_SAMPLES]
        for label in (1, 0)
    )
    return tuple(filter(None, chosen))  # the most telling may all be of one class


def thumbnails(album: Album) -> Mapping[str, str]:
    """Return the images of the folder trained on in small, by their names as an audit writes them."""
    shown = album.images if album.is_own else ()
    return {printable(image.example.name): image.thumbnail for image in shown}


def views(classifier: TransferClassifier, album: Album) -> tuple[Example, tuple[str, ...]] | None:
    """Return an image and what training made of it, the image itself first.

    Returns:
        The image and its views as `data:` addresses; None where there were none, or their policy could
        not be kept.
    """
    config = classifier.record.augmentation
    if config is None or "description" in config or not album.is_own:
        return None
    policy = AugmentationPolicy.from_config(config)
    known = {*classifier.record.training_names}
    examples = [p.example for p in album.images if p.example.name in known and p.example.label]
    if not examples:
        return None
    example = min(examples, key=lambda e: e.name)
    size = classifier.image_size
    image, _ = read_image(
        example.path, size, value_range=classifier.value_range, resize=classifier.resizing
    )
    seen = policy.views(image, _VIEWS)
    return example, tuple(data_address(pixels, fitted(size, THUMBNAIL)) for pixels in seen)


def _predicted(classifier: TransferClassifier, probability: float) -> str:
    positive = probability >= classifier.threshold
    return classifier.positive_class if positive else classifier.negative_class


def _alike(
    classifier: TransferClassifier, album: Album, examples: Sequence[Example]
) -> dict[str, tuple[tuple[Neighbour, str], ...]]:
    """Find the training images most like each, where they are at hand."""
    if not album.is_own:
        return dict.fromkeys((example.name for example in examples), ())
    with ignoring(BadFileWarning):  # the page names them
        index = FeatureIndex(classifier, replace(album.spec, on_bad_file="skip"))
    known = {*classifier.record.training_names}
    found = {e.name: index.nearest(e.path, _ALIKE, among=known) for e in examples}
    thumbnails = {image.example.name: image.thumbnail for image in album.images}
    for neighbour in chain(*found.values()):  # of a large folder, the page may not hold it yet
        if neighbour.name not in thumbnails:
            thumbnails[neighbour.name] = thumbnail(neighbour.path, classifier.value_range)
    return {
        name: tuple((neighbour, thumbnails[neighbour.name]) for neighbour in alike)
        for name, alike in found.items()
    }
