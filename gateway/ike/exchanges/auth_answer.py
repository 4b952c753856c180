"""IKE_AUTH with the first CHILD_SA as responder (RFC 7296 1.2, 2.4, 2.15, 2.16, 2.21.2); `auth` begins it.

The script waits for the next IKE_AUTH request by `respond`, so that several exchanges read as one ladder. EAP takes
its place in the loop of `_hear_proof`, where a round of the peer's is EAP: it answers with our proof and the first EAP
request, and gives the request with the AUTH payload that the peer's MSK made, and our own.
"""

from functools import partial

from gateway.ike import auth_lifetime, childless, cluster, fruitless, quantum
from gateway.ike.attempts import Step
from gateway.ike.authentication import ppk, proof, trust
from gateway.ike.authentication.claims import claimed, note_identities, note_proof, ours
from gateway.ike.authentication.eap import as_responder
from gateway.ike.authentication.evidence import confirm
from gateway.ike.authentication.selection import Caller, find_peer
from gateway.ike.core import Core
from gateway.ike.exchanges import child_answer, configuration, mobike
from gateway.ike.exchanges.crash_detection import offer_token, take_token
from gateway.ike.exchanges.intermediate import check_complete
from gateway.ike.exchanges.redirect import elsewhere
from gateway.ike.exchanges.resume import check_resumed, grant
from gateway.ike.flow import respond
from gateway.ike.lifecycle import establish
from gateway.ike.people import admit
from gateway.ike.sa import IkeSa, Lifecycle
from gateway.ike.tickets import Ticket
from gateway.ike.uniqueness import initial_contact, resolve_duplicates
from gateway.policy.authentication import Method
from gateway.policy.peers import Peer
from gateway.policy.users import user_identity
from gateway.wire import payloads as wire
from gateway.wire.message import Message
from gateway.wire.numbers import NotifyType
from gateway.wire.outcome import Reject

_FAILED = NotifyType.AUTHENTICATION_FAILED


async def answer_auth(core: Core, sa: IkeSa, request: Message) -> list[wire.Payload]:
    """Prove both ends as responder, and make the first CHILD_SA; the payloads of the last answer.

    --> HDR, SK {IDi, [IDr,] AUTH, SAi2, TSi, TSr}
    <-- HDR, SK {IDr, AUTH, SAr2, TSi, TSr}

    Where the peer has several rounds, SAi2, TSi and TSr are in the first request, and SAr2 in the last answer.
    """
    check_complete(core, sa)
    sent, caller = _caller(core, sa, request)
    note_identities(sa, caller.identity)
    if ticket := core.extensions.resuming.pop(sa.our_spi, None):
        response = _resume(core, sa, ticket, sent, request)
    else:
        peer = find_peer(core, sa, caller)
        sa.local_id = ours(sa, peer, caller.wanted)
        note_identities(sa, caller.identity)
        response = await _hear_proof(core, sa, peer, request, sent)
    sa.remote_id = user_identity(sa.eap_identity) if sa.eap_identity else caller.identity
    note_identities(sa, sa.remote_id)
    if mobike.nat_is_unexpected(core, request, sa.path):
        why = f"{caller.identity} allows no NAT, and there is one on the way (UNEXPECTED_NAT_DETECTED)"
        raise core.give_up(sa, "peer-error", Step.NAT, NotifyType.UNEXPECTED_NAT_DETECTED, why)
    confirm(core, sa)
    quantum.check(core, sa)
    admit(core, sa)
    return response + _conclude(core, sa, request)


def _caller(core: Core, sa: IkeSa, request: Message) -> tuple[wire.IDi, Caller]:
    """Who calls, and whom it wants to meet. Raises Close."""
    try:
        sent = request.one(wire.IDi)
        auth = request.maybe(wire.AUTH)
        asked = request.maybe(wire.IDr)
    except Reject as reject:
        raise core.give_up(sa, "syntax", Step.IDENTITY, reject.notify, reject.why) from None
    return sent, Caller(claimed(core, sa, sent), claimed(core, sa, asked) if asked else None, auth)


def _resume(core: Core, sa: IkeSa, ticket: Ticket, sent: wire.IDi, request: Message) -> list[wire.Payload]:
    auth = check_resumed(core, sa, ticket, sent, request.maybe(wire.IDr), request.maybe(wire.AUTH))
    core.reach(sa, Step.IDENTITY, f"{ticket.theirs} proved itself by its ticket")
    return [wire.IDr(ticket.ours.id_type, ticket.ours.data), auth]


