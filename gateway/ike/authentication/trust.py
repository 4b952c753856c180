"""Whom a round of proof trusts: authorities out of the configuration, and what is asked of the peer."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from gateway.crypto.certificates import Certificate, InvalidCertificate, at_time
from gateway.crypto.chains import Chain, Check, Trust, Untrusted, verify
from gateway.crypto.revocation import State, standing
from gateway.ike.abilities import Ability
from gateway.ike.core import Core
from gateway.ike.sa import IkeSa
from gateway.policy.authentication import Authority, Credential, Method, RemoteAuth, Revocation
from gateway.policy.peers import Peer
from gateway.policy.snapshot import Snapshot
from gateway.wire import payloads as wire
from gateway.wire.message import Message
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

    `inline` are OCSP responses that the peer itself sent (RFC 4806), or that were fetched for it.
    """
    chain = build_chain(core, wanted, sent, initiator=initiator)
    if doubts := find_doubts(core, wanted, chain, inline):
        refuse_doubts(wanted, chain, doubts)
    return chain


def build_chain(core: Core, wanted: RemoteAuth, sent: Sequence[bytes], *, initiator: bool) -> Chain:
    """The chain alone, before anybody is asked whether something in it was revoked. Raises Untrusted."""
    trusted = authorities(core.snapshot, wanted)
    anchors = tuple(readable(one.certificate for one in trusted))
    below = tuple(readable(octets for one in trusted for octets in one.intermediates))
    now = core.extensions.tickets.unix(core.now)
    return verify(sent, Trust(anchors, below, now=now), initiator=initiator)


@dataclass(frozen=True, slots=True)
class Doubt:
    """A certificate of a chain, by its place, of which nobody has said that it is good, and why not."""

    number: int
    why: str


def find_doubts(core: Core, wanted: RemoteAuth, chain: Chain, inline: Sequence[bytes]) -> list[Doubt]:
    """Each certificate but the anchor, by what its issuer says: which are in doubt? Raises Untrusted for a revoked one.

    Where revocation is off none is.
    """
    if wanted.revocation == Revocation.OFF:
        return []
    known = core.snapshot.authorities.values()
    crls = [crl for one in known for crl in one.crls]
    responses = [*inline, *(response for one in known for response in one.ocsp)]
    now, found = at_time(core.extensions.tickets.unix(core.now)), []
    for number, one in enumerate(chain.certificates[:-1]):
        state = standing(one, chain.certificates[number + 1], crls, responses, now)
        if state.state is State.REVOKED:
            raise Untrusted(Check.REVOCATION, state.why, chain.certificates, number)
        if state.state is State.UNKNOWN:
            found.append(Doubt(number, state.why))
    return found


def refuse_doubts(wanted: RemoteAuth, chain: Chain, doubts: Sequence[Doubt], tried: str = "") -> None:
    """Where good must be proven, a doubt is a refusal; `tried` says how asking went. Raises Untrusted."""
    if wanted.revocation == Revocation.STRICT:
        first = doubts[0]
        why = f"{first.why}; {tried}" if tried else first.why
        raise Untrusted(Check.REVOCATION, why, chain.certificates, first.number)


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
    """CERTREQ payloads for the proof that any of these peers may bring (RFC 7296 3.7, RFC 7670 3, RFC 4806 3.1).

    No responder is named there: we take answers of the issuer, or of whom it names.
    """
    rounds = [wanted for peer in peers for wanted in peer.remote_auth[:1]]
    named = [one for wanted in rounds if wanted.method == Method.CERTIFICATE for one in authorities(snapshot, wanted)]
    names = _names(tuple(dict.fromkeys(one.certificate for one in named)))
    asked: list[wire.Payload] = []
    if any(wanted.method == Method.CERTIFICATE and wanted.revocation != Revocation.OFF for wanted in rounds):
        asked.append(wire.CERTREQ(CertEncoding.OCSP_CONTENT, b""))
    if names:
        asked.append(wire.CERTREQ(CertEncoding.X509_SIGNATURE, names))
    if any(wanted.method == Method.PUBLIC_KEY for wanted in rounds):
        asked.append(wire.CERTREQ(CertEncoding.RAW_PUBLIC_KEY, b""))
    return asked


def note_wish(sa: IkeSa, message: Message) -> None:
    """Whether the peer wants to see an OCSP response beside our certificate (RFC 4806 3.1)."""
    if any(one.encoding == CertEncoding.OCSP_CONTENT for one in message.all(wire.CERTREQ)):
        sa.abilities |= Ability.WANTS_OCSP
