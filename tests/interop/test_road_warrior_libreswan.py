"""Virtual addresses and split DNS with libreswan 5, which asks for domains, and tells them (RFC 8598)."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack

import pytest

from tests.interop.test_libreswan import Ends
from tests.interop.tunnels import HOSTS, INNER, OUTER, SECRET, Net, Tunnel
from tests.lab.appliance import Appliance, Plain
from tests.lab.libreswan5 import Libreswan5
from tests.lab.namespaces import Network, two_sites

pytestmark = [pytest.mark.in_kernel, pytest.mark.requires("root", "netns", "esp", "libreswan5", "ping")]

IKE, ESP = "aes256gcm16-prfsha512-ecp256", "aes256gcm16"
HERE, THERE = HOSTS[4]
DOMAINS = ["corp.example", "lab.example"]


@pytest.fixture(scope="module")
def ends(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ends]:
    folder = tmp_path_factory.mktemp("libreswan5")
    with ExitStack() as stack:
        left, right = two_sites(stack.enter_context(Network()))
        right.route(INNER[4][0], "via", OUTER[4][0])  # pluto's own script is not run
        pluto = stack.enter_context(Libreswan5(right, folder / "pluto"))
        gateway = stack.enter_context(Appliance(left, folder / "gateway", "kernel"))
        yield Ends(left, right, gateway, pluto)


def load(ends: Ends, tunnel: Tunnel, theirs: Mapping[str, str], **ours: list[Plain]) -> None:
    left, right = tunnel.ids()
    connection = {
        "left": OUTER[4][1],
        "leftid": f"@{right}",
        "right": OUTER[4][0],
        "rightid": f"@{left}",
        "ike": "aes_gcm256-sha2_512;dh19",
        "esp": "aes_gcm256",
        "auto": "add",
        **theirs,
    }
    ends.pluto.load({tunnel.name: connection}, f'@{right} @{left} : PSK "{SECRET}"')
    document = {"proposals": tunnel.proposals(), "peers": [tunnel.peer()], "psks": [tunnel.psk()], **ours}
    ends.gateway.apply(document, prune=True)


def test_libreswan_gets_an_address_and_is_told_of_split_dns(ends: Ends) -> None:
    net = Net(esp=ESP, right=(), ours={"remote_selectors": []})
    tunnel = Tunnel(name="roams", ike=IKE, nets=(net,), ours={"remote_addresses": [], "pools": ["people"]})
    pool = {"name": "people", "networks": ["10.99.0.7/32"], "dns": ["10.1.0.53"], "domains": DOMAINS}
    asks = {"leftmodecfgclient": "yes", "leftsubnet": "0.0.0.0/0", "narrowing": "yes"}
    load(ends, tunnel, {**asks, "rightsubnet": INNER[4][0]}, pools=[pool])
    ends.up(tunnel, "theirs")
    log = ends.pluto.log()
    assert "received INTERNAL_IP4_ADDRESS 10.99.0.7" in log and "received INTERNAL_IP4_DNS 10.1.0.53" in log
    assert all(f"received INTERNAL_DNS_DOMAIN: {domain}" in log for domain in DOMAINS)
    (sa,) = ends.gateway.ike_sas(tunnel.name)
    assert sa["leased"] == ["10.99.0.7"]
    ends.right.ip("address", "add", "10.99.0.7/32", "dev", "lo")  # as its script would
    assert ends.right.ping(HERE, source="10.99.0.7", count=2) and ends.left.ping("10.99.0.7", source=HERE, count=2)
    ends.down(tunnel, "theirs")
    ends.pluto.whack("--name", tunnel.name, "--delete")


def test_libreswan_gives_us_an_address_and_tells_us_of_split_dns(ends: Ends) -> None:
    net = Net(esp=ESP, left=(), ours={"local_selectors": []})
    tunnel = Tunnel(name="away", ike=IKE, nets=(net,), ours={"virtual_ip": True})
    theirs = {
        "leftsubnet": INNER[4][1],
        "leftmodecfgserver": "yes",
        "rightmodecfgclient": "yes",
        "rightaddresspool": "10.97.0.5-10.97.0.5",
        "modecfgdns": "10.2.0.53",
        "modecfgdomains": '"corp.example, lab.example"',
        "narrowing": "yes",
    }
    load(ends, tunnel, theirs)
    ends.up(tunnel, "ours")
    (sa,) = ends.gateway.ike_sas(tunnel.name)
    assert (sa["lent"], sa["dns"], sa["domains"]) == (["10.97.0.5"], ["10.2.0.53"], DOMAINS)
    ends.right.route("10.97.0.5", "via", OUTER[4][0], "src", THERE)
    assert ends.left.ping(THERE, source="10.97.0.5", count=2) and ends.right.ping("10.97.0.5", source=THERE, count=2)
    ends.down(tunnel, "ours")
    ends.pluto.whack("--name", tunnel.name, "--delete")
