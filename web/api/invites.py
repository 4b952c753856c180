"""Invitations of devices: /users/{name}/devices/{device}/invites, /invites."""

import time
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from gateway.crypto.authority import DAY
from gateway.service import renewals
from gateway.service.devices import LIFE
from gateway.service.gateway import Gateway
from gateway.service.invitations import GOOD_FOR, LONGEST, Invite
from gateway.storage.fields import Flag, Reference, Seconds
from web.api.common import (
    LIST,
    READ,
    WRITE,
    Cursor,
    Limit,
    NoTrial,
    Page,
    ReadConfig,
    WriteConfig,
    page_of,
)
from web.api.devices import DeviceAddress
from web.dependencies import current_gateway

MOST_DAYS = 3650
"""For which a device's certificate can be made valid."""
router = APIRouter(tags=["remote access"])
InviteId = Annotated[str, Path(pattern=r"^[0-9a-z]{1,32}$")]


class InviteAnswer(BaseModel):
    """An invitation; times are Unix seconds. Its link was shown when it was made."""

    id: str
    device: str = Field(examples=["anna/phone"])
    peer: str
    on_demand: bool
    days: float
    state: str = Field(examples=["open", "used", "revoked", "expired"])
    created_at: float
    created_by: str
    expires_at: float
    opened_at: float | None = Field(description="When it was looked at first, by the person or by a machine")
    used_at: float | None = Field(description="When the file was taken")
    used_from: str
    platform: str
    revoked_at: float | None
    first_seen_at: float | None = Field(description="When the device came in first by its certificate")


class NewInviteAnswer(InviteAnswer):
    """An invitation just made."""

    link: str = Field(description="Whoever has it may have the device's key; it is shown this once")


class InviteBody(BaseModel):
    """How a device is to come in."""

    model_config = ConfigDict(extra="forbid")

    peer: Annotated[
        Reference, Field(description="By which peer; empty: the only one with pools that asks for proof by a person")
    ] = ""
    good_for: Annotated[Seconds, Field(ge=60, le=LONGEST, description="Seconds after which the link has run out")] = (
        GOOD_FOR
    )
    days: Annotated[float, Field(gt=0, le=MOST_DAYS, description="How long the device's certificate is valid")] = (
        LIFE / DAY
    )
    on_demand: Annotated[
        Flag, Field(description="The device connects by itself whenever it has a network; Apple's alone can be told so")
    ] = False


def first_seen(gateway: Gateway, invite: Invite) -> float | None:
    """When the device came in first by what the invitation gave it, Unix seconds."""
    seen = gateway.devices.sighting(invite.device)
    if seen is None or invite.used_at is None or seen.first < invite.used_at:
        return None
    return seen.first


def show_invite(gateway: Gateway, invite: Invite) -> dict[str, Any]:
    """The invitation as the API shows it."""
    hidden = ("digest", "life")
    fields = {name: getattr(invite, name) for name in Invite.__dataclass_fields__ if name not in hidden}
    return {
        **fields,
        "days": invite.life / DAY,
        "state": invite.state(time.time()),
        "first_seen_at": first_seen(gateway, invite),
    }


def invitation_link(request: Request, gateway: Gateway, token: str) -> str:
    """The link, by the name that devices call, at the port at which this request came."""
    name, url = gateway.settings.public_name, request.url
    host = f"[{name}]" if ":" in name else name
    place = f"{host}:{url.port}" if name and url.port else host or url.netloc
    return f"https://{place}/join/{token}"


@router.post(
    "/users/{name}/devices/{device}/invites",
    status_code=201,
    responses=WRITE,
)
async def create_invite(
    request: Request, caller: WriteConfig, _: NoTrial, address: DeviceAddress, body: InviteBody | None = None
) -> NewInviteAnswer:
    """A link by which the user makes this device ready, once. Older open ones of the device are good no more."""
    gateway, asked = current_gateway(request), body or InviteBody()
    made = await gateway.invitations.create(
        address,
        caller.name,
        peer=asked.peer,
        on_demand=asked.on_demand,
        good_for=asked.good_for,
        life=asked.days * DAY,
    )
    return NewInviteAnswer(**show_invite(gateway, made.invite), link=invitation_link(request, gateway, made.token))


@router.post("/users/{name}/devices/{device}/actions/invite-again", status_code=201, responses=WRITE)
async def invite_again(request: Request, caller: WriteConfig, _: NoTrial, address: DeviceAddress) -> NewInviteAnswer:
    """A link on the terms of the last one that the device used, for when its certificate runs out."""
    gateway = current_gateway(request)
    made = await renewals.invite_again(gateway.config, gateway.invitations, address, caller.name)
    return NewInviteAnswer(**show_invite(gateway, made.invite), link=invitation_link(request, gateway, made.token))


@router.get("/invites", responses=LIST)
async def list_invites(
    request: Request,
    _: ReadConfig,
    limit: Limit = 100,
    cursor: Cursor = None,
    device: Annotated[str, Query(max_length=127, description="Of this device alone: user/device")] = "",
) -> Page[InviteAnswer]:
    """Invitations, the oldest first; each until thirty days after its link ran out, or longer while none is made.

    The last that a device used is kept while the device is.
    """
    gateway = current_gateway(request)
    items, following = page_of(
        gateway.invitations.all(),
        limit,
        cursor,
        lambda one: f"{one.created_at:020.6f}{one.id}",
        lambda one: device in ("", one.device),
    )
    return Page(items=[InviteAnswer(**show_invite(gateway, one)) for one in items], next_cursor=following)


@router.get("/invites/{id}", responses=READ)
async def get_invite(request: Request, _: ReadConfig, id: InviteId) -> InviteAnswer:
    gateway = current_gateway(request)
    return InviteAnswer(**show_invite(gateway, gateway.invitations.get(id)))


@router.delete("/invites/{id}", status_code=204, responses=WRITE)
async def revoke_invite(request: Request, caller: WriteConfig, _: NoTrial, id: InviteId) -> Response:
    """Make its link good for nothing; a file that was taken already stays good."""
    await current_gateway(request).invitations.revoke(id, caller.name)
    return Response(status_code=204)
