"""Which images the classifier learns from and which ones judge it: a validation split, or folds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, final

import numpy as np

from tlkit.core.rows import Indices
from tlkit.data.dataset import Listing
from tlkit.data.split import Split, split_readable
from tlkit.errors import SettingError
from tlkit.training.schedule import GradientHead
from tlkit.training.settings import RunSettings

FOLDS: Final = 5
"""Folds that judge where nobody says how many; fewer for a class of few images."""

FOLDS_AT_MOST: Final = 20_000
"""Images above which a validation split judges: a fifth of them says enough, and folds would cost minutes."""


@final
@dataclass(frozen=True, slots=True)
class Division:
    """Who learns and who judges.

    Attributes:
        split: The splits. Without validation images all that are not for the test are for training.
        folds: How many folds judge the images that are not for the test; None: none do.
        for_phases: The validation images are kept from learning for the phases alone, to choose among them.
    """

    split: Split
    folds: int | None
    for_phases: bool = False

    @property
    def known(self) -> Indices:
        """All images that are not for the test, int64 `[N]`, ascending."""
        return np.union1d(self.split.train, self.split.validation)


def divide(
    settings: RunSettings,
    listing: Listing,
    groups: Sequence[str],
    readable: Indices,
    folds: int | None,
) -> Division:
    """Decide it, as `DatasetSpec.validation_fraction` says.

    Args:
        settings: What to train, and the spec of the folder.
        listing: What the folder holds.
        groups: The group of each of its examples.
        readable: Indices of the examples that can be read, int64, ascending.
        folds: How many folds were asked for; None leaves it open.

    Raises:
        DatasetError: There are too few images for it.
        SettingError: The schedule needs a validation split, and there is to be none.
    """
    spec, schedule = settings.dataset, settings.schedule
    fraction = spec.validation_fraction

    def split_with(fraction: float) -> Split:
        return split_readable(spec, listing, groups, readable, validation_fraction=fraction)

    everything = split_with(0.0)
    if len(everything.validation) or fraction:
        return Division(split_with(fraction or 0.0), folds)
    if isinstance(schedule.head, GradientHead):
        if fraction == 0:
            raise SettingError(
                "`validation_fraction` must be above 0 for a gradient head: its epochs are chosen on the "
                "validation split. Leave it out, or use an exact head"
            )
        return Division(split_with(spec.default_fraction), folds)
    if folds is not None:
        return Division(everything, folds)
    count = _fold_count(listing, groups, everything.train)
    foldable = count >= 2 and len(everything.train) <= FOLDS_AT_MOST
    if fraction is None and (schedule.phases or not foldable):
        return Division(split_with(spec.default_fraction), None, for_phases=foldable)
    return Division(everything, max(count, 2))


def _fold_count(listing: Listing, groups: Sequence[str], known: Indices) -> int:
    """As many folds as the rarer class has independent groups, and at most `FOLDS`."""
    labels = listing.labels[known]
    members = [{groups[index] for index in known[labels == label].tolist()} for label in (0, 1)]
    return min(FOLDS, *map(len, members))
