"""Rekeying an IKE SA, both roles (RFC 7296 1.3.2, 2.18)."""

from dataclasses import dataclass

from gateway.crypto import groups
from gateway.crypto.keys import ike_keys, rekey_skeyseed
from gateway.ike import attempt_log, quantum
from gateway.ike.abilities import Ability
from gateway.ike.access import ike_proposals
from gateway.ike.attempts import Attempt, Step
from gateway.ike.core import Core
from gateway.ike.driver import start
from gateway.ike.exchanges import collisions
from gateway.ike.exchanges.crash_detection import offer_token, present_token, take_token
from gateway.ike.exchanges.errors import error_in
from gateway.ike.exchanges.followup import expect_more, follow_up
from gateway.ike.exchanges.informational import delete_sa
from gateway.ike.exchanges.init import name_of_method
from gateway.ike.flow import Closed, ask_peer
from gateway.ike.lifecycle import close
from gateway.ike.nonces import NONCE_OCTETS, check_nonce
from gateway.ike.protect import Protection
from gateway.ike.sa import IkeSa, Lifecycle, Renewal, Task
from gateway.ike.succession import adopt, begin_to_stand, discard, inherit, stand_by
from gateway.policy.choice import Chosen, accepted, choose
from gateway.wire import payloads as wire
from gateway.wire.message import Message
from gateway.wire.numbers import ExchangeType, NotifyType, Protocol, name_of
from gateway.wire.outcome import Reject

_FORGOTTEN = 15.0
"""Seconds for which the peer may still delete what lost, the old IKE SA being gone: two of its Deletes may be lost."""

_CAUSES: dict[int | None, str] = {NotifyType.TEMPORARY_FAILURE: "refused", NotifyType.NO_PROPOSAL_CHOSEN: "no-proposal"}


@dataclass(slots=True)
class _Offer:
    """What we put into a rekey: the new SPI, our nonce and our half of the key exchange."""

    spi: bytes
    nonce: bytes
    exchange: groups.Offer


async def rekey_sa(core: Core, sa: IkeSa) -> None:
    """Replace the IKE SA by a new one that takes over its children, then delete the old.

    --> HDR, SK {SA(SPIi'), Ni, KEi}
    <-- HDR, SK {SA(SPIr'), Nr, KEr}   or N(INVALID_KE_PAYLOAD)
    (IKE_FOLLOWUP_KE, once for each additional key exchange)
    --> HDR, SK {D(IKE)}
    <-- HDR, SK {}

    RFC 7296 2.8.2: when the peer rekeys it too, the new SA made with the lowest nonce is deleted by who made it.
    """
    if sa.state != Lifecycle.ESTABLISHED or sa.renewal is not None:
        return
    sa.renewal = Renewal()
    sa.attempt = core.begin_attempt(sa, initiator=True)
    try:
        response, offer = await _negotiate(core, sa)
        new = await _conclude(core, sa, response, offer)
    except Reject as refused:
        collisions.answer_crossing(core, sa)
        if _stands(core, sa):
            _conclude_attempt(core, sa)
            return
        _again_later(core, sa, refused)
        if refused.notify == NotifyType.TEMPORARY_FAILURE:
            sa.attempt = None
            return
        raise
    _conclude_attempt(core, sa)
    rival = sa.renewal.rival
    if sa.state != Lifecycle.ESTABLISHED or (rival is not None and new.lowest < rival.lowest):
        adopt(core, sa, silent=True)
        new.replaced_by = sa.replaced_by or sa
        delete_sa(core, new, "the peer rekeyed the IKE SA at the same moment")
        return
    if rival is not None:
        discard(core, rival, new)
    sa.renewal = sa.refused_since = None
    inherit(core, sa, new)
    collisions.answer_crossing(core, sa)
    start(core, new, Task("giving a crash detection token", lambda new: present_token(core, new)))
    await ask_peer(ExchangeType.INFORMATIONAL, [wire.Delete(Protocol.IKE, [])])
    if rival is not None and rival.state == Lifecycle.REKEYED:
        # with the old SA the peer may have forgotten its own rekey, and does not know what we made of it
        core.timers.set(("linger", rival), core.now + _FORGOTTEN)
    close(core, sa, "rekeyed", "replaced")


