"""What the words of a command line mean: each function reads one kind, or says what is wrong with it."""

from __future__ import annotations

import argparse
import contextlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tlkit.core.atomic import check_target
from tlkit.errors import SettingError, printable

if TYPE_CHECKING:
    from tlkit.backbones.adapter import BackboneAdapter, ImageSize
    from tlkit.evaluation.threshold import ThresholdGoal

FLAGS = {
    "name_or_model": "--backbone",
    "image_size": "--image-size",
    "resize": "--resize",
    "weights": "--weights",
}


def target(*suffixes: str) -> Callable[[str], Path]:
    """Return a check of the file to be written: it ends in one of these, and its folder is there."""

    def checked(text: str) -> Path:
        with _as_usage_error():
            return check_target(Path(text), suffixes)

    return checked


def image_size(text: str) -> ImageSize:
    """Read 160 or 160x224, one side for both or height and width; or fit."""
    if text == "fit":
        return "fit"
    try:
        sides = [int(side) for side in text.lower().split("x")]
    except ValueError:
        sides = []
    if not 1 <= len(sides) <= 2:
        raise argparse.ArgumentTypeError(f"must be like 160 or 160x224, or fit, got '{text}'")
    return sides[0] if len(sides) == 1 else (sides[0], sides[1])


def weights(text: str) -> str | None:
    """Read imagenet, none or a path."""
    return None if text == "none" else text


def not_empty(text: str) -> str:
    """Refuse an empty word, such as an unset variable of the shell."""
    if not text:  # Python would take it for the current folder
        raise argparse.ArgumentTypeError("must not be empty")
    return text


def ray_address(text: str) -> str:
    """Read where a Ray cluster is; a path that was meant as an image is none."""
    if not re.fullmatch(r"auto|local|(ray://)?[^\s/]+:\d+", text):
        raise argparse.ArgumentTypeError(
            f"must be an address like 10.0.0.1:6379, ray://10.0.0.1:10001 or auto, got '{printable(text)}'; "
            "without an address put --ray at the end"
        )
    return text


def class_name(text: str) -> str:
    """Read the name of a class folder, in the letters that the folder was made with."""
    from tlkit.data.folders import as_utf8

    return as_utf8(text)


def part(text: str) -> str:
    """Read the name of a part, in any of the spellings that a folder may have."""
    from tlkit.data.dataset import part_of

    with _as_usage_error():
        return part_of(text)


def kinds(text: str) -> str:
    """Check the kinds of problems that an audit is to fail on."""
    from tlkit.data.audit import AuditReport

    with _as_usage_error():
        AuditReport(".", counts={}).exit_code(text)  # of nothing, for its check of the kinds
    return text


def threshold(text: str) -> float | ThresholdGoal:
    """Read a probability, or what a threshold is to be good for."""
    from tlkit.core.spec import check_float
    from tlkit.evaluation.threshold import ThresholdGoal

    number: float | None = None
    with contextlib.suppress(ValueError):
        number = float(text)
    with _as_usage_error():
        if number is None:
            return ThresholdGoal.parse(text)
        return check_float("threshold", number, at_least=0, at_most=1)


def guarantee(text: str) -> dict[str, float]:
    """Read what is to be promised of the images that are decided alone."""
    from tlkit.evaluation.decisions import read_promise

    with _as_usage_error():
        return read_promise(text)


@contextlib.contextmanager
def _as_usage_error() -> Iterator[None]:
    try:
        yield
    except SettingError as error:  # argparse says which argument it is
        text = re.sub(r"^`\w+` must", "must", str(error))
        raise argparse.ArgumentTypeError(text) from error


def candidate(text: str) -> BackboneAdapter:
    """Read a network with its options and size: NAME, NAME@SIZE, NAME:OPTION=VALUE,…@SIZE."""
    from tlkit.choosing.candidates import named

    with _as_usage_error():
        return named(text)


def count(text: str) -> int:
    """Read a whole number, at least 0."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"must be a whole number, at least 0, got '{text}'")
    return int(text)


def option(text: str) -> tuple[str, bool | int | float | str]:
    """Read NAME=VALUE, the value as a number or a truth value where it is one."""
    import json

    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise argparse.ArgumentTypeError(f"must be like alpha=0.35, got '{text}'")
    if name in FLAGS:
        raise argparse.ArgumentTypeError(f"{name} has a flag of its own: use {FLAGS[name]}")
    with contextlib.suppress(ValueError):
        found = json.loads(value)
        if isinstance(found, bool | int | float):
            return name, found
    return name, value
