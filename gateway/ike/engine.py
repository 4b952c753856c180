"""The IKEv2 engine: datagrams, commands, configuration, kernel events and time come in; effects go out."""

import re
from collections.abc import Callable, Iterable, Mapping

from gateway.ike import auth_lifetime, driver, due, lifetimes, reasons, requiring
from gateway.ike.admission import Blocked
from gateway.ike.answering import outside_answered, script
from gateway.ike.authentication.again import judge_again
from gateway.ike.authentication.eap.tls_machine import TlsMaker
from gateway.ike.core import Core
from gateway.ike.dispatch import dispatch
from gateway.ike.effects import Effect
from gateway.ike.exchanges import failover
from gateway.ike.exchanges.informational import delete_sa
from gateway.ike.exchanges.redirect import redirect_peer
from gateway.ike.flow import NoAnswer
from gateway.ike.interfaces import make_interfaces, unmake_interfaces
from gateway.ike.liveness import suspect_address
from gateway.ike.mending import look_soon
from gateway.ike.moving import remapped
from gateway.ike.outside import hear_esp
from gateway.ike.parts import led_by
from gateway.ike.path import Path
from gateway.ike.people import cut, cut_without_rules
from gateway.ike.plane_events import (
    Acquire,
    Disturbed,
    EventsLost,
    Expire,
    Packet,
    PlaneEvent,
    Remapped,
    RulesLost,
    UnknownSpi,
)
from gateway.ike.plane_protocol import DataPlane
from gateway.ike.replacing import Replacing, replace
from gateway.ike.roaming import network_changed, relocated
from gateway.ike.sa import IkeSa, Lifecycle
from gateway.ike.shunts import lay_shunts
from gateway.ike.supervise import connect, disconnect, go_on, hurry, lay_traps, obey, retry_later
from gateway.ike.tickets import Tickets
from gateway.policy.changes import Changes, changes
from gateway.policy.peers import Start
from gateway.policy.pools import Lease
from gateway.policy.snapshot import Snapshot
from gateway.policy.visits import Visit
from gateway.wire.outcome import Drop

_NUMBERS = re.compile(r"\d+")


