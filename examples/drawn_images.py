"""Draw a folder of alpacas and of other things, for when no photographs can be had.

    python examples/drawn_images.py DIRECTORY

Every image is a function of (seed, class, number): a landscape, shared by both classes so that the
background tells nothing, and on it an alpaca, or a sheep, a dog, a tree, a house, a car or a balloon.
Things are drawn in a frame of their own: x runs forwards, y upwards, the feet stand on y = 0 and the
tallest of them reach y = 1.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter

Colour: TypeAlias = tuple[int, int, int]
Point: TypeAlias = tuple[float, float]
Rng: TypeAlias = np.random.Generator

CLASSES = ("alpaca", "not alpaca")
SIZE = 256  # pixels of a side
FINE = 3  # drawn three times as large and shrunk, which smooths every edge

# fmt: off
WOOL: list[Colour] = [
    (245, 240, 228), (232, 214, 184), (205, 164, 116), (150, 104, 68),
    (94, 66, 50), (168, 164, 160), (72, 68, 70),
]
PAINT: list[Colour] = [
    (206, 74, 62), (233, 172, 60), (70, 128, 172), (84, 150, 120),
    (148, 96, 156), (226, 224, 216), (92, 92, 100),
]
MEADOWS: list[Colour] = [
    (118, 166, 84), (150, 170, 84), (92, 142, 90), (188, 172, 104), (166, 150, 118),
]
# fmt: on
SKIES: list[tuple[Colour, Colour]] = [  # at the top, at the horizon
    ((108, 172, 226), (222, 238, 246)),
    ((250, 176, 122), (252, 228, 190)),
    ((120, 134, 176), (234, 206, 210)),
    ((168, 182, 192), (220, 224, 224)),
    ((60, 84, 138), (196, 186, 206)),
]
DARK: Colour = (44, 38, 40)


def shade(colour: Colour, factor: float) -> Colour:
    """Darken (factor below 1) or lighten (above 1) a colour."""
    red, green, blue = (round(min(255, max(0, channel * factor))) for channel in colour)
    return red, green, blue


class Pen:
    """Draws in the frame of one thing, which stands at a place, has a size and may look left."""

    def __init__(self, canvas: Image.Image, foot: Point, height: float, *, mirrored: bool) -> None:
        self._draw = ImageDraw.Draw(canvas)
        self._foot, self._height, self._forward = foot, height, -1 if mirrored else 1

    def _pixel(self, point: Point) -> Point:
        x, y = point
        return self._foot[0] + self._forward * x * self._height, self._foot[1] - y * self._height

    def blob(self, centre: Point, radius: float, colour: Colour, *, tall: float = 1.0) -> None:
        """Fill an ellipse; `tall` is its height over its width."""
        x, y = self._pixel(centre)
        half, upright = radius * self._height, radius * tall * self._height
        self._draw.ellipse((x - half, y - upright, x + half, y + upright), fill=colour)

    def line(self, points: Sequence[Point], width: float, colour: Colour) -> None:
        """Draw a line with round ends."""
        pixels = [self._pixel(point) for point in points]
        self._draw.line(
            pixels, fill=colour, width=max(1, round(width * self._height)), joint="curve"
        )
        for point in (points[0], points[-1]):
            self.blob(point, width / 2, colour)

    def shape(self, points: Sequence[Point], colour: Colour) -> None:
        """Fill a polygon."""
        self._draw.polygon([self._pixel(point) for point in points], fill=colour)

    def wool(self, rng: Rng, spine: Sequence[Point], radius: float, colour: Colour) -> None:
        """Cover a line of points with curls: dark ones around, light ones where the sun comes from."""
        curls = [
            (x + dx, y + dy, radius * rng.uniform(0.38, 0.55))
            for x, y in spine
            for dx, dy in rng.normal(0, radius * 0.45, (14, 2)).clip(-radius, radius)
        ]
        for x, y, size in curls:
            self.blob((x, y - radius * 0.1), size * 1.16, shade(colour, 0.78))
        for x, y in spine:
            self.blob((x, y), radius * 0.95, shade(colour, 0.94))
        for x, y, size in curls:
            self.blob((x, y), size, shade(colour, rng.uniform(0.92, 1.0)))
        for x, y, size in curls[::2]:
            self.blob((x, y + size * 0.4), size * 0.55, shade(colour, rng.uniform(1.02, 1.1)))


def along(start: Point, end: Point, count: int, *, bend: float = 0.0) -> list[Point]:
    """Return points from start to end, bent sideways in the middle."""
    (x0, y0), (x1, y1) = start, end
    steps = np.linspace(0, 1, count)
    return [
        (x0 + (x1 - x0) * t + bend * float(np.sin(np.pi * t)), y0 + (y1 - y0) * t) for t in steps
    ]


def draw_alpaca(pen: Pen, rng: Rng) -> None:
    """Draw the hero: a long woolly neck, banana ears, a fringe and a small smile."""
    coat = WOOL[rng.integers(len(WOOL))]
    face = shade(coat, 0.86) if rng.random() < 0.6 else shade(coat, 1.12)
    lean, tall = rng.uniform(-0.04, 0.14), rng.uniform(-0.1, 0.03)
    if rng.random() < 0.12:  # some graze
        lean, tall = rng.uniform(0.24, 0.3), rng.uniform(-0.58, -0.5)
    for x in (-0.2, 0.13, -0.13, 0.2):
        step = rng.uniform(-0.03, 0.03)
        pen.line(
            [(x, 0.34), (x + step, 0.03)], 0.062, shade(coat, 0.72 if x in (-0.2, 0.13) else 0.86)
        )
        pen.line([(x + step - 0.008, 0.015), (x + step + 0.02, 0.015)], 0.03, DARK)
    pen.wool(rng, [(-0.31, 0.46)], 0.06, coat)
    pen.wool(rng, along((-0.2, 0.43), (0.18, 0.44), 6), 0.135, coat)
    head = (0.31 + lean, 0.84 + tall)
    pen.wool(rng, along((0.18, 0.46), (head[0] - 0.02, head[1] - 0.04), 8, bend=0.03), 0.07, coat)
    draw_alpaca_head(pen, rng, head, coat, face)


def draw_alpaca_head(pen: Pen, rng: Rng, head: Point, coat: Colour, face: Colour) -> None:
    """Draw the head around its centre."""
    x, y = head
    for side, tint in ((-0.045, 0.8), (0.02, 0.95)):
        tip = (x + side + rng.uniform(-0.02, 0.03), y + 0.155)
        base = [(x + side - 0.025, y + 0.05), (x + side - 0.03, y + 0.11)]
        pen.shape([*base, tip, (x + side + 0.03, y + 0.06)], shade(coat, tint))
    pen.blob((x + 0.02, y), 0.085, face, tall=0.9)
    pen.blob((x + 0.095, y - 0.03), 0.055, shade(face, 1.06), tall=0.8)
    pen.wool(rng, [(x - 0.03, y + 0.06), (x + 0.03, y + 0.075)], 0.052, coat)
    pen.blob((x + 0.045, y + 0.012), 0.017, DARK)
    pen.blob((x + 0.051, y + 0.019), 0.006, (250, 250, 250))
    pen.blob((x + 0.135, y - 0.018), 0.013, DARK, tall=0.7)
    pen.line(
        [(x + 0.128, y - 0.05), (x + 0.1, y - 0.058), (x + 0.08, y - 0.05)], 0.008, shade(DARK, 1.4)
    )


def draw_sheep(pen: Pen, rng: Rng) -> None:
    """Draw the hardest one to tell from an alpaca: all of the wool and none of the neck."""
    coat = WOOL[rng.integers(len(WOOL))]
    face = shade(WOOL[rng.integers(len(WOOL))], 0.7)
    for x in (-0.17, 0.1, -0.1, 0.17):
        pen.line([(x, 0.25), (x + rng.uniform(-0.02, 0.02), 0.01)], 0.05, shade(face, 0.85))
    pen.wool(rng, along((-0.2, 0.37), (0.2, 0.38), 6), 0.17, coat)
    y = rng.uniform(0.3, 0.48)
    pen.line([(0.3, y + 0.06), (0.24, y + 0.04)], 0.05, shade(face, 0.8))
    pen.blob((0.36, y), 0.085, face, tall=1.15)
    pen.wool(rng, [(0.33, y + 0.08)], 0.05, coat)
    pen.blob((0.385, y + 0.02), 0.015, (245, 245, 240))
    pen.blob((0.388, y + 0.02), 0.009, DARK)


def draw_dog(pen: Pen, rng: Rng) -> None:
    """Draw a dog: smooth, a short neck, a flag of a tail."""
    coat = WOOL[rng.integers(len(WOOL))]
    for x in (-0.2, 0.16, -0.15, 0.21):
        pen.line([(x, 0.3), (x + rng.uniform(-0.05, 0.05), 0.02)], 0.06, shade(coat, 0.82))
    pen.line(
        along((-0.24, 0.36), (-0.4, rng.uniform(0.4, 0.62)), 8, bend=-0.03), 0.04, shade(coat, 0.9)
    )
    pen.line([(-0.18, 0.34), (0.18, 0.36)], 0.2, coat)
    pen.line([(0.2, 0.38), (0.27, 0.52)], 0.12, coat)
    pen.blob((0.3, 0.56), 0.1, coat, tall=0.9)
    pen.line([(0.34, 0.53), (0.42, 0.52)], 0.08, shade(coat, 1.05))
    pen.shape([(0.22, 0.62), (0.3, 0.62), (0.25, 0.44), (0.2, 0.46)], shade(coat, 0.7))
    pen.blob((0.455, 0.545), 0.022, DARK)
    pen.blob((0.335, 0.585), 0.015, DARK)
    pen.line([(0.21, 0.46), (0.3, 0.43)], 0.03, PAINT[rng.integers(len(PAINT))])


def draw_tree(pen: Pen, rng: Rng) -> None:
    """Draw a tree with a round crown, or a fir."""
    leaf: Colour = (
        int(rng.integers(60, 190)),
        int(rng.integers(110, 165)),
        int(rng.integers(50, 90)),
    )
    pen.line([(0, 0.02), (rng.uniform(-0.04, 0.04), 0.5)], rng.uniform(0.06, 0.11), (112, 82, 62))
    if rng.random() < 0.4:
        for level in range(4):
            y, half = 0.2 + level * 0.18, 0.3 - level * 0.06
            pen.shape([(-half, y), (half, y), (0, y + 0.32)], shade(leaf, 0.7 + 0.1 * level))
        return
    for y in (0.55, 0.72):
        pen.wool(rng, along((-0.2, y), (0.2, y), 4), rng.uniform(0.14, 0.19), leaf)


def draw_house(pen: Pen, rng: Rng) -> None:
    """Draw a house with a chimney."""
    wall, roof = (
        shade(PAINT[rng.integers(len(PAINT))], 1.12),
        shade(PAINT[rng.integers(len(PAINT))], 0.75),
    )
    half, top = rng.uniform(0.3, 0.45), rng.uniform(0.35, 0.5)
    pen.shape(
        [(half * 0.35, top), (half * 0.35, 0.85), (half * 0.6, 0.85), (half * 0.6, top)],
        shade(roof, 0.8),
    )
    pen.shape([(-half, 0), (half, 0), (half, top), (-half, top)], wall)
    pen.shape(
        [(-half - 0.07, top), (half + 0.07, top), (rng.uniform(-0.05, 0.05), top + 0.35)], roof
    )
    pen.shape([(-0.07, 0), (0.07, 0), (0.07, 0.24), (-0.07, 0.24)], shade(roof, 0.7))
    for x in (-half * 0.62, half * 0.62):
        pen.shape(
            [(x - 0.07, 0.2), (x + 0.07, 0.2), (x + 0.07, 0.33), (x - 0.07, 0.33)], (250, 232, 166)
        )
        pen.line([(x, 0.2), (x, 0.33)], 0.012, shade(wall, 0.7))


def draw_car(pen: Pen, rng: Rng) -> None:
    """Draw a car."""
    paint = PAINT[rng.integers(len(PAINT))]
    back, front = rng.uniform(-0.3, -0.2), rng.uniform(0.12, 0.22)
    pen.shape(
        [(back - 0.06, 0.3), (back, 0.5), (front, 0.5), (front + 0.16, 0.3)], shade(paint, 0.9)
    )
    pen.shape(
        [(back, 0.32), (back + 0.04, 0.46), (front - 0.02, 0.46), (front + 0.1, 0.32)],
        (196, 222, 232),
    )
    pen.line([(-0.02, 0.32), (-0.02, 0.47)], 0.025, shade(paint, 0.9))
    pen.line([(-0.4, 0.2), (0.42, 0.2)], 0.19, paint)
    pen.blob((0.48, 0.23), 0.03, (252, 240, 190))
    for x in (-0.25, 0.27):
        pen.blob((x, 0.1), 0.1, DARK)
        pen.blob((x, 0.1), 0.05, (190, 190, 192))


def draw_balloon(pen: Pen, rng: Rng) -> None:
    """Draw a hot-air balloon about to lift off."""
    paint, stripe = (PAINT[i] for i in rng.choice(len(PAINT), 2, replace=False))
    lift = rng.uniform(0, 0.25)
    for x in (-0.05, 0.05):
        pen.line([(x, 0.1 + lift), (x * 3, 0.42 + lift)], 0.01, DARK)
    pen.shape(
        [(-0.2, 0.5 + lift), (0.2, 0.5 + lift), (0.05, 0.3 + lift), (-0.05, 0.3 + lift)],
        shade(paint, 0.85),
    )
    pen.blob((0, 0.66 + lift), 0.27, paint)
    pen.blob((0, 0.66 + lift), 0.15, stripe, tall=1.8)
    pen.blob((0, 0.66 + lift), 0.05, paint, tall=5.4)
    pen.shape(
        [(-0.07, 0.12 + lift), (0.07, 0.12 + lift), (0.055, 0.02 + lift), (-0.055, 0.02 + lift)],
        (150, 108, 66),
    )


OTHERS = (draw_sheep, draw_dog, draw_tree, draw_house, draw_car, draw_balloon)


def draw_landscape(rng: Rng, meadow: Colour) -> Image.Image:
    """Paint a sky with a sun and some clouds, two rows of hills and a meadow."""
    side = SIZE * FINE
    top, low = SKIES[rng.integers(len(SKIES))]
    fade = np.linspace(0, 1, side)[:, None, None]
    sky = np.asarray(top) * (1 - fade) + np.asarray(low) * fade
    canvas = Image.fromarray(np.broadcast_to(sky, (side, side, 3)).astype(np.uint8))
    draw = ImageDraw.Draw(canvas)
    x, y, radius = (
        rng.uniform(0, side),
        rng.uniform(0.08, 0.3) * side,
        rng.uniform(0.04, 0.08) * side,
    )
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=(255, 246, 214))
    for _ in range(rng.integers(0, 4)):
        cloud = Pen(
            canvas,
            (rng.uniform(0, side), rng.uniform(0.1, 0.35) * side),
            0.4 * side,
            mirrored=False,
        )
        for dx in np.linspace(-0.2, 0.2, 5):
            cloud.blob(
                (dx, rng.uniform(-0.02, 0.03)), rng.uniform(0.06, 0.11), shade(low, 1.08), tall=0.6
            )
    xs = np.arange(side + 1)
    for horizon, height, tint in ((0.5, 0.09, 0.72), (0.6, 0.06, 0.86), (0.68, 0.02, 1.0)):
        wave = (
            np.sin(xs / side * rng.uniform(3, 8) + rng.uniform(0, 6)) * height * rng.uniform(0.4, 1)
        )
        ridge = list(zip(xs.tolist(), ((horizon + wave) * side).tolist(), strict=True))
        draw.polygon([(0, side), *ridge, (side, side)], fill=shade(meadow, tint))
    return canvas


def grow_meadow(canvas: Image.Image, rng: Rng, meadow: Colour, count: int) -> None:
    """Put tufts of grass and some flowers on the foreground."""
    side = canvas.width
    flower = PAINT[rng.integers(len(PAINT))]
    for y in np.sort(rng.uniform(0.72, 1, count)):
        tuft = Pen(canvas, (rng.uniform(0, side), y * side), 0.05 * side * y, mirrored=False)
        blade = shade(meadow, rng.uniform(0.75, 1.15))
        for lean in (-0.4, 0.0, 0.4):
            tuft.shape([(-0.08, 0), (0.08, 0), (lean, rng.uniform(0.5, 1))], blade)
        if rng.random() < 0.2:
            tuft.blob((0, 0.8), 0.22, flower)
            tuft.blob((0, 0.8), 0.09, (250, 226, 120))


def draw_image(class_name: str, number: int, *, seed: int = 0) -> Image.Image:
    """Draw one image.

    Args:
        class_name: "alpaca" or "not alpaca".
        number: Which image of the class, from 0.
        seed: Seed of the whole folder.

    Returns:
        An RGB image of 256 x 256 pixels, the same for the same arguments.
    """
    rng = np.random.default_rng((seed, CLASSES.index(class_name), number))
    meadow = MEADOWS[rng.integers(len(MEADOWS))]
    canvas = draw_landscape(rng, meadow)
    grow_meadow(canvas, rng, meadow, 40)
    side = canvas.width
    depth = rng.uniform(0, 1)  # far away and small, or near and large
    height = (0.4 + 0.3 * depth + rng.uniform(-0.05, 0.05)) * side
    room = 0.5 * height  # how far a thing reaches to either side
    foot = rng.uniform(room, side - room), (0.76 + 0.18 * depth) * side
    pen = Pen(canvas, foot, height, mirrored=bool(rng.random() < 0.5))
    pen.blob((0, 0.01), 0.34, shade(meadow, 0.6), tall=0.14)
    thing = draw_alpaca if class_name == "alpaca" else OTHERS[number % len(OTHERS)]
    thing(pen, rng)
    grow_meadow(canvas, rng, meadow, 8)
    canvas = canvas.resize((SIZE, SIZE), Image.Resampling.LANCZOS)
    canvas = canvas.filter(ImageFilter.GaussianBlur(rng.uniform(0, 0.9)))
    return ImageEnhance.Brightness(canvas).enhance(rng.uniform(0.75, 1.15))


def draw_folder(directory: Path, *, count: int = 120, seed: int = 0) -> Path:
    """Draw `count` images of each class as JPEG files, and return the folder."""
    for class_name in CLASSES:
        folder = directory / class_name
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(count):
            image = draw_image(class_name, number, seed=seed)
            image.save(folder / f"drawn-{number:03d}.jpg", quality=90)
    return directory


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Draw alpacas and other things.")
    parser.add_argument("directory", type=Path)
    print(draw_folder(parser.parse_args().directory))
