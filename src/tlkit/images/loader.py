"""Many images, decoded ahead of whoever needs them, in order."""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Protocol, TypeAlias, TypeVar

import numpy as np

from tlkit.core.machine import cpu_count
from tlkit.core.progress import progress
from tlkit.core.rows import Images, Indices
from tlkit.errors import BadFileWarning, ImageError
from tlkit.images.decoder import BadFile, ImageFacts, read_image, read_image_at_sizes
from tlkit.images.reader import ValueRange
from tlkit.images.resizing import Resize

Decoded: TypeAlias = tuple[Images, ImageFacts] | BadFile
DecodedAtSizes: TypeAlias = tuple[tuple[Images, ...], ImageFacts] | BadFile
FileOutcome: TypeAlias = ImageFacts | BadFile
"""What is known of a file: the facts of its image, or why it cannot be read."""


Outcome = TypeVar("Outcome")


class Read(Protocol):
    """Decodes one file, as `read_image` does, wherever it lies."""

    def __call__(
        self,
        path: str | Path,
        image_size: tuple[int, int],
        /,
        *,
        value_range: ValueRange,
        resize: Resize,
    ) -> tuple[Images, ImageFacts]:
        """Return pixels and facts."""


class ReadMany(Protocol):
    """Decodes files, as `read_images` does."""

    def __call__(
        self,
        paths: Iterable[str | Path],
        image_size: tuple[int, int],
        /,
        *,
        value_range: ValueRange,
        resize: Resize,
    ) -> Iterator[Decoded]:
        """Yield what comes of each."""


_AHEAD_BYTES = 64 * 2**20  # of decoded images that wait: decoding goes on while a network is built
_AHEAD_AT_LEAST, _AHEAD_AT_MOST = 96, 1024  # images
LOADING_BYTES = 256 * 2**20
"""Bytes of decoded images that may wait while TensorFlow is loaded, which takes seconds; never more."""


def read_files(
    paths: Sequence[str | Path],
    image_size: tuple[int, int],
    description: str,
    *,
    value_range: ValueRange = None,
    each: Callable[[int, Images], None] | None = None,
) -> tuple[Indices, list[ImageFacts], list[BadFile]]:
    """Decode files, showing progress, and return what is known of them.

    Args:
        paths: The files.
        image_size: Height and width of the resized images, in pixels.
        description: What to call it in the progress bar.
        value_range: As in `read_image`.
        each: Called with the place in `paths` and the pixels of each file that can be read.

    Returns:
        The places of the files that can be read (int64, ascending), the facts of each of them, and the
        files that cannot.
    """
    readable: list[int] = []
    facts: list[ImageFacts] = []
    bad_files: list[BadFile] = []
    with progress(len(paths), description) as advance:
        for place, outcome in enumerate(read_images(paths, image_size, value_range=value_range)):
            if isinstance(outcome, BadFile):
                bad_files.append(outcome)
            else:
                readable.append(place)
                facts.append(outcome[1])
                if each is not None:
                    each(place, outcome[0])
            advance(1)
    return np.array(readable, np.int64), facts, bad_files


def read_images(
    paths: Iterable[str | Path],
    image_size: tuple[int, int],
    *,
    value_range: ValueRange = None,
    resize: Resize = "stretch",
    read: Read = read_image,
) -> Iterator[Decoded]:
    """Decode files in threads and yield what comes of each, in the order given.

    Args:
        paths: The files; taken as they are needed.
        image_size: Height and width of the resized images, in pixels.
        value_range: As in `read_image`.
        resize: As in `read_image`.
        read: Decodes one of them; several threads call it.

    Yields:
        Pixels (uint8 `[H, W, 3]`) and facts, or a `BadFile` for what cannot be read.
    """
    with reading_ahead(
        paths, image_size, value_range=value_range, resize=resize, read=read
    ) as decoded:
        yield from decoded


def read_pixels(
    paths: Iterable[str | Path],
    image_size: tuple[int, int],
    *,
    value_range: ValueRange = None,
    resize: Resize = "stretch",
) -> Iterator[Decoded]:
    """Do as `read_images`, for whoever wants the pixels alone: how they look is not measured."""
    read = partial(read_image, measure=False)
    return read_images(paths, image_size, value_range=value_range, resize=resize, read=read)


@contextmanager
def reading_ahead(
    paths: Iterable[str | Path],
    image_size: tuple[int, int],
    *,
    value_range: ValueRange = None,
    resize: Resize = "stretch",
    read: Read = read_image,
    first_bytes: int = _AHEAD_BYTES,
) -> Iterator[Iterator[Decoded]]:
    """Decode files in threads from now on, whenever they will be taken.

    Pillow decodes outside Python's lock, so the threads run beside each other, beside the network, and beside
    the import of what runs it.

    Args:
        paths: As in `read_images`.
        image_size: As in `read_images`.
        value_range: As in `read_images`.
        resize: As in `read_images`.
        read: As in `read_images`.
        first_bytes: How many bytes of images may wait until the first one is taken.

    Yields:
        What `read_images` yields, until the context ends.
    """

    def decode(path: str | Path) -> Decoded:
        try:
            return read(path, image_size, value_range=value_range, resize=resize)
        except ImageError as error:
            return BadFile.from_error(error)

    with _ahead(paths, decode, _bytes_of([image_size]), first_bytes) as decoded:
        yield decoded


