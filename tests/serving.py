"""Servers for tests, and clients that say what they like."""

from __future__ import annotations

import http.client
import json
import re
import socket
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn

from tlkit import TransferClassifier
from tlkit.delivery.server_app import make_app
from tlkit.delivery.server_connections import Connection
from tlkit.delivery.server_page import Page
from tlkit.delivery.server_uploads import Limits
from tlkit.insight.neighbours import FeatureIndex


@dataclass
class Answer:
    """What came back.

    Attributes:
        status: HTTP's number.
        headers: By their names in lower case.
        body: Its bytes.
    """

    status: int
    headers: dict[str, str]
    body: bytes = field(repr=False)

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Client:
    """Asks a server; a connection for each request."""

    port: int
    headers: Mapping[str, str] = field(default_factory=dict)

    def __call__(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body, {**self.headers, **(headers or {})})
            found = connection.getresponse()
            named = {name.lower(): value for name, value in found.getheaders()}
            return Answer(found.status, named, found.read())
        finally:
            connection.close()

    def post(
        self,
        path: str,
        files: Sequence[tuple[str, bytes]],
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send files as a form."""
        kind, body = form(files)
        return self("POST", path, body, {"content-type": kind, **(headers or {})})

    def raw(self, content: bytes, *, cut_off: bool = False, seconds: float = 60) -> bytes:
        """Send bytes that need not be HTTP, and return whatever comes until the server hangs up.

        Args:
            content: The bytes.
            cut_off: Hang up after them, as a client that breaks off does.
            seconds: How long to wait for it.
        """
        with socket.create_connection(("127.0.0.1", self.port), timeout=seconds) as line:
            found = b""
            try:
                line.sendall(content)
                if cut_off:
                    line.shutdown(socket.SHUT_WR)
                while piece := line.recv(2**16):
                    found += piece
            except (ConnectionError, TimeoutError):
                pass  # it hung up before it had heard all
            return found


def form(files: Sequence[tuple[str, bytes]], field_name: str = "images") -> tuple[str, bytes]:
    """Return content type and body of a form with these files."""
    boundary = uuid.uuid4().hex
    body = b""
    for name, content in files:
        head = f'Content-Disposition: form-data; name="{field_name}"; filename="{name}"'
        body += f"--{boundary}\r\n{head}\r\nContent-Type: image/jpeg\r\n\r\n".encode()
        body += content + b"\r\n"
    return f"multipart/form-data; boundary={boundary}", body + f"--{boundary}--\r\n".encode()


@contextmanager
def server(
    classifier: TransferClassifier,
    limits: Limits | None = None,
    *,
    similar: FeatureIndex | None = None,
    names: Sequence[str] = (),
    token: str | None = None,
    grace: int | None = None,
) -> Iterator[Client]:
    """Serve a classifier in a thread of this process; when it is stopped it waits for `grace` seconds."""
    limits = limits or Limits()
    page = Page(classifier, limits, similar)
    app = make_app(classifier, page, limits, names=frozenset(names), token=token)
    config = uvicorn.Config(
        app,
        http=Connection,
        ws="none",
        log_config=None,
        log_level="error",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=grace,
    )
    listening = socket.create_server(("127.0.0.1", 0), backlog=512)
    running = uvicorn.Server(config)
    thread = threading.Thread(target=running.run, args=([listening],), daemon=True)
    thread.start()
    try:
        yield Client(listening.getsockname()[1])
    finally:
        running.should_exit = True
        thread.join(30)
        assert not thread.is_alive()


WITHOUT_TENSORFLOW = """
import sys
sys.modules["tensorflow"] = sys.modules["keras"] = None
from tlkit.cli.app import main
sys.exit(main(sys.argv[1:]))
"""


@contextmanager
def command(
    model: Path, *words: str, token: bool = False
) -> Iterator[tuple[Client, subprocess.Popen[str]]]:
    """Run `tlkit serve` of an exported folder, where TensorFlow cannot be imported."""
    process = subprocess.Popen(
        [sys.executable, "-c", WITHOUT_TENSORFLOW, "serve", str(model), "--port", "0", *words],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        found = re.fullmatch(r"serving on http://[\w.\[\]:]+:(\d+)/(?:\?token=(\S+))?\n", line)
        assert found, (line, process.poll())
        headers = {"authorization": f"Bearer {found[2]}"} if token else {}
        yield Client(int(found[1]), headers), process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=30)
