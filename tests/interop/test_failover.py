"""A standby of ours takes over from strongSwan's point of view (RFC 6311).

charon says that it can synchronise only where it calls, and knows nothing of replay counters. With AES-GCM its IVs come
from message IDs, and it cannot encrypt its own answer with the message ID zero (5.9.8); with AES-CBC it can.
"""

from pathlib import Path

from tests.interop.planes import userspace_only
from tests.interop.test_lifetimes import flow
from tests.interop.tunnels import Net, Pair, Tunnel
from tests.lab.appliance import until

pytestmark = userspace_only
TUNNEL = Tunnel(name="cluster", ike="aes128-sha256-x25519", nets=(Net(esp="aes128gcm16-x25519"),))
NET = TUNNEL.nets[0]


def test_an_ike_sa_outlives_numbers_that_were_lost(pair: Pair, tmp_path: Path) -> None:
    pair.load(TUNNEL)
    pair.up(TUNNEL, initiator="theirs")
    (before,) = pair.gateway.ike_sas(TUNNEL.name)
    for _ in range(3):
        assert (done := pair.gateway.ask("rekey", peer=TUNNEL.name, child="net"))["ok"], done
    pair.charon.rekey(child=TUNNEL.child_name(NET))
    until(lambda: len(pair.gateway.children(TUNNEL.name)) == 1, "one child is left")
    with flow(pair, tmp_path) as carried:
        assert pair.gateway.ask("fail_over", peer=TUNNEL.name, behind=5) == 1
        until(lambda: "MID sync" in pair.charon.tail(400), "charon synchronised")
        assert pair.gateway.ask("rekey", peer=TUNNEL.name, child="net")["ok"], pair.charon.tail(60)
        pair.charon.rekey(child=TUNNEL.child_name(NET))
        until(lambda: len(pair.gateway.children(TUNNEL.name)) == 1, "one child is left")
    (after,) = pair.gateway.ike_sas(TUNNEL.name)
    assert (after["spi_i"], after["spi_r"]) == (before["spi_i"], before["spi_r"])
    assert not carried.lost
    pair.down(TUNNEL)
