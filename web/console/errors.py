"""The pages of what went wrong: not there, not allowed, broken."""

from http import HTTPStatus

from fastapi import Request
from fastapi.responses import HTMLResponse

from web.console.render import page
from web.security import request_id

_TEXTS = {
    403: (
        "This is not allowed",
        "The browser says that another site's page made this request, so the gateway refused it.",
    ),
    404: ("There is no such page", "It may have been renamed or deleted, or the address has a slip in it."),
    405: ("This page does not do that", "The address is right, but nothing can be sent to it in this way."),
    500: ("Something broke in the gateway", "Nothing was changed by this request. Tunnels that are up stay up."),
}


def error_page(request: Request, status_code: int, detail: str = "") -> HTMLResponse:
    """A page for an answer that is no success; `detail` is a sentence for a person."""
    phrase = HTTPStatus(status_code).phrase
    title, text = _TEXTS.get(status_code, (phrase, "The gateway cannot answer this request."))
    shown = detail if detail and detail != phrase else text
    return page(
        request,
        "problem.html",
        status_code,
        title=title,
        code=status_code,
        detail=shown,
        request_id=request_id(request),
    )
