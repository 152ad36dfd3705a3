"""`tlkit serve`: what it answers, whom it answers, and that nothing which is sent to it harms the others."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import re
import signal
import socket
import tempfile
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import hostile
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")
pytest.importorskip("python_multipart")

from serving import Answer, Client, command, form, server

import tlkit
from tlkit import TransferClassifier
from tlkit.backbones.engines import BATCH_SIZE
from tlkit.classifier.classifier import with_card
from tlkit.classifier.predictor import Predictor
from tlkit.cli.app import main
from tlkit.core.rows import Images
from tlkit.core.tables import as_json
from tlkit.delivery import serve as serving
from tlkit.delivery import server_connections
from tlkit.delivery.predictions import COLUMNS, as_row
from tlkit.delivery.serve import Address
from tlkit.delivery.server_batches import Desk
from tlkit.delivery.server_page import Page
from tlkit.delivery.server_uploads import Limits, RefusedError, Upload
from tlkit.errors import MissingExtraError, SettingError, TlkitError
from tlkit.evaluation.decisions import Guarantee
from tlkit.insight.neighbours import FeatureIndex

Floats = npt.NDArray[np.float64]
HONEST_SECONDS = 10  # for one small image, on a machine that may be busy


@pytest.fixture(scope="module")
def ask(classifier: TransferClassifier, drawn_folder: Path) -> Iterator[Client]:
    """A server of the shared classifier, in this process."""
    with server(classifier, similar=FeatureIndex(classifier, drawn_folder)) as client:
        yield client


@pytest.fixture(scope="module")
def folder(classifier: TransferClassifier, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("served") / "discs-onnx"
    tlkit.export(classifier, path, format="onnx")
    return path


@pytest.fixture(scope="module")
def photo(drawn_folder: Path) -> bytes:
    return (drawn_folder / "disc" / "00.jpg").read_bytes()


def refused(answer: Answer, status: int, words: str) -> None:
    """Check that an answer is a refusal, in one sentence."""
    assert answer.status == status, answer.body
    assert answer.json.keys() == {"error"}
    assert re.search(words, answer.json["error"]), answer.json
    assert "\n" not in answer.json["error"]


# What it answers


def test_a_form_is_answered_with_the_rows_of_a_table_of_predictions(
    ask: Client, classifier: TransferClassifier, drawn_folder: Path
) -> None:
    paths = [*sorted(drawn_folder.rglob("*.jpg"))[::5]]
    sent = [(f"{number}.jpg", path.read_bytes()) for number, path in enumerate(paths)]
    sent.insert(3, ("page.png", b"<html>"))
    answer = ask.post("/predict", sent)
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    outcomes = iter(classifier.predict(paths))
    for (name, _), row in zip(sent, answer.json["predictions"], strict=True):
        assert [*row] == [*COLUMNS]
        if name == "page.png":
            assert row["error"] == "not an image (its bytes are HTML)"
            assert {row[column] for column in COLUMNS} == {name, row["error"], None}
            continue
        expected = dict(zip(COLUMNS, as_row(name, next(outcomes)), strict=True))
        for number in ("probability", "confidence"):
            assert row.pop(number) == pytest.approx(expected.pop(number), abs=1e-5)
        assert row == json.loads(as_json(expected))


def test_the_bytes_of_one_image_are_answered_too(
    ask: Client, classifier: TransferClassifier, drawn_folder: Path
) -> None:
    path = drawn_folder / "not disc" / "07.jpg"
    for kind in ("image/jpeg", "application/x-www-form-urlencoded", "", None):
        headers = {} if kind is None else {"content-type": kind}
        (row,) = ask("POST", "/predict", path.read_bytes(), headers).json["predictions"]
        assert (row["path"], row["label"], row["positive_class"]) == (None, "not disc", "disc")
        assert row["probability"] == pytest.approx(classifier.predict(path).probability, abs=1e-5)


def test_where_no_file_can_be_read_the_status_says_so(ask: Client) -> None:
    answer = ask("POST", "/predict", b"<html>")
    assert answer.status == 422
    assert answer.json["error"].startswith("the file cannot be read as an image: not an image")
    answer = ask.post("/predict", [("a.jpg", b""), ("b.jpg", hostile.jpeg()[:300])])
    assert answer.status == 422
    assert answer.json["error"] == "none of the 2 files can be read as an image"
    assert [row["path"] for row in answer.json["predictions"]] == ["a.jpg", "b.jpg"]
    assert all(row["error"] for row in answer.json["predictions"])


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        ("../../etc/passwd.jpg", "passwd.jpg"),
        ("C:\\\\Users\\\\me\\\\photo.jpg", "photo.jpg"),
        ("/", "image"),
        ("a\tb.jpg", "a\\tb.jpg"),
        ("<script>alert(1)</script>.jpg", "script>.jpg"),
        ("läma 🦙.jpg", "läma 🦙.jpg"),
        ("x" * 900 + ".jpg", "x" * 196 + ".jpg"),
    ],
)
def test_a_name_is_told_without_its_folders(
    ask: Client, photo: bytes, sent: str, told: str
) -> None:
    (row,) = ask.post("/predict", [(sent, photo)]).json["predictions"]
    assert row["path"] == told
    assert row["label"] == "disc"
    page = ask.post("/", [(sent, photo)], {"accept": "text/html"}).body.decode()
    assert "<script>alert" not in page


def test_the_model_tells_what_it_is_and_not_where_it_lies(
    ask: Client, classifier: TransferClassifier, drawn_folder: Path, photo: bytes
) -> None:
    answer = ask("GET", "/model")
    facts = answer.json
    assert facts["class_names"] == ["disc", "not disc"]
    assert (facts["positive_class"], facts["threshold"]) == ("disc", 0.5)
    assert facts["image_size"] == [*classifier.image_size]
    assert facts["fingerprint"] == classifier.fingerprint
    assert facts["versions"]["tlkit"] == tlkit.__version__
    assert facts["limits"]["files"] == 32
    assert ask("GET", "/health").json == {"status": "ok"}
    pages = [ask("GET", path).body for path in ("/", "/model", "/openapi.json")]
    pages.append(ask.post("/", [("a.jpg", photo)]).body)
    for page in pages:
        for secret in (str(drawn_folder), drawn_folder.name, "/tmp", "00.jpg"):
            assert secret.encode() not in page


def test_openapi_describes_what_is_answered(ask: Client, photo: bytes) -> None:
    description = ask("GET", "/openapi.json").json
    schemas = description["components"]["schemas"]

    def fits(value: Any, schema: dict[str, Any]) -> None:
        if "$ref" in schema:
            fits(value, schemas[schema["$ref"].rsplit("/", 1)[1]])
            return
        for part in schema.get("allOf", []):
            fits(value, part)
        if "const" in schema:
            assert value == schema["const"]
        kinds = schema.get("type", "object")
        kind = {
            "object": dict, "array": list, "string": str, "number": float, "integer": int, "null": type(None),
        }  # fmt: skip
        assert isinstance(
            value, tuple(kind[k] for k in ([kinds] if isinstance(kinds, str) else kinds))
        )
        if isinstance(value, dict) and "properties" in schema:
            assert {*schema["required"]} <= value.keys()
            for name, part in schema["properties"].items():
                fits(value[name], part)
        if isinstance(value, list) and "items" in schema:
            for item in value:
                fits(item, schema["items"])

    met = set()
    requests: tuple[tuple[str, str, bytes | None], ...] = (
        ("POST", "/predict", photo), ("POST", "/predict", b"<html>"), ("POST", "/predict", b""),
        ("GET", "/model", None), ("GET", "/health", None),
    )  # fmt: skip
    for method, path, body in requests:
        answer = ask(method, path, body)
        described = description["paths"][path][method.lower()]["responses"][str(answer.status)]
        fits(answer.json, described["content"]["application/json"]["schema"])
        met.add(path)
    assert met == {*description["paths"]}
    assert description["openapi"] == "3.1.0"
    assert "security" not in description


def test_what_there_is_not_is_said_in_a_sentence(ask: Client) -> None:
    for method, path, status in (
        ("GET", "/nothing", 404),
        ("GET", "/predict", 405),
        ("PUT", "/", 405),
    ):
        refused(ask(method, path), status, r"there is no (GET|PUT) of this address: .*/predict")


# The page


def test_the_page_works_without_a_script(ask: Client, photo: bytes) -> None:
    empty = ask("GET", "/", None, {"accept": "text/html"})
    assert empty.headers["content-type"] == "text/html; charset=utf-8"
    assert "disc or not disc?" in empty.body.decode()
    assert 'enctype="multipart/form-data"' in empty.body.decode()
    answer = ask.post("/", [("a.jpg", photo), ("b.jpg", b"none")], {"accept": "text/html"})
    page = answer.body.decode()
    assert answer.status == 200
    first, second = re.findall(r'(?s)<li class="result.*?</li>', page)
    assert re.search(r'<h3 class="positive">disc</h3>', first)
    assert re.search(r"probability of disc <strong>[01]\.\d\d</strong>", first)
    assert "where the evidence for disc lies" in first
    assert first.count("<img") == 2 + 3  # the image, its heat map, three that are alike
    assert "cannot be read" in second
    assert not re.search(r'(src|href|action)="(?!\./"|page\.|data:)', page)
    nothing = ask.post("/", [], {"accept": "text/html"})
    assert nothing.status == 400
    assert 'role="alert">a request must bring an image' in nothing.body.decode()


def test_what_is_left_to_a_person_is_called_unsure(
    classifier: TransferClassifier, drawn_folder: Path
) -> None:
    paths = [drawn_folder / name / "00.jpg" for name in ("disc", "not disc")]
    low, high = sorted(prediction.logit for prediction in classifier.predict(paths))
    guarantee = Guarantee(
        lower_logit=low + 1e-3, upper_logit=high + 1e-3, threshold=0.5, error=0.02, confidence=0.9,
        part="out-of-fold", true_positives=50, false_positives=0, unsure_positives=1,
        true_negatives=50, false_negatives=0, unsure_negatives=1,
    )  # fmt: skip
    careful = with_card(classifier, classifier.card.guaranteed(guarantee))
    with server(careful) as ask:
        sent = [(path.name, path.read_bytes()) for path in paths]
        rows = ask.post("/predict", sent).json["predictions"]
        assert [row["decision"] for row in rows] == ["unsure", "not disc"]
        assert [row["label"] for row in rows] == ["disc", "not disc"]
        page = ask.post("/", sent).body.decode()
        assert re.findall(r"<h3 class=\"(\w+)\">([^<]+)</h3>", page) == [
            ("unsure", "unsure"), ("negative", "not disc"),
        ]  # fmt: skip
        assert "a person should look; it leans to disc" in page
        assert "between them it is unsure: of the images it decides at most 2 % are wrong" in page
        assert "at most 2 % are wrong" in ask("GET", "/model").json["guarantee"]


def test_what_is_unlike_the_training_images_is_called_unfamiliar(
    classifier: TransferClassifier, photo: bytes
) -> None:
    stripes = np.zeros((32, 32, 3), np.uint8)
    stripes[::2] = (0, 255, 80)
    foreign = hostile.encode(Image.fromarray(stripes), "PNG")
    with server(classifier.with_unfamiliar_level(0.05)) as ask:
        sent = [("disc.jpg", photo), ("stripes.png", foreign)]
        disc, other = ask.post("/predict", sent).json["predictions"]
        assert disc["decision"] == "disc"
        assert other["decision"] == "unfamiliar"
        assert other["familiarity"] <= 0.05 < disc["familiarity"]
        page = ask.post("/", sent).body.decode()
        first, second = re.findall(r'(?s)<li class="result.*?</li>', page)
        assert f"familiarity <strong>{disc['familiarity']:.2g}</strong>" in first
        assert "learned from: a person should look" not in first
        assert '<h3 class="unsure">unfamiliar</h3>' in second
        assert "unlike the images that it learned from: a person should look" in second
        assert "at most 0.05 it calls unfamiliar" in page
        assert ask("GET", "/model").json["unfamiliar_level"] == 0.05


def test_every_answer_forbids_what_a_page_does_not_need(ask: Client, photo: bytes) -> None:
    for answer in (
        ask("GET", "/"), ask("GET", "/page.js"), ask("GET", "/page.css"), ask("GET", "/nothing"),
        ask("POST", "/predict", photo), ask("POST", "/predict", b"x"), ask("GET", "/model"),
        ask("GET", "/model", None, {"host": "evil.example"}),
    ):  # fmt: skip
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        assert not [name for name in answer.headers if name.startswith("access-control")]
        assert "server" not in answer.headers


# Whom it answers


def test_foreign_names_are_refused(classifier: TransferClassifier) -> None:
    with server(classifier, names=["alpaca.example"]) as ask:
        for name in ("127.0.0.1", "localhost:1", "[::1]:8000", "10.0.0.7", "ALPACA.example:443"):
            assert ask("GET", "/health", None, {"host": name}).status == 200
        for name in (
            "evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "a b", "",
            "evil.example@localhost", "localhost:80@evil.example", "localhost/", "alpaca.example.",
        ):  # fmt: skip
            refused(ask("GET", "/health", None, {"host": name}), 403, "does not go by the name")
        assert ask.raw(b"GET /health HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 403")


def test_pages_of_other_sites_cannot_ask(ask: Client, photo: bytes) -> None:
    own = f"127.0.0.1:{ask.port}"
    for origin in (f"http://{own}", f"https://{own}"):
        assert ask("POST", "/predict", photo, {"origin": origin, "host": own}).status == 200
    for origin in ("http://evil.example", "null", "http://127.0.0.1:1", "http://localhost"):
        for path in ("/", "/predict"):
            answer = ask("POST", path, photo, {"origin": origin, "host": own})
            refused(answer, 403, "not the pages of")


def test_with_a_token_only_those_who_know_it_are_answered(
    classifier: TransferClassifier, photo: bytes
) -> None:
    with server(classifier, token="a-good-secret") as ask:
        for method, path in (
            ("GET", "/"),
            ("GET", "/model"),
            ("POST", "/predict"),
            ("GET", "/page.js"),
        ):
            answer = ask(method, path, photo if method == "POST" else None)
            refused(answer, 401, "needs its token")
            assert answer.headers["www-authenticate"] == "Bearer"
        assert ask("GET", "/health").status == 200
        wrong = (
            "Bearer a-good-secre",
            "Bearer",
            "Basic a-good-secret",
            "a-good-secret",
            "Bearer é",
        )
        for value in wrong:
            headers = {"authorization": value}
            assert ask("POST", "/predict", photo, headers).status == 401
        for value in ("Bearer a-good-secret", "bearer  a-good-secret"):
            assert ask("POST", "/predict", photo, {"authorization": value}).status == 200
        assert ask("GET", "/?token=wrong").status == 401
        page = ask("GET", "/", None, {"accept": "text/html"})
        assert page.status == 401
        assert 'name="token"' in page.body.decode()
        entered = ask("GET", "/?token=a-good-secret")
        assert (entered.status, entered.headers["location"]) == (303, "./")
        cookie = entered.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=strict" in cookie
        headers = {"cookie": f"other=1; {cookie.split(';')[0]}"}
        assert ask("GET", "/", None, headers).status == 200
        description = ask("GET", "/openapi.json", None, headers).json
        assert description["security"] == [{"token": []}]
        assert "a-good-secret" not in json.dumps(description)


# Limits


def test_what_is_too_large_is_refused(classifier: TransferClassifier, photo: bytes) -> None:
    limits = Limits(file_bytes=20_000, pixels=10_000, files=3, waiting=3)
    with server(classifier, limits) as ask:
        assert ask("POST", "/predict", photo).status == 200
        refused(ask("POST", "/predict", bytes(20_001)), 413, r"a file may have 0\.02 MB")
        refused(ask.post("/predict", [("a", bytes(20_001))]), 413, r"a file may have 0\.02 MB")
        refused(ask.post("/predict", [("a", photo)] * 4), 413, "may bring 3 files")
        kind, body = form([("", b"")] * 900)
        refused(
            ask("POST", "/predict", body, {"content-type": kind}), 413, r"a request may have 0\.1"
        )
        answer = ask("POST", "/predict", hostile.jpeg())  # 128 x 96
        assert answer.status == 422
        assert "megapixels" in answer.json["error"]
        page = ask("POST", "/", bytes(20_001), {"accept": "text/html"})
        assert page.status == 413
        assert "a file may have 0.02 MB" in page.body.decode()
        assert ask("POST", "/predict", photo).status == 200


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("multipart/form-data", b"--x\r\n"),
        ("multipart/form-data; boundary=", b"--x\r\n"),
        ("multipart/form-data; boundary=x", b""),
        (
            "multipart/form-data; boundary=x",
            b"--x\r\nContent-Disposition: form-data; name=a; filename=b\r\n",
        ),
        ("multipart/form-data; boundary=x", b"--y\r\n\r\nz\r\n--y--"),
        ("multipart/form-data; boundary=x", b"--x\r\n" + b"A: b\r\n" * 10_000),
        ("multipart/form-data; boundary=x", b"--x\r\n" + b"A" * 100_000),
        (f"multipart/form-data; boundary={'x' * 5000}", b"--x\r\n"),
        (
            "multipart/form-data; boundary=x",
            b"--x\r\nContent-Disposition: form-data; name=a\r\n\r\nb\r\n--x--",
        ),
        ("text/plain", b""),
    ],
)
def test_a_form_that_is_none_is_refused(ask: Client, kind: str, body: bytes) -> None:
    refused(ask("POST", "/predict", body, {"content-type": kind}), 400, "form|must bring an image")


# Batches


class Slow(Predictor):
    """Takes its time, and notes how many images it was given at once."""

    def __init__(self, seconds: float, fail: bool = False) -> None:
        self.seconds, self.fail = seconds, fail
        self.sizes: list[int] = []

    @property
    def model(self) -> Any:
        raise AssertionError

    network = model

    def digest(self) -> str:
        return "slow"

    identity = digest

    familiarity = None

    def _batches(
        self, _images: Images, _count: int
    ) -> Callable[[Images], tuple[Floats, npt.NDArray[np.float32] | None]]:
        def run(images: Images) -> tuple[Floats, npt.NDArray[np.float32] | None]:
            self.sizes.append(len(images))
            time.sleep(self.seconds)
            if self.fail:
                raise RuntimeError("the network is gone")
            logits: Floats = images[:, 0, 0, 0].astype(np.float64) / 64 - 2
            return logits, None

        return run


@contextlib.contextmanager
def slow_server(
    classifier: TransferClassifier,
    seconds: float,
    limits: Limits | None = None,
    *,
    fail: bool = False,
    grace: int | None = None,
) -> Iterator[tuple[Client, Slow]]:
    from tlkit.classifier.card import ModelCard

    card = classifier.card.without_names()
    assert type(card) is ModelCard
    predictor = Slow(seconds, fail)
    made = TransferClassifier(predictor, card)

    with pytest.MonkeyPatch.context() as patch:
        from tlkit.delivery import server_page

        def none(_classifier: object) -> None:
            raise SettingError("it has none")

        patch.setattr(server_page, "Explainer", none)
        with server(made, limits, grace=grace) as client:
            yield client, predictor


def test_requests_that_wait_together_are_computed_together(classifier: TransferClassifier) -> None:
    colours = [hostile.jpeg(hostile.rgb().point(lambda _v, c=c: c)) for c in range(0, 250, 5)]
    with (
        slow_server(classifier, 0.05) as (ask, predictor),
        ThreadPoolExecutor(len(colours)) as pool,
    ):
        answers = list(pool.map(lambda image: ask("POST", "/predict", image), colours))
        assert sum(predictor.sizes) == len(colours)
        assert len(predictor.sizes) < len(colours) / 2
        assert max(predictor.sizes) <= BATCH_SIZE
        found = [answer.json["predictions"][0]["probability"] for answer in answers]
        assert found == sorted(found)  # everybody got their own answer
        assert len({*found}) == len(colours)
        predictor.sizes.clear()
        before = time.perf_counter()
        ask.post("/predict", [("a", image) for image in colours[:30]])
        assert predictor.sizes[0] > 1
        assert time.perf_counter() - before < 2


def test_beyond_what_may_wait_others_are_told_to_come_again(
    classifier: TransferClassifier, photo: bytes
) -> None:
    limits = Limits(waiting=4, files=4)
    with slow_server(classifier, 0.5, limits) as (ask, _), ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda _: ask("POST", "/predict", photo), range(12)))
        statuses = [answer.status for answer in answers]
        assert {*statuses} == {200, 503}
        assert statuses.count(200) >= 4
        for answer in answers:
            if answer.status == 503:
                refused(answer, 503, "no more than 4 may: send it again")
                assert answer.headers["retry-after"] == "1"
        assert ask("POST", "/predict", photo).status == 200


def test_a_fault_of_the_network_is_everybodys_answer_and_ends_nothing(
    classifier: TransferClassifier, photo: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    with slow_server(classifier, 0, fail=True) as (ask, predictor):
        refused(ask("POST", "/predict", photo), 500, "its log says why")
        last = time.monotonic() + HONEST_SECONDS
        while "the network is gone" not in caplog.text and time.monotonic() < last:
            time.sleep(0.01)  # it is logged once the answer is sent
        assert "the network is gone" in caplog.text
        predictor.fail = False
        assert ask("POST", "/predict", photo).status == 200


# Those who hang, break off, or mean harm


def test_a_request_that_hangs_costs_the_others_nothing(
    classifier: TransferClassifier, photo: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_connections, "HEAD_SECONDS", 1.0)
    monkeypatch.setattr(server_connections, "SECONDS", 4.0)
    head = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n"
    with server(classifier, Limits(seconds=2.0)) as ask, contextlib.ExitStack() as stack:
        lines = []
        for content in [b"", b"POST /pre", head, head + photo[:500]] * 15:
            line = socket.create_connection(("127.0.0.1", ask.port), timeout=20)
            lines.append(stack.enter_context(line))
            line.sendall(content)
        before = time.perf_counter()
        for _ in range(5):
            assert ask("POST", "/predict", photo).status == 200
        assert time.perf_counter() - before < HONEST_SECONDS
        for number, line in enumerate(lines):
            found = b""
            with contextlib.suppress(ConnectionError):
                while piece := line.recv(2**16):
                    found += piece
            if number % 4 >= 2:
                assert found.startswith(b"HTTP/1.1 408")
                assert b"must arrive within 2 seconds" in found
            else:
                assert found == b""
        line = stack.enter_context(socket.create_connection(("127.0.0.1", ask.port), timeout=20))
        line.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        answered = b""
        while not answered.endswith(b"}"):
            answered += line.recv(2**16)
        assert answered.startswith(b"HTTP/1.1 200")
        line.sendall(b"GET /hea")  # on a connection that was used before
        with contextlib.suppress(ConnectionError):
            assert line.recv(2**16) == b""


CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("first", "then", "said"),
    [
        # It is refused at once, and what follows in the same packet is no HTTP.
        (
            b"POST / HTTP/1.1\r\nHost: evil.example\r\n" + CHUNKED + b"1\r\nx\r\nzz\r\n",
            b"",
            b"not HTTP",
        ),
        # It has been answered, and what still comes of it is none.
        (
            b"POST /nothing HTTP/1.1\r\nHost: localhost\r\n" + CHUNKED,
            b"zz\r\n",
            b"there is no POST",
        ),
        (b"POST /predict HTTP/1.1\r\nHost: localhost\r\n" + CHUNKED, b"zz\r\n", b"not HTTP"),
        (b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\nzz\r\n\r\n", b"", b"not HTTP"),
        (b"\x16\x03\x01\x02\r\n\r\n", b"", b"not HTTP"),
        (b"GET /health HTTP/1.1\r\nHost: [\r\n\r\n", b"", b"does not go by the name"),
        (
            b"POST / HTTP/1.1\r\nHost: localhost\r\nOrigin: http://[\r\nContent-Length: 0\r\n\r\n",
            b"",
            b"not the pages of",
        ),
    ],
)
def test_what_is_no_http_gets_a_sentence_and_leaves_no_trace(
    ask: Client, caplog: pytest.LogCaptureFixture, first: bytes, then: bytes, said: bytes
) -> None:
    with socket.create_connection(("127.0.0.1", ask.port), timeout=20) as line:
        line.sendall(first)
        found = b""
        if then:
            time.sleep(0.3)  # what came first has been looked at
            line.sendall(then)
        with contextlib.suppress(ConnectionError):
            while piece := line.recv(2**16):
                found += piece
    assert said in found
    assert b" 500 " not in found
    assert ask("GET", "/health").status == 200
    assert caplog.records == []


@pytest.mark.parametrize(
    "head",
    [
        b"Host: evil.example\r\nContent-Length: 8000000",
        b"Host: localhost\r\nContent-Length: -1",
        b"Host: localhost\r\nContent-Length: 10",  # and sends more
    ],
)
@pytest.mark.parametrize("close", [b"", b"\r\nConnection: close"])
def test_a_client_that_is_refused_hears_it_once_it_has_sent_all(
    ask: Client, head: bytes, close: bytes
) -> None:
    request = b"POST /predict HTTP/1.1\r\n" + head + close + b"\r\n\r\n" + bytes(8_000_000)
    for _ in range(4):
        assert ask.raw(request, seconds=4).startswith(b"HTTP/1.1 4")


def test_a_client_that_is_refused_cannot_go_on_sending(
    ask: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_connections, "LINGER_SECONDS", 1.0)
    with socket.create_connection(("127.0.0.1", ask.port), timeout=20) as line:
        line.sendall(b"nothing of HTTP\r\n\r\n")
        before = time.monotonic()
        with contextlib.suppress(ConnectionError):
            while time.monotonic() - before < HONEST_SECONDS:
                line.sendall(bytes(1000))
                time.sleep(0.05)
        assert 0.5 < time.monotonic() - before < HONEST_SECONDS


def test_a_server_that_has_waited_long_enough_says_so_and_leaves_no_trace(
    classifier: TransferClassifier, photo: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """One image is computed, others wait to be decoded or drawn, and one is still sent, when grace ends."""
    head = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n"
    with ThreadPoolExecutor(8) as pool, contextlib.ExitStack() as stack:
        with slow_server(classifier, 3, grace=1) as (ask, predictor):
            line = stack.enter_context(
                socket.create_connection(("127.0.0.1", ask.port), timeout=20)
            )
            line.sendall(head + photo[:500])
            paths = ["/predict", "/"] * 3
            asked = [pool.submit(ask.post, path, [("a.jpg", photo)]) for path in paths]
            while not predictor.sizes:
                time.sleep(0.01)
        found = b""
        with contextlib.suppress(ConnectionError):
            while piece := line.recv(2**16):
                found += piece
        assert found.startswith(b"HTTP/1.1 503")
        for answer in asked:
            assert answer.result().status == 503
            assert b"the server is being stopped: send it again" in answer.result().body
    assert [record.exc_info for record in caplog.records] == [None]  # "Cancel 7 running task(s)"


def test_what_comes_when_the_desk_is_closed_is_refused(
    classifier: TransferClassifier, photo: bytes
) -> None:
    """As a connection does that was accepted when the server had begun to stop."""
    limits, files = Limits(), [Upload("a.jpg", photo)]

    async def late() -> None:
        desk, page = Desk(classifier, limits), Page(classifier, limits)
        outcomes = await desk.predict(files)
        desk.close()
        page.close()
        with pytest.raises(RefusedError, match="is being stopped"):
            await desk.predict(files)
        with pytest.raises(RefusedError, match="is being stopped"):
            await page.filled(files, outcomes)

    asyncio.run(late())


def test_nothing_is_written_to_a_disk(ask: Client, opened: list[str], photo: bytes) -> None:
    large = hostile.encode(hostile.rgb().resize((1500, 1500)), "BMP")
    assert len(large) > 2**22
    opened.clear()
    assert ask.post("/predict", [("a.bmp", large), ("b.jpg", photo)]).status == 200
    assert ask("POST", "/predict", large).status == 200
    assert ask.post("/", [("a.bmp", large)]).status == 200
    shared = tempfile.gettempdir()
    assert [path for path in opened if path.startswith(shared) and not path.endswith(".jpg")] == []


FUZZ = pytest.param(300, id="300"), pytest.param(10_000, id="10000", marks=pytest.mark.long)


@pytest.mark.parametrize("count", FUZZ)
def test_hostile_requests_get_a_sentence_and_honest_ones_their_answer(
    classifier: TransferClassifier,
    photo: bytes,
    count: int,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(server_connections, "HEAD_SECONDS", 1.0)
    limits = Limits(file_bytes=2_000_000, pixels=4_000_000, seconds=1.5)
    failures: list[str] = []
    ended = threading.Event()
    waits: list[float] = []

    def honest(ask: Client) -> None:
        while not ended.is_set():
            before = time.perf_counter()
            answer = ask("POST", "/predict", photo)
            waits.append(time.perf_counter() - before)
            if answer.status != 200 or answer.json["predictions"][0]["label"] != "disc":
                failures.append(repr(answer.body))

    with server(classifier, limits) as ask:
        other = threading.Thread(target=honest, args=(ask,))
        other.start()
        try:
            with ThreadPoolExecutor(16) as pool:
                statuses = list(pool.map(lambda seed: attack(ask, seed, photo), range(count)))
        finally:
            ended.set()
            other.join(60)
        assert failures == []
        assert len(waits) > 5
        assert max(waits) < HONEST_SECONDS
        assert {200, 400, 403, 413, 422} <= {*statuses}
        assert {*statuses} <= {0, 200, 400, 403, 404, 405, 408, 413, 422, 503}
        assert ask("GET", "/health").status == 200
    assert [record.getMessage() for record in caplog.records if record.exc_info] == []


def attack(ask: Client, seed: int, photo: bytes) -> int:
    """Send something that nobody should; return the status, 0 where the server hung up without one."""
    rng = np.random.default_rng(seed)
    content = bytearray(BODIES[int(rng.integers(len(BODIES)))](photo))
    for _ in range(int(rng.integers(6))):
        if content:
            content[int(rng.integers(len(content)))] = int(rng.integers(256))
    kind, body = "application/octet-stream", bytes(content)
    if rng.random() < 0.6:
        name = NAMES[int(rng.integers(len(NAMES)))]
        kind, body = form([(name, body)] * int(rng.integers(1, 4)))
        if rng.random() < 0.3:
            damaged = bytearray(body)
            damaged[int(rng.integers(min(200, len(damaged))))] ^= 1 << int(rng.integers(8))
            body = bytes(damaged)
    head = [
        f"{'POST' if rng.random() < 0.9 else 'PUT'} {'/predict' if rng.random() < 0.7 else '/'} HTTP/1.1",
        f"Host: {'localhost' if rng.random() < 0.95 else HOSTS[int(rng.integers(len(HOSTS)))]}",
        f"Content-Type: {kind}",
        *(
            [f"Origin: http://{HOSTS[int(rng.integers(len(HOSTS)))]}"]
            if rng.random() < 0.03
            else []
        ),
        *(
            ["Cookie: \x01=\xff;;;=", f"X: {'y' * int(rng.integers(9000))}"]
            if rng.random() < 0.1
            else []
        ),
        "Connection: close",
    ]
    length = len(body)
    way = rng.random()
    if way < 0.1:  # cut off
        body = body[: length // 2]
    elif way < 0.15:  # more than was said
        length //= 2
    if way > 0.9:
        head.append("Transfer-Encoding: chunked")
        body = (
            f"{len(body):x}\r\n".encode()
            + body
            + b"\r\n"
            + (b"0\r\n\r\n" if way > 0.93 else b"zz\r\n")
        )
    else:
        head.append(f"Content-Length: {length if way < 0.88 else rng.integers(-10, 10**9)}")
    request = "\r\n".join(head).encode("latin-1") + b"\r\n\r\n" + body
    if rng.random() < 0.05:
        request = rng.bytes(int(rng.integers(1, 400)))
    broken_off = rng.random() < 0.1
    found = ask.raw(request, cut_off=broken_off)
    if not found:
        assert broken_off or not head_of(request), request[:600]
        return 0
    first, _, rest = found.partition(b"\r\n")
    status = int(first.split()[1])
    if status != 200:
        said = rest.partition(b"\r\n\r\n")[2].decode()
        assert len(said) > 20 and " " in said, found  # noqa: PT018 - a sentence
        assert "Traceback" not in said
    return status


def head_of(request: bytes) -> bytes:
    """Return the head of a request; nothing where it is not complete, or no HTTP from the start."""
    head, end, _ = request.partition(b"\r\n\r\n")
    return head if end and head.startswith((b"POST", b"PUT")) else b""


HOSTS = (
    "evil.example",
    "[",
    "[::1",
    "localhost:99999999",
    "\xe4",
    "a b",
    "localhost@evil.example",
    "",
)
NAMES = (
    "a.jpg", "../../../../etc/passwd", "C:\\\\windows\\\\win.ini", "/dev/zero", "\x00.jpg", "a" * 3000,
    "a.jpg\r\nContent-Type: text/html", "\u202egpj.exe", "%2e%2e%2f", "", "con",
    "<img src=x onerror=alert(1)>",
)  # fmt: skip
BODIES: tuple[Callable[[bytes], bytes], ...] = (
    lambda photo: photo,
    lambda photo: photo,
    lambda photo: photo[: len(photo) // 2],
    lambda _: b"",
    lambda _: b"<html><script>alert(1)</script>",
    lambda _: bytes(3_000_000),
    lambda _: hostile.png_chunks(60_000, 60_000, 8, b"\x78\x9c" + bytes(50)),
    lambda _: hostile.png_chunks(1900, 1900, 8, zlib.compress(bytes(1901 * 1900))),
    lambda _: hostile.png_chunks(2**31 - 1, 2**31 - 1, 8, b""),
    lambda _: b"GIF89a" + b"\xff" * 400,
    lambda _: b"II*\x00" + b"\xff" * 400,
    lambda _: b"PK\x03\x04" + bytes(300),
    lambda photo: photo + bytes(100_000),
    lambda _: hostile.jpeg(exif=hostile.exif(6)),
    lambda _: b"%PDF-1.7 /etc/passwd",
    lambda _: b'{"path": "/etc/passwd"}',
)


# The command


def test_the_command_serves_an_exported_folder_without_tensorflow_and_stops_with_grace(
    folder: Path, classifier: TransferClassifier, drawn_folder: Path, photo: bytes
) -> None:
    path = drawn_folder / "disc" / "00.jpg"
    with command(folder) as (ask, process):
        (row,) = ask("POST", "/predict", photo).json["predictions"]
        assert row["probability"] == pytest.approx(classifier.predict(path).probability, abs=1e-4)
        page = ask.post("/", [("a.jpg", photo)]).body.decode()
        assert page.count("<img") == 1  # without its network there is no heat map
        assert (
            ask("GET", "/model").json["fingerprint"] == TransferClassifier.load(folder).fingerprint
        )
        line = http.client.HTTPConnection("127.0.0.1", ask.port, timeout=30)
        line.putrequest("POST", "/predict")
        line.putheader("content-length", str(len(photo)))
        line.endheaders()
        line.send(photo[:100])
        time.sleep(0.3)
        process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        with pytest.raises(OSError):  # noqa: PT011 - refused or reset, as the system has it
            ask("GET", "/health")
        line.send(photo[100:])
        answer = line.getresponse()
        assert answer.status == 200
        assert json.loads(answer.read())["predictions"][0]["label"] == "disc"
        line.close()
        assert process.wait(30) == 143
        assert process.stderr is not None
        assert process.stderr.read() == ""


def test_beyond_this_machine_a_token_is_made_and_ctrl_c_is_the_usual_end(
    folder: Path, photo: bytes
) -> None:
    with command(folder, "--host", "0.0.0.0", token=True) as (ask, process):
        assert len(ask.headers["authorization"]) > 25
        assert ask("POST", "/predict", photo).status == 200
        assert Client(ask.port)("POST", "/predict", photo).status == 401
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"port": 70_000}, "`port` must be 0 to 65535"),
        ({"port": "8000"}, "`port` must be a whole number"),
        ({"host": None}, "`host` must be a str"),
        ({"token": "short"}, "`token` must be at least 8"),
        ({"token": "with a space in it"}, "`token` must be at least 8"),
        ({"token": "long enough", "no_token": True}, "contradict"),
        ({"no_token": "yes"}, "`no_token` must be True or False"),
        ({"allowed_hosts": ["http://a.example/"]}, "`allowed_hosts` must be names"),
        ({"max_files": 0}, "`max_files` must be at least 1"),
        ({"max_file_bytes": -1}, "`max_file_bytes` must be at least 1"),
        ({"max_waiting": 3}, "`max_waiting` must be at least 32"),
    ],
)
def test_arguments_are_checked(
    classifier: TransferClassifier, arguments: dict[str, Any], words: str
) -> None:
    with pytest.raises(SettingError, match=words):
        tlkit.serve(classifier, **arguments)


def test_an_address_that_is_taken_is_named_before_any_work(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(
            TlkitError, match=rf"cannot listen on 127\.0\.0\.1, port {port}.*--port"
        ):
            tlkit.serve(TransferClassifier.load(folder), port=port)
        assert main(["serve", str(folder), "--port", str(port)]) == 1
    assert "cannot listen on" in capsys.readouterr().err
    assert main(["serve", str(folder), "--host", "no such host", "--port", "0"]) == 1


def test_packages_that_are_missing_are_named(
    monkeypatch: pytest.MonkeyPatch, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(serving, "find_spec", lambda name: None if name == "uvicorn" else name)
    with pytest.raises(MissingExtraError, match=r'uvicorn, .*pip install "tlkit\[serve\]"'):
        tlkit.serve(TransferClassifier.load(folder))
    assert main(["serve", str(folder)]) == 1
    assert "tlkit[serve]" in capsys.readouterr().err


def test_what_to_open_is_an_address() -> None:
    assert Address("127.0.0.1", 8000).url == "http://127.0.0.1:8000/"
    assert Address("::1", 80, token="abc").url == "http://[::1]:80/?token=abc"
    assert Address("0.0.0.0", 8000).url == "http://localhost:8000/"
