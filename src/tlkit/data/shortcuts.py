"""Which fact of the files alone tells the classes apart: what a network may learn instead of what they show.

Every fact is judged by itself, on images that it was not learned from: the groups are dealt out to folds, and
each image is scored by what the other folds say of images like it. The area under the ROC curve of these
scores is what the fact is worth.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, TypeAlias, final

import numpy as np
import numpy.typing as npt

from tlkit.core.rows import Indices
from tlkit.core.spec import Json, Spec
from tlkit.data.example import Example
from tlkit.data.split import assign_folds
from tlkit.errors import printable
from tlkit.evaluation.metrics import roc_auc
from tlkit.evaluation.rate import Rate
from tlkit.images.decoder import ImageFacts

Floats: TypeAlias = npt.NDArray[np.float64]

SUSPICIOUS, AT_LEAST = 0.85, 0.75
"""The area under the ROC curve from which a fact is suspicious, and what its interval must lie above."""

FACTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "format": "what the files are",
        "mode": "how pixels are stored",
        "width": "pixels across",
        "height": "pixels down",
        "aspect": "width by height",
        "bytes a pixel": "how strongly the files are compressed",
        "brightness": "mean of the grey values",
        "contrast": "spread of the grey values",
        "sharpness": "detail, as a share of the contrast",
        "colourfulness": "from grey to bright colours",
        "border colour": "mean colour of the edge",
        "camera": "maker and model in the EXIF block",
        "file name": "the name with its digits left out; no network sees it",
        "date": "when it was taken, by the EXIF block; no network sees it",
    }
)
"""Every fact that is looked at, in the order of equals."""

UNSEEN: Final = frozenset({"file name", "date"})
"""Facts that no network can see: listed for people's eyes, never suspicious."""

_FOLDS: Final = 5
_FEWEST: Final = 8  # groups of each class: with fewer, nothing can be said
_BINS: Final = 24
_SMOOTH: Final = 0.08  # share of the images over which neighbouring bins are averaged
_SHOWN: Final = 3  # images at either end
_PRIOR: Final = 1.0  # images of each class that every bin is thought to hold before it is looked at
_RIDGE: Final = 4.0  # grey levels of spread that a colour is thought to have besides its own


@final
@dataclass(frozen=True, slots=True, repr=False)
class Shortcut(Spec):
    """What one fact of the files alone is worth.

    Attributes:
        name: One of `FACTS`.
        auc: Area under the ROC curve, 0 to 1, on images that were not learned from: how often an image of one
            class can be told from one of the other by this fact alone; 0.5 is guessing. Its interval counts
            groups, not images.
        suspicious: Whether it is at least 0.85, its interval above 0.75, and a network can see it.
        detail: How the classes differ in it.
        ends: The names, as `printable` writes them, of the images at both ends: of the lowest and the highest
            values, or of the kinds that are most typical of either class.
    """

    name: str
    auc: Rate
    suspicious: bool
    detail: str = ""
    ends: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())

    def to_config(self) -> dict[str, Json]:
        """Return it as plain JSON values, the interval too."""
        return {**super(Shortcut, self).to_config(), "auc": self.auc.to_config()}

    def __str__(self) -> str:
        return f"{self.name}: AUC {self.auc.brief('95 % CI ')}; {self.detail}"


def find_shortcuts(
    examples: Sequence[Example],
    facts: Sequence[ImageFacts],
    groups: Sequence[str],
    class_names: tuple[str, str],
) -> tuple[Shortcut, ...]:
    """Judge every fact that is not the same for all images.

    Args:
        examples: The images, `[N]`.
        facts: Of each, `[N]`.
        groups: The group of each, `[N]`; those of one group are learned from together, or not at all.
        class_names: The negative class and the positive one.

    Returns:
        The strongest first; nothing where a class has too few groups to say.
    """
    labels = np.fromiter((example.label for example in examples), np.int64, len(examples))
    counts = [len({g for g, y in zip(groups, labels, strict=True) if y == of}) for of in (0, 1)]
    if min(counts) < _FEWEST:
        return ()
    folds = assign_folds(labels, groups, count=_FOLDS, seed=0)
    found = []
    for name in FACTS:
        values = _values(name, examples, facts)
        if len(np.unique(values, axis=0)) < 2:
            continue
        scores = _out_of_fold(values, labels, folds)
        area = roc_auc(labels, scores) or 0.0
        auc = Rate.of_ranks(area, counts[1], counts[0])
        suspicious = name not in UNSEEN and area >= SUSPICIOUS and auc.low > AT_LEAST
        detail, ends = _described(values, labels, scores, class_names)
        names = tuple(tuple(printable(examples[i].name) for i in end) for end in ends)
        found.append(Shortcut(name, auc, suspicious, detail, (names[0], names[1])))
    return tuple(sorted(found, key=lambda one: -one.auc))


