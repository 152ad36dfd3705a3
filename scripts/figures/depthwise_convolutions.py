"""Multiply-adds and parameters of MobileNetV2, counted from the shapes of its layers."""

from __future__ import annotations

import math
from typing import Any

from figures.drawing import Numbers, canvas
from tlkit import BackboneAdapter
from tlkit.plot.figure import Grid
from tlkit.plot.style import Palette

SIZE = 224
EXAMPLE = "block_5"
KINDS = {
    "first": "first 3 × 3 convolution",
    "expand": "1 × 1 that widen",
    "depthwise": "3 × 3 depthwise",
    "project": "1 × 1 that narrow",
    "last": "last 1 × 1 convolution",
    "norms": "batch normalisation",
}


def measure() -> Numbers:
    """Count, layer by layer."""
    base = BackboneAdapter("MobileNetV2", image_size=SIZE, weights=None).build().base
    totals = {kind: [0, 0] for kind in KINDS}
    blocks: dict[str, dict[str, Any]] = {}
    for layer in base.layers:
        kind = _kind(layer.name)
        if layer.count_params() == 0:
            continue
        height, width, channels = layer.output.shape[1:]
        kernel = layer.count_params()
        adds = 0 if kind == "norms" else kernel * height * width
        totals[kind][0] += adds
        totals[kind][1] += kernel
        if kind in ("depthwise", "project"):
            block = blocks.setdefault(layer.name.rsplit("_", 1)[0], {})
            block |= {kind: adds}
            if kind == "project":
                wide = layer.input.shape[-1]
                block |= {"side": height, "wide": wide, "narrow": channels}
                block["ordinary"] = math.prod((height, width, 9, wide, channels))
    separable = sum(block["depthwise"] + block["project"] for block in blocks.values())
    ordinary = sum(block["ordinary"] for block in blocks.values())
    whole = sum(adds for adds, _ in totals.values())
    return {
        "kinds": totals,
        "blocks": blocks,
        "separable": separable,
        "ordinary": ordinary,
        "all": whole,
        "all with ordinary": whole - separable + ordinary,
        "parameters": base.count_params(),
    }


def _kind(name: str) -> str:
    if name.lower().endswith("_bn") or name.startswith("bn_"):
        return "norms"
    if name == "Conv1":
        return "first"
    if name == "Conv_1":
        return "last"
    return name.rsplit("_", 1)[-1]


def draw(numbers: Numbers, colours: Palette) -> Grid:
    """Draw how the two kinds of convolution look at their input, and what each block costs."""
    axes = canvas(2, 1, height=4.8, heights=(1, 1.5))
    sketch, bars = axes[:, 0]
    _sketch(sketch, colours)
    blocks = list(numbers["blocks"].values())
    places = range(len(blocks))
    million = 1e6
    bars.bar(
        places,
        [b["ordinary"] / million for b in blocks],
        0.8,
        color=colours.second,
        label="one ordinary 3 × 3",
    )
    bars.bar(
        places,
        [(b["depthwise"] + b["project"]) / million for b in blocks],
        0.8,
        color=colours.positive,
        label="3 × 3 depthwise, then 1 × 1",
    )
    bars.set_xticks(places, [str(p) for p in places])
    bars.set(xlabel="block of MobileNetV2", ylabel="million multiply-adds")
    bars.set_title("What the middle of each block costs", pad=8)
    bars.set_ylim(0, 1.3 * max(b["ordinary"] for b in blocks) / million)
    bars.legend(loc="upper left", ncols=2)
    return axes


def _sketch(ax: Any, colours: Palette) -> None:
    """Draw channels as squares: what one number that comes out has looked at."""
    from matplotlib.patches import Rectangle

    def channel(x: float, y: float, colour: str, *, spot: int = 0) -> None:
        ax.add_patch(
            Rectangle((x, y), 0.8, 0.8, facecolor="none", edgecolor=colours.faint, linewidth=1)
        )
        side = spot * 0.8 / 5
        if spot:
            corner = (x + 0.4 - side / 2, y + 0.4 - side / 2)
            ax.add_patch(Rectangle(corner, side, side, facecolor=colour, edgecolor="none"))

    def arrow(start: tuple[float, float], end: tuple[float, float], colour: str) -> None:
        style = {"arrowstyle": "-", "color": colour, "linewidth": 1.1, "shrinkA": 0, "shrinkB": 0}
        ax.annotate("", end, start, arrowprops=style)

    for row in range(3):
        channel(0.8, row, colours.second, spot=3)
        channel(3.8, row, colours.second, spot=1 if row == 1 else 0)
        arrow((1.45, row + 0.4), (4.1, 1.4), colours.second)
        channel(7.4, row, colours.positive, spot=3)
        channel(10.4, row, colours.positive, spot=1)
        channel(13.4, row, colours.positive, spot=1 if row == 1 else 0)
        arrow((8.05, row + 0.4), (10.7, row + 0.4), colours.positive)
        arrow((10.9, row + 0.4), (13.7, 1.4), colours.positive)
    for x, name, looks, colour in (
        (2.7, "ordinary 3 × 3", "at every channel,\n3 × 3 places", colours.second),
        (9.3, "depthwise 3 × 3", "at its own channel,\n3 × 3 places", colours.positive),
        (13.8, "1 × 1", "at every channel,\none place", colours.positive),
    ):
        ax.text(x, 3.2, name, ha="center", weight="bold", color=colour)
        ax.text(x, -0.4, looks, ha="center", va="top", size=9)
    ax.set(xlim=(0, 16), ylim=(-1.9, 3.7), aspect="equal")
    ax.set_axis_off()


def statements(numbers: Numbers) -> list[str]:
    """List what the page must state."""
    block, kinds, whole = numbers["blocks"][EXAMPLE], numbers["kinds"], numbers["all"]
    side, wide, narrow = (block[name] for name in ("side", "wide", "narrow"))
    pair = block["depthwise"] + block["project"]
    places = f"{side} · {side}"
    return [
        f"| one ordinary 3 × 3 | {block['ordinary']:,} | {places} · 9 · {wide} · {narrow} |",
        f"| 3 × 3 depthwise | {block['depthwise']:,} | {places} · 9 · {wide} |",
        f"| 1 × 1 | {block['project']:,} | {places} · {wide} · {narrow} |",
        f"| both | {pair:,} | {block['ordinary'] / pair:.1f} times fewer |",
        f"it is {numbers['ordinary'] / numbers['separable']:.1f} times",
        *(
            f"| {KINDS[kind]} | {adds:,} | {100 * adds / whole:.0f} % | {parameters:,} |"
            for kind, (adds, parameters) in kinds.items()
        ),
        f"| all | {whole:,} | | {numbers['parameters']:,} |",
        f"need {numbers['all with ordinary'] / 1e6:,.0f} million",
        f"instead of {whole / 1e6:.0f} million",
    ]
