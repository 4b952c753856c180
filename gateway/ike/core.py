"""What all scripts share: configuration, data plane, clock and chance as given in, and the effects going out."""

from collections import Counter
from collections.abc import Callable

from gateway.ike import attempt_log
from gateway.ike.admission import Admission
from gateway.ike.attempt_log import AttemptLog
from gateway.ike.attempts import Attempt, Step
from gateway.ike.buckets import Rates
from gateway.ike.cookies import Cookies
from gateway.ike.effects import Effect, Event, Send
from gateway.ike.extensions import Extensions
from gateway.ike.fragments import Pool
from gateway.ike.ownership import Ownership
from gateway.ike.path import IKE_PORT, NAT_PORT, Path
from gateway.ike.plane import Interface
from gateway.ike.plane_protocol import DataPlane
from gateway.ike.sa import IkeSa, Lifecycle, Relocation
from gateway.ike.tickets import Tickets
from gateway.ike.timers import Timers
from gateway.ike.traffic import Traffic
from gateway.ike.vacancies import Vacancies
from gateway.policy.identities import Identity
from gateway.policy.peers import Peer
from gateway.policy.snapshot import Snapshot
from gateway.wire.message import Message
from gateway.wire.outcome import Close, Reject
from gateway.wire.payload import Payload

_FIRST_REQID = 4096
_UNPROVEN_FRAGMENTS = 4 * 1024 * 1024
"""Octets of unfinished messages that peers before IKE_AUTH may make us keep, all together."""
_PROVEN_FRAGMENTS = 8 * 1024 * 1024
_COUNTERS = 256


