"""Finding peers and keys, and the difference between two configurations."""

from dataclasses import replace

from gateway.policy.identities import Identity, IdentityPattern
from gateway.policy.peers import Child, Peer, Psk, Start
from gateway.policy.proposals import Proposal
from gateway.policy.selectors import Selector
from gateway.policy.snapshot import Snapshot, changes
from gateway.wire.numbers import Protocol

IKE = (Proposal.parse("aes256gcm16-prfsha256-x25519", Protocol.IKE),)
ESP = (Proposal.parse("aes256gcm16", Protocol.ESP),)
NET = Child("net", (Selector.parse("10.1.0.0/24"),), (Selector.parse("10.2.0.0/24"),), ESP)


def peer(name: str, *remote: str) -> Peer:
    return Peer(name, IdentityPattern.parse(f"{name}.example"), IKE, (NET,), remote_addresses=remote)


def key(name: str, local: tuple[str, ...], remote: tuple[str, ...]) -> Psk:
    return Psk(name, name.encode(), tuple(map(IdentityPattern.parse, local)), tuple(map(IdentityPattern.parse, remote)))


def test_the_most_particular_peer_comes_first() -> None:
    peers = [peer("any"), peer("net", "192.0.2.0/24"), peer("host", "192.0.2.7"), peer("named", "vpn.example")]
    snapshot = Snapshot.build(1, peers, [])
    assert [found.name for found in snapshot.peers_for("198.51.100.1", "192.0.2.7")] == ["host", "net", "any", "named"]
    assert [found.name for found in snapshot.peers_for("198.51.100.1", "203.0.113.1")] == ["any", "named"]


def test_disabled_peers_and_other_local_addresses_are_not_found() -> None:
    peers = [replace(peer("off"), enabled=False), replace(peer("elsewhere"), local_addresses=("198.51.100.2",))]
    assert Snapshot.build(1, peers, []).peers_for("198.51.100.1", "192.0.2.7") == []


def test_the_key_that_names_both_wins() -> None:
    keys = [
        key("anybody", (), ()),
        key("wildcard", (), ("*.example",)),
        key("peer", (), ("moon.example",)),
        key("both", ("us.example",), ("moon.example",)),
    ]
    snapshot = Snapshot.build(1, [], keys)
    us, moon = Identity.parse("us.example"), Identity.parse("moon.example")

    def name(local: Identity, remote: Identity) -> str:
        found = snapshot.psk_for(local, remote)
        assert found is not None
        return found.name

    assert name(us, moon) == "both"
    assert name(Identity.parse("other.example"), moon) == "peer"
    assert name(us, Identity.parse("MOON.example")) == "both"
    assert name(us, Identity.parse("sun.example")) == "wildcard"
    assert name(us, Identity.parse("192.0.2.1")) == "anybody"
    assert Snapshot.build(1, [], keys[2:]).psk_for(us, Identity.parse("sun.example")) is None


def test_a_peer_known_by_a_pattern_is_called_with_the_pattern_s_key() -> None:
    keys = [
        key("pattern", (), ("*.example",)),
        key("address", (), ("192.0.2.1",)),
        key("moon", (), ("moon.example",)),
        key("sun", (), ("sun.other",)),
        key("anybody", (), ()),
    ]
    us, address = Identity.parse("us.example"), Identity.parse("192.0.2.1")

    def name(pattern: str, *without: str, at: Identity = address) -> str | None:
        snapshot = Snapshot.build(1, [], [psk for psk in keys if psk.name not in without])
        found = snapshot.psk_for_unknown(us, IdentityPattern.parse(pattern), at)
        return found.name if found else None

    assert name("*.example") == "pattern"
    assert name("*.example", "pattern") == "address"
    assert name("*.example", "pattern", "address") == "moon"
    assert name("%any", "pattern", "address") == "anybody"  # moon's or sun's, who knows
    assert name("%any", "pattern", "address", "sun") == "moon"
    assert name("*.elsewhere", "pattern", at=Identity.parse("192.0.2.9")) == "anybody"
    assert name("*.elsewhere", "pattern", "anybody", at=Identity.parse("192.0.2.9")) is None


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
