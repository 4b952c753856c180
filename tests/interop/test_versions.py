"""strongSwan speaks IKEv1 to us: it hears once which version we speak."""

import pytest

from tests.interop.planes import userspace_only
from tests.interop.tunnels import Pair, Tunnel
from tests.lab.appliance import until
from tests.lab.charon import CharonError

pytestmark = userspace_only


def test_ikev1_is_told_that_we_speak_ikev2(pair: Pair) -> None:
    tunnel = Tunnel(name="old", theirs={"version": "1", "proposals": "aes128-sha256-modp2048"})
    pair.load(tunnel)
    before = len(pair.charon.log())
    with pytest.raises(CharonError):
        pair.charon.initiate(tunnel.child_name(tunnel.nets[0]), timeout=6.0)
    counters = pair.gateway.status()["counters"]
    assert counters["ikev1"] >= 2  # strongSwan repeats itself
    assert counters["versions-told"] == 1
    assert "received unencrypted informational" in pair.charon.log()[before:]
    assert not pair.gateway.ike_sas()
    pair.load(Tunnel(name="new"))
    pair.up(Tunnel(name="new"), initiator="theirs")
    until(pair.pings, "what speaks IKEv2 is served")
