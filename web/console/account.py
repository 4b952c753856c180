"""The page of one's own account: passphrase, who is signed in, API tokens."""

import asyncio

from fastapi import APIRouter, Request, Response

from gateway.service.access import Access, NewToken, Scope, Session, SignInRefused, TokenNotFound
from gateway.service.credentials import TOKEN_LIFETIME
from gateway.service.throttle import Throttled
from gateway.storage.objects import Invalid
from web.console.entry import ThisAccess
from web.console.errors import error_page
from web.console.forms.fields import Errors, Typed, api_call, number, place, plain, typed_in
from web.console.render import go, page
from web.console.session import PageRoute, SignedIn
from web.dependencies import source
from web.security import clear_session_cookie

router = APIRouter(route_class=PageRoute, include_in_schema=False)
_DAY = 86_400.0
_TOKEN_FIELDS = ((r"/name", "token_name"), (r"/scopes", "scopes"), (r"/days", "days"))
_PASSWORD_FIELDS = ((r"/(new_)?password", "password"),)
SCOPES = (
    (Scope.CONFIG_READ, "Read the configuration"),
    (Scope.CONFIG_WRITE, "Change the configuration"),
    (Scope.STATE_READ, "Read status, attempts and events"),
    (Scope.ACTIONS, "Connect, disconnect, rekey"),
    (Scope.ADMIN, "Administer accounts and tokens"),
)
_FRESH: Typed = {
    "days": plain(TOKEN_LIFETIME / _DAY),
    **{f"scope-{scope}": "yes" for scope in (Scope.CONFIG_READ, Scope.STATE_READ)},
}


async def _show(
    request: Request,
    session: Session,
    access: Access,
    typed: Typed,
    errors: Errors,
    made: NewToken | None = None,
    status: int = 200,
) -> Response:
    sessions, tokens = await asyncio.to_thread(lambda: (access.sessions(), access.tokens()))
    body = {"name": typed.get("token_name") or "NAME", "scopes": _chosen(typed), "days": 90}
    return page(
        request,
        "account.html",
        422 if errors and status == 200 else status,
        title="Your account",
        user=session.admin,
        sessions=sessions,
        this_session=session.id,
        tokens=tokens,
        scopes=SCOPES,
        typed=typed,
        errors=errors,
        made=made,
        call=api_call(request, "POST", "/tokens", body),
    )


def _chosen(typed: Typed) -> list[Scope]:
    return [scope for scope in Scope if typed.get(f"scope-{scope}")]


@router.get("/account")
async def show_account(request: Request, session: SignedIn, access: ThisAccess) -> Response:
    return await _show(request, session, access, _FRESH, {})


@router.post("/account")
async def change_account(request: Request, session: SignedIn, access: ThisAccess) -> Response:
    """Both forms come here, so that the page keeps its address, under which it looks at itself again."""
    typed, _ = await typed_in(request)
    if typed.get("what") == "token":
        return await _make_token(request, session, access, typed)
    return await _change_password(request, session, access, typed)


async def _change_password(request: Request, session: Session, access: Access, typed: Typed) -> Response:
    errors: Errors = {}
    status = 200
    if typed.get("password", "") != typed.get("again", ""):
        errors["again"] = "The two passphrases differ."
    else:
        try:
            await access.change_password(
                session.admin, typed.get("old", ""), typed.get("password", ""), source(request)
            )
        except SignInRefused:
            errors["old"] = "This is not your present passphrase."
        except Throttled as error:
            errors["old"], status = str(error), 429
        except Invalid as error:
            errors = place(error.errors, _PASSWORD_FIELDS)
        else:
            answer = go("/login", "Your passphrase is changed. Sign in with the new one.")
            clear_session_cookie(answer)
            return answer
    return await _show(request, session, access, _FRESH, errors, status=status)


async def _make_token(request: Request, session: Session, access: Access, typed: Typed) -> Response:
    """The answer shows the token itself, this once; a redirect could not carry it."""
    errors: Errors = {}
    days = number(typed, "days", errors, whole=True)
    name = typed.get("token_name", "").strip()
    lifetime = TOKEN_LIFETIME if days is None else days * _DAY
    if not errors:
        try:
            made = await access.create_token(name, _chosen(typed), session.admin, lifetime)
        except Invalid as error:
            errors = place(error.errors, _TOKEN_FIELDS)
        else:
            return await _show(request, session, access, _FRESH, {}, made)
    return await _show(request, session, access, typed, errors)


@router.post("/account/tokens/{public_id}/delete")
async def delete_token(request: Request, session: SignedIn, access: ThisAccess, public_id: str) -> Response:
    try:
        await access.delete_token(public_id, session.admin)
    except TokenNotFound as error:
        return error_page(request, 404, str(error))
    return go("/account", "The token is deleted; who used it is refused from now on.")
