"""Whether a certificate is for an identity, by the exact rules of RFC 4945 3 and RFC 7296 3.5."""

import ipaddress
from collections.abc import Sequence

from gateway.crypto.certificates import Certificate, printable
from gateway.policy.identities import Identity
from gateway.wire.numbers import IdType

_SHOWN = 4


def confirms(certificate: Certificate, identity: Identity) -> str:
    """Why the certificate is not for this identity, in a sentence; empty when it is.

    A DN is the subject, RDN by RDN. A domain name is an alternative name, without regard to case, and never a wildcard
    nor the subject's common name. An address is an alternative name of that kind, never a domain name that says it.
    """
    names = certificate.names
    match identity.id_type:
        case IdType.ID_DER_ASN1_DN:
            subject = Identity(IdType.ID_DER_ASN1_DN, certificate.subject_der)
            return "" if subject.same(identity) else f"its subject is {certificate.text}, and not {identity}"
        case IdType.ID_FQDN:
            wanted = identity.data.decode("ascii", "replace").lower().rstrip(".")
            found = wanted and wanted in {name.lower().rstrip(".") for name in names.dns}
            return "" if found else _others(identity, "domain names", names.dns)
        case IdType.ID_RFC822_ADDR:
            mails = (Identity(identity.id_type, name.encode("utf-8", "replace")) for name in names.mail)
            found = any(mail.same(identity) for mail in mails)
            return "" if found else _others(identity, "e-mail addresses", names.mail)
        case IdType.ID_IPV4_ADDR | IdType.ID_IPV6_ADDR if len(identity.data) in (4, 16):
            address = ipaddress.ip_address(identity.data)
            return "" if address in names.addresses else _others(identity, "addresses", list(map(str, names.addresses)))
        case _:
            return f"{identity} is an identity of a kind that no certificate confirms"


def _others(identity: Identity, kind: str, names: Sequence[str]) -> str:
    if not names:
        return f"it has no {kind} among its alternative names, and so is not for {identity}"
    shown = ", ".join(map(printable, names[:_SHOWN])) + (" …" if len(names) > _SHOWN else "")
    return f"it is for the {kind} {shown}, and not for {identity}"
