"""Which child carries what of a peer's wish (RFC 7296 2.9)."""

import pytest

from tests.simulation.kinds import assert_nothing_of_esp, child, failed, left_peer, right_peer, standing, texts, up
from tests.simulation.network import Network


def test_the_child_that_covers_most_answers() -> None:
    here, there = "10.1.0.0/16", "10.2.0.0/16"
    small, whole = child("10.2.0.0/24", "10.1.0.0/24", "small"), child(there, here, "whole")
    a, b = up(Network(20), left_peer(child(here, there)), right_peer(small, whole))
    assert [made.name for made in standing(b)] == ["whole"]
    assert texts(standing(a)[0].local) == [here]


def test_of_two_that_cover_all_the_narrower_answers() -> None:
    here, there = "10.1.0.0/24", "10.2.0.0/24"
    wide, exact = child("10.0.0.0/8", "10.0.0.0/8", "wide"), child(there, here, "exact")
    _, b = up(Network(21), left_peer(child(here, there)), right_peer(wide, exact))
    assert [made.name for made in standing(b)] == ["exact"]


def test_selectors_that_no_packet_can_match_are_not_agreed_on() -> None:
    ours = child("10.1.0.0/24 fd01::/64", "10.2.0.0/24 fd02::/64")
    theirs = child("10.2.0.0/24", "10.1.0.0/24 fd01::/64")
    a, b = up(Network(22), left_peer(ours), right_peer(theirs))
    assert texts(standing(a)[0].local) == texts(standing(b)[0].remote) == ["10.1.0.0/24"]


@pytest.mark.parametrize(
    ("asked", "accepted", "agreed"),
    [
        ("[tcp]", "", "[tcp]"),
        ("", "[tcp/443]", "[tcp/443]"),
        ("[tcp/0-1023]", "[tcp/443-2000]", "[tcp/443-1023]"),
        ("[icmp]", "[icmp/8]", "[icmp/8]"),
        ("[icmp/3]", "[icmp/3(4)]", "[icmp/3(4)]"),
        ("[udp/opaque]", "[udp]", "[udp/opaque]"),
        ("[udp/opaque]", "[udp/53]", ""),
        ("[tcp]", "[udp]", ""),
    ],
)
def test_protocols_and_ports_are_narrowed(asked: str, accepted: str, agreed: str) -> None:
    here, there = "10.1.0.0/24", "10.2.0.0/24"
    a, b = up(Network(23), left_peer(child(here, there + asked)), right_peer(child(there + accepted, here)))
    if agreed:
        assert texts(standing(a)[0].remote) == texts(standing(b)[0].local) == [there + agreed]
    else:
        assert failed(a).cause == failed(b).cause == "networks"
        assert_nothing_of_esp(a, b)
