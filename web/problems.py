"""Errors as problem documents (RFC 9457): what happened, where in the request, and under which request id."""

import logging
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import quote

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import iter_route_contexts
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.service.access import SetupRefused, SignInRefused, Throttled, TokenNotFound
from gateway.service.documents import field_errors
from gateway.service.manage import Conflict, FieldError, Invalid, NotFound, PreconditionFailed, StorageFailed
from web.dependencies import Forbidden, NotSignedIn, SetupNeeded
from web.security import request_id, told_path

MEDIA_TYPE = "application/problem+json"
_log = logging.getLogger(__name__)
_TITLES = {
    400: ("bad-request", "Request not understood"),
    404: ("not-found", "Not found"),
    405: ("method-not-allowed", "Method not allowed"),
    413: ("too-large", "Request too large"),
    415: ("media-type", "Media type not supported"),
}


MEANINGS = {
    "bad-request": "The request is no HTTP, no JSON or no YAML that can be understood. Nothing was changed.",
    "changed-since": "If-Match or If-None-Match does not hold: somebody changed the object since you read it, or it is "
    "there already. Read it again, and decide anew. `etag` is its present version.",
    "cross-site": "A browser says that another site's page made it send this request. Requests that change something "
    "must come from this gateway's own pages, or carry a token.",
    "error": "The request could not be served; `detail` says why.",
    "in-use": "The object cannot be removed while others refer to it; `used_by` names them.",
    "internal": "Something went wrong inside the gateway. Its log says what, under the request id.",
    "invalid": "The request is understood, but cannot be taken; each of `errors` says where (a JSON pointer) and why.",
    "media-type": "The body must be application/json, or where a whole document is taken application/yaml.",
    "method-not-allowed": "The path knows other methods; the Allow header names them.",
    "missing-scope": "The caller is known, but lacks the scope that this needs.",
    "not-found": "There is no such object or path.",
    "not-signed-in": "No session and no valid token came with the request.",
    "setup-needed": "The gateway has no administrator yet. Open the setup link that it wrote to its log.",
    "setup-refused": "The setup token is wrong, used or too old, or the gateway is set up already.",
    "sign-in-refused": "The name or the password is wrong.",
    "storage": "The database could not be written just now: the disk is full or broken, or another program holds it. "
    "Nothing was changed.",
    "too-large": "The body has more octets than are taken here.",
    "too-many-attempts": "There were too many failed attempts to sign in or set up. Wait as long as Retry-After says.",
}


class ProblemError(BaseModel):
    """One thing wrong: a JSON pointer into the body (or `/query/…`, `/path/…`, `/header/…`), a code and a sentence."""

    pointer: str
    code: str
    detail: str


class Problem(BaseModel):
    """Every answer from 400 on."""

    type: str = Field(examples=["/problems/not-found"])
    title: str
    status: int
    detail: str
    instance: str
    request_id: str
    errors: list[ProblemError] = []
    used_by: list[str] | None = Field(None, description="With 409: what refers to the object")
    etag: str | None = Field(None, description="With 412: what the object is now")


def problem(
    request: Request,
    status: int,
    slug: str,
    title: str,
    detail: str,
    *,
    errors: Iterable[FieldError] = (),
    headers: dict[str, str] | None = None,
    **more: Any,
) -> Response:
    """A problem document as an answer; `more` are members of its own (RFC 9457 3.2)."""
    document = {
        "type": f"/problems/{slug}",
        "title": title,
        "status": status,
        "detail": detail,
        "instance": request.url.path,
        "request_id": request_id(request),
        "errors": [{"pointer": error.pointer, "code": error.code, "detail": error.detail} for error in errors],
        **more,
    }
    return JSONResponse(document, status, headers=headers, media_type=MEDIA_TYPE)


def is_page(request: Request) -> bool:
    """Whether a browser asks for a page, so that a problem is better answered by one."""
    return not request.url.path.startswith("/api/") and "text/html" in request.headers.get("accept", "")


def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, Invalid)
    return problem(request, 422, "invalid", "Not valid", str(error), errors=error.errors)


def _request_invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    found: list[FieldError] = []
    kind = request.headers.get("content-type", "")
    if isinstance(error.body, bytes) and not says_json(kind):  # FastAPI left it as it came, and looked into it in vain
        where = f"The body must be application/json, and say so in Content-Type; it says {kind[:100] or 'nothing'}."
        return problem(request, 415, *_TITLES[415], where)
    for entry in error.errors():
        place, *inside = entry["loc"]
        if entry["type"] == "json_invalid":
            where = f"the body is no JSON: {entry['ctx']['error']} at character {inside[0]}"
            return problem(request, 400, *_TITLES[400], where, errors=[FieldError("", "json_invalid", where)])
        location = inside if place == "body" else [place, *inside]
        found += field_errors([{**entry, "loc": tuple(location)}])
    detail = "; ".join(f"{one.pointer or 'body'}: {one.detail}" for one in found)
    return problem(request, 422, "invalid", "Not valid", detail, errors=found)


def says_json(content_type: str) -> bool:
    """Whether a media type is JSON's, or of a format that is JSON (RFC 6839 3.1)."""
    media_type = content_type.partition(";")[0].strip().lower()
    return media_type.startswith("application/") and media_type.removeprefix("application/").split("+")[-1] == "json"


