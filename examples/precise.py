"""Few false alarms: a threshold for a precision, and a table of predictions.

    python examples/precise.py DIR IMAGES [--precision 0.95] [-o TABLE] [--backbone NAME]

DIR holds two folders of images to learn from, IMAGES is any folder of images to be sorted.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import tlkit
from tlkit.errors import SettingError


def main() -> None:
    """Train, choose the threshold, predict."""
    options = parse()
    classifier = tlkit.transfer_classifier(
        options.directory,
        backbone=tlkit.BackboneAdapter(options.backbone) if options.backbone else None,
        schedule=tlkit.FineTuneSchedule.head_only(),
    )
    try:
        precise = classifier.with_threshold(tlkit.ThresholdGoal.precision(options.precision))
    except SettingError as error:  # it says what can be reached
        raise SystemExit(f"precise.py: {error}") from error
    print(precise.record.threshold_choice)

    # One row an image, also for what cannot be read; with `resume=True` a killed run goes on.
    print(tlkit.write_predictions(precise, options.images, options.output))


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Sort images with few false alarms.")
    parser.add_argument("directory", metavar="DIR", type=Path, help="two folders of images")
    parser.add_argument("images", metavar="IMAGES", type=Path, help="images to be sorted")
    parser.add_argument("--precision", metavar="P", type=float, default=0.95, help="0-1")
    parser.add_argument("-o", "--output", metavar="TABLE", type=Path, default="predictions.csv")
    parser.add_argument("--backbone", metavar="NAME", help="see `tlkit backbones`")
    return parser.parse_args()


if __name__ == "__main__":
    main()
