"""Distinguished names as people and other programs write them, against the names of certificates."""

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from gateway.policy.identities import Identity, IdentityPattern, InvalidIdentity
from gateway.wire.numbers import IdType

C, O, CN = NameOID.COUNTRY_NAME, NameOID.ORGANIZATION_NAME, NameOID.COMMON_NAME  # noqa: E741 - as they are written
Pairs = list[list[tuple[x509.ObjectIdentifier, str]]]


def sent(*rdns: list[tuple[x509.ObjectIdentifier, str]]) -> Identity:
    """What a peer sends whose certificate has this subject."""
    made = [x509.RelativeDistinguishedName([x509.NameAttribute(*one) for one in rdn]) for rdn in rdns]
    return Identity(IdType.ID_DER_ASN1_DN, x509.Name(made).public_bytes())


COMMA = [[(C, "CH")], [(O, "Lab, Inc.")], [(CN, "moon")]]
MAIL = [[(C, "CH")], [(CN, "moon")], [(NameOID.EMAIL_ADDRESS, "moon@lab.example")]]
SERIAL = [[(C, "CH")], [(CN, "moon"), (NameOID.SERIAL_NUMBER, "12")]]


@pytest.mark.parametrize(
    ("text", "subject"),
    [
        ("C=CH, O=Lab, CN=moon", [[(C, "CH")], [(O, "Lab")], [(CN, "moon")]]),
        ("c=ch,o=LAB,cn=Moon", [[(C, "CH")], [(O, "Lab")], [(CN, "moon")]]),
        ("C = CH , O = Lab , CN = moon", [[(C, "CH")], [(O, "Lab")], [(CN, "moon")]]),
        ("2.5.4.6=CH, O=Lab, CN=moon", [[(C, "CH")], [(O, "Lab")], [(CN, "moon")]]),
        (r"C=CH, O=Lab\, Inc., CN=moon", COMMA),
        ('C=CH, O="Lab, Inc.", CN=moon', COMMA),
        ("C=CH, CN=moon, E=moon@lab.example", MAIL),
        ("C=CH, CN=moon, emailAddress=moon@lab.example", MAIL),
        ("C=CH, CN=moon + serialNumber=12", SERIAL),
        ("C=CH, serialNumber=12+CN=moon", SERIAL),
        (r"C=CH, O=a\\, CN=a\+b\=c", [[(C, "CH")], [(O, "a\\")], [(CN, "a+b=c")]]),
    ],
)
def test_a_name_is_found_however_it_is_written(text: str, subject: Pairs) -> None:
    theirs = sent(*subject)
    assert IdentityPattern.parse(text).matches(theirs)
    assert Identity.parse(text).same(theirs)
    assert Identity.parse(theirs.text).same(theirs), theirs.text
    assert not IdentityPattern.parse(text).matches(sent([(C, "CH")], [(CN, "moon")]))


def test_a_place_for_anything_is_at_one_attribute() -> None:
    pattern = IdentityPattern.parse("C=CH, CN=* + serialNumber=12")
    assert pattern.matches(sent(*SERIAL))
    assert not pattern.matches(sent([(C, "CH")], [(CN, "moon"), (NameOID.SERIAL_NUMBER, "13")]))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("C=CH, SN=12", "SN is no attribute that is known here; write its object identifier"),
        ("C=CH, O=Lab, Inc., CN=moon", "a comma in a value as"),
        ("C=Switzerland, CN=moon", "length"),
    ],
)
def test_what_is_none_is_refused_with_a_reason(text: str, words: str) -> None:
    with pytest.raises(InvalidIdentity, match=words):
        Identity.parse(text)
