"""The virtual addresses that a RADIUS server says a user has (RFC 2865 5.8)."""

from dataclasses import replace

import pytest

from gateway.policy.peers import Child, Start
from gateway.policy.pools import Pool
from gateway.policy.snapshot import Snapshot
from gateway.wire.numbers import NotifyType
from tests.simulation.eap_scenes import established
from tests.simulation.kinds import nets, texts
from tests.simulation.network import ESP, Host, Network, psk
from tests.simulation.test_radius import Radius, radius_scene

SAID = ("10.3.0.77", "fd03::77")


def road(seed: int, networks: tuple[str, ...], said: tuple[str, ...] = SAID) -> tuple[Network, Host, Host]:
    """`a` asks `b` for an address of each version; `b` has a pool of these networks."""
    network = Network(seed)
    a, b = radius_scene(network, Radius(addresses=said))
    (caller,), (called,) = a.engine.core.snapshot.peers.values(), b.engine.core.snapshot.peers.values()
    caller = replace(caller, children=(Child("net", (), nets("10.2.0.0/24"), ESP),), virtual_ip=True)
    called = replace(called, children=(Child("net", nets("10.2.0.0/24"), (), ESP, Start.PASSIVE),), pools=("road",))
    network.apply(b, Snapshot.build(2, [called], [psk()], pools=[Pool("road", networks)]))
    network.apply(a, Snapshot.build(2, [caller], [psk()]))
    network.run(40)  # what began under the first configuration is over by then
    return network, a, b


def test_the_user_has_them() -> None:
    network, a, b = road(51, ("10.3.0.0/24", "fd03::/64"))
    assert established(a).virtual == SAID
    (child,) = established(b).children.values()
    assert texts(child.remote) == ["10.3.0.77/32"]
    network.perform(b, b.engine.rekey("left", None, network.now)[1])
    network.run(5)
    assert tuple(lease.address for lease in established(b).leases) == SAID


def test_of_what_the_server_does_not_say_the_pool_decides() -> None:
    _, a, _ = road(52, ("10.3.0.0/24", "fd03::/64"), SAID[1:])
    assert established(a).virtual == ("10.3.0.1", "fd03::77")


@pytest.mark.parametrize(
    ("networks", "said"),
    [
        (("10.4.0.0/24", "fd03::/64"), "10.3.0.77 for anna, which no pool of left has"),
        (("10.3.0.0/24", "fd04::/64"), "fd03::77 for anna, which no pool of left has"),
        (("10.3.0.0/24",), "fd03::77 for anna, which no pool of left has"),
    ],
)
def test_no_other_one_is_given_in_place_of_it(networks: tuple[str, ...], said: str) -> None:
    network, a, b = road(53, networks)
    found = next(one for one in b.engine.core.attempts.latest(20) if one.cause == "no-address")
    assert found.notify == NotifyType.INTERNAL_ADDRESS_FAILURE
    assert found.reason == f"the RADIUS server says {said} (INTERNAL_ADDRESS_FAILURE)"
    assert not a.plane.addresses() and not b.protecting()
    network.perform(a, a.engine.stop(network.now))
    network.run(60)
    assert all(lease.released is not None for lease in b.engine.core.extensions.leases.all())
