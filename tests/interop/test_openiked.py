"""Our gateway and OpenIKED: proof by certificates, both roles.

ESP is by SHA-1, which is off in what the product offers by itself: OpenIKED's bridge to Linux (PF_KEY) knows neither
SHA-2 nor AEAD ciphers, and leaves what it does not know out of its proposals in silence.
"""

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from tests.interop.credentials import ROOT, Proven, ends
from tests.interop.planes import roles
from tests.interop.tunnels import HOSTS, INNER, OUTER, Net
from tests.lab.appliance import Appliance, until
from tests.lab.namespaces import Network, two_sites
from tests.lab.openiked import OpenIked

pytestmark = [pytest.mark.in_kernel, pytest.mark.requires("root", "netns", "esp", "openiked", "ping")]

_CONFIGURATION = """
ikev2 "{name}" {start} esp from {right} to {left} local {here} peer {there} \\
    ikesa auth hmac-sha2-256 enc aes-128 prf hmac-sha2-256 group curve25519 \\
    childsa enc aes-128 auth hmac-sha1 noesn srcid {name}.right.lab dstid {name}.left.lab ikelifetime 0 lifetime 0
"""
KINDS = {"ecdsa": ("p256", "ecdsa-sha256", "ECDSA"), "rsa": ("rsa", "rsa-sha256", "RSA PKCS#1 v1.5")}


@roles
@pytest.mark.parametrize("kind", KINDS)
def test_proof_by_certificates_with_openiked(kind: str, initiator: str, tmp_path: Path) -> None:
    key, scheme, label = KINDS[kind]
    name = f"iked-{kind}-{initiator}"
    both = ends(name, key)
    proven = Proven(name=name, **both, ours={"scheme": scheme})
    tunnel = replace(proven.tunnel(), ike="aes128-sha256-x25519", nets=(Net(esp="aes128-sha1"),))
    words = {
        "name": name,
        "start": "passive" if initiator == "ours" else "active",
        "right": INNER[4][1],
        "left": INNER[4][0],
        "here": OUTER[4][1],
        "there": OUTER[4][0],
    }
    with ExitStack() as stack:
        left, right = two_sites(stack.enter_context(Network()))
        right.route(INNER[4][0], "via", OUTER[4][0], "src", HOSTS[4][1])
        gateway = stack.enter_context(Appliance(left, tmp_path / "gateway", "kernel"))
        gateway.apply(
            {
                "proposals": tunnel.proposals(),
                "authorities": [{"name": "lab", "certificate": ROOT.pem}],
                "certificates": [proven.certificate()],
                "peers": [tunnel.peer()],
            },
            prune=True,
        )
        iked = OpenIked(right, tmp_path / "iked", _CONFIGURATION.format(**words))
        iked.own(both["right"].pem, both["right"].key_pem, ROOT.pem)
        stack.enter_context(iked)
        if initiator == "ours":  # it may forget what it heard while it still reads its configuration
            until(lambda: gateway.connect(name)["ok"], "connected", 30)
        try:
            until(lambda: len(gateway.children(name)) == 1, "up at our end", 30)
        except AssertionError as failure:
            raise AssertionError(f"{failure}\n{iked.log()}\n{gateway.tail()}") from None
        here, there = HOSTS[4]
        assert left.ping(there, source=here, count=2), iked.log()
        assert right.ping(here, source=there, count=2), iked.log()
        told = " ".join(step["text"] for step in gateway.attempt(name)["steps"])
        assert label in told
