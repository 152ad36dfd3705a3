"""Figures: samples of a folder, views of one picture, learning curves. Needs the extra `plot`.

Every function returns a `Grid`: a NumPy array of matplotlib axes that a notebook shows as a picture, and
whose figure is at `.figure`. No window opens, and `pyplot`'s current figure stays what it was.

```python
axes = tlkit.plot.samples("alpacas/")
axes[0, 0].set_title("my favourite")
axes.figure.savefig("samples.png")
```
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, final

import numpy as np

from tlkit.augmentation import AugmentationPolicy
from tlkit.dataset import DatasetSpec, Example, Listing
from tlkit.errors import DatasetError, MissingExtraError, printable
from tlkit.history import History, PhaseHistory
from tlkit.images import BadFile, ImageFacts, Pixels
from tlkit.reading import read_images, warn_of_bad_files
from tlkit.spec import check_int

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Told apart by people who see colours differently, and in a grey print.
INK, FAINT, LINES = "#1f2733", "#687385", "#d5dae1"
POSITIVE, NEGATIVE = "#c2500a", "#51637d"
TRAINING, VALIDATION = "#93a5bd", "#0b5cad"

_CELL_INCHES = 2.0
_SAMPLE_PIXELS = 384  # both sides; more than a cell has on a screen or in print
_STYLE = {
    "axes.edgecolor": LINES,
    "axes.facecolor": "white",
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "axes.labelcolor": FAINT,
    "axes.labelsize": 9,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.titlesize": 9,
    "figure.facecolor": "white",
    "figure.titlesize": 11,
    "font.size": 9,
    "grid.color": "#eceff3",
    "legend.fontsize": 8,
    "legend.frameon": False,
    "legend.labelcolor": INK,
    "text.color": INK,
    "xtick.color": LINES,
    "xtick.labelcolor": FAINT,
    "xtick.labelsize": 8,
    "ytick.color": LINES,
    "ytick.labelcolor": FAINT,
    "ytick.labelsize": 8,
}

Sample: TypeAlias = tuple[Example, Pixels, ImageFacts]


@final
class Grid(np.ndarray[Any, Any]):
    """A NumPy array of the matplotlib axes of one figure; a notebook shows the figure.

    Attributes:
        figure: The `matplotlib.figure.Figure`, to save or to change.
    """

    @property
    def figure(self) -> Figure:
        """The figure that the axes belong to."""
        figure: Figure = self.flat[0].figure
        return figure

    def _repr_png_(self) -> bytes:
        file = io.BytesIO()
        self.figure.savefig(file, format="png")
        return file.getvalue()


def samples(data: str | Path | DatasetSpec, *, count: int = 9, seed: int = 0) -> Grid:
    """Draw pictures of a folder with their class, half of them from each, chosen at random.

    Args:
        data: The folder, or its spec.
        count: How many, at least 1; fewer are drawn where there are fewer.
        seed: Which ones, at least 0.

    Returns:
        Axes `[rows, columns]`; those that are left over are empty. Files that cannot be read are passed
        over with a warning, or raise, as the spec's `on_bad_file` says.

    Raises:
        MissingExtraError: matplotlib is not installed.
        DatasetError: The folder is not two classes of pictures, or none can be read.
        ImageError: A file cannot be read, and the spec says `on_bad_file="raise"`.
    """
    check_int("count", count, at_least=1)
    spec = data if isinstance(data, DatasetSpec) else DatasetSpec(data)
    listing = spec.listing()
    chosen = _read_samples(spec, _shuffled(listing, check_int("seed", seed, at_least=0)), count)
    with _drawing():
        shapes = [_upright_shape(facts) for _, _, facts in chosen]
        axes = _picture_grid(shapes, extra_inches=0.45)
        for ax, (example, pixels, _), shape in zip(axes.flat, chosen, shapes, strict=False):
            _show(ax, pixels, shape)
            colour = POSITIVE if example.label else NEGATIVE
            name = _shortened(example.class_name)
            ax.set_title(name, color=colour, weight="bold", parse_math=False)
            name = _shortened(example.path.name)
            ax.set_xlabel(name, loc="left", size=6.5, parse_math=False)
        _title(axes, f"{len(chosen)} of {len(listing.examples):,} pictures")
        _class_legend(axes.figure, listing)
    return axes


def views(
    policy: AugmentationPolicy,
    picture: str | Path | Pixels,
    *,
    count: int = 9,
    seed: int = 0,
    image_size: tuple[int, int] = (224, 224),
) -> Grid:
    """Draw one picture as training sees it: itself, and what an augmentation policy makes of it.

    Args:
        policy: The policy.
        picture: A file, or uint8 RGB `[H, W, 3]`.
        count: How many views, at least 1, the picture itself included.
        seed: Of the random changes, at least 0.
        image_size: Height and width that a file is resized to, in pixels; an array keeps its own.

    Returns:
        Axes `[rows, columns]`; those that are left over are empty.

    Raises:
        MissingExtraError: matplotlib is not installed.
        ImageError: The file cannot be read.
    """
    with _drawing():
        pictures = policy.views(picture, count, seed=seed, image_size=image_size)
        axes = _picture_grid([pictures.shape[1:3]] * count, extra_inches=0.0)
        for number, (ax, pixels) in enumerate(zip(axes.flat, pictures, strict=False)):
            _show(ax, pixels, pictures.shape[1:3])
            ax.set_title(f"view {number}" if number else "the picture itself")
            ax.title.set_color(FAINT if number else INK)
        name = "" if isinstance(picture, np.ndarray) else f" of {_shortened(Path(picture).name)}"
        _title(axes, f"{count} view{'s' * (count > 1)}{name}")
    return axes


def learning_curves(history: History) -> Grid:
    """Draw log-loss and accuracy after each epoch, where fine-tuning starts, and what was kept.

    An exact head has no epochs: it is the point at 0, and a dotted line that fine-tuning has to beat.

    Args:
        history: Of a classifier: `classifier.history`.

    Returns:
        Axes `[2]`: the log-loss and the accuracy.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    with _drawing():
        axes: Grid = _grid(1, 2, size=(8.4, 3.5))[0]
        starts = _first_epochs(history.phases)
        curves = (("loss", "log-loss (nats)", 1.0), ("accuracy", "accuracy (%)", 100.0))
        for ax, (metric, label, unit) in zip(axes, curves, strict=True):
            _draw_curves(ax, history.phases, starts, metric, unit)
            _mark_starts(ax, history.phases, starts)
            _mark_best(ax, history, starts, metric, unit)
            _number_epochs(ax, history.phases, starts)
            ax.set(xlabel="epoch", ylabel=label)
        _frame_values(axes, history.phases)
        axes.figure.legend(*_legend_entries(axes[0]), loc="outside lower left", ncols=5)
        kept = history.phases[history.kept]
        epoch = f", epoch {starts[history.kept] + kept.best_epoch}" if len(kept.loss) > 1 else ""
        loss = f"validation log-loss {kept.best_validation_loss:.3f}"
        _title(axes, f"Kept: {kept.name}{epoch} ({loss})")
    return axes


