"""Devices of users: /users/{name}/devices, and how they are now."""

from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

from gateway.crypto.reasons import Reason
from gateway.service.authorities import facts_of
from gateway.service.devices import is_revoked
from gateway.service.manage import Configuration
from gateway.storage.devices import DeviceFields, DeviceName, DeviceNamed, DeviceObject
from web.api.certificates import FactsAnswer, chain_answer
from web.api.common import (
    READ,
    WRITE,
    Cursor,
    Limit,
    ObjectName,
    Page,
    ReadConfig,
    ReadState,
    WriteAnswer,
    WriteConfig,
    outcome_answer,
    page_of,
)
from web.api.resource import AskedTerms, Kind, ReadOnly, object_routes
from web.dependencies import current_gateway

router = APIRouter(tags=["remote access"])
_READ_ONLY: JsonDict = {"readOnly": True}


def device_address(name: ObjectName, device: ObjectName) -> str:
    """A device's name: `user/device`."""
    return f"{name}/{device}"


DeviceAddress = Annotated[str, Depends(device_address)]


class DeviceAnswer(DeviceFields, DeviceNamed):
    """A device, and what its certificate says."""

    chain: list[FactsAnswer] = Field([], json_schema_extra=_READ_ONLY)
    revoked: bool = Field(False, json_schema_extra=_READ_ONLY, description="Its certificate is good no more")


class DeviceBody(DeviceFields):
    """A device as it comes in; without `certificate` the stored one stays."""

    name: DeviceName | None = None
    chain: ReadOnly = None
    revoked: ReadOnly = None


class DeviceStatus(BaseModel):
    """How a device is now, and when it came in by the certificate that it has; times are Unix seconds."""

    device: str
    ike_sas: list[int] = Field(description="Those by which it is in now")
    first_seen_at: float | None
    last_seen_at: float | None


class RevokeDeviceBody(BaseModel):
    """Why its certificate is good no more."""

    model_config = ConfigDict(extra="forbid")

    reason: Reason = "unspecified"


def show_device(config: Configuration, device: DeviceObject) -> DeviceAnswer:
    """The device as the API shows it."""
    chain = chain_answer(facts_of(device.certificate))
    return DeviceAnswer(**device.model_dump(), chain=chain, revoked=is_revoked(config.inventory, device))


@router.get("/users/{name}/devices", responses=READ)
async def list_devices(
    request: Request, _: ReadConfig, name: ObjectName, limit: Limit = 100, cursor: Cursor = None
) -> Page[DeviceAnswer]:
    """The devices of one user."""
    config = current_gateway(request).config
    config.object("users", name)
    own = [one for one in config.inventory.devices.values() if one.user == name]
    items, following = page_of(own, limit, cursor, lambda one: one.name, lambda _: True)
    return Page(items=[show_device(config, one) for one in items], next_cursor=following)


@router.get("/users/{name}/devices/{device}/status", responses=READ)
async def get_device_status(request: Request, _: ReadState, address: DeviceAddress) -> DeviceStatus:
    """Whether it is in, and when it was seen."""
    gateway = current_gateway(request)
    gateway.config.object("devices", address)
    seen = gateway.devices.sighting(address)
    return DeviceStatus(
        device=address,
        ike_sas=[sa.id for sa in gateway.observer.ike_sas() if sa.device == address],
        first_seen_at=seen.first if seen else None,
        last_seen_at=seen.last if seen else None,
    )


@router.post("/users/{name}/devices/{device}/actions/revoke", responses=WRITE)
async def revoke_device(
    request: Request,
    caller: WriteConfig,
    address: DeviceAddress,
    terms: AskedTerms,
    body: RevokeDeviceBody | None = None,
) -> WriteAnswer[DeviceAnswer]:
    """Take the word about its certificate back, for good: it is cut off at once, and needs a new invitation."""
    gateway = current_gateway(request)
    reason = body.reason if body else "unspecified"
    written = await gateway.devices.revoke(address, replace(terms, author=caller.name), reason)
    return outcome_answer(written, show_device(gateway.config, gateway.config.inventory.devices[address]))


object_routes(
    router,
    Kind(
        "devices",
        "device",
        stored=DeviceObject,
        body=DeviceBody,
        shown=DeviceAnswer,
        show=show_device,
        path="/users/{name}/devices/{device}",
        address=DeviceAddress,
    ),
)
