"""Which configured child a peer's wish fits best, and how far: the responder's part of RFC 7296 2.9."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from gateway.ike import attempt_log
from gateway.ike.access import children_for, lay, why_none
from gateway.ike.attempts import Step
from gateway.ike.children import selector_texts
from gateway.ike.core import Core
from gateway.ike.modes import Agreed, Wish, asked, networks_text, paired
from gateway.ike.sa import ChildSa, IkeSa
from gateway.policy.choice import Chosen, choose
from gateway.policy.differences import Mismatch, explain
from gateway.policy.peers import Child, Mode
from gateway.policy.selectors import Selector, narrow
from gateway.wire import payloads as wire
from gateway.wire.message import Message
from gateway.wire.numbers import NotifyType
from gateway.wire.outcome import Reject

MOST_CHILDREN = 512
"""What a peer may have of them on one IKE SA, however often it asks or rekeys without a delete."""


@dataclass(slots=True)
class Found:
    """The algorithms, and what of the peer's wish which child carries; `more` could be had beside it."""

    chosen: Chosen
    agreed: Agreed
    more: bool = False


class _Fit(NamedTuple):
    """What a child would carry; `overlap` is all that it and the wish have in common, `more` that this is not all."""

    agreed: Agreed
    overlap: tuple[tuple[Selector, ...], tuple[Selector, ...]]
    more: bool = False


def choose_child(core: Core, sa: IkeSa, request: Message, *, with_ke: bool, prefer: ChildSa | None = None) -> Found:
    """The child that fits best in networks, mode and algorithms. Raises Reject, with both sides' lists in the attempt.

    Transport mode is looked at first where the peer asks for it, with the addresses as we see them; where no child
    takes it, the wish as it was sent may still fit one in tunnel mode (RFC 7296 2.23.1).
    """
    assert sa.peer is not None
    if len(sa.children) >= MOST_CHILDREN:
        why = f"{sa.peer.name} has {len(sa.children)} CHILD_SAs on this IKE SA, as many as one may have"
        raise core.refuse(sa, "too-many", Step.NETWORKS, NotifyType.NO_ADDITIONAL_SAS, why)
    offered = request.one(wire.SA).proposals
    wishes = asked(sa.path, sa.nat, request)
    lay(core, sa)
    children = children_for(core, sa)
    if sa.peer.children and not children:
        why = f"{why_none(core, sa)} (TS_UNACCEPTABLE)"
        raise core.refuse(sa, "no-group", Step.NETWORKS, NotifyType.TS_UNACCEPTABLE, why)
    fits = [fit for wish in wishes for fit in _fits(sa, children, wish, prefer)]
    for fit in fits:
        chosen = choose(fit.agreed.config.proposals, offered, with_ke=with_ke, additional=with_ke)
        if chosen is not None and usable_spi(chosen.spi):
            return Found(chosen, fit.agreed, fit.more)
    if not fits:
        raise _unacceptable(core, sa, children, request, wishes)
    proposals = tuple(dict.fromkeys(proposal for fit in fits for proposal in fit.agreed.config.proposals))
    attempt_log.mismatch(sa.attempt, explain(proposals, offered, with_ke=with_ke))
    why = f"no ESP proposal of the peer is acceptable for {fits[0].agreed.config.name} (NO_PROPOSAL_CHOSEN)"
    raise core.refuse(sa, "no-esp-proposal", Step.NETWORKS, NotifyType.NO_PROPOSAL_CHOSEN, why)


def usable_spi(spi: bytes) -> bool:
    """Whether a peer can receive ESP on it (RFC 4303 2.1: 0 means none, up to 255 are reserved)."""
    return len(spi) == 4 and int.from_bytes(spi) > 255


def _fits(sa: IkeSa, children: Sequence[Child], wish: Wish, prefer: ChildSa | None) -> list[_Fit]:
    """The children that carry some of the wish, the best first.

    Among equals one that carries the same already comes last, then it goes by the order of configuration.
    """
    found = []
    for config in children:
        overlap = _overlap(config, wish) if config.mode is wish.mode else None
        if overlap is None:
            continue
        more = config.single_pair and len(overlap[0]) * len(overlap[1]) > 1
        local, remote = _first_pair(wish, *overlap) if more else overlap
        found.append(_Fit(Agreed(config, local, remote, wish.mode, wish.original), overlap, more))
    if len(found) > 1:
        found.sort(key=lambda fit: _rank(sa, wish, prefer, fit))
    return found


