"""The difference between two configurations."""

from dataclasses import fields, replace
from typing import Any

import pytest

from gateway.policy.changes import Changes, changes
from gateway.policy.identities import Identity, IdentityPattern
from gateway.policy.peers import (
    Child,
    Mark,
    Mode,
    Offload,
    Peer,
    PpkExchange,
    Psk,
    Retransmission,
    Shunt,
    ShuntAction,
    Start,
    Unique,
    WhenDown,
)
from gateway.policy.pools import Pool
from gateway.policy.proposals import Proposal
from gateway.policy.quantum import Demand, PostQuantum
from gateway.policy.selectors import Selector
from gateway.policy.snapshot import EngineSettings, Snapshot
from gateway.wire.numbers import Protocol
from tests.policy.samples import NET, key, peer


def test_the_same_again_is_no_change() -> None:
    snapshot = Snapshot.build(1, [peer("a"), peer("b")], [key("k", (), ())])
    assert changes(snapshot, snapshot).empty
    assert changes(snapshot, Snapshot.build(2, [peer("b"), peer("a")], [key("k", (), ())])).empty


def test_only_what_is_negotiated_renegotiates() -> None:
    old = Snapshot.build(1, [peer("a"), peer("b"), peer("c")], [key("k", (), ())])
    new = Snapshot.build(
        2,
        [
            replace(peer("a"), description="words", dpd_delay=5.0),
            replace(peer("b"), proposals=(Proposal.parse("aes128gcm16-prfsha256-x25519", Protocol.IKE),)),
            replace(
                peer("c"), children=(replace(NET, remote=(Selector.parse("10.9.0.0/24"),)), replace(NET, name="more"))
            ),
        ],
        [key("k", (), ())],
    )
    found = changes(old, new)
    assert found.adjusted == ("a",)
    assert found.renegotiate == ("b",)
    assert found.children == {"c": ("more", "net")}


def test_another_secret_renegotiates_those_it_may_serve() -> None:
    one, two = key("one", (), ("a.example",)), key("two", (), ("b.example",))
    old = Snapshot.build(1, [peer("a"), peer("b")], [one, two])
    found = changes(old, Snapshot.build(2, [peer("a"), peer("b")], [replace(one, secret=b"new"), two]))
    assert found.renegotiate == ("a",)


def test_disabling_removes_and_enabling_adds() -> None:
    on, off = Snapshot.build(1, [peer("a")], []), Snapshot.build(2, [replace(peer("a"), enabled=False)], [])
    assert changes(on, off).removed == ("a",)
    assert changes(off, on).added == ("a",)


def test_a_child_wanted_otherwise_is_a_changed_child() -> None:
    old = Snapshot.build(1, [peer("a")], [])
    new = Snapshot.build(2, [replace(peer("a"), children=(replace(NET, start=Start.PASSIVE, description="x"),))], [])
    assert changes(old, new).children == {"a": ("net",)}


OTHER_PEER: dict[str, Any] = {
    "remote_id": IdentityPattern.parse("b.example"),
    "proposals": (Proposal.parse("aes128gcm16-prfsha256-x25519", Protocol.IKE),),
    "local_id": Identity.parse("us.example"),
    "local_addresses": ("198.51.100.1",),
    "remote_addresses": ("192.0.2.9",),
    "remote_port": 4501,
    "force_encapsulation": True,
    "ppk_required": True,
    "ppk_exchange": PpkExchange.AUTH,
    "virtual_ip": True,
}
LATER_OF_PEER: dict[str, Any] = {
    "post_quantum": PostQuantum(Demand.REQUIRE, 1.0),
    "description": "words",
    "dpd_delay": 5.0,
    "rekey_time": 60.0,
    "retransmission": Retransmission(tries=2),
    "unique": Unique.KEEP,
    "reauth_time": 600.0,
    "mobike": False,
    "fragment_octets": 576,
    "childless": True,
    "redirect": False,
    "redirect_to": "vpn2.example.net",
    "ppks": ("one",),
    "resumption": False,
    "dscp": 46,
    "pools": ("office",),
}
OTHER_CHILD: dict[str, Any] = {
    "local": (Selector.parse("10.9.0.0/24"),),
    "remote": (Selector.parse("10.9.0.0/24"),),
    "proposals": (Proposal.parse("aes128gcm16", Protocol.ESP),),
    "start": Start.PASSIVE,
    "replay_window": 64,
    "mode": Mode.TRANSPORT,
    "interface_id": 7,
    "interface": "office",
    "mark": Mark(1, 0xFF),
    "single_pair": True,
    "offload": Offload.CRYPTO,
    "copy_dscp": True,
    "copy_df": False,
    "mss": 1300,
    "groups": ("staff",),
}
LATER_OF_CHILD: dict[str, Any] = {
    "description": "words",
    "rekey_time": 60.0,
    "rekey_octets": 10**9,
    "rekey_packets": 10**6,
    "idle_timeout": 300.0,
    "when_down": WhenDown.PASS,
}


def test_every_field_is_known_to_renegotiate_or_to_adjust() -> None:
    proofs = {"local_auth", "remote_auth"}
    assert {one.name for one in fields(Peer)} == {"name", "enabled", "children", *proofs, *OTHER_PEER, *LATER_OF_PEER}
    assert {one.name for one in fields(Child)} == {"name", *OTHER_CHILD, *LATER_OF_CHILD}


