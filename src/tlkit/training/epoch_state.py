"""The state of one phase after each epoch, so that a killed run goes on where it stopped."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Self, final

import numpy as np
import numpy.typing as npt

from tlkit.core.atomic import replacing
from tlkit.core.rows import cannot_keep

if TYPE_CHECKING:
    import keras

Arrays = list[npt.NDArray[np.generic]]
_CURVES = ("loss", "accuracy", "validation_loss", "validation_accuracy")


@final
@dataclass(slots=True)
class EpochState:
    """The curves so far, the best weights, and whether the phase ended early."""

    curves: dict[str, tuple[float, ...]] = field(default_factory=lambda: dict.fromkeys(_CURVES, ()))
    best_weights: Arrays = field(default_factory=list)
    finished: bool = False

    @property
    def epochs(self) -> int:
        """How many epochs are done."""
        return len(self.curves["validation_loss"])

    @property
    def best_epoch(self) -> int:
        """The epoch with the lowest validation loss, the first of equal ones; NaN is the highest."""
        return int(np.argmin(np.nan_to_num(self.curves["validation_loss"], nan=np.inf)))

    def add(self, **figures: float) -> bool:
        """Add the figures of one epoch; return whether it is the best so far."""
        self.curves = {name: (*values, figures[name]) for name, values in self.curves.items()}
        return self.best_epoch == self.epochs - 1

    def save(self, path: Path | None, model: keras.Model) -> None:
        """Write the state, the model's variables and the optimizer's: all of it or nothing."""
        if path is None:
            return
        state = {"curves": self.curves, "finished": self.finished}
        arrays = {"state": np.frombuffer(json.dumps(state).encode(), np.uint8)}
        groups = {
            "now": [variable.numpy() for variable in _variables(model)],
            "best": self.best_weights,
        }
        for group, values in groups.items():
            arrays |= {f"{group}_{index}": value for index, value in enumerate(values)}
        try:
            with replacing(path) as partial:
                np.savez(partial, **arrays)  # type: ignore[arg-type] # its stub takes no mapping
        except OSError as error:
            raise cannot_keep(path.parent, error) from error

    @classmethod
    def resume(cls, path: Path | None, model: keras.Model) -> Self:
        """Read the state back and set the model's and the optimizer's variables.

        Without a file, or with a damaged one, the phase starts anew, and ends the same.
        """
        if path is None or not path.exists():
            return cls()
        variables = _variables(model)
        try:
            with path.open("rb") as file, np.load(file) as arrays:
                state = json.loads(arrays["state"].tobytes())
                now = [arrays[f"now_{index}"] for index in range(len(variables))]
                best = [arrays[f"best_{index}"] for index in range(len(model.weights))]
        except Exception:  # noqa: BLE001 - zipfile, zlib and NumPy raise many kinds for damaged files
            return cls()
        for variable, value in zip(variables, now, strict=True):
            variable.assign(value)
        curves = {name: tuple(state["curves"][name]) for name in _CURVES}
        return cls(curves=curves, best_weights=best, finished=state["finished"])


def _variables(model: keras.Model) -> list[keras.Variable]:
    """Everything that the next step depends on: weights, the states of dropout, the optimizer."""
    return [*model.variables, *model.optimizer.variables]
