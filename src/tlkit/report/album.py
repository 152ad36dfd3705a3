"""Which images of a folder a report shows, their predictions, and their thumbnails."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

import numpy as np

from tlkit.classifier.classifier import PathLike, TransferClassifier, with_card
from tlkit.classifier.measure import learned_names, listing_for, spec_for
from tlkit.classifier.record import Record
from tlkit.core.progress import progress
from tlkit.data.dataset import DatasetSpec
from tlkit.data.example import Example
from tlkit.data.label_decisions import DIGEST_PREFIX, Decided
from tlkit.errors import DatasetError, SettingError, printable
from tlkit.evaluation.evaluate import Evaluation
from tlkit.evaluation.scores import OUT_OF_FOLD, CrossValidation, Scores
from tlkit.images.data_address import data_address, fitted
from tlkit.images.decoder import BadFile, ImageFacts, Pixels, read_image
from tlkit.images.loader import read_images
from tlkit.images.reader import ValueRange
from tlkit.insight.label_issues import LabelIssue, rank_label_issues
from tlkit.plot.points import Judged

IMAGES: Final = 600
"""How many images a page holds, the most telling ones; the least familiar are added. Each: about 5 kB."""

_UNLIKE: Final = 0.1  # of the images are looked at for files that do not belong there,
_MOST_UNLIKE: Final = 60  # or as many as a person looks through

THUMBNAIL: Final = 120  # pixels of the longer side
_READ: Final = (
    192,
    192,
)  # what thumbnails are made of: finer than they are, as coarse as decodes fast


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A split whose metrics the page shows, or a cross-validation.

    Attributes:
        source: The classifier or cross-validation, as the functions of `tlkit.plot` take it.
        part: The `part` that they take; None for a cross-validation.
        title: How many images of what kind.
        about: What to know before trusting the metrics.
        unseen: Whether the images were scored by a model not trained on them.
    """

    source: TransferClassifier | CrossValidation
    part: str | None
    title: str
    about: str
    unseen: bool = True

    @property
    def judged(self) -> Judged:
        """The evaluation and the scores."""
        return Judged.of(self.source, self.part)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class AlbumImage:
    """An image that the page shows.

    Attributes:
        example: The file and its class.
        thumbnail: The image in small, as a `data:` address.
        doubt: What speaks against its label, where much does and nobody has decided about it.
        familiarity: How unlike the others it is, where it is among the least familiar ones and nobody has
            decided about it, above 0 and up to 1.
        folder_label: The class that the folder says, where decisions may have put another in its place.
        digest: Of the file, as a table of decisions has it.
    """

    example: Example
    thumbnail: str
    doubt: LabelIssue | None
    familiarity: float | None
    folder_label: str
    digest: str


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Album:
    """What a report shows of a folder.

    Attributes:
        spec: How the folder is read.
        is_own: Whether the classifier was trained on this folder.
        parts: The most meaningful first.
        images: The most telling first: those whose label was given the lowest probability.
        probabilities: The predicted probability of the positive class of each telling image, by name.
        doubts: Doubtful labels that nobody has decided about, the most doubtful first.
        unlike: The least familiar images that nobody has decided about, with their familiarity, the least
            familiar first.
        decided: What decisions about labels changed, where there are any.
        notes: What the reader should know about the folder as it is now.
    """

    spec: DatasetSpec
    is_own: bool
    parts: tuple[Part, ...]
    images: tuple[AlbumImage, ...]
    probabilities: Mapping[str, float]
    doubts: tuple[LabelIssue, ...]
    unlike: Mapping[str, float]
    decided: Decided | None
    notes: tuple[str, ...]


