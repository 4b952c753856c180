"""Selectors: text, wire form, and narrowing."""

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.policy.selectors import ANY_PORT, OPAQUE_PORT, InvalidSelector, Selector, narrow, subtract


@st.composite
def selectors(draw: st.DrawFn) -> Selector:
    version = draw(st.sampled_from([4, 6]))
    top = 2 ** (32 if version == 4 else 128) - 1
    # few distinct edges, so that overlaps are common
    edges = sorted(draw(st.lists(st.sampled_from([0, 1, 255, 256, 1000, top - 1, top]), min_size=2, max_size=2)))
    protocol = draw(st.sampled_from([0, 1, 6, 17]))
    ports = (
        draw(st.sampled_from([ANY_PORT, (80, 80), (0, 1023), (1000, 2000), (768, 1023), OPAQUE_PORT]))
        if protocol
        else ANY_PORT
    )
    return Selector(version, edges[0], edges[1], protocol, *ports)


@given(selectors())
def test_text_and_wire_round_trip(selector: Selector) -> None:
    assert Selector.parse(selector.text) == selector
    assert Selector.from_wire(selector.to_wire()) == selector


@given(selectors(), selectors())
def test_narrow_is_symmetric_contained_and_idempotent(a: Selector, b: Selector) -> None:
    both = a.narrow(b)
    assert both == b.narrow(a)
    if both is not None:
        assert a.contains(both)
        assert b.contains(both)
        assert both.narrow(a) == both
        assert both.narrow(b) == both


@given(st.lists(selectors(), max_size=5), st.lists(selectors(), max_size=5))
def test_narrowed_lists_hold_no_selector_inside_another(ours: list[Selector], theirs: list[Selector]) -> None:
    found = narrow(ours, theirs)
    for one in found:
        assert any(our.contains(one) for our in ours)
        assert any(their.contains(one) for their in theirs)
        assert not any(other is not one and other.contains(one) for other in found)


@given(selectors())
def test_networks_cover_the_range_exactly(selector: Selector) -> None:
    parts = [Selector.parse(network) for network in selector.networks()]
    assert parts[0].start == selector.start
    assert parts[-1].end == selector.end
    assert all(before.end + 1 == after.start for before, after in itertools.pairwise(parts))


def test_icmp_type_and_code_are_ports() -> None:
    assert Selector.parse("10.0.0.0/8[icmp/2048]").start_port == 2048  # type 8, code 0 (RFC 7296 3.13.1)


@pytest.mark.parametrize(
    ("text", "ports", "shown"),
    [
        ("8", (2048, 2303), "8"),
        ("0", (0, 255), "0"),
        ("3(4)", (772, 772), "3(4)"),
        ("772", (772, 772), "3(4)"),
        ("34048-35327", (34048, 35327), "133-137"),
        ("133-137", (34048, 35327), "133-137"),
        ("3(1)-3(4)", (769, 772), "3(1)-3(4)"),
    ],
)
def test_icmp_is_written_by_type_and_code(text: str, ports: tuple[int, int], shown: str) -> None:
    selector = Selector.parse(f"fd00::/64[icmpv6/{text}]")
    assert (selector.start_port, selector.end_port) == ports
    assert selector.text == f"fd00::/64[icmpv6/{shown}]"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("10.1.0.1/16", "did you mean 10.1.0.0/16"),
        ("10.1.0.0/33", "no network"),
        ("10.1.0.0/16[tcp/70000]", "no port"),
        ("10.1.0.0/16[icmp/3(256)]", "no ICMP type"),
        ("10.1.0.0/16[icmp/9-8]", "runs backwards"),
        ("10.1.0.0/16[tcp/3(4)]", "no port"),
        ("10.1.0.0/16[http]", "no protocol"),
        ("10.1.0.0/16[/80]", "needs a protocol"),
        ("10.0.0.9-10.0.0.1", "no network"),
        ("", "write a network"),
    ],
)
def test_what_is_wrong_is_said(text: str, says: str) -> None:
    with pytest.raises(InvalidSelector, match=re.escape(says)):
        Selector.parse(text)


def test_a_range_that_runs_backwards_is_not_understood() -> None:
    sent = Selector.parse("10.0.0.1-10.0.0.9").to_wire()
    sent.start, sent.end = sent.end, sent.start
    assert Selector.from_wire(sent) is None


@given(selectors(), st.lists(selectors(), max_size=4))
def test_what_is_subtracted_and_what_is_left_make_the_whole(asked: Selector, agreed: list[Selector]) -> None:
    left = subtract([asked], agreed)
    assert all(asked.contains(one) for one in left)
    for edge in (asked.start, asked.end):
        point = asked._replace(start=edge, end=edge)
        taken = any(one.contains(point) for one in agreed)
        assert any(one.contains(point) for one in left) is not taken


def test_a_hole_leaves_both_sides() -> None:
    left = subtract([Selector.parse("10.0.0.0/24")], [Selector.parse("10.0.0.64/26"), Selector.parse("::/0")])
    assert [one.text for one in left] == ["10.0.0.0/26", "10.0.0.128/25"]
    tcp = [Selector.parse("10.0.0.0/24[tcp]")]
    assert subtract([Selector.parse("10.0.0.0/24")], tcp) == [Selector.parse("10.0.0.0/24")]
    assert subtract(tcp, [Selector.parse("10.0.0.0/24")]) == []
