"""Start TensorFlow, and convert networks, without the banners that this writes to stderr.

For the command line alone: stderr belongs to the whole process, so that a library leaves it as it is.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from tlkit.core.keras_backend import check_keras

_STDERR = 2
OPT_OUT = "TLKIT_TF_LOG"
"""Environment variable: `1` shows everything that TensorFlow writes when it starts."""
_LEVEL, _WARNINGS = "TF_CPP_MIN_LOG_LEVEL", "1"

_EXTRAS = "matplotlib", "pandas", "scipy", "sklearn"
"""What Keras imports where it is installed, for methods that no command calls: they are two fifths of the
time that TensorFlow and Keras take to be imported, and 150 MB."""

# Seen with TensorFlow 2.21 on machines without a GPU, most of it twice. Error 303 is "there is no driver".
_BANNER = re.compile(
    rb"WARNING: All log messages before absl::InitializeLog\(\) is called are written to STDERR"
    rb"|.* port\.cc:\d+\] oneDNN custom operations are on\."
    rb"|.* cudart_stub\.cc:\d+\] Could not find cuda drivers on your machine"
    rb"|.* cpu_feature_guard\.cc:\d+\] This TensorFlow binary is optimized to use"
    rb"|To enable the following instructions: "
    rb"|.* generator_dataset_op\.cc:\d+\] Memory patch applied: "
    rb"|.* devices\.cc:\d+\] Number of eligible GPUs "  # these two for each graph that is optimised
    rb"|.* single_machine\.cc:\d+\] Starting new session"
    rb"|.* logging\.cc:\d+: Set ray log level from environment "
    rb"|.* cuda_platform\.cc:\d+\] failed call to cuInit: .*\(303\)"
    rb"|fully_quantize: \d+, inference_type: "  # these when a network is converted to LiteRT and run
    rb"|I.* (reader|loader|mlir_graph_optimization_pass|dump_mlir_util)\.cc:\d+\] "
    rb"|[IW].* (tf_tfl_flatbuffer_helpers|flatbuffer_export)\.cc:\d+\] "
    rb"|INFO: Created TensorFlow Lite XNNPACK delegate for CPU\."
)


def start_tensorflow() -> None:
    """Import TensorFlow and touch its devices; what it writes to stderr is shown, less its banner.

    TensorFlow's own settings silence only a part of the banner. So stderr goes to a temporary file while
    it starts, and every line that is not known to be banner follows afterwards. A crash of the whole
    process in those seconds loses its message: with `TLKIT_TF_LOG=1` in the environment nothing is
    held back. Where TensorFlow is loaded already, nothing happens.

    Raises:
        SettingError: Keras would run on something else than TensorFlow.
    """
    if "tensorflow" not in sys.modules:
        if os.environ.get(OPT_OUT) != "1":
            os.environ.setdefault(
                _LEVEL, _WARNINGS
            )  # nothing but warnings and errors, from then on
        with held_back(), _hidden(_EXTRAS):
            check_keras()
            _touch_devices()


@contextmanager
def _hidden(names: Sequence[str]) -> Iterator[None]:
    """Let packages look as if they were not installed, to whoever imports what it finds."""
    hidden = [name for name in names if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type] # None: the import fails
    try:
        yield
    finally:
        for name in hidden:
            sys.modules.pop(name, None)


def _touch_devices() -> None:
    import tensorflow as tf

    tf.zeros(())  # the first operation looks for a GPU, and logs it
    # The first generator tunes how memory is given back, and logs it, in the middle of a progress bar.
    next(
        iter(
            tf.data.Dataset.from_generator(
                lambda: [0], output_signature=tf.TensorSpec((), tf.int32)
            )
        )
    )


@contextmanager
def held_back() -> Iterator[None]:
    """Hold stderr back and write it afterwards, less the banner; `TLKIT_TF_LOG=1` lets all of it through."""
    try:
        kept = None if os.environ.get(OPT_OUT) == "1" else os.dup(_STDERR)
    except OSError:  # closed: nobody is reading
        kept = None
    if kept is None:
        yield
        return
    with tempfile.TemporaryFile() as file:
        if sys.stderr is not None:
            sys.stderr.flush()
        os.dup2(file.fileno(), _STDERR)
        try:
            yield
        finally:
            if sys.stderr is not None:
                sys.stderr.flush()
            os.dup2(kept, _STDERR)
            os.close(kept)
            file.seek(0)
            with open(_STDERR, "wb", closefd=False) as stderr:
                stderr.write(without_banner(file.read()))


def without_banner(log: bytes) -> bytes:
    r"""Leave the banner's lines out of what TensorFlow wrote.

    Examples:
        >>> without_banner(b"I0000 00:00:17 1 port.cc:153] oneDNN custom operations are on.\nmine\n")
        b'mine\n'
    """
    lines = log.splitlines(keepends=True)
    return b"".join(line for line in lines if not _BANNER.match(line))
