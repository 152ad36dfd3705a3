"""Images of a folder, of what training sees in them, and of what a classifier gets wrong."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, TypeVar

import numpy as np

from tlkit.classifier.classifier import PathLike, TransferClassifier
from tlkit.core.home import expanded
from tlkit.core.spec import check_int
from tlkit.data.dataset import DatasetSpec, Listing
from tlkit.data.example import Example
from tlkit.errors import DatasetError, SettingError
from tlkit.evaluation.evaluate import other_class
from tlkit.evaluation.scores import CrossValidation
from tlkit.images.augmentation import AugmentationPolicy
from tlkit.images.decoder import BadFile, Pixels
from tlkit.images.loader import read_images, warn_of_bad_files
from tlkit.images.reader import ValueRange
from tlkit.insight.explain import explain_files
from tlkit.plot.figure import Grid, add_legend, new_grid, shortened, title
from tlkit.plot.points import Judged
from tlkit.plot.style import Palette, drawing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Shown: TypeAlias = tuple[Pixels, tuple[int, int]]
"""Pixels of any size, and the height and width of the image that they come from."""

_Item = TypeVar("_Item")
_CELL_INCHES = 2.0
_PIXELS = (384, 384)  # more than a cell has on a screen or in print


def samples(data: str | Path | DatasetSpec, *, count: int = 9, seed: int = 0) -> Grid:
    """Draw images of a folder with their class, half of them from each, chosen at random.

    Args:
        data: The folder, or its spec.
        count: How many, at least 1; fewer are drawn where there are fewer.
        seed: Which ones, at least 0.

    Returns:
        Axes `[rows, columns]`; those that are left over are empty. Files that cannot be read are passed
        over with a warning, or raise, by the spec's `on_bad_file`.

    Raises:
        MissingExtraError: matplotlib is not installed.
        DatasetError: The folder is not two classes of images, or none can be read.
        ImageError: A file cannot be read, and the spec has `on_bad_file="raise"`.
    """
    check_int("count", count, at_least=1)
    spec = data if isinstance(data, DatasetSpec) else DatasetSpec(data)
    listing = spec.listing()
    candidates = _shuffled(listing, check_int("seed", seed, at_least=0))
    chosen, bad_files = _readable(
        candidates,
        count,
        lambda batch: _plain([example.path for example in batch], spec.value_range),
        stop_at_bad_file=spec.on_bad_file == "raise",
    )
    if not chosen:
        raise DatasetError(f"no image can be read; the first: {bad_files[0]}")
    warn_of_bad_files(bad_files)
    with drawing() as colours:
        axes = _image_grid([shape for _, (_, shape) in chosen], extra_inches=0.45)
        for ax, (example, (pixels, shape)) in zip(axes.flat, chosen, strict=False):
            _show(ax, pixels, shape)
            _name_class(ax, example.class_name, example.label, colours)
            _note(ax, shortened(example.path.name))
        title(axes, f"{len(chosen)} of {len(listing.examples):,} images")
        negative = other_class(listing.class_names, listing.positive_class)
        positives = int(listing.labels.sum())
        counts = {listing.positive_class: positives, negative: len(listing.labels) - positives}
        _class_legend(axes, counts, colours)
    return axes


def views(
    policy: AugmentationPolicy,
    image: str | Path | Pixels,
    *,
    count: int = 9,
    seed: int = 0,
    image_size: tuple[int, int] = (224, 224),
) -> Grid:
    """Draw one image as training sees it: itself, and what an augmentation policy makes of it.

    Args:
        policy: The policy.
        image: A file, or uint8 RGB `[H, W, 3]`.
        count: How many views, at least 1, the image itself included.
        seed: Of the random changes, at least 0.
        image_size: Height and width that a file is resized to, in pixels; an array keeps its own.

    Returns:
        Axes `[rows, columns]`; those that are left over are empty.

    Raises:
        MissingExtraError: matplotlib is not installed.
        ImageError: The file cannot be read.
    """
    with drawing() as colours:
        images = policy.views(image, count, seed=seed, image_size=image_size)
        axes = _image_grid([images.shape[1:3]] * count, extra_inches=0.0)
        for number, (ax, pixels) in enumerate(zip(axes.flat, images, strict=False)):
            _show(ax, pixels, images.shape[1:3])
            ax.set_title(f"view {number}" if number else "the image itself")
            ax.title.set_color(colours.faint if number else colours.ink)
        name = "" if isinstance(image, np.ndarray) else f" of {shortened(Path(image).name)}"
        title(axes, f"{count} view{'s' * (count > 1)}{name}")
    return axes


def gallery(
    result: TransferClassifier | CrossValidation,
    data: PathLike | DatasetSpec | None = None,
    *,
    part: str | None = None,
    count: int = 9,
    explained_by: TransferClassifier | None = None,
) -> Grid:
    """Draw images with their predictions, the worst mistake first.

    Args:
        result: A classifier, or a cross-validation.
        data: The folder of the images, or its spec. None: the folder that the
            classifier was trained on; a cross-validation does not know it.
        part: Which split, such as `"test"`. None: the validation split of a classifier, all out-of-fold
            predictions of a cross-validation.
        count: How many, at least 1; fewer are drawn where there are fewer.
        explained_by: Draw this classifier's heat maps over the images: the evidence for the
            predicted class.

    Returns:
        Axes `[rows, columns]`; those that are left over are empty. Files that cannot be read are passed
        over with a warning.

    Raises:
        MissingExtraError: matplotlib is not installed.
        DatasetError: None of the images can be read in that folder.
        SettingError: `result` has no such split, `data` is missing, or the classifier has no heat maps.
    """
    check_int("count", count, at_least=1)
    judged = Judged.of(result, part)
    judged.scores.check_names()
    folder = _folder(result, data)
    found, labels = judged.evaluation, judged.labels
    probabilities = judged.scores.probabilities
    predicted = np.where(
        probabilities >= found.threshold, found.positive_class, found.negative_class
    )
    of_truth = np.where(labels == 1, probabilities, 1 - probabilities)
    order: list[int] = np.argsort(of_truth, kind="stable").tolist()

    def read(batch: list[int]) -> Iterator[Shown | BadFile]:
        paths = [folder / judged.scores.names[index] for index in batch]
        if explained_by is None:
            return _plain(paths, _value_range(result, data))
        return _explained(explained_by, paths, [str(predicted[index]) for index in batch])

    chosen, bad_files = _readable(iter(order), count, read)
    if not chosen:
        raise DatasetError(
            f"none of the {judged.images} can be read, so the folder may be elsewhere now: give it as "
            f"`data`. The first: {bad_files[0]}"
        )
    warn_of_bad_files(bad_files)
    positive = shortened(found.positive_class, 16)
    with drawing() as colours:
        axes = _image_grid([shape for _, (_, shape) in chosen], extra_inches=0.75)
        for ax, (index, (pixels, shape)) in zip(axes.flat, chosen, strict=False):
            _show(ax, pixels, shape)
            name = found.positive_class if labels[index] else found.negative_class
            _name_class(ax, name, int(labels[index]), colours)
            verdict = "right" if predicted[index] == name else "wrong"
            prediction = f"{verdict}: probability of {positive} {probabilities[index]:.2f}"
            _note(ax, f"{prediction}\n{shortened(Path(judged.scores.names[index]).name)}")
        title(axes, f"{len(chosen)} of {judged.images}, the worst first")
        counts = {
            found.positive_class: found.positive_count,
            found.negative_class: found.negative_count,
        }
        _class_legend(axes, counts, colours, glow=explained_by is not None)
    return axes


def _image_grid(shapes: Sequence[tuple[int, int]], *, extra_inches: float) -> Grid:
    """Make cells for images of these heights and widths, no higher than they need to be."""
    columns = math.ceil(math.sqrt(len(shapes)))
    rows = math.ceil(len(shapes) / columns)
    cell_height = _CELL_INCHES * min(1.0, max(height / width for height, width in shapes))
    width = max(columns, 2) * (_CELL_INCHES + 0.16)  # at least as wide as the title
    axes = new_grid(rows, columns, size=(width, 0.35 + rows * (cell_height + 0.44) + extra_inches))
    for ax in axes.flat[len(shapes) :]:
        ax.set_axis_off()
    return axes


def _show(ax: Axes, pixels: Pixels, shape: tuple[int, int]) -> None:
    """Show pixels in the proportions `shape` (height, width) of the image they come from."""
    height, width = shape
    ax.imshow(pixels, extent=(0, width, height, 0), interpolation="antialiased")
    ax.set_anchor("NW")
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)


def _name_class(ax: Axes, name: str, label: int, colours: Palette) -> None:
    colour = colours.positive if label else colours.negative
    ax.set_title(shortened(name), color=colour, weight="bold", parse_math=False)


def _note(ax: Axes, text: str) -> None:
    ax.set_xlabel(text, loc="left", size=6.5, parse_math=False)


def _class_legend(
    axes: Grid, counts: dict[str, int], colours: Palette, *, glow: bool = False
) -> None:
    """Show which colour is which class, the positive one first, and what a heat map shows."""
    from matplotlib.patches import Patch

    (positive, count), (negative, other_count) = counts.items()
    labels = {
        f"{shortened(positive)} ({count:,}, the positive class)": colours.positive,
        f"{shortened(negative)} ({other_count:,})": colours.negative,
    }
    if glow:
        labels["glow: evidence for the prediction"] = "#fca50a"
    handles = [Patch(color=colour, label=text) for text, colour in labels.items()]
    position = {"loc": "outside lower left", "ncols": 3 if axes.shape[1] > 2 else 2}
    add_legend(axes.figure, handles=handles, handlelength=0.7, **position)


def _shuffled(listing: Listing, seed: int) -> Iterator[Example]:
    """Yield the examples in random order, the classes in turn as long as both last."""
    order = np.random.default_rng(seed).permutation(len(listing.examples))
    queues = [[p for p in order if listing.examples[p].label == label] for label in (1, 0)]
    for turn in range(max(map(len, queues))):
        for queue in queues:
            if turn < len(queue):
                yield listing.examples[queue[turn]]


def _readable(
    candidates: Iterator[_Item],
    count: int,
    read: Callable[[list[_Item]], Iterator[Shown | BadFile]],
    *,
    stop_at_bad_file: bool = False,
) -> tuple[list[tuple[_Item, Shown]], list[BadFile]]:
    """Take the first `count` candidates that can be read, and what cannot be read on the way to them."""
    found: list[tuple[_Item, Shown]] = []
    bad_files: list[BadFile] = []
    while batch := list(islice(candidates, count - len(found))):
        for item, outcome in zip(batch, read(batch), strict=True):
            if not isinstance(outcome, BadFile):
                found.append((item, outcome))
            elif stop_at_bad_file:
                raise outcome.error()
            else:
                bad_files.append(outcome)
    return found, bad_files


def _plain(paths: Sequence[Path], value_range: ValueRange) -> Iterator[Shown | BadFile]:
    for outcome in read_images(paths, _PIXELS, value_range=value_range):
        yield outcome if isinstance(outcome, BadFile) else (outcome[0], outcome[1].upright_size)


def _value_range(
    result: TransferClassifier | CrossValidation, data: PathLike | DatasetSpec | None
) -> ValueRange:
    if isinstance(result, TransferClassifier):
        return result.value_range
    return data.value_range if isinstance(data, DatasetSpec) else None


def _explained(
    classifier: TransferClassifier, paths: Sequence[Path], towards: Sequence[str]
) -> Iterator[Shown | BadFile]:
    for seen in explain_files(classifier, paths, towards=towards):
        yield seen if isinstance(seen, BadFile) else (seen.overlay(image_size=_PIXELS), seen.size)


def _folder(
    result: TransferClassifier | CrossValidation, data: PathLike | DatasetSpec | None
) -> Path:
    if isinstance(data, DatasetSpec):
        return data.directory
    if data is None and isinstance(result, TransferClassifier):
        data = str(result.record.dataset.get("directory", ""))  # a description has none
    if not data:
        raise SettingError("`data` must be the folder of the images: `result` does not know it")
    return expanded("data", data)
