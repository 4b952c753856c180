"""The options of peers and children: what reaches the policy, what fits badly together, what a change means."""

from typing import Any

import pytest

from gateway.policy.changes import Changes
from gateway.policy.peers import Mark, Mode, Offload, WhenDown
from gateway.service.manage import Configuration, Invalid, Terms
from tests.service.bench import Bench

ME = Terms("me")
NET = {"name": "net", "local_selectors": ["10.1.0.0/24"], "remote_selectors": ["10.2.0.0/24"]}
HOSTS = {
    "name": "net",
    "local_selectors": ["192.0.2.9/32"],
    "remote_selectors": ["192.0.2.1/32[tcp/179]"],
    "mode": "transport",
}
SUN: dict[str, Any] = {"remote_id": "sun.example", "remote_addresses": ["192.0.2.1"], "children": [NET]}
EVERYTHING: dict[str, Any] = {
    "rekey_octets": 10**9,
    "rekey_packets": 10**6,
    "start": "on-demand",
    "idle_timeout": 600,
    "when_down": "pass",
    "interface_id": 7,
    "interface": "office",
    "mark": "16/0xFF",
    "single_pair": True,
    "offload": "crypto",
    "copy_dscp": True,
    "copy_df": False,
    "mss": 1300,
}
OF_PEER: dict[str, Any] = {
    "reauth_time": 86_400,
    "mobike": False,
    "fragment_octets": 576,
    "childless": True,
    "redirect": False,
    "resumption": False,
    "dscp": 46,
}


async def _refused(config: Configuration, child: dict[str, Any], **of_peer: Any) -> list[tuple[str, str, str]]:
    with pytest.raises(Invalid) as invalid:
        await config.put("peers", "sun", {**SUN, **of_peer, "children": [{**NET, **child}]}, ME)
    return [(error.pointer, error.code, error.detail) for error in invalid.value.errors]


async def test_every_option_reaches_the_policy_and_is_there_after_a_restart(bench: Bench) -> None:
    await bench.config.put("peers", "sun", {**SUN, **OF_PEER, "children": [{**NET, **EVERYTHING}]}, ME)
    bench.reopen()
    peer = bench.config.snapshot().peers["sun"]
    child = peer.children[0]
    assert {name: getattr(peer, name) for name in OF_PEER} == OF_PEER
    plain = {name for name in EVERYTHING if name != "mark"}
    assert {name: getattr(child, name) for name in plain} == {name: EVERYTHING[name] for name in plain}
    assert child.mark == Mark(0x10, 0xFF)
    assert (child.when_down, child.offload, child.mode) == (WhenDown.PASS, Offload.CRYPTO, Mode.TUNNEL)
    assert not (await bench.config.apply(bench.config.export(), ME, prune=True)).changed


@pytest.mark.parametrize(
    ("child", "pointer", "code", "way_out"),
    [
        ({"mark": "0x1ff/0xff"}, "mark", "invalid-mark", "did you mean 0xff/0xff?"),
        ({"mark": "sixteen"}, "mark", "invalid-mark", "such as 0x10/0xff"),
        ({"mark": "0x100000000"}, "mark", "invalid-mark", "32 bits"),
        ({"mark": "-1"}, "mark", "invalid-mark", "32 bits"),
        ({"mark": "1_0/0x_f"}, "mark", "invalid-mark", "32 bits"),
        ({"mss": 500}, "mss", "too-small", "write 0"),
        ({"idle_timeout": 60}, "idle_timeout", "always-up", "choose start on-demand"),
        ({"interface": "office"}, "interface", "no-interface-id", "an interface_id other than 0"),
        ({"mode": "transport"}, "remote_selectors", "transport-without-ends", "add 192.0.2.1 here, or choose tunnel"),
    ],
)
async def test_what_fits_badly_together_is_told_with_the_way_out(
    config: Configuration, child: dict[str, Any], pointer: str, code: str, way_out: str
) -> None:
    found = await _refused(config, child)
    assert found[0][:2] == (f"/children/0/{pointer}", code)
    assert way_out in found[0][2]