@contextmanager
def _drawing() -> Iterator[None]:
    """Apply the house style to what is made inside."""
    try:
        import matplotlib as mpl
    except ModuleNotFoundError as error:
        if error.name != "matplotlib":
            raise  # it is installed, but broken
        raise MissingExtraError(
            'figures need matplotlib, which is not installed: pip install "tlkit[plot]"'
        ) from error
    with mpl.rc_context(_STYLE):
        yield


def _grid(rows: int, columns: int, *, size: tuple[float, float]) -> Grid:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    layout = ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.08)  # inches
    figure = Figure(figsize=size, dpi=120, layout=layout)
    FigureCanvasAgg(figure)
    axes: Grid = figure.subplots(rows, columns, squeeze=False).view(Grid)
    return axes


def _picture_grid(shapes: Sequence[tuple[int, int]], *, extra_inches: float) -> Grid:
    """Make cells for pictures of these heights and widths, no higher than they need to be."""
    columns = math.ceil(math.sqrt(len(shapes)))
    rows = math.ceil(len(shapes) / columns)
    cell_height = _CELL_INCHES * min(1.0, max(height / width for height, width in shapes))
    width = max(columns, 2) * (_CELL_INCHES + 0.16)  # at least room for the title
    axes = _grid(rows, columns, size=(width, 0.35 + rows * (cell_height + 0.44) + extra_inches))
    for ax in axes.flat[len(shapes) :]:
        ax.set_axis_off()
    return axes


