"""ESP states in a real kernel: every algorithm, what is read back, and that a batch is all or nothing."""

import re
from dataclasses import replace

import pytest

from gateway.crypto.suites import ENCRYPTIONS, INTEGRITIES, Encryption, Integrity
from gateway.ike.plane import (
    AddPolicy,
    AddState,
    Direction,
    Encapsulation,
    Order,
    Policy,
    Refused,
    RemovePolicy,
    RemoveState,
    StateKey,
)
from gateway.policy.selectors import Selector
from tests.kernel.conftest import Child, Site
from tests.lab.in_kernel import in_kernel

pytestmark = [in_kernel, pytest.mark.requires("root", "netns", "esp")]

SUITES = [
    (encr, integ)
    for encr in ENCRYPTIONS
    for integ in ((None,) if encr.aead else INTEGRITIES)
]  # fmt: skip
KEY = "0x000102030405060708090a0b0c0d0e0f10111213"


def foreign_state(site: Site, spi: int = 0x4711) -> None:
    words = f"src 192.0.2.9 dst 192.0.2.1 proto esp spi {spi:#x} mode tunnel aead rfc4106(gcm(aes)) {KEY} 128"
    site.ns.ip("xfrm", "state", "add", *words.split())


def shown_keys(text: str) -> list[str]:
    return re.findall(r"0x[0-9a-f]{32,}", text)


def test_every_algorithm_installs_and_is_read_back(sites: tuple[Site, Site]) -> None:
    assert len(SUITES) == 55
    for encr, integ in SUITES:
        installs_and_is_read_back(sites, encr, integ)


def installs_and_is_read_back(sites: tuple[Site, Site], encr: Encryption, integ: Integrity | None) -> None:
    child = Child(sites, encr=encr, integ=integ)
    left = sites[0]
    child.allocate()
    inbound = child.state(0, inbound=True)
    left.plane.apply([AddState(inbound)])
    (read,) = left.plane.states()
    assert (read.encr, read.integ, read.key, read.inbound) == (encr, integ, inbound.key, True)
    assert (read.source, read.reqid, read.replay_window, read.esn) == (inbound.source, 1, 128, False)
    assert read.encr_key == read.integ_key == b""
    shown = left.xfrm("state")
    assert encr.kernel in shown
    keys = shown_keys(shown)
    assert "0x" + inbound.encr_key.hex() in keys
    if integ:
        assert f"{integ.kernel} 0x{inbound.integ_key.hex()} {integ.kernel_truncation_bits} enc {encr.kernel}" in shown
    else:
        assert f" {encr.icv_octets * 8} anti-replay" in shown
    left.plane.apply([RemoveState(inbound.key, True)])


def test_windows_and_extended_sequence_numbers(sites: tuple[Site, Site]) -> None:
    for window in (32, 64, 128, 1024, 4096):
        for esn in (False, True):
            window_and_esn(sites, window, esn)


def window_and_esn(sites: tuple[Site, Site], window: int, esn: bool) -> None:
    child = Child(sites, esn=esn, window=window)
    child.allocate()
    plane = sites[0].plane
    plane.apply([AddState(child.state(0, inbound=True))])
    (read,) = plane.states()
    assert (read.replay_window, read.esn) == (window, esn)
    shown = sites[0].xfrm("state")
    assert ("esn" in shown.split("flag")[1][:20]) is esn
    if esn or window > 32:
        assert f"replay_window {window}, bitmap-length {window // 32}" in shown
    else:
        assert f"replay-window {window} " in shown
    plane.apply([RemoveState(read.key, True), AddState(child.state(0, inbound=False))])
    (outbound,) = plane.states()
    assert (outbound.esn, outbound.inbound) == (esn, False)
    plane.apply([RemoveState(outbound.key, False)])


