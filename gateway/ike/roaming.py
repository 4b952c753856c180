"""Our own addresses come and go: which IKE SAs that touches, and what becomes of them."""

from gateway.ike.core import Core
from gateway.ike.driver import start
from gateway.ike.exchanges.informational import liveness
from gateway.ike.exchanges.mobike import go, tell_addresses, tell_on
from gateway.ike.lifecycle import close
from gateway.ike.plane import Refused
from gateway.ike.sa import IkeSa, Lifecycle, Relocation, Task
from gateway.ike.supervise import keep_up, lay_traps, want_traps
from gateway.ike.whereabouts import ask, places

_STANDING = (Lifecycle.CONNECTING, Lifecycle.ESTABLISHED)


def network_changed(core: Core, addresses: tuple[str, ...]) -> None:
    """Our addresses are `addresses` now, and the routes may be others: look again where each peer is reached from."""
    core.addresses = addresses
    for sa in list(core.sas.values()):
        gone, living = sa.path.local not in addresses, sa.replaced_by
        if gone and living is not None and living.mobility is not None and living.requests.silent == sa.our_spi:
            ask(core, Relocation(sa, places(sa)))
        if sa.state not in _STANDING or sa.peer is None or not sa.path.local or sa.requests.waiting is not None:
            continue
        if sa.mobility is not None and not sa.mobility.leads and not gone:
            tell_addresses(core, sa)
        elif sa.mobility is not None or (gone and sa.peer.dialable):
            ask(core, Relocation(sa, places(sa)))
        else:
            _check(core, sa)
    for name, (local, _) in core.traps.items():
        if local not in addresses:
            want_traps(core, name)


def relocated(core: Core, relocation: Relocation, found: tuple[str, str] | None) -> None:
    """The answer: from which address of ours the peer is reached now. Without any, DPD will judge."""
    sa = relocation.sa.living
    if sa.state not in _STANDING or sa.peer is None:
        return
    if relocation.silent:
        _follow_name(core, sa, found)
        return
    if found is None:
        if not ask(core, relocation):
            _check(core, sa)
    elif relocation.probe:
        _probe(core, sa, *found)
    elif sa.mobility is not None and relocation.sa is not sa and sa.requests.silent == relocation.sa.our_spi:
        tell_on(core, relocation.sa, sa.path._replace(local=found[0], remote=found[1]))
    elif found != (sa.path.local, sa.path.remote):
        _move(core, sa, *found)
    elif sa.mobility is not None and sa.mobility.leads and sa.nat.here and not sa.requests.busy:
        # another way out of our network may lead through another NAT: the answer tells (RFC 4555 3.8)
        start(core, sa, Task("checking liveness", lambda sa: liveness(core, sa)))


def _check(core: Core, sa: IkeSa) -> None:
    """Perhaps it was the way to the peer that went."""
    if sa.state == Lifecycle.ESTABLISHED and not sa.requests.busy and core.rates.hints.take(core.now):
        start(core, sa, Task("checking liveness", lambda sa: liveness(core, sa)))


def _move(core: Core, sa: IkeSa, local: str, remote: str) -> None:
    if sa.mobility is None:
        if local != sa.path.local:
            _call_again(core, sa, f"our address {sa.path.local} is gone, {local} takes its place")
        return
    try:
        go(core, sa, sa.path._replace(local=local, remote=remote))
    except Refused as refused:
        _call_again(core, sa, f"it cannot move to our address {local}: {refused.why}")


def _follow_name(core: Core, sa: IkeSa, found: tuple[str, str] | None) -> None:
    """A peer that does not answer is called at the new address of its name, if it has one."""
    assert sa.peer is not None
    if sa.requests.pending is None or found is None or found[1] == sa.path.remote:
        return
    name = sa.peer.name
    close(core, sa, f"the peer does not answer at {sa.path.remote}, and its name now leads to {found[1]}", "moved")
    if name in core.traps:
        lay_traps(core, sa.peer, *found)
    core.failures.pop(name, None)
    keep_up(core, name)


def _call_again(core: Core, sa: IkeSa, why: str) -> None:
    """The SA is bound to an address that is gone, and cannot follow: a new one takes its place at once."""
    assert sa.peer is not None
    name = sa.peer.name
    close(core, sa, why, "address-changed")
    core.failures.pop(name, None)
    keep_up(core, name)


def _probe(core: Core, sa: IkeSa, local: str, remote: str) -> None:
    """Send the request under way on this path too."""
    path = sa.path._replace(local=local, remote=remote)
    pending, mobility = sa.requests.pending, sa.mobility
    if pending is None or mobility is None or path == sa.path or path in mobility.probes:
        return
    mobility.probes = (*mobility.probes, path)
    core.send_all(pending.datagrams, path, sa.dscp)
