"""What someone decided about labels, as the report's page saves it, applied to the images of a folder.

Nothing of the user's is touched: a corrected label and an image left out are facts of the listing.
"""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

from tlkit.core.fingerprint import digest_of_file
from tlkit.core.spec import Spec, check_choice
from tlkit.data.example import Example
from tlkit.errors import DatasetError, SettingError, printable, unprintable

DECISIONS: Final = ("right", "wrong", "leave out", "unsure")
"""What can be decided: the label is right; it is wrong, so that the other class is right; the image is of no
use; or nobody knows, which changes nothing."""

COLUMNS: Final = ("image", "label", "decision", "digest")
"""Of a table of decisions. Without `label` and `digest` nobody can tell whether a file has changed."""

REVIEWED: Final = "which labels to correct, those that a classifier doubted"
"""Entry of `used_to_choose` for images whose labels were reviewed."""

DIGEST_PREFIX: Final = "blake2b:"
"""Before the digest of a file, so that no spreadsheet takes it for a number."""

_NAMED: Final = 5  # images that a message names
_DELIMITERS: Final = ",;\t"


@final
@dataclass(frozen=True, slots=True)
class LabelDecision(Spec):
    """What was decided about the label of one image.

    Attributes:
        image: Its name in the folder.
        label: The class that the folder says; "" where that was not noted.
        decision: One of `DECISIONS`.
        digest: Of the file that was looked at, the first hex digits of its `ImageFacts.digest`; "" where that
            was not noted.
    """

    image: str
    label: str
    decision: str
    digest: str

    def __post_init__(self) -> None:
        check_choice("decision", self.decision, DECISIONS)


@final
@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Decided(Spec):
    """What decisions changed in a listing.

    Attributes:
        source: The name of the file of decisions.
        decisions: All of them, in the order of the file.
        corrected: Names of the images whose label they changed, in the order of the listing.
        left_out: Names of the images that they left out, likewise.
        absent: Names of images that are not in the folder; decisions about them change nothing.
    """

    source: str
    decisions: tuple[LabelDecision, ...]
    corrected: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()

    @property
    def used_to_choose(self) -> tuple[str, ...]:
        """What to say of metrics on these images: labels were reviewed where a classifier doubted them."""
        return (REVIEWED,) if self.corrected or self.left_out else ()

    def __str__(self) -> str:
        found = []
        if self.corrected:
            found.append(f"{_count(self.corrected, 'label')} changed")
        if self.left_out:
            found.append(f"{_count(self.left_out, 'image')} left out")
        said = " and ".join(found) or "nothing changed"
        return f"{said} by {printable(self.source)}"

    __repr__ = __str__


def read_decisions(path: Path) -> tuple[LabelDecision, ...]:
    """Read a table of decisions: CSV with commas, semicolons or tabs, in UTF-8.

    Args:
        path: The file. Its first line names the columns: `image` and `decision`, and where they were noted
            `label` and `digest`; others are passed over. A line without a decision says nothing.

    Raises:
        DatasetError: It cannot be read, has not these columns, or a line says something else or contradicts
            another one. The message names the line.
    """
    where = printable(path)
    try:
        text = path.read_text("utf-8-sig")
    except FileNotFoundError:
        raise DatasetError(
            f"`decisions` must be a file, but there is no {where}: give the decisions.csv that a report saved"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(
            f"`decisions` must be a CSV file in UTF-8, but {where} cannot be read: {error}"
        ) from error
    first = text.partition("\n")[0]
    delimiter = max(_DELIMITERS, key=first.count)
    lines = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter)
    named = [name.strip() for name in lines.fieldnames or ()]
    if missing := [name for name in ("image", "decision") if name not in named]:
        found = ", ".join(map(printable, named)) or "an empty file"
        raise DatasetError(
            f"{where} must have the columns image and decision, and {' and '.join(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} missing: found {found}"
        )
    lines.fieldnames = named
    try:
        return tuple(_checked(where, lines))
    except csv.Error as error:
        raise DatasetError(f"{where}, line {lines.line_num}: {error}") from error


