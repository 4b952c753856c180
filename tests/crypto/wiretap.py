"""A reader of recorded negotiations: told the shared secrets, it derives every key and opens every packet.

It walks payloads by itself, in a few lines: what it proves about keys and ciphers rests on no parser of ours.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from gateway.crypto.ciphers import Cipher, sealer
from gateway.crypto.keys import ChildKeys, IkeKeys, child_keys, ike_keys, rekey_skeyseed, skeyseed
from gateway.crypto.suites import (
    Encryption,
    Integrity,
    KeyExchangeMethod,
    PseudoRandom,
    encryption,
    integrity,
    key_exchange,
    pseudo_random,
)

SA, KE, IDI, IDR, CERT, AUTH, NONCE, NOTIFY, SK, SKF = 33, 34, 35, 36, 37, 39, 40, 41, 46, 53
IKE_SA_INIT, IKE_AUTH, CREATE_CHILD_SA, IKE_INTERMEDIATE, IKE_FOLLOWUP_KE = 34, 35, 36, 43, 44
Payloads = list[tuple[int, bytes]]


def walk(kind: int, data: bytes) -> Iterator[tuple[int, bytes]]:
    """Payload types and bodies, generic headers stripped; SK comes last and names the first payload within."""
    while kind:
        length = int.from_bytes(data[2:4], "big")
        yield kind, data[4:length]
        if kind in (SK, SKF):
            return
        kind, data = data[0], data[length:]


def body(payloads: Payloads, kind: int) -> bytes:
    """The body of the first payload of that type, empty without one."""
    return next((octets for found, octets in payloads if found == kind), b"")


@dataclass
class Chosen:
    """What an SA payload in a response settles on."""

    protocol: int
    spi: bytes
    encr: Encryption | None = None
    prf: PseudoRandom | None = None
    integ: Integrity | None = None
    methods: list[KeyExchangeMethod | None] = field(default_factory=list)

    @classmethod
    def read(cls, sa: bytes) -> "Chosen":
        spi_octets, count = sa[6], sa[7]
        chosen, rest = cls(sa[5], sa[8 : 8 + spi_octets]), sa[8 + spi_octets :]
        for _ in range(count):
            length, kind, number = int.from_bytes(rest[2:4], "big"), rest[4], int.from_bytes(rest[6:8], "big")
            if kind == 1:
                chosen.encr = encryption(number, int.from_bytes(rest[10:12], "big") if length > 8 else None)
            elif kind == 2:
                chosen.prf = pseudo_random(number)
            elif kind == 3:
                chosen.integ = integrity(number)
            elif kind in (4, 6) and number:
                chosen.methods.append(key_exchange(number))
            rest = rest[length:]
        return chosen

    @property
    def cipher(self) -> Encryption:
        assert self.encr is not None, "an algorithm that the table does not have"
        return self.encr


@dataclass
class IkeSa:
    """The keys of one IKE SA and both its ciphers."""

    chosen: Chosen
    prf: PseudoRandom
    spi_i: bytes
    spi_r: bytes
    nonce_i: bytes
    nonce_r: bytes
    seed: bytes
    keys: IkeKeys = field(init=False)
    ciphers: dict[bool, Cipher] = field(init=False)

    def __post_init__(self) -> None:
        self.derive(self.seed)

    def derive(self, seed: bytes) -> None:
        chosen, self.seed = self.chosen, seed
        encr, integ = chosen.cipher, chosen.integ
        keys = ike_keys(self.prf, seed, self.nonce_i, self.nonce_r, self.spi_i, self.spi_r, encr, integ)
        self.keys = keys
        self.ciphers = {True: sealer(encr, keys.ei, integ, keys.ai), False: sealer(encr, keys.er, integ, keys.ar)}


@dataclass
class Opened:
    """One message, opened if it was sealed and put together if it came in fragments; `raw` is its last datagram."""

    exchange: int
    initiator: bool
    response: bool
    message_id: int
    payloads: Payloads
    raw: bytes
    inside: tuple[int, bytes] | None = None  # the first payload's type and the octets, for IntAuth


class Wiretap:
    """Feed it datagrams in order; `secrets` are the key exchanges' results in the order in which they complete."""

    def __init__(self, secrets: list[bytes]) -> None:
        self.secrets = list(secrets)
        self.messages: list[Opened] = []
        self.inner_packets: list[bytes] = []
        self.ike_sas: list[IkeSa] = []
        self.seeds: list[bytes] = []
        self.derived: list[IkeKeys] = []
        self.children: list[ChildKeys] = []
        self.int_auth: dict[bool, bytes] = {True: b"", False: b""}
        self.int_auth_octets: list[bytes] = []
        self._by_spis: dict[tuple[bytes, bytes], IkeSa] = {}
        self._esp: dict[bytes, Cipher] = {}
        self._fragments: list[bytes] = []
        self._exchanging: list[bytes] = []

    def datagram(self, port: int, data: bytes) -> None:
        if port == 4500 and data[:4] != bytes(4):
            self._open_esp(data)
        else:
            self._ike(data[4:] if port == 4500 else data)

    def _open_esp(self, data: bytes) -> None:
        cipher = self._esp[data[:4]]
        body_at = 8 + cipher.iv_octets
        plaintext = cipher.open(data[8:body_at], data[:8], data[body_at:])
        pad, following = plaintext[-2:]
        assert following == 4
        assert plaintext[-2 - pad : -2] == bytes(range(1, pad + 1))  # RFC 4303 2.4
        self.inner_packets.append(plaintext[: -2 - pad])

    def _ike(self, data: bytes) -> None:
        assert int.from_bytes(data[24:28], "big") == len(data)
        payloads = list(walk(data[16], data[28:]))
        inside = None
        if payloads and payloads[-1][0] in (SK, SKF):
            inside = self._unseal(data, *payloads[-1])
            if inside is None:
                return
            payloads = payloads[:-1] + list(walk(*inside))
        flags, message_id = data[19], int.from_bytes(data[20:24], "big")
        message = Opened(data[18], bool(flags & 8), bool(flags & 32), message_id, payloads, data, inside)
        self.messages.append(message)
        if message.response:
            self._respond(self._request(message), message)

    def _request(self, response: Opened) -> Opened:
        return next(
            m
            for m in reversed(self.messages)
            if not m.response and (m.exchange, m.message_id) == (response.exchange, response.message_id)
        )

    def _unseal(self, data: bytes, kind: int, body: bytes) -> tuple[int, bytes] | None:
        """RFC 7296 3.14, RFC 7383 2.5: the inner payloads, None while fragments are missing."""
        sa = self._by_spis[data[:8], data[8:16]]
        cipher = sa.ciphers[bool(data[19] & 8)]
        start = 4 if kind == SKF else 0
        at = len(data) - len(body) + start
        iv = body[start : start + cipher.iv_octets]
        plaintext = cipher.open(iv, data[:at], body[start + cipher.iv_octets :])
        plaintext = plaintext[: -1 - plaintext[-1]]
        first = data[len(data) - len(body) - 4]
        if kind == SK:
            return first, plaintext
        number, total = int.from_bytes(body[:2], "big"), int.from_bytes(body[2:4], "big")
        self._fragments = [] if number == 1 else self._fragments
        if number == 1:
            self._first = first
        self._fragments.append(plaintext)
        return (self._first, b"".join(self._fragments)) if number == total else None

    def _respond(self, request: Opened, response: Opened) -> None:
        exchange, chosen = response.exchange, body(response.payloads, SA)
        if exchange == IKE_SA_INIT and chosen:
            self._establish(request, response)
        elif exchange == IKE_INTERMEDIATE:
            self._intermediate(request, response)
        elif exchange == IKE_AUTH and chosen:
            sa = self.ike_sas[-1]
            self._child(body(request.payloads, SA) or self._offered(), chosen, sa.nonce_i + sa.nonce_r, [])
        elif exchange in (CREATE_CHILD_SA, IKE_FOLLOWUP_KE):
            self._create(request, response)

    def _offered(self) -> bytes:
        """The SAi2 of the first IKE_AUTH request: with EAP the response comes many messages later."""
        return next(sa for m in self.messages if m.exchange == IKE_AUTH and (sa := body(m.payloads, SA)))

    def _establish(self, request: Opened, response: Opened) -> None:
        chosen = Chosen.read(body(response.payloads, SA))
        nonce_i, nonce_r = body(request.payloads, NONCE), body(response.payloads, NONCE)
        assert chosen.prf is not None
        seed = skeyseed(chosen.prf, nonce_i, nonce_r, self.secrets.pop(0))
        self._add(IkeSa(chosen, chosen.prf, response.raw[:8], response.raw[8:16], nonce_i, nonce_r, seed))

    def rekey_with(self, ei: bytes, er: bytes, ai: bytes, ar: bytes) -> None:
        """Take the keys of the newest IKE SA as given: a recording without its shared secret."""
        sa = self.ike_sas[-1]
        encr, integ = sa.chosen.cipher, sa.chosen.integ
        sa.ciphers = {True: sealer(encr, ei, integ, ai), False: sealer(encr, er, integ, ar)}

    def _add(self, sa: IkeSa) -> None:
        self._by_spis[sa.spi_i, sa.spi_r] = sa
        self.ike_sas.append(sa)
        self._note(sa)

    def _note(self, sa: IkeSa) -> None:
        self.seeds.append(sa.seed)
        self.derived.append(sa.keys)

    def _intermediate(self, request: Opened, response: Opened) -> None:
        """RFC 9242 3.3.2: IntAuth with the keys that protected the exchange; RFC 9370 2.2.2: then the new keys."""
        sa = self.ike_sas[-1]
        for message, key in ((request, sa.keys.pi), (response, sa.keys.pr)):
            assert message.inside is not None
            first, inner = message.inside
            length = (32 + len(inner)).to_bytes(4, "big")
            octets = message.raw[:16] + bytes((SK,)) + message.raw[17:24] + length
            octets += bytes((first, 0)) + (4 + len(inner)).to_bytes(2, "big") + inner
            self.int_auth_octets.append(octets)
            self.int_auth[message.initiator] = sa.prf.compute(key, self.int_auth[message.initiator] + octets)
        sa.derive(rekey_skeyseed(sa.prf, sa.keys.d, self.secrets.pop(0), sa.nonce_i, sa.nonce_r))
        self._note(sa)

    def _create(self, request: Opened, response: Opened) -> None:
        """CREATE_CHILD_SA, with the IKE_FOLLOWUP_KE exchanges that its additional methods ask for (RFC 9370 2.2.4)."""
        if response.exchange == CREATE_CHILD_SA:
            self._started = request, response
            self._exchanging = []
        request, response = self._started
        chosen = Chosen.read(body(response.payloads, SA))
        self._exchanging.append(self.secrets.pop(0))
        if len(self._exchanging) < len(chosen.methods):
            return
        first, additional = self._exchanging[0], b"".join(self._exchanging[1:])
        nonce_i, nonce_r = body(request.payloads, NONCE), body(response.payloads, NONCE)
        old = self.ike_sas[-1]
        if chosen.protocol == 1:
            assert chosen.prf is not None
            seed = rekey_skeyseed(old.prf, old.keys.d, first, nonce_i, nonce_r, additional)
            spi_i = Chosen.read(body(request.payloads, SA)).spi
            self._add(IkeSa(chosen, chosen.prf, spi_i, chosen.spi, nonce_i, nonce_r, seed))
        else:
            offered = body(request.payloads, SA)
            self._child(offered, body(response.payloads, SA), nonce_i + nonce_r, [first, additional])

    def _child(self, offered: bytes, accepted: bytes, nonces: bytes, secrets: list[bytes]) -> None:
        sa, chosen, half = self.ike_sas[-1], Chosen.read(accepted), len(nonces) // 2
        encr, integ = chosen.encr, chosen.integ
        if encr is None:  # an algorithm that our table does not have
            return
        keys = child_keys(sa.prf, sa.keys.d, nonces[:half], nonces[half:], encr, integ, *secrets)
        self.children.append(keys)
        # An SPI is its receiver's: packets to the responder carry the responder's SPI and the initiator's keys.
        self._esp[chosen.spi] = sealer(encr, keys.encr_i, integ, keys.integ_i)
        self._esp[Chosen.read(offered).spi] = sealer(encr, keys.encr_r, integ, keys.integ_r)