def _again_later(core: Core, sa: IkeSa, refused: Reject) -> None:
    """The old SA lives on. Raises Close when the peer has been busy for too long."""
    sa.renewal = None
    core.refuse(sa, _CAUSES.get(refused.notify, "peer-error"), Step.ALGORITHMS, refused.notify, refused.why)
    collisions.note_refusal(core, sa, refused)
    lifetime = sa.peer.rekey_time if sa.peer else 0.0
    core.timers.set(("rekey", sa), core.now + collisions.pause(core, sa, lifetime))


def _stands(core: Core, sa: IkeSa) -> bool:
    """Our rekey was refused: whether the peer's own has taken, or takes now, the old SA's place."""
    return adopt(core, sa, silent=True) or sa.state != Lifecycle.ESTABLISHED


def _conclude_attempt(core: Core, sa: IkeSa) -> None:
    if sa.attempt:
        attempt_log.succeed(sa.attempt, core.now)
        sa.attempt = None


async def _negotiate(core: Core, sa: IkeSa) -> tuple[Message, _Offer]:
    """One CREATE_CHILD_SA, again with another group where the peer wants one (RFC 7296 1.3)."""
    assert sa.peer is not None
    proposals = quantum.in_rekey(core, sa, ike_proposals(core, sa))
    methods = [row.number for proposal in proposals for row in proposal.ke]
    if not methods:
        why = f"ML-KEM is required for {sa.peer.name}, and our proposals for a rekey of the IKE SA have none"
        raise Reject(NotifyType.NO_PROPOSAL_CHOSEN, why)
    running = sa.chosen.ke.number if sa.chosen and sa.chosen.ke else 0
    method, spi = running if running in methods else methods[0], core.new_spi()
    for _ in range(len(methods) + 1):
        offer = _Offer(spi, core.random(NONCE_OCTETS), groups.offer(method, core.random))
        offered = wire.SA([proposal.to_wire(number, spi) for number, proposal in enumerate(proposals, 1)])
        request: list[wire.Payload] = [offered, wire.Nonce(offer.nonce), wire.KE(method, offer.exchange.public)]
        response = await ask_peer(ExchangeType.CREATE_CHILD_SA, request)
        wanted = response.notify(NotifyType.INVALID_KE_PAYLOAD)
        if wanted is None:
            return response, offer
        if sa.state != Lifecycle.ESTABLISHED:
            raise Closed
        method = int.from_bytes(wanted.data[:2])
        if method not in methods:
            break
    why = f"the peer wants key exchange {name_of_method(method)} for the rekey"
    raise Reject(NotifyType.NO_PROPOSAL_CHOSEN, why)


async def _conclude(core: Core, sa: IkeSa, response: Message, offer: _Offer) -> IkeSa:
    """The new SA, which has nothing of the old one yet."""
    assert sa.peer is not None
    error = error_in(response)
    if error is not None:
        raise Reject(error.type, f"the peer answered {name_of(NotifyType, error.type)} to the rekey of the IKE SA")
    answer = response.one(wire.SA).proposals
    chosen = (
        accepted(quantum.in_rekey(core, sa, ike_proposals(core, sa)), answer[0], additional=True)
        if len(answer) == 1
        else None
    )
    if chosen is None or len(chosen.spi) != 8 or chosen.spi == bytes(8):
        raise Reject(NotifyType.NO_PROPOSAL_CHOSEN, "the peer chose algorithms that we did not offer for the rekey")
    theirs = check_nonce(response.one(wire.Nonce).data)
    try:
        shared = offer.exchange.finish(response.one(wire.KE).data)
    except groups.InvalidPublic as problem:
        raise Reject(NotifyType.INVALID_SYNTAX, f"the peer's key exchange is invalid: {problem}") from None
    following = await follow_up(core, response, chosen.following)
    spis, nonces = (offer.spi, chosen.spi), (offer.nonce, theirs)
    new = _make(core, sa, chosen, spis, nonces, shared, following=following, initiator=True)
    take_token(new, response)
    return new


