"""The pages of a user's devices: added, invited by a link, revoked, removed."""

from fastapi import APIRouter, Request, Response

from gateway.crypto.authority import DAY
from gateway.service import renewals
from gateway.service.access import Session
from gateway.service.devices import LIFE
from gateway.service.gateway import Gateway
from gateway.service.invitations import GOOD_FOR, LONGEST
from gateway.service.manage import Invalid, PreconditionFailed
from gateway.storage.devices import DeviceObject
from web.api.invites import MOST_DAYS, invitation_link
from web.console.forms.fields import Errors, Typed, api_call, number, place, typed_in
from web.console.render import go, page
from web.console.session import PageRoute, SignedIn, ThisGateway, terms
from web.console.views import devices as view
from web.qr import qr_code

router = APIRouter(route_class=PageRoute, include_in_schema=False)
_PATH = "/access/users/{user}/devices/{device}"
_FIELDS = ((r"/(name|description|peer)", r"\1"),)
_HOURS = LONGEST / 3600
_NEW: Typed = {"hours": f"{GOOD_FOR / 3600:g}", "days": f"{LIFE / DAY:g}"}


def _address(user: str, device: str) -> str:
    return f"/access/users/{user}/devices/{device}"


@router.post("/access/users/{user}/devices")
async def add_device(request: Request, session: SignedIn, gateway: ThisGateway, user: str) -> Response:
    typed, _ = await typed_in(request)
    gateway.config.object("users", user)
    device = typed.get("device", "").strip()
    try:
        await gateway.config.put("devices", f"{user}/{device}", {}, terms(session, create=True))
    except Invalid:
        return go(
            f"/access/users/{user}#devices", "A device's name is made of a-z, 0-9, dots, underscores and hyphens."
        )
    except PreconditionFailed:
        return go(_address(user, device), f"{device} is there already.")
    return go(_address(user, device), f"{device} is added. Now make a link, by which {user} sets it up.")


@router.get(_PATH)
async def show_device(request: Request, session: SignedIn, gateway: ThisGateway, user: str, device: str) -> Response:
    return _draw(request, session, gateway, f"{user}/{device}", _NEW, {})


def _draw(
    request: Request, session: Session, gateway: Gateway, name: str, typed: Typed, errors: Errors, link: str = ""
) -> Response:
    found = gateway.config.object("devices", name)
    assert isinstance(found, DeviceObject)
    user, _, device = name.partition("/")
    path = f"/users/{user}/devices/{device}/invites"
    return page(
        request,
        "device.html",
        422 if errors else 200,
        title=device,
        user=session.admin,
        person=user,
        address=_address(user, device),
        row=view.device_row(gateway, found, gateway.observer.ike_sas()),
        invites=view.invite_rows(gateway, name),
        peers=view.peers_for_persons(gateway),
        typed=typed,
        errors=errors,
        link=link,
        qr=qr_code(link) if link else None,
        call=api_call(request, "POST", path, {"peer": typed.get("peer", "")}),
    )


@router.post(_PATH + "/invites")
async def invite(request: Request, session: SignedIn, gateway: ThisGateway, user: str, device: str) -> Response:
    typed, _ = await typed_in(request)
    name, errors = f"{user}/{device}", Errors()
    gateway.config.object("devices", name)
    hours, days = _within(typed, "hours", errors, _HOURS), _within(typed, "days", errors, MOST_DAYS)
    if errors:
        return _draw(request, session, gateway, name, typed, errors)
    try:
        made = await gateway.invitations.create(
            name,
            session.admin,
            peer=typed.get("peer", ""),
            on_demand=bool(typed.get("on_demand")),
            good_for=hours * 3600,
            life=days * DAY,
        )
    except Invalid as error:
        return _draw(request, session, gateway, name, typed, place(error.errors, _FIELDS))
    return _draw(request, session, gateway, name, typed, {}, invitation_link(request, gateway, made.token))


@router.post(_PATH + "/invite-again")
async def invite_again(request: Request, session: SignedIn, gateway: ThisGateway, user: str, device: str) -> Response:
    name = f"{user}/{device}"
    try:
        made = await renewals.invite_again(gateway.config, gateway.invitations, name, session.admin)
    except Invalid as error:
        return _draw(request, session, gateway, name, _NEW, place(error.errors, _FIELDS))
    return _draw(request, session, gateway, name, _NEW, {}, invitation_link(request, gateway, made.token))


def _within(typed: Typed, name: str, errors: Errors, most: float) -> float:
    value = number(typed, name, errors)
    if value is None or not 0 < value <= most:
        errors.setdefault(name, f"Write a number above 0, {most:g} at most.")
        return 1.0
    return float(value)


@router.post(_PATH + "/invites/{number}/revoke")
async def revoke_invite(
    request: Request, session: SignedIn, gateway: ThisGateway, user: str, device: str, number: str
) -> Response:
    await gateway.invitations.revoke(number, session.admin)
    return go(_address(user, device), "The link is good for nothing any more.")


@router.post(_PATH + "/revoke")
async def revoke_device(request: Request, session: SignedIn, gateway: ThisGateway, user: str, device: str) -> Response:
    typed, _ = await typed_in(request)
    name, errors = f"{user}/{device}", Errors()
    gateway.config.object("devices", name)
    if typed.get("confirm", "").strip() != device:
        errors["confirm"] = f"Type {device} exactly to revoke it."
        return _draw(request, session, gateway, name, _NEW | typed, errors)
    try:
        await gateway.devices.revoke(name, terms(session))
    except Invalid as error:
        return _draw(request, session, gateway, name, _NEW, {"": str(error)})
    return go(_address(user, device), f"The certificate of {device} is revoked, and its session ends.")


@router.post(_PATH + "/delete")
async def delete_device(request: Request, session: SignedIn, gateway: ThisGateway, user: str, device: str) -> Response:
    await gateway.config.delete("devices", f"{user}/{device}", terms(session))
    return go(f"/access/users/{user}", f"{device} is removed, and its certificate is revoked.")
