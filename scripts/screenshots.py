"""Make the images of the documentation that show images, which are drawn for it.

    python scripts/screenshots.py [--weights imagenet|PATH] [report] [decide] [welcome]

`report`: sections of a report, for which Chromium is needed. Three of the drawn images get the wrong label,
so that there is something to find. `decide`: the same page while labels are decided. `welcome`: the strip on
the first page, with heat maps.
"""

import argparse
import contextlib
import io
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "examples")]

from browser import Page, chromium  # noqa: E402
from drawn_images import draw_folder, draw_image  # noqa: E402

from tlkit.backbones.adapter import BackboneAdapter  # noqa: E402
from tlkit.classifier.classifier import TransferClassifier  # noqa: E402
from tlkit.insight.explain import explain  # noqa: E402
from tlkit.report.page import write_report  # noqa: E402
from tlkit.training.schedule import FineTuneSchedule  # noqa: E402
from tlkit.training.transfer import transfer_classifier  # noqa: E402

MISLABELLED = ("drawn-007", "drawn-031", "drawn-044")
SHOTS: dict[str, dict[str, Any]] = {
    "report-summary": {"section": "summary"},
    "report-figures": {"section": "figures"},
    "report-figures-dark": {"section": "figures", "dark": True},
    "report-pictures": {"section": "images", "height": 1000},
    "report-phone": {"section": "figures", "width": 390, "height": 1250},
}
DECIDING = {"decide-labels": (1200, 1000), "decide-labels-phone": (390, 844)}
"""Width and height of the window."""
DECIDE = """(() => {
  document.querySelector("[data-filter=doubts]").click();
  const shown = [...document.querySelectorAll("#gallery > li:not([hidden])")];
  const words = ["wrong", "wrong", "wrong", "unsure"];
  document.querySelector("#images .filters").scrollIntoView();
  words.forEach((word, i) => shown[i]?.querySelector(`[data-decision="${word}"]`).click());
})()"""
"""What is done on the page before its gallery of doubtful labels is shown."""
IMAGES = ROOT / "docs" / "images"
STRIP = (903, 905)
"""Numbers of the alpacas on the first page; nobody has learned from these."""
TILE = 256  # pixels


def train(weights: str, schedule: FineTuneSchedule | None = None) -> TransferClassifier:
    """Draw a folder in the current one, mislabel some of it and learn from it."""
    folder = draw_folder(Path("drawn"), count=80)
    for name in MISLABELLED:
        (folder / "alpaca" / f"{name}.jpg").rename(folder / "not alpaca" / f"{name}-moved.jpg")
    backbone = BackboneAdapter("MobileNetV2", image_size=160, weights=weights)
    return transfer_classifier(folder, backbone=backbone, schedule=schedule, folds=5)


def shoot(
    page: Page,
    section: str,
    target: Path,
    *,
    width: int = 1200,
    height: int = 0,
    dark: bool = False,
) -> None:
    """Save one section of the page, cut off after so many pixels if any are given."""
    page.open(Path("report.html").resolve().as_uri(), width=width, dark=dark)
    page.run("document.querySelector('.save').style.position = 'static'")  # not over the images
    place = f"document.querySelector('#{section}').getBoundingClientRect()"
    top, whole = page.run(f"[{place}.top + scrollY, {place}.height]")
    clip = {"x": 0, "y": top + 1, "width": width, "height": (height or whole) - 1}
    page.image(target, clip=clip)
    shrink(target)


def shrink(target: Path) -> None:
    """Keep 256 colours of an image, and say how large it is."""
    with Image.open(io.BytesIO(target.read_bytes())) as image:
        image.convert("RGB").quantize(256).save(target, optimize=True)
    print(f"{target.relative_to(ROOT)}: {target.stat().st_size / 1000:.0f} kB")


def report(weights: str) -> None:
    """Train, write the report, and take its images."""
    write_report(train(weights), "report.html")
    with chromium() as page:
        for name, settings in SHOTS.items():
            shoot(page, target=IMAGES / f"{name}.png", **settings)


def decide(weights: str) -> None:
    """Train, write the report, decide about some labels on it, and take what the window shows."""
    write_report(train(weights, FineTuneSchedule.head_only()), "report.html", heat_maps=6)
    with chromium() as page:
        for name, (width, height) in DECIDING.items():
            page.open(Path("report.html").resolve().as_uri(), width=width, height=height)
            page.run(DECIDE)
            page.image(IMAGES / f"{name}.png")
            shrink(IMAGES / f"{name}.png")
            page.run("document.querySelector('#save').click()")  # or it would not let go


def welcome(weights: str) -> None:
    """Draw a strip of alpacas, beside each where the evidence lies, and keep their predictions."""
    classifier = transfer_classifier(
        draw_folder(Path("unspoilt"), count=80),
        backbone=BackboneAdapter("MobileNetV2", weights=weights),
        schedule=FineTuneSchedule.head_only(),
    )
    seen = [explain(classifier, np.asarray(draw_image("alpaca", number))) for number in STRIP]
    strip = Image.new("RGB", (2 * TILE * len(STRIP), TILE))
    for place, (number, one) in enumerate(zip(STRIP, seen, strict=True)):
        strip.paste(draw_image("alpaca", number), (2 * place * TILE, 0))
        strip.paste(Image.fromarray(one.overlay()), ((2 * place + 1) * TILE, 0))
    target = IMAGES / "welcome.png"
    few = strip.quantize(256)
    strip.quantize(palette=few, dither=Image.Dither.FLOYDSTEINBERG).save(target, optimize=True)
    predicted = [[one.prediction.label, round(one.prediction.probability, 3)] for one in seen]
    target.with_suffix(".json").write_text(json.dumps({"predicted": predicted}) + "\n", "utf-8")
    print(f"{target.relative_to(ROOT)}: {target.stat().st_size / 1000:.0f} kB; {predicted}")


def main() -> None:
    """Draw what is asked for, everything by default."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", default="imagenet", help="of MobileNetV2 (imagenet)")
    makers = {"report": report, "decide": decide, "welcome": welcome}
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(makers))
    options = parser.parse_args()
    weights = options.weights
    if weights != "imagenet":
        weights = str(Path(weights).resolve())
    IMAGES.mkdir(exist_ok=True)
    for name in options.names or makers:
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
            makers[name](weights)


if __name__ == "__main__":
    main()
