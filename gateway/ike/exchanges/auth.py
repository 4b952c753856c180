"""IKE_AUTH with the first CHILD_SA as initiator (RFC 7296 1.2, 2.4, 2.15, 2.16, 2.21.2); `auth_answer` answers it.

Each end proves itself in the rounds that the peer's configuration names, `local_auth` and `remote_auth`; all that one
round needs is in `gateway.ike.authentication`: `proof` chooses the module of its method. EAP takes its place in the
loop of `_prove_ourselves`, where a round of ours is EAP: it sends `request` without AUTH, checks the responder's proof
in the first answer, and gives the last one.
"""

from functools import partial

from gateway.ike import attempt_log, auth_lifetime, auth_methods, childless, cluster, quantum, redirects
from gateway.ike.abilities import Ability
from gateway.ike.attempts import Step
from gateway.ike.authentication import ppk, proof, refused, resumed, trust
from gateway.ike.authentication.claims import claimed, note_identities, note_proof, ours
from gateway.ike.authentication.eap import as_initiator
from gateway.ike.authentication.eap import proof as eap_proof
from gateway.ike.authentication.evidence import confirm
from gateway.ike.core import Core
from gateway.ike.exchanges import child as children
from gateway.ike.exchanges import mobike
from gateway.ike.exchanges.crash_detection import offer_token, take_token
from gateway.ike.exchanges.errors import errors_in
from gateway.ike.exchanges.informational import farewell
from gateway.ike.exchanges.resume import request_ticket, take_ticket
from gateway.ike.flow import ask_peer
from gateway.ike.lifecycle import establish
from gateway.ike.sa import IkeSa, Lifecycle
from gateway.ike.tickets import KeptTicket
from gateway.ike.uniqueness import resolve_duplicates
from gateway.ike.wishes import unwanted
from gateway.policy.authentication import LocalAuth, Method
from gateway.policy.identities import Identity
from gateway.policy.peers import Child, Peer
from gateway.wire import payloads as wire
from gateway.wire.message import Message
from gateway.wire.numbers import ExchangeType, NotifyType, name_of
from gateway.wire.outcome import Close, Reject

_FAILED = NotifyType.AUTHENTICATION_FAILED
_OF_CHILD = frozenset(
    {
        NotifyType.NO_PROPOSAL_CHOSEN,
        NotifyType.SINGLE_PAIR_REQUIRED,
        NotifyType.NO_ADDITIONAL_SAS,
        NotifyType.INTERNAL_ADDRESS_FAILURE,
        NotifyType.FAILED_CP_REQUIRED,
        NotifyType.TS_UNACCEPTABLE,
    }
)
"""Errors that leave an IKE SA without its first child (RFC 7296 1.2)."""
_ANOTHER = wire.Notify(0, b"", NotifyType.ANOTHER_AUTH_FOLLOWS, b"")


async def authenticate(core: Core, sa: IkeSa, wanted: Child | None, kept: KeptTicket | None = None) -> str | None:
    """Prove both ends as initiator, and make the first CHILD_SA; none where `wanted` is None (RFC 6023 5).

    With the ticket that we came back with, the old session's keys are the proof (RFC 5723 4.3.3).

    --> HDR, SK {IDi, [N(INITIAL_CONTACT),] [IDr,] AUTH, [SAi2, TSi, TSr]}
    <-- HDR, SK {IDr, AUTH, [SAr2, TSi, TSr]}   or the IKE SA alone with an error notify for the child

    The answer is None, or another gateway to which the responder, now proven, sends us (RFC 5685 6).
    """
    assert sa.peer is not None
    request = _first_request(core, sa, sa.peer, kept)
    offer = children.Offer.make(core, sa, wanted) if wanted else None
    response, host = await _prove(core, sa, request, offer, kept)
    sa.abilities |= Ability.CALLED
    _heed(core, sa, response)
    nonces = sa.nonce_i, sa.nonce_r
    establish(core, sa)
    take_ticket(core, sa, response)
    if host:
        if offer:
            offer.withdraw(core)
        if sa.attempt:
            attempt_log.succeed(sa.attempt, core.now)
        return host
    resolve_duplicates(core, sa)
    if offer is None:
        childless.stands(core, sa)
    elif sa.state != Lifecycle.ESTABLISHED:  # another SA with this peer stays in place of this one
        offer.withdraw(core)
    elif why := unwanted(core, sa, offer.config.name):
        children.forgo(core, sa, offer, response, why)
    else:
        children.conclude(core, sa, offer, response, nonces)
    return None


