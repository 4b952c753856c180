"""Which policy a packet meets, against a plain search through all of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dataplane.userspace_packets import UNSEEN, Flow
from gateway.dataplane.userspace_policies import PolicyTable, matches
from gateway.ike.plane import Direction, Policy
from gateway.policy.selectors import Selector


def policy(source: str, destination: str, reqid: int = 1, direction: Direction = Direction.OUT) -> Policy:
    return Policy(direction, Selector.parse(source), Selector.parse(destination), "192.0.2.1", "192.0.2.2", reqid)


def flow(source: str, destination: str, protocol: int = 6, ports: tuple[int, int] = (40000, 443)) -> Flow:
    ends = Selector.of_address(source), Selector.of_address(destination)
    return Flow(ends[0].version, protocol, ends[0].start, ends[1].start, *ports)


WEB = flow("10.1.0.5", "10.2.0.5")


@pytest.mark.parametrize(
    ("source", "destination", "seen", "expected"),
    [
        ("10.1.0.0/24", "10.2.0.0/24", WEB, True),
        ("10.1.0.4-10.1.0.5", "10.2.0.5", WEB, True),
        ("10.1.0.6-10.1.0.9", "10.2.0.5", WEB, False),
        ("10.1.0.0/24", "10.2.0.0/24[tcp/443]", WEB, True),
        ("10.1.0.0/24[tcp]", "10.2.0.0/24[tcp/440-450]", WEB, True),
        ("10.1.0.0/24", "10.2.0.0/24[udp/443]", WEB, False),
        ("10.1.0.0/24[tcp/443]", "10.2.0.0/24", WEB, False),
        ("10.1.0.0/24", "10.2.0.0/24[tcp/443]", WEB._replace(source_port=UNSEEN, destination_port=UNSEEN), False),
        ("10.1.0.0/24", "10.2.0.0/24[tcp/opaque]", WEB._replace(destination_port=UNSEEN), True),
        ("10.1.0.0/24", "10.2.0.0/24[tcp/opaque]", WEB, False),
        ("10.1.0.0/24", "10.2.0.0/24[icmp/2048]", flow("10.1.0.1", "10.2.0.1", 1, (0x0800, 0x0800)), True),
        ("10.1.0.0/24", "10.2.0.0/24[icmp/2048]", flow("10.1.0.1", "10.2.0.1", 1, (0, 0)), False),
        ("0.0.0.0/0", "0.0.0.0/0", flow("fd01::1", "fd02::1"), False),
        ("fd01::/64", "::/0", flow("fd01::1", "fd02::1"), True),
    ],
)
def test_a_policy_is_about_what_its_selectors_hold(source: str, destination: str, seen: Flow, expected: bool) -> None:
    assert matches(policy(source, destination), seen) is expected


def test_the_narrowest_policy_wins_whatever_the_order() -> None:
    policies = [
        policy("0.0.0.0/0", "0.0.0.0/0", 1),
        policy("10.1.0.0/24", "10.2.0.0/16", 2),
        policy("10.1.0.0/24", "10.2.0.0/24", 3),
        policy("10.1.0.0/24[tcp]", "10.2.0.0/24[tcp]", 4),
        policy("10.1.0.0/24[tcp]", "10.2.0.0/24[tcp/443]", 5),
        policy("10.1.0.5", "10.2.0.5[udp]", 6),
        policy("10.1.0.0/24", "10.2.0.5", 7),
    ]
    for order in (policies, policies[::-1]):
        table = PolicyTable()
        for each in order:
            table.add(each)
        found = []
        while (best := table.outbound(WEB)) is not None:
            found.append(best.reqid)
            table.remove(best)
        assert found == [7, 5, 4, 3, 2, 1]
        assert [left.reqid for left in table.policies()] == [6]


def test_ordered_again_it_is_replaced_and_the_absent_is_removed_silently() -> None:
    table = PolicyTable()
    table.add(policy("10.1.0.0/24", "10.2.0.0/24", 1))
    table.add(policy("10.1.0.0/24", "10.2.0.0/24", 1)._replace(spi=0x2002))
    assert [each.spi for each in table.policies()] == [0x2002]
    table.remove(policy("10.1.0.0/24", "10.2.0.0/24", 9))
    table.remove(policy("10.1.0.0/24", "10.2.0.0/24", 9))
    assert not table.policies()
    assert table.outbound(WEB) is None


def test_an_in_policy_admits_for_its_own_states_only() -> None:
    table = PolicyTable()
    table.add(policy("10.1.0.0/24", "10.2.0.0/24", 1, Direction.IN))
    table.add(policy("10.1.0.0/24", "10.2.0.0/24", 2, Direction.FORWARD))
    table.add(policy("10.1.0.0/24", "10.3.0.0/24", 3, Direction.OUT))
    assert table.admits(1, WEB)
    assert not table.admits(2, WEB)
    assert not table.admits(1, flow("10.9.0.5", "10.2.0.5"))
    assert table.outbound(WEB) is None
    table.remove(policy("10.1.0.0/24", "10.2.0.0/24", 1, Direction.IN))
    assert not table.admits(1, WEB)


SELECTORS = st.builds(
    lambda start, size, ports: Selector(4, start, start + size, *ports),
    st.integers(0, 6),
    st.integers(0, 3),
    st.sampled_from([(0, 0, 65535), (6, 0, 65535), (6, 443, 443), (6, 400, 500), (17, 0, 65535)]),
)
FLOWS = st.builds(Flow, st.just(4), st.sampled_from([6, 17]), *[st.integers(0, 9)] * 2, st.just(443), st.just(443))


@given(st.lists(st.tuples(SELECTORS, SELECTORS, st.booleans()), max_size=30), st.lists(FLOWS, max_size=10))
def test_finds_what_a_plain_search_finds(moves: list[tuple[Selector, Selector, bool]], flows: list[Flow]) -> None:
    table, plain = PolicyTable(), dict[object, Policy]()
    for reqid, (source, destination, remove) in enumerate(moves):
        each = Policy(Direction.OUT, source, destination, "192.0.2.1", "192.0.2.2", reqid)
        if remove:
            table.remove(each)
            plain.pop(each.key, None)
        else:
            table.add(each)
            plain[each.key] = each

    def addresses(found: Policy) -> int:
        return (found.source.end - found.source.start + 1) * (found.destination.end - found.destination.start + 1)

    for seen in flows:
        candidates = [each for each in plain.values() if matches(each, seen)]
        found = table.outbound(seen)
        assert (found is None) == (not candidates)
        if found is not None:
            assert found in candidates
            assert addresses(found) == min(map(addresses, candidates))
