"""The example finds photographs or draws images, and says which."""

from __future__ import annotations

import functools
import gzip
import http.server
import importlib
import io
import os
import re
import socket
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture
def alpaca(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    return importlib.import_module("alpaca")


@pytest.fixture
def drawn_images(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    return importlib.import_module("drawn_images")


# Drawing


def test_drawn_images_are_the_same_for_the_same_seed_and_differ_otherwise(
    drawn_images: Any,
) -> None:
    images = [
        np.asarray(drawn_images.draw_image(class_name, number, seed=seed))
        for class_name in ("alpaca", "not alpaca")
        for number in range(7)
        for seed in (0, 1)
    ]
    again = np.asarray(drawn_images.draw_image("alpaca", 0, seed=0))

    assert np.array_equal(images[0], again)
    assert {image.shape for image in images} == {(256, 256, 3)}
    assert len({image.tobytes() for image in images}) == len(images)


def test_drawn_folder_has_both_classes_as_rgb_jpegs(drawn_images: Any, tmp_path: Path) -> None:
    folder = drawn_images.draw_folder(tmp_path / "drawn", count=6)

    files = sorted(path.relative_to(folder) for path in folder.rglob("*.jpg"))
    assert {file.parts[0] for file in files} == {"alpaca", "not alpaca"}
    assert len(files) == 12
    with Image.open(folder / files[0]) as image:
        assert (image.format, image.mode) == ("JPEG", "RGB")


def test_the_background_tells_little_about_the_class(drawn_images: Any) -> None:
    """The upper corners hold sky alone; no threshold on their brightness should tell the classes apart."""
    sky = {
        class_name: np.array(
            [np.asarray(drawn_images.draw_image(class_name, n))[:12].mean() for n in range(48)]
        )
        for class_name in ("alpaca", "not alpaca")
    }
    auc = (sky["alpaca"][:, None] > sky["not alpaca"][None, :]).mean()

    assert 0.3 < auc < 0.7


# The listing


def test_listing_is_that_of_the_published_photographs(alpaca: Any, alpaca_dir: Path) -> None:
    assert alpaca.listing_sha256(alpaca_dir) == alpaca.LISTING_SHA256


def test_listing_sees_content_and_name_but_not_hidden_files(alpaca: Any, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"one")
    before = alpaca.listing_sha256(tmp_path)

    (tmp_path / ".DS_Store").write_bytes(b"clutter")
    assert alpaca.listing_sha256(tmp_path) == before
    (tmp_path / "a.jpg").rename(tmp_path / "b.jpg")
    renamed = alpaca.listing_sha256(tmp_path)
    (tmp_path / "b.jpg").write_bytes(b"two")
    assert len({before, renamed, alpaca.listing_sha256(tmp_path)}) == 3


# The archive


def archive_of(*members: tuple[str, bytes | str]) -> bytes:
    """Pack members: bytes are a file's content, text is the target of a symbolic link."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, content in members:
            member = tarfile.TarInfo(name)
            if isinstance(content, str):
                member.type, member.linkname = tarfile.SYMTYPE, content
                archive.addfile(member)
            else:
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return packed.getvalue()


GOOD = archive_of(
    ("repo-4d18dff/README.md", b"read me"),
    ("repo-4d18dff/dataset/alpaca/.DS_Store", b"clutter"),
    ("repo-4d18dff/dataset/alpaca/one.jpg", b"1"),
    ("repo-4d18dff/dataset/not alpaca/two.jpg", b"2"),
)


@pytest.fixture
def server() -> Iterator[tuple[str, dict[str, bytes]]]:
    """A web server on this machine, and the pages it serves."""
    pages: dict[str, bytes] = {}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path in pages else 404)
            self.end_headers()
            self.wfile.write(pages.get(self.path, b""))

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_port}", pages
        httpd.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def test_photographs_are_fetched_checked_and_then_kept(
    alpaca: Any,
    server: tuple[str, dict[str, bytes]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url, pages = server
    pages["/good"] = GOOD
    expected = tmp_path / "expected"
    for name, content in (("alpaca/one.jpg", b"1"), ("not alpaca/two.jpg", b"2")):
        (expected / name).parent.mkdir(parents=True)
        (expected / name).write_bytes(content)
    monkeypatch.setattr(alpaca, "LISTING_SHA256", alpaca.listing_sha256(expected))
    target = tmp_path / "cache" / "photographs"

    assert alpaca.fetch_photographs(f"{url}/good", target) == target
    pages.clear()
    assert alpaca.fetch_photographs(f"{url}/good", target) == target, (
        "the second time from the cache"
    )
    assert sorted(path.name for path in target.rglob("*.*")) == ["one.jpg", "two.jpg"]
    assert [path.name for path in target.parent.iterdir()] == ["photographs"]
    (target / "alpaca" / "one.jpg").write_bytes(b"changed")
    with pytest.raises(OSError, match="delete it to fetch"):
        alpaca.fetch_photographs(f"{url}/good", target)


@pytest.mark.parametrize(
    "content",
    [GOOD, GOOD[:-40], b"<html>sign in to the hotel's network</html>", gzip.compress(b"text"), b""],
    ids=["other files", "cut short", "a web page", "not an archive", "empty"],
)
def test_what_is_not_the_photographs_leaves_nothing_behind(
    alpaca: Any, server: tuple[str, dict[str, bytes]], tmp_path: Path, content: bytes
) -> None:
    url, pages = server
    pages["/page"] = content

    with pytest.raises(alpaca.UNREACHABLE):
        alpaca.fetch_photographs(f"{url}/page", tmp_path / "cache" / "photographs")

    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("repo/dataset/alpaca/../../../evil.jpg", b"x"),
        ("../dataset/alpaca/evil.jpg", b"x"),
        ("/dataset/alpaca/evil.jpg", b"x"),
        ("/repo/dataset/alpaca/evil.jpg", b"x"),
        ("repo/dataset/alpaca/evil.jpg/..", b"x"),
        ("repo/dataset/alpaca/evil.jpg", "/etc/passwd"),
        ("repo/dataset/other/evil.jpg", b"x"),
        ("repo/dataset/alpaca/evil.sh", b"x"),
    ],
)
def test_only_photographs_in_their_place_are_unpacked(
    alpaca: Any, tmp_path: Path, name: str, content: bytes | str
) -> None:
    target = tmp_path / "deep" / "photographs"

    alpaca.extract_photographs(io.BytesIO(archive_of((name, content))), target)

    unpacked = [path for path in tmp_path.rglob("*") if path.is_file() or path.is_symlink()]
    assert unpacked == []
    if (
        name != "../dataset/alpaca/evil.jpg"
    ):  # the first part is dropped, so this one lands in its place
        assert unpacked == []


# Without a network


def test_a_network_that_never_answers_is_given_up_in_time(alpaca: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        started = time.monotonic()
        with pytest.raises(TimeoutError):
            alpaca.open_url(f"http://127.0.0.1:{silent.getsockname()[1]}/", patience_seconds=0.3)
        assert time.monotonic() - started < 2


def test_a_name_look_up_that_hangs_is_given_up_in_time(
    alpaca: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: release.wait(5) and [])
    try:
        started = time.monotonic()
        with pytest.raises(TimeoutError, match=r"no answer from the network in 0\.3 seconds"):
            alpaca.open_url("http://photographs.invalid/", patience_seconds=0.3)
        assert time.monotonic() - started < 2
    finally:
        release.set()


def test_without_photographs_it_says_so_and_draws(
    alpaca: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse() -> Path:
        raise OSError("Name or service not known")

    monkeypatch.setattr(alpaca, "fetch_photographs", refuse)
    monkeypatch.setattr(alpaca, "draw_folder", functools.partial(alpaca.draw_folder, count=2))
    options = alpaca.parse(["--output", str(tmp_path / "out")])

    folder, images = alpaca.find_images(options)

    said = capsys.readouterr().out
    assert "cannot be fetched: Name or service not known" in said
    assert "DRAWN" in said
    assert "drawn images" in images
    assert len(list(folder.rglob("*.jpg"))) == 4


def test_given_images_are_taken_as_they_are(alpaca: Any, tmp_path: Path) -> None:
    options = alpaca.parse(
        ["--data", str(tmp_path), "--output", str(tmp_path), "--weights", "w.h5"]
    )

    assert alpaca.find_images(options) == (tmp_path, "your images")
    assert options.weights == "w.h5"


# All of it


@pytest.mark.slow
def test_the_command_ends_with_something_to_look_at_even_without_a_network(tmp_path: Path) -> None:
    nothing_listens_here = "http://127.0.0.1:9"
    environment = {
        **os.environ,
        "KERAS_HOME": str(tmp_path / "keras"),
        "https_proxy": nothing_listens_here,
        "http_proxy": nothing_listens_here,
    }
    environment.pop("TF_CPP_MIN_LOG_LEVEL", None)
    done = subprocess.run(
        [sys.executable, EXAMPLES / "alpaca.py", "--output", tmp_path / "out"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    for line in ("absl::InitializeLog", "oneDNN", "cuda", "cuInit", "Memory patch", ".cc:"):
        assert line not in done.stderr
    assert "The alpaca photographs cannot be fetched" in done.stdout
    assert re.search(
        r"^the network is EfficientNetLite0, .* cannot be downloaded", done.stdout, re.M
    )
    assert "Network: EfficientNetLite0, weights: imagenet" in done.stdout
    accuracy = re.search(r"^accuracy ([\d.]+) ", done.stdout, re.M)
    assert accuracy
    assert float(accuracy[1]) >= 0.95
    assert "Evaluation, on drawn images, not photographs:" in done.stdout
    assert re.search(r"alpaca/drawn-\d{3}\.jpg +(not )?alpaca +P\(alpaca\) = 0\.\d{3}", done.stdout)
    results = {path.name for path in (tmp_path / "out").iterdir()}
    figures = {"curves.png", "samples.png", "views.png"}
    assert results == {"alpaca.keras", "drawn images", "report.html", *figures}
    assert "drawn images" in (tmp_path / "out" / "report.html").read_text()
