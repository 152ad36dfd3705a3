"""Open every page of the built site as a desktop and as a telephone would, and say what is wrong.

    scripts/docs && python scripts/look_at_site.py [--site site] [--shots DIR] [--dark] [--only TEXT]

A page must not scroll sideways, must ask no other host for anything, and must leave nothing in the console.
Needs Chromium. The site is opened from the disk, as `use_directory_urls: false` allows.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from browser import Page, chromium  # noqa: E402

WIDTHS = (1280, 390)  # CSS pixels: a laptop and a telephone
LOCAL = ("file:", "data:", "blob:", "about:")
_TOO_WIDE = """(() => {
  const edge = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth <= edge) return [];
  return [...document.querySelectorAll('body *')]
    .filter(e => e.getBoundingClientRect().right > edge + 1).slice(0, 3)
    .map(e => `<${e.localName} class="${e.className}"> ${e.textContent.trim().slice(0, 40)}`);
})()"""
_LOADED = """Promise.all([...document.images].map(image => {
  image.loading = 'eager';
  return image.decode().then(() => '', () => image.getAttribute('src'));
})).then(found => found.filter(Boolean))"""


def problems(page: Page, path: Path, *, dark: bool = False) -> Iterator[str]:
    """Yield what is wrong with one page, each in a line of its own."""
    page.open(path.resolve().as_uri(), width=WIDTHS[0], dark=dark)
    for width in WIDTHS:
        page.resize(width, 900)
        for element in page.run(_TOO_WIDE):
            yield f"{width} px: scrolls sideways because of {element}"
    for source in page.run(_LOADED):
        yield f"no image: {source}"
    for address in page.requests:
        if not address.startswith(LOCAL):
            yield f"asks for {address}"
    yield from (f"console: {complaint[:300]}" for complaint in page.complaints)


def pages(site: Path) -> list[Path]:
    """List the pages of a built site; 404.html is not one: it stands for every address of a server."""
    return [path for path in sorted(site.rglob("*.html")) if path.name != "404.html"]


def shoot(page: Page, path: Path, site: Path, folder: Path, *, dark: bool) -> None:
    """Save what the page looks like at each width, from top to bottom."""
    name = path.relative_to(site).with_suffix("").as_posix().replace("/", "-")
    for width in WIDTHS:
        page.resize(width, 900)
        height = page.run("document.documentElement.scrollHeight")
        target = folder / f"{name}-{width}{'-dark' if dark else ''}.png"
        page.image(target, clip={"x": 0, "y": 0, "width": width, "height": height})


def main() -> int:
    """Look at all pages; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--site", type=Path, default=ROOT / "site", help="the built site (site/)")
    parser.add_argument("--shots", type=Path, help="a folder for images of the pages")
    parser.add_argument("--dark", action="store_true", help="with the dark colours")
    parser.add_argument("--only", default="", help="pages whose path holds this")
    options = parser.parse_args()
    chosen = [path for path in pages(options.site) if options.only in path.as_posix()]
    if options.shots:
        options.shots.mkdir(parents=True, exist_ok=True)
    count = 0
    with chromium() as page:
        for path in chosen:
            for problem in problems(page, path, dark=options.dark):
                print(f"{path.relative_to(options.site)}: {problem}")
                count += 1
            if options.shots:
                shoot(page, path, options.site, options.shots, dark=options.dark)
    print(f"{len(chosen)} pages, {count} problems")
    return count > 0


if __name__ == "__main__":
    sys.exit(main())
