"""Rekeying an IKE SA, both roles (RFC 7296 1.3.2, 2.18)."""

from gateway.crypto import groups
from gateway.crypto.keys import ike_keys, rekey_skeyseed
from gateway.ike import attempt_log
from gateway.ike.attempts import Step
from gateway.ike.core import Core
from gateway.ike.driver import next_task, start
from gateway.ike.exchanges.crash_detection import offer_token, present_token, take_token
from gateway.ike.exchanges.init import name_of_method
from gateway.ike.exchanges.resume import renew_ticket
from gateway.ike.flow import Closed, ask_peer
from gateway.ike.lifecycle import close, keys_made, watch
from gateway.ike.nat import keep_alive
from gateway.ike.nonces import NONCE_OCTETS, check_nonce
from gateway.ike.protect import Protection
from gateway.ike.sa import IkeSa, Lifecycle, Task
from gateway.policy.proposals import Chosen, accepted, choose
from gateway.wire import payloads as wire
from gateway.wire.message import Message
from gateway.wire.numbers import ExchangeType, NotifyType, Protocol, name_of
from gateway.wire.outcome import Reject

_LINGER = 30.0


async def rekey_sa(core: Core, sa: IkeSa) -> None:
    """Replace the IKE SA by a new one that takes over its children, then delete the old.

    --> HDR, SK {SA(SPIi'), Ni, KEi}
    <-- HDR, SK {SA(SPIr'), Nr, KEr}   or N(INVALID_KE_PAYLOAD)
    --> HDR, SK {D(IKE)}
    """
    assert sa.peer is not None
    proposals = sa.peer.proposals
    methods = [row.number for proposal in proposals for row in proposal.ke]
    running = sa.chosen.ke.number if sa.chosen and sa.chosen.ke else 0
    method, spi = running if running in methods else methods[0], core.new_spi()
    sa.attempt = core.begin_attempt(sa, initiator=True)
    for _ in range(len(methods) + 1):
        nonce, offer = core.random(NONCE_OCTETS), groups.offer(method, core.random)
        offered = wire.SA([proposal.to_wire(number, spi) for number, proposal in enumerate(proposals, 1)])
        request: list[wire.Payload] = [offered, wire.Nonce(nonce), wire.KE(method, offer.public)]
        response = await ask_peer(ExchangeType.CREATE_CHILD_SA, request)
        if sa.state != Lifecycle.ESTABLISHED:
            raise Closed
        wanted = response.notify(NotifyType.INVALID_KE_PAYLOAD)
        if wanted is None:
            break
        method = int.from_bytes(wanted.data[:2])
        if method not in methods:
            raise Reject(
                NotifyType.NO_PROPOSAL_CHOSEN, f"the peer wants key exchange {name_of_method(method)} for the rekey"
            )
    _conclude(core, sa, response, (spi, nonce, offer))
    if sa.replaced_by is not None:
        next_task(core, sa.replaced_by)  # what waited for its turn goes on there
    await ask_peer(ExchangeType.INFORMATIONAL, [wire.Delete(Protocol.IKE, [])])
    close(core, sa, "rekeyed", "replaced")


def _conclude(core: Core, sa: IkeSa, response: Message, ours: tuple[bytes, bytes, groups.Offer]) -> None:
    assert sa.peer is not None
    spi, nonce, offer = ours
    try:
        error = next((n for n in response.all(wire.Notify) if n.type < NotifyType.INITIAL_CONTACT), None)
        if error is not None:
            raise Reject(error.type, f"the peer answered {name_of(NotifyType, error.type)} to the rekey of the IKE SA")
        answer = response.one(wire.SA).proposals
        chosen = accepted(sa.peer.proposals, answer[0]) if len(answer) == 1 else None
        if chosen is None or len(chosen.spi) != 8 or chosen.spi == bytes(8):
            raise Reject(NotifyType.NO_PROPOSAL_CHOSEN, "the peer chose algorithms that we did not offer for the rekey")
        theirs = check_nonce(response.one(wire.Nonce).data)
        shared = offer.finish(response.one(wire.KE).data)
    except (Reject, groups.InvalidPublic) as problem:
        core.timers.set(("rekey", sa), core.now + 5 + 10 * core.chance())
        if isinstance(problem, Reject):
            raise
        raise Reject(NotifyType.INVALID_SYNTAX, f"the peer's key exchange is invalid: {problem}") from None
    new = _succeed(core, sa, chosen, (spi, chosen.spi), (nonce, theirs), shared, initiator=True)
    take_token(new, response)
    start(core, new, Task("giving a crash detection token", lambda new: present_token(core, new)))
    if sa.attempt:
        attempt_log.succeed(sa.attempt, core.now)
        sa.attempt = None


