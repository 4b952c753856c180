"""`ikegate attempts` and `ikegate events`: what happened."""

import json
from typing import Any

import click

from gateway.cli.asking import as_json, asking
from gateway.cli.shown import duration, moment, safe, show_json, show_list, show_pairs, show_table
from gateway.cli.tunnels import show_differences


@click.command()
@click.argument("number", type=int, required=False, metavar="[ID]")
@click.option("--peer", help="Only those with this peer.")
@click.option("--limit", type=click.IntRange(1, 500), default=20, show_default=True)
@as_json
def attempts(number: int | None, peer: str | None, limit: int, as_json: bool) -> None:
    """List the latest negotiations, or show one with its steps, its messages and what to do."""
    with asking() as gateway:
        if number is not None:
            found = gateway.get(f"/attempts/{number}")
            messages = gateway.get(f"/attempts/{number}/messages")["items"]
            show_json({**found, "messages": messages}) if as_json else _show_attempt(found, messages)
            return
        items = gateway.get("/attempts", peer=peer, limit=limit)["items"]
    headers = ("ID", "STARTED", "PEER", "OUTCOME", "BY", "REMOTE", "WHY")
    show_list(items, headers, _line, as_json=as_json, nothing="There was no negotiation yet.", right=("ID",))


def _line(attempt: dict[str, Any]) -> list[object]:
    by = "us" if attempt["initiator"] else "them"
    peer = attempt["peer"] or "(stranger)"
    return [
        attempt["id"],
        moment(attempt["started"]),
        peer,
        attempt["outcome"],
        by,
        attempt["remote"],
        attempt["reason"],
    ]


def _show_attempt(attempt: dict[str, Any], messages: list[dict[str, Any]]) -> None:
    took = duration(attempt["ended"] - attempt["started"]) if attempt["ended"] is not None else ""
    show_pairs(
        [
            ("attempt", attempt["id"]),
            ("outcome", attempt["outcome"]),
            ("why", attempt["reason"]),
            ("what to do", attempt["advice"]),
            ("peer", attempt["peer"] or "(stranger)"),
            ("begun", f"{moment(attempt['started'])} by {'us' if attempt['initiator'] else 'the peer'}"),
            ("took", took),
            ("path", f"{attempt['local']} - {attempt['remote']}"),
            ("identities", " - ".join(name for name in (attempt["local_id"], attempt["remote_id"]) if name)),
            ("user by EAP", attempt["eap_identity"]),
            ("cause", attempt["cause"]),
            ("notify", attempt["notify"]),
        ]
    )
    if attempt["steps"]:
        click.echo()
        rows = [("done" if step["done"] else "HERE", step["step"], step["text"]) for step in attempt["steps"]]
        show_table(("", "STEP", ""), rows)
    show_differences(attempt)
    if messages:
        click.echo()
        show_table(
            ("TIME", "", "MESSAGE", "OCTETS", "PAYLOADS"), [_message(one) for one in messages], right=("OCTETS",)
        )


def _message(message: dict[str, Any]) -> list[object]:
    what = f"{message['exchange']} {'response' if message['response'] else 'request'} {message['message_id']}"
    return [
        moment(message["at"]),
        "-->" if message["outgoing"] else "<--",
        what,
        message["octets"],
        " ".join(message["payloads"]),
    ]


@click.command()
@click.option("-f", "--follow", is_flag=True, help="Go on with what happens from now, until interrupted.")
@click.option("--topics", default="", help="Only these, by comma: ike-sa, child-sa, attempt, config …")
@click.option("--peer", help="Only those of this peer.")
@click.option("--limit", type=click.IntRange(1, 500), default=20, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def events(follow: bool, topics: str, peer: str | None, limit: int, as_json: bool) -> None:
    """Show what happened last, the newest at the end."""
    with asking() as gateway:
        # Subscribe first, then read what was before: nothing falls between the two.
        stream = gateway.events(topics=topics, peer=peer) if follow else iter(())
        with asking() as second:
            before = second.get("/events/history", topics=topics, peer=peer, limit=limit)["items"][::-1]
        last = 0
        for event in before:
            _show_event(event, as_json)
            last = event["id"]
        for event in stream:
            if event["id"] > last:
                _show_event(event, as_json)
    if follow:
        click.echo("The gateway ended the stream: it stops, or the token does.", err=True)
        raise SystemExit(1)


def _show_event(event: dict[str, Any], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(event, ensure_ascii=False))
    else:
        peer = f" {event['peer']}:" if event["peer"] else ""
        click.echo(safe(f"{moment(event['at'])} {event['kind']:24}{peer} {event['text']}"))
