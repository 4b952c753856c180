"""Virtual addresses with strongSwan, which calls us from anywhere or is called by us (RFC 7296 2.19)."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from tests.interop.tunnels import Net, Pair, Tunnel, text_of
from tests.lab.appliance import Plain, until

HOME = ("10.1.0.0/24", "fd01::/64")
POOL: Plain = {
    "name": "people",
    "networks": ["10.99.0.0/24", "fd00:99::/64"],
    "dns": ["10.1.0.53", "fd01::53"],
    "domains": ["corp.example"],
    "reservations": [{"identity": "boss@people.lab", "address": "10.99.0.77"}],
}


def warrior(name: str, identity: str, *, unique: str = "replace", **theirs: Any) -> Tunnel:
    """One strongSwan that asks for an address of each version, and for all our networks."""
    net = Net(
        left=HOME,
        right=(),
        ours={"remote_selectors": [], "start": "passive"},
        theirs={"local_ts": "dynamic", "start_action": "none"},
    )
    return Tunnel(
        name=name,
        left_id="gate.people.lab",
        right_id=identity,
        nets=(net,),
        ours={"remote_addresses": [], "pools": ["people"], "unique": unique},
        theirs={"vips": "0.0.0.0,::", **theirs},
    )


def load(
    pair: Pair,
    *wanted: Tunnel,
    pool: Plain = POOL,
    users: Sequence[Plain] = (),
    secrets: Mapping[str, Plain] | None = None,
) -> None:
    sections = {
        "connections": {tunnel.name: tunnel.connection() for tunnel in wanted},
        "secrets": {**{f"ike-{tunnel.name}": tunnel.their_psk() for tunnel in wanted}, **(secrets or {})},
    }
    pair.charon.load(text_of(sections))
    document = {
        "proposals": [one for tunnel in wanted for one in tunnel.proposals()],
        "peers": [tunnel.peer() for tunnel in wanted],
        "psks": [tunnel.psk() for tunnel in wanted],
        "pools": [pool],
        "users": list(users),
    }
    pair.gateway.apply(document, prune=True)


def their_addresses(pair: Pair, tunnel: Tunnel) -> list[str]:
    (sa,) = pair.theirs(tunnel)
    found: list[str] = sa["local-vips"]
    return found


def reached(pair: Pair, addresses: list[str]) -> bool:
    """Whether the road warrior reaches our network from its own addresses, and is reached at them."""
    hosts = {True: "fd01::1", False: "10.1.0.1"}
    return all(
        pair.right.ping(hosts[":" in address], source=address) and pair.left.ping(address, source=hosts[":" in address])
        for address in addresses
    )


def test_strongswan_gets_an_address_of_each_version(pair: Pair) -> None:
    tunnel = warrior("roams", "anna@people.lab")
    load(pair, tunnel)
    pair.up(tunnel, initiator="theirs")
    addresses = their_addresses(pair, tunnel)
    four, six = sorted(addresses, key=len)
    assert four.startswith("10.99.0.") and six.startswith("fd00:99::")
    (child,) = pair.gateway.children(tunnel.name)
    assert sorted(child["remote_selectors"]) == [f"{four}/32", f"{six}/128"]
    assert reached(pair, addresses)
    servers = (pair.charon.folder / "resolv.conf").read_text()
    assert "10.1.0.53" in servers and "fd01::53" in servers
    pair.down(tunnel, initiator="theirs")
    pair.up(tunnel, initiator="theirs")
    assert their_addresses(pair, tunnel) == addresses
    pair.down(tunnel)


def test_a_fixed_address_outlives_rekeys(pair: Pair) -> None:
    tunnel = warrior("boss", "boss@people.lab")
    load(pair, tunnel)
    pair.up(tunnel, initiator="theirs")
    addresses = their_addresses(pair, tunnel)
    assert "10.99.0.77" in addresses
    pair.renew(tunnel, initiator="theirs")
    pair.renew(tunnel, initiator="ours", net=tunnel.nets[0])
    assert their_addresses(pair, tunnel) == addresses
    assert reached(pair, addresses)
    pair.down(tunnel)


def test_a_user_has_his_fixed_addresses(pair: Pair) -> None:
    """By EAP; and split DNS is told to who asks for it, which strongSwan never does (RFC 8598 3.1)."""
    login, password = "anna@people.lab", "open sesame"
    local = {"auth": "eap-mschapv2", "eap_id": login, "id": "laptop.lab"}
    tunnel = warrior("user", "laptop.lab", local=local)
    tunnel = replace(tunnel, ours={**tunnel.ours, "remote_id": "%any", "remote_auth": [{"method": "eap"}]})
    fixed = ["10.99.0.9", "fd00:99::9"]
    user = {"name": "anna", "login": login, "password": password, "addresses": fixed}
    load(pair, tunnel, users=[user], secrets={"eap-anna": {"id": login, "secret": password}})
    before = len(pair.charon.log())
    pair.up(tunnel, initiator="theirs")
    assert sorted(their_addresses(pair, tunnel)) == fixed
    (ours,) = pair.gateway.ike_sas(tunnel.name)
    assert (ours["user"], sorted(ours["leased"])) == (login, fixed)
    assert reached(pair, fixed)
    told = pair.charon.log()[before:]
    assert "CPRQ(ADDR ADDR6 DNS DNS6)" in told and "CPRP(ADDR ADDR6 DNS DNS6)" in told, told
    pair.down(tunnel)


def test_a_reauthentication_before_the_old_one_ends_keeps_the_address(pair: Pair) -> None:
    tunnel = warrior("again", "carl@people.lab", unique="never")
    load(pair, tunnel)
    pair.up(tunnel, initiator="theirs")
    addresses = their_addresses(pair, tunnel)
    before = pair.theirs(tunnel)[0]["responder-spi"]
    pair.charon.request("rekey", {"ike": tunnel.name, "reauth": "yes"})
    until(
        lambda: [(sa["responder-spi"] != before, sa["state"]) for sa in pair.theirs(tunnel)] == [(True, "ESTABLISHED")],
        "it was authenticated again",
        seconds=30,
    )
    until(lambda: len(pair.their_children(tunnel)) == 1, "one child stands")
    assert sorted(their_addresses(pair, tunnel)) == sorted(addresses)
    assert reached(pair, addresses)
    pair.down(tunnel)


def test_who_asks_for_none_is_told_so(pair: Pair) -> None:
    tunnel = warrior("none", "none@people.lab", vips="")
    load(pair, tunnel)
    with pytest.raises(Exception, match="none"):
        pair.charon.initiate(tunnel.child_name(tunnel.nets[0]))
    attempt = pair.gateway.attempt(tunnel.name)
    assert (attempt["cause"], attempt["notify"]) == ("no-address-asked", 37)
    assert "FAILED_CP_REQ" in pair.charon.tail(60)


def test_a_full_pool_is_told(pair: Pair) -> None:
    first, second = warrior("first", "first@people.lab"), warrior("second", "second@people.lab")
    load(pair, first, second, pool={"name": "people", "networks": ["10.98.0.1/32"]})
    pair.up(first, initiator="theirs")
    with pytest.raises(Exception, match="second"):
        pair.charon.initiate(second.child_name(second.nets[0]))
    attempt = pair.gateway.attempt(second.name)
    assert attempt["cause"] == "no-address"
    assert "people (IPv4: 1) is full" in attempt["reason"]
    assert "INT_ADDR_FAIL" in pair.charon.tail(60)
    pair.down(first)


# --- the other way: we are the road warrior ---


def away(name: str, four: str, six: str) -> Tunnel:
    """We ask for an address of each version, and both networks of theirs; loaded at both ends are these two pools."""
    net = Net(
        left=(),
        right=("10.2.0.0/24", "fd02::/64"),
        ours={"local_selectors": [], "start": "passive"},
        theirs={"remote_ts": "dynamic", "local_ts": "10.2.0.0/24,fd02::/64"},
    )
    return Tunnel(name=name, nets=(net,), ours={"virtual_ip": True}, theirs={"pools": f"{four},{six}"})


def load_away(pair: Pair, tunnel: Tunnel, pools: Mapping[str, Plain]) -> None:
    sections = {
        "connections": {tunnel.name: tunnel.connection()},
        "secrets": {f"ike-{tunnel.name}": tunnel.their_psk()},
        "pools": pools,
    }
    pair.charon.load(text_of(sections))
    pair.gateway.apply({"proposals": tunnel.proposals(), "peers": [tunnel.peer()], "psks": [tunnel.psk()]}, prune=True)


def test_strongswan_gives_us_an_address(pair: Pair) -> None:
    tunnel = away("away", "four", "six")
    four, six = {"addrs": "10.97.0.5/32", "dns": "10.2.0.53"}, {"addrs": "fd00:97::5/128"}
    load_away(pair, tunnel, {"four": four, "six": six})
    pair.up(tunnel, initiator="ours")
    (child,) = pair.gateway.children(tunnel.name)
    assert sorted(child["local_selectors"]) == ["10.97.0.5/32", "fd00:97::5/128"]
    assert pair.left.ping("10.2.0.1", source="10.97.0.5") and pair.left.ping("fd02::1", source="fd00:97::5")
    assert pair.left.ping("10.2.0.1"), "our own packets leave from the address that we were given"
    pair.down(tunnel)
    assert "10.97.0.5" not in pair.left.run("ip", "address").stdout


def test_strongswan_tells_us_of_split_dns_and_keeps_our_addresses(pair: Pair) -> None:
    """Its plugin attr tells any attribute, here number 25, INTERNAL_DNS_DOMAIN (RFC 8598 4.1)."""
    pair.charon.configure("plugins {\n  attr {\n    25 = corp.example, lab.example\n  }\n}")
    tunnel = away("names", "four-names", "six-names")
    four, six = {"addrs": "10.96.0.0/24", "dns": "10.2.0.53"}, {"addrs": "fd00:96::/64", "dns": "fd02::53"}
    load_away(pair, tunnel, {"four-names": four, "six-names": six})

    def told() -> tuple[list[str], ...]:
        (sa,) = pair.gateway.ike_sas(tunnel.name)
        return sa["lent"], sa["dns"], sa["domains"]

    pair.up(tunnel, initiator="ours")
    first = told()
    assert first[1:] == (["10.2.0.53", "fd02::53"], ["corp.example", "lab.example"])
    assert first[0][0].startswith("10.96.0.") and first[0][1].startswith("fd00:96::")
    assert pair.left.ping("10.2.0.1", source=first[0][0]) and pair.left.ping("fd02::1", source=first[0][1])
    pair.renew(tunnel, initiator="ours")
    assert told() == first
    pair.down(tunnel)
    pair.up(tunnel, initiator="ours")
    assert told() == first, "they are the same for us when we come back"
    pair.down(tunnel)
