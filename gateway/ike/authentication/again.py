"""What a peer's proof rested on has changed: does it hold still?"""

from collections.abc import Iterable

from gateway.crypto.chains import Untrusted
from gateway.ike.authentication.trust import verify_chain
from gateway.ike.core import Core
from gateway.ike.exchanges.informational import delete_sa
from gateway.ike.sa import IkeSa, Lifecycle
from gateway.policy.authentication import Method


def judge_again(core: Core, names: Iterable[str]) -> None:
    """SAs of these peers end where the peer's proof would not be accepted now; the others stand."""
    for name in names:
        for sa in core.of_peer(name):
            if sa.state in (Lifecycle.ESTABLISHED, Lifecycle.REKEYED) and (why := _no_longer(core, sa)):
                delete_sa(core, sa, f"its peer's proof does not hold any longer: {why}")


def _no_longer(core: Core, sa: IkeSa) -> str:
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
        return "" if sa.evidence.key in wanted.public_keys else "its public key is not known for it any longer"
    try:
        verify_chain(core, wanted, sa.evidence.chain, sa.evidence.ocsp, initiator=not sa.initiator)
    except Untrusted as error:
        return error.why
    return ""
