"""One image file with its class: what a folder holds, and everybody passes on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import final


@final
@dataclass(frozen=True, slots=True)
class Example:
    """One image file with its class.

    Attributes:
        path: The file, under the directory as it was given.
        name: Its path relative to the directory, with `/` on every system: the example's identity.
        class_name: The class folder that it lies in, or its label; or the class that a decision put in its
            place.
        label: 1 in the positive class, else 0.
        part: "train", "validation" or "test" where the folder or the table says so, else None.
        group: What it belongs to, where a table or the pattern of names says so, else None.
        given_label: The folder or label that became a part of the class by `rest="negative"`, else None.
        slices: What each column that results are to be reported by says of it: names and values.
    """

    path: Path
    name: str
    class_name: str
    label: int
    part: str | None = None
    group: str | None = None
    given_label: str | None = None
    slices: tuple[tuple[str, str], ...] = ()
