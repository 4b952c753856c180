"""`ikegate users`, `pools` and `leases`: who may come in, and who holds which address."""

from typing import Any

import click

from gateway.cli.asking import as_json, asking
from gateway.cli.shown import moment, show_list


@click.command()
@as_json
def users(as_json: bool) -> None:
    """List the users."""
    with asking() as gateway:
        found = list(gateway.items("/users", limit=500))
    headers = ("USER", "LOGIN", "ENABLED", "UNTIL", "GROUPS", "PROFILE", "ADDRESSES", "DESCRIPTION")
    show_list(found, headers, _user, as_json=as_json, nothing="No users are configured.")


def _user(user: dict[str, Any]) -> list[object]:
    until = "no end" if user["expires_at"] is None else moment(user["expires_at"])
    groups, addresses = ", ".join(user["groups"]), ", ".join(user["addresses"])
    enabled = "yes" if user["enabled"] else "no"
    login, profile = user["login"] or user["name"], user["access_profile"]
    return [user["name"], login, enabled, until, groups, profile, addresses, user["description"]]


@click.command("access-profiles")
@as_json
def access_profiles(as_json: bool) -> None:
    """List the access profiles: what their users reach."""
    with asking() as gateway:
        found = list(gateway.items("/access-profiles", limit=500))
    headers = ("PROFILE", "TUNNEL", "NETWORKS", "GROUPS", "DESCRIPTION")
    show_list(found, headers, _profile, as_json=as_json, nothing="No access profiles are configured.")


def _profile(profile: dict[str, Any]) -> list[object]:
    tunnel = profile["tunnel"] + (", masqueraded" if profile["masquerade"] else "")
    networks = ", ".join(profile["networks"]) or "everything"
    return [profile["name"], tunnel, networks, ", ".join(profile["groups"]), profile["description"]]


@click.command()
@as_json
def pools(as_json: bool) -> None:
    """List the pools of addresses."""
    with asking() as gateway:
        found = list(gateway.items("/pools", limit=500))
    headers = ("POOL", "NETWORKS", "DNS", "DOMAINS", "DESCRIPTION")
    show_list(found, headers, _pool, as_json=as_json, nothing="No pools are configured.")


def _pool(pool: dict[str, Any]) -> list[object]:
    lists = (pool[name] for name in ("networks", "dns", "domains"))
    return [pool["name"], *map(", ".join, lists), pool["description"]]


@click.command()
@as_json
def leases(as_json: bool) -> None:
    """List the addresses that were given out, in use or kept for who held them last."""
    with asking() as gateway:
        found = list(gateway.items("/leases", limit=500))
    headers = ("ADDRESS", "WHOSE", "POOL", "STATE", "SINCE")
    show_list(found, headers, _lease, as_json=as_json, nothing="No address was given out yet.")


def _lease(lease: dict[str, Any]) -> list[object]:
    state, since = ("in use", lease["since"]) if lease["in_use"] else ("kept", lease["released"])
    return [lease["address"], lease["identity"], lease["pool"], state, moment(since)]
