"""IKE_SA_INIT, both roles (RFC 7296 1.2, 2.6, 2.7, 2.23)."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from gateway.crypto import groups, suites
from gateway.crypto.schemes import HASHES
from gateway.ike import attempt_log, auth_methods, childless, puzzles, quantum, redirects
from gateway.ike.abilities import Ability
from gateway.ike.attempts import Step
from gateway.ike.authentication import ppk, trust
from gateway.ike.core import Core
from gateway.ike.deferred import Deferred
from gateway.ike.exchanges import intermediate
from gateway.ike.exchanges.auth_puzzle import solve_for_auth
from gateway.ike.exchanges.errors import error_in
from gateway.ike.flow import ask_peer, ask_solution
from gateway.ike.lifecycle import protect
from gateway.ike.nat import detect_nat, must_encapsulate, nat_detection
from gateway.ike.nonces import NONCE_OCTETS, check_nonce
from gateway.ike.path import IKE_PORT, NAT_PORT, Path
from gateway.ike.protect import refuse_unknown_critical
from gateway.ike.sa import IkeSa
from gateway.policy.choice import Chosen, accepted
from gateway.policy.peers import Peer
from gateway.policy.proposals import Proposal
from gateway.policy.quantum import Demand
from gateway.wire import payloads as wire
from gateway.wire.message import Message, build
from gateway.wire.numbers import ExchangeType, NotifyType, name_of
from gateway.wire.outcome import Close, Drop

ROUNDS = 6
"""How often an opening is begun again because the responder wants something first."""
_COOKIE_OCTETS = 64  # RFC 7296 2.6
_SIGNATURE_HASHES = b"".join(int(algorithm).to_bytes(2) for algorithm in HASHES)


async def open_sa(core: Core, sa: IkeSa, came_from: str = "", *, tries: int = 0) -> str | None:
    """Negotiate algorithms and keys as initiator; where another gateway (`came_from`) sent us, say so.

    --> HDR(SPIi, 0), [N(COOKIE),] SAi1, KEi, Ni, N(NAT_DETECTION_*), N(SIGNATURE_HASH_ALGORITHMS), …
    <-- HDR(SPIi, SPIr), SAr1, KEr, Nr, …   or N(COOKIE)   or N(INVALID_KE_PAYLOAD)   or N(REDIRECT)

    The answer is None when there are keys, or the gateway that we are sent on to.
    """
    assert sa.peer is not None
    peer = sa.peer
    proposals = quantum.offer(core, peer)
    quantum.check_means(core, sa, proposals)
    offered = {row.number for proposal in proposals for row in proposal.ke}
    method = proposals[0].ke[0].number
    offer = groups.offer(method, core.random)
    sa.nonce_i = core.random(NONCE_OCTETS)
    front: list[wire.Payload] = []
    sa.abilities = Ability.IS_SENT_ON if peer.redirect else Ability.NONE
    for _ in range(ROUNDS):
        request = front + _request(core, sa, proposals, method, offer.public)
        response = await ask_peer(ExchangeType.IKE_SA_INIT, request + _about_redirects(sa, came_from), tries=tries)
        core.reach(sa, Step.REACH, f"{sa.path.text} answers")
        if host := redirects.target(core, sa, response):
            return host
        if wanted := response.notify(NotifyType.COOKIE):
            if not 1 <= len(wanted.data) <= _COOKIE_OCTETS:
                why = f"the peer sent a cookie of {len(wanted.data)} octets; 1 to {_COOKIE_OCTETS} are allowed"
                raise core.give_up(sa, "syntax", Step.REACH, None, why)
            front = await _pay(core, sa, response, wanted)
        elif wanted := response.notify(NotifyType.INVALID_KE_PAYLOAD):
            number = int.from_bytes(wanted.data[:2])
            if number not in offered or number == method:
                why = f"the peer wants key exchange {name_of_method(number)}, which we did not offer"
                raise core.give_up(sa, "no-proposal", Step.ALGORITHMS, None, why)
            method, offer = number, groups.offer(number, core.random)
        else:
            _conclude(core, sa, response, proposals, method, offer)
            quantum.note_choice(sa, proposals, response)
            await solve_for_auth(core, sa, response)
            return None
    raise core.give_up(sa, "peer-error", Step.ALGORITHMS, None, "the peer asked for a new IKE_SA_INIT without end")


def _about_redirects(sa: IkeSa, came_from: str) -> list[wire.Payload]:
    """RFC 5685 3: who was sent here says by whom, which tells too that he can be sent on."""
    if Ability.IS_SENT_ON not in sa.abilities:
        return []
    if came_from:
        return [redirects.redirected_from(came_from)]
    return [wire.Notify(0, b"", NotifyType.REDIRECT_SUPPORTED, b"")]


def check_init_response(sa: IkeSa, response: Message) -> None:
    """Raises Drop for what must not end the wait for a better response."""
    redirects.check_nonce(sa, response)
    opens = bool(response.all(wire.SA))  # then it is for IKE_AUTH (RFC 8019 7.2.1)
    if response.notify(NotifyType.PUZZLE) and not (opens or response.notify(NotifyType.COOKIE)):
        raise Drop("a PUZZLE without the COOKIE that it is about")  # RFC 8019 7.1.2


def name_of_method(number: int) -> str:
    """A key exchange method's keyword, or its number."""
    row = suites.key_exchange(number)
    return row.keyword if row else str(number)


