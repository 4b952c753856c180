"""Whether an IKE SA's keys withstand a quantum computer, why they do not, and what is offered where they should.

ML-KEM among its key exchanges (RFC 9370) or a post-quantum pre-shared key (RFC 8784, RFC 9867) makes them so.
"""

from collections.abc import Sequence

from gateway.ike.abilities import Ability
from gateway.ike.attempts import Step
from gateway.ike.core import Core
from gateway.ike.sa import IkeSa
from gateway.ike.standing import FellBack, Seen, Shortfall, Standing
from gateway.policy.choice import Chosen, choose
from gateway.policy.peers import Peer
from gateway.policy.proposals import Proposal
from gateway.policy.quantum import Demand, PostQuantum, classical, under
from gateway.wire import payloads as wire
from gateway.wire.message import Message
from gateway.wire.numbers import KeMethod, NotifyType, TransformType
from gateway.wire.outcome import Close

FALL_BACK, FALL_BACK_MOST = 300.0, 3600.0
"""Seconds for which a peer whose large messages got lost is called without ML-KEM: at first, twice as long each time
that they get lost again, and at the most.

Who can drop datagrams can force classical keys on whoever prefers ML-KEM and does not require it. What he gains is kept
small: to record an hour of traffic under such keys he has to stay on the path and drop, again and again, with an event
and the report for witnesses. When the time is over the peer is called with ML-KEM beside the IKE SA that stands, which
goes when the new one is there (`try_again`). On a path that does lose what is large that costs one call in vain an
hour, whose failure touches nothing; and as each starts the time anew, a tunnel that really goes is still called without
at once.
"""
_KEMS = frozenset({KeMethod.ML_KEM_512, KeMethod.ML_KEM_768, KeMethod.ML_KEM_1024})
_KEY_EXCHANGES = frozenset({TransformType.KE, *range(TransformType.ADDKE1, TransformType.ADDKE7 + 1)})
_LOOKED_AT = 16
_CURE = "where classical keys must not be, require ML-KEM or a PPK of it"


def standing(sa: IkeSa) -> Standing | None:
    """What the keys of this SA rest on; None before there are any."""
    return _rests_on(sa.chosen, sa.abilities) if sa.chosen else None


def _rests_on(chosen: Chosen, abilities: Ability) -> Standing | None:
    if chosen.ke is None:
        return None
    kems = [row.kem for row in (chosen.ke, *chosen.following)]
    if any(kems):
        return Standing.ML_KEM if all(kems) else Standing.HYBRID
    return Standing.PPK if Ability.USES_PPK in abilities else Standing.CLASSICAL


def why_classical(sa: IkeSa) -> str:
    """Why its keys are no better, in a clause."""
    if sa.peer is None:
        return str(sa.shortfall)
    if not any(proposal.post_quantum for proposal in sa.peer.proposals):
        why = "our proposals for it have no ML-KEM"
    else:
        why = str(sa.shortfall) or "the two ends have no suite with ML-KEM in common"
    if not sa.peer.ppks:
        return why
    known = sa.abilities & (Ability.MAY_USE_PPK | Ability.MAY_USE_PPK_INT)
    return f"{why}; {'it does not have the PPK either' if known else 'nor does it use PPKs (RFC 8784, RFC 9867)'}"


def demand_on(core: Core, peer: Peer) -> PostQuantum:
    """The peer's own demand, or the one for all."""
    return peer.post_quantum or core.snapshot.settings.post_quantum


def demanded(core: Core, peer: Peer) -> Demand:
    """What is demanded of the peer now."""
    return demand_on(core, peer).at(core.extensions.tickets.unix(core.now))


def may_come_back(core: Core, peer: Peer, chosen: Chosen, abilities: Ability) -> bool:
    """Whether an IKE SA of such keys may come back by its ticket, by what is demanded of the peer now."""
    return _rests_on(chosen, abilities) is not Standing.CLASSICAL or demanded(core, peer) is not Demand.REQUIRE


