"""An IKE SA by which its peer can have no CHILD_SA: it does not stand for ever, and who wants an address asks again."""

from dataclasses import replace
from itertools import pairwise

import pytest

from gateway.ike import fruitless, reasons
from gateway.ike.effects import Left
from gateway.ike.sa import Lifecycle
from gateway.policy.peers import Child, Start
from gateway.policy.pools import Pool
from gateway.policy.snapshot import Snapshot
from tests.simulation.kinds import nets
from tests.simulation.network import ESP, Host, Network, psk
from tests.simulation.test_radius_addresses import road
from tests.simulation.test_virtual_addresses import (
    GATE,
    HOME,
    addresses,
    configure_gate,
    device,
    device_peer,
    gate_peer,
    gateway,
    sas,
)

SINGLE = Pool("office", ("10.9.0.8/32",))
LAN = Child("lan", nets("10.1.0.0/24"), nets("10.7.0.0/24"), ESP, Start.PASSIVE)


def closed(host: Host) -> list[str]:
    return [str(event.data["why"]) for event in host.events if event.kind == "ike-sa.closed"]


def waits_of(host: Host) -> list[float]:
    began = [one.started for one in reversed(host.engine.core.attempts.latest(50)) if one.cause == "no-address"]
    return [later - earlier for earlier, later in pairwise(began)]


def test_a_refused_framed_address_does_not_keep_the_ike_sa() -> None:
    network, a, b = road(71, ("10.4.0.0/24", "fd03::/64"))
    a.engine.core.timers.cancel(("retry", "right"))  # a peer that waits, as others do
    (sa,) = sas(b)
    assert sa.visit is not None and not sa.children
    assert fruitless.why(sa).startswith("the RADIUS server says 10.3.0.77 for anna, which no pool of left has")
    network.run(fruitless.PATIENCE + 5)
    (left,) = [one for one in b.visits if isinstance(one, Left) and one.visit is sa.visit]
    assert left.why == reasons.FRUITLESS.format(refusal=sa.refusal)
    assert left.why in closed(b) and sa.state is Lifecycle.CLOSED
    assert reasons.kind_of(left.why) is reasons.Kind.FAILURE


def test_who_found_the_pool_full_has_an_address_soon_after_there_is_one() -> None:
    network = Network(72)
    gate = gateway(network, SINGLE)
    first, second = device(network, 1), device(network, 2)
    network.run(100)
    with_one, without = sorted((first, second), key=lambda one: not one.plane.addresses())
    assert not without.plane.addresses()
    network.perform(with_one, with_one.engine.stop(network.now))
    network.run(250)
    assert addresses(without) == ("10.9.0.8",)
    assert [sa.remote_id for sa in sas(gate)] == [sas(without)[0].local_id]
    waits = waits_of(without)
    assert len(waits) >= 4 and all(later > earlier for earlier, later in pairwise(waits))


def test_a_peer_that_was_refused_one_child_asks_for_another_when_it_likes() -> None:
    network = Network(73)
    gate = network.host("gate", GATE)
    plain = gate_peer()
    of_gate = replace(plain, children=(*plain.children, LAN))
    network.apply(gate, Snapshot.build(1, [of_gate], [psk()], pools=[SINGLE]))
    one = device(network, 1)
    of_device = replace(
        device_peer("user1"),
        virtual_ip=False,
        children=(
            Child("net", nets("10.8.0.0/24"), nets(HOME[0]), ESP),
            replace(LAN, local=LAN.remote, remote=LAN.local),
        ),
    )
    network.apply(one, Snapshot.build(2, [of_device], [psk()]))
    network.run(1)
    (sa,) = sas(gate)
    assert not sa.children and fruitless.why(sa)
    network.run(4 * fruitless.PATIENCE)
    assert sas(gate) == [sa]
    network.perform(one, one.engine.connect("gate", "lan", network.now)[1])
    network.run(1)
    assert [child.name for child in sa.children.values()] == ["lan"] and not fruitless.why(sa)
    network.run(4 * fruitless.PATIENCE)
    assert sas(gate) == [sa] and sa.children


@pytest.mark.parametrize("rekeyed", [False, True])
def test_the_minute_goes_on_over_a_rekey(rekeyed: bool) -> None:
    network = Network(74)
    gate = gateway(network, Pool("elsewhere", ("10.9.0.0/24",)))
    one = device(network, 1)
    network.run(1)
    one.engine.core.timers.cancel(("retry", "gate"))
    (sa,) = sas(gate)
    if rekeyed:
        network.perform(gate, gate.engine.rekey("people", None, network.now)[1])
        network.run(1)
        assert sa.replaced_by is not None and fruitless.why(sa.replaced_by)
        one.engine.core.timers.cancel(("retry", "gate"))
    network.run(fruitless.PATIENCE - 5)
    (sa,) = sas(gate)
    network.run(10)
    assert sa.state is Lifecycle.CLOSED and closed(gate) == [reasons.FRUITLESS.format(refusal=sa.refusal)]


def test_an_address_that_there_is_meanwhile_changes_nothing_for_who_cannot_ask() -> None:
    network = Network(75)
    gate = gateway(network, Pool("elsewhere", ("10.9.0.0/24",)))
    one = device(network, 1)
    network.run(1)
    one.engine.core.timers.cancel(("retry", "gate"))
    configure_gate(network, gate, SINGLE)
    network.run(fruitless.PATIENCE + 20)
    assert addresses(one) == ("10.9.0.8",)


def test_an_ike_sa_that_was_to_have_no_child_stands() -> None:
    network = Network(76)
    gate = gateway(network)
    one = network.host("device1", "198.51.0.2")
    alone = replace(device_peer("user1"), virtual_ip=False, childless=True, children=())
    network.apply(one, Snapshot.build(1, [alone], [psk()]))
    network.perform(one, one.engine.connect("gate", None, network.now)[1])
    network.run(5 * fruitless.PATIENCE)
    (sa,) = sas(gate)
    assert sa.state is Lifecycle.ESTABLISHED and not fruitless.why(sa)


def test_a_child_that_was_idle_leaves_its_ike_sa_standing() -> None:
    network = Network(77)
    gate = network.host("gate", GATE)
    plain = gate_peer()
    child = replace(plain.children[0], idle_timeout=20.0)
    network.apply(gate, Snapshot.build(1, [replace(plain, children=(child,))], [psk()], pools=[SINGLE]))
    one = device(network, 1)
    of_device = device_peer("user1")
    on_demand = replace(of_device.children[0], start=Start.ON_DEMAND)
    network.apply(one, Snapshot.build(2, [replace(of_device, children=(on_demand,))], [psk()]))
    network.perform(one, one.engine.connect("gate", None, network.now)[1])
    network.run(5 * fruitless.PATIENCE)
    (sa,) = sas(gate)
    assert not sa.children and not fruitless.why(sa)
