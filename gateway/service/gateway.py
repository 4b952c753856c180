"""One gateway as the API, the console and the command see it: configuration, live status, attempts, actions."""

import asyncio
import logging
import os
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from cryptography import x509

from gateway.dataplane.driver import Driver
from gateway.ike import requiring
from gateway.ike.attempts import Attempt, Outcome
from gateway.ike.engine import Engine
from gateway.ike.plane import Disturbed, EspState, Policy
from gateway.ike.redirects import names_gateway
from gateway.ike.sa import Lifecycle
from gateway.policy.authentication import Method
from gateway.policy.pools import Lease
from gateway.service.authorities import warnings
from gateway.service.certificate_care import CertificateCare
from gateway.service.devices import Devices
from gateway.service.done import Done
from gateway.service.fetching import fetch
from gateway.service.history import History, known_leases
from gateway.service.invitations import Invitations
from gateway.service.issuing import Issuing
from gateway.service.journal import Journal
from gateway.service.keylog import KeyLog
from gateway.service.manage import Configuration, Conflict, NotFound, Terms
from gateway.service.network_watch import NetworkWatch
from gateway.service.observe import Observer
from gateway.service.outages import Outage
from gateway.service.profiles import PLATFORMS
from gateway.service.profiles.joining import Unfit, join
from gateway.service.publishing import Publishing, published_at
from gateway.service.radius.accounting import Carried
from gateway.service.renewals import running_out, sentences
from gateway.service.revocation_fetching import RevocationFetching
from gateway.service.revocation_keeping import RevocationKeeping
from gateway.service.rollout import Rollout, ahead, of_all
from gateway.service.runner import Runner
from gateway.service.status import Status
from gateway.service.tls_machine import make_tls
from gateway.service.used_codes import NewCodes, UsedCodes, new_codes
from gateway.settings import Settings
from gateway.storage.database import Database
from gateway.storage.people import UserObject
from gateway.storage.secrets import SecretBox

log = logging.getLogger("ikegate")

_POLL = 0.05
_OBSERVE = 5.0


