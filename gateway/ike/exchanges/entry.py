"""The responder's door: who may have an IKE SA at all, before any state is made (RFC 7296 2.6, RFC 8019)."""

from gateway.crypto import groups
from gateway.crypto.rows import PseudoRandom
from gateway.ike import attempt_log, auth_methods, puzzles, quantum
from gateway.ike.abilities import Ability
from gateway.ike.attempts import Attempt, Step
from gateway.ike.authentication import ppk, trust
from gateway.ike.core import Core
from gateway.ike.exchanges.auth_puzzle import defer
from gateway.ike.exchanges.init import Opening, accept_init
from gateway.ike.exchanges.redirect import sent_on
from gateway.ike.exchanges.resume import accept_resume
from gateway.ike.nonces import check_nonce
from gateway.ike.path import Path
from gateway.ike.protect import refuse_unknown_critical
from gateway.policy.choice import Chosen, choose
from gateway.policy.differences import explain
from gateway.policy.peers import Peer
from gateway.wire import payloads as wire
from gateway.wire.message import HEADER_OCTETS, Header, Message, build
from gateway.wire.numbers import ExchangeType, NotifyType
from gateway.wire.outcome import Drop, Reject

_INFORMATIONAL_V1 = 5  # RFC 2408 3.1
_AMPLIFIED = 1.5
"""An answer may be that much longer than its request; beyond, the sender proves its address with a cookie first."""
_FIXED_OCTETS = HEADER_OCTETS + 48 + 8 + 36 + 48
"""Of our answer: header, SA, the frame of KE, nonce, and what we always announce."""
_ASKED_FOR = 64
"""Peers that the caller may turn out to be, of which our answer says how they may prove themselves."""
_NAT_OCTETS = 2 * 28


def answer_init(core: Core, request: Message, datagram: bytes, path: Path) -> None:
    """Answer as responder; no state is made before the cookie, the proposals and the key exchange are right.

    --> HDR(SPIi, 0), [N(COOKIE), [PS,]] SAi1, KEi, Ni
    <-- HDR(SPIi, SPIr), SAr1, KEr, Nr, …   or N(COOKIE), [N(PUZZLE)]   or N(REDIRECT)   or an error
    """
    try:
        refuse_unknown_critical(request)
        nonce = check_nonce(request.one(wire.Nonce).data)
        ke, offered = request.one(wire.KE), request.one(wire.SA).proposals
    except Reject as reject:
        core.count("init-invalid")
        _answer(core, request, datagram, path, [wire.Notify(0, b"", reject.notify, reject.data)])
        return
    opening = Opening(request, datagram, path, nonce, ke, offered)
    demanded, solved = _demanded(core, opening)
    if demanded:
        _answer(core, request, datagram, path, demanded)
        return
    peers = core.snapshot.peers_for(path.local, path.remote)
    if elsewhere := sent_on(core, opening, peers):
        _answer(core, request, datagram, path, elsewhere)
        return
    found = _select(core, peers, opening)
    if found is None:
        _refuse(core, opening, peers)
        return
    peer, chosen = found
    assert chosen.ke is not None
    if ke.method != chosen.ke.number:
        wanted = chosen.ke.number.to_bytes(2)
        _answer(core, request, datagram, path, [wire.Notify(0, b"", NotifyType.INVALID_KE_PAYLOAD, wanted)])
        return
    likely = peers[:_ASKED_FOR]
    opening.about_proof = trust.requests(core.snapshot, likely) + auth_methods.announced_by(likely)
    if _amplifies(opening, chosen) and _given(core, opening) is None:
        _answer(core, request, datagram, path, _cookie(core, opening, 0))
        return
    if solved and not core.cookies.spend(_cookie_sent(request)):
        raise Drop("a puzzle's solution came a second time")
    core.admission.worked(path.remote, chosen.ke, core.now)
    opening.ppk = ppk.agreed(core, peers, request)
    _exchange_keys(core, opening, peer, chosen, solved=solved)


