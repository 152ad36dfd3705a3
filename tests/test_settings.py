"""What a run writes down about itself."""

from __future__ import annotations

from importlib.metadata import version

import pytest

from tlkit.core.versions import versions


def test_versions_name_the_engine_only_if_it_ran() -> None:
    """Else a package that is added later would be said to have had a part in it."""
    pytest.importorskip("onnxruntime")
    assert versions("onnxruntime and tensorflow")["onnxruntime"] == version("onnxruntime")
    assert "onnxruntime" not in versions("tensorflow")
    assert versions().keys() == versions("tensorflow").keys() >= {"tlkit", "keras", "pillow"}
