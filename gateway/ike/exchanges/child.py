"""CHILD_SAs as initiator: in IKE_AUTH, and further and rekeyed ones by CREATE_CHILD_SA (RFC 7296 1.3, 2.9)."""

from dataclasses import dataclass
from functools import partial
from typing import NoReturn

from gateway.crypto import groups
from gateway.ike import attempt_log
from gateway.ike.access import as_offered, lay
from gateway.ike.attempts import Step
from gateway.ike.children import (
    EVERYTHING,
    allocate_spi,
    give_back_spi,
    install,
    make_states,
    wire_selectors,
)
from gateway.ike.core import Core
from gateway.ike.exchanges import collisions, configuration
from gateway.ike.exchanges.child_refused import refused
from gateway.ike.exchanges.followup import follow_up
from gateway.ike.exchanges.informational import delete_child, delete_spi
from gateway.ike.flow import Closed, ask_peer
from gateway.ike.following import NOTHING_SHARED, Shared
from gateway.ike.interfaces import need_interface
from gateway.ike.modes import Agreed, answered, ends, networks_text, wishes
from gateway.ike.narrowing import usable_spi
from gateway.ike.nonces import NONCE_OCTETS, check_nonce
from gateway.ike.parts import as_made, split, stands
from gateway.ike.plane import Expect, Refused, StateKey
from gateway.ike.sa import ChildSa, IkeSa, Lifecycle, Task
from gateway.ike.virtual_addresses import personal
from gateway.ike.wishes import unwanted
from gateway.policy.choice import Chosen, accepted
from gateway.policy.peers import Child
from gateway.wire import payloads as wire
from gateway.wire.message import Message
from gateway.wire.numbers import ExchangeType, NotifyType, Protocol
from gateway.wire.outcome import Reject

Nonces = tuple[bytes, bytes]


@dataclass(slots=True)
class Offer:
    """Our half of a CHILD_SA under negotiation: the SPI we receive on, held where we were, and what we asked for.

    `notifies` go before the payloads, as does the Configuration payload of IKE_AUTH (RFC 7296 2.19).
    """

    config: Child
    held: StateKey
    payloads: list[wire.Payload]
    notifies: list[wire.Payload]
    with_ke: bool

    @classmethod
    def make(cls, core: Core, sa: IkeSa, config: Child, *, with_ke: bool = False) -> "Offer":
        """Raises Refused when the data plane has no SPI or interface.

        Raises Reject when a child in transport mode does not have the two ends in its networks.
        """
        asks = configuration.ask(core, sa) if not with_ke else []
        config = as_offered(core, sa, config)
        local, remote = ends(config, sa.path.local, sa.path.remote)
        if not config.local:  # RFC 7296 2.19: any address, for the responder to narrow to what it gives us
            local = list(EVERYTHING)
        if not local or not remote:
            nets = networks_text(config.local, config.remote)
            why = f"{config.name} is in transport mode, but {nets} does not hold {sa.path.local} = {sa.path.remote}"
            raise core.refuse(sa, "ends", Step.NETWORKS, NotifyType.TS_UNACCEPTABLE, why)
        lay(core, sa)
        need_interface(core, sa.peer_name or "", config)
        held = allocate_spi(core, sa)
        octets = held.spi.to_bytes(4)
        wanted = config.proposals if with_ke else dict.fromkeys(p.without_ke() for p in config.proposals)
        proposals = [proposal.to_wire(number, octets) for number, proposal in enumerate(wanted, 1)]
        tsi, tsr = wire.TSi(wire_selectors(local)), wire.TSr(wire_selectors(remote))
        return cls(config, held, [wire.SA(proposals), tsi, tsr], [*asks, *wishes(config)], with_ke)

    @property
    def spi(self) -> int:
        return self.held.spi

    def withdraw(self, core: Core) -> None:
        give_back_spi(core, self.held)


