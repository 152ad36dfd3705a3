"""What the tests of `tlkit.scale` share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from tlkit import BackboneAdapter, TransferClassifier
from tlkit.images.decoder import BadFile
from tlkit.scale.store import FeatureStore

TINY = BackboneAdapter("tiny_random")

# In a worker and in its child processes, decoding some bytes ends the process, as a segfault of a decoder
# would; and while a file named "slow" is there, it takes its time.
HOOK = """
import os, pathlib, signal, time
import tlkit.images.file_formats

sniff = tlkit.images.file_formats.sniff

def patched(head):
    if head.startswith(b"KILLER"):
        os.kill(os.getpid(), signal.SIGSEGV)
    if (pathlib.Path(__file__).parent / "slow").exists():
        time.sleep(0.05)
    return sniff(head)

tlkit.images.file_formats.sniff = patched
"""


def check_equal(one: TransferClassifier, other: TransferClassifier) -> None:
    assert one.record.training_names == other.record.training_names
    assert one.record.engine == other.record.engine
    assert one.record.fingerprint == other.record.fingerprint
    assert one.calibration is not None
    assert other.calibration is not None
    for part, scores in one.record.scores.items():
        assert scores.names == other.record.scores[part].names
        found = other.record.scores[part].probabilities
        assert np.allclose(scores.probabilities, found, rtol=0, atol=1e-5)
    images = np.random.default_rng(0).integers(0, 256, (5, *one.image_size, 3), np.uint8)
    assert np.allclose(one.predict_proba(images), other.predict_proba(images), rtol=0, atol=1e-5)


def kept(location: Path) -> tuple[list[str], npt.NDArray[np.float32], list[BadFile]]:
    """Return names, features and bad files of all parts."""
    store = FeatureStore(str(location))
    parts = [store.read(number) for number in sorted(store.done())]
    return (
        [name for part in parts for name in part.names],
        np.concatenate([part.features for part in parts]),
        [o for part in parts for o in part.outcomes if isinstance(o, BadFile)],
    )
