"""Whose certificate it is in EAP-TLS, and which of ours is shown (RFC 5216 5.2, 5.3; RFC 9190 2.1.8, 2.2)."""

from collections.abc import Iterable
from dataclasses import replace

from cryptography import x509
from cryptography.x509.oid import NameOID, ObjectIdentifier

from gateway.ike.authentication.eap.gate import Account, Gate
from gateway.ike.authentication.eap.talk import Failed, clean
from gateway.ike.authentication.eap.tls_machine import TlsTerms
from gateway.ike.core import Core
from gateway.policy.authentication import Authority, Credential, LocalAuth, RemoteAuth
from gateway.policy.identities import Identity
from gateway.policy.peers import Peer
from gateway.wire.numbers import IdType

_UPN = ObjectIdentifier("1.3.6.1.4.1.311.20.2.3")
"""A Windows user's name among a certificate's other names."""
_SHOWN = 4


def names_of(certificate: x509.Certificate) -> list[str]:
    """The names that a certificate gives its holder as text; its common name only where it has no others."""
    found: list[str] = []
    try:
        alternatives = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        alternatives = None
    for name in alternatives or ():
        if isinstance(name, x509.RFC822Name | x509.DNSName):
            found.append(name.value)
        elif isinstance(name, x509.IPAddress):
            found.append(str(name.value))
        elif isinstance(name, x509.OtherName) and name.type_id == _UPN and name.value[:1] == b"\x0c":
            found.append(name.value[2:].decode("utf-8", "replace"))
    if not found:
        found = [str(one.value) for one in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    return found


def _same(name: str, other: str) -> bool:
    """Equal as names are: a domain without case, what is before an @ with it."""
    user, at, domain = name.rpartition("@")
    user_of_other, at_of_other, domain_of_other = other.rpartition("@")
    return (user, at, domain.lower()) == (user_of_other, at_of_other, domain_of_other.lower())


def _load(chain: tuple[bytes, ...]) -> x509.Certificate:
    try:
        certificate = x509.load_der_x509_certificate(chain[0])
        certificate.extensions  # noqa: B018 - it is read when asked for, and may be malformed
    except (ValueError, IndexError, x509.DuplicateExtension):
        raise Failed("eap-tls", "the other end's certificate cannot be read") from None
    return certificate


def _told(names: Iterable[str]) -> str:
    shown = [clean(name.encode()) for name in names]
    return ", ".join(shown[:_SHOWN]) or "nobody"


def holder(claimed: str, chain: tuple[bytes, ...]) -> str:
    """As whom the holder of this certificate comes in: as it says it is, if the certificate agrees. Raises Failed.

    Who keeps his name to himself (`@realm`, or `anonymous`; RFC 7542 2.4, RFC 9190 2.1.8) comes in as the certificate's
    first name.
    """
    names = names_of(_load(chain))
    user, _, realm = claimed.rpartition("@")
    if names and ((user or realm).lower() == "anonymous" or claimed.startswith("@")):
        return names[0]
    if any(_same(name, claimed) for name in names):
        return claimed
    raise Failed("eap-tls", f"the certificate is for {_told(names)}, not for {clean(claimed.encode())}")


def check_server(expected: Identity, chain: tuple[bytes, ...]) -> None:
    """The EAP server must be who the responder says it is, or another may stand between. Raises Failed."""
    certificate = _load(chain)
    if expected.id_type == IdType.ID_DER_ASN1_DN:
        if expected.same(Identity(IdType.ID_DER_ASN1_DN, certificate.subject.public_bytes())):
            return
    elif any(_same(name, expected.text) for name in names_of(certificate)):
        return
    raise Failed("eap-tls", f"the EAP server's certificate is for {_told(names_of(certificate))}, not for {expected}")


def _trusted(core: Core, names: tuple[str, ...]) -> list[Authority]:
    known = core.snapshot.authorities
    return [known[name] for name in names or known if name in known]


def _terms(core: Core, own: Credential, trusted: list[Authority], *, server: bool) -> TlsTerms:
    between = tuple(certificate for authority in trusted for certificate in authority.intermediates)
    anchors = tuple(authority.certificate for authority in trusted)
    unix = core.extensions.tickets.unix(core.now)
    return TlsTerms(server, own.key.unwrapped, own.chain, anchors, between, unix)


def arm_server(core: Core, gate: Gate, peer: Peer, wanted: RemoteAuth) -> None:
    """Give the gate a TLS machine, where we have a certificate for this peer and somebody is trusted to know it."""
    maker, trusted = core.extensions.tls, _trusted(core, wanted.authorities)
    ours = (core.snapshot.credentials.get(auth.credential) for auth in peer.local_auth)
    own = next((one for one in ours if one is not None and one.chain), None)
    if maker is not None and own is not None and trusted:
        terms = _terms(core, own, trusted, server=True)
        gate.tls = lambda: maker(terms)
        gate.certified = holder


def arm_client(
    core: Core, account: Account, auth: LocalAuth, authorities: tuple[str, ...], server: Identity
) -> Account:
    """The same account with a TLS machine, where we have a certificate; `server` is who the other end must be."""
    maker, trusted = core.extensions.tls, _trusted(core, authorities)
    own = core.snapshot.credentials.get(auth.credential)
    if maker is None or own is None or not own.chain or not trusted:
        return account
    terms = _terms(core, own, trusted, server=False)
    return replace(account, tls=lambda: maker(terms), certified=lambda chain: check_server(server, chain))
