"""`serve`: a classifier as a page for people and an API for programs, on this machine or beyond it."""

from __future__ import annotations

import logging
import secrets
import socket
from collections.abc import Iterable
from dataclasses import KW_ONLY, dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final, final

from tlkit.classifier.classifier import (
    PathLike,
    TransferClassifier,
    check_classifier,
    make_ready,
)
from tlkit.core.spec import check_bool, check_int, check_kind
from tlkit.data.dataset import DatasetSpec
from tlkit.delivery.server_access import is_loopback
from tlkit.delivery.server_app import make_app
from tlkit.delivery.server_page import Page
from tlkit.delivery.server_uploads import Limits
from tlkit.errors import MissingExtraError, SettingError, TlkitError, printable
from tlkit.insight.neighbours import FeatureIndex

if TYPE_CHECKING:
    from starlette.types import ASGIApp

_PACKAGES: Final = {
    "starlette": "starlette",
    "uvicorn": "uvicorn",
    "python_multipart": "python-multipart",
}
_MANY: Final = 10**6
"""Images that a server is thought to see: the engine is chosen for as many."""

_GRACE: Final = 30  # seconds for requests in flight, once the server is asked to stop


@final
@dataclass(frozen=True, slots=True)
class Address:
    """Where a server listens.

    Attributes:
        host: As it was given.
        port: The port, also where any was asked for.
        token: What every request must bring; None: none.
    """

    host: str
    port: int
    _: KW_ONLY
    token: str | None = None

    @property
    def url(self) -> str:
        """What to open in a browser, the token included.

        Examples:
            >>> Address("::", 8000, token="secret").url
            'http://localhost:8000/?token=secret'
        """
        everywhere = self.host in ("0.0.0.0", "::", "")  # noqa: S104 - compared, not bound
        host = "localhost" if everywhere else self.host
        host = f"[{host}]" if ":" in host else host
        return f"http://{host}:{self.port}/" + (f"?token={self.token}" if self.token else "")


def serve(
    classifier: TransferClassifier,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    similar: PathLike | DatasetSpec | None = None,
    token: str | None = None,
    no_token: bool = False,
    allowed_hosts: Iterable[str] = (),
    max_file_bytes: int = 20_000_000,
    max_pixels: int = 50_000_000,
    max_files: int = 32,
    max_waiting: int = 128,
) -> None:
    """Serve a classifier until Ctrl-C or SIGTERM: a page for people, an API for programs.

    The page takes images by drop, paste, choice and camera, and shows label, probability and, where the
    network is at hand, where the evidence lies. `POST /predict` takes the files of a form or the bytes of one
    image and answers with the rows of a table of predictions; `GET /openapi.json` describes it. Requests that
    wait at the same time are computed together. Uploads stay in memory and are let go with the answer.

    Only this machine reaches the server unless `host` says otherwise; beyond it every request needs a token.
    The first line that is printed says what to open; requests in flight when it is asked to stop are still
    answered.

    Args:
        classifier: Any classifier, also one that was loaded from an exported folder.
        host: The address to listen on: `"127.0.0.1"` for this machine alone, `"0.0.0.0"` for all that
            reach it.
        port: 0-65535; 0 takes a free one.
        similar: A folder of two classes of images, or its spec: the page shows those that are most like an
            upload. Everybody who may ask then sees images of it. None: none are shown.
        token: What every request must bring. None: nothing on this machine, elsewhere a random one.
        no_token: Ask for no token beyond this machine either, because something in front of the server does.
        allowed_hosts: Names that the server may be asked by, besides addresses, `localhost` and `host`.
        max_file_bytes: Bytes of one file, at least 1; a request may have five times as many.
        max_pixels: Pixels of one image, width x height as stored, at least 1.
        max_files: Files in one request, at least 1.
        max_waiting: Images of all requests that wait or are being computed, at least `max_files`.

    Raises:
        ArtifactError: Similar images are asked for, and the classifier was loaded from an exported folder.
        DatasetError: `similar` is not two classes of images.
        MissingExtraError: starlette, uvicorn or python-multipart is not installed.
        SettingError: An argument is outside what it may be.
        TlkitError: The address cannot be listened on.

    Examples:
        >>> serve(classifier, port=8000)  # doctest: +SKIP
        serving on http://127.0.0.1:8000/
        >>> serve("alpaca.keras")
        Traceback (most recent call last):
            ...
        tlkit.errors.SettingError: `classifier` must be a TransferClassifier, got 'alpaca.keras' (str): \
read it with TransferClassifier.load('alpaca.keras')
    """
    check_classifier("classifier", classifier)
    limits = Limits(
        file_bytes=max_file_bytes, pixels=max_pixels, files=max_files, waiting=max_waiting
    )
    names = _checked_names(allowed_hosts, host)
    token = _checked_token(token, host, no_token=check_bool("no_token", no_token))
    check_packages()
    with _listening(host, check_int("port", port, at_least=0, at_most=65535)) as listening:
        make_ready(classifier, _MANY)
        index = None if similar is None else FeatureIndex(classifier, similar)
        page = Page(classifier, limits, index)
        app = make_app(classifier, page, limits, names=names, token=token)
        address = Address(host, listening.getsockname()[1], token=token)
        _run(app, listening, address)