class Engine:
    """Sans-IO: `now` is seconds on any steady clock, `random(n)` gives n octets, `plane` carries ESP.

    `crash_secret` makes the tokens of quick crash detection (RFC 6290); it must be the same after a restart, 32 octets;
    without it none are made. `ticket_secret` seals the tickets of session resumption (RFC 5723) in the same way, and
    `unix_offset` plus `now` is Unix time, until which a ticket is good. `tls` makes connections for EAP-TLS.
    `leases` are what the `Leased` effects of an engine before this one told, so that everybody gets his address again.
    Every input returns the effects, in order. Nothing raises on what a peer sends.
    """

    def __init__(
        self,
        plane: DataPlane,
        random: Callable[[int], bytes],
        *,
        log_keys: bool = False,
        crash_secret: bytes = b"",
        ticket_secret: bytes = b"",
        unix_offset: float = 0.0,
        tls: TlsMaker | None = None,
        leases: Iterable[Lease] = (),
    ) -> None:
        tickets = Tickets(ticket_secret, random, unix_offset)
        self.core = Core(plane, random, tickets, log_keys=log_keys, crash_secret=crash_secret)
        self.core.answers = script
        self.core.extensions.tls = tls
        self.core.extensions.leases.restore(leases)

    def restore_codes(self, steps: Mapping[str, int]) -> None:
        """Take up what the `CodeUsed` effects of an engine before this one told, by user: no code is good twice."""
        self.core.extensions.eap_tries.steps_used.update(steps)

    def receive(self, datagram: bytes, path: Path, now: float) -> list[Effect]:
        """A datagram without its non-ESP marker, and the path that it came by."""
        core = self.core
        core.now = now
        if path.remote in core.admission.blocked:
            core.count("dropped: blocked source")
            return self._settle()
        try:
            dispatch(core, datagram, path)
        except Drop as drop:
            # lengths and types in the reason are the sender's choice: they must not make ever new counters
            core.count("dropped: " + _NUMBERS.sub("N", drop.why))
        return self._settle()

    def apply(self, snapshot: Snapshot, now: float) -> tuple[Changes, list[Effect]]:
        """Take the whole configuration; only what differs is touched, the same again does nothing."""
        core = self.core
        core.now = now
        difference = changes(core.snapshot, snapshot)
        if core.snapshot.blocked != snapshot.blocked:
            core.admission.blocked = Blocked(snapshot.blocked)
        before, core.snapshot = core.snapshot, snapshot
        core.attempts.kept = snapshot.settings.attempts_kept
        core.cookies.lifetime = snapshot.settings.cookie_lifetime
        lay_shunts(core)
        make_interfaces(core)
        obey(core, difference)
        judge_again(core, difference.trust)
        if difference.users or difference.access_profiles or difference.pools:
            stay = before.users.keys() & snapshot.users.keys() & set(difference.users)
            for name in stay:
                if before.users[name].totp_secret != snapshot.users[name].totp_secret:
                    core.extensions.eap_tries.steps_used.pop(name, None)
            cut(core, before, {name for name in stay if before.users[name].proof != snapshot.users[name].proof})
        if not difference.empty:
            requiring.enforce(core)
        unmake_interfaces(core)
        return difference, self._settle()

    def connect(self, peer: str, child: str | None, now: float) -> tuple[int | None, list[Effect]]:
        """Bring up a peer, or one of its children; the IKE SA's number, or None when only the peer can begin."""
        core = self.core
        core.now = now
        config = core.snapshot.peers[peer]
        wanted = [one for one in config.children if child in (None, one.name)]
        core.failures.pop(peer, None)
        core.extensions.fell_back.pop(peer, None)
        sa = connect(core, config, wanted)
        return (sa.id if sa else None), self._settle()

    def disconnect(self, peer: str, child: str | None, now: float) -> tuple[int, list[Effect]]:
        """Take a peer, or one of its children, down on both ends; a peer stays down until it is wanted again."""
        self.core.now = now
        return disconnect(self.core, peer, child, reasons.DISCONNECTED), self._settle()

    def terminate(self, number: int, now: float) -> list[Effect]:
        """Delete one IKE SA on both ends."""
        self.core.now = now
        for sa in self.ike_sas():
            if sa.id == number:
                delete_sa(self.core, sa, reasons.TERMINATED)
        return self._settle()

    def expel(self, visit: Visit, why: str, now: float) -> list[Effect]:
        """End whatever IKE SAs are left of a visit, on both ends."""
        self.core.now = now
        for sa in self.of_visit(visit):
            delete_sa(self.core, sa, why)
        return self._settle()

    def of_visit(self, visit: Visit) -> list[IkeSa]:
        """The IKE SAs of a visit that are not about to be deleted: one, or two while it is rekeyed."""
        leaving = (Lifecycle.DELETING, Lifecycle.REKEYED)
        return [sa for sa in self.core.sas.values() if sa.visit is visit and sa.state not in leaving]

    def rekey(
        self, peer: str, child: str | None, now: float, ike_sa: int | None = None
    ) -> tuple[list[Replacing], list[Effect]]:
        """Rekey the peer's IKE SAs (`child` None), or every CHILD_SA of that name, of one IKE SA alone or of all."""
        self.core.now = now
        return replace(self.core, peer, child, ike_sa), self._settle()

    def redirect(self, peer: str, to: str, now: float) -> tuple[int, list[Effect]]:
        """Send a peer that called us on to another gateway; how many of its IKE SAs can be, and are told."""
        self.core.now = now
        return redirect_peer(self.core, peer, to), self._settle()

    def take_over(self, peer: str, now: float) -> tuple[int, list[Effect]]:
        """The peer's IKE SAs are of a member of our cluster that failed, as last heard of it: agree on numbers again.

        RFC 6311; how many SAs can. Only what restores SAs has to call this, before anything else is done with them.
        """
        self.core.now = now
        return sum([failover.take_over(self.core, sa) for sa in self.core.of_peer(peer)]), self._settle()

    def kernel(self, event: PlaneEvent, now: float) -> list[Effect]:
        """Something happened in the data plane."""
        core = self.core
        core.now = now
        match event:
            case Acquire(reqid, packet):
                self._acquire(reqid, packet)
            case Expire(key, hard, reqid):
                lifetimes.expired(core, key, reqid, hard=hard)
            case UnknownSpi(spi, source):
                hear_esp(core, spi, source)
            case EventsLost():
                core.count("data-plane-events-lost")
                look_soon(core)
            case Disturbed():
                core.count("data-plane-disturbed")
                look_soon(core)
            case RulesLost(addresses, why):
                cut_without_rules(core, addresses, why)
            case Remapped(key, address, port, reqid):
                core.count("esp-address-changed")
                remapped(core, key, Path(key.destination, address, port, marked=True), reqid)
        return self._settle()

    def network_changed(self, addresses: tuple[str, ...], now: float) -> list[Effect]:
        """Our addresses are these from now on; called again with the same ones when only routes changed."""
        self.core.now = now
        network_changed(self.core, addresses)
        hurry(self.core)
        look_soon(self.core)
        return self._settle()

    def clock_set(self, unix_offset: float, now: float) -> list[Effect]:
        """`unix_offset` plus `now` is Unix time from now on: what waits for a date looks when that is."""
        core = self.core
        core.now, core.extensions.tickets.unix_offset = now, unix_offset
        cut(core)
        requiring.enforce(core)
        for sa in self.ike_sas():
            if sa.state == Lifecycle.ESTABLISHED:
                auth_lifetime.watch_proof(core, sa)
        return self._settle()

    def unreachable(self, remote: str, now: float) -> list[Effect]:
        """An ICMP error says that this address is not reached: a hint, whose truth only the peer itself can tell."""
        self.core.now = now
        suspect_address(self.core, remote)
        return self._settle()

    def located(self, token: int, found: tuple[str, str] | None, why: str, now: float) -> list[Effect]:
        """The answer to a Locate effect: (our address, its address), or None and why not."""
        core = self.core
        core.now = now
        if (relocation := core.relocations.pop(token, None)) is not None:
            relocated(core, relocation, found)
            return self._settle()
        name = core.asked_traps.pop(token, None)
        if name is not None:
            peer = core.snapshot.peers.get(name)
            if peer and found:
                lay_traps(core, peer, *found)
            elif peer:
                core.timers.set(("trap", name), core.now + 30 * (0.8 + 0.4 * core.chance()))
            return self._settle()
        driver.located(core, token, found, why)
        return self._settle()

    def solved(self, token: int, solution: bytes, now: float) -> list[Effect]:
        """The answer to a Solve effect: the body of a PS payload, or nothing when the search was in vain."""
        self.core.now = now
        driver.solved(self.core, token, solution)
        return self._settle()

    def answered(self, token: int, answer: object, now: float) -> list[Effect]:
        """The answer to an Ask effect, or a NoAnswer in its place."""
        self.core.now = now
        error = answer if isinstance(answer, NoAnswer) else None
        outside_answered(self.core, token, answer, error)
        return self._settle()

    def tick(self, now: float) -> list[Effect]:
        """Do what is due."""
        core = self.core
        core.now = now
        while (key := core.timers.due(now)) is not None:
            due.act(core, key)
        return self._settle()

    def next_deadline(self) -> float | None:
        """When `tick` should be called next."""
        return self.core.timers.next()

    def stop(self, now: float) -> list[Effect]:
        """Say goodbye to every peer; `stopped` tells when all have answered, `abandon` ends the waiting."""
        core = self.core
        core.now = now
        core.held |= {(name, None) for name in core.snapshot.peers}
        for sa in self.ike_sas():
            delete_sa(core, sa, reasons.STOPPED)
        return self._settle()

    @property
    def stopped(self) -> bool:
        return not self.core.sas

    def ike_sas(self) -> list[IkeSa]:
        return list(self.core.sas.values())

    def _acquire(self, reqid: int, packet: Packet | None) -> None:
        core = self.core
        found = core.child_of_reqid(reqid)
        peer = core.snapshot.peers.get(found[0]) if found else None
        child = peer.child(found[1]) if peer and found else None
        if peer is None or child is None or not peer.enabled:
            return
        if not {(peer.name, None), (peer.name, child.name)} & core.held:
            connect(core, peer, led_by(core, peer.name, child, packet))

    def _settle(self) -> list[Effect]:
        """After every input: start again what was lost, then hand out the effects."""
        core = self.core
        while core.extensions.sent_on:
            go_on(core, *core.extensions.sent_on.pop(0))
        while core.closed_peers or core.children_lost:
            closed, core.closed_peers = core.closed_peers, []
            lost, core.children_lost = core.children_lost, []
            failed = {name for name, was in closed if was == Lifecycle.CONNECTING} | {name for name, _ in lost}
            for name in dict.fromkeys([name for name, _ in closed] + [name for name, _ in lost]):
                self._lost(name, failed=name in failed)
        out, core.out = core.out, []
        return out

    def _lost(self, name: str, *, failed: bool) -> None:
        core = self.core
        peer = core.snapshot.peers.get(name)
        if peer is None:
            return
        if any(child.start == Start.ALWAYS for child in peer.children):
            retry_later(core, name, failed=failed)
