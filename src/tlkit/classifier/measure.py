"""Measure a classifier on a folder of labelled images, less those that it has learned from."""

from __future__ import annotations

import dataclasses
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from tlkit.classifier.card import ModelCard
from tlkit.classifier.record import Record
from tlkit.core.columns import READABLE_SUFFIXES
from tlkit.core.fingerprint import digest_of_file
from tlkit.core.home import expanded
from tlkit.core.spec import PathLike
from tlkit.data.dataset import DatasetSettings, DatasetSpec, Listing
from tlkit.data.example import Example
from tlkit.data.folders import kind_of, scan_folder, walk
from tlkit.errors import DatasetError, TlkitWarning, printable
from tlkit.evaluation.decision_counts import DecisionCounts
from tlkit.evaluation.drift import drift_of
from tlkit.evaluation.evaluate import Evaluation, evaluate
from tlkit.evaluation.familiarity import Familiarity
from tlkit.evaluation.scores import OUT_OF_FOLD
from tlkit.evaluation.slices import Facet
from tlkit.images.decoder import BadFile
from tlkit.images.loader import warn_of_bad_files


def measure(
    card: ModelCard,
    answers_of: Callable[[Sequence[Path]], Sequence[tuple[float, int, float | None] | BadFile]],
    spec: DatasetSpec,
    *,
    part: str | None,
    include_training: bool,
    counts: bool,
    familiarity: Familiarity | None,
) -> Evaluation:
    """Measure a classifier, as `TransferClassifier.evaluate` says.

    Args:
        card: The classifier's.
        answers_of: Gives the classifier's probability for each of some files, what it calls each, as
            `ModelCard.decided` says it, and its familiarity.
        spec: The folder.
        part: Use only this part of it.
        include_training: Count the images that it has learned from too.
        counts: Count what is decided alone: some images are left to a person.
        familiarity: What tells whether the images are like those that it learned from.
    """
    listing, used = _chosen(card, spec, part, include_training=include_training)
    outcomes = answers_of([example.path for example in listing.examples])
    warn_of_bad_files([found for found in outcomes if isinstance(found, BadFile)], stacklevel=4)
    scored = [
        (example.label, outcome)
        for example, outcome in zip(listing.examples, outcomes, strict=True)
        if not isinstance(outcome, BadFile)
    ]
    if not scored:
        raise DatasetError(f"no image in {printable(spec.source)} can be read")
    labels, answers = zip(*scored, strict=True)
    read = [i for i, found in enumerate(outcomes) if not isinstance(found, BadFile)]
    return evaluate(
        labels,
        [probability for probability, *_ in answers],
        threshold=card.threshold,
        class_names=card.class_names,
        positive_class=card.positive_class,
        part=part or spec.source.resolve().name,
        used_to_choose=used,
        facets=[Facet.of(name, said).chosen(read) for name, said in listing.slices.items()],
        decisions=DecisionCounts.of(labels, [said for _, said, _ in answers]) if counts else None,
        drift=familiarity and drift_of([float(rank or 0) for *_, rank in answers], familiarity),
    )


def spec_for(card: ModelCard, data: PathLike | DatasetSpec, **columns: str) -> DatasetSpec:
    """Return how a folder or a table is read for a classifier: as what it was trained on, where that fits.

    Args:
        card: The classifier's.
        data: A folder, a table of labels, or a spec, which is returned as it is.
        **columns: Of a table, where they are not called as in the one that it was trained on: `image`,
            `label` and `directory`, as `DatasetSpec.from_table` has them.
    """
    if isinstance(data, DatasetSpec):
        return data
    known = card.dataset if isinstance(card, Record) and "directory" in card.dataset else {}
    trained = DatasetSpec.from_config(known) if known else None
    settings: DatasetSettings = {"classes": card.class_names}
    if trained is not None and trained.rest:
        settings = {"positive_class": card.positive_class, "rest": trained.rest}
    path = expanded("data", data)
    if path.suffix.lower() in READABLE_SUFFIXES and not path.is_dir():
        table = trained.table if trained else None
        names = {"image": table.image, "label": table.label} if table else {}
        return DatasetSpec.from_table(path, **{**names, **columns}, **settings)
    pattern = trained.pattern if trained else None
    return DatasetSpec(path, pattern=pattern, **settings)


def listing_for(card: ModelCard, spec: DatasetSpec) -> Listing:
    """Return what a folder holds, label 1 for the classifier's positive class.

    Raises:
        DatasetError: The folder is not of the classifier's two classes.
    """
    listing = spec.listing()
    if {*listing.class_names} != {*card.class_names}:
        raise DatasetError(
            f"this classifier tells {' from '.join(map(repr, card.class_names))}, but "
            f"{printable(spec.source)} holds {' and '.join(map(repr, listing.class_names))}"
        )
    positive = card.positive_class
    examples = tuple(
        dataclasses.replace(example, label=int(example.class_name == positive))
        for example in listing.examples
    )
    return dataclasses.replace(listing, examples=examples, positive_class=positive)


def listing_in(card: ModelCard, spec: DatasetSpec, part: str | None) -> Listing:
    """Return what a folder, or a part of it, holds to measure on; it may be of one class alone.

    Raises:
        DatasetError: The folder is not of the classifier's classes, or has no such part.
    """
    listing = _of_one_class(card, spec) or listing_for(card, spec)
    examples = tuple(example for example in listing.examples if part in (None, example.part))
    if not examples:
        there = sorted({repr(example.part) for example in listing.examples if example.part})
        raise DatasetError(
            f"{printable(spec.source)} has no images in the part {part!r}: "
            + (f"choose from {', '.join(there)}" if there else "it has no parts, leave `part` out")
        )
    return dataclasses.replace(listing, examples=examples)


