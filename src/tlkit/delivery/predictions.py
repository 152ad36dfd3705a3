"""`write_predictions`: what a classifier says about very many images, as a table in a file."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from itertools import islice, tee
from pathlib import Path
from random import Random
from typing import Final, TypeAlias, final

from tlkit.classifier.classifier import TransferClassifier, check_classifier
from tlkit.core.progress import Advance, progress
from tlkit.core.spec import Json, Spec, check_int, check_path
from tlkit.core.tables import Cell, check_table, write_table
from tlkit.delivery.prediction_files import PathLike, Shard
from tlkit.delivery.prediction_job import Job, Outcome
from tlkit.errors import printable
from tlkit.evaluation.drift import Drift, drift_of
from tlkit.images.decoder import BadFile

Runner: TypeAlias = Callable[[Iterator[Shard]], Iterator[tuple[Shard, Sequence[Outcome]]]]
"""What computes: takes shards as it needs them, and gives each back with one outcome for each of its files,
in whatever order they are finished."""

COLUMNS: Final = (
    "path", "label", "confidence", "decision", "probability", "positive_class", "threshold",
    "familiarity", "error",
)  # fmt: skip
"""Of every table of predictions, where that of the probability names its class too: `columns_of`."""

NUMBERS: Final = ("confidence", "probability", "threshold", "familiarity")
"""Those of them that hold numbers."""

_ASKED: Final = 10_000  # images at most that are asked whether the world has changed

SHARD_SIZE: Final = 1024
"""Images in a part: what a crash costs at most, some ten seconds of two cores. A multiple of the engines'
batches, so that these are the same whatever was done before."""

_NAMED: Final = 10  # files that cannot be read


@final
@dataclass(frozen=True, slots=True, repr=False, kw_only=True)
class PredictionSummary(Spec):
    """What `write_predictions` wrote.

    Attributes:
        output: The table.
        count: How many rows it has, one for each file.
        label_counts: How many images were given each label, the most frequent first.
        decision_counts: How many were decided so, or left to a person, likewise.
        drift: That the images are not what the classifier learned from; None where nothing tells so.
        bad_count: How many files could not be read.
        bad_files: The first ten of them, in the order of the table.
        resumed_count: How many of the rows an earlier run had computed.
    """

    output: Path
    count: int
    label_counts: Mapping[str, int]
    bad_count: int = 0
    bad_files: tuple[BadFile, ...] = ()
    resumed_count: int = 0
    decision_counts: Mapping[str, int] = field(default_factory=dict)
    drift: Drift | None = None

    def __str__(self) -> str:
        text = f"{printable(self.output)}: {self.count:,} images"
        shown = self.decision_counts or self.label_counts
        counts = [f"{count:,} {printable(name)}" for name, count in shown.items()]
        if self.bad_count:
            counts.append(f"{self.bad_count:,} that cannot be read")
        return f"{text}: {', '.join(counts)}"


def write_predictions(
    classifier: TransferClassifier,
    images: PathLike | Iterable[PathLike],
    output: PathLike,
    *,
    resume: bool = False,
    runner: Runner | None = None,
    shard_size: int = SHARD_SIZE,
) -> PredictionSummary:
    """Predict any number of images into a table; memory does not grow with their number.

    Rows are kept in a folder `OUTPUT.parts` as they are computed, some thousand at a time. At the end they
    are put together in the order of the listing, `output` appears, and the folder goes away.

    Args:
        classifier: What predicts.
        images: An image file or a folder, or several of them. The images in a folder and below come in
            the order of their names, by the rules of `DatasetSpec`.
        output: The table: its name ends in `.csv`, `.jsonl` (one JSON object a line) or `.parquet` (needs
            the extra `parquet`). A file of that name is replaced when everything is done.
        resume: Go on with the parts of a run that broke off, however it ended; a row is neither lost nor
            repeated. Model, threshold and the names of the files must be the same. Where there are no parts
            the job begins.
        runner: What computes the shards; None: this process.
        shard_size: Files in a part, at least 1; a job that is resumed keeps its own. With a multiple of 32 a
            job that broke off ends with the same numbers as one that did not, to the last bit.

    Returns:
        What was written. `columns_of` names the columns; a file that cannot be read has a row that says why.

    Raises:
        DatasetError: A folder cannot be listed, or holds no image.
        MissingExtraError: Parquet is asked for, and pyarrow is not installed.
        SettingError: A setting is outside what it may be; there are parts and `resume` is not set; or they
            are of another job.
        TlkitError: There is no room for the table, or it cannot be written. What is done is kept.

    Examples:
        >>> summary = write_predictions(classifier, "photos/", "photos.csv")  # doctest: +SKIP
        >>> print(summary)  # doctest: +SKIP
        photos.csv: 1,204 images: 800 not alpaca, 403 alpaca, 1 that cannot be read
    """
    check_classifier("classifier", classifier)
    target = check_table(Path(check_path("output", output)))
    check_int("shard_size", shard_size, at_least=1)
    with Job(target, resume=resume) as job:
        job.begin(images, _facts(classifier), shard_size)
        done = job.done()
        missing = (shard for shard in job.shards() if shard.number not in done)
        resumed_count = job.rows_in(done)
        with progress(job.count, "Predicting") as advance:
            advance(resumed_count)
            if runner is None:
                results = _compute(classifier, missing, job.count, advance)
            else:
                results = _counted(runner(missing), advance)
            with closing(results):  # else a runner would go on while what failed is told
                for shard, outcomes in results:
                    job.keep(shard, outcomes)
        return _merge(job, target, classifier, resumed_count)


def columns_of(positive_class: str) -> tuple[str, ...]:
    """Return the columns of a table of predictions; that of the probability names its class.

    Examples:
        >>> columns_of("alpaca")[:4]
        ('path', 'label', 'confidence', 'decision')
        >>> columns_of("alpaca")[4:]
        ('probability_of_alpaca', 'positive_class', 'threshold', 'familiarity', 'error')
    """
    return tuple(map(partial(_column, positive_class), COLUMNS))


def _column(positive_class: str, name: str) -> str:
    return f"probability_of_{printable(positive_class)}" if name == "probability" else name


def as_row(path: PathLike, outcome: Outcome) -> tuple[Cell, ...]:
    """Return the cells of `columns_of` for one file."""
    name = printable(os.fspath(path))
    if isinstance(outcome, BadFile):
        real = f" (its bytes are {outcome.format})" if outcome.format else ""
        return name, *[None] * (len(COLUMNS) - 2), printable(outcome.reason) + real
    return (
        name,
        printable(outcome.label),
        outcome.confidence,
        printable(outcome.decision),
        outcome.probability,
        printable(outcome.positive_class),
        outcome.threshold,
        outcome.familiarity,
        None,
    )


def _facts(classifier: TransferClassifier) -> dict[str, Json]:
    """Return what decides the rows, apart from the images."""
    return {
        "model": classifier.digest(),
        "image size": [*classifier.image_size],
        **({"resize": classifier.resizing} if classifier.resizing != "stretch" else {}),
        **({"value range": [*classifier.value_range]} if classifier.value_range else {}),
        "classes": [*classifier.class_names],
        "positive class": classifier.positive_class,
        "threshold": classifier.threshold,
        **({"unfamiliar up to": level} if (level := classifier.unfamiliar_level) else {}),
        **({"unsure between": [kept.lower, kept.upper]} if (kept := classifier.guarantee) else {}),
    }


def _compute(
    classifier: TransferClassifier, shards: Iterator[Shard], count: int, advance: Advance
) -> Generator[tuple[Shard, Sequence[Outcome]], None, None]:
    """Compute shards one after the other in this process; decoding runs ahead, also into the next shard."""
    ahead, behind = tee(shards)
    paths = (path for shard in ahead for path in shard.paths)
    outcomes = classifier.predict_each(paths, count=count)
    for shard in behind:
        found = []
        for outcome in islice(outcomes, len(shard.paths)):
            found.append(outcome)
            advance(1)
        yield shard, found


def _counted(
    results: Iterator[tuple[Shard, Sequence[Outcome]]], advance: Advance
) -> Generator[tuple[Shard, Sequence[Outcome]], None, None]:
    for shard, outcomes in results:
        yield shard, outcomes
        advance(len(shard.paths))


def _sample(ranks: list[float], rank: float | None, seen: int, random: Random) -> None:
    """Keep a random sample of what comes one by one: memory does not grow with the images."""
    if rank is None:
        return
    if len(ranks) < _ASKED:
        ranks.append(rank)
    elif (place := random.randrange(seen)) < _ASKED:
        ranks[place] = rank


def _merge(
    job: Job, target: Path, classifier: TransferClassifier, resumed_count: int
) -> PredictionSummary:
    """Put the parts together, and let the table appear as a whole."""
    labels: Counter[str] = Counter()
    decisions: Counter[str] = Counter()
    bad_files: list[BadFile] = []
    positive_class, known = classifier.positive_class, classifier.familiarity
    ranks: list[float] = []
    random = Random(0)  # noqa: S311 - which images are asked whether the world has changed

    def rows() -> Iterator[tuple[Cell, ...]]:
        with progress(job.count, "Writing", unit="rows") as advance:
            for shard in job.shards():
                for path, outcome in zip(shard.paths, job.outcomes(shard), strict=True):
                    if not isinstance(outcome, BadFile):
                        labels[outcome.label] += 1
                        decisions[outcome.decision] += 1
                        _sample(ranks, outcome.familiarity, labels.total(), random)
                    elif len(bad_files) < _NAMED:
                        bad_files.append(outcome)
                    yield as_row(path, outcome)
                advance(len(shard.paths))

    numbers = [_column(positive_class, name) for name in NUMBERS]
    write_table(target, columns_of(positive_class), rows(), numbers=numbers)
    job.finish()
    return PredictionSummary(
        output=target,
        count=job.count,
        label_counts=dict(labels.most_common()),
        decision_counts=dict(decisions.most_common()),
        drift=drift_of(ranks, known) if known and ranks else None,
        bad_count=job.count - labels.total(),
        bad_files=tuple(bad_files),
        resumed_count=resumed_count,
    )
