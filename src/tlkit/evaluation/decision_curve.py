"""What every guarantee would buy: how many images are decided alone, for each error that may be allowed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, TypeAlias

import numpy.typing as npt

from tlkit.errors import GuaranteeError
from tlkit.evaluation.decisions import Guarantee, choose_guarantee

DecisionCurve: TypeAlias = dict[float, Guarantee | str]
"""For each error, ascending: the guarantee of it, or why there can be none."""

ERRORS: Final = (
    *(step / 1000 for step in range(1, 10)),
    *(step / 400 for step in range(4, 12)),
    *(step / 200 for step in range(6, 10)),
    *(step / 100 for step in range(5, 10)),
    0.1, 0.12, 0.15, 0.2, 0.25, 0.3, 0.4,
)  # fmt: skip
"""Shares of mistakes worth a look: 0.1 % to 40 %, finer where they are small."""

_FAR: Final = 0.05  # an error up to which the curve goes, also where all is decided before


def decision_curve(
    labels: npt.ArrayLike,
    logits: npt.ArrayLike,
    *,
    errors: Sequence[float] = ERRORS,
    confidence: float = 0.9,
    threshold: float = 0.5,
    groups: Sequence[Any] | npt.NDArray[Any] | None = None,
    part: str = "out-of-fold",
) -> DecisionCurve:
    """Choose a guarantee for each of several errors, by `choose_guarantee`.

    Each of them holds with the stated confidence where it was settled before a look at the curve. Whoever
    takes the one that looks best has chosen once more, and should expect slightly more mistakes.

    Args:
        labels: As in `choose_guarantee`.
        logits: As in `choose_guarantee`.
        errors: Largest shares of the decided images that may be wrong, above 0 and below 1, ascending.
        confidence: As in `choose_guarantee`.
        threshold: As in `choose_guarantee`.
        groups: As in `choose_guarantee`.
        part: As in `choose_guarantee`.

    Returns:
        For each error the guarantee, or a sentence that says why there can be none: too few images, or too
        many sure mistakes. It ends with the first error, from 5 % on, with which every image is decided.

    Raises:
        SettingError: An argument is outside its limits.

    Examples:
        >>> curve = decision_curve([0, 1] * 100, [-4, 4] * 100, errors=(0.01, 0.02))
        >>> print(curve[0.02])
        decides 100 % (98–100 %) of images alone; the other 0 % go to a person
          promised with 90 % confidence: of the images it decides at most 2 % are wrong
          nothing is unsure; chosen on 200 out-of-fold images: 0 of 200 decided were wrong
        >>> print(curve[0.01][:89])
        at most 1 % of mistakes, with 90 % confidence, takes at least 230 out-of-fold images with
    """
    curve: DecisionCurve = {}
    for error in errors:
        try:
            found = choose_guarantee(
                labels,
                logits,
                error=error,
                confidence=confidence,
                threshold=threshold,
                groups=groups,
                part=part,
            )
        except GuaranteeError as refused:
            curve[error] = str(refused)
            continue
        curve[error] = found
        if error >= _FAR and found.decided_count == found.count:
            break
    return curve