def make_album(classifier: TransferClassifier, data: PathLike | DatasetSpec | None) -> Album:
    """Look through a folder: predict images without a prediction, and read those that are shown.

    Args:
        classifier: Its metadata hold the predictions of most images.
        data: The folder, or its spec. None: the one that the classifier was trained on.

    Raises:
        DatasetError: There is no such folder, or it does not hold these two classes.
        SettingError: `data` is missing, and the classifier does not know where its folder is.
    """
    spec = _spec(classifier, data)
    listing = listing_for(classifier.card, spec)
    examples = {example.name: example for example in listing.examples}
    record, names = classifier.record, _names(classifier.record)
    learned = learned_names(record, spec, [*examples.values()])
    is_own = _is_own(record, spec, examples.keys(), learned)
    known = names | _bad_names(record) if is_own else learned
    learned = frozenset(record.training_names) if is_own else learned
    bad: list[BadFile] = []
    new = [example for name, example in examples.items() if name not in known]
    judge, familiarity = _predicted(classifier, "new", new, bad)
    if (classifier.out_of_fold is None or not is_own) and len(examples) <= IMAGES:
        old = [example for name, example in examples.items() if name in learned]
        judge, _ = _predicted(judge, "train", old, bad)
    parts = tuple(_parts(judge, is_own=is_own))
    if not parts:
        raise DatasetError(f"no image in {printable(spec.source)} can be read")
    decided = listing.decided
    looked_at = {decision.image for decision in decided.decisions} if decided else set()
    doubts = tuple(d for d in _doubts(parts, classifier) if d.name not in looked_at)
    probabilities = _probabilities(parts)
    telling = [name for name in probabilities if name in examples]
    familiarity |= record.least_familiar if is_own else {}
    unlike = _unlike(familiarity, {*telling} - looked_at)
    shown = [name for place, name in enumerate(telling) if place < IMAGES or name in unlike]
    images = _images([examples[name] for name in shown], doubts, unlike, bad, classifier, decided)
    gone = sorted(names - examples.keys()) if is_own else []
    fresh = [name for name in probabilities if is_own and name in examples and name not in known]
    return Album(
        spec=spec,
        is_own=is_own,
        parts=parts,
        images=images,
        probabilities=probabilities,
        doubts=doubts,
        unlike=unlike,
        decided=decided,
        notes=tuple(_notes(gone, fresh, bad, left_out=len(telling) - len(shown))),
    )


def thumbnail(path: PathLike, value_range: ValueRange) -> str:
    """Return an image in small, as a `data:` address.

    Args:
        path: The file.
        value_range: As in `read_image`.

    Raises:
        ImageError: The file cannot be read.
    """
    return _thumbnail(*read_image(path, _READ, value_range=value_range))


def _thumbnail(pixels: Pixels, facts: ImageFacts) -> str:
    return data_address(pixels, fitted(facts.upright_size, THUMBNAIL))


def _spec(classifier: TransferClassifier, data: PathLike | DatasetSpec | None) -> DatasetSpec:
    if data is not None:
        return spec_for(classifier.card, data)
    if "directory" not in classifier.record.dataset:
        raise SettingError(
            "`data` must be the folder of the images: the classifier does not know it"
        )
    spec = DatasetSpec.from_config(classifier.record.dataset)
    if not spec.directory.is_dir():
        seen_from = "" if spec.directory.is_absolute() else f" in {printable(Path.cwd())}"
        raise DatasetError(
            f"the folder {printable(spec.directory)}, which the classifier was trained on, is not there"
            f"{seen_from}: give its new path as `data`"
        )
    return spec


def _names(record: Record) -> set[str]:
    """Return the names of all images that training could read."""
    return {*record.training_names}.union(*(scores.names for scores in record.scores.values()))


def _bad_names(record: Record) -> set[str]:
    """Return the names of the files that training could not read."""
    directory = str(record.dataset.get("directory"))
    return {Path(os.path.relpath(bad.path, directory)).as_posix() for bad in record.bad_files}


def _is_own(
    record: Record, spec: DatasetSpec, names: Collection[str], learned: Collection[str]
) -> bool:
    """Say whether this is the folder that the classifier was trained on, there or moved.

    Args:
        record: The classifier's.
        spec: The folder.
        names: What its images are called.
        learned: Those of them that the classifier has learned from, by content.
    """
    before = _names(record)
    if record.trained_on(spec.directory):
        return not before.isdisjoint(names)
    if not record.training_digests:  # of an earlier release: names are all that there is
        return before.issubset(names)
    return 2 * len({*record.training_names} & {*learned}) > len(record.training_names)


