"""Authenticating again with strongSwan while pings pass (RFC 7296 2.8.3, RFC 4478): a new IKE SA before the old goes.

strongSwan is told to make before it breaks, which it does not by itself.
"""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.interop.planes import roles, userspace_only
from tests.interop.test_lifetimes import flow
from tests.interop.tunnels import Net, Pair, Tunnel
from tests.lab.appliance import until

pytestmark = userspace_only
LIFETIME = 12.0
NETS = (Net(esp="aes128gcm16-x25519"),)


def renewed(pair: Pair, tunnel: Tunnel, before: str) -> bool:
    """One IKE SA with one child, and another one than before."""
    found = pair.gateway.ike_sas(tunnel.name)
    return [sa["spi_i"] != before for sa in found] == [True] and len(pair.gateway.children(tunnel.name)) == 1


@roles
def test_our_limit_loses_no_ping(fresh_pair: Callable[..., Pair], initiator: str, tmp_path: Path) -> None:
    """As initiator we keep to it; as responder we tell it by AUTH_LIFETIME, and charon keeps to it.

    Without `over_time` charon ends the IKE SA at the very moment at which it begins to authenticate again.
    """
    (tmp_path / "flow").mkdir()
    pair = fresh_pair("make_before_break = yes")
    tunnel = Tunnel(name="again", nets=NETS, ours={"reauth_time": LIFETIME}, theirs={"over_time": "6s"})
    pair.load(tunnel)
    pair.up(tunnel, initiator=initiator)
    (before,) = pair.gateway.ike_sas(tunnel.name)
    with flow(pair, tmp_path / "flow") as carried:
        until(lambda: renewed(pair, tunnel, before["spi_i"]), "it was authenticated again", seconds=3 * LIFETIME)
    if initiator == "theirs":
        assert "AUTH_LIFETIME" in pair.charon.log() or "AUTH_LFT" in pair.charon.log()
    assert carried.answered > 50
    assert not carried.lost
    attempts = pair.gateway.ask("attempts", peer=tunnel.name)
    assert [one["outcome"] for one in attempts][:2] == ["established", "established"]
    pair.down(tunnel)


@pytest.mark.parametrize("initiator", ["ours", "theirs"])
def test_strongswans_limit_loses_no_ping(fresh_pair: Callable[..., Pair], initiator: str, tmp_path: Path) -> None:
    (tmp_path / "flow").mkdir()
    pair = fresh_pair("make_before_break = yes")
    theirs = {"reauth_time": "12s", "over_time": "6s", "rand_time": "0s"}
    tunnel = Tunnel(name="theirs-again", nets=NETS, theirs=theirs)
    pair.load(tunnel)
    pair.up(tunnel, initiator=initiator)
    (before,) = pair.gateway.ike_sas(tunnel.name)
    with flow(pair, tmp_path / "flow") as carried:
        until(lambda: renewed(pair, tunnel, before["spi_i"]), "it was authenticated again", seconds=3 * LIFETIME)
    assert carried.answered > 50
    assert not carried.lost
    pair.down(tunnel)
