"""Which image is in which part of a folder: its split, near-duplicates and groups kept on one side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from tlkit.core.rows import Images, Indices
from tlkit.data.audit import AuditReport, audit_of
from tlkit.data.dataset import DatasetSpec, Listing
from tlkit.data.example import Example
from tlkit.data.layout import PARTS
from tlkit.data.split import Split, split_readable
from tlkit.images.decoder import BadFile, ImageFacts
from tlkit.images.loader import read_files, warn_of_bad_files

_SIZE = (32, 32)  # only the facts are wanted, and they do not depend on it


def split_dataset(data: str | Path | DatasetSpec) -> dict[str, tuple[Example, ...]]:
    """Return the examples of each part, as `transfer_classifier` splits them.

    Every file is read once, to know which can be read at all and which show the same image.

    Args:
        data: The folder, or its spec: classes, fractions, seed of the split, groups.

    Returns:
        `"train"`, `"validation"` and `"test"`, each with its examples in the order of the listing.

    Raises:
        DatasetError: The folder is not two classes of images, or too small for its split.
        ImageError: A file cannot be read, and the spec says `on_bad_file="raise"`.

    Examples:
        >>> parts = split_dataset("alpacas/")  # doctest: +SKIP
        >>> len(parts["train"]), len(parts["validation"])  # doctest: +SKIP
        (262, 65)
    """
    spec = data if isinstance(data, DatasetSpec) else DatasetSpec(data)
    listing = spec.listing()
    split = read_split(spec, listing, _SIZE)
    return {
        part: tuple(listing.examples[index] for index in getattr(split, part)) for part in PARTS
    }


def read_split(
    spec: DatasetSpec,
    listing: Listing,
    image_size: tuple[int, int],
    each: Callable[[int, Images], None] | None = None,
    *,
    stacklevel: int = 4,
) -> Split:
    """Read a folder and split it.

    Args:
        spec: How it is to be split.
        listing: What the folder holds.
        image_size: Height and width of the images handed on, in pixels.
        each: Called with the index in the listing and the pixels of each file that can be read.
        stacklevel: Whose line the warning of bad files names.

    Returns:
        The indices of each part.
    """
    paths = [example.path for example in listing.examples]
    readable, facts, bad_files = read_files(
        paths, image_size, "Reading", value_range=spec.value_range, each=each
    )
    if bad_files and spec.on_bad_file == "raise":
        raise bad_files[0].error()
    warn_of_bad_files(bad_files, stacklevel=stacklevel)
    return split_known(spec, listing, readable, facts, bad_files)[2]


def split_known(
    spec: DatasetSpec,
    listing: Listing,
    readable: Indices,
    facts: Sequence[ImageFacts],
    bad_files: Sequence[BadFile],
) -> tuple[AuditReport, list[str], Split]:
    """Split a folder whose files were read already.

    Args:
        spec: How it is to be split.
        listing: What the folder holds.
        readable: Indices of the examples that could be read, int64 `[M]`, ascending.
        facts: Of each of these, in that order.
        bad_files: The files that could not be read.

    Returns:
        What is wrong with the folder, the group of each example of the listing, and the parts.
    """
    found = audit_of(spec, listing, readable, facts, bad_files)
    groups = found.groups(listing, spec.group_by)
    return found, groups, split_readable(spec, listing, groups, readable)
