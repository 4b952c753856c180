"""Whom RADIUS servers let in: accounted for, ended in time, and ended or changed at a server's word.

--> Access-Request …                <-- Access-Accept
--> Accounting-Request(Start)       when the IKE SA stands
--> Accounting-Request(Interim)     again and again
<-- Disconnect-Request              --> Disconnect-ACK
--> Accounting-Request(Stop)        when no IKE SA of the visit is left
"""

import asyncio
import os
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address

from gateway.ike import reasons
from gateway.policy.radius import RadiusServer
from gateway.policy.visits import Visit
from gateway.service.radius.accounting import Accounting, Carried, Cause, Servers, Session
from gateway.service.radius.client import Caller, Granted
from gateway.service.radius.dynamic import Wanted, Which

OVER = "the RADIUS server gave it {seconds} seconds, and they are over"
EXPELLED = "a RADIUS server ended it (Disconnect-Request)"
_LOST = frozenset({"timeout", "timeout-auth", "unreachable", "peer-restarted", "address-changed", "moved"})
_CAUSES = {
    reasons.Kind.ADMINISTRATOR: Cause.ADMIN_RESET,
    reasons.Kind.STOP: Cause.ADMIN_REBOOT,
    reasons.Kind.IDLE: Cause.IDLE_TIMEOUT,
}
_LOOKS = 10
"""How often in an idle timeout it is looked at what went through: it is over by a tenth at most."""


@dataclass(slots=True)
class _Stay:
    """One who is in."""

    session: Session
    ended: "asyncio.Future[Cause]"
    cause: Cause | None = None
    """Why we end it, once we do."""
    over: asyncio.TimerHandle | None = None
    idle: asyncio.TimerHandle | None = None
    task: "asyncio.Task[None] | None" = None

    def rest(self) -> None:
        for timer in (self.over, self.idle):
            if timer is not None:
                timer.cancel()


@dataclass(slots=True)
class Hold:
    """What this needs of the engine: end a visit, what it carried so far, its leased addresses, our names."""

    expel: Callable[[Visit, str], None]
    addresses: Callable[[Visit], tuple[str, ...]]
    names: Callable[[], Collection[str]]
    carried: Callable[[Visit], Carried] = field(default=lambda _: Carried())
    forget: Callable[[Visit], None] = field(default=lambda _: None)


