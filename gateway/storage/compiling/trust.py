"""From documents to policy: our credentials, whom we trust, and how the ends of a peer prove themselves."""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from gateway.crypto import containers
from gateway.crypto.schemes import scheme
from gateway.crypto.signature_keys import spki
from gateway.crypto.signatures import PrivateKey, PublicKey
from gateway.policy.authentication import Authority, Credential, LocalAuth, Method, RemoteAuth, Revocation
from gateway.policy.identities import Identity
from gateway.storage.findings import Findings, Pointers
from gateway.storage.identity import AuthorityObject, CertificateObject, LocalAuthFields, RemoteAuthFields
from gateway.storage.objects import Inventory
from gateway.storage.peers import PeerObject


@dataclass(frozen=True, slots=True)
class Trust:
    """What the proofs of peers may refer to; a certificate without its private key is in `certificates` alone."""

    credentials: Mapping[str, Credential]
    authorities: Mapping[str, Authority]
    certificates: frozenset[str]


def compile_trust(inventory: Inventory, pointer: Pointers, found: Findings) -> Trust:
    credentials: dict[str, Credential] = {}
    for name, document in inventory.certificates.items():
        key = inventory.secrets.get(("certificates", name))
        credential = _credential(document, key, pointer("certificates", name), found)
        if credential is not None:
            credentials[name] = credential
        if document.authority and document.authority not in inventory.authorities:
            where = f"{pointer('certificates', name)}/authority"
            found.add(where, "unknown-reference", f"there is no authority {document.authority!r}")
    authorities = {
        name: authority
        for name, document in inventory.authorities.items()
        if (
            authority := _authority(
                document, inventory.secrets.get(("authorities", name)), pointer("authorities", name), found
            )
        )
    }
    return Trust(credentials, authorities, frozenset(inventory.certificates))


def _read(at: str, text: str, found: Findings) -> tuple[x509.Certificate, ...]:
    if not text:
        return ()
    try:
        return containers.read_certificates(text.encode())
    except containers.Unreadable as error:
        found.add(at, "invalid-certificate", str(error))
        return ()


def _credential(document: CertificateObject, key: bytes | None, at: str, found: Findings) -> Credential | None:
    chain = _read(f"{at}/certificate", document.certificate, found)
    _check_chain(chain, f"{at}/certificate", found)
    if document.request:
        found.parse(
            f"{at}/request", "invalid-request", lambda text: containers.read_request(text.encode()), document.request
        )
    if key is None:
        if not chain:
            found.add(f"{at}/private_key", "missing", "a certificate without its text needs a private key at least")
        return None
    private = containers.read_private_key(key)
    if chain and not _belong(chain[0], private):
        found.add(f"{at}/private_key", "other-key", "this is not the private key of the first certificate")
        return None
    return Credential(document.name, private, tuple(containers.der(one) for one in chain))


def _authority(document: AuthorityObject, key: bytes | None, at: str, found: Findings) -> Authority | None:
    chain = _read(f"{at}/certificate", document.certificate, found)
    _check_chain(chain, f"{at}/certificate", found)
    below = _read(f"{at}/intermediates", document.intermediates, found)
    lists = found.parse_all(f"{at}/crls", "invalid-crl", lambda text: containers.read_crl(text.encode()), document.crls)
    if not chain:
        return None
    if not _may_issue(chain[0]):
        found.add(f"{at}/certificate", "no-authority", "the first certificate is not that of an authority (CA:TRUE)")
    if key is not None and not _belong(chain[0], containers.read_private_key(key)):
        found.add(f"{at}/private_key", "other-key", "this is not the private key of the first certificate")
    octets = tuple(one.public_bytes(Encoding.DER) for one in lists)
    return Authority(document.name, containers.der(chain[0]), octets, tuple(containers.der(one) for one in below))


def _belong(certificate: x509.Certificate, key: PrivateKey) -> bool:
    return spki(certificate.public_key()) == key.public.spki