def learned_names(
    card: ModelCard, spec: DatasetSpec, examples: Sequence[Example]
) -> frozenset[str]:
    """Return the names of the images that a classifier has learned from.

    A file is told by its content, wherever it lies and whatever it is called; in the folder that the
    classifier was trained on its name is enough, where the card is a `Record` and knows names.

    Args:
        card: The classifier's.
        spec: The folder.
        examples: Its images. Each file is read.
    """
    own = isinstance(card, Record) and card.trained_on(spec.directory)
    names = {*card.training_names} if isinstance(card, Record) and own else set()
    digests = {*card.training_digests}
    return frozenset(
        example.name
        for example in examples
        if example.name in names
        or (digests and digest_of_file(example.path)[: card.DIGEST_LENGTH] in digests)
    )


def warn_if_unknown(card: ModelCard, *, stacklevel: int) -> None:
    """Warn where nothing tells what a classifier has learned from: in folders of an earlier export."""
    if not (isinstance(card, Record) or card.training_digests):
        warnings.warn(
            "an exported folder does not say what the classifier has learned from, so images of that kind "
            "are counted too, and would flatter it: export the classifier anew, or evaluate its .keras file",
            TlkitWarning,
            stacklevel=stacklevel,
        )


def _chosen(
    card: ModelCard, spec: DatasetSpec, part: str | None, *, include_training: bool
) -> tuple[Listing, tuple[str, ...]]:
    """Return the images to measure on, and what they were used to choose."""
    listing = listing_in(card, spec, part)
    examples = listing.examples
    if not include_training:
        warn_if_unknown(card, stacklevel=5)
    learned = learned_names(card, spec, examples)
    if not learned:
        return listing, used_to_choose(card, spec, listing)
    unseen = tuple(example for example in examples if example.name not in learned)
    count = f"{len(learned):,} of the {len(examples):,} images in {printable(spec.source)}"
    if include_training:
        _warn(
            f"the classifier has learned from {count}, so these metrics flatter it. {_known(card)}"
        )
        return listing, used_to_choose(card, spec, listing, learned=len(learned))
    if not unseen:
        raise DatasetError(
            f"the classifier has learned from {count}, so they say nothing about new ones. "
            f"{_known(card)}. Give a folder of other images; or count these all the same, with "
            "include_training=True (--include-training)"
        )
    _warn(
        f"left out {count}: the classifier has learned from them, and they would flatter it "
        f"(include_training=True or --include-training counts them). {_known(card)}"
    )
    left = dataclasses.replace(listing, examples=unseen)
    return left, used_to_choose(card, spec, left)


def used_to_choose(
    card: ModelCard, spec: DatasetSpec, listing: Listing, *, learned: int = 0
) -> tuple[str, ...]:
    """Return what was chosen on the images of a listing before they are judged here.

    Args:
        card: The classifier's.
        spec: The folder.
        listing: The images that are judged. Those of the classifier's own folder are told by their names.
        learned: How many of them the classifier, or either of two, has learned from.
    """
    used = [f"the weights ({learned} of them were trained on)"] if learned else []
    before = card.evaluation
    if before is not None and isinstance(card, Record) and card.trained_on(spec.directory):
        names = {*card.scores[before.part].names}
        if any(example.name in names for example in listing.examples):
            used += before.used_to_choose
    return tuple(dict.fromkeys((*used, *listing.used_to_choose)))


def _warn(text: str) -> None:
    warnings.warn(
        text, TlkitWarning, stacklevel=5
    )  # the line that called TransferClassifier.evaluate


def _known(card: ModelCard) -> str:
    """Say what is known of the classifier on images that it had not learned from."""
    crossed, scores, found = card.cross_validation, card.scores.get(OUT_OF_FOLD), card.evaluation
    if found is None:
        return "What it is worth on other images is not known"
    where = f"{found.part} images"
    if crossed is not None:
        found, where = crossed.evaluation, "images, each judged by a fold that had not seen it"
    elif scores is not None:
        where = "training images, each judged by a head that had not seen it"
        found = evaluate(
            scores.labels,
            scores.probabilities,
            threshold=card.threshold,
            class_names=card.class_names,
            positive_class=card.positive_class,
            part=OUT_OF_FOLD,
        )
    return (
        f"On images that it had not learned from: accuracy {found.accuracy.brief('95 % CI ')} on "
        f"{found.count:,} {where}"
    )


def _of_one_class(card: ModelCard, spec: DatasetSpec) -> Listing | None:
    """Return what a folder holds that has only one of the classes; None where it is not so."""
    if spec.decisions or spec.table or spec.pattern or spec.rest or not spec.directory.is_dir():
        return None
    folders = {e.name: e.path for e in scan_folder(str(spec.directory)) if kind_of(e) == "folder"}
    (*there,) = (name for name in card.class_names if name in folders)
    if len(there) != 1 or len(folders) != 1:
        return None
    label = int(there[0] == card.positive_class)
    found = sorted(walk(folders[there[0]], there[0], Counter()))
    examples = tuple(Example(Path(path), name, there[0], label) for name, path in found)
    return Listing(examples, card.class_names, card.positive_class, {}) if examples else None
