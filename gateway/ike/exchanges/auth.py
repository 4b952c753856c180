"""IKE_AUTH with the first CHILD_SA, both roles (RFC 7296 1.2, 2.4, 2.15, 2.16, 2.21.2)."""

from gateway.ike import attempt_log, auth_lifetime, auth_methods, childless, redirects
from gateway.ike.attempts import Step
from gateway.ike.authentication import psk, resumed
from gateway.ike.core import Core
from gateway.ike.exchanges import child as children
from gateway.ike.exchanges import child_answer, mobike
from gateway.ike.exchanges.crash_detection import offer_token, take_token
from gateway.ike.exchanges.informational import farewell
from gateway.ike.exchanges.intermediate import check_complete
from gateway.ike.exchanges.resume import check_resumed, grant, request_ticket, take_ticket
from gateway.ike.flow import ask_peer
from gateway.ike.lifecycle import establish
from gateway.ike.sa import IkeSa, Lifecycle
from gateway.ike.tickets import KeptTicket
from gateway.ike.uniqueness import initial_contact, resolve_duplicates
from gateway.policy.identities import MAX_IDENTITY_OCTETS, Identity
from gateway.policy.peers import Child, Peer
from gateway.policy.proposals import choose
from gateway.wire import payloads as wire
from gateway.wire.message import Message
from gateway.wire.numbers import ExchangeType, IdType, NotifyType, name_of
from gateway.wire.outcome import Close, Reject

_FAILED = NotifyType.AUTHENTICATION_FAILED


async def authenticate(core: Core, sa: IkeSa, wanted: Child | None, kept: KeptTicket | None = None) -> None:
    """Prove both ends as initiator, and make the first CHILD_SA; none where `wanted` is None (RFC 6023 5).

    With the ticket that we came back with, the old session's keys are the proof (RFC 5723 4.3.3).

    --> HDR, SK {IDi, [N(INITIAL_CONTACT),] [IDr,] AUTH, [SAi2, TSi, TSr]}
    <-- HDR, SK {IDr, AUTH, [SAr2, TSi, TSr]}   or the IKE SA alone with an error notify for the child
    """
    assert sa.peer is not None
    request = _proof(core, sa, sa.peer, kept)
    offer = children.Offer.make(core, sa, wanted) if wanted else None
    try:
        response = await ask_peer(ExchangeType.IKE_AUTH, request + (offer.notifies + offer.payloads if offer else []))
        _check_responder(core, sa, sa.peer, response, kept)
        elsewhere = redirects.target(core, sa, response)
    except BaseException as error:
        if offer:
            offer.withdraw(core, sa)
        if kept and isinstance(error, Close | Reject):
            core.extensions.tickets.unproven(sa.peer.name)
        if isinstance(error, Close) and error.notify is not None:
            farewell(core, sa, error.notify)
        raise
    core.reach(sa, Step.IDENTITY, f"{sa.remote_id} proved itself")
    _heed(core, sa, response)
    nonces = sa.nonce_i, sa.nonce_r
    establish(core, sa)
    take_ticket(core, sa, response)
    if elsewhere:
        _go_on(core, sa, elsewhere, offer)
        return
    resolve_duplicates(core, sa)
    if offer is None:
        childless.stands(core, sa)
    elif sa.state == Lifecycle.ESTABLISHED:
        children.conclude(core, sa, offer, response, nonces)
    else:  # another SA with this peer stays in place of this one
        offer.withdraw(core, sa)


def _heed(core: Core, sa: IkeSa, response: Message) -> None:
    """What a responder that is proven tells beside its proof."""
    take_token(sa, response)
    mobike.agree(core, sa, response, leads=True)
    auth_lifetime.heed(core, sa, response)


def _proof(core: Core, sa: IkeSa, peer: Peer, kept: KeptTicket | None) -> list[wire.Payload]:
    """Who we are, whom we want to meet, and our proof."""
    sa.local_id = kept.ours if kept else peer.local_id or Identity.parse(sa.path.local)
    expected = kept.theirs if kept else peer.remote_id.exact
    _note_identities(sa, expected)
    request: list[wire.Payload] = [wire.IDi(sa.local_id.id_type, sa.local_id.data)]
    if core.established(peer.name) is None:
        request.append(wire.Notify(0, b"", NotifyType.INITIAL_CONTACT, b""))
    if expected:
        request.append(wire.IDr(expected.id_type, expected.data))
    if kept:
        request.append(resumed.prove(sa, kept.ours, short=peer.name in core.extensions.tickets.short))
    else:
        key = _key(core, sa, expected) if expected else _key_for_unknown(core, sa, peer)
        request.append(psk.prove(sa, key, sa.local_id))
    request += offer_token(core, sa) + request_ticket(sa) + mobike.offer(core, sa)
    return [*request, auth_methods.announcement()] if auth_methods.announced(sa) else request


def _go_on(core: Core, sa: IkeSa, elsewhere: str, offer: children.Offer | None) -> None:
    """Both ends are proven, but the responder makes no child: it sends us on to another gateway (RFC 5685 6)."""
    if offer:
        offer.withdraw(core, sa)
    if sa.attempt:
        attempt_log.succeed(sa.attempt, core.now)
    core.extensions.sent_on.append((sa, elsewhere, (offer.config.name,) if offer else ()))


