"""Finding peers and keys."""

from dataclasses import replace

from gateway.policy.identities import Identity, IdentityPattern
from gateway.policy.snapshot import Snapshot
from tests.policy.samples import key, peer


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
