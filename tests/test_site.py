"""The documentation as its readers have it: built, and opened from a disk on a laptop and on a telephone."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import CHROMIUM, Page, chromium

ROOT = Path(__file__).parents[1]
if not (ROOT / "scripts").is_dir():
    pytest.skip("needs a checkout", allow_module_level=True)
if importlib.util.find_spec("mkdocs") is None:
    pytest.skip('needs mkdocs: pip install "tlkit[docs]"', allow_module_level=True)
if CHROMIUM is None:
    pytest.skip("needs chromium: apt-get install chromium", allow_module_level=True)
sys.path.insert(0, str(ROOT / "scripts"))

from look_at_site import LOCAL, pages, problems  # noqa: E402

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site: built here, unless TLKIT_SITE_DIR says where it has just been built."""
    if built := os.environ.get("TLKIT_SITE_DIR"):
        return Path(built)
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir"]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    subprocess.run([*command, str(folder)], cwd=ROOT, env=environment, check=True)
    return folder


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with chromium() as opened:
        yield opened


def test_no_page_scrolls_sideways_complains_or_asks_another_host(site: Path, page: Page) -> None:
    found = pages(site)
    names = {path.relative_to(site).as_posix() for path in found}
    assert {"index.html", "explanations/index.html", "reference/index.html"} <= names
    wrong = {
        path.relative_to(site).as_posix(): seen
        for path in found
        if (seen := [*problems(page, path)])
    }
    assert wrong == {}


def test_looking_finds_what_is_wrong(tmp_path: Path, page: Page) -> None:
    """The check itself: a page with one fault of each kind."""
    path = tmp_path / "bad.html"
    path.write_text(
        "<body><p style='width: 2000px'>wide</p><img src='gone.png'>"
        "<script>console.log('hello'); fetch('http://127.0.0.1:9/').catch(() => 0)</script>"
    )
    seen = " ".join(problems(page, path))
    for part in ("1280 px", "390 px", "wide", "gone.png", "hello", "asks for http://127.0.0.1:9/"):
        assert part in seen


def test_the_search_works_from_a_disk(site: Path, page: Page) -> None:
    page.open((site / "explanations" / "index.html").as_uri())
    page.run("document.querySelector('.md-search__input').focus()")
    page.run(
        """(() => {
          const field = document.querySelector('.md-search__input');
          field.value = 'cross-validation';
          field.dispatchEvent(new Event('input', { bubbles: true }));
          field.dispatchEvent(new KeyboardEvent('keyup', { bubbles: true }));
        })()"""
    )
    for _ in range(100):
        time.sleep(0.1)
        words = page.run("document.querySelector('.md-search-result__meta').textContent")
        if "matching" in words:
            break
    count = int(words.split()[0])
    assert count > 3
    assert page.complaints == []
    assert any(address.endswith("search_index.js") for address in page.requests)
    assert [address for address in page.requests if not address.startswith(LOCAL)] == []
