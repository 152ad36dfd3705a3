"""What a run was asked to do: every default filled in, as text for the record, as data for training."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Self, final

import numpy as np

from tlkit.backbones.adapter import BackboneAdapter
from tlkit.backbones.default import default_backbone
from tlkit.core.progress import say
from tlkit.core.rows import Indices
from tlkit.core.spec import Json, Spec, check_int
from tlkit.core.versions import versions
from tlkit.data.dataset import DatasetSpec, Listing
from tlkit.data.example import Example
from tlkit.data.shapes import Shape
from tlkit.data.split import assign_folds
from tlkit.errors import DatasetError, SettingError
from tlkit.features.frozen_part import Elsewhere, FrozenPart, Needs, listing_facts
from tlkit.features.run_folders import RunFolders
from tlkit.images.augmentation import AugmentationPolicy
from tlkit.training.finetune import TrainingData, device_count
from tlkit.training.head import class_weights
from tlkit.training.schedule import ExactHead, FineTuneSchedule, GradientHead

FOLDS: Final = 5
"""Folds inside the training split that choose the head's strength; fewer for very few images."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class RunSettings:
    """What the run was asked to do, every default filled in."""

    dataset: DatasetSpec
    backbone: BackboneAdapter
    augmentation: AugmentationPolicy
    schedule: FineTuneSchedule
    seed: int

    @classmethod
    def resolve(
        cls,
        data: str | os.PathLike[str] | DatasetSpec,
        backbone: BackboneAdapter | None,
        augmentation: AugmentationPolicy | None,
        schedule: FineTuneSchedule | None,
        seed: int,
    ) -> Self:
        """Check the arguments of a run, and put a default where there is none.

        Raises:
            SettingError: An argument is not of its kind, or two do not go together.
            WeightsError: No backbone is named, and no pretrained one can be had.
        """
        for name, value, kind in (
            ("backbone", backbone, BackboneAdapter),
            ("augmentation", augmentation, AugmentationPolicy),
            ("schedule", schedule, FineTuneSchedule),
        ):
            if not isinstance(value, kind | None):
                raise SettingError(_wrong_piece(name, value, kind))
        device_count()  # refuses a strategy that training does not work with
        schedule = schedule or FineTuneSchedule.standard()
        backbone = backbone or default_backbone()
        if isinstance(schedule.head, GradientHead) and backbone.features == "stages":
            backbone = backbone.with_features("last")  # as the courses that train a head so have it
        return cls(
            dataset=data if isinstance(data, DatasetSpec) else DatasetSpec(data),
            backbone=backbone,
            augmentation=augmentation or AugmentationPolicy.standard(),
            schedule=schedule,
            seed=check_int("seed", seed, at_least=0),
        )

    def fitted_to(
        self, listing: Listing, read_size: Callable[[Example], tuple[int, int]] | None = None
    ) -> Self:
        """Return the same with a plain size in the place of `image_size="fit"`.

        Args:
            listing: What the folder holds.
            read_size: Gives height and width of an image. None: from the header of its file.
        """
        fitted = fitted_backbone(self.backbone, listing, read_size)
        return dataclasses.replace(self, backbone=fitted)

    def written(self, listing: Listing) -> dict[str, dict[str, Json]]:
        """Return every spec as plain JSON values, as far as it can be written down."""
        dataset = self.dataset
        if callable(dataset.group_by):  # a function is kept as what it said
            names = [example.name for example in listing.examples]
            groups = dict(zip(names, listing.groups(dataset.group_by), strict=True))
            dataset = dataclasses.replace(dataset, group_by=groups)
        return {
            "dataset": _config(dataset),
            "backbone": _config(self.backbone),
            "augmentation": _config(self.augmentation),
            "schedule": _config(self.schedule),
        }

    def manifest(self, listing: Listing) -> dict[str, Json]:
        """Return what must be the same for a checkpoint to be of the same run."""
        devices = device_count()
        return {
            **self.written(listing),
            **({"devices": devices} if devices > 1 else {}),  # they change the last digits
            "seed": self.seed,
            "weights and network": self.backbone.fingerprint(),
            "files": listing_facts(listing.examples),
            **({"decided": listing.decided.to_config()} if listing.decided else {}),
            **versions(),
        }

    def frozen_part(
        self, run_folders: RunFolders, *, elsewhere: Elsewhere | None = None
    ) -> FrozenPart:
        """Return the part of the backbone that training leaves alone.

        Args:
            run_folders: Where its passes are kept.
            elsewhere: Runs the images through in the place of this process.
        """
        return FrozenPart(
            self.backbone,
            needs_of(self.schedule),
            self.augmentation,
            self.seed,
            run_folders,
            value_range=self.dataset.value_range,
            elsewhere=elsewhere,
        )

    @property
    def chooses(self) -> bool:
        """Whether the validation split chooses an epoch or a phase."""
        return bool(self.schedule.phases) or isinstance(self.schedule.head, GradientHead)

    def learned_from(
        self,
        listing: Listing,
        groups: Sequence[str],
        train: Indices,
        validation: Indices,
        *,
        viewed: Indices | None = None,
    ) -> TrainingData:
        """Return what training works on.

        Args:
            listing: What the folder holds.
            groups: The group of each of its examples.
            train: Indices of what is learned from, int64 `[T]`.
            validation: Indices of what chooses epoch and phase, int64 `[V]`.
            viewed: Indices of what further views are made of, where that is more than `train`.

        Raises:
            DatasetError: There are too few different images to choose the head's strength by.
        """
        labels = listing.labels.astype(np.int64)
        of_class = np.ones(2)
        of_class[labels[train]] = class_weights(labels[train], self.schedule.class_weight)
        weights = of_class[labels]
        return TrainingData(
            labels=labels.astype(np.float64),
            weights=weights,
            train=train,
            validation=validation,
            viewed=viewed,
            folds=self._folds(listing, groups, train),
            batch_size=self.schedule.batch_size,
            seed=self.seed,
        )

    def _folds(self, listing: Listing, groups: Sequence[str], train: Indices) -> Indices | None:
        """Return the folds that choose the head's strength, where it has to be chosen."""
        head = self.schedule.head
        if not isinstance(head, ExactHead) or head.l2 is not None:
            return None
        known, keys = listing.split_labels[train], [groups[index] for index in train]
        counts = [
            len({k for k, y in zip(keys, known, strict=True) if y == label}) for label in (0, 1)
        ]
        if min(counts) < 2:
            raise DatasetError(
                "at least 2 different images of each class must be left for training, so that the head's "
                f"strength can be chosen; there are {min(counts)} of one. Near-duplicates and groups count "
                "once. Add images, or give the strength: FineTuneSchedule(head=ExactHead(l2=0.01))"
            )
        return assign_folds(
            known,
            keys,
            count=min(FOLDS, *counts),
            seed=self.seed,
            strata=listing.strata(train),
        )


