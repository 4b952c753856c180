"""Devices of users: their certificates made and revoked, and when they were seen."""

import asyncio
import logging
import os
import secrets
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

from cryptography.hazmat.primitives.asymmetric import ec, rsa

from gateway.crypto import authority as ca
from gateway.crypto import containers
from gateway.crypto.authority import CannotIssue, Profile, Wanted, general_name
from gateway.policy.authentication import Revocation
from gateway.policy.identities import Identity
from gateway.policy.peers import Peer
from gateway.service.authorities import authority_chain, facts_of, issuer_of, sent_with
from gateway.service.edits import with_revoked
from gateway.service.issuing import make_key
from gateway.service.manage import (
    Configuration,
    FieldError,
    Invalid,
    NotFound,
    PreconditionFailed,
    StorageFailed,
    Terms,
    Written,
)
from gateway.service.profiles import DeviceKey
from gateway.service.profiles.joining import Unfit
from gateway.service.status import IkeSaStatus
from gateway.storage.compiling.devices import subject_of
from gateway.storage.database import Database
from gateway.storage.devices import DeviceObject
from gateway.storage.history import load_sightings, save_sightings
from gateway.storage.objects import Inventory
from gateway.storage.people import UserObject

LIFE = 398 * ca.DAY
"""Seconds that a device's certificate is good for, where nobody says otherwise."""
_LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"  # none that looks like another
_SIGNS = 16
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Sighting:
    """When a device came in for the first and the last time by the certificate that it has, Unix seconds."""

    device: str
    first: float
    last: float


@dataclass(frozen=True, slots=True)
class Enrolment:
    """A device's new key, and the certificate (PEM) of it, which is all that stays here."""

    key: DeviceKey
    certificate: str
    authority: str


class Devices:
    """The devices of one gateway. Their certificates are part of the configuration, what was seen of them is not."""

    def __init__(self, config: Configuration, database: Database, clock: Callable[[], float] = time.time) -> None:
        self._config = config
        self._database = database
        self._clock = clock
        with database.read() as session:
            self._seen = {one[0]: Sighting(*one) for one in load_sightings(session)}
        self._unwritten: set[str] = set()
        self._dropped: set[str] = set()
        self._came: dict[str, str] = {}
        """Devices that came in by their new certificate while the one before is good, and the new one."""

    def sighting(self, name: str) -> Sighting | None:
        """When the device `user/device` was seen; None: never."""
        return self._seen.get(name)

    def look(self, sas: Iterable[IkeSaStatus]) -> None:
        """Note which devices are in now by the certificate that is theirs, and no longer by the one before."""
        inventory, now = self._config.inventory, self._clock()
        for sa in sas:
            device = None if sa.superseded else inventory.devices.get(sa.device)
            if device is not None:
                if device.previous_certificate:
                    self._came[device.name] = device.certificate
                before = self._seen.get(sa.device)
                self._seen[sa.device] = Sighting(sa.device, before.first if before else now, now)
                self._unwritten.add(sa.device)

    async def retire(self) -> None:
        """Let go of the certificates before, of devices that came in by their new ones: they are revoked.

        Raises nothing: what cannot be stored now is tried again when the device is seen the next time.
        """
        while self._came:
            name, certificate = self._came.popitem()
            gone = {"previous_certificate": "", "previous_authority": ""}
            terms = Terms(
                "ikegate", f"{name} came in by its new certificate", wanted=partial(self._has, name, certificate)
            )
            try:
                await self._config.patch("devices", name, gone, terms)
            except (NotFound, PreconditionFailed):
                continue  # it is gone, or has yet another certificate
            except (Invalid, StorageFailed) as error:
                _log.warning("the certificate that %s had before is not revoked yet: %s", name, error)

    def _has(self, name: str, certificate: str) -> bool:
        device = self._config.inventory.devices.get(name)
        return device is not None and device.certificate == certificate

    def kept(self, name: str) -> dict[str, str]:
        """Of a device that is given another certificate: the one by which it comes in until it uses that.

        One by which it never came in is nobody's yet, and one that is revoked or has run out is no way in: neither is
        kept.
        """
        inventory, now = self._config.inventory, self._clock()
        device = inventory.devices[name]
        known = device.certificates if self.sighting(name) else device.certificates[1:]
        good = [one for one in known if not is_gone(inventory, *one) and facts_of(one[1])[0].not_after > now]
        authority, certificate = good[0] if good else ("", "")
        return {"previous_authority": authority, "previous_certificate": certificate}

    def forget(self, name: str) -> None:
        """It has another certificate, and was not seen with that."""
        self._seen.pop(name, None)
        self._unwritten.discard(name)
        self._dropped.add(name)

    async def keep(self) -> None:
        """Write behind what was seen, and forget devices that are no more. Raises StorageFailed; nothing is lost."""
        for name in self._seen.keys() - self._config.inventory.devices.keys():
            self.forget(name)
        changed = [self._seen[name] for name in self._unwritten]
        gone = self._dropped - self._unwritten
        if not changed and not gone:
            return
        await asyncio.to_thread(self._write, changed, gone)
        self._unwritten -= {one.device for one in changed if self._seen.get(one.device) == one}
        self._dropped -= gone

    def _write(self, changed: list[Sighting], gone: set[str]) -> None:
        with self._database.write() as session:
            save_sightings(session, [(one.device, one.first, one.last) for one in changed], gone)

    def enrol(self, inventory: Inventory, name: str, peer: Peer, life: float) -> Enrolment:
        """A key and a certificate for a device to come in by a peer; nothing is stored. Raises Unfit, NotFound."""
        authority = issuing_authority(inventory, peer)
        issuer, device = issuer_of(inventory, authority), name.partition("/")[2]
        user = inventory.users[inventory.devices[name].user]
        identity = device_identity(user, device)
        key = make_key("ecdsa-p256")
        wanted = Wanted(device, (identity,), user.name, Profile.CLIENT, life)
        try:
            made = ca.issue(issuer, key.public, wanted, self._clock(), os.urandom)
        except CannotIssue as error:
            raise Unfit(f"the authority {authority} makes no certificate for this device: {error}") from None
        taken = peer.remote_id.matches
        if not taken(Identity.parse(identity)):
            raise Unfit(f"{peer.name} takes {peer.remote_id} alone, and the device would be {identity}")
        chain = (made, *sent_with(inventory, authority))
        sealed = DeviceKey(
            name=name.replace("/", "-"),
            identity=identity,
            key=key,
            chain=tuple(map(containers.der, chain)),
            root=containers.der(authority_chain(inventory, authority)[-1]),
            password="".join(secrets.choice(_LETTERS) for _ in range(_SIGNS)),
            by_subject=taken(subject_of(made)),
        )
        return Enrolment(sealed, containers.pem(*chain), authority)

    async def revoke(self, name: str, terms: Terms, reason: str = "unspecified") -> Written:
        """Take the word about a device's certificate back, for good: it is cut off. Raises NotFound, Invalid.

        That is the certificate that it has then, one that it took in this moment, too, and the one before.
        """
        device = self._config.object("devices", name)
        assert isinstance(device, DeviceObject)
        if not device.certificate:
            raise Invalid(
                [FieldError("", "no-certificate", "The device has no certificate yet: there is none to revoke.")]
            )
        changed = self._config.inventory
        for authority, certificate in device.certificates:
            changed = with_revoked(changed, authority, certificate, self._clock(), reason)
        for authority in sorted({authority for authority, _ in device.certificates}):
            revoked = [one.model_dump(mode="json") for one in changed.authorities[authority].revoked]
            written = await self._config.patch("authorities", authority, {"revoked": revoked}, terms)
        present = self._config.inventory.devices.get(name)
        if terms.dry_run or present is None or present.certificate in ("", device.certificate):
            return written
        return await self.revoke(name, terms, reason)


