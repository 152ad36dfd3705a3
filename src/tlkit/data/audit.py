"""What is wrong with a folder of images, from one look at every file. It reads and never repairs.

`audit` reads the files itself; `audit_of` takes what a training run learned about them while it read them
anyway. Both give an `AuditReport`: its text is for people, its JSON for machines.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from types import MappingProxyType
from typing import ClassVar, TypeAlias, final

from tlkit.core.rows import Indices
from tlkit.core.spec import Spec, check_choice
from tlkit.data.dataset import USUAL_FRACTION, DatasetSpec, GroupBy, Listing
from tlkit.data.duplicates import Copy, Duplicates, find_duplicates, merged_groups
from tlkit.data.example import Example
from tlkit.data.label_decisions import Decided
from tlkit.data.oddities import KINDS as ODDITIES
from tlkit.data.oddities import oddities
from tlkit.data.shapes import Shape
from tlkit.data.shortcuts import UNSEEN, Shortcut, find_shortcuts
from tlkit.errors import printable, unprintable
from tlkit.images.decoder import BadFile, ImageFacts
from tlkit.images.loader import read_files

PathLike: TypeAlias = "str | os.PathLike[str]"

KINDS: Mapping[str, str] = MappingProxyType(
    {
        "label-conflict": "one image, or nearly the same, under both labels: look at it",
        "leak": "one image, or nearly the same, in two splits: metrics measured on it are too good",
        "unreadable": "cannot be read as an image: left out",
        "low-contrast": ODDITIES["low-contrast"],
        "exact-duplicate": "the same file once more: kept in one split",
        "near-duplicate": "the same image once more: kept in one split",
        "large-cluster": "too many images alike to tell duplicates: give `group_by`",
        "imbalance": "one class is much rarer: see `class_weight`",
        **ODDITIES,
        "ignored": "not taken for an image: never read",
    }
)
"""Every kind of problem, the gravest first, in a few words."""

_RENAMED_KINDS = {"scene": "large-cluster"}  # as earlier releases called them

FAIL_ON = ("label-conflict", "leak", "unreadable")
"""The kinds that make `exit_code` 1 unless it is told otherwise."""

IMBALANCE = 4.0
"""Images of one class for each of the other from which they are imbalanced. A guess."""

_SIZE = (32, 32)  # only the facts are wanted, and they do not depend on it
_NEARLY_ALL = 0.9  # of the images: then one line says it, and examples say no more


@final
@dataclass(frozen=True, slots=True, repr=False)
class Problem(Spec):
    """Something about one file, or about the whole folder.

    Attributes:
        path: The file's name in the folder as `printable` writes it; "." is the folder itself.
        kind: One of `KINDS`.
        detail: What exactly, in a few words.
    """

    path: str
    kind: str
    detail: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "kind", _RENAMED_KINDS.get(self.kind, self.kind))
        check_choice("kind", self.kind, tuple(KINDS))

    def __str__(self) -> str:
        return self.detail if self.path == "." else f"{self.path}: {self.detail}"


@final
@dataclass(frozen=True, slots=True, repr=False)
class AuditReport(Spec):
    """What an audit found.

    Attributes:
        directory: The folder.
        counts: Images listed in each class, by part: "train", "validation", "test", or "all" in a
            folder without parts.
        ignored: Files and folders passed over, by kind: "hidden", ".txt" …
        problems: Everything found, the gravest kind first, then by name.
        totals: How many problems of each kind there are, also where `shortened` left some out.
        clusters: Names of the images that show one image, as `printable` writes them, sorted.
        large_clusters: How many images look alike, by the name of a typical one.
        alike: Names of the images in each large cluster, sorted; left out by `shortened`.
        shortcuts: What each fact of the files alone is worth to tell the classes apart, the strongest first.
        joined: Of what folders or labels `rest="negative"` made a class, with the images in each, by the
            name of the class.
        decided: What decisions about labels changed, where there were any; everything else is said of the
            folder as they leave it.
        aspect: Width divided by height of the median image, upright; None where none can be read, and in
            reports of earlier releases.
    """

    directory: str
    _: KW_ONLY
    counts: Mapping[str, Mapping[str, int]]
    ignored: Mapping[str, int] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()
    totals: Mapping[str, int] = field(default_factory=dict)
    clusters: tuple[tuple[str, ...], ...] = ()
    large_clusters: Mapping[str, int] = field(default_factory=dict)
    alike: tuple[tuple[str, ...], ...] = ()
    joined: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    shortcuts: tuple[Shortcut, ...] = ()
    decided: Decided | None = None
    aspect: float | None = None
    _renamed: ClassVar[Mapping[str, str]] = {"scenes": "large_clusters"}

    def __post_init__(self) -> None:
        totals = {_RENAMED_KINDS.get(kind, kind): count for kind, count in self.totals.items()}
        object.__setattr__(self, "totals", totals)

    @property
    def is_elongated(self) -> bool:
        """Whether the median image is more than twice as wide as high, or as high as wide."""
        return self.aspect is not None and Shape(self.aspect, 0).is_elongated

    def kinds(self) -> tuple[str, ...]:
        """Return the kinds of problems that were found, the gravest first."""
        return tuple(kind for kind in KINDS if kind in self.totals)

    def of_kind(self, kind: str) -> tuple[Problem, ...]:
        """Return the problems of one kind.

        Raises:
            SettingError: There is no such kind.
        """
        check_choice("kind", kind, tuple(KINDS))
        return tuple(problem for problem in self.problems if problem.kind == kind)

    def exit_code(self, fail_on: str | Iterable[str] = FAIL_ON) -> int:
        """Return what a program should end with.

        Args:
            fail_on: Kinds, as a sequence or as text with commas between them; or "any", or "none".

        Returns:
            1 if a problem of one of these kinds was found, else 0.

        Raises:
            SettingError: There is no such kind.
        """
        words = fail_on.split(",") if isinstance(fail_on, str) else fail_on
        wanted = {check_choice("kind", word.strip(), (*KINDS, "any", "none")) for word in words}
        return int(bool(self.totals) if "any" in wanted else not wanted.isdisjoint(self.totals))

    def groups(self, listing: Listing, group_by: GroupBy = None) -> list[str]:
        """Return one group key per example; what shares a key must stay in one part.

        Args:
            listing: The listing that was audited.
            group_by: The user's own rule, as in `DatasetSpec`; its groups are merged with the duplicates.

        Returns:
            The key of each example, in their order: of the keys that were merged, the smallest.
        """
        return self._merged(listing, listing.groups(group_by))

    def duplicates(self, listing: Listing) -> list[str]:
        """Return one key per example; those that show one image share it, whatever groups the user has.

        Args:
            listing: The listing that was audited.
        """
        return self._merged(listing, [example.name for example in listing.examples])

    def _merged(self, listing: Listing, groups: list[str]) -> list[str]:
        index = {example.name: place for place, example in enumerate(listing.examples)}
        clusters = (
            [index[name] for name in map(unprintable, cluster) if name in index]
            for cluster in self.clusters
        )
        return merged_groups(groups, [cluster for cluster in clusters if cluster])

    def shortened(self, per_kind: int = 100) -> AuditReport:
        """Return the report with at most so many problems of each kind; `totals` still counts all."""
        kept = [p for kind in self.kinds() for p in self.of_kind(kind)[:per_kind]]
        return replace(self, problems=tuple(kept), alike=())

    def to_text(self, per_kind: int | None = 3) -> str:
        """Write the report for people.

        Args:
            per_kind: How many problems of each kind are named, but none of a kind that holds for nearly
                all images; None names all.
        """
        lines = [printable(self.directory), "", *_table(self.counts), ""]
        for class_name, of in self.joined.items():
            held = ", ".join(f"{count:,} {printable(name)}" for name, count in of.items())
            lines += [f"'{printable(class_name)}' is: {held}", ""]
        if self.decided is not None:
            lines += [*_decisions(self.decided, per_kind), ""]
        width = max(map(len, self.totals), default=0)
        images = sum(sum(of.values()) for of in self.counts.values())
        unnamed = 0
        for kind in self.kinds():
            count, shown = self.totals[kind], self.of_kind(kind)[:per_kind]
            lines.append(f"{kind:<{width}} {count:>6,}  {KINDS[kind]}")
            if kind in ODDITIES and per_kind and count > max(per_kind, _NEARLY_ALL * images):
                lines[-1] += f" ({'all' if count == images else 'nearly all'} images)"
                continue
            lines += [f"    {problem}" for problem in shown]
            if more := count - len(shown):
                lines.append(f"    … and {more:,} more")
                unnamed += more
        if not self.totals:
            lines.append("nothing found that needs a look")
        lines += _shortcuts(self.shortcuts, every=per_kind is None)
        if self.is_elongated:
            shape = f"The median image is {self.aspect:.2f} times as wide as high"
            advice = 'image_size="fit" (--image-size fit) follows its shape'
            lines += ["", f"{shape}, and a square squeezes it: {advice}"]
        if hidden := self.ignored.get("hidden"):
            lines += ["", f"Hidden files and folders passed over: {hidden:,}"]
        if unnamed:
            lines += [
                "",
                "All problems: `report.problems` in Python, `tlkit audit --all` in a shell",
            ]
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.to_text()

    def __repr__(self) -> str:
        found = ", ".join(f"{self.totals[kind]} {kind}" for kind in self.kinds()) or "no problems"
        return f"<AuditReport of {printable(self.directory)!r}: {found}>"


def audit(data: DatasetSpec | PathLike) -> AuditReport:
    """Look at every image of a folder and say what is wrong with it.

    Every file is decoded once, completely; none is changed.

    Args:
        data: A folder with two class folders (or ready-made parts), or a `DatasetSpec`, such as one of a
            table.

    Returns:
        The report; `print` it.

    Raises:
        DatasetError: The folder is not two classes of images.

    Examples:
        >>> print(report := audit("alpacas/"))  # doctest: +SKIP
        >>> report.exit_code(fail_on=["label-conflict", "leak"])  # doctest: +SKIP
        0
    """
    spec = data if isinstance(data, DatasetSpec) else DatasetSpec(data)
    listing = spec.listing()
    paths = [example.path for example in listing.examples]
    read = read_files(paths, _SIZE, "Auditing", value_range=spec.value_range)
    return audit_of(spec, listing, *read)


def audit_of(
    spec: DatasetSpec,
    listing: Listing,
    readable: Indices,
    facts: Sequence[ImageFacts],
    bad_files: Sequence[BadFile],
) -> AuditReport:
    """Say what is wrong with a folder whose files were read already.

    Args:
        spec: How the folder is to be split: the test split decides how large a cluster may be.
        listing: Its examples.
        readable: Indices of the examples that could be read, int64 `[M]`, ascending.
        facts: Of each of these, in that order.
        bad_files: The files that could not be read.

    Returns:
        The report.
    """
    examples = [listing.examples[index] for index in readable.tolist()]
    duplicates = find_duplicates(
        facts, [example.label for example in examples], largest=_largest_cluster(spec, len(facts))
    )
    problems = [
        *_unreadable(listing, bad_files),
        *_repeated(examples, duplicates),
        *_large_clusters(examples, duplicates),
        *_imbalance(listing, examples),
        *_ignored(listing),
    ]
    for example, fact in zip(examples, facts, strict=True):
        name = printable(example.name)
        found = oddities(example, fact, spec.value_range)
        problems += [Problem(name, kind, detail) for kind, detail in found]
    order = list(KINDS)
    problems.sort(key=lambda problem: (order.index(problem.kind), problem.path))
    totals = Counter(problem.kind for problem in problems)
    report = AuditReport(
        str(spec.source),
        counts=_counts(listing.examples, listing.class_names),
        ignored=dict(listing.ignored),
        problems=tuple(problems),
        totals={kind: totals[kind] for kind in KINDS if kind in totals},
        clusters=tuple(
            tuple(sorted(printable(examples[place].name) for place in cluster))
            for cluster in duplicates.clusters()
        ),
        large_clusters={
            printable(examples[cluster[0]].name): len(cluster)
            for cluster in duplicates.large_clusters
        },
        alike=tuple(
            tuple(sorted(printable(examples[place].name) for place in cluster))
            for cluster in duplicates.large_clusters
        ),
        aspect=Shape.of_sizes(fact.upright_size for fact in facts).aspect if facts else None,
        joined={listing.negative_class: listing.joined} if listing.joined else {},
        decided=listing.decided,
    )
    groups = report.groups(listing, spec.group_by)
    shortcuts = find_shortcuts(
        examples,
        facts,
        [groups[index] for index in readable.tolist()],
        (listing.negative_class, listing.positive_class),
    )
    return replace(report, shortcuts=shortcuts)


def _shortcuts(found: Sequence[Shortcut], *, every: bool) -> list[str]:
    """Name what tells the classes apart by itself; where nothing does, the fact that comes nearest."""
    suspicious = [one for one in found if one.suspicious]
    seen = [one for one in found if one.name not in UNSEEN]
    lines = [""] if found else []
    if suspicious:
        lines.append(
            "One fact of the files alone tells the classes apart, and a network may learn it:"
        )
    elif seen:
        nearest = f"{seen[0].name}, ROC-AUC {seen[0].auc.brief('95 % CI ')}"
        lines.append(f"No fact of the files alone tells the classes apart; nearest: {nearest}")
    return lines + [f"    {one}" for one in (found if every else suspicious)]


def _largest_cluster(spec: DatasetSpec, count: int) -> float:
    """Return how many images may look alike: what the test split or a fold of five holds, and always some.

    The share for validation does not count: whoever asks for another one keeps the same test images.
    """
    share = min(spec.test_fraction or USUAL_FRACTION, USUAL_FRACTION)
    return max(share * count, min(8, count / 2))


def _counts(examples: Iterable[Example], classes: Sequence[str]) -> dict[str, dict[str, int]]:
    counts = Counter((example.part or "all", example.class_name) for example in examples)
    parts = dict.fromkeys(part for part, _ in counts)
    return {part: {name: counts[part, name] for name in classes} for part in parts}


def _unreadable(listing: Listing, bad_files: Iterable[BadFile]) -> Iterator[Problem]:
    names = {os.fspath(example.path): example.name for example in listing.examples}
    for bad in bad_files:
        real = f" (its bytes are {bad.format})" if bad.format else ""
        yield Problem(printable(names.get(bad.path, bad.path)), "unreadable", bad.reason + real)


def _repeated(examples: Sequence[Example], duplicates: Duplicates) -> Iterator[Problem]:
    """Name every copy once: as a conflict or a leak (or both) if it is one, else as a duplicate."""
    for copy in duplicates.copies:
        one, other = examples[copy.row], examples[copy.original]
        name, detail = printable(one.name), _sameness(copy, printable(other.name))
        conflict, leak = one.label != other.label, one.part != other.part
        if conflict:
            what = "one of the labels is wrong" if copy.exact else "under the other label"
            yield Problem(name, "label-conflict", f"{detail}: {what}")
        if leak:
            yield Problem(name, "leak", detail)
        if not conflict and not leak:
            kind = "exact-duplicate" if copy.exact else "near-duplicate"
            yield Problem(name, kind, detail)


def _sameness(copy: Copy, original: str) -> str:
    if copy.exact:
        return f"same bytes as '{original}'"
    return (
        f"{'mirror image of' if copy.mirrored else 'looks like'} '{original}' ({copy.likeness:.2f})"
    )


def _large_clusters(examples: Sequence[Example], duplicates: Duplicates) -> Iterator[Problem]:
    for cluster in duplicates.large_clusters:
        detail = f"{len(cluster):,} images look like this one: duplicates cannot be told among them"
        yield Problem(printable(examples[cluster[0]].name), "large-cluster", detail)


def _imbalance(listing: Listing, examples: Sequence[Example]) -> Iterator[Problem]:
    for part, counts in _counts(examples, listing.class_names).items():
        (rare, few), (common, many) = sorted(counts.items(), key=lambda item: (item[1], item[0]))
        if many >= IMBALANCE * few:
            where = "" if part == "all" else f" in the {part} split"
            ratio = f"{many:,} of '{printable(common)}' and {few:,} of '{printable(rare)}'"
            yield Problem(".", "imbalance", f"{ratio} can be read{where}")


def _ignored(listing: Listing) -> Iterator[Problem]:
    for kind, count in listing.ignored.items():
        if kind != "hidden":
            yield Problem(".", "ignored", f"{count:,} x {printable(kind)}")


def _decisions(decided: Decided, shown: int | None) -> Iterator[str]:
    """Write what decisions changed, and name the images."""
    yield str(decided)
    for names, what in (
        (decided.corrected, "label changed"),
        (decided.left_out, "left out"),
        (decided.absent, "not there: the decision changes nothing"),
    ):
        yield from (f"    {printable(name)}: {what}" for name in names[:shown])
        if more := len(names) - len(names[:shown]):
            yield f"    … and {more:,} more"


def _table(counts: Mapping[str, Mapping[str, int]]) -> list[str]:
    """Write the counts as a table: a row for each part, a column for each class."""
    rows = [("", *map(printable, next(iter(counts.values()), {})))]
    rows += [(part, *(f"{n:,}" for n in of.values())) for part, of in counts.items()]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            [
                f"{row[0]:<{widths[0]}}",
                *(f"{c:>{w}}" for c, w in zip(row[1:], widths[1:], strict=True)),
            ]
        )
        for row in rows
    ]
