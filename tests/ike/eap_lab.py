"""Two ends of EAP at one table: packets go over as octets, one end after the other."""

import datetime as dt
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from types import coroutine
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from gateway.ike.authentication.eap import peer as eap_peer
from gateway.ike.authentication.eap import server as eap_server
from gateway.ike.authentication.eap.gate import Account, Gate, Proven, Tries
from gateway.ike.authentication.eap.methods import chosen
from gateway.ike.authentication.eap.talk import Failed, PeerTalk, ServerTalk
from gateway.policy.users import User
from gateway.wire.numbers import EapCode
from gateway.wire.payloads import EAP

Twist = Callable[[EAP], EAP]
NOW = 1_700_000_000.0


@coroutine
def _over(packet: EAP):  # type: ignore[no-untyped-def]
    return (yield packet)


async def carry(packet: EAP) -> EAP:
    """To whoever runs the script."""
    got: EAP = await _over(packet)
    return got


def again(packet: EAP) -> EAP:
    """As it is read at the other end."""
    octets = packet.octets()
    return EAP.read(octets, 0, len(octets))


@dataclass
class Server:
    """A server with one user, and what came of its conversations."""

    users: dict[str, User] = field(default_factory=lambda: {"anna": User("anna", b"open sesame")})
    methods: tuple[str, ...] = ("mschapv2",)
    tries: Tries = field(default_factory=Tries)
    remote: str = "192.0.2.7"
    now: float = 1000.0
    tls: Callable[[], Any] | None = None
    certified: Callable[[str, tuple[bytes, ...]], str] | None = None
    random: Callable[[int], bytes] = field(default=lambda octets: bytes(range(octets)))

    def gate(self) -> Gate:
        made = Gate(self.users, self.tries, self.remote, lambda: self.now, lambda: NOW, self.random, tls=self.tls)
        if self.certified:
            made.certified = self.certified
        return made

    async def conversation(self) -> Proven:
        talk = ServerTalk(carry, 7)
        claimed = await eap_server.ask_identity(talk)
        return await eap_server.admit(talk, self.gate(), claimed, chosen(self.methods))


@dataclass
class Ended:
    """How both ends came out, and all packets in order."""

    server: Proven | Failed | None = None
    peer: Proven | Failed | None = None
    packets: list[EAP] = field(default_factory=list)


def account(
    name: bytes = b"anna", password: bytes = b"open sesame", methods: tuple[int, ...] = (26,), **more: Any
) -> Account:
    return Account(name, password, methods, random=lambda octets: bytes(range(octets, 0, -1)), **more)


def step(script: Coroutine[EAP, EAP, Proven], packet: EAP | None) -> EAP | Proven | Failed:
    try:
        return script.send(packet)  # type: ignore[arg-type]
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]
    except Failed as failed:
        return failed


def meet(server: Server, who: Account, to_server: Twist | None = None, to_peer: Twist | None = None) -> Ended:
    """Let them talk to the end; a twist changes packets on their way."""
    ended, serving = Ended(), server.conversation()
    proving: Coroutine[EAP, EAP, Proven] | None = None
    said: EAP | Proven | Failed = step(serving, None)
    while True:
        if isinstance(said, EAP):
            packet = said
        else:
            ended.server = said
            code = EapCode.SUCCESS if isinstance(said, Proven) else EapCode.FAILURE
            packet = EAP(code, ended.packets[-1].identifier)
        packet = again(to_peer(packet) if to_peer else packet)
        ended.packets.append(packet)
        if proving is None:
            proving = eap_peer.prove(PeerTalk(carry), who, packet)
            answer = step(proving, None)
        else:
            answer = step(proving, packet)
        if not isinstance(answer, EAP):
            ended.peer = answer
            break
        if ended.server is not None:
            break
        answer = again(to_server(answer) if to_server else answer)
        ended.packets.append(answer)
        said = step(serving, answer)
    serving.close()
    if proving:
        proving.close()
    return ended


def why(end: Proven | Failed | None) -> str:
    assert isinstance(end, Failed), end
    return end.why


def cause(end: Proven | Failed | None) -> str:
    assert isinstance(end, Failed), end
    return end.cause


# --- certificates ---


@dataclass
class Issued:
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)


def issue(
    name: str,
    by: Issued | None = None,
    *,
    san: tuple[x509.GeneralName, ...] = (),
    usage: x509.ObjectIdentifier | None = None,
    days: int = 365,
    ca: bool = False,
    now: float = NOW,
) -> Issued:
    """A certificate, of a new key; signed by itself where no issuer is given."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    today = dt.datetime.fromtimestamp(now, dt.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(by.certificate.subject if by else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(today - dt.timedelta(days=30))
        .not_valid_after(today + dt.timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca, None), critical=True)
    )
    if san:
        builder = builder.add_extension(x509.SubjectAlternativeName(san), critical=False)
    if usage:
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    return Issued(key, builder.sign(by.key if by else key, hashes.SHA256()))


def revocation_list(by: Issued, *revoked: Issued) -> bytes:
    """The issuer's list, fresh at NOW, in DER."""
    now = dt.datetime.fromtimestamp(NOW, dt.UTC)
    builder = x509.CertificateRevocationListBuilder().issuer_name(by.certificate.subject)
    builder = builder.last_update(now - dt.timedelta(days=1)).next_update(now + dt.timedelta(days=7))
    for one in revoked:
        entry = x509.RevokedCertificateBuilder().serial_number(one.certificate.serial_number).revocation_date(now)
        builder = builder.add_revoked_certificate(entry.build())
    return builder.sign(by.key, hashes.SHA256()).public_bytes(Encoding.DER)


CLIENT, SERVER = ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH
