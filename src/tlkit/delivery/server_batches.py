"""From the bytes of many requests to their predictions: decoded side by side, computed together."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from threading import Condition, Thread
from time import monotonic
from typing import Final, NamedTuple, final

import numpy as np

from tlkit.backbones.engines import BATCH_SIZE
from tlkit.classifier.classifier import Prediction, TransferClassifier
from tlkit.core.machine import cpu_count
from tlkit.delivery.server_uploads import Limits, RefusedError, Upload, stopping
from tlkit.errors import ImageError
from tlkit.images.decoder import BadFile, ImageFacts, Pixels, read_image

COMPANY_SECONDS: Final = 0.004
"""How long an image waits for others that are being decoded: about as long as that takes."""


@final
@dataclass(frozen=True, slots=True)
class Seen:
    """An image of a request that could be read.

    Attributes:
        prediction: What the classifier says.
        pixels: The image as the network takes it, uint8 `[H, W, 3]`.
        facts: Of its file.
    """

    prediction: Prediction
    pixels: Pixels
    facts: ImageFacts


class _Decoded(NamedTuple):
    """An image that waits for its prediction."""

    pixels: Pixels
    facts: ImageFacts
    prediction: Future[Prediction]


@final
class Desk:
    """Where requests hand in their files: predicts those that wait at the same time together.

    Args:
        classifier: What predicts.
        limits: How many images may wait, and how large one may be.
    """

    def __init__(self, classifier: TransferClassifier, limits: Limits) -> None:
        self._classifier, self._limits = classifier, limits
        self._accepted = 0  # and not answered; of the event loop alone
        self._decoders = ThreadPoolExecutor(cpu_count(), thread_name_prefix="tlkit-decode")
        self._changed = Condition()
        self._coming = 0  # being decoded, or waiting for that
        self._ready: deque[_Decoded] = deque()
        self._closed = False
        self._computing = Thread(target=self._compute, name="tlkit-predict", daemon=True)
        self._computing.start()

    async def predict(self, files: Sequence[Upload]) -> list[Seen | BadFile]:
        """Return what is on each of these files, in the order given.

        Raises:
            RefusedError: Too many images wait, or the server is being stopped.
        """
        if self._closed:
            raise stopping()
        if self._accepted + len(files) > self._limits.waiting:
            raise RefusedError(
                503,
                f"{self._accepted} images wait already, and no more than {self._limits.waiting} may: send it "
                "again in a second",
            )
        self._accepted += len(files)
        decoding = [self._hand_in(file) for file in files]
        try:
            # All of them are waited for, for others must not take their places before they are done.
            found = await asyncio.gather(*map(self._outcome, decoding), return_exceptions=True)
        finally:
            self._accepted -= len(files)
        for outcome in found:
            if isinstance(outcome, BaseException):
                raise outcome
        return [outcome for outcome in found if not isinstance(outcome, BaseException)]

    def close(self) -> None:
        """End the threads, once what is decoded is computed; what is not is cancelled."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._decoders.shutdown(wait=False, cancel_futures=True)

    def _hand_in(self, file: Upload) -> Future[_Decoded | BadFile]:
        with self._changed:
            self._coming += 1
        decoding = self._decoders.submit(self._decode, file)
        decoding.add_done_callback(self._arrived)
        return decoding

    async def _outcome(self, decoding: Future[_Decoded | BadFile]) -> Seen | BadFile:
        found = await asyncio.wrap_future(decoding)
        if isinstance(found, BadFile):
            return found
        return Seen(await asyncio.wrap_future(found.prediction), found.pixels, found.facts)

    def _decode(self, file: Upload) -> _Decoded | BadFile:
        try:
            pixels, facts = read_image(
                file.content,
                self._classifier.image_size,
                max_pixels=self._limits.pixels,
                value_range=self._classifier.value_range,
                resize=self._classifier.resizing,
                measure=False,
            )
        except ImageError as error:
            return BadFile(file.name or "", error.reason, format=error.format)
        return _Decoded(pixels, facts, Future())

    def _arrived(self, decoding: Future[_Decoded | BadFile]) -> None:
        """Let what is decoded be computed; whatever became of it, nobody waits for it to arrive any more."""
        with self._changed:
            self._coming -= 1
            if not (decoding.cancelled() or decoding.exception()):
                found = decoding.result()
                if isinstance(found, _Decoded):
                    self._ready.append(found)
            self._changed.notify_all()

    def _compute(self) -> None:
        """Predict what is ready, again and again."""
        while waiting := self._next():
            batch = [one for one in waiting if one.prediction.set_running_or_notify_cancel()]
            if not batch:
                continue
            try:
                predictions = self._classifier.predict(np.stack([one.pixels for one in batch]))
            except BaseException as error:  # noqa: BLE001 - whoever waits hears of it
                for one in batch:
                    one.prediction.set_exception(error)
                continue
            for one, prediction in zip(batch, predictions, strict=True):
                one.prediction.set_result(prediction)

    def _next(self) -> list[_Decoded]:
        """Return what is to be computed together; nothing at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._ready or (self._closed and not self._coming))
            last = monotonic() + COMPANY_SECONDS
            while (
                self._coming and len(self._ready) < BATCH_SIZE and (left := last - monotonic()) > 0
            ):
                self._changed.wait(left)
            return [self._ready.popleft() for _ in range(min(BATCH_SIZE, len(self._ready)))]
