"""What training says aloud about a folder: problems that no classifier can make up for.

`audit` finds them; everything else that it finds waits in its report.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence

from tlkit.data.audit import AuditReport
from tlkit.data.dataset import DatasetSpec
from tlkit.data.oddities import black_and_white
from tlkit.errors import AuditWarning, ShortcutWarning, printable
from tlkit.images.decoder import ImageFacts

_MANY = 0.1  # share of the images with hardly any contrast from which training says so
_GRAVE = {
    "label-conflict": ("image is", "images are", "there, or nearly so, under the other label too"),
    "leak": ("image is", "images are", "in two splits: metrics measured on them are too good"),
}


def warn_of_problems(
    spec: DatasetSpec,
    found: AuditReport,
    facts: Sequence[ImageFacts],
    *,
    stacklevel: int = 3,
) -> None:
    """Say what makes metrics wrong or images useless, whatever the classifier does.

    Args:
        spec: How the folder is read.
        found: What the audit says of it.
        facts: Of each image that could be read.
        stacklevel: Whose line the warning names.
    """
    said = [*_contradictions(found), *_low_contrast(spec, found, facts)]
    if said:
        folder = printable(found.directory)
        text = f"{folder}: {'; '.join(said)}\n`tlkit audit` names them all"
        warnings.warn(text, AuditWarning, stacklevel=stacklevel)
    if shortcuts := [one for one in found.shortcuts if one.suspicious]:
        named = "\n".join(f"  {one}" for one in shortcuts[:3])
        warnings.warn(
            f"{printable(found.directory)}: one fact of the files alone tells the classes apart, so the "
            f"classifier may learn that instead of what the images show:\n{named}\n"
            "If it is not what you mean to tell, save the images of both classes alike (format, size, "
            "compression, light), crop what differs, or say with `group_by` what comes from one source; if "
            "it is, all is well",
            ShortcutWarning,
            stacklevel=stacklevel,
        )


def warn_of_large_clusters(
    found: AuditReport,
    learned: Collection[str],
    judged: Mapping[str, bool],
    *,
    stacklevel: int = 3,
) -> None:
    """Say that images which look alike lie on both sides of the split, and what is known without them.

    Args:
        found: What the audit says of the folder.
        learned: Names of the images that were learned from.
        judged: Names of the images that the classifier is measured on, and whether it was right.
        stacklevel: Whose line the warning names.
    """
    on_one_side = {printable(name) for name in learned}
    right = {printable(name): was_right for name, was_right in judged.items()}
    straddling = [
        cluster
        for cluster in found.alike
        if on_one_side.intersection(cluster) and right.keys() & set(cluster)
    ]
    if not straddling:
        return
    alike = {name for cluster in straddling for name in cluster}
    others = [was_right for name, was_right in right.items() if name not in alike]
    without = (
        f"{sum(others):,} of the {len(others):,} others"
        if others
        else "and there are no others, so nothing is known of images from elsewhere"
    )
    warnings.warn(
        f"{printable(found.directory)}: {len(alike):,} images look alike (such as '{straddling[0][0]}'), and "
        "lie on both sides of the split: if they show the same few things, metrics are too good. The "
        f"classifier is right about {sum(right.values()):,} of the {len(right):,} images that it is measured "
        f"on; {without}. Say what belongs together with `group_by`",
        AuditWarning,
        stacklevel=stacklevel,
    )


def _contradictions(found: AuditReport) -> Iterator[str]:
    for kind, (one, several, what) in _GRAVE.items():
        if count := found.totals.get(kind):
            named = "\n".join(f"  {problem}" for problem in found.of_kind(kind)[:3])
            yield f"{count:,} {one if count == 1 else several} {what}; the first:\n{named}"


def _low_contrast(
    spec: DatasetSpec, found: AuditReport, facts: Sequence[ImageFacts]
) -> Iterator[str]:
    count = found.totals.get("low-contrast", 0)
    if not count or count < _MANY * len(facts):
        return
    text = f"{count:,} of {len(facts):,} images have hardly any contrast"
    wide = [fact for fact in facts if fact.bits > 8]
    if not wide:
        yield f"{text}: look at them"
        return
    low, high = min(fact.values[0] for fact in wide), max(fact.values[1] for fact in wide)
    black, white = black_and_white(wide[0], spec.value_range)
    yield (
        f"{text}: their values go from {low:,g} to {high:,g}, and {black:,g} to {white:,g} are read as black "
        f"to white. Say what black and white are, such as {_advice(low, high)}"
    )


def _advice(low: float, high: float) -> str:
    ends = (low, high)
    if low >= 0 and high >= 1 and float(high).is_integer():  # whole numbers of so many bits
        ends = (0, 2 ** int(high).bit_length() - 1)
    black, white = (f"{end:g}" for end in ends)
    return f"DatasetSpec(…, value_range=({black}, {white})), or --value-range {black} {white} in the shell"
