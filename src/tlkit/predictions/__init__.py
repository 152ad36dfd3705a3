"""Predictions of very large folders: a table with one row a picture, written in parts that survive a crash.

`listing` says which pictures there are without holding them, `job` keeps what is done in a folder beside the
output, and `writing` puts both together.
"""

from tlkit.predictions.job import Outcome as Outcome
from tlkit.predictions.listing import Shard as Shard
from tlkit.predictions.writing import COLUMNS as COLUMNS
from tlkit.predictions.writing import PredictionSummary as PredictionSummary
from tlkit.predictions.writing import Runner as Runner
from tlkit.predictions.writing import as_row as as_row
from tlkit.predictions.writing import write_predictions as write_predictions

__all__ = [
    "COLUMNS",
    "Outcome",
    "PredictionSummary",
    "Runner",
    "Shard",
    "as_row",
    "write_predictions",
]
