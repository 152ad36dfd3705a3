"""What an image costs with a network on this machine: the forward pass alone."""

from __future__ import annotations

import json
import math
import platform
import time

import numpy as np

from tlkit.backbones.adapter import BackboneAdapter
from tlkit.backbones.engines import BATCH_SIZE
from tlkit.choosing.shared_pass import Reading
from tlkit.core.atomic import replacing
from tlkit.core.machine import cpu_count
from tlkit.core.rows import cannot_keep
from tlkit.features.run_folders import RunFolders

_BATCHES = 3


def seconds_per_image(
    reading: Reading, backbone: BackboneAdapter, run_folders: RunFolders
) -> float:
    """Return the time of the network alone, in the fastest of its batches: others at work only add to it.

    Measured while the images were read; of a pass that an earlier run has finished, what that run measured on
    this machine, or, if it did not, on some batches of noise.

    Args:
        reading: What came of the shared pass; its engine is let go.
        backbone: The network.
        run_folders: Where it is kept for the next run.
    """
    file = run_folders.of_note("cost", backbone.fingerprint(), platform.node(), cpu_count())
    seconds, engine = reading.seconds_per_image, reading.engine
    reading.engine = None
    if math.isinf(seconds) and file is not None and file.exists():
        try:
            return float(json.loads(file.read_text("utf-8"))["seconds_per_image"])
        except (OSError, ValueError, KeyError, TypeError):
            file.unlink(missing_ok=True)
    if math.isinf(seconds) and engine is not None:
        shape = (BATCH_SIZE, *backbone.image_size, 3)
        noise = np.random.default_rng(0).integers(256, size=shape, dtype=np.uint8)
        run = engine()
        run(noise)  # optimises the graph
        for _ in range(_BATCHES):
            started = time.perf_counter()
            run(noise)
            seconds = min(seconds, (time.perf_counter() - started) / BATCH_SIZE)
    if file is not None and not file.exists():
        try:
            with replacing(file) as partial:
                partial.write_text(json.dumps({"seconds_per_image": seconds}), "utf-8")
        except OSError as error:
            raise cannot_keep(file.parent, error) from error
    return seconds