def refusal_of(core: Core, sa: IkeSa, response: Message) -> Close | None:
    """The end of the call, where the answer is an error and nothing to go on with; the attempt tells of it at once."""
    if response.exchange != ExchangeType.IKE_SA_INIT or sa.peer is None:
        return None
    if response.all(wire.SA):
        return ppk.unfit(core, sa, sa.peer, response)
    if any(response.notify(kind) for kind in (NotifyType.COOKIE, NotifyType.INVALID_KE_PAYLOAD, NotifyType.REDIRECT)):
        return None
    error = error_in(response)
    return _refused(core, sa, sa.peer, error) if error is not None else None


def _refused(core: Core, sa: IkeSa, peer: Peer, error: wire.Notify) -> Close:
    core.reach(sa, Step.REACH, f"{sa.path.text} answers")
    if error.type != NotifyType.NO_PROPOSAL_CHOSEN:
        why = f"the peer answered {name_of(NotifyType, error.type)} to IKE_SA_INIT"
        return core.give_up(sa, "peer-error", Step.ALGORITHMS, error.type, why)
    if sa.attempt:
        sa.attempt.offered = tuple(proposal.keywords for proposal in quantum.offer(core, peer))
        sa.attempt.acceptable = ("the peer does not say",)
    why = "the peer accepts none of our IKE proposals (NO_PROPOSAL_CHOSEN), or has no configuration for us"
    if quantum.demanded(core, peer) is Demand.REQUIRE and not quantum.has_ppk(core, peer):
        why += "; ML-KEM is required for it, so that we offered nothing without"
    return core.give_up(sa, "no-proposal", Step.ALGORITHMS, error.type, why)


async def _pay(core: Core, sa: IkeSa, response: Message, cookie: wire.Notify) -> list[wire.Payload]:
    """What goes first in the next request: the cookie, and the solution of its puzzle if we can (RFC 8019 7.1.2).

    --> HDR, N(COOKIE), [PS,] SA, KE, Ni, …
    """
    assert sa.peer is not None
    front: list[wire.Payload] = [wire.Notify(0, b"", NotifyType.COOKIE, cookie.data)]
    notify = response.notify(NotifyType.PUZZLE)
    puzzle = puzzles.read_puzzle(notify, sa.peer.proposals)
    if notify is not None:
        text = f"it wants a puzzle of {puzzle[1]} bits solved" if puzzle else "its puzzle is too hard for us"
        attempt_log.add(sa.attempt, Step.REACH, text)
    if puzzle and (solution := await ask_solution(puzzle[0], cookie.data, puzzle[1])):
        front.append(wire.PuzzleSolution(solution))
    return front


