"""Our address changes in the middle of an exchange."""

import pytest

from gateway.policy.peers import Start
from gateway.wire.numbers import ExchangeType
from tests.simulation.network import Network, peer, right_end, two
from tests.simulation.test_mobike import ends, outer
from tests.simulation.test_tunnel import assert_agree, established


@pytest.mark.parametrize("slow", [False, True])
def test_who_moves_without_mobike_right_after_the_peers_rekey_calls_again(slow: bool) -> None:
    """The peer has not shown yet that it knows the new IKE SA; `slow`: the rekey comes while we look for the way.

    <-- SA, Ni   --> SA, Nr   we have another address
    """
    network = Network(1)
    left = peer("right", me="left.example", them="right.example", remote="192.0.2.2", mobike=False)
    right = right_end(remote=None, start=Start.ALWAYS)
    a, b = two(network, left=left, right=right)
    network.run(1)
    network.holding = True
    network.perform(b, b.engine.rekey("left", None, network.now)[1])
    request = network.take(b, ExchangeType.CREATE_CHILD_SA)
    if not slow:
        network.deliver(request)
    del network.hosts[a.address]
    effects = a.engine.network_changed(("198.51.100.7",), network.now)
    if slow:
        network.perform(a, a.engine.receive(request.data, request.path, network.now))
    a.address = "198.51.100.7"
    network.hosts[a.address] = a
    network.perform(a, effects)
    network.holding = False
    network.run(30)
    assert_agree(a, b)
    assert [sa.path.local for sa in established(a)] == ["198.51.100.7"]


def test_who_moves_during_its_rekey_of_a_child_holds_no_spi_where_it_was() -> None:
    """--> SA, Ni, TSi, TSr   we move   <-- SA, Nr, TSi, TSr or TEMPORARY_FAILURE"""
    for refused in (False, True):
        network, a, b = ends()
        (child,) = established(a)[0].children.values()
        network.perform(a, a.engine.rekey("right", "net", network.now)[1])
        if refused:
            b.plane.fail_next("no room")
        network.move(a, "198.51.100.7")
        network.run(30)
        (after,) = established(a)[0].children.values()
        assert after is not child, "where it was refused it was asked for again"
        assert outer(a) == {("198.51.100.7", "192.0.2.2", None)}
        assert not a.plane.held
        assert_agree(a, b)
