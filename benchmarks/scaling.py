"""Does memory stay bounded, and does time grow no faster than the folder?

    python benchmarks/scaling.py --data DIR --weights DIR [--alpha 0.35] [--size 160]
    python benchmarks/scaling.py --data DIR --weights DIR --size 96 --pictures 5000 20000

Makes as many distinct pictures as asked for (crops of the photographs, mirrored, rescaled and encoded
anew; the same on every run) in a temporary folder, and runs each case in a process of its own, whose
largest resident size is what is reported. Without `--pictures`: `head_only()` on 1, 4 and 16 times the
photographs, and fine-tuning whose activations are over the budget, so that they go to disk.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from measuring import arguments, mobilenet, write_json
from PIL import Image

from tlkit import FineTuneSchedule, Phase, transfer_classifier

TIMES = (1, 4, 16)
SCHEDULES = {
    "head": FineTuneSchedule.head_only(),
    "views": FineTuneSchedule(phases=(Phase(unfreeze_fraction=0.3, epochs=1, views=4),)),
}
SIDES = (256, 384)  # of the pictures made: pixels, as small photographs of the web have them


def make_picture(photograph: Path, target: Path, number: int) -> None:
    """Write one crop: at least half of each side, so that the class stays in the picture."""
    rng = np.random.default_rng((7, number))
    with Image.open(photograph) as image:
        image.draft("RGB", (2 * SIDES[1], 2 * SIDES[1]))
        whole = image.convert("RGB")
    (width, height), share = whole.size, rng.uniform(0.5, 0.9)
    left, top = rng.uniform(0, 1 - share, 2) * (width, height)
    crop = whole.crop((int(left), int(top), int(left + share * width), int(top + share * height)))
    side = int(rng.integers(*SIDES))
    small = crop.resize((side, max(1, side * height // width)))
    if rng.random() < 0.5:
        small = small.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    small.save(target, quality=int(rng.integers(70, 95)))


def make_folder(data: Path, target: Path, count: int) -> None:
    """Make pictures in the proportion of the photographs' classes, all of them distinct."""
    photographs = sorted(data.glob("*/*.jpg"))
    for name in {path.parent.name for path in photographs}:
        (target / name).mkdir(parents=True)
    with ThreadPoolExecutor() as pool:
        jobs = [
            pool.submit(
                make_picture,
                photographs[number % len(photographs)],
                target / photographs[number % len(photographs)].parent.name / f"{number:06d}.jpg",
                number,
            )
            for number in range(count)
        ]
    for job in jobs:
        job.result()


def run(options: argparse.Namespace, folder: Path, case: str) -> dict[str, float]:
    """Measure one case in a process of its own."""
    command = [sys.executable, __file__, "--data", folder, "--weights", options.weights]
    command += ["--alpha", options.alpha, "--size", options.size, "--case", case]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(
        [*map(str, command)], check=True, stdout=subprocess.PIPE, text=True, env=environment
    )
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def case(options: argparse.Namespace) -> None:
    """Be that process: train, and print time and peak."""
    backbone = mobilenet(options.weights, options.alpha, options.size)
    started = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        transfer_classifier(options.data, backbone=backbone, schedule=SCHEDULES[options.case])
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # KiB on Linux
    print(json.dumps({"seconds": seconds, "peak": peak}))


def main() -> None:
    parser = arguments(__doc__.splitlines()[0])
    parser.set_defaults(alpha=0.35, size=160)
    parser.add_argument("--pictures", type=int, nargs="+", help="sizes of the folder instead")
    parser.add_argument("--case", choices=SCHEDULES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        case(options)
        return
    once = len(sorted(options.data.glob("*/*.jpg")))
    counts = options.pictures or [once * factor for factor in TIMES]
    plan = [("head", count) for count in counts]
    plan += [] if options.pictures else [("views", counts[0]), ("views", counts[-1])]
    found = []
    with tempfile.TemporaryDirectory(prefix="tlkit-scaling-") as place:
        for count in sorted(set(counts)):
            make_folder(options.data, Path(place) / str(count), count)
        print(f"MobileNetV2 alpha {options.alpha}, {options.size} px, {time.strftime('%F')}")
        print("case    pictures  seconds  ms/picture   peak MiB")
        for name, count in plan:
            figures = run(options, Path(place) / str(count), name)
            found.append({"case": name, "pictures": count, **figures})
            print(
                f"{name:6} {count:9,} {figures['seconds']:8.1f} "
                f"{1000 * figures['seconds'] / count:11.1f} {figures['peak']:10,.0f}",
                flush=True,
            )
    write_json(options.json, {"scaling": found})


if __name__ == "__main__":
    main()
