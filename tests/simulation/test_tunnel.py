"""Two gateways and one tunnel, in ladder form, over good and bad networks."""

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.ike.attempts import Outcome
from gateway.ike.path import Path
from gateway.ike.plane_events import Acquire
from gateway.policy.peers import Child, Start
from gateway.policy.proposals import Proposal
from gateway.policy.selectors import Selector
from gateway.policy.snapshot import EngineSettings, Snapshot
from gateway.wire.numbers import NotifyType, Protocol
from tests.simulation.agreement import assert_agree, assert_nothing_left, established
from tests.simulation.network import ESP, Network, Weather, peer, psk, right_end, two


def test_tunnel_comes_up_in_four_messages() -> None:
    network = Network(1)
    a, b = two(network)
    network.run(1)
    assert_agree(a, b)
    assert len(network.carried) == 4
    (attempt,) = a.engine.core.attempts.latest(9)
    assert attempt.outcome == Outcome.ESTABLISHED
    assert [step.done for step in attempt.steps] == [True] * 6


@pytest.mark.parametrize("seed", range(60))
def test_tunnel_comes_up_over_a_bad_network(seed: int) -> None:
    network = Network(seed, Weather(loss=0.3, duplicate=0.2, delay=0.05, jitter=0.8))
    a, b = two(network)
    network.run(300)
    network.weather = Weather()
    network.run(120)
    assert_agree(a, b)


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 2**32), st.floats(0, 0.5), st.floats(0, 0.5), st.floats(0, 3))
def test_both_calling_at_once_end_with_one_sa(seed: int, loss: float, duplicate: float, jitter: float) -> None:
    network = Network(seed, Weather(loss, duplicate, 0.02, jitter))
    right = right_end(start=Start.ALWAYS)
    a, b = two(network, right=right)
    network.run(400)
    network.weather = Weather()
    network.run(700)
    assert_agree(a, b)


def test_wrong_key_is_told_apart() -> None:
    network = Network(2)
    a, b = two(network, right_key=b"another")
    network.run(1)
    assert not established(a)
    assert not established(b)
    ours, theirs = a.engine.core.attempts.latest(1)[0], b.engine.core.attempts.latest(1)[0]
    assert ours.cause == "peer-refused-us"
    assert "pre-shared key" in ours.reason
    assert theirs.cause == "wrong-key"
    assert theirs.notify == NotifyType.AUTHENTICATION_FAILED
    assert theirs.peer == "left"
    assert_nothing_left(a, b)


def test_no_common_proposal_shows_both_lists() -> None:
    network = Network(3)
    right = right_end(remote=None, start=Start.ALWAYS)
    right = replace(right, proposals=(Proposal.parse("aes128-sha256-modp2048", Protocol.IKE),))
    a, b = two(network, right=right)
    network.run(5.5)
    theirs = b.engine.core.attempts.latest(1)[0]
    assert theirs.cause == "no-proposal"
    assert theirs.offered == ("aes256gcm16-prfsha256-x25519-ecp256",)
    assert theirs.acceptable == ("aes128-sha256-prfsha256-modp2048",)
    assert any(text.startswith("encryption: they offer aes256gcm16; we accept aes128") for text in theirs.differences)
    assert any(text.startswith("key exchange") for text in theirs.differences)
    assert not any(text.startswith("pseudo-random") for text in theirs.differences)
    assert a.engine.core.attempts.latest(1)[0].cause == "no-proposal"
    assert_nothing_left(a, b)


def test_wrong_group_guess_costs_one_round() -> None:
    network = Network(4)
    right = right_end(remote=None, start=Start.ALWAYS)
    right = replace(right, proposals=(Proposal.parse("aes256gcm16-prfsha256-ecp256", Protocol.IKE),))
    a, b = two(network, right=right)
    network.run(1)
    assert_agree(a, b)
    assert len(network.carried) == 6


def test_cookie_is_asked_under_pressure() -> None:
    network = Network(5)
    a, b = network.host("left", "192.0.2.1"), network.host("right", "192.0.2.2")
    right = right_end(remote=None, start=Start.ALWAYS)
    network.apply(b, Snapshot.build(1, [right], [psk()], EngineSettings(cookie_threshold=0)))
    network.apply(
        a, Snapshot.build(1, [peer("right", me="left.example", them="right.example", remote="192.0.2.2")], [psk()])
    )
    network.run(1)
    assert_agree(a, b)
    assert b.engine.core.counters["cookies-sent"] == 1
    assert len(network.carried) == 6


