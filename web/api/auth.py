"""Signing in, the first setup, and API tokens: /auth/session, /auth/password, /setup, /tokens."""

from typing import Annotated

from fastapi import APIRouter, Path, Request, Response
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from gateway.service.access import Scope, Session, Token
from gateway.service.credentials import TOKEN_LIFETIME
from web.api.common import BODY, LIST, READ, Administer, Anyone, Page, problems
from web.dependencies import Forbidden, current_access, set_up, sign_in, sign_out, source
from web.security import clear_session_cookie

router = APIRouter(tags=["access"])
DAY = 86_400.0
MAX_DAYS = 366


class Credentials(BaseModel):
    """An administrator's name and password."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, Field(max_length=63)]
    password: Annotated[SecretStr, Field(max_length=1024)]


class SetupBody(Credentials):
    """The token of the setup link, and the first administrator."""

    token: Annotated[SecretStr, Field(max_length=200)]


class PasswordBody(BaseModel):
    """The password so far and the new one."""

    model_config = ConfigDict(extra="forbid")

    password: Annotated[SecretStr, Field(max_length=1024)]
    new_password: Annotated[SecretStr, Field(max_length=1024)]


class SessionAnswer(BaseModel):
    """A signed-in administrator; times are Unix seconds, `expires_at` unless it is used before."""

    admin: str
    created_at: float
    expires_at: float
    source: str
    scopes: list[Scope] = list(Scope)


class CallerAnswer(BaseModel):
    """Who the caller is; a token has no session."""

    name: str
    scopes: list[Scope]
    session: SessionAnswer | None


class SetupAnswer(BaseModel):
    """Whether there is no administrator yet."""

    needed: bool


class TokenBody(BaseModel):
    """A token to make."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, Field(max_length=63, examples=["ansible"])]
    scopes: Annotated[list[Scope], Field(min_length=1, max_length=len(Scope))]
    days: Annotated[int, Field(ge=1, le=MAX_DAYS, strict=True)] = int(TOKEN_LIFETIME / DAY)


class TokenAnswer(BaseModel):
    """A token without its secret; times are Unix seconds."""

    id: str
    name: str
    scopes: list[Scope]
    created_by: str
    created_at: float
    expires_at: float
    used_at: float | None
    used_from: str | None


class NewTokenAnswer(TokenAnswer):
    """A token just made: `token` is shown this once."""

    token: str


@router.get("/setup")
async def get_setup(request: Request) -> SetupAnswer:
    return SetupAnswer(needed=current_access(request).setup_needed)


@router.post("/setup", status_code=201, responses={**problems(403, 422, 429), **BODY})
async def post_setup(request: Request, response: Response, body: SetupBody) -> SessionAnswer:
    """Make the first administrator with the token of the setup link, and sign him in."""
    token, password = body.token.get_secret_value(), body.password.get_secret_value()
    return _session(await set_up(request, response, token, body.name, password))


@router.post("/auth/session", status_code=201, responses={**problems(401, 403, 422, 429), **BODY})
async def post_session(request: Request, response: Response, body: Credentials) -> SessionAnswer:
    """Sign in; the session is in a cookie."""
    return _session(await sign_in(request, response, body.name, body.password.get_secret_value()))


@router.get("/auth/session", responses=problems(401, 403))
async def get_session(caller: Anyone) -> CallerAnswer:
    scopes = [scope for scope in Scope if scope in caller.scopes]
    return CallerAnswer(name=caller.name, scopes=scopes, session=_session(caller.session) if caller.session else None)


@router.delete("/auth/session", status_code=204, responses=problems(403))
async def delete_session(request: Request, response: Response) -> None:
    """Sign out; without a session, nothing happens."""
    await sign_out(request, response)


@router.post("/auth/password", status_code=204, responses={**problems(401, 403, 422, 429), **BODY})
async def post_password(request: Request, response: Response, caller: Anyone, body: PasswordBody) -> None:
    """Change the caller's own password. All of his sessions end, this one too."""
    if caller.session is None:
        raise Forbidden("A token has no password.")
    old, new = body.password.get_secret_value(), body.new_password.get_secret_value()
    await current_access(request).change_password(caller.session.admin, old, new, source(request))
    clear_session_cookie(response)


@router.get("/tokens", responses=LIST)
def list_tokens(request: Request, _: Administer) -> Page[TokenAnswer]:
    return Page(items=[_token(token) for token in current_access(request).tokens()])


@router.post("/tokens", status_code=201, responses={**LIST, **BODY})
async def post_token(request: Request, caller: Administer, body: TokenBody) -> NewTokenAnswer:
    """Make a token; it can have no scope that the caller lacks."""
    beyond = [scope for scope in body.scopes if scope not in caller.scopes]
    if beyond:
        raise Forbidden(f"You cannot give the scope {', '.join(beyond)}, which you do not have.")
    made = await current_access(request).create_token(body.name, body.scopes, caller.name, body.days * DAY)
    return NewTokenAnswer(**_token(made.token).model_dump(), token=made.text)


@router.delete("/tokens/{id}", status_code=204, responses=READ)
async def delete_token(
    request: Request, caller: Administer, token: Annotated[str, Path(alias="id", pattern="^[a-z0-9]{8}$")]
) -> None:
    await current_access(request).delete_token(token, caller.name)


def _session(session: Session) -> SessionAnswer:
    return SessionAnswer(
        admin=session.admin, created_at=session.created_at, expires_at=session.expires_at, source=session.source
    )


def _token(token: Token) -> TokenAnswer:
    return TokenAnswer(
        id=token.id,
        name=token.name,
        scopes=list(token.scopes),
        created_by=token.created_by,
        created_at=token.created_at,
        expires_at=token.expires_at,
        used_at=token.used_at,
        used_from=token.used_from,
    )
