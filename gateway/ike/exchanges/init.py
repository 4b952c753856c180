"""IKE_SA_INIT, both roles (RFC 7296 1.2, 2.6, 2.7, 2.23)."""

from dataclasses import dataclass

from gateway.crypto import groups, suites
from gateway.crypto.keys import ike_keys, skeyseed
from gateway.ike import attempt_log
from gateway.ike.attempts import Attempt, Step
from gateway.ike.core import Core
from gateway.ike.flow import ask_peer
from gateway.ike.lifecycle import keys_made
from gateway.ike.nonces import NONCE_OCTETS, check_nonce
from gateway.ike.path import IKE_PORT, NAT_PORT, Nat, Path, nat_hash
from gateway.ike.protect import Protection, refuse_unknown_critical
from gateway.ike.sa import IkeSa
from gateway.policy.peers import Peer
from gateway.policy.proposals import Chosen, accepted, choose, explain
from gateway.wire import payloads as wire
from gateway.wire.message import Message, build
from gateway.wire.numbers import ExchangeType, HashAlgorithm, NotifyType, name_of
from gateway.wire.outcome import Drop, Reject

_ROUNDS = 6
_HASHES = (HashAlgorithm.SHA2_256, HashAlgorithm.SHA2_384, HashAlgorithm.SHA2_512)
_SIGNATURE_HASHES = b"".join(int(algorithm).to_bytes(2) for algorithm in _HASHES)


async def open_sa(core: Core, sa: IkeSa) -> None:
    """Negotiate algorithms and keys as initiator.

    --> HDR(SPIi, 0), [N(COOKIE),] SAi1, KEi, Ni, N(NAT_DETECTION_*), N(SIGNATURE_HASH_ALGORITHMS)
    <-- HDR(SPIi, SPIr), SAr1, KEr, Nr, …   or N(COOKIE)   or N(INVALID_KE_PAYLOAD)
    """
    assert sa.peer is not None
    peer = sa.peer
    offered = {row.number for proposal in peer.proposals for row in proposal.ke}
    offer = groups.offer(peer.proposals[0].ke[0].number, core.random)
    method = peer.proposals[0].ke[0].number
    sa.nonce_i = core.random(NONCE_OCTETS)
    cookie = b""
    for _ in range(_ROUNDS):
        response = await ask_peer(ExchangeType.IKE_SA_INIT, _request(core, sa, cookie, method, offer.public))
        core.reach(sa, Step.REACH, f"{sa.path.text} answers")
        if wanted := response.notify(NotifyType.COOKIE):
            cookie = wanted.data
        elif wanted := response.notify(NotifyType.INVALID_KE_PAYLOAD):
            number = int.from_bytes(wanted.data[:2])
            if number not in offered or number == method:
                why = f"the peer wants key exchange {name_of_method(number)}, which we did not offer"
                raise core.give_up(sa, "no-proposal", Step.ALGORITHMS, None, why)
            method, offer = number, groups.offer(number, core.random)
        else:
            return _conclude(core, sa, response, method, offer)
    raise core.give_up(sa, "peer-error", Step.ALGORITHMS, None, "the peer asked for a new IKE_SA_INIT without end")


def name_of_method(number: int) -> str:
    """A key exchange method's keyword, or its number."""
    row = suites.key_exchange(number)
    return row.keyword if row else str(number)


def _request(core: Core, sa: IkeSa, cookie: bytes, method: int, public: bytes) -> list[wire.Payload]:
    assert sa.peer is not None
    payloads: list[wire.Payload] = [wire.Notify(0, b"", NotifyType.COOKIE, cookie)] if cookie else []
    payloads.append(wire.SA([proposal.to_wire(number, b"") for number, proposal in enumerate(sa.peer.proposals, 1)]))
    payloads += [wire.KE(method, public), wire.Nonce(sa.nonce_i)]
    payloads += _nat_detection(core, sa.spi_i, bytes(8), sa.path, disguise=_must_encapsulate(core, sa.peer))
    payloads.append(wire.Notify(0, b"", NotifyType.SIGNATURE_HASH_ALGORITHMS, _SIGNATURE_HASHES))
    if sa.peer.fragment_octets:
        payloads.append(wire.Notify(0, b"", NotifyType.IKEV2_FRAGMENTATION_SUPPORTED, b""))
    return payloads


