"""Which example belongs to which part or fold: a function of the data, not an event.

Examples that share a group stay together. Groups are ranked by a hash of the seed and their own name, so
an example's place depends neither on the order of the files nor on the machine, and hardly on what else
is in the folder. Ranking happens within three strata: groups of one class, groups of the other, and
groups that hold both.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias, final

import numpy as np
import numpy.typing as npt

from tlkit.core.rows import Indices
from tlkit.core.spec import check_choice, check_float, check_int
from tlkit.data.dataset import DatasetSpec, Listing
from tlkit.data.layout import PARTS
from tlkit.errors import DatasetError, SettingError, printable

Labels: TypeAlias = npt.NDArray[np.integer] | Sequence[int]

_TRAIN, _VALIDATION, _TEST = range(3)


@final
@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """The indices of the examples of each part, int64 and ascending; every example is in one of them."""

    train: Indices
    validation: Indices
    test: Indices

    def __str__(self) -> str:
        return ", ".join(f"{getattr(self, part).size} {part}" for part in PARTS)


def assign_parts(
    labels: Labels,
    groups: Sequence[str],
    *,
    validation_fraction: float,
    test_fraction: float,
    seed: int,
    given: Sequence[str | None] | None = None,
    strata: Sequence[str] | None = None,
) -> Split:
    """Deal the examples out to training, validation and test.

    In each stratum, groups go in rank order to the test split as long as each brings it nearer to its
    share, then to validation; the rest is for training. Where that leaves a part without one of the
    classes, it gets the smallest group that another part can spare.

    Args:
        labels: The classes, whole numbers `[N]`: 1 in the positive class, else 0.
        groups: One key per example, `[N]`; those with equal keys stay in one part.
        validation_fraction: Share of each stratum for validation, 0 to below 1.
        test_fraction: Share of each stratum for testing, 0 to below 1.
        seed: Which of the many splits, 0 or more.
        given: The part that each example is known to belong to, or None where that is open, `[N]`. What is
            given stays, even where a group straddles it. Without any "validation" in it, validation is
            dealt from what is "train" or open; otherwise what is open goes to training.
        strata: What is dealt in equal shares within each class, `[N]`, such as the labels that were joined
            to it. None: the classes alone.

    Returns:
        The indices of each part. A part with a fraction of 0 that is not given is empty.

    Raises:
        DatasetError: There are too few groups for every part to hold both classes.
        SettingError: An argument is outside what it may be.

    Examples:
        >>> names = ["a.jpg", "b.jpg", "c.jpg", "d.jpg"]
        >>> split = assign_parts([0, 0, 1, 1], names, validation_fraction=0.5, test_fraction=0.0, seed=0)
        >>> print(split, split.validation)
        2 train, 2 validation, 0 test [1 3]
    """
    classes = _checked_labels(labels, groups)
    fractions = {_TEST: test_fraction, _VALIDATION: validation_fraction}
    for part, fraction in fractions.items():
        check_float(f"{PARTS[part]}_fraction", fraction, at_least=0, below=1)
    parts = _codes(given, len(classes))
    if (parts >= 0).any():
        if test_fraction:
            raise SettingError(f"`test_fraction` must be 0 beside `given`, got {test_fraction}")
        if (parts == _VALIDATION).any():
            fractions[_VALIDATION] = 0.0
    fixed = parts > _TRAIN
    free = np.flatnonzero(~fixed)
    members, counts = _ranked(classes[free], [groups[i] for i in free.tolist()], seed)
    finer = _finer(members, len(counts), [strata[i] for i in free.tolist()] if strata else None)
    parts[free] = _dealt(counts, finer, fractions)[members]
    needed = {_TRAIN, *np.unique(parts[fixed]).tolist()}
    needed |= {part for part, fraction in fractions.items() if fraction}
    _require_both_classes(classes, groups, parts, needed, "parts")
    return Split(*(np.flatnonzero(parts == part) for part in range(3)))


def split_readable(
    spec: DatasetSpec,
    listing: Listing,
    groups: Sequence[str],
    readable: Indices,
    *,
    validation_fraction: float | None = None,
) -> Split:
    """Deal the images that can be read out to the splits, as the spec says.

    The test split depends on its own fraction, the seed and the groups alone.

    Args:
        spec: The fractions and the seed.
        listing: Its examples.
        groups: One key per example; examples with equal keys stay in one part.
        readable: Indices of the examples that can be read, int64 and ascending.
        validation_fraction: Another share for validation than the spec's; None: the spec's, or a fifth.

    Returns:
        The splits, as indices in the listing.

    Raises:
        DatasetError: No file can be read, or too few for every part to hold both classes.
    """
    if not len(readable):
        raise DatasetError(
            f"none of the {len(listing.examples)} files in {printable(spec.directory)} can be read as a "
            "image: `tlkit audit` says why, file by file"
        )
    split = assign_parts(
        listing.split_labels[readable],
        [groups[index] for index in readable],
        validation_fraction=spec.default_fraction
        if validation_fraction is None
        else validation_fraction,
        test_fraction=spec.test_fraction,
        seed=spec.seed,
        given=[listing.examples[index].part for index in readable],
        strata=listing.strata(readable),
    )
    return Split(readable[split.train], readable[split.validation], readable[split.test])


def assign_folds(
    labels: Labels,
    groups: Sequence[str],
    *,
    count: int,
    seed: int,
    strata: Sequence[str] | None = None,
) -> npt.NDArray[np.int64]:
    """Deal the examples out to folds of equal size and equal share of the classes.

    Groups that hold both classes go first, then the large ones, each to the fold that has least of what it
    brings; among groups that are alike, neighbours in rank share a fold. Without groups the counts of a
    class differ by at most 1 between folds, with groups of one class by at most the largest of them.

    Args:
        labels: The classes, whole numbers `[N]`: 1 in the positive class, else 0.
        groups: One key per example, `[N]`; those with equal keys stay in one fold.
        count: Number of folds, 2 or more.
        seed: Which of the many ways to deal, 0 or more.
        strata: As in `assign_parts`.

    Returns:
        The fold of each example, int64 `[N]`, 0 to `count - 1`.

    Raises:
        DatasetError: There are too few groups for every fold to hold both classes.
        SettingError: An argument is outside what it may be.

    Examples:
        >>> names = ["a.jpg", "b.jpg", "c.jpg", "d.jpg"]
        >>> assign_folds([0, 0, 1, 1], names, count=2, seed=0)
        array([1, 0, 1, 0])
    """
    classes = _checked_labels(labels, groups)
    check_int("count", count, at_least=2)
    members, counts = _ranked(classes, groups, seed)
    folds = _balanced(counts, _finer(members, len(counts), strata), count)[members]
    _require_both_classes(classes, groups, folds, range(count), "folds")
    return folds


def _checked_labels(labels: Labels, groups: Sequence[str]) -> npt.NDArray[np.int64]:
    classes = np.asarray(labels)
    if classes.shape != (len(groups),):
        raise SettingError(
            f"`labels` and `groups` must be equally long, got {classes.shape} and {len(groups)}"
        )
    if not np.isin(classes, (0, 1)).all():
        raise SettingError(f"`labels` must be 0 or 1, got {np.unique(classes)[:5].tolist()}")
    return classes.astype(np.int64)


def _codes(given: Sequence[str | None] | None, count: int) -> npt.NDArray[np.int64]:
    """Return the parts as numbers, -1 where a part is not given."""
    if given is None:
        return np.full(count, -1)
    if len(given) != count:
        raise SettingError(f"`given` must have {count} entries, got {len(given)}")
    codes: dict[str | None, int] = {
        None: -1,
        "train": _TRAIN,
        "validation": _VALIDATION,
        "test": _TEST,
    }
    for part in {*given} - codes.keys():
        check_choice("part", str(part), PARTS)
    return np.array([codes[part] for part in given], np.int64)


def _ranked(
    classes: npt.NDArray[np.int64], groups: Iterable[str], seed: int
) -> tuple[Indices, npt.NDArray[np.int64]]:
    """Number the groups by rank: the number of each example `[N]`, the classes in each group `[G, 2]`."""
    check_int("seed", seed, at_least=0)
    # macOS may hand out decomposed letters (e + accent) where Linux keeps the composed one.
    names = [unicodedata.normalize("NFC", group) for group in groups]
    order = sorted({*names}, key=lambda name: (_hash(seed, name), name))
    number = {name: index for index, name in enumerate(order)}
    members = np.fromiter((number[name] for name in names), np.int64, len(names))
    counts = np.zeros((len(order), 2), np.int64)
    np.add.at(counts, (members, classes), 1)
    return members, counts


def _finer(members: Indices, group_count: int, strata: Sequence[str] | None) -> Indices:
    """Number what strata each group holds, `[G]`: all 0 where there are none."""
    if strata is None:
        return np.zeros(group_count, np.int64)
    if len(strata) != len(members):
        raise SettingError(f"`strata` must have {len(members)} entries, got {len(strata)}")
    held: list[set[str]] = [set() for _ in range(group_count)]
    for group, stratum in zip(members.tolist(), strata, strict=True):
        held[group].add(stratum)
    names = [tuple(sorted(of)) for of in held]
    number = {name: place for place, name in enumerate(sorted({*names}))}
    return np.fromiter((number[name] for name in names), np.int64, group_count)


def _hash(seed: int, name: str) -> bytes:
    # "surrogatepass": names that are not UTF-8 hold lone surrogates.
    text = f"{seed}\0{name}".encode("utf-8", "surrogatepass")
    return hashlib.blake2b(text, digest_size=8).digest()


def _dealt(
    counts: npt.NDArray[np.int64], finer: Indices, fractions: Mapping[int, float]
) -> npt.NDArray[np.int64]:
    """Return the part of each group, `[G]`; what a finer stratum could not give, the next one does."""
    parts = np.full(len(counts), _TRAIN)
    sizes = counts.sum(axis=1)
    stratum = (counts > 0) @ (1, 2)
    for number in (1, 2, 3):
        missing = dict.fromkeys(fractions, 0.0)
        for kind in np.unique(finer[stratum == number]).tolist():
            waiting = np.flatnonzero((stratum == number) & (finer == kind)).tolist()
            total = int(sizes[waiting].sum())
            for part, fraction in fractions.items():
                missing[part] += fraction * total
                for group in waiting:
                    if (
                        sizes[group] <= 2 * missing[part]
                    ):  # with it, the part is nearer to its share
                        parts[group] = part
                        missing[part] -= int(sizes[group])
                waiting = [group for group in waiting if parts[group] == _TRAIN]
    _spread(parts, counts, [part for part in (*fractions, _TRAIN) if fractions.get(part, 1)])
    return parts


def _balanced(
    counts: npt.NDArray[np.int64], finer: Indices, fold_count: int
) -> npt.NDArray[np.int64]:
    """Return the fold of each group, `[G]`; with enough groups, each fold gets both classes.

    That is so because an empty fold is the cheapest: the first mixed groups go to different folds, and
    groups of one class then to the folds that lack it.
    """
    folds = np.zeros(len(counts), np.int64)
    # Each class weighs the same, whatever its size. Whole numbers, so that every machine agrees on ties.
    weights = counts.sum(axis=0)[::-1].tolist()
    loads = [[0, 0] for _ in range(fold_count)]
    kinds, kind_of = np.unique(np.column_stack([counts, finer]), axis=0, return_inverse=True)
    kinds = kinds[:, :2]
    for kind in sorted(range(len(kinds)), key=lambda k: (kinds[k].min() == 0, -kinds[k].sum())):
        brings = kinds[kind].tolist()
        price = [brings[c] * weights[c] for c in (0, 1)]
        alike = np.flatnonzero(kind_of.reshape(-1) == kind)
        chosen = []
        for _ in alike:
            fold = min(
                range(fold_count),
                key=lambda f: (price[0] * loads[f][0] + price[1] * loads[f][1], sum(loads[f])),
            )
            loads[fold] = [load + more for load, more in zip(loads[fold], brings, strict=True)]
            chosen.append(fold)
        folds[alike] = sorted(chosen)
    return folds


def _spread(
    parts: npt.NDArray[np.int64], counts: npt.NDArray[np.int64], needed: Iterable[int]
) -> None:
    """Give, in place, every needed part both classes, as far as others can spare a group."""
    sizes = counts.sum(axis=1)
    for part in needed:
        for label in (0, 1):
            if counts[parts == part, label].any():
                continue
            held = np.zeros((len(PARTS), 2), np.int64)
            np.add.at(held, parts, counts > 0)
            spare = ((held[parts] > 1) | (counts == 0)).all(axis=1)
            movable = np.flatnonzero(spare & (counts[:, label] > 0))
            if movable.size:  # the smallest; of equal ones, training gives first
                parts[movable[np.lexsort((parts[movable], sizes[movable]))[0]]] = part


def _require_both_classes(
    classes: npt.NDArray[np.int64],
    groups: Sequence[str],
    places: npt.NDArray[np.int64],
    needed: Collection[int],
    what: str,
) -> None:
    if all(np.unique(classes[places == place]).size == 2 for place in needed):
        return
    found = []
    for label, title in ((1, "one class"), (0, "the other")):
        own = np.flatnonzero(classes == label).tolist()
        found.append(f"{len(own)} of {title} in {len({groups[i] for i in own})} groups")
    raise DatasetError(
        f"each of the {len(needed)} {what} must get images of both classes, and a group stays whole: "
        f"that cannot be done with the images found, {' and '.join(found)}. Add images, or ask for fewer "
        f"{what}. Near-duplicates (`tlkit audit` names them) and `group_by` make the groups."
    )
