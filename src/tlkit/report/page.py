"""`write_report`: gather what the page shows, fill the template, replace the file."""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING

from tlkit.choosing.comparison import Comparison
from tlkit.choosing.curve import LearningCurve
from tlkit.classifier.classifier import PathLike, TransferClassifier, check_classifier
from tlkit.core.atomic import check_target, replacing
from tlkit.core.spec import Json, check_int, check_kind, check_path
from tlkit.data.audit import KINDS
from tlkit.data.dataset import DatasetSpec
from tlkit.data.label_decisions import COLUMNS, DECISIONS, DIGEST_PREFIX, LabelDecision
from tlkit.errors import MissingExtraError, SettingError, TlkitError, printable
from tlkit.report import charts, close_ups, recipe, sentences
from tlkit.report.album import Album, make_album
from tlkit.report.alone import Alone, decide_alone

if TYPE_CHECKING:
    from jinja2 import Environment


def write_report(
    classifier: TransferClassifier,
    path: PathLike,
    data: PathLike | DatasetSpec | None = None,
    *,
    heat_maps: int = 24,
    comparison: Comparison | None = None,
    learning_curve: LearningCurve | None = None,
) -> None:
    """Write one page that shows how good a classifier is, when it is wrong and how to make it again.

    The page holds all it needs: it opens from a disk, asks nothing of the network and prints. The same
    classifier and folder give the same page.

    Args:
        classifier: The classifier.
        path: The page, which ends in `.html`. A file of that name is replaced once the new one is complete.
        data: A folder with the same two classes, or its spec. None: the one that it was trained on. The
            images of another one are predicted anew; one that holds every name of the training folder is
            taken for that folder, moved.
        heat_maps: For how many of the most doubtful images to show where the evidence lies, at least 0.
            Each takes about 30 kB.
        comparison: Of networks on the same folder, for a section that shows why this one was chosen.
        learning_curve: Of the same folder, for a panel that says whether more images would help.

    Raises:
        MissingExtraError: jinja2 or matplotlib is not installed.
        DatasetError: There is no such folder, or it does not hold these two classes.
        SettingError: An argument is outside what it may be.
        TlkitError: The page cannot be written; what was there before is untouched.

    Examples:
        >>> write_report(classifier, "report.html")  # doctest: +SKIP
    """
    check_classifier("classifier", classifier)
    check_int("heat_maps", heat_maps, at_least=0)
    check_kind("comparison", comparison, (Comparison, NoneType))
    check_kind("learning_curve", learning_curve, (LearningCurve, NoneType))
    target = Path(check_path("path", path))
    if target.suffix.lower() != ".html":
        raise SettingError(f"`path` must end in .html, got {printable(target)}")
    check_target(target, [target.suffix])
    environment = _environment()
    album = make_album(classifier, data)
    choices = charts.choices(comparison, learning_curve)
    page = _render(environment, classifier, album, heat_maps, choices)
    try:
        with replacing(target) as partial:
            # A file from elsewhere may hold text that no UTF-8 can write.
            partial.write_text(page, "utf-8", errors="backslashreplace", newline="\n")
    except OSError as error:
        raise TlkitError(
            f"cannot write {printable(target)}: {error.strerror or error}; what was there is untouched"
        ) from error


def _environment() -> Environment:
    """Return what fills templates: it escapes whatever it is given.

    Raises:
        MissingExtraError: jinja2 or matplotlib is not installed.
    """
    try:
        import matplotlib as mpl  # noqa: F401 - before the work begins
        from jinja2 import Environment, StrictUndefined
    except ModuleNotFoundError as error:
        if error.name not in ("jinja2", "matplotlib"):
            raise  # it is installed, but broken
        raise MissingExtraError(
            f'a report needs {error.name}, which is not installed: pip install "tlkit[report]"'
        ) from error
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "percent": sentences.percent,
        "share": sentences.share,
        "span": sentences.span,
        "seconds": sentences.seconds,
        "printable": printable,
    }
    return environment


def _render(
    environment: Environment,
    classifier: TransferClassifier,
    album: Album,
    heat_maps: int,
    choices: list[tuple[str, charts.Chart, str]],
) -> str:
    style, script, template = (
        files("tlkit.report").joinpath(f"page.{end}").read_text("utf-8")
        for end in ("css", "js", "html.jinja")
    )
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    found, alone = album.parts[0].judged.evaluation, decide_alone(classifier)
    return environment.from_string(template).render(
        style=style,
        script=script,
        script_hash=f"sha256-{digest}",
        themes={name: charts.variables(name) for name in ("light", "dark")},
        classifier=classifier,
        record=classifier.record,
        album=album,
        found=found,
        parts=[
            (part, part.judged.evaluation, [*charts.part_charts(classifier, part, f"part{number}")])
            for number, part in enumerate(album.parts)
        ],
        alone=alone,
        sentences=sentences,
        close_ups=close_ups.look_closer(classifier, album, heat_maps),
        samples=close_ups.samples(album),
        views=close_ups.views(classifier, album),
        curves=charts.curves(classifier),
        choices=choices,
        kinds=KINDS,
        thumbnails=close_ups.thumbnails(album),
        decisions=DECISIONS,
        python_call=recipe.python_call(classifier.record),
        command=recipe.command(classifier.record),
        settings=recipe.settings(classifier.record),
        data=_data(classifier, album, alone),
    )


def _data(classifier: TransferClassifier, album: Album, alone: Alone) -> dict[str, Json]:
    """Return what the script of the page works on."""
    index_of = {image.example.name: number for number, image in enumerate(album.images)}
    parts: list[Json] = []
    for part in album.parts:
        judged = part.judged
        parts.append(
            {
                "title": part.title,
                "labels": judged.labels.tolist(),
                "probabilities": judged.scores.probabilities.tolist(),
                "images": [index_of.get(name, -1) for name in judged.scores.names],
            }
        )
    found = album.parts[0].judged.evaluation
    return {
        "positive": printable(found.positive_class),
        "negative": printable(found.negative_class),
        "threshold": classifier.threshold,
        "allowed": [step.to_json() for step in alone.steps],
        "start": alone.start,
        "parts": parts,
        "images": [
            [printable(image.example.name), printable(image.folder_label), image.digest]
            for image in album.images
        ],
        "decisions": [_row(decision) for decision in album.decided.decisions]
        if album.decided
        else [],
        "columns": [*COLUMNS],
    }


def _row(decision: LabelDecision) -> list[Json]:
    """Write a decision as the page saves it again."""
    digest = f"{DIGEST_PREFIX}{decision.digest}" if decision.digest else ""
    return [printable(decision.image), printable(decision.label), decision.decision, digest]
