"""Distinguished names as people write them: most general first, as in a certificate (RFC 4514 has them reversed)."""

import re

from cryptography import x509
from cryptography.x509.oid import NameOID

_OIDS: dict[str, x509.ObjectIdentifier] = {
    "cn": NameOID.COMMON_NAME,
    "commonname": NameOID.COMMON_NAME,
    "l": NameOID.LOCALITY_NAME,
    "localityname": NameOID.LOCALITY_NAME,
    "st": NameOID.STATE_OR_PROVINCE_NAME,
    "stateorprovincename": NameOID.STATE_OR_PROVINCE_NAME,
    "o": NameOID.ORGANIZATION_NAME,
    "organizationname": NameOID.ORGANIZATION_NAME,
    "ou": NameOID.ORGANIZATIONAL_UNIT_NAME,
    "organizationalunitname": NameOID.ORGANIZATIONAL_UNIT_NAME,
    "c": NameOID.COUNTRY_NAME,
    "countryname": NameOID.COUNTRY_NAME,
    "street": NameOID.STREET_ADDRESS,
    "streetaddress": NameOID.STREET_ADDRESS,
    "postalcode": NameOID.POSTAL_CODE,
    "dc": NameOID.DOMAIN_COMPONENT,
    "domaincomponent": NameOID.DOMAIN_COMPONENT,
    "uid": NameOID.USER_ID,
    "userid": NameOID.USER_ID,
    "e": NameOID.EMAIL_ADDRESS,
    "email": NameOID.EMAIL_ADDRESS,
    "emailaddress": NameOID.EMAIL_ADDRESS,
    "serialnumber": NameOID.SERIAL_NUMBER,
    "surname": NameOID.SURNAME,
    "gn": NameOID.GIVEN_NAME,
    "givenname": NameOID.GIVEN_NAME,
    "title": NameOID.TITLE,
    "initials": NameOID.INITIALS,
    "dnqualifier": NameOID.DN_QUALIFIER,
    "pseudonym": NameOID.PSEUDONYM,
    "organizationidentifier": NameOID.ORGANIZATION_IDENTIFIER,
    "unstructuredname": NameOID.UNSTRUCTURED_NAME,
}
"""Types in any case (RFC 4512 2.5); `SN` and `S` mean different things to different programs."""
_TYPE = re.compile(r"(?:^|(?<!\\)((?:\\\\)*)\s*([,+]))\s*([A-Za-z][\w-]*|\d+(?:\.\d+)+)\s*=\s*")
_QUOTED = re.compile(r'=\s*"([^"\\]*)"')
_SPECIAL = re.compile(r"([,+;<>])")


def read(text: str) -> x509.Name:
    """`C=CH, O=Lab, CN=moon`; of several attributes at one place `+` stands between. Raises ValueError."""
    plain = _QUOTED.sub(lambda found: "=" + _SPECIAL.sub(r"\\\1", found[1]), text)
    try:
        name = x509.Name.from_rfc4514_string(_TYPE.sub(_known, plain))
    except ValueError as error:
        raise ValueError(str(error) or "write it as C=CH, O=Lab, CN=moon, a comma in a value as \\,") from None
    return x509.Name(reversed(name.rdns))


def _known(found: re.Match[str]) -> str:
    between, kind = (found[1] or "") + (found[2] or ""), found[3]
    if kind[0].isdigit():
        return f"{between}{kind}="
    oid = _OIDS.get(kind.lower())
    if oid is None:
        raise ValueError(f"{kind} is no attribute that is known here; write its object identifier")
    return f"{between}{oid.dotted_string}="


def attributes(name: x509.Name) -> tuple[tuple[str, str], ...]:
    """OID and value of each attribute, as DNs are compared: without case, spaces folded (RFC 5280 7.1)."""
    return tuple(
        pair
        for rdn in name.rdns
        for pair in sorted((one.oid.dotted_string, " ".join(str(one.value).lower().split())) for one in rdn)
    )
