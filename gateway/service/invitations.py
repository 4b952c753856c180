"""Invitations: a link, good once and for a while, by which a person makes a device of his ready to come in.

Whoever holds the token may have the device's key, so it is 256 bits of chance, is shown once, and only its digest is
stored. Looking at the link changes nothing, as mail scanners and previews do that too: the key is made when the person
asks for the file, goes into it, and is nowhere else.
"""

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field, replace

from gateway.policy.authentication import Method
from gateway.policy.peers import Peer
from gateway.policy.snapshot import Snapshot
from gateway.policy.users import User
from gateway.service.credentials import digest
from gateway.service.devices import LIFE, Devices, Enrolment
from gateway.service.journal import Journal
from gateway.service.manage import Configuration, Conflict, FieldError, Invalid, NotFound, PreconditionFailed, Terms
from gateway.service.profiles import KEYED, PLATFORMS, Platform
from gateway.service.profiles.joining import Unfit, join
from gateway.service.throttle import Throttle
from gateway.storage.database import Database
from gateway.storage.devices import DeviceObject
from gateway.storage.invites import forget_invites, load_invites, save_invite
from gateway.storage.objects import Inventory

GOOD_FOR = 86_400.0
"""Seconds after which a link is good no more, where nobody says otherwise."""
LONGEST = 30 * 86_400.0
WATCHED_FOR = 3600.0
"""Seconds for which who has taken the file may watch the device come in."""
_KEPT = 30 * 86_400.0  # seconds for which one that is over is remembered
_MOST_WATCHED = 1000
_log = logging.getLogger(__name__)


class NoInvitation(Exception):
    """The link is good for nothing; the text says to the person what to do."""


@dataclass(frozen=True, slots=True)
class Invite:
    """One invitation; times are Unix seconds. `life` is for how many seconds the device's certificate will be good."""

    id: str
    digest: str = field(repr=False)
    device: str
    peer: str
    on_demand: bool
    life: float
    created_at: float
    created_by: str
    expires_at: float
    opened_at: float | None = None
    used_at: float | None = None
    used_from: str = ""
    platform: str = ""
    revoked_at: float | None = None

    def state(self, now: float) -> str:
        """`open`, `used`, `revoked` or `expired`."""
        if self.used_at is not None:
            return "used"
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if now >= self.expires_at else "open"


@dataclass(frozen=True, slots=True)
class NewInvite:
    """An invitation just made, and its token, which is nowhere else."""

    invite: Invite
    token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Watch:
    """What the person who took the file may see: how it goes on, and the password that the device may ask for."""

    invite: str
    until: float
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Taken:
    """The file, and the secret by which its taker may watch what becomes of it."""

    octets: bytes = field(repr=False)
    platform: Platform
    file_name: str
    watch: str = field(repr=False)


