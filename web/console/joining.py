"""The page of an invitation, for a person with a device and without an account: /join/{token}.

Nobody signs in here, nothing needs a script. Whoever looks changes nothing; the file comes when the button is pressed,
once. The token is in the address alone: it is in no log of ours, and no Referer takes it elsewhere.
"""

from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse

from gateway.service.gateway import Gateway
from gateway.service.invitations import WATCHED_FOR, Invite, NoInvitation, Watch
from gateway.service.manage import Invalid
from gateway.service.profiles import KEYED
from gateway.service.profiles.joining import Unfit
from gateway.service.status import IkeSaStatus
from gateway.service.throttle import Throttled
from gateway.storage.people import UserObject
from web.console.forms.fields import typed_in
from web.console.render import page
from web.console.session import PageRoute, ThisGateway
from web.console.views.devices import PLATFORMS
from web.dependencies import source

router = APIRouter(route_class=PageRoute, include_in_schema=False)
WATCH_COOKIE = "__Host-ikegate-join"
_SIGNS = (
    ("iPhone", "apple"),
    ("iPad", "apple"),
    ("Macintosh", "apple"),
    ("Android", "android"),
    ("Windows", "windows"),
    ("Linux", "networkmanager"),
)
_EVERY = 3  # seconds between looks whether the device is in
# The token stays out of Referer; the origin goes along, because browsers without Sec-Fetch-Site show it for a form.
_HEADERS = {"referrer-policy": "strict-origin", "x-robots-tag": "noindex, nofollow"}


def platform_of(agent: str) -> str:
    """The platform that a browser says it is on; empty when it says none that we know."""
    return next((platform for sign, platform in _SIGNS if sign in agent), "")


@router.get("/join/{token}")
async def show_invitation(request: Request, gateway: ThisGateway, token: str) -> Response:
    watched = gateway.invitations.watched(request.cookies.get(WATCH_COOKIE, ""), token)
    if watched is not None:
        return _watching(request, gateway, *watched)
    try:
        invite = gateway.invitations.find(token, source(request))
    except (NoInvitation, Throttled) as refused:
        return _refused(request, refused)
    await gateway.invitations.opened(invite)
    return _form(request, gateway, token, invite)


@router.post("/join/{token}")
async def take_file(request: Request, gateway: ThisGateway, token: str) -> Response:
    typed, _ = await typed_in(request)
    platform = typed.get("platform", "")
    try:
        invite = gateway.invitations.find(token, source(request))
        if platform not in KEYED:
            return _form(request, gateway, token, invite, "Choose what kind of device it is.")
        taken = await gateway.invitations.take(token, platform, source(request))
    except (NoInvitation, Throttled) as refused:
        return _refused(request, refused)
    except (Unfit, Invalid) as unfit:
        return _form(request, gateway, token, invite, f"There is no file for this kind of device: {unfit}.", platform)
    headers = {**_HEADERS, "content-disposition": f'attachment; filename="{taken.file_name}"'}
    answer = Response(taken.octets, 200, headers, taken.platform.media_type)
    answer.set_cookie(
        WATCH_COOKIE, taken.watch, max_age=int(WATCHED_FOR), path="/", secure=True, httponly=True, samesite="lax"
    )
    return answer


def _page(request: Request, status: int, title: str, **context: Any) -> HTMLResponse:
    answer = page(request, "join.html", status, title=title, **{"refresh": 0, **context})
    answer.headers.update(_HEADERS)
    return answer


def _refused(request: Request, refused: NoInvitation | Throttled) -> Response:
    slowed = isinstance(refused, Throttled)
    answer = _page(request, 429 if slowed else 410, "This link does not work", part="refused", text=str(refused))
    if isinstance(refused, Throttled):
        answer.headers["retry-after"] = str(max(1, round(refused.retry_after)))
    return answer


def _form(
    request: Request, gateway: Gateway, token: str, invite: Invite, error: str = "", chosen: str = ""
) -> Response:
    user, _, device = invite.device.partition("/")
    return _page(
        request,
        422 if error else 200,
        "Join the VPN",
        part="form",
        action=f"/join/{token}",
        person=user,
        device=device,
        server=gateway.settings.public_name,
        platforms=PLATFORMS,
        chosen=chosen or platform_of(request.headers.get("user-agent", "")),
        keyed=gateway.invitations.needs_key(invite),
        expires_at=invite.expires_at,
        error=error,
    )


def _watching(request: Request, gateway: Gateway, invite: Invite, watch: Watch) -> Response:
    found = standing(gateway, invite)
    seen = gateway.devices.sighting(invite.device)
    return _page(
        request,
        200,
        "Connected" if found else "Install the file",
        part="watching",
        refresh=0 if found else _EVERY,
        platform=invite.platform,
        keyed=gateway.invitations.needs_key(invite),
        password=watch.password,
        used_at=invite.used_at,
        sa=found,
        seen=seen.last if seen and seen.last >= (invite.used_at or 0.0) else None,
    )


def standing(gateway: Gateway, invite: Invite) -> IkeSaStatus | None:
    """By what the invited device is in now; one without a certificate is known by its user alone."""
    sas = gateway.observer.ike_sas()
    if gateway.invitations.needs_key(invite):
        return next((sa for sa in sas if sa.device == invite.device), None)
    user = gateway.config.inventory.users.get(invite.device.partition("/")[0], UserObject(name="nobody"))
    return next((sa for sa in sas if sa.user == (user.login or user.name) and sa.peer == invite.peer), None)
