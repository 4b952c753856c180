"""The pages before signing in: first setup, sign-in, and the way out."""

import re
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import RedirectResponse

from gateway.service.access import Access, Session, SetupRefused, SignInRefused
from gateway.service.throttle import Throttled
from gateway.storage.objects import Invalid
from web.console.forms.fields import Errors, Typed, place, typed_in
from web.console.render import go, page
from web.console.session import PageRoute
from web.dependencies import current_access, optional_session, set_up, sign_in, sign_out

router = APIRouter(route_class=PageRoute, include_in_schema=False)
_ACCOUNT_FIELDS = ((r"/name", "name"), (r"/(new_)?password", "password"))
ThisAccess = Annotated[Access, Depends(current_access)]
MaybeSession = Annotated[Session | None, Depends(optional_session)]


def safe_next(address: str) -> str:
    """A page of ours to go to after signing in; anything else is the overview."""
    return address if re.fullmatch(r"/(?![/\\])[!-~]*", address) and "\\" not in address else "/"


@router.get("/setup")
def setup(request: Request, access: ThisAccess) -> Response:
    if not access.setup_needed:
        return go("/login", "This gateway is set up already.")
    return page(request, "setup.html", title="Set up")


@router.post("/setup")
async def make_first_admin(request: Request) -> Response:
    typed, _ = await typed_in(request)
    answer = go("/", "Welcome. You are the first administrator of this gateway.")
    errors: Errors = {}
    status = 422
    if typed.get("password", "") != typed.get("again", ""):
        errors["again"] = "The two passphrases differ."
    else:
        try:
            await set_up(
                request,
                answer,
                typed.get("token", "").strip(),
                typed.get("name", "").strip(),
                typed.get("password", ""),
            )
        except Invalid as error:
            errors = place(error.errors, _ACCOUNT_FIELDS)
        except SetupRefused as error:
            errors["token"] = str(error)
        except Throttled as error:
            errors[""] = str(error)
            status = 429
        else:
            return answer
    return page(request, "setup.html", status, title="Set up", typed=typed, errors=errors)


@router.get("/login")
def login(request: Request, access: ThisAccess, session: MaybeSession, next: str = "/") -> Response:
    if access.setup_needed:
        return RedirectResponse("/setup", 303)
    if session is not None:
        return RedirectResponse(safe_next(next), 303)
    return page(request, "login.html", title="Sign in", typed={"next": safe_next(next)}, refused="")


@router.post("/login")
async def start_session(request: Request) -> Response:
    typed, _ = await typed_in(request)
    answer = go(safe_next(typed.get("next", "/")))
    try:
        await sign_in(request, answer, typed.get("name", "").strip(), typed.get("password", ""))
    except SignInRefused as error:
        return _refused(request, typed, str(error), 401)
    except Throttled as error:
        refusal = _refused(request, typed, str(error), 429)
        refusal.headers["retry-after"] = str(max(1, round(error.retry_after)))
        return refusal
    return answer


def _refused(request: Request, typed: Typed, text: str, status: int) -> Response:
    kept = {"name": typed.get("name", ""), "next": safe_next(typed.get("next", "/"))}
    return page(request, "login.html", status, title="Sign in", typed=kept, refused=text)


@router.post("/logout")
async def end_session(request: Request) -> Response:
    answer = go("/login", "You are signed out.")
    await sign_out(request, answer)
    return answer
