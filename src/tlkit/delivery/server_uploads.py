"""What a request brings: files in memory, within limits. Nothing of it is ever written to a disk."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol, final

from tlkit.core.spec import check_float, check_int

if TYPE_CHECKING:
    from starlette.requests import Request

_NAME: Final = 200  # characters of a file's name that are kept
_IGNORED: Final = 2**28
"""Bytes that are read and thrown away after what a request may have, for a client that is still sending does
not listen."""


class RefusedError(Exception):
    """What a request gets instead of an answer.

    Args:
        status: HTTP's number.
        sentence: What must hold, what was found and what to do.
    """

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status
        self.sentence = sentence


def stopping() -> RefusedError:
    """Return what a request gets that comes too late, or takes too long, while the server is stopped."""
    return RefusedError(503, "the server is being stopped: send it again when it runs")


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much a request may ask for, and all of them together.

    Attributes:
        file_bytes: Of one file. Telephones and cameras make less of a photograph.
        pixels: Of one image, width x height as stored. Telephones make less, unless told otherwise.
        files: In one request.
        waiting: Images of all requests that wait or are being computed: seconds of two cores.
        seconds: Until a request has arrived.
    """

    file_bytes: int = 20_000_000
    pixels: int = 50_000_000
    files: int = 32
    waiting: int = 128
    seconds: float = 30

    def __post_init__(self) -> None:
        for name in ("file_bytes", "pixels", "files"):
            check_int(f"max_{name}", getattr(self, name), at_least=1)
        check_int("max_waiting", self.waiting, at_least=self.files)
        check_float("seconds", self.seconds, above=0)

    @property
    def request_bytes(self) -> int:
        """Bytes that one request may have."""
        return 5 * self.file_bytes

    @property
    def held_bytes(self) -> int:
        """Bytes that all requests together may have while they are not answered."""
        return 15 * self.file_bytes


class Upload(NamedTuple):
    """One file of a request.

    Attributes:
        name: What the client calls it, without folders; None for bytes without a name.
        content: Its bytes.
    """

    name: str | None
    content: bytes


@final
class Inbox:
    """Reads requests, as many at a time as there is room for their bytes.

    Args:
        limits: What they may bring.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._held = 0

    @asynccontextmanager
    async def files_of(self, request: Request) -> AsyncIterator[list[Upload]]:
        """Read the files of a request, and hold the room that they take while the block runs.

        Raises:
            ClientDisconnect: The client has gone away.
            RefusedError: There are none, too many or too large ones, they did not arrive in time or not as
                they should, or there is no room.
        """
        held = 0

        def hold(count: int) -> None:
            nonlocal held
            if self._held + count > self._limits.held_bytes:
                raise RefusedError(
                    503,
                    "other requests hold all the memory that there is for uploads: send it again in a second",
                )
            held += count
            self._held += count
            if held > self._limits.request_bytes:
                raise _too_large("a request", self._limits.request_bytes)

        try:
            try:
                async with asyncio.timeout(self._limits.seconds):
                    files = await _read(request, hold, self._limits)
            except TimeoutError as error:
                raise RefusedError(
                    408,
                    f"a request must arrive within {self._limits.seconds:g} seconds, and this one did not: "
                    "send it again with fewer or smaller images",
                ) from error
            yield files
        finally:
            self._held -= held


class _Hold(Protocol):
    def __call__(self, count: int, /) -> None:
        """Take room for so many bytes, or raise a `RefusedError`."""


class _Body(Protocol):
    """What makes files of a body."""

    def write(self, chunk: bytes) -> None:
        """Take the next bytes."""

    def files(self) -> list[Upload]:
        """Return the files, at the end."""


async def _read(request: Request, hold: _Hold, limits: Limits) -> list[Upload]:
    body: _Body | None = _body_for(request, limits)
    refusal: RefusedError | None = None
    ignored = 0
    async for chunk in request.stream():
        if body is None:
            ignored += len(chunk)
            if ignored > _IGNORED:
                break
            continue
        try:
            hold(len(chunk))
            body.write(chunk)
        except RefusedError as error:
            refusal, body = error, None
    if body is None:
        raise refusal or RefusedError(400, "this request cannot be read")
    found = body.files()
    if not found:
        raise RefusedError(
            400,
            "a request must bring an image, as its body or as files of a form (multipart/form-data), and "
            "this one brings none",
        )
    return found


def _body_for(request: Request, limits: Limits) -> _Body:
    from python_multipart.multipart import parse_options_header

    kind, options = parse_options_header(request.headers.get("content-type"))
    if kind != b"multipart/form-data":
        return _OneFile(limits)
    if not options.get(b"boundary"):
        raise RefusedError(
            400,
            "a form's content type must name the boundary between its files, and this one names none: let "
            "the program that sends it write that header",
        )
    return _Form(options[b"boundary"], limits)


@final
class _OneFile:
    """A body that is the file itself."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._content = bytearray()

    def write(self, chunk: bytes) -> None:
        self._content += chunk
        _check_size(len(self._content), self._limits)

    def files(self) -> list[Upload]:
        return [Upload(None, bytes(self._content))] if self._content else []


