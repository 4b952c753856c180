"""Post-quantum pre-shared keys with libreswan 5 (RFC 8784), in both roles, over the kernel's ESP."""

from dataclasses import replace

import pytest

from tests.interop.planes import roles
from tests.interop.test_libreswan import Ends, load
from tests.interop.test_resumption import ends
from tests.interop.tunnels import SECRET, Net, Tunnel
from tests.lab.appliance import until

pytestmark = [pytest.mark.in_kernel, pytest.mark.requires("root", "netns", "esp", "libreswan5", "ping")]

__all__ = ["ends"]
WORDS = "a post-quantum key of this very lab, and long enough"
SUITE = ("aes256gcm16-prfsha512-ecp256", "aes_gcm256-sha2_512;dh19", "aes256gcm16", "aes_gcm256")


def up(ends: Ends, tunnel: Tunnel, initiator: str, ppk: str) -> str:
    """The tunnel with libreswan's `ppk`; how our status tells the key exchange."""
    left, right = tunnel.ids()
    load(ends, tunnel, SUITE[1], SUITE[3], ours={"ppks": tunnel.our_ppks()}, ppk=ppk)
    lines = [f'@{right} @{left} : PSK "{SECRET}"', f'@{right} @{left} : PPKS "2026.lab" "{WORDS}"']
    (ends.pluto.folder / "ipsec.secrets").write_text("\n".join(lines) + "\n")
    ends.pluto.whack("--rereadsecrets")
    ends.up(tunnel, initiator)
    assert ends.pings()
    told: str = ends.gateway.ike_sas(tunnel.name)[-1]["key_exchange"]
    # by its own hand: what we end, libreswan calls again at once where it was the one that called
    ends.pluto.whack("--name", tunnel.name, "--delete", check=False)
    until(lambda: not ends.gateway.ike_sas(tunnel.name), "gone at our end")
    return told


@roles
def test_both_insist(ends: Ends, initiator: str) -> None:
    tunnel = Tunnel(name=f"ppk-{initiator}", ike=SUITE[0], nets=(Net(esp=SUITE[2]),), ppks={"2026.lab": WORDS})
    tunnel = replace(tunnel, ours={"ppk_required": True})
    assert up(ends, tunnel, initiator, "insist").startswith("PPK: ")


@roles
def test_a_key_that_the_other_end_does_not_know_is_done_without(ends: Ends, initiator: str) -> None:
    tunnel = Tunnel(name=f"way-out-{initiator}", ike=SUITE[0], nets=(Net(esp=SUITE[2]),), ppks={"other": WORDS})
    assert up(ends, tunnel, initiator, "yes").startswith("classical: ")
