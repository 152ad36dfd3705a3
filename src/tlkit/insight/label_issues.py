"""Which labels are doubtful: those that a classifier contradicts which never saw the image.

Every image is ranked by its self-confidence, the probability of the label it was given; the lowest are the
top losses. Confident learning adds where to stop: a label is likely wrong where the other class is more
probable, and at least as probable as it is on average among the images of that class.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, final

import numpy as np

from tlkit.classifier.classifier import TransferClassifier, check_classifier
from tlkit.core.spec import Spec, check_bool, check_float
from tlkit.core.tables import Cell
from tlkit.data.label_decisions import DIGEST_PREFIX
from tlkit.errors import SettingError, printable
from tlkit.evaluation.evaluate import other_class
from tlkit.evaluation.log_loss import sigmoid
from tlkit.evaluation.scores import CrossValidation, Scores


@final
@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class LabelIssue(Spec):
    """What a classifier that never saw an image thinks of its label.

    Attributes:
        name: Of the image, relative to the folder.
        given: Its class as the folder has it.
        suggested: The more probable class: `given` again where the classifier agrees.
        probability: Of the given class, 0-1.
        likely: Whether confident learning calls the label wrong. Someone has to look all the same: an image
            can be rightly labelled and unlike all others.
    """

    name: str
    given: str
    suggested: str
    probability: float
    likely: bool

    def __post_init__(self) -> None:
        check_float("probability", self.probability, at_least=0, at_most=1)
        if check_bool("likely", self.likely) and self.suggested == self.given:
            raise SettingError("`likely` needs a `suggested` class other than the given one")

    def __str__(self) -> str:
        thought = "no doubt"
        if self.suggested != self.given:
            thought = f"{'probably' if self.likely else 'perhaps'} '{printable(self.suggested)}'"
        return (
            f"{printable(self.name)}: labelled '{printable(self.given)}' "
            f"(probability {self.probability:.3f}), {thought}"
        )


COLUMNS: Final = ("image", "label", "suggested", "probability", "likely", "digest")
"""Of a table of doubtful labels: the image's name, its class, the more probable one, the probability of its
class, "yes" where confident learning calls the label wrong, and what the file was. With a column `decision`
it is a table of decisions."""


def as_row(issue: LabelIssue, digest: str = "") -> tuple[Cell, ...]:
    """Return a row of a table of doubtful labels, as `COLUMNS` has it; names as `printable` writes them.

    Args:
        issue: What is thought of the image.
        digest: The first hex digits of its file's digest; "" where that is not known.
    """
    likely = "yes" if issue.likely else "no"
    names = (printable(issue.name), printable(issue.given), printable(issue.suggested))
    return (*names, issue.probability, likely, digest and DIGEST_PREFIX + digest)


def find_label_issues(result: TransferClassifier | CrossValidation) -> tuple[LabelIssue, ...]:
    """Name the images whose labels are most doubtful, so that someone looks at them.

    Args:
        result: A `CrossValidation`, with out-of-fold predictions of all images; or a `TransferClassifier`,
            with those of its training images, or of all images if it was trained with `folds`.

    Returns:
        All images with out-of-fold predictions, the most doubtful first; those with `likely` deserve a look.

    Raises:
        SettingError: It is neither; or the classifier was fine-tuned without `folds`: it has learned every
            label that it could be asked about.

    Examples:
        >>> for issue in find_label_issues(cross_validate("alpacas/"))[:5]:  # doctest: +SKIP
        ...     print(issue)

    References:
        C. Northcutt, L. Jiang and I. Chuang (2021), Confident learning: estimating uncertainty in dataset
        labels, Journal of Artificial Intelligence Research 70: 1373-1411.
    """
    check_classifier("result", result, CrossValidation)
    if result.out_of_fold is None:
        raise SettingError(
            "this classifier has learned every label it could be asked about: use cross_validate(), or "
            "train with `folds=5`"
        )
    return rank_label_issues(
        result.out_of_fold, class_names=result.class_names, positive_class=result.positive_class
    )


def rank_label_issues(
    scores: Scores, *, class_names: Sequence[str], positive_class: str
) -> tuple[LabelIssue, ...]:
    """Order images by how strongly a classifier contradicts their labels.

    On 327 photographs with 16 random labels flipped, out-of-fold logits of the exact head put most of the
    flipped ones among the first 16. Logits of images that the classifier has learned from are worth little
    here: it has learned their wrong labels too.

    Args:
        scores: Logits of images that the classifier had not learned from: `CrossValidation.scores`.
        class_names: Both classes, in the order of the dataset.
        positive_class: The one of the logits, with label 1.

    Returns:
        All images, the most doubtful first; of equal ones the first in the order of names.

    Raises:
        SettingError: A class has no image, the names are not two classes, or those of the images are unknown.

    Examples:
        >>> scores = Scores(
        ...     names=("a.jpg", "b.jpg", "c.jpg", "d.jpg"),
        ...     labels=(1, 1, 0, 0),
        ...     logits=(3.0, -4.0, -3.0, -2.0),
        ... )
        >>> for issue in rank_label_issues(
        ...     scores, class_names=("alpaca", "not alpaca"), positive_class="alpaca"
        ... )[:2]:
        ...     print(issue)
        b.jpg: labelled 'alpaca' (probability 0.018), probably 'not alpaca'
        d.jpg: labelled 'not alpaca' (probability 0.881), no doubt

    References:
        C. Northcutt, L. Jiang and I. Chuang (2021), Confident learning: estimating uncertainty in dataset
        labels, Journal of Artificial Intelligence Research 70: 1373-1411.
    """
    scores.check_names()
    negative_class = other_class(class_names, positive_class)
    labels, logits = np.array(scores.labels), np.array(scores.logits, np.float64)
    counts = np.bincount(labels.astype(np.int64), minlength=2)
    if not counts.all():
        raise SettingError(
            f"label checks need images of both classes, got {counts[0]} of '{printable(negative_class)}' "
            f"and {counts[1]} of '{printable(positive_class)}'"
        )
    for_given = np.where(labels == 1, logits, -logits)  # keeps apart what a probability rounds to 1
    given, other = sigmoid(for_given), sigmoid(-for_given)
    usual = np.array([given[labels == label].mean() for label in (0, 1)])
    likely = (for_given < 0) & (other >= usual[1 - labels])
    classes = (negative_class, positive_class)
    order = sorted(range(len(labels)), key=lambda i: (for_given[i], scores.names[i]))
    return tuple(
        LabelIssue(
            name=scores.names[i],
            given=classes[labels[i]],
            suggested=classes[1 - labels[i] if for_given[i] < 0 else labels[i]],
            probability=float(given[i]),
            likely=bool(likely[i]),
        )
        for i in order
    )
