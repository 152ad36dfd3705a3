"""Hashes of thumbnails: which images agree with which.

A hash is the low frequencies of a thumbnail's cosine transform, the higher ones weighted up so that unlike
images score about 0. Of some thousand images all pairs are compared. Of more, those whose hashes share one of
several keys: the signs of mixtures of the lowest frequencies, which recompressing and cropping hardly change.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Final, TypeAlias, final

import numpy as np
import numpy.typing as npt

from tlkit.core.rows import Indices
from tlkit.images.decoder import Pixels

Floats: TypeAlias = npt.NDArray[np.float32]
Candidates: TypeAlias = Iterator[tuple[int, Indices, Floats]]
"""Images that agree with earlier centres, with those, ascending, and the agreement."""

CANDIDATE: Final = 0.7
"""Agreement of two hashes, -1 to 1, from which the pixels are compared. Of 53,301 pairs of unrelated
photographs the nearest reach 0.65; copies cropped by 2 % on every side are above 0.87."""

BLOCK = 512
"""Images compared with many others at a time: what decides the memory, not the result."""

_SIDE: Final = 12
"""Frequencies each way; with 8 unrelated photographs score 0.85, with 16 cropped ones 0.64."""

_FLAT: Final = 100.0
"""Weighted contrast that rounding and noise of one grey level make; photographs have 1,000s."""

_KEYS: Final = 48
_KEY_SIDE: Final = 6  # frequencies each way that decide a key
_KEY_BITS: Final = 13  # from the even frequencies, and from the odd ones; more of very many images
_WINDOW: Final = 8  # images of the same key, the nearest before it, that an image is compared with
_ENOUGH: Final = 32  # times that an image was found to agree with others: so crowds stay cheap


@final
class Hashes:
    """The hashes of images, and how well they agree, also mirrored.

    Mirroring an image changes the sign of its odd horizontal frequencies. Kept apart from the even ones,
    they give the agreement with an image and with its mirror image at once.

    Args:
        thumbnails: Of each image, uint8 grey `[H, W]`.
    """

    def __init__(self, thumbnails: Sequence[Pixels]) -> None:
        self.thumbnails = thumbnails
        hashes = np.empty((len(thumbnails), 2, _SIDE * _SIDE // 2), np.float32)
        for start in range(0, len(thumbnails), BLOCK):
            block = np.array(thumbnails[start : start + BLOCK], np.float32)
            found = detail(block, _SIDE).reshape(len(block), -1)
            found /= np.hypot(np.linalg.norm(found, axis=1, keepdims=True), _FLAT)
            hashes[start : start + BLOCK] = found.reshape(len(block), -1, 2).swapaxes(1, 2)
        self._hashes = hashes
        self._even, self._odd = hashes[:, 0], hashes[:, 1]

    def __len__(self) -> int:
        return len(self.thumbnails)

    def agreement(self, ones: Indices | slice, others: Indices | slice) -> Floats:
        """Return how well each of `ones` agrees with each of `others` or its mirror image."""
        agreement = self._odd[ones] @ self._odd[others].T
        np.abs(agreement, out=agreement)
        agreement += self._even[ones] @ self._even[others].T
        return agreement

    def agreement_of_pairs(self, ones: Indices, others: Indices) -> Floats:
        """Return how well `ones[i]` agrees with `others[i]` or its mirror image."""
        even, odd = np.einsum("nkd,nkd->kn", self._hashes[ones], self._hashes[others])
        agreement: Floats = even + np.abs(odd)
        return agreement

    def strong(self) -> Indices:
        """Return which images agree with any at all: flat ones do not."""
        strength = np.einsum("nkd,nkd->n", self._hashes, self._hashes)
        return np.flatnonzero(strength >= CANDIDATE)

    def lowest(self, rows: Indices) -> tuple[Floats, Floats]:
        """Return the lowest even and odd frequencies of these images, the even ones about their mean.

        Weighted as photographs have them, the lower the stronger: so copies differ least.
        """
        down, across = np.mgrid[:_KEY_SIDE, :_KEY_SIDE]
        weights = 1 / np.maximum(np.hypot(down, across), 1)
        places = (down * _SIDE + across) // 2
        even, odd = (
            part[np.ix_(rows, places[:, first::2].ravel())]
            * np.float32(weights[:, first::2].ravel())
            for first, part in enumerate((self._even, self._odd))
        )
        return even - even.mean(axis=0), odd

    def mirrored(self, one: int, others: Indices) -> npt.NDArray[np.bool_]:
        """Say of each of `others` whether it agrees with `one` rather as its mirror image."""
        agreement: Floats = self._odd[others] @ self._odd[one]
        return agreement < 0


def detail(images: Floats, side: int) -> Floats:
    """Return the lowest `side` x `side` frequencies of grey images `[..., H, W]`, weighted by frequency.

    In photographs, contrast falls with frequency: weighted so, all of them count about the same.
    """
    down, across = (_cosines(length, side) for length in images.shape[-2:])
    rows, columns = np.mgrid[:side, :side]
    detail: Floats = (down @ images @ across.T * np.hypot(rows, columns)).astype(np.float32)
    return detail


@cache
def _cosines(length: int, count: int) -> Floats:
    """Return the first rows of the orthonormal cosine transform, `[count, length]`."""
    angles = np.pi / length * np.outer(np.arange(count), np.arange(length) + 0.5)
    rows = np.cos(angles) * np.sqrt(2 / length)
    rows[0] /= np.sqrt(2)
    return np.asarray(rows, np.float32)


def of_all_pairs(hashes: Hashes, centre_of: Indices) -> Candidates:
    """Compare each image with all centres before it.

    Args:
        hashes: Of the images.
        centre_of: For each image the one that it was joined to, else itself, int64 `[N]`: whoever takes what
            this yields writes there.
    """
    places = np.arange(len(hashes))
    for start in range(0, len(hashes), BLOCK):
        rows = places[start : start + BLOCK]
        centres = np.flatnonzero(centre_of[: rows[-1] + 1] == places[: rows[-1] + 1])
        found: dict[int, list[tuple[Indices, Floats]]] = defaultdict(list)
        for first in range(0, len(centres), 8 * BLOCK):
            columns = centres[first : first + 8 * BLOCK]
            agreement = hashes.agreement(rows, columns)
            hit_rows, hit_columns = np.nonzero(agreement >= CANDIDATE)
            earlier = columns[hit_columns] < rows[hit_rows]
            hit_rows, hit_columns = hit_rows[earlier], hit_columns[earlier]
            for row, hits in _grouped(hit_rows, hit_columns):
                found[row].append((columns[hits], agreement[row, hits]))
        for row in sorted(found):
            earlier, agreements = map(np.concatenate, zip(*found[row], strict=True))
            still = centre_of[earlier] == earlier
            yield int(rows[row]), earlier[still], agreements[still]


def of_equal_keys(hashes: Hashes, centre_of: Indices) -> Candidates:
    """Compare each image with the centres of those before it that share a key; as in `of_all_pairs`."""
    strong = hashes.strong()
    even, odd = hashes.lowest(strong)
    # Of very many, a bit more for every twice as many: so the pairs grow as the images do.
    bits = max(_KEY_BITS, min(16, len(hashes).bit_length() // 2 + 4))
    random = np.random.default_rng(0)
    pairs, times = [np.empty(0, np.int64)], np.zeros(len(hashes), np.int64)
    for _ in range(_KEYS):
        order = np.sort(_keys(even, odd, bits, random) << 32 | strong)
        keys, rows = order >> 32, order & (2**32 - 1)
        for step in range(1, _WINDOW + 1):
            same = np.flatnonzero((keys[step:] == keys[:-step]) & (times[rows[step:]] < _ENOUGH))
            for some in np.array_split(same, len(same) // (64 * BLOCK) + 1):
                later, earlier = rows[some + step], rows[some]
                agreeing = hashes.agreement_of_pairs(later, earlier) >= CANDIDATE
                pairs.append(later[agreeing] << 32 | earlier[agreeing])
                np.add.at(times, later[agreeing], 1)
    found = np.unique(np.concatenate(pairs))
    for row, others in _grouped(found >> 32, found & (2**32 - 1)):
        centres = np.unique(centre_of[others])
        agreement = hashes.agreement(np.array([row]), centres)[0]
        agreeing = agreement >= CANDIDATE
        yield row, centres[agreeing], agreement[agreeing]


def _keys(even: Floats, odd: Floats, count: int, random: np.random.Generator) -> Indices:
    """Return a number for each image, int64 `[N]`, which like images often share.

    Each of its bits is the side of a plane through the even or the odd frequencies that the image lies on.
    Mirroring swaps the sides of all planes through the odd ones; which of these bits are equal stays.
    """
    planes = random.standard_normal((even.shape[1] + odd.shape[1], count + 1), np.float32)
    one, other = even @ planes[: even.shape[1], 1:] > 0, odd @ planes[even.shape[1] :] > 0
    bits = np.hstack([one, other[:, 1:] != other[:, :1]])
    packed = np.packbits(bits, axis=1)  # which fills the last of its bytes
    return packed.view(np.uint32)[:, 0].astype(np.int64)


def _grouped(rows: Indices, values: Indices) -> Iterator[tuple[int, Indices]]:
    """Yield each row, ascending, with its values."""
    edges = np.flatnonzero(np.diff(rows, prepend=-1))
    yield from zip(rows[edges].tolist(), np.split(values, edges[1:]), strict=False)
