"""Where a classifier is worse than elsewhere: metrics of slices of the images, told apart from chance.

A slice is the images that share a fact: a camera, a site, a format of files. Among many slices some are worse
by chance alone, so that each is compared with all other images by an exact test, and the tests are corrected
for their number.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Self, TypeAlias, final

import numpy as np
import numpy.typing as npt

from tlkit.core.spec import Spec, check_choice, check_float, check_int
from tlkit.errors import SettingError, printable
from tlkit.evaluation.rate import Rate, share

Floats: TypeAlias = npt.NDArray[np.float64]
Ints: TypeAlias = npt.NDArray[np.int64]
Stratum: TypeAlias = tuple[int, int, int]
_Groups: TypeAlias = dict[str, tuple[float, float]]

_DRAWS: Final = 2000  # how often groups are dealt anew, at most
_AT_ONCE: Final = 100
_ENOUGH: Final = 20
_TINY: Final = 1e-12

LEVEL: Final = 0.05
"""How often, at most, any slice of a classifier is marked that is as good as the rest."""

METRICS: Final = ("accuracy", "recall", "specificity")
"""What slices are compared by."""


@final
@dataclass(frozen=True, slots=True, repr=False)
class Facet(Spec):
    """A fact by which images are told apart, and what it is for each of them.

    Attributes:
        name: Of the fact, such as "format".
        values: What it can be, each once.
        codes: The place among `values` for each image, -1 where it is not known.
    """

    name: str
    values: tuple[str, ...]
    codes: tuple[int, ...]

    def __post_init__(self) -> None:
        if len({*self.values}) != len(self.values):
            raise SettingError(f"`values` of '{printable(self.name)}' must differ")
        if not {*self.codes} <= {*range(-1, len(self.values))}:
            raise SettingError(f"`codes` of '{printable(self.name)}' must be places among `values`")

    @classmethod
    def of(cls, name: str, facts: Iterable[str | None]) -> Self:
        """Gather what is said of each image.

        Args:
            name: Of the fact.
            facts: What it is for each image; None or "" where it is not known.

        Examples:
            >>> Facet.of("camera", ["Canon", None, "Nikon", "Canon"]).codes
            (0, -1, 1, 0)
        """
        found = [fact or None for fact in facts]
        values = sorted({fact for fact in found if fact is not None})
        place: dict[str | None, int] = {value: number for number, value in enumerate(values)}
        return cls(name, tuple(values), tuple(place.get(fact, -1) for fact in found))

    def chosen(self, indices: Sequence[int] | Ints) -> Self:
        """Return the fact of some of the images, in this order."""
        codes = np.array(self.codes, np.int64)[np.asarray(indices, np.int64)]
        used = np.unique(codes[codes >= 0])
        place = np.full(len(self.values) + 1, -1)
        place[used] = np.arange(len(used))
        values = tuple(self.values[code] for code in used.tolist())
        return type(self)(self.name, values, tuple(place[codes].tolist()))


@final
@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Slice(Spec):
    """Metrics of the images that share a fact, and whether they are worse than those of all others.

    Attributes:
        facet: The fact, such as "format".
        value: What it is for these images, such as "PNG".
        true_positives: Positives called positive.
        false_positives: Negatives called positive.
        true_negatives: Negatives called negative.
        false_negatives: Positives called negative.
        p_values: For each metric that could be compared, how often chance alone makes any of all slices look
            so much worse than the rest: one-sided, exact, corrected for the number of comparisons.
    """

    facet: str
    value: str
    true_positives: int
    false_positives: int
    true_negatives: int
    false_negatives: int
    p_values: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("true_positives", "false_positives", "true_negatives", "false_negatives"):
            check_int(name, getattr(self, name), at_least=0)
        check_int("count", self.count, at_least=1)
        for metric, value in self.p_values.items():
            check_choice("metric", metric, METRICS)
            check_float("p_values", value, at_least=0, at_most=1)

    @property
    def count(self) -> int:
        """How many images."""
        return (
            self.true_positives + self.false_positives + self.true_negatives + self.false_negatives
        )

    @property
    def accuracy(self) -> Rate:
        """Share of images called right, with Wilson's interval."""
        return Rate.wilson(self.true_positives + self.true_negatives, self.count)

    @property
    def recall(self) -> Rate | None:
        """Share of the positives that were found; None when there are none."""
        return share(self.true_positives, self.true_positives + self.false_negatives)

    @property
    def specificity(self) -> Rate | None:
        """Share of the negatives that were left alone; None when there are none."""
        return share(self.true_negatives, self.true_negatives + self.false_positives)

    @property
    def worse(self) -> tuple[str, ...]:
        """The metrics by which it is worse than the rest, beyond chance."""
        return tuple(name for name in METRICS if self.p_values.get(name, 1.0) <= LEVEL)

    def __str__(self) -> str:
        said = []
        for name in METRICS:
            rate: Rate | None = getattr(self, name)
            if rate is not None:
                is_worse = name in self.worse
                mark = f", worse than the rest (p = {self.p_values[name]:.2g})" if is_worse else ""
                said.append(f"{name} {rate.brief()}{mark}")
        images = f"{self.count:,} image{'' if self.count == 1 else 's'}"
        return f"{self.facet} '{printable(self.value)}', {images}: {'; '.join(said)}"

    __repr__ = __str__


