"""Whom a round of proof trusts: authorities out of the configuration, and what is asked of the peer."""

import hashlib
from collections.abc import Iterable, Sequence
from functools import lru_cache

from gateway.crypto.certificates import Certificate, InvalidCertificate, at_time
from gateway.crypto.chains import Chain, Check, Trust, Untrusted, verify
from gateway.crypto.revocation import State, standing
from gateway.ike.core import Core
from gateway.policy.authentication import Authority, Credential, Method, RemoteAuth, Revocation
from gateway.policy.peers import Peer
from gateway.policy.snapshot import Snapshot
from gateway.wire import payloads as wire
from gateway.wire.numbers import CertEncoding

_MOST_ASKED = 32
"""Authorities that are named to a peer: its answer should not cost more than its question."""


def authorities(snapshot: Snapshot, wanted: RemoteAuth) -> list[Authority]:
    """Those that may have issued the peer's certificate: all, where none is named."""
    if not wanted.authorities:
        return list(snapshot.authorities.values())
    return [snapshot.authorities[name] for name in wanted.authorities if name in snapshot.authorities]


def verify_chain(
    core: Core, wanted: RemoteAuth, sent: Sequence[bytes], inline: Sequence[bytes], *, initiator: bool
) -> Chain:
    """The chain from the first certificate sent to one of these authorities, none of it revoked. Raises Untrusted.

    `inline` are OCSP responses that the peer itself sent (RFC 4806).
    """
    trusted = authorities(core.snapshot, wanted)
    anchors = tuple(readable(one.certificate for one in trusted))
    below = tuple(readable(octets for one in trusted for octets in one.intermediates))
    now = core.extensions.tickets.unix(core.now)
    chain = verify(sent, Trust(anchors, below, now=now), initiator=initiator)
    if wanted.revocation != Revocation.OFF:
        _check_revocation(core.snapshot, wanted.revocation, chain, inline, now)
    return chain


def _check_revocation(
    snapshot: Snapshot, policy: Revocation, chain: Chain, inline: Sequence[bytes], now: float
) -> None:
    """Each certificate but the anchor, by what its issuer says. Raises Untrusted."""
    known = snapshot.authorities.values()
    crls = [crl for one in known for crl in one.crls]
    responses = [*inline, *(response for one in known for response in one.ocsp)]
    for number, one in enumerate(chain.certificates[:-1]):
        found = standing(one, chain.certificates[number + 1], crls, responses, at_time(now))
        if found.state is State.REVOKED or (found.state is State.UNKNOWN and policy == Revocation.STRICT):
            raise Untrusted(Check.REVOCATION, found.why, chain.certificates, number)


def readable(certificates: Iterable[bytes]) -> list[Certificate]:
    """Those of the configuration's that can be read; nothing that another one signed can be trusted."""
    found = []
    for octets in certificates:
        try:
            found.append(Certificate.read(octets))
        except InvalidCertificate:
            continue
    return found


def asks_for_others(snapshot: Snapshot, credential: Credential, asked: Sequence[wire.CERTREQ]) -> bool:
    """Whether the peer named authorities (RFC 7296 3.7), and none of those that stand above our certificate.

    False where that cannot be told: the request is a hint, and our root is known only if it is trusted here too.
    """
    named = {octets for one in asked for octets in one.authorities}
    chain = readable(credential.chain)
    roots = readable(one.certificate for one in snapshot.authorities.values())
    above = chain[1:] + [one for one in roots if chain and one.subject_der == chain[-1].issuer_der]
    return bool(named) and len(above) > len(chain[1:]) and named.isdisjoint(_name(one.key.spki) for one in above)


def _name(spki: bytes) -> bytes:
    """How a CERTREQ names an authority."""
    return hashlib.sha1(spki).digest()  # noqa: S324 - a name, no proof


@lru_cache(64)
def _names(certificates: tuple[bytes, ...]) -> bytes:
    """How a CERTREQ names the authorities with these certificates; every IKE_SA_INIT asks for it."""
    keys = dict.fromkeys(one.key.spki for one in readable(certificates))
    return b"".join(map(_name, list(keys)[:_MOST_ASKED]))


def requests(snapshot: Snapshot, peers: Sequence[Peer]) -> list[wire.Payload]:
    """CERTREQ payloads for the proof that any of these peers may bring (RFC 7296 3.7, RFC 7670 3)."""
    rounds = [wanted for peer in peers for wanted in peer.remote_auth[:1]]
    named = [one for wanted in rounds if wanted.method == Method.CERTIFICATE for one in authorities(snapshot, wanted)]
    names = _names(tuple(dict.fromkeys(one.certificate for one in named)))
    asked: list[wire.Payload] = []
    if names:
        asked.append(wire.CERTREQ(CertEncoding.X509_SIGNATURE, names))
    if any(wanted.method == Method.PUBLIC_KEY for wanted in rounds):
        asked.append(wire.CERTREQ(CertEncoding.RAW_PUBLIC_KEY, b""))
    return asked
