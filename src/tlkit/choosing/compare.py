"""Judge several networks on one folder, from one decode, by the same folds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias, final

import numpy as np
import numpy.typing as npt

from tlkit.backbones.adapter import BackboneAdapter
from tlkit.choosing.candidates import candidates_of, name_of
from tlkit.choosing.comparison import Candidate, Comparison
from tlkit.choosing.cost import seconds_per_image
from tlkit.choosing.rule import choose
from tlkit.choosing.shared_pass import Reading, read_together
from tlkit.core.rows import Indices
from tlkit.core.spec import PathLike, check_bool, check_int
from tlkit.data.audit import audit_of
from tlkit.data.dataset import DatasetSpec, Listing
from tlkit.data.split import split_readable
from tlkit.errors import SettingError, TlkitError
from tlkit.evaluation.evaluate import evaluate
from tlkit.evaluation.log_loss import log_losses, sigmoid
from tlkit.evaluation.paired import PairedDifference
from tlkit.evaluation.scores import OUT_OF_FOLD
from tlkit.features.run_folders import RunFolders
from tlkit.images.loader import warn_of_bad_files
from tlkit.training.cross_validation import Judged, Run, judge_by_folds
from tlkit.training.schedule import FineTuneSchedule
from tlkit.training.settings import RunSettings

Floats: TypeAlias = npt.NDArray[np.float64]


def compare(
    data: PathLike | DatasetSpec,
    candidates: Sequence[BackboneAdapter] | None = None,
    *,
    folds: int = 5,
    schedule: FineTuneSchedule | None = None,
    seed: int = 0,
    cache_dir: PathLike | None = None,
    download: bool = False,
) -> Comparison:
    """Try several pretrained networks on a folder, and say which one is worth its price there.

    Published rankings of networks are of ImageNet; on a folder of one's own only trying tells, and with
    frozen features that costs one pass each. Every file is read once, and decoded once for each scale that
    the networks need; all are judged by the same folds, near-duplicates and groups kept together, so that
    they can be compared image by image. Images that are for the test take no part.

    Args:
        data: A folder with two class folders (or ready-made splits), or a `DatasetSpec`.
        candidates: The networks. None: all pretrained ones whose weights are on this machine, each at the
            size it was trained at, the small ones at 320 pixels too.
        folds: How many, at least 2; every fold needs images of both classes.
        schedule: What is trained in each fold. None: `FineTuneSchedule.head_only()`.
        seed: Random seed of training, at least 0.
        cache_dir: Directory for cached features, shared with `transfer_classifier`, which then need not
            compute those of what was chosen. A comparison that was killed goes on where it stopped.
        download: Fetch weights that are not on this machine. Else a candidate without them counts as failed.

    Returns:
        A row for each candidate, and the recommendation. One that failed is a row with its reason.

    Raises:
        SettingError: An argument is outside what it may be.
        DatasetError: The folder is not two classes of images, or has too few for so many folds.
        ImageError: A file cannot be read, and the spec says `on_bad_file="raise"`.
        TlkitError: Every candidate failed.
        WeightsError: No network's weights are on this machine.

    Examples:
        >>> comparison = compare("alpacas/", cache_dir="cache")  # doctest: +SKIP
        >>> comparison.recommended  # doctest: +SKIP
        BackboneAdapter('EfficientNetLite1', image_size=(240, 240))
        >>> classifier = transfer_classifier(  # doctest: +SKIP
        ...     "alpacas/", backbone=comparison.recommended, cache_dir="cache"
        ... )

    References:
        S. Kornblith, J. Shlens and Q. V. Le (2019), Do better ImageNet models transfer better?, CVPR.
        S. Varma and R. Simon (2006), Bias in error estimation when using cross-validation for model
        selection, BMC Bioinformatics 7: 91 (why the choice is judged by nested folds).
    """
    check_int("folds", folds, at_least=2)
    download = check_bool("download", download)
    adapters = candidates_of(candidates, download=download)
    spec = data if isinstance(data, DatasetSpec) else DatasetSpec(data)
    listing = spec.listing()
    run_folders = RunFolders.open({}, cache_dir, None)
    schedule = schedule or FineTuneSchedule.head_only()
    entries = [
        _Entry.of(
            RunSettings.resolve(spec, adapter, None, schedule, seed).fitted_to(listing), run_folders
        )
        for adapter in adapters
    ]
    for entry in entries:
        if not (download or entry.settings.backbone.is_at_hand()):
            entry.reading.reason = (
                "its weights are not on this machine: download=True (--download) fetches them"
            )
    read_together(
        [entry.reading for entry in entries if not entry.reading.reason],
        listing.examples,
        kept=run_folders.holds("images"),
        value_range=spec.value_range,
        stop_at_bad_file=spec.on_bad_file == "raise",
    )
    _judge(entries, listing, run_folders, folds)
    return _compared(entries, schedule)


@final
@dataclass(slots=True, eq=False)
class _Entry:
    """A candidate on its way through the comparison."""

    settings: RunSettings
    reading: Reading
    judged: Judged | None = None
    milliseconds: float = 0.0

    @classmethod
    def of(cls, settings: RunSettings, run_folders: RunFolders) -> _Entry:
        """Prepare a candidate; nothing is built yet."""
        frozen = settings.frozen_part(run_folders)
        return cls(settings, Reading(frozen, settings.backbone.image_size))

    def row(self, difference: PairedDifference | None = None) -> Candidate:
        """Return what the comparison says of it."""
        backbone, originals = self.settings.backbone, self.reading.originals
        if self.judged is None or originals is None:
            return Candidate(backbone, reason=self.reading.reason)
        (width,) = originals.outputs[0].shape
        return Candidate(
            backbone,
            evaluation=self.judged.result.evaluation,
            difference=difference,
            milliseconds=self.milliseconds,
            parameters=originals.backbone_parameters + width + 1,
        )


def _judge(
    entries: Sequence[_Entry], listing: Listing, run_folders: RunFolders, folds: int
) -> None:
    """Measure what each candidate costs, and judge it by the same folds of the same images."""
    read = [(entry, found) for entry in entries if (found := entry.reading.originals) is not None]
    if not read:
        raise _all_failed(entries)
    (some, first), *_ = read  # listing, groups and facts are the same for all
    spec = some.settings.dataset
    warn_of_bad_files(first.bad_files, stacklevel=4)
    report = audit_of(spec, listing, first.readable, first.facts, first.bad_files)
    common = Run.of(some.settings, some.reading.frozen, first, listing, report, run_folders)
    split = split_readable(spec, listing, common.groups, first.readable, validation_fraction=0.0)
    known = np.union1d(split.train, split.validation)
    for entry, _ in read:
        entry.milliseconds = 1000 * seconds_per_image(
            entry.reading, entry.settings.backbone, run_folders
        )
        entry.reading.frozen.let_go()
    for entry, originals in read:
        run = replace(
            common, settings=entry.settings, frozen=entry.reading.frozen, originals=originals
        )
        try:
            entry.judged = judge_by_folds(run, known, folds=folds)
        except (MemoryError, SettingError) as error:  # a folder's fault is of another kind
            entry.reading.fail(error)
    if not any(entry.judged for entry in entries):
        raise _all_failed(entries)


def _all_failed(entries: Sequence[_Entry]) -> TlkitError:
    reasons = "; ".join(
        f"{name_of(entry.settings.backbone)}: {entry.reading.reason}" for entry in entries
    )
    return TlkitError(f"every candidate failed: {reasons}")


def _compared(entries: Sequence[_Entry], schedule: FineTuneSchedule) -> Comparison:
    """Put the rows together, and judge the choice among them."""
    found = [(entry, one) for entry in entries if (one := entry.judged) is not None]
    results = [judged.result for _, judged in found]
    labels = np.array(results[0].scores.labels)
    logits = np.array([result.scores.logits for result in results])
    losses = log_losses(labels, logits)
    costs = [entry.milliseconds for entry, _ in found]
    choice = choose(losses, costs)
    fold_of = np.array(results[0].fold_numbers)
    picks = [
        choose(_inner_losses(found, labels, losses, fold_of, number), costs).recommended
        for number in range(int(fold_of.max()) + 1)
    ]
    rows = [
        entry.row(difference)
        for (entry, _), difference in zip(found, choice.differences, strict=True)
    ]
    order = sorted(range(len(rows)), key=lambda place: (losses[place].mean(), costs[place]))
    return Comparison(
        candidates=(
            *(rows[place] for place in order),
            *(entry.row() for entry in entries if entry.judged is None),
        ),
        recommended_evaluation=evaluate(
            labels,
            sigmoid(logits[np.array(picks)[fold_of], np.arange(labels.size)]),
            class_names=results[0].class_names,
            positive_class=results[0].positive_class,
            part=OUT_OF_FOLD,
            folds=len(picks),
            used_to_choose=results[0].evaluation.used_to_choose,
            facets=results[0].scores.facets,
        ),
        fold_choices=tuple(rows[place].name for place in picks),
        schedule=str(schedule),
    )


def _inner_losses(
    found: Sequence[tuple[_Entry, Judged]],
    labels: Indices,
    losses: Floats,
    fold_of: Indices,
    number: int,
) -> Floats:
    """Return the losses on what one fold's heads learned from, by which the rule is applied inside the fold.

    They are those of the inner folds that chose the heads' strengths. Where there are none (fine-tuning, a
    given strength), those of the other folds stand in: they too come from heads that had not seen the image,
    but some of these had seen the fold.
    """
    known = fold_of != number
    inner = [judged.inner[number] for _, judged in found]
    if any(one is None for one in inner):
        return losses[:, known]
    return log_losses(labels[known], np.array(inner))
