"""What the classifier keeps of its training images, to tell what is unlike all of them."""

from __future__ import annotations

from typing import Final

import numpy as np

from tlkit.core.rows import Indices
from tlkit.errors import SettingError
from tlkit.evaluation.familiarity import Familiarity
from tlkit.training.cross_validation import Run
from tlkit.training.division import Division
from tlkit.training.fit import Trained

_MOST: Final = 10_000  # images that are looked at: more references have no room
_LEAST: Final = 100  # images that are named, for people to look at
_SEED: Final = 16  # of the choice; any number, but always the same


def references(run: Run, division: Division, trained: Trained) -> Familiarity | None:
    """Return reference features of the training images, with distances of held-out ones.

    As long as the backbone is as it came, every training image can be measured as if it were new. A backbone
    that was fine-tuned has drawn its training images together: only validation images are new to it.

    Args:
        run: What was worked on.
        division: Who learned, and who judged.
        trained: What came of it.

    Returns:
        The references; None where nothing held out could say how far is far: images of a single group,
        features that are no finite numbers or too many for the room, or a fine-tuned backbone without
        validation images.
    """
    held_out = _held_out(division, trained)
    if not len(held_out):
        return None
    groups = run.groups_of(held_out)
    try:
        features = trained.features(held_out)
        if not trained.kept:
            return Familiarity.fit(features, groups=groups)
        learned = trained.features(_some(division.split.train))
        return Familiarity.fit(learned, held_out=features, held_out_groups=groups)
    except SettingError:  # says which of these it is; the classifier is none the worse
        return None


def least_familiar(
    run: Run, division: Division, trained: Trained, known: Familiarity | None
) -> dict[str, float]:
    """Return the images that `references` held out and that are most unlike the others.

    Args:
        run: As in `references`.
        division: As in `references`.
        trained: As in `references`.
        known: What `references` returned.

    Returns:
        Names and familiarity, the most unlike first; at most a hundred.
    """
    if known is None:
        return {}
    held_out = _held_out(division, trained)
    ranks = known.ranks(known.distances)
    least = np.argsort(-known.distances, kind="stable")[:_LEAST]
    return {
        run.listing.examples[index].name: rank
        for index, rank in zip(held_out[least].tolist(), ranks[least].tolist(), strict=True)
    }


def _held_out(division: Division, trained: Trained) -> Indices:
    """Return the images that can be measured as if they were new to the features, ascending."""
    return _some(division.split.validation if trained.kept else division.split.train)


def _some(indices: Indices) -> Indices:
    """Return at most so many of them, drawn at random, ascending."""
    if len(indices) <= _MOST:
        return indices
    return np.sort(np.random.default_rng(_SEED).choice(indices, _MOST, replace=False))
