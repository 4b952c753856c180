"""Virtual addresses of ours on a device of a network namespace, and what others do to them."""

from collections.abc import Iterator

import pytest

from gateway.dataplane.addresses import Addresses
from gateway.dataplane.netlink import Request
from tests.lab.namespaces import Namespace, Network

pytestmark = pytest.mark.requires("root", "netns")

LOOPBACK = 1
MANY = [f"10.9.{number // 250}.{number % 250 + 1}" for number in range(300)]


@pytest.fixture
def gate() -> Iterator[Namespace]:
    with Network() as network:
        found = network.namespace("gate")
        found.run("ip", "link", "set", "lo", "up")
        yield found


@pytest.fixture
def held(gate: Namespace) -> Iterator[Addresses]:
    with gate.entered():
        made = Addresses(LOOPBACK)
    yield made
    made.close()


def there(gate: Namespace) -> str:
    return gate.run("ip", "address", "show", "dev", "lo").stdout


def test_what_somebody_removed_is_set_again_and_the_rest_let_be(
    gate: Namespace, held: Addresses, monkeypatch: pytest.MonkeyPatch
) -> None:
    for address in (*MANY, "fd00::7"):
        held.add(address)
    sent: list[int] = []
    send = held._netlink.send

    def counting(requests: list[Request]) -> object:
        sent.append(len(requests))
        return send(requests)

    monkeypatch.setattr(held._netlink, "send", counting)
    assert held.put_back() == 0
    assert sum(sent) == 0, "what is there is not asked for again"
    for address in ("10.9.0.1/32", "10.9.1.7/32", "fd00::7/128"):
        gate.run("ip", "address", "delete", address, "dev", "lo")
    assert held.put_back() == 3
    assert sum(sent) == 3
    assert "10.9.0.1/32" in there(gate) and "10.9.1.7/32" in there(gate) and "fd00::7/128" in there(gate)
    gate.run("ip", "-4", "address", "flush", "dev", "lo")
    assert held.put_back() == len(MANY)
    assert there(gate).count("10.9.") == len(MANY)


def test_an_address_of_another_device_is_none_of_ours(gate: Namespace, held: Addresses) -> None:
    held.add("10.9.0.1")
    gate.run("ip", "link", "add", "other", "type", "veth", "peer", "name", "yonder")
    gate.run("ip", "address", "delete", "10.9.0.1/32", "dev", "lo")
    gate.run("ip", "address", "add", "10.9.0.1/32", "dev", "other")
    assert held.put_back() == 1
    assert "10.9.0.1/32" in there(gate)
