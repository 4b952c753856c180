"""A peer made by hand that holds the real keys, so that it can send what no honest implementation would.

It seals by itself, in a few lines: any payloads, any octets, any padding, any header, in whatever state the gateway is.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from gateway.crypto import groups
from gateway.crypto.ciphers import sealer
from gateway.crypto.keys import IkeKeys, ike_keys, psk_auth, rekey_skeyseed, signed_octets, skeyseed
from gateway.ike.path import Path
from gateway.ike.sa import ChildSa, IkeSa
from gateway.policy.choice import Chosen, choose
from gateway.policy.selectors import Selector
from gateway.wire import payloads as wire
from gateway.wire.message import (
    Message,
    build,
    build_payloads,
    build_sk_header,
    build_skf_header,
    parse,
    parse_header,
    parse_payloads,
)
from gateway.wire.numbers import AuthMethod, ExchangeType, IdType, KeMethod, NotifyType, Protocol
from tests.hostile.scene import GATE, ROGUE, ROGUE_NET, Scene
from tests.simulation.network import ESP, IKE, SECRET

INIT, AUTH = ExchangeType.IKE_SA_INIT, ExchangeType.IKE_AUTH
CREATE, INFORM = ExchangeType.CREATE_CHILD_SA, ExchangeType.INFORMATIONAL
INTERMEDIATE = ExchangeType.IKE_INTERMEDIATE
MIXES = [
    wire.Notify(0, b"", kind, b"") for kind in (NotifyType.INTERMEDIATE_EXCHANGE_SUPPORTED, NotifyType.USE_PPK_INT)
]


@dataclass(slots=True)
class Inner:
    """The decrypted inside of a message just as its octets shall be: type of the first payload, octets, padding."""

    first: int
    octets: bytes
    padding: bytes = b"\0"


Inside = Sequence[wire.Payload] | Inner


@dataclass
class Rogue:
    """One IKE SA with the gateway, seen from the other end; `initiator` tells that the rogue opened it."""

    scene: Scene
    initiator: bool
    seed: int = 7
    identity: bytes = b"rogue.example"
    secret: bytes = SECRET
    path: Path = field(default_factory=lambda: Path(GATE, ROGUE))
    spi_i: bytes = bytes(8)
    spi_r: bytes = bytes(8)
    nonce_i: bytes = b""
    nonce_r: bytes = b""
    init_request: bytes = b""
    init_response: bytes = b""
    chosen: Chosen | None = None
    keys: IkeKeys | None = None
    next_id: int = 0
    chance: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        mine = self.chance.randbytes(8)
        self.spi_i, self.spi_r = (mine, self.spi_r) if self.initiator else (self.spi_i, mine)
        self._iv = self.chance.getrandbits(32)

    # --- plain messages ---

    def deliver(self, datagram: bytes) -> list[Message]:
        """Hand the datagram to the gateway; what it sends back to us, opened where our keys fit."""
        before = len(self.scene.network.carried)
        self.scene.receive(datagram, self.path)
        return self.heard(before)

    def heard(self, since: int = 0) -> list[Message]:
        """What the gateway has sent to us since that datagram."""
        sent = [data for _, _, to, data in self.scene.network.carried[since:] if to == self.path.remote]
        return [self.open(data) for data in sent if len(data) >= 28]

    def call(self, payloads: Sequence[wire.Payload] | None = None, *more: wire.Payload) -> list[Message]:
        """--> HDR, SAi1, KEi, Ni, more; the keys are made when the gateway takes it up."""
        offer = groups.offer(KeMethod.CURVE25519, self.chance.randbytes)
        self.nonce_i = self.chance.randbytes(32)
        usual: list[wire.Payload] = [wire.SA([IKE[0].to_wire(1, b"")]), wire.KE(KeMethod.CURVE25519, offer.public)]
        usual.append(wire.Nonce(self.nonce_i))
        self.init_request = build(Message(self.spi_i, bytes(8), INIT, True, False, 0, [*(payloads or usual), *more]))
        answers = self.deliver(self.init_request)
        if payloads is None and answers and answers[-1].maybe(wire.SA):
            response = answers[-1]
            self.init_response = build(response)
            self.spi_r, self.nonce_r = response.spi_r, response.one(wire.Nonce).data
            self._derive(response.one(wire.SA), offer.finish(response.one(wire.KE).data))
            self.next_id = 1
        return answers

    def answer_call(self, *more: wire.Payload) -> None:
        """The gateway called: <-- HDR, SAr1, KEr, Nr, more."""
        request = next(m for m in reversed(self.heard()) if m.exchange == INIT and not m.response)
        self.spi_i, self.nonce_i, self.nonce_r = request.spi_i, request.one(wire.Nonce).data, self.chance.randbytes(32)
        self.init_request = build(request)
        ke = request.one(wire.KE)
        public, shared = groups.accept(ke.method, ke.data, self.chance.randbytes)
        chosen = choose(IKE, request.one(wire.SA).proposals)
        assert chosen is not None
        answer = wire.SA([chosen.to_wire(b"")])
        payloads: list[wire.Payload] = [answer, wire.KE(ke.method, public), wire.Nonce(self.nonce_r), *more]
        self.init_response = build(Message(self.spi_i, self.spi_r, INIT, False, True, 0, payloads))
        self._derive(answer, shared)
        self.deliver(self.init_response)

    def _derive(self, answer: wire.SA, shared: bytes) -> None:
        chosen = choose(IKE, answer.proposals)
        assert chosen is not None and chosen.prf is not None
        self.chosen = chosen
        seed = skeyseed(chosen.prf, self.nonce_i, self.nonce_r, shared)
        self._key(seed)

    def _key(self, seed: bytes) -> None:
        assert self.chosen is not None and self.chosen.prf is not None
        spis = self.spi_i, self.spi_r
        self.keys = ike_keys(
            self.chosen.prf, seed, self.nonce_i, self.nonce_r, *spis, self.chosen.encr, self.chosen.integ
        )

    # --- sealed messages ---

    def _cipher(self, *, ours: bool):  # type: ignore[no-untyped-def]
        assert self.keys is not None and self.chosen is not None
        key = self.keys.ei if self.initiator is ours else self.keys.er
        return sealer(self.chosen.encr, key, None, b"")

    def seal(
        self,
        exchange: int,
        inside: Inside,
        *,
        response: bool = False,
        message_id: int | None = None,
        plain: Sequence[wire.Payload] = (),
        fragment: tuple[int, int] | None = None,
        spoof_role: bool = False,
    ) -> bytes:
        """A datagram with these payloads under SK, or with `fragment` (number, total) under SKF."""
        number = self.next_id if message_id is None else message_id
        initiator = self.initiator is not spoof_role
        message = Message(self.spi_i, self.spi_r, exchange, initiator, response, number, list(plain))
        if not isinstance(inside, Inner):
            inside = Inner(*build_payloads(inside))
        octets = inside.octets + inside.padding
        cipher = self._cipher(ours=True)
        body = 8 + len(octets) + cipher.icv_octets
        if fragment:
            header = build_skf_header(message, inside.first, *fragment, body)
        else:
            header = build_sk_header(message, inside.first, body)
        self._iv += 1
        iv = self._iv.to_bytes(8)
        return bytes(header + iv + cipher.seal(iv, header, octets))

    def open(self, datagram: bytes) -> Message:
        """The message, its Encrypted payload replaced by what is in it when it is under our keys."""
        message = parse(datagram)
        sealed = message.payloads[-1] if message.payloads else None
        ours = {self.spi_i, self.spi_r} == {message.spi_i, message.spi_r}
        if isinstance(sealed, wire.SK) and self.keys is not None and ours:
            header = datagram[: len(datagram) - len(sealed.body)]
            plain = self._cipher(ours=False).open(sealed.body[:8], header, sealed.body[8:])
            message.payloads[-1:] = parse_payloads(sealed.first, plain[: -1 - plain[-1]])
        return message

    def request(self, exchange: int, *inside: wire.Payload, message_id: int | None = None) -> Message | None:
        """Send a request; its response, or None when the gateway stays silent."""
        return self.ask(self.seal(exchange, inside, message_id=message_id))

    def ask(self, datagram: bytes) -> Message | None:
        """Send a request made before; its response, which moves the window on."""
        number = parse_header(datagram).message_id
        found = [m for m in self.deliver(datagram) if m.response and m.message_id == number]
        if not found:
            return None
        self.next_id = (number + 1) & 0xFFFFFFFF
        return found[-1]

    def respond(self, *inside: wire.Payload, octets: Inner | None = None) -> list[Message]:
        """Answer the gateway's newest request."""
        asked = next(m for m in reversed(self.heard()) if not m.response and m.exchange != INIT)
        sealed = self.seal(asked.exchange, octets or inside, response=True, message_id=asked.message_id)
        return self.deliver(sealed)

    # --- what an honest peer would say ---

    def id_payload(self) -> wire.IDi | wire.IDr:
        return (wire.IDi if self.initiator else wire.IDr)(IdType.ID_FQDN, self.identity)

    def proof(self, identity: wire.Identification | None = None) -> wire.AUTH:
        """A right AUTH payload over this identity."""
        assert self.chosen is not None and self.chosen.prf is not None and self.keys is not None
        body = (identity or self.id_payload()).octets()
        ours, nonce = (self.init_request, self.nonce_r) if self.initiator else (self.init_response, self.nonce_i)
        key = self.keys.pi if self.initiator else self.keys.pr
        octets = signed_octets(ours, nonce, self.chosen.prf, key, body)
        return wire.AUTH(AuthMethod.SHARED_KEY_MESSAGE_INTEGRITY_CODE, psk_auth(self.chosen.prf, self.secret, octets))

    def child(self, spi: bytes = b"\0\1\2\3", *, with_ke: bool = False) -> list[wire.Payload]:
        """SA, TSi and TSr of the rogue's own network with the gateway's."""
        proposal = ESP[0].to_wire(1, spi)
        if not with_ke:
            proposal.transforms = [one for one in proposal.transforms if one.type != 4]
        mine, theirs = [Selector.parse(ROGUE_NET).to_wire()], [Selector.parse("10.1.0.0/24").to_wire()]
        tsi, tsr = (mine, theirs) if self.initiator else (theirs, mine)
        return [wire.SA([proposal]), wire.TSi(tsi), wire.TSr(tsr)]

    def credentials(self) -> list[wire.Payload]:
        return [self.id_payload(), self.proof()]

    def authenticate(self, *more: wire.Payload, child: bool = True) -> Message | None:
        """--> HDR, SK {IDi, AUTH, SAi2, TSi, TSr}"""
        return self.request(AUTH, *self.credentials(), *(self.child() if child else []), *more)

    def new_child(self, spi: bytes = b"\0\4\5\6", *first: wire.Payload) -> list[wire.Payload]:
        """A whole CREATE_CHILD_SA request."""
        sa, tsi, tsr = self.child(spi, with_ke=True)
        if not self.initiator:  # who asks is the initiator of this exchange
            assert isinstance(tsi, wire.TSi) and isinstance(tsr, wire.TSr)
            tsi, tsr = wire.TSi(tsr.selectors), wire.TSr(tsi.selectors)
        public = groups.offer(KeMethod.CURVE25519, self.chance.randbytes).public
        return [*first, sa, wire.Nonce(self.chance.randbytes(32)), wire.KE(KeMethod.CURVE25519, public), tsi, tsr]

    def rekey_sa(self) -> "Rogue":
        """Rekey the IKE SA as initiator; the new one, while the old one stays open for the delete."""
        spi, nonce = self.chance.randbytes(8), self.chance.randbytes(32)
        offer = groups.offer(KeMethod.CURVE25519, self.chance.randbytes)
        payloads = [wire.SA([IKE[0].to_wire(1, spi)]), wire.Nonce(nonce), wire.KE(KeMethod.CURVE25519, offer.public)]
        response = self.request(CREATE, *payloads)
        assert response is not None, "the gateway does not rekey"
        new = Rogue(self.scene, True, self.seed + 1, self.identity, self.secret, self.path)
        new.spi_i, new.nonce_i, new.nonce_r = spi, nonce, response.one(wire.Nonce).data
        answer = response.one(wire.SA)
        new.spi_r = answer.proposals[0].spi
        new.chosen = choose(IKE, answer.proposals)
        assert new.chosen is not None and new.chosen.prf is not None and self.keys is not None
        shared = offer.finish(response.one(wire.KE).data)
        new._key(rekey_skeyseed(new.chosen.prf, self.keys.d, shared, nonce, new.nonce_r))
        return new

    # --- what the gateway has of it ---

    @property
    def sa(self) -> IkeSa | None:
        return self.scene.engine.core.sas.get(self.spi_r if self.initiator else self.spi_i)

    @property
    def only_child(self) -> ChildSa:
        assert self.sa is not None
        (child,) = self.sa.children.values()
        return child


