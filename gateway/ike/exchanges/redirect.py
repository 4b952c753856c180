"""REDIRECT as responder: sending callers, and those who are here, on to another gateway (RFC 5685 3, 5)."""

from gateway.ike import attempt_log
from gateway.ike.abilities import Ability
from gateway.ike.attempts import Step
from gateway.ike.core import Core
from gateway.ike.driver import start
from gateway.ike.exchanges.init import Opening
from gateway.ike.flow import ask_peer
from gateway.ike.redirects import read, redirect
from gateway.ike.sa import IkeSa, Lifecycle, Task
from gateway.policy.peers import Peer
from gateway.wire import payloads as wire
from gateway.wire.message import parse
from gateway.wire.numbers import ExchangeType, NotifyType
from gateway.wire.outcome import Reject

GRACE = 30.0
"""Seconds that a peer has to come to stand elsewhere before its IKE SA here is deleted."""


def sent_on(core: Core, opening: Opening, peers: list[Peer]) -> list[wire.Payload]:
    """What a caller that can be redirected is told instead of being served; nothing for all others.

    --> HDR(SPIi, 0), SAi1, KEi, Ni, N(REDIRECT_SUPPORTED)   or N(REDIRECTED_FROM)
    <-- HDR(SPIi, 0), N(REDIRECT, to, Ni)
    """
    to = core.snapshot.settings.redirect_to
    if not to or to == opening.path.local or not any(peer.redirect for peer in peers):
        return []
    came_from = opening.request.notify(NotifyType.REDIRECTED_FROM)
    if came_from is None and opening.request.notify(NotifyType.REDIRECT_SUPPORTED) is None:
        return []
    if came_from is not None and _names(came_from, to):
        return []  # sent by the very gateway that we would send it to: serve it
    core.count("redirected")
    return [redirect(to, opening.nonce)]


def elsewhere(core: Core, sa: IkeSa, peer: Peer) -> list[wire.Payload]:
    """What a caller that has proven itself is told instead of getting a child, where its gateway is another one.

    <-- HDR, SK {IDr, AUTH, N(REDIRECT, to)}   (RFC 5685 6)

    Asked while the caller's IKE_SA_INIT is kept; where it does not leave by itself, it is made to.
    """
    to = peer.redirect_to
    if not to or to == sa.path.local or Ability.SENDS_ON not in sa.abilities:
        return []
    came_from = parse(sa.init_request).notify(NotifyType.REDIRECTED_FROM)
    if came_from is not None and _names(came_from, to):
        return []
    core.count("redirected")
    core.timers.set(("sent-on", sa), core.now + GRACE)
    attempt_log.add(sa.attempt, Step.IDENTITY, f"sent on to {to}, its gateway")
    core.event("ike-sa.redirected", f"{peer.name} was sent on to {to}", peer.name, ike_sa=sa.id, to=to)
    return [redirect(to)]


def _names(came_from: wire.Notify, host: str) -> bool:
    try:
        return read(came_from.data)[0] == host
    except Reject:
        return False


def redirect_peer(core: Core, name: str, to: str) -> int:
    """Send a peer that is here on to another gateway; how many IKE SAs were told.

    <-- HDR, SK {N(REDIRECT, to)}
    --> HDR, SK {}
    """
    told = 0
    for sa in core.of_peer(name):
        if sa.state == Lifecycle.ESTABLISHED and Ability.SENDS_ON in sa.abilities:
            start(core, sa, Task(f"redirecting to {to}", lambda sa: _redirect(core, sa, to)))
            told += 1
    return told


async def _redirect(core: Core, sa: IkeSa, to: str) -> None:
    await ask_peer(ExchangeType.INFORMATIONAL, [redirect(to)])
    if sa.state == Lifecycle.ESTABLISHED:
        core.event("ike-sa.redirected", f"{sa.peer_name} was sent on to {to}", sa.peer_name, ike_sa=sa.id, to=to)
        core.timers.set(("sent-on", sa), core.now + GRACE)
