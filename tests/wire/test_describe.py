"""Messages for people: JSON-safe whatever the peer sent, readable, and silent about what proves an identity."""

import json
from typing import Any

import pytest
from hypothesis import given

from gateway.wire import payloads as wire
from gateway.wire.describe import describe, describe_payloads, identity, printable
from gateway.wire.message import Message, parse
from gateway.wire.numbers import CfgAttribute, IdType, NotifyType
from tests.wire.generated import messages
from tests.wire.recorded import transcript


def shown(payload: wire.Payload, *, secrets: bool = False) -> dict[str, Any]:
    (described,) = describe_payloads([payload], secrets=secrets)
    return described


@given(messages)
def test_any_message_can_be_shown_and_stored(message: Message) -> None:
    for secrets in (False, True):
        text = json.dumps(describe(message, secrets=secrets, octets=16))
        assert all(c.isprintable() for c in text)
        described = json.loads(text)
        assert len(described["payloads"]) == len(message.payloads)


def test_a_recorded_offer() -> None:
    described = describe(parse(transcript("01-psk-x25519-aescbc128-sha256")[0]))
    assert described["exchange"] == "IKE_SA_INIT"
    assert (described["initiator"], described["response"], described["version"]) == (True, False, "2.0")
    names = [payload["payload"] for payload in described["payloads"]]
    assert names[:3] == ["SA", "KE", "Nonce"]
    (proposal,) = described["payloads"][0]["proposals"]
    assert proposal["protocol"] == "IKE"
    assert {"type": "ENCR", "name": "ENCR_AES_CBC", "key_bits": 128} in proposal["transforms"]
    assert {"type": "KE", "name": "CURVE25519"} in proposal["transforms"]


@pytest.mark.parametrize(
    "payload",
    [
        wire.AUTH(2, b"secret"),
        wire.Nonce(b"secret"),
        wire.EAP(2, 1, b"\x1asecret"),
        wire.Notify(0, b"", NotifyType.NO_PPK_AUTH, b"secret"),
        wire.Notify(0, b"", NotifyType.PPK_IDENTITY_KEY, b"secret"),
        wire.Notify(0, b"", NotifyType.TICKET_LT_OPAQUE, b"secret"),
    ],
)
def test_what_proves_an_identity_is_told_by_its_size(payload: wire.Payload) -> None:
    hidden = shown(payload)
    assert hidden["octets"] in (6, 7)
    assert b"secret".hex() not in json.dumps(hidden)
    assert b"secret".hex() in json.dumps(shown(payload, secrets=True))


@pytest.mark.parametrize(
    ("id_type", "data", "text"),
    [
        (IdType.ID_IPV4_ADDR, bytes([10, 0, 0, 1]), "10.0.0.1"),
        (IdType.ID_IPV6_ADDR, bytes(15) + b"\x01", "::1"),
        (IdType.ID_IPV4_ADDR, b"abc", "616263"),
        (IdType.ID_FQDN, b"moon.example", "moon.example"),
        (IdType.ID_RFC822_ADDR, "jörg@example".encode(), "jörg@example"),
        (IdType.ID_FQDN, b"a\n\x1b[31m\x00\xff", r"a\n\x1b[31m\x00\xff"),
        (IdType.ID_FQDN, "\u202eevil".encode(), r"\u202eevil"),
        (IdType.ID_KEY_ID, b"office", "office"),
        (IdType.ID_KEY_ID, b"\x00\x01", "0001"),
        (IdType.ID_DER_ASN1_DN, b"0\x00", "3000"),
        (IdType.ID_NULL, b"", ""),
        (99, b"x", "78"),
    ],
)
def test_identities(id_type: int, data: bytes, text: str) -> None:
    assert identity(id_type, data) == text
    assert shown(wire.IDi(id_type, data))["identity"] == text


def test_text_and_data_are_cut() -> None:
    assert len(shown(wire.IDi(IdType.ID_FQDN, b"a" * 5000))["identity"]) == 257
    opaque = shown(wire.CERT(4, bytes(5000)))
    assert (opaque["octets"], len(opaque["data"])) == (5000, 513)


