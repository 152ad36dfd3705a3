"""Where the numbers of figures come from: a folder of photographs, and weights of MobileNetV2."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeAlias, final

import numpy as np
import numpy.typing as npt

from tlkit import AugmentationPolicy, BackboneAdapter, DatasetSpec, FineTuneSchedule
from tlkit.core.rows import Indices
from tlkit.data.audit import audit_of
from tlkit.data.split import Split, assign_folds, assign_parts
from tlkit.features.frozen_part import FrozenPart
from tlkit.features.passes import Originals
from tlkit.features.run_folders import RunFolders
from tlkit.features.views import Views
from tlkit.training.settings import needs_of

Floats: TypeAlias = npt.NDArray[np.float64]
Features: TypeAlias = npt.NDArray[np.float32]
FOLDS = 5


@final
@dataclass(frozen=True, slots=True)
class Sources:
    """The folder of photographs, and that of the weights files."""

    data: Path
    weights: Path

    def read(
        self,
        alpha: float,
        size: int,
        *,
        schedule: FineTuneSchedule | None = None,
        policy: AugmentationPolicy | None = None,
    ) -> Seen:
        """Run every photograph through the frozen part of MobileNetV2 of this width and image size."""
        file = self.weights / f"mobilenet_v2_{alpha}_224_no_top.weights.h5"
        adapter = BackboneAdapter(
            "MobileNetV2", image_size=size, alpha=alpha, weights=file, features="last"
        )
        return Seen(
            DatasetSpec(self.data),
            adapter,
            schedule or FineTuneSchedule.head_only(),
            policy or AugmentationPolicy.none(),
        )


@final
class Seen:
    """A folder on the far side of the frozen part."""

    def __init__(
        self,
        spec: DatasetSpec,
        adapter: BackboneAdapter,
        schedule: FineTuneSchedule,
        policy: AugmentationPolicy,
    ) -> None:
        self.spec = spec
        self.listing = spec.listing()
        self.labels = self.listing.labels.astype(np.int64)
        self.everything: Indices = np.arange(len(self.labels))
        self.frozen = FrozenPart(adapter, needs_of(schedule), policy, 0, RunFolders())
        self.originals: Originals = self.frozen.read(self.listing.examples, stop_at_bad_file=True)

    @cached_property
    def groups(self) -> list[str]:
        """The group of each photograph: near-duplicates share one."""
        seen = self.originals
        found = audit_of(self.spec, self.listing, seen.readable, seen.facts, seen.bad_files)
        return found.groups(self.listing)

    @cached_property
    def features(self) -> Features:
        """What the frozen backbone says about each photograph, `[N, D]`."""
        return self.originals.outputs[0].read(self.everything).astype(np.float32)

    @property
    def activations(self) -> Views:
        """The photographs themselves at the cut, without further views."""
        return Views(self.originals.outputs[1], None, self.everything[:0])

    def views(self, count: int) -> Views:
        """Make further views of every photograph, and run them up to the cut."""
        [made] = self.frozen.views(
            self.originals, self.everything, count, features=False, activations=True
        )
        return made

    def split(self, seed: int) -> Split:
        """Set a fifth of the photographs aside, as `transfer_classifier` does with this seed."""
        return assign_parts(
            self.labels, self.groups, validation_fraction=0.2, test_fraction=0.0, seed=seed
        )

    def folds(self, among: Indices, seed: int) -> npt.NDArray[np.int64]:
        """Deal these photographs out to folds."""
        groups = [self.groups[index] for index in among]
        return assign_folds(self.labels[among], groups, count=FOLDS, seed=seed)
