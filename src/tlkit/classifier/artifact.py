"""The saved classifier: one plain `.keras` file with `tlkit.json` inside it.

Keras alone opens it, because the network is made of built-in layers; tlkit also finds what the numbers
mean. Writing is all or nothing, and nothing in a file is trusted before it has been checked.
"""

from __future__ import annotations

import json
import os
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tlkit.classifier.record import Record
from tlkit.core.atomic import replacing
from tlkit.core.fingerprint import digest_of_arrays
from tlkit.core.forks import refuse_after_fork
from tlkit.errors import ArtifactError, SettingError, printable
from tlkit.evaluation.familiarity import Familiarity

if TYPE_CHECKING:
    import keras

RECORD_NAME: Final = "tlkit.json"
_WEIGHTS_NAME: Final = "model.weights.h5"  # as Keras calls them
FAMILIARITY_NAME: Final = "tlkit-familiarity.npz"
FORMAT_VERSION: Final = 2
"""Raised when `tlkit.json` changes so that older releases cannot read it."""

_FINGERPRINT: Final = "classifier_fingerprint"  # for readers of the file; computed, not believed

LIMIT: Final = 256 * 2**20
"""Bytes of JSON that are read: enough for a million images that are named in three lists, each name of up
to 50 bytes, with what was predicted about each."""
_FAMILIARITY_LIMIT: Final = 16 * 2**20  # bytes: several times what is ever written
_NESTED: Final = 2**23  # brackets in it, each of which may cost Python a hundred bytes
_EXPANSION: Final = (
    100  # times its size that a file may unpack to: weights hardly shrink, text does
)


def write_artifact(
    path: Path, model: keras.Model, record: Record, familiarity: Familiarity | None = None
) -> None:
    """Save a network and its record as one file: the whole of it, or the old file stays.

    Args:
        path: Ends in `.keras`.
        model: Built-in layers only; takes RGB 0-255, gives the probability of the positive class.
        record: What travels with it.
        familiarity: Reference features that travel with it too.

    Raises:
        ArtifactError: The name does not end in `.keras`, the file cannot be written, or there are more images
            than its description can name.
    """
    if path.suffix != ".keras":
        raise ArtifactError(
            f"a classifier is saved as a file that ends in .keras, got {printable(path)}"
        )
    description = _description(record, record.fingerprint_with(weights_digest(model)))
    if len(description) > LIMIT:
        raise ArtifactError(
            f"cannot write {printable(path)}: its description, which names every image, takes "
            f"{len(description) >> 20} MiB, and no more than {LIMIT >> 20} MiB are read back. Train without "
            "`folds`, or give the files shorter names"
        )
    try:
        with replacing(path) as partial:
            model.save(partial)
            with zipfile.ZipFile(partial, "a", zipfile.ZIP_DEFLATED) as archive:
                archive.writestr(_entry(RECORD_NAME), description)
                if familiarity is not None:
                    archive.writestr(_entry(FAMILIARITY_NAME), familiarity.to_bytes())
    except OSError as error:
        raise ArtifactError(
            f"cannot write {printable(path)}: {error.strerror or error}. "
            "What was there before is untouched; choose a folder that exists and can be written."
        ) from error
    except ValueError as error:  # Keras dates what it writes, and no archive is older than 1980
        raise ArtifactError(
            f"cannot write {printable(path)}: {error}. What was there before is untouched; if the clock of "
            "this machine is wrong, set it."
        ) from error


def _entry(name: str) -> zipfile.ZipInfo:
    """Return an entry without a date, so that the clock, which may stand before 1980, plays no part."""
    entry = zipfile.ZipInfo(name)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = 0o644 << 16
    return entry


def weights_digest(model: keras.Model) -> str:
    """Return hex digits that stand for the weights of a network, in the order that it has them."""
    return digest_of_arrays(model.get_weights())


def _description(record: Record, fingerprint: str) -> bytes:
    """Return `tlkit.json`: UTF-8, what no UTF-8 can write as JSON's escapes."""
    contents = {
        "format_version": FORMAT_VERSION,
        _FINGERPRINT: fingerprint,
        **record.to_config(),
    }
    return json.dumps(contents, indent=1, ensure_ascii=False).encode("utf-8", "backslashreplace")


