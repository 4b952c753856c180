"""Traffic that goes on while a test does something to the tunnel, and what of it was lost."""

import json
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.interop.tunnels import HOSTS
from tests.lab.appliance import until
from tests.lab.namespaces import Namespace

LEFT, RIGHT = HOSTS[4]
_HALF = 2**15


@contextmanager
def flood(left: Namespace, folder: Path) -> Iterator[None]:
    """An echo request every 4 ms, which is a flood for a guest; at the end none is missing but those under way."""
    output = folder / "flood"
    process = left.start("ping", "-i", "0.004", "-I", LEFT, RIGHT, output=output)
    try:
        yield
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(10)
    text = output.read_text()
    answered: set[int] = set()
    last, slowest = 0, 0.0
    for number, milliseconds in re.findall(r"icmp_seq=(\d+) .*time=([0-9.]+) ms", text):
        last += (int(number) - last + _HALF) % (2 * _HALF) - _HALF  # the number has 16 bits
        answered.add(last)
        slowest = max(slowest, float(milliseconds))
    assert len(answered) > 100
    missing = max(answered) - len(answered)
    assert not missing, f"{missing} of {max(answered)} lost"
    found = re.search(r"(\d+) packets transmitted", text)
    assert found, text
    unanswered = int(found[1]) - max(answered)
    assert unanswered <= 1 + slowest / 4, f"the last {unanswered} lost, where no answer took more than {slowest} ms"


@contextmanager
def stream(left: Namespace, right: Namespace, folder: Path) -> Iterator[None]:
    """One TCP connection that goes on from the first rekey to the last."""
    right.start("iperf3", "-s", "-1", "--forceflush", "-B", RIGHT, output=folder / "server")
    until(lambda: "listening" in (folder / "server").read_text(), "the iperf3 server listens")
    words = ("-c", RIGHT, "-B", LEFT, "-t", "0", "-b", "20M", "-J")
    client = left.start("iperf3", *words, output=folder / "client")
    try:
        yield
        assert client.poll() is None, (folder / "client").read_text()
    finally:
        client.send_signal(signal.SIGINT)
        client.wait(20)
    text = (folder / "client").read_text()
    assert json.loads(text[text.index("{") :])["end"]["sum_sent"]["bytes"] > 100_000
