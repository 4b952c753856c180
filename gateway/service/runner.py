"""Runs the engine on asyncio: datagrams, time and data plane events go in, the effects that come out are performed."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable

from gateway.dataplane.driver import Driver
from gateway.ike.authentication.revocation import AskRevocation, Told
from gateway.ike.effects import (
    Ask,
    CodeUsed,
    Effect,
    Entered,
    Event,
    KeysMade,
    Leased,
    Left,
    Locate,
    Send,
    Solve,
    Withdraw,
)
from gateway.ike.engine import Engine
from gateway.ike.flow import NoAnswer
from gateway.ike.path import Path
from gateway.ike.plane_events import Disturbed, PlaneEvent
from gateway.ike.puzzles import Search
from gateway.policy.changes import Changes
from gateway.policy.pools import Lease
from gateway.policy.snapshot import Snapshot
from gateway.policy.visits import Visit
from gateway.service.blocking import Blocking
from gateway.service.journal import Journal
from gateway.service.keylog import KeyLog
from gateway.service.listening import Listening
from gateway.service.outages import Outages
from gateway.service.radius.asking import Radius
from gateway.service.radius.visits import Hold
from gateway.service.transport import PortTaken, Transport, locate

log = logging.getLogger("ikegate")

_TRIES = 8192  # keys that are tried in one go, about ten milliseconds

_MOST_UNSENT = 4096

_STEP = 1.0
"""Seconds: what two readings of the clocks differ by less is how long the readings take."""

_WITH_PACKETS = ("kernel", "userspace")
"""The data planes for which this machine's firewall is of use."""


