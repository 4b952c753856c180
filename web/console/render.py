"""Templates to answers: one Jinja environment that escapes everything and knows the console's words."""

import hashlib
import time
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from fastapi import Request
from fastapi.responses import HTMLResponse, RedirectResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from web.console import words

_WEB = Path(__file__).resolve().parents[1]
STATIC = _WEB / "static"
NOTICE_COOKIE = "__Host-ikegate-notice"
_NOTICE_SECONDS = 30
_MOST_NOTICE = 600
NAVIGATION = (
    ("See", (("Overview", "/"), ("Tunnels", "/tunnels"), ("Remote access", "/access"), ("Sessions", "/sessions"))),
    ("Understand", (("Attempts", "/attempts"), ("Events", "/events"))),
    (
        "Change",
        (
            ("Credentials", "/credentials"),
            ("Proposals", "/proposals"),
            ("Network rules", "/rules"),
            ("Settings", "/settings"),
        ),
    ),
)
_SECTIONS = tuple(address for _, entries in NAVIGATION for _, address in entries)
# Pages of a section elsewhere.
_INSIDE = dict.fromkeys(("/psks", "/ppks", "/certificates", "/authorities"), "/credentials")


_FILTERS = (
    "access_rules",
    "capital",
    "clock",
    "duration",
    "grouped",
    "iso",
    "left",
    "moment",
    "octets",
    "profile_reason",
    "sentence",
    "tunnel",
)


@cache
def asset(name: str) -> str:
    """The address of a static file, which changes when the file does, so that browsers may keep it for ever."""
    digest = hashlib.sha256((STATIC / name).read_bytes()).hexdigest()[:12]
    return f"/static/{name}?v={digest}"


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_WEB / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for name in _FILTERS:
        environment.filters[name] = getattr(words, name)
    environment.filters["segment"] = lambda text: quote(str(text), safe="")
    environment.globals.update(asset=asset, navigation=NAVIGATION, counted=words.counted)
    return environment


_TEMPLATES = _environment()


def section_of(path: str) -> str:
    """The menu entry that a page belongs to."""
    known = (*_SECTIONS, *_INSIDE)
    found = (address for address in known if path == address or (address != "/" and path.startswith(address + "/")))
    address = next(found, "")
    return _INSIDE.get(address, address)


def html(template: str, **context: Any) -> str:
    """The page as text; `now` (Unix seconds) is the moment that its data was true."""
    defaults: dict[str, Any] = {
        "now": time.time(),
        "user": "",
        "path": "",
        "section": "",
        "notice": "",
        "errors": {},
        "typed": {},
    }
    return _TEMPLATES.get_template(template).render(defaults | context)


def page(request: Request, template: str, status_code: int = 200, **context: Any) -> HTMLResponse:
    """Answer with a page; a notice left by the request before is shown once."""
    path = request.url.path
    notice = unquote(request.cookies.get(NOTICE_COOKIE, ""))[:_MOST_NOTICE]
    answer = HTMLResponse(html(template, path=path, section=section_of(path), notice=notice, **context), status_code)
    if notice and "x-ikegate-refresh" not in request.headers:
        answer.delete_cookie(NOTICE_COOKIE, path="/", secure=True, httponly=True, samesite="lax")
    return answer


def go(address: str, notice: str = "") -> RedirectResponse:
    """See another page after a change (303), which says `notice` once."""
    answer = RedirectResponse(address, 303)
    if notice:
        value = quote(notice[:_MOST_NOTICE])
        answer.set_cookie(
            NOTICE_COOKIE, value, max_age=_NOTICE_SECONDS, path="/", secure=True, httponly=True, samesite="lax"
        )
    return answer
