"""A round of IKE_AUTH in which the peer proves itself by EAP, and we are the server (RFC 7296 2.16, RFC 5998)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gateway.ike.attempts import Step
from gateway.ike.authentication.eap import certificates, proof, radius, server
from gateway.ike.authentication.eap.gate import Gate, Proven
from gateway.ike.authentication.eap.methods import Method as EapMethod
from gateway.ike.authentication.eap.methods import chosen
from gateway.ike.authentication.eap.radius import AskRadius
from gateway.ike.authentication.eap.talk import Failed, ServerTalk, clean, method_name
from gateway.ike.core import Core
from gateway.ike.effects import CodeUsed
from gateway.ike.flow import respond
from gateway.ike.sa import IkeSa
from gateway.policy.authentication import Method, RemoteAuth
from gateway.policy.identities import Identity
from gateway.policy.peers import Peer
from gateway.policy.users import User, user_identity
from gateway.wire import payloads as wire
from gateway.wire.message import Message
from gateway.wire.numbers import EapCode, NotifyType
from gateway.wire.outcome import Close, Reject

_FAILED = NotifyType.AUTHENTICATION_FAILED
LONGEST = 120.0
"""Seconds that a whole conversation may take: nobody is known yet, and it holds a half-open IKE SA."""


@dataclass(frozen=True, slots=True)
class Heard:
    """The round is over: the request with the peer's AUTH payload, and ours for its answer."""

    request: Message
    answer: list[wire.Payload]
    identity: Identity
    how: str


async def hear(
    core: Core,
    sa: IkeSa,
    wanted: RemoteAuth,
    sent: wire.Identification,
    request: Message,
    first: Sequence[wire.Payload],
    *,
    alone: bool,
    accept: Callable[[Core, IkeSa, Peer, Message], list[wire.Payload]],
) -> Heard:
    """The peer's proof by EAP, after an answer that begins with `first`; `alone` where that holds no proof of ours.

    `accept` hears what comes with the AUTH payload, before that is checked, and gives more for the last answer.

    --> HDR, SK {IDi, SAi2, TSi, TSr}
    <-- HDR, SK {IDr, AUTH, EAP(Request)}      without AUTH in EAP-only authentication (RFC 5998 3)
    --> HDR, SK {EAP(Response)}                and so on
    <-- HDR, SK {EAP(Success)}
    --> HDR, SK {AUTH}
    <-- HDR, SK {AUTH, …}                      the answer is the caller's

    Raises Close, with EAP Failure for the peer.
    """
    if request.maybe(wire.AUTH) is not None:
        why = "the peer proves itself by something else where EAP is due: it sent an AUTH payload"
        raise core.give_up(sa, "auth-method", Step.IDENTITY, _FAILED, why)
    assert sa.peer is not None
    talk = _Talk(core, first)
    gate = _gate(core, sa, wanted)
    proven, identity = await _converse(core, sa, wanted, talk, gate, alone=alone)
    request = await respond([wire.EAP(EapCode.SUCCESS, talk.last)])
    more = accept(core, sa, sa.peer, request)
    auth = request.maybe(wire.AUTH)
    if auth is None or not proof.verify(sa, proven.msk, sent, auth):
        why = f"{identity} spoke EAP, but its AUTH payload is not made with the key that came of it"
        raise core.give_up(sa, "eap-key", Step.IDENTITY, _FAILED, why)
    _settle(core, sa, gate, proven)
    return Heard(request, [proof.prove(sa, proven.msk), *more], identity, f"by {method_name(proven.kind)}")


async def _converse(
    core: Core, sa: IkeSa, wanted: RemoteAuth, talk: "_Talk", gate: Gate, *, alone: bool
) -> tuple[Proven, Identity]:
    """EAP from its first request on: what was proven, and who did. Raises Close, with EAP Failure for the peer."""
    serving = ServerTalk(talk.carry, core.random(1)[0])
    claimed = ""

    def doomed(failed: Failed) -> None:
        _tell(core, sa, claimed, failed)

    def claim(name: str) -> None:
        nonlocal claimed
        claimed = name
        if sa.attempt:
            sa.attempt.eap_identity = name

    gate.doomed = doomed
    try:
        if radius.KEYWORD in wanted.eap_methods:
            question = _for_radius(sa, alone=alone)
            proven = await radius.pass_through(talk.carry, gate, core.random(1)[0], question, claim)
        else:
            claim(await server.ask_identity(serving))
            proven = await server.admit(serving, gate, claimed, _methods(wanted, alone=alone))
        return proven, await _place(core, sa, gate, wanted, proven)
    except Failed as failed:
        closing = _tell(core, sa, claimed, failed)
        core.count("eap-refused")
        closing.parting = wire.EAP(EapCode.FAILURE, talk.last)
        raise closing from None


