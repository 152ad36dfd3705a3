"""The circle in a browser: train, look, decide on the page, save, train again with what was decided."""

from __future__ import annotations

import csv
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from browser import CHROMIUM, Page, chromium
from PIL import Image

from tlkit import BackboneAdapter, DatasetSpec, FineTuneSchedule, TransferClassifier
from tlkit.cli import main
from tlkit.core.fingerprint import digest_of_file
from tlkit.data.label_decisions import DIGEST_PREFIX, REVIEWED
from tlkit.report.page import write_report
from tlkit.training.transfer import transfer_classifier

for extra in ("matplotlib", "jinja2"):
    pytest.importorskip(extra)
if CHROMIUM is None:
    pytest.skip("needs chromium: apt-get install chromium", allow_module_level=True)

MOVED = {f"not disc/moved {number}, it was.jpg" for number in range(3)}


@pytest.fixture(scope="module")
def folder(drawn_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The drawn folder with three discs among those without one."""
    copied = tmp_path_factory.mktemp("circle") / "discs"
    shutil.copytree(drawn_folder, copied)
    for number, name in enumerate(sorted(MOVED)):
        (copied / "disc" / f"{number:02d}.jpg").rename(copied / name)
    return copied


@pytest.fixture(scope="module")
def report(folder: Path) -> Path:
    """The page of a classifier of that folder."""
    path = folder.parent / "report.html"
    write_report(train(folder), path, heat_maps=2)
    return path


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with chromium() as opened:
        yield opened


def train(folder: Path, decisions: Path | None = None) -> TransferClassifier:
    return transfer_classifier(
        DatasetSpec(folder, decisions=decisions),
        backbone=BackboneAdapter("tiny_random"),
        schedule=FineTuneSchedule.head_only(),
    )


def shown(page: Page) -> list[str]:
    names: list[str] = page.run(
        "[...document.querySelectorAll('#gallery > li:not([hidden]) > .name')].map((p) => p.textContent)"
    )
    return names


def focused(page: Page) -> tuple[str, str]:
    """Return the image and the decision that the keyboard is at."""
    name, decision = page.run(
        "[document.activeElement.closest('li')?.querySelector('.name').textContent ?? '',"
        " document.activeElement.dataset.decision ?? document.activeElement.id]"
    )
    return name, decision


def pressed(page: Page) -> dict[str, str]:
    """Return which decision each image shows."""
    found: dict[str, str] = page.run(
        "Object.fromEntries([...document.querySelectorAll('[data-decision][aria-pressed=true]')].map("
        "(b) => [b.closest('li').querySelector('.name').textContent, b.dataset.decision]))"
    )
    return found


def said(page: Page) -> str:
    text: str = page.run("document.querySelector('#decided').textContent")
    return text


def click(page: Page, name: str, decision: str) -> None:
    """Press the mouse on a button, as seen on the screen."""
    x, y = page.run(
        f"""(() => {{
          const item = [...document.querySelectorAll('#gallery > li')].find(
            (li) => li.querySelector('.name').textContent === {name!r});
          const button = item.querySelector('[data-decision="{decision}"]');
          button.scrollIntoView({{ block: 'center' }});
          const box = button.getBoundingClientRect();
          return [box.x + box.width / 2, box.y + box.height / 2];
        }})()"""
    )
    for kind in ("mousePressed", "mouseReleased"):
        page("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)


def saved(page: Page, folder: Path) -> Path:
    """Press the button that saves, and wait for the file."""
    folder.mkdir(exist_ok=True)
    page("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder))
    page.run("document.querySelector('#save').click()")
    path, end = folder / "decisions.csv", time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < end, "nothing was saved"
        time.sleep(0.05)
    return path


def read(path: Path) -> dict[str, dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return {row["image"]: row for row in csv.DictReader(file)}


def test_train_look_decide_train(
    page: Page, report: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.read_bytes() for path in folder.rglob("*.jpg")}
    page.open(report.as_uri())
    assert page.complaints == []
    page.run("document.querySelector('[data-filter=all]').click()")
    assert said(page) == "Nothing decided yet."
    moved = sorted(MOVED)
    for name in moved:
        click(page, name, "wrong")
    right, useless, unsure = [name for name in shown(page) if name not in MOVED][:3]
    click(page, right, "right")
    click(page, useless, "leave out")
    click(page, unsure, "unsure")
    assert said(page) == "6 decided: 1 right, 3 wrong, 1 leave out, 1 unsure. Not saved yet."
    table = saved(page, tmp_path / "saved")
    assert said(page) == "6 decided: 1 right, 3 wrong, 1 leave out, 1 unsure."
    assert page.complaints == []

    rows = read(table)
    assert rows.keys() == {*MOVED, right, useless, unsure}
    for name, row in rows.items():
        assert row["label"] == name.split("/")[0]
        assert row["digest"] == DIGEST_PREFIX + digest_of_file(folder / name)[:12]

    model = tmp_path / "again.keras"
    command = ["train", str(folder), "-o", str(model), "--decisions", str(table)]
    assert main([*command, "--backbone", "tiny_random", "--schedule", "head-only"]) == 0
    printed = capsys.readouterr().out
    assert "3 labels changed and 1 image left out by decisions.csv" in printed
    assert REVIEWED in printed
    again = TransferClassifier.load(model)
    assert again.audit.decided is not None
    assert {*again.audit.decided.corrected} == MOVED
    assert again.evaluation.count == 47
    assert {path: path.read_bytes() for path in folder.rglob("*.jpg")} == before

    # The next page says so, starts from these decisions, and saves them together with new ones.
    second = tmp_path / "second.html"
    write_report(again, second, heat_maps=0)
    page.open(second.as_uri())
    assert page.complaints == []
    assert said(page) == "6 decided: 1 right, 3 wrong, 1 leave out, 1 unsure."
    assert pressed(page) == {**dict.fromkeys(MOVED, "wrong"), right: "right", unsure: "unsure"}
    text = page.run("document.querySelector('main').textContent")
    assert "3 labels changed and 1 image left out by decisions.csv" in text
    assert "labels were reviewed where a classifier doubted them, which flatters it" in text
    assert "Changed by decisions.csv: the folder says not disc" in text
    page.run("document.querySelector('[data-filter=decided]').click()")
    assert {*shown(page)} == {*MOVED, right, unsure}
    click(page, moved[0], "wrong")  # taken back
    click(page, moved[1], "unsure")
    rows = read(saved(page, tmp_path / "saved again"))
    assert rows.keys() == {*MOVED, right, useless, unsure} - {moved[0]}
    assert (rows[moved[1]]["decision"], rows[moved[1]]["label"]) == ("unsure", "not disc")
    assert rows[useless]["decision"] == "leave out"


def test_the_keyboard_decides_and_goes_on(page: Page, report: Path, tmp_path: Path) -> None:
    page.open(report.as_uri())
    page.run("document.querySelector('[data-filter=all]').click()")
    names = shown(page)
    page.run("document.querySelector('[data-filter=all]').focus()")
    page.press("Tab", 9)
    assert focused(page) == (names[0], "right")
    page.press("w", 87)
    assert focused(page) == (names[1], "right")
    page.press("L", 76)
    page.press("ArrowDown", 40)
    assert focused(page)[0] == names[3]
    page.press("u", 85)
    page.press("ArrowUp", 38)
    page.press("ArrowUp", 38)
    assert focused(page)[0] == names[2]
    page.press("ArrowRight", 39)
    assert focused(page) == (names[2], "wrong")
    page.press("ArrowLeft", 37)
    page.press("Enter", 13, text="\r")
    assert focused(page) == (names[2], "right")
    assert pressed(page) == dict(
        zip(names[:4], ("wrong", "leave out", "right", "unsure"), strict=True)
    )
    assert said(page) == "4 decided: 1 right, 1 wrong, 1 leave out, 1 unsure. Not saved yet."
    page.press("r", 82)  # the same once more takes it back
    assert names[2] not in pressed(page)
    # one step leads into the gallery and one out of it, however many images there are
    page.press("Tab", 9)
    assert focused(page) == ("", "save")
    rows = read(saved(page, tmp_path))
    assert {name: row["decision"] for name, row in rows.items()} == pressed(page)


def test_the_least_familiar_images_are_decided_about_too(
    page: Page, drawn_folder: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(drawn_folder, tmp_path / "discs")
    stripes = np.zeros((32, 32, 3), np.uint8)
    stripes[::2] = (0, 255, 80)
    Image.fromarray(stripes).save(folder / "disc" / "stripes.png")
    write_report(train(folder), tmp_path / "report.html", heat_maps=0)
    page.open((tmp_path / "report.html").as_uri(), width=390, height=844)
    page.run("document.querySelector('[data-filter=unlike]').click()")
    names = shown(page)
    assert "disc/stripes.png" in names[:2]
    size = page.run("document.querySelector('[data-size=unlike]').textContent")
    assert int(size) == len(names) < 8
    card = page.run("document.querySelector('#gallery > li:not([hidden])').textContent")
    assert "Unlike the others: familiarity 0.041" in card
    page.run("document.querySelector('#gallery > li:not([hidden]) [data-decision]').focus()")
    page.press("l", 76)
    assert focused(page)[0] == names[1]
    page.press("l", 76)
    click(page, names[2], "right")
    table = saved(page, tmp_path / "saved")
    assert {name: row["decision"] for name, row in read(table).items()} == {
        names[0]: "leave out",
        names[1]: "leave out",
        names[2]: "right",
    }
    decided = DatasetSpec(folder, decisions=table).listing().decided
    assert decided is not None
    assert {*decided.left_out} == {*names[:2]}


def test_decisions_stay_while_the_page_is_open(page: Page, report: Path, tmp_path: Path) -> None:
    page.open(report.as_uri())
    page.run("document.querySelector('[data-filter=all]').click()")
    name = shown(page)[0]
    click(page, name, "wrong")
    for filter_name in ("mistakes", "doubts", "decided"):
        page.run(f"document.querySelector('[data-filter={filter_name}]').click()")
    assert shown(page) == [name]
    assert pressed(page) == {name: "wrong"}
    asks = "(() => { const e = new Event('beforeunload', { cancelable: true }); dispatchEvent(e); return "
    assert page.run(f"{asks} e.defaultPrevented; }})()")
    saved(page, tmp_path)
    assert not page.run(f"{asks} e.defaultPrevented; }})()")


def test_a_screen_reader_hears_which_label_is_asked_about(page: Page, report: Path) -> None:
    page.open(report.as_uri())
    page.run("document.querySelector('[data-filter=all]').click()")
    nodes = [n for n in page("Accessibility.getFullAXTree")["nodes"] if not n.get("ignored")]
    asked = [n["name"]["value"] for n in nodes if n["role"]["value"] == "toolbar"]
    assert [text.partition("? ")[2] for text in asked] == shown(page)
    assert all(text.startswith("Is the folder’s label ") for text in asked)
    buttons = [n["name"]["value"] for n in nodes if n["role"]["value"] == "button"]
    for word in ("Right", "Wrong", "Leave out", "Unsure"):
        assert buttons.count(word) == len(asked)
    states = {
        p["value"]["value"]
        for n in nodes
        for p in n.get("properties", ())
        if p["name"] == "pressed"
    }
    assert states == {"true", "false"}


@pytest.mark.parametrize("width", [390, 320])
def test_it_can_be_decided_on_a_telephone(
    page: Page, report: Path, width: int, tmp_path: Path
) -> None:
    page.open(report.as_uri(), width=width, height=844)
    page.run("document.querySelector('[data-filter=all]').click()")
    assert page.run("document.documentElement.scrollWidth") <= width
    name = shown(page)[1]
    click(page, name, "leave out")
    assert pressed(page) == {name: "leave out"}
    heights = page.run(
        "[...document.querySelectorAll('#gallery > li:not([hidden]) [data-decision]')].map("
        "(b) => b.getBoundingClientRect().height)"
    )
    assert min(heights) >= 24  # pixels, for a finger
    bar = page.run("document.querySelector('.save').getBoundingClientRect().height")
    assert bar <= 120
    assert read(saved(page, tmp_path))[name]["decision"] == "leave out"


def test_names_that_a_spreadsheet_would_run_are_made_harmless_and_found_again(
    page: Page, drawn_folder: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "discs"
    shutil.copytree(drawn_folder / "disc", folder / "=disc")
    shutil.copytree(drawn_folder / "not disc", folder / 'not; "disc",')
    write_report(train(folder), tmp_path / "report.html", heat_maps=0)
    page.open((tmp_path / "report.html").as_uri())
    page.run("document.querySelector('[data-filter=all]').click()")
    for name in ("=disc/01.jpg", 'not; "disc",/01.jpg'):
        click(page, name, "wrong")
    table = saved(page, tmp_path / "saved")
    assert "\n'=disc/01.jpg,'=disc,wrong," in table.read_text("utf-8")
    decided = DatasetSpec(folder, decisions=table).listing().decided
    assert decided is not None
    assert {*decided.corrected} == {"=disc/01.jpg", 'not; "disc",/01.jpg'}