@final
class _Form:
    """A body that is a form, whose fields without a file name are left out."""

    def __init__(self, boundary: bytes, limits: Limits) -> None:
        from python_multipart.exceptions import FormParserError
        from python_multipart.multipart import MultipartParser, parse_options_header

        self._limits = limits
        self._parse_options = parse_options_header
        self._error = FormParserError
        self._files: list[Upload] = []
        self._field = self._value = b""
        self._disposition = b""
        self._name: str | None = None
        self._content = bytearray()
        self._ended = False
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._begin,
                    "on_header_field": self._on_field,
                    "on_header_value": self._on_value,
                    "on_header_end": self._on_header,
                    "on_headers_finished": self._on_headers,
                    "on_part_data": self._on_data,
                    "on_part_end": self._on_part,
                    "on_end": self._on_end,
                },
            )
        except FormParserError as error:
            raise _damaged_form() from error

    def write(self, chunk: bytes) -> None:
        try:
            self._parser.write(chunk)
        except self._error as error:
            raise _damaged_form() from error

    def files(self) -> list[Upload]:
        if not self._ended:
            raise _damaged_form()
        return self._files

    def _begin(self) -> None:
        self._field = self._value = self._disposition = b""
        self._name = None

    def _on_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def _on_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header(self) -> None:
        if self._field.lower() == b"content-disposition":
            self._disposition = self._value
        self._field = self._value = b""

    def _on_headers(self) -> None:
        _, options = self._parse_options(self._disposition)
        if b"filename" in options:
            self._name = options[b"filename"].decode("utf-8", "replace")
        self._content = bytearray()

    def _on_data(self, data: bytes, start: int, end: int) -> None:
        if self._name is None:
            return
        self._content += data[start:end]
        _check_size(len(self._content), self._limits)

    def _on_part(self) -> None:
        if self._name is None or not (self._name or self._content):
            return  # a field, or a form in which nothing was chosen
        if len(self._files) == self._limits.files:
            raise RefusedError(
                413,
                f"a request may bring {self._limits.files} files, and this one brings more: send the others "
                "in another one",
            )
        self._files.append(Upload(_base_name(self._name), bytes(self._content)))
        self._content = bytearray()

    def _on_end(self) -> None:
        self._ended = True


def _base_name(name: str) -> str:
    """Leave out folders, which say more of the client than it may want."""
    return re.split(r"[/\\]", name)[-1][-_NAME:] or "image"


def _check_size(count: int, limits: Limits) -> None:
    if count > limits.file_bytes:
        raise _too_large("a file", limits.file_bytes)


def _too_large(what: str, at_most: int) -> RefusedError:
    return RefusedError(
        413,
        f"{what} may have {at_most / 1e6:,.4g} MB, and this one has more: make the image smaller",
    )


def _damaged_form() -> RefusedError:
    return RefusedError(
        400,
        "this form is damaged, or was cut off: its parts must stand between the boundaries that its content "
        "type names",
    )
