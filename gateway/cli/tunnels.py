"""`ikegate status`, `peers`, `up`, `down`, `rekey`, `redirect`: the tunnels of a running gateway."""

from typing import Any

import click

from gateway.cli.asking import as_json, asking
from gateway.cli.connection import Connection, segment
from gateway.cli.shown import ago, duration, moment, octets, safe, show_json, show_list, show_pairs, show_table

_LONGEST_WAIT = 60.0

waiting = click.option(
    "--wait",
    type=click.FloatRange(0, _LONGEST_WAIT),
    default=30.0,
    show_default=True,
    help="Seconds to wait for the outcome; 0 only begins it.",
)


@click.command()
@click.argument("peer", required=False)
@as_json
def status(peer: str | None, as_json: bool) -> None:
    """Show how the tunnels are, or one PEER in detail."""
    with asking() as gateway:
        if peer:
            _show_peer(gateway, peer, as_json)
        else:
            _show_all(gateway, as_json)


def _show_all(gateway: Connection, as_json: bool) -> None:
    found = gateway.get("/status")
    if as_json:
        show_json(found)
        return
    listening = ", ".join(found["listening"]) or "IKE is not listening"
    click.echo(safe(f"{found['data_plane']}; {listening}; revision {found['revision']}"))
    for problem in found["problems"]:
        click.echo(safe(f"PROBLEM: {problem}"))
    if not found["peers"]:
        click.echo("No peers are configured.")
        return
    rows = [_line(peer) for peer in found["peers"]]
    show_table(("PEER", "STATE", "FOR", "REMOTE", "CHILDREN", "KEYS", "IN", "OUT", "WHY"), rows, right=("IN", "OUT"))


def _line(peer: dict[str, Any]) -> list[object]:
    up = sum(child["state"] == "up" for child in peer["children"])
    traffic = (octets(peer["octets_in"]), octets(peer["octets_out"]))
    children = f"{up} of {len(peer['children'])} up" if peer["children"] else "none"
    since, keys = ago(peer["since"]), peer.get("post_quantum")
    return [peer["name"], peer["state"], since, peer["remote"], children, keys, *traffic, peer["reason"]]


def _show_peer(gateway: Connection, name: str, as_json: bool) -> None:
    peer = gateway.get(f"/status/{segment(name)}")
    sas = [gateway.get(f"/ike-sas/{number}") for number in peer["ike_sas"]]
    if as_json:
        show_json({**peer, "ike_sas": sas})
        return
    retry = duration(peer["next_try"] - gateway.get("/status")["at"]) if peer["next_try"] else ""
    show_pairs(
        [
            ("peer", peer["name"]),
            ("state", peer["state"]),
            ("for", ago(peer["since"])),
            ("why", peer["reason"]),
            ("what to do", peer["advice"]),
            ("remote", peer["remote"]),
            ("keys", peer.get("post_quantum")),
            ("why classical", peer.get("why_classical")),
            ("traffic", f"{octets(peer['octets_in'])} in, {octets(peer['octets_out'])} out"),
            ("next try", f"in {retry}" if retry else ""),
            ("last attempt", peer["last_attempt"]),
        ]
    )
    for sa in sas:
        _show_ike_sa(sa)
    rest = [child for child in peer["children"] if child["state"] != "up"]
    if rest:
        click.echo()
        show_table(("CHILD", "STATE", "WHY"), [(child["name"], child["state"], child["reason"]) for child in rest])


def _show_ike_sa(sa: dict[str, Any]) -> None:
    role = "initiator" if sa["initiator"] else "responder"
    click.echo()
    show_pairs(
        [
            ("IKE SA", f"{sa['id']}, {sa['state']}, we are the {role}"),
            ("SPIs", f"{sa['spi_i']} {sa['spi_r']}"),
            ("path", f"{sa['local']} - {sa['remote']}"),
            ("identities", f"{sa['local_id']} - {sa['remote_id']}"),
            ("algorithms", sa["algorithms"]),
            ("key exchange", sa["key_exchange"]),
            ("NAT", sa["nat"]),
            ("established", moment(sa["established_at"])),
            ("waits for", sa["task"]),
            ("no child", sa.get("refusal")),
        ]
    )
    for child in sa["children"]:
        click.echo()
        networks = f"{', '.join(child['local_selectors'])} - {', '.join(child['remote_selectors'])}"
        unmet = ", ".join(child.get("unmet_local", []) + child.get("unmet_remote", []))
        show_pairs(
            [
                ("child", f"{child['name']}, {child['state']}, {child['rekeys']} rekeys"),
                ("networks", networks),
                ("not agreed to", unmet),
                ("SPIs", f"{child['spi_in']} in, {child['spi_out']} out"),
                ("algorithms", child["algorithms"] + (", in UDP" if child["encapsulation"] else "")),
                ("packets", f"{child['packets_in']} in, {child['packets_out']} out"),
                ("octets", f"{octets(child['octets_in'])} in, {octets(child['octets_out'])} out"),
                ("installed", moment(child["installed_at"])),
            ]
        )