def _may_issue(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
        return False


def _check_chain(chain: tuple[x509.Certificate, ...], at: str, found: Findings) -> None:
    for lower, upper in pairwise(chain):
        try:
            lower.verify_directly_issued_by(upper)
        except (ValueError, TypeError, InvalidSignature):
            found.add(at, "broken-chain", f"{_name(lower)} is not issued by {_name(upper)}, which follows it")


def _name(certificate: x509.Certificate) -> str:
    return repr(certificate.subject.rfc4514_string())


def read_public_key(text: str) -> bytes:
    """A public key's SubjectPublicKeyInfo in DER, from PEM or base64. Raises ValueError."""
    try:
        if "-----BEGIN" in text:
            key = load_pem_public_key(text.encode())
            octets = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        else:
            octets = base64.b64decode("".join(text.split()), validate=True)
    except (ValueError, binascii.Error, TypeError):
        raise ValueError("this is no public key: PEM, or base64 of SubjectPublicKeyInfo") from None
    return PublicKey.parse(octets).spki


def compile_local(
    document: PeerObject, password: bytes | None, trust: Trust, at: str, found: Findings
) -> tuple[LocalAuth, ...]:
    rounds = []
    for index, one in enumerate(document.local_auth):
        where = f"{at}/local_auth/{index}"
        _check_local(one, password, trust, where, found)
        server = None
        if one.eap_server:
            server = found.parse(f"{where}/eap_server", "invalid-identity", Identity.parse, one.eap_server)
        rounds.append(
            LocalAuth(
                method=Method(one.method),
                credential=one.certificate,
                eap_identity=one.eap_identity,
                eap_password=(password or b"") if one.method == "eap" else b"",
                scheme=one.scheme,
                eap_methods=one.eap_methods,
                sha1=one.sha1,
                eap_server=server,
            )
        )
    return tuple(rounds)


def _check_local(one: LocalAuthFields, password: bytes | None, trust: Trust, at: str, found: Findings) -> None:
    if one.method in ("certificate", "public-key"):
        credential = trust.credentials.get(one.certificate)
        if not one.certificate:
            found.add(f"{at}/certificate", "missing", "name the certificate by which we prove ourselves")
        elif credential is None and one.certificate in trust.certificates:
            found.add(f"{at}/certificate", "no-private-key", f"we do not have the private key of {one.certificate!r}")
        elif credential is None:
            found.add(f"{at}/certificate", "unknown-reference", f"there is no certificate {one.certificate!r}")
        elif one.method == "certificate" and not credential.chain:
            detail = f"{one.certificate!r} is a key alone: add its certificate, or choose public-key"
            found.add(f"{at}/certificate", "no-certificate", detail)
    elif one.certificate and one.method != "eap":
        found.add(f"{at}/certificate", "not-used", f"the method {one.method} uses no certificate")
    if one.scheme and scheme(one.scheme) is None:
        found.add(f"{at}/scheme", "unknown-scheme", f"there is no signature scheme {one.scheme!r}")
    if one.method == "eap":
        _check_eap(one, password, trust, at, found)


def _check_eap(one: LocalAuthFields, password: bytes | None, trust: Trust, at: str, found: Findings) -> None:
    """A certificate is enough, for EAP-TLS; else there must be a name and a password."""
    if one.certificate:
        credential = trust.credentials.get(one.certificate)
        if credential is None or not credential.chain:
            detail = f"EAP-TLS needs a certificate of ours with its private key; {one.certificate!r} is none"
            found.add(f"{at}/certificate", "unknown-reference", detail)
        return
    if not one.eap_identity:
        found.add(f"{at}/eap_identity", "missing", "EAP needs our user name")
    if password is None:
        found.add(
            f"{at}/method", "missing", "EAP needs our password: send eap_password with the peer, or a certificate"
        )


def compile_remote(document: PeerObject, trust: Trust, at: str, found: Findings) -> tuple[RemoteAuth, ...]:
    dialable = any("/" not in one for one in document.remote_addresses)
    calls = dialable and any(child.start != "passive" for child in document.children)
    by_eap = bool(document.remote_auth) and document.remote_auth[0].method == "eap"
    if calls and by_eap and not any(one.method == "eap" for one in document.local_auth):
        detail = "a peer that we call proves itself by EAP only in a round of ours that is EAP; or set start to passive"
        found.add(f"{at}/remote_auth/0/method", "eap-alone", detail)
    return tuple(
        _remote(one, trust, f"{at}/remote_auth/{index}", found) for index, one in enumerate(document.remote_auth)
    )


def _remote(one: RemoteAuthFields, trust: Trust, at: str, found: Findings) -> RemoteAuth:
    for index, name in enumerate(one.authorities):
        if name not in trust.authorities:
            found.add(f"{at}/authorities/{index}", "unknown-reference", f"there is no authority {name!r}")
    keys = found.parse_all(f"{at}/public_keys", "invalid-key", read_public_key, one.public_keys)
    if one.method == "public-key" and not one.public_keys:
        found.add(f"{at}/public_keys", "missing", "give the public key that the peer must hold")
    if one.method == "certificate" and not one.authorities and not trust.authorities:
        found.add(f"{at}/authorities", "missing", "no authority is stored that could have issued its certificate")
    if "radius" in one.eap_methods and len(one.eap_methods) > 1:
        found.add(
            f"{at}/eap_methods",
            "radius-alone",
            "where RADIUS servers decide, they choose the method: name radius alone",
        )
    revocation = Revocation(one.revocation)
    return RemoteAuth(Method(one.method), one.authorities, keys, revocation, one.eap_methods, one.sha1)
