"""Hybrid key exchange with strongSwan 6: ML-KEM and others in IKE_INTERMEDIATE (RFC 9242, RFC 9370)."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.interop.conftest import start_pair
from tests.interop.planes import CHARON_PLUGINS, roles, userspace_only
from tests.interop.tunnels import Net, Pair, Tunnel
from tests.lab.appliance import until
from tests.lab.strongswan6 import Charon6

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
        found = pair.gateway.ike_sas(tunnel.name) if kind == "ike" else pair.gateway.children(tunnel.name)
        old = found[0]["id"]
        if initiator == "ours":
            done = pair.gateway.rekey(tunnel.name, None if kind == "ike" else net.name)
            assert done["ok"], f"{done['text']}\n{pair.charon.tail()}"
        elif kind == "ike":
            pair.charon.rekey(ike=tunnel.name)
        else:
            pair.charon.rekey(child=tunnel.child_name(net))

        def renewed(old: int = old) -> bool:
            now = pair.gateway.ike_sas(tunnel.name) if kind == "ike" else pair.gateway.children(tunnel.name)
            return len(now) == 1 and now[0]["id"] != old

        until(renewed, "one new SA")
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
        pair.charon.rekey(**({"ike": tunnel.name} if ike else {"child": tunnel.child_name(net)}))
        pair.gateway.ask("rekey", peer=tunnel.name, child=None if ike else net.name, wait=0)
        until(lambda: one_of_each(pair, tunnel), "one IKE SA and one CHILD_SA at both ends", seconds=20)
        assert pair.pings()
    pair.down(tunnel)


def one_of_each(pair: Pair, tunnel: Tunnel) -> bool:
    ours, theirs = pair.gateway.ike_sas(tunnel.name), pair.theirs(tunnel)
    return (
        len(ours) == len(theirs) == 1
        and len(ours[0]["children"]) == len(pair.their_children(tunnel)) == 1
        and ours[0]["spi_i"] == theirs[0]["initiator-spi"]
    )
