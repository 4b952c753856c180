"""Access profiles as values: what of a child they leave, and which algorithms they permit."""

from dataclasses import replace

import pytest

from gateway.policy.access import AccessProfile
from gateway.policy.choice import choose
from gateway.policy.peers import Child
from gateway.policy.proposals import Proposal
from gateway.policy.selectors import Selector
from gateway.wire.numbers import Protocol

CHILD = Child("net", tuple(map(Selector.parse, ("10.0.0.0/8", "fd00::/16"))), (), ())


def profile(*networks: str, full: bool = False) -> AccessProfile:
    return AccessProfile("web", tuple(map(Selector.parse, networks)), full)


@pytest.mark.parametrize(
    ("wanted", "left", "needs_rules"),
    [
        (profile("10.1.0.0/24"), ["10.1.0.0/24"], False),
        (profile("10.1.0.0/24[tcp/443]", "10.1.0.0/24[udp/53]"), ["10.1.0.0/24"], True),
        (profile("10.1.0.0/24[icmp]"), ["10.1.0.0/24"], True),
        (profile("0.0.0.0/0", "fd00:1::/32"), ["10.0.0.0/8", "fd00:1::/32"], False),
        (profile("192.0.2.0/24"), [], False),
        (profile(full=True), ["10.0.0.0/8", "fd00::/16"], False),
        (profile("10.1.0.0/24", full=True), ["10.0.0.0/8", "fd00::/16"], True),
    ],
)
def test_a_child_is_narrowed_to_addresses_and_rules_tell_what_more_there_is(
    wanted: AccessProfile, left: list[str], needs_rules: bool
) -> None:
    assert [one.text for one in wanted.applied_to(CHILD).local] == left
    assert wanted.needs_rules is needs_rules


def test_a_full_tunnel_without_networks_allows_all_and_a_split_one_never() -> None:
    assert profile(full=True).allowed is None
    assert profile().allowed == ()
    assert profile("10.1.0.0/24", full=True).allowed == (Selector.parse("10.1.0.0/24"),)


@pytest.mark.parametrize(
    ("asked", "permitted"),
    [
        ("aes256gcm16-prfsha384-ecp384-ke1_mlkem768", True),
        ("aes256gcm16-prfsha384-ecp384-ke1_mlkem1024", False),
        ("aes256gcm16-prfsha384-ecp384", False),
        ("aes128gcm16-prfsha384-ecp384-ke1_mlkem768", False),
        ("aes256gcm16-prfsha256-ecp384-ke1_mlkem768", False),
        ("aes256gcm16-prfsha384-x25519-ke1_mlkem768", False),
    ],
)
def test_an_outcome_is_permitted_that_the_proposals_could_have_led_to(asked: str, permitted: bool) -> None:
    ours = Proposal.parse("aes256gcm16-prfsha384-ecp384-ke1_mlkem768", Protocol.IKE)
    theirs = Proposal.parse(asked, Protocol.IKE)
    chosen = choose((theirs,), [theirs.to_wire(1, b"")], additional=True)
    assert chosen is not None
    assert replace(profile(), ike=(ours,)).permits_ike(chosen) is permitted
    assert profile().permits_ike(chosen)


@pytest.mark.parametrize(
    ("asked", "permitted"), [("aes256gcm16", True), ("aes256gcm16-esn", False), ("aes256-sha256", False)]
)
def test_a_first_child_without_a_key_exchange_is_permitted_by_proposals_with_one(asked: str, permitted: bool) -> None:
    ours = Proposal.parse("aes256gcm16-ecp384-ke1_mlkem768", Protocol.ESP)
    theirs = Proposal.parse(asked, Protocol.ESP)
    chosen = choose((theirs,), [theirs.to_wire(1, bytes(4))], with_ke=False, additional=False)
    assert chosen is not None
    assert replace(profile(), esp=(ours,)).permits_esp(chosen) is permitted
