"""How unlike an image is to all that a classifier learned from: its distance to training images, ranked.

A classifier of alpacas answers "alpaca" or "not alpaca" to a photograph of a solar cell too. What it has
never seen anything like is told by its features, which lie far from those of all training images. How far
is far is not guessed: each training image is measured as if it were new, against the training images
outside its own group, and a new image is ranked among these held-out distances.
"""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Sequence
from typing import Any, Final, Self, TypeAlias, final

import numpy as np
import numpy.typing as npt

from tlkit.core.spec import check_float, check_int
from tlkit.errors import SettingError
from tlkit.evaluation.bounds import group_numbers

Floats: TypeAlias = npt.NDArray[np.float64]
Floats32: TypeAlias = npt.NDArray[np.float32]
Ints: TypeAlias = npt.NDArray[np.int64]
Ints32: TypeAlias = npt.NDArray[np.int32]

LEVEL: Final = 0.01
"""The share of images like the training images that may be called unfamiliar, where nothing else is said."""

MOST_BYTES: Final = 2_500_000
"""Room for the references: about a thousand images at 1,280 features."""

_NEAREST: Final = 3
_MOST_HELD_OUT: Final = 10_000  # images whose distances are kept: enough for any level
_BLOCK: Final = 1024  # images compared with all references at a time: what decides the memory
_SEED: Final = 16  # of the choice of rows; any number, but always the same
_ARRAYS: Final = {"rows": np.float16, "distances": np.float32, "groups": np.int32}


