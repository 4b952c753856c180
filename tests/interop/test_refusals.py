"""What cannot be agreed on: which error goes over the wire, and what the attempt tells the administrator."""

import pytest

from tests.interop.planes import roles, userspace_only
from tests.interop.tunnels import Net, Pair, Tunnel
from tests.lab.appliance import Plain, until
from tests.lab.charon import CharonError

pytestmark = userspace_only

AUTHENTICATION_FAILED, NO_PROPOSAL_CHOSEN, TS_UNACCEPTABLE = 24, 14, 38


def failed(pair: Pair, tunnel: Tunnel, initiator: str, *, charon_says: str) -> Plain:
    """Try in vain from one end; the attempt as we tell it. strongSwan's log has `charon_says`."""
    before = len(pair.charon.log())
    if initiator == "ours":
        done = pair.gateway.connect(tunnel.name)
        assert not done["ok"], done
    else:
        with pytest.raises(CharonError):
            pair.charon.initiate(tunnel.child_name(tunnel.nets[0]))
    until(lambda: charon_says in pair.charon.log()[before:], f"strongSwan's log has {charon_says!r}")
    attempt = until(lambda: finished(pair), "an attempt that failed")
    assert attempt["initiator"] is (initiator == "ours")
    if initiator == "ours":
        assert attempt["reason"] in done["text"]
        assert attempt["advice"] in done["text"]
    assert not pair.gateway.children()
    assert not pair.gateway.ask("states")
    return attempt


def finished(pair: Pair) -> Plain | None:
    attempt = pair.gateway.attempt()
    return attempt if attempt["outcome"] == "failed" else None


def ended_at(attempt: Plain) -> str:
    """The station where it ended; all before it were passed."""
    *passed, last = attempt["steps"]
    assert all(step["done"] for step in passed)
    assert not last["done"]
    return str(last["step"])


@roles
def test_different_keys(pair: Pair, initiator: str) -> None:
    tunnel = Tunnel(name="other-key", their_secret="another secret")
    pair.load(tunnel)
    # The initiator proves itself first: the responder is who finds out.
    said = "received AUTHENTICATION_FAILED" if initiator == "theirs" else "MAC mismatched"
    attempt = failed(pair, tunnel, initiator, charon_says=said)
    assert attempt["cause"] == ("wrong-key" if initiator == "theirs" else "peer-refused-us")
    assert "pre-shared key" in attempt["reason"]
    assert "AUTHENTICATION_FAILED" in attempt["reason"] or attempt["notify"] == AUTHENTICATION_FAILED
    assert "pre-shared key" in attempt["advice"]
    assert ended_at(attempt) == "prove who we are"
    assert (attempt["peer"], attempt["local_id"], attempt["remote_id"]) == (tunnel.name, *tunnel.ids())
    until(lambda: not pair.charon.list_sas(), "strongSwan has no SA")


@roles
def test_an_identity_that_the_other_does_not_know(pair: Pair, initiator: str) -> None:
    tunnel = Tunnel(name="stranger", theirs={"local": {"auth": "psk", "id": "somebody.else.lab"}})
    pair.load(tunnel)
    said = "received AUTHENTICATION_FAILED" if initiator == "theirs" else "no matching peer config found"
    attempt = failed(pair, tunnel, initiator, charon_says=said)
    assert attempt["cause"] == ("unknown-identity" if initiator == "theirs" else "peer-refused-us")
    assert ended_at(attempt) == "prove who we are"
    if initiator == "theirs":
        assert "somebody.else.lab" in attempt["reason"]


