"""What says where the peer is, by an IKE SA that was rekeyed, and comes after a newer word by the new one."""

from gateway.ike.sa import IkeSa, Lifecycle
from gateway.policy.peers import Retransmission
from gateway.wire.numbers import ExchangeType
from tests.simulation.agreement import assert_agree, established
from tests.simulation.moving import ends, outer
from tests.simulation.network import Host, Letter, Network

CHILD, INFO = ExchangeType.CREATE_CHILD_SA, ExchangeType.INFORMATIONAL


def pass_on(network: Network, letter: Letter, to: Host) -> None:
    """As if it had been sent to where that host is now."""
    letter.to, letter.path = to.address, letter.path._replace(local=to.address)
    network.deliver(letter)


def rekeyed(network: Network, a: Host, b: Host, mover: Host) -> tuple[Letter, IkeSa]:
    """The mover says by the old IKE SA that it is at the first address; that is under way as long as a test wants.

    The other one rekeys the IKE SA meanwhile, and its delete of the old one is lost: it still stands there.
    """
    other = b if mover is a else a
    (old,) = established(other)
    network.holding = True
    network.move(mover, "198.51.100.7")
    late = network.take(mover, INFO)
    (name,) = other.engine.core.snapshot.peers
    network.perform(other, other.engine.rekey(name, None, network.now)[1])
    pass_on(network, network.take(other, CHILD), mover)
    network.deliver(network.take(mover, CHILD, response=True))
    (new,) = established(other)
    assert old.state is Lifecycle.REKEYED
    pass_on(network, network.take(other, INFO, spi_i=new.spi_i), mover)
    return late, old


def test_update_by_the_old_sa_does_not_undo_a_newer_one() -> None:
    """Who can hold a datagram back for a moment could else send us where the peer no longer is.

    --> N(UPDATE_SA_ADDRESSES) by the old SA, late   the peer rekeys   --> N(UPDATE_SA_ADDRESSES) by the new SA
    """
    network, a, b = ends(retransmission=Retransmission())
    late, old = rekeyed(network, a, b, a)
    network.held.clear()
    network.move(a, "198.51.100.8")
    (new,) = established(b)
    network.deliver(network.take(a, INFO, spi_i=new.spi_i))  # what was under way when it moved
    pass_on(network, network.take(b, INFO, response=True, spi_i=new.spi_i), a)
    network.deliver(network.take(a, INFO, spi_i=new.spi_i))
    assert new.path.remote == "198.51.100.8"
    network.held.clear()
    assert old.state is Lifecycle.REKEYED
    network.deliver(late)
    assert new.path.remote == "198.51.100.8"
    assert network.take(b, INFO, response=True), "it is answered all the same"
    network.let_go()
    network.run(100)
    assert_agree(a, b)
    assert outer(b) == {("192.0.2.2", "198.51.100.8", None)}
    assert "ike-sa.closed" not in a.kinds() + b.kinds()


def test_update_by_the_old_sa_counts_as_long_as_there_is_no_newer_one() -> None:
    network, a, b = ends(retransmission=Retransmission())
    late, old = rekeyed(network, a, b, a)
    network.held.clear()
    network.deliver(late)
    (new,) = established(b)
    assert new.path.remote == old.path.remote == "198.51.100.7"
    network.let_go()
    network.run(100)
    assert_agree(a, b)
    assert outer(b) == {("192.0.2.2", "198.51.100.7", None)}


def test_addresses_announced_by_the_old_sa_do_not_undo_newer_ones() -> None:
    """The same from who does not lead: it lost the address that we used, and is gone from the next one, too."""
    network, a, b = ends(retransmission=Retransmission())
    late, old = rekeyed(network, a, b, b)
    network.held.clear()
    network.move(b, "198.51.100.8")
    (new,) = established(a)
    network.deliver(network.take(b, INFO, spi_i=new.spi_i))
    assert new.path.remote == "198.51.100.8"
    network.deliver(late)
    assert new.path.remote == "198.51.100.8"
    network.held.clear()
    network.holding = False
    network.run(100)
    assert_agree(a, b)
    assert outer(a) == {("192.0.2.1", "198.51.100.8", None)}
    assert old.state is Lifecycle.CLOSED
