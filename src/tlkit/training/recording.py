"""How good the classifier is, and what is written down about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias, final

import numpy as np
import numpy.typing as npt

from tlkit.classifier.record import Record
from tlkit.core.fingerprint import fingerprint
from tlkit.core.rows import Indices
from tlkit.core.versions import versions
from tlkit.data.audit import AuditReport
from tlkit.data.dataset import Listing
from tlkit.evaluation.calibration import Calibration, fit_calibration
from tlkit.evaluation.evaluate import Evaluation, evaluate
from tlkit.evaluation.history import History
from tlkit.evaluation.scores import OUT_OF_FOLD, CrossValidation, Scores
from tlkit.features.passes import Originals
from tlkit.images.resizing import RULES
from tlkit.training.cross_validation import Judged, Run
from tlkit.training.division import Division
from tlkit.training.finetune import TrainingData
from tlkit.training.fit import Trained, calibrated

Floats: TypeAlias = npt.NDArray[np.float64]


@final
@dataclass(frozen=True, slots=True)
class Verdict:
    """What training ended with, calibrated, and how good it is.

    Attributes:
        trained: What was trained, with calibrated logits.
        calibration: The line; None where nothing could fit it.
        scores: Labels and logits of what was judged, by split: validation, test, out-of-fold.
        evaluation: On the validation split, or out-of-fold where there is none.
        test_evaluation: On the test split, where there is one.
        cross_validation: All out-of-fold predictions, where folds judged.
    """

    trained: Trained
    calibration: Calibration | None
    scores: Mapping[str, Scores]
    evaluation: Evaluation
    test_evaluation: Evaluation | None
    cross_validation: CrossValidation | None


def judge(
    run: Run, division: Division, data: TrainingData, trained: Trained, judged: Judged | None
) -> Verdict:
    """Calibrate what was trained, and measure it on images that it has not learned from.

    There is one scale: out-of-fold logits are calibrated before anything counts them.

    Args:
        run: What was worked on.
        division: Who learned, and who judges.
        data: What was learned from.
        trained: What came of it.
        judged: What folds found, where there were any.
    """
    line, unseen = _calibration(run, division.split.train, data, trained, judged)
    trained = calibrated(trained, line)
    split = division.split
    scores = {
        part: run.scores(indices, trained.logits(indices))
        for part, indices in (("validation", split.validation), ("test", split.test))
        if len(indices)
    }
    if unseen is not None:
        scores[OUT_OF_FOLD] = unseen
    chosen = ("which epoch and phase to keep",) if run.settings.chooses else ()

    def measured(part: str, *used: str) -> Evaluation:
        return evaluate(
            scores[part].labels,
            scores[part].probabilities,
            class_names=run.listing.class_names,
            positive_class=run.listing.positive_class,
            part=part,
            random_head_baseline=None if part == "test" else trained.random_head_baseline,
            used_to_choose=tuple(dict.fromkeys((*used, *run.listing.used_to_choose))),
            folds=judged and division.folds if part == OUT_OF_FOLD else None,
            facets=scores[part].facets,
            groups=scores[part].groups,
            known_groups=judged.result.evaluation.known_groups
            if judged and part == OUT_OF_FOLD
            else None,
        )

    if "validation" in scores:
        evaluation = measured("validation", *chosen)
    else:
        evaluation = measured(
            OUT_OF_FOLD, *(judged.result.evaluation.used_to_choose if judged else ())
        )
    return Verdict(
        trained=trained,
        calibration=line,
        scores=scores,
        evaluation=evaluation,
        test_evaluation=measured("test") if "test" in scores else None,
        cross_validation=judged and judged.result,
    )


def _calibration(
    run: Run,
    train_split: Indices,
    data: TrainingData,
    trained: Trained,
    judged: Judged | None,
) -> tuple[Calibration | None, Scores | None]:
    """Return the line through out-of-fold logits and the calibrated scores, where there are any."""
    unseen = trained.out_of_fold
    if judged is not None and (unseen is None or not len(data.validation)):
        unseen = judged.logits[np.isin(judged.among, train_split)]
    if unseen is None:
        return None, None
    labels, weights = data.labels[train_split], data.weights[train_split]
    line = fit_calibration(unseen, labels, sample_weight=weights)
    if judged is not None:
        return line, judged.result.scores
    return line, run.scores(train_split, line.apply(unseen) if line else unseen)


def _names(listing: Listing, indices: Indices) -> tuple[str, ...]:
    return tuple(listing.examples[index].name for index in indices.tolist())


def _digests(originals: Originals, indices: Indices) -> tuple[str, ...]:
    facts = dict(zip(originals.readable.tolist(), originals.facts, strict=True))
    return tuple(facts[index].digest[: Record.DIGEST_LENGTH] for index in indices.tolist())


def record_of(
    run: Run,
    report: AuditReport,
    division: Division,
    verdict: Verdict,
    seconds: Mapping[str, float],
    *,
    level: float,
    least_familiar: dict[str, float],
) -> Record:
    """Write down what the classifier's number means, and how it came about.

    Args:
        run: What was worked on.
        report: What was found in the folder.
        division: Who learned, and who judged.
        verdict: What came of it.
        seconds: Wall-clock time of the stages.
        level: Share of images like the training images that is called unfamiliar.
        least_familiar: Images held out, with their familiarity.
    """
    settings, listing = run.settings, run.listing
    written = settings.written(listing)
    trained = verdict.trained
    return Record(
        class_names=listing.class_names,
        positive_class=listing.positive_class,
        threshold=0.5,
        unfamiliar_level=level,
        image_size=settings.backbone.image_size,
        resize=RULES[settings.backbone.resize],
        value_range=settings.dataset.value_range,
        dataset=written["dataset"],
        backbone=written["backbone"],
        augmentation=written["augmentation"] if settings.schedule.uses_views else None,
        schedule=written["schedule"],
        seed=settings.seed,
        engine=run.frozen.engine_name,
        fingerprint=fingerprint(*(facts.digest for facts in run.originals.facts)),
        training_names=_names(listing, division.split.train),
        training_digests=_digests(run.originals, division.split.train),
        bad_files=run.originals.bad_files,
        audit=report.shortened(),
        history=History(phases=trained.phases, kept=trained.kept, seconds=dict(seconds)),
        scores=dict(verdict.scores),
        evaluation=verdict.evaluation,
        test_evaluation=verdict.test_evaluation,
        calibration=verdict.calibration,
        cross_validation=verdict.cross_validation,
        versions=versions(run.frozen.engine_name),
        least_familiar=least_familiar,
    )
