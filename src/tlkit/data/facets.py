"""Facts by which images are told apart when results are reported slice by slice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from tlkit.core.rows import Indices
from tlkit.data.dataset import Listing
from tlkit.images.decoder import ImageFacts

_YEAR, _MONTH = 4, 7  # characters of a date

_SIDES: Final = (64, 128, 256, 512, 1024, 2048, 4096)
"""Longer sides, in pixels, between which sizes are of one class."""

_THIRDS: Final = (85, 170)
"""Mean grey values, 0 to 255, below which an image is dark and from which it is bright. A guess."""


def facets_of(
    listing: Listing, readable: Indices, facts: Sequence[ImageFacts]
) -> dict[str, tuple[str | None, ...]]:
    """Return what is known of each example besides its label, in words, fact by fact.

    What the user's own table says (`Listing.slices`) comes first.

    Args:
        listing: Its examples.
        readable: Indices of those that could be read, int64 `[M]`, ascending.
        facts: Of each of these, in that order.

    Returns:
        For each fact that is not the same for all of them, what it is for every example; None where it is not
        known.
    """
    found: dict[str, list[str | None]] = {}
    years = {fact.taken[:_YEAR] for fact in facts if fact.taken}
    dated = _YEAR if len(years) > 1 else _MONTH
    for index, fact in zip(readable.tolist(), facts, strict=True):
        for name, value in _of_file(fact, dated).items():
            found.setdefault(name, [None] * len(listing.examples))[index] = value
    given = {name: tuple(cell or None for cell in cells) for name, cells in listing.slices.items()}
    told = given | {name: tuple(said) for name, said in found.items() if name not in given}
    return {name: said for name, said in told.items() if len({*said} - {None}) > 1}


def _of_file(fact: ImageFacts, dated: int) -> Mapping[str, str | None]:
    brightness = float(fact.thumbnail.mean())
    return {
        "format": fact.format,
        "size": _size_class(max(fact.width, fact.height)),
        "camera": fact.camera or "not named",
        "date": fact.taken[:dated] or None,
        "brightness": "dark"
        if brightness < _THIRDS[0]
        else "bright"
        if brightness >= _THIRDS[1]
        else "medium",
    }


def _size_class(side: int) -> str:
    """Write between which powers of two the longer side is.

    Examples:
        >>> _size_class(300), _size_class(40), _size_class(5000)
        ('256 to 511 pixels', 'below 64 pixels', '4,096 pixels and more')
    """
    above = [low for low in _SIDES if low <= side]
    if not above:
        return f"below {_SIDES[0]} pixels"
    if len(above) == len(_SIDES):
        return f"{_SIDES[-1]:,} pixels and more"
    return f"{above[-1]:,} to {_SIDES[len(above)] - 1:,} pixels"
