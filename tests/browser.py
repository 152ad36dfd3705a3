"""Chromium, driven through its DevTools protocol over a pair of pipes: nothing to install beside it."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

CHROMIUM = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)
_FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--disable-default-apps",
    "--disable-dev-shm-usage", "--hide-scrollbars", "--force-color-profile=srgb", "--remote-debugging-pipe",
)  # fmt: skip
_PATIENCE = 60  # seconds; machines that test are busy


class Page:
    """One open page.

    Attributes:
        requests: The address of everything that was asked for, in order.
        complaints: What the console said, and every exception that nobody caught.
    """

    def __init__(self, commands: IO[bytes], answers: int) -> None:
        self._commands, self._answers, self._read = commands, answers, bytearray()
        self._number, self._session = 0, ""
        self._loaded = False
        self.requests: list[str] = []
        self.complaints: list[str] = []
        target = self("Target.createTarget", url="about:blank")["targetId"]
        self._session = self("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log", "Accessibility"):
            self(f"{domain}.enable")

    def __call__(self, method: str, **parameters: Any) -> Any:
        """Give a command of the protocol and return what comes of it."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        self._commands.write(json.dumps(message).encode() + b"\0")
        self._commands.flush()
        while (answer := self._next()).get("id") != self._number:
            pass
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']['message']}")
        return answer["result"]

    def open(
        self, address: str, *, width: int = 1280, height: int = 900, dark: bool = False
    ) -> None:
        """Load a page in a window of this size, in CSS pixels."""
        self.resize(width, height)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self("Emulation.setEmulatedMedia", features=[scheme])
        self._loaded = False
        self.requests.clear()
        self.complaints.clear()
        self("Page.navigate", url=address)
        while not self._loaded:
            self._next()

    def resize(self, width: int, height: int) -> None:
        """Make the window so large, in CSS pixels."""
        size = {"width": width, "height": height}
        self("Emulation.setDeviceMetricsOverride", **size, deviceScaleFactor=1, mobile=width < 500)

    def run(self, script: str) -> Any:
        """Return what an expression in JavaScript says, promises awaited."""
        answer = self("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(answer["exceptionDetails"]["exception"].get("description"))
        return answer["result"].get("value")

    def press(self, key: str, code: int, *, text: str = "") -> None:
        """Press and let go of a key."""
        facts = {"key": key, "code": key, "windowsVirtualKeyCode": code}
        self("Input.dispatchKeyEvent", type="keyDown", text=text, **facts)
        self("Input.dispatchKeyEvent", type="keyUp", **facts)

    def image(self, path: Path, *, clip: dict[str, float] | None = None, scale: float = 1) -> None:
        """Save what is seen as PNG; a `clip` names a part of the whole page."""
        more: dict[str, Any] = {"clip": {**clip, "scale": scale}} if clip else {}
        shot = self(
            "Page.captureScreenshot", format="png", captureBeyondViewport=clip is not None, **more
        )
        path.write_bytes(base64.b64decode(shot["data"]))

    def _next(self) -> Any:
        while (end := self._read.find(b"\0")) < 0:
            if not select.select([self._answers], [], [], _PATIENCE)[0]:
                raise TimeoutError(f"Chromium said nothing for {_PATIENCE} seconds")
            piece = os.read(self._answers, 1 << 20)
            if not piece:
                raise ConnectionError("Chromium went away")
            self._read += piece
        message = json.loads(self._read[:end])
        del self._read[: end + 1]
        self._note(message)
        return message

    def _note(self, message: Any) -> None:
        parameters = message.get("params", {})
        match message.get("method"):
            case "Page.loadEventFired":
                self._loaded = True
            case "Network.requestWillBeSent":
                self.requests.append(parameters["request"]["url"])
            case "Runtime.consoleAPICalled":
                self.complaints.append(json.dumps(parameters["args"]))
            case "Runtime.exceptionThrown":
                self.complaints.append(json.dumps(parameters["exceptionDetails"]))
            case "Log.entryAdded":
                self.complaints.append(parameters["entry"]["text"])


@contextmanager
def chromium() -> Iterator[Page]:
    """Start Chromium without a window, give a page, and end it again."""
    assert CHROMIUM is not None
    ends = [*os.pipe(), *os.pipe()]  # read, write; read, write
    theirs_in, ours_out, ours_in, theirs_out = (
        fcntl.fcntl(e, fcntl.F_DUPFD_CLOEXEC, 10) for e in ends
    )
    for end in ends:
        os.close(end)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        process = os.posix_spawn(
            CHROMIUM,
            [CHROMIUM, *_FLAGS, f"--user-data-dir={profile}", "about:blank"],
            {**os.environ, "HOME": profile},
            file_actions=[
                (os.POSIX_SPAWN_DUP2, theirs_in, 3),
                (os.POSIX_SPAWN_DUP2, theirs_out, 4),
                (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
            ],
            setpgroup=0,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        try:
            with os.fdopen(ours_out, "wb") as commands:
                yield Page(commands, ours_in)
        finally:
            os.close(ours_in)
            os.killpg(process, signal.SIGKILL)
            os.waitpid(process, 0)
