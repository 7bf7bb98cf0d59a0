"""The web application: routes, page, headers. In: a Service. Out: an ASGI app."""

import asyncio
from pathlib import Path

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fdetect_jax.service import problems, routes_info, routes_jobs, routes_results, schemas
from fdetect_jax.service.metrics import Metrics
from fdetect_jax.service.service import Service

PAGE = Path(__file__).parent / "page"
_API_POLICY = "default-src 'none'; frame-ancestors 'none'"
_PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; media-src 'self' blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_BODY_BYTES, _BODY_SECONDS = 1 << 16, 30.0  # of requests that upload nothing
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "X-Frame-Options": "DENY",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}


def create_app(service: Service) -> ASGIApp:
    """The application of one service; the caller closes the service."""
    app = FastAPI(
        title="fdetect_jax",
        version="1",
        description="Upload images and videos, get verdicts on their faces and annotated copies.",
        openapi_url="/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
    )
    app.state.service = service
    app.state.uploads, app.state.streams = routes_jobs.gates()
    app.state.metrics = Metrics(service)
    app.add_exception_handler(problems.Problem, problems.of_problem)
    app.add_exception_handler(HTTPException, problems.of_http)
    app.add_exception_handler(RequestValidationError, problems.of_validation)
    app.add_exception_handler(Exception, problems.of_failure)
    for room in (routes_jobs, routes_results, routes_info):
        app.include_router(room.router)
    app.get("/", include_in_schema=False)(_index)
    app.mount("/page", StaticFiles(directory=PAGE))
    app.openapi = lambda: _document(app)
    return _with_headers(_with_short_bodies(app.state.metrics.measured(app)))


def _index() -> Response:
    return FileResponse(PAGE / "index.html", headers={"Cache-Control": "no-cache"})


def _document(app: FastAPI) -> dict:
    """The OpenAPI document, in which every error is a problem document."""
    if app.openapi_schema is None:
        made = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        found = made["components"]["schemas"]
        found["ProblemDocument"] = schemas.ProblemDocument.model_json_schema()
        for name in ("HTTPValidationError", "ValidationError"):
            found.pop(name, None)
        for path in made["paths"].values():
            for operation in path.values():
                if "422" in operation["responses"]:
                    operation["responses"]["422"] = schemas.problems(422)[422]
        bearer = {"type": "http", "scheme": "bearer", "description": "fdk_…; without it from the loopback alone"}
        made["components"]["securitySchemes"] = {"key": bearer}
        made["security"] = [{"key": []}, {}]
        app.openapi_schema = made
    return app.openapi_schema


def _with_short_bodies(app: ASGIApp) -> ASGIApp:
    """Bodies are read before the app sees them, up to a limit; those of uploads are not, which have their own."""

    async def run(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or (scope["method"], scope["path"]) == ("POST", "/v1/jobs"):
            await app(scope, receive, send)
            return
        body, more, problem = bytearray(), True, None
        try:
            async with asyncio.timeout(_BODY_SECONDS):
                while more and len(body) <= _BODY_BYTES:
                    message = await receive()
                    body += message.get("body", b"")
                    more = message.get("more_body", False)
        except TimeoutError:
            problem = problems.Problem("bad_request", "The body came too slowly.")
        if len(body) > _BODY_BYTES:
            problem = problems.Problem("too_large", f"At most {_BODY_BYTES:,} bytes are taken.")
        if problem is not None:
            await problems.answer(problem)(scope, receive, send)
            return
        rest = [{"type": "http.request", "body": bytes(body), "more_body": False}]

        async def again() -> Message:
            return rest.pop() if rest else await receive()

        await app(scope, again, send)

    return run


def _with_headers(app: ASGIApp) -> ASGIApp:
    async def run(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        page = scope["path"] == "/" or scope["path"].startswith("/page/")

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
                headers["Content-Security-Policy"] = _PAGE_POLICY if page else _API_POLICY
                headers.setdefault("Cache-Control", "no-cache" if page else "no-store")
            await send(message)

        await app(scope, receive, sent)

    return run