def conclude(
    core: Core,
    sa: IkeSa,
    offer: Offer,
    response: Message,
    nonces: Nonces,
    shared: Shared = NOTHING_SHARED,
    replacing: ChildSa | None = None,
    *,
    take: bool = True,
) -> ChildSa:
    """Check the responder's half and install; a failure is recorded, told to the peer if it must know, and raised."""
    agreed, chosen = _check(core, sa, offer, response)
    core.reach(sa, Step.NETWORKS, agreed.text)
    states = make_states(core, sa, agreed, chosen, offer.spi, nonces, shared, initiator=True)
    try:
        child = install(core, sa, agreed, chosen, states, replacing, nonces=nonces, take=take)
    except Refused as problem:
        _undo(core, sa, offer)
        raise core.refuse(sa, "data-plane", Step.INSTALL, NotifyType.NO_ADDITIONAL_SAS, problem.why) from None
    if child.inbound.key != offer.held:  # we moved meanwhile
        offer.withdraw(core)
    installed(core, sa)
    if replacing is None and response.notify(NotifyType.ADDITIONAL_TS_POSSIBLE):
        _go_on_in_pairs(core, sa, offer.config)
    return child


def _check(core: Core, sa: IkeSa, offer: Offer, response: Message) -> tuple[Agreed, Chosen]:
    """What the responder made of the offer, if that is what we want. Raises Reject, and nothing stays of the offer."""
    try:
        sent = response.maybe(wire.SA)
        if not offer.with_ke:
            configuration.take(core, sa, response)
            offer.config = personal(sa, offer.config)
        agreed = answered(offer.config, sa.path, sa.nat, response) if sent else None
    except (Reject, Refused) as problem:
        _undo(core, sa, offer)
        if isinstance(problem, Refused):
            raise core.refuse(sa, "data-plane", Step.INSTALL, NotifyType.NO_ADDITIONAL_SAS, problem.why) from None
        raise core.refuse(sa, "syntax", Step.NETWORKS, problem.notify, problem.why) from None
    if sent is None or agreed is None:
        offer.withdraw(core)
        _not_made(core, sa, offer, response)
    answer = sent.proposals
    chosen = _chosen(offer, answer)
    if chosen is None or not usable_spi(chosen.spi):
        _undo(core, sa, offer)
        why = "the peer chose ESP algorithms that we did not offer"
        raise core.refuse(sa, "no-esp-proposal", Step.ALGORITHMS, NotifyType.NO_PROPOSAL_CHOSEN, why)
    if unlike := _not_as_asked(core, sa, offer, agreed):
        _undo(core, sa, offer)
        raise unlike
    return agreed, chosen


def _undo(core: Core, sa: IkeSa, offer: Offer) -> None:
    """The peer has made a CHILD_SA that does not come about here."""
    offer.withdraw(core)
    delete_spi(core, sa, offer.spi)


def forgo(core: Core, sa: IkeSa, offer: Offer, response: Message, why: str) -> None:
    """Nobody wants it any more: nothing is installed, and what the peer made of it ends. Raises Reject, Refused."""
    offer.withdraw(core)
    if sa.attempt:
        attempt_log.fail(sa.attempt, core.now, "stopped", why, Step.INSTALL)
        sa.attempt = None
    if response.maybe(wire.SA):
        delete_spi(core, sa, offer.spi)
    if not offer.with_ke:
        configuration.take(core, sa, response)


def _chosen(offer: Offer, answer: list[wire.Proposal]) -> Chosen | None:
    if len(answer) != 1:
        return None
    return accepted(offer.config.proposals, answer[0], with_ke=offer.with_ke, additional=offer.with_ke)


async def _follow(core: Core, sa: IkeSa, offer: Offer, response: Message) -> bytes:
    """The secrets of the additional key exchanges that were agreed on, if any (RFC 9370 2.2.4)."""
    sent = response.maybe(wire.SA)
    chosen = _chosen(offer, sent.proposals) if sent else None
    if chosen is None or not chosen.following:
        return b""
    try:
        return await follow_up(core, response, chosen.following)
    except BaseException as error:
        offer.withdraw(core)
        if isinstance(error, Reject):
            raise core.refuse(sa, "peer-error", Step.ALGORITHMS, error.notify, error.why) from None
        raise


def _go_on_in_pairs(core: Core, sa: IkeSa, config: Child) -> None:
    """The peer takes what is left in other CHILD_SAs, each for a pair of selectors (RFC 7296 2.9)."""
    for part in split(core, sa, config):
        text = f"creating CHILD_SA {part.name} for {networks_text(part.local, part.remote)}"
        sa.tasks.append(Task(text, partial(create_child, core, config=part)))