def read_artifact(path: Path) -> tuple[keras.Model, Record, Familiarity | None]:
    """Load what `write_artifact` saved, without running anything that the file brings along.

    Raises:
        ArtifactError: It is no such file, is damaged, comes from a newer tlkit, or asks for code.
        SettingError: Keras would run on something else than TensorFlow.
        TlkitError: This process was forked from one in which TensorFlow was already in use.
    """
    refuse_after_fork()
    with _opened(path) as (archive, size):
        record, config = _contents(path, archive, size)
        familiarity = _familiarity(path, archive)
        model = _network(path, archive, config, record)
    shapes = model.input_shape, model.output_shape
    if shapes != ((None, *record.image_size, 3), (None, 1)):
        raise ArtifactError(
            f"{printable(path)} holds a network from {shapes[0]} to {shapes[1]}, which is not what its "
            f"{RECORD_NAME} describes: images of {record.image_size} to one probability"
        )
    if familiarity and familiarity.rows.shape[1] > model.get_layer("logit").input.shape[-1]:
        raise ArtifactError(
            f"{printable(path)} is damaged: its {FAMILIARITY_NAME} is of another network"
        )
    return model, record, familiarity


def _familiarity(path: Path, archive: zipfile.ZipFile) -> Familiarity | None:
    """Return the reference features of a file that is whole; None without."""
    if FAMILIARITY_NAME not in archive.namelist():
        return None
    if archive.getinfo(FAMILIARITY_NAME).file_size > _FAMILIARITY_LIMIT:
        raise ArtifactError(
            f"{printable(path)} is damaged: its {FAMILIARITY_NAME} takes more than "
            f"{_FAMILIARITY_LIMIT >> 20} MiB"
        )
    try:
        return Familiarity.from_bytes(archive.read(FAMILIARITY_NAME))
    except Exception as error:  # nothing in it need be of the kind that is expected there
        raise ArtifactError(
            f"the {FAMILIARITY_NAME} of {printable(path)} is damaged: {first_line(error)}"
        ) from error


def _network(path: Path, archive: zipfile.ZipFile, config: Any, record: Record) -> keras.Model:
    for class_name, module in _outside_classes(config):
        raise ArtifactError(
            f"{printable(path)} asks for {class_name!r} of {module!r}, which could run code of the file's "
            "author, so it is not loaded. A class of your own that you trust is loaded once you have "
            "imported it and registered it with keras.saving.register_keras_serializable; a Lambda never."
        )
    from tlkit.core.tensorflow import keras

    try:
        # Keras lists variables without room, for each thread: that list must end here.
        with ThreadPoolExecutor(1) as thread:
            model, values = thread.submit(_read_network, archive, config).result()
        for variable, value in values:
            variable._initialize(value)  # noqa: SLF001 - else they would be filled at random first
    except Exception as error:
        raise ArtifactError(
            f"Keras {keras.__version__} cannot load {printable(path)} (saved with Keras "
            f"{record.versions.get('keras', 'unknown')}): {first_line(error)}"
        ) from error
    return model


def _read_network(
    archive: zipfile.ZipFile, config: Any
) -> tuple[keras.Model, list[tuple[keras.Variable, Any]]]:
    """Build a network without room for its variables, and read what belongs into each.

    So nothing is filled at random first, and a network that is larger than its weights takes no memory. All
    comes from the one open file: by its name Keras might find another one, which took its place meanwhile.
    """
    from tlkit.core.tensorflow import keras

    plain = {name: value for name, value in config.items() if name != "compile_config"}
    with (
        tempfile.TemporaryDirectory(prefix="tlkit-") as scratch,
        keras.StatelessScope(initialize_variables=False) as scope,
    ):
        model = keras.saving.deserialize_keras_object(plain, safe_mode=True)
        model.load_weights(archive.extract(_WEIGHTS_NAME, scratch))
        return model, [(v, scope.get_current_value(v)) for v in model.variables]


def checked_contents(path: Path) -> tuple[Record, Any]:
    """Return the record and the network's config, of a file that is whole.

    Raises:
        ArtifactError: It is no such file, is damaged, or comes from a newer tlkit.
    """
    with _opened(path) as (archive, size):
        return _contents(path, archive, size)


@contextmanager
def _opened(path: Path) -> Iterator[tuple[zipfile.ZipFile, int]]:
    """Open a file as an archive, and say how many bytes it has."""
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise ArtifactError(
            f"{printable(path)} {what}: name a file that TransferClassifier.save wrote"
        )
    with ExitStack() as stack:
        try:
            file = stack.enter_context(path.open("rb"))
            archive = stack.enter_context(zipfile.ZipFile(file))
        except Exception as error:  # zipfile raises many kinds for files that are not its own
            raise _not_one(path, error) from error
        yield archive, os.fstat(file.fileno()).st_size


