"""Reading images of which one may end the process that decodes it.

A child process decodes one after the other. The image that ends it is a bad file, and another child goes on
behind it.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import BinaryIO, Final, final

from tlkit.errors import ImageError
from tlkit.images.decoder import BadFile
from tlkit.images.loader import Decoded, ReadMany, read_images
from tlkit.images.reader import ValueRange
from tlkit.images.resizing import Resize
from tlkit.scale.places import read_anywhere

_COMMAND: Final = "from tlkit.scale.careful import serve; serve()"


def reader(*, careful: bool) -> ReadMany:
    """Return what decodes the images of a shard.

    Args:
        careful: Decode in a child process, because one of them may end it.
    """
    return read_carefully if careful else partial(read_images, read=read_anywhere)


def read_carefully(
    locations: Iterable[str | Path],
    image_size: tuple[int, int],
    *,
    value_range: ValueRange = None,
    resize: Resize = "stretch",
) -> Iterator[Decoded]:
    """Decode images in a child process and yield what comes of each, in the order given.

    Args:
        locations: Paths or URIs.
        image_size: Height and width of the resized images, in pixels.
        value_range: As in `read_image`.
        resize: As in `read_image`.

    Yields:
        Pixels (uint8 `[H, W, 3]`) and facts, or a `BadFile` for what cannot be read or ends the process.

    Raises:
        OSError: The file system does not answer; that says nothing about the image.
    """
    waiting = iter(locations)
    location = next(waiting, None)
    while location is not None:
        with _Child() as child:
            while location is not None:
                try:
                    answer = child.read(location, image_size, value_range, resize)
                except (EOFError, BrokenPipeError, pickle.UnpicklingError):
                    how = child.how_it_ended()
                    yield BadFile(str(location), f"decoding it ends the process ({how})")
                    location = next(waiting, None)
                    break
                if isinstance(answer, OSError):
                    raise answer
                yield answer
                location = next(waiting, None)


@final
class _Child:
    """A process that decodes images for this one."""

    def __init__(self) -> None:
        paths = os.pathsep.join(filter(None, sys.path))  # wherever tlkit was found here
        self._process = subprocess.Popen(  # noqa: S603 - this very Python
            [sys.executable, "-c", _COMMAND],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": paths},
        )

    def read(
        self,
        location: str | Path,
        image_size: tuple[int, int],
        value_range: ValueRange,
        resize: Resize,
    ) -> Decoded | OSError:
        """Decode one image, or return what the file system says: raised, it might be taken for an end.

        Raises:
            EOFError, BrokenPipeError, pickle.UnpicklingError: The process has ended.
        """
        to, back = self._process.stdin, self._process.stdout
        if to is None or back is None:
            raise EOFError
        pickle.dump((location, image_size, value_range, resize), to)
        to.flush()
        answer: Decoded | OSError = pickle.load(back)  # noqa: S301 - from a process of our own
        return answer

    def how_it_ended(self) -> str:
        """Name the signal that ended the process, or give its exit code."""
        code = self._process.wait()
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"

    def __enter__(self) -> _Child:
        return self

    def __exit__(self, *_error: object) -> None:
        self._process.kill()
        with contextlib.suppress(OSError):  # what was not written when it ended
            self._process.communicate()


def serve() -> None:
    """Be the child: answer requests on stdin until it is closed."""
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a decoder prints is no answer
    with contextlib.suppress(EOFError), answers:
        while True:
            _answer(requests, answers)


def _answer(requests: BinaryIO, answers: BinaryIO) -> None:
    request = pickle.load(requests)  # noqa: S301 - from the process that started this one
    location, image_size, value_range, resize = request
    answer: Decoded | OSError
    try:
        answer = read_anywhere(location, image_size, value_range=value_range, resize=resize)
    except ImageError as error:
        answer = BadFile.from_error(error)
    except OSError as error:
        answer = error
    pickle.dump(answer, answers)
    answers.flush()