def is_revoked(inventory: Inventory, device: DeviceObject) -> bool:
    """Whether the authority took its word about the device's certificate back."""
    return bool(device.certificate) and is_gone(inventory, device.authority, device.certificate)


def is_gone(inventory: Inventory, authority: str, certificate: str) -> bool:
    """Whether an authority took its word about a certificate (PEM) back."""
    held, serial = inventory.authorities.get(authority), facts_of(certificate)[0].serial
    return held is not None and any(one.serial == serial for one in held.revoked)


def device_identity(user: UserObject, device: str) -> str:
    """As whom a device comes: `anna+phone@example.com` where the user's login is an e-mail address, else `phone.anna`.

    Each device has its own, so that several of one person may be in at a time, each with its own address.
    """
    local, at, domain = (user.login or user.name).rpartition("@")
    for text in (f"{local}+{device}@{domain}" if at else "", f"{device}.{user.name}"):
        try:
            general_name(text)
            Identity.parse(text)
        except ValueError:
            continue
        return text
    raise Unfit(f"{device}.{user.name} is no name that a certificate can say: take names of letters, digits and -")


def issuing_authority(inventory: Inventory, peer: Peer) -> str:
    """Which authority of ours this peer trusts; one whose key every device knows goes first. Raises Unfit."""
    first = peer.remote_auth[0]
    if first.revocation == Revocation.OFF:
        raise Unfit(f"{peer.name} never asks whether a certificate is revoked: set its revocation to if-reachable")
    names = [
        name
        for name in first.authorities or sorted(inventory.authorities)
        if ("authorities", name) in inventory.secrets
    ]
    if not names:
        raise Unfit(f"{peer.name} trusts no authority of ours that could make a certificate for the device: create one")
    return min(names, key=lambda name: not _known_everywhere(inventory, name))


def _known_everywhere(inventory: Inventory, name: str) -> bool:
    key = authority_chain(inventory, name)[0].public_key()
    return isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey)
