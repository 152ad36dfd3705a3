"""Who may ask: the name that was asked for, the page that asks, and the token; what every answer carries."""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import re
from collections.abc import Callable
from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING, Final, final
from urllib.parse import urlsplit

from tlkit.delivery.server_uploads import RefusedError, stopping
from tlkit.errors import printable

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

COOKIE: Final = "tlkit-token"

_HEADERS: Final = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' "
    "data:; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",  # with "no-referrer" the page's own form would come from "null"
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
_OPEN: Final = frozenset({"/health"})
"""What needs no token: whether the server runs is not a secret."""

Refused = Callable[["Request", RefusedError], "Response"]


@final
class Guard:
    """Lets through what may ask, and puts on every answer what browsers must know.

    Args:
        app: What answers.
        refused: Makes the answer to what may not ask.
        names: What the server may be called, besides by an address and as `localhost`.
        token: What every request must bring; None: none.
    """

    def __init__(
        self, app: ASGIApp, refused: Refused, *, names: frozenset[str], token: str | None
    ) -> None:
        self._app, self._refused = app, refused
        self._names = frozenset({"localhost", *(name.lower() for name in names)})
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        from starlette.requests import Request

        answered = False

        async def with_headers(message: Message) -> None:
            nonlocal answered
            if message["type"] == "http.response.start":
                answered = True
                there = {name for name, _ in message["headers"]}
                message["headers"] += [
                    (name.encode(), value.encode())
                    for name, value in _HEADERS.items()
                    if name.encode() not in there
                ]
            await send(message)

        request = Request(scope, receive)
        answer = self._app
        try:
            self._check_name(request)
            self._check_origin(request)
            if entered := self._check_token(request):
                answer = entered
        except RefusedError as refusal:
            answer = self._refused(request, refusal)
            answer.headers["connection"] = "close"  # what it may still bring is not read
        try:
            await answer(scope, receive, with_headers)
        except asyncio.CancelledError:  # the server is being stopped, and has waited long enough
            if not answered:
                await self._refused(request, stopping())(scope, receive, with_headers)

    def _check_name(self, request: Request) -> None:
        """Refuse names that somebody else may have pointed to this address (DNS rebinding)."""
        host = request.headers.get("host", "")
        name = _name_of(host)
        if name in self._names or _is_address(name):
            return
        raise RefusedError(
            403,
            f"this server does not go by the name '{printable(host[:100])}': ask it by its address, or start "
            "it with --allow-host and that name",
        )

    def _check_origin(self, request: Request) -> None:
        """Refuse what another site's page sends from the browser of somebody who may ask."""
        origin = request.headers.get("origin")
        if request.method in ("GET", "HEAD") or origin is None:
            return
        if _place_of(origin) != request.headers.get("host", "").lower():
            raise RefusedError(
                403,
                f"this server answers its own page and programs, not the pages of "
                f"'{printable(origin[:100])}': let the server of that page ask",
            )

    def _check_token(self, request: Request) -> Response | None:
        """Refuse requests without the token; return the way in for one that brings it in its address."""
        if self._token is None or request.scope["path"] in _OPEN:
            return None
        scheme, _, brought = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and self._matches(brought.strip()):
            return None
        cookie = self._cookie_name(request)
        if self._matches(_cookies(request).get(cookie, "")):
            return None
        in_address = request.query_params.get("token")
        if request.method == "GET" and in_address is not None and self._matches(in_address):
            from starlette.responses import RedirectResponse

            entered = RedirectResponse("./", 303)
            entered.set_cookie(cookie, self._token, httponly=True, samesite="strict", path="/")
            return entered
        raise RefusedError(
            401,
            "this server needs its token, which it printed when it was started: in a browser open the "
            "address that ends in ?token=…, in a program send the header `Authorization: Bearer` with "
            "the token",
        )

    def _matches(self, brought: str) -> bool:
        return self._token is not None and hmac.compare_digest(
            brought.encode("utf-8", "surrogateescape"), self._token.encode()
        )

    def _cookie_name(self, request: Request) -> str:
        """Return a name for each port: to browsers all ports of a host are one."""
        port = (request.scope.get("server") or (None, None))[1]
        return f"{COOKIE}-{port}" if port else COOKIE


def is_loopback(host: str) -> bool:
    """Say whether only this machine reaches a server that listens there.

    Examples:
        >>> [is_loopback(host) for host in ("127.0.0.1", "::1", "localhost", "0.0.0.0", "10.0.0.7")]
        [True, True, True, False, False]
    """
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _name_of(host: str) -> str:
    """Return a `Host` header without its port; nothing where it is none."""
    found = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[^:\[\]\s/@]+)(?::\d{1,5})?", host)
    return found[1].lower().strip("[]") if found else ""


def _place_of(origin: str) -> str:
    """Return host and port of an `Origin` header; nothing where it is none."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _cookies(request: Request) -> dict[str, str]:
    jar: SimpleCookie = SimpleCookie()
    for header in request.headers.getlist("cookie"):
        try:
            jar.load(header)
        except CookieError:
            continue
    return {name: morsel.value for name, morsel in jar.items()}
