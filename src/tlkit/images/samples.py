"""Samples of any depth become RGB of 8 bits over the background."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

from tlkit.images.reader import Decoded, UnreadableError, ValueRange

Pixels: TypeAlias = npt.NDArray[np.uint8]
Samples: TypeAlias = npt.NDArray[Any]

BACKGROUND = (255, 255, 255)
"""The RGB colour behind transparent pixels: white, as a page shows them."""

_OUTLIERS = 0.001  # of the samples at either end: a dead pixel or a speck of light is not the range
_COUNTED = 2**20  # samples, evenly spread, of which the range is taken
_BLOCK = 2**20  # samples scaled at a time, where there is no table for them
_ADVICE = "give `value_range`, or save it as 16 bits"


def from_samples(
    colours: Samples,
    ends: tuple[float, float],
    *,
    wide: bool,
    alpha: Pixels | None = None,
    premultiplied: bool = False,
    clear: npt.NDArray[np.bool_] | None = None,
) -> Decoded:
    """Make RGB of samples as a file stores them.

    Args:
        colours: Grey `[H, W, 1]` or RGB `[H, W, 3]`, of any type of numbers.
        ends: Which of them are black and white.
        wide: Whether a sample has more than 8 bits.
        alpha: How opaque the pixels are, uint8 `[H, W]`.
        premultiplied: Whether the colours are multiplied by it.
        clear: Where nothing is seen, bool `[H, W]`.
    """
    pixels = scaled(colours, *ends)
    image = as_rgb(pixels)
    values = used_values(colours) if wide else used_values_of(image)
    if clear is not None and clear.any():
        alpha = np.where(clear, 0, 255).astype(np.uint8)
    if alpha is None or alpha.min() == 255:
        return Decoded(image, image, transparent=False, values=values)
    if premultiplied:
        image = as_rgb(pixels + np.minimum(255 - alpha[..., np.newaxis], 255 - pixels))
    else:
        image = over_background(image, Image.fromarray(alpha))
    return Decoded(image, image, transparent=True, values=values)


def black_and_white(
    colours: Samples, bits: int, value_range: ValueRange = None
) -> tuple[float, float]:
    """Return which samples are black and white.

    Args:
        colours: Of any type of numbers.
        bits: How many of each are used.
        value_range: What the user says; counts for more than 8 bits.

    Raises:
        UnreadableError: That is not known.
    """
    kind = colours.dtype.kind
    if value_range is not None and (bits > 8 or kind != "u"):
        return value_range
    if kind == "f":
        raise UnreadableError(f"floating-point pixels have no agreed white: {_ADVICE}")
    if kind == "i" and bits <= 16:
        raise UnreadableError(f"signed samples have no agreed black and white: {_ADVICE}")
    white = 2 ** min(bits, 16) - 1  # of 32 bits too: programs that know no 16 keep theirs in them
    if bits > 16 and not 0 <= int(colours.min()) <= int(colours.max()) <= white:
        raise UnreadableError(f"samples beyond {white} have no agreed white: {_ADVICE}")
    return 0, white


def scaled(samples: Samples, low: float, high: float) -> Pixels:
    """Return samples in steps of 1/255 of the way from `low` to `high`, rounded; beyond these, 0 and 255."""
    if samples.dtype == np.uint8 and (low, high) == (0, 255):
        return samples.view(np.uint8)
    if samples.dtype in (np.uint8, np.uint16):
        table = _steps(np.arange(256**samples.dtype.itemsize), low, high)
        return np.asarray(table[samples.astype(np.intp, copy=False)])
    flat = samples.reshape(-1)
    blocks = [_steps(flat[at : at + _BLOCK], low, high) for at in range(0, flat.size, _BLOCK)]
    return np.concatenate(blocks).reshape(samples.shape)


def _steps(samples: npt.NDArray[np.generic], low: float, high: float) -> Pixels:
    with np.errstate(all="ignore"):
        shares = (samples.astype(np.float64) - low) / (high - low)
    shares = np.nan_to_num(shares, nan=0, posinf=1, neginf=0).clip(
        0, 1
    )  # NaN: nothing was measured
    steps: Pixels = np.rint(255 * shares).astype(np.uint8)
    return steps


def used_values(colours: Samples) -> tuple[float, float]:
    """Return the lowest and highest sample of the channel that varies most, without a few outliers.

    Args:
        colours: `[H, W, C]`.
    """
    channels = colours.reshape(-1, colours.shape[2])
    channels = channels[:: max(1, len(channels) // _COUNTED)]
    if channels.dtype.kind == "f":
        channels = np.nan_to_num(channels, posinf=0, neginf=0)
    left_out = int(_OUTLIERS * len(channels))
    last = len(channels) - 1 - left_out
    ends = np.partition(channels, (left_out, last), axis=0).astype(np.float64)
    return _widest(ends[left_out], ends[last])


def used_values_of(image: Image.Image) -> tuple[float, float]:
    """Return the same of an RGB image, faster."""
    counts = np.array(image.histogram()).reshape(3, 256).cumsum(axis=1)
    left_out = int(_OUTLIERS * image.width * image.height)
    lows = (counts > left_out).argmax(axis=1)
    highs = (counts >= counts[:, -1:] - left_out).argmax(axis=1)
    return _widest(lows, highs)


def _widest(lows: Samples, highs: Samples) -> tuple[float, float]:
    widest = int((highs - lows).argmax())
    return lows[widest].item(), highs[widest].item()


def as_rgb(pixels: Pixels) -> Image.Image:
    """Return grey `[H, W, 1]` or RGB `[H, W, 3]` as an RGB image."""
    if pixels.shape[2] == 1:
        return Image.fromarray(np.ascontiguousarray(pixels[..., 0])).convert("RGB")
    return Image.fromarray(np.ascontiguousarray(pixels))


def over_background(image: Image.Image, alpha: Image.Image) -> Image.Image:
    """Lay an RGB image over the background, as far as its alpha channel lets it through."""
    rgb = Image.new("RGB", image.size, BACKGROUND)
    rgb.paste(image, mask=alpha)
    return rgb


def from_image(image: Image.Image) -> Decoded:
    """Make RGB of a loaded image of Pillow's with 8 bits a sample or fewer."""
    if image.has_transparency_data:
        rgba = image.convert("LA" if image.mode == "La" else "RGBA").convert("RGBA")
        alpha = rgba.getchannel("A")
        if alpha.getextrema() != (255, 255):
            rgb = over_background(rgba.convert("RGB"), alpha)
            return Decoded(rgb, rgb, transparent=True, values=used_values_of(rgb))
        image = rgba
    rgb = image if image.mode == "RGB" else image.convert("RGB")
    return Decoded(rgb, rgb, transparent=False, values=used_values_of(rgb))
