"""Our own addresses come and go: which IKE SAs that touches, and what becomes of them."""

from gateway.ike.core import Core
from gateway.ike.effects import Locate
from gateway.ike.lifecycle import close
from gateway.ike.sa import IkeSa, Lifecycle, Relocation
from gateway.ike.supervise import keep_up


def network_changed(core: Core, addresses: tuple[str, ...]) -> None:
    """Our addresses are `addresses` now, and the routes may be others: look again where each peer is reached from."""
    for sa in list(core.sas.values()):
        if sa.state not in (Lifecycle.CONNECTING, Lifecycle.ESTABLISHED) or sa.peer is None or not sa.path.local:
            continue
        if sa.path.local in addresses or sa.requests.waiting is not None:
            continue
        if sa.initiator or sa.peer.dialable:
            _ask(core, Relocation(sa), sa.path.remote)


def _ask(core: Core, relocation: Relocation, remote: str) -> None:
    assert relocation.sa.peer is not None
    token = core.number("where")
    core.relocations[token] = relocation
    core.out.append(Locate(token, remote, relocation.sa.peer.local_addresses))


def relocated(core: Core, relocation: Relocation, found: tuple[str, str] | None) -> None:
    """The answer: from which address of ours the peer is reached now. Without any, DPD will judge."""
    sa = relocation.sa
    if sa.state not in (Lifecycle.CONNECTING, Lifecycle.ESTABLISHED) or sa.peer is None:
        return
    if found is None:
        if relocation.others:
            _ask(core, relocation, relocation.others.pop(0))
        return
    local, _ = found
    if local != sa.path.local:
        _call_again(core, sa, local)


def _call_again(core: Core, sa: IkeSa, local: str) -> None:
    """The SA is bound to an address that is gone, and the peer cannot follow: a new one takes its place at once."""
    assert sa.peer is not None
    name = sa.peer.name
    close(core, sa, f"our address {sa.path.local} is gone, {local} takes its place", "address-changed")
    core.failures.pop(name, None)
    keep_up(core, name)
