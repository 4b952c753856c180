"""Every algorithm, each alone, against strongSwan's implementation of it: for IKE and for ESP, in both roles."""

import pytest

from tests.interop.planes import roles
from tests.interop.tunnels import Net, Pair, Tunnel

IKE_CIPHERS = """
    aes128gcm16 aes256gcm16 aes256gcm12 aes256gcm8 aes128ccm16 aes256ccm16 aes128-sha256 aes256-sha384 aes256-sha512
    aes192-sha1 aes256ctr-sha256 aes128-aesxcbc chacha20poly1305
""".split()
PRFS = "prfsha1 prfsha256 prfsha384 prfsha512 prfaesxcbc prfaescmac".split()
GROUPS = """
    x25519 x448 ecp256 ecp384 ecp521 ecp256bp ecp384bp ecp512bp modp2048 modp3072 modp4096 modp6144 modp8192
""".split()
ESP = """
    aes128gcm16 aes256gcm16 aes256gcm12 aes256gcm8 aes128ccm16 aes256ccm12 aes256ctr-sha256 aes128-sha1 aes128-sha256
    aes256-sha384 aes256-sha512 aes128-aesxcbc chacha20poly1305
""".split()


def ike_suite(cipher: str) -> str:
    """A cipher with a PRF that fits, and the cheapest group."""
    return f"{cipher}-prfsha256-x25519"


IKE = {
    **{cipher: ike_suite(cipher) for cipher in IKE_CIPHERS},
    **{prf: f"aes128gcm16-{prf}-x25519" for prf in PRFS},
    **{group: f"aes128gcm16-prfsha256-{group}" for group in GROUPS},
}
TUNNELS = {
    **{("ike", word): Tunnel(name=f"ike-{word}", ike=suite) for word, suite in IKE.items()},
    **{("esp", word): Tunnel(name=f"esp-{word}", nets=(Net(esp=word),)) for word in ESP},
}


@pytest.fixture(scope="module")
def tunnels(pair: Pair) -> Pair:
    """All of them configured, none of them up."""
    pair.load(*TUNNELS.values())
    return pair


@roles
@pytest.mark.parametrize("word", IKE)
def test_ike(tunnels: Pair, word: str, initiator: str) -> None:
    tunnel = TUNNELS["ike", word]
    tunnels.up(tunnel, initiator=initiator)
    (sa,) = tunnels.gateway.ike_sas(tunnel.name)
    assert sa["algorithms"] == IKE[word]
    assert sa["initiator"] is (initiator == "ours")
    assert len(tunnels.their_children(tunnel)) == 1
    tunnels.down(tunnel, initiator="theirs" if initiator == "ours" else "ours")


@roles
@pytest.mark.parametrize("word", ESP)
def test_esp(tunnels: Pair, word: str, initiator: str) -> None:
    tunnel = TUNNELS["esp", word]
    tunnels.up(tunnel, initiator=initiator)
    (child,) = tunnels.gateway.children(tunnel.name)
    assert child["algorithms"] == word
    assert tunnels.pings(size=1300)
    (theirs,) = tunnels.their_children(tunnel)
    assert (int(theirs["packets-in"]), int(theirs["packets-out"])) == (2, 2)
    tunnels.down(tunnel)
