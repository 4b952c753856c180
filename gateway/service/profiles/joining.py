"""What a device has to know to come in, read from the configuration once for every platform's file."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from cryptography import x509

from gateway.crypto.containers import write_pkcs12
from gateway.crypto.signature_keys import ML_DSA
from gateway.crypto.signatures import PrivateKey, PublicKey
from gateway.policy.authentication import Method
from gateway.policy.peers import Child, Peer
from gateway.policy.proposals import Proposal
from gateway.policy.selectors import Selector
from gateway.policy.snapshot import Snapshot
from gateway.policy.users import User

Word = TypeVar("Word")
_ML_DSA = frozenset(f"2.16.840.1.101.3.4.3.{last}" for last in (17, 18, 19))  # RFC 9881 2
_ALL = frozenset({Selector.parse("0.0.0.0/0"), Selector.parse("::/0")})


class Unfit(Exception):
    """A device of this kind cannot come in as the peer is configured; the text says why, and what would help."""


@dataclass(frozen=True, slots=True)
class DeviceKey:
    """A device's private key, for the moment in which its file is made, and the certificate that goes with it.

    `identity` is as whom the device comes, `chain` (DER) has its own certificate first and ends below `root`.
    `password` is under what the key is in PKCS#12. `by_subject`: the peer takes the certificate's subject too.
    """

    name: str
    identity: str
    key: PrivateKey = field(repr=False)
    chain: tuple[bytes, ...]
    root: bytes
    password: str = field(repr=False)
    by_subject: bool = False

    def pkcs12(self, *, old: bool) -> bytes:
        """The key with its chain; `old` as `write_pkcs12` says."""
        chain = tuple(x509.load_der_x509_certificate(one) for one in self.chain)
        return write_pkcs12(self.name, self.key, chain, self.password, old=old)


@dataclass(frozen=True, slots=True)
class Joining:
    """One person's way in by one peer.

    With a `device` he comes in by its certificate, and by his password besides where there are `two_rounds`; else by
    his password alone.

    `server` is what the device calls, `server_id` whom it finds there. `anchor` is the certificate (DER) of the
    authority that it has to trust for that, empty where it is expected to know it. `networks` are those on our side,
    none for all traffic. `signer` signs what can be signed: our key and its chain, own certificate first.
    """

    title: str
    server: str
    server_id: str
    login: str
    ike: tuple[Proposal, ...]
    esp: tuple[Proposal, ...]
    anchor: bytes = b""
    networks: tuple[str, ...] = ()
    signer: tuple[PrivateKey, tuple[bytes, ...]] | None = field(default=None, repr=False)
    device: DeviceKey | None = None
    two_rounds: bool = False
    on_demand: bool = False

    def identifier(self, part: str) -> str:
        """A UUID that is the same each time, so that a file loaded again takes the place of the last."""
        name = "/".join(("ikegate", self.server, self.title, self.login, part))
        return str(uuid.uuid5(uuid.NAMESPACE_URL, name)).upper()


def join(
    snapshot: Snapshot,
    peer: Peer,
    user: User,
    public_name: str,
    device: DeviceKey | None = None,
    *,
    on_demand: bool = False,
) -> Joining:
    """Raises Unfit."""
    _check_rounds(peer, device)
    ours = peer.local_auth[0]
    credential = snapshot.credentials.get(ours.credential)
    if ours.method != Method.CERTIFICATE or credential is None or not credential.chain:
        raise Unfit(f"{peer.name} has no certificate to prove itself to devices: set its local_auth to certificate")
    anchor = _anchor(snapshot, credential.chain)
    _checkable(f"the gateway's certificate for {peer.name}", *credential.chain, anchor)
    if device is not None:
        _checkable("the device's certificate", *device.chain, device.root)
    server_id = peer.local_id.text if peer.local_id else public_name
    server = public_name or server_id
    if not server:
        raise Unfit("the gateway's name is not known: set IKEGATE_PUBLIC_NAME, or the peer's local_id")
    children = _children(snapshot, peer, user)
    if not children:
        raise Unfit(f"{peer.name} has no child for {user.name}: there is nothing to come in to")
    access = snapshot.access_of(user)
    local = [selector for child in children for selector in child.local]
    return Joining(
        title=peer.name,
        server=server,
        server_id=server_id,
        login=user.name,
        ike=(access.profile.ike if access else ()) or peer.proposals,
        esp=children[0].proposals,
        anchor=anchor,
        networks=() if _ALL & set(local) else tuple(dict.fromkeys(net for one in local for net in one.networks())),
        signer=(credential.key, credential.chain),
        device=device,
        two_rounds=len(peer.remote_auth) > 1,
        on_demand=on_demand,
    )


def _check_rounds(peer: Peer, device: DeviceKey | None) -> None:
    """That the peer asks for what is brought: a password, or a device's certificate. Raises Unfit."""
    rounds = [one.method for one in peer.remote_auth]
    if device is None and rounds[0] != Method.EAP:
        raise Unfit(f"{peer.name} does not ask for a password: set its remote_auth to eap")
    if device is None and len(rounds) > 1:
        raise Unfit(f"{peer.name} asks for more than a password: invite a device, or leave one round of remote_auth")
    if device is not None and rounds not in ([Method.CERTIFICATE], [Method.CERTIFICATE, Method.EAP]):
        raise Unfit(f"{peer.name} does not ask for a certificate, with or without a password after it")


