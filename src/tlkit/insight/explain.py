"""Where in an image the evidence for a class lies, as a heat map: Grad-CAM.

It looks at a finished classifier from outside, whatever its backbone is, and needs neither training nor
labels.
"""

from __future__ import annotations

import io
import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias, final

import numpy as np
import numpy.typing as npt
from PIL import Image

from tlkit.backbones.cuts import cuts
from tlkit.backbones.engines import BATCH_SIZE
from tlkit.classifier.classifier import (
    PathLike,
    Prediction,
    TransferClassifier,
    check_classifier,
    network_of,
)
from tlkit.core.atomic import check_target, replacing
from tlkit.core.rows import Images
from tlkit.core.spec import check_choice, check_float, check_int, check_path
from tlkit.errors import SettingError, printable
from tlkit.images.decoder import BadFile, Pixels, as_batch, read_image
from tlkit.images.loader import read_batches
from tlkit.images.reader import ValueRange
from tlkit.images.resizing import content_box

if TYPE_CHECKING:
    import keras

Floats: TypeAlias = npt.NDArray[np.float32]
Step: TypeAlias = Callable[[Any], Any]
Tensors: TypeAlias = "keras.KerasTensor | list[keras.KerasTensor]"

IMAGE_SUFFIXES: Final = (".png", ".jpg", ".jpeg")
"""What the name of a saved heat map may end in."""

# Matplotlib's perceptually uniform "inferno" at 16 even steps (Smith and van der Walt 2015, CC0), from
# nothing to everything. Brightness alone tells them apart, so it reads in grey and to the colour-blind.
_GLOW: Final = np.frombuffer(
    bytes.fromhex(
        "000004 0c0826 240c4f 420a68 5d126e 781c6d 932667 ae305c"
        "c73e4c dd513a ed6925 f8850f fca50a fac62d f2e661 fcffa4"
    ),
    np.uint8,
).reshape(-1, 3)


Window: TypeAlias = tuple[float, float, float, float]
_WHOLE: Final[Window] = (0.0, 0.0, 1.0, 1.0)


@final
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Explanation:
    """Where in an image the evidence for a class lies. A notebook shows it as an image.

    Attributes:
        prediction: The same as `predict` returns.
        towards: The class whose evidence is shown.
        coarse_map: The heat map as the network has it, float32 `[h, w]`, 0-1, read-only: 7 x 7 for
            MobileNetV2 at 224 pixels, so nothing smaller than a seventh of the image is told apart.
        window: Which part of that map the image fills: top, left, bottom and right, 0-1. All of it, unless
            the classifier pads its images.
        size: Height and width of the image itself, upright, in pixels.
        image: The file, or uint8 RGB `[H, W, 3]`.
        value_range: Which values of a file of more than 8 bits a sample are black and white.
    """

    prediction: Prediction
    towards: str
    coarse_map: Floats = field(repr=False)
    window: Window = field(default=_WHOLE, repr=False)
    size: tuple[int, int]
    image: PathLike | Pixels = field(repr=False)
    value_range: ValueRange = field(default=None, repr=False)

    @property
    def heat_map(self) -> Floats:
        """The heat map in the image's own size, float32 `[height, width]`, 0-1.

        1 is where most of the evidence lies; 0 is where there is none, or some for the other class. It is
        0 everywhere if nothing in the image speaks for the class.
        """
        return self._stretched(self.size)

    def overlay(
        self, *, strength: float = 0.5, image_size: tuple[int, int] | None = None
    ) -> Pixels:
        """Lay the heat map, from black over red to yellow, over the image in grey.

        Args:
            strength: How much of the heat map is seen and how little of the image, 0-1.
            image_size: Height and width of the result, in pixels. None: those of the image.

        Returns:
            uint8 RGB `[height, width, 3]`.

        Raises:
            ImageError: The file, which is read again for this, cannot be read any more.
            SettingError: `strength` is not within 0 to 1, or `image_size` no height and width.
        """
        check_float("strength", strength, at_least=0, at_most=1)
        size = self.size if image_size is None else _checked_size(image_size)
        if isinstance(self.image, np.ndarray):
            pixels = as_batch(self.image, size)[0]
        else:
            pixels = read_image(self.image, size, value_range=self.value_range)[0]
        heat, places = self._stretched(size), np.linspace(0, 1, len(_GLOW))
        grey = (1 - strength) * np.asarray(Image.fromarray(pixels).convert("L"), np.float32)
        mixed: Pixels = np.empty_like(pixels)
        for channel in range(3):  # one at a time, for an image may have a hundred million pixels
            glow = np.interp(heat, places, strength * _GLOW[:, channel])
            mixed[..., channel] = np.rint(grey + glow)
        return mixed

    def save(self, path: PathLike, *, strength: float = 0.5) -> None:
        """Save what `overlay` draws, in the image's own size.

        Args:
            path: A .png or .jpg file. One that is there is replaced when the new one is complete.
            strength: As in `overlay`.

        Raises:
            ImageError: The file of the image, which is read again for this, cannot be read any more.
            SettingError: `path` ends otherwise or cannot be written, or `strength` is not within 0 to 1.
        """
        target = Path(check_path("path", path))
        if target.suffix not in IMAGE_SUFFIXES:
            raise SettingError(
                f"`path` must end in {', '.join(IMAGE_SUFFIXES)}, got {printable(target)}"
            )
        check_target(target, IMAGE_SUFFIXES)
        drawn = Image.fromarray(self.overlay(strength=strength))
        with replacing(target) as partial:
            drawn.save(partial, quality=92)  # which PNG, without losses, does not heed

    def _stretched(self, image_size: tuple[int, int]) -> Floats:
        top, left, bottom, right = self.window
        height, width = self.coarse_map.shape
        rows, columns = _positions(self.window, (height, width))
        coarse = Image.fromarray(np.ascontiguousarray(self.coarse_map[rows, columns]))
        box = (
            left * width - columns.start,
            top * height - rows.start,
            right * width - columns.start,
            bottom * height - rows.start,
        )
        return np.array(coarse.resize(image_size[::-1], Image.Resampling.BILINEAR, box=box))

    def _repr_png_(self) -> bytes:
        file, shrink = io.BytesIO(), min(1.0, 480 / max(self.size))
        height, width = (max(1, round(side * shrink)) for side in self.size)
        Image.fromarray(self.overlay(image_size=(height, width))).save(file, "PNG")
        return file.getvalue()