def _request(core: Core, sa: IkeSa, proposals: Sequence[Proposal], method: int, public: bytes) -> list[wire.Payload]:
    assert sa.peer is not None
    payloads: list[wire.Payload] = []
    payloads.append(wire.SA([proposal.to_wire(number, b"") for number, proposal in enumerate(proposals, 1)]))
    payloads += [wire.KE(method, public), wire.Nonce(sa.nonce_i)]
    payloads += nat_detection(core, sa.spi_i, bytes(8), sa.path, disguise=must_encapsulate(core, sa.peer))
    payloads.append(wire.Notify(0, b"", NotifyType.SIGNATURE_HASH_ALGORITHMS, _SIGNATURE_HASHES))
    if sa.peer.fragment_octets:
        payloads.append(wire.Notify(0, b"", NotifyType.IKEV2_FRAGMENTATION_SUPPORTED, b""))
    return payloads + intermediate.announced(core, sa.peer)


def _note_hashes(sa: IkeSa, message: Message) -> None:
    """RFC 7427 4: which hashes the peer can verify signatures with."""
    if notify := message.notify(NotifyType.SIGNATURE_HASH_ALGORITHMS):
        data = notify.data[:64]
        sa.signature_hashes = tuple(int.from_bytes(data[i : i + 2]) for i in range(0, len(data) - 1, 2))


def note_fragmentation(sa: IkeSa, peer: Peer, message: Message) -> None:
    """RFC 7383 2.3: fragments are for two ends that have both said so."""
    if message.notify(NotifyType.IKEV2_FRAGMENTATION_SUPPORTED):
        sa.fragmentation = peer.fragment_octets


def _conclude(
    core: Core, sa: IkeSa, response: Message, proposals: Sequence[Proposal], method: int, offer: groups.Offer
) -> None:
    """Check the responder's choice and derive the keys."""
    assert sa.peer is not None
    refuse_unknown_critical(response)
    if response.notify(NotifyType.REDIRECT):
        why = "the peer sends us on to another gateway, which this peer's configuration does not allow"
        raise core.give_up(sa, "redirected", Step.ALGORITHMS, None, why)
    if (error := error_in(response)) is not None:
        raise _refused(core, sa, sa.peer, error)
    answer = response.one(wire.SA).proposals
    additional = response.notify(NotifyType.INTERMEDIATE_EXCHANGE_SUPPORTED) is not None
    chosen = accepted(proposals, answer[0], additional=additional) if len(answer) == 1 else None
    ke = response.one(wire.KE)
    if chosen is None or chosen.ke is None or chosen.ke.number != method or ke.method != method:
        raise core.give_up(sa, "no-proposal", Step.ALGORITHMS, None, "the peer chose algorithms that we did not offer")
    if response.spi_r == bytes(8):
        raise core.give_up(sa, "syntax", Step.ALGORITHMS, None, "the peer chose the SPI zero")
    sa.nonce_r = check_nonce(response.one(wire.Nonce).data)
    try:
        shared = offer.finish(ke.data)
    except groups.InvalidPublic as error:
        raise core.give_up(
            sa, "syntax", Step.ALGORITHMS, None, f"the peer's key exchange is invalid: {error}"
        ) from None
    sa.spi_r = response.spi_r
    sa.requests.next_id = 1
    _note_hashes(sa, response)
    ppk.note(core, sa, response)
    trust.note_wish(sa, response)
    note_fragmentation(sa, sa.peer, response)
    intermediate.expect(sa, chosen)
    protect(core, sa, chosen, shared)
    note_nat(core, sa, response)


def note_nat(core: Core, sa: IkeSa, response: Message) -> None:
    """As initiator: what stands between the ends, and which port that asks for (RFC 7296 2.23)."""
    assert sa.peer is not None
    sa.nat = detect_nat(core, response, sa.path)
    sa.encapsulate = sa.nat.supported and (sa.nat.found or must_encapsulate(core, sa.peer))
    # RFC 4555 3.3: who speaks MOBIKE changes ports at once, so that a NAT on some later path is no trouble
    if (sa.encapsulate or (sa.nat.supported and sa.peer.mobike)) and not sa.path.marked:
        sa.path = sa.path.moved_to_nat_port(NAT_PORT if sa.path.port == IKE_PORT else sa.path.port)
    core.reach(sa, Step.NAT, sa.nat.text)


