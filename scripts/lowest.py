"""Print the lowest versions that pyproject.toml allows, as constraints for pip.

```sh
python scripts/lowest.py > lowest.txt
python -m pip install --constraint lowest.txt ".[report]"
```

Tests run against them, so that the bounds are true; what comes from another package stays free.
"""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).parents[1] / "pyproject.toml"


def constraints(project: dict[str, Any]) -> Iterator[str]:
    """Turn each `name>=version` of the dependencies and extras into `name==version`."""
    extras = project["optional-dependencies"].values()
    requirements = [*project["dependencies"], *(one for extra in extras for one in extra)]
    for requirement in sorted(set(requirements)):
        # A constraint may not carry an extra: `ray[data]>=2.51` constrains `ray`.
        bound = re.fullmatch(r"([\w-]+)(?:\[[\w,]+\])?>=([\w.]+)", requirement)
        if bound:
            yield "{}=={}".format(*bound.groups())


if __name__ == "__main__":
    print(*constraints(tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]), sep="\n")
