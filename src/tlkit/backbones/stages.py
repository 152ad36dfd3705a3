"""The stages of a backbone: the places whose pooled outputs are the features that a head learns from.

The last layer of an ImageNet network is its most specialised one; what folders unlike ImageNet need (satellite
images, microscopy, faces) lies in the layers before. One forward pass computes them anyway, so that features of
several stages cost no more than those of the last one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, TypeAlias

from tlkit.core.spec import check_choice
from tlkit.errors import SettingError

if TYPE_CHECKING:
    from tlkit.backbones.network import CutPoint

Stages: TypeAlias = "str | tuple[int | str, ...]"
"""Which places: `"stages"`, `"last"`, or indices or names of cut points."""

KINDS: Final = ("stages", "last")
_SKIPPED: Final = 1
"""Halvings of the image's side from which on a stage counts: before them there are edges and colours alone."""


def check_stages(value: object) -> Stages:
    """Return the setting if it can be one; whether a network has such cut points is not known yet.

    Raises:
        SettingError: It is neither `"stages"` nor `"last"` nor a tuple of indices or names.
    """
    if isinstance(value, str):
        return check_choice("features", value, KINDS)
    fits = isinstance(value, tuple | list) and len(value) > 0
    if not fits or not all(isinstance(one, int | str) for one in value):  # type: ignore[union-attr]
        raise SettingError(
            '`features` must be "stages", "last", or a tuple of indices or names of cut points '
            f"(BackboneAdapter(...).build().cut_points), got {value!r}"
        )
    return tuple(value)  # type: ignore[arg-type]


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


def _by_size(
    cut_points: Sequence[CutPoint], image_size: tuple[int, int]
) -> tuple[CutPoint, ...]:
    """The last cut of each size of feature map, sizes being told apart by how often they halve the image."""
    final = cut_points[-1]
    if len(final.shape) != 3:
        return (final,)
    stages: dict[int, CutPoint] = {}
    before = math.prod(image_size)
    for cut in cut_points:
        if len(cut.shape) != 3:
            continue
        area = cut.shape[0] * cut.shape[1]
        if area > before:  # padding: the same map with a border of zeros
            continue
        before = area
        stages[round(math.log2(math.prod(image_size) / area) / 2)] = cut
    kept = [cut for halvings, cut in stages.items() if halvings > _SKIPPED]
    return (*(cut for cut in kept if cut.index < final.index), final)


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