def test_a_window_of_more_than_the_kernel_holds_is_refused_in_its_words(sites: tuple[Site, Site]) -> None:
    child = Child(sites, window=5000)
    child.allocate()
    with pytest.raises(Refused, match=r"adding inbound state c[0-9a-f]{7}: the kernel says .*ESN.*\(EINVAL\)"):
        sites[0].plane.apply([AddState(child.state(0, inbound=True))])


def test_encapsulation_in_udp(sites: tuple[Site, Site]) -> None:
    child = Child(sites, encapsulated=True, outer=6)
    child.allocate()
    sites[0].plane.apply([AddState(child.state(0, inbound=True))])
    assert sites[0].plane.states()[0].encapsulation == Encapsulation(4500, 4500)
    assert "encap type espinudp sport 4500 dport 4500" in sites[0].xfrm("state")


def test_sequence_numbers_of_32_bits_expire_before_they_come_again(sites: tuple[Site, Site]) -> None:
    child = Child(sites)
    child.allocate()
    sites[0].plane.apply([AddState(child.state(0, inbound=False))])
    assert "limit: soft 3221225472(packets), hard 4294967295(packets)" in sites[0].ns.ip("-s", "xfrm", "state")


def test_an_allocated_spi_is_held_becomes_a_state_or_is_given_back(sites: tuple[Site, Site]) -> None:
    left = sites[0]
    child = Child(sites)
    child.allocate()
    other = left.plane.allocate_spi("192.0.2.2", "192.0.2.1")
    assert child.spis[0] != other
    assert min(child.spis[0], other) >= 256
    for spi in (child.spis[0], other):
        assert f"spi 0x{spi:08x}" in left.xfrm("state")
    assert left.plane.states() == []
    assert left.plane.counters() == {}
    left.plane.apply([AddState(child.state(0, inbound=True)), RemoveState(StateKey("192.0.2.1", other), True)])
    assert [state.spi for state in left.plane.states()] == [child.spis[0]]
    assert f"{other:08x}" not in left.xfrm("state")


def test_an_allocation_that_the_kernel_forgot_still_becomes_a_state(sites: tuple[Site, Site]) -> None:
    left = sites[0]
    child = Child(sites)
    child.allocate()
    place = f"src 192.0.2.2 dst 192.0.2.1 proto esp spi {child.spis[0]:#x}"
    left.ns.ip("xfrm", "state", "delete", *place.split())
    left.plane.apply([AddState(child.state(0, inbound=True))])
    assert [state.spi for state in left.plane.states()] == [child.spis[0]]


def test_a_second_state_of_the_same_name_is_refused_and_the_first_stays(sites: tuple[Site, Site]) -> None:
    child = Child(sites)
    child.allocate()
    plane = sites[0].plane
    outbound = child.state(0, inbound=False)
    plane.apply([AddState(outbound)])
    before = sites[0].ns.ip("xfrm", "state")
    with pytest.raises(Refused, match=f"adding outbound state {outbound.spi:08x}: the kernel says .*EEXIST"):
        plane.apply([AddState(outbound)])
    assert sites[0].ns.ip("xfrm", "state") == before
    assert [state.key for state in plane.states()] == [outbound.key]


def test_a_key_of_the_wrong_length_is_refused_in_the_kernels_words(sites: tuple[Site, Site]) -> None:
    child = Child(sites)
    child.allocate()
    state = child.state(0, inbound=True)
    short = replace(state, encr_key=state.encr_key[:-1])
    with pytest.raises(Refused, match=r"the kernel says Kernel was unable to initialize cryptographic operations"):
        sites[0].plane.apply([AddState(short)])


def test_ends_of_different_versions_are_refused(sites: tuple[Site, Site]) -> None:
    child = Child(sites)
    child.allocate()
    state = child.state(0, inbound=False)
    mixed = replace(state, source="2001:db8::1")
    with pytest.raises(Refused, match="one IP version"):
        sites[0].plane.apply([AddState(mixed)])


