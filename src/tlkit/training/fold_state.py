"""What one fold found, kept between processes: a killed run does not judge it again."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TypeAlias, final

import numpy as np
import numpy.typing as npt

from tlkit.core.atomic import replacing
from tlkit.core.rows import cannot_keep
from tlkit.evaluation.history import PhaseHistory

Floats: TypeAlias = npt.NDArray[np.float64]


@final
@dataclass(frozen=True, slots=True)
class Fold:
    """What one fold found.

    Attributes:
        tried: The logits that the head and each phase give to its images, float64 `[1 + phases, J]`.
        phases: What happened in each phase.
        inner: The logit of each image that it learned from, by a head of an inner fold that never saw it,
            float64 `[T]`. It is not written; None where it was read back, and where there is no such head.
    """

    tried: Floats
    phases: tuple[PhaseHistory, ...]
    inner: Floats | None = None

    def write(self, path: Path | None) -> None:
        """Write it whole; None keeps nothing."""
        if path is None or path.exists():
            return
        phases = json.dumps([phase.to_config() for phase in self.phases])
        try:
            with replacing(path) as partial:
                text = np.frombuffer(phases.encode(), np.uint8)
                np.savez(partial, tried=self.tried, phases=text)
        except OSError as error:
            raise cannot_keep(path.parent, error) from error

    @classmethod
    def read(cls, path: Path | None) -> Self | None:
        """Read it back; None where there is nothing, or a damaged file."""
        if path is None or not path.exists():
            return None
        try:
            with path.open("rb") as file, np.load(file) as arrays:
                phases = json.loads(arrays["phases"].tobytes())
                tried: Floats = arrays["tried"]
                return cls(tried, tuple(PhaseHistory.from_config(phase) for phase in phases))
        except Exception:  # noqa: BLE001 - zipfile, zlib and NumPy raise many kinds for damaged files
            path.unlink(missing_ok=True)
            return None
