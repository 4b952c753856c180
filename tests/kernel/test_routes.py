"""Routes with the right source address, their rule, and that they come and go cleanly; no ESP is needed."""

import pytest

from gateway.ike.plane import AddRoute, Refused, RemoveRoute, Route
from gateway.policy.selectors import Selector
from tests.kernel.conftest import Site
from tests.lab.in_kernel import in_kernel

pytestmark = [in_kernel, pytest.mark.requires("root", "netns", "esp")]

TABLE = "7296"


def route(destination: str, *sources: str, remote: str = "192.0.2.2") -> Route:
    return Route(Selector.parse(destination), tuple(map(Selector.parse, sources)), remote)


def laid(site: Site, version: int = 4) -> set[str]:
    done = site.ns.run("ip", f"-{version}", "route", "show", "table", TABLE, check=False)
    return {" ".join(line.split()) for line in done.stdout.splitlines()}


def rules(site: Site, version: int = 4) -> list[str]:
    return [line for line in site.ns.ip(f"-{version}", "rule").splitlines() if f"lookup {TABLE}" in line]


def way(site: Site, target: str) -> str:
    return site.ns.run("ip", "route", "get", target, check=False).stdout


def test_a_route_starts_at_the_address_inside_the_sources(sites: tuple[Site, Site]) -> None:
    left = sites[0]
    wanted = route("10.2.0.0/24", "10.1.0.0/24")
    left.plane.apply([AddRoute(wanted)])
    # The cable's other end is on the link, so there is no gateway.
    assert "10.2.0.0/24 dev to-right proto 129 scope link src 10.1.0.1" in laid(left)
    assert rules(left) == ["220:\tfrom all lookup 7296 proto 129"]
    assert "src 10.1.0.1" in way(left, "10.2.0.7")
    left.plane.apply([RemoveRoute(wanted)])
    assert (laid(left), rules(left)) == (set(), [])


def test_the_next_hop_towards_the_peer_is_taken(sites: tuple[Site, Site]) -> None:
    left = sites[0]
    left.ns.route("203.0.113.0/24", "via", "192.0.2.7")
    left.ns.ip("-6", "route", "replace", "2001:db8:ffff::/48", "via", "2001:db8::7")
    first = route("10.2.0.0/24", "10.1.0.0/24", remote="203.0.113.5")
    second = route("fd02::/64", "fd01::/64", remote="2001:db8:ffff::5")
    left.plane.apply([AddRoute(first), AddRoute(second)])
    assert laid(left) == {
        "10.2.0.0/24 via 192.0.2.7 dev to-right proto 129 src 10.1.0.1 onlink",
        "throw 203.0.113.5 proto 129",
    }
    assert "fd02::/64 via 2001:db8::7 dev to-right proto 129 src fd01::1 metric 1024 onlink pref medium" in laid(
        left, 6
    )
    assert "src fd01::1" in way(left, "fd02::1")
    left.plane.apply([RemoveRoute(first), RemoveRoute(second)])
    assert (laid(left), laid(left, 6), rules(left), rules(left, 6)) == (set(), set(), [], [])
    left.ns.ip("route", "delete", "203.0.113.0/24")
    left.ns.ip("-6", "route", "delete", "2001:db8:ffff::/48")


@pytest.mark.parametrize(
    ("destination", "source", "remote"),
    [("10.2.0.0/24", "10.1.0.0/24", "2001:db8::2"), ("fd02::/64", "fd01::/64", "192.0.2.2")],
)
def test_a_peer_of_the_other_ip_version(sites: tuple[Site, Site], destination: str, source: str, remote: str) -> None:
    left = sites[0]
    wanted = route(destination, source, remote=remote)
    left.plane.apply([AddRoute(wanted)])
    version = wanted.destination.version
    assert any(line.startswith(f"{destination} dev to-right") for line in laid(left, version))
    left.plane.apply([RemoveRoute(wanted)])
    assert [laid(left, v) for v in (4, 6)] == [set(), set()]
    assert [rules(left, v) for v in (4, 6)] == [[], []]