def errors(message: Message | None) -> list[int]:
    """The error notifies of an answer."""
    assert message is not None, "the gateway does not answer"
    return [notify.type for notify in message.all(wire.Notify) if notify.type < NotifyType.INITIAL_CONTACT]


def delete(*spis: bytes, protocol: int = Protocol.ESP) -> wire.Delete:
    return wire.Delete(protocol, list(spis))


# --- one rogue in each state of the gateway's SA ---


def half_open(scene: Scene) -> Rogue:
    """CONNECTING; the gateway has answered IKE_SA_INIT and waits for IKE_AUTH."""
    rogue = Rogue(scene, True)
    rogue.call()
    return rogue


def mixing(scene: Scene) -> Rogue:
    """CONNECTING; the gateway waits for IKE_INTERMEDIATE with the names of pre-shared keys (RFC 9867)."""
    rogue = Rogue(scene, True)
    rogue.call(None, *MIXES)
    return rogue


def proving(scene: Scene) -> Rogue:
    """CONNECTING; the gateway called and has sent its IKE_AUTH."""
    rogue = Rogue(scene, False)
    scene.connect()
    rogue.answer_call()
    return rogue


def answered(scene: Scene) -> Rogue:
    """ESTABLISHED; the rogue called."""
    rogue = half_open(scene)
    assert rogue.authenticate() is not None
    return rogue


