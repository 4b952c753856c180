"""Our gateway and libreswan, both over the kernel's ESP."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, pkcs12

from tests.interop.credentials import ROOT as LAB_ROOT
from tests.interop.credentials import Proven
from tests.interop.credentials import ends as certificates
from tests.interop.flows import flood, stream
from tests.interop.planes import roles
from tests.interop.tunnels import HOSTS, INNER, OUTER, SECRET, Net, Tunnel
from tests.lab.appliance import Appliance, Plain, until
from tests.lab.libreswan import Libreswan
from tests.lab.namespaces import Namespace, Network, two_sites

ROUNDS = int(os.environ.get("IKEGATE_REKEYS", "12"))
CROSSINGS = int(os.environ.get("IKEGATE_REKEYS", "24"))

pytestmark = [pytest.mark.in_kernel, pytest.mark.requires("root", "netns", "esp", "libreswan", "ping")]


@dataclass
class Ends:
    """Our gateway on the left, libreswan on the right."""

    left: Namespace
    right: Namespace
    gateway: Appliance
    pluto: Libreswan

    def up(self, tunnel: Tunnel, initiator: str) -> None:
        if initiator == "ours":
            done = self.gateway.connect(tunnel.name, wait=30)
            assert done["ok"], f"{done['text']}\n{self.pluto.tail()}"
        else:
            self.pluto.initiate(tunnel.name)
        until(lambda: len(self.gateway.children(tunnel.name)) == 1, f"{tunnel.name} is up at our end")

    def down(self, tunnel: Tunnel, initiator: str) -> None:
        if initiator == "ours":
            assert (done := self.gateway.disconnect(tunnel.name))["ok"], done
        else:
            self.pluto.terminate(tunnel.name)
        until(lambda: not self.gateway.peer(tunnel.name)["ike_sas"], "gone at our end")
        until(lambda: not self.pluto.states(tunnel.name), "gone at libreswan's end")

    def take_all_down(self) -> None:
        """As after a test that failed: what stands goes, and so do libreswan's connections, which are in the way."""
        if self.gateway.process is None or self.pluto.process is None:
            return
        for name in self.pluto.connections:
            self.pluto.whack("--name", name, "--delete", check=False)

        def nothing_stands() -> bool:
            up = [peer["name"] for peer in self.gateway.status()["peers"] if peer["ike_sas"]]
            for name in up:
                self.gateway.disconnect(name, wait=2)
            return not up

        until(nothing_stands, "nothing stands at our end", seconds=30)

    def pings(self) -> bool:
        here, there = HOSTS[4]
        return self.left.ping(there, source=here, count=2) and self.right.ping(here, source=there, count=2)


@contextmanager
def meeting(folder: Path, pluto: type[Libreswan] = Libreswan, gateway: type[Appliance] = Appliance) -> Iterator[Ends]:
    """Both ends of a cable, which forget all at the end."""
    with ExitStack() as stack:
        left, right = two_sites(stack.enter_context(Network()))
        right.route(INNER[4][0], "via", OUTER[4][0], "src", HOSTS[4][1])  # pluto's own script is not run
        daemon = stack.enter_context(pluto(right, folder / "pluto"))
        appliance = stack.enter_context(gateway(left, folder / "gateway", "kernel"))
        yield Ends(left, right, appliance, daemon)


@pytest.fixture(scope="module")
def ends(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ends]:
    with meeting(tmp_path_factory.mktemp("libreswan")) as found:
        yield found


def load(
    ends: Ends, tunnel: Tunnel, ike: str, esp: str, *, ours: dict[str, list[Plain]] | None = None, **more: str
) -> None:
    """The tunnel on both ends; `ike` and `esp` are its algorithms in libreswan's words, `ours` more of our document."""
    left, right = tunnel.ids()
    connection = {
        "left": OUTER[4][1],
        "leftid": f"@{right}",
        "leftsubnet": INNER[4][1],
        "right": OUTER[4][0],
        "rightid": f"@{left}",
        "rightsubnet": INNER[4][0],
        "ike": ike,
        "esp": esp,
        "auto": "add",
        **more,
    }
    ends.pluto.load({tunnel.name: connection}, f'@{right} @{left} : PSK "{SECRET}"')
    document = {"proposals": tunnel.proposals(), "peers": [tunnel.peer()], "psks": [tunnel.psk()], **(ours or {})}
    ends.gateway.apply(document, prune=True)


