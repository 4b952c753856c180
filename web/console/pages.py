"""The console as one part of the app: its routes, its files, and its answers to what goes wrong."""

import os

from fastapi import FastAPI, Request
from starlette.datastructures import URL
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from web.console import (
    access_profiles,
    account,
    certificates,
    changing,
    credentials,
    devices,
    entry,
    joining,
    people,
    ruling,
    watching,
)
from web.console.errors import error_page
from web.console.render import STATIC
from web.problems import Failures, is_page

_PARTS = (
    entry,
    account,
    changing,
    credentials,
    certificates,
    devices,
    people,
    access_profiles,
    joining,
    ruling,
    watching,
)  # changing before watching: /tunnels/new is no tunnel's name
_FOR_EVER = "public, max-age=31536000, immutable"


def console_routes(app: FastAPI) -> None:
    """Add the console to the app. Call it after the app's own exception handlers, before its own middleware."""
    for part in _PARTS:
        app.include_router(part.router)
    app.mount("/static", _Files(directory=STATIC), name="static")
    otherwise = app.exception_handlers[HTTPException]

    async def page_or_problem(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        if is_page(request):
            return error_page(request, error.status_code, str(error.detail))
        answer = otherwise(request, error)
        assert isinstance(answer, Response)
        return answer

    app.add_exception_handler(HTTPException, page_or_problem)
    app.add_middleware(Failures, concerned=is_page, answer=lambda request: error_page(request, 500))


class _Files(StaticFiles):
    """Files whose address names their content may be kept for ever; under a bare address they are asked for anew."""

    def file_response(
        self, full_path: str | os.PathLike[str], stat_result: os.stat_result, scope: Scope, status_code: int = 200
    ) -> Response:
        answer = super().file_response(full_path, stat_result, scope, status_code)
        answer.headers["cache-control"] = _FOR_EVER if URL(scope=scope).query.startswith("v=") else "no-cache"
        return answer