class Core:
    """One engine's state. `now` is set at every input; nothing here reads a clock or makes chance."""

    addresses: tuple[str, ...] = ()
    """Our own, as last told."""
    answers: Callable[["Core", IkeSa, Message], list[Payload] | None]
    """What a request is answered with: `answering.script`, or in its place what a peer would say that is not honest."""

    def __init__(
        self,
        plane: DataPlane,
        random: Callable[[int], bytes],
        tickets: Tickets,
        *,
        log_keys: bool = False,
        crash_secret: bytes = b"",
    ) -> None:
        self.plane, self.random = plane, random
        self.crash_secret = crash_secret
        self.log_keys = log_keys
        self.now = 0.0
        self.snapshot = Snapshot()
        self.sas: dict[bytes, IkeSa] = {}
        self.openings: dict[tuple[str, int, bytes], IkeSa] = {}
        self.admission = Admission()
        self.out: list[Effect] = []
        self.timers = Timers()
        self.traffic = Traffic(plane)
        self.attempts = AttemptLog(self.snapshot.settings.attempts_kept)
        self.cookies = Cookies(random, self.snapshot.settings.cookie_lifetime)
        self.counters: Counter[str] = Counter()
        self.single_pairs: set[tuple[str, str]] = set()
        """(peer, child) whose peer turned out to take a single pair of selectors in each CHILD_SA."""
        self.interfaces: set[tuple[str, Interface]] = set()
        """XFRM interfaces that stand, each with the peer that wants it."""
        self.ownership = Ownership()
        self._by_peer: dict[str, dict[int, IkeSa]] = {}
        self._by_identities: dict[object, tuple[IkeSa, ...]] = {}
        self._by_remote: dict[object, dict[int, IkeSa]] = {}
        self.asked_where: dict[int, IkeSa] = {}
        self.asked_traps: dict[int, str] = {}
        self.relocations: dict[int, Relocation] = {}
        self.traps: dict[str, tuple[str, str]] = {}
        """Where on-demand peers are, as trap policies need it: our address and theirs."""
        self.vacancies = Vacancies()
        self.held: set[tuple[str, str | None]] = set()
        """Peers, and (peer, child) pairs, that an administrator took down: (name, None) is the whole peer."""
        self.failures: Counter[str] = Counter()
        self.children_lost: list[tuple[str, str]] = []
        self.extensions = Extensions(tickets)
        self.closed_peers: list[tuple[str, Lifecycle]] = []
        self.unproven_fragments, self.proven_fragments = Pool(_UNPROVEN_FRAGMENTS), Pool(_PROVEN_FRAGMENTS)
        self.ike_port, self.nat_port = IKE_PORT, NAT_PORT
        self.rates = Rates()
        self._numbers: Counter[str] = Counter()
        self._reqids: dict[tuple[str, str, str], int] = {}
        self._of_reqid: dict[int, tuple[str, str]] = {}

    def number(self, kind: str) -> int:
        """The next number for this kind of thing, from 1."""
        self._numbers[kind] += 1
        return self._numbers[kind]

    def chance(self) -> float:
        """A number in 0..1 from the given randomness."""
        return int.from_bytes(self.random(4)) / 0xFFFFFFFF

    def reqid(self, peer: str, child: str, lessee: str = "") -> int:
        """The same for every CHILD_SA of one configured child, so that policies outlive a rekey.

        Of peers that hold an address of ours each has its own: what comes through the one's CHILD_SA is not let in as
        the other's, even where both call from behind one NAT.
        """
        number = self._reqids.setdefault((peer, child, lessee), _FIRST_REQID + len(self._reqids))
        self._of_reqid[number] = peer, child
        return number

    def child_of_reqid(self, reqid: int) -> tuple[str, str] | None:
        return self._of_reqid.get(reqid)

    def sas_of_reqid(self, reqid: int) -> list[IkeSa]:
        """Those on which a CHILD_SA with this reqid can be; all, where it is not known."""
        found = self._of_reqid.get(reqid)
        return self.of_peer(found[0]) if found else list(self.sas.values())

    def new_spi(self) -> bytes:
        """Eight octets, not zero, that no SA of ours uses (RFC 7296 3.1)."""
        while True:
            spi = self.random(8)
            if spi not in self.sas and spi != bytes(8):
                return spi

    def count(self, what: str) -> None:
        """One more of these; kinds beyond a bound, which only a mistake of ours makes, are counted together."""
        if what not in self.counters and len(self.counters) >= _COUNTERS:
            what = "other"
        self.counters[what] += 1

    def may_note_stranger(self) -> bool:
        """Whether a refused IKE_SA_INIT still gets an attempt of its own: a flood must not push out the useful ones."""
        return self.rates.strangers.take(self.now)

    def send(self, data: bytes, path: Path, dscp: int = 0) -> None:
        self.out.append(Send(data, path, dscp))

    def send_all(self, datagrams: tuple[bytes, ...], path: Path, dscp: int = 0) -> None:
        """A message, or its fragments."""
        self.out.extend([Send(data, path, dscp) for data in datagrams])

    def event(self, kind: str, text: str, peer: str | None = None, **data: object) -> None:
        self.out.append(Event(kind, text, peer, data))

    def add(self, sa: IkeSa) -> None:
        """Take a new SA into the books; a responder's counts as half open until it is established."""
        self.sas[sa.our_spi] = sa
        if sa.peer:
            self._by_peer.setdefault(sa.peer.name, {})[sa.id] = sa
        if not sa.initiator and sa.state == Lifecycle.CONNECTING:
            self.admission.opened(sa.path.remote)
            self.openings[(sa.path.remote, sa.path.port, sa.spi_i)] = sa

    def renew_spi(self, sa: IkeSa) -> None:
        """An SA that we begin anew, with somebody else."""
        del self.sas[sa.our_spi]
        sa.spi_i = self.new_spi()
        self.sas[sa.spi_i] = sa

    def assign(self, sa: IkeSa, peer: Peer) -> None:
        """The responder learned which peer it talks to."""
        if sa.peer is not None and sa.peer is not peer:
            self._leave(sa)
        sa.peer = peer
        self._by_peer.setdefault(peer.name, {})[sa.id] = sa
        if sa.attempt:
            self.attempts.name(sa.attempt, peer.name)

    def no_longer_half_open(self, sa: IkeSa) -> None:
        if sa.initiator or self.openings.pop((sa.init_source[0], sa.init_source[1], sa.spi_i), None) is None:
            return
        self.admission.settled(sa.init_source[0])

    def forget(self, sa: IkeSa) -> None:
        """Take a closed SA out of the books."""
        self.no_longer_half_open(sa)
        self.extensions.resuming.pop(sa.our_spi, None)
        self.extensions.deferred.pop(sa.our_spi, None)
        self.extensions.ppk_offers.pop(sa.our_spi, None)
        self.extensions.solutions.pop(sa.our_spi, None)
        if self.sas.get(sa.our_spi) is sa:
            del self.sas[sa.our_spi]
        self._leave(sa)
        others = tuple(other for other in self._by_identities.pop(sa.between, ()) if other is not sa)
        if others:
            self._by_identities[sa.between] = others
        if sa.between is not None:
            of_remote = self._by_remote.get(sa.between[2], {})
            if of_remote.pop(sa.id, None) and not of_remote:
                del self._by_remote[sa.between[2]]

    def _leave(self, sa: IkeSa) -> None:
        of_peer = self._by_peer.get(sa.peer_name or "", {})
        if of_peer.pop(sa.id, None) and not of_peer:
            del self._by_peer[sa.peer_name or ""]

    def proven(self, sa: IkeSa) -> None:
        """Both identities are known now: another SA between the same two can be found by them."""
        local, remote = sa.local_id, sa.remote_id
        assert local is not None and remote is not None
        sa.between = sa.peer_name, local.canonical, remote.canonical
        self._by_identities[sa.between] = (*self._by_identities.get(sa.between, ()), sa)
        self._by_remote.setdefault(remote.canonical, {})[sa.id] = sa

    def with_identity(self, remote: Identity) -> list[IkeSa]:
        """The IKE SAs whose peer, of whatever configuration, has proven to be this one."""
        return list(self._by_remote.get(remote.canonical, {}).values())

    def same_identities(self, sa: IkeSa) -> list[IkeSa]:
        """Other established IKE SAs of the same peer between the same identities."""
        found = self._by_identities.get(sa.between, ())
        return [other for other in found if other is not sa and other.state == Lifecycle.ESTABLISHED]

    def leftovers(self, sa: IkeSa) -> list[IkeSa]:
        """IKE SAs between the same identities that only wait for their end, oldest first."""
        found = self._by_identities.get(sa.between, ())
        return [other for other in found if other.state in (Lifecycle.REKEYED, Lifecycle.DELETING)]

    def of_peer(self, name: str) -> list[IkeSa]:
        """The peer's IKE SAs in any state, oldest first."""
        return list(self._by_peer.get(name, {}).values())

    def established(self, peer: str) -> IkeSa | None:
        """The peer's newest established IKE SA."""
        found = (sa for sa in reversed(self._by_peer.get(peer, {}).values()) if sa.state == Lifecycle.ESTABLISHED)
        return next(found, None)

    def begin_attempt(self, sa: IkeSa, *, initiator: bool) -> Attempt:
        """A negotiation on an SA that stands: the first stations are behind it."""
        attempt = self.attempts.begin(self.now, sa.path.local, sa.path.text, initiator=initiator, peer=sa.peer_name)
        attempt.ike_sa, attempt.local_id, attempt.remote_id = sa.id, str(sa.local_id), str(sa.remote_id)
        for step in (Step.REACH, Step.ALGORITHMS, Step.NAT, Step.IDENTITY):
            attempt_log.reach(attempt, step, self.now, "the IKE SA stands")
        return attempt

    def refuse(self, sa: IkeSa, cause: str, step: Step, notify: int, why: str) -> Reject:
        """Record why this exchange fails, and give the Reject to raise."""
        if sa.attempt:
            attempt_log.fail(sa.attempt, self.now, cause, why, step, notify)
        return Reject(notify, why)

    def give_up(self, sa: IkeSa, cause: str, step: Step, notify: int | None, why: str, cure: str = "") -> Close:
        """Record why the SA ends, and give the Close to raise; `cure` names the advice where the cause does not."""
        if sa.attempt:
            attempt_log.fail(sa.attempt, self.now, cause, why, step, notify, cure)
        return Close(notify, why)

    def reach(self, sa: IkeSa, step: Step, text: str = "") -> None:
        attempt_log.reach(sa.attempt, step, self.now, text)
