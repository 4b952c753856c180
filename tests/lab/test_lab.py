"""The lab itself: namespaces are private and go away, and strongSwan talks to strongSwan in two of them."""

import contextlib
import errno
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.lab.appliance import until
from tests.lab.charon import Charon, CharonError
from tests.lab.namespaces import CommandFailedError, Namespace, Network, remove_leftovers, run, two_sites
from tests.lab.userspace import CHECKS, missing
from tests.lab.vici import KEY_VALUE, LIST_END, LIST_ITEM, LIST_START, SECTION_END, SECTION_START, decode, encode

needs_network = pytest.mark.requires("root", "netns")
needs_charon = pytest.mark.requires("root", "netns", "tun", "charon", "ping")

CONNECTION = """
connections {{
  site {{
    version = 2
    local_addrs = {local}
    remote_addrs = {remote}
    proposals = aes256gcm16-prfsha256-x25519
    local {{
      auth = psk
      id = {local_id}
    }}
    remote {{
      auth = psk
      id = {remote_id}
    }}
    children {{
      net {{
        local_ts = {local_net}
        remote_ts = {remote_net}
        esp_proposals = aes256gcm16-x25519
      }}
    }}
  }}
}}
secrets {{
  ike-site {{
    id-1 = {local_id}
    id-2 = {remote_id}
    secret = "{secret}"
  }}
}}
"""


def sites(secret: str = "correct horse battery staple", left_secret: str = "") -> tuple[str, str]:
    """The swanctl.conf texts of both ends of `two_sites`."""
    left = {"local": "192.0.2.1", "local_id": "left.lab", "local_net": "10.1.0.0/24"}
    right = {"local": "192.0.2.2", "local_id": "right.lab", "local_net": "10.2.0.0/24"}

    def text(here: dict[str, str], there: dict[str, str], key: str) -> str:
        remote = {name.replace("local", "remote"): value for name, value in there.items()}
        return CONNECTION.format(**here, **remote, secret=key)

    return text(left, right, left_secret or secret), text(right, left, secret)


def tunnel_carries_a_ping(left: Namespace, right: Namespace, folder: Path, kernel: str) -> None:
    """Both ends up, no ping before the tunnel, a ping through it after, counted by both, and no SA after the delete."""
    for name in ("left", "right"):
        (folder / name).mkdir()
    left_conf, right_conf = sites()
    with Charon(left, folder / "left", kernel) as here, Charon(right, folder / "right", kernel) as there:
        here.load(left_conf)
        there.load(right_conf)
        assert not left.ping("10.2.0.1", source="10.1.0.1", wait=0.5)
        here.initiate("net")
        assert left.ping("10.2.0.1", source="10.1.0.1", count=3)
        (sa,) = there.list_sas()
        assert (sa["name"], sa["state"], sa["remote-id"]) == ("site", "ESTABLISHED", "left.lab")
        (child,) = there.children("net")
        assert child["state"] == "INSTALLED"
        assert int(str(child["packets-in"])) >= 3
        assert child["encr-alg"] == "AES_GCM_16"
        here.terminate("site")
        assert here.list_sas() == []
        assert not left.ping("10.2.0.1", source="10.1.0.1", wait=0.5)


@pytest.mark.interop
@needs_charon
def test_strongswan_speaks_to_strongswan_with_userspace_esp(network: Network, tmp_path: Path) -> None:
    left, right = two_sites(network)
    tunnel_carries_a_ping(left, right, tmp_path, "kernel-libipsec kernel-netlink")


@pytest.mark.interop
@needs_charon
def test_a_wrong_key_is_an_error_with_charons_reason(network: Network, tmp_path: Path) -> None:
    left, right = two_sites(network)
    for name in ("left", "right"):
        (tmp_path / name).mkdir()
    left_conf, right_conf = sites(left_secret="another")
    with Charon(left, tmp_path / "left") as here, Charon(right, tmp_path / "right") as there:
        here.load(left_conf)
        there.load(right_conf)
        with pytest.raises(CharonError, match="AUTH_FAILED"):
            here.initiate("net")


@pytest.mark.interop
@needs_charon
def test_charon_that_cannot_start_says_so(network: Network, tmp_path: Path) -> None:
    site = network.namespace("site")
    charon = Charon(site, tmp_path, "no-such-plugin")
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as squatter:
        squatter.bind(str(charon.socket))  # nobody listens here, and charon cannot take the place
        os.chmod(charon.socket_folder, 0o500)
        with pytest.raises(CharonError, match="did not start"):
            charon.start(timeout=1)
    assert not charon.socket_folder.exists()


