"""The command line: parse, call, print. Nothing heavy is imported before a command needs it.

Exit codes: 0 when the job is done, 1 after an error or when `predict` met a file that it cannot read, 2 for a
wrong command line, 130 after Ctrl-C, 143 after SIGTERM, 141 when the reader of the output went away. For
`audit`, 1 says that problems were found, and 2 that it could not look.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence

import tlkit
from tlkit.cli import audit, compare, evaluate, export, insight, predict, serve, suggest, train
from tlkit.cli.quiet import quiet_start
from tlkit.cli.wording import shell_words
from tlkit.errors import TlkitError, TlkitWarning

_DEVELOPERS = r"(keras|tensorflow|tf2onnx|onnx|onnxruntime|ai_edge_litert)\b"
INTERRUPTED, BROKEN_PIPE, TERMINATED = (
    130,
    141,
    143,
)  # what a shell says of a command that a signal ended


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: What follows `tlkit` on the command line. None: what this process was given.

    Returns:
        The exit code.

    Raises:
        SystemExit: From argparse: after `--help` and `--version`, and for a wrong command line.
    """
    _never_fail_to_print()
    options = argparse.Namespace(failure=1, parser=None)
    try:
        options = _parser().parse_args(argv)
        with (
            _plain_warnings(options),
            _tidy_end(),
            _without_windows(),
            quiet_start(),
        ):
            code: int = options.run(options)
            if sys.stdout is not None:  # as it is without a console
                sys.stdout.flush()
            return code
    except TlkitError as error:
        print(f"error: {shell_words(str(error), options.parser)}", file=sys.stderr)
        return int(options.failure)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        _let_go_of_stdout()
        return BROKEN_PIPE
    except OSError as error:
        _let_go_of_stdout()
        print(f"error: {error}", file=sys.stderr)
        return int(options.failure)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tlkit",
        description="A folder of two kinds of images becomes a classifier you can trust.",
    )
    parser.add_argument("--version", action="version", version=f"tlkit {tlkit.__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for add in (
        audit.add_audit,
        compare.add_compare,
        train.add_train,
        evaluate.add_evaluate,
        predict.add_predict,
        suggest.add_suggest,
        insight.add_explain,
        insight.add_labels,
        evaluate.add_report,
        export.add_export,
        serve.add_serve,
        audit.add_backbones,
    ):
        add(commands)
    return parser


def _never_fail_to_print() -> None:
    """Escape what the terminal's encoding lacks, instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _let_go_of_stdout() -> None:
    """Send to nowhere what stdout did not take: Python tries once more when it ends."""
    if sys.stdout is None:
        return
    try:
        sys.stdout.flush()
    except OSError:
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextlib.contextmanager
def _tidy_end() -> Iterator[None]:
    """Let SIGTERM (`timeout`, the end of a container) take its way through `finally`: half-made files go."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    usual = signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, usual)


@contextlib.contextmanager
def _plain_warnings(options: argparse.Namespace) -> Iterator[None]:
    """Show tlkit's warnings, every one of them, as text for people; leave others as they are.

    What the packages that networks are built, run and converted with say is for their own developers.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=_DEVELOPERS)
        warnings.simplefilter("always", TlkitWarning)
        usual = warnings.showwarning

        def show(
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            *rest: object,
        ) -> None:
            if issubclass(category, TlkitWarning):
                text = shell_words(str(message), options.parser)
                print(f"warning: {text}", file=sys.stderr)
            else:
                usual(message, category, filename, lineno, *rest)  # type: ignore[arg-type]

        warnings.showwarning = show  # type: ignore[assignment]
        yield


@contextlib.contextmanager
def _without_windows() -> Iterator[None]:
    """Draw without windows: `MPLBACKEND` may name a notebook's backend, which only that one's Python has."""
    before = os.environ.get("MPLBACKEND")
    os.environ["MPLBACKEND"] = "agg"
    try:
        yield
    finally:
        if before is None:
            del os.environ["MPLBACKEND"]
        else:
            os.environ["MPLBACKEND"] = before