class Visits:
    """Used on one event loop; none of its inputs waits."""

    def __init__(self, hold: Hold, servers: Servers) -> None:
        self.hold = hold
        self._accounting = Accounting(servers, time.monotonic, time.time)
        self._servers: tuple[RadiusServer, ...] = ()
        self._stays: dict[Visit, _Stay] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def apply(self, servers: tuple[RadiusServer, ...]) -> None:
        """Reports go to these from now on; who is in goes on."""
        self._servers = servers

    def enter(self, visit: Visit) -> None:
        """The IKE SA of the visit stands."""
        granted = visit.grant if isinstance(visit.grant, Granted) else None
        loop = asyncio.get_running_loop()
        stay = self._stays[visit] = _Stay(self._session(visit, granted), loop.create_future())
        told = [server for server in self._servers if server.accounting]
        if told:
            interim = (granted.interim_interval if granted else None) or told[0].interim or None
            work = self._accounting.accompany(stay.session, lambda: self.hold.carried(visit), stay.ended, interim)
            stay.task = loop.create_task(work)
            self._tasks.add(stay.task)
            stay.task.add_done_callback(self._tasks.discard)
            stay.task.add_done_callback(lambda _: self.hold.forget(visit))
        if granted is not None:
            self._limit(visit, stay, granted.session_timeout, granted.idle_timeout)

    def _session(self, visit: Visit, granted: Granted | None) -> Session:
        found = [ip_address(one) for one in self.hold.addresses(visit)]
        ipv4 = next((one for one in found if isinstance(one, IPv4Address)), None)
        ipv6 = next((one for one in found if isinstance(one, IPv6Address)), None)
        caller = Caller(visit.address, visit.ours, visit.nas)
        classes = granted.classes if granted else ()
        return Session(os.urandom(8).hex(), visit.user, caller, ipv4, ipv6, classes)

    def leave(self, visit: Visit, cause: str, why: str) -> None:
        """No IKE SA of the visit is left."""
        stay = self._stays.pop(visit, None)
        if stay is None:
            return
        stay.rest()
        if not stay.ended.done():
            stay.ended.set_result(stay.cause or _cause(cause, why))
        if stay.task is None:
            self.hold.forget(visit)

    def _limit(self, visit: Visit, stay: _Stay, session_timeout: int | None, idle_timeout: int | None) -> None:
        """Seconds from now on; None leaves a limit as it is, 0 takes it away."""
        loop = asyncio.get_running_loop()
        if session_timeout is not None:
            if stay.over is not None:
                stay.over.cancel()
            why = OVER.format(seconds=session_timeout)
            words = visit, Cause.SESSION_TIMEOUT, why
            stay.over = loop.call_later(session_timeout, self._end, *words) if session_timeout else None
        if idle_timeout is not None:
            if stay.idle is not None:
                stay.idle.cancel()
            stay.idle = None
            if idle_timeout:
                self._look(visit, stay, float(idle_timeout), self.hold.carried(visit), loop.time())

    def _look(self, visit: Visit, stay: _Stay, limit: float, last: Carried, since: float) -> None:
        """Has anything gone through since then?"""
        loop = asyncio.get_running_loop()
        now, carried = loop.time(), self.hold.carried(visit)
        if carried != last:
            since = now
        if now - since >= limit:
            self._end(visit, Cause.IDLE_TIMEOUT, reasons.IDLE.format(seconds=limit))
        else:
            stay.idle = loop.call_later(limit / _LOOKS, self._look, visit, stay, limit, carried, since)

    def _end(self, visit: Visit, cause: Cause, why: str) -> None:
        stay = self._stays.get(visit)
        if stay is not None and stay.cause is None:
            stay.cause = cause
            stay.rest()
            self.hold.carried(visit)  # its counters go with its CHILD_SAs: a last look
            self.hold.expel(visit, why)

    def _meant(self, which: Which) -> list[tuple[Visit, _Stay]]:
        """Those in that fit all that is told, and are not on their way out."""
        return [
            (visit, stay)
            for visit, stay in self._stays.items()
            if stay.cause is None
            and which.user in ("", stay.session.user)
            and which.session_id in ("", stay.session.id)
            and which.ipv4 in (None, stay.session.ipv4)
            and which.ipv6 in (None, stay.session.ipv6)
            and which.calling in ("", stay.session.caller.address)
            and which.called in ("", stay.session.caller.ours)
            and all(one == stay.session.caller.host for one in which.nas)
        ]

    def names(self) -> Collection[str]:
        """What we are called."""
        return {*self.hold.names(), *(stay.session.caller.nas for stay in self._stays.values())}

    async def disconnect(self, which: Which) -> int:
        """End them; how many they are."""
        meant = self._meant(which)
        for visit, _ in meant:
            self._end(visit, Cause.ADMIN_RESET, EXPELLED)
        return len(meant)

    async def change(self, which: Which, wanted: Wanted) -> int:
        """Give them other limits, which count from now; how many they are."""
        meant = self._meant(which)
        for visit, stay in meant:
            self._limit(visit, stay, wanted.session_timeout, wanted.idle_timeout)
        return len(meant)

    async def close(self, patience: float) -> None:
        """Nobody is in any longer; wait so many seconds for the last reports to be answered."""
        for visit in list(self._stays):
            self.leave(visit, "stopped", reasons.STOPPED)
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=patience)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)


def _cause(cause: str, why: str) -> Cause:
    if why == reasons.DELETED:
        return Cause.USER_REQUEST
    if cause in _LOST:
        return Cause.LOST_CARRIER
    found = _CAUSES.get(reasons.kind_of(why))
    return found or (Cause.NAS_REQUEST if cause in ("stopped", "replaced") else Cause.NAS_ERROR)
