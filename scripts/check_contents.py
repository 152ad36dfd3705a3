"""Check that wheel and sdist hold what they should, and nothing else."""

import re
import sys
import tarfile
import zipfile
from pathlib import Path

SDIST_FOLDERS = {"src", "tests", "examples", "docs", "scripts"}
SDIST_FILES = {
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "LICENSE",
    "README.md",
    "mkdocs.yml",
    "pyproject.toml",
}
GENERATED = {"PKG-INFO", ".gitignore"}  # the build backend puts these in
SUFFIXES = {
    *{".py", ".typed", ".css", ".js", ".jinja"},  # the package
    *{".md", ".yml", ".json", ".svg", ".png", ".Dockerfile"},  # its pages
    ".ambr",  # what the command line prints
    *{".keras", ".onnx", ".tflite", ".npz", ".jpg"},  # what older releases wrote, for its tests
}
COMMANDS = {f"scripts/{name}" for name in ("build", "check", "docs", "test")}
METADATA = ("METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE")
RELATIVE_LINK = re.compile(r"\]\((?!https://|#)[^)]*\)")


def sources(package: Path) -> set[str]:
    """Name every file of the package, as a wheel does."""
    return {
        path.relative_to(package.parent).as_posix()
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def wheel_problems(wheel: Path, package: Path) -> list[str]:
    """Compare the wheel with the package's folder, file by file, and follow the links of its description."""
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        info = {name.partition("/")[2]: name for name in names if ".dist-info/" in name}
        about = archive.read(info["METADATA"]).decode() if "METADATA" in info else ""
    expected = sources(package)
    return [
        *(f"missing: {name}" for name in sorted(expected - names)),
        *(f"missing: .dist-info/{name}" for name in METADATA if name not in info),
        *(f"not wanted: {name}" for name in sorted(names - expected - set(info.values()))),
        *(f"not wanted: .dist-info/{name}" for name in sorted(set(info) - set(METADATA))),
        *(
            f"leads nowhere, outside the repository: {link}"
            for link in RELATIVE_LINK.findall(about)
        ),
    ]


def sdist_problems(sdist: Path, package: Path) -> list[str]:
    """Check the sdist against the folders, files and suffixes that belong in it."""
    with tarfile.open(sdist) as archive:
        names = {member.name.partition("/")[2] for member in archive if member.isfile()}
    expected = {f"src/{name}" for name in sources(package)} | SDIST_FILES | COMMANDS
    expected.add("tests/conftest.py")
    return [
        *(f"missing: {name}" for name in sorted(expected - names)),
        *(f"not wanted: {name}" for name in sorted(names - expected) if not _in_sdist(name)),
    ]


def _in_sdist(name: str) -> bool:
    path = Path(name)
    return name in GENERATED or (path.parts[0] in SDIST_FOLDERS and path.suffix in SUFFIXES)


def main(dist: Path, package: Path = Path("src/tlkit")) -> int:
    """Print what is wrong; return the exit code."""
    (wheel,), (sdist,) = dist.glob("*.whl"), dist.glob("*.tar.gz")
    problems = [f"{wheel.name}: {problem}" for problem in wheel_problems(wheel, package)]
    problems += [f"{sdist.name}: {problem}" for problem in sdist_problems(sdist, package)]
    print("\n".join(problems) or f"{wheel.name} and {sdist.name} hold what they should.")
    return len(problems) > 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
