"""The pass: every image once through the frozen part, and every further view of the training split.

A pass writes what comes out, batch by batch, into `Rows`, and keeps a journal of the batches that are
done. With a folder both survive the process: an unfinished pass goes on where it stopped, a finished one
is read back without any network being built.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Self, final

import numpy as np

from tlkit.backbones.engines import BATCH_SIZE, Engine, Outputs
from tlkit.core.progress import progress
from tlkit.core.rows import MEMORY_BUDGET, Images, Indices, Rows
from tlkit.core.spec import Json
from tlkit.data.example import Example
from tlkit.features.journal import Journal
from tlkit.features.views import Views
from tlkit.images.decoder import BadFile, ImageFacts
from tlkit.images.loader import (
    Decoded,
    FileOutcome,
    ReadMany,
    read_batches,
    read_images,
    warn_of_bad_files,
)
from tlkit.images.reader import ValueRange
from tlkit.images.resizing import Resize


@final
class KeptImages:
    """The resized images of a listing; those that this process has not decoded are read again.

    Args:
        examples: The listing.
        image_size: Height and width, in pixels.
        keep: Keep what is decoded (in memory, or in a temporary file when it is much).
        value_range: As in `read_image`.
        resize: As in `read_image`.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        image_size: tuple[int, int],
        *,
        keep: bool,
        value_range: ValueRange = None,
        resize: Resize = "stretch",
    ) -> None:
        self._examples = examples
        self._image_size = image_size
        self._value_range = value_range
        self._resize: Resize = resize
        self._kept = np.zeros(len(examples), bool)
        self._rows = Rows(len(examples), (*image_size, 3), np.uint8) if keep else None

    def add(self, indices: Indices, images: Images) -> None:
        """Keep the images (uint8 `[B, H, W, 3]`) of these examples."""
        if self._rows is not None:
            self._rows.write(indices, images)
            self._kept[indices] = True

    def read(self, indices: Indices) -> tuple[Images, list[BadFile | None]]:
        """Return the images of these examples, uint8 `[B, H, W, 3]`.

        Returns:
            The images; and for each of them None, or why the file, which could be read before, cannot be read
            any more: the image is then black.
        """
        missing = indices[~self._kept[indices]]
        block = np.zeros((len(indices), *self._image_size, 3), np.uint8)
        gone: list[BadFile | None] = [None] * len(indices)
        if self._rows is not None:
            kept = self._kept[indices]
            block[kept] = self._rows.read(indices[kept])
        paths = [self._examples[index].path for index in missing]
        decoded = read_images(
            paths, self._image_size, value_range=self._value_range, resize=self._resize
        )
        for place, outcome in zip(np.flatnonzero(~self._kept[indices]), decoded, strict=True):
            if isinstance(outcome, BadFile):
                gone[place] = outcome
            else:
                block[place] = outcome[0]
                self.add(indices[[place]], block[[place]])
        return block, gone


@final
@dataclass(frozen=True, slots=True)
class Originals:
    """Every image of a listing, as it is, on the far side of the frozen part.

    Attributes:
        readable: Indices of the examples whose files could be read, int64 `[M]`.
        facts: Of each readable example's image, in that order.
        bad_files: The files that could not be read.
        outputs: One row per example of the listing for each output of the network; rows of examples
            that could not be read stay zero.
        images: The resized images themselves.
        backbone_parameters: How many numbers the backbone has.
        stage_widths: How many features each of its stages gives, in their order.
    """

    readable: Indices
    facts: tuple[ImageFacts, ...]
    bad_files: tuple[BadFile, ...]
    outputs: tuple[Rows, ...]
    images: KeptImages
    backbone_parameters: int
    stage_widths: tuple[int, ...]


