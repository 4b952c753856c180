"""What a peer that holds the keys can put inside an Encrypted payload to break the other end."""

from collections.abc import Callable

from gateway.wire import payloads as wire
from gateway.wire.numbers import (
    AttributeType,
    AuthMethod,
    IdType,
    KeMethod,
    NotifyType,
    PayloadType,
    Protocol,
    TransformType,
)
from tests.hostile.rogue import Inner, Inside, Rogue, delete

Abuse = Callable[[Rogue], Inside]

HOSTILE_TEXT = b"\x1b]0;owned\x07%s%n{0}\r\nFeb 29 00:00:00 fake: line<script>alert(1)</script>\xff\xfe"


def notify(kind: int, data: bytes = b"", spi: bytes = b"", protocol: int = 0) -> wire.Notify:
    return wire.Notify(protocol, spi, kind, data)


def selector(start: int, end: int, ports: tuple[int, int] = (0, 65535), protocol: int = 0) -> wire.TrafficSelector:
    return wire.TrafficSelector(7, protocol, *ports, start.to_bytes(4), end.to_bytes(4))


def offer(count: int = 1, transforms: list[wire.Transform] | None = None, spi: bytes = b"\0\7\7\7") -> wire.SA:
    usual = [wire.Transform(TransformType.ENCR, 20, 256), wire.Transform(TransformType.SN, 0)]
    return wire.SA([wire.Proposal(n % 255 + 1, Protocol.ESP, spi, transforms or usual) for n in range(count)])


def ike_offer(spi: bytes) -> wire.SA:
    kinds = [(TransformType.PRF, 5), (TransformType.KE, 31)]
    transforms = [wire.Transform(TransformType.ENCR, 20, 256)] + [wire.Transform(kind, n) for kind, n in kinds]
    return wire.SA([wire.Proposal(1, Protocol.IKE, spi, transforms)])


def raw(kind: int, body: bytes, *, length: int | None = None) -> Inner:
    octets = bytes((0, 0)) + (4 + len(body) if length is None else length).to_bytes(2) + body
    return Inner(kind, octets)


def _spis(rogue: Rogue) -> tuple[bytes, bytes]:
    """The gateway's inbound and outbound SPI of the child, if there is one."""
    children = list(rogue.sa.children.values()) if rogue.sa else []
    if not children:
        return b"\0\1\1\1", b"\0\2\2\2"
    return children[0].spi_in.to_bytes(4), children[0].spi_out.to_bytes(4)


def _many(rogue: Rogue, kind: int) -> list[wire.Payload]:
    return [notify(kind, bytes(number % 90)) for number in range(60)]


def _twice(rogue: Rogue, index: int) -> list[wire.Payload]:
    child = rogue.child(b"\0\7\7\7")
    return [*rogue.credentials(), *child, child[index]]


def _ts(*selectors: wire.TrafficSelector) -> Abuse:
    chosen = list(selectors)
    return lambda r: [*r.credentials(), offer(), wire.Nonce(bytes(32)), wire.TSi(chosen), wire.TSr(chosen)]


def _sa(transforms: list[wire.Transform], count: int = 1) -> Abuse:
    return lambda r: [*r.credentials(), offer(count, transforms), wire.Nonce(bytes(32)), *r.child()[1:]]


def _create(*first: wire.Payload, spi: bytes = b"\0\7\7\7") -> Abuse:
    return lambda r: r.new_child(spi, *first)


def _ike(spi: bytes, ke: wire.KE, nonce: bytes = bytes(32)) -> Abuse:
    return lambda r: [ike_offer(spi), wire.Nonce(nonce), ke]


def _identity(kind: int, data: bytes) -> Abuse:
    def made(rogue: Rogue) -> list[wire.Payload]:
        claimed = (wire.IDi if rogue.initiator else wire.IDr)(kind, data)
        return [claimed, rogue.proof(claimed), *rogue.child()]

    return made


_KEYED = wire.Transform(TransformType.ENCR, 20, 0)
_LONG_KEY = wire.Transform(TransformType.ENCR, 20, 65535)
_ODD = wire.TransformAttribute(AttributeType.KEY_LENGTH + 1, b"x" * 60)
X25519 = KeMethod.CURVE25519