def explain(
    classifier: TransferClassifier,
    image: PathLike | npt.NDArray[np.generic],
    *,
    towards: str | None = None,
) -> Explanation:
    """Show where in an image the evidence for a class lies, by Grad-CAM.

    The channels of the feature maps that the head learns from are added up, each weighted by how much the
    logit rises with it on average; what is below zero speaks for the other class and is left out. On a
    network that ends in average pooling and one neuron, as those of tlkit do, this is the exact share of
    each place in the logit; the maps of several stages are brought to the size of the finest and added. It
    tells what the network looked at, not whether that is a good reason.

    Args:
        classifier: Any classifier whose network has a feature map.
        image: A file, or RGB 0-255 `[H, W, 3]`.
        towards: The class whose evidence is wanted. None: the one that is predicted.

    Returns:
        The heat map with its prediction. `Explanation.overlay` lays it over the image.

    Raises:
        ImageError: The file cannot be read.
        SettingError: It is no classifier, there is no such class, it is no image, or the network gives
            vectors from the start, which have no positions.

    References:
        R. R. Selvaraju et al. (2017), "Grad-CAM: Visual Explanations from Deep Networks via
        Gradient-based Localization", ICCV, https://arxiv.org/abs/1610.02391. The special case is that
        of B. Zhou et al. (2016), "Learning Deep Features for Discriminative Localization", CVPR,
        https://arxiv.org/abs/1512.04150.

    Examples:
        >>> seen = explain(classifier, "photo.jpg")  # doctest: +SKIP
        >>> seen.towards, seen.heat_map.shape, seen.overlay().shape  # doctest: +SKIP
        ('alpaca', (768, 1024), (768, 1024, 3))
        >>> seen.save("map.png")  # doctest: +SKIP
    """
    check_classifier("classifier", classifier)
    if isinstance(image, np.ndarray):
        return Explainer(classifier)(image, towards)
    grad_cam = _GradCam(classifier, (towards,))
    pixels, facts = read_image(
        check_path("image", image),
        classifier.image_size,
        value_range=classifier.value_range,
        resize=classifier.resizing,
    )
    return grad_cam([_Subject(image, pixels, facts.upright_size, towards)])[0]