class Runner:
    """One engine, its sockets and its data plane, on the running loop."""

    def __init__(
        self,
        engine: Engine,
        transport_ports: tuple[int, int],
        plane: Driver,
        journal: Journal,
        key_log: KeyLog | None,
        listen: tuple[str, ...] = (),
    ) -> None:
        self.engine = engine
        self.plane = plane
        self.journal = journal
        self.transport = Transport(*transport_ports, self.receive, self.unreachable, listening=Listening(listen))
        self.clock: Callable[[], float] = time.monotonic
        self.offset = time.time() - self.clock()
        """Adds to the engine's clock to give Unix time."""
        self.outages = Outages(engine.core)
        self.hear: Callable[[float, Event], None] = lambda at, event: None
        """Who else is told what happened, and when (Unix time)."""
        self.unsent: dict[str, str] = {}
        """Addresses to which the last datagram could not be sent, and why."""
        self.leases: dict[tuple[str, str], Lease] = {}
        """Those that changed and are not written down yet, by pool and address."""
        self.code_used: Callable[[CodeUsed], None] = lambda used: None
        """Who writes down that a one-time code is good no more."""
        self._key_log = key_log
        self._blocking = Blocking(transport_ports) if plane.name in _WITH_PACKETS else None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = float("inf")
        self._solving = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._asking: dict[int, asyncio.Task[None]] = {}
        self.about_certificates: Callable[[AskRevocation], Awaitable[Told]] | None = None
        self.radius = Radius(Hold(self.expel, self._leased, self._names))

    def open(self) -> str:
        """Bind the ports and listen to the data plane; returns what is missing, as a sentence, or nothing."""
        self.engine.core.ike_port, self.engine.core.nat_port = self.transport.ike_port, self.transport.nat_port
        self.plane.listen(self.kernel)
        try:
            self.transport.open(self.plane)
        except PortTaken as problem:
            return str(problem)
        return ""

    def receive(self, datagram: bytes, path: Path) -> None:
        self.perform(self.engine.receive(datagram, path, self.clock()))

    def look_at_clock(self) -> bool:
        """Tell the engine if the machine's clock was set since the last look; returns whether it was."""
        now = self.clock()
        offset = time.time() - now
        if abs(offset - self.offset) < _STEP:
            return False
        log.info("the clock was set by %+.0f s", offset - self.offset)
        self.offset = offset
        self.perform(self.engine.clock_set(offset, now))
        return True

    def look_at_tables(self) -> None:
        """What of nftables other programs took away is put back, which nobody tells us."""
        if self.plane.look():
            self.kernel(Disturbed())
        if self._blocking and self._blocking.look():
            text = "the rules against blocked sources had been taken away, and are back"
            self.perform([Event("data-plane.mended", text, None, {})])

    def unreachable(self, remote: str) -> None:
        self.perform(self.engine.unreachable(remote, self.clock()))

    def network_changed(self, addresses: tuple[str, ...]) -> None:
        served = self.transport.listening.served(addresses)
        self.perform(self.engine.network_changed(served, self.clock()))

    def kernel(self, event: PlaneEvent) -> None:
        self.perform(self.engine.kernel(event, self.clock()))

    def expel(self, visit: Visit, why: str) -> None:
        self.perform(self.engine.expel(visit, why, self.clock()))

    def _leased(self, visit: Visit) -> tuple[str, ...]:
        return tuple(lease.address for sa in self.engine.of_visit(visit) for lease in sa.leases)

    def _names(self) -> set[str]:
        """What we are called by our peers, and so to RADIUS servers (NAS-Identifier)."""
        return {peer.local_id.text for peer in self.engine.core.snapshot.peers.values() if peer.local_id}

    def apply(self, snapshot: Snapshot) -> Changes:
        """Hand a new configuration to the engine; says what it meant."""
        self.radius.apply(snapshot.radius)
        difference, effects = self.engine.apply(snapshot, self.clock())
        if self._blocking:
            self._blocking.want(snapshot.blocked)
        self.perform(effects)
        self.outages.settle(self.clock() + self.offset)
        return difference

    def perform(self, effects: list[Effect]) -> None:
        send = self.transport.send
        for effect in effects:
            if isinstance(effect, Send):
                why = send(effect.data, effect.path, effect.dscp)
                if why or self.unsent:
                    self._note(effect.path.remote, why)
            elif isinstance(effect, Event):
                self._happened(effect)
            elif isinstance(effect, Locate):
                task = asyncio.get_running_loop().create_task(self._locate(effect))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            elif isinstance(effect, Solve):
                task = asyncio.get_running_loop().create_task(self._solve(effect))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            elif isinstance(effect, Ask):
                self._asking[effect.token] = asyncio.get_running_loop().create_task(self._ask(effect))
            elif isinstance(effect, Withdraw):
                if (unwanted := self._asking.pop(effect.token, None)) is not None:
                    unwanted.cancel()
            else:
                self._keep(effect)
        self._rearm()

    def _keep(self, effect: Effect) -> None:
        """What is for somebody's books."""
        if isinstance(effect, Leased):
            self.leases[effect.lease.pool, effect.lease.address] = effect.lease
        elif isinstance(effect, CodeUsed):
            self.code_used(effect)
        elif isinstance(effect, Entered):
            self.radius.visits.enter(effect.visit)
        elif isinstance(effect, Left):
            self.radius.visits.leave(effect.visit, effect.cause, effect.why)
        elif isinstance(effect, KeysMade) and self._key_log:
            self._key_log.write(effect)

    def _note(self, remote: str, why: str) -> None:
        if not why:
            self.unsent.pop(remote, None)
            return
        if len(self.unsent) >= _MOST_UNSENT:  # strangers may give any address for theirs
            self.unsent.pop(next(iter(self.unsent)))
        self.unsent[remote] = why

    def _happened(self, event: Event) -> None:
        at = self.clock() + self.offset
        self.journal.write(at, event.kind, event.text, event.peer, **event.data)
        self.outages.hear(at, event)
        self.hear(at, event)
        if log.isEnabledFor(logging.INFO):
            log.info("%s: %s", event.kind, event.text)

    async def _locate(self, question: Locate) -> None:
        found: tuple[str, str] | None = None
        why = ""
        try:
            words = question.host, self.transport.ike_port, question.sources
            found = await locate(*words, self.transport.probe, question.turn)
            if not self.transport.listening.serves(found[0]) and not question.sources:
                sources = self.transport.listening.sources
                found = await locate(question.host, words[1], sources, self.transport.probe, question.turn)
        except OSError as error:
            why = str(error)
        self.perform(self.engine.located(question.token, found, why, self.clock()))

    async def _solve(self, question: Solve) -> None:
        """Seek the solution beside the loop, some milliseconds at a time, one puzzle after the other."""
        search = Search(question.prf, question.data, question.difficulty)
        loop, solution = asyncio.get_running_loop(), None
        async with self._solving:
            while solution is None and not search.hopeless:
                solution = await loop.run_in_executor(None, search.step, _TRIES)
        self.perform(self.engine.solved(question.token, solution or b"", self.clock()))

    async def _ask(self, asked: Ask) -> None:
        """Ask beside the loop; the engine has its own patience."""
        answer: object
        try:
            answer = await self._answer(asked.question)
        except NoAnswer as silent:
            answer = silent
        finally:
            self._asking.pop(asked.token, None)  # who withdrew it took it out himself
        self.perform(self.engine.answered(asked.token, answer, self.clock()))

    async def _answer(self, question: object) -> object:
        """Whoever knows about questions of this kind. Raises NoAnswer."""
        if not isinstance(question, AskRevocation):
            return await self.radius.answer(question)
        if self.about_certificates is None:
            raise NoAnswer("nobody may be asked about certificates")
        return await self.about_certificates(question)

    def _rearm(self) -> None:
        due = self.engine.next_deadline()
        if due is None or due >= self._timer_at:
            return
        if self._timer:
            self._timer.cancel()
        self._timer_at = due
        # the loop's clock is time.monotonic
        self._timer = asyncio.get_running_loop().call_at(due, self._tick)

    def _tick(self) -> None:
        self._timer, self._timer_at = None, float("inf")
        self.perform(self.engine.tick(self.clock()))

    async def stop(self, patience: float = 2.0) -> None:
        """Say goodbye to the peers, wait a little for their answers, then leave nothing behind."""
        self.perform(self.engine.stop(self.clock()))
        deadline = self.clock() + patience
        while not self.engine.stopped and self.clock() < deadline:  # noqa: ASYNC110  the end of a process
            await asyncio.sleep(0.02)
        if self._timer:
            self._timer.cancel()
        for task in [*self._tasks, *self._asking.values()]:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        self.transport.close()
        await self.radius.close(patience)
        if self._blocking:
            self._blocking.close()
        self.plane.close()
        self.journal.end()
        if self._key_log:
            self._key_log.close()
