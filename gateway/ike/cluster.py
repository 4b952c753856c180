"""What we and a peer that may be a cluster can do after its failover, as said in IKE_AUTH (RFC 6311 5)."""

from gateway.ike.abilities import Ability
from gateway.ike.sa import IkeSa
from gateway.wire import payloads as wire
from gateway.wire.message import Message
from gateway.wire.numbers import NotifyType

_SAID_BY = {
    NotifyType.IKEV2_MESSAGE_ID_SYNC_SUPPORTED: Ability.SYNCHRONISES_IDS,
    NotifyType.IPSEC_REPLAY_COUNTER_SYNC_SUPPORTED: Ability.SYNCHRONISES_REPLAY,
}


def offer() -> list[wire.Payload]:
    """As initiator: N(IKEV2_MESSAGE_ID_SYNC_SUPPORTED), N(IPSEC_REPLAY_COUNTER_SYNC_SUPPORTED)."""
    return [wire.Notify(0, b"", kind, b"") for kind in _SAID_BY]


def agree(sa: IkeSa, message: Message) -> list[wire.Payload]:
    """Note what the other end can do; a responder says of that, and of nothing else, that it can do it, too."""
    said = {kind: ability for kind, ability in _SAID_BY.items() if message.notify(kind)}
    if said:
        sa.abilities |= sum(said.values())
    return [wire.Notify(0, b"", kind, b"") for kind in said]
