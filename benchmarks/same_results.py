"""Does another tlkit give the same probabilities for the same call?

    python benchmarks/same_results.py --data DIR --weights DIR --other SRC [--alpha 0.35] [--size 160]

`--other` is the `src` folder of another checkout. Both train the exact head on the last layer, and follow the
course, with a validation split of a fifth: what every version of tlkit has. Then each says the probability of
every image of the folder, and the largest difference is printed; 0 means equal to the last bit.
"""

from __future__ import annotations

import argparse
import inspect
import json
import os
import subprocess
import sys
from pathlib import Path

import tlkit
from tlkit import (
    AugmentationPolicy,
    BackboneAdapter,
    DatasetSpec,
    FineTuneSchedule,
    transfer_classifier,
)


def probabilities(options: argparse.Namespace) -> dict[str, list[float]]:
    last = {"features": "last"}
    if "features" not in inspect.signature(BackboneAdapter).parameters:
        last = {}  # the version has nothing else
    backbone = BackboneAdapter(
        "MobileNetV2",
        image_size=options.size,
        alpha=options.alpha,
        weights=options.weights / f"mobilenet_v2_{options.alpha}_224_no_top.weights.h5",
        **last,
    )
    spec = DatasetSpec(options.data, validation_fraction=0.2)
    files = [example.path for example in spec.listing().examples]
    ways = {
        "exact head": (FineTuneSchedule.head_only(), None),
        "course": (FineTuneSchedule.course(), AugmentationPolicy.course()),
    }
    found = {}
    for name, (schedule, policy) in ways.items():
        classifier = transfer_classifier(
            spec, backbone=backbone, schedule=schedule, augmentation=policy
        )
        found[name] = [one.probability for one in classifier.predict(files)]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="the folder with two classes")
    parser.add_argument("--weights", type=Path, required=True, help="folder of the weights files")
    parser.add_argument("--alpha", type=float, default=0.35, help="width of MobileNetV2")
    parser.add_argument("--size", type=int, default=160, help="height and width in pixels")
    parser.add_argument(
        "--other", type=Path, required=True, help="the folder `src` of another tlkit"
    )
    parser.add_argument("--be", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.be:
        print(json.dumps(probabilities(options)))
        return
    sides = []
    for source in (Path(tlkit.__file__).parents[1], options.other.resolve()):
        said = subprocess.run(
            [sys.executable, __file__, *sys.argv[1:], "--be"],
            env=os.environ | {"PYTHONPATH": str(source), "TLKIT_ENGINE": "tensorflow"},
            stdout=subprocess.PIPE,
            check=True,
            text=True,
        )
        sides.append(json.loads(said.stdout.splitlines()[-1]))
    for name, ours in sides[0].items():
        largest = max(abs(a - b) for a, b in zip(ours, sides[1][name], strict=True))
        print(f"{name}: {len(ours)} images, largest difference in probability {largest:g}")


if __name__ == "__main__":
    main()
