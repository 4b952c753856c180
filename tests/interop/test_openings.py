"""IKE_SA_INIT that takes more than one round: cookies against floods, and another group than the one guessed."""

import contextlib
import socket
from collections.abc import Callable

import pytest

from gateway.policy.proposals import Proposal
from gateway.service.seeds import MODERN_PQ_IKE
from gateway.wire import payloads as wire
from gateway.wire.message import Message, build
from gateway.wire.numbers import ExchangeType, KeMethod, Protocol
from tests.interop.planes import roles, userspace_only
from tests.interop.tunnels import Pair, Tunnel
from tests.lab.appliance import until

pytestmark = userspace_only

# strongSwan wants cookies as soon as one SA is half open.
DEMANDING = "cookie_threshold = 1\ncookie_threshold_ip = 1"


def opening_payloads(pair: Pair, tunnel: Tunnel) -> list[tuple[bool, list[str]]]:
    """The IKE_SA_INIT messages of the newest attempt: whether ours, and their payloads."""
    messages = pair.gateway.attempt(tunnel.name)["messages"]
    return [(one["outgoing"], one["payloads"]) for one in messages if one["exchange"] == ExchangeType.IKE_SA_INIT]


def leave_half_open(pair: Pair, tunnel: Tunnel) -> None:
    """Begin an IKE SA with strongSwan and never go on."""
    offer = Proposal.parse(tunnel.ike, Protocol.IKE).to_wire(1, b"")
    payloads: list[wire.Payload] = [wire.SA([offer]), wire.KE(KeMethod.CURVE25519, b"\x09" * 32), wire.Nonce(b"n" * 32)]
    request = Message(b"halfopen", bytes(8), ExchangeType.IKE_SA_INIT, True, False, 0, payloads)
    with pair.left.entered():
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with contextlib.closing(sock):
        sock.settimeout(10)
        sock.sendto(build(request), (tunnel.outer[1], 500))
        assert sock.recv(2000)[8:16] != bytes(8)  # it chose an SPI: the SA is half open


def test_strongswan_wants_a_cookie(fresh_pair: Callable[..., Pair]) -> None:
    pair = fresh_pair(DEMANDING)
    tunnel = Tunnel(name="cookie")
    pair.load(tunnel)
    leave_half_open(pair, tunnel)
    pair.up(tunnel, initiator="ours")
    sent = opening_payloads(pair, tunnel)
    assert [ours for ours, _ in sent] == [True, False, True, False]
    assert "N(COOKIE)" not in sent[0][1]
    assert sent[1][1] == ["N(COOKIE)"]
    assert sent[2][1] == ["N(COOKIE)", *sent[0][1]]
    assert pair.pings()


def test_strongswan_wants_a_cookie_and_another_group(fresh_pair: Callable[..., Pair]) -> None:
    pair = fresh_pair(DEMANDING)
    tunnel = Tunnel(
        name="cookie-and-group",
        ike="aes128gcm16-prfsha256-x25519-ecp256",
        theirs={"proposals": "aes128gcm16-prfsha256-ecp256"},
    )
    pair.load(Tunnel(name="other"))
    leave_half_open(pair, Tunnel(name="other"))
    pair.load(tunnel)  # alone: by the other configuration of the same address strongSwan would take x25519
    pair.up(tunnel, initiator="ours")
    answers = [payloads for ours, payloads in opening_payloads(pair, tunnel) if not ours]
    assert ["N(COOKIE)"] in answers
    assert ["N(INVALID_KE_PAYLOAD)"] in answers
    assert pair.gateway.ike_sas()[0]["algorithms"] == "aes128gcm16-prfsha256-ecp256"
    assert pair.pings()


@pytest.mark.parametrize("group", ["x25519", "ecp256"])
def test_we_want_a_cookie(pair: Pair, group: str) -> None:
    """With ecp256 we also want another group than strongSwan guesses."""
    tunnel = Tunnel(
        name="our-cookie",
        ike=f"aes128gcm16-prfsha256-{group}",
        theirs={"proposals": "aes128gcm16-prfsha256-x25519-ecp256"},
    )
    pair.load(tunnel)
    before, sent = len(pair.charon.log()), pair.gateway.status()["counters"].get("cookies-sent", 0)
    pair.gateway.ask("limit", cookie_threshold=0)
    try:
        pair.up(tunnel, initiator="theirs")
    finally:
        pair.gateway.ask("limit")
    assert pair.gateway.status()["counters"]["cookies-sent"] > sent
    log = pair.charon.log()[before:]
    assert "parsed IKE_SA_INIT response 0 [ N(COOKIE) ]" in log
    assert ("it requested ECP_256" in log) is (group == "ecp256")
    assert pair.pings()
    pair.down(tunnel)


@roles
def test_the_other_end_wants_another_group(pair: Pair, initiator: str) -> None:
    both, one = "aes128gcm16-prfsha256-x25519-ecp256", "aes128gcm16-prfsha256-ecp256"
    tunnel = Tunnel(
        name="group",
        ike=both if initiator == "ours" else one,
        theirs={"proposals": one if initiator == "ours" else both},
    )
    pair.load(tunnel)
    before = len(pair.charon.log())
    pair.up(tunnel, initiator=initiator)
    assert pair.gateway.ike_sas(tunnel.name)[0]["algorithms"] == one
    if initiator == "ours":
        sent = opening_payloads(pair, tunnel)
        assert [ours for ours, _ in sent] == [True, False, True, False]
        assert sent[1][1] == ["N(INVALID_KE_PAYLOAD)"]
    else:
        assert "it requested ECP_256" in pair.charon.log()[before:]
    assert pair.pings()
    pair.down(tunnel)


@roles
def test_many_proposals_and_the_best_in_common(pair: Pair, initiator: str) -> None:
    ours = "chacha20poly1305-prfsha512-ecp521, aes256gcm16-aes128gcm16-prfsha384-prfsha256-x25519-ecp384"
    theirs = "aes128-sha256-modp2048, aes128gcm16-prfsha256-ecp384-x25519"
    tunnel = Tunnel(name="many", ike=ours, theirs={"proposals": theirs})
    pair.load(tunnel)
    pair.up(tunnel, initiator=initiator)
    (sa,) = pair.gateway.ike_sas(tunnel.name)
    assert sa["algorithms"].startswith("aes128gcm16-prfsha256-")
    until(lambda: len(pair.their_children(tunnel)) == 1, "a child at strongSwan's end")
    pair.down(tunnel)


@roles
def test_what_a_new_gateway_offers(pair: Pair, initiator: str) -> None:
    """A strongSwan without ML-KEM passes over the hybrid suites, and takes one that it has."""
    tunnel = Tunnel(
        name=f"defaults-{initiator}", ike=", ".join(MODERN_PQ_IKE), theirs={"proposals": "aes256gcm16-prfsha384-ecp384"}
    )
    pair.load(tunnel)
    pair.up(tunnel, initiator=initiator)
    (sa,) = pair.gateway.ike_sas(tunnel.name)
    assert sa["algorithms"] == "aes256gcm16-prfsha384-ecp384"
    pair.down(tunnel, initiator=initiator)
