"""Whether Keras runs on TensorFlow, asked before it is loaded: afterwards it cannot be changed."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Final

from tlkit.core.home import keras_home
from tlkit.errors import MissingExtraError, SettingError, printable

_VARIABLE: Final = "KERAS_BACKEND"
_BACKEND: Final = "tensorflow"


def check_keras() -> None:
    """Load Keras, unless it would run on something else than TensorFlow.

    Raises:
        MissingExtraError: Keras or TensorFlow is not installed.
        SettingError: `KERAS_BACKEND` or `keras.json` names another backend, or Keras cannot be loaded with
            the settings that it finds there.
    """
    settings = _settings_file()
    if "keras" not in sys.modules:
        if variable := os.environ.get(_VARIABLE):
            _check(variable, f"{_VARIABLE} names", f"set {_VARIABLE}={_BACKEND}, or unset it")
        else:
            advice = f'write "{_BACKEND}" there, or delete the file, which Keras then makes anew'
            _check(_written(settings), f"{printable(settings)} names", advice)
    try:
        import keras
    except ModuleNotFoundError as error:
        if error.name not in ("keras", "tensorflow"):
            raise  # one of the two is installed, but broken
        raise MissingExtraError(
            f"this needs Keras on TensorFlow, but {error.name} is not installed: pip install tensorflow "
            "keras. What runs without them is a folder that `tlkit export` made for ONNX Runtime or LiteRT"
        ) from error
    except Exception as error:  # a setting that it does not know: Keras raises whatever it meets
        reason = f"{type(error).__name__}: {error}".partition("\n")[0]
        raise SettingError(
            f"Keras cannot be loaded ({reason}): mend its settings in {printable(settings)}, or delete that "
            "file, which Keras then makes anew"
        ) from error
    advice = f"set {_VARIABLE}={_BACKEND}, or unset it, and start Python again"
    _check(keras.config.backend(), "it was loaded with", advice)


def _check(backend: str, where: str, advice: str) -> None:
    if backend != _BACKEND:
        raise SettingError(
            f"tlkit needs Keras on TensorFlow, but {where} the backend {backend!r}: {advice}"
        )


def _settings_file() -> Path:
    """Say where Keras's settings are: the rule is Keras's own, which has no public name."""
    home = keras_home()
    if home is None or not ("KERAS_HOME" in os.environ or os.access(home.parent, os.W_OK)):
        home = Path("/tmp/.keras")  # noqa: S108
    return home / "keras.json"


def _written(settings: Path) -> str:
    """Return the backend that a file of settings names; the rest is for Keras to judge."""
    try:
        found = json.loads(settings.read_text("utf-8"))
    except (OSError, ValueError):
        return _BACKEND
    return str(found.get("backend", _BACKEND)) if isinstance(found, dict) else _BACKEND
