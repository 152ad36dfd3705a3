"""Fine-tuning with batch normalisation that is frozen, and with one that only seems to be."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import numpy as np

from figures.drawing import Numbers, canvas
from figures.sources import Features, Floats, Seen, Sources
from tlkit import AugmentationPolicy, FineTuneSchedule
from tlkit.evaluation.log_loss import log_losses
from tlkit.plot.figure import Grid
from tlkit.plot.style import Palette
from tlkit.training.finetune import set_trainable

Way: TypeAlias = Literal["course", "layer by layer"]

SEEDS = 8
HEAD_EPOCHS, EPOCHS, VIEWS = 5, 10, 5
BATCH = 32
FINE_TUNE_AT = 120


def measure(sources: Sources) -> Numbers:
    """Follow the course twice for each seed, from the same head and over the same split."""
    schedule = FineTuneSchedule.course(fine_tune_at=FINE_TUNE_AT)
    seen = sources.read(0.35, 160, schedule=schedule, policy=AugmentationPolicy.course())
    made = seen.views(VIEWS)
    views = np.stack(
        [made.read(seen.everything, np.full(len(seen.labels), v)) for v in range(VIEWS)]
    )
    pretrained = seen.frozen.network.base.get_weights()
    runs: dict[Way, list[Numbers]] = {"course": [], "layer by layer": []}
    for seed in range(SEEDS):
        for way, found in runs.items():
            seen.frozen.network.base.set_weights(pretrained)
            found.append(Run(seen, seed).fine_tune(views, way))
    return {
        "fine_tune_at": FINE_TUNE_AT,
        "runs": runs,
        "ends": {way: _ends(r) for way, r in runs.items()},
    }


class Run:
    """The network above the cut, with a head that was trained as in the course.

    What lies below the cut is frozen in both ways, so it is run once and its activations are kept.
    """

    def __init__(self, seen: Seen, seed: int) -> None:
        import keras

        keras.utils.set_random_seed(seed)
        self.seen, self.seed, self.split = seen, seed, seen.split(seed)
        self.labels = seen.labels[:, np.newaxis].astype(np.float32)
        network = seen.frozen.network
        assert seen.frozen.cut is not None
        inputs = keras.Input(seen.frozen.cut.shape)
        feature_map = network.upper(seen.frozen.cut)(inputs, training=False)  # as the tutorials say
        features = keras.layers.GlobalAveragePooling2D()(feature_map)
        drop, dense = keras.layers.Dropout(0.2), keras.layers.Dense(1)
        self.model = keras.Model(inputs, dense(drop(features)))
        self.plain = keras.Model(inputs, dense(features))
        pooled = keras.Input(features.shape[1:])
        head = keras.Model(pooled, dense(drop(pooled)))
        _compile(head, 1e-3)
        train = self.split.train
        head.fit(
            seen.features[train],
            self.labels[train],
            batch_size=BATCH,
            epochs=HEAD_EPOCHS,
            verbose=0,
        )
        upper = network.base.layers[FINE_TUNE_AT:]
        self.norms = [
            layer for layer in upper if isinstance(layer, keras.layers.BatchNormalization)
        ]

    def fine_tune(self, views: Features, way: Way) -> Numbers:
        """Train from layer 120 on; return what became of it after each epoch."""
        base = self.seen.frozen.network.base
        if way == "course":
            base.trainable = False  # what is True already would not reach the layers
            base.trainable = True
            for layer in base.layers[:FINE_TUNE_AT]:
                layer.trainable = False
        else:
            set_trainable(self.seen.frozen.network, FINE_TUNE_AT)
        _compile(self.model, 1e-4)
        found: Numbers = {"swing": self.swing(views[0])} if way == "course" else {}
        before = [norm.moving_mean.numpy() for norm in self.norms]
        deviations = [np.sqrt(norm.moving_variance.numpy() + norm.epsilon) for norm in self.norms]
        curve = [self.judge(views[0])]
        rng = np.random.default_rng(self.seed)
        train = self.split.train
        first = rng.integers(VIEWS, size=len(train))
        for epoch in range(EPOCHS):
            inputs = views[(first + epoch) % VIEWS, train]
            self.model.fit(inputs, self.labels[train], batch_size=BATCH, epochs=1, verbose=0)
            curve.append(self.judge(views[0]))
        after = [norm.moving_mean.numpy() for norm in self.norms]
        moved = [np.abs(a - b) / d for a, b, d in zip(after, before, deviations, strict=True)]
        losses, shares = zip(*curve, strict=True)
        return {
            "loss": _rounded(losses),
            "accuracy": _rounded(shares),
            "moved": _rounded([float(np.median(m)) for m in moved]),
            "batch loss": round(self.judge(views[0], by_batch=True)[0], 4),
            **found,
        }

    def judge(self, images: Features, *, by_batch: bool = False) -> tuple[float, float]:
        """Return log-loss and accuracy on the validation split; `by_batch`, with its own statistics."""
        logits = self.logits(images[self.split.validation], training=by_batch)
        truth = self.seen.labels[self.split.validation]
        return float(log_losses(truth, logits).mean()), float(np.mean((logits > 0) == (truth > 0)))

    def swing(self, images: Features) -> float:
        """Return how much a logit depends on the rest of the batch, beside how much logits differ."""
        rng = np.random.default_rng(self.seed)
        train = self.split.train[: len(self.split.train) // BATCH * BATCH]
        kept = [variable.numpy() for variable in self.plain.weights]
        logits = np.empty((6, len(train)))
        for drawn in logits:
            order = rng.permutation(len(train)).reshape(-1, BATCH)
            for batch in order:
                drawn[batch] = self.logits(images[train[batch]], training=True)
        self.plain.set_weights(kept)  # the statistics have moved
        return round(float(logits.std(axis=0).mean() / logits.mean(axis=0).std()), 3)

    def logits(self, images: Features, *, training: bool) -> Floats:
        """Run the network as prediction does, or as `fit` does (without dropout)."""
        return np.asarray(self.plain(images, training=training))[:, 0].astype(np.float64)


def _compile(model: Any, rate: float) -> None:
    import keras

    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    model.compile(optimizer=keras.optimizers.Adam(rate), loss=loss)


def _rounded(values: Any) -> list[float]:
    return [round(float(value), 4) for value in values]


def _ends(runs: list[Numbers]) -> Numbers:
    """Return the means over the seeds after the last epoch."""
    ends = {name: [run[name][-1] for run in runs] for name in ("loss", "accuracy")}
    ends["batch loss"] = [run["batch loss"] for run in runs]
    ends["most moved"] = [max(run["moved"]) for run in runs]
    if "swing" in runs[0]:
        ends["swing"] = [run["swing"] for run in runs]
    means = {name: round(float(np.mean(values)), 3) for name, values in ends.items()}
    return {"start": round(float(np.mean([run["loss"][0] for run in runs])), 3), **means}


def draw(numbers: Numbers, colours: Palette) -> Grid:
    """Draw the mean log-loss over the epochs of fine-tuning, and where each split ended."""
    axes = canvas(2, 1, height=5.4)
    curves, ends = axes[:, 0]
    looks = {
        "course": (colours.positive, "as in the course"),
        "layer by layer": (colours.first, "frozen layer by layer"),
    }
    for way, (colour, words) in looks.items():
        losses = np.array([run["loss"] for run in numbers["runs"][way]])
        epochs, splits = np.arange(losses.shape[1]), np.arange(1, len(losses) + 1)
        curves.plot(
            epochs, losses.mean(axis=0), "-o", color=colour, markersize=4, linewidth=2, label=words
        )
        ends.plot(splits, losses[:, -1], "o", color=colour, markersize=6)
    by_batch = numbers["ends"]["course"]["batch loss"]
    hollow = {
        "color": colours.positive,
        "markerfacecolor": "none",
        "markersize": 9,
        "linestyle": "none",
    }
    curves.plot(epochs[-1], by_batch, "D", label="the course's weights, judged by batch", **hollow)
    pairs = [[run["loss"][-1] for run in runs] for runs in numbers["runs"].values()]
    ends.vlines(splits, *pairs, color=colours.lines, linewidth=2, zorder=0)
    curves.set(xlabel="epoch of fine-tuning", ylabel="log-loss", ylim=(0.25, 0.5))
    curves.set_title(f"Mean validation log-loss over {len(splits)} splits")
    curves.legend(loc="lower left")
    curves.set_xticks(epochs)
    ends.set(xlabel="split", ylabel="log-loss", xticks=splits, ylim=(0.15, 0.7))
    ends.set_title(f"After {epochs[-1]} epochs, split by split")
    return axes


def statements(numbers: Numbers) -> list[str]:
    """List what the page must state."""
    course, frozen = (numbers["ends"][way] for way in ("course", "layer by layer"))
    worse = sum(
        ours["loss"][-1] > theirs["loss"][-1]
        for ours, theirs in zip(*numbers["runs"].values(), strict=True)
    )
    return [
        f"over {len(numbers['runs']['course'])} splits",
        f"from {course['start']:.2f} to {course['loss']:.2f}",
        f"to {frozen['loss']:.2f}",
        f"on {worse} of {len(numbers['runs']['course'])} splits",
        f"{course['accuracy']:.2f} against {frozen['accuracy']:.2f}",
        f"by {100 * course['most moved']:.1f} %",
        f"log-loss of {course['batch loss']:.2f}",
        f"by {100 * course['swing']:.0f} %",
    ]
