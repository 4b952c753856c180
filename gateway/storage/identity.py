"""Certificates, the authorities that issue them, and how the ends of a peer prove themselves, as they are written."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from gateway.crypto.reasons import Reason
from gateway.storage.fields import LATEST, Described, Flag, Name, Named, Reference, Seconds

LARGEST_PEM = 64 * 1024  # characters
Pem = Annotated[str, StringConstraints(strip_whitespace=True, max_length=LARGEST_PEM)]
_METHODS = Field(
    max_length=8,
    description="Methods of EAP, the best first; none: tls and mschapv2, each where there are the means for it. As "
    "responder radius alone leaves all of EAP to the RADIUS servers",
)
EapMethods = Annotated[tuple[Literal["tls", "mschapv2", "md5"], ...], _METHODS]
EapServerMethods = Annotated[tuple[Literal["tls", "mschapv2", "md5", "radius"], ...], _METHODS]
Uri = Annotated[str, StringConstraints(pattern=r"^(http://[!-~]+)?$", max_length=1024)]


class LocalAuthFields(BaseModel):
    """One round in which we prove ourselves."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: Literal["psk", "certificate", "public-key", "eap"] = "psk"
    certificate: Annotated[
        Reference,
        Field(description="The name of a certificate with its private key; for public-key its key alone; for EAP-TLS"),
    ] = ""
    scheme: Annotated[
        Reference, Field(description="Sign by this scheme only, such as rsa-pss-sha256; empty: the best that both know")
    ] = ""
    sha1: Annotated[
        Flag, Field(description="Sign by RSA with SHA-1 for a peer that knows no RFC 7427, such as Windows")
    ] = False
    eap_identity: Annotated[str, StringConstraints(max_length=253), Field(description="Our user name for EAP")] = ""
    eap_methods: EapMethods = ()
    eap_server: Annotated[
        str,
        StringConstraints(max_length=253),
        Field(
            description="Whom the EAP server's certificate must name, such as a RADIUS server behind the peer; empty: "
            "the peer's own identity, as always where it proves itself by EAP alone"
        ),
    ] = ""


class RemoteAuthFields(BaseModel):
    """One round in which the peer proves itself."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: Literal["psk", "certificate", "public-key", "eap"] = "psk"
    authorities: Annotated[
        tuple[Name, ...],
        Field(max_length=64, description="Who may have issued its certificate; none: each stored one"),
    ] = ()
    public_keys: Annotated[
        tuple[Pem, ...],
        Field(max_length=64, description="Keys (PEM or base64 of SubjectPublicKeyInfo) of which it must hold one"),
    ] = ()
    revocation: Annotated[
        Literal["strict", "if-reachable", "off"],
        Field(
            description="strict: a fresh list or answer must say that its certificate is good; if-reachable: it is "
            "refused where one says that it is revoked; off: nobody is asked"
        ),
    ] = "if-reachable"
    eap_methods: EapServerMethods = ()
    sha1: Annotated[Flag, Field(description="Take RSA signatures with SHA-1 from a peer that makes no other")] = False


class CertificateFields(Described):
    """A certificate, by which we or a peer prove an identity. Its private key, if it is ours, is never part of it.

    Without certificates it is a key alone: one whose request another authority is to sign, or a raw public key.
    """

    certificate: Annotated[
        Pem, Field(description="PEM: its own certificate, then those of the authorities above it, without the root")
    ] = ""
    request: Annotated[Pem, Field(description="The request (PKCS#10, PEM) that waits for an answer")] = ""
    authority: Annotated[Reference, Field(description="Which authority of ours issued it; empty: another one")] = ""
    renew: Annotated[Flag, Field(description="Renew it after two thirds of its life, if we issued it")] = True


class CertificateObject(CertificateFields, Named):
    """A certificate with its name, without its private key."""


class RevokedFields(BaseModel):
    """A certificate that is good no more."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    serial: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{1,40}$"), Field(description="Hexadecimal")]
    at: Annotated[Seconds, Field(ge=0, le=LATEST, description="Unix time in seconds")]
    reason: Reason = "unspecified"


class AuthorityFields(Described):
    """Who is trusted to say whose a key is. With its private key it is our own and issues certificates."""

    certificate: Annotated[
        Pem, Field(description="PEM: its own certificate, then those of the authorities above it", min_length=1)
    ]
    intermediates: Annotated[
        Pem, Field(description="PEM: authorities below it that peers need not send themselves")
    ] = ""
    crls: Annotated[
        tuple[Pem, ...], Field(max_length=16, description="Lists of revoked certificates (PEM) given by hand")
    ] = ()
    crl_uris: Annotated[
        tuple[Uri, ...],
        Field(max_length=16, description="Where its lists are fetched, besides what its chain says"),
    ] = ()
    fetch_private: Annotated[
        Flag, Field(description="Fetch from private and local addresses too, for an authority in our own network")
    ] = False
    publish_uri: Annotated[
        Uri,
        Field(
            description="Where peers find our list and answers: written into what we issue, /crl and /ocsp behind it"
        ),
    ] = ""
    revoked: Annotated[
        tuple[RevokedFields, ...],
        Field(max_length=100_000, description="What we revoked. It grows only: none is ever taken back"),
    ] = ()


class AuthorityObject(AuthorityFields, Named):
    """An authority with its name, without its private key."""