async def _prove(
    core: Core, sa: IkeSa, request: list[wire.Payload], offer: children.Offer | None, kept: KeptTicket | None
) -> tuple[Message, str | None]:
    """Both ends prove themselves; the last answer, and where it sends us. The offer is withdrawn when it fails."""
    assert sa.peer is not None
    further = offer.notifies + offer.payloads if offer else []
    try:
        if kept:
            response = await _prove_by_ticket(core, sa, kept, request, further)
        else:
            response = await _prove_ourselves(core, sa, sa.peer, request, further)
        confirm(core, sa)
        quantum.check(core, sa)
        return response, redirects.target(core, sa, response)
    except BaseException as error:
        if offer:
            offer.withdraw(core)
        if kept and isinstance(error, Close | Reject):
            core.extensions.tickets.unproven(sa.peer.name)
        if isinstance(error, Close) and error.notify is not None:
            farewell(core, sa, error.notify)
        raise


def _first_request(core: Core, sa: IkeSa, peer: Peer, kept: KeptTicket | None) -> list[wire.Payload]:
    """Who we are, and whom we want to meet."""
    sa.local_id = kept.ours if kept else ours(sa, peer)
    expected = kept.theirs if kept else peer.remote_id.exact
    note_identities(sa, expected)
    request: list[wire.Payload] = [wire.IDi(sa.local_id.id_type, sa.local_id.data)]
    if core.established(peer.name) is None:
        request.append(wire.Notify(0, b"", NotifyType.INITIAL_CONTACT, b""))
    if expected:
        request.append(wire.IDr(expected.id_type, expected.data))
    return request


def _about_us(core: Core, sa: IkeSa, peer: Peer) -> list[wire.Payload]:
    """What we can do, beside our first proof. Raises Close where we are to do more than the responder takes."""
    request = offer_token(core, sa) + request_ticket(sa) + mobike.offer(core, sa) + cluster.offer()
    if len(peer.local_auth) > 1 and not auth_methods.takes_several(sa):
        why = "we are to prove ourselves in several rounds, which the peer does not take (RFC 4739)"
        raise core.give_up(sa, "auth-method", Step.IDENTITY, None, why)
    if len(peer.local_auth) > 1:
        request.append(auth_methods.SEVERAL)
    request += trust.requests(core.snapshot, [peer])
    return request + (auth_methods.announced_by([peer]) if auth_methods.announced(sa) else [])


async def _prove_ourselves(
    core: Core, sa: IkeSa, peer: Peer, request: list[wire.Payload], further: list[wire.Payload]
) -> Message:
    """One exchange for each round of ours (RFC 4739 2.3); the responder proves itself in the first. Its last answer.

    --> HDR, SK {IDi, AUTH, N(ANOTHER_AUTH_FOLLOWS), …}   <-- HDR, SK {IDr, AUTH}
    --> HDR, SK {IDi, AUTH}                               <-- HDR, SK {…}

    Raises Close.
    """
    assert sa.local_id is not None
    further = _about_us(core, sa, peer) + further
    identity = wire.IDi(sa.local_id.id_type, sa.local_id.data)
    alone = _proven_by_eap_alone(peer)
    for number, auth in enumerate(peer.local_auth, 1):
        more: list[wire.Payload] = [_ANOTHER] if number < len(peer.local_auth) else []
        if auth.method != Method.EAP:
            make = partial(proof.prove, core, sa, auth, sa.remote_id or peer.remote_id.exact)
            request += (ppk.prove(core, sa, make) if number == 1 else make()) + more
        elif alone:
            request.append(as_initiator.ONLY)
        response = await ask_peer(ExchangeType.IKE_AUTH, request + further)
        if number == 1:
            ppk.settle(core, sa, response)
            sent = await _check_responder(core, sa, peer, response, alone=alone)
        elif any(notify.type not in _OF_CHILD for notify in errors_in(response)):
            _check_accepted(core, sa, response)
        if auth.method == Method.EAP:
            response = await _prove_by_eap(core, sa, auth, sent, response, more, first=number == 1)
        request, further = [identity], []
    if sa.remote_id is None:
        why = f"{peer.name} is to prove itself by EAP alone, and no round of ours is EAP"
        raise core.give_up(sa, "auth-method", Step.IDENTITY, _FAILED, why)
    return response


def _proven_by_eap_alone(peer: Peer) -> bool:
    """Whether the responder proves itself by our EAP, and by nothing else (RFC 5998)."""
    return peer.remote_auth[0].method == Method.EAP


