"""The overview: one sentence of truth, what needs attention first, a few figures."""

from collections.abc import Iterable
from dataclasses import dataclass

from gateway.ike.attempts import Attempt, Outcome
from gateway.service.status import PeerStatus, Status, TunnelState
from web.console import words
from web.console.words import TUNNEL_STATES, State

_PROBLEM = State("Problem", "degraded", 5)
_STRANGER = State("Refused", "waiting", 1)
_MOST_STRANGERS = 3


@dataclass(frozen=True, slots=True)
class Attention:
    """Something that an administrator should look at; `advice` says what to do, `address` where."""

    state: State
    subject: str
    text: str
    advice: str
    address: str
    action: str
    since: float | None


@dataclass(frozen=True, slots=True)
class Overview:
    """`tone` is the state that colours the truth; `figures` are (label, value, remark) in the order shown."""

    tone: State
    truth: str
    lead: str
    attention: tuple[Attention, ...]
    figures: tuple[tuple[str, str, str], ...]


def overview(status: Status, attempts: Iterable[Attempt], now: float) -> Overview:
    """Everything that the first page says about this moment."""
    tone, truth, lead = _truth(status)
    return Overview(tone, truth, lead, _attention(status, attempts), _figures(status, now))


def _truth(status: Status) -> tuple[State, str, str]:
    wanted = [peer for peer in status.peers if peer.state is not TunnelState.DISABLED]
    if not status.peers:
        return (
            TUNNEL_STATES[TunnelState.DISABLED],
            "No tunnel is set up yet",
            "Connect the first network to this gateway.",
        )
    if not wanted:
        return (
            TUNNEL_STATES[TunnelState.DISABLED],
            "Every tunnel is disabled",
            "Nothing is negotiated and no traffic is protected.",
        )
    of = f"of {words.counted(len(wanted), 'tunnel')}"
    for state, verb in (
        (TunnelState.DOWN, "down"),
        (TunnelState.DEGRADED, "only partly up"),
        (TunnelState.CONNECTING, "still connecting"),
    ):
        found = [peer for peer in wanted if peer.state is state]
        if found:
            return TUNNEL_STATES[state], _how_many(len(found), len(wanted), of, verb), _first_causes(found)
    waiting = sum(peer.state is TunnelState.WAITING for peer in wanted)
    up = len(wanted) - waiting
    if not up:
        return (
            TUNNEL_STATES[TunnelState.WAITING],
            _how_many(waiting, waiting, "", "waiting"),
            _network(status),
        )
    truth = _how_many(up, up, "", "up") + (f", {waiting} waiting" if waiting else "")
    return TUNNEL_STATES[TunnelState.UP], truth, _network(status)


def _how_many(count: int, total: int, of: str, what: str) -> str:
    if total == 1:
        return f"The tunnel is {what}"
    if count == total:
        return f"All {total} tunnels are {what}" if total > 2 else f"Both tunnels are {what}"
    return f"{count} {of} {'is' if count == 1 else 'are'} {what}"


def _first_causes(peers: list[PeerStatus]) -> str:
    causes = [f"{peer.name}: {peer.reason.rstrip('.') or 'no cause is known yet'}" for peer in peers[:2]]
    more = len(peers) - len(causes)
    return "; ".join(causes) + (f"; and {more} more." if more else ".")


def _network(status: Status) -> str:
    if not status.listening:
        return "The gateway listens on no address: no peer can reach it."
    return f"Listening on {words.listed(list(status.listening))}."


def _attention(status: Status, attempts: Iterable[Attempt]) -> tuple[Attention, ...]:
    found = [
        Attention(_PROBLEM, "This gateway", words.sentence(text), "", "/sessions", "Look", None)
        for text in status.problems
    ]
    for peer in status.peers:
        state = TUNNEL_STATES[peer.state]
        if not state.urgency:
            continue
        address = f"/attempts/{peer.last_attempt}" if peer.last_attempt is not None else words.tunnel(peer.name)
        found.append(
            Attention(state, peer.name, words.sentence(peer.reason), peer.advice, address, "See why", peer.since)
        )
    found.sort(key=lambda item: -item.state.urgency)
    strangers = [attempt for attempt in attempts if attempt.peer is None and attempt.outcome is Outcome.FAILED]
    found += [
        Attention(
            _STRANGER,
            attempt.remote,
            words.sentence(attempt.reason),
            attempt.advice,
            f"/attempts/{attempt.id}",
            "See why",
            attempt.started,
        )
        for attempt in strangers[:_MOST_STRANGERS]
    ]
    return tuple(found)


def _figures(status: Status, now: float) -> tuple[tuple[str, str, str], ...]:
    wanted = [peer for peer in status.peers if peer.state is not TunnelState.DISABLED]
    working = sum(peer.state in (TunnelState.UP, TunnelState.DEGRADED) for peer in wanted)
    return (
        ("Tunnels up", str(working), f"of {len(wanted)}"),
        ("IKE SAs", str(len(status.ike_sas)), ""),
        ("Child SAs", str(len(status.child_sas)), ""),
        ("Received", *_split(words.octets(sum(peer.octets_in for peer in status.peers)))),
        ("Sent", *_split(words.octets(sum(peer.octets_out for peer in status.peers)))),
    )


def _split(text: str) -> tuple[str, str]:
    value, _, unit = text.partition(" ")
    return value, unit