def _run(app: ASGIApp, listening: socket.socket, address: Address) -> None:
    import uvicorn

    from tlkit.delivery.server_connections import Connection

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            print(f"serving on {address.url}", flush=True)  # noqa: T201 - what to open, or nobody can

    # It tells of every damaged form; whoever sent it is told already.
    logging.getLogger("python_multipart").setLevel(logging.ERROR)
    config = uvicorn.Config(
        app,
        http=Connection,
        ws="none",
        lifespan="on",
        log_config=None,
        log_level="error",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=_GRACE,
    )
    try:
        Server(config).run([listening])
    except KeyboardInterrupt:
        return  # the usual end of a server that was started in a terminal


def _listening(host: str, port: int) -> socket.socket:
    """Take the address before any work.

    Raises:
        TlkitError: It cannot be had.
    """
    try:
        found = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        family, *_, address = found[0]
        return socket.create_server(address[:2], family=family, backlog=1024)
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise TlkitError(
            f"cannot listen on {printable(host)}, port {port}: {why}. Choose another `port` "
            "(--port), or 0 for a free one"
        ) from error


def _checked_names(allowed_hosts: Iterable[str], host: str) -> frozenset[str]:
    check_kind("host", host, (str,))
    given = [allowed_hosts] if isinstance(allowed_hosts, str) else [*allowed_hosts]
    for name in given:
        check_kind("allowed_hosts", name, (str,))
        if not name or set(name) & set("/:@ *"):
            raise SettingError(
                f"`allowed_hosts` must be names such as 'alpaca.example.org', got {name!r}"
            )
    if not is_loopback(host):
        own = socket.gethostname()
        given += [own, f"{own}.local"]
    return frozenset({*given, host})


def _checked_token(token: str | None, host: str, *, no_token: bool) -> str | None:
    if token is not None:
        check_kind("token", token, (str,))
        if no_token:
            raise SettingError("`token` and `no_token` contradict each other: give one of them")
        if (
            len(token) < 8
            or not token.isascii()
            or not token.isprintable()
            or set(token) & set(' ;,"\\')
        ):
            raise SettingError(
                "`token` must be at least 8 letters, digits or signs of ASCII without spaces, quotes, commas "
                "and semicolons"
            )
        return token
    if no_token or is_loopback(host):
        return None
    return secrets.token_urlsafe(18)


def check_packages() -> None:
    """Raise unless all that a server needs is installed.

    Raises:
        MissingExtraError: Something is not.
    """
    missing = [name for module, name in _PACKAGES.items() if not find_spec(module)]
    if missing:
        raise MissingExtraError(
            f'a server needs {" and ".join(missing)}, which is not installed: pip install "tlkit[serve]"'
        )