SIGNED = {
    "rsa": ("rsa3072", "rsa-sha2", "RSA-PSS with SHA-"),
    "ecdsa-256": ("p256", "ecdsa", "ECDSA with SHA-"),
    "ecdsa-384": ("p384", "ecdsa", "ECDSA with SHA-"),
    "ecdsa-521": ("p521", "ecdsa", "ECDSA with SHA-"),
}


@roles
@pytest.mark.parametrize("kind", SIGNED)
def test_proof_by_certificates_with_libreswan(ends: Ends, kind: str, initiator: str) -> None:
    key, authby, label = SIGNED[kind]
    name = f"cert-{kind}-{initiator}"
    both = certificates(name, key)
    proven = Proven(name=name, **both)
    tunnel = replace(proven.tunnel(), ike="aes256gcm16-prfsha512-ecp256", nets=(Net(esp="aes256gcm16"),))
    right = both["right"]
    password = BestAvailableEncryption(b"lab")
    octets = pkcs12.serialize_key_and_certificates(name.encode(), right.key, right.certificate, None, password)
    ends.pluto.trust(f"root-{name}", LAB_ROOT.pem)
    ends.pluto.own(name, octets, "lab")
    signed = {"authby": authby, "leftcert": name, "leftsendcert": "always", "rightca": "%any"}
    authorities = [{"name": "lab", "certificate": LAB_ROOT.pem}]
    load(
        ends,
        tunnel,
        "aes_gcm256-sha2_512;dh19",
        "aes_gcm256",
        ours={"authorities": authorities, "certificates": [proven.certificate()]},
        **signed,
    )
    ends.up(tunnel, initiator)
    assert ends.pings()
    told = " ".join(step["text"] for step in ends.gateway.attempt(name)["steps"])
    assert label in told
    ends.down(tunnel, initiator)
    ends.pluto.whack("--name", name, "--delete")


SUITES = {
    "gcm": ("aes256gcm16-prfsha512-ecp256", "aes_gcm256-sha2_512;dh19", "aes256gcm16", "aes_gcm256"),
    "cbc": ("aes128-sha256-modp2048", "aes128-sha2_256;dh14", "aes128-sha256", "aes128-sha2_256"),
    "x25519": ("aes256gcm16-prfsha256-x25519", "aes_gcm256-sha2_256;dh31", "chacha20poly1305", "chacha20_poly1305"),
}


@roles
@pytest.mark.parametrize("suite", SUITES)
def test_a_tunnel_with_libreswan(ends: Ends, suite: str, initiator: str) -> None:
    ike, their_ike, esp, their_esp = SUITES[suite]
    tunnel = Tunnel(name=f"{suite}-{initiator}", ike=ike, nets=(Net(esp=esp),))
    load(ends, tunnel, their_ike, their_esp)
    ends.up(tunnel, initiator)
    assert ends.pings()
    (child,) = ends.gateway.children(tunnel.name)
    assert child["algorithms"] == esp
    ends.down(tunnel, initiator)
    ends.pluto.whack("--name", tunnel.name, "--delete")  # two connections with the same subnets confuse it


@roles
def test_rekeys_with_libreswan(ends: Ends, initiator: str) -> None:
    tunnel = Tunnel(
        name=f"rekey-{initiator}", ike="aes256gcm16-prfsha512-ecp256", nets=(Net(esp="aes256gcm16-ecp256"),)
    )
    load(ends, tunnel, "aes_gcm256-sha2_512;dh19", "aes_gcm256;dh19")
    ends.up(tunnel, initiator)
    for ike in (False, True, False):
        old = (ends.gateway.ike_sas(tunnel.name) if ike else ends.gateway.children(tunnel.name))[0]["id"]
        if initiator == "ours":
            assert ends.gateway.rekey(tunnel.name, None if ike else "net")["ok"], ends.pluto.tail()
        else:
            ends.pluto.rekey(tunnel.name, ike=ike)

        def renewed(ike: bool = ike, old: int = old) -> bool:
            found = ends.gateway.ike_sas(tunnel.name) if ike else ends.gateway.children(tunnel.name)
            return [one["id"] for one in found] not in ([], [old]) and len(found) == 1

        until(renewed, "renewed", seconds=30)
        assert ends.pings(), ends.pluto.tail()
    ends.down(tunnel, initiator)
    ends.pluto.whack("--name", tunnel.name, "--delete")


