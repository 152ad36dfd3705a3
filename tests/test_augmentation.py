"""Augmentation: each setting does what it says, and nothing but seed, view and key decides the pixels."""

from __future__ import annotations

import hashlib
import itertools
import math
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tlkit.core.rows import Images
from tlkit.errors import SettingError
from tlkit.images.augmentation import AugmentationPolicy

FRACTIONS = [
    "rotation_fraction",
    "zoom_fraction",
    "translation_fraction",
    "brightness_fraction",
    "contrast_fraction",
    "erasing_fraction",
]
NAMED = ["none", "course", "standard", "strong"]


def named(name: str) -> AugmentationPolicy:
    policy: AugmentationPolicy = getattr(AugmentationPolicy, name)()
    return policy


def photograph(height: int = 40, width: int = 56, seed: int = 0) -> Images:
    """Smooth colours that no flip, turn or shift maps to themselves."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width] / 20.0
    waves = [np.sin(a * x + b * y + c) for a, b, c in rng.uniform(0.3, 1.2, (3, 3))]
    return (127 + 90 * np.stack(waves, axis=-1)).astype(np.uint8)


def batch(count: int) -> Images:
    """The same image `count` times, so that only the transforms can make a difference."""
    return np.repeat(photograph()[np.newaxis], count, axis=0)


def augmented(
    policy: AugmentationPolicy, count: int = 32, *, view: int = 1, seed: int = 0
) -> Images:
    augmenter = policy.build((40, 56), seed=seed, batch_size=count)
    return augmenter(batch(count), view=view, key=0)


def same(one: Images, other: Images) -> bool:
    return bool(np.array_equal(one, other))


def distance(one: Any, other: Any) -> float:
    return float(np.abs(np.asarray(one, float) - np.asarray(other, float)).mean())


# What each setting does


@pytest.mark.parametrize(
    ("policy", "mirror"),
    [
        (AugmentationPolicy(horizontal_flip=True), photograph()[:, ::-1]),
        (AugmentationPolicy(vertical_flip=True), photograph()[::-1]),
    ],
    ids=["horizontal", "vertical"],
)
def test_a_flip_gives_the_image_or_its_mirror(policy: AugmentationPolicy, mirror: Images) -> None:
    views = augmented(policy)
    mirrored = np.array([same(view, mirror) for view in views])
    kept = np.array([same(view, photograph()) for view in views])
    assert np.all(mirrored ^ kept)
    assert 6 <= np.sum(mirrored) <= 26


# Alone, a change is made by Keras's own layer; beside a tiny zoom or shift, by the layer for all at once.
ALONE_AND_AT_ONCE = pytest.mark.parametrize("at_once", [False, True], ids=["alone", "at once"])


@ALONE_AND_AT_ONCE
def test_two_flips_are_independent(at_once: bool) -> None:
    tiny = 1e-9 if at_once else 0.0
    policy = AugmentationPolicy(
        horizontal_flip=True, vertical_flip=True, zoom_fraction=tiny, translation_fraction=tiny
    )
    views = augmented(policy, 64)
    image = photograph()
    four = [image, image[:, ::-1], image[::-1], image[::-1, ::-1]]
    found = [int(np.argmin([distance(view, one) for one in four])) for view in views]
    assert all(distance(view, four[one]) < 1 for view, one in zip(views, found, strict=True))
    assert np.all(np.bincount(found, minlength=4) >= 6)  # 16 are expected of each


def disc() -> Images:
    """A bright spot to the right of the middle, from which a turn, zoom or shift can be read."""
    y, x = np.mgrid[0:81, 0:81]
    spot = 250 * np.exp(-((x - 60) ** 2 + (y - 40) ** 2) / 8)
    return np.repeat(spot[..., np.newaxis], 3, axis=-1).astype(np.uint8)


def spots(policy: AugmentationPolicy, count: int = 64) -> Any:
    """Where the spot of `disc` went in each view: columns x and y, from the middle."""
    augmenter = policy.build((81, 81), seed=0, batch_size=count)
    views = augmenter(np.repeat(disc()[np.newaxis], count, axis=0), view=1, key=0)[..., 0]
    flat = views.reshape(count, -1).argmax(axis=1)
    return np.stack([flat % 81 - 40, flat // 81 - 40], axis=1).astype(float)


@ALONE_AND_AT_ONCE
def test_rotation_turns_both_ways_up_to_its_fraction_of_a_full_turn(at_once: bool) -> None:
    other = 1e-9 if at_once else 0.0
    found = spots(AugmentationPolicy(rotation_fraction=0.1, zoom_fraction=other))
    angles = np.degrees(np.arctan2(found[:, 1], found[:, 0]))
    assert np.all(np.abs(np.hypot(*found.T) - 20) < 1.5)
    assert np.all(np.abs(angles) < 36 + 3)
    assert angles.min() < -25
    assert angles.max() > 25


@ALONE_AND_AT_ONCE
def test_zoom_goes_in_and_out_up_to_its_fraction_of_the_side(at_once: bool) -> None:
    other = 1e-9 if at_once else 0.0
    found = spots(AugmentationPolicy(zoom_fraction=0.3, translation_fraction=other))
    seen = 20 / found[:, 0]  # share of the side that is seen
    assert np.all(np.abs(found[:, 1]) <= 1)
    assert np.all((seen > 0.7 - 0.05) & (seen < 1.3 + 0.1))
    assert seen.min() < 0.8
    assert seen.max() > 1.2


@ALONE_AND_AT_ONCE
def test_translation_shifts_along_both_sides_up_to_its_fraction(at_once: bool) -> None:
    other = 1e-9 if at_once else 0.0
    found = spots(AugmentationPolicy(translation_fraction=0.1, zoom_fraction=other))
    shifts = found - [20, 0]
    assert np.all(np.abs(shifts) <= 8.1 + 1)
    assert np.all(shifts.min(axis=0) < -4)
    assert np.all(shifts.max(axis=0) > 4)
    assert abs(np.corrcoef(shifts.T)[0, 1]) < 0.4


def test_what_is_uncovered_is_filled_with_the_mirror_image() -> None:
    plain = np.full((64, 24, 24, 3), 200, np.uint8)
    policy = AugmentationPolicy(rotation_fraction=0.5, zoom_fraction=0.5, translation_fraction=0.5)
    for one in (policy, AugmentationPolicy(rotation_fraction=0.5)):
        views = one.build((24, 24), seed=0, batch_size=64)(plain, view=1, key=0)
        assert same(views, plain)  # black, where nothing would be filled in


def test_turn_zoom_shift_and_flips_together_are_one_layer() -> None:
    import keras

    layers = AugmentationPolicy.strong().keras_layers(seed=3)
    assert [type(layer).__name__ for layer in layers] == [
        "RandomGeometry",
        "RandomBrightness",
        "RandomContrast",
        "RandomErasing",
    ]
    assert all(isinstance(layer, keras.layers.Layer) for layer in layers)
    images = batch(2).astype("float32")
    assert same(np.asarray(layers[0](images, training=False)), images)


def test_brightness_adds_one_amount_to_all_pixels_of_an_image() -> None:
    policy = AugmentationPolicy(brightness_fraction=0.1)
    changes = augmented(policy).astype(int) - batch(32)
    assert np.all(np.ptp(changes, axis=(1, 2, 3)) == 0)
    amounts = changes[:, 0, 0, 0]
    assert np.abs(amounts).max() <= 26  # 0.1 of 255
    assert amounts.min() < -10
    assert amounts.max() > 10


def test_contrast_goes_both_ways_around_the_mean_of_each_channel() -> None:
    views = augmented(AugmentationPolicy(contrast_fraction=0.3)).astype(float)
    image = photograph().astype(float)
    ratios = views.std(axis=(1, 2)) / image.std(axis=(0, 1))
    assert np.all((ratios > 0.69) & (ratios < 1.31))
    assert ratios.min() < 0.85
    assert ratios.max() > 1.15
    assert np.all(np.abs(views.mean(axis=(1, 2)) - image.mean(axis=(0, 1))) < 2)


def test_erasing_paints_one_rectangle_in_a_share_of_the_views() -> None:
    views = augmented(AugmentationPolicy(erasing_fraction=0.4), 100)
    changed = np.any(views != photograph(), axis=-1)
    erased = np.flatnonzero(changed.any(axis=(1, 2)))
    assert 25 <= len(erased) <= 55
    for index in erased:
        rows, columns = np.flatnonzero(changed[index].any(1)), np.flatnonzero(changed[index].any(0))
        patch = views[index, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        assert np.all(patch == 127)
        assert 0.1 < len(rows) / 40 < 0.62
        assert 0.1 < len(columns) / 56 < 0.62


def test_course_is_made_of_the_layers_of_the_course() -> None:
    from keras import layers

    made = AugmentationPolicy.course().keras_layers()
    course = [layers.RandomFlip("horizontal"), layers.RandomRotation(0.2)]
    for one, other in zip(made, course, strict=True):
        assert type(one) is type(other)
        skipped = {"name", "seed"}
        ours, theirs = one.get_config(), other.get_config()
        assert {k: v for k, v in ours.items() if k not in skipped} == {
            k: v for k, v in theirs.items() if k not in skipped
        }


def test_layers_have_seeds_of_their_own() -> None:
    # With one seed for both, every image that is flipped would be turned the same way.
    flip, turn = (layer.seed for layer in AugmentationPolicy.course().keras_layers(seed=5))
    assert flip != turn
    assert [flip, turn] == [
        layer.seed for layer in AugmentationPolicy.course().keras_layers(seed=5)
    ]
    assert [flip, turn] != [
        layer.seed for layer in AugmentationPolicy.course().keras_layers(seed=6)
    ]


# What decides the pixels


@pytest.mark.parametrize("name", NAMED)
def test_view_0_is_the_image_itself(name: str) -> None:
    assert same(augmented(named(name), 4, view=0), batch(4))


@pytest.mark.parametrize("name", NAMED[1:])
def test_images_of_one_batch_are_changed_differently(name: str) -> None:
    views = augmented(named(name), 8)
    assert views.dtype == np.uint8
    assert views.shape == (8, 40, 56, 3)
    assert len({view.tobytes() for view in views}) == 8


def test_views_depend_on_seed_view_and_key_and_not_on_what_was_made_before() -> None:
    policy = AugmentationPolicy.strong()
    images = batch(4)
    augmenters = [policy.build((40, 56), seed=seed, batch_size=4) for seed in (0, 1)]
    keys: list[int | str] = [0, 4, "a"]
    calls = list(itertools.product(augmenters, (1, 2), keys))
    first = [augmenter(images, view=view, key=key) for augmenter, view, key in calls]
    assert len({views.tobytes() for views in first}) == len(calls)
    for (augmenter, view, key), views in reversed(list(zip(calls, first, strict=True))):
        assert same(augmenter(images, view=view, key=key), views)


def test_view_and_key_are_not_mixed_up() -> None:
    augmenter = AugmentationPolicy.course().build((40, 56), seed=0, batch_size=4)
    assert not same(augmenter(batch(4), view=1, key=2), augmenter(batch(4), view=2, key=1))
    assert not same(augmenter(batch(4), view=1, key=2), augmenter(batch(4), view=1, key="2"))
    other = AugmentationPolicy.course().build((40, 56), seed=1, batch_size=4)
    assert not same(augmenter(batch(4), view=2, key=0), other(batch(4), view=1, key=0))


def test_a_short_batch_gives_the_first_views_of_a_full_one() -> None:
    augmenter = AugmentationPolicy.strong().build((40, 56), seed=0, batch_size=8)
    full = augmenter(batch(8), view=1, key=0)
    for count in (1, 5, 0):
        assert same(augmenter(batch(8)[:count], view=1, key=0), full[:count])


def test_numpys_whole_numbers_draw_the_views_of_plain_ones() -> None:
    policy, two = AugmentationPolicy.course(), np.int64(2)
    images = photograph()[np.newaxis]
    plain = policy.build((40, 56), seed=2, batch_size=1)(images, view=2, key=2)
    numpys = policy.build((40, 56), seed=two, batch_size=1)  # type: ignore[arg-type]
    assert np.array_equal(numpys(images, view=two, key=two), plain)  # type: ignore[arg-type]


def test_neither_the_global_seed_nor_the_precision_policy_matters() -> None:
    import keras

    before = augmented(AugmentationPolicy.strong(), 4)
    keras.utils.set_random_seed(7)
    keras.config.set_dtype_policy("mixed_float16")
    try:
        assert same(augmented(AugmentationPolicy.strong(), 4), before)
    finally:
        keras.config.set_dtype_policy("float32")


DIGEST = """
import hashlib, numpy as np
from tlkit.images.augmentation import AugmentationPolicy
images = np.arange(2 * 40 * 56 * 3, dtype=np.uint32).reshape(2, 40, 56, 3).astype(np.uint8)
augmenter = AugmentationPolicy.strong().build((40, 56), seed=3, batch_size=2)
print(hashlib.sha256(augmenter(images, view=2, key="x").tobytes()).hexdigest())
"""


def test_another_process_makes_the_same_views() -> None:
    images = np.arange(2 * 40 * 56 * 3, dtype=np.uint32).reshape(2, 40, 56, 3).astype(np.uint8)
    augmenter = AugmentationPolicy.strong().build((40, 56), seed=3, batch_size=2)
    augmenter(images, view=1, key=0)
    here = hashlib.sha256(augmenter(images, view=2, key="x").tobytes()).hexdigest()
    environment = {**os.environ, "PYTHONHASHSEED": "123"}
    done = subprocess.run(
        [sys.executable, "-c", DIGEST], capture_output=True, text=True, check=True, env=environment
    )
    assert done.stdout.strip() == here


def test_several_threads_may_share_one_augmenter() -> None:
    augmenter = AugmentationPolicy.strong().build((40, 56), seed=0, batch_size=2)
    images = batch(2)
    keys = range(320)  # without a lock, a few of these come out wrong
    alone = [augmenter(images, view=1, key=key) for key in keys]
    with ThreadPoolExecutor(8) as pool:
        shared = list(pool.map(lambda key: augmenter(images, view=1, key=key), keys))
    assert all(same(one, other) for one, other in zip(shared, alone, strict=True))


def test_the_graph_is_traced_once() -> None:
    augmenter = AugmentationPolicy.standard().build((40, 56), seed=0, batch_size=4)
    for view in (1, 2):
        for count in (4, 1, 3):
            augmenter(batch(count), view=view, key=count)
    assert augmenter._augment is not None
    assert augmenter._augment.experimental_get_tracing_count() == 1


# Looking at views


def test_views_start_with_the_image_itself() -> None:
    views = AugmentationPolicy.course().views(photograph(), 9, seed=1)
    assert views.shape == (9, 40, 56, 3)
    assert views.dtype == np.uint8
    assert same(views[0], photograph())
    assert len({view.tobytes() for view in views}) == 9
    assert same(views[:3], AugmentationPolicy.course().views(photograph(), 3, seed=1))


def test_views_of_a_file_are_views_of_its_pixels(tmp_path: Path) -> None:
    from PIL import Image

    Image.fromarray(photograph()).save(tmp_path / "a.png")
    policy = AugmentationPolicy.course()
    for path in (tmp_path / "a.png", str(tmp_path / "a.png")):
        assert same(policy.views(path, 2, image_size=(40, 56)), policy.views(photograph(), 2))


# Layers of one's own


def test_own_layers_come_last_and_follow_the_seed() -> None:
    from keras import layers

    policy = AugmentationPolicy(brightness_fraction=0.1, layers=(layers.RandomPosterization(2),))
    views = augmented(policy, 4)
    assert set(np.unique(views)) <= {0, 64, 128, 192}
    assert not policy.is_identity


def test_random_generators_inside_own_layers_follow_the_seed() -> None:
    import keras
    from keras import layers

    jitter = layers.RandomColorJitter(brightness_factor=0.2, contrast_factor=0.2)
    nested = keras.Sequential([jitter, keras.Sequential([layers.RandomZoom(0.3)])])
    policy = AugmentationPolicy(layers=(nested,))
    augmenter = policy.build((40, 56), seed=0, batch_size=4)
    first = augmenter(batch(4), view=1, key=0)
    assert not same(augmenter(batch(4), view=1, key=4), first)
    assert same(augmenter(batch(4), view=1, key=0), first)
    assert same(policy.build((40, 56), seed=0, batch_size=4)(batch(4), view=1, key=0), first)


def test_own_layers_that_cannot_be_repeated_are_refused() -> None:
    import keras
    from keras import layers

    noise = layers.Lambda(lambda x: x + keras.random.normal(x.shape), name="noise")
    with pytest.raises(SettingError, match="'noise' gives two results for one seed"):
        AugmentationPolicy(layers=(noise,)).build((8, 8), seed=0)


def test_own_layers_that_change_the_shape_are_refused() -> None:
    from keras import layers

    policy = AugmentationPolicy(layers=(layers.CenterCrop(4, 4, name="crop"),))
    with pytest.raises(SettingError, match=r"'crop' turns \[2, 8, 8, 3\] into \[2, 4, 4, 3\]"):
        policy.build((8, 8), seed=0)


@pytest.mark.parametrize("value", [None, "flip", (3,), [lambda x: x]])
def test_layers_must_be_keras_layers(value: Any) -> None:
    with pytest.raises(SettingError, match="`layers`"):
        AugmentationPolicy(layers=value)


# The policy as a value


@pytest.mark.parametrize("name", NAMED)
def test_round_trip(name: str) -> None:
    policy = named(name)
    again = AugmentationPolicy.from_json(policy.to_json())
    assert again == policy
    assert hash(again) == hash(policy)
    assert eval(repr(policy)) == policy
    assert policy.is_identity == (name == "none")
    assert [named(other) == policy for other in NAMED].count(True) == 1


def test_round_trip_of_built_in_layers() -> None:
    import keras
    from keras import layers

    own = (
        layers.RandomHue(0.1, value_range=(0, 255), seed=3),
        keras.Sequential([layers.RandomFlip(), layers.RandomColorJitter(brightness_factor=0.2)]),
    )
    policy = AugmentationPolicy(zoom_fraction=0.1, layers=own)
    again = AugmentationPolicy.from_json(policy.to_json())
    assert again == policy
    assert hash(again) == hash(policy)
    assert again != AugmentationPolicy(zoom_fraction=0.1, layers=own[:1])
    assert same(augmented(again, 4), augmented(policy, 4))


def test_other_layers_cannot_be_written_as_json() -> None:
    import keras
    from keras import layers

    class Mine(layers.Layer):  # type: ignore[misc]
        def call(self, images: Any) -> Any:
            return images

    for layer in (
        Mine(name="mine"),
        layers.Lambda(lambda x: x, name="mine"),
        keras.Sequential([layers.RandomFlip(), Mine()], name="mine"),
        keras.Sequential([layers.Input((4, 4, 3)), layers.Dense(3)], name="mine"),
    ):
        policy = AugmentationPolicy(layers=(layer,))
        with pytest.raises(SettingError, match="'mine' is not a built-in layer"):
            policy.to_json()
        assert policy == AugmentationPolicy(layers=(layer,))
        assert policy != AugmentationPolicy()


@pytest.mark.parametrize(
    "entry",
    [
        3,
        {"module": "os", "class_name": "system", "config": {}, "registered_name": None},
        {"module": "keras.layers", "class_name": "Nothing", "config": {}, "registered_name": None},
        {"module": "keras.layers", "class_name": "Lambda", "registered_name": None, "config": {
            "function": {"class_name": "__lambda__", "config": {"code": "4wE="}}}},
    ],
)  # fmt: skip
def test_json_of_anything_but_built_in_layers_is_refused(entry: Any) -> None:
    with pytest.raises(SettingError, match="`layers`"):
        AugmentationPolicy.from_config({"layers": [entry]})


def test_repr_names_what_is_changed() -> None:
    assert repr(AugmentationPolicy.none()) == "AugmentationPolicy()"
    assert repr(AugmentationPolicy.course()) == (
        "AugmentationPolicy(horizontal_flip=True, rotation_fraction=0.2)"
    )


@pytest.mark.parametrize("value", [-0.01, 1.01, math.nan, math.inf, True, False, "0.1", None])
@pytest.mark.parametrize("name", FRACTIONS)
def test_fractions_must_be_between_0_and_1(name: str, value: Any) -> None:
    with pytest.raises(SettingError, match=f"`{name}`"):
        AugmentationPolicy(**{name: value})


def test_zoom_must_leave_something() -> None:
    with pytest.raises(SettingError, match=r"`zoom_fraction` must be .*below 1"):
        AugmentationPolicy(zoom_fraction=1.0)


@pytest.mark.parametrize("value", [0, 1, None, "yes", 0.5])
@pytest.mark.parametrize("name", ["horizontal_flip", "vertical_flip"])
def test_flips_must_be_true_or_false(name: str, value: Any) -> None:
    with pytest.raises(SettingError, match=f"`{name}`"):
        AugmentationPolicy(**{name: value})


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"image_size": (0, 8)}, "`image_size"),
        ({"image_size": (8, 8.0)}, "`image_size"),
        ({"seed": -1}, "`seed`"),
        ({"seed": True}, "`seed`"),
        ({"batch_size": 0}, "`batch_size`"),
    ],
)
def test_build_checks_its_arguments(settings: dict[str, Any], match: str) -> None:
    with pytest.raises(SettingError, match=match):
        AugmentationPolicy.course().build(**{"image_size": (8, 8), "seed": 0, **settings})


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((1, 8, 8, 3), np.float32),
        np.zeros((8, 8, 3), np.uint8),
        np.zeros((1, 8, 9, 3), np.uint8),
        np.zeros((1, 8, 8, 4), np.uint8),
        np.zeros((3, 8, 8, 3), np.uint8),
    ],
)
def test_images_must_have_the_shape_that_was_said(images: Any) -> None:
    augmenter = AugmentationPolicy.none().build((8, 8), seed=0, batch_size=2)
    with pytest.raises(SettingError, match=r"uint8 array \[at most 2, 8, 8, 3\]"):
        augmenter(images, view=1, key=0)


@pytest.mark.parametrize(("view", "key"), [(-1, 0), (1.0, 0), (1, -1), (1, True), (1, None)])
def test_view_and_key_must_be_counts(view: Any, key: Any) -> None:
    augmenter = AugmentationPolicy.none().build((8, 8), seed=0, batch_size=2)
    with pytest.raises(SettingError, match=r"`view`|`key`"):
        augmenter(np.zeros((1, 8, 8, 3), np.uint8), view=view, key=key)


@pytest.mark.parametrize("value", [0, -1, True, 2.0])
def test_count_of_views_must_be_at_least_1(value: Any) -> None:
    with pytest.raises(SettingError, match="`count`"):
        AugmentationPolicy.none().views(photograph(), value)


@pytest.mark.parametrize("image", [None, np.zeros((8, 8), np.uint8), np.zeros((0, 8, 3), np.uint8)])
def test_views_need_an_image(image: Any) -> None:
    with pytest.raises(SettingError, match="`image` must be a uint8 array"):
        AugmentationPolicy.none().views(image, 2)


def test_policies_load_neither_tensorflow_nor_keras() -> None:
    code = (
        "import sys, tlkit.images.augmentation as a; a.AugmentationPolicy.strong().to_json(); "
        "a.AugmentationPolicy.none().build((8, 8), seed=0); "
        "sys.exit(bool({'tensorflow', 'keras'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
