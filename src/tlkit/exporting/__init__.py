"""A classifier as a file for other programs: converted, run in its own runtime and compared.

`writing` is the way from a classifier to a folder, `formats` knows how each format is converted and run,
`pictures` chooses what it is tried on, and `comparison` says how far it is from the classifier.
"""

from tlkit.exporting.comparison import Comparison
from tlkit.exporting.writing import Exported, export

__all__ = ["Comparison", "Exported", "export"]