def fitted_backbone(
    backbone: BackboneAdapter,
    listing: Listing,
    read_size: Callable[[Example], tuple[int, int]] | None = None,
) -> BackboneAdapter:
    """Return a backbone with a plain size in the place of `image_size="fit"`, and say which on stderr."""
    if not backbone.fits_images:
        return backbone
    shape = Shape.of_listing(listing, read_size)
    fitted = backbone.fitted_to(shape.aspect)
    height, width = fitted.image_size
    say(f"image size: {height} x {width} pixels (height x width), because {shape}")
    return fitted


def _wrong_piece(name: str, value: object, kind: type) -> str:
    example = {
        "backbone": f"BackboneAdapter({value!r})"
        if isinstance(value, str)
        else "BackboneAdapter(model)",
        "augmentation": "AugmentationPolicy.standard()",
        "schedule": "FineTuneSchedule.standard()",
    }[name]
    return f"`{name}` must be a {kind.__name__}, such as {example}, got {value!r}"


def _config(spec: Spec) -> dict[str, Json]:
    try:
        return spec.to_config()
    except SettingError:  # a model or layers of the user's own
        return {"description": repr(spec)}


def needs_of(schedule: FineTuneSchedule) -> Needs:
    """Return what a schedule needs of the frozen part."""
    starts = tuple((phase.unfreeze_from, phase.unfreeze_fraction) for phase in schedule.phases)
    return Needs(schedule.view_count, starts)