@pytest.mark.parametrize("version", [4, 6])
def test_a_route_for_everything_spares_the_peer_and_our_own_side(sites: tuple[Site, Site], version: int) -> None:
    left = sites[0]
    default, source, remote, other = {
        4: ("0.0.0.0/0", "10.1.0.0/24", "192.0.2.2", "198.51.100.1"),
        6: ("::/0", "fd01::/64", "2001:db8::2", "2001:db8:9::1"),
    }[version]
    before = way(left, remote)
    wanted = route(default, source, remote=remote)
    left.plane.apply([AddRoute(wanted)])
    inside = "10.1.0.1" if version == 4 else "fd01::1"
    assert f"src {inside}" in way(left, other)
    assert way(left, remote).split("uid")[0] == before.split("uid")[0]
    assert f"throw {source} " in " ".join(laid(left, version)) + " "
    left.plane.apply([RemoveRoute(wanted)])
    assert (laid(left, version), rules(left, version)) == (set(), [])


def test_equal_routes_are_counted(sites: tuple[Site, Site]) -> None:
    left = sites[0]
    wanted = route("10.2.0.0/24", "10.1.0.0/24")
    left.plane.apply([AddRoute(wanted), AddRoute(wanted)])
    before = laid(left)
    left.plane.apply([RemoveRoute(wanted)])
    assert laid(left) == before
    left.plane.apply([RemoveRoute(wanted)])
    assert laid(left) == set()
    left.plane.apply([RemoveRoute(wanted)])


def test_two_peers_with_the_same_destination_take_turns(sites: tuple[Site, Site]) -> None:
    left = sites[0]
    left.ns.route("203.0.113.0/24", "via", "192.0.2.7")
    first, second = (route("10.2.0.0/24", "10.1.0.0/24", remote=r) for r in ("192.0.2.2", "203.0.113.5"))
    left.plane.apply([AddRoute(first), AddRoute(second)])
    assert "via 192.0.2.7" in way(left, "10.2.0.1")
    left.plane.apply([RemoveRoute(second)])
    assert "via" not in way(left, "10.2.0.1")
    assert "src 10.1.0.1" in way(left, "10.2.0.1")
    left.plane.apply([RemoveRoute(first)])
    assert laid(left) == set()
    left.ns.ip("route", "delete", "203.0.113.0/24")


def test_what_the_main_table_does_right_is_left_to_it(sites: tuple[Site, Site]) -> None:
    left = sites[0]
    left.ns.route("10.2.0.0/24", "via", "192.0.2.2", "src", "10.1.0.1")
    reachable, sourceless = route("10.2.0.0/24", "10.1.0.0/24"), route("10.2.0.0/24", "10.99.0.0/24")
    left.plane.apply([AddRoute(reachable), AddRoute(sourceless)])
    assert laid(left) == {"throw 192.0.2.2 proto 129"}
    left.plane.apply([RemoveRoute(reachable), RemoveRoute(sourceless)])
    assert laid(left) == set()
    left.ns.ip("route", "delete", "10.2.0.0/24")


def test_what_is_unreachable_gets_a_way_even_without_an_address_of_ours(sites: tuple[Site, Site]) -> None:
    left = sites[0]
    wanted = route("10.2.0.0/24", "10.99.0.0/24")
    left.plane.apply([AddRoute(wanted)])
    assert "10.2.0.0/24 dev to-right proto 129 scope link" in laid(left)
    left.plane.close()
    assert (laid(left), rules(left)) == (set(), [])


def test_a_peer_that_cannot_be_reached_is_refused_and_nothing_stays(sites: tuple[Site, Site]) -> None:
    left = sites[0]
    with pytest.raises(Refused, match=r"adding the route to 10\.2\.0\.0/24: there is no way to 203\.0\.113\.5"):
        left.plane.apply([AddRoute(route("10.2.0.0/24", "10.1.0.0/24", remote="203.0.113.5"))])
    assert (laid(left), rules(left)) == (set(), [])


def test_another_ones_table_and_rules_stay(sites: tuple[Site, Site]) -> None:
    left = sites[0]
    left.ns.ip("rule", "add", "pref", "221", "lookup", "220")
    left.ns.ip("route", "add", "10.5.0.0/24", "dev", "to-right", "table", "220")
    before = (left.ns.ip("rule"), left.ns.ip("route", "show", "table", "220"))
    left.plane.apply([AddRoute(route("10.2.0.0/24", "10.1.0.0/24"))])
    left.plane.close()
    assert (left.ns.ip("rule"), left.ns.ip("route", "show", "table", "220")) == before
    left.ns.ip("rule", "delete", "pref", "221")
    left.ns.ip("route", "delete", "10.5.0.0/24", "dev", "to-right", "table", "220")
