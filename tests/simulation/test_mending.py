"""The data plane is disturbed by somebody else: what is put back, what is negotiated anew, and what is left alone."""

import pytest

from gateway.ike.plane_events import Disturbed, EventsLost
from gateway.policy.peers import Start
from tests.simulation.agreement import assert_agree, established
from tests.simulation.network import Host, Network, two
from tests.simulation.test_blocking import left


def disturb(network: Network, host: Host, event: Disturbed | EventsLost = Disturbed()) -> None:  # noqa: B008  frozen
    network.perform(host, host.engine.kernel(event, network.now))


@pytest.mark.parametrize("inbound", [True, False], ids=["in", "out"])
@pytest.mark.parametrize("event", [Disturbed(), EventsLost()], ids=["told", "lost"])
def test_a_child_whose_state_is_gone_is_made_anew_on_its_ike_sa(inbound: bool, event: Disturbed | EventsLost) -> None:
    """Never with the same keys: its sequence numbers would begin again."""
    network = Network(60)
    a, b = two(network, left=left())
    network.run(5)
    (sa,) = established(a)
    (before,) = sa.children.values()
    a.plane.take_away([before.inbound.key if inbound else before.outbound.key])
    disturb(network, a, event)
    network.run(1)
    assert_agree(a, b)
    assert established(a) == [sa]
    (after,) = sa.children.values()
    assert after.inbound.encr_key != before.inbound.encr_key
    assert {state.spi for state in a.plane.states()} == {after.spi_in, after.spi_out}
    network.run(60)
    assert {state.spi for state in b.plane.states()} == {after.spi_in, after.spi_out}, "the peer was told of the end"


def test_policies_that_somebody_removed_are_back_and_nothing_is_negotiated() -> None:
    network = Network(61)
    a, b = two(network, left=left())
    network.run(5)
    (sa,) = established(a)
    children, policies = dict(sa.children), set(a.plane.policies())
    a.plane.take_away([], a.plane.policies())
    disturb(network, a)
    network.run(1)
    assert set(a.plane.policies()) == policies
    assert sa.children == children
    assert [event.text for event in a.events if event.kind == "data-plane.mended"] == [
        "3 policies had been taken away, and are back"
    ]
    assert_agree(a, b)


def test_an_on_demand_child_waits_for_traffic_again() -> None:
    network = Network(62)
    a, _ = two(network, left=left(Start.ON_DEMAND))
    network.run(1)
    network.perform(a, a.engine.connect("right", None, network.now)[1])
    network.run(1)
    (sa,) = established(a)
    a.plane.take_away([state.key for state in a.plane.states()])
    disturb(network, a)
    network.run(30)
    assert not sa.children
    assert [policy.spi for policy in a.protecting()] == [None], "a trap lies there"


def test_who_removes_states_all_the_time_makes_no_storm() -> None:
    network = Network(63)
    a, b = two(network, left=left())
    network.run(5)
    for _ in range(100):
        a.plane.take_away([state.key for state in a.plane.states()])
        disturb(network, a)
        network.run(0.5)
    network.run(30)
    assert_agree(a, b)
    made = sum(event.kind == "child-sa.installed" for event in a.events)
    assert 8 < made < 14, "one in five seconds"