def has_ppk(core: Core, peer: Peer) -> bool:
    """Whether a post-quantum pre-shared key may do instead of ML-KEM."""
    return any(name in core.snapshot.ppks for name in peer.ppks)


def proposals(core: Core, peer: Peer) -> tuple[Proposal, ...]:
    """What may be agreed on with the peer now, best first."""
    demand = demanded(core, peer)
    if demand is Demand.REQUIRE and has_ppk(core, peer):
        demand = Demand.PREFER
    if demand is Demand.OFF:
        return peer.proposals
    known = core.extensions.offers.get(peer.name)
    if known is None or known[0] is not peer.proposals or known[1] is not demand:
        known = core.extensions.offers[peer.name] = (peer.proposals, demand, under(demand, peer.proposals))
    return known[2]


def offer(core: Core, peer: Peer) -> tuple[Proposal, ...]:
    """What a call offers: without ML-KEM for a while where its large messages got lost, unless it is required."""
    found = proposals(core, peer)
    if not goes_without(core, peer):
        return found
    return classical(found) or found


def goes_without(core: Core, peer: Peer) -> bool:
    """Whether the peer is called without ML-KEM now, as its large messages got lost."""
    return retry_at(core, peer) is not None


def retry_at(core: Core, peer: Peer) -> float | None:
    """When a peer that is called without ML-KEM, as its large messages got lost, is called with it again.

    On the engine's clock; None where it is not called without.
    """
    fallen = core.extensions.fell_back.get(peer.name)
    if fallen is None or fallen.until <= core.now or demanded(core, peer) is Demand.REQUIRE:
        return None
    return fallen.until


def in_rekey(core: Core, sa: IkeSa, wanted: tuple[Proposal, ...]) -> tuple[Proposal, ...]:
    """What of these may be agreed on in a rekey of the SA; not what got lost when the SA was made."""
    assert sa.peer is not None
    demand = demanded(core, sa.peer)
    with_ppk = demand is Demand.REQUIRE and Ability.USES_PPK in sa.abilities
    found = under(Demand.PREFER if with_ppk else demand, wanted)
    if sa.shortfall is not Shortfall.LOST or demand is Demand.REQUIRE:
        return found
    return classical(found) or found


def check_means(core: Core, sa: IkeSa, offered: Sequence[Proposal]) -> None:
    """As initiator, before the call: is there anything that may be agreed on? Raises Close."""
    if not offered and sa.peer is not None:
        why = f"ML-KEM or a PPK is required for {sa.peer.name}, and our proposals for it have none"
        raise core.give_up(sa, "post-quantum", Step.ALGORITHMS, None, why)


def note_choice(sa: IkeSa, offered: Sequence[Proposal], response: Message) -> None:
    """As initiator: why the responder chose nothing with ML-KEM, as far as its answer shows that."""
    if standing(sa) is not Standing.CLASSICAL or sa.peer is None:
        return
    if not any(proposal.post_quantum for proposal in offered):
        ours = any(proposal.post_quantum for proposal in sa.peer.proposals)
        sa.shortfall = Shortfall.LOST if ours else Shortfall.NONE
    elif response.notify(NotifyType.INTERMEDIATE_EXCHANGE_SUPPORTED):
        sa.shortfall = Shortfall.NOT_CHOSEN
    else:
        sa.shortfall = Shortfall.NOT_CHOSEN_OLD


def note_offer(sa: IkeSa, chosen: Chosen, request: Message, offered: Sequence[wire.Proposal]) -> None:
    """As responder, before there are keys: why nothing with ML-KEM was `chosen` of what the caller offered."""
    if _rests_on(chosen, sa.abilities) is not Standing.CLASSICAL:
        return
    if _offers_kem(offered):
        sa.shortfall = Shortfall.NO_COMMON
    elif request.notify(NotifyType.INTERMEDIATE_EXCHANGE_SUPPORTED):
        sa.shortfall = Shortfall.NOT_OFFERED
    else:
        sa.shortfall = Shortfall.NOT_OFFERED_OLD


