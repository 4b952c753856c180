"""A standby of ours takes over from strongSwan's point of view (RFC 6311).

charon says that it can synchronise only where it calls, and knows nothing of replay counters. With AES-GCM its IVs come
from message IDs, and it cannot encrypt its own answer with the message ID zero (5.9.8); with AES-CBC it can.
"""

from pathlib import Path

from tests.interop.planes import userspace_only
from tests.interop.test_lifetimes import flow, rekey_child
from tests.interop.tunnels import Net, Pair, Tunnel
from tests.lab.appliance import until

pytestmark = userspace_only
TUNNEL = Tunnel(name="cluster", ike="aes128-sha256-x25519", nets=(Net(esp="aes128gcm16-x25519"),))


def test_an_ike_sa_outlives_numbers_that_were_lost(pair: Pair, tmp_path: Path) -> None:
    pair.load(TUNNEL)
    pair.up(TUNNEL, initiator="theirs")
    (before,) = pair.gateway.ike_sas(TUNNEL.name)
    for initiator in ("ours", "ours", "ours", "theirs"):
        rekey_child(pair, initiator, TUNNEL)
    said = len(pair.charon.log())
    with flow(pair, tmp_path) as carried:
        assert pair.gateway.ask("fail_over", peer=TUNNEL.name, behind=5) == 1
        until(lambda: "MID sync" in pair.charon.log()[said:], "charon synchronised")
        for initiator in ("ours", "theirs"):
            rekey_child(pair, initiator, TUNNEL)
    (after,) = pair.gateway.ike_sas(TUNNEL.name)
    assert (after["spi_i"], after["spi_r"]) == (before["spi_i"], before["spi_r"])
    assert not carried.lost
    pair.down(TUNNEL)
