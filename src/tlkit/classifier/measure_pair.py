"""Measure two classifiers on the same labelled images, less those that either has learned from."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from tlkit.classifier.card import ModelCard
from tlkit.classifier.measure import learned_names, listing_in, used_to_choose, warn_if_unknown
from tlkit.data.dataset import DatasetSpec
from tlkit.data.example import Example
from tlkit.errors import DatasetError, SettingError, printable
from tlkit.evaluation.evaluate import Evaluation, evaluate
from tlkit.evaluation.log_loss import sigmoid
from tlkit.evaluation.paired_evaluation import PairedEvaluation
from tlkit.images.decoder import BadFile
from tlkit.images.loader import warn_of_bad_files

Floats: TypeAlias = npt.NDArray[np.float64]


class Side(NamedTuple):
    """One of two classifiers.

    Attributes:
        card: What it has to know to decide.
        logits_of: Gives its logit for each of some files.
    """

    card: ModelCard
    logits_of: Callable[[Sequence[Path]], Sequence[float | BadFile]]


def measure_pair(
    new: Side, old: Side, spec: DatasetSpec, *, part: str | None, include_training: bool
) -> PairedEvaluation:
    """Measure two classifiers, as `TransferClassifier.evaluate` says.

    Args:
        new: The new one.
        old: The old one, of the same two classes.
        spec: The folder.
        part: Use only this part of it.
        include_training: Count the images that either has learned from too.
    """
    if {*new.card.class_names} != {*old.card.class_names}:
        raise SettingError(
            f"`against` must tell {' from '.join(map(repr, new.card.class_names))} too, but it tells "
            f"{' from '.join(map(repr, old.card.class_names))}"
        )
    listing = listing_in(new.card, spec, part)
    listed = listing.examples
    if not include_training:
        for side in (new, old):
            warn_if_unknown(side.card, stacklevel=4)
    learned = [learned_names(side.card, spec, listed) for side in (new, old)]
    either = learned[0] | learned[1]
    examples = [one for one in listed if include_training or one.name not in either]
    if len(examples) < 2:
        raise DatasetError(
            f"{printable(spec.source)} has {len(listed):,} images, and fewer than two that neither "
            f"classifier has learned from (the new one {len(learned[0]):,}, the old one "
            f"{len(learned[1]):,}): give a folder of other images; or count these all the same, with "
            "include_training=True (--include-training)"
        )
    readable, by_new, by_old = _both(new, old, spec, examples)
    known = len(either) if include_training else 0
    judged = dataclasses.replace(listing, examples=tuple(readable))

    def metrics(card: ModelCard, logits: Floats) -> Evaluation:
        return evaluate(
            [int(example.class_name == card.positive_class) for example in readable],
            sigmoid(logits),
            threshold=card.threshold,
            class_names=card.class_names,
            positive_class=card.positive_class,
            part=part or spec.source.resolve().name,
            used_to_choose=used_to_choose(card, spec, judged, learned=known),
        )

    return PairedEvaluation.counted(
        metrics(new.card, by_new),
        metrics(old.card, by_old),
        names=[example.name for example in readable],
        class_names=[example.class_name for example in readable],
        new_logits=_own(new.card, readable, by_new),
        old_logits=_own(old.card, readable, by_old),
        learned_counts=(len(learned[0]), len(learned[1])),
        include_training=include_training,
    )


def _both(
    new: Side, old: Side, spec: DatasetSpec, examples: Sequence[Example]
) -> tuple[list[Example], Floats, Floats]:
    """Return the images that both can read, and the logits that both give to them."""
    paths = [example.path for example in examples]
    said = [side.logits_of(paths) for side in (new, old)]
    bad_files = {found.path: found for one in said for found in one if isinstance(found, BadFile)}
    warn_of_bad_files([*bad_files.values()], stacklevel=5)
    scored = [
        (example, one, other)
        for example, one, other in zip(examples, *said, strict=True)
        if not (isinstance(one, BadFile) or isinstance(other, BadFile))
    ]
    if len(scored) < 2:
        raise DatasetError(f"fewer than two images in {printable(spec.source)} can be read")
    readable, by_new, by_old = zip(*scored, strict=True)
    return [*readable], np.array(by_new), np.array(by_old)


def _own(card: ModelCard, examples: Sequence[Example], logits: Floats) -> Floats:
    """Return the log-odds of the class that each image is of."""
    positive = np.array([example.class_name == card.positive_class for example in examples])
    return np.where(positive, logits, -logits)
