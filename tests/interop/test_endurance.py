"""Both ends rekey at once, again and again, under a ping flood and a TCP stream: nothing is lost, nothing doubles."""

import json
import os
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.interop.planes import KERNEL
from tests.interop.tunnels import HOSTS, Net, Pair, Tunnel
from tests.lab.appliance import Plain, until

ROUNDS = int(os.environ.get("IKEGATE_REKEYS", "24"))
NET = Net(esp="aes128gcm16-x25519")
TUNNEL = Tunnel(name="endurance", nets=(NET,))
LEFT, RIGHT = HOSTS[4]

pytestmark = [
    pytest.mark.parametrize("plane", [KERNEL], indirect=True, scope="module"),
    pytest.mark.requires("iperf3"),
    pytest.mark.timeout(60 + 6 * ROUNDS),
]


@contextmanager
def flood(pair: Pair, folder: Path) -> Iterator[None]:
    """An echo request every 4 ms, which is a flood for a guest; at the end none is missing but the one under way."""
    output = folder / "flood"
    process = pair.left.start("ping", "-q", "-i", "0.004", "-I", LEFT, RIGHT, output=output)
    try:
        yield
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(10)
    found = re.search(r"(\d+) packets transmitted, (\d+) received", output.read_text())
    assert found, output.read_text()
    sent, received = map(int, found.groups())
    assert received > ROUNDS
    assert sent - received <= 1, f"{sent - received} of {sent} lost"


@contextmanager
def stream(pair: Pair, folder: Path) -> Iterator[None]:
    """One TCP connection that goes on from the first rekey to the last."""
    pair.right.start("iperf3", "-s", "-1", "--forceflush", "-B", RIGHT, output=folder / "server")
    until(lambda: "listening" in (folder / "server").read_text(), "the iperf3 server listens")
    words = ("-c", RIGHT, "-B", LEFT, "-t", "0", "-b", "20M", "-J")
    client = pair.left.start("iperf3", *words, output=folder / "client")
    try:
        yield
        assert client.poll() is None, (folder / "client").read_text()
    finally:
        client.send_signal(signal.SIGINT)
        client.wait(20)
    text = (folder / "client").read_text()
    assert json.loads(text[text.index("{") :])["end"]["sum_sent"]["bytes"] > 100_000


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
    with flood(pair, tmp_path), stream(pair, tmp_path):
        for number in range(ROUNDS):
            both_rekey(pair, ike=number % 3 == 2)
    pair.down(TUNNEL)
    assert pair.gateway.ask("states") == []
