"""Pretrained weights: a file into a network, or Keras's own download with a bounded wait.

Keras itself waits without limit for a server that does not answer, trusts a half-downloaded file for
ever, and may leave layers at random values with a warning only. Here each of these is a `WeightsError`
that says what to do.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import re
import sys
import threading
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tlkit.core.home import expanded
from tlkit.errors import WeightsError, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import keras

WAIT_SECONDS = 10.0  # for a server to answer, and for each further piece of a download

_lock = threading.Lock()  # `keras_downloads` replaces a function of Keras for its duration


def content_digest(path: Path) -> str:
    """Return the SHA-256 of a file's content as hex digits.

    Raises:
        WeightsError: There is no such file, or it cannot be read.
    """
    try:
        with expanded("weights", path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise _missing(path, error) from error


def load_file(base: keras.Model, path: Path, *, network: str) -> None:
    """Load a weights file into a network, so that every variable of it comes from the file.

    Args:
        base: The network; of no further use if this fails.
        path: A file that ends in .weights.h5, .h5, .hdf5 or .keras.
        network: What to call the network in an error, with its options.

    Raises:
        WeightsError: The file is missing, damaged, or of another network.
    """
    import numpy as np

    path = expanded("weights", path)
    if not path.is_file():
        raise _missing(path, None)
    _check_whole(path)
    variables = [variable for variable in base.weights if "float" in str(variable.dtype)]
    for variable in variables:  # so that what the file does not fill can be told afterwards
        variable.assign(np.full(variable.shape, np.nan, "float32"))
    try:
        with warnings.catch_warnings():
            # "Affected layers will retain their freshly-initialized weights": checked below instead.
            warnings.filterwarnings("ignore", message="Skipping nested container")
            base.load_weights(str(path))
    except Exception as error:  # Keras and h5py raise whatever they meet
        raise _misfit(path, network, _shortened(error), _hint(path)) from error
    for variable in variables:
        if np.isnan(variable.numpy()).any():
            reason = f"it leaves {variable.path} {tuple(variable.shape)} without numbers"
            raise _misfit(path, network, reason, _hint(path))


@contextlib.contextmanager
def keras_downloads(*, network: str) -> Iterator[None]:
    """Let keras.applications fetch weights inside this block, with a bounded wait and errors that help.

    Raises:
        WeightsError: The file cannot be downloaded, or the one in Keras's cache is damaged.
    """

    def fetch(original: Callable[..., str], fname: str, origin: str, **options: Any) -> str:
        target = _cached_as(fname, options.get("cache_subdir", "datasets"))
        try:
            if target.exists():
                _check_whole(target, cached=True)
            else:
                _wait_for_answer(origin)
            # Keras draws its progress bar on stdout, which belongs to the program's results.
            sink = sys.stderr if sys.stderr.isatty() else io.StringIO()
            with contextlib.redirect_stdout(sink), _socket_timeout(WAIT_SECONDS):
                path = Path(original(fname, origin, **options))
        except WeightsError:
            raise
        except Exception as error:  # Keras raises a bare Exception here
            raise _not_fetched(network, origin, target, error) from error
        _check_whole(path, cached=True)
        return str(path)

    with replaced_get_file(fetch):
        yield


@contextlib.contextmanager
def replaced_get_file(replacement: Callable[..., str]) -> Iterator[None]:
    """Answer keras.applications' `get_file(fname, origin, …)` with `replacement(original, fname, …)`.

    keras.applications composes the names of its files inside its constructors and nowhere else, so this
    is the one place to learn the URL and the path before a download begins. `keras.utils.get_file`,
    which other code calls, is another reference and stays as it is.
    """
    from keras.src.utils import file_utils

    def get_file(fname: str, origin: str, **options: Any) -> str:
        return replacement(original, fname, origin, **options)

    with _lock:
        original = file_utils.get_file
        file_utils.get_file = get_file
        try:
            yield
        finally:
            file_utils.get_file = original


def _cached_as(fname: str, subdirectory: str) -> Path:
    """Say where `get_file` keeps a file: the rule is Keras's own, which has no public name."""
    import tempfile

    from keras.src.backend import config

    home = Path(os.path.expanduser(config.keras_home()))  # noqa: PTH111 - works without a home
    if not os.access(home, os.W_OK):
        temporary = Path("/tmp")  # noqa: S108 - Keras's rule
        home = (temporary if temporary.is_dir() else Path(tempfile.gettempdir())) / ".keras"
    return home / subdirectory / fname


