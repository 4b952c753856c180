"""Devices and their invitations as the pages of remote access show them."""

import time
from collections.abc import Iterable
from dataclasses import dataclass

from gateway.policy.authentication import Method
from gateway.service.authorities import Facts, facts_of
from gateway.service.devices import is_revoked
from gateway.service.gateway import Gateway
from gateway.service.invitations import Invite
from gateway.service.status import IkeSaStatus
from gateway.storage.devices import DeviceObject
from web.api.invites import first_seen
from web.console.words import State

PLATFORMS = (
    ("apple", "iPhone, iPad or Mac"),
    ("android", "Android"),
    ("windows", "Windows"),
    ("networkmanager", "Linux, NetworkManager"),
    ("swanctl", "Linux, swanctl"),
)
_STATES = {
    "used": State("File taken", "up", 0),
    "revoked": State("Revoked", "disabled", 0),
    "expired": State("Run out", "disabled", 0),
}


@dataclass(frozen=True, slots=True)
class DeviceRow:
    """One device: its state, what it is, its certificate, by what it is in, and when it was seen (Unix seconds)."""

    device: DeviceObject
    name: str
    css: str
    word: str
    platform: str
    facts: Facts | None
    before: Facts | None
    """Of the certificate before, while that is good."""
    revoked: bool
    sa: IkeSaStatus | None
    first: float | None
    last: float | None


@dataclass(frozen=True, slots=True)
class InviteRow:
    """One invitation and how far it came."""

    invite: Invite
    css: str
    word: str
    is_open: bool
    connected: float | None
    """When the device came in first by what it got, Unix seconds."""


def device_rows(gateway: Gateway, user: str) -> list[DeviceRow]:
    """The devices of a user, by name."""
    sas = gateway.observer.ike_sas()
    devices = gateway.config.inventory.devices
    return [device_row(gateway, one, sas) for _, one in sorted(devices.items()) if one.user == user]


def device_row(gateway: Gateway, device: DeviceObject, sas: Iterable[IkeSaStatus]) -> DeviceRow:
    inventory = gateway.config.inventory
    facts, seen = facts_of(device.certificate), gateway.devices.sighting(device.name)
    sa = next((one for one in sas if one.device == device.name), None)
    revoked = is_revoked(inventory, device)
    state = State("Not connected", "waiting", 0)
    if revoked:
        state = State("Revoked", "disabled", 0)
    elif sa is not None:
        state = State("Connected", "up", 0)
    elif not facts and not device.platform:
        state = State("Not set up", "waiting", 0)
    elif facts and facts[0].not_after <= time.time():
        state = State("Run out", "down", 0)
    return DeviceRow(
        device,
        device.name.partition("/")[2],
        state.css,
        state.word,
        dict(PLATFORMS).get(device.platform, ""),
        facts[0] if facts else None,
        next(iter(facts_of(device.previous_certificate)), None),
        revoked,
        sa,
        seen.first if seen else None,
        seen.last if seen else None,
    )


def invite_rows(gateway: Gateway, device: str) -> list[InviteRow]:
    """The invitations of a device, the newest first."""
    now, rows = time.time(), []
    for one in gateway.invitations.of_device(device):
        kept, connected = one.state(now), first_seen(gateway, one)
        state = _STATES.get(kept) or State("Opened" if one.opened_at else "Not opened yet", "connecting", 0)
        if connected is not None:
            state = State("Connected", "up", 0)
        rows.append(InviteRow(one, state.css, state.word, kept == "open", connected))
    return rows


def peers_for_persons(gateway: Gateway) -> list[tuple[str, str]]:
    """By which peers people can come in, as choices of a form."""
    ways = {Method.CERTIFICATE: "by certificate", Method.EAP: "by password"}
    found = []
    for peer in gateway.config.snapshot().peers.values():
        first = peer.remote_auth[0].method
        if peer.pools and first in ways:
            both = len(peer.remote_auth) > 1
            found.append((peer.name, f"{peer.name}, {'by certificate and password' if both else ways[first]}"))
    return found
