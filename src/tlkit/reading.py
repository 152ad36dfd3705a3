"""Many pictures, decoded ahead of whoever needs them, in order."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import TypeAlias

from tlkit.errors import ImageError
from tlkit.images import BadFile, ImageFacts, read_image
from tlkit.rows import Pictures

Decoded: TypeAlias = tuple[Pictures, ImageFacts] | BadFile

_AHEAD = 96  # pictures: three batches, so that decoding goes on while one batch is computed


def read_images(paths: Iterable[str | Path], image_size: tuple[int, int]) -> Iterator[Decoded]:
    """Decode files in threads and yield what comes of each, in the order given.

    Pillow decodes outside Python's lock, so the threads run beside each other and beside the network.

    Args:
        paths: The files; taken as they are needed.
        image_size: Height and width of the resized pictures, in pixels.

    Yields:
        Pixels (uint8 `[H, W, 3]`) and facts, or a `BadFile` for what cannot be read.
    """

    def decode(path: str | Path) -> Decoded:
        try:
            return read_image(path, image_size)
        except ImageError as error:
            return BadFile.from_error(error)

    with ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="tlkit-decode") as pool:
        waiting = iter(paths)
        ahead: deque[Future[Decoded]] = deque(
            pool.submit(decode, p) for p in islice(waiting, _AHEAD)
        )
        try:
            while ahead:
                yield ahead.popleft().result()
                ahead.extend(pool.submit(decode, path) for path in islice(waiting, 1))
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