def slices_of(
    facets: Sequence[Facet],
    labels: npt.ArrayLike,
    called: npt.ArrayLike,
    *,
    groups: Sequence[int] = (),
) -> tuple[Slice, ...]:
    """Count each slice, and compare it with all other images.

    Accuracy is compared within each class, so that a slice is not marked for having more of the class that is
    hard; recall and specificity are compared each in its own class. Each comparison is Fisher's exact test,
    one-sided, and for accuracy its extension to strata. Comparisons that no outcome could decide, as slices
    are too small, are left out (Tarone); Holm's correction covers all others, so that the chance of marking
    any slice that is as good as the rest is at most 5 %, however many there are and however they overlap.

    Images of one group, such as a patient, are right or wrong together. Where groups are given, they are
    dealt out anew to the slices instead of images, 2,000 times, and a slice is compared with what it would
    then be, by the sum of its surplus of mistakes over the spread of the groups' (studentized, so that groups
    may be of different sizes).

    Args:
        facets: Facts of the images; one that is the same for all makes no slices.
        labels: [N] of 0 and 1; 1 is the positive class.
        called: [N] of truth values: which images were called positive.
        groups: [N] of numbers: what belongs together. Empty: every image is on its own.

    Returns:
        The slices, facet by facet, in the order of their values.

    Raises:
        SettingError: The arguments are not equally long.

    References:
        R. A. Fisher (1935), The logic of inductive inference, Journal of the Royal Statistical Society 98:
        39-82. R. E. Tarone (1990), A modified Bonferroni method for discrete data, Biometrics 46: 515-522.
        S. Holm (1979), A simple sequentially rejective multiple test procedure, Scandinavian Journal of
        Statistics 6: 65-70.

    Examples:
        >>> facet = Facet.of("site", ["a"] * 6 + ["b"] * 6)
        >>> for one in slices_of([facet], [1] * 12, [True] * 6 + [False] * 6):
        ...     print(one.value, one.recall, one.worse)
        a 1.00 (95 % CI 0.61–1.00, n = 6) ()
        b 0.00 (95 % CI 0.00–0.39, n = 6) ('recall',)
    """
    positive, said = np.asarray(labels) == 1, np.asarray(called, bool)
    counted: list[tuple[str, str, Ints]] = []
    together: list[_Groups] = []
    for facet in facets:
        if len(facet.codes) != len(positive) or positive.shape != said.shape:
            raise SettingError(
                f"`facets` must say something of each of the {len(positive)} images, but "
                f"'{printable(facet.name)}' does of {len(facet.codes)}"
            )
        if len(facet.values) > 1:
            codes = np.array(facet.codes, np.int64)
            table = np.zeros((len(facet.values), 2, 2), np.int64)  # slice, label, called
            known = codes >= 0
            cell = (codes[known], positive[known].astype(int), said[known].astype(int))
            np.add.at(table, cell, 1)
            there = np.flatnonzero(table.sum(axis=(1, 2))).tolist()
            counted += [(facet.name, facet.values[code], table[code]) for code in there]
            if len(groups):
                numbers = np.asarray(groups, np.int64)
                found = _of_groups(len(facet.values), codes, numbers, positive, said)
                together += [found[code] for code in there]
    return _marked(counted, positive, said, together)


