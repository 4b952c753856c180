"""Who looks at a page, and what every page's route is given."""

from collections.abc import Awaitable, Callable, Coroutine
from typing import Annotated, Any

from fastapi import Depends, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute

from gateway.service.access import Session
from gateway.service.gateway import Gateway
from gateway.service.manage import NotFound, Terms
from web.console.errors import error_page
from web.dependencies import NotSignedIn, SetupNeeded, current_access, current_gateway
from web.security import session_secret

REFRESH = "x-ikegate-refresh"
CHANGED_MEANWHILE = (
    "Somebody changed this while you were at it. Below is what you typed: save again to overwrite, or reload to see."
)


def signed_in(request: Request) -> Session:
    """The session of the cookie; a page that only refreshes itself does not keep an idle session alive.

    Raises NotSignedIn or SetupNeeded, which send a browser on.
    """
    access = current_access(request)
    secret = session_secret(request)
    session = access.session(secret, touch=REFRESH not in request.headers) if secret else None
    if session is not None:
        return session
    raise SetupNeeded if access.setup_needed else NotSignedIn


SignedIn = Annotated[Session, Depends(signed_in)]
ThisGateway = Annotated[Gateway, Depends(current_gateway)]


def terms(session: Session, etag: str = "", *, dry_run: bool = False, create: bool = False) -> Terms:
    """A change by this administrator, on condition that the object is still the one shown, or not there yet."""
    return Terms(author=session.admin, dry_run=dry_run, if_match=etag or None, if_none_match="*" if create else None)


class PageRoute(APIRoute):
    """A route whose refusals are pages too."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle: Callable[[Request], Awaitable[Response]] = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                return await handle(request)
            except NotFound as error:
                return error_page(request, 404, str(error))
            except RequestValidationError:  # a page is asked for by its address alone, so that address is wrong
                return error_page(request, 404)
            except HTTPException as error:
                return error_page(request, error.status_code, str(error.detail))

        return answer
