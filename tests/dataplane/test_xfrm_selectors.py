"""Selectors for the kernel cover exactly what the traffic selectors name, and the narrower one wins."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dataplane.xfrm_selectors import MOST_SELECTORS, kernel_selectors, packet_of, prefixes
from gateway.dataplane.xfrm_structs import XfrmSelector
from gateway.ike.plane import Refused
from gateway.policy.selectors import OPAQUE_PORT, Selector


def unpacked(source: str, destination: str) -> list[XfrmSelector]:
    found = kernel_selectors(Selector.parse(source), Selector.parse(destination))
    return [XfrmSelector.unpack_from(selector.packed) for selector in found]


def matches(selector: XfrmSelector, sport: int, dport: int) -> bool:
    """As __xfrm4_selector_match of net/xfrm/xfrm_policy.c does."""
    return not (sport ^ selector.sport) & selector.sport_mask and not (dport ^ selector.dport) & selector.dport_mask


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
def test_prefixes_cover_a_range_exactly_and_in_order(one: int, two: int) -> None:
    start, end = sorted((one, two))
    at = start
    for value, length in prefixes(start, end, 32):
        assert value == at
        assert value % (1 << 32 - length) == 0
        at += 1 << 32 - length
    assert at == end + 1


@pytest.mark.parametrize("bits", [16, 32, 128])
def test_prefixes_at_the_edges(bits: int) -> None:
    top = (1 << bits) - 1
    assert list(prefixes(0, top, bits)) == [(0, 0)]
    assert list(prefixes(top, top, bits)) == [(top, bits)]
    assert len(list(prefixes(1, top - 1, bits))) == 2 * bits - 2
    assert list(prefixes(5, 4, bits)) == []


@given(st.data())
def test_a_port_range_matches_its_ports_and_no_others(data: st.DataObject) -> None:
    first, last = sorted(data.draw(st.tuples(st.integers(0, 65535), st.integers(0, 65535))))
    selector = Selector(4, 0, 2**32 - 1, 6, first, last)
    found = [XfrmSelector.unpack_from(s.packed) for s in kernel_selectors(Selector(4, 0, 2**32 - 1), selector)]
    for port in {0, first, last, max(first - 1, 0), min(last + 1, 65535), data.draw(st.integers(0, 65535))}:
        assert sum(matches(s, 7, port) for s in found) == (first <= port <= last)
    assert {s.proto for s in found} == {6}


@pytest.mark.parametrize(
    ("text", "hits", "misses"),
    [
        ("10.0.0.0/8[icmp/2048-2303]", [(8, 0), (8, 255)], [(7, 0), (9, 0)]),
        ("10.0.0.0/8[icmp/769]", [(3, 1)], [(3, 0), (3, 2), (1, 3)]),
        ("10.0.0.0/8[icmp/2048-2559]", [(8, 0), (9, 7)], [(10, 0), (7, 255)]),
        ("10.0.0.0/8[icmp/2050-2053]", [(8, 2), (8, 5)], [(8, 1), (8, 6), (9, 3)]),
        ("10.0.0.0/8[icmp]", [(0, 0), (255, 255)], []),
    ],
)
def test_icmp_types_and_codes_lie_where_the_kernel_looks(
    text: str, hits: list[tuple[int, int]], misses: list[tuple[int, int]]
) -> None:
    """The kernel compares the type with sport and the code with dport (xfrm_flowi_sport, xfrm_flowi_dport)."""
    for pair in ((text, "10.0.0.0/8[icmp]"), ("10.0.0.0/8", text), (text, text)):
        found = unpacked(*pair)
        assert all(any(matches(s, *hit) for s in found) for hit in hits)
        assert not any(matches(s, *miss) for s in found for miss in misses)


def test_what_no_kernel_can_express_is_refused_plainly() -> None:
    everything = Selector.parse("0.0.0.0/0")
    opaque = Selector(4, 0, 2**32 - 1, 6, *OPAQUE_PORT)
    with pytest.raises(Refused, match="opaque"):
        kernel_selectors(everything, opaque)
    with pytest.raises(Refused, match="different IP versions"):
        kernel_selectors(everything, Selector.parse("::/0"))
    with pytest.raises(Refused, match="different protocols"):
        kernel_selectors(Selector.parse("10.0.0.0/8[tcp]"), Selector.parse("10.0.0.0/8[udp]"))
    with pytest.raises(Refused, match="no packet can match"):
        kernel_selectors(Selector.parse("10.0.0.0/8[icmp/2048]"), Selector.parse("10.0.0.0/8[icmp/0]"))
    with pytest.raises(Refused, match=f"at most {MOST_SELECTORS}"):
        kernel_selectors(Selector.parse("::1-ffff:ffff::"), Selector.parse("::1-ffff:ffff::"))


@pytest.mark.parametrize(
    ("source", "destination"),
    [
        ("10.1.0.7[tcp/40000]", "10.2.0.9[tcp/443]"),
        ("fd01::7[udp/53]", "fd02::9[udp/53]"),
        ("10.1.0.7[icmp/8(0)]", "10.2.0.9[icmp/8(0)]"),
    ],
)
def test_a_packet_that_waits_is_read_back(source: str, destination: str) -> None:
    sent, received = Selector.parse(source), Selector.parse(destination)
    (packed,) = kernel_selectors(sent, received)
    assert packet_of(packed.packed) == (sent, received)


def test_a_packet_without_ports_has_any() -> None:
    (packed,) = kernel_selectors(Selector.parse("10.1.0.7[gre]"), Selector.parse("10.2.0.9[gre]"))
    assert packet_of(packed.packed) == (Selector.parse("10.1.0.7[gre]"), Selector.parse("10.2.0.9[gre]"))
    (wide,) = kernel_selectors(Selector.parse("10.1.0.0/24"), Selector.parse("10.2.0.9"))
    assert packet_of(wide.packed) is None


def test_priorities_are_those_of_strongswan_in_order() -> None:
    pairs = [
        ("10.1.0.1", "10.2.0.1"),
        ("10.1.0.0/24[tcp/443]", "10.2.0.0/24[tcp/1024]"),
        ("10.1.0.0/24[tcp/443]", "10.2.0.0/24[tcp]"),
        ("10.1.0.0/24[tcp]", "10.2.0.0/24[tcp]"),
        ("10.1.0.0/24", "10.2.0.0/24"),
        ("10.1.0.0/16", "10.2.0.0/24"),
        ("10.1.0.0/16", "0.0.0.0/0"),
        ("0.0.0.0/0", "0.0.0.0/0"),
    ]
    found = [kernel_selectors(Selector.parse(a), Selector.parse(b))[0].priority for a, b in pairs]
    assert found == sorted(found)
    assert len(set(found)) == len(found)
    narrowest = kernel_selectors(Selector.parse("::1[tcp/1]"), Selector.parse("::2[tcp/2]"))[0].priority
    assert 0 < narrowest < found[0]
