"""Does memory stay bounded, and does time grow no faster than the folder, the image or the network?

    python benchmarks/scaling.py --data DIR --weights DIR [--over images] [--alpha 0.35] [--size 160]
    python benchmarks/scaling.py --data DIR --weights DIR --size 96 --images 5000 20000

Makes as many distinct images as asked for (crops of the photographs, mirrored, rescaled and encoded
anew; the same on every run) in a temporary folder, and runs each case in a process of its own: its time after
imports and its largest memory. Over what, `--over` says:

- `images`: `head_only()` on 1, 4 and 16 times the photographs, and fine-tuning whose activations are over
  the budget, so that they go to disk. `--images` asks for other numbers, without fine-tuning.
- `sizes`: `head_only()` at 96, 160 and 224 pixels.
- `backbones`: `head_only()` with other networks of the catalogue, random weights, each at `--size`.
- `engines`: `head_only()` on 4,000 images by TensorFlow and by ONNX Runtime, which converts the network in
  its first run and finds it converted in others (`--repeats`).
- `head`: the exact head on features in a file, up to a million rows, and beside it the same in memory.
- `listing`: listing and splitting up to a million files, and the pass over them with a decoder and a network
  that cost nothing: what is left is tlkit's own work.
- `duplicates`: the search among up to a million made-up thumbnails.
- `rates`: bytes and CPU time of one image, decoded, stored in Parquet and read back.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

import beyond
import numpy as np
from measuring import (
    Figures,
    Runs,
    arguments,
    interleaved,
    mobilenet,
    process,
    shared_arguments,
    table,
    write_json,
)
from PIL import Image

from tlkit import BackboneAdapter, FineTuneSchedule, Phase, transfer_classifier

TIMES = (1, 4, 16)
PIXELS = (96, 160, 224)
BACKBONES = (
    "MobileNetV2",
    "MobileNetV3Large",
    "EfficientNetV2B0",
    "DenseNet121",
    "ResNet50V2",
    "ConvNeXtTiny",
)
ENGINES, MANY = ("tensorflow", "onnxruntime"), 4000
SCHEDULES = {
    "head": FineTuneSchedule.head_only(),
    "views": FineTuneSchedule(phases=(Phase(unfreeze_fraction=0.3, epochs=1, views=4),)),
}
SIDES = (256, 384)  # of the images made: pixels, as small photographs of the web have them


def make_image(photograph: Path, target: Path, number: int) -> None:
    """Write one crop: at least half of each side, so that the class stays in the image."""
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
    """Make images in the proportion of the photographs' classes, all of them distinct."""
    photographs = sorted(data.glob("*/*.jpg"), key=lambda path: path.name)  # classes mixed
    for name in {path.parent.name for path in photographs}:
        (target / name).mkdir(parents=True)
    with ThreadPoolExecutor() as pool:
        jobs = [
            pool.submit(
                make_image,
                photographs[number % len(photographs)],
                target / photographs[number % len(photographs)].parent.name / f"{number:06d}.jpg",
                number,
            )
            for number in range(count)
        ]
    for job in jobs:
        job.result()


class Case(NamedTuple):
    """One row: what is run on how many images."""

    images: int
    schedule: str = "head"
    size: int | None = None
    backbone: str | None = None
    engine: str = "tensorflow"


def cases(options: argparse.Namespace) -> dict[str, Case]:
    once = len(sorted(options.data.glob("*/*.jpg")))
    if options.over == "sizes":
        return {f"{size} px": Case(once, size=size) for size in PIXELS}
    if options.over == "backbones":
        return {name: Case(once, backbone=name) for name in options.backbones}
    if options.over == "engines":
        count = options.images[0] if options.images else MANY
        return {engine: Case(count, engine=engine) for engine in ENGINES}
    counts = options.images or [once * factor for factor in TIMES]
    found = {f"head, {count:,}": Case(count) for count in counts}
    if not options.images:
        ends = (counts[0], counts[-1])
        found |= {f"views, {count:,}": Case(count, schedule="views") for count in ends}
    return found


def run(options: argparse.Namespace, place: Path, case: Case) -> Figures:
    """Measure one case in a process of its own."""
    settings = ["--data", place / str(case.images), *shared_arguments(options)]
    settings += ["--schedule", case.schedule]
    settings += ["--size", case.size] if case.size else []
    settings += ["--backbone", case.backbone] if case.backbone else []
    environment = {"TLKIT_ENGINE": case.engine, "KERAS_HOME": str(place / "home")}
    with patch.dict(os.environ, environment):
        figures = process(sys.executable, __file__, *settings)
    return {**figures, "ms/image": 1000 * figures["seconds"] / case.images}


def be(options: argparse.Namespace) -> None:
    """Be that process: train, and print the time."""
    import keras  # noqa: F401 - not counted

    size = (options.size, options.size)
    backbone = (
        BackboneAdapter(options.backbone, image_size=size, weights=None)
        if options.backbone
        else mobilenet(options)
    )
    started = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        transfer_classifier(options.data, backbone=backbone, schedule=SCHEDULES[options.schedule])
    print(json.dumps({"seconds": time.perf_counter() - started}))


def main() -> None:
    parser = arguments(__doc__.splitlines()[0])
    parser.set_defaults(alpha=0.35, size=160, repeats=1)
    overs = ("images", "sizes", "backbones", "engines", *beyond.COUNTS)
    parser.add_argument("--over", choices=overs, default=overs[0])
    parser.add_argument("--images", type=int, nargs="+", help="sizes of the folder instead")
    parser.add_argument("--backbones", nargs="+", default=BACKBONES, help="names of the catalogue")
    parser.add_argument("--schedule", choices=SCHEDULES, help=argparse.SUPPRESS)
    parser.add_argument("--backbone", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.schedule:
        be(options)
        return
    if options.over in beyond.COUNTS:
        beyond.main(options)
        return
    plan = cases(options)
    with tempfile.TemporaryDirectory(prefix="tlkit-scaling-") as place:
        for count in {case.images for case in plan.values()}:
            make_folder(options.data, Path(place) / str(count), count)
        network = "" if options.over == "backbones" else f"MobileNetV2 alpha {options.alpha}, "
        print(f"{network}{options.size} px unless said, {time.strftime('%F')}")
        sides = {name: partial(run, options, Path(place), case) for name, case in plan.items()}
        runs: Runs = interleaved(sides, options.repeats)
    for figure in ("seconds", "ms/image", "peak MiB"):
        table(runs, figure, baseline=next(iter(plan)))
    write_json(options, {"runs": runs})


if __name__ == "__main__":
    main()
