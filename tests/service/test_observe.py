"""The counters of the one status, over rekeys: what a child carried is never forgotten and never counted twice."""

from dataclasses import astuple

import pytest

from gateway.ike.children import LINGER
from gateway.ike.plane import Counters
from gateway.ike.sa import ChildSa
from gateway.policy.peers import Start
from gateway.policy.pools import Pool
from gateway.policy.snapshot import Snapshot
from gateway.service.observe import Observer
from gateway.service.status import ChildSaStatus, TunnelState
from tests.simulation.network import Host, Network, peer, psk, two
from tests.simulation.test_virtual_addresses import device, gateway, sas

Carried = tuple[int, int, int, int]


class Site:
    """Two gateways, a tunnel between them, and what the left one tells of it."""

    def __init__(self, seed: int) -> None:
        self.network = Network(seed)
        self.left, self.right = two(self.network)
        self.network.run(5)
        self.observer = Observer(self.left.engine, self.left.plane, lambda: self.network.now, lambda: 0.0)

    @property
    def child(self) -> ChildSa:
        (made,) = [made for sa in self.left.engine.ike_sas() for made in sa.children.values()]
        return made

    def carry(self, child: ChildSa, inward: tuple[int, int], outward: tuple[int, int]) -> None:
        """Let the CHILD_SA have carried this many octets and packets since it was made."""
        self.left.plane.count(child.inbound.key, Counters(*inward))
        self.left.plane.count(child.outbound.key, Counters(*outward))

    def rekey(self, by: Host, peer: str) -> None:
        self.network.perform(by, by.engine.rekey(peer, "net", self.network.now)[1])
        self.network.run(1)

    def told(self) -> list[Carried]:
        """What each CHILD_SA carried, and that the child and its peer carried as much."""
        self.observer.counting.refresh(force=True)
        status = self.observer.status((), ())
        found = [_carried(one) for one in status.child_sas]
        (peer,) = status.peers
        (wanted,) = peer.children
        assert found == [(wanted.octets_in, wanted.octets_out, wanted.packets_in, wanted.packets_out)]
        assert (peer.octets_in, peer.octets_out) == (wanted.octets_in, wanted.octets_out)
        return found


def _carried(one: ChildSaStatus) -> Carried:
    return one.octets_in, one.octets_out, one.packets_in, one.packets_out


@pytest.mark.parametrize("by_us", [True, False], ids=["we-rekey", "they-rekey"])
def test_a_rekeyed_child_counts_what_its_predecessor_still_receives(by_us: bool) -> None:
    here = Site(1)
    old = here.child
    here.carry(old, (1000, 10), (2000, 20))
    assert here.told() == [(1000, 2000, 10, 20)]
    here.rekey(*((here.left, "right") if by_us else (here.right, "left")))
    new = here.child
    assert new is not old
    assert [lingering for _, lingering in here.left.engine.core.ownership.lingering.values()] == [old]
    assert here.told() == [(1000, 2000, 10, 20)]
    here.carry(old, (1100, 11), (2000, 20))  # a packet that was under way
    here.carry(new, (50, 1), (70, 2))
    assert here.told() == [(1150, 2070, 12, 22)]
    here.network.run(LINGER + 1)
    assert old.inbound.key not in here.left.plane.counters()
    assert here.told() == [(1150, 2070, 12, 22)]
    here.carry(new, (60, 2), (70, 2))
    assert here.told() == [(1160, 2070, 13, 22)]


def test_predecessors_that_linger_side_by_side_count_once_each() -> None:
    here = Site(2)
    for turn in range(3):
        here.carry(here.child, (100, 1), (10, 1))
        here.rekey(here.left, "right")
        assert here.told() == [(100 * (turn + 1), 10 * (turn + 1), turn + 1, turn + 1)]
    assert len(here.left.engine.core.ownership.lingering) == 3
    here.network.run(LINGER + 3)
    assert not here.left.engine.core.ownership.lingering
    assert here.told() == [(300, 30, 3, 3)]