def _not_found(request: Request, error: Exception) -> Response:
    return problem(request, 404, "not-found", "Not found", str(error))


def _conflict(request: Request, error: Exception) -> Response:
    assert isinstance(error, Conflict)
    return problem(request, 409, "in-use", "In use", str(error), used_by=list(error.used_by))


def _precondition_failed(request: Request, error: Exception) -> Response:
    assert isinstance(error, PreconditionFailed)
    headers = {"etag": error.etag} if error.etag else None
    return problem(request, 412, "changed-since", "Precondition failed", str(error), headers=headers, etag=error.etag)


def _not_signed_in(request: Request, _: Exception) -> Response:
    if is_page(request):
        target = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        return RedirectResponse("/login" + (f"?next={quote(target)}" if request.method == "GET" else ""), 303)
    detail = "Sign in at /api/v1/auth/session, or send a token in an Authorization: Bearer header."
    return problem(
        request, 401, "not-signed-in", "Not signed in", detail, headers={"www-authenticate": 'Bearer realm="ikegate"'}
    )


def _setup_needed(request: Request, _: Exception) -> Response:
    if is_page(request):
        return RedirectResponse("/setup", 303)
    detail = "This gateway has no administrator yet: open the setup link that it wrote to its log."
    return problem(
        request, 401, "setup-needed", "Not set up", detail, headers={"www-authenticate": 'Bearer realm="ikegate"'}
    )


def _forbidden(request: Request, error: Exception) -> Response:
    return problem(request, 403, "missing-scope", "Not permitted", str(error))


def _sign_in_refused(request: Request, error: Exception) -> Response:
    return problem(request, 401, "sign-in-refused", "Sign-in refused", str(error))


def _setup_refused(request: Request, error: Exception) -> Response:
    return problem(request, 403, "setup-refused", "Setup refused", str(error))


def _throttled(request: Request, error: Exception) -> Response:
    assert isinstance(error, Throttled)
    headers = {"retry-after": str(max(1, round(error.retry_after)))}
    return problem(request, 429, "too-many-attempts", "Too many attempts", str(error), headers=headers)


def _storage_failed(request: Request, error: Exception) -> Response:
    _log.error("request %s: %s", request_id(request), error)
    return problem(request, 503, "storage", "Not stored", str(error), headers={"retry-after": "10"})


def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    slug, title = _TITLES.get(error.status_code, ("error", str(error.detail)))
    detail, headers = str(error.detail), dict(error.headers or {})
    if error.status_code == 404:
        detail = f"There is nothing at {request.url.path}."
    elif error.status_code == 405:
        allowed = methods_at(request.app, request.url.path)
        headers = {"allow": ", ".join(allowed)}
        detail = f"{request.url.path} knows {', '.join(allowed)}."
    return problem(request, error.status_code, slug, title, detail, headers=headers)


def methods_at(app: FastAPI, path: str) -> list[str]:
    """What all routes of a path together allow; each route by itself knows only its own methods."""
    found: set[str] = set()
    for route in iter_route_contexts(app.routes):
        pattern = getattr(route, "path_regex", None)
        if pattern is not None and pattern.match(path):
            found |= route.methods or set()
    return sorted(found)


def answer_problems(app: FastAPI) -> None:
    """Register how each error is answered."""
    app.add_exception_handler(Invalid, _invalid)
    app.add_exception_handler(RequestValidationError, _request_invalid)
    app.add_exception_handler(NotFound, _not_found)
    app.add_exception_handler(TokenNotFound, _not_found)
    app.add_exception_handler(Conflict, _conflict)
    app.add_exception_handler(PreconditionFailed, _precondition_failed)
    app.add_exception_handler(NotSignedIn, _not_signed_in)
    app.add_exception_handler(SetupNeeded, _setup_needed)
    app.add_exception_handler(Forbidden, _forbidden)
    app.add_exception_handler(SignInRefused, _sign_in_refused)
    app.add_exception_handler(SetupRefused, _setup_refused)
    app.add_exception_handler(Throttled, _throttled)
    app.add_exception_handler(StorageFailed, _storage_failed)
    app.add_exception_handler(HTTPException, _http)


def _failed(request: Request) -> Response:
    detail = f"Something went wrong inside the gateway; its log says what, under request id {request_id(request)}."
    return problem(request, 500, "internal", "Internal error", detail)


class Failures:
    """Answers what no handler knew: 500 with the request id, and the trace in the log alone.

    `concerned` tells whose requests it answers, others fail on; by itself it answers all with a problem document.
    """

    def __init__(
        self,
        app: ASGIApp,
        concerned: Callable[[Request], bool] = lambda _: True,
        answer: Callable[[Request], Response] = _failed,
    ) -> None:
        self.app = app
        self._concerned = concerned
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not self._concerned(Request(scope)):
            await self.app(scope, receive, send)
            return
        started = False

        async def send_noting(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self.app(scope, receive, send_noting)
        except Exception:
            request = Request(scope)
            _log.exception("request %s failed: %s %s", request_id(request), request.method, told_path(request))
            if started:
                raise
            await self._answer(request)(scope, receive, send)
