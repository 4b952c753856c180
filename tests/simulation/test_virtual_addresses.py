"""Virtual addresses for who calls from anywhere (RFC 7296 2.19, RFC 8598), between real engines."""

from dataclasses import replace
from typing import Any

import pytest

from gateway.dataplane.memory import MemoryPlane
from gateway.ike.attempts import Attempt
from gateway.ike.effects import Leased
from gateway.ike.engine import Engine
from gateway.ike.plane import Direction
from gateway.ike.sa import IkeSa, Lifecycle
from gateway.policy.identities import Identity
from gateway.policy.name_service import NameService
from gateway.policy.peers import Child, Peer, Start, Unique
from gateway.policy.pools import Lease, Pool, Reservation
from gateway.policy.snapshot import Snapshot
from gateway.wire import payloads as wire
from gateway.wire.numbers import CfgAttribute, CfgType, ExchangeType
from tests.simulation.kinds import nets, texts
from tests.simulation.network import ESP, Host, Network, Weather, peer, psk

GATE = "192.0.2.1"
OFFICE = Pool(
    "office",
    ("10.9.0.0/24", "fd00:9::/64"),
    dns=("10.1.0.53", "fd01::53"),
    nbns=("10.1.0.137",),
    domains=("corp.example", "lab.example"),
)
HOME = ("10.1.0.0/24", "fd01::/64")


def gate_peer(**more: Any) -> Peer:
    base = peer("people", me="gate.example", them="*@people.example", remote=None)
    child = Child("net", nets(*HOME), (), ESP, Start.PASSIVE)
    return replace(base, children=(child,), pools=("office",), **more)


def device_peer(name: str, **more: Any) -> Peer:
    child = Child("net", (), nets("0.0.0.0/0", "::/0"), ESP)
    base = peer("gate", me=f"{name}@people.example", them="gate.example", remote=GATE)
    return replace(base, children=(child,), virtual_ip=True, **more)


def gateway(network: Network, *pools: Pool, **more: Any) -> Host:
    gate = network.host("gate", GATE)
    configure_gate(network, gate, *(pools or (OFFICE,)), **more)
    return gate


def configure_gate(network: Network, gate: Host, *pools: Pool, **more: Any) -> None:
    snapshot = Snapshot.build(network.random.getrandbits(30), [gate_peer(**more)], [psk()], pools=pools)
    network.apply(gate, snapshot)


def device(network: Network, number: int, name: str = "", **more: Any) -> Host:
    host = network.host(f"device{number}", f"198.51.{number // 250}.{number % 250 + 1}")
    one = device_peer(name or f"user{number}", **more)
    network.apply(host, Snapshot.build(1, [one], [psk()]))
    return host


def sas(host: Host) -> list[IkeSa]:
    return [sa for sa in host.engine.ike_sas() if sa.state is Lifecycle.ESTABLISHED]


def addresses(host: Host) -> tuple[str, ...]:
    """What a device was given: in its data plane, and nothing else in its child's selectors."""
    (sa,) = sas(host)
    (child,) = sa.children.values()
    assert [selector.text.partition("/")[0] for selector in child.local] == list(sa.virtual)
    assert host.plane.addresses() == sa.virtual
    return sa.virtual


def told_to(network: Network, gate: Host, one: Host) -> wire.CP:
    """What the gateway tells a device, which calls now, of its addresses and of what goes with them."""
    network.holding = True
    network.run(1)
    network.deliver(network.take(one, ExchangeType.IKE_SA_INIT))
    network.deliver(network.take(gate, ExchangeType.IKE_SA_INIT, response=True))
    network.deliver(network.take(one, ExchangeType.IKE_AUTH))
    return network.read(network.take(gate, ExchangeType.IKE_AUTH, response=True)).one(wire.CP)


def failure(host: Host) -> Attempt:
    return next(one for one in host.engine.core.attempts.latest(5) if one.cause)


def test_a_device_gets_an_address_of_each_version_and_a_child_for_these() -> None:
    network = Network(1)
    gate, one = gateway(network), device(network, 1)
    network.run(1)
    assert addresses(one) == ("10.9.0.1", "fd00:9::1")
    (sa,) = sas(gate)
    (child,) = sa.children.values()
    assert texts(child.remote) == ["10.9.0.1/32", "fd00:9::1/128"]
    assert texts(child.local) == list(HOME)
    assert [route.destination.text for route in gate.plane.routes()] == ["10.9.0.1/32", "fd00:9::1/128"]


def test_what_goes_with_the_addresses_is_told_to_who_asks() -> None:
    network = Network(2)
    gate, one = gateway(network), device(network, 1)
    reply = told_to(network, gate, one)
    assert reply.cfg_type == CfgType.CFG_REPLY
    assert [(attribute.type, attribute.value) for attribute in reply.attributes] == [
        (CfgAttribute.INTERNAL_IP4_ADDRESS, bytes((10, 9, 0, 1))),
        (CfgAttribute.INTERNAL_IP6_ADDRESS, bytes.fromhex("fd000009000000000000000000000001 80")),
        (CfgAttribute.INTERNAL_IP4_DNS, bytes((10, 1, 0, 53))),
        (CfgAttribute.INTERNAL_IP6_DNS, bytes.fromhex("fd010000000000000000000000000053")),
        (CfgAttribute.INTERNAL_DNS_DOMAIN, b"corp.example"),
        (CfgAttribute.INTERNAL_DNS_DOMAIN, b"lab.example"),
    ]


