"""What a comparison of networks found: quality, cost, and which of them is worth its price on this folder."""

from __future__ import annotations

from collections import Counter
from dataclasses import KW_ONLY, dataclass
from typing import final

from tlkit.backbones.adapter import BackboneAdapter
from tlkit.choosing.candidates import name_of
from tlkit.choosing.rule import is_close
from tlkit.core.spec import Spec, check_float, check_int
from tlkit.errors import SettingError
from tlkit.evaluation.evaluate import Evaluation
from tlkit.evaluation.paired import PairedDifference


@final
@dataclass(frozen=True, slots=True, repr=False)
class Candidate(Spec):
    """One network of a comparison: how good it is on the folder, and what it costs.

    A candidate that failed has a `reason`, and nothing else is known of it.

    Attributes:
        backbone: The network.
        evaluation: Metrics over out-of-fold predictions, as `cross_validate` gives them.
        difference: Its log-loss less that of the best candidate, image by image.
        milliseconds: For one image on this machine: the network alone, with the image decoded already.
        parameters: How many numbers the classifier has, its head included.
        reason: Why it failed; empty where it did not.
    """

    backbone: BackboneAdapter
    _: KW_ONLY
    evaluation: Evaluation | None = None
    difference: PairedDifference | None = None
    milliseconds: float | None = None
    parameters: int | None = None
    reason: str = ""

    def __post_init__(self) -> None:
        known = (self.evaluation, self.difference, self.milliseconds, self.parameters)
        if any((value is None) != bool(self.reason) for value in known):
            raise SettingError("a candidate must have either its metrics and costs, or a `reason`")
        if self.milliseconds is not None:
            check_float("milliseconds", self.milliseconds, at_least=0)
        if self.parameters is not None:
            check_int("parameters", self.parameters, at_least=1)

    @property
    def name(self) -> str:
        """The network with its options and size, as `tlkit compare --candidate` takes it."""
        return name_of(self.backbone)

    @property
    def megabytes(self) -> float | None:
        """Size of the network in the classifier's file, in 10⁶ bytes: four for each parameter.

        What familiarity is measured with adds up to 2.6 unless it is left out.
        """
        return None if self.parameters is None else 4e-6 * self.parameters

    @property
    def is_close(self) -> bool:
        """Whether the folder cannot tell it from the best: one standard error of their paired difference."""
        return self.difference is not None and is_close(self.difference)


@final
@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Comparison(Spec):
    """Networks on one folder, the best first. `compare` returns it; `print` it for a table.

    Attributes:
        candidates: The networks, by log-loss; those that failed come last.
        recommended_evaluation: What to expect of the recommendation: the rule was applied anew inside each
            fold, to what that fold's heads learned from, and what it chose there has judged the fold. So the
            metrics do not profit from the choice.
        fold_choices: What it chose in each fold, by name.
        schedule: What was trained, as text.
    """

    candidates: tuple[Candidate, ...]
    recommended_evaluation: Evaluation
    fold_choices: tuple[str, ...]
    schedule: str

    def __post_init__(self) -> None:
        if not self._judged:
            raise SettingError("a comparison needs at least one candidate that did not fail")

    @property
    def best(self) -> BackboneAdapter:
        """The network with the lowest log-loss."""
        return self.best_candidate.backbone

    @property
    def recommended(self) -> BackboneAdapter:
        """The fastest of the networks that this folder cannot tell from the best."""
        return self.recommended_candidate.backbone

    @property
    def best_candidate(self) -> Candidate:
        """The row of `best`."""
        return self._judged[0]

    @property
    def recommended_candidate(self) -> Candidate:
        """The row of `recommended`."""
        return min(self.close_candidates, key=lambda one: one.milliseconds or 0)

    @property
    def close_candidates(self) -> tuple[Candidate, ...]:
        """Those that this folder cannot tell from the best, which is one of them."""
        return tuple(one for one in self._judged if one.is_close)

    @property
    def failed(self) -> tuple[Candidate, ...]:
        """Those that failed, each with its reason."""
        return tuple(one for one in self.candidates if one.reason)

    @property
    def _judged(self) -> tuple[Candidate, ...]:
        return tuple(one for one in self.candidates if not one.reason)

    def __str__(self) -> str:
        found = self.recommended_evaluation
        networks = f"{len(self._judged)} network{'' if len(self._judged) == 1 else 's'}"
        heading = (
            f"{networks} on {found.count:,} images, {found.fold_count} folds, {self.schedule}; "
            f"log-loss {found.base_log_loss:.3f} is knowing only how common each class is"
        )
        lines = [heading, *self._table(), "", *self._advice()]
        if self.failed:
            lines += ["", "left out:", *(f"  {one.name}: {one.reason}" for one in self.failed)]
        return "\n".join(lines)

    def _table(self) -> list[str]:
        rows: list[tuple[str, ...]]
        rows = [("network", "log-loss", "to the best", "accuracy", "ms/image", "MB", "parameters")]
        rows += [_row(one, is_best=one is self.best_candidate) for one in self._judged]
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        return ["  ".join(_aligned(row, widths)).rstrip() for row in rows]

    def _advice(self) -> list[str]:
        chosen, best = self.recommended_candidate, self.best_candidate
        others = [one.name for one in self.close_candidates if one is not chosen]
        why = "it is better than every other by more than one standard error"
        if others:
            why = (
                f"this folder cannot tell it from {_listed(others)}, and it is the fastest of them"
            )
        found = self.recommended_evaluation
        error = found.log_loss_standard_error
        lines = [f"recommended: {chosen.name}: {why}"]
        if chosen is not best and chosen.milliseconds and best.milliseconds:
            times = best.milliseconds / chosen.milliseconds
            lines.append(f"the best, {best.name}, takes {times:.1f} times as long for an image")
        expected = f"log-loss {found.log_loss:.3f}" + ("" if error is None else f" ± {error:.3f}")
        counts = Counter(self.fold_choices).most_common()
        named = ", ".join(f"{name} {count}×" for name, count in counts)
        lines.append(
            f"chosen anew in each fold ({named}) it reaches {expected}, accuracy "
            f"{found.accuracy.brief('95 % CI ')}: what to expect on new images"
        )
        return lines


def _row(one: Candidate, *, is_best: bool) -> tuple[str, ...]:
    if one.evaluation is None or one.difference is None or one.parameters is None:
        return (one.name, one.reason)
    error = one.evaluation.log_loss_standard_error or 0.0
    low, high = (
        max(0.0, one.evaluation.log_loss - 1.96 * error),
        one.evaluation.log_loss + 1.96 * error,
    )
    return (
        one.name,
        f"{one.evaluation.log_loss:.3f} ({low:.3f}–{high:.3f})",
        "best" if is_best else str(one.difference),
        one.evaluation.accuracy.brief(),
        f"{one.milliseconds:.1f}",
        f"{one.megabytes:.1f}",
        f"{one.parameters / 1e6:.1f} M",
    )


def _aligned(row: tuple[str, ...], widths: list[int]) -> list[str]:
    """Put text to the left, and the numbers of the last three columns to the right."""
    first = len(row) - 3
    return [
        f"{cell:<{width}}" if column < first else f"{cell:>{width}}"
        for column, (cell, width) in enumerate(zip(row, widths, strict=True))
    ]


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
