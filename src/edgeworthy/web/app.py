"""The application: endpoints, page and figures around one `Service`."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import AsyncIterator
from importlib import resources
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from edgeworthy._version import __version__
from edgeworthy.web import api, kserve, schemas
from edgeworthy.web.answering import PROBLEMS, as_json, reference, what_is_wrong
from edgeworthy.web.guard import PAGE_POLICY, Guard
from edgeworthy.web.problems import KINDS, ProblemError
from edgeworthy.web.service import Service

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}
_BY_STATUS = {404: "not-found", 405: "method-not-allowed"}
_ABOUT = """Classify pictures with ONNX files, as `edgeworthy predict` does from the command line.

Problems are described by RFC 9457. A server that is busy answers 429 with Retry-After."""


def create_app(service: Service) -> FastAPI:
    """The ASGI application of a service, which it closes when it ends."""

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        service.close()

    app = FastAPI(
        title="edgeworthy",
        version=__version__,
        description=_ABOUT,
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        redirect_slashes=False,
    )
    app.add_middleware(
        Guard, settings=service.settings, telemetry=service.telemetry, stopping=lambda: service.stopping
    )
    app.include_router(api.router(service))
    app.include_router(kserve.router(service))
    _add_health(app, service)
    _add_page(app)
    _add_problems(app)
    _describe_problems(app, keyed=service.settings.api_key is not None)
    return app


def _add_health(app: FastAPI, service: Service) -> None:
    @app.get("/healthz", response_model=schemas.Alive, responses=PROBLEMS, tags=["health"])
    async def healthz() -> Response:
        """Whether the server lives."""
        return as_json({"live": True})

    @app.get("/readyz", response_model=schemas.Ready, responses=PROBLEMS, tags=["health"])
    async def readyz() -> Response:
        """Whether it takes requests; 503 when it is stopping."""
        service.refuse_when_stopping()
        return as_json({"ready": True})

    @app.get(
        "/metrics", response_class=Response, responses=PROBLEMS, tags=["health"], include_in_schema=False
    )
    async def metrics() -> Response:
        return service.telemetry.response()


def _add_page(app: FastAPI) -> None:
    """Its files are few and small: they are held in memory, under the names that they have."""
    held: dict[str, tuple[bytes, dict[str, str]]] = {}
    for entry in resources.files("edgeworthy.web").joinpath("static").iterdir():
        suffix = f".{entry.name.rpartition('.')[2]}"
        if suffix in _TYPES:
            content = entry.read_bytes()
            held[entry.name] = (
                content,
                {
                    "Content-Type": _TYPES[suffix],
                    "Content-Security-Policy": PAGE_POLICY,
                    "Cache-Control": "no-cache",
                    "ETag": f'"{hashlib.sha256(content).hexdigest()[:32]}"',
                },
            )

    def give(request: Request, name: str) -> Response:
        if name not in held:
            raise ProblemError("not-found", f"There is no {name[:80]!r} here.")
        content, headers = held[name]
        if request.headers.get("if-none-match") == headers["ETag"]:
            return Response(status_code=304, headers=headers)
        return Response(content, headers=headers)

    @app.get("/", include_in_schema=False)
    async def page(request: Request) -> Response:
        return give(request, "index.html")

    @app.get("/favicon.ico", include_in_schema=False)
    async def icon(request: Request) -> Response:
        return give(request, "icon.svg")

    @app.get("/static/{name}", include_in_schema=False)
    async def static(request: Request, name: str) -> Response:
        return give(request, name)


def _add_problems(app: FastAPI) -> None:
    """What the libraries raise is told as everything else is."""

    @app.exception_handler(ProblemError)
    async def problem(_: Request, error: Exception) -> Response:
        assert isinstance(error, ProblemError)  # noqa: S101  # for mypy: handlers are declared for any
        return error.response()

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101
        slug = _BY_STATUS.get(error.status_code, "bad-body" if error.status_code == 400 else "unforeseen")
        _, title = KINDS[slug]
        told = f"{title}: {request.method[:20]} {request.url.path[:200]}."
        return ProblemError(slug, told, headers=dict(error.headers or {})).response()

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)  # noqa: S101
        return ProblemError("invalid-request", f"{what_is_wrong(error.errors())}.").response()


def _describe_problems(app: FastAPI, *, keyed: bool) -> None:
    """FastAPI describes the answers of its own validation, which nobody gets, and not how a key is shown."""
    made: dict[str, Any] = {}

    def described() -> dict[str, Any]:
        if not made:
            made.update(FastAPI.openapi(app))
            parts = made.setdefault("components", {}).setdefault("schemas", {})
            for model in (schemas.ProblemBody, schemas.InferRequest, schemas.RepairWishes):
                told = model.model_json_schema(ref_template=reference("{model}"))
                parts |= told.pop("$defs", {}) | {model.__name__: told}
            for name in ("HTTPValidationError", "ValidationError"):
                parts.pop(name, None)
            for path, operations in made["paths"].items():
                for operation in operations.values():
                    operation["responses"].pop("422", None)
                    if keyed and not path.endswith(("healthz", "readyz", "live", "ready")):
                        operation["security"] = [{"key": []}, {"bearer": []}]
            if keyed:
                made["components"]["securitySchemes"] = {
                    "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
                    "bearer": {"type": "http", "scheme": "bearer"},
                }
        return made

    app.openapi = described  # type: ignore[method-assign]
