"""Which addresses a pool holds."""

import ipaddress

from hypothesis import given
from hypothesis import strategies as st

from gateway.policy.identities import Identity
from gateway.policy.pools import Lease, Pool


def texts(pool: Pool, version: int) -> list[str]:
    kind = ipaddress.IPv4Address if version == 4 else ipaddress.IPv6Address
    return [f"{kind(first)}-{kind(last)}" for first, last in pool.ranges(version)]


def test_the_addresses_that_mean_something_else_are_not_given_out() -> None:
    pool = Pool("p", ("10.9.0.0/24", "fd00:9::/64", "10.8.0.0-10.8.0.255", "10.7.0.8/31", "10.7.0.4/32"))
    assert texts(pool, 4) == ["10.7.0.4-10.7.0.4", "10.7.0.8-10.7.0.9", "10.8.0.0-10.8.0.255", "10.9.0.1-10.9.0.254"]
    assert texts(pool, 6) == ["fd00:9::1-fd00:9::ffff:ffff:ffff:ffff"]
    assert (pool.size(4), pool.size(6)) == (1 + 2 + 256 + 254, 2**64 - 1)


def test_what_is_excluded_and_what_is_written_twice() -> None:
    pool = Pool("p", ("10.9.0.0/29", "10.9.0.4-10.9.0.9"), ("10.9.0.2", "10.9.0.5-10.9.0.7"))
    assert texts(pool, 4) == ["10.9.0.1-10.9.0.1", "10.9.0.3-10.9.0.4", "10.9.0.8-10.9.0.9"]
    assert pool.holds(4, int(ipaddress.ip_address("10.9.0.8")))
    assert not pool.holds(4, int(ipaddress.ip_address("10.9.0.5")))
    assert not pool.holds(6, int(ipaddress.ip_address("10.9.0.8")))


addresses = st.integers(0, 40).map(lambda host: f"10.9.0.{host}")
spans = st.tuples(addresses, addresses).map(
    lambda ends: "-".join(sorted(ends, key=lambda text: int(ipaddress.ip_address(text))))
)


@given(st.lists(spans, max_size=4), st.lists(spans, max_size=4))
def test_the_ranges_hold_each_wanted_address_once(networks: list[str], excluded: list[str]) -> None:
    def every(ranges: list[str]) -> set[int]:
        ends = [tuple(int(ipaddress.ip_address(end)) for end in one.split("-")) for one in ranges]
        return {address for first, last in ends for address in range(first, last + 1)}

    pool = Pool("p", tuple(networks), tuple(excluded))
    found = [address for first, last in pool.ranges(4) for address in range(first, last + 1)]
    assert sorted(found) == sorted(every(networks) - every(excluded))
    assert pool.size(4) == len(found)


def test_a_lease_knows_its_version_and_its_traffic() -> None:
    four, six = (Lease("p", address, Identity.parse("x"), 0.0) for address in ("10.9.0.1", "fd00:9::1"))
    assert (four.version, six.version) == (4, 6)
    assert (four.selector.text, six.selector.text) == ("10.9.0.1/32", "fd00:9::1/128")