@roles
def test_no_ike_proposal_in_common(pair: Pair, initiator: str) -> None:
    tunnel = Tunnel(
        name="other-ike",
        ike="aes256gcm16-prfsha384-ecp384, aes256-sha384-ecp384",
        theirs={"proposals": "aes128-sha256-modp2048"},
    )
    pair.load(tunnel)
    said = "received NO_PROPOSAL_CHOSEN" if initiator == "theirs" else "received proposals unacceptable"
    attempt = failed(pair, tunnel, initiator, charon_says=said)
    assert (attempt["cause"], attempt["notify"]) == ("no-proposal", NO_PROPOSAL_CHOSEN)
    assert "NO_PROPOSAL_CHOSEN" in attempt["reason"]
    assert ended_at(attempt) == "agree on algorithms"
    ours = ["aes256gcm16-prfsha384-ecp384", "aes256-sha384-prfsha384-ecp384"]
    if initiator == "ours":
        assert attempt["offered"] == ours
        return
    assert attempt["offered"] == ["aes128-sha256-prfsha256-modp2048"]
    assert attempt["acceptable"] == ours
    differences = " ".join(attempt["differences"])
    assert "aes128" in differences
    assert "modp2048" in differences


@roles
def test_no_esp_proposal_in_common(pair: Pair, initiator: str) -> None:
    tunnel = Tunnel(name="other-esp", nets=(Net(esp="aes256gcm16", theirs={"esp_proposals": "aes128-sha256"}),))
    pair.load(tunnel)
    said = "received NO_PROPOSAL_CHOSEN" if initiator == "theirs" else "no acceptable proposal found"
    attempt = failed(pair, tunnel, initiator, charon_says=said)
    assert (attempt["cause"], attempt["notify"]) == ("no-esp-proposal", NO_PROPOSAL_CHOSEN)
    assert "NO_PROPOSAL_CHOSEN" in attempt["reason"]
    if initiator == "ours":
        assert attempt["offered"] == ["aes256gcm16"]
    else:
        assert attempt["offered"] == ["aes128-sha256"]
        assert attempt["acceptable"] == ["aes256gcm16"]
        assert "aes128" in " ".join(attempt["differences"])
    # The IKE SA stands all the same (RFC 7296 1.2).
    assert len(pair.gateway.ike_sas(tunnel.name)) == 1
    pair.down(tunnel)


@roles
def test_networks_that_do_not_meet(pair: Pair, initiator: str) -> None:
    other = {"local_ts": "10.77.0.0/24", "remote_ts": "10.78.0.0/24"}
    tunnel = Tunnel(name="other-nets", nets=(Net(theirs=other),))
    pair.load(tunnel)
    said = "received TS_UNACCEPTABLE" if initiator == "theirs" else "traffic selectors"
    attempt = failed(pair, tunnel, initiator, charon_says=said)
    assert (attempt["cause"], attempt["notify"]) == ("networks", TS_UNACCEPTABLE)
    assert "TS_UNACCEPTABLE" in attempt["reason"]
    assert ended_at(attempt) == "agree on networks"
    if initiator == "ours":
        assert attempt["offered"] == ["10.1.0.0/24 = 10.2.0.0/24"]
    else:
        assert attempt["offered"] == ["10.78.0.0/24 = 10.77.0.0/24"]
        assert attempt["acceptable"] == ["10.1.0.0/24 = 10.2.0.0/24"]
    assert len(pair.gateway.ike_sas(tunnel.name)) == 1
    pair.down(tunnel)


def test_nobody_of_that_address(pair: Pair) -> None:
    tunnel = Tunnel(name="elsewhere", ours={"remote_addresses": ["198.51.100.9"]})
    pair.load(tunnel)
    attempt = failed(pair, tunnel, "theirs", charon_says="received NO_PROPOSAL_CHOSEN")
    assert (attempt["cause"], attempt["peer"]) == ("unknown-peer", None)
    assert "192.0.2.2" in attempt["reason"]
    assert attempt["offered"] == ["aes128gcm16-prfsha256-x25519"]


def test_nobody_answers(pair: Pair) -> None:
    tunnel = Tunnel(
        name="silent",
        outer=("192.0.2.1", "192.0.2.9"),
        ours={"retransmit": {"tries": 2, "base": 0.2, "factor": 1.0}},
    )
    pair.load(tunnel)
    done = pair.gateway.connect(tunnel.name)
    assert not done["ok"]
    attempt = pair.gateway.attempt(tunnel.name)
    assert attempt["cause"] == "timeout"
    assert "UDP 500" in attempt["advice"]
    assert ended_at(attempt) == "reach the peer"
