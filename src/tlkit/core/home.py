"""Paths that begin at the user's home folder, which not every user has."""

from __future__ import annotations

import os
from pathlib import Path

from tlkit.core.spec import check_path
from tlkit.errors import SettingError


def keras_home() -> Path | None:
    """Return the folder where Keras keeps its settings and weights; None for a user without a home."""
    if given := os.environ.get("KERAS_HOME"):
        return Path(os.path.expanduser(given))  # noqa: PTH111 - as below
    home = Path(os.path.expanduser("~"))  # noqa: PTH111 - as below
    return home / ".keras" if home.is_absolute() and home.is_dir() else None


def expanded(name: str, path: object) -> Path:
    """Return a path, a leading `~` replaced by the user's home folder.

    `~somebody` is the home of that user, or, where there is no such user, a name like any other.

    Args:
        name: What the caller calls the path.
        path: Text or a path object.

    Raises:
        SettingError: It is no path; or it begins with `~/`, and this user has no home folder.

    Examples:
        >>> expanded("cache_dir", "cache").name
        'cache'
    """
    text = check_path(name, path)
    found = os.path.expanduser(text)  # noqa: PTH111 - Path.expanduser refuses what begins with ~ and is no user's
    if Path(text).parts[:1] == ("~",) and found == text:
        raise SettingError(
            f"`{name}` begins with ~, but this user has no home folder, got {text!r}: set HOME, or give "
            "the whole path"
        )
    return Path(found)
