"""The version of tlkit, here and nowhere else."""

__version__ = "0.1.0"
