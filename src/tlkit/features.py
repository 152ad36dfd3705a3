"""The pass: every picture once through the frozen part, and every further view of the training part.

A pass writes what comes out, batch by batch, into `Rows`, and keeps a journal of the batches that are
done. With a folder both survive the process: an unfinished pass goes on where it stopped, a finished one
is read back without any network being built. The folder's name holds the fingerprint of all that
decides the numbers, so nothing stale is ever read.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias, final

import numpy as np

from tlkit.augmentation import AugmentationPolicy
from tlkit.augmenter import Augmenter
from tlkit.backbone import BackboneAdapter
from tlkit.checkpoint import Keeper, fingerprint
from tlkit.dataset import Example
from tlkit.engines import BATCH_SIZE, Engine, frozen_engine
from tlkit.images import BadFile, ImageFacts
from tlkit.journal import Journal
from tlkit.progress import progress
from tlkit.reading import read_images
from tlkit.rows import Pictures, Positions, Rows, Views
from tlkit.schedule import FineTuneSchedule
from tlkit.spec import Json

if TYPE_CHECKING:
    from tlkit.backbone.network import CutPoint, Network

_Outcome: TypeAlias = ImageFacts | BadFile

FORMAT: Final = 3
"""Raised when the numbers that a pass gives change: what older releases kept is then left alone."""


@final
class KeptPictures:
    """The resized pictures of a listing; those that this process has not decoded are read again.

    Args:
        examples: The listing.
        image_size: Height and width, in pixels.
        keep: Keep what is decoded (in memory, or in a temporary file when it is much).
    """

    def __init__(
        self, examples: Sequence[Example], image_size: tuple[int, int], *, keep: bool
    ) -> None:
        self._examples = examples
        self._image_size = image_size
        self._kept = np.zeros(len(examples), bool)
        self._rows = Rows(len(examples), (*image_size, 3), np.uint8) if keep else None

    def add(self, positions: Positions, pictures: Pictures) -> None:
        """Keep the pictures (uint8 `[B, H, W, 3]`) of these examples."""
        if self._rows is not None:
            self._rows.write(positions, pictures)
            self._kept[positions] = True

    def read(self, positions: Positions) -> Pictures:
        """Return the pictures of these examples, uint8 `[B, H, W, 3]`.

        Raises:
            ImageError: A file that could be read before cannot be read any more.
        """
        missing = positions[~self._kept[positions]]
        block = np.empty((len(positions), *self._image_size, 3), np.uint8)
        if self._rows is not None:
            kept = self._kept[positions]
            block[kept] = self._rows.read(positions[kept])
        paths = [self._examples[position].path for position in missing]
        decoded = read_images(paths, self._image_size)
        for place, outcome in zip(np.flatnonzero(~self._kept[positions]), decoded, strict=True):
            if isinstance(outcome, BadFile):
                raise outcome.error()
            block[place] = outcome[0]
        self.add(missing, block[~self._kept[positions]])
        return block


@final
@dataclass(frozen=True, slots=True)
class Originals:
    """Every picture of a listing, as it is, on the far side of the frozen part.

    Attributes:
        readable: Positions of the examples whose files could be read, int64 `[M]`.
        facts: Of each readable example's picture, in that order.
        bad_files: The files that could not be read.
        outputs: One row per example of the listing for each output of the network; rows of examples
            that could not be read stay zero.
        pictures: The resized pictures themselves.
        backbone_parameters: How many numbers the backbone has.
    """

    readable: Positions
    facts: tuple[ImageFacts, ...]
    bad_files: tuple[BadFile, ...]
    outputs: tuple[Rows, ...]
    pictures: KeptPictures
    backbone_parameters: int


def _read_originals(
    examples: Sequence[Example],
    engine: Callable[[], Engine],
    image_size: tuple[int, int],
    *,
    views: int = 1,
    stop_at_bad_file: bool = False,
    folder: Path | None = None,
) -> Originals:
    """Decode every file once and run the frozen part on it.

    Args:
        examples: What to read, in this order.
        engine: Gives the network; called only if there is something left to compute.
        image_size: Height and width of the resized pictures, in pixels.
        views: How many views of each example there will be at most: decides what fits into memory,
            and whether pictures are kept for the views to come.
        stop_at_bad_file: Raise at the first file that cannot be read, instead of listing it.
        folder: Where the pass is kept; None keeps it in memory and temporary files.

    Returns:
        What came out, and what could not be read.

    Raises:
        ImageError: A file cannot be read and `stop_at_bad_file` is set.
    """
    pictures = KeptPictures(examples, image_size, keep=views > 1)
    with Journal(folder, len(examples), views=views) as journal:
        known = (note for batch in journal.notes for note in batch)
        outcomes = [_outcome(note, example) for note, example in zip(known, examples, strict=False)]
        _check(outcomes, stop_at_bad_file=stop_at_bad_file)
        done = len(outcomes)
        with progress(len(examples), "Reading") as advance:
            advance(done)
            for rows, batch, found in _batches(examples[done:], image_size, done):
                _check(found, stop_at_bad_file=stop_at_bad_file)
                if len(rows):
                    journal.parameters = engine().parameters
                notes = [outcome.to_config() for outcome in found]
                journal.add(rows, engine()(batch) if len(rows) else (), notes)
                pictures.add(rows, batch)
                outcomes += found
                advance(len(found))
    readable = [row for row, outcome in enumerate(outcomes) if isinstance(outcome, ImageFacts)]
    return Originals(
        backbone_parameters=journal.parameters,
        readable=np.array(readable, np.int64),
        facts=tuple(outcome for outcome in outcomes if isinstance(outcome, ImageFacts)),
        bad_files=tuple(outcome for outcome in outcomes if isinstance(outcome, BadFile)),
        outputs=journal.outputs,
        pictures=pictures,
    )


def _outcome(note: Mapping[str, Json], example: Example) -> _Outcome:
    if "reason" in note:
        return replace(BadFile.from_config(note), path=str(example.path))  # as this run spells it
    return ImageFacts.from_config(note)


def _check(outcomes: Sequence[_Outcome], *, stop_at_bad_file: bool) -> None:
    for outcome in outcomes if stop_at_bad_file else ():
        if isinstance(outcome, BadFile):
            raise outcome.error()


def _batches(
    examples: Sequence[Example], image_size: tuple[int, int], first: int
) -> Iterator[tuple[Positions, Pictures, list[_Outcome]]]:
    """Yield the rows and pictures of what can be read, and what is known of every file, by batches."""
    decoded = enumerate(read_images((example.path for example in examples), image_size), first)
    while batch := list(islice(decoded, BATCH_SIZE)):
        read = [(row, outcome[0]) for row, outcome in batch if not isinstance(outcome, BadFile)]
        rows = np.array([row for row, _ in read], np.int64)
        pictures = np.array([pixels for _, pixels in read], np.uint8)
        yield (
            rows,
            pictures,
            [outcome if isinstance(outcome, BadFile) else outcome[1] for _, outcome in batch],
        )


def _read_views(
    originals: Originals,
    positions: Positions,
    engine: Callable[[], Engine],
    augment: Callable[[Pictures, int, int], Pictures],
    *,
    outputs: Sequence[int],
    views: int,
    folder: Path | None = None,
) -> list[Views]:
    """Run further views of some examples through the frozen part.

    Args:
        originals: The finished pass over the pictures themselves.
        positions: The examples to vary: the training part.
        engine: As in `read_originals`, with these of its outputs.
        augment: Makes the pictures of a view: pictures, view, place of the first among `positions`.
        outputs: Which outputs of the first pass are wanted here.
        views: How many views of each, view 0 (the picture itself) included.
        folder: Where the pass is kept; None keeps it in memory and temporary files.

    Returns:
        For each of `outputs`, its rows by example and view.

    Raises:
        ImageError: A file that could be read before cannot be read any more.
    """
    wanted = [originals.outputs[index] for index in outputs]
    augmented: tuple[Rows | None, ...] = (None,) * len(wanted)
    if views > 1:
        starts = range(0, len(positions), BATCH_SIZE)
        batches = ((view, start) for view in range(1, views) for start in starts)
        count = len(positions) * (views - 1)
        with (
            Journal(folder, count, like=wanted) as journal,
            progress(count, "Augmenting", unit="views") as advance,
        ):
            for view, start in islice(batches, journal.done, None):
                pictures = originals.pictures.read(positions[start : start + BATCH_SIZE])
                rows = np.arange(start, start + len(pictures)) + (view - 1) * len(positions)
                journal.add(rows, engine()(augment(pictures, view, start)), [])
                advance(len(rows))
        augmented = journal.outputs
    pairs = zip(wanted, augmented, strict=True)
    return [Views(original, more, positions) for original, more in pairs]


@final
class FrozenPart:
    """The part of a backbone that a schedule leaves alone, and what comes out of it.

    Args:
        adapter: The backbone. It is built when something has to be computed, not before.
        schedule: What it is needed for.
        policy: How further views are made.
        seed: Of the views.
        keeper: Where passes are kept.
    """

    def __init__(
        self,
        adapter: BackboneAdapter,
        schedule: FineTuneSchedule,
        policy: AugmentationPolicy,
        seed: int,
        keeper: Keeper,
    ) -> None:
        self._adapter = adapter
        self._schedule = schedule
        self._policy = policy
        self._seed = seed
        self._keeper = keeper
        self._key: tuple[object, ...] = ()

    @cached_property
    def network(self) -> Network:
        """The backbone, built at the first use."""
        return self._adapter.build()

    @cached_property
    def starts(self) -> tuple[int, ...]:
        """For each phase, the first layer that it trains."""
        return tuple(
            self.network.place(phase.unfreeze_from, phase.unfreeze_fraction)
            for phase in self._schedule.phases
        )

    @cached_property
    def cut(self) -> CutPoint | None:
        """Where the activations are taken: below all phases; None for the pictures themselves."""
        return self.network.cut_below(min(self.starts)) if self.starts else None

    @cached_property
    def _engine(self) -> Engine:
        return frozen_engine(
            self.network, self.cut, features=True, activations=bool(self._schedule.phases)
        )

    def read(self, examples: Sequence[Example], *, stop_at_bad_file: bool = False) -> Originals:
        """Run every picture through once.

        The outputs are the pooled features and, if the schedule has phases, the activations at the cut.
        """
        cut = (self.cut and self.cut.index, bool(self._schedule.phases))
        views = self._schedule.view_count
        self._key = (
            FORMAT,
            [version(name) for name in ("tensorflow", "pillow")],
            self._adapter.fingerprint(),
            _identity(examples),
            cut,
            views,
        )
        return _read_originals(
            examples,
            lambda: self._engine,
            self._adapter.image_size,
            views=views,
            stop_at_bad_file=stop_at_bad_file,
            folder=self._keeper.of_pass("pictures", *self._key),
        )

    def views(
        self,
        originals: Originals,
        positions: Positions,
        count: int,
        *,
        features: bool,
        activations: bool,
    ) -> list[Views]:
        """Run further views of some examples through; `count` includes view 0, the picture itself.

        Returns:
            The pooled features and the activations at the cut, as asked for.
        """
        size = self._adapter.image_size
        wanted = [number for number, want in enumerate((features, activations)) if want]

        @cache
        def engine() -> Engine:
            return frozen_engine(self.network, self.cut, features=features, activations=activations)

        @cache
        def augmenter() -> Augmenter:
            return self._policy.build(size, seed=self._seed, batch_size=BATCH_SIZE)

        return _read_views(
            originals,
            positions,
            engine,
            lambda pictures, view, start: augmenter()(pictures, view=view, key=start),
            outputs=wanted,
            views=count,
            folder=self._keeper.of_pass(
                "views",
                self._key,
                self._policy.to_json(),
                self._seed,
                positions.tolist(),
                count,
                wanted,
            )
            if self._keeper.keeps and count > 1
            else None,
        )


def listing_facts(examples: Sequence[Example]) -> dict[str, Json]:
    """Return size (bytes) and time (ns) of every file by its name: what tells that none has changed."""
    return {
        example.name: status and [status.st_size, status.st_mtime_ns]
        for example, status in ((example, _status(example)) for example in examples)
    }


def _identity(examples: Sequence[Example]) -> str:
    """Return a fingerprint of these very files: other folders with equal names, sizes and times differ."""
    return fingerprint(
        str(examples[0].path.parent.resolve()),
        [
            (e.name, s and (s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_ino))
            for e in examples
            for s in [_status(e)]
        ],
    )


def _status(example: Example) -> os.stat_result | None:
    try:
        return example.path.stat()
    except OSError:
        return None
