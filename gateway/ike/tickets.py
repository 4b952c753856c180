"""Tickets of session resumption: sealed state that a peer keeps for us, and those that we keep (RFC 5723 5, 6).

A ticket is `key number | nonce | AES-256-GCM(state)`. Its key is made of the engine's secret and the day, so that it
changes by itself and outlives a restart. The state names the peer with a fingerprint of its configuration and key: a
ticket from before a change opens nothing.
"""

import hashlib
import hmac
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from struct import Struct
from struct import error as StructError

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.crypto import suites
from gateway.ike.abilities import Ability
from gateway.ike.standing import Shortfall
from gateway.policy.changes import negotiated
from gateway.policy.choice import Chosen
from gateway.policy.identities import Identity
from gateway.policy.peers import Peer
from gateway.policy.snapshot import Snapshot
from gateway.wire.numbers import Protocol

LONGEST_LIFETIME = 86_400.0
"""Seconds that a ticket of ours is good for, where nothing shortens it."""
MAX_TICKET = 4096
_KEPT_LIFETIME = 7 * 86_400.0
_DAY = 86_400
_REMEMBERED = 65_536
_HEAD = Struct(">I12s")
_STATE = Struct(">dd8sHHHHHH16s")
"""Expiry, end of the proof, SPI, encryption and its bits, integrity, prf, key exchange, abilities, fingerprint."""
_LENGTH = Struct(">H")
_PLACED = Struct(">BH")  # the number of an additional key exchange, and its method
OF_KEYS = Ability.USES_PPK | Ability.MAY_USE_PPK_INT
"""What an IKE SA that comes back inherits of the one that was, with its keys."""


@dataclass(slots=True)
class Ticket:
    """What a ticket of ours says: an IKE SA that stood, and until when it may come back (Unix time).

    `chosen` and `abilities` tell of all that its SK_d was made of: several key exchanges, a pre-shared key.
    """

    expires: float
    spi: bytes
    chosen: Chosen
    peer: str
    fingerprint: bytes = field(repr=False)
    sk_d: bytes = field(repr=False)
    theirs: Identity
    ours: Identity
    abilities: Ability = Ability.NONE
    number: bytes = b""
    proof_ends: float = 0.0
    """When the certificates expire that the peer showed (Unix time); 0 where it showed none."""


@dataclass(slots=True)
class KeptTicket:
    """A peer's ticket, and what RFC 5723 5 calls "from the ticket"; `expires` is on the engine's clock."""

    ticket: bytes = field(repr=False)
    expires: float
    spi: bytes
    remote: str
    chosen: Chosen
    sk_d: bytes = field(repr=False)
    ours: Identity
    theirs: Identity
    abilities: Ability = Ability.NONE
    proof_ends: float = 0.0
    """As a Ticket's, of the certificates that the responder showed."""
    shortfall: Shortfall = Shortfall.NONE
    """Why its keys are classical, where they are."""