def _contents(path: Path, archive: zipfile.ZipFile, size: int) -> tuple[Record, Any]:
    try:
        sizes = {entry.filename: entry.file_size for entry in archive.infolist()}
        fault = _fault(archive, sizes, at_most=_EXPANSION * size)
        record, config = (
            (None, None)
            if fault
            else (parsed(archive.read(name)) for name in (RECORD_NAME, "config.json"))
        )
    except Exception as error:  # as above, and zlib and json
        raise _not_one(path, error) from error
    if fault:
        raise ArtifactError(f"{printable(path)} {fault}")
    return _record(path, record), config


def _not_one(path: Path, error: Exception) -> ArtifactError:
    return ArtifactError(
        f"{printable(path)} is not a saved tlkit classifier, or only a part of one: {first_line(error)}"
    )


def parsed(content: bytes) -> Any:
    """Return what JSON says that somebody else wrote.

    Raises:
        SettingError: It is nested so often that memory would be full of it.
        ValueError, RecursionError: It is no JSON.
    """
    if content.count(b"[") + content.count(b"{") > _NESTED:
        raise SettingError("its description holds more lists than any real one")
    return json.loads(content)


def _fault(archive: zipfile.ZipFile, sizes: Mapping[str, int], *, at_most: int) -> str | None:
    """Return what is wrong with the container, or None."""
    if "config.json" not in sizes:
        return "is not a saved tlkit classifier: it holds no network"
    if RECORD_NAME not in sizes:
        return (
            f"is a Keras model, but no tlkit classifier: without {RECORD_NAME} its classes are unknown. Give "
            "what TransferClassifier.save or `tlkit train` wrote; saving it again with plain Keras loses them"
        )
    if max(sizes[RECORD_NAME], sizes["config.json"]) > LIMIT:
        return f"is damaged: its description takes more than {LIMIT >> 20} MiB"
    if sum(entry.file_size for entry in archive.infolist()) > at_most:
        return f"is damaged: it would unpack to more than {_EXPANSION} times its size"
    damaged = archive.testzip()
    return f"is damaged: {printable(damaged)} is not what was written" if damaged else None


def _record(path: Path, contents: Any) -> Record:
    version = contents.pop("format_version", None) if isinstance(contents, dict) else None
    if type(version) is not int or version < 1:
        raise ArtifactError(
            f"{printable(path)} is damaged: its {RECORD_NAME} has no format_version"
        )
    if version > FORMAT_VERSION:
        raise ArtifactError(
            f"{printable(path)} has format version {version}, this tlkit reads up to {FORMAT_VERSION}: "
            "update tlkit (pip install --upgrade tlkit)"
        )
    contents.pop(_FINGERPRINT, None)
    for migrate in _MIGRATIONS[version - 1 :]:
        contents = migrate(contents)
    try:
        return Record.from_config(contents)
    except Exception as error:  # nothing in it need be of the kind that is expected there
        raise ArtifactError(
            f"the {RECORD_NAME} of {printable(path)} is damaged: {first_line(error)}"
        ) from error


_MIGRATIONS: tuple[Callable[[dict[str, Any]], dict[str, Any]], ...] = (
    lambda contents: contents | {"backbone": _of_the_last_layer(contents.get("backbone"))},
)
"""`_MIGRATIONS[n - 1]` turns the contents of format version n into those of n + 1."""


def _of_the_last_layer(backbone: Any) -> Any:
    """Add what format 1 did not say: heads learned from the last layer alone. Other names the specs know."""
    named = isinstance(backbone, dict) and "name" in backbone
    return {**backbone, "features": "last"} if named else backbone


def _outside_classes(config: Any) -> Iterator[tuple[str, str]]:
    """Yield class and module of everything in a network's config that Keras does not bring itself."""
    waiting = [config]  # not by recursion, for it may be nested deeper than Python can go
    while waiting:
        value = waiting.pop()
        if isinstance(value, list):
            waiting += value
        if not isinstance(value, dict):
            continue
        waiting += value.values()
        name, module = value.get("class_name"), value.get("module")
        own = module is None or str(module).split(".")[0] in ("keras", "builtins")
        known = own or _is_registered(value.get("registered_name"))
        if name is not None and (name == "Lambda" or not known):
            yield str(name), str(module)


def _is_registered(name: object) -> bool:
    from tlkit.core.tensorflow import keras

    return isinstance(name, str) and keras.saving.get_registered_object(name) is not None


def first_line(error: Exception) -> str:
    """Return what other programs' errors say, in one line with their kind."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    kind = "" if isinstance(error, SettingError) else f"{type(error).__name__}: "
    return f"{kind}{lines[0].strip()[:300]}" if lines else type(error).__name__