@contextmanager
def reading_ahead_at_sizes(
    paths: Iterable[str | Path],
    image_sizes: Sequence[tuple[int, int]],
    *,
    value_range: ValueRange = None,
    first_bytes: int = _AHEAD_BYTES,
) -> Iterator[Iterator[DecodedAtSizes]]:
    """Decode files in threads from now on, each at several sizes, as `read_image_at_sizes` does.

    Args:
        paths: As in `read_images`.
        image_sizes: Height and width of each, at least one.
        value_range: As in `read_image`.
        first_bytes: As in `reading_ahead`.

    Yields:
        What comes of each file, in the order given, until the context ends.
    """

    def decode(path: str | Path) -> DecodedAtSizes:
        try:
            return read_image_at_sizes(path, image_sizes, value_range=value_range)
        except ImageError as error:
            return BadFile.from_error(error)

    with _ahead(paths, decode, _bytes_of(image_sizes), first_bytes) as decoded:
        yield decoded


def _bytes_of(image_sizes: Sequence[tuple[int, int]]) -> int:
    return sum(3 * height * width for height, width in image_sizes)


@contextmanager
def _ahead(
    paths: Iterable[str | Path],
    decode: Callable[[str | Path], Outcome],
    bytes_each: int,
    first_bytes: int,
) -> Iterator[Iterator[Outcome]]:
    at_most = max(1, LOADING_BYTES // bytes_each)
    count = min(max(_AHEAD_BYTES // bytes_each, _AHEAD_AT_LEAST), _AHEAD_AT_MOST, at_most)
    first = max(min(first_bytes // bytes_each, _AHEAD_AT_MOST), count)
    with ThreadPoolExecutor(cpu_count(), thread_name_prefix="tlkit-decode") as pool:
        waiting = iter(paths)
        ahead: deque[Future[Outcome]] = deque(
            pool.submit(decode, path) for path in islice(waiting, first)
        )

        def in_order() -> Iterator[Outcome]:
            while ahead:
                found = ahead.popleft().result()
                if len(ahead) < count:
                    ahead.extend(pool.submit(decode, path) for path in islice(waiting, 1))
                yield found

        try:
            yield in_order()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def read_batches(
    paths: Iterable[str | Path],
    image_size: tuple[int, int],
    batch_size: int,
    *,
    value_range: ValueRange = None,
    resize: Resize = "stretch",
    read_many: ReadMany = read_images,
) -> Iterator[tuple[Indices, Images, list[FileOutcome]]]:
    """Decode files ahead and yield them in batches, in the order given.

    Args:
        paths: The files; taken as they are needed.
        image_size: Height and width of the resized images, in pixels.
        batch_size: Files in a batch, readable or not; the last batch may be smaller.
        value_range: As in `read_image`.
        resize: As in `read_image`.
        read_many: Decodes the files, as `read_images` does.

    Yields:
        The indices among `paths` of the files of the batch that can be read (int64 `[B]`, ascending; there
        may be none), their pixels (uint8 `[B, H, W, 3]`), and what is known of every file of the batch.
    """
    decoded = read_many(paths, image_size, value_range=value_range, resize=resize)
    at_one_size = (
        found if isinstance(found, BadFile) else ((found[0],), found[1]) for found in decoded
    )
    for indices, (pixels,), outcomes in in_batches(at_one_size, [image_size], batch_size):
        yield indices, pixels, outcomes


def in_batches(
    decoded: Iterable[DecodedAtSizes], image_sizes: Sequence[tuple[int, int]], batch_size: int
) -> Iterator[tuple[Indices, list[Images], list[FileOutcome]]]:
    """Put what comes of files together in batches, in the order given.

    Args:
        decoded: What comes of each.
        image_sizes: Height and width of each of its images, in pixels.
        batch_size: Files in a batch, readable or not; the last batch may be smaller.

    Yields:
        As `read_batches`, with pixels for each size.
    """
    numbered = enumerate(decoded)
    while batch := list(islice(numbered, batch_size)):
        readable = [(index, found) for index, found in batch if not isinstance(found, BadFile)]
        pixels = [np.empty((len(readable), *size, 3), np.uint8) for size in image_sizes]
        for row, (_, (images, _)) in enumerate(readable):
            for block, image in zip(pixels, images, strict=True):
                block[row] = image
        indices = np.array([index for index, _ in readable], np.int64)
        yield indices, pixels, [f if isinstance(f, BadFile) else f[1] for _, f in batch]


def warn_of_bad_files(bad_files: Sequence[BadFile], *, stacklevel: int = 3) -> None:
    """Name the files that were left out, the first ten of many, in one warning."""
    if not bad_files:
        return
    lines = [f"  {file}" for file in bad_files[:10]]
    if len(bad_files) > 10:
        lines.append(f"  … and {len(bad_files) - 10} more")
    count = "1 file" if len(bad_files) == 1 else f"{len(bad_files)} files"
    warnings.warn(
        f"left out {count} that cannot be read as images:\n" + "\n".join(lines),
        BadFileWarning,
        stacklevel=stacklevel,
    )