def _not_as_asked(core: Core, sa: IkeSa, offer: Offer, agreed: Agreed) -> Reject | None:
    """The peer made a CHILD_SA that we do not want; it has to be deleted again (RFC 7296 1.3.1, 2.9)."""
    config = offer.config
    if agreed.mode is not config.mode:
        why = f"the peer makes {config.name} in {agreed.mode} mode, we want {config.mode} mode"
        return core.refuse(sa, "mode", Step.NETWORKS, NotifyType.TS_UNACCEPTABLE, why)
    if not config.local:
        why = f"the peer gave us no address, and {config.name} is for one"
        return core.refuse(sa, "no-address", Step.NETWORKS, NotifyType.TS_UNACCEPTABLE, why)
    if not agreed.local or not agreed.remote:
        why = "the peer chose networks that we did not offer"
        return core.refuse(sa, "networks", Step.NETWORKS, NotifyType.TS_UNACCEPTABLE, why)
    return None


def installed(core: Core, sa: IkeSa) -> None:
    """The negotiation has come to its end."""
    core.reach(sa, Step.INSTALL)
    sa.refusal = ""
    core.failures.pop(sa.peer_name or "", None)
    if sa.attempt:
        attempt_log.succeed(sa.attempt, core.now)
        sa.attempt = None  # the log keeps it as long as it may, the SA need not


def _not_made(core: Core, sa: IkeSa, offer: Offer, response: Message) -> NoReturn:
    """The reason stays with the IKE SA, which goes on without the child."""
    problem = refused(core, sa, offer.config, response)
    sa.refusal = problem.why
    if problem.notify == NotifyType.SINGLE_PAIR_REQUIRED:
        _go_on_in_pairs(core, sa, offer.config)
    raise problem


async def create_child(
    core: Core, sa: IkeSa, config: Child, replacing: ChildSa | None = None, *, anew: bool = False
) -> None:
    """Make a further CHILD_SA, or one in place of `replacing`; `anew` without saying so, where a rekey is refused.

    --> HDR, SK {[N(REKEY_SA),] SA, Ni, [KEi,] TSi, TSr}
    <-- HDR, SK {SA, Nr, [KEr,] TSi, TSr}   or N(INVALID_KE_PAYLOAD)
    (IKE_FOLLOWUP_KE, once for each additional key exchange)

    The peer's own rekey of `replacing` is answered when all is over, our delete of the old one, too.
    """
    try:
        await _create_child(core, sa, config, replacing, anew=anew)
    except (Reject, Refused):
        collisions.answer_crossing(core, sa)
        raise
    collisions.answer_crossing(core, sa)


async def _create_child(core: Core, sa: IkeSa, config: Child, replacing: ChildSa | None, *, anew: bool) -> None:
    if replacing is not None:
        if sa.children.get(replacing.spi_in) is not replacing or replacing.deleting or replacing.superseded:
            return
        replacing.rekeying = True
        config = as_made(config, replacing)
    elif unwanted(core, sa, config.name) or stands(core, sa, config):
        return
    began = core.now
    sa.attempt = core.begin_attempt(sa, initiator=True)
    try:
        response, offer, nonces, first = await _negotiate(core, sa, config, None if anew else replacing)
        following = await _follow(core, sa, offer, response)
        if replacing is None and (why := unwanted(core, sa, config.name)):
            forgo(core, sa, offer, response, why)
            return
        rival = collisions.rival_of(sa, replacing, config, response, began)
        lost = rival is not None and min(nonces) < rival.lowest
        new = conclude(core, sa, offer, response, nonces, Shared(first, following), replacing, take=not lost)
    except Reject as problem:
        if not _may_leave(core, sa, config, replacing, problem):
            raise
        sa.attempt = None
        return
    except Refused:
        if replacing is not None and not replacing.gone:
            collisions.rekey_child_later(core, sa, replacing)
        raise
    finally:
        if replacing is not None:
            replacing.rekeying = False
    sa.refused_since = None
    await _settle(core, sa, new, replacing, rival if lost else None)


def _may_leave(core: Core, sa: IkeSa, config: Child, replacing: ChildSa | None, refused: Reject) -> bool:
    """Whether a refusal is a mere collision, for which all is arranged. Raises Close when there were too many."""
    busy = refused.notify == NotifyType.TEMPORARY_FAILURE
    if replacing is None:
        collisions.note_refusal(core, sa, refused)
        if busy:
            collisions.try_child_later(core, sa, config)
        return busy
    if collisions.not_replaced(core, sa, replacing, refused):
        return busy or replacing.gone or replacing.superseded
    sa.tasks.append(Task(f"creating CHILD_SA {config.name}", lambda sa: create_child(core, sa, config)))
    return True