def settled(ends: Ends, tunnel: Tunnel, *, crossing: bool = False) -> tuple[int, int] | None:
    """The numbers of our one IKE SA and its one CHILD_SA, when libreswan too has one of each.

    After rekeys of the IKE SA that cross it may keep a further one, without children and for no use.
    """
    ours, theirs = ends.gateway.ike_sas(tunnel.name), ends.pluto.states(tunnel.name)
    if len(ours) != 1 or len(ours[0]["children"]) != 1 or sum("CHILD_SA" in line for line in theirs) != 1:
        return None
    if len(theirs) != 2 and not crossing:
        return None
    return ours[0]["id"], ours[0]["children"][0]["id"]


@roles
@pytest.mark.requires("iperf3", "nft-queue")
@pytest.mark.timeout(60 + 6 * ROUNDS)
def test_rekeys_without_end(ends: Ends, tmp_path: Path, initiator: str) -> None:
    """No packet is lost and nothing doubles, whoever rekeys.

    As responder libreswan sends on the new CHILD_SA before its answer is out. Version 4.10 does not survive two rekeys
    that cross: of a CHILD_SA it sends its own request again in the place of the answer to ours; of the IKE SA it moves
    its children to whatever was made last, and loses them with the one that loses (RFC 7296 2.8, 2.8.2).
    """
    endure(ends, tmp_path, initiator)


def endure(ends: Ends, folder: Path, initiator: str) -> None:
    """Let one end rekey again and again under a ping flood and a TCP stream, or both at the same moment."""
    tunnel = Tunnel(
        name="endurance",
        ike="aes256gcm16-prfsha512-ecp256",
        nets=(Net(esp="aes256gcm16-ecp256"),),
        ours={"retransmit": {"tries": 6, "base": 0.5, "factor": 1.8}},  # half of it is how long a crossing rekey waits
    )
    load(ends, tunnel, "aes_gcm256-sha2_512;dh19", "aes_gcm256;dh19")
    ends.up(tunnel, "ours")
    with flood(ends.left, folder), stream(ends.left, ends.right, folder):
        for number in range(CROSSINGS if initiator == "both" else ROUNDS):
            renew(ends, tunnel, initiator, ike=number % 3 == 2)
    ends.gateway.disconnect(tunnel.name)
    ends.pluto.whack("--name", tunnel.name, "--delete")  # with what it may have kept of rekeys that crossed
    until(lambda: not ends.gateway.peer(tunnel.name)["ike_sas"], "gone at our end")


def renew(ends: Ends, tunnel: Tunnel, initiator: str, *, ike: bool) -> None:
    """One rekey; when it is over, both ends have one of each."""
    crossing = initiator == "both"
    before = until(lambda: settled(ends, tunnel, crossing=crossing), "one SA of each kind at both ends", seconds=60)
    assert before is not None
    if initiator == "theirs" or crossing:
        ends.pluto.rekey(tunnel.name, ike=ike)
    if initiator == "ours" or crossing:
        ends.gateway.ask("rekey", peer=tunnel.name, child=None if ike else "net", wait=0)

    def renewed() -> bool:
        now = settled(ends, tunnel, crossing=crossing)
        return now is not None and now[0 if ike else 1] != before[0 if ike else 1]

    try:
        until(renewed, f"one new {'IKE SA' if ike else 'CHILD_SA'} at both ends", seconds=60)
    except AssertionError as failure:
        both = f"ours: {ends.gateway.status()['ike_sas']}\ntheirs: {ends.pluto.states(tunnel.name)}"
        raise AssertionError(f"{failure}\n{both}\n{ends.gateway.tail(40)}\n{ends.pluto.tail(60)}") from None
