"""`ikegate shunts`, `blocks`, `block`, `unblock`: what holds for the whole gateway."""

import json
import re
import time
from typing import Any

import click

from gateway.cli.asking import as_json, asking
from gateway.cli.connection import segment
from gateway.cli.shown import duration, moment, show_done, show_list

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


class Duration(click.ParamType[int]):
    """A time in words such as 30m, 12h, 7d; seconds without a unit."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        match = re.fullmatch(r"([0-9]{1,9})([smhdw]?)", str(value))
        if match is None:
            self.fail(f"{value!r} is no time such as 30m, 12h or 7d", param, ctx)
        return int(match[1]) * _UNITS[match[2] or "s"]


@click.command()
@as_json
def shunts(as_json: bool) -> None:
    """List the shunts, in the order in which they are asked."""
    with asking() as gateway:
        found = sorted(gateway.items("/shunts", limit=500), key=lambda shunt: (shunt["priority"], shunt["name"]))
    headers = ("SHUNT", "ACTION", "PRIORITY", "LOCAL", "REMOTE", "DESCRIPTION")
    show_list(found, headers, _shunt, as_json=as_json, nothing="No shunts are configured.", right=("PRIORITY",))


def _shunt(shunt: dict[str, Any]) -> list[object]:
    local, remote = (", ".join(shunt[f"{side}_selectors"]) for side in ("local", "remote"))
    return [shunt["name"], shunt["action"], shunt["priority"], local, remote, shunt["description"]]


@click.command()
@as_json
def blocks(as_json: bool) -> None:
    """List the sources that are not listened to."""
    with asking() as gateway:
        found = list(gateway.items("/blocks", limit=500))
    headers = ("NETWORK", "BLOCKED", "UNTIL", "REASON")
    show_list(found, headers, _block, as_json=as_json, nothing="Nobody is blocked.")


def _block(block: dict[str, Any]) -> list[object]:
    until = "unblocked" if block["expires_at"] is None else moment(block["expires_at"])
    return [block["network"], "yes" if block["active"] else "no longer", until, block["reason"]]


@click.command()
@click.argument("network")
@click.option("--for", "seconds", type=Duration(), help="A time such as 30m, 12h, 7d; without it until unblocked.")
@click.option("--reason", default="", help="For people.")
@as_json
def block(network: str, seconds: int | None, reason: str, as_json: bool) -> None:
    """Drop what comes from NETWORK, an address or a network, unread; again: with another time and reason."""
    expires_at = None if seconds is None else int(time.time()) + seconds
    body = json.dumps({"reason": reason, "expires_at": expires_at}).encode()
    with asking() as gateway:
        written = gateway.put(f"/blocks/{segment(network)}", body, "application/json")
    length = f" for {duration(seconds)}" if seconds is not None else ""
    show_done(written, f"{written['object']['network']} is blocked{length}.", as_json=as_json)


@click.command()
@click.argument("network")
@as_json
def unblock(network: str, as_json: bool) -> None:
    """Listen to NETWORK again."""
    with asking() as gateway:
        written = gateway.delete(f"/blocks/{segment(network)}")
    show_done(written, f"{written['differences'][0]['name']} is no longer blocked.", as_json=as_json)