class Invitations:
    """All invitations of one gateway: in memory, and written to the database before anything is said of them."""

    def __init__(
        self,
        config: Configuration,
        devices: Devices,
        database: Database,
        journal: Journal,
        public_name: str,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._config = config
        self._devices = devices
        self._database = database
        self._journal = journal
        self._public_name = public_name
        self._clock = clock
        self._throttle = Throttle()
        self._changing = asyncio.Lock()
        self._cut: dict[str, float] = {}
        """Devices that were cut off since the present change began, and when."""
        self._watches: dict[str, Watch] = {}
        with database.read() as session:
            known = [Invite(**row) for row in load_invites(session)]
        self._by_id = {one.id: one for one in known}
        self._by_digest = {one.digest: one.id for one in known}

    # For administrators.

    def all(self) -> list[Invite]:
        """The newest first."""
        return sorted(self._by_id.values(), key=lambda one: (-one.created_at, one.id))

    def of_device(self, name: str) -> list[Invite]:
        """Those of one device, the newest first."""
        return [one for one in self.all() if one.device == name]

    def is_open(self, device: str) -> bool:
        """Whether a link of the device is good now."""
        return any(one.state(self._clock()) == "open" for one in self._by_id.values() if one.device == device)

    def get(self, number: str) -> Invite:
        """Raises NotFound."""
        found = self._by_id.get(number)
        if found is None:
            raise NotFound("invitation", number)
        return found

    async def create(
        self,
        device: str,
        author: str,
        *,
        peer: str = "",
        on_demand: bool = False,
        good_for: float = GOOD_FOR,
        life: float = LIFE,
    ) -> NewInvite:
        """An invitation of a device, in the place of those that are still open. Raises NotFound, Conflict, Invalid.

        Without a name the peer is the only one that people can come in by.
        """
        self._config.object("devices", device)
        chosen = self._peer(peer)
        now, token = self._clock(), secrets.token_urlsafe(32)
        number, until = secrets.token_hex(8), now + good_for
        invite = Invite(number, digest(token), device, chosen, on_demand, life, now, author, until)
        try:  # what would be wrong then is wrong now: this file is thrown away
            await self._made(invite, "android")
        except Unfit as unfit:
            raise Invalid([FieldError("/peer", "unfit", str(unfit))]) from None
        async with self._change():
            self._config.object("devices", device)
            for other in self.of_device(device):
                if other.state(now) == "open":
                    await self._store(replace(other, revoked_at=now))
            await self._forget_old(now)
            await self._store(invite)
            if device in self._cut:
                raise Conflict(f"{device} was removed or revoked in this moment: invite it again if it still is.", ())
        self._tell("invite.created", f"{author} invited the device {device}, by the peer {chosen}", device)
        return NewInvite(invite, token)

    async def revoke(self, number: str, author: str) -> None:
        """Make the link good for nothing. Raises NotFound."""
        async with self._change():
            invite = self.get(number)
            if invite.state(self._clock()) != "open":
                return
            await self._store(replace(invite, revoked_at=self._clock()))
        self._tell("invite.revoked", f"{author} took the invitation of the device {invite.device} back", invite.device)

    def cut_off(self, devices: set[str], at: float) -> None:
        """These are gone or revoked, and so are their links: what comes by the name later is another's."""
        self._cut |= dict.fromkeys(devices, at)
        for one in [one for one in self._by_id.values() if one.device in devices and one.state(at) == "open"]:
            self._by_id[one.id] = replace(one, revoked_at=at)

    def _peer(self, name: str) -> str:
        """By which peer a device is to come in. Raises Invalid."""
        snapshot = self._config.snapshot()
        fit = [one.name for one in snapshot.peers.values() if one.pools and one.remote_auth[0].method in _BY_PERSONS]
        if not name and len(fit) != 1:
            told = "people can come in by no peer yet: it needs a pool, and asks for a certificate or EAP first"
            if fit:
                told = f"name the peer: people can come in by {', '.join(fit)}"
            raise Invalid([FieldError("/peer", "ambiguous", told)])
        if (name or fit[0]) not in snapshot.peers:
            raise Invalid([FieldError("/peer", "unknown-reference", f"there is no peer {name!r}")])
        return name or fit[0]

    # For who holds a link.

    def find(self, token: str, source: str) -> Invite:
        """The invitation of a token that is still good. Raises NoInvitation, and Throttled for who guesses.

        Tokens that never were are answered alike, and each costs the same: its digest, and one look.
        """
        number = self._by_digest.get(digest(token))
        now = self._clock()
        if number is None:
            self._throttle.check(now, source)
            self._throttle.failed(now, source)
            raise NoInvitation(_UNKNOWN)
        invite = self._by_id[number]
        state = invite.state(now)
        if state == "open" and invite.device not in self._config.inventory.devices:
            state = "revoked"
        if state != "open":
            raise NoInvitation(_OVER[state])
        return invite

    def needs_key(self, invite: Invite) -> bool:
        """Whether a key is made with the file; else the device asks for the person's password."""
        peer = self._config.snapshot().peers.get(invite.peer)
        return peer is not None and peer.remote_auth[0].method == Method.CERTIFICATE

    async def opened(self, invite: Invite) -> None:
        """Somebody, or a machine, looked at the link."""
        async with self._change():
            now = self._by_id.get(invite.id)
            if now is not None and now.opened_at is None:
                await self._store(replace(now, opened_at=self._clock()))

    async def take(self, token: str, platform: str, source: str) -> Taken:
        """The file for a device of this kind, once. Raises NoInvitation, Throttled, Unfit, Invalid.

        The invitation is used up before the certificate is known anywhere, and the file leaves after both are stored.
        """
        async with self._change():
            invite = self.find(token, source)
            enrolment, octets, made_by = await self._made(invite, platform)
            invite = self.find(token, source)  # making a key takes a while, in which much may happen
            used = replace(invite, used_at=self._clock(), used_from=source, platform=platform)
            await self._store(used)
            try:
                await self._keep(used, enrolment)
            except (NotFound, PreconditionFailed):
                await self._store(replace(invite, revoked_at=self._clock()))
                raise NoInvitation(_OVER["revoked"]) from None
            except BaseException:
                await self._store(invite)
                raise
        watch = secrets.token_urlsafe(32)
        password = enrolment.key.password if enrolment and platform == "android" else ""
        self._watch(watch, Watch(invite.id, self._clock() + WATCHED_FOR, password))
        self._tell(
            "invite.used", f"The device {invite.device} took its file for {platform}, from {source}", used.device
        )
        name = invite.device.replace("/", "-") + made_by.suffix
        return Taken(octets, made_by, name, watch)

    async def _made(self, invite: Invite, platform: str) -> tuple[Enrolment | None, bytes, Platform]:
        """The file by the configuration of now, which changes while it is made. Raises Unfit."""
        return await asyncio.to_thread(self._file, self._config.inventory, self._config.snapshot(), invite, platform)

    def _file(
        self, inventory: Inventory, snapshot: Snapshot, invite: Invite, platform: str
    ) -> tuple[Enrolment | None, bytes, Platform]:
        """Raises Unfit."""
        peer, device = snapshot.peers.get(invite.peer), inventory.devices[invite.device]
        if peer is None:
            raise Unfit(f"there is no peer {invite.peer} any more: ask for another link")
        document = inventory.users[device.user]
        person = snapshot.users[document.login or document.name]
        _check(inventory, device, peer, person, self._clock())
        if peer.remote_auth[0].method == Method.EAP:
            made_by = PLATFORMS[platform]
            return None, made_by.make(join(snapshot, peer, person, self._public_name)), made_by
        made_by = KEYED[platform]
        enrolment = self._devices.enrol(inventory, invite.device, peer, invite.life)
        joining = join(snapshot, peer, person, self._public_name, enrolment.key, on_demand=invite.on_demand)
        return enrolment, made_by.make(joining), made_by

    async def _keep(self, invite: Invite, enrolment: Enrolment | None) -> None:
        """What stays of a key that was made: its certificate. Raises NotFound; PreconditionFailed when cut off."""
        patch = {"platform": invite.platform}
        if enrolment is not None:
            patch |= {"certificate": enrolment.certificate, "authority": enrolment.authority}
            patch |= self._devices.kept(invite.device)
        terms = Terms(
            f"invitation {invite.id}",
            f"{invite.device} took its file for {invite.platform}",
            wanted=lambda: invite.device not in self._cut,
        )
        await self._config.patch("devices", invite.device, patch, terms)
        if enrolment is not None:
            self._devices.forget(invite.device)

    def watched(self, secret: str, token: str) -> tuple[Invite, Watch] | None:
        """What who took the file of this token may see, by the secret that came with it."""
        watch = self._watches.get(digest(secret))
        if watch is None or watch.until <= self._clock() or self._by_digest.get(digest(token)) != watch.invite:
            return None
        return self._by_id[watch.invite], watch

    def _watch(self, secret: str, watch: Watch) -> None:
        now = self._clock()
        self._watches = {key: one for key, one in self._watches.items() if one.until > now}
        while len(self._watches) >= _MOST_WATCHED:
            del self._watches[next(iter(self._watches))]
        self._watches[digest(secret)] = watch

    @asynccontextmanager
    async def _change(self) -> AsyncIterator[None]:
        """One at a time; `_cut` tells it what the configuration lost meanwhile."""
        async with self._changing:
            self._cut.clear()
            yield

    async def _store(self, invite: Invite) -> None:
        """Write it, then know it; one that would be open is taken back with its device, in both places."""
        await asyncio.to_thread(self._write, invite)
        at = self._cut.get(invite.device)
        if at is not None and invite.state(at) == "open":
            invite = replace(invite, revoked_at=at)
            await asyncio.to_thread(self._write, invite)
        self._by_id[invite.id] = invite
        self._by_digest[invite.digest] = invite.id

    def _write(self, invite: Invite) -> None:
        with self._database.write() as session:
            save_invite(session, asdict(invite))

    async def _forget_old(self, now: float) -> None:
        devices = self._config.inventory.devices
        used = sorted((one for one in self._by_id.values() if one.used_at), key=lambda one: one.used_at or 0)
        last = {one.device: one.id for one in used if one.device in devices}  # how to invite each again
        kept = set(last.values())
        old = [one for one in self._by_id.values() if one.expires_at + _KEPT < now and one.id not in kept]
        if old:
            await asyncio.to_thread(self._forget, [one.id for one in old])
        for one in old:
            del self._by_id[one.id], self._by_digest[one.digest]

    def _forget(self, ids: list[str]) -> None:
        with self._database.write() as session:
            forget_invites(session, ids)

    def _tell(self, kind: str, text: str, device: str) -> None:
        _log.info("%s", text)
        self._journal.write(self._clock(), kind, text, device=device)


_BY_PERSONS = (Method.CERTIFICATE, Method.EAP)
_UNKNOWN = "This link is not known here. Was it cut off when it was copied? If not, ask for another one."
_OVER = {
    "used": "This link was used already: it is good once. If it was not you who used it, tell whoever sent it at once.",
    "revoked": "This link was taken back. Ask whoever sent it for another one.",
    "expired": "This link was good for a while only, and that is over. Ask whoever sent it for another one.",
}


def _check(inventory: Inventory, device: DeviceObject, peer: Peer, user: User, now: float) -> None:
    """Whether the device's user may come in by the peer at all. Raises Unfit."""
    if why := user.barred(now):
        raise Unfit(f"the user {device.user} {why}")
    methods = next((one.eap_methods for one in peer.remote_auth if one.method == Method.EAP), None)
    if methods is None or "radius" in methods:
        return
    if methods and "mschapv2" not in methods:
        raise Unfit(
            f"{peer.name} asks by EAP for {' or '.join(methods)}: files are for mschapv2, or a certificate alone"
        )
    if ("users", device.user) not in inventory.secrets:
        raise Unfit(f"{peer.name} asks for a password, and {device.user} has none: give the user one first")
