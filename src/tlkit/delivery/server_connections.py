"""Connections that hang are let go, so that they cost the others nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final, cast, final

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

HEAD_SECONDS: Final = 10
"""Until the head of a request has arrived: it is a few hundred bytes."""

SECONDS: Final = 120
"""For a whole request, from its head to the last byte of the answer."""

LINGER_SECONDS: Final = 10
"""For what a client still sends when it has been refused: until it has sent all it does not listen."""

AT_MOST: Final = 500
"""Connections at a time: systems allow a process about 1,000 files."""

_NO_HTTP: Final = "this is not HTTP/1.1: send it again as a client of HTTP writes it"


@final
class _Line:
    """A transport that, closed while its client may be sending, first lets it end and hear the answer.

    Bytes that nobody has read make the system reset the connection, and the answer would be lost.

    Args:
        transport: What sends and receives.
        loop: Its event loop.
        may_send: Whether the client may still be sending.

    Attributes:
        lingering: Whether it waits for the client; what still comes is not looked at.
    """

    def __init__(
        self,
        transport: asyncio.Transport,
        loop: asyncio.AbstractEventLoop,
        may_send: Callable[[], bool],
    ) -> None:
        self._transport, self._loop, self._may_send = transport, loop, may_send
        self.lingering = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def is_closing(self) -> bool:
        return self.lingering or self._transport.is_closing()

    def write(self, data: bytes) -> None:
        if not self.lingering:
            self._transport.write(data)

    def close(self) -> None:
        if self.is_closing():
            return
        if not self._may_send():
            self._transport.close()
            return
        self.lingering = True
        self._transport.write_eof()
        self._transport.resume_reading()
        self._loop.call_later(LINGER_SECONDS, self._transport.abort)


@final
class Connection(H11Protocol):
    """One connection, which ends where a request on it takes too long."""

    _deadline: asyncio.TimerHandle | None = None
    _answering = _stopping = False
    _line: _Line

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request."""
        self._line = _Line(transport, self.loop, self._may_send)
        super().connection_made(cast("asyncio.Transport", self._line))
        if len(self.connections) > AT_MOST:
            transport.abort()
        self._wait(HEAD_SECONDS)

    def data_received(self, data: bytes) -> None:
        """Take what has arrived, and see whether it completes the head of a request."""
        if self._line.lingering:
            return
        if self._deadline is None:  # the connection was idle
            self._wait(HEAD_SECONDS)
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        """End the wait for an answer; another request may have come already."""
        self._answering = False
        self._wait(None)
        super().on_response_complete()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """End every wait."""
        self._wait(None)
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's own says less
        """Refuse what is no HTTP, unless an answer is on its way already; the connection ends either way."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            super().send_400_response(_NO_HTTP)
        else:
            self.transport.close()
        cycle: RequestResponseCycle | None = self.cycle
        if cycle and not cycle.response_complete:
            cycle.disconnected = True  # whatever the application says now, nobody hears it
            cycle.message_event.set()

    def shutdown(self) -> None:
        """End the connection, or let it end with the answer to the request that is on it."""
        self._stopping = True
        if self._line.lingering:
            self.transport.abort()
        else:
            super().shutdown()

    def timeout_keep_alive_handler(self) -> None:
        """Let an idle connection go, also where the client has not taken all of the last answer."""
        super().timeout_keep_alive_handler()
        if self.transport.get_write_buffer_size():
            self.transport.abort()

    def _may_send(self) -> bool:
        """Say whether the client may be sending: what it has announced, or more."""
        return not self._stopping and self.conn.their_state is not h11.IDLE

    def _watch(self) -> None:
        """Give a request whose head is complete the time that it may take."""
        cycle: RequestResponseCycle | None = self.cycle  # None before the first request
        if cycle and not cycle.response_complete and not self._answering:
            self._answering = True
            self._wait(SECONDS)

    def _wait(self, seconds: float | None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = None
        if seconds is not None:
            self._deadline = self.loop.call_later(seconds, self.transport.abort)