def _note_identities(sa: IkeSa, remote: Identity | None) -> None:
    if sa.attempt:
        sa.attempt.local_id = str(sa.local_id) if sa.local_id else ""
        sa.attempt.remote_id = str(remote) if remote else ""


def _claimed(core: Core, sa: IkeSa, sent: wire.Identification) -> Identity:
    """Who the peer says it is; attempts and logs keep it, so that it has a length to keep to."""
    if len(sent.data) > MAX_IDENTITY_OCTETS:
        why = f"an identity of {len(sent.data)} octets; up to {MAX_IDENTITY_OCTETS} are allowed"
        raise core.give_up(sa, "syntax", Step.IDENTITY, NotifyType.INVALID_SYNTAX, why)
    return Identity(sent.id_type, sent.data)


def _key(core: Core, sa: IkeSa, remote: Identity) -> bytes:
    assert sa.local_id is not None
    found = core.snapshot.psk_for(sa.local_id, remote)
    if found is None:
        why = f"there is no pre-shared key for {sa.local_id} and {remote}"
        raise core.give_up(sa, "no-key", Step.IDENTITY, _FAILED, why)
    return found.secret


def _key_for_unknown(core: Core, sa: IkeSa, peer: Peer) -> bytes:
    assert sa.local_id is not None
    found = core.snapshot.psk_for_unknown(sa.local_id, peer.remote_id, Identity.parse(sa.path.remote))
    if found is None:
        why = f"there is no pre-shared key for {sa.local_id} and {peer.remote_id}, nor for {sa.path.remote}"
        raise core.give_up(sa, "no-key", Step.IDENTITY, _FAILED, why)
    return found.secret


def _check_responder(core: Core, sa: IkeSa, peer: Peer, response: Message, kept: KeptTicket | None) -> None:
    """Is it the peer, and does it hold the key?"""
    auth = response.maybe(wire.AUTH)
    if auth is None:
        _refused(core, sa, response)
    assert auth is not None
    sent = response.one(wire.IDr)
    identity = _claimed(core, sa, sent)
    _note_identities(sa, identity)
    if not peer.remote_id.matches(identity):
        why = f"the peer says it is {identity}, we expect {peer.remote_id}"
        raise core.give_up(sa, "unknown-identity", Step.IDENTITY, _FAILED, why)
    if kept:
        short = peer.name in core.extensions.tickets.short
        if identity != kept.theirs or not resumed.verify(sa, sent, auth, short=short):
            why = f"{identity} did not prove that it gave us the ticket"
            raise core.give_up(sa, "ticket", Step.IDENTITY, _FAILED, why)
    elif not psk.verify(sa, _key(core, sa, identity), sent, auth):
        why = f"{identity} did not prove itself with our pre-shared key"
        raise core.give_up(sa, "peer-not-proven", Step.IDENTITY, _FAILED, why)
    sa.remote_id = identity


def _refused(core: Core, sa: IkeSa, response: Message) -> None:
    """The responder ended it: AUTHENTICATION_FAILED can mean a wrong key or an unknown identity, say both."""
    notify = next((n for n in response.all(wire.Notify) if n.type < NotifyType.INITIAL_CONTACT), None)
    if notify is None:
        raise Reject(NotifyType.INVALID_SYNTAX, "the peer's IKE_AUTH response has neither AUTH nor an error")
    if notify.type == _FAILED and (why := auth_methods.unwelcome(sa)):
        raise core.give_up(sa, "auth-method", Step.IDENTITY, None, f"{why} (AUTHENTICATION_FAILED)")
    if notify.type == _FAILED:
        why = "the peer refused our proof (AUTHENTICATION_FAILED): it holds another pre-shared key, or does not know"
        raise core.give_up(sa, "peer-refused-us", Step.IDENTITY, None, f"{why} {sa.local_id}")
    why = f"the peer answered {name_of(NotifyType, notify.type)} to IKE_AUTH"
    raise core.give_up(sa, "peer-error", Step.IDENTITY, None, why)