def _show(ax: Axes, pixels: Pixels, shape: tuple[int, int]) -> None:
    """Show pixels in the proportions `shape` (height, width) of the picture they come from."""
    height, width = shape
    ax.imshow(pixels, extent=(0, width, height, 0), interpolation="antialiased")
    ax.set_anchor("NW")
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)


def _title(axes: Grid, text: str) -> None:
    axes.figure.suptitle(text, x=0.01, ha="left", weight="bold", parse_math=False)


def _shortened(name: str, length: int = 30) -> str:
    """Keep the end of a long name, where names differ."""
    text = printable(name)
    return text if len(text) <= length else f"…{text[1 - length :]}"


def _shuffled(listing: Listing, seed: int) -> Iterator[Example]:
    """Yield the examples in random order, the classes in turn as long as both last."""
    order = np.random.default_rng(seed).permutation(len(listing.examples))
    queues = [[p for p in order if listing.examples[p].label == label] for label in (1, 0)]
    for turn in range(max(map(len, queues))):
        for queue in queues:
            if turn < len(queue):
                yield listing.examples[queue[turn]]


def _read_samples(spec: DatasetSpec, candidates: Iterator[Example], count: int) -> list[Sample]:
    found: list[Sample] = []
    bad_files: list[BadFile] = []
    while batch := list(islice(candidates, count - len(found))):
        paths = [example.path for example in batch]
        decoded = read_images(paths, (_SAMPLE_PIXELS, _SAMPLE_PIXELS))
        for example, outcome in zip(batch, decoded, strict=True):
            if not isinstance(outcome, BadFile):
                found.append((example, *outcome))
            elif spec.on_bad_file == "raise":
                raise outcome.error()
            else:
                bad_files.append(outcome)
    if not found:
        raise DatasetError(f"no picture can be read; the first: {bad_files[0]}")
    warn_of_bad_files(bad_files, stacklevel=4)
    return found


def _upright_shape(facts: ImageFacts) -> tuple[int, int]:
    sideways = facts.orientation >= 5
    return (facts.width, facts.height) if sideways else (facts.height, facts.width)


def _class_legend(figure: Figure, listing: Listing) -> None:
    from matplotlib.patches import Patch

    handles = []
    for label, colour, note in ((1, POSITIVE, ", the positive class"), (0, NEGATIVE, "")):
        count = int((listing.labels == label).sum())
        name = next(e.class_name for e in listing.examples if e.label == label)
        handles.append(Patch(color=colour, label=f"{_shortened(name)} ({count:,}{note})"))
    legend = figure.legend(handles=handles, loc="outside lower left", ncols=2, handlelength=0.7)
    for text in legend.get_texts():
        text.set_parse_math(False)


def _first_epochs(phases: Sequence[PhaseHistory]) -> list[int]:
    """Number the first epoch of each phase; what is solved at once comes before epoch 1."""
    first = 1 if len(phases[0].loss) > 1 else 0
    return list(accumulate((len(phase.loss) for phase in phases[:-1]), initial=first))


