"""What a peer's proof rested on has changed: does it hold still?"""

from collections.abc import Iterable

from gateway.ike import auth_lifetime, reauth
from gateway.ike.authentication.evidence import objection
from gateway.ike.core import Core
from gateway.ike.driver import start
from gateway.ike.exchanges.informational import delete_sa
from gateway.ike.sa import IkeSa, Lifecycle, Task


def judge_again(core: Core, names: Iterable[str]) -> None:
    """SAs of these peers end where the peer's proof would not be accepted now; the others stand.

    Those that are being made are looked at when the peer is proven: see `confirm`.
    """
    for name in names:
        for sa in core.of_peer(name):
            sa.shaken = sa.state == Lifecycle.CONNECTING
            if sa.state in (Lifecycle.ESTABLISHED, Lifecycle.REKEYED) and (why := objection(core, sa)):
                delete_sa(core, sa, f"its peer's proof does not hold any longer: {why}")


def proof_ends(core: Core, sa: IkeSa) -> None:
    """The peer's certificates expire soon: it is to show newer ones. They have: the SA ends, unless others hold it."""
    if sa.state != Lifecycle.ESTABLISHED or not sa.proof_ends:
        return
    now = core.extensions.tickets.unix(core.now)
    if now > sa.proof_ends:
        sa.proof_ends = 0.0
        if why := objection(core, sa):
            delete_sa(core, sa, f"its peer's proof does not hold any longer: {why}")
    elif not reauth.begin(core, sa) and not auth_lifetime.called(sa):
        start(core, sa, Task("asking for another proof", lambda sa: auth_lifetime.tell_proof_ends(core, sa)))
    auth_lifetime.watch_proof(core, sa)