def _checked(where: str, lines: csv.DictReader[str]) -> Iterator[LabelDecision]:
    seen: dict[str, tuple[str, int]] = {}
    for cells in lines:
        number = lines.line_num
        row = {name: (cells.get(name) or "").strip() for name in COLUMNS}
        decision = row["decision"].casefold()
        if not decision:
            continue
        if not row["image"]:
            raise DatasetError(f"{where}, line {number}: `image` must name a file, and is empty")
        try:
            check_choice("decision", decision, DECISIONS)
        except SettingError as error:
            raise DatasetError(f"{where}, line {number}: {error}") from error
        before, line = seen.setdefault(row["image"], (decision, number))
        if before != decision:
            raise DatasetError(
                f"{where}, line {number}: '{row['image']}' is '{decision}' here and '{before}' in line "
                f"{line}: keep one of them"
            )
        if line == number:
            names = (unprintable(row["image"]), unprintable(row["label"]))
            digest = row["digest"].casefold().removeprefix(DIGEST_PREFIX)
            yield LabelDecision(*names, decision, digest)


def decide(
    examples: Sequence[Example],
    path: Path,
    class_names: tuple[str, str],
    positive_class: str,
) -> tuple[tuple[Example, ...], Decided]:
    """Apply a table of decisions: correct labels, leave images out.

    Files that a decision changes something about are read once, to see that they are those that were looked
    at; no other file is opened.

    Args:
        examples: The images of the folder.
        path: The table.
        class_names: Both classes.
        positive_class: The one with label 1.

    Returns:
        The examples that are left, with their labels as decided, and what was changed.

    Raises:
        DatasetError: The table cannot be read, a file or its label changed since someone decided about it, or
            none of the decisions is about an image of this folder.
    """
    decisions = read_decisions(path)
    named = _names_of(decisions, {example.name for example in examples})
    decision_of = dict(zip(named, decisions, strict=True))
    there = {example.name: example for example in examples if example.name in decision_of}
    if decisions and not there:
        raise DatasetError(
            f"none of the {len(decisions)} images that {printable(path)} decides about is there, such as "
            f"'{printable(decisions[0].image)}': is it of another folder?"
        )
    _check_unchanged(path, [(there[name], decision_of[name]) for name in there])
    kept: list[Example] = []
    changed: dict[str, list[str]] = {"wrong": [], "leave out": []}
    for example in examples:
        decision = decision_of[example.name].decision if example.name in there else ""
        if decision in changed:
            changed[decision].append(example.name)
        if decision == "wrong":
            (other,) = {*class_names} - {example.class_name}
            label = int(other == positive_class)
            kept.append(dataclasses.replace(example, class_name=other, label=label))
        elif decision != "leave out":
            kept.append(example)
    return tuple(kept), Decided(
        source=path.name,
        decisions=decisions,
        corrected=tuple(changed["wrong"]),
        left_out=tuple(changed["leave out"]),
        absent=tuple(name for name in named if name not in there),
    )


def _names_of(decisions: Iterable[LabelDecision], known: set[str]) -> list[str]:
    """Return the names meant, without the apostrophe that keeps a spreadsheet from running one."""
    names = [decision.image for decision in decisions]
    return [
        name[1:] if name not in known and name.startswith("'") and name[1:] in known else name
        for name in names
    ]


def _check_unchanged(path: Path, decided: Sequence[tuple[Example, LabelDecision]]) -> None:
    """Refuse decisions about what is not there any more: another file, or another label."""
    changed = []
    for example, decision in decided:
        if decision.decision == "unsure":
            continue
        if decision.digest and not digest_of_file(example.path).startswith(decision.digest):
            changed.append(f"'{printable(example.name)}' (another file)")
        elif decision.label not in ("", example.class_name, f"'{example.class_name}"):
            label = f"now labelled '{printable(example.class_name)}'"
            changed.append(f"'{printable(example.name)}' ({label})")
    if changed:
        more = f" and {len(changed) - _NAMED} more" if len(changed) > _NAMED else ""
        raise DatasetError(
            f"{printable(path)} decides about {_count(changed, 'image')} that changed since someone looked: "
            f"{', '.join(changed[:_NAMED])}{more}. Look again, or take these lines out"
        )


def _count(items: Sequence[str], noun: str) -> str:
    return f"{len(items):,} {noun}{'' if len(items) == 1 else 's'}"
