"""What a proof rests on, as one value to compare: whether an SA may stand after its configuration changed.

A certificate that was renewed says the same of us, so that nothing is dropped. What the peer's proof rested on may be
gone: those SAs are looked at again.
"""

from collections.abc import Iterable, Mapping
from functools import lru_cache

from cryptography import x509

from gateway.crypto.certificates import Certificate, InvalidCertificate
from gateway.policy.authentication import Authority, Credential, Method
from gateway.policy.peers import Peer


@lru_cache(maxsize=4096)
def _named(certificate: bytes) -> tuple[bytes, ...]:
    """The names in a certificate, subject and alternative names; all of it where it cannot be read."""
    try:
        read = Certificate.read(certificate)
    except InvalidCertificate:
        return (certificate,)
    names = read.extension(x509.SubjectAlternativeName)
    return (read.subject_der,) if names is None else (read.subject_der, names.public_bytes())


def says(credential: Credential | None) -> object:
    """What a credential of ours says of us: the names in its certificate, or the key itself where there is none."""
    if credential is None:
        return None
    return _named(credential.chain[0]) if credential.chain else credential.key.public


def proofs(peer: Peer, credentials: Mapping[str, Credential]) -> object:
    """How both ends have proven themselves; another value where they have to do so again."""
    ours = tuple(
        (
            *(auth.method, auth.eap_identity, auth.eap_password, auth.eap_server),
            auth.credential and says(credentials.get(auth.credential)),
        )
        for auth in peer.local_auth
    )
    return ours, tuple((auth.method, auth.eap_methods) for auth in peer.remote_auth)


def foundations(peer: Peer, authorities: Mapping[str, Authority]) -> tuple[object, ...]:
    """All that is trusted to say who this peer is; empty where that is no certificate and no public key."""
    found: list[object] = []
    for auth in peer.remote_auth:
        if auth.method in (Method.CERTIFICATE, Method.EAP):
            found += [auth.revocation, *_trusted(auth.authorities, authorities)]
        if auth.method in (Method.CERTIFICATE, Method.PUBLIC_KEY):
            found.append(auth.sha1)
        found += auth.public_keys
    return tuple(found)


def _trusted(names: Iterable[str], authorities: Mapping[str, Authority]) -> list[object]:
    """An answer that a certificate is good takes nothing away, and one comes each hour for every peer."""
    wanted = [authorities[name] for name in sorted(names or authorities) if name in authorities]
    return [(one.certificate, one.crls, one.intermediates, one.revoking) for one in wanted]