async def _prove_by_eap(
    core: Core, sa: IkeSa, auth: LocalAuth, sent: wire.IDr, response: Message, more: list[wire.Payload], *, first: bool
) -> Message:
    """A round that is EAP, from its first request in `response` to the AUTH payloads over its key (RFC 7296 2.16).

    --> HDR, SK {AUTH, [N(PPK_IDENTITY, PPK_ID), [N(NO_PPK_AUTH)],] [N(ANOTHER_AUTH_FOLLOWS)]}
    <-- HDR, SK {AUTH, …, [N(PPK_IDENTITY)]}
    """
    assert sa.peer is not None
    server = Identity(sent.id_type, sent.data)
    alone = _proven_by_eap_alone(sa.peer)
    accepted = partial(_check_accepted, core, sa)
    proven = await as_initiator.prove(core, sa, auth, server, response, accepted, alone=alone)

    def make() -> list[wire.Payload]:
        return [eap_proof.prove(sa, proven.msk)]

    ours = ppk.prove(core, sa, make) if first else make()
    response = await ask_peer(ExchangeType.IKE_AUTH, ours + more)
    if any(notify.type not in _OF_CHILD for notify in errors_in(response)):
        _check_accepted(core, sa, response)
    ppk.settle(core, sa, response)
    as_initiator.check(core, sa, proven, sent, response)
    if alone and sa.remote_id is None:
        sa.remote_id = server
        note_proof(core, sa, f"{server} proved itself by EAP alone")
    return response


async def _prove_by_ticket(
    core: Core, sa: IkeSa, kept: KeptTicket, request: list[wire.Payload], further: list[wire.Payload]
) -> Message:
    """The old session's keys prove both ends (RFC 5723 4.3.3)."""
    assert sa.peer is not None
    short = sa.peer.name in core.extensions.tickets.short
    request = [*request, resumed.prove(sa, kept.ours, short=short), *_about_us(core, sa, sa.peer)]
    response = await ask_peer(ExchangeType.IKE_AUTH, request + further)
    sent, identity = _answering(core, sa, response)
    auth = response.one(wire.AUTH)
    if identity != kept.theirs or not resumed.verify(sa, sent, auth, short=short):
        why = f"{identity} did not prove that it gave us the ticket"
        raise core.give_up(sa, "ticket", Step.IDENTITY, _FAILED, why)
    sa.remote_id, sa.proof_ends = identity, kept.proof_ends
    core.reach(sa, Step.IDENTITY, f"{identity} proved that it gave us the ticket")
    return response


def _heed(core: Core, sa: IkeSa, response: Message) -> None:
    """What a responder that is proven tells beside its proof."""
    take_token(sa, response)
    mobike.agree(core, sa, response, leads=True)
    auth_lifetime.heed(core, sa, response)
    cluster.agree(sa, response)


def _answering(
    core: Core, sa: IkeSa, response: Message, due: type[wire.Payload] = wire.AUTH
) -> tuple[wire.IDr, Identity]:
    """Who answers our first request, as it says itself. Raises Close when it is an error."""
    if response.maybe(due) is None:
        _check_accepted(core, sa, response)
        what = due.__name__
        raise Reject(NotifyType.INVALID_SYNTAX, f"the peer's IKE_AUTH response has neither {what} nor an error")
    sent = response.one(wire.IDr)
    identity = claimed(core, sa, sent)
    note_identities(sa, identity)
    return sent, identity


async def _check_responder(core: Core, sa: IkeSa, peer: Peer, response: Message, *, alone: bool) -> wire.IDr:
    """Is it the peer, and can it prove so? Where EAP `alone` proves it, that is still to come. Raises Close."""
    sent, identity = _answering(core, sa, response, wire.EAP if alone else wire.AUTH)
    if not peer.remote_id.matches(identity):
        why = f"the peer says it is {identity}, we expect {peer.remote_id}"
        raise core.give_up(sa, "unknown-identity", Step.IDENTITY, _FAILED, why)
    if not alone:
        how = await proof.check(core, sa, peer.remote_auth[0], sent, response)
        sa.remote_id = identity
        core.reach(sa, Step.IDENTITY, f"{identity} proved itself {how}")
    return sent


def _check_accepted(core: Core, sa: IkeSa, response: Message) -> None:
    """The responder ended it: AUTHENTICATION_FAILED can mean a wrong key or an unknown identity, say both."""
    found = errors_in(response)
    notify = next((one for one in found if one.type not in _OF_CHILD), next(iter(found), None))
    if notify is None:
        return
    if notify.type == _FAILED and (why := auth_methods.unwelcome(sa)):
        raise core.give_up(sa, "auth-method", Step.IDENTITY, None, f"{why} (AUTHENTICATION_FAILED)")
    if notify.type == _FAILED:
        raise refused.refuse(core, sa)
    why = f"the peer answered {name_of(NotifyType, notify.type)} to IKE_AUTH"
    raise core.give_up(sa, "peer-error", Step.IDENTITY, None, why)
