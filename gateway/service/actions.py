"""What an administrator has done to a peer or to an SA now, and what came of it."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

from gateway.ike.attempts import Attempt, Outcome
from gateway.ike.engine import Engine
from gateway.ike.redirects import names_gateway
from gateway.ike.replacing import Replaced, Replacing
from gateway.ike.sa import Lifecycle
from gateway.service.done import Done
from gateway.service.manage import Configuration, NotFound
from gateway.service.runner import Runner

_POLL = 0.05


class Actions:
    """Each waits up to `wait` seconds for its outcome; 0 answers at once. `problems` are why IKE does not run."""

    def __init__(
        self, engine: Engine, runner: Runner, config: Configuration, problems: Callable[[], tuple[str, ...]]
    ) -> None:
        self._engine = engine
        self._runner = runner
        self._config = config
        self._problems = problems

    async def connect(self, peer: str, child: str | None = None, wait: float = 0) -> Done:
        """Bring up a peer, or one child. Raises NotFound."""
        self._known(peer, child)
        if refused := self._cannot_call(peer):
            return Done(ok=False, text=refused)
        since = self._before(peer)
        number, effects = self._engine.connect(peer, child, self._runner.clock())
        self._runner.perform(effects)
        if number is None:
            return Done(
                ok=False, text=f"{peer} has no address that we can call, or no children: only the peer can begin"
            )
        if wait:
            await self._until(lambda: self._is_up(peer, child) or self._refused(peer, since) is not None, wait)
        return self._connected(peer, child, number, since, waited=bool(wait))

    def _cannot_call(self, peer: str) -> str:
        found = self._engine.core.snapshot.peers.get(peer)
        if found is None:
            return "IKE does not run: " + "; ".join(self._problems())
        return "" if found.enabled else f"{peer} is disabled; enable it first"

    def _before(self, peer: str) -> int:
        """The newest attempt of all that cannot be the one that is wanted: one that runs may be."""
        attempts = self._engine.core.attempts
        running = attempts.last(peer)
        return running.id - 1 if running and running.outcome == Outcome.RUNNING else attempts.count

    def _refused(self, peer: str, since: int) -> Attempt | None:
        """The newest of our attempts with the peer since that one, if it was refused."""
        for attempt in self._engine.core.attempts.since(since):
            if attempt.peer == peer and attempt.initiator:
                return attempt if attempt.refused else None
        return None

    def _is_up(self, peer: str, child: str | None) -> bool:
        sa = self._engine.core.established(peer)
        if sa is None:
            return False
        names = {one.name for one in sa.children.values()}
        config = self._engine.core.snapshot.peers[peer]
        return {child} <= names if child else {one.name for one in config.children} <= names

    def _connected(self, peer: str, child: str | None, number: int, since: int, *, waited: bool) -> Done:
        attempt = self._engine.core.attempts.last(peer)
        about = attempt.id if attempt else None
        label = _label(peer, child)
        if self._is_up(peer, child):
            return Done(ok=True, text=f"{label} is up", ike_sa=number, attempt=about)
        if refused := self._refused(peer, since):
            text = f"{label} is not up: {refused.reason}. {refused.advice}"
            return Done(ok=False, text=text, ike_sa=number, attempt=refused.id)
        return Done(ok=not waited, text=f"{label} is being connected", ike_sa=number, attempt=about)

    async def disconnect(self, peer: str, child: str | None = None, wait: float = 0) -> Done:
        """Take a peer, or one child, down on both ends; it stays down until it is connected again. Raises NotFound."""
        self._known(peer, child)
        ended, effects = self._engine.disconnect(peer, child, self._runner.clock())
        self._runner.perform(effects)
        label = _label(peer, child)
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

    async def rekey(self, peer: str, child: str | None = None, wait: float = 0, *, ike_sa: int | None = None) -> Done:
        """Rekey the IKE SAs of a peer, or one child of it, on all or on one; a refusal is told as soon as it is known.

        A peer that is busy is asked again meanwhile. Raises NotFound.
        """
        self._known(peer, child)
        begun, effects = self._engine.rekey(peer, child, self._runner.clock(), ike_sa)
        self._runner.perform(effects)
        label = _label(peer, child)
        if not begun:
            return Done(ok=False, text=f"{label} is not up: there is nothing to rekey")
        if not wait:
            return Done(ok=True, text=f"{label} is being rekeyed")
        await self._until(lambda: all(one.outcome(self._engine.core) is not Replaced.NOT_YET for one in begun), wait)
        return self._rekeyed(label, begun)

    def _rekeyed(self, label: str, begun: list[Replacing]) -> Done:
        """The worst that became of one of them."""
        core = self._engine.core
        outcomes = {one.outcome(core): one for one in begun}
        for outcome in (Replaced.GONE, Replaced.REFUSED, Replaced.NOT_YET):
            if one := outcomes.get(outcome):
                attempt = one.attempt(core)
                why = f": {attempt.reason}. {attempt.advice}" if attempt and attempt.reason else ""
                text = {
                    Replaced.GONE: f"{label} went down while it was rekeyed",
                    Replaced.REFUSED: f"{label} is not rekeyed",
                    Replaced.NOT_YET: f"{label} is still being rekeyed",
                }[outcome]
                return Done(ok=False, text=text + why, attempt=attempt.id if attempt else None)
        return Done(ok=True, text=f"{label} is rekeyed")

    async def redirect(self, peer: str, to: str, wait: float = 0) -> Done:
        """Send a peer that called us on to another gateway: an address, or a DNS name (RFC 5685). Raises NotFound.

        It has left when the IKE SAs of now are gone; it has a while to come to stand there before it is made to.
        """
        self._known(peer, None)
        if not names_gateway(to):
            return Done(ok=False, text=f"{to!r} is neither an address nor a DNS name")
        before = self._standing(peer)
        told, effects = self._engine.redirect(peer, to, self._runner.clock())
        self._runner.perform(effects)
        if not told:
            return Done(ok=False, text=f"{peer} is not up, did not call us, or cannot be sent to another gateway")
        if wait:
            await self._until(lambda: not before & self._standing(peer), wait)
            left = not before & self._standing(peer)
            return Done(ok=left, text=f"{peer} {'has gone' if left else 'is still being sent on'} to {to}")
        return Done(ok=True, text=f"{peer} is being sent on to {to}")

    def _standing(self, peer: str) -> set[int]:
        return {sa.id for sa in self._engine.core.of_peer(peer) if sa.state == Lifecycle.ESTABLISHED}

    async def terminate(self, ike_sa: int, wait: float = 0) -> Done:
        """Delete one IKE SA on both ends. Raises NotFound."""
        self._peer_of(ike_sa)
        self._runner.perform(self._engine.terminate(ike_sa, self._runner.clock()))
        if wait:
            await self._until(lambda: all(sa.id != ike_sa for sa in self._engine.ike_sas()), wait)
        return Done(ok=True, text=f"IKE SA {ike_sa} is being deleted", ike_sa=ike_sa)

    async def rekey_ike_sa(self, ike_sa: int, wait: float = 0) -> Done:
        """Rekey one IKE SA. Raises NotFound."""
        peer = self._peer_of(ike_sa)
        if peer is None:
            return Done(ok=False, text=f"IKE SA {ike_sa} is not established yet", ike_sa=ike_sa)
        return replace(await self.rekey(peer, None, wait, ike_sa=ike_sa), ike_sa=ike_sa)

    def _known(self, peer: str, child: str | None) -> None:
        found = self._config.snapshot().peers.get(peer)
        if found is None:
            raise NotFound("peer", peer)
        if child is not None and found.child(child) is None:
            raise NotFound("child", f"{peer}/{child}")

    def _peer_of(self, number: int) -> str | None:
        for sa in self._engine.ike_sas():
            if sa.id == number:
                return sa.peer_name
        raise NotFound("IKE SA", str(number))

    async def _until(self, reached: Callable[[], bool], wait: float) -> None:
        deadline = self._runner.clock() + wait
        while not reached() and self._runner.clock() < deadline:  # noqa: ASYNC110  what it waits for is many things
            await asyncio.sleep(_POLL)


def _label(peer: str, child: str | None) -> str:
    return f"{peer}/{child}" if child else peer
