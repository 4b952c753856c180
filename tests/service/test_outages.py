"""The timeline of outages, and what the status says meanwhile: real engines over a network that is made bad."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import pytest

from gateway.ike.effects import Effect, Event
from gateway.ike.plane import AddState
from gateway.ike.plane_events import Acquire, Disturbed
from gateway.ike.reasons import TAKEN_AWAY, Kind
from gateway.policy.peers import Peer, Start, Unique, WhenDown
from gateway.policy.snapshot import EngineSettings, Snapshot
from gateway.service.observe import Observer
from gateway.service.outages import KEPT, Outage, Outages
from gateway.service.status import PeerStatus, TunnelState
from tests.simulation.agreement import established
from tests.simulation.network import Host, Network, peer, psk, right_end, two

BOTH = {("192.0.2.1", "192.0.2.2"), ("192.0.2.2", "192.0.2.1")}
LEFT = peer("right", me="left.example", them="right.example", remote="192.0.2.2")
RIGHT = right_end(remote=None)


@dataclass
class Site:
    """A tunnel, and what its left end tells of it."""

    network: Network
    a: Host
    b: Host
    outages: Outages
    observer: Observer

    def listed(self) -> list[Outage]:
        """The oldest first."""
        return self.outages.of("right")[::-1]

    def status(self) -> PeerStatus:
        config = self.a.engine.core.snapshot.peers["right"]
        self.observer.counting.refresh()
        return self.observer.peer(config)

    def configure(self, wanted: Peer) -> None:
        self.network.apply(self.a, Snapshot.build(self.a.engine.core.snapshot.revision + 1, [wanted], [psk()]))
        self.outages.settle(self.network.now)

    def disconnect(self, child: str | None = None) -> None:
        self.network.perform(self.a, self.a.engine.disconnect("right", child, self.network.now)[1])

    def connect(self) -> None:
        self.network.perform(self.a, self.a.engine.connect("right", None, self.network.now)[1])


def site(seed: int, left: Peer = LEFT, *, cut: bool = False, names: Mapping[str, str] = MappingProxyType({})) -> Site:
    network = Network(seed)
    network.names.update(names)
    network.cut = set(BOTH) if cut else set()
    heard: list[Outages] = []
    perform = network.perform

    def watched(host: Host, effects: list[Effect]) -> None:
        perform(host, effects)
        for effect in effects:
            if isinstance(effect, Event) and host.name == "left":
                heard[0].hear(network.now, effect)

    network.perform = watched  # type: ignore[method-assign]
    host = network.host

    def made(name: str, address: str) -> Host:
        found = host(name, address)
        if name == "left":
            heard.append(Outages(found.engine.core))
        return found

    network.host = made  # type: ignore[method-assign]
    a, b = two(network, left=left, right=RIGHT)
    return Site(network, a, b, heard[0], Observer(a.engine, a.plane, lambda: network.now, lambda: 0.0))


def test_a_cable_pulled_for_ten_minutes_is_one_outage_with_its_reasons() -> None:
    here = site(1)
    here.network.run(5)
    assert here.listed() == []
    pulled = here.network.now
    here.network.cut = set(BOTH)
    here.network.run(600)
    (lasting,) = here.listed()
    assert here.outages.current("right", "net") == lasting
    assert lasting.ended_at is None
    here.network.cut = set()
    here.network.run(EngineSettings().retry_limit * 1.2 + 5)
    (outage,) = here.listed()
    assert pulled < outage.began_at < pulled + 100
    assert outage.ended_at is not None
    assert outage.ended_at > pulled + 600
    assert outage.kind is Kind.FAILURE
    assert "no answer to INFORMATIONAL" in outage.reason
    assert "no answer to IKE_SA_INIT" in outage.last_failure
    assert outage.attempts >= 5
    assert outage.ended_by == "we called and the peer answered"
    assert here.outages.current("right", "net") is None


def test_a_cable_pulled_a_peer_rebooted_and_a_name_that_leads_elsewhere_are_one_outage() -> None:
    """Ten minutes of all three, and nobody helps: it is back within one liveness interval and one backoff."""
    named = replace(LEFT, remote_addresses=("vpn.example",), mobike=False)
    here = site(16, named, names={"vpn.example": "192.0.2.2"})
    network = here.network
    network.run(5)
    assert here.status().state is TunnelState.UP
    pulled = network.now
    network.cut = {pair for one in ("192.0.2.2", "203.0.113.77") for pair in (("192.0.2.1", one), (one, "192.0.2.1"))}
    network.run(300)
    network.reboot(here.b, Snapshot.build(1, [RIGHT], [psk()]))
    network.move(here.b, "203.0.113.77")
    network.run(300)
    assert here.status().state is not TunnelState.UP
    assert here.status().reason
    network.names["vpn.example"] = "203.0.113.77"
    network.cut = set()
    healed = network.now
    network.run(named.dpd_delay + EngineSettings().retry_limit * 1.2)
    (outage,) = here.listed()
    assert pulled < outage.began_at < pulled + 100
    assert outage.ended_at is not None
    assert healed < outage.ended_at <= network.now
    assert "no answer to INFORMATIONAL" in outage.reason
    assert "no answer to IKE_SA_INIT" in outage.last_failure
    assert outage.ended_by == "we called and the peer answered"
    assert here.status().state is TunnelState.UP
    assert established(here.a)[0].path.remote == "203.0.113.77"


def test_rekeys_are_no_outages() -> None:
    here = site(2)
    here.network.run(5)
    for what in ("net", None, "net"):
        here.network.perform(here.a, here.a.engine.rekey("right", what, here.network.now)[1])
        here.network.run(60)
    assert here.listed() == []


def test_a_restart_of_the_peer_is_told_as_such() -> None:
    here = site(3)
    here.network.run(5)
    here.network.reboot(here.b, Snapshot.build(1, [RIGHT], [psk()]))
    here.network.run(40)
    (outage,) = here.listed()
    assert "the peer restarted" in outage.reason
    assert outage.ended_at is not None
    assert outage.ended_at - outage.began_at < 1


@pytest.mark.parametrize("child", ["net", None])
def test_what_an_administrator_took_down_is_no_failure(child: str | None) -> None:
    here = site(4)
    here.network.run(5)
    here.disconnect(child)
    here.network.run(5)
    (outage,) = here.listed()
    assert (outage.kind, outage.reason) == (Kind.ADMINISTRATOR, "disconnected by an administrator")
    here.connect()
    here.network.run(5)
    (outage,) = here.listed()
    assert (outage.ended_by, outage.attempts) == ("we called and the peer answered", 0)


def test_a_peer_that_fails_after_an_administrator_wanted_it_again_is_a_second_outage() -> None:
    here = site(5)
    here.network.run(5)
    here.disconnect()
    here.network.run(60)
    here.network.cut = set(BOTH)
    here.connect()
    here.network.run(200)
    meant, failing = here.listed()
    assert (meant.kind, meant.ended_by) == (Kind.ADMINISTRATOR, "it was wanted again")
    assert (failing.kind, failing.ended_at) == (Kind.FAILURE, None)


def test_what_never_came_up_is_down_since_the_first_failure() -> None:
    here = site(6, cut=True)
    here.network.run(200)
    (outage,) = here.listed()
    assert outage.kind is Kind.FAILURE
    assert outage.attempts > 1
    here.configure(replace(LEFT, enabled=False))
    (outage,) = here.listed()
    assert outage.ended_by == "it was disabled or removed"
    assert here.outages.current("right", "net") is None


def test_a_changed_configuration_is_told_apart() -> None:
    here = site(7)
    here.network.run(5)
    here.configure(replace(LEFT, children=(replace(LEFT.children[0], replay_window=64),)))
    here.network.run(5)
    (outage,) = here.listed()
    assert outage.kind is Kind.CONFIGURATION
    assert outage.ended_at is not None


def test_a_child_that_was_not_used_did_not_fail() -> None:
    wanted = peer("right", me="left.example", them="right.example", remote="192.0.2.2", start=Start.ON_DEMAND)
    here = site(8, replace(wanted, children=(replace(wanted.children[0], idle_timeout=30.0),)))
    here.network.run(1)
    (trap,) = here.a.protecting()
    here.network.perform(here.a, here.a.engine.kernel(Acquire(trap.reqid), here.network.now))
    here.network.run(60)
    (outage,) = here.listed()
    assert (outage.kind, outage.start) == (Kind.IDLE, Start.ON_DEMAND)
    assert here.status().children[0].state is TunnelState.WAITING


def test_only_the_last_ones_are_kept() -> None:
    here = site(9)
    here.network.run(5)
    for _ in range(KEPT + 5):
        here.disconnect("net")
        here.network.run(1)
        here.connect()
        here.network.run(1)
    found = here.outages.of("right")
    assert len(found) == KEPT
    assert [outage.id for outage in found] == sorted((outage.id for outage in found), reverse=True)


def test_what_was_written_is_taken_up_again() -> None:
    here = site(13)
    here.network.run(5)
    here.disconnect()
    here.network.run(5)
    here.connect()
    here.network.run(5)
    here.network.cut = set(BOTH)
    here.network.run(100)
    before = here.outages.of("right")
    assert set(here.outages.changed) == {outage.id for outage in before}
    again = Outages(here.a.engine.core)
    again.restore(before[::-1])
    again.settle(here.network.now)
    assert again.of("right") == before
    assert again.current("right", "net") == before[0]
    assert not again.changed
    elsewhere = site(14)
    elsewhere.outages.restore([replace(outage, peer="gone") for outage in before[::-1]])
    elsewhere.outages.settle(elsewhere.network.now)
    assert elsewhere.outages.of("gone") == []
    assert elsewhere.outages.gone == {outage.id for outage in before}
    elsewhere.network.run(5)
    elsewhere.disconnect()
    assert elsewhere.listed()[0].id > before[0].id, "numbers are never used again"


def test_the_status_is_not_up_while_the_peer_does_not_answer() -> None:
    here = site(10)
    here.network.run(5)
    assert here.status().state is TunnelState.UP
    here.network.cut = set(BOTH)
    here.network.run(31)
    assert established(here.a), "it has not given up yet"
    status = here.status()
    assert status.state is TunnelState.DOWN
    assert "net: no answer from the peer for" in status.reason
    assert "of 6" in status.reason
    here.network.cut = set()
    here.network.run(20)
    assert here.status().state is TunnelState.UP
    assert here.listed() == []


def test_an_ike_sa_whose_only_child_failed_is_not_up() -> None:
    here = site(11, peer("right", me="left.example", them="right.example", remote="192.0.2.2", theirs="10.9.0.0/24"))
    here.network.run(5)
    assert established(here.a)
    status = here.status()
    assert status.state is TunnelState.DOWN
    assert "TS_UNACCEPTABLE" in status.reason


def test_two_children_for_the_same_traffic_are_told() -> None:
    here = site(12)
    here.network.run(5)
    (sa,) = established(here.a)
    (child,) = sa.children.values()
    extra = replace(child, id=child.id + 1, inbound=replace(child.inbound, spi=child.inbound.spi ^ 1))
    here.a.plane.apply([AddState(extra.inbound)])
    sa.children[extra.spi_in] = extra
    told = "2 CHILD_SAs carry the same traffic, where one should; one of them goes"
    assert here.status().children[0].reason == told, "at once"
    assert (here.status().state, here.status().reason) == (TunnelState.UP, f"net: {told}")
    child.successor = extra
    assert here.status().children[0].reason == "", "one that only waits for its delete is none too many"


def test_of_any_number_of_ike_sas_none_is_said_to_go() -> None:
    """Both ends call at the same moment, and each keeps both."""
    here = site(12, replace(LEFT, unique=Unique.NEVER), cut=True)
    right = replace(RIGHT, unique=Unique.NEVER, remote_addresses=("192.0.2.1",))
    right = replace(right, children=(replace(right.children[0], start=Start.ALWAYS),))
    here.network.apply(here.b, Snapshot.build(2, [right], [psk()]))
    here.network.cut = set()
    here.network.run(60)
    assert len(established(here.a)) == 2
    status = here.status()
    assert status.state is TunnelState.UP
    assert status.children[0].reason.startswith("2 CHILD_SAs carry the same traffic, each on an IKE SA of its own")


def test_a_child_that_the_peer_turns_out_not_to_have_is_down_from_then_on() -> None:
    here = site(17, replace(LEFT, children=(replace(LEFT.children[0], start=Start.ON_DEMAND),)))
    here.network.run(1)
    (trap,) = here.a.protecting()
    here.network.perform(here.a, here.a.engine.kernel(Acquire(trap.reqid), here.network.now))
    here.network.run(1)
    (theirs,) = established(here.b)
    theirs.children.clear()
    theirs.peer = replace(RIGHT, children=())
    here.network.perform(here.a, here.a.engine.rekey("right", "net", here.network.now)[1])
    here.network.run(30)
    (ours,) = established(here.a)
    assert not ours.children
    assert [(one.reason, one.ended_at) for one in here.listed()] == [("the peer does not have it any more", None)]


def test_a_child_whose_states_somebody_removed_is_down_at_once_and_soon_back() -> None:
    here = site(13)
    here.network.run(5)
    (sa,) = established(here.a)
    (child,) = sa.children.values()
    assert not here.observer.counting.disturbed
    here.a.plane.take_away([child.outbound.key])
    here.network.run(1)
    status = here.status()
    assert status.state is TunnelState.DOWN
    assert "its states were removed from the data plane, and not by this gateway" in status.reason
    assert here.observer.counting.disturbed
    here.network.perform(here.a, here.a.engine.kernel(Disturbed(), here.network.now))
    here.network.run(1)
    assert here.status().state is TunnelState.UP
    assert not here.observer.counting.disturbed
    (outage,) = here.listed()
    assert (outage.kind, outage.reason) == (Kind.FAILURE, TAKEN_AWAY)
    assert outage.ended_at is not None
    assert outage.ended_at - outage.began_at < 1
    assert established(here.a) == [sa], "the IKE SA stands as it was"


def test_a_tunnel_that_cannot_be_sent_to_is_down_at_once() -> None:
    here = site(14)
    here.network.run(5)
    unsent = {"192.0.2.2": "Network is unreachable"}
    observer = Observer(here.a.engine, here.a.plane, lambda: here.network.now, lambda: 0.0, unsent)
    config = here.a.engine.core.snapshot.peers["right"]
    assert observer.peer(config).state is TunnelState.DOWN
    assert observer.peer(config).reason == "net: nothing can be sent to 192.0.2.2: Network is unreachable"
    unsent.clear()
    assert observer.peer(config).state is TunnelState.UP


def test_what_the_data_plane_refuses_is_down_with_its_words() -> None:
    here = site(15, replace(LEFT, children=(replace(LEFT.children[0], when_down=WhenDown.PASS),)), cut=True)
    for _ in range(20):
        here.a.plane.fail_next("no room for states")
    here.network.cut = set()
    here.network.run(60)
    status = here.status()
    assert status.state is TunnelState.DOWN
    assert "no room for states" in status.reason
    assert "no room for states" in here.listed()[0].last_failure
    here.a.plane.fail_no_more()
    here.network.run(300)
    assert here.status().state is TunnelState.UP
    assert here.listed()[0].ended_at is not None
