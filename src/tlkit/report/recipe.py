"""How to make the same classifier again: the Python call and the command line."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, TypeVar

from tlkit.backbones.adapter import BackboneAdapter
from tlkit.classifier.record import Record
from tlkit.core.spec import Spec
from tlkit.data.dataset import DatasetSpec
from tlkit.data.table import Table
from tlkit.errors import printable
from tlkit.evaluation.threshold import ThresholdGoal
from tlkit.images.augmentation import AugmentationPolicy
from tlkit.training.schedule import FineTuneSchedule

_S = TypeVar("_S", bound=Spec)
_SCHEDULES: Final = ("standard", "thorough", "head_only", "course", "gradual")
_POLICIES: Final = ("standard", "none", "course", "strong")


def python_call(record: Record) -> str:
    """Return a program that makes the classifier again."""
    arguments = [
        ("", *_text(record.dataset, _dataset(record), ())),
        ("backbone=", *_text(record.backbone, _read(BackboneAdapter, record.backbone), ())),
        (
            "schedule=",
            *_text(record.schedule, _read(FineTuneSchedule, record.schedule), _SCHEDULES),
        ),
        ("seed=", str(record.seed), ""),
    ]
    if record.augmentation is not None:
        policy = _text(record.augmentation, _policy(record), _POLICIES)
        arguments.insert(2, ("augmentation=", *policy))
    if record.cross_validation is not None:
        arguments.append(("folds=", str(len(record.cross_validation.folds)), ""))
    lines = [f"    {name}{text},{comment}\n" for name, text, comment in arguments]
    code = f"classifier = transfer_classifier(\n{''.join(lines)})\n"
    choice = record.threshold_choice
    if choice is not None:
        code += f"classifier = classifier.with_threshold({choice.goal!r})\n"
    elif record.threshold != 0.5:
        code += f"classifier = classifier.with_threshold({record.threshold!r})\n"
    code += 'classifier.save("classifier.keras")\n'
    names = {name for name in _IMPORTS if re.search(rf"\b{name}[(.]", code)}
    return f"from tlkit import {', '.join(sorted(names))}, transfer_classifier\n\n{code}"


_IMPORTS: Final = {
    "AugmentationPolicy", "BackboneAdapter", "DatasetSpec", "ExactHead", "FineTuneSchedule", "GradientHead",
    "Phase", "ThresholdGoal",
}  # fmt: skip


def command(record: Record) -> str | None:
    """Return the command line that makes the classifier again; None where it has no options for it."""
    arguments = [*_arguments(record)]
    if not all(text is not None and text.isprintable() for text in arguments):
        return None
    return "tlkit train " + " ".join(shlex.quote(str(text)) for text in arguments)


def settings(record: Record) -> str:
    """Return every setting as JSON, those left at their defaults too."""
    names = ("dataset", "backbone", "augmentation", "schedule", "seed")
    return json.dumps({name: getattr(record, name) for name in names}, indent=2, ensure_ascii=True)


def _arguments(record: Record) -> Iterator[str | None]:
    """Yield the arguments of `tlkit train`, and None for a setting that has none."""
    dataset = _dataset(record)
    backbone = _read(BackboneAdapter, record.backbone)
    schedule = _preset(_read(FineTuneSchedule, record.schedule), _SCHEDULES)
    policy = _preset(_policy(record), _POLICIES)
    if dataset is None or backbone is None or schedule is None or backbone.weights == "own":
        yield None
        return
    if dataset.table is not None and dataset.table.path is None:
        yield None
        return
    yield from (str(dataset.source), "-o", "classifier.keras")
    if dataset.table is not None:
        yield from _columns(dataset.table, dataset.directory)
    plain = DatasetSpec(dataset.directory)
    for name in (
        "positive_class",
        "validation_fraction",
        "test_fraction",
        "group_by",
        "on_bad_file",
        "rest",
        "pattern",
    ):
        value = getattr(dataset, name)
        if value != getattr(plain, name):
            yield from (
                f"--{name.replace('_', '-')}",
                None if isinstance(value, Mapping) else str(value),
            )
    if dataset.classes:
        yield from ("--classes", *dataset.classes)
    if dataset.value_range:
        yield from ("--value-range", *map(repr, dataset.value_range))
    if dataset.decisions:
        yield from ("--decisions", str(dataset.decisions))
    if backbone.name != "MobileNetV2":
        yield from ("--backbone", backbone.name)
    yield from ("--image-size", "x".join(map(str, backbone.image_size)))
    if backbone.resize != "stretch":
        yield from ("--resize", backbone.resize)
    if backbone.weights != "imagenet":
        yield from ("--weights", str(backbone.weights or "none"))
    for option, setting in backbone.options:
        text = str(setting).lower() if isinstance(setting, bool) else setting
        yield from ("--option", f"{option}={text}")
    if schedule != "standard":
        yield from ("--schedule", schedule.replace("_", "-"))
    if record.augmentation is not None and (policy != "standard" or schedule == "course"):
        yield from ("--augmentation", policy)
    yield from ("--seed", str(record.seed))
    if dataset.seed != record.seed:
        yield from ("--split-seed", str(dataset.seed))
    if record.cross_validation is not None:
        yield from ("--folds", str(len(record.cross_validation.folds)))
    if record.threshold_choice is not None:
        yield from ("--threshold", _goal(record.threshold_choice.goal))
    elif record.threshold != 0.5:
        yield from ("--threshold", repr(record.threshold))


def _columns(table: Table, directory: Path) -> Iterator[str]:
    """Yield the options of `tlkit train` for a table."""
    for name, value in table.settings().items():
        if name == "slices":
            for column in table.slices:
                yield from ("--slice", column)
        else:
            yield from (f"--{name}", str(value))
    if table.path is not None and directory != table.path.parent:
        yield from ("--image-dir", str(directory))


def _goal(goal: ThresholdGoal) -> str:
    if goal.kind == "cost":
        return f"cost={goal.false_positive!r}:{goal.false_negative!r}"
    return f"{goal.kind}={goal.at_least!r}" if goal.at_least else goal.kind


def _policy(record: Record) -> AugmentationPolicy | None:
    config = record.augmentation
    return None if config is None else _read(AugmentationPolicy, config)


def _read(kind: type[_S], config: Mapping[str, Any]) -> _S | None:
    """Return a spec as it was; None where only its description could be kept."""
    return None if "description" in config else kind.from_config(config)


def _preset(spec: Spec | None, names: tuple[str, ...]) -> str | None:
    """Return the name of the ready-made spec that this one equals."""
    return (
        next((name for name in names if spec == getattr(type(spec), name)()), None)
        if spec
        else None
    )


def _dataset(record: Record) -> DatasetSpec | None:
    return _read(DatasetSpec, record.dataset)


def _text(
    config: Mapping[str, Any], spec: Spec | None, presets: tuple[str, ...]
) -> tuple[str, str]:
    """Write a spec as Python would, and a comment where that is not all."""
    if spec is None:
        return "...", f"  # your own: {printable(str(config['description']))}"
    if preset := _preset(spec, presets):
        return f"{type(spec).__name__}.{preset}()", ""
    if isinstance(spec, DatasetSpec) and isinstance(spec.group_by, Mapping):
        return repr(replace(spec, group_by=None)), "  # and your own `group_by`"
    if isinstance(spec, DatasetSpec) and spec.table is not None and spec.table.path is None:
        return repr(spec), "  # your own columns"
    return repr(spec), ""
