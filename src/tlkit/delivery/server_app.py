"""The server as an ASGI application: which address gives what."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from tlkit.classifier.classifier import TransferClassifier
from tlkit.delivery.server_access import Guard
from tlkit.delivery.server_api import model_facts, openapi, rows
from tlkit.delivery.server_batches import Desk, Seen
from tlkit.delivery.server_page import Page
from tlkit.delivery.server_uploads import Inbox, Limits, RefusedError

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp

_ADDRESSES: Final = ("/", "/predict", "/model", "/health", "/openapi.json", "/page.css", "/page.js")
_RETRY: Final = {"retry-after": "1"}


def make_app(
    classifier: TransferClassifier,
    page: Page,
    limits: Limits,
    *,
    names: frozenset[str] = frozenset(),
    token: str | None = None,
) -> ASGIApp:
    """Return the application.

    Args:
        classifier: What predicts.
        page: What people see.
        limits: What a request may ask for.
        names: As `Guard` takes them.
        token: As `Guard` takes it.
    """
    from starlette.applications import Starlette
    from starlette.exceptions import HTTPException
    from starlette.requests import ClientDisconnect
    from starlette.responses import HTMLResponse, JSONResponse, Response
    from starlette.routing import Route

    inbox, desk = Inbox(limits), Desk(classifier, limits)
    about, description = model_facts(classifier, limits), openapi(token=token is not None)

    async def predict(request: Request) -> Response:
        async with inbox.files_of(request) as files:
            outcomes = await desk.predict(files)
            told = rows(files, outcomes)
        if any(isinstance(outcome, Seen) for outcome in outcomes):
            return JSONResponse({"predictions": told})
        count = "the file cannot" if len(told) == 1 else f"none of the {len(told)} files can"
        why = f": {told[0]['error']}" if len(told) == 1 else ""
        sentence = f"{count} be read as an image{why}"
        return JSONResponse({"error": sentence, "predictions": told}, 422)

    async def show(request: Request) -> Response:
        if request.method != "POST":
            return HTMLResponse(page.empty())
        async with inbox.files_of(request) as files:
            outcomes = await desk.predict(files)
            content = await page.filled(files, outcomes)
        answered = any(isinstance(outcome, Seen) for outcome in outcomes)
        # To the script an answer is an answer: of any other status a browser's console complains.
        scripted = "x-requested-with" in request.headers
        return HTMLResponse(content, 200 if answered or scripted else 422)

    async def model(_request: Request) -> Response:
        return JSONResponse(about)

    async def health(_request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def described(_request: Request) -> Response:
        return JSONResponse(description)

    async def part(request: Request) -> Response:
        kind, content = page.parts[request.scope["path"]]
        return Response(content, media_type=kind)

    def refused(request: Request, refusal: RefusedError) -> Response:
        headers = _RETRY if refusal.status == 503 else {}
        if refusal.status == 401:
            headers = {"www-authenticate": "Bearer"}
        if request.scope["path"] == "/" and "text/html" in request.headers.get("accept", ""):
            return HTMLResponse(page.refused(refusal), refusal.status, headers)
        return JSONResponse({"error": refusal.sentence}, refusal.status, headers)

    async def on_refusal(request: Request, error: Exception) -> Response:
        refusal = error if isinstance(error, RefusedError) else _not_here(request)
        answer = refused(request, refusal)
        if refusal.status in (400, 408, 413):
            answer.headers["connection"] = "close"  # it may not have been read to its end
        return answer

    async def on_fault(request: Request, _error: Exception) -> Response:
        return refused(
            request, RefusedError(500, "the server could not answer this: its log says why")
        )

    async def on_gone(_request: Request, _error: Exception) -> Response:
        return Response(status_code=400)  # nobody will read it

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        yield
        desk.close()
        page.close()

    get, post = ["GET"], ["POST"]
    app = Starlette(
        routes=[
            Route("/", show, methods=[*get, *post]),
            Route("/predict", predict, methods=post),
            Route("/model", model, methods=get),
            Route("/health", health, methods=get),
            Route("/openapi.json", described, methods=get),
            *(Route(path, part, methods=get) for path in page.parts),
        ],
        exception_handlers={
            RefusedError: on_refusal,
            HTTPException: on_refusal,
            ClientDisconnect: on_gone,
            Exception: on_fault,
        },
        lifespan=lifespan,
    )
    return Guard(app, refused, names=names, token=token)


def _not_here(request: Request) -> RefusedError:
    """Return what is told about an address, or a method, that there is not."""
    method = request.method if request.method.isalpha() and len(request.method) < 10 else "that"
    return RefusedError(
        404 if request.scope["path"] not in _ADDRESSES else 405,
        f"there is no {method} of this address: POST / or /predict, GET /, /model, /health or /openapi.json",
    )
