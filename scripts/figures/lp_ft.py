"""Fine-tuning from the solved head, and from a random one."""

from __future__ import annotations

from typing import Any

import numpy as np

from figures.drawing import Numbers, canvas
from figures.sources import Features, Floats, Seen, Sources
from tlkit import AugmentationPolicy, FineTuneSchedule, Phase
from tlkit.core.rows import Indices
from tlkit.evaluation.log_loss import log_losses
from tlkit.features.views import Views
from tlkit.plot.figure import Grid
from tlkit.plot.style import Palette
from tlkit.training.finetune import Trainee, TrainingData, set_trainable, train_phase
from tlkit.training.head import LinearHead, fit_head

SEEDS = 5
EPOCHS = 10
RATES = {"1e-5": 1e-5, "1e-4": 1e-4}
HEADS = ("solved", "random")


def measure(sources: Sources) -> Numbers:
    """Fine-tune from both heads at both rates, over several splits."""
    schedule = FineTuneSchedule(phases=(_phase(RATES["1e-5"]),))
    seen = sources.read(0.35, 160, schedule=schedule, policy=AugmentationPolicy.standard())
    views = seen.views(schedule.view_count)
    pretrained = seen.frozen.network.base.get_weights()
    runs: dict[str, list[Numbers]] = {}
    for seed in range(SEEDS):
        data = _data(seen, seed)
        for name in HEADS:
            head = (
                _solved(seen, data) if name == "solved" else _random(seen.features.shape[1], seed)
            )
            for rate, step in RATES.items():
                seen.frozen.network.base.set_weights(pretrained)
                found = fine_tune(seen, views, data, head, step)
                runs.setdefault(f"{name}, {rate}", []).append(found)
    return {"runs": runs, "means": {way: _means(found) for way, found in runs.items()}}


def fine_tune(
    seen: Seen, views: Views, data: TrainingData, head: LinearHead, rate: float
) -> Numbers:
    """Train the last third as `transfer_classifier` does; return what became of it, epoch by epoch."""
    network = seen.frozen.network
    set_trainable(network, seen.frozen.starts[0])
    size = seen.originals.backbone_parameters
    trainee = Trainee(network, seen.frozen.cut, head, backbone_parameters=size)
    watched = Watched(trainee, data)
    start = watched(views, data.validation)
    trainee.logits = watched  # type: ignore[method-assign]
    history = train_phase(trainee, views, data, _phase(rate), name="fine-tuning", stage=1)
    truth = data.labels[data.validation]
    losses = [float(log_losses(truth, start).mean()), *history.validation_loss]
    return {"loss": _rounded(losses), "features moved": _rounded(watched.moved)}


class Watched:
    """Gives a trainee's logits, and notes how far its features are from those of the pretrained network."""

    def __init__(self, trainee: Trainee, data: TrainingData) -> None:
        import keras

        model = trainee.model
        self._logits = trainee.logits
        self._features = keras.Model(model.inputs[0], model.get_layer("logit").input)
        self._pretrained: Features | None = None
        self._shown = data.validation
        self.moved: list[float] = []

    def __call__(self, views: Views, indices: Indices) -> Floats:
        """Return logits, and note."""
        features = np.asarray(self._features(views.read(self._shown), training=False))
        if self._pretrained is None:
            self._pretrained = features
        change = np.linalg.norm(features - self._pretrained, axis=1)
        self.moved.append(float((change / np.linalg.norm(self._pretrained, axis=1)).mean()))
        return self._logits(views, indices)


def _phase(rate: float) -> Phase:
    return Phase(unfreeze_fraction=1 / 3, epochs=EPOCHS, learning_rate=rate, patience=None)


def _data(seen: Seen, seed: int) -> TrainingData:
    split = seen.split(seed)
    return TrainingData(
        labels=seen.labels.astype(np.float64),
        weights=np.ones(len(seen.labels)),
        train=split.train,
        validation=split.validation,
        folds=seen.folds(split.train, seed),
        batch_size=32,
        seed=seed,
        viewed=seen.everything,
    )


def _solved(seen: Seen, data: TrainingData) -> LinearHead:
    return fit_head(seen.features[data.train], seen.labels[data.train], folds=data.folds)


def _random(width: int, seed: int) -> LinearHead:
    """Start as a Keras Dense layer does."""
    limit = np.sqrt(6 / (width + 1))
    kernel = np.random.default_rng(seed).uniform(-limit, limit, width)
    return LinearHead(kernel=kernel, bias=0.0, l2=0.0)


def _means(runs: list[Numbers]) -> Numbers:
    loss = np.mean([run["loss"] for run in runs], axis=0)
    moved = np.mean([run["features moved"] for run in runs], axis=0)
    return {"loss": _rounded(loss), "features moved": _rounded(moved)}


def _rounded(values: Any) -> list[float]:
    return [round(float(value), 4) for value in values]


def draw(numbers: Numbers, colours: Palette) -> Grid:
    """Draw the validation log-loss and how far the features have gone, epoch by epoch."""
    axes = canvas(2, 1, height=5.2)
    looks = {
        "solved, 1e-5": (colours.first, "-", "solved head, rate 1e-5"),
        "solved, 1e-4": (colours.first, "--", "solved head, rate 1e-4"),
        "random, 1e-5": (colours.positive, "-", "random head, rate 1e-5"),
        "random, 1e-4": (colours.positive, "--", "random head, rate 1e-4"),
    }
    epochs = range(EPOCHS + 1)
    shown = (("loss", 1, "log-loss"), ("features moved", 100, "features moved (%)"))
    for ax, (what, unit, label) in zip(axes[:, 0], shown, strict=True):
        for way, (colour, line, words) in looks.items():
            for run in numbers["runs"][way]:
                y = unit * np.array(run[what])
                ax.plot(epochs, y, line, color=colour, linewidth=0.7, alpha=0.3)
            mean = unit * np.array(numbers["means"][way][what])
            ax.plot(epochs, mean, line, color=colour, linewidth=2, label=words)
        ax.set(ylabel=label, ylim=(0, None), xlim=(-0.2, EPOCHS + 0.2))
        ax.set_xticks(epochs)
    axes[0, 0].set_title(f"Thin lines are {SEEDS} splits, thick ones means")
    axes[1, 0].set_xlabel("epoch of fine-tuning")
    axes.figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower left", ncols=2)
    return axes


def statements(numbers: Numbers) -> list[str]:
    """List what the page must state."""
    rows = []
    for way, found in numbers["means"].items():
        head, rate = way.split(", ")
        first, *_, last = found["loss"]
        moved = 100 * found["features moved"][-1]
        rows.append(f"| {head} head, rate {rate} | {first:.2f} | {last:.2f} | {moved:.0f} % |")
    return rows
