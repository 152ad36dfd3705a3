"""Measure a classifier on a folder of labelled images, less those that it has learned from."""

from __future__ import annotations

import dataclasses
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tlkit.classifier.record import Record
from tlkit.core.fingerprint import digest_of_file
from tlkit.data.dataset import DatasetSpec, Example
from tlkit.data.folders import kind_of, scan_folder, walk
from tlkit.errors import DatasetError, TlkitWarning, printable
from tlkit.evaluation.decision_counts import UNSURE, UNSURE_WORD, DecisionCounts
from tlkit.evaluation.evaluate import Evaluation, evaluate
from tlkit.evaluation.scores import OUT_OF_FOLD
from tlkit.images.decoder import BadFile
from tlkit.images.loader import warn_of_bad_files

if TYPE_CHECKING:
    from tlkit.classifier.classifier import PathLike, Prediction, TransferClassifier


def measure(
    classifier: TransferClassifier,
    data: PathLike | DatasetSpec,
    *,
    part: str | None,
    include_training: bool,
) -> Evaluation:
    """Measure a classifier, as `TransferClassifier.evaluate` says."""
    spec = (
        data if isinstance(data, DatasetSpec) else DatasetSpec(data, classes=classifier.class_names)
    )
    examples, known = _chosen(classifier, spec, part, include_training=include_training)
    outcomes = classifier.predict(
        [example.path for example in examples],
        on_bad_file="raise" if spec.on_bad_file == "raise" else "collect",
    )
    warn_of_bad_files([found for found in outcomes if isinstance(found, BadFile)], stacklevel=4)
    scored = [
        (example.label, outcome)
        for example, outcome in zip(examples, outcomes, strict=True)
        if not isinstance(outcome, BadFile)
    ]
    if not scored:
        raise DatasetError(f"no image in {printable(spec.directory)} can be read")
    labels, predictions = zip(*scored, strict=True)
    return evaluate(
        labels,
        [prediction.probability for prediction in predictions],
        threshold=classifier.threshold,
        class_names=classifier.class_names,
        positive_class=classifier.positive_class,
        part=part or spec.directory.resolve().name,
        used_to_choose=(f"the weights ({known} of them were trained on)",) if known else (),
        decisions=_decisions(classifier, labels, predictions),
    )


def _decisions(
    classifier: TransferClassifier, labels: Sequence[int], predictions: Sequence[Prediction]
) -> DecisionCounts | None:
    """Return what became of the images; None of a classifier that leaves none to a person."""
    if classifier.guarantee is None:
        return None
    said = {classifier.positive_class: 1, classifier.negative_class: 0, UNSURE_WORD: UNSURE}
    return DecisionCounts.of(labels, [said[prediction.decision] for prediction in predictions])


def examples_for(classifier: TransferClassifier, spec: DatasetSpec) -> tuple[Example, ...]:
    """Return the images of a folder, label 1 for the classifier's positive class.

    Raises:
        DatasetError: The folder is not of the classifier's two classes.
    """
    listing = spec.listing()
    if {*listing.class_names} != {*classifier.class_names}:
        raise DatasetError(
            f"this classifier tells {' from '.join(map(repr, classifier.class_names))}, but "
            f"{printable(spec.directory)} holds {' and '.join(map(repr, listing.class_names))}"
        )
    return tuple(
        dataclasses.replace(example, label=int(example.class_name == classifier.positive_class))
        for example in listing.examples
    )


def learned_names(record: Record, spec: DatasetSpec, examples: Sequence[Example]) -> frozenset[str]:
    """Return the names of the images that a classifier has learned from.

    A file is told by its content, wherever it lies and whatever it is called; in the folder that the
    classifier was trained on its name is enough.

    Args:
        record: The classifier's.
        spec: The folder.
        examples: Its images. Each file is read.
    """
    digests, names = {*record.training_digests}, {*record.training_names}
    own = record.trained_on(spec.directory)
    return frozenset(
        example.name
        for example in examples
        if (own and example.name in names)
        or (digests and digest_of_file(example.path)[: record.DIGEST_LENGTH] in digests)
    )


def _chosen(
    classifier: TransferClassifier, spec: DatasetSpec, part: str | None, *, include_training: bool
) -> tuple[Sequence[Example], int]:
    """Return the images to measure on, and how many of them the classifier has learned from."""
    listed = _of_one_class(classifier, spec) or examples_for(classifier, spec)
    examples = [example for example in listed if part in (None, example.part)]
    if not examples:
        there = sorted({repr(example.part) for example in listed if example.part})
        raise DatasetError(
            f"{printable(spec.directory)} has no images in the part {part!r}: "
            + (f"choose from {', '.join(there)}" if there else "it has no parts, leave `part` out")
        )
    card = classifier.card
    learned = learned_names(card, spec, examples) if isinstance(card, Record) else frozenset()
    unseen = [example for example in examples if example.name not in learned]
    if not learned:
        return examples, 0
    count = f"{len(learned):,} of the {len(examples):,} images in {printable(spec.directory)}"
    if include_training:
        _warn(
            f"the classifier has learned from {count}, so these metrics flatter it. {_known(classifier)}"
        )
        return examples, len(learned)
    if not unseen:
        raise DatasetError(
            f"the classifier has learned from {count}, so they say nothing about new ones. "
            f"{_known(classifier)}. Give a folder of other images; or count these all the same, with "
            "include_training=True (--include-training)"
        )
    _warn(
        f"left out {count}: the classifier has learned from them, and they would flatter it "
        f"(include_training=True or --include-training counts them). {_known(classifier)}"
    )
    return unseen, 0


def _warn(text: str) -> None:
    warnings.warn(
        text, TlkitWarning, stacklevel=5
    )  # the line that called TransferClassifier.evaluate


def _known(classifier: TransferClassifier) -> str:
    """Say what is known of the classifier on images that it had not learned from."""
    crossed, scores = classifier.cross_validation, classifier.out_of_fold
    found, where = classifier.evaluation, f"{classifier.evaluation.part} images"
    if crossed is not None:
        found, where = crossed.evaluation, "images, each judged by a fold that had not seen it"
    elif scores is not None:
        where = "training images, each judged by a head that had not seen it"
        found = evaluate(
            scores.labels,
            scores.probabilities,
            threshold=classifier.threshold,
            class_names=classifier.class_names,
            positive_class=classifier.positive_class,
            part=OUT_OF_FOLD,
        )
    return (
        f"On images that it had not learned from: accuracy {found.accuracy.brief('95 % CI ')} on "
        f"{found.count:,} {where}"
    )


def _of_one_class(classifier: TransferClassifier, spec: DatasetSpec) -> tuple[Example, ...]:
    """Return the images of a folder that has only one of the classes; nothing where it is not so."""
    if not spec.directory.is_dir():
        return ()
    folders = {e.name: e.path for e in scan_folder(str(spec.directory)) if kind_of(e) == "folder"}
    (*there,) = (name for name in classifier.class_names if name in folders)
    if len(there) != 1 or len(folders) != 1:
        return ()
    label = int(there[0] == classifier.positive_class)
    found = sorted(walk(folders[there[0]], there[0], Counter()))
    return tuple(Example(Path(path), name, there[0], label) for name, path in found)
