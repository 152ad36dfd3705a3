"""How far an export is from its classifier, and how far it may be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self, TypeAlias, final

import numpy as np
import numpy.typing as npt

from tlkit.core.spec import Spec
from tlkit.errors import ArtifactError
from tlkit.evaluation.log_loss import sigmoid
from tlkit.evaluation.metrics import log_losses

Floats: TypeAlias = npt.NDArray[np.float64]

EXACT: Final = 1e-4
"""How far a probability of a float32 export may be from the classifier's."""

TOLERANCE: Final = 0.05
"""How much worse an export of another precision may be: share of images, and nats of log-loss. On 65
photographs int8 lost one at most (0.015), and no log-loss: MobileNetV2 0.35 at 160 pixels, 1.0 at 224."""

STEP: Final = 1 / 256
"""Between two probabilities of an int8 export. They are 0 to 255 / 256."""


@final
@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Comparison(Spec):
    """What an export says about images, beside what the classifier says.

    Attributes:
        count: How many images were compared.
        largest_difference: Between two probabilities of one image, 0-1.
        mean_difference: The same on average.
        relabelled_count: How many images got the other label from the export.
        accuracy_before: Share of images that the classifier labels right; None without labels.
        accuracy_after: The same of the export.
        log_loss_before: Of the classifier, in nats; None without labels.
        log_loss_after: Of the export. An int8 probability of 0 counts as half a step, 1 / 512, for it means
            "less than that".
    """

    count: int
    largest_difference: float
    mean_difference: float
    relabelled_count: int
    accuracy_before: float | None = None
    accuracy_after: float | None = None
    log_loss_before: float | None = None
    log_loss_after: float | None = None

    @classmethod
    def of(
        cls,
        before: Floats,
        after: Floats,
        labels: npt.NDArray[np.int64] | None,
        *,
        threshold: float,
        precision: str,
    ) -> Self:
        """Compare what was said about the same images.

        Args:
            before: Probabilities that the classifier gives, `[N]`, 0-1.
            after: Probabilities that the export gives, `[N]`.
            labels: 1 for the positive class, 0 for the other, `[N]`; None where nobody knows.
            threshold: From this probability on an image is called positive, 0-1.
            precision: Of the export.

        Raises:
            ArtifactError: The export gives something that is no probability.

        Examples:
            >>> said = np.array([0.9, 0.2, 0.6]), np.array([0.9, 0.1, 0.4])
            >>> print(Comparison.of(*said, np.array([1, 0, 0]), threshold=0.5, precision="float16"))
            3 images compared: probabilities differ by up to 0.2 (mean 0.1); 1 got the other label
            accuracy 0.667 → 1.000, log-loss 0.415 → 0.241
        """
        if not ((after >= 0) & (after <= 1)).all():  # written so that NaN is refused too
            raise ArtifactError(
                "the export gives numbers that are no probabilities, so nothing was written"
            )
        differences = np.abs(after - before)
        said_before, said_after = before >= threshold, after >= threshold
        known: dict[str, float] = {}
        if labels is not None:
            least = STEP / 2 if precision == "int8" else 0.0
            bounded = np.clip(after, least, 1 - least)
            known = {
                "accuracy_before": float((said_before == labels).mean()),
                "accuracy_after": float((said_after == labels).mean()),
                "log_loss_before": float(log_losses(labels, before).mean()),
                "log_loss_after": float(log_losses(labels, bounded).mean()),
            }
        return cls(
            count=len(before),
            largest_difference=float(differences.max()),
            mean_difference=float(differences.mean()),
            relabelled_count=int((said_before != said_after).sum()),
            **known,
        )

    def __str__(self) -> str:
        images = "1 image" if self.count == 1 else f"{self.count} images"
        text = (
            f"{images} compared: probabilities differ by up to {self.largest_difference:.2g} "
            f"(mean {self.mean_difference:.2g}); {self.relabelled_count or 'none'} got the other label"
        )
        if self.accuracy_before is None:
            return text
        return (
            f"{text}\naccuracy {self.accuracy_before:.3f} → {self.accuracy_after:.3f}, "
            f"log-loss {self.log_loss_before:.3f} → {self.log_loss_after:.3f}"
        )

    def check(self, precision: str, tolerance: float) -> None:
        """Raise if the export is too far from the classifier.

        Args:
            precision: Of the export; float32 must be equal to `EXACT` whatever the tolerance.
            tolerance: As in `export`.

        Raises:
            ArtifactError: It is; says by how much.
        """
        if precision == "float32":
            if self.largest_difference > EXACT:
                raise ArtifactError(
                    f"a float32 export must give the classifier's probabilities to {EXACT:g}, but on "
                    f"{self.count} images this one differs by up to {self.largest_difference:.2g}: it is "
                    "of no use, so nothing was written"
                )
            return
        rise, lost = self.mean_difference, self.relabelled_count
        if self.accuracy_before is not None and self.accuracy_after is not None:
            rise = (self.log_loss_after or 0) - (self.log_loss_before or 0)
            lost = round((self.accuracy_before - self.accuracy_after) * self.count)
        if rise > tolerance or lost > max(1, tolerance * self.count):  # one image proves nothing
            found = str(self).replace("\n", "; ")
            raise ArtifactError(
                f"this {precision} export is worse than the classifier by more than {tolerance:g} "
                f"(`tolerance`), so nothing was written: {found}. Choose a finer precision, or allow more"
            )


def check_logits(logits: Floats, probabilities: Floats, precision: str) -> None:
    """Raise unless both outputs of an export mean the same.

    Args:
        logits: `[N]`.
        probabilities: Of the same images, `[N]`, 0-1.
        precision: Of the export; int8 rounds its probabilities to a `STEP`.

    Raises:
        ArtifactError: They do not.
    """
    apart = np.abs(sigmoid(logits) - probabilities).max()
    if not apart <= (STEP if precision == "int8" else EXACT):  # written so that NaN is refused too
        raise ArtifactError(
            f"the export's logits and probabilities differ by up to {apart:.2g}, so nothing was written"
        )
