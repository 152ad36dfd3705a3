"""`scale.predict`: what a classifier says about very many images, from all machines of a cluster."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Final, final

from tlkit.backbones.engines import BATCH_SIZE
from tlkit.backbones.onnx_engine import VARIABLE
from tlkit.classifier.classifier import TransferClassifier
from tlkit.delivery.prediction_files import Shard
from tlkit.delivery.prediction_job import Outcome
from tlkit.delivery.predictions import PredictionSummary, write_predictions
from tlkit.images.decoder import BadFile
from tlkit.images.loader import read_batches
from tlkit.scale.careful import reader
from tlkit.scale.cluster import Work, run
from tlkit.scale.places import PathLike, image_locations, is_uri, location_of
from tlkit.scale.ray_features import engine_name

SHARD_SIZE: Final = 256
"""Images that a worker takes at a time: fewer than one machine alone, so that all get their share."""


def predict(
    classifier: TransferClassifier,
    images: PathLike | Iterable[PathLike],
    output: PathLike,
    *,
    address: str | None = None,
    workers: int | None = None,
    resume: bool = False,
) -> PredictionSummary:
    """Predict any number of images into a table, on a Ray cluster.

    Args:
        classifier: What predicts; it travels to the workers by itself.
        images: An image file or a folder, or several of them, which every machine finds under the same
            path; or URIs that pyarrow or fsspec opens, such as `s3://bucket/photos`.
        output: The table, on this machine: `.csv`, `.jsonl` or `.parquet`.
        address: As in `compute_features`.
        workers: As in `compute_features`.
        resume: Go on with the parts of a run that broke off.

    Returns:
        What was written.

    Raises:
        DatasetError: A folder cannot be listed, or holds no image.
        MissingExtraError: Ray is not installed.
        SettingError: A setting is outside what it may be, or there are parts of another job.
        TlkitError: The cluster does not answer, or the table cannot be written. What is done is kept.

    Examples:
        >>> summary = predict(classifier, "s3://bucket/photos", "photos.parquet")  # doctest: +SKIP
    """
    given = [images] if isinstance(images, str | os.PathLike) else images
    if isinstance(given, Iterable):  # what is not is refused when the images are listed
        given = _listed(given)

    def runner(shards: Iterator[Shard]) -> Iterator[tuple[Shard, Sequence[Outcome]]]:
        taken: dict[int, Shard] = {}

        def tasks() -> Iterator[tuple[int, list[str]]]:
            for shard in shards:
                taken[shard.number] = shard
                yield shard.number, [location_of("images", path) for path in shard.paths]

        job = PredictJob(classifier, engine_name())
        with closing(run(job, tasks(), address=address, workers=workers)) as results:
            for number, outcomes in results:
                shard = taken.pop(number)
                pairs = zip(shard.paths, outcomes, strict=True)
                yield shard, [replace(outcome, path=path) for path, outcome in pairs]

    return write_predictions(
        classifier,
        given,
        output,
        resume=resume,
        runner=runner,
        shard_size=SHARD_SIZE,
    )


def _listed(given: Iterable[PathLike]) -> Iterator[PathLike]:
    """Yield what is given, folders of other file systems as the images in them."""
    for place in given:
        location = location_of("images", place)
        if is_uri(location):
            yield from image_locations(location)
        else:
            yield place


@final
@dataclass(frozen=True, slots=True)
class PredictJob:
    """What a worker does with a shard: locations in, what the classifier says of each out."""

    classifier: TransferClassifier
    engine: str

    def start(self) -> Work:
        """Return what predicts."""
        os.environ[VARIABLE] = self.engine  # in this process, which is a worker's own

        def work(locations: Sequence[str], careful: bool) -> list[Outcome]:  # noqa: FBT001 - by place
            outcomes: list[Outcome] = []
            size, read = self.classifier.image_size, reader(careful=careful)
            decoded = read_batches(
                locations,
                size,
                BATCH_SIZE,
                value_range=self.classifier.value_range,
                resize=self.classifier.resizing,
                read_many=read,
            )
            for _, images, found in decoded:
                said = iter(self.classifier.predict(images) if len(images) else ())
                outcomes += [o if isinstance(o, BadFile) else next(said) for o in found]
            return outcomes

        return work
