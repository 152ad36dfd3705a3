"""Minimise the L2-regularised logistic loss by Newton's method: the arithmetic behind the head.

Rows are converted to float64 a block at a time, the next block while the last is worked on, so memory stays
bounded however many there are. Two solvers of Newton's linear system share one loop: one factorises the
Hessian, the other runs many problems side by side with conjugate gradients, a pass over the rows for each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from tlkit.core.rows import FeatureRows, Indices
from tlkit.errors import SettingError
from tlkit.evaluation.log_loss import log_losses, sigmoid

Floats: TypeAlias = npt.NDArray[np.float64]
Ints: TypeAlias = npt.NDArray[np.int64]
Solver: TypeAlias = Callable[[Floats, Floats], tuple[Floats, Floats]]
Preconditioner: TypeAlias = Callable[[Floats], Callable[[Floats], Floats]]
"""From the curvature [N, K] of the loss: what nearly solves Newton's systems for K right sides."""

BLOCK_NUMBERS: Final = 1 << 19  # float64 numbers converted at a time: 4 MB
_PANEL: Final = 256  # rows of a Hessian added at a time
NEWTON_STEPS: Final = 500  # some 30 are needed at worst; a loop that cannot end would be worse


@dataclass(frozen=True, slots=True, eq=False)
class CentredRows:
    """Rows of features, centred and scaled, read in blocks; the last coefficient is the bias."""

    features: FeatureRows
    centre: Floats
    scale: Floats | None = None

    @classmethod
    def centred(cls, features: FeatureRows, weights: Floats) -> CentredRows:
        """Move the weighted mean to zero: the same problem, better conditioned."""
        rows = cls(features, np.zeros(features.shape[1]))
        return cls(features, rows.transposed_times(weights[:, None])[:-1, 0])

    @property
    def width(self) -> int:
        """How many numbers a row has."""
        return int(self.features.shape[1])

    def blocks(self) -> Iterator[tuple[slice, Floats]]:
        """Yield the rows a block at a time, centred and in float64, each with its place."""
        moved = self.scale is not None or bool(self.centre.any())
        height = max(1, BLOCK_NUMBERS // max(1, self.width))
        starts = range(0, len(self.features), height)

        def read(start: int) -> tuple[slice, Floats]:
            part = slice(start, start + height)
            if not moved:
                return part, np.asarray(self.features[part], np.float64)
            block = np.array(self.features[part], np.float64)
            block -= self.centre  # in place: a third large array costs more than all the arithmetic
            if self.scale is not None:
                block *= self.scale
            return part, block

        if len(starts) < 2:
            yield from map(read, starts)
            return
        with ThreadPoolExecutor(1, thread_name_prefix="tlkit-rows") as pool:
            ahead = pool.submit(read, starts[0])
            for start in starts[1:]:
                block, ahead = ahead.result(), pool.submit(read, start)
                yield block
            yield ahead.result()

    def times(self, coefficients: Floats) -> Floats:
        """Logits [N, K] of coefficients [D + 1, K]."""
        logits = np.empty((len(self.features), coefficients.shape[1]))
        for part, block in self.blocks():
            logits[part] = block @ coefficients[:-1] + coefficients[-1]
        return logits

    def own_logits(self, coefficients: Floats, columns: Ints) -> Floats:
        """Logits [N]: of each row by the column of the coefficients [D + 1, K] that is its own."""
        logits = np.empty(len(self.features))
        for part, block in self.blocks():
            each = block @ coefficients[:-1] + coefficients[-1]
            logits[part] = np.take_along_axis(each, columns[part, None], axis=1)[:, 0]
        return logits

    def transposed_times(self, values: Floats) -> Floats:
        """Sums [D + 1, K] over the rows, weighted by values [N, K]."""
        sums = np.zeros((self.width + 1, values.shape[1]))
        for part, block in self.blocks():
            sums[:-1] += block.T @ values[part]
            sums[-1] += values[part].sum(axis=0)
        return sums

    def gram_times(self, weights: Floats, coefficients: Floats) -> tuple[Floats, Floats]:
        """Logits [N, K], and the sums [D + 1, K] over the rows weighted by them and by weights [N, K]."""
        logits, sums = np.empty_like(weights), np.zeros_like(coefficients)
        for part, block in self.blocks():
            logits[part] = block @ coefficients[:-1] + coefficients[-1]
            weighted = weights[part] * logits[part]
            sums[:-1] += block.T @ weighted
            sums[-1] += weighted.sum(axis=0)
        return logits, sums

    def second_moments(self, weights: Floats) -> Floats:
        """The weighted sum of outer products, [D + 1, D + 1]."""
        moments = np.zeros((self.width + 1, self.width + 1))
        for part, block in self.blocks():
            root = np.sqrt(weights[part])
            scaled = np.column_stack([block * root[:, None], root])
            # In panels, for the whole product would be as large again; nothing below the diagonal.
            for first in range(0, len(moments), _PANEL):
                panel = slice(first, first + _PANEL)
                moments[panel, first:] += scaled[:, panel].T @ scaled[:, first:]
        for first in range(0, len(moments), _PANEL):
            last = first + _PANEL
            moments[last:, first:last] = moments[first:last, last:].T
        return moments

    def some(self, indices: Indices) -> CentredRows:
        """These rows alone, held in memory."""
        return CentredRows(self.features[indices], self.centre, self.scale)

    def variances(self, weights: Floats) -> Floats:
        """The weighted mean square of each feature [D]; of weights [N] that sum to 1."""
        squares = np.zeros(self.width)
        for part, block in self.blocks():
            squares += weights[part] @ np.square(block)
        return squares

    def times_matrix(
        self, matrix: npt.NDArray[np.floating], dtype: npt.DTypeLike = np.float64
    ) -> CentredRows:
        """The rows in other coordinates, held in memory."""
        moved = np.empty((len(self.features), matrix.shape[1]), dtype)
        for part, block in self.blocks():
            moved[part] = block @ matrix
        return CentredRows(moved, np.zeros(matrix.shape[1]))

    def in_own_span(self) -> tuple[CentredRows, Floats | None]:
        """Fewer rows than features: the same rows in N coordinates, and the basis [D, N] that leads back."""
        if len(self.features) >= self.width:
            return self, None
        moved = np.concatenate([block for _, block in self.blocks()])
        basis = np.linalg.qr(moved.T)[0]
        return self.times_matrix(basis), basis


def minimise(
    rows: CentredRows,
    targets: Ints,
    weights: Floats,
    l2: float,
    start: Floats,
    solver: Solver,
    tolerance: float,
) -> Floats:
    """Newton's method for K problems on the same rows: weights [N, K] in, coefficients [D + 1, K] out."""
    coefficients, logits = start.copy(), rows.times(start)
    for _ in range(NEWTON_STEPS):
        probabilities = sigmoid(logits)
        gradient = rows.transposed_times(weights * (probabilities - targets[:, None]))
        gradient[:-1] += l2 * coefficients[:-1]
        direction, change = solver(gradient, weights * probabilities * (1 - probabilities))
        slope = (gradient * direction).sum(axis=0)  # minus twice what is left to gain
        step = _line_search(
            targets, weights, l2, (coefficients, direction), (logits, change), slope
        )
        coefficients += step * direction
        logits += step * change
        if (-slope <= tolerance).all() or not step.any():
            return coefficients
    raise SettingError(
        f"the head did not converge in {NEWTON_STEPS} steps at `l2` = {l2:g}: give a larger `l2`, or "
        "features without columns that differ by many orders of magnitude"
    )


def _line_search(
    targets: Ints,
    weights: Floats,
    l2: float,
    line: tuple[Floats, Floats],
    logits: tuple[Floats, Floats],
    slope: Floats,
) -> Floats:
    """Halve each problem's step until its objective falls; 0 where rounding hides any gain."""
    (place, direction), (here, change) = (line[0][:-1], line[1][:-1]), logits

    def objective(step: Floats) -> Floats:
        losses = weights * log_losses(targets[:, None], here + step * change)
        penalties = l2 / 2 * (place + step * direction) ** 2
        return np.asarray(losses.sum(axis=0) + penalties.sum(axis=0))

    step = np.ones_like(slope)
    before = objective(0 * step)
    for _ in range(60):
        # The slack lets the last steps through, whose gain is below the rounding of the objective.
        worse = ~(objective(step) <= before + 1e-4 * step * slope + 1e-14 * (1 + np.abs(before)))
        if not worse.any():
            return step
        step[worse] /= 2
    return np.where(worse, 0.0, step)


@dataclass(slots=True, eq=False)
class Factorised:
    """Solve Newton's system of one problem by the inverse Hessian, kept while the steps still shrink fast."""

    rows: CentredRows
    l2: float
    inverse: Floats = field(default_factory=lambda: np.empty((0, 0)))
    last_gain: float = np.inf

    def __call__(self, gradient: Floats, curvature: Floats) -> tuple[Floats, Floats]:
        """Return Newton's direction and how much of the objective it promises to gain."""
        if self.inverse.size:
            direction = -self.inverse @ gradient
            gain = -float((gradient * direction).sum())
        if not self.inverse.size or gain > self.last_gain / 25:
            self.inverse = self._inverse_hessian(curvature[:, 0])
            direction = -self.inverse @ gradient
            gain = -float((gradient * direction).sum())
        self.last_gain = gain
        return direction, self.rows.times(direction)

    def _inverse_hessian(self, curvature: Floats) -> Floats:
        hessian = self.rows.second_moments(curvature)
        diagonal = np.diagonal(hessian).copy()
        diagonal[:-1] += self.l2
        # A unit diagonal makes columns of any scale alike; the grain of ridge keeps it invertible.
        scale = 1 / np.sqrt(np.maximum(diagonal, np.finfo(np.float64).tiny))
        hessian *= scale * scale[:, None]
        np.fill_diagonal(hessian, 1 + 1e-13)
        return np.asarray(np.linalg.inv(hessian) * scale * scale[:, None])


@dataclass(frozen=True, slots=True, eq=False)
class ConjugateGradients:
    """Solve Newton's systems of K problems side by side, each step a pass over the rows."""

    rows: CentredRows
    l2: float
    preconditioner: Preconditioner
    least: float = 0.0  # what is left to gain that nobody needs

    def __call__(self, gradient: Floats, curvature: Floats) -> tuple[Floats, Floats]:
        """Return Newton's direction and how much of the objective it promises to gain."""
        nearly_solved = self.preconditioner(curvature)
        direction, change = np.zeros_like(gradient), np.zeros_like(curvature)
        residual = -gradient
        search = nearly_solved(residual)
        size = (residual * search).sum(axis=0)
        # Far from the answer a rough step is as good as an exact one.
        enough = np.maximum(size * np.minimum(0.1, np.maximum(size, 1e-6)), self.least)
        for _ in range(4 * len(gradient)):
            along, product = self.rows.gram_times(curvature, search)
            product[:-1] += self.l2 * search[:-1]
            length = _ratio(size, (search * product).sum(axis=0))
            direction += length * search
            change += length * along
            residual -= length * product
            scaled = nearly_solved(residual)
            previous, size = size, (residual * scaled).sum(axis=0)
            if (size <= enough).all():
                break
            search = scaled + _ratio(size, previous) * search
        return direction, change


def diagonal(variances: Floats, l2: float) -> Preconditioner:
    """Return what nearly solves Newton's systems in coordinates that have these variances [D]."""

    def at(curvature: Floats) -> Callable[[Floats], Floats]:
        mean_curvature = np.maximum(curvature.sum(axis=0), np.finfo(np.float64).tiny)
        inverse = 1 / np.vstack([variances[:, None] * mean_curvature + l2, mean_curvature])
        return lambda residual: inverse * residual

    return at


def _ratio(above: Floats, below: Floats) -> Floats:
    return np.divide(above, below, out=np.zeros_like(above), where=below > 0)
