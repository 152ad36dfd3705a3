"""Check that a tag, the version of the package and the topmost version of the changelog are one, and dated.

```sh
python scripts/check_release.py v0.1.0
```
"""

import re
import sys
from datetime import date
from pathlib import Path

ROOT = Path(__file__).parents[1]
VERSION = re.compile(r'^__version__ = "(?P<version>[^"]+)"$', re.MULTILINE)
HEADING = re.compile(r"^## \[(?P<version>[^\]]+)\] - (?P<date>.+)$", re.MULTILINE)


def problems(tag: str, version_file: str, changelog: str) -> list[str]:
    """Return what keeps a tag from being released.

    Args:
        tag: The name of the tag: `v` and the version.
        version_file: What `_version.py` holds.
        changelog: What `CHANGELOG.md` holds.
    """
    version, heading = VERSION.search(version_file), HEADING.search(changelog)
    if version is None or heading is None:
        return ['_version.py must hold a version, and CHANGELOG.md "## [version] - date"']
    found = []
    if tag != f"v{version['version']}":
        found.append(f"the tag is {tag}, and the version of the package {version['version']}")
    if heading["version"] != version["version"]:
        found.append(f"the changelog begins with {heading['version']}, not {version['version']}")
    try:
        date.fromisoformat(heading["date"])
    except ValueError:
        found.append(f"the changelog has no date (YYYY-MM-DD) but {heading['date']!r}")
    return found


def main(tag: str) -> int:
    """Print what is wrong; return the exit code."""
    version_file = (ROOT / "src/tlkit/_version.py").read_text(encoding="utf-8")
    found = problems(tag, version_file, (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"))
    print("\n".join(found) or f"{tag} is ready to be released.")
    return len(found) > 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
