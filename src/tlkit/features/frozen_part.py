"""The frozen part of a backbone: images in, features and activations out, each computed once.

Which engine runs it, and where what comes out is kept, is decided here; `passes` does the work. A kept
pass lies in a folder named by the fingerprint of all that decides its numbers, so nothing stale is read.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias, final

import numpy as np

from tlkit.backbones.adapter import BackboneAdapter
from tlkit.backbones.engines import BATCH_SIZE, Engine, ImagesToo, TensorFlowEngine
from tlkit.backbones.onnx_engine import SAMPLE_SIZE, fast_engine
from tlkit.core.fingerprint import fingerprint
from tlkit.core.rows import MEMORY_BUDGET, Images, Indices
from tlkit.core.spec import Json
from tlkit.data.example import Example
from tlkit.features.passes import Originals, OriginalsPass, read_originals, read_views
from tlkit.features.run_folders import RunFolders
from tlkit.features.views import Views
from tlkit.images.augmentation import AugmentationPolicy
from tlkit.images.augmenter import Augmenter
from tlkit.images.loader import LOADING_BYTES, Decoded, read_images, reading_ahead
from tlkit.images.reader import ValueRange

if TYPE_CHECKING:
    import keras

    from tlkit.backbones.cuts import CutPoint
    from tlkit.backbones.network import Network

FORMAT: Final = 5
"""Raised when the numbers that a pass gives change: what older releases kept is then left alone."""

_IMAGES: Final = "images"  # the name of the pass over the images themselves

Elsewhere: TypeAlias = Callable[[Sequence[Example], bool], tuple[Originals, str]]
"""A pass that other processes run: from examples, and whether to stop at a bad file, to their pooled features
as `read_originals` gives them, and the name of the engine that ran."""


Start: TypeAlias = tuple[int | str | None, float | None]
"""The first layer that a phase trains: `unfreeze_from` and `unfreeze_fraction`, one of them None."""


@final
@dataclass(frozen=True, slots=True)
class Needs:
    """What training needs of the frozen part.

    Attributes:
        views: How many views of each training image, the image itself included; at least 1.
        starts: Where each phase of fine-tuning starts; activations are kept below all of them.
    """

    views: int = 1
    starts: tuple[Start, ...] = ()


@final
class FrozenPart:
    """The part of a backbone that training leaves alone, and what comes out of it.

    Args:
        adapter: The backbone. It is built when something has to be computed, not before.
        needs: What training needs of it.
        policy: How further views are made.
        seed: Of the views.
        run_folders: Where passes are kept.
        value_range: As in `read_image`.
        elsewhere: Runs the images through in the place of this process.
    """

    def __init__(
        self,
        adapter: BackboneAdapter,
        needs: Needs,
        policy: AugmentationPolicy,
        seed: int,
        run_folders: RunFolders,
        *,
        value_range: ValueRange = None,
        elsewhere: Elsewhere | None = None,
    ) -> None:
        self._adapter = adapter
        self._needs = needs
        self._policy = policy
        self._seed = seed
        self._run_folders = run_folders
        self._value_range = value_range
        self._elsewhere = elsewhere
        self._key: tuple[object, ...] = ()
        self._sample: list[Path] = []
        self._made: dict[str, list[Views]] = {}
        self._engine_names: set[str] = set()

    @property
    def engine_name(self) -> str:
        """What has run it so far; both names where the images and their views went different ways."""
        return " and ".join(sorted(self._engine_names))

    @cached_property
    def network(self) -> Network:
        """The backbone, built at the first use."""
        return self._adapter.build()

    @cached_property
    def starts(self) -> tuple[int, ...]:
        """For each phase, the first layer that it trains."""
        return tuple(self.network.place(layer, fraction) for layer, fraction in self._needs.starts)

    @cached_property
    def cut(self) -> CutPoint | None:
        """Where the activations are taken: below all phases; None for the images themselves."""
        return self.network.cut_below(min(self.starts)) if self.starts else None

    def read(self, examples: Sequence[Example], *, stop_at_bad_file: bool = False) -> Originals:
        """Run every image through once.

        The outputs are the pooled features and, if there are phases, the activations at the cut.
        """
        if self._elsewhere is not None:
            originals, engine_name = self._elsewhere(examples, stop_at_bad_file)
            self._engine_names.add(engine_name)
            return originals
        with self._decoding(examples) as decoded, self.begin(examples) as begun:
            if decoded is not None and not stop_at_bad_file:
                begun.engine()  # loads TensorFlow, if nothing has, before a progress bar is shown
            return read_originals(begun, stop_at_bad_file=stop_at_bad_file, decoded=decoded)

    def begin(
        self, examples: Sequence[Example], *, memory_budget: int = MEMORY_BUDGET
    ) -> OriginalsPass:
        """Begin the pass over the images themselves, or take up what is kept of it.

        Args:
            examples: What is read.
            memory_budget: Bytes that what comes out may take in memory.
        """
        views = 1 if self._policy.is_identity else self._needs.views
        self._sample = [example.path for example in examples[: 2 * SAMPLE_SIZE]]
        self._key = (
            FORMAT,
            [version(name) for name in ("tensorflow", "pillow")],
            self._adapter.fingerprint(),
            _identity(examples) if self._run_folders.keeps else "",
            views,
            self._value_range,
        )
        plan = self._plan(
            (_IMAGES, *self._key), len(examples), features=True, activations=self._has_phases
        )
        return OriginalsPass(
            examples,
            plan.engine,
            self._adapter.image_size,
            value_range=self._value_range,
            resize=self._adapter.resize,
            stage_widths=lambda: self.network.stage_widths,
            views=views,
            folder=plan.folder,
            memory_budget=memory_budget,
        )

    def let_go(self) -> None:
        """Let go of the network; it is built again if it is needed again."""
        self.__dict__.pop("network", None)

    def _decoding(
        self, examples: Sequence[Example]
    ) -> AbstractContextManager[Iterator[Decoded] | None]:
        """Begin to decode, before TensorFlow is loaded to plan the pass, unless some of it may be kept."""
        if self._run_folders.holds(_IMAGES):
            return nullcontext()
        paths = [example.path for example in examples]
        return reading_ahead(
            paths,
            self._adapter.image_size,
            value_range=self._value_range,
            resize=self._adapter.resize,
            first_bytes=LOADING_BYTES,
        )

    def views(
        self,
        originals: Originals,
        indices: Indices,
        count: int,
        *,
        features: bool,
        activations: bool,
    ) -> list[Views]:
        """Run further views of some examples through; `count` includes view 0, the image itself.

        Returns:
            The pooled features and the activations at the cut, as asked for.
        """
        wanted = [number for number, want in enumerate((features, activations)) if want]
        if count == 1 or self._policy.is_identity:
            return [Views(originals.outputs[n], None, indices, alike=count > 1) for n in wanted]
        facts = (self._key, self._policy.to_json(), self._seed, indices.tolist(), count)
        asked = fingerprint(*facts, features, activations)
        if asked in self._made:  # for another fold
            return self._made[asked]
        plan = self._plan(
            ("views", *facts),
            len(indices) * (count - 1),
            features=features,
            activations=activations,
        )

        @cache
        def augmenter() -> Augmenter:
            return self._policy.build(
                self._adapter.image_size, seed=self._seed, batch_size=BATCH_SIZE
            )

        made = read_views(
            originals,
            indices,
            plan.engine,
            lambda images, view, start: augmenter()(images, view=view, key=start),
            outputs=wanted,
            views=count,
            folder=plan.folder,
        )
        self._made = {asked: made}
        return made

    @property
    def _has_phases(self) -> bool:
        return bool(self._needs.starts)

    def _plan(
        self, facts: tuple[object, ...], count: int, *, features: bool, activations: bool
    ) -> _Plan:
        """Decide which engine runs a pass of so many images, and where the pass is kept.

        A pass that TensorFlow has begun is not begun anew by another engine.
        """
        cut = self.cut if activations else None
        wanted = (features, activations and (cut.index if cut else "images"))

        def folder_for(*engine_facts: str) -> Path | None:
            return self._run_folders.of_pass(str(facts[0]), *facts[1:], wanted, *engine_facts)

        def model() -> keras.Model:
            if cut is None:
                return self.network.features()
            return self.network.frozen(cut, features=features)

        begun = folder_for(TensorFlowEngine.name)
        fast = None
        if (features or cut) and not (begun and begun.exists()):
            fast = fast_engine(
                lambda: (FORMAT, self._adapter.fingerprint(), wanted),
                count,
                model,
                self._sample_images,
            )

        @cache
        def engine() -> Engine:
            if activations and cut is None:
                return ImagesToo((fast or TensorFlowEngine(model())) if features else None)
            return fast or TensorFlowEngine(model())

        if features or cut:
            self._engine_names.add(fast.name if fast else TensorFlowEngine.name)
        return _Plan(engine, folder_for(fast.name, fast.graph) if fast else begun)

    def _sample_images(self) -> Images:
        """Some images of the folder to compare engines on; noise, if none of the first can be read."""
        size = self._adapter.image_size
        sample = read_images(
            self._sample, size, value_range=self._value_range, resize=self._adapter.resize
        )
        decoded = [found[0] for found in sample if isinstance(found, tuple)]
        noise = np.random.default_rng(0).integers(256, size=(1, *size, 3), dtype=np.uint8)
        return np.stack(decoded[:SAMPLE_SIZE]) if decoded else noise


@final
@dataclass(frozen=True, slots=True)
class _Plan:
    """How a pass is run: by which engine, built at the first use, and where it is kept."""

    engine: Callable[[], Engine]
    folder: Path | None


def listing_facts(examples: Sequence[Example]) -> dict[str, Json]:
    """Return size (bytes) and time (ns) of every file by its name: what tells that none has changed."""
    return {
        example.name: status and [status.st_size, status.st_mtime_ns]
        for example, status in ((example, _status(example)) for example in examples)
    }


def _identity(examples: Sequence[Example]) -> str:
    """Return a fingerprint of these very files: other folders with equal names, sizes and times differ."""
    return fingerprint(
        str(examples[0].path.parent.resolve()),
        [
            (e.name, s and (s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_ino))
            for e in examples
            for s in [_status(e)]
        ],
    )


def _status(example: Example) -> os.stat_result | None:
    try:
        return example.path.stat()
    except OSError:
        return None
