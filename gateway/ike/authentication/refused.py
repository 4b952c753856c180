"""The peer refused our proof: AUTHENTICATION_FAILED does not say why, so what it can be, by how we proved ourselves."""

from gateway.ike import attempt_log
from gateway.ike.attempts import Step
from gateway.ike.authentication import trust
from gateway.ike.core import Core
from gateway.ike.sa import IkeSa
from gateway.policy.authentication import Method
from gateway.wire import payloads as wire
from gateway.wire.message import parse
from gateway.wire.outcome import Close

_WHAT = "the peer refused our proof (AUTHENTICATION_FAILED)"
_LATE = 60.0
"""Seconds after which it is not about how the IKE SA came to stand."""
_CURES = {
    Method.CERTIFICATE: "peer-refused-certificate",
    Method.PUBLIC_KEY: "peer-refused-key",
    Method.EAP: "peer-refused-eap",
}


def refuse(core: Core, sa: IkeSa) -> Close:
    """The end of an IKE SA whose responder refused us; asked while its first answer is kept."""
    cure = _CURES.get(_method(sa), "")
    return core.give_up(sa, "peer-refused-us", Step.IDENTITY, None, why(core, sa), cure=cure)


def told_late(core: Core, sa: IkeSa) -> str:
    """The sentence about an initiator that says so when we are established already (RFC 7296 2.21.2).

    Its attempt, which had ended well for us, ends by it.
    """
    told = why(core, sa)
    found = [one for one in core.attempts.since(0) if one.ike_sa == sa.id and not one.initiator]
    if found and sa.established is not None and core.now - sa.established < _LATE:
        cure = _CURES.get(_method(sa), "")
        attempt_log.overturn(found[-1], core.now, "peer-refused-us", told, Step.IDENTITY, cure)
    return told


def why(core: Core, sa: IkeSa) -> str:
    """The sentence about it."""
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
