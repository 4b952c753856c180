"""Addresses change under a standing tunnel."""

from tests.simulation.network import Network, peer, two
from tests.simulation.test_tunnel import assert_agree, established


def test_initiator_without_mobike_calls_again_at_once_from_its_new_address() -> None:
    network = Network(1)
    left = peer("right", me="left.example", them="right.example", remote="192.0.2.2", mobike=False)
    right = peer("left", me="right.example", them="left.example", remote=None, mine="10.2.0.0/24", theirs="10.1.0.0/24")
    a, b = two(network, left=left, right=right)
    network.run(1)
    assert_agree(a, b)
    (before,) = established(a)
    network.move(a, "198.51.100.7")
    network.run(1)
    (after,) = established(a)
    assert after is not before
    assert after.path.local == "198.51.100.7"
    assert "our address 192.0.2.1 is gone" in before.reason
    assert_agree(a, b)
