"""IKE_SESSION_RESUME, both roles, and how tickets come and go (RFC 5723).

All keys are made of the old SK_d, and so of every key exchange and pre-shared key that went into it: an IKE SA after
several key exchanges comes back like any other (RFC 9370 2.2.5), without them, as neither end announces
IKE_INTERMEDIATE anew (RFC 9242 4), and a pre-shared key is not mixed in a second time (RFC 8784 3). What the old one
was made of is in the ticket, and must still be what the configuration asks for.
"""

from gateway.crypto.keys import ike_keys, resumption_skeyseed
from gateway.ike import attempt_log, childless, quantum
from gateway.ike.abilities import Ability
from gateway.ike.attempts import Step
from gateway.ike.authentication import resumed
from gateway.ike.core import Core
from gateway.ike.exchanges.init import (
    ROUNDS,
    Opening,
    answer_opening,
    begin_answer,
    note_fragmentation,
    note_nat,
)
from gateway.ike.flow import TimedOut, ask_peer
from gateway.ike.lifecycle import close, keys_made
from gateway.ike.nat import detect_nat, must_encapsulate, nat_detection
from gateway.ike.nonces import NONCE_OCTETS, check_nonce
from gateway.ike.protect import Protection, refuse_unknown_critical
from gateway.ike.sa import IkeSa, Lifecycle
from gateway.ike.standing import Shortfall
from gateway.ike.tickets import LONGEST_LIFETIME, MAX_TICKET, OF_KEYS, KeptTicket, Ticket
from gateway.policy.choice import Chosen, choose
from gateway.policy.peers import Peer
from gateway.wire import payloads as wire
from gateway.wire.message import Message
from gateway.wire.numbers import ExchangeType, NotifyType

TRIES_ANEW = 2
"""Transmissions of IKE_SA_INIT after a ticket got no answer: the peer may have forgotten what tickets are; more likely
it is not there at all, and the ticket is shown again by the next attempt."""
_REQUEST = wire.Notify(0, b"", NotifyType.TICKET_REQUEST, b"")
_SUPPORT = wire.Notify(0, b"", NotifyType.IKEV2_FRAGMENTATION_SUPPORTED, b"")


async def resume_sa(core: Core, sa: IkeSa) -> KeptTicket | None:
    """Come back with a ticket as initiator; the ticket when there are keys, None where all has to begin anew.

    --> HDR(SPIi, 0), [N(COOKIE),] Ni, N(TICKET_OPAQUE), N(NAT_DETECTION_*)
    <-- HDR(SPIi, SPIr), Nr, …   or N(COOKIE)   or N(TICKET_NACK)
    """
    assert sa.peer is not None
    name = sa.peer.name
    kept = core.extensions.tickets.usable(name, core.now) if sa.peer.resumption else None
    if kept is not None and not (_suffices(core, sa.peer, kept) and kept.remote == sa.path.remote):
        # what it was made of is not what is required now, or it is of another gateway of that name
        core.extensions.tickets.drop(name)
        kept = None
    if kept is None:
        return None
    sa.nonce_i, cookie = core.random(NONCE_OCTETS), b""
    try:
        for _ in range(ROUNDS):
            response = await ask_peer(ExchangeType.IKE_SESSION_RESUME, _request(core, sa, kept, cookie))
            core.reach(sa, Step.REACH, f"{sa.path.text} answers")
            wanted = response.notify(NotifyType.COOKIE)
            if wanted is None:
                break
            cookie = wanted.data
    except TimedOut:
        _begin_anew(core, sa, "there is no answer to our ticket")
        return None
    if response.notify(NotifyType.TICKET_NACK) or response.maybe(wire.Nonce) is None or response.spi_r == bytes(8):
        core.extensions.tickets.drop(name)
        _begin_anew(core, sa, "the peer does not take our ticket")
        return None
    refuse_unknown_critical(response)
    sa.nonce_r, sa.spi_r = check_nonce(response.one(wire.Nonce).data), response.spi_r
    sa.requests.next_id = 1
    sa.abilities, sa.shortfall = kept.abilities | Ability.RESUMED, kept.shortfall or Shortfall.RESUMED
    note_fragmentation(sa, sa.peer, response)
    _protect(core, sa, kept.chosen, kept.sk_d)
    note_nat(core, sa, response)
    return kept


def _request(core: Core, sa: IkeSa, kept: KeptTicket, cookie: bytes) -> list[wire.Payload]:
    assert sa.peer is not None
    payloads: list[wire.Payload] = [wire.Notify(0, b"", NotifyType.COOKIE, cookie)] if cookie else []
    payloads += [wire.Nonce(sa.nonce_i), wire.Notify(0, b"", NotifyType.TICKET_OPAQUE, kept.ticket)]
    payloads += nat_detection(core, sa.spi_i, bytes(8), sa.path, disguise=must_encapsulate(core, sa.peer))
    return [*payloads, _SUPPORT] if sa.peer.fragment_octets else payloads