async def _settle(core: Core, sa: IkeSa, new: ChildSa, replacing: ChildSa | None, winner: ChildSa | None) -> None:
    """RFC 7296 2.8.1: the SA made with the lowest nonce is deleted by who made it, the old one by who made the other.

    --> HDR, SK {D(ESP)}
    <-- HDR, SK {D(ESP)}
    """
    if winner is not None:
        await delete_child(core, sa, new, "the peer made one at the same moment", replaced=True)
        return
    if replacing is None:
        return
    replacing.successor = new
    core.event(
        "child-sa.rekeyed",
        f"CHILD_SA {sa.peer_name}/{new.name} rekeyed",
        sa.peer_name,
        child=new.name,
        child_sa=new.id,
    )
    await delete_child(core, sa, replacing, "rekeyed", replaced=True)


async def _negotiate(
    core: Core, sa: IkeSa, config: Child, replacing: ChildSa | None
) -> tuple[Message, Offer, Nonces, bytes]:
    """One CREATE_CHILD_SA, again with another group where the peer wants one (RFC 7296 1.3)."""
    methods = [row.number for proposal in config.proposals for row in proposal.ke]
    method = methods[0] if methods else None
    for _ in range(len(methods) + 1):
        offer = Offer.make(core, sa, config, with_ke=True)
        nonce = core.random(NONCE_OCTETS)
        exchange = groups.offer(method, core.random) if method is not None else None
        request: list[wire.Payload] = []
        if replacing is not None:
            spi = replacing.inbound.spi.to_bytes(4)
            request.append(wire.Notify(Protocol.ESP, spi, NotifyType.REKEY_SA, b""))
            # RFC 7296 2.8: the responder may send on the new one before its answer is here
            core.plane.apply([Expect(offer.held)])
        sa_payload, tsi, tsr = offer.payloads
        request += [*offer.notifies, sa_payload, wire.Nonce(nonce)]
        if exchange is not None and method is not None:
            request.append(wire.KE(method, exchange.public))
        try:
            response = await ask_peer(ExchangeType.CREATE_CHILD_SA, [*request, tsi, tsr])
        except BaseException:
            offer.withdraw(core)
            raise
        if sa.state != Lifecycle.ESTABLISHED:  # the world changed while we waited
            offer.withdraw(core)
            delete_spi(core, sa, offer.spi)
            raise Closed
        wanted = response.notify(NotifyType.INVALID_KE_PAYLOAD)
        if wanted is None:
            return response, offer, *_agreed(core, sa, offer, response, nonce, exchange)
        offer.withdraw(core)
        method = int.from_bytes(wanted.data[:2])
        if method not in methods:
            why = f"the peer wants key exchange {method}, which {config.name} does not offer"
            raise core.refuse(sa, "no-esp-proposal", Step.ALGORITHMS, NotifyType.NO_PROPOSAL_CHOSEN, why)
    raise core.refuse(
        sa, "peer-error", Step.ALGORITHMS, NotifyType.INVALID_KE_PAYLOAD, "the peer asks for ever new groups"
    )


def _agreed(
    core: Core, sa: IkeSa, offer: Offer, response: Message, nonce: bytes, exchange: groups.Offer | None
) -> tuple[Nonces, bytes]:
    """The nonces and the shared secret of the exchange; empty when the peer refused (conclude tells why)."""
    try:
        if response.maybe(wire.SA) is None:
            return (nonce, b""), b""
        theirs = check_nonce(response.one(wire.Nonce).data)
        ke = response.maybe(wire.KE)
        if (ke is None) is not (exchange is None):
            raise Reject(NotifyType.INVALID_SYNTAX, "the peer's key exchange does not fit our request")
        shared = exchange.finish(ke.data) if exchange and ke else b""
    except (Reject, groups.InvalidPublic) as error:
        offer.withdraw(core)
        delete_spi(core, sa, offer.spi)
        why = error.why if isinstance(error, Reject) else f"the peer's key exchange is invalid: {error}"
        raise core.refuse(sa, "syntax", Step.ALGORITHMS, NotifyType.INVALID_SYNTAX, why) from None
    return (nonce, theirs), shared
