"""What a learning curve found: how good a folder is with fewer images, and what more of them promise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, final

from tlkit.backbones.adapter import BackboneAdapter
from tlkit.choosing.candidates import name_of
from tlkit.core.spec import Json, Spec, check_float, check_int
from tlkit.errors import SettingError, printable
from tlkit.evaluation.rate import Rate

WORTH: Final = 0.05
"""The share of the log-loss that twice as many images must promise to take away, to be worth collecting."""

_NAMED: Final = 3  # doubtful labels that the sentence names


@final
@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class CurvePoint(Spec):
    """How good heads are that learned from so many images, judged on images that they did not learn from.

    Attributes:
        count: Training images.
        log_loss: Mean over images and draws, in nats.
        low: Lower end of its 95 % interval, over images.
        high: Upper end of it.
        draw_error: Its standard error as far as it comes from which images were drawn.
        accuracy: Share called right at probability 0.5, with Wilson's interval for that many images.
    """

    count: int
    log_loss: float
    low: float
    high: float
    draw_error: float
    accuracy: Rate

    def __post_init__(self) -> None:
        check_int("count", self.count, at_least=1)
        for name in ("log_loss", "low", "high", "draw_error"):
            check_float(name, getattr(self, name), at_least=0)

    def to_config(self) -> dict[str, Json]:
        """Return everything as plain JSON values, the accuracy with its interval."""
        return super(CurvePoint, self).to_config() | {"accuracy": self.accuracy.to_config()}


@final
@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Forecast(Spec):
    """What more images of the same kind would do, on images like those that are there.

    Attributes:
        times: How many times as many images as there are.
        count: Training images then.
        log_loss: The middle of what the curve allows.
        low: Lower end of its 90 % band.
        high: Upper end of it.
    """

    times: float
    count: int
    log_loss: float
    low: float
    high: float

    def __post_init__(self) -> None:
        check_float("times", self.times, above=1)
        check_int("count", self.count, at_least=1)
        for name in ("log_loss", "low", "high"):
            check_float(name, getattr(self, name), at_least=0)


@final
@dataclass(frozen=True, slots=True, repr=False)
class LearningCurve(Spec):
    """Log-loss and accuracy against the number of training images. `print` it for what to do.

    `learning_curve` returns it.

    Attributes:
        backbone: The network that features come from.
        points: From few training images to all of them, ascending.
        forecasts: For twice and four times as many images.
        doubtful: Names of images whose labels are likely wrong, the most doubtful first.
    """

    backbone: BackboneAdapter
    points: tuple[CurvePoint, ...]
    forecasts: tuple[Forecast, ...]
    doubtful: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        counts = [point.count for point in self.points]
        if len(counts) < 3 or counts != sorted({*counts}):
            raise SettingError(
                f"a learning curve needs three points of ascending counts, got {counts}"
            )
        if not self.forecasts:
            raise SettingError("a learning curve needs a forecast")

    @property
    def is_worth_more(self) -> bool:
        """Whether twice as many images promise to take at least a twentieth off the log-loss."""
        return self.forecasts[0].log_loss <= (1 - WORTH) * self.points[-1].log_loss

    @property
    def sentence(self) -> str:
        """What to do next, in a sentence."""
        now, then = self.points[-1].log_loss, self.forecasts[0]
        change = f"log-loss {now:.3f} → about {then.log_loss:.3f} ({then.low:.3f}–{then.high:.3f})"
        if self.is_worth_more:
            return f"twice as many images: {change}"
        labels = "the doubtful labels"
        if self.doubtful:
            named = ", ".join(printable(name) for name in self.doubtful[:_NAMED])
            more = len(self.doubtful) - _NAMED
            labels += f" ({named}{f' and {more} more' if more > 0 else ''})"
        return (
            f"more images of this kind will hardly help (twice as many: {change}); look at {labels} or a "
            "larger input first"
        )

    def __str__(self) -> str:
        lines = [
            f"{name_of(self.backbone)}: heads that learned from fewer images, judged on the others"
        ]
        lines.append("  images  log-loss (95 % CI)     accuracy (95 % CI)")
        for one in self.points:
            loss = f"{one.log_loss:.3f} ({one.low:.3f}–{one.high:.3f})"
            lines.append(f"  {one.count:>6,}  {loss:<21}  {one.accuracy.brief()}")
        for then in self.forecasts:
            loss = f"{then.log_loss:.3f} ({then.low:.3f}–{then.high:.3f})"
            lines.append(f"  {then.count:>6,}  {loss:<21}  forecast, 90 % band")
        return "\n".join([*lines, self.sentence])
