"""Which versions decide the numbers."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from importlib.util import find_spec
from typing import Final

from tlkit._version import __version__

_ONNX: Final = "onnxruntime"


def versions(engine: str = "") -> dict[str, str]:
    """Return the versions of tlkit and of what decides its numbers.

    Args:
        engine: What ran the frozen part, as `FrozenPart.engine_name` has it: only what ran is named. A
            checkpoint asks before that is known; the passes that it holds name their engine themselves.
    """
    found = {name: version(name) for name in ("keras", "tensorflow", "numpy", "pillow")}
    if _ONNX in engine:
        found[_ONNX] = runtime_version() or "unknown"
    return {"tlkit": __version__, "python": platform.python_version(), **found}


def runtime_version() -> str | None:
    """Return the version of ONNX Runtime; None where it is not installed.

    Found out without the import, which takes time; packages of several names bring the module.
    """
    if not find_spec("onnxruntime"):
        return None
    try:
        return version("onnxruntime")
    except PackageNotFoundError:  # onnxruntime-gpu and others
        names = packages_distributions().get("onnxruntime", ())
        return " ".join(f"{name} {version(name)}" for name in names)
