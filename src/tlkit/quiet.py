"""Start TensorFlow without its banner: for the command line, never for `import tlkit`."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

OPT_OUT = "TLKIT_TF_LOG"
"""Environment variable: `1` shows everything that TensorFlow writes when it starts."""

# Seen with TensorFlow 2.21 on machines without a GPU, most of it twice. Error 303 is "there is no driver".
_BANNER = re.compile(
    rb"WARNING: All log messages before absl::InitializeLog\(\) is called are written to STDERR"
    rb"|.* port\.cc:\d+\] oneDNN custom operations are on\."
    rb"|.* cudart_stub\.cc:\d+\] Could not find cuda drivers on your machine"
    rb"|.* cpu_feature_guard\.cc:\d+\] This TensorFlow binary is optimized to use"
    rb"|To enable the following instructions: "
    rb"|.* generator_dataset_op\.cc:\d+\] Memory patch applied: "
    rb"|.* cuda_platform\.cc:\d+\] failed call to cuInit: .*\(303\)"
)


def start_tensorflow() -> None:
    """Import TensorFlow and touch its devices; what it writes to stderr is shown, less its banner.

    TensorFlow's own settings silence only a part of the banner. So stderr goes to a temporary file while
    it starts, and every line that is not known to be banner follows afterwards. A crash of the whole
    process in those seconds loses its message: with `TLKIT_TF_LOG=1` in the environment nothing is
    held back. Where TensorFlow is loaded already, nothing happens.
    """
    if "tensorflow" in sys.modules:
        return
    if os.environ.get(OPT_OUT) == "1":
        _touch_devices()
        return
    with _held_back(2):
        _touch_devices()


def _touch_devices() -> None:
    import tensorflow as tf

    tf.zeros(())  # the first operation looks for a GPU, and says so
    # The first generator tunes how memory is given back, and says so, in the middle of a progress bar.
    next(
        iter(
            tf.data.Dataset.from_generator(
                lambda: [0], output_signature=tf.TensorSpec((), tf.int32)
            )
        )
    )


@contextmanager
def _held_back(descriptor: int) -> Iterator[None]:
    try:
        kept = os.dup(descriptor)
    except OSError:  # closed: nobody is reading
        yield
        return
    with tempfile.TemporaryFile() as file:
        if sys.stderr is not None:
            sys.stderr.flush()
        os.dup2(file.fileno(), descriptor)
        try:
            yield
        finally:
            if sys.stderr is not None:
                sys.stderr.flush()
            os.dup2(kept, descriptor)
            os.close(kept)
            file.seek(0)
            with open(descriptor, "wb", closefd=False) as stderr:
                stderr.write(without_banner(file.read()))


def without_banner(log: bytes) -> bytes:
    r"""Leave the banner's lines out of what TensorFlow wrote.

    Examples:
        >>> without_banner(b"I0000 00:00:17 1 port.cc:153] oneDNN custom operations are on.\nmine\n")
        b'mine\n'
    """
    lines = log.splitlines(keepends=True)
    return b"".join(line for line in lines if not _BANNER.match(line))