def test_traffic_selectors() -> None:
    first, last = bytes([10, 0, 0, 0]), bytes([10, 0, 0, 255])
    described = shown(
        wire.TSi(
            [
                wire.TrafficSelector(7, 6, 22, 22, first, last),
                wire.TrafficSelector(8, 0, 0, 65535, bytes(16), bytes(16)),
                wire.TrafficSelector(10, 0, 0, 0, b"", b"", b"\x01"),
            ]
        )
    )
    assert described["selectors"] == [
        {"type": "TS_IPV4_ADDR_RANGE", "addresses": "10.0.0.0-10.0.0.255", "protocol": 6, "ports": [22, 22]},
        {"type": "TS_IPV6_ADDR_RANGE", "addresses": "::", "protocol": 0, "ports": [0, 65535]},
        {"type": "TS_SECLABEL", "octets": 1, "data": "01"},
    ]


def test_configuration() -> None:
    attributes = [
        wire.Attribute(CfgAttribute.INTERNAL_IP4_ADDRESS, bytes([10, 3, 0, 1])),
        wire.Attribute(CfgAttribute.INTERNAL_IP6_ADDRESS, bytes(15) + b"\x01\x40"),
        wire.Attribute(CfgAttribute.INTERNAL_IP4_SUBNET, bytes([10, 0, 0, 0, 255, 0, 0, 0])),
        wire.Attribute(CfgAttribute.INTERNAL_DNS_DOMAIN, b"corp.example\n"),
        wire.Attribute(CfgAttribute.INTERNAL_IP4_DNS, b""),
        wire.Attribute(999, b"\x01"),
    ]
    assert shown(wire.CP(2, attributes)) == {
        "payload": "CP",
        "type": "CFG_REPLY",
        "attributes": [
            {"type": "INTERNAL_IP4_ADDRESS", "value": "10.3.0.1"},
            {"type": "INTERNAL_IP6_ADDRESS", "value": "::1/64"},
            {"type": "INTERNAL_IP4_SUBNET", "value": "10.0.0.0/255.0.0.0"},
            {"type": "INTERNAL_DNS_DOMAIN", "value": r"corp.example\n"},
            {"type": "INTERNAL_IP4_DNS"},
            {"type": "999", "octets": 1, "data": "01"},
        ],
    }


def test_notifies() -> None:
    wanted = shown(wire.Notify(0, b"", NotifyType.INVALID_KE_PAYLOAD, b"\x00\x13"))
    assert (wanted["type"], wanted["error"], wanted["meaning"]) == ("INVALID_KE_PAYLOAD", True, "ECP_256")
    hashes = shown(wire.Notify(0, b"", NotifyType.SIGNATURE_HASH_ALGORITHMS, b"\x00\x02\x00\x63"))
    assert (hashes["error"], hashes["meaning"]) == (False, "SHA2_256, 99")
    rekey = shown(wire.Notify(3, b"\x01\x02\x03\x04", NotifyType.REKEY_SA, b""))
    assert (rekey["protocol"], rekey["spi"]) == ("ESP", "01020304")
    assert shown(wire.Notify(0, b"", 8192, b""))["type"] == "8192"


def test_an_eap_identity_is_readable() -> None:
    described = shown(wire.EAP(2, 7, b"\x01carol"))
    assert (described["code"], described["method"], described["identity"]) == ("RESPONSE", "IDENTITY", "carol")
    assert shown(wire.EAP(3, 7))["code"] == "SUCCESS"


def test_an_unknown_critical_payload() -> None:
    described = shown(wire.Unknown(200, b"x", critical=True))
    assert described == {"payload": "200", "critical": True, "type": 200, "octets": 1, "data": "78"}


def test_the_encrypted_payload() -> None:
    assert shown(wire.SK(35, b"abc")) == {"payload": "SK", "first": "IDi", "octets": 3}
    assert shown(wire.SKF(0, 2, 3, b"abc")) == {
        "payload": "SKF", "first": "NONE", "fragment": 2, "total": 3, "octets": 3,
    }  # fmt: skip


def test_printable_leaves_text_alone() -> None:
    assert printable("grüezi, 世界".encode()) == "grüezi, 世界"
    assert printable(b"tab\there\x7f") == r"tab\there\x7f"
