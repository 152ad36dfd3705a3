"""tlkit turns a folder of two kinds of pictures into a classifier you can trust, in seconds."""

__version__ = "0.1.0"
