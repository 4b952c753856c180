"""Authentication by a signature: with a certificate, or with a raw public key (RFC 7296 2.15, RFC 7427, RFC 7670)."""

from gateway.crypto.chains import Chain, Check, Untrusted
from gateway.crypto.schemes import InvalidProof, UnknownAlgorithm, WeakAlgorithm
from gateway.crypto.signature_keys import InvalidKey
from gateway.crypto.signatures import PublicKey, check, prove
from gateway.ike.abilities import Ability
from gateway.ike.attempts import Step
from gateway.ike.authentication import revocation, trust
from gateway.ike.authentication.signed import octets_of, our_body
from gateway.ike.core import Core
from gateway.ike.sa import Evidence, IkeSa
from gateway.policy.authentication import Credential, LocalAuth, Method, RemoteAuth
from gateway.policy.identities import Identity
from gateway.policy.naming import confirms
from gateway.wire import payloads as wire
from gateway.wire.message import Message
from gateway.wire.numbers import CertEncoding, HashAlgorithm, NotifyType, name_of
from gateway.wire.outcome import Close

_FAILED = NotifyType.AUTHENTICATION_FAILED
_WRONG = ("wrong-signature", "")
_CAUSES = {UnknownAlgorithm: ("signature-algorithm", ""), WeakAlgorithm: ("signature-algorithm", "signature-sha1")}
"""The cause by what is wrong with the proof, and whose advice it gets where that is another's."""
_BY_URL = (CertEncoding.HASH_AND_URL_X509, CertEncoding.HASH_AND_URL_BUNDLE)


# --- ours ---


def prove_ourselves(core: Core, sa: IkeSa, auth: LocalAuth) -> list[wire.Payload]:
    """CERT payloads, our own certificate first and without the root, and AUTH. Raises Close where we cannot.

    An OCSP response about it goes along where the peer asked for one (RFC 4806).

    They go out whether the peer asked for certificates or not: it may know what to do with them (RFC 7296 3.7).
    """
    credential = core.snapshot.credentials.get(auth.credential)
    if credential is None:
        why = f"we are to prove ourselves by the credential {auth.credential!r}, which does not exist"
        raise core.give_up(sa, "no-credential", Step.IDENTITY, _FAILED, why)
    made = prove(
        credential.key,
        octets_of(sa, our_body(sa), ours=True),
        sa.signature_hashes,
        wanted=auth.scheme,
        sha1=auth.sha1,
    )
    if made is None:
        raise core.give_up(sa, "signature-scheme", Step.IDENTITY, _FAILED, _why_no_scheme(sa, credential, auth))
    certificates = _certificates(credential, auth)
    if credential.ocsp and Ability.WANTS_OCSP in sa.abilities and auth.method == Method.CERTIFICATE:
        certificates.append(wire.CERT(CertEncoding.OCSP_CONTENT, credential.ocsp))
    return [*certificates, wire.AUTH(made.method, made.data)]


def _certificates(credential: Credential, auth: LocalAuth) -> list[wire.Payload]:
    if auth.method == Method.PUBLIC_KEY or not credential.chain:
        return [wire.CERT(CertEncoding.RAW_PUBLIC_KEY, credential.key.public.spki)]
    chain = [octets for number, octets in enumerate(credential.chain) if not number or not _is_root(octets)]
    return [wire.CERT(CertEncoding.X509_SIGNATURE, octets) for octets in chain]


def _is_root(octets: bytes) -> bool:
    return any(one.self_issued for one in trust.readable([octets]))


def _why_no_scheme(sa: IkeSa, credential: Credential, auth: LocalAuth) -> str:
    key = credential.key.public.text
    if not sa.signature_hashes:
        return (
            f"the peer does not know RFC 7427; without it a key of the kind {key} signs only by SHA-1, which is not "
            "allowed for this peer, or not at all"
        )
    known = ", ".join(dict.fromkeys(name_of(HashAlgorithm, number) for number in sa.signature_hashes[:8]))
    wanted = f" by {auth.scheme}" if auth.scheme else ""
    return f"the peer verifies signatures with {known}, and our key ({key}) signs{wanted} with none of them"


