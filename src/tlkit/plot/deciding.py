"""How many images it decides alone, against the error that is allowed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tlkit.classifier.classifier import TransferClassifier, check_classifier
from tlkit.classifier.guarantee import guarantees_for
from tlkit.errors import GuaranteeError
from tlkit.evaluation.decision_curve import DecisionCurve
from tlkit.evaluation.decisions import Guarantee
from tlkit.plot.figure import Grid, add_legend, one_plot, title

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_TICKS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4)


def decisions(
    classifier: TransferClassifier, *, confidence: float = 0.9, ax: Axes | None = None
) -> Grid:
    """Draw how many images a classifier decides alone, against the error allowed among them.

    Each point is what `classifier.with_guarantee(error, confidence=…)` would buy. To the left of the first
    one, so few images cannot promise so small an error.

    Args:
        classifier: One with out-of-fold logits.
        confidence: In how many draws of images, at least, each promise must hold; above 0 and below 1.
        ax: Existing axes to draw into. None makes a figure.

    Returns:
        Axes `[1]`: the share of images decided, with a band of 95 % intervals (Wilson), against the largest
        share of these that may be wrong, which is logarithmic; the classifier's own guarantee is marked.

    Raises:
        GuaranteeError: So few images cannot promise any error worth a look.
        MissingExtraError: matplotlib is not installed.
        SettingError: There are no out-of-fold logits, or `confidence` is outside its limits.
    """
    check_classifier("classifier", classifier)
    curve = guarantees_for(classifier.card, confidence=confidence)
    return draw_curve(curve, classifier.guarantee, ax=ax)


def draw_curve(curve: DecisionCurve, own: Guarantee | None, *, ax: Axes | None = None) -> Grid:
    """Draw what `decisions` draws, of a curve that is there already.

    Args:
        curve: The guarantees, of one confidence.
        own: The one that the classifier has, to be marked where it is on the curve.
        ax: As in `decisions`.

    Raises:
        GuaranteeError: The curve holds no guarantee.
        MissingExtraError: matplotlib is not installed.
    """
    (low, high), nothing = decision_span(curve), float("nan")
    found = {error: one for error, one in curve.items() if isinstance(one, Guarantee)}
    shares = {error: one.decided_fraction for error, one in found.items()}
    any_one = next(iter(found.values()))
    with one_plot(ax, (6.4, 3.8)) as (axes, colours):
        plot = axes[0]
        plot.fill_between(
            [*curve],
            [shares[error].low if error in shares else nothing for error in curve],
            [shares[error].high if error in shares else nothing for error in curve],
            color=colours.first, alpha=0.15, linewidth=0, label="95 % interval",
        )  # fmt: skip
        plot.plot(
            [*curve], [float(shares.get(error, nothing)) for error in curve],
            color=colours.first, linewidth=2, marker="o", markersize=3, clip_on=False,
            label="decided alone",
        )  # fmt: skip
        if own is not None and own.error in shares and own.confidence == any_one.confidence:
            plot.plot(
                own.error, own.decided_fraction, color=colours.positive, marker="D", markersize=6,
                linestyle="", clip_on=False, zorder=3, label="its guarantee",
            )  # fmt: skip
        plot.set_xscale("log")
        plot.minorticks_off()
        ticks = [tick for tick in _TICKS if low <= tick <= high]
        plot.set_xticks(ticks, [f"{100 * tick:g} %" for tick in ticks])
        heights = [0, 0.25, 0.5, 0.75, 1]
        plot.set_yticks(heights, [f"{100 * height:g} %" for height in heights])
        plot.set(xlim=(low, high), ylim=(0, 1), ylabel="images decided alone")
        sure = f"{100 * any_one.confidence:g} % confidence"
        plot.set_xlabel(f"of these at most so many wrong, with {sure}")
        add_legend(plot, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3)
        title(axes, f"Decided alone, chosen on {any_one.count:,} {any_one.part} images", ax)
    return axes


def decision_span(curve: DecisionCurve) -> tuple[float, float]:
    """Return from which error to which a curve says something: from the last that nobody can promise.

    Raises:
        GuaranteeError: None of its errors can be promised.
    """
    errors = [*curve]
    first = next(
        (i for i, found in enumerate(curve.values()) if isinstance(found, Guarantee)), None
    )
    if first is None:
        raise GuaranteeError(str([*curve.values()][-1]))
    return errors[max(first - 1, 0)], errors[-1]
