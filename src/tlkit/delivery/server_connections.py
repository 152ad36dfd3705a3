"""Connections that hang are let go, so that they cost the others nothing."""

from __future__ import annotations

import asyncio
from typing import Final, final

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

HEAD_SECONDS: Final = 10
"""Until the head of a request has arrived: it is a few hundred bytes."""

SECONDS: Final = 120
"""For a whole request, from its head to the last byte of the answer."""

AT_MOST: Final = 500
"""Connections at a time: systems allow a process about 1,000 files."""

_NO_HTTP: Final = "this is not HTTP/1.1: send it again as a client of HTTP writes it"


@final
class Connection(H11Protocol):
    """One connection, which ends where a request on it takes too long."""

    _deadline: asyncio.TimerHandle | None = None
    _answering = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request."""
        super().connection_made(transport)
        if len(self.connections) > AT_MOST:
            transport.abort()
        self._wait(HEAD_SECONDS)

    def data_received(self, data: bytes) -> None:
        """Take what has arrived, and see whether it completes the head of a request."""
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

    def timeout_keep_alive_handler(self) -> None:
        """Let an idle connection go, also where the client has not taken all of the last answer."""
        super().timeout_keep_alive_handler()
        if self.transport.get_write_buffer_size():
            self.transport.abort()

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
