"""Post-quantum pre-shared keys with strongSwan (RFC 8784), in both roles, alone and beside ML-KEM."""

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from tests.interop.conftest import start_pair
from tests.interop.planes import CHARON_PLUGINS, roles, userspace_only
from tests.interop.tunnels import Net, Pair, Tunnel
from tests.lab.appliance import until
from tests.lab.strongswan6 import Charon6

ONE, TWO = "0x" + bytes(range(32)).hex(), "0x" + bytes(range(32, 64)).hex()
SHARED, OTHER = {"2026.lab": ONE}, {"2027.lab": TWO}
TUNNEL = Tunnel(
    name="ppk", nets=(Net(esp="aes128gcm16-x25519"),), ppks=SHARED, their_ppks=SHARED, theirs={"ppk_id": "2026.lab"}
)
REQUIRED = {"ppk_required": True}
THEIRS_REQUIRED = {"ppk_id": "2026.lab", "ppk_required": "yes"}

pytestmark = userspace_only


def key_exchange(pair: Pair, tunnel: Tunnel) -> str:
    (sa,) = pair.gateway.ike_sas(tunnel.name)
    told: str = sa["key_exchange"]
    return told


@roles
@pytest.mark.parametrize("required", [False, True])
def test_both_have_it(pair: Pair, initiator: str, required: bool) -> None:
    tunnel = replace(TUNNEL, ours=REQUIRED, theirs=THEIRS_REQUIRED) if required else TUNNEL
    pair.load(tunnel)
    before = len(pair.charon.log())
    pair.up(tunnel, initiator=initiator)
    assert key_exchange(pair, tunnel) == "PPK: X25519 with a PPK"
    assert pair.pings()
    # the children and IKE SAs that follow are made of it, too: else these would not come up
    pair.renew(tunnel, initiator="ours", net=tunnel.nets[0])
    assert pair.pings()
    pair.renew(tunnel, initiator="ours")
    pair.renew(tunnel, initiator="ours", net=tunnel.nets[0])
    assert pair.pings()
    assert "PPK" in pair.charon.log()[before:]
    pair.down(tunnel)


@roles
def test_an_unknown_identity_with_the_way_out(pair: Pair, initiator: str) -> None:
    # charon insists on the identity where it is configured with one, as responder even if no key is required
    tunnel = replace(TUNNEL, ppks=OTHER, theirs={"ppk_id": "2026.lab"} if initiator == "theirs" else {})
    pair.load(tunnel)
    pair.up(tunnel, initiator=initiator)
    assert key_exchange(pair, tunnel).startswith("classical: ")
    assert pair.pings()
    steps = " ".join(step["text"] for step in pair.gateway.attempt(tunnel.name)["steps"])
    assert "without a PPK" in steps
    pair.down(tunnel)


@roles
@pytest.mark.parametrize("insists", ["ours", "theirs"])
def test_an_unknown_identity_without_it(pair: Pair, initiator: str, insists: str) -> None:
    tunnel = replace(
        TUNNEL,
        ppks=OTHER,
        ours=REQUIRED if insists == "ours" else {},
        theirs=THEIRS_REQUIRED if insists == "theirs" else {"ppk_id": "2026.lab"},
    )
    pair.load(tunnel)
    if initiator == "ours":
        assert not pair.gateway.connect(tunnel.name)["ok"]
    else:
        with pytest.raises(Exception, match=r"."):
            pair.charon.initiate(tunnel.child_name(tunnel.nets[0]))
    until(lambda: not pair.gateway.peer(tunnel.name)["ike_sas"], "nothing stands at our end")
    assert pair.gateway.attempt(tunnel.name)["outcome"] == "failed"


@roles
def test_a_peer_without_any(pair: Pair, initiator: str) -> None:
    tunnel = replace(TUNNEL, their_ppks={}, theirs={})
    pair.load(tunnel)
    pair.up(tunnel, initiator=initiator)
    assert key_exchange(pair, tunnel).startswith("classical: ")
    pair.down(tunnel)


@roles
@pytest.mark.requires("strongswan6")
def test_ppk_beside_ml_kem(plane: str, tmp_path: Path, initiator: str) -> None:
    """strongSwan 6.1: X25519, ML-KEM-768 in IKE_INTERMEDIATE, and a key that both ends insist on."""
    tunnel = replace(
        TUNNEL,
        ike="aes256gcm16-prfsha256-x25519-ke1_mlkem768",
        nets=(Net(esp="aes256gcm16-x25519-ke1_mlkem768"),),
        ours=REQUIRED,
        theirs=THEIRS_REQUIRED,
    )
    with ExitStack() as stack:
        six = start_pair(stack, tmp_path, plane, charon=Charon6, plugins=f"ml {CHARON_PLUGINS[plane]}")
        six.load(tunnel)
        six.up(tunnel, initiator=initiator)
        assert key_exchange(six, tunnel) == "hybrid: X25519 and ML-KEM-768 with a PPK"
        assert six.pings()
        six.renew(tunnel, initiator="ours")
        six.renew(tunnel, initiator="ours", net=tunnel.nets[0])
        assert six.pings()
        six.down(tunnel)