def _begin_anew(core: Core, sa: IkeSa, why: str) -> None:
    """With another SPI: the peer may have made a half-open SA of this one."""
    core.count("resumption-failed")
    attempt_log.add(sa.attempt, Step.REACH, f"{why}, we begin anew")
    core.event("ike-sa.not-resumed", f"{sa.peer_name}: {why}, we begin anew", sa.peer_name, ike_sa=sa.id)
    core.renew_spi(sa)


def _protect(core: Core, sa: IkeSa, chosen: Chosen, sk_d: bytes) -> None:
    """All keys are new, out of the old SK_d (RFC 5723 5.1)."""
    assert chosen.prf is not None
    seed = resumption_skeyseed(chosen.prf, sk_d, sa.nonce_i, sa.nonce_r)
    sa.chosen = chosen
    sa.keys = ike_keys(chosen.prf, seed, sa.nonce_i, sa.nonce_r, sa.spi_i, sa.spi_r, chosen.encr, chosen.integ)
    sa.protection = Protection(chosen.encr, chosen.integ, sa.keys, initiator=sa.initiator, random=core.random)
    keys_made(core, sa)
    core.reach(sa, Step.ALGORITHMS, f"{chosen.keywords}, resumed")


def accept_resume(core: Core, opening: Opening) -> bool:
    """Answer a ticket as responder with a half-open SA; False when it opens nothing (then: N(TICKET_NACK)).

    --> HDR(SPIi, 0), [N(COOKIE),] Ni, N(TICKET_OPAQUE)
    <-- HDR(SPIi, SPIr), Nr, N(NAT_DETECTION_*), …
    """
    notify = opening.request.notify(NotifyType.TICKET_OPAQUE)
    ticket = core.extensions.tickets.open(notify.data, core.now) if notify else None
    peer = _peer_of(core, opening, ticket) if ticket else None
    if ticket is None or peer is None:
        core.count("tickets-refused")
        return False
    sa = begin_answer(core, opening, peer)
    sa.abilities |= ticket.abilities | Ability.RESUMED
    sa.shortfall = Shortfall.RESUMED
    _protect(core, sa, ticket.chosen, ticket.sk_d)
    sa.nat = detect_nat(core, opening.request, opening.path)
    sa.encapsulate = sa.nat.supported and (sa.nat.found or must_encapsulate(core, peer))
    core.reach(sa, Step.NAT, sa.nat.text)
    core.extensions.resuming[sa.our_spi] = ticket
    payloads: list[wire.Payload] = [wire.Nonce(sa.nonce_r)]
    if sa.nat.supported:
        payloads += nat_detection(core, sa.spi_i, sa.spi_r, opening.path, disguise=must_encapsulate(core, peer))
    if sa.fragmentation:
        payloads.append(_SUPPORT)
    answer_opening(core, sa, opening, [*payloads, childless.SUPPORTED])
    return True


def _peer_of(core: Core, opening: Opening, ticket: Ticket) -> Peer | None:
    """The peer of a ticket, if it is configured as it was, may call from here, and still accepts the algorithms."""
    path = opening.path
    peer = next((peer for peer in core.snapshot.peers_for(path.local, path.remote) if peer.name == ticket.peer), None)
    if peer is None or not peer.resumption:
        return None
    if not choose(peer.proposals, [ticket.chosen.to_wire(b"")], additional=True):
        return None
    if not _suffices(core, peer, ticket):
        return None
    now = core.extensions.tickets.fingerprint(core.snapshot, peer, ticket.ours, ticket.theirs)
    return peer if now == ticket.fingerprint else None


def _suffices(core: Core, peer: Peer, ticket: Ticket | KeptTicket) -> bool:
    """Whether the keys of that IKE SA were made of what is required now."""
    if peer.ppk_required and Ability.USES_PPK not in ticket.abilities:
        return False
    if isinstance(ticket, KeptTicket) and ticket.shortfall is Shortfall.LOST and not quantum.goes_without(core, peer):
        return False  # it is time to try ML-KEM again
    return quantum.may_come_back(core, peer, ticket.chosen, ticket.abilities)


def request_ticket(sa: IkeSa) -> list[wire.Payload]:
    """N(TICKET_REQUEST), where we want to come back faster."""
    return [_REQUEST] if sa.peer and sa.peer.resumption else []