def test_a_failed_batch_leaves_everything_as_it_was(sites: tuple[Site, Site]) -> None:
    """Removed and replaced things come back too: keys, replay state, templates."""
    left = sites[0]
    child = Child(sites, esn=True).install()
    assert child.pings(count=3)
    rekeyed = Child(sites, esn=True, reqid=2)
    rekeyed.allocate()
    before = (left.ns.ip("xfrm", "state"), left.xfrm("policy"), left.plane.counters())
    extra = Policy(Direction.OUT, *child.ends(0), "192.0.2.1", "192.0.2.2", 9)
    wide = Policy(
        Direction.OUT, Selector.parse("10.0.0.0/8"), Selector.parse("10.9.0.0/16"), "192.0.2.1", "192.0.2.2", 9
    )
    old_policy = child.policies(0)[0]
    orders: list[Order] = [
        RemoveState(child.state(0, inbound=True).key, True),
        RemovePolicy(old_policy),
        AddState(rekeyed.state(0, inbound=True)),
        AddPolicy(extra),
        AddPolicy(wide),
        AddState(child.state(0, inbound=False)),  # EEXIST
    ]
    with pytest.raises(Refused, match="EEXIST"):
        left.plane.apply(orders)
    keys = sorted(shown_keys(before[0]))
    assert sorted(shown_keys(left.ns.ip("xfrm", "state"))) == keys
    assert sorted(left.xfrm("policy").split("src ")) == sorted(before[1].split("src "))
    counted, was = left.plane.counters(), before[2]
    assert {key: (c.octets, c.packets) for key, c in counted.items()} == {
        key: (c.octets, c.packets) for key, c in was.items()
    }
    assert set(left.plane.policies()) == set(child.policies(0))
    assert child.pings(count=2)
    # The new SPI is held as before and becomes a state when the next batch is right.
    left.plane.apply([AddState(rekeyed.state(0, inbound=True))])
    assert len(left.plane.states()) == 3


def test_the_absent_and_the_foreign_are_removed_without_complaint_and_without_harm(sites: tuple[Site, Site]) -> None:
    left = sites[0]
    foreign_state(left)
    before = left.ns.ip("xfrm", "state")
    left.plane.apply(
        [RemoveState(StateKey("192.0.2.1", 0x4711), True), RemoveState(StateKey("192.0.2.1", 0x999), True)]
    )
    assert left.ns.ip("xfrm", "state") == before


def test_what_is_foreign_survives_close_and_what_is_ours_does_not(sites: tuple[Site, Site]) -> None:
    left = sites[0]
    foreign_state(left)
    left.ns.ip("xfrm", "policy", "add", *"src 10.77.0.0/16 dst 10.78.0.0/16 dir out action block".split())
    left.ns.ip("xfrm", "policy", "add", *"src 10.1.0.0/24 dst 10.2.0.0/24 dir out ptype sub action allow".split())
    states, policies = left.ns.ip("xfrm", "state"), left.ns.ip("xfrm", "policy")
    Child(sites).install()
    left.plane.allocate_spi("192.0.2.2", "192.0.2.1")
    assert left.ns.ip("xfrm", "state") != states
    assert "4711" not in str([f"{state.spi:x}" for state in left.plane.states()])
    assert set(left.plane.counters()) == {state.key for state in left.plane.states()}
    left.plane.close()
    assert (left.ns.ip("xfrm", "state"), left.ns.ip("xfrm", "policy")) == (states, policies)
    left.ns.ip("xfrm", "policy", "flush", "ptype", "sub")


def test_what_another_removed_is_not_reported_as_lying_there(sites: tuple[Site, Site]) -> None:
    left = sites[0]
    child = Child(sites).install()
    assert set(left.plane.policies()) == set(child.policies(0))
    left.ns.ip("xfrm", "state", "flush")
    left.ns.ip("xfrm", "policy", "flush")
    assert (left.plane.states(), left.plane.policies(), left.plane.counters()) == ([], [], {})
    left.plane.apply([RemoveState(child.state(0, inbound=True).key, True), RemovePolicy(child.policies(0)[2])])