def _marked(
    counted: Sequence[tuple[str, str, Ints]],
    positive: npt.NDArray[np.bool_],
    said: npt.NDArray[np.bool_],
    together: Sequence[_Groups],
) -> tuple[Slice, ...]:
    """Test every slice against the rest, image by image or by groups, and correct for their number."""
    sizes = (int((~positive).sum()), int(positive.sum()))
    wrong = (int((~positive & said).sum()), int((positive & ~said).sum()))
    of_strata = _Chances(sizes, wrong)
    asked: list[tuple[int, str]] = []
    found: list[tuple[float, float]] = []
    for number, (_, _, table) in enumerate(counted):
        (tn, fp), (fn, tp) = table.tolist()
        found_of, left_of = (1, fn, fn + tp), (0, fp, fp + tn)
        strata: dict[str, tuple[Stratum, ...]] = {"recall": (found_of,), "specificity": (left_of,)}
        if fn + tp and fp + tn:  # of one class, accuracy is the one metric that there is
            strata["accuracy"] = (found_of, left_of)
        for metric, stratum in strata.items():
            if sum(inside for _, _, inside in stratum):
                asked.append((number, metric))
                found.append(together[number][metric] if together else of_strata(stratum))
    adjusted = adjusted_p_values([p for p, _ in found], [least for _, least in found])
    p_values: list[dict[str, float]] = [{} for _ in counted]
    for (number, metric), p in zip(asked, adjusted, strict=True):
        p_values[number][metric] = p
    return tuple(
        Slice(
            facet=facet,
            value=value,
            true_positives=int(table[1, 1]),
            false_positives=int(table[0, 1]),
            true_negatives=int(table[0, 0]),
            false_negatives=int(table[1, 0]),
            p_values={name: of_slice[name] for name in METRICS if name in of_slice},
        )
        for (facet, value, table), of_slice in zip(counted, p_values, strict=True)
    )


def _of_groups(
    slice_count: int,
    codes: Ints,
    groups: Ints,
    positive: npt.NDArray[np.bool_],
    said: npt.NDArray[np.bool_],
) -> list[_Groups]:
    """Return for each slice of a facet, by metric, how often chance makes it look so bad, and at least.

    A group of which the fact is not the same throughout counts as several, one a slice: its parts resemble
    each other across slices, which makes differences between these smaller, and so the test careful.
    """
    mistaken = (positive != said).astype(np.float64)
    pairs, unit_of = np.unique(np.stack([groups, codes]), axis=1, return_inverse=True)
    unit_of, slice_of = unit_of.reshape(-1), pairs[1]
    found: list[_Groups] = [{} for _ in range(slice_count)]
    for metric, chosen in zip(METRICS, (positive | True, positive, ~positive), strict=True):
        if not chosen.any():
            continue
        surplus = np.zeros(len(slice_of))
        for of_class in (chosen & positive, chosen & ~positive):
            if of_class.any():
                more = mistaken[of_class] - mistaken[of_class].mean()
                np.add.at(surplus, unit_of[of_class], more)
        units = np.unique(unit_of[chosen])
        chances = _dealt_anew(surplus[units], slice_of[units])
        for code, chance in chances.items():
            found[code][metric] = chance
    return found


def _dealt_anew(surplus: Floats, slice_of: Ints) -> dict[int, tuple[float, float]]:
    """Compare the groups in each slice with as many drawn by chance, as often as it takes to tell.

    A slice that `_ENOUGH` draws have surpassed needs no more of them (J. Besag and P. Clifford 1991,
    Sequential Monte Carlo p-values, Biometrika 78: 301-304).

    Args:
        surplus: Of mistakes, one for each group.
        slice_of: The slice of each group; -1 in none.

    Returns:
        For each slice how often chance is as bad, and how often at least, whatever was found.
    """
    random, count = np.random.default_rng(0), len(surplus)
    there = [code for code in np.unique(slice_of).tolist() if code >= 0]
    sizes = np.array([(slice_of == code).sum() for code in there], np.int64)
    scores = np.array([_score(surplus[slice_of == code]) for code in there])
    surpassed: list[npt.NDArray[np.bool_]] = []
    draws = 0
    while draws < _DRAWS:
        drawn = random.permuted(np.tile(surplus, (_AT_ONCE, 1)), axis=1)
        sums, squares = np.cumsum(drawn, axis=1), np.cumsum(drawn**2, axis=1)
        by_chance = sums[:, sizes - 1] / np.sqrt(np.maximum(squares[:, sizes - 1], _TINY))
        surpassed.append(by_chance >= scores - 1e-9)
        draws += _AT_ONCE
        if (np.concatenate(surpassed).sum(axis=0) >= _ENOUGH).all():
            break  # nothing that more of them could tell
    found: dict[int, tuple[float, float]] = {}
    for code, size, times in zip(there, sizes.tolist(), np.concatenate(surpassed).T, strict=True):
        when = np.flatnonzero(times)
        p = (1 + len(when)) / (draws + 1)
        if len(when) >= _ENOUGH:
            p = _ENOUGH / (int(when[_ENOUGH - 1]) + 1)
        found[code] = p, max(1 / (_DRAWS + 1), 1 / math.comb(count, size))
    return found