def _predicted(
    classifier: TransferClassifier, part: str, examples: Sequence[Example], bad: list[BadFile]
) -> tuple[TransferClassifier, dict[str, float]]:
    """Return the classifier with scores for these images, if any can be read, and their familiarity."""
    outcomes = classifier.predict([e.path for e in examples], on_bad_file="collect")
    found = list(zip(examples, outcomes, strict=True))
    bad += [outcome for _, outcome in found if isinstance(outcome, BadFile)]
    good = [(e, outcome) for e, outcome in found if not isinstance(outcome, BadFile)]
    if not good:
        return classifier, {}
    scores = Scores(
        names=tuple(example.name for example, _ in good),
        labels=tuple(example.label for example, _ in good),
        logits=tuple(prediction.logit for _, prediction in good),
    )
    record = dataclasses.replace(
        classifier.record, scores={**classifier.record.scores, part: scores}
    )
    familiarity = {e.name: p.familiarity for e, p in good if p.familiarity is not None}
    return with_card(classifier, record), familiarity


def _parts(classifier: TransferClassifier, *, is_own: bool) -> Iterable[Part]:
    """Yield the splits with predictions, the most meaningful first.

    Args:
        classifier: With predictions.
        is_own: Whether it was trained on this folder.
    """
    crossed, scores = classifier.cross_validation, classifier.record.scores

    def part(name: str, images: str, about: str, **facts: Any) -> Part:
        count = len(scores[name].names)
        title = f"{count:,} {images if count > 1 else images.replace('images', 'image')}"
        return Part(source=classifier, part=name, title=title, about=about, **facts)

    learned = "The classifier has learned from them, so these metrics are optimistic."
    if not is_own:
        about = "The classifier was not trained on this folder."
        if "train" in scores:
            about += " Images in it that it has learned from elsewhere are left out here."
        if "new" in scores:
            yield part("new", "images of this folder", about)
        if "train" in scores:
            yield part("train", "images that it knows already", learned, unseen=False)
        return
    if crossed is not None:
        grouped = ", nor from any other image of its group" if crossed.known_groups else ""
        yield Part(
            source=crossed,
            part=None,
            title=f"{len(crossed.scores.names):,} images, cross-validated",
            about=f"Each was scored by one of {len(crossed.folds)} classifiers, made in the same way as this "
            f"one, that had not learned from it{grouped}.{_chose(crossed.evaluation)}",
        )
    if "test" in scores:
        chose = classifier.test_evaluation and _chose(classifier.test_evaluation)
        about = (
            f"Nothing was trained on them.{chose}"
            if chose
            else "Nothing was trained or chosen on them."
        )
        yield part("test", "test images", about)
    if "validation" in scores:
        about = f"The classifier has not learned from them.{_chose(classifier.evaluation)}"
        yield part("validation", "validation images", about)
    if crossed is None and OUT_OF_FOLD in scores:
        chose = _chose(Judged.of(classifier, OUT_OF_FOLD).evaluation)
        about = f"Each was scored by a head that had not learned from it.{chose}"
        yield part(OUT_OF_FOLD, "training images, out of fold", about)
    if "new" in scores:
        yield part("new", "new images", "They were not in the folder when it was trained.")
    if "train" in scores:
        yield part("train", "training images, as learned", learned, unseen=False)


def _chose(found: Evaluation) -> str:
    """Name the choices that were made on images."""
    chosen = " and ".join(found.used_to_choose)
    return (
        f" They were also used to choose {chosen}: expect slightly worse metrics on new ones."
        if chosen
        else ""
    )