def _rank(sa: IkeSa, wish: Wish, prefer: ChildSa | None, fit: _Fit) -> tuple[int, ...]:
    """How well a child fits: the smallest is best."""
    config, local, remote = fit.agreed[:3]
    preferred = prefer is not None and config.name == prefer.name
    taken = any(
        made.name == config.name and (made.local, made.remote) == (local, remote) for made in sa.children.values()
    )
    size = _size(config.local) * _size(config.remote)
    return not preferred, *_coverage(wish, *fit.overlap), size, taken


def _overlap(config: Child, wish: Wish) -> tuple[tuple[Selector, ...], tuple[Selector, ...]] | None:
    local, remote = paired(narrow(config.local, wish.local), narrow(config.remote, wish.remote))
    return (local, remote) if local and remote else None


def _coverage(wish: Wish, local: tuple[Selector, ...], remote: tuple[Selector, ...]) -> tuple[int, int]:
    """RFC 7296 2.9: the first selectors are the packet's that waits, and must be in it if they can; then, the most."""
    first = any(one.contains(wish.local[0]) for one in local) and any(one.contains(wish.remote[0]) for one in remote)
    return not first, -_size(local) * _size(remote)


def _size(selectors: Sequence[Selector]) -> int:
    """How many addresses, protocols and ports."""
    return sum(
        (one.end - one.start + 1) * (1 if one.protocol else 256) * (abs(one.end_port - one.start_port) + 1)
        for one in selectors
    )


def _first_pair(
    wish: Wish, local: tuple[Selector, ...], remote: tuple[Selector, ...]
) -> tuple[tuple[Selector, ...], tuple[Selector, ...]]:
    """One pair for a child that takes no more: the one with the first packet if there is one, else the first."""
    ours = next((one for one in local if one.contains(wish.local[0])), local[0])
    theirs = [one for one in remote if paired((ours,), (one,))[0]]
    return (ours,), (next((one for one in theirs if one.contains(wish.remote[0])), theirs[0]),)


def _unacceptable(core: Core, sa: IkeSa, children: Sequence[Child], request: Message, wishes: Sequence[Wish]) -> Reject:
    """TS_UNACCEPTABLE, and in the attempt why: the networks, or nothing but the mode."""
    assert sa.peer is not None
    sent = f"{selector_texts(request.one(wire.TSr))} = {selector_texts(request.one(wire.TSi))}"
    acceptable = tuple(networks_text(config.local, config.remote) for config in children)
    modes = {wish.mode for wish in wishes}
    others = [config for config in children if config.mode not in modes]
    other = next((config for config in others for wish in wishes if _overlap(config, wish)), None)
    if other is not None:
        if request.notify(NotifyType.USE_TRANSPORT_MODE):
            ours, theirs = sa.path.local, sa.path.remote
            difference = f"networks: transport mode is for {ours} = {theirs} alone"
        else:
            difference = f"mode: {other.name} is in {other.mode} mode, the peer asks for {Mode.TUNNEL} mode"
        attempt_log.mismatch(sa.attempt, Mismatch((sent,), acceptable, (difference,)))
        why = f"{other.name} of {sa.peer.name} would carry {sent}, but not as the peer asks: {difference}"
        return core.refuse(sa, "mode", Step.NETWORKS, NotifyType.TS_UNACCEPTABLE, f"{why} (TS_UNACCEPTABLE)")
    difference = "networks: no child of this peer covers both sides"
    attempt_log.mismatch(sa.attempt, Mismatch((sent,), acceptable, (difference,)))
    why = f"no child of {sa.peer.name} covers {sent} (its side on the right), as the peer asks (TS_UNACCEPTABLE)"
    return core.refuse(sa, "networks", Step.NETWORKS, NotifyType.TS_UNACCEPTABLE, why)
