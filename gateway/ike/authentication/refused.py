"""The peer refused our proof: AUTHENTICATION_FAILED does not say why, so what it can be, by how we proved ourselves."""

from gateway.ike.attempts import Step
from gateway.ike.authentication import trust
from gateway.ike.core import Core
from gateway.ike.sa import IkeSa
from gateway.policy.authentication import Method
from gateway.wire import payloads as wire
from gateway.wire.message import parse
from gateway.wire.outcome import Close

_WHAT = "the peer refused our proof (AUTHENTICATION_FAILED)"
_CURES = {
    Method.CERTIFICATE: "peer-refused-certificate",
    Method.PUBLIC_KEY: "peer-refused-key",
    Method.EAP: "peer-refused-eap",
}


def refuse(core: Core, sa: IkeSa) -> Close:
    """The end of an IKE SA whose responder refused us; asked while its first answer is kept."""
    cure = _CURES.get(_method(sa), "")
    return core.give_up(sa, "peer-refused-us", Step.IDENTITY, None, why(core, sa), cure=cure)


def why(core: Core, sa: IkeSa) -> str:
    """The sentence about it; an initiator says so when we are established already (RFC 7296 2.21.2)."""
    return f"{_WHAT}: {_possible(core, sa)}"


def _method(sa: IkeSa) -> Method:
    return sa.peer.local_auth[0].method if sa.peer else Method.PSK


def _possible(core: Core, sa: IkeSa) -> str:
    method = _method(sa)
    if method == Method.PSK:
        return f"it holds another pre-shared key, or does not know {sa.local_id}"
    if method == Method.PUBLIC_KEY:
        return f"it does not know our public key, or does not know {sa.local_id}"
    if method == Method.EAP:
        return f"it does not know {sa.local_id}, or does not let it in by EAP"
    own = core.snapshot.credentials.get(sa.peer.local_auth[0].credential) if sa.peer else None
    if (
        own is not None
        and sa.initiator
        and trust.asks_for_others(core.snapshot, own, parse(sa.init_response).all(wire.CERTREQ))
    ):
        return "it asked for certificates of other authorities than those that stand above ours"
    return f"it does not trust our certificate, finds {sa.local_id} not in it, or does not know {sa.local_id}"
