"""Features in Parquet files, one for each shard of consecutive images, and a note that says of what.

A file is written under another name first: it is there as a whole, or is computed again. Anything that reads
Parquet reads it: `name` (text; the key), `features` (float32, null for a bad file), `facts` (JSON).
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias, final

import numpy as np
import numpy.typing as npt

from tlkit.core.spec import Json
from tlkit.errors import SettingError, TlkitError, printable
from tlkit.images.decoder import BadFile, ImageFacts
from tlkit.images.loader import FileOutcome
from tlkit.scale.places import opened

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem

Floats: TypeAlias = npt.NDArray[np.float32]

NOTE: Final = "_tlkit.json"  # readers of Parquet folders pass over names that begin so
_BAD_FILES: Final = b"tlkit.bad_files"
_WIDTH = b"width"
_PART = re.compile(r"part-(\d{7,})\.parquet")


class Part(NamedTuple):
    """What one file holds."""

    names: list[str]
    outcomes: list[FileOutcome]
    features: Floats  # [M, D], of what could be read


@final
@dataclass(frozen=True, slots=True)
class FeatureStore:
    """A folder of features.

    Attributes:
        location: A path or a URI that every machine reaches.
    """

    location: str

    def noted(self, facts: Mapping[str, Json]) -> dict[str, Any] | None:
        """Return the note of a run with these facts; None where nothing is begun.

        Raises:
            SettingError: The folder holds something else; the message says what is different.
            TlkitError: It cannot be read.
        """
        try:
            system, folder = opened(self.location)
            path = f"{folder}/{NOTE}"
            if system.get_file_info(path).type.name == "NotFound":
                return None
            with system.open_input_file(path) as file:
                note: dict[str, Any] = json.loads(file.read())
        except (OSError, ValueError) as error:
            raise self._failed(error) from error
        other = [name for name in facts if note.get(name) != facts[name]]
        if other:
            raise SettingError(
                f"the features in {printable(self.location)} are of another run; different are its "
                f"{', '.join(other)}. Choose another folder, or delete that one."
            )
        return note

    def begin(self, note: Mapping[str, Json]) -> None:
        """Make the folder, and note what it is for.

        Raises:
            SettingError: It holds features of nobody knows what.
            TlkitError: It cannot be written.
        """
        try:
            system, folder = opened(self.location)
            system.create_dir(folder, recursive=True)
            if self.done():
                raise SettingError(
                    f"{printable(self.location)} holds features, but no {NOTE} that says what of: choose "
                    "another folder, or delete that one"
                )
            self._put(NOTE, json.dumps(note, indent=1).encode())
        except OSError as error:
            raise self._failed(error) from error

    def done(self) -> set[int]:
        """Return the numbers of the shards that are there."""
        from pyarrow.fs import FileSelector

        system, folder = opened(self.location)
        names = (info.base_name for info in system.get_file_info(FileSelector(folder)))
        return {int(found[1]) for name in names if (found := _PART.fullmatch(name))}

    def write(
        self, number: int, names: Sequence[str], outcomes: Sequence[FileOutcome], features: Floats
    ) -> None:
        """Write one shard, whole or not at all.

        Args:
            number: Of the shard.
            names: Of its images.
            outcomes: The facts of each image, or what is wrong with it.
            features: Of those that could be read, float32 `[M, D]`.
        """
        import pyarrow as pa
        from pyarrow import parquet

        bad = np.array([isinstance(outcome, BadFile) for outcome in outcomes], bool)
        # Not a list of fixed size: before version 26 Arrow cannot keep one that is null.
        ends = np.cumsum(np.append(0, ~bad * features.shape[1])).astype(np.int32)
        table = pa.table(
            {
                "name": pa.array([printable(name) for name in names], pa.string()),
                "features": pa.ListArray.from_arrays(
                    pa.array(ends), pa.array(features.reshape(-1)), mask=pa.array(bad)
                ),
                "facts": pa.array([json.dumps(o.to_config()) for o in outcomes], pa.string()),
            }
        )
        bad_files = [o.to_config() for o in outcomes if isinstance(o, BadFile)]
        table = table.replace_schema_metadata(
            {_BAD_FILES: json.dumps(bad_files), _WIDTH: str(features.shape[1])}
        )
        sink = pa.BufferOutputStream()
        parquet.write_table(table, sink, compression="zstd", use_dictionary=False)
        try:
            self._put(_part_name(number), sink.getvalue())
        except OSError as error:
            raise self._failed(error) from error

    def read(self, number: int) -> Part:
        """Read one shard back.

        Raises:
            TlkitError: It is not there, or is damaged.
        """
        from pyarrow import parquet

        with self._reading(number) as (system, path):
            table = parquet.read_table(path, filesystem=system, partitioning=None)
            column = table["features"].combine_chunks()
            notes = map(json.loads, table["facts"].to_pylist())
            return Part(
                table["name"].to_pylist(),
                [_outcome(note) for note in notes],
                # flatten() leaves the nulls out
                column.flatten().to_numpy().reshape(-1, int(table.schema.metadata[_WIDTH])),
            )

    def bad_files(self, number: int) -> list[BadFile]:
        """Return the bad files of one shard, from the file's last bytes alone.

        Raises:
            TlkitError: It is not there, or is damaged.
        """
        from pyarrow import parquet

        with self._reading(number) as (system, path):
            metadata = parquet.read_schema(path, filesystem=system).metadata
            return [BadFile.from_config(note) for note in json.loads(metadata[_BAD_FILES])]

    @contextmanager
    def _reading(self, number: int) -> Iterator[tuple[FileSystem, str]]:
        try:
            system, folder = opened(self.location)
            yield system, f"{folder}/{_part_name(number)}"
        except (OSError, ValueError) as error:
            name = printable(f"{self.location}/{_part_name(number)}")
            raise TlkitError(
                f"{name} cannot be read ({error}): delete it and run the same again"
            ) from error

    def _put(self, name: str, content: Any) -> None:
        system, folder = opened(self.location)
        partial = f"{folder}/.{name}-{uuid.uuid4().hex}.partial"
        with system.open_output_stream(partial) as file:
            file.write(content)
        system.move(partial, f"{folder}/{name}")

    def _failed(self, error: Exception) -> TlkitError:
        return TlkitError(
            f"cannot keep features in {printable(self.location)}: {error}. Every machine must reach the "
            "folder and be allowed to write there"
        )


def _part_name(number: int) -> str:
    return f"part-{number:07d}.parquet"


def _outcome(note: Mapping[str, Any]) -> FileOutcome:
    return BadFile.from_config(note) if "reason" in note else ImageFacts.from_config(note)
