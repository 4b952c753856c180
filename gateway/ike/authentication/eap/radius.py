"""EAP by RADIUS: what the peer says goes to a server, and its answer to the peer; any method will do (RFC 3579).

The server alone knows the method. Here is what must hold for all: who may speak, that each answer is for its request,
an end, and whose name comes in.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from gateway.ike.authentication.eap.gate import Gate, Proven, read_name
from gateway.ike.authentication.eap.talk import MAX_ROUNDS, Carry, Failed, read
from gateway.ike.flow import NoAnswer, ask_outside
from gateway.policy.users import User
from gateway.policy.visits import Visit
from gateway.wire.numbers import EapCode, EapType, name_of
from gateway.wire.payloads import EAP

KEYWORD = "radius"
"""Among the methods of a round: all of EAP is a server's."""
PATIENCE = 30.0
"""Seconds for one answer: several servers may be tried, each several times."""


@dataclass(frozen=True, slots=True)
class AskRadius:
    """What does a server say to this EAP packet of the peer's? `state` is the last challenge's, None at first.

    `address` and `ours` are the two ends with their ports, `nas` is what we are called.
    """

    identity: bytes
    eap: bytes = field(repr=False)
    address: str
    ours: str
    nas: str
    state: object = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class RadiusChallenge:
    """The conversation goes on: `eap` is for the peer."""

    eap: bytes = field(repr=False)
    state: object = field(repr=False)


@dataclass(frozen=True, slots=True)
class RadiusAccept:
    """The peer may come in as `user`; `msk` is empty where the method makes no key."""

    user: str
    msk: bytes = field(repr=False)
    addresses: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    grant: object = field(default=None, repr=False)
    """All that the server granted, for whom the visit is told to."""


@dataclass(frozen=True, slots=True)
class RadiusReject:
    """The peer stays out; `why` is a sentence."""

    why: str


async def pass_through(
    carry: Carry, gate: Gate, identifier: int, question: AskRadius, claim: Callable[[str], None]
) -> Proven:
    """Who the server says the peer is. `claim` hears what the peer says it is called. Raises Failed.

    <-- Request/Identity
    --> Response/Identity(name)        Access-Request -->
    <-- Request/…                      <-- Access-Challenge
    --> Response/…                     Access-Request -->
    <-- Success                        <-- Access-Accept, with the key
    """
    packet, booked, kind = EAP(EapCode.REQUEST, identifier, bytes((EapType.IDENTITY,))), "", 0
    identity, state = b"", None
    for _ in range(MAX_ROUNDS):
        got = _answer_to(packet, await carry(packet))
        if not identity:
            identity = got.method_data
            name = read_name(identity)
            claim(name)
            booked = gate.attempt(name)
        asked = replace(question, identity=identity, eap=got.octets(), state=state)
        try:
            answer = await _ask(asked)
        except NoAnswer as silent:
            gate.right(booked)  # nobody has judged him: a server that is down is not to lock out its users
            raise Failed("radius-silent", f"no RADIUS server answers: {silent.why}") from None
        if isinstance(answer, RadiusReject):
            raise Failed("eap-radius", answer.why)
        if isinstance(answer, RadiusAccept):
            if kind < EapType.MD5_CHALLENGE:
                raise Failed("eap-radius", "the RADIUS server accepts a name alone: no EAP method has proven it")
            gate.right(booked)
            name = read_name(answer.user.encode())
            visit = Visit(name, question.address, question.ours, question.nas, answer.grant)
            return Proven(name, kind, answer.msk, User(name, addresses=answer.addresses, groups=answer.groups), visit)
        packet, state = _request(answer.eap), answer.state
        kind = packet.method or kind
    raise Failed("eap-protocol", f"the RADIUS server did not come to an end in {MAX_ROUNDS} rounds")


async def _ask(question: AskRadius) -> RadiusChallenge | RadiusAccept | RadiusReject:
    """Raises NoAnswer."""
    answer = await ask_outside(question, PATIENCE)
    assert isinstance(answer, RadiusChallenge | RadiusAccept | RadiusReject)
    return answer


def _answer_to(asked: EAP, got: EAP) -> EAP:
    """What the server does not see, as its packets are for the peer alone: that the answer is one, and to this."""
    if got.code != EapCode.RESPONSE or got.method is None:
        raise Failed("eap-protocol", f"the peer sent EAP {name_of(EapCode, got.code)} where a response is due")
    if got.identifier != asked.identifier:
        raise Failed("eap-protocol", "the peer's EAP response is for another request than the server's (identifier)")
    if asked.method == EapType.IDENTITY and got.method != EapType.IDENTITY:
        raise Failed("eap-protocol", "the peer does not say who it is")
    return got


def _request(octets: bytes) -> EAP:
    """The server's packet for the peer. Success comes with Access-Accept or it is none (RFC 3579 2.6.3)."""
    packet = read(lambda data: EAP.read(data, 0, len(data)), octets)
    if packet.code != EapCode.REQUEST or packet.method is None:
        raise Failed("eap-radius", "the RADIUS server's challenge holds no EAP request")
    return packet