def _must_encapsulate(core: Core, peer: Peer | None) -> bool:
    return core.plane.needs_encapsulation or (peer is not None and peer.force_encapsulation)


def _nat_detection(core: Core, spi_i: bytes, spi_r: bytes, path: Path, *, disguise: bool) -> list[wire.Payload]:
    """Both hashes; `disguise` makes the peer see a NAT, so that ESP is encapsulated (RFC 7296 2.23)."""
    port = core.nat_port if path.marked else core.ike_port
    source = core.random(20) if disguise else nat_hash(spi_i, spi_r, path.local, port)
    destination = nat_hash(spi_i, spi_r, path.remote, path.port)
    return [
        wire.Notify(0, b"", NotifyType.NAT_DETECTION_SOURCE_IP, source),
        wire.Notify(0, b"", NotifyType.NAT_DETECTION_DESTINATION_IP, destination),
    ]


def _detect_nat(core: Core, message: Message, path: Path) -> Nat:
    """Compare the peer's hashes with what we see of the datagram; any of several source hashes may fit."""
    sources = [notify.data for notify in message.notifies(NotifyType.NAT_DETECTION_SOURCE_IP)]
    destination = message.notify(NotifyType.NAT_DETECTION_DESTINATION_IP)
    if not sources or destination is None:
        return Nat()
    port = core.nat_port if path.marked else core.ike_port
    theirs = nat_hash(message.spi_i, message.spi_r, path.remote, path.port)
    ours = nat_hash(message.spi_i, message.spi_r, path.local, port)
    return Nat(True, here=destination.data != ours, there=theirs not in sources)


def _note_hashes(sa: IkeSa, message: Message) -> None:
    """RFC 7427 4: which hashes the peer can verify signatures with."""
    if notify := message.notify(NotifyType.SIGNATURE_HASH_ALGORITHMS):
        data = notify.data[:64]
        sa.signature_hashes = tuple(int.from_bytes(data[i : i + 2]) for i in range(0, len(data) - 1, 2))


def _note_fragmentation(sa: IkeSa, peer: Peer, message: Message) -> None:
    """RFC 7383 2.3: fragments are for two ends that have both said so."""
    if message.notify(NotifyType.IKEV2_FRAGMENTATION_SUPPORTED):
        sa.fragmentation = peer.fragment_octets


def _conclude(core: Core, sa: IkeSa, response: Message, method: int, offer: groups.Offer) -> None:
    """Check the responder's choice and derive the keys."""
    assert sa.peer is not None
    refuse_unknown_critical(response)
    for notify in response.all(wire.Notify):
        if notify.type == NotifyType.NO_PROPOSAL_CHOSEN:
            if sa.attempt:
                sa.attempt.offered = tuple(proposal.keywords for proposal in sa.peer.proposals)
                sa.attempt.acceptable = ("the peer does not say",)
            why = "the peer accepts none of our IKE proposals (NO_PROPOSAL_CHOSEN), or has no configuration for us"
            raise core.give_up(sa, "no-proposal", Step.ALGORITHMS, notify.type, why)
        if notify.type < NotifyType.INITIAL_CONTACT:
            why = f"the peer answered {name_of(NotifyType, notify.type)} to IKE_SA_INIT"
            raise core.give_up(sa, "peer-error", Step.ALGORITHMS, notify.type, why)
    answer = response.one(wire.SA).proposals
    chosen = accepted(sa.peer.proposals, answer[0]) if len(answer) == 1 else None
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
    _note_fragmentation(sa, sa.peer, response)
    _protect(core, sa, chosen, shared)
    sa.nat = _detect_nat(core, response, sa.path)
    sa.encapsulate = sa.nat.supported and (sa.nat.found or _must_encapsulate(core, sa.peer))
    if sa.encapsulate and not sa.path.marked:
        sa.path = sa.path.moved_to_nat_port(NAT_PORT if sa.path.port == IKE_PORT else sa.path.port)
    core.reach(sa, Step.NAT, sa.nat.text)


