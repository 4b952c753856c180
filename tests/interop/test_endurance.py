"""Both ends rekey at once, again and again, under a ping flood and a TCP stream: nothing is lost, nothing doubles."""

import os
from pathlib import Path

import pytest

from tests.interop.flows import flood, stream
from tests.interop.planes import KERNEL
from tests.interop.tunnels import Net, Pair, Tunnel
from tests.lab.appliance import Plain, until

ROUNDS = int(os.environ.get("IKEGATE_REKEYS", "24"))
NET = Net(esp="aes128gcm16-x25519")
TUNNEL = Tunnel(name="endurance", nets=(NET,))

pytestmark = [
    pytest.mark.parametrize("plane", [KERNEL], indirect=True, scope="module"),
    pytest.mark.requires("iperf3"),
    pytest.mark.timeout(60 + 6 * ROUNDS),
]


def settled(pair: Pair) -> tuple[Plain, Plain] | None:
    """Our one IKE SA and its one CHILD_SA, when strongSwan has just these too."""
    ours, theirs = pair.gateway.ike_sas(TUNNEL.name), pair.theirs(TUNNEL)
    if len(ours) != 1 or len(theirs) != 1 or theirs[0]["initiator-spi"] != ours[0]["spi_i"]:
        return None
    mine, other = ours[0]["children"], list(theirs[0]["child-sas"].values())
    if len(mine) != 1 or len(other) != 1 or other[0]["state"] != "INSTALLED":
        return None
    return (ours[0], mine[0]) if other[0]["spi-in"] == mine[0]["spi_out"] else None


def both_rekey(pair: Pair, *, ike: bool) -> None:
    """Both ends begin at the same moment; when it is over, there is one of each, and a new one."""
    before = until(lambda: settled(pair), "one SA of each kind at both ends", seconds=60)
    assert before is not None
    if ike:
        pair.charon.rekey(ike=TUNNEL.name)
    else:
        pair.charon.rekey(child=TUNNEL.child_name(NET))
    pair.gateway.ask("rekey", peer=TUNNEL.name, child=None if ike else NET.name, wait=0)
    kind = "IKE SA" if ike else "CHILD_SA"

    def renewed() -> bool:
        now = settled(pair)
        return now is not None and now[0 if ike else 1]["id"] != before[0 if ike else 1]["id"]

    try:
        until(renewed, f"one new {kind} at both ends", seconds=60)
    except AssertionError as failure:
        ends = f"ours: {pair.gateway.ike_sas(TUNNEL.name)}\ntheirs: {pair.theirs(TUNNEL)}"
        raise AssertionError(f"{failure}\n{ends}\n{pair.gateway.tail(40)}\n{pair.charon.tail(120)}") from None


def test_rekeys_without_end(pair: Pair, tmp_path: Path) -> None:
    pair.load(TUNNEL)
    pair.up(TUNNEL, initiator="ours")
    with flood(pair.left, tmp_path), stream(pair.left, pair.right, tmp_path):
        for number in range(ROUNDS):
            both_rekey(pair, ike=number % 3 == 2)
    pair.down(TUNNEL)
    assert pair.gateway.ask("states") == []
