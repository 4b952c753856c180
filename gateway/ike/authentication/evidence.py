"""What the peer's proof rests on, looked at again."""

from gateway.crypto.chains import Untrusted
from gateway.ike.attempts import Step
from gateway.ike.authentication.trust import verify_chain
from gateway.ike.core import Core
from gateway.ike.sa import IkeSa
from gateway.policy.authentication import Method
from gateway.wire.numbers import NotifyType

_SHA1 = "it signed with SHA-1, which is not allowed for it any longer"


def confirm(core: Core, sa: IkeSa) -> None:
    """Both ends are proven: what was trusted for the peer may have changed while it was. Raises Close."""
    if sa.shaken and (why := objection(core, sa)):
        why = f"what is trusted for {sa.peer_name} changed while it proved itself: {why}"
        raise core.give_up(sa, "trust-changed", Step.IDENTITY, NotifyType.AUTHENTICATION_FAILED, why)
    sa.shaken = False


def objection(core: Core, sa: IkeSa) -> str:
    """Why the evidence that the SA was made by is not accepted now, in a sentence; else empty."""
    rounds = sa.peer.remote_auth if sa.peer else ()
    signing = (Method.CERTIFICATE, Method.PUBLIC_KEY)
    shown = (*signing, Method.EAP) if sa.evidence else signing
    wanted = next((one for one in rounds if one.method in shown), None)
    if wanted is None:
        return ""
    if sa.evidence is None:
        return "it came back with a ticket, and has to show its certificate or key again"
    if wanted.method == Method.PUBLIC_KEY:
        if sa.evidence.key not in wanted.public_keys:
            return "its public key is not known for it any longer"
        return _SHA1 if sa.evidence.weak and not wanted.sha1 else ""
    if sa.evidence.weak and not wanted.sha1:
        return _SHA1
    try:
        chain = verify_chain(core, wanted, sa.evidence.chain, sa.evidence.ocsp, initiator=not sa.initiator)
    except Untrusted as error:
        return error.why
    sa.proof_ends = chain.ends
    return ""