def test_networks_are_narrowed() -> None:
    network = Network(6)
    right = peer(
        "left",
        me="right.example",
        them="left.example",
        remote=None,
        mine="10.2.0.0/16",
        theirs="10.1.0.0/25",
        start=Start.PASSIVE,
    )
    a, b = two(network, right=right)
    network.run(1)
    assert_agree(a, b)
    (child,) = established(a)[0].children.values()
    assert [selector.text for selector in child.local] == ["10.1.0.0/25"]
    assert [selector.text for selector in child.remote] == ["10.2.0.0/24"]


def test_unacceptable_networks_leave_the_ike_sa() -> None:
    network = Network(7)
    right = peer(
        "left",
        me="right.example",
        them="left.example",
        remote=None,
        mine="172.16.0.0/16",
        theirs="10.1.0.0/24",
        start=Start.PASSIVE,
    )
    a, b = two(network, right=right)
    network.run(1)
    assert len(established(a)) == 1
    attempt = next(found for found in b.engine.core.attempts.latest(9) if found.cause == "networks")
    assert attempt.offered == ("10.2.0.0/24 = 10.1.0.0/24",)
    assert attempt.acceptable == ("172.16.0.0/16 = 10.1.0.0/24",)
    assert not list(b.plane.states())
    assert not list(a.plane.states())


def test_a_description_changes_nothing_and_proposals_only_their_peer() -> None:
    network = Network(8)
    a, b = two(network)
    network.run(1)
    before = established(a)[0]
    sent = len(network.carried)
    changed = peer("right", me="left.example", them="right.example", remote="192.0.2.2", description="the branch")
    network.apply(a, Snapshot.build(2, [changed], [psk()]))
    network.run(1)
    assert established(a) == [before]
    assert len(network.carried) == sent
    suites = (Proposal.parse("aes256gcm16-prfsha256-ecp256", Protocol.IKE),)
    network.apply(a, Snapshot.build(3, [replace(changed, proposals=suites)], [psk()]))
    network.run(10)
    assert_agree(a, b)
    assert established(a)[0] is not before
    assert established(a)[0].chosen is not None
    assert established(a)[0].chosen.keywords == "aes256gcm16-prfsha256-ecp256"


def test_removing_a_peer_deletes_on_both_ends() -> None:
    network = Network(9)
    a, b = two(network)
    network.run(1)
    network.apply(a, Snapshot.build(2, [], []))
    network.run(1)
    assert_nothing_left(a, b)
    network.run(100)
    assert_nothing_left(a, b)


def test_stopping_says_goodbye() -> None:
    network = Network(10)
    a, b = two(network)
    network.run(1)
    network.perform(a, a.engine.stop(network.now))
    network.run(1)
    assert a.engine.stopped
    assert_nothing_left(a, b)


def test_a_dead_peer_is_noticed_and_called_again() -> None:
    network = Network(11)
    a, b = two(network)
    network.run(1)
    network.cut = {("192.0.2.1", "192.0.2.2"), ("192.0.2.2", "192.0.2.1")}
    network.run(120)
    assert not established(a)
    assert not list(a.plane.states())
    network.cut = set()
    network.run(400)
    assert_agree(a, b)


def test_behind_nat_the_peers_move_to_4500() -> None:
    network = Network(12)
    network.nat["192.0.2.1"] = ("203.0.113.9", 1000)
    right = right_end(remote=None)
    a, b = two(network, right=right)
    network.run(1)
    (sa,), (mirror,) = established(a), established(b)
    assert sa.nat.here
    assert not sa.nat.there
    assert mirror.nat.there
    assert not mirror.nat.here
    assert sa.path.marked
    assert sa.path.port == 4500
    assert (mirror.path.remote, mirror.path.port) == ("203.0.113.9", 5500)
    (child,) = mirror.children.values()
    assert child.outbound.encapsulation is not None
    assert (child.outbound.encapsulation.source_port, child.outbound.encapsulation.destination_port) == (4500, 5500)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("what", ["child", "sa"])
def test_rekey_keeps_one_of_everything(side: str, what: str) -> None:
    network = Network(13)
    a, b = two(network)
    network.run(1)
    host, other = (a, "right") if side == "left" else (b, "left")
    old = established(a)[0]
    old_child = next(iter(old.children))
    _, effects = host.engine.rekey(other, "net" if what == "child" else None, network.now)
    network.perform(host, effects)
    network.run(60)
    assert_agree(a, b)
    for end in (a, b):
        attempt = end.engine.core.attempts.latest(1)[0]
        assert attempt.outcome == Outcome.ESTABLISHED
        assert attempt.initiator is (end is host)
    assert (established(a)[0] is old) is (what == "child")
    assert (next(iter(established(a)[0].children)) == old_child) is (what == "sa")


