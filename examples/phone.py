"""A classifier for a telephone: train, export to LiteRT, run it as a telephone would.

    python examples/phone.py [--data DIR] [--output FOLDER]

Without `--data` it draws its own images and takes a small network with random weights, which needs no
network connection; what it says about them says nothing about photographs.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from ai_edge_litert.interpreter import Interpreter
from drawn_images import draw_folder
from read_image import read_image

import tlkit


def main(arguments: list[str] | None = None) -> None:
    """Train, export, and ask the export about a few images."""
    parser = argparse.ArgumentParser(description="A classifier for a telephone.")
    parser.add_argument("--data", type=Path, help="a folder with two class folders")
    parser.add_argument("--output", type=Path, default=Path("phone"), help="a folder to be made")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as scratch:
        if options.data is None:
            print("Drawing images …", flush=True)
            folder = draw_folder(Path(scratch) / "drawn images")
            backbone = tlkit.BackboneAdapter("tiny_random", image_size=64)
        else:
            folder = options.data
            backbone = tlkit.BackboneAdapter("MobileNetV2", image_size=160, alpha=0.35)
        spec = tlkit.DatasetSpec(folder, validation_fraction=0.2)
        classifier = tlkit.transfer_classifier(
            spec, backbone=backbone, schedule=tlkit.FineTuneSchedule.head_only()
        )
        print(classifier.evaluation)
        print(f"\n{tlkit.export(classifier, options.output, precision='float16')}\n")
        for name in classifier.record.scores["validation"].names[::10]:
            label, probability = ask(options.output, folder / name)
            print(f"{name:<28} {label:<12} {probability:.3f}")


def ask(export: Path, image: Path) -> tuple[str, float]:
    """Say what is on an image with LiteRT, NumPy and Pillow alone."""
    card = json.loads((export / "tlkit.json").read_text("utf-8"))
    height, width = card["image_size"]
    pixels = read_image(image, height, width, card["value_range"], card.get("border"))
    model = Interpreter(str(export / card["file"])).get_signature_runner()
    given = model(images=pixels)
    probability = float(given["probability"][0, 0])
    positive = probability >= card["threshold"]
    return card["positive_class" if positive else "negative_class"], probability


if __name__ == "__main__":
    main()