def _protect(core: Core, sa: IkeSa, chosen: Chosen, shared: bytes) -> None:
    """SKEYSEED and the seven keys (RFC 7296 2.14)."""
    assert chosen.prf is not None
    seed = skeyseed(chosen.prf, sa.nonce_i, sa.nonce_r, shared)
    sa.chosen = chosen
    sa.keys = ike_keys(chosen.prf, seed, sa.nonce_i, sa.nonce_r, sa.spi_i, sa.spi_r, chosen.encr, chosen.integ)
    sa.protection = Protection(chosen.encr, chosen.integ, sa.keys, initiator=sa.initiator, random=core.random)
    keys_made(core, sa)
    core.reach(sa, Step.ALGORITHMS, chosen.keywords)


@dataclass(slots=True)
class _Opening:
    """A request that passed the cookie: what is needed to answer or refuse it."""

    request: Message
    datagram: bytes
    path: Path
    peers: list[Peer]


def answer_init(core: Core, request: Message, datagram: bytes, path: Path) -> None:
    """Answer as responder; no state is made before the cookie, the proposals and the key exchange are right.

    --> HDR(SPIi, 0), SAi1, KEi, Ni
    <-- HDR(SPIi, SPIr), SAr1, KEr, Nr, N(NAT_DETECTION_*), N(SIGNATURE_HASH_ALGORITHMS)
    """
    try:
        refuse_unknown_critical(request)
        nonce = check_nonce(request.one(wire.Nonce).data)
        ke = request.one(wire.KE)
        offered = request.one(wire.SA).proposals
    except Reject as reject:
        core.count("init-invalid")
        _answer(core, request, path, [wire.Notify(0, b"", reject.notify, reject.data)])
        return
    if _wants_cookie(core, request, path, nonce):
        core.count("cookies-sent")
        cookie = core.cookies.make(path, request.spi_i, nonce, core.now)
        _answer(core, request, path, [wire.Notify(0, b"", NotifyType.COOKIE, cookie)])
        return
    opening = _Opening(request, datagram, path, core.snapshot.peers_for(path.local, path.remote))
    found = _select(opening.peers, offered)
    if found is None:
        _refuse(core, opening, offered)
        return
    peer, chosen = found
    assert chosen.ke is not None
    if ke.method != chosen.ke.number:
        wanted = chosen.ke.number.to_bytes(2)
        _answer(core, request, path, [wire.Notify(0, b"", NotifyType.INVALID_KE_PAYLOAD, wanted)])
        return
    try:
        public, shared = groups.accept(ke.method, ke.data, core.random)
    except groups.InvalidPublic as error:
        _failed(
            core, opening, None, "syntax", NotifyType.INVALID_SYNTAX, f"the peer's key exchange is invalid: {error}"
        )
        return
    _open(core, opening, peer, chosen, nonce, public, shared)


def _wants_cookie(core: Core, request: Message, path: Path, nonce: bytes) -> bool:
    limits = core.snapshot.settings
    if core.half_open_total >= limits.half_open_limit:
        raise Drop("too many half-open IKE SAs")
    if core.half_open_total < limits.cookie_threshold and core.half_open[path.remote] < limits.half_open_per_source:
        return False
    sent = request.notify(NotifyType.COOKIE)
    if sent is None or not core.cookies.good(sent.data, path, request.spi_i, nonce, core.now):
        return True
    if core.half_open[path.remote] >= limits.half_open_per_source:
        raise Drop("too many half-open IKE SAs from this source")
    return False


def _select(peers: list[Peer], offered: list[wire.Proposal]) -> tuple[Peer, Chosen] | None:
    for peer in peers:
        if chosen := choose(peer.proposals, offered):
            return peer, chosen
    return None