def test_a_new_ike_sa_takes_the_counters_with_its_child() -> None:
    here = Site(3)
    here.carry(here.child, (100, 1), (10, 1))
    assert here.told() == [(100, 10, 1, 1)]
    here.network.perform(here.left, here.left.engine.rekey("right", None, here.network.now)[1])
    here.network.run(5)
    assert astuple(here.left.plane.counters()[here.child.inbound.key])[:2] == (100, 1)
    assert here.told() == [(100, 10, 1, 1)]


def test_two_peers_with_the_same_networks_are_not_both_up() -> None:
    """The data plane has one policy for both; the CHILD_SA that came last sends, after a moment."""
    network = Network(3)
    gate, first, second = (network.host(name, f"192.0.2.{number}") for number, name in enumerate("abc", 1))
    ends = {"me": "gate.example", "start": Start.PASSIVE}
    peers = [peer(host.name, them=f"{host.name}.example", remote=host.address, **ends) for host in (first, second)]
    network.apply(gate, Snapshot.build(1, peers, [psk()]))
    observer = Observer(gate.engine, gate.plane, lambda: network.now, lambda: 0.0)

    def told() -> list[tuple[TunnelState, str]]:
        network.run(5)
        return [(one.state, one.reason) for one in observer.status((), ()).peers]

    there = {"mine": "10.2.0.0/24", "theirs": "10.1.0.0/24"}
    for host in (first, second):
        calls = peer("gate", me=f"{host.name}.example", them="gate.example", remote=gate.address, **there)
        network.apply(host, Snapshot.build(1, [calls], [psk()]))
        network.run(5)
    networks = "what is for 10.1.0.0/24 = 10.2.0.0/24 is sent by c/net, which has the same networks"
    assert told() == [(TunnelState.DOWN, f"net: {networks}"), (TunnelState.UP, "")]
    # Whoever is left has it for himself.
    network.perform(second, second.engine.disconnect("gate", None, network.now)[1])
    assert told()[0] == (TunnelState.UP, "")


def test_a_state_lasts_since_it_came_and_not_since_somebody_looked() -> None:
    here = Site(4)
    here.network.run(100)
    heard: list[float] = []

    def happens(seconds: float) -> None:
        """As the service does it: each event is told, and every five seconds the observer looks."""
        before, end = len(here.left.events), here.network.now + seconds
        while here.network.now < end:
            here.network.run(0.1)
            for event in here.left.events[before:]:
                here.observer.hear(here.network.now, event)
                heard.append(here.network.now)
            before = len(here.left.events)
            if round(here.network.now * 10) % 50 == 0:
                here.observer.look()

    def since() -> tuple[TunnelState, float]:
        (told,) = here.observer.status((), ()).peers
        return told.state, told.since

    happens(10)
    begun = here.network.now
    here.network.perform(here.left, here.left.engine.disconnect("right", None, here.network.now)[1])
    happens(60)
    assert since() == (TunnelState.DOWN, pytest.approx(begun, abs=1))
    begun = here.network.now
    here.network.perform(here.left, here.left.engine.connect("right", None, here.network.now)[1])
    happens(60)
    assert heard
    assert since() == (TunnelState.UP, pytest.approx(begun, abs=1))
    here.rekey(here.left, "right")  # what changes nothing is no change
    happens(60)
    assert since() == (TunnelState.UP, pytest.approx(begun, abs=1))


def test_who_was_refused_an_address_is_not_told_to_be_in() -> None:
    network = Network(6)
    gate = gateway(network, Pool("office", ("10.9.0.8/32",)))
    observer = Observer(gate.engine, gate.plane, lambda: network.now, lambda: 0.0)
    device(network, 1), device(network, 2)
    network.run(1)
    told = {sa.remote_id: sa.refusal for sa in observer.status((), ()).ike_sas}
    refused = next(str(sa.remote_id) for sa in sas(gate) if not sa.children)
    assert len(told) == 2
    assert told.pop(refused).startswith("all addresses are held by others: office (IPv4: 1) is full")
    assert list(told.values()) == [""]