@final
class OriginalsPass:
    """The pass over the images themselves, batch by batch, whoever decodes them.

    It is a context: within it batches are taken, in the order of the examples, from the first that is not
    `done`.

    Args:
        examples: What is read.
        engine: Gives the network; called only if there is something left to compute.
        image_size: Height and width of the resized images, in pixels.
        value_range: As in `read_image`.
        resize: As in `read_image`.
        stage_widths: Gives how many features each stage has; called where `engine` is.
        views: How many views of each example there will be at most: decides what fits into memory,
            and whether images are kept for the views to come.
        folder: Where the pass is kept; None keeps it in memory and temporary files.
        memory_budget: Bytes that what comes out may take in memory.

    Attributes:
        examples: As given.
        engine: As given.
        image_size: As given.
        value_range: As given.
        resize: As given.
        outcomes: What is known of each file so far.
        seconds_per_image: Of the engine alone, in the fastest whole batch but the first; infinite before.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        engine: Callable[[], Engine],
        image_size: tuple[int, int],
        *,
        value_range: ValueRange = None,
        resize: Resize = "stretch",
        stage_widths: Callable[[], tuple[int, ...]] = tuple,
        views: int = 1,
        folder: Path | None = None,
        memory_budget: int = MEMORY_BUDGET,
    ) -> None:
        self.examples = examples
        self.engine = engine
        self.image_size = image_size
        self.value_range = value_range
        self.resize: Resize = resize
        self.outcomes: list[FileOutcome] = []
        self.seconds_per_image = math.inf
        self._stage_widths = stage_widths
        self._images = KeptImages(
            examples, image_size, keep=views > 1, value_range=value_range, resize=resize
        )
        self._taken = 0
        batches = -(-len(examples) // BATCH_SIZE)
        self._journal = Journal(
            folder, len(examples), batches=batches, views=views, memory_budget=memory_budget
        )
        known = (note for batch in self._journal.notes for note in batch)
        self.outcomes += [_outcome(note, one) for note, one in zip(known, examples, strict=False)]
        self._journal.notes.clear()

    @property
    def done(self) -> int:
        """How many files have been taken, by this process or one before."""
        return len(self.outcomes)

    def take(self, rows: Indices, images: Images, found: Sequence[FileOutcome]) -> None:
        """Run the next batch.

        Args:
            rows: Which examples of the batch could be read, int64 `[B]`, ascending.
            images: Their pixels, uint8 `[B, H, W, 3]`.
            found: What is known of every file of the batch.
        """
        outputs: Outputs = ()
        if len(rows):
            engine = self.engine()
            self._journal.parameters = engine.parameters
            self._journal.stage_widths = self._stage_widths()
            started = time.perf_counter()
            outputs = engine(images)
            self._time((time.perf_counter() - started) / len(rows), whole=len(rows) == BATCH_SIZE)
        self._journal.add(rows, outputs, [outcome.to_config() for outcome in found])
        self._images.add(rows, images)
        self.outcomes += found

    def result(self) -> Originals:
        """Return what came out, when all is done."""
        known = self.outcomes
        readable = [row for row, outcome in enumerate(known) if isinstance(outcome, ImageFacts)]
        return Originals(
            backbone_parameters=self._journal.parameters,
            stage_widths=self._journal.stage_widths,
            readable=np.array(readable, np.int64),
            facts=tuple(outcome for outcome in known if isinstance(outcome, ImageFacts)),
            bad_files=tuple(outcome for outcome in known if isinstance(outcome, BadFile)),
            outputs=self._journal.outputs,
            images=self._images,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._journal.__exit__(kind, error, trace)

    def _time(self, seconds: float, *, whole: bool) -> None:
        self._taken += 1
        if whole and self._taken > 1:  # the first one optimises the graph
            self.seconds_per_image = min(self.seconds_per_image, seconds)


def read_originals(
    begun: OriginalsPass,
    *,
    stop_at_bad_file: bool = False,
    decoded: Iterator[Decoded] | None = None,
) -> Originals:
    """Decode every file once and run the frozen part on it.

    Args:
        begun: The pass, its context entered; an earlier process may have begun it.
        stop_at_bad_file: Raise at the first file that cannot be read, instead of listing it.
        decoded: What comes of the files, in their order, where decoding has begun; None: begin now.

    Returns:
        What came out, and what could not be read.

    Raises:
        ImageError: A file cannot be read and `stop_at_bad_file` is set.
    """
    count, done = len(begun.examples), begun.done
    with progress(count, "Reading") as advance:
        check_outcomes(begun.outcomes, stop_at_bad_file=stop_at_bad_file)
        advance(done)
        batches = read_batches(
            (example.path for example in begun.examples[done:]),
            begun.image_size,
            BATCH_SIZE,
            value_range=begun.value_range,
            resize=begun.resize,
            read_many=read_images if done else _begun(decoded),
        )
        for indices, images, found in batches:
            check_outcomes(found, stop_at_bad_file=stop_at_bad_file)
            begun.take(indices + done, images, gathered(found))
            advance(len(found))
    return begun.result()


def _begun(decoded: Iterator[Decoded] | None) -> ReadMany:
    if decoded is None:
        return read_images
    begun = decoded

    def read_many(
        _paths: Iterable[str | Path], _size: tuple[int, int], **_: object
    ) -> Iterator[Decoded]:
        return begun

    return read_many


def _outcome(note: Mapping[str, Json], example: Example) -> FileOutcome:
    if "reason" in note:
        return replace(BadFile.from_config(note), path=str(example.path))  # as this run spells it
    return ImageFacts.from_config(note)


def gathered(found: Sequence[FileOutcome]) -> list[FileOutcome]:
    """Put the thumbnails of a batch side by side.

    One by one they would lie scattered between the large buffers of decoding and keep their memory.
    """
    known = [outcome.thumbnail for outcome in found if isinstance(outcome, ImageFacts)]
    together = np.stack(known) if known else np.empty(0, np.uint8)
    together.setflags(write=False)
    thumbnails = iter(together)
    return [
        replace(outcome, thumbnail=next(thumbnails)) if isinstance(outcome, ImageFacts) else outcome
        for outcome in found
    ]


def check_outcomes(outcomes: Sequence[FileOutcome], *, stop_at_bad_file: bool) -> None:
    """Raise for the first bad file, if one is to stop the pass."""
    for outcome in outcomes if stop_at_bad_file else ():
        if isinstance(outcome, BadFile):
            raise outcome.error()


def read_views(
    originals: Originals,
    indices: Indices,
    engine: Callable[[], Engine],
    augment: Callable[[Images, int, int], Images],
    *,
    outputs: Sequence[int],
    views: int,
    folder: Path | None = None,
) -> list[Views]:
    """Run further views of some examples through the frozen part.

    Args:
        originals: The finished pass over the images themselves.
        indices: The examples to vary: the training split.
        engine: As in `read_originals`, with these of its outputs.
        augment: Makes the images of a view: images, view, place of the first among `indices`.
        outputs: Which outputs of the first pass are wanted here.
        views: How many views of each, at least 2; view 0, the image itself, is one of them.
        folder: Where the pass is kept; None keeps it in memory and temporary files.

    Returns:
        For each of `outputs`, its rows by example and view.

    A file that could be read before and cannot be read any more is named in a warning; the further views of
    its image are then the image itself.
    """
    wanted = [originals.outputs[index] for index in outputs]
    starts = range(0, len(indices), BATCH_SIZE)
    batches = ((view, start) for view in range(1, views) for start in starts)
    count = len(indices) * (views - 1)
    bad_files: dict[str, BadFile] = {}
    with (
        Journal(folder, count, batches=len(starts) * (views - 1), like=wanted) as journal,
        progress(count, "Augmenting", unit="views") as advance,
    ):
        for view, start in islice(batches, journal.done, None):
            batch = indices[start : start + BATCH_SIZE]
            images, gone = originals.images.read(batch)
            bad_files.update({file.path: file for file in gone if file})
            lost = np.array([file is not None for file in gone])
            made = engine()(augment(images, view, start))
            if lost.any():
                made = tuple(map(np.array, made))
                for output, original in zip(made, wanted, strict=True):
                    output[lost] = original.read(batch[lost])
            rows = np.arange(start, start + len(batch)) + (view - 1) * len(indices)
            journal.add(rows, made, [])
            advance(len(batch))
    warn_of_bad_files([*bad_files.values()])
    pairs = zip(wanted, journal.outputs, strict=True)
    return [Views(original, more, indices) for original, more in pairs]
