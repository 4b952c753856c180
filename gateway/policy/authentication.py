"""How each end of a peer proves itself: what we prove ourselves with, and what we ask of the peer."""

from dataclasses import dataclass, field
from enum import StrEnum

from gateway.crypto.revocation import is_revoking
from gateway.crypto.signatures import PrivateKey
from gateway.policy.identities import Identity


class Method(StrEnum):
    """One way to prove an identity."""

    PSK = "psk"
    CERTIFICATE = "certificate"
    PUBLIC_KEY = "public-key"
    EAP = "eap"


WORDS = {
    Method.PSK: "a pre-shared key",
    Method.CERTIFICATE: "a certificate",
    Method.PUBLIC_KEY: "a public key that we know",
    Method.EAP: "EAP",
}
"""How a sentence names a method."""


class Revocation(StrEnum):
    """What is asked of a certificate's state.

    `strict`: a fresh list or answer that says it is good. `if-reachable`: it is refused only where one says that it is
    revoked. `off`: nobody is asked.
    """

    STRICT = "strict"
    IF_REACHABLE = "if-reachable"
    OFF = "off"


@dataclass(frozen=True, slots=True)
class Credential:
    """A private key of ours with its certificates in DER, its own first, without the root.

    An empty chain makes it a raw public key (RFC 7670). `ocsp` is a fresh OCSP response about the first certificate,
    for peers that want to see one in band (RFC 4806).
    """

    name: str
    key: PrivateKey = field(repr=False)
    chain: tuple[bytes, ...] = ()
    ocsp: bytes = b""


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate authority that is trusted to say who a peer is; all in DER.

    `certificate` is the trust anchor. `intermediates` are certificates below it that peers need not send. `crls` and
    `ocsp` are what is known of revoked certificates, of the anchor or of any authority below it. `revoking` are the
    OCSP answers that do not say "good": what was proven before they came may not hold any longer.
    """

    name: str
    certificate: bytes
    crls: tuple[bytes, ...] = ()
    intermediates: tuple[bytes, ...] = ()
    ocsp: tuple[bytes, ...] = ()
    revoking: tuple[bytes, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "revoking", tuple(filter(is_revoking, self.ocsp)))


@dataclass(frozen=True, slots=True)
class LocalAuth:
    """One round in which we prove ourselves.

    `credential` names one of the snapshot's, for certificates and public keys. `scheme` is the keyword of the only
    signature scheme to use (`gateway.crypto.signatures`), empty for the best that the peer can verify. `eap_identity`
    is our name to EAP where it is not our IKE identity; `eap_methods` are keywords of the methods that we take, the
    best first, of none those for which there is a password or a credential, without those that make no key.
    `eap_server` is whom the EAP server's certificate must name where that is not the peer, which has proven itself
    otherwise then. `sha1`
    lets an RSA key sign with SHA-1 for a peer that knows no RFC 7427 (Windows).
    """

    method: Method = Method.PSK
    credential: str = ""
    eap_identity: str = ""
    eap_password: bytes = field(default=b"", repr=False)
    scheme: str = ""
    eap_methods: tuple[str, ...] = ()
    sha1: bool = False
    eap_server: Identity | None = None


@dataclass(frozen=True, slots=True)
class RemoteAuth:
    """One round in which the peer proves itself.

    `authorities` names those of the snapshot that may have issued its certificate, none for all; `public_keys` are the
    raw keys (SubjectPublicKeyInfo) of which it must hold one; `eap_methods` are keywords, the best first. `sha1`
    takes RSA signatures with SHA-1 from a peer that makes no other.
    """

    method: Method = Method.PSK
    authorities: tuple[str, ...] = ()
    public_keys: tuple[bytes, ...] = ()
    revocation: Revocation = Revocation.IF_REACHABLE
    eap_methods: tuple[str, ...] = ()
    sha1: bool = False
