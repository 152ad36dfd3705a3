"""What is done of a job, kept beside its output in `OUTPUT.parts/`, so that another process can go on.

The folder holds the listing, `job.json` that says what is computed, and a file for each finished shard. Each
is written under another name first, and a part begins with its checksum: it is there as a whole, or is
computed again.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeAlias, final

from tlkit.classifier.classifier import Prediction
from tlkit.core.atomic import replacing
from tlkit.core.locks import lock
from tlkit.core.spec import Json
from tlkit.delivery.prediction_files import PathLike, Shard, cut, first_difference, write_listing
from tlkit.errors import SettingError, TlkitError, printable
from tlkit.images.decoder import BadFile

Outcome: TypeAlias = Prediction | BadFile
"""What comes of a file: what the classifier says, or why the file cannot be read."""

_FIELDS: Final = (
    "label",
    "probability",
    "positive_class",
    "logit",
    "threshold",
    "decision",
    "familiarity",
)
_ROW_BYTES: Final = 150  # of a part and of its row in the table, without the name of the file
_LAYOUT: Final = 2  # of the folder; another one belongs to another tlkit


@final
class Job:
    """A folder of parts, which belongs to this process until it is closed.

    Args:
        output: The table that the job is to end in.
        resume: Go on with what is there; else there must be nothing.

    Attributes:
        folder: Where everything is kept.
        count: How many files the job has, once it has begun.

    Raises:
        SettingError: The folder is there and `resume` is not set, or it holds something else.
        TlkitError: Another process works in it, or it cannot be written.
    """

    def __init__(self, output: Path, *, resume: bool) -> None:
        self.folder = output.with_name(f"{output.name}.parts")
        self.count = 0
        self._output = output
        self._shard_size = 1
        self._listing, self._settings = self.folder / "listing.jsonl", self.folder / "job.json"
        self._worth_keeping = False
        name, claim = printable(self.folder), self.folder / "lock"
        with self._explained():
            self._worth_keeping = self._listing.exists() and self._settings.exists()
            if self.folder.exists():
                if not resume:
                    raise SettingError(
                        f"{name} holds the parts of a run that broke off: go on with it (`resume`, "
                        "--resume), or delete that folder"
                    )
                if not claim.is_file() and any(self.folder.iterdir()):
                    raise SettingError(
                        f"{name} must be a folder of parts, but holds something else: choose another output"
                    )
            self.folder.mkdir(exist_ok=True)
            self._lock = claim.open("ab", buffering=0)
        lock(self._lock, self.folder)

    def begin(
        self, images: PathLike | Iterable[PathLike], facts: Mapping[str, Json], shard_size: int
    ) -> None:
        """List the images, after checking that a job that was begun before is this one.

        Args:
            images: As `write_listing` takes them.
            facts: What decides the rows, by names that people understand.
            shard_size: Files in a part, for a job that begins here.

        Raises:
            DatasetError: A folder cannot be listed, or holds no image.
            SettingError: What was begun before is another job; the message says what differs.
            TlkitError: The folder cannot be written, or there is no room for all of it.
        """
        now = {"layout": _LAYOUT, **facts}
        with self._explained():
            if self._worth_keeping:
                before = _parsed(self._settings.read_bytes())
                self._check(
                    f"{k} was {before.get(k)}, now {now[k]}" for k in now if before.get(k) != now[k]
                )
                shard_size = before["shard size"]
            else:
                self._clear()  # of what another job may have left
            with replacing(self._listing) as partial:
                self.count = write_listing(images, partial)
                if self._worth_keeping:
                    self._check(filter(None, [first_difference(self._listing, partial)]))
            if not self._worth_keeping:
                self._check_room()
                with replacing(self._settings) as partial:
                    partial.write_text(json.dumps({**now, "shard size": shard_size}), "ascii")
        self._shard_size = shard_size

    def shards(self) -> Iterator[Shard]:
        """Yield all shards of the job, in order."""
        return cut(self._listing, self._shard_size)

    def done(self) -> set[int]:
        """Return the numbers of the shards that need not be computed any more."""
        starts = range(0, self.count, self._shard_size)
        return {n for n in range(len(starts)) if self._entries(n) is not None}

    def rows_in(self, numbers: Iterable[int]) -> int:
        """Return how many files these shards have."""
        size = self._shard_size
        return sum(min(size, self.count - number * size) for number in numbers)

    def keep(self, shard: Shard, outcomes: Sequence[Outcome]) -> None:
        """Keep what came of a shard; from then on it survives this process.

        Raises:
            SettingError: There is not one outcome for each file.
            TlkitError: It cannot be written.
        """
        if len(outcomes) != len(shard.paths):
            raise SettingError(
                f"a runner must give one outcome for each of {len(shard.paths)} files, gave {len(outcomes)}"
            )
        text = json.dumps([_entry(outcome) for outcome in outcomes]).encode("ascii")
        with self._explained(), replacing(self._part(shard.number)) as partial:
            partial.write_bytes(b"%08x " % zlib.crc32(text) + text)
        self._worth_keeping = True  # before the first part there is nothing to go on with

    def outcomes(self, shard: Shard) -> Iterator[Outcome]:
        """Yield what was kept of a shard, one for each of its files.

        Raises:
            TlkitError: It is not there, or damaged.
        """
        text = self._entries(shard.number)
        if text is None:
            raise TlkitError(
                f"{printable(self._part(shard.number))} is missing or damaged: `resume` (--resume) "
                "computes it again"
            )
        for path, entry in zip(shard.paths, json.loads(text), strict=True):
            if isinstance(entry, dict):
                yield BadFile(path, **entry)
            else:
                yield Prediction(**dict(zip(_FIELDS, entry, strict=True)), path=path)

    def finish(self) -> None:
        """Say that the output is there, and that the parts are not needed any more."""
        self._worth_keeping = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self._worth_keeping:
            self._remove()
        self._lock.close()

    def _clear(self) -> None:
        """Delete all but the lock, by which the folder is known as one of parts."""
        for path in self.folder.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name != "lock":
                path.unlink()

    def _remove(self) -> None:
        with contextlib.suppress(OSError):  # what is left over harms nobody
            self._clear()
            self._lock.close()  # else Windows would not delete it
            (self.folder / "lock").unlink()
            self.folder.rmdir()

    def _part(self, number: int) -> Path:
        return self.folder / f"{number:08d}.json"

    def _entries(self, number: int) -> bytes | None:
        """Return what was written of a shard; None if it is not there as it was written."""
        try:
            content = self._part(number).read_bytes()
        except FileNotFoundError:
            return None
        check, text = content[:9], content[9:]
        return text if check == b"%08x " % zlib.crc32(text) else None

    def _check(self, differences: Iterable[str]) -> None:
        found = "; ".join(differences)
        if found:
            raise SettingError(
                f"{printable(self.folder)} holds the parts of another job: {found}. Repeat that job exactly, "
                "or delete that folder to begin anew."
            )

    def _check_room(self) -> None:
        """Refuse to begin what would fill the disk before it is done."""
        needed = self._listing.stat().st_size + self.count * _ROW_BYTES
        free = shutil.disk_usage(self.folder).free
        if free < needed:
            raise TlkitError(
                f"parts and table of {self.count:,} images need some {needed / 1e6:,.0f} MB, but beside "
                f"{printable(self._output)} there are {free / 1e6:,.0f} MB free: make room, or choose "
                "another output"
            )

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Say what is the matter where the system refuses."""
        try:
            yield
        except OSError as error:
            kept = "what is done is kept: mend that and `resume` (--resume)"
            raise TlkitError(
                f"cannot keep parts in {printable(self.folder)}: {error.strerror or error}; "
                + (kept if self._worth_keeping else "choose another output")
            ) from error


def _entry(outcome: Outcome) -> Any:
    if isinstance(outcome, BadFile):
        return {"reason": outcome.reason, "format": outcome.format}
    return [getattr(outcome, name) for name in _FIELDS]


def _parsed(text: bytes) -> dict[str, Any]:
    """Return the settings of a job; those that are damaged are of no job."""
    try:
        settings = json.loads(text)
    except ValueError:
        return {}
    return settings if isinstance(settings, dict) else {}