@dataclass(slots=True)
class Opening:
    """A well-formed request for an IKE SA, before anything is made for it."""

    request: Message
    datagram: bytes
    path: Path
    nonce: bytes
    ke: wire.KE
    offered: list[wire.Proposal]
    about_proof: list[wire.Payload] = field(default_factory=list)
    """What our answer says of the proof that we will want."""
    ppk: Ability = Ability.NONE
    """In which exchange a post-quantum pre-shared key is used, if one is."""


def begin_answer(core: Core, opening: Opening, peer: Peer) -> IkeSa:
    """The half-open SA of a responder, before it has keys."""
    request, path = opening.request, opening.path
    sa = IkeSa(core.number("ike-sa"), False, path, core.now, request.spi_i, core.new_spi())
    sa.init_request, sa.init_source = opening.datagram, (path.remote, path.port)
    sa.nonce_i, sa.nonce_r = opening.nonce, core.random(NONCE_OCTETS)
    sa.attempt = core.attempts.begin(core.now, path.local, path.text, initiator=False)
    sa.attempt.ike_sa = sa.id
    attempt_log.see(sa.attempt, core.now, request, len(opening.datagram), outgoing=False)
    core.reach(sa, Step.REACH, f"{path.text} calls")
    if request.notify(NotifyType.REDIRECT_SUPPORTED) or request.notify(NotifyType.REDIRECTED_FROM):
        sa.abilities |= Ability.SENDS_ON
    note_fragmentation(sa, peer, request)
    return sa


def answer_opening(core: Core, sa: IkeSa, opening: Opening, payloads: list[wire.Payload]) -> None:
    """Answer in the open, and wait for IKE_AUTH."""
    response = Message(sa.spi_i, sa.spi_r, opening.request.exchange, False, True, 0, payloads)
    sa.init_response = build(response)
    core.send(sa.init_response, opening.path)
    sa.responses.answered(0, opening.datagram, (sa.init_response,))
    sa.requests.next_id = 0
    core.add(sa)
    core.timers.set(("half-open", sa), core.now + core.snapshot.settings.half_open_timeout)


def accept_init(
    core: Core, opening: Opening, peer: Peer, chosen: Chosen, public: bytes, secret: bytes | Deferred
) -> None:
    """Make the half-open SA and answer as responder."""
    request, path = opening.request, opening.path
    sa = begin_answer(core, opening, peer)
    _note_hashes(sa, request)
    sa.abilities |= opening.ppk
    intermediate.expect(sa, chosen)
    if isinstance(secret, Deferred):
        core.extensions.deferred[sa.our_spi] = secret
    else:
        protect(core, sa, chosen, secret)
    quantum.note_offer(sa, chosen, request, opening.offered)
    sa.nat = detect_nat(core, request, path)
    sa.encapsulate = sa.nat.supported and (sa.nat.found or must_encapsulate(core, peer))
    core.reach(sa, Step.NAT, sa.nat.text)
    payloads: list[wire.Payload] = [
        wire.SA([chosen.to_wire(b"")]),
        wire.KE(chosen.ke.number if chosen.ke else 0, public),
    ]
    payloads.append(wire.Nonce(sa.nonce_r))
    if sa.nat.supported:
        payloads += nat_detection(core, sa.spi_i, sa.spi_r, path, disguise=must_encapsulate(core, peer))
    if sa.signature_hashes:
        payloads.append(wire.Notify(0, b"", NotifyType.SIGNATURE_HASH_ALGORITHMS, _SIGNATURE_HASHES))
    if sa.fragmentation:
        payloads.append(wire.Notify(0, b"", NotifyType.IKEV2_FRAGMENTATION_SUPPORTED, b""))
    payloads += [*intermediate.accepted(chosen, opening.ppk), childless.SUPPORTED, auth_methods.SEVERAL]
    payloads += opening.about_proof
    if isinstance(secret, Deferred):
        payloads.append(secret.notify)
    answer_opening(core, sa, opening, payloads)
