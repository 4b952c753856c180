"""Whose certificate it is in EAP-TLS, and which of ours is shown (RFC 5216 5.2, 5.3; RFC 9190 2.1.8, 2.2).

OpenSSL judges the other end's chain during the handshake, so that its alert tells what is wrong; then it is judged once
more by the rules that hold for certificates in IKE, with revocation, and by the name.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from cryptography import x509
from cryptography.x509.oid import NameOID, ObjectIdentifier

from gateway.crypto.certificates import Certificate
from gateway.crypto.chains import Chain, Untrusted
from gateway.ike.authentication import revocation
from gateway.ike.authentication.eap.gate import Account, Gate, is_anonymous
from gateway.ike.authentication.eap.talk import Failed, clean
from gateway.ike.authentication.eap.tls_machine import TlsTerms
from gateway.ike.authentication.trust import authorities, build_chain, find_doubts, verify_chain
from gateway.ike.core import Core
from gateway.ike.sa import Evidence, IkeSa
from gateway.policy.authentication import Authority, Credential, LocalAuth, RemoteAuth
from gateway.policy.identities import Identity
from gateway.policy.naming import confirms

_UPN = ObjectIdentifier("1.3.6.1.4.1.311.20.2.3")
"""A Windows user's name among a certificate's other names."""
_UTF8_STRING = 0x0C
_SHOWN = 4


def names_of(certificate: Certificate) -> list[str]:
    """The names that a certificate gives a user; the common name, as many have it, only where there is no other."""
    alternative = certificate.extension(x509.SubjectAlternativeName)
    others = alternative.get_values_for_type(x509.OtherName) if alternative else []
    upns = [one.value for one in others if one.type_id == _UPN and one.value[:1] == bytes((_UTF8_STRING,))]
    found = [*certificate.names.mail, *(value[2:].decode("utf-8", "replace") for value in upns)]
    found += certificate.names.dns
    return found or [str(one.value) for one in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]


def _same(name: str, other: str) -> bool:
    """Equal as names are: what is behind an @ without case."""
    user, at, domain = name.rpartition("@")
    user_of_other, at_of_other, domain_of_other = other.rpartition("@")
    if not at:
        return name == other
    return (user, at, domain.lower()) == (user_of_other, at_of_other, domain_of_other.lower())


def _told(names: Iterable[str]) -> str:
    shown = [clean(name.encode("utf-8", "replace")) for name in names]
    return ", ".join(shown[:_SHOWN]) or "nobody"


def holder(claimed: str, certificate: Certificate) -> str:
    """As whom the holder of this certificate comes in: as it says it is, if the certificate agrees. Raises Failed.

    Who keeps his name to himself (`@realm`, or `anonymous`; RFC 7542 2.4, RFC 9190 2.1.8) comes in as the certificate's
    first name.
    """
    names = names_of(certificate)
    if names and is_anonymous(claimed):
        return names[0]
    if any(_same(name, claimed) for name in names):
        return claimed
    raise Failed("eap-tls", f"the certificate is for {_told(names)}, not for {clean(claimed.encode())}")


@contextmanager
def _judging(sa: IkeSa) -> Iterator[None]:
    """Raises Failed for what is Untrusted."""
    try:
        yield
    except Untrusted as error:
        if sa.attempt:
            sa.attempt.chain = error.links
        raise Failed("eap-tls", f"the certificate is refused by the check of its {error.check}: {error.why}") from None


def _verified(core: Core, sa: IkeSa, wanted: RemoteAuth, chain: Sequence[bytes]) -> Chain:
    with _judging(sa):
        found = verify_chain(core, wanted, chain, (), initiator=not sa.initiator)
    if sa.attempt:
        sa.attempt.chain = found.links
    return found


def _terms(core: Core, own: Credential, trusted: list[Authority], *, server: bool) -> TlsTerms:
    between = tuple(certificate for authority in trusted for certificate in authority.intermediates)
    anchors = tuple(authority.certificate for authority in trusted)
    unix = core.extensions.tickets.unix(core.now)
    return TlsTerms(server, own.key.unwrapped, own.chain, anchors, between, unix)


def arm_server(core: Core, sa: IkeSa, gate: Gate, wanted: RemoteAuth) -> None:
    """Give the gate a TLS machine, where we have a certificate for this peer and somebody is trusted to know it.

    Whether the peer's certificate was revoked is left to `settle` where that has to be asked for.
    """
    assert sa.peer is not None
    maker, trusted = core.extensions.tls, authorities(core.snapshot, wanted)
    ours = (core.snapshot.credentials.get(auth.credential) for auth in sa.peer.local_auth)
    own = next((one for one in ours if one is not None and one.chain), None)
    if maker is None or own is None or not trusted:
        return

    def certified(claimed: str, chain: tuple[bytes, ...]) -> str:
        with _judging(sa):
            gate.shown = build_chain(core, wanted, chain, initiator=not sa.initiator)
            find_doubts(core, wanted, gate.shown, ())
        if sa.attempt:
            sa.attempt.chain = gate.shown.links
        return holder(claimed, gate.shown.leaf)

    terms = _terms(core, own, trusted, server=True)
    gate.tls, gate.certified = lambda: maker(terms), certified


async def settle(core: Core, sa: IkeSa, gate: Gate, wanted: RemoteAuth) -> None:
    """What was shown in EAP-TLS, if anything was, is not revoked, and is kept. Raises Failed."""
    chain = gate.shown
    if chain is None:
        return
    with _judging(sa):
        told = await revocation.settle(core, wanted, chain, ())
    if sa.evidence is None:  # by what IKE itself was proven comes first
        sa.evidence = Evidence(tuple(one.der for one in chain.certificates), chain.leaf.key.spki, told)
        sa.proof_ends = chain.ends


def arm_client(core: Core, sa: IkeSa, account: Account, auth: LocalAuth, server: Identity) -> Account:
    """The same account with a TLS machine, where we have a certificate; `server` is who the other end must be."""
    assert sa.peer is not None
    wanted = sa.peer.remote_auth[0]
    maker, trusted = core.extensions.tls, authorities(core.snapshot, wanted)
    own = core.snapshot.credentials.get(auth.credential)
    if maker is None or own is None or not own.chain or not trusted:
        return account

    def certified(chain: tuple[bytes, ...]) -> None:
        leaf = _verified(core, sa, wanted, chain).leaf
        if fault := confirms(leaf, server):
            raise Failed("eap-tls", f"the EAP server's certificate {leaf.text}: {fault}")

    terms = _terms(core, own, trusted, server=False)
    return replace(account, tls=lambda: maker(terms), certified=certified)