def _exchange_keys(core: Core, opening: Opening, peer: Peer, chosen: Chosen, *, solved: bool) -> None:
    """At once; or, where a puzzle was `solved`, when the next one is, in IKE_AUTH (RFC 8019 7.2)."""
    ke = opening.ke
    early = chosen.following or opening.ppk == Ability.MAY_USE_PPK_INT  # IKE_INTERMEDIATE comes before IKE_AUTH
    if solved and not early and (deferred := defer(core, chosen, ke.data)):
        accept_init(core, opening, peer, chosen, deferred.offer.public, deferred)
        return
    try:
        public, shared = groups.accept(ke.method, ke.data, core.random)
    except groups.InvalidPublic as error:
        why = f"the peer's key exchange is invalid: {error}"
        _failed(core, opening, None, "syntax", NotifyType.INVALID_SYNTAX, why)
        return
    accept_init(core, opening, peer, chosen, public, shared)


def answer_resume(core: Core, request: Message, datagram: bytes, path: Path) -> None:
    """A ticket is shown: where there is pressure, after a cookie as anybody (RFC 8019 4.5); see `accept_resume`."""
    try:
        refuse_unknown_critical(request)
        nonce = check_nonce(request.one(wire.Nonce).data)
    except Reject as reject:
        core.count("init-invalid")
        _answer(core, request, datagram, path, [wire.Notify(0, b"", reject.notify, reject.data)])
        return
    opening = Opening(request, datagram, path, nonce, wire.KE(0, b""), [])
    demanded, _ = _demanded(core, opening)
    if demanded:
        _answer(core, request, datagram, path, demanded)
    elif not accept_resume(core, opening):
        _answer(core, request, datagram, path, [wire.Notify(0, b"", NotifyType.TICKET_NACK, b"")])


def _answer(core: Core, request: Message, datagram: bytes, path: Path, payloads: list[wire.Payload]) -> None:
    """A refusal or a demand, never longer than what it answers: the sender's address is not proven."""
    answer = build(Message(request.spi_i, bytes(8), request.exchange, False, True, 0, payloads))
    if len(answer) > len(datagram):
        raise Drop("the answer would be longer than the request")
    core.send(answer, path)


def _given(core: Core, opening: Opening) -> int | None:
    """The difficulty that the cookie in this request was given with; None without a good cookie."""
    sent = opening.request.notify(NotifyType.COOKIE)
    if sent is None:
        return None
    return core.cookies.check(sent.data, opening.path, opening.request.spi_i, opening.nonce, core.now)


def _cookie(core: Core, opening: Opening, difficulty: int) -> list[wire.Payload]:
    core.count("cookies-sent")
    made = core.cookies.make(opening.path, opening.request.spi_i, opening.nonce, core.now, difficulty)
    return [wire.Notify(0, b"", NotifyType.COOKIE, made)]


def _demanded(core: Core, opening: Opening) -> tuple[list[wire.Payload], bool]:
    """What the sender has to bring before it is served (nothing: it may come in), and whether it solved a puzzle.

    Raises Drop when there is no room for it.
    """
    admission, limits, remote = core.admission, core.snapshot.settings, opening.path.remote
    if not admission.under_pressure(remote, core.now, limits):
        return [], False
    given = _given(core, opening)
    difficulty = admission.difficulty(remote, core.now, limits)
    prf = _puzzle_function(core, opening) if difficulty or given else None
    if not prf:
        difficulty = 0
    request = opening.request
    solved = bool(given and prf and _solved(request, prf, given))
    if given is None or (difficulty and not solved and not admission.admit_unsolved(core.now)):
        demanded = _cookie(core, opening, difficulty)
        if prf and difficulty:
            core.count("puzzles-sent")
            demanded.append(puzzles.puzzle(prf, difficulty))
        return demanded, False
    admission.admit(remote, core.now, limits, solved=solved)
    if solved:
        core.count("puzzles-solved")
    return [], solved


def _solved(request: Message, prf: PseudoRandom, difficulty: int) -> bool:
    solutions = request.all(wire.PuzzleSolution)
    return len(solutions) == 1 and puzzles.solves(prf, _cookie_sent(request), solutions[0], difficulty)


def _cookie_sent(request: Message) -> bytes:
    sent = request.notify(NotifyType.COOKIE)
    return sent.data if sent else b""


def _puzzle_function(core: Core, opening: Opening) -> PseudoRandom | None:
    peers = core.snapshot.peers_for(opening.path.local, opening.path.remote)
    return puzzles.common_prf([proposal for peer in peers[:16] for proposal in peer.proposals], opening.offered)


