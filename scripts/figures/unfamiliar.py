"""What a promise about new images is worth: simulated draws from a world in which all is known."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from figures.drawing import Numbers, canvas
from tlkit.errors import GuaranteeError
from tlkit.evaluation.decisions import choose_guarantee
from tlkit.evaluation.familiarity import Familiarity
from tlkit.evaluation.log_loss import sigmoid
from tlkit.plot.figure import Grid
from tlkit.plot.style import Palette

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

DRAWS = 300
IMAGES = 1000  # of a draw
WORLD = 40_000  # images that draws are taken from
ERROR = 0.02  # allowed
CONFIDENCE = 0.9
BINS = 24  # of the shares of mistakes, up to twice what is allowed
OBJECTS = 60
VIEWS = 5  # of each object
SPREAD = 0.9  # of these, where objects have 1
FOLDERS = 40  # of objects
LEVELS = tuple(level / 50 for level in range(1, 11))


def measure() -> Numbers:
    """Choose thresholds in two ways and reference features in two, again and again."""
    return {
        "draws": DRAWS,
        "images": IMAGES,
        "promised": _errors(_promised),
        "observed": _errors(_observed),
        "levels": list(LEVELS),
        "groups": _flagged(grouped=True),
        "no groups": _flagged(grouped=False),
    }


def _errors(choose: Callable[[Ints, Floats], float]) -> dict[str, float | list[int]]:
    """Count true shares of mistakes among the decided, in as many bins, and those above what is allowed."""
    random = np.random.default_rng(3)
    logits = random.normal(0.5, 8, WORLD)
    labels = (random.random(WORLD) < sigmoid(logits)).astype(np.int64)
    labels ^= random.random(WORLD) < ERROR / 4  # wrong labels
    wrong, found, refused = (logits >= 0) != (labels == 1), [], 0
    for _ in range(DRAWS):
        drawn = random.integers(WORLD, size=IMAGES)
        try:
            decided = np.abs(logits) >= choose(labels[drawn], logits[drawn])
        except GuaranteeError:
            refused += 1
            continue
        found.append(float(wrong[decided].mean()))
    counts, _ = np.histogram(np.minimum(found, 2 * ERROR - 1e-9), BINS, (0, 2 * ERROR))
    return {
        "broken": round(float(np.sum(np.array(found) > ERROR)) / DRAWS, 2),
        "refused": round(refused / DRAWS, 2),
        "counts": counts.tolist(),
    }


def _promised(labels: Ints, logits: Floats) -> float:
    """Return how sure a guarantee wants it."""
    return choose_guarantee(labels, logits, error=ERROR, confidence=CONFIDENCE).upper_logit


def _observed(labels: Ints, logits: Floats) -> float:
    """Return the smallest reach with no more mistakes at hand than are allowed of new images."""
    order = np.argsort(-np.abs(logits))
    wrong = ((logits >= 0) != (labels == 1))[order]
    shares = np.cumsum(wrong) / np.arange(1, wrong.size + 1)
    return float(np.abs(logits)[order][np.flatnonzero(shares <= ERROR)[-1]])


def _flagged(*, grouped: bool) -> list[float]:
    """Return the share of images of new objects whose familiarity is at most each level."""
    random, found = np.random.default_rng(4), []
    for _ in range(FOLDERS):
        centres = random.normal(0, 1, (2 * OBJECTS, 16)) + np.eye(16)[0]
        features = np.repeat(centres, VIEWS, axis=0)
        features += random.normal(0, SPREAD, features.shape)
        known, new = features[: OBJECTS * VIEWS], features[OBJECTS * VIEWS :]
        groups = np.repeat(np.arange(OBJECTS), VIEWS) if grouped else None
        found.append(Familiarity.fit(known, groups=groups).p_values(new))
    ranks = np.concatenate(found)
    return [round(float(np.mean(ranks <= level + 1e-9)), 2) for level in LEVELS]


def draw(numbers: Numbers, colours: Palette) -> Grid:
    """Draw how large the true share of mistakes is, and how many new images are called unfamiliar."""
    axes = canvas(2, 1, height=6.2)
    errors, ranks = axes[:, 0]
    ends = 100 * np.linspace(0, 2 * ERROR, BINS + 1)
    for name, colour, words in (
        ("observed", colours.second, "no more mistakes than that at hand"),
        ("promised", colours.first, f"promised with {100 * CONFIDENCE:g} % confidence"),
    ):
        shares = 100 * np.array(numbers[name]["counts"]) / numbers["draws"]
        errors.stairs(shares, ends, fill=True, color=colour, alpha=0.55, label=words)
    errors.axvline(100 * ERROR, 0, 0.7, color=colours.positive, linewidth=1.6, label="allowed")
    errors.set(
        xlim=(0, 200 * ERROR), ylim=(0, 26), xlabel="mistakes among all that is decided alone (%)",
        ylabel="of the draws (%)", title=f"Thresholds chosen on {numbers['images']:,} images",
    )  # fmt: skip
    errors.legend(loc="upper right")
    levels = [100 * level for level in numbers["levels"]]
    ranks.plot(levels, levels, color=colours.faint, linestyle=":", label="as it should be")
    for name, colour, marker, words in (
        ("no groups", colours.positive, "s", f"{VIEWS} images of an object count as {VIEWS}"),
        ("groups", colours.first, "o", "they count as one"),
    ):
        shares = 100 * np.array(numbers[name])
        ranks.plot(levels, shares, color=colour, marker=marker, markersize=4, label=words)
    ranks.set(
        xlim=(0, None), ylim=(0, 79), xlabel="level of familiarity (%)",
        ylabel="new images called\nunfamiliar (%)", title="Images of new objects, as ordinary as the old",
    )  # fmt: skip
    ranks.legend(loc="upper left")
    return axes


def statements(numbers: Numbers) -> list[str]:
    """List what the page must state."""
    level = numbers["levels"].index(0.1)
    return [
        f"{numbers['draws']} draws of {numbers['images']:,} images",
        f"in {100 * numbers['observed']['broken']:.0f} % of them",
        f"in {100 * numbers['promised']['broken']:.0f} %",
        f"refused in {100 * numbers['promised']['refused']:.0f} %",
        f"{100 * numbers['no groups'][level]:.0f} % of the images of new objects",
        f"with groups {100 * numbers['groups'][level]:.0f} %",
    ]
