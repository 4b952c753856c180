"""`ikegate devices`, `invites`, `invite`, `revoke-invite`, `revoke-device`: what people come in with."""

from collections.abc import Iterator
from typing import Any

import click

from gateway.cli.asking import as_json, asking
from gateway.cli.connection import Connection, segment
from gateway.cli.rules import Duration
from gateway.cli.shown import moment, safe, show_done, show_json, show_list
from gateway.crypto.reasons import REASONS


class DeviceName(click.ParamType[str]):
    """A device as it is named: USER/DEVICE."""

    name = "user/device"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        user, slash, device = str(value).partition("/")
        if not user or not slash or not device:
            self.fail(f"{value!r} is no device: write its user, a slash and its name, such as anna/phone", param, ctx)
        return str(value)


def _path(device: str) -> str:
    user, _, name = device.partition("/")
    return f"/users/{segment(user)}/devices/{segment(name)}"


@click.command()
@click.argument("user", default="")
@as_json
def devices(user: str, as_json: bool) -> None:
    """List the devices of USER, or of all users."""
    with asking() as gateway:
        found = list(_devices(gateway, user))
    headers = ("DEVICE", "PLATFORM", "CERTIFICATE UNTIL", "DESCRIPTION")
    show_list(found, headers, _device, as_json=as_json, nothing="No devices are there.")


def _devices(gateway: Connection, user: str) -> Iterator[dict[str, Any]]:
    for name in [user] if user else [one["name"] for one in gateway.items("/users", limit=500)]:
        yield from gateway.items(f"/users/{segment(name)}/devices", limit=500)


def _device(device: dict[str, Any]) -> list[object]:
    until = moment(device["chain"][0]["not_after"]) if device["chain"] else "none yet"
    return [device["name"], device["platform"], "revoked" if device["revoked"] else until, device["description"]]


@click.command()
@click.argument("device", type=DeviceName(), required=False)
@as_json
def invites(device: str | None, as_json: bool) -> None:
    """List the invitations of DEVICE (USER/DEVICE), or all, and how far each came."""
    with asking() as gateway:
        found = list(gateway.items("/invites", limit=500, device=device or ""))
    headers = ("INVITATION", "DEVICE", "PEER", "STATE", "MADE", "GOOD UNTIL", "FILE TAKEN", "CONNECTED FIRST")
    show_list(found, headers, _invite, as_json=as_json, nothing="Nobody is invited.")


def _invite(one: dict[str, Any]) -> list[object]:
    times = [moment(one[name]) for name in ("created_at", "expires_at", "used_at", "first_seen_at")]
    return [one["id"], one["device"], one["peer"], one["state"], *times]


@click.command()
@click.argument("device", type=DeviceName())
@click.option("--again", is_flag=True, help="On the terms of the last link, for when its certificate runs out.")
@click.option("--add", is_flag=True, help="Add the device to its user first, if it is not there.")
@click.option("--peer", help="By which peer it comes in; without it the only one for people.")
@click.option("--for", "seconds", type=Duration(), help="How long the link is good, such as 12h; without it a day.")
@click.option("--days", type=float, help="How long the device's certificate is good; without it 398.")
@click.option("--on-demand", is_flag=True, help="It connects by itself; Apple's alone can be told so.")
@as_json
def invite(
    device: str,
    again: bool,
    add: bool,
    peer: str | None,
    seconds: int | None,
    days: float | None,
    on_demand: bool,
    as_json: bool,
) -> None:
    """Print a link, good once, by which a person sets DEVICE (USER/DEVICE) up; older ones are good no more."""
    asked = {"peer": peer, "good_for": seconds, "days": days, "on_demand": on_demand or None}
    terms = {name: value for name, value in asked.items() if value is not None}
    if again and terms:
        raise click.UsageError("--again takes the terms of the last link: leave the others out.")
    with asking() as gateway:
        if add and all(one["name"] != device for one in _devices(gateway, device.partition("/")[0])):
            gateway.put(_path(device), b"{}", "application/json")
        made = gateway.post(f"{_path(device)}/{'actions/invite-again' if again else 'invites'}", terms or None)
    if as_json:
        show_json(made)
        return
    click.echo(safe(f"Good once, until {moment(made['expires_at'])}; whoever has it may have the device's key:"))
    click.echo(safe(made["link"]))


@click.command("revoke-invite")
@click.argument("invitation")
def revoke_invite(invitation: str) -> None:
    """Make the link of INVITATION (see `ikegate invites`) good for nothing."""
    with asking() as gateway:
        gateway.delete(f"/invites/{segment(invitation)}")
    click.echo("The link is good for nothing any more.")


@click.command("revoke-device")
@click.argument("device", type=DeviceName())
@click.option("--reason", type=click.Choice(REASONS), default="unspecified", show_default=True)
@as_json
def revoke_device(device: str, reason: str, as_json: bool) -> None:
    """Revoke the certificate of DEVICE (USER/DEVICE), for good; its session ends."""
    with asking() as gateway:
        written = gateway.post(f"{_path(device)}/actions/revoke", {"reason": reason})
    show_done(written, f"The certificate of {device} is revoked.", as_json=as_json)