def _amplifies(opening: Opening, chosen: Chosen) -> bool:
    assert chosen.ke is not None
    nat = _NAT_OCTETS if opening.request.notify(NotifyType.NAT_DETECTION_SOURCE_IP) else 0
    about_proof = sum(4 + len(payload.octets()) for payload in opening.about_proof)
    return _FIXED_OCTETS + nat + about_proof + chosen.ke.answer_octets > _AMPLIFIED * len(opening.datagram)


def _select(core: Core, peers: list[Peer], opening: Opening) -> tuple[Peer, Chosen] | None:
    additional = opening.request.notify(NotifyType.INTERMEDIATE_EXCHANGE_SUPPORTED) is not None
    for peer in peers:
        if chosen := choose(quantum.proposals(core, peer), opening.offered, additional=additional):
            return peer, chosen
    return None


def _refuse(core: Core, opening: Opening, peers: list[Peer]) -> None:
    """NO_PROPOSAL_CHOSEN, to a stranger as to a peer with other algorithms; the attempt tells which."""
    if not peers:
        why = f"no peer is configured for {opening.path.remote}"
        attempt = _failed(core, opening, None, "unknown-peer", NotifyType.NO_PROPOSAL_CHOSEN, why)
        if attempt:
            attempt_log.mismatch(attempt, explain((), opening.offered))
        return
    names = ", ".join(peer.name for peer in peers[:4])
    why, cause = f"no IKE proposal of the peer is acceptable for {names} (NO_PROPOSAL_CHOSEN)", "no-proposal"
    if insisted := quantum.refusal(core, peers, opening.request, opening.offered):
        why, cause = insisted, "post-quantum"
    attempt = _failed(core, opening, peers[0], cause, NotifyType.NO_PROPOSAL_CHOSEN, why)
    if attempt:  # to compare costs time, and a flood of such offers leaves no attempts
        ours = tuple(dict.fromkeys(one for peer in peers[:16] for one in quantum.proposals(core, peer)))
        attempt_log.mismatch(attempt, explain(ours, opening.offered))


def _failed(core: Core, opening: Opening, peer: Peer | None, cause: str, notify: int, why: str) -> Attempt | None:
    """Leave an attempt, answer with the notify, keep nothing else."""
    path = opening.path
    _answer(core, opening.request, opening.datagram, path, [wire.Notify(0, b"", notify, b"")])
    core.count("init-refused")
    if not core.may_note_stranger():
        return None
    attempt = core.attempts.begin(core.now, path.local, path.text, initiator=False, peer=peer.name if peer else None)
    attempt_log.see(attempt, core.now, opening.request, len(opening.datagram), outgoing=False)
    attempt_log.reach(attempt, Step.REACH, core.now, f"{path.text} calls")
    attempt_log.fail(attempt, core.now, cause, why, Step.ALGORITHMS, notify)
    core.event("attempt.failed", f"{path.text}: {why}", peer.name if peer else None, attempt=attempt.id, cause=cause)
    return attempt


def answer_other_version(core: Core, header: Header, datagram: bytes, path: Path) -> None:
    """Tell a sender of another major version which one we speak, once in a while (RFC 7296 1.5, 2.5).

    --> HDR(SPIi, SPIr) of another version
    <-- HDR(SPIi, SPIr) of version 2.0, N(INVALID_MAJOR_VERSION)

    The answer is what 1.5 makes of the request: its SPIs, exchange type and message ID, unprotected. For IKEv1 no text
    asks for an answer; it gets one so that its log can say why nothing works, as an INFORMATIONAL: IKEv1's exchange
    types are none in IKEv2, and strongSwan for one does not read past them.
    """
    core.count("ikev1" if header.major == 1 else "other-version")
    # an answer is never answered: in IKEv1 only what opens a negotiation surely is none
    first = (
        not header.response if header.major != 1 else header.spi_r == bytes(8) and header.exchange != _INFORMATIONAL_V1
    )
    if not first or header.length != len(datagram) or not core.admission.may_answer(path.remote, core.now):
        return
    notify = wire.Notify(0, b"", NotifyType.INVALID_MAJOR_VERSION, b"")
    spis = header.spi_i, header.spi_r
    initiator = header.major != 1 and not header.initiator
    exchange = ExchangeType.INFORMATIONAL if header.major == 1 else header.exchange
    answer = build(Message(*spis, exchange, initiator, True, header.message_id, [notify]))
    if len(answer) <= len(datagram):
        core.count("versions-told")
        core.send(answer, path)
