"""What every request passes and every answer carries: request id, cross-site guard, headers, session cookie."""

import re
import secrets
from collections.abc import Mapping

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

SESSION_COOKIE = "__Host-ikegate"
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "font-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
    )
)
SECURITY_HEADERS = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


def request_id(connection: HTTPConnection) -> str:
    """The id of this request, as the answer's `X-Request-Id` and the problem document say it."""
    return str(connection.scope.get("state", {}).get("request_id", ""))


def told_path(connection: HTTPConnection) -> str:
    """The path as a log may have it: a link of an invitation opens the door to whoever reads it."""
    path = connection.url.path
    return "/join/…" if path.startswith("/join/") else path


def bearer_token(connection: HTTPConnection) -> str | None:
    """What an `Authorization: Bearer` header carries; such a request never falls back to the cookie."""
    scheme, _, token = connection.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def session_secret(connection: HTTPConnection) -> str | None:
    """What the session cookie carries, or None without a cookie and for a request with an Authorization header."""
    if "authorization" in connection.headers:
        return None
    return connection.cookies.get(SESSION_COOKIE)


def set_session_cookie(response: Response, secret: str) -> None:
    """The cookie lives as long as the browser; the server ends the session earlier (idle and absolute limits)."""
    response.set_cookie(SESSION_COOKIE, secret, path="/", secure=True, httponly=True, samesite="lax")


def clear_session_cookie(response: Response) -> None:
    response.delete_cookie(SESSION_COOKIE, path="/", secure=True, httponly=True, samesite="lax")


class RequestIds:
    """Gives every request an id (the caller's own `X-Request-Id` if it is a plain word) and says it in the answer."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        name = given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(8)
        scope.setdefault("state", {})["request_id"] = name

        async def send_named(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["x-request-id"] = name
            await send(message)

        await self.app(scope, receive, send_named)


class SecurityHeaders:
    """Adds the security headers to every answer; one that says nothing about caching is not to be stored."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("cache-control", "no-store")
            await send(message)

        await self.app(scope, receive, send_with_headers if scope["type"] == "http" else send)


class BodyLimit:
    """Refuses bodies above a number of octets, with 413: by `limits[path]`, else by `limits[""]`."""

    def __init__(self, app: ASGIApp, limits: Mapping[str, int]) -> None:
        self.app = app
        self.limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        limit = self.limits.get(scope["path"], self.limits[""])
        announced = Headers(scope=scope).get("content-length", "")
        if announced.isdecimal() and int(announced[:20]) > limit:
            await _refusal(HTTPConnection(scope), 413, *_TOO_LARGE, f"A body here has at most {limit} octets.")(
                scope, receive, send
            )
            return
        octets = 0

        async def receive_counting() -> Message:
            nonlocal octets
            message = await receive()
            octets += len(message.get("body", b""))
            if octets > limit:  # the length was not announced, or was a lie
                raise HTTPException(413, f"A body here has at most {limit} octets.")
            return message

        await self.app(scope, receive_counting, send)


class CrossSiteGuard:
    """Refuses, with 403, an unsafe request that another site's page made a browser send.

    The browser's own word decides: `Sec-Fetch-Site` must be `same-origin` or `none`; where it is missing, `Origin`
    must be our host. A request with neither comes from no browser and passes unless it brings the session cookie.
    Bearer tokens are exempt: a browser never adds them by itself.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] not in SAFE_METHODS:
            connection = HTTPConnection(scope)
            if bearer_token(connection) is None and not came_from_us(connection):
                told = _FROM_ELSEWHERE if _named_its_page(connection) else _FROM_NOWHERE
                await _refusal(connection, 403, *_CROSS_SITE, told)(scope, receive, send)
                return
        await self.app(scope, receive, send)


def came_from_us(connection: HTTPConnection) -> bool:
    """Whether the browser says that our own page, or the user himself, made the request."""
    site = connection.headers.get("sec-fetch-site")
    if site is not None:
        return site in ("same-origin", "none")
    origin = connection.headers.get("origin")
    if origin is not None:
        host = connection.headers.get("host", "")
        return bool(host) and origin.lower() == f"{connection.url.scheme}://{host}".lower()
    return SESSION_COOKIE not in connection.cookies


def _named_its_page(connection: HTTPConnection) -> bool:
    return "sec-fetch-site" in connection.headers or "origin" in connection.headers


_CROSS_SITE = ("cross-site", "Request from another site")
_FROM_ELSEWHERE = "The browser says that this request was not made by a page of this gateway."
_FROM_NOWHERE = (
    "The request brings a session's cookie, but does not say which page made it (Origin). What is no browser sends a "
    "token in an Authorization: Bearer header instead, or our own address as Origin."
)
_TOO_LARGE = ("too-large", "Request too large")


def _refusal(connection: HTTPConnection, status: int, slug: str, title: str, detail: str) -> Response:
    document = {
        "type": f"/problems/{slug}",
        "title": title,
        "status": status,
        "detail": detail,
        "instance": connection.url.path,
        "request_id": request_id(connection),
        "errors": [],
    }
    return JSONResponse(document, status, media_type="application/problem+json")