def test_further_children_follow_with_a_key_exchange_of_their_own() -> None:
    network = Network(14)
    more = Child(
        "more", (Selector.parse("10.1.1.0/24"),), (Selector.parse("10.2.1.0/24"), Selector.parse("fd00:2::/64")), ESP
    )
    mirror = Child("more", (Selector.parse("10.2.1.0/24"),), (Selector.parse("10.1.1.0/24"),), ESP, Start.PASSIVE)
    left = peer("right", me="left.example", them="right.example", remote="192.0.2.2")
    right = right_end(remote=None)
    a, b = two(
        network,
        left=replace(left, children=(*left.children, more)),
        right=replace(right, children=(*right.children, mirror)),
    )
    network.run(5)
    assert {child.name for child in established(a)[0].children.values()} == {"net", "more"}
    assert {child.name for child in established(b)[0].children.values()} == {"net", "more"}
    made = next(child for child in established(b)[0].children.values() if child.name == "more")
    assert made.chosen.ke is not None
    assert [selector.text for selector in made.local] == ["10.2.1.0/24"]


def test_the_data_planes_refusal_is_the_reason_and_leaves_nothing() -> None:
    network = Network(15)
    a, b = network.host("left", "192.0.2.1"), network.host("right", "192.0.2.2")
    right = right_end(remote=None)
    network.apply(b, Snapshot.build(1, [right], [psk()]))
    b.plane.fail_next("the kernel has no ESP")
    network.apply(
        a, Snapshot.build(1, [peer("right", me="left.example", them="right.example", remote="192.0.2.2")], [psk()])
    )
    network.run(0.5)
    refused = [attempt for attempt in b.engine.core.attempts.latest(9) if attempt.cause == "data-plane"]
    assert "the kernel has no ESP" in refused[0].reason
    assert not list(b.plane.states())
    network.run(60)
    assert_agree(a, b)


def test_on_demand_waits_for_the_first_packet() -> None:
    network = Network(16)
    left = peer("right", me="left.example", them="right.example", remote="192.0.2.2", start=Start.ON_DEMAND)
    a, b = two(network, left=left)
    network.run(5)
    assert not network.carried
    (trap,) = a.protecting()
    network.perform(a, a.engine.kernel(Acquire(trap.reqid), network.now))
    network.run(1)
    assert_agree(a, b)
    network.perform(b, b.engine.disconnect("left", None, network.now)[1])
    network.run(1)
    assert [policy.spi for policy in a.protecting()] == [None]


def test_a_changed_child_is_remade_on_the_same_ike_sa() -> None:
    network = Network(17)
    a, b = two(network)
    network.run(1)
    before = established(a)[0]
    left = peer("right", me="left.example", them="right.example", remote="192.0.2.2", mine="10.1.0.0/25")
    network.apply(a, Snapshot.build(2, [left], [psk()]))
    network.run(5)
    assert_agree(a, b)
    assert established(a)[0] is before
    (child,) = before.children.values()
    assert [selector.text for selector in child.local] == ["10.1.0.0/25"]


def test_what_an_administrator_took_down_stays_down() -> None:
    network = Network(18)
    a, b = two(network)
    network.run(1)
    network.perform(a, a.engine.disconnect("right", "net", network.now)[1])
    network.run(600)
    assert not established(a)[0].children
    network.perform(a, a.engine.connect("right", "net", network.now)[1])
    network.run(1)
    assert_agree(a, b)
    network.perform(a, a.engine.disconnect("right", None, network.now)[1])
    network.run(600)
    assert_nothing_left(a, b)


def test_a_child_that_the_peer_deletes_comes_back() -> None:
    network = Network(19)
    a, b = two(network)
    network.run(1)
    network.perform(b, b.engine.disconnect("left", "net", network.now)[1])
    network.run(60)
    assert_agree(a, b)


def test_hostile_datagrams_make_no_state_and_few_counters() -> None:
    network = Network(20)
    a, b = two(network)
    network.run(1)
    samples = [data for _, _, _, data in network.carried]
    for _ in range(4000):
        data = bytearray(network.random.choice(samples))
        for _ in range(network.random.randrange(1, 5)):
            data[network.random.randrange(len(data))] = network.random.randrange(256)
        cut = bytes(data[: network.random.randrange(len(data) + 1)]) if network.random.random() < 0.3 else bytes(data)
        path = Path("192.0.2.2", f"203.0.113.{network.random.randrange(4)}", 500)
        network.perform(b, b.engine.receive(cut, path, network.now))
    assert_agree(a, b)
    assert len(b.engine.core.counters) < 60
    network.run(120)
    assert len(b.engine.ike_sas()) == 1
