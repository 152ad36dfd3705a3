"""The command line: parse, call, print.

In: what follows `tlkit` in a shell. Out: text, files and an exit code.

Files in reading order: `app` (parser and exit codes), `shared`, `arguments` (what a word may be),
`wording` (messages as a shell says them), `quiet` (TensorFlow without its banner),
then one file a topic: `audit`, `compare`, `train`, `evaluate`, `predict`, `suggest`, `insight`,
`export`, `serve`.
"""

from tlkit.cli.app import main as main

__all__ = ["main"]
