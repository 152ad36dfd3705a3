"""What is trained, from where, how long and how fast.

A `FineTuneSchedule` is a head and then phases. The head is trained on the frozen backbone; each phase then
trains the head and the backbone together, from one place in the backbone up to its end. Nothing here
trains: schedules are values that the rest of the library follows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from itertools import pairwise
from numbers import Integral, Real
from typing import Any, Literal, Self, TypeAlias, final

from tlkit.core.spec import Json, Spec, check_choice, check_float, check_int
from tlkit.errors import SettingError

ClassWeight: TypeAlias = Literal["balanced"] | tuple[float, float] | None
Place: TypeAlias = int | float | str


@final
@dataclass(frozen=True, slots=True, repr=False)
class ExactHead(Spec):
    """The head as L2-regularized logistic regression, solved to convergence.

    Args:
        l2: Regularization strength, per unit of mean log-loss, above 0; None chooses it by
            cross-validation inside the training split.

    Raises:
        SettingError: `l2` is outside its range.

    Examples:
        >>> print(ExactHead())
        exact head
    """

    _: KW_ONLY
    l2: float | None = None

    def __post_init__(self) -> None:
        if self.l2 is not None:
            object.__setattr__(self, "l2", check_float("l2", self.l2, above=0))

    @property
    def view_count(self) -> int:
        """How many views of each image the head needs: the image itself alone."""
        return 1

    def __str__(self) -> str:
        return "exact head" if self.l2 is None else f"exact head with l2 {_short(self.l2)}"


@final
@dataclass(frozen=True, slots=True, repr=False)
class GradientHead(Spec):
    """The head trained by Adam over epochs, as tutorials do; it has learning curves to show.

    Args:
        epochs: How often every training image is seen, at least 1.
        learning_rate: Step size of Adam, above 0. The default is Keras's.
        dropout_fraction: Share of the features hidden at each step, at least 0 and below 1.
        views: Variants kept of each training image, at least 1, the image itself included. Each
            epoch uses one of them, so no more than `epochs` are made.

    Raises:
        SettingError: A value is outside its range.

    Examples:
        >>> print(GradientHead(epochs=5, dropout_fraction=0.2))
        gradient head, 5 epochs, Adam 1e-3, dropout 20 %
    """

    _: KW_ONLY
    epochs: int = 5
    learning_rate: float = 1e-3
    dropout_fraction: float = 0.0
    views: int = 4

    def __post_init__(self) -> None:
        for name in ("epochs", "views"):
            object.__setattr__(self, name, check_int(name, getattr(self, name), at_least=1))
        rate = check_float("learning_rate", self.learning_rate, above=0)
        dropout = check_float("dropout_fraction", self.dropout_fraction, at_least=0, below=1)
        object.__setattr__(self, "learning_rate", rate)
        object.__setattr__(self, "dropout_fraction", dropout)

    @property
    def view_count(self) -> int:
        """How many views of each image are used: one an epoch at most."""
        return min(self.views, self.epochs)

    def __str__(self) -> str:
        dropout = f", dropout {_percent(self.dropout_fraction)}" if self.dropout_fraction else ""
        epochs = _count(self.epochs, "epoch")
        return f"gradient head, {epochs}, Adam {_short(self.learning_rate)}{dropout}"


@final
@dataclass(frozen=True, slots=True, repr=False)
class Phase(Spec):
    """One stage of fine-tuning: trains from this layer of the backbone to the output.

    Args:
        unfreeze_from: Where training starts: number of a layer of the backbone, at least 0, or its name.
        unfreeze_fraction: Instead of `unfreeze_from`: the last part of the backbone, as a fraction of its
            layers, above 0 and at most 1 (all of it).
        epochs: How often every training image is seen, at least 1; with `patience`, at most.
        learning_rate: Step size of AdamW at the start, above 0. The default was measured: the solved head is
            good already, and larger steps from it did harm on images that chose nothing.
        learning_rate_decay: `"cosine"` lowers it to 0 over the epochs, `"none"` leaves it as it is.
        weight_decay: Of AdamW, at least 0. The default is Keras's; 0 makes it plain Adam.
        patience: Stop after this many epochs without a better validation log-loss, at least 1; None
            always trains all epochs.
        views: Variants kept of each training image, at least 1, the image itself included. Each
            epoch uses one of them, so no more than `epochs` are made.

    Raises:
        SettingError: A value is outside its range, or not exactly one of `unfreeze_from` and
            `unfreeze_fraction` is given.

    Examples:
        >>> print(Phase(unfreeze_fraction=1 / 3))
        last 33 % of the backbone, up to 10 epochs, AdamW 1e-5 with cosine decay
        >>> print(Phase(unfreeze_from="block_13_expand", epochs=5, patience=None, weight_decay=0))
        backbone from 'block_13_expand', 5 epochs, Adam 1e-5 with cosine decay
    """

    _: KW_ONLY
    unfreeze_from: int | str | None = None
    unfreeze_fraction: float | None = None
    epochs: int = 10
    learning_rate: float = 1e-5
    learning_rate_decay: Literal["cosine", "none"] = "cosine"
    weight_decay: float = 0.004
    patience: int | None = 3
    views: int = 4

    def __post_init__(self) -> None:
        if (self.unfreeze_from is None) == (self.unfreeze_fraction is None):
            raise SettingError(
                "a Phase needs exactly one of `unfreeze_from` (a layer's number or name) and "
                f"`unfreeze_fraction` (0 to 1), got {self.unfreeze_from!r} and "
                f"{self.unfreeze_fraction!r}"
            )
        if self.unfreeze_fraction is not None:
            fraction = check_float("unfreeze_fraction", self.unfreeze_fraction, above=0, at_most=1)
            object.__setattr__(self, "unfreeze_fraction", fraction)
        elif self.unfreeze_from == "":
            raise SettingError("`unfreeze_from` must be a layer's number or name, got ''")
        elif self.unfreeze_from is not None and not isinstance(self.unfreeze_from, str):
            start = check_int("unfreeze_from", self.unfreeze_from, at_least=0)
            object.__setattr__(self, "unfreeze_from", start)
        for name in ("epochs", "patience", "views"):
            count = getattr(self, name)
            if name != "patience" or count is not None:
                object.__setattr__(self, name, check_int(name, count, at_least=1))
        rate = check_float("learning_rate", self.learning_rate, above=0)
        check_choice("learning_rate_decay", self.learning_rate_decay, ("cosine", "none"))
        decay = check_float("weight_decay", self.weight_decay, at_least=0)
        object.__setattr__(self, "learning_rate", rate)
        object.__setattr__(self, "weight_decay", decay)

    @property
    def view_count(self) -> int:
        """How many views of each image are used: one an epoch at most."""
        return min(self.views, self.epochs)

    def __str__(self) -> str:
        if self.unfreeze_fraction == 1:
            place = "the whole backbone"
        elif self.unfreeze_fraction is not None:
            place = f"last {_percent(self.unfreeze_fraction)} of the backbone"
        elif isinstance(self.unfreeze_from, str):
            place = f"backbone from {self.unfreeze_from!r}"
        else:
            place = f"backbone from layer {self.unfreeze_from}"
        epochs = f"{'up to ' if self.patience else ''}{_count(self.epochs, 'epoch')}"
        optimizer = f"{'AdamW' if self.weight_decay else 'Adam'} {_short(self.learning_rate)}"
        decay = " with cosine decay" if self.learning_rate_decay == "cosine" else ""
        return f"{place}, {epochs}, {optimizer}{decay}"


Head: TypeAlias = ExactHead | GradientHead
_HEADS: dict[str, type[ExactHead] | type[GradientHead]] = {
    "exact": ExactHead,
    "gradient": GradientHead,
}


@final
@dataclass(frozen=True, slots=True, repr=False)
class FineTuneSchedule(Spec):
    """A head on the frozen backbone, then phases that train ever more of the backbone with it.

    Args:
        head: `ExactHead()` or `GradientHead(...)`.
        phases: What follows, in order; none leaves the backbone as it is. No phase may start above the
            one before it (compared where both give a fraction, or both a number).
        class_weight: How much an example counts: None for one each, `"balanced"` for the same total in
            both classes, or two numbers above 0: of the negative and of the positive class.
        batch_size: Images a step, at least 1. The default is Keras's.

    Raises:
        SettingError: A value is outside its range.

    Examples:
        >>> FineTuneSchedule(phases=[Phase(unfreeze_from=120, epochs=5)])
        FineTuneSchedule(phases=(Phase(unfreeze_from=120, epochs=5),))
        >>> print(FineTuneSchedule.gradual(0.2, 0.4))
        exact head
        1. last 20 % of the backbone, up to 5 epochs, AdamW 1e-5 with cosine decay
        2. last 40 % of the backbone, up to 5 epochs, AdamW 1e-5 with cosine decay
    """

    _: KW_ONLY
    head: Head = ExactHead()
    phases: tuple[Phase, ...] = ()
    class_weight: ClassWeight = None
    batch_size: int = 32

    def __post_init__(self) -> None:
        head: object = self.head
        if not isinstance(head, ExactHead | GradientHead):
            raise SettingError(f"`head` must be an ExactHead or a GradientHead, got {head!r}")
        object.__setattr__(self, "phases", _as_phases(self.phases))
        object.__setattr__(self, "class_weight", _as_class_weight(self.class_weight))
        size = check_int("batch_size", self.batch_size, at_least=1)
        object.__setattr__(self, "batch_size", size)

    @classmethod
    def head_only(cls) -> Self:
        """Solve the head and leave the backbone as it is: seconds, and hard to beat on few images."""
        return cls()

    @classmethod
    def standard(cls) -> Self:
        """Solve the head on the stages of the backbone: what `transfer_classifier` does by default.

        No phase of fine-tuning pays within half of the time that the frozen pass takes itself;
        `thorough()` is for those who have minutes.

        Examples:
            >>> print(FineTuneSchedule.standard())
            exact head
        """
        return cls()

    @classmethod
    def thorough(cls) -> Self:
        """Solve the head, then fine-tune the last two thirds of the backbone, and keep that if it is better.

        Minutes on two cores. Better means: the log-loss on images that it did not learn from is lower by more
        than one standard error of the paired difference. Otherwise the result is that of `standard()`, which
        learns from all images; on folders of some hundred images that is what mostly happens.

        Examples:
            >>> print(FineTuneSchedule.thorough())
            exact head
            1. last 67 % of the backbone, up to 10 epochs, AdamW 3e-4 with cosine decay
        """
        return cls(phases=(Phase(unfreeze_fraction=2 / 3, learning_rate=3e-4),))

    @classmethod
    def course(cls, *, fine_tune_at: int | str = 120) -> Self:
        """Follow the course assignment "Transfer Learning with MobileNetV2".

        Five epochs of the head with dropout 0.2, then five from layer 120 at a tenth of the rate, with
        a fresh view of every image in each epoch.

        Args:
            fine_tune_at: Number or name of the first layer that fine-tuning trains.

        Examples:
            >>> print(FineTuneSchedule.course())
            gradient head, 5 epochs, Adam 1e-3, dropout 20 %
            1. backbone from layer 120, 5 epochs, Adam 1e-4
        """
        phase = Phase(
            unfreeze_from=fine_tune_at,
            epochs=5,
            learning_rate=1e-4,
            learning_rate_decay="none",
            weight_decay=0.0,
            patience=None,
            views=5,
        )
        return cls(head=GradientHead(epochs=5, dropout_fraction=0.2, views=5), phases=(phase,))

    @classmethod
    def gradual(
        cls,
        *places: Place,
        head: Head | None = None,
        epochs: int = 5,
        learning_rate: float = 1e-5,
        patience: int | None = 3,
        views: int = 4,
    ) -> Self:
        """Unfreeze step by step: one phase for each place, each from further down.

        Args:
            *places: Where the phases start: fractions (`0.2` is the last fifth of the backbone), layer
                numbers (`120`) or layer names, each below the one before. Without any: 0.2, 0.4 and
                0.6, a guess.
            head: The head, by default the exact one.
            epochs: Of each phase, see `Phase`.
            learning_rate: Of each phase, see `Phase`.
            patience: Of each phase, see `Phase`.
            views: Of each phase, see `Phase`.

        Raises:
            SettingError: A value is outside its range, or a place is not below the one before.

        Examples:
            >>> [phase.unfreeze_from for phase in FineTuneSchedule.gradual(140, 120, 100).phases]
            [140, 120, 100]
        """
        places = tuple(float(place) if _is_fraction(place) else place for place in places)
        for place in places:
            if places.count(place) > 1:
                raise SettingError(f"each place must be below the one before, got {place!r} twice")
        phases = tuple(
            Phase(
                unfreeze_from=None if isinstance(place, float) else place,
                unfreeze_fraction=place if isinstance(place, float) else None,
                epochs=epochs,
                learning_rate=learning_rate,
                patience=patience,
                views=views,
            )
            for place in places or (0.2, 0.4, 0.6)
        )
        return cls(head=ExactHead() if head is None else head, phases=phases)

    @property
    def view_count(self) -> int:
        """How many views of each training image are needed, the image itself included."""
        return max(part.view_count for part in (self.head, *self.phases))

    @property
    def uses_views(self) -> bool:
        """Whether anything but the images themselves is trained on."""
        return self.view_count > 1

    def __str__(self) -> str:
        phases = (f"\n{number}. {phase}" for number, phase in enumerate(self.phases, 1))
        return f"{self.head}{''.join(phases)}"

    def to_config(self) -> dict[str, Json]:
        """Return the settings as plain JSON values; `"kind"` tells the two heads apart."""
        kind = next(kind for kind, head in _HEADS.items() if isinstance(self.head, head))
        return Spec.to_config(self) | {"head": {"kind": kind, **self.head.to_config()}}

    @classmethod
    def _from_json_value(cls, name: str, value: Any) -> Any:
        if name == "head":
            settings = dict(_as_mapping(name, value))
            kind = check_choice("kind of `head`", settings.pop("kind", None), list(_HEADS))
            return _HEADS[kind].from_config(settings)
        if name == "phases" and isinstance(value, list):
            return tuple(Phase.from_config(_as_mapping(name, phase)) for phase in value)
        return tuple(value) if isinstance(value, list) else value


def _as_phases(phases: object) -> tuple[Phase, ...]:
    if not isinstance(phases, tuple | list) or not all(isinstance(one, Phase) for one in phases):
        raise SettingError(f"`phases` must be a tuple of Phase(...), got {phases!r}")
    for before, after in pairwise(phases):
        if _starts_above(after, before):
            raise SettingError(
                f"no phase may start above the one before it: ({after}) follows ({before}). "
                "Order them from the top of the backbone downwards."
            )
    return tuple(phases)


def _starts_above(phase: Phase, other: Phase) -> bool:
    """Whether it surely does; a name's place, or a fraction's beside a number's, is not known here."""
    if phase.unfreeze_fraction is not None and other.unfreeze_fraction is not None:
        return phase.unfreeze_fraction < other.unfreeze_fraction
    if isinstance(phase.unfreeze_from, int) and isinstance(other.unfreeze_from, int):
        return phase.unfreeze_from > other.unfreeze_from
    return False


def _is_fraction(place: object) -> bool:
    """Whether it is a number with a point, of which NumPy has some that are no float."""
    return isinstance(place, Real) and not isinstance(place, Integral)


def _as_class_weight(value: object) -> ClassWeight:
    if value is None:
        return None
    if isinstance(value, str) and value == "balanced":
        return "balanced"
    if isinstance(value, tuple | list) and len(value) == 2:
        negative, positive = (check_float("class_weight", weight, above=0) for weight in value)
        return negative, positive
    raise SettingError(
        '`class_weight` must be None, "balanced" or a tuple (negative, positive) of two numbers above 0 '
        f"(for {{0: a, 1: b}}, as in Keras, give (a, b)), got {value!r}"
    )


def _as_mapping(name: str, value: object) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise SettingError(f"`{name}` must hold JSON objects, got {value!r}")
    return value


def _short(number: float) -> str:
    """Write 0.0001 as 1e-4."""
    if number >= 0.01:
        return f"{number:g}"
    digits, exponent = f"{number:e}".split("e")
    return f"{float(digits):g}e{int(exponent)}"


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.0f} %" if fraction >= 0.01 else f"{100 * fraction:.2g} %"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