def _changed(**change: Any) -> Changes:
    return changes(Snapshot.build(1, [peer("a")], []), Snapshot.build(2, [replace(peer("a"), **change)], []))


@pytest.mark.parametrize("name", OTHER_PEER)
def test_what_the_ike_sa_was_negotiated_with_renegotiates_it(name: str) -> None:
    assert _changed(**{name: OTHER_PEER[name]}) == Changes(renegotiate=("a",))


@pytest.mark.parametrize("name", LATER_OF_PEER)
def test_what_an_ike_sa_can_take_up_only_adjusts_it(name: str) -> None:
    assert _changed(**{name: LATER_OF_PEER[name]}) == Changes(adjusted=("a",))


@pytest.mark.parametrize("name", OTHER_CHILD)
def test_what_a_child_was_negotiated_with_renegotiates_it_alone(name: str) -> None:
    assert _changed(children=(replace(NET, **{name: OTHER_CHILD[name]}),)) == Changes(children={"a": ("net",)})


@pytest.mark.parametrize("name", LATER_OF_CHILD)
def test_what_a_child_can_take_up_only_adjusts(name: str) -> None:
    assert _changed(children=(replace(NET, **{name: LATER_OF_CHILD[name]}),)) == Changes(adjusted=("a",))


def test_shunts_come_go_and_are_laid_anew() -> None:
    lan = (Selector.parse("10.1.0.0/24"),)
    kept, words, gone, moved, come = (
        Shunt(name, ShuntAction.PASS, lan, lan) for name in ("kept", "words", "gone", "moved", "come")
    )
    later = replace(moved, priority=5)
    old = Snapshot.build(1, [], [], shunts=(kept, words, gone, moved))
    new = Snapshot.build(2, [], [], shunts=(come, later, replace(words, description="x"), kept))
    assert changes(old, new) == Changes(shunts_removed=(gone, moved), shunts_added=(come, later))
    assert changes(old, Snapshot.build(2, [], [], shunts=(moved, gone, words, kept))).empty


def test_blocked_networks_and_settings_that_differ_are_named() -> None:
    old = Snapshot.build(1, [], [], blocked=("192.0.2.0/24", "198.51.100.1/32"))
    new = Snapshot.build(
        2, [], [], EngineSettings(puzzles=True, keepalive=5), blocked=("2001:db8::/64", "192.0.2.0/24")
    )
    found = changes(old, new)
    assert (found.blocked_removed, found.blocked_added) == (("198.51.100.1/32",), ("2001:db8::/64",))
    assert found.settings == ("keepalive", "puzzles")
    assert not found.empty
    assert not found.adjusted


def test_keys_under_other_names_or_split_are_no_other_keys() -> None:
    peers = [peer("a"), peer("b"), replace(peer("any"), remote_id=IdentityPattern.parse("%any"))]
    one = Psk("one", b"secret", (), (IdentityPattern.parse("a.example"), IdentityPattern.parse("b.example")))
    split = [replace(key(name, (), (f"{name}.example",)), secret=b"secret") for name in ("a", "b")]
    assert changes(Snapshot.build(1, peers, [one]), Snapshot.build(2, peers, split)).empty
    more = [*split, key("c", (), ("c.example",))]
    assert changes(Snapshot.build(1, peers, [one]), Snapshot.build(2, peers, more)).renegotiate == ("any",)


@pytest.mark.parametrize("changed", ["none", "one", "all"])
def test_the_work_grows_with_the_configuration_not_with_its_square(
    changed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = [0]
    matches = IdentityPattern.matches

    def counting(self: IdentityPattern, identity: Identity) -> bool:
        asked[0] += 1
        return matches(self, identity)

    monkeypatch.setattr(IdentityPattern, "matches", counting)

    def work(size: int) -> int:
        us = Identity.parse("us.example")
        peers = [replace(peer(f"p{n}"), local_id=us) for n in range(size)]
        peers += [replace(peer(f"w{n}"), remote_id=IdentityPattern.parse(f"*.w{n}.example")) for n in range(size)]
        keys = [key(f"k{n}", ("us.example",), (f"p{n}.example",)) for n in range(size)]
        count = {"none": 0, "one": 1, "all": size}[changed]
        others = [replace(psk, secret=b"other") if n < count else psk for n, psk in enumerate(keys)]
        asked[0] = 0
        found = changes(Snapshot.build(1, peers, keys), Snapshot.build(2, peers, others))
        assert len([name for name in found.renegotiate if name.startswith("p")]) == count
        return asked[0]

    assert work(200) <= 2 * work(100) + 8
    assert work(200) <= 200 * 12


def test_pools_are_compared_by_what_they_give() -> None:
    office, lab = Pool("office", ("10.9.0.0/24",)), Pool("lab", ("10.8.0.0/24",))
    old = Snapshot.build(1, [], [], pools=[office, lab])
    assert changes(old, Snapshot.build(2, [], [], pools=[replace(office, description="words"), lab])).empty
    new = Snapshot.build(2, [], [], pools=[replace(office, dns=("10.1.0.53",))])
    assert changes(old, new) == Changes(pools=("lab", "office"))
    assert new.pools_of(replace(peer("a"), pools=("lab", "office"))) == [new.pools["office"]]