@pytest.mark.parametrize(
    ("child", "pointer"),
    [
        ({"interface": "sixteen-letters-", "interface_id": 7}, "interface"),
        ({"interface": "a/b", "interface_id": 7}, "interface"),
        ({"interface": "..", "interface_id": 7}, "interface"),
        ({"interface": "a\n", "interface_id": 7}, "interface"),
        ({"interface_id": 2**32}, "interface_id"),
        ({"mss": 65_496}, "mss"),
        ({"mode": "beet"}, "mode"),
        ({"when_down": "reject"}, "when_down"),
        ({"offload": "yes"}, "offload"),
        ({"rekey_octets": 2**53 + 1}, "rekey_octets"),
        ({"idle_timeout": -1}, "idle_timeout"),
        ({"single_pair": 1}, "single_pair"),
    ],
)
async def test_what_has_the_wrong_form_is_refused(config: Configuration, child: dict[str, Any], pointer: str) -> None:
    assert [one[0] for one in await _refused(config, child)] == [f"/children/0/{pointer}"]


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"fragment_octets": 575}, "/fragment_octets"),
        ({"fragment_octets": 65_536}, "/fragment_octets"),
        ({"dscp": 64}, "/dscp"),
        ({"reauth_time": -1}, "/reauth_time"),
        ({"mobike": "no"}, "/mobike"),
    ],
)
async def test_a_peer_s_options_have_limits(config: Configuration, change: dict[str, Any], pointer: str) -> None:
    assert [one[0] for one in await _refused(config, {}, **change)] == [pointer]
    await config.put("peers", "sun", {**SUN, "fragment_octets": 0}, ME)


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        ({}, ""),
        ({"remote_addresses": ["sun.example", "192.0.2.7"]}, ""),
        ({"remote_addresses": []}, ""),
        ({"remote_addresses": ["192.0.2.0/24"]}, ""),
        ({"local_addresses": ["192.0.2.9", "2001:db8::9"]}, ""),
        ({"remote_addresses": ["192.0.2.7"]}, "remote_selectors"),
        ({"local_addresses": ["192.0.2.8"]}, "local_selectors"),
    ],
)
async def test_transport_mode_joins_the_two_ends(config: Configuration, change: dict[str, Any], wrong: str) -> None:
    document = {**SUN, "children": [HOSTS], **change}
    if not wrong:
        assert (await config.put("peers", "sun", document, ME)).changed
        return
    with pytest.raises(Invalid) as invalid:
        await config.put("peers", "sun", document, ME)
    assert [error.pointer for error in invalid.value.errors] == [f"/children/0/{wrong}"]


def _on(interface_id: int, interface: str = "", name: str = "net") -> dict[str, Any]:
    return {**NET, "name": name, "interface_id": interface_id, "interface": interface}


@pytest.mark.parametrize(
    ("children", "code"),
    [
        ([_on(8, name="a"), _on(8, name="b")], ""),
        ([_on(8, "ipsec8", "a"), _on(8, name="b")], ""),
        ([_on(8, "office", "a"), _on(8, name="b")], "interface-named-twice"),
        ([_on(8, "office", "a"), _on(9, "office", "b")], "interface-in-use"),
        ([_on(8, "ipsec9", "a"), _on(9, "", "b")], "interface-in-use"),
        ([_on(7)], "interface-in-use"),
    ],
)
async def test_an_interface_has_one_name_and_one_peer(
    config: Configuration, children: list[dict[str, Any]], code: str
) -> None:
    await config.put("peers", "moon", {**SUN, "children": [_on(7)]}, ME)
    if not code:
        await config.put("peers", "a-sun", {**SUN, "children": children}, ME)
        return
    with pytest.raises(Invalid) as invalid:  # told to the one that is put, not to the one that was there first
        await config.put("peers", "a-sun", {**SUN, "children": children}, ME)
    assert [error.code for error in invalid.value.errors] == [code]
    assert invalid.value.errors[0].pointer.startswith("/children/")


async def test_a_disabled_peer_leaves_its_interface_to_another(config: Configuration) -> None:
    await config.put("peers", "moon", {**SUN, "children": [_on(7)], "enabled": False}, ME)
    await config.put("peers", "sun", {**SUN, "children": [_on(7)]}, ME)
    with pytest.raises(Invalid) as invalid:
        await config.patch("peers", "moon", {"enabled": True}, ME)
    assert [(error.pointer, error.code) for error in invalid.value.errors] == [
        ("/children/0/interface_id", "interface-in-use")
    ]


async def test_a_dry_run_tells_what_an_option_means(config: Configuration) -> None:
    await config.put("peers", "sun", SUN, ME)
    dry = Terms("me", dry_run=True)
    later = await config.patch("children", "sun/net", {"when_down": "pass", "rekey_octets": 10**9}, dry)
    assert later.impact == Changes(adjusted=("sun",))
    anew = await config.patch("children", "sun/net", {"interface_id": 7}, dry)
    assert anew.impact == Changes(children={"sun": ("net",)})
    assert [(field.pointer, field.old, field.new) for field in anew.differences[0].fields] == [
        ("/children/net/interface_id", 0, 7)
    ]
    assert (await config.patch("peers", "sun", {"dscp": 46}, dry)).impact == Changes(adjusted=("sun",))
