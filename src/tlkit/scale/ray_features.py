"""The frozen pass on a cluster: images in, features in Parquet files out, on one machine or hundreds."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import KW_ONLY, dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Final, final

import numpy as np

from tlkit.backbones.adapter import BackboneAdapter
from tlkit.backbones.default import default_backbone
from tlkit.backbones.engines import BATCH_SIZE, Engine, TensorFlowEngine
from tlkit.backbones.onnx_engine import VARIABLE, OnnxEngine, fast_engine
from tlkit.core.fingerprint import fingerprint
from tlkit.core.progress import progress
from tlkit.core.rows import Rows
from tlkit.core.spec import Json, Spec, check_choice
from tlkit.core.versions import versions
from tlkit.data.dataset import DatasetSpec, Listing
from tlkit.data.example import Example
from tlkit.errors import TlkitError, printable
from tlkit.features.frozen_part import FORMAT
from tlkit.features.passes import KeptImages, Originals
from tlkit.images.decoder import BadFile, ImageFacts
from tlkit.images.loader import FileOutcome, read_batches, warn_of_bad_files
from tlkit.images.reader import ValueRange
from tlkit.images.resizing import Resize
from tlkit.scale.careful import reader
from tlkit.scale.cluster import Work, run
from tlkit.scale.places import PathLike, Source, location_of, need_pyarrow
from tlkit.scale.store import FeatureStore
from tlkit.training.settings import fitted_backbone

if TYPE_CHECKING:
    import keras

    from tlkit.backbones.network import Network

SHARD_SIZE: Final = 1024
"""Images in a file: some 8 MB with MobileNetV2's 1,280 features. A multiple of the engines' batches."""

_SMALLEST_SHARD: Final = 32
_SHARDS: Final = 64  # at least, where images are few: work for some workers, and little to repeat


@final
@dataclass(frozen=True, slots=True, repr=False)
class FeatureFolder(Spec):
    """Features that a cluster has computed.

    Attributes:
        location: Their folder: a path or a URI.
        image_count: How many images were listed.
        bad_files: Those that cannot be read; their features are null.
        feature_count: Numbers for each image.
        part_count: Parquet files.
        engine: What ran the network: `"tensorflow"` or `"onnxruntime"`.
        backbone_parameters: How many numbers the network has.
    """

    location: str
    _: KW_ONLY
    image_count: int
    bad_files: tuple[BadFile, ...]
    feature_count: int
    part_count: int
    engine: str
    backbone_parameters: int
    _renamed: ClassVar[Mapping[str, str]] = {"picture_count": "image_count"}

    def __str__(self) -> str:
        files = "1 file" if self.part_count == 1 else f"{self.part_count:,} files"
        bad = f", of which {len(self.bad_files):,} cannot be read" if self.bad_files else ""
        return (
            f"{printable(self.location)}: {self.feature_count:,} features of {self.image_count:,} images"
            f"{bad}, in {files}"
        )


def compute_features(
    data: PathLike | DatasetSpec,
    backbone: BackboneAdapter | None,
    output: PathLike,
    *,
    address: str | None = None,
    workers: int | None = None,
) -> FeatureFolder:
    """Run every image of a folder through a pretrained network, on a Ray cluster.

    Args:
        data: A folder with two class folders or a `DatasetSpec` of one, which every machine finds under the
            same path; or a URI that pyarrow or fsspec opens, such as `s3://bucket/alpacas`.
        backbone: The network. None: as in `tlkit.transfer_classifier`.
        output: A folder that every machine reaches, or a URI. It gets Parquet files of up to 1,024 images:
            `name` (the key: the path below the folder, with `/`), `features` (float32 `[D]`; null for a file
            that cannot be read), `facts` (JSON: size, format, digest, …, or what is wrong). A call that was
            broken off goes on with the files that are missing.
        address: Of the cluster: `"host:port"`, `"ray://host:port"`, `"auto"`. None: what `RAY_ADDRESS` in the
            environment says, else a Ray of this machine, for this call only.
        workers: How many processes, each with a network and an equal share of the CPUs. None: one for every
            4 CPUs.

    Returns:
        What is there.

    Raises:
        DatasetError: The folder is not two classes of images.
        ImageError: A file cannot be read, and the spec says `on_bad_file="raise"`.
        MissingExtraError: Ray is not installed.
        SettingError: An argument is outside what it may be, or `output` holds features of something else.
        TlkitError: The cluster does not answer, or the folder cannot be written.

    Examples:
        >>> folder = compute_features("s3://bucket/alpacas", None, "s3://bucket/features")  # doctest: +SKIP
        >>> print(folder)  # doctest: +SKIP
        s3://bucket/features: 1,280 features of 1,000,000 images, in 977 files
    """
    need_pyarrow()
    source = Source(data)
    listing = source.listing()
    network = fitted_backbone(backbone or default_backbone(), listing, source.read_size)
    done = compute(source, listing, network, output, address=address, workers=workers)
    warn_of_bad_files(done.bad_files)
    return FeatureFolder(
        done.store.location,
        image_count=len(listing.examples),
        bad_files=done.bad_files,
        feature_count=sum(done.stage_widths),
        part_count=len(shards(listing, done.shard_size)),
        engine=done.engine,
        backbone_parameters=done.backbone_parameters,
    )


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """A finished pass: where its features are, and what of."""

    source: Source
    store: FeatureStore
    bad_files: tuple[BadFile, ...]
    shard_size: int
    stage_widths: tuple[int, ...]
    backbone_parameters: int
    engine: str


def compute(
    source: Source,
    listing: Listing,
    backbone: BackboneAdapter,
    output: PathLike,
    *,
    address: str | None,
    workers: int | None,
) -> Done:
    """Compute what is missing of the features of a listing.

    Args:
        source: Where its images lie.
        listing: Which there are.
        backbone: The network.
        output: As in `compute_features`.
        address: Of the cluster.
        workers: How many processes.
    """
    store, engine = FeatureStore(location_of("output", output)), engine_name()
    facts = manifest(source, listing, backbone, engine)
    network: Network | None = None
    note = store.noted(facts)
    if note is None:
        network = backbone.build()
        features = network.features()
        sizes = {
            "shard size": _shard_size(len(listing.examples)),
            "stage widths": list(network.stage_widths),
        }
        note = {**facts, **sizes, "backbone parameters": int(features.count_params())}
        store.begin(note)
    parts, there = shards(listing, note["shard size"]), store.done()
    missing = [number for number in range(len(parts)) if number not in there]
    found = {number: store.bad_files(number) for number in sorted(there) if number < len(parts)}
    for bad_files in found.values():
        _check(bad_files, source)
    if missing:
        job = FeatureJob(
            network=(
                network or backbone.build()
            ).features(),  # here: no worker has to fetch weights
            facts=(FORMAT, backbone.fingerprint(), (True, False)),
            engine=engine,
            store=store,
            base=source.base,
            image_size=backbone.image_size,
            value_range=source.spec.value_range,
            resize=backbone.resize,
        )
        tasks = ((n, (n, [example.name for example in parts[n]])) for n in missing)
        with (
            closing(run(job, tasks, address=address, workers=workers)) as results,
            progress(len(listing.examples), "Reading") as advance,
        ):
            advance(sum(len(parts[number]) for number in found))
            for number, bad_files in results:
                _check(bad_files, source)
                found[number] = bad_files
                advance(len(parts[number]))
    return Done(
        source=source,
        store=store,
        bad_files=tuple(bad for number in sorted(found) for bad in found[number]),
        shard_size=note["shard size"],
        stage_widths=tuple(note["stage widths"]),
        backbone_parameters=note["backbone parameters"],
        engine=engine,
    )


def manifest(
    source: Source, listing: Listing, backbone: BackboneAdapter, engine: str
) -> dict[str, Json]:
    """Return all that decides the features; equal where the same files lie in another place."""
    used = versions(engine)
    return {
        "format": FORMAT,
        "images": fingerprint([*source.facts(listing).items()]),  # in the order that shards cut
        "network": backbone.fingerprint(),
        "engine": engine,
        **({"value range": [*source.spec.value_range]} if source.spec.value_range else {}),
        **{name: used[name] for name in ("tensorflow", "pillow", "onnxruntime") if name in used},
    }


def engine_name() -> str:
    """Return what runs the network in all workers: TensorFlow, unless `TLKIT_ENGINE` says otherwise.

    Raises:
        SettingError: `TLKIT_ENGINE` names no engine.
    """
    names = ("auto", TensorFlowEngine.name, OnnxEngine.name)
    wanted = check_choice(VARIABLE, os.environ.get(VARIABLE) or "auto", names)
    return OnnxEngine.name if wanted == OnnxEngine.name else TensorFlowEngine.name


def shards(listing: Listing, size: int) -> list[tuple[Example, ...]]:
    """Cut a listing into shards of consecutive examples; the last one may be smaller."""
    starts = range(0, len(listing.examples), size)
    return [listing.examples[start : start + size] for start in starts]


def read_back(done: Done, listing: Listing) -> Originals:
    """Read features and facts of a finished pass; no more than one file of them is in memory twice.

    Args:
        done: The pass.
        listing: Its images.

    Raises:
        TlkitError: A file is missing, damaged or of other images.
    """
    examples, source = listing.examples, done.source
    rows = Rows(len(examples), (sum(done.stage_widths),), np.float32)
    outcomes: list[FileOutcome] = []
    for number, shard in enumerate(shards(listing, done.shard_size)):
        part = done.store.read(number)
        if part.names != [printable(example.name) for example in shard]:
            raise TlkitError(
                f"part {number} of {printable(done.store.location)} is of other images: delete that folder "
                "and run the same again"
            )
        first = len(outcomes)
        good = [first + n for n, o in enumerate(part.outcomes) if isinstance(o, ImageFacts)]
        rows.write(np.array(good, np.int64), part.features)
        outcomes += [
            replace(outcome, path=source.path(example)) if isinstance(outcome, BadFile) else outcome
            for outcome, example in zip(part.outcomes, shard, strict=True)
        ]
    readable = [row for row, outcome in enumerate(outcomes) if isinstance(outcome, ImageFacts)]
    return Originals(
        readable=np.array(readable, np.int64),
        facts=tuple(outcome for outcome in outcomes if isinstance(outcome, ImageFacts)),
        bad_files=tuple(outcome for outcome in outcomes if isinstance(outcome, BadFile)),
        outputs=(rows,),
        images=KeptImages(examples, (1, 1), keep=False),
        backbone_parameters=done.backbone_parameters,
        stage_widths=done.stage_widths,
    )


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureJob:
    """What a worker does: number and names of a shard in, its bad files out, its features into the store."""

    network: keras.Model
    facts: tuple[object, ...]
    engine: str
    store: FeatureStore
    base: str
    image_size: tuple[int, int]
    value_range: ValueRange = None
    resize: Resize = "stretch"

    def start(self) -> Work:
        """Build the engine, and return what uses it."""
        engine = self._engine()
        count = self.network.outputs[0].shape[-1]

        def work(task: tuple[int, Sequence[str]], careful: bool) -> list[BadFile]:  # noqa: FBT001 - by place
            number, names = task
            features = [np.empty((0, count), np.float32)]
            outcomes: list[FileOutcome] = []
            locations = [f"{self.base}/{name}" for name in names]
            read = reader(careful=careful)
            decoded = read_batches(
                locations,
                self.image_size,
                BATCH_SIZE,
                value_range=self.value_range,
                resize=self.resize,
                read_many=read,
            )
            for _, images, found in decoded:
                if len(images):
                    features.append(engine(images)[0].astype(np.float32, copy=False))
                outcomes += found
            self.store.write(number, names, outcomes, np.concatenate(features))
            return [outcome for outcome in outcomes if isinstance(outcome, BadFile)]

        return work

    def _engine(self) -> Engine:
        os.environ[VARIABLE] = self.engine  # in this process, which is a worker's own
        noise = np.random.default_rng(0).integers(
            256, size=(4, *self.image_size, 3), dtype=np.uint8
        )
        fast = fast_engine(lambda: self.facts, 0, lambda: self.network, lambda: noise)
        if self.engine == OnnxEngine.name and fast is None:
            raise TlkitError(
                f"{VARIABLE}=onnxruntime was asked for, but a machine of the cluster cannot convert the "
                f"network or run it: install tlkit[fast] on every one, or leave {VARIABLE} out"
            )
        return fast or TensorFlowEngine(self.network)


def _shard_size(count: int) -> int:
    """Return how many images go into one file, from their number alone."""
    return min(SHARD_SIZE, max(_SMALLEST_SHARD, -(-count // _SHARDS)))


def _check(bad_files: Sequence[BadFile], source: Source) -> None:
    if bad_files and source.spec.on_bad_file == "raise":
        raise bad_files[0].error()
