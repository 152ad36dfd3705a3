"""Several networks over one folder: each file read once, and decoded once for each scale that they need.

Batches go to all networks in turn, so that nothing decoded has to be kept. A network that fails drops out,
with its reason; one that an earlier run has finished takes no part.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Final, final

from tlkit.backbones.engines import BATCH_SIZE, Engine
from tlkit.core.machine import give_back_memory
from tlkit.core.progress import progress
from tlkit.core.rows import Images, Indices
from tlkit.data.example import Example
from tlkit.errors import TlkitError, printable
from tlkit.features.frozen_part import FrozenPart
from tlkit.features.passes import Originals, OriginalsPass, check_outcomes, gathered
from tlkit.images.loader import (
    DecodedAtSizes,
    FileOutcome,
    in_batches,
    reading_ahead_at_sizes,
)
from tlkit.images.reader import ValueRange

FEATURE_BYTES: Final = 64 * 2**20
"""What the features of all networks together may take in memory, beside the networks; more lies in files."""


@final
@dataclass(slots=True, eq=False)
class Reading:
    """One network's part in a shared pass.

    Attributes:
        frozen: Its frozen part.
        image_size: Height and width of its images, in pixels.
        originals: What came out; None where it failed.
        seconds_per_image: Of the network alone; infinite where it has run no two batches.
        reason: Why it failed; empty where it did not.
        engine: Gives what runs it.
        begun: Its pass, while it goes on.
    """

    frozen: FrozenPart
    image_size: tuple[int, int]
    originals: Originals | None = None
    seconds_per_image: float = math.inf
    reason: str = ""
    engine: Callable[[], Engine] | None = None
    begun: OriginalsPass | None = field(default=None, repr=False)

    def fail(self, error: Exception) -> None:
        """Note why the network dropped out, in a line."""
        text = str(error) if isinstance(error, TlkitError) else f"{type(error).__name__}: {error}"
        lines = text.strip().splitlines()
        self.reason = printable(lines[0][:300])
        self.begun = self.engine = self.originals = None


def read_together(
    readings: Sequence[Reading],
    examples: Sequence[Example],
    *,
    kept: bool,
    value_range: ValueRange,
    stop_at_bad_file: bool,
) -> None:
    """Run every image through all networks; what came of it is noted in each `Reading`.

    Args:
        readings: The networks.
        examples: What to read.
        kept: Whether an earlier run may have left something, so that less is to be decoded.
        value_range: As in `read_image`.
        stop_at_bad_file: Raise at the first file that cannot be read, instead of listing it.

    Raises:
        ImageError: A file cannot be read and `stop_at_bad_file` is set.
    """
    if not readings:
        return
    with ExitStack() as stack:
        early = None if kept else _decoding(stack, readings, examples, value_range)
        for reading in readings:
            _begin(stack, reading, examples, len(readings))
            give_back_memory()  # what it took to convert the network, for the next one to take
        running = [one for one in readings if one.begun and one.begun.done < len(examples)]
        for reading in readings:
            if reading.begun:
                check_outcomes(reading.begun.outcomes, stop_at_bad_file=stop_at_bad_file)
        if running:
            done = min(one.begun.done for one in running if one.begun)
            decoded = early
            sizes = _sizes(readings)
            if decoded is None:
                sizes = _sizes(running)
                decoded = _decoding(stack, running, examples[done:], value_range)
            _run(running, decoded, sizes, done, len(examples), stop_at_bad_file=stop_at_bad_file)
    _finish(readings)


def _sizes(readings: Sequence[Reading]) -> list[tuple[int, int]]:
    return list(dict.fromkeys(reading.image_size for reading in readings))


def _decoding(
    stack: ExitStack,
    readings: Sequence[Reading],
    examples: Sequence[Example],
    value_range: ValueRange,
) -> Iterator[DecodedAtSizes]:
    """Begin to decode, at the sizes of these networks."""
    return stack.enter_context(
        reading_ahead_at_sizes(
            [example.path for example in examples],
            _sizes(readings),
            value_range=value_range,
        )
    )


def _begin(stack: ExitStack, reading: Reading, examples: Sequence[Example], count: int) -> None:
    """Take up what is kept of a network's pass, one of `count`, and build the network if it is needed."""
    try:
        budget = FEATURE_BYTES // count
        reading.begun = stack.enter_context(reading.frozen.begin(examples, memory_budget=budget))
        if reading.begun.done < len(examples):
            reading.begun.engine()
    except Exception as error:  # noqa: BLE001 - Keras and TensorFlow raise whatever they meet
        reading.fail(error)


def _run(
    running: list[Reading],
    decoded: Iterator[DecodedAtSizes],
    sizes: Sequence[tuple[int, int]],
    done: int,
    count: int,
    *,
    stop_at_bad_file: bool,
) -> None:
    with progress(count, "Reading") as advance:
        advance(done)
        for number, (rows, pixels, found) in enumerate(in_batches(decoded, sizes, BATCH_SIZE)):
            check_outcomes(found, stop_at_bad_file=stop_at_bad_file)
            outcomes = gathered(found)
            images = dict(zip(sizes, pixels, strict=True))
            first = number % len(
                running
            )  # the first one runs beside the decoder, so they take turns
            for reading in running[first:] + running[:first]:
                if reading.begun and reading.begun.done == done + number * BATCH_SIZE:
                    _take(reading, reading.begun, rows + done, images, outcomes)
                    if number == 0:
                        give_back_memory()  # what it took to optimise the network's graph
            give_back_memory()
            advance(len(found))


def _take(
    reading: Reading,
    begun: OriginalsPass,
    rows: Indices,
    images: dict[tuple[int, int], Images],
    outcomes: Sequence[FileOutcome],
) -> None:
    try:
        begun.take(rows, images[reading.image_size], outcomes)
    except Exception as error:  # noqa: BLE001 - Keras and TensorFlow raise whatever they meet
        reading.fail(error)


def _finish(readings: Sequence[Reading]) -> None:
    """Note what came out. Facts of the files are the same for all, and kept once."""
    facts = bad_files = None
    for reading in readings:
        if reading.begun is None:
            continue
        reading.seconds_per_image, reading.engine = (
            reading.begun.seconds_per_image,
            reading.begun.engine,
        )
        originals = reading.begun.result()
        facts, bad_files = facts or originals.facts, bad_files or originals.bad_files
        reading.originals = replace(originals, facts=facts, bad_files=bad_files)
        reading.begun = None