@needs_network
def test_namespaces_are_private_and_removed(tmp_path: Path) -> None:
    before = _namespaces()
    forwarding = Path("/proc/sys/net/ipv4/ip_forward").read_text()
    with Network() as network:
        left, right = two_sites(network)
        assert left.ping("192.0.2.2")
        assert left.ping("2001:db8::2")
        assert not left.ping("10.2.0.1", wait=0.3)
        left.route("10.2.0.0/24", "via", "192.0.2.2")
        assert left.ping("10.2.0.1")
        assert {"to-left", "to-right"}.isdisjoint(os.listdir("/sys/class/net"))
        sleeper = right.start("sleep", "60", output=tmp_path / "out")
        right.run("sh", "-c", "sleep 61 >/dev/null 2>&1 &")
        until(lambda: len(run("ip", "netns", "pids", right.name).stdout.split()) == 2, "both run in there")
    assert sleeper.poll() is not None
    assert _namespaces() == before
    assert Path("/proc/sys/net/ipv4/ip_forward").read_text() == forwarding
    until(lambda: "sleep 61" not in map(_command, Path("/proc").glob("[0-9]*")), "the one in the background is gone")


def _namespaces() -> set[Path]:
    """Those of this process: others run tests of their own at the same time."""
    return set(Path("/run/netns").glob(f"ikg{os.getpid()}-*"))


def _command(process: Path) -> str:
    try:
        return (process / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
    except OSError:
        return ""  # it ended meanwhile


@needs_network
def test_a_failure_inside_still_removes_the_namespaces() -> None:
    with pytest.raises(CommandFailedError, match="status 1"), Network() as network:
        only = network.namespace("only")
        only.run("false")
    assert not only.path.exists()


@needs_network
def test_the_namespaces_of_a_killed_run_are_removed_by_the_next() -> None:
    code = """
import os, signal
from tests.lab.namespaces import Network
print(Network().namespace("left-over").name, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    killed = subprocess.run(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    left_over = Path("/run/netns", killed.stdout.strip())
    assert left_over.exists()
    remove_leftovers()
    assert not left_over.exists()


@needs_network
def test_a_thread_enters_a_namespace_and_comes_back(network: Network) -> None:
    site = network.namespace("site")
    site.address("lo", "198.51.100.7/32")
    assert not _binds(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    with site.entered():
        inside = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    assert _binds(inside)  # made in there, it stays in there
    assert not _binds(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))


def _binds(made: socket.socket) -> bool:
    """Whether a socket may have the address that only the namespace has; closes it."""
    with contextlib.closing(made):
        try:
            made.bind(("198.51.100.7", 0))
        except OSError as failure:
            return failure.errno != errno.EADDRNOTAVAIL
        return True


@pytest.mark.requires("root", "netns", "nft", "nft-nat")
def test_a_nat_router_rewrites_and_moves_a_mapping(network: Network) -> None:
    inside, router, outside = (network.namespace(name) for name in ("inside", "router", "outside"))
    network.link(inside, router, "10.9.0.2/24", "10.9.0.1/24")
    network.link(router, outside, "192.0.2.1/24", "192.0.2.2/24")
    inside.route("default", "via", "10.9.0.1")
    router.masquerade("to-outside", ports="40000-40099")
    with outside.entered():
        server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with inside.entered():
        client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with contextlib.closing(server), contextlib.closing(client):
        server.bind(("192.0.2.2", 4500))
        server.settimeout(10)
        client.sendto(b"one", ("192.0.2.2", 4500))
        host, port = server.recvfrom(10)[1]
        assert host == "192.0.2.1"
        assert 40000 <= port <= 40099
        router.masquerade("to-outside", ports="50000-50099")
        router.forget_connections()
        client.sendto(b"two", ("192.0.2.2", 4500))
        assert 50000 <= server.recvfrom(10)[1][1] <= 50099


@needs_network
def test_a_daemon_that_ignores_its_end_is_killed(network: Network, tmp_path: Path) -> None:
    site = network.namespace("site")
    stubborn = site.start("sh", "-c", "trap '' TERM; echo ready; while :; do sleep 1; done", output=tmp_path / "out")
    until((tmp_path / "out").read_text, "it ignores its end", seconds=30)
    site.stop_all()
    assert stubborn.returncode == -9


def test_every_need_has_an_answer() -> None:
    for need in CHECKS:
        assert isinstance(missing(need), str)
    assert missing("no-such-command") == "no command no-such-command (Debian package no-such-command)"


def test_vici_messages_are_read_and_written() -> None:
    message = encode({"child": "net", "ids": ["a", "b"]})
    assert decode(message) == {"child": "net", "ids": ["a", "b"]}
    # A section in a section, beside a list.
    nested = (
        bytes([SECTION_START, 4])
        + b"conn"
        + message
        + bytes([SECTION_START, 1])
        + b"x"
        + bytes([SECTION_END, SECTION_END])
    )
    assert decode(nested) == {"conn": {"child": "net", "ids": ["a", "b"], "x": {}}}
    assert encode({"k": "v"}) == bytes([KEY_VALUE, 1]) + b"k" + bytes([0, 1]) + b"v"
    assert encode({"l": ["i"]}) == bytes([LIST_START, 1]) + b"l" + bytes([LIST_ITEM, 0, 1]) + b"i" + bytes([LIST_END])