def answer_auth(core: Core, sa: IkeSa, request: Message) -> list[wire.Payload]:
    """Prove both ends as responder, and make the first CHILD_SA.

    --> HDR, SK {IDi, [IDr,] AUTH, SAi2, TSi, TSr}
    <-- HDR, SK {IDr, AUTH, SAr2, TSi, TSr}
    """
    check_complete(core, sa)
    try:
        sent = request.one(wire.IDi)
        auth = request.maybe(wire.AUTH)
        asked = request.maybe(wire.IDr)
    except Reject as reject:
        raise core.give_up(sa, "syntax", Step.IDENTITY, reject.notify, reject.why) from None
    identity = _claimed(core, sa, sent)
    _note_identities(sa, identity)
    if ticket := core.extensions.resuming.pop(sa.our_spi, None):
        proof = check_resumed(core, sa, ticket, sent, asked, auth)
    else:
        proof = _check_initiator(core, sa, sent, asked, auth)
    assert sa.local_id is not None
    sa.remote_id = identity
    _note_identities(sa, identity)
    if mobike.nat_is_unexpected(core, request, sa.path):
        why = f"{identity} allows no NAT, and there is one on the way (UNEXPECTED_NAT_DETECTED)"
        raise core.give_up(sa, "peer-error", Step.NAT, NotifyType.UNEXPECTED_NAT_DETECTED, why)
    core.reach(sa, Step.IDENTITY, f"{identity} proved itself")
    response: list[wire.Payload] = [wire.IDr(sa.local_id.id_type, sa.local_id.data), proof]
    response += offer_token(core, sa)
    take_token(sa, request)
    if mobike.agree(core, sa, request, leads=False):
        response += mobike.offer(core, sa)
    nonces = sa.nonce_i, sa.nonce_r
    establish(core, sa)
    response += auth_lifetime.tell(core, sa)
    if request.notify(NotifyType.INITIAL_CONTACT):
        initial_contact(core, sa)
    resolve_duplicates(core, sa)
    if sa.state != Lifecycle.ESTABLISHED:  # an older one stays: two would carry the same traffic
        return [*response, wire.Notify(0, b"", NotifyType.NO_ADDITIONAL_SAS, b"")]
    response += grant(core, sa, request)
    return response + _first_child(core, sa, request, nonces)


def _check_initiator(
    core: Core, sa: IkeSa, sent: wire.IDi, asked: wire.IDr | None, auth: wire.AUTH | None
) -> wire.AUTH:
    """Which peer is it, and does it hold the key? Our own proof, when it does. Raises Close."""
    identity = _claimed(core, sa, sent)
    wanted = _claimed(core, sa, asked) if asked else None
    peer = _find_peer(core, sa, identity, wanted)
    sa.local_id = peer.local_id or (wanted if _is_our_address(sa, wanted) else None) or Identity.parse(sa.path.local)
    _note_identities(sa, identity)
    if auth is None:
        raise core.give_up(
            sa, "peer-error", Step.IDENTITY, _FAILED, f"{identity} wants EAP, which {peer.name} does not use"
        )
    key = _key(core, sa, identity)
    if not psk.verify(sa, key, sent, auth):
        raise core.give_up(sa, "wrong-key", Step.IDENTITY, _FAILED, _why_not_proven(identity, auth))
    return psk.prove(sa, key, sa.local_id)


def _first_child(core: Core, sa: IkeSa, request: Message, nonces: tuple[bytes, bytes]) -> list[wire.Payload]:
    """The child's own failure leaves the IKE SA standing (RFC 7296 1.2)."""
    if request.maybe(wire.SA) is None:
        childless.stands(core, sa)
        return []
    if sa.state != Lifecycle.ESTABLISHED:  # it goes at once: its child would take policies from the one that stays
        return [wire.Notify(0, b"", NotifyType.NO_ADDITIONAL_SAS, b"")]
    try:
        return child_answer.answer(core, sa, request, nonces)
    except Reject as reject:
        return [wire.Notify(0, b"", reject.notify, reject.data)]


def _why_not_proven(identity: Identity, auth: wire.AUTH) -> str:
    if auth.method != psk.METHOD:
        return f"{identity} authenticates by method {auth.method}, we expect a pre-shared key"
    return f"{identity} holds another pre-shared key than we do"


def _is_our_address(sa: IkeSa, wanted: Identity | None) -> bool:
    return (
        wanted is not None
        and wanted.id_type in (IdType.ID_IPV4_ADDR, IdType.ID_IPV6_ADDR)
        and wanted.text == sa.path.local
    )


def _find_peer(core: Core, sa: IkeSa, identity: Identity, wanted: Identity | None) -> Peer:
    """The peer that this identity, the identity asked of us, the address and the algorithms agreed on point to."""
    here = core.snapshot.peers_for(sa.path.local, sa.path.remote)
    known = [peer for peer in here if peer.remote_id.matches(identity)]
    known.sort(key=lambda peer: -peer.remote_id.rank)
    if not known:
        why = f"{identity} is none of the peers expected from {sa.path.remote}"
        raise core.give_up(sa, "unknown-identity", Step.IDENTITY, _FAILED, why)
    assert sa.chosen is not None
    agreed = sa.chosen.to_wire(b"")
    for peer in known:
        ours = peer.local_id or Identity.parse(sa.path.local)
        if (wanted is None or ours.same(wanted)) and choose(peer.proposals, [agreed], additional=True):
            core.assign(sa, peer)
            return peer
    core.assign(sa, known[0])
    if wanted is not None and not any((peer.local_id or Identity.parse(sa.path.local)).same(wanted) for peer in known):
        ours = known[0].local_id or Identity.parse(sa.path.local)
        why = f"{identity} wants to speak to {wanted}, we are {ours} for it"
        raise core.give_up(sa, "unknown-identity", Step.IDENTITY, _FAILED, why)
    why = f"{sa.chosen.keywords} was agreed, which {known[0].name} does not accept"
    raise core.give_up(sa, "no-proposal", Step.IDENTITY, NotifyType.NO_PROPOSAL_CHOSEN, why)