def _succeed(
    core: Core,
    old: IkeSa,
    chosen: Chosen,
    spis: tuple[bytes, bytes],
    nonces: tuple[bytes, bytes],
    shared: bytes,
    *,
    initiator: bool,
) -> IkeSa:
    """The new SA inherits children, identities, path and waiting tasks (RFC 7296 2.18)."""
    assert old.chosen is not None and old.chosen.prf is not None and old.keys is not None and chosen.prf is not None
    seed = rekey_skeyseed(old.chosen.prf, old.keys.d, shared, *nonces)
    new = IkeSa(core.number("ike-sa"), initiator, old.path, core.now, *spis, state=Lifecycle.ESTABLISHED, peer=old.peer)
    new.chosen, new.nat, new.encapsulate = chosen, old.nat, old.encapsulate
    new.fragmentation, new.mobility, new.abilities = old.fragmentation, old.mobility, old.abilities
    new.keys = ike_keys(chosen.prf, seed, *nonces, *spis, chosen.encr, chosen.integ)
    new.protection = Protection(chosen.encr, chosen.integ, new.keys, initiator=initiator, random=core.random)
    new.local_id, new.remote_id, new.signature_hashes = old.local_id, old.remote_id, old.signature_hashes
    new.established = new.last_heard = core.now
    for spi, child in old.children.items():
        due = core.timers.when(("rekey-child", old, spi))
        core.timers.cancel(("rekey-child", old, spi))
        new.children[spi] = child
        if due is not None:
            core.timers.set(("rekey-child", new, spi), due)
    old.children = {}
    new.tasks, old.tasks = old.tasks, []
    old.state, old.replaced_by = Lifecycle.REKEYED, new
    for timer in ("liveness", "rekey", "keepalive"):
        core.timers.cancel((timer, old))
    core.timers.set(("linger", old), core.now + _LINGER)
    core.add(new)
    core.proven(new)
    keys_made(core, new)
    watch(core, new)
    keep_alive(core, new)
    new.tasks.append(Task("asking for a ticket", lambda new: renew_ticket(core, new)))
    core.event(
        "ike-sa.rekeyed",
        f"IKE SA with {new.peer_name} rekeyed ({chosen.keywords})",
        new.peer_name,
        ike_sa=new.id,
        was=old.id,
    )
    return new


def answer_rekey_sa(core: Core, sa: IkeSa, request: Message) -> list[wire.Payload]:
    """As responder; while we are busy with a CREATE_CHILD_SA of our own the peer has to try again (RFC 7296 2.25.2)."""
    attempt = core.begin_attempt(sa, initiator=False)
    try:
        response = _answer(core, sa, request)
    except Reject as reject:
        attempt_log.fail(attempt, core.now, "refused", reject.why, Step.ALGORITHMS, reject.notify)
        raise
    attempt_log.succeed(attempt, core.now)
    return response


def _answer(core: Core, sa: IkeSa, request: Message) -> list[wire.Payload]:
    assert sa.peer is not None
    pending = sa.requests.pending
    if pending is not None and pending.exchange == ExchangeType.CREATE_CHILD_SA:
        raise Reject(NotifyType.TEMPORARY_FAILURE, "we are busy with a CREATE_CHILD_SA of our own")
    nonce = check_nonce(request.one(wire.Nonce).data)
    ke = request.one(wire.KE)
    chosen = choose(sa.peer.proposals, request.one(wire.SA).proposals)
    if chosen is None or chosen.ke is None or len(chosen.spi) != 8 or chosen.spi == bytes(8):
        raise Reject(NotifyType.NO_PROPOSAL_CHOSEN, "no proposal of the peer is acceptable for the rekey of the IKE SA")
    if ke.method != chosen.ke.number:
        raise Reject(
            NotifyType.INVALID_KE_PAYLOAD, f"we prefer key exchange {chosen.ke.keyword}", chosen.ke.number.to_bytes(2)
        )
    try:
        public, shared = groups.accept(ke.method, ke.data, core.random)
    except groups.InvalidPublic as error:
        raise Reject(NotifyType.INVALID_SYNTAX, f"the peer's key exchange is invalid: {error}") from None
    ours, spi = core.random(NONCE_OCTETS), core.new_spi()
    new = _succeed(core, sa, chosen, (chosen.spi, spi), (nonce, ours), shared, initiator=False)
    return [wire.SA([chosen.to_wire(spi)]), wire.Nonce(ours), wire.KE(ke.method, public), *offer_token(core, new)]
