"""Identities and the patterns that mean them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.policy.identities import Identity, IdentityPattern, InvalidIdentity
from gateway.wire.numbers import IdType


@pytest.mark.parametrize(
    ("text", "id_type", "data"),
    [
        ("192.0.2.1", IdType.ID_IPV4_ADDR, bytes((192, 0, 2, 1))),
        ("2001:db8::1", IdType.ID_IPV6_ADDR, bytes.fromhex("20010db8000000000000000000000001")),
        ("moon.example", IdType.ID_FQDN, b"moon.example"),
        ("carol@moon.example", IdType.ID_RFC822_ADDR, b"carol@moon.example"),
        ("keyid:0x00ff", IdType.ID_KEY_ID, b"\x00\xff"),
        ("keyid:site-7", IdType.ID_KEY_ID, b"site-7"),
        ("fqdn:192.0.2.1.example", IdType.ID_FQDN, b"192.0.2.1.example"),
        ("null", IdType.ID_NULL, b""),
    ],
)
def test_text_names_an_identity_and_back(text: str, id_type: int, data: bytes) -> None:
    identity = Identity.parse(text)
    assert (identity.id_type, identity.data) == (id_type, data)
    assert Identity.parse(identity.text) == identity


def test_a_distinguished_name_is_der_in_the_order_written() -> None:
    identity = Identity.parse("C=CH, O=Lab, CN=moon")
    # SEQUENCE { SET { SEQUENCE { countryName, PrintableString CH } } … (RFC 5280 4.1.2.4)
    assert identity.data.hex().startswith("302a310b3009060355040613024348")
    assert identity.text == "C=CH, O=Lab, CN=moon"
    assert Identity.parse(identity.text) == identity


def test_names_are_compared_as_names() -> None:
    assert Identity.parse("Moon.Example").same(Identity.parse("moon.example."))
    assert Identity.parse("a@Moon.example").same(Identity.parse("a@moon.example"))
    assert not Identity.parse("A@moon.example").same(Identity.parse("a@moon.example"))
    assert not Identity.parse("moon.example").same(Identity.parse("keyid:moon.example"))
    utf8 = Identity.parse("O=Lab, CN=moon")
    printable = Identity(IdType.ID_DER_ASN1_DN, utf8.data.replace(b"\x0c\x04moon", b"\x13\x04MOON"))
    assert utf8.same(printable)


@pytest.mark.parametrize(
    ("pattern", "text", "fits"),
    [
        ("%any", "192.0.2.1", True),
        ("*.example", "moon.example", True),
        ("*.example", "MOON.example", True),
        ("*.example", "moon.example.evil", False),
        ("*.example", "carol@moon.example", False),
        ("*@moon.example", "carol@moon.example", True),
        ("10.0.0.0/8", "10.9.8.7", True),
        ("10.0.0.0/8", "11.9.8.7", False),
        ("moon.example", "moon.example", True),
        ("O=Lab, CN=*", "O=lab, CN=moon", True),
        ("O=Lab, CN=*", "O=Other, CN=moon", False),
        ("O=Lab, CN=*", "O=Lab, OU=x, CN=moon", False),
        ("O=Lab, CN=*", "moon.example", False),
        ("moon.example", "keyid:moon.example", False),
    ],
)
def test_patterns(pattern: str, text: str, fits: bool) -> None:
    assert IdentityPattern.parse(pattern).matches(Identity.parse(text)) is fits


@given(st.integers(0, 255), st.binary(max_size=300))
def test_whatever_the_peer_sends_has_a_harmless_text(id_type: int, data: bytes) -> None:
    text = Identity(id_type, data).text
    assert text.isprintable()
    assert IdentityPattern.parse("*.example").matches(Identity(id_type, data)) in (True, False)
    assert Identity(id_type, data).same(Identity(id_type, data))


@pytest.mark.parametrize("text", ["", "a b", "keyid:0xzz", "ipv4:fe80::1", "@", "x" * 2000])
def test_nonsense_is_refused(text: str) -> None:
    with pytest.raises(InvalidIdentity):
        Identity.parse(text)
