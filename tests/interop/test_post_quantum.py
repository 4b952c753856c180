"""Hybrid key exchange with strongSwan 6: ML-KEM and others in IKE_INTERMEDIATE (RFC 9242, RFC 9370)."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.interop.conftest import start_pair
from tests.interop.credentials import ROOT, Proven, ends, load
from tests.interop.flows import flood
from tests.interop.planes import CHARON_PLUGINS, roles, userspace_only
from tests.interop.test_fragmentation import narrow
from tests.interop.tunnels import Net, Pair, Tunnel
from tests.lab.appliance import until
from tests.lab.charon import CharonError
from tests.lab.strongswan6 import Charon6
from tests.pki import authority, private

pytestmark = [userspace_only, pytest.mark.requires("strongswan6")]


@pytest.fixture(scope="module")
def pair(plane: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with ExitStack() as stack:
        plugins = f"ml {CHARON_PLUGINS[plane]}"
        yield start_pair(stack, tmp_path_factory.mktemp("pair"), plane, charon=Charon6, plugins=plugins)


HYBRIDS = {
    "x25519-mlkem768": "aes256gcm16-prfsha256-x25519-ke1_mlkem768",
    "ecp384-mlkem1024": "aes256gcm16-prfsha384-ecp384-ke1_mlkem1024",
    "three": "aes128gcm16-prfsha256-ecp256-ke1_mlkem768-ke2_x25519-ke3_mlkem1024",
    "cbc": "aes256-sha256-x25519-ke1_mlkem768",
    "gap": "aes256gcm16-prfsha256-x25519-ke3_mlkem768",
    "optional": "aes256gcm16-prfsha256-x25519-ke1_mlkem768-ke1_none",
}


@roles
@pytest.mark.parametrize("hybrid", HYBRIDS)
def test_hybrid_key_exchange(pair: Pair, hybrid: str, initiator: str) -> None:
    tunnel = Tunnel(name=f"{hybrid}-{initiator}", ike=HYBRIDS[hybrid], nets=(Net(),))
    pair.load(tunnel)
    pair.up(tunnel, initiator=initiator)
    assert pair.pings()
    (sa,) = pair.gateway.ike_sas(tunnel.name)
    assert sa["algorithms"].split("-")[-1].startswith("ke")
    pair.down(tunnel, initiator=initiator)


@roles
def test_one_end_alone_falls_back_where_it_may(pair: Pair, initiator: str) -> None:
    tunnel = Tunnel(
        name=f"fallback-{initiator}",
        ike="aes256gcm16-prfsha256-x25519-ke1_mlkem768-ke1_none",
        theirs={"proposals": "aes256gcm16-prfsha256-x25519"},
    )
    pair.load(tunnel)
    pair.up(tunnel, initiator=initiator)
    (sa,) = pair.gateway.ike_sas(tunnel.name)
    assert sa["algorithms"] == "aes256gcm16-prfsha256-x25519"
    pair.down(tunnel, initiator=initiator)


def test_a_classical_peer_is_refused_where_it_is_required(pair: Pair) -> None:
    tunnel = Tunnel(
        name="required",
        ike="aes256gcm16-prfsha256-x25519-ke1_mlkem768",
        theirs={"proposals": "aes256gcm16-prfsha256-x25519"},
    )
    pair.load(tunnel)
    assert not pair.gateway.connect(tunnel.name)["ok"]
    assert pair.gateway.attempt(tunnel.name)["cause"] == "no-proposal"


@roles
@pytest.mark.parametrize("kind", ["child", "ike"])
def test_rekeys_with_several_key_exchanges(pair: Pair, kind: str, initiator: str) -> None:
    hybrid = "x25519-ke1_mlkem768-ke2_ecp256"
    net = Net(esp=f"aes256gcm16-{hybrid}")
    tunnel = Tunnel(name=f"rekey-{kind}-{initiator}", ike=f"aes256gcm16-prfsha256-{hybrid}", nets=(net,))
    pair.load(tunnel)
    pair.up(tunnel, initiator=initiator)
    for _ in range(2):
        pair.renew(tunnel, initiator=initiator, net=net if kind == "child" else None)
        assert pair.pings()
    (child,) = pair.gateway.children(tunnel.name)
    if kind == "child":
        assert child["algorithms"] == net.esp
    pair.down(tunnel, initiator=initiator)


def test_both_rekey_at_once_with_several_key_exchanges(pair: Pair) -> None:
    net = Net(esp="aes256gcm16-x25519-ke1_mlkem768")
    tunnel = Tunnel(name="crossed", ike=HYBRIDS["x25519-mlkem768"], nets=(net,))
    pair.load(tunnel)
    pair.up(tunnel, initiator="ours")
    for number in range(6):
        ike = number % 2 == 1
        before = until(lambda: one_of_each(pair, tunnel), "one IKE SA and one CHILD_SA at both ends", seconds=60)
        pair.charon.rekey(**({"ike": tunnel.name} if ike else {"child": tunnel.child_name(net)}))
        pair.gateway.ask("rekey", peer=tunnel.name, child=None if ike else net.name, wait=0)

        def renewed(which: int = int(not ike), before: tuple[int, ...] = before) -> bool:
            now = one_of_each(pair, tunnel)
            return bool(now) and now[which] != before[which]

        until(renewed, "another one alone at both ends", seconds=60)
        assert pair.pings()
    pair.down(tunnel)


def one_of_each(pair: Pair, tunnel: Tunnel) -> tuple[int, ...]:
    """The numbers of our one IKE SA and its one CHILD_SA, when both ends have no others."""
    sa = pair.settled(tunnel)
    return (sa["id"], sa["children"][0]["id"]) if sa and len(sa["children"]) == 1 else ()


@roles
def test_rekeys_with_ml_kem_lose_nothing_of_the_traffic(pair: Pair, tmp_path: Path, initiator: str) -> None:
    hybrid = "x25519-ke1_mlkem768"
    net = Net(esp=f"aes256gcm16-{hybrid}")
    tunnel = Tunnel(name=f"flood-{initiator}", ike=f"aes256gcm16-prfsha256-{hybrid}", nets=(net,))
    pair.load(tunnel)
    pair.up(tunnel, initiator=initiator)
    with flood(pair.left, tmp_path):
        time.sleep(0.5)
        for kind in ("child", "ike", "child"):
            pair.renew(tunnel, initiator=initiator, net=net if kind == "child" else None)
            time.sleep(0.3)
    (sa,) = pair.gateway.ike_sas(tunnel.name)
    assert (sa["post_quantum"], sa["children"][0]["algorithms"]) == ("hybrid", net.esp)
    pair.down(tunnel)


@pytest.fixture
def small(plane: str, tmp_path: Path) -> Iterator[Pair]:
    """strongSwan makes fragments of 576 octets, and soon gives up."""
    settings = "fragment_size = 576\nretransmit_tries = 2\nretransmit_timeout = 1.0\nretransmit_base = 1.0"
    with ExitStack() as stack:
        plugins = f"ml {CHARON_PLUGINS[plane]}"
        yield start_pair(stack, tmp_path, plane, settings, charon=Charon6, plugins=plugins)


@roles
@pytest.mark.requires("nft")
def test_large_certificates_and_ml_kem_cross_a_narrow_path_in_fragments(small: Pair, initiator: str) -> None:
    """RSA-4096 all the way, an authority in between, and no datagram above 600 octets."""
    below = authority("C=CH, O=Lab, CN=RSA Below", ROOT, key=private("rsa4096", 8))
    proven = Proven(name="large", **ends("large", "rsa4096", by=below), ike=HYBRIDS["x25519-mlkem768"])
    load(small, proven)
    tunnel = proven.tunnel()
    with narrow(small):
        small.up(tunnel, initiator=initiator)
        assert small.pings()
        (sa,) = small.gateway.ike_sas("large")
        assert sa["post_quantum"] == "hybrid"
        assert len(small.gateway.attempt("large")["chain"]) == 3
        log = small.charon.log()
        assert "splitting IKE message" in log and "received fragment" in log
        small.down(tunnel)


@pytest.mark.requires("nft")
def test_a_path_that_loses_ml_kem_is_named_when_we_call(small: Pair) -> None:
    tunnel = Tunnel(name="lost", ike=HYBRIDS["x25519-mlkem768"])
    small.load(tunnel)
    with narrow(small, 500):
        assert not small.gateway.connect(tunnel.name, wait=30)["ok"]
        attempt = small.gateway.attempt(tunnel.name)
        assert attempt["cause"] == "messages-lost", attempt["reason"]
        assert "the peer answered IKE_SA_INIT, but there is no answer to IKE_INTERMEDIATE" in attempt["reason"]
        assert "in 3 fragments of up to 576 octets" in attempt["reason"]
    small.gateway.disconnect(tunnel.name)


@pytest.mark.requires("nft")
def test_what_came_of_a_message_and_what_did_not_is_named_when_we_are_called(small: Pair) -> None:
    """The fragments of full size get lost, the short last one arrives."""
    tunnel = Tunnel(name="part", ike=HYBRIDS["x25519-mlkem768"])
    small.load(tunnel)
    small.gateway.rest("PATCH", "/settings", {"half_open_timeout": 3.0})
    with narrow(small, 500):
        with pytest.raises(CharonError):
            small.charon.initiate(tunnel.child_name(tunnel.nets[0]))
        until(lambda: small.gateway.attempt()["outcome"] == "failed", "our end gives up", seconds=40)
    attempt = small.gateway.attempt()
    assert attempt["cause"] == "messages-lost", attempt["reason"]
    assert "of its IKE_INTERMEDIATE request fragment 3 of 3 came, 1 and 2 never did" in attempt["reason"]


@roles
def test_a_classical_peer_is_told_with_the_reason_and_refused_where_it_is_required(pair: Pair, initiator: str) -> None:
    name = f"old-{initiator}"
    tunnel = Tunnel(
        name=name,
        ike="aes256gcm16-prfsha256-x25519-ke1_mlkem768, aes256gcm16-prfsha256-x25519",
        theirs={"proposals": "aes256gcm16-prfsha256-x25519"},
    )
    pair.load(tunnel)
    pair.up(tunnel, initiator=initiator)
    status = pair.gateway.peer(name)
    assert status["post_quantum"] == "classical"
    why = {"ours": "we offered ML-KEM, and the peer chose a suite without", "theirs": "the peer offered no ML-KEM"}
    assert status["why_classical"].startswith(why[initiator])
    (row,) = [one for one in pair.gateway.rest("GET", "/post-quantum")["items"] if one["peer"] == name]
    assert (row["keys"], row["breaks"], row["demand"]) == ("classical", True, "prefer")
    before = pair.gateway.attempt()["id"]
    day = time.time() + 4
    pair.gateway.rest("PATCH", f"/peers/{name}", {"post_quantum": "require", "post_quantum_from": day})
    assert pair.gateway.attempt()["id"] == before, "until the day nothing is negotiated"
    until(lambda: pair.gateway.attempt()["cause"] in ("post-quantum", "no-proposal"), "made anew in vain", seconds=20)
    assert pair.pings(), "and the old one stands until its time is over"
    pair.gateway.disconnect(name)
    if initiator == "theirs":
        with pytest.raises(CharonError):
            pair.charon.initiate(tunnel.child_name(tunnel.nets[0]))
        attempt = pair.gateway.attempt()
        assert attempt["cause"] == "post-quantum", attempt["reason"]
        assert attempt["reason"] == f"ML-KEM is required for {name}, and the peer offers none (NO_PROPOSAL_CHOSEN)"
