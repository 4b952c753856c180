"""Rekeys that cross: how they begin, and how every crossing must end."""

import pytest

from gateway.ike.plane import Direction
from gateway.ike.sa import IkeSa
from gateway.policy.peers import Retransmission
from tests.simulation.agreement import assert_agree
from tests.simulation.ladders import CHILD, Ladder
from tests.simulation.network import Host

LOW, MIDDLE, HIGH = 0x00, 0x80, 0xFF
SLOW = Retransmission(tries=6, base=4.0, factor=1.8, jitter=0.0)
whose = pytest.mark.parametrize("loser", ["a", "b"])


def sends_on(host: Host) -> int:
    """The SPI that the only OUT policy is pinned to."""
    (policy,) = (policy for policy in host.plane.policies() if policy.direction is Direction.OUT)
    assert policy.spi is not None
    return policy.spi


def assert_carries(ladder: Ladder) -> None:
    """What either end sends now, the other can receive: the outbound state that is used has its mirror there."""
    for here, there in ((ladder.a, ladder.b), (ladder.b, ladder.a)):
        spi = sends_on(here)
        assert spi in {state.spi for state in here.plane.states() if not state.inbound}
        assert spi in {state.spi for state in there.plane.states() if state.inbound}


def both_rekey(ladder: Ladder, loser: str, child: str | None) -> None:
    """Both begin; the SA that the loser makes has the lowest of the four nonces."""
    for name, host in (("a", ladder.a), ("b", ladder.b)):
        with ladder.nonces(host, LOW if name == loser else HIGH):
            ladder.rekey(host, child)


def cross(ladder: Ladder) -> None:
    """Both CREATE_CHILD_SA requests arrive."""
    with ladder.nonces(ladder.a, MIDDLE), ladder.nonces(ladder.b, MIDDLE):
        ladder.request(ladder.a, CHILD)
        ladder.request(ladder.b, CHILD)


def finish(ladder: Ladder, *, made_by: Host | None = None) -> None:
    """In the end there is one of everything, the same at both ends; `made_by` tells whose exchange made the child."""
    ladder.settle()
    assert_agree(ladder.a, ladder.b)
    assert_carries(ladder)
    if made_by is not None:
        assert ladder.only(made_by) is not ladder.child
        made = next(event for event in made_by.events if event.kind == "child-sa.rekeyed")
        assert made.data["child_sa"] == ladder.only(made_by).id


def assert_ike(ladder: Ladder, maker: Host) -> None:
    """One IKE SA at both ends, which this end's exchange made, with the old child in it."""
    ladder.settle(200)
    assert_agree(ladder.a, ladder.b)
    assert ladder.sa(maker).initiator
    assert ladder.sa(maker) is not (ladder.old if maker is ladder.a else ladder.other_old)
    assert ladder.only(ladder.a) is ladder.child
    assert ladder.only(ladder.b) is ladder.other_child
    for host in (ladder.a, ladder.b):
        assert len(host.engine.ike_sas()) == 1
        assert "ike-sa.closed" not in host.kinds()


def holder(host: Host) -> IkeSa:
    (sa,) = (sa for sa in host.engine.ike_sas() if sa.children)
    return sa


def childless() -> Ladder:
    """The IKE SA stands without its child, which both ends may create."""
    ladder = Ladder()
    ladder.network.let_go()
    ladder.disconnect(ladder.a, "net")
    ladder.disconnect(ladder.b, "net")
    ladder.network.run(1)
    assert not ladder.children(ladder.a)
    ladder.network.holding = True
    return ladder