# --- the peer's ---


async def check_peer(
    core: Core, sa: IkeSa, wanted: RemoteAuth, sent: wire.Identification, message: Message, auth: wire.AUTH
) -> str:
    """How the peer proved itself, over its ID payload just as sent; its chain is kept. Raises Close."""
    identity = Identity(sent.id_type, sent.data)
    if wanted.method == Method.PUBLIC_KEY:
        keys, chain, inline = _raw_keys(core, sa, wanted, identity, message), None, list[bytes]()
    else:
        chain, inline = _chain(core, sa, wanted, identity, message)
        keys = [chain.leaf.key]
    octets, why, causes = octets_of(sa, sent.octets(), ours=False), "", _WRONG
    for key in keys:
        try:
            scheme = check(auth.method, auth.data, key, octets, sha1=wanted.sha1)
        except InvalidProof as error:
            why, causes = why or str(error), _CAUSES.get(type(error), causes)
            continue
        if chain is None:
            sa.evidence = Evidence((), key.spki, weak=scheme.weak)
            return f"by a public key that we know ({key.text}, {scheme.label})"
        try:
            told = await revocation.settle(core, wanted, chain, inline)
        except Untrusted as error:
            raise _untrusted(core, sa, identity, error) from None
        sa.evidence = Evidence(tuple(one.der for one in chain.certificates), key.spki, told, scheme.weak)
        sa.proof_ends = chain.ends
        return f"by the certificate {chain.leaf.text} ({key.text}, {scheme.label})"
    cause, cure = causes
    raise core.give_up(sa, cause, Step.IDENTITY, _FAILED, f"{identity}: {why}", cure)


def _raw_keys(core: Core, sa: IkeSa, wanted: RemoteAuth, identity: Identity, message: Message) -> list[PublicKey]:
    """The known key that the peer sent (RFC 7670 3), or all that are known when it sent none."""
    given = [one.data for one in message.all(wire.CERT) if one.encoding == CertEncoding.RAW_PUBLIC_KEY]
    known = []
    for octets in wanted.public_keys:
        if not given or octets == given[0]:
            try:
                known.append(PublicKey.parse(octets))
            except InvalidKey:
                continue
    if not known:
        what = "sent a public key that is not one of those" if given else "is to hold one of the public keys"
        why = f"{identity} {what} that are known for {sa.peer_name}"
        raise core.give_up(sa, "unknown-key", Step.IDENTITY, _FAILED, why)
    return known


def _chain(
    core: Core, sa: IkeSa, wanted: RemoteAuth, identity: Identity, message: Message
) -> tuple[Chain, list[bytes]]:
    """The chain that holds, for this identity, none of it known to be revoked; and the OCSP response sent with it.

    Raises Close.
    """
    certificates = message.all(wire.CERT)
    sent = [one.data for one in certificates if one.encoding == CertEncoding.X509_SIGNATURE]
    if not sent and any(one.encoding in _BY_URL for one in certificates):
        why = f"{identity} sent only where its certificate lies (hash and URL); we did not ask for that, nor fetch it"
        raise core.give_up(sa, "certificate-form", Step.IDENTITY, _FAILED, why)
    inline = [one.data for one in certificates if one.encoding == CertEncoding.OCSP_CONTENT][:1]
    try:
        chain = trust.build_chain(core, wanted, sent, initiator=not sa.initiator)
        trust.find_doubts(core, wanted, chain, inline)
        if fault := confirms(chain.leaf, identity):
            raise Untrusted(Check.IDENTITY, f"{chain.leaf.text}: {fault}", chain.certificates)
    except Untrusted as error:
        raise _untrusted(core, sa, identity, error) from None
    if sa.attempt:
        sa.attempt.chain = chain.links
    return chain, inline


def _untrusted(core: Core, sa: IkeSa, identity: Identity, error: Untrusted) -> Close:
    if sa.attempt:
        sa.attempt.chain = error.links
    cause = f"certificate-{error.check.name.lower().replace('_', '-')}"
    why = f"the certificate of {identity} is refused by the check of its {error.check}: {error.why}"
    return core.give_up(sa, cause, Step.IDENTITY, _FAILED, why)
