"""Figures: images of a folder, learning curves, metrics, mistakes. Needs the extra `plot`.

Every function returns a `Grid`: a NumPy array of matplotlib axes that a notebook shows as an image, and
whose figure is at `.figure`. No window opens, `pyplot`'s current figure stays what it was, and your settings
of matplotlib play no part. Functions that make a single plot also draw into existing axes: `ax=`.

```python
axes = tlkit.plot.roc(classifier)
axes[0].set_title("my favourite")
axes.figure.savefig("roc.png")

with tlkit.plot.theme("dark"):
    page = tlkit.plot.gallery(classifier, explained_by=classifier).svg()
```
"""

from tlkit.plot.choices import comparison, training_size
from tlkit.plot.curves import learning_curves
from tlkit.plot.deciding import decisions
from tlkit.plot.figure import Grid
from tlkit.plot.galleries import gallery, samples, views
from tlkit.plot.performance import confusion, precision_recall, reliability, roc, thresholds
from tlkit.plot.style import THEMES, Palette, theme

__all__ = [
    "THEMES",
    "Grid",
    "Palette",
    "comparison",
    "confusion",
    "decisions",
    "gallery",
    "learning_curves",
    "precision_recall",
    "reliability",
    "roc",
    "samples",
    "theme",
    "thresholds",
    "training_size",
    "views",
]
