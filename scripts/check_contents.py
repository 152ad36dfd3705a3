"""Check that wheel and sdist hold what they should, and nothing else."""

import sys
import tarfile
import zipfile
from pathlib import Path

SDIST_FOLDERS = {"src", "tests", "examples", "docs"}
SDIST_FILES = {
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "LICENSE",
    "README.md",
    "mkdocs.yml",
    "pyproject.toml",
}
GENERATED = {"PKG-INFO", ".gitignore"}  # the build backend puts these in
SUFFIXES = {".py", ".md", ".yml", ".toml", ".css", ".js", ".jinja", ".svg", ".png", ".typed"}


def wheel_problems(wheel: Path, package: Path) -> list[str]:
    """Compare the wheel with the package's folder, file by file."""
    names = set(zipfile.ZipFile(wheel).namelist())
    metadata = {name for name in names if ".dist-info/" in name}
    source = {
        path.relative_to(package.parent).as_posix()
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    problems = [f"missing: {name}" for name in sorted(source - names)]
    problems += [f"not wanted: {name}" for name in sorted(names - metadata - source)]
    endings = ("METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE")
    problems += [
        f"missing: .dist-info/{end}"
        for end in endings
        if not any(m.endswith(end) for m in metadata)
    ]
    return problems


def sdist_problems(sdist: Path, package: Path) -> list[str]:
    """Check the sdist against the folders, files and suffixes that belong in it."""
    with tarfile.open(sdist) as archive:
        names = {member.name.partition("/")[2] for member in archive if member.isfile()}
    problems = []
    for name in sorted(names):
        first, _, rest = name.partition("/")
        wanted = (
            first in SDIST_FOLDERS and Path(name).suffix in SUFFIXES
            if rest
            else name in SDIST_FILES | GENERATED
        )
        if not wanted:
            problems.append(f"not wanted: {name}")
    source = {
        f"src/{path.relative_to(package.parent).as_posix()}"
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    problems += [
        f"missing: {name}"
        for name in sorted((SDIST_FILES | source | {"tests/conftest.py"}) - names)
    ]
    return problems


def main(dist: Path, package: Path = Path("src/tlkit")) -> int:
    """Print what is wrong; return the exit code."""
    (wheel,), (sdist,) = dist.glob("*.whl"), dist.glob("*.tar.gz")
    problems = [f"{wheel.name}: {problem}" for problem in wheel_problems(wheel, package)]
    problems += [f"{sdist.name}: {problem}" for problem in sdist_problems(sdist, package)]
    print("\n".join(problems) or f"{wheel.name} and {sdist.name} hold what they should.")
    return len(problems) > 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
