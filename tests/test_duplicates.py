from __future__ import annotations

import io
import itertools
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from conftest import folder_named_by
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw

import tlkit.data.duplicates
import tlkit.data.thumbnails
from tlkit.data.duplicates import Duplicates, find_duplicates, merged_groups
from tlkit.images.decoder import BadFile, ImageFacts, read_image
from tlkit.images.loader import read_images

PHOTOGRAPHS = 60
SIDE = 240


def photograph(seed: int, side: int = SIDE) -> Image.Image:
    """Noise of all scales, weaker the finer, as in photographs, with a few sharp-edged things."""
    rng = np.random.default_rng(seed)
    pixels = np.zeros((side, side, 3))
    for cells in (3, 6, 12, 24, 48, 96):
        noise = Image.fromarray(rng.integers(0, 256, (cells, cells, 3), dtype=np.uint8))
        pixels += (np.asarray(noise.resize((side, side), Image.Resampling.BICUBIC)) - 127.5) * (
            2 / cells**0.5
        )
    image = Image.fromarray((pixels / 2 + 127.5).clip(0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    for _ in range(4):
        x, y, w, h = rng.integers(10, side // 2, 4).tolist()
        draw.ellipse((x, y, x + w, y + h), fill=tuple(rng.integers(0, 256, 3).tolist()))
    return image


def jpeg(image: Image.Image, quality: int = 90) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return file.getvalue()


def facts_of(files: Sequence[bytes]) -> list[ImageFacts]:
    return [read_image(file, (32, 32))[1] for file in files]


def cut(image: Image.Image, left: float, top: float, right: float, bottom: float) -> Image.Image:
    w, h = image.size
    box = (left * w, top * h, (1 - right) * w, (1 - bottom) * h)
    return image.crop(tuple(map(round, box)))  # type: ignore[arg-type] # four of them


def half(image: Image.Image) -> Image.Image:
    return image.resize((image.width // 2, image.height // 2), Image.Resampling.LANCZOS)


COPIES: dict[str, Callable[[Image.Image], bytes]] = {
    "quality 60": lambda p: jpeg(p, 60),
    "quality 75": lambda p: jpeg(p, 75),
    "quality 95": lambda p: jpeg(p, 95),
    "half the size": lambda p: jpeg(half(p)),
    "2 % cut off the left": lambda p: jpeg(cut(p, 0.02, 0, 0, 0)),
    "2 % cut off a corner": lambda p: jpeg(cut(p, 0.02, 0.02, 0, 0)),
    "2 % cut off every side": lambda p: jpeg(cut(p, 0.02, 0.02, 0.02, 0.02)),
    "mirrored": lambda p: jpeg(p.transpose(Image.Transpose.FLIP_LEFT_RIGHT)),
    "mirrored, half the size": lambda p: jpeg(half(p.transpose(Image.Transpose.FLIP_LEFT_RIGHT))),
    "brighter": lambda p: jpeg(p.point(lambda v: int(v * 1.1) + 5)),
    "grey": lambda p: jpeg(p.convert("L")),
}


@pytest.fixture(scope="module")
def photographs() -> list[Image.Image]:
    return [photograph(seed) for seed in range(PHOTOGRAPHS)]


@pytest.fixture(scope="module")
def originals(photographs: list[Image.Image]) -> list[ImageFacts]:
    return facts_of([jpeg(image, 92) for image in photographs])


def found(facts: Sequence[ImageFacts], **options: float) -> Duplicates:
    labels = [place % 2 for place in range(len(facts))]
    return find_duplicates(facts, labels, largest=options.get("largest", 0.2 * len(facts)))


@pytest.mark.parametrize("kind", COPIES)
def test_planted_copies_are_found(
    kind: str, photographs: list[Image.Image], originals: list[ImageFacts]
) -> None:
    planted = facts_of([COPIES[kind](image) for image in photographs])
    duplicates = found(originals + planted)
    original_of = {copy.row: copy.original for copy in duplicates.copies}
    right = sum(original_of.get(PHOTOGRAPHS + n) == n for n in range(PHOTOGRAPHS))
    assert right >= 0.95 * PHOTOGRAPHS
    assert len(original_of) == right, "nothing else is a copy"
    assert all(copy.mirrored == ("mirrored" in kind) for copy in duplicates.copies)
    assert not any(copy.exact for copy in duplicates.copies)
    assert duplicates.large_clusters == ()


def test_unlike_images_are_not_copies(originals: list[ImageFacts]) -> None:
    assert found(originals) == Duplicates((), ())


def test_equal_files_are_exact_copies_and_join_the_cluster_of_their_original(
    photographs: list[Image.Image], originals: list[ImageFacts]
) -> None:
    near = facts_of([jpeg(half(photographs[3]))])
    duplicates = found([*originals, *near, *near, originals[5]])
    assert [(c.row, c.original, c.exact) for c in duplicates.copies] == [
        (60, 3, False),
        (61, 60, True),
        (62, 5, True),
    ]
    assert duplicates.clusters() == [[3, 60, 61], [5, 62]]


def test_copies_are_joined_to_one_centre_and_not_chained(photographs: list[Image.Image]) -> None:
    steps = [jpeg(cut(photographs[0], 0.025 * n, 0, 0, 0)) for n in range(9)]
    facts = facts_of(steps)
    pairs = [found([one, other], largest=99).copies for one, other in itertools.pairwise(facts)]
    assert all(pairs), "each step by itself is a copy of the one before"
    clusters = found(facts, largest=99).clusters()
    assert max(map(len, clusters)) < len(steps)
    for copy in found(facts, largest=99).copies:
        assert copy.original not in {c.row for c in found(facts, largest=99).copies}


def test_flat_images_are_not_near_duplicates() -> None:
    flat = [jpeg(Image.new("RGB", (100, 100), (n, n, n))) for n in range(0, 250, 10)]
    rng = np.random.default_rng(0)
    noise = [128 + rng.normal(0, 1, (100, 100)) for _ in range(20)]
    noisy = [jpeg(Image.fromarray(pixels.astype(np.uint8))) for pixels in noise]
    assert found(facts_of(flat + noisy)) == Duplicates((), ())


def camera(count: int, *, moves: int, noise: float = 4, light: float = 0.0) -> list[bytes]:
    """One background, one part on it that is whole or scratched, as a camera over a belt sees them."""
    background = photograph(99)
    files = []
    for n in range(count):
        rng = np.random.default_rng((7, n))
        x, y = (SIDE // 2 + rng.integers(-moves, moves + 1, 2)).tolist()
        image = background.copy()
        draw = ImageDraw.Draw(image)
        draw.rounded_rectangle((x - 60, y - 45, x + 60, y + 45), 12, fill=(90, 95, 110))
        draw.ellipse((x - 15, y - 15, x + 15, y + 15), fill=(40, 40, 50))
        if n % 2:
            a, b = rng.integers(-40, 40, 2).tolist()
            draw.line((x + a, y + b, x + a + 20, y + b - 12), fill=(230, 230, 230), width=3)
        pixels = np.asarray(image) * rng.uniform(1 - light, 1 + light)
        pixels = pixels + rng.normal(0, noise, pixels.shape)
        files.append(jpeg(Image.fromarray(pixels.clip(0, 255).astype(np.uint8))))
    return files


@pytest.mark.parametrize(("moves", "light"), [(0, 0.0), (4, 0.0), (4, 0.2), (25, 0.0), (50, 0.1)])
def test_a_camera_that_stands_still_is_a_scene_and_not_one_group(moves: int, light: float) -> None:
    files = camera(80, moves=moves, light=light)
    duplicates = found(facts_of(files))
    groups = merged_groups([str(n) for n in range(80)], duplicates.clusters())
    assert len(set(groups)) >= 76, "hardly anything is grouped"
    assert len(duplicates.large_clusters) <= 3
    if moves <= 4:
        assert len(duplicates.large_clusters) == 1
        assert len(duplicates.large_clusters[0]) == 80


def test_equal_files_are_found_in_a_scene_too() -> None:
    files = camera(40, moves=2)
    duplicates = found(facts_of([*files, files[7]]))
    assert [(copy.row, copy.original) for copy in duplicates.copies] == [(40, 7)]
    assert len(duplicates.large_clusters) == 1


def test_a_scene_beside_other_images_leaves_their_duplicates_alone(
    photographs: list[Image.Image], originals: list[ImageFacts]
) -> None:
    files = [*camera(40, moves=2), jpeg(half(photographs[8]))]
    duplicates = found(originals + facts_of(files))
    assert duplicates.clusters() == [[8, PHOTOGRAPHS + 40]]
    assert [sorted(cluster) for cluster in duplicates.large_clusters] == [list(range(60, 100))]


def test_a_small_cluster_with_many_of_either_class_is_a_scene(originals: list[ImageFacts]) -> None:
    burst = facts_of(camera(10, moves=1))
    facts = [*burst, *originals]
    labels = [place % 2 for place in range(10)]
    rest = [0] * len(originals)
    mixed = find_duplicates(facts, labels + rest, largest=15)
    assert [len(cluster) for cluster in mixed.large_clusters] == [10]
    assert mixed.copies == ()
    one_class = find_duplicates(facts, [1] * 10 + rest, largest=15)
    assert [len(cluster) for cluster in one_class.clusters()] == [10]
    assert one_class.large_clusters == ()


def test_blocks_decide_only_the_memory(
    photographs: list[Image.Image], originals: list[ImageFacts], monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = originals + facts_of([jpeg(half(image)) for image in photographs[:20]])
    facts += facts_of(camera(30, moves=25))
    at_once = found(facts)
    for module in (tlkit.data.duplicates, tlkit.data.thumbnails):
        monkeypatch.setattr(module, "BLOCK", 7)
    assert found(facts) == at_once
    assert found(facts) == at_once


@pytest.fixture
def by_keys(monkeypatch: pytest.MonkeyPatch) -> Callable[[Sequence[ImageFacts]], Duplicates]:
    """Search as among very many images, where only those that share a key are compared."""

    def search(facts: Sequence[ImageFacts]) -> Duplicates:
        with monkeypatch.context() as few:
            few.setattr(tlkit.data.duplicates, "ALL_PAIRS", 0)
            return found(facts)

    return search


def test_keys_find_what_comparing_all_pairs_finds(
    photographs: list[Image.Image],
    originals: list[ImageFacts],
    by_keys: Callable[[Sequence[ImageFacts]], Duplicates],
) -> None:
    for kind, make in COPIES.items():
        facts = originals + facts_of([make(image) for image in photographs])
        missed = {*found(facts).copies} ^ {*by_keys(facts).copies}
        assert len(missed) <= ("every side" in kind), kind
    assert by_keys(originals) == Duplicates((), ())
    assert by_keys([]) == by_keys(originals[:1]) == Duplicates((), ())
    assert by_keys([*originals, *originals[:5]]) == found([*originals, *originals[:5]])


def test_keys_find_a_scene_too(by_keys: Callable[[Sequence[ImageFacts]], Duplicates]) -> None:
    (cluster,) = by_keys(facts_of(camera(80, moves=0))).large_clusters
    assert sorted(cluster) == list(range(80))


def test_more_images_than_are_compared_with_all_others() -> None:
    count, planted = 17_000, 300
    assert count > tlkit.data.duplicates.ALL_PAIRS
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (count, 8, 8), dtype=np.uint8)
    thumbnails = [np.asarray(Image.fromarray(n).resize((32, 32))) for n in coarse]
    copies = [np.clip(t[:, ::-1].astype(int) + 2, 0, 255) for t in thumbnails[:planted]]
    thumbnails += [copy.astype(np.uint8) for copy in copies]
    facts = [fact(str(n), thumbnail) for n, thumbnail in enumerate(thumbnails)]
    duplicates = found(facts)
    assert [(copy.row - count, copy.original) for copy in duplicates.copies] == [
        (n, n) for n in range(planted)
    ]
    assert all(copy.mirrored for copy in duplicates.copies)
    assert duplicates.large_clusters == ()


def test_thousands_of_images_take_no_table_of_all_pairs() -> None:
    count, planted = 3000, 60
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (count, 8, 8), dtype=np.uint8)
    thumbnails = [np.asarray(Image.fromarray(n).resize((32, 32))) for n in noise]
    thumbnails += [
        np.clip(t.astype(int) + 2, 0, 255).astype(np.uint8) for t in thumbnails[:planted]
    ]
    facts = [fact(str(n), thumbnail) for n, thumbnail in enumerate(thumbnails)]
    copies = find_duplicates(facts, [0] * len(facts), largest=600).copies
    assert [(copy.row - count, copy.original) for copy in copies] == [
        (n, n) for n in range(planted)
    ]


def fact(digest: str, thumbnail: npt.NDArray[np.uint8]) -> ImageFacts:
    return ImageFacts(
        format="JPEG", mode="RGB", width=100, height=100, orientation=1, animated=False,
        transparent=False, bits=8, byte_count=1, digest=digest, thumbnail=thumbnail,
    )  # fmt: skip


@given(
    st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=30).flatmap(
        lambda groups: st.tuples(
            st.just(groups),
            st.lists(st.lists(st.integers(0, len(groups) - 1), min_size=1, max_size=4), max_size=8),
        )
    )
)
def test_merged_groups_never_straddle(case: tuple[list[str], list[list[int]]]) -> None:
    groups, clusters = case
    merged = merged_groups(groups, clusters)
    for cluster in clusters:
        assert len({merged[index] for index in cluster}) == 1
    for key in set(groups):
        own = {new for old, new in zip(groups, merged, strict=True) if old == key}
        assert len(own) == 1
        assert min(own) <= key
    assert merged == merged_groups(groups, [cluster[::-1] for cluster in reversed(clusters)])
    # Nothing is merged without a reason: there are as many groups left as union-find must leave.
    joins = [{groups[index] for index in cluster} for cluster in clusters]
    parts: list[set[str]] = [{key} for key in set(groups)]
    for join in joins:
        touched = [part for part in parts if part & join]
        parts = [part for part in parts if not part & join] + [set().union(*touched)]
    assert len(set(merged)) == len(parts)


@pytest.mark.slow
def test_alpaca_photographs_and_planted_copies(
    alpaca_dir: Path, by_keys: Callable[[Sequence[ImageFacts]], Duplicates]
) -> None:
    paths = sorted(alpaca_dir.rglob("*.jpg"))
    facts = facts_of([path.read_bytes() for path in paths])
    untouched = found(facts)
    names = [(paths[c.row].name, paths[c.original].name) for c in untouched.copies]
    assert names == [("5f843228ab49d81b.jpg", "09915aad4cd6bf0d.jpg")]  # one second apart
    assert untouched.large_clusters == ()
    assert by_keys(facts) == untouched

    sources = range(0, len(paths), 12)  # their draft, so that re-encoding them takes no time
    for kind, make in COPIES.items():
        planted = facts_of([make(small(paths[n])) for n in sources])
        duplicates = found(facts + planted)
        original_of = {copy.row: copy.original for copy in duplicates.copies}
        right = [original_of.get(len(paths) + k) == n for k, n in enumerate(sources)]
        assert sum(right) >= 0.95 * len(right), kind
        assert by_keys(facts + planted) == duplicates, kind
        assert len(duplicates.copies) == len(untouched.copies) + sum(right), kind


def small(path: Path) -> Image.Image:
    with Image.open(path) as image:
        image.draft("RGB", (450, 450))
        return image.convert("RGB")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["brain-mri", "hotdog", "hurricane"])
def test_keys_find_the_copies_of_a_shared_folder(
    name: str, by_keys: Callable[[Sequence[ImageFacts]], Duplicates]
) -> None:
    paths = sorted(p for p in folder_named_by("TLKIT_FOLDERS_DIR").glob(f"{name}/**/*") if p.suffix)
    facts = [one[1] for one in read_images(paths, (32, 32)) if not isinstance(one, BadFile)]
    assert len(facts) > 250
    assert by_keys(facts) == found(facts)