@click.command(name="post-quantum")
@click.option("--breaks", is_flag=True, help="Only those that would be refused if it were required today.")
@as_json
def post_quantum(breaks: bool, as_json: bool) -> None:
    """Show what the keys of each peer rest on against quantum computers, and what is demanded of them."""
    with asking() as gateway:
        found = [row for row in gateway.items("/post-quantum", limit=500) if row["breaks"] or not breaks]
    headers = ("PEER", "KEYS", "FOR", "DEMAND", "FROM", "WOULD BREAK", "WHY")
    nothing = "No peer would be refused." if breaks else "No peers are enabled."
    show_list(found, headers, _standing, as_json=as_json, nothing=nothing)


def _standing(row: dict[str, Any]) -> list[object]:
    breaks = {True: "yes", False: "no", None: "unknown"}[row["breaks"]]
    keys, begins = row["keys"] or "unknown", moment(row["required_from"])
    again = f"; ML-KEM is tried again {moment(row['retry_at'])}" if row["retry_at"] else ""
    return [row["peer"], keys, ago(row["since"]), row["demand"], begins, breaks, row["why"] + again]


@click.command()
@as_json
def peers(as_json: bool) -> None:
    """List the configured peers."""
    with asking() as gateway:
        found = list(gateway.items("/peers", limit=500))
    headers = ("PEER", "ENABLED", "REMOTE", "THEY ARE", "WE ARE", "CHILDREN", "DESCRIPTION")
    show_list(found, headers, _peer, as_json=as_json, nothing="No peers are configured.")


def _peer(peer: dict[str, Any]) -> list[object]:
    children = ", ".join(f"{child['name']} ({child['start']})" for child in peer["children"])
    remote = ", ".join(peer["remote_addresses"]) or "any"
    enabled = "yes" if peer["enabled"] else "no"
    ours = peer["local_id"] or "our address"
    return [peer["name"], enabled, remote, peer["remote_id"], ours, children, peer["description"]]


@click.command()
@click.argument("peer")
@click.argument("child", required=False)
@waiting
@as_json
def up(peer: str, child: str | None, wait: float, as_json: bool) -> None:
    """Bring up a PEER, or one CHILD of it; status 1 when it is not up in the end."""
    _act("connect", peer, child, wait, as_json)


@click.command()
@click.argument("peer")
@click.argument("child", required=False)
@waiting
@as_json
def down(peer: str, child: str | None, wait: float, as_json: bool) -> None:
    """Take down a PEER, or one CHILD of it; a peer stays down until it is brought up again."""
    _act("disconnect", peer, child, wait, as_json)


@click.command()
@click.argument("peer")
@click.argument("child", required=False)
@waiting
@as_json
def rekey(peer: str, child: str | None, wait: float, as_json: bool) -> None:
    """Rekey the IKE SA of a PEER, or one CHILD of it."""
    _act("rekey", peer, child, wait, as_json)


@click.command()
@click.argument("peer")
@click.argument("gateway")
@waiting
@as_json
def redirect(peer: str, gateway: str, wait: float, as_json: bool) -> None:
    """Send a PEER that called this gateway on to another GATEWAY, an address or a DNS name; status 1 when it stays."""
    _act("redirect", peer, None, wait, as_json, {"to": gateway})


def _act(
    verb: str, peer: str, child: str | None, wait: float, as_json: bool, order: dict[str, Any] | None = None
) -> None:
    path = f"/peers/{segment(peer)}" + (f"/children/{segment(child)}" if child else "")
    with asking(wait + 15) as gateway:
        done = gateway.post(f"{path}/actions/{verb}", order, wait=wait)
        attempt = None
        if not done["ok"] and done["attempt"] is not None:
            attempt = gateway.get(f"/attempts/{done['attempt']}")
    if as_json:
        show_json({**done, "attempt": attempt or done["attempt"]})
    else:
        click.echo(safe(done["text"]), err=not done["ok"])
        if attempt:
            show_differences(attempt, err=True)
    if not done["ok"]:
        raise SystemExit(1)


def show_differences(attempt: dict[str, Any], *, err: bool = False) -> None:
    """Where both sides' lists did not meet."""
    for title, key in (("the peer offers", "offered"), ("we accept", "acceptable"), ("they differ", "differences")):
        if attempt[key]:
            click.echo(f"{title}:", err=err)
            for line in attempt[key]:
                click.echo(f"  {safe(line)}", err=err)
