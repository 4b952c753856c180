"""The CHILD_SAs that one configured child needs: one, or one for each pair of selectors (RFC 7296 2.9).

A part is the child itself, or a copy of it with one pair of its selectors: it has the child's name, and all that knows
a child by its name means all of its parts.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from gateway.ike.core import Core
from gateway.ike.modes import fits
from gateway.ike.plane_events import Packet
from gateway.ike.sa import ChildSa, IkeSa
from gateway.policy.peers import Child, Mode
from gateway.policy.selectors import Selector, subtract

MOST_PARTS = 256


def parts(core: Core, peer: str, child: Child) -> list[Child]:
    """One for each pair where that is configured, or the peer said that it takes no more."""
    if not _is_split(core, peer, child):
        return [child]
    pairs = [(ours, theirs) for ours in child.local for theirs in child.remote if fits(ours, theirs)]
    if len(pairs) == 1 and (child.local, child.remote) == ((pairs[0][0],), (pairs[0][1],)):
        return [child]
    return [replace(child, local=(ours,), remote=(theirs,)) for ours, theirs in pairs]


def all_parts(core: Core, peer: str, children: Iterable[Child]) -> list[Child]:
    return [part for child in children for part in parts(core, peer, child)]


def stands(core: Core, sa: IkeSa, part: Child) -> bool:
    """Whether a CHILD_SA of this IKE SA carries the part, or what the peer agreed to of it."""
    split = _is_split(core, sa.peer_name or "", part)
    return any(made.name == part.name and (not split or _meets(part, made)) for made in sa.children.values())


def unmet(core: Core, peer: str, child: Child, made: ChildSa) -> tuple[list[Selector], list[Selector]]:
    """What was asked for, of the child or of its part, and the peer did not agree to: our side, then its side.

    In transport mode nothing but the two ends was asked for.
    """
    if child.mode is Mode.TRANSPORT:
        return [], []
    part = next((one for one in parts(core, peer, child) if _meets(one, made)), child)
    return subtract(part.local, made.local), subtract(part.remote, made.remote)


def _is_split(core: Core, peer: str, child: Child) -> bool:
    return child.single_pair or (peer, child.name) in core.single_pairs


def _meets(part: Child, made: ChildSa) -> bool:
    inside = _covers(part.local, made.local) and _covers(part.remote, made.remote)
    return inside or (_covers(made.local, part.local) and _covers(made.remote, part.remote))


def _covers(whole: Sequence[Selector], bits: Sequence[Selector]) -> bool:
    return all(any(one.contains(bit) for one in whole) for bit in bits)


def split(core: Core, sa: IkeSa, refused: Child) -> list[Child]:
    """The peer takes a single pair in each CHILD_SA of this child from now on: the parts that do not stand yet.

    None are left to ask for where the very same was asked for already; and a child of too many pairs is not split
    because a peer says so, as each CHILD_SA costs us, too.
    """
    peer = sa.peer_name or ""
    whole = sa.peer.child(refused.name) if sa.peer else None
    if whole is None or (peer, whole.name) in core.single_pairs or whole.single_pair:
        return []
    if len(whole.local) * len(whole.remote) > MOST_PARTS:
        return []
    core.single_pairs.add((peer, whole.name))
    found = parts(core, peer, whole)
    return [
        part
        for part in found
        if (part.local, part.remote) != (refused.local, refused.remote) and not stands(core, sa, part)
    ]


def as_made(config: Child, made: ChildSa) -> Child:
    """What a rekey asks for: what the CHILD_SA carries now, no less and no more (RFC 7296 2.9.2).

    In transport mode the configuration says it, as the two ends may have moved.
    """
    if config.mode is Mode.TRANSPORT or (made.local, made.remote) == (config.local, config.remote):
        return config
    return replace(config, local=made.local, remote=made.remote)


def led_by(core: Core, peer: str, child: Child, packet: Packet | None) -> list[Child]:
    """What a waiting packet needs of a child, with the packet's own selectors first (RFC 7296 2.9).

    Where a CHILD_SA takes a single pair, that is the one with the packet in it.
    """
    wanted = parts(core, peer, child)
    if packet is None:
        return wanted
    source, destination = packet
    fitting = [one for one in wanted if _covers(one.local, (source,)) and _covers(one.remote, (destination,))]
    if not fitting:
        return wanted
    if _is_split(core, peer, child) or child.mode is Mode.TRANSPORT:
        return fitting[:1]
    return [replace(child, local=_first(source, child.local), remote=_first(destination, child.remote))]


def _first(specific: Selector, wide: tuple[Selector, ...]) -> tuple[Selector, ...]:
    return wide if specific in wide else (specific, *wide)