@final
class Explainer:
    """`explain` for one image after the other: the network is cut once.

    Args:
        classifier: As in `explain`.

    Raises:
        ArtifactError: It was loaded from an exported folder, which has no network to look into.
        SettingError: As in `explain`.
    """

    def __init__(self, classifier: TransferClassifier) -> None:
        self._classifier = classifier
        self._grad_cam = _GradCam(classifier, ())

    def __call__(self, image: npt.NDArray[np.generic], towards: str | None = None) -> Explanation:
        """Explain one image, as `explain` does.

        Args:
            image: RGB 0-255 `[H, W, 3]`.
            towards: As in `explain`.
        """
        if image.ndim != 3:
            raise SettingError(
                f"`image` must be a file or one image [H, W, 3], got shape {image.shape}"
            )
        if towards is not None:
            check_choice("class", towards, self._classifier.class_names)
        size = (image.shape[0], image.shape[1])
        given = as_batch(image, size)[0].copy()
        frame, resize = self._classifier.image_size, self._classifier.resizing
        pixels = as_batch(given, frame, resize=resize)[0]
        return self._grad_cam([_Subject(given, pixels, size, towards)])[0]


def explain_files(
    classifier: TransferClassifier,
    paths: Sequence[PathLike],
    *,
    towards: Sequence[str] | None = None,
) -> Iterator[Explanation | BadFile]:
    """Explain many files, a batch at a time.

    Args:
        classifier: As in `explain`.
        paths: The files.
        towards: For each file the class whose evidence is wanted. None: the ones that are predicted.

    Yields:
        For each file, in the order given, its explanation, or a `BadFile` if it cannot be read.

    Raises:
        SettingError: As in `explain`.
    """
    check_classifier("classifier", classifier)
    wanted = [None] * len(paths) if towards is None else list(towards)
    given = list(zip(paths, wanted, strict=True))
    grad_cam = _GradCam(classifier, wanted)
    files = (os.fspath(path) for path in paths)
    decoded = read_batches(
        files,
        classifier.image_size,
        BATCH_SIZE,
        value_range=classifier.value_range,
        resize=classifier.resizing,
    )
    for indices, images, found in decoded:
        facts = (outcome for outcome in found if not isinstance(outcome, BadFile))
        readable = [
            _Subject(given[index][0], pixels, fact.upright_size, given[index][1])
            for index, pixels, fact in zip(indices, images, facts, strict=True)
        ]
        explained = iter(grad_cam(readable) if readable else ())
        for outcome in found:
            yield outcome if isinstance(outcome, BadFile) else next(explained)


@dataclass(frozen=True, slots=True)
class _Subject:
    """An image as it was given and as the network takes it, its own size, and the class to explain."""

    image: PathLike | Pixels
    pixels: Pixels
    size: tuple[int, int]
    towards: str | None


class _GradCam:
    """A classifier's network, cut at the feature maps that its logit is made of."""

    def __init__(self, classifier: TransferClassifier, classes: Iterable[str | None]) -> None:
        for name in {*classes} - {None}:
            check_choice("class", str(name), classifier.class_names)
        model = network_of(
            classifier
        )  # before the seconds that Keras takes, for an export has none
        from tlkit.core.tensorflow import keras

        network = keras.Model(model.inputs, model.get_layer("logit").output)
        halves = _stage_halves(network) or _halves(network)
        if halves is None:
            raise SettingError(
                "`classifier` must have a feature map to be explained, but its network turns images into "
                "vectors at once, which have no positions: use a backbone with convolutions"
            )
        self._lower, self._upper = halves
        self._classifier = classifier

    def __call__(self, subjects: Sequence[_Subject]) -> list[Explanation]:
        images = np.stack([subject.pixels for subject in subjects])
        positive = self._classifier.positive_class
        found = zip(subjects, self._classifier.predict(images), self._evidence(images), strict=True)
        explained = []
        for subject, prediction, evidence in found:
            path = None if isinstance(subject.image, np.ndarray) else subject.image
            towards = subject.towards or prediction.label
            window = self._window(subject.size)
            seen = _inside(evidence, window)
            explained.append(
                Explanation(
                    prediction=replace(prediction, path=path),
                    towards=towards,
                    coarse_map=_shares(seen if towards == positive else -seen),
                    window=window,
                    size=subject.size,
                    image=subject.image,
                    value_range=self._classifier.value_range,
                )
            )
        return explained

    def _window(self, size: tuple[int, int]) -> Window:
        """Return which part of the network's images an image of this size fills."""
        frame = self._classifier.image_size
        if self._classifier.resizing == "stretch":
            return _WHOLE
        top, left, height, width = content_box(size, frame)
        return (
            top / frame[0],
            left / frame[1],
            (top + height) / frame[0],
            (left + width) / frame[1],
        )

    def _evidence(self, images: Images) -> Floats:
        """Return how much each position of each image counts for the positive class, `[B, h, w]`."""
        from tlkit.core.tensorflow import tf

        feature_maps = tf.nest.flatten(self._lower(tf.constant(images, tf.float32)))
        with tf.GradientTape() as tape:
            tape.watch(feature_maps)
            logits = self._upper(feature_maps if len(feature_maps) > 1 else feature_maps[0])
        found = []
        for feature_map, slopes in zip(
            feature_maps, tape.gradient(logits, feature_maps), strict=True
        ):
            weights = tf.reduce_mean(slopes, axis=(1, 2), keepdims=True)
            shares = tf.reduce_sum(weights * feature_map, axis=-1, keepdims=True)
            # A share of the logit in each place: on a finer grid it is spread over more places.
            found.append(shares * (feature_map.shape[1] * feature_map.shape[2]))
        if len(found) == 1:
            return np.asarray(found[0][..., 0])
        size = max(tuple(one.shape[1:3]) for one in found)
        return np.asarray(sum(tf.image.resize(one, size)[..., 0] for one in found))


