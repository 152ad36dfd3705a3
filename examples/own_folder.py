"""Your own folder: what is wrong with it, how well its classes can be told apart, and what to look at.

    python examples/own_folder.py DIR [-o MODEL] [--backbone NAME]

DIR holds two folders of images, named after what they show.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import tlkit


def main() -> None:
    """Look, train, judge every image, save."""
    options = parse()
    print(tlkit.audit(options.directory))

    classifier = tlkit.transfer_classifier(
        options.directory,
        backbone=tlkit.BackboneAdapter(options.backbone) if options.backbone else None,
        schedule=tlkit.FineTuneSchedule.head_only(),
        folds=5,  # every image is scored by a classifier that was not trained on it
    )
    print(f"\n{classifier.cross_validation}")

    doubtful = [issue for issue in tlkit.find_label_issues(classifier) if issue.likely]
    print(f"\n{len(doubtful)} labels to look at" + ", the most doubtful first:" * bool(doubtful))
    for issue in doubtful[:10]:
        print(f"  {issue}")

    classifier.save(options.output)
    print(f"\nsaved: {options.output}")
    print(f"next:  tlkit report {options.output} -o report.html")


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Train on a folder, and say what to look at.")
    parser.add_argument("directory", metavar="DIR", type=Path, help="two folders of images")
    parser.add_argument("-o", "--output", metavar="MODEL", default="own-folder.keras")
    parser.add_argument("--backbone", metavar="NAME", help="see `tlkit backbones`")
    return parser.parse_args()


if __name__ == "__main__":
    main()
