"""Draw the figures of docs/explanations, in light and dark, and keep the numbers that they show.

    python scripts/draw_figures.py --data DIR --weights DIR [NAME …]   # measure and draw
    python scripts/draw_figures.py [NAME …]                            # draw what is kept anew

`DIR` are the folder of the alpaca photographs and one with Keras's weight files of MobileNetV2 without top.
Without them, only what needs no photographs is measured anew; the rest is drawn from the numbers that are
kept in `docs/images`. At the end stands what the pages must say of them.
"""

import argparse
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from figures import COUNTED, FIGURES, MEASURED
from figures.drawing import keep, kept
from figures.sources import Sources


def main() -> None:
    """Measure as far as there is something to measure on, and draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(FIGURES))
    parser.add_argument("--data", type=Path, help="the folder with two classes")
    parser.add_argument("--weights", type=Path, help="folder of the weights files")
    options = parser.parse_args()
    if (options.data is None) != (options.weights is None):
        parser.error("give both --data and --weights, or neither")
    if unknown := {*options.names} - FIGURES.keys():
        parser.error(f"no such figure: {', '.join(unknown)}")
    for name in options.names or FIGURES:
        if name in COUNTED:
            numbers = COUNTED[name].measure()
        elif options.data:
            numbers = MEASURED[name].measure(Sources(options.data, options.weights))
        else:
            numbers = kept(name)
        keep(name, FIGURES[name].draw, numbers)
        for sentence in FIGURES[name].statements(numbers):
            print(f"  {sentence}")


if __name__ == "__main__":
    main()
