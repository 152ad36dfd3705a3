"""The widths of MobileNetV2, and the places where it may be cut."""

from __future__ import annotations

import math

import numpy as np

from figures.drawing import Numbers, canvas
from tlkit import BackboneAdapter
from tlkit.plot.figure import Grid
from tlkit.plot.style import Palette

SIZE = 160
PLACE = 120  # the course's `fine_tune_at`
CUTS = ("narrowest", "chosen", "nearest")


def measure() -> Numbers:
    """Note what every layer gives out, and which of that is a valid cut."""
    network = BackboneAdapter("MobileNetV2", image_size=SIZE, weights=None).build()
    layers = network.base.layers
    cuts = {cut.name: [cut.layer_index, cut.size] for cut in network.cut_points}
    chosen = network.cut_below(PLACE)
    assert chosen is not None
    possible = [
        cut for cut in network.cut_points if len(layers) / 10 <= cut.layer_index + 1 <= PLACE
    ]
    narrowest, nearest = min(reversed(possible), key=lambda cut: cut.size), possible[-1]
    widest = max(layers[PLACE:], key=lambda layer: math.prod(layer.output.shape[1:]))
    return {
        "layers": len(layers),
        "layer at the place": layers[PLACE].name,
        "channels": [layer.output.shape[-1] for layer in layers],
        "sizes": [math.prod(layer.output.shape[1:]) for layer in layers],
        "adds": [
            [layers.index(next(i for i in layers if i.output is layer.input[0])), place]
            for place, layer in enumerate(layers)
            if layer.name.endswith("_add")
        ],
        "cuts": cuts,
        "chosen": chosen.name,
        "narrowest": narrowest.name,
        "nearest": nearest.name,
        "image": SIZE * SIZE * 3,
        "widest above": [widest.name, math.prod(widest.output.shape[1:])],
    }


def draw(numbers: Numbers, colours: Palette) -> Grid:
    """Draw the channels as a string of beads, and below it how much there is to keep at each place."""
    axes = canvas(2, 1, height=5.0, heights=(1, 1.5))
    beads, sizes = axes[:, 0]
    channels = np.array(numbers["channels"]) / 2
    layers = np.arange(len(channels))
    beads.fill_between(layers, -channels, channels, step="mid", color=colours.second, linewidth=0)
    for start, end in numbers["adds"]:
        top = channels[start : end + 1].max() + 40
        beads.plot(
            [start, start, end, end],
            [channels[start], top, top, channels[end]],
            color=colours.first,
            linewidth=1,
        )
    beads.set(yticks=[], ylabel="channels")
    beads.set_title("Narrow, wide, narrow; a way around most of the wide")
    kept, width = numbers["cuts"].values(), 10 ** np.ceil(np.log10(max(numbers["sizes"])))
    sizes.step(layers, numbers["sizes"], where="mid", color=colours.second, linewidth=1)
    places, heights = zip(*kept, strict=True)
    sizes.plot(places, heights, "o", markersize=3.6, color=colours.first, label="valid cuts")
    for name, offset in (("chosen", (-72, -38)), ("nearest", (-72, 12)), ("narrowest", (-96, -40))):
        layer = numbers[name]
        place, size = numbers["cuts"][layer]
        sizes.plot(place, size, "o", markersize=7, color=colours.positive)
        arrow = {"arrowstyle": "-", "color": colours.positive, "linewidth": 0.9}
        sizes.annotate(
            f"{layer}\n{size:,}",
            (place, size),
            offset,
            textcoords="offset points",
            arrowprops=arrow,
            size=9,
        )
    sizes.axvline(PLACE - 0.5, color=colours.faint, linewidth=0.9, linestyle="--")
    sizes.annotate(
        f"layer {PLACE}",
        (PLACE, width),
        (3, -3),
        textcoords="offset points",
        va="top",
        size=9,
        color=colours.faint,
    )
    sizes.set(
        yscale="log", ylim=(1e3, width), xlabel="layer", ylabel="numbers to keep for an image"
    )
    sizes.legend(loc="lower left")
    for ax in (beads, sizes):
        ax.set_xlim(-2, len(channels) + 1)
    return axes


def statements(numbers: Numbers) -> list[str]:
    """List what the page must state."""
    sizes = {name: f"`{numbers[name]}` | {numbers['cuts'][numbers[name]][1]:,}" for name in CUTS}
    chosen = numbers["cuts"][numbers["chosen"]][1]
    return [
        f"{len(numbers['cuts'])} places in {numbers['layers']} layers",
        f"layer {PLACE}, `{numbers['layer at the place']}`",
        *(f"| {size} |" for size in sizes.values()),
        f"{chosen:,} numbers, {chosen / numbers['image']:.3f} of the {numbers['image']:,}",
    ]
