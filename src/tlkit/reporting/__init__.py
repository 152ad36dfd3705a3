"""The report: one page about a classifier that opens anywhere, asks nothing of the network and prints.

`album` looks at the folder, `sentences` puts figures into words, `charts` takes the figures of `tlkit.plot`
into the page, `recipe` says how to make the classifier again, and `writing` fills the template.
"""

from tlkit.reporting.writing import write_report

__all__ = ["write_report"]