def grant(core: Core, sa: IkeSa, request: Message) -> list[wire.Payload]:
    """The answer to N(TICKET_REQUEST), if it was made, on an SA that stands (RFC 5723 4.1, 7.1)."""
    if request.notify(NotifyType.TICKET_REQUEST) is None:
        return []
    tickets, peer = core.extensions.tickets, sa.peer
    able = tickets.able and peer is not None and peer.resumption and sa.state == Lifecycle.ESTABLISHED
    able = able and not sa.eap_identity  # a user may be barred before a ticket of his ends
    if not able or peer is None:
        return [wire.Notify(0, b"", NotifyType.TICKET_NACK, b"")]
    assert sa.chosen is not None and sa.keys is not None and sa.remote_id is not None and sa.local_id is not None
    proof = max(1.0, sa.proof_ends - tickets.unix(core.now)) if sa.proof_ends else 0.0
    lifetime = min(seconds for seconds in (peer.rekey_time, peer.reauth_time, proof, LONGEST_LIFETIME) if seconds)
    mark = tickets.fingerprint(core.snapshot, peer, sa.local_id, sa.remote_id)
    expires = tickets.unix(core.now) + lifetime
    ends, made_of = (sa.remote_id, sa.local_id), sa.abilities & OF_KEYS
    ticket = Ticket(expires, sa.our_spi, sa.chosen, peer.name, mark, sa.keys.d, *ends, made_of)
    ticket.proof_ends = sa.proof_ends
    sa.abilities |= Ability.HAS_TICKET
    core.count("tickets-given")
    data = int(lifetime).to_bytes(4) + tickets.seal(ticket, core.now)
    return [wire.Notify(0, b"", NotifyType.TICKET_LT_OPAQUE, data)]


def take_ticket(core: Core, sa: IkeSa, response: Message) -> None:
    """Keep what the responder gave us; without a ticket, an older one is worth nothing any more."""
    if sa.peer is None or not sa.peer.resumption:
        return
    notify = response.notify(NotifyType.TICKET_LT_OPAQUE)
    if notify is None or not 4 < len(notify.data) <= MAX_TICKET:
        core.extensions.tickets.kept.pop(sa.peer.name, None)
        return
    assert sa.chosen is not None and sa.keys is not None
    assert sa.local_id is not None and sa.remote_id is not None
    lifetime, ticket = int.from_bytes(notify.data[:4]), notify.data[4:]
    ends, made_of = (sa.local_id, sa.remote_id), sa.abilities & OF_KEYS
    kept = KeptTicket(ticket, 0.0, sa.our_spi, sa.path.remote, sa.chosen, sa.keys.d, *ends, made_of, sa.proof_ends)
    kept.shortfall = sa.shortfall
    core.extensions.tickets.keep(sa.peer.name, kept, lifetime, core.now)
    sa.abilities |= Ability.GIVES_TICKETS


async def renew_ticket(core: Core, sa: IkeSa) -> None:
    """After a rekey the old ticket is worth nothing (RFC 5723 6.2).

    --> HDR, SK {N(TICKET_REQUEST)}   <-- HDR, SK {N(TICKET_LT_OPAQUE)}
    """
    if Ability.GIVES_TICKETS in sa.abilities and request_ticket(sa):
        take_ticket(core, sa, await ask_peer(ExchangeType.INFORMATIONAL, request_ticket(sa)))


def check_resumed(
    core: Core, sa: IkeSa, ticket: Ticket, sent: wire.IDi, asked: wire.IDr | None, auth: wire.AUTH | None
) -> wire.AUTH:
    """IKE_AUTH after a ticket, as responder: our own proof, when the peer's is right (RFC 5723 4.3.3). Raises Close."""
    failed = NotifyType.AUTHENTICATION_FAILED
    tickets, peer = core.extensions.tickets, core.snapshot.peers.get(ticket.peer)
    if peer is None or tickets.fingerprint(core.snapshot, peer, ticket.ours, ticket.theirs) != ticket.fingerprint:
        why = f"the configuration of {ticket.peer} changed while it came back with a ticket"
        raise core.give_up(sa, "ticket", Step.IDENTITY, failed, why)
    core.assign(sa, peer)
    sa.local_id = ticket.ours
    if (sent.id_type, sent.data) != (ticket.theirs.id_type, ticket.theirs.data):
        why = f"another identity comes back than the ticket was given to, {ticket.theirs}"
        raise core.give_up(sa, "ticket", Step.IDENTITY, failed, why)
    if asked is not None and (asked.id_type, asked.data) != (ticket.ours.id_type, ticket.ours.data):
        why = f"{ticket.theirs} comes back to another identity than {ticket.ours}, which gave it the ticket"
        raise core.give_up(sa, "ticket", Step.IDENTITY, failed, why)
    short = auth is not None and resumed.verify(sa, sent, auth, short=True)
    if auth is None or not (short or resumed.verify(sa, sent, auth, short=False)):
        why = f"who shows the ticket of {ticket.theirs} does not have its keys"
        raise core.give_up(sa, "ticket", Step.IDENTITY, failed, why)
    if not tickets.use(ticket, core.now):
        why = f"{ticket.theirs} shows a ticket that was used before, or whose IKE SA was deleted"
        raise core.give_up(sa, "ticket", Step.IDENTITY, failed, why)
    sa.proof_ends = ticket.proof_ends
    core.count("resumed")
    before = core.sas.get(ticket.spi)
    if before is not None and before.peer is peer:  # RFC 5723 4.3.4: silently
        close(core, before, "its peer came back with a ticket", "replaced")
    return resumed.prove(sa, ticket.ours, short=short)