def _values(
    name: str, examples: Sequence[Example], facts: Sequence[ImageFacts]
) -> npt.NDArray[np.generic]:
    """Return one fact of all images: numbers `[N]`, colours `[N, 3]`, or words `[N]`."""
    match name:
        case "format":
            return np.array([fact.format for fact in facts])
        case "mode":
            return np.array([fact.mode for fact in facts])
        case "camera":
            return np.array([fact.camera for fact in facts])
        case "file name":
            stems = (example.name.rpartition("/")[2] for example in examples)
            return np.array([re.sub(r"\d+", "#", stem) for stem in stems])
        case "date":
            return np.array([fact.taken[:7] for fact in facts])  # the month
        case "border colour":
            return np.array([fact.appearance.border for fact in facts], np.float64)
        case "height" | "width" | "aspect":
            sizes = np.array([fact.upright_size for fact in facts], np.float64)
            ends = {
                "height": sizes[:, 0],
                "width": sizes[:, 1],
                "aspect": sizes[:, 1] / sizes[:, 0],
            }
            return ends[name]
        case "bytes a pixel":
            return np.array([fact.byte_count / (fact.width * fact.height) for fact in facts])
    return np.array([getattr(fact.appearance, name) for fact in facts], np.float64)


def _out_of_fold(values: npt.NDArray[np.generic], labels: Indices, folds: Indices) -> Floats:
    """Score each image by the log-odds that the other folds give to its like."""
    scores = np.empty(len(labels))
    if values.ndim == 1 and values.dtype.kind == "U":
        values = np.unique(values, return_inverse=True)[1].reshape(-1)
    for fold in np.unique(folds):
        known, judged = folds != fold, folds == fold
        score = _colour_score if values.ndim == 2 else _score
        scores[judged] = score(values[known], labels[known], values[judged])
    return scores


def _score(
    known: npt.NDArray[np.generic], labels: Indices, judged: npt.NDArray[np.generic]
) -> Floats:
    """Count both classes in bins of about as many images each, smoothed; a word is a bin of its own."""
    if known.dtype.kind == "f":
        edges = np.unique(np.quantile(known.astype(float), np.linspace(0, 1, _BINS + 1)[1:-1]))
        # A value that many files share is an edge: one bin below it, one for it, one above it.
        place, wanted = (
            np.searchsorted(edges, of, "left") + np.searchsorted(edges, of, "right")
            for of in (known, judged)
        )
    else:
        place, wanted = known.astype(np.int64), judged.astype(np.int64)
    size = int(max(place.max(), wanted.max())) + 1
    counts = [np.bincount(place[labels == of], minlength=size) + 0.0 for of in (0, 1)]
    if known.dtype.kind == "f":
        every = counts[0] + counts[1]
        middle = (np.cumsum(every) - every / 2) / every.sum()
        weights = np.exp(-(((middle[:, np.newaxis] - middle) / _SMOOTH) ** 2) / 2)
        counts = [weights @ count for count in counts]
    shares = [(count + _PRIOR / 2) / (count.sum() + _PRIOR) for count in counts]
    odds: Floats = np.log(shares[1] / shares[0])[wanted]
    return odds


def _colour_score(
    known: npt.NDArray[np.generic], labels: Indices, judged: npt.NDArray[np.generic]
) -> Floats:
    """Compare the likelihood under a normal distribution of each class's colours."""
    densities = []
    for of in (0, 1):
        own = known[labels == of].astype(np.float64)
        centre = own.mean(axis=0)
        spread = np.cov(own, rowvar=False) + _RIDGE**2 * np.eye(own.shape[1])
        away = judged.astype(np.float64) - centre
        distance = np.einsum("ni,ij,nj->n", away, np.linalg.inv(spread), away)
        densities.append(-(distance + np.linalg.slogdet(spread)[1]) / 2)
    difference: Floats = densities[1] - densities[0]
    return difference


def _described(
    values: npt.NDArray[np.generic], labels: Indices, scores: Floats, class_names: tuple[str, str]
) -> tuple[str, tuple[list[int], list[int]]]:
    """Say how the classes differ, and give the indices of the images at both ends."""
    said = []
    for of in (1, 0):
        own = values[labels == of]
        if values.dtype.kind == "U":
            kinds = Counter(own.tolist()).most_common(2)
            text = ", ".join(
                f"{count / len(own):.0%} {printable(kind) or 'none'}" for kind, count in kinds
            )
        elif values.ndim == 2:
            text = "({:.0f}, {:.0f}, {:.0f})".format(*np.median(own.astype(np.float64), axis=0))
        else:
            low, middle, high = np.quantile(own.astype(np.float64), (0.1, 0.5, 0.9))
            text = f"{middle:.3g} ({low:.3g} to {high:.3g})"
        said.append(f"'{printable(class_names[of])}' {text}")
    by = values.astype(np.float64) if values.dtype.kind == "f" and values.ndim == 1 else scores
    order = np.argsort(by, kind="stable").tolist()
    return "; ".join(said), (order[:_SHOWN], order[::-1][:_SHOWN])
