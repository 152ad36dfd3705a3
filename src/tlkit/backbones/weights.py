"""Pretrained weights: a file into a network, or a download into Keras's cache with a bounded wait.

Keras itself waits without limit for a server that does not answer, trusts a half-downloaded file for
ever, and may leave layers at random values with a warning only. Here each of these is a `WeightsError`
that says what to do.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
import threading
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tlkit.core.atomic import replacing
from tlkit.core.home import expanded, keras_home
from tlkit.core.ignoring import ignoring
from tlkit.core.progress import progress
from tlkit.errors import WeightsError, printable

if TYPE_CHECKING:
    import keras

    from tlkit.backbones.imagenet import KerasFile

WAIT_SECONDS = 10.0  # for a server to answer, and for each further piece of a download
_BLOCK = 2**18  # bytes that are written at once

_BROKEN_DOWNLOAD = (
    "It is a download that broke off or went wrong: delete it, and Keras downloads it again."
)
_lock = threading.Lock()  # one download at a time


def content_digest(path: Path) -> str:
    """Return the SHA-256 of a file's content as hex digits.

    Raises:
        WeightsError: There is no such file, or it cannot be read.
    """
    return _digest(path, "sha256")


def _digest(path: Path, kind: str) -> str:
    try:
        with expanded("weights", path).open("rb") as file:
            # Keras's MD5 tells a broken download from a whole one; nobody trusts it further.
            new = partial(hashlib.new, kind, usedforsecurity=False)
            return hashlib.file_digest(file, new).hexdigest()
    except OSError as error:
        raise _missing(path, error) from error


def load_file(base: keras.Model, path: Path, *, network: str, cached: bool = False) -> None:
    """Load a weights file into a network, so that every variable of it comes from the file.

    Args:
        base: The network; of no further use if this fails.
        path: A file that ends in .weights.h5, .h5, .hdf5 or .keras.
        network: What to call the network in an error, with its options.
        cached: Whether the file is a download of Keras's.

    Raises:
        WeightsError: The file is missing, damaged, or of another network.
    """
    import numpy as np

    path = expanded("weights", path)
    if not path.is_file():
        raise _missing(path, None)
    _check_whole(path, cached=cached)
    variables = [variable for variable in base.weights if "float" in str(variable.dtype)]
    for variable in variables:  # so that what the file does not fill can be told afterwards
        variable.assign(np.full(variable.shape, np.nan, "float32"))
    try:
        # "Affected layers will retain their freshly-initialized weights": checked below instead.
        with ignoring(UserWarning, "Skipping nested container"):
            base.load_weights(str(path))
    except Exception as error:  # Keras and h5py raise whatever they meet
        raise _misfit(path, network, shortened(error), _hint(path)) from error
    for variable in variables:
        if np.isnan(variable.numpy()).any():
            reason = f"it leaves {variable.path} {tuple(variable.shape)} without numbers"
            raise _misfit(path, network, reason, _hint(path))


def fetched(file: KerasFile, *, network: str, wait_seconds: float | None = None) -> Path:
    """Return a weights file of keras.applications from Keras's cache, downloaded first if it is not there.

    A file that is there is found and identified without loading Keras. The wait for a server is bounded.

    Args:
        file: Its name, URL and hash.
        network: What to call the network in an error, with its options.
        wait_seconds: How long to wait for the server to answer. None: `WAIT_SECONDS`.

    Raises:
        WeightsError: The file cannot be downloaded, or the one in the cache is another than Keras knows.
    """
    path = find_cached(file)
    if path is None:
        home, instead = _homes()
        seconds = WAIT_SECONDS if wait_seconds is None else wait_seconds
        path = _downloaded(file, home if _writable(home) else instead, network, seconds)
    if file.hash is not None and _digest(path, file.hash_name) != file.hash:
        raise WeightsError(
            f"{printable(path)} is not the file that Keras knows (its {file.hash_name} must be "
            f"{file.hash}). {_BROKEN_DOWNLOAD}"
        )
    return path


def find_cached(file: KerasFile) -> Path | None:
    """Return where Keras's cache has a weights file, unchecked; None where it does not have it."""
    paths = [folder / "models" / file.name for folder in _homes()]
    return next((path for path in paths if path.is_file()), None)


