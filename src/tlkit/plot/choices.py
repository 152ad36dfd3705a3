"""What helps to choose: networks by quality and cost, and what more images would bring."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tlkit.choosing.comparison import Candidate, Comparison
from tlkit.choosing.curve import LearningCurve
from tlkit.core.spec import check_kind
from tlkit.plot.figure import Grid, one_plot, title

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def comparison(result: Comparison, *, ax: Axes | None = None) -> Grid:
    """Draw the log-loss of each network against what an image costs, and the frontier.

    On the frontier no network is both better and cheaper. The bars are one standard error of the paired
    difference to the best, which has none: where a bar reaches down to the dotted line, the folder cannot
    tell the network from the best.

    Args:
        result: Of `tlkit.compare`.
        ax: Existing axes to draw into. None makes a figure.

    Returns:
        Axes `[1]`; the cost axis is logarithmic.

    Raises:
        MissingExtraError: matplotlib is not installed.
        SettingError: `result` is no comparison.
    """
    check_kind("result", result, (Comparison,), advice="tlkit.compare returns one")
    with one_plot(ax, (6.8, 4.2)) as (axes, colours):
        plot, best = axes[0], result.best_candidate
        points = [(one, *_place(one)) for one in result.candidates if not one.reason]
        frontier = _frontier([(cost, loss) for _, cost, loss in points])
        plot.step(
            *zip(*frontier, strict=True),
            where="post",
            color=colours.faint,
            linewidth=1,
            label="frontier",
        )
        plot.axhline(_place(best)[1], color=colours.faint, linewidth=1, linestyle=":")
        for one, cost, loss in points:
            recommended = one is result.recommended_candidate
            colour = colours.positive if recommended else colours.first
            error = one.difference.standard_error if one.difference else 0.0
            plot.errorbar(
                [cost], [loss], yerr=[error], color=colour, marker="D" if recommended else "o",
                markersize=6, linewidth=1.2, capsize=2,
            )  # fmt: skip
            plot.annotate(
                one.name, (cost, loss), xytext=(6, 5), textcoords="offset points", fontsize=8,
                color=colours.ink, parse_math=False,
            )  # fmt: skip
        plot.set_xscale("log")
        plot.margins(x=0.25, y=0.15)
        plot.set(xlabel="milliseconds an image, decoded already", ylabel="log-loss (nats)")
        title(axes, f"Recommended: {result.recommended_candidate.name}", ax)
    return axes


def training_size(result: LearningCurve, *, ax: Axes | None = None) -> Grid:
    """Draw the log-loss against the number of training images, and what more of them promise.

    Args:
        result: Of `tlkit.learning_curve`.
        ax: Existing axes to draw into. None makes a figure.

    Returns:
        Axes `[1]`: the points with their 95 % intervals over images, and the forecast with its 90 % band;
        both axes are logarithmic.

    Raises:
        MissingExtraError: matplotlib is not installed.
        SettingError: `result` is no such curve.
    """
    check_kind("result", result, (LearningCurve,), advice="tlkit.learning_curve returns one")
    with one_plot(ax, (6.8, 4.0)) as (axes, colours):
        plot, last = axes[0], result.points[-1]
        counts = [point.count for point in result.points]
        losses = [point.log_loss for point in result.points]
        plot.fill_between(
            counts, [point.low for point in result.points], [point.high for point in result.points],
            color=colours.first, alpha=0.15, linewidth=0, label="95 % CI over images",
        )  # fmt: skip
        plot.plot(counts, losses, color=colours.first, marker="o", markersize=4, label="log-loss")
        then = [last.count, *(one.count for one in result.forecasts)]
        plot.fill_between(
            then,
            [last.log_loss, *(one.low for one in result.forecasts)],
            [last.log_loss, *(one.high for one in result.forecasts)],
            color=colours.positive, alpha=0.18, linewidth=0, label="forecast, 90 % band",
        )  # fmt: skip
        plot.plot(
            then, [last.log_loss, *(one.log_loss for one in result.forecasts)],
            color=colours.positive, linestyle="--", marker="D", markersize=4, label="forecast",
        )  # fmt: skip
        plot.set_xscale("log")
        plot.set_yscale("log")
        plot.set_xticks([*counts, *then[1:]], [f"{count:,}" for count in [*counts, *then[1:]]])
        plot.minorticks_off()
        plot.yaxis.set_major_formatter(lambda value, _place: f"{value:.3g}")
        plot.yaxis.set_major_locator(_few(losses, result))
        plot.set(xlabel="training images", ylabel="log-loss (nats)")
        plot.legend(fontsize=8)
        first = result.forecasts[0]
        said = (
            f"{last.log_loss:.3f} → about {first.log_loss:.3f} ({first.low:.3f}–{first.high:.3f})"
        )
        title(axes, f"Twice as many images: log-loss {said}", ax)
    return axes


def _few(losses: list[float], result: LearningCurve) -> object:
    """Return where a few ticks go, between the lowest and the highest of all that is drawn."""
    from matplotlib.ticker import FixedLocator

    low = min(one.low for one in result.forecasts)
    step = (max(losses) / max(low, 1e-6)) ** 0.25
    return FixedLocator([max(low, 1e-6) * step**power for power in range(5)])


def _place(one: Candidate) -> tuple[float, float]:
    loss = one.evaluation.log_loss if one.evaluation else 0.0
    return one.milliseconds or 0.0, loss


def _frontier(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the points that none is both cheaper and better than, the cheapest first."""
    kept: list[tuple[float, float]] = []
    for cost, loss in sorted(points):
        if not kept or loss < kept[-1][1]:
            kept.append((cost, loss))
    return kept