def _children(snapshot: Snapshot, peer: Peer, user: User) -> list[Child]:
    """Those that he may have, as far as his access profile goes."""
    his = [child for child in peer.children if not child.groups or not set(child.groups).isdisjoint(user.groups)]
    access = snapshot.access_of(user)
    narrowed = [access.profile.applied_to(child) for child in his] if access else his
    return [child for child in narrowed if child.local]


def _anchor(snapshot: Snapshot, chain: tuple[bytes, ...]) -> bytes:
    """The stored authority to which the chain leads."""
    last = x509.load_der_x509_certificate(chain[-1])
    for authority in snapshot.authorities.values():
        certificate = x509.load_der_x509_certificate(authority.certificate)
        if certificate == last or certificate.subject == last.issuer:
            return authority.certificate
    return b""


def _checkable(whose: str, *chain: bytes) -> None:
    """No client of today reads keys and signatures of ML-DSA in certificates. Raises Unfit."""
    for one in filter(None, chain):
        certificate = x509.load_der_x509_certificate(one)
        by = certificate.signature_algorithm_oid.dotted_string
        if by in _ML_DSA or PublicKey.of(certificate.public_key()).kind in ML_DSA:
            told = f"{whose} needs ML-DSA, which no device can check yet"
            raise Unfit(f"{told}: take an authority with a key of ECDSA or RSA for this peer")


@dataclass(frozen=True, slots=True)
class Suite:
    """One algorithm of each kind in a platform's own words; `group` is empty without a key exchange."""

    encryption: str
    integrity: str
    group: str


def suite(
    proposals: tuple[Proposal, ...],
    encryption: Mapping[str, str],
    integrity: Mapping[str, str],
    groups: Mapping[str, str],
    who: str,
) -> Suite:
    """The first that the platform can do; the maps are from our keywords to its words. Raises Unfit.

    With a combined-mode cipher the pseudo-random function stands for the integrity algorithm, as Apple and Windows
    have one word for both.
    """
    for proposal in proposals:
        encr = _first(encryption, [row.keyword for row in proposal.encr])
        hashes = [row.keyword for row in proposal.integ] or [row.keyword.removeprefix("prf") for row in proposal.prf]
        integ = _first(integrity, hashes) if hashes else ""
        group = _first(groups, [row.keyword for row in proposal.ke]) if proposal.ke else ""
        needed = any(None not in choices for _, choices in proposal.additional)
        if encr is not None and integ is not None and group is not None and not needed:
            return Suite(encr, integ, group)
    offered = "; ".join(proposal.keywords for proposal in proposals)
    raise Unfit(f"{who} can do none of these: {offered}. Add a proposal such as aes256gcm16-prfsha384-ecp384 (IKE)")


def _first(words: Mapping[str, Word], keywords: list[str]) -> Word | None:
    return next((words[keyword] for keyword in keywords if keyword in words), None)
