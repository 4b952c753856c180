"""What two ends must have in common, at any moment at which they agree."""

from gateway.ike.sa import IkeSa, Lifecycle
from tests.simulation.network import Host


def established(host: Host) -> list[IkeSa]:
    return [sa for sa in host.engine.ike_sas() if sa.state == Lifecycle.ESTABLISHED]


def assert_agree(a: Host, b: Host) -> None:
    """Both ends hold the same keys for one IKE SA and its child, and each data plane has just that child's states."""
    (one,), (two_,) = established(a), established(b)
    assert (one.spi_i, one.spi_r) == (two_.spi_i, two_.spi_r)
    assert one.keys == two_.keys
    (child,), (mirror,) = one.children.values(), two_.children.values()
    assert child.outbound.encr_key == mirror.inbound.encr_key
    assert child.inbound.encr_key == mirror.outbound.encr_key
    assert child.spi_out == mirror.spi_in
    assert (child.local, child.remote) == (mirror.remote, mirror.local)
    for host, sa in ((a, child), (b, mirror)):
        assert {state.spi for state in host.plane.states()} == {sa.spi_in, sa.spi_out}


def assert_nothing_left(*hosts: Host) -> None:
    for host in hosts:
        assert not host.engine.ike_sas()
        assert not list(host.plane.states())
        assert not host.protecting()