def called(scene: Scene) -> Rogue:
    """ESTABLISHED; the gateway called."""
    rogue = proving(scene)
    rogue.respond(*rogue.credentials(), *rogue.child())
    return rogue


def rekeyed(scene: Scene) -> Rogue:
    """REKEYED; the rogue has made a new IKE SA and not deleted this one."""
    rogue = answered(scene)
    rogue.rekey_sa()
    return rogue


def deleting(scene: Scene) -> Rogue:
    """DELETING; the gateway's delete is not answered yet."""
    rogue = answered(scene)
    assert rogue.sa is not None
    number = rogue.sa.id
    scene.do(lambda engine, now: engine.terminate(number, now))
    return rogue


def creating(scene: Scene) -> Rogue:
    """ESTABLISHED, with a CREATE_CHILD_SA of the gateway's under way that rekeys its child."""
    rogue = called(scene)
    scene.do(lambda engine, now: engine.rekey("rogue", "net", now)[1])
    return rogue


def rekeying(scene: Scene) -> Rogue:
    """ESTABLISHED, with a CREATE_CHILD_SA of the gateway's under way that rekeys the IKE SA."""
    rogue = answered(scene)
    scene.do(lambda engine, now: engine.rekey("rogue", None, now)[1])
    return rogue


def closed(scene: Scene) -> Rogue:
    """CLOSED; the rogue has deleted it."""
    rogue = answered(scene)
    rogue.request(INFORM, delete(protocol=Protocol.IKE))
    return rogue


STATES: dict[str, Callable[[Scene], Rogue]] = {
    made.__name__: made
    for made in (half_open, proving, answered, called, rekeyed, deleting, creating, rekeying, closed)
}