async def _hear_proof(core: Core, sa: IkeSa, peer: Peer, request: Message, sent: wire.IDi) -> list[wire.Payload]:
    """Each round of the peer's (RFC 4739 2.4), and our proof in the first answer. What the last answer begins with.

    --> HDR, SK {IDi, AUTH, N(ANOTHER_AUTH_FOLLOWS), …}   <-- HDR, SK {IDr, AUTH}
    --> HDR, SK {IDi, AUTH}                               <-- HDR, SK {…}
    """
    assert sa.local_id is not None
    trust.note_wish(sa, request)
    answer: list[wire.Payload] = [wire.IDr(sa.local_id.id_type, sa.local_id.data)]
    if peer.remote_auth[0].method == Method.EAP:  # its AUTH payload comes later, and its pre-shared key with that
        ppk.demand(core, sa, peer)
    else:
        answer += ppk.accept(core, sa, peer, request)
    for number, wanted in enumerate(peer.remote_auth, 1):
        identity = claimed(core, sa, sent)
        alone = number == 1 and as_responder.is_alone(core, sa, peer, request)
        how = "" if wanted.method == Method.EAP else await proof.check(core, sa, wanted, sent, request)
        if number == 1 and not alone:
            answer += proof.prove(core, sa, peer.local_auth[0], identity)
        if wanted.method == Method.EAP:
            accept = ppk.accept if number == 1 else partial(ppk.stay, sa.peer or peer)
            heard = await as_responder.hear(core, sa, wanted, sent, request, answer, alone=alone, accept=accept)
            request, answer, identity, how = heard.request, heard.answer, heard.identity, heard.how
        note_proof(core, sa, f"{identity} proved itself {how}")
        follows = request.notify(NotifyType.ANOTHER_AUTH_FOLLOWS) is not None
        if follows is not (number < len(peer.remote_auth)):
            rounds = f"{len(peer.remote_auth)} rounds" if len(peer.remote_auth) > 1 else "one round"
            why = f"{identity} proves itself in {'more' if follows else 'fewer'} rounds than the {rounds} we expect"
            raise core.give_up(sa, "auth-method", Step.IDENTITY, _FAILED, why)
        if follows:
            request = await respond(answer)
            sent, answer = request.one(wire.IDi), []
    return answer


def _conclude(core: Core, sa: IkeSa, request: Message) -> list[wire.Payload]:
    """Both ends are proven: what we can do, and the first child."""
    response = offer_token(core, sa)
    take_token(sa, request)
    if mobike.agree(core, sa, request, leads=False):
        response += mobike.offer(core, sa)
    response += cluster.agree(sa, request)
    assert sa.peer is not None
    nonces, sent_on = (sa.nonce_i, sa.nonce_r), elsewhere(core, sa, sa.peer)
    establish(core, sa)
    if sent_on:
        childless.stands(core, sa)
        return response + sent_on
    response += auth_lifetime.tell(core, sa)
    if request.notify(NotifyType.INITIAL_CONTACT):
        initial_contact(core, sa)
    resolve_duplicates(core, sa)
    if sa.state != Lifecycle.ESTABLISHED:  # an older one stays: two would carry the same traffic
        return [*response, wire.Notify(0, b"", NotifyType.NO_ADDITIONAL_SAS, b"")]
    response += grant(core, sa, request)
    return response + _first_child(core, sa, request, nonces)


def _first_child(core: Core, sa: IkeSa, request: Message, nonces: tuple[bytes, bytes]) -> list[wire.Payload]:
    """The child's own failure leaves the IKE SA standing (RFC 7296 1.2)."""
    if request.maybe(wire.SA) is None:
        childless.stands(core, sa)
        return []
    if sa.state != Lifecycle.ESTABLISHED:  # it goes at once: its child would take policies from the one that stays
        return [wire.Notify(0, b"", NotifyType.NO_ADDITIONAL_SAS, b"")]
    given: list[wire.Payload] = []
    try:
        given = configuration.answer(core, sa, request)
        return given + child_answer.answer(core, sa, request, nonces)
    except Reject as reject:
        fruitless.watch(core, sa, reject.why)
        return [*given, wire.Notify(0, b"", reject.notify, reject.data)]