def _score(surplus: Floats) -> float:
    return float(surplus.sum() / math.sqrt(max(float((surplus**2).sum()), _TINY)))


class _Chances:
    """How often chance alone puts so many mistakes into a slice.

    Given how many mistakes there are in each class, those in a slice are hypergeometric in each, and
    independent between classes.

    Args:
        sizes: Images in all, by label.
        wrong: Mistakes in all, by label.
    """

    def __init__(self, sizes: tuple[int, int], wrong: tuple[int, int]) -> None:
        self._sizes, self._wrong = sizes, wrong
        numbers = np.arange(1, sum(sizes) + 1)
        self._log_factorials = np.concatenate([[0.0], np.cumsum(np.log(numbers))])
        self._known: dict[tuple[Stratum, ...], tuple[float, float]] = {}
        self._laws: dict[tuple[int, int], Floats] = {}

    def __call__(self, stratum: tuple[Stratum, ...]) -> tuple[float, float]:
        """Return the chance of so many mistakes or more, and that of the most that there could be.

        Args:
            stratum: For each label that counts: the label, mistakes in the slice, images in the slice.
        """
        if stratum not in self._known:
            law, least = np.ones(1), 0
            for label, mistakes, inside in stratum:
                law = np.convolve(law, self._law(label, inside))
                least += mistakes - self._fewest(label, inside)
            self._known[stratum] = min(1.0, float(law[least:].sum())), min(1.0, float(law[-1]))
        return self._known[stratum]

    def _fewest(self, label: int, inside: int) -> int:
        return max(0, inside + self._wrong[label] - self._sizes[label])

    def _law(self, label: int, inside: int) -> Floats:
        """Return the chance of each number of mistakes in a slice, from the fewest on."""
        if (label, inside) not in self._laws:
            size, wrong = self._sizes[label], self._wrong[label]
            drawn = np.arange(self._fewest(label, inside), min(inside, wrong) + 1)
            logs = self._log_choose(wrong, drawn) + self._log_choose(size - wrong, inside - drawn)
            whole = self._log_choose(size, np.array([inside]))
            self._laws[label, inside] = np.exp(logs - whole)
        return self._laws[label, inside]

    def _log_choose(self, n: int, k: Ints) -> Floats:
        f = self._log_factorials
        return np.asarray(f[n] - f[k] - f[n - k])


def adjusted_p_values(p_values: Sequence[float], least: Sequence[float]) -> list[float]:
    """Correct p-values for their number: Holm's step-down, among those that could be small at all.

    Args:
        p_values: Of the tests, each of which is exact: at most a share `p` of chance outcomes is as extreme.
        least: The smallest p-value that each test could have had, whatever the outcome.

    Returns:
        For each test the level at which it is significant among all of them; 1 where it never could be.

    References:
        As in `slices_of`.

    Examples:
        >>> adjusted_p_values([0.01, 0.04, 0.5], [0.001, 0.001, 0.5])
        [0.02, 0.04, 1.0]
    """
    ascending = np.sort(np.array(least, np.float64))
    count = next(
        (k for k in range(1, len(least) + 1) if (ascending <= LEVEL / k).sum() <= k), len(least)
    )
    tested = [i for i, p in enumerate(least) if p <= LEVEL / count]
    adjusted, highest = [1.0] * len(p_values), 0.0
    for place, number in enumerate(sorted(tested, key=lambda i: p_values[i])):
        highest = max(highest, min(1.0, (len(tested) - place) * p_values[number]))
        adjusted[number] = highest
    return adjusted
