"""The guarantee of a classifier, chosen on its out-of-fold logits: one, or all that could be given."""

from __future__ import annotations

from tlkit.classifier.card import ModelCard
from tlkit.classifier.exported import lacking_metrics
from tlkit.errors import SettingError
from tlkit.evaluation.decision_counts import check_no_decision
from tlkit.evaluation.decision_curve import ERRORS, DecisionCurve, decision_curve
from tlkit.evaluation.decisions import Guarantee, choose_guarantee
from tlkit.evaluation.scores import OUT_OF_FOLD, Scores


def guarantee_for(
    card: ModelCard,
    *,
    error: float | None = None,
    confidence: float = 0.9,
    miss: float | None = None,
    false_alarm: float | None = None,
) -> Guarantee:
    """Choose a guarantee, see `TransferClassifier.with_guarantee`.

    Raises:
        ArtifactError: The card is of a folder that was exported before such folders held scores.
        GuaranteeError: There are too few images or too many sure mistakes for such a promise.
        SettingError: There are no out-of-fold logits, a class is called as a decision is, or an argument is
            outside its limits.
    """
    known = _unseen(card, of_classes=(miss, false_alarm) != (None, None))
    return choose_guarantee(
        known.labels,
        known.logits,
        error=error,
        confidence=confidence,
        miss=miss,
        false_alarm=false_alarm,
        threshold=card.threshold,
        groups=known.groups or None,
    )


def guarantees_for(card: ModelCard, *, confidence: float = 0.9) -> DecisionCurve:
    """Choose the guarantee of every error that is worth a look, and of the one that the card has.

    Args:
        card: Of the classifier.
        confidence: In how many draws of images, at least, each of them must hold.

    Raises:
        ArtifactError: As in `guarantee_for`.
        SettingError: As in `guarantee_for`.
    """
    known = _unseen(card)
    own = card.guarantee.error if card.guarantee else None
    return decision_curve(
        known.labels,
        known.logits,
        errors=sorted({*ERRORS, *([] if own is None else [own])}),
        confidence=confidence,
        threshold=card.threshold,
        groups=known.groups or None,
    )


def _unseen(card: ModelCard, *, of_classes: bool = False) -> Scores:
    """Return the scores that may prove a promise, of classes or of the decided."""
    check_no_decision(card.class_names)
    known, choice = card.out_of_fold, card.threshold_choice
    if known is None:
        if card.evaluation is None:
            raise lacking_metrics()
        raise SettingError(
            "a guarantee needs out-of-fold logits, of classifiers that have not learned from the image, "
            "and this one has none: train it with `folds=5` (--folds 5)"
        )
    if choice is not None and choice.part == OUT_OF_FOLD and not of_classes:
        raise SettingError(
            "the threshold was chosen on the images that would have to prove the guarantee: give it as a "
            f"number first, as with_threshold({card.threshold:.3g}) does, or promise `miss` and "
            "`false_alarm` instead of `error`"
        )
    return known