def _refuse(core: Core, opening: _Opening, offered: list[wire.Proposal]) -> None:
    """NO_PROPOSAL_CHOSEN, to a stranger as to a peer with other algorithms; the attempt tells which."""
    if not opening.peers:
        why = f"no peer is configured for {opening.path.remote}"
        attempt = _failed(core, opening, None, "unknown-peer", NotifyType.NO_PROPOSAL_CHOSEN, why)
        attempt_log.mismatch(attempt, explain((), offered))
        return
    names = ", ".join(peer.name for peer in opening.peers[:4])
    why = f"no IKE proposal of the peer is acceptable for {names} (NO_PROPOSAL_CHOSEN)"
    attempt = _failed(core, opening, opening.peers[0], "no-proposal", NotifyType.NO_PROPOSAL_CHOSEN, why)
    ours = tuple(dict.fromkeys(proposal for peer in opening.peers[:16] for proposal in peer.proposals))
    attempt_log.mismatch(attempt, explain(ours, offered))


def _failed(core: Core, opening: _Opening, peer: Peer | None, cause: str, notify: int, why: str) -> Attempt | None:
    """Leave an attempt, answer with the notify, keep nothing else."""
    _answer(core, opening.request, opening.path, [wire.Notify(0, b"", notify, b"")])
    core.count("init-refused")
    if not core.may_note_stranger():
        return None
    path = opening.path
    attempt = core.attempts.begin(core.now, path.local, path.text, initiator=False, peer=peer.name if peer else None)
    attempt_log.see(attempt, core.now, opening.request, len(opening.datagram), outgoing=False)
    attempt_log.reach(attempt, Step.REACH, core.now, f"{path.text} calls")
    attempt_log.fail(attempt, core.now, cause, why, Step.ALGORITHMS, notify)
    core.event("attempt.failed", f"{path.text}: {why}", peer.name if peer else None, attempt=attempt.id, cause=cause)
    return attempt


def _answer(core: Core, request: Message, path: Path, payloads: list[wire.Payload], spi_r: bytes = bytes(8)) -> bytes:
    response = Message(request.spi_i, spi_r, ExchangeType.IKE_SA_INIT, False, True, 0, payloads)
    datagram = build(response)
    core.send(datagram, path)
    return datagram


def _open(
    core: Core, opening: _Opening, peer: Peer, chosen: Chosen, nonce: bytes, public: bytes, shared: bytes
) -> None:
    """Make the half-open SA and answer."""
    request, path = opening.request, opening.path
    sa = IkeSa(core.number("ike-sa"), False, path, core.now, request.spi_i, core.new_spi())
    sa.init_request, sa.init_source = opening.datagram, (path.remote, path.port)
    sa.nonce_i, sa.nonce_r = nonce, core.random(NONCE_OCTETS)
    sa.attempt = core.attempts.begin(core.now, path.local, path.text, initiator=False)
    sa.attempt.ike_sa = sa.id
    attempt_log.see(sa.attempt, core.now, request, len(opening.datagram), outgoing=False)
    core.reach(sa, Step.REACH, f"{path.text} calls")
    _note_hashes(sa, request)
    _note_fragmentation(sa, peer, request)
    _protect(core, sa, chosen, shared)
    sa.nat = _detect_nat(core, request, path)
    sa.encapsulate = sa.nat.supported and (sa.nat.found or _must_encapsulate(core, peer))
    core.reach(sa, Step.NAT, sa.nat.text)
    payloads: list[wire.Payload] = [
        wire.SA([chosen.to_wire(b"")]),
        wire.KE(chosen.ke.number if chosen.ke else 0, public),
    ]
    payloads.append(wire.Nonce(sa.nonce_r))
    if sa.nat.supported:
        payloads += _nat_detection(core, sa.spi_i, sa.spi_r, path, disguise=_must_encapsulate(core, peer))
    if sa.signature_hashes:
        payloads.append(wire.Notify(0, b"", NotifyType.SIGNATURE_HASH_ALGORITHMS, _SIGNATURE_HASHES))
    if sa.fragmentation:
        payloads.append(wire.Notify(0, b"", NotifyType.IKEV2_FRAGMENTATION_SUPPORTED, b""))
    sa.init_response = _answer(core, request, path, payloads, sa.spi_r)
    sa.responses.answered(0, opening.datagram, (sa.init_response,))
    sa.requests.next_id = 0
    core.add(sa)
    core.timers.set(("half-open", sa), core.now + core.snapshot.settings.half_open_timeout)