def _offers_kem(offered: Sequence[wire.Proposal]) -> bool:
    return any(
        transform.type in _KEY_EXCHANGES and transform.number in _KEMS
        for proposal in offered
        for transform in proposal.transforms
    )


def refusal(core: Core, peers: Sequence[Peer], request: Message, offered: Sequence[wire.Proposal]) -> str:
    """As responder that can agree on nothing: that it could, were ML-KEM not required, in a sentence; else empty."""
    additional = request.notify(NotifyType.INTERMEDIATE_EXCHANGE_SUPPORTED) is not None
    for peer in peers[:_LOOKED_AT]:
        if demanded(core, peer) is Demand.REQUIRE and choose(peer.proposals, offered, additional=additional):
            what = "none that we accept" if _offers_kem(offered) else "none"
            return f"ML-KEM is required for {peer.name}, and the peer offers {what} (NO_PROPOSAL_CHOSEN)"
    return ""


def note(core: Core, sa: IkeSa) -> None:
    """Remember what the keys of a peer's newest IKE SA rest on, for when it is down."""
    found, known = standing(sa), core.extensions.seen.get(sa.peer_name or "")
    if sa.peer is None or found is None:
        return
    since = known.since if known is not None and known.standing is found else core.now
    why = why_classical(sa) if found is Standing.CLASSICAL else ""
    core.extensions.seen[sa.peer.name] = Seen(found, since, why)


def check(core: Core, sa: IkeSa) -> None:
    """Both ends are proven: may the SA stand with these keys? Raises Close where it may not."""
    before = core.extensions.seen.get(sa.peer_name or "")
    note(core, sa)
    if sa.peer is None:
        return
    if standing(sa) in (Standing.HYBRID, Standing.ML_KEM) and sa.initiator:
        core.extensions.fell_back.pop(sa.peer.name, None)
    if standing(sa) is not Standing.CLASSICAL:
        return
    demand = demanded(core, sa.peer)
    if demand is Demand.REQUIRE:
        raise _refused(core, sa, sa.peer)
    if demand is Demand.PREFER:
        text = f"the keys with {sa.peer.name} are classical: {why_classical(sa)}"
        weaker = before is not None and before.standing is not Standing.CLASSICAL
        weaker = weaker and not sa.peer.pools  # of a peer that stands for many people the one before was another
        if weaker and before is not None:
            text += f"; they were not before ({before.standing}): {_CURE}"
        core.event("post-quantum.missed", text, sa.peer.name, ike_sa=sa.id, why=why_classical(sa), weaker=weaker)


def _refused(core: Core, sa: IkeSa, peer: Peer) -> Close:
    why = f"ML-KEM or a PPK is required for {peer.name}, and its keys are classical: {why_classical(sa)}"
    return core.give_up(sa, "post-quantum", Step.IDENTITY, NotifyType.AUTHENTICATION_FAILED, why)


def fall_back(core: Core, peer: Peer) -> None:
    """ML-KEM's messages to the peer got lost on the path: the next calls go without, where that is allowed."""
    if demanded(core, peer) is Demand.REQUIRE or not classical(peer.proposals) or goes_without(core, peer):
        return
    known = core.extensions.fell_back.get(peer.name)
    wait = min(FALL_BACK_MOST, 2 * known.wait) if known else FALL_BACK
    core.extensions.fell_back[peer.name] = FellBack(core.now + wait, wait)
    core.timers.set(("ml-kem", peer.name), core.now + wait)
    lost = "large messages seem to get lost, or somebody on the path drops them"
    text = f"{peer.name} is called without ML-KEM for {wait / 60:.0f} minutes: {lost}; {_CURE}"
    core.event("post-quantum.fallback", text, peer.name, seconds=wait)