def _draw_curves(
    ax: Axes, phases: Sequence[PhaseHistory], starts: list[int], metric: str, unit: float
) -> None:
    for prefix, colour in (("", TRAINING), ("validation_", VALIDATION)):
        curves = [unit * np.array(getattr(phase, prefix + metric)) for phase in phases]
        epochs = [np.arange(len(y)) + start for y, start in zip(curves, starts, strict=True)]
        label = "validation" if prefix else "training"
        for x, y in zip(epochs, curves, strict=True):
            ax.plot(x, y, color=colour, marker="o", markersize=3.2, linewidth=1.6, label=label)
        ax.plot(
            np.concatenate(epochs), np.concatenate(curves), color=colour, linewidth=0.7, alpha=0.5
        )
        if sum(map(len, curves)) == 1:
            number = f"{curves[0][0]:.3f}" if unit == 1 else f"{curves[0][0]:.1f} %"
            _write_beside(ax, f"{label} {number}", curves[0][0])
    if starts[0] == 0 and len(phases) > 1:
        level = unit * getattr(phases[0], f"validation_{metric}")[0]
        ax.axhline(
            level, color=VALIDATION, linewidth=1, linestyle=":", label="head alone, validation"
        )


def _write_beside(ax: Axes, text: str, value: float) -> None:
    """Say what a single point says."""
    ax.annotate(text, (0, value), (9, 0), textcoords="offset points", va="center", size=8)


def _mark_starts(ax: Axes, phases: Sequence[PhaseHistory], starts: list[int]) -> None:
    for phase, start in zip(phases[1:], starts[1:], strict=True):
        ax.axvline(start - 0.5, color=FAINT, linewidth=0.9, linestyle="--")
        ax.annotate(
            f"{phase.name} starts",
            (start - 0.5, 1.0),
            xycoords=ax.get_xaxis_transform(),
            xytext=(3, 2),
            textcoords="offset points",
            color=FAINT,
            size=7.5,
        )


def _mark_best(ax: Axes, history: History, starts: list[int], metric: str, unit: float) -> None:
    for number, (phase, start) in enumerate(zip(history.phases, starts, strict=True)):
        kept = number == history.kept
        if len(phase.loss) == 1 and not kept:
            continue  # it had no choice
        ax.plot(
            start + phase.best_epoch,
            unit * getattr(phase, f"validation_{metric}")[phase.best_epoch],
            color=VALIDATION if kept else "white",
            marker="o",
            markersize=8 if kept else 6,
            markeredgecolor=VALIDATION,
            markeredgewidth=1.3,
            linestyle="none",
            label="kept" if kept else "best of its phase",
        )


def _legend_entries(ax: Axes) -> tuple[list[Any], list[str]]:
    """Return what the legend shows, each label once."""
    entries = dict(zip(*ax.get_legend_handles_labels()[::-1], strict=True))
    return list(entries.values()), list(entries)


def _number_epochs(ax: Axes, phases: Sequence[PhaseHistory], starts: list[int]) -> None:
    last = starts[-1] + len(phases[-1].loss) - 1
    step = math.ceil(max(last, 1) / 15)
    ticks = [*range(step, last + 1, step)]
    names = [str(tick) for tick in ticks]
    if starts[0] == 0:
        ticks, names = [0, *ticks], [phases[0].name, *names]
    ax.set_xticks(ticks, names)
    ax.set_xlim(starts[0] - 0.6, last + 0.6)


def _frame_values(axes: Grid, phases: Sequence[PhaseHistory]) -> None:
    """Begin the log-loss at 0, end the accuracy at 100 %, and leave room at the other end."""
    losses = [value for p in phases for value in (*p.loss, *p.validation_loss)]
    shares = [value for p in phases for value in (*p.accuracy, *p.validation_accuracy)]
    axes[0].set_ylim(0, 1.12 * max(losses))
    axes[1].set_ylim(max(0, 100 * min(shares) - 5), 101)
