"""A second IKE SA of one identity, where the first shall stay."""

from gateway.ike.plane import Direction
from gateway.ike.sa import Lifecycle
from gateway.policy.peers import Unique
from tests.hostile.rogue import Rogue, answered
from tests.hostile.scene import Scene


def test_a_second_call_takes_nothing_from_the_first_that_is_kept() -> None:
    """Who calls again with the same identity must not pull the policies of the standing tunnel away with its own."""
    scene = Scene(unique=Unique.KEEP, dpd_delay=0.0)
    first = answered(scene)
    spi = first.only_child.spi_out
    second = Rogue(scene, True, seed=99)
    second.call()
    second.request(35, *second.credentials(), *second.child(b"\0\3\3\3"))
    scene.network.run(200)
    assert first.sa is not None and first.sa.state is Lifecycle.ESTABLISHED
    assert [child.spi_out for child in first.sa.children.values()] == [spi]
    outward = [policy.spi for policy in scene.gate.plane.policies() if policy.direction is Direction.OUT]
    assert spi in outward
    assert second.sa is None
    assert scene.books()["plane.states"] == 2
    scene.assert_serves()
    scene.assert_forgets()
