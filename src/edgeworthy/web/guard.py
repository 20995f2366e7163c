"""What every request passes: who may call, what answers carry, what is counted, what becomes of failures."""

from __future__ import annotations

import asyncio
import hmac
import logging
import time
from collections.abc import Callable, Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edgeworthy.web.problems import ProblemError
from edgeworthy.web.settings import LOOPBACK, Settings
from edgeworthy.web.telemetry import Telemetry

PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; media-src 'self' blob:; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)
_POLICY = "default-src 'none'; frame-ancestors 'none'"
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
}
_HEALTH = ("/healthz", "/readyz", "/v2/health/")
_OPEN = (*_HEALTH, "/static/", "/favicon.ico")
_OTHER = "other"  # the route of what has none, so that strangers cannot make up names of figures

_log = logging.getLogger("edgeworthy.web")


class Guard:
    """ASGI middleware around everything.

    Args:
        app: what is guarded.
        settings: of the server.
        telemetry: where requests are counted.
        stopping: whether connections shall end with their next answer.
    """

    def __init__(
        self, app: ASGIApp, settings: Settings, telemetry: Telemetry, stopping: Callable[[], bool]
    ) -> None:
        self._app, self._settings, self._telemetry, self._stopping = app, settings, telemetry, stopping
        self._is_anybodys = not settings.is_local and not settings.hosts
        self._hosts = {settings.host.lower(), *(host.lower() for host in settings.hosts), *LOOPBACK}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if scope["method"] == "HEAD":  # as GET; the server leaves the body out
            scope = {**scope, "method": "GET"}
        scope["headers"] = [entry for entry in scope["headers"] if entry[0] != b"range"]  # whole answers only
        start, status = time.perf_counter(), 0
        self._telemetry.taken += 1

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("Content-Security-Policy", _POLICY)
                headers.setdefault("Cache-Control", "no-store")
                if self._stopping():
                    headers["Connection"] = "close"
            await send(message)

        try:
            await self._answered(scope, receive, answer)
        except ClientDisconnect:
            pass
        except asyncio.CancelledError:
            if status or not self._stopping():
                raise
            problem = ProblemError("stopping", "The server's time to answer what it had taken is over.")
            await problem.response()(scope, receive, answer)
        except Exception:
            _log.exception("%s %s", scope["method"], scope["path"])
            if status:
                raise
            problem = ProblemError("unforeseen", "This was not foreseen.", hint="The server's log has more.")
            await problem.response()(scope, receive, answer)
        finally:
            self._telemetry.answered += bool(status)
            route = getattr(scope.get("route"), "path", _OTHER)
            self._telemetry.requests.labels(route, _method(scope), str(status or 499)).inc()
            self._telemetry.seconds.labels(route).observe(time.perf_counter() - start)

    async def _answered(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            headers = Headers(scope=scope)
            if not _starts(scope["path"], _HEALTH):  # whoever looks after servers calls them by address
                self._refuse_unknown_host(headers)
            self._refuse_other_sites(headers)
            self._refuse_strangers(scope["path"], headers)
        except ProblemError as problem:
            await problem.response()(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _refuse_unknown_host(self, headers: Headers) -> None:
        """A page of another site, whose name was made to lead here, would be of the same origin."""
        if self._is_anybodys:
            return
        name = _host_of(headers.get("host", ""))
        if name not in self._hosts:
            known = ", ".join(sorted(self._hosts))
            raise ProblemError(
                "unknown-host", f"It was called {name[:80]!r}; known are {known}.", hint="See --allow-host."
            )

    def _refuse_other_sites(self, headers: Headers) -> None:
        """A form or script of another site in the user's browser may not use what only the user can reach."""
        origin = headers.get("origin")
        foreign = origin is not None and _place_of(origin) != headers.get("host", "").lower()
        if foreign or headers.get("sec-fetch-site") in {"cross-site", "same-site"}:
            if origin is None and headers.get("sec-fetch-mode") == "navigate":
                return  # a link to the page
            raise ProblemError(
                "foreign-origin", f"{(origin or 'Another site')[:80]} may not call this server."
            )

    def _refuse_strangers(self, path: str, headers: Headers) -> None:
        key = self._settings.api_key
        if key is None or path == "/" or _starts(path, _OPEN):
            return
        scheme, _, token = headers.get("authorization", "").partition(" ")
        shown = headers.get("x-api-key") or (token.strip() if scheme.lower() == "bearer" else "")
        if not hmac.compare_digest(shown.encode(), key.encode()):
            raise ProblemError(
                "key-needed",
                "The key is missing or wrong.",
                hint="Send it as X-API-Key, or as Authorization: Bearer.",
                headers={"WWW-Authenticate": 'Bearer realm="edgeworthy"'},
            )


def _host_of(header: str) -> str:
    """Without the port, and without the brackets of an IPv6 address."""
    try:
        return (urlsplit(f"//{header}").hostname or "").lower()
    except ValueError:
        return ""


def _place_of(origin: str) -> str:
    """Host and port of an origin; "" where it is none."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def _starts(path: str, places: Iterable[str]) -> bool:
    return any(path == place or (place.endswith("/") and path.startswith(place)) for place in places)


def _method(scope: Scope) -> str:
    known = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
    return scope["method"] if scope["method"] in known else _OTHER
