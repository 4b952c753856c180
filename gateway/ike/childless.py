"""An IKE SA without a CHILD_SA of its own first exchange (RFC 6023): each child then has a key exchange of its own."""

from gateway.ike import attempt_log
from gateway.ike.core import Core
from gateway.ike.sa import IkeSa
from gateway.wire import payloads as wire
from gateway.wire.message import told_in
from gateway.wire.numbers import NotifyType, Protocol

SUPPORTED = wire.Notify(Protocol.IKE, b"", NotifyType.CHILDLESS_IKEV2_SUPPORTED, b"")
"""What the responder says in IKE_SA_INIT; the initiator says nothing, it does it (RFC 6023 3, 4)."""


def offered(sa: IkeSa) -> bool:
    """Whether the responder takes an IKE_AUTH without SA and TS payloads; asked while its IKE_SA_INIT is kept."""
    return NotifyType.CHILDLESS_IKEV2_SUPPORTED in told_in(sa.init_response)


def stands(core: Core, sa: IkeSa) -> None:
    """The IKE SA is all that this negotiation was for."""
    if sa.attempt:
        attempt_log.succeed(sa.attempt, core.now)
        sa.attempt = None