class Gateway:
    """Everything of one process but its web server. Made and used on one event loop."""

    def __init__(
        self, settings: Settings, database: Database, secrets: SecretBox, plane: Driver, problems: tuple[str, ...] = ()
    ) -> None:
        self.settings = settings
        self.journal = Journal()
        self.started_at = time.time()
        key_log = KeyLog(settings.key_log) if settings.key_log else None
        crash_secret = secrets.derived("crash detection") if settings.crash_tokens else b""
        self._engine = Engine(
            plane,
            os.urandom,
            log_keys=key_log is not None,
            crash_secret=crash_secret,
            ticket_secret=secrets.derived("session tickets"),
            unix_offset=time.time() - time.monotonic(),
            tls=make_tls,
            leases=known_leases(database),
        )
        ports = settings.ike_port, settings.nat_port
        self._runner = Runner(self._engine, ports, plane, self.journal, key_log, settings.listen)
        self.observer = Observer(self._engine, plane, self._runner.clock, self._offset, self._runner.unsent)
        self._runner.hear = self.observer.hear
        hold = self._runner.radius.visits.hold
        hold.carried, hold.forget = lambda visit: Carried(*self.observer.of_visit(visit)), self.observer.forget_visit
        self._plane = plane
        self._database = database
        self._problems = list(problems)
        self._observing: asyncio.Task[None] | None = None
        self._network = NetworkWatch(self._runner.network_changed, self._runner.transport.listening.learn)
        self.config = Configuration(database, secrets, self._runner.apply, self.journal)
        self.issuing = Issuing(self.config, published=partial(published_at, settings))
        self._publishing = Publishing(self.config, self.issuing)
        self.devices = Devices(self.config, database)
        self._history = History(database, self._runner, self.devices)
        self.invitations = Invitations(self.config, self.devices, database, self.journal, settings.public_name)
        self.config.cut_off = self.invitations.cut_off
        self.fetching = RevocationFetching(time.time, partial(fetch, loopback=settings.fetch_loopback))
        keeping = RevocationKeeping(database, self.fetching)
        self._caring = CertificateCare(self.config, self.issuing, self.fetching, self._proven, keeping)
        self._used_codes = UsedCodes(database)
        self._engine.restore_codes(self._used_codes.known())
        self._runner.code_used = self._used_codes.write
        self._runner.about_certificates = self._caring.answer
        if key_log is not None:
            self._problems.append(
                f"THE KEY LOG IS ON: session keys go to {settings.key_log}; whoever reads them reads the traffic"
            )
            log.warning(self._problems[-1])

    async def start(self) -> None:
        """Bind the ports, take up the configuration, begin to keep it up. What is missing shows in `problems`."""
        problem = self._runner.open()
        if problem:
            self._problems.append(f"IKE does not run: {problem}")
            log.error(self._problems[-1])
        else:
            self._runner.outages.restore(self._history.outages())
            await self._caring.restore()
            self._runner.apply(self.config.snapshot())
            if left := self._plane.sweep():
                log.warning("data plane: %s", left)
            self._network.start()
        self.config.watch()
        if self.settings.http_port:
            await self._publishing.open(self.settings.http_host, self.settings.http_port)
        self._observing = asyncio.get_running_loop().create_task(self._observe())
        self._caring.start()

    async def _observe(self) -> None:
        """Look at what nobody tells, and write behind what happened.

        Counters of a CHILD_SA that ends are kept as they were last seen.
        """
        while True:
            await asyncio.sleep(_OBSERVE)
            if self._runner.look_at_clock():
                self.config.watch()
            self.observer.refresh()
            self._runner.look_at_tables()
            self.observer.look()
            if self.observer.disturbed:
                self._runner.kernel(Disturbed())
            self.devices.look(self.observer.ike_sas())
            await self.devices.retire()
            await self._history.keep()

    def profile(self, user: str, peer: str, platform: str) -> bytes:
        """A file that makes a device ready to come in as this user by this peer. Raises NotFound, Unfit.

        Without a name it is the only peer that asks for a password.
        """
        document, snapshot = self.config.object("users", user), self.config.snapshot()
        assert isinstance(document, UserObject)
        names = [one.name for one in snapshot.peers.values() if one.remote_auth[0].method == Method.EAP]
        if not peer and len(names) != 1:
            raise Unfit(f"name the peer: {len(names)} of them ask for a password ({', '.join(names) or 'none'})")
        found = snapshot.peers.get(peer or names[0])
        if found is None:
            raise NotFound("peer", peer)
        person = snapshot.users[document.login or document.name]
        return PLATFORMS[platform].make(join(snapshot, found, person, self.settings.public_name))

    async def give_codes(self, user: str, terms: Terms) -> NewCodes:
        """Give a user one-time codes by a new secret, which is shown this once. Raises NotFound, PreconditionFailed."""
        codes = new_codes(self.config, user, self.settings.public_name)
        await self.config.put_secret("totp", user, codes.secret, terms)
        return codes

    def leases(self) -> list[Lease]:
        """Every address that was given out, in use or kept, by pool; times are Unix seconds."""
        return self._engine.core.extensions.leases.all()

    async def forget_lease(self, pool: str, address: str) -> None:
        """Keep an address for nobody any longer. Raises NotFound, and Conflict while somebody holds it."""
        leases = self._engine.core.extensions.leases
        if not any((one.pool, one.address) == (pool, address) for one in leases.all()):
            raise NotFound("lease", f"{pool}/{address}")
        if not leases.forget(pool, address):
            raise Conflict(f"{address} is in use: end the session of who holds it first.", ())
        await self._history.forget_lease(pool, address)

    async def stop(self) -> None:
        """Delete every SA on both ends, leave no state or policy behind, end the streams, close the database."""
        if self._observing:
            self._observing.cancel()
        self.config.stop()
        await self._caring.stop()
        await self._publishing.close()
        await self._network.stop()
        await self._runner.stop()
        await self._history.keep()
        await self._used_codes.settle()
        self._database.close()

    @property
    def problems(self) -> tuple[str, ...]:
        """What keeps this gateway from doing its work, each with what to do."""
        ours = *self._problems, *self._runner.radius.problems, *self._publishing.problems
        inventory, now = self.config.inventory, time.time()
        devices = sentences(running_out(inventory, now), self.invitations.is_open, now)
        return (*ours, *self._plane.shortcomings(), *warnings(inventory, now), *devices)

    def status(self) -> Status:
        """How it is now."""
        found = self.observer.status(self.listening, self.problems)
        if not requiring.is_ahead(self._engine.core):
            return found
        return replace(found, problems=(*found.problems, *ahead(self._rollout(found), found.at)))

    def rollout(self) -> list[Rollout]:
        """What the keys of each enabled peer rest on against quantum computers, and what is demanded of them."""
        return self._rollout(self.observer.status((), ()))

    def _rollout(self, status: Status) -> list[Rollout]:
        return of_all(self._engine.core, status, self._offset())

    def _offset(self) -> float:
        """Adds to the engine's clock to give Unix time, as that is set now."""
        return self._runner.offset

    @property
    def data_plane(self) -> str:
        """Which it is, in words."""
        return self._plane.describe()

    @property
    def listening(self) -> tuple[str, ...]:
        """Where IKE is served; nowhere before it was started, or where the ports are taken."""
        transport = self._runner.transport
        return transport.listening.places(sock.getsockname()[:2] for sock in transport.sockets)

    def attempts(self, *, peer: str | None = None, limit: int = 100) -> list[Attempt]:
        """Negotiations, the newest first; times are Unix seconds."""
        return [self._dated(attempt) for attempt in self._engine.core.attempts.latest(limit, peer)]

    def outages(self, peer: str) -> list[Outage]:
        """When the peer's children were down, the newest first. Raises NotFound."""
        self._known(peer, None)
        return self._runner.outages.of(peer)

    def attempt(self, number: int) -> Attempt | None:
        """One negotiation; times are Unix seconds."""
        found = self._engine.core.attempts.get(number)
        return self._dated(found) if found else None

    def _dated(self, attempt: Attempt) -> Attempt:
        offset = self._offset()
        return replace(
            attempt,
            started=attempt.started + offset,
            ended=attempt.ended + offset if attempt.ended is not None else None,
            steps=[replace(step, at=step.at + offset) for step in attempt.steps],
            messages=[replace(message, at=message.at + offset) for message in attempt.messages],
        )

    async def connect(self, peer: str, child: str | None = None, wait: float = 0) -> Done:
        """Bring up a peer, or one child; waits up to `wait` seconds for the outcome. Raises NotFound."""
        self._known(peer, child)
        if refused := self._cannot_call(peer):
            return Done(ok=False, text=refused)
        before = self._finished(peer)
        number, effects = self._engine.connect(peer, child, self._runner.clock())
        self._runner.perform(effects)
        if number is None:
            return Done(
                ok=False, text=f"{peer} has no address that we can call, or no children: only the peer can begin"
            )
        if wait:
            await self._until(lambda: self._is_up(peer, child) or self._finished(peer) > before, wait)
        return self._outcome(peer, child, number, waited=bool(wait))

    def _cannot_call(self, peer: str) -> str:
        if not self._engine.core.snapshot.peers.get(peer):
            return "IKE does not run: " + "; ".join(self._problems)
        return "" if self._engine.core.snapshot.peers[peer].enabled else f"{peer} is disabled; enable it first"

    def _finished(self, peer: str) -> int:
        """The number of the peer's last attempt if it failed, else 0."""
        attempt = self._engine.core.attempts.last(peer)
        return attempt.id if attempt and attempt.outcome == Outcome.FAILED else 0

    def _is_up(self, peer: str, child: str | None) -> bool:
        sa = self._engine.core.established(peer)
        if sa is None:
            return False
        names = {one.name for one in sa.children.values()}
        config = self._engine.core.snapshot.peers[peer]
        return {child} <= names if child else {one.name for one in config.children} <= names

    def _outcome(self, peer: str, child: str | None, number: int, *, waited: bool) -> Done:
        attempt = self._engine.core.attempts.last(peer)
        about = attempt.id if attempt else None
        label = f"{peer}/{child}" if child else peer
        if self._is_up(peer, child):
            return Done(ok=True, text=f"{label} is up", ike_sa=number, attempt=about)
        if attempt and attempt.outcome == Outcome.FAILED:
            return Done(
                ok=False, text=f"{label} is not up: {attempt.reason}. {attempt.advice}", ike_sa=number, attempt=about
            )
        return Done(ok=not waited, text=f"{label} is being connected", ike_sa=number, attempt=about)

    async def disconnect(self, peer: str, child: str | None = None, wait: float = 0) -> Done:
        """Take a peer, or one child, down on both ends; it stays down until it is connected again. Raises NotFound."""
        self._known(peer, child)
        ended, effects = self._engine.disconnect(peer, child, self._runner.clock())
        self._runner.perform(effects)
        label = f"{peer}/{child}" if child else peer
        if wait:
            await self._until(lambda: not self._stands(peer, child), wait)
            gone = not self._stands(peer, child)
            return Done(
                ok=gone,
                text=f"{label} is down" if gone else f"{label} is being taken down; the peer has not answered yet",
            )
        return Done(ok=True, text=f"{label} is being taken down" if ended else f"{label} was not up")

    def _stands(self, peer: str, child: str | None) -> bool:
        sas = self._engine.core.of_peer(peer)
        return any(child is None or child in {one.name for one in sa.children.values()} for sa in sas)

    async def rekey(self, peer: str, child: str | None = None, wait: float = 0) -> Done:
        """Rekey the IKE SA of a peer, or one child of it; a refusal is told as soon as it is known. Raises NotFound."""
        self._known(peer, child)
        before, failed = self._generation(peer, child), self._finished(peer)
        begun, effects = self._engine.rekey(peer, child, self._runner.clock())
        self._runner.perform(effects)
        label = f"{peer}/{child}" if child else peer
        if not begun:
            return Done(ok=False, text=f"{label} is not up: there is nothing to rekey")
        if wait:
            await self._until(lambda: self._generation(peer, child) != before or self._finished(peer) > failed, wait)
            if self._generation(peer, child) != before:
                return Done(ok=True, text=f"{label} is rekeyed")
            return self._not_rekeyed(peer, label, failed)
        return Done(ok=True, text=f"{label} is being rekeyed")

    def _not_rekeyed(self, peer: str, label: str, failed: int) -> Done:
        attempt = self._engine.core.attempts.last(peer)
        if attempt is None or self._finished(peer) <= failed:
            return Done(ok=False, text=f"{label} is still being rekeyed")
        return Done(ok=False, text=f"{label} is not rekeyed: {attempt.reason}. {attempt.advice}", attempt=attempt.id)

    async def redirect(self, peer: str, to: str, wait: float = 0) -> Done:
        """Send a peer that called us on to another gateway: an address, or a DNS name (RFC 5685). Raises NotFound.

        It has left when the IKE SAs of now are gone; it has a while to come to stand there before it is made to.
        """
        self._known(peer, None)
        if not names_gateway(to):
            return Done(ok=False, text=f"{to!r} is neither an address nor a DNS name")
        before = self._generation(peer, None)
        told, effects = self._engine.redirect(peer, to, self._runner.clock())
        self._runner.perform(effects)
        if not told:
            return Done(ok=False, text=f"{peer} is not up, did not call us, or cannot be sent to another gateway")
        if wait:
            await self._until(lambda: not before & self._generation(peer, None), wait)
            left = not before & self._generation(peer, None)
            return Done(ok=left, text=f"{peer} {'has gone' if left else 'is still being sent on'} to {to}")
        return Done(ok=True, text=f"{peer} is being sent on to {to}")

    def _generation(self, peer: str, child: str | None) -> frozenset[int]:
        """The numbers of what stands: they change with a rekey, and when the old one is gone."""
        sas = [sa for sa in self._engine.core.of_peer(peer) if sa.state == Lifecycle.ESTABLISHED]
        if child is None:
            return frozenset(sa.id for sa in sas)
        newest = [max((one.id for one in sa.children.values() if one.name == child), default=0) for sa in sas]
        return frozenset(newest)

    async def terminate(self, ike_sa: int, wait: float = 0) -> Done:
        """Delete one IKE SA on both ends. Raises NotFound."""
        self._known_sa(ike_sa)
        self._runner.perform(self._engine.terminate(ike_sa, self._runner.clock()))
        if wait:
            await self._until(lambda: all(sa.id != ike_sa for sa in self._engine.ike_sas()), wait)
        return Done(ok=True, text=f"IKE SA {ike_sa} is being deleted", ike_sa=ike_sa)

    async def rekey_ike_sa(self, ike_sa: int, wait: float = 0) -> Done:
        """Rekey one IKE SA. Raises NotFound."""
        peer = self._known_sa(ike_sa)
        if peer is None:
            return Done(ok=False, text=f"IKE SA {ike_sa} is not established yet", ike_sa=ike_sa)
        return replace(await self.rekey(peer, None, wait), ike_sa=ike_sa)

    def _known(self, peer: str, child: str | None) -> None:
        found = self.config.snapshot().peers.get(peer)
        if found is None:
            raise NotFound("peer", peer)
        if child is not None and found.child(child) is None:
            raise NotFound("child", f"{peer}/{child}")

    def _known_sa(self, number: int) -> str | None:
        for sa in self._engine.ike_sas():
            if sa.id == number:
                return sa.peer_name
        raise NotFound("IKE SA", str(number))

    async def _until(self, reached: Callable[[], bool], wait: float) -> None:
        deadline = self._runner.clock() + wait
        while not reached() and self._runner.clock() < deadline:  # noqa: ASYNC110  what it waits for is many things
            await asyncio.sleep(_POLL)

    def _proven(self) -> list[x509.Certificate]:
        """The certificates by which peers of standing SAs have proven themselves, whole chains."""
        chains = {octets for sa in self._engine.ike_sas() if sa.evidence for octets in sa.evidence.chain}
        return [x509.load_der_x509_certificate(octets) for octets in sorted(chains)]

    async def fetch_revocation(self, authority: str) -> None:
        """Fetch what an authority says of revoked certificates, now; `fetching` knows what came. Raises NotFound."""
        self.config.object("authorities", authority)
        await self._caring.fetch(authority)

    async def export_pkcs12(self, name: str, password: str, author: str) -> bytes:
        """A private key of ours with its certificates, sealed; that it left is told. Raises NotFound, Invalid."""
        octets = await asyncio.to_thread(self.issuing.export_pkcs12, name, password)
        text = f"The private key of certificate {name} was exported by {author}"
        log.info("%s", text)
        self.journal.write(time.time(), "certificate.exported", text, certificate=name, author=author)
        return octets

    def kernel_states(self) -> list[EspState]:
        """What really lies in the data plane; keys are never shown."""
        return list(self._plane.states())

    def kernel_policies(self) -> list[Policy]:
        return list(self._plane.policies())