def _make(
    core: Core,
    old: IkeSa,
    chosen: Chosen,
    spis: tuple[bytes, bytes],
    nonces: tuple[bytes, bytes],
    shared: bytes,
    *,
    following: bytes = b"",
    initiator: bool,
) -> IkeSa:
    """Both ends have agreed on a new SA (RFC 7296 2.18)."""
    assert old.chosen is not None and old.chosen.prf is not None and old.keys is not None and chosen.prf is not None
    seed = rekey_skeyseed(old.chosen.prf, old.keys.d, shared, *nonces, following)
    new = IkeSa(core.number("ike-sa"), initiator, old.path, core.now, *spis, state=Lifecycle.ESTABLISHED, peer=old.peer)
    new.chosen, new.nat, new.encapsulate = chosen, old.nat, old.encapsulate
    new.fragmentation, new.mobility, new.abilities = old.fragmentation, old.mobility, old.abilities & ~Ability.RESUMED
    new.keys = ike_keys(chosen.prf, seed, *nonces, *spis, chosen.encr, chosen.integ)
    new.protection = Protection(chosen.encr, chosen.integ, new.keys, initiator=initiator, random=core.random)
    new.lowest, new.shortfall = min(nonces), old.shortfall
    begin_to_stand(core, old, new)
    quantum.note(core, new)
    return new


def answer_rekey_sa(core: Core, sa: IkeSa, request: Message) -> list[wire.Payload] | None:
    """As responder; None waits for the end of a rekey of ours.

    Raises Reject, with TEMPORARY_FAILURE where the moment is wrong (RFC 7296 2.25.1, 2.25.2).
    """
    if sa.renewal is not None and collisions.waits(core, sa):
        return None
    attempt = core.begin_attempt(sa, initiator=False)
    try:
        return _answer(core, sa, request, attempt)
    except Reject as reject:
        attempt_log.fail(attempt, core.now, "refused", reject.why, Step.ALGORITHMS, reject.notify)
        raise


def _answer(core: Core, sa: IkeSa, request: Message, attempt: Attempt) -> list[wire.Payload]:
    assert sa.peer is not None
    collisions.refuse_while_leaving(sa)
    collisions.refuse_rekey_while_busy(sa)
    nonce = check_nonce(request.one(wire.Nonce).data)
    ke = request.one(wire.KE)
    chosen = choose(
        quantum.in_rekey(core, sa, ike_proposals(core, sa)), request.one(wire.SA).proposals, additional=True
    )
    if chosen is None or chosen.ke is None or len(chosen.spi) != 8 or chosen.spi == bytes(8):
        raise Reject(NotifyType.NO_PROPOSAL_CHOSEN, "no proposal of the peer is acceptable for the rekey of the IKE SA")
    if ke.method != chosen.ke.number:
        raise Reject(
            NotifyType.INVALID_KE_PAYLOAD, f"we prefer key exchange {chosen.ke.keyword}", chosen.ke.number.to_bytes(2)
        )
    if chosen.following:
        collisions.refuse_several_while_busy(sa)
    try:
        public, shared = groups.accept(ke.method, ke.data, core.random)
    except groups.InvalidPublic as error:
        raise Reject(NotifyType.INVALID_SYNTAX, f"the peer's key exchange is invalid: {error}") from None
    ours, spi = core.random(NONCE_OCTETS), core.new_spi()

    def make(following: bytes) -> list[wire.Payload]:
        spis, nonces = (chosen.spi, spi), (nonce, ours)
        new = _make(core, sa, chosen, spis, nonces, shared, following=following, initiator=False)
        if sa.renewal is not None:
            stand_by(core, sa, new)
        else:
            inherit(core, sa, new, silent=True)
        attempt_log.succeed(attempt, core.now)
        return offer_token(core, new)

    payloads: list[wire.Payload] = [wire.SA([chosen.to_wire(spi)]), wire.Nonce(ours), wire.KE(ke.method, public)]
    if chosen.following:
        return [*payloads, expect_more(core, sa, chosen.following, make, lambda: None, attempt)]
    return payloads + make(b"")