ABUSES: dict[str, Abuse] = {
    "nothing": lambda _: [],
    "one vendor ID": lambda _: [wire.VendorId(HOSTILE_TEXT)],
    "a payload type of zero length": lambda _: raw(PayloadType.NOTIFY, b"", length=0),
    "a payload length of 3": lambda _: raw(PayloadType.SA, b"", length=3),
    "a payload past the end": lambda _: raw(PayloadType.NONCE, b"x" * 40, length=60000),
    "octets after the last payload": lambda _: Inner(PayloadType.NONCE, b"\0\0\0\x14" + bytes(16) + b"tail"),
    "padding longer than everything": lambda _: Inner(PayloadType.NONCE, b"", b"\xff"),
    "SK within SK": lambda _: raw(PayloadType.SK, bytes(64)),
    "SKF within SK": lambda _: raw(PayloadType.SKF, b"\0\1\0\1" + bytes(64)),
    "an unknown critical payload": lambda _: [wire.Unknown(200, b"x", critical=True)],
    "an unknown payload": lambda _: [wire.Unknown(200, b"x")],
    "a type of the IKEv1 range": lambda _: raw(1, bytes(40)),
    "sixty-four payloads": lambda _: [wire.VendorId(b"") for _ in range(64)],
    "sixty-five payloads": lambda _: Inner(43, (b"\x2b\0\0\4" * 64) + b"\0\0\0\4"),
    "sixty notifies of unknown type": lambda r: _many(r, 40000),
    "sixty notifies of unknown error type": lambda r: _many(r, 16000),
    "sixty cookies": lambda r: _many(r, NotifyType.COOKIE),
    "a cookie of 60,000 octets": lambda _: [notify(NotifyType.COOKIE, bytes(60000))],
    "INVALID_KE_PAYLOAD of nothing": lambda _: [notify(NotifyType.INVALID_KE_PAYLOAD)],
    "INVALID_KE_PAYLOAD of one octet": lambda _: [notify(NotifyType.INVALID_KE_PAYLOAD, b"\x1f")],
    "INVALID_KE_PAYLOAD for group 0": lambda _: [notify(NotifyType.INVALID_KE_PAYLOAD, bytes(2))],
    "INVALID_KE_PAYLOAD for the same group": lambda _: [notify(NotifyType.INVALID_KE_PAYLOAD, b"\0\x1f")],
    "NAT detection of odd lengths": lambda _: [
        notify(kind, bytes(size))
        for size in (0, 1, 19, 21, 4000)
        for kind in (NotifyType.NAT_DETECTION_SOURCE_IP, NotifyType.NAT_DETECTION_DESTINATION_IP)
    ],
    "error 0": lambda _: [notify(0)],
    "AUTHENTICATION_FAILED": lambda _: [notify(NotifyType.AUTHENTICATION_FAILED, HOSTILE_TEXT)],
    "INVALID_SYNTAX": lambda _: [notify(NotifyType.INVALID_SYNTAX, HOSTILE_TEXT)],
    "TEMPORARY_FAILURE": lambda _: [notify(NotifyType.TEMPORARY_FAILURE)],
    "CHILD_SA_NOT_FOUND": lambda _: [notify(NotifyType.CHILD_SA_NOT_FOUND, spi=b"\0\1\2\3", protocol=3)],
    "NO_ADDITIONAL_SAS": lambda _: [notify(NotifyType.NO_ADDITIONAL_SAS)],
    "every error of the registry": lambda _: [notify(kind) for kind in range(1, 48)],
    "status notifies, empty, unasked": lambda _: [notify(kind) for kind in range(16384, 16444)],
    "status notifies, long, unasked": lambda _: [notify(kind, b"\xff" * 300) for kind in range(16384, 16444)],
    "status notifies with an SPI of 255 octets": lambda _: [
        notify(kind, b"", bytes(255), 3) for kind in range(16384, 16444)
    ],
    "REKEY_SA for the gateway's own SPI": lambda r: r.new_child(
        b"\0\7\7\7", notify(NotifyType.REKEY_SA, b"", _spis(r)[0], Protocol.ESP)
    ),
    "REKEY_SA of protocol IKE": lambda r: r.new_child(
        b"\0\7\7\7", notify(NotifyType.REKEY_SA, b"", _spis(r)[1], Protocol.IKE)
    ),
    "REKEY_SA of protocol 77": lambda r: r.new_child(b"\0\7\7\7", notify(NotifyType.REKEY_SA, b"", _spis(r)[1], 77)),
    "REKEY_SA with no SPI": _create(notify(NotifyType.REKEY_SA, protocol=3)),
    "REKEY_SA with an SPI of 255 octets": _create(notify(NotifyType.REKEY_SA, b"", bytes(255), 3)),
    "REKEY_SA for SPI 0": _create(notify(NotifyType.REKEY_SA, b"", bytes(4), 3)),
    "sixty REKEY_SA": lambda r: [
        *[notify(NotifyType.REKEY_SA, b"", _spis(r)[1], 3) for _ in range(50)],
        *r.new_child(b"\0\7\7\7"),
    ],
    "the same ESP SPI again": lambda r: r.new_child(_spis(r)[1]),
    "the gateway's own ESP SPI": lambda r: r.new_child(_spis(r)[0]),
    "an ESP SPI of zero": _create(spi=bytes(4)),
    "a reserved ESP SPI": _create(spi=b"\0\0\0\xff"),
    "no nonce": lambda r: [one for one in r.new_child() if not isinstance(one, wire.Nonce)],
    "a nonce of one octet": lambda r: [*r.credentials(), *r.child(), wire.Nonce(b"x")],
    "a nonce of 60,000 octets": lambda r: [*r.child(), wire.Nonce(bytes(60000)), wire.KE(X25519, bytes(32))],
    "an empty nonce": lambda _: raw(PayloadType.NONCE, b""),
    "an empty KE": lambda r: [*r.child(with_ke=True), wire.Nonce(bytes(32)), wire.KE(X25519, b"")],
    "KE of low order": lambda r: [*r.child(with_ke=True), wire.Nonce(bytes(32)), wire.KE(X25519, bytes(32))],
    "KE for a group not proposed": lambda r: [*r.child(with_ke=True), wire.Nonce(bytes(32)), wire.KE(14, bytes(256))],
    "KE for group 0": lambda r: [*r.child(with_ke=True), wire.Nonce(bytes(32)), wire.KE(0, b"")],
    "KE for group 65535": lambda r: [*r.child(with_ke=True), wire.Nonce(bytes(32)), wire.KE(65535, bytes(9000))],
    "a rekey with an SPI of zero": _ike(bytes(8), wire.KE(X25519, b"\x09" + bytes(31))),
    "a rekey without an SPI": _ike(b"", wire.KE(X25519, b"\x09" + bytes(31))),
    "a rekey to the gateway's own SPI": lambda r: [
        ike_offer(r.spi_r if r.initiator else r.spi_i),
        wire.Nonce(bytes(32)),
        wire.KE(X25519, b"\x09" + bytes(31)),
    ],
    "a rekey with a low-order point": _ike(b"12345678", wire.KE(X25519, b"\1" + bytes(31))),
    "a rekey with a short nonce": _ike(b"12345678", wire.KE(X25519, b"\x09" + bytes(31)), b"x"),
    "a rekey without KE": lambda _: [ike_offer(b"12345678"), wire.Nonce(bytes(32))],
    "ESP and IKE in one offer": lambda r: [
        wire.SA([*ike_offer(b"12345678").proposals, *offer().proposals]),
        wire.Nonce(bytes(32)),
        *r.child()[1:],
    ],
    "AH offered": lambda r: [
        wire.SA([wire.Proposal(1, Protocol.AH, b"\0\7\7\7", [wire.Transform(TransformType.INTEG, 12)])]),
        wire.Nonce(bytes(32)),
        *r.child()[1:],
    ],
    "protocol 0 offered": lambda r: [
        wire.SA([wire.Proposal(1, 0, b"", [wire.Transform(1, 20)])]),
        wire.Nonce(bytes(32)),
        *r.child()[1:],
    ],
    "an SA without proposals": lambda _: raw(PayloadType.SA, b""),
    "a proposal without transforms": lambda _: raw(PayloadType.SA, b"\0\0\0\x0c\1\3\4\0\0\7\7\7"),
    "an SA of two payloads": lambda r: _twice(r, 0),
    "TSi twice": lambda r: _twice(r, 1),
    "TSr twice": lambda r: _twice(r, 2),
    "a key length of 0": _sa([_KEYED]),
    "a key length of 65535": _sa([_LONG_KEY]),
    "a key length twice": lambda _: raw(
        PayloadType.SA,
        b"\0\0\0\x1c\1\3\4\1\0\7\7\7" + b"\0\0\0\x10\1\0\0\x14" + b"\x80\x0e\1\0" * 2,
    ),
    "a key length for a cipher without one": _sa([wire.Transform(TransformType.ENCR, 28, 256)]),
    "an unknown attribute": _sa([wire.Transform(TransformType.ENCR, 20, 256, (_ODD,))]),
    "unknown transform types": _sa([wire.Transform(kind, 1) for kind in range(13, 255)]),
    "every encryption number": _sa([wire.Transform(TransformType.ENCR, n, 256) for n in range(255)]),
    "additional key exchanges": _sa([wire.Transform(kind, 36) for kind in range(6, 13)]),
    "sixty-four proposals": lambda r: [offer(64), wire.Nonce(bytes(32)), *r.child()[1:]],
    "sixty-five proposals": lambda r: [offer(65), wire.Nonce(bytes(32)), *r.child()[1:]],
    "two thousand transforms": lambda r: [offer(8, [_KEYED] * 250), wire.Nonce(bytes(32)), *r.child()[1:]],
    "an empty TS": lambda _: raw(PayloadType.TSi, b"\0\0\0\0"),
    "a TS that runs backwards": _ts(selector(0x0A420005, 0x0A420001)),
    "ports that run backwards": _ts(selector(0, 0xFFFFFFFF, (9, 3), 6)),
    "opaque ports": _ts(selector(0, 0xFFFFFFFF, (65535, 0), 6)),
    "TS of unknown types": lambda r: [
        *r.credentials(),
        offer(),
        wire.Nonce(bytes(32)),
        wire.TSi([wire.TrafficSelector(200, 0, 0, 0, b"", b"", b"x" * 20)]),
        wire.TSr([wire.TrafficSelector(9, 0, 0, 0, b"", b"", b"")]),
    ],
    "255 selectors that overlap in part": _ts(*[selector(0, 0xFFFFFFFF, (n, n), 6) for n in range(255)]),
    "255 selectors of everything": _ts(*[selector(0, 0xFFFFFFFF) for _ in range(255)]),
    "a delete of everything that there is not": lambda _: [delete(*[n.to_bytes(4) for n in range(1024)])],
    "a delete of 1025 SPIs": lambda _: raw(PayloadType.DELETE, b"\3\4\4\1" + bytes(4 * 1025)),
    "a delete with an SPI size of 0": lambda _: raw(PayloadType.DELETE, b"\3\0\0\5"),
    "a delete of AH": lambda r: [delete(_spis(r)[1], protocol=Protocol.AH)],
    "a delete of protocol 99": lambda r: [delete(_spis(r)[1], protocol=99)],
    "a delete by the gateway's own SPI": lambda r: [delete(_spis(r)[0])],
    "a delete with an SPI of eight octets": lambda r: [delete(bytes(4) + _spis(r)[1])],
    "a delete of the child, twice": lambda r: [delete(_spis(r)[1], _spis(r)[1]), delete(_spis(r)[1])],
    "a delete of the IKE SA with SPIs": lambda r: [delete(b"12345678", protocol=Protocol.IKE)],
    "payloads after a delete": lambda r: [delete(protocol=Protocol.IKE), delete(_spis(r)[1]), *r.new_child()],
    "sixty deletes of the IKE SA": lambda _: [delete(protocol=Protocol.IKE) for _ in range(60)],
    "credentials again": lambda r: [*r.credentials(), *r.child()],
    "IDi twice": lambda r: [r.id_payload(), *r.credentials(), *r.child()],
    "AUTH twice": lambda r: [*r.credentials(), r.proof(), *r.child()],
    "both identities of the other role": lambda r: [wire.IDi(2, b"rogue.example"), wire.IDr(2, b"rogue.example")],
    "AUTH without identity": lambda r: [r.proof(), *r.child()],
    "an empty AUTH": lambda r: [r.id_payload(), wire.AUTH(AuthMethod.SHARED_KEY_MESSAGE_INTEGRITY_CODE, b"")],
    "AUTH of method 0": lambda r: [r.id_payload(), wire.AUTH(0, bytes(32)), *r.child()],
    "AUTH of method 255": lambda r: [r.id_payload(), wire.AUTH(255, bytes(32)), *r.child()],
    "NULL authentication": lambda r: [wire.IDi(IdType.ID_NULL, b""), wire.AUTH(13, bytes(32)), *r.child()],
    "a digital signature with an unknown OID": lambda r: [
        r.id_payload(),
        wire.AUTH(AuthMethod.DIGITAL_SIGNATURE, b"\x06\x30\x04\x06\x02\x2a\x03" + bytes(64)),
    ],
    "a digital signature with an OID that ends nowhere": lambda r: [
        r.id_payload(),
        wire.AUTH(AuthMethod.DIGITAL_SIGNATURE, b"\xff\x30\x84\xff\xff\xff\xff"),
    ],
    "an RSA signature": lambda r: [r.id_payload(), wire.AUTH(AuthMethod.RSA_DIGITAL_SIGNATURE, bytes(4096))],
    "a certificate of no octets": lambda r: [r.id_payload(), wire.CERT(4, b""), wire.AUTH(1, b"")],
    "a certificate of garbage": lambda r: [r.id_payload(), wire.CERT(4, b"\x30\x84\xff\xff\xff\xff"), r.proof()],
    "a certificate by URL": lambda r: [wire.CERT(12, bytes(20) + b"http://192.0.2.66/"), *r.credentials(), *r.child()],
    "certificate requests": lambda r: [wire.CERTREQ(4, bytes(19)), *r.credentials(), *r.child()],
    "an identity of no octets": _identity(IdType.ID_FQDN, b""),
    "an address of three octets": _identity(IdType.ID_IPV4_ADDR, b"abc"),
    "an address of no octets": _identity(IdType.ID_IPV6_ADDR, b""),
    "a distinguished name of garbage": _identity(IdType.ID_DER_ASN1_DN, b"\x30\x80\xff\xff"),
    "a name with an attribute of its own type": _identity(
        IdType.ID_DER_ASN1_DN, bytes.fromhex("300e310c300a0603550 42d0c0361626300".replace(" ", ""))[:16]
    ),
    "an OID that does not end": _identity(IdType.ID_DER_ASN1_DN, b"\x30\x82\x03\xf0\x31\x82\x03\xec" + b"\xff" * 1004),
    "an identity of 60,000 octets": _identity(IdType.ID_KEY_ID, b"A" * 60000),
    "an identity of an unknown type": _identity(200, HOSTILE_TEXT),
    "an identity with escapes": _identity(IdType.ID_FQDN, HOSTILE_TEXT),
    "the honest peer's identity": _identity(IdType.ID_FQDN, b"honest.example"),
    "INITIAL_CONTACT": lambda r: [notify(NotifyType.INITIAL_CONTACT), *r.credentials(), *r.child()],
    "addresses asked for": lambda r: [wire.CP(1, [wire.Attribute(n, b"") for n in range(1, 30)]), *r.child()],
    "addresses given": lambda r: [wire.CP(2, [wire.Attribute(1, b"\x0a")]), *r.credentials(), *r.child()],
    "an unknown configuration type": lambda _: [wire.CP(99, [wire.Attribute(0x7FFF, bytes(500))])],
    "EAP unasked": lambda r: [r.id_payload(), wire.EAP(2, 1, b"\1rogue"), *r.child()],
    "EAP success": lambda r: [wire.EAP(3, 1), *r.child()],
    "EAP too short": lambda _: raw(PayloadType.EAP, b"\1\1"),
    "REDIRECT": lambda r: [notify(NotifyType.REDIRECT, b"\1\4\xc0\0\2\x42" + bytes(32)), *r.credentials(), *r.child()],
    "a puzzle unasked": lambda r: [wire.PuzzleSolution(bytes(64)), *r.child()],
}
