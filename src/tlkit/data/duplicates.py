"""Which images of a folder are the same image, from the facts of one decode. NumPy alone.

Equal files have equal digests. Near-duplicates are found in two steps. Images are candidates if the hashes
of their thumbnails agree. They are then compared pixel by pixel, after the small shift and stretch that turns
one best into the other has been fitted, which is what a cropped copy needs.

Nothing is chained: an image joins the one image that it looks like, never a copy of a copy. Where
most of a folder looks alike (a camera that stands still), likeness says nothing, and the images
are reported as a cluster instead.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, final

import numpy as np
import numpy.typing as npt

from tlkit.core.rows import Indices
from tlkit.data.thumbnails import BLOCK, Candidates, Hashes, detail, of_all_pairs, of_equal_keys
from tlkit.images.decoder import ImageFacts, Pixels

SAME = 0.88
"""Share of one thumbnail's detail that the other explains, 0 to 1, from which they are one image.
Of the same photographs unrelated ones reach 0.44; cropped copies are above 0.94, recompressed and half-size
ones above 0.97. Views of one object on one background, in nearly the same place, come up to 0.85."""

ALIKE = 0.6
"""Agreement of two hashes from which images count towards a cluster."""

MIXED = 5
"""Images of either class in one cluster from which it is a cluster: labels are rarely wrong so often."""

ALL_PAIRS = 2**14
"""Up to so many images, each is compared with all before it: a second of a core."""

_CROWD: Final = 2**14
"""By so many images, spread evenly, it is counted how many of all are alike."""

_FINE_SIDE: Final = 16
_TRIED: Final = 4  # centres with the best hashes whose pixels are compared


class Copy(NamedTuple):
    """An image that was there before.

    Attributes:
        row: Where the copy is in the facts.
        original: Where the image is that it is a copy of; always the smaller index.
        likeness: Share of the detail that they have in common, 0 to 1; 1 for equal files.
        exact: Whether the files are equal, byte by byte.
        mirrored: Whether left and right are swapped.
    """

    row: int
    original: int
    likeness: float = 1.0
    exact: bool = False
    mirrored: bool = False


@final
@dataclass(frozen=True, slots=True)
class Duplicates:
    """What is there more than once.

    Attributes:
        copies: Every image that is a copy of an earlier one, ascending by index.
        large_clusters: Images that look alike because they show the same place, the most typical one first.
    """

    copies: tuple[Copy, ...]
    large_clusters: tuple[tuple[int, ...], ...]

    def clusters(self) -> list[list[int]]:
        """Return the indices that show one image together, each ascending."""
        root: dict[int, int] = {}
        clusters: dict[int, list[int]] = {}
        for copy in self.copies:
            first = root[copy.row] = root.get(copy.original, copy.original)
            clusters.setdefault(first, [first]).append(copy.row)
        return list(clusters.values())


def find_duplicates(
    facts: Sequence[ImageFacts], labels: Sequence[int] | npt.NDArray[np.integer], *, largest: float
) -> Duplicates:
    """Find the images that are there more than once.

    Recompressed, resized, slightly cropped and mirrored copies are found; turned ones, collages and
    closer crops are not. Among more than `ALL_PAIRS` images a few cropped copies may be missed.

    Args:
        facts: Of each image, `[N]`.
        labels: Its class, `[N]`: 0 or 1.
        largest: The most images that may look alike before they are a cluster: what a part could hold.

    Returns:
        The copies, each with its original, and the large clusters. Near-duplicates inside a cluster are not
        among the copies; equal files are.

    Examples:
        >>> find_duplicates([], [], largest=8)
        Duplicates(copies=(), large_clusters=())
    """
    first: dict[str, int] = {}
    originals = [first.setdefault(fact.digest, place) for place, fact in enumerate(facts)]
    exact = [Copy(n, original, exact=True) for n, original in enumerate(originals) if original < n]
    places = np.fromiter(first.values(), np.int64, len(first))
    hashes = Hashes([facts[place].thumbnail for place in places])
    compared = of_all_pairs if len(hashes) <= ALL_PAIRS else of_equal_keys
    stars = _stars(hashes, compared)
    large_clusters = _large_clusters(
        hashes, stars, [int(labels[place]) for place in places], largest
    )
    seen = set().union(*large_clusters)
    near = [
        copy._replace(row=int(places[copy.row]), original=int(places[centre]))
        for centre, copies in stars.items()
        if centre not in seen
        for copy in copies
    ]
    return Duplicates(
        tuple(sorted(exact + near)),
        tuple(tuple(places[cluster].tolist()) for cluster in large_clusters),
    )


def merged_groups(groups: Sequence[str], clusters: Iterable[Sequence[int]]) -> list[str]:
    """Merge groups that share a cluster, so that neither a group nor a cluster is ever split.

    Args:
        groups: One key per example, `[N]`: `Listing.groups(...)`.
        clusters: Indices of examples that must stay together.

    Returns:
        One key per example, `[N]`: of the keys that were merged, the smallest.

    Examples:
        >>> merged_groups(["b", "c", "a", "d"], [[0, 1], [1, 2]])
        ['a', 'a', 'a', 'd']
    """
    parent: dict[str, str] = {}

    def root(key: str) -> str:
        while (above := parent.get(key, key)) != key:
            parent[key] = parent.get(above, above)  # halves the path for the next time
            key = above
        return key

    for cluster in clusters:
        for index in cluster[1:]:
            smaller, larger = sorted((root(groups[cluster[0]]), root(groups[index])))
            parent[larger] = smaller
    return [root(key) for key in groups]


def _stars(
    hashes: Hashes, compared: Callable[[Hashes, Indices], Candidates]
) -> dict[int, list[Copy]]:
    """Return the images that are the same as an earlier one, by that one: the centre of a star.

    Every image is compared with centres before it. It joins the one that it is most like, or becomes a centre
    itself; so there are never more pixel comparisons than a few for each image.
    """
    stars: dict[int, list[Copy]] = defaultdict(list)
    centre_of = np.arange(len(hashes))
    for row, centres, agreement in compared(hashes, centre_of):
        best = np.argsort(-agreement, kind="stable")[:_TRIED]
        if copy := _best_copy(hashes, row, centres[best]):
            centre_of[row] = copy.original
            stars[copy.original].append(copy)
    return dict(stars)


def _best_copy(hashes: Hashes, row: int, centres: Indices) -> Copy | None:
    """Compare pixels: return which of the centres an image is a copy of, if any."""
    if not len(centres):
        return None
    mirrored = hashes.mirrored(row, centres)
    others = [
        hashes.thumbnails[centre][:, ::-1] if flip else hashes.thumbnails[centre]
        for centre, flip in zip(centres, mirrored, strict=True)
    ]
    likeness = _likeness(hashes.thumbnails[row], np.array(others))
    best = int(likeness.argmax())
    if likeness[best] < SAME:
        return None
    return Copy(row, int(centres[best]), float(likeness[best]), mirrored=bool(mirrored[best]))


def _likeness(image: Pixels, others: Pixels) -> npt.NDArray[np.float64]:
    """Return the share of an image's detail that each of the others explains, `[K]`, 0 to 1.

    The best gain, shift and stretch of the other are fitted by least squares, to first order: a shift is
    a multiple of the slope, a stretch a multiple that grows from the middle outwards.
    """
    grey = others.astype(np.float32)
    slopes = np.gradient((grey + image) / 2, axis=(1, 2))
    height, width = image.shape
    outwards = np.linspace(-1, 1, height)[:, np.newaxis], np.linspace(-1, 1, width)
    stretched = [slope * place for slope, place in zip(slopes, outwards, strict=True)]
    changes = detail(np.stack([grey, *slopes, *stretched], 1).astype(np.float32), _FINE_SIDE)
    wanted = detail(image.astype(np.float32), _FINE_SIDE).astype(np.float64).ravel()
    terms = changes.astype(np.float64).reshape(*changes.shape[:2], -1)
    products = terms @ terms.transpose(0, 2, 1)
    products += 1e-6 * np.trace(products, axis1=1, axis2=2)[:, None, None] * np.eye(len(terms[0]))
    amounts = np.linalg.solve(products, (terms @ wanted)[..., np.newaxis])
    left = wanted - (amounts * terms).sum(1)
    shares = 1 - np.square(left).sum(1) / np.square(wanted).sum()
    # Rounded, so that machines agree on which side of a limit it is.
    return np.asarray(np.clip(shares, 0, 1).round(6), np.float64)


def _large_clusters(
    hashes: Hashes, stars: dict[int, list[Copy]], labels: Sequence[int], largest: float
) -> list[list[int]]:
    """Return the large clusters: images of which too many are alike, or too many of either class the same."""
    centres = np.fromiter(stars, np.int64, len(stars))
    crowds: dict[int, float] = {}
    step = max(1, len(hashes) // _CROWD)
    for start in range(0, len(centres), BLOCK):
        block = centres[start : start + BLOCK]
        counts = np.zeros(len(block), np.int64)
        for other in range(0, len(hashes), 8 * BLOCK * step):
            agreement = hashes.agreement(block, slice(other, other + 8 * BLOCK * step, step))
            counts += (agreement >= ALIKE).sum(1)
        crowds.update(zip(block.tolist(), (counts * step).tolist(), strict=True))
    large_clusters: list[dict[int, None]] = []  # as ordered sets
    for centre in sorted(crowds, key=lambda centre: (-crowds[centre], centre)):
        members = [centre, *(copy.row for copy in stars[centre])]
        per_class = Counter(labels[member] for member in members)
        mixed = min(per_class[0], per_class[1]) >= MIXED
        if not (mixed or max(crowds[centre], len(members)) > largest):
            continue
        if cluster := next((cluster for cluster in large_clusters if centre in cluster), None):
            cluster.update(dict.fromkeys(members))
            continue
        alike = np.flatnonzero(hashes.agreement(np.array([centre]), slice(None))[0] >= ALIKE)
        crowd = dict.fromkeys([*members, *alike.tolist()])
        for cluster in large_clusters:
            if 2 * len(crowd.keys() & cluster.keys()) > len(crowd):
                cluster.update(crowd)
                break
        else:
            large_clusters.append(crowd)
    return [list(cluster) for cluster in large_clusters]
