"""How long an authentication holds: told by the responder, kept by the initiator (RFC 4478)."""

from gateway.ike.abilities import Ability
from gateway.ike.core import Core
from gateway.ike.flow import ask_peer
from gateway.ike.sa import IkeSa, Reauth
from gateway.wire import payloads as wire
from gateway.wire.message import Message
from gateway.wire.numbers import ExchangeType, NotifyType

_SHORTEST = 10.0
"""Seconds: whatever a peer says, it is not called more often."""
_RENEWAL = 600.0
"""Seconds before the end of the peer's certificates at which it is asked for another proof, if it lived as long."""
_FULL = 1.0
"""Certificates are good to the end of the second that they name (RFC 5280 4.1.2.5)."""
_GRACE = 1.1
"""At this part of the time the responder acts itself, should the initiator not have done so."""


def tell(core: Core, sa: IkeSa) -> list[wire.Payload]:
    """N(AUTH_LIFETIME) for the responder's last IKE_AUTH message, where an authentication does not hold for ever."""
    lifetime = sa.peer.reauth_time if sa.peer else 0.0
    if not lifetime:
        return []
    sa.reauth = Reauth()
    core.timers.set(("reauth", sa), core.now + lifetime * _GRACE)
    return [_notify(lifetime)]


def _notify(lifetime: float) -> wire.Notify:
    return wire.Notify(0, b"", NotifyType.AUTH_LIFETIME, min(int(lifetime), 0xFFFFFFFF).to_bytes(4))


def watch_proof(core: Core, sa: IkeSa) -> None:
    """Look again a while before the peer's certificates expire, where it showed some."""
    if not sa.proof_ends:
        return
    left = sa.proof_ends - core.extensions.tickets.unix(core.now)
    early = min(_RENEWAL, left / 3)
    core.timers.set(("proof-ends", sa), core.now + max(0.0, left - early if early >= _SHORTEST else left + _FULL))


async def tell_proof_ends(core: Core, sa: IkeSa) -> None:
    """A called end's way to ask for another proof in time (RFC 4478 3). <-- HDR, SK {N(AUTH_LIFETIME)}"""
    left = sa.proof_ends - core.extensions.tickets.unix(core.now)
    await ask_peer(ExchangeType.INFORMATIONAL, [_notify(max(left, _SHORTEST))])


async def tell_anew(sa: IkeSa) -> None:
    """The responder has another limit now (RFC 4478 3). <-- HDR, SK {N(AUTH_LIFETIME)}   --> HDR, SK {}"""
    if sa.peer is not None and sa.peer.reauth_time:
        await ask_peer(ExchangeType.INFORMATIONAL, [_notify(sa.peer.reauth_time)])


async def ask_soon(seconds: float) -> None:
    """The peer shall authenticate again within so many seconds. <-- HDR, SK {N(AUTH_LIFETIME)}   --> HDR, SK {}"""
    await ask_peer(ExchangeType.INFORMATIONAL, [_notify(seconds)])


def called(sa: IkeSa) -> bool:
    """Whether we are the end that authenticates again."""
    return Ability.CALLED in sa.abilities


def changed(core: Core, sa: IkeSa) -> None:
    """Our own limit is another one now, and counts from now; the peer's stays."""
    ours = sa.peer.reauth_time if sa.peer else 0.0
    told = sa.reauth.told if sa.reauth and called(sa) else 0.0
    if not ours and not told:
        core.timers.cancel(("reauth", sa))
        return
    sa.reauth = sa.reauth or Reauth()
    part = 0.8 + 0.1 * core.chance() if called(sa) else _GRACE
    limits = [limit for limit in (ours and core.now + ours * part, told) if limit]
    core.timers.set(("reauth", sa), min(limits))


def heed(core: Core, sa: IkeSa, message: Message) -> None:
    """As initiator: authenticate again a little before our own limit and the peer's, the shorter of the two."""
    notify = message.notify(NotifyType.AUTH_LIFETIME)
    told = 0.0
    if notify is not None and len(notify.data) == 4:
        told = max(float(int.from_bytes(notify.data)), _SHORTEST)
    ours = sa.peer.reauth_time if sa.peer else 0.0
    limits = [limit for limit in (ours, told) if limit]
    if limits:
        sa.reauth = sa.reauth or Reauth()
        part = 0.8 + 0.1 * core.chance()
        if told:
            sa.reauth.told = core.now + told * part
        core.timers.set(("reauth", sa), core.now + min(limits) * part)
