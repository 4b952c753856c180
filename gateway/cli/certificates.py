"""`ikegate certificates`, `authorities`, `issue`, `renew`, `revoke`: who is who, and who says so."""

from typing import Any

import click

from gateway.cli.asking import as_json, asking
from gateway.cli.connection import segment
from gateway.cli.shown import moment, show_done, show_list
from gateway.crypto.reasons import REASONS

_HEADERS = ("NAME", "SUBJECT", "UNTIL", "KEY", "USED BY")


@click.command()
@as_json
def certificates(as_json: bool) -> None:
    """List the certificates."""
    with asking() as gateway:
        found = list(gateway.items("/certificates", limit=500))
    show_list(found, _HEADERS, _row, as_json=as_json, nothing="No certificates are stored.")


@click.command()
@as_json
def authorities(as_json: bool) -> None:
    """List the authorities, ours and others."""
    with asking() as gateway:
        found = list(gateway.items("/authorities", limit=500))
    show_list(found, _HEADERS, _row, as_json=as_json, nothing="No authorities are stored.")


def _row(one: dict[str, Any]) -> list[object]:
    nothing: dict[str, Any] = {"subject": "waits for its certificate", "not_after": None}
    facts = one["chain"][0] if one["chain"] else nothing
    until = "revoked" if one.get("revoked") else moment(facts["not_after"])
    return [one["name"], facts["subject"], until, "here" if one["private_key_set"] else "", ", ".join(one["used_by"])]


@click.command()
@click.argument("name")
@click.option("--authority", required=True, help="The authority of ours that issues it.")
@click.option("--for", "names", multiple=True, help="A DNS name, address or e-mail address; may come several times.")
@click.option("--common-name", default="", help="Without it the first of the names, else NAME.")
@click.option("--client", is_flag=True, help="For a person or device, not a gateway.")
@click.option("--days", type=float, default=398, show_default=True)
@click.option(
    "--key",
    "key_type",
    default="ecdsa-p384",
    show_default=True,
    help="Or ecdsa-p256, rsa-3072, rsa-4096, ed25519, ml-dsa-44, ml-dsa-65, ml-dsa-87.",
)
@as_json
def issue(
    name: str,
    authority: str,
    names: tuple[str, ...],
    common_name: str,
    client: bool,
    days: float,
    key_type: str,
    as_json: bool,
) -> None:
    """Issue a certificate with a new private key, stored as NAME."""
    order = {
        "name": name,
        "authority": authority,
        "names": list(names),
        "common_name": common_name or next(iter(names), name),
        "profile": "client" if client else "gateway",
        "days": days,
        "key_type": key_type,
    }
    with asking() as gateway:
        written = gateway.post("/certificates/actions/generate", order)
    facts = written["object"]["chain"][0]
    show_done(written, f"{name} is issued: {facts['subject']}, until {moment(facts['not_after'])}.", as_json=as_json)


@click.command()
@click.argument("name")
@as_json
def renew(name: str, as_json: bool) -> None:
    """Issue the certificate NAME again, for as long again; no session drops."""
    with asking() as gateway:
        written = gateway.post(f"/certificates/{segment(name)}/actions/renew", {})
    until = moment(written["object"]["chain"][0]["not_after"])
    show_done(written, f"{name} is renewed, until {until}.", as_json=as_json)


@click.command()
@click.argument("name")
@click.option("--reason", type=click.Choice(REASONS), default="unspecified", show_default=True)
@as_json
def revoke(name: str, reason: str, as_json: bool) -> None:
    """Revoke the certificate NAME, for good; sessions that rest on it end."""
    with asking() as gateway:
        written = gateway.post(f"/certificates/{segment(name)}/actions/revoke", {"reason": reason})
    show_done(written, f"{name} is revoked.", as_json=as_json)
