"""Where the ImageNet weights of keras.applications are: the file of each network, its URL and its hash.

keras.applications composes these names inside its constructors, when the network is half built and the
download begins. Known beforehand, the file can be identified by its content without Keras, fetched with a
bounded wait, and loaded like any other. A test compares every entry with the Keras that is installed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tlkit.errors import SettingError

_STORE = "https://storage.googleapis.com/"
_TF = "tensorflow/keras-applications/"
_KERNELS = "weights_tf_dim_ordering_tf_kernels"


@dataclass(frozen=True, slots=True)
class KerasFile:
    """One weights file of keras.applications, without the classification top.

    Attributes:
        url: Where Keras downloads it.
        name: What Keras calls it in its cache.
        hash: Its MD5 or SHA-256 in hex digits, as Keras knows it; None for MobileNet and MobileNetV2.
    """

    url: str
    name: str
    hash: str | None = None

    @property
    def hash_name(self) -> str:
        """Say of which kind the hash is, "md5" or "sha256", by its length."""
        return "sha256" if len(self.hash or "") == 64 else "md5"


def keras_file(name: str, options: Mapping[str, object], image_size: tuple[int, int]) -> KerasFile:
    """Look up the file that `weights="imagenet"` means.

    Args:
        name: A network of keras.applications.
        options: Its options, as the adapter has them; Keras's defaults where left out.
        image_size: `(height, width)` in pixels. MobileNetV2 has a file for each of five sizes and takes
            the one for 224 at any other.

    Raises:
        SettingError: There are no ImageNet weights with these options.
    """
    if name in _FILES:
        path, digest = _FILES[name]
        return KerasFile(_STORE + path, _CACHED_AS.get(name, path.rpartition("/")[2]), digest)
    alpha = float(str(options.get("alpha", 1.0)))
    _check("alpha", alpha, _ALPHAS[(name, bool(options.get("minimalistic", False)))], name)
    _check("depth_multiplier", options.get("depth_multiplier", 1), (1,), name)
    if name == "MobileNet":
        sign = {0.25: "2_5", 0.5: "5_0", 0.75: "7_5", 1.0: "1_0"}[alpha]
        return _kept(
            "mobilenet", f"mobilenet_{sign}_{_trained_size(image_size, (128, 160, 192))}_tf"
        )
    if name == "MobileNetV2":
        size = _trained_size(image_size, (96, 128, 160, 192))
        return _kept("mobilenet_v2", f"mobilenet_v2_{_KERNELS}_{alpha}_{size}")
    kind = name.removeprefix("MobileNetV3").lower()
    kind += "_minimalistic" if options.get("minimalistic") else ""
    file = f"weights_mobilenet_v3_{kind}_224_{alpha}_float_no_top_v2.h5"
    return KerasFile(f"{_STORE}{_TF}mobilenet_v3/{file}", file, _V3_HASHES[(kind, alpha)])


def networks_with_weights() -> Iterator[tuple[str, Mapping[str, float | bool]]]:
    """Yield every network of keras.applications with the options that it has ImageNet weights for."""
    for name in _FILES:
        yield name, {}
    for (name, minimalistic), alphas in _ALPHAS.items():
        for alpha in alphas:
            width: dict[str, float | bool] = {} if alpha == 1.0 else {"alpha": alpha}
            yield name, {**width, "minimalistic": True} if minimalistic else width


def _kept(folder: str, stem: str) -> KerasFile:
    return KerasFile(f"{_STORE}{_TF}{folder}/{stem}_no_top.h5", f"{stem}_no_top.h5")


def _trained_size(image_size: tuple[int, int], sizes: tuple[int, ...]) -> int:
    height, width = image_size
    return height if height == width and height in sizes else 224


def _check(option: str, value: object, legal: tuple[float, ...], name: str) -> None:
    if value not in legal:
        allowed = ", ".join(map(str, legal))
        raise SettingError(
            f"{name}({option}={value!r}) has no ImageNet weights: {option} must be one of {allowed}; "
            "or start from random weights, weights=None"
        )


_ALPHAS: dict[tuple[str, bool], tuple[float, ...]] = {  # by name and whether it is minimalistic
    ("MobileNet", False): (0.25, 0.5, 0.75, 1.0),
    ("MobileNetV2", False): (0.35, 0.5, 0.75, 1.0, 1.3, 1.4),
    ("MobileNetV3Large", False): (0.75, 1.0),
    ("MobileNetV3Large", True): (1.0,),
    ("MobileNetV3Small", False): (0.75, 1.0),
    ("MobileNetV3Small", True): (1.0,),
}
_FILES: dict[str, tuple[str, str]] = {  # by name: path in the store, hash
    "ConvNeXtBase": (
        f"{_TF}convnext/convnext_base_notop.h5",
        "40a20c5548a5e9202f69735ecc06c990e6b7c9d2de39f0361e27baeb24cb7c45",
    ),
    "ConvNeXtLarge": (
        f"{_TF}convnext/convnext_large_notop.h5",
        "96f02b6f0753d4f543261bc9d09bed650f24dd6bc02ddde3066135b63d23a1cd",
    ),
    "ConvNeXtSmall": (
        f"{_TF}convnext/convnext_small_notop.h5",
        "6fc8009faa2f00c1c1dfce59feea9b0745eb260a7dd11bee65c8e20843da6eab",
    ),
    "ConvNeXtTiny": (
        f"{_TF}convnext/convnext_tiny_notop.h5",
        "d547c096cabd03329d7be5562c5e14798aa39ed24b474157cef5e85ab9e49ef1",
    ),
    "ConvNeXtXLarge": (
        f"{_TF}convnext/convnext_xlarge_notop.h5",
        "de3f8a54174130e0cecdc71583354753d557fcf1f4487331558e2a16ba0cfe05",
    ),
    "DenseNet121": (
        f"{_TF}densenet/densenet121_{_KERNELS}_notop.h5",
        "30ee3e1110167f948a6b9946edeeb738",
    ),
    "DenseNet169": (
        f"{_TF}densenet/densenet169_{_KERNELS}_notop.h5",
        "b8c4d4c20dd625c148057b9ff1c1176b",
    ),
    "DenseNet201": (
        f"{_TF}densenet/densenet201_{_KERNELS}_notop.h5",
        "c13680b51ded0fb44dff2d8f86ac8bb1",
    ),
    "EfficientNetB0": (
        "keras-applications/efficientnetb0_notop.h5",
        "50bc09e76180e00e4465e1a485ddc09d",
    ),
    "EfficientNetB1": (
        "keras-applications/efficientnetb1_notop.h5",
        "74c4e6b3e1f6a1eea24c589628592432",
    ),
    "EfficientNetB2": (
        "keras-applications/efficientnetb2_notop.h5",
        "111f8e2ac8aa800a7a99e3239f7bfb39",
    ),
    "EfficientNetB3": (
        "keras-applications/efficientnetb3_notop.h5",
        "af6d107764bb5b1abb91932881670226",
    ),
    "EfficientNetB4": (
        "keras-applications/efficientnetb4_notop.h5",
        "ebc24e6d6c33eaebbd558eafbeedf1ba",
    ),
    "EfficientNetB5": (
        "keras-applications/efficientnetb5_notop.h5",
        "38879255a25d3c92d5e44e04ae6cec6f",
    ),
    "EfficientNetB6": (
        "keras-applications/efficientnetb6_notop.h5",
        "9ecce42647a20130c1f39a5d4cb75743",
    ),
    "EfficientNetB7": (
        "keras-applications/efficientnetb7_notop.h5",
        "cbcfe4450ddf6f3ad90b1b398090fe4a",
    ),
    "EfficientNetV2B0": (
        f"{_TF}efficientnet_v2/efficientnetv2-b0_notop.h5",
        "893217f2bb855e2983157299931e43ff",
    ),
    "EfficientNetV2B1": (
        f"{_TF}efficientnet_v2/efficientnetv2-b1_notop.h5",
        "0e80663031ca32d657f9caa404b6ec37",
    ),
    "EfficientNetV2B2": (
        f"{_TF}efficientnet_v2/efficientnetv2-b2_notop.h5",
        "1dfe2e7a5d45b6632553a8961ea609eb",
    ),
    "EfficientNetV2B3": (
        f"{_TF}efficientnet_v2/efficientnetv2-b3_notop.h5",
        "f6abf7b5849ac99a89b50dd3fd532856",
    ),
    "EfficientNetV2L": (
        f"{_TF}efficientnet_v2/efficientnetv2-l_notop.h5",
        "b0b66b5c863aef5b46e8608fe1711615",
    ),
    "EfficientNetV2M": (
        f"{_TF}efficientnet_v2/efficientnetv2-m_notop.h5",
        "1b8dc055df72dde80d614482840fe342",
    ),
    "EfficientNetV2S": (
        f"{_TF}efficientnet_v2/efficientnetv2-s_notop.h5",
        "af0682fb74e8c54910f2d4393339c070",
    ),
    "InceptionResNetV2": (
        f"{_TF}inception_resnet_v2/inception_resnet_v2_{_KERNELS}_notop.h5",
        "d19885ff4a710c122648d3b5c3b684e4",
    ),
    "InceptionV3": (
        f"{_TF}inception_v3/inception_v3_{_KERNELS}_notop.h5",
        "bcbd6486424b2319ff4ef7d526e38f63",
    ),
    "NASNetLarge": (
        f"{_TF}nasnet/NASNet-large-no-top.h5",
        "d81d89dc07e6e56530c4e77faddd61b5",
    ),
    "NASNetMobile": (
        f"{_TF}nasnet/NASNet-mobile-no-top.h5",
        "1ed92395b5b598bdda52abe5c0dbfd63",
    ),
    "ResNet101": (
        f"{_TF}resnet/resnet101_{_KERNELS}_notop.h5",
        "88cf7a10940856eca736dc7b7e228a21",
    ),
    "ResNet101V2": (
        f"{_TF}resnet/resnet101v2_{_KERNELS}_notop.h5",
        "c0ed64b8031c3730f411d2eb4eea35b5",
    ),
    "ResNet152": (
        f"{_TF}resnet/resnet152_{_KERNELS}_notop.h5",
        "ee4c566cf9a93f14d82f913c2dc6dd0c",
    ),
    "ResNet152V2": (
        f"{_TF}resnet/resnet152v2_{_KERNELS}_notop.h5",
        "ed17cf2e0169df9d443503ef94b23b33",
    ),
    "ResNet50": (
        f"{_TF}resnet/resnet50_{_KERNELS}_notop.h5",
        "4d473c1dd8becc155b73f8504c6f6626",
    ),
    "ResNet50V2": (
        f"{_TF}resnet/resnet50v2_{_KERNELS}_notop.h5",
        "fac2f116257151a9d068a22e544a4917",
    ),
    "VGG16": (
        f"{_TF}vgg16/vgg16_{_KERNELS}_notop.h5",
        "6d6bbae143d832006294945121d1f1fc",
    ),
    "VGG19": (
        f"{_TF}vgg19/vgg19_{_KERNELS}_notop.h5",
        "253f8cb515780f3b799900260a226db6",
    ),
    "Xception": (
        f"{_TF}xception/xception_{_KERNELS}_notop.h5",
        "b0042744bf5b25fce3cb969f33bebb97",
    ),
}
_CACHED_AS = {  # under another name than it is stored
    "NASNetLarge": "nasnet_large_no_top.h5",
    "NASNetMobile": "nasnet_mobile_no_top.h5",
}
_V3_HASHES = {
    ("large", 0.75): "40af19a13ebea4e2ee0c676887f69a2e",
    ("large", 1.0): "07fb09a5933dd0c8eaafa16978110389",
    ("large_minimalistic", 1.0): "ec5221f64a2f6d1ef965a614bdae7973",
    ("small", 0.75): "ebdb5cc8e0b497cd13a7c275d475c819",
    ("small", 1.0): "d3e8ec802a04aa4fc771ee12a9a9b836",
    ("small_minimalistic", 1.0): "cde8136e733e811080d9fcd8a252f7e4",
}
