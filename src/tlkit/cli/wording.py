"""Messages of the library in the words of the shell: `--weights PATH`, not `weights='path'`."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from typing import Final

# What an argument of the library is called among the options of a command, where the names differ.
_ALIASES: Final = {
    "classifier": "model", "data": "directory", "images": "paths", "name_or_model": "backbone",
}  # fmt: skip

_NETWORK_OPTIONS: Final = ("alpha", "depth_multiplier", "minimalistic")

_VALUE: Final = r"""None|'[^']*'|"[^"]*"|\(\d+, \d+\)|-?\d[\d.e-]*\d|\d"""
_NOT_INSIDE: Final = (
    r"(?<![^\s(])(?<!\w\()"  # a path such as run/folds=5, or a call such as Phase(epochs=5)
)
_PRESETS: Final = {"FineTuneSchedule": "--schedule", "AugmentationPolicy": "--augmentation"}
_SENTENCES: Final = (
    (r'must be "imagenet", None or', "must be imagenet, none or"),
    (r'must be an existing file, "imagenet" or None:', "must be an existing file, imagenet or none:"),
    (r", or give the strength: FineTuneSchedule\(.*\)$", ""),
    (r"DatasetSpec\(…, [^)]*\){1,2}, or (--[\w-]+ \S+ \S+) in the shell", r"\1"),
    (r"\b([A-Z]\w+)\(\)", r"\1"),
    (r"\bTransferClassifier\.save( or `tlkit train`)? (wrote|saved)", r"`tlkit train` \2"),
    (r", or choose others with `classes`", ""),  # where the command has no such option
    (r"choose two with `classes`, tell .* or move the others away", "move the others away"),
    (r"; if these are the classes, name them with `classes`", ""),
    (r", or give `classes` if these are the classes", ""),
    (r"(give the folder that .*) as DIR\b", r"\1 with --image-dir"),
    # What some messages say in both languages is then there twice.
    (r"(--[\w-]+(?: \w+)?) \(\1\)", r"\1"),
    (r"\((--[\w-]+(?: \w+)?), \1\)", r"(\1)"),
)  # fmt: skip


def shell_words(text: str, parser: argparse.ArgumentParser | None) -> str:
    """Say what the library says as the user of a command says it.

    Args:
        text: A message of the library.
        parser: Of the command; None leaves the message as it is.
    """
    if parser is None:
        return text
    flags = _flags(parser)

    def name(match: re.Match[str]) -> str:
        return flags.get(match[1], match[0])

    def assignment(match: re.Match[str]) -> str:
        flag = flags.get(match[1], "")
        between = "=" if flag.startswith("--option ") else " "
        return f"{flag}{between}{_shell_value(match[2])}" if flag.startswith("-") else match[0]

    def preset(match: re.Match[str]) -> str:
        return f"{_PRESETS[match[1]]} {match[2].replace('_', '-')}"

    text = re.sub(r"`(\w+)`", name, text)
    text = re.sub(r"(?<=\bunknown )(\w+)(?= ')", name, text)
    text = re.sub(rf"{_NOT_INSIDE}`?(\w+)=({_VALUE})`?(?![\w/.]\w)", assignment, text)
    text = re.sub(rf"({'|'.join(_PRESETS)})\.(\w+)\(\)", preset, text)
    for pattern, replacement in _SENTENCES:
        text = re.sub(pattern, replacement, text)
    return text


def _flags(parser: argparse.ArgumentParser) -> Mapping[str, str]:
    """Return what a user types for each argument."""
    flags: dict[str, str] = {}
    for action in parser._actions:  # noqa: SLF001 - no public way to ask a parser what it knows
        long = [word for word in action.option_strings if word.startswith("--")]
        flags[action.dest] = long[0] if long else str(action.metavar)
    flags |= {
        name: flags[dest] for name, dest in _ALIASES.items() if dest in flags if name not in flags
    }
    if "options" in flags:
        flags |= {name: f"{flags['options']} {name}" for name in _NETWORK_OPTIONS}
    return flags


def _shell_value(value: str) -> str:
    if value.startswith("("):
        return value.strip("()").replace(", ", "x")
    return "none" if value == "None" else value.strip("'\"")