@final
class Familiarity:
    """Reference features of training images, and how far training images are from them when held out.

    `Familiarity.fit` makes it. Distances are Euclidean, between features of length 1, averaged over the three
    nearest references. Measured on seven folders (alpacas, scans, solar cells, food, satellite images,
    tiles, faces), each shown the images of the six others, with EfficientNet-Lite0's last layer: at the level
    that keeps 95 % of its own held-out images it flagged 0.993 of foreign ones, and 0.84 in the hardest of
    the 42 pairs, the alpacas shown to a mixed folder of food. The nearest alone gave 0.993 and 0.85, the
    third nearest 0.989 and 0.75; with MobileNetV2 (alpha 0.35) the three gave 0.989 and 0.83, the nearest
    alone 0.984 and 0.79. Stages before the last, distances relative to the local density, distances class by
    class and centred features were all worse on the mixed folders; 200 references in the place of all gave
    0.989 and 0.82.

    Attributes:
        rows: The references, float16 `[R, D]`, each of length 1 but for rounding.
        distances: Of training images that were held out, in the order that `fit` got them in (of more than
            10,000, some at random), float32 `[N]`, 0 to 2.
        groups: Their groups, int32 `[N]`, counted from 0 without gaps.
        nearest: How many of the nearest references a distance is averaged over.
        level: The share of images like the training images that is called unfamiliar, 0-1; 0: none is.
    """

    __slots__ = ("_far", "_share", "_unit", "distances", "groups", "level", "nearest", "rows")

    def __init__(
        self,
        rows: npt.NDArray[np.float16],
        distances: Floats32,
        groups: Ints32,
        *,
        nearest: int,
        level: float = 0.0,
    ) -> None:
        _check_arrays(rows, distances, groups)
        self.rows, self.distances, self.groups = rows, distances, groups
        self.nearest = check_int("nearest", nearest, at_least=1, at_most=len(rows))
        self.level = _checked_level(level, self.group_count)
        self._unit = _of_length_1(rows.astype(np.float32))
        order = np.argsort(distances, kind="stable")
        weights = 1 / np.bincount(groups)[groups[order]]
        self._far = distances[order]
        # how many groups are at least as far as each: one image of a group of five is a fifth of it
        self._share = np.append(np.cumsum(weights[::-1])[::-1], 0.0)

    @classmethod
    def fit(
        cls,
        features: npt.ArrayLike,
        *,
        groups: Sequence[Any] | npt.NDArray[Any] | None = None,
        held_out: npt.ArrayLike | None = None,
        held_out_groups: Sequence[Any] | npt.NDArray[Any] | None = None,
        level: float | None = None,
        most_bytes: int = MOST_BYTES,
    ) -> Self:
        """Choose references among training images, and measure each training image as if it were new.

        References are drawn at random. Rows chosen to cover the images well would be outliers, and what is
        left over would then lie nearer to them than new images do.

        Args:
            features: float `[N, D]`, finite, of the training images.
            groups: `[N]`, the group of each: images of one patient, video or object, and near-duplicates.
                An image is never compared with its own group. None: each image is its own.
            held_out: float `[M, D]`, finite, of images like these from which the network has not learned,
                none of a group of these. None: each training image is measured against those outside its
                group, which is right as long as the network itself has learned from none of them.
            held_out_groups: `[M]`, the group of each of those. None: each image is its own.
            level: The share of images like these that may be called unfamiliar: 1 / (groups + 1) to 1.
                None: 0.01, or 0 (none is called unfamiliar) where there are too few groups for that.
            most_bytes: Room for the references, at least that of one.

        Returns:
            The references and the held-out distances.

        Raises:
            SettingError: Fewer than two groups, features that are no finite rows, or a level that so few
                groups cannot tell (the message says how many it would take).

        Examples:
            >>> features = np.random.default_rng(0).normal(size=(300, 8)) + 5
            >>> known = Familiarity.fit(features)
            >>> known.p_values(-features[:1]).round(4).tolist(), known.level
            ([0.0033], 0.01)
        """
        given = _checked_features(features)
        if held_out is not None:
            apart = _checked_features(held_out)
            return cls._of_held_out(
                given, apart, held_out_groups, level=level, most_bytes=most_bytes
            )
        numbers = group_numbers(groups, len(given))
        count = int(numbers.max()) + 1 if len(given) else 0
        if count < 2:
            raise SettingError(
                f"familiarity needs training images of at least two groups, got {count}: each image is "
                "compared with those outside its own group"
            )
        level = _usual_level(count) if level is None else level
        order = np.random.default_rng(_SEED).permutation(len(given))
        room = check_int("most_bytes", most_bytes, at_least=2 * given.shape[1])
        chosen = order[: room // (2 * given.shape[1])]
        rows = _of_length_1(given[chosen]).astype(np.float16)
        held_out = np.sort(order[:_MOST_HELD_OUT])
        of_group = np.bincount(numbers[chosen], minlength=count)
        fewest = len(chosen) - int(of_group[numbers[held_out]].max())
        if fewest < 1:
            raise SettingError(
                f"all {len(chosen)} references are of one group: give them more room (`most_bytes`)"
            )
        nearest = min(_NEAREST, fewest)
        distances = _distances(
            given[held_out],
            _of_length_1(rows.astype(np.float32)),
            nearest,
            apart=(numbers[held_out], numbers[chosen]),
        )
        kept = np.unique(numbers[held_out], return_inverse=True)[1].astype(np.int32)
        return cls(rows, distances, kept, nearest=nearest, level=level)

    @classmethod
    def _of_held_out(
        cls,
        given: Floats32,
        held_out: Floats32,
        groups: Sequence[Any] | npt.NDArray[Any] | None,
        *,
        level: float | None,
        most_bytes: int,
    ) -> Self:
        """Choose references among all of `given`, and measure other images as new ones."""
        random = np.random.default_rng(_SEED)
        room = check_int("most_bytes", most_bytes, at_least=2 * given.shape[1])
        chosen = random.permutation(len(given))[: room // (2 * given.shape[1])]
        rows = _of_length_1(given[chosen]).astype(np.float16)
        kept = np.sort(random.permutation(len(held_out))[:_MOST_HELD_OUT])
        of_kept = group_numbers(groups, len(held_out))[kept]
        numbers = np.unique(of_kept, return_inverse=True)[1].astype(np.int32)
        nearest = min(_NEAREST, len(rows))
        distances = _distances(held_out[kept], _of_length_1(rows.astype(np.float32)), nearest)
        count = len({*numbers.tolist()})
        level = _usual_level(count) if level is None else level
        return cls(rows, distances, numbers, nearest=nearest, level=level)

    @property
    def group_count(self) -> int:
        """How many groups were held out: the ranks that can be told apart."""
        return int(self.groups.max()) + 1

    def with_level(self, level: float) -> Self:
        """Return the same references with another level.

        Args:
            level: The share of images like the training images that may be called unfamiliar:
                1 / (groups + 1) to 1, or 0 to call none so.

        Raises:
            SettingError: So few groups cannot tell such a level. The message says how many it would take.
        """
        return type(self)(self.rows, self.distances, self.groups, nearest=self.nearest, level=level)

    def of_last(self, features: npt.NDArray[np.generic]) -> Floats32:
        """Return the features of the last stage, whose references these are, of those of several stages.

        Args:
            features: float `[N, W]`, the last stage's at the end of each row; W is at least D.
        """
        return np.asarray(features[:, -self.rows.shape[1] :], np.float32)

    def distances_of(self, features: npt.ArrayLike) -> Floats32:
        """Measure how far images are from the references.

        Args:
            features: float `[N, D]`, finite, of the network that the references are of.

        Returns:
            float32 `[N]`, 0 to 2.

        Raises:
            SettingError: They are not as wide as the references.
        """
        given = _checked_features(features)
        if given.shape[1] != self.rows.shape[1]:
            raise SettingError(
                f"`features` must be {self.rows.shape[1]} wide, as the references are, got "
                f"{given.shape[1]}"
            )
        return _distances(given, self._unit, self.nearest)

    def p_values(self, features: npt.ArrayLike) -> Floats:
        """Rank images among held-out training images: small is unfamiliar.

        A conformal p-value, (1 + number of held-out images at least as far) / (N + 1): of images like the
        training images no more than about a share α gets α or less, whatever the network and the distances
        are. Groups count as one image each, with the mean over their images.

        Args:
            features: float `[N, D]`, finite, of the network that the references are of.

        Returns:
            float64 `[N]`, from 1 / (groups + 1) to 1.

        References:
            S. Bates, E. Candès, L. Lei, Y. Romano and M. Sesia (2023), Testing for outliers with conformal
            p-values, Annals of Statistics 51: 149-178. Y. Lee, R. F. Barber and R. Willett (2023),
            Distribution-free inference with hierarchical data, arXiv:2306.06342 (groups). Y. Sun, Y. Ming,
            X. Zhu and Y. Li (2022), Out-of-distribution detection with deep nearest neighbors, ICML (the
            distances).
        """
        return self.ranks(self.distances_of(features))

    def ranks(self, distances: npt.ArrayLike) -> Floats:
        """Return the p-values of distances that `distances_of` gave, float64 `[N]`."""
        measured = np.asarray(distances, np.float32)
        as_far = self._share[np.searchsorted(self._far, measured, side="left")]
        return np.minimum((1 + as_far) / (self.group_count + 1), 1.0)

    def to_bytes(self) -> bytes:
        """Write the references, the held-out distances and the level as the content of an `.npz` file."""
        file = io.BytesIO()
        np.savez(
            file,
            rows=self.rows,
            distances=self.distances,
            groups=self.groups,
            settings=np.array([self.nearest, self.level]),
        )
        return file.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> Self:
        """Read what `to_bytes` wrote, trusting nothing in it.

        Raises:
            SettingError: It is something else, or damaged.
        """
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as file:
                arrays = {name: file[name] for name in (*_ARRAYS, "settings")}
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise SettingError(f"these are no reference features: {error}") from error
        for name, kind in _ARRAYS.items():
            if arrays[name].dtype != kind:
                raise SettingError(f"`{name}` of the reference features is {arrays[name].dtype}")
        settings = arrays.pop("settings")
        if settings.shape != (2,) or settings.dtype != np.float64 or not settings[0] % 1 == 0:
            raise SettingError(f"the settings of the reference features are {settings!r}")
        return cls(**arrays, nearest=int(settings[0]), level=float(settings[1]))


def needed_groups(level: float) -> int:
    """Return how many groups (images, where each is its own) it takes to tell a level.

    Args:
        level: Above 0 and below 1.

    Examples:
        >>> needed_groups(0.01), needed_groups(0.05)
        (99, 19)
    """
    check_float("level", level, above=0, below=1)
    return math.ceil(1 / level - 1e-9) - 1


def _usual_level(count: int) -> float:
    """Return `LEVEL` where so many groups can tell it, else 0."""
    return LEVEL if needed_groups(LEVEL) <= count else 0.0


def _checked_level(level: float, count: int) -> float:
    level = check_float("level", level, at_least=0, below=1)
    if level and count < needed_groups(level):
        raise SettingError(
            f"`level` must be at least {1 / (count + 1):.3g} with {count} training images (a group counts "
            f"as one), got {level:g}: that takes {needed_groups(level)}"
        )
    return level


def _checked_features(features: npt.ArrayLike) -> Floats32:
    given = np.asarray(features)
    if given.ndim != 2 or not given.shape[1] or given.dtype.kind not in "iuf":
        raise SettingError(f"`features` must be numbers [N, D], got {given.dtype} {given.shape}")
    rows = given.astype(np.float32)
    if not np.isfinite(rows).all():
        raise SettingError("`features` must be finite")
    return rows


def _check_arrays(rows: npt.NDArray[np.float16], distances: Floats32, groups: Ints32) -> None:
    fit = rows.ndim == 2 and distances.ndim == 1 and distances.shape == groups.shape
    if not fit or not rows.size or not distances.size:
        raise SettingError(
            f"references do not fit together: shapes {rows.shape}, {distances.shape}, {groups.shape}"
        )
    if not np.isfinite(rows).all() or not np.isfinite(distances).all():
        raise SettingError("references must be finite")
    if not (groups >= 0).all() or groups.max() >= groups.size or not np.bincount(groups).all():
        raise SettingError("groups of references must be counted from 0 without gaps")


def _of_length_1(rows: Floats32) -> Floats32:
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.maximum(length, np.finfo(np.float32).tiny), np.float32)


def _distances(
    features: Floats32, unit: Floats32, nearest: int, *, apart: tuple[Ints, Ints] | None = None
) -> Floats32:
    """Average the distances to the nearest references; `apart`: groups of both, equal ones not compared."""
    measured = np.empty(len(features), np.float32)
    for start in range(0, len(features), _BLOCK):
        block = slice(start, start + _BLOCK)
        squares = np.maximum(2 - 2 * (_of_length_1(features[block]) @ unit.T), 0)
        if apart is not None:
            squares[apart[0][block, np.newaxis] == apart[1]] = np.inf
        closest = np.partition(squares, nearest - 1, axis=1)[:, :nearest]
        measured[block] = np.sqrt(closest).mean(axis=1)
    return measured