def _wait_for_answer(url: str) -> None:
    """Raise if a server does not answer in time.

    In a thread because a socket's timeout bounds neither the look-up of a name nor the number of
    addresses that are tried one after the other.
    """
    import urllib.request

    failure: list[BaseException] = [TimeoutError(f"no answer within {WAIT_SECONDS:g} seconds")]

    def ask() -> None:
        try:
            urllib.request.urlopen(url, timeout=WAIT_SECONDS).close()  # noqa: S310 - Keras's own https URL
            failure.clear()
        except Exception as error:  # noqa: BLE001 - raised below, in the thread that asked
            failure[:] = [error]

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(WAIT_SECONDS)
    for error in failure[:1]:
        raise error


@contextlib.contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    import socket

    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _check_whole(path: Path, *, cached: bool = False) -> None:
    """Raise if a file is not HDF5 or ends too early (HDF5 writes its own length into its head)."""
    import h5py

    if path.suffix == ".keras":
        return
    try:
        h5py.File(path, "r").close()
    except Exception as error:
        remedy = (
            "It is a download that broke off or went wrong: delete it, and Keras downloads it again."
            if cached
            else "Copy or download it again."
        )
        raise WeightsError(
            f"cannot read {printable(path)}: weights must be a whole HDF5 file, and this one is not "
            f"({_shortened(error)}). {remedy}"
        ) from error


def _hint(path: Path) -> str:
    """Say what a weights file that does not fit probably is, by its own table of contents."""
    import h5py

    if path.suffix == ".keras":
        return ""
    with h5py.File(path, "r") as file:
        names = [
            _text(name) for name in file.get("model_weights", file).attrs.get("layer_names", ())
        ]
        keras3 = "layers" in file and not names
    if keras3 and not path.name.endswith(".weights.h5"):
        return " The file is in Keras 3's format: rename it so that its name ends in .weights.h5."
    if names and path.name.endswith(".weights.h5"):
        return " The file is in the older format: rename it so that its name ends in .h5 alone."
    if any(name == "predictions" or name.endswith("head_dense") for name in names):
        return (
            " It holds a network with its classification top: take the file without (…no_top.h5)."
        )
    return ""


def _text(name: str | bytes) -> str:
    return name.decode() if isinstance(name, bytes) else name


def _misfit(path: Path, network: str, reason: str, hint: str) -> WeightsError:
    return WeightsError(
        f"{printable(path)} does not fit {network}: {reason}.{hint} "
        "Give the file of this network with these options, without its classification top."
    )


def _missing(path: Path, error: OSError | None) -> WeightsError:
    reason = f"cannot be read ({error.strerror})" if error and path.exists() else "is not a file"
    return WeightsError(
        f'`weights` must be an existing file, "imagenet" or None: {printable(path)} {reason}'
    )


def _not_fetched(network: str, url: str, target: Path, error: Exception) -> WeightsError:
    return WeightsError(
        f"the ImageNet weights of {network} cannot be downloaded from {url} ({_shortened(error)}). "
        "Three ways on: give a file, weights='path/to/file.h5'; or put the file from that URL into "
        f"Keras's cache as {printable(target)}; or start from random weights, weights=None."
    )


def _shortened(error: Exception, limit: int = 300) -> str:
    """Keep what matters of Keras's messages, which go on to print whole tensors and URLs again."""
    text = re.split(r"Target variable:|List of objects|Expected: \[", str(error))[0]
    text = re.sub(r"URL fetch failure on \S+ (None -- )?", "", text)
    text = " ".join(text.split()).rstrip(" .,:") or type(error).__name__
    return text if len(text) <= limit else text[: limit - 1] + "…"
