"""Which images of a folder look like this one to the network: `nearest`, and `FeatureIndex` for many.

Two images are alike where their features, the numbers that the last neuron weighs, point the same way.
Beside a mistake, the most similar training images often tell where it was learned.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass
from typing import TypeAlias, final

import numpy as np
import numpy.typing as npt

from tlkit.backbones.engines import BATCH_SIZE, TensorFlowEngine
from tlkit.classifier.classifier import (
    PathLike,
    TransferClassifier,
    check_classifier,
    network_of,
)
from tlkit.core.progress import progress
from tlkit.core.rows import Images
from tlkit.core.spec import check_int, check_path
from tlkit.data.dataset import DatasetSpec
from tlkit.data.example import Example
from tlkit.errors import DatasetError, SettingError, printable
from tlkit.images.decoder import BadFile, as_batch, read_image
from tlkit.images.loader import read_batches, read_pixels, warn_of_bad_files

Floats: TypeAlias = npt.NDArray[np.float32]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbour:
    """An image of a folder that is like another one.

    Attributes:
        name: Its path relative to the folder, with `/` on every system.
        class_name: The class folder that it lies in.
        label: 1 in the folder's positive class, else 0.
        similarity: Cosine of the angle between both images' features, -1 to 1; 1 is the same. Only the
            order means something: which value is "alike" differs from backbone to backbone.
        path: The file.
    """

    name: str
    class_name: str
    label: int
    similarity: float
    path: PathLike


def nearest(
    classifier: TransferClassifier,
    image: PathLike | npt.NDArray[np.generic],
    data: PathLike | DatasetSpec,
    count: int = 5,
) -> tuple[Neighbour, ...]:
    """Find the images of a folder that are most like one image for the network.

    The whole folder goes through the network; for several images make one `FeatureIndex`.

    Args:
        classifier: Whose features are compared.
        image: A file, or RGB 0-255 `[H, W, 3]`. Where it is a file of the folder, it does not count
            itself; a copy of it does.
        data: The folder, or its spec.
        count: How many, at least 1; fewer where the folder has fewer.

    Returns:
        The most similar first.

    Raises:
        DatasetError: The folder is not two classes of images, or none can be read.
        ImageError: The file cannot be read; or one of the folder, and the spec has
            `on_bad_file="raise"`.
        SettingError: An argument is outside what it may be.

    Examples:
        >>> nearest(classifier, "photo.jpg", "alpacas/")[0].name  # doctest: +SKIP
        'alpaca/0f3c.jpg'
    """
    check_int("count", count, at_least=1)
    return FeatureIndex(classifier, data).nearest(image, count)


@final
class FeatureIndex:
    """The images of a folder in feature space, to be asked many times which of them are alike.

    Args:
        classifier: Whose features are compared: the numbers that its last neuron weighs.
        data: The folder, or its spec. Files that cannot be read are left out with a warning, or raise, by
            the spec's `on_bad_file`.

    Attributes:
        examples: The images that could be read.
        features: Of each of them, float32 `[N, D]`, of length 1.

    Raises:
        DatasetError: The folder is not two classes of images, or none can be read.
        ImageError: A file cannot be read, and the spec has `on_bad_file="raise"`.
        SettingError: `classifier` is none.
    """

    def __init__(self, classifier: TransferClassifier, data: PathLike | DatasetSpec) -> None:
        check_classifier("classifier", classifier)
        model = network_of(
            classifier
        )  # before the seconds that Keras takes, for an export has none
        from tlkit.core.tensorflow import keras

        self._image_size = classifier.image_size
        self._value_range = classifier.value_range
        self._resize = classifier.resizing
        self._engine = TensorFlowEngine(keras.Model(model.inputs, model.get_layer("logit").input))
        spec = data if isinstance(data, DatasetSpec) else DatasetSpec(data)
        self.examples, self.features = self._read(spec)

    def nearest(
        self,
        image: PathLike | npt.NDArray[np.generic],
        count: int = 5,
        *,
        among: Collection[str] | None = None,
    ) -> tuple[Neighbour, ...]:
        """Find the images of the folder that are most like one image.

        Args:
            image: As in the function `nearest`.
            count: How many, at least 1.
            among: Only images with these names count, such as
                `classifier.record.training_names`. None: all.

        Returns:
            The most similar first; of equals, the one that the folder lists first.

        Raises:
            ImageError: The file cannot be read.
            SettingError: An argument is outside what it may be.
        """
        check_int("count", count, at_least=1)
        among = None if among is None else {*among}
        if isinstance(image, np.ndarray):
            pixels, own = as_batch(image, self._image_size, resize=self._resize), None
            if len(pixels) != 1:
                raise SettingError(f"`image` must be one image, got {len(pixels)}")
        else:
            own = os.path.realpath(check_path("image", image))
            pixels, _ = read_image(
                own, self._image_size, value_range=self._value_range, resize=self._resize
            )
            pixels = pixels[np.newaxis]
        similarity = self.features @ self._features(pixels)[0]
        found: list[Neighbour] = []
        for place in np.argsort(-similarity, kind="stable"):
            example = self.examples[place]
            allowed = among is None or example.name in among
            if allowed and os.path.realpath(example.path) != own:
                found.append(_neighbour(example, float(similarity[place])))
            if len(found) == count:
                break
        return tuple(found)

    def _read(self, spec: DatasetSpec) -> tuple[tuple[Example, ...], Floats]:
        listed = spec.listing().examples
        readable: list[Example] = []
        rows: list[Floats] = []
        bad_files: list[BadFile] = []
        with progress(len(listed), "Comparing") as advance:
            paths = (example.path for example in listed)
            decoded = read_batches(
                paths,
                self._image_size,
                BATCH_SIZE,
                value_range=self._value_range,
                resize=self._resize,
                read_many=read_pixels,
            )
            for indices, images, found in decoded:
                bad_files += [outcome for outcome in found if isinstance(outcome, BadFile)]
                if bad_files and spec.on_bad_file == "raise":
                    raise bad_files[0].error()
                if len(indices):
                    readable += [listed[index] for index in indices]
                    rows.append(self._features(images))
                advance(len(found))
        if not rows:
            raise DatasetError(f"no image in {printable(spec.directory)} can be read")
        warn_of_bad_files(bad_files, stacklevel=4)
        return tuple(readable), np.concatenate(rows)

    def _features(self, images: Images) -> Floats:
        features = self._engine(images)[0].astype(np.float32, copy=False)
        length = np.linalg.norm(features, axis=1, keepdims=True)
        directions: Floats = features / np.maximum(length, np.finfo(np.float32).tiny)
        return directions


def _neighbour(example: Example, similarity: float) -> Neighbour:
    return Neighbour(
        name=example.name,
        class_name=example.class_name,
        label=example.label,
        similarity=similarity,
        path=example.path,
    )
