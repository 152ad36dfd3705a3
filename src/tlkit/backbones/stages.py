"""The stages of a backbone: the places whose pooled outputs are the features that a head learns from.

The last layer of an ImageNet network is its most specialised one; what folders unlike ImageNet need
(satellite images, microscopy, faces) lies in the layers before. One forward pass computes them anyway, so
that features of several stages cost no more than those of the last one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, TypeAlias

from tlkit.backbones.cuts import CutPoint
from tlkit.core.spec import check_choice
from tlkit.errors import SettingError

Stages: TypeAlias = "str | tuple[int | str, ...]"
"""Which places: `"stages"`, `"last"`, or indices or names of cut points."""

KINDS: Final = ("stages", "last")
_SKIPPED: Final = 1
"""Stages count after so many halvings of the image's side: before, there are edges and colours alone."""


def check_stages(value: object) -> Stages:
    """Return the setting if it can be one; whether a network has such cut points is not known yet.

    Raises:
        SettingError: It is neither `"stages"` nor `"last"` nor a tuple of indices or names.
    """
    if isinstance(value, str):
        return check_choice("features", value, KINDS)
    if (
        not isinstance(value, tuple | list)
        or not value
        or not all(isinstance(one, int | str) for one in value)
    ):
        raise SettingError(
            '`features` must be "stages", "last", or a tuple of indices or names of cut points '
            f"(BackboneAdapter(...).build().cut_points), got {value!r}"
        )
    return tuple(value)


def chosen_stages(
    cut_points: Sequence[CutPoint], image_size: tuple[int, int], features: Stages
) -> tuple[CutPoint, ...]:
    """Return the places that a setting names, from the image upwards; the last one is the network's output.

    Args:
        cut_points: Of the network, from the image upwards.
        image_size: `(height, width)` of its images, in pixels.
        features: The setting.

    Raises:
        SettingError: The network has no such cut point, or one without features.
    """
    final = cut_points[-1]
    if features == "last":
        return (final,)
    if features == "stages":
        return _by_size(cut_points, image_size)
    named = [_named(cut_points, one) for one in features]
    return tuple(sorted({*named}, key=lambda cut: cut.index))


def _by_size(cut_points: Sequence[CutPoint], image_size: tuple[int, int]) -> tuple[CutPoint, ...]:
    """Two cuts of each size of feature map, half-way and at its end; a size is a number of halvings.

    Only narrow cuts count, at most twice as wide as the narrowest of that size: the ends of blocks, and not
    the wider layers inside them.
    """
    final = cut_points[-1]
    sizes: dict[int, list[CutPoint]] = {}
    before = math.prod(image_size)
    for cut in cut_points if len(final.shape) == 3 else ():
        area = math.prod(cut.shape[:2])
        if len(cut.shape) != 3 or area > before:  # the same map with a border of zeros around it
            continue
        before = area
        sizes.setdefault(round(math.log2(math.prod(image_size) / area) / 2), []).append(cut)
    kept: list[CutPoint] = []
    for halvings, cuts in sizes.items():
        narrow = [cut for cut in cuts if cut.shape[2] <= 2 * min(one.shape[2] for one in cuts)]
        if halvings > _SKIPPED:
            kept += [narrow[(len(narrow) - 1) // 2], narrow[-1]]
    return (*dict.fromkeys(cut for cut in kept if cut.index < final.index), final)


def _named(cut_points: Sequence[CutPoint], name: int | str) -> CutPoint:
    if isinstance(name, str):
        names = [cut.name for cut in cut_points]
        return cut_points[names.index(check_choice("cut point in `features`", name, names))]
    if not -len(cut_points) <= name < len(cut_points):
        raise SettingError(
            f"`features` names cut point {name}, but the network has {len(cut_points)} "
            f"(0 to {len(cut_points) - 1})"
        )
    return cut_points[name]
