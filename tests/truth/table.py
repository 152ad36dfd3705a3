"""A row of the truth table, and the image that its files show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
HEIGHT, WIDTH = 21, 37  # no multiple of anything, so that padding shows


@dataclass(frozen=True, slots=True)
class Row:
    """One file.

    Attributes:
        name: What it is.
        data: Its bytes.
        pixels: What must be read, uint8 `[H, W, 3]` or `[H, W, 1]`; None where it must be refused.
        tolerance: By how much a pixel may differ: 1 where rounding is left open.
        value_range: What the user says is black and white.
        reason: A part of what must be said where it is refused.
    """

    name: str
    data: bytes
    pixels: npt.NDArray[np.uint8] | None
    tolerance: float = 0
    value_range: tuple[float, float] | None = None
    reason: str = ""

    def __str__(self) -> str:
        return self.name


def shares(channels: int) -> npt.NDArray[np.float64]:
    """Float `[H, W, channels]`, 0 to 1: ramps in three directions, and noise so that nothing is guessed."""
    down, across = np.mgrid[:HEIGHT, :WIDTH]
    ramps = [down / (HEIGHT - 1), across / (WIDTH - 1), (down + across) / (HEIGHT + WIDTH - 2)]
    noise = np.random.default_rng(3).random((HEIGHT, WIDTH, 5))
    image = np.stack([*ramps, 1 - ramps[0], 1 - ramps[1]], axis=2)
    image[::3] = noise[::3]
    image[:2, :2], image[-2:, -2:] = 0, 1  # both ends are used
    return image[..., :channels]


def whole(channels: int, bits: int) -> Array:
    """The same as whole numbers of so many bits."""
    samples: Array = np.rint(shares(channels) * (2**bits - 1)).astype(np.int64)
    return samples


def eight(samples: Array, white: float, black: float = 0) -> npt.NDArray[np.uint8]:
    """What samples are in 8 bits, where these values are black and white."""
    share = (samples.astype(np.float64) - black) / (white - black)
    return np.rint(255 * np.clip(share, 0, 1)).astype(np.uint8)


def over_white(
    pixels: npt.NDArray[np.uint8], alpha: npt.NDArray[np.uint8]
) -> npt.NDArray[np.uint8]:
    """What is seen of pixels `[H, W, C]` that are so opaque `[H, W]` on a white page."""
    opaque = alpha[..., np.newaxis] / 255
    return np.rint(pixels * opaque + 255 * (1 - opaque)).astype(np.uint8)


def packed(samples: Array, bits: int) -> npt.NDArray[np.uint8]:
    """Rows of samples `[R, N]` of so many bits side by side, the highest bit first, each row filled up."""
    places = (samples[..., np.newaxis] >> np.arange(bits)[::-1]) & 1
    return np.packbits(places.reshape(len(samples), -1).astype(np.uint8), axis=1)
