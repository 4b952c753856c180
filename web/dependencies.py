"""What routes ask for: the gateway, who is calling, and signing in and out."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request, Response
from fastapi.security import APIKeyCookie, HTTPBearer, SecurityScopes

from gateway.service.access import Access, Scope, Session
from gateway.service.gateway import Gateway
from web.security import SESSION_COOKIE, bearer_token, clear_session_cookie, session_secret, set_session_cookie

_cookie = APIKeyCookie(name=SESSION_COOKIE, scheme_name="session", auto_error=False)
_bearer = HTTPBearer(scheme_name="token", auto_error=False)


class NotSignedIn(Exception):
    """No valid session or token came with the request: 401 for the API, the sign-in page for a browser."""


class SetupNeeded(Exception):
    """There is no administrator yet: 401 for the API, the setup page for a browser."""


class Forbidden(Exception):
    """The caller may not do this; the text names the scope that is missing."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who makes an API request: an administrator by a session, or a token; `name` is the author of its changes."""

    name: str
    scopes: frozenset[Scope]
    session: Session | None = None


def current_gateway(request: Request) -> Gateway:
    """The one gateway of this process.

    Its status, attempts and journal belong to the event loop: read them in a coroutine (`async def`). What its config
    answers comes from memory and may be read anywhere.
    """
    gateway: Gateway = request.app.state.gateway
    return gateway


def current_access(request: Request) -> Access:
    """Accounts, sessions, tokens and the setup token of this gateway."""
    return current_gateway(request).config.access


def optional_session(request: Request) -> Session | None:
    """The session of the cookie, if it still holds. It reads the database: a `def`, so that FastAPI uses a thread."""
    secret = session_secret(request)
    return current_access(request).session(secret) if secret else None


def find_caller(request: Request) -> Caller | None:
    """Who calls, by bearer token or session; None when neither is valid. Reads the database: use a thread."""
    access = current_access(request)
    if (text := bearer_token(request)) is not None:
        token = access.token(text, source(request))
        return Caller(f"token {token.name}", frozenset(token.scopes)) if token else None
    session = optional_session(request)
    return Caller(session.admin, frozenset(Scope), session) if session else None


def authorized(
    request: Request,
    needed: SecurityScopes,
    _session: Annotated[str | None, Depends(_cookie)],
    _token: Annotated[object, Depends(_bearer)],
) -> Caller:
    """The caller, who has the scopes that the route names: `Annotated[Caller, Security(authorized, scopes=[…])]`.

    Raises NotSignedIn, SetupNeeded, Forbidden.
    """
    caller = find_caller(request)
    if caller is None:
        raise SetupNeeded if current_access(request).setup_needed else NotSignedIn
    missing = [scope for scope in needed.scopes if scope not in caller.scopes]
    if missing:
        raise Forbidden(f"This needs the scope {', '.join(missing)}.")
    return caller


async def sign_in(request: Request, response: Response, name: str, password: str) -> Session:
    """Check the password, start a session and put its cookie into `response` (the very one that is returned).

    Ends the session that the request came with. Raises gateway.service.access.SignInRefused, or Throttled, whose
    `retry_after` is in seconds; both have a sentence for the person as text.
    """
    access = current_access(request)
    started = await access.sign_in(name, password, source(request))
    await _end_old_session(request)
    set_session_cookie(response, started.secret)
    return started.session


async def set_up(request: Request, response: Response, token: str, name: str, password: str) -> Session:
    """Make the first administrator by the one-time setup token and sign him in. SetupRefused, Throttled, Invalid."""
    started = await current_access(request).set_up(token, name, password, source(request))
    set_session_cookie(response, started.secret)
    return started.session


async def sign_out(request: Request, response: Response) -> None:
    """End the request's session, if any, and take the cookie back."""
    await _end_old_session(request)
    clear_session_cookie(response)


def source(request: Request) -> str:
    """The address that the request came from; X-Forwarded-For is not believed.

    A socket for both IP versions tells an IPv4 address inside of an IPv6 one, of which all would be one network.
    """
    return request.client.host.removeprefix("::ffff:") if request.client else ""


async def _end_old_session(request: Request) -> None:
    if secret := session_secret(request):
        await current_access(request).sign_out(secret)
