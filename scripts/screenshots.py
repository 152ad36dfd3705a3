"""Make the pictures of the report in the documentation, from pictures that are drawn for it.

    python scripts/screenshots.py [--weights imagenet|PATH]

Needs Chromium. Three of the drawn pictures get the wrong label, so that there is something to find.
"""

import argparse
import contextlib
import io
import sys
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "examples")]

from browser import Page, chromium  # noqa: E402
from drawn_pictures import draw_folder  # noqa: E402

from tlkit.backbone import BackboneAdapter  # noqa: E402
from tlkit.classifier import TransferClassifier  # noqa: E402
from tlkit.reporting import write_report  # noqa: E402
from tlkit.transfer import transfer_classifier  # noqa: E402

MISLABELLED = ("drawn-007", "drawn-031", "drawn-044")
SHOTS: dict[str, dict[str, Any]] = {
    "report-summary": {"section": "summary"},
    "report-figures": {"section": "figures"},
    "report-figures-dark": {"section": "figures", "dark": True},
    "report-pictures": {"section": "pictures", "height": 1000},
    "report-phone": {"section": "figures", "width": 390, "height": 1250},
}


def train(weights: str) -> TransferClassifier:
    """Draw a folder in the current one, mislabel some of it and learn from it."""
    folder = draw_folder(Path("drawn"), count=80)
    for name in MISLABELLED:
        (folder / "alpaca" / f"{name}.jpg").rename(folder / "not alpaca" / f"{name}-moved.jpg")
    backbone = BackboneAdapter("MobileNetV2", image_size=160, weights=weights)
    return transfer_classifier(folder, backbone=backbone, folds=5)


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
    place = f"document.querySelector('#{section}').getBoundingClientRect()"
    top, whole = page.run(f"[{place}.top + scrollY, {place}.height]")
    clip = {"x": 0, "y": top + 1, "width": width, "height": (height or whole) - 1}
    page.picture(target, clip=clip)
    with Image.open(io.BytesIO(target.read_bytes())) as picture:
        picture.convert("RGB").quantize(256).save(target, optimize=True)
    print(f"{target.relative_to(ROOT)}: {target.stat().st_size / 1000:.0f} kB")


def main() -> None:
    """Train, write the report, and take its pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", default="imagenet", help="of MobileNetV2 (imagenet)")
    weights = parser.parse_args().weights
    if weights != "imagenet":
        weights = str(Path(weights).resolve())
    images = ROOT / "docs" / "images"
    images.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        write_report(train(weights), "report.html")
        with chromium() as page:
            for name, settings in SHOTS.items():
                shoot(page, target=images / f"{name}.png", **settings)


if __name__ == "__main__":
    main()
