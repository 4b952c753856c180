"""How far post-quantum keys have come among all peers: who has them, who falls back and why, who would be refused."""

import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from gateway.ike import quantum
from gateway.ike.core import Core
from gateway.ike.standing import Standing
from gateway.policy.peers import Peer
from gateway.policy.quantum import Demand
from gateway.service.status import PeerStatus, Status

WARNED_AHEAD = 30 * 86_400.0
_NAMED = 3


@dataclass(frozen=True, slots=True)
class Rollout:
    """One peer. Times are Unix seconds.

    `demand` is what is demanded of it now, `required_from` the day that is named for it, past or to come. `keys` is
    what its keys rest on, or rested on when it was `up` last; null where it was not seen since the gateway started.
    `breaks` tells whether requiring them today would refuse it, null where nobody knows, and `why` why. Where it fell
    back because large messages got lost, `retry_at` is when ML-KEM is tried again; else null.
    """

    peer: str
    demand: Demand
    required_from: float | None
    up: bool
    keys: Standing | None
    since: float | None
    breaks: bool | None
    why: str
    retry_at: float | None = None


def of_all(core: Core, status: Status, offset: float) -> list[Rollout]:
    """Every enabled peer; `offset` makes Unix time of the engine's."""
    known = {peer.name: peer for peer in status.peers}
    peers = (peer for peer in core.snapshot.peers.values() if peer.enabled and peer.name in known)
    return [_of(core, peer, known[peer.name], status.at, offset) for peer in peers]


def _of(core: Core, peer: Peer, now: PeerStatus, at: float, offset: float) -> Rollout:
    wanted, seen = quantum.demand_on(core, peer), core.extensions.seen.get(peer.name)
    keys = now.post_quantum or (seen.standing if seen else None)
    breaks, why = _breaks(core, peer, keys, now.why_classical or (seen.why if seen else ""))
    retry = quantum.retry_at(core, peer)
    return Rollout(
        peer=peer.name,
        demand=wanted.at(at),
        required_from=wanted.since or None,
        up=now.post_quantum is not None,
        keys=keys,
        since=seen.since + offset if seen and seen.standing is keys else None,
        breaks=breaks,
        why=why,
        retry_at=retry + offset if retry is not None else None,
    )


def _breaks(core: Core, peer: Peer, keys: Standing | None, why: str) -> tuple[bool | None, str]:
    if not quantum.has_ppk(core, peer) and not any(one.post_quantum for one in peer.proposals):
        return True, "our proposals for it have no ML-KEM, and it has no PPK"
    if keys is None:
        return None, "it was not up since the gateway started"
    return keys is Standing.CLASSICAL, why if keys is Standing.CLASSICAL else ""


def summary(found: Iterable[Rollout]) -> Mapping[str, int]:
    """How many rest on what; `unknown` was not seen, `breaks` would be refused."""
    rows = list(found)
    counted = {str(one): sum(row.keys is one for row in rows) for one in Standing}
    return {
        **counted,
        "unknown": sum(row.keys is None for row in rows),
        "breaks": sum(bool(row.breaks) for row in rows),
    }


def ahead(found: Iterable[Rollout], now: float) -> list[str]:
    """Whom a day within WARNED_AHEAD seconds will refuse, in a sentence for each day."""
    days: dict[float, list[Rollout]] = {}
    for row in found:
        if row.breaks and row.required_from is not None and now < row.required_from <= now + WARNED_AHEAD:
            days.setdefault(row.required_from, []).append(row)
    return [_warning(day, rows) for day, rows in sorted(days.items())]


def _warning(day: float, rows: list[Rollout]) -> str:
    names = ", ".join(row.peer for row in rows[:_NAMED])
    more = f" and {len(rows) - _NAMED} more" if len(rows) > _NAMED else ""
    date = dt.datetime.fromtimestamp(day, dt.UTC)
    return (
        f"From {date:%Y-%m-%d %H:%M} UTC on, {names}{more} will be refused: post-quantum keys are required then "
        f"({rows[0].peer}: {rows[0].why})"
    )