def _doubts(parts: Sequence[Part], classifier: TransferClassifier) -> tuple[LabelIssue, ...]:
    """Return the labels that confident learning doubts, of images scored by a model not trained on them."""
    wanted = (None, OUT_OF_FOLD, "new")  # scored by a model not trained on them
    known = [p.judged for p in parts if p.unseen and p.part in wanted]
    issues: dict[str, LabelIssue] = {}
    for judged in known:
        if judged.evaluation.positive_count and judged.evaluation.negative_count:
            for issue in rank_label_issues(
                judged.scores,
                class_names=classifier.class_names,
                positive_class=classifier.positive_class,
            ):
                if issue.likely:
                    issues.setdefault(issue.name, issue)
    return tuple(sorted(issues.values(), key=lambda issue: (issue.probability, issue.name)))


def _probabilities(parts: Sequence[Part]) -> dict[str, float]:
    """Return the probability of each image where its label got the lowest, the most telling first.

    Predictions by models not trained on the image go before those by models trained on it.
    """
    found: dict[str, tuple[bool, float, float]] = {}
    for part in parts:
        judged = part.judged
        of_truth = np.where(
            judged.labels == 1, judged.scores.logits, -np.array(judged.scores.logits)
        )
        for name, worth, probability in zip(
            judged.scores.names,
            of_truth.tolist(),
            judged.scores.probabilities.tolist(),
            strict=True,
        ):
            entry = (not part.unseen, worth, probability)
            found[name] = min(found.get(name, entry), entry)
    order = sorted(found, key=lambda name: (*found[name][:2], name))
    return {name: found[name][2] for name in order}


def _unlike(familiarity: Mapping[str, float], among: Collection[str]) -> dict[str, float]:
    """Return the least familiar of some images, the least familiar first."""
    few = {name: p for name, p in familiarity.items() if name in among and p <= _UNLIKE}
    order = sorted(few, key=lambda name: (few[name], name))
    return {name: few[name] for name in order[:_MOST_UNLIKE]}


def _images(
    examples: Sequence[Example],
    doubts: Sequence[LabelIssue],
    unlike: Mapping[str, float],
    bad: list[BadFile],
    classifier: TransferClassifier,
    decided: Decided | None,
) -> tuple[AlbumImage, ...]:
    first, second = classifier.class_names
    corrected = {*decided.corrected} if decided else set()
    doubt_of = {issue.name: issue for issue in doubts}
    images = []
    paths = [os.fspath(example.path) for example in examples]
    decoded = read_images(paths, _READ, value_range=classifier.value_range)
    with progress(len(examples), "Looking") as advance:
        for example, outcome in zip(examples, decoded, strict=True):
            advance(1)
            if isinstance(outcome, BadFile):
                bad.append(outcome)
                continue
            pixels, facts = outcome
            label = example.class_name
            if example.name in corrected:
                label = first if label == second else second
            images.append(
                AlbumImage(
                    example=example,
                    thumbnail=_thumbnail(pixels, facts),
                    doubt=doubt_of.get(example.name),
                    familiarity=unlike.get(example.name),
                    folder_label=label,
                    digest=DIGEST_PREFIX + facts.digest[: Record.DIGEST_LENGTH],
                )
            )
    return tuple(images)


def _notes(
    gone: Sequence[str], fresh: Sequence[str], bad: Sequence[BadFile], *, left_out: int
) -> Iterable[str]:
    if gone:
        yield (
            f"Gone from the folder since training: {_named(map(printable, gone), 'image')}. The metrics "
            "still count them."
        )
    if fresh:
        yield f"New in the folder since training: {_named(map(printable, fresh), 'image')}."
    if bad:
        yield f"Left out, as it cannot be read: {_named(map(str, bad), 'file')}."
    if left_out:
        yield (
            f"Not shown: {left_out:,} images whose label the classifier finds easy to believe. The metrics "
            "count them."
        )


def _named(items: Iterable[str], noun: str) -> str:
    """Write how many there are, and name the first."""
    names = list(items)
    more = f" … and {len(names) - 3:,} more" if len(names) > 3 else ""
    return f"{len(names):,} {noun}{'' if len(names) == 1 else 's'} ({', '.join(names[:3])}{more})"