def test_what_the_gateway_tells_of_dns_is_known_and_outlives_a_rekey() -> None:
    network = Network(12)
    gateway(network)
    one = device(network, 1)
    network.run(1)
    (sa,) = sas(one)
    told = NameService(("10.1.0.53", "fd01::53"), ("corp.example", "lab.example"))
    assert sa.name_service == told
    network.perform(one, one.engine.rekey("gate", None, network.now)[1])
    network.run(1)
    (new,) = sas(one)
    assert new is not sa and new.name_service == told


def test_a_hundred_devices_get_a_hundred_addresses() -> None:
    network = Network(3)
    gate = gateway(network)
    devices = [device(network, number) for number in range(100)]
    network.run(3)
    given = [addresses(one) for one in devices]
    assert len(set(given)) == 100
    assert len({policy.reqid for policy in gate.protecting()}) == 100  # none is let in as another
    assert len(sas(gate)) == 100


def test_who_comes_back_has_the_same_address() -> None:
    network = Network(4)
    gate = gateway(network)
    first, second = device(network, 1), device(network, 2)
    network.run(1)
    given = addresses(first), addresses(second)
    for one in (first, second):
        network.perform(one, one.engine.disconnect("gate", None, network.now)[1])
    network.run(30)
    assert first.plane.addresses() == ()
    assert [lease.released is None for lease in gate.engine.core.extensions.leases.all()] == [False] * 4
    for one in (second, first):
        network.perform(one, one.engine.connect("gate", None, network.now)[1])
        network.run(1)
    assert (addresses(first), addresses(second)) == given


@pytest.mark.parametrize("unique", [Unique.REPLACE, Unique.NEVER])
def test_a_reauthentication_and_rekeys_keep_the_address(unique: Unique) -> None:
    network = Network(5)
    gate = gateway(network, unique=unique)
    one = device(network, 1, reauth_time=100.0, unique=unique)
    network.run(1)
    before = addresses(one)
    (first,) = sas(one)
    network.run(150)
    assert sas(one) != [first]
    assert addresses(one) == before
    network.perform(one, one.engine.rekey("gate", None, network.now)[1])
    network.perform(one, one.engine.rekey("gate", "net", network.now)[1])
    network.run(30)
    assert addresses(one) == before
    (sa,) = sas(gate)
    assert tuple(lease.address for lease in sa.leases) == before
    held = gate.engine.core.extensions.leases.all()
    assert [lease.address for lease in held if lease.released is None] == list(before)
    network.perform(one, one.engine.stop(network.now))
    network.run(30)
    assert all(lease.released is not None for lease in gate.engine.core.extensions.leases.all())
    assert one.plane.addresses() == ()


def test_two_devices_of_one_user_do_not_share_an_address() -> None:
    network = Network(6)
    gate = gateway(network, unique=Unique.NEVER)
    phone, laptop = (device(network, number, "anna", unique=Unique.NEVER) for number in (1, 2))
    network.run(1)
    assert addresses(phone) != addresses(laptop)
    assert len(sas(gate)) == 2


def test_leases_outlive_the_gateway() -> None:
    network = Network(7)
    gate = gateway(network)
    written: dict[tuple[str, str], Lease] = {}
    for number in (1, 2):
        device(network, number)
    perform = network.perform

    def keep(host: Host, effects: list[Any]) -> None:
        written.update({(one.lease.pool, one.lease.address): one.lease for one in effects if isinstance(one, Leased)})
        perform(host, effects)

    network.perform = keep  # type: ignore[method-assign]
    network.run(1)
    devices = [host for host in network.hosts.values() if host is not gate]
    before = [addresses(one) for one in devices]
    assert set(written) == {("office", address) for pair in before for address in pair}
    gate.plane = MemoryPlane(network.random.randbytes, remember=True)
    gate.engine = Engine(gate.plane, network.random.randbytes, leases=reversed(written.values()))
    configure_gate(network, gate, OFFICE)
    for one in reversed(devices):
        network.perform(one, one.engine.stop(network.now))
        network.run(60)
        network.perform(one, one.engine.connect("gate", None, network.now)[1])
        network.run(1)
    assert [addresses(one) for one in devices] == before


