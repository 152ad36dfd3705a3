"""The page of `tlkit serve` in a browser: choice, paste, drop, keyboard; a telephone; without a script."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")
pytest.importorskip("python_multipart")

from browser import CHROMIUM, Page, chromium
from serving import Client, server

from tlkit import TransferClassifier
from tlkit.delivery.server_uploads import Limits
from tlkit.insight.neighbours import FeatureIndex

if CHROMIUM is None:
    pytest.skip("needs chromium: apt-get install chromium", allow_module_level=True)

PATIENCE = 60  # seconds, on a machine that is busy
SHOWN = "#results > .result:not(.waiting)"


@pytest.fixture(scope="module")
def ask(classifier: TransferClassifier, drawn_folder: Path) -> Iterator[Client]:
    limits = Limits(file_bytes=100_000)
    with server(classifier, limits, similar=FeatureIndex(classifier, drawn_folder)) as client:
        yield client


@pytest.fixture(scope="module")
def browser() -> Iterator[Page]:
    with chromium() as opened:
        yield opened


@pytest.fixture
def page(browser: Page, ask: Client) -> Iterator[Page]:
    """The page, freshly opened; whatever a test does there, nothing complains and nobody else is asked."""
    browser.open(f"http://127.0.0.1:{ask.port}/")
    yield browser
    assert browser.complaints == []
    own = (f"http://127.0.0.1:{ask.port}/", "data:")
    assert [address for address in browser.requests if not address.startswith(own)] == []


def choose(page: Page, *paths: Path, element: str = "#images") -> None:
    root = page("DOM.getDocument")["root"]["nodeId"]
    node = page("DOM.querySelector", nodeId=root, selector=element)["nodeId"]
    page("DOM.setFileInputFiles", nodeId=node, files=[*map(str, paths)])


def results(page: Page, count: int) -> list[dict[str, Any]]:
    """Wait for so many answers and return them, the topmost first."""
    last = time.monotonic() + PATIENCE
    while page.run(f"document.querySelectorAll('{SHOWN}').length") < count:
        assert time.monotonic() < last, page.run("document.body.innerText")
        time.sleep(0.05)
    found: list[dict[str, Any]] = page.run(
        f"""[...document.querySelectorAll('{SHOWN}')].map((one) => ({{
          words: one.querySelector('.words').innerText,
          label: one.querySelector('h3')?.textContent ?? null,
          name: one.querySelector('.name').textContent,
          seen: [...one.querySelectorAll('img')].every((i) => i.complete && i.naturalWidth > 0),
          images: one.querySelectorAll('img').length,
        }}))"""
    )
    return found


def as_files(*paths: Path) -> str:
    """Return JavaScript for a `DataTransfer` with these files."""
    files = {path.name: [*path.read_bytes()] for path in paths}
    return f"""(() => {{
      const data = new DataTransfer();
      for (const [name, bytes] of Object.entries({json.dumps(files)}))
        data.items.add(new File([new Uint8Array(bytes)], name, {{ type: 'image/jpeg' }}));
      return data;
    }})()"""


def test_chosen_images_are_answered_newest_first_and_aloud(
    page: Page, drawn_folder: Path, classifier: TransferClassifier, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"<html>")
    large = tmp_path / "large.jpg"
    large.write_bytes(bytes(200_000))
    first = [drawn_folder / "disc" / "00.jpg", drawn_folder / "not disc" / "01.jpg", broken]
    choose(page, *first)
    found = results(page, 3)
    assert [one["name"] for one in found] == ["00.jpg", "01.jpg", "broken.jpg"]
    assert [one["label"] for one in found] == ["disc", "not disc", "cannot be read"]
    for path, one in zip(first[:2], found, strict=False):
        probability = classifier.predict(path).probability
        assert f"probability of disc {probability:.2f}" in one["words"].replace("\n", " ")
        assert one["seen"]
        assert one["images"] == 2 + 3
    assert "not an image (its bytes are HTML)" in found[2]["words"]
    choose(page, large)
    assert "larger than the server takes" in results(page, 4)[0]["words"]
    assert "larger" in page.run("document.querySelector('#live').textContent")


def test_an_image_can_be_pasted_and_dropped(page: Page, drawn_folder: Path) -> None:
    one, other = drawn_folder / "disc" / "02.jpg", drawn_folder / "not disc" / "02.jpg"
    page.run(
        f"document.dispatchEvent(new ClipboardEvent('paste', {{ clipboardData: {as_files(one)} }}))"
    )
    assert [found["label"] for found in results(page, 1)] == ["disc"]
    for kind in ("dragover", "drop"):
        page.run(
            f"document.body.dispatchEvent(new DragEvent('{kind}', {{ bubbles: true, cancelable: true, "
            f"dataTransfer: {as_files(other)} }}))"
        )
        assert page.run("document.body.classList.contains('dragging')") == (kind == "dragover")
    assert [found["label"] for found in results(page, 2)] == ["not disc", "disc"]


def test_the_keyboard_reaches_it_all(page: Page, drawn_folder: Path) -> None:
    page("Page.setInterceptFileChooserDialog", enabled=True)
    try:
        page.press("Tab", 9)
        assert page.run("document.activeElement.id") == "images"
        around = "getComputedStyle(document.querySelector('label[for=images]')).outlineStyle"
        assert page.run(around) == "solid"  # where the focus is can be seen
        page.press("Enter", 13, text="\r")
        choose(page, drawn_folder / "disc" / "03.jpg")
        assert results(page, 1)[0]["label"] == "disc"
    finally:
        page("Page.setInterceptFileChooserDialog", enabled=False)


def test_a_screen_reader_is_told_what_there_is(page: Page, drawn_folder: Path) -> None:
    choose(page, drawn_folder / "disc" / "04.jpg")
    results(page, 1)
    nodes = page("Accessibility.getFullAXTree")["nodes"]
    told = {
        (node["role"]["value"], node.get("name", {}).get("value", ""))
        for node in nodes
        if not node["ignored"]
    }
    assert ("heading", "disc or not disc?") in told
    assert ("heading", "disc") in told
    assert ("list", "Answers") in told
    assert any(role == "status" for role, _ in told)
    assert any(name.startswith("Choose images") for _, name in told)
    assert page.run("document.documentElement.lang") == "en"
    said = page.run("document.querySelector('#live').textContent")
    assert said.startswith("disc, probability of disc ")


@pytest.mark.parametrize("dark", [False, True])
def test_a_telephone_shows_it_without_scrolling_sideways(
    browser: Page, ask: Client, drawn_folder: Path, dark: bool
) -> None:
    browser.open(f"http://127.0.0.1:{ask.port}/", width=390, height=800, dark=dark)
    choose(browser, drawn_folder / "disc" / "05.jpg", element="#camera")
    results(browser, 1)
    assert browser.run("document.documentElement.scrollWidth") <= 390
    paper = browser.run("getComputedStyle(document.body).backgroundColor")
    assert paper == ("rgb(22, 27, 34)" if dark else "rgb(255, 255, 255)")
    assert browser.complaints == []


def test_without_a_script_a_form_does(browser: Page, ask: Client, drawn_folder: Path) -> None:
    browser("Emulation.setScriptExecutionDisabled", value=True)
    try:
        browser.open(f"http://127.0.0.1:{ask.port}/")
        choose(browser, drawn_folder / "not disc" / "06.jpg")
        root = browser("DOM.getDocument")["root"]["nodeId"]
        button = browser("DOM.querySelector", nodeId=root, selector="#ask button")["nodeId"]
        corner = browser("DOM.getBoxModel", nodeId=button)["model"]["content"]
        place = {"x": corner[0] + 5, "y": corner[1] + 5, "button": "left", "clickCount": 1}
        for kind in ("mousePressed", "mouseReleased"):
            browser("Input.dispatchMouseEvent", type=kind, **place)
    finally:
        browser("Emulation.setScriptExecutionDisabled", value=False)
    (one,) = results(browser, 1)
    assert (one["label"], one["name"], one["seen"]) == ("not disc", "06.jpg", True)


def test_the_token_opens_the_page_once_and_for_all(
    browser: Page, classifier: TransferClassifier, drawn_folder: Path
) -> None:
    with server(classifier, token="a-good-secret") as ask:
        browser.open(f"http://127.0.0.1:{ask.port}/?token=a-good-secret")
        assert browser.run("location.search") == ""
        choose(browser, drawn_folder / "disc" / "07.jpg")
        assert results(browser, 1)[0]["label"] == "disc"
        browser.open(f"http://127.0.0.1:{ask.port}/")
        assert browser.run("document.querySelector('#images') !== null")
        assert browser.complaints == []
