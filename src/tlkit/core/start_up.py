"""What TensorFlow finds in the environment when tlkit loads it: settings that keep its start-up lines away.

They are set when TensorFlow is loaded, not when tlkit is imported, and only where the user has not set them.
"""

from __future__ import annotations

import os
import sys
from collections.abc import MutableMapping
from pathlib import Path
from typing import Final

OPT_OUT: Final = "TLKIT_TF_LOG"
"""Environment variable: `1` shows everything that TensorFlow writes when it starts."""

_LEVEL: Final = "TF_CPP_MIN_LOG_LEVEL"
_DRIVERS: Final = (
    "/dev/nvidiactl",
    "/dev/nvidia0",
    "/dev/dxg",
    "/dev/kfd",
)  # of NVIDIA, of WSL, of AMD


def set_log_level(environment: MutableMapping[str, str] = os.environ) -> None:
    """Keep TensorFlow's information away, and where there is no GPU its complaints about that.

    Without a driver TensorFlow reports one error, that there is none, and nothing else can hide it. With one,
    warnings and errors are shown.

    Args:
        environment: Where the setting goes.
    """
    if environment.get(OPT_OUT) == "1" or "tensorflow" in sys.modules:
        return
    has_driver = any(Path(driver).exists() for driver in _DRIVERS)
    environment.setdefault(_LEVEL, "1" if has_driver else "3")