class Tickets:
    """Seals and opens tickets; remembers which were used or revoked, as long as they could be shown again."""

    def __init__(self, secret: bytes, random: Callable[[int], bytes], unix_offset: float) -> None:
        self.kept: dict[str, KeptTicket] = {}
        """By peer: the tickets that we were given."""
        self.short: set[str] = set()
        """Peers to whom we prove ourselves over the message alone when we come back, as libreswan wants it."""
        self._secret = secret
        self._random = random
        self.unix_offset = unix_offset
        """Added to the engine's clock gives Unix time."""
        self._keys: dict[int, AESGCM] = {}
        self._gone: OrderedDict[bytes, float] = OrderedDict()
        self._fingerprints: dict[str, tuple[tuple[object, ...], bytes]] = {}

    @property
    def able(self) -> bool:
        """Whether the engine has a secret to seal with."""
        return bool(self._secret)

    def unix(self, now: float) -> float:
        return now + self.unix_offset

    def _key(self, day: int) -> AESGCM:
        if day not in self._keys:
            if len(self._keys) > 2:
                self._keys.clear()
            self._keys[day] = AESGCM(hmac.digest(self._secret, b"ticket key 2" + day.to_bytes(4), hashlib.sha256))
        return self._keys[day]

    def seal(self, ticket: Ticket, now: float) -> bytes:
        """The ticket as the peer will show it."""
        chosen = ticket.chosen
        numbers = (row.number if row else 0 for row in (chosen.integ, chosen.prf, chosen.ke))
        state = _STATE.pack(
            ticket.expires,
            ticket.proof_ends,
            ticket.spi,
            chosen.encr.number,
            chosen.encr.key_bits or 0,
            *numbers,
            ticket.abilities,
            ticket.fingerprint,
        )
        identities = [bytes((one.id_type,)) + one.data for one in (ticket.theirs, ticket.ours)]
        following = b"".join(_PLACED.pack(place, row.number if row else 0) for place, row in chosen.additional)
        for octets in (ticket.peer.encode(), ticket.sk_d, *identities, following):
            state += _LENGTH.pack(len(octets)) + octets
        head = _HEAD.pack(int(self.unix(now)) // _DAY, self._random(12))
        return head + self._key(int(self.unix(now)) // _DAY).encrypt(head[4:], state, head)

    def open(self, sealed: bytes, now: float) -> Ticket | None:
        """What is in a ticket of ours that is still good; None for every other string of octets."""
        if not self._secret or not _HEAD.size + 16 < len(sealed) <= MAX_TICKET:
            return None
        day, number = _HEAD.unpack_from(sealed)
        if not 0 <= int(self.unix(now)) // _DAY - day <= 1:
            return None
        head = sealed[: _HEAD.size]
        try:
            state = self._key(day).decrypt(number, sealed[_HEAD.size :], head)
            ticket = _read(state, number)
        except (InvalidTag, StructError, ValueError, IndexError):
            return None
        if ticket is None or ticket.expires <= self.unix(now) or number in self._gone or ticket.spi in self._gone:
            return None
        return ticket

    def use(self, ticket: Ticket, now: float) -> bool:
        """Once only (RFC 5723 4.3.1). False: it was used before, or the IKE SA was deleted meanwhile."""
        if ticket.number in self._gone or ticket.spi in self._gone:
            return False
        self._forget(ticket.number, now)
        return True

    def revoke(self, spi: bytes, now: float) -> None:
        """The IKE SA with this SPI of ours was deleted or rekeyed: its tickets are worth nothing (RFC 5723 6.2)."""
        if self._secret:
            self._forget(spi, now)

    def ended(self, spi: bytes, name: str, now: float, *, revoke: bool) -> None:
        """An IKE SA ended on purpose: the ticket kept for it is worth nothing, nor is one given, if we meant it so."""
        if revoke:
            self.revoke(spi, now)
        kept = self.kept.get(name)
        if kept is not None and kept.spi == spi:
            del self.kept[name]

    def _forget(self, number: bytes, now: float) -> None:
        gone = self._gone
        gone[number] = now
        while gone and (len(gone) > _REMEMBERED or next(iter(gone.values())) < now - LONGEST_LIFETIME):
            gone.popitem(last=False)

    def fingerprint(self, snapshot: Snapshot, peer: Peer, ours: Identity, theirs: Identity) -> bytes:
        """What the peer's configuration and keys are now; another value when one that was negotiated is another."""
        psk = snapshot.psk_for(ours, theirs)
        secret = psk.secret if psk else b""
        of = peer, secret, snapshot.credentials, snapshot.authorities, snapshot.ppks
        known = self._fingerprints.get(peer.name)
        if known is None or any(one is not other for one, other in zip(known[0], of, strict=True)):
            mixed = [one.ppk_id + one.secret for name in peer.ppks if (one := snapshot.ppks.get(name))]
            text = b"\0".join((repr(negotiated(peer, snapshot)).encode(), secret, *mixed))
            known = self._fingerprints[peer.name] = (of, hmac.digest(self._secret, text, hashlib.sha256)[:16])
        return known[1]

    def keep(self, name: str, kept: KeptTicket, lifetime: float, now: float) -> None:
        """A peer gave us a ticket; a later one takes its place."""
        kept.expires = now + min(lifetime, _KEPT_LIFETIME)
        self.kept[name] = kept

    def usable(self, name: str, now: float) -> KeptTicket | None:
        """The peer's ticket, if it has one that is good for a moment longer."""
        kept = self.kept.get(name)
        if kept is not None and kept.expires <= now + 1.0:
            del self.kept[name]
            return None
        return kept

    def unproven(self, name: str) -> None:
        """The peer took our ticket, but not our proof: the next time in the other form, then not again."""
        if name in self.short:
            self.short.discard(name)
            self.kept.pop(name, None)
        elif name in self.kept:
            self.short.add(name)

    def drop(self, name: str) -> None:
        """The peer, its configuration or its key is another: neither side of its tickets is worth anything."""
        self.kept.pop(name, None)
        self._fingerprints.pop(name, None)
        self.short.discard(name)


def _read(state: bytes, number: bytes) -> Ticket | None:
    expires, proof_ends, spi, encr, bits, integ, prf, ke, abilities, fingerprint = _STATE.unpack_from(state)
    fields, at = [], _STATE.size
    for _ in range(5):
        (length,) = _LENGTH.unpack_from(state, at)
        fields.append(state[at + 2 : at + 2 + length])
        at += 2 + length
    name, sk_d, theirs, ours, following = fields
    row, function = suites.encryption(encr, bits or None), suites.pseudo_random(prf)
    if row is None or function is None:
        return None
    check = suites.integrity(integ) if integ else None
    chosen = Chosen(1, Protocol.IKE, b"", row, check, function, suites.key_exchange(ke))
    chosen.additional = tuple((place, suites.key_exchange(method)) for place, method in _PLACED.iter_unpack(following))
    them, us = Identity(theirs[0], theirs[1:]), Identity(ours[0], ours[1:])
    return Ticket(
        expires, spi, chosen, name.decode(), fingerprint, sk_d, them, us, Ability(abilities), number, proof_ends
    )