def _checked_size(value: object) -> tuple[int, int]:
    if not isinstance(value, tuple) or len(value) != 2:
        raise SettingError(f"`image_size` must be (height, width), got {value!r}")
    height, width = (check_int("image_size", side, at_least=1) for side in value)
    return height, width


def _inside(evidence: Floats, window: Window) -> Floats:
    """Leave out positions that see nothing but borders: evidence there belongs to no place of the image."""
    height, width = evidence.shape
    inside = _positions(window, (height, width))
    kept = np.zeros_like(evidence)
    kept[inside] = evidence[inside]
    return kept


def _positions(window: Window, size: tuple[int, int]) -> tuple[slice, slice]:
    """Return the rows and columns of a map of that size that see a part of the image."""
    top, left, bottom, right = window
    return (
        slice(math.floor(top * size[0]), math.ceil(bottom * size[0])),
        slice(math.floor(left * size[1]), math.ceil(right * size[1])),
    )


def _shares(evidence: Floats) -> Floats:
    """Leave out evidence against the class, and scale the rest to a maximum of 1."""
    positive = np.maximum(evidence, 0)
    highest = positive.max()
    shares = positive / highest if highest > 0 else positive
    shares.setflags(write=False)
    return shares


def _stage_halves(network: keras.Model) -> tuple[Step, Step] | None:
    """Split a network at the feature maps of its stages, where their means make up the logit."""
    from tlkit.core.tensorflow import keras

    names = [layer.name for layer in network.layers]
    joining = network.get_layer("features") if "features" in names else None
    if not isinstance(joining, keras.layers.Concatenate):
        return None
    pools = [tensor._keras_history.operation for tensor in joining.input]  # noqa: SLF001 - no public way
    if not all(isinstance(pool, keras.layers.GlobalAveragePooling2D) for pool in pools):
        return None
    maps = [pool.input for pool in pools]
    return _part(network.inputs[0], maps), _part(maps, network.outputs[0])


def _halves(network: keras.Model) -> tuple[Step, Step] | None:
    """Split a network at the last feature map that everything passes through.

    Where a network inside this one turns a map into a vector, the split lies in there.

    Returns:
        Two functions of batches, images to map and map to output. None if there is no feature map: one
        without a learned number below it is only the image again.
    """
    from tlkit.core.tensorflow import keras

    image, output = network.inputs[0], network.outputs[0]
    tensors = [image, *(tensor for _, tensor in cuts(network))]
    for below, above in reversed(list(pairwise(tensors))):
        between = keras.Model(below, above).layers[1:]
        padded = isinstance(between[-1] if between else None, keras.layers.ZeroPadding2D)
        if len(above.shape) == 4 and above.shape[1] * above.shape[2] > 1 and not padded:
            learned = keras.Model(image, above).count_params()
            return (_part(image, above), _part(above, output)) if learned else None
        is_network = len(between) == 1 and bool(getattr(between[0], "inputs", None))
        if is_network and (inner := _halves(between[0])):
            lower, upper = inner
            return _chain(_part(image, below), lower), _chain(upper, _part(above, output))
    return None


def _chain(first: Step, second: Step) -> Step:
    return lambda batch: second(first(batch))


def _part(below: Tensors, above: Tensors) -> Step:
    from tlkit.core.tensorflow import keras

    if below is above:  # of which Keras makes no model
        return lambda batch: batch
    part = keras.Model(below, above)
    return lambda batch: part(batch, training=False)
