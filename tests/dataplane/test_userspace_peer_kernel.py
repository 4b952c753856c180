"""Our userspace ESP against the kernel's, state by state: ping and TCP between them inside a kernel that has ESP."""

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict

import pytest

from gateway.crypto.suites import Encryption, Integrity, by_keyword
from tests.dataplane.userspace_end import End
from tests.dataplane.userspace_sites import NETS, Remote, transfer
from tests.lab.in_kernel import in_kernel
from tests.lab.namespaces import Namespace, Network, two_sites

pytestmark = [in_kernel, pytest.mark.requires("root", "netns", "tun", "esp", "ping"), pytest.mark.timeout(60)]

SUITES = [
    ("aes256gcm16", "", False),
    ("aes128gcm16", "", True),
    ("chacha20poly1305", "", False),
    ("aes256", "sha256", False),
    ("aes128", "sha512", True),
    ("aes128ctr", "sha384", False),
]
# A UDP socket with UDP_ENCAP: without one the kernel does not look for ESP in UDP.
ENCAPSULATE = """
import socket, sys
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.setsockopt(socket.SOL_UDP, 100, 2)
sock.bind(("0.0.0.0", 4500))
print("ready", flush=True)
sys.stdin.read()
"""


def kernel_states(ns: Namespace, end: End) -> None:
    """The states and policies of `end`, a description of the right site, in the kernel."""
    encr, integ = by_keyword(end.encr), by_keyword(end.integ)
    assert isinstance(encr, Encryption)
    for inbound, spi in ((True, end.spi_in), (False, end.spi_out)):
        source, destination = (end.there, end.here) if inbound else (end.here, end.there)
        key = "0x" + end.key(spi, encr.key_material_octets).hex()
        if isinstance(integ, Integrity):
            mac_key = "0x" + end.key(spi + 1, integ.key_octets).hex()
            words = ["enc", encr.kernel, key, "auth-trunc", integ.kernel, mac_key, str(integ.kernel_truncation_bits)]
        else:
            words = ["aead", encr.kernel, key, str(8 * encr.icv_octets)]
        ns.ip(
            *f"xfrm state add src {source} dst {destination} proto esp spi {spi:#x} reqid 1 mode tunnel".split(),
            *"replay-window 32 flag af-unspec".split(), *(["esn"] if end.esn else []),
            *words, *"encap espinudp 4500 4500 0.0.0.0".split(),
        )  # fmt: skip
    for ours, theirs in zip(end.ours, end.theirs, strict=True):
        for direction, pair in (("out", f"src {ours} dst {theirs}"), ("in", f"src {theirs} dst {ours}")):
            ends = (end.here, end.there) if direction == "out" else (end.there, end.here)
            template = f"tmpl src {ends[0]} dst {ends[1]} proto esp reqid 1 mode tunnel"
            ns.ip(*f"xfrm policy add {pair} dir {direction} {template}".split())


@contextlib.contextmanager
def encapsulating(ns: Namespace) -> Iterator[None]:
    command = ns.command(sys.executable, "-c", ENCAPSULATE)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield


@pytest.mark.parametrize(("encr", "integ", "esn"), SUITES, ids=lambda value: str(value) or "-")
def test_the_kernel_understands_us_and_we_it(network: Network, encr: str, integ: str, esn: bool) -> None:
    left, right = two_sites(network)
    ours = End("192.0.2.1", "192.0.2.2", NETS[0], NETS[1], 0x1001, 0x1002, encr, integ, esn)
    theirs = End("192.0.2.2", "192.0.2.1", NETS[1], NETS[0], 0x1002, 0x1001, encr, integ, esn)
    kernel_states(right, theirs)
    right.route("10.1.0.0/24", "via", "192.0.2.1", "src", "10.2.0.1")
    right.route("fd01::/64", "via", "2001:db8::1", "src", "fd02::1")
    command = left.command(sys.executable, "-m", "tests.dataplane.userspace_end", json.dumps(asdict(ours)))
    with (
        encapsulating(right),
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process,
    ):
        remote = Remote(left, process)
        assert remote.line() == {"ready": "ikegate0"}
        assert left.ping("10.2.0.1", count=2)
        assert left.ping("fd02::1", source="fd01::1", count=2, size=1001)
        transfer(left, right, ("10.1.0.1", "10.2.0.1"), 4)
        transfer(right, left, ("fd02::1", "fd01::1"), 2)
        counted = remote.ask("counters")["counters"]
        assert min(each["octets"] for each in counted.values()) > 1 << 18
        assert remote.drops() == {}
        process.terminate()
