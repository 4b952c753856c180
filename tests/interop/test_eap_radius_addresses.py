"""The RADIUS server says which virtual addresses a user has (RFC 2865 5.8, RFC 6911 3.1); strongSwan is the user."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.interop.eap_ends import give_files
from tests.interop.planes import userspace_only
from tests.interop.radius_ends import load_user, passed_through, radius_in
from tests.interop.test_refusals import failed
from tests.interop.test_road_warrior import HOME, reached, their_addresses
from tests.interop.tunnels import Net, Pair, Tunnel
from tests.lab.appliance import until
from tests.lab.freeradius import FreeRadius

pytestmark = [userspace_only, pytest.mark.requires("freeradius")]


@pytest.fixture(scope="module", autouse=True)
def radius(pair: Pair, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FreeRadius]:
    give_files(pair, tmp_path_factory.mktemp("certificates"))
    yield from radius_in(pair.left, tmp_path_factory.mktemp("radius"))


def loaded(pair: Pair, radius: FreeRadius, name: str, *networks: str) -> Tunnel:
    """A road warrior whose addresses come from a pool of these networks."""
    tunnel = passed_through(name, {"auth": "eap-mschapv2", "eap_id": "fixed", "id": "laptop.lab"})
    net = Net(left=HOME, right=(), ours={"remote_selectors": []}, theirs={"local_ts": "dynamic"})
    ours = {**tunnel.ours, "remote_addresses": [], "pools": ["people"]}
    tunnel = replace(tunnel, nets=(net,), ours=ours, theirs={**tunnel.theirs, "vips": "0.0.0.0,::"})
    load_user(pair, tunnel, radius, "fixed", pools=[{"name": "people", "networks": list(networks)}])
    return tunnel


def test_a_user_has_the_addresses_that_the_server_says(pair: Pair, radius: FreeRadius) -> None:
    tunnel = loaded(pair, radius, "radius-fixed", "10.99.0.0/24", "fd00:99::/64")
    before = len(radius.accounted())
    pair.up(tunnel, initiator="theirs")
    addresses = ["10.99.0.77", "fd00:99::77"]
    assert sorted(their_addresses(pair, tunnel)) == addresses
    assert reached(pair, addresses)

    def begun() -> list[dict[str, str]]:
        return [one for one in radius.accounted()[before:] if one["Acct-Status-Type"] == "Start"]

    (start,) = until(begun, "an accounting record")
    assert start["User-Name"] == "fixed"
    assert [start[kind] for kind in ("Framed-IP-Address", "Framed-IPv6-Address")] == addresses
    pair.down(tunnel)


def test_an_address_that_no_pool_has_keeps_out(pair: Pair, radius: FreeRadius) -> None:
    """Another one would not be what the server decided about."""
    tunnel = loaded(pair, radius, "radius-outside", "10.98.0.0/24", "fd00:99::/64")
    attempt = failed(pair, tunnel, "theirs", charon_says="INT_ADDR_FAIL")
    assert (attempt["cause"], attempt["notify"]) == ("no-address", 36)
    assert attempt["reason"].startswith(
        "the RADIUS server says 10.99.0.77 for fixed, which no pool of radius-outside has"
    )
