"""Everything tlkit raises or warns about.

```text
TlkitError                     catch this one to catch them all
├── SettingError (ValueError)  an argument is outside what it may be
│   └── GuaranteeError         so few images, or so many mistakes, cannot prove a promise
├── DatasetError (ValueError)  a folder or table is not two classes of images, or too small for its split
├── ImageError (OSError)       one file cannot be read as an image: .path, .reason, .format
├── WeightsError (OSError)     pretrained weights cannot be fetched, read or fitted to the network
├── ArtifactError (ValueError) a saved classifier cannot be written, read or trusted
└── MissingExtraError (ImportError)  an optional package is needed: the message holds the pip command

TlkitWarning (UserWarning)
├── BadFileWarning             files were left out; the message names them
├── AuditWarning               something in the folder makes metrics wrong, or images useless
│   └── ShortcutWarning        one fact of the files alone tells the classes apart
└── EngineWarning              a network is run by TensorFlow although ONNX Runtime was meant to
```

Every message names what must hold, what was found and what to do.
"""

from __future__ import annotations

import os
from functools import partial
from pathlib import PurePath
from typing import Any


class TlkitError(Exception):
    """The base of every error that tlkit raises on purpose."""


class SettingError(TlkitError, ValueError):
    """An argument is outside what it may be."""


class GuaranteeError(SettingError):
    """So few images, or so many mistakes, cannot prove a promise; the message says what would do."""


class DatasetError(TlkitError, ValueError):
    """A folder or a table is not two classes of images, or too small for its split."""


class ImageError(TlkitError, OSError):
    """One file cannot be read as an image.

    Attributes:
        path: The file, or a stand-in such as `"<bytes>"` for images that are not files.
        reason: What is wrong with it.
        format: The format by its first bytes (`"JPEG"`, `"HTML"` …), or None where they fit none.
    """

    def __init__(self, path: str | PurePath, reason: str, *, format: str | None = None) -> None:  # noqa: A002 - as Pillow calls it
        real = f" (its bytes are {format})" if format else ""
        # One argument: more of them would be a number, a text and a file name to an OSError.
        super().__init__(f"cannot read {printable(path)} as an image: {reason}{real}")
        self.path = self.filename = os.fspath(path)
        self.reason = self.strerror = reason
        self.format = format

    def __str__(self) -> str:
        return str(self.args[0])  # an OSError with a file name would write a sentence of its own

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy and pickle, notes included: Python's own way calls `__init__` with the message alone."""
        return partial(type(self), format=self.format), (self.path, self.reason), self.__dict__


class WeightsError(TlkitError, OSError):
    """Pretrained weights cannot be fetched, read or fitted to the network."""


class ArtifactError(TlkitError, ValueError):
    """A saved classifier cannot be written, read or trusted."""


class MissingExtraError(TlkitError, ImportError):
    """An optional package is needed; the message holds the pip command that installs it."""


class TlkitWarning(UserWarning):
    """The base of every warning that tlkit gives."""


class BadFileWarning(TlkitWarning):
    """Files were left out because they cannot be read as images; the message names them."""


class AuditWarning(TlkitWarning):
    """Something in the folder makes metrics wrong, or images useless; the message says what."""


class ShortcutWarning(AuditWarning):
    """One fact of the files alone, such as their format, tells the classes apart; the message says which."""


class BackboneWarning(TlkitWarning):
    """No network was named and the usual one cannot be had: the message says which was taken, and why."""


class EngineWarning(TlkitWarning):
    """A network is run by TensorFlow although ONNX Runtime was meant to run it; the message tells why."""


def printable(name: str | PurePath) -> str:
    r"""Write a file name so that it fits on one line and can be read back.

    Control characters, line separators, a backslash and bytes that are not UTF-8 (which Python
    carries as lone surrogates) become `\n`, `\x07`, `\\`, `\udcff` …; everything else stays as it is,
    spaces and emoji too. `unprintable` reads it back.

    Args:
        name: A file name or path.

    Returns:
        One line of text that encodes to UTF-8.

    Examples:
        >>> print(printable("a photo 🦙.jpg"), printable("two\nlines.jpg"))
        a photo 🦙.jpg two\nlines.jpg
    """
    text = os.fspath(name)
    return "".join(
        char
        if char != "\\" and (char.isprintable() or char == "\u200d")
        else char.encode("unicode_escape").decode("ascii")
        for char in text
    )


def unprintable(text: str) -> str:
    r"""Read back what `printable` wrote.

    Examples:
        >>> unprintable(printable("two\nlines \udcff \\.jpg")) == "two\nlines \udcff \\.jpg"
        True
    """
    parts = text.split("\\\\")
    escaped = (
        "".join(char if ord(char) < 128 else f"\\U{ord(char):08x}" for char in part)
        .encode("ascii")
        .decode("unicode_escape")
        for part in parts
    )
    return "\\".join(escaped)