def _homes() -> tuple[Path, Path]:
    """Return Keras's folder, and the one that it takes where it may not write there."""
    instead = Path(tempfile.gettempdir()) / ".keras"
    return keras_home() or instead, instead


def _writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK)


def _downloaded(file: KerasFile, home: Path, network: str, wait_seconds: float) -> Path:
    """Download a file by ourselves: Keras would redirect the whole process to do it with a bounded wait."""
    target = home / "models" / file.name
    try:
        with _lock:
            if not target.exists():  # two threads may want the same file
                target.parent.mkdir(parents=True, exist_ok=True)
                with replacing(target) as unfinished:
                    _download(file.url, unfinished, wait_seconds)
    except Exception as error:  # http.client has kinds of its own
        raise _not_fetched(network, file.url, target, error) from error
    return target


def _download(url: str, target: Path, wait_seconds: float) -> None:
    """Write what an address gives to a file, with a bounded wait for each piece of it.

    Raises:
        OSError: There is no answer, it is not what was asked for, or it stops too early.
    """
    import urllib.request

    _wait_for_answer(url, wait_seconds)
    with (
        urllib.request.urlopen(url, timeout=WAIT_SECONDS) as answer,  # noqa: S310 - Keras's own https URL
        target.open("wb") as file,
    ):
        length = int(answer.headers.get("Content-Length") or 0)
        with progress(length or None, "Downloading weights", unit="bytes") as advance:
            while block := answer.read(_BLOCK):
                file.write(block)
                advance(len(block))
    if target.stat().st_size < length:
        raise OSError(f"it stopped after {target.stat().st_size:,} of {length:,} bytes")


def _wait_for_answer(url: str, seconds: float) -> None:
    """Raise if a server does not answer in time.

    In a thread because a socket's timeout bounds neither the look-up of a name nor the number of
    addresses that are tried one after the other.
    """
    import urllib.request

    failure: list[BaseException] = [TimeoutError(f"no answer within {seconds:g} seconds")]

    def ask() -> None:
        try:
            urllib.request.urlopen(url, timeout=seconds).close()  # noqa: S310 - Keras's own https URL
            failure.clear()
        except Exception as error:  # noqa: BLE001 - raised below, in the thread that asked
            failure[:] = [error]

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(seconds)
    for error in failure[:1]:
        raise error


def _check_whole(path: Path, *, cached: bool) -> None:
    """Raise if a file is not HDF5 or ends too early (HDF5 writes its own length into its head)."""
    import h5py

    if path.suffix == ".keras":
        return
    try:
        h5py.File(path, "r").close()
    except Exception as error:
        remedy = _BROKEN_DOWNLOAD if cached else "Copy or download it again."
        raise WeightsError(
            f"cannot read {printable(path)}: weights must be a whole HDF5 file, and this one is not "
            f"({shortened(error)}). {remedy}"
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
        f"the ImageNet weights of {network} cannot be downloaded from {url} ({shortened(error)}). "
        "Three ways on: give a file, weights='path/to/file.h5'; or put the file from that URL into "
        f"Keras's cache as {printable(target)}; or start from random weights, weights=None."
    )


def shortened(error: BaseException, limit: int = 300) -> str:
    """Keep what matters of Keras's messages, which go on to print whole tensors and URLs again."""
    text = re.split(r"Target variable:|List of objects|Expected: \[", str(error))[0]
    text = re.sub(r"URL fetch failure on \S+ (None -- )?", "", text)
    text = " ".join(text.split()).rstrip(" .,:") or type(error).__name__
    return text if len(text) <= limit else text[: limit - 1] + "…"
