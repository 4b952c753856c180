"""One gateway as the API, the console and the command see it: configuration, live status, attempts, actions."""

import asyncio
import logging
import os
import time
from dataclasses import replace
from functools import partial

from cryptography import x509

from gateway.dataplane.driver import Driver
from gateway.ike import requiring
from gateway.ike.attempts import Attempt
from gateway.ike.engine import Engine
from gateway.ike.plane import EspState, Policy
from gateway.ike.plane_events import Disturbed
from gateway.policy.authentication import Method
from gateway.policy.pools import Lease
from gateway.service.actions import Actions
from gateway.service.authorities import warnings
from gateway.service.certificate_care import CertificateCare
from gateway.service.devices import Devices
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
        self._engine = _make_engine(settings, database, secrets, plane)
        ports = settings.ike_port, settings.nat_port
        self._runner = Runner(self._engine, ports, plane, self.journal, key_log, settings.listen)
        self.observer = Observer(self._engine, plane, self._runner.clock, self._offset, self._runner.unsent)
        self._runner.hear = self.observer.hear
        hold, counting = self._runner.radius.visits.hold, self.observer.counting
        hold.carried, hold.forget = lambda visit: Carried(*counting.of_visit(visit)), counting.forget_visit
        self._plane = plane
        self._database = database
        self._problems = list(problems)
        self._observing: asyncio.Task[None] | None = None
        self._network = NetworkWatch(self._runner.network_changed, self._runner.transport.listening.learn)
        self.config = Configuration(database, secrets, self._runner.apply, self.journal)
        self.actions = Actions(self._engine, self._runner, self.config, lambda: tuple(self._problems))
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
            self.observer.counting.refresh()
            self._runner.look_at_tables()
            self.observer.look()
            if self.observer.counting.disturbed:
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
            told = (
                f"name the peer: {', '.join(names)} ask for a password" if names else "no peer asks for a password yet"
            )
            raise Unfit(told)
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
        self._known(peer)
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

    def _known(self, peer: str) -> None:
        if self.config.snapshot().peers.get(peer) is None:
            raise NotFound("peer", peer)

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


def _make_engine(settings: Settings, database: Database, secrets: SecretBox, plane: Driver) -> Engine:
    return Engine(
        plane,
        os.urandom,
        log_keys=settings.key_log is not None,
        crash_secret=secrets.derived("crash detection") if settings.crash_tokens else b"",
        ticket_secret=secrets.derived("session tickets"),
        unix_offset=time.time() - time.monotonic(),
        tls=make_tls,
        leases=known_leases(database),
    )
