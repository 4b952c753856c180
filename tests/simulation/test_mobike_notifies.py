"""What MOBIKE's notifies may say and do, one request at a time (RFC 4555 3, 4)."""

from gateway.ike.path import Nat
from gateway.wire import payloads as wire
from gateway.wire.message import Message
from gateway.wire.numbers import ExchangeType, NotifyType
from tests.simulation.agreement import established
from tests.simulation.moving import ends, outer, sealed


def notify(kind: int, data: bytes = b"") -> wire.Notify:
    return wire.Notify(0, b"", kind, data)


def test_cookie_comes_back_as_it_was_sent() -> None:
    network, a, b = ends()
    path = established(b)[0].path
    (answer,) = sealed(a, network, [notify(NotifyType.COOKIE2, b"12345678")], path)
    assert [one.data for one in answer.notifies(NotifyType.COOKIE2)] == [b"12345678"]
    (answer,) = sealed(a, network, [notify(NotifyType.COOKIE2, b"1234567")], path)
    assert answer.notify(NotifyType.INVALID_SYNTAX)


def test_nat_that_nobody_allowed_changes_nothing() -> None:
    network, a, b = ends()
    path = established(b)[0].path
    elsewhere = path._replace(remote="198.51.100.66")
    right = bytes((192, 0, 2, 1, 192, 0, 2, 2)) + (4500).to_bytes(2) * 2
    update = notify(NotifyType.UPDATE_SA_ADDRESSES)
    (answer,) = sealed(a, network, [update, notify(NotifyType.NO_NATS_ALLOWED, right)], elsewhere)
    assert answer.notify(NotifyType.UNEXPECTED_NAT_DETECTED)
    assert established(b)[0].path == path
    (answer,) = sealed(a, network, [update, notify(NotifyType.NO_NATS_ALLOWED, right)], path)
    assert answer.payloads == []


def test_who_was_called_cannot_move_who_called() -> None:
    network, a, b = ends()
    path = established(a)[0].path
    sealed(b, network, [notify(NotifyType.UPDATE_SA_ADDRESSES)], path._replace(remote="198.51.100.66"))
    assert established(a)[0].path == path


def test_without_an_update_the_address_of_a_request_means_nothing() -> None:
    network, a, b = ends()
    path = established(b)[0].path
    (answer,) = sealed(a, network, [], path._replace(remote="198.51.100.66"))
    assert answer.payloads == []
    assert established(b)[0].path == path


def test_wrong_cookie_ends_the_sa() -> None:
    network, a, b = ends()
    (sa,) = established(b)
    assert sa.protection is not None
    network.hosts["192.0.2.1"].alive = False
    path = sa.path._replace(remote="198.51.100.66")
    (ours,) = established(a)
    assert ours.protection is not None
    message = Message(sa.spi_i, sa.spi_r, ExchangeType.INFORMATIONAL, True, False, ours.requests.next_id, [])
    update = ours.protection.seal(message, [notify(NotifyType.UPDATE_SA_ADDRESSES)])
    network.perform(b, b.engine.receive(update, path, network.now))
    answer = Message(sa.spi_i, sa.spi_r, ExchangeType.INFORMATIONAL, True, True, 0, [])
    false = ours.protection.seal(answer, [notify(NotifyType.COOKIE2, bytes(16))])
    network.perform(b, b.engine.receive(false, path, network.now))
    assert not established(b)
    assert "COOKIE2" in sa.reason


def test_addresses_are_few_and_well_formed() -> None:
    network, a, b = ends()
    path = established(b)[0].path
    many = [notify(NotifyType.ADDITIONAL_IP4_ADDRESS, bytes((10, 0, 0, number))) for number in range(1, 40)]
    sealed(a, network, [notify(NotifyType.ADDITIONAL_IP6_ADDRESS, b"short"), *many], path)
    mobility = established(b)[0].mobility
    assert mobility is not None
    assert mobility.theirs == tuple(f"10.0.0.{number}" for number in range(1, 9))
    sealed(a, network, [notify(NotifyType.NO_ADDITIONAL_ADDRESSES)], path)
    assert mobility.theirs == ()


def test_without_nat_traversal_no_router_may_change_addresses() -> None:
    """RFC 4555 3.9: the update goes with the addresses it was sent from and to."""
    network, a, b = ends()
    for host in (a, b):
        established(host)[0].nat = Nat()
    network.move(a, "198.51.100.7")
    network.run(1)
    assert outer(b) == {("192.0.2.2", "198.51.100.7", None)}
    network.nat["192.168.1.5"] = ("203.0.113.9", 0)
    (before,) = established(a)
    network.move(a, "192.168.1.5")
    network.run(0.5)
    assert "UNEXPECTED_NAT_DETECTED" in before.reason