def test_a_reserved_address_is_given_and_taken_from_who_has_it() -> None:
    network = Network(8)
    gate = gateway(network)
    first, boss = device(network, 1), device(network, 2, "boss")
    network.run(1)
    assert (addresses(first)[0], addresses(boss)[0]) == ("10.9.0.1", "10.9.0.2")
    reserved = replace(OFFICE, reservations=(Reservation(Identity.parse("boss@people.example"), "10.9.0.1"),))
    configure_gate(network, gate, reserved)
    network.run(60)
    assert addresses(boss)[0] == "10.9.0.2"  # it keeps what it has until it comes again
    assert addresses(first)[0] == "10.9.0.3"
    network.perform(boss, boss.engine.disconnect("gate", None, network.now)[1])
    network.run(30)
    network.perform(boss, boss.engine.connect("gate", None, network.now)[1])
    network.run(1)
    assert addresses(boss)[0] == "10.9.0.1"


def test_a_full_pool_is_told_on_both_ends() -> None:
    network = Network(9)
    gate = gateway(network, Pool("office", ("10.9.0.8/31",)))
    devices = [device(network, number) for number in (1, 2, 3)]
    network.run(1)
    without = next(one for one in devices if one.plane.addresses() == ())
    assert len(gate.protecting()) == 2 * 3
    attempt = failure(gate)
    assert (attempt.cause, attempt.notify) == ("no-address", 36)
    assert "office (IPv4: 2) is full" in attempt.reason
    assert failure(without).cause == "no-address"
    assert not without.plane.states()


def test_a_pool_without_the_version_asked_for_is_told() -> None:
    network = Network(10)
    gate = gateway(network, Pool("elsewhere", ("10.9.0.0/24",)))
    device(network, 1)
    network.run(1)
    assert "no pool of people has IPv4 or IPv6 addresses: office" in failure(gate).reason


def test_who_asks_for_no_address_is_refused() -> None:
    network = Network(11)
    gate = gateway(network)
    one = device(network, 1)
    plain = peer("gate", me="user1@people.example", them="gate.example", remote=GATE)
    network.apply(one, Snapshot.build(2, [plain], [psk()]))
    network.run(1)
    attempt = failure(gate)
    assert (attempt.cause, attempt.notify) == ("no-address-asked", 37)
    assert failure(one).cause == "no-address"
    assert not gate.plane.states()


def test_who_gives_no_address_though_asked_gets_no_child() -> None:
    network = Network(12)
    gate = network.host("gate", GATE)
    plain = replace(gate_peer(), pools=(), children=peer("x", me="x", them="y", remote=None).children)
    network.apply(gate, Snapshot.build(1, [plain], [psk()]))
    one = device(network, 1)
    network.run(1)
    assert failure(one).cause in ("no-address", "networks")
    assert not one.plane.states() and one.plane.addresses() == ()


def test_no_device_gets_the_traffic_of_another_by_asking_for_it() -> None:
    network = Network(13)
    gate = gateway(network)
    first = device(network, 1)
    network.run(1)
    taken = addresses(first)
    thief = device(network, 2)
    thief.engine.core.extensions.lent["gate"] = taken
    network.run(1)
    network.perform(thief, thief.engine.connect("gate", None, network.now)[1])
    network.run(1)
    assert set(addresses(thief)).isdisjoint(taken)
    inward = [policy for policy in gate.plane.policies() if policy.direction is Direction.IN]
    by_source = {policy.source.text: policy.reqid for policy in inward}
    assert len(by_source) == len(set(by_source.values())) * 2


def test_a_device_that_moves_or_changes_its_pool_loses_nothing_of_others() -> None:
    network = Network(14)
    gate = gateway(network)
    first, second = device(network, 1), device(network, 2)
    network.run(1)
    narrowed = replace(OFFICE, networks=("10.9.0.2-10.9.0.200", "fd00:9::2-fd00:9::ffff"), description="changed")
    configure_gate(network, gate, narrowed)
    network.run(60)
    assert addresses(second) == ("10.9.0.2", "fd00:9::2")
    assert addresses(first) == ("10.9.0.3", "fd00:9::3")


def test_a_thousand_users_over_a_bad_network_never_share_an_address() -> None:
    """While others come, some lose their process and call anew, and some leave for good."""
    network = Network(60)
    gate = gateway(network, replace(OFFICE, networks=("10.9.0.0/21", "fd00:9::/64")))
    network.weather = Weather(loss=0.05, duplicate=0.1, delay=0.01, jitter=0.05)
    devices = []
    for number in range(1000):
        devices.append(device(network, number))
        if number % 10 == 9:
            network.run(0.5)
            again = number // 2
            network.reboot(devices[again], Snapshot.build(2, [device_peer(f"user{again}")], [psk()]))
        if number % 100 == 99:
            leaving = devices[number - 59]
            network.perform(leaving, leaving.engine.disconnect("gate", None, network.now)[1])
            assert_nobody_shares(gate)
    network.weather = Weather()
    network.run(60)
    held = assert_nobody_shares(gate)
    assert len(held) == 2 * (1000 - 10)
    assert sum(len(addresses(one)) for one in devices if sas(one)) == len(held)


def assert_nobody_shares(gate: Host) -> set[str]:
    """Each address is held for one identity alone; all of them."""
    found: dict[str, str] = {}
    for sa in sas(gate):
        for lease in sa.leases:
            assert found.setdefault(lease.address, str(sa.remote_id)) == str(sa.remote_id)
    return set(found)
