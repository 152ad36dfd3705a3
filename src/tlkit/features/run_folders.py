"""Where results are kept between processes: a cache for many runs, a checkpoint for one.

What came out of the frozen part goes into folders named by a fingerprint of all that decides it. A
checkpoint belongs to one run: its settings are written down, and other settings are refused.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self, final

from tlkit.core.atomic import replacing
from tlkit.core.fingerprint import fingerprint
from tlkit.core.home import expanded
from tlkit.core.spec import Json
from tlkit.errors import SettingError, TlkitError, printable

_SETTINGS_NAME: Final = "settings.json"
_CONTENT_NAME: Final = "content.txt"
_PHASE_NAME: Final = "phase-{}.npz"
_NAMED: Final = 3  # differences that a message spells out


@final
@dataclass(frozen=True, slots=True)
class RunFolders:
    """The places of one run: where its passes are kept, and the states of its phases.

    Attributes:
        cache: Folder of passes that many runs share; None without one.
        checkpoint: Folder of this run; None without one.
    """

    cache: Path | None = None
    checkpoint: Path | None = None

    @classmethod
    def open(
        cls,
        settings: Mapping[str, Json],
        cache: str | os.PathLike[str] | None,
        checkpoint: str | os.PathLike[str] | None,
    ) -> Self:
        """Claim the folders for a run with these settings.

        Raises:
            SettingError: The checkpoint is of a run with other settings; the message names them.
                A folder begins with `~`, and this user has no home.
            TlkitError: The checkpoint folder cannot be written or read.
        """
        cache = None if cache is None else expanded("cache_dir", cache)
        checkpoint = None if checkpoint is None else expanded("checkpoint_dir", checkpoint)
        if checkpoint is not None:
            _check_manifest(checkpoint, json.loads(json.dumps(settings)))
        return cls(cache, checkpoint)

    def claim(self, content: str) -> None:
        """Refuse a checkpoint of other images under the same names, with the same sizes and dates.

        Args:
            content: What stands for all bytes of all images.

        Raises:
            SettingError: It is of other images.
            TlkitError: The checkpoint folder cannot be written or read.
        """
        if self.checkpoint is None:
            return
        path = self.checkpoint / _CONTENT_NAME
        try:
            if not path.exists():
                with replacing(path) as partial:
                    partial.write_text(content, "ascii")
            before = path.read_text("ascii", errors="replace")
        except OSError as error:
            raise _cannot_use(self.checkpoint, error) from error
        if before != content:
            raise SettingError(
                f"the checkpoint in {printable(self.checkpoint)} belongs to another run: some images "
                "have other content now, although their names, sizes and dates are the same. Choose another "
                "folder."
            )

    @property
    def keeps(self) -> bool:
        """Whether passes are kept at all."""
        return bool(self.cache or self.checkpoint)

    def of_pass(self, name: str, *facts: object) -> Path | None:
        """Return the folder for a pass that these facts decide; None to keep nothing."""
        place = self.cache or self.checkpoint
        return place / f"{name}-{fingerprint(*facts)}" if place else None

    def of_note(self, name: str, *facts: object) -> Path | None:
        """Return the file for a note that these facts decide, in the cache; None without one."""
        return self.cache / f"{name}-{fingerprint(*facts)}.json" if self.cache else None

    def of_fold(self, number: int, count: int) -> Path | None:
        """Return the file for what a fold found; None to keep nothing."""
        return self.checkpoint / f"fold-{number + 1}-of-{count}.npz" if self.checkpoint else None

    def holds(self, name: str) -> bool:
        """Say whether a pass of that name is kept, of this run or of another."""
        place = self.cache or self.checkpoint
        return place is not None and any(place.glob(f"{name}-*"))

    def of_phase(self, stage: int) -> Path | None:
        """Return the file for the state of a phase; None to keep nothing."""
        return self.checkpoint / _PHASE_NAME.format(stage) if self.checkpoint else None


def _check_manifest(folder: Path, settings: dict[str, Json]) -> None:
    path = folder / _SETTINGS_NAME
    if not path.exists() and any(folder.glob(_PHASE_NAME.format("*"))):
        raise TlkitError(
            f"{printable(folder)} holds phases of a run, but no {_SETTINGS_NAME} that says of which. "
            "Choose another folder as `checkpoint_dir`."
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if path.exists():
            before = json.loads(path.read_text("utf-8"))
        else:
            before = settings
            with replacing(path) as partial:
                partial.write_text(json.dumps(settings, indent=1), "utf-8")
    except (OSError, ValueError) as error:
        raise _cannot_use(folder, error) from error
    differences = list(_differences("", before, settings))
    if differences:
        more = f" and {len(differences) - _NAMED} more differences" if differences[_NAMED:] else ""
        raise SettingError(
            f"the checkpoint in {printable(folder)} belongs to another run: "
            f"{'; '.join(differences[:_NAMED])}{more}. Repeat that run exactly, or choose another folder."
        )


def _cannot_use(folder: Path, error: OSError | ValueError) -> TlkitError:
    why = getattr(error, "strerror", None) or error
    return TlkitError(
        f"cannot use {printable(folder)} as `checkpoint_dir`: {why}. "
        "Choose an empty folder that can be written."
    )


def _differences(name: str, before: Json, now: Json) -> Iterator[str]:
    """Yield what is different, as deep inside as names go."""
    if isinstance(before, dict) and isinstance(now, dict):
        for key in sorted({*before, *now}):
            inner = f"{name}: {printable(key)}" if name else printable(key)
            yield from _differences(inner, before.get(key), now.get(key))
    elif before != now:
        yield f"{name or 'everything'} was {_short(before)}, now {_short(now)}"


def _short(value: Json) -> str:
    text = "nothing" if value is None else json.dumps(value)
    return text if len(text) <= 200 else f"{text[:200]}…"
