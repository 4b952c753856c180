"""What a peer's proof rested on has changed: does it hold still?"""

from collections.abc import Iterable

from gateway.crypto.chains import Untrusted
from gateway.ike import auth_lifetime, reauth
from gateway.ike.authentication.trust import verify_chain
from gateway.ike.core import Core
from gateway.ike.driver import start
from gateway.ike.exchanges.informational import delete_sa
from gateway.ike.sa import IkeSa, Lifecycle, Task
from gateway.policy.authentication import Method

_SHA1 = "it signed with SHA-1, which is not allowed for it any longer"


def judge_again(core: Core, names: Iterable[str]) -> None:
    """SAs of these peers end where the peer's proof would not be accepted now; the others stand."""
    for name in names:
        for sa in core.of_peer(name):
            if sa.state in (Lifecycle.ESTABLISHED, Lifecycle.REKEYED) and (why := _no_longer(core, sa)):
                delete_sa(core, sa, f"its peer's proof does not hold any longer: {why}")


def proof_ends(core: Core, sa: IkeSa) -> None:
    """The peer's certificates expire soon: it is to show newer ones. They have: the SA ends, unless others hold it."""
    if sa.state != Lifecycle.ESTABLISHED or not sa.proof_ends:
        return
    now = core.extensions.tickets.unix(core.now)
    if now > sa.proof_ends:
        sa.proof_ends = 0.0
        if why := _no_longer(core, sa):
            delete_sa(core, sa, f"its peer's proof does not hold any longer: {why}")
    elif not reauth.begin(core, sa) and not auth_lifetime.called(sa):
        start(core, sa, Task("asking for another proof", lambda sa: auth_lifetime.tell_proof_ends(core, sa)))
    auth_lifetime.watch_proof(core, sa)


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