def _settle(core: Core, sa: IkeSa, gate: Gate, proven: Proven) -> None:
    """The SA is for who proved himself, of whom another thing may hold than when he began. Raises Close."""
    sa.eap_identity, sa.visit = proven.identity, proven.visit or sa.visit
    user = proven.user or User(proven.identity)
    sa.guest = None if gate.users.get(user.name) is user else user
    known = core.snapshot.users.get(user.name)
    if sa.guest is None and known is not None and known.proof != user.proof:
        why = f"the user {user.name} has another password"
        raise core.give_up(sa, "barred", Step.IDENTITY, _FAILED, why)


def is_alone(core: Core, sa: IkeSa, peer: Peer, request: Message) -> bool:
    """Whether we prove ourselves by the peer's EAP and nothing else, which it must have allowed. Raises Close."""
    if peer.local_auth[0].method != Method.EAP:
        return False
    if request.notify(NotifyType.EAP_ONLY_AUTHENTICATION) is None:
        why = f"the peer does not allow that we prove ourselves by EAP alone, as {peer.name} has it (RFC 5998)"
        raise core.give_up(sa, "auth-method", Step.IDENTITY, _FAILED, why)
    return True


class _Talk:
    """How packets get over: each in an answer of ours, and back in the peer's next request."""

    def __init__(self, core: Core, first: Sequence[wire.Payload]) -> None:
        self._core = core
        self._first = list(first)
        self._until = core.now + LONGEST
        self.last = 0
        """The identifier of our last packet, which Success and Failure have, too (RFC 3748 4.2)."""

    async def carry(self, packet: wire.EAP) -> wire.EAP:
        answer, self._first, self.last = [*self._first, packet], [], packet.identifier
        request = await respond(answer)
        if self._core.now > self._until:
            raise Failed("eap-protocol", f"EAP did not come to an end in {LONGEST:.0f} seconds")
        try:
            return request.one(wire.EAP)
        except Reject as reject:
            raise Failed("eap-protocol", f"the peer left EAP before its end: {reject.why}") from None


def _methods(wanted: RemoteAuth, *, alone: bool) -> list[EapMethod]:
    """Those that we offer; where nothing but EAP proves us, those that can (RFC 5998 4)."""
    found = [method for method in chosen(wanted.eap_methods) if method.alone or not alone]
    if not found:
        raise Failed("eap-method", "no EAP method of ours is fit for this: EAP alone needs one that proves both ends")
    return found


def _for_radius(sa: IkeSa, *, alone: bool) -> AskRadius:
    assert sa.local_id is not None
    if alone:
        raise Failed("eap-method", "only a method of our own is known to prove us by EAP alone, not a RADIUS server's")
    host = f"[{sa.path.local}]" if ":" in sa.path.local else sa.path.local
    return AskRadius(b"", b"", sa.path.text, f"{host}:{4500 if sa.path.marked else 500}", sa.local_id.text)


def _gate(core: Core, sa: IkeSa, wanted: RemoteAuth) -> Gate:
    assert sa.local_id is not None
    gate = Gate(
        core.snapshot.users,
        core.extensions.eap_tries,
        sa.path.remote,
        lambda: core.now,
        lambda: core.extensions.tickets.unix(core.now),
        core.random,
        sa.local_id.text.encode()[:64],
    )
    gate.spent = lambda user, step: core.out.append(CodeUsed(user, step))
    certificates.arm_server(core, sa, gate, wanted)
    return gate


async def _place(core: Core, sa: IkeSa, gate: Gate, wanted: RemoteAuth, proven: Proven) -> Identity:
    """Policy looks at who has proven himself, not at what IDi said before (RFC 7296 2.16).

    Another entry that asks for and gives the same proofs is his where the one that IDi led to is not for him.
    """
    peer, identity = sa.peer, user_identity(proven.identity)
    assert peer is not None
    await certificates.settle(core, sa, gate, wanted)
    if peer.remote_id.matches(identity):
        return identity
    proofs = peer.local_id, peer.local_auth, peer.remote_auth, peer.proposals
    for other in core.snapshot.peers_for(sa.path.local, sa.path.remote):
        same = proofs == (other.local_id, other.local_auth, other.remote_auth, other.proposals)
        if same and other.remote_id.matches(identity):
            core.assign(sa, other)
            return identity
    who = clean(proven.identity.encode())
    raise Failed("unknown-identity", f"{who} has proven who he is, but {peer.name} is for {peer.remote_id}")


def _tell(core: Core, sa: IkeSa, claimed: str, failed: Failed) -> Close:
    """The attempt knows why; an AUTHENTICATION_FAILED is not sent beside EAP's own end (RFC 7296 2.21)."""
    who = clean(claimed.encode()) or "the peer"
    return core.give_up(sa, failed.cause, Step.IDENTITY, None, f"EAP with {who} failed: {failed.why}")
