"""Asking the outside from where a peer is reached: after our addresses changed, or when its path seems dead."""

from gateway.ike.core import Core
from gateway.ike.effects import Locate
from gateway.ike.mobility import is_address
from gateway.ike.sa import IkeSa, Lifecycle, Relocation

_MOST = 16


def ask(core: Core, relocation: Relocation) -> bool:
    """Ask for the next place; False when none is left."""
    if not relocation.places:
        return False
    remote, sources = relocation.places.pop(0)
    token = core.number("where")
    core.relocations[token] = relocation
    core.out.append(Locate(token, remote, sources))
    return True


def places(sa: IkeSa) -> list[tuple[str, tuple[str, ...]]]:
    """Where the peer may be, and from which of our addresses: first where it is now, the rest as it or we have said."""
    assert sa.peer is not None
    remotes = [sa.path.remote]
    if sa.mobility is not None:
        remotes += [*sa.mobility.theirs, *filter(is_address, sa.peer.remote_addresses)]
    return [(remote, sa.peer.local_addresses) for remote in dict.fromkeys(remotes)][:_MOST]


def look_elsewhere(core: Core, sa: IkeSa) -> None:
    """The peer does not answer where it is: find every other pair of addresses (RFC 4555 3.5, 3.10)."""
    assert sa.peer is not None
    sources: list[tuple[str, ...]] = [(one,) for one in sa.peer.local_addresses] or [()]
    pairs = [(remote, source) for remote, _ in places(sa) for source in sources]
    for pair in pairs[:_MOST]:
        ask(core, Relocation(sa, [pair], probe=True))


def look_up(core: Core, sa: IkeSa) -> None:
    """The peer does not answer: where does the name lead by now by which we found it?"""
    assert sa.peer is not None
    if sa.state == Lifecycle.ESTABLISHED and sa.peer.names and sa.path.remote not in sa.peer.places:
        ask(core, Relocation(sa, [(sa.peer.names[0], sa.peer.local_addresses)], silent=True))
